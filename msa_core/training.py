"""One loop for every model and variant; what selects never sees a test split."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from msa_core import diagnostics, processes
from msa_core.config import GroupsConfig, TrainingConfig
from msa_core.data.features import Batch, FeatureSet, batches, number_of_batches
from msa_core.inference import encodings, evaluate, infer, predict, task_metrics
from msa_core.interfaces import Model, Parts
from msa_core.precision import fast_products
from msa_core.progress import PartialEpoch, Progress, StateKeeper, move_end, resume, trajectory, trajectory_frame

__all__ = ["Fit", "TrainingLoop", "encodings", "evaluate", "fit", "infer", "predict", "task_metrics"]

LONGEST_MEMORY = 0.99  # decay of the averaged weights, once many steps are made
CHECK_EVERY = 16  # batches: whether a loss is finite is asked so seldom because a GPU must be waited for to know

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass
class Fit:
    """What training leaves behind besides the model's best weights.

    Attributes:
        history: a row an epoch: "epoch", each loss term (mean over train samples), "learning_rate_<group>",
            "seconds", "valid_<metric>" of the multimodal task, "valid_averaged_<metric>" of the averaged weights, and
            what `msa_core.diagnostics` gives, if asked for.
        trajectories: "id", "epoch" and a column of labels for each task: the labels at the end of each epoch, epoch 0
            being the start; empty without label generation.
        best_epoch: the one with the lowest validation MAE, whose weights the model has.
        averaged: a model with the averaged weights of the epoch with their lowest validation MAE; None: not averaged.
        best_epoch_averaged: that epoch; 0: not averaged.
    """

    history: pd.DataFrame
    trajectories: pd.DataFrame
    best_epoch: int
    averaged: Model | None = None
    best_epoch_averaged: int = 0


class TrainingLoop:
    """The steps of training, without validation, history and stopping, for which see `fit`.

    Runs on a CUDA GPU if there is one and `config.device` allows it, else on the CPU. The order of samples depends on
    `seed` and the epoch alone. Each of several processes takes its share of every batch (`msa_core.processes`).

    Args:
        parts: the model, trained in place; the objective, whose learned parts (linear maps of the alignment) are
            trained along; and the source of the train split's labels.
        train: the split.
        config: batches, optimizer, precision.
        seed: of the order of samples.
        tracking: folder for what `config.tracker` writes; its name is the run's for the tracker. None: none is used.

    Raises:
        ValueError: `config.tracker` is not installed, or unknown to Accelerate; several processes cannot train this as
            one does.
    """

    def __init__(
        self, parts: Parts, train: FeatureSet, config: TrainingConfig, seed: int = 1111, tracking: Path | None = None
    ) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # else the first loop of a process sets all later ones'
        autocast = "bf16" if config.precision == "bf16" else "no"
        tracker = _installed(config.tracker) if tracking else None
        logs = tracking.parent if tracking else None
        self.accelerator = Accelerator(
            cpu=processes.on_cpu(config.device), mixed_precision=autocast, log_with=tracker, project_dir=logs
        )
        self.accelerator.init_trackers(tracking.name if tracking else "")
        self.averaged: Any = None  # an AveragedModel, whose `module` is a Model
        if config.average:
            self.averaged = AveragedModel(parts.model, self.accelerator.device, multi_avg_fn=_average)
        groups = _parameter_groups(parts.model, parts.objective, config.groups)
        optimizer = self.accelerator.prepare_optimizer(torch.optim.Adam(groups, fused=True))
        # Not wrapped for several processes: the objective's loss is that of the whole batch, see `msa_core.processes`.
        model, objective = (self.accelerator.prepare_model(part, evaluation_mode=True) for part in parts[:2])
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.labels = parts.labels.to(self.accelerator.device)
        self.train, self.config, self.seed = train, config, seed
        self._multiple = config.batch_size * config.accumulate if config.drop_remainder else 1
        self.batches_an_epoch = number_of_batches(train, config.batch_size, self._multiple)
        samples = len(train) // self._multiple * self._multiple
        processes.refuse_too_many(samples // self.batches_an_epoch, parts.objective.balance)

    @property
    def parts(self) -> dict[str, Any]:
        """What has a state, by name."""
        parts = {"model": self.model, "objective": self.objective, "labels": self.labels, "optimizer": self.optimizer}
        return parts if self.averaged is None else parts | {"averaged": self.averaged}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that are trained."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def batches(self, epoch: int, share: Callable[[Tensor], Tensor] | None = None, first: int = 0) -> Iterator[Batch]:
        """Those of one epoch, counted from 1, in their order, or a share of each, without so many at its start."""
        shuffle_seed, train, config = self.seed * 100_003 + epoch, self.train, self.config
        for modality, dropped in config.modality_dropout.items():
            train = train.dropping(modality, dropped, shuffle_seed)
        return batches(train, config.batch_size, shuffle_seed, config.by_length, self._multiple, share, first)

    def steps(self, epoch: int, trained: int = 0) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """One pass over the split; each whole batch's size and loss terms, once it is trained on.

        Args:
            epoch: counted from 1.
            trained: batches at its start that are left out; whole steps.

        Raises:
            FloatingPointError: a loss term is not finite; names term, epoch and batch.
        """
        self.model.train()
        unchecked: list[dict[str, Tensor]] = []
        number = trained
        for window in _windows(self.batches(epoch, processes.share, trained), self.config.accumulate):
            samples = sum(len(batch.whole_index) for batch in window)
            for place, batch in enumerate(window, start=1):
                number += 1
                terms = self._backward(batch.to(self.accelerator.device), samples, epoch)
                unchecked.append(terms)
                if len(unchecked) == CHECK_EVERY or number == self.batches_an_epoch:
                    _refuse_infinite(unchecked, epoch, number)
                    unchecked = []
                if place == len(window):
                    processes.average_gradients(self.parameters)
                    if self.config.max_gradient_norm is not None:
                        self.accelerator.clip_grad_norm_(self.parameters, self.config.max_gradient_norm)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                    if self.averaged is not None:
                        self.averaged.update_parameters(self.model)
                yield len(batch.whole_index), terms

    def _backward(self, batch: Batch, samples: int, epoch: int) -> dict[str, Tensor]:
        """Add the gradients of one batch of a step of so many samples, and update its labels."""
        index = batch.whole_index
        output = processes.whole(self.model(batch), len(index))
        labels = {task: self.labels.labels(task, index) for task in output.predictions}
        terms = self.objective(output, labels)
        # By the mean, each sample weighs the same in a step, also in a last one of fewer batches than the others.
        weight = len(index) / samples if self.config.accumulated == "mean" else 1.0
        balance = self.objective.balance
        self.accelerator.backward(terms["total"] * weight, retain_graph=balance.projects)
        if balance.projects:
            balance.project([terms[task] * weight for task in output.predictions], self.parameters)
        features, predictions = (
            {task: value.detach() for task, value in values.items()} for values in (output.features, output.predictions)
        )
        self.labels.update(features, index, epoch, output.present, predictions)
        return {name: value.detach() for name, value in terms.items()}


@fast_products()
def fit(
    parts: Parts,
    train: FeatureSet,
    valid: FeatureSet,
    config: TrainingConfig,
    scheme: str = "mosi",
    seed: int = 1111,
    state_file: Path | None = None,
    tracking: Path | None = None,
) -> Fit:
    """Train until validation MAE has not fallen for `config.patience` epochs; the model ends with its best weights.

    Seed torch before building the model for a run that repeats bit by bit. Several processes call it together.

    Args:
        parts, train, config, seed, tracking: see `TrainingLoop`.
        valid: the split that selects; a third one is not taken.
        scheme: of the validation metrics, see `msa_core.metrics`.
        state_file: written about every `config.state_every` seconds, within an epoch too, and when a signal stops the
            training; training goes on from one that is there.

    Raises:
        DamagedState: the state file holds no state of this run.
        Interrupted: SIGINT or SIGTERM stopped the training; the state is saved.
        FloatingPointError: a loss term is not finite (names term, epoch and batch), or a prediction on valid.
        ValueError: several processes cannot train this as one does.
        ProcessLost: another process was killed or has failed.
    """
    loop = TrainingLoop(parts, train, config, seed, tracking)
    processes.part_random_numbers()
    progress = resume(state_file, loop.parts)
    if not progress.trajectories:
        progress.trajectories += trajectory(loop.labels, len(train), epoch=0)

    trained = progress.epoch * loop.batches_an_epoch + progress.partial.batches
    batches = loop.batches_an_epoch * progress.last_epoch(config.max_epochs, config.patience)
    with (
        StateKeeper(state_file, loop.parts, progress, config.state_every) as keeper,
        tqdm(total=batches, initial=trained, unit="batch", **({} if processes.is_main() else {"disable": True})) as bar,
    ):
        while progress.epoch < (last := progress.last_epoch(config.max_epochs, config.patience)):
            move_end(bar, last * loop.batches_an_epoch)
            bar.set_description(f"epoch {progress.epoch + 1} of at least {last}")
            mae = _epoch(loop, valid, scheme, progress, bar, keeper.keep)
            bar.set_postfix({"valid MAE": f"{mae:.4f}", "best": f"{progress.best.mae:.4f}"})
            keeper.keep()
    for tracker in loop.accelerator.trackers:  # `end_training` would also part the processes
        tracker.finish()
    loop.model.load_state_dict(progress.best.weights)
    loop.accelerator.unwrap_model(loop.model, keep_fp32_wrapper=False)
    fitted = Fit(
        pd.DataFrame(progress.history), trajectory_frame(progress.trajectories, train.ids), progress.best.epoch
    )
    if loop.averaged is not None:
        loop.averaged.module.load_state_dict(progress.best_averaged.weights)
        fitted.averaged, fitted.best_epoch_averaged = loop.averaged.module, progress.best_averaged.epoch
    return fitted


def _epoch(
    loop: TrainingLoop, valid: FeatureSet, scheme: str, progress: Progress, bar: tqdm, keep: Callable[[], None]
) -> float:
    """Train the next epoch, or what is left of it, and write it into `progress`; the validation MAE."""
    started = time.perf_counter() - progress.partial.seconds
    epoch = progress.epoch + 1
    row: dict[str, float] = {"epoch": epoch, **_train_epoch(loop, epoch, progress.partial, bar, keep)}
    metrics = evaluate(loop.model, valid, scheme)["multimodal"]
    row |= {f"learning_rate_{group['name']}": group["lr"] for group in loop.optimizer.param_groups}
    if loop.config.diagnostics:
        shown = (batch.to(loop.accelerator.device) for batch in islice(loop.batches(epoch), diagnostics.BATCHES))
        row |= diagnostics.gradients(loop.model, loop.objective, loop.labels, shown)
        row |= diagnostics.likeness(loop.model, loop.objective, valid)
    row |= {"seconds": time.perf_counter() - started}
    row |= {f"valid_{metric}": value for metric, value in metrics.items()}
    progress.best.update(epoch, metrics["mae"], loop.model)
    if loop.averaged is not None:
        averaged = evaluate(loop.averaged.module, valid, scheme)["multimodal"]
        row |= {f"valid_averaged_{metric}": value for metric, value in averaged.items()}
        progress.best_averaged.update(epoch, averaged["mae"], loop.averaged.module)
    loop.accelerator.log({column: value for column, value in row.items() if column != "epoch"}, step=epoch)
    progress.history.append(row)
    progress.trajectories += trajectory(loop.labels, len(loop.train), epoch)
    progress.epoch, progress.partial = epoch, PartialEpoch()
    return metrics["mae"]


def _installed(tracker: str | None) -> str | None:
    """It, if Accelerate can use it here."""
    names = [str(name.value) for name in get_available_trackers()]
    if tracker is None or tracker in names:
        return tracker
    raise ValueError(
        f"training.tracker: got {tracker}, expected one that Accelerate knows and that is installed: "
        f"{', '.join(names) or 'there is none'}; install it (pip install {tracker}), or leave the setting out"
    )


def _average(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
    """Move the average towards the current weights: decay min(0.99, (1 + n) / (10 + n)) after n steps."""
    decay = min(LONGEST_MEMORY, (1 + int(steps)) / (10 + int(steps)))
    torch._foreach_lerp_(averaged, current, 1 - decay)


def _train_epoch(
    loop: TrainingLoop, epoch: int, partial: PartialEpoch, bar: tqdm, keep: Callable[[], None]
) -> dict[str, float]:
    """Train what `partial` lacks of an epoch; each loss term's mean over the samples of the batches that have it."""
    started = time.perf_counter() - partial.seconds
    for samples, terms in loop.steps(epoch, partial.batches):
        for name, value in terms.items():
            partial.sums[name] = partial.sums.get(name, 0) + value * samples
            partial.counts[name] = partial.counts.get(name, 0) + samples
        partial.batches += 1
        partial.seconds = time.perf_counter() - started
        bar.update()
        if partial.batches % loop.config.accumulate == 0:
            keep()
    return {f"loss_{name}": value.item() / partial.counts[name] for name, value in partial.sums.items()}


