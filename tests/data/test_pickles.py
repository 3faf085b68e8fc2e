"""Oracles: `pickle.load` itself, for our own files; the names of what must be refused."""

import mmap
import pickle
import pickletools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, byte_string_dtypes, floating_dtypes, integer_dtypes

from msa_core.data import pickles
from msa_core.data.pickles import read_pickle

PROTOCOLS = [2, 3, 4, 5]
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
