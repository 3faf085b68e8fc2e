"""What a pickle's names stand for: arrays built from checked bytes, plain containers, and nothing else."""

import codecs
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msa_core.data.limits import DIMENSIONS, EMPTY_SHAPE, ITEMS_IN_LISTS, Refused

PIECE = 2**20  # bytes of text that are decoded at once


class Unbuilt:
    """An array or a pandas string array whose state follows later in the stream.

    Attributes:
        build: its state -> array or list; None once it is built.
        keys: of the memo, under which it is stored.
    """

    __slots__ = ("build", "keys")

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self.build: Callable[[Any], Any] | None = build
        self.keys: list[int] = []


class Type:
    """The type of an array's items.

    Attributes:
        dtype: None for Python objects.
    """

    __slots__ = ("dtype",)
    # Booleans, integers, floats, fixed-width strings. Nothing else of a file's text reaches numpy's parser of types.
    _codes = re.compile(r"([<>=|]?)(b1|[iu][1248]|f[248]|[SU][1-9]\d{0,8})", re.ASCII)

    def __init__(self, code: str | bytes, *_: Any) -> None:
        code = code.decode("latin1") if type(code) is OldString else code
        if code in ("O", "O4", "O8"):
            self.dtype: np.dtype | None = None
        elif type(code) is str and self._codes.fullmatch(code):
            self.dtype = np.dtype(code)
        else:
            shown = repr(code[:20]) if type(code) is str else f"a {type(code).__name__}"
            raise Refused(
                f"got an array of type {shown}, expected booleans, integers, floats (of 2, 4 or 8 bytes), strings or "
                "objects; convert the array with astype and write the file again"
            )

    def set_state(self, state: tuple[Any, ...]) -> None:
        """Take the byte order, which is all that the state of such a type can say."""
        _, order, *fields = state
        byte_order: Any = order.decode("latin1") if type(order) is OldString else order
        if any(field is not None for field in fields[:3]):
            raise Refused(
                "got a structured array, expected arrays of plain numbers, strings or objects; "
                "write each of its fields as an array of its own"
            )
        if byte_order not in ("<", ">", "=", "|"):
            raise Refused("got a byte order that numpy does not have, expected one of < > = |; get the file again")
        if self.dtype is not None:
            self.dtype = self.dtype.newbyteorder(byte_order)


class OldString(bytes):
    """A string of Python 2: an array's bytes, or text."""

    def text(self) -> str:
        try:
            return self.decode()
        except UnicodeDecodeError:
            return self.decode("latin1")


class LargeText(NamedTuple):
    """UTF-8 text that is left in the file; only the bytes of an array may be written so."""

    view: memoryview

    def latin1(self) -> memoryview:
        """Decode piece by piece, so that the text is never whole in memory."""
        decoder, decoded = codecs.getincrementaldecoder("utf-8")(), bytearray()
        for start in range(0, len(self.view), PIECE):
            decoded += decoder.decode(self.view[start : start + PIECE]).encode("latin1")
        decoder.decode(b"", final=True)
        return memoryview(decoded).toreadonly()


