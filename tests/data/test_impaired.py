"""msa_core/data/impaired.py. Oracles: numpy on the stored frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from msa_core.data import Ragged, planted_features
from msa_core.data.impaired import frame_spread, with_noise, with_patterns


@pytest.fixture(scope="module")
def data():
    return planted_features(num_train=60, num_valid=2, num_test=60, seed=1)


def test_noise_has_the_scale_of_each_feature_and_is_independent(data):
    test, scale = data["test"], torch.tensor([0.5, 1.0, 2.0, 4.0, 0.0])
    noise = (with_noise(test, "audio", scale, 3).sequences["audio"].values - test.sequences["audio"].values).numpy()
    assert noise.std(axis=0) == pytest.approx(scale.numpy(), rel=0.06)
    assert abs(np.corrcoef(noise[:, :4].T) - np.eye(4)).max() < 0.1
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.1
    twice = with_noise(test, "audio", 2 * scale, 3).sequences["audio"].values - test.sequences["audio"].values
    assert twice.numpy() == pytest.approx(2 * noise, abs=1e-5)


def test_each_seed_split_and_modality_has_noise_of_its_own(data):
    def drawn(split, modality, seed):
        values = data[split].sequences[modality].values
        return (with_noise(data[split], modality, torch.tensor(1.0), seed).sequences[modality].values - values)[0, 0]

    same, *others = (
        drawn(*each)
        for each in (("test", "audio", 3), ("test", "audio", 4), ("train", "audio", 3), ("test", "vision", 3))
    )
    assert drawn("test", "audio", 3) == same and same not in others


def test_unreadable_values_are_left_out_of_the_spread_and_stay_unreadable(data):
    stored = data["train"].sequences["vision"]
    holes = stored.values.clone()
    holes[[0, 5], [1, 2]] = torch.nan
    broken = replace(data["train"], sequences={"vision": Ragged(holes, stored.offsets)})
    spread = frame_spread(broken, "vision")
    kept = np.delete(stored.values[:, 1].numpy(), 0)
    assert spread[1].item() == pytest.approx(kept.std(), rel=1e-5)
    noisy = with_noise(broken, "vision", spread, 1).sequences["vision"].values
    assert noisy.isnan().nonzero().tolist() == [[0, 1], [5, 2]]


def test_each_sample_has_one_pattern_and_no_other_modality(data):
    """Of 60 samples 20 have each of three patterns, one of which is that of a sample with nothing."""
    patterns = [["text", "audio"], ["vision"], []]
    features = with_patterns(data["test"], patterns, 1)
    have = [
        [modality for modality in features.modalities if features.present[modality][sample]] for sample in range(60)
    ]
    assert [have.count(pattern) for pattern in patterns] == [20, 20, 20]
    assert have[:30] != sorted(have[:30])
    batch = features.batch(torch.arange(60))
    assert [name for name in batch.lengths if batch.lengths[name][have.index([])] > 0] == []
    other = with_patterns(data["test"], patterns, 2)
    assert not torch.equal(other.present["vision"], features.present["vision"])
    lost = with_patterns(data["test"].dropping("audio", 0.5, 1), patterns, 1)
    assert torch.equal(
        lost.present["audio"], features.present["audio"] & ~data["test"].dropping("audio", 0.5, 1).dropped["audio"]
    )


def test_what_the_data_lack_is_refused(data):
    two = data["test"].only(["text", "audio"])
    with pytest.raises(
        ValueError, match=r"patterns: got \['vision'\] for split 'test', expected .*\('text', 'audio'\)"
    ):
        with_patterns(two, [["vision"]], 1)
    with pytest.raises(
        ValueError, match=r"noise: got 'vision', expected a modality of the data set: \('text', 'audio'\)"
    ):
        frame_spread(two, "vision")
