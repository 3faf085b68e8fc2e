"""Write a safetensors file in pieces, so that no tensor is whole in memory; write any file completely or not at all."""

import glob
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

LOCK = "lock"
_NAMES = {np.dtype(np.int64): "I64", np.dtype(np.float32): "F32", np.dtype(np.uint8): "U8"}


class Streamed(NamedTuple):
    """A tensor to be written.

    Attributes:
        shape: of the whole.
        dtype: int64, float32 or uint8.
        pieces: arrays of that dtype which, end to end, are the whole; iterated once, when they are written.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Iterable[NDArray]

    @staticmethod
    def of(array: NDArray) -> "Streamed":
        """A tensor that is in memory."""
        return Streamed(array.shape, array.dtype, [array])


def write_tensors(path: Path, tensors: Mapping[str, Streamed], metadata: Callable[[], dict[str, str]]) -> None:
    """Write a file that `safetensors.safe_open` reads.

    Args:
        path: the file.
        tensors: name -> tensor. They are written by falling item size, which keeps each aligned; those of one item
            size keep their order.
        metadata: called before the first piece and after the last. The file holds the second result, which must not
            be longer than the first: the first reserves the space in the header.
    """
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    places: dict[str, Any] = {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + int(np.prod(tensor.shape)) * tensor.dtype.itemsize
        places[name] = {"dtype": _NAMES[tensor.dtype], "shape": tensor.shape, "data_offsets": [start, end]}

    def header() -> bytes:
        return json.dumps({"__metadata__": metadata(), **places}).encode()

    reserved = -(-len(header()) // 8) * 8
    with path.open("wb") as file:
        file.seek(8 + reserved)
        for _, tensor in ordered:
            for piece in tensor.pieces:
                file.write(np.ascontiguousarray(piece, tensor.dtype).data)
        file.seek(0)
        file.write(reserved.to_bytes(8, "little") + header().ljust(reserved))


@contextmanager
def new_file(final: Path, like: Path) -> Iterator[Path]:
    """A path to write to; the complete file is moved to `final` at the end, with the permissions of `like`.

    It lies in a folder beside `final`, locked while the process lives: the folder of a killed process is not, and the
    next one to write this file removes it.
    """
    for folder in final.parent.glob(f".{glob.escape(final.name)}-*"):
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder)
    made = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".new-{final.name}-"))
    with FileLock(made / LOCK):
        # Only now that it is locked, it gets the name that others look for.
        folder = made.rename(made.with_name(f".{made.name.removeprefix('.new-')}"))
        try:
            partial = folder / final.name
            yield partial
            shutil.copymode(like, partial)
            partial.replace(final)
        finally:
            shutil.rmtree(folder)
