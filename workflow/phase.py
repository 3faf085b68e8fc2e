"""Train the runs of the phase diagram: four variants in every cell of `phase` in config/study.yaml, paired by draw.

python workflow/phase.py

First a text encoder, on text alone, of a draw that is not used later: all runs share it and do not train it. Then the
alignment's weight of each cell: `paper` with each weight on the draws of `weight_seeds`, without a test split; the
lowest mean validation MAE is taken. Then the variants, draw by draw, all cells of a draw before the next, so that what
an interruption leaves is whole draws. Writes a row a run to results/records/phase/runs.csv, with the settings of the
preset and the provenance of each start beside it; what is there is not run again.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Collection, Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from arithmetics import absolute_errors, trained
from torch import nn
from weights import workers, write

from msa_core import SPLITS, build, paths, provenance, run
from msa_core.analysis.phase import CELL, VARIANTS, chosen_weights, read_runs
from msa_core.config import Phase, PhaseCell, RunConfig, phase, resolve
from msa_core.vocabulary import VOCABULARY, planted_tokenizer

PAIR = "audio-vision"
TEXT = {"encoder": "results/trials/phase-text", "frozen": True}
PRETRAINING = {  # the label is that of the text, and there is nothing else to read
    "dataset.planted": {"num_train": 4000, "num_valid": 1000, "num_test": 2, "task_weights": {"audio": 0, "vision": 0}},
    "dataset.missing": {split: {"audio": 1, "vision": 1} for split in SPLITS},
    "training.batch_size": 16,
}
WEIGHTS = "model.safetensors"  # of the text encoder
KEYS = [*CELL, "seed", "variant", "weight"]
Job = tuple[PhaseCell, int, list[tuple[str, float]]]  # cell, draw, and variants with weights that it lacks


def settings(dataset: str, cell: PhaseCell, variant: str, weight: float, seed: int, chooses: bool) -> RunConfig:
    """One run's; a weight of 0 is that of a variant without alignment."""
    overrides: dict[str, Any] = {"dataset.planted": cell.planted, "text": TEXT}
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
        model, fitted = trained(settings(dataset, cell, variant, weight, seed, chooses), data)
        valid_mae = fitted.history.set_index("epoch")["valid_mae"]
        rows.append(
            {**cell.model_dump(), "seed": seed, "variant": variant, "weight": weight}
            | {"epochs": len(valid_mae), "best_epoch": fitted.best_epoch, "valid_mae": valid_mae[fitted.best_epoch]}
            | {"test_mae": None if chooses else absolute_errors(model, data["test"]).mean()}
            | {"cpu_seconds": time.process_time() - started}
        )
    return rows


def pretrain(dataset: str, folder: Path) -> None:
    """Write the text encoder with its tokenizer, as `transformers` reads them."""
    config = resolve(dataset, "multimodal_only", seed=0, overrides=PRETRAINING)
    model, fitted = trained(config, build.dataset(config))
    transformer = model.encoders["text"].transformer
    with torch.no_grad():
        embedding = transformer.get_input_embeddings()(torch.arange(len(VOCABULARY)))  # trained rows and the others
    transformer.set_input_embeddings(nn.Embedding.from_pretrained(embedding))
    planted_tokenizer().save_pretrained(folder)
    transformer.save_pretrained(folder)
    print(f"text encoder: validation MAE {fitted.history['valid_mae'].min():.4f}", flush=True)


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
    config, file = resolve(dataset, overrides={"text": TEXT}), folder / "provenance.json"
    if (folder / "config.yaml").is_file() and (differences := run.other_settings(config, folder)):
        sys.exit(f"{folder}: holds runs with other settings (now: {'; '.join(differences)}); remove it to run again")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    starts = json.loads(file.read_text()) if file.is_file() else []
    started = provenance.start()
    known_from = {key: provenance.provenance(started, {})[key] for key in ("python", "packages", "platform", "cpus")}
    arithmetic = {"threads": int(os.environ["OMP_NUM_THREADS"]), "arithmetic": provenance.arithmetic()}
    text = {"text_encoder_sha256": sha256((Path(TEXT["encoder"]) / WEIGHTS).read_bytes()).hexdigest()}
    file.write_text(json.dumps([*starts, started | known_from | arithmetic | text], indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=paths.RECORDS / "phase")
    options = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    study, folder = phase(), options.folder.resolve()
    file = folder / "runs.csv"
    torch.set_num_threads(1)  # here too
    os.chdir(paths.ROOT)  # from which the text encoder is found
    if not Path(TEXT["encoder"], WEIGHTS).is_file():
        pretrain(study.dataset, Path(TEXT["encoder"]))
    note_start(study.dataset, folder)
    rows = read_runs(file).to_dict("records")
    with workers(options.processes) as pool:

        def train(jobs: list[Job], chooses: bool) -> None:
            for number, made in enumerate(pool.map(partial(measure, study.dataset, chooses), jobs), start=1):
                rows.extend(made)
                write(pd.DataFrame(rows).sort_values(KEYS), file)
                print(f"{number} of {len(jobs)}, weight chosen" if chooses else f"{number} of {len(jobs)}", flush=True)

        train(choosing(study, known(rows)), chooses=True)
        train(comparing(study, chosen_weights(pd.DataFrame(rows)), known(rows)), chooses=False)


if __name__ == "__main__":
    main()
