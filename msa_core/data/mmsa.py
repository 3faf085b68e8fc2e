"""Read the field's feature files (thuiar/MMSA's layout, also what MMSA-FET writes)."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from msa_core import MODALITIES, SPLITS
from msa_core.data.cache import CacheReader, is_current, open_cache, write_cache
from msa_core.data.checks import FRAME_MODALITIES
from msa_core.data.features import FeatureSet, Ragged
from msa_core.data.tokens import load_tokens


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

    A pickle is a program; this reader builds numpy arrays and plain containers and refuses everything else. The first
    read processes large arrays in chunks (`read_pickle` says which arrays it holds in memory as a whole; of an array in
    Fortran order, each chunk reads the whole array). The cache is one memory-mapped safetensors file,
    `<file name>.cache`, with frames stored without padding; beside it, `<file name>.cache.tokens-<key>` holds the
    tokens of one tokenizer and one `max_tokens`.

    The file is `{"train" | "valid" | "test": {...}}` with, for N samples each: "id" and "regression_labels"
    (required); "raw_text" or "text_bert" (N, 3, T); "audio" (N, T, D) with "audio_lengths"; "vision" likewise;
    "regression_labels_T", "_A", "_V". The field "text" (precomputed states) is not used: text is encoded here.

    Length 0 means that the sample lacks the modality (a video without a face, a clip without sound). A file without
    "audio_lengths" or "vision_lengths" (aligned features) takes them from text_bert's mask: a mask of zeros then makes
    that modality absent too. Text is absent where it is read from text_bert (the file has no "raw_text") and the mask
    is all zeros; an empty transcript still has its special tokens and is present. The first read logs the number of
    absent samples, and `source["absent"]` keeps it: "<split>/<modality>" -> number, where it is not 0. A sample may
    lack every modality. In the train split, each modality must be present in at least one sample.

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
    if not is_current(cache, path, label_bound):
        write_cache(cache, path, label_bound)
    with open_cache(cache) as stored:
        scaling = {
            modality: (stored.tensor(f"{modality}/mean"), stored.tensor(f"{modality}/scale"))
            for modality in FRAME_MODALITIES
            if standardise and f"{modality}/mean" in stored.names
        }
        tokens = load_tokens(stored, cache, path, tokenizer, max_tokens) if tokenizer is not None else {}
        return {split: _feature_set(stored, split, path, tokens, scaling, max_frames) for split in SPLITS}


def require_file(path: Path) -> None:
    """Raise a `FileNotFoundError` that says where feature files come from, if there is none at `path`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such feature file; README.md says where the data sets' files come from")


def _feature_set(
    stored: CacheReader,
    split: str,
    path: Path,
    tokens: Mapping[str, Ragged],
    scaling: Mapping[str, tuple[Tensor, Tensor]],
    max_frames: int | None,
) -> FeatureSet:
    sequences = {"text": tokens[split]} if tokens else {}
    for modality in FRAME_MODALITIES:
        if f"{split}/{modality}/values" in stored.names:
            sequences[modality] = stored.ragged(f"{split}/{modality}")
    if not sequences:
        raise ValueError(f"{path}: got text as the only modality and no tokenizer to read it; pass a tokenizer")
    return FeatureSet(
        split=split,
        ids=stored.strings(f"{split}/id"),
        labels=stored.tensor(f"{split}/labels"),
        label_bound=stored.metadata["label_bound"],
        sequences=sequences,
        raw_text=stored.strings(f"{split}/raw_text") if f"{split}/raw_text/values" in stored.names else None,
        unimodal_labels={
            modality: stored.tensor(f"{split}/labels/{modality}")
            for modality in MODALITIES
            if f"{split}/labels/{modality}" in stored.names
        },
        scaling=scaling,
        max_frames=max_frames,
        source={"file": path.name} | {key: stored.metadata[key] for key in ("sha256", "replaced_frames", "absent")},
    )
