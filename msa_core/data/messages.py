"""The words in which a feature file is refused."""

import reprlib
from pathlib import Path
from typing import Any

SHOWN = 5  # the largest number of ids, fields or features in a message
WHOLE = ""  # name of what a file without splits holds


def located(path: Path, split: str, field: str = "") -> str:
    """Where something is, for a message.

    >>> located(Path("features.pkl"), "test", "audio"), located(Path("features.pkl"), WHOLE, "audio")
    ("features.pkl: split 'test', field 'audio'", "features.pkl: field 'audio'")
    """
    places = [f"split {split!r}"] * (split != WHOLE) + [f"field {field!r}"] * bool(field)
    return ": ".join([str(path), *[", ".join(places)] * bool(places)])


def refuse_any(*problems: str | None) -> None:
    """Raise a `ValueError` of the first problem, whose notes are the others; None is no problem."""
    found = [problem for problem in problems if problem is not None]
    if found:
        error = ValueError(found[0])
        for other in found[1:]:
            error.add_note(other)
        raise error


def listed(names: list[str]) -> str:
    """The first few of some names, for a message."""
    return ", ".join(shown(name) for name in names[:SHOWN]) + ", ..." * (len(names) > SHOWN)


def shown(value: Any) -> str:
    """A value of the file in a message: short, whatever it is; of a container its type alone."""
    return reprlib.repr(value) if isinstance(value, str | int | float | bytes) else type(value).__name__
