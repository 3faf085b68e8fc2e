"""Oracles: numpy.cov, numpy.corrcoef, the closed-form gradient, finite differences in float64."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msa_core.alignment import (
    BOUNDED_DISTANCES,
    DISTANCES,
    AlignmentLoss,
    cka_distance,
    cmd_distance,
    correlation_distance,
    covariance,
    covariance_distance,
    mean_and_covariance_distance,
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


def test_cka_distance_against_centred_gram_matrices():
    """Kornblith et al. 2019 by HSIC: trace(K H L H), H = 1 - 11'/B, on features of unequal widths."""
    x, z = features(1, samples=9, width=4).numpy(), features(2, samples=9, width=6).numpy()
    centre = np.eye(9) - 1 / 9
    k, m = (centre @ features @ features.T @ centre for features in (x, z))
    expected = 1 - np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    np.testing.assert_allclose(cka_distance(torch.from_numpy(x), torch.from_numpy(z)), expected, rtol=1e-12)


@pytest.mark.parametrize("moments", [1, 2, 5])
def test_cmd_distance_against_scipy(moments):
    """Zellinger et al. 2017, on tanh's own interval [-1, 1], each term over (b - a)^k; ours is over sqrt(D) too."""
    x, z = features(1), features(2)
    u, v = np.tanh(x.numpy()), np.tanh(z.numpy())
    expected = np.linalg.norm(u.mean(0) - v.mean(0)) / 2
    for k in range(2, moments + 1):
        expected += np.linalg.norm(scipy.stats.moment(u, k, axis=0) - scipy.stats.moment(v, k, axis=0)) / 2**k
    np.testing.assert_allclose(cmd_distance(x, z, moments), expected / np.sqrt(x.shape[1]), rtol=1e-12)


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


def test_a_weight_of_zero_is_measured_and_leaves_no_trace():
    maps = {"text": features(1).requires_grad_(), "audio": features(2).requires_grad_(), "vision": features(3)}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    dims = dict.fromkeys(maps, 4)
    loss = AlignmentLoss({("text", "audio"): 0.0, ("audio", "vision"): 2.0}, "covariance", dims, 4)
    output = loss(maps)
    assert torch.equal(torch.rand(3), expected)
    distance = covariance_distance(maps["audio"], maps["vision"])
    assert output.total == 2 * distance
    assert output.pairs["text", "audio"] == covariance_distance(maps["text"], maps["audio"])
    output.total.backward()
    assert maps["text"].grad is None
    assert not AlignmentLoss({("text", "audio"): 0.0}, "covariance", dims, 8).projections


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
            r"weight -0.1 for .* unbounded distance 'covariance'.*bounded one: correlation, cka, cmd",
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
