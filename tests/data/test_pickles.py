"""Oracles: `pickle.load` itself, for our own files; the names of what must be refused."""

import collections
import functools
import importlib
import io
import mmap
import os
import pickle
import pickletools
import re
import subprocess
import sys
import tarfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from feature_files import assert_same, make_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, byte_string_dtypes, floating_dtypes, integer_dtypes
from numpy.testing._private.utils import runstring

from msa_core import paths as paths_module
from msa_core.data import load_features, pickle_machine, planted_tokenizer
from msa_core.data.pickles import read_pickle

PROTOCOLS = [2, 3, 4, 5]
NUMPY_1 = {"numpy._core.multiarray": "numpy.core.multiarray", "numpy._core.numeric": "numpy.core.numeric"}
dtypes = floating_dtypes() | integer_dtypes() | byte_string_dtypes(min_len=1)  # of either byte order
ORDERS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "transposed": lambda a: np.moveaxis(a, 0, -1)}


@pytest.fixture
def all_left_in_file(monkeypatch):
    monkeypatch.setattr(pickle_machine, "LEFT_IN_FILE", 1)


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
        monkeypatch.setattr(pickle_machine, "LEFT_IN_FILE", threshold)
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
    arrays_of_others = [np.array(["d" * 100, "e"]), np.zeros((0, 3)), np.arange(3) > 1]
    got, _ = read_pickle(write(tmp_path, [plain, {"f": arrays_of_others}, np.float32(1)], protocol))
    assert [bytes(part) for part in got[0]] == [bytes(part) for part in plain]
    assert repr(got[1:]) == repr([{"f": arrays_of_others}, 1.0])


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
        with pytest.raises(ValueError, match=f"ends within what byte .* announces, at {end} bytes"):
            read_pickle(write(tmp_path, whole[:end], protocol))


def array_stream(code, shape, numbers, state=None):
    """A stream that builds an array of a type, a shape and bytes, whether or not they agree."""
    dumped = [pickle.dumps(part, 4)[2:-1] for part in (code, shape, numbers)]
    kind = b"cnumpy\ndtype\n" + dumped[0] + b"R" + (pickle.dumps(state, 4)[2:-1] + b"b" if state else b"")
    unbuilt = b"cnumpy.core.multiarray\n_reconstruct\n)R"
    return b"\x80\x04" + unbuilt + b"(K\x01" + dumped[1] + kind + b"\x89" + dumped[2] + b"tb."


def called(name, arguments):
    """A stream that calls `numpy.<name>`."""
    return b"\x80\x04cnumpy\n" + name.encode() + b"\n" + pickle.dumps(arguments, 4)[2:-1] + b"R."


def test_bytes_are_not_taken_for_pointers(tmp_path):
    """`ndarray(shape, dtype, buffer)` would make objects of any address that the file names."""
    for arguments in (((1,), "O", bytearray(8)), ((1,), "O")):
        with pytest.raises(ValueError, match=r"got a call of numpy\.ndarray, expected plain data"):
            read_pickle(write(tmp_path, called("ndarray", arguments), 4))


def test_a_structured_type_is_refused(tmp_path):
    """Its state may say that it holds numbers where it holds pointers."""
    with pytest.raises(ValueError, match="got an array of type 'V8', expected booleans"):
        read_pickle(write(tmp_path, np.zeros(2, [("a", "f4"), ("b", "i4")]), 4))
    fields = pickle.dumps((3, "|", None, ("b",), {"a": 1}, 8, 1, 16), 4)[2:-1]
    with pytest.raises(ValueError, match="structured array"):
        read_pickle(write(tmp_path, called("dtype", ("f8", False, True))[:-1] + fields + b"b.", 4))
    with pytest.raises(ValueError, match="got an array of type a list"):
        read_pickle(write(tmp_path, called("dtype", ([("a", "O")],)), 4))


