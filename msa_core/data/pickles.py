"""Read an untrusted pickle: numpy arrays and plain containers only; large arrays are mapped, not read."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msa_core.data.formats import AGAIN, foreign_format
from msa_core.data.limits import Refused
from msa_core.data.pickle_machine import PickleMachine


def read_pickle(path: Path) -> tuple[Any, Callable[[], None]]:
    """Build a pickle's content from an allow-list of names; large arrays stay in the file.

    The content consists of dicts (with keys that are strings or whole numbers), lists, tuples, strings, bytes, numbers,
    None, and arrays of booleans, integers, floats and fixed-width strings. An array of Python objects and a pandas
    string array become lists, a set too, a numpy scalar becomes a Python number. Strings of Python 2 are read as UTF-8,
    or as latin1 if they are not UTF-8.

    The numbers of an array of `LEFT_IN_FILE` bytes or more stay in the file: the array is a read-only view of the
    mapped file, and the system reads a part of it when the part is used. Bytes of that size that belong to no array
    become a memoryview likewise. The arrays of protocol 2 and older that Python 3 wrote (their bytes are written as
    text) are read into memory.

    Args:
        path: the pickle; it must not be written to while its arrays are in use.

    Returns:
        The content, and a function that frees the memory of the parts of mapped arrays that have been read.

    Raises:
        ValueError: the file is none, is damaged, names anything else (the message says what; nothing of it runs), or
            exceeds a limit of `limits`.
    """
    with path.open("rb") as file:
        if (found := foreign_format(file.read(1024))) is not None:
            raise ValueError(f"{path}: got {found[0]}, expected a pickle; {found[1]}")
        if not file.tell():
            raise ValueError(f"{path}: got an empty file, expected a pickle; {AGAIN}")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    machine = PickleMachine(mapped)
    try:
        content = machine.content()
    except Refused as error:
        raise ValueError(f"{path}: byte {machine.start}: {error}") from None
    except EOFError:
        raise ValueError(
            f"{path}: got a file that ends within what byte {machine.start} announces, at {len(mapped)} bytes, "
            f"expected a whole pickle; the download or copy broke off: {AGAIN}"
        ) from None
    except Exception as error:  # a damaged stream can fail in any way
        raise ValueError(
            f"{path}: byte {machine.start}: got what is no pickle ({type(error).__name__}: {str(error)[:100]}), "
            f"expected one; the file is damaged or of another format: {AGAIN}"
        ) from None

    def release() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # the pages of a read-only mapping can always be read again
            mapped.madvise(mmap.MADV_DONTNEED)

    return content, release
