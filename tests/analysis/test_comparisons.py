"""Oracles: scipy's paired t, `regression_metrics` on resampled arrays, hand-derived cases, seeded simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from msa_core.analysis import comparisons
from msa_core.metrics import regression_metrics


def frame(runs, true, scheme="mosi", dataset="d"):
    """{(variant, seed): predictions} as `collect.read_predictions` gives it."""
    rows = [
        {"id": f"u{i}", "label": label, "prediction": prediction, "variant": variant, "seed": seed}
        for (variant, seed), predictions in runs.items()
        for i, (label, prediction) in enumerate(zip(true, predictions, strict=True))
    ]
    names = {
        "dataset": dataset,
        "title": dataset.upper(),
        "scheme": scheme,
        "draw": "shared",
        "test_to_train": 0.0,
        "label_bound": 3.0,
    }
    return pd.DataFrame(rows).assign(**names)


def test_where_samples_add_nothing_it_is_scipys_paired_t():
    """Each seed's difference is the same for every sample: MAE 0.5, 0.9, 1.2 against 0.4, 0.1, 0.3."""
    true = np.linspace(-2, 2, 20)
    of_variant, of_reference = np.array([0.5, 0.9, 1.2]), np.array([0.4, 0.1, 0.3])
    runs = {("paper", s): true + of_reference[s] for s in range(3)} | {("v", s): true + of_variant[s] for s in range(3)}
    row = comparisons.compare(frame(runs, true)).set_index("metric").loc["mae"]
    expected = stats.ttest_rel(of_variant, of_reference)
    interval = expected.confidence_interval(0.95)
    assert row["difference"] == pytest.approx(0.6)
    assert [row["low"], row["high"]] == pytest.approx([interval.low, interval.high])
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["sd_seeds"] == pytest.approx((of_variant - of_reference).std(ddof=1))


def two_way(rng, seeds, samples, of_seeds, of_samples, of_both):
    return (
        of_seeds * rng.standard_normal((seeds, 1))
        + of_samples * rng.standard_normal((1, samples))
        + of_both * rng.standard_normal((seeds, samples))
    )


def test_mean_squares_are_those_of_a_two_way_table_by_hand():
    """Means of rows 1, 3, of columns 0.5, 2, 3.5: squares by the textbook's sums over the cells."""
    values = np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 5.0]])
    of_rows = 3 * (1 + 1) / 1
    of_columns = 2 * (1.5**2 + 0 + 1.5**2) / 2
    rest = (4 * 0.5**2) / 2  # left by both: 0.5, 0, -0.5 in the first row, the opposite in the second
    assert comparisons.mean_squares(values).tolist() == pytest.approx([of_rows, of_columns, rest])
    stacked = comparisons.mean_squares(np.stack([values, 2 * values]))
    np.testing.assert_allclose(stacked[:, 1], 4 * stacked[:, 0])


def test_where_samples_add_all_it_is_nearly_scipys_t_over_samples():
    values = np.tile(np.random.default_rng(0).normal(0.1, 1, 400), (3, 1))
    interval = comparisons.crossed_interval(values)
    expected = stats.ttest_1samp(values[0], 0)
    low, high = expected.confidence_interval(0.95)
    assert [interval.low, interval.high] == pytest.approx([low, high], rel=1e-9)
    assert interval.p == pytest.approx(expected.pvalue)


def test_the_half_width_by_hand():
    """Mean squares 8, 6, 2 of 5 runs and 20 samples: v = 0.08, the samples' own w = 0.04."""
    quantiles = stats.t.ppf(0.975, [4, 19])
    expected = (quantiles[0] * 0.08 + quantiles[1] * 0.04) / np.sqrt(0.12)
    assert comparisons.crossed_half_width(np.array([8.0, 6.0, 2.0]), 5, 20) == pytest.approx(expected)
    alone = stats.t.ppf(0.975, 4) * np.sqrt(0.08)  # samples that add less than nothing do not narrow it
    assert comparisons.crossed_half_width(np.array([8.0, 2.0, 6.0]), 5, 20) == pytest.approx(alone)
    assert comparisons.crossed_half_width(np.zeros(3), 5, 20) == 0


