"""What a model must beat: the train split's median label, and a ridge regression on features without their order."""

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from msa_core.analysis.probes import PENALTIES
from msa_core.data import FeatureSet
from msa_core.data.features import batches
from msa_core.encoders import mean_over_time
from msa_core.metrics import regression_metrics

BATCH_SIZE = 64


def baselines(data: Mapping[str, FeatureSet], scheme: str) -> pd.DataFrame:
    """Test metrics of both, fitted on the train split's labelled samples; the penalty is chosen there by leave-one-out.

    Args:
        data: the splits; valid is not needed.
        scheme: of the metrics, see `msa_core.metrics`.

    Returns:
        baseline ("train_median" or "ridge"), metric, value.
    """
    train, test = data["train"], data["test"]
    ids = train.sequences["text"].values if "text" in train.modalities else torch.empty(0)
    vocabulary = torch.empty(0) if ids.is_floating_point() else ids.unique()
    known = ~train.labels.isnan().numpy()
    x, y = pooled(train, vocabulary)[known], train.labels.double().numpy()[known]
    predictions = {
        "train_median": np.full(len(test), np.median(y)),
        "ridge": make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(x, y).predict(pooled(test, vocabulary)),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="constant predictions")  # the median, whose correlation is nan
        rows = [
            {"baseline": name, "metric": metric, "value": value}
            for name, predicted in predictions.items()
            for metric, value in regression_metrics(predicted, test.labels, scheme).items()
        ]
    return pd.DataFrame(rows)


def pooled(features: FeatureSet, vocabulary: Tensor) -> NDArray:
    """One vector a sample: how often its text has each word, and mean and standard deviation over frames and states.

    Args:
        features: a split, N samples.
        vocabulary: token ids that are counted, (V,); of text in states it is not read.

    Returns:
        (N, D) float64; zeros for a modality that a sample lacks.
    """
    rows: list[Tensor] = [torch.empty(0)] * len(features)
    for batch in batches(features, BATCH_SIZE):
        parts = []
        for modality, x in batch.sequences.items():
            if x.is_floating_point():
                x, lengths = x.double(), batch.lengths[modality]
                mean = mean_over_time(x, lengths)  # (B, D)
                parts += [mean, mean_over_time((x - mean[:, None]).square(), lengths).sqrt()]
            else:
                real = torch.arange(x.shape[1]) < batch.lengths[modality][:, None]  # (B, T)
                parts.append(((x[..., None] == vocabulary) & real[..., None]).sum(dim=1).double())
        for place, row in zip(batch.index.tolist(), torch.cat(parts, dim=1), strict=True):
            rows[place] = row
    return torch.stack(rows).numpy()
