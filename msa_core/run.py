"""One run from its settings to its folder: what the notebooks call."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_model
from tqdm.auto import tqdm

from msa_core import build, processes, provenance, records
from msa_core.config import RunConfig
from msa_core.data import FeatureSet
from msa_core.disk import make_folder, put, refusals_explained
from msa_core.interfaces import Model
from msa_core.progress import DamagedState
from msa_core.records import Run
from msa_core.training import encodings, fit, infer, task_metrics

HOLDER = "held_by.txt"  # beside a run's resumable state: who is at the run
LOCK_SECONDS = 5.0  # how long a run is waited for: the kernel of a killed batch notices it after a second


def train(config: RunConfig, folder: Path) -> Run:
    """Train, evaluate and write one run; a finished one is read back, an interrupted one goes on where it was.

    SIGINT and SIGTERM save the state before they stop the training. A finished run is shown on a read-only disk, too.
    If several processes were started together, each takes its share of every batch (`msa_core.processes`).

    Args:
        config: the run's settings.
        folder: the run's own; see `paths.run_folder`.

    Returns:
        The run, as read back from its folder.

    Raises:
        FileExistsError: the folder holds a finished run with other settings.
        Interrupted: a signal stopped the training; the message says how to go on.
        OSError: the disk is full, or the folder or a cache cannot be written to; names the path.
        RuntimeError: another process is at the same run; one of several processes was killed or has failed.
        ValueError: the folder holds a finished run that is damaged; names the file.
    """
    processes.join(config.training.device)
    if not _is_finished(folder):
        try:
            with refusals_explained(folder.parent), _locked(folder):
                if not _is_finished(folder):
                    _train_whole(config, folder)
                    with processes.main_first():
                        return records.read_run(folder)
        except Timeout:
            raise RuntimeError(
                f"{folder}: another process is at this run{_holder(folder)}; wait for it, or stop it"
            ) from None
    run = records.read_run(folder)
    _refuse_other_settings(config, folder)
    _say(f"{folder}: finished before, shown as it is; remove it to run again")
    return run


def load(folder: Path, trained: bool = True) -> tuple[Run, Model, dict[str, FeatureSet]]:
    """A finished run with its model and data, rebuilt from its folder; frames are read by the run's own statistics.

    Args:
        folder: a finished run's.
        trained: True: the best epoch's weights; False: the random ones that the run began with.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: a file of it is damaged, or its weights are of another model than its settings and this code make.
    """
    run = records.read_run(folder)
    data = build.dataset(run.config, run.statistics)
    set_seed(run.config.seed)
    model = build.model(run.config, data["train"])
    if trained:
        records.verify(folder, records.WEIGHTS)
        load_weights(model, folder / records.WEIGHTS, run.provenance["commit"])
    return run, model, data


def load_weights(model: Model, weights: Path, commit: str | None) -> None:
    """Give a model, built from a run's settings, the run's weights.

    Args:
        model: takes them in place.
        weights: a safetensors file.
        commit: of the run, for the message.

    Raises:
        ValueError: the file cannot be read, or is of another model.
    """
    try:
        load_model(model, weights)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{weights}: cannot be read ({error}); get the file again, or train the run again") from None
    except RuntimeError as error:
        raise ValueError(
            f"{weights}: got weights of another model than the run's settings make with this code (the run's commit: "
            f"{commit}); use the code of that commit, or train it again ({error})"
        ) from None


def other_settings(config: RunConfig, folder: Path) -> list[str]:
    """The settings, "name: value" each, that a finished run has otherwise; empty: it is this run."""
    try:
        stored = records.read_config(folder)
    except ValueError:
        return ["config.yaml: of another version"]
    differences = config.differences(stored)
    return [f"{name}: {value}" for name, value in differences.items()] or [
        f"{name}: not there" for name in stored.differences(config)
    ]


def _is_finished(folder: Path) -> bool:
    """As the main process sees it."""
    return processes.everyones(records.is_finished(folder))[0]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from the run; the main process has the lock for all that train it together."""
    if not processes.is_main():
        yield
        return
    make_folder(folder.parent)
    with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=LOCK_SECONDS):
        yield


def _say(line: str) -> None:
    if processes.is_main():
        tqdm.write(line)


def _refuse_other_settings(config: RunConfig, folder: Path) -> None:
    if differences := other_settings(config, folder):
        requested = "; ".join(differences)
        raise FileExistsError(
            f"{folder}: holds a finished run with other settings (requested now: {requested}); "
            "it is not overwritten: give another folder of runs, or remove it"
        )


def _train_whole(config: RunConfig, folder: Path) -> None:
    """Train from the state that is there; from the start, with new parts, if it is damaged."""
    try:
        _train(config, folder)
        return
    except DamagedState as error:
        aside = records.state_file(folder).with_name("damaged.pt")
        if processes.is_main():
            put(records.state_file(folder), aside)
        _say(f"{error}: it is set aside as {aside.name}, and the run starts anew")
    _train(config, folder)


def _train(config: RunConfig, folder: Path) -> None:
    started = provenance.start()
    set_seed(config.seed)
    with processes.main_first():  # it writes caches and removes an old state
        data = build.dataset(config)
        state_file = _state_file(config, folder, data["train"].source)
    parts = build.parts(config, data["train"])
    before = _second_order(encodings(parts.model, data["train"]), "before")
    set_seed(config.seed)  # looking at the untrained model leaves no trace in the training
    scheme = config.dataset.metrics
    tracking = folder.parent / "tracking" / "-".join(folder.parts[-3:])
    fitted = fit(parts, data["train"], data["valid"], config.training, scheme, config.seed, state_file, tracking)
    outputs = {
        split: infer(parts.model, features, "predictions", *(["encodings"] if split == "train" else []))
        for split, features in data.items()
    }
    predictions = {split: output["predictions"] for split, output in outputs.items()}
    if fitted.averaged is not None:
        for split, features in data.items():
            averaged = infer(fitted.averaged, features, "predictions")["predictions"]
            predictions[split] = predictions[split] | {"multimodal_averaged": averaged["multimodal"]}
    if not processes.is_main():
        return
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


def _state_file(config: RunConfig, folder: Path, source: Mapping[str, Any]) -> Path:
    """Where the run keeps its resumable state; one that other settings, other data or other code left is removed."""
    unfinished = records.unfinished_folder(folder)
    data = source.get("sha256")  # of the feature file; planted data follow from the settings
    identity = json.dumps(config.identity() | {"data": data, "code": provenance.code_identity()}, indent=1)
    belongs_to = unfinished / "belongs_to.json"
    if processes.is_main() and (not belongs_to.is_file() or belongs_to.read_text(errors="replace") != identity):
        if records.state_file(folder).is_file():
            tqdm.write(f"{unfinished}: holds the state of other settings, data or code; the run starts anew")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        belongs_to.write_text(identity)
    if processes.is_main():
        (unfinished / HOLDER).write_text(provenance.this_process())
    return records.state_file(folder)


def _holder(folder: Path) -> str:
    """Which process is at a run, if it has said so yet."""
    file = records.unfinished_folder(folder) / HOLDER
    return f" ({file.read_text()})" if file.is_file() else ""


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
