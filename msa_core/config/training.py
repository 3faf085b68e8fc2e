"""Settings of the training loop."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from msa_core.config.base import MMSA, MOST, UNNUMBERED, Count, Number, Settings, Text
from msa_core.config.data import Modality, Share


class GroupConfig(Settings):
    """One group of parameters."""

    learning_rate: Number = Field(gt=0, description=f"of Adam ({MMSA})")
    weight_decay: Number = Field(0.001, ge=0, description=f"L2, in Adam's gradient ({MMSA}); none on biases and norms")


class GroupsConfig(Settings):
    """The parameters that a model names after a modality, mostly its encoders', and the rest."""

    text: GroupConfig = GroupConfig(learning_rate=5e-5)
    audio: GroupConfig = GroupConfig(learning_rate=5e-3)
    vision: GroupConfig = GroupConfig(learning_rate=5e-3)
    rest: GroupConfig = GroupConfig(learning_rate=1e-3)


def _older_name(precision: Any) -> Any:
    """ "no" is how settings of earlier versions call float32."""
    if precision is False:
        raise ValueError("got false, which is what YAML makes of no without quotes; write float32")
    return "float32" if precision == "no" else precision


Precision = Annotated[Literal["float32", "bf16", "float64"], BeforeValidator(_older_name)]


class TrainingConfig(Settings):
    """The loop."""

    batch_size: int = Field(16, ge=2, le=MOST, description=f"samples ({MMSA})")
    by_length: bool = Field(True, description="batches of like length, for little padding; false: random ones, as MMSA")
    drop_remainder: bool = Field(
        False,
        description="an epoch leaves out the samples, drawn anew each time, that do not fill a step of batch_size "
        "times accumulate; false: batches differ in size by at most one, and the last step may have fewer of them",
    )
    accumulate: Count = Field(1, description=f"batches whose gradients make one step ({MMSA}: update_epochs 4)")
    accumulated: Literal["mean", "sum"] = Field(
        "mean", description="mean: over the step's samples; sum: of the batches' means, as MMSA"
    )
    modality_dropout: dict[Modality, Share] = Field(
        {},
        description="modality -> share of the train split's samples that are trained on without it, drawn anew in each "
        "epoch from the run's seed (Neverova et al. 2016, arXiv 1501.00102, section 3: ModDrop)",
    )
    groups: GroupsConfig = GroupsConfig()
    max_gradient_norm: Annotated[Number, Field(gt=0)] | None = Field(
        1.0, description="gradients are scaled down to this norm; None: they are not, as in MMSA"
    )
    max_epochs: Count = Field(50, description="epochs at most")
    patience: Count = Field(8, description=f"epochs without a better validation MAE before the end ({MMSA})")
    precision: Precision = Field(
        "float32",
        description="of every number that a run passes through; bf16: autocast over float32. float64 repeats on every "
        "x86-64 processor, the others on one kind of processor",
    )
    device: Literal["auto", "cpu"] = Field("auto", description="auto: a GPU if there is one")
    average: bool = Field(
        False, description="also evaluate a moving average of the weights, selected by its own validation MAE"
    )
    diagnostics: bool = Field(
        False, description="the history also shows gradients and encodings: see msa_core.diagnostics"
    )
    state_every: Annotated[Number, UNNUMBERED] = Field(
        60.0, ge=0, description="seconds between two savings of the resumable state, at least"
    )
    tracker: Annotated[Text | None, UNNUMBERED] = Field(
        None, description="one of Accelerate's, as tensorboard, that also gets each row of the history; None: none"
    )
