"""Oracle: numpy on the samples looked up by their ids."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.data.resplit import resplit


@pytest.fixture(scope="module")
def data():
    """Frames of one training sample have a value that cannot be read."""
    splits = planted_features(num_train=12, num_valid=5, num_test=4)
    splits["train"].sequences["audio"].values[3, 1] = torch.nan
    return splits


def by_id(splits):
    return {identity: (features, place) for features in splits.values() for place, identity in enumerate(features.ids)}


def test_every_sample_is_in_one_split_with_all_that_is_its_own(data):
    dealt, before = resplit(data, seed=3), by_id(data)
    assert {split: len(features) for split, features in dealt.items()} == {"train": 12, "valid": 5, "test": 4}
    after = by_id(dealt)
    assert set(after) == set(before)
    assert dealt["test"].ids != data["test"].ids
    for identity, (features, place) in after.items():
        old, row = before[identity]
        assert features.labels[place] == old.labels[row]
        assert features.raw_text[place] == old.raw_text[row]
        for modality, ragged in features.sequences.items():
            torch.testing.assert_close(ragged[place], old.sequences[modality][row], rtol=0, atol=0, equal_nan=True)
        for modality in features.unimodal_labels:
            assert features.unimodal_labels[modality][place] == old.unimodal_labels[modality][row]
        for name in features.factors:
            assert features.factors[name][place] == old.factors[name][row]


def test_the_draw_depends_on_the_seed_alone(data):
    assert resplit(data, seed=3)["test"].ids == resplit(data, seed=3)["test"].ids
    assert resplit(data, seed=3)["test"].ids != resplit(data, seed=4)["test"].ids


def test_statistics_are_those_of_the_new_train_split_and_unreadable_values_its_mean(data):
    dealt = resplit(data, seed=3)
    for modality in ("audio", "vision"):
        frames = dealt["train"].sequences[modality].values.numpy().astype(np.float64)
        mean, scale = np.nanmean(frames, axis=0), np.nanstd(frames, axis=0)
        for features in dealt.values():
            np.testing.assert_allclose(features.statistics[f"{modality}/mean"], mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(features.statistics[f"{modality}/scale"], scale, rtol=1e-5)
            assert features.scaling == {}, "planted data are not standardised"
    (holder,) = [features for features in dealt.values() if "audio" in features.replacements]
    assert torch.isfinite(holder.batch(torch.arange(len(holder))).sequences["audio"]).all()


def test_given_statistics_are_used(data):
    given = {f"audio/{name}": torch.full((5,), 2.0) for name in ("mean", "scale")}
    given |= {f"vision/{name}": torch.full((20,), 2.0) for name in ("mean", "scale")}
    assert resplit(data, seed=3, statistics=given)["test"].statistics == given


def test_a_feature_that_no_training_sample_has_is_refused():
    blind = planted_features(num_train=3, num_valid=2, num_test=2)
    for features in blind.values():
        features.sequences["vision"].values[:, 4] = torch.nan
    with pytest.raises(ValueError, match="without a readable value of some feature of vision"):
        resplit(blind, seed=1)


def test_one_modality_is_dealt_and_standardised_as_beside_the_others(data):
    mean_and_scale = {"audio": (torch.zeros(5), torch.ones(5)), "vision": (torch.zeros(20), torch.ones(20))}
    of_file = {f"audio/{name}": torch.full((5,), 2.0) for name in ("mean", "scale")}
    scaled = {split: replace(part, scaling=mean_and_scale, statistics=of_file) for split, part in data.items()}
    alone = resplit({split: part.only(["vision"]) for split, part in scaled.items()}, seed=3)["test"]
    whole, every = resplit(scaled, seed=3)["test"], torch.arange(4)
    assert torch.equal(alone.batch(every).sequences["vision"], whole.batch(every).sequences["vision"])
    assert set(alone.scaling) == {"vision"}
    assert {name: alone.statistics[name] for name in of_file} == of_file, "the file can be read again by these"


def test_a_real_file_is_standardised_by_its_new_train_split(real_data, tmp_path):
    overrides = {"dataset.cache_folder": str(tmp_path)}
    config = resolve("mmmo_resplit", seed=5, features=str(real_data("mmmo_audio_vision")), overrides=overrides)
    train = build.dataset(config)["train"]
    frames = torch.cat([train.batch(torch.tensor([place])).sequences["audio"][0] for place in range(len(train))])
    np.testing.assert_allclose(frames.mean(dim=0), 0, atol=1e-4)
    deviations = frames.std(dim=0)
    np.testing.assert_allclose(deviations[deviations > 0], 1, rtol=1e-3)
