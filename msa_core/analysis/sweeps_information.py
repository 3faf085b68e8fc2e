"""What a sweep shows of information: each term by variant, beside the truth, and what each part of the method changes.

The terms are those of `information.partial_information`, in bits, and `information.pair_auc`.
"""

import numpy as np
import pandas as pd

from msa_core.analysis.comparisons import holm, run_interval
from msa_core.analysis.information import TERMS
from msa_core.analysis.sweeps import level_name, paired_runs, processes
from msa_core.analysis.tables.formats import markdown
from msa_core.config import Sweep
from msa_core.data.planted_truth import partial_information

TITLES = dict(zip(TERMS, ("redundancy", "unique audio", "unique vision", "synergy", "pair AUC"), strict=True))
FRAMES = "frames"  # stands among the variants


def information_changes(runs: pd.DataFrame, study: Sweep) -> pd.DataFrame:
    """What each variant changes in each term of its encodings, paired by draw.

    Args:
        runs: as `sweeps.read_runs` gives them.
        study: a sweep that measures information.

    Returns:
        A row per cell, comparison and term: the factors' levels; variant, reference, effect; weight, of the variant's
        alignment; term; truth, of the process (nan: not known); frames, mean and reference_mean, over the draws;
        estimate (positive: the variant has more), low, high, p; p_holm, over all rows; change: "raises", "lowers" or
        "undecided"; n_draws.
    """
    truths = _truths(study)
    rows = []
    for named, first, second in paired_runs(runs, study):
        truth = truths[tuple(named[name] for name in study.factors)]
        for term in TERMS:
            measured, compared = first[f"encodings_{term}"], second[f"encodings_{term}"]
            rows.append(
                named
                | {"weight": first["weight"].iloc[0], "term": term, "truth": truth.get(term, np.nan)}
                | {"frames": first[f"frames_{term}"].mean()}
                | {"mean": measured.mean(), "reference_mean": compared.mean()}
                | vars(run_interval(measured - compared))
                | {"n_draws": len(measured)}
            )
    columns = [*study.factors, "variant", "reference", "effect", "weight", "term", "truth", "frames", "mean"]
    table = pd.DataFrame(rows, columns=[*columns, "reference_mean", "estimate", "low", "high", "p", "n_draws"])
    table["p_holm"] = holm(table["p"].astype(float))
    direction = np.where(table["estimate"] > 0, "raises", "lowers")
    table["change"] = np.where(table["p_holm"] < 0.05, direction, "undecided")
    return table


def information_markdown(table: pd.DataFrame, study: Sweep) -> str:
    """`information_changes` for reading: a row per cell, variant and term."""
    cells = []
    for _, rows in table.groupby([*study.factors, "variant", "term"], sort=False):
        first, *_ = compared = rows.to_dict("records")
        shown = {name.replace("_", " ").capitalize(): level_name(first[name]) for name in study.factors}
        shown |= {"Variant": f"`{first['variant']}`", "Weight": f"{first['weight']:g}"}
        shown |= {"Term": TITLES[first["term"]], "Truth": f"{first['truth']:.3f}".replace("nan", "–")}
        shown |= {"Frames": f"{first['frames']:.3f}", "Encodings": f"{first['mean']:.3f}"}
        for row in compared:
            half = row["high"] - row["estimate"]
            shown[f"Change: {row['effect']}"] = f"{row['estimate']:+.3f} ± {half:.3f}: {row['change']}"
        cells.append(shown | {"Draws": f"{first['n_draws']}"})
    return markdown(pd.DataFrame(cells).fillna("–")) if cells else "No comparison has two draws yet.\n"


def information_values(runs: pd.DataFrame, study: Sweep) -> pd.DataFrame:
    """A row per cell, variant (`FRAMES` is one), draw and term of what `information_changes` compares.

    Returns:
        cell (its levels), variant, seed, term (its title), value, truth (nan: not known).
    """
    truths = _truths(study)
    rows = []
    for named, first, second in paired_runs(runs, study):
        levels = tuple(named[name] for name in study.factors)
        sources = {FRAMES: first, named["variant"]: first, named["reference"]: second}
        for (variant, of_variant), term in ((each, term) for each in sources.items() for term in TERMS):
            source = "frames" if variant == FRAMES else "encodings"
            for seed, value in of_variant[f"{source}_{term}"].items():
                cell, truth = ", ".join(map(level_name, levels)), truths[levels].get(term, np.nan)
                rows.append((cell, variant, seed, TITLES[term], value, truth))
    values = pd.DataFrame(rows, columns=["cell", "variant", "seed", "term", "value", "truth"])
    return values.drop_duplicates(["cell", "variant", "seed", "term"], ignore_index=True)


def _truths(study: Sweep) -> dict[tuple, dict[str, float]]:
    return {levels: partial_information(process) for levels, process in processes(study).items()}
