"""The limits that bound time and memory of reading a pickle, whatever it says; one `ValueError` if one is exceeded.

They are several times what CMU-MOSEI, the largest of the field's files, needs. Reading takes seconds and at most the
file's size plus 500 MB.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

OPERATIONS = 3_000_000  # steps of the pickle, about the number of its objects (numbers of an array are no objects)
LEFT_IN_FILE = 2**20  # bytes; the numbers of an array of this size or more are mapped, not read
STRING = 2**20  # bytes of a string; longer text is allowed where it spells an array's bytes
HELD = 2**27  # bytes of strings and bytes that are read into memory, beyond the file's size
INTEGER = 16  # bytes of an integer
KEY = 2**22  # the largest number that is a key of a dict (larger ones may be chosen to collide), or of the memo
LINE = 100  # bytes of a number or a name in protocol 0
DIMENSIONS = 8  # of an array
EMPTY_SHAPE = 2**20  # the product of the other dimensions of an array without items
ITEMS_IN_LISTS = 2**24  # numbers of a field that is a list of arrays and becomes one array

# Of the content, in which what is used in several places counts each time:
OBJECTS = OPERATIONS
DEPTH = 16  # containers within each other
TEXT = 2**24  # characters
ARRAYS = 2**26  # bytes of arrays, beyond four times the file's size


class Refused(ValueError):
    """The file asks for something that a feature file does not need; the message says what, expected and remedy."""


class ContentCheck:
    """Counts a file's content as if it were written out, and refuses it at a limit.

    Args:
        file_size: in bytes.
    """

    def __init__(self, file_size: int) -> None:
        self.objects, self.text, self.bytes = OBJECTS, TEXT, ARRAYS + 4 * file_size  # that are left

    def check(self, value: Any, depth: int = 0) -> None:
        """Raise a `Refused` if the content exceeds a limit, or holds anything but plain data."""
        kind = type(value)
        if kind is str:
            self._count(text=len(value))
        elif kind in (list, tuple, dict):
            if depth == DEPTH:
                raise Refused(f"got more than {DEPTH} containers within each other, expected fewer; write arrays")
            self._count(objects=len(value))
            for key in value if kind is dict else ():
                self._count(text=len(key) if type(key) is str else 0)
            for item in value.values() if kind is dict else value:
                if type(item) not in (int, float):
                    self.check(item, depth + 1)
        elif kind is np.ndarray:
            self._count(size=value.nbytes)
            if value.dtype.kind in "SU":
                self._check_strings(value)
        elif kind in (bytes, memoryview):
            self._count(size=len(value))
        elif value is not None and kind not in (bool, int, float):
            raise Refused(
                f"got what is not finished (a {kind.__name__}), expected arrays, strings, numbers and plain "
                "containers; write the file again with such"
            )

    def _check_strings(self, strings: NDArray) -> None:
        self._count(objects=strings.size)
        width, kind = (4, "u4") if strings.dtype.kind == "U" else (1, "u1")
        codes = strings.ravel("K").view(np.dtype(kind).newbyteorder(strings.dtype.byteorder if width == 4 else "="))
        self._count(text=int(np.count_nonzero(codes)))
        if width == 4 and codes.size and codes.max() > 0x10FFFF:
            raise Refused(
                "got an array of strings with codes that are no characters, expected text; get the file again"
            )

    def _count(self, objects: int = 0, text: int = 0, size: int = 0) -> None:
        self.objects -= objects
        self.text -= text
        self.bytes -= size
        for left, what, remedy in (
            (self.objects, f"{OBJECTS} objects", "write numbers as numpy arrays, and nothing many times over"),
            (self.text, f"{TEXT} characters of text", "leave out the fields that load_features does not name"),
            (self.bytes, "four times the file's size of arrays", "write each array once"),
        ):
            if left < 0:
                raise Refused(f"got more than {what}, where all is written out, expected fewer; {remedy}")
