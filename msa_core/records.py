"""One run's folder: written whole or not at all, read back as one object."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from msa_core.config import RunConfig


@dataclass(frozen=True)
class Run:
    """What one finished run left behind.

    Attributes:
        config: resolved settings (config.yaml).
        metrics: split -> task -> metric -> value, unrounded (metrics.json, in which NaN is null).
        history: a row an epoch (history.csv), see `training.Fit`.
        predictions: id, split, label and a prediction for each task (predictions.csv).
        labels: id, epoch and each task's label (labels.parquet); no rows without label generation.
        covariances: "<modality>/<covariance | spectrum>/<before | after>" -> (D, D) or (D,) of the train split's
            encodings, before the first and with the best epoch's weights (alignment.npz).
        provenance: where the numbers come from (provenance.json).
    """

    config: RunConfig
    metrics: dict[str, dict[str, dict[str, float]]]
    history: pd.DataFrame
    predictions: pd.DataFrame
    labels: pd.DataFrame
    covariances: dict[str, NDArray]
    provenance: dict[str, Any]

    @property
    def statistics(self) -> dict[str, Tensor] | None:
        """Mean and scale by which the model's frames are read, `FeatureSet.statistics`; None: the run has none."""
        stored = self.provenance["data"].get("statistics")
        return stored and {name: torch.tensor(values) for name, values in stored.items()}


def is_finished(folder: Path) -> bool:
    """A folder with a metrics.json is a finished run."""
    return (folder / "metrics.json").is_file()


def unfinished_folder(folder: Path) -> Path:
    """Where a run keeps its resumable state until it is finished."""
    return folder.with_name(f".{folder.name}.unfinished")


def write_run(folder: Path, run: Run, model: nn.Module) -> None:
    """Write a run beside its place, then rename it: no half-written folder is ever seen.

    Args:
        folder: its place; what an earlier, unfinished run left in it is removed.
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
    np.savez_compressed(partial / "alignment.npz", allow_pickle=False, **run.covariances)
    (partial / "provenance.json").write_text(_json(run.provenance))
    (partial / "metrics.json").write_text(_json(_null_for_nan(run.metrics)))
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
            f"{folder}: holds no finished run (no metrics.json); run notebooks/01_train.ipynb first"
        )
    with np.load(folder / "alignment.npz") as arrays:
        covariances = dict(arrays)
    return Run(
        config=read_config(folder),
        metrics=read_metrics(folder),
        history=pd.read_csv(folder / "history.csv"),
        predictions=pd.read_csv(folder / "predictions.csv"),
        labels=pd.read_parquet(folder / "labels.parquet"),
        covariances=covariances,
        provenance=json.loads((folder / "provenance.json").read_text()),
    )


def read_config(folder: Path) -> RunConfig:
    """A run's resolved settings."""
    return RunConfig(**yaml.safe_load((folder / "config.yaml").read_text()))


def read_metrics(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """A run's metrics; a null, which is how JSON holds NaN, is read as NaN."""
    return json.loads(
        (folder / "metrics.json").read_text(),
        object_pairs_hook=lambda pairs: {name: math.nan if value is None else value for name, value in pairs},
    )


def _null_for_nan(content: Any) -> Any:
    """Nested mappings with None for NaN, which JSON does not have."""
    if isinstance(content, dict):
        return {name: _null_for_nan(value) for name, value in content.items()}
    return None if content != content else content


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
