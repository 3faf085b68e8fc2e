"""The rule at its limits, the runs that would decide a claim, and what one row of the table says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from msa_core.analysis import claims_rule
from msa_core.analysis.claims_rule import Claim
from msa_core.analysis.comparisons import Interval


@pytest.mark.parametrize(
    ("low", "high", "smallest", "p_holm", "expected"),
    [
        (0.001, 0.01, 0.01, np.nan, "gains"),
        (0.02, 0.03, 0.01, 0.049, "gains"),
        (0.001, 0.02, 0.01, 0.05, "undecided"),  # one of several, and they may be chance
        (0.001, 0.0099, 0.01, np.nan, "gains, but less than matters"),
        (0.001, 0.0099, 0.01, 0.2, "no gain that matters"),
        (0.0, 0.0099, 0.01, np.nan, "no gain that matters"),
        (-0.02, 0.0, 0.01, np.nan, "no gain that matters"),
        (-0.02, 0.01, 0.01, np.nan, "undecided"),
        (0.0, 0.02, 0.01, np.nan, "undecided"),
        (-0.02, -0.001, 0.01, 0.049, "harms"),
        (-0.02, -0.001, 0.01, 0.05, "no gain that matters"),
        (np.nan, np.nan, 0.01, np.nan, "undecided"),
        (0.1, 0.2, 0.0, np.nan, "gains"),  # what is left to a limit
        (-0.1, 0.2, 0.0, np.nan, "undecided"),
        (-0.2, -0.1, 0.0, np.nan, "harms"),
    ],
)
def test_the_rule(low, high, smallest, p_holm, expected):
    assert claims_rule.verdict(low, high, smallest, p_holm) == expected


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0.001, 1))
def test_the_rule_is_the_designs_table(low, width, smallest):
    """Section 10, read as five conditions, of which exactly one holds."""
    high = low + width
    rows = {
        "gains": low > 0 and high >= smallest,
        "gains, but less than matters": low > 0 and high < smallest,
        "no gain that matters": low <= 0 <= high < smallest,
        "harms": high < 0,
        "undecided": low <= 0 and high >= smallest,
    }
    assert [name for name, holds in rows.items() if holds] == [claims_rule.verdict(low, high, smallest)]


@given(st.floats(-0.03, 0.03), st.floats(0.001, 0.1), st.sampled_from([1, 5]))
def test_the_runs_that_decide_are_those_of_a_search(estimate, spread, tests):
    def decided(runs):
        strict, plain = (
            stats.t.ppf(1 - level / 2, runs - 1) * spread / np.sqrt(runs) for level in (0.05 / tests, 0.05)
        )
        return estimate - strict > 0 or estimate + plain < 0.01

    found = claims_rule.runs_to_decide(estimate, spread, 0.01, tests)
    assert decided(found)
    assert found == 2 or not decided(found - 1)


def test_at_the_number_of_runs_the_interval_has_another_verdict():
    """17 and 18 runs whose mean is 0.004 and whose standard deviation is 0.012."""
    for runs, expected in ((17, "undecided"), (18, "no gain that matters")):
        half = stats.t.ppf(0.975, runs - 1) * 0.012 / np.sqrt(runs)
        assert claims_rule.verdict(0.004 - half, 0.004 + half, 0.01) == expected
    assert claims_rule.runs_to_decide(0.004, 0.012, 0.01) == 18


def test_a_row_has_the_verdict_of_its_interval_and_of_holms_p():
    gain = Interval(estimate=0.2, low=0.1, high=0.3, p=0.001)
    claim = Claim(3, "it helps", "D", gain, "u", smallest=0.05, n_runs=5, n_samples=60, p_holm=0.01, note="n")
    row = {
        "verdict": "gains", "primary": False, "question": 3, "claim": "it helps", "dataset": "D", "estimate": 0.2,
        "low": 0.1, "high": 0.3, "unit": "u", "smallest": 0.05, "limit": pytest.approx(np.nan, nan_ok=True),
        "p_holm": 0.01, "n_samples": 60, "n_runs": 5, "runs_to_decide": pytest.approx(np.nan, nan_ok=True), "note": "n",
    }  # fmt: skip
    assert claim.row() == row
    assert list(claim.row()) == claims_rule.COLUMNS
    assert Claim(3, "it helps", gain=gain, smallest=0.05, p_holm=0.06).verdict == "undecided"
    assert Claim(3, "it helps", gain=Interval(0.02, -0.01, 0.04), smallest=0.05).verdict == "no gain that matters"


def test_what_was_not_measured_is_told_from_what_is_undecided():
    assert Claim(3, "it helps").verdict == "not measured"
    assert Claim(3, "it helps", gain=Interval(0.1)).verdict == "undecided"  # of one run


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
