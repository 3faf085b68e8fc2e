"""One loop for every model and variant; what selects never sees a test split."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from msa_core.config import GroupsConfig, TrainingConfig
from msa_core.data.features import Batch, FeatureSet, batches, number_of_batches
from msa_core.labels import UnimodalLabelGenerator
from msa_core.metrics import regression_metrics
from msa_core.model import MSAModel
from msa_core.objective import MultiTaskLoss
from msa_core.precision import fast_products

EVALUATION_BATCH_SIZE = 64


@dataclass
class Fit:
    """What training leaves behind besides the model's best weights.

    Attributes:
        history: a row an epoch: "epoch", each loss term (mean over train samples), "learning_rate_<group>",
            "seconds", "valid_<metric>" of the multimodal task.
        trajectories: "id", "epoch" and a column of labels for each task: the labels at the end of each epoch, epoch 0
            being the start; empty without label generation.
        best_epoch: the one with the lowest validation MAE, whose weights the model has.
    """

    history: pd.DataFrame
    trajectories: pd.DataFrame
    best_epoch: int


@dataclass
class _Progress:
    """All that a resumed run must know besides the states of model, objective, generator and optimizer."""

    epoch: int = 0
    best_epoch: int = 0
    best_mae: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    trajectories: list[dict[str, Tensor]] = field(default_factory=list)


@fast_products()
def fit(
    model: MSAModel,
    objective: MultiTaskLoss,
    train: FeatureSet,
    valid: FeatureSet,
    config: TrainingConfig,
    generator: UnimodalLabelGenerator | None = None,
    unimodal_labels: Mapping[str, Tensor] = MappingProxyType({}),
    scheme: str = "mosi",
    seed: int = 1111,
    state_file: Path | None = None,
) -> Fit:
    """Train until validation MAE has not fallen for `config.patience` epochs; the model ends with its best weights.

    Runs on a CUDA GPU if there is one, else on the CPU. The order of samples depends on `seed` and the epoch alone;
    seed torch before building the model for a run that repeats bit by bit.

    Args:
        model: trained in place.
        objective: its learned parts (linear maps of the alignment) are trained along.
        train, valid: splits; a third one is not taken.
        config: the loop's settings.
        generator: of unimodal labels; None: they stay what they are.
        unimodal_labels: modality -> labels of the train split, (N,), for its unimodal task without a generator; a
            modality left out is trained on copies of y.
        scheme: of the validation metrics, see `msa_core.metrics`.
        seed: of the order of samples.
        state_file: written about every `config.state_every` seconds; training goes on from one that is there.

    Raises:
        FloatingPointError: a loss term is not finite (names term, epoch and batch), or a prediction on valid.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # else the first fit of a process sets all later ones'
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=config.precision)
    device = accelerator.device
    optimizer = torch.optim.Adam(_parameter_groups(model, objective, config.groups), fused=True)
    model, objective, optimizer = accelerator.prepare(model, objective, optimizer)
    if generator is not None:
        generator.to(device)
        generator.initialise(torch.arange(len(train), device=device), train.labels.to(device))
        labels_of = generator.labels
    else:
        fixed = {task: unimodal_labels.get(task, train.labels).to(device) for task in model.tasks}

        def labels_of(task: str, index: Tensor) -> Tensor:
            return fixed[task][index]

    parts: dict[str, Any] = {"model": model, "objective": objective, "optimizer": optimizer}
    if generator is not None:
        parts["generator"] = generator
    progress = _load_state(state_file, parts) if state_file and state_file.is_file() else _Progress()
    if generator is not None and not progress.trajectories:
        progress.trajectories.append(_labels(generator, train, epoch=0))

    steps = number_of_batches(train, config.batch_size)
    saved = time.perf_counter()
    with tqdm(total=config.max_epochs * steps, initial=progress.epoch * steps, unit="batch") as bar:
        while progress.epoch < config.max_epochs and progress.epoch - progress.best_epoch < config.patience:
            started = time.perf_counter()
            progress.epoch += 1
            bar.set_description(f"epoch {progress.epoch}")
            model.train()
            terms = _train_epoch(
                accelerator, model, objective, optimizer, train, config, generator, seed, progress.epoch, bar, labels_of
            )
            found = evaluate(model, valid, scheme)["multimodal"]
            row = {"epoch": progress.epoch, **terms}
            row |= {f"learning_rate_{group['name']}": group["lr"] for group in optimizer.param_groups}
            row |= {"seconds": time.perf_counter() - started}
            progress.history.append(row | {f"valid_{metric}": value for metric, value in found.items()})
            if generator is not None:
                progress.trajectories.append(_labels(generator, train, progress.epoch))
            if found["mae"] < progress.best_mae:
                progress.best_mae, progress.best_epoch = found["mae"], progress.epoch
                progress.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            bar.set_postfix({"valid MAE": f"{found['mae']:.4f}", "best": f"{progress.best_mae:.4f}"})
            if state_file and time.perf_counter() - saved >= config.state_every:
                _save_state(state_file, parts, progress)
                saved = time.perf_counter()
        bar.total = bar.n  # stopped early: the bar is full all the same
    model.load_state_dict(progress.best_weights)
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return Fit(
        pd.DataFrame(progress.history),
        _trajectory_frame(progress.trajectories, train.ids),
        progress.best_epoch,
    )


