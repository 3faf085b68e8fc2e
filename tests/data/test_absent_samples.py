"""Files with samples that lack a modality. Oracles: the numpy arrays a file was made from."""

import logging
import pickle

import numpy as np
import pytest
import torch
from feature_files import (
    FRAMES,
    SIZES,
    WIDTHS,
    assert_same,
    assert_sequences,
    make_raw,
    real_frames,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_core import MODALITIES, SPLITS
from msa_core.data import batches, load_features, planted_tokenizer


def make_absent(raw, modality, samples):
    """Length 0 for some samples, split -> places, in the field that the modality's lengths are read from."""
    for split, places in samples.items():
        if modality == "text":
            raw[split]["text_bert"][places, 1] = 0
        else:
            raw[split][f"{modality}_lengths"] = np.array(raw[split][f"{modality}_lengths"])
            raw[split][f"{modality}_lengths"][places] = 0


def assert_absent(loaded, modality, samples):
    for split, features in loaded.items():
        expected = [i not in samples.get(split, []) for i in range(SIZES[split])]
        assert (features.lengths(modality) > 0).tolist() == expected
        assert features.present.get(modality, torch.tensor(expected)).tolist() == expected
        assert (modality in features.present) == (split in samples)
        for batch in batches(features, 2, shuffle_seed=0):
            assert (batch.lengths[modality] > 0).tolist() == [expected[i] for i in batch.index.tolist()]


SOME = {"train": [0, 3], "test": [1]}


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("modality", MODALITIES)
def test_length_0_is_an_absent_modality(save, caplog, modality, standardise):
    raw = make_raw(("raw_text",))
    make_absent(raw, modality, SOME)
    path = save(raw)
    readings = []
    for first in (True, False):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="msa_core"):
            readings.append(load_features(path, planted_tokenizer(), standardise=standardise))
        messages = [record.getMessage() for record in caplog.records]
        counts = f"train/{modality} 2 of 4, test/{modality} 1 of 3"
        assert messages == ([f"{path}: samples of length 0, which lack the modality: {counts}"] if first else [])
    assert_same(*readings)
    for loaded in readings:
        assert_absent(loaded, modality, SOME)
        for features in loaded.values():
            assert features.present.keys() <= {modality}
            assert features.source["absent"] == {f"train/{modality}": 2, f"test/{modality}": 1}


@pytest.mark.parametrize("modality", WIDTHS)
@pytest.mark.parametrize("chunk", [1, 2**24])
def test_absent_samples_have_no_part_in_the_statistics(save, monkeypatch, modality, chunk):
    monkeypatch.setattr("msa_core.data.frames.CHUNK", chunk)  # 1: a chunk for each sample, the first without a frame
    raw = make_raw()
    make_absent(raw, modality, SOME)
    train = np.concatenate(real_frames(raw["train"], modality)).astype(np.float64)
    loaded = load_features(save(raw), standardise=True)
    mean, scale = loaded["valid"].scaling[modality]
    np.testing.assert_allclose(mean, train.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, train.std(axis=0), rtol=1e-5)
    assert loaded["train"].sequences[modality].values.shape[0] == len(train)
    assert not loaded["train"].batch(torch.tensor([0, 3])).sequences[modality].numel()


@pytest.mark.parametrize("drop", [("audio_lengths",), ("audio_lengths", "vision_lengths")])
@pytest.mark.parametrize("without", [(), ("raw_text",)])
def test_an_aligned_sample_without_tokens_has_no_frames(save, drop, without):
    raw = make_raw((*drop, *without))
    make_absent(raw, "text", SOME)
    loaded = load_features(save(raw), planted_tokenizer())
    absent = {field.removesuffix("_lengths") for field in drop} | ({"text"} if without else set())
    for modality in MODALITIES:
        assert_absent(loaded, modality, SOME if modality in absent else {})
    expected = {f"{split}/{modality}": len(SOME[split]) for split in SOME for modality in absent}
    assert loaded["train"].source["absent"] == expected


def test_text_is_present_where_raw_text_is(save, caplog):
    raw = make_raw()
    make_absent(raw, "text", dict.fromkeys(SPLITS, slice(None)))
    raw["train"]["raw_text"][0] = ""
    loaded = load_features(save(raw), planted_tokenizer())
    assert loaded["train"].lengths("text")[0] == 2  # the special tokens
    assert_absent(loaded, "text", {})
    assert not caplog.records
    assert loaded["train"].source["absent"] == {}


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_split_but_train_may_lack_a_modality_altogether(save, modality):
    raw = make_raw(("raw_text",))
    samples = {"valid": [0, 1], "test": [0, 1, 2]}
    make_absent(raw, modality, samples)
    loaded = load_features(save(raw), planted_tokenizer(), standardise=True)
    assert_absent(loaded, modality, samples)
    (batch,) = batches(loaded["test"], 10)
    assert batch.sequences[modality].shape == ((3, 0) if modality == "text" else (3, 0, WIDTHS[modality]))


def test_frames_of_no_time_are_absent(save):
    raw = make_raw()
    raw["valid"] |= {"audio": np.zeros((2, 0, 3), np.float32), "audio_lengths": [0, 0]}
    assert_absent(load_features(save(raw)), "audio", {"valid": [0, 1]})


def test_a_sample_may_lack_everything(save):
    raw = make_raw(("raw_text",))
    for modality in MODALITIES:
        make_absent(raw, modality, {"train": [2]})
    features = load_features(save(raw), planted_tokenizer(), standardise=True)["train"]
    assert set(features.present) == set(MODALITIES)
    assert all(sequence.shape[1] == 0 for sequence in features.batch(torch.tensor([2])).sequences.values())
    assert sorted(i for batch in batches(features, 3) for i in batch.index.tolist()) == [0, 1, 2, 3]


@settings(max_examples=25)
@given(st.data(), st.booleans())
def test_whatever_the_lengths_batches_hold_them(tmp_path_factory, data, standardise):
    raw = make_raw()
    for split, size in SIZES.items():
        for modality in WIDTHS:
            lengths = data.draw(st.lists(st.integers(0, FRAMES), min_size=size, max_size=size))
            raw[split][f"{modality}_lengths"] = [max(lengths[0], 1), *lengths[1:]] if split == "train" else lengths
    path = tmp_path_factory.mktemp("lengths") / "features.pkl"
    path.write_bytes(pickle.dumps(raw))
    for split, features in load_features(path, planted_tokenizer(), standardise=standardise).items():
        for modality in WIDTHS:
            assert_sequences(features.sequences[modality], real_frames(raw[split], modality))
            lengths = raw[split][f"{modality}_lengths"]
            assert features.source["absent"].get(f"{split}/{modality}", 0) == lengths.count(0)
            for batch in batches(features, 2, shuffle_seed=1):
                assert batch.lengths[modality].tolist() == [lengths[i] for i in batch.index.tolist()]
                assert batch.sequences[modality].shape[1] == batch.lengths[modality].max()
