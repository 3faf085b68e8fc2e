"""MISA (Hazarika et al. 2020, ACM Multimedia, arXiv 2005.03545), as a host of alignment and label generation.

Each modality's vector is split into a part that it shares with the others and one of its own. T steps, W width.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from msa_core.data.features import Batch
from msa_core.encoders import FrozenText, TextEncoder, mean_over_time, packed
from msa_core.model import MSAModel
from msa_core.parts.distances import cmd_distance, unit_rows


class MeanState(nn.Module):
    """The mean of the text encoder's states over a text's tokens (section 3, utterance-level representations)."""

    def __init__(self, text: TextEncoder | FrozenText) -> None:
        super().__init__()
        self.text = text
        self.width = text.states_width

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Tokens (B, T) or states (B, T, width), and lengths (B,), each at least 1 -> (B, width)."""
        return mean_over_time(self.text.states(tokens, lengths), lengths)


class StackedLSTM(nn.Module):
    """Two bidirectional LSTMs, each direction as wide as a frame, with a layer normalisation between them.

    Gives the last hidden states of both directions of both (section 3, utterance-level representations).
    """

    def __init__(self, frame_width: int) -> None:
        super().__init__()
        self.first = nn.LSTM(frame_width, frame_width, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(2 * frame_width)
        self.second = nn.LSTM(2 * frame_width, frame_width, batch_first=True, bidirectional=True)
        self.width = 4 * frame_width

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, D) and lengths (B,), each at least 1, on the CPU -> (B, 4 D)."""
        states, (first, _) = self.first(packed(frames, lengths))
        _, (second, _) = self.second(states._replace(data=self.norm(states.data)))
        return torch.cat([*first, *second], dim=1)


class Utterance(nn.Module):
    """``u = norm(relu(W x))``: a modality's vector x at the width that all modalities have."""

    def __init__(self, encoder: MeanState | StackedLSTM, width: int) -> None:
        super().__init__()
        self.encoder, self.linear, self.norm = encoder, nn.Linear(encoder.width, width), nn.LayerNorm(width)
        self.width = width

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        """As the encoder, -> (B, W)."""
        return self.norm(self.linear(self.encoder(sequence, lengths)).relu())


class SharedAndPrivate(nn.Module):
    """A transformer layer over the shared and the private parts, then a linear layer (section 3, modality fusion)."""

    def __init__(self, modalities: list[str], settings: Any) -> None:
        super().__init__()
        width = settings.width
        self.shared = nn.Linear(width, width)
        self.private = nn.ModuleDict({modality: nn.Linear(width, width) for modality in modalities})
        self.transformer = nn.TransformerEncoderLayer(
            width, settings.heads, settings.feed_forward, settings.attention_dropout, batch_first=True
        )
        self.width = len(modalities) * width
        self.linear, self.dropout = nn.Linear(2 * self.width, self.width), nn.Dropout(settings.dropout)

    def forward(self, encodings: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """F_m (B, width), and of each modality the shared part before its sigmoid and the private one, (B, W)."""
        shared = {modality: self.shared(x) for modality, x in encodings.items()}
        private = {modality: self.private[modality](x).sigmoid() for modality, x in encodings.items()}
        parts = torch.stack([*private.values(), *(logits.sigmoid() for logits in shared.values())], dim=1)
        return self.dropout(self.linear(self.transformer(parts).flatten(start_dim=1))).relu(), shared, private


class MISA(MSAModel):
    """The alignment acts on the modalities' vectors u, which unimodal tasks read too; the head is one linear layer.

    Its own losses (section 3, learning) are over the samples that have the modalities: the similarity of the shared
    parts, by the central moment discrepancy; the difference of shared from private parts and of private ones from each
    other; and the reconstruction of u from the sum of both parts. A learned vector stands in for u where a sample lacks
    the modality.

    Arguments and errors are those of `msa_core.hosts.mult.MulT`, the settings `msa_core.config.model.MISAConfig`.
    """

    def __init__(
        self,
        text: TextEncoder | FrozenText | None,
        frame_widths: Mapping[str, int],
        settings: Any,
        projections: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
    ) -> None:
        sources = ({} if text is None else {"text": MeanState(text)}) | {
            modality: StackedLSTM(width) for modality, width in frame_widths.items()
        }
        if len(sources) < 2:
            raise ValueError(f"MISA: got data with {sorted(sources)} alone, expected at least two modalities")
        encoders = {modality: Utterance(source, settings.width) for modality, source in sources.items()}
        fusion = SharedAndPrivate(list(encoders), settings)
        head = nn.Sequential(nn.Linear(fusion.width, 1), nn.Flatten(start_dim=0))
        super().__init__(encoders, fusion, projections, {"multimodal": head, **heads})
        self.decoders = nn.ModuleDict({name: nn.Linear(settings.width, settings.width) for name in encoders})
        self.weights = {name: getattr(settings, name) for name in ("similarity", "difference", "reconstruction")}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The text encoder's parameters; all others are in the rest."""
        return {"text": [*self.get_submodule("encoders.text.encoder").parameters()]} if "text" in self.encoders else {}

    def fuse(self, encodings: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `MSAModel.fuse`."""
        feature, shared, private = self.fusion(encodings)
        similarity, differences, reconstruction = list[Tensor](), list[Tensor](), list[Tensor]()
        for modality, u in encodings.items():
            rows = batch.rows(modality)
            if len(rows):
                decoded = self.decoders[modality](shared[modality].sigmoid() + private[modality])
                reconstruction.append(mse_loss(decoded[rows], u[rows]))
                differences.append(difference(shared[modality].sigmoid()[rows], private[modality][rows]))
        for first, second in combinations(encodings, 2):
            rows = batch.rows(first, second)
            if len(rows):
                similarity.append(discrepancy(shared[first][rows], shared[second][rows]))
                differences.append(difference(private[first][rows], private[second][rows]))
        # The paper takes means over pairs and modalities, and the sum of the differences.
        terms: dict[str, tuple[Any, list[Tensor]]] = {
            "similarity": (torch.mean, similarity),
            "difference": (torch.sum, differences),
            "reconstruction": (torch.mean, reconstruction),
        }
        return feature, {
            name: self.weights[name] * reduce(torch.stack(values)) for name, (reduce, values) in terms.items() if values
        }


def discrepancy(x: Tensor, z: Tensor) -> Tensor:
    """Central moment discrepancy of sigmoid(X) and sigmoid(Z), up to the fifth moment (section 3, similarity loss).

    The sum over moments of Euclidean norms. `cmd_distance` squashes by ``(1 + tanh x) / 2 = sigmoid(2 x)``, and has
    the root mean square over the D coordinates in the place of the norm.

    Args:
        x, z: (B, D) each.

    Returns:
        Scalar, within [0, 2.5 sqrt(D)].
    """
    return x.shape[1] ** 0.5 * cmd_distance(x / 2, z / 2)


def difference(x: Tensor, z: Tensor) -> Tensor:
    """Mean of the squares of X'Z, samples centred over the batch, then of unit norm (section 3, difference loss).

    The paper has the sum; the mean is the release's, for which the weight is published. The release keeps the norms
    out of the gradient.

    Args:
        x, z: (B, D) each.

    Returns:
        Scalar; 0 where each coordinate of one is orthogonal, over the batch, to each of the other.
    """
    x, z = (unit_rows(part - part.mean(dim=0)) for part in (x, z))
    return (x.T @ z).square().mean()
