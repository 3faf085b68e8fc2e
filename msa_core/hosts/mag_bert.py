"""MAG-BERT (Rahman et al. 2020, ACL, arXiv 1908.05787), as a host of alignment and label generation.

The multimodal adaptation gate shifts each word inside the text encoder by what audio and vision say. T tokens, W width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from msa_core.data.features import Batch
from msa_core.encoders import FrameEncoder, FrozenText, TextEncoder, mean_over_time
from msa_core.interfaces import Nothing
from msa_core.model import MSAModel


class Gate(nn.Module):
    """``norm(Z + alpha H)`` through dropout, ``H = sum over s of relu(V_s [F_s; Z]) * W_s F_s`` for each token Z,
    ``alpha = min(shift ||Z|| / ||H||, 1)`` (its section on the gate).

    Args:
        width: W, of a token.
        widths: modality -> width D of its vector.
        shift: the largest norm of the shift, over that of the token.
        dropout: share of the output set to zero in training.
    """

    def __init__(self, width: int, widths: Mapping[str, int], shift: float, dropout: float) -> None:
        super().__init__()
        self.gates = nn.ModuleDict({modality: nn.Linear(own + width, width) for modality, own in widths.items()})
        self.maps = nn.ModuleDict({modality: nn.Linear(own, width) for modality, own in widths.items()})
        self.shift, self.norm, self.dropout = shift, nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, tokens: Tensor, vectors: Mapping[str, Tensor]) -> Tensor:
        """Tokens (B, T, W) and modality -> (B, D) -> (B, T, W)."""
        shifts = []
        for modality, gate in self.gates.items():
            vector = vectors[modality][:, None]  # (B, 1, D)
            both = torch.cat([vector.expand(-1, tokens.shape[1], -1), tokens], dim=2)
            shifts.append(gate(both).relu() * self.maps[modality](vector))
        total = torch.stack(shifts).sum(dim=0)
        norm = torch.linalg.vector_norm(total, dim=2, keepdim=True)
        bound = self.shift * torch.linalg.vector_norm(tokens, dim=2, keepdim=True)
        # Where a shift is zero, so is the product: the norm below the line may be any.
        alpha = (bound / torch.where(norm > 0, norm, torch.ones_like(norm))).clamp(max=1)
        return self.dropout(self.norm(tokens + alpha * total))


class MeanEmbedding(nn.Module):
    """The mean of a text's token embeddings, as the transformer's first layer would read them."""

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        self.text: Any = text
        self.width = text.states_width

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, T) and lengths (B,), each at least 1 -> (B, W)."""
        return mean_over_time(self.text.transformer.embeddings(tokens), lengths)


class Pooler(nn.Module):
    """``F_m = tanh(W x)`` of the first token's state, as BERT's pooler, untrained at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.width = width

    def forward(self, state: Tensor) -> Tensor:
        """(B, W) -> (B, W)."""
        return self.linear(state).tanh()


class MAGBert(MSAModel):
    """A text encoder with the gate between its embeddings and its layers; a linear head on its first token's state.

    No word alignment is at hand: the encoders' tokenizers split words otherwise than the features were aligned, and
    most features are not aligned at all. Every token is therefore shifted by the vectors of the whole utterance, those
    of an LSTM for audio and for vision, on which the alignment acts. Unimodal tasks read what each modality has before
    the gate; of the text this is the mean of its embeddings. A sample that lacks audio or vision has a learned vector
    for it; one that lacks the text has a single padding token, which the other modalities shift.

    Arguments are those of `msa_core.hosts.mult.MulT`, the settings `msa_core.config.model.MAGBertConfig`.

    Raises:
        ValueError: no text, text that is frozen or of an encoder without embeddings, or nothing but text.
    """

    def __init__(
        self,
        text: TextEncoder | FrozenText | None,
        frame_widths: Mapping[str, int],
        settings: Any,
        projections: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
    ) -> None:
        if not isinstance(text, TextEncoder) or not hasattr(text.transformer, "embeddings"):
            found = "no text" if text is None else type(getattr(text, "transformer", text)).__name__
            raise ValueError(
                f"MAGBert: got {found}, expected a text encoder that is fine-tuned and has embeddings, as BERT; the "
                "gate is inside it: set text.frozen false, or choose data with text"
            )
        if not frame_widths:
            raise ValueError("MAGBert: got data with ['text'] alone, expected also audio or vision")
        frames = settings.frames
        encoders: dict[str, nn.Module] = {"text": MeanEmbedding(text)}
        for modality, own in frame_widths.items():
            encoders[modality] = FrameEncoder(own, frames.hidden, frames.width, frames.dropout)
        head = nn.Sequential(nn.Dropout(settings.head_dropout), nn.Linear(text.width, 1), nn.Flatten(start_dim=0))
        super().__init__(encoders, Pooler(text.width), projections, {"multimodal": head, **heads})
        self.gate = Gate(text.width, dict.fromkeys(frame_widths, frames.width), settings.shift, settings.dropout)

    def fuse(self, encodings: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `MSAModel.fuse`."""
        tokens, lengths = batch.sequences["text"], batch.lengths["text"].clamp(min=1)
        tokens = tokens if tokens.shape[1] else tokens.new_zeros(len(batch), 1)
        text: Any = self.get_submodule("encoders.text.text")
        hook = text.transformer.embeddings.register_forward_hook(lambda *call: self.gate(call[-1], encodings))
        try:
            return self.fusion(text(tokens, lengths)), Nothing
        finally:
            hook.remove()
