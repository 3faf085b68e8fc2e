"""Read the field's feature files (thuiar/MMSA's layout, also what MMSA-FET writes)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from msa_core import MODALITIES
from msa_core.data.cache import COUNTS, CacheReader, ensure_cache, open_cache, write_cache
from msa_core.data.checks import FRAME_MODALITIES
from msa_core.data.features import FeatureSet, Ragged
from msa_core.data.shards import Shard, joined, require_names, shared_statistics
from msa_core.data.tokens import load_tokens


def load_features(
    path: str | Path | Sequence[str | Path],
    tokenizer: PreTrainedTokenizerBase | None = None,
    label_bound: float = 3.0,
    standardise: bool = False,
    max_frames: int | None = None,
    max_tokens: int = 50,
    cache_folder: str | Path | None = None,
    statistics: Mapping[str, Tensor] | None = None,
) -> dict[str, FeatureSet]:
    """Read a feature file, by way of a cache that is written at the first read and rebuilt when the content changes.

    A pickle is a program; this reader builds numpy arrays and plain containers and refuses everything else. The first
    read processes large arrays in chunks (`read_pickle` says which arrays it holds in memory as a whole; of an array in
    Fortran order, each chunk reads the whole array). The cache is one memory-mapped safetensors file,
    `<file name>.cache`, with frames stored without padding; beside it, `<file name>.cache.tokens-<key>` holds the
    tokens of one tokenizer and one `max_tokens`, and `<file name>.cache.source` the file's SHA-256, size and times: it
    is hashed again when one of these has changed. A cache that is damaged is written again.

    The file is `{"train" | "valid" | "test": {...}}` with, for N samples each: "id" and "regression_labels"
    (required); "raw_text" or "text_bert" (N, 3, T); "audio" (N, T, D) with "audio_lengths"; "vision" likewise;
    "regression_labels_T", "_A", "_V". Frames may also be a list of N arrays (T_i, D), which need no lengths. The field
    "text" (precomputed states) is not read: a file whose only text it is, is refused if a tokenizer is given.

    Real frames come first and padding behind them. If the frames themselves say that all padding of a split comes
    first, the real ones are read from the end, which is logged and kept in `source["padded_at_start"]`; a split with
    both is refused. Unreadable values (NaN, infinite, beyond float32) have no part in mean and scale, and become the
    train split's mean of the readable ones in a batch; frames that hold one are logged and counted in
    `source["replaced_frames"]`.

    Length 0 means that the sample lacks the modality (a video without a face, a clip without sound). A file without
    "audio_lengths" or "vision_lengths" (aligned features) takes them from text_bert's mask: a mask of zeros then makes
    that modality absent too. Text is absent where it is read from text_bert (the file has no "raw_text") and the mask
    is all zeros; an empty transcript still has its special tokens and is present. The first read logs the number of
    absent samples, and `source["absent"]` keeps it: "<split>/<modality>" -> number, where it is not 0. A sample may
    lack every modality. In the train split, each modality must be present in at least one sample.

    Several files are the shards of one data set. Each has some of the splits, the same fields as the others, ids that
    none of the others has, and a cache of its own; mean and scale are those of all. Samples are in the order of the
    files. Frames are not copied: a file is opened when one of its samples is batched, and few are open at a time (see
    `batch_places`).

    Args:
        path: the pickle, or several.
        tokenizer: that of the encoder that will read the text. None: no text is loaded.
        label_bound: H; labels must be within [-H, H] (3 for MOSI and MOSEI, 1 for CH-SIMS).
        standardise: bring each audio and vision feature to mean 0 and standard deviation 1 of the train split's frames.
        max_frames: use only the first so many frames; None: all.
        max_tokens: use only so many tokens, the special ones included (50 in the field's files).
        cache_folder: where the caches go; None: beside the file.
        statistics: `FeatureSet.statistics` of the data that a model was trained on, for a file that it is to read
            now: frames are standardised, and unreadable values replaced, by these; None: by the file's own train split.

    Returns:
        "train", "valid", "test" -> `FeatureSet`.

    Raises:
        FileNotFoundError: no such file.
        OSError: the cache cannot be written (`PermissionError`: its folder); the message says what to do.
        ValueError: anything wrong with the file: what, where, got, expected, remedy.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    require_names(paths)
    for each in paths:
        require_file(each)
    if max_tokens < 3 or (max_frames is not None and max_frames < 1):
        raise ValueError(
            f"load_features: got max_tokens {max_tokens}, max_frames {max_frames}, expected at least 3 (the special "
            "tokens and one more) and at least 1 (or None, for all); raise them"
        )
    shards = [Shard(each, Path(cache_folder or each.parent) / f"{each.name}.cache") for each in paths]
    for shard in shards:
        ensure_cache(shard.cache, shard.path, label_bound, shard=len(shards) > 1)
    if len(shards) > 1:
        own = shared_statistics(shards)
        statistics = own if statistics is None else statistics
    parts = [
        _feature_sets(shard.cache, shard.path, tokenizer, standardise, max_frames, max_tokens, statistics)
        for shard in shards
    ]
    return parts[0] if len(parts) == 1 else joined(shards, parts)


def load_unlabelled(
    path: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    statistics: Mapping[str, Tensor],
    standardise: bool = False,
    max_frames: int | None = None,
    max_tokens: int = 50,
) -> dict[str, FeatureSet]:
    """Read a feature file that a trained model is to predict; its labels, if it has any, are not read.

    The file is that of `load_features` with any of the splits, or one dict of fields without splits. Nothing is
    written beside it: its frames are mapped from a temporary file. In train, too, every sample may lack a modality.

    Args:
        path: the pickle.
        tokenizer, standardise, max_frames, max_tokens: see `load_features`.
        statistics: of the data that the model was trained on, see `load_features`.

    Returns:
        Split -> `FeatureSet`, whose labels are NaN; a file without splits: "" -> its `FeatureSet`.

    Raises:
        FileNotFoundError, OSError, ValueError: see `load_features`.
    """
    path = Path(path)
    require_file(path)
    with TemporaryDirectory(prefix="msa_core-") as folder:
        cache = Path(folder) / f"{path.name}.cache"
        write_cache(cache, path, sha256="", label_bound=math.inf, labelled=False)
        return _feature_sets(cache, path, tokenizer, standardise, max_frames, max_tokens, statistics)


def _feature_sets(
    cache: Path,
    path: Path,
    tokenizer: PreTrainedTokenizerBase | None,
    standardise: bool,
    max_frames: int | None,
    max_tokens: int,
    statistics: Mapping[str, Tensor] | None,
) -> dict[str, FeatureSet]:
    with open_cache(cache) as stored:
        tokens = {}
        if tokenizer is not None:
            if stored.metadata["text_states"] and not (stored.has("raw_text") or stored.has("text_bert")):
                raise ValueError(text_states_alone(path))
            tokens = load_tokens(stored, cache, path, tokenizer, max_tokens)
        used = _statistics(stored, path, statistics)
        return {
            split: _feature_set(stored, split, path, tokens, used, standardise, max_frames) for split in stored.splits
        }


def text_states_alone(path: Path) -> str:
    """What is said of a file whose only text is the field "text"."""
    return (
        f"{path}: field 'text': got precomputed states as the only text, expected raw_text or text_bert: text is "
        "encoded here; add one of these fields, or remove 'text' to train without this modality"
    )


def _statistics(stored: CacheReader, path: Path, given: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Mean and scale of each modality: those that are given, else the file's own."""
    there = [modality for modality in FRAME_MODALITIES if stored.has(modality)]
    if given is None:
        return {name: value for each in there for name, value in stored.moments(each).statistics(each).items()}
    for split in stored.splits:
        for modality in there:
            width, trained = stored.ragged(f"{split}/{modality}").values.shape[1], given.get(f"{modality}/mean")
            if trained is None or len(trained) != width:
                got = f"width {width}" + (", without it in the training" if trained is None else "")
                expected = (
                    "the training's modalities" if trained is None else f"width {len(trained)}, as in the training"
                )
                raise ValueError(
                    f"{path}: field {modality!r}: got {got}, expected {expected}; extract the features as those that "
                    "the model was trained on"
                )
    return {
        f"{modality}/{statistic}": given[f"{modality}/{statistic}"]
        for modality in there
        for statistic in ("mean", "scale")
    }


def require_file(path: Path) -> None:
    """Raise a `FileNotFoundError` that says where feature files come from, if there is none at `path`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such feature file; docs/running.md says where the data sets' files come from, "
            "docs/own_data.md how to write one of your own"
        )


def _feature_set(
    stored: CacheReader,
    split: str,
    path: Path,
    tokens: Mapping[str, Ragged],
    statistics: Mapping[str, Tensor],
    standardise: bool,
    max_frames: int | None,
) -> FeatureSet:
    sequences = {"text": tokens[split]} if tokens else {}
    for modality in FRAME_MODALITIES:
        if f"{split}/{modality}/values" in stored.names:
            sequences[modality] = stored.ragged(f"{split}/{modality}")
    if not sequences:
        raise ValueError(f"{path}: got text as the only modality and no tokenizer to read it; pass a tokenizer")
    ids, labels = stored.strings(f"{split}/id"), f"{split}/labels"
    return FeatureSet(
        split=split,
        ids=ids,
        labels=stored.tensor(labels) if labels in stored.names else torch.full((len(ids),), torch.nan),
        label_bound=stored.metadata["label_bound"],
        sequences=sequences,
        raw_text=stored.strings(f"{split}/raw_text") if stored.has("raw_text") else None,
        unimodal_labels={
            modality: stored.tensor(f"{split}/labels/{modality}")
            for modality in MODALITIES
            if f"{split}/labels/{modality}" in stored.names
        },
        scaling={
            modality: (statistics[f"{modality}/mean"], statistics[f"{modality}/scale"])
            for modality in sequences
            if standardise and modality != "text"
        },
        replacements={
            modality: statistics[f"{modality}/mean"]
            for modality in sequences
            if stored.metadata["replaced_frames"].get(f"{split}/{modality}")
        },
        statistics=statistics,
        max_frames=max_frames,
        source={"file": path.name} | {key: stored.metadata[key] for key in ("sha256", *COUNTS)},
    )
