"""The stack machine whose program a pickle is: each operation builds plain data, and none calls what the file names.

`plain` holds what runs in place of each name, and no state of the file reaches numpy's or Python's own readers.
`limits` bounds time and memory.
"""

import codecs
import mmap
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any

from msa_core.data import plain
from msa_core.data.formats import AGAIN, refusal_of_name
from msa_core.data.limits import HELD, INTEGER, KEY, LEFT_IN_FILE, LINE, OPERATIONS, STRING, ContentCheck, Refused
from msa_core.data.plain import LargeText, OldString, Unbuilt


class PickleMachine:
    """Runs a pickle's operations.

    Attributes:
        start: the byte of the present operation.
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        self.mapped, self.size = mapped, len(mapped)
        self.start = self.position = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.left_to_hold = HELD + self.size

    def content(self) -> Any:
        for _ in range(OPERATIONS):
            self.start = self.position
            code = self.take(1)
            if code == pickle.STOP:
                content = _inserted(self.stack.pop())
                self.memo.clear()
                ContentCheck(self.size).check(content)
                return content
            if code not in _OPERATIONS:
                raise Refused(f"got the code {code!r}, which no pickle of plain data has, expected a pickle; {AGAIN}")
            _OPERATIONS[code](self)
        raise Refused(
            f"got more than {OPERATIONS} steps, expected fewer; write numbers as numpy arrays, not as lists of numbers"
        )

    # --- bytes of the file

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > self.size:
            raise EOFError
        part = self.mapped[self.position : end]
        self.position = end
        return part

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self, limit: int = LINE) -> bytes:
        end = self.mapped.find(b"\n", self.position, min(self.size, self.position + limit + 1))
        if end < 0:
            if self.size - self.position <= limit:
                raise EOFError
            raise Refused(f"got a line of more than {limit} bytes, expected a short one; {AGAIN}")
        line = self.take(end - self.position)
        self.position += 1
        return line

    def view(self, size: int) -> memoryview:
        if self.position + size > self.size:
            raise EOFError
        self.position += size
        return memoryview(self.mapped)[self.position - size : self.position]

    def read_bytes(self, size: int) -> bytes | memoryview:
        if size >= LEFT_IN_FILE:
            return self.view(size)
        self.hold(size)
        return self.take(size)

    def old_string(self, size: int) -> bytes | memoryview:
        part = self.read_bytes(size)
        return OldString(part) if isinstance(part, bytes) else part

    def text(self, size: int) -> str | LargeText:
        if size >= STRING:
            return LargeText(self.view(size))
        text = self.take(size).decode("utf-8", "surrogatepass")
        self.hold(size if text.isascii() else sys.getsizeof(text))
        return text

    def hold(self, size: int) -> None:
        """Count memory that is taken beside the mapped file."""
        self.left_to_hold -= size
        if self.left_to_hold < 0:
            raise Refused(
                f"got more text and bytes than {HELD // 2**20} MiB beyond the file's size, expected fewer; "
                "write numbers as large numpy arrays, with pickle protocol 4 or newer"
            )

    # --- operations

    def items(self) -> list[Any]:
        """What lies above the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    def push_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise Refused(f"got a tuple of more than there is, expected {size} items; {AGAIN}")
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused(f"got items for a {type(target).__name__}, expected a list; {AGAIN}")
        target.extend([_inserted(item) for item in items])

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refused(f"got keys and values for a {type(target).__name__}, expected a dict; {AGAIN}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = _inserted(value)

    def push_and(self, target: list | dict, add: Callable[["PickleMachine", list[Any]], None]) -> None:
        items = self.items()
        self.stack.append(target)
        add(self, items)

    def put(self, key: int) -> None:
        if not 0 <= key <= KEY:
            raise Refused(f"got an object numbered {str(key)[:30]}, expected at most {KEY}; {AGAIN}")
        value = self.memo[key] = self.stack[-1]
        if type(value) is Unbuilt:
            value.keys.append(key)

    def name(self, module: Any, name: Any) -> None:
        module, name = _inserted(module), _inserted(name)
        if type(module) is not str or type(name) is not str:
            raise Refused(f"got a name that is no text, expected text; {AGAIN}")
        named = f"{module}.{name}"
        if named not in plain.CALLED and named not in plain.NAMED:
            raise Refused(refusal_of_name(named))
        self.stack.append(_Name(named))

    def reduce(self) -> None:
        """Call what `plain` has for a name."""
        arguments = self.stack.pop()
        called = self.stack.pop()
        if type(called) is not _Name or called.name not in plain.CALLED:
            what = called.name if type(called) is _Name else f"a {type(called).__name__}"
            raise Refused(f"got a call of {what}, expected plain data; {AGAIN}")
        if type(arguments) is not tuple or len(arguments) > 8:
            raise Refused(f"got a call of {called.name} with other arguments than it takes, expected its own; {AGAIN}")
        for argument in arguments:
            if isinstance(argument, LargeText):
                self.hold(len(argument.view))
            elif isinstance(argument, str):
                self.hold(len(argument))
        result = plain.CALLED[called.name](*arguments)
        if isinstance(result, str):
            self.hold(sys.getsizeof(result))
        self.stack.append(result)

    def build(self) -> None:
        """Build an array from its state, once, or take a type's byte order; nothing else has a state."""
        state = self.stack.pop()
        unbuilt = self.stack[-1]
        if type(state) is not tuple or len(state) > 10:
            raise Refused(f"got a state that is none of an array, expected one; {AGAIN}")
        if type(unbuilt) is plain.Type:
            unbuilt.set_state(state)
        elif type(unbuilt) is Unbuilt and unbuilt.build is not None:
            if type(state[-1]) is list:
                self.hold(64 * len(state[-1]))
            built = self.stack[-1] = unbuilt.build(state)
            unbuilt.build = None
            for key in unbuilt.keys:
                if self.memo[key] is unbuilt:
                    self.memo[key] = built
        else:
            raise Refused(f"got a state for a {type(unbuilt).__name__}, expected one for an array; {AGAIN}")


class _Name:
    """A name of `plain`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def _inserted(value: Any) -> Any:
    """A value as it goes into a container."""
    if type(value) is LargeText:
        raise Refused(
            f"got a string of {len(value.view)} bytes, expected less than {STRING}; shorten it, or leave its field out"
        )
    return value.text() if type(value) is OldString else value


def _key(key: Any) -> str | int:
    key = _inserted(key)
    if type(key) is str or (type(key) is int and abs(key) <= KEY):
        return key
    shown = "a large number" if type(key) is int else f"a {type(key).__name__}"
    raise Refused(
        f"got {shown} as a key, expected strings, or whole numbers within ±{KEY}; write a dict with such keys"
    )


def _pushes(value: Callable[[PickleMachine], Any]) -> Callable[[PickleMachine], None]:
    def operation(reader: PickleMachine) -> None:
        pushed = value(reader)  # which may change what the stack is
        reader.stack.append(pushed)

    return operation


def _tuples(size: int) -> Callable[[PickleMachine], None]:
    return lambda reader: reader.push_tuple(size)


def _integer(reader: PickleMachine, size: int) -> int:
    if not 0 <= size <= INTEGER:
        raise Refused(f"got an integer of {size} bytes, expected at most {INTEGER}; {AGAIN}")
    return reader.number(size, signed=True)


def _line_integer(reader: PickleMachine) -> int | bool:
    line = reader.line()
    if line in (b"00", b"01"):  # booleans of protocol 0 and 1
        return line == b"01"
    number = int(line.removesuffix(b"L"))
    if number.bit_length() > 8 * INTEGER:
        raise Refused(f"got an integer of more than {INTEGER} bytes, expected fewer; {AGAIN}")
    return number


def _line_text(reader: PickleMachine) -> str:
    line = reader.line(reader.size)
    reader.hold(4 * len(line))
    return line.decode("raw-unicode-escape")


def _line_string(reader: PickleMachine) -> OldString:
    """A string of Python 2 as Python wrote it, in quotes; with escapes."""
    line = reader.line(reader.size)
    reader.hold(2 * len(line))
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise Refused(f"got a string that has no quotes, expected quotes; {AGAIN}")
    return OldString(codecs.escape_decode(line[1:-1])[0])


def _mark(reader: PickleMachine) -> None:
    reader.below.append(reader.stack)
    reader.stack = []


def _frame(reader: PickleMachine) -> None:
    """Skip a frame's header: a mapped file needs no reading ahead."""
    if reader.number(8) > reader.size - reader.position:
        raise EOFError


_OPERATIONS: dict[bytes, Callable[[PickleMachine], Any]] = {
    pickle.PROTO: lambda reader: reader.take(1),
    pickle.FRAME: _frame,
    pickle.MARK: _mark,
    pickle.POP: PickleMachine.pop,
    pickle.POP_MARK: PickleMachine.items,
    pickle.DUP: _pushes(lambda reader: reader.stack[-1]),
    pickle.NONE: _pushes(lambda _: None),
    pickle.NEWTRUE: _pushes(lambda _: True),
    pickle.NEWFALSE: _pushes(lambda _: False),
    pickle.INT: _pushes(_line_integer),
    pickle.LONG: _pushes(_line_integer),
    pickle.BININT: _pushes(lambda reader: reader.number(4, signed=True)),
    pickle.BININT1: _pushes(lambda reader: reader.number(1)),
    pickle.BININT2: _pushes(lambda reader: reader.number(2)),
    pickle.LONG1: _pushes(lambda reader: _integer(reader, reader.number(1))),
    pickle.LONG4: _pushes(lambda reader: _integer(reader, reader.number(4, signed=True))),
    pickle.FLOAT: _pushes(lambda reader: float(reader.line())),
    pickle.BINFLOAT: _pushes(lambda reader: struct.unpack(">d", reader.take(8))[0]),
    pickle.STRING: _pushes(_line_string),
    pickle.BINSTRING: _pushes(lambda reader: reader.old_string(reader.number(4))),
    pickle.SHORT_BINSTRING: _pushes(lambda reader: reader.old_string(reader.number(1))),
    pickle.SHORT_BINBYTES: _pushes(lambda reader: reader.read_bytes(reader.number(1))),
    pickle.BINBYTES: _pushes(lambda reader: reader.read_bytes(reader.number(4))),
    pickle.BINBYTES8: _pushes(lambda reader: reader.read_bytes(reader.number(8))),
    pickle.BYTEARRAY8: _pushes(lambda reader: reader.read_bytes(reader.number(8))),
    pickle.UNICODE: _pushes(_line_text),
    pickle.SHORT_BINUNICODE: _pushes(lambda reader: reader.text(reader.number(1))),
    pickle.BINUNICODE: _pushes(lambda reader: reader.text(reader.number(4))),
    pickle.BINUNICODE8: _pushes(lambda reader: reader.text(reader.number(8))),
    pickle.EMPTY_TUPLE: _pushes(lambda _: ()),
    pickle.TUPLE1: _tuples(1),
    pickle.TUPLE2: _tuples(2),
    pickle.TUPLE3: _tuples(3),
    pickle.TUPLE: _pushes(lambda reader: tuple(reader.items())),
    pickle.EMPTY_LIST: _pushes(lambda _: []),
    pickle.EMPTY_SET: _pushes(lambda _: []),
    pickle.EMPTY_DICT: _pushes(lambda _: {}),
    pickle.LIST: lambda reader: reader.push_and([], PickleMachine.extend),
    pickle.FROZENSET: lambda reader: reader.push_and([], PickleMachine.extend),
    pickle.DICT: lambda reader: reader.push_and({}, PickleMachine.update),
    pickle.APPEND: lambda reader: reader.extend([reader.stack.pop()]),
    pickle.APPENDS: lambda reader: reader.extend(reader.items()),
    pickle.ADDITEMS: lambda reader: reader.extend(reader.items()),
    pickle.SETITEM: lambda reader: reader.update([reader.stack.pop(-2), reader.stack.pop()]),
    pickle.SETITEMS: lambda reader: reader.update(reader.items()),
    pickle.PUT: lambda reader: reader.put(int(reader.line())),
    pickle.BINPUT: lambda reader: reader.put(reader.number(1)),
    pickle.LONG_BINPUT: lambda reader: reader.put(reader.number(4)),
    pickle.MEMOIZE: lambda reader: reader.put(len(reader.memo)),
    pickle.GET: _pushes(lambda reader: reader.memo[int(reader.line())]),
    pickle.BINGET: _pushes(lambda reader: reader.memo[reader.number(1)]),
    pickle.LONG_BINGET: _pushes(lambda reader: reader.memo[reader.number(4)]),
    pickle.GLOBAL: lambda reader: reader.name(reader.line().decode(), reader.line().decode()),
    pickle.INST: lambda reader: reader.name(reader.line().decode(), reader.line().decode()),  # of which none is allowed
    pickle.STACK_GLOBAL: lambda reader: reader.name(reader.stack.pop(-2), reader.stack.pop()),
    pickle.REDUCE: PickleMachine.reduce,
    pickle.BUILD: PickleMachine.build,
}
