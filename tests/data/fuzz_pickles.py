"""Attack the reader of pickles with damaged and generated streams for a number of seconds.

    python tests/data/fuzz_pickles.py SECONDS [SEED]

A stream passes if it is read as plain data, or refused by one short `ValueError`, in little time and memory. One that
does not is written to `fuzz-<number>.pkl` in the present folder.
"""

import pickle
import random
import resource
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from msa_core.data import pickle_machine, plain
from msa_core.data.pickles import read_pickle

MEMORY = 2**30  # bytes that an attack may take beside what is there
SECONDS = 10
MESSAGE = 1000  # characters
PLAIN = (dict, list, tuple, str, bytes, memoryview, bool, int, float, type(None), np.ndarray)
NAMES = [
    *plain.CALLED,
    *plain.NAMED,
    "os.system",
    "builtins.eval",
    "torch._utils._rebuild_tensor_v2",
    "numpy.ndarray.x",
]
NUMBERS = [0, 1, 2, 3, 4, 7, 8, 16, 100, 255, 256, 65535, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
TYPES = [
    "f4",
    "f8",
    "i1",
    "b1",
    "u8",
    "S3",
    "U2",
    "O",
    "O8",
    "T",
    "V9",
    "M8[s]",
    "S999999999",
    "f4,f4",
    "c16",
    "(2,)f4",
]


def seeds():
    """Sound pickles of each kind."""
    wide = np.array(["a", "bcd"])
    raw = {
        "id": ["a$_$1", "b"],
        "text": wide,
        "bytes": np.array([b"x", b"yz"]),
        "objects": np.array(["a", None, 1.5], object),
        "table": np.array([["a", "b"], ["c", "d"]], object),
        "audio": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "vision": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "turned": np.moveaxis(np.arange(24, dtype=">i4").reshape(2, 3, 4), 0, -1),
        "labels": [np.float32(1.5), np.int64(3), np.str_("n"), True, None, 2**70, -1],
        "strings": pd.array(["a", None], dtype=pd.StringDtype("python", na_value=np.nan)),
        "rest": (b"", bytearray(b"xyz"), {1, 2}, frozenset("a"), {}, (), b"\xff" * 300, "\u4e2d\ud800"),
    }
    return [pickle.dumps({"train": raw}, protocol) for protocol in range(6)] + [
        pickle.dumps({"train": {name: field}}, protocol) for name, field in raw.items() for protocol in (0, 2, 4, 5)
    ]


def operation(rng):
    """One operation with an argument of its kind, right or wrong."""
    number = rng.choice(NUMBERS) if rng.random() < 0.3 else rng.randrange(12)
    word = rng.choice([*TYPES, *"<>=|CKF", "latin1", "a", "train", "id"]).encode()
    name = rng.choice(NAMES).rpartition(".")
    unsigned = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
    codes = [code for code in pickle_machine._OPERATIONS if rng.random() < 0.2] or [b"."]
    code = rng.choice([*codes, b"c", b"R", b"b", b"(", b"t", b"h", b"\x8c"])
    if code in (b"c", b"i"):
        return code + f"{name[0]}\n{name[2]}\n".encode()
    for width, those in {1: b"Kqh\x8a\x80", 2: b"M", 4: b"Jrj", 8: b"\x95"}.items():
        if code in those:
            return code + struct.pack(unsigned[width], number % 2 ** (8 * width))
    for width, those in {1: b"UC\x8c", 4: b"TBX\x8b", 8: b"\x8d\x8e\x96"}.items():
        if code in those:
            size = len(word) if rng.random() < 0.9 else number
            return code + struct.pack(unsigned[width], size % 2 ** (8 * width)) + word
    if code in b"ILFpgVS":
        lines = [str(number).encode(), word, b"'" + word + b"'", b"1e400", b"nan", b"-1", b"9" * 500]
        return code + rng.choice(lines) + b"\n"
    return code + (rng.randbytes(8) if code == b"G" else b"")


def stream(rng, sound):
    """A generated stream, or a sound one that is changed in a few places."""
    if rng.random() < 0.3:
        prefix = rng.choice([b"", b"\x80\x04", b"\x80\x02cnumpy\ndtype\nq\x00\x8c\x02f8\x85Rq\x01"])
        return prefix + b"".join(operation(rng) for _ in range(rng.randrange(1, 60))) + b"."
    data = bytearray(rng.choice(sound))
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice([0, 0, 1, 1, 2, 5, 30]))
        other = rng.choice(sound)
        start = rng.randrange(len(other))
        data[place:end] = rng.choice(
            [
                bytes([rng.randrange(256)]),
                operation(rng),
                other[start : start + rng.randrange(40)],
                bytes(data[place:end]) * rng.choice([2, 50]),
                struct.pack("<Q", rng.choice(NUMBERS))[: rng.choice([1, 2, 4, 8])],
                rng.choice(TYPES).encode(),
                b"",
            ]
        )
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.05 else data)


def assert_plain(value):
    assert type(value) in PLAIN, f"content of a {type(value)}"
    if type(value) is np.ndarray:
        assert value.dtype.kind in "biufSU"
        value.copy()
        if value.dtype.kind in "SU":
            value.tolist()
    elif type(value) is dict:
        assert {type(key) for key in value} <= {str, int}
        assert_plain(list(value.values()))
    elif type(value) in (list, tuple):
        for item in value:
            assert_plain(item)


def attack(data, path):
    """Whether a stream is read (True) or refused; an `AssertionError`, or another one, if the reader fails."""
    path.write_bytes(data)
    start = time.monotonic()
    try:
        assert_plain(read_pickle(path)[0])
        return True
    except ValueError as error:
        assert str(error).startswith(f"{path}: "), error
        assert len(str(error)) < MESSAGE + len(str(path)), "a message without a bound"
        assert "MemoryError" not in str(error), error
        assert "RecursionError" not in str(error), error
        return False
    finally:
        assert time.monotonic() - start < SECONDS, "slow"


def main():
    seconds, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    sound, rng = seeds(), random.Random(seed)
    executions = read = findings = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "attack.pkl")
        assert all(attack(data, path) for data in sound)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data = stream(rng, sound)
            pickle_machine.LEFT_IN_FILE = rng.choice([1, 300, 2**20])
            executions += 1
            try:
                read += attack(data, path)
            except BaseException as error:
                findings += 1
                Path(f"fuzz-{findings}.pkl").write_bytes(data)
                print(f"fuzz-{findings}.pkl: {type(error).__name__}: {str(error)[:300]}", flush=True)
                if not isinstance(error, Exception):
                    raise
    refused = executions - read - findings
    print(f"{executions} streams in {seconds:g} s: {read} read, {refused} refused, {findings} findings")
    return findings > 0


if __name__ == "__main__":
    sys.exit(main())
