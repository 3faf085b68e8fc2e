"""Read an untrusted pickle: numpy arrays and plain containers only; large arrays are mapped, not read."""

import mmap
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

LEFT_IN_FILE = 2**20  # bytes; the numbers of an array of this size or more are mapped, not read


def read_pickle(path: Path) -> tuple[Any, Callable[[], None]]:
    """Build a pickle's content from an allow-list of names; large arrays stay in the file.

    The numbers of an array of `LEFT_IN_FILE` bytes or more stay in the file: the array is a read-only view of the
    mapped file, and the system reads a part of it when the part is used. Bytes of that size that belong to no array
    become a memoryview likewise. Three kinds of array are read into memory: those of protocol 2 and older (their bytes
    are written as text), those of Python objects, and those held as lists.

    Args:
        path: the pickle; it must not be written to while its arrays are in use.

    Returns:
        The content, and a function that frees the memory of the parts of mapped arrays that have been read.

    Raises:
        ValueError: the pickle names anything else (the message says what; nothing of it runs), or is incomplete.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        content = _PlainUnpickler(mapped).load()
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # bytes that are no pickle can fail in any way
        raise ValueError(
            f"{path}: got a file that is no whole pickle ({type(error).__name__}: {error}), expected a feature file; "
            "the download may have broken off: compare its SHA-256"
        ) from error

    def release() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # the pages of a read-only mapping can always be read again
            mapped.madvise(mmap.MADV_DONTNEED)

    return content, release


class PandasStrings:
    """Replaces a pandas string array, which some feature files hold for ids and texts, without running pandas."""

    def __init__(self, *_: Any) -> None:
        self.values: list = []

    def __setstate__(self, state: tuple) -> None:
        self.values = next(part for part in state if isinstance(part, np.ndarray)).tolist()


class _Refused(ValueError):
    """The pickle names something that a feature file does not need."""


class _Sealed:
    """Calls a Python function or class; a pickle cannot set attributes on it."""

    __slots__ = ("_function",)
    _function: Any

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a pickle tried to set {name!r}")


def _latin1(text: str, encoding: str) -> bytes:
    """Replaces `_codecs.encode`, with which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise _Refused(f"got bytes in encoding {encoding!r}, expected 'latin1'")
    return text.encode("latin1")


def _dtype(code: str, *_: Any) -> np.dtype:
    if type(code) is not str:
        raise _Refused(f"got an array of type {code!r}, expected one that has a name")
    return np.dtype(code)


def _with_byte_order(dtype: np.dtype, state: tuple) -> np.dtype:
    """Do what `dtype.__setstate__` does for a plain type; numpy's own also accepts states that turn numbers into
    pointers.
    """
    _, byte_order, *fields = state
    if any(field is not None for field in fields[:3]):
        raise _Refused(f"got a structured array ({fields[1]}), expected arrays of plain numbers, strings or objects")
    return dtype.newbyteorder(byte_order)


def _array(*state: Any) -> NDArray:
    *_, shape, dtype, fortran_order, numbers = state
    if isinstance(numbers, memoryview):
        return _FROM_BUFFER(numbers, dtype, shape, "F" if fortran_order else "C")
    array = np.empty(0)
    array.__setstate__(state)
    return array


# numpy's own functions that rebuild arrays; their module depends on numpy's version.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_FROM_BUFFER: Any = np.empty(1).__reduce_ex__(5)[0]
_PLAIN_TYPES = (dict, list, tuple, set, frozenset, bytes, bytearray)
_ALLOWED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Sealed(lambda *_: np.empty(0)) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _SCALAR for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Sealed(_FROM_BUFFER) for core in ("core", "_core")},
    ("numpy", "ndarray"): None,  # an argument of _reconstruct; a call of it could read a file's bytes as pointers
    ("numpy", "dtype"): _Sealed(_dtype),
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _Sealed(_latin1),
    # "__builtin__" is how protocol 2 spells it.
    **{(module, plain.__name__): plain for module in ("builtins", "__builtin__") for plain in _PLAIN_TYPES},
    ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"): _Sealed(PandasStrings),
    **{
        (module, name): _Sealed(PandasStrings)
        for module in ("pandas", "pandas.arrays", "pandas.core.arrays.string_")
        for name in ("StringArray", "StringDtype")
    },
    **{(module, "NA"): None for module in ("pandas", "pandas._libs.missing")},
}


class _File:
    """A mapped file, read from its start."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped

    def require(self, size: int) -> None:
        if size > self._mapped.size() - self._mapped.tell():
            raise EOFError(f"it ends before {size} bytes that it announces")

    def read(self, size: int) -> bytes:
        self.require(size)
        return self._mapped.read(size)

    def readline(self) -> bytes:
        line = self._mapped.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ends within a line")
        return line

    def view(self, size: int) -> memoryview:
        self.require(size)
        start = self._mapped.tell()
        self._mapped.seek(size, 1)
        return memoryview(self._mapped)[start : start + size]


# Based on the pure-Python unpickler, whose operations can be replaced one by one (joblib does the same).
class _PlainUnpickler(pickle._Unpickler):
    """Builds numpy arrays and plain containers; refuses anything else by name, before it runs."""

    append: Callable[[Any], None]
    stack: list[Any]
    memo: dict[int, Any]

    def __init__(self, mapped: mmap.mmap) -> None:
        self._file = _File(mapped)
        super().__init__(self._file)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(
                f"refused {module}.{name}: a feature file may hold numpy arrays and plain containers only, and this "
                "one asks to run something else; do not open it in other programs, get the file from its authors"
            )
        return _ALLOWED[module, name]

    def load_frame(self) -> None:
        """Skip a frame's header: a mapped file needs no reading ahead."""
        self._file.require(int.from_bytes(self._file.read(8), "little"))

    def load_binbytes(self) -> None:
        self._load_bytes(4, bytes)

    def load_binbytes8(self) -> None:
        self._load_bytes(8, bytes)

    def load_bytearray8(self) -> None:
        self._load_bytes(8, bytearray)

    def _load_bytes(self, width: int, kind: Callable[[bytes], Any]) -> None:
        size = int.from_bytes(self._file.read(width), "little")
        self.append(kind(self._file.read(size)) if size < LEFT_IN_FILE else self._file.view(size))

    def load_build(self) -> None:
        """Build arrays and dtypes anew from their state and never change one: other arrays may be views of it."""
        unbuilt, state = self.stack[-2:]
        if isinstance(unbuilt, np.ndarray):
            rebuilt: Any = _array(*state)
        elif isinstance(unbuilt, np.dtype):
            rebuilt = _with_byte_order(unbuilt, state)
        else:
            return pickle._Unpickler.dispatch[pickle.BUILD[0]](self)  # type: ignore[arg-type]
        self.stack[-2:] = [rebuilt]
        for number in reversed(self.memo):  # if it is in the memo, it is among the newest
            if self.memo[number] is unbuilt:
                self.memo[number] = rebuilt
                break
        return None

    dispatch: ClassVar[dict[int, Any]] = pickle._Unpickler.dispatch | {
        pickle.FRAME[0]: load_frame,
        pickle.BINBYTES[0]: load_binbytes,
        pickle.BINBYTES8[0]: load_binbytes8,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.BUILD[0]: load_build,
    }
