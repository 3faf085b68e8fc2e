"""How often intervals meant for 95% hold the truth, in simulations whose parts have the sizes of the recorded runs.

    python benchmarks/coverage.py

Crossed runs and samples: the variances of the recorded differences in absolute error between two variants (`full`), at
other numbers of runs and samples, and with one of them set to 0. "normal": mean squares drawn from their chi-squared
laws. "recorded": whole tables whose samples, and what depends on run and sample at once, are drawn from the recorded
ones. "predictions": two variants that are equally good by construction, with recorded labels, as `compare` sees them.
Own draws and repeated splits: a t-interval over runs, for splits of one set with Nadeau and Bengio's correction.
Writes coverage.csv and coverage.md to results/benchmarks.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from common import RESULTS, whole_number, write
from numpy.typing import NDArray
from scipy.stats import t

from msa_core.analysis.comparisons import crossed_half_width, mean_squares, run_interval, sample_values
from msa_core.paths import RECORDS

RUNS, SAMPLES = (3, 5, 10, 30), (80, 600, 6000)
GOAL = (94, 97)  # percent
CONTRASTS = [  # `paper` against these: little, some and much that the samples add of their own
    ("planted", "no_alignment"),
    ("planted", "no_label_generation"),
    ("planted", "copied_labels"),
    ("mmmo_audio_vision", "copied_labels"),
]
DETAILED = CONTRASTS[1]  # the contrast that is also simulated with one part 0, and from predictions
TRAINED, TESTED, FEATURES = 260, 80, 10  # repeated splits: samples, and features, half of which say nothing
Squares = Callable[[NDArray, int, int], NDArray]


def quadrature(squares: NDArray, runs: int, samples: int) -> NDArray:
    """The t-interval over runs, with the samples' own part added to the square of its width."""
    own = np.stack([squares[0], np.maximum(squares[1] - squares[2], 0)])
    return np.sqrt(np.tensordot(t.isf(0.025, [runs - 1, samples - 1]) ** 2, own, 1) / (runs * samples))


def satterthwaite(squares: NDArray, runs: int, samples: int) -> NDArray:
    """Satterthwaite's degrees of freedom for the sum of mean squares; without the samples' where they add nothing."""
    freedom = np.array([runs - 1, samples - 1, (runs - 1) * (samples - 1)])
    parts = np.stack([squares[0], *np.where(squares[1] > squares[2], [squares[1], -squares[2]], 0)])
    variance = parts.sum(axis=0)
    below = np.tensordot(1 / freedom, parts**2, 1)
    found = np.divide(variance**2, below, out=np.ones_like(variance), where=below > 0)
    return t.isf(0.025, found) * np.sqrt(variance / (runs * samples))


def both_in_full(squares: NDArray, runs: int, samples: int) -> NDArray:
    """Both spreads in full, as in version 0.1: what depends on run and sample at once counts twice."""
    return np.sqrt(np.tensordot(t.isf(0.025, [runs - 1, samples - 1]) ** 2, squares[:2], 1) / (runs * samples))


CANDIDATES: dict[str, Squares] = {
    "weighted": crossed_half_width,
    "quadrature": quadrature,
    "satterthwaite": satterthwaite,
    "both_in_full": both_in_full,
}


def recorded(dataset: str, variant: str) -> tuple[pd.DataFrame, pd.DataFrame, NDArray]:
    """Test predictions of `paper` and of a variant, a row a seed, and the labels."""
    frame = pd.read_parquet(RECORDS / "full" / "predictions.parquet")
    frame = frame[frame["dataset"] == dataset]
    tables = [
        frame[frame["variant"] == name].pivot(index="seed", columns="id", values="prediction").astype(np.float64)
        for name in ("paper", variant)
    ]
    true = frame.drop_duplicates("id").set_index("id")["label"].loc[tables[0].columns]
    return tables[0], tables[1], true.to_numpy(np.float64)


