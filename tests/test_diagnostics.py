"""Oracles: the backward pass into `.grad` itself, numpy, scipy; and runs with and without."""

from itertools import islice

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from msa_core import build, diagnostics
from msa_core.config import resolve
from msa_core.data import Batch, planted_features
from msa_core.interfaces import Model, MSAOutput
from msa_core.labels import FixedLabels
from msa_core.objective import MultiTaskLoss
from msa_core.training import TrainingLoop, encodings, fit

SMALL = {"training.max_epochs": 4, "training.batch_size": 8}
DIAGNOSTICS = {"training.diagnostics": True}
ENCODERS = ("text", "audio", "vision")


@pytest.fixture(scope="module")
def data():
    planted = planted_features(num_train=46, num_valid=20, num_test=20)
    return {split: features.to(torch.float64) for split, features in planted.items()}


def settings(variant="paper", **overrides):
    return resolve("planted", variant, overrides=SMALL | overrides)


def parts(config, data):
    torch.manual_seed(0)
    return build.parts(config, data["train"])


def trained(data, config, state_file=None):
    made = parts(config, data)
    return made, fit(made, data["train"], data["valid"], config.training, state_file=state_file)


def without_dropout(made):
    for module in made.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return made


def test_gradients_are_those_of_the_backward_pass(data):
    """The total's gradient with and without the alignment, into `.grad`; the alignment's is the difference."""
    config = settings(**{"objective.labels": {"kind": "true"}})
    made = without_dropout(parts(config, data))
    shown = [data["train"].batch(torch.arange(start, start + 8)) for start in (0, 8)]
    found = diagnostics.gradients(*made, shown)
    assert all(parameter.grad is None for parameter in made.model.parameters())
    plain = build.parts(settings("no_alignment", **{"objective.labels": {"kind": "true"}}), data["train"]).objective
    expected = {}
    for batch in shown:
        flat = {}
        for objective in (made.objective, plain):
            made.model.zero_grad()
            labels = {task: made.labels.labels(task, batch.index) for task in made.model.tasks}
            objective(made.model(batch), labels)["total"].backward()
            for name in ENCODERS:
                gradients = [parameter.grad.flatten().numpy() for parameter in made.model.encoders[name].parameters()]
                flat.setdefault(name, []).append(np.concatenate(gradients))
        for name, (total, tasks) in flat.items():
            alignment = total - tasks
            values = {"tasks": np.linalg.norm(tasks)}
            if name != "text":
                product = np.linalg.norm(tasks) * np.linalg.norm(alignment)
                values |= {"alignment": np.linalg.norm(alignment), "cosine": tasks @ alignment / product}
            for what, value in values.items():
                expected.setdefault(f"gradient_{what}_{name}", []).append(value)
    conflicts = {name for name in found if name.startswith(diagnostics.CONFLICT)}
    assert conflicts == {f"{diagnostics.CONFLICT}_{name}_{name}" for name in ENCODERS}
    expected = {name: np.mean(values) for name, values in expected.items()}
    assert {name: found[name] for name in set(found) - conflicts} == pytest.approx(expected, rel=1e-9)


class Toy(Model):
    """One number a modality: a F_a and v F_v, whose sum is the multimodal prediction, and each a unimodal one."""

    tasks = ("multimodal", "audio", "vision")

    def __init__(self, audio, vision):
        super().__init__()
        self.weights = torch.nn.ParameterDict({"audio": torch.tensor([audio]), "vision": torch.tensor([vision])})
        self.register_buffer("calls", torch.zeros(()))

    def parameter_groups(self):
        return {name: [weight] for name, weight in self.weights.items()}

    def forward(self, batch):
        self.calls += 1
        each = {name: weight * batch.sequences[name][:, 0, 0] for name, weight in self.weights.items()}
        return MSAOutput({"multimodal": sum(each.values()), **each}, {}, {}, present=batch.present)


def test_tasks_that_pull_an_encoder_apart_conflict():
    """By hand, F = 1: the sum, 3 - 1, is above y = 1, and so draws both weights down; audio's own prediction, 3, is
    above its label too, vision's, -1, is below: the same way for audio, another one for vision."""
    sequences = {name: torch.ones(2, 1, 1) for name in ("audio", "vision")}
    batch = Batch(torch.arange(2), torch.ones(2), sequences, {name: torch.ones(2).long() for name in sequences})
    labels = FixedLabels({task: torch.ones(2) for task in Toy.tasks})
    model, objective = Toy(3.0, -1.0), MultiTaskLoss(weight_adjustment=False)
    found = diagnostics.gradients(model, objective, labels, [batch])
    assert found[f"{diagnostics.CONFLICT}_audio_audio"] == 1
    assert found[f"{diagnostics.CONFLICT}_vision_vision"] == -1
    assert len(found) == 4 and model.calls == 0  # what the model counts is as it was


def test_the_weighted_gradient_grows_with_the_weight(data):
    """What `w * tasks / alignment` is read off by."""
    rows = []
    for weight in (2.0, 6.0):
        made = without_dropout(parts(settings(**{"objective.alignment.pairs": {"audio-vision": weight}}), data))
        rows.append(diagnostics.gradients(*made, [data["train"].batch(torch.arange(8))]))
    for name in ("audio", "vision"):
        assert rows[1][f"gradient_alignment_{name}"] == pytest.approx(3 * rows[0][f"gradient_alignment_{name}"])
        assert rows[1][f"gradient_tasks_{name}"] == pytest.approx(rows[0][f"gradient_tasks_{name}"])


