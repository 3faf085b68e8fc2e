"""Claims that sweeps of config/study.yaml judge; all exploratory."""

from collections.abc import Iterator

import pandas as pd

from msa_core.analysis.claims_rule import Claim
from msa_core.analysis.comparisons import Interval
from msa_core.analysis.sweeps import EFFECTS
from msa_core.config import Sweep, resolve

PARTS = dict(
    zip(EFFECTS.values(), ("The alignment lowers", "Label generation lowers", "Both parts lower"), strict=True)
)


def sweep_claims(study: Sweep, table: pd.DataFrame, smallest: float, dataset: str = "") -> Iterator[Claim]:
    """A claim per comparison of a sweep with one cell.

    Args:
        study: the sweep.
        table: as `sweeps.gains` or `sweeps.gains_on_shared_samples` gives it; Holm's correction counts its rows.
        smallest: gain in MAE that matters.
        dataset: title of the data; default: that of the sweep's.
    """
    title = dataset or resolve(study.dataset).dataset.title
    for row in table.to_dict("records"):
        name, reference = f"`{row['variant']}`", f"`{row['reference']}`"
        better = f"{name} has a lower test MAE than {reference}"
        claim = f"{PARTS[row['effect']]} the test MAE of {name}" if row["effect"] in PARTS else better
        gain = Interval(row["estimate"], row["low"], row["high"], row["p"])
        shared = "n_samples" in row
        counted = {"n_runs": row["n_seeds"], "n_samples": row["n_samples"]} if shared else {"n_runs": row["n_draws"]}
        yield Claim(study.question, claim, title, gain, "test MAE", smallest, p_holm=row["p_holm"], **counted)
