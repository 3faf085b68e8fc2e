"""The study's questions in a few rows: each with its first claims, their verdicts and numbers."""

import pandas as pd

from msa_core.analysis.claims import measured_text

QUESTIONS = {  # by number, as the claims count them
    1: "Does the alignment lower test MAE?",
    2: "Does the alignment bring shared information into the features?",
    3: "Do generated labels help, and do they beat copies of y?",
    4: "Does the weight adjustment help? Does one term take over the loss?",
    5: "Does the alignment help other models?",
    6: "What does each part cost?",
    7: "How much do seeds, rounding and the weight move the result?",
    8: "Do other parts do better? What if labels or modalities are missing?",
}


def summary_table(claims: pd.DataFrame) -> pd.DataFrame:
    """Each question with its primary claims or, if it has none, its first claim on every data set.

    Args:
        claims: as `claims.claims_table` gives it.

    Returns:
        A row a claim: Question (empty where it is that of the row above), Claim, Data, Verdict, Measured [95%], and
        Other claims, the number of the question's other claims by verdict.
    """
    rows = []
    for question, of_question in claims.groupby("question"):
        is_first = of_question["primary"].astype(bool)
        if not is_first.any():
            is_first = of_question["claim"] == of_question["claim"].iloc[0]
        others = of_question.loc[~is_first, "verdict"].value_counts()
        counted = ", ".join(f"{number} {verdict}" for verdict, number in others.items())
        for place, claim in enumerate(of_question[is_first].to_dict("records")):
            rows.append(
                {
                    "Question": "" if place else f"{question}. {QUESTIONS[int(str(question))]}",
                    "Verdict": claim["verdict"],
                    "Claim": claim["claim"],
                    "Data": claim["dataset"],
                    "Measured [95%]": measured_text(claim),
                    "Other claims": "" if place else counted,
                }
            )
    return pd.DataFrame(rows)
