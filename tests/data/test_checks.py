"""Each test damages one thing of a sound file and reads the refusal."""

import re

import numpy as np
import pytest
from feature_files import FRAMES, LABELS, TEXT_FIELDS, WIDTHS, make_raw, place, refusal

from msa_core import MODALITIES, SPLITS
from msa_core.data import load_features, planted_tokenizer

LENGTHS = "audio_lengths"
UNIMODAL = ["regression_labels_T", "regression_labels_A", "regression_labels_V"]


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
    "length over T": (put("test", LENGTHS, 7, 2), place("test", LENGTHS, 2), "length 7", "0..6"),
    "length below 0": (put("train", "vision_lengths", -1, 3), place("train", "vision_lengths", 3), "length -1", "0..6"),
    **{
        f"no {modality} in train": (
            put("train", f"{modality}_lengths", [0, 0, 0, 0]),
            place("train", f"{modality}_lengths"),
            "length 0 in all 4 samples",
            "at least one sample",
        )
        for modality in WIDTHS
    },
    "no text in train": (
        both(lose("raw_text"), put("train", "text_bert", 0, np.s_[:, 1])),
        place("train", "text_bert"),
        "length 0 in all 4 samples",
        "at least one sample",
    ),
    "aligned, and no token in train": (
        both(lose("vision_lengths"), put("train", "text_bert", 0, np.s_[:, 1])),
        place("train", "text_bert"),
        "length 0 in all 4 samples",
        "at least one sample",
    ),
    "length not whole": (put("train", LENGTHS, 1.5, 0), place("train", LENGTHS, 0), "length 1.5", "a whole number"),
    "length nan": (put("train", LENGTHS, np.nan, 0), place("train", LENGTHS, 0), "length nan", "a whole number"),
    "too few lengths": (put("valid", LENGTHS, [1]), place("valid", LENGTHS), "shape (1,)", "(2,)"),
    "no lengths": (
        lose("text_bert", LENGTHS),
        place("train", LENGTHS),
        "neither it nor text_bert",
        "the number of real frames",
    ),
    "aligned, but fewer frames than tokens": (
        both(lose(LENGTHS), put("test", "audio", np.ones((3, 1, 3), np.float32))),
        place("test", "text_bert", 0),
        "length ",
        "0..1",
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


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_refusal_of_an_absent_modality_names_the_field_to_leave_out(save, modality):
    field = "text_bert" if modality == "text" else f"{modality}_lengths"
    raw = make_raw(("raw_text",))
    if modality == "text":
        raw["train"][field][:, 1] = 0
    else:
        raw["train"][field] = [0] * 4
    optional = "text_bert" if modality == "text" else modality
    with pytest.raises(ValueError, match=rf"; leave the field '{optional}' out of every split"):
        load_features(save(raw), planted_tokenizer())
    for fields in raw.values():
        del fields[optional]
    assert modality not in load_features(save(raw), planted_tokenizer())["train"].modalities  # the remedy works


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, -1, 1, 1], "id 'train$_$1': got length -1 (1 of 4 samples wrong: 'train$_$1'), expected"),
        ([7, 0, 9, 6], "id 'train$_$0': got length 7 (2 of 4 samples wrong: 'train$_$0', 'train$_$2'), expected"),
        ([1.5, np.nan, 2, 0], "id 'train$_$0': got length 1.5 (2 of 4 samples wrong: 'train$_$0', 'train$_$1'), exp"),
    ],
)
def test_a_refusal_counts_the_wrong_samples(save, lengths, message):
    raw = make_raw()
    raw["train"][LENGTHS] = lengths
    with pytest.raises(ValueError, match=re.escape(message)):
        load_features(save(raw))


@pytest.mark.parametrize("wrong", [5, 6, 40])
def test_a_refusal_shows_at_most_five_ids(save, wrong):
    raw = make_raw(("audio", LENGTHS, "vision", "vision_lengths", "text_bert"))
    raw["valid"] = {
        "id": [f"clip {i}" for i in range(50)],
        "raw_text": ["good"] * 50,
        LABELS: np.where(np.arange(50) < 50 - wrong, 0.0, 5.0),
    }
    for fields in raw.values():
        fields.pop("annotations", None)
    ids = ", ".join(f"'clip {i}'" for i in range(50 - wrong, 55 - wrong))
    more = ", ..." if wrong > 5 else ""
    with pytest.raises(ValueError, match=re.escape(f"got label 5.0 ({wrong} of 50 samples wrong: {ids}{more}), exp")):
        load_features(save(raw), planted_tokenizer())


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_split(save, split):
    raw = make_raw()
    del raw[split]
    path = save(raw)
    others = sorted(set(SPLITS) - {split})
    pattern = re.escape(f"{path}: got {others}, expected the splits {list(SPLITS)}; missing: ['{split}']; ")
    with pytest.raises(ValueError, match=pattern):
        load_features(path)


@pytest.mark.parametrize("content", [[1, 2], "text", None, np.ones(3)], ids=lambda content: type(content).__name__)
def test_not_a_dict_of_splits(save, content):
    path = save(content)
    pattern = re.escape(f"{path}: got {type(content).__name__}, expected the splits {list(SPLITS)}; ")
    with pytest.raises(ValueError, match=pattern):
        load_features(path)
