"""Oracles: two runs made by hand whose distance grows by a known factor; the loss and the gradient of a smooth |e|."""

import numpy as np
import pandas as pd
import pytest
import torch

from msa_core import build
from msa_core.analysis import mechanism
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.interfaces import MSAOutput
from msa_core.objective import MultiTaskLoss
from msa_core.paths import ROOT


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / "workflow"))
        import mechanism as script

        yield script


def run_of(loss, weights, signs, steps):
    return {
        "loss": np.array(loss),
        "weights": np.array(weights),
        "weights_steps": np.array(steps),
        "group_ends": np.array([1, 3]),
        "signs/errors": np.array(signs),
    }


def test_compared_by_hand():
    ours = run_of([2.0, 5.0], [[1.0, 3.0, 8.0]], [[True, False], [True, True]], [2])
    theirs = run_of([2.0, 4.0], [[0.0, 3.0, 4.0]], [[True, False], [False, False]], [2])
    found = mechanism.compared(ours, theirs, ("key_biases", "rest"))
    assert found["difference"].tolist() == [0.0, 0.25]
    assert found["signs_errors"].tolist() == [0, 2]
    np.testing.assert_allclose(found["weights_key_biases"], [np.nan, 1.0])  # theirs are 0
    np.testing.assert_allclose(found["weights_rest"], [np.nan, 0.8])  # 4 of 5


def comparison(seed, factor, start=1e-8, epochs=4, steps=2, **keys):
    """Losses and weights that part by one factor each epoch."""
    step = np.arange(1, epochs * steps + 1)
    epoch = (step - 1) // steps + 1
    gap = start * factor ** epoch.astype(float)
    frame = pd.DataFrame({"step": step, "epoch": epoch, "difference": gap, "weights_audio": gap, "weights_text": gap})
    frame.loc[step % steps > 0, ["weights_audio", "weights_text"]] = np.nan
    named = {"precision": "float32", "perturbation": 0.0, "intervention": "none", "seed": seed, "weights_key_biases": 1}
    return frame.assign(**named | keys)


def test_interventions_find_the_step_and_the_factor():
    """By a factor of 10, 1e-8 is above 1e-5 in epoch 4, at step 7; by 2 it never is."""
    rows = pd.concat(
        [comparison(seed, 10) for seed in (1, 2, 3)] + [comparison(1, 2, intervention="smooth")], ignore_index=True
    )
    none, smooth = mechanism.interventions(rows, threshold=5e-5).itertuples()
    assert (none.n_seeds, none.epochs, none.parting, none.parting_low, none.parting_high) == (3, 4, 7, 7, 7)
    assert none.growth == pytest.approx(10)
    assert none.difference == pytest.approx(1e-4)
    assert np.isnan(smooth.parting)
    assert (smooth.growth_low, smooth.growth, smooth.growth_high) == pytest.approx((2, 2, 2))


def test_the_finding_is_made_of_the_tables_numbers():
    rows = comparison(1, 10).assign(signs_errors=[0, 0, 2, 0, 0, 0, 0, 0])
    for name in ("weights_audio", "weights_text"):  # at every step
        rows[name] = rows["difference"]
    control = comparison(1, 3, precision="float64", perturbation=1e-8)
    table = mechanism.interventions(pd.concat([rows, control], ignore_index=True), threshold=5e-5)
    text = mechanism.finding(table, mechanism.first_crossings(rows, threshold=5e-5))
    assert "part at step 7 (median of 1 seeds)" in text
    assert "grows from 1e-07 to 1e-07" in text
    assert "step 3 (2 errors; audio jump most)" in text
    assert "in epoch 4: 1.0e-04 as the runs are" in text
    assert "from 1e-08 with intervention 'none', 3.0" in text
    markdown = mechanism.interventions_markdown(table)
    assert "| 7 [7, 7] " in markdown and "| perturbation of 1e-08 |" in markdown


def test_growth_leaves_out_what_is_saturated_and_needs_three_epochs():
    rows = comparison(1, 10, epochs=8)
    saturated = rows.assign(**{name: rows[name].clip(upper=0.02) for name in ("weights_audio", "weights_text")})
    assert mechanism.growth(saturated) == pytest.approx(10)
    assert np.isnan(mechanism.growth(comparison(1, 10, start=1e-4)))


def test_first_crossings_by_hand():
    """Step 3: one activation of the heads crosses zero, and the audio weights jump by a factor of 50."""
    rows = pd.DataFrame(
        {
            "seed": 1,
            "step": [1, 2, 3, 4],
            "difference": [0, 1e-7, 1e-6, 1e-3],
            "signs_head_activations": [0, 0, 1, 4],
            "signs_errors": [0, 0, 0, 2],
            "weights_key_biases": [1.0, 1.0, 90.0, 1.0],
            "weights_audio": [1e-8, 1e-7, 5e-6, 1e-4],
            "weights_text": [1e-8, 1e-7, 1e-7, 1e-4],
        }
    )
    (row,) = mechanism.first_crossings(rows).itertuples()
    assert (row.step, row.signs, row.group, row.parting) == (3, "1 head activations", "audio", 4)
    assert row.factor == pytest.approx(50)
    expected = [1e-8, 1e-7, np.sqrt((25e-12 + 1e-14) / 2), 1e-4]
    np.testing.assert_allclose([row.start, row.before, row.after, row.at_parting], expected)
    (row,) = mechanism.first_crossings(rows.iloc[:2]).itertuples()
    assert np.isnan(row.step) and np.isnan(row.parting)


def test_smooth_loss_is_smooth_and_leaves_the_product_as_it_was(script):
    objective = MultiTaskLoss()
    output = MSAOutput({"multimodal": torch.tensor([1.0, 1.5])}, {}, {})
    labels = {"multimodal": torch.tensor([1.0, 1.0])}
    script.with_smooth_loss(objective)
    expected = (0.0 + (0.26**0.5 - 0.1)) / 2
    assert objective(output, labels)["multimodal"].item() == pytest.approx(expected)
    assert torch.tensor(-2.0).abs() == 2
    assert MultiTaskLoss()(output, labels)["multimodal"].item() == 0.25


def test_interventions_change_the_model_inside_their_context(script):
    features = planted_features(num_train=4, num_valid=2, num_test=2)["train"]
    parts = build.parts(resolve("planted", "paper", overrides={"training.precision": "float32"}), features)
    kink = torch.tensor([-1.0])
    with script.intervened(parts, ("activation", "key", "dropout")):
        assert kink.relu().item() == pytest.approx(-0.158655, abs=1e-5)  # -1 times the normal distribution at -1
    assert kink.relu().item() == 0
    frozen = {name for name, parameter in parts.model.named_parameters() if not parameter.requires_grad}
    assert len(frozen) == 2 and all(name.endswith("self.key.bias") for name in frozen)
    assert {module.p for module in parts.model.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}


def test_every_trained_weight_is_in_one_group(script):
    features = planted_features(num_train=4, num_valid=2, num_test=2)["train"]
    model = build.model(resolve("planted", "paper"), features)
    grouped = script.grouped(model)
    assert all(grouped.values())
    sizes = sum(parameter.numel() for group in grouped.values() for parameter in group)
    absent = sum(parameter.numel() for parameter in model.absent.parameters())
    assert sizes == sum(parameter.numel() for parameter in model.parameters()) - absent
