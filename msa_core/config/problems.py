"""Pydantic's errors in one line, in the words of the settings files."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from msa_core.config.base import shown, suggestion

SHOWN = 5  # problems of one file; of more, their number


def problems(error: ValidationError, settings: type[BaseModel]) -> str:
    """What is wrong with settings, each with its dotted name, what was got and what is expected; one line.

    Args:
        error: of pydantic.
        settings: the class whose making raised it.
    """
    lines = [_problem(settings, detail) for detail in error.errors(include_url=False)]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "; ".join([*lines[:SHOWN], *more])


def _problem(settings: type[BaseModel], detail: Any) -> str:
    """One error; its place names a part's `kind` too, which is left out."""
    classes, names, allowed = [settings], list[str](), dict[str, None]()
    for part in detail["loc"]:
        if chosen := [each for each in classes if names and kind_of(each) == part]:
            classes = chosen
            continue
        if part != "[key]":
            names.append(str(part))
        allowed = {name: None for each in classes for name in each.model_fields}
        inner = [
            found
            for each in classes
            if part in each.model_fields
            for found in settings_classes(each.model_fields[part].annotation)
        ]
        classes = inner or classes
    kinds = [kind for kind in map(kind_of, classes) if kind]
    return ".".join(names) + _reason(settings, detail, names, list(allowed), kinds)


def _reason(settings: type[BaseModel], detail: Any, names: list[str], allowed: list[str], kinds: list[str]) -> str:
    value, problem = detail["input"], detail["type"]
    if problem == "extra_forbidden":
        elsewhere = [name for name in _dotted_names(settings) if name.split(".")[-1] == names[-1]]
        end = f"; did you mean {elsewhere[0]!r}?" if elsewhere else suggestion(names[-1], allowed)
        return f": got an unknown setting, expected one of {', '.join(allowed)}{end}"
    if problem == "missing":
        return ": is missing, expected a value"
    if problem.startswith("union_tag") and isinstance(value, Mapping):
        kind = value.get("kind")
        return f".kind: got {shown(kind)}, expected one of {', '.join(kinds)}{suggestion(kind, kinds) or _quotes(kind)}"
    if problem == "value_error":  # a check of ours, whose message says all
        return f": {detail['ctx']['error']}"
    if problem in ("model_type", "model_attributes_type", "dict_type"):
        example = f" such as {{kind: {value if value in kinds else kinds[0]}}}" if len(kinds) > 1 else ""
        return f": got {shown(value)}, expected a mapping{example}"
    expected = re.sub("^Input should (be )?", "expected ", detail["msg"])
    choices = re.findall("'([^']+)'", expected) if problem == "literal_error" else []
    hint = _quotes(value) if choices or problem == "string_type" else ""
    return f": got {shown(value)}, {expected}{suggestion(value, choices) or hint}"


def _quotes(value: Any) -> str:
    return "; YAML reads yes, no, true and false without quotes as booleans" if isinstance(value, bool) else ""


def kind_of(settings_class: type[BaseModel]) -> str | None:
    """The `kind` of a part's settings; None for others."""
    return settings_class.model_fields["kind"].default if "kind" in settings_class.model_fields else None


def settings_classes(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that a field's type names: itself, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in settings_classes(argument)]


def _dotted_names(settings: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in settings.model_fields.items():
        yield prefix + name
        for inner in settings_classes(field.annotation):
            yield from _dotted_names(inner, f"{prefix}{name}.")