def test_the_state_of_a_type_cannot_deny_that_it_holds_objects(tmp_path):
    stream = array_stream(("O8", False, True), (2,), bytes(16), state=(3, "|", None, None, None, -1, -1, 0))
    with pytest.raises(ValueError, match="got an array of objects from bytes"):
        read_pickle(write(tmp_path, stream, 4))


def test_an_array_is_built_once(tmp_path):
    """A second state would free what rows of the first one's array still point to."""
    array, state = (
        pickletools.optimize(pickle.dumps(part, 2))[2:-1]
        for part in (np.arange(6.0).reshape(2, 3), (1, (1,), np.dtype("f8"), False, bytes(8)))
    )
    with pytest.raises(ValueError, match="got a state for a ndarray"):
        read_pickle(write(tmp_path, b"\x80\x04" + array + b"q\x64" + state + b"b.", 4))


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
    with pytest.raises(ValueError, match=re.escape(str(path)) + rf": byte \d+: refused {re.escape(name)}: "):
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


# --- broken files, and files of other kinds ---------------------------------------------------------------------------


def test_no_such_file(folder):
    for path in (folder / "none.pkl", folder):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{path}: no such feature file; ") + ".*docs/running"):
            load_features(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncated_pickles(save, folder, protocol):
    whole = pickle.dumps(make_raw(), protocol)
    for end in [1, 2, *range(3, len(whole), 499), len(whole) - 1]:
        path = save(whole[:end])
        with pytest.raises(
            ValueError, match=re.escape(str(path)) + rf": got a file that ends .* at {end} bytes.*SHA-256"
        ):
            load_features(path)
    assert [file.name for file in folder.iterdir() if not file.name.endswith(".source")] == ["features.pkl"]


def compressed(module, content=b"any"):
    return importlib.import_module(module).compress(content)


def of_torch(legacy):
    buffer = io.BytesIO()
    torch.save({"audio": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, audio=np.zeros(3))
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("features.pkl"), io.BytesIO())
    return buffer.getvalue()


FOREIGN = {  # what the message says -> bytes of such a file, part of the remedy
    "an empty file": (b"", "get it again"),
    "a gzip file": (compressed("gzip"), "gzip -d"),
    "a bzip2 file": (compressed("bz2"), "bzip2 -d"),
    "an xz file": (compressed("lzma"), "xz -d"),
    "a tar archive": (tar(), "tar -xf"),
    "a file of torch.save,": (of_torch(legacy=False), "weights_only"),
    "a file of torch.save (the format before": (of_torch(legacy=True), "weights_only"),
    "an .npz file": (npz(), "numpy.load"),
    "a zip archive": (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(20) + b"features.pkl", "unzip"),
    "an .npy file": (b"\x93NUMPY\x01\x00", "numpy.load"),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n", "h5py"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "a web page": (b"<!DOCTYPE html><title>Sign in</title>", "in a browser"),
    "a web page, such": (b"\n<html><head>", "in a browser"),
    "a table as text": (b"id,label\na,1\n", "pandas"),
    "a JSON file": (b'{"train": {}}', "json.load"),
    "an image": (b"\x89PNG\r\n\x1a\n", "name the feature file"),
    "a file of zeros": (b"\0" * 100, "get it again"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_of_another_format_is_named_with_its_remedy(save, what):
    content, remedy = FOREIGN[what]
    path = save(content)
    with pytest.raises(
        ValueError, match=re.escape(f"{path}: got {what}") + ".*expected a pickle; .*" + re.escape(remedy)
    ):
        load_features(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95" + b"\xff" * 20,  # a pickle whose first frame has a damaged length
        b"\x80\x04\x8e" + b"\x7f" * 20,  # and one that announces more bytes than there are
        b"\x80\x04\xff.",
        b"\x80\x04h\x05.",
        b"hello",
    ],
)
def test_damaged_pickles(save, content):
    path = save(content)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ": .*got .*expected .*SHA-256"):
        load_features(path)


OBJECTS = {  # a field of another library -> remedy
    "a torch tensor": (torch.zeros(2), "tensor.detach().cpu().numpy()"),
    "a pandas object": (pd.Series([1.0]), "series.to_numpy()"),
    "a scipy object": (scipy.sparse.csr_array(np.eye(2)), ".toarray()"),
    "an object of another kind": (functools.partial(int), "if you wrote this file"),
}


@pytest.mark.parametrize("what", OBJECTS)
def test_an_object_of_another_library_is_named_with_how_to_write_it(save, what):
    content, remedy = OBJECTS[what]
    with pytest.raises(ValueError, match=f"got {what}, expected numpy arrays.*" + re.escape(remedy)):
        load_features(save({"train": {"audio": content}}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_dicts_and_lists_of_arrays_are_read(tmp_path, protocol):
    frames = [np.arange(6.0).reshape(3, 2), np.ones((1, 2))]
    raw = collections.defaultdict(
        dict, {"train": collections.OrderedDict(audio=frames, vision=np.array([*frames, 0], object))}
    )
    got, _ = read_pickle(write(tmp_path, raw, protocol))
    assert type(got["train"]) is dict
    for read in (got["train"]["audio"], got["train"]["vision"]):
        assert [part.tolist() for part in read[:2]] == [part.tolist() for part in frames]


def test_pickles_of_python_2(tmp_path):
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I2\nt"
    array += b"cnumpy\ndtype\n(U\x02i2I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\nU\x04\x01\0\x02\0tb"
    binary = b"\x80\x02}(U\x02id](U\x01aU\x05caf\xc3\xa9U\x04caf\xe9eU\x05audio" + array + b"u."
    text = b"(dS'id'\n(lS'a'\naS'caf\\xc3\\xa9'\naS'caf\\xe9'\nasS'audio'\n" + array + b"s."
    for stream in (binary, text):
        content, _ = read_pickle(write(tmp_path, stream, 0))
        assert content["id"] == ["a", "caf\xe9", "caf\xe9"]
        assert (content["audio"].tolist(), content["audio"].dtype) == ([1, 2], np.dtype("<i2"))


# --- hostile files ----------------------------------------------------------------------------------------------------


def shared(kind, levels=12):
    """Containers that share each other: 10^levels items when written out."""
    value = kind([1] * 10)
    for _ in range(levels):
        value = kind([value] * 10)
    return value


def in_field(name, value):
    raw = make_raw()
    raw["train"][name] = value
    return pickle.dumps(raw, 4)


def by_call(name, argument):
    return b"\x80\x04cbuiltins\n" + name + b"\n" + pickle.dumps((argument,), 4)[2:-1] + b"R."


scalar = b"\x80\x04cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n\x8c\x0bV2000000000\x85RtR."
HOSTILE = {  # how it attacks -> stream, what the message says
    "list shorter than the shape": (array_stream(("O8",), (1000,), [1]), "array of 1 objects, expected 1000 objects"),
    "another code of objects": (array_stream(("T",), (5000,), ["a"]), "array of type 'T'"),
    "bytes shorter than the shape": (array_stream(("f8",), (1000,), bytes(8)), "array of 8 bytes, expected 8000 bytes"),
    "a size beyond 64 bits": (array_stream(("f8",), (2**62, 2**62), bytes(8)), "array of 8 bytes"),
    "a negative size": (array_stream(("f8",), (-1, -1), bytes(8)), "shape"),
    "no items and a huge size": (array_stream(("f8",), (4, 10**9, 0), b""), "huge dimensions"),
    "no objects and a huge size": (array_stream(("O",), (10**9, 0), []), "huge dimensions"),
    "no characters": (array_stream(("U1",), (1,), b"\xff" * 4), "no characters"),
    "a void scalar": (scalar, "V2000000000"),
    "bytes of a size": (by_call(b"bytearray", 3 * 10**9), "something else than bytes"),
    "a set of shared tuples": (by_call(b"set", [shared(tuple)]), "objects"),
    "a key of shared tuples": (b"\x80\x04}" + pickle.dumps(shared(tuple), 4)[2:-1] + b"Ns.", "a tuple as a key"),
    "a key that collides": (pickle.dumps({2**61: 0}, 4), "a large number as a key"),
    "ids of shared lists": (in_field("id", shared(list)), "objects"),
    "labels of shared lists": (in_field("regression_labels", shared(list)), "objects"),
    "lengths of shared lists": (in_field("audio_lengths", shared(list)), "objects"),
    "one array many times": (in_field("audio", [np.zeros((30_000, 3))] * 1000), "of arrays"),
    "one text many times": (in_field("raw_text", ["a" * 100_000] * 1000), "characters"),
    "a long text": (in_field("raw_text", ["a" * 2**21]), "string of 2097152 bytes"),
    "many steps": (b"\x80\x04" + b"N0" * 2_000_000 + b"N.", "steps"),
    "deep": (b"\x80\x04)" + b"\x85" * 2_000_000 + b".", "within each other"),
    "a list in itself": (b"\x80\x04]q\x00h\x00a.", "within each other"),
    "a far number of the memo": (b"\x80\x04Nr\xff\xff\xff\xff.", "numbered"),
    "a long integer": (pickle.dumps(2**1000, 4), "integer of 126 bytes"),
    "strings among numbers": (
        in_field("audio_lengths", ["a" * 10**6] + ["b"] * 10**5),
        "values that make no array",
    ),
}
MEASURED = r"""
import os, resource, sys, time
from pathlib import Path
from msa_core.data import load_features, planted_tokenizer
from msa_core.data.pickles import read_pickle

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

for path in map(Path, sys.argv[1:]):
    for read in (read_pickle, lambda path: load_features(path, planted_tokenizer(), cache_folder=os.getcwd())):
        if os.fork():  # a process of its own, so that the peak is its own
            assert os.wait()[1] == 0, path
            continue
        before, start = peak(), time.process_time()
        try:
            message = str(read(path)) and "READ"
        except ValueError as error:
            message = str(error)
        seconds, grown = time.process_time() - start, peak() - before - path.stat().st_size
        print(f"{path}\t{seconds:.3f}\t{grown}\t{message!r}", flush=True)
        os._exit(0)
"""


def measured(paths, folder):
    """Of each reading, in another process: path, seconds of CPU, bytes beyond the file's size, message."""
    process = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(paths_module.ROOT)},
    )
    assert process.returncode == 0, f"the interpreter died after {process.stdout}: {process.stderr}"
    return [line.split("\t") for line in process.stdout.splitlines()]


@pytest.mark.slow
def test_hostile_files_are_refused_in_little_time_and_memory(tmp_path):
    paths = [tmp_path / f"{number}.pkl" for number in range(len(HOSTILE))]
    for path, (content, _) in zip(paths, HOSTILE.values(), strict=True):
        path.write_bytes(content)
    results = measured(paths, tmp_path)
    assert len(results) == 2 * len(paths)
    for place, (path, seconds, grown, message) in enumerate(results):
        what, (_, expected) = [*HOSTILE.items()][place // 2]
        unread = what == "strings among numbers" and place % 2 == 0  # plain data; the field refuses it
        assert ("READ" if unread else expected) in message, (what, message)
        assert len(message) < 500 + len(path)
        assert float(seconds) < 10, what
        assert int(grown) < 500e6, what


@pytest.mark.slow
def test_the_hostile_files_at_hand(tmp_path):
    paths = sorted(Path(paths_module.ROOT, "../shared/hostile").glob("*.pkl"))
    if not paths:
        pytest.skip("../shared/hostile is not here")
    for path, seconds, grown, message in measured(paths, tmp_path):
        assert path in message
        assert "expected" in message
        assert float(seconds) < 10
        assert int(grown) < 500e6


@pytest.mark.slow
def test_damaged_and_generated_streams(tmp_path):
    command = [sys.executable, Path(__file__).with_name("fuzz_pickles.py"), "20", str(int(time.time()))]
    environment = os.environ | {"PYTHONPATH": str(paths_module.ROOT)}
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert process.returncode == 0, (command, process.stdout, process.stderr)
    assert int(process.stdout.split()[0]) > 100
