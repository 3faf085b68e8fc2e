"""msa_core/parts/contrast.py. Oracle: the formula in numpy, pair by pair; and the run that it is a part of."""

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.parts.contrast import label_contrast

RNG = np.random.default_rng(0)
Y = np.array([0.4, -2.0, 3.0, 0.0, -0.2, 1.0, 0.0, np.nan])
F = RNG.standard_normal((8, 4))


def expected(features, y, temperature):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    samples = [i for i in range(len(y)) if not np.isnan(y[i])]
    of_samples = []
    for i in samples:
        e = {j: np.exp(unit[i] @ unit[j] / temperature) for j in samples if j != i}
        positive = [j for j in e if np.sign(y[j]) == np.sign(y[i])]
        negative = sum(abs(y[i] - y[j]) * e[j] for j in e if j not in positive)
        logs = [np.log(e[p] / (sum(e[q] for q in positive) + negative)) for p in positive]
        of_samples += [-np.mean(logs)] if logs else []
    return np.mean(of_samples) if of_samples else 0.0


@pytest.mark.parametrize("rows", [range(8), [0, 1, 4, 5, 2], [0, 1, 3], [7, 0]])
@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_value_is_the_formula(rows, temperature):
    """Of all samples; without one of zero; with no two of one polarity, which is 0; with one label alone."""
    features, y = F[list(rows)], Y[list(rows)]
    found = label_contrast(torch.from_numpy(features), torch.from_numpy(y), temperature)
    assert found.item() == pytest.approx(expected(features, y, temperature), rel=1e-6)


def test_gradient_is_finite_and_none_of_it_is_that_of_a_sample_without_a_label():
    features = torch.from_numpy(np.vstack([F[:7], np.zeros(4)])).requires_grad_()
    torch.autograd.gradcheck(
        lambda x: label_contrast(x, torch.from_numpy(Y), 0.5), torch.from_numpy(F).requires_grad_()
    )
    label_contrast(features, torch.from_numpy(Y), 0.1).backward()
    assert features.grad.isfinite().all() and not features.grad[7].any() and features.grad[:7].any(dim=1).all()


def test_a_run_has_the_term_with_its_weight():
    data = planted_features(num_train=12, num_valid=4, num_test=4)
    overrides = {"dataset.unlabelled.share": 0.25, "training.precision": "float32"}
    train = data["train"].hiding_labels(share=0.25, one_modality=0.0, seed=1)
    made = build.parts(resolve("planted", "label_contrast", overrides=overrides), train)
    batch = train.batch(torch.arange(12))
    output = made.model(batch)
    terms = made.objective(output, {task: made.labels.labels(task, batch.index) for task in made.model.tasks})
    own = label_contrast(output.features["multimodal"], train.labels, 0.1)
    assert terms["label_contrast"].item() == pytest.approx(0.1 * own.item(), rel=1e-6) and own > 0
    made.objective.contrast = None
    without = made.objective(output, {task: made.labels.labels(task, batch.index) for task in made.model.tasks})
    assert terms["total"].item() - without["total"].item() == pytest.approx(0.1 * own.item(), rel=1e-4)
