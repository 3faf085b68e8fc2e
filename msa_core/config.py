"""Every setting, typed, with its unit and source; read from `config/*.yaml`, unknown keys refused."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from msa_core import paths

MMSA = "thuiar/MMSA 2.2.1, config_regression.json, self_mm"


class Settings(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Planted(Settings):
    """Arguments of `planted_features`."""

    num_train: int = Field(600, ge=2, description="samples")
    num_valid: int = Field(200, ge=2, description="samples")
    num_test: int = Field(300, ge=2, description="samples")
    signal_to_noise: dict[str, float] = Field({}, description="ratio per modality; those left out have the default")
    seed: int = Field(0, description="of the data, not of the training")


class DatasetConfig(Settings):
    """Where the data are and how they are read."""

    name: str = Field(description="names the run's folder")
    title: str = Field(description="how tables and pictures call it")
    features: str | None = Field(None, description="feature file, from the top folder; None: planted data")
    planted: Planted = Planted()
    known_sha256: dict[str, str] = Field({}, description="name -> SHA-256 of the files that the field shares")
    label_bound: float = Field(gt=0, description="H: labels are within [-H, H]")
    metrics: Literal["mosi", "sims"] = Field(description="scheme of msa_core.metrics")
    standardise: bool = Field(False, description="frames to mean 0, standard deviation 1 of the train split")
    max_frames: int | None = Field(None, ge=1, description="frames kept from the start; None: all")
    max_tokens: int = Field(50, ge=3, description=f"tokens kept, special ones included ({MMSA}: seq_lens)")
    cache_folder: str | None = Field(None, description="for the cache of the feature file; None: beside it")


class FrameEncoderConfig(Settings):
    """An LSTM encoder."""

    hidden: int = Field(32, ge=1, description=f"width of the LSTM ({MMSA}: audio 16, vision 32)")
    width: int = Field(32, ge=1, description="width of the encoding; one for both, so that they can be aligned")
    dropout: float = Field(0.0, ge=0, lt=1, description=f"before the linear layer ({MMSA})")


class ProjectionConfig(Settings):
    """A feature made from encodings."""

    width: int = Field(ge=1, description=f"width of the feature ({MMSA}: post_*_dim)")
    dropout: float = Field(0.0, ge=0, lt=1, description=f"before the linear layer ({MMSA}: post_*_dropout)")


class UnimodalConfig(Settings):
    """Each modality's own feature."""

    text: ProjectionConfig = ProjectionConfig(width=32, dropout=0.1)
    audio: ProjectionConfig = ProjectionConfig(width=16, dropout=0.1)
    vision: ProjectionConfig = ProjectionConfig(width=32)


class ModelConfig(Settings):
    """The paper's model."""

    text_encoder: str = Field("tiny", description="'tiny', 'minilm', a name on the transformers hub, or a folder")
    freeze_text: bool = Field(False, description="text is encoded once and its encoder not trained: for sweeps")
    audio: FrameEncoderConfig = FrameEncoderConfig()
    vision: FrameEncoderConfig = FrameEncoderConfig()
    fusion: ProjectionConfig = ProjectionConfig(width=128)
    unimodal: UnimodalConfig = UnimodalConfig()


def _split_pairs(pairs: Any) -> Any:
    """ "audio-vision" -> ("audio", "vision")."""
    if not isinstance(pairs, Mapping):
        return pairs
    return {tuple(pair.split("-")) if isinstance(pair, str) else pair: weight for pair, weight in pairs.items()}


Modality = Literal["text", "audio", "vision"]
Pairs = Annotated[
    dict[tuple[Modality, Modality], float],
    BeforeValidator(_split_pairs),
    PlainSerializer(lambda pairs: {"-".join(pair): weight for pair, weight in pairs.items()}),
]


class ObjectiveConfig(Settings):
    """What is minimised: the paper's parts, each of which a variant may take out."""

    alignment: Pairs = Field({}, description="weight of each pair, written 'audio-vision'; empty: no alignment")
    alignment_scale: float = Field(1.0, description="times every weight; 0: distances are measured, not trained")
    alignment_distance: str = Field("covariance", description="a key of msa_core.alignment.DISTANCES")
    alignment_width: int = Field(32, ge=1, description="where a pair's widths differ: both are mapped to this one")
    unimodal_labels: Literal["generated", "copied", "true", "none"] = Field(
        "generated",
        description="of the unimodal tasks: generated (the paper), copies of y, the data's own, or no such tasks",
    )
    weight_adjustment: bool = Field(True, description="W_s = tanh|y_s - y| on the unimodal tasks")
    exclude_zero: bool = Field(True, description=f"zero labels are in neither class of the centres ({MMSA})")
    centre_distance: Literal["l2", "squared"] = Field("l2", description="'l2': Self-MM's release; 'squared': its paper")

    @model_validator(mode="after")
    def _copied_labels_need_weight_one(self) -> "ObjectiveConfig":
        if self.unimodal_labels == "copied" and self.weight_adjustment:
            raise ValueError(
                "got unimodal_labels 'copied' with weight_adjustment, expected it off: "
                "tanh|y_s - y| is 0 for copies, so that the unimodal tasks would not be trained"
            )
        return self


class GroupConfig(Settings):
    """One group of parameters."""

    learning_rate: float = Field(gt=0, description=f"of Adam ({MMSA})")
    weight_decay: float = Field(0.001, ge=0, description=f"L2, in Adam's gradient ({MMSA}); none on biases and norms")


