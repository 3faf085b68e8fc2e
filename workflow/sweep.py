"""Train the runs of a sweep of config/study.yaml: variants in every cell of some factors, paired by draw.

python workflow/sweep.py phase

First a text encoder, on text alone, of a draw that is not used later: all runs share it and do not train it. Then,
where several weights of the alignment are given, each is tried in each cell on the draws of `weight_seeds`, without a
test split; the lowest mean validation MAE is taken. Then the variants, draw by draw, all cells of a draw before the
next, so that what an interruption leaves is whole draws. Writes a row a run to
results/records/sweeps/<sweep>/runs.csv and the provenance of each start beside it. What is there with the same settings
and measures is not run again. With a frozen text encoder, a run in a folder of its own (01_train) has other initial
weights: it loads the encoder, which draws random numbers, after its seed is set.
"""

import argparse
import json
import os
import time
from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from arithmetics import absolute_errors, trained
from torch import nn
from weights import pairs_at, workers, write

from msa_core import SPLITS, build, paths, processes, provenance
from msa_core.analysis import information
from msa_core.analysis.sweeps import chosen_weights, optional_measures, read_runs
from msa_core.analysis.tables import label_agreement
from msa_core.config import RunConfig, Sweep, SweepCell, resolve, sweep
from msa_core.data import FeatureSet
from msa_core.diagnostics import CONFLICT
from msa_core.interfaces import Model
from msa_core.training import Fit
from msa_core.vocabulary import VOCABULARY, planted_tokenizer

PRETRAINING = {  # the label is that of the text, and there is nothing else to read
    "text": {"encoder": "tiny", "frozen": False},
    "dataset.planted": {"num_train": 4000, "num_valid": 1000, "num_test": 2, "task_weights": {"audio": 0, "vision": 0}},
    "dataset.missing": {split: {"audio": 1, "vision": 1} for split in SPLITS},
    "training.batch_size": 16,
}
WEIGHTS = "model.safetensors"  # of the text encoder
Run = tuple[SweepCell, int, str, float]  # cell, draw, variant, weight of the alignment (0: it has none)


def settings(study: Sweep, run: Run, chooses: bool) -> RunConfig:
    """One run's; `chooses`: it chooses a weight and has no test split."""
    cell, seed, variant, weight = run
    overrides = dict(cell.overrides)
    if chooses:
        overrides["dataset.planted.num_test"] = 2  # drawn last: the other splits stay as they are
    if weight:
        aligned = resolve(study.dataset, variant, seed, overrides=overrides)
        overrides["objective.alignment.pairs"] = pairs_at(aligned, weight)
    return resolve(study.dataset, variant, seed, overrides=overrides)


def fingerprint(config: RunConfig) -> str:
    """Of what decides the run's numbers and is not a default: a new setting with a default outdates no row."""
    return sha256(json.dumps(config.identity(whole=False), sort_keys=True).encode()).hexdigest()[:12]


def measure(study: Sweep, chooses: bool, job: list[Run]) -> list[dict[str, Any]]:
    """Draw one cell's data and train the runs on them: their rows; those that choose a weight are not tested."""
    drawn: dict[str, tuple[dict[str, FeatureSet], dict[str, float]]] = {}
    informs = "information" in study.measures and not chooses
    rows = []
    for run in job:
        config = settings(study, run, chooses)
        key = f"{config.dataset!r} {config.text!r} {config.model.reads_every_token}"  # what `build.dataset` reads
        if key not in drawn:
            data = build.dataset(config)
            drawn[key] = data, information.of_frames(data["test"]) if informs else {}
        data, of_frames = drawn[key]
        row, model, fitted = outcome(config, data, tested=not chooses)
        cell, seed, variant, weight = run
        rows.append(
            dict(zip(study.factors, cell.levels, strict=True))
            | {"seed": seed, "variant": variant, "weight": weight}
            | row
            | label_quality(fitted, data["train"])
            | conflicts(fitted.history)
            | (information.of_encodings(model, data["test"]) if informs else {})
            | of_frames
        )
    return rows


def outcome(config: RunConfig, data: dict[str, FeatureSet], tested: bool = True) -> tuple[dict[str, Any], Model, Fit]:
    """Train one run: what is kept of every run, besides what names it; the model, and how it was trained."""
    started = time.process_time()
    model, fitted = trained(config, data)
    valid_mae = fitted.history.set_index("epoch")["valid_mae"]
    row = {
        "settings": fingerprint(config),
        "epochs": len(valid_mae),
        "best_epoch": fitted.best_epoch,
        "valid_mae": valid_mae[fitted.best_epoch],
        "test_mae": absolute_errors(model, data["test"]).mean() if tested else None,
        "cpu_seconds": time.process_time() - started,
    }
    return row, model, fitted


def label_quality(fitted: Fit, train: FeatureSet) -> dict[str, float]:
    """Of labels that change, at the best epoch, means over modalities.

    label_mae, to the true unimodal labels; copies_mae, that of copies of y; offset_slope, how far they leave y in the
    true direction (1: as far as the true ones).
    """
    if fitted.trajectories.empty or not train.unimodal_labels:
        return {}
    true = pd.DataFrame({"id": train.ids, **train.unimodal_labels})
    epochs = fitted.trajectories[fitted.trajectories["epoch"].isin((0, fitted.best_epoch))]
    means = label_agreement(epochs, true).groupby("epoch")[["mae", "offset_slope"]].mean()
    at_best = means.loc[fitted.best_epoch]
    return {"label_mae": at_best["mae"], "copies_mae": means["mae"][0], "offset_slope": at_best["offset_slope"]}


