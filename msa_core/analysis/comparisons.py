"""Differences between variants with what is uncertain about them: frames in, frames out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import t

COMPARED = {"mosi": ("mae", "corr", "acc2_non0"), "sims": ("mae", "corr", "acc2")}
DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its uncertainty; all but `estimate` are nan where it cannot be known.

    Attributes:
        estimate: mean over seeds.
        low, high: 95% interval that counts the seeds as the few they are; see `crossed_interval`.
        bootstrap_low, bootstrap_high: percentiles of the bootstrap over samples and seeds.
        p: two-sided, of a mean of 0; below 0.05 exactly where `low` to `high` leaves 0 out.
    """

    estimate: float
    low: float = float("nan")
    high: float = float("nan")
    bootstrap_low: float = float("nan")
    bootstrap_high: float = float("nan")
    p: float = float("nan")


def resamples(number: int, draws: int = DRAWS, seed: int = 0) -> NDArray:
    """How often each of `number` samples is drawn, (draws, number): every row sums to `number`."""
    return np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=draws).astype(np.float64)


def crossed_interval(per_seed: ArrayLike, per_draw: ArrayLike, samples: int, seed: int = 0) -> Interval:
    """Interval of a mean over seeds, when all seeds were measured on the same test samples.

    Seeds and samples are crossed: another seed would have moved every sample's value, another test set every seed's.
    The bootstrap over both draws seeds and samples at once (Owen 2007, the pigeonhole bootstrap). With S seeds it
    understates what the seeds add, by (S - 1) / S in variance and by normal for t quantiles: of intervals meant for
    95%, only some 63% (S = 2), 75% (S = 3) and 86% (S = 5) hold the truth where the seeds' part is large. It is
    reported, but what decides is the interval that adds half-widths in quadrature (Zou and Donner 2008),
    ``h^2 = t(S - 1)^2 s^2 / S + t(n - 1)^2 v``, with s the standard deviation over seeds and v the variance of the
    mean over the draws of samples. It is the paired t-interval where samples add nothing, and the bootstrap's where
    seeds add nothing. What depends on seed and sample at once is counted in both terms (three times in the bootstrap,
    which can therefore be the wider one): between these ends the interval is too wide rather than too narrow.

    Args:
        per_seed: (S,), each seed's value on the test set.
        per_draw: (draws, S), the same on each resampled test set.
        samples: n, size of the test set.
        seed: of the draws of seeds.

    Returns:
        All but the estimate nan for fewer than two seeds: from one, nothing is known of the others.

    >>> rounded = crossed_interval([1.0, 2.0, 3.0], np.tile([1.0, 2.0, 3.0], (100, 1)), samples=50)
    >>> round(rounded.estimate, 3), round(rounded.low, 3), round(rounded.high, 3)  # 2 ± 4.303 / sqrt(3)
    (2.0, -0.484, 4.484)
    """
    values, drawn = np.asarray(per_seed, dtype=np.float64), np.asarray(per_draw, dtype=np.float64)
    seeds = len(values)
    estimate = float(values.mean()) if seeds else float("nan")
    if seeds < 2 or not (np.isfinite(values).all() and np.isfinite(drawn).all()):
        return Interval(estimate)
    errors = np.array([values.std(ddof=1) / np.sqrt(seeds), drawn.mean(axis=1).std(ddof=1)])
    freedom = np.array([seeds - 1, samples - 1])

    def half_width(level: float) -> float:
        return float(np.hypot(*(t.isf(level / 2, freedom) * errors)))

    counts = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), size=len(drawn))
    bootstrap_low, bootstrap_high = map(float, np.quantile((counts * drawn).mean(axis=1), [0.025, 0.975]))
    half = half_width(0.05)
    p = _p(abs(estimate), half_width)
    return Interval(estimate, estimate - half, estimate + half, bootstrap_low, bootstrap_high, p)


def _p(distance: float, half_width: Callable[[float], float]) -> float:
    """The level whose interval just reaches 0."""
    lowest = -300.0  # of log p
    if distance == 0:
        return 1.0
    if half_width(np.exp(lowest)) <= distance:
        return 0.0
    return float(np.exp(brentq(lambda level: half_width(np.exp(level)) - distance, lowest, 0.0)))


def seed_interval(values: ArrayLike) -> Interval:
    """The t-interval of a mean over seeds alone, for what has no test samples.

    Args:
        values: (S,), one for each seed.
    """
    table = np.asarray(values, dtype=np.float64)
    return crossed_interval(table, np.tile(table, (DRAWS, 1)), samples=2)


