"""Train the runs of the phase diagram: four variants in every cell of `phase` in config/study.yaml, paired by draw.

python workflow/phase.py

First the alignment's weight of each cell: `paper` with each weight on the draws of `weight_seeds`, without a test
split; the lowest mean validation MAE is taken. Then the variants, draw by draw, all cells of a draw before the next, so
that what an interruption leaves is whole draws. Writes a row a run to results/records/phase/runs.csv, with the settings
of the preset and the provenance of each start beside it; what is there is not run again.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from arithmetics import trained
from weights import write

from msa_core import build, paths, provenance, run
from msa_core.analysis.phase import CELL, VARIANTS, chosen_weights, read_runs
from msa_core.config import Phase, PhaseCell, RunConfig, phase, resolve

PAIR = "audio-vision"
KEYS = [*CELL, "seed", "variant", "weight"]
Job = tuple[PhaseCell, int, list[tuple[str, float]]]  # cell, draw, and variants with weights that it lacks


def settings(dataset: str, cell: PhaseCell, variant: str, weight: float, seed: int, chooses: bool) -> RunConfig:
    """One run's; a weight of 0 is that of a variant without alignment."""
    overrides: dict[str, Any] = {"dataset.planted": cell.planted}
    if chooses:
        overrides["dataset.planted.num_test"] = 2  # drawn last: the other splits stay as they are
    if weight:
        overrides["objective.alignment.pairs"] = {PAIR: weight}
    return resolve(dataset, variant, seed, overrides=overrides)


def measure(dataset: str, chooses: bool, job: Job) -> list[dict[str, Any]]:
    """Draw one cell's data once and train the runs on them: their rows; those that choose a weight are not tested."""
    cell, seed, runs = job
    data = build.dataset(settings(dataset, cell, "paper", 0, seed, chooses))
    rows = []
    for variant, weight in runs:
        started = time.process_time()
        fitted, errors = trained(settings(dataset, cell, variant, weight, seed, chooses), data)
        valid_mae = fitted.history.set_index("epoch")["valid_mae"]
        rows.append(
            {**cell.model_dump(), "seed": seed, "variant": variant, "weight": weight}
            | {"epochs": len(valid_mae), "best_epoch": fitted.best_epoch, "valid_mae": valid_mae[fitted.best_epoch]}
            | {"test_mae": None if chooses else errors.mean(), "cpu_seconds": time.process_time() - started}
        )
    return rows


def known(rows: Iterable[dict[str, Any]]) -> set[tuple]:
    """What is recorded."""
    return {tuple(row[key] for key in KEYS) for row in rows}


def choosing(study: Phase, recorded: Collection[tuple]) -> list[Job]:
    """What is still to be trained before every cell has a weight."""
    every = [("paper", weight) for weight in study.weights]
    return _lacking(((cell, seed, every) for seed in study.weight_seeds for cell in study.cells), recorded)


def comparing(study: Phase, weights: pd.Series, recorded: Collection[tuple]) -> list[Job]:
    """What is still to be trained with these weights, cell -> weight."""

    def runs(cell: PhaseCell) -> list[tuple[str, float]]:
        weight = float(weights[tuple(cell.model_dump().values())])
        aligned = {name: bool(resolve(study.dataset, name).objective.alignment.scale) for name in VARIANTS}
        return [(name, weight if aligned[name] else 0.0) for name in VARIANTS]

    by_cell = [(cell, runs(cell)) for cell in study.cells]
    return _lacking(((cell, seed, every) for seed in study.seeds for cell, every in by_cell), recorded)


def _lacking(jobs: Iterable[Job], recorded: Collection[tuple]) -> list[Job]:
    lacking = (
        (cell, seed, [each for each in runs if (*cell.model_dump().values(), seed, *each) not in recorded])
        for cell, seed, runs in jobs
    )
    return [job for job in lacking if job[-1]]


def note_start(dataset: str, folder: Path) -> None:
    """The preset's settings and this start's provenance beside the rows; stop where the rows are of other settings."""
    config, file = resolve(dataset), folder / "provenance.json"
    if (folder / "config.yaml").is_file() and (differences := run.other_settings(config, folder)):
        sys.exit(f"{folder}: holds runs with other settings (now: {'; '.join(differences)}); remove it to run again")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    starts = json.loads(file.read_text()) if file.is_file() else []
    started = provenance.start()
    known_from = {key: provenance.provenance(started, {})[key] for key in ("python", "packages", "platform", "cpus")}
    arithmetic = {"threads": int(os.environ["OMP_NUM_THREADS"]), "arithmetic": provenance.arithmetic()}
    file.write_text(json.dumps([*starts, started | known_from | arithmetic], indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=paths.RECORDS / "phase")
    options = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    study, file = phase(), options.folder / "runs.csv"
    note_start(study.dataset, options.folder)
    rows = read_runs(file).to_dict("records")
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:

        def train(jobs: list[Job], chooses: bool) -> None:
            for number, made in enumerate(pool.map(partial(measure, study.dataset, chooses), jobs), start=1):
                rows.extend(made)
                write(pd.DataFrame(rows).sort_values(KEYS), file)
                print(f"{number} of {len(jobs)}, weight chosen" if chooses else f"{number} of {len(jobs)}", flush=True)

        train(choosing(study, known(rows)), chooses=True)
        train(comparing(study, chosen_weights(pd.DataFrame(rows)), known(rows)), chooses=False)


if __name__ == "__main__":
    main()
