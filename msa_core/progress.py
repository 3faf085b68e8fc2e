"""What training must not lose when it is interrupted: its progress, its resumable state, and who asked it to stop."""

import hashlib
import math
import mmap
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from msa_core import processes
from msa_core.disk import put
from msa_core.interfaces import LabelSource

DIGEST_SIZE = hashlib.sha256().digest_size  # bytes


@dataclass
class Best:
    """The epoch with the lowest validation MAE so far, and its weights."""

    epoch: int = 0
    mae: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)

    def update(self, epoch: int, mae: float, model: nn.Module) -> None:
        """Take another epoch if it is better."""
        if mae < self.mae:
            weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            self.epoch, self.mae, self.weights = epoch, mae, weights


@dataclass
class PartialEpoch:
    """The part of an epoch that is trained: its batches, seconds, and each loss term's sum over samples."""

    batches: int = 0
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def is_finite(self) -> bool:
        """Whether no loss so far was infinite or NaN."""
        return "total" not in self.sums or bool(self.sums["total"].isfinite())


@dataclass
class Progress:
    """All that a resumed run must know besides the states of the loop's parts.

    Attributes:
        epoch: the last one that was trained and validated; 0: none.
        partial: of the next epoch.
        best, best_averaged: of the plain and of the averaged weights.
        history, trajectories: an entry an epoch.
    """

    epoch: int = 0
    partial: PartialEpoch = field(default_factory=PartialEpoch)
    best: Best = field(default_factory=Best)
    best_averaged: Best = field(default_factory=Best)
    history: list[dict[str, float]] = field(default_factory=list)
    trajectories: list[dict[str, Tensor]] = field(default_factory=list)

    def last_epoch(self, most: int, patience: int) -> int:
        """The epoch that training ends with if none is better than the best so far.

        Args:
            most: epochs that may be trained.
            patience: epochs without a lower validation MAE after which training stops.

        >>> progress = Progress(epoch=7, best=Best(epoch=4))
        >>> progress.last_epoch(most=50, patience=8), progress.last_epoch(most=10, patience=8)
        (12, 10)
        """
        return min(most, self.best.epoch + patience)


def trajectory(labels: LabelSource, number: int, epoch: int) -> list[dict[str, Tensor]]:
    """The labels at the end of an epoch; nothing where they are fixed."""
    if labels.fixed:
        return []
    index = torch.arange(number, device=next(labels.buffers()).device)
    return [{"epoch": torch.tensor(epoch)} | {task: labels.labels(task, index).cpu() for task in labels.tasks}]


def trajectory_frame(epochs: list[dict[str, Tensor]], ids: list[str]) -> pd.DataFrame:
    """The labels of all epochs as a table, see `msa_core.training.Fit`."""
    if not epochs:
        return pd.DataFrame({"id": pd.Series(dtype=str), "epoch": pd.Series(dtype=int)})
    frames = [
        pd.DataFrame(
            {"id": ids, "epoch": int(labels["epoch"])} | {t: v.numpy() for t, v in labels.items() if t != "epoch"}
        )
        for labels in epochs
    ]
    return pd.concat(frames, ignore_index=True)


def move_end(bar: tqdm, total: int) -> None:
    """Set where a progress bar ends, and so the time left. A notebook's bar keeps its length unless it is told, too."""
    bar.total = total
    if hasattr(bar, "container"):  # of a notebook: description, bar, numbers
        bar.container.children[1].max = total


class DamagedState(ValueError):
    """A state file that does not hold a state of this run."""


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop. The message says where it goes on; a notebook shows it without the traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for this name
        return [str(self)]


