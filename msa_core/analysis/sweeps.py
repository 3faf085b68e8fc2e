"""Sweeps: what a variant gains over another one in each cell of some factors, paired by draw."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msa_core.analysis.claims_rule import GAINS, HARMS, LITTLE, NO_GAIN, UNDECIDED, verdict
from msa_core.analysis.comparisons import compare, holm, run_interval
from msa_core.analysis.information import COLUMNS
from msa_core.analysis.tables.formats import markdown
from msa_core.config import Sweep, resolve
from msa_core.data.planted import PlantedProcess
from msa_core.data.planted_truth import best_attainable

MEASURES = ["epochs", "best_epoch", "valid_mae", "test_mae", "label_mae", "copies_mae", "offset_slope", "cpu_seconds"]
CONFLICTS = ["conflict_audio", "conflict_vision"]  # of runs with training.diagnostics and unimodal tasks
COUNTED = {"n_draws": "Draws", "n_seeds": "Seeds"}
EFFECTS = {"no_alignment": "alignment", "no_label_generation": "label generation", "multimodal_only": "both"}


def read_runs(file: Path, study: Sweep) -> pd.DataFrame:
    """The rows that workflow/sweep.py writes: a column per factor, seed, variant, weight, settings, and measure.

    The measures are `MEASURES`, `optional_measures` and, if a cell has training.diagnostics, `CONFLICTS`. No rows if
    there is no such file. Runs that choose a weight have no test_mae and no optional measures.
    """
    diagnosed = any(cell.overrides.get("training.diagnostics") for cell in study.cells)
    measures = [*MEASURES, *optional_measures(study), *(CONFLICTS if diagnosed else [])]
    columns = [*study.factors, "seed", "variant", "weight", "settings", *measures]
    runs = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=columns)
    return runs.reindex(columns=columns).astype(dict.fromkeys(measures, float))


def optional_measures(study: Sweep) -> list[str]:
    """Columns of what this sweep measures besides `MEASURES`."""
    return COLUMNS if "information" in study.measures else []


def chosen_weights(runs: pd.DataFrame, study: Sweep) -> dict[tuple, float]:
    """The alignment's weight in each cell, for each variant that was run to choose one.

    Args:
        runs: as `read_runs` gives them.
        study: its factors; its weight, if it has only one.

    Returns:
        (*levels, variant) -> weight: the lowest mean validation MAE; of equal means, the smaller weight.
    """
    if len(study.weights) == 1:
        return {(*cell.levels, variant): study.weights[0] for cell in study.cells for variant in study.comparisons}
    keys = [*study.factors, "variant"]
    means = runs[runs["test_mae"].isna()].groupby([*keys, "weight"])["valid_mae"].mean().reset_index()
    best = means.sort_values(["valid_mae", "weight"]).drop_duplicates(keys)
    return dict(zip(best[keys].itertuples(index=False, name=None), best["weight"], strict=True))


def gains(runs: pd.DataFrame, study: Sweep, smallest: float) -> pd.DataFrame:
    """What each variant gains in test MAE over each that it is compared with, where two draws or more have both.

    Args:
        runs: as `read_runs` gives them.
        study: factors, comparisons and draws.
        smallest: gain in MAE that matters.

    Returns:
        A row per cell and comparison: the factors' levels; variant, reference; effect, what of the method the two
        differ in, or "over <reference>"; weight, of the variant's alignment (0: it has none); mae and reference_mae;
        valid_mae, of the variant; label_mae, copies_mae, offset_slope (nan: not measured), `CONFLICTS` if the runs have
        them; estimate, low, high, p;
        p_holm, over all rows; sd, of the paired differences; verdict; n_draws.
    """
    rows, measured = [], ["label_mae", "copies_mae", "offset_slope", *(name for name in CONFLICTS if name in runs)]
    for named, first, second in paired_runs(runs, study):
        differences = second["test_mae"] - first["test_mae"]
        rows.append(
            named
            | {"weight": first["weight"].iloc[0], "mae": first["test_mae"].mean()}
            | {"reference_mae": second["test_mae"].mean()}
            | first[["valid_mae", *measured]].mean().to_dict()
            | vars(run_interval(differences))
            | {"sd": differences.std(), "n_draws": len(differences)}
        )
    columns = [*study.factors, "variant", "reference", "effect", "weight", "mae", "reference_mae", "valid_mae"]
    columns += [*measured, "estimate", "low", "high", "p", "sd", "n_draws"]
    return _judged(pd.DataFrame(rows, columns=columns), smallest)


def gains_on_shared_samples(predictions: pd.DataFrame, study: Sweep, smallest: float) -> pd.DataFrame:
    """The comparisons of a sweep without factors, from runs of a grid that share a test set.

    Args:
        predictions: of `collect.Records`, of one data set.
        study: its comparisons; those of which two seeds have both runs are made.
        smallest: gain in MAE that matters.

    Returns:
        As `gains`, without weight, valid_mae and what was measured of labels; n_seeds and n_samples instead of n_draws;
        the interval counts seeds and samples as crossed random effects.
    """
    errors = predictions.assign(mae=(predictions["prediction"] - predictions["label"]).abs())
    rows = []
    for variant, reference in study.pairs:
        pair = errors[errors["variant"].isin([variant, reference])]
        compared = compare(pair, reference=reference).query("metric == 'mae' and n_seeds > 1")
        if len(compared):
            found = compared.iloc[0]
            seeds = [int(seed) for seed in found["seeds"].split()]
            mae = pair[pair["seed"].isin(seeds)].groupby("variant")["mae"].mean()
            rows.append(
                {"variant": variant, "reference": reference, "effect": _effect(variant, reference)}
                | {"mae": mae[variant], "reference_mae": mae[reference]}
                | {"estimate": -found["difference"], "low": -found["high"], "high": -found["low"]}
                | {"p": found["p"], "sd": found["sd_seeds"]}
                | {"n_seeds": found["n_seeds"], "n_samples": found["n_samples"]}
            )
    columns = ["variant", "reference", "effect", "mae", "reference_mae", "estimate", "low", "high", "p", "sd"]
    return _judged(pd.DataFrame(rows, columns=[*columns, "n_seeds", "n_samples"]), smallest)


def _judged(table: pd.DataFrame, smallest: float) -> pd.DataFrame:
    """With Holm's p over all rows, and the verdicts."""
    table["p_holm"] = holm(table["p"].astype(float))
    judged = table[["low", "high", "p_holm"]].itertuples(index=False, name=None)
    table["verdict"] = [verdict(low, high, smallest, p_holm) for low, high, p_holm in judged]
    return table


