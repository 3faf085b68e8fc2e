"""What the parts of a run are to each other: the model's output, a model, a source of labels, a distance.

Shape letters: B samples in a batch, D feature width.
"""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

Nothing: Mapping[str, Tensor] = MappingProxyType({})

Gather = Callable[[Tensor], Tensor]
"""Takes one process's (B, ...) to that of all processes, in one order for every tensor; here through which they will
share a batch. The covariances and the class centres are those of the batch that it returns."""


def own_batch(x: Tensor) -> Tensor:
    """The `Gather` of a single process: its batch is the whole batch."""
    return x


class MSAOutput(NamedTuple):
    """A model's output for B samples, each a mapping by task, modality or name.

    Attributes:
        predictions: "multimodal" and each modality with a unimodal task -> sentiment on the labels' scale, (B,).
        features: the same tasks -> the feature that the prediction is made from (F_m and F*_s), (B, D).
        encodings: each modality -> its encoder's output, on which the alignment acts, (B, D).
        losses: the model's own loss terms -> scalar; they are added to the objective and shown in the history.
        present: modality -> (B,) bool, False where the sample lacks it; only modalities that some sample lacks.
    """

    predictions: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    encodings: Mapping[str, Tensor]
    losses: Mapping[str, Tensor] = Nothing
    present: Mapping[str, Tensor] = Nothing


class Model(nn.Module):
    """What training asks of a model. Called with a `data.Batch`, it returns an `MSAOutput`.

    Attributes:
        tasks: what it predicts: "multimodal", then each modality with a unimodal task.
        encoding_widths: modality -> width of its encoding.
        feature_widths: task -> width of its feature.
        origin: of a finished run's model, its `msa_core.pretrained.Origin`; None of any other.
    """

    tasks: tuple[str, ...]
    encoding_widths: dict[str, int]
    feature_widths: dict[str, int]
    origin: Any = None

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Group of `training.groups` -> its parameters; every other parameter trains in the group "rest"."""
        return {}


class LabelSource(nn.Module):
    """Where the labels of the train split come from.

    All state is buffers, so that a checkpoint carries it.

    Attributes:
        tasks: those that it has labels for.
        fixed: True: the labels never change, and there is no trajectory to record.
    """

    tasks: tuple[str, ...]
    fixed = True

    def labels(self, task: str, index: Tensor) -> Tensor:
        """Labels of the samples `index`, (B,), as they stand, (B,); those of "multimodal" are the human ones.

        NaN: the sample has no label of this task.
        """
        raise NotImplementedError

    def update(
        self,
        features: Mapping[str, Tensor],
        index: Tensor,
        epoch: int,
        present: Mapping[str, Tensor] = Nothing,
        predictions: Mapping[str, Tensor] = Nothing,
    ) -> None:
        """Called once after each batch.

        Args:
            features: task -> (B, D), detached.
            index: places of the samples in the train split, (B,).
            epoch: counted from 1.
            present: as in `MSAOutput`.
            predictions: task -> (B,), detached.
        """


class Distance(Protocol):
    """A distance between the features of two modalities, (B, D) each, as a scalar.

    A function of two tensors is one. If it has an attribute `bounded` that is True, a negative weight may be put on it.
    Its attribute `least_samples` says how many samples it needs; without one, they are two.
    """

    def __call__(self, x: Tensor, z: Tensor, /) -> Tensor: ...


class Parts(NamedTuple):
    """What is trained together; `msa_core.build.parts` makes it from a run's settings."""

    model: Model
    objective: nn.Module
    labels: LabelSource


def at_least_float32(x: Tensor) -> Tensor:
    """A half-precision tensor as float32, others as they are: sums over a batch need the digits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def is_finite(number: object) -> bool:
    """Whether this is a real number (a boolean is none), neither infinite nor NaN, that a float can hold."""
    try:
        return isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)
    except OverflowError:
        return False


def check_size(caller: str, what: str, size: object, most: int = 65_536) -> None:
    """Raise a `ValueError` that says who got which size, unless it is an integer within 1..most."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= most:
        raise ValueError(f"{caller}: got {what} {size!r}, expected an integer within 1..{most}")