class StateKeeper:
    """Saves the resumable state now and then, and when SIGINT or SIGTERM asks the training to stop.

    As a context, it takes these signals over (in the main thread; a second signal acts as it would without the
    keeper) and saves the state at the end. Of several processes, each has a keeper: they stop at the same step, and the
    main one writes.

    Args:
        file: of the state; None: nothing is saved.
        parts: what has a state, by name.
        progress: is saved along.
        every: seconds between two savings, at least.
    """

    def __init__(self, file: Path | None, parts: Mapping[str, Any], progress: Progress, every: float) -> None:
        self.file, self.parts, self.progress, self.every = file, parts, progress, every
        self._saved = time.perf_counter()
        self._signal: signal.Signals | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._agreed(due=True)
                self._save()
        finally:
            self._restore_handlers()
        if kind is None:
            self._raise_if_stopped()

    def keep(self) -> None:
        """Save the state if it is time. To be called where no gradient is pending.

        Raises:
            Interrupted: a signal has asked for it; the state is saved before.
        """
        if self._agreed(due=processes.is_main() and time.perf_counter() - self._saved >= self.every):
            self._save()
        self._raise_if_stopped()

    def _agreed(self, due: bool) -> bool:
        """Whether to save, by any process; takes over a signal to any."""
        asked = processes.largest(self._signal or int(due))  # the numbers of both signals are above 1
        if asked > 1:
            self._signal = signal.Signals(asked)
        return asked > 0

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        if processes.count() == 1:
            self._restore_handlers()  # to several, both the terminal and the launcher send one

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _raise_if_stopped(self) -> None:
        if self._signal is not None:
            place = f"epoch {self.progress.epoch + 1} after {self.progress.partial.batches} batches"
            how = f"state saved in {self.file}; start the same run again to go on there"
            if self.file is None:
                how = "nothing is saved: no state_file was given"
            raise Interrupted(f"{self._signal.name} stopped the training in {place}: {how}")

    def _save(self) -> None:
        if self.file is not None and self.progress.partial.is_finite():
            save_state(self.file, self.parts, self.progress)
            self._saved = time.perf_counter()


def save_state(file: Path, parts: Mapping[str, Any], progress: Progress) -> None:
    """Write a state: torch's format, then the 32 bytes of its SHA-256, which torch does not read.

    Several processes call it together: all have the same state, but for their random numbers, and the main one writes.

    Args:
        file: replaced as a whole.
        parts: what has a state, by name.
        progress: of the run.
    """
    nested = {name: vars(getattr(progress, name)) for name in ("partial", "best", "best_averaged")}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    random = processes.everyones({"cpu": torch.get_rng_state(), "cuda": cuda})
    with processes.main_first():
        if processes.is_main():
            states = {name: part.state_dict() for name, part in parts.items()}
            _write(file, {"parts": states, "progress": vars(progress) | nested, "random": random})


def _write(file: Path, state: Mapping[str, Any]) -> None:
    unfinished = file.with_suffix(".partial")
    with unfinished.open("wb") as stream:
        torch.save(state, stream)
    with unfinished.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    with unfinished.open("ab") as stream:
        stream.write(digest)
    put(unfinished, file)


def resume(file: Path | None, parts: Mapping[str, Any]) -> Progress:
    """What a state file holds, read into the parts as by `load_state`; a new progress, if there is none.

    Raises:
        DamagedState: see `load_state`.
        RuntimeError: the processes have read different states.
    """
    progress = load_state(file, parts) if file and file.is_file() else Progress()
    if len(found := set(processes.everyones((progress.epoch, progress.partial.batches)))) > 1:
        raise RuntimeError(
            f"{file}: got states of {len(found)} different steps in {processes.count()} processes, expected one; put "
            "the folder of runs on a disk that all machines share"
        )
    return progress


def load_state(file: Path, parts: Mapping[str, Any]) -> Progress:
    """Read a state into the parts and torch's random number generators.

    The number of processes may be another one: those that have no random numbers in the file keep their own.

    Raises:
        DamagedState: the file was not written by `save_state`, was changed since, or is of other parts, which then
            have a part of its content.
    """
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if hashlib.sha256(memoryview(content)[:-DIGEST_SIZE]).digest() != content[-DIGEST_SIZE:]:
                raise ValueError("its content is not what was written")
        saved = torch.load(file, weights_only=True, map_location="cpu")
        for name, part in parts.items():
            part.load_state_dict(saved["parts"][name])
        for random in saved["random"][processes.place() :][:1]:
            torch.set_rng_state(random["cpu"])
            if random["cuda"]:
                torch.cuda.set_rng_state_all(random["cuda"])
        best = {name: Best(**saved["progress"][name]) for name in ("best", "best_averaged")}
        partial = {"partial": PartialEpoch(**saved["progress"]["partial"])}
        progress = Progress(**saved["progress"] | best | partial)
    except Exception as error:  # whatever a damaged file makes of torch
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedState(f"{file}: holds no state of this run ({reason})") from None
    if processes.is_main():
        tqdm.write(f"going on after epoch {progress.epoch} and {progress.partial.batches} batches, from {file}")
    return progress
