"""The field's feature files (thuiar/MMSA's layout, also what MMSA-FET writes): read safely, checked, cached ragged."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from msa_core import MODALITIES, SPLITS
from msa_core.data.features import FeatureSet, Ragged
from msa_core.data.pickles import PandasStrings, read_pickle
from msa_core.data.tensors import Streamed, new_file, write_tensors

logger = logging.getLogger(__name__)

CACHE_VERSION = 1  # raise it when the fields of either cache change
CHUNK = 2**24  # bytes of padded frames that are worked on at once
FRAME_MODALITIES = ("audio", "vision")
_PARTS = ("values", "offsets")  # of a Ragged
UNIMODAL_LABEL_FIELDS = {
    "text": "regression_labels_T",
    "audio": "regression_labels_A",
    "vision": "regression_labels_V",
}


def load_features(
    path: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    label_bound: float = 3.0,
    standardise: bool = False,
    max_frames: int | None = None,
    max_tokens: int = 50,
    cache_folder: str | Path | None = None,
) -> dict[str, FeatureSet]:
    """Read a feature file, by way of a cache that is written at the first read and rebuilt when the file changes.

    A pickle is a program; this one may build numpy arrays and plain containers and nothing else. The first read goes
    through large arrays in chunks (`read_pickle` says which arrays are in memory as a whole all the same; in Fortran
    order, which keeps a sample's numbers far apart, each chunk goes through all of the array). The cache is one
    safetensors file, `<file name>.cache`, memory-mapped, with frames stored without padding; beside it,
    `<file name>.cache.tokens-<key>` holds the tokens of one tokenizer and one `max_tokens`.

    The file is `{"train" | "valid" | "test": {...}}` with, for N samples each: "id" and "regression_labels"
    (required); "raw_text" or "text_bert" (N, 3, T); "audio" (N, T, D) with "audio_lengths"; "vision" likewise;
    "regression_labels_T", "_A", "_V". Where lengths are missing (aligned features) they are those of text_bert's
    mask. The field "text" (precomputed states) is not used: text is encoded here.

    Args:
        path: the pickle.
        tokenizer: that of the encoder that will read the text. None: no text is loaded.
        label_bound: H; labels must be within [-H, H] (3 for MOSI and MOSEI, 1 for CH-SIMS).
        standardise: bring each audio and vision feature to mean 0 and standard deviation 1 of the train split's frames.
        max_frames: use only the first so many frames; None: all.
        max_tokens: use only so many tokens, the special ones included (50 in the field's files).
        cache_folder: where the caches go; None: beside the file.

    Returns:
        "train", "valid", "test" -> `FeatureSet`.

    Raises:
        FileNotFoundError: no such file.
        PermissionError: the cache cannot be written; the message says what to do.
        ValueError: anything wrong with the file: what, where, got, expected, remedy.
    """
    path = Path(path)
    require_file(path)
    if max_tokens < 3 or (max_frames is not None and max_frames < 1):
        raise ValueError(f"got max_tokens {max_tokens}, max_frames {max_frames}, expected at least 3 and 1 (or None)")
    cache = Path(cache_folder or path.parent) / f"{path.name}.cache"
    if not _is_current(cache, path, label_bound):
        _write_cache(cache, path, label_bound)
    with safe_open(cache, framework="pt") as stored:
        metadata = json.loads(stored.metadata()["msa_core"])
        names = set(stored.keys())

        def ragged(name: str) -> Ragged:
            return Ragged(stored.get_tensor(f"{name}/values"), stored.get_tensor(f"{name}/offsets"))

        scaling = {
            modality: (stored.get_tensor(f"{modality}/mean"), stored.get_tensor(f"{modality}/scale"))
            for modality in FRAME_MODALITIES
            if standardise and f"{modality}/mean" in names
        }
        ids = {split: _unpack_strings(ragged(f"{split}/id")) for split in SPLITS}
        raw_text: dict[str, list[str]] = {}
        if "train/raw_text/values" in names:
            raw_text = {split: _unpack_strings(ragged(f"{split}/raw_text")) for split in SPLITS}

        def tokenised(split: str) -> Ragged:
            assert tokenizer is not None
            if raw_text:
                return _tokens_of(raw_text[split], tokenizer, max_tokens)
            where = f"{path}: split {split!r}"
            return _bert_tokens(ragged(f"{split}/text_bert"), tokenizer, max_tokens, where, ids[split])

        tokens: dict[str, Ragged] = {}
        if tokenizer is not None and (raw_text or "train/text_bert/values" in names):
            key = _tokens_key(tokenizer, max_tokens)
            beside = cache.with_name(f"{cache.name}.tokens-{key[:16]}")
            belongs_to = {"version": CACHE_VERSION, "sha256": metadata["sha256"], "key": key}
            tokens = _cached_tokens(beside, belongs_to, tokenised, like=path)
        features = {}
        for split in SPLITS:
            sequences = {"text": tokens[split]} if tokens else {}
            for modality in FRAME_MODALITIES:
                if f"{split}/{modality}/values" in names:
                    sequences[modality] = ragged(f"{split}/{modality}")
            if not sequences:
                raise ValueError(f"{path}: got text as the only modality and no tokenizer to read it; pass a tokenizer")
            features[split] = FeatureSet(
                split=split,
                ids=ids[split],
                labels=stored.get_tensor(f"{split}/labels"),
                label_bound=label_bound,
                sequences=sequences,
                raw_text=raw_text.get(split),
                unimodal_labels={
                    modality: stored.get_tensor(f"{split}/labels/{modality}")
                    for modality in MODALITIES
                    if f"{split}/labels/{modality}" in names
                },
                scaling=scaling,
                max_frames=max_frames,
                source={
                    "file": path.name,
                    "sha256": metadata["sha256"],
                    "replaced_frames": metadata["replaced_frames"],
                },
            )
    return features


def require_file(path: Path) -> None:
    """Raise a `FileNotFoundError` that says where feature files come from, if there is none at `path`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such feature file; README.md says where the data sets' files come from")


# --- checks and cache -----------------------------------------------------------------------------------------------


class _Split:
    """One split of the raw file, checked field by field; every failure is one message."""

    def __init__(self, path: Path, name: str, fields: Any) -> None:
        self.path, self.name = path, name
        self.ids: list[str] = []
        if not isinstance(fields, dict):
            self.fail("", got=type(fields).__name__, expected="a dict of fields", remedy="see load_features")
        self.fields = fields
        for required in ("id", "regression_labels"):
            if required not in fields:
                there = sorted(map(str, fields))
                self.fail(required, got=f"only {there}", expected="the field", remedy="add it to the file")
        self.ids = [str(i) for i in self.entries("id", str | int | np.integer, "a string")]
        if not self.ids:
            self.fail("id", got="no samples", expected="at least one", remedy="give every split its samples")
        for field in ("raw_text", "text_bert", *FRAME_MODALITIES, *UNIMODAL_LABEL_FIELDS.values(), "regression_labels"):
            if field in fields and len(self.entries(field)) != len(self.ids):
                self.fail(
                    field,
                    got=f"{len(self.entries(field))} entries",
                    expected=f"{len(self.ids)}, one for each id",
                    remedy="write the file again with one entry a sample",
                )

    def fail(self, field: str, got: str, expected: str, remedy: str, sample: int | None = None) -> NoReturn:
        where = f", field {field!r}" if field else ""
        which = f", id {self.ids[sample]!r}" if sample is not None else ""
        raise ValueError(f"{self.path}: split {self.name!r}{where}{which}: got {got}, expected {expected}; {remedy}")

    def entries(self, field: str, kind: Any = object, named: str = "") -> Any:
        """A field's values as they are, one a sample, each of a kind."""
        values = self.fields[field]
        values = values.values if isinstance(values, PandasStrings) else values
        if not isinstance(values, list | tuple | np.ndarray) or getattr(values, "ndim", 1) == 0:
            self.fail(field, got=type(values).__name__, expected="a list or an array", remedy="give one entry a sample")
        for sample, value in enumerate(values if kind is not object else ()):
            if not isinstance(value, kind):
                which = sample if len(self.ids) == len(values) else None
                self.fail(field, got=f"{value!r}", expected=named, remedy="mend the file", sample=which)
        return values

    def numbers(self, field: str, shape: str) -> NDArray:
        """A field as an array of numbers; `shape` is what is expected, such as "(N, T, D)"."""
        dimensions = shape.count(",") + (not shape.endswith(",)"))
        try:
            array = np.asarray(self.entries(field))
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
        """Fail at the first sample of which `wrong` is true, showing what was got of it."""
        if wrong.any():
            first = int(wrong.argmax())
            self.fail(field, got=got(first), expected=expected, remedy=remedy, sample=first)

    def lengths(self, field: str, lengths: NDArray, longest: int) -> NDArray:
        """Lengths (N,), each a whole number within 1..T."""
        if lengths.shape != (len(self.ids),):
            expected = f"({len(self.ids)},)"
            self.fail(field, got=f"shape {lengths.shape}", expected=expected, remedy="give one length a sample")
        self.refuse(
            field,
            ~((lengths >= 1) & (lengths <= longest)) | (lengths != np.floor(lengths)),
            lambda sample: f"length {lengths[sample]}",
            expected=f"a whole number within 1..{longest}, the frames there are",
            remedy="drop samples of no length, or mend their lengths",
        )
        return lengths.astype(np.int64)

    def text_bert(self) -> tuple[NDArray, NDArray]:
        """Padded token ids (N, T) and lengths (N,)."""
        tokens = self.numbers("text_bert", "(N, 3, T)")
        if tokens.shape[1] != 3:
            expected = "(N, 3, T): ids, mask, types"
            self.fail("text_bert", got=f"shape {tokens.shape}", expected=expected, remedy="write the field again")
        mask = tokens[:, 1] != 0
        lengths = self.lengths("text_bert", mask.sum(axis=1), tokens.shape[2])
        self.refuse(
            "text_bert",
            (mask != (np.arange(tokens.shape[2]) < lengths[:, None])).any(axis=1),
            lambda sample: f"the mask {mask[sample].astype(int)}",
            expected="a mask of ones and then zeros",
            remedy="write the field again",
        )
        return tokens[:, 0], lengths

    def frames(self, modality: str) -> tuple[NDArray, NDArray]:
        """Padded frames (N, T, D) and lengths (N,), each within 1..T."""
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
        return frames, self.lengths(field, lengths, frames.shape[1])


def _write_cache(cache: Path, path: Path, label_bound: float) -> None:
    """Check the whole file and write the cache, by a rename at the end, so that no half of one is ever there."""
    status = path.stat()
    if not cache.parent.is_dir() or not os.access(cache.parent, os.W_OK):
        raise PermissionError(
            f"{cache.parent}: cannot write the cache {cache.name} there; "
            "name a folder that you may write to in cache_folder"
        )
    content, release = read_pickle(path)
    tensors, replaced = _checked_tensors(path, content, label_bound, release)
    about = {
        "version": CACHE_VERSION,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": _sha256(path),
        "label_bound": label_bound,
        "replaced_frames": replaced,  # counted while the frames are written
    }
    with new_file(cache, like=path) as partial:
        write_tensors(partial, tensors, lambda: {"msa_core": json.dumps(about)})
    if any(replaced.values()):
        logger.warning("%s: NaN or infinite values replaced by 0, in so many frames: %s", path, replaced)


def _metadata(cache: Path) -> dict[str, Any]:
    """What a cache says of itself; nothing if there is none yet, or a damaged one: it is written again."""
    try:
        with safe_open(cache, framework="pt") as stored:
            return json.loads((stored.metadata() or {}).get("msa_core", "{}"))
    except (FileNotFoundError, SafetensorError):
        return {}


def _is_current(cache: Path, path: Path, label_bound: float) -> bool:
    metadata, status = _metadata(cache), path.stat()
    expected = {
        "version": CACHE_VERSION,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "label_bound": label_bound,
    }
    return all(metadata.get(key) == value for key, value in expected.items())


def _checked_tensors(
    path: Path, content: Any, label_bound: float, release: Callable[[], None]
) -> tuple[dict[str, Streamed], dict[str, int]]:
    """The cache's tensors by name, all checks made, and the number of frames of each split and modality: by the time
    these have been written, it is the number of those in which a value was replaced.
    """
    missing = [split for split in SPLITS if not isinstance(content, dict) or split not in content]
    if missing:
        got = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: got {got}, expected the splits {list(SPLITS)}; missing: {missing}; see load_features"
        )
    splits = {split: _Split(path, split, content[split]) for split in SPLITS}
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
    tensors: dict[str, Streamed] = {}
    replaced: dict[str, int] = {}
    modalities = _common_fields(splits, ("audio", "vision", "raw_text", "text_bert", *UNIMODAL_LABEL_FIELDS.values()))
    if not modalities & {"audio", "vision", "raw_text", "text_bert"}:
        splits["train"].fail(
            "",
            got=f"fields {sorted(splits['train'].fields)}",
            expected="text, audio or vision",
            remedy="see load_features",
        )
    for name, split in splits.items():
        tensors |= _strings(f"{name}/id", split.ids)
        tensors[f"{name}/labels"] = Streamed.of(split.labels("regression_labels", label_bound))
        for modality, field in UNIMODAL_LABEL_FIELDS.items():
            if field in modalities:
                tensors[f"{name}/labels/{modality}"] = Streamed.of(split.labels(field, label_bound))
        if "raw_text" in modalities:
            tensors |= _strings(f"{name}/raw_text", split.entries("raw_text", str, "a string"))
        if "text_bert" in modalities:
            tokens, lengths = split.text_bert()
            tensors[f"{name}/text_bert/values"] = Streamed.of(_unpadded(tokens, lengths).astype(np.int64))
            tensors[f"{name}/text_bert/offsets"] = _offsets(lengths)
        for modality in FRAME_MODALITIES:
            if modality not in modalities:
                continue
            frames, lengths = split.frames(modality)
            tensors[f"{name}/{modality}/offsets"] = _offsets(lengths)
            shape = int(lengths.sum()), frames.shape[2]
            width = tensors[f"train/{modality}/values"].shape[1] if name != "train" else shape[1]
            if shape[1] != width:
                split.fail(
                    modality,
                    got=f"width {shape[1]}",
                    expected=f"{width}, as in train",
                    remedy="extract all splits alike",
                )
            replaced[f"{name}/{modality}"] = shape[0]
            moments = _Moments() if name == "train" else None
            pieces = _real_frames(frames, lengths, f"{name}/{modality}", replaced, moments, release)
            tensors[f"{name}/{modality}/values"] = Streamed(shape, np.dtype(np.float32), pieces)
            if moments is not None:  # written after the values, by which time they have all been added
                statistics = {"mean": moments.drawn_mean(), "scale": moments.drawn_scale()}
                for statistic, drawn in statistics.items():
                    tensors[f"{modality}/{statistic}"] = Streamed((width,), np.dtype(np.float32), drawn)
    return tensors, replaced


class _Moments:
    """Mean and standard deviation of frames that come in pieces, in float64 (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: NDArray = np.zeros(1)
        self.squares: NDArray = np.zeros(1)

    def add(self, values: NDArray) -> None:
        new, total = len(values), self.count + len(values)
        beyond = values.mean(axis=0, dtype=np.float64) - self.mean
        self.squares = self.squares + new * (values.var(axis=0, dtype=np.float64) + beyond**2 * self.count / total)
        self.mean = self.mean + beyond * new / total
        self.count = total

    def drawn_mean(self) -> Iterator[NDArray]:
        """The mean of what has been added by the time it is drawn."""
        yield self.mean

    def drawn_scale(self) -> Iterator[NDArray]:
        """The standard deviation likewise; 1 for a feature that never changes, which carries nothing in train."""
        deviation = np.sqrt(self.squares / self.count)
        yield np.where(deviation > 0, deviation, 1)


def _real_frames(
    frames: NDArray,
    lengths: NDArray,
    name: str,
    replaced: dict[str, int],
    moments: _Moments | None,
    release: Callable[[], None],
) -> Iterator[NDArray]:
    """Frames without padding, (sum of some lengths, D) float32 each, unreadable values replaced by 0 and counted."""
    replaced[name] = 0
    step = max(1, CHUNK // max(1, frames[0].nbytes))
    for start in range(0, len(frames), step):
        chunk = slice(start, start + step)
        with np.errstate(over="ignore"):  # beyond float32's range is infinite, and replaced as such
            values = _unpadded(frames[chunk], lengths[chunk]).astype(np.float32)
        finite = np.isfinite(values)
        values[~finite] = 0
        replaced[name] += int((~finite.all(axis=1)).sum())
        if moments is not None:
            moments.add(values)
        release()
        yield values


def _common_fields(splits: dict[str, _Split], fields: tuple[str, ...]) -> set[str]:
    """Those of `fields` that the file has; a field must be in every split or in none."""
    for split in splits.values():
        for field in fields:
            if (field in split.fields) != (field in splits["train"].fields):
                split.fail(
                    field,
                    got="it here and not in train" if field in split.fields else "it in train and not here",
                    expected="the same fields in every split",
                    remedy="extract all splits alike",
                )
    return {field for field in fields if field in splits["train"].fields}


def _bert_tokens(tokens: Ragged, tokenizer: PreTrainedTokenizerBase, max_tokens: int, where: str, ids: list) -> Ragged:
    vocabulary = len(tokenizer)
    wrong = ((tokens.values < 0) | (tokens.values >= vocabulary)).nonzero()
    if len(wrong):
        place = int(wrong[0])
        sample = int(torch.searchsorted(tokens.offsets, place, right=True)) - 1
        raise ValueError(
            f"{where}, field 'text_bert', id {ids[sample]!r}: got token id {int(tokens.values[place])}, "
            f"expected one below the {vocabulary} of the encoder's vocabulary; "
            "the file has no raw_text, so use the encoder whose tokenizer made text_bert"
        )
    # A text that is cut keeps its last token, which closes it.
    lengths = tokens.lengths
    within = torch.arange(len(tokens.values)) - tokens.offsets[:-1].repeat_interleave(lengths)
    kept = (within < max_tokens - 1) | (within == lengths.repeat_interleave(lengths) - 1)
    return Ragged.from_lengths(tokens.values[kept], lengths.clamp(max=max_tokens))


def _tokens_of(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Ragged:
    encoded = tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"]
    lengths = torch.tensor([len(tokens) for tokens in encoded])
    return Ragged.from_lengths(torch.tensor(list(chain.from_iterable(encoded))), lengths)


def _tokens_key(tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """SHA-256 of all that decides which tokens a text becomes."""
    if (fast := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        serialised = json.loads(fast.to_str())
        # How it was last called, which is no part of what it is.
        definition = {part: value for part, value in serialised.items() if part not in ("truncation", "padding")}
    else:
        definition = {"vocabulary": tokenizer.get_vocab(), "settings": repr(tokenizer.init_kwargs)}
    decisive = [type(tokenizer).__name__, tokenizer.truncation_side, max_tokens, definition]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _cached_tokens(
    file: Path, belongs_to: dict[str, Any], tokenised: Callable[[str], Ragged], like: Path
) -> dict[str, Ragged]:
    """Every split's tokens, from `file` if it is current; else made, and written there if the folder allows it."""
    if _metadata(file) == belongs_to:
        with safe_open(file, framework="pt") as stored:
            return {split: Ragged(*(stored.get_tensor(f"{split}/{part}") for part in _PARTS)) for split in SPLITS}
    tokens = {split: tokenised(split) for split in SPLITS}
    if os.access(file.parent, os.W_OK):
        tensors = {
            f"{split}/{part}": Streamed.of(getattr(ragged, part).numpy())
            for split, ragged in tokens.items()
            for part in _PARTS
        }
        with new_file(file, like) as partial:
            write_tensors(partial, tensors, lambda: {"msa_core": json.dumps(belongs_to)})
    return tokens


def _unpadded(padded: NDArray, lengths: NDArray) -> NDArray:
    """(N, T, ...) to (sum of lengths, ...)."""
    return padded[np.arange(padded.shape[1]) < lengths[:, None]]


def _strings(name: str, strings: list[str]) -> dict[str, Streamed]:
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    return {
        f"{name}/values": Streamed.of(np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)),
        f"{name}/offsets": _offsets(np.array([len(string) for string in encoded])),
    }


def _unpack_strings(ragged: Ragged) -> list[str]:
    joined, offsets = ragged.values.numpy().tobytes(), ragged.offsets.tolist()
    return [joined[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(offsets)]


def _offsets(lengths: NDArray) -> Streamed:
    return Streamed.of(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
