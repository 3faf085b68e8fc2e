"""Oracles: planted linear relations whose R2 is known, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from msa_core.analysis import probes
from msa_core.data import FeatureSet, Ragged

SIZES = {"train": 900, "valid": 300, "test": 700}  # samples of the splits below


def draw(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def test_a_linear_relation_is_found_and_noise_is_not():
    """y0 is linear in x; y1 has as much noise as signal, so that 0.5 of its variance can be read; y2 is noise."""
    x, noise = draw(4000, 5), draw(4000, 2, seed=1)
    signal = x @ [1.0, -2.0, 0.0, 3.0, 0.5]
    y = np.stack([signal, signal + signal.std() * noise[:, 0], noise[:, 1]], axis=1)
    assert probes.linear_probe(x, y) == pytest.approx([1.0, 0.5, 0.0], abs=0.03)


@given(st.floats(1e-4, 1e4), st.floats(-10, 10))
def test_scale_and_place_of_the_features_do_not_matter(scale, shift):
    x, noise = draw(40, 3), draw(40, 1, seed=1)
    y = x[:, :1] + noise
    np.testing.assert_allclose(probes.linear_probe(scale * x + shift, y), probes.linear_probe(x, y), atol=1e-6)


def test_no_sample_is_predicted_by_a_map_fitted_on_it():
    """Few samples and many features: what is fitted on noise says nothing of other samples."""
    x, y = draw(30, 25), draw(30, 1, seed=1)
    assert Ridge(1e-6).fit(x, y).score(x, y) > 0.6
    assert probes.linear_probe(x, y) < 0.2


@pytest.mark.filterwarnings("error")
def test_a_constant_target_has_no_r2():
    x = draw(30, 2)
    y = np.stack([x[:, 0], np.full(30, 2.0)], axis=1)
    r2 = probes.linear_probe(x, y)
    assert r2[0] == pytest.approx(1, abs=1e-3)
    assert np.isnan(r2[1])


def test_factors_are_read_where_they_are():
    """Text holds the shared factor and its own, audio its own alone."""
    z = {name: draw(400, 1, seed)[:, 0] for seed, name in enumerate(("shared", "text", "audio"))}
    encoded = {"text": np.stack([z["shared"] + z["text"], z["text"]], axis=1), "audio": 1e-3 * z["audio"][:, None]}
    table = probes.factor_probes(encoded, z)
    assert list(table.columns) == ["modality", "factor", "r2"]
    r2 = table.set_index(["modality", "factor"])["r2"].unstack()
    np.testing.assert_allclose(r2.loc[["text", "audio"], ["shared", "text", "audio"]], [[1, 1, 0], [0, 0, 1]], atol=0.1)


def test_cross_modal_weighs_dimensions_by_their_variance():
    """Vision's first dimension is ten times audio's with a hundredth of its variance as noise, the second all noise."""
    audio, noise = draw(3000, 3), draw(3000, 2, seed=1)
    vision = np.stack([10 * audio[:, 0] + noise[:, 0], 5 * noise[:, 1]], axis=1)
    table = probes.cross_modal({"audio": audio, "vision": vision}).set_index(["source", "target"])["r2"]
    assert set(table.index) == {("audio", "vision"), ("vision", "audio")}
    assert table["audio", "vision"] == pytest.approx(100 / (101 + 25), abs=0.02)
    assert table["vision", "audio"] == pytest.approx(100 / 101 / 3, abs=0.02)


def test_cross_modal_of_collapsed_encodings_is_nan():
    table = probes.cross_modal({"audio": draw(20, 2), "vision": np.ones((20, 2))}).set_index(["source", "target"])["r2"]
    assert np.isnan(table["audio", "vision"])
    assert table["vision", "audio"] < 0.01


def split_of(name, frames, labels):
    """One split of audio and vision; `frames`: a list of (T, D) for each."""
    sequences = {m: Ragged.of([torch.tensor(f, dtype=torch.float32) for f in each]) for m, each in frames.items()}
    ids = [f"{name}-{i}" for i in range(len(labels))]
    return FeatureSet(name, ids, torch.tensor(labels, dtype=torch.float32), 3.0, sequences)


def audio_that_knows(name, n, seed):
    """Audio's mean frame is the label and as much noise; vision is noise; lengths differ, and one audio is absent."""
    rng = np.random.default_rng(seed)
    y, noise = rng.standard_normal((2, n))
    lengths = [0, *rng.integers(1, 9, n - 1)]
    tilts = [np.linspace(-1, 1, length) if length > 1 else np.zeros(length) for length in lengths]  # of mean 0
    audio = [(y[i] + noise[i] + 5 * tilts[i])[:, None] * [[1, -3]] for i in range(n)]
    vision = [rng.standard_normal((3, 4)) for _ in range(n)]
    return split_of(name, {"audio": audio, "vision": vision}, y)


def test_the_label_is_read_where_a_modality_knows_it():
    data = {name: audio_that_knows(name, n, seed) for seed, (name, n) in enumerate(SIZES.items())}
    table = probes.label_probes(data)
    assert table[["modality", "chosen_by"]].values.tolist() == [
        [modality, error] for modality in ("audio", "vision") for error in ("squared", "absolute")
    ]
    audio, _, vision, _ = table.itertuples()
    assert audio.corr == pytest.approx(0.5**0.5, abs=0.04)
    assert abs(vision.corr) < 0.12  # three standard errors
    half = 1.959964 / np.sqrt(SIZES["test"] - 3)  # Fisher's z
    assert [audio.corr_low, audio.corr_high] == pytest.approx(
        np.tanh(np.arctanh(audio.corr) + np.array([-half, half])), abs=1e-6
    )
    y = data["test"].labels.double().numpy()
    assert table["mae_median"].tolist() == pytest.approx(4 * [np.abs(y - np.median(data["train"].labels)).mean()])
    best = np.sqrt(0.5) * np.sqrt(2 / np.pi)  # mean |error| of the conditional mean
    assert audio.mae == pytest.approx(best, abs=0.04) and audio.mae_low < audio.mae < audio.mae_high
    assert vision.mae == pytest.approx(vision.mae_median, abs=0.01)
    assert set(table["n"]) == {SIZES["test"]}


def test_no_penalty_is_chosen_on_the_test_split():
    data = {name: audio_that_knows(name, n, seed) for seed, (name, n) in enumerate(SIZES.items())}
    other = {**data, "test": replace(data["test"], labels=-data["test"].labels)}
    np.testing.assert_allclose(probes.label_probes(other)["corr"], -probes.label_probes(data)["corr"], rtol=1e-9)
