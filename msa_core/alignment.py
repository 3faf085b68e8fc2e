"""Deep modal alignment: the shared-information loss (arXiv 2305.08473, the paper's covariance-matrix loss).

Plug-and-play: everything here takes tensors, or a mapping from modality to tensor, and knows nothing of the
model that made them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

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
    if x.ndim != 2 or x.shape[0] < 2:
        raise ValueError(
            f"covariance: got features of shape {tuple(x.shape)}, expected (B, D) with B at least 2; "
            "a batch of 1 has no covariance: use a larger batch or a sampler that leaves no batch of 1"
        )
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

    Unbounded, and zero also when both modalities shrink to a constant: see `correlation_distance`.

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
    _same_width(x, z)
    return (covariance(x) - covariance(z)).square().sum() / (4 * x.shape[1] ** 2)


def correlation_distance(x: Tensor, z: Tensor, eps: float = 1e-8) -> Tensor:
    """The same distance between correlation matrices: scale-free, so shrinking the features cannot lower it.

    Ours, not the paper's. Every entry of a difference of correlation matrices is within [-2, 2], hence range [0, 1].

    Args:
        x, z: features of two modalities, (B, D) each, of one width D.
        eps: added to each variance before the square root, so that a constant feature has correlation 0.

    Returns:
        Scalar.

    Raises:
        ValueError: widths differ, or a batch has fewer than two rows.

    >>> x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [1.0, 5.0]])
    >>> correlation_distance(x, 10 * x).item() < 1e-10
    True
    """
    _same_width(x, z)
    return (_correlation(x, eps) - _correlation(z, eps)).square().sum() / (4 * x.shape[1] ** 2)


def cka_distance(x: Tensor, z: Tensor, eps: float = 1e-8) -> Tensor:
    """One minus the linear centred kernel alignment (Kornblith et al. 2019).

    ``1 - ||C(X, Z)||_F^2 / (||C(X)||_F ||C(Z)||_F)``, C(X, Z) the cross-covariance; range [0, 1]. With the centred
    Gram matrices K and L the quotient is <K, L> / (||K||_F ||L||_F): not negative, since both are positive
    semidefinite, and at most 1 by Cauchy and Schwarz. Unchanged by a rotation or a scale of either modality's
    features. It is the one distance here that sees which sample is which; on a batch of few samples it is biased
    downwards, as any features of B samples are alike where B is not far above D.

    Args:
        x, z: features of two modalities, (B, D) each; the widths may differ.
        eps: the least value of each norm below the line, in the unit of x squared: constant features are at
            distance 1 from all.

    Returns:
        Scalar.

    Raises:
        ValueError: a batch has fewer than two rows.

    >>> x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [1.0, 5.0]])
    >>> turned = x @ torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    >>> abs(cka_distance(x, 10 * turned).item()) < 1e-6
    True
    """
    norm_x, norm_z = (torch.linalg.matrix_norm(covariance(features)).clamp(min=eps) for features in (x, z))
    cross = (x - x.mean(dim=0)).T @ (z - z.mean(dim=0)) / (x.shape[0] - 1)  # (D_x, D_z)
    return 1 - cross.square().sum() / (norm_x * norm_z)


def cmd_distance(x: Tensor, z: Tensor, moments: int = 5) -> Tensor:
    """Central moment discrepancy (Zellinger et al. 2017) of the features squashed by tanh; range [0, 2.5].

    ``|mean U - mean V| + sum over k = 2..K of |c_k(U) - c_k(V)|`` with ``U = (1 + tanh X) / 2``, V likewise of Z,
    ``c_k(U) = mean (U - mean U)^k`` coordinate by coordinate, and |.| the root mean square over the D coordinates.
    The original takes features of a bounded interval [a, b], divides the k-th term by (b - a)^k and sums over the
    coordinates: encodings have no bound, hence tanh; its interval brought to [0, 1] makes every divisor 1; and the
    mean over the coordinates makes the range independent of D. Bounded, since of numbers in [0, 1] the means differ by
    at most 1, the variances lie in [0, 1/4], and ``|c_k| <= c_2``, of either sign where k is odd: with K = 5 at most
    1 + 1/4 + 1/2 + 1/4 + 1/2. Compares coordinate by coordinate and sees no covariance between two of them.

    Args:
        x, z: features of two modalities, (B, D) each, of one width D.
        moments: K, at least 1; the paper's choice is 5.

    Returns:
        Scalar.

    Raises:
        ValueError: widths differ.

    >>> x = torch.tensor([[0.5], [-0.5]])
    >>> round(cmd_distance(x, 100 * x).item(), 4)  # c_2: 0.0534 and 0.25, c_4 their squares, c_3 and c_5 are 0
    0.2563
    """
    _same_width(x, z)
    u, v = ((1 + features.tanh()) / 2 for features in (x, z))
    gaps = [u.mean(dim=0) - v.mean(dim=0)]  # each (D,)
    u, v = (features - features.mean(dim=0) for features in (u, v))
    gaps += [u.pow(k).mean(dim=0) - v.pow(k).mean(dim=0) for k in range(2, moments + 1)]
    return torch.linalg.vector_norm(torch.stack(gaps), dim=1).sum() / x.shape[1] ** 0.5


def mean_and_covariance_distance(x: Tensor, z: Tensor) -> Tensor:
    """The paper's distance, which no shift changes, and one of the means: ``+ ||mean X - mean Z||^2 / (4 D)``.

    Ours. The scale follows the paper's: ``||.||_F^2 / (4 D^2)`` is a quarter of the mean squared difference of the
    D^2 entries, the term added here a quarter of that of the D means. Range [0, inf).

    Args:
        x, z: features of two modalities, (B, D) each, of one width D.

    Returns:
        Scalar.

    Raises:
        ValueError: widths differ, or a batch has fewer than two rows.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> mean_and_covariance_distance(x, 2 * x).item()  # variances 2 and 8, means 1 and 2: (8 - 2)^2 / 4 + 1 / 4
    9.25
    """
    return covariance_distance(x, z) + (x.mean(dim=0) - z.mean(dim=0)).square().mean() / 4


def _correlation(x: Tensor, eps: float) -> Tensor:
    cov = covariance(x)
    scale = (cov.diagonal() + eps).rsqrt()
    return scale[:, None] * cov * scale[None, :]


def _same_width(x: Tensor, z: Tensor) -> None:
    if x.shape[-1] != z.shape[-1]:
        raise ValueError(
            f"alignment: got features of widths {x.shape[-1]} and {z.shape[-1]}, expected one width; "
            "give AlignmentLoss feature_dims and common_width, and it learns a linear map to one width"
        )


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "covariance": covariance_distance,
    "correlation": correlation_distance,
    "cka": cka_distance,
    "cmd": cmd_distance,
    "mean_and_covariance": mean_and_covariance_distance,
}
BOUNDED_DISTANCES = ("correlation", "cka", "cmd")  # those that a negative weight may push up without end in sight


class AlignmentOutput(NamedTuple):
    """Weighted total (scalar) and each pair's distance before weighting (scalar, detached)."""

    total: Tensor
    pairs: dict[Pair, Tensor]


