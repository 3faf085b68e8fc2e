"""What moves a gain: initial weights, draws of the data, hyper-parameters."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from msa_core.analysis.claims_rule import Claim
from msa_core.analysis.comparisons import Interval, run_interval, spread_interval
from msa_core.analysis.tables.formats import interval, markdown
from msa_core.config import Sweep, resolve


def sweep_gains(runs: pd.DataFrame, variant: str, reference: str, weight: float) -> pd.Series:
    """What a variant gains in test MAE over another one, by seed; empty: not recorded.

    Args:
        runs: of a sweep with one cell, as `sweeps.read_runs` gives them.
        variant, reference: the latter does not align.
        weight: of the variant's alignment.
    """
    first, second = (
        runs[runs["variant"].eq(name) & runs["weight"].eq(each)].dropna(subset="test_mae").set_index("seed")["test_mae"]
        for name, each in ((variant, weight), (reference, 0.0))
    )
    return (second - first).dropna()


def spread_claims(study: Sweep, runs: pd.DataFrame, smallest: float) -> Iterator[Claim]:
    """Of each comparison on one draw of the data: do initial weights and order alone move the gain by what matters?

    Args:
        study: a sweep with one cell and one weight, whose data do not follow the seed.
        runs: as `sweeps.read_runs` gives them.
        smallest: gain in MAE that matters; the limit of the gain's standard deviation.
    """
    for variant, reference in study.pairs:
        gains = sweep_gains(runs, variant, reference, study.weights[0])
        if len(gains) > 1:
            spread = float(gains.std())
            low, high = spread_interval(spread, len(gains))
            claim = (
                f"Initial weights and order alone move the gain of `{variant}` over `{reference}` by less than the "
                "smallest that matters"
            )
            left = Interval(smallest - spread, smallest - high, smallest - low)
            title, unit = resolve(study.dataset).dataset.title, "standard deviation of the gain in test MAE"
            note = f"the mean gain is {gains.mean():+.4f}"
            yield Claim(study.question, claim, title, left, unit, n_runs=len(gains), limit=smallest, note=note)


def spreads(gains: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """How far each cause moves a gain.

    Args:
        gains: cause -> the gains that it leads to, (R,); none: not measured.

    Returns:
        A row per cause: cause, n, estimate, low, high (of the mean), sd, sd_low, sd_high, lowest, highest.
    """
    rows = []
    for cause, values in gains.items():
        table = np.asarray(values, dtype=np.float64)
        mean, number = run_interval(table), len(table)
        sd = float(table.std(ddof=1)) if number > 1 else float("nan")
        low, high = spread_interval(sd, number)
        row = {"cause": cause, "n": number, "estimate": mean.estimate, "low": mean.low, "high": mean.high}
        row |= {"sd": sd, "sd_low": low, "sd_high": high}
        rows.append(row | {"lowest": table.min(initial=np.inf), "highest": table.max(initial=-np.inf)})
    return pd.DataFrame(rows)


def spreads_markdown(table: pd.DataFrame) -> str:
    """`spreads` for reading; a cause without a gain is named as not recorded."""
    measured = table["n"] > 0
    cells = {
        "Cause": table["cause"],
        "Gains": table["n"].astype(str),
        "Mean [95%]": [interval(*row) for row in table[["estimate", "low", "high"]].itertuples(index=False)],
        "SD [95%]": [f"{row.sd:.4f} [{row.sd_low:.4f}, {row.sd_high:.4f}]" for row in table.itertuples()],
        "Lowest": table["lowest"].map("{:+.4f}".format),
        "Highest": table["highest"].map("{:+.4f}".format),
    }
    shown = pd.DataFrame(cells)
    shown.loc[~measured, ["Mean [95%]", "SD [95%]", "Lowest", "Highest"]] = "not recorded"
    return markdown(shown)
