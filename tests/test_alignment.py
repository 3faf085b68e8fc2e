"""Oracles: numpy.cov, numpy.corrcoef, the closed-form gradient, finite differences in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msa_core.alignment import (
    BOUNDED_DISTANCES,
    DISTANCES,
    AlignmentLoss,
    correlation_distance,
    covariance,
    covariance_distance,
)

FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}  # sums of at most a few hundred products


def features(seed=0, samples=7, width=4):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((samples, width)))


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(2, 20), st.integers(1, 6)),
        elements=st.floats(-100, 100, allow_subnormal=False),
    )
)
def test_covariance_is_numpys(x):
    expected = np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])
    np.testing.assert_allclose(covariance(torch.from_numpy(x)), expected, rtol=1e-9, atol=1e-9)


def test_covariance_is_the_papers_formula():
    x = features()
    ones = torch.ones(1, len(x), dtype=x.dtype)
    written_out = (x.T @ x - (ones @ x).T @ (ones @ x) / len(x)) / (len(x) - 1)
    torch.testing.assert_close(covariance(x), written_out, **FLOAT64)


@pytest.mark.parametrize("samples", [2, 16])
def test_covariance_distance_against_numpy(samples):
    x, z = features(1, samples), features(2, samples)
    expected = np.linalg.norm(np.cov(x, rowvar=False) - np.cov(z, rowvar=False)) ** 2 / (4 * x.shape[1] ** 2)
    np.testing.assert_allclose(covariance_distance(x, z), expected, rtol=1e-12)


def test_gradient_is_the_closed_form():
    x, z = features(1).requires_grad_(), features(2).requires_grad_()
    covariance_distance(x, z).backward()
    gap = covariance(x) - covariance(z)
    scale = x.shape[1] ** 2 * (len(x) - 1)
    torch.testing.assert_close(x.grad, ((x - x.mean(0)) @ gap / scale).detach(), **FLOAT64)
    torch.testing.assert_close(z.grad, (-(z - z.mean(0)) @ gap / scale).detach(), **FLOAT64)


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradcheck(distance):
    x, z = features(1).requires_grad_(), features(2).requires_grad_()
    assert torch.autograd.gradcheck(DISTANCES[distance], (x, z))


def test_correlation_distance_against_numpy():
    x, z = features(1), features(2)
    expected = np.sum((np.corrcoef(x, rowvar=False) - np.corrcoef(z, rowvar=False)) ** 2) / (4 * x.shape[1] ** 2)
    np.testing.assert_allclose(correlation_distance(x, z, eps=0), expected, rtol=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_zero_on_equal_symmetric_and_not_negative(distance):
    x, z = features(1), features(2)
    assert DISTANCES[distance](x, x) == 0
    torch.testing.assert_close(DISTANCES[distance](x, z), DISTANCES[distance](z, x), **FLOAT64)
    assert DISTANCES[distance](x, z) > 0


@pytest.mark.parametrize("distance", BOUNDED_DISTANCES)
def test_bounded_distances_stay_in_their_range(distance):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 1)).repeat(4, axis=1))
    opposed = x * torch.tensor([1, -1, 1, -1])
    for scale in (1e-6, 1, 1e6):
        assert 0 <= DISTANCES[distance](scale * x, opposed) <= 1


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


def test_loss_is_the_weighted_sum_over_pairs_and_differentiable():
    maps = {name: features(seed).requires_grad_() for seed, name in enumerate(("text", "audio", "vision"))}
    weights = {("audio", "vision"): 2.0, ("text", "audio"): 0.5}
    output = AlignmentLoss(weights)(maps)
    expected = {pair: covariance_distance(maps[pair[0]], maps[pair[1]]) for pair in weights}
    torch.testing.assert_close(output.total, 2.0 * expected["audio", "vision"] + 0.5 * expected["text", "audio"])
    assert output.pairs == {pair: value.detach() for pair, value in expected.items()}
    output.total.backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in maps.values())


def test_plain_pairs_weigh_one():
    maps = {"audio": features(1), "vision": features(2)}
    torch.testing.assert_close(
        AlignmentLoss([("audio", "vision")])(maps).total, AlignmentLoss({("audio", "vision"): 1.0})(maps).total
    )


def test_a_negative_weight_on_a_bounded_distance_pushes_apart():
    maps = {"audio": features(1).requires_grad_(), "vision": features(2)}
    loss = AlignmentLoss({("audio", "vision"): -1.0}, distance="correlation")
    before = loss(maps)
    before.total.backward()
    moved = {**maps, "audio": (maps["audio"] - 0.1 * maps["audio"].grad).detach()}
    assert loss(moved).pairs["audio", "vision"] > before.pairs["audio", "vision"]


def test_unequal_widths_need_a_projection():
    maps = {"text": features(1, width=6).float(), "audio": features(2, width=4).float()}
    with pytest.raises(ValueError, match=r"widths 6 and 4.*common_width"):
        AlignmentLoss([("text", "audio")])(maps)
    loss = AlignmentLoss([("text", "audio")], feature_dims={"text": 6, "audio": 4}, common_width=4)
    assert set(loss.projections) == {"text"}  # audio has the common width already
    output = loss(maps)
    projected = maps["text"].numpy() @ loss.projections["text"].weight.detach().numpy().T
    gap = np.cov(projected, rowvar=False) - np.cov(maps["audio"], rowvar=False)
    np.testing.assert_allclose(output.total.item(), np.sum(gap**2) / (4 * 4**2), rtol=1e-4)  # float32
    output.total.backward()
    assert loss.projections["text"].weight.grad.abs().sum() > 0


def test_half_precision_features_are_aligned_in_float32():
    maps = {"audio": features(1).bfloat16(), "vision": features(2).bfloat16()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = AlignmentLoss([("audio", "vision")])(maps)
    expected = covariance_distance(maps["audio"].float(), maps["vision"].float())
    torch.testing.assert_close(output.total, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([("audio", "vision")], "euclidean"), r"got distance 'euclidean', expected one of"),
        (([("audio", "audio")],), r"pair \(audio, audio\), expected two different"),
        (([("audio", "vision"), ("vision", "audio")],), r"pair \(vision, audio\) twice"),
        (
            ({("audio", "vision"): -0.1},),
            r"weight -0.1 for .* unbounded distance 'covariance'.*bounded one: correlation",
        ),
        (([("audio", "vision")], "covariance", None, 8), r"common_width without feature_dims"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlignmentLoss(*arguments)


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 4\), expected \(B, D\) with B at least 2"):
        AlignmentLoss([("audio", "vision")])({"audio": features(samples=1), "vision": features(samples=1)})


def test_a_missing_modality_is_refused():
    with pytest.raises(ValueError, match=r"got features of \['audio'\], expected also \['vision'\]"):
        AlignmentLoss([("audio", "vision")])({"audio": features()})
