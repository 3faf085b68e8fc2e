"""Oracles: the same samples in one file."""

import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_files import FRAMES, LABELS, WIDTHS, forbid_reading, make_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_core import SPLITS, build
from msa_core.config import resolve
from msa_core.data import batches, load_features, planted_tokenizer
from msa_core.data.order import WINDOW
from msa_core.data.shards import Joined
from msa_core.training import fit


def joined_raw(contents):
    """One file's content with the samples of several, one file after another."""
    splits = [split for split in SPLITS if any(split in content for content in contents)]
    whole = {}
    for split in splits:
        parts = [content[split] for content in contents if split in content]
        whole[split] = {
            field: np.concatenate([part[field] for part in parts])
            if isinstance(parts[0][field], np.ndarray)
            else [value for part in parts for value in part[field]]
            for field in parts[0]
        }
    return whole


def make_contents(number, drop=()):
    """Files with ids of their own."""
    contents = [make_raw(drop, seed=seed) for seed in range(number)]
    for place, content in enumerate(contents):
        for fields in content.values():
            fields["id"] = [f"{place}-{identity}" for identity in fields["id"]]
    return contents


@pytest.fixture
def store(tmp_path):
    """Write files `store/0.pkl`, `store/1.pkl`, ... and `whole.pkl` with all of their samples."""
    (tmp_path / "store").mkdir()

    def write(contents):
        files = [tmp_path / "store" / f"{place}.pkl" for place in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(pickle.dumps(content))
        whole = tmp_path / "whole.pkl"
        whole.write_bytes(pickle.dumps(joined_raw(contents)))
        return files, whole

    return write


def assert_equal_data(one, several):
    """All that two readings hold agrees, and so do their batches."""
    assert tuple(one) == tuple(several)
    for split, a in one.items():
        b = several[split]
        assert (a.split, a.ids, a.raw_text, a.modalities) == (b.split, b.ids, b.raw_text, b.modalities)
        assert (a.label_bound, a.max_frames) == (b.label_bound, b.max_frames)
        assert a.unimodal_labels.keys() == b.unimodal_labels.keys()
        assert a.labels.equal(b.labels)
        assert all(labels.equal(b.unimodal_labels[modality]) for modality, labels in a.unimodal_labels.items())
        for modality in a.modalities:
            assert a.sequences[modality].offsets.equal(b.sequences[modality].offsets)
            np.testing.assert_array_equal(a.sequences[modality].values, b.sequences[modality].values)
            for place in range(-1, len(a)):
                np.testing.assert_array_equal(a.sequences[modality][place], b.sequences[modality][place])
        assert a.sequences["text"].distinct().equal(b.sequences["text"].distinct())
        for name, statistic in a.statistics.items():
            np.testing.assert_allclose(statistic, b.statistics[name], rtol=1e-7)
        assert a.source["replaced_frames"] == b.source["replaced_frames"]
        assert a.source["absent"] == b.source["absent"]
        assert a.present.keys() == b.present.keys()
        for x, y in zip(batches(a, 4, shuffle_seed=1), batches(b, 4, shuffle_seed=1), strict=True):
            assert x.index.equal(y.index)
            assert x.labels.equal(y.labels)
            for modality in a.modalities:
                assert x.lengths[modality].equal(y.lengths[modality])
                torch.testing.assert_close(x.sequences[modality], y.sequences[modality], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("drop", [(), ("raw_text",)])
@pytest.mark.parametrize("standardise", [False, True])
def test_shards_are_read_as_one_file(store, drop, standardise):
    """With unreadable values in one, unimodal labels, and splits that not every shard has."""
    contents = make_contents(3, drop)
    contents[1]["train"]["audio"][0, 0, 1] = np.nan
    contents[2]["train"]["vision_lengths"] = [0] * len(contents[2]["train"]["id"])
    for content in contents:
        for fields in content.values():
            fields["regression_labels_A"] = -fields[LABELS]
    for place, split in ((0, "test"), (1, "valid"), (2, "valid")):
        del contents[place][split]
    files, whole = store(contents)
    how = {"standardise": standardise, "max_frames": FRAMES - 1, "max_tokens": 5}
    assert_equal_data(
        load_features(whole, planted_tokenizer(), **how), load_features(files, planted_tokenizer(), **how)
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_joined_sequences_are_the_concatenated_ones(lengths, data):
    numbers = iter(range(10**6))
    parts = [
        [np.array([[next(numbers)] * 2 for _ in range(n)]).reshape(n, 2).astype(np.int64) for n in own]
        for own in lengths
    ]
    ragged = [torch.from_numpy(np.concatenate(part)) for part in parts]
    pieces = [Joined.from_lengths(values, torch.tensor(own)) for values, own in zip(ragged, lengths, strict=True)]
    joined = Joined(pieces, [lambda values=values: values for values in ragged])
    expected = [sequence for part in parts for sequence in part]
    index = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1))
    rows, counts = joined.rows(torch.tensor(index), longest=3)
    np.testing.assert_array_equal(rows, np.concatenate([expected[i][:3] for i in index]))
    assert counts.tolist() == [min(3, len(expected[i])) for i in index]
    assert (joined.shards, joined.entry_shape) == ([len(own) for own in lengths], (2,))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc/self/maps to look into")
def test_few_shards_are_open_at_a_time_and_none_before_it_is_read(store):
    files, _ = store(make_contents(2 * WINDOW + 1))

    def mapped():
        return sum(f"{file}.cache\n" in maps for maps in [Path("/proc/self/maps").read_text()] for file in files)

    train = load_features(files)["train"]
    assert mapped() == 0
    numbers = [mapped() for _ in batches(train, 4, shuffle_seed=0)]
    assert max(numbers) <= 2 * WINDOW  # of each modality, a window's
    assert numbers[0] <= WINDOW < sum(numbers)


def test_training_on_shards_gives_the_numbers_of_one_file(store, tmp_path):
    _, whole = store(make_contents(3))
    fitted = []
    for features in (str(whole), str(tmp_path / "store" / "*.pkl")):
        overrides = {"text.encoder": "tiny", "training.max_epochs": 2, "training.batch_size": 4}
        config = resolve("mosi", features=features, overrides=overrides)
        data = build.dataset(config)
        torch.manual_seed(0)
        fitted.append(fit(build.parts(config, data["train"]), data["train"], data["valid"], config.training))
    assert data["train"].shards == [4, 4, 4]
    one, several = fitted
    assert one.history.drop(columns="seconds").equals(several.history.drop(columns="seconds"))
    assert one.trajectories.equals(several.trajectories)


def test_a_model_is_built_without_reading_all_values(store, tmp_path, monkeypatch):
    store(make_contents(3))
    config = resolve("mosi", features=str(tmp_path / "store" / "*.pkl"), overrides={"text.encoder": "tiny"})
    train = build.dataset(config)["train"]
    monkeypatch.delattr(Joined, "values")
    build.parts(config, train)


def test_where_shards_are_from(store):
    contents = make_contents(2)
    for content in contents:
        content["test"]["audio"][0, 0, 0] = np.inf
    files, _ = store(contents)
    source = load_features(files)["train"].source
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert source["shards"] == dict(zip(["0.pkl", "1.pkl"], digests, strict=True))
    assert source["sha256"] == hashlib.sha256(f"{digests[0]}  0.pkl\n{digests[1]}  1.pkl\n".encode()).hexdigest()
    assert source["replaced_frames"]["test/audio"] == 2
    alone = load_features(files[:1])["train"].source
    assert alone["sha256"] == digests[0]
    assert "shards" not in alone


def test_statistics_of_a_training_are_used(store):
    files, whole = store(make_contents(3))
    given = {name: value + 1 for name, value in load_features(whole)["train"].statistics.items()}
    train = load_features(files, standardise=True, statistics=given)["train"]
    assert train.scaling["audio"][0].equal(given["audio/mean"])


def test_a_shard_alone_is_checked_as_a_whole_file(store, monkeypatch):
    """And the cache of a whole file will do for a shard."""
    contents = make_contents(2)
    del contents[1]["valid"]
    files, _ = store(contents)
    load_features(files[0])
    load_features(files)
    with pytest.raises(ValueError, match=re.escape(f"{files[1]}: got") + ".*missing: .*valid"):
        load_features(files[1])
    forbid_reading(monkeypatch)
    load_features(files)
    load_features(files[0])


# --- refusals ---------------------------------------------------------------------------------------------------------


def repeat_an_id(contents):
    contents[2]["test"]["id"][0] = contents[0]["train"]["id"][1]


def widen(contents):
    for fields in contents[1].values():
        fields["vision"] = np.zeros((len(fields["id"]), FRAMES, WIDTHS["vision"] + 1))


def take_out(field):
    def change(contents):
        for fields in contents[2].values():
            del fields[field]

    return change


def label_one_modality(contents):
    for fields in contents[1].values():
        fields["regression_labels_T"] = fields[LABELS]


def take_out_valid(contents):
    for content in contents:
        del content["valid"]


def mute(contents):
    for content in contents:
        for fields in content.values():
            del fields["raw_text"]
        content["train"]["text_bert"][:, 1] = 0


def blind(contents):
    for content in contents:
        content["train"]["vision_lengths"] = [0] * 4


def unreadable(contents):
    for content in contents:
        content["train"]["audio"][..., 2] = np.nan


def almost_no_train(contents):
    for content in contents[1:]:
        del content["train"]
    fields = contents[0]["train"]
    contents[0]["train"] = {name: values[:1] for name, values in fields.items()}


REFUSED = {
    repeat_an_id: r"2\.pkl: field 'id', id '0-train\$_\$1': got an id that \S*0\.pkl has already \(1 ids",
    widen: r"1\.pkl: field 'vision': got width 3, expected width 2, as in \S*0\.pkl; .+",
    take_out("raw_text"): r"2\.pkl: field 'raw_text': got it in \S*0\.pkl and not here, expected it in every shard; .+",
    label_one_modality: r"1\.pkl: field 'regression_labels_T': got it here and not in \S*0\.pkl, expected",
    take_out_valid: r"0\.pkl to \S*2\.pkl: got no split 'valid' in 3 shards, expected it in at least one of them; .+",
    mute: r"0\.pkl to \S*2\.pkl: field 'text_bert': got length 0 in all samples of train in 3 shards, expected",
    blind: r"0\.pkl to \S*2\.pkl: field 'vision': got no readable value of 2 of 2 features",
    unreadable: r"field 'audio': got no readable value of 1 of 3 features \(number 2\) in 3 shards, expected",
    almost_no_train: r"got 1 sample in train in 3 shards, expected at least 2",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_shards_that_do_not_go_together_are_refused(store, change):
    contents = make_contents(3)
    change(contents)
    files, _ = store(make_contents(3))
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=REFUSED[change]):
        load_features(files, planted_tokenizer())


def test_files_of_one_name_and_no_files_are_refused(store):
    files, _ = store(make_contents(1))
    with pytest.raises(ValueError, match=r"got \S*0\.pkl and \S*0\.pkl, expected shards with names of their own"):
        load_features([*files, *files])
    with pytest.raises(ValueError, match="got no file, expected one or several"):
        load_features([])


def test_a_shard_that_changes_under_a_run_is_refused(store):
    files, _ = store(make_contents(3))
    train = load_features(files)["train"]
    changed = make_contents(3)[1]
    changed["train"]["audio"] *= 2
    files[1].write_bytes(pickle.dumps(changed))
    load_features(files)
    with pytest.raises(ValueError, match=r"1\.pkl\.cache: got the cache of another content of \S*1\.pkl"):
        list(batches(train, 4))
