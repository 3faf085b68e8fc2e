"""Oracles: the arrays a file was made from, and what an earlier reading gave."""

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_files import (
    FRAMES,
    LABELS,
    TEXT_FIELDS,
    WIDTHS,
    assert_same,
    assert_sequences,
    forbid_reading,
    make_raw,
    names_in,
    place,
    real_frames,
    refusal,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from msa_core import SPLITS
from msa_core.data import cache, load_features, planted_tokenizer
from msa_core.data.cache import file_sha256
from msa_core.data.tensors import new_file


def test_cache_is_written_once_and_read_after(save, folder, monkeypatch):
    path = save(make_raw())
    first = load_features(path, planted_tokenizer())
    written = {name: folder.joinpath(name).stat() for name in names_in(folder)}
    assert len(written) == 3  # the file, features and tokens
    forbid_reading(monkeypatch)
    assert_same(load_features(path, planted_tokenizer()), first)
    again = {name: folder.joinpath(name).stat() for name in names_in(folder)}
    assert {name: (s.st_ino, s.st_mtime_ns) for name, s in again.items()} == {
        name: (s.st_ino, s.st_mtime_ns) for name, s in written.items()
    }


def test_cache_is_rebuilt_when_the_file_changes(save):
    old, new = make_raw(), make_raw(seed=1)
    path = save(old)
    before = load_features(path)
    after = load_features(save(new))
    for split in SPLITS:
        np.testing.assert_array_equal(after[split].labels, new[split][LABELS])
        assert_sequences(after[split].sequences["audio"], real_frames(new[split], "audio"))
        # and what was opened before is what it was
        np.testing.assert_array_equal(before[split].labels, old[split][LABELS])
        assert_sequences(before[split].sequences["audio"], real_frames(old[split], "audio"))
    assert before["train"].source["sha256"] != after["train"].source["sha256"]


def test_a_file_replaced_at_the_same_size_and_time_is_read_anew(save):
    path = save(make_raw())
    load_features(path)
    status = path.stat()
    other = make_raw()
    other["train"][LABELS] = -other["train"][LABELS]
    path.write_bytes(pickle.dumps(other, 4))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    np.testing.assert_array_equal(load_features(path)["train"].labels, other["train"][LABELS])


@pytest.mark.parametrize("moved", [False, True])
def test_the_same_content_at_another_time_or_place_is_not_read_again(save, elsewhere, monkeypatch, moved):
    path = save(make_raw())
    first = load_features(path)
    if moved:
        for file in path.parent.iterdir():
            shutil.copy(file, elsewhere)
        path = elsewhere / path.name
    else:
        os.utime(path)
    forbid_reading(monkeypatch)
    assert_same(load_features(path), first)


def test_a_file_is_hashed_again_only_after_a_change(save, monkeypatch):
    path = save(make_raw())
    later = path.stat().st_ctime_ns + 10**10
    monkeypatch.setattr("msa_core.data.cache.time.time_ns", lambda: later)  # else the last change is too recent
    first = load_features(path)
    monkeypatch.setattr("msa_core.data.cache.hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert_same(load_features(path), first)
    os.utime(path)  # changes both times
    with pytest.raises(pytest.fail.Exception, match="hashed again"):
        load_features(path)


def test_a_recent_change_is_hashed_each_time(save, folder):
    """Another one could follow within the clock's resolution and leave size and times as they are."""
    path = save(make_raw())
    assert file_sha256(path, folder / "record") == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not (folder / "record").exists()


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"size": 1}', "not json"])
def test_a_damaged_record_of_the_hash_is_written_again(save, folder, monkeypatch, damaged):
    path, record = save(make_raw()), folder / "record"
    later = path.stat().st_ctime_ns + 10**10
    monkeypatch.setattr("msa_core.data.cache.time.time_ns", lambda: later)
    record.write_text(damaged)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path, record) == expected
    assert json.loads(record.read_text())["sha256"] == expected