def conflicts(history: pd.DataFrame) -> dict[str, float]:
    """Mean over epochs of `diagnostics.gradients`' cosines between a modality's own task and the multimodal one."""
    columns = {f"conflict_{modality}": f"{CONFLICT}_{modality}_{modality}" for modality in ("audio", "vision")}
    return {name: history[column].mean() for name, column in columns.items() if column in history}


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


def aligns(study: Sweep, variant: str) -> bool:
    """Whether the variant has an alignment."""
    alignment = resolve(study.dataset, variant).objective.alignment
    return bool(alignment.scale and any(alignment.pairs.values()))


def choosing(study: Sweep) -> list[list[Run]]:
    """The runs that choose a weight: a job a draw and cell.

    Raises:
        ValueError: a variant that does not align is compared with one that does, for which no weight is chosen.
    """
    if len(study.weights) == 1:
        return []
    for variant, reference in study.pairs:
        if aligns(study, reference) and not aligns(study, variant):
            raise ValueError(
                f"comparisons: got {variant}, which does not align, with {reference}, which does; expected one weight, "
                "or the two the other way round"
            )
    tried = [(variant, weight) for variant in study.comparisons if aligns(study, variant) for weight in study.weights]
    return [[(cell, seed, *each) for each in tried] for seed in study.weight_seeds for cell in study.cells]


def comparing(study: Sweep, weights: dict[tuple, float]) -> list[list[Run]]:
    """The runs that are compared, with these weights, (*levels, variant) -> weight: a job a draw and cell."""
    aligned = {name: aligns(study, name) for pair in study.pairs for name in pair}

    def runs(cell: SweepCell) -> list[tuple[str, float]]:
        each = [
            (name, weights[*cell.levels, variant] if aligned[name] else 0.0)
            for variant, references in study.comparisons.items()
            for name in (variant, *references)
        ]
        return list(dict.fromkeys(each))

    by_cell = [(cell, runs(cell)) for cell in study.cells]
    return [[(cell, seed, *each) for each in every] for seed in study.seeds for cell, every in by_cell]


def sorted_out(
    study: Sweep, jobs: Iterable[list[Run]], rows: pd.DataFrame, chooses: bool
) -> tuple[pd.DataFrame, list[list[Run]]]:
    """The rows that the sweep still has, with the same settings and measures, and the runs that it lacks."""
    wanted = [(job, [fingerprint(settings(study, run, chooses)) for run in job]) for job in jobs]
    of_sweep = rows["settings"].isin({key for _, keys in wanted for key in keys})
    untested = rows["test_mae"].isna()
    lacking = rows[optional_measures(study)].isna().any(axis="columns") & ~untested
    outdated = untested.eq(chooses) & (~of_sweep | lacking)
    recorded = set(rows.loc[~outdated, "settings"])
    left = [[run for run, key in zip(job, keys, strict=True) if key not in recorded] for job, keys in wanted]
    return rows[~outdated], [job for job in left if job]


def note_start(folder: Path, text: Path) -> None:
    """Add this start's provenance, with that of the text encoder, to those beside the rows."""
    file = folder / "provenance.json"
    starts = json.loads(file.read_text()) if file.is_file() else []
    started = provenance.start()
    known_from = {key: provenance.provenance(started, {})[key] for key in ("python", "packages", "platform", "cpus")}
    arithmetic = {"threads": int(os.environ["OMP_NUM_THREADS"]), "arithmetic": provenance.arithmetic()}
    encoder = {"text_encoder_sha256": sha256((text / WEIGHTS).read_bytes()).hexdigest()}
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([*starts, started | known_from | arithmetic | encoder], indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", help="of config/study.yaml")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=paths.RECORDS / "sweeps")
    options = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with processes.one_error(status=2):
        study = sweep(options.sweep)
    folder = options.folder.resolve() / options.sweep
    file = folder / "runs.csv"
    torch.set_num_threads(1)  # here too
    os.chdir(paths.ROOT)  # from which the text encoder is found
    text = Path(resolve(study.dataset).text.encoder)
    if not (text / WEIGHTS).is_file():
        pretrain(study.dataset, text)
    rows, noted = read_runs(file, study), False
    with workers(options.processes) as pool:

        def train(jobs: list[list[Run]], chooses: bool) -> None:
            nonlocal rows, noted
            kept, left = sorted_out(study, jobs, rows, chooses)
            if outdated := len(rows) - len(kept):
                print(f"{outdated} runs are no longer in the sweep, or have other settings now: left out", flush=True)
            rows = kept
            if left and not noted:
                note_start(folder, text)
                noted = True
            for number, made in enumerate(pool.map(partial(measure, study, chooses), left), start=1):
                keys = [*study.factors, "seed", "variant", "weight", "settings"]
                rows = pd.concat([rows, pd.DataFrame(made)]).sort_values(keys, ignore_index=True)
                write(rows, file)
                print(f"{number} of {len(left)}, weights chosen" if chooses else f"{number} of {len(left)}", flush=True)

        train(choosing(study), chooses=True)
        train(comparing(study, chosen_weights(rows, study)), chooses=False)


if __name__ == "__main__":
    main()
