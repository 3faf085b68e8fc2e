"""Oracles: two tasks with gradients worked by hand, algorithm 1 written out in numpy, scipy's Laplace density."""

import numpy as np
import pytest
import torch
from scipy.stats import laplace
from torch import nn

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.objective import MultiTaskLoss
from msa_core.parts.balance import PCGrad, UncertaintyWeights, projected
from msa_core.training import TrainingLoop, fit

SMALL = {"training.max_epochs": 3, "training.batch_size": 8, "objective.weight_adjustment": False}


@pytest.fixture(scope="module")
def data():
    planted = planted_features(num_train=24, num_valid=10, num_test=2)
    return {split: features.to(torch.float64) for split, features in planted.items()}


def parts(data, balance, variant="paper"):
    config = resolve("planted", variant, overrides=SMALL | {"objective.balance": {"kind": balance}})
    torch.manual_seed(0)
    return build.parts(config, data["train"]), config.training


# --- uncertainty ------------------------------------------------------------------------------------------------------


def test_a_term_is_the_laplace_log_likelihood_of_its_errors_but_for_a_constant():
    balance = UncertaintyWeights(["multimodal", "audio"]).double()
    log_scales = torch.tensor([0.7, -1.2])
    balance.log_scales.data.copy_(log_scales)
    errors = {"multimodal": np.array([0.5, -1.5, 0.2]), "audio": np.array([2.0, -0.1])}
    terms = balance({task: torch.tensor(np.abs(error).mean()) for task, error in errors.items()})
    for (task, error), log_scale in zip(errors.items(), log_scales.tolist(), strict=True):
        expected = -laplace.logpdf(error, scale=np.exp(log_scale)).mean() - np.log(2)
        assert terms[task].item() == pytest.approx(expected, rel=1e-6)
        assert balance.shown()[f"scale_{task}"].item() == pytest.approx(np.exp(log_scale), rel=1e-6)


def test_at_the_start_it_is_the_plain_sum_and_a_scale_settles_at_its_term():
    terms = {"multimodal": torch.tensor(0.5), "text": torch.tensor(2.0)}
    balance = UncertaintyWeights(list(terms))
    assert {task: term.item() for task, term in balance(terms).items()} == {"multimodal": 0.5, "text": 2.0}
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        sum(balance(terms).values()).backward()
        optimizer.step()
    assert [scale.item() for scale in balance.shown().values()] == pytest.approx([0.5, 2.0], rel=1e-3)


def test_scales_are_trained_without_weight_decay_and_shown_and_the_terms_are_as_they_were(data):
    made, training = parts(data, "uncertainty")
    fitted = fit(made, data["train"], data["valid"], training)
    scales = fitted.history.filter(regex="^loss_scale_")
    assert list(scales) == [f"loss_scale_{task}" for task in ("multimodal", "text", "audio", "vision")]
    assert (scales.iloc[-1] != 1).all()
    (group,) = [
        each
        for each in TrainingLoop(made, data["train"], training).optimizer.param_groups
        if any(p is made.objective.balance.log_scales for p in each["params"])
    ]
    assert group["name"] == "rest" and group["weight_decay"] == 0
    plain, _ = parts(data, "sum")
    batch = data["train"].batch(torch.arange(8))
    labels = {task: plain.labels.labels(task, batch.index) for task in plain.model.tasks}
    output = plain.model.eval()(batch)
    theirs, ours = plain.objective(output, labels), MultiTaskLoss(None, False, made.objective.balance)(output, labels)
    assert all(torch.equal(ours[task], theirs[task]) for task in output.predictions)
    expected = sum(made.objective.balance({task: theirs[task] for task in output.predictions}).values())
    torch.testing.assert_close(ours["total"], expected)


def test_with_weights_of_samples_it_is_refused():
    with pytest.raises(
        ValueError, match="objective: got balance 'uncertainty' with weight_adjustment, expected it off"
    ):
        resolve("planted", overrides={"objective.balance": {"kind": "uncertainty"}})


# --- PCGrad -----------------------------------------------------------------------------------------------------------


