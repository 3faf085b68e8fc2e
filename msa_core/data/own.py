"""A feature file of one's own: written from a table and arrays, and checked as a whole."""

import pickle
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from msa_core import SPLITS
from msa_core.config.base import suggestion
from msa_core.data.checks import FRAME_MODALITIES, UNIMODAL_LABEL_FIELDS, SplitChecks
from msa_core.data.contents import Contents
from msa_core.data.messages import listed
from msa_core.data.mmsa import require_file, text_states_alone
from msa_core.data.pickles import read_pickle
from msa_core.data.splits import missing_splits, problems_across, splits_in
from msa_core.disk import created

#: Column of a table -> field of the file.
FIELDS = {"id": "id", "text": "raw_text", "label": "regression_labels"} | {
    f"label_{modality}": field for modality, field in UNIMODAL_LABEL_FIELDS.items()
}
Checked = TypeVar("Checked")


def write_features(
    frame: pd.DataFrame,
    audio: Sequence[ArrayLike | None] | None,
    vision: Sequence[ArrayLike | None] | None,
    path: str | Path,
    label_bound: float = 3.0,
    shard: bool = False,
) -> None:
    """Write a feature file from a table and arrays: `load_features`, runs and `predict` read it.

    The file is checked before it appears at its place (`check_features`), whole or not at all.

    Args:
        frame: a row a sample, with these columns and no others:

            - "id": unique, text or whole numbers;
            - "split": "train", "valid" or "test". Without it, the file has no splits, and can only be predicted;
            - "text": the transcripts, "" for an empty one; left out where the data have none;
            - "label": multimodal sentiment within ±`label_bound`. Without it, the file can only be predicted;
            - "label_text", "label_audio", "label_vision": human labels of one modality, if there are any.

        audio, vision: an array of frames (T, D) for each row, in the order of the rows, each with its own T; None, or
            T = 0: the sample lacks the modality. None for all: the data have none.
        path: the new file, usually "<name>.pkl".
        label_bound: H, the largest absolute label that the scale has (3 for MOSI and MOSEI, 1 for CH-SIMS).
        shard: True: the file is one of several of a data set (see `load_features`), and may hold some splits alone.

    Raises:
        FileExistsError: there is a file at its place; it is not overwritten.
        FileNotFoundError: there is no such folder.
        OSError: the file cannot be written.
        ValueError: anything wrong with table or arrays; the first problem, the others as its notes.

    >>> import tempfile
    >>> frame = pd.DataFrame({"id": ["a", "b"], "text": ["a good film", "a dull one"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_features(frame, [np.ones((7, 5)), None], None, Path(folder, "new.pkl"))
    ...     check_features(Path(folder, "new.pkl"), labelled=False)
    []
    """
    place = Path(path).expanduser()
    _check_columns(frame)
    frame = frame.assign(**{name: pd.to_numeric(frame[name]) for name in _labels(frame)})  # of a CSV: text
    fields: dict[str, Any] = {FIELDS[str(name)]: frame[name].tolist() for name in frame if name != "split"}
    for modality, arrays in (("audio", audio), ("vision", vision)):
        if arrays is not None:
            fields[modality] = _frames(modality, arrays, len(frame))
    content: dict[str, Any] = fields
    if "split" in frame:
        content = {
            split: {name: [values[row] for row in rows] for name, values in fields.items()}
            for split in SPLITS
            if len(rows := (frame["split"] == split).to_numpy().nonzero()[0])
        }
    with created(place) as partial_file:
        with partial_file.open("wb") as file:
            pickle.dump(content, file, protocol=4)
        problems = check_features(partial_file, label_bound, labelled="label" in frame, shard=shard)
        if problems:
            first, *others = [problem.replace(str(partial_file), f"write_features: {place}") for problem in problems]
            error = ValueError(first)
            for other in others:
                error.add_note(other)
            raise error


