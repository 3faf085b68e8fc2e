"""Settings of what is minimised: alignment, its distance, and the source of the unimodal labels."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from msa_core import MODALITIES
from msa_core.config.base import MMSA, Settings
from msa_core.config.data import Modality

# --- distances ------------------------------------------------------------------------------------------------------


class CovarianceDistance(Settings):
    """The paper's, `msa_core.alignment.covariance_distance`."""

    kind: Literal["covariance"] = "covariance"


class CorrelationDistance(Settings):
    """`msa_core.parts.distances.correlation_distance`: scale-free, bounded."""

    kind: Literal["correlation"] = "correlation"


class CKADistance(Settings):
    """`msa_core.parts.distances.cka_distance`: sees which sample is which, bounded."""

    kind: Literal["cka"] = "cka"


class CMDDistance(Settings):
    """`msa_core.parts.distances.cmd_distance`: central moments, bounded."""

    kind: Literal["cmd"] = "cmd"


class MeanAndCovarianceDistance(Settings):
    """`msa_core.parts.distances.mean_and_covariance_distance`."""

    kind: Literal["mean_and_covariance"] = "mean_and_covariance"


DistanceConfig = Annotated[
    CovarianceDistance | CorrelationDistance | CKADistance | CMDDistance | MeanAndCovarianceDistance,
    Field(discriminator="kind"),
]


def _split_pairs(pairs: Any) -> Any:
    """ "audio-vision" -> ("audio", "vision")."""
    if not isinstance(pairs, Mapping):
        return pairs
    split = {tuple(pair.split("-")) if isinstance(pair, str) else pair: weight for pair, weight in pairs.items()}
    for name, pair in zip(pairs, split, strict=True):
        if len(pair) != 2 or len(set(pair)) != 2 or not set(pair) <= set(MODALITIES):
            expected = f"two different ones of {', '.join(MODALITIES)}, such as 'audio-vision'"
            raise ValueError(f"got the pair {name!r}, expected {expected}")
    return split


Pairs = Annotated[
    dict[tuple[Modality, Modality], float],
    BeforeValidator(_split_pairs),
    PlainSerializer(lambda pairs: {"-".join(pair): weight for pair, weight in pairs.items()}),
]


class AlignmentConfig(Settings):
    """Shared information, `msa_core.alignment.AlignmentLoss`."""

    pairs: Pairs = Field({}, description="weight of each pair, written 'audio-vision'; empty: no alignment")
    scale: float = Field(1.0, description="times every weight; 0: distances are measured, not trained")
    distance: DistanceConfig = CovarianceDistance()
    width: int = Field(32, ge=1, description="where a pair's widths differ: both are mapped to this one")


# --- label sources --------------------------------------------------------------------------------------------------


class GeneratedLabels(Settings):
    """The paper's, `msa_core.labels.UnimodalLabelGenerator`."""

    kind: Literal["generated"] = "generated"
    exclude_zero: bool = Field(True, description=f"zero labels are in neither class of the centres ({MMSA})")
    centre_distance: Literal["l2", "squared"] = Field("l2", description="'l2': Self-MM's release; 'squared': its paper")


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
    neighbours: int = Field(10, ge=1, description="k, samples whose labels are averaged; ours, not chosen on data")


LabelsConfig = Annotated[
    GeneratedLabels | CopiedLabels | TrueLabels | NoUnimodalLabels | NearestLabels,
    Field(discriminator="kind"),
]


class ObjectiveConfig(Settings):
    """The paper's parts, each of which a variant may take out."""

    alignment: AlignmentConfig = AlignmentConfig()
    labels: LabelsConfig = GeneratedLabels()
    weight_adjustment: bool = Field(True, description="W_s = tanh|y_s - y| on the unimodal tasks")

    @model_validator(mode="after")
    def _copied_labels_need_weight_one(self) -> "ObjectiveConfig":
        if isinstance(self.labels, CopiedLabels) and self.weight_adjustment:
            raise ValueError(
                "got labels 'copied' with weight_adjustment, expected it off: "
                "tanh|y_s - y| is 0 for copies, so that the unimodal tasks would not be trained"
            )
        return self
