"""What the label sources here have in common: stored labels that move, and samples without y."""

from collections.abc import Mapping

import torch
from torch import Tensor

from msa_core.interfaces import Gather, Nothing, own_batch
from msa_core.labels import FixedLabels, with_predictions


class MovingLabels(FixedLabels):
    """Labels that start at y; a source says where to.

    For a sample without y, the model's own multimodal prediction stands in for it, as start and wherever a formula has
    y. A unimodal label that such a sample was given is human, and stays.

    Args:
        labels: task -> (N,), "multimodal" and each modality: y; NaN for a sample without it, of a modality the label
            that it was given.
        gather: makes the whole batch of one process's part of it.
    """

    fixed = False

    def __init__(self, labels: Mapping[str, Tensor], gather: Gather = own_batch) -> None:
        super().__init__({task: values.clone() for task, values in labels.items()})
        self.modalities, self.gather = tuple(task for task in self.tasks if task != "multimodal"), gather
        for modality in self.modalities:
            human = labels["multimodal"].isnan() & ~labels[modality].isnan()
            self.register_buffer(f"{modality}_human", human)

    def y(self, index: Tensor, predictions: Mapping[str, Tensor]) -> Tensor:
        """y of the samples of the whole batch, (B,), or what stands in for it."""
        return with_predictions(self.labels("multimodal", index), predictions, self.gather)

    def having(self, modality: str, index: Tensor, present: Mapping[str, Tensor] = Nothing) -> Tensor:
        """Whether the samples of the whole batch have a modality, (B,) bool."""
        return self.gather(present[modality]) if modality in present else torch.ones_like(index, dtype=torch.bool)

    def old(self, modality: str, index: Tensor, y: Tensor) -> Tensor:
        """The labels of some samples, (B,), or y where they have none yet."""
        labels = self.labels(modality, index)
        return torch.where(labels.isnan(), y, labels)

    def move(self, modality: str, index: Tensor, new: Tensor) -> None:
        """Set the labels of some samples, (B,), but those that they were given."""
        labels, human = self.get_buffer(f"{modality}_labels"), self.get_buffer(f"{modality}_human")[index]
        labels[index] = torch.where(human, labels[index], new.to(labels.dtype))
