"""Oracles: `pickle.load` itself, for our own files; the names of what must be refused."""

import functools
import mmap
import os
import pickle
import pickletools
import re
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from feature_files import assert_same, make_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, byte_string_dtypes, floating_dtypes, integer_dtypes
from numpy.testing._private.utils import runstring

from msa_core.data import load_features, pickles, planted_tokenizer
from msa_core.data.pickles import read_pickle

PROTOCOLS = [2, 3, 4, 5]
NUMPY_1 = {"numpy._core.multiarray": "numpy.core.multiarray", "numpy._core.numeric": "numpy.core.numeric"}
dtypes = floating_dtypes() | integer_dtypes() | byte_string_dtypes(min_len=1)  # of either byte order
ORDERS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "transposed": lambda a: np.moveaxis(a, 0, -1)}


@pytest.fixture
def all_left_in_file(monkeypatch):
    monkeypatch.setattr(pickles, "LEFT_IN_FILE", 1)


def write(folder, content, protocol):
    path = folder / "content.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def is_mapped(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)


@settings(max_examples=150, deadline=None)
@given(
    dtypes.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=2, max_dims=3, min_side=4, max_side=12))),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(PROTOCOLS),
    st.sampled_from([1, 700, 10**9]),
)
def test_arrays_are_those_that_were_written(tmp_path_factory, array, order, protocol, threshold):
    array = ORDERS[order](array)
    path = write(tmp_path_factory.mktemp("any"), {"first": array, "again": [array]}, protocol)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pickles, "LEFT_IN_FILE", threshold)
        content, release = read_pickle(path)
    for _ in range(2):
        for got in (content["first"], content["again"][0]):
            assert got.shape == array.shape
            assert got.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")  # numpy turns what it reads
            assert got.astype(array.dtype).tobytes() == array.tobytes()  # nan too
        release()  # and what was given back is read again
    assert content["again"][0] is content["first"]
    if protocol > 2 and array.nbytes >= 256:  # shorter bytes may be written otherwise
        assert is_mapped(content["first"]) == (array.nbytes >= threshold)


