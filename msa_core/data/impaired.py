"""Data made worse on purpose: what a model does with them that was not trained, or was trained, on such data."""

from dataclasses import replace

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from msa_core import MODALITIES, SPLITS
from msa_core.data.features import FeatureSet, Ragged


def frame_spread(features: FeatureSet, modality: str) -> Tensor:
    """Standard deviation of each feature over all readable frames of a split, (D,)."""
    return torch.from_numpy(np.nanstd(features.sequences[modality].values.numpy(), axis=0))


def with_noise(features: FeatureSet, modality: str, scale: Tensor, seed: int) -> FeatureSet:
    """A copy with independent normal noise on every value of every frame, in memory; unreadable ones stay so.

    The draw depends on `seed`, split, modality and number of frames alone: noise of twice the scale is twice as large,
    value by value.

    Args:
        features: one split.
        modality: "audio" or "vision". Text has none: a token is no number, and there is no small change of a word.
        scale: standard deviation of the noise, (D,), in the units of the stored frames.
        seed: of the draw.
    """
    place = SPLITS.index(features.split), MODALITIES.index(modality)
    rng = np.random.default_rng(SeedSequence(seed, spawn_key=(3, *place)))  # (1,) and (2,): `planted`, `hiding_labels`
    stored = features.sequences[modality]
    noise = torch.from_numpy(rng.standard_normal(tuple(stored.values.shape), dtype=np.float32))
    noisy = Ragged(stored.values + scale * noise, stored.offsets)
    return replace(features, sequences=features.sequences | {modality: noisy})
