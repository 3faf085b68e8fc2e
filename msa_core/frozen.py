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
from msa_core.precision import fast_products

BATCH_SIZE = 64


def freeze_text(data: Mapping[str, FeatureSet], text_encoder: str, cache: Path | None = None) -> dict[str, FeatureSet]:
    """Put the encoder's state of the first token in the place of each text.

    Args:
        data: splits with token ids.
        text_encoder: a pretrained one, see `load_text_encoder`.
        cache: the features' cache; the states are kept beside it, if the folder allows it, in `<cache>.text-<key>`,
            where the key is made from the encoder's weights and the token ids, so that other weights or another text
            never meet; None: they are not kept.

    Returns:
        The same splits, each text a sequence of one state, (1, D) float32.

    Raises:
        ValueError: the data have no text, or the encoder is untrained.
    """
    if "text" not in data["train"].modalities:
        raise ValueError("model.freeze_text: got data without text, expected text; leave it false")
    if text_encoder == "tiny":
        raise ValueError(
            "model.freeze_text: got the text encoder 'tiny', which is untrained, expected a pretrained one; "
            "set model.text_encoder, or leave freeze_text false"
        )
    encoder = load_text_encoder(text_encoder).eval()
    file = None if cache is None else cache.with_name(f"{cache.name}.text-{_key(encoder, data)}")
    states = _stored(file)
    if states is None:
        states = {split: _encode(encoder, features) for split, features in data.items()}
        if file is not None and cache is not None and os.access(file.parent, os.W_OK):
            with new_file(file, like=cache) as partial:
                save_file(states, partial)
    return {
        split: replace(
            features, sequences=features.sequences | {"text": Ragged(states[split], torch.arange(len(features) + 1))}
        )
        for split, features in data.items()
    }


def _key(encoder: TextEncoder, data: Mapping[str, FeatureSet]) -> str:
    digest = hashlib.sha256()
    tensors = dict(encoder.state_dict())
    for split, features in data.items():
        tensors |= {f"{split}/values": features.sequences["text"].values, f"{split}/offsets": features.lengths("text")}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _stored(file: Path | None) -> dict[str, Tensor] | None:
    if file is None or not file.is_file():
        return None
    try:
        return load_file(file)
    except SafetensorError:
        return None  # broken off while it was copied: encoded anew


@torch.no_grad()
@fast_products()
def _encode(encoder: TextEncoder, features: FeatureSet) -> Tensor:
    """(N, D), in the order of the split."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device)
    texts = replace(features, sequences={"text": features.sequences["text"]}, scaling={})
    states = torch.empty(len(features), encoder.width)
    for batch in tqdm(list(batches(texts, BATCH_SIZE)), desc=f"text of {features.split}", unit="batch"):
        states[batch.index] = encoder(batch.sequences["text"].to(device), batch.lengths["text"]).float().cpu()
    return states
