"""Oracles: numpy.cov, algebra on known covariances, simulation of Gaussian features."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msa_core.alignment import covariance_distance
from msa_core.parts.controls import isotropic_distance, permuted, shrink_penalty, unbiased_distance
from msa_core.parts.distances import cka_distance, cmd_distance, info_nce_distance, relational_distance

FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}  # sums of at most a few hundred products


def features(seed=0, samples=7, width=4):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((samples, width)))


def white(seed, samples=7, width=4):
    """Features whose covariance is the identity."""
    x = features(seed, samples, width)
    return torch.linalg.qr(x - x.mean(dim=0))[0] * (samples - 1) ** 0.5


def test_shrink_penalty_against_numpy():
    x, z = features(1, width=4), features(2, width=6)
    traces = {each.shape[1]: np.trace(np.cov(each, rowvar=False)) for each in (x, z)}
    expected = sum(trace**2 / (6 * 4 * width**2) for width, trace in traces.items())
    np.testing.assert_allclose(shrink_penalty(x, z), expected, rtol=1e-12)


def shrinkage(x):
    """What one modality's variance adds to the expectation of the paper's distance, at the covariance of x."""
    c = np.cov(x, rowvar=False)
    return (np.linalg.norm(c) ** 2 + np.trace(c) ** 2) / ((len(x) - 1) * 4 * len(c) ** 2)


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_the_shrinkage_is_one_to_two_times_the_penalty_whatever_the_scale(seed, scale):
    x, z = scale * features(seed), scale * features(seed + 1)
    assert 1 + 1 / 4 <= (shrinkage(x) + shrinkage(z)) / shrink_penalty(x, z).item() <= 2


def test_the_least_shrinkage_is_that_of_isotropic_features_and_the_largest_that_of_one_dimension():
    line = features(1, width=1) * torch.tensor([1.0, 2.0, -1.0, 0.5])
    for x, factor in ((3 * white(1), 1 + 1 / 4), (line, 2)):
        assert 2 * shrinkage(x) / shrink_penalty(x, x).item() == pytest.approx(factor, rel=1e-9)


def test_isotropic_distance_against_numpy():
    x, z = features(1, width=4), features(2, width=6)
    gaps = [np.cov(each, rowvar=False) - 0.3 * np.eye(each.shape[1]) for each in (x, z)]
    expected = sum(np.linalg.norm(gap) ** 2 / (4 * len(gap) ** 2) for gap in gaps)
    np.testing.assert_allclose(isotropic_distance(x, z, variance=0.3), expected, rtol=1e-12)


def test_isotropic_draws_each_modality_by_itself():
    x, z = features(1).requires_grad_(), features(2)
    gradients = [torch.autograd.grad(isotropic_distance(x, other), x)[0] for other in (z, 5 * z)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    assert isotropic_distance(2 * white(1), 2 * white(2), variance=4.0).item() == pytest.approx(0, abs=1e-12)


B, WIDTH, DRAWS = 6, 3, 20_000
C = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)
NONE = torch.zeros_like(C)
COVARIANCES = {  # of x, of z, between them
    "equal and independent": (C, C, NONE),
    "equal and shared": (C, C, 0.8 * C),
    "other and shared": (3 * C, C, torch.tensor([[1.0, 0.2, 0.0], [-0.4, 0.5, 0.1], [0.3, 0.0, -0.2]]).to(C)),
}


def drawn(a, c, k):
    """Gaussian batches of x and of z, (DRAWS, B, WIDTH) each."""
    joint = torch.cat([torch.cat([a, k], dim=1), torch.cat([k.T, c], dim=1)])
    standard = torch.from_numpy(np.random.default_rng(0).standard_normal((DRAWS, B, 2 * WIDTH)))
    return (standard @ torch.linalg.cholesky(joint).T).split(WIDTH, dim=2)


def bias(a, c, k):
    variances = sum(each.square().sum() + each.trace() ** 2 for each in (a, c))
    return (variances - 2 * k.trace() ** 2 - 2 * (k @ k).trace()) / ((B - 1) * 4 * WIDTH**2)


@pytest.mark.parametrize("case", COVARIANCES)
def test_the_papers_estimate_is_biased_as_derived_and_the_one_of_two_halves_is_not(case):
    a, c, k = COVARIANCES[case]
    true = (a - c).square().sum() / (4 * WIDTH**2)
    for distance, added in ((covariance_distance, bias(a, c, k)), (unbiased_distance, torch.zeros(()))):
        values = torch.func.vmap(distance)(*drawn(a, c, k))
        error = values.std() / DRAWS**0.5
        assert abs(values.mean() - true - added) < 4 * error
        assert bias(a, c, k) > 12 * error  # it would not pass for the other's


def test_the_bias_is_the_one_of_the_formula_for_independent_equal_covariances_and_none_for_equal_features():
    stated = 2 * (C.square().sum() + C.trace() ** 2) / ((B - 1) * 4 * WIDTH**2)
    torch.testing.assert_close(bias(C, C, NONE), stated)
    assert abs(bias(C, C, C)) < 1e-12


def test_the_estimate_of_two_halves_takes_both_signs_near_equal_covariances():
    values = torch.func.vmap(unbiased_distance)(*drawn(C, C, NONE))
    assert 0.2 < (values < 0).double().mean() < 0.8


@pytest.mark.parametrize("samples", [4, 5])
def test_the_halves_are_the_samples_at_even_and_at_odd_places(samples):
    x, z = features(1, samples), features(2, samples)
    gaps = [np.cov(x[half::2], rowvar=False) - np.cov(z[half::2], rowvar=False) for half in (0, 1)]
    np.testing.assert_allclose(unbiased_distance(x, z), np.sum(gaps[0] * gaps[1]) / (4 * 4**2), rtol=1e-12)


def test_the_order_within_a_half_is_not_seen():
    x, z = features(1, samples=7), features(2, samples=7)
    torch.testing.assert_close(unbiased_distance(x, z.flip(0)), unbiased_distance(x, z), **FLOAT64)  # 7 is odd


@given(st.integers(0, 1000), st.integers(2, 12))
def test_the_papers_distance_cannot_notice_that_the_partners_are_permuted(seed, samples):
    x, z = features(seed, samples).requires_grad_(), features(seed + 1, samples).requires_grad_()
    before, after = covariance_distance(x, z), permuted(covariance_distance)(x, z)
    torch.testing.assert_close(after, before, **FLOAT64)  # but for the order of summation
    for one, other in zip(torch.autograd.grad(after, (x, z)), torch.autograd.grad(before, (x, z)), strict=True):
        torch.testing.assert_close(one, other, **FLOAT64)


@pytest.mark.parametrize("distance", [cka_distance, relational_distance, info_nce_distance])
def test_distances_that_compare_samples_notice_it(distance):
    x = features(1, samples=16)
    z = x + 0.1 * features(2, samples=16)
    assert permuted(distance)(x, z) > distance(x, z) + 0.05


def test_no_sample_keeps_its_partner_and_each_has_one():
    def partners(x, z):
        return torch.stack([x, z])

    for samples in (2, 3, 32):
        own, other = permuted(partners)(torch.arange(samples), torch.arange(samples))
        assert (own != other).all() and other.sort().values.equal(own)


def test_what_is_permuted_keeps_its_bound_and_its_least_batch():
    assert permuted(cmd_distance).bounded
    assert permuted(unbiased_distance).least_samples == 4
    assert not hasattr(permuted(covariance_distance), "bounded")
