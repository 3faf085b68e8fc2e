"""Oracles: numpy.cov, the closed-form gradient, finite differences in float64."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msa_core.alignment import BOUNDED, AlignmentLoss, covariance, covariance_distance, covariance_gap
from msa_core.parts import distances
from msa_core.parts.distances import cmd_distance, correlation_distance

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
    loss = AlignmentLoss({("audio", "vision"): -1.0}, distance=correlation_distance)
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
    assert not any(value.requires_grad for value in output.pairs.values())
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


def test_both_modalities_are_taken_to_the_common_width():
    maps = {"text": features(1, width=6).float(), "audio": features(2, width=3).float()}
    loss = AlignmentLoss(["text-audio"], feature_dims={"text": 6, "audio": 3}, common_width=5)
    projected = (maps[name].numpy() @ loss.projections[name].weight.detach().numpy().T for name in maps)
    gap = np.subtract(*(np.cov(x, rowvar=False) for x in projected))
    np.testing.assert_allclose(loss(maps).total.item(), np.sum(gap**2) / (4 * 5**2), rtol=1e-4)  # float32


def test_the_learned_maps_come_in_one_order_so_that_a_seed_draws_the_same_ones():
    pairs = ["f-e", "d-c", "b-a"]
    assert list(AlignmentLoss(pairs, feature_dims=dict.fromkeys("abcdef", 4), common_width=3).projections) == [
        *"abcdef"
    ]


def test_the_total_is_on_the_device_of_the_features_whatever_the_default_is():
    maps = {"audio": features(1), "vision": features(2)}
    with torch.device("meta"):
        total = AlignmentLoss(["audio-vision"])(maps).total
    torch.testing.assert_close(total, covariance_distance(*maps.values()))


def test_half_precision_features_are_aligned_in_float32():
    maps = {"audio": features(1).bfloat16(), "vision": features(2).bfloat16()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = AlignmentLoss([("audio", "vision")])(maps)
    expected = covariance_distance(maps["audio"].float(), maps["vision"].float())
    torch.testing.assert_close(output.total, expected, rtol=1e-6, atol=0)


BAD_WEIGHTS = [math.inf, -math.inf, math.nan, True, "1", None, 10**400]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([("audio", "vision")], "euclidean"), r"got distance 'euclidean', expected 'covariance' or a function"),
        (([("audio", "audio")],), r"pair \('audio', 'audio'\), expected two different"),
        ((["audio"],), r"pair 'audio', expected two different"),
        ((["audio-text-vision"],), r"pair 'audio-text-vision', expected two different"),
        (([("audio", "vision"), ("vision", "audio")],), r"pair \('vision', 'audio'\) twice"),
        (
            ({("audio", "vision"): -0.1},),
            r"weight -0.1 for .* distance 'covariance_distance'.*: correlation_distance, cka_distance, cmd_dist",
        ),
        (({"audio-vision": -0.1}, partial(cmd_distance)), r"unbounded distance functools\.partial"),
        (([("audio", "vision")], "covariance", None, 8), r"common_width without feature_dims"),
        (
            ([("audio", "vision")], "covariance", {"audio": 4}, 8),
            r"feature_dims of \['audio'\], expected also \['vision'\]",
        ),
        (
            ([("audio", "vision")], "covariance", {"audio": 4, "vision": "x"}, 8),
            r"width 'vision': 'x', expected an integer",
        ),
        *(
            (
                (["audio-vision"], "covariance", {"audio": 4, "vision": 4}, width),
                r"width 'common_width': .* within 1\.\.",
            )
            for width in (0, -1, 1.5, True, 10**9, 10**30, "3", math.nan)
        ),
        *((({"audio-vision": weight},), r"got weight .*, expected a finite number") for weight in BAD_WEIGHTS),
        (("audio-vision",), r"got pairs 'audio-vision', expected weights such as"),
        ((None,), r"got pairs None, expected weights"),
        (({1: 1},), r"got the pair 1, expected two different"),
        (({"audio-": 1},), r"got the pair 'audio-', expected two different"),
        (([("audio", 1)],), r"got the pair \('audio', 1\), expected two different"),
        ((["audio-vision"], None), r"got distance None, expected 'covariance' or a function"),
        ((["audio-vision"], 3), r"got distance 3, expected 'covariance' or a function"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlignmentLoss(*arguments)


@pytest.mark.parametrize("shape", [(1, 4), (4,), (2, 3, 4)])
def test_features_that_are_no_matrix_of_two_rows_are_refused(shape):
    with pytest.raises(ValueError, match=rf"shape {re.escape(str(shape))}, expected \(B, D\) with B at least 2"):
        AlignmentLoss([("audio", "vision")])({"audio": torch.zeros(shape), "vision": torch.zeros(shape)})


def test_a_missing_modality_is_refused():
    with pytest.raises(ValueError, match=r"got features of \['audio'\], expected also \['vision'\]"):
        AlignmentLoss([("audio", "vision")])({"audio": features()})


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"got features of \['vision'\] in whole numbers"):
        AlignmentLoss([("audio", "vision")])({"audio": features(), "vision": torch.ones(8, 4, dtype=torch.int64)})


def test_the_bounded_distances_that_the_refusal_names_are_those_that_are_marked():
    marked = [name for name, part in vars(distances).items() if getattr(part, "bounded", False)]
    assert ", ".join(marked) == BOUNDED


def test_a_pair_is_written_as_in_the_settings_or_as_a_tuple():
    maps = {"audio": features(1), "vision": features(2)}
    assert AlignmentLoss({"audio-vision": 2.0})(maps) == AlignmentLoss({("audio", "vision"): 2.0})(maps)


@pytest.mark.parametrize(
    ("audio", "vision", "rows"),
    [
        ([1, 0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1, 1], [0, 3, 4, 5, 6]),
        ([1, 1, 0, 0, 0, 1, 0], [1] * 5 + [0] * 2, [0, 1]),
    ],
)
def test_samples_that_lack_a_modality_of_the_pair_are_left_out(audio, vision, rows):
    maps = {"audio": features(1), "vision": features(2)}
    present = {"audio": torch.tensor(audio).bool(), "vision": torch.tensor(vision).bool()}
    expected = covariance_distance(maps["audio"][rows], maps["vision"][rows])
    output = AlignmentLoss({"audio-vision": 3.0})(maps, present)
    torch.testing.assert_close(output.total, 3 * expected, **FLOAT64)
    torch.testing.assert_close(output.pairs["audio", "vision"], expected, **FLOAT64)


def test_a_pair_that_fewer_than_two_samples_have_is_left_out():
    maps = {"audio": features(1), "vision": features(2), "text": features(3)}
    present = {"audio": torch.tensor([1, 0, 0, 0, 0, 0, 0]).bool()}
    output = AlignmentLoss(["audio-vision", "text-vision"])(maps, present)
    assert list(output.pairs) == [("text", "vision")]
    torch.testing.assert_close(output.total, covariance_distance(maps["text"], maps["vision"]), **FLOAT64)


def test_gather_makes_the_covariances_those_of_the_whole_batch():
    """Two processes with half the batch each: the hook hands each the other's half, with no gradient for it."""
    maps = {"audio": features(1, 8), "vision": features(2, 8)}
    present = {"vision": torch.arange(8) != 6}
    expected = AlignmentLoss(["audio-vision"])(maps, present).total

    def with_the_other_half(x):
        whole = next(each for each in (*maps.values(), *present.values()) if torch.equal(each[:4], x.detach()))
        return torch.cat([x, whole[4:]])

    halves = {name: x[:4].clone().requires_grad_() for name, x in maps.items()}
    half_present = {"vision": present["vision"][:4]}
    total = AlignmentLoss(["audio-vision"], gather=with_the_other_half)(halves, half_present).total
    torch.testing.assert_close(total, expected, **FLOAT64)
    total.backward()
    assert halves["audio"].grad.abs().sum() > 0


def test_covariance_gap_against_numpy():
    a, b = np.cov(features(1), rowvar=False), np.cov(features(2), rowvar=False)
    expected = np.linalg.norm(a - b, "fro") ** 2 / (4 * 4**2)
    np.testing.assert_allclose(covariance_gap(torch.from_numpy(a), torch.from_numpy(b)), expected, rtol=1e-12)
