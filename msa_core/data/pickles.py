"""Read a stranger's pickle: numpy arrays and plain containers, nothing else, and large arrays left where they lie."""

import mmap
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

LEFT_IN_FILE = 2**20  # bytes from which on an array's numbers are not read but mapped


def read_pickle(path: Path) -> tuple[Any, Callable[[], None]]:
    """What a pickle holds, built from an allow-list of names, in memory that its large arrays have no part in.

    The numbers of an array of `LEFT_IN_FILE` bytes or more stay in the file: the array is a read-only view of the
    mapped file, of which nothing is read before it is used (bytes that are no array's become a memoryview likewise).
    Three kinds of array are in memory all the same: those of protocol 2 and older (their bytes are written as text),
    those of Python objects, and those held as lists.

    Args:
        path: the pickle; it must not be written to while its arrays are in use.

    Returns:
        The content, and a function that gives back the memory of what has been read of the mapped arrays so far.

    Raises:
        ValueError: anything else is asked for, by name and before it runs; or the file is no whole pickle.
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
    """Stands in for a pandas string array, which some feature files hold for ids and texts: no pandas code runs."""

    def __init__(self, *_: Any) -> None:
        self.values: list = []

    def __setstate__(self, state: tuple) -> None:
        self.values = next(part for part in state if isinstance(part, np.ndarray)).tolist()


class _Refused(ValueError):
    """The file is a pickle and asks for what a feature file has no need of."""


class _Sealed:
    """Calls a Python function or class, and has nothing that a pickle could set on it for later."""

    __slots__ = ("_function",)
    _function: Any

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a pickle tried to set {name!r}")


def _latin1(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, with which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise _Refused(f"got bytes in encoding {encoding!r}, expected 'latin1'")
    return text.encode("latin1")


def _dtype(code: str, *_: Any) -> np.dtype:
    if type(code) is not str:
        raise _Refused(f"got an array of type {code!r}, expected one that has a name")
    return np.dtype(code)


def _with_byte_order(dtype: np.dtype, state: tuple) -> np.dtype:
    """What `dtype.__setstate__` does to a plain type; it would also believe a state that calls pointers numbers."""
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


# numpy's own rebuilding functions, whatever module this numpy keeps them in.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_FROM_BUFFER: Any = np.empty(1).__reduce_ex__(5)[0]
_PLAIN_TYPES = (dict, list, tuple, set, frozenset, bytes, bytearray)
_ALLOWED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Sealed(lambda *_: np.empty(0)) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _SCALAR for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Sealed(_FROM_BUFFER) for core in ("core", "_core")},
    ("numpy", "ndarray"): None,  # an argument of _reconstruct; called, it would take a file's bytes for pointers
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


# The pure-Python unpickler, as joblib uses it for the same reason: in it, how an operation reads its bytes can be set.
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
        """A frame says how much to read ahead, for which a mapped file has no use."""
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
        """Arrays and their types are made anew from their state, never changed: other arrays may be views of them."""
        made, state = self.stack[-2:]
        if isinstance(made, np.ndarray):
            rebuilt: Any = _array(*state)
        elif isinstance(made, np.dtype):
            rebuilt = _with_byte_order(made, state)
        else:
            return pickle._Unpickler.dispatch[pickle.BUILD[0]](self)  # type: ignore[arg-type]
        self.stack[-2:] = [rebuilt]
        for number in reversed(self.memo):  # it was put there a moment ago, if at all
            if self.memo[number] is made:
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