class AlignmentLoss(nn.Module):
    """``L_shared = sum over pairs of w_pair * distance(X, Z)`` (arXiv 2305.08473, shared information).

    A positive weight draws the two modalities' second-order statistics together (shared information), a negative
    one pushes them apart (private information). A pair of weight 0 is measured, without a gradient or a learned map,
    and not trained. Computed in float32 or wider, whatever autocast says.

    Args:
        pairs: weight of each pair of modalities; a plain iterable of pairs gives each the weight 1.
        distance: a key of `DISTANCES`; "covariance" is the paper's.
        feature_dims: width of each modality's features. Needed only where widths differ.
        common_width: width to which a learned linear map (no bias: a covariance does not see one) takes every
            modality of a weighted pair whose width is another. Needed only where widths differ.

    Raises:
        ValueError: unknown distance, a modality paired with itself, a pair named twice, a negative weight on an
            unbounded distance (training would diverge), unequal widths without `common_width`.

    >>> features = {"audio": torch.tensor([[0.0], [2.0]]), "vision": torch.tensor([[0.0], [4.0]])}
    >>> output = AlignmentLoss({("audio", "vision"): 0.5})(features)
    >>> output.total.item(), output.pairs["audio", "vision"].item()
    (4.5, 9.0)
    """

    def __init__(
        self,
        pairs: Mapping[Pair, float] | Iterable[Pair],
        distance: str = "covariance",
        feature_dims: Mapping[str, int] | None = None,
        common_width: int | None = None,
    ) -> None:
        super().__init__()
        self.pairs = _checked_pairs(pairs)
        if distance not in DISTANCES:
            raise ValueError(f"AlignmentLoss: got distance {distance!r}, expected one of {sorted(DISTANCES)}")
        for pair, weight in self.pairs.items():
            if weight < 0 and distance not in BOUNDED_DISTANCES:
                raise ValueError(
                    f"AlignmentLoss: got weight {weight} for {pair} on the unbounded distance {distance!r}, which "
                    f"a negative weight drives to infinity; use a bounded one: {', '.join(BOUNDED_DISTANCES)}"
                )
        self.distance = DISTANCES[distance]
        self.projections = nn.ModuleDict()
        if common_width is not None:
            if feature_dims is None:
                raise ValueError(
                    "AlignmentLoss: got common_width without feature_dims; give the widths of the features"
                )
            for modality in sorted({modality for pair, weight in self.pairs.items() if weight for modality in pair}):
                if feature_dims[modality] != common_width:
                    self.projections[modality] = nn.Linear(feature_dims[modality], common_width, bias=False)

    def forward(self, features: Mapping[str, Tensor]) -> AlignmentOutput:
        """Align a batch.

        Args:
            features: modality -> (B, D), B at least 2.

        Raises:
            ValueError: a modality of a pair is missing, a batch of 1, unequal widths without a projection.
        """
        missing = {modality for pair in self.pairs for modality in pair} - set(features)
        if missing:
            raise ValueError(f"AlignmentLoss: got features of {sorted(features)}, expected also {sorted(missing)}")
        first = next(iter(features.values()))
        total = torch.zeros((), device=first.device)
        values = {}
        with torch.autocast(first.device.type, enabled=False):
            for pair, weight in self.pairs.items():
                x, z = (_at_least_float32(features[modality]) for modality in pair)
                if weight == 0:
                    values[pair] = self.distance(x.detach(), z.detach())
                    continue
                distance = self.distance(self._projected(pair[0], x), self._projected(pair[1], z))
                total = total + weight * distance
                values[pair] = distance.detach()
        return AlignmentOutput(total, values)

    def _projected(self, modality: str, x: Tensor) -> Tensor:
        return self.projections[modality](x) if modality in self.projections else x


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _checked_pairs(pairs: Mapping[Pair, float] | Iterable[Pair]) -> dict[Pair, float]:
    items = list(pairs.items()) if isinstance(pairs, Mapping) else [(pair, 1.0) for pair in pairs]
    seen: set[frozenset[str]] = set()
    for (first, second), _ in items:
        if first == second:
            raise ValueError(f"AlignmentLoss: got the pair ({first}, {second}), expected two different modalities")
        if frozenset((first, second)) in seen:
            raise ValueError(f"AlignmentLoss: got the pair ({first}, {second}) twice, expected each pair once")
        seen.add(frozenset((first, second)))
    return {(first, second): float(weight) for (first, second), weight in items}
