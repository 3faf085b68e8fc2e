"""MulT, the multimodal transformer (Tsai et al. 2019, arXiv 1906.00295), as a host of alignment and label generation.

T time steps of a sequence, W width of the transformers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from msa_core.data.features import Batch
from msa_core.encoders import FrozenText, TextEncoder, real_steps
from msa_core.hub import HubModel
from msa_core.interfaces import MSAOutput


class CrossModalLayer(nn.Module):
    """One layer (section 3.2): attention of a sequence to a source, then a feed-forward layer, each on normalised
    input and added to it. Without a source, the sequence attends to itself."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.norm, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, source: Tensor | None, padding: Tensor) -> Tensor:
        """(B, T, W), the source (B, S, W) and its padding (B, S), True behind the end -> (B, T, W)."""
        keys = self.norm(x if source is None else source)
        x = x + self.attention(self.norm(x), keys, keys, key_padding_mask=padding, need_weights=False)[0]
        return x + self.feed_forward(self.norm_forward(x))


class CrossModalTransformer(nn.Module):
    """Layers over one sequence that all attend to the same source (section 3.2), with sinusoidal positions."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float, embedding_dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CrossModalLayer(width, heads, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(embedding_dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, padding: Tensor, source: Tensor | None = None) -> Tensor:
        """See `CrossModalLayer`; the padding is that of the source."""
        x = self.dropout(x * x.shape[2] ** 0.5 + positions(x))
        source = None if source is None else self.dropout(source * source.shape[2] ** 0.5 + positions(source))
        for layer in self.layers:
            x = layer(x, source, padding)
        return self.norm(x)


def positions(x: Tensor) -> Tensor:
    """Sinusoids of wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017), (T, W) for x (B, T, W)."""
    time = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
    place = torch.arange(x.shape[2], device=x.device)
    angles = time[:, None] * 10_000.0 ** (-2 * (place // 2) / x.shape[2]).to(x.dtype)
    return torch.where(place % 2 == 0, angles.sin(), angles.cos())


class MulT(HubModel):
    """Each modality's sequence attends to each other one's; the last steps of all are the multimodal feature.

    Sequences are brought to one width by a convolution (here padded, so that the length stays). For each modality, the
    outputs of its cross-modal transformers go side by side through a transformer of their own, whose output at the
    last real step is that modality's encoding: the alignment acts on it, and it is what unimodal tasks read. The
    multimodal feature is a residual block of all encodings. Padding is masked, which the release does not do, and no
    future step is, as in the paper; the release masks them. A sample that lacks a modality has one learned step.

    Args:
        text: encoder of the text's tokens, or None for data without text.
        frame_widths: "audio", "vision" -> width of a frame; only those that the data have.
        settings: `msa_core.config.model.MulTConfig`.
        projections: modality -> module giving its own feature from its encoding, for its unimodal task.
        heads: each modality in `projections` -> module giving (B,).

    Raises:
        ValueError: fewer than two modalities.
    """

    def __init__(
        self,
        text: TextEncoder | FrozenText | None,
        frame_widths: Mapping[str, int],
        settings: Any,
        projections: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        widths = ({} if text is None else {"text": text.states_width}) | dict(frame_widths)
        if len(widths) < 2:
            raise ValueError(f"MulT: got data with {sorted(widths)} alone, expected at least two modalities")
        self.text, self.text_dropout = text, nn.Dropout(settings.text_dropout)
        width, own_width = settings.width, settings.width * (len(widths) - 1)
        self.convolutions = nn.ModuleDict(
            {name: nn.Conv1d(own, width, settings.kernel, padding="same", bias=False) for name, own in widths.items()}
        )
        self.absent = nn.ParameterDict({modality: nn.Parameter(torch.zeros(width)) for modality in widths})
        dropouts = settings.attention_dropout, settings.embedding_dropout
        self.cross = nn.ModuleDict(
            {
                f"{target}_{source}": CrossModalTransformer(width, settings.heads, settings.layers, *dropouts)
                for target in widths
                for source in widths
                if source != target
            }
        )
        memory_layers = max(settings.layers, 3)
        self.memory = nn.ModuleDict(
            {name: CrossModalTransformer(own_width, settings.heads, memory_layers, *dropouts) for name in widths}
        )
        total = own_width * len(widths)
        self.residual = nn.Sequential(
            nn.Linear(total, total), nn.ReLU(), nn.Dropout(settings.output_dropout), nn.Linear(total, total)
        )
        self.out = nn.Linear(total, 1)
        self.projections, self.heads = nn.ModuleDict(projections), nn.ModuleDict(heads)
        self.tasks = ("multimodal", *projections)
        self.encoding_widths = dict.fromkeys(widths, own_width)
        self.feature_widths = {"multimodal": total} | {name: part.width for name, part in projections.items()}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The text encoder's parameters; all others are in the rest."""
        return {} if self.text is None else {"text": list(self.text.parameters())}

    def forward(self, batch: Batch) -> MSAOutput:
        """Predict B samples."""
        sequences = {modality: self._sequence(modality, batch) for modality in self.memory}
        device = batch.labels.device
        lengths = {name: batch.lengths[name].clamp(min=1).to(device, non_blocking=True) for name in sequences}
        padding = {name: ~real_steps(x, lengths[name]) for name, x in sequences.items()}
        encodings = {}
        for target, x in sequences.items():
            attended = [
                self.cross[f"{target}_{source}"](x, padding[source], sequences[source])
                for source in sequences
                if source != target
            ]
            states = self.memory[target](torch.cat(attended, dim=2), padding[target])  # (B, T, own_width)
            encodings[target] = states[torch.arange(len(batch), device=device), lengths[target] - 1]
        joined = torch.cat(list(encodings.values()), dim=1)
        features = {"multimodal": joined + self.residual(joined)}
        features |= {modality: project(encodings[modality]) for modality, project in self.projections.items()}
        predictions = {"multimodal": self.out(features["multimodal"]).squeeze(-1)}
        predictions |= {modality: head(features[modality]) for modality, head in self.heads.items()}
        return MSAOutput(predictions, features, encodings, present=batch.present)

    def _sequence(self, modality: str, batch: Batch) -> Tensor:
        """(B, T, W), the learned step first where the sample lacks the modality."""
        raw, lengths = batch.sequences[modality], batch.lengths[modality]
        if modality not in batch.present:
            return self._projected(modality, raw, lengths)
        steps = self.absent[modality].expand(len(batch), max(raw.shape[1], 1), -1)
        rows = batch.rows(modality)
        if not len(rows):
            return steps
        real = self._projected(modality, raw[rows], lengths[lengths > 0])
        return steps.to(real.dtype).index_put((rows,), real)

    def _projected(self, modality: str, raw: Tensor, lengths: Tensor) -> Tensor:
        if modality == "text" and self.text is not None:
            raw = self.text_dropout(self.text.states(raw, lengths))
        real = real_steps(raw, lengths)
        return self.convolutions[modality]((raw * real[..., None]).transpose(1, 2)).transpose(1, 2)
