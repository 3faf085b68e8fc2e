"""msa_core/analysis/power.py. Oracles: simulated studies, Cohen's tables, and the rule of claims."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp

from msa_core.analysis import plots, power
from msa_core.analysis.claims_rule import NO_GAIN, UNDECIDED, Claim, runs_to_decide
from msa_core.analysis.comparisons import compare, mean_squares, run_interval

GAINS = pd.DataFrame(
    {
        "noise": [0.5, 0.8],
        "variant": "paper",
        "reference": "no_alignment",
        "verdict": [UNDECIDED, NO_GAIN],
        "estimate": [0.004, -0.002],
        "sd": [0.012, 0.003],
        "n_draws": [8, 1],
    }
)


@pytest.mark.parametrize(("runs", "tests", "share"), [(3, 1, 0.8), (8, 1, 0.8), (8, 5, 0.5), (40, 3, 0.9)])
def test_so_many_simulated_studies_tell_the_gain(runs, tests, share):
    gain = power.smallest_told(2.0, runs, tests, share)
    studies = np.random.default_rng(0).normal(gain, 2.0, size=(40_000, runs))
    told = ttest_1samp(studies, 0, axis=1, alternative="two-sided")
    assert ((told.pvalue < 0.05 / tests) & (told.statistic > 0)).mean() == pytest.approx(share, abs=0.008)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_number_of_pairs_is_that_of_cohens_tables(effect, pairs):
    assert power.runs_to_tell(effect * 0.03, 0.03) == pairs


@pytest.mark.parametrize("tests", [1, 54])
@pytest.mark.parametrize("spread", [0.0001, 0.004, 0.05])
def test_with_one_run_less_the_gain_is_not_told(spread, tests):
    runs = power.runs_to_tell(0.01, spread, tests)
    assert power.smallest_told(spread, runs, tests) <= 0.01
    assert runs == 2 or power.smallest_told(spread, runs - 1, tests) > 0.01


def test_a_claims_spread_is_that_of_its_runs():
    values = np.random.default_rng(1).normal(size=9)
    claims = [Claim(1, "better", gain=run_interval(values), smallest=0.01, n_runs=9), Claim(1, "b", n_runs=9)]
    rows = power.of_claims(claims)
    assert rows["sd"][0] == pytest.approx(values.std(ddof=1))
    assert rows["tests"].tolist() == [2, 2]


def test_a_comparison_has_the_runs_that_would_decide_and_tell():
    table = power.power_table(power.of_sweep("mine", GAINS, ["noise"]), smallest=0.01)
    assert len(table) == 1, "one draw has no spread"
    row = table.iloc[0]
    assert row["comparison"] == "`paper` against `no_alignment`: noise 0.5"
    assert row["to_decide"] == 18  # the doctest of claims_rule.runs_to_decide
    assert row["told"] == power.smallest_told(0.012, 8, 2)
    assert row["to_tell"] == power.runs_to_tell(0.01, 0.012, 2)
    text = power.power_markdown(table, 0.01)
    assert "| mine    | `paper` against `no_alignment`: noise 0.5 | undecided | 8      | +0.0040    | 0.0120 |" in text
    nothing = power.power_table(power.of_sweep("mine", GAINS.iloc[:0], ["noise"]), 0.01)
    assert power.power_markdown(nothing, 0.01) == "No comparison has two runs yet.\n"
    assert plots.power_dots(nothing, 0.01).texts[0].get_text() == "No comparison has two runs yet."


def test_every_comparison_is_a_dot_in_the_row_of_its_sweep():
    of_claim = power.of_claims([Claim(1, "better: `a`", gain=run_interval([0.1, 0.2, 0.4]), smallest=0.01, n_runs=3)])
    both = GAINS.assign(n_draws=[8, 9])
    table = power.power_table(pd.concat([of_claim, power.of_sweep("mine", both, ["noise"])]), 0.01)
    (axis,) = plots.power_dots(table, 0.01).axes
    first, second = (each.get_offsets() for each in axis.collections)
    assert first.tolist() == [[table["told"][0], 0.0]]
    assert second.tolist() == [[table["told"][1], 1.0], [table["told"][2], 1.0]]
    assert axis.lines[1].get_xdata().tolist() == [table["told"][1:].median()]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["primary, 3 runs", "mine, 8–9 runs"]


def crossed(of_run, of_sample, rest, mean, runs=6, samples=50):
    """Gains whose spread over runs, over samples and of both is given."""
    generator = np.random.default_rng(3)
    shapes = {(runs, 1): of_run, (1, samples): of_sample, (runs, samples): rest}
    parts = [generator.normal(scale=spread, size=shape) for shape, spread in shapes.items()]
    values = sum(parts)
    return values - values.mean() + mean


@pytest.mark.parametrize("tests", [1, 3])
def test_where_samples_add_nothing_the_runs_that_decide_are_those_of_the_t_interval(tests):
    gains = crossed(0.012, 0.0, 0.0, 0.004)
    spread = gains.mean(axis=1).std(ddof=1)
    assert power.crossed_runs_to_decide(gains, 0.01, tests) == runs_to_decide(0.004, spread, 0.01, tests)


def test_no_number_of_runs_decides_what_the_samples_leave_open():
    few, many = (crossed(0.01, 0.2, 0.1, 0.002, samples=number) for number in (100, 20_000))
    assert power.crossed_runs_to_decide(few, 0.01) == np.inf
    runs = power.crossed_runs_to_decide(many, 0.01)
    assert 2 < runs < 100
    squares = mean_squares(many)
    of_run, of_sample = (squares[0] - squares[2]) / 20_000, (squares[1] - squares[2]) / 6
    halves = []
    for number in (runs - 1, runs):  # by hand: runs' part with their t, samples' part with theirs
        parts = np.array([(of_run + squares[2] / 20_000) / number, of_sample / 20_000])
        quantiles = t.isf(0.025, [number - 1, 19_999])
        halves.append(quantiles @ parts / np.sqrt(parts.sum()))
    assert halves[1] < 0.008 <= halves[0]


def test_the_undecided_on_shared_samples_are_those_of_compare():
    rows = []
    generator = np.random.default_rng(5)
    labels = generator.normal(size=40)
    for variant, error in (("paper", 0.3), ("near", 0.3), ("far", 3.0)):
        for seed in (1, 2, 3):
            predictions = labels + error + 0.2 * generator.normal(size=40)
            rows += [(variant, seed, f"s{i}", y, p) for i, (y, p) in enumerate(zip(labels, predictions, strict=True))]
    frame = pd.DataFrame(rows, columns=["variant", "seed", "id", "label", "prediction"])
    frame = frame.assign(dataset="d", title="D", scheme="mosi", draw="shared", test_to_train=0.0, label_bound=3)
    table = power.on_shared_samples([frame, frame.iloc[:0]])
    assert table["comparison"].tolist() == ["`paper` against `near`"], "far is harmed for sure"
    row = compare(frame).query("variant == 'near' and metric == 'mae'").iloc[0]
    assert table.loc[0, ["estimate", "low", "high"]].tolist() == pytest.approx(
        [row["difference"], row["low"], row["high"]]
    )
    assert table.loc[0, ["n_runs", "n_samples"]].tolist() == [3, 40]
    ending = "none" if np.isinf(table["to_decide"][0]) else f"{table['to_decide'][0]:.0f}"
    assert power.on_shared_samples_markdown(table).splitlines()[2].split("|")[-2].strip() == ending
    assert power.on_shared_samples_markdown(table.iloc[:0]) == "None is undecided.\n"