@given(st.integers(0, 1000), st.integers(2, 6), st.floats(-1, 1))
def test_p_and_interval_agree(seed, seeds, mean):
    values = mean + two_way(np.random.default_rng(seed), seeds, 30, 0.3, 0.5, 1)
    for interval in (comparisons.crossed_interval(values), comparisons.run_interval(values.mean(axis=1))):
        assert (interval.p < 0.05) == (not interval.low <= 0 <= interval.high)
        assert interval.low <= interval.estimate <= interval.high


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("sizes", [(0.0, 0.5, 1.0), (0.3, 0.0, 1.0), (0.2, 0.4, 1.0)])
def test_it_covers_the_truth_as_often_as_it_says(seeds, sizes):
    """1,000 draws: 94 to 97.5%, give or take three of their own standard errors (benchmarks/coverage.py has more)."""
    rng = np.random.default_rng(1)
    squares = [(v.mean(), comparisons.mean_squares(v)) for v in (two_way(rng, seeds, 60, *sizes) for _ in range(1000))]
    means, parts = np.array([mean for mean, _ in squares]), np.stack([part for _, part in squares], axis=1)
    covered = np.mean(np.abs(means) <= comparisons.crossed_half_width(parts, seeds, 60))
    error = 3 * np.sqrt(0.95 * 0.05 / 1000)
    assert 0.94 - error <= covered <= 0.975 + error


def test_runs_with_data_of_their_own_have_scipys_t():
    values = [0.3, -0.1, 0.4, 0.2]
    interval, expected = comparisons.run_interval(values), stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval(0.95)
    assert [interval.low, interval.high, interval.p] == pytest.approx([low, high, expected.pvalue])


def test_repeated_splits_have_nadeau_and_bengios_variance():
    """Of 4 splits with a test part of 80 against 260: (1 / 4 + 80 / 260) s^2."""
    values = np.array([0.3, -0.1, 0.4, 0.2])
    interval = comparisons.run_interval(values, 80 / 260)
    half = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 80 / 260) * values.var(ddof=1))
    assert [interval.low, interval.high] == pytest.approx([0.2 - half, 0.2 + half])
    assert interval.p == pytest.approx(2 * stats.t.sf(0.2 / (half / stats.t.ppf(0.975, 3)), 3))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, np.nan]])
def test_what_cannot_be_known_has_no_interval(values):
    interval = comparisons.run_interval(values)
    assert np.isnan([interval.low, interval.high, interval.p]).all()
    crossed = comparisons.crossed_interval(np.array(values)[:, None] * np.ones(3))
    assert np.isnan([crossed.low, crossed.high, crossed.p]).all()
    assert np.isnan(comparisons.crossed_interval([[0.1], [0.2]]).low)  # one sample


def test_values_without_any_spread_leave_no_doubt():
    interval = comparisons.run_interval([0.25, 0.25, 0.25])
    assert (interval.low, interval.high, interval.p) == (0.25, 0.25, 0.0)


def test_one_seed_gives_a_difference_and_no_interval():
    true = np.array([1.0, -1.0, 2.0, -2.0])
    table = comparisons.compare(frame({("paper", 1): true, ("v", 1): true + np.array([0.1, -0.2, 0.3, 0.0])}, true))
    row = table.set_index("metric").loc["mae"]
    assert row["difference"] == pytest.approx(0.15)
    assert row[["low", "high", "p", "p_holm", "sd_seeds"]].isna().all()
    assert row["n_seeds"] == 1


def test_seeds_are_paired_and_those_that_one_lacks_left_out():
    true = np.array([1.0, -1.0, 2.0])
    runs = {
        **{("paper", seed): true + seed / 10 for seed in (1, 2, 3)},
        **{("v", seed): true + seed / 10 + 0.2 for seed in (2, 3, 4)},
        ("w", 9): true,
    }
    table = comparisons.compare(frame(runs, true)).set_index(["variant", "metric"])
    row = table.loc[("v", "mae")]
    assert row["difference"] == pytest.approx(0.2)
    assert row[["n_samples", "n_seeds", "seeds"]].tolist() == [3, 2, "2 3"]
    assert table.loc[("w", "mae"), "n_seeds"] == 0
    assert np.isnan(table.loc[("w", "mae"), "difference"])


