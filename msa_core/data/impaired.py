"""Data made worse on purpose: what a model does with them that was not trained, or was trained, on such data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor

from msa_core import MODALITIES, SPLITS
from msa_core.config import DatasetConfig
from msa_core.data.features import FeatureSet, Ragged


def impaired(data: Mapping[str, FeatureSet], settings: DatasetConfig, seed: int) -> dict[str, FeatureSet]:
    """What `noise`, `missing` and `patterns` of the settings make of the splits, in what the model sees of them."""
    changed, train, seen = dict(data), data["train"], settings.modalities or MODALITIES
    for split, levels in settings.noise.items():
        for noisy in [each for each in levels if each in seen]:
            scale = levels[noisy] * frame_spread(train, noisy)
            changed[split] = with_noise(changed[split], noisy, scale, seed)
    for split, shares in settings.missing.items():
        for modality in [each for each in shares if each in seen]:
            changed[split] = changed[split].dropping(modality, shares[modality], seed)
    for split, patterns in settings.patterns.items():
        own = [[modality for modality in pattern if modality in seen] for pattern in patterns]
        changed[split] = with_patterns(changed[split], own, seed)
    return changed


def frame_spread(features: FeatureSet, modality: str) -> Tensor:
    """Standard deviation of each feature over all readable frames of a split, (D,).

    Raises:
        ValueError: a modality that the data set does not have.
    """
    if modality not in features.modalities:
        raise ValueError(f"dataset.noise: got {modality!r}, expected a modality of the data set: {features.modalities}")
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
    rng = np.random.default_rng(SeedSequence(seed, spawn_key=(3, *place)))  # 1, 2: `draw_seed`, `hiding_labels`
    stored = features.sequences[modality]
    noise = torch.from_numpy(rng.standard_normal(tuple(stored.values.shape), dtype=np.float32))
    noisy = Ragged(stored.values + scale * noise, stored.offsets)
    return replace(features, sequences=features.sequences | {modality: noisy})


def with_patterns(features: FeatureSet, patterns: Sequence[Sequence[str]], seed: int) -> FeatureSet:
    """A copy in which each sample has the modalities of one pattern alone; the stored values are shared.

    The patterns have as many samples each, but for one. The draw depends on `seed`, split, and numbers of patterns and
    of samples alone.

    Args:
        features: one split.
        patterns: the sets of modalities, of those of the data set.
        seed: of the draw.

    Raises:
        ValueError: a modality that the data set does not have.

    >>> from msa_core.data import planted_features
    >>> test = with_patterns(planted_features(2, 2, 5)["test"], [["text", "audio"], ["vision"]], seed=0)
    >>> {modality: int(present.sum()) for modality, present in test.present.items()}
    {'text': 3, 'audio': 3, 'vision': 2}
    """
    if unknown := {modality for pattern in patterns for modality in pattern} - set(features.modalities):
        raise ValueError(
            f"dataset.patterns: got {sorted(unknown)} for split {features.split!r}, expected modalities of the data "
            f"set: {features.modalities}"
        )
    rng = np.random.default_rng(SeedSequence(seed, spawn_key=(4, SPLITS.index(features.split))))
    place = torch.from_numpy(rng.permutation(len(features))) % len(patterns)  # (N,), of each sample's pattern
    dropped = dict(features.dropped)
    for modality in features.modalities:
        without = torch.tensor([modality not in pattern for pattern in patterns])[place]
        dropped[modality] = dropped.get(modality, without) | without
    return replace(features, dropped=dropped)
