"""Oracle: the text encoder itself, one text at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from msa_core import frozen, run, training
from msa_core.config import resolve
from msa_core.data import Ragged, planted_features
from msa_core.encoders import load_text_encoder, load_tokenizer
from msa_core.frozen import freeze_text


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a small encoder, standing in for a pretrained one."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    load_text_encoder("tiny").transformer.save_pretrained(folder)
    load_tokenizer("tiny").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def data():
    return planted_features(30, 5, 70)


def test_states_are_those_of_the_encoder_in_the_order_of_the_split(encoder, data):
    states = freeze_text(data, encoder)
    one_by_one = load_text_encoder(encoder).eval().double()
    for split, features in data.items():
        assert states[split].modalities == features.modalities
        for i in (0, 3, len(features) - 1):
            tokens = features.sequences["text"][i][None]
            with torch.no_grad():
                expected = one_by_one(tokens, torch.tensor([tokens.shape[1]]))
            torch.testing.assert_close(states[split].sequences["text"][i], expected)


def test_states_are_encoded_once_for_one_encoder_and_one_text(encoder, data, tmp_path, monkeypatch):
    cache = tmp_path / "features.pkl.cache"
    cache.touch()
    first = freeze_text(data, encoder, cache)
    (file,) = set(tmp_path.iterdir()) - {cache}
    assert file.name.startswith("features.pkl.cache.text-")

    other = replace(data["test"], sequences=data["test"].sequences | {"text": data["test"].sequences["text"]})
    other.sequences["text"] = type(other.sequences["text"])(
        other.sequences["text"].values.flip(0), other.sequences["text"].offsets
    )
    freeze_text({**data, "test": other}, encoder, cache)
    assert len(list(tmp_path.iterdir())) == 3  # another text

    whole = file.read_bytes()
    file.write_bytes(whole[:100])  # broken off
    freeze_text(data, encoder, cache)
    assert file.read_bytes() == whole
    save_file({split: torch.zeros(3, 64, dtype=torch.float64) for split in data}, file)  # of another text
    freeze_text(data, encoder, cache)
    assert file.read_bytes() == whole

    monkeypatch.setattr(frozen, "_encode", lambda *_: pytest.fail("encoded again"))
    again = freeze_text(data, encoder, cache)
    for split in data:
        assert torch.equal(again[split].sequences["text"].values, first[split].sequences["text"].values)


def test_other_weights_have_another_key(encoder, data, tmp_path):
    (tmp_path / "c").touch()
    freeze_text(data, encoder, tmp_path / "c")
    changed = load_text_encoder(encoder).transformer
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    changed.save_pretrained(tmp_path / "changed")
    load_tokenizer("tiny").save_pretrained(tmp_path / "changed")
    freeze_text(data, str(tmp_path / "changed"), tmp_path / "c")
    assert len(list(tmp_path.glob("c.text-*"))) == 2


def test_what_cannot_be_frozen_is_refused(data):
    with pytest.raises(ValueError, match=r"untrained, expected a pretrained one; set text\.encoder"):
        freeze_text(data, "tiny")
    silent = {
        split: replace(part, sequences={k: v for k, v in part.sequences.items() if k != "text"})
        for split, part in data.items()
    }
    with pytest.raises(ValueError, match=r"for data without text"):
        freeze_text(silent, "minilm")


def test_a_run_trains_all_but_the_text_encoder(encoder, tmp_path):
    changes = {
        "dataset.planted": {"num_train": 40, "num_valid": 20, "num_test": 20},
        "training.max_epochs": 2,
        "text.encoder": encoder,
        "text.frozen": True,
        "training.average": False,
    }
    result = run.train(resolve("planted", overrides=changes), tmp_path / "seed-1111")
    assert {"text", "audio", "vision", "multimodal"} == set(result.metrics["test"])
    assert "learning_rate_text" not in result.history
    _, model, again = run.load(tmp_path / "seed-1111")
    predicted = training.predict(model, again["test"])["multimodal"]
    np.testing.assert_allclose(
        result.predictions.query("split == 'test'")["multimodal"], predicted, rtol=1e-5, atol=1e-6
    )


def test_every_tokens_state_is_kept_where_the_model_reads_it(encoder, data, tmp_path):
    (tmp_path / "c").touch()
    whole = freeze_text(data, encoder, tmp_path / "c", every_token=True)
    first = freeze_text(data, encoder, tmp_path / "c")
    assert len(list(tmp_path.glob("c.text-*"))) == 2
    one_by_one = load_text_encoder(encoder).eval().double()
    for split, features in data.items():
        torch.testing.assert_close(whole[split].lengths("text"), features.lengths("text"))
        for i in (0, len(features) - 1):
            tokens = features.sequences["text"][i][None]
            with torch.no_grad():
                expected = one_by_one.states(tokens, torch.tensor([tokens.shape[1]]))[0]
            torch.testing.assert_close(whole[split].sequences["text"][i], expected)
            torch.testing.assert_close(first[split].sequences["text"][i], expected[:1])


def test_a_sample_without_text_has_no_states(encoder, data):
    words = [data["valid"].sequences["text"][i][: 0 if i in (1, 3) else None] for i in range(5)]
    silent = {**data, "valid": replace(data["valid"], sequences={"text": Ragged.of(words)})}
    for every_token in (False, True):
        states = freeze_text(silent, encoder, every_token=every_token)["valid"]
        spoken = freeze_text(data, encoder, every_token=every_token)["valid"]
        assert states.present["text"].tolist() == [True, False, True, False, True]
        for i in (0, 2, 4):
            torch.testing.assert_close(states.sequences["text"][i], spoken.sequences["text"][i])


def test_a_split_without_any_text_has_no_states(encoder, data):
    silent = {**data, "valid": replace(data["valid"], sequences={"text": Ragged.of([torch.tensor([]).long()] * 5)})}
    assert not freeze_text(silent, encoder)["valid"].present["text"].any()
