"""Oracles: bounds, contrast and wiring written out in numpy; a density of scipy; absent modalities."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.hosts.mmim import LEAST_VARIANCE, GaussianPrediction, contrast, entropy

SMALL = {
    "model": {"kind": "mmim", "width": 8, "dropout": 0.0, "frames": {"hidden": 4, "width": 4}},
    "training.precision": "float64",
}
MODALITIES = ("text", "audio", "vision")
CLOSE = {"rtol": 1e-7, "atol": 1e-9}  # float64; `unit_rows` adds 1e-8 to a squared norm


@pytest.fixture(scope="module")
def train():
    return planted_features(num_train=9, num_valid=2, num_test=2)["train"].to(torch.float64)


def model_of(train, variant="mmim", **overrides):
    """In training, without dropout but for that of the text encoder, which is in evaluation."""
    torch.manual_seed(0)
    model = build.model(resolve("planted", variant, overrides=SMALL | overrides), train).train()
    model.encoders.eval()
    return model


def linear(x, layer):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def log_density(prediction, x, z):
    """Of a Gaussian, without its constant."""
    mean, log_variance = (
        linear(np.maximum(linear(x, net[0]), 0), net[2]) for net in (prediction.mean, prediction.log_variance)
    )
    density = norm.logpdf(z, mean, np.exp(log_variance / 2)) + np.log(2 * np.pi) / 2
    return density.sum(axis=1).mean()


def class_entropy(z, y):
    return np.mean([np.log(z[side].var(axis=0)).sum() / 2 for side in (y > 0, y < 0) if side.sum() > 1])


def told_apart(x, predicted):
    x, predicted = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (x, predicted))
    scores = np.exp(x @ predicted.T)
    return -np.log(np.diag(scores) / scores.sum(axis=1)).mean()


def expected_losses(model, output, labels, rows):
    u = {modality: x.detach().numpy() for modality, x in output.encodings.items()}
    feature = output.features["multimodal"].detach().numpy()
    bound = 0.0
    for modality in ("audio", "vision"):
        both = rows["text"] & rows[modality]
        x, z = u["text"][both], u[modality][both]
        bound += log_density(model.predictions[modality], x, z) + class_entropy(z, labels[both])
    contrasts = [told_apart(u[m][rows[m]], linear(feature[rows[m]], model.back[m])) for m in MODALITIES]
    return {"bound": -0.1 * bound, "contrast": 0.1 * sum(contrasts)}


def test_the_losses_of_a_batch(train):
    model = model_of(train)
    output = model(train.batch(torch.arange(9)))
    expected = expected_losses(model, output, train.labels.numpy(), dict.fromkeys(MODALITIES, np.full(9, True)))
    assert set(output.losses) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(output.losses[name].item(), value, **CLOSE)


@pytest.mark.parametrize("modality", MODALITIES)
def test_losses_are_those_of_the_samples_that_have_the_modality(train, modality):
    model = model_of(train)
    dropped = train.dropping(modality, 0.4, seed=0)
    output = model(dropped.batch(torch.arange(9)))
    here = dropped.present[modality].numpy()
    expected = expected_losses(
        model, output, train.labels.numpy(), {m: here if m == modality else np.full(9, True) for m in MODALITIES}
    )
    for name, value in expected.items():
        np.testing.assert_allclose(output.losses[name].item(), value, **CLOSE)
    none = model(train.dropping(modality, 1.0, seed=0).batch(torch.arange(9)))
    assert set(none.losses) == ({"contrast"} if modality == "text" else {"bound", "contrast"})
    assert none.predictions["multimodal"].isfinite().all()


def test_parts_by_hand():
    """Variances 1 and 4 of the positive samples, 1 and 1 of the negative ones: (log(4) / 2 + 0) / 2."""
    z = torch.tensor([[1.0, 2.0], [3.0, 6.0], [0.0, 0.0], [2.0, 2.0], [9.0, 9.0]])
    assert entropy(z, torch.tensor([1.0, 2.0, -1.0, -2.0, 0.0])).item() == pytest.approx(np.log(4) / 4)
    assert entropy(z, torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0])) == 0
    assert entropy(torch.ones(3, 1), torch.ones(3)).item() == pytest.approx(np.log(LEAST_VARIANCE) / 2)
    unit = torch.eye(2)
    assert contrast(3 * unit, 7 * unit).item() == pytest.approx(np.log(1 + np.exp(-1)))
    assert contrast(unit, unit[[1, 0]]).item() == pytest.approx(np.log(1 + np.exp(1)))
    exact = GaussianPrediction(1, 1)
    for parameter in exact.parameters():
        torch.nn.init.zeros_(parameter)
    assert exact(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])).item() == -2.5  # mean of -1/2 and -9/2


def test_a_larger_variance_is_no_better_where_the_mean_fits():
    torch.manual_seed(0)
    prediction = GaussianPrediction(2, 2)
    x = torch.randn(50, 2)
    with torch.no_grad():
        before = prediction(x, prediction.mean(x))
        prediction.log_variance[2].bias += 3
        assert prediction(x, prediction.mean(x)) < before


def test_the_feature_is_a_network_of_two_layers(train):
    model = model_of(train).eval()
    output = model(train.batch(torch.arange(9)))
    assert output.losses == {}  # they need labels
    joined = np.concatenate([output.encodings[m].detach().numpy() for m in MODALITIES], axis=1)
    feature = np.tanh(linear(np.tanh(linear(joined, model.fusion.first)), model.fusion.second))
    np.testing.assert_allclose(output.features["multimodal"].detach(), feature, **CLOSE)
    head = model.heads["multimodal"][0]
    np.testing.assert_allclose(output.predictions["multimodal"].detach(), linear(feature, head)[:, 0], **CLOSE)
    assert {task: x.shape[1] for task, x in output.features.items()} == model.feature_widths
    assert {m: x.shape[1] for m, x in output.encodings.items()} == model.encoding_widths
    assert model.encoding_widths == {"text": 64, "audio": 4, "vision": 4}


def test_it_is_a_host_of_alignment_and_label_generation(train):
    parts = build.parts(resolve("planted", "mmim", overrides=SMALL), train)
    assert parts.model.tasks == ("multimodal", *MODALITIES)
    assert parts.objective.alignment.pairs == {("audio", "vision"): 100.0}
    assert not parts.objective.alignment.projections and not parts.labels.fixed
    output = parts.model(train.batch(torch.arange(9)))
    labels = {"multimodal": train.labels, **{m: train.unimodal_labels[m] for m in MODALITIES}}
    terms = parts.objective(output, labels)
    assert {"bound", "contrast", "alignment_audio_vision"} <= set(terms)
    terms["total"].backward()
    untouched = {name for name, p in parts.model.named_parameters() if p.grad is None or not p.grad.any()}
    assert untouched == {f"absent.{modality}" for modality in MODALITIES}
    assert set(parts.model.parameter_groups()) == set(MODALITIES)


def test_every_setting_reaches_the_model(train):
    own = {"bound": 0.2, "contrast": 0.3, "dropout": 0.4, "frames.dropout": 0.5}
    model = model_of(train, **{f"model.{name}": value for name, value in own.items()})
    assert (model.bound, model.contrast, model.fusion.dropout.p) == (0.2, 0.3, 0.4)
    assert model.encoders["vision"].dropout.p == 0.5 and model.encoders["vision"].lstm.hidden_size == 4


def test_alone_it_has_one_task_and_its_own_losses(train):
    model = model_of(train, "mmim_multimodal_only")
    assert model.tasks == ("multimodal",)
    assert set(model(train.batch(torch.arange(9))).losses) == {"bound", "contrast"}


def test_two_modalities_are_enough_and_one_is_refused(train):
    two = replace(train, sequences={name: train.sequences[name] for name in ("audio", "vision")})
    model = model_of(two)
    assert list(model.predictions) == ["vision"] and model.first == "audio"
    assert model(two.batch(torch.arange(9))).losses["bound"].isfinite()
    with pytest.raises(ValueError, match=r"MMIM: got data with \['text'\] alone, expected at least two modalities"):
        model_of(train.only(["text"]))
