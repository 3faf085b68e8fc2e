"""The rule at its limits, and what one row of the table says."""

import numpy as np
import pytest

from msa_core.analysis import claims_rule
from msa_core.analysis.claims_rule import Claim
from msa_core.analysis.comparisons import Interval


@pytest.mark.parametrize(
    ("low", "high", "smallest", "p_holm", "expected"),
    [
        (0.001, 0.02, 0.01, np.nan, "supported"),
        (0.001, 0.02, 0.01, 0.049, "supported"),
        (0.001, 0.02, 0.01, 0.05, "cannot tell"),  # one of several, and they may be chance
        (0.001, 0.002, 0.01, 0.2, "not supported"),  # too small to matter in any case
        (0.0, 0.02, 0.01, np.nan, "cannot tell"),
        (-0.02, 0.0099, 0.01, np.nan, "not supported"),
        (-0.02, 0.01, 0.01, np.nan, "cannot tell"),
        (-0.02, -0.01, 0.0, np.nan, "not supported"),
        (-0.02, 0.0, 0.0, np.nan, "cannot tell"),
        (np.nan, np.nan, 0.01, np.nan, "cannot tell"),
    ],
)
def test_the_rule(low, high, smallest, p_holm, expected):
    assert claims_rule.verdict(low, high, smallest, p_holm) == expected


def test_without_a_smallest_gain_only_what_is_below_zero_is_denied():
    assert claims_rule.verdict(-0.02, 0.02) == "cannot tell"
    assert claims_rule.verdict(-0.02, -0.01) == "not supported"


def test_a_row_has_the_verdict_of_its_interval_and_of_holms_p():
    gain = Interval(estimate=0.2, low=0.1, high=0.3, p=0.001)
    claim = Claim(3, "it helps", "D", gain, "u", smallest=0.05, n_seeds=5, n_samples=60, p_holm=0.01, note="n")
    row = {
        "question": 3, "claim": "it helps", "dataset": "D", "estimate": 0.2, "low": 0.1, "high": 0.3, "unit": "u",
        "smallest": 0.05, "p_holm": 0.01, "n_samples": 60, "n_seeds": 5, "verdict": "supported", "note": "n",
    }  # fmt: skip
    assert claim.row() == row
    assert list(claim.row()) == claims_rule.COLUMNS
    assert Claim(3, "it helps", gain=gain, p_holm=0.06).row()["verdict"] == "cannot tell"
    small = Interval(estimate=0.02, low=-0.01, high=0.04)
    assert Claim(3, "it helps", gain=small, smallest=0.05).row()["verdict"] == "not supported"
    assert Claim(3, "it helps", gain=small).row()["verdict"] == "cannot tell"
    assert Claim(3, "it helps").row()["verdict"] == "cannot tell"


def test_a_family_is_corrected_on_each_data_set_by_itself():
    p = {"D": [0.01, 0.04, 0.03], "E": [0.04, np.nan], "F": [np.nan]}
    order = [("D", 0), ("E", 0), ("D", 1), ("F", 0), ("E", 1), ("D", 2)]
    claims = [Claim(1, f"{title}{i}", title, Interval(0.1, p=p[title][i])) for title, i in order]
    family = claims_rule.corrected(iter(claims))
    assert [claim.claim for claim in family] == [f"{title}{i}" for title, i in order]
    assert [claim.gain for claim in family] == [claim.gain for claim in claims]
    # Of three: 3 * 0.01, 2 * 0.03 and, not less than it, 0.04; of one that could be tested: itself.
    expected = [0.03, 0.04, 0.06, np.nan, np.nan, 0.06]
    np.testing.assert_allclose([claim.p_holm for claim in family], expected)
    assert claims_rule.corrected([]) == []
