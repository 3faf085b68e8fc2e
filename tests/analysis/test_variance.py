"""Oracles: a case worked by hand, scipy's one-way analysis of variance, simulation with known components."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway

from msa_core.analysis.variance import (
    differences_markdown,
    differences_within_seeds,
    step_differences,
    variance_components,
    variance_markdown,
)


def runs_of(table, variant="paper"):
    """(S, A) test MAE -> rows."""
    rows = [
        {"dataset": "planted", "variant": variant, "seed": seed, "arithmetic": f"a{column}", "test_mae": value}
        for seed, row in enumerate(table)
        for column, value in enumerate(row)
    ]
    return pd.DataFrame(rows).assign(error_variance=0.36, samples=900)


def test_by_hand():
    """Two seeds, two arithmetics: means 1 and 4; within 2 and 2, so 2; between 2 * 4.5 = 9, seed (9 - 2) / 2."""
    (row,) = variance_components(runs_of([[0.0, 2.0], [3.0, 5.0]])).itertuples()
    assert (row.n_seeds, row.n_arithmetics, row.mean) == (2, 2, 2.5)
    assert row.sd_seed == pytest.approx(np.sqrt(3.5))
    assert row.sd_rounding == pytest.approx(np.sqrt(2))
    assert row.share_rounding == pytest.approx(2 / 5.5)
    assert row.sd_test_samples == pytest.approx(0.02)


def test_the_ratio_of_mean_squares_is_scipys():
    table = np.random.default_rng(0).normal(size=(6, 4)) + np.arange(6)[:, None] / 3
    (row,) = variance_components(runs_of(table)).itertuples()
    ratio = f_oneway(*table).statistic
    assert row.share_rounding == pytest.approx(1 / (1 + (ratio - 1) / 4))


def test_seeds_that_differ_less_than_rounding_leave_all_to_rounding():
    (row,) = variance_components(runs_of([[0.0, 1.0], [1.0, 0.0]])).itertuples()
    assert (row.sd_seed, row.share_rounding) == (0, 1)


@pytest.mark.parametrize(("seed_sd", "rounding_sd"), [(1.0, 1.0), (2.0, 0.5), (0.3, 1.0)])
def test_intervals_cover_the_truth(seed_sd, rounding_sd):
    """400 draws of 10 seeds by 4 arithmetics: coverage of both 95% intervals within four standard errors."""
    rng = np.random.default_rng(1)
    share = rounding_sd**2 / (rounding_sd**2 + seed_sd**2)
    covered = np.zeros(2)
    for _ in range(400):
        table = rng.normal(0, seed_sd, (10, 1)) + rng.normal(0, rounding_sd, (10, 4))
        (row,) = variance_components(runs_of(table)).itertuples()
        covered += [row.share_low <= share <= row.share_high, row.rounding_low <= rounding_sd <= row.rounding_high]
    assert (np.abs(covered / 400 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)).all()


def test_a_seed_without_every_arithmetic_is_left_out_and_one_seed_is_refused():
    runs = runs_of([[0.0, 2.0], [3.0, 5.0], [9.0, 9.0]]).iloc[:-1]
    assert variance_components(runs)["n_seeds"].item() == 2
    with pytest.raises(ValueError, match=r"got no variant with two seeds and two arithmetics among \d+ runs"):
        variance_components(runs_of([[0.0, 2.0]]))


def test_for_reading():
    text = variance_markdown(variance_components(runs_of([[0.0, 2.0], [3.0, 5.0]])))
    assert "| paper     | 2       | 2             | 2.5000" in text
    assert "36% [" in text


def test_step_differences_are_relative_to_the_reference():
    keys = {"precision": "float32", "variant": "paper", "seed": 1}
    losses = {("default", 1): 2.0, ("default", 2): 4.0, ("AVX2", 1): 2.0, ("AVX2", 2): 5.0}
    steps = pd.DataFrame([keys | {"arithmetic": a, "step": s, "loss": loss} for (a, s), loss in losses.items()])
    found = step_differences(steps)
    assert found["arithmetic"].unique().tolist() == ["AVX2"]
    assert found["difference"].tolist() == [0.0, 0.25]


def test_differences_within_seeds_by_hand():
    """Within: 0.1 and 0.3, variances 0.005 and 0.045; over seeds 0.2 and 0.4, variances 0.02 and 0.08."""
    runs = runs_of([[1.0, 1.1], [1.2, 1.5], [7.0, 8.0]], variant=None).drop(columns="variant").iloc[:-1]
    table = differences_within_seeds(runs.assign(model="lmf", epoch_limit=0, epochs=[7, 8, 9, 8, 7]))
    (row,) = table.itertuples()
    assert (row.n_seeds, row.n_arithmetics) == (2, 2)
    assert row.largest == pytest.approx(0.3)
    assert row.sd_rounding == pytest.approx(np.sqrt(0.025))
    assert row.sd_seeds == pytest.approx(np.sqrt(0.05))
    assert "| lmf     | until it stops, at most 9 | 2 " in differences_markdown(table)