def effects(differences: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Variances of runs, samples and the rest, 0 or more; the samples' effects; the rest of each run and sample."""
    runs, samples = differences.shape
    squares = mean_squares(differences)
    variances = np.maximum([(squares[0] - squares[2]) / samples, (squares[1] - squares[2]) / runs, squares[2]], 0)
    of_samples = differences.mean(axis=0) - differences.mean()
    rest = differences - differences.mean(axis=1, keepdims=True) - of_samples
    return variances, of_samples, rest


def covered(errors: NDArray, squares: NDArray, runs: int, samples: int) -> dict[str, float]:
    """Percent of the trials whose interval holds the truth, of each candidate."""
    return {
        name: 100 * float(np.mean(np.abs(errors) <= half_width(squares, runs, samples)))
        for name, half_width in CANDIDATES.items()
    }


def row(design: str, data: str, runs: int, samples: int, trials: int, shares: NDArray | None = None, **found: float):
    """One row of the table; shares: of the three parts in the variance of the mean."""
    percent = (
        dict(zip(("runs_part", "samples_part", "rest_part"), 100 * shares, strict=True)) if shares is not None else {}
    )
    outside = [name for name, value in found.items() if not GOAL[0] <= value <= GOAL[1]]
    error = 100 * np.sqrt(0.95 * 0.05 / trials)
    counts = {"design": design, "data": data, "runs": runs, "samples": samples}
    return counts | percent | found | {"error": error, "outside": ", ".join(outside)}


def normal(data: str, variances: NDArray, trials: int, rng: np.random.Generator) -> Iterator[dict]:
    """Mean and mean squares are independent, and their laws known."""
    for runs in RUNS:
        for samples in SAMPLES:
            freedom = np.array([runs - 1, samples - 1, (runs - 1) * (samples - 1)])
            expected = variances[2] + np.array([samples * variances[0], runs * variances[1], 0])
            squares = (expected / freedom)[:, None] * rng.chisquare(freedom[:, None], (3, trials))
            parts = variances / [runs, samples, runs * samples]
            errors = np.sqrt(parts.sum()) * rng.standard_normal(trials)
            found = covered(errors, squares, runs, samples)
            yield row("crossed, normal", data, runs, samples, trials, parts / parts.sum(), **found)


def resampled(data: str, differences: NDArray, trials: int, rng: np.random.Generator) -> Iterator[dict]:
    """Samples and rests as recorded, each sample's rest its own; the runs' effects normal: there are few."""
    variances, of_samples, rest = effects(differences)
    for runs in RUNS:
        for samples in SAMPLES:
            means, squares = np.empty(trials), np.empty((3, trials))
            for trial in range(trials):
                drawn = rng.integers(len(of_samples), size=samples)
                values = of_samples[drawn] + rest[rng.integers(len(rest), size=(runs, samples)), drawn]
                values += np.sqrt(variances[0]) * rng.standard_normal((runs, 1))
                means[trial], squares[:, trial] = values.mean(), mean_squares(values)
            yield row("crossed, recorded", data, runs, samples, trials, **covered(means, squares, runs, samples))


def from_predictions(dataset: str, variant: str, trials: int, rng: np.random.Generator) -> Iterator[dict]:
    """Two variants of one law: the truth is 0 for every metric."""
    first, second, true = recorded(dataset, variant)
    variances, _, _ = effects((first - second).to_numpy())
    of_runs, of_samples, of_both = np.sqrt(variances / 2)  # each variant has half of the difference's variance
    common = ((first + second) / 2).mean().to_numpy()
    for runs in RUNS:
        for samples in SAMPLES[:2]:
            errors: dict[str, list] = {}
            squares: dict[str, list] = {}
            for _ in range(trials):
                drawn = rng.integers(len(true), size=samples)
                measured = [
                    sample_values(
                        common[drawn]
                        + of_runs * rng.standard_normal((runs, 1))
                        + of_samples * rng.standard_normal(samples)
                        + of_both * rng.standard_normal((runs, samples)),
                        true[drawn],
                        "mosi",
                    )
                    for _ in range(2)
                ]
                for metric in measured[0]:
                    values = measured[0][metric] - measured[1][metric]
                    errors.setdefault(metric, []).append(values.mean())
                    squares.setdefault(metric, []).append(mean_squares(values))
            for metric, mean in errors.items():
                found = covered(np.array(mean), np.array(squares[metric]).T, runs, samples)
                yield row(f"crossed, predictions, {metric}", f"{dataset}, {variant}", runs, samples, trials, **found)


def own_draws(data: str, differences: NDArray, trials: int, rng: np.random.Generator) -> Iterator[dict]:
    """Each run has test samples of its own."""
    variances, of_samples, rest = effects(differences)
    values = (of_samples + rest).ravel()
    for runs in RUNS:
        for samples in SAMPLES[:2]:
            inside = 0
            for _ in range(trials):
                per_run = rng.choice(values, (runs, samples)).mean(axis=1)
                interval = run_interval(per_run + np.sqrt(variances[0]) * rng.standard_normal(runs))
                inside += interval.low <= 0 <= interval.high
            yield row("own draws, t", data, runs, samples, trials, weighted=100 * inside / trials)


def repeated_splits(trials: int, rng: np.random.Generator) -> Iterator[dict]:
    """Least squares with and without features that say nothing, on random splits of one set; MAE on the test part."""
    for runs in RUNS:
        gaps = np.empty((trials, runs))
        for trial in range(trials):
            x = rng.standard_normal((TRAINED + TESTED, FEATURES))
            y = x[:, : FEATURES // 2].sum(axis=1) + 3 * rng.standard_normal(len(x))
            for split in range(runs):
                order = rng.permutation(len(x))
                train, test = order[:TRAINED], order[TRAINED:]
                errors = []
                for kept in (FEATURES, FEATURES // 2):
                    weights = np.linalg.lstsq(x[train, :kept], y[train], rcond=None)[0]
                    errors.append(np.abs(x[test, :kept] @ weights - y[test]).mean())
                gaps[trial, split] = errors[0] - errors[1]
        truth = gaps.mean()
        for name, ratio in (("corrected t", TESTED / TRAINED), ("t", 0.0)):
            intervals = [run_interval(values, ratio) for values in gaps]
            inside = 100 * np.mean([interval.low <= truth <= interval.high for interval in intervals])
            yield row(f"repeated splits, {name}", "least squares", runs, TESTED, trials, weighted=inside)


def simulate(normal_trials: int, trials: int) -> pd.DataFrame:
    """Every scenario."""
    rng = np.random.default_rng(0)
    rows: list[dict] = []
    for dataset, variant in CONTRASTS:
        first, second, true = recorded(dataset, variant)
        differences = ((second - true).abs() - (first - true).abs()).to_numpy()
        variances, name = effects(differences)[0], f"{dataset}, {variant}"
        rows += normal(name, variances, normal_trials, rng)
        if (dataset, variant) == DETAILED:
            for part, place in (("runs", 0), ("samples", 1)):
                rows += normal(f"{name}, {part} 0", np.where(np.arange(3) == place, 0, variances), normal_trials, rng)
            rows += from_predictions(dataset, variant, trials, rng)
            rows += own_draws(name, differences, trials, rng)
        rows += resampled(name, differences, trials, rng)
    rows += repeated_splits(trials, rng)
    return pd.DataFrame(rows).sort_values("design", kind="stable", ignore_index=True)


def ranges(table: pd.DataFrame) -> str:
    """For reading: lowest and highest coverage of each design, apart for the fewest runs."""
    few = np.where(table["runs"] == min(RUNS), f"{min(RUNS)} runs", f"{RUNS[1]} to {RUNS[-1]} runs")
    groups = table.groupby(["design", few], sort=False)
    cells = {
        name: [
            f"{low:.1f} to {high:.1f}" if low == low else "" for low, high in groups[name].agg(["min", "max"]).values
        ]
        for name in CANDIDATES
    }
    design = [" (".join(names) + ")" for names in groups.groups]
    return pd.DataFrame({"design": design, **cells}).to_markdown(index=False, disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--normal-trials", type=whole_number(), default=100_000, help="of mean squares (default: 100000)"
    )
    parser.add_argument("--trials", type=whole_number(), default=2000, help="of whole tables (default: 2000)")
    options = parser.parse_args()
    table = simulate(options.normal_trials, options.trials)
    notes = (
        "Percent of the trials whose 95% interval holds the truth; error: the standard error of that percentage. "
        "`weighted` is the interval of the study (`comparisons.crossed_half_width`; own draws and splits: "
        "`comparisons.run_interval`). runs_part, samples_part, rest_part: percent of the variance of the mean that is "
        "due to the runs, to the samples, and to what depends on both. outside: not within "
        f"{GOAL[0]} to {GOAL[1]}%. Lowest to highest coverage of each design:\n\n{ranges(table)}"
    )
    write(table, RESULTS / "coverage", "Coverage of the intervals", notes)


if __name__ == "__main__":
    main()
