"""Other distances between two modalities' features than the paper's, for `AlignmentLoss(pairs, distance=...)`.

What each of them sees, by its `kind` in the settings (`msa_core.config.distances`): "sees" where the change moves its
value, "-" where it does not, for features whose variances and norms are far from zero. The change is made to one
modality, or the same one to both. A rotation is any orthogonal map of the D coordinates, a shift adds one vector to
every sample, a permutation changes the order of the samples. A test derives the table::

    | kind                | rotated | both | scaled | both | shifted | both | permuted | both |
    |---------------------|---------|------|--------|------|---------|------|----------|------|
    | covariance          | sees    | -    | sees   | sees | -       | -    | -        | -    |
    | correlation         | sees    | sees | -      | -    | -       | -    | -        | -    |
    | cka                 | -       | -    | -      | -    | -       | -    | sees     | -    |
    | cmd                 | sees    | sees | sees   | sees | sees    | sees | -        | -    |
    | mean_and_covariance | sees    | -    | sees   | sees | sees    | -    | -        | -    |
    | relational          | -       | -    | -      | -    | sees    | sees | sees     | -    |
    | info_nce            | sees    | -    | -      | -    | sees    | sees | sees     | -    |
    | shrink              | -       | -    | sees   | sees | -       | -    | -        | -    |
    | isotropic           | -       | -    | sees   | sees | -       | -    | -        | -    |
    | unbiased            | sees    | -    | sees   | sees | -       | -    | sees     | sees |
    | permuted            | sees    | -    | sees   | sees | -       | -    | -        | -    |

Only a distance that sees one modality's permutation can use which sample belongs to which: `cka`, `relational` and
`info_nce`. `unbiased` depends on which samples are in which half-batch, and on nothing else in their order. `permuted`
is here that of the paper's distance.
"""

from typing import TypeVar

import torch
from torch import Tensor

from msa_core.alignment import covariance, covariance_distance, covariance_gap, same_width
from msa_core.interfaces import Distance

D = TypeVar("D", bound=Distance)


def bounded(distance: D) -> D:
    """Mark a distance that has an upper bound, so that a negative weight may push it up."""
    distance.bounded = True  # type: ignore[attr-defined]
    return distance


@bounded
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
    same_width(x, z)
    return covariance_gap(correlation_matrix(covariance(x), eps), correlation_matrix(covariance(z), eps))


@bounded
def cka_distance(x: Tensor, z: Tensor, eps: float = 1e-8) -> Tensor:
    """One minus the linear centred kernel alignment (Kornblith et al. 2019).

    ``1 - ||C(X, Z)||_F^2 / (||C(X)||_F ||C(Z)||_F)``, C(X, Z) the cross-covariance; range [0, 1]. With the centred
    Gram matrices K and L the quotient is <K, L> / (||K||_F ||L||_F): not negative, since both are positive
    semidefinite, and at most 1 by Cauchy and Schwarz. On a batch of few samples it is biased downwards, as any features
    of B samples are alike where B is not far above D.

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


@bounded
def cmd_distance(x: Tensor, z: Tensor, moments: int = 5) -> Tensor:
    """Central moment discrepancy (Zellinger et al. 2017) of the features squashed by tanh; range [0, 2.5].

    ``|mean U - mean V| + sum over k = 2..K of |c_k(U) - c_k(V)|`` with ``U = (1 + tanh X) / 2``, V likewise of Z,
    ``c_k(U) = mean (U - mean U)^k`` coordinate by coordinate, and ``|.|`` the root mean square over the D coordinates.
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
    same_width(x, z)
    u, v = ((1 + features.tanh()) / 2 for features in (x, z))
    gaps = [u.mean(dim=0) - v.mean(dim=0)]  # each (D,)
    u, v = (features - features.mean(dim=0) for features in (u, v))
    gaps += [u.pow(k).mean(dim=0) - v.pow(k).mean(dim=0) for k in range(2, moments + 1)]
    return torch.linalg.vector_norm(torch.stack(gaps), dim=1).sum() / x.shape[1] ** 0.5


@bounded
def relational_distance(x: Tensor, z: Tensor, eps: float = 1e-8) -> Tensor:
    """The distance of the samples' cosine matrices, ``||S(X) - S(Z)||_F^2 / (4 B^2)``; range [0, 1].

    ``S(X)_ij`` is the cosine of samples i and j. After similarity-preserving distillation (Tung and Mori 2019, arXiv
    1907.09682), which divides the rows of ``X X'`` by their norms, not those of X, and has no factor 4. With it the
    range is that of `correlation_distance`, of which this is the counterpart among samples.

    Args:
        x, z: features of two modalities, (B, D) each; the widths may differ. A single sample is at distance 0.
        eps: added to each squared norm before the square root, so that a zero sample has cosine 0 with all.

    Returns:
        Scalar.

    >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    >>> z = torch.tensor([[0.0, 3.0], [0.0, -1.0]])  # cosine 1 between the samples of x, -1 between those of z
    >>> round(relational_distance(x, z).item(), 4)
    0.5
    """
    x, z = unit_rows(x, eps), unit_rows(z, eps)
    return covariance_gap(x @ x.T, z @ z.T)


@bounded
def info_nce_distance(x: Tensor, z: Tensor, temperature: float = 0.07, eps: float = 1e-8) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, equation 4), as CLIP trains with it.

    Each sample of one modality is to be told from the others' by its partner in the other modality: the mean
    cross-entropy of ``softmax(S / temperature)`` against the diagonal, over rows and over columns, with S the (B, B)
    cosines of X's and Z's samples (Radford et al. 2021, arXiv 2103.00020, figure 3, where the temperature is learned).
    Range [0, log(1 + (B - 1) exp(2 / temperature))]; log B where all cosines are equal, and above 0 also on equal
    features. The other samples of the batch are negatives, also those with a like label.

    Args:
        x, z: features of two modalities, (B, D) each, of one width D. A single sample is at distance 0.
        temperature: above 0.
        eps: added to each squared norm before the square root, so that a zero sample has cosine 0 with all.

    Returns:
        Scalar.

    Raises:
        ValueError: widths differ.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(info_nce_distance(x, x, temperature=1.0).item(), 4)  # log(1 + exp(-1))
    0.3133
    """
    same_width(x, z)
    logits = unit_rows(x, eps) @ unit_rows(z, eps).T / temperature  # (B, B)
    return (logits.logsumexp(dim=0) + logits.logsumexp(dim=1) - 2 * logits.diagonal()).mean() / 2


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


def correlation_matrix(covariance_matrix: Tensor, eps: float = 1e-8) -> Tensor:
    """The correlation matrix of a covariance matrix, (D, D) -> (D, D); `eps` is added to each variance."""
    scale = (covariance_matrix.diagonal() + eps).rsqrt()
    return scale[:, None] * covariance_matrix * scale[None, :]


def unit_rows(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Each sample divided by its norm, (B, D) -> (B, D); `eps` is added to each squared norm."""
    return x * (x.square().sum(dim=1, keepdim=True) + eps).rsqrt()
