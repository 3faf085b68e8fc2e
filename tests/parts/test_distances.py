"""Oracles: numpy.corrcoef, centred Gram matrices, scipy, scikit-learn's cosines, finite differences in float64."""

import math
import re

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.extra.numpy import arrays
from sklearn.metrics.pairwise import cosine_similarity

from msa_core import build
from msa_core.alignment import AlignmentLoss, covariance_distance
from msa_core.config.distances import DistanceConfig
from msa_core.config.problems import kind_of, settings_classes
from msa_core.parts import distances
from msa_core.parts.distances import (
    cka_distance,
    cmd_distance,
    correlation_distance,
    correlation_matrix,
    info_nce_distance,
    mean_and_covariance_distance,
    relational_distance,
)

FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}  # sums of at most a few hundred products
DISTANCES = {kind_of(each): build.distance(each()) for each in settings_classes(DistanceConfig)}
BOUNDED_DISTANCES = ("correlation", "cka", "cmd", "relational", "info_nce")
ANY_WIDTHS = ("cka", "relational", "shrink", "isotropic")


def features(seed=0, samples=7, width=4):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((samples, width)))


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradcheck(distance):
    x, z = features(1).requires_grad_(), features(2).requires_grad_()
    assert torch.autograd.gradcheck(DISTANCES[distance], (x, z))


def test_correlation_distance_against_numpy():
    x, z = features(1), features(2)
    expected = np.sum((np.corrcoef(x, rowvar=False) - np.corrcoef(z, rowvar=False)) ** 2) / (4 * x.shape[1] ** 2)
    np.testing.assert_allclose(correlation_distance(x, z, eps=0), expected, rtol=1e-12)


def test_correlation_matrix_against_numpy():
    x = features(1).numpy()
    correlations = correlation_matrix(torch.from_numpy(np.cov(x, rowvar=False)))
    np.testing.assert_allclose(correlations, np.corrcoef(x, rowvar=False), rtol=1e-6)  # 1e-8 on variances of about 1


def test_cka_distance_against_centred_gram_matrices():
    """Kornblith et al. 2019 by HSIC: trace(K H L H), H = 1 - 11'/B, on features of unequal widths."""
    x, z = features(1, samples=9, width=4).numpy(), features(2, samples=9, width=6).numpy()
    centre = np.eye(9) - 1 / 9
    k, m = (centre @ features @ features.T @ centre for features in (x, z))
    expected = 1 - np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    np.testing.assert_allclose(cka_distance(torch.from_numpy(x), torch.from_numpy(z)), expected, rtol=1e-12)


@pytest.mark.parametrize(("arguments", "moments"), [((1,), 1), ((2,), 2), ((), 5)])
def test_cmd_distance_against_scipy(arguments, moments):
    """Zellinger et al. 2017, on tanh's own interval [-1, 1], each term over (b - a)^k; ours is over sqrt(D) too."""
    x, z = features(1), features(2)
    u, v = np.tanh(x.numpy()), np.tanh(z.numpy())
    expected = np.linalg.norm(u.mean(0) - v.mean(0)) / 2
    for k in range(2, moments + 1):
        expected += np.linalg.norm(scipy.stats.moment(u, k, axis=0) - scipy.stats.moment(v, k, axis=0)) / 2**k
    np.testing.assert_allclose(cmd_distance(x, z, *arguments), expected / np.sqrt(x.shape[1]), rtol=1e-12)


def test_mean_and_covariance_distance_against_numpy():
    x, z = features(1) + 2, features(2)
    covariances = np.sum((np.cov(x, rowvar=False) - np.cov(z, rowvar=False)) ** 2) / (4 * x.shape[1] ** 2)
    means = np.mean((x.numpy().mean(0) - z.numpy().mean(0)) ** 2) / 4
    np.testing.assert_allclose(mean_and_covariance_distance(x, z), covariances + means, rtol=1e-12)


def cosines(x, z, temperature=1.0):
    return cosine_similarity(x.numpy(), z.numpy()) / temperature