def _latin1(text: str | LargeText, encoding: str) -> bytes | memoryview:
    """Replaces `_codecs.encode`, with which protocol 2 writes bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise Refused("got bytes in another encoding than latin1, expected latin1; write the file with protocol 4")
    return text.latin1() if isinstance(text, LargeText) else text.encode("latin1")


def _bytes(*arguments: Any) -> Any:
    """Replaces `bytes` and `bytearray`, of bytes or of text in latin1; both become bytes."""
    if not arguments:
        return b""
    if len(arguments) == 1 and isinstance(arguments[0], bytes | memoryview):
        return arguments[0]
    if len(arguments) == 2 and isinstance(arguments[0], str | LargeText):
        return _latin1(*arguments)
    raise Refused("got bytes(...) of something else than bytes, expected bytes that the file holds; get the file again")


def _items(items: Any = ()) -> list | tuple:
    """Replaces `set` and `frozenset`: the items themselves, which are not hashed."""
    if type(items) not in (list, tuple):
        raise Refused("got a set of something else than a list, expected a list; write it as a list")
    return items


def _shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
        raise Refused(
            f"got an array whose shape is none, expected at most {DIMENSIONS} dimensions, each a whole number; "
            "get the file again"
        )
    if 0 in shape and math.prod(n or 1 for n in shape) > EMPTY_SHAPE:
        raise Refused(
            "got an array without items and with huge dimensions, expected small ones; write it as shape (0,)"
        )
    return shape


def _check_size(found: int, expected: int, unit: str) -> None:
    if found != expected:
        raise Refused(
            f"got an array of {found} {unit}, expected {str(expected)[:30]} {unit} by its shape; the file is damaged: "
            "compare its SHA-256 with its source's and get it again"
        )


def array(numbers: Any, kind: Type, shape: Any, order: str = "C") -> Any:
    """An array over the bytes `numbers`, without a copy; of Python objects, a (nested) list."""
    shape = _shape(shape)
    if kind.dtype is None:
        if type(numbers) is not list:
            raise Refused("got an array of objects from bytes, expected a list of them; write it as a list")
        _check_size(len(numbers), math.prod(shape), "objects")
        if len(shape) < 2 or not numbers:
            return numbers if len(shape) else numbers[0]
        return _nested(numbers, np.arange(len(numbers)).reshape(shape, order="F" if order == "F" else "C"))
    if not isinstance(numbers, bytes | memoryview):
        raise Refused(f"got an array of numbers from a {type(numbers).__name__}, expected bytes; get the file again")
    _check_size(len(numbers), math.prod(shape) * kind.dtype.itemsize, "bytes")
    if not len(numbers):
        return np.empty(shape, kind.dtype)
    return np.frombuffer(numbers, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _nested(items: list, positions: NDArray) -> list:
    if positions.ndim == 1:
        return [items[position] for position in positions.tolist()]
    return [_nested(items, row) for row in positions]


def _array_of_state(state: tuple) -> Any:
    *_, shape, kind, fortran_order, numbers = state
    return array(numbers, kind, shape, "F" if fortran_order else "C")


def _array_of_buffer(numbers: Any, kind: Type, shape: Any, order: str, axes: Sequence[int] | None = None) -> Any:
    """Replaces numpy's `_frombuffer`, with which protocol 5 writes arrays."""
    built = array(numbers, kind, shape, order)
    if order != "K" or axes is None:
        return built
    if len(axes) != built.ndim or sorted(axes) != list(range(built.ndim)):
        raise Refused("got an array with axes that it does not have, expected its own; get the file again")
    return built.transpose(axes)


def _scalar(kind: Type, number: bytes) -> Any:
    """Replaces numpy's `scalar`: a Python number or string."""
    return array(number, kind, ()).item()


def _strings_of_state(state: tuple) -> list:
    """A pandas string array, which some feature files hold for ids and texts, without pandas."""
    return next(part for part in state if isinstance(part, list))


_CORES = ("numpy.core", "numpy._core")  # by numpy's version
_BUILTINS = ("builtins", "__builtin__")  # by Python's version

#: What may be called, and what runs in its place.
CALLED: dict[str, Callable[..., Any]] = {
    **{f"{core}.multiarray._reconstruct": lambda *_: Unbuilt(_array_of_state) for core in _CORES},
    **{f"{core}.multiarray.scalar": _scalar for core in _CORES},
    **{f"{core}.numeric._frombuffer": _array_of_buffer for core in _CORES},
    "numpy.dtype": Type,
    "_codecs.encode": _latin1,
    "collections.OrderedDict": lambda: {},
    "collections.defaultdict": lambda *_: {},
    **{f"{module}.{name}": _bytes for module in _BUILTINS for name in ("bytes", "bytearray")},
    **{f"{module}.{name}": _items for module in _BUILTINS for name in ("set", "frozenset")},
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked": lambda *_: Unbuilt(_strings_of_state),
    **{f"{module}.StringDtype": lambda *_: None for module in ("pandas", "pandas.core.arrays.string_")},
}
#: What may be named, as an argument of these calls, and stands for nothing.
NAMED = frozenset(
    ["numpy.ndarray", "pandas.NA", "pandas._libs.missing.NA"]
    + [f"{module}.{name}" for module in _BUILTINS for name in ("dict", "list", "int", "float", "str")]
    + [f"{module}.StringArray" for module in ("pandas", "pandas.arrays", "pandas.core.arrays.string_")]
)


def numbers(values: Any) -> NDArray:
    """A field's values as an array.

    Raises:
        ValueError: lists that hold anything but numbers, None and small arrays of numbers. `numpy.asarray` takes much
            more memory than the list where it holds strings, and arrays in lists are copied.
    """
    if isinstance(values, list | tuple):
        _require_numbers(values)
    return np.asarray(values)


def _require_numbers(values: Any) -> int:
    """The number of items of lists within each other."""
    items = 0
    for value in values:
        if isinstance(value, list | tuple):
            items += _require_numbers(value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            items += value.size
        elif value is not None and not isinstance(value, bool | int | float):
            raise ValueError(f"a {type(value).__name__} among numbers")
        if items > ITEMS_IN_LISTS:
            raise ValueError("too many numbers in lists of arrays")
    return items + len(values)
