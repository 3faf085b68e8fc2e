"""Oracles: words looked up in the vocabulary by hand."""

import logging
import os
import re
import stat

import pytest
import torch
from feature_files import assert_same, assert_sequences, make_raw, refusal, token_ids
from tokenizers.normalizers import Replace

from msa_core import SPLITS
from msa_core.data import load_features, planted_tokenizer
from msa_core.vocabulary import VOCABULARY


def test_no_tokenizer_no_text(save):
    raw = make_raw()
    for split, features in load_features(save(raw), tokenizer=None).items():
        assert features.modalities == ("audio", "vision")
        assert features.raw_text == raw[split]["raw_text"]


def test_raw_text_goes_before_text_bert(save):
    raw = make_raw()
    for fields in raw.values():
        fields["text_bert"][:, 0] = 10**6
    for split, features in load_features(save(raw), planted_tokenizer()).items():
        assert_sequences(features.sequences["text"], [token_ids(text) for text in raw[split]["raw_text"]])


def test_text_bert_serves_where_raw_text_is_missing(save):
    texts = {split: fields["raw_text"] for split, fields in make_raw().items()}
    for split, features in load_features(save(make_raw(("raw_text",))), planted_tokenizer()).items():
        assert features.raw_text is None
        assert features.sequences["text"].values.dtype == torch.int64
        assert_sequences(features.sequences["text"], [token_ids(text) for text in texts[split]])


@pytest.mark.parametrize("drop", [(), ("raw_text",)])
@pytest.mark.parametrize("max_tokens", [3, 4, 50])
def test_max_tokens(save, drop, max_tokens):
    texts = {split: [token_ids(text) for text in fields["raw_text"]] for split, fields in make_raw().items()}
    loaded = load_features(save(make_raw(drop)), planted_tokenizer(), max_tokens=max_tokens)
    for split, features in loaded.items():
        tokens = features.sequences["text"]
        assert tokens.lengths.tolist() == [min(len(ids), max_tokens) for ids in texts[split]]
        for i, ids in enumerate(texts[split]):
            assert tokens[i][: max_tokens - 1].tolist() == ids[: max_tokens - 1]
            if not drop:
                assert tokens[i][-1] == VOCABULARY.index("[SEP]")  # the special tokens are among those kept


@pytest.mark.parametrize("max_tokens", [3, 50])
def test_max_tokens_is_no_part_of_the_cache(save, max_tokens):
    path = save(make_raw())
    load_features(path, planted_tokenizer(), max_tokens=53 - max_tokens)
    features = load_features(path, planted_tokenizer(), max_tokens=max_tokens)["train"]
    assert features.lengths("text").tolist() == [min(len(token_ids(text)), max_tokens) for text in features.raw_text]


@pytest.mark.parametrize("token", [len(VOCABULARY), 30000, -1])
def test_token_ids_outside_the_vocabulary_are_refused(save, token):
    raw = make_raw(("raw_text",))
    raw["valid"]["text_bert"][1, 0, 1] = token
    path = save(raw)
    assert load_features(path)["valid"].modalities == ("audio", "vision")  # nobody reads the ids
    pattern = re.escape(str(path)) + f".*'text_bert'.*: got token id {token} .*, expected .*{len(VOCABULARY)}.*; .+"
    with pytest.raises(ValueError, match=pattern):
        load_features(path, planted_tokenizer())


def test_the_refusal_of_a_token_id_names_split_and_sample(save):
    raw = make_raw(("raw_text",))
    raw["valid"]["text_bert"][1, 0, 1] = 30000
    path = save(raw)
    where = "split 'valid', field 'text_bert', id 'valid$_$1'"
    with pytest.raises(ValueError, match=refusal(path, where, "token id 30000")):
        load_features(path, planted_tokenizer())


def test_text_alone_needs_a_tokenizer(save):
    path = save(make_raw(("audio", "vision", "text_bert")))
    with pytest.raises(ValueError, match=re.escape(str(path)) + ": got text as the only modality.*; pass a tokenizer"):
        load_features(path)


def test_the_refusal_of_token_ids_counts_the_samples(save):
    raw = make_raw(("raw_text",))
    raw["test"]["text_bert"][[0, 2], 0, :2] = 30000
    count = re.escape("got token id 30000 (2 of 3 samples wrong: 'test$_$0', 'test$_$2'), expected")
    with pytest.raises(
        ValueError, match=f"{count}.*; .*set text.encoder to the encoder whose tokenizer made text_bert"
    ):
        load_features(save(raw), planted_tokenizer())


