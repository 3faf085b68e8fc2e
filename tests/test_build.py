"""The one place that builds: each kind of part, and what cannot be built."""

from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertModel

from msa_core import build
from msa_core.alignment import covariance_distance
from msa_core.config import resolve
from msa_core.data import planted_features, planted_tokenizer
from msa_core.data.features import Ragged
from msa_core.fusion import Concatenation
from msa_core.labels import FixedLabels, UnimodalLabelGenerator
from msa_core.model import MSAModel
from msa_core.parts import controls, distances

PLANTED = {
    "dataset.planted": {"num_train": 12, "num_valid": 4, "num_test": 4},
    "training.precision": "float32",
}


@pytest.fixture(scope="module")
def train():
    return planted_features(num_train=12, num_valid=4, num_test=4)["train"]


def settings(variant="paper", **overrides):
    return resolve("planted", variant, overrides=PLANTED | overrides)


def test_a_run_draws_its_own_data_where_their_seed_is_not_set():
    def drawn(variant, seed, data_seed=None):
        changes = PLANTED | {"dataset.planted.seed": data_seed}
        data = build.dataset(resolve("planted", variant, seed, overrides=changes))
        return data["train"].source["planted"]["seed"], data["test"].factors["shared"]

    one, other = drawn("paper", 1111), drawn("paper", 1112)
    assert one[0] != other[0] and not torch.equal(one[1], other[1])
    assert torch.equal(one[1], drawn("no_alignment", 1111)[1])  # variants are paired
    assert torch.equal(one[1], drawn("paper", 1112, data_seed=one[0])[1])  # the source tells how to draw them again
    assert torch.equal(drawn("paper", 1111, 0)[1], drawn("paper", 1112, 0)[1])


def test_the_paper_is_built_of_its_own_parts(train):
    parts = build.parts(settings(), train)
    assert isinstance(parts.model, MSAModel)
    assert isinstance(parts.model.fusion, Concatenation)
    assert parts.objective.alignment.distance is covariance_distance
    assert parts.objective.alignment.pairs == {("audio", "vision"): 100.0}
    assert isinstance(parts.labels, UnimodalLabelGenerator) and not parts.labels.fixed
    assert torch.equal(parts.labels.labels("text", torch.arange(12)), train.labels)


def test_an_lstm_reads_a_frozen_text_token_by_token(train):
    """Oracle: a text at a time through torch's LSTM, without padding."""
    states = [torch.randn(length, 5, generator=torch.Generator().manual_seed(length)) for length in range(1, 13)]
    frozen = replace(train, sequences=train.sequences | {"text": Ragged.of(states)})
    changes = {"text": {"frozen": True, "encoder": "minilm"}, "model.text": {"hidden": 6, "width": 4}}
    config = settings("multimodal_only", **changes)
    assert config.model.reads_every_token and not settings().model.reads_every_token
    encoder = build.model(config, frozen).eval().get_submodule("encoders.text")
    batch = frozen.batch(torch.arange(12))
    expected = torch.stack([encoder.linear(encoder.lstm(x[None])[1][0][0, 0]) for x in states])
    torch.testing.assert_close(encoder(batch.sequences["text"], batch.lengths["text"]), expected)


def test_an_lstm_over_a_trained_text_encoder_is_refused(train):
    config = settings(**{"model.text": {"width": 4}})
    with pytest.raises(ValueError, match=r"model\.text: got an LSTM and .* fine-tuned, expected frozen text"):
        build.model(config, train)


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("covariance", covariance_distance),
        ("correlation", distances.correlation_distance),
        ("cka", distances.cka_distance),
        ("cmd", distances.cmd_distance),
        ("mean_and_covariance", distances.mean_and_covariance_distance),
        ("relational", distances.relational_distance),
        ("shrink", controls.shrink_penalty),
        ("unbiased", controls.unbiased_distance),
    ],
)
def test_each_distance_is_the_function_of_its_name(train, kind, function):
    objective = build.parts(settings(**{"objective.alignment.distance": {"kind": kind}}), train).objective
    assert objective.alignment.distance is function
    bounded = settings(**{"objective.alignment.distance": {"kind": kind}}).objective.alignment.distance.bounded
    assert bounded == getattr(function, "bounded", False)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"kind": "info_nce", "temperature": 0.5}, lambda x, z: distances.info_nce_distance(x, z, 0.5)),
        ({"kind": "isotropic", "variance": 0.3}, lambda x, z: controls.isotropic_distance(x, z, 0.3)),
        ({"kind": "permuted"}, controls.permuted(covariance_distance)),
        (
            {"kind": "permuted", "of": {"kind": "info_nce", "temperature": 0.5}},
            lambda x, z: distances.info_nce_distance(x, z[[2, 0, 1]], 0.5),
        ),
    ],
)
def test_the_settings_of_a_distance_reach_it(train, chosen, expected):
    x, z = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]), torch.tensor([[0.5, 1.0], [1.0, -1.0], [3.0, 0.0]])
    alignment = build.parts(settings(**{"objective.alignment.distance": chosen}), train).objective.alignment
    assert alignment.distance(x, z) == expected(x, z)


