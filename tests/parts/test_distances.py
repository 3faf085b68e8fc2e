"""Oracles: numpy.corrcoef, centred Gram matrices, scipy's moments, finite differences in float64."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msa_core.alignment import covariance_distance
from msa_core.parts.distances import (
    cka_distance,
    cmd_distance,
    correlation_distance,
    correlation_matrix,
    mean_and_covariance_distance,
)

FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}  # sums of at most a few hundred products
DISTANCES = {
    "covariance": covariance_distance,
    "correlation": correlation_distance,
    "cka": cka_distance,
    "cmd": cmd_distance,
    "mean_and_covariance": mean_and_covariance_distance,
}
BOUNDED_DISTANCES = ("correlation", "cka", "cmd")


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


matrices = arrays(np.float64, (6, 3), elements=st.floats(-5, 5, allow_subnormal=False)).map(torch.from_numpy)


@given(matrices, matrices, st.permutations(range(6)), st.permutations(range(3)))
def test_what_the_distances_do_not_see(x, z, samples, coordinates):
    """The order of samples and coordinates; of one modality alone: cka of coordinates, the others of samples."""
    for name, distance in DISTANCES.items():
        before = distance(x, z)
        torch.testing.assert_close(distance(x[samples], z[samples]), before, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(distance(x[:, coordinates], z[:, coordinates]), before, rtol=1e-6, atol=1e-9)
        alone = distance(x, z[:, coordinates]) if name == "cka" else distance(x, z[samples])
        torch.testing.assert_close(alone, before, rtol=1e-6, atol=1e-9)


def test_cka_sees_which_sample_is_which():
    x = features(1)
    assert cka_distance(x, x.flip(0)) > 0.1


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_cka_is_unchanged_by_rotation_scale_and_shift(seed, scale):
    x, z = features(seed), features(seed + 1)
    rotation = torch.linalg.qr(features(seed + 2, samples=4))[0]
    torch.testing.assert_close(cka_distance(scale * x @ rotation + 3, z), cka_distance(x, z), **FLOAT64)


@given(st.integers(0, 1000), st.floats(-10, 10))
def test_a_shift_adds_a_quarter_of_its_square_to_mean_and_covariance_alone(seed, shift):
    x = features(seed)
    torch.testing.assert_close(covariance_distance(x, x + shift).item(), 0.0, rtol=0, atol=1e-12)
    assert mean_and_covariance_distance(x, x + shift).item() == pytest.approx(shift**2 / 4, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_zero_on_equal_symmetric_and_not_negative(distance):
    x, z = features(1), features(2)
    assert DISTANCES[distance](x, x).item() == pytest.approx(0, abs=1e-15)  # cka: one minus a quotient, rounded
    torch.testing.assert_close(DISTANCES[distance](x, z), DISTANCES[distance](z, x), **FLOAT64)
    assert DISTANCES[distance](x, z) > 0


@pytest.mark.parametrize("distance", sorted(set(DISTANCES) - {"cka"}))
def test_unequal_widths_are_refused_also_where_they_would_broadcast(distance):
    with pytest.raises(ValueError, match="widths 4 and 1"):
        DISTANCES[distance](features(1), features(2, width=1))


RANGES = {"correlation": 1, "cka": 1, "cmd": 2.5}


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
    assert DISTANCES[distance](1e6 * features(1), features(2)) > 1e12


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
