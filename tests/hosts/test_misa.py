"""Oracles: the losses and the wiring written out in numpy; samples one by one; absent modalities."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from msa_core import build
from msa_core.config import resolve
from msa_core.data import planted_features
from msa_core.hosts.misa import StackedLSTM, difference, discrepancy

SMALL = {
    "model": {"kind": "misa", "width": 8, "feed_forward": 16, "dropout": 0.0, "attention_dropout": 0.0},
    "training.precision": "float64",
}
MODALITIES = ("text", "audio", "vision")
CLOSE = {"rtol": 1e-9, "atol": 1e-12}  # float64


@pytest.fixture(scope="module")
def train():
    return planted_features(num_train=6, num_valid=2, num_test=2)["train"].to(torch.float64)


def model_of(train, variant="misa", **overrides):
    torch.manual_seed(0)
    return build.model(resolve("planted", variant, overrides=SMALL | overrides), train)


def linear(x, layer):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cmd(x, z):
    """As its authors write it, for features of [0, 1]."""
    total = np.linalg.norm(x.mean(0) - z.mean(0))
    for k in range(2, 6):
        total += np.linalg.norm(((x - x.mean(0)) ** k).mean(0) - ((z - z.mean(0)) ** k).mean(0))
    return total


def gram(x, z):
    """The difference loss."""
    x, z = x - x.mean(0), z - z.mean(0)
    x, z = (part / np.sqrt((part**2).sum(axis=1, keepdims=True) + 1e-8) for part in (x, z))
    return ((x.T @ z) ** 2).mean()


def parts(model, encodings, rows=slice(None)):
    """Shared and private parts of each modality, and the decoded sum."""
    shared = {m: sigmoid(linear(u[rows], model.fusion.shared)) for m, u in encodings.items()}
    private = {m: sigmoid(linear(u[rows], model.fusion.private[m])) for m, u in encodings.items()}
    decoded = {m: linear(shared[m] + private[m], model.decoders[m]) for m in encodings}
    return shared, private, decoded


def test_the_losses_of_a_batch(train):
    model = model_of(train)
    output = model(train.batch(torch.arange(6)))
    u = {modality: x.detach().numpy() for modality, x in output.encodings.items()}
    shared, private, decoded = parts(model, u)
    pairs = list(combinations(MODALITIES, 2))
    expected = {
        "similarity": 0.3 * np.mean([cmd(shared[a], shared[b]) for a, b in pairs]),
        "difference": 0.1
        * (sum(gram(shared[m], private[m]) for m in u) + sum(gram(private[a], private[b]) for a, b in pairs)),
        "reconstruction": np.mean([((decoded[m] - u[m]) ** 2).mean() for m in u]),
    }
    assert set(output.losses) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(output.losses[name].item(), value, **CLOSE)


def test_the_feature_is_the_transformers_output_of_both_parts(train):
    model = model_of(train).eval()
    output = model(train.batch(torch.arange(6)))
    shared, private, _ = parts(model, {m: x.detach().numpy() for m, x in output.encodings.items()})
    stacked = np.stack([private[m] for m in MODALITIES] + [shared[m] for m in MODALITIES], axis=1)
    seen = model.fusion.transformer(torch.from_numpy(stacked)).detach().numpy().reshape(6, 48)
    feature = np.maximum(linear(seen, model.fusion.linear), 0)
    np.testing.assert_allclose(output.features["multimodal"].detach(), feature, **CLOSE)
    head = model.heads["multimodal"][0]
    np.testing.assert_allclose(output.predictions["multimodal"].detach(), linear(feature, head)[:, 0], **CLOSE)
    assert {task: x.shape[1] for task, x in output.features.items()} == model.feature_widths
    assert {m: x.shape[1] for m, x in output.encodings.items()} == model.encoding_widths == dict.fromkeys(MODALITIES, 8)


def test_losses_by_hand():
    x, z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    assert difference(x, z) == 0  # z is constant: its centred rows are zero
    assert difference(x, x).item() == pytest.approx(1.0, rel=1e-6)  # X'X = [[2, 0], [0, 0]]: 4 / 4
    assert discrepancy(x, x) == 0
    wide = torch.tensor([[100.0], [-100.0]])  # sigmoid: 1 and 0, against 1/2: moments 2 and 4
    assert discrepancy(wide, torch.zeros(2, 1)).item() == pytest.approx(1 / 4 + 1 / 16, rel=1e-6)


def test_the_text_is_the_mean_state_and_frames_are_read_in_both_directions(train):
    model = model_of(train).eval()
    batch = train.batch(torch.tensor([2]))
    text = model.encoders["text"].encoder
    states = text.text.states(batch.sequences["text"], batch.lengths["text"])
    torch.testing.assert_close(text(batch.sequences["text"], batch.lengths["text"]), states.mean(dim=1))
    torch.manual_seed(0)
    stacked = StackedLSTM(3)
    frames = torch.randn(1, 4, 3)
    first, (hidden, _) = stacked.first(frames)
    _, (last, _) = stacked.second(stacked.norm(first))
    torch.testing.assert_close(stacked(frames, torch.tensor([4])), torch.cat([*hidden, *last], dim=1))


def test_a_sample_does_not_depend_on_its_company(train):
    model = model_of(train).eval()
    together = model(train.batch(torch.tensor([4, 1, 3])))
    for row, i in enumerate((4, 1, 3)):
        alone = model(train.batch(torch.tensor([i])))
        for name in ("predictions", "features", "encodings"):
            for part, values in getattr(alone, name).items():
                torch.testing.assert_close(getattr(together, name)[part][row], values[0])


@pytest.mark.parametrize("modality", MODALITIES)
def test_losses_are_those_of_the_samples_that_have_the_modality(train, modality):
    model = model_of(train).eval()
    dropped = train.dropping(modality, 0.5, seed=0)
    here = dropped.present[modality].numpy()
    output = model(dropped.batch(torch.arange(6)))
    torch.testing.assert_close(output.encodings[modality][~here], model.absent[modality].expand(3, -1))
    u = {m: x.detach().numpy() for m, x in output.encodings.items()}
    shared, private, decoded = parts(model, u)
    rows = {m: here if m == modality else np.full(6, True) for m in u}
    both = {(a, b): rows[a] & rows[b] for a, b in combinations(MODALITIES, 2)}
    similar = [cmd(shared[a][keep], shared[b][keep]) for (a, b), keep in both.items()]
    differ = [gram(shared[m][rows[m]], private[m][rows[m]]) for m in u]
    differ += [gram(private[a][keep], private[b][keep]) for (a, b), keep in both.items()]
    error = [((decoded[m] - u[m])[rows[m]] ** 2).mean() for m in u]
    np.testing.assert_allclose(output.losses["similarity"].item(), 0.3 * np.mean(similar), **CLOSE)
    np.testing.assert_allclose(output.losses["difference"].item(), 0.1 * np.sum(differ), **CLOSE)
    np.testing.assert_allclose(output.losses["reconstruction"].item(), np.mean(error), **CLOSE)


def test_a_batch_without_two_modalities_has_no_similarity(train):
    model = model_of(train)
    lonely = train.dropping("audio", 1.0, seed=0).dropping("vision", 1.0, seed=0)
    output = model(lonely.batch(torch.arange(6)))
    assert set(output.losses) == {"difference", "reconstruction"}
    none = model(lonely.dropping("text", 1.0, seed=0).batch(torch.arange(6)))
    assert set(none.losses) == set() and none.predictions["multimodal"].isfinite().all()


def test_it_is_a_host_of_alignment_and_label_generation(train):
    parts = build.parts(resolve("planted", "misa", overrides=SMALL), train)
    assert parts.model.tasks == ("multimodal", *MODALITIES)
    assert parts.objective.alignment.pairs == {("audio", "vision"): 100.0}
    assert not parts.objective.alignment.projections  # audio and vision have one width
    output = parts.model(train.batch(torch.arange(5)))  # an odd number: signs of errors do not cancel
    labels = {"multimodal": train.labels[:5], **{m: train.unimodal_labels[m][:5] for m in MODALITIES}}
    terms = parts.objective(output, labels)
    assert terms["alignment_audio_vision"] > 0
    assert {"similarity", "difference", "reconstruction"} <= set(terms)
    terms["total"].backward()
    untouched = {name for name, p in parts.model.named_parameters() if p.grad is None or not p.grad.any()}
    assert untouched == {f"absent.{modality}" for modality in MODALITIES}
    assert set(parts.model.parameter_groups()) == {"text"}


def test_every_setting_reaches_the_model(train):
    own = {"similarity": 0.2, "difference": 0.3, "reconstruction": 0.4, "dropout": 0.5, "attention_dropout": 0.6}
    model = model_of(train, **{f"model.{name}": value for name, value in (own | {"heads": 4}).items()})
    layer = model.fusion.transformer
    assert model.weights == {"similarity": 0.2, "difference": 0.3, "reconstruction": 0.4}
    assert (model.fusion.dropout.p, layer.dropout.p, layer.self_attn.num_heads) == (0.5, 0.6, 4)
    assert layer.linear1.out_features == 16


def test_alone_it_has_one_task_and_its_own_losses(train):
    model = model_of(train, "misa_multimodal_only")
    assert model.tasks == ("multimodal",)
    assert set(model(train.batch(torch.arange(6))).losses) == {"similarity", "difference", "reconstruction"}


def test_two_modalities_are_enough_and_one_is_refused(train):
    two = replace(train, sequences={name: train.sequences[name] for name in ("audio", "vision")})
    assert model_of(two)(two.batch(torch.arange(6))).predictions["multimodal"].shape == (6,)
    with pytest.raises(ValueError, match=r"MISA: got data with \['text'\] alone, expected at least two modalities"):
        model_of(train.only(["text"]))
