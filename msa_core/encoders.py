"""Encoders: a pretrained BERT for text, an LSTM for audio and for vision (arXiv 2305.08473, after Self-MM).

Each gives one vector for a sequence when it is called, `width` wide. Models that read the whole sequence call
`states`, which gives one vector for each token or frame, `states_width` wide.
"""

import math
import sys
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from msa_core.requirements import encoder_folder
from msa_core.vocabulary import VOCABULARY, planted_tokenizer


class TrainedRows(nn.Module):
    """An embedding of which some rows are trained and the others stay as they were pretrained.

    A row that no training text touches has no gradient but that of the weight decay, which Adam turns into full steps
    towards zero: it would be unlearned, for words that only the test texts have. To leave it out also saves its share
    of each step: half of MiniLM's parameters are embedding rows, and MOSI's texts touch a tenth of them.

    Args:
        embedding: (V, D), as pretrained.
        rows: those to be trained, (R,), none twice.
    """

    def __init__(self, embedding: nn.Embedding, rows: Tensor) -> None:
        super().__init__()
        weight = embedding.weight.detach()
        self.register_buffer("pretrained", weight)
        self.register_buffer("place", torch.full((len(weight),), -1).scatter(0, rows, torch.arange(len(rows))))
        self.trained = nn.Parameter(weight[rows])

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (...) -> (..., D)."""
        place = self.get_buffer("place")[ids]
        trained = nn.functional.embedding(place.clamp(min=0), self.trained)
        return torch.where(place[..., None] >= 0, trained, self.get_buffer("pretrained")[ids])


def trained_rows(weights: Path) -> Tensor:
    """The rows that the `TrainedRows` of a model's safetensors file trains, (R,), as its constructor takes them."""
    with safe_open(weights, framework="pt") as stored:
        (place,) = (stored.get_tensor(name) for name in stored.keys() if name.endswith(".place"))  # noqa: SIM118
    return (place >= 0).nonzero()[:, 0]


