"""The cache of a feature file: one safetensors file that is memory-mapped, its frames stored without padding."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from msa_core.data.checks import FRAME_MODALITIES, UNIMODAL_LABEL_FIELDS, SplitChecks, checked_splits, common_fields
from msa_core.data.features import Ragged
from msa_core.data.pickles import read_pickle
from msa_core.data.tensors import Streamed, new_file, write_tensors

logger = logging.getLogger(__name__)

CACHE_VERSION = 2  # raise it when the fields of this cache or of the token cache change
CHUNK = 2**24  # bytes of padded frames that are worked on at once
METADATA = "msa_core"  # the key of a cache's metadata in the file's header


class CacheReader:
    """An open cache.

    Attributes:
        metadata: of the cache, as it was written.
        names: of its tensors.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.metadata: dict[str, Any] = json.loads(file.metadata()[METADATA])
        self.names = frozenset(file.keys())

    def tensor(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def ragged(self, name: str) -> Ragged:
        return Ragged(self.tensor(f"{name}/values"), self.tensor(f"{name}/offsets"))

    def strings(self, name: str) -> list[str]:
        ragged = self.ragged(name)
        joined, offsets = ragged.values.numpy().tobytes(), ragged.offsets.tolist()
        return [joined[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(offsets)]


@contextmanager
def open_cache(cache: Path) -> Iterator[CacheReader]:
    """Open a cache to read; its tensors stay mapped after it is closed."""
    with safe_open(cache, framework="pt") as file:
        yield CacheReader(file)


def read_metadata(cache: Path) -> dict[str, Any]:
    """A cache's metadata; empty if there is no cache or a damaged one, which is then written again."""
    try:
        with safe_open(cache, framework="pt") as file:
            return json.loads((file.metadata() or {}).get(METADATA, "{}"))
    except (FileNotFoundError, SafetensorError):
        return {}


def is_current(cache: Path, path: Path, label_bound: float) -> bool:
    """Whether a cache is of this version and was made from the file as it is now, with this bound."""
    metadata, status = read_metadata(cache), path.stat()
    expected = {
        "version": CACHE_VERSION,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "label_bound": label_bound,
    }
    return all(metadata.get(key) == value for key, value in expected.items())


def write_cache(cache: Path, path: Path, label_bound: float) -> None:
    """Check the whole file and write its cache, which appears by a rename at the end: whole or not at all.

    Raises:
        PermissionError: the cache's folder is missing or not writable.
        ValueError: anything wrong with the file.
    """
    status = path.stat()
    if not cache.parent.is_dir() or not os.access(cache.parent, os.W_OK):
        raise PermissionError(
            f"{cache.parent}: cannot write the cache {cache.name} there; "
            "name a folder that you may write to in cache_folder"
        )
    content, release = read_pickle(path)
    splits = checked_splits(path, content)
    tensors, replaced_frames, absent_samples = _checked_tensors(splits, label_bound, release)
    metadata = {
        "version": CACHE_VERSION,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": _sha256(path),
        "label_bound": label_bound,
        "replaced_frames": replaced_frames,  # counted while the frames are written
        "absent": absent_samples,
    }
    with new_file(cache, like=path) as partial:
        write_tensors(partial, tensors, lambda: {METADATA: json.dumps(metadata)})
    if any(replaced_frames.values()):
        logger.warning("%s: NaN or infinite values replaced by 0, in so many frames: %s", path, replaced_frames)
    if absent_samples:
        sizes = {split: len(checks.ids) for split, checks in splits.items()}
        counts = [f"{name} {number} of {sizes[name.partition('/')[0]]}" for name, number in absent_samples.items()]
        logger.warning("%s: samples of length 0, which lack the modality: %s", path, ", ".join(counts))


def _checked_tensors(
    splits: dict[str, SplitChecks], label_bound: float, release: Callable[[], None]
) -> tuple[dict[str, Streamed], dict[str, int], dict[str, int]]:
    """Check every field of every split.

    Returns:
        tensors: the cache's, by name.
        replaced_frames: "<split>/<modality>" -> number of frames; once the tensors are written, the number of frames
            in which a value was replaced.
        absent_samples: "<split>/<modality>" -> number of samples that lack the modality, where it is not 0.
    """
    fields = common_fields(splits)
    tensors: dict[str, Streamed] = {}
    replaced_frames: dict[str, int] = {}
    absent_samples: dict[str, int] = {}
    for name, split in splits.items():
        tensors |= _strings(f"{name}/id", split.ids)
        tensors[f"{name}/labels"] = Streamed.of(split.labels("regression_labels", label_bound))
        for modality, field in UNIMODAL_LABEL_FIELDS.items():
            if field in fields:
                tensors[f"{name}/labels/{modality}"] = Streamed.of(split.labels(field, label_bound))
        if "raw_text" in fields:
            tensors |= _strings(f"{name}/raw_text", split.entries("raw_text", str, "a string"))
        if "text_bert" in fields:
            tokens, lengths = split.text_bert()
            if "raw_text" not in fields:
                split.require_sequences("text_bert", lengths, "text_bert")
                absent_samples[f"{name}/text"] = int((lengths == 0).sum())
            tensors[f"{name}/text_bert/values"] = Streamed.of(_unpadded(tokens, lengths).astype(np.int64))
            tensors[f"{name}/text_bert/offsets"] = _offsets(lengths)
        for modality in FRAME_MODALITIES:
            if modality in fields:
                train = tensors.get(f"train/{modality}/values")
                frames, lengths = split.frames(modality, width=None if train is None else train.shape[1])
                absent_samples[f"{name}/{modality}"] = int((lengths == 0).sum())
                tensors |= _frame_tensors(name, modality, frames, lengths, replaced_frames, release)
    return tensors, replaced_frames, {name: number for name, number in absent_samples.items() if number}


def _frame_tensors(
    split: str,
    modality: str,
    frames: NDArray,
    lengths: NDArray,
    replaced_frames: dict[str, int],
    release: Callable[[], None],
) -> dict[str, Streamed]:
    """Frames (N, T, D) without padding, and of train their mean and standard deviation."""
    name = f"{split}/{modality}"
    shape = int(lengths.sum()), frames.shape[2]
    replaced_frames[name] = shape[0]
    moments = _Moments() if split == "train" else None
    pieces = _real_frames(frames, lengths, name, replaced_frames, moments, release)
    tensors = {
        f"{name}/offsets": _offsets(lengths),
        f"{name}/values": Streamed(shape, np.dtype(np.float32), pieces),
    }
    if moments is not None:  # written after the values, when all frames have been added
        statistics = {"mean": moments.final_mean(), "scale": moments.final_scale()}
        for statistic, pieces in statistics.items():
            tensors[f"{modality}/{statistic}"] = Streamed(shape[1:], np.dtype(np.float32), pieces)
    return tensors


class _Moments:
    """Mean and standard deviation of frames that come in pieces, in float64 (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: NDArray = np.zeros(1)
        self.squares: NDArray = np.zeros(1)

    def add(self, values: NDArray) -> None:
        new, total = len(values), self.count + len(values)
        difference = values.mean(axis=0, dtype=np.float64) - self.mean
        self.squares = self.squares + new * (values.var(axis=0, dtype=np.float64) + difference**2 * self.count / total)
        self.mean = self.mean + difference * new / total
        self.count = total

    def final_mean(self) -> Iterator[NDArray]:
        """One piece: the mean of everything that was added before it is drawn."""
        yield self.mean

    def final_scale(self) -> Iterator[NDArray]:
        """One piece: the standard deviation likewise; 1 for a feature that is constant in train."""
        deviation = np.sqrt(self.squares / self.count)
        yield np.where(deviation > 0, deviation, 1)


def _real_frames(
    frames: NDArray,
    lengths: NDArray,
    name: str,
    replaced_frames: dict[str, int],
    moments: _Moments | None,
    release: Callable[[], None],
) -> Iterator[NDArray]:
    """Pieces of the frames without padding, (sum of some lengths, D) float32; NaN and infinite values become 0, and
    the frames that held one are counted.
    """
    replaced_frames[name] = 0
    step = max(1, CHUNK // max(1, frames[0].nbytes))
    for start in range(0, len(frames), step):
        chunk = slice(start, start + step)
        with np.errstate(over="ignore"):  # beyond float32's range is infinite, and replaced as such
            values = _unpadded(frames[chunk], lengths[chunk]).astype(np.float32)
        finite = np.isfinite(values)
        values[~finite] = 0
        replaced_frames[name] += int((~finite.all(axis=1)).sum())
        if moments is not None and len(values):
            moments.add(values)
        release()
        yield values


def _unpadded(padded: NDArray, lengths: NDArray) -> NDArray:
    """(N, T, ...) to (sum of lengths, ...)."""
    return padded[np.arange(padded.shape[1]) < lengths[:, None]]


def _strings(name: str, strings: list[str]) -> dict[str, Streamed]:
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    return {
        f"{name}/values": Streamed.of(np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)),
        f"{name}/offsets": _offsets(np.array([len(string) for string in encoded])),
    }


def _offsets(lengths: NDArray) -> Streamed:
    return Streamed.of(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
