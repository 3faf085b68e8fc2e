"""What a linear map can read out of encodings: the planted factors, and one modality from another."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = np.logspace(-2, 6, 17)  # of the ridge regression, chosen by leave-one-out within the fitted folds
FOLDS = KFold(10, shuffle=True, random_state=0)


def linear_probe(x: ArrayLike, y: ArrayLike) -> NDArray:
    """Cross-validated R2 of each target, from standardised features by ridge regression.

    Give it encodings of a split that the encoder was not trained on: those of its training samples hold what it
    learned of their labels by heart, and a map fitted on them does not fit others.

    Args:
        x, y: features (N, D) and targets (N, K) of at least 20 samples. The scale of a feature does not matter.

    Returns:
        (K,), at most 1, of the predictions of ten folds, each by a regression fitted on the other nine; 0: as good as
        the mean, negative: worse; nan: the target is constant.

    >>> x = np.arange(20.0)[:, None]
    >>> linear_probe(x, 2 * x).round(3)
    array([1.])
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    probe = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, alpha_per_target=True))
    predicted = cross_val_predict(probe, x, y, cv=FOLDS).reshape(y.shape)
    return np.where(np.ptp(y, axis=0) > 0, r2_score(y, predicted, multioutput="raw_values"), np.nan)


def factor_probes(encodings: Mapping[str, NDArray], factors: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """How much of each planted factor each modality's encoding holds, as far as a linear map can tell.

    Args:
        encodings: modality -> (N, D), of a split not trained on (`training.encodings`).
        factors: "shared" and each modality (its private factor) -> (N,) (`FeatureSet.factors`).

    Returns:
        A row per modality and factor: r2 of `linear_probe`.
    """
    y = np.stack([*map(np.asarray, factors.values())], axis=1)
    rows = [
        {"modality": modality, "factor": factor, "r2": r2}
        for modality, x in encodings.items()
        for factor, r2 in zip(factors, linear_probe(x, y), strict=True)
    ]
    return pd.DataFrame(rows)


def cross_modal(encodings: Mapping[str, NDArray]) -> pd.DataFrame:
    """How much of one modality's encoding a linear map finds in another's.

    Args:
        encodings: modality -> (N, D), of a split not trained on (`training.encodings`).

    Returns:
        A row per ordered pair source, target: r2, the mean of `linear_probe` over the target's dimensions, each
        weighing as much as its variance.
    """
    rows = []
    for source, target in permutations(encodings, 2):
        r2 = linear_probe(encodings[source], encodings[target])
        varies = ~np.isnan(r2)
        weights = encodings[target].astype(np.float64).var(axis=0)[varies]
        r2_mean = np.average(r2[varies], weights=weights) if varies.any() else np.nan
        rows.append({"source": source, "target": target, "r2": r2_mean})
    return pd.DataFrame(rows)


def with_untrained(r2: pd.DataFrame) -> pd.DataFrame:
    """Probes of models before training as those of a variant "untrained", which comes first.

    Args:
        r2: probes as `collect.Records` gives them, with a column trained.
    """
    trained = r2["trained"].astype(bool)
    return pd.concat([r2[~trained].assign(variant="untrained"), r2[trained]], ignore_index=True)
