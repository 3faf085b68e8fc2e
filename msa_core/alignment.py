"""Deep modal alignment: the shared-information loss (arXiv 2305.08473, the paper's covariance-matrix loss).

Plug-and-play: everything here takes tensors, or a mapping from modality to tensor, and knows nothing of the
model that made them.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from msa_core.interfaces import Distance, Gather, Nothing, at_least_float32, check_size, is_finite, own_batch

Pair = tuple[str, str]


def covariance(x: Tensor) -> Tensor:
    """Unbiased covariance matrix over the batch, ``(X'X - (1'X)'(1'X)/B) / (B-1)`` written with centred X.

    Args:
        x: features, (B, D), B at least 2.

    Returns:
        (D, D), in the unit of x squared.

    Raises:
        ValueError: x is not a matrix, or has fewer than two rows.

    >>> covariance(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    tensor([[2., 4.],
            [4., 8.]])
    """
    require_samples("covariance", x, 2)
    centred = x - x.mean(dim=0, keepdim=True)  # (B, D)
    return centred.T @ centred / (x.shape[0] - 1)


def covariance_gap(c_x: Tensor, c_z: Tensor) -> Tensor:
    """The paper's distance of two covariance matrices, ``||C_x - C_z||_F^2 / (4 D^2)``; range [0, inf).

    Args:
        c_x, c_z: (D, D) each.

    Returns:
        Scalar.

    >>> covariance_gap(torch.tensor([[2.0]]), torch.tensor([[8.0]])).item()
    9.0
    """
    return (c_x - c_z).square().sum() / (4 * len(c_x) ** 2)


def covariance_distance(x: Tensor, z: Tensor) -> Tensor:
    """The paper's alignment loss, ``||C(X) - C(Z)||_F^2 / (4 D^2)``; range [0, inf).

    It compares second moments of each modality. It sees the scale and the orientation of the features, and not their
    means. Within a batch it cannot tell which audio belongs to which video: the order of the samples drops out of
    each covariance. Over many batches it sees that audio and video come from the same samples, through a term of its
    expectation that falls with 1/B: `msa_core.parts.controls.unbiased_distance` derives it. The layer behind one
    encoding can undo its rotation, so that the loss constrains little more than the two spectra. It is zero also
    where both modalities shrink to a constant, and it is unbounded. The table in `msa_core.parts.distances` says what
    other distances see.

    Args:
        x, z: features of two modalities, (B, D) each, of one width D.

    Returns:
        Scalar.

    Raises:
        ValueError: widths differ, or a batch has fewer than two rows.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> covariance_distance(x, 2 * x).item()  # variances 2 and 8: (8 - 2)^2 / 4
    9.0
    """
    same_width(x, z)
    return covariance_gap(covariance(x), covariance(z))


def require_samples(caller: str, x: Tensor, least: int) -> None:
    """Raise a `ValueError` that says who got which features, unless these are (B, D) with B at least `least`."""
    if x.ndim != 2 or x.shape[0] < least:
        raise ValueError(
            f"{caller}: got features of shape {tuple(x.shape)}, expected (B, D) with B at least {least}; "
            "use a larger batch, or a sampler that leaves no smaller one"
        )


def same_width(x: Tensor, z: Tensor) -> None:
    """Raise a `ValueError` if two modalities' features differ in width."""
    if x.shape[-1] != z.shape[-1]:
        raise ValueError(
            f"alignment: got features of widths {x.shape[-1]} and {z.shape[-1]}, expected one width; "
            "give AlignmentLoss feature_dims and common_width, and it learns a linear map to one width"
        )


class AlignmentOutput(NamedTuple):
    """Weighted total (scalar) and each measured pair's distance before weighting (scalar, detached)."""

    total: Tensor
    pairs: dict[Pair, Tensor]


class AlignmentLoss(nn.Module):
    """``L_shared = sum over pairs of w_pair * distance(X, Z)`` (arXiv 2305.08473, shared information).

    A positive weight draws the two modalities' second-order statistics together (shared information), a negative
    one pushes them apart (private information). A pair of weight 0 is measured, without a gradient or a learned map,
    and not trained. Computed in float32 or wider, whatever autocast says.

    Args:
        pairs: weight of each pair of modalities, written ("audio", "vision") or "audio-vision"; a plain iterable of
            pairs gives each the weight 1.
        distance: "covariance", the paper's, or a function of two tensors, such as one of `msa_core.parts.distances`.
        feature_dims: width of each modality's features. Needed only where widths differ.
        common_width: width to which a learned linear map (no bias: a covariance does not see one) takes every
            modality of a weighted pair whose width is another. Needed only where widths differ.
        gather: makes the whole batch of one process's part of it.

    Raises:
        ValueError: unknown distance, a modality paired with itself, a pair named twice, a weight that is not a finite
            number, a negative one on a distance that is not marked as bounded (training would diverge), a width that
            is not a positive integer, `common_width` without the width of a paired modality in `feature_dims`.

    >>> features = {"audio": torch.tensor([[0.0], [2.0]]), "vision": torch.tensor([[0.0], [4.0]])}
    >>> output = AlignmentLoss({"audio-vision": 0.5})(features)
    >>> output.total.item(), output.pairs["audio", "vision"].item()
    (4.5, 9.0)
    """

    def __init__(
        self,
        pairs: Mapping[Pair | str, float] | Iterable[Pair | str],
        distance: Distance | str = "covariance",
        feature_dims: Mapping[str, int] | None = None,
        common_width: int | None = None,
        gather: Gather = own_batch,
    ) -> None:
        super().__init__()
        self.pairs = _checked_pairs(pairs)
        self.distance = _checked_distance(distance, self.pairs)
        self.least = getattr(self.distance, "least_samples", 2)
        self.gather = gather
        self.projections = nn.ModuleDict()
        if common_width is not None:
            for modality, width in self._trained_widths(feature_dims, common_width).items():
                if width != common_width:
                    self.projections[modality] = nn.Linear(width, common_width, bias=False)

    def _trained_widths(self, feature_dims: Mapping[str, int] | None, common_width: int) -> dict[str, int]:
        trained = sorted({modality for pair, weight in self.pairs.items() if weight for modality in pair})
        if feature_dims is None:
            raise ValueError("AlignmentLoss: got common_width without feature_dims; give the widths of the features")
        if absent := sorted(set(trained) - set(feature_dims)):
            raise ValueError(f"AlignmentLoss: got feature_dims of {sorted(feature_dims)}, expected also {absent}")
        widths = {modality: feature_dims[modality] for modality in trained}
        for name, width in {"common_width": common_width, **widths}.items():
            check_size("AlignmentLoss", f"the width {name!r}:", width)
        return widths

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor] = Nothing) -> AlignmentOutput:
        """Align a batch.

        Args:
            features: modality -> (B, D), B at least 2, or the distance's `least_samples`.
            present: modality -> (B,) bool; a pair is aligned on the samples that have both of its modalities, and
                left out, of the total and of the measured pairs, where these are fewer than that.

        Raises:
            ValueError: a modality of a pair is missing, features in whole numbers, a whole batch of fewer samples than
                that, unequal widths without a projection.
        """
        if missing := {modality for pair in self.pairs for modality in pair} - set(features):
            raise ValueError(f"AlignmentLoss: got features of {sorted(features)}, expected also {sorted(missing)}")
        if wrong := [modality for modality, x in features.items() if not x.is_floating_point()]:
            raise ValueError(f"AlignmentLoss: got features of {wrong} in whole numbers, expected floating-point ones")
        first = next(iter(features.values()))
        total = torch.zeros((), device=first.device)
        values = {}
        with torch.autocast(first.device.type, enabled=False):
            for pair, weight in self.pairs.items():
                x, z = (at_least_float32(self.gather(features[modality])) for modality in pair)
                if masks := [self.gather(present[modality]) for modality in pair if modality in present]:
                    both = torch.stack(masks).all(dim=0)
                    x, z = x[both], z[both]
                    if len(x) < self.least:
                        continue
                require_samples("AlignmentLoss", x, self.least)
                if weight == 0:
                    values[pair] = self.distance(x.detach(), z.detach())
                    continue
                distance = self.distance(self._projected(pair[0], x), self._projected(pair[1], z))
                total = total + weight * distance
                values[pair] = distance.detach()
        return AlignmentOutput(total, values)

    def _projected(self, modality: str, x: Tensor) -> Tensor:
        return self.projections[modality](x) if modality in self.projections else x


