"""One run from its settings to its folder: what the notebooks call."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.torch import load_model
from tqdm.auto import tqdm

from msa_core import records
from msa_core.alignment import AlignmentLoss
from msa_core.config import DatasetConfig, RunConfig
from msa_core.data import FeatureSet, load_features, planted_features, require_file
from msa_core.encoders import load_tokenizer
from msa_core.frozen import freeze_text
from msa_core.labels import UnimodalLabelGenerator
from msa_core.model import MSAModel, build_model
from msa_core.objective import MultiTaskLoss
from msa_core.paths import from_root
from msa_core.records import Run
from msa_core.training import encodings, evaluate, fit, predict


def load_dataset(config: DatasetConfig, text_encoder: str, freeze: bool = False) -> dict[str, FeatureSet]:
    """The three splits of a data set, its text in the tokens of `text_encoder`, or in its states if that is frozen."""
    path = None if config.features is None else from_root(config.features)
    if path is not None:
        require_file(path)  # before a tokenizer is fetched for it
    tokenizer = load_tokenizer(text_encoder)
    if path is None:
        data = planted_features(**config.planted.model_dump(), max_tokens=config.max_tokens, tokenizer=tokenizer)
        return freeze_text(data, text_encoder) if freeze else data
    folder = path.parent if config.cache_folder is None else from_root(config.cache_folder)
    data = load_features(
        path,
        tokenizer=tokenizer,
        label_bound=config.label_bound,
        standardise=config.standardise,
        max_frames=config.max_frames,
        max_tokens=config.max_tokens,
        cache_folder=folder,
    )
    return freeze_text(data, text_encoder, cache=folder / f"{path.name}.cache") if freeze else data


def true_labels(config: RunConfig) -> pd.DataFrame | None:
    """id and a column per modality: the train split's true (planted data) or human (CH-SIMS) unimodal labels.

    None where the data have none, or where the feature file is not on this machine: the run may be from another.
    """
    if config.dataset.features is not None and not from_root(config.dataset.features).is_file():
        return None
    train = load_dataset(config.dataset, config.model.text_encoder)["train"]
    return pd.DataFrame({"id": train.ids, **train.unimodal_labels}) if train.unimodal_labels else None


def build(config: RunConfig, train: FeatureSet) -> tuple[MSAModel, MultiTaskLoss, UnimodalLabelGenerator | None]:
    """Model, objective and label generator of one run; random weights come from torch's seed."""
    settings = config.objective
    model = build_model(config.model, train, unimodal_tasks=settings.unimodal_labels != "none")
    alignment = generator = None
    if settings.unimodal_labels == "true" and (without := set(model.projections) - set(train.unimodal_labels)):
        raise ValueError(
            f"objective.unimodal_labels: got 'true' on {config.dataset.name}, which has no unimodal labels of "
            f"{sorted(without)}; use 'generated', 'copied' or 'none', or data with such labels (planted, sims)"
        )
    if settings.alignment:
        widths = model.encoding_widths
        if absent := {modality for pair in settings.alignment for modality in pair} - set(widths):
            raise ValueError(
                f"objective.alignment: got a pair with {sorted(absent)}, "
                f"expected pairs of what the data have: {sorted(widths)}"
            )
        weights = {pair: settings.alignment_scale * weight for pair, weight in settings.alignment.items()}
        # Unequal widths take a learned map: without training there is no distance to measure.
        pairs = {(a, b): weight for (a, b), weight in weights.items() if weight or widths[a] == widths[b]}
        alignment = AlignmentLoss(pairs, settings.alignment_distance, widths, settings.alignment_width)
    if settings.unimodal_labels == "generated":
        generator = UnimodalLabelGenerator(
            len(train),
            model.feature_widths,
            config.dataset.label_bound,
            settings.exclude_zero,
            settings.centre_distance,
        )
    return model, MultiTaskLoss(alignment, settings.weight_adjustment), generator


def run(config: RunConfig, folder: Path) -> Run:
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
                _run(config, folder)
    except Timeout:
        raise RuntimeError(f"{folder}: another process is at this run; wait for it, or stop it") from None
    return records.read_run(folder)


def load_run(folder: Path, trained: bool = True) -> tuple[Run, MSAModel, dict[str, FeatureSet]]:
    """A finished run with its model and data, rebuilt from its folder.

    Args:
        folder: a finished run's.
        trained: True: the best epoch's weights; False: the random ones that the run began with.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: its weights are of another model than its settings and this code make.
    """
    run = records.read_run(folder)
    data = load_dataset(run.config.dataset, run.config.model.text_encoder, run.config.model.freeze_text)
    set_seed(run.config.seed)
    model, *_ = build(run.config, data["train"])
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
    there = (folder / "config.yaml").read_text().splitlines()
    differences = [line.strip() for line in config.to_yaml().splitlines() if line not in there]
    if config.to_yaml().splitlines() != there:
        raise FileExistsError(
            f"{folder}: holds a finished run with other settings (asked for now: {'; '.join(differences)}); "
            "it is not overwritten: give another folder of runs, or remove it"
        )


def _run(config: RunConfig, folder: Path) -> None:
    started = records.start()
    state_file = _state_file(config, folder)
    set_seed(config.seed)
    data = load_dataset(config.dataset, config.model.text_encoder, config.model.freeze_text)
    model, objective, generator = build(config, data["train"])
    before = _second_order(encodings(model, data["train"]), "before")
    set_seed(config.seed)  # looking at the untrained model leaves no trace in the training
    fitted = fit(
        model,
        objective,
        data["train"],
        data["valid"],
        config.training,
        generator,
        unimodal_labels=data["train"].unimodal_labels if config.objective.unimodal_labels == "true" else {},
        scheme=config.dataset.metrics,
        seed=config.seed,
        state_file=state_file,
    )
    result = Run(
        config=config,
        metrics={split: evaluate(model, features, config.dataset.metrics) for split, features in data.items()},
        history=fitted.history,
        predictions=pd.concat([_predictions(model, features) for features in data.values()], ignore_index=True),
        labels=fitted.trajectories,
        alignment=before | _second_order(encodings(model, data["train"]), "after"),
        provenance={"best_epoch": fitted.best_epoch, **records.provenance(started, data["train"].source)},
    )
    records.write_run(folder, result, model)


def _state_file(config: RunConfig, folder: Path) -> Path:
    """Where the run keeps its resumable state; one that other settings or other code left is removed."""
    unfinished = records.unfinished_folder(folder)
    wanted = f"{config.to_yaml()}\ncode_sha256: {records.code_fingerprint()}\n"
    belongs_to = unfinished / "belongs_to.yaml"
    if not belongs_to.is_file() or belongs_to.read_text() != wanted:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        belongs_to.write_text(wanted)
    return unfinished / "state.pt"


def _second_order(encoded: Mapping[str, NDArray], when: str) -> dict[str, NDArray]:
    arrays = {}
    for modality, features in encoded.items():
        covariance = np.cov(features, rowvar=False)
        arrays[f"{modality}/covariance/{when}"] = covariance
        arrays[f"{modality}/spectrum/{when}"] = np.linalg.eigvalsh(covariance)[::-1]  # largest first
    return arrays


def _predictions(model: MSAModel, features: FeatureSet) -> pd.DataFrame:
    # float64 text is read back as the same number, float32 text is not.
    numbers = {"label": features.labels.numpy(), **predict(model, features)}
    frame = pd.DataFrame({"id": features.ids, "split": features.split})
    return frame.assign(**{name: values.astype(np.float64) for name, values in numbers.items()})
