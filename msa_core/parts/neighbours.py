"""Unimodal labels from nearest neighbours in feature space (after deep k-NN, Bahri et al. 2020, arXiv 2004.12289)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from msa_core.interfaces import Gather, Nothing, own_batch
from msa_core.labels import check_update, running_average
from msa_core.parts.moving import MovingLabels


class NearestNeighbourLabels(MovingLabels):
    """A modality's label: the mean human label of the training samples nearest to it in that modality's features.

    The mean of k neighbours' labels y is what the modality's own features say of y. As for the paper's generator, the
    latest features are stored, labels move from epoch 2 on, and by the same running average over epochs, so that the
    two differ in their targets alone. A sample that lacks the modality keeps its label and is nobody's neighbour; one
    without y is nobody's neighbour.

    A step costs O(B N D) and not O(B D): each batch is compared with every stored sample.

    Args:
        labels, gather: see `MovingLabels`.
        feature_dims: width of the features of "multimodal", which are not read, and of each modality.
        neighbours: k; where fewer samples are stored, labels stay as they are.

    >>> y = torch.tensor([1.0, 2.0, -3.0])
    >>> labels = NearestNeighbourLabels({"multimodal": y, "text": y}, {"multimodal": 1, "text": 1}, neighbours=1)
    >>> features = {"multimodal": torch.zeros(3, 1), "text": torch.tensor([[0.0], [1.0], [9.0]])}
    >>> labels.update(features, torch.arange(3), epoch=1)
    >>> labels.update(features, torch.arange(3), epoch=2)  # a third of the old label and two thirds of the neighbour's
    >>> [round(label, 4) for label in labels.labels("text", torch.arange(3)).tolist()]
    [1.6667, 1.3333, 0.3333]
    """

    def __init__(
        self,
        labels: Mapping[str, Tensor],
        feature_dims: Mapping[str, int],
        neighbours: int,
        gather: Gather = own_batch,
    ) -> None:
        super().__init__(labels, gather)
        self.widths, self.neighbours = dict(feature_dims), neighbours
        y = labels["multimodal"]
        for modality in self.modalities:
            self.register_buffer(f"{modality}_features", y.new_zeros(len(y), feature_dims[modality]))
            self.register_buffer(f"{modality}_stored", torch.zeros(len(y), dtype=torch.bool))

    @torch.no_grad()
    def update(
        self,
        features: Mapping[str, Tensor],
        index: Tensor,
        epoch: int,
        present: Mapping[str, Tensor] = Nothing,
        predictions: Mapping[str, Tensor] = Nothing,
    ) -> None:
        """See `LabelSource.update`: labels first, by the neighbours as they stand, then the stored features.

        Raises:
            ValueError: a missing task, a wrong shape, an epoch below 1.
        """
        features = {task: self.gather(feature) for task, feature in features.items()}
        index = self.gather(index)
        shapes = {task: (len(index), width) for task, width in self.widths.items()}
        check_update("NearestNeighbourLabels.update", features, shapes, epoch)
        known = ~self.labels("multimodal", index).isnan()
        y = self.y(index, predictions) if epoch > 1 else None
        for modality in self.modalities:
            rows = self.having(modality, index, present)
            own, x = index[rows], features[modality][rows]
            stored = self.get_buffer(f"{modality}_features")
            if y is not None:
                self._move(modality, own, x.to(stored.dtype), y[rows], epoch)
            stored[own] = x.to(stored.dtype)
            self.get_buffer(f"{modality}_stored")[index] = rows & known

    def _move(self, modality: str, index: Tensor, x: Tensor, y: Tensor, epoch: int) -> None:
        stored = self.get_buffer(f"{modality}_stored")
        if int(stored.sum()) <= self.neighbours:
            return
        distances = torch.cdist(x, self.get_buffer(f"{modality}_features"))  # (B, N)
        distances = distances.masked_fill(~stored, torch.inf)
        distances[torch.arange(len(index)), index] = torch.inf  # nobody is a neighbour of its own
        nearest = distances.topk(self.neighbours, largest=False).indices  # (B, k)
        target = self.get_buffer("multimodal_labels")[nearest].mean(dim=1)
        self.move(modality, index, running_average(self.old(modality, index, y), target, epoch))
