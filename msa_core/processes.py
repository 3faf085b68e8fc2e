"""One run on several processes, to the numbers of one process on the same batches.

`accelerate launch` or torchrun starts the processes. Each has the whole model and passes its share of a batch's samples
through it. Then the outputs are gathered: objective and label source see the whole batch, in its order, in every
process. So all have the same loss, and keep the same labels and stored features; the mean of their gradients is the
gradient of that loss (see `gather`). The main process alone writes. A single process has all samples, and nothing here
changes a number of its.
"""

import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor, distributed, nn

from msa_core import paths
from msa_core.interfaces import MSAOutput


class ProcessLost(RuntimeError):
    """Another process of the run has ended, or cannot be reached."""


def count() -> int:
    """How many processes the run has."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def place() -> int:
    """This process's, counted from 0."""
    return distributed.get_rank() if count() > 1 else 0


def is_main() -> bool:
    """Whether this process writes: the first one does."""
    return place() == 0


def on_cpu(device: str) -> bool:
    """Whether training runs on the CPU here; `device` is `training.device`."""
    return device == "cpu" or not torch.cuda.is_available()


def join(device: str) -> None:
    """Meet the processes that were started with this one, if any.

    Args:
        device: `training.device`; they exchange tensors by gloo on CPUs and by NCCL on GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from accelerate import PartialState  # the losses, which may be used with `gather`, need torch alone

        PartialState(cpu=on_cpu(device))


def part_random_numbers() -> None:
    """Let each process draw dropout masks of its own; the main process draws those of a single one."""
    if not is_main():
        sequence = SeedSequence(torch.initial_seed(), spawn_key=(place(),))
        torch.manual_seed(int(sequence.generate_state(1)[0]))  # 32 bits: torch reads no more


def refuse_too_many(batch_size: int, balance: Any) -> None:
    """Refuse what several processes would not train as one does.

    Args:
        batch_size: number of samples of the smallest batch.
        balance: of the tasks, a `msa_core.objective.Balance`.

    Raises:
        ValueError: a process would have no sample of a batch, or the balance needs the gradients of whole batches.
    """
    where = f"training on {count()} processes"
    if count() > 1 and balance.projects:
        raise ValueError(
            f"{where}: got a balance that projects gradients ({type(balance).__name__}), of which each process has a "
            "part, expected another one; train it on one process"
        )
    if count() > batch_size:
        raise ValueError(
            f"{where}: got batches of {batch_size} samples, expected at least one for each process; raise "
            "training.batch_size, which is that of all processes together, or start fewer of them"
        )


# --- samples --------------------------------------------------------------------------------------------------------


def share(index: Tensor) -> Tensor:
    """This process's part of the samples of a batch, (B,): the processes' parts, end to end, are the whole."""
    return index.tensor_split(count())[place()] if count() > 1 else index


def gather(x: Tensor, total: int | None = None) -> Tensor:
    """The whole batch of each process's part of it, (B_p, ...) to (B, ...): the `Gather` of several processes.

    What goes back to x is the gradient of its own samples, times the number of processes. If each process computes one
    loss from the whole batch, the mean over processes of their parameters' gradients is the gradient of that loss: for
    parameters before `gather`, which see a part of the samples, and for those behind it, which see all.

    Args:
        x: its dtype and all sizes but the first are the same in every process.
        total: B, if the samples are divided as by `share`; None: each process tells the others how many it has.
    """
    if count() == 1:
        return x
    return _Gathered.apply(_sizes(total) if total else everyones(len(x)), x)[0]


def _sizes(total: int) -> list[int]:
    """How many samples of a batch each process has, as `share` divides them."""
    return [total // count() + (i < total % count()) for i in range(count())]


class _Gathered(torch.autograd.Function):
    """Several tensors at once; one that no loss depends on has no gradient, which is not one of zeros."""

    @staticmethod
    def forward(context: Any, sizes: Sequence[int], *tensors: Tensor) -> tuple[Tensor, ...]:
        context.sizes = sizes
        context.set_materialize_grads(False)
        columns = [x.flatten(start_dim=1) if x.ndim > 1 else x[:, None] for x in tensors]
        joined = torch.cat(columns, dim=1)
        joined = joined.byte() if joined.dtype == torch.bool else joined  # gloo has no booleans
        padded = joined.new_zeros(max(sizes), joined.shape[1])
        padded[: len(joined)] = joined
        parts = [torch.empty_like(padded) for _ in sizes]
        with _loss_explained():
            distributed.all_gather(parts, padded)
        whole = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
        split = zip(tensors, whole.split([column.shape[1] for column in columns], dim=1), strict=True)
        return tuple(part.contiguous().view(len(whole), *x.shape[1:]).to(x.dtype) for x, part in split)

    @staticmethod
    def backward(context: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        own = (None if g is None else g.split(context.sizes)[place()] * count() for g in gradients)
        return None, *own


def whole(output: MSAOutput, total: int) -> MSAOutput:
    """A model's output for all samples of a batch, from that for this process's share of them.

    Args:
        output: of this process.
        total: samples of the whole batch.

    Raises:
        ValueError: the model has loss terms of its own, which are those of a share.
    """
    if count() == 1:
        return output
    if output.losses:
        raise ValueError(
            f"training on {count()} processes: got a model with losses of its own ({', '.join(output.losses)}), which "
            "it takes from a process's share of the batch, expected none; train it on one process"
        )
    tensors = {(field, name): x for field in MSAOutput._fields for name, x in getattr(output, field).items()}
    fields: dict[str, dict[str, Tensor]] = {field: {} for field in MSAOutput._fields}
    for (field, name), x in zip(tensors, _Gathered.apply(_sizes(total), *tensors.values()), strict=True):
        fields[field][name] = x
    return MSAOutput(**fields)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over processes; a parameter without one in all processes keeps none."""
    if count() == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    known = gradients[0].new_tensor([p.grad is not None for p in parameters])
    joined = torch.cat([*(gradient.flatten() for gradient in gradients), known])
    with _loss_explained():
        distributed.all_reduce(joined)
    *means, known = joined.div_(count()).split([*(p.numel() for p in parameters), len(known)])
    for parameter, mean, share_known in zip(parameters, means, known.tolist(), strict=True):
        parameter.grad = mean.view_as(parameter) if share_known else None


