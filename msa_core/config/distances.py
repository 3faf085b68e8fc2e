"""Settings of the distances between two modalities' features, one class each."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from msa_core.config.base import Number, Settings


class DistanceSettings(Settings):
    """A distance; a negative weight, which drives features apart without end, needs a bounded one."""

    bounded: ClassVar[bool] = False


class CovarianceDistance(DistanceSettings):
    """The paper's, `msa_core.alignment.covariance_distance`."""

    kind: Literal["covariance"] = "covariance"


class CorrelationDistance(DistanceSettings):
    """`msa_core.parts.distances.correlation_distance`: scale-free, bounded."""

    kind: Literal["correlation"] = "correlation"
    bounded: ClassVar[bool] = True


class CKADistance(DistanceSettings):
    """`msa_core.parts.distances.cka_distance`: sees which sample is which, bounded."""

    kind: Literal["cka"] = "cka"
    bounded: ClassVar[bool] = True


class CMDDistance(DistanceSettings):
    """`msa_core.parts.distances.cmd_distance`: central moments, bounded."""

    kind: Literal["cmd"] = "cmd"
    bounded: ClassVar[bool] = True


class MeanAndCovarianceDistance(DistanceSettings):
    """`msa_core.parts.distances.mean_and_covariance_distance`."""

    kind: Literal["mean_and_covariance"] = "mean_and_covariance"


class RelationalDistance(DistanceSettings):
    """`msa_core.parts.distances.relational_distance`: sees which sample is which, bounded."""

    kind: Literal["relational"] = "relational"
    bounded: ClassVar[bool] = True


class InfoNCEDistance(DistanceSettings):
    """`msa_core.parts.distances.info_nce_distance`: sees which sample is which, bounded."""

    kind: Literal["info_nce"] = "info_nce"
    bounded: ClassVar[bool] = True
    temperature: Number = Field(0.07, ge=0.01, description="divides the cosines (0.07: CLIP's first value, 2.5)")


class ShrinkPenalty(DistanceSettings):
    """`msa_core.parts.controls.shrink_penalty`: total variance alone."""

    kind: Literal["shrink"] = "shrink"


class IsotropicDistance(DistanceSettings):
    """`msa_core.parts.controls.isotropic_distance`: each modality to one multiple of the identity."""

    kind: Literal["isotropic"] = "isotropic"
    variance: Number = Field(1.0, ge=0, description="of each coordinate, in the unit of an encoding squared; ours")


class UnbiasedDistance(DistanceSettings):
    """`msa_core.parts.controls.unbiased_distance`: the paper's, estimated on two half-batches."""

    kind: Literal["unbiased"] = "unbiased"


ToPermute = (
    CovarianceDistance
    | CorrelationDistance
    | CKADistance
    | CMDDistance
    | MeanAndCovarianceDistance
    | RelationalDistance
    | InfoNCEDistance
    | ShrinkPenalty
    | IsotropicDistance
    | UnbiasedDistance
)


class PermutedDistance(DistanceSettings):
    """`msa_core.parts.controls.permuted`: another distance, each sample with its neighbour's partner."""

    kind: Literal["permuted"] = "permuted"
    of: Annotated[ToPermute, Field(discriminator="kind")] = CovarianceDistance()


DistanceConfig = Annotated[ToPermute | PermutedDistance, Field(discriminator="kind")]
BOUNDED = [settings.model_fields["kind"].default for settings in get_args(ToPermute) if settings.bounded]
