"""Oracles: all texts enumerated, least squares by explicit matrices, determinants of covariances, ridge on the data."""

import math
from itertools import combinations_with_replacement
from math import factorial

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.stats import norm
from sklearn.linear_model import RidgeCV

from msa_core import MODALITIES
from msa_core.data import PlantedProcess, planted_features, planted_truth
from msa_core.data.planted import _orthonormal
from msa_core.data.planted_truth import best_attainable, partial_information, unimodal_agreement
from msa_core.vocabulary import ADJECTIVES

PARTICLES = {"draws": 1024, "particles": 4096}
VALENCE = {word: valence for valence, words in ADJECTIVES.items() for word in words}
DEFAULT = PlantedProcess()
CONFLICT = PlantedProcess(
    signal_to_noise={"audio": 0.9, "vision": 0.4},
    shared_part={"audio": 0.3, "vision": 0.8},
    task_weights={"vision": -0.4},
    label_noise=0.3,
)


@pytest.fixture(scope="module")
def attainable():
    return best_attainable(DEFAULT, **PARTICLES)


@pytest.fixture(scope="module")
def data():
    return planted_features(2000, 1, 3000, seed=5)


def course(length):
    """(T, 3)"""
    time = np.arange(length) / (length - 1)
    return np.stack([np.sin(math.pi * time), 2 * time - 1, 2 * time - 1], axis=1)


def noise_covariance(length):
    return toeplitz(0.8 ** np.arange(length))


# --- best attainable --------------------------------------------------------------------------------------------------


def test_text_alone_against_the_enumeration_of_all_texts():
    """y = y_text: each multiset of up to four valences has a probability and a posterior that one integral gives."""
    process = PlantedProcess(task_weights={"text": 1, "audio": 0, "vision": 0}, signal_to_noise={"text": 0.8})
    u = 1.3 * norm.ppf((np.arange(40_000) + 0.5) / 40_000)
    y = u.clip(-3, 3)
    labels = np.round(5 * y) / 5
    edges = [-np.inf, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, np.inf]
    chance = np.diff([norm.cdf((edge - y) * 0.8 / 1.3) for edge in edges], axis=0)  # (7, nodes)
    mae = squared = 0.0
    for clauses in range(1, 5):
        for text in combinations_with_replacement(range(7), clauses):
            orders = factorial(clauses) / math.prod(factorial(text.count(valence)) for valence in set(text))
            joint = orders / 4 * np.prod([chance[valence] for valence in text], axis=0) / len(u)
            total = np.cumsum(joint)  # labels rise with u
            median = labels[np.searchsorted(total, total[-1] / 2)]
            mean = joint @ labels / total[-1]
            mae += joint @ np.abs(labels - median)
            squared += joint @ (labels - mean) ** 2
    best = best_attainable(process, **PARTICLES)
    assert best["text"].mae == pytest.approx(mae, abs=3 * best["text"].mae_error)
    assert best["text"].r2 == pytest.approx(1 - squared / labels.var(), abs=3 * best["text"].r2_error)
    assert max(best["text"].mae_error, best["text"].r2_error) < 0.005
    assert best["audio"].r2 > 0.2  # by way of the shared factor
    assert best["nothing"].mae == pytest.approx(np.abs(labels).mean(), abs=0.002)


def oracle_features(data, seed, known):
    """Text: mean valence, shrunk for few clauses; audio and vision: the signals by regularised least squares."""
    rng = np.random.default_rng(seed)
    bases = {"audio": _orthonormal(rng, 5), "vision": _orthonormal(rng, 20)}
    columns = []
    if "text" in known:
        spoken = [[VALENCE[word] for word in text.split() if word in VALENCE] for text in data.raw_text]
        columns.append([[sum(valences) / (1 + len(valences))] for valences in spoken])
    inverses = {length: np.linalg.inv(noise_covariance(length)) for length in range(8, 49)}
    for modality in [modality for modality in known if modality != "text"]:
        rows = []
        for i in range(len(data)):
            frames = data.sequences[modality][i].double().numpy() @ bases[modality].T
            weighted = inverses[len(frames)] @ course(len(frames))
            told = 0.25 * (weighted * course(len(frames))).sum(axis=0)  # precisions, at a signal-to-noise ratio of 0.5
            rows.append((weighted * frames).sum(axis=0) / (1 + told))
        columns.append(rows)
    return np.hstack(columns)


