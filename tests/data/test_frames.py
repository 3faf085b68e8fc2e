"""Oracles: numpy over all frames at once, and frames placed by hand."""

import logging
import re
from functools import partial

import numpy as np
import pytest
import torch
from feature_files import FRAMES, SIZES, WIDTHS, assert_same, assert_sequences, make_raw, place, real_frames
from hypothesis import given
from hypothesis import strategies as st

from msa_core import SPLITS
from msa_core.data import load_features, planted_tokenizer
from msa_core.data.frames import Frames, Moments, placement

# --- mean and standard deviation --------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.floats(0, 0.6))
def test_moments_are_those_of_the_readable_values(seed, sizes, share):
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(200, 5, (size, 3)).astype(np.float32) for size in sizes]
    for piece in pieces:
        piece[rng.uniform(size=piece.shape) < share] = np.nan
    moments = Moments()
    for piece in pieces:
        moments.add(piece)
    whole = np.concatenate(pieces).astype(np.float64)
    np.testing.assert_array_equal(np.broadcast_to(moments.count, 3), np.isfinite(whole).sum(axis=0))
    for feature in np.flatnonzero(np.isfinite(whole).any(axis=0)):
        readable = whole[:, feature][np.isfinite(whole[:, feature])]
        np.testing.assert_allclose(moments.mean[feature], readable.mean(), rtol=1e-12)
        expected = readable.std()
        scale = moments.statistics("audio")["audio/scale"][feature]
        np.testing.assert_allclose(scale, expected if expected > 1e-9 else scale, rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_joined_and_stored_moments_are_those_of_all_pieces(seed, sizes):
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(200, 5, (size, 3)).astype(np.float32) for size in [*sizes, 2]]
    joined = Moments()
    for piece in pieces:
        moments = Moments(3)
        if len(piece):
            moments.add(piece)
        (stored,) = moments.stored()
        joined.join(Moments.restored(torch.from_numpy(stored)))
    whole = np.concatenate(pieces).astype(np.float64)
    np.testing.assert_array_equal(joined.count, [len(whole)] * 3)
    np.testing.assert_allclose(joined.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(joined.squares / len(whole), whole.var(axis=0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bad", [1, 100])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
def test_one_unreadable_value_moves_no_scale(save, bad, value):
    """A pitch, 200 +- 5, of which one frame in a thousand, or one in ten, is unreadable."""
    raw = make_raw()
    for fields in raw.values():
        fields["audio"] = np.random.default_rng(0).normal(200, 5, (len(fields["id"]), 250, 1))
        fields["audio_lengths"] = [250] * len(fields["id"])
        fields["audio"].reshape(-1)[:bad] = value
    train = load_features(save(raw), standardise=True)["train"]
    read = raw["train"]["audio"].reshape(-1)[bad:]
    mean, scale = train.scaling["audio"]
    np.testing.assert_allclose([mean.item(), scale.item()], [read.mean(), read.std()], rtol=1e-5)
    assert train.batch(torch.tensor([0])).sequences["audio"][0, 0, 0] == 0


def test_a_feature_without_a_readable_value_in_train_is_refused(save, folder):
    raw = make_raw()
    raw["train"]["vision"][..., 1] = np.inf
    path = save(raw)
    message = f"{path}: {place('train', 'vision')}: got no readable value of 1 of 2 features (number 1), expected at"
    with pytest.raises(ValueError, match=re.escape(message) + ".*; leave these features out of every split"):
        load_features(path)
    assert [file.name for file in folder.iterdir()] == ["features.pkl"]


# --- padding at the start ---------------------------------------------------------------------------------------------


def pad_at_start(raw, splits=SPLITS, modalities=("audio",), lengths=None):
    """Move the real frames of a split to the end, with zeros before them."""
    for split in splits:
        for modality in modalities:
            known = raw[split][f"{modality}_lengths"] if lengths is None else lengths[split]
            frames = np.zeros_like(raw[split][modality])
            for one, old, length in zip(frames, raw[split][modality], known, strict=True):
                one[FRAMES - int(length) :] = old[: int(length)]
            raw[split][modality] = frames


def padded_with_zeros(raw):
    for fields in raw.values():
        for modality in WIDTHS:
            for frames, length in zip(fields[modality], fields[f"{modality}_lengths"], strict=True):
                frames[int(length) :] = 0
    return raw


def short(raw):
    """Every sample shorter than T, so that all have padding."""
    for fields in raw.values():
        fields["audio_lengths"] = [1 + i % 3 for i in range(len(fields["id"]))]
    return raw


@pytest.mark.parametrize("modalities", [("audio",), ("audio", "vision")])
def test_frames_padded_at_their_start_are_read_from_their_end(save, caplog, modalities):
    raw = make_raw()
    path = save(raw)
    expected = load_features(path, planted_tokenizer(), standardise=True)
    pad_at_start(raw, modalities=modalities)
    path = save(raw)
    for reading in ("first", "second"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="msa_core"):
            loaded = load_features(path, planted_tokenizer(), standardise=True)
        assert_same(loaded, expected)
        logged = [record.getMessage() for record in caplog.records]
        assert len(logged) == (reading == "first")
        assert all(
            f"{path}: frames padded at their start, read from their end, in samples: train/audio" in line
            for line in logged
        )
        for modality in modalities:
            padded = sum(int(length) < FRAMES for length in raw["train"][f"{modality}_lengths"])
            assert loaded["test"].source["padded_at_start"][f"train/{modality}"] == padded


def test_aligned_frames_padded_at_their_start(save):
    raw = make_raw(("audio_lengths",))
    lengths = {split: fields["text_bert"][:, 1].sum(axis=1) for split, fields in raw.items()}
    expected = load_features(save(raw))
    pad_at_start(raw, lengths=lengths)
    assert_same(load_features(save(raw)), expected)


def test_each_split_has_its_own_place_for_padding(save):
    raw = short(make_raw())
    expected = load_features(save(raw))
    pad_at_start(raw, splits=["valid"])
    loaded = load_features(save(raw))
    assert_same(loaded, expected)
    assert set(loaded["train"].source["padded_at_start"]) == {"valid/audio"}


@pytest.mark.parametrize("at_start", [False, True])
def test_real_frames_that_are_zero_do_not_mislead(save, at_start):
    """Silence at the beginning, in the middle, at the end and throughout."""
    raw = padded_with_zeros(short(make_raw()))
    for fields in raw.values():
        fields["audio_lengths"] = [3] * len(fields["id"])
    for silent, (split, sample) in {0: ("train", 0), 1: ("train", 1), 2: ("train", 2)}.items():
        raw[split]["audio"][sample, silent] = 0
    raw["test"]["audio"][1] = 0
    expected = {split: real_frames(fields, "audio") for split, fields in raw.items()}
    if at_start:
        pad_at_start(raw)
    for split, features in load_features(save(raw)).items():
        assert_sequences(features.sequences["audio"], expected[split])


def test_zeros_before_the_frames_of_a_file_whose_padding_is_no_zeros(save):
    raw = short(make_raw())  # behind the frames: 77
    raw["train"]["audio"][1, 0] = 0
    for split, features in load_features(save(raw)).items():
        assert_sequences(features.sequences["audio"], real_frames(raw[split], "audio"))


@pytest.mark.parametrize("samples", [[2], [1, 2, 3]])
def test_a_split_with_both_places_is_refused(save, folder, samples):
    raw = padded_with_zeros(make_raw())
    for fields in raw.values():
        fields["audio_lengths"] = [3] * len(fields["id"])
    padded = {split: dict(fields) for split, fields in raw.items()}
    pad_at_start(padded)
    raw["train"]["audio"][samples] = padded["train"]["audio"][samples]
    path = save(raw)
    ids = ", ".join(f"'train$_${i}'" for i in samples)
    where = re.escape(f"{path}: {place('train', 'audio', samples[0])}: got only zeros in the first 3 frames")
    count = re.escape(f"({len(samples)} of 4 samples wrong: {ids}), expected one place for the padding")
    with pytest.raises(ValueError, match=f"{where}.*{count}.*; write the field again with the real frames first"):
        load_features(path)
    assert [file.name for file in folder.iterdir()] == ["features.pkl"]


def test_long_samples_of_both_places_are_refused_too(save):
    """No sample would lose all of its frames, but most would lose some."""
    raw = padded_with_zeros(make_raw())
    for fields in raw.values():
        fields["audio"][:] = np.random.default_rng(1).normal(size=fields["audio"].shape)
        fields["audio"][:, 5] = 0
        fields["audio_lengths"] = [5] * len(fields["id"])
    raw["train"]["audio"][1:] = np.roll(raw["train"]["audio"][1:], 1, axis=1)
    with pytest.raises(ValueError, match=r"3 of 4 samples wrong: .*one place for the padding"):
        load_features(save(raw))


def test_placement_by_hand():
    def frames(*real):
        return np.isin(np.arange(5), real)[:, None] * np.ones(2)

    cases = [  # frames that are not zero, length -> padded, at start, at end, lost
        (frames(0, 1), 2, (True, False, True, False)),
        (frames(3, 4), 2, (True, True, False, True)),
        (frames(1, 2, 3, 4), 4, (True, True, False, False)),
        (frames(1), 2, (True, False, True, False)),
        (frames(2, 3), 2, (True, False, True, True)),
        (frames(), 2, (True, False, False, False)),
        (frames(0, 1, 2, 3, 4), 5, (False, False, False, False)),
        (frames(4), 0, (False, False, False, False)),
    ]
    values, lengths, expected = zip(*cases, strict=True)
    got = placement(np.stack(values), np.array(lengths))
    assert [tuple(row) for row in np.stack(got, axis=1).tolist()] == list(expected)


# --- a list of arrays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [list, tuple, lambda arrays: np.array([*arrays, None], dtype=object)[:-1]])
@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("drop", [(), ("text_bert",)])
def test_frames_may_be_a_list_of_arrays(save, container, with_lengths, drop):
    raw = make_raw(drop)
    for fields in raw.values():
        fields["audio_lengths"] = [1 + i for i in range(len(fields["id"]))]
    expected = load_features(save(raw), standardise=True)
    for fields in raw.values():
        fields["audio"] = container(real_frames(fields, "audio"))
        if not with_lengths:
            del fields["audio_lengths"]
    assert_same(load_features(save(raw), standardise=True), expected)


def test_a_list_of_arrays_of_one_length_needs_no_lengths(save):
    raw = make_raw(("text_bert", "audio_lengths"))
    for fields in raw.values():
        fields["audio"] = list(fields["audio"])
    loaded = load_features(save(raw))
    assert loaded["test"].lengths("audio").tolist() == [FRAMES] * SIZES["test"]


def test_a_length_beyond_its_own_array_is_refused(save):
    raw = make_raw()
    raw["valid"]["audio"], raw["valid"]["audio_lengths"] = [np.ones((2, 3)), np.ones((4, 3))], [3, 3]
    path = save(raw)
    with pytest.raises(ValueError, match=re.escape(place("valid", "audio_lengths", 0)) + ": got length 3"):
        load_features(path)


@pytest.mark.parametrize("chunk", [1, 100, 2**24])
def test_pieces_are_the_real_frames(monkeypatch, chunk):
    monkeypatch.setattr("msa_core.data.frames.CHUNK", chunk)
    values = np.random.default_rng(0).normal(size=(6, 5, 2))
    lengths, starts = np.array([0, 1, 5, 2, 3, 4]), np.array([0, 4, 0, 1, 2, 0])
    expected = np.concatenate([v[s : s + n] for v, s, n in zip(values, starts, lengths, strict=True)])
    for held in (values, list(values)):
        released: list[int] = []
        pieces = list(Frames(held, lengths, starts).pieces(partial(released.append, 1)))
        np.testing.assert_array_equal(np.concatenate(pieces), expected.astype(np.float32))
        assert len(released) == len(pieces) == {1: 6, 100: 6, 2**24: 1}[chunk]
