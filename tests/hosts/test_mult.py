"""Oracles: one layer and the wiring written out in numpy; samples one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.encoders import load_text_encoder, load_tokenizer
from msa_core.hosts.mult import CrossModalLayer, CrossModalTransformer, positions

SMALL = {
    "model": {"kind": "mult", "width": 6, "heads": 2, "layers": 1, "kernel": 3},
    "training.precision": "float32",
}


@pytest.fixture(scope="module")
def train():
    return planted_features(num_train=6, num_valid=2, num_test=2)["train"]


def model_of(train, variant="mult", **overrides):
    torch.manual_seed(0)
    return build.model(resolve("planted", variant, overrides=SMALL | overrides), train)


def norm(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def linear(x, layer):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def attended(x, source, attention, length):
    """Scaled dot products of each head, softmax over the source's real steps (Vaswani et al. 2017)."""
    weight, bias = attention.in_proj_weight.detach().numpy(), attention.in_proj_bias.detach().numpy()
    query, key, value = (
        part @ w.T + b for part, w, b in zip((x, source, source), np.split(weight, 3), np.split(bias, 3), strict=True)
    )
    size = x.shape[1] // attention.num_heads
    heads = []
    for start in range(0, x.shape[1], size):
        part = slice(start, start + size)
        scores = np.exp(query[:, part] @ key[:length, part].T / np.sqrt(size))
        heads.append(scores / scores.sum(1, keepdims=True) @ value[:length, part])
    return linear(np.concatenate(heads, axis=1), attention.out_proj)


def test_a_layer_is_attention_and_a_feed_forward_layer():
    torch.manual_seed(0)
    layer = CrossModalLayer(width=6, heads=2, dropout=0.0)
    x, source = torch.randn(1, 4, 6), torch.randn(1, 5, 6)
    ours = layer(x, source, torch.arange(5)[None] >= 3)[0].detach()
    own, other = x[0].numpy(), source[0].numpy()
    expected = own + attended(norm(own, layer.norm), norm(other, layer.norm), layer.attention, 3)
    first, _, last = layer.feed_forward
    expected = expected + linear(np.maximum(linear(norm(expected, layer.norm_forward), first), 0), last)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)  # float32


def test_positions_by_hand():
    table = positions(torch.zeros(2, 3, 4))
    expected = [[np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)] for t in range(3)]
    np.testing.assert_allclose(table, expected, rtol=1e-6, atol=1e-7)


def test_every_layer_attends_to_the_source_as_it_came_in():
    torch.manual_seed(0)
    transformer = CrossModalTransformer(4, 2, 2, 0.0, 0.0)
    x, source, padding = torch.randn(1, 3, 4), torch.randn(1, 2, 4), torch.zeros(1, 2, dtype=torch.bool)
    scaled, keys = 2 * x + positions(x), 2 * source + positions(source)  # times the square root of the width
    first, second = transformer.layers
    expected = transformer.norm(second(first(scaled, keys, padding), keys, padding))
    torch.testing.assert_close(transformer(x, padding, source), expected)


def test_a_sample_does_not_depend_on_its_company(train):
    model = model_of(train).eval()
    together = model(train.batch(torch.tensor([4, 1, 3])))
    for row, i in enumerate((4, 1, 3)):
        alone = model(train.batch(torch.tensor([i])))
        for name in ("predictions", "features", "encodings"):
            for part, values in getattr(alone, name).items():
                torch.testing.assert_close(getattr(together, name)[part][row], values[0], rtol=1e-4, atol=1e-5)


def test_the_multimodal_feature_is_a_residual_block_of_the_encodings(train):
    model = model_of(train).eval()
    output = model(train.batch(torch.arange(6)))
    joined = torch.cat([output.encodings[modality] for modality in ("text", "audio", "vision")], dim=1)
    first, _, _, last = model.residual
    feature = joined.detach().numpy() + linear(np.maximum(linear(joined.detach().numpy(), first), 0), last)
    np.testing.assert_allclose(output.features["multimodal"].detach(), feature, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        output.predictions["multimodal"].detach(), linear(feature, model.out)[:, 0], rtol=1e-4, atol=1e-5
    )
    assert (
        {name: x.shape[1] for name, x in output.encodings.items()}
        == model.encoding_widths
        == dict.fromkeys(("text", "audio", "vision"), 12)
    )
    assert {task: x.shape[1] for task, x in output.features.items()} == model.feature_widths


def test_every_modality_reads_every_other(train):
    model = model_of(train).eval()
    batch = train.batch(torch.arange(6))
    before = model(batch).encodings
    changed = replace(batch, sequences=batch.sequences | {"vision": batch.sequences["vision"] + 1})
    after = model(changed).encodings
    assert all(not torch.allclose(after[modality], before[modality]) for modality in before)


@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_an_absent_modality_is_one_learned_step(train, modality):
    model = model_of(train).eval()
    dropped = train.dropping(modality, 0.5, seed=0)
    output = model(dropped.batch(torch.arange(6)))
    assert all(x.isfinite().all() for x in output.encodings.values())
    gone = (~dropped.present[modality]).nonzero()[:, 0]
    none = train.dropping(modality, 1.0, seed=0)
    alone = model(none.batch(gone))
    torch.testing.assert_close(output.predictions["multimodal"][gone], alone.predictions["multimodal"])
    with torch.no_grad():
        model.absent[modality].add_(torch.arange(6.0))
    changed = model(dropped.batch(torch.arange(6))).predictions["multimodal"]
    moved = (changed - output.predictions["multimodal"]).abs() > 1e-6
    assert torch.equal(moved, ~dropped.present[modality])


def test_it_is_a_host_of_alignment_and_label_generation(train):
    parts = build.parts(resolve("planted", "mult", overrides=SMALL), train)
    assert parts.model.tasks == ("multimodal", "text", "audio", "vision")
    assert parts.objective.alignment.pairs == {("audio", "vision"): 100.0}
    assert not parts.labels.fixed
    output = parts.model(train.batch(torch.arange(6)))
    labels = {task: parts.labels.labels(task, torch.arange(6)) for task in parts.model.tasks}
    terms = parts.objective(output, labels)
    assert terms["alignment_audio_vision"] > 0
    terms["total"].backward()
    assert parts.model.convolutions["audio"].weight.grad.abs().sum() > 0


def test_alone_it_has_one_task(train):
    assert model_of(train, "mult_multimodal_only").tasks == ("multimodal",)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_one_modality_is_refused(train):
    with pytest.raises(ValueError, match=r"got data with \['audio'\] alone, expected at least two"):
        model_of(replace(train, sequences={"audio": train.sequences["audio"]}))


def test_frozen_text_gives_it_every_tokens_state(tmp_path):
    torch.manual_seed(0)
    load_text_encoder("tiny").transformer.save_pretrained(tmp_path)
    load_tokenizer("tiny").save_pretrained(tmp_path)
    planted = {"num_train": 6, "num_valid": 2, "num_test": 2}
    overrides = SMALL | {"text": {"encoder": str(tmp_path), "frozen": True}, "dataset.planted": planted}
    config = resolve("planted", "mult", overrides=overrides)
    train = build.dataset(config)["train"]
    fine_tuned = build.dataset(resolve("planted", overrides={"dataset.planted": planted}))["train"]
    assert torch.equal(train.lengths("text"), fine_tuned.lengths("text"))
    model = build.model(config, train)
    assert model(train.batch(torch.arange(6))).predictions["multimodal"].shape == (6,)
    assert not list(model.text.parameters())
