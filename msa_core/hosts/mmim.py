"""MMIM (Han et al. 2021, EMNLP, arXiv 2109.00412), as a host of alignment and label generation.

Lower bounds on mutual information are raised between modalities, and between the multimodal feature and each of them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from msa_core.data.features import Batch
from msa_core.encoders import FrameEncoder, FrozenText, TextEncoder
from msa_core.interfaces import Nothing
from msa_core.model import MSAModel
from msa_core.parts.distances import unit_rows

LEAST_VARIANCE = 1e-6  # of a coordinate within a class of labels, below which the entropy does not fall


class GaussianPrediction(nn.Module):
    """``q(z | x)``, a Gaussian whose mean and log-variances are networks of two layers (section 3.4)."""

    def __init__(self, width: int, predicted_width: int) -> None:
        super().__init__()
        self.mean, self.log_variance = (
            nn.Sequential(nn.Linear(width, predicted_width), nn.ReLU(), nn.Linear(predicted_width, predicted_width))
            for _ in range(2)
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Mean of ``log q(z | x)`` over B samples, (B, D_x) and (B, D_z), but for its constant; scalar."""
        log_variance = self.log_variance(x)
        return -((self.mean(x) - z).square() * (-log_variance).exp() + log_variance).sum(dim=1).mean() / 2


class Fusion(nn.Module):
    """``F_m = tanh(W2 tanh(W1 dropout([F_t; F_a; F_v])))`` (MMIM.py of thuiar/MMSA 2.2.1, class Fusion)."""

    def __init__(self, encoding_widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.first, self.second = nn.Linear(sum(encoding_widths.values()), width), nn.Linear(width, width)
        self.width = width

    def forward(self, encodings: Mapping[str, Tensor]) -> Tensor:
        """Modality -> (B, D) each, to (B, width)."""
        joined = torch.cat(list(encodings.values()), dim=1)
        return self.second(self.first(self.dropout(joined)).tanh()).tanh()


class MMIM(MSAModel):
    """The text's first state, an LSTM's last state each for audio and vision, a fusion of two layers, a linear head.

    Its own losses in training, over the samples that have the modalities:

    - "bound", minus the Barber-Agakov bound (section 3.4) of the first modality, the text if there is one, with each
      other one z: the mean of ``log q(z | x)`` and the entropy of z.
    - "contrast", the contrastive predictive coding (section 3.5): each modality's vector is to be told from those of
      the batch's other samples by what the multimodal feature predicts of it.

    Simplified: the original first trains q alone in each epoch and then the rest with q fixed; here all train
    together. It estimates the entropy from Gaussians of positive and of negative samples, with full covariances of a
    fixed random map, of this and the last batch; here they are the batch's own, of z itself and diagonal, since a batch
    has too few samples for a determinant: its upper bound, by Hadamard's inequality. The release leaves the
    log-variance out of ``log q``, where a large variance would then fit everything.

    Arguments and errors are those of `msa_core.hosts.mult.MulT`, the settings `msa_core.config.model.MMIMConfig`.
    """

    def __init__(
        self,
        text: TextEncoder | FrozenText | None,
        frame_widths: Mapping[str, int],
        settings: Any,
        projections: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
    ) -> None:
        encoders: dict[str, Any] = {} if text is None else {"text": text}
        frames = settings.frames
        for modality, own in frame_widths.items():
            encoders[modality] = FrameEncoder(own, frames.hidden, frames.width, frames.dropout)
        if len(encoders) < 2:
            raise ValueError(f"MMIM: got data with {sorted(encoders)} alone, expected at least two modalities")
        widths = {modality: encoder.width for modality, encoder in encoders.items()}
        fusion = Fusion(widths, settings.width, settings.dropout)
        head = nn.Sequential(nn.Linear(fusion.width, 1), nn.Flatten(start_dim=0))
        super().__init__(encoders, fusion, projections, {"multimodal": head, **heads})
        self.first, *others = widths
        self.predictions = nn.ModuleDict(
            {name: GaussianPrediction(widths[self.first], widths[name]) for name in others}
        )
        self.back = nn.ModuleDict({name: nn.Linear(fusion.width, width) for name, width in widths.items()})
        self.bound, self.contrast = settings.bound, settings.contrast

    def fuse(self, encodings: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `MSAModel.fuse`."""
        feature = self.fusion(encodings)
        if not self.training:
            return feature, Nothing  # the entropy is that of known labels
        bounds, contrasts = list[Tensor](), list[Tensor]()
        for modality, predict in self.predictions.items():
            rows = batch.rows(self.first, modality)
            if len(rows):
                x, z = encodings[self.first][rows], encodings[modality][rows]
                bounds.append(predict(x, z) + entropy(z, batch.labels[rows]))
        for modality, back in self.back.items():
            rows = batch.rows(modality)
            if len(rows):
                contrasts.append(contrast(encodings[modality][rows], back(feature[rows])))
        terms = {"bound": (-self.bound, bounds), "contrast": (self.contrast, contrasts)}
        return feature, {name: weight * torch.stack(values).sum() for name, (weight, values) in terms.items() if values}


def entropy(z: Tensor, labels: Tensor) -> Tensor:
    """``1/2 sum over D of log var``, but for its constant, the mean over positive and negative samples (section 3.4).

    Args:
        z: (B, D).
        labels: (B,); a class with fewer than two samples is left out, and so is a sample without a label (NaN).

    Returns:
        Scalar; 0 where no class has two samples.
    """
    classes = [z[chosen] for chosen in (labels > 0, labels < 0) if chosen.sum() > 1]
    logs = [part.var(dim=0, correction=0).clamp(min=LEAST_VARIANCE).log().sum() / 2 for part in classes]
    return torch.stack(logs).mean() if logs else z.new_zeros(())


def contrast(x: Tensor, predicted: Tensor) -> Tensor:
    """Mean of ``-log softmax over j of cos(x_i, predicted_j)`` at j = i (section 3.5).

    Args:
        x, predicted: (B, D) each.

    Returns:
        Scalar, within [0, log(1 + (B - 1) exp(2))]; 0 for one sample.
    """
    return cross_entropy(unit_rows(x) @ unit_rows(predicted).T, torch.arange(len(x), device=x.device))
