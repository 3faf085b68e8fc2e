"""Token ids of a feature file's text, in a cache of their own for each tokenizer."""

import hashlib
import json
import os
from itertools import chain
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from msa_core import SPLITS
from msa_core.data.cache import CACHE_VERSION, METADATA, CacheReader, open_cache, read_metadata
from msa_core.data.features import Ragged
from msa_core.data.tensors import Streamed, new_file, write_tensors


def load_tokens(
    features: CacheReader, cache: Path, path: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> dict[str, Ragged]:
    """Every split's token ids, cut to `max_tokens`; empty if the file has no text.

    They are read from `<cache>.tokens-<key>` if it is current; else they are computed and, if the folder is writable,
    stored there. The key depends on the tokenizer and `max_tokens`.

    Args:
        features: the open cache of the feature file.
        cache: where it is.
        path: the feature file.
        tokenizer: that of the text encoder.
        max_tokens: the largest number of tokens, the special ones included.

    Raises:
        ValueError: the file has text_bert and no raw_text, and a token id that the tokenizer does not have.
    """
    field = next((field for field in ("raw_text", "text_bert") if f"train/{field}/values" in features.names), None)
    if field is None:
        return {}
    key = _key(tokenizer, max_tokens)
    file = cache.with_name(f"{cache.name}.tokens-{key[:16]}")
    metadata = {"version": CACHE_VERSION, "sha256": features.metadata["sha256"], "key": key}
    if read_metadata(file) == metadata:
        with open_cache(file) as stored:
            return {split: stored.ragged(split) for split in SPLITS}
    if field == "raw_text":
        tokens = {split: _tokens_of(features.strings(f"{split}/raw_text"), tokenizer, max_tokens) for split in SPLITS}
    else:
        tokens = {split: _bert_tokens(features, split, path, tokenizer, max_tokens) for split in SPLITS}
    if os.access(file.parent, os.W_OK):
        tensors = {}
        for split, ragged in tokens.items():
            tensors[f"{split}/values"] = Streamed.of(ragged.values.numpy())
            tensors[f"{split}/offsets"] = Streamed.of(ragged.offsets.numpy())
        with new_file(file, like=path) as partial:
            write_tensors(partial, tensors, lambda: {METADATA: json.dumps(metadata)})
    return tokens


def _tokens_of(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Ragged:
    encoded = tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"]
    lengths = torch.tensor([len(tokens) for tokens in encoded])
    return Ragged.from_lengths(torch.tensor(list(chain.from_iterable(encoded))), lengths)


def _bert_tokens(
    features: CacheReader, split: str, path: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> Ragged:
    """The token ids of text_bert; a text that is cut keeps its last token, which closes it."""
    tokens = features.ragged(f"{split}/text_bert")
    vocabulary_size = len(tokenizer)
    unknown = ((tokens.values < 0) | (tokens.values >= vocabulary_size)).nonzero()
    if len(unknown):
        place = int(unknown[0])
        sample = int(torch.searchsorted(tokens.offsets, place, right=True)) - 1
        raise ValueError(
            f"{path}: split {split!r}, field 'text_bert', id {features.strings(f'{split}/id')[sample]!r}: "
            f"got token id {int(tokens.values[place])}, "
            f"expected one below the {vocabulary_size} of the encoder's vocabulary; "
            "the file has no raw_text, so use the encoder whose tokenizer made text_bert"
        )
    lengths = tokens.lengths
    position = torch.arange(len(tokens.values)) - tokens.offsets[:-1].repeat_interleave(lengths)
    within_limit = (position < max_tokens - 1) | (position == lengths.repeat_interleave(lengths) - 1)
    return Ragged.from_lengths(tokens.values[within_limit], lengths.clamp(max=max_tokens))


def _key(tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """SHA-256 of everything that decides which tokens a text becomes."""
    if (fast := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        serialised = json.loads(fast.to_str())
        # Truncation and padding are those of the last call.
        definition = {part: value for part, value in serialised.items() if part not in ("truncation", "padding")}
    else:
        definition = {"vocabulary": tokenizer.get_vocab(), "settings": repr(tokenizer.init_kwargs)}
    decisive = [type(tokenizer).__name__, tokenizer.truncation_side, max_tokens, definition]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
