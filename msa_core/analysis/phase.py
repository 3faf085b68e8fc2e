"""The phase diagram: what each part of the method gains, over what planted data are drawn from."""

from pathlib import Path

import pandas as pd

from msa_core.analysis.claims_rule import GAINS, HARMS, LITTLE, NO_GAIN, UNDECIDED, verdict
from msa_core.analysis.comparisons import run_interval
from msa_core.analysis.tables.formats import markdown
from msa_core.config import Phase, PhaseCell, resolve
from msa_core.data.planted import PlantedProcess
from msa_core.data.planted_truth import best_attainable

CELL = list(PhaseCell.model_fields)
EFFECTS = {  # which part -> variant with it, variant without it
    "alignment": ("paper", "no_alignment"),
    "label generation": ("paper", "no_label_generation"),
    "both": ("paper", "multimodal_only"),
}
VARIANTS = sorted({variant for pair in EFFECTS.values() for variant in pair})
COLUMNS = [*CELL, "seed", "variant", "weight", "epochs", "best_epoch", "valid_mae", "test_mae", "cpu_seconds"]
TITLES = {"signal_to_noise": "Signal-to-noise", "shared_part": "Shared part", "label_noise": "Label noise"}


def read_runs(file: Path) -> pd.DataFrame:
    """The rows that workflow/phase.py writes: `COLUMNS`; none if there is no such file."""
    return pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=COLUMNS).astype({"test_mae": float})


def chosen_weights(runs: pd.DataFrame) -> pd.Series:
    """Each cell's weight of the alignment: the lowest mean validation MAE over the draws on which it is chosen.

    Args:
        runs: `COLUMNS`; those that choose a weight have no test MAE.

    Returns:
        The weight, indexed by `CELL`; of equal means, the smaller weight.
    """
    means = runs[runs["test_mae"].isna()].groupby([*CELL, "weight"])["valid_mae"].mean()
    return means.unstack("weight").idxmin(axis="columns")


def gains(runs: pd.DataFrame, study: Phase, smallest: float) -> pd.DataFrame:
    """What each part of the method gains in test MAE, in each cell with two draws or more that have all variants.

    Args:
        runs: `COLUMNS`.
        study: cells and draws.
        smallest: gain in MAE that matters.

    Returns:
        A row per cell and effect: `CELL`; weight, of the alignment; effect; mae and reference_mae, with the part and
        without it; estimate, low, high and p of the gain, paired by draw; sd, of the paired differences; verdict;
        n_draws.
    """
    weights = chosen_weights(runs)
    weight_of = weights.to_dict()
    tested = runs[runs["test_mae"].notna() & runs["seed"].isin(study.seeds)]
    of_cell = pd.MultiIndex.from_frame(tested[CELL])
    used = tested[(tested["weight"] == 0) | (tested["weight"] == weights.reindex(of_cell).to_numpy())]
    table = used.pivot(index=[*CELL, "seed"], columns="variant", values="test_mae").reindex(columns=VARIANTS).dropna()
    rows = []
    for cell, draws in table.groupby(CELL):
        if len(draws) < 2:
            continue  # no interval
        for effect, (variant, reference) in EFFECTS.items():
            differences = draws[reference] - draws[variant]
            gain = run_interval(differences)
            rows.append(
                {**dict(zip(CELL, cell, strict=True)), "weight": weight_of[cell], "effect": effect}
                | {"mae": draws[variant].mean(), "reference_mae": draws[reference].mean(), **vars(gain)}
                | {"sd": differences.std(), "verdict": verdict(gain.low, gain.high, smallest), "n_draws": len(draws)}
            )
    columns = [*CELL, "weight", "effect", "mae", "reference_mae", "estimate", "low", "high", "p", "sd"]
    return pd.DataFrame(rows, columns=[*columns, "verdict", "n_draws"])


def with_ceilings(table: pd.DataFrame, study: Phase) -> pd.DataFrame:
    """`gains` with best_mae, the lowest MAE that the cell's process allows, and best_mae_error."""
    rows = []
    for cell in study.cells:
        planted = resolve(study.dataset, overrides={"dataset.planted": cell.planted}).dataset.planted
        best = best_attainable(PlantedProcess(**planted.process))["all"]
        rows.append(cell.model_dump() | {"best_mae": best.mae, "best_mae_error": best.mae_error})
    return table.merge(pd.DataFrame(rows), on=CELL, how="left")


def gains_markdown(table: pd.DataFrame) -> str:
    """`with_ceilings` for reading: a row a cell."""
    cells = []
    for cell, rows in table.groupby(CELL):
        first = rows.iloc[0]
        shown = {TITLES[name]: f"{value:g}" for name, value in zip(CELL, cell, strict=True)}
        shown |= {
            "Weight": f"{first['weight']:g}",
            "Best MAE": f"{first['best_mae']:.3f}",
            "MAE": f"{first['mae']:.3f}",
            "Draws": f"{first['n_draws']}",
        }
        for effect, estimate, high, judged in rows[["effect", "estimate", "high", "verdict"]].to_numpy():
            shown[f"Gain: {effect}"] = f"{estimate:+.3f} ± {high - estimate:.3f}: {judged}"
        cells.append(shown)
    return markdown(pd.DataFrame(cells)) if cells else "No cell has two draws yet.\n"


def finding(table: pd.DataFrame, study: Phase) -> str:
    """In words: how many comparisons have which verdict, how many would be decided by chance, what is missing."""
    number, planned = len(table), len(study.cells) * len(study.seeds)
    trained = int(table.drop_duplicates(CELL)["n_draws"].sum())
    lines = []
    for effect in EFFECTS:
        verdicts = table.loc[table["effect"] == effect, "verdict"]
        counts = [(name, int((verdicts == name).sum())) for name in (GAINS, LITTLE, NO_GAIN, HARMS, UNDECIDED)]
        if len(verdicts):
            lines.append(f"- {effect}: " + ", ".join(f"{name} {count}" for name, count in counts if count))
    if number:
        apart = int((table["p"] < 0.05).sum())
        lines.append(
            f"\nThe interval of {apart} of {number} comparisons leaves 0 out. If no part had an effect anywhere, "
            f"{0.05 * number:.1f} would by chance, half of them as harms. All of them are exploratory."
        )
    if trained < planned:
        lines.append(f"\n{trained} of the {planned} draws of all cells are shown; `make phase` trains what is missing.")
    return "\n".join(lines) + "\n"
