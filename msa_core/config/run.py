"""One run's settings: the data set's preset, the variant's changes over it, then the user's overrides."""

from collections.abc import Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from msa_core import paths
from msa_core.config.base import Settings
from msa_core.config.data import DatasetConfig, TextConfig
from msa_core.config.model import ModelConfig, SharedEncodersConfig
from msa_core.config.objective import ObjectiveConfig
from msa_core.config.study import load_yaml
from msa_core.config.training import TrainingConfig


class RunConfig(Settings):
    """One run, resolved: everything that decides its numbers but the code."""

    dataset: DatasetConfig
    text: TextConfig = TextConfig()
    model: ModelConfig = SharedEncodersConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    variant: str = "paper"
    seed: int = Field(1111, ge=0, description="of weights, dropout and the order of samples")

    def to_yaml(self) -> str:
        """The whole of it, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def resolve(
    dataset: str,
    variant: str = "paper",
    seed: int = 1111,
    features: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """One run's settings.

    Args:
        dataset: a file of `config/datasets`, without its ending.
        variant: a key of `config/variants.yaml`.
        seed: of the training.
        features: another feature file for the preset's.
        overrides: dotted name -> value, such as `{"training.max_epochs": 3}`. A mapping for a section changes the
            keys that it names and leaves the others, unless it names another `kind`: then it replaces the section.

    Raises:
        ValueError: unknown data set, variant or key, or a value out of its range, with the name of each.

    >>> resolve("planted", "no_alignment", overrides={"training.max_epochs": 3}).training.max_epochs
    3
    """
    presets = {path.stem: path for path in (paths.CONFIG / "datasets").glob("*.yaml")}
    if dataset not in presets:
        raise ValueError(f"got dataset {dataset!r}, expected one of {sorted(presets)} (config/datasets)")
    variants = load_yaml(paths.CONFIG / "variants.yaml")
    if variant not in variants:
        raise ValueError(f"got variant {variant!r}, expected one of {sorted(variants)} (config/variants.yaml)")
    changes = [variants[variant] or {}, overrides or {}, {} if features is None else {"dataset.features": features}]
    try:
        settings = _section(RunConfig(**load_yaml(presets[dataset]), variant=variant, seed=seed))
        for name, value in (change for some in changes for change in some.items()):
            _merge(settings, _nested(name.split("."), value))
        return RunConfig(**settings)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors())
        raise ValueError(f"settings of {dataset} / {variant}: {problems}") from None


class _Section(dict[str, Any]):
    """Settings that are being changed, told from a value that is itself a mapping."""


def _section(settings: BaseModel) -> _Section:
    return _Section(
        {name: _section(value) if isinstance(value, BaseModel) else value for name, value in settings}  # fields
    )


def _nested(names: list[str], value: Any) -> dict[str, Any]:
    first, *others = names
    return {first: _nested(others, value) if others else value}


def _merge(section: _Section, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        match section.get(name), value:
            case (_Section() as inner, Mapping()) if value.get("kind", inner.get("kind")) == inner.get("kind"):
                _merge(inner, value)
            case _:
                section[name] = value


def _problem(detail: Any) -> str:
    """One error of pydantic's in one line; its place names a part's `kind` too, which is left out."""
    classes: list[type[BaseModel]] = [RunConfig]
    names: list[str] = []
    allowed: dict[str, Any] = {}
    for part in detail["loc"]:
        if chosen := [each for each in classes if "kind" in each.model_fields and _kind(each) == part and names]:
            classes = chosen
        else:
            names.append(str(part))
            allowed = {name: None for each in classes for name in each.model_fields}
            classes = [
                inner
                for each in classes
                if part in each.model_fields
                for inner in _settings_classes(each.model_fields[part].annotation)
            ]
    place = ".".join(names)
    if detail["type"] == "extra_forbidden":
        return f"{place}: got an unknown setting, expected one of {', '.join(allowed)}"
    if detail["type"].startswith("union_tag"):
        kind = detail["input"].get("kind") if isinstance(detail["input"], Mapping) else detail["input"]
        return f"{place}.kind: got {kind!r}, expected one of {', '.join(map(_kind, classes))}"
    if detail["type"] == "value_error":  # a check of ours, whose message says all
        return f"{place}: {detail['ctx']['error']}"
    return f"{place}: {detail['msg']}, got {detail['input']!r}"


def _kind(settings_class: type[BaseModel]) -> str:
    return settings_class.model_fields["kind"].default


def _settings_classes(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that a field's type names: itself, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _settings_classes(argument)]
