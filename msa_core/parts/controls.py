"""Controls of the paper's distance: each keeps one thing that it does and takes out the rest.

They stand in the place of a distance, `AlignmentLoss(pairs, distance=...)`. Notation: C(X) is the covariance of X,
tr its trace, which is the total variance.
"""

from functools import wraps

import torch
from torch import Tensor

from msa_core.alignment import covariance, covariance_gap, same_width
from msa_core.interfaces import Distance


def shrink_penalty(x: Tensor, z: Tensor) -> Tensor:
    """Total variance alone, ``sum over X, Z of tr(C)^2 / ((B - 1) 4 D^2)``; range [0, inf).

    The control for the shrinkage in the paper's estimate. The expectation of that estimate has, for each modality, the
    term ``(||C||_F^2 + tr(C)^2) / ((B - 1) 4 D^2)`` (`unbiased_distance`). The term is of second power in C: hence the
    square of the trace, with the same factor. As ``tr(C)^2 / D <= ||C||_F^2 <= tr(C)^2``, the term is between 1 + 1/D
    (isotropic features) and 2 (features of one dimension) times this penalty at equal weight.

    Args:
        x, z: features of two modalities, (B, D) each; the widths may differ.

    Returns:
        Scalar.

    Raises:
        ValueError: a batch has fewer than two rows.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> shrink_penalty(x, 2 * x).item()  # variances 2 and 8, B - 1 = 1: (4 + 64) / 4
    17.0
    """
    means = torch.stack([covariance(features).diagonal().mean() for features in (x, z)])  # tr(C) / D each
    return means.square().sum() / (4 * (len(x) - 1))


def isotropic_distance(x: Tensor, z: Tensor, variance: float = 1.0) -> Tensor:
    """Each modality to a fixed target, ``sum over X, Z of ||C - v I||_F^2 / (4 D^2)``; range [0, inf).

    The control for "to each other": the covariances come together as both approach ``v I``, and neither depends on the
    other. Its expectation has the same shrinkage terms as that of the paper's distance.

    Args:
        x, z: features of two modalities, (B, D) each; the widths may differ.
        variance: v, in the unit of x squared.

    Returns:
        Scalar.

    Raises:
        ValueError: a batch has fewer than two rows.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> isotropic_distance(x, 2 * x, variance=2.0).item()  # variances 2 and 8: (8 - 2)^2 / 4
    9.0
    """
    covariances = (covariance(x), covariance(z))
    return torch.stack([covariance_gap(c, variance * torch.eye(len(c)).to(c)) for c in covariances]).sum()


def unbiased_distance(x: Tensor, z: Tensor) -> Tensor:
    """The paper's distance without its bias, ``<C_1(X) - C_1(Z), C_2(X) - C_2(Z)>_F / (4 D^2)``.

    C_1 and C_2 are the covariances of two half-batches, the samples at even and at odd places. As the halves are
    independent, the expectation is ``||C(X) - C(Z)||_F^2 / (4 D^2)`` of the true covariances: 0 where these are equal.
    A single value is a product of two differences with sampling errors of their own. It is negative where the two
    oppose each other, as is common near equal covariances; an estimate that is never negative cannot have mean 0.

    What the paper's estimate adds, for Gaussian features with covariances A of X and C of Z and cross-covariance K. By
    Isserlis' theorem, the entries i, j of the two sample covariances covary by ``(K_ii K_jj + K_ij K_ji) / (B - 1)``;
    the sum over i and j is ``(tr(K)^2 + tr(K^2)) / (B - 1)``. With X in the place of Z it is the variance of C(X),
    ``(tr(A)^2 + ||A||_F^2) / (B - 1)``. Hence the expectation of ``||C(X) - C(Z)||_F^2`` is

        ||A - C||_F^2 + (||A||_F^2 + tr(A)^2 + ||C||_F^2 + tr(C)^2 - 2 tr(K)^2 - 2 tr(K^2)) / (B - 1).

    For independent X and Z with A = C the second term is ``2 (||C||_F^2 + tr(C)^2) / (B - 1)``, a reward for less
    variance. Its part in K is a reward for what X and Z share: the sampling errors of the two covariances agree where
    the samples do. It is all that the paper's distance sees of the pairing, and it falls with 1/B. The product of two
    halves has neither.

    Args:
        x, z: features of two modalities, (B, D) each, of one width D; B at least 4. Of an odd B, one half has a
            sample more.

    Returns:
        Scalar; without a bound on either side.

    Raises:
        ValueError: widths differ, or a batch has fewer than four rows: a half needs two.

    >>> x = torch.tensor([[0.0], [0.0], [2.0], [4.0]])  # halves (0, 2) and (0, 4), variances 2 and 8
    >>> unbiased_distance(x, 2 * x).item()  # (2 - 8) (8 - 32) / 4
    36.0
    """
    same_width(x, z)
    first, second = (covariance(x[half::2]) - covariance(z[half::2]) for half in (0, 1))
    return (first * second).sum() / (4 * x.shape[1] ** 2)


unbiased_distance.least_samples = 4  # type: ignore[attr-defined]


def permuted(distance: Distance) -> Distance:
    """Another distance, in which each sample has its neighbour's partner: z's samples are moved on by one.

    The control for "which sample belongs to which". It needs no random number, so that a run's other draws stay as
    they are, and no sample keeps its partner. Any permutation would do: the order of the samples within a batch is
    random, but for their lengths, which are nearly equal in it.

    Args:
        distance: of two modalities' features.

    Returns:
        A distance; its attributes are those of `distance`.

    >>> from msa_core.parts.distances import info_nce_distance
    >>> x = torch.eye(2)
    >>> round(permuted(info_nce_distance)(x, x).item(), 2), round(info_nce_distance(x, x).item(), 2)
    (14.29, 0.0)
    """

    @wraps(distance)
    def moved(x: Tensor, z: Tensor) -> Tensor:
        return distance(x, z.roll(1, dims=0))

    return moved
