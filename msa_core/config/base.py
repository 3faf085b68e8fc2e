"""What all settings have in common: their types, their refusals, and what makes two runs the same run."""

import re
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from msa_core import paths

MMSA = "thuiar/MMSA 2.2.1, config_regression.json, self_mm"  # the source of most default values


class Settings(BaseModel):
    """Frozen; an unknown key, a value of another type and an infinite or NaN number are errors.

    Where there is a choice of parts (model, fusion, distance, label source), each part has a settings class of its
    own, told from the others by its `kind`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Unnumbered:
    """Marks a setting that cannot change a number: it is no part of a run's identity."""


UNNUMBERED = Unnumbered()


def identity(settings: Settings, whole: bool = True) -> dict[str, Any]:
    """What decides the numbers of a run with these settings: all of them but those marked as `UNNUMBERED`.

    Two runs are the same run if these are equal.

    Args:
        settings: of the run, or a section of them.
        whole: False leaves out what is its class's default (but `kind`): a setting that is added later, with a default
            that means what was done before, then changes nothing.
    """
    values = settings.model_dump(mode="json")
    fields = type(settings).model_fields
    return {
        name: identity(value, whole) if isinstance(value, Settings) else values[name]
        for name, value in settings
        if UNNUMBERED not in fields[name].metadata
        and (whole or name == "kind" or value != fields[name].get_default(call_default_factory=True))
    }


def _read_number(value: Any) -> Any:
    """YAML reads 1e-3, without a point, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Number = Annotated[float, BeforeValidator(_read_number)]
Width = Annotated[int, Field(ge=2, le=4096)]  # of features: one column has no covariance with another
NAMED = 20  # of the known names, in an error message
MOST = 1_000_000  # of what is counted: samples, frames, epochs
Count = Annotated[int, Field(ge=1, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's legacy generator takes
Name = Annotated[str, AfterValidator(paths.file_name)]


def _read_range(seeds: Any) -> Any:
    """ "1111-1115" -> five seeds."""
    if isinstance(seeds, str) and re.fullmatch(r"\d{1,10}-\d{1,10}", seeds):
        first, last = map(int, seeds.split("-"))
        return list(range(first, min(last + 1, first + MOST)))
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), BeforeValidator(_read_range)]


def _is_not_blank(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError(f"got {shown(text)}, expected text that is not empty")
    return text


Text = Annotated[str, AfterValidator(_is_not_blank)]


def shown(value: Any) -> str:
    """A value for an error message, shortened: a file may hold one of any size."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = 60
    return short.repr(value)


def suggestion(name: Any, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name; empty if no known one is like it.

    >>> suggestion("papr", ["paper", "no_alignment"])
    "; did you mean 'paper'?"
    """
    close = get_close_matches(name, list(known), n=1) if isinstance(name, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def require_known(what: str, name: Any, known: Iterable[str], where: str) -> None:
    """Refuse a name that is not among the known ones.

    Args:
        what: kind of the name, such as "variant".
        name: as given.
        known: the names that there are.
        where: where they are declared.

    Raises:
        ValueError: it is none of them; says which one it is like, or names them, of many the first.
    """
    known = sorted(known)
    if not isinstance(name, str) or name not in known:
        others = f" and {len(known) - NAMED} others" if len(known) > NAMED else ""
        end = suggestion(name, known) or f": {', '.join(known[:NAMED])}{others}"
        raise ValueError(f"got {what} {shown(name)}, expected one of {where}{end}")