def paired_runs(runs: pd.DataFrame, study: Sweep) -> Iterator[tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]]:
    """Each cell and comparison that two draws or more have both runs of.

    Args:
        runs: as `read_runs` gives them.
        study: factors, comparisons and draws.

    Yields:
        What names the comparison (the factors' levels, variant, reference, effect), and its runs of the variant and
        of the reference: a row a draw, by seed, in the same order.
    """
    weights = chosen_weights(runs, study)
    tested = runs[runs["test_mae"].notna() & runs["seed"].isin(study.seeds)]
    for cell in study.cells:
        levels = dict(zip(study.factors, cell.levels, strict=True))
        of_cell = tested
        for name, level in levels.items():
            of_cell = of_cell[of_cell[name] == level]
        for variant, reference in study.pairs:
            weight = weights.get((*cell.levels, variant), 0.0)
            first, second = (
                of_cell[of_cell["variant"].eq(name) & of_cell["weight"].isin((0.0, weight))].set_index("seed")
                for name in (variant, reference)
            )
            draws = first.index.intersection(second.index)
            if len(draws) > 1:  # else there is no interval
                effect = _effect(variant, reference)
                yield (
                    levels | {"variant": variant, "reference": reference, "effect": effect},
                    first.loc[draws],
                    second.loc[draws],
                )


def _effect(variant: str, reference: str) -> str:
    """What of the method the variant has and the reference lacks."""
    return EFFECTS.get(reference.removeprefix(f"{variant}_"), f"over {reference}")


