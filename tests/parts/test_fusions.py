"""Oracles: each formula in numpy, with the modules' own weights; cases worked by hand."""

import numpy as np
import pytest
import torch

from msa_core.parts.fusions import AttentionFusion, GatedFusion, GraphFusion, TensorFusion

WIDTHS = {"text": 5, "audio": 2, "vision": 3}
EACH = {
    "tensor": lambda widths, dropout=0.0: TensorFusion(widths, 6, 3, dropout),
    "gated": lambda widths, dropout=0.0: GatedFusion(widths, 6, dropout),
    "attention": lambda widths, dropout=0.0: AttentionFusion(widths, 6, 2, dropout),
    "graph": lambda widths, dropout=0.0: GraphFusion(widths, 6, dropout),
}


def drawn(samples=4):
    generator = torch.Generator().manual_seed(0)
    return {modality: torch.randn(samples, width, generator=generator) for modality, width in WIDTHS.items()}


def made(kind, **keywords):
    torch.manual_seed(0)
    return EACH[kind](WIDTHS, **keywords).double()


def linear(x, layer):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def agrees(fusion, expected):
    encodings = {modality: x.double() for modality, x in drawn().items()}
    np.testing.assert_allclose(fusion(encodings).detach(), expected, rtol=1e-12, atol=1e-12)  # float64
    assert np.ptp(expected) > 0.1


ENCODINGS = {modality: x.double().numpy() for modality, x in drawn().items()}


def test_tensor_fusion_is_a_linear_map_of_the_outer_product():
    fusion = made("tensor")
    reduced = ENCODINGS | {"text": linear(ENCODINGS["text"], fusion.maps["text"])}
    with_one = [np.concatenate([np.ones((4, 1)), reduced[modality]], axis=1) for modality in WIDTHS]
    product = np.einsum("bi,bj,bk->bijk", *with_one).reshape(4, 4 * 3 * 4)
    agrees(fusion, relu(linear(product, fusion.linear)))


def test_the_product_is_dropped_out_in_training_alone():
    """Of [1; 1] x 10,000 a product of ones: 0 or 1 / (1 - 0.25), a quarter of them 0."""
    fusion = TensorFusion({"audio": 9999}, 1, 9999, 0.25)
    seen = []
    fusion.linear = torch.nn.Identity()
    fusion.register_forward_hook(lambda *call: seen.append(call[-1]))
    ones = {"audio": torch.ones(4, 9999)}
    fusion.train()(ones), fusion.eval()(ones)
    assert seen[0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert (seen[0] == 0).float().mean() == pytest.approx(0.25, abs=0.01)  # five standard deviations
    assert torch.equal(seen[1], torch.ones(4, 10_000))


def test_tensor_fusion_by_hand():
    """[1; 2] and [1; 3]: the product 1, 3, 2, 6 with the weights 1, 10, 100, 1000."""
    fusion = TensorFusion({"audio": 1, "vision": 1}, 1, 32, 0.0)
    with torch.no_grad():
        fusion.linear.weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
        fusion.linear.bias.zero_()
    assert fusion({"audio": torch.tensor([[2.0]]), "vision": torch.tensor([[3.0]])}).item() == 6231.0


def test_gated_fusion_is_the_sum_of_gated_modalities():
    fusion = made("gated")
    gates = sigmoid(linear(np.concatenate([ENCODINGS[name] for name in WIDTHS], axis=1), fusion.gates))
    values = [np.tanh(linear(ENCODINGS[name], fusion.maps[name])) for name in WIDTHS]
    agrees(fusion, sum(gates[:, 6 * i : 6 * i + 6] * value for i, value in enumerate(values)))


def test_attention_fusion_attends_to_the_other_modalities():
    fusion = made("attention")
    own = np.stack([linear(ENCODINGS[name], fusion.maps[name]) for name in WIDTHS], axis=1)  # (4, 3, 6)
    weight, bias = (p.detach().numpy() for p in (fusion.attention.in_proj_weight, fusion.attention.in_proj_bias))
    query, key, value = (own @ w.T + b for w, b in zip(np.split(weight, 3), np.split(bias, 3), strict=True))
    attended = np.zeros_like(own)
    for b in range(4):
        for s in range(3):
            others = [other for other in range(3) if other != s]
            for part in (slice(0, 3), slice(3, 6)):
                scores = np.exp(key[b, others][:, part] @ query[b, s, part] / np.sqrt(3))
                attended[b, s, part] = scores / scores.sum() @ value[b, others][:, part]
    attended = linear(attended, fusion.attention.out_proj)
    agrees(fusion, relu(linear((own + attended).reshape(4, 18), fusion.linear)))


def test_graph_fusion_has_a_vertex_for_each_set_of_modalities():
    fusion = made("graph")
    text, audio, vision = (relu(linear(ENCODINGS[name], fusion.maps[name])) for name in WIDTHS)
    efficacies = sigmoid(linear(np.concatenate([text, audio, vision], axis=1), fusion.efficacies))
    assert efficacies.shape[1] == 3 * 2 + 6 + 7  # of three pairs, of the triple, of F_m

    def vertex(name, first, *inputs):
        weighted = [efficacies[:, first + i, None] * value for i, value in enumerate(inputs)]
        return relu(linear(np.concatenate(weighted, axis=1), fusion.vertices[name]))

    pairs = [
        vertex("text_audio", 0, text, audio),
        vertex("text_vision", 2, text, vision),
        vertex("audio_vision", 4, audio, vision),
    ]
    triple = vertex("text_audio_vision", 6, text, audio, vision, *pairs)
    agrees(fusion, vertex("all vertices", 12, text, audio, vision, *pairs, triple))


@pytest.mark.parametrize("kind", EACH)
def test_a_gradient_reaches_every_parameter_and_dropout_acts_in_training_alone(kind):
    fusion, encodings = made(kind, dropout=0.5), {modality: x.double() for modality, x in drawn(64).items()}
    out = fusion(encodings)
    assert out.shape == (64, fusion.width)
    out.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in fusion.parameters())
    assert not torch.equal(fusion(encodings), fusion(encodings))
    fusion.eval()
    assert torch.equal(fusion(encodings), fusion(encodings))


@pytest.mark.parametrize("kind", EACH)
def test_two_modalities_are_enough_and_their_order_is_that_of_the_widths(kind):
    fusion = EACH[kind]({"audio": 2, "vision": 3})
    x = drawn()
    assert torch.equal(
        fusion({"vision": x["vision"], "audio": x["audio"]}), fusion({"audio": x["audio"], "vision": x["vision"]})
    )


def test_one_modality_has_none_to_attend_to():
    with pytest.raises(ValueError, match=r"got encodings of \['text'\] alone, expected at least two"):
        EACH["attention"]({"text": 5})
