from dataclasses import replace

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import batches, planted_features
from msa_core.model import Head, MSAModel, Projection


@pytest.fixture(scope="module")
def train():
    return planted_features(num_train=6, num_valid=2, num_test=2)["train"]


def model_of(train, **overrides):
    return build.model(resolve("planted", overrides={"training.precision": "float32"} | overrides), train)


def without(features, *modalities):
    return replace(features, sequences={m: s for m, s in features.sequences.items() if m not in modalities})


def test_outputs_are_named_and_shaped(train):
    model = model_of(train).eval()
    output = model(next(batches(train, 6)))
    tasks = ("multimodal", "text", "audio", "vision")
    assert model.tasks == tuple(output.predictions) == tuple(output.features) == tasks
    assert {task: tuple(value.shape) for task, value in output.predictions.items()} == dict.fromkeys(tasks, (6,))
    assert {task: value.shape[1] for task, value in output.features.items()} == model.feature_widths
    assert {modality: value.shape[1] for modality, value in output.encodings.items()} == model.encoding_widths
    assert model.encoding_widths["audio"] == model.encoding_widths["vision"]  # so that the paper's pair can be aligned


def test_heads_follow_the_formula(train):
    model = model_of(train).eval()
    output = model(next(batches(train, 6)))
    projection, head = model.projections["audio"], model.heads["audio"]
    feature = (output.encodings["audio"] @ projection.linear.weight.T + projection.linear.bias).clamp(min=0)
    hidden = (feature @ head.hidden.weight.T + head.hidden.bias).clamp(min=0)
    torch.testing.assert_close(output.features["audio"], feature)
    torch.testing.assert_close(output.predictions["audio"], hidden @ head.out.weight[0] + head.out.bias)


def test_parameters_are_shared_hard(train):
    """The text task alone moves the text encoder, which the multimodal task uses, and no other encoder."""
    model = model_of(train)
    model(next(batches(train, 6))).predictions["text"].sum().backward()
    touched = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and name[:3] == "enc"}
    assert touched == {"text"}


@pytest.mark.parametrize("absent", [("text",), ("audio",), ("vision",), ("audio", "vision")])
def test_a_missing_modality_has_no_parts(train, absent):
    encoder = "no such model" if "text" in absent else "tiny"
    model = model_of(without(train, *absent), **{"text.encoder": encoder})
    present = tuple(m for m in ("text", "audio", "vision") if m not in absent)
    assert tuple(model.encoders) == tuple(model.projections) == present
    assert model.tasks == ("multimodal", *present)
    assert model(next(batches(without(train, *absent), 6))).predictions["multimodal"].shape == (6,)


def test_without_unimodal_tasks_there_is_one_head(train):
    model = model_of(train, **{"objective.labels": {"kind": "none"}})
    assert model.tasks == ("multimodal",)
    assert len(model.projections) == 0


def test_order_and_company_in_a_batch_do_not_matter(train):
    model = model_of(train).eval()
    together = model(train.batch(torch.tensor([4, 1, 3]))).predictions["multimodal"]
    alone = torch.cat([model(train.batch(torch.tensor([i]))).predictions["multimodal"] for i in (4, 1, 3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # float32, other shapes of matrix product


def test_heads_must_fit_the_projections():
    with pytest.raises(ValueError, match=r"got heads for \['multimodal'\], expected .* each of \['text'\]"):
        MSAModel({}, torch.nn.Identity(), {"text": Projection(2, 2, 0.0)}, {"multimodal": Head(2)})


def test_a_learned_vector_stands_in_for_an_absent_modality(train):
    model = model_of(train).eval()
    with torch.no_grad():
        model.absent["audio"].copy_(torch.arange(32.0))
    dropped = replace(train, dropped={"audio": torch.tensor([False, True, False, False, True, True])})
    output, whole = (model(features.batch(torch.arange(6))) for features in (dropped, train))
    gone = ~dropped.present["audio"]
    assert torch.equal(output.encodings["audio"][gone], torch.arange(32.0).expand(3, -1))
    torch.testing.assert_close(output.encodings["audio"][~gone], whole.encodings["audio"][~gone])
    torch.testing.assert_close(output.encodings["text"], whole.encodings["text"])
    torch.testing.assert_close(output.predictions["multimodal"][~gone], whole.predictions["multimodal"][~gone])
    assert not torch.allclose(output.predictions["multimodal"][gone], whole.predictions["multimodal"][gone])
    assert torch.equal(output.present["audio"], ~gone) and set(output.present) == {"audio"}


@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_a_batch_in_which_no_sample_has_the_modality(train, modality):
    model = model_of(train)
    none = train.dropping(modality, 1.0, seed=0)
    output = model(none.batch(torch.arange(6)))
    assert torch.equal(output.encodings[modality], model.absent[modality].expand(6, -1))
    output.predictions["multimodal"].sum().backward()
    assert model.absent[modality].grad.abs().sum() > 0
    assert all(p.grad is None for p in model.encoders[modality].parameters())


def test_where_nothing_is_absent_the_learned_vectors_have_no_gradient(train):
    model = model_of(train)
    model(train.batch(torch.arange(6))).predictions["multimodal"].sum().backward()
    assert all(parameter.grad is None for parameter in model.absent.values())


def test_the_groups_are_the_encoders(train):
    groups = model_of(train).parameter_groups()
    assert set(groups) == {"text", "audio", "vision"}
    model = model_of(train)
    for modality, parameters in model.parameter_groups().items():
        assert list(map(id, parameters)) == list(map(id, model.encoders[modality].parameters()))


def test_a_bounded_head_gives_tfns_range():
    """6 sigmoid(x) - 3, as thuiar/MMSA writes it for labels within 3."""
    torch.manual_seed(0)
    head, bounded = Head(4), Head(4, bound=3)
    bounded.load_state_dict(head.state_dict())
    feature = 20 * torch.randn(50, 4)
    np.testing.assert_allclose(bounded(feature).detach(), 6 / (1 + np.exp(-head(feature).detach())) - 3, atol=1e-5)
    assert head(feature).abs().max() > 3
