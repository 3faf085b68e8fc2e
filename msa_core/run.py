"""One run from its settings to its folder: what the notebooks call."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.torch import load_model
from tqdm.auto import tqdm

from msa_core import build, provenance, records
from msa_core.config import RunConfig
from msa_core.data import FeatureSet
from msa_core.interfaces import Model
from msa_core.records import Run
from msa_core.training import encodings, fit, infer, task_metrics


def train(config: RunConfig, folder: Path) -> Run:
    """Train, evaluate and write one run; a finished one is read back, an interrupted one goes on where it was.

    Args:
        config: the run's settings.
        folder: the run's own; see `paths.run_folder`.

    Returns:
        The run, as read back from its folder.

    Raises:
        FileExistsError: the folder holds a finished run with other settings.
        RuntimeError: another process is at the same run.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        with lock.acquire(timeout=0):
            if records.is_finished(folder):
                _refuse_other_settings(config, folder)
                tqdm.write(f"{folder}: finished before, shown as it is; remove it to run again")
            else:
                _train(config, folder)
    except Timeout:
        raise RuntimeError(f"{folder}: another process is at this run; wait for it, or stop it") from None
    return records.read_run(folder)


def load(folder: Path, trained: bool = True) -> tuple[Run, Model, dict[str, FeatureSet]]:
    """A finished run with its model and data, rebuilt from its folder; frames are read by the run's own statistics.

    Args:
        folder: a finished run's.
        trained: True: the best epoch's weights; False: the random ones that the run began with.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: its weights are of another model than its settings and this code make.
    """
    run = records.read_run(folder)
    data = build.dataset(run.config, run.statistics)
    set_seed(run.config.seed)
    model = build.model(run.config, data["train"])
    if trained:
        weights = folder / "checkpoint" / "model.safetensors"
        try:
            load_model(model, weights)
        except RuntimeError as error:
            raise ValueError(
                f"{weights}: got weights of another model than the run's config.yaml makes with this code "
                f"(the run's commit: {run.provenance['commit']}); remove {folder} and train it again ({error})"
            ) from None
    return run, model, data


def _refuse_other_settings(config: RunConfig, folder: Path) -> None:
    try:
        differences = config.differences(records.read_config(folder))
    except ValueError:
        differences = {"config.yaml": "is of another version"}
    if differences:
        requested = "; ".join(f"{name}: {value}" for name, value in differences.items())
        raise FileExistsError(
            f"{folder}: holds a finished run with other settings (requested now: {requested}); "
            "it is not overwritten: give another folder of runs, or remove it"
        )


def _train(config: RunConfig, folder: Path) -> None:
    started = provenance.start()
    state_file = _state_file(config, folder)
    set_seed(config.seed)
    data = build.dataset(config)
    parts = build.parts(config, data["train"])
    before = _second_order(encodings(parts.model, data["train"]), "before")
    set_seed(config.seed)  # looking at the untrained model leaves no trace in the training
    scheme = config.dataset.metrics
    fitted = fit(parts, data["train"], data["valid"], config.training, scheme, config.seed, state_file)
    outputs = {
        split: infer(parts.model, features, "predictions", *(["encodings"] if split == "train" else []))
        for split, features in data.items()
    }
    predictions = {split: output["predictions"] for split, output in outputs.items()}
    if fitted.averaged is not None:
        for split, features in data.items():
            averaged = infer(fitted.averaged, features, "predictions")["predictions"]
            predictions[split] = predictions[split] | {"multimodal_averaged": averaged["multimodal"]}
    result = Run(
        config=config,
        metrics={split: task_metrics(predictions[split], features, scheme) for split, features in data.items()},
        history=fitted.history,
        predictions=pd.concat(
            [_prediction_frame(predictions[split], features) for split, features in data.items()], ignore_index=True
        ),
        labels=fitted.trajectories,
        covariances=before | _second_order(outputs["train"]["encodings"], "after"),
        provenance={
            "best_epoch": fitted.best_epoch,
            "best_epoch_averaged": fitted.best_epoch_averaged,
            **provenance.provenance(started, _source(data["train"]), next(parts.model.parameters()).device.type),
        },
    )
    records.write_run(folder, result, parts.model)


def _state_file(config: RunConfig, folder: Path) -> Path:
    """Where the run keeps its resumable state; one that other settings or other code left is removed."""
    unfinished = records.unfinished_folder(folder)
    identity = json.dumps(config.identity() | {"code_sha256": provenance.code_fingerprint()}, indent=1)
    belongs_to = unfinished / "belongs_to.json"
    if not belongs_to.is_file() or belongs_to.read_text() != identity:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        belongs_to.write_text(identity)
    return unfinished / "state.pt"


def _source(train: FeatureSet) -> dict[str, Any]:
    """Where the data are from, and the statistics by which the model's frames are read: see `Run.statistics`."""
    statistics = {name: statistic.tolist() for name, statistic in train.statistics.items()}
    return train.source | ({"statistics": statistics} if statistics else {})


def _second_order(encoded: Mapping[str, NDArray], when: str) -> dict[str, NDArray]:
    arrays = {}
    for modality, features in encoded.items():
        covariance = np.cov(features, rowvar=False)
        arrays[f"{modality}/covariance/{when}"] = covariance
        arrays[f"{modality}/spectrum/{when}"] = np.linalg.eigvalsh(covariance)[::-1]  # largest first
    return arrays


def _prediction_frame(predictions: Mapping[str, NDArray], features: FeatureSet) -> pd.DataFrame:
    # float64 text is read back as the same number, float32 text is not.
    numbers = {"label": features.labels.numpy(), **predictions}
    frame = pd.DataFrame({"id": features.ids, "split": features.split})
    return frame.assign(**{name: values.astype(np.float64) for name, values in numbers.items()})
