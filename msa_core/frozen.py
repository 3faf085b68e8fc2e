"""A frozen text encoder: text is encoded once, and what is trained reads the states. For sweeps and ablations."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from msa_core.data.features import FeatureSet, Ragged, batches
from msa_core.data.tensors import new_file
from msa_core.encoders import TextEncoder, load_text_encoder

BATCH_SIZE = 64


def freeze_text(
    data: Mapping[str, FeatureSet], text_encoder: str, cache: Path | None = None, every_token: bool = False
) -> dict[str, FeatureSet]:
    """Put the encoder's states in the place of each text.

    Args:
        data: splits with token ids.
        text_encoder: a pretrained one, see `load_text_encoder`.
        cache: the features' cache; the states are kept beside it, if the folder allows it, in `<cache>.text-<key>`,
            where the key is made from the encoder's weights, the token ids and `every_token`, so that other weights or
            another text never meet; None: they are not kept.
        every_token: True: the state of each token; False: that of the first token alone.

    Returns:
        The same splits, each text a sequence of states, (T, D) or (1, D) float64, so that they are the same on every
        x86-64 processor to the last digits but a few.

    Raises:
        ValueError: the data have no text, or the encoder is untrained.
    """
    if any("text" not in features.modalities for features in data.values()):
        raise ValueError("text.frozen: got true for data without text, expected text; leave it false")
    if text_encoder == "tiny":
        raise ValueError(
            "text.frozen: got true for the text encoder 'tiny', which is untrained, expected a pretrained one; "
            "set text.encoder, or leave text.frozen false"
        )
    encoder = load_text_encoder(text_encoder).eval().double()
    lengths = {split: features.sequences["text"].lengths for split, features in data.items()}
    if not every_token:
        lengths = {split: each.clamp(max=1) for split, each in lengths.items()}
    file = None if cache is None else cache.with_name(f"{cache.name}.text-{_key(encoder, data, every_token)}")
    states = _stored(file, lengths)
    if states is None:
        states = {split: _encode(encoder, features, lengths[split]) for split, features in data.items()}
        if file is not None and cache is not None and os.access(file.parent, os.W_OK):
            with new_file(file, like=cache) as partial:
                save_file(states, partial)
    return {
        split: replace(
            features, sequences=features.sequences | {"text": Ragged.from_lengths(states[split], lengths[split])}
        )
        for split, features in data.items()
    }


def _key(encoder: TextEncoder, data: Mapping[str, FeatureSet], every_token: bool) -> str:
    digest = hashlib.sha256(b"every token" if every_token else b"first token")
    tensors = dict(encoder.state_dict())
    for split, features in data.items():
        tensors |= {f"{split}/values": features.sequences["text"].values, f"{split}/offsets": features.lengths("text")}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _stored(file: Path | None, lengths: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    if file is None or not file.is_file():
        return None
    try:
        states = load_file(file)
    except SafetensorError:
        return None  # broken off while it was copied: encoded anew
    rows = {split: (2, int(each.sum())) for split, each in lengths.items()}
    return states if {split: (each.ndim, len(each)) for split, each in states.items()} == rows else None


@torch.no_grad()
def _encode(encoder: TextEncoder, features: FeatureSet, lengths: Tensor) -> Tensor:
    """The first `lengths` states of each text, end to end in the order of the split, (sum of lengths, D)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device)
    texts = replace(features, sequences={"text": features.sequences["text"]}, scaling={})
    states: list[Tensor] = [torch.empty(0, encoder.states_width, dtype=torch.float64)] * len(features)
    for batch in tqdm(list(batches(texts, BATCH_SIZE)), desc=f"text of {features.split}", unit="batch"):
        if not batch.lengths["text"].any():
            continue  # no sample of the batch has text
        encoded = encoder.states(batch.sequences["text"].to(device), batch.lengths["text"]).cpu()
        for place, state in zip(batch.index.tolist(), encoded, strict=True):
            states[place] = state[: lengths[place]].clone()
    return torch.cat(states)
