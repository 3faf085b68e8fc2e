"""Unimodal labels from a running ensemble of the model's own predictions (Laine and Aila 2017, arXiv 1610.02242)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from msa_core.interfaces import Gather, Nothing, own_batch
from msa_core.parts.moving import MovingLabels


class EnsembleLabels(MovingLabels):
    """``y + a (p_s - y)``, p_s the moving average over epochs of the model's predictions of modality s.

    As in temporal ensembling (section 2.2): ``Z <- m Z + (1 - m) z`` once an epoch, z the prediction that was made in
    training, and ``p_s = Z / (1 - m^t)`` after t of them, which takes out that Z starts at zero. There p_s is the
    target itself, beside a loss on the human labels. Here no other label reaches the unimodal tasks, and a task that
    is trained on its own predictions alone learns nothing: hence the share 1 - a of y.

    Args:
        labels, gather: see `MovingLabels`.
        momentum: m, within [0, 1).
        share: a, within (0, 1).

    >>> y = torch.tensor([1.0])
    >>> labels = EnsembleLabels({"multimodal": y, "text": y}, momentum=0.5, share=0.5)
    >>> for prediction in (3.0, 0.0):  # Z is 1.5 after one epoch and 0.75 after two
    ...     labels.update({}, torch.tensor([0]), epoch=1, predictions={"text": torch.tensor([prediction])})
    ...     print(labels.labels("text", torch.tensor([0])))  # p_s is 1.5 / 0.5, then 0.75 / 0.75
    tensor([2.])
    tensor([1.])
    """

    def __init__(self, labels: Mapping[str, Tensor], momentum: float, share: float, gather: Gather = own_batch) -> None:
        super().__init__(labels, gather)
        self.momentum, self.share = momentum, share
        for modality in self.modalities:
            self.register_buffer(f"{modality}_average", torch.zeros_like(labels[modality]))
            self.register_buffer(f"{modality}_weight", torch.zeros_like(labels[modality]))  # 1 - m^t

    @torch.no_grad()
    def update(
        self,
        features: Mapping[str, Tensor],  # noqa: ARG002
        index: Tensor,
        epoch: int,  # noqa: ARG002
        present: Mapping[str, Tensor] = Nothing,
        predictions: Mapping[str, Tensor] = Nothing,
    ) -> None:
        """See `LabelSource.update`; a sample that lacks a modality keeps its label.

        Raises:
            ValueError: no prediction of a modality.
        """
        if missing := set(self.modalities) - set(predictions):
            raise ValueError(
                f"EnsembleLabels.update: got no predictions of {sorted(missing)}, expected each modality's"
            )
        index = self.gather(index)
        y = self.y(index, predictions)
        for modality in self.modalities:
            rows = self.having(modality, index, present)
            own, predicted = index[rows], self.gather(predictions[modality])[rows]
            average, weight = (self.get_buffer(f"{modality}_{what}") for what in ("average", "weight"))
            average[own] = self.momentum * average[own] + (1 - self.momentum) * predicted.to(average.dtype)
            weight[own] = self.momentum * weight[own] + (1 - self.momentum)
            self.move(modality, own, torch.lerp(y[rows], average[own] / weight[own], self.share))