@pytest.mark.parametrize("kind", ["relational", "info_nce"])
def test_a_negative_weight_reaches_a_bounded_distance(train, kind):
    chosen = {"objective.alignment.distance": {"kind": kind}, "objective.alignment.pairs": {"audio-vision": -0.1}}
    assert build.parts(settings(**chosen), train).objective.alignment.pairs == {("audio", "vision"): -0.1}


@pytest.mark.parametrize(("variant", "own"), [("copied_labels", False), ("true_labels", True)])
def test_fixed_labels_are_copies_or_the_datas_own(train, variant, own):
    labels = build.parts(settings(variant), train).labels
    assert isinstance(labels, FixedLabels)
    assert torch.equal(labels.labels("multimodal", torch.arange(12)), train.labels)
    expected = train.unimodal_labels["audio"] if own else train.labels
    assert torch.equal(labels.labels("audio", torch.arange(12)), expected)


@pytest.mark.parametrize("kind", ["generated", "damped"])
def test_generated_labels_have_the_schedule_of_the_settings(train, kind):
    own = {"kind": kind, "momentum": 0.3, "first_epoch": 5, "exclude_zero": False, "centre_distance": "squared"}
    labels = build.parts(settings(**{"objective.labels": own}), train).labels
    generator = labels.generator if kind == "damped" else labels
    found = generator.momentum, generator.first_epoch, generator.exclude_zero, generator.distance
    assert found == (0.3, 5, False, "squared")


@pytest.mark.parametrize(
    "own",
    [
        {"kind": "nearest", "neighbours": 4},
        {"kind": "ensemble", "momentum": 0.3, "share": 0.2},
        {"kind": "residual", "share": 0.4, "penalty": 0.7},
    ],
)
def test_the_settings_of_a_label_source_reach_it(train, own):
    labels = build.parts(settings(**{"objective.labels": own}), train).labels
    assert {name: getattr(labels, name) for name in own if name != "kind"} == {
        n: v for n, v in own.items() if n != "kind"
    }
    assert torch.equal(labels.labels("audio", torch.arange(12)), train.labels)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("paper", "Balance"), ("uncertainty_weighting", "UncertaintyWeights"), ("pcgrad", "PCGrad")],
)
def test_the_balance_is_that_of_the_settings(train, variant, expected):
    objective = build.parts(settings(variant), train).objective
    assert type(objective.balance).__name__ == expected and not objective.unlabelled
    assert [p.shape for p in objective.balance.parameters()] == ([(4,)] if variant == "uncertainty_weighting" else [])


def test_mmsas_widths_align_audio_through_a_learned_map(train):
    parts = build.parts(settings("mmsa_widths"), train)
    assert parts.model.encoding_widths == {"text": 64, "audio": 16, "vision": 32}
    assert {name: part.weight.shape for name, part in parts.objective.alignment.projections.items()} == {
        "audio": (32, 16)
    }


def test_equal_widths_are_aligned_as_they_are(train):
    parts = build.parts(settings("mult", **{"model": {"width": 6, "heads": 2, "layers": 1}}), train)
    assert parts.model.encoding_widths["audio"] == parts.model.encoding_widths["vision"] == 12
    assert not parts.objective.alignment.projections


def test_the_scale_multiplies_every_weight_and_unequal_widths_are_not_measured(train):
    pairs = {"audio-vision": 2.0, "text-audio": 3.0}
    weights = {
        scale: build.parts(
            settings(**{"objective.alignment.pairs": pairs, "objective.alignment.scale": scale}), train
        ).objective.alignment.pairs
        for scale in (0.0, 0.5)
    }
    assert weights == {0.0: {("audio", "vision"): 0.0}, 0.5: {("audio", "vision"): 1.0, ("text", "audio"): 1.5}}


def test_samples_lose_the_modalities_that_the_settings_say():
    missing = {"train": {"audio": 0.5}, "test": {"audio": 0.5, "vision": 1.0}}
    config = settings(**{"dataset.missing": missing})
    data = build.dataset(config)
    counts = {
        split: {modality: int((~mask).sum()) for modality, mask in part.present.items()} for split, part in data.items()
    }
    assert counts == {"train": {"audio": 6}, "valid": {}, "test": {"audio": 2, "vision": 4}}
    again, other = build.dataset(config), build.dataset(config.model_copy(update={"seed": 7}))
    assert torch.equal(again["train"].present["audio"], data["train"].present["audio"])
    assert not torch.equal(other["train"].present["audio"], data["train"].present["audio"])