def test_a_file_that_changes_while_it_is_read_is_refused(save, folder, monkeypatch):
    path = save(make_raw())
    read = cache.read_pickle

    def changed(path):
        content = read(path)
        os.utime(path, ns=(1, 1))
        return content

    monkeypatch.setattr(cache, "read_pickle", changed)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ": the file changed while it was read; read it again"):
        load_features(path)
    assert names_in(folder) == ["features.pkl"]


def test_another_label_bound_checks_the_file_again(save):
    raw = make_raw()
    for fields in raw.values():
        fields[LABELS] = fields[LABELS].clip(-2, 2)
    raw["valid"][LABELS][1] = 2.5
    path = save(raw)
    load_features(path)
    with pytest.raises(ValueError, match=refusal(path, place("valid", LABELS, 1), "label 2.5", "±2")):
        load_features(path, label_bound=2)
    assert load_features(path, label_bound=4)["valid"].label_bound == 4


@pytest.mark.parametrize("options", [{"standardise": True}, {"max_frames": 2}])
def test_options_of_use_are_no_part_of_the_cache(save, monkeypatch, options):
    path = save(make_raw())
    load_features(path)
    forbid_reading(monkeypatch)
    features = load_features(path, **options)["train"]
    assert bool(features.scaling) == ("standardise" in options)
    assert features.max_frames == options.get("max_frames")


def test_a_failed_check_leaves_an_earlier_cache_as_it_was(save, folder, monkeypatch):
    good, bad = make_raw(), make_raw()
    bad["test"][LABELS][2] = np.nan
    path = save(good)
    expected = load_features(path)
    cache = path.with_name("features.pkl.cache")
    written = cache.read_bytes()
    path = save(bad)
    with pytest.raises(ValueError, match="label nan"):
        load_features(path)
    assert cache.read_bytes() == written
    assert names_in(folder) == ["features.pkl", "features.pkl.cache"]
    save(good)
    forbid_reading(monkeypatch)  # so that it is the earlier cache that is read
    assert_same(load_features(path), expected)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_leaves_no_half_of_a_cache(save, folder, monkeypatch, earlier):
    path, left = save(make_raw()), {"features.pkl": None}
    if earlier:
        load_features(path)
        left["features.pkl.cache"] = path.with_name("features.pkl.cache").read_bytes()
        path = save(make_raw(seed=1))

    def stop_half_way(partial, *_):
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("msa_core.data.cache.write_tensors", stop_half_way)
    cache_file = re.escape(str(path.with_name("features.pkl.cache")))
    with pytest.raises(
        OSError, match=f"{cache_file}: cannot write the cache .No space left on device.; .*cache_folder"
    ):
        load_features(path)
    assert names_in(folder) == sorted(left)
    assert not earlier or path.with_name("features.pkl.cache").read_bytes() == left["features.pkl.cache"]


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no cache at all"]
)
def test_a_damaged_cache_is_written_again(save, damage):
    """As a full disk or a broken-off copy of the folder leaves it."""
    path = save(make_raw())
    expected = {split: features.labels.clone() for split, features in load_features(path).items()}
    cache = path.with_name("features.pkl.cache")
    damaged = damage(cache.read_bytes())
    cache.unlink()  # what is mapped stays whole
    cache.write_bytes(damaged)
    for split, features in load_features(path).items():
        assert torch.equal(features.labels, expected[split])


@pytest.mark.parametrize("as_path", [str, Path])
def test_cache_folder(save, folder, elsewhere, monkeypatch, as_path):
    path = save(make_raw())
    first = load_features(path, cache_folder=as_path(elsewhere))
    assert names_in(folder) == ["features.pkl"]
    assert names_in(elsewhere) == ["features.pkl.cache"]
    forbid_reading(monkeypatch)
    assert_same(load_features(path, cache_folder=elsewhere), first)


@pytest.mark.parametrize("named", [False, True])
def test_unwritable_folder(save, folder, elsewhere, monkeypatch, named):
    path = save(make_raw())
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write anywhere
    place = elsewhere if named else folder
    pattern = re.escape(f"{place}: cannot write the cache features.pkl.cache there; ") + ".*cache_folder"
    with pytest.raises(PermissionError, match=pattern):
        load_features(path, cache_folder=elsewhere if named else None)
    assert [*elsewhere.iterdir()] == []


