"""Second-order statistics of encodings: variances, spectra, distances."""

from collections.abc import Iterable, Mapping
from itertools import product

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from msa_core.alignment import covariance_gap
from msa_core.diagnostics import effective_rank
from msa_core.parts.distances import correlation_matrix


def variance_table(covariances: Mapping[str, NDArray]) -> pd.DataFrame:
    """Total variance and `effective_rank` of each modality's encodings, before and after training.

    Args:
        covariances: `Run.covariances`.
    """
    rows = []
    for key, spectrum in covariances.items():
        modality, what, when = key.split("/")
        if what == "spectrum":
            rows.append(
                {
                    "modality": modality,
                    "when": when,
                    "total variance": spectrum.sum(),
                    "effective rank": effective_rank(spectrum),
                    "width": len(spectrum),
                }
            )
    return pd.DataFrame(rows).sort_values("modality", kind="stable").set_index(["modality", "when"])


def second_order(covariances: Mapping[str, NDArray], pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """What tells aligning from shrinking, for one run, before and after training.

    Args:
        covariances: `Run.covariances`.
        pairs: of modalities.

    Returns:
        A row per modality, when and measure, with its value: each modality's total variance and effective rank; of
        each pair (modality "audio-vision") whose widths are equal, the covariance distance (that of the paper) and
        the correlation distance (scale-free, of `alignment.correlation_distance`).
    """
    variances = variance_table(covariances).drop(columns="width").reset_index()
    table = variances.melt(["modality", "when"], var_name="measure")
    rows: list[dict[str, object]] = []
    for pair, when in product(pairs, ("before", "after")):
        first, second = (torch.from_numpy(covariances[f"{modality}/covariance/{when}"]) for modality in pair)
        if first.shape == second.shape:
            distances = {
                "covariance distance": covariance_gap(first, second).item(),
                "correlation distance": covariance_gap(correlation_matrix(first), correlation_matrix(second)).item(),
            }
            names = {"modality": "-".join(pair), "when": when}
            rows += [names | {"measure": measure, "value": value} for measure, value in distances.items()]
    return pd.concat([table, pd.DataFrame(rows, columns=list(table))], ignore_index=True) if rows else table


def covariance_matrices(triangles: pd.DataFrame) -> dict[str, dict[str, NDArray]]:
    """Variant -> "<modality>/covariance/<when>" -> the whole symmetric matrix.

    Args:
        triangles: variant, modality, when and the upper triangle: row, column, value; one run a variant.
    """
    matrices: dict[str, dict[str, NDArray]] = {}
    for (variant, modality, when), upper in triangles.groupby(["variant", "modality", "when"], sort=False):
        width = int(upper["column"].max()) + 1
        matrix = np.empty((width, width))
        matrix[upper["row"], upper["column"]] = matrix[upper["column"], upper["row"]] = upper["value"]
        matrices.setdefault(str(variant), {})[f"{modality}/covariance/{when}"] = matrix
    return matrices


def spectra(covariances: Mapping[str, NDArray]) -> pd.DataFrame:
    """Eigenvalues of each covariance: modality, when, rank (1: the largest), variance.

    Args:
        covariances: `Run.covariances`.
    """
    parts = [
        pd.DataFrame({"modality": modality, "when": when, "rank": range(1, len(values) + 1), "variance": values})
        for key, values in covariances.items()
        for modality, what, when in [key.split("/")]
        if what == "spectrum"
    ]
    return pd.concat(parts, ignore_index=True)
