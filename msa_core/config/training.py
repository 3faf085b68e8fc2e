"""Settings of the training loop."""

from typing import Literal

from pydantic import Field

from msa_core.config.base import MMSA, Settings


class GroupConfig(Settings):
    """One group of parameters."""

    learning_rate: float = Field(gt=0, description=f"of Adam ({MMSA})")
    weight_decay: float = Field(0.001, ge=0, description=f"L2, in Adam's gradient ({MMSA}); none on biases and norms")


class GroupsConfig(Settings):
    """The parameters that a model names after a modality, mostly its encoders', and the rest."""

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