def test_relational_distance_against_scikit_learn():
    x, z = features(1, width=4), features(2, width=6)
    expected = np.sum((cosines(x, x) - cosines(z, z)) ** 2) / (4 * len(x) ** 2)
    np.testing.assert_allclose(relational_distance(x, z, eps=0), expected, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_info_nce_distance_against_scipy(temperature):
    """The mean of two cross-entropies against the diagonal."""
    x, z = features(1), features(2)
    logits = cosines(x, z, temperature)
    entropies = [-np.diag(scipy.special.log_softmax(logits, axis=axis)).mean() for axis in (0, 1)]
    np.testing.assert_allclose(info_nce_distance(x, z, temperature, eps=0), np.mean(entropies), rtol=1e-12)


def test_info_nce_of_partners_that_cannot_be_told_apart_is_the_logarithm_of_their_number():
    alike = torch.ones(7, 4)
    assert info_nce_distance(alike, 2 * alike).item() == pytest.approx(math.log(7), rel=1e-6)
    assert info_nce_distance(10 * torch.eye(7), torch.eye(7)).item() == pytest.approx(0, abs=1e-5)


CHANGES = {  # of (B, D) features, by a generator
    "rotated": lambda x, draw: x @ np.linalg.qr(draw.standard_normal((x.shape[1],) * 2))[0],
    "scaled": lambda x, draw: x * draw.uniform(2, 3),
    "shifted": lambda x, draw: x + draw.standard_normal(x.shape[1]),
    "permuted": lambda x, draw: x[draw.permutation(len(x))],
}


def sees(distance, change, both):
    """Whether any draw is found whose distance the change moves."""

    def moved(seed):
        x, z = features(seed).numpy(), features(seed + 1).numpy()
        changed = [change(each, np.random.default_rng(seed)) for each in (x, z)]
        before, after = (
            distance(*map(torch.from_numpy, pair)) for pair in ((x, z), (changed[0] if both else x, changed[1]))
        )
        return not math.isclose(before, after, rel_tol=1e-6, abs_tol=1e-9)

    few = settings(max_examples=20, phases=[Phase.generate], database=None, derandomize=True)
    try:
        find(st.integers(0, 10**6), moved, settings=few)
    except NoSuchExample:
        return False
    return True


def test_the_table_of_what_each_distance_sees_is_what_is_found():
    rows = [re.findall(r"[\w-]+", line) for line in distances.__doc__.splitlines() if re.match(r" +\| \w", line)]
    written = {kind: cells for kind, *cells in rows[1:]}
    assert rows[0] == ["kind", *(header for name in CHANGES for header in (name, "both"))]
    assert written == {
        kind: ["sees" if sees(distance, change, both) else "-" for change in CHANGES.values() for both in (False, True)]
        for kind, distance in DISTANCES.items()
    }


matrices = arrays(np.float64, (6, 3), elements=st.floats(-5, 5, allow_subnormal=False)).map(torch.from_numpy)


@given(matrices, matrices, st.permutations(range(3)))
def test_the_order_of_the_coordinates_is_not_seen(x, z, order):
    for distance in DISTANCES.values():
        torch.testing.assert_close(distance(x[:, order], z[:, order]), distance(x, z), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("distance", DISTANCES)
def test_random_streams_are_left_alone_and_a_value_repeats(distance):
    x, z, state = features(1), features(2), torch.get_rng_state()
    assert DISTANCES[distance](x, z) == DISTANCES[distance](x, z)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_smallest_batch_has_a_finite_gradient_and_a_smaller_one_is_refused(distance):
    function = DISTANCES[distance]
    least = getattr(function, "least_samples", 2)
    assert least == (4 if distance == "unbiased" else 2)
    x, z = features(1, least).requires_grad_(), features(2, least)
    function(x, z).backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
    loss = AlignmentLoss(["audio-vision"], function)
    assert loss({"audio": x, "vision": z}).total == function(x, z)
    with pytest.raises(ValueError, match=rf"got features of shape \({least - 1}, 4\), .* with B at least {least}"):
        loss({"audio": x[1:], "vision": z[1:]})


@pytest.mark.parametrize("distance", DISTANCES)
def test_samples_without_a_modality_are_left_out_and_the_pair_where_too_few_are_left(distance):
    maps = {"audio": features(1, 9).requires_grad_(), "vision": features(2, 9)}
    present = {"audio": torch.arange(9) != 3, "vision": torch.arange(9) > 1}
    rows = [2, 4, 5, 6, 7, 8]
    loss = AlignmentLoss({"audio-vision": 3.0}, DISTANCES[distance])
    output = loss(maps, present)
    torch.testing.assert_close(output.total, 3 * DISTANCES[distance](maps["audio"][rows], maps["vision"][rows]))
    output.total.backward()
    assert maps["audio"].grad[[0, 1, 3]].abs().sum() == 0
    for left in (1, 2, 3, 4):
        found = loss(maps, {"audio": torch.arange(9) < left}).pairs
        assert bool(found) == (left >= getattr(DISTANCES[distance], "least_samples", 2))


@given(st.integers(0, 1000), st.floats(-10, 10))
def test_a_shift_adds_a_quarter_of_its_square_to_mean_and_covariance_alone(seed, shift):
    x = features(seed)
    torch.testing.assert_close(covariance_distance(x, x + shift).item(), 0.0, rtol=0, atol=1e-12)
    assert mean_and_covariance_distance(x, x + shift).item() == pytest.approx(shift**2 / 4, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_symmetric_and_but_for_the_unbiased_one_not_negative(distance):
    x, z = features(1), features(2)
    torch.testing.assert_close(DISTANCES[distance](x, z), DISTANCES[distance](z, x), **FLOAT64)
    assert DISTANCES[distance](x, z) > 0 or distance == "unbiased"


@pytest.mark.parametrize("distance", sorted(set(DISTANCES) - {"info_nce", "shrink", "isotropic"}))
def test_equal_features_are_at_distance_zero(distance):
    x = features(1)
    assert DISTANCES[distance](x, x).item() == pytest.approx(0, abs=1e-15)  # cka: one minus a quotient, rounded


@pytest.mark.parametrize("distance", ANY_WIDTHS)
def test_unequal_widths_are_taken_where_no_coordinates_are_compared(distance):
    assert DISTANCES[distance](features(1), features(2, width=1)) > 0


@pytest.mark.parametrize("distance", sorted(set(DISTANCES) - set(ANY_WIDTHS)))
def test_unequal_widths_are_refused_also_where_they_would_broadcast(distance):
    with pytest.raises(ValueError, match="widths 4 and 1"):
        DISTANCES[distance](features(1), features(2, width=1))


RANGES = {"correlation": 1, "cka": 1, "cmd": 2.5, "relational": 1, "info_nce": math.log1p(5 * math.exp(2 / 0.07))}


@pytest.mark.parametrize("distance", BOUNDED_DISTANCES)
def test_bounded_distances_stay_in_their_range(distance):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 1)).repeat(4, axis=1))
    opposed = x * torch.tensor([1, -1, 1, -1])
    for scale in (1e-6, 1, 1e6):
        assert -1e-12 <= DISTANCES[distance](scale * x, opposed) <= RANGES[distance]  # but for rounding


