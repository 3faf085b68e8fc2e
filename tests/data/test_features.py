"""Oracles: plain Python lists and numpy slices of the source; batches are compared with the rows they came from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msa_core.data import Batch, FeatureSet, Ragged, batches
from msa_core.data.features import number_of_batches

WIDTHS = {"audio": 3, "vision": 2}
sizes = st.integers(1, 40)
batch_sizes = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)
max_frames = st.none() | st.integers(1, 9)


def make_features(
    size=9, seed=0, modalities=("text", "audio", "vision"), scaled=False, max_frames=None, shortest=1, longest=9
):
    """A split and its source: modality -> list of numpy arrays, none holding a zero, so that padding is told apart."""
    rng = np.random.default_rng(seed)
    source = {}
    for modality in modalities:
        lengths = rng.integers(shortest, longest + 1, size)
        if modality == "text":
            source[modality] = [rng.integers(1, 1000, length) for length in lengths]
        else:
            source[modality] = [rng.uniform(1, 9, (n, WIDTHS[modality])).astype(np.float32) for n in lengths]
    scaling = {m: (torch.full((WIDTHS[m],), 10.0), torch.full((WIDTHS[m],), 4.0)) for m in WIDTHS if m in modalities}
    features = FeatureSet(
        split="train",
        ids=[f"clip-{i}" for i in range(size)],
        labels=torch.from_numpy(rng.uniform(-3, 3, size).astype(np.float32)),
        label_bound=3.0,
        sequences={m: Ragged.of([torch.from_numpy(s) for s in sequences]) for m, sequences in source.items()},
        scaling=scaling if scaled else {},
        max_frames=max_frames,
    )
    return features, source


def order_of(features, batch_size, shuffle_seed=None):
    return torch.cat([batch.index for batch in batches(features, batch_size, shuffle_seed)]).tolist()


# --- Ragged -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 3), st.data())
def test_ragged_round_trip(lengths, width, data):
    shape = (width,) if width else ()  # token ids have no width
    sequences = [data.draw(arrays(np.float32, (n, *shape), elements=st.floats(width=32))) for n in lengths]
    ragged = Ragged.of([torch.from_numpy(sequence) for sequence in sequences])
    assert len(ragged) == len(sequences)
    assert ragged.lengths.tolist() == lengths
    assert ragged.offsets.tolist() == [0, *np.cumsum(lengths)]
    assert ragged.offsets.dtype == ragged.lengths.dtype == torch.int64
    assert ragged.values.shape == (sum(lengths), *shape)
    for i, sequence in enumerate(sequences):
        np.testing.assert_array_equal(ragged[i], sequence)


def test_ragged_keeps_token_ids_whole():
    large = 2**40 + 1  # neither float32 nor int32 holds it
    assert Ragged.of([torch.tensor([large]), torch.tensor([7, 8])])[0].tolist() == [large]


def test_ragged_iterates_and_ends():
    ragged = Ragged.of([torch.tensor([1, 2]), torch.tensor([3])])
    assert [sequence.tolist() for sequence in ragged] == [[1, 2], [3]]
    with pytest.raises(IndexError):
        ragged[2]


# --- FeatureSet and Batch ---------------------------------------------------------------------------------------------


def test_batch_by_hand():
    features = FeatureSet(
        split="train",
        ids=["a", "b", "c"],
        labels=torch.tensor([1.0, -2.0, 0.5]),
        label_bound=3.0,
        sequences={
            "text": Ragged.of([torch.tensor([5, 6, 7]), torch.tensor([8]), torch.tensor([9, 4])]),
            "audio": Ragged.of([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), torch.ones(3, 2)]),
        },
        scaling={"audio": (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))},
    )
    batch = features.batch(torch.tensor([1, 0]))
    assert batch.index.tolist() == [1, 0]
    assert batch.labels.tolist() == [-2.0, 1.0]
    assert batch.sequences["text"].tolist() == [[8, 0, 0], [5, 6, 7]]
    assert batch.sequences["audio"].tolist() == [[[1.0, 0.5], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert {modality: lengths.tolist() for modality, lengths in batch.lengths.items()} == {
        "text": [1, 3],
        "audio": [2, 1],
    }
    assert (len(batch), len(features), features.modalities) == (2, 3, ("text", "audio"))


@given(sizes, seeds, max_frames, st.booleans(), st.data())
def test_batch_equals_its_source_rows(size, seed, max_frames, scaled, data):
    features, source = make_features(size, seed, scaled=scaled, max_frames=max_frames)
    index = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=10))
    batch = features.batch(torch.tensor(index))
    np.testing.assert_array_equal(batch.labels, features.labels.numpy()[index])
    for modality, sequences in source.items():
        limit = max_frames if modality != "text" else None
        rows = [sequences[i][:limit] for i in index]
        if scaled and modality != "text":
            rows = [(row - np.float32(10)) / np.float32(4) for row in rows]
        padded = batch.sequences[modality]
        assert batch.lengths[modality].tolist() == [len(row) for row in rows]
        assert padded.shape[1] == max(len(row) for row in rows)
        assert padded.dtype == (torch.int64 if modality == "text" else torch.float32)
        for got, row in zip(padded.numpy(), rows, strict=True):
            np.testing.assert_array_equal(got[: len(row)], row)
            assert not got[len(row) :].any()


@pytest.mark.parametrize("limit", [None, 1, 4, 100])
def test_lengths_are_those_of_the_batches(limit):
    features, source = make_features(max_frames=limit)
    everything = features.batch(torch.arange(len(features)))
    for modality, sequences in source.items():
        whole = np.array([len(sequence) for sequence in sequences])
        expected = whole if modality == "text" or limit is None else np.minimum(whole, limit)
        np.testing.assert_array_equal(features.lengths(modality), expected)
        np.testing.assert_array_equal(everything.lengths[modality], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scaled", [False, True])
def test_an_unreadable_value_is_the_replacement_and_zero_when_standardised(dtype, scaled):
    frames = [torch.tensor([[1.0, float("nan")], [float("nan"), 4.0]]), torch.tensor([[3.0, 8.0]])]
    mean, scale = torch.tensor([2.1, 6.0]), torch.tensor([0.7, 2.0])
    features = replace(
        make_features(2, modalities=("audio",))[0],
        sequences={"audio": Ragged.of(frames)},
        scaling={"audio": (mean, scale)} if scaled else {},
        replacements={"audio": mean},
    ).to(dtype)
    batch = features.batch(torch.arange(2)).sequences["audio"]
    if scaled:
        assert (batch[0, 0, 1], batch[0, 1, 0], batch[0, 1, 1], batch[1, 0, 1]) == (0, 0, -1, 1)
    else:
        assert torch.equal(batch[0], torch.tensor([[1.0, 6.0], [2.1, 4.0]]).to(dtype))
    assert not batch[1, 1].any()  # padding stays 0
    assert features.sequences["audio"].values.isnan().sum() == 2  # what is stored is left as it was


def test_batching_leaves_the_split_as_it_was():
    features, source = make_features(scaled=True, max_frames=2)
    list(batches(features, 4, shuffle_seed=1))
    for modality, sequences in source.items():
        np.testing.assert_array_equal(features.sequences[modality].values, np.concatenate(sequences))


def test_batch_moves_to_a_device_but_its_lengths_stay():
    batch = make_features()[0].dropping("audio", 0.5, seed=0).batch(torch.tensor([2, 0]))
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert moved.present.keys() == {"audio"}
    on_device = [moved.index, moved.labels, *moved.sequences.values(), *moved.present.values()]
    assert {tensor.device.type for tensor in on_device} == {"meta"}
    assert {tensor.device.type for tensor in moved.lengths.values()} == {"cpu"}
    assert {m: s.shape for m, s in moved.sequences.items()} == {m: s.shape for m, s in batch.sequences.items()}
    assert batch.index.device.type == "cpu"


# --- presence ---------------------------------------------------------------------------------------------------------


def test_absent_samples_by_hand():
    features = FeatureSet(
        split="train",
        ids=["a", "b", "c"],
        labels=torch.tensor([1.0, -2.0, 0.5]),
        label_bound=3.0,
        sequences={
            "text": Ragged.of([torch.tensor([5, 6]), torch.tensor([8]), torch.tensor([9])]),
            "audio": Ragged.of([torch.empty(0, 2), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), torch.empty(0, 2)]),
        },
        scaling={"audio": (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))},
    )
    assert {modality: mask.tolist() for modality, mask in features.present.items()} == {"audio": [False, True, False]}
    assert features.lengths("audio").tolist() == [0, 2, 0]
    some, none, everyone = (features.batch(torch.tensor(index)) for index in ([1, 0], [2, 0], [1]))
    assert some.sequences["audio"].tolist() == [[[1.0, 0.5], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert (some.lengths["audio"].tolist(), some.present["audio"].tolist()) == ([2, 0], [True, False])
    assert none.sequences["audio"].shape == (2, 0, 2)
    assert none.sequences["text"].tolist() == [[9, 0], [5, 6]]
    assert (none.lengths["audio"].tolist(), none.present["audio"].tolist()) == ([0, 0], [False, False])
    assert everyone.present["audio"].tolist() == [True]  # a key of the split's, not of the batch's
    assert [batch.present.keys() for batch in (some, none, everyone)] == [{"audio"}] * 3


def test_present_is_empty_where_nothing_is_absent():
    features, _ = make_features()
    assert features.present == features.batch(torch.tensor([0])).present == {}
    assert Batch(torch.tensor([0]), torch.zeros(1), {}, {}).present == {}


shares = st.none() | st.floats(0, 1)


@given(sizes, batch_sizes, st.none() | seeds, seeds, max_frames, st.booleans(), st.tuples(shares, shares, shares))
def test_presence_agrees_with_lengths_and_every_sample_is_in_one_batch(
    size, batch_size, shuffle_seed, seed, max_frames, scaled, dropped_shares
):
    features, source = make_features(size, seed, scaled=scaled, max_frames=max_frames, shortest=0, longest=4)
    for modality, share in zip(source, dropped_shares, strict=True):
        if share is not None:
            features = features.dropping(modality, share, seed)
            source[modality] = [s[:0] if features.dropped[modality][i] else s for i, s in enumerate(source[modality])]
    absent = {modality for modality, sequences in source.items() if any(len(sequence) == 0 for sequence in sequences)}
    assert features.present.keys() == absent
    order = []
    for batch in batches(features, batch_size, shuffle_seed):
        order += batch.index.tolist()
        assert batch.present.keys() == absent
        for modality, sequences in source.items():
            limit = max_frames if modality != "text" else None
            rows = [sequences[i][:limit] for i in batch.index.tolist()]
            if scaled and modality != "text":
                rows = [(row - np.float32(10)) / np.float32(4) for row in rows]
            padded = batch.sequences[modality].numpy()
            assert batch.lengths[modality].tolist() == [len(row) for row in rows]
            assert padded.shape == (len(rows), max(map(len, rows)), *rows[0].shape[1:])
            for sequence, row in zip(padded, rows, strict=True):
                np.testing.assert_array_equal(sequence[: len(row)], row)
                assert not sequence[len(row) :].any()
            if modality in absent:
                assert batch.present[modality].dtype == torch.bool
                assert batch.present[modality].tolist() == [len(row) > 0 for row in rows]
    assert sorted(order) == list(range(size))
    for modality, sequences in source.items():
        lengths = features.lengths(modality)
        assert ((lengths > 0).numpy() == [len(sequence) > 0 for sequence in sequences]).all()


@pytest.mark.parametrize(("share", "number"), [(0, 0), (0.1, 1), (0.24, 2), (0.26, 3), (0.5, 5), (0.999, 10), (1, 10)])
@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_dropping_drops_the_share(modality, share, number):
    features, source = make_features(10)
    dropped = features.dropping(modality, share, seed=3)
    lengths = dropped.lengths(modality)
    assert (lengths == 0).sum() == number
    whole = np.array([len(sequence) for sequence in source[modality]])
    np.testing.assert_array_equal(lengths[lengths > 0], whole[lengths > 0])
    assert dropped.present.keys() == ({modality} if number else set())
    for other in set(source) - {modality}:
        assert torch.equal(dropped.lengths(other), features.lengths(other))


def test_dropping_copies_no_values_and_leaves_the_split_as_it_was():
    features, _ = make_features()
    before = features.batch(torch.arange(9)).sequences["vision"].clone()
    dropped = features.dropping("vision", 0.5, seed=0)
    dropped.dropping("vision", 0.9, seed=1)
    assert dropped.sequences["vision"].values.data_ptr() == features.sequences["vision"].values.data_ptr()
    assert (dropped.ids, dropped.split) == (features.ids, "train")
    assert features.present == {}
    assert torch.equal(features.batch(torch.arange(9)).sequences["vision"], before)
    assert (dropped.lengths("vision") == 0).sum() == 4  # of the 9; the second dropping has no part in it


@given(sizes, seeds, seeds, st.floats(0, 1), st.floats(0, 1))
def test_the_choice_depends_on_seed_split_modality_and_number_alone(size, seed, other, share, more):
    share, more = sorted((share, more))

    def selection(features, modality, share):
        return features.dropping(modality, share, seed).dropped[modality]

    features, again = make_features(size, 0)[0], make_features(size, 1, scaled=True, shortest=0)[0]
    torch.manual_seed(other)
    first = selection(features, "audio", share)
    state = torch.get_rng_state()
    assert torch.equal(selection(again, "audio", share), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert (selection(features, "audio", more) | ~first).all()  # a larger share adds to a smaller one


def test_every_sample_is_dropped_as_often_as_any_other():
    features, _ = make_features(20)
    counts = sum(features.dropping("audio", 0.25, seed).dropped["audio"].int() for seed in range(400))
    assert int(counts.sum()) == 400 * 5
    assert (counts - 100).abs().max() < 5 * (400 * 0.25 * 0.75) ** 0.5  # five standard deviations


def test_dropping_twice_drops_both_choices():
    features, _ = make_features(40)
    one, two = (features.dropping("audio", 0.4, seed).dropped["audio"] for seed in (1, 2))
    twice = features.dropping("audio", 0.4, 1).dropping("audio", 0.4, 2)
    assert torch.equal(twice.present["audio"], ~(one | two))
    assert 16 < (one | two).sum() < 32  # 16 each, some of them in both
    assert torch.equal(features.dropping("audio", 0.4, 1).dropping("audio", 0, 2).present["audio"], ~one)
    separate = features.dropping("audio", 0.4, 1).dropping("text", 0.4, 2).present
    assert torch.equal(separate["audio"], ~one)
    assert torch.equal(separate["text"], features.dropping("text", 0.4, 2).present["text"])


def test_modalities_splits_and_seeds_have_draws_of_their_own():
    features, _ = make_features(40)
    other = replace(features, split="test" if features.split != "test" else "valid")
    draws = [
        part.dropping(modality, 0.5, seed).dropped[modality]
        for part in (features, other)
        for modality in ("text", "audio", "vision")
        for seed in (1, 2)
    ]
    assert len({tuple(draw.tolist()) for draw in draws}) == 12


def test_a_sample_may_be_left_without_any_modality():
    features, _ = make_features(6)
    for modality in features.modalities:
        features = features.dropping(modality, 1, seed=0)
    shuffled = list(batches(features, 4, shuffle_seed=0))
    assert sorted(i for batch in shuffled for i in batch.index.tolist()) == list(range(6))
    for batch in shuffled:
        assert {modality: sequence.shape for modality, sequence in batch.sequences.items()} == {
            "text": (3, 0),
            "audio": (3, 0, 3),
            "vision": (3, 0, 2),
        }
        assert not any(mask.any() for mask in batch.present.values())


@pytest.mark.parametrize("shuffle_seed", [None, 5])
@pytest.mark.parametrize("modality", ["text", "audio"])
def test_dropping_leaves_the_batches_their_samples(modality, shuffle_seed):
    features, _ = make_features(60)
    assert order_of(features.dropping(modality, 0.3, 0), 7, shuffle_seed) == order_of(features, 7, shuffle_seed)


def test_a_batch_costs_nothing_for_each_sample_of_the_split(monkeypatch):
    features = make_features(50)[0].dropping("audio", 0.5, 0)
    calls = []
    counted = FeatureSet.lengths
    monkeypatch.setattr(FeatureSet, "lengths", lambda *arguments: calls.append(arguments) or counted(*arguments))
    for start in range(40):
        features.batch(torch.arange(start, start + 5))
    assert len(calls) == 3  # one for each modality, at the first batch


def test_samples_that_have_all_of_some_modalities():
    features, _ = make_features(size=4)
    absent = {"audio": torch.tensor([True, False, True, False]), "vision": torch.tensor([True, True, False, False])}
    batch = replace(features, dropped=absent).batch(torch.tensor([3, 2, 1, 0]))
    for modalities in ((), ("text",), ("text", "audio"), ("vision", "audio")):
        assert batch.rows(*modalities).tolist() == batch.having(*modalities).nonzero()[:, 0].tolist()
    assert batch.having().tolist() == batch.having("text").tolist() == [True, True, True, True]
    assert batch.having("text", "audio").tolist() == [True, False, True, False]
    assert batch.having("vision", "audio").tolist() == [True, False, False, False]


def test_a_choice_of_modalities_keeps_their_order_and_all_else():
    features, _ = make_features(size=4)
    chosen = features.dropping("audio", 0.5, seed=0).only(["vision", "text"])
    assert chosen.modalities == ("text", "vision") and chosen.present == {}
    assert chosen.sequences["text"] is features.sequences["text"] and chosen.ids == features.ids
    assert features.modalities == ("text", "audio", "vision")
    with pytest.raises(ValueError, match=r"only: got modality 'video' for split 'train', expected one of .*'vision'"):
        features.only(["text", "video"])


@pytest.mark.parametrize("modality", ["multimodal", "video", ""])
def test_dropping_refuses_an_unknown_modality(modality):
    pattern = rf"FeatureSet.dropping: got modality '{modality}' for split 'train', expected one of .*'text', 'audio'"
    with pytest.raises(ValueError, match=pattern + ".*; .+"):
        make_features(modalities=("text", "audio"))[0].dropping(modality, 0.5, 0)


@pytest.mark.parametrize("share", [-0.01, 1.01, 30, float("nan")])
def test_dropping_refuses_a_share_outside_0_to_1(share):
    pattern = rf"FeatureSet.dropping: got share {share} of audio for split 'train', expected one within \[0, 1\]; .+"
    with pytest.raises(ValueError, match=pattern):
        make_features()[0].dropping("audio", share, 0)


# --- batches ----------------------------------------------------------------------------------------------------------


@given(sizes, batch_sizes, st.none() | seeds, seeds)
def test_every_sample_once_in_batches_of_like_size(size, batch_size, shuffle_seed, seed):
    features, _ = make_features(size, seed)
    chunks = [batch.index.tolist() for batch in batches(features, batch_size, shuffle_seed)]
    assert sorted(i for chunk in chunks for i in chunk) == list(range(size))
    lengths = [len(chunk) for chunk in chunks]
    assert max(lengths) <= batch_size + (batch_size == 2 and size % 2)
    assert min(lengths) >= min(2, batch_size, size)
    assert max(lengths) - min(lengths) <= 1
    by_size = -(-size // batch_size)
    assert len(chunks) == number_of_batches(features, batch_size)
    assert len(chunks) == (by_size if batch_size != 2 or size == 1 else size // 2)


@pytest.mark.parametrize(
    ("size", "batch_size", "sizes"), [(5, 2, [3, 2]), (17, 16, [9, 8]), (1, 2, [1]), (3, 1, [1] * 3)]
)
def test_no_batch_of_one_by_hand(size, batch_size, sizes):
    assert [len(batch) for batch in batches(make_features(size)[0], batch_size)] == sizes


@given(sizes, batch_sizes, seeds, seeds, st.booleans())
def test_order_is_made_from_the_seed_alone(size, batch_size, shuffle_seed, other, scaled):
    features, _ = make_features(size, 0, scaled=scaled)
    torch.manual_seed(other)
    first = order_of(features, batch_size, shuffle_seed)
    state = torch.get_rng_state()
    assert order_of(features, batch_size, shuffle_seed) == first
    assert torch.equal(torch.get_rng_state(), state)  # and the global generator is not touched


@pytest.mark.parametrize("batch_size", [1, 8, 16])
def test_different_seeds_give_different_orders(batch_size):
    features, _ = make_features(64)
    orders = {tuple(order_of(features, batch_size, seed)) for seed in range(20)}
    assert len(orders) == 20
    assert tuple(order_of(features, batch_size)) not in orders


def test_seeds_change_who_is_batched_with_whom():
    """With two pools of 25 batches and no two lengths alike, it is the pools that make the groups random."""
    features = replace(
        make_features(200, modalities=("audio",))[0],
        sequences={"audio": Ragged.of([torch.ones(length, 1) for length in range(1, 201)])},
    )
    groups = [{frozenset(b.index.tolist()) for b in batches(features, 4, shuffle_seed=seed)} for seed in (0, 1)]
    assert len(groups[0] & groups[1]) < 10  # of 50


@pytest.mark.parametrize("modalities", [("text", "audio"), ("audio", "vision"), ("vision",)])
def test_without_a_seed_longest_first(modalities):
    features, source = make_features(30, modalities=modalities)
    lengths = np.array([len(sequence) for sequence in source[modalities[0]]])
    expected = sorted(range(30), key=lambda i: -lengths[i])  # Python's sort is stable too
    assert order_of(features, 7) == expected


def test_longest_first_is_by_the_lengths_in_use():
    features, _ = make_features(30, modalities=("audio",), max_frames=1)
    assert order_of(features, 7) == list(range(30))  # all alike, so the split's own order


@pytest.mark.parametrize("shuffle_seed", [0, 1, 2])
def test_shuffled_batches_are_of_like_length(shuffle_seed):
    """Far less padding than batches drawn at random would have, with lengths that are spread evenly over 1..60."""
    features, source = make_features(400, modalities=("audio",), longest=60)
    lengths = np.array([len(sequence) for sequence in source["audio"]])
    rng = np.random.default_rng(shuffle_seed)

    def padding(groups):
        return sum(lengths[group].max() * len(group) - lengths[group].sum() for group in groups)

    ours = padding([batch.index.numpy() for batch in batches(features, 8, shuffle_seed)])
    assert ours < 0.25 * padding(np.array_split(rng.permutation(400), 50))


def test_shuffled_batches_come_in_no_order_of_length():
    features, _ = make_features(200, modalities=("audio",), longest=60)  # one pool
    longest = [int(batch.lengths["audio"].max()) for batch in batches(features, 8, shuffle_seed=0)]
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.5  # 1 or -1 if sorted


@pytest.mark.parametrize("size", [7, 200])
def test_random_batches_are_a_permutation_cut_in_equal_parts(size):
    """As numpy's array_split cuts it, the parts in another order."""
    features, _ = make_features(size, longest=60)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(3)).numpy()
    expected = {tuple(part) for part in np.array_split(order, -(-size // 4))}
    assert {tuple(b.index.tolist()) for b in batches(features, 4, shuffle_seed=3, by_length=False)} == expected


@pytest.mark.parametrize("shuffle_seed", [None, 3])
def test_batches_at_the_start_that_are_left_out_are_not_read(monkeypatch, shuffle_seed):
    features, _ = make_features(30)
    every, read, batch = [b.index.tolist() for b in batches(features, 4, shuffle_seed)], [], FeatureSet.batch
    monkeypatch.setattr(FeatureSet, "batch", lambda self, index: read.append(index.tolist()) or batch(self, index))
    assert [b.index.tolist() for b in batches(features, 4, shuffle_seed, first=3)] == read == every[3:]


@given(sizes, batch_sizes, seeds, st.integers(1, 4), st.booleans())
def test_what_fills_no_step_is_left_out(size, batch_size, shuffle_seed, steps, by_length):
    features, _ = make_features(size)
    multiple = batch_size * steps
    if size < multiple:
        with pytest.raises(
            ValueError, match=rf"batches of .*: got {size} samples, expected at least {multiple}, .*; l"
        ):
            list(batches(features, batch_size, shuffle_seed, by_length, multiple))
        return
    chunks = [batch.index.tolist() for batch in batches(features, batch_size, shuffle_seed, by_length, multiple)]
    assert {len(chunk) for chunk in chunks} == {batch_size}
    assert len(chunks) == number_of_batches(features, batch_size, multiple) == size // multiple * steps
    assert len({i for chunk in chunks for i in chunk}) == len(chunks) * batch_size


def test_other_samples_are_left_out_each_time():
    features, _ = make_features(30)
    left_out = [
        frozenset(range(30)) - {i for batch in batches(features, 8, seed, multiple=16) for i in batch.index.tolist()}
        for seed in range(20)
    ]
    assert {len(samples) for samples in left_out} == {14}
    assert frozenset().union(*left_out) == frozenset(range(30))


# --- hidden labels ----------------------------------------------------------------------------------------------------


@given(sizes, st.integers(0, 5), st.floats(0, 0.5), st.floats(0, 0.4), st.floats(0, 1))
def test_hidden_labels_are_the_share_and_grow_with_it(size, seed, share, more, one_modality):
    features, source = make_features(size + 20)
    names = list(source)
    features = replace(features, unimodal_labels={name: features.labels + i for i, name in enumerate(names)})
    less, much = (features.hiding_labels(each, one_modality, seed) for each in (share, share + more))
    for part, each in ((less, share), (much, share + more)):
        hidden = part.labels.isnan()
        assert int(hidden.sum()) == round(each * len(features))
        assert torch.equal(part.labels[~hidden], features.labels[~hidden])
        kept = torch.stack([~part.given[name].isnan() for name in names])
        assert int(kept.sum()) == int(kept[:, hidden].sum()) == round(one_modality * round(each * len(features)))
        assert int(kept.sum(dim=0).max()) <= 1
        for name in names:
            own = ~part.given[name].isnan()
            assert torch.equal(part.given[name][own], features.unimodal_labels[name][own])
    assert not (less.labels.isnan() & ~much.labels.isnan()).any()
    assert not features.labels.isnan().any() and not features.given
    assert less.to(torch.float64).given[names[0]].dtype == torch.float64


def test_labels_are_hidden_anew_with_another_seed():
    features, _ = make_features(40)
    draws = [features.hiding_labels(0.5, 0.0, seed).labels.isnan() for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
