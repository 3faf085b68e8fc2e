"""Unimodal labels from nearest neighbours in feature space (after deep k-NN, Bahri et al. 2020, arXiv 2004.12289)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from msa_core.interfaces import Gather, LabelSource, Nothing, own_batch
from msa_core.labels import check_update, running_average


class NearestNeighbourLabels(LabelSource):
    """A modality's label: the mean human label of the training samples nearest to it in that modality's features.

    The mean of k neighbours' labels y is what the modality's own features say of y. As for the paper's generator, the
    latest features are stored, labels move from epoch 2 on, and by the same running average over epochs, so that the
    two differ in their targets alone. A sample that lacks the modality keeps its label and is nobody's neighbour.

    A step costs O(B N D) and not O(B D): each batch is compared with every stored sample.

    Args:
        labels: human labels, (N,).
        feature_dims: width of the features of "multimodal", which are not read, and of each modality.
        neighbours: k; where fewer samples are stored, labels stay as they are.
        gather: makes the whole batch of one process's part of it.

    >>> labels = NearestNeighbourLabels(torch.tensor([1.0, 2.0, -3.0]), {"multimodal": 1, "text": 1}, neighbours=1)
    >>> features = {"multimodal": torch.zeros(3, 1), "text": torch.tensor([[0.0], [1.0], [9.0]])}
    >>> labels.update(features, torch.arange(3), epoch=1)
    >>> labels.update(features, torch.arange(3), epoch=2)  # a third of the old label and two thirds of the neighbour's
    >>> [round(label, 4) for label in labels.labels("text", torch.arange(3)).tolist()]
    [1.6667, 1.3333, 0.3333]
    """

    fixed = False

    def __init__(
        self, labels: Tensor, feature_dims: Mapping[str, int], neighbours: int, gather: Gather = own_batch
    ) -> None:
        super().__init__()
        self.tasks = ("multimodal", *(task for task in feature_dims if task != "multimodal"))
        self.widths, self.neighbours, self.gather = dict(feature_dims), neighbours, gather
        for task in self.tasks:
            self.register_buffer(f"{task}_labels", labels.clone())
        for modality in self.tasks[1:]:
            self.register_buffer(f"{modality}_features", labels.new_zeros(len(labels), feature_dims[modality]))
            self.register_buffer(f"{modality}_stored", torch.zeros(len(labels), dtype=torch.bool))

    def labels(self, task: str, index: Tensor) -> Tensor:
        """See `LabelSource.labels`."""
        return self.get_buffer(f"{task}_labels")[index]

    @torch.no_grad()
    def update(
        self, features: Mapping[str, Tensor], index: Tensor, epoch: int, present: Mapping[str, Tensor] = Nothing
    ) -> None:
        """See `LabelSource.update`: labels first, by the neighbours as they stand, then the stored features.

        Raises:
            ValueError: a missing task, a wrong shape, an epoch below 1.
        """
        features = {task: self.gather(feature) for task, feature in features.items()}
        index = self.gather(index)
        shapes = {task: (len(index), width) for task, width in self.widths.items()}
        check_update("NearestNeighbourLabels.update", features, shapes, epoch)
        for modality in self.tasks[1:]:
            rows = self.gather(present[modality]) if modality in present else torch.ones_like(index, dtype=torch.bool)
            own, x = index[rows], features[modality][rows]
            stored = self.get_buffer(f"{modality}_features")
            if epoch > 1:
                self._move(modality, own, x.to(stored.dtype), epoch)
            stored[own] = x.to(stored.dtype)
            self.get_buffer(f"{modality}_stored")[index] = rows

    def _move(self, modality: str, index: Tensor, x: Tensor, epoch: int) -> None:
        stored = self.get_buffer(f"{modality}_stored")
        if int(stored.sum()) <= self.neighbours:
            return
        distances = torch.cdist(x, self.get_buffer(f"{modality}_features"))  # (B, N)
        distances = distances.masked_fill(~stored, torch.inf)
        distances[torch.arange(len(index)), index] = torch.inf  # nobody is a neighbour of its own
        nearest = distances.topk(self.neighbours, largest=False).indices  # (B, k)
        target = self.get_buffer("multimodal_labels")[nearest].mean(dim=1)
        labels = self.get_buffer(f"{modality}_labels")
        labels[index] = running_average(labels[index], target, epoch)
