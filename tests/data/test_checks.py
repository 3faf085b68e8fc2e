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
    "audio of unlike widths": (put("valid", "audio", [np.ones((2, 3)), np.ones((4, 2))]), place("valid", "audio")),
    "a part of audio": (put("valid", "audio", [np.ones((2, 3)), None]), place("valid", "audio")),
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


HALF = "\ud83d"  # of a surrogate pair
REMEDIES = {  # case -> (damage, what is said of it, the remedy for this cause)
    "ids numbered anew in each split": (
        lambda raw: [fields.update(id=list(range(len(fields["id"])))) for fields in raw.values()],
        "split 'valid', field 'id', id '0': got an id that split 'train' has already (2 of 2 samples wrong: '0', '1')",
        "if the ids are numbered anew in each split, put the split's name before them",
    ),
    "the same id twice": (
        put("test", "id", "test$_$0", 2),
        "got an id that split 'test' has already (1 of 3 samples wrong: 'test$_$0')",
        "if these samples are the same, keep one of each; else give each an id of its own",
    ),
    "labels that are nan": (
        put("train", LABELS, np.nan, np.s_[1:]),
        "got label nan (3 of 4 samples wrong: 'train$_$1', 'train$_$2', 'train$_$3')",
        "drop these samples, or give them labels",
    ),
    "unimodal labels that are nan": (
        both(unimodal, put("train", "regression_labels_T", np.nan, 0)),
        "got label nan (1 of 4 samples wrong: 'train$_$0')",
        "drop these samples, or leave this field out of every split",
    ),
    "labels on a wider scale": (
        put("valid", LABELS, np.array([4.0, -5])),
        "got label 4.0 (2 of 2 samples wrong: 'valid$_$0', 'valid$_$1')",
        "if the data set's scale is wider (the largest here is 5), set label_bound to it; else correct these labels",
    ),
    "texts that are none": (
        put("valid", "raw_text", [None, 3.5]),
        "got NoneType (2 of 2 samples wrong: 'valid$_$0', 'valid$_$1'), expected a string",
        "write these entries as strings (an empty transcript is ''), or drop these samples",
    ),
    "half a surrogate pair in a text": (
        put("test", "raw_text", f"good {HALF} movie", 1),
        "(1 of 3 samples wrong: 'test$_$1'), expected whole Unicode characters",
        "read the source again with its own encoding, or remove these characters",
    ),
    "half a surrogate pair in an id": (
        put("test", "id", HALF, 1),
        "(1 of 3 samples wrong: 'number 1'), expected whole Unicode characters",
        "read the source again with its own encoding, or remove these characters",
    ),
    "frames of width 0": (
        put("train", "audio", np.ones((4, FRAMES, 0))),
        "split 'train', field 'audio': got frames of width 0, expected at least one feature",
        "extract the features again, or leave the field 'audio' out of every split",
    ),
    "frames of width 0 in a list": (
        put("train", "audio", [np.ones((FRAMES + i, 0)) for i in range(4)]),
        "split 'train', field 'audio': got frames of width 0, expected at least one feature",
        "extract the features again, or leave the field 'audio' out of every split",
    ),
    "token ids that are not whole": (
        both(lose("raw_text"), put("valid", "text_bert", 0.5, np.s_[:, 0, 0])),
        "(2 of 2 samples wrong: 'valid$_$0', 'valid$_$1'), expected whole numbers",
        "write the field again with the tokenizer's ids; states of a text encoder are no token ids",
    ),
    "token ids that are nan": (
        put("valid", "text_bert", np.nan, np.s_[0, 0, 1]),
        "(1 of 2 samples wrong: 'valid$_$0'), expected whole numbers",
        "write the field again with the tokenizer's ids; states of a text encoder are no token ids",
    ),
    "tokens padded at their start": (
        lambda raw: raw["test"].update(text_bert=raw["test"]["text_bert"][:, :, ::-1]),
        "expected a mask of ones and then zeros",
        "write the field again with the padding behind the tokens",
    ),
    "a mask of halves": (
        put("test", "text_bert", 0.5, np.s_[0, 1, 0]),
        "(1 of 3 samples wrong: 'test$_$0'), expected a mask of ones and then zeros",
        "write the field again with the padding behind the tokens",
    ),
    "one sample to train on": (
        lambda raw: raw.update(train={name: field[:1] for name, field in raw["train"].items()}),
        "split 'train', field 'id': got 1 sample, expected at least 2 in train: one sample has no covariance",
        "give it more samples",
    ),
    "aligned, but fewer frames than tokens": (
        both(lose(LENGTHS), put("test", "audio", np.ones((3, 1, 3), np.float32))),
        "(3 of 3 samples wrong: 'test$_$0', 'test$_$1', 'test$_$2'), expected a whole number within 0..1",
        "the file has no lengths of its own for these frames: add them, or align the frames with the tokens",
    ),
    "one vector a sample": (
        put("valid", "vision", np.ones((2, 2))),
        "got shape (2, 2) of float64, expected numbers, (N, T, D)",
        "write the field again as an array of this shape; one vector a sample is a T of 1",
    ),
}


@pytest.mark.parametrize("case", REMEDIES)
def test_the_remedy_fits_the_cause(save, folder, case):
    damage, said, remedy = REMEDIES[case]
    raw = make_raw()
    damage(raw)
    with pytest.raises(ValueError, match=re.escape(said) + ".*; " + re.escape(remedy)) as refused:
        load_features(save(raw), planted_tokenizer())
    assert len(str(refused.value)) < 1000
    assert [file.name for file in folder.iterdir()] == ["features.pkl"]


def test_a_message_never_shows_a_long_value_whole(save):
    raw = make_raw()
    raw["valid"]["id"] = [["x" * 10**6] * 10**3, "a"]
    raw["train"] |= {f"field {i}": [] for i in range(1000)}
    for damage in (lambda: None, lambda: raw["train"].pop("id")):
        damage()
        with pytest.raises(ValueError, match="; ") as refused:
            load_features(save(raw))
        assert len(str(refused.value)) < 1000


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
