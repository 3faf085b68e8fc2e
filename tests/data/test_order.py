"""Oracles: what the order promises, counted."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msa_core.data.order import WINDOW, batch_places

SHARDS = [60, 7, 33, 80, 1, 45, 52, 29, 71, 40, 18]


def order_of(shards, seed, batch_size=8, samples=None, by_length=True):
    cost = torch.randint(1, 20, (sum(shards),), generator=torch.Generator().manual_seed(0))
    samples = sum(shards) if samples is None else samples
    number = -(-samples // batch_size)
    return cost, batch_places(shards, cost, samples, batch_size, number, seed, by_length)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.sampled_from([None, 0, 5]), st.booleans())
def test_every_sample_once_in_batches_of_like_size(shards, seed, by_length):
    _, batches = order_of(shards, seed, by_length=by_length)
    assert sorted(torch.cat(batches).tolist()) == list(range(sum(shards)))
    assert {len(batch) for batch in batches} <= {len(batches[0]) - 1, len(batches[0]), len(batches[0]) + 1}


@pytest.mark.parametrize("seed", [None, 3])
def test_few_shards_are_in_the_order_of_one_file(seed):
    few = SHARDS[:WINDOW]
    for one, several in zip(order_of([sum(few)], seed)[1], order_of(few, seed)[1], strict=True):
        assert one.tolist() == several.tolist()


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("by_length", [True, False])
def test_few_shards_are_read_at_a_time(seed, by_length):
    """A shard is in use from its first batch to its last; where two windows meet, one batch has samples of both."""
    ends = torch.tensor(SHARDS).cumsum(0)
    shards_of = [
        set(torch.bucketize(batch, ends, right=True).tolist())
        for batch in order_of(SHARDS, seed, by_length=by_length)[1]
    ]
    windows = -(-len(SHARDS) // WINDOW)
    assert sum(len(shards) > WINDOW for shards in shards_of) <= windows - 1
    places = {s: [i for i, shards in enumerate(shards_of) if s in shards] for s in range(len(SHARDS))}
    in_use = [sum(own[0] <= i <= own[-1] for own in places.values()) for i in range(len(shards_of))]
    assert max(in_use) <= 2 * WINDOW


def test_shards_meet_others_in_another_epoch():
    def windows(seed):
        ends = torch.tensor(SHARDS).cumsum(0)
        shards_of = [frozenset(torch.bucketize(b, ends, right=True).tolist()) for b in order_of(SHARDS, seed)[1]]
        return {pair for shards in shards_of for pair in itertools.combinations(sorted(shards), 2)}

    assert windows(0) == windows(0)
    assert len(set.union(*(windows(seed) for seed in range(30)))) == len(SHARDS) * (len(SHARDS) - 1) / 2


def test_without_a_seed_each_window_is_longest_first():
    cost, batches = order_of(SHARDS, seed=None)
    costs = cost[torch.cat(batches)]
    assert int((costs.diff() > 0).sum()) == -(-len(SHARDS) // WINDOW) - 1


def test_what_is_left_out_is_of_the_last_window_and_changes():
    left = [
        set(range(sum(SHARDS))) - set(torch.cat(order_of(SHARDS, seed, samples=400)[1]).tolist()) for seed in (0, 1)
    ]
    assert len(left[0]) == len(left[1]) == sum(SHARDS) - 400
    assert left[0] != left[1]
