"""Oracles: scikit-learn on classes written out here; cases worked by hand from thuiar/MMSA 2.2.1's definitions."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

from msa_core.metrics import LOWER_IS_BETTER, METRICS, regression_metrics

tiny_cases = pytest.mark.filterwarnings("ignore:constant", "ignore:every label")


def metric(name, pred, true, scheme="mosi"):
    return regression_metrics(np.array(pred, dtype=np.float32), np.array(true, dtype=np.float32), scheme)[name]


@tiny_cases
@pytest.mark.parametrize(
    ("name", "pred", "true", "expected"),
    [
        # has0: zero is non-negative, in predictions and labels.
        ("acc2_has0", [0.0, -0.1, 0.1, -0.1], [0.0, 0.0, -1.0, -1.0], 2 / 4),
        # non0: zero labels are left out; a prediction of zero is negative.
        ("acc2_non0", [0.0, 0.0, 0.5, 9.0], [-1.0, 1.0, 1.0, 0.0], 2 / 3),
        # half-way cases round to even: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, -0.5 -> 0.
        ("acc7", [0.5, 1.5, 2.5, -0.5], [0.0, 2.0, 2.0, 0.0], 1.0),
        ("acc7", [0.5, 1.5, 2.5, -0.5], [1.0, 1.0, 3.0, -1.0], 0.0),
        # clipping to [-3, 3] and to [-2, 2]: labels too, so that for acc5 3 and 2 are one class.
        ("acc7", [9.0, -9.0, 3.0], [3.0, -3.0, 2.0], 2 / 3),
        ("acc5", [9.0, -9.0, 3.0], [3.0, -3.0, 2.0], 1.0),
        ("acc5", [1.4, 1.6], [3.0, 3.0], 1 / 2),
        ("mae", [4.0, -1.0], [3.0, -1.5], 0.75),  # not clipped
    ],
)
def test_mosi_boundaries(name, pred, true, expected):
    assert metric(name, pred, true) == pytest.approx(expected, abs=1e-7)


@tiny_cases
@pytest.mark.parametrize(
    ("name", "pred", "true", "expected"),
    [
        # an edge belongs to the bin below it: 0 is negative, 0.1 neutral, -0.1 negative, 0.7 weakly positive.
        ("acc2", [0.0, 0.01, -0.01], [-1.0, 1.0, 0.0], 1.0),
        ("acc3", [0.1, -0.1, 0.11, -0.09], [0.0, -1.0, 1.0, 0.1], 1.0),
        ("acc3", [0.1, -0.1], [1.0, 0.0], 0.0),
        ("acc5", [0.7, -0.7, 0.71, -0.69], [0.2, -1.0, 1.0, -0.2], 1.0),
        ("acc5", [0.7, -0.7], [1.0, -0.2], 0.0),
        # clipping to [-1, 1] comes first, so that it lowers the error too.
        ("mae", [3.0, -3.0], [1.0, -0.5], 0.25),
        ("acc5", [3.0, -3.0], [1.0, -1.0], 1.0),
    ],
)
def test_sims_boundaries(name, pred, true, expected):
    assert metric(name, pred, true, "sims") == pytest.approx(expected, abs=1e-7)


def test_f1_is_weighted_by_class_size():
    """Labels + + + -, predictions + + - +: F1 of + is 2*2/(3+3), of - is 0; weighted 3/4 * 2/3 = 1/2."""
    assert metric("f1_non0", [1, 1, -1, 1], [1, 1, 1, -1]) == pytest.approx(0.5)
    assert metric("f1_has0", [1, 1, -1, 1], [1, 1, 1, -1]) == pytest.approx(0.5)
    assert metric("f1", [1, 1, -1, 1], [1, 1, 1, -1], "sims") == pytest.approx(0.5)


@pytest.mark.parametrize("scheme", METRICS)
def test_corr_is_scipys_and_names_are_the_schemes(scheme):
    rng = np.random.default_rng(0)
    pred, true = rng.uniform(-1, 1, 50), rng.uniform(-1, 1, 50)
    values = regression_metrics(pred, true, scheme)
    assert tuple(values) == METRICS[scheme]
    assert values["corr"] == pytest.approx(pearsonr(pred, true).statistic, abs=1e-6)  # float32 inside "sims"


def samples(*edges):
    """Predictions and labels, (N, 2): any within the labels' range and beyond, and often one on an edge, exactly."""
    value = st.sampled_from([sign * edge for edge in edges for sign in (1, -1)]) | st.floats(-4, 4, width=32)
    return st.lists(st.tuples(value, value), min_size=1, max_size=30).map(lambda rows: np.array(rows).T)