def test_without_the_reference_nothing_is_compared_and_nothing_fails():
    true = np.array([1.0, -1.0, 2.0])
    table = comparisons.compare(frame({("v", 1): true, ("v", 2): true}, true))
    assert table["n_seeds"].tolist() == [0, 0, 0]
    assert table["p_holm"].isna().all()


def test_constant_predictions_have_no_correlation_but_the_other_metrics():
    true = np.array([1.0, -1.0, 2.0, -2.0, 0.5])
    runs = {(variant, seed): true * 0.9 for variant in ("paper", "v") for seed in (1, 2)}
    table = comparisons.compare(frame(runs | {("v", 2): np.full(5, 0.1)}, true)).set_index("metric")
    assert np.isnan(table.loc["corr", "difference"])
    assert np.isfinite(table.loc["mae", ["difference", "low", "high", "p"]].astype(float)).all()


def test_equal_predictions_are_no_difference():
    true = np.array([1.0, -1.0, 2.0, -2.0, 0.5])
    runs = {(variant, seed): true * 0.9 + seed for variant in ("paper", "v") for seed in (1, 2)}
    row = comparisons.compare(frame(runs, true)).set_index("metric").loc["mae"]
    assert row[["difference", "low", "high", "p", "p_holm"]].tolist() == [0, 0, 0, 1, 1]


def test_holm_counts_the_variants_of_one_data_set_and_metric():
    rng = np.random.default_rng(0)
    true = rng.uniform(-3, 3, 50)
    runs = {(v, s): true + rng.normal(0, 1 + i / 3, 50) for i, v in enumerate(["paper", "v", "w"]) for s in (1, 2, 3)}
    both = pd.concat([frame(runs, true), frame(runs, true, dataset="e")])
    table = comparisons.compare(both)
    for _, family in table.groupby(["dataset", "metric"]):
        assert len(family) == 2
        smaller, larger = sorted(family["p"])
        assert sorted(family["p_holm"]) == pytest.approx([min(2 * smaller, 1), min(max(2 * smaller, larger), 1)])


def test_the_same_input_gives_the_same_numbers_in_any_order():
    rng = np.random.default_rng(0)
    true = rng.uniform(-3, 3, 30)
    predictions = frame({(v, s): true + rng.normal(0, 1, 30) for v in ("paper", "v") for s in (1, 2, 3)}, true)
    first = comparisons.compare(predictions)
    shuffled = predictions.sample(frac=1, random_state=0).sort_values("variant", kind="stable")
    pd.testing.assert_frame_equal(comparisons.compare(shuffled), first)


@pytest.mark.parametrize("column", ["id", "label"])
def test_other_samples_are_refused(column):
    true = np.array([1.0, -1.0, 2.0])
    predictions = frame({("paper", 1): true, ("v", 1): true}, true)
    predictions.loc[5, column] = {"id": "elsewhere", "label": 0.7}[column]
    with pytest.raises(ValueError, match=r"got runs of d \(.*\) with other test samples or labels"):
        comparisons.compare(predictions)


def test_data_sets_keep_their_order_and_have_the_metrics_of_their_scheme():
    true = np.array([1.0, -1.0, 0.5, 0.0, -0.2])
    runs = {("paper", 1): true, ("v", 1): np.array([0.8, 1.5, 0.5, -0.1, -0.2])}
    both = pd.concat([frame(runs, true, "sims", "z"), frame(runs, true, "mosi", "d")])
    table = comparisons.compare(both)
    assert table["dataset"].tolist() == ["z"] * 3 + ["d"] * 3
    assert table["metric"].tolist() == ["mae", "corr", "acc2", "mae", "corr", "acc2_non0"]
    difference = table.set_index(["dataset", "metric"])["difference"]
    # CH-SIMS: 1.5 is cut to 1, and zero counts as negative. MOSI: the label 0 is left out.
    assert difference["z", "mae"] == pytest.approx((0.2 + 2.0 + 0.1) / 5)
    assert difference["d", "mae"] == pytest.approx((0.2 + 2.5 + 0.1) / 5)
    assert difference["z", "acc2"] == pytest.approx(4 / 5 - 1)
    assert difference["d", "acc2_non0"] == pytest.approx(3 / 4 - 1)