class TextEncoder(nn.Module):
    """The last hidden state of a transformer's first token, fine-tuned with the rest.

    Args:
        transformer: any `transformers` encoder that takes `input_ids` and `attention_mask`.
        vocabulary: token ids of the training texts, (R,), none twice: other tokens' embeddings are not trained.
            None: all are.
        frozen: True: nothing is trained, and there is no dropout in training either.
    """

    def __init__(self, transformer: PreTrainedModel, vocabulary: Tensor | None = None, frozen: bool = False) -> None:
        super().__init__()
        self.frozen = frozen
        if vocabulary is not None:
            transformer.set_input_embeddings(
                TrainedRows(cast(nn.Embedding, transformer.get_input_embeddings()), vocabulary)
            )
        self.transformer = transformer
        self.width = self.states_width = int(transformer.config.hidden_size)
        if getattr(transformer, "pooler", None) is not None:
            transformer.register_module("pooler", None)  # made from the first token's state and read by nobody here
        if frozen:
            transformer.requires_grad_(False)

    def train(self, mode: bool = True) -> "TextEncoder":
        """As `nn.Module.train`, but a frozen transformer stays in evaluation mode."""
        super().train(mode)
        self.transformer.train(mode and not self.frozen)
        return self

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, T) and lengths (B,) -> (B, width)."""
        return self.states(tokens, lengths)[:, 0]

    def states(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, T) and lengths (B,) -> last hidden states (B, T, states_width)."""
        mask = self._mask(tokens, lengths) if bool((lengths < tokens.shape[1]).any()) else None
        return self.transformer(input_ids=tokens, attention_mask=mask).last_hidden_state

    def _mask(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Which tokens are read, (B, 1, T, T) if the transformer takes such a mask as it is, else (B, T).

        Of one (B, T), transformers asks whether all are read, and a GPU would be waited for to know.
        """
        real = real_steps(tokens, lengths)
        makes_masks = hasattr(sys.modules[type(self.transformer).__module__], "create_bidirectional_mask")
        if makes_masks and self.transformer.config._attn_implementation == "sdpa":
            return real[:, None, None].expand(-1, -1, tokens.shape[1], -1)
        return real.long()


class FrozenText(nn.Module):
    """Hands on the states that `msa_core.frozen` has put in the place of the text.

    Args:
        width: of a state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = self.states_width = width

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States (B, T, width) -> the first one of each text, (B, width)."""
        return self.states(states, lengths)[:, 0]

    def states(self, states: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 (an encoder is called so)
        """States (B, T, width), as they are."""
        return states


class FrameEncoder(nn.Module):
    """A one-layer LSTM over the frames, packed by length; its last hidden state through dropout and a linear layer.

    Args:
        frame_dim: D, width of a frame.
        hidden: width of the LSTM.
        width: width of the output.
        dropout: share of the last hidden state set to zero in training.
        frozen: True: the LSTM is not trained, the linear layer is.
    """

    def __init__(self, frame_dim: int, hidden: int, width: int, dropout: float, frozen: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(frame_dim, hidden, batch_first=True).requires_grad_(not frozen)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, width)
        self.width = width
        self.states_width = hidden

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, D) and lengths (B,), each at least 1, on the CPU -> (B, width)."""
        _, (last_hidden, _) = self.lstm(packed(frames, lengths))  # (1, B, hidden)
        return self.linear(self.dropout(last_hidden[0]))

    def states(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames and lengths as in `forward` -> hidden states (B, T, states_width), zeros behind a sequence's end."""
        states, _ = self.lstm(packed(frames, lengths))
        in_order = PackedSequence(states.data, states.batch_sizes)
        padded, _ = pad_packed_sequence(in_order, batch_first=True, total_length=frames.shape[1])
        return padded.index_select(0, states.unsorted_indices)


def packed(frames: Tensor, lengths: Tensor) -> PackedSequence:
    """The frames (B, T, D) packed by their lengths (B,), on the CPU, longest first.

    What `enforce_sorted=False` makes, but it copies the order to a GPU in a way that waits for all earlier work there.
    """
    lengths, order = lengths.sort(descending=True)
    rows = order.to(frames.device, non_blocking=True)
    in_order = pack_padded_sequence(frames.index_select(0, rows), lengths, batch_first=True)
    return PackedSequence(in_order.data, in_order.batch_sizes, rows)


def real_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Which steps of x (B, T, ...) come before its samples' ends, (B, T) bool; lengths (B,), on the CPU too."""
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device, non_blocking=True)[:, None]


def mean_over_time(states: Tensor, lengths: Tensor) -> Tensor:
    """Mean over each sequence's real steps: states (B, T, D) and lengths (B,) -> (B, D), zeros for length 0."""
    real = real_steps(states, lengths)  # (B, T)
    return (states * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)


def load_text_encoder(name: str, vocabulary: Tensor | None = None, frozen: bool = False) -> TextEncoder:
    """A text encoder by name.

    Args:
        name: "tiny", a two-layer BERT of the planted vocabulary, untrained; "minilm", the pretrained MiniLM of the
            optional extra `[minilm]` (nothing is downloaded); anything else goes to `transformers.AutoModel`: a
            model's name on its hub, such as "bert-base-uncased", or a folder.
        vocabulary, frozen: see `TextEncoder`.

    Raises:
        ModuleNotFoundError: "minilm" without its extra.
        OSError: no such model, or its hub cannot be reached; says what to set instead.
        ValueError: the model has pickled weights only, needs code of its own, or is damaged.
    """
    if name != "tiny":
        return TextEncoder(_pretrained(AutoModel, name), vocabulary, frozen)
    return TextEncoder(BertModel(_tiny_config(), add_pooling_layer=False), vocabulary, frozen)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `load_text_encoder(name)`; names and errors as there."""
    return planted_tokenizer() if name == "tiny" else _pretrained(AutoTokenizer, name)


def most_tokens(name: str, tokenizer: PreTrainedTokenizerBase) -> float:
    """The longest text that an encoder has positions for, in tokens; infinite if it has no such limit.

    Args:
        name: of the encoder, as in `load_text_encoder`.
        tokenizer: its own, which knows of positions that the encoder keeps for itself.
    """
    config = _tiny_config() if name == "tiny" else _pretrained(AutoConfig, name)
    positions = getattr(config, "max_position_embeddings", None)
    return min(tokenizer.model_max_length, positions if positions and positions > 0 else math.inf)


def states_width(name: str) -> int:
    """Width of an encoder's states; names and errors as in `load_text_encoder`."""
    return int((_tiny_config() if name == "tiny" else _pretrained(AutoConfig, name)).hidden_size)


def _tiny_config() -> BertConfig:
    return BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
    )


def _pretrained(kind: Any, name: str) -> Any:
    weights = {"use_safetensors": True} if kind is AutoModel else {}
    try:
        place = str(encoder_folder(name)) if name == "minilm" else name
        return kind.from_pretrained(place, trust_remote_code=False, **weights)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # transformers raises errors of many kinds for a model that it cannot read
        reason = shorten(str(error), 400)
        if "model.safetensors" in reason:
            raise ValueError(
                f"text encoder {name!r}: got no model.safetensors, expected weights in that format; pickled weights "
                "(pytorch_model.bin) can run a program and are not read: choose a model that has model.safetensors, "
                "or convert one that you trust with transformers' save_pretrained"
            ) from None
        if isinstance(error, OSError):
            raise OSError(
                f"text encoder {name!r}: got neither a folder nor a model that transformers could fetch ({reason}); "
                "set text.encoder to a folder that holds a model, or to 'minilm', which needs no network"
            ) from None
        raise ValueError(
            f"text encoder {name!r}: got a model that transformers cannot read without running the model's own code, "
            f"or that is damaged ({reason}); choose another one, such as 'minilm'"
        ) from None
