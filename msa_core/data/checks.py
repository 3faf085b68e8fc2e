"""The checks of a feature file, field by field: whatever is wrong becomes one `ValueError`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from msa_core import SPLITS
from msa_core.data import plain

FRAME_MODALITIES = ("audio", "vision")
MODALITY_FIELDS = (*FRAME_MODALITIES, "raw_text", "text_bert")
UNIMODAL_LABEL_FIELDS = {
    "text": "regression_labels_T",
    "audio": "regression_labels_A",
    "vision": "regression_labels_V",
}
SHOWN_IDS = 5  # the largest number of ids in a message


class SplitChecks:
    """One split of the raw file, checked field by field; every failure is one message."""

    def __init__(self, path: Path, name: str, fields: Any) -> None:
        self.path, self.name = path, name
        self.ids: list[str] = []
        if not isinstance(fields, dict):
            self.fail("", got=type(fields).__name__, expected="a dict of fields", remedy="see load_features")
        self.fields = fields
        for required in ("id", "regression_labels"):
            if required not in fields:
                self.fail(
                    required, got=f"only {sorted(map(str, fields))}", expected="the field", remedy="add it to the file"
                )
        self.ids = [str(i) for i in self.entries("id", str | int | np.integer, "a string")]
        if not self.ids:
            self.fail("id", got="no samples", expected="at least one", remedy="give every split its samples")
        for field in (*MODALITY_FIELDS, *UNIMODAL_LABEL_FIELDS.values(), "regression_labels"):
            if field in fields and len(self.entries(field)) != len(self.ids):
                self.fail(
                    field,
                    got=f"{len(self.entries(field))} entries",
                    expected=f"{len(self.ids)}, one for each id",
                    remedy="write the file again with one entry a sample",
                )

    def fail(self, field: str, got: str, expected: str, remedy: str, sample: int | None = None) -> NoReturn:
        """Raise the `ValueError` of a field (empty: of the whole split) and, if it is known, of a sample's place."""
        where = f", field {field!r}" if field else ""
        which = f", id {self.ids[sample]!r}" if sample is not None else ""
        raise ValueError(f"{self.path}: split {self.name!r}{where}{which}: got {got}, expected {expected}; {remedy}")

    def entries(self, field: str, kind: Any = object, named: str = "") -> Any:
        """A field's values as they are in the file, each an instance of `kind`, which messages call `named`."""
        values = self.fields[field]
        if not isinstance(values, list | tuple | np.ndarray) or getattr(values, "ndim", 1) == 0:
            self.fail(field, got=type(values).__name__, expected="a list or an array", remedy="give one entry a sample")
        for sample, value in enumerate(values if kind is not object else ()):
            if not isinstance(value, kind):
                which = sample if len(self.ids) == len(values) else None
                self.fail(field, got=f"{value!r}", expected=named, remedy="mend the file", sample=which)
        return values

    def numbers(self, field: str, shape: str) -> NDArray:
        """A field as an array of numbers; `shape` is the expected one, such as "(N, T, D)"."""
        dimensions = shape.count(",") + (not shape.endswith(",)"))
        try:
            array = plain.numbers(self.entries(field))
            array = array.astype(np.float64) if array.dtype == object else array
        except (ValueError, TypeError):
            expected = f"numbers, {shape}"
            self.fail(field, got="values that make no array", expected=expected, remedy="write the field again")
        if array.shape == (len(self.ids), 1) and dimensions == 1:
            array = array[:, 0]
        if array.dtype.kind not in "biuf" or array.ndim != dimensions:
            self.fail(
                field,
                got=f"shape {array.shape} of {array.dtype}",
                expected=f"numbers, {shape}",
                remedy="write the field again; one vector a sample is a T of 1",
            )
        return array

    def labels(self, field: str, bound: float) -> NDArray:
        """Labels (N,) float32, each finite and within [-bound, bound]."""
        labels = self.numbers(field, "(N,)").astype(np.float32)
        self.refuse(
            field,
            ~(np.abs(labels) <= bound),  # also true of nan
            lambda sample: f"label {labels[sample]}",
            expected=f"a finite one within ±{bound}",
            remedy="mend the file, or set label_bound to the data set's own",
        )
        return labels

    def refuse(self, field: str, wrong: NDArray, got: Callable[[int], str], expected: str, remedy: str) -> None:
        """Fail if `wrong`, (N,), is true of a sample: with the value of the first, the number and the first ids."""
        places = wrong.nonzero()[0].tolist()
        if places:
            ids = ", ".join(repr(self.ids[place]) for place in places[:SHOWN_IDS]) + ", ..." * (len(places) > SHOWN_IDS)
            count = f"{len(places)} of {len(self.ids)} samples wrong: {ids}"
            self.fail(field, got=f"{got(places[0])} ({count})", expected=expected, remedy=remedy, sample=places[0])

    def lengths(self, field: str, lengths: NDArray, longest: int) -> NDArray:
        """Lengths (N,), each a whole number within 0..T."""
        if lengths.shape != (len(self.ids),):
            expected = f"({len(self.ids)},)"
            self.fail(field, got=f"shape {lengths.shape}", expected=expected, remedy="give one length a sample")
        self.refuse(
            field,
            ~((lengths >= 0) & (lengths <= longest)) | (lengths != np.floor(lengths)),
            lambda sample: f"length {lengths[sample]}",
            expected=f"a whole number within 0..{longest}, the number of frames",
            remedy="drop these samples, or correct their lengths (0: the sample lacks the modality)",
        )
        return lengths.astype(np.int64)

    def text_bert(self) -> tuple[NDArray, NDArray]:
        """Padded token ids (N, T) and lengths (N,), each within 0..T."""
        tokens = self.numbers("text_bert", "(N, 3, T)")
        if tokens.shape[1] != 3:
            expected = "(N, 3, T): ids, mask, types"
            self.fail("text_bert", got=f"shape {tokens.shape}", expected=expected, remedy="write the field again")
        mask = tokens[:, 1] != 0
        lengths = mask.sum(axis=1)
        self.refuse(
            "text_bert",
            (mask != (np.arange(tokens.shape[2]) < lengths[:, None])).any(axis=1),
            lambda sample: f"the mask {mask[sample].astype(int)}",
            expected="a mask of ones and then zeros",
            remedy="write the field again",
        )
        return tokens[:, 0], lengths

    def require_sequences(self, field: str, lengths: NDArray, optional: str) -> None:
        """Fail if all of train's lengths, (N,), are 0; `optional` is the field that can be left out."""
        if self.name == "train" and not lengths.any():
            self.fail(
                field,
                got=f"length 0 in all {len(lengths)} samples",
                expected="at least one sample of train that has the modality",
                remedy=f"leave the field {optional!r} out of every split",
            )

    def frames(self, modality: str, width: int | None = None) -> tuple[NDArray, NDArray]:
        """Padded frames (N, T, D) and lengths (N,), each within 0..T; `width` is the D that train has."""
        frames = self.numbers(modality, "(N, T, D)")
        field = f"{modality}_lengths"
        if field in self.fields:
            lengths = self.numbers(field, "(N,)")
        elif "text_bert" in self.fields:
            field, lengths = "text_bert", self.text_bert()[1]
        else:
            self.fail(
                field,
                got="neither it nor text_bert",
                expected="the number of real frames of each sample",
                remedy=f"add {field} to the file",
            )
        lengths = self.lengths(field, lengths, frames.shape[1])
        self.require_sequences(field, lengths, modality)
        if width is not None and frames.shape[2] != width:
            self.fail(
                modality,
                got=f"width {frames.shape[2]}",
                expected=f"{width}, as in train",
                remedy="extract all splits alike",
            )
        return frames, lengths


def checked_splits(path: Path, content: Any) -> dict[str, SplitChecks]:
    """The three splits of a file's content; each has the required fields, and no id occurs twice."""
    missing = [split for split in SPLITS if not isinstance(content, dict) or split not in content]
    if missing:
        got = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: got {got}, expected the splits {list(SPLITS)}; missing: {missing}; see load_features"
        )
    splits = {split: SplitChecks(path, split, content[split]) for split in SPLITS}
    owner: dict[str, str] = {}
    for name, split in splits.items():
        for sample, identity in enumerate(split.ids):
            if identity in owner:
                split.fail(
                    "id",
                    got=f"an id that split {owner[identity]!r} has already",
                    expected="ids unique across splits",
                    remedy="a sample in two splits spoils the test: remove one",
                    sample=sample,
                )
            owner[identity] = name
    return splits


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
                    remedy="extract all splits alike",
                )
    if not any(field in train.fields for field in MODALITY_FIELDS):
        train.fail(
            "", got=f"fields {sorted(train.fields)}", expected="text, audio or vision", remedy="see load_features"
        )
    return {field for field in (*MODALITY_FIELDS, *UNIMODAL_LABEL_FIELDS.values()) if field in train.fields}