def expected_scores(pred, true):
    return accuracy_score(true, pred), f1_score(true, pred, average="weighted", zero_division=0)


@tiny_cases
@given(samples(0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0))
def test_mosi_accuracies_and_f1_are_scikit_learns(values):
    pred, true = values
    metrics = regression_metrics(pred, true, "mosi")
    assert (metrics["acc2_has0"], metrics["f1_has0"]) == pytest.approx(expected_scores(pred >= 0, true >= 0))
    if rows := np.flatnonzero(true).tolist():
        expected = expected_scores(pred[rows] > 0, true[rows] > 0)
        assert (metrics["acc2_non0"], metrics["f1_non0"]) == pytest.approx(expected)
    for name, bound in (("acc5", 2), ("acc7", 3)):
        classes = ([round(min(max(value, -bound), bound)) for value in each] for each in values.tolist())
        assert metrics[name] == pytest.approx(accuracy_score(*classes))


@tiny_cases
@given(samples(0.0, 0.1, 0.7, 1.0, *map(np.float32, (0.1, 0.7))))
def test_sims_accuracies_and_f1_are_scikit_learns(values):
    pred, true = values
    metrics = regression_metrics(pred, true, "sims")
    assert (metrics["acc2"], metrics["f1"]) == pytest.approx(expected_scores(pred > 0, true > 0))
    for name, edges in (("acc3", (-0.1, 0.1)), ("acc5", (-0.7, -0.1, 0.1, 0.7))):
        classes = ([sum(value > np.float32(edge) for edge in edges) for value in each] for each in np.float32(values))
        assert metrics[name] == pytest.approx(accuracy_score(*classes))


@pytest.mark.parametrize("scheme", METRICS)
def test_the_error_alone_falls_towards_perfect_predictions(scheme):
    true = np.array([-1, -0.5, 0.5, 1])
    perfect, opposed = regression_metrics(true, true, scheme), regression_metrics(-true, true, scheme)
    assert {name for name in METRICS[scheme] if perfect[name] < opposed[name]} == set(LOWER_IS_BETTER)


@tiny_cases
def test_nothing_is_rounded():
    for scheme in METRICS:
        assert metric("mae", [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], scheme) == 2 / 3  # in float64, not float32


@pytest.mark.parametrize("scheme", METRICS)
@pytest.mark.parametrize(("pred", "true", "what"), [([0.5, 0.5], [1, -1], "predictions"), ([1, 0.5], [1, 1], "labels")])
def test_a_constant_gives_nan_and_a_warning(scheme, pred, true, what):
    with pytest.warns(UserWarning, match=f"constant {what}: corr is nan"):
        values = regression_metrics(pred, true, scheme)
    assert np.isnan(values["corr"])
    assert not any(np.isnan(value) for name, value in values.items() if name != "corr")


@tiny_cases
def test_all_zero_labels_give_nan_and_a_warning():
    with pytest.warns(UserWarning, match="every label is 0"):
        values = regression_metrics([0.5, -0.5], [0, 0], "mosi")
    assert np.isnan(values["acc2_non0"])
    assert np.isnan(values["f1_non0"])
    assert values["acc2_has0"] == 0.5


@pytest.mark.parametrize(("scheme", "warnings_expected"), [("mosi", 2), ("sims", 1)])
def test_a_warning_points_to_the_caller(scheme, warnings_expected):
    with pytest.warns(UserWarning) as caught:
        regression_metrics([0.5, -0.5], [0, 0], scheme)
    assert [warning.filename for warning in caught] == [__file__] * warnings_expected


def test_a_normal_case_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regression_metrics([0.5, -0.5, 0.2], [1, -1, 0], "mosi")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0], "mosei"), r"got scheme 'mosei', expected one of \['mosi', 'sims'\]"),
        (([1.0], [1.0, 2.0], "mosi"), r"got shapes \(1,\) and \(2,\)"),
        (([], [], "mosi"), r"N at least 1"),
        (([[1.0]], [[1.0]], "mosi"), r"got shapes \(1, 1\)"),
        (([np.nan], [1.0], "mosi"), r"not finite"),
        (([1.0], [np.inf], "sims"), r"not finite"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        regression_metrics(*arguments)