def mean_interval(values: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Interval:
    """`crossed_interval` of a plain mean.

    Args:
        values: (S, n), a value for each seed and sample.
        draws: of samples.
        seed: of the draws.
    """
    table = np.asarray(values, dtype=np.float64)
    samples = table.shape[1]
    return crossed_interval(table.mean(axis=1), resamples(samples, draws, seed) @ table.T / samples, samples, seed)


def holm(p: ArrayLike) -> NDArray:
    """Holm's correction for several tests (Holm 1979); nan, a test that could not be made, stays and counts as none.

    >>> holm([0.01, 0.04, 0.03, float("nan")]).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)  # nan last
    tests = int(np.isfinite(values).sum())
    corrected = np.full(len(values), np.nan)
    factors = np.arange(tests, 0, -1)
    corrected[order[:tests]] = np.minimum(np.maximum.accumulate(values[order[:tests]] * factors), 1)
    return corrected


def compare(predictions: pd.DataFrame, reference: str = "paper", draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Each variant against the reference: paired by seed, on the same test samples.

    Args:
        predictions: as `collect.Records` gives them.
        reference: variant with which the others are paired.
        draws: of the bootstrap.
        seed: of the bootstrap; all variants of a data set see the same draws.

    Returns:
        A row per dataset, title, variant and metric (MAE, Corr, Acc-2): the variant's value minus the reference's, as
        `Interval` says it; sd_seeds, the standard deviation of the paired differences; p_holm, corrected over the
        variants of one data set and metric; n_samples, n_seeds, seeds: those that both have.

    Raises:
        ValueError: two runs of a data set were not tested on the same samples.
    """
    rows = []
    for (dataset, title, scheme), group in predictions.groupby(["dataset", "title", "scheme"], sort=False):
        true, tables = _by_variant(str(dataset), group)
        weights = np.vstack([np.ones(len(true)), resamples(len(true), draws, seed)])  # the test set itself comes first
        measured = {
            variant: _metrics(weights, table.to_numpy(), true, str(scheme)) for variant, table in tables.items()
        }
        reference_seeds = tables[reference].index if reference in tables else pd.Index([])
        for variant, table in tables.items():
            if variant == reference:
                continue
            seeds = table.index.intersection(reference_seeds)
            for metric in COMPARED[str(scheme)]:
                differences = np.empty((draws + 1, 0))
                if len(seeds):
                    theirs = measured[reference][metric][:, reference_seeds.get_indexer(seeds)]
                    differences = measured[variant][metric][:, table.index.get_indexer(seeds)] - theirs
                interval = crossed_interval(differences[0], differences[1:], len(true), seed)
                rows.append(
                    {"dataset": dataset, "title": title, "variant": variant, "metric": metric}
                    | vars(interval)
                    | {"sd_seeds": differences[0].std(ddof=1) if len(seeds) > 1 else np.nan}
                    | {"n_samples": len(true), "n_seeds": len(seeds), "seeds": " ".join(map(str, seeds))}
                )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["p_holm"] = frame.groupby(["title", "metric"], sort=False)["p"].transform(holm)
    return frame.rename(columns={"estimate": "difference"})


COLUMNS = [
    *("dataset", "title", "variant", "metric"),
    *("estimate", "low", "high", "bootstrap_low", "bootstrap_high", "p", "p_holm"),
    *("sd_seeds", "n_samples", "n_seeds", "seeds"),
]


def _by_variant(dataset: str, group: pd.DataFrame) -> tuple[NDArray, dict[str, pd.DataFrame]]:
    """Labels, (n,), and each variant's predictions, a row a seed, a column a sample."""
    labels = group.drop_duplicates("id").set_index("id")["label"].sort_index()
    tables = {
        str(variant): runs.pivot(index="seed", columns="id", values="prediction").reindex(columns=labels.index)
        for variant, runs in group.groupby("variant", sort=False)
    }
    for variant, table in tables.items():
        if table.isna().any(axis=None) or (group["label"] != group["id"].map(labels)).any():
            raise ValueError(
                f"compare: got runs of {dataset} ({variant}) with other test samples or labels than its other runs, "
                "expected the same ones in all; a run of another file or of other settings is among them: remove it"
            )
    return labels.to_numpy(), tables


def _metrics(weights: NDArray, pred: NDArray, true: NDArray, scheme: str) -> dict[str, NDArray]:
    """`metrics.regression_metrics` of every resampled test set at once.

    Args:
        weights: (draws, n), how often each sample is in it.
        pred: (S, n).
        true: (n,).
        scheme: as in `metrics.regression_metrics`.

    Returns:
        Metric -> (draws, S).
    """
    accuracy, counted = "acc2_non0", true != 0
    if scheme == "sims":
        pred, true = (np.clip(values, -1, 1).astype(np.float32).astype(np.float64) for values in (pred, true))
        accuracy, counted = "acc2", np.ones(len(true), dtype=bool)
    number = weights.sum(axis=1, keepdims=True)
    agree = ((pred > 0) == (true > 0)) & counted
    mae = weights @ np.abs(pred - true).T / number
    with np.errstate(invalid="ignore"):  # no label but 0 in a draw: nan
        accuracies = weights @ agree.T / (weights @ counted)[:, None]
    pred = np.where(np.ptp(pred, axis=1, keepdims=True) == 0, np.nan, pred - pred.mean(axis=1, keepdims=True))
    true = true - true.mean()  # centred for precision; what is left of the mean in a draw is taken off below
    mean_pred, mean_true = weights @ pred.T / number, (weights @ true)[:, None] / number
    covariance = weights @ (pred * true).T / number - mean_pred * mean_true
    variance_pred = weights @ (pred**2).T / number - mean_pred**2
    variance_true = (weights @ true**2)[:, None] / number - mean_true**2
    variances = variance_pred * variance_true
    corr = covariance / np.sqrt(np.where(variances > 0, variances, np.nan))
    return {"mae": mae, "corr": corr, accuracy: accuracies}
