"""Oracles: the arrays a file was made from, and what an earlier reading gave."""

import errno
import os
import pickle
import re
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
    make_raw,
    place,
    real_frames,
    refusal,
    spoil,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_core import SPLITS
from msa_core.data import load_features, planted_tokenizer


def test_cache_is_written_once_and_read_after(save, folder):
    path = save(make_raw())
    first = load_features(path, planted_tokenizer())
    written = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir() if file != path}
    assert len(written) == 2  # features and tokens
    assert path.with_name("features.pkl.cache") in written
    spoil(path)
    assert_same(load_features(path, planted_tokenizer()), first)
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir() if file != path} == written


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


@pytest.mark.parametrize("change_of", ["size", "time"])
def test_either_size_or_time_shows_a_change(save, change_of):
    path = save(make_raw())
    load_features(path)
    status = path.stat()
    path.write_bytes(b"\0" * (status.st_size + (change_of == "size")))
    later = status.st_mtime_ns + (change_of == "time")
    os.utime(path, ns=(later, later))
    with pytest.raises(ValueError, match="a file of zeros"):
        load_features(path)


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
def test_options_of_use_are_no_part_of_the_cache(save, options):
    path = save(make_raw())
    load_features(path)
    spoil(path)
    features = load_features(path, **options)["train"]
    assert bool(features.scaling) == ("standardise" in options)
    assert features.max_frames == options.get("max_frames")


def test_a_failed_check_leaves_an_earlier_cache_as_it_was(save, folder):
    good, bad = make_raw(), make_raw()
    bad["test"][LABELS][2] = np.nan
    path = save(good)
    expected, status = load_features(path), path.stat()
    cache = path.with_name("features.pkl.cache")
    written = cache.read_bytes()
    path = save(bad)
    with pytest.raises(ValueError, match="label nan"):
        load_features(path)
    assert cache.read_bytes() == written
    assert sorted(file.name for file in folder.iterdir()) == ["features.pkl", "features.pkl.cache"]
    save(good)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    spoil(path)  # so that it is the earlier cache that is read
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
    with pytest.raises(OSError, match="No space left"):
        load_features(path)
    assert {file.name for file in folder.iterdir()} == set(left)
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
def test_cache_folder(save, folder, elsewhere, as_path):
    path = save(make_raw())
    first = load_features(path, cache_folder=as_path(elsewhere))
    assert [file.name for file in folder.iterdir()] == ["features.pkl"]
    assert [file.name for file in elsewhere.iterdir()] == ["features.pkl.cache"]
    spoil(path)
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
        monkeypatch.setattr("msa_core.data.cache.CHUNK", chunk)
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
    monkeypatch.setattr("msa_core.data.cache.CHUNK", 2**20)
    tracemalloc.start()
    features = load_features(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22
    for modality in WIDTHS:
        rows = [row[:, : WIDTHS[modality]] for row in real_frames(raw["valid"], modality)]
        got = features["valid"].sequences[modality].values
        np.testing.assert_array_equal(got[:, : WIDTHS[modality]], np.concatenate(rows))
