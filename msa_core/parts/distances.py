"""Distances between the features of two modalities."""

from torch import Tensor


def correlation_matrix(covariance: Tensor, eps: float = 1e-8) -> Tensor:
    """The correlation matrix of a covariance matrix.

    Args:
        covariance: (D, D).
        eps: added to each variance before the square root, so that a constant feature has correlation 0.

    Returns:
        (D, D), within [-1, 1].
    """
    scale = (covariance.diagonal() + eps).rsqrt()
    return scale[:, None] * covariance * scale[None, :]