def _train_epoch(
    accelerator: Accelerator,
    model: MSAModel,
    objective: MultiTaskLoss,
    optimizer: torch.optim.Optimizer,
    train: FeatureSet,
    config: TrainingConfig,
    generator: UnimodalLabelGenerator | None,
    seed: int,
    epoch: int,
    bar: tqdm,
    labels_of: Callable[[str, Tensor], Tensor],
) -> dict[str, float]:
    """One pass over the train split; each loss term's mean over its samples."""
    sums: dict[str, Tensor] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    number = 0
    for window in _windows(batches(train, config.batch_size, shuffle_seed=seed * 100_003 + epoch), config.accumulate):
        samples = sum(len(batch) for batch in window)
        for batch in window:
            number += 1
            batch = batch.to(accelerator.device)
            output = model(batch)
            labels = {task: labels_of(task, batch.index) for task in model.tasks}
            terms = objective(output, labels)
            if not terms["total"].isfinite():
                _stop(terms, epoch, number)
            # Each sample weighs the same in a step, also in a last window that is shorter than the others.
            accelerator.backward(terms["total"] * (len(batch) / samples))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() * len(batch)
            if generator is not None:
                features = {task: feature.detach() for task, feature in output.features.items()}
                generator.update(features, batch.index, epoch)
            bar.update()
        accelerator.clip_grad_norm_(parameters, config.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
    return {f"loss_{name}": value.item() / len(train) for name, value in sums.items()}


def _windows(items: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while window := list(islice(items, size)):
        yield window


def _stop(terms: Mapping[str, Tensor], epoch: int, batch: int) -> None:
    bad = [name for name, value in terms.items() if name != "total" and not value.isfinite()] or ["total"]
    raise FloatingPointError(
        f"loss term {', '.join(bad)} is not finite in epoch {epoch}, batch {batch}: "
        f"got {[terms[name].item() for name in bad]}; "
        "lower the learning rate or the term's weight, or standardise the frames"
    )


def _parameter_groups(model: MSAModel, objective: MultiTaskLoss, groups: GroupsConfig) -> list[dict[str, Any]]:
    """Each encoder's parameters and the rest, once with weight decay and once (biases, norms) without."""
    members: dict[str, list[nn.Parameter]] = {name: [] for name in type(groups).model_fields}
    for name, parameter in [*model.named_parameters(), *objective.named_parameters()]:
        first, second, *_ = name.split(".")
        members[second if first == "encoders" else "rest"].append(parameter)
    split = []
    for name, parameters in members.items():
        settings = getattr(groups, name)
        for decay, chosen in (
            (settings.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if chosen:
                split.append({"name": name, "params": chosen, "lr": settings.learning_rate, "weight_decay": decay})
    return split


def _labels(generator: UnimodalLabelGenerator, train: FeatureSet, epoch: int) -> dict[str, Tensor]:
    index = torch.arange(len(train), device=generator.labels("multimodal", torch.tensor([0])).device)
    return {"epoch": torch.tensor(epoch)} | {task: generator.labels(task, index).cpu() for task in generator.tasks}


def _trajectory_frame(epochs: list[dict[str, Tensor]], ids: list[str]) -> pd.DataFrame:
    if not epochs:
        return pd.DataFrame({"id": pd.Series(dtype=str), "epoch": pd.Series(dtype=int)})
    frames = [
        pd.DataFrame(
            {"id": ids, "epoch": int(labels["epoch"])} | {t: v.numpy() for t, v in labels.items() if t != "epoch"}
        )
        for labels in epochs
    ]
    return pd.concat(frames, ignore_index=True)


def _save_state(file: Path, parts: Mapping[str, Any], progress: _Progress) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    random = {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    partial = file.with_suffix(".partial")
    torch.save({"parts": state, "progress": vars(progress), "random": random}, partial)
    partial.replace(file)


def _load_state(file: Path, parts: Mapping[str, Any]) -> _Progress:
    saved = torch.load(file, weights_only=True, map_location="cpu")
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    torch.set_rng_state(saved["random"]["cpu"])
    if saved["random"]["cuda"]:
        torch.cuda.set_rng_state_all(saved["random"]["cuda"])
    progress = _Progress(**saved["progress"])
    tqdm.write(f"going on after epoch {progress.epoch}, from {file}")
    return progress


# --- using a trained model ------------------------------------------------------------------------------------------


@torch.no_grad()
def predict(model: MSAModel, features: FeatureSet) -> dict[str, NDArray]:
    """Each task's predictions, (N,) float32, in the order of the split.

    Raises:
        FloatingPointError: a prediction is not finite; names task and split.
    """
    predictions = _run(model, features, lambda output: output.predictions)
    for task, values in predictions.items():
        if not np.isfinite(values).all():
            raise FloatingPointError(
                f"predictions of {task} on {features.split} are not finite: the weights have diverged; "
                "lower the learning rate"
            )
    return predictions


@torch.no_grad()
def encodings(model: MSAModel, features: FeatureSet) -> dict[str, NDArray]:
    """Each modality's encoding, (N, D) float32, in the order of the split: what the alignment acts on."""
    return _run(model, features, lambda output: output.encodings)


def evaluate(model: MSAModel, features: FeatureSet, scheme: str) -> dict[str, dict[str, float]]:
    """Each task's metrics against the human multimodal label.

    Args:
        model: as trained; left in evaluation mode.
        features: one split.
        scheme: see `msa_core.metrics.regression_metrics`.
    """
    true = features.labels.numpy()
    return {task: regression_metrics(pred, true, scheme) for task, pred in predict(model, features).items()}


@fast_products()
def _run(model: MSAModel, features: FeatureSet, chosen: Any) -> dict[str, NDArray]:
    model.eval()
    device = next(model.parameters()).device
    pieces: dict[str, list[Tensor]] = {}
    index = []
    for batch in batches(features, EVALUATION_BATCH_SIZE):
        index.append(batch.index)
        for name, value in chosen(model(batch.to(device))).items():
            pieces.setdefault(name, []).append(value.float().cpu())
    order = np.argsort(torch.cat(index).numpy())
    return {name: torch.cat(values).numpy()[order] for name, values in pieces.items()}