# --- agreement ------------------------------------------------------------------------------------------------------


def everyones(value: Any) -> list[Any]:
    """Each process's value, in their order; anything that can be pickled."""
    values = [value] * count()
    if count() > 1:
        with _loss_explained():
            distributed.all_gather_object(values, value)
    return values


def largest(number: int) -> int:
    """The largest of the processes' numbers."""
    if count() == 1:
        return number
    tensor = torch.tensor(number, device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    with _loss_explained():
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return int(tensor)


@contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through a block before all others: it writes what they find."""
    if not is_main():
        everyones(None)
    yield
    if is_main():
        everyones(None)


# --- errors ---------------------------------------------------------------------------------------------------------


@contextmanager
def _loss_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S+\] ", "", str(error)).split(". ")[0]  # without the place in gloo's sources
        raise ProcessLost(
            f"process {place() + 1} of {count()}: another process of this run was killed or has failed ({reason}); "
            "start the same command again: the run goes on from its last saved state"
        ) from None


@contextmanager
def one_error(status: int = 1) -> Iterator[None]:
    """Say once why a command ends: of several processes, the first that fails does, and the others end silently.

    What the system or msa_core refuses is a line on stderr; any other error is a bug, and keeps its traceback.

    Args:
        status: the exit status after a refusal.
    """
    try:
        yield
    except BaseException as error:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, which may come before the error is written
            if not _is_first_to_fail():
                sys.exit()
        if not _is_refusal(error):
            raise
        said = re.sub(r"^\[Errno \d+\] ", "", str(error))
        print(said, *getattr(error, "__notes__", []), sep="\n", file=sys.stderr)
        sys.exit(status)
    if count() > 1:
        distributed.destroy_process_group()


def _is_refusal(error: BaseException) -> bool:
    """Whether it is the system's, or a `raise` of ours with a message; Python and libraries raise for bugs too."""
    if isinstance(error, OSError):
        return True
    (origin,) = traceback.extract_tb(error.__traceback__, limit=-1)
    file, ours = Path(origin.filename).resolve(), (paths.PACKAGE, paths.ROOT / "workflow")
    raised = str(origin.line).startswith("raise ") and str(error) != ""
    return raised and any(file.is_relative_to(folder) for folder in ours)


def _is_first_to_fail() -> bool:
    if count() == 1:  # they have not met yet: all fail alike
        return int(os.environ.get("RANK", 0)) == 0
    try:
        return distributed.distributed_c10d._get_default_store().add("failed", 1) == 1
    except RuntimeError:  # the process that has the store was killed
        return True
