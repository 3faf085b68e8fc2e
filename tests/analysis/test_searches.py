"""msa_core/analysis/searches.py. Oracles: every subset of the trials, scipy's paired t-test, and cases by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from msa_core.analysis import plots, searches
from msa_core.analysis.claims_rule import GAINS
from msa_core.analysis.comparisons import holm
from msa_core.config import Search

STUDY = Search(
    question=7,
    title="Which?",
    dataset="planted_phase",
    variant="paper",
    reference="no_alignment",
    space={
        "momentum": {"kind": "one_of", "settings": ["objective.labels.momentum"], "values": [None, 0.5]},
        "rate": {"kind": "uniform", "settings": ["training.groups.rest.learning_rate"], "low": 0.001, "high": 0.01},
    },
    trials=3,
    trial_seeds=[1, 2],
    seeds=[5, 6, 7],
)
VALID = {"paper": [(0.5, 0.6), (0.4, 0.5), (0.9, 0.1)], "no_alignment": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6)]}
TUNED = {"paper": [0.50, 0.60, 0.70], "no_alignment": [0.52, 0.61, 0.73]}


def runs():
    """Trial 1 is the best one of `paper` (trial 2 lacks a draw), trial 0 that of `no_alignment`."""
    rows = []
    for variant, trials in VALID.items():
        for trial, values in enumerate(trials):
            for seed, valid in zip(STUDY.trial_seeds, values, strict=True):
                if (variant, trial, seed) != ("paper", 2, 1):
                    test = valid + 0.1 * trial + 0.01 * seed
                    rows.append([variant, trial, seed, valid, test])
    rows += [
        [variant, {"paper": 1, "no_alignment": 0}[variant], seed, 0.5, test]
        for variant, values in TUNED.items()
        for seed, test in zip(STUDY.seeds, values, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["variant", "trial", "seed", "valid_mae", "test_mae"])
    return frame.assign(momentum=np.where(frame["trial"] == 1, 0.5, np.nan), rate=0.002, settings="", epochs=7.0)


def test_the_expected_best_is_the_mean_over_all_subsets():
    generator = np.random.default_rng(0)
    valid, test = generator.normal(size=(2, 7))
    table = searches.expected_best(valid, test).set_index("budget")
    for budget in range(1, 8):
        chosen = [min(subset, key=lambda trial: valid[trial]) for subset in combinations(range(7), budget)]
        row = table.loc[budget]
        assert row["valid_mae"] == pytest.approx(valid[chosen].mean())
        assert row["valid_sd"] == pytest.approx(valid[chosen].std(), abs=1e-12)
        assert row["test_mae"] == pytest.approx(test[chosen].mean())
        assert row["test_sd"] == pytest.approx(test[chosen].std(), abs=1e-12)


def test_of_equal_trials_the_first_counts():
    table = searches.expected_best([0.5, 0.5, 0.5], [1.0, 2.0, 3.0])
    assert table["valid_mae"].tolist() == [0.5] * 3
    assert table["test_mae"].tolist() == pytest.approx([2, (1 + 1 + 2) / 3, 1])


def test_a_trial_counts_where_both_variants_have_all_draws():
    assert searches.chosen_trials(runs(), STUDY) == {"paper": 1, "no_alignment": 0}
    table = searches.budgets(runs(), STUDY).set_index(["variant", "budget"])
    assert table.loc[("paper", 1), "valid_mae"] == pytest.approx((0.55 + 0.45) / 2)
    assert table.loc[("paper", 2), ["valid_mae", "test_mae"]].tolist() == pytest.approx([0.45, 0.565])
    assert table.index.get_level_values("budget").max() == 2
    gains = searches.trial_gains(runs(), STUDY)
    assert gains.to_numpy() == pytest.approx(np.array([[-0.2, -0.2], [0.0, 0.0]]))


def test_the_chosen_trials_are_compared_on_the_other_draws():
    gains = searches.tuned_gains(runs(), STUDY)
    assert gains.tolist() == pytest.approx([0.02, 0.01, 0.03])
    tuned, at_random = searches.search_claims(STUDY, runs(), smallest=0.01)
    expected = ttest_rel(TUNED["no_alignment"], TUNED["paper"])
    interval = expected.confidence_interval()
    assert (tuned.gain.low, tuned.gain.high) == pytest.approx((interval.low, interval.high))
    assert tuned.gain.p == pytest.approx(expected.pvalue)
    assert [tuned.p_holm, at_random.p_holm] == pytest.approx(holm([tuned.gain.p, at_random.gain.p]).tolist())
    assert (tuned.n_runs, at_random.n_runs) == (3, 2)
    assert at_random.gain.estimate == pytest.approx(-0.1)
    assert not tuned.primary
    other = runs().query("seed < 5 or trial != 1")  # the chosen trial of `paper` was not trained on the other draws
    assert searches.tuned_gains(other, STUDY).empty
    assert [claim.n_runs for claim in searches.search_claims(STUDY, other, 0.01)] == [2]


def test_a_sure_gain_is_a_gain():
    frame = runs()
    frame.loc[frame["seed"] > 4, "test_mae"] = np.where(frame["variant"][frame["seed"] > 4] == "paper", 0.5, 0.6)
    assert searches.search_claims(STUDY, frame, smallest=0.01)[0].verdict == GAINS


def test_for_reading_it_shows_budgets_and_the_chosen_values():
    text = searches.search_markdown(runs(), STUDY)
    assert "| `paper`        | 2        | 0.4500 ± 0.0000" in text
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:4]] for line in text.splitlines() if
            line.count("|") == 4}  # fmt: skip
    assert rows["trial"] == ["1", "0"]
    assert rows["momentum"] == ["0.5", "nan"]


def test_without_records_it_says_so(tmp_path):
    none = searches.read_runs(tmp_path / "none.csv", STUDY)
    assert searches.chosen_trials(none, STUDY) == {}
    assert searches.search_claims(STUDY, none, 0.01) == []
    assert searches.trial_gains(none, STUDY).empty and searches.budgets(none, STUDY).empty
    assert searches.search_markdown(none, STUDY) == "No trial is finished yet.\n"
    assert plots.budget_curves(searches.budgets(none, STUDY)).texts[0].get_text().startswith("No trial")


def test_rows_are_read_as_they_were_written(tmp_path):
    frame = runs().assign(best_epoch=3.0, cpu_seconds=1.0)
    frame.to_csv(tmp_path / "runs.csv", index=False)
    read = searches.read_runs(tmp_path / "runs.csv", STUDY)
    pd.testing.assert_frame_equal(read[["variant", "trial", "test_mae"]], frame[["variant", "trial", "test_mae"]])


def test_the_curves_have_a_panel_for_validation_and_one_for_the_test():
    first, second = plots.budget_curves(searches.budgets(runs(), STUDY)).axes
    assert [line.get_ydata().tolist() for line in first.lines] == [
        pytest.approx([0.5, 0.45]),
        pytest.approx([0.4, 0.35]),
    ]
    assert [line.get_label() for line in second.lines] == ["paper", "no_alignment"]
    assert second.lines[0].get_ydata().tolist() == pytest.approx([0.565, 0.565])