@pytest.mark.parametrize("known", ["text", "audio", "audio and vision", "all"])
def test_ridge_on_oracle_features_comes_near_the_ceiling_and_not_above(attainable, data, known):
    x, x_test = (oracle_features(data[split], 5, planted_truth.KNOWN[known]) for split in ("train", "test"))
    y, y_test = (data[split].labels.double().numpy() for split in ("train", "test"))
    errors = RidgeCV().fit(x, y).predict(x_test) - y_test
    best, absolute, squared = attainable[known], np.abs(errors), errors**2 / y_test.var()
    chance = 3 * np.array([absolute.std(), squared.std()]) / len(errors) ** 0.5
    assert best.mae - chance[0] < absolute.mean() < best.mae + chance[0] + 0.01
    assert best.r2 - chance[1] - 0.01 < 1 - squared.mean() < best.r2 + chance[1]


def test_label_noise_adds_its_variance_and_nothing_else(attainable):
    noisy = best_attainable(PlantedProcess(label_noise=0.5), **PARTICLES)
    shared, *private = np.random.default_rng(0).standard_normal((4, 400_000))
    sentiments = [(1.3 * (shared + own) / math.sqrt(2)).clip(-3, 3) for own in private]
    variance = (np.array([0.5, 0.25, 0.25]) @ sentiments).var()
    for known, best in attainable.items():
        residual = (1 - best.r2) * variance + 0.25
        assert noisy[known].r2 == pytest.approx(1 - residual / (variance + 0.25), abs=0.01), known
        assert noisy[known].mae > best.mae


def test_without_noise_the_error_is_below_that_of_rounding():
    """All is the shared factor, which audio tells all but exactly; 0.05 is the MAE of saying a label unrounded."""
    clear = PlantedProcess(shared_part=dict.fromkeys(MODALITIES, 1.0), signal_to_noise={"audio": 30.0})
    best = best_attainable(clear, **PARTICLES)["audio"]
    assert best.mae < 0.05 and best.r2 > 0.99
    assert best.mae_error < 0.02


def test_a_modality_of_noise_is_worth_nothing():
    noise = PlantedProcess(signal_to_noise={"vision": 0})
    best, information = best_attainable(noise, **PARTICLES), partial_information(noise)
    assert best["vision"] == best["nothing"]
    assert best["audio and vision"] == best["audio"]
    assert information["vision"] == information["redundancy"] == information["synergy"] == 0 < information["audio"]


def test_the_error_is_that_of_other_draws_and_falls_with_more_particles():
    settings = PlantedProcess(signal_to_noise=dict.fromkeys(MODALITIES, 2.0))
    few, other = (best_attainable(settings, 512, 2048, seed=seed)["all"] for seed in (0, 1))
    many = best_attainable(settings, 512, 8192)["all"]
    assert many.mae_error < few.mae_error
    assert abs(few.mae - other.mae) < 2 * few.mae_error
    assert abs(few.mae - many.mae) < 2 * few.mae_error


def test_same_seed_same_truth():
    assert best_attainable(DEFAULT, 64, 256) == best_attainable(DEFAULT, 64, 256)


# --- information ------------------------------------------------------------------------------------------------------


def precisions(length):
    """Of generalised least squares, (3,)."""
    return np.diag(course(length).T @ np.linalg.inv(noise_covariance(length)) @ course(length))


def test_the_shared_factor_alone_is_a_bivariate_gaussian():
    """y, y_s / 1.3 and z are one variable: I = log2(1 + precision) / 2, the private course tells nothing."""
    ratios = {"audio": 0.5, "vision": 0.25}
    process = PlantedProcess(shared_part=dict.fromkeys(MODALITIES, 1.0), signal_to_noise=ratios)
    told = np.array([precisions(length)[:2].sum() for length in range(8, 49)])
    audio, vision = (np.log2(1 + ratio**2 * told).mean() / 2 for ratio in ratios.values())
    both = np.log2(1 + 0.25 * told[:, None] + 0.0625 * told).mean() / 2
    expected = {"redundancy": vision, "audio": audio - vision, "vision": 0, "synergy": both - audio}
    assert partial_information(process) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_what_only_audio_can_know_is_unique_to_it():
    process = PlantedProcess(
        shared_part=dict.fromkeys(MODALITIES, 0.0), task_weights={"text": 0, "vision": 0}, label_noise=0.5
    )
    told = np.array([1 + 0.25 * precisions(length)[[0, 2]].sum() for length in range(8, 49)])
    audio = np.log2((1.69 / 16 + 0.25) / (1.69 / 16 / told + 0.25)).mean() / 2
    expected = {"redundancy": 0, "audio": audio, "vision": 0, "synergy": 0}
    assert partial_information(process) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("process", [DEFAULT, CONFLICT], ids=["default", "conflict"])
