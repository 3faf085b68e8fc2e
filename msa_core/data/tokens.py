"""Token ids of a feature file's text, in a cache of their own for each tokenizer."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from msa_core.data.cache import CACHE_VERSION, METADATA, CacheReader, digested, open_cache
from msa_core.data.features import FeatureSet, Ragged
from msa_core.data.messages import listed, located
from msa_core.data.tensors import Streamed, new_file, write_tensors

logger = logging.getLogger(__name__)

MANY_UNKNOWN = (
    0.1  # of a split's tokens but the special ones: so many words are not in a text of the encoder's language
)


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
    field = next((field for field in ("raw_text", "text_bert") if features.has(field)), None)
    if field is None:
        return {}
    key = _key(tokenizer, max_tokens)
    file = cache.with_name(f"{cache.name}.tokens-{key[:16]}")
    metadata = {"version": CACHE_VERSION, "sha256": features.metadata["sha256"], "key": key}
    tokens = _stored(file, metadata, features.splits)
    if tokens is None:
        tokens = {
            split: _tokens_of(features.strings(f"{split}/raw_text"), tokenizer, max_tokens)
            if field == "raw_text"
            else _bert_tokens(features, split, path, tokenizer, max_tokens)
            for split in features.splits
        }
        if os.access(file.parent, os.W_OK):
            _write(file, path, tokens, metadata)
    for split, ragged in tokens.items():
        _warn_of_unknown(ragged.values, tokenizer, located(path, split, field))
    return tokens


def _stored(file: Path, expected: dict[str, object], splits: list[str]) -> dict[str, Ragged] | None:
    """The tokens of a cache; None if there is none of this version, text and key, or a damaged one."""
    try:
        with open_cache(file) as stored:
            stored.require_digests()
            if expected.items() <= stored.metadata.items():
                return {split: stored.ragged(split) for split in splits}
    except Exception:  # bytes that are no cache can fail in any way
        return None
    return None


def _write(file: Path, path: Path, tokens: dict[str, Ragged], metadata: dict[str, object]) -> None:
    digests: dict[str, str] = {}
    tensors = {}
    for split, ragged in tokens.items():
        for name, values in ((f"{split}/values", ragged.values), (f"{split}/offsets", ragged.offsets)):
            tensors[name] = digested(name, Streamed.of(values.numpy()), digests)
    with new_file(file, like=path) as partial:
        write_tensors(partial, tensors, lambda: {METADATA: json.dumps(metadata | {"digests": digests})})


def _warn_of_unknown(values: torch.Tensor, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    special = [token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id]
    words = values[~torch.isin(values, torch.tensor(special, dtype=torch.int64))]
    unknown = int((words == tokenizer.unk_token_id).sum()) if tokenizer.unk_token_id is not None else 0
    if unknown > MANY_UNKNOWN * len(words):
        logger.warning(
            "%s: %d of %d tokens (%.0f%%) are unknown to the text encoder (%s); use an encoder of the text's language "
            "(text.encoder)",
            where,
            unknown,
            len(words),
            100 * unknown / len(words),
            tokenizer.unk_token,
        )


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
    unknown = ((tokens.values < 0) | (tokens.values >= vocabulary_size)).nonzero()[:, 0]
    if len(unknown):
        samples = (torch.searchsorted(tokens.offsets, unknown, right=True) - 1).unique().tolist()
        ids = [features.strings(f"{split}/id")[sample] for sample in samples]
        raise ValueError(
            f"{located(path, split, 'text_bert')}, id {ids[0]!r}: got token id {int(tokens.values[unknown[0]])} "
            f"({len(ids)} of {len(tokens)} samples wrong: {listed(ids)}), "
            f"expected one below the {vocabulary_size} of the encoder's vocabulary; "
            "the file has no raw_text, so set text.encoder to the encoder whose tokenizer made text_bert"
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


def refuse_long_text(data: Mapping[str, FeatureSet], encoder: str, max_tokens: int, most: float) -> None:
    """Raise a `ValueError` if a text has more tokens than its encoder has positions for.

    Args:
        data: split -> its features.
        encoder, max_tokens: the run's settings, for the message.
        most: the encoder's positions; infinite: no limit.
    """
    for split, features in data.items():
        if "text" not in features.modalities:
            return
        lengths = features.lengths("text")
        if int(lengths.max()) > most:
            raise ValueError(
                f"dataset.max_tokens: got {max_tokens}, and {int((lengths > most).sum())} of "
                f"{len(features)} texts of {split} have more than {most} tokens (the first: id "
                f"{features.ids[int((lengths > most).int().argmax())]!r}), expected at most the {most} that the text "
                f"encoder {encoder!r} has positions for; set dataset.max_tokens to {most} or less"
            )
