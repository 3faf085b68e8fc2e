"""From the modalities' encodings to one multimodal feature."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Concatenation(nn.Module):
    """``F_m = relu(W1 dropout([F_t; F_a; F_v]))``, the paper's fusion.

    Args:
        widths: modality -> width of its encoding, in the order in which they are put together.
        width: width of F_m.
        dropout: share of the encodings set to zero in training.
    """

    def __init__(self, widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.modalities = tuple(widths)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(sum(widths.values()), width)
        self.width = width

    def forward(self, encodings: Mapping[str, Tensor]) -> Tensor:
        """Modality -> (B, D) each, to (B, width)."""
        together = torch.cat([encodings[modality] for modality in self.modalities], dim=-1)
        return self.linear(self.dropout(together)).relu()
