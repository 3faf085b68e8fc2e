"""What a model says of a split: predictions, encodings, metrics."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msa_core import processes
from msa_core.data.features import FeatureSet, batches
from msa_core.interfaces import Model, at_least_float32
from msa_core.metrics import regression_metrics
from msa_core.precision import fast_products

EVALUATION_BATCH_SIZE = 64


def predict(model: Model, features: FeatureSet) -> dict[str, NDArray]:
    """Each task's predictions, (N,) float32 or wider, in the order of the split.

    Raises:
        FloatingPointError: a prediction is not finite; names task and split.
    """
    return infer(model, features, "predictions")["predictions"]


def encodings(model: Model, features: FeatureSet) -> dict[str, NDArray]:
    """Each modality's encoding, (N, D) float32 or wider, in the order of the split: what the alignment acts on."""
    return infer(model, features, "encodings")["encodings"]


def evaluate(model: Model, features: FeatureSet, scheme: str) -> dict[str, dict[str, float]]:
    """Each task's metrics against the human multimodal label, over the samples that have one.

    Args:
        model: as trained; left in evaluation mode.
        features: one split.
        scheme: see `msa_core.metrics.regression_metrics`.
    """
    return task_metrics(predict(model, features), features, scheme)


def task_metrics(predictions: Mapping[str, NDArray], features: FeatureSet, scheme: str) -> dict[str, dict[str, float]]:
    """The same from predictions that are made."""
    true = features.labels.numpy()
    known = ~np.isnan(true)
    return {task: regression_metrics(pred[known], true[known], scheme) for task, pred in predictions.items()}


@torch.no_grad()
@fast_products()
def infer(model: Model, features: FeatureSet, *fields: str) -> dict[str, dict[str, NDArray]]:
    """Some fields of the model's output ("predictions", "encodings", ...) for a whole split, in one pass.

    Several processes call it together: each infers its share of the samples, and all get the whole.

    Returns:
        Field -> task or modality -> (N, ...) float32 or wider, in the order of the split.

    Raises:
        FloatingPointError: a prediction is not finite; names task and split.
    """
    model.eval()
    device = next(model.parameters()).device
    pieces: dict[str, dict[str, list[Tensor]]] = {name: defaultdict(list) for name in fields}
    index = list[Tensor]()
    for batch in batches(features, EVALUATION_BATCH_SIZE, share=processes.share):
        if not len(batch):
            continue  # fewer samples than processes
        index.append(batch.index)
        output = model(batch.to(device))
        for name in fields:
            for part, values in getattr(output, name).items():
                pieces[name][part].append(at_least_float32(values).to("cpu", non_blocking=True))
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # the pieces are there only now
    own = [(torch.cat(index), {name: _joined(parts) for name, parts in pieces.items()})] if index else []
    found = [each for of_process in processes.everyones(own) for each in of_process]
    order = np.argsort(torch.cat([places for places, _ in found]).numpy())
    arrays = {
        name: {part: np.concatenate([output[name][part] for _, output in found])[order] for part in found[0][1][name]}
        for name in fields
    }
    for task, predictions in arrays.get("predictions", {}).items():
        if not np.isfinite(predictions).all():
            raise FloatingPointError(
                f"predictions of {task} on {features.split} are not finite: the weights have diverged; "
                "lower the learning rate"
            )
    return arrays


def _joined(parts: Mapping[str, list[Tensor]]) -> dict[str, NDArray]:
    return {part: torch.cat(values).numpy() for part, values in parts.items()}