def algorithm_1(gradients, orders):
    result = []
    for i, gradient in enumerate(gradients):
        for j in orders[i]:
            if j != i and gradient @ gradients[j] < 0:
                gradient = gradient - (gradient @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        result.append(gradient)
    return np.array(result)


@pytest.mark.parametrize("seed", range(5))
def test_projections_are_those_of_algorithm_1(seed):
    gradients = np.random.default_rng(seed).normal(size=(4, 3))
    torch.manual_seed(seed)
    orders = [torch.randperm(4).tolist() for _ in range(4)]
    torch.manual_seed(seed)
    np.testing.assert_allclose(projected(torch.from_numpy(gradients)), algorithm_1(gradients, orders), rtol=1e-9)


def test_a_gradient_of_zeros_conflicts_with_nothing():
    gradients = torch.tensor([[0.0, 0.0], [-1.0, 1.0], [1e-30, 0.0]])
    assert projected(gradients).isfinite().all() and torch.equal(projected(gradients)[0], gradients[0])


def step_by_hand(first, second, own=0.5):
    """Gradients of theta after the step, of a head that one task alone reaches, and of a loss that is no task's."""
    theta, head = (nn.Parameter(torch.tensor([1.0, 1.0])) for _ in range(2))
    losses = [theta @ torch.tensor(first) + 3 * head.sum(), theta @ torch.tensor(second)]
    (sum(losses) + own * theta.sum()).backward(retain_graph=True)
    PCGrad().project(losses, [theta, head])
    return theta.grad.tolist(), head.grad.tolist()


def test_two_tasks_that_conflict_by_hand():
    """(1, 0) loses its part along (-1, 1): (0.5, 0.5); (-1, 1) loses its part along (1, 0): (0, 1)."""
    theta, head = step_by_hand([1.0, 0.0], [-1.0, 1.0])
    assert theta == pytest.approx([0.5 + 0 + 0.5, 0.5 + 1 + 0.5])
    assert head == [3.0, 3.0]


def test_two_tasks_that_agree_keep_their_gradients():
    assert step_by_hand([1.0, 0.0], [1.0, 1.0]) == ([2.5, 1.5], [3.0, 3.0])


def test_in_training_it_acts_on_what_two_tasks_reach_and_on_nothing_else(data):
    """The step's gradients, against the tasks' own ones, batch by batch; the alignment is no task."""
    batch = data["train"].batch(torch.arange(8))
    found, of_tasks = {}, []
    for balance in ("sum", "pcgrad"):
        made, training = parts(data, balance)
        for module in made.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        loop = TrainingLoop(made, data["train"], training)
        loop.model.train()
        torch.manual_seed(3)
        loop._backward(batch, samples=16, epoch=1)
        found[balance] = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
        if balance == "sum":
            output = made.model(batch)
            terms = made.objective(output, dict.fromkeys(output.predictions, data["train"].labels[:8]))
            for task in output.predictions:
                made.model.zero_grad()
                (terms[task] / 2).backward(retain_graph=True)
                of_tasks.append({n: p.grad.clone() for n, p in made.model.named_parameters() if p.grad is not None})
    shared = [name for name in found["sum"] if sum(name in own for own in of_tasks) > 1]
    assert {name.split(".")[0] for name in shared} == {"encoders"}
    gradients = np.stack(
        [torch.cat([own.get(n, torch.zeros_like(found["sum"][n])).flatten() for n in shared]) for own in of_tasks]
    )
    torch.manual_seed(3)
    orders = [torch.randperm(4).tolist() for _ in range(4)]
    change = torch.from_numpy((algorithm_1(gradients, orders) - gradients).sum(axis=0))
    assert change.abs().max() > 1e-6, "nothing conflicted"
    for name, part in zip(shared, change.split([found["sum"][n].numel() for n in shared]), strict=True):
        torch.testing.assert_close(found["pcgrad"][name], found["sum"][name] + part.view_as(found["sum"][name]))
    for name in set(found["sum"]) - set(shared):
        assert torch.equal(found["pcgrad"][name], found["sum"][name]), name


def test_runs_without_it_take_one_backward_pass(data, monkeypatch):
    made, training = parts(data, "sum")
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a second backward pass"))
    fit(made, data["train"], data["valid"], training)


@pytest.mark.slow
def test_it_learns_and_repeats(data):
    histories = []
    for _ in range(2):
        made, training = parts(data, "pcgrad")
        histories.append(fit(made, data["train"], data["valid"], training).history.drop(columns="seconds"))
    assert histories[0].equals(histories[1])
    assert histories[0]["loss_multimodal"].iloc[-1] < histories[0]["loss_multimodal"].iloc[0]
