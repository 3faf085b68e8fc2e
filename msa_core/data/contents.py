"""What a feature file holds, checked and without padding, as the tensors of its cache."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from msa_core import SPLITS
from msa_core.data.checks import FRAME_MODALITIES, UNIMODAL_LABEL_FIELDS, SplitChecks
from msa_core.data.frames import Frames, Moments
from msa_core.data.messages import WHOLE, listed
from msa_core.data.tensors import Streamed

FRAME_VALUES = frozenset(f"{split}/{modality}/values" for split in (*SPLITS, WHOLE) for modality in FRAME_MODALITIES)


class Contents:
    """What a file holds: each split is checked and added, train first.

    Attributes:
        tensors: the cache's, by name.
        frames: "<split>/<modality>" -> number of frames.
        replaced_frames: "<split>/<modality>" -> number of frames; once the tensors are written, the number of frames
            that hold an unreadable value.
        absent: "<split>/<modality>" -> number of samples that lack the modality, where it is not 0.
        padded_at_start: "<split>/<modality>" -> number of samples whose padding comes first, where it is not 0.
    """

    def __init__(self, label_bound: float, release: Callable[[], None]) -> None:
        self.label_bound, self.release = label_bound, release
        self.tensors: dict[str, Streamed] = {}
        self.frames: dict[str, int] = {}
        self.replaced_frames: dict[str, int] = {}
        self.absent: dict[str, int] = {}
        self.padded_at_start: dict[str, int] = {}

    def steps(self, split: SplitChecks) -> Iterator[Callable[[], None]]:
        """A function for each field of a split that checks and adds it; its `ValueError` says what is wrong."""
        self.tensors |= _strings(f"{split.name}/id", split.ids)
        if split.labelled:
            yield lambda: self._add_labels(split, "labels", "regression_labels")
        for modality, field in UNIMODAL_LABEL_FIELDS.items():
            if field in split.fields:
                yield partial(self._add_labels, split, f"labels/{modality}", field)
        if "raw_text" in split.fields:
            yield lambda: self._add_text(split)
        if "text_bert" in split.fields:
            yield lambda: self._add_tokens(split)
        for modality in FRAME_MODALITIES:
            if modality in split.fields:
                yield partial(self._add_frames, split, modality)

    def _add_labels(self, split: SplitChecks, name: str, field: str) -> None:
        self.tensors[f"{split.name}/{name}"] = Streamed.of(split.labels(field, self.label_bound))

    def _add_text(self, split: SplitChecks) -> None:
        self.tensors |= _strings(f"{split.name}/raw_text", split.strings("raw_text"))

    def _add_tokens(self, split: SplitChecks) -> None:
        tokens, lengths = split.text_bert()
        if "raw_text" not in split.fields:
            split.require_sequences("text_bert", lengths, "text_bert")
            self._count(self.absent, f"{split.name}/text", lengths == 0)
        real = tokens[np.arange(tokens.shape[1]) < lengths[:, None]]
        self.tensors[f"{split.name}/text_bert/values"] = Streamed.of(real.astype(np.int64))
        self.tensors[f"{split.name}/text_bert/offsets"] = _offsets(lengths)

    def _add_frames(self, split: SplitChecks, modality: str) -> None:
        """Frames without padding, and of train their moments."""
        train = self.tensors.get(f"train/{modality}/values")
        frames = split.frames(modality, None if train is None else train.shape[1])
        name = f"{split.name}/{modality}"
        self._count(self.absent, name, frames.lengths == 0)
        self._count(self.padded_at_start, name, frames.starts > 0)
        shape = int(frames.lengths.sum()), frames.width
        self.frames[name] = self.replaced_frames[name] = shape[0]
        moments = Moments(shape[1]) if split.trained_on else None
        self.tensors[f"{name}/offsets"] = _offsets(frames.lengths)
        pieces = self._pieces(split, modality, frames, moments)
        self.tensors[f"{name}/values"] = Streamed(shape, np.dtype(np.float32), pieces)
        if moments is not None:  # written after the values, when all frames have been added
            self.tensors[f"{modality}/moments"] = Streamed((3, 8 * shape[1]), np.dtype(np.uint8), moments.stored())

    def _pieces(self, split: SplitChecks, modality: str, frames: Frames, moments: Moments | None) -> Iterator[NDArray]:
        """The real frames, counted and added to the moments on their way."""
        name = f"{split.name}/{modality}"
        self.replaced_frames[name] = 0
        for values in frames.pieces(self.release):
            self.replaced_frames[name] += int(np.isnan(values).any(axis=1).sum())
            if moments is not None and len(values):
                moments.add(values)
            yield values
        if moments is not None and split.must_suffice and not moments.count.all():
            without = (moments.count == 0).nonzero()[0].tolist()
            split.fail(
                modality,
                got=f"no readable value of {len(without)} of {frames.width} features (number {listed(without)})",
                expected="at least one finite value of each feature in train",
                remedy="leave these features out of every split, or extract them again",
            )

    @staticmethod
    def _count(numbers: dict[str, int], name: str, samples: NDArray) -> None:
        if samples.any():
            numbers[name] = int(samples.sum())


def _strings(name: str, strings: list[str]) -> dict[str, Streamed]:
    encoded = [string.encode() for string in strings]
    joined = b"".join(encoded)
    return {
        f"{name}/values": Streamed.of(np.frombuffer(joined, np.uint8) if joined else np.empty(0, np.uint8)),
        f"{name}/offsets": _offsets(np.array([len(string) for string in encoded])),
    }


def _offsets(lengths: NDArray) -> Streamed:
    return Streamed.of(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
