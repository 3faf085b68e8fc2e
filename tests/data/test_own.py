"""Feature files of one's own. Oracles: the table and arrays that a file was made from."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from feature_files import LABELS, SIZES, assert_sequences, make_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_core import SPLITS, check_features, write_features
from msa_core.data import load_features, planted_tokenizer


def table(rows=9):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": [f"clip-{row}" for row in range(rows)],
            "split": [SPLITS[row % 3] for row in range(rows)],
            "text": ["the plot was good"] * rows,
            "label": rng.uniform(-3, 3, rows),
            "label_audio": rng.uniform(-3, 3, rows),
        }
    )
    audio = [rng.normal(size=(length, 4)) for length in range(1, rows + 1)]
    vision = [None if row == 4 else rng.normal(size=(3, 2)).astype(np.float32) for row in range(rows)]
    return frame, audio, vision


def test_what_is_written_is_what_is_read(tmp_path):
    frame, audio, vision = table()
    frame["id"] = range(100, 109)
    write_features(frame, audio, vision, tmp_path / "own.pkl")
    assert [file.name for file in tmp_path.iterdir()] == ["own.pkl"]
    assert check_features(tmp_path / "own.pkl") == []
    data = load_features(tmp_path / "own.pkl", planted_tokenizer())
    for split, features in data.items():
        rows = frame.index[frame["split"] == split]
        assert features.ids == frame["id"][rows].astype(str).tolist()
        assert features.raw_text == frame["text"][rows].tolist()
        np.testing.assert_array_equal(features.labels, frame["label"][rows].astype(np.float32))
        np.testing.assert_array_equal(features.unimodal_labels["audio"], frame["label_audio"][rows].astype(np.float32))
        assert_sequences(features.sequences["audio"], [audio[row].astype(np.float32) for row in rows])
        expected = [np.empty((0, 2)) if vision[row] is None else vision[row] for row in rows]
        assert_sequences(features.sequences["vision"], expected)
    assert (data["valid"].present["vision"].tolist(), data["train"].present) == ([True, False, True], {})


@settings(max_examples=10)
@given(st.lists(st.integers(0, 5), min_size=9, max_size=9))
def test_any_lengths_survive(tmp_path_factory, lengths):
    """Also where all are equal, and where they are 0 (of train, one sample must have frames)."""
    frame, _, _ = table()
    audio = [np.full((max(length, int(row == 0)), 2), float(row)) for row, length in enumerate(lengths)]
    path = tmp_path_factory.mktemp("own") / "own.pkl"
    write_features(frame.drop(columns="text"), audio, None, path)
    for split, features in load_features(path).items():
        assert features.modalities == ("audio",)
        assert_sequences(features.sequences["audio"], audio[SPLITS.index(split) :: 3])


def test_a_file_to_be_predicted_needs_no_splits_and_no_labels(tmp_path):
    frame, audio, vision = table()
    write_features(frame[["id", "text"]], audio, vision, tmp_path / "flat.pkl")
    write_features(frame.drop(columns=["label", "label_audio"])[1::3], audio[1::3], None, tmp_path / "valid.pkl")
    for name in ("flat.pkl", "valid.pkl"):
        assert check_features(tmp_path / name, labelled=False) == []
    (problem,) = check_features(tmp_path / "flat.pkl")
    assert re.search(r"flat\.pkl: got \['audio', 'id', .*\], expected the splits .*; write one dict", problem)


def test_a_shard_has_some_of_the_splits(tmp_path):
    frame, audio, vision = table()
    for name, splits in {"a": ["train"], "b": ["train", "valid", "test"]}.items():
        rows = frame.index[frame["split"].isin(splits)]
        own = frame.loc[rows].assign(id=name + frame["id"][rows])
        write_features(own, [audio[i] for i in rows], [vision[i] for i in rows], tmp_path / f"{name}.pkl", shard=True)
    assert check_features(tmp_path / "a.pkl", shard=True) == []
    assert "missing: ['valid', 'test']" in check_features(tmp_path / "a.pkl")[0]
    data = load_features([tmp_path / "a.pkl", tmp_path / "b.pkl"])
    assert {split: len(features) for split, features in data.items()} == {"train": 6, "valid": 3, "test": 3}


def test_numbers_that_are_written_as_text_are_labels(tmp_path):
    frame, audio, vision = table()
    write_features(frame.assign(label=frame["label"].astype(str)), audio, vision, tmp_path / "text.pkl")
    write_features(frame, audio, vision, tmp_path / "numbers.pkl")
    read = [load_features(tmp_path / name)["train"].labels for name in ("text.pkl", "numbers.pkl")]
    torch.testing.assert_close(*read)


def changed(**columns):
    return lambda frame, audio, vision: (frame.assign(**columns), audio, vision)


REFUSALS = {
    "no frame": (lambda _, audio, vision: ([1], audio, vision), r"frame: got list, expected a pandas DataFrame"),
    "no id": (lambda frame, audio, vision: (frame.drop(columns="id"), audio, vision), r"got columns \['split'"),
    "a misspelt column": (changed(lable=1.0), r"got the column 'lable', .* rename it; did you mean 'label'\?"),
    "another split": (
        changed(split="dev"),
        r"frame, column 'split': got 'dev' \(9 of 9 samples wrong: 'clip-0', .*\), expected one of \['train'",
    ),
    "a blank label": (
        changed(label=["1", "", *"0000000"]),  # as read_csv gives them with keep_default_na=False
        r"frame, column 'label': got '' \(1 of 9 samples wrong: 'clip-1'\), expected a number for each sample; drop",
    ),
    "a missing label": (changed(label_audio=np.nan), r"column 'label_audio': got nan \(9 of 9 .*, expected a number"),
    "labels without splits": (
        lambda frame, audio, vision: (frame.drop(columns="split"), audio, vision),
        r"got labels without splits, expected a column 'split'; add it, or leave 'label' out",
    ),
    "too few arrays": (
        lambda frame, audio, vision: (frame, audio[1:], vision),
        r"audio: got 8 arrays, expected 9, one for each row of the frame; give None",
    ),
    "a vector": (
        lambda frame, audio, vision: (frame, audio, [*vision[:-1], np.ones(2)]),
        r"vision, row 8: got shape \(2,\), expected frames \(T, D\); one vector",
    ),
    "no numbers": (
        lambda frame, audio, vision: (frame, [*audio[:-1], [["loud"]]], vision),
        r"audio, row 8: got what makes no array of numbers",
    ),
    "no frames": (
        lambda frame, _, vision: (frame, [None] * 9, vision),
        r"audio: got no frames of any sample, expected some; give audio=None",
    ),
    "two widths": (
        lambda frame, audio, vision: (frame, [*audio[:-1], np.ones((2, 7))], vision),
        r"own\.pkl: split 'test', field 'audio', id 'clip-8': got frames \(2, 7\)",
    ),
    "a label off the scale": (changed(label=9.0), r"own\.pkl: split 'train', field 'regression_labels', .*got label 9"),
    "an id twice": (changed(id="a"), r"own\.pkl: split 'train', field 'id', id 'a': got an id that split 'train' has"),
    "a text missing": (changed(text=None), r"field 'raw_text', id 'clip-0': got NoneType .*, expected a string"),
    "no test split": (
        lambda frame, audio, vision: (frame[:2], audio[:2], vision[:2]),
        r"own\.pkl: got \['train', 'valid'\], expected the splits",
    ),
}


@pytest.mark.parametrize(("damage", "message"), REFUSALS.values(), ids=REFUSALS)
def test_bad_input_is_one_error_and_leaves_no_file(damage, message, tmp_path):
    with pytest.raises(ValueError, match="^write_features: .*" + message):
        write_features(*damage(*table()), tmp_path / "own.pkl")
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_overwritten(tmp_path):
    (tmp_path / "own.pkl").write_text("mine")
    with pytest.raises(FileExistsError, match=r"own\.pkl: is there already and is not overwritten"):
        write_features(*table(), tmp_path / "own.pkl")
    assert (tmp_path / "own.pkl").read_text() == "mine"


def test_every_problem_is_reported_at_once(save):
    """Nine fields and splits are damaged, one of them in two ways; loading stops at the first."""
    raw = make_raw()
    raw["train"][LABELS][1:3] = np.nan, 7
    raw["valid"][LABELS] = raw["valid"][LABELS][:1]
    raw["test"]["id"][0] = "train$_$0"
    raw["train"]["audio"][:, :, 2] = np.inf
    raw["train"]["vision_lengths"][0] = 99
    raw["valid"]["audio"] = np.ones((2, 6, 8), np.float32)
    raw["valid"]["raw_text"][1] = 5
    raw["test"]["text_bert"][:, 1] = 0.5
    del raw["test"]["audio"]
    path = save(raw)
    problems = check_features(path)
    expected = [
        r"split 'test', field 'id', id 'train\$_\$0': got an id that split 'train' has already",
        r"split 'test', field 'audio': got it in train and not here",
        r"split 'train', field 'regression_labels', id 'train\$_\$1': got label nan \(1 of 4",
        r"split 'train', field 'regression_labels', id 'train\$_\$2': got label 7\.0 \(1 of 4",
        r"split 'train', field 'vision_lengths', id 'train\$_\$0': got length 99",
        r"split 'valid', field 'regression_labels': got 1 entries, expected 2",
        r"split 'valid', field 'raw_text', id 'valid\$_\$1': got 5",
        r"split 'valid', field 'audio': got width 8, expected 3, as in train",
        r"split 'test', field 'text_bert', id 'train\$_\$0': got the mask",
        r"split 'train', field 'audio': got no readable value of 1 of 3 features \(number 2\)",
    ]
    assert len(problems) == len(expected)
    for problem, pattern in zip(problems, expected, strict=True):
        assert re.match(rf"{re.escape(str(path))}: {pattern}.*; .+", problem) and ", expected " in problem
    with pytest.raises(ValueError, match=re.escape(problems[0])):
        load_features(path)


def test_what_cannot_be_read_at_all_is_one_problem(save):
    assert "expected a pickle" in check_features(save(b"id,label\n1,2\n"))[0]
    assert len(check_features(save({"train": make_raw()["train"]}))) == 1
    problems = check_features(save({"train": [], "valid": make_raw()["valid"], "test": make_raw()["test"]}))
    assert len(problems) == 1 and "split 'train': got list, expected a dict of fields" in problems[0]
    raw = make_raw(("raw_text", "text_bert"))
    for split, size in SIZES.items():
        raw[split]["text"] = torch.zeros(size, 2, 768).numpy()
    assert re.search(r"field 'text': got precomputed states as the only text", check_features(save(raw))[0])
    with pytest.raises(FileNotFoundError, match=r"no\.pkl: no such feature file"):
        check_features(save(raw).with_name("no.pkl"))