def test_informations_are_those_of_the_covariance_of_all_frames(process, monkeypatch):
    """I = log2(det C_x det C_y / det C_xy) / 2 of frames along the three directions, for a few lengths."""
    monkeypatch.setattr(planted_truth, "LENGTHS", range(8, 11))
    parts, weights = process.shared_part, process.task_weights
    factors = dict(zip(("shared", *MODALITIES), np.eye(5), strict=False))  # 5: the error
    sentiment = {
        modality: 1.3 * (parts[modality] ** 0.5 * factors["shared"] + (1 - parts[modality]) ** 0.5 * factors[modality])
        for modality in MODALITIES
    }
    label = sum(weights[modality] * sentiment[modality] for modality in MODALITIES) + process.label_noise * np.eye(5)[4]

    def frames(modality, length):
        """Loadings on the factors, (3T, 5), and covariance of the noise."""
        ratio, steps = process.signal_to_noise[modality], course(length).T
        told = (sentiment[modality] / 1.3, factors["shared"], factors[modality])
        loadings = [ratio * np.outer(step, row) for step, row in zip(steps, told, strict=True)]
        return np.concatenate(loadings), np.kron(np.eye(3), noise_covariance(length))

    def information(*sequences):
        loadings = np.concatenate([loading for loading, _ in sequences])
        joint = np.concatenate([loadings, label[None]])
        covariance = joint @ joint.T
        place = 0
        for loading, noise in sequences:
            end = place + len(loading)
            covariance[place:end, place:end] += noise
            place = end
        log_det = [np.linalg.slogdet(block)[1] for block in (covariance[:-1, :-1], covariance[-1:, -1:], covariance)]
        return (log_det[0] + log_det[1] - log_det[2]) / 2 / math.log(2)

    lengths = range(8, 11)
    audio, vision = (np.mean([information(frames(m, t)) for t in lengths]) for m in ("audio", "vision"))
    both = np.mean([information(frames("audio", s), frames("vision", t)) for s in lengths for t in lengths])
    expected = {
        "redundancy": min(audio, vision),
        "audio": audio - min(audio, vision),
        "vision": vision - min(audio, vision),
        "synergy": both - max(audio, vision),
    }
    assert partial_information(process) == pytest.approx(expected, rel=1e-8, abs=1e-10)


# --- how far the labels are from each other ---------------------------------------------------------------------------


def test_signs_of_labels_against_integrals():
    """The label is audio's sentiment, rounded to 0 within 0.1 of it; vision's then has another, or the opposite."""
    process = PlantedProcess(
        task_weights={"text": 0, "audio": 1, "vision": 0}, shared_part=dict.fromkeys(MODALITIES, 0.8)
    )
    found = unimodal_agreement(process)
    zero = 2 * norm.cdf(0.1 / 1.3) - 1
    y = 1.3 * norm.ppf(zero / 2 + 0.5 + (1 - zero) / 2 * (np.arange(20_000) + 0.5) / 20_000)  # above 0.1
    opposite = (1 - zero) * norm.cdf(-0.8 * y / (1.3 * math.sqrt(1 - 0.8**2))).mean()
    assert found["audio", "multimodal"].other_sign == pytest.approx(zero, abs=1e-3)
    assert found["vision", "multimodal"].other_sign == pytest.approx(zero + opposite, abs=1e-3)
    assert found["audio", "vision"].other_sign == pytest.approx(math.acos(0.8) / math.pi, abs=1e-3)


@pytest.mark.parametrize("process", [DEFAULT, CONFLICT], ids=["default", "conflict"])
def test_labels_agree_as_those_of_drawn_data_do(process):
    drawn = planted_features(2, 2, 20_000, seed=3, **vars(process))["test"]
    labels = {**drawn.unimodal_labels, "multimodal": drawn.labels}
    for (one, other), found in unimodal_agreement(process).items():
        assert found.corr == pytest.approx(np.corrcoef(labels[one], labels[other])[0, 1], abs=0.02)
        unequal = np.sign(labels[one].numpy()) != np.sign(labels[other].numpy())
        assert found.other_sign == pytest.approx(unequal.mean(), abs=0.015)