def check_features(path: str | Path, label_bound: float = 3.0, labelled: bool = True, shard: bool = False) -> list[str]:
    """Everything that is wrong with a feature file, where reading it stops at the first problem.

    Args:
        path: the pickle.
        label_bound: H; labels must be within [-H, H].
        labelled: True: as `load_features` reads it, to be trained on. False: as `predict` does.
        shard: True: as `load_features` reads one of several files; what they are beside each other is not checked.

    Returns:
        A sentence a problem: file, split, field, first id, what was found, what was expected, what to do. Empty: the
        file is sound. What depends on another field that is wrong may show only when that one is right.

    Raises:
        FileNotFoundError: no such file.
    """
    path = Path(path).expanduser()
    require_file(path)
    problems: list[str] = []

    def attempt(check: Callable[[], Checked]) -> Checked | None:
        try:
            return check()
        except ValueError as error:
            problems.extend([str(error), *getattr(error, "__notes__", [])])
            return None

    read = attempt(lambda: read_pickle(path))
    if read is None:
        return problems
    content, release = read
    fields = splits_in(content, labelled)
    problems.extend(missing_splits(path, content, fields, labelled, shard))
    made = {name: attempt(partial(SplitChecks, path, name, each, labelled, shard)) for name, each in fields.items()}
    splits = {name: split for name, split in made.items() if split is not None}
    problems.extend(problems_across(splits))
    contents = Contents(label_bound, release)
    for split in splits.values():
        for check in contents.steps(split):
            attempt(check)
        if "text" in split.fields and not {"raw_text", "text_bert"} & set(split.fields):
            problems.append(text_states_alone(path))
    for modality in FRAME_MODALITIES:
        if (frames := contents.tensors.get(f"train/{modality}/values")) is not None:
            attempt(partial(deque, frames.pieces, 0))  # reads them, which tells which values are readable
    return list(dict.fromkeys(problems))


def _check_columns(frame: pd.DataFrame) -> None:
    known = ["id", "split", *FIELDS]
    if not isinstance(frame, pd.DataFrame) or "id" not in frame or not frame.columns.is_unique:
        got = f"columns {list(frame.columns)}" if isinstance(frame, pd.DataFrame) else type(frame).__name__
        _fail("frame", got, "a pandas DataFrame with a column 'id', each column once", "see write_features")
    for name in frame:
        if name not in known:
            hint = suggestion(name, known)
            _fail(
                "frame", f"the column {name!r}", f"columns of {list(dict.fromkeys(known))}", f"drop or rename it{hint}"
            )
    if "split" in frame:
        remedy = "rename the splits, or leave the column out of samples to be predicted"
        _check_values(frame, "split", frame["split"].isin(SPLITS), f"one of {list(SPLITS)}", remedy)
    for name in _labels(frame):
        numbers = pd.to_numeric(frame[name], errors="coerce").notna()
        _check_values(frame, name, numbers, "a number for each sample", "drop these samples, or give them labels")
    if "label" in frame and "split" not in frame:
        _fail(
            "frame",
            "labels without splits",
            "a column 'split'",
            "add it, or leave 'label' out to predict these samples",
        )


def _labels(frame: pd.DataFrame) -> list[str]:
    return [name for name in FIELDS if name.startswith("label") and name in frame]


def _check_values(frame: pd.DataFrame, name: str, right: pd.Series, expected: str, remedy: str) -> None:
    if len(wrong := frame[~right]):
        count = f"{len(wrong)} of {len(frame)} samples wrong: {listed(wrong['id'].astype(str).tolist())}"
        _fail(f"frame, column {name!r}", f"{wrong[name].tolist()[0]!r} ({count})", expected, remedy)


def _frames(modality: str, arrays: Sequence[ArrayLike | None], samples: int) -> list[NDArray]:
    """Arrays (T, D) of float32, with T = 0 for a sample that lacks the modality."""
    if not isinstance(arrays, Sequence | np.ndarray | pd.Series) or len(arrays) != samples:
        got = f"{len(arrays)} arrays" if hasattr(arrays, "__len__") else type(arrays).__name__
        _fail(modality, got, f"{samples}, one for each row of the frame", "give None where a sample lacks the modality")
    there: dict[int, NDArray] = {}
    for row, array in enumerate(arrays):
        try:
            with np.errstate(over="ignore"):
                frames = np.empty(0) if array is None else np.asarray(array, np.float32)
        except (ValueError, TypeError):
            _fail(f"{modality}, row {row}", "what makes no array of numbers", "frames (T, D)", "convert it")
        if frames.size and frames.ndim != 2:
            remedy = "one vector for a sample is an array (1, D)"
            _fail(f"{modality}, row {row}", f"shape {frames.shape}", "frames (T, D)", remedy)
        if frames.size:
            there[row] = frames
    if not there:
        _fail(modality, "no frames of any sample", "some", f"give {modality}=None: the data have none of it")
    width = next(iter(there.values())).shape[1]
    return [there.get(row, np.empty((0, width), np.float32)) for row in range(samples)]


def _fail(where: str, got: str, expected: str, remedy: str) -> NoReturn:
    raise ValueError(f"write_features: {where}: got {got}, expected {expected}; {remedy}")
