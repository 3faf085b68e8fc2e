"""Differences between variants with what is uncertain about them: frames in, frames out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, t

COMPARED = {"mosi": ("mae", "corr", "acc2_non0"), "sims": ("mae", "corr", "acc2")}


@dataclass(frozen=True)
class Interval:
    """A mean over runs with its uncertainty; all but `estimate` are nan where it cannot be known.

    Attributes:
        estimate: mean over runs.
        low, high: 95% interval.
        p: two-sided, of a mean of 0; below 0.05 exactly where `low` to `high` leaves 0 out.
    """

    estimate: float
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")


def run_interval(values: ArrayLike, test_to_train: float = 0.0) -> Interval:
    """The t-interval of a mean over runs, each of which stands for itself.

    So it is where each run draws its own data, and for what has no test samples. Where the runs are repeated random
    splits of one small set, their training sets overlap, and the variance is ``(1 / R + test_to_train) s^2``: the
    corrected resampled t (Nadeau and Bengio 2003, section 3.2).

    Args:
        values: (R,), one of each run: a difference, where two variants are paired.
        test_to_train: for repeated splits, test samples over training samples of a split; else 0.

    Returns:
        All but the estimate nan for fewer than two runs.

    >>> interval = run_interval([1.0, 2.0, 3.0])
    >>> round(interval.estimate, 3), round(interval.low, 3), round(interval.high, 3)  # 2 ± 4.303 / sqrt(3)
    (2.0, -0.484, 4.484)
    """
    table = np.asarray(values, dtype=np.float64)
    runs = len(table)
    if runs < 2 or not np.isfinite(table).all():
        return Interval(float(table.mean()) if runs else float("nan"))
    error = table.std(ddof=1) * np.sqrt(1 / runs + test_to_train)
    return _interval(float(table.mean()), lambda level: t.isf(level / 2, runs - 1) * error)


def spread_interval(spread: float, runs: int) -> tuple[float, float]:
    """The 95% interval of a standard deviation over independent runs, from the chi-squared distribution.

    Both nan for fewer than two runs.

    >>> low, high = spread_interval(1.0, 10)
    >>> round(low, 3), round(high, 3)  # sqrt(9 / 19.023), sqrt(9 / 2.700)
    (0.688, 1.826)
    """
    if runs < 2:
        return float("nan"), float("nan")
    low, high = spread * np.sqrt((runs - 1) / chi2.ppf([0.975, 0.025], runs - 1))
    return float(low), float(high)


def crossed_interval(values: ArrayLike) -> Interval:
    """Interval of a mean over runs that were all measured on the same test samples.

    Runs and samples are crossed, and both are random: another seed would have moved every sample's value, another test
    set every run's. See `crossed_half_width`.

    Args:
        values: (S, n), of each run and sample.

    Returns:
        All but the estimate nan for fewer than two runs or samples: from one, nothing is known of the others.

    >>> interval = crossed_interval(np.tile([[1.0], [2.0], [3.0]], 50))  # samples add nothing: as `run_interval`
    >>> round(interval.estimate, 3), round(interval.low, 3), round(interval.high, 3)
    (2.0, -0.484, 4.484)
    """
    table = np.asarray(values, dtype=np.float64)
    estimate = float(table.mean()) if table.size else float("nan")
    if min(table.shape) < 2 or not np.isfinite(table).all():
        return Interval(estimate)
    (runs, samples), squares = table.shape, mean_squares(table)
    return _interval(estimate, lambda level: float(crossed_half_width(squares, runs, samples, level)))


def mean_squares(values: NDArray) -> NDArray:
    """The analysis of variance of runs crossed with samples: mean squares of the runs, of the samples, of the rest.

    With variances a of the runs, b of the samples and e of what depends on both, their expectations are e + n a,
    e + S b and e (Searle, Casella and McCulloch 1992, section 4.7).

    Args:
        values: (..., S, n).

    Returns:
        (3, ...).
    """
    runs, samples = values.shape[-2:]
    mean = values.mean(axis=(-2, -1), keepdims=True)
    of_runs = values.mean(axis=-1, keepdims=True) - mean
    of_samples = values.mean(axis=-2, keepdims=True) - mean
    rest = values - mean - of_runs - of_samples
    sums = [np.square(part).sum(axis=(-2, -1)) for part in (of_runs, of_samples, rest)]
    return np.stack(
        [
            samples * sums[0] / (runs - 1),
            runs * sums[1] / (samples - 1),
            sums[2] / ((runs - 1) * (samples - 1)),
        ]
    )


def crossed_half_width(squares: NDArray, runs: float, samples: int, level: float = 0.05) -> NDArray:
    """Half the width of the interval of a mean over crossed runs and samples.

    The variance of the mean has two parts: v, what the spread over runs shows, with S - 1 degrees of freedom, and w,
    what the samples add of their own, which the runs share and so do not show. The standard error is sqrt(v + w), its
    quantile the mean of the two t quantiles weighted by v and w (Cochran and Cox 1957, section 4.14, for two
    variances that differ). It is the t-interval over runs where samples add nothing. In simulation it covers 94 to 97%
    from 5 runs on, and up to 98% with 3 (results/benchmarks/coverage.md).

    Args:
        squares: (3, ...), as `mean_squares` gives them.
        runs, samples: S and n.
        level: 0.05 for a 95% interval.

    Returns:
        (...).
    """
    of_runs, of_samples, rest = squares
    variances = np.stack([of_runs, np.maximum(of_samples - rest, 0)]) / (runs * samples)
    of_run, of_sample = t.isf(level / 2, [runs - 1, samples - 1])
    error = np.sqrt(variances.sum(axis=0))
    weighted = of_run * variances[0] + of_sample * variances[1]
    return np.divide(weighted, error, out=np.zeros_like(error), where=error > 0)


def _interval(estimate: float, half_width: Callable[[float], float]) -> Interval:
    """From half the width at each level; p is the level whose interval just reaches 0."""
    half, distance = float(half_width(0.05)), abs(estimate)
    lowest = -300.0  # of log p
    if distance == 0:
        p = 1.0
    elif half_width(np.exp(lowest)) <= distance:
        p = 0.0
    else:
        p = float(np.exp(brentq(lambda level: half_width(np.exp(level)) - distance, lowest, 0.0)))
    return Interval(estimate, estimate - half, estimate + half, p)


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


def compare(predictions: pd.DataFrame, metrics: pd.DataFrame | None = None, reference: str = "paper") -> pd.DataFrame:
    """Each variant against the reference, paired by run.

    Data sets whose runs share a test set (draw: "shared") are compared sample by sample, by `crossed_interval`; those
    whose runs each draw data ("own") or a split ("split") of their own, run by run, by `run_interval`.

    Args:
        predictions: as `collect.Records` gives them.
        metrics: the same; needed where runs have test samples of their own.
        reference: variant with which the others are paired.

    Returns:
        A row per dataset, title, variant and metric (MAE, Corr, Acc-2): the variant's value minus the reference's, as
        `Interval` says it; sd_seeds, the standard deviation of the paired differences; p_holm, corrected over the
        variants of one data set and metric; n_samples (of one test set), n_seeds, seeds: those that both have; draw.

    Raises:
        ValueError: two runs that share a test set were not tested on the same samples, or metrics are missing.
    """
    rows = []
    for named, draw, ratio, values in paired_values(predictions, metrics, reference):
        per_run = values.to_numpy().mean(axis=1)
        samples = predictions.loc[predictions["dataset"] == named["dataset"], "id"].nunique()
        rows.append(
            named
            | vars(crossed_interval(values) if draw == "shared" else run_interval(per_run, ratio))
            | {"sd_seeds": per_run.std(ddof=1) if len(values) > 1 else np.nan, "n_samples": samples}
            | {"n_seeds": len(values), "seeds": " ".join(map(str, values.index)), "draw": draw}
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = table.groupby(["title", "metric"], sort=False)["p"].transform(holm)
    return table.rename(columns={"estimate": "difference"})


def paired_values(
    predictions: pd.DataFrame, metrics: pd.DataFrame | None = None, reference: str = "paper"
) -> Iterator[tuple[dict[str, Any], str, float, pd.DataFrame]]:
    """What `compare` compares, with its arguments; raises as it does.

    Yields:
        dataset, title, variant and metric; draw; test_to_train; the variant's values minus the reference's: a row a
        seed that both have, a column a test sample (draw: "shared"), or one column.
    """
    own = predictions["draw"] != "shared"
    if own.any() and metrics is None:
        raise ValueError(
            f"compare: got no metrics for {sorted(set(predictions.loc[own, 'dataset']))}, whose runs each have "
            "test samples of their own, expected those of every run; pass the frame `metrics` of the same records"
        )
    of_runs = predictions.iloc[:0] if metrics is None else metrics[metrics["draw"] != "shared"]
    for frame, measure in ((predictions[~own], _of_samples), (of_runs, _of_runs)):
        for (dataset, title, scheme, draw), group in frame.groupby(["dataset", "title", "scheme", "draw"], sort=False):
            measured = measure(group, str(scheme))
            for (variant, metric), table in measured.items():
                if variant != reference:
                    theirs = measured.get((reference, metric), table.iloc[:0])
                    seeds = table.index.intersection(theirs.index)
                    named: dict[str, Any] = {"dataset": dataset, "title": title, "variant": variant, "metric": metric}
                    yield named, str(draw), float(group["test_to_train"].iloc[0]), table.loc[seeds] - theirs.loc[seeds]


COLUMNS = [
    *("dataset", "title", "variant", "metric", "estimate", "low", "high", "p", "p_holm"),
    *("sd_seeds", "n_samples", "n_seeds", "seeds", "draw"),
]
Measured = dict[tuple[str, str], pd.DataFrame]  # (variant, metric) -> a row a seed


def _of_runs(metrics: pd.DataFrame, scheme: str) -> Measured:
    """The metrics of each run: one column."""
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    tables = {
        (str(variant), metric): rows[rows["metric"] == metric].set_index("seed")[["value"]].sort_index()
        for variant, rows in test.groupby("variant", sort=False)
        for metric in COMPARED[scheme]
    }
    return {name: table for name, table in tables.items() if len(table)}


def _of_samples(predictions: pd.DataFrame, scheme: str) -> Measured:
    """`sample_values` of each run: a column a sample."""
    labels = predictions.drop_duplicates("id").set_index("id")["label"].sort_index()
    measured = {}
    for variant, runs in predictions.groupby("variant", sort=False):
        table = runs.pivot(index="seed", columns="id", values="prediction").reindex(columns=labels.index)
        if table.isna().any(axis=None) or (runs["label"] != runs["id"].map(labels)).any():
            raise ValueError(
                f"compare: got runs of {runs['dataset'].iloc[0]} ({variant}) with other test samples or labels than "
                "its other runs, expected the same ones in all, or draw 'own' where each run draws its own data; a run "
                "of another file or of other settings is among them: remove it"
            )
        for metric, values in sample_values(table.to_numpy(), labels.to_numpy(), scheme).items():
            measured[str(variant), metric] = pd.DataFrame(values, table.index)
    return measured


def sample_values(pred: NDArray, true: NDArray, scheme: str) -> dict[str, NDArray]:
    """What each test sample adds to the metrics of `metrics.regression_metrics`: their means are the metrics.

    Of a metric that is a mean (MAE), they are its terms; of any other, the jackknife's (Efron and Stein 1981), moved
    to the metric itself: with m the metric, m_j that without sample j, ``m + (n - 1) (mean(m_j) - m_j)``.

    Args:
        pred: (S, n).
        true: (n,).
        scheme: as in `metrics.regression_metrics`.

    Returns:
        Metric -> (S, n); nan where a metric is not defined.
    """
    counted = true != 0
    if scheme == "sims":
        pred, true = (np.clip(values, -1, 1).astype(np.float32).astype(np.float64) for values in (pred, true))
        counted = np.ones(len(true), dtype=bool)
    centred = pred - pred.mean(axis=1, keepdims=True)  # for precision
    x, y = np.where(np.ptp(pred, axis=1, keepdims=True) == 0, np.nan, centred), true - true.mean()
    agree = ((pred > 0) == (true > 0)) & counted
    terms = np.stack(np.broadcast_arrays(1.0, np.abs(pred - true), counted, agree, x, y, x**2, y**2, x * y))
    sums = terms.sum(axis=-1, keepdims=True)
    whole, without = _of_sums(sums, sums), _of_sums(sums - terms, sums)
    further = len(true) - 1
    return {
        metric: of_all + further * (of_others.mean(axis=1, keepdims=True) - of_others)
        for metric, of_all, of_others in zip(COMPARED[scheme], whole, without, strict=True)
    }


def _of_sums(sums: NDArray, of_all: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """MAE, Corr and Acc-2 of some samples, from sums over them.

    Args:
        sums: (9, ...), of the terms in `sample_values`.
        of_all: the same over all samples: a variance below 1e-12 of theirs is rounding, and Corr then nan.
    """
    number, error, counted, agree, x, y, xx, yy, xy = sums
    variance_x, variance_y = xx - x**2 / number, yy - y**2 / number
    known = (variance_x > 1e-12 * of_all[6]) & (variance_y > 1e-12 * of_all[7])
    corr = (xy - x * y / number) / np.sqrt(np.where(known, variance_x * variance_y, np.nan))
    return error / number, corr, agree / np.where(counted > 0, counted, np.nan)
