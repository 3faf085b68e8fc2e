"""msa_core/analysis/claims_sweeps.py, by hand."""

import pandas as pd

from msa_core.analysis.claims_rule import GAINS, HARMS, UNDECIDED
from msa_core.analysis.claims_sweeps import sweep_claims
from msa_core.config import sweep

ROWS = pd.DataFrame(
    {
        "variant": ["misa", "misa", "mmim"],
        "reference": ["misa_no_alignment", "paper", "mmim_multimodal_only"],
        "effect": ["alignment", "over paper", "both"],
        "estimate": [0.03, -0.04, 0.02],
        "low": [0.02, -0.05, 0.001],
        "high": [0.04, -0.03, 0.039],
        "p": [0.001, 0.002, 0.04],
        "p_holm": [0.003, 0.004, 0.12],
        "n_draws": [10, 10, 9],
    }
)


def test_each_comparison_is_an_exploratory_claim_judged_with_holm():
    first, second, third = sweep_claims(sweep("hosts"), ROWS, smallest=0.01)
    assert first.claim == "The alignment lowers the test MAE of `misa`"
    assert second.claim == "`misa` has a lower test MAE than `paper`"
    assert third.claim == "Both parts lower the test MAE of `mmim`"
    assert [claim.verdict for claim in (first, second, third)] == [GAINS, HARMS, UNDECIDED]
    assert {claim.question for claim in (first, second, third)} == {5}
    assert {claim.dataset for claim in (first, second, third)} == {"Planted, short runs"}
    assert not any(claim.primary for claim in (first, second, third))
    assert (third.n_runs, third.p_holm, third.smallest) == (9, 0.12, 0.01)


def test_claims_from_runs_that_share_samples_name_their_data_and_samples():
    rows = ROWS.rename(columns={"n_draws": "n_seeds"}).assign(n_samples=686)
    first, *_, third = sweep_claims(sweep("hosts"), rows, smallest=0.01, dataset="MOSI")
    assert (first.dataset, third.n_runs, third.n_samples) == ("MOSI", 9, 686)
