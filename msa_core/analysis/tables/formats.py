"""How cells look, in Markdown and in LaTeX."""

from itertools import groupby

import pandas as pd

from msa_core.metrics import LOWER_IS_BETTER

METRIC_TITLES = {
    "acc2_has0": "Acc-2 (has 0)",
    "f1_has0": "F1 (has 0)",
    "acc2_non0": "Acc-2 (non-zero)",
    "f1_non0": "F1 (non-zero)",
    "acc2": "Acc-2",
    "acc3": "Acc-3",
    "acc5": "Acc-5",
    "acc7": "Acc-7",
    "f1": "F1",
    "mae": "MAE",
    "corr": "Corr",
}


def markdown(cells: pd.DataFrame) -> str:
    """A table whose cells are shown as they are."""
    return cells.to_markdown(index=False, disable_numparse=True) + "\n"


def latex(cells: pd.DataFrame) -> str:
    """The same as a LaTeX tabular, in ASCII."""
    text = cells.to_latex(index=False, escape=True)
    for sign, command in {"±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"}.items():
        text = text.replace(sign, command)
    return text


def arrow(metric: str) -> str:
    """The direction in which a metric is better."""
    return "↓" if metric in LOWER_IS_BETTER else "↑"


def mean_and_spread(mean: float, std: float) -> str:
    """Mean ± standard deviation; the mean alone for one seed; a mean that is nan is a dash."""
    if pd.isna(mean):
        return "–"
    return f"{mean:.4f}" if pd.isna(std) else f"{mean:.4f} ± {std:.4f}"


def interval(estimate: float, low: float, high: float) -> str:
    """Estimate [low, high], signed; nan is a dash."""
    if pd.isna(estimate):
        return "–"
    return f"{estimate:+.4f} " + ("(no interval)" if pd.isna(low) else f"[{low:+.4f}, {high:+.4f}]")


def ranges(seeds: str) -> str:
    """Three and more neighbours as a range: "1 2 3 5" -> "1–3 5"."""
    parts: list[str] = []
    for _, group in groupby(enumerate(map(int, seeds.split())), lambda place: place[1] - place[0]):
        run = [str(seed) for _, seed in group]
        parts += [f"{run[0]}–{run[-1]}"] if len(run) > 2 else run
    return " ".join(parts)


def missing_cell(group: pd.DataFrame, table: pd.DataFrame) -> dict[str, str]:
    """The cell that names missing runs, in tables that lack any."""
    return {"Missing": ranges(group["missing"].iloc[0])} if "missing" in table and table["missing"].any() else {}
