"""One run's folder: written whole or not at all, read back as one object."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from msa_core.config import RunConfig
from msa_core.disk import put

FORMAT = 2  # of a run's folder; 1: no SHA256SUMS, and no "format" in provenance.json
CHECKSUMS = "SHA256SUMS"
WEIGHTS = "checkpoint/model.safetensors"
READ_FILES = (
    "config.yaml",
    "metrics.json",
    "history.csv",
    "predictions.csv",
    "labels.parquet",
    "alignment.npz",
    "provenance.json",
)
Content = TypeVar("Content")


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
        provenance: where the numbers come from, and the folder's format (provenance.json).
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


def require_finished(folder: Path) -> None:
    """Raise a `FileNotFoundError` if the folder holds no finished run."""
    if not is_finished(folder):
        raise FileNotFoundError(
            f"{folder}: holds no finished run (no metrics.json); train it by msa_core.run.train or 01_train.ipynb"
        )


def unfinished_folder(folder: Path) -> Path:
    """Where a run keeps its resumable state until it is finished."""
    return folder.with_name(f".{folder.name}.unfinished")


def state_file(folder: Path) -> Path:
    """A run's resumable state."""
    return unfinished_folder(folder) / "state.pt"


def replaced_folder(folder: Path) -> Path:
    """Where a finished run with other settings is kept until the new one is finished."""
    return folder.with_name(f".{folder.name}.replaced")


def write_run(folder: Path, run: Run, model: nn.Module) -> None:
    """Write a run beside its place, then rename it: no half-written folder is ever seen.

    `SHA256SUMS` in it holds the checksum of every file, as `sha256sum -c` reads them.

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
    weights = partial / WEIGHTS
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    (partial / "config.yaml").write_text(run.config.to_yaml())
    shutil.copymode(partial / "config.yaml", weights)  # else safetensors' file is its owner's alone
    run.history.to_csv(partial / "history.csv", index=False)
    run.predictions.to_csv(partial / "predictions.csv", index=False)
    run.labels.to_parquet(partial / "labels.parquet", index=False)
    np.savez_compressed(partial / "alignment.npz", allow_pickle=False, **run.covariances)
    (partial / "provenance.json").write_text(_json({"format": FORMAT} | run.provenance))
    (partial / "metrics.json").write_text(_json(null_for_nan(run.metrics)))
    lines = [f"{_digest(partial / name)}  {name}\n" for name in sorted((*READ_FILES, WEIGHTS))]
    (partial / CHECKSUMS).write_text("".join(lines))
    shutil.rmtree(folder, ignore_errors=True)
    put(partial, folder)
    for old in (unfinished_folder(folder), replaced_folder(folder)):
        shutil.rmtree(old, ignore_errors=True)


def verify(folder: Path, *names: str) -> None:
    """Compare files of a finished run with the checksums that were written with them.

    A folder of format 1 has none: its files are taken as they are.

    Args:
        folder: a finished run's.
        names: of files in it; none: all that `read_run` reads.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: a file is missing or not as it was written (it is named), or the folder's format is unknown.
    """
    require_finished(folder)
    checksums = folder / CHECKSUMS
    stored: dict[str, str] = {}
    if checksums.is_file():
        lines = [line.split("  ", 1) for line in checksums.read_text(errors="replace").splitlines()]
        stored = {line[-1]: line[0] for line in lines}
        for name in names or READ_FILES:
            if not (folder / name).is_file():
                raise ValueError(_damaged(folder / name, "got no file"))
            if stored.get(name) != (found := _digest(folder / name)):
                expected = f"{stored.get(name, 'no line')} of {CHECKSUMS}"
                raise ValueError(_damaged(folder / name, f"got SHA-256 {found}, expected {expected}"))
    version = _read(folder / "provenance.json", _read_json).get("format", 1)
    if version not in (1, FORMAT):
        raise ValueError(f"{folder}: got format {version}, expected {FORMAT} at most; use the msa_core that wrote it")
    if version == FORMAT and not stored:
        raise ValueError(_damaged(checksums, "got no checksums"))


def read_run(folder: Path) -> Run:
    """Read a finished run, once it is verified.

    Raises:
        FileNotFoundError, ValueError: see `verify`.
    """
    verify(folder)
    return Run(
        config=_read(folder / "config.yaml", lambda file: read_config(file.parent)),
        metrics=_read(folder / "metrics.json", _read_metrics),
        history=_read(folder / "history.csv", pd.read_csv),
        predictions=_read(folder / "predictions.csv", _read_predictions),
        labels=_read(folder / "labels.parquet", pd.read_parquet),
        covariances=_read(folder / "alignment.npz", _read_arrays),
        provenance=_read(folder / "provenance.json", _read_json),
    )


def read_config(folder: Path) -> RunConfig:
    """A run's resolved settings."""
    return RunConfig(**yaml.safe_load((folder / "config.yaml").read_text()))


def _read(file: Path, read: Callable[[Path], Content]) -> Content:
    """A file's content; in format 1, no checksum has told before that it is damaged."""
    try:
        return read(file)
    except Exception as error:  # each reader has its own
        raise ValueError(_damaged(file, f"it cannot be read ({' '.join(str(error).split())})")) from None


def _damaged(file: Path, what: str) -> str:
    return f"{file}: {what}; take the run's folder from a copy, or remove it and train the run again"


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def _read_predictions(file: Path) -> pd.DataFrame:
    """An id is text, also one such as "NA" or "007"."""
    empty = {name: [""] for name in pd.read_csv(file, nrows=0).columns.drop(["id", "split"], errors="ignore")}
    return pd.read_csv(file, dtype={"id": str}, keep_default_na=False, na_values=empty)


def _read_metrics(file: Path) -> dict[str, dict[str, dict[str, float]]]:
    """A null, which is how JSON holds NaN, is read as NaN."""
    return json.loads(
        file.read_text(),
        object_pairs_hook=lambda pairs: {name: math.nan if value is None else value for name, value in pairs},
    )


def null_for_nan(content: Any) -> Any:
    """Nested mappings with None for NaN, which JSON does not have."""
    if isinstance(content, dict):
        return {name: null_for_nan(value) for name, value in content.items()}
    return None if content != content else content


def _read_arrays(file: Path) -> dict[str, NDArray]:
    with np.load(file) as arrays:
        return dict(arrays)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