def _checked_pairs(pairs: Mapping[Pair | str, float] | Iterable[Pair | str]) -> dict[Pair, float]:
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise ValueError(
            f"AlignmentLoss: got pairs {pairs!r}, expected weights such as {{'audio-vision': 1.0}} or ['audio-vision']"
        )
    items = pairs.items() if isinstance(pairs, Mapping) else [(pair, 1.0) for pair in pairs]
    checked: dict[Pair, float] = {}
    for name, weight in items:
        pair = tuple(name.split("-")) if isinstance(name, str) else name
        if not isinstance(pair, tuple) or not len(set(pair)) == len(pair) == 2 or not all(map(_is_name, pair)):
            raise ValueError(
                f"AlignmentLoss: got the pair {name!r}, expected two different modalities, such as 'audio-vision'"
            )
        if set(pair) in map(set, checked):
            raise ValueError(f"AlignmentLoss: got the pair {name!r} twice, expected each pair once")
        if not is_finite(weight):
            raise ValueError(f"AlignmentLoss: got weight {weight!r} for {name!r}, expected a finite number")
        checked[pair] = float(weight)
    return checked


def _is_name(part: object) -> bool:
    return isinstance(part, str) and part != ""


BOUNDED = "correlation_distance, cka_distance, cmd_distance, relational_distance, info_nce_distance"


def _checked_distance(distance: Distance | str, pairs: Mapping[Pair, float]) -> Distance:
    if distance != "covariance" and not callable(distance):
        raise ValueError(
            f"AlignmentLoss: got distance {distance!r}, expected 'covariance' or a function of two tensors, such as "
            "one of msa_core.parts.distances"
        )
    function = covariance_distance if isinstance(distance, str) else distance
    for pair, weight in pairs.items():
        if weight < 0 and not getattr(function, "bounded", False):
            raise ValueError(
                f"AlignmentLoss: got weight {weight} for {pair} on the unbounded distance "
                f"{getattr(function, '__name__', function)!r}, which a negative weight drives to infinity; "
                f"use a bounded one of msa_core.parts.distances: {BOUNDED}"
            )
    return function
