"""What a linear map can read: of encodings, the planted factors and one modality from another; of frames, the label."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from msa_core.analysis.comparisons import run_interval
from msa_core.data import FeatureSet, batches
from msa_core.encoders import mean_over_time

PENALTIES = np.logspace(-2, 6, 17)  # of the ridge regression; of encodings, chosen by leave-one-out in the fitted folds
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


def label_probes(data: Mapping[str, FeatureSet]) -> pd.DataFrame:
    """How much of the label a linear map reads from one modality's frames alone.

    A ridge regression on each sample's mean frame, standardised, fitted on the train split; its penalty is chosen on
    the validation split, by either error; the test split is looked at with that penalty alone. Samples without a label
    are left out.

    Args:
        data: the three splits.

    Returns:
        A row per modality with frames and error by which the penalty was chosen ("squared", "absolute"): on the test
        split corr, corr_low, corr_high (95%, Fisher's z), mae, mae_low, mae_high (95%, t), mae_median (of always
        saying the train split's median), n. The intervals take the samples as independent; those of one video are
        not, and the intervals are then too narrow.
    """
    known = {split: ~part.labels.isnan().numpy() for split, part in data.items()}
    y = {split: part.labels.numpy().astype(np.float64)[known[split]] for split, part in data.items()}
    mae_median = mean_absolute_error(y["test"], np.full_like(y["test"], np.median(y["train"])))
    rows = []
    for modality in (name for name in data["train"].modalities if data["train"].sequences[name].entry_shape):
        x = {split: mean_frames(part, modality)[known[split]] for split, part in data.items()}
        fitted = [make_pipeline(StandardScaler(), Ridge(penalty)).fit(x["train"], y["train"]) for penalty in PENALTIES]
        for chosen_by, error in (("squared", mean_squared_error), ("absolute", mean_absolute_error)):
            errors = [error(y["valid"], probe.predict(x["valid"])) for probe in fitted]
            predicted = fitted[int(np.argmin(errors))].predict(x["test"])
            corr, mae = pearsonr(predicted, y["test"]), run_interval(np.abs(predicted - y["test"]))
            within = corr.confidence_interval(0.95)
            measured = {"corr": corr.statistic, "corr_low": within.low, "corr_high": within.high}
            measured |= {"mae": mae.estimate, "mae_low": mae.low, "mae_high": mae.high, "mae_median": mae_median}
            rows.append({"modality": modality, "chosen_by": chosen_by, **measured, "n": len(predicted)})
    return pd.DataFrame(rows)


def mean_frames(features: FeatureSet, modality: str, power: int = 1) -> NDArray:
    """Each sample's mean frame as batched, (N, D), or that of a power of its values; zeros where it has none."""
    means = np.zeros((len(features), features.sequences[modality].entry_shape[0]))
    for batch in batches(features, 256):
        means[batch.index] = mean_over_time(batch.sequences[modality] ** power, batch.lengths[modality])
    return means


def with_untrained(r2: pd.DataFrame) -> pd.DataFrame:
    """Probes of models before training as those of a variant "untrained", which comes first.

    Args:
        r2: probes as `collect.Records` gives them, with a column trained.
    """
    trained = r2["trained"].astype(bool)
    return pd.concat([r2[~trained].assign(variant="untrained"), r2[trained]], ignore_index=True)
