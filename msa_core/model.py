"""The model: encoders shared by all tasks, one fusion, one head a task (hard parameter sharing)."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from torch import Tensor, nn

from msa_core.config import ModelConfig
from msa_core.data.features import Batch, FeatureSet
from msa_core.encoders import FrameEncoder, FrozenText, TextEncoder, load_text_encoder
from msa_core.fusion import Concatenation


class MSAOutput(NamedTuple):
    """What the model says of B samples, each a mapping by task or modality.

    Attributes:
        predictions: "multimodal" and each modality with a unimodal task -> sentiment on the labels' scale, (B,).
        features: the same tasks -> the feature that the prediction is made from (F_m and F*_s), (B, D).
        encodings: each modality -> its encoder's output, which fusion and alignment take, (B, D).
    """

    predictions: dict[str, Tensor]
    features: dict[str, Tensor]
    encodings: dict[str, Tensor]


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
    """``yhat = w3 relu(W2 F)``: from a task's feature to its sentiment."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, width) -> (B,)."""
        return self.out(self.hidden(feature).relu()).squeeze(-1)


class MSAModel(nn.Module):
    """Composed of its parts; knows nothing of losses, labels or data sets.

    Args:
        encoders: modality -> module taking (sequence, lengths), giving (B, D).
        fusion: module taking a mapping modality -> (B, D), giving the multimodal feature.
        projections: modality -> module giving that modality's own feature; those without one have no unimodal task.
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

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model predicts: "multimodal", then each modality with a unimodal task."""
        return tuple(self.heads)

    @property
    def encoding_widths(self) -> dict[str, int]:
        """Modality -> width of its encoding."""
        return {modality: cast(int, encoder.width) for modality, encoder in self.encoders.items()}

    @property
    def feature_widths(self) -> dict[str, int]:
        """Task -> width of its feature."""
        parts = {"multimodal": self.fusion, **self.projections}
        return {task: cast(int, part.width) for task, part in parts.items()}

    def forward(self, batch: Batch) -> MSAOutput:
        """Predict B samples."""
        encodings = {
            modality: encoder(batch.sequences[modality], batch.lengths[modality])
            for modality, encoder in self.encoders.items()
        }
        features = {"multimodal": self.fusion(encodings)}
        features |= {modality: project(encodings[modality]) for modality, project in self.projections.items()}
        predictions = {task: head(features[task]) for task, head in self.heads.items()}
        return MSAOutput(predictions, features, encodings)


def build_model(config: ModelConfig, features: FeatureSet, unimodal_tasks: bool = True) -> MSAModel:
    """The paper's model for the modalities that the data have.

    Args:
        config: widths and dropouts.
        features: the train split: says which modalities there are, how wide their frames, and which tokens' embeddings
            are trained.
        unimodal_tasks: False: the multimodal task alone.
    """
    encoders: dict[str, TextEncoder | FrozenText | FrameEncoder] = {}
    for modality, ragged in features.sequences.items():
        if modality == "text" and config.freeze_text:
            encoders[modality] = FrozenText(ragged.values.shape[1])
        elif modality == "text":
            encoders[modality] = load_text_encoder(config.text_encoder, ragged.values.unique())
        else:
            part = config.audio if modality == "audio" else config.vision
            encoders[modality] = FrameEncoder(ragged.values.shape[1], part.hidden, part.width, part.dropout)
    widths = {modality: encoder.width for modality, encoder in encoders.items()}
    fusion = Concatenation(widths, config.fusion.width, config.fusion.dropout)
    projections = {
        modality: Projection(width, part.width, part.dropout)
        for modality, width in widths.items()
        if unimodal_tasks
        for part in [getattr(config.unimodal, modality)]
    }
    heads = {"multimodal": Head(fusion.width)}
    heads |= {modality: Head(projection.width) for modality, projection in projections.items()}
    return MSAModel(encoders, fusion, projections, heads)