def with_ceilings(table: pd.DataFrame, study: Sweep) -> pd.DataFrame:
    """`gains` with best_mae, the lowest MAE that the cell's process allows, and best_mae_error.

    nan where samples lack modalities or have noise added, for which it is not computed.
    """
    ceilings, of_process = {}, dict[str, tuple[float, float]]()
    for cell, process in zip(study.cells, processes(study).values(), strict=True):
        dataset = resolve(study.dataset, overrides=cell.overrides).dataset
        complete = not (dataset.missing or dataset.patterns or dataset.noise)
        if complete and str(process) not in of_process:
            best = best_attainable(process)["all"]
            of_process[str(process)] = (best.mae, best.mae_error)
        values = of_process[str(process)] if complete else (np.nan, np.nan)
        ceilings[cell.levels] = dict(zip(("best_mae", "best_mae_error"), values, strict=True))
    levels = table[list(study.factors)].itertuples(index=False, name=None)
    return table.join(pd.DataFrame([ceilings[each] for each in levels], index=table.index))


def processes(study: Sweep) -> dict[tuple, PlantedProcess]:
    """Levels of each cell -> what its data are drawn from."""
    resolved = {cell.levels: resolve(study.dataset, overrides=cell.overrides) for cell in study.cells}
    return {levels: PlantedProcess(**config.dataset.planted.process) for levels, config in resolved.items()}


def gains_markdown(table: pd.DataFrame, study: Sweep) -> str:
    """`with_ceilings`, or `gains_on_shared_samples`, for reading: a row per cell and variant."""
    cells = []
    for _, rows in table.groupby([*study.factors, "variant"], sort=False):
        first, *_ = compared = rows.to_dict("records")
        shown = {name.replace("_", " ").capitalize(): level_name(first[name]) for name in study.factors}
        shown["Variant"] = f"`{first['variant']}`"
        if "weight" in table:
            shown["Weight"] = f"{first['weight']:g}"
        if "best_mae" in table and table["best_mae"].notna().any():
            shown["Best MAE"] = "–" if np.isnan(first["best_mae"]) else f"{first['best_mae']:.3f}"
        shown["MAE"] = f"{first['mae']:.3f}"
        shown |= {title: f"{first[name]}" for name, title in COUNTED.items() if name in table}
        if "label_mae" in table and table["label_mae"].notna().any():
            labels = f"{first['label_mae']:.3f} ({first['copies_mae']:.3f}), {first['offset_slope']:.2f}"
            shown["Labels: MAE (copies), slope"] = "–" if np.isnan(first["label_mae"]) else labels
        if CONFLICTS[0] in table:
            shown["Cosine: audio, vision"] = ", ".join(f"{first[name]:+.2f}" for name in CONFLICTS).replace("+nan", "–")
        for row in compared:
            half = row["high"] - row["estimate"]
            shown[f"Gain: {row['effect']}"] = f"{row['estimate']:+.3f} ± {half:.3f}: {row['verdict']}"
        cells.append(shown)
    return markdown(pd.DataFrame(cells).fillna("–")) if cells else "No comparison has two draws yet.\n"


def level_name(level: object) -> str:
    """For reading."""
    return level if isinstance(level, str) else f"{level:g}"


def finding(table: pd.DataFrame, study: Sweep, name: str) -> str:
    """In words: how many comparisons have which verdict, how many would be decided by chance, what is missing."""
    number, planned = len(table), len(study.cells) * len(study.pairs) * len(study.seeds)
    lines = []
    for effect, rows in table.groupby("effect", sort=False):
        counts = [(each, int((rows["verdict"] == each).sum())) for each in (GAINS, LITTLE, NO_GAIN, HARMS, UNDECIDED)]
        lines.append(f"- {effect}: " + ", ".join(f"{each} {count}" for each, count in counts if count))
    if number:
        apart = int((table["p"] < 0.05).sum())
        lines.append(
            f"\nThe intervals of {apart} of {number} comparisons leave 0 out; without any effect, {0.05 * number:.1f} "
            "would by chance, half of them as harms. The verdicts take this into account (Holm over all comparisons "
            "of the sweep). All of them are exploratory."
        )
    if (paired := int(table["n_draws"].sum())) < planned:
        lines.append(
            f"\n{paired} of the {planned} paired draws are shown; `make sweep SWEEP={name}` trains what is missing."
        )
    return "\n".join(lines) + "\n"
