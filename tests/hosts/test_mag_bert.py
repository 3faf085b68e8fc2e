"""Oracles: the gate written out in numpy; BERT's own layers called one after another; absent modalities."""

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.encoders import FrozenText
from msa_core.hosts.mag_bert import Gate, MAGBert

SMALL = {"model": {"kind": "mag_bert", "frames": {"hidden": 4, "width": 4}}, "training.precision": "float64"}
MODALITIES = ("text", "audio", "vision")
CLOSE = {"rtol": 1e-9, "atol": 1e-12}  # float64


@pytest.fixture(scope="module")
def train():
    return planted_features(num_train=6, num_valid=2, num_test=2)["train"].to(torch.float64)


def model_of(train, variant="mag_bert", **overrides):
    torch.manual_seed(0)
    return build.model(resolve("planted", variant, overrides=SMALL | overrides), train)


def linear(x, layer):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def gated(token, vectors, gate):
    """One token, as the paper writes it."""
    shift = 0
    for modality, vector in vectors.items():
        strength = np.maximum(linear(np.concatenate([vector, token]), gate.gates[modality]), 0)
        shift = shift + strength * linear(vector, gate.maps[modality])
    alpha = min(gate.shift * np.linalg.norm(token) / np.linalg.norm(shift), 1)
    moved = token + alpha * shift
    scaled = (moved - moved.mean()) / np.sqrt(moved.var() + gate.norm.eps)
    return alpha, scaled * gate.norm.weight.detach().numpy() + gate.norm.bias.detach().numpy()


def test_each_token_is_shifted_by_the_gate():
    torch.manual_seed(0)
    gate = Gate(5, {"audio": 2, "vision": 3}, shift=0.6, dropout=0.5).double().eval()
    tokens = torch.randn(2, 4, 5, dtype=torch.float64)
    vectors = {"audio": torch.randn(2, 2).double(), "vision": torch.randn(2, 3).double()}
    ours, alphas = gate(tokens, vectors).detach().numpy(), set()
    for b in range(2):
        for t in range(4):
            alpha, expected = gated(tokens[b, t].numpy(), {name: x[b].numpy() for name, x in vectors.items()}, gate)
            np.testing.assert_allclose(ours[b, t], expected, **CLOSE)
            alphas.add(alpha)
    assert 1 in alphas and min(alphas) < 1  # the bound holds for some and not for others


def test_a_shift_of_zero_leaves_the_token_and_has_a_gradient():
    gate = Gate(3, {"audio": 2}, shift=1.0, dropout=0.0).double()
    for parameter in (*gate.maps.parameters(), *gate.gates.parameters()):
        torch.nn.init.zeros_(parameter)
    tokens = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    out = gate(tokens, {"audio": torch.ones(1, 2, dtype=torch.float64)})
    torch.testing.assert_close(out, torch.nn.functional.layer_norm(tokens, (3,)))
    out.square().sum().backward()
    assert tokens.grad.isfinite().all()


def test_the_gate_is_between_the_embeddings_and_the_layers(train):
    model = model_of(train).eval()
    batch = train.batch(torch.tensor([3]))  # alone: no padding
    output = model(batch)
    bert = model.encoders["text"].text.transformer
    embedded = bert.embeddings(batch.sequences["text"])
    torch.testing.assert_close(output.encodings["text"], embedded.mean(dim=1))
    states = model.gate(embedded, output.encodings)
    for layer in bert.encoder.layer:
        states = layer(states)
        states = states[0] if isinstance(states, tuple) else states
    feature = np.tanh(linear(states[:, 0].detach().numpy(), model.fusion.linear))
    np.testing.assert_allclose(output.features["multimodal"].detach(), feature, **CLOSE)
    np.testing.assert_allclose(
        output.predictions["multimodal"].detach(), linear(feature, model.heads["multimodal"][1])[:, 0], **CLOSE
    )
    assert {task: x.shape[1] for task, x in output.features.items()} == model.feature_widths
    assert model.encoding_widths == {"text": 64, "audio": 4, "vision": 4}
    assert not bert.embeddings._forward_hooks  # none is left


def test_a_sample_does_not_depend_on_its_company(train):
    model = model_of(train).eval()
    together = model(train.batch(torch.tensor([4, 1, 3])))
    for row, i in enumerate((4, 1, 3)):
        alone = model(train.batch(torch.tensor([i])))
        for name in ("predictions", "features", "encodings"):
            for part, values in getattr(alone, name).items():
                torch.testing.assert_close(getattr(together, name)[part][row], values[0])


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_absent_modality_is_a_learned_vector_and_a_text_one_padding_token(train, modality):
    model = model_of(train).eval()
    dropped = train.dropping(modality, 0.5, seed=0)
    output = model(dropped.batch(torch.arange(6)))
    gone = (~dropped.present[modality]).nonzero()[:, 0]
    torch.testing.assert_close(output.encodings[modality][gone], model.absent[modality].expand(3, -1))
    none = train.dropping(modality, 1.0, seed=0)
    alone = model(none.batch(gone))
    torch.testing.assert_close(output.predictions["multimodal"][gone], alone.predictions["multimodal"])
    assert alone.predictions["multimodal"].unique().numel() == 3  # the other modalities are still seen


def test_it_is_a_host_of_alignment_and_label_generation(train):
    parts = build.parts(resolve("planted", "mag_bert", overrides=SMALL), train)
    assert parts.model.tasks == ("multimodal", *MODALITIES)
    assert parts.objective.alignment.pairs == {("audio", "vision"): 100.0}
    assert not parts.objective.alignment.projections and not parts.labels.fixed
    output = parts.model(train.batch(torch.arange(5)))  # an odd number: signs of errors do not cancel
    labels = {"multimodal": train.labels[:5], **{m: train.unimodal_labels[m][:5] for m in MODALITIES}}
    terms = parts.objective(output, labels)
    assert terms["alignment_audio_vision"] > 0
    terms["total"].backward()
    untouched = {name for name, p in parts.model.named_parameters() if p.grad is None or not p.grad.any()}
    assert untouched == {f"absent.{modality}" for modality in MODALITIES}
    assert set(parts.model.parameter_groups()) == set(MODALITIES)


def test_every_setting_reaches_the_model(train):
    own = {"shift": 0.2, "head_dropout": 0.3, "dropout": 0.4, "frames.dropout": 0.5}
    model = model_of(train, **{f"model.{name}": value for name, value in own.items()})
    assert (model.gate.shift, model.heads["multimodal"][0].p, model.gate.dropout.p) == (0.2, 0.3, 0.4)
    assert model.encoders["vision"].dropout.p == 0.5 and model.encoders["vision"].lstm.hidden_size == 4


def test_alone_it_has_one_task(train):
    assert model_of(train, "mag_bert_multimodal_only").tasks == ("multimodal",)


def test_what_has_no_room_for_a_gate_is_refused(train):
    with pytest.raises(ValueError, match=r"MAGBert: got no text, expected a text encoder .* choose data with text"):
        model_of(train.only(["audio", "vision"]))
    with pytest.raises(ValueError, match=r"got data with \['text'\] alone, expected also audio or vision"):
        model_of(train.only(["text"]))
    with pytest.raises(ValueError, match=r"got FrozenText, .* set text.frozen false"):
        MAGBert(FrozenText(4), {"audio": 2}, None, {}, {})