@pytest.mark.usefixtures("all_left_in_file")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_no_array_survives_a_threshold_of_one_byte(tmp_path, protocol):
    plain = [b"a" * 300, bytearray(b"b" * 300)]
    arrays_of_others = [np.array(["c", None], object), np.array(["d" * 100, "e"]), np.zeros((0, 3)), np.arange(3) > 1]
    got, _ = read_pickle(write(tmp_path, [plain, {"f": arrays_of_others}, "g" * 300, np.float32(1)], protocol))
    assert [bytes(part) for part in got[0]] == [bytes(part) for part in plain]
    assert repr(got[1:]) == repr([{"f": arrays_of_others}, "g" * 300, np.float32(1)])


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_memory_is_that_of_no_array(tmp_path, protocol):
    path = write(tmp_path, {name: np.zeros(2**21) for name in "abcd"}, protocol)  # 16 MiB each
    tracemalloc.start()
    content, _ = read_pickle(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(is_mapped(array) for array in content.values())
    assert peak < 2**20


@pytest.mark.usefixtures("all_left_in_file")
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_file_that_ends_within_a_large_array(tmp_path, protocol):
    whole = pickle.dumps({"audio": np.arange(200.0)}, protocol)
    for end in range(3, len(whole), 97):
        with pytest.raises(ValueError, match="no whole pickle"):
            read_pickle(write(tmp_path, whole[:end], protocol))


def called(name, arguments):
    """A stream that calls `numpy.<name>`."""
    return b"\x80\x04cnumpy\n" + name.encode() + b"\n" + pickle.dumps(arguments, 4)[2:-1] + b"R."


def test_bytes_are_not_taken_for_pointers(tmp_path):
    """`ndarray(shape, dtype, buffer)` would make objects of any address that the file names."""
    for arguments in (((1,), "O", bytearray(8)), ((1,), "O")):
        with pytest.raises(ValueError, match="no whole pickle"):
            read_pickle(write(tmp_path, called("ndarray", arguments), 4))


def test_a_structured_type_is_refused(tmp_path):
    """Its state may say that it holds numbers where it holds pointers."""
    with pytest.raises(ValueError, match="structured array"):
        read_pickle(write(tmp_path, np.zeros(2, [("a", "f4"), ("b", "i4")]), 4))
    with pytest.raises(ValueError, match="expected one that has a name"):
        read_pickle(write(tmp_path, called("dtype", ([("a", "O")],)), 4))


def test_the_state_of_a_type_cannot_deny_that_it_holds_objects(tmp_path):
    no_objects = pickle.dumps((3, "|", None, None, None, -1, -1, 0), 4)[2:-1]
    dtype, _ = read_pickle(write(tmp_path, called("dtype", ("O8", False, True))[:-1] + no_objects + b"b.", 4))
    assert dtype.hasobject


def test_an_array_is_never_changed_by_a_later_state(tmp_path):
    """A second state would free what rows of the first one's array still point to."""
    array, state = (
        pickletools.optimize(pickle.dumps(part, 2))[2:-1]
        for part in (np.arange(6.0).reshape(2, 3), (1, (1,), np.dtype("f8"), False, bytes(8)))
    )
    kept, rows = b"q\x64", b"cbuiltins\nlist\nh\x64\x85R"  # as number 100 of the memo; list(number 100)
    stream = b"\x80\x04" + array + kept + b"0" + rows + b"h\x64" + state + b"b\x86."
    (first, second), changed = read_pickle(write(tmp_path, stream, 4))[0]
    assert (first.tolist(), second.tolist(), changed.tolist()) == ([0, 1, 2], [3, 4, 5], [0])


def spell(pickled, modules):
    """The same pickle with other module names, such as another version of a library writes."""
    operations = [*pickletools.genops(pickled)]
    ends = [position for *_, position in operations[1:]] + [len(pickled)]
    out = b""
    for (operation, argument, start), end in zip(operations, ends, strict=True):
        if operation.name == "FRAME":
            continue  # frames are optional, and their lengths no longer hold
        if operation.name == "GLOBAL":
            module, name = argument.split(" ")
            out += f"c{modules.get(module, module)}\n{name}\n".encode()
        elif operation.name == "SHORT_BINUNICODE" and argument in modules:
            new = modules[argument].encode()
            out += b"\x8c" + bytes([len(new)]) + new
        else:
            out += pickled[start:end]
    return out


# --- pickles of every age ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modules", [{}, NUMPY_1], ids=["numpy 2", "numpy 1"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols_and_module_names(save, protocol, modules):
    raw = make_raw()
    expected = load_features(save(raw), planted_tokenizer())
    for fields in raw.values():
        fields["id"] = np.array(fields["id"], dtype=object)
        fields["regression_labels"] = list(fields["regression_labels"])  # numpy scalars
        fields["audio"] = np.asfortranarray(fields["audio"])
    pickled = spell(pickle.dumps(raw, protocol), modules)
    names = {b"numpy.core.": b"numpy._core.", b"numpy._core.": b"numpy.core."}
    present = b"numpy.core." if modules else b"numpy._core."
    assert present in pickled
    assert names[present] not in pickled
    assert (b"_frombuffer" in pickled) == (protocol == 5)
    assert_same(load_features(save(pickled), planted_tokenizer()), expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "plain",
    [np.array([]), b"", b"\xff\0", {1}, frozenset([1]), bytearray(b"x"), (), None, 1.5, {"a": [1]}, np.arange(3) > 1],
    ids=repr,
)
def test_plain_values_in_fields_that_nobody_reads(save, plain, protocol):
    raw = make_raw()
    raw["train"]["annotations"] = plain
    assert load_features(save(raw, protocol))["train"].ids == raw["train"]["id"]


PANDAS_STRINGS = {  # case -> (missing value, how the modules are named)
    "missing is nan": (np.nan, {}),
    "missing is NA": (pd.NA, {}),
    "older names": (np.nan, dict.fromkeys(("pandas", "pandas.arrays"), "pandas.core.arrays.string_")),
}


@pytest.mark.parametrize("case", PANDAS_STRINGS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pandas_strings_without_pandas(save, monkeypatch, case, protocol):
    missing, modules = PANDAS_STRINGS[case]
    raw, dtype = make_raw(), pd.StringDtype("python", na_value=missing)
    for fields in raw.values():
        fields |= {name: pd.array(fields[name], dtype=dtype) for name in ("id", "raw_text")}
    pickled = spell(pickle.dumps(raw, protocol), modules)
    assert b"NDArrayBacked" in pickled
    for module in [name for name in sys.modules if name.partition(".")[0] == "pandas"]:
        monkeypatch.setitem(sys.modules, module, None)  # importing it raises
    loaded = load_features(save(pickled), planted_tokenizer())
    for split, fields in make_raw().items():
        assert loaded[split].ids == fields["id"]
        assert loaded[split].raw_text == fields["raw_text"]
        assert {type(string) for string in loaded[split].ids + loaded[split].raw_text} == {str}


# --- a pickle is a program --------------------------------------------------------------------------------------------


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def numpy_load(sentinel):
    inner = sentinel.with_suffix(".inner")
    inner.write_bytes(pickle.dumps(Call(os.system, f"touch {sentinel}")))
    return Call(np.load, str(inner), None, True)


PROGRAMS = {  # name that must be refused -> what makes the sentinel file when unpickled
    f"{os.system.__module__}.system": lambda file: Call(os.system, f"touch {file}"),
    "builtins.eval": lambda file: Call(eval, f"open({str(file)!r}, 'w').close()"),
    "builtins.exec": lambda file: Call(exec, f"open({str(file)!r}, 'w').close()"),
    "builtins.getattr": lambda file: Call(file.touch),  # a bound method is pickled as getattr(file, "touch")
    "subprocess.Popen": lambda file: Call(subprocess.Popen, ["touch", str(file)]),
    "functools.partial": lambda file: Call(functools.partial(os.system, f"touch {file}")),
    "numpy.load": numpy_load,
    "numpy.savetxt": lambda file: Call(np.savetxt, str(file), [1.0]),
    "numpy.memmap": lambda file: Call(np.memmap, str(file), "uint8", "w+", 0, (1,)),
    "numpy.testing._private.utils.runstring": lambda file: Call(runstring, f"open({str(file)!r}, 'w').close()", {}),
}


def handwritten(module, name, arguments):
    """A stream that calls `module.name`, which protocol 4 looks up part by part."""
    names = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return b"\x80\x04" + names + b"\x93" + pickle.dumps(arguments, 4)[2:-1] + b"R."


def appears(sentinel, seconds=10):
    """Whether the file exists within some seconds."""
    end = time.monotonic() + seconds
    while not sentinel.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return sentinel.exists()


def assert_refused_and_not_run(path, sentinel, name):
    pickle.loads(path.read_bytes())  # the control: the program does work
    assert appears(sentinel)
    sentinel.unlink()
    with pytest.raises(ValueError, match=re.escape(f"{path}: refused {name}: ")):
        load_features(path)
    assert not appears(sentinel, seconds=0.02)
    assert not path.with_name(f"{path.name}.cache").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_refused_by_name_and_does_not_run(save, tmp_path, name):
    raw, sentinel = make_raw(), tmp_path / "sentinel"
    raw["train"]["annotations"] = PROGRAMS[name](sentinel)
    assert_refused_and_not_run(save(raw), sentinel, name)


@pytest.mark.parametrize("protocol", range(6))
def test_a_program_is_refused_in_every_protocol(save, tmp_path, protocol):
    name, sentinel = f"{os.system.__module__}.system", tmp_path / "sentinel"
    raw = {"train": {"id": PROGRAMS[name](sentinel)}}
    assert_refused_and_not_run(save(raw, protocol), sentinel, name)


def test_handwritten_programs_are_refused(save, tmp_path):
    sentinel = tmp_path / "sentinel"
    path = save(handwritten("numpy", "ndarray.tofile", (np.zeros(1), str(sentinel))))
    assert_refused_and_not_run(path, sentinel, "numpy.ndarray.tofile")
    path = save(f"(S'touch {sentinel}'\nios\nsystem\n.".encode())  # the instance opcode of protocol 0
    assert_refused_and_not_run(path, sentinel, "os.system")


@pytest.mark.parametrize("state", [{"planted": 1}, (None, {"__doc__": "planted"})], ids=["attribute", "slot"])
def test_a_pickle_changes_nothing_in_numpy(save, state):
    """The stream sets attributes on the very function that rebuilds arrays: nothing but arrays may come of a file."""
    function = np.empty(1).__reduce_ex__(5)[0]
    before = function.__doc__, dict(vars(function))
    stream = b"\x80\x04c" + f"{function.__module__}\n{function.__name__}\n".encode()
    path = save(stream + pickle.dumps(state, 4)[2:-1] + b"b.")
    try:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load_features(path)
        assert (function.__doc__, vars(function)) == before
    finally:
        function.__doc__ = before[0]
        vars(function).clear()


# --- broken files -----------------------------------------------------------------------------------------------------


def no_pickle(path):
    return f"(?s){re.escape(str(path))}: got a file that is no whole pickle .*, expected a feature file; .*SHA-256"


def test_no_such_file(folder):
    for path in (folder / "none.pkl", folder):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{path}: no such feature file; ") + ".*README"):
            load_features(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncated_pickles(save, folder, protocol):
    whole = pickle.dumps(make_raw(), protocol)
    for end in [0, 1, 2, *range(3, len(whole), 499), len(whole) - 1]:
        path = save(whole[:end])
        with pytest.raises(ValueError, match=no_pickle(path)):
            load_features(path)
    assert [file.name for file in folder.iterdir()] == ["features.pkl"]


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><title>Sign in</title>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"PK\x03\x04\x14\0\0\0\x08\0",
        b"\x89PNG\r\n\x1a\n",
        b"\x93NUMPY\x01\x00",
        b"\0" * 100,
        b"\x80\x04\x95" + b"\xff" * 20,  # a pickle whose first frame has a damaged length
        b"\x80\x04\x8e" + b"\x7f" * 20,  # and one that announces more bytes than there are
    ],
)
def test_files_that_are_no_pickles(save, content):
    path = save(content)
    with pytest.raises(ValueError, match=no_pickle(path)):
        load_features(path)
