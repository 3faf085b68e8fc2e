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
    return pd.DataFrame(rows).assign(dataset=dataset, title=dataset.upper(), scheme=scheme, label_bound=3.0)


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


def test_where_seeds_add_nothing_it_is_the_t_interval_over_samples():
    rng = np.random.default_rng(0)
    values = np.tile(rng.normal(0.1, 1, 400), (3, 1))
    interval = comparisons.mean_interval(values, draws=20_000)
    expected = stats.ttest_1samp(values[0], 0)
    low, high = expected.confidence_interval(0.95)
    # 20,000 draws know the standard error to 1 in sqrt(2 * 20,000) = 0.5%; four of these.
    assert [interval.low, interval.high] == pytest.approx([low, high], abs=0.02 * (high - low) / 2)
    assert [interval.bootstrap_low, interval.bootstrap_high] == pytest.approx([low, high], abs=0.06 * (high - low) / 2)
    assert interval.p == pytest.approx(expected.pvalue, rel=0.1)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6), st.floats(0.01, 3))
def test_p_and_interval_agree(per_seed, spread):
    per_draw = np.array(per_seed) + spread * np.random.default_rng(0).standard_normal((200, 1))
    interval = comparisons.crossed_interval(per_seed, per_draw, samples=100)
    assert (interval.p < 0.05) == (not interval.low <= 0 <= interval.high)
    half = (interval.high - interval.low) / 2
    errors = np.std(per_seed, ddof=1) / np.sqrt(len(per_seed)), per_draw.mean(axis=1).std(ddof=1)
    quantiles = stats.t.ppf(0.975, [len(per_seed) - 1, 99])
    assert half == pytest.approx(np.sqrt(((quantiles * errors) ** 2).sum()))
    assert interval.low <= interval.estimate <= interval.high


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("of_seeds", "of_both"), [(0.0, 1.0), (0.3, 1.0), (1.0, 0.0)])
def test_it_covers_the_truth_where_the_plain_bootstrap_does_not(seeds, of_seeds, of_both):
    """400 draws of a crossed design of 60 samples: coverage is at least 0.95 less four of its own standard errors."""
    rng = np.random.default_rng(1)
    covered = by_bootstrap = 0
    for trial in range(400):
        values = (
            rng.standard_normal((1, 60))
            + of_seeds * rng.standard_normal((seeds, 1))
            + of_both * rng.standard_normal((seeds, 60))
        )
        interval = comparisons.mean_interval(values, draws=200, seed=trial)
        covered += interval.low <= 0 <= interval.high
        by_bootstrap += interval.bootstrap_low <= 0 <= interval.bootstrap_high
    assert covered / 400 >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400)
    if of_seeds == 1.0:
        assert by_bootstrap < covered


def test_one_seed_gives_a_difference_and_no_interval():
    true = np.array([1.0, -1.0, 2.0, -2.0])
    table = comparisons.compare(frame({("paper", 1): true, ("v", 1): true + np.array([0.1, -0.2, 0.3, 0.0])}, true))
    row = table.set_index("metric").loc["mae"]
    assert row["difference"] == pytest.approx(0.15)
    assert row[["low", "high", "bootstrap_low", "p", "p_holm", "sd_seeds"]].isna().all()
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


@pytest.mark.parametrize("scheme", ["mosi", "sims"])
def test_metrics_of_resampled_sets_are_those_of_the_sets(scheme):
    rng = np.random.default_rng(2)
    true = np.round(rng.uniform(-1.2, 1.2, 40), 1)
    pred = true + rng.normal(0, 0.5, (3, 40))
    weights = comparisons.resamples(40, draws=5)
    by_metric = comparisons._metrics(weights, pred, true, scheme)
    assert tuple(by_metric) == comparisons.COMPARED[scheme]
    for draw, counts in enumerate(weights):
        chosen = np.repeat(np.arange(40), counts.astype(int))
        for seed in range(3):
            expected = regression_metrics(pred[seed, chosen], true[chosen], scheme)
            for metric, values in by_metric.items():
                # 1e-6: sims' MAE is taken in float32 there.
                assert values[draw, seed] == pytest.approx(expected[metric], abs=1e-6)


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
    table = comparisons.compare(both, draws=200)
    for _, family in table.groupby(["dataset", "metric"]):
        assert len(family) == 2
        smaller, larger = sorted(family["p"])
        assert sorted(family["p_holm"]) == pytest.approx([min(2 * smaller, 1), min(max(2 * smaller, larger), 1)])


def test_the_same_input_gives_the_same_numbers_in_any_order():
    rng = np.random.default_rng(0)
    true = rng.uniform(-3, 3, 30)
    predictions = frame({(v, s): true + rng.normal(0, 1, 30) for v in ("paper", "v") for s in (1, 2, 3)}, true)
    first = comparisons.compare(predictions, draws=100)
    shuffled = predictions.sample(frac=1, random_state=0).sort_values("variant", kind="stable")
    pd.testing.assert_frame_equal(comparisons.compare(shuffled, draws=100), first)


@pytest.mark.parametrize("column", ["id", "label"])
def test_other_samples_are_refused(column):
    true = np.array([1.0, -1.0, 2.0])
    predictions = frame({("paper", 1): true, ("v", 1): true}, true)
    predictions.loc[5, column] = {"id": "elsewhere", "label": 0.7}[column]
    with pytest.raises(ValueError, match=r"got runs of d \(.*\) with other test samples or labels"):
        comparisons.compare(predictions)


