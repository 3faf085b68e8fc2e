"""The rule by which every claim is judged.

Every claim is put as a gain that is above 0 if the claim holds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import t

from msa_core.analysis.comparisons import Interval, holm

# The smallest gain in MAE that matters, as a part of H: 0.01 on [-3, 3]. The best and the third best published MAE on
# MOSI are 0.0174 apart (reference/published.csv): half of that would hardly change a ranking.
SMALLEST_MAE = 1 / 300
SMALLEST_R2 = 0.01  # a hundredth of a factor's variance
SMALLEST_SHRINKING = float(np.log(1.1))  # a tenth of the total variance, as a log ratio
SMALLEST_DISTANCE = 0.05  # of a correlation distance, which lies within 0..1
MOST_RUNS = 1e9  # that are looked at
UNKNOWN = Interval(float("nan"))

GAINS = "gains"
LITTLE = "gains, but less than matters"
NO_GAIN = "no gain that matters"
HARMS = "harms"
UNDECIDED = "undecided"
NOT_MEASURED = "not measured"
OF_A_LIMIT = {GAINS: "kept", HARMS: "exceeded", UNDECIDED: UNDECIDED}
COLUMNS = [
    *("verdict", "primary", "question", "claim", "dataset", "estimate", "low", "high", "unit", "smallest", "limit"),
    *("p_holm", "n_samples", "n_runs", "runs_to_decide", "note"),
]
RULE = (
    "Every claim is put as a gain, with its 95% interval and the smallest gain that matters (MAE: H/300, that is 0.01 "
    "on [-3, 3]; R²: 0.01; shrinking: a tenth of the variance; correlation distance: 0.05).\n\n"
    f"- {GAINS}: the interval is above 0 and reaches what matters.\n"
    f"- {LITTLE}: the interval is above 0 and below what matters.\n"
    f"- {NO_GAIN}: the interval holds 0 and is below what matters.\n"
    f"- {HARMS}: the interval is below 0.\n"
    f"- {UNDECIDED}: the interval holds 0 and reaches what matters, or there is none.\n\n"
    "Where claims were tested together (Holm p), one whose p is 0.05 or more is judged as if its interval held 0."
)
LIMIT_RULE = (
    f"{OF_A_LIMIT[GAINS]}: the interval is below the limit. {OF_A_LIMIT[HARMS]}: it is above. {UNDECIDED}: it holds "
    "the limit, or there is none."
)


def verdict(low: float, high: float, smallest: float = 0.0, p_holm: float = float("nan")) -> str:
    """The rule: what a gain's 95% interval says of its claim. The five verdicts leave no gap.

    Args:
        low, high: the interval; nan: not known, and then the claim is undecided.
        smallest: the smallest gain that matters; 0 for what is left to a limit.
        p_holm: of a claim that was tested with others: from 0.05 on, 0 cannot be excluded; nan: tested by itself.

    >>> verdict(0.01, 0.03, 0.01), verdict(0.001, 0.003, 0.01), verdict(-0.02, 0.004, 0.01)
    ('gains', 'gains, but less than matters', 'no gain that matters')
    >>> verdict(-0.03, -0.01, 0.01), verdict(-0.02, 0.02, 0.01), verdict(0.01, 0.03, 0.01, p_holm=0.2)
    ('harms', 'undecided', 'undecided')
    """
    if np.isnan(low) or np.isnan(high):
        return UNDECIDED
    if p_holm >= 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    if low > 0:
        return GAINS if high >= smallest else LITTLE
    if high < 0:
        return HARMS
    return NO_GAIN if high < smallest else UNDECIDED


def runs_to_decide(estimate: float, spread: float, smallest: float, tests: int = 1) -> float:
    """The number of runs from which on a claim is no longer undecided, if estimate and spread stay what they are.

    The half-width of the t-interval, ``t(n - 1) spread / sqrt(n)``, must fall below the estimate (then 0 is excluded)
    or below what the estimate lacks to the smallest gain that matters (then such a gain is excluded).

    Args:
        estimate: mean of the paired differences of the runs, positive for a gain.
        spread: their standard deviation.
        smallest: the smallest gain that matters, above 0.
        tests: claims tested together: 0 is excluded at the level 0.05 / tests, the strictest of Holm's.

    Returns:
        2 or more.

    >>> runs_to_decide(0.004, 0.012, 0.01)  # 2.05 * 0.012 / sqrt(18) is 0.00597, below 0.01 - 0.004
    18
    """

    return fewest_runs(
        lambda runs, level: float(t.isf(level / 2, runs - 1) * spread / np.sqrt(runs)), estimate, smallest, tests
    )


def fewest_runs(half_width: Callable[[float, float], float], estimate: float, smallest: float, tests: int = 1) -> float:
    """`runs_to_decide` for any interval: `half_width` of a number of runs and a level; infinite: no number decides."""

    def runs(level: float, distance: float) -> float:
        def excess(number: float) -> float:
            return half_width(number, level) - distance

        if distance <= 0 or excess(MOST_RUNS) >= 0:
            return np.inf
        return 2 if excess(2) < 0 else int(np.floor(brentq(excess, 2, MOST_RUNS))) + 1

    return min(runs(0.05 / tests, estimate), runs(0.05, smallest - estimate))


@dataclass(frozen=True)
class Claim:
    """One claim about one data set.

    Attributes:
        question: number of the study's question.
        claim: a sentence.
        dataset: title of the data set.
        gain: above 0 if the claim holds; all nan: not measured.
        unit: of the gain.
        smallest: the smallest gain that matters; 0 only for a claim with a limit.
        limit: of a claim that something is below it; the gain is then what is left to it, limit - value.
        n_runs, n_samples: what the interval is over; nan: not over runs or samples.
        p_holm: nan: the claim was tested by itself.
        primary: whether it was fixed before the runs (config/study.yaml); all others are exploratory.
        runs_to_decide: of a primary claim that is undecided; else nan.
        note: for the reader.
    """

    question: int
    claim: str
    dataset: str = "all"
    gain: Interval = UNKNOWN
    unit: str = ""
    smallest: float = 0.0
    n_runs: float = float("nan")
    n_samples: float = float("nan")
    p_holm: float = float("nan")
    limit: float = float("nan")
    primary: bool = False
    runs_to_decide: float = float("nan")
    note: str = ""

    @property
    def verdict(self) -> str:
        """By the rule."""
        if np.isnan(self.gain.estimate):
            return NOT_MEASURED
        of_gain = verdict(self.gain.low, self.gain.high, self.smallest, self.p_holm)
        return of_gain if np.isnan(self.limit) else OF_A_LIMIT[of_gain]

    def row(self) -> dict[str, object]:
        """One row of the table of claims: `COLUMNS`."""
        gain = {"estimate": self.gain.estimate, "low": self.gain.low, "high": self.gain.high}
        values = vars(self) | gain | {"verdict": self.verdict}
        return {column: values[column] for column in COLUMNS}


def corrected(claims: Iterable[Claim]) -> list[Claim]:
    """Claims of one family, tested together: each with Holm's p over those of its data set."""
    family = list(claims)
    p = pd.Series([claim.gain.p for claim in family], dtype=float)
    p_holm = p.groupby([claim.dataset for claim in family]).transform(holm)
    return [replace(claim, p_holm=value) for claim, value in zip(family, p_holm, strict=True)]
