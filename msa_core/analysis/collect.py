"""Readers of many runs: which runs of a grid are finished, and what they measured, as one frame each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import ValidationError

from msa_core import build, paths, records
from msa_core.config import GridRun, RunConfig, resolve
from msa_core.paths import RUNS, from_root
from msa_core.records import is_finished, read_config

NOT_FINISHED = "not finished"
SHOWN = 3  # differences named for one run; of more, their number


def find_runs(grid: list[GridRun], runs: str | Path = RUNS) -> tuple[list[Path], pd.DataFrame]:
    """Which runs of a grid are finished with the settings that the grid has now, and which are missing.

    Args:
        grid: as `config.grid` gives it.
        runs: folder of runs.

    Returns:
        The folders of the finished runs, in the order of the grid, and a row for each missing one: dataset, title,
        scheme, variant, seed, and the reason: "not finished", or how its settings differ, as in "other settings:
        training.max_epochs is 2, expected 50".

    Raises:
        FileNotFoundError: all are missing.
    """
    finished, missing = [], []
    for run in grid:
        expected = resolve(run.dataset, run.variant, run.seed)
        folder = paths.run_folder(run.dataset, run.variant, run.seed, runs)
        if reason := _reason_to_leave_out(folder, expected):
            preset = expected.dataset
            missing.append([run.dataset, preset.title, preset.metrics, run.variant, run.seed, reason])
        else:
            finished.append(folder)
    frame = pd.DataFrame(missing, columns=["dataset", "title", "scheme", "variant", "seed", "reason"])
    if not finished:
        raise FileNotFoundError(
            f"{from_root(runs)}: none of the grid's {len(grid)} runs is finished with the grid's settings; run "
            f"`make study` first, or give another folder of runs{missing_note(frame[frame['reason'] != NOT_FINISHED])}"
        )
    return finished, frame


def _reason_to_leave_out(folder: Path, expected: RunConfig) -> str:
    """Why a run's folder does not count as this run; empty if it does."""
    if not is_finished(folder):
        return NOT_FINISHED
    try:
        config = read_config(folder)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        return f"settings of another version: {_shortened(problems)}"
    except (OSError, TypeError, yaml.YAMLError) as error:
        return f"config.yaml cannot be read: {' '.join(str(error).split())}"
    differences = list(_differences(config.model_dump(mode="json"), expected.model_dump(mode="json")))
    return f"other settings: {_shortened(differences)}" if differences else ""


def _differences(value: Any, expected: Any, name: str = "") -> Iterator[str]:
    if not (isinstance(value, dict) and isinstance(expected, dict)):
        if value != expected:
            yield f"{name} is {value!r}, expected {expected!r}"
        return
    for key in dict.fromkeys([*value, *expected]):
        yield from _differences(value.get(key), expected.get(key), f"{name}.{key}" if name else key)


def _shortened(texts: list[str]) -> str:
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return "; ".join([*texts[:SHOWN], *more])


def missing_note(missing: pd.DataFrame) -> str:
    """A line that names the missing runs, and why if they are finished; nothing if none is missing.

    Args:
        missing: as `find_runs` gives it.
    """
    runs = [
        f"{row.dataset}/{row.variant}/seed-{row.seed}" + ("" if row.reason == NOT_FINISHED else f" ({row.reason})")
        for row in missing.itertuples()
    ]
    return f"\nMissing runs ({len(runs)}): {', '.join(runs)}.\n" if runs else ""


def read_metrics(folders: list[Path]) -> pd.DataFrame:
    """The metrics of many runs, a row each: dataset, title, variant, seed, split, task, metric, value."""
    rows = []
    for folder in folders:
        name = _name(folder)
        rows += [
            {**name, "split": split, "task": task, "metric": metric, "value": value}
            for split, tasks in records.read_metrics(folder).items()
            for task, metrics in tasks.items()
            for metric, value in metrics.items()
        ]
    return pd.DataFrame(rows)


def read_predictions(folders: list[Path]) -> pd.DataFrame:
    """The multimodal test predictions of many runs, a row each: dataset, title, variant, seed, scheme, label_bound,
    id, label, prediction."""
    frames = []
    for folder in folders:
        preset = read_config(folder).dataset
        test = pd.read_csv(folder / "predictions.csv").query("split == 'test'")
        test = test[["id", "label", "multimodal"]].rename(columns={"multimodal": "prediction"})
        frames.append(test.assign(**_name(folder), scheme=preset.metrics, label_bound=preset.label_bound))
    return pd.concat(frames, ignore_index=True)


def read_histories(folders: list[Path]) -> pd.DataFrame:
    """The histories of many runs, a row an epoch, see `Run.history`, with dataset, title, variant, seed, best_epoch."""
    frames = []
    for folder in folders:
        best_epoch = json.loads((folder / "provenance.json").read_text())["best_epoch"]
        frames.append(pd.read_csv(folder / "history.csv").assign(**_name(folder), best_epoch=best_epoch))
    return pd.concat(frames, ignore_index=True)


def read_variances(folders: list[Path]) -> pd.DataFrame:
    """Total variance of each modality's encodings with the best epoch's weights, train split, of many runs."""
    rows = []
    for folder in folders:
        with np.load(folder / "alignment.npz") as arrays:
            rows += [
                {**_name(folder), "modality": key.split("/")[0], "total_variance": float(arrays[key].sum())}
                for key in arrays
                if key.endswith("/spectrum/after")
            ]
    return pd.DataFrame(rows)


def read_provenance(folders: list[Path]) -> pd.DataFrame:
    """Where the numbers of many runs come from, a row each: dataset, title, variant, seed, best_epoch, commit, clean,
    code_sha256, data_sha256 (empty: planted), device, threads, seconds, peak_memory (bytes), python, torch."""
    keys = ("best_epoch", "commit", "clean", "code_sha256", "device", "threads", "seconds", "peak_memory", "python")
    rows = []
    for folder in folders:
        provenance = json.loads((folder / "provenance.json").read_text())
        row = _name(folder) | {key: provenance.get(key) for key in keys}
        packages, data = provenance["packages"], provenance["data"]
        rows.append(row | {"data_sha256": data.get("sha256", ""), "torch": packages["torch"]})
    return pd.DataFrame(rows)


def true_labels(config: RunConfig) -> pd.DataFrame | None:
    """id and a column per modality: the train split's true (planted data) or human (CH-SIMS) unimodal labels.

    None where the data have none, or where the feature file is not on this machine: the run may be from another.
    """
    if config.dataset.features is not None and not from_root(config.dataset.features).is_file():
        return None
    train = build.dataset(config)["train"]
    return pd.DataFrame({"id": train.ids, **train.unimodal_labels}) if train.unimodal_labels else None


def _name(folder: Path) -> dict[str, Any]:
    config = read_config(folder)
    return {
        "dataset": config.dataset.name,
        "title": config.dataset.title,
        "variant": config.variant,
        "seed": config.seed,
    }
