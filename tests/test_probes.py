"""Oracles: planted linear relations, scikit-learn's variance-weighted R2, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from msa_core import probes


def draw(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def test_a_linear_relation_is_found_and_noise_is_not():
    """y0 is linear in x; y1 has as much noise as signal, so that 0.5 of its variance can be read; y2 is noise."""
    x, noise = draw(4000, 5), draw(4000, 2, seed=1)
    signal = x @ [1.0, -2.0, 0.0, 3.0, 0.5]
    y = np.stack([signal, signal + signal.std() * noise[:, 0], noise[:, 1]], axis=1)
    r2 = probes.linear_probe((x[:2000], y[:2000]), (x[2000:], y[2000:]))
    assert r2 == pytest.approx([1.0, 0.5, 0.0], abs=0.03)


@given(st.floats(1e-4, 1e4), st.floats(-10, 10))
def test_scale_and_place_of_the_features_do_not_matter(scale, shift):
    x, noise = draw(60, 3), draw(60, 1, seed=1)
    y = x[:, :1] + noise
    plain = probes.linear_probe((x[:40], y[:40]), (x[40:], y[40:]))
    moved = scale * x + shift
    np.testing.assert_allclose(probes.linear_probe((moved[:40], y[:40]), (moved[40:], y[40:])), plain, atol=1e-6)


def test_the_test_split_is_not_fitted():
    """Few samples and many features: what is fitted on noise says nothing of other samples."""
    x, y = draw(60, 25), draw(60, 1, seed=1)
    assert probes.linear_probe((x[:30], y[:30]), (x[30:], y[30:])) < 0.2
    assert probes.linear_probe((x[:30], y[:30]), (x[:30], y[:30])) > probes.linear_probe((x[:30], y[:30]), (x, y))


@pytest.mark.filterwarnings("error")
def test_a_target_that_is_constant_on_the_test_split_has_no_r2():
    x = draw(30, 2)
    y = np.stack([x[:, 0], np.full(30, 2.0)], axis=1)
    r2 = probes.linear_probe((x, y), (x, y))
    assert r2[0] == pytest.approx(1, abs=1e-3)
    assert np.isnan(r2[1])


def test_factors_are_read_where_they_are():
    """Text holds the shared factor and its own, audio its own alone."""
    z = {name: draw(400, 1, seed)[:, 0] for seed, name in enumerate(("shared", "text", "audio"))}
    encoded = {"text": np.stack([z["shared"] + z["text"], z["text"]], axis=1), "audio": 1e-3 * z["audio"][:, None]}
    train, test = ({name: values[part] for name, values in encoded.items()} for part in (slice(300), slice(300, 400)))
    factors = [{name: values[part] for name, values in z.items()} for part in (slice(300), slice(300, 400))]
    table = probes.factor_probes(train, test, *factors)
    assert list(table.columns) == ["modality", "factor", "r2"]
    found = table.set_index(["modality", "factor"])["r2"].unstack()
    np.testing.assert_allclose(
        found.loc[["text", "audio"], ["shared", "text", "audio"]], [[1, 1, 0], [0, 0, 1]], atol=0.1
    )


def test_cross_modal_weighs_dimensions_by_their_variance():
    audio, noise = draw(300, 3), draw(300, 2, seed=1)
    vision = np.stack([10 * audio[:, 0] + noise[:, 0], 5 * noise[:, 1]], axis=1)
    train = {"audio": audio[:200], "vision": vision[:200]}
    test = {"audio": audio[200:], "vision": vision[200:]}
    table = probes.cross_modal(train, test).set_index(["source", "target"])["r2"]
    assert set(table.index) == {("audio", "vision"), ("vision", "audio")}
    scaler = StandardScaler().fit(train["audio"])
    probe = RidgeCV(probes.PENALTIES, alpha_per_target=True).fit(scaler.transform(train["audio"]), train["vision"])
    predicted = probe.predict(scaler.transform(test["audio"]))
    expected = r2_score(test["vision"], predicted, multioutput="variance_weighted")
    assert table["audio", "vision"] == pytest.approx(expected)


def test_cross_modal_of_collapsed_encodings_is_nan():
    train = {"audio": draw(20, 2), "vision": np.ones((20, 2))}
    table = probes.cross_modal(train, train).set_index(["source", "target"])["r2"]
    assert np.isnan(table["audio", "vision"])
    assert table["vision", "audio"] == pytest.approx(0, abs=1e-9)
