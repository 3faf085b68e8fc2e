"""The checks of a feature file across its splits."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from msa_core import SPLITS
from msa_core.data.checks import MODALITY_FIELDS, UNIMODAL_LABEL_FIELDS, SplitChecks, listed


def checked_splits(path: Path, content: Any) -> dict[str, SplitChecks]:
    """The three splits of a file's content; each has the required fields, train two samples, and no id occurs twice."""
    missing = [split for split in SPLITS if not isinstance(content, dict) or split not in content]
    if missing:
        got = f"[{listed(sorted(map(str, content)))}]" if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: got {got}, expected the splits {list(SPLITS)}; missing: {missing}; write one dict with a dict "
            "of fields for each split, see load_features"
        )
    splits = {split: SplitChecks(path, split, content[split]) for split in SPLITS}
    if len(splits["train"].ids) < 2:
        splits["train"].fail(
            "id",
            got="1 sample",
            expected="at least 2 in train: one sample has no covariance",
            remedy="give it more samples",
        )
    _refuse_repeated_ids(splits)
    return splits


def _refuse_repeated_ids(splits: dict[str, SplitChecks]) -> None:
    owner: dict[str, str] = {}
    for name, split in splits.items():
        seen: set[str] = set()
        twice, elsewhere = np.zeros(len(split.ids), bool), np.zeros(len(split.ids), bool)
        for place, identity in enumerate(split.ids):
            twice[place], elsewhere[place] = identity in seen, identity in owner
            seen.add(identity)
        expected = "ids unique across splits"
        split.refuse(
            "id",
            twice,
            partial(_repeated, owner=dict.fromkeys(split.ids, name), ids=split.ids),
            expected,
            remedy="if these samples are the same, keep one of each; else give each an id of its own",
        )
        split.refuse(
            "id",
            elsewhere,
            partial(_repeated, owner=owner, ids=split.ids),
            expected,
            remedy="if the ids are numbered anew in each split, put the split's name before them; if the samples are "
            "the same, keep each in one split, or the test split is part of the training",
        )
        owner |= dict.fromkeys(split.ids, name)


def _repeated(place: int, owner: dict[str, str], ids: list[str]) -> str:
    return f"an id that split {owner[ids[place]]!r} has already"


def common_fields(splits: dict[str, SplitChecks]) -> set[str]:
    """The optional fields of the file; each must be in every split or in none, and one must hold a modality."""
    train = splits["train"]
    for split in splits.values():
        for field in (*MODALITY_FIELDS, *UNIMODAL_LABEL_FIELDS.values()):
            if (field in split.fields) != (field in train.fields):
                split.fail(
                    field,
                    got="it here and not in train" if field in split.fields else "it in train and not here",
                    expected="the same fields in every split",
                    remedy="add the field to every split, or leave it out of all",
                )
    if not any(field in train.fields for field in MODALITY_FIELDS):
        states = "; the field 'text' (precomputed states) is not read" * ("text" in train.fields)
        train.fail(
            "",
            got=f"fields [{listed(sorted(map(str, train.fields)))}]{states}",
            expected="text, audio or vision",
            remedy=f"add one of the fields {', '.join(MODALITY_FIELDS)}",
        )
    return {field for field in (*MODALITY_FIELDS, *UNIMODAL_LABEL_FIELDS.values()) if field in train.fields}