def test_the_tasks_are_weighted_as_in_the_objective(data):
    """Scales of 2 halve every task's gradient."""
    made = without_dropout(parts(settings("uncertainty_weighting"), data))
    shown = [data["train"].batch(torch.arange(8))]
    plain = diagnostics.gradients(*made, shown)
    torch.nn.init.constant_(made.objective.balance.log_scales, np.log(2))
    halved = diagnostics.gradients(*made, shown)
    for name in ENCODERS:
        assert halved[f"gradient_tasks_{name}"] == pytest.approx(plain[f"gradient_tasks_{name}"] / 2, rel=1e-9)


@pytest.mark.parametrize("variant", ["no_alignment", "frozen_extractors", "multimodal_only"])
def test_what_has_no_gradient_has_no_column(variant, data):
    made = parts(settings(variant), data)
    found = diagnostics.gradients(*made, [data["train"].batch(torch.arange(8))])
    trained_groups = {"audio", "vision"} | ({"text"} if variant != "frozen_extractors" else set())
    aligned = {"audio", "vision"} if variant == "frozen_extractors" else set()
    assert set(found) == {f"gradient_tasks_{name}" for name in trained_groups} | {
        f"gradient_{what}_{name}" for name in aligned for what in ("alignment", "cosine")
    } | {f"{diagnostics.CONFLICT}_{name}_{name}" for name in trained_groups if len(made.model.tasks) > 1}
    assert all(found[f"gradient_tasks_{name}"] > 0 for name in trained_groups)


def test_a_batch_without_the_pair_has_an_alignment_of_zero(data):
    train = data["train"].dropping("vision", 1.0, seed=0)
    made = parts(settings(), data)
    found = diagnostics.gradients(*made, [train.batch(torch.arange(8))])
    assert found["gradient_alignment_audio"] == found["gradient_cosine_audio"] == 0


def test_ranks_and_alikeness_against_numpy_and_scipy(data):
    made = parts(settings("no_alignment"), data)
    found = diagnostics.likeness(made.model, made.objective, data["valid"])
    encoded = {name: x - x.mean(axis=0) for name, x in encodings(made.model, data["valid"]).items()}
    for name, x in encoded.items():
        squared = np.linalg.svd(x, compute_uv=False) ** 2
        assert found[f"valid_effective_rank_{name}"] == pytest.approx(np.exp(entropy(squared)), rel=1e-9)
    audio, vision = (encoded[name] @ encoded[name].T for name in ("audio", "vision"))  # Gram matrices (N, N)
    alike = np.vdot(audio, vision) / (np.linalg.norm(audio) * np.linalg.norm(vision))
    assert found["valid_cka_audio_vision"] == pytest.approx(alike, rel=1e-9)
    assert len(found) == 4


@pytest.mark.parametrize(("spectrum", "rank"), [([1.0] * 5, 5), ([3.0, 0, 0], 1), ([1.0, 1.0, -1e-17], 2)])
def test_effective_rank_by_hand(spectrum, rank):
    assert diagnostics.effective_rank(np.array(spectrum)) == pytest.approx(rank)


def test_constant_encodings_have_no_rank():
    assert np.isnan(diagnostics.effective_rank(np.zeros(3)))


def equal(ours, theirs):
    assert ours.trajectories.equals(theirs.trajectories)
    assert ours.history[theirs.history.columns.drop("seconds")].equals(theirs.history.drop(columns="seconds"))


def test_the_run_is_the_same_bit_for_bit_and_resumes_as_one(data, tmp_path, monkeypatch):
    """Dropout, averaged weights, generated labels; stopped within the third epoch."""
    plain_parts, plain = trained(data, settings())
    watched_parts, watched = trained(data, settings(**DIAGNOSTICS))
    equal(watched, plain)
    for ours, theirs in ((watched_parts.model, plain_parts.model), (watched.averaged, plain.averaged)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
    new = watched.history[watched.history.columns.difference(plain.history.columns)]
    assert len(new.columns) == 3 + 2 * 2 + 3 + 3 + 1 and np.isfinite(new).all(axis=None) and len(new) == 4

    original, calls = TrainingLoop._backward, []

    def backward(loop, batch, samples, epoch):
        calls.append(epoch)
        if len(calls) == 2 * 6 + 4:
            raise KeyboardInterrupt
        return original(loop, batch, samples, epoch)

    stoppable = settings(**DIAGNOSTICS, **{"training.state_every": 0})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingLoop, "_backward", backward)
        trained(data, stoppable, tmp_path / "state.pt")
    torch.manual_seed(999)  # whatever the new process does first
    _, resumed = trained(data, stoppable, tmp_path / "state.pt")
    assert calls[-1] == 3
    equal(resumed, watched)


def test_measuring_draws_random_numbers_aside(data):
    made = parts(settings(), data)
    state = torch.get_rng_state()
    shown = [data["train"].batch(torch.arange(8))]
    first, again = (diagnostics.gradients(*made, shown) for _ in range(2))
    assert first == again  # the same dropout
    assert torch.equal(torch.get_rng_state(), state)
    made.model.eval()
    assert first != diagnostics.gradients(*without_dropout(made), shown)


def test_the_first_batches_of_the_epoch_are_measured(data, monkeypatch):
    seen = []
    original = diagnostics.gradients

    def gradients(model, objective, labels, shown):
        seen.append(list(shown))
        return original(model, objective, labels, seen[-1])

    monkeypatch.setattr(diagnostics, "gradients", gradients)
    config = settings(**DIAGNOSTICS)
    made, _ = trained(data, config)
    loop = TrainingLoop(made, data["train"], config.training)
    for epoch, shown in enumerate(seen, start=1):
        expected = islice(loop.batches(epoch), diagnostics.BATCHES)
        assert [b.index.tolist() for b in shown] == [b.index.tolist() for b in expected]
