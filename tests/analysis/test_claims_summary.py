"""Which claims stand for a question, and what is said of the others."""

import pandas as pd

from msa_core.analysis.claims_rule import COLUMNS, Claim
from msa_core.analysis.claims_summary import QUESTIONS, summary_table
from msa_core.analysis.comparisons import Interval


def table(*claims):
    return pd.DataFrame([claim.row() for claim in claims], columns=COLUMNS)


def test_primary_claims_stand_for_their_question_and_the_first_claim_for_another():
    good, bad = Interval(0.05, 0.04, 0.06), Interval(-0.05, -0.06, -0.04)
    claims = table(
        Claim(1, "fixed before", "A", good, "test MAE", 0.01, primary=True),
        Claim(1, "exploratory", "A", bad, "test MAE", 0.01),
        Claim(1, "exploratory", "B", bad, "test MAE", 0.01),
        Claim(5, "first", "A", bad, "test MAE", 0.01),
        Claim(5, "first", "B", good, "test MAE", 0.01),
        Claim(5, "second", "A", good, "test MAE", 0.01),
        Claim(8, "nothing yet"),
    )
    summary = summary_table(claims)
    assert summary["Question"].tolist() == [f"1. {QUESTIONS[1]}", f"5. {QUESTIONS[5]}", "", f"8. {QUESTIONS[8]}"]
    assert summary["Claim"].tolist() == ["fixed before", "first", "first", "nothing yet"]
    assert summary["Verdict"].tolist() == ["gains", "harms", "gains", "not measured"]
    assert summary["Other claims"].tolist() == ["2 harms", "1 gains", "", ""]
    assert summary["Measured [95%]"].iloc[0] == "+0.0500 [+0.0400, +0.0600] test MAE"
    assert summary["Measured [95%]"].iloc[-1] == ""
