"""Low-rank multimodal fusion (LMF; Liu et al. 2018, arXiv 1806.00064)."""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class LowRankFusion(nn.Module):
    """``F_m = relu(sum over r of prod over s of (W_s^(r) [dropout(F_s); 1]) + b)`` (section 3.3, equation 9).

    It is a linear map of the outer product of all modalities' encodings, each with a 1 behind it, whose weight tensor
    has rank R: all products of features across modalities enter, at a cost linear in the number of modalities. The
    rectification is ours, as in the paper's fusion; the release also learns a weight for each r, which the factors
    can take on.

    Args:
        widths: modality -> width of its encoding.
        width: width of F_m.
        rank: R, number of terms.
        dropout: share of the encodings set to zero in training.
        matrices: False: initial weights by Glorot's rule on a factor as a whole, as in the release, whose width is 1.
            The rule takes the width for that of a filter, so that the factors start too small (at width 128, by 7
            for 64 features), and their product far more. True: by the rule on each of a factor's R matrices.
    """

    def __init__(
        self, widths: Mapping[str, int], width: int, rank: int, dropout: float, matrices: bool = False
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.factors = nn.ParameterDict(
            {modality: nn.Parameter(torch.empty(rank, own + 1, width)) for modality, own in widths.items()}
        )
        for factor in self.factors.values():
            for part in factor if matrices else [factor]:
                nn.init.xavier_normal_(part)
        self.bias = nn.Parameter(torch.zeros(width))
        self.width = width

    def forward(self, encodings: Mapping[str, Tensor]) -> Tensor:
        """Modality -> (B, D) each, to (B, width)."""
        with_one = {modality: pad(self.dropout(encodings[modality]), (0, 1), value=1.0) for modality in self.factors}
        terms = prod(with_one[modality] @ factor for modality, factor in self.factors.items())  # (R, B, width)
        return (terms.sum(dim=0) + self.bias).relu()
