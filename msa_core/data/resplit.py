"""The samples of a data set in other splits: as many test sets as seeds, where one is too small to tell."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from msa_core.data.features import FeatureSet, Ragged
from msa_core.data.frames import Moments


def resplit(
    data: Mapping[str, FeatureSet], seed: int, statistics: Mapping[str, Tensor] | None = None
) -> dict[str, FeatureSet]:
    """Deal all samples anew to splits of the same sizes; the draw depends on `seed` and their number alone.

    Samples are dealt one by one: where several are of one video or speaker, these get into several splits. Frames are
    standardised, and unreadable values replaced, by the new train split's mean and standard deviation. In memory.

    Args:
        data: split -> the samples, in the order train, valid, test.
        seed: of the draw.
        statistics: see `load_features`; None: the new train split's own.

    Raises:
        ValueError: no sample of the new train split has a readable value of some feature.

    >>> from msa_core.data import planted_features
    >>> data = planted_features(num_train=4, num_valid=2, num_test=2)
    >>> {split: len(features) for split, features in resplit(data, seed=1).items()}
    {'train': 4, 'valid': 2, 'test': 2}
    """
    parts = list(data.values())
    pooled = {
        modality: Ragged.from_lengths(
            torch.cat([part.sequences[modality].values for part in parts]),
            torch.cat([part.sequences[modality].lengths for part in parts]),
        )
        for modality in parts[0].modalities
    }
    ids = [identity for part in parts for identity in part.ids]
    texts = None if parts[0].raw_text is None else [text for part in parts for text in part.raw_text or []]
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    source = {key: parts[0].source[key] for key in ("file", "sha256") if key in parts[0].source} | {"resplit": seed}
    used: Mapping[str, Tensor] = statistics or {}
    splits = {}
    for part, index in zip(parts, order.split([len(part) for part in parts]), strict=True):
        sequences = {modality: Ragged.from_lengths(*ragged.rows(index)) for modality, ragged in pooled.items()}
        if part.split == "train" and statistics is None:
            used = dict(part.statistics)  # of a modality that is left out, for whoever reads the file anew
            for modality in [name for name in sequences if name != "text"]:
                used |= _statistics(modality, sequences[modality].values, seed)
        splits[part.split] = replace(
            part,
            ids=[ids[place] for place in index],
            labels=torch.cat([each.labels for each in parts])[index],
            sequences=sequences,
            raw_text=None if texts is None else [texts[place] for place in index],
            unimodal_labels=_dealt([each.unimodal_labels for each in parts], index),
            factors=_dealt([each.factors for each in parts], index),
            scaling={modality: (used[f"{modality}/mean"], used[f"{modality}/scale"]) for modality in part.scaling},
            replacements={
                modality: used[f"{modality}/mean"]
                for modality, ragged in sequences.items()
                if modality != "text" and ragged.values.isnan().any()
            },
            statistics=used,
            source=source,
        )
    return splits


def _dealt(of_parts: list[dict[str, Tensor]], index: Tensor) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in of_parts])[index] for name in of_parts[0]}


def _statistics(modality: str, values: Tensor, seed: int) -> dict[str, Tensor]:
    moments = Moments()
    moments.add(values.numpy())
    if not moments.count.all():
        raise ValueError(
            f"resplit: got a train split without a readable value of some feature of {modality} (seed {seed}), "
            "expected one of each feature; take another seed, or leave the feature out of the file"
        )
    return moments.statistics(modality)
