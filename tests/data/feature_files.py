"""Small, sound feature files, and what the tests of reading share."""

import re

import numpy as np
import torch

from msa_core import SPLITS
from msa_core.vocabulary import VOCABULARY

SIZES = {"train": 4, "valid": 2, "test": 3}
WIDTHS = {"audio": 3, "vision": 2}
FRAMES = 6  # T, of the frames and of text_bert
PADDING = 77.0  # the values behind a sequence's end, which nothing may read
TEXT_FIELDS = ("raw_text", "text_bert")
LABELS = "regression_labels"


def make_raw(drop=(), seed=0):
    """A sound file's content, but for the fields named in `drop`."""
    rng = np.random.default_rng(seed)
    raw = {}
    for split, size in SIZES.items():
        text = [" ".join(rng.choice(VOCABULARY[4:], rng.integers(1, FRAMES - 1))) for _ in range(size)]
        fields = {
            "id": [f"{split}$_${i}" for i in range(size)],
            "raw_text": text,
            "text_bert": bert_field(text),
            "regression_labels": rng.uniform(-3, 3, size).astype(np.float32),
            "annotations": ["Neutral"] * size,
        }
        for modality, width in WIDTHS.items():
            lengths = rng.integers(1, FRAMES + 1, size)
            frames = rng.normal(3, 2, (size, FRAMES, width)).astype(np.float32)
            frames[np.arange(FRAMES) >= lengths[:, None]] = PADDING
            fields |= {modality: frames, f"{modality}_lengths": lengths.tolist()}
        raw[split] = {name: field for name, field in fields.items() if name not in drop}
    return raw


def token_ids(text):
    return [VOCABULARY.index(word) for word in ("[CLS]", *text.split(), "[SEP]")]


def bert_field(texts):
    """(N, 3, T): ids, mask, types, as float32, which is how some files hold them."""
    field = np.zeros((len(texts), 3, FRAMES), dtype=np.float32)
    field[:, 0] = PADDING
    for row, ids in zip(field, map(token_ids, texts), strict=True):
        row[0, : len(ids)], row[1, : len(ids)] = ids, 1
    return field


def real_frames(fields, modality, lengths=None):
    lengths = fields[f"{modality}_lengths"] if lengths is None else lengths
    return [frames[: int(length)] for frames, length in zip(fields[modality], lengths, strict=True)]


def assert_sequences(ragged, expected):
    assert len(ragged) == len(expected)
    for i, sequence in enumerate(expected):
        np.testing.assert_array_equal(ragged[i], sequence)


def assert_same(one, other):
    """Two readings agree in all that they hold."""
    for split in SPLITS:
        a, b = one[split], other[split]
        assert (a.ids, a.raw_text, a.modalities) == (b.ids, b.raw_text, b.modalities)
        assert torch.equal(a.labels, b.labels)
        for modality in a.modalities:
            assert torch.equal(a.sequences[modality].values, b.sequences[modality].values)
            assert torch.equal(a.sequences[modality].offsets, b.sequences[modality].offsets)


def refusal(path, where, got="", expected=""):
    """Pattern of a refusal: file, place, value, expected value and remedy."""
    return re.escape(f"{path}: {where}: got {got}") + ".*, expected .*" + re.escape(expected) + ".*; .+"


def place(split, field, sample=None):
    """Where a refusal says that the error is."""
    return f"split '{split}', field '{field}'" + (f", id '{split}$_${sample}'" if sample is not None else "")


def forbid_reading(monkeypatch):
    """Whatever is loaded from now on is from a cache."""

    def read_pickle(path):
        raise AssertionError(f"{path} is read, and not its cache")

    monkeypatch.setattr("msa_core.data.cache.read_pickle", read_pickle)


def names_in(folder):
    """The files of a folder but the record of the hash, which is written once the file is old enough."""
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".source"))