def test_a_corrected_p_is_at_most_one():
    assert comparisons.holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert comparisons.holm([1, 0]).tolist() == [1.0, 0.0]


def test_the_spread_of_two_seeds_is_that_of_the_test_set_itself():
    rng = np.random.default_rng(5)
    true = rng.uniform(-3, 3, 12)
    runs = {(v, s): true + rng.normal(0, 1, 12) for v in ("paper", "v") for s in (1, 2)}
    row = comparisons.compare(frame(runs, true)).set_index("metric").loc["mae"]
    first, second = (np.abs(runs["v", s] - true).mean() - np.abs(runs["paper", s] - true).mean() for s in (1, 2))
    assert row["sd_seeds"] == pytest.approx(abs(first - second) / np.sqrt(2))


@pytest.mark.parametrize("scheme", ["mosi", "sims"])
def test_sample_values_are_the_jackknifes_of_the_metrics(scheme):
    """`regression_metrics` of every set that lacks one sample."""
    rng = np.random.default_rng(2)
    true = np.round(rng.uniform(-1.2, 1.2, 40), 1)
    pred = true + rng.normal(0, 0.5, (3, 40))
    by_metric = comparisons.sample_values(pred, true, scheme)
    assert tuple(by_metric) == comparisons.COMPARED[scheme]
    for seed in range(3):
        whole = regression_metrics(pred[seed], true, scheme)
        others = [regression_metrics(np.delete(pred[seed], j), np.delete(true, j), scheme) for j in range(40)]
        for metric, values in by_metric.items():
            without = np.array([measured[metric] for measured in others])
            # 1e-4: sims' MAE is taken in float32 there, and the jackknife multiplies that by 39.
            np.testing.assert_allclose(values[seed], whole[metric] + 39 * (without.mean() - without), atol=1e-4)
            assert values[seed].mean() == pytest.approx(whole[metric], abs=1e-6)


def test_the_values_of_a_mean_are_its_terms():
    rng = np.random.default_rng(3)
    true, pred = rng.normal(size=20), rng.normal(size=(2, 20))
    np.testing.assert_allclose(comparisons.sample_values(pred, true, "mosi")["mae"], np.abs(pred - true))


def test_the_values_of_a_correlation_show_its_standard_error():
    """Bivariate normal, r = 0.6, n = 2000: the standard error is (1 - r^2) / sqrt(n), to a tenth."""
    rng = np.random.default_rng(4)
    true = rng.standard_normal(2000)
    pred = 0.6 * true + 0.8 * rng.standard_normal((1, 2000))
    values = comparisons.sample_values(pred, true, "mosi")["corr"][0]
    assert values.std(ddof=1) == pytest.approx(1 - 0.6**2, rel=0.1)


def test_correlations_are_exact_far_from_zero():
    """Predictions and labels that are offset by 1e6, each seed another way: numpy's correlation to 1e-6."""
    rng = np.random.default_rng(6)
    true, noise = rng.normal(0, 1, 50), rng.normal(0, 1, (2, 50))
    pred = true + noise + np.array([[1e6], [-1e6]])
    corr = comparisons.sample_values(pred, true + 1e6, "mosi")["corr"].mean(axis=1)
    assert corr == pytest.approx([np.corrcoef(true + noise[seed], true)[0, 1] for seed in (0, 1)], abs=1e-6)


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7, -2.1])
@pytest.mark.parametrize("number", [3, 7, 50])
def test_constant_predictions_have_no_correlation_however_they_are_rounded(value, number):
    """Beside another seed that is not constant; nor have those that one sample alone keeps from being constant."""
    almost = np.full(number, value)
    almost[0] += 1
    pred = np.stack([np.full(number, value), np.linspace(0, 1, number), almost])
    corr = comparisons.sample_values(pred, np.linspace(-3, 3, number), "mosi")["corr"]
    assert np.isnan(corr[[0, 2]]).all()
    assert corr[1].mean() == pytest.approx(1)


