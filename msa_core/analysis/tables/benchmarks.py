"""What the benchmarks measured, against the goal of each."""

import numpy as np
import pandas as pd

from msa_core.analysis.tables.formats import markdown

MMSA = "MMSA 2.2.1 Self-MM, float32"
GOALS = {  # measure of benchmarks/training.py and scale.py -> what the table calls it, relation, limit, unit
    f"ours, float32 / {MMSA}": ("Training step: samples a second, ours / MMSA's Self-MM, float32", ">=", 3, ""),
    f"ours, bfloat16 / {MMSA}": ("The same, ours in bfloat16 (the goal is for processors with AMX)", ">=", 5, ""),
    "ours, float32, text encoder frozen: an epoch": ("An epoch with a frozen text encoder", "<", 1, " s"),
    "first read: peak resident memory / largest array": ("First read: peak memory / largest array", "<", 1.3, ""),
    "later opening": ("Later opening", "<", 0.2, " s"),
    "later opening: added memory": ("Later opening: added memory", "<", 100e6, " MB"),
    "MMSA's peak / our epoch's, model and training included": (
        "Peak memory: MMSA's loader / our epoch, training included",
        ">=",
        5,
        "",
    ),
    "training speed, 16326 / 1024 samples": ("Training speed, 16,326 / 1,024 samples", ">=", 0.9, ""),
    "label generation, batch of 32, 1000000 / 1000 samples": (
        "Label generation: time of a step, 1,000,000 / 1,000 samples",
        "<=",
        1.1,
        "",
    ),
}
RELATIONS = {"<": (np.less, "<"), "<=": (np.less_equal, "≤"), ">=": (np.greater_equal, "≥")}


def efficiency(training: pd.DataFrame, scale: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """What the benchmarks measured, against the goal of each.

    Args:
        training, scale, parts: as benchmarks/training.py, scale.py and parts.py write them; measures that need MMSA
            may be absent.

    Returns:
        A row per goal: measure, goal, value, low, high (quartiles; of the last one a 95% interval), met.
    """
    lines = pd.concat([training, scale]).set_index("measure")
    measures = [
        (*goal, *lines.loc[measure, ["value", "quartile_1", "quartile_3"]])
        for measure, goal in GOALS.items()
        if measure in lines.index
    ]
    paper = parts[parts["part"] == "label generation + one pair (the paper)"]
    measures += [
        (f"Label generation and one pair, of a step ({encoder})", "<", 5, "%", *numbers)
        for encoder, *numbers in paper[["text_encoder", "added_percent", "low", "high"]].itertuples(index=False)
    ]
    rows = []
    for title, relation, limit, unit, *numbers in measures:
        holds, sign = RELATIONS[relation]
        value, low, high, limit = np.array([*numbers, limit]) / (1e6 if unit == " MB" else 1)
        goal = f"{sign} {limit:g}{unit}"
        row = {
            "measure": title,
            "goal": goal,
            "value": value,
            "low": low,
            "high": high,
            "met": bool(holds(value, limit)),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def efficiency_markdown(table: pd.DataFrame) -> str:
    """`efficiency` for reading."""
    spread = [
        f" ({low:.3g} to {high:.3g})" if np.isfinite(low) else ""
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "What": table["measure"],
            "Goal": table["goal"],
            "Measured": [f"{value:.3g}{text}" for value, text in zip(table["value"], spread, strict=True)],
            "Met": table["met"].map({True: "yes", False: "no"}),
        }
    )
    return markdown(shown)
