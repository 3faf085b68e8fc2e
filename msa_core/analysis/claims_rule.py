"""The rule by which every claim is judged.

Every claim is put as a gain that is above 0 if the claim holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from msa_core.analysis.comparisons import Interval, holm

# The smallest gain in MAE that matters, as a part of H: 0.01 on [-3, 3]. The best and the third best published MAE on
# MOSI are 0.0174 apart (reference/published.csv): half of that would hardly change a ranking.
SMALLEST_MAE = 1 / 300
SMALLEST_R2 = 0.01  # a hundredth of a factor's variance
SMALLEST_SHRINKING = float(np.log(1.1))  # a tenth of the total variance, as a log ratio
NOT_MEASURED = Interval(float("nan"))
COLUMNS = [
    *("question", "claim", "dataset", "estimate", "low", "high", "unit", "smallest", "p_holm"),
    *("n_samples", "n_seeds", "verdict", "note"),
]
RULE = (
    "Every claim is put as a gain that is above 0 if it holds. Supported: all of the 95% interval is above 0 and, "
    "where several claims of one kind were tested together on a data set, Holm's p is below 0.05. Not supported: all "
    "of the interval is below 0, or below the smallest gain that would matter (MAE: H/300, that is 0.01 on [-3, 3]; "
    "R²: 0.01; shrinking: a tenth of the variance; else 0). Cannot tell: everything else, and whatever was "
    "not measured."
)


def verdict(low: float, high: float, smallest: float = 0.0, p_holm: float = float("nan")) -> str:
    """The rule: what a gain's 95% interval says of its claim.

    "supported" if all of it is above 0 and, where the claim is one of several that were tested together, Holm's p is
    below 0.05; "not supported" if all of it is below 0 or below the smallest gain that would matter; otherwise, and
    where nothing was measured, "cannot tell".

    Args:
        low, high: the interval; nan: not known.
        smallest: the smallest gain that would matter.
        p_holm: nan: the claim was tested by itself.

    >>> verdict(0.01, 0.03), verdict(0.01, 0.03, p_holm=0.2), verdict(-0.02, 0.004, 0.01), verdict(-0.02, 0.02, 0.01)
    ('supported', 'cannot tell', 'not supported', 'cannot tell')
    """
    if low > 0 and not p_holm >= 0.05:
        return "supported"
    return "not supported" if high < max(smallest, 0) else "cannot tell"


@dataclass(frozen=True)
class Claim:
    """One claim about one data set.

    Attributes:
        question: number of the study's question.
        claim: a sentence.
        dataset: title of the data set.
        gain: above 0 if the claim holds; all nan: not measured.
        unit: of the gain.
        smallest: the smallest gain that would matter.
        n_seeds, n_samples: what the interval is over; nan: not over seeds or samples.
        p_holm: nan: the claim was tested by itself.
        note: for the reader.
    """

    question: int
    claim: str
    dataset: str = "all"
    gain: Interval = NOT_MEASURED
    unit: str = ""
    smallest: float = 0.0
    n_seeds: float = float("nan")
    n_samples: float = float("nan")
    p_holm: float = float("nan")
    note: str = ""

    def row(self) -> dict[str, object]:
        """One row of the table of claims: `COLUMNS`."""
        gain = {"estimate": self.gain.estimate, "low": self.gain.low, "high": self.gain.high}
        judged = {"verdict": verdict(self.gain.low, self.gain.high, self.smallest, self.p_holm)}
        values = vars(self) | gain | judged
        return {column: values[column] for column in COLUMNS}


def corrected(claims: Iterable[Claim]) -> list[Claim]:
    """Claims of one family, tested together: each with Holm's p over those of its data set."""
    family = list(claims)
    p = pd.Series([claim.gain.p for claim in family], dtype=float)
    p_holm = p.groupby([claim.dataset for claim in family]).transform(holm)
    return [replace(claim, p_holm=value) for claim, value in zip(family, p_holm, strict=True)]
