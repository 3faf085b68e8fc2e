"""The cache of a feature file: one safetensors file that is memory-mapped, its frames stored without padding."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from msa_core import MODALITIES, SPLITS
from msa_core.data.checks import FRAME_MODALITIES, SplitChecks
from msa_core.data.contents import FRAME_VALUES, Contents
from msa_core.data.features import Ragged
from msa_core.data.frames import Moments
from msa_core.data.messages import WHOLE
from msa_core.data.pickles import read_pickle
from msa_core.data.splits import checked_splits
from msa_core.data.tensors import Streamed, new_file, write_tensors

logger = logging.getLogger(__name__)

CACHE_VERSION = 4  # raise it when the fields of this cache or of the token cache change
METADATA = "msa_core"  # the key of a cache's metadata in the file's header
COUNTS = ("replaced_frames", "absent", "padded_at_start")  # metadata: "<split>/<modality>" -> number
UNSETTLED = 2 * 10**9  # nanoseconds: within them, a file may change and keep its times


class CacheReader:
    """An open cache.

    Attributes:
        metadata: of the cache, as it was written.
        names: of its tensors.
        splits: that it holds.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.metadata: dict[str, Any] = json.loads(file.metadata()[METADATA])
        self.names = frozenset(file.keys())
        self.splits = [split for split in (*SPLITS, WHOLE) if f"{split}/id/values" in self.names]

    def has(self, field: str) -> bool:
        """Whether the splits have such sequences, or such strings."""
        return f"{self.splits[0]}/{field}/values" in self.names

    def tensor(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def ragged(self, name: str) -> Ragged:
        """Sequences end to end; a `ValueError` if their offsets are not such."""
        values, offsets = self.tensor(f"{name}/values"), self.tensor(f"{name}/offsets")
        _require(offsets.dtype == torch.int64 and offsets.ndim == 1 and len(offsets) > 1)
        _require(int(offsets[0]) == 0 and int(offsets[-1]) == len(values) and bool((offsets.diff() >= 0).all()))
        return Ragged(values, offsets)

    def moments(self, modality: str) -> Moments:
        """Those of the train split's frames."""
        return Moments.restored(self.tensor(f"{modality}/moments"))

    def strings(self, name: str) -> list[str]:
        ragged = self.ragged(name)
        joined, offsets = ragged.values.numpy().tobytes(), ragged.offsets.tolist()
        return [joined[start:end].decode() for start, end in pairwise(offsets)]

    def require_digests(self) -> None:
        """A `ValueError` if a tensor is not as it was written; frames are too large to be read for it."""
        digests = self.metadata["digests"]
        _require(set(digests) == self.names - FRAME_VALUES)
        for name, digest in digests.items():
            array = self.tensor(name).numpy()
            _require(_digest(array.dtype, array.shape, [array]).hexdigest() == digest)


@contextmanager
def open_cache(cache: Path) -> Iterator[CacheReader]:
    """Open a cache to read; its tensors stay mapped after it is closed."""
    with safe_open(cache, framework="pt") as file:
        yield CacheReader(file)


def ensure_cache(cache: Path, path: Path, label_bound: float, shard: bool = False) -> None:
    """Write a feature file's cache unless there is a sound one of this content, version and bound.

    Args:
        cache: its place.
        path: the feature file.
        label_bound: H.
        shard: see `checked_splits`; the cache of a file that was checked as one alone will do.

    Raises:
        OSError: the cache cannot be written; the message says what to do.
        ValueError: anything wrong with the file.
    """
    sha256 = file_sha256(path, cache.with_name(f"{cache.name}.source"))
    if not _is_sound(cache, sha256, label_bound, shard):
        write_cache(cache, path, sha256, label_bound, shard=shard)


def file_sha256(path: Path, record: Path) -> str:
    """A file's SHA-256, from `record` if the file has the size and the times that are kept there with it.

    Its times are those of its last change of content and of status: nobody can set the second. Nothing is kept while
    the last change is so recent that another one could leave the times as they are, or if the folder is read-only.
    """
    identity = _identity(path)
    try:
        stored = json.loads(record.read_text())
        if {key: stored[key] for key in identity} == identity and len(bytes.fromhex(stored["sha256"])) == 32:
            return stored["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or a damaged one, which is written again
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    settled = time.time_ns() - max(identity["mtime_ns"], identity["ctime_ns"]) > UNSETTLED
    if settled and identity == _identity(path) and os.access(record.parent, os.W_OK):
        with new_file(record, like=path) as partial:
            partial.write_text(json.dumps(identity | {"sha256": sha256}))
    return sha256


def _identity(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}


def _is_sound(cache: Path, sha256: str, label_bound: float, shard: bool) -> bool:
    """Whether a cache can be read as it is; any other is written again from the file."""
    try:
        with open_cache(cache) as stored:
            expected = {"version": CACHE_VERSION, "sha256": sha256, "label_bound": label_bound}
            _require({key: stored.metadata.get(key) for key in expected} == expected)
            _require(isinstance(stored.metadata["text_states"], bool))
            _require(all(type(number) is int for field in COUNTS for number in stored.metadata[field].values()))
            _require(shard or stored.metadata["shard"] is False)
            stored.require_digests()
            for split in stored.splits if shard else SPLITS:
                _require_sound_split(stored, split, label_bound)
    except Exception:  # bytes that are no cache can fail in any way
        return False
    return True


def _require_sound_split(stored: CacheReader, split: str, label_bound: float) -> None:
    first = stored.splits[0]
    own, others = ({name for name in stored.names if name.startswith(f"{each}/")} for each in (split, first))
    _require({name.removeprefix(split) for name in own} == {name.removeprefix(first) for name in others})
    number = len(stored.strings(f"{split}/id"))
    sequences = [name for name in (*FRAME_MODALITIES, "text_bert") if f"{split}/{name}/values" in stored.names]
    if f"{split}/raw_text/values" in stored.names:
        _require(len(stored.strings(f"{split}/raw_text")) == number)
    for name in ("labels", *(f"labels/{modality}" for modality in MODALITIES)):
        if name == "labels" or f"{split}/{name}" in stored.names:
            labels = stored.tensor(f"{split}/{name}")
            _require(labels.shape == (number,) and bool((labels.abs() <= label_bound).all()))
    for name in sequences:
        ragged = stored.ragged(f"{split}/{name}")
        _require(len(ragged) == number)
        if name in FRAME_MODALITIES:
            width = stored.ragged(f"{first}/{name}").values.shape[1:]
            _require(ragged.values.dtype == torch.float32 and ragged.values.shape[1:] == width)
            _require(f"{split}/{name}" in stored.metadata["replaced_frames"])
            if split == "train":
                moments = stored.moments(name)
                _require(moments.mean.shape == width and bool(stored.metadata["shard"] or moments.count.all()))
                _require(all(bool(each.isfinite().all()) for each in moments.statistics(name).values()))
        else:
            _require(ragged.values.dtype == torch.int64 and ragged.values.ndim == 1)


def _require(sound: bool) -> None:
    if not sound:
        raise ValueError("a damaged cache")


def write_cache(
    cache: Path, path: Path, sha256: str, label_bound: float, labelled: bool = True, shard: bool = False
) -> None:
    """Check the whole file and write its cache, which appears by a rename at the end: whole or not at all.

    Args:
        cache: its place.
        path: the feature file.
        sha256: of the feature file.
        label_bound: H.
        labelled, shard: see `checked_splits`.

    Raises:
        OSError, ValueError: see `ensure_cache`.
    """
    if not cache.parent.is_dir() or not os.access(cache.parent, os.W_OK):
        problem = "cannot write the cache" if cache.parent.is_dir() else "there is no such folder for the cache"
        raise PermissionError(
            f"{cache.parent}: {problem} {cache.name} there; name a folder that you may write to in cache_folder "
            "(of a run: dataset.cache_folder)"
        )
    before = _identity(path)
    content, release = read_pickle(path)
    splits = checked_splits(path, content, labelled, shard)
    found = Contents(label_bound, release)
    for split in splits.values():
        for add in found.steps(split):
            add()
    digests: dict[str, str] = {}
    metadata = {
        "version": CACHE_VERSION,
        "sha256": sha256,
        "label_bound": label_bound,
        "shard": shard,
        "text_states": any("text" in split.fields for split in splits.values()),
        **{name: getattr(found, name) for name in COUNTS},  # complete when the tensors are written
        "digests": digests,
    }
    tensors = {name: digested(name, tensor, digests) for name, tensor in found.tensors.items()}
    try:
        with new_file(cache, like=path) as partial:
            write_tensors(partial, tensors, lambda: {METADATA: json.dumps(metadata)})
            if _identity(path) != before:
                raise ValueError(f"{path}: the file changed while it was read; read it again when it is complete")
    except OSError as error:
        raise OSError(
            error.errno,
            f"{cache}: cannot write the cache ({error.strerror}); make room there, or name another folder in "
            "cache_folder (of a run: dataset.cache_folder)",
        ) from error
    _report(path, splits, found)


def _report(path: Path, splits: dict[str, SplitChecks], found: Contents) -> None:
    """Log what the first read has found and not refused."""
    samples = {f"{split}/{modality}": len(splits[split].ids) for split in splits for modality in MODALITIES}
    for numbers, totals, message in (
        (found.replaced_frames, found.frames, "NaN or infinite values replaced by the mean of train, in frames"),
        (found.absent, samples, "samples of length 0, which lack the modality"),
        (found.padded_at_start, samples, "frames padded at their start, read from their end, in samples"),
    ):
        if some := {name: number for name, number in numbers.items() if number}:
            counts = ", ".join(f"{name.removeprefix('/')} {number} of {totals[name]}" for name, number in some.items())
            logger.warning("%s: %s: %s", path, message, counts)


def digested(name: str, tensor: Streamed, digests: dict[str, str]) -> Streamed:
    """The same tensor, whose digest is in `digests` once it is written, unless it holds frames."""
    if name in FRAME_VALUES:
        return tensor
    digests[name] = "0" * 64  # as long as it will be

    def pieces() -> Iterator[NDArray]:
        written = [np.ascontiguousarray(piece, tensor.dtype) for piece in tensor.pieces]
        digests[name] = _digest(tensor.dtype, tensor.shape, written).hexdigest()
        yield from written

    return tensor._replace(pieces=pieces())


def _digest(dtype: np.dtype, shape: tuple[int, ...], pieces: Iterable[NDArray]) -> Any:
    digest = hashlib.sha256(f"{dtype} {tuple(shape)}\0".encode())
    for piece in pieces:
        digest.update(piece.tobytes())
    return digest
