"""Settings of the data and of the text encoder that decides how text is read."""

from typing import Annotated, Literal

from pydantic import Field

from msa_core.config.base import MMSA, Settings

Modality = Literal["text", "audio", "vision"]
Split = Literal["train", "valid", "test"]
Share = Annotated[float, Field(ge=0, le=1)]


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
    title: str = Field(description="the name in tables and figures")
    features: str | None = Field(None, description="feature file, from the top folder; None: planted data")
    planted: Planted = Planted()
    known_sha256: dict[str, str] = Field({}, description="name -> SHA-256 of the files that the field shares")
    label_bound: float = Field(gt=0, description="H: labels are within [-H, H]")
    metrics: Literal["mosi", "sims"] = Field(description="scheme of msa_core.metrics")
    standardise: bool = Field(False, description="frames to mean 0, standard deviation 1 of the train split")
    max_frames: int | None = Field(None, ge=1, description="frames kept from the start; None: all")
    max_tokens: int = Field(50, ge=3, description=f"tokens kept, special ones included ({MMSA}: seq_lens)")
    cache_folder: str | None = Field(None, description="for the cache of the feature file; None: beside it")
    missing: dict[Split, dict[Modality, Share]] = Field(
        {}, description="split -> modality -> share of its samples that lose this modality, drawn from the run's seed"
    )


class TextConfig(Settings):
    """The text encoder, which every model shares."""

    encoder: str = Field("tiny", description="'tiny', 'minilm', a name on the transformers hub, or a folder")
    frozen: bool = Field(False, description="text is encoded once and its encoder not trained: for sweeps")
