"""The alternating schedule of MLA (Zhang, Yoon, Bansal and Yao 2024, CVPR, arXiv 2311.10707).

Each step trains one modality's encoder, through a head that all modalities share.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from msa_core.data.features import Batch
from msa_core.encoders import FrameEncoder, FrozenText, TextEncoder
from msa_core.interfaces import MSAOutput, Nothing
from msa_core.model import Head, MSAModel, Projection


class Alternating(MSAModel):
    """In training, the multimodal prediction is that of one modality, ``head(P_s F_s)``; the next batch takes the next.

    In evaluation it is the mean over the modalities that a sample has; over all, if it has none. Without an alignment
    and unimodal tasks, which are trained in each step, the other modalities' encoders have no gradient and stay as they
    are. With `training.accumulate`, a step takes several batches, and so several modalities.

    The schedule alone: MLA also changes the head's gradients, so that it does not forget a modality while it is trained
    on another, and weighs the modalities' predictions, those of classes, by their entropy; here they count alike. Its
    encoders are others.

    Arguments are those of `msa_core.hosts.mult.MulT`, the settings `msa_core.config.model.AlternatingConfig`.
    """

    turn: Tensor  # batches that were trained on

    def __init__(
        self,
        text: TextEncoder | FrozenText | None,
        frame_widths: Mapping[str, int],
        settings: Any,
        projections: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
    ) -> None:
        frames = settings.frames
        encoders: dict[str, Any] = {} if text is None else {"text": text}
        for modality, own in frame_widths.items():
            encoders[modality] = FrameEncoder(own, frames.hidden, frames.width, frames.dropout)
        widths = {modality: encoder.width for modality, encoder in encoders.items()}
        fusion = SharedSpace(widths, settings.width, settings.dropout)
        super().__init__(encoders, fusion, projections, {"multimodal": SharedHead(settings.width), **heads})
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> MSAOutput:
        """Predict B samples."""
        output = super().forward(batch)
        each = output.predictions["multimodal"]  # (B, S)
        if self.training:
            prediction = each[:, self._modality]
            self.turn += 1
        else:
            have = torch.stack([batch.having(modality) for modality in self.encoders], dim=1)
            have = have | ~have.any(dim=1, keepdim=True)
            prediction = (each * have).sum(dim=1) / have.sum(dim=1)
        return output._replace(predictions={**output.predictions, "multimodal": prediction})

    def fuse(self, encodings: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:  # noqa: ARG002
        """See `MSAModel.fuse`."""
        parts = self.fusion(encodings)
        if self.training:  # what has no gradient, not one of zero, no step moves
            parts = [part if place == self._modality else part.detach() for place, part in enumerate(parts)]
        return torch.cat(parts, dim=1), Nothing

    @property
    def _modality(self) -> int:
        return int(self.turn) % len(self.encoders)


class SharedSpace(nn.Module):
    """Each modality's encoding in the space of the shared head."""

    def __init__(self, widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.projections = nn.ModuleDict({name: Projection(own, width, dropout) for name, own in widths.items()})
        self.width = len(widths) * width

    def forward(self, encodings: Mapping[str, Tensor]) -> list[Tensor]:
        """Modality -> (B, D) each, to S of (B, W), in the order of the modalities."""
        return [project(encodings[modality]) for modality, project in self.projections.items()]


class SharedHead(Head):
    """One head, of each modality by itself."""

    def forward(self, feature: Tensor) -> Tensor:
        """(B, S W) -> (B, S)."""
        return super().forward(feature.unflatten(1, (-1, self.hidden.in_features)))
