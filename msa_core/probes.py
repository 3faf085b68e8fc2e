"""What a linear map can read out of encodings: the planted factors, and one modality from another."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = np.logspace(-2, 4, 13)  # of the ridge regression, chosen by leave-one-out within the train split


def linear_probe(train: tuple[ArrayLike, ArrayLike], test: tuple[ArrayLike, ArrayLike]) -> NDArray:
    """R2, on the test split, of each target from standardised features by ridge regression fitted on the train split.

    Args:
        train, test: features (N, D) and targets (N, K) of each split. The scale of a feature does not matter.

    Returns:
        (K,), at most 1; 0: as good as the test split's mean, negative: worse; nan: the target is constant there.

    >>> x = np.arange(10.0)[:, None]
    >>> linear_probe((x, 2 * x), (x, 2 * x)).round(3)
    array([1.])
    """
    (x, y), (test_x, test_y) = ([np.asarray(array, np.float64) for array in split] for split in (train, test))
    probe = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, alpha_per_target=True)).fit(x, y)
    predicted = probe.predict(test_x).reshape(test_y.shape)
    scores = r2_score(test_y, predicted, multioutput="raw_values")
    return np.where(np.ptp(test_y, axis=0) > 0, scores, np.nan)


def factor_probes(
    train: Mapping[str, NDArray],
    test: Mapping[str, NDArray],
    train_factors: Mapping[str, ArrayLike],
    test_factors: Mapping[str, ArrayLike],
) -> pd.DataFrame:
    """How much of each planted factor each modality's encoding holds, as far as a linear map can tell.

    Args:
        train, test: modality -> encodings of the split, (N, D) (`training.encodings`).
        train_factors, test_factors: "shared" and each modality (its private factor) -> (N,) (`FeatureSet.factors`).

    Returns:
        A row per modality and factor: r2 of `linear_probe`.
    """
    y, test_y = (np.stack([*map(np.asarray, part.values())], axis=1) for part in (train_factors, test_factors))
    rows = [
        {"modality": modality, "factor": factor, "r2": r2}
        for modality in train
        for factor, r2 in zip(train_factors, linear_probe((train[modality], y), (test[modality], test_y)), strict=True)
    ]
    return pd.DataFrame(rows)


def cross_modal(train: Mapping[str, NDArray], test: Mapping[str, NDArray]) -> pd.DataFrame:
    """How much of one modality's encoding a linear map finds in another's.

    Args:
        train, test: modality -> encodings of the split, (N, D) (`training.encodings`).

    Returns:
        A row per ordered pair source, target: r2, the mean of `linear_probe` over the target's dimensions, each
        weighing as much as its variance on the test split.
    """
    rows = []
    for source, target in permutations(train, 2):
        r2 = linear_probe((train[source], train[target]), (test[source], test[target]))
        varies = ~np.isnan(r2)
        weights = test[target].astype(np.float64).var(axis=0)[varies]
        r2_mean = np.average(r2[varies], weights=weights) if varies.any() else np.nan
        rows.append({"source": source, "target": target, "r2": r2_mean})
    return pd.DataFrame(rows)
