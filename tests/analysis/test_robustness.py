"""msa_core/analysis/robustness.py and its figure. Oracles: numpy, scipy's t, and tables of the chi-squared."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from scipy.stats import ttest_1samp

from msa_core.analysis import plots, robustness, sweeps
from msa_core.config import Sweep

STUDY = Sweep(
    question=7,
    title="How far?",
    dataset="planted_phase",
    factors={"data": {"one draw": {"dataset.planted.seed": 7}}},
    comparisons={"paper": ["no_alignment", "multimodal_only"]},
    weights=[100.0],
    weight_seeds=[1],
    seeds=list(range(10, 20)),
)
PAPER, OTHER = np.random.default_rng(0).normal(0.5, 0.02, size=(2, 10))


@pytest.fixture
def runs():
    others = [("paper", 1.0, PAPER + 1), ("paper", 100.0, [np.nan] * 10)]  # another weight; runs that chose one
    rows = [
        {"data": "one draw", "seed": seed, "variant": variant, "weight": weight, "test_mae": mae, "settings": ""}
        for variant, weight, maes in (("paper", 100.0, PAPER), ("no_alignment", 0.0, OTHER), *others)
        for seed, mae in zip(STUDY.seeds, maes, strict=True)
    ]
    return pd.DataFrame(rows, columns=["data", "seed", "variant", "weight", "settings", *sweeps.MEASURES])


def test_a_cause_has_the_mean_and_the_spread_of_its_gains(runs):
    gains = robustness.sweep_gains(runs, "paper", "no_alignment", 100.0)
    assert gains.tolist() == pytest.approx(OTHER - PAPER)
    missing = robustness.sweep_gains(runs, "paper", "multimodal_only", 100.0)
    table = robustness.spreads({"weights": gains, "draws": missing, "one": [0.1]})
    row = table.iloc[0]
    interval = ttest_1samp(gains, 0).confidence_interval()
    assert row[["n", "estimate", "low", "high"]].tolist() == pytest.approx(
        [10, np.mean(gains), interval.low, interval.high]
    )
    sd = np.std(gains, ddof=1)
    assert row["sd"] == pytest.approx(sd)
    assert [row["sd_low"] / sd, row["sd_high"] / sd] == pytest.approx([0.68784, 1.82561], rel=1e-4)  # tables, 9 degrees
    assert table.loc[2, ["estimate", "n"]].tolist() == [0.1, 1]
    assert np.isnan(table.loc[2, "sd"])
    lines = robustness.spreads_markdown(table).splitlines()
    assert lines[3].count("not recorded") == 4
    assert "+0.1000 (no interval)" in lines[4]


def test_the_spread_is_a_claim_with_the_smallest_gain_as_its_limit(runs):
    (claim,) = robustness.spread_claims(STUDY, runs, smallest=0.01)
    sd = np.std(OTHER - PAPER, ddof=1)
    assert claim.gain.estimate == pytest.approx(0.01 - sd)
    assert claim.gain.high == pytest.approx(0.01 - 0.68784 * sd, rel=1e-4)
    assert claim.verdict == "exceeded"
    assert (claim.question, claim.n_runs, claim.limit) == (7, 10, 0.01)
    assert list(robustness.spread_claims(STUDY, runs.iloc[:0], 0.01)) == []


def test_every_gain_is_a_dot_in_the_row_of_its_cause():
    (axis,) = plots.gain_dots({"weights": [0.01, -0.02, 0.03], "draws": []}, smallest=0.01).axes
    weights, draws = (each.get_offsets() for each in axis.collections if isinstance(each, PathCollection))
    assert weights.tolist() == [[0.01, 0.0], [-0.02, 0.0], [0.03, 0.0]]
    assert len(draws) == 0
    assert [label.get_text() for label in axis.get_yticklabels()] == ["weights", "draws"]
    (mean,) = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "D"]
    assert mean == pytest.approx(0.02 / 3)