def test_samples_have_the_patterns_that_the_settings_say():
    data = build.dataset(settings(**{"dataset.patterns": {"train": [["text", "audio"], ["text", "vision"]]}}))
    assert not (data["train"].present["audio"] & data["train"].present["vision"]).any()
    assert set(data["train"].present) == {"audio", "vision"} and not data["test"].present


def test_noise_is_relative_to_the_frames_of_the_train_split():
    clean, noisy = (
        build.dataset(settings(**{"dataset.noise": noise, "dataset.planted": {"num_train": 200, "num_test": 200}}))
        for noise in ({}, {"test": {"vision": 2.0}})
    )
    added = noisy["test"].sequences["vision"].values - clean["test"].sequences["vision"].values
    expected = 2 * clean["train"].sequences["vision"].values.std(dim=0)
    torch.testing.assert_close(added.std(dim=0), expected, rtol=0.05, atol=0)
    for split, modality in (("train", "vision"), ("valid", "vision"), ("test", "audio")):
        assert torch.equal(noisy[split].sequences[modality].values, clean[split].sequences[modality].values)


def test_what_a_model_does_not_see_is_not_impaired():
    overrides = {"dataset.missing": {"test": {"text": 0.5, "audio": 0.5}}, "dataset.noise": {"test": {"vision": 1.0}}}
    data = build.dataset(settings("text_only", **overrides))
    assert list(data["test"].present) == ["text"]
    assert torch.equal(data["test"].present["text"], build.dataset(settings(**overrides))["test"].present["text"])
    patterns = {"dataset.patterns": {"test": [["text", "audio"], ["audio", "vision"]]}}
    assert int(build.dataset(settings("text_only", **patterns))["test"].present["text"].sum()) == 2


@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_a_model_of_one_modality_has_no_part_of_another(modality):
    config = settings(f"{modality}_only")
    data = build.dataset(config)
    parts = build.parts(config, data["train"])
    assert tuple(parts.model.encoders) == data["test"].modalities == (modality,)
    assert parts.model.tasks == ("multimodal",) and parts.objective.alignment is None
    whole = build.dataset(settings())["train"]
    assert torch.equal(data["train"].sequences[modality].values, whole.sequences[modality].values)
    assert list(data["train"].batch(torch.arange(3)).sequences) == [modality]


def test_a_modality_that_the_data_lack_is_named():
    chosen = {"dataset.modalities": ["text", "audio"]}
    two = settings("multimodal_only", **chosen, **{"objective.alignment.pairs": {}})
    assert build.dataset(two)["train"].modalities == ("text", "audio")
    with pytest.raises(ValueError, match=r"only: got modality 'vision' for split 'train', expected one of \('text', "):
        build.dataset(two)["train"].only(["vision"])


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"kind": "tensor", "width": 7, "reduced": 3, "dropout": 0.1}, "TensorFusion"),
        ({"kind": "gated", "width": 7, "dropout": 0.1}, "GatedFusion"),
        ({"kind": "attention", "width": 6, "heads": 3, "dropout": 0.1}, "AttentionFusion"),
        ({"kind": "graph", "width": 7, "dropout": 0.1}, "GraphFusion"),
    ],
)
def test_the_settings_of_a_fusion_reach_it(train, chosen, expected):
    fusion = build.model(settings(**{"model.fusion": chosen}), train).fusion
    assert (type(fusion).__name__, fusion.width, fusion.dropout.p) == (expected, chosen["width"], 0.1)
    if expected == "TensorFusion":
        assert fusion.linear.in_features == 4**3
    if expected == "AttentionFusion":
        assert fusion.attention.num_heads == 3


def saved_encoder(folder, positions):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=60, max_position_embeddings=positions, **small)).save_pretrained(folder)
    planted_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("frozen", [False, True])
def test_text_longer_than_the_encoder_is_refused_before_training(tmp_path, frozen):
    longest = int(build.dataset(settings())["train"].lengths("text").max())
    encoder = saved_encoder(tmp_path, longest - 1)
    overrides = {"text.encoder": encoder, "text.frozen": frozen}
    with pytest.raises(
        ValueError,
        match=rf"dataset\.max_tokens: got 50, and \d+ of 12 texts of train have more than "
        rf"{longest - 1} tokens \(the first: id 'planted-train-\d+'\), .*set dataset\.max_tokens to",
    ):
        build.dataset(settings(**overrides))
    build.dataset(settings(**overrides, **{"dataset.max_tokens": longest - 1}))  # the remedy works
    build.dataset(settings(**overrides | {"text.encoder": saved_encoder(tmp_path, longest)}))


def test_a_pair_that_the_data_lack_is_refused(train):
    silent = replace(train, sequences={name: train.sequences[name] for name in ("audio", "vision")})
    with pytest.raises(ValueError, match=r"got a pair with \['text'\], expected pairs of .*\['audio', 'vision'\]"):
        build.parts(settings("align_text_audio"), silent)
