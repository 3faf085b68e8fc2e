"""The paper's model: encoders shared by all tasks, one fusion, one head a task (hard parameter sharing)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from msa_core.data.features import Batch
from msa_core.hub import HubModel
from msa_core.interfaces import MSAOutput, Nothing

__all__ = ["Head", "MSAModel", "MSAOutput", "Projection"]


class Projection(nn.Module):
    """``F*_s = relu(W1s dropout(F_s))``: a modality's own feature, from its shared encoding."""

    def __init__(self, encoding_width: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(encoding_width, width)
        self.width = width

    def forward(self, encoding: Tensor) -> Tensor:
        """(B, encoding_width) -> (B, width)."""
        return self.linear(self.dropout(encoding)).relu()


class Head(nn.Module):
    """``yhat = w3 relu(W2 F)``: from a task's feature to its sentiment.

    Args:
        width: of the feature.
        bound: H, for ``H tanh(yhat / 2)`` in its place, within [-H, H] (TFN, Zadeh et al. 2017, arXiv 1707.07250, as in
            thuiar/MMSA 2.2.1); None: yhat as it is.

    >>> bool(Head(4, bound=3)(1e6 * torch.ones(2, 4)).abs().max() <= 3)
    True
    """

    def __init__(self, width: int, bound: float | None = None) -> None:
        super().__init__()
        self.bound = bound
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, width) -> (B,)."""
        predicted = self.out(self.hidden(feature).relu()).squeeze(-1)
        return predicted if self.bound is None else self.bound * (predicted / 2).tanh()


class MSAModel(HubModel):
    """Composed of its parts; knows nothing of losses, labels or data sets.

    A sample that lacks a modality has a learned vector in the place of its encoding (zero before training).

    Args:
        encoders: modality -> module taking (sequence, lengths), giving (B, D), with its `width` D.
        fusion: module taking a mapping modality -> (B, D), giving the multimodal feature, with its `width`.
        projections: modality -> module giving that modality's own feature, with its `width`; those without one have
            no unimodal task.
        heads: "multimodal" and each modality in `projections` -> module giving (B,).
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        projections: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        if set(heads) != {"multimodal", *projections}:
            raise ValueError(
                f"MSAModel: got heads for {sorted(heads)}, "
                f"expected one for 'multimodal' and one for each of {sorted(projections)}"
            )
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.projections = nn.ModuleDict(projections)
        self.heads = nn.ModuleDict(heads)
        self.tasks = tuple(heads)
        self.encoding_widths = {modality: encoder.width for modality, encoder in encoders.items()}  # type: ignore[misc]
        self.feature_widths = {task: part.width for task, part in {"multimodal": fusion, **projections}.items()}  # type: ignore[misc]
        self.absent = nn.ParameterDict(
            {modality: nn.Parameter(torch.zeros(width)) for modality, width in self.encoding_widths.items()}
        )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Each encoder's parameters, in the group of its modality."""
        return {modality: list(encoder.parameters()) for modality, encoder in self.encoders.items()}

    def forward(self, batch: Batch) -> MSAOutput:
        """Predict B samples."""
        encodings = {modality: self._encoding(modality, batch) for modality in self.encoders}
        fused, losses = self.fuse(encodings, batch)
        features = {"multimodal": fused}
        features |= {modality: project(encodings[modality]) for modality, project in self.projections.items()}
        predictions = {task: head(features[task]) for task, head in self.heads.items()}
        return MSAOutput(predictions, features, encodings, losses, batch.present)

    def fuse(self, encodings: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:  # noqa: ARG002
        """The multimodal feature, (B, width), and the model's own loss terms: none here, for other models to override.

        Args:
            encodings: modality -> (B, D).
            batch: that they are of.
        """
        return self.fusion(encodings), Nothing

    def _encoding(self, modality: str, batch: Batch) -> Tensor:
        """(B, D): the encoder's, and the learned vector where a sample lacks the modality."""
        encoder, sequence, lengths = self.encoders[modality], batch.sequences[modality], batch.lengths[modality]
        if modality not in batch.present:
            return encoder(sequence, lengths)
        encoding = self.absent[modality].expand(len(batch), -1)
        rows = batch.rows(modality)
        if not len(rows):
            return encoding
        real = encoder(sequence[rows], lengths[lengths > 0])
        return encoding.to(real.dtype).index_put((rows,), real)
