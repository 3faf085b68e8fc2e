"""Power: how many runs a comparison would have needed, and the smallest gain that its runs can tell from none."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import chi2, nct, norm, t

from msa_core.analysis.claims_rule import SMALLEST_MAE, UNDECIDED, Claim, fewest_runs, runs_to_decide, verdict
from msa_core.analysis.comparisons import crossed_half_width, crossed_interval, holm, mean_squares, paired_values
from msa_core.analysis.tables.formats import interval, markdown

POWER = 0.8  # of 100 repetitions of the study, in so many the gain would be told
PRIMARY = "primary"
COLUMNS = ["where", "comparison", "verdict", "estimate", "sd", "n_runs", "tests"]


def smallest_told(spread: float, runs: int, tests: int = 1, power: float = POWER) -> float:
    """The smallest true gain that the two-sided t-test of paired differences tells from 0 with this power.

    With a true gain g, the t statistic of R runs follows the noncentral t with R - 1 degrees of freedom and
    noncentrality ``g sqrt(R) / spread`` (Cohen 1988, section 2.5).

    Args:
        spread: standard deviation of the paired differences.
        runs: 2 or more.
        tests: comparisons tested together: at the level 0.05 / tests, the strictest of Holm's.
        power: probability that the gain is told.

    >>> round(smallest_told(1.0, 34), 1)  # half a standard deviation needs 34 pairs (Cohen's tables)
    0.5
    """
    freedom, missed = runs - 1, (1 - power) / 2
    critical = t.isf(0.025 / tests, freedom)
    most = critical * np.sqrt(chi2.isf(missed, freedom) / freedom) + norm.isf(missed)  # misses less than 1 - power
    centre = brentq(lambda centre: nct.sf(critical, freedom, centre) - power, 0, most)
    return float(centre * spread / np.sqrt(runs))


def runs_to_tell(gain: float, spread: float, tests: int = 1, power: float = POWER) -> int:
    """The number of runs from which on a true gain is told; see `smallest_told`.

    >>> runs_to_tell(0.5, 1.0), runs_to_tell(0.2, 1.0)
    (34, 199)
    """
    runs = max(2, int(np.ceil(((norm.isf(0.025 / tests) + norm.ppf(power)) * spread / gain) ** 2)))  # spread known
    while smallest_told(spread, runs, tests, power) > gain:
        runs += 1
    return runs


def of_claims(claims: Iterable[Claim]) -> pd.DataFrame:
    """The primary claims as `power_table` reads them; their spread follows from their t-intervals."""
    rows = []
    for claim in claims:
        half = (claim.gain.high - claim.gain.low) / 2
        sd = half * np.sqrt(claim.n_runs) / t.isf(0.025, claim.n_runs - 1)
        rows.append([PRIMARY, claim.claim, claim.verdict, claim.gain.estimate, sd, claim.n_runs])
    return pd.DataFrame(rows, columns=COLUMNS[:-1]).assign(tests=len(rows))


def of_sweep(name: str, gains: pd.DataFrame, factors: Iterable[str]) -> pd.DataFrame:
    """The comparisons of a sweep as `power_table` reads them.

    Args:
        name: of the sweep.
        gains: as `sweeps.gains` gives it.
        factors: of the sweep.
    """
    cells = [
        ", ".join(f"{factor.replace('_', ' ')} {row[factor]}" for factor in factors) for _, row in gains.iterrows()
    ]
    compared = "`" + gains["variant"] + "` against `" + gains["reference"] + "`"
    named = [f"{each}: {cell}" if cell else each for each, cell in zip(compared, cells, strict=True)]
    table = gains.assign(where=name, comparison=named, tests=len(gains)).rename(columns={"n_draws": "n_runs"})
    return table[COLUMNS]


def power_table(compared: pd.DataFrame, smallest: float) -> pd.DataFrame:
    """What each comparison's spread says of the runs that it needs.

    Args:
        compared: of `of_claims` and `of_sweep`: where, comparison, verdict, estimate, sd, n_runs, tests (comparisons
            tested together). Comparisons of fewer than two runs are left out.
        smallest: gain that matters.

    Returns:
        Its rows, with to_decide, the runs from which on it would have been decided, with this estimate and spread
        (`claims_rule.runs_to_decide`); told, the smallest gain that its runs tell; to_tell, the runs that would tell
        the smallest gain that matters.
    """
    rows = compared[compared["n_runs"] > 1].reset_index(drop=True)
    known = list(rows[["estimate", "sd", "n_runs", "tests"]].itertuples(index=False, name=None))
    return rows.assign(
        to_decide=[runs_to_decide(estimate, sd, smallest, tests) for estimate, sd, _, tests in known],
        told=[smallest_told(sd, int(runs), tests) for _, sd, runs, tests in known],
        to_tell=[runs_to_tell(smallest, sd, tests) for _, sd, _, tests in known],
    )


def on_shared_samples(grids: Iterable[pd.DataFrame], reference: str = "paper") -> pd.DataFrame:
    """The undecided comparisons of runs that share their test samples, and how many runs would decide them.

    Args:
        grids: predictions of each, as `collect.Records` gives them.
        reference: variant that is compared with each other one; Holm's correction counts those of a data set.

    Returns:
        A row per undecided comparison of test MAE: title, comparison, n_runs, n_samples, estimate (gain of the
        reference), low, high, to_decide (infinite: the samples are too few for any number of runs).
    """
    names = ["title", "comparison", "n_runs", "n_samples", "estimate", "low", "high"]
    rows: list[dict[str, object]] = []
    for predictions in grids:
        shared = predictions[predictions["draw"] == "shared"]
        bounds, measured = dict(zip(shared["title"], shared["label_bound"], strict=True)), list[dict[str, Any]]()
        for named, _, _, values in paired_values(shared, reference=reference):
            if named["metric"] == "mae" and min(values.shape) > 1:
                compared = {"title": named["title"], "comparison": f"`{reference}` against `{named['variant']}`"}
                counts = dict(zip(("n_runs", "n_samples"), values.shape, strict=True))
                measured.append(compared | counts | vars(crossed_interval(values)) | {"gains": values})
        table = pd.DataFrame(measured, columns=[*names, "p", "gains"])
        of_title = table.groupby("title")["p"]
        tested = zip(measured, of_title.transform(holm), of_title.transform("size"), strict=True)
        for row, p_holm, tests in tested:
            smallest = SMALLEST_MAE * bounds[row["title"]]
            if verdict(row["low"], row["high"], smallest, p_holm) == UNDECIDED:
                to_decide = crossed_runs_to_decide(row["gains"], smallest, int(tests))
                rows.append({name: row[name] for name in names} | {"to_decide": to_decide})
    return pd.DataFrame(rows, columns=[*names, "to_decide"])


def crossed_runs_to_decide(gains: ArrayLike, smallest: float, tests: int = 1) -> float:
    """`claims_rule.runs_to_decide` where runs share their test samples, which no number of runs makes more.

    With the variance components that the mean squares show, their expectations at R runs give the half-width of
    `comparisons.crossed_interval`.

    Args:
        gains: (R, n), of each run and sample.
        smallest: gain that matters.
        tests: comparisons tested together.

    Returns:
        2 or more; infinite: the samples are too few for any number of runs.
    """
    table = np.asarray(gains, dtype=np.float64)
    (runs, samples), squares = table.shape, mean_squares(table)
    rest = squares[2]
    of_run, of_sample = np.maximum(squares[:2] - rest, 0) / [samples, runs]  # variance components

    def half_width(number: float, level: float) -> float:
        expected = np.array([rest + samples * of_run, rest + number * of_sample, rest])
        return float(crossed_half_width(expected, number, samples, level))

    return fewest_runs(half_width, float(table.mean()), smallest, tests)


def on_shared_samples_markdown(table: pd.DataFrame) -> str:
    """`on_shared_samples` for reading."""
    if table.empty:
        return "None is undecided.\n"
    cells = {
        "Data": table["title"],
        "Comparison": table["comparison"],
        "Runs": table["n_runs"].astype(str),
        "Samples": table["n_samples"].astype(str),
        "Gain [95%]": [interval(*row) for row in table[["estimate", "low", "high"]].itertuples(index=False)],
        "Runs that would decide": ["none" if np.isinf(runs) else f"{runs:.0f}" for runs in table["to_decide"]],
    }
    return markdown(pd.DataFrame(cells))


def power_markdown(table: pd.DataFrame, smallest: float) -> str:
    """`power_table` for reading: primary and undecided comparisons, then the medians of each sweep."""
    if table.empty:
        return "No comparison has two runs yet.\n"
    shown = table[table["where"].eq(PRIMARY) | table["verdict"].eq(UNDECIDED)]
    single = pd.DataFrame({"Where": shown["where"], "Comparison": shown["comparison"], "Verdict": shown["verdict"]})
    single["Runs"] = shown["n_runs"].map("{:.0f}".format)
    single["Estimate"] = shown["estimate"].map("{:+.4f}".format)
    grouped = table.groupby("where", sort=False)
    each = grouped[["n_runs", "sd", "told", "to_tell"]].median().reset_index()
    of_sweeps = pd.DataFrame({"Where": each["where"], "Comparisons": grouped.size().astype(str).tolist()})
    of_sweeps["Runs"] = each["n_runs"].map("{:.0f}".format)
    for frame, values in ((single, shown), (of_sweeps, each)):
        frame["SD"] = values["sd"].map("{:.4f}".format)
        frame["Smallest gain told"] = values["told"].map("{:.4f}".format)
        frame[f"Runs that tell {smallest:g}"] = values["to_tell"].map("{:.0f}".format)
    single["Runs that would decide"] = shown["to_decide"].map("{:.0f}".format)
    return (
        f"Primary comparisons, and what is undecided in the sweeps.\n\n{markdown(single)}\n"
        f"Medians over the comparisons.\n\n{markdown(of_sweeps)}"
    )
