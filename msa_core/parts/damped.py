"""Generated labels that go a part of the way from the human label only."""

from collections.abc import Mapping

import torch
from torch import Tensor

from msa_core.interfaces import LabelSource, Nothing, is_finite
from msa_core.labels import UnimodalLabelGenerator


class DampedLabels(LabelSource):
    """``y + a (y_s - y)``, y_s the generated label and a the share of its offset that is kept.

    Ours. The generator keeps its own labels, and its class centres follow them: what is damped is what the model is
    trained on. With it, the weight adjustment ``tanh|y_s - y|`` falls. Without y there is no offset: such a sample has
    the generated label.

    Args:
        generator: after `initialise`.
        share: a, within (0, 1]; 1 gives the generated labels, bit for bit.

    Raises:
        ValueError: a share outside (0, 1].

    >>> generator = UnimodalLabelGenerator(1, {"multimodal": 1, "text": 1}, label_bound=3)
    >>> generator.initialise(torch.tensor([0]), torch.tensor([1.0]))
    >>> _ = generator.text_labels.fill_(2.0)
    >>> DampedLabels(generator, share=0.25).labels("text", torch.tensor([0]))
    tensor([1.2500])
    """

    fixed = False

    def __init__(self, generator: UnimodalLabelGenerator, share: float) -> None:
        super().__init__()
        if not (is_finite(share) and 0 < share <= 1):
            raise ValueError(f"DampedLabels: got share {share}, expected a number within (0, 1]")
        self.generator, self.share = generator, share
        self.tasks = generator.tasks

    def labels(self, task: str, index: Tensor) -> Tensor:
        """See `LabelSource.labels`."""
        y = self.generator.labels("multimodal", index)
        generated = self.generator.labels(task, index)
        return torch.where(y.isnan(), generated, torch.lerp(y, generated, self.share))  # lerp is exact at both ends

    def update(
        self,
        features: Mapping[str, Tensor],
        index: Tensor,
        epoch: int,
        present: Mapping[str, Tensor] = Nothing,
        predictions: Mapping[str, Tensor] = Nothing,
    ) -> None:
        """See `UnimodalLabelGenerator.update`."""
        self.generator.update(features, index, epoch, present, predictions)
