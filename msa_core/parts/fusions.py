"""Other fusions than the paper's: a tensor, gates, attention and a graph (low-rank: `msa_core.parts.low_rank`).

Each takes a mapping modality -> (B, D) to the multimodal feature, (B, width), and drops out shares of the encodings
unless it says otherwise.
"""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class UniformDropout(nn.Dropout):
    """torch's dropout, its mask drawn from uniform numbers: on a CPU this takes a quarter of the time of its own draw,
    which is half of the time of a large `TensorFusion`."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)."""
        return x * ((torch.rand_like(x) >= self.p).to(x.dtype) / (1 - self.p)) if self.training else x


class TensorFusion(nn.Module):
    """``F_m = relu(W1 dropout(outer product over s of [1; U_s]))`` (TFN; Zadeh et al. 2017, EMNLP, arXiv 1707.07250,
    section 4.2), U_s the encoding, through a learned linear map where it is wider than `reduced`.

    With the head behind it, `msa_core.model.Head`, it is thuiar/MMSA's inference network (2.2.1, TFN.py); its sigmoid,
    which keeps predictions within the labels' range, is left out. The encoders are this study's, not TFN's.

    Args:
        widths: modality -> width of its encoding.
        width: width of F_m.
        reduced: the largest width of U_s. The product has up to ``(reduced + 1)^3`` entries.
        dropout: share of the product's entries set to zero in training.
    """

    def __init__(self, widths: Mapping[str, int], width: int, reduced: int, dropout: float) -> None:
        super().__init__()
        self.maps = nn.ModuleDict(
            {name: nn.Linear(own, reduced) if own > reduced else nn.Identity() for name, own in widths.items()}
        )
        self.dropout = UniformDropout(dropout)
        entries = torch.tensor([min(own, reduced) + 1 for own in widths.values()]).prod()
        self.linear = nn.Linear(int(entries), width)
        self.width = width

    def forward(self, encodings: Mapping[str, Tensor]) -> Tensor:
        """Modality -> (B, D) each, to (B, width)."""
        product = next(iter(encodings.values())).new_ones(1, 1)
        for modality, reduce in self.maps.items():
            with_one = pad(reduce(encodings[modality]), (1, 0), value=1.0)
            product = (product[:, :, None] * with_one[:, None, :]).flatten(start_dim=1)
        return self.linear(self.dropout(product)).relu()


class GatedFusion(nn.Module):
    """``F_m = sum over s of sigmoid(V_s [F_t; F_a; F_v]) tanh(W_s F_s)`` (gated multimodal unit; Arevalo et al. 2017,
    arXiv 1702.01992, section 3): a gate for each modality and coordinate, from all modalities.

    Args:
        widths: modality -> width of its encoding.
        width: width of F_m.
        dropout: share of the encodings set to zero in training.
    """

    def __init__(self, widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.maps = nn.ModuleDict({modality: nn.Linear(own, width) for modality, own in widths.items()})
        self.gates = nn.Linear(sum(widths.values()), len(widths) * width)
        self.width = width

    def forward(self, encodings: Mapping[str, Tensor]) -> Tensor:
        """Modality -> (B, D) each, to (B, width)."""
        dropped = [self.dropout(encodings[modality]) for modality in self.maps]
        values = torch.stack([linear(x).tanh() for linear, x in zip(self.maps.values(), dropped, strict=True)], dim=1)
        gates = self.gates(torch.cat(dropped, dim=1)).sigmoid().view_as(values)  # (B, modalities, width)
        return (gates * values).sum(dim=1)


class AttentionFusion(nn.Module):
    """``F_m = relu(W [U_t + A_t; U_a + A_a; U_v + A_v])``, ``U_s = W_s F_s``, A_s the attention of U_s to the others.

    The multi-head attention of Vaswani et al. (2017, arXiv 1706.03762, section 3.2.2) across modalities, as the
    cross-modal attention of MulT (Tsai et al. 2019, arXiv 1906.00295, section 3.1), on one vector a modality.

    Args:
        widths: modality -> width of its encoding.
        width: width of U_s and of F_m, a multiple of heads.
        heads: of the attention.
        dropout: share of the encodings set to zero in training.

    Raises:
        ValueError: fewer than two modalities: there is none to attend to.
    """

    def __init__(self, widths: Mapping[str, int], width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"AttentionFusion: got encodings of {sorted(widths)} alone, expected at least two")
        self.dropout = nn.Dropout(dropout)
        self.maps = nn.ModuleDict({modality: nn.Linear(own, width) for modality, own in widths.items()})
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear = nn.Linear(len(widths) * width, width)
        self.width = width

    def forward(self, encodings: Mapping[str, Tensor]) -> Tensor:
        """Modality -> (B, D) each, to (B, width)."""
        own = torch.stack([linear(self.dropout(encodings[name])) for name, linear in self.maps.items()], dim=1)
        itself = torch.eye(own.shape[1], dtype=torch.bool, device=own.device)
        others = self.attention(own, own, own, attn_mask=itself, need_weights=False)[0]
        return self.linear((own + others).flatten(start_dim=1)).relu()


class GraphFusion(nn.Module):
    """Dynamic fusion graph (Zadeh et al. 2018, ACL, CMU-MOSEI, section 4), on one vector a modality.

    A vertex for each set of modalities: ``relu(W_s F_s)`` for one, and for more ``relu(W [its proper subsets])``.
    F_m is such a vertex of all of them. Each edge has an efficacy in (0, 1) that its vertex is multiplied by, the
    sigmoid of a linear map of the single modalities' vertices. The original's maps are networks of several layers.

    Args:
        widths: modality -> width of its encoding.
        width: width of each vertex and of F_m.
        dropout: share of the encodings set to zero in training.
    """

    def __init__(self, widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.maps = nn.ModuleDict({modality: nn.Linear(own, width) for modality, own in widths.items()})
        sets = [chosen for size in range(1, len(widths) + 1) for chosen in combinations(widths, size)]
        self.inputs = {chosen: [other for other in sets if {*other} < {*chosen}] for chosen in sets[len(widths) :]}
        self.inputs[("all vertices",)] = sets
        self.vertices = nn.ModuleDict({"_".join(v): nn.Linear(len(u) * width, width) for v, u in self.inputs.items()})
        self.efficacies = nn.Linear(len(widths) * width, sum(map(len, self.inputs.values())))
        self.width = width

    def forward(self, encodings: Mapping[str, Tensor]) -> Tensor:
        """Modality -> (B, D) each, to (B, width)."""
        values: dict[tuple[str, ...], Tensor] = {
            (name,): linear(self.dropout(encodings[name])).relu() for name, linear in self.maps.items()
        }
        efficacies = iter(self.efficacies(torch.cat(list(values.values()), dim=1)).sigmoid().split(1, dim=1))
        for vertex, inputs in self.inputs.items():
            weighted = torch.cat([next(efficacies) * values[other] for other in inputs], dim=1)
            values[vertex] = self.vertices["_".join(vertex)](weighted).relu()
        return values["all vertices",]