def test_the_draws_are_those_of_the_seed():
    """What a table says can be computed again: numpy's generator, 2000 draws, seed 0 unless another is asked for."""
    values = np.random.default_rng(3).normal(0.3, 1, (4, 30))
    of_samples = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=2000) @ values.T / 30  # (2000, 4)
    of_seeds = np.random.default_rng(0).multinomial(4, np.full(4, 1 / 4), size=2000)
    errors = values.mean(axis=1).std(ddof=1) / 2, of_samples.mean(axis=1).std(ddof=1)
    half = np.hypot(*(stats.t.ppf(0.975, [3, 29]) * errors))
    bootstrap = np.quantile((of_seeds * of_samples).mean(axis=1), [0.025, 0.975])
    interval = comparisons.mean_interval(values)
    assert [interval.low, interval.high] == pytest.approx([values.mean() - half, values.mean() + half], rel=1e-12)
    assert [interval.bootstrap_low, interval.bootstrap_high] == pytest.approx(bootstrap.tolist(), rel=1e-12)
    other = comparisons.mean_interval(values, seed=1)
    assert other.low != interval.low
    assert comparisons.mean_interval(values, seed=1) == other
    assert comparisons.mean_interval(values, draws=500).low != interval.low
    np.testing.assert_array_equal(comparisons.resamples(30) @ values.T / 30, of_samples)
    assert comparisons.crossed_interval(values.mean(axis=1), of_samples, 30) == interval


def test_a_comparison_draws_as_a_mean_does():
    """The mean absolute error is a mean: `compare` and `mean_interval` agree to the last digits."""
    rng = np.random.default_rng(4)
    true = rng.uniform(-3, 3, 10)
    runs = {(v, s): true + rng.normal(0, 1, 10) for v in ("paper", "v") for s in (1, 2, 3)}
    row = comparisons.compare(frame(runs, true)).set_index("metric").loc["mae"]
    gaps = [np.abs(runs["v", s] - true) - np.abs(runs["paper", s] - true) for s in (1, 2, 3)]
    expected = vars(comparisons.mean_interval(np.array(gaps)))
    expected["difference"] = expected.pop("estimate")
    assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)


def test_another_seed_of_a_comparison_gives_other_draws():
    rng = np.random.default_rng(4)
    true = rng.uniform(-3, 3, 10)
    gaps = rng.normal(0, 1, (3, 10))
    runs = {("v", s): true + np.abs(gaps[s]) for s in range(3)} | {("paper", s): true for s in range(3)}
    row = comparisons.compare(frame(runs, true), seed=5).set_index("metric").loc["mae"]
    expected = comparisons.mean_interval(np.abs(gaps), seed=5)
    assert [row["low"], row["bootstrap_high"]] == pytest.approx([expected.low, expected.bootstrap_high], rel=1e-9)


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


def test_values_without_any_spread_leave_no_doubt():
    interval = comparisons.seed_interval([0.25, 0.25, 0.25])
    assert (interval.low, interval.high, interval.p) == (0.25, 0.25, 0.0)


def test_the_spread_of_two_seeds_is_that_of_the_test_set_itself():
    rng = np.random.default_rng(5)
    true = rng.uniform(-3, 3, 12)
    runs = {(v, s): true + rng.normal(0, 1, 12) for v in ("paper", "v") for s in (1, 2)}
    row = comparisons.compare(frame(runs, true)).set_index("metric").loc["mae"]
    first, second = (np.abs(runs["v", s] - true).mean() - np.abs(runs["paper", s] - true).mean() for s in (1, 2))
    assert row["sd_seeds"] == pytest.approx(abs(first - second) / np.sqrt(2))


def test_correlations_are_exact_far_from_zero():
    """Predictions and labels that are offset by 1e6, each seed another way: numpy's correlation to 1e-6."""
    rng = np.random.default_rng(6)
    true, noise = rng.normal(0, 1, 50), rng.normal(0, 1, (2, 50))
    pred = true + noise + np.array([[1e6], [-1e6]])
    weights = comparisons.resamples(50, draws=5)
    corr = comparisons._metrics(weights, pred, true + 1e6, "mosi")["corr"]
    for counts, row in zip(weights.astype(int), corr, strict=True):
        drawn = np.repeat(np.arange(50), counts)
        expected = [np.corrcoef((true + noise)[seed, drawn], true[drawn])[0, 1] for seed in (0, 1)]
        assert row == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7, -2.1])
@pytest.mark.parametrize("number", [3, 7, 50])
def test_constant_predictions_have_no_correlation_however_they_are_rounded(value, number):
    """Beside another seed that is not constant, and whose values are 1 apart at most."""
    true = np.linspace(-3, 3, number)
    pred = np.stack([np.full(number, value), np.linspace(0, 1, number)])
    corr = comparisons._metrics(comparisons.resamples(number, draws=20), pred, true, "mosi")["corr"]
    assert np.isnan(corr[:, 0]).all()
    assert np.nanmin(corr[:, 1]) == pytest.approx(1)


def test_sims_is_measured_in_float32_as_mmsa_does():
    mae = comparisons._metrics(np.ones((1, 2)), np.array([[0.1, 0.3]]), np.zeros(2), "sims")["mae"].item()
    assert mae == pytest.approx((float(np.float32(0.1)) + float(np.float32(0.3))) / 2, rel=1e-12)
