"""The checks of a feature file across its splits."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from msa_core import SPLITS
from msa_core.data.checks import MODALITY_FIELDS, OPTIONAL_FIELDS, SplitChecks
from msa_core.data.messages import WHOLE, listed


def checked_splits(path: Path, content: Any, labelled: bool = True, shard: bool = False) -> dict[str, SplitChecks]:
    """The splits of a file's content; each has ids, none of them twice, and the same fields as the others.

    Args:
        path: of the file, for messages.
        content: what its pickle holds.
        labelled: True: the file is to be trained on: it has all splits, and train two samples. False: it is to be
            predicted: it has one split or several, or the fields themselves, which are the split `WHOLE`.
        shard: True: the file is one of several that are trained on together, and has some of the splits.

    Raises:
        ValueError: anything else.
    """
    fields = splits_in(content, labelled)
    for problem in missing_splits(path, content, fields, labelled, shard):
        raise ValueError(problem)
    splits = {name: SplitChecks(path, name, fields[name], labelled, shard) for name in fields}
    for problem in problems_across(splits):
        raise ValueError(problem)
    return splits


def splits_in(content: Any, labelled: bool) -> dict[str, Any]:
    """Name -> fields of each split that is there; arguments as in `checked_splits`."""
    if not isinstance(content, dict):
        return {}
    splits = {split: content[split] for split in SPLITS if split in content}
    return splits or ({WHOLE: content} if not labelled and "id" in content else {})


def missing_splits(
    path: Path, content: Any, splits: Mapping[str, Any], labelled: bool, shard: bool = False
) -> Iterator[str]:
    """What is to be said of splits that are not there; arguments as in `checked_splits`."""
    got = f"[{listed(sorted(map(str, content)))}]" if isinstance(content, dict) else type(content).__name__
    missing = [split for split in SPLITS if split not in splits]
    if labelled and not shard and missing:
        yield (
            f"{path}: got {got}, expected the splits {list(SPLITS)}; missing: {missing}; write one dict with a dict "
            "of fields for each split, see load_features"
        )
    elif labelled and not splits:
        yield (
            f"{path}: got {got}, expected some of the splits {list(SPLITS)}; write one dict with a dict of fields for "
            "each split that it has, see load_features"
        )
    elif not splits:
        yield (
            f"{path}: got {got}, expected some of the splits {list(SPLITS)}, or the fields of one, 'id' among them; "
            "write one dict of fields, or one with a dict of fields for each split, see load_features"
        )


def problems_across(splits: Mapping[str, SplitChecks]) -> Iterator[str]:
    """What is wrong with splits beside each other, one message after the other."""
    for split in splits.values():
        if split.must_suffice and len(split.ids) < 2:
            yield split.message(
                "id",
                got="1 sample",
                expected="at least 2 in train: one sample has no covariance",
                remedy="give it more samples",
            )
    yield from _repeated_ids(splits)
    yield from _uneven_fields(splits)
    for first in list(splits.values())[:1]:
        if not any(field in first.fields for field in MODALITY_FIELDS):
            states = "; the field 'text' (precomputed states) is not read" * ("text" in first.fields)
            yield first.message(
                "",
                got=f"fields [{listed(sorted(map(str, first.fields)))}]{states}",
                expected="text, audio or vision",
                remedy=f"add one of the fields {', '.join(MODALITY_FIELDS)}",
            )


def _repeated_ids(splits: Mapping[str, SplitChecks]) -> Iterator[str]:
    owner: dict[str, str] = {}
    for name, split in splits.items():
        seen: set[str] = set()
        twice, elsewhere = np.zeros(len(split.ids), bool), np.zeros(len(split.ids), bool)
        for place, identity in enumerate(split.ids):
            twice[place], elsewhere[place] = identity in seen, identity in owner
            seen.add(identity)
        expected = "ids unique across splits"
        problems = (
            split.problem(
                "id",
                twice,
                partial(_repeated, owner=dict.fromkeys(split.ids, name), ids=split.ids),
                expected,
                remedy="if these samples are the same, keep one of each; else give each an id of its own",
            ),
            split.problem(
                "id",
                elsewhere,
                partial(_repeated, owner=owner, ids=split.ids),
                expected,
                remedy="if the ids are numbered anew in each split, put the split's name before them; if the samples "
                "are the same, keep each in one split, or the test split is part of the training",
            ),
        )
        yield from filter(None, problems)
        owner |= dict.fromkeys(split.ids, name)


def _repeated(place: int, owner: dict[str, str], ids: list[str]) -> str:
    return f"an id that split {owner[ids[place]]!r} has already" if owner[ids[place]] else "an id that is there already"


def _uneven_fields(splits: Mapping[str, SplitChecks]) -> Iterator[str]:
    """Each optional field must be in every split or in none."""
    for name, split in splits.items():
        first = next(iter(splits))
        for field in OPTIONAL_FIELDS:
            if (field in split.fields) != (field in splits[first].fields):
                there, lacking = (name, first) if field in split.fields else (first, name)
                yield split.message(
                    field,
                    got=f"it {'here' if there == name else f'in {there}'} and not "
                    f"{'here' if lacking == name else f'in {lacking}'}",
                    expected="the same fields in every split",
                    remedy="add the field to every split, or leave it out of all",
                )
