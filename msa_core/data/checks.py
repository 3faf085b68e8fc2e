"""The checks of a feature file, field by field: whatever is wrong becomes one `ValueError`."""

import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from msa_core.data import limits, plain
from msa_core.data.frames import Frames, placement
from msa_core.data.messages import listed, located, refuse_any, shown

FRAME_MODALITIES = ("audio", "vision")
MODALITY_FIELDS = (*FRAME_MODALITIES, "raw_text", "text_bert")
UNIMODAL_LABEL_FIELDS = {
    "text": "regression_labels_T",
    "audio": "regression_labels_A",
    "vision": "regression_labels_V",
}
LABEL_FIELDS = ("regression_labels", *UNIMODAL_LABEL_FIELDS.values())
OPTIONAL_FIELDS = (*MODALITY_FIELDS, *UNIMODAL_LABEL_FIELDS.values())
WHOLE_NUMBERS = 2**53  # float64 holds every whole number below it


class SplitChecks:
    """One split of the raw file, checked field by field; every failure is one message.

    Where a field has several kinds of wrong samples, the later ones are notes of the `ValueError` of the first.

    Args:
        path: of the file, for messages.
        name: of the split, or `WHOLE`.
        fields: name -> values.
        labelled: False: the split is to be predicted. Its labels are not read, and train need not have each modality.
        shard: True: the file is one of several, and train need not have each modality.
    """

    def __init__(self, path: Path, name: str, fields: Any, labelled: bool = True, shard: bool = False) -> None:
        self.path, self.name, self.labelled = path, name, labelled
        self.trained_on = labelled and name == "train"
        self.must_suffice = self.trained_on and not shard
        self.ids: list[str] = []
        if not isinstance(fields, dict):
            self.fail("", got=type(fields).__name__, expected="a dict of fields", remedy="see load_features")
        self.fields = {field: fields[field] for field in fields if labelled or field not in LABEL_FIELDS}
        self.ids = [str(i) for i in self.strings("id", str | int | np.integer)]
        if not self.ids:
            self.fail("id", got="no samples", expected="at least one", remedy="give every split its samples")

    def fail(self, field: str, got: str, expected: str, remedy: str, sample: int | None = None) -> NoReturn:
        """Raise the `ValueError` of a field (empty: of the whole split) and, if it is known, of a sample's place."""
        raise ValueError(self.message(field, got, expected, remedy, sample))

    def message(self, field: str, got: str, expected: str, remedy: str, sample: int | None = None) -> str:
        """What `fail` says."""
        which = f", id {self.ids[sample]!r}" if sample is not None else ""
        return f"{located(self.path, self.name, field)}{which}: got {got}, expected {expected}; {remedy}"

    def refuse(self, field: str, wrong: NDArray, got: Callable[[int], str], expected: str, remedy: str) -> None:
        """Fail if `wrong`, (N,), is true of a sample: with the value of the first, the number and the first ids."""
        refuse_any(self.problem(field, wrong, got, expected, remedy))

    def problem(self, field: str, wrong: NDArray, got: Callable[[int], str], expected: str, remedy: str) -> str | None:
        """What `refuse` says; None: no sample is wrong."""
        places = wrong.nonzero()[0].tolist()
        if not places:
            return None
        ids = listed([self._identity(place) for place in places])
        count = f"{len(places)} of {len(wrong)} samples wrong: {ids}"
        return self.message(field, f"{got(places[0])} ({count})", expected, remedy, places[0] if self.ids else None)

    def _identity(self, place: int) -> str:
        return self.ids[place] if self.ids else f"number {place}"  # while the ids themselves are read

    def entries(self, field: str) -> Any:
        """A field's values as they are in the file, one for each id."""
        if field not in self.fields:
            self.fail(
                field,
                got=f"only [{listed(sorted(map(str, self.fields)))}]",
                expected="the field",
                remedy="add it to the file",
            )
        values = self.fields[field]
        if not isinstance(values, list | tuple | np.ndarray) or getattr(values, "ndim", 1) == 0:
            self.fail(field, got=type(values).__name__, expected="a list or an array", remedy="give one entry a sample")
        if len(values) > limits.OPERATIONS:  # an array may announce any number of entries
            self.fail(field, f"{len(values)} entries", f"at most {limits.OPERATIONS}", "split the file")
        if field in (*MODALITY_FIELDS, *LABEL_FIELDS) and len(values) != len(self.ids):
            self.fail(
                field,
                got=f"{len(values)} entries",
                expected=f"{len(self.ids)}, one for each id",
                remedy="write the file again with one entry a sample",
            )
        return values

    def strings(self, field: str, kind: Any = str) -> Any:
        """A field's values, each an instance of `kind` that UTF-8 can write."""
        values = self.entries(field)
        refuse_any(
            self.problem(
                field,
                np.array([not isinstance(value, kind) for value in values], bool),
                lambda sample: shown(values[sample]),
                expected="a string",
                remedy="write these entries as strings (an empty transcript is ''), or drop these samples",
            ),
            self.problem(
                field,
                np.array([isinstance(value, kind) and not _is_unicode(value) for value in values], bool),
                lambda sample: shown(values[sample]),
                expected="whole Unicode characters (it holds half of a surrogate pair)",
                remedy="read the source again with its own encoding, or remove these characters",
            ),
        )
        return values

    def numbers(self, field: str, shape: str) -> NDArray:
        """A field as an array of numbers; `shape` is the expected one, such as "(N, T, D)"."""
        dimensions = shape.count(",") + (not shape.endswith(",)"))
        entries = self.entries(field)
        try:
            array = plain.numbers(entries)
            array = array.astype(np.float64) if array.dtype == object else array
        except (ValueError, TypeError, OverflowError):
            self.fail(
                field,
                got="values that make no array",
                expected=f"numbers, {shape}",
                remedy="write the field again as one numpy array of numbers",
            )
        if array.shape == (len(self.ids), 1) and dimensions == 1:
            array = array[:, 0]
        if array.dtype.kind not in "biuf" or array.ndim != dimensions:
            hint = "; one vector a sample is a T of 1" if dimensions == 3 and array.ndim == 2 else ""
            self.fail(
                field,
                got=f"shape {array.shape} of {array.dtype}",
                expected=f"numbers, {shape}",
                remedy=f"write the field again as an array of this shape{hint}",
            )
        return array

    def labels(self, field: str, bound: float) -> NDArray:
        """Labels (N,) float32, each finite and within [-bound, bound]."""
        with np.errstate(over="ignore"):
            labels = self.numbers(field, "(N,)").astype(np.float32)
        unlabelled = (
            "drop these samples, or leave this field out of every split"
            if field != "regression_labels"
            else "drop these samples, or give them labels"
        )
        finite = np.isfinite(labels)
        refuse_any(
            self.problem(
                field,
                ~finite,
                lambda sample: f"label {labels[sample]}",
                expected=f"a finite one within ±{bound}",
                remedy=unlabelled,
            ),
            self.problem(
                field,
                finite & (np.abs(labels) > bound),
                lambda sample: f"label {labels[sample]}",
                expected=f"a finite one within ±{bound}",
                remedy="if the data set's scale is wider (the largest here is "
                f"{np.abs(labels[finite]).max(initial=0):g}), set label_bound to it; else correct these labels",
            ),
        )
        return labels

    def lengths(self, field: str, lengths: NDArray, longest: NDArray) -> NDArray:
        """Lengths (N,), each a whole number within 0..T; `longest` is T of each sample, (N,)."""
        if lengths.shape != (len(self.ids),):
            self.fail(
                field,
                got=f"shape {lengths.shape}",
                expected=f"({len(self.ids)},)",
                remedy="give one length a sample",
            )
        aligned = (
            "the file has no lengths of its own for these frames: add them, or align the frames with the tokens"
            if field == "text_bert"
            else "correct these lengths (0: the sample lacks the modality), or drop these samples"
        )
        self.refuse(
            field,
            ~((lengths >= 0) & (lengths <= longest)) | (lengths != np.floor(lengths)),
            lambda sample: f"length {lengths[sample]}",
            expected=f"a whole number within 0..{longest.max()}, the number of frames",
            remedy=aligned,
        )
        return lengths.astype(np.int64)

    def text_bert(self) -> tuple[NDArray, NDArray]:
        """Padded token ids (N, T), whole numbers where the mask is 1, and lengths (N,), each within 0..T."""
        tokens = self.numbers("text_bert", "(N, 3, T)")
        if tokens.shape[1] != 3:
            self.fail(
                "text_bert",
                got=f"shape {tokens.shape}",
                expected="(N, 3, T): ids, mask, types",
                remedy="write the field again with the tokenizer's three outputs",
            )
        ids, mask = tokens[:, 0], tokens[:, 1]
        lengths = (mask != 0).sum(axis=1)
        real = np.arange(tokens.shape[2]) < lengths[:, None]
        refuse_any(
            self.problem(
                "text_bert",
                (mask != real).any(axis=1),
                lambda sample: f"the mask {reprlib.repr(mask[sample].tolist())}",
                expected="a mask of ones and then zeros",
                remedy="write the field again with the padding behind the tokens",
            ),
            self.problem(
                "text_bert",
                (real & ~((np.abs(ids) < WHOLE_NUMBERS) & (ids == np.floor(ids)))).any(axis=1),
                lambda sample: f"the token ids {reprlib.repr(ids[sample, : lengths[sample]].tolist())}",
                expected="whole numbers",
                remedy="write the field again with the tokenizer's ids; states of a text encoder are no token ids",
            ),
        )
        return np.where(real, ids, 0), lengths

    def require_sequences(self, field: str, lengths: NDArray, optional: str) -> None:
        """Fail if all lengths, (N,), of a split to train on are 0; `optional` is the field that can be left out."""
        if self.must_suffice and not lengths.any():
            self.fail(
                field,
                got=f"length 0 in all {len(lengths)} samples",
                expected="at least one sample of train that has the modality",
                remedy=f"leave the field {optional!r} out of every split",
            )

    def frames(self, modality: str, width: int | None = None) -> Frames:
        """A modality's frames, with lengths within 0..T; `width` is the D that train has."""
        values, longest = self._frame_values(modality)
        field = f"{modality}_lengths"
        if field in self.fields:
            lengths = self.numbers(field, "(N,)")
        elif isinstance(values, list):
            field, lengths = modality, longest
        elif "text_bert" in self.fields:
            field, lengths = "text_bert", self.text_bert()[1]
        else:
            self.fail(
                field,
                got="neither it nor text_bert",
                expected="the number of real frames of each sample",
                remedy=f"add {field} to the file",
            )
        lengths = self.lengths(field, lengths, longest)
        self.require_sequences(field, lengths, modality)
        frames = Frames(values, lengths, self._starts(modality, values, lengths))
        if frames.width == 0:
            self.fail(
                modality,
                got="frames of width 0",
                expected="at least one feature",
                remedy=f"extract the features again, or leave the field {modality!r} out of every split",
            )
        if width is not None and frames.width != width:
            self.fail(
                modality,
                got=f"width {frames.width}",
                expected=f"{width}, as in train",
                remedy="extract all splits alike",
            )
        return frames

    def _frame_values(self, modality: str) -> tuple[NDArray | list[NDArray], NDArray]:
        """Frames (N, T, D), or arrays (T_i, D) where each sample has its own, and each sample's T, (N,)."""
        entries = self.entries(modality)
        whole = isinstance(entries, np.ndarray) and entries.ndim > 1
        arrays = [] if whole else [one for one in entries if isinstance(one, np.ndarray) and one.ndim == 2]
        padded = f"{modality}_lengths" in self.fields or "text_bert" in self.fields
        if len(arrays) == len(entries) and (not padded or len({len(one) for one in arrays}) > 1):
            wrong = np.array([one.dtype.kind not in "biuf" or one.shape[1] != arrays[0].shape[1] for one in arrays])
            self.refuse(
                modality,
                wrong,
                lambda sample: f"frames {arrays[sample].shape} of {arrays[sample].dtype}",
                expected=f"numbers, (T, {arrays[0].shape[1]}), as the first sample has",
                remedy="extract all samples alike",
            )
            return arrays, np.array([len(one) for one in arrays])
        array = self.numbers(modality, "(N, T, D)")
        return array, np.full(len(array), array.shape[1])

    def _starts(self, modality: str, values: NDArray | list[NDArray], lengths: NDArray) -> NDArray:
        """Where each sample's real frames begin, (N,); the frames themselves say whether padding comes first."""
        starts = np.zeros_like(lengths)
        if isinstance(values, list):
            return starts
        found = placement(values, lengths)
        if found.at_start.any() and not found.at_end.any():
            return np.where(found.padded, values.shape[1] - lengths, starts)
        mixed = found.at_start & (found.at_start.sum() >= found.at_end.sum())
        self.refuse(
            modality,
            found.lost | mixed,
            lambda sample: (
                f"only zeros in the first {_leading_zeros(values[sample])} frames and values behind frame "
                f"{lengths[sample]}, where this sample ends"
            ),
            expected="one place for the padding: behind all samples' frames, or before them",
            remedy="write the field again with the real frames first, or correct the lengths of these samples",
        )
        return starts


def _is_unicode(value: Any) -> bool:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _leading_zeros(frames: NDArray) -> int:
    return int((frames != 0).any(axis=1).argmax())
