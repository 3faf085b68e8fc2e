"""Settings of what is minimised: the alignment and the source of the unimodal labels."""

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from msa_core import MODALITIES
from msa_core.config.base import MMSA, MOST, Count, Number, Settings, Width, shown
from msa_core.config.data import Modality
from msa_core.config.distances import BOUNDED, CovarianceDistance, DistanceConfig


def _split_pairs(pairs: Any) -> Any:
    """ "vision-audio" -> ("audio", "vision"): one spelling of each pair."""
    if not isinstance(pairs, Mapping):
        return pairs
    split: dict[tuple[str, ...], Any] = {}
    for name, weight in pairs.items():
        pair = name.split("-") if isinstance(name, str) else name
        members = tuple(modality for modality in MODALITIES if isinstance(pair, list | tuple) and modality in pair)
        if len(members) != 2 or len(pair) != 2:
            expected = f"two different ones of {', '.join(MODALITIES)}, such as 'audio-vision'"
            raise ValueError(f"got the pair {shown(name)}, expected {expected}")
        if members in split:
            raise ValueError(f"got the pair {shown(name)} twice, expected each pair once")
        split[members] = weight
    return split


Pairs = Annotated[
    dict[tuple[Modality, Modality], Number],
    BeforeValidator(_split_pairs),
    PlainSerializer(lambda pairs: {"-".join(pair): weight for pair, weight in pairs.items()}),
]


class AlignmentConfig(Settings):
    """Shared information, `msa_core.alignment.AlignmentLoss`."""

    pairs: Pairs = Field({}, description="weight of each pair, written 'audio-vision'; empty: no alignment")
    scale: Number = Field(1.0, description="times every weight; 0: distances are measured, not trained")
    distance: DistanceConfig = CovarianceDistance()
    width: Width = Field(32, description="where a pair's widths differ: both are mapped to this one")

    @model_validator(mode="after")
    def _weights_can_be_trained(self) -> "AlignmentConfig":
        for pair, weight in self.pairs.items():
            weight *= self.scale
            if not isfinite(weight) or (weight < 0 and not self.distance.bounded):
                expected = "a finite one" if self.distance.bounded else "a finite one of at least 0"
                raise ValueError(
                    f"got weight {weight} for {'-'.join(pair)} on the distance {self.distance.kind}, expected "
                    f"{expected}; a negative weight needs a bounded distance: {', '.join(BOUNDED)}"
                )
        return self


# --- label sources --------------------------------------------------------------------------------------------------


class GeneratedLabels(Settings):
    """The paper's, `msa_core.labels.UnimodalLabelGenerator`."""

    kind: Literal["generated"] = "generated"
    exclude_zero: bool = Field(True, description=f"zero labels are in neither class of the centres ({MMSA})")
    centre_distance: Literal["l2", "squared"] = Field("l2", description="'l2': Self-MM's release; 'squared': its paper")
    momentum: Number | None = Field(
        None, ge=0, lt=1, description="the old label's share in each new one; None: (i-1)/(i+1) in epoch i (Self-MM)"
    )
    first_epoch: int = Field(2, ge=2, le=MOST, description="in which labels move (Self-MM: 2)")


class DampedLabels(GeneratedLabels):
    """`msa_core.parts.damped.DampedLabels`, with the generator's own settings."""

    kind: Literal["damped"] = "damped"  # type: ignore[assignment]
    share: Number = Field(0.1, gt=0, le=1, description="of a generated label's offset from y that is kept")


class CopiedLabels(Settings):
    """Copies of y."""

    kind: Literal["copied"] = "copied"


class TrueLabels(Settings):
    """The data's own unimodal labels: true ones (planted data) or human ones (CH-SIMS)."""

    kind: Literal["true"] = "true"


class NoUnimodalLabels(Settings):
    """No unimodal tasks: the model predicts the multimodal label alone."""

    kind: Literal["none"] = "none"


class NearestLabels(Settings):
    """`msa_core.parts.neighbours.NearestNeighbourLabels`."""

    kind: Literal["nearest"] = "nearest"
    neighbours: Count = Field(10, description="k, samples whose labels are averaged; ours, not chosen on data")


class EnsembleLabels(Settings):
    """`msa_core.parts.ensembles.EnsembleLabels`."""

    kind: Literal["ensemble"] = "ensemble"
    momentum: Number = Field(0.6, ge=0, lt=1, description="m, of the average over epochs (Laine and Aila: alpha 0.6)")
    share: Number = Field(0.5, gt=0, lt=1, description="a, of the ensemble in a label; ours, not chosen on data")


class ResidualLabels(Settings):
    """`msa_core.parts.residual.ResidualLabels`."""

    kind: Literal["residual"] = "residual"
    share: Number = Field(1.0, gt=0, description="a, of the residual that is added to y; ours, not chosen on data")
    penalty: Number = Field(0.1, gt=0, description="p, over the features' mean variance; ours, not chosen on data")


LabelsConfig = Annotated[
    GeneratedLabels
    | CopiedLabels
    | TrueLabels
    | NoUnimodalLabels
    | NearestLabels
    | DampedLabels
    | EnsembleLabels
    | ResidualLabels,
    Field(discriminator="kind"),
]


# --- balance of the tasks -------------------------------------------------------------------------------------------


class SummedTasks(Settings):
    """Their terms are added as they are."""

    kind: Literal["sum"] = "sum"


class UncertaintyWeights(Settings):
    """`msa_core.parts.balance.UncertaintyWeights`."""

    kind: Literal["uncertainty"] = "uncertainty"


class PCGrad(Settings):
    """`msa_core.parts.balance.PCGrad`."""

    kind: Literal["pcgrad"] = "pcgrad"


BalanceConfig = Annotated[SummedTasks | UncertaintyWeights | PCGrad, Field(discriminator="kind")]


class LabelContrast(Settings):
    """`msa_core.parts.contrast.label_contrast`, on the multimodal feature."""

    weight: Number = Field(0.1, gt=0, description="of its term; ours, not chosen on data")
    temperature: Number = Field(0.1, ge=0.01, description="divides the cosines (Khosla et al.: 0.1)")


class ObjectiveConfig(Settings):
    """The paper's parts, each of which a variant may take out."""

    alignment: AlignmentConfig = AlignmentConfig()
    labels: LabelsConfig = GeneratedLabels()
    weight_adjustment: bool = Field(True, description="W_s = tanh|y_s - y| on the unimodal tasks")
    balance: BalanceConfig = SummedTasks()
    contrast: LabelContrast | None = Field(None, description="of the multimodal features by their labels; None: none")

    @model_validator(mode="after")
    def _copied_labels_need_weight_one(self) -> "ObjectiveConfig":
        if isinstance(self.labels, CopiedLabels) and self.weight_adjustment:
            raise ValueError(
                "got labels 'copied' with weight_adjustment, expected it off: "
                "tanh|y_s - y| is 0 for copies, so that the unimodal tasks would not be trained"
            )
        return self

    @model_validator(mode="after")
    def _uncertainty_needs_weight_one(self) -> "ObjectiveConfig":
        if isinstance(self.balance, UncertaintyWeights) and self.weight_adjustment:
            raise ValueError(
                "got balance 'uncertainty' with weight_adjustment, expected it off: a task's scale is that of its "
                "errors, and would go to 0 while tanh|y_s - y| is 0"
            )
        return self