def test_cache_folder_that_is_not_there(save, tmp_path):
    path = save(make_raw())
    with pytest.raises(PermissionError, match=re.escape(str(tmp_path / "nowhere")) + ": .*cache_folder"):
        load_features(path, cache_folder=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_current_cache_in_an_unwritable_folder_is_read(save, monkeypatch):
    path = save(make_raw())
    first = load_features(path)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert_same(load_features(path), first)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc/self/maps to look into")
def test_opened_features_are_memory_mapped(save):
    path = save(make_raw())
    features = load_features(path)
    start = features["train"].sequences["audio"].values.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(address, 16) for address in line.split()[0].split("-"))
        if low <= start < high:
            assert line.endswith(f"{path}.cache")
            break
    else:
        pytest.fail("the tensor lies in no mapping")


# --- damaged and hostile caches ---------------------------------------------------------------------------------------


def rewritten(file, change, metadata_change=None):
    """Write a cache again with other tensors or metadata and digests that fit, as a hostile one would have them."""
    with safe_open(file, framework="np") as stored:
        metadata = json.loads(stored.metadata()["msa_core"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
    change(tensors)
    for name in set(metadata["digests"]) & set(tensors):
        array = tensors[name]
        digest = hashlib.sha256(f"{array.dtype} {tuple(array.shape)}\0".encode() + array.tobytes())
        metadata["digests"][name] = digest.hexdigest()
    (metadata_change or (lambda _: None))(metadata)
    file.unlink()  # what is mapped stays whole
    save_file(tensors, file, {"msa_core": json.dumps(metadata)})


def put(name, value, place=...):
    def change(tensors):
        tensors[name] = tensors[name].copy()
        tensors[name][place] = value

    return change


def cut(name):
    return lambda tensors: tensors.update({name: tensors[name][:-1].copy()})


HOSTILE = {
    "a label beyond the bound": put("train/labels", 99, 0),
    "a label that is nan": put("valid/labels", np.nan, 1),
    "too few labels": cut("test/labels"),
    "offsets beyond the values": put("train/audio/offsets", 10**6, -1),
    "offsets that fall": put("train/audio/offsets", 10**6, 1),
    "a negative offset": put("test/vision/offsets", -5, 0),
    "too few offsets": cut("valid/audio/offsets"),
    "too few frames": cut("valid/audio/values"),
    "ids that are no text": put("train/id/values", 255),
    "counts of 0": put("audio/moments", 0, 0),
    "a mean that is nan": put("vision/moments", 255, 1),
    "frames of another width": lambda tensors: tensors.update({"test/audio/values": np.ones((1, 9), np.float32)}),
    "a split that lacks a modality": lambda tensors: [
        tensors.pop(f"test/audio/{each}") for each in ("values", "offsets")
    ],
    "no labels": lambda tensors: tensors.pop("train/labels"),
}
METADATA = {
    "no version": lambda metadata: metadata.pop("version"),
    "another version": lambda metadata: metadata.update(version=cache.CACHE_VERSION - 1),
    "another file's hash": lambda metadata: metadata.update(sha256="0" * 64),
    "counts in words": lambda metadata: metadata.update(replaced_frames={"train/audio": "many"}),
    "no counts": lambda metadata: metadata.pop("absent"),
    "no digests": lambda metadata: metadata.pop("digests"),
}


@pytest.mark.parametrize("case", [*HOSTILE, *METADATA])
def test_a_cache_that_cannot_be_right_is_written_again(save, case):
    path = save(make_raw())
    load_features(path)
    file = path.with_name("features.pkl.cache")
    whole = file.read_bytes()
    rewritten(file, HOSTILE.get(case, lambda _: None), METADATA.get(case))
    assert file.read_bytes() != whole
    load_features(path, standardise=True)
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "name",
    [
        "train/labels",
        "test/id/values",
        "valid/audio/offsets",
        "audio/moments",
        "vision/moments",
        "test/raw_text/values",
    ],
)
def test_a_cache_with_any_other_bytes_but_its_frames_is_written_again(save, name):
    path = save(make_raw())
    load_features(path)
    file = path.with_name("features.pkl.cache")
    whole = file.read_bytes()
    with safe_open(file, framework="np") as stored:
        tensor = stored.get_tensor(name).tobytes()
    changed = bytearray(whole)
    start = whole.rindex(tensor)
    changed[start] ^= 1  # another sound value, mostly
    file.unlink()
    file.write_bytes(changed)
    load_features(path)
    assert file.read_bytes() == whole


@pytest.mark.slow
def test_what_a_killed_build_leaves_is_removed_by_the_next(save, folder):
    path = save(make_raw())
    code = (
        "import os, signal, sys; from msa_core.data import cache, load_features\n"
        "def killed(partial, *_):\n"
        "    partial.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache.write_tensors = killed\n"
        "load_features(sys.argv[1])"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [name for name in names_in(folder) if name.startswith(".features.pkl.cache-")]
    load_features(path)
    assert names_in(folder) == ["features.pkl", "features.pkl.cache"]


def test_a_build_that_goes_on_in_another_process_is_left_alone(save, folder):
    path = save(make_raw())
    with new_file(folder / "features.pkl.cache", like=path) as partial:
        load_features(path)
        assert partial.parent.is_dir()
        partial.write_bytes((folder / "features.pkl.cache").read_bytes())
    assert names_in(folder) == ["features.pkl", "features.pkl.cache"]


# --- large files ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<f2", "<i2"]),
    st.sampled_from([np.ascontiguousarray, np.asfortranarray]),
    st.sampled_from([3, 4, 5]),
    st.integers(1, 200),
)
def test_reading_in_chunks_is_reading_at_once(tmp_path_factory, dtype, order, protocol, chunk):
    raw = make_raw()
    for fields in raw.values():
        for modality in WIDTHS:
            fields[modality] = order(fields[modality].astype(dtype))
    path = tmp_path_factory.mktemp("chunks") / "features.pkl"
    path.write_bytes(pickle.dumps(raw, protocol))
    whole = load_features(path, standardise=True)
    path.with_name("features.pkl.cache").unlink()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("msa_core.data.pickle_machine.LEFT_IN_FILE", 1)
        monkeypatch.setattr("msa_core.data.frames.CHUNK", chunk)
        chunked = load_features(path, standardise=True)
    assert_same(chunked, whole)
    for modality in WIDTHS:
        for one, other in zip(chunked["train"].scaling[modality], whole["train"].scaling[modality], strict=True):
            torch.testing.assert_close(one, other)
        frames = np.concatenate(real_frames(raw["test"], modality)).astype(np.float32)
        np.testing.assert_array_equal(chunked["test"].sequences[modality].values, frames)


def test_the_first_reads_memory_has_no_part_of_the_arrays(folder, monkeypatch):
    """65 MB of arrays in less than 4, of which a chunk is 1; "text", which nobody uses, is not even looked at."""
    raw = make_raw(TEXT_FIELDS)
    for fields in raw.values():
        for modality in WIDTHS:
            padded = np.zeros((len(fields["id"]), 30_000, 40 if modality == "audio" else 20), np.float32)
            padded[:, :FRAMES, : WIDTHS[modality]] = fields[modality]
            fields[modality] = padded
        fields["text"] = np.zeros((len(fields["id"]), 50, 768), np.float32)
    path = folder / "features.pkl"
    with path.open("wb") as file:
        pickle.dump(raw, file, protocol=4)
    assert path.stat().st_size > 60e6
    monkeypatch.setattr("msa_core.data.frames.CHUNK", 2**20)
    tracemalloc.start()
    features = load_features(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22
    for modality in WIDTHS:
        rows = [row[:, : WIDTHS[modality]] for row in real_frames(raw["valid"], modality)]
        got = features["valid"].sequences[modality].values
        np.testing.assert_array_equal(got[:, : WIDTHS[modality]], np.concatenate(rows))
