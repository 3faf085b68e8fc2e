"""One run's settings: the data set's preset, the variant's changes over it, then the user's overrides."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from msa_core.config.base import Name, Seed, Settings, identity, require_known, shown
from msa_core.config.data import DatasetConfig, TextConfig
from msa_core.config.files import load_preset, load_variants
from msa_core.config.model import ModelConfig, SharedEncodersConfig
from msa_core.config.objective import ObjectiveConfig
from msa_core.config.problems import kind_of, problems, settings_classes
from msa_core.config.training import TrainingConfig


class RunConfig(Settings):
    """One run, resolved: everything that decides its numbers but the code."""

    dataset: DatasetConfig
    text: TextConfig = TextConfig()
    model: ModelConfig = SharedEncodersConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    variant: Name = "paper"
    seed: Seed = Field(1111, description="of weights, dropout and the order of samples")

    def to_yaml(self) -> str:
        """The whole of it, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def identity(self, whole: bool = True) -> dict[str, Any]:
        """Every setting that can change a number; see `base.identity`."""
        return identity(self, whole)

    def differences(self, other: "RunConfig") -> dict[str, Any]:
        """Dotted name -> this run's value of each setting of its identity that the other run has otherwise."""
        others = dict(_dotted(other.identity()))
        return {name: value for name, value in _dotted(self.identity()) if name not in others or others[name] != value}

    def changes(self) -> dict[str, Any]:
        """The `differences` from what the preset and the variant say: what the features and overrides changed."""
        return self.differences(resolve(self.dataset.name, self.variant, self.seed))


def resolve(
    dataset: str,
    variant: str = "paper",
    seed: int = 1111,
    features: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """One run's settings.

    Args:
        dataset: a file of `config/datasets`, without its ending; for an installed package, one of this folder in the
            current folder, or a preset of the package.
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
    layers, variants = load_preset(dataset), load_variants()
    require_known("variant", variant, variants, "config/variants.yaml")
    given = {} if features is None else {"dataset.features": features}
    changes = [*_changes(variants[variant]), *_changes({} if overrides is None else overrides), *_changes(given)]
    if reserved := sorted({"seed", "variant"} & set().union(*layers, (names[0] for names, _ in changes))):
        raise ValueError(
            f"settings of {dataset} / {variant}: got {reserved[0]} in a preset or an override, expected it as the "
            f"parameter {reserved[0]!r}"
        )
    settings = _defaults(RunConfig) | {"variant": variant, "seed": seed}
    for layer in layers:
        _merge(settings, layer, RunConfig)
    for names, value in changes:
        _merge(settings, _nested(names, value), RunConfig)
    try:
        config = RunConfig(**settings)
    except ValidationError as error:
        raise ValueError(f"settings of {dataset} / {variant}: {problems(error, RunConfig)}") from None
    if config.dataset.name != dataset:
        raise ValueError(
            f"dataset.name: got {config.dataset.name!r}, expected {dataset!r}, the name of the preset's file; for "
            "another data set, copy the file under another name"
        )
    return config


def _changes(changes: Any) -> Iterator[tuple[list[str], Any]]:
    """Each change as the parts of its dotted name and its value."""
    if not isinstance(changes, Mapping):
        raise ValueError(f"overrides: got {shown(changes)}, expected a mapping such as {{'training.max_epochs': 3}}")
    for name, value in changes.items():
        if not isinstance(name, str) or not all(names := name.split(".")):
            raise ValueError(f"overrides: got the name {shown(name)}, expected one such as 'training.max_epochs'")
        yield names, value


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    return [
        pair
        for name, value in values.items()
        for pair in (
            _dotted(value, f"{prefix}{name}.") if value and isinstance(value, dict) else [(prefix + name, value)]
        )
    ]


def _defaults(settings: type[BaseModel]) -> dict[str, Any]:
    """What a section holds where nothing is said."""
    section = settings.model_construct().model_dump(warnings=False)
    for name, field in settings.model_fields.items():
        for inner in settings_classes(field.annotation) if field.is_required() else []:
            section[name] = _defaults(inner)
    return section


def _nested(names: list[str], value: Any) -> dict[str, Any]:
    first, *others = names
    return {first: _nested(others, value) if others else value}


def _merge(section: dict[str, Any], changes: Mapping[str, Any], settings: type[BaseModel]) -> None:
    """Change a section of these settings: its own sections key by key, whatever else as a whole."""
    for name, value in changes.items():
        field, inner = settings.model_fields.get(name), section.get(name)
        classes = settings_classes(field.annotation) if field else []
        before = inner.get("kind") if isinstance(inner, dict) else None
        kind = value.get("kind", before) if isinstance(value, Mapping) else None
        chosen = [each for each in classes if kind_of(each) == kind and isinstance(value, Mapping)]
        if not chosen:
            section[name] = value
            continue
        if not isinstance(inner, dict) or kind != before:
            inner = section[name] = _defaults(chosen[0])
        _merge(inner, value, chosen[0])