def _windows(items: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while window := list(islice(items, size)):
        yield window


def _refuse_infinite(batch_terms: list[dict[str, Tensor]], epoch: int, last: int) -> None:
    """Fail at the first of the latest batches, up to number `last`, of which a term is not finite."""
    finite = torch.stack([terms["total"] for terms in batch_terms]).isfinite()
    if finite.all():
        return
    first = int(finite.int().argmin())
    terms = batch_terms[first]
    bad = [name for name, value in terms.items() if name != "total" and not value.isfinite()] or ["total"]
    raise FloatingPointError(
        f"loss term {', '.join(bad)} is not finite in epoch {epoch}, batch {last - len(batch_terms) + first + 1}: "
        f"got {[terms[name].item() for name in bad]}; "
        "lower the learning rate or the term's weight, or standardise the frames"
    )


def _parameter_groups(model: Model, objective: nn.Module, groups: GroupsConfig) -> list[dict[str, Any]]:
    """The model's groups and the rest, each once with weight decay and once (biases, norms) without; none frozen."""
    members: dict[str, list[nn.Parameter]] = {name: [] for name in type(groups).model_fields}
    group_of = {id(p): group for group, parameters in model.parameter_groups().items() for p in parameters}
    for parameter in [*model.parameters(), *objective.parameters()]:
        if parameter.requires_grad:
            members[group_of.get(id(parameter), "rest")].append(parameter)
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
