"""Oracle: scikit-learn's ridge regression on the stored features."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from msa_core.parts.residual import ResidualLabels

WIDTHS = {"multimodal": 2, "text": 3, "audio": 2, "vision": 2}
MODALITIES = ("text", "audio", "vision")
PENALTY, SHARE, BOUND = 0.2, 0.7, 3.0


def source(y, widths=WIDTHS, **settings):
    given = {"label_bound": BOUND, "share": SHARE, "penalty": PENALTY} | settings
    return ResidualLabels(dict.fromkeys(widths, torch.from_numpy(y)), widths, **given)


def as_tensors(arrays):
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


def explained(stored, known, y, others, x):
    if not others:
        return np.full(len(x[MODALITIES[0]]), y[known].mean())
    fitted_on = np.concatenate([stored[name][known] for name in others], axis=1)
    ridge = Ridge(alpha=len(fitted_on) * PENALTY * fitted_on.var(axis=0).mean()).fit(fitted_on, y[known])
    return ridge.predict(np.concatenate([x[name] for name in others], axis=1))


@pytest.mark.parametrize("unlabelled", [0, 8])
@pytest.mark.parametrize("absent_share", [0.0, 0.3])
def test_against_scikit_learn(unlabelled, absent_share):
    """Batch by batch; an absent modality has zeros and keeps its label; without y the prediction stands in."""
    rng = np.random.default_rng(0)
    y = rng.uniform(-3, 3, 30)
    y[:unlabelled] = np.nan
    absent, known = rng.random(30) < absent_share, ~np.isnan(y)
    labels = source(y)
    expected = {name: y.copy() for name in MODALITIES}
    stored = {name: np.zeros((30, WIDTHS[name])) for name in MODALITIES}
    for epoch in (1, 2, 3):
        for index in np.array_split(rng.permutation(30), 4):
            features = {task: rng.normal(1, 2, (len(index), width)) for task, width in WIDTHS.items()}
            predictions = {"multimodal": rng.uniform(-3, 3, len(index))}
            present = {"audio": torch.from_numpy(~absent[index])} if absent_share else {}
            labels.update(as_tensors(features), torch.from_numpy(index), epoch, present, as_tensors(predictions))
            features["audio"] = features["audio"] * ~absent[index][:, None]
            stand_in = np.where(known[index], y[index], predictions["multimodal"])
            for name in MODALITIES if epoch > 1 else ():
                others = [other for other in MODALITIES if other != name]
                r = explained(stored, known, y, others, features)
                target = np.clip(stand_in + SHARE * (stand_in - r), -BOUND, BOUND)
                old = np.where(np.isnan(expected[name][index]), stand_in, expected[name][index])
                new = ((epoch - 1) * old + 2 * target) / (epoch + 1)
                moved = ~absent[index] if name == "audio" else np.ones(len(index), bool)
                expected[name][index[moved]] = new[moved]
            for name in MODALITIES:
                stored[name][index] = features[name]
    for name, values in expected.items():
        np.testing.assert_allclose(labels.labels(name, torch.arange(30)), values, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(labels.labels("multimodal", torch.arange(30)), y)


def test_of_one_modality_alone_the_others_say_the_mean():
    y = np.array([1.0, -2.0, 2.5])
    labels = source(y, {"multimodal": 2, "text": 3})
    features = {"multimodal": torch.zeros(3, 2), "text": torch.zeros(3, 3)}
    for epoch in (1, 2):
        labels.update(features, torch.arange(3), epoch)
    expected = y / 3 + 2 / 3 * np.clip(y + SHARE * (y - y.mean()), -3, 3)
    np.testing.assert_allclose(labels.labels("text", torch.arange(3)), expected, rtol=1e-6)


def test_features_that_are_all_alike_explain_no_more_than_the_mean():
    y = np.array([1.0, -2.0, 2.5])
    labels = source(y)
    features = {task: torch.ones(3, width) for task, width in WIDTHS.items()}
    for epoch in (1, 2):
        labels.update(features, torch.arange(3), epoch)
    expected = y / 3 + 2 / 3 * np.clip(y + SHARE * (y - y.mean()), -3, 3)
    np.testing.assert_allclose(labels.labels("vision", torch.arange(3)), expected, rtol=1e-6)


def test_a_given_label_stays():
    y = torch.tensor([1.0, torch.nan])
    labels = ResidualLabels({"multimodal": y, "text": torch.tensor([1.0, -2.0])}, WIDTHS, BOUND, SHARE, PENALTY)
    for epoch in (1, 2):
        features = {"multimodal": torch.zeros(2, 2), "text": torch.zeros(2, 3)}
        labels.update(features, torch.arange(2), epoch, predictions={"multimodal": torch.zeros(2)})
    assert labels.labels("text", torch.arange(2)).tolist() == pytest.approx([1.0, -2.0])


def test_the_sums_do_not_drift_in_float32():
    rng = np.random.default_rng(0)
    labels = source(rng.uniform(-3, 3, 20).astype(np.float32))
    for epoch in range(1, 40):
        features = {task: rng.normal(0, 10, (20, width)).astype(np.float32) for task, width in WIDTHS.items()}
        labels.update(as_tensors(features), torch.from_numpy(rng.permutation(20)), epoch)
    rows = labels.rows.double()
    torch.testing.assert_close(labels.products, rows.T @ rows, rtol=1e-12, atol=1e-9)
    assert set(labels.state_dict()) >= {"rows", "products", "text_labels", "text_human"}


def test_bad_input_is_refused():
    labels = source(np.zeros(2))
    with pytest.raises(ValueError, match=r"ResidualLabels\.update: got None for features of 'text', expected \(2, 3\)"):
        labels.update({}, torch.arange(2), 1)
