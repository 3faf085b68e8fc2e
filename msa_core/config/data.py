"""Settings of the data and of the text encoder that decides how text is read."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from msa_core import MODALITIES
from msa_core.config.base import MMSA, MOST, UNNUMBERED, Count, Name, Number, Seed, Settings, Text

Modality = Literal["text", "audio", "vision"]
Frames = Literal["audio", "vision"]
Split = Literal["train", "valid", "test"]
Share = Annotated[Number, Field(ge=0, le=1)]
NotNegative = Annotated[Number, Field(ge=0)]
Sum = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _for_all(value: Any) -> Any:
    """0.5 -> 0.5 for each modality: one spelling."""
    return dict.fromkeys(MODALITIES, value) if isinstance(value, int | float) else value


ONE_FOR_ALL = BeforeValidator(_for_all)


class Planted(Settings):
    """Arguments of `planted_features`; of a mapping, those that are left out have the default of `PlantedProcess`."""

    num_train: int = Field(600, ge=2, le=MOST, description="samples")
    num_valid: int = Field(200, ge=2, le=MOST, description="samples")
    num_test: int = Field(300, ge=2, le=MOST, description="samples")
    signal_to_noise: Annotated[dict[Modality, NotNegative], ONE_FOR_ALL] = Field(
        {}, description="per modality or one for all; 0, for audio and vision: nothing but noise"
    )
    shared_part: Annotated[dict[Modality, Share], ONE_FOR_ALL] = Field(
        {}, description="of each sentiment's variance, per modality or one for all"
    )
    task_weights: dict[Modality, Number] = Field({}, description="of each sentiment in the label; negative: conflict")
    label_noise: NotNegative = Field(0.0, description="standard deviation, on the label's scale")
    seed: Seed | None = Field(0, description="of the data, not of the training; None: follows the run's seed")

    @property
    def process(self) -> dict[str, Any]:
        """The attributes of `PlantedProcess`."""
        return self.model_dump(include={"signal_to_noise", "shared_part", "task_weights", "label_noise"})


class Unlabelled(Settings):
    """Samples of the train split that lose their labels, drawn from the run's seed; valid and test keep theirs."""

    share: Number = Field(0.0, ge=0, le=0.95, description="of the samples that have no multimodal label")
    one_modality: Share = Field(
        0.0, description="of these, those that keep the unimodal label of one modality, drawn for each"
    )

    @model_validator(mode="after")
    def _has_a_share(self) -> "Unlabelled":
        if self.one_modality and not self.share:
            raise ValueError(f"got one_modality {self.one_modality} with share 0, which it is a part of, expected 0")
        return self


class DatasetConfig(Settings):
    """Where the data are and how they are read."""

    name: Name = Field(description="names the run's folder")
    title: Annotated[Text, UNNUMBERED] = Field(description="the name in tables and figures")
    remark: Annotated[Text | None, UNNUMBERED] = Field(
        None, description="what a reader of its numbers must know; the tables say it"
    )
    features: Text | None = Field(
        None,
        description="feature file, from the project's top folder, or a pattern such as data/store/*.pkl that several "
        "shards match; None: planted data",
    )
    planted: Planted = Planted()
    known_sha256: Annotated[dict[str, Sum], UNNUMBERED] = Field(
        {}, description="name -> SHA-256 of the files that the field shares"
    )
    label_bound: Number = Field(gt=0, description="H: labels are within [-H, H]")
    metrics: Literal["mosi", "sims"] = Field(description="scheme of msa_core.metrics")
    standardise: bool = Field(False, description="frames to mean 0, standard deviation 1 of the train split")
    max_frames: Count | None = Field(None, description="frames kept from the start; None: all")
    max_tokens: int = Field(50, ge=3, le=MOST, description=f"tokens kept, special ones included ({MMSA}: seq_lens)")
    cache_folder: Annotated[Text | None, UNNUMBERED] = Field(
        None, description="for the caches of the feature files; None: beside each"
    )
    modalities: list[Modality] | None = Field(
        None, min_length=1, description="the only ones that the model sees; None: all that the data have"
    )
    resplit: bool = Field(
        False, description="samples are dealt anew to splits of the same sizes, from the run's seed: other test samples"
    )
    missing: dict[Split, dict[Modality, Share]] = Field(
        {}, description="split -> modality -> share of its samples that lose this modality, drawn from the run's seed"
    )
    patterns: dict[Split, Annotated[list[list[Modality]], Field(min_length=1)]] = Field(
        {},
        description="split -> sets of modalities: each sample has one of these sets and no other modality; as many "
        "samples have each, drawn from the run's seed",
    )
    noise: dict[Split, dict[Frames, NotNegative]] = Field(
        {}, description="split -> modality -> standard deviation of noise on its frames, over theirs in the train split"
    )
    unlabelled: Unlabelled = Unlabelled()

    @property
    def draw(self) -> Literal["shared", "own", "split"]:
        """Whether all runs have the same test samples, or each draws data, or a split of the file, of its own."""
        if self.resplit:
            return "split"
        return "own" if self.features is None and self.planted.seed is None else "shared"


class TextConfig(Settings):
    """The text encoder, which every model shares."""

    encoder: Text = Field("tiny", description="'tiny', 'minilm', a name on the transformers hub, or a folder")
    frozen: bool = Field(False, description="text is encoded once and its encoder not trained: for sweeps")
