"""Training samples without a multimodal label, from settings to folder; oracle: the same run on other hidden labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from msa_core import build, run
from msa_core.analysis.tables import label_agreement, label_movement
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.training import fit, predict, task_metrics

SMALL = {
    "dataset.planted": {"num_train": 40, "num_valid": 20, "num_test": 20},
    "training.max_epochs": 3,
    "training.average": False,
    "training.diagnostics": True,
}
UNIFORM = {"objective.weight_adjustment": False}
KINDS = {
    **{
        kind: {"objective.labels": {"kind": kind}}
        for kind in ("generated", "damped", "nearest", "ensemble", "residual")
    },
    **{kind: {"objective.labels": {"kind": kind}} | UNIFORM for kind in ("copied", "true", "none")},
    "uncertainty": {"objective.balance": {"kind": "uncertainty"}} | UNIFORM,
    "pcgrad": {"objective.balance": {"kind": "pcgrad"}},
    **{host: {"model": {"kind": host}} for host in ("mmim", "misa")},
}


@pytest.fixture(scope="module")
def data():
    planted = planted_features(num_train=40, num_valid=20, num_test=20)
    return {split: features.to(torch.float64) for split, features in planted.items()}


def settings(share=0.6, one_modality=0.5, **changes):
    unlabelled = {"dataset.unlabelled": {"share": share, "one_modality": one_modality}}
    return resolve("planted", overrides=SMALL | unlabelled | changes)


def others(features, hidden):
    """The same split with other labels where they are hidden."""
    labels = features.labels.where(~hidden["multimodal"], -features.labels + 0.3)
    unimodal = {name: y.where(~hidden[name], 2.9 - y.abs()) for name, y in features.unimodal_labels.items()}
    return replace(features, labels=labels, unimodal_labels=unimodal)


def trained(config, train, valid):
    torch.manual_seed(0)
    made = build.parts(config, train)
    return made, fit(made, train, valid, config.training)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_labels_change_nothing_and_every_number_is_finite(kind, data):
    config = settings(**KINDS[kind])
    hide = {"share": 0.6, "one_modality": 0.5, "seed": 1}
    train = data["train"].hiding_labels(**hide)
    hidden = {name: train.labels.isnan() & labels.isnan() for name, labels in train.given.items()}
    hidden["multimodal"] = train.labels.isnan()
    assert hidden["multimodal"].sum() == 24 and sum(int(hidden[name].sum()) for name in train.given) == 3 * 24 - 12
    changed = others(data["train"], hidden).hiding_labels(**hide)
    assert not torch.equal(changed.unimodal_labels["text"], train.unimodal_labels["text"])
    made, fitted = trained(config, train, data["valid"])
    again, same = trained(config, changed, data["valid"])
    assert np.isfinite(fitted.history.drop(columns="valid_corr")).all(axis=None)
    columns = fitted.history.columns.drop("seconds")
    assert same.history[columns].equals(fitted.history[columns]) and same.trajectories.equals(fitted.trajectories)
    for name, value in made.model.state_dict().items():
        assert value.isfinite().all() and torch.equal(again.model.state_dict()[name], value), name


@pytest.mark.parametrize("kind", ["generated", "nearest", "ensemble", "residual", "copied", "true"])
def test_a_given_label_stays_and_others_follow_the_source(kind, data):
    config = settings(**KINDS[kind])
    train = data["train"].hiding_labels(share=0.6, one_modality=0.5, seed=1)
    made, _ = trained(config, train, data["valid"])
    y, everyone = train.labels, torch.arange(40)
    assert torch.equal(made.labels.labels("multimodal", everyone).nan_to_num(9), y.nan_to_num(9))
    for modality, given in train.given.items():
        labels = made.labels.labels(modality, everyone)
        human = ~given.isnan()
        assert torch.equal(labels[human], train.unimodal_labels[modality][human])
        rest = y.isnan() & ~human
        assert bool(labels[rest].isnan().all()) == (kind in ("copied", "true"))
        assert labels[rest].isfinite().all() or made.labels.fixed
        expected = {"copied": y, "true": train.unimodal_labels[modality]}
        if kind in expected:
            assert torch.equal(labels[~y.isnan()], expected[kind][~y.isnan()])


@pytest.mark.slow
def test_a_run_from_settings_to_folder_and_back(tmp_path):
    result = run.train(settings(share=0.95, one_modality=0.2), tmp_path / "seed-1111")
    _, model, data = run.load(tmp_path / "seed-1111")
    train = data["train"]
    assert {split: int(part.labels.isnan().sum()) for split, part in data.items()} == {
        "train": 38,
        "valid": 0,
        "test": 0,
    }
    known = ~train.labels.isnan().numpy()
    predicted = predict(model, train)["multimodal"]
    expected = np.abs(predicted - train.labels.numpy())[known].mean()
    assert result.metrics["train"]["multimodal"]["mae"] == pytest.approx(expected, rel=1e-9)
    stored = result.predictions.query("split == 'train'")
    assert stored["label"].isna().to_numpy().tolist() == (~known).tolist() and stored["multimodal"].notna().all()
    start = result.labels.query("epoch == 0")[["text", "audio", "vision"]]
    assert start.notna().sum().sum() == 3 * 2 + 8  # of two samples each, and one of each of a fifth of the others


def test_label_tables_are_over_the_samples_that_have_y(data):
    config = settings(one_modality=0.0)
    train = data["train"].hiding_labels(share=0.6, one_modality=0.0, seed=1)
    _, fitted = trained(config, train, data["valid"])
    true = fitted.trajectories.query("epoch == 0")[["id"]].assign(text=train.unimodal_labels["text"].numpy())
    labelled = [identity for identity, y in zip(train.ids, train.labels, strict=True) if not y.isnan()]
    alone = fitted.trajectories[fitted.trajectories["id"].isin(labelled)]
    assert label_agreement(fitted.trajectories, true).equals(label_agreement(alone, true))
    assert label_movement(fitted.trajectories).equals(label_movement(alone))
    assert label_movement(alone).notna().all(axis=None)


def test_metrics_are_over_the_samples_that_have_a_label(data):
    train = data["train"].hiding_labels(share=0.6, one_modality=0.0, seed=1)
    predicted = np.linspace(-3, 3, 40)
    known = ~train.labels.isnan().numpy()
    found = task_metrics({"multimodal": predicted}, train, "mosi")["multimodal"]
    errors = np.abs(predicted - data["train"].labels.numpy())
    assert found["mae"] == pytest.approx(errors[known].mean(), rel=1e-12)


def test_what_cannot_be_hidden_or_given_is_refused():
    config = settings(**{"dataset.planted": {"num_train": 2, "num_valid": 2, "num_test": 2}})
    with pytest.raises(ValueError, match=r"'train' of 2 samples, got share 0\.6 .* at least 2 samples with a label"):
        build.dataset(config)
    train = replace(planted_features(4, 2, 2)["train"], unimodal_labels={})
    with pytest.raises(
        ValueError, match=r"got one_modality 0\.5 and no unimodal labels of \['audio', 'text', 'vision'"
    ):
        train.hiding_labels(share=0.5, one_modality=0.5, seed=0)
    assert train.hiding_labels(share=0.5, one_modality=0.0, seed=0).labels.isnan().sum() == 2
