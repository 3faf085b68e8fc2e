"""Oracles: the formula in numpy; at share 1, training with the generated labels themselves."""

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.labels import UnimodalLabelGenerator
from msa_core.parts.damped import DampedLabels
from msa_core.training import fit

SMALL = {"training.max_epochs": 4, "training.batch_size": 8}
EVERYONE = torch.arange(24)


def generator():
    """After three epochs of random features."""
    made = UnimodalLabelGenerator(24, {"multimodal": 3, "text": 2}, label_bound=3)
    draws = torch.Generator().manual_seed(0)
    made.initialise(EVERYONE, torch.empty(24).uniform_(-3, 3, generator=draws))
    for epoch in (1, 2, 3):
        features = {task: torch.randn(24, width, generator=draws) for task, width in (("multimodal", 3), ("text", 2))}
        made.update(features, EVERYONE, epoch)
    return made


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_a_share_of_the_offset_is_kept(share):
    made = generator()
    y, generated = (made.labels(task, EVERYONE).numpy() for task in ("multimodal", "text"))
    damped = DampedLabels(made, share)
    np.testing.assert_allclose(damped.labels("text", EVERYONE), y + share * (generated - y), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(damped.labels("multimodal", EVERYONE), y)
    assert np.abs(generated - y).max() > 0.5, "nothing was generated"
    assert damped.tasks == made.tasks and not damped.fixed


@pytest.fixture(scope="module")
def data():
    planted = planted_features(num_train=46, num_valid=20, num_test=20)
    return {split: features.to(torch.float64) for split, features in planted.items()}


def trained(data, labels):
    config = resolve("planted", overrides=SMALL | {"objective.labels": labels})
    torch.manual_seed(0)
    made = build.parts(config, data["train"])
    return made.labels, fit(made, data["train"], data["valid"], config.training)


def test_at_share_1_it_trains_bit_for_bit_as_generated_labels_do(data):
    schedule = {"momentum": 0.5, "exclude_zero": False}
    source, plain = trained(data, {"kind": "generated", **schedule})
    damped, same = trained(data, {"kind": "damped", "share": 1, **schedule})
    _, other = trained(data, {"kind": "damped", "share": 0.1, **schedule})
    columns = plain.history.columns.drop("seconds")
    assert same.history[columns].equals(plain.history[columns])
    assert same.trajectories.equals(plain.trajectories)
    assert not other.history[columns].equals(plain.history[columns])
    assert isinstance(source, UnimodalLabelGenerator) and isinstance(damped, DampedLabels)
    state = damped.state_dict()  # a checkpoint carries all of it
    assert all(torch.equal(state[f"generator.{name}"], value) for name, value in source.state_dict().items())


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan"), None])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=rf"DampedLabels: got share {share}, expected a number within \(0, 1\]"):
        DampedLabels(generator(), share)
