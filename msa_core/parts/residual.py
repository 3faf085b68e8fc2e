"""Unimodal labels from what the other modalities leave unexplained."""

from collections.abc import Mapping

import torch
from torch import Tensor

from msa_core.interfaces import Gather, Nothing, own_batch
from msa_core.labels import EPS, check_update, running_average
from msa_core.parts.moving import MovingLabels


class ResidualLabels(MovingLabels):
    """The target of modality s is ``y + a (y - r_s)``, r_s what a ridge regression says of y from the other modalities.

    Ours. Where the others say less than y, it is s that must have said more: with a label that is a weighted sum of
    unimodal ones, ``y - r_s`` has the sign of modality s's own part. As for the paper's generator, targets are clamped
    to [-H, H], labels move from epoch 2 on, and by the same running average over epochs.

    The regression is over the training samples that have y, on the latest features F*_s of the other modalities (zeros
    where a sample lacks one) and a constant: ``b = (C + p v I)^-1 c``, C their covariance, c that with y, v their mean
    variance, which makes the penalty p free of scale. C and c are running sums in float64: a step costs O(B D^2 + D^3)
    and does not depend on N. Of one modality alone, r_s is the mean of y.

    Args:
        labels, gather: see `MovingLabels`.
        feature_dims: width of the features of "multimodal", which are not read, and of each modality.
        label_bound: H.
        share: a.
        penalty: p, above 0.
    """

    def __init__(
        self,
        labels: Mapping[str, Tensor],
        feature_dims: Mapping[str, int],
        label_bound: float,
        share: float,
        penalty: float,
        gather: Gather = own_batch,
    ) -> None:
        super().__init__(labels, gather)
        self.label_bound, self.share, self.penalty = label_bound, share, penalty
        self.widths = {modality: feature_dims[modality] for modality in self.modalities}
        y = labels["multimodal"]
        # A row a sample: features, a constant and y; zeros before they are stored, and where there is no y.
        width = sum(self.widths.values()) + 2
        self.register_buffer("rows", y.new_zeros(len(y), width))
        self.register_buffer("products", torch.zeros(width, width, dtype=torch.float64))

    @torch.no_grad()
    def update(
        self,
        features: Mapping[str, Tensor],
        index: Tensor,
        epoch: int,
        present: Mapping[str, Tensor] = Nothing,
        predictions: Mapping[str, Tensor] = Nothing,
    ) -> None:
        """See `LabelSource.update`: labels first, by the regressions as they stand, then the stored features.

        A sample that lacks a modality keeps its label.

        Raises:
            ValueError: a missing task, a wrong shape, an epoch below 1.
        """
        features = {task: self.gather(feature) for task, feature in features.items()}
        index = self.gather(index)
        shapes = {modality: (len(index), width) for modality, width in self.widths.items()}
        check_update("ResidualLabels.update", features, shapes, epoch)
        stored = self.get_buffer("rows")
        having = {modality: self.having(modality, index, present) for modality in self.modalities}
        x = torch.cat([features[modality] * having[modality][:, None] for modality in self.modalities], dim=1).double()
        if epoch > 1:
            y = self.y(index, predictions)
            for modality, rows in having.items():
                explained = self._explained(modality, x).to(y.dtype)
                target = (y + self.share * (y - explained)).clamp(-self.label_bound, self.label_bound)
                new = running_average(self.old(modality, index, y), target, epoch)
                self.move(modality, index[rows], new[rows])
        y = self.labels("multimodal", index).double()[:, None]
        new_rows = torch.cat([x, torch.ones_like(y), y], dim=1).masked_fill(y.isnan(), 0).to(stored.dtype)
        for sign, part in ((-1, stored[index].double()), (1, new_rows.double())):
            self.get_buffer("products").add_(part.T @ part, alpha=sign)
        stored[index] = new_rows

    def _explained(self, modality: str, x: Tensor) -> Tensor:
        """r_s of the samples x, (B, D) -> (B,)."""
        products = self.get_buffer("products")
        number = products[-2, -2].clamp(min=1)
        mean = products[-2] / number
        covariance = products / number - mean.outer(mean)  # of features, constant and y
        parts = zip(self.widths, torch.arange(x.shape[1]).split(list(self.widths.values())), strict=True)
        others = torch.cat([torch.empty(0, dtype=torch.long), *(place for name, place in parts if name != modality)])
        c = covariance[others][:, others]
        ridge = self.penalty * c.diagonal().sum() / max(1, len(others)) + EPS  # features may all be constant
        slopes = torch.linalg.solve(c + ridge * torch.eye(len(others)).to(c), covariance[others, -1])
        return mean[-1] + (x[:, others] - mean[others]) @ slopes
