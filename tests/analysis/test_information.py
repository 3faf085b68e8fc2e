"""msa_core/analysis/information.py. Oracles: the planted truth, formulas of normal variables, scipy's densities."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import toeplitz
from scipy.stats import mannwhitneyu, multivariate_normal, norm

from msa_core.analysis import information
from msa_core.analysis.information import COLUMNS, of_frames, pair_auc, partial_information
from msa_core.data import PlantedProcess, planted_features, planted_truth
from msa_core.data.planted import _orthonormal


def sufficient(data, seed, process):
    """What generalised least squares finds of each sample along the three planted directions, (N, 3) a modality.

    Shrunk by how little a short sequence tells, so that one linear map fits all lengths.
    """
    rng = np.random.default_rng(seed)
    bases = {"audio": _orthonormal(rng, 5), "vision": _orthonormal(rng, 20)}
    inverses = {length: np.linalg.inv(toeplitz(0.8 ** np.arange(length))) for length in range(8, 49)}
    found = {}
    for modality, basis in bases.items():
        ratio, rows = process.signal_to_noise[modality], []
        for i in range(len(data)):
            frames = data.sequences[modality][i].double().numpy() @ basis.T  # (T, 3)
            time = np.arange(len(frames)) / (len(frames) - 1)
            course = np.stack([np.sin(math.pi * time), 2 * time - 1, 2 * time - 1], axis=1)
            weights = ratio * inverses[len(frames)] @ course
            rows.append((weights * frames).sum(axis=0) / (1 + ratio * (weights * course).sum(axis=0)))
        found[modality] = np.array(rows)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"signal_to_noise": {"audio": 1, "vision": 0.25}},
        {
            "signal_to_noise": {"audio": 0.9, "vision": 0.4},
            "shared_part": {"audio": 0.3, "vision": 0.8},
            "task_weights": {"vision": -0.4},
            "label_noise": 0.3,
        },
    ],
    ids=["equal", "audio clearer", "conflict"],
)
def test_samples_of_a_planted_process_tell_what_is_exactly_true(settings):
    """6,000 samples; 0.015 bits: their noise, 1.5 standard errors, and what rounding and clipping the label loses."""
    process = PlantedProcess(**settings)
    data = planted_features(2, 2, 6000, seed=5, **vars(process))["test"]
    found = partial_information(sufficient(data, 5, process), data.labels)
    assert found == pytest.approx(planted_truth.partial_information(process), abs=0.015)


def equally_telling(rng, samples, width):
    """Two independent modalities, each of which tells 0.3 bits of a normal label."""
    r2 = 1 - 2**-0.6
    x, z = rng.standard_normal((2, samples, width))
    noise = rng.standard_normal(samples) * math.sqrt(1 - 2 * r2)
    return {"audio": x, "vision": z}, math.sqrt(r2 / width) * (x + z).sum(axis=1) + noise


def test_independent_features_tell_nothing():
    rng = np.random.default_rng(0)
    found = partial_information(
        {"audio": rng.standard_normal((4000, 8)), "vision": rng.standard_normal((4000, 8))}, rng.standard_normal(4000)
    )
    assert all(abs(value) < 0.002 for value in found.values())


def test_of_identical_modalities_all_is_redundant():
    features, y = equally_telling(np.random.default_rng(0), 4000, 8)
    found = partial_information({"audio": features["audio"], "vision": features["audio"]}, y)
    assert found["audio"] == found["vision"] == 0
    assert abs(found["synergy"]) < 0.002
    assert found["redundancy"] == pytest.approx(0.3, abs=0.03)


def test_what_one_modality_alone_tells_is_unique_to_it():
    features, _ = equally_telling(np.random.default_rng(0), 4000, 4)
    y = features["vision"].sum(axis=1) + np.random.default_rng(1).standard_normal(4000) * 2  # R2: a half
    found = partial_information(features, y)
    assert found == pytest.approx({"redundancy": 0, "audio": 0, "vision": 0.5, "synergy": 0}, abs=0.03)


def test_the_bias_is_downwards_by_the_size_of_the_map_and_falls_with_the_samples():
    """Of both modalities, 32 features: 32 / (2 n ln 2) bits, n the fitted samples, against the true map on the same."""
    share = math.sqrt((1 - 2**-0.6) / 16)
    for samples, draws in ((300, 8), (1200, 4)):
        rng, biases = np.random.default_rng(0), []
        for _ in range(draws):
            features, y = equally_telling(rng, samples, 16)
            errors = y - share * (features["audio"] + features["vision"]).sum(axis=1)
            true_map = np.log2(y.var() / (errors**2).mean()) / 2
            biases.append(sum(partial_information(features, y).values()) - true_map)
        assert np.mean(biases) == pytest.approx(-32 / (2 * 0.9 * samples * math.log(2)), rel=0.2), samples


def test_one_modality_has_no_parts():
    with pytest.raises(ValueError, match=r"got features of \['audio'\], expected those of two modalities"):
        partial_information({"audio": np.zeros((30, 2))}, np.zeros(30))


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_pairs_are_told_apart_as_well_as_the_densities_allow():
    """One shared dimension of two; the oracle knows its correlation of 0.8, and scipy's densities score other pairs."""
    rng = np.random.default_rng(0)
    covariance = [[1, 0.8], [0.8, 1]]
    shared = rng.multivariate_normal([0, 0], covariance, 4000)
    x, z = (np.stack([column, rng.standard_normal(4000)], axis=1) for column in shared.T)
    true, other = (rng.multivariate_normal([0, 0], np.array(matrix), 20_000) for matrix in (covariance, np.eye(2)))
    true_score, other_score = (
        multivariate_normal([0, 0], covariance).logpdf(pairs) - norm.logpdf(pairs).sum(axis=1)
        for pairs in (true, other)
    )
    best = mannwhitneyu(true_score, other_score).statistic / 20_000**2
    assert pair_auc(x, z) == pytest.approx(best, abs=0.015)


def test_pairs_that_share_nothing_are_as_shuffled_ones():
    x, z = np.random.default_rng(0).standard_normal((2, 3000, 5))
    assert pair_auc(x, z) == pytest.approx(0.5, abs=0.02)
    assert pair_auc(x, np.zeros((3000, 5))) == 0.5


def test_scale_and_rotation_are_not_shared_information():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3))
    z = x + rng.standard_normal((500, 3))
    before = pair_auc(x, z)
    assert 0.7 < before < 1
    assert pair_auc(x @ rng.standard_normal((3, 3)) * 100 + 5, z) == pytest.approx(before, abs=1e-9)


# --- of data and models -----------------------------------------------------------------------------------------------


def test_frames_are_their_mean_and_standard_deviation(monkeypatch):
    data = planted_features(2, 2, 40, seed=1)["test"]
    seen = {}
    monkeypatch.setattr(information, "_terms", lambda _, pair, __: seen.update(pair))
    of_frames(data)
    for modality, width in (("audio", 5), ("vision", 20)):
        frames = data.sequences[modality][7].double()
        expected = torch.cat([frames.mean(dim=0), frames.std(dim=0, correction=0)])
        assert seen[modality].shape == (40, 2 * width)
        assert seen[modality][7] == pytest.approx(expected.numpy(), abs=1e-5)


def test_columns_are_those_that_runs_have(monkeypatch):
    data = planted_features(2, 2, 40, seed=1)["test"]
    encoded = {modality: np.random.default_rng(0).standard_normal((40, 3)) for modality in ("text", "audio", "vision")}
    monkeypatch.setattr(information, "encodings", lambda *_: encoded)
    assert [*information.of_encodings(None, data), *of_frames(data)] == COLUMNS
