"""One run's folder: written whole or not at all, read back as one object."""

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from msa_core import paths
from msa_core.config import GridRun, RunConfig, resolve
from msa_core.paths import ROOT, RUNS

PACKAGES = (
    "accelerate",
    "numpy",
    "pandas",
    "safetensors",
    "scikit-learn",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class Run:
    """What one finished run left behind.

    Attributes:
        config: resolved settings (config.yaml).
        metrics: split -> task -> metric -> value, unrounded (metrics.json).
        history: a row an epoch (history.csv), see `training.Fit`.
        predictions: id, split, label and a prediction for each task (predictions.csv).
        labels: id, epoch and each task's label (labels.parquet); no rows without label generation.
        alignment: "<modality>/<covariance | spectrum>/<before | after>" -> (D, D) or (D,) of the train split's
            encodings, before the first and with the best epoch's weights (alignment.npz).
        provenance: where the numbers come from (provenance.json).
    """

    config: RunConfig
    metrics: dict[str, dict[str, dict[str, float]]]
    history: pd.DataFrame
    predictions: pd.DataFrame
    labels: pd.DataFrame
    alignment: dict[str, NDArray]
    provenance: dict[str, Any]


def is_finished(folder: Path) -> bool:
    """A folder with a metrics.json is a finished run."""
    return (folder / "metrics.json").is_file()


def unfinished_folder(folder: Path) -> Path:
    """Where a run keeps its resumable state until it is finished."""
    return folder.with_name(f".{folder.name}.unfinished")


def write_run(folder: Path, run: Run, model: nn.Module) -> None:
    """Write a run beside its place and rename it there, so that no half-written folder is ever seen.

    Args:
        folder: its place; what an earlier, unfinished run left there is removed.
        run: to be written.
        model: its weights go to checkpoint/model.safetensors.

    Raises:
        FileExistsError: the folder holds a finished run, which is never overwritten.
    """
    if is_finished(folder):
        raise FileExistsError(
            f"{folder}: holds a finished run; move or remove it to run again, or choose another folder"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "checkpoint").mkdir(parents=True)
    weights = partial / "checkpoint" / "model.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    (partial / "config.yaml").write_text(run.config.to_yaml())
    shutil.copymode(partial / "config.yaml", weights)  # else safetensors' file is its owner's alone
    run.history.to_csv(partial / "history.csv", index=False)
    run.predictions.to_csv(partial / "predictions.csv", index=False)
    run.labels.to_parquet(partial / "labels.parquet", index=False)
    np.savez_compressed(partial / "alignment.npz", allow_pickle=False, **run.alignment)
    (partial / "provenance.json").write_text(_json(run.provenance))
    (partial / "metrics.json").write_text(_json(run.metrics))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    shutil.rmtree(unfinished_folder(folder), ignore_errors=True)


def read_run(folder: Path) -> Run:
    """Read a finished run.

    Raises:
        FileNotFoundError: the folder holds no finished run.
    """
    if not is_finished(folder):
        raise FileNotFoundError(
            f"{folder}: no finished run there (no metrics.json); run notebooks/01_train.ipynb first"
        )
    with np.load(folder / "alignment.npz") as arrays:
        alignment = dict(arrays)
    return Run(
        config=read_config(folder),
        metrics=json.loads((folder / "metrics.json").read_text()),
        history=pd.read_csv(folder / "history.csv"),
        predictions=pd.read_csv(folder / "predictions.csv"),
        labels=pd.read_parquet(folder / "labels.parquet"),
        alignment=alignment,
        provenance=json.loads((folder / "provenance.json").read_text()),
    )


def find_runs(grid: list[GridRun], runs: str | Path = RUNS) -> tuple[list[Path], pd.DataFrame]:
    """Which runs of a grid are finished and which are missing: some fail, and the others are looked at all the same.

    Args:
        grid: as `config.grid` gives it.
        runs: folder of runs.

    Returns:
        The folders of the finished runs, in the order of the grid, and a row for each missing one: dataset, title,
        scheme, variant, seed.

    Raises:
        FileNotFoundError: none is finished.
    """
    folders = [paths.run_folder(run.dataset, run.variant, run.seed, runs) for run in grid]
    finished = [folder for folder in folders if is_finished(folder)]
    if not finished:
        raise FileNotFoundError(
            f"{paths.from_root(runs)}: none of the grid's {len(grid)} runs is finished there; run `make study` first, "
            "or give another folder of runs"
        )
    missing = []
    for run, folder in zip(grid, folders, strict=True):
        if not is_finished(folder):
            preset = resolve(run.dataset, run.variant, run.seed).dataset
            missing.append([run.dataset, preset.title, preset.metrics, run.variant, run.seed])
    return finished, pd.DataFrame(missing, columns=["dataset", "title", "scheme", "variant", "seed"])


def missing_note(missing: pd.DataFrame) -> str:
    """A line that names the missing runs, for a table that has no row for each; nothing if none is missing."""
    runs = [f"{row.dataset}/{row.variant}/seed-{row.seed}" for row in missing.itertuples()]
    return f"\nMissing runs ({len(runs)}): {', '.join(runs)}.\n" if runs else ""


def read_metrics(folders: list[Path]) -> pd.DataFrame:
    """The metrics of many runs, a row each: dataset, title, variant, seed, split, task, metric, value."""
    rows = []
    for folder in folders:
        name = _name(folder)
        rows += [
            {**name, "split": split, "task": task, "metric": metric, "value": value}
            for split, tasks in json.loads((folder / "metrics.json").read_text()).items()
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
    kept = ("best_epoch", "commit", "clean", "code_sha256", "device", "threads", "seconds", "peak_memory", "python")
    rows = []
    for folder in folders:
        found = json.loads((folder / "provenance.json").read_text())
        row = _name(folder) | {key: found.get(key) for key in kept}
        rows.append(row | {"data_sha256": found["data"].get("sha256", ""), "torch": found["packages"]["torch"]})
    return pd.DataFrame(rows)


def read_config(folder: Path) -> RunConfig:
    """A run's resolved settings."""
    return RunConfig(**yaml.safe_load((folder / "config.yaml").read_text()))


def _name(folder: Path) -> dict[str, Any]:
    config = read_config(folder)
    return {
        "dataset": config.dataset.name,
        "title": config.dataset.title,
        "variant": config.variant,
        "seed": config.seed,
    }


def write_table(table: pd.DataFrame, markdown: str, file: Path, latex: str = "") -> None:
    """Write `<file>.csv`, unrounded, `<file>.md`, for reading, and `<file>.tex`, for a paper, where there is one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file.with_suffix(".csv"), index=False)
    file.with_suffix(".md").write_text(markdown)
    if latex:
        file.with_suffix(".tex").write_text(latex)


def write_figure(figure: Figure, file: Path) -> None:
    """Write `<file>.png` and `<file>.svg`, the same bytes for the same figure."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file.with_suffix(".png"))
    figure.savefig(file.with_suffix(".svg"), metadata={"Date": None})


def code_fingerprint() -> str:
    """SHA-256 over the package's sources: tells two states of the code apart, committed or not."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "msa_core").rglob("*.py")):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def start() -> dict[str, Any]:
    """The part of the provenance that must be taken before a run, while the code on disk is the code that runs.

    "started" (UTC; a resumed run counts from its last start), "commit" and whether the tree was "clean" (None outside
    a git checkout; tables and figures, which a study rewrites and no run reads, do not count), "code_sha256".
    """
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", ":!results", ":!figures")
    return {
        "started": pd.Timestamp.now("UTC").isoformat(timespec="seconds"),
        "commit": commit,
        "clean": None if changes is None else not changes,
        "code_sha256": code_fingerprint(),
    }


def provenance(started: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Where a run's numbers come from: code, packages, device, data, seconds and peak memory in bytes.

    Args:
        started: what `start` said before the run.
        source: the data's, as `FeatureSet.source` says it.
    """
    cuda = torch.cuda.is_available()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **started,
        "seconds": (pd.Timestamp.now("UTC") - pd.Timestamp(started["started"])).total_seconds(),
        "python": platform.python_version(),
        "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "peak_memory": peak if sys.platform == "darwin" else peak * 1024,  # Linux counts in KiB
        "peak_device_memory": torch.cuda.max_memory_allocated() if cuda else None,
        "data": source,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # not a checkout, or no git: the fingerprint of the code still tells
    return done.stdout.strip()


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"
