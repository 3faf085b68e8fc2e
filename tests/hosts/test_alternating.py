"""Oracles: what has moved after each step, and the prediction written out in numpy."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from msa_core import build, diagnostics
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.training import TrainingLoop, predict

MODALITIES = ("text", "audio", "vision")


@pytest.fixture(scope="module")
def data():
    return planted_features(num_train=40, num_valid=4, num_test=6)


@pytest.fixture
def made(data):
    torch.manual_seed(0)
    config = resolve("planted", "alternating", overrides={"training.precision": "float32"})
    return config, build.parts(config, data["train"])


def test_each_step_trains_one_modality_and_the_head(data, made):
    """40 samples in batches of 8: five steps; an optimizer with momentum and decay moves nothing else."""
    config, parts = made
    settings = config.training.model_copy(update={"batch_size": 8})
    loop = TrainingLoop(parts, data["train"], settings)
    before, moved = copy.deepcopy(parts.model.state_dict()), []
    for _ in loop.steps(1):
        after = parts.model.state_dict()
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        moved.append({m for m in MODALITIES if any(f"encoders.{m}." in n or f"projections.{m}." in n for n in changed)})
        assert {"heads.multimodal.out.weight", "turn"} <= changed
        assert any(name.startswith(f"encoders.{MODALITIES[len(moved) % 3 - 1]}.") for name in changed)
        before = copy.deepcopy(after)
    assert moved == [{"text"}, {"audio"}, {"vision"}, {"text"}, {"audio"}]


def test_the_prediction_is_the_mean_of_what_a_sample_has_through_one_head(data, made):
    _, parts = made
    lost = {"text": [1, 0, 0, 1, 0, 0], "vision": [1, 1, 0, 0, 0, 0]}
    test = replace(data["test"], dropped={name: torch.tensor(each).bool() for name, each in lost.items()})
    model = parts.model.eval()
    batch = test.batch(torch.arange(6))
    head, encodings = model.heads["multimodal"], model(batch).encodings

    def linear(x, layer):
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    each = {}
    for modality in MODALITIES:
        part = np.maximum(linear(encodings[modality].detach().numpy(), model.fusion.projections[modality].linear), 0)
        each[modality] = linear(np.maximum(linear(part, head.hidden), 0), head.out)[:, 0]
    have = [[modality for modality in MODALITIES if not lost.get(modality, [0] * 6)[i]] for i in range(6)]
    expected = [np.mean([each[modality][i] for modality in have[i]]) for i in range(6)]
    assert predict(model, test)["multimodal"] == pytest.approx(expected, rel=1e-5)
    nothing = test.dropping("text", 1.0, 1).dropping("audio", 1.0, 1).dropping("vision", 1.0, 1)
    assert np.isfinite(predict(model, nothing)["multimodal"]).all()


def test_measuring_gradients_takes_no_turn(data, made):
    _, parts = made
    diagnostics.gradients(*parts, [data["train"].batch(torch.arange(8))])
    assert parts.model.turn == 0