@given(matrices, matrices, st.sampled_from([1e-6, 1, 1e6]), st.sampled_from([1e-6, 1, 1e6]))
def test_bounded_distances_stay_in_their_range_whatever_the_features(x, z, scale_x, scale_z):
    for name in BOUNDED_DISTANCES:
        assert -1e-12 <= DISTANCES[name](scale_x * x, scale_z * z) <= RANGES[name] + 1e-12


@pytest.mark.parametrize("distance", sorted(set(DISTANCES) - set(BOUNDED_DISTANCES)))
def test_the_other_distances_have_no_bound(distance):
    assert DISTANCES[distance](1e6 * features(1), features(2)) > 1e9


@pytest.mark.parametrize("distance", BOUNDED_DISTANCES)
def test_bounded_distances_have_finite_gradients_at_extreme_features(distance):
    for x in (torch.zeros(6, 3), torch.full((6, 3), 1e6), 1e6 * features(1, 6, 3).float()):
        x.requires_grad_()
        DISTANCES[distance](x, features(2, 6, 3).float()).backward()
        assert x.grad.isfinite().all()


def test_shrinking_lowers_the_papers_distance_and_not_the_scale_free_one():
    x, z = features(1), features(2)
    assert covariance_distance(0.1 * x, 0.1 * z) < 1e-3 * covariance_distance(x, z)
    torch.testing.assert_close(correlation_distance(0.1 * x, 0.1 * z), correlation_distance(x, z), rtol=1e-5, atol=0)


def test_a_constant_feature_has_a_finite_gradient():
    x = features(1)
    x[:, 0] = 3.0
    x.requires_grad_()
    correlation_distance(x, features(2)).backward()
    assert x.grad.isfinite().all()