class GroupsConfig(Settings):
    """The encoders' parameters, and the rest: fusion, projections, heads, the alignment's linear maps."""

    text: GroupConfig = GroupConfig(learning_rate=5e-5)
    audio: GroupConfig = GroupConfig(learning_rate=5e-3)
    vision: GroupConfig = GroupConfig(learning_rate=5e-3)
    rest: GroupConfig = GroupConfig(learning_rate=1e-3)


class TrainingConfig(Settings):
    """The loop."""

    batch_size: int = Field(16, ge=2, description=f"samples ({MMSA})")
    accumulate: int = Field(1, ge=1, description=f"batches whose gradients make one step ({MMSA}: update_epochs 4)")
    groups: GroupsConfig = GroupsConfig()
    max_gradient_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    max_epochs: int = Field(50, ge=1, description="epochs at most")
    patience: int = Field(8, ge=1, description=f"epochs without a better validation MAE before the end ({MMSA})")
    precision: Literal["no", "bf16"] = Field("no", description="autocast; 'no' is float32")
    state_every: float = Field(60.0, ge=0, description="seconds between two savings of the resumable state, at least")


class RunConfig(Settings):
    """One run, resolved: everything that decides its numbers but the code."""

    dataset: DatasetConfig
    model: ModelConfig = ModelConfig()
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
    """One run's settings: the data set's preset, the variant's changes over it, then the overrides.

    Args:
        dataset: a file of `config/datasets`, without its ending.
        variant: a key of `config/variants.yaml`.
        seed: of the training.
        features: another feature file for the preset's.
        overrides: dotted name -> value, such as `{"training.max_epochs": 3}`.

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
    settings: dict[str, Any] = load_yaml(presets[dataset])
    changes = dict(variants[variant] or {}) | dict(overrides or {})
    if features is not None:
        changes["dataset.features"] = features
    for name, value in changes.items():
        *parents, last = name.split(".")
        place = settings
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    try:
        return RunConfig(**settings, variant=variant, seed=seed)
    except ValidationError as error:
        problems = "; ".join(_problem(detail["loc"], detail) for detail in error.errors())
        raise ValueError(f"settings of {dataset} / {variant}: {problems}") from None


def _problem(place: tuple, detail: Any) -> str:
    name = ".".join(map(str, place))
    if detail["type"] != "extra_forbidden":
        return f"{name}: {detail['msg']}, got {detail['input']!r}"
    model: Any = RunConfig
    for parent in place[:-1]:
        model = model.model_fields[parent].annotation
    return f"{name}: got an unknown setting, expected one of {', '.join(model.model_fields)}"


class GridRun(Settings):
    """One run of a grid."""

    dataset: str
    variant: str
    seed: int


def grid(name: str) -> list[GridRun]:
    """The runs of a grid of `config/study.yaml`: every variant with every seed, data set by data set.

    Raises:
        ValueError: unknown grid.

    >>> len(grid("small"))
    9
    """
    grids = load_yaml(paths.CONFIG / "study.yaml")["grids"]
    if name not in grids:
        raise ValueError(f"got grid {name!r}, expected one of {sorted(grids)} (config/study.yaml)")
    return [
        GridRun(dataset=entry["dataset"], variant=variant, seed=seed)
        for entry in grids[name]
        for variant in entry["variants"]
        for seed in entry["seeds"]
    ]


def families() -> dict[str, list[str]]:
    """Families of comparisons of `config/study.yaml`: name -> its variants.

    Raises:
        ValueError: a variant is unknown, is in no family and not listed under `in_no_family`, or is in both.
    """
    study = load_yaml(paths.CONFIG / "study.yaml")
    groups: dict[str, list[str]] = {**study["families"], "in_no_family": study["in_no_family"]}
    variants = load_yaml(paths.CONFIG / "variants.yaml")
    for group, members in groups.items():
        if unknown := sorted(set(members) - set(variants)):
            raise ValueError(
                f"config/study.yaml, {group}: got variants {unknown}, expected variants of config/variants.yaml; "
                "correct the names, or add the variants there"
            )
    in_a_family = {variant for members in study["families"].values() for variant in members}
    if absent := sorted(set(variants) - in_a_family - set(study["in_no_family"])):
        raise ValueError(
            f"config/study.yaml: got no family for variants {absent} of config/variants.yaml; add each to a family "
            "whose claims are tested together, or to in_no_family with a reason"
        )
    if both := sorted(in_a_family & set(study["in_no_family"])):
        raise ValueError(
            f"config/study.yaml: got variants {both} in a family and in in_no_family; remove them from one"
        )
    return study["families"]


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; an empty file is an empty one."""
    return yaml.safe_load(path.read_text()) or {}


def refuse_unknown_parameters(cells: list[str]) -> None:
    """Stop a notebook that was given a parameter it does not have; papermill itself only warns.

    To be called from the cell that follows the parameters cell, with IPython's `In`. Papermill puts its own cell,
    which begins with "# Parameters", between the two.

    Args:
        cells: sources of the cells executed so far, this one last.

    Raises:
        ValueError: a name is assigned in papermill's cell and not in the notebook's parameters cell.

    >>> refuse_unknown_parameters(["seed: int = 1", "# Parameters\\nsede = 2\\n", "this cell"])
    Traceback (most recent call last):
        ...
    ValueError: got unknown parameter sede, expected one of seed
    """
    if len(cells) < 3 or not cells[-2].startswith("# Parameters"):
        return
    declared, injected = (_assigned(cell) for cell in cells[-3:-1])
    if unknown := injected - declared:
        raise ValueError(
            f"got unknown parameter {', '.join(sorted(unknown))}, expected one of {', '.join(sorted(declared))}"
        )


def _assigned(source: str) -> set[str]:
    targets: list[ast.expr] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    return {target.id for target in targets if isinstance(target, ast.Name)}