@pytest.mark.parametrize("drop", [("raw_text",), ("text_bert",)])
@pytest.mark.parametrize(("unknown", "warned"), [(0, False), (1, False), (2, True), (9, True)])
def test_unknown_words_are_warned_of_with_their_share(save, caplog, drop, unknown, warned):
    raw = make_raw(("audio", "audio_lengths", *drop))
    for fields in raw.values():
        words = ["good"] * 10 * len(fields["id"])
        words[: unknown * len(fields["id"])] = ["elsewhere"] * unknown * len(fields["id"])
        texts = [" ".join(words[i :: len(fields["id"])]) for i in range(len(fields["id"]))]
        ids = [[VOCABULARY.index(word) if word in VOCABULARY else 1 for word in text.split()] for text in texts]
        tokens = torch.tensor([[2, *own, 3] for own in ids])
        field = torch.stack([tokens, torch.ones_like(tokens), torch.zeros_like(tokens)], dim=1).numpy()
        fields |= {"raw_text": texts, "text_bert": field}
        del fields[drop[0]]
    path = save(raw)
    for _ in ("from the file", "from the cache"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="msa_core"):
            load_features(path, planted_tokenizer())
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == (3 if warned else 0)
        if warned:
            kept = "raw_text" if drop == ("text_bert",) else "text_bert"
            count = f"{4 * unknown} of 40 tokens ({10 * unknown}%) are unknown to the text encoder ([UNK])"
            assert lines[0].startswith(f"{path}: split 'train', field '{kept}': {count}; use an encoder of the text's")


@pytest.mark.parametrize(
    "drop", [(), ("audio", "audio_lengths"), ("audio", "audio_lengths", "vision", "vision_lengths")]
)
def test_precomputed_states_as_the_only_text_are_refused_by_name(save, drop):
    raw = make_raw((*drop, "raw_text", "text_bert"))
    for fields in raw.values():
        fields["text"] = torch.ones(len(fields["id"]), 6, 30).numpy()
    path = save(raw)
    expected = "field 'text'" if len(drop) < 4 else "the field 'text' (precomputed states) is not read"
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(expected) + ".*raw_text.*text_bert"):
        load_features(path, planted_tokenizer())
    if len(drop) < 4:  # nobody asked for text
        assert "text" not in load_features(path)["train"].modalities


def test_states_beside_a_text_are_not_looked_at(save):
    raw = make_raw()
    for fields in raw.values():
        fields["text"] = torch.ones(len(fields["id"]), 6, 30).numpy()
    assert load_features(save(raw), planted_tokenizer())["train"].modalities == ("text", "audio", "vision")


# --- tokens beside the features ---------------------------------------------------------------------------------------


class Counting:
    """A tokenizer that counts how often it is called."""

    def __init__(self, tokenizer):
        self.tokenizer, self.calls = tokenizer, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        return self.tokenizer(*arguments, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __len__(self):
        return len(self.tokenizer)


def other_tokenizer():
    """The planted one, but that it tells upper case from lower."""
    tokenizer = planted_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Replace("good", "bad")
    return tokenizer


def token_files(folder):
    return sorted(folder.glob("*.tokens-*"))


@pytest.mark.parametrize("drop", [(), ("raw_text",)])
def test_tokens_are_made_once(save, folder, monkeypatch, drop):
    path = save(make_raw(drop))
    tokenizer = Counting(planted_tokenizer())
    first = load_features(path, tokenizer)
    assert tokenizer.calls == (0 if drop else 3)
    (file,) = token_files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(path.stat().st_mode)
    monkeypatch.setattr("msa_core.data.tokens._bert_tokens", None)  # calling it raises
    for again in (tokenizer, Counting(planted_tokenizer())):  # one that has been called, and one that has not
        assert_same(load_features(path, again), first)
        assert again.calls == (again is tokenizer) * (0 if drop else 3)
    assert token_files(folder) == [file]


@pytest.mark.parametrize("drop", [(), ("raw_text",)])
def test_tokens_belong_to_a_tokenizer_and_a_number(save, folder, drop):
    path = save(make_raw(drop))
    first = load_features(path, planted_tokenizer())
    load_features(path, planted_tokenizer(), max_tokens=4)
    other = load_features(path, other_tokenizer())
    assert len(token_files(folder)) == 3
    assert_same(load_features(path, planted_tokenizer()), first)
    if not drop:
        good, bad = (VOCABULARY.index(word) for word in ("good", "bad"))
        for split in SPLITS:
            expected = first[split].sequences["text"].values.clone()
            expected[expected == good] = bad
            assert torch.equal(other[split].sequences["text"].values, expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_tokens_are_those_of_the_file_as_it_is(save, folder, seed):
    load_features(save(make_raw()), planted_tokenizer())
    raw = make_raw(seed=seed)
    features = load_features(save(raw), planted_tokenizer())
    assert len(token_files(folder)) == 1
    for split, fields in raw.items():
        assert_sequences(features[split].sequences["text"], [token_ids(text) for text in fields["raw_text"]])


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no cache at all"]
)
def test_damaged_tokens_are_made_again(save, folder, damage):
    path, raw = save(make_raw()), make_raw()
    load_features(path, planted_tokenizer())
    (file,) = token_files(folder)
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(damage(whole))
    features = load_features(path, planted_tokenizer())
    assert_sequences(features["train"].sequences["text"], [token_ids(text) for text in raw["train"]["raw_text"]])
    assert file.read_bytes() == whole


def test_tokens_in_a_folder_that_cannot_be_written_to(save, folder, monkeypatch):
    path = save(make_raw())
    load_features(path)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    features = load_features(path, planted_tokenizer())
    assert features["train"].lengths("text").tolist() == [len(token_ids(text)) for text in features["train"].raw_text]
    assert token_files(folder) == []