def test_sims_is_measured_in_float32_as_mmsa_does():
    mae = comparisons.sample_values(np.array([[0.1, 0.3]]), np.zeros(2), "sims")["mae"].mean()
    assert mae == pytest.approx((float(np.float32(0.1)) + float(np.float32(0.3))) / 2, rel=1e-12)


def drawn(values):
    """Test MAE of runs that each draw their own data, {(variant, seed): value}, as `collect.Records` gives it."""
    rows = [{"variant": variant, "seed": seed, "value": value} for (variant, seed), value in values.items()]
    names = {"dataset": "d", "title": "D", "scheme": "mosi", "draw": "own", "test_to_train": 0.0}
    return pd.DataFrame(rows).assign(**names, split="test", task="multimodal", metric="mae")


def test_runs_that_draw_their_own_data_are_compared_run_by_run():
    """The same ids with other labels in each run; seed 9 has no partner."""
    paper, other = np.array([0.5, 0.7, 0.6]), np.array([0.4, 0.65, 0.58])
    mae = {("paper", seed): paper[seed] for seed in range(3)} | {("v", seed): other[seed] for seed in (2, 0, 1)}
    frames = [frame({("paper", s): [0.0, 0.1]}, [s, 1.0]) for s in range(3)]
    predictions = pd.concat(frames).assign(draw="own", test_to_train=0.0)
    metrics = drawn(mae | {("v", 9): 5.0})
    others = metrics.assign(split="valid", value=9.0)
    table = comparisons.compare(predictions, pd.concat([metrics, others]))
    row = table.set_index("metric").loc["mae"]
    expected = stats.ttest_rel(other, paper)
    low, high = expected.confidence_interval(0.95)
    assert row[["low", "high", "p", "p_holm"]].tolist() == pytest.approx([low, high, *[expected.pvalue] * 2])
    assert row[["n_samples", "n_seeds", "seeds", "draw"]].tolist() == [2, 3, "0 1 2", "own"]
    assert row["sd_seeds"] == pytest.approx((other - paper).std(ddof=1))


def test_runs_on_splits_of_one_set_have_the_corrected_interval():
    """Nadeau and Bengio (2003): the t-interval with (1 / 3 + 1 / 4) s^2 for s^2 / 3."""
    differences = np.array([-0.1, -0.05, 0.03])
    mae = {("paper", s): 0.5 for s in range(3)} | {("v", s): 0.5 + differences[s] for s in range(3)}
    of_split = {"draw": "split", "test_to_train": 0.25}
    predictions = pd.concat([frame({("paper", s): [0.0]}, [s]) for s in range(3)]).assign(**of_split)
    row = comparisons.compare(predictions, drawn(mae).assign(**of_split)).set_index("metric").loc["mae"]
    half = stats.t.ppf(0.975, 2) * differences.std(ddof=1) * np.sqrt(1 / 3 + 1 / 4)
    assert [row["low"], row["high"]] == pytest.approx([differences.mean() - half, differences.mean() + half])


def test_both_kinds_of_data_sets_stand_in_one_table():
    true = np.array([1.0, -1.0, 2.0])
    shared = frame({(v, s): true + 0.1 * s for v in ("paper", "v") for s in (1, 2)}, true, dataset="e")
    own = frame({("paper", 1): true}, true).assign(draw="own", test_to_train=0.0)
    metrics = drawn({(v, s): 0.1 * s for v in ("paper", "v") for s in (1, 2)})
    of_shared = metrics.assign(dataset="e", title="E", draw="shared")  # which predictions are enough for
    table = comparisons.compare(pd.concat([shared, own]), pd.concat([metrics, of_shared]))
    assert table[["dataset", "draw", "metric"]].values.tolist() == [
        *(["e", "shared", metric] for metric in comparisons.COMPARED["mosi"]),
        ["d", "own", "mae"],
    ]


def test_runs_that_draw_their_own_data_need_metrics():
    true = np.array([1.0, -1.0, 2.0])
    with pytest.raises(ValueError, match=r"got no metrics for \['d'\], whose runs each have test samples of their own"):
        comparisons.compare(frame({("paper", 1): true}, true).assign(draw="own", test_to_train=0.0))
