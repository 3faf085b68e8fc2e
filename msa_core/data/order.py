"""Which samples are batched together, and in which order."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

POOL = 25  # batches whose samples are sorted by length together: enough for little padding, few enough to stay random
WINDOW = 4  # shards that are read together: few enough to stay in memory, where all of them may not fit


def batch_places(
    shards: Sequence[int],
    cost: Tensor,
    samples: int,
    batch_size: int,
    number: int,
    shuffle_seed: int | None = None,
    by_length: bool = True,
) -> list[Tensor]:
    """The places of each batch's samples, in the order that `batches` describes.

    Up to `WINDOW` shards are one window, the order is then that of one file. More are dealt to windows of at most so
    many, at random if samples are shuffled, and one window follows the other: only where two meet, a batch has samples
    of both.

    Args:
        shards: number of samples of each shard; N in all.
        cost: length of each sample, (N,).
        samples: how many are batched; the others are the last ones of the order.
        batch_size: the largest number of samples in a batch.
        number: of batches.
        shuffle_seed, by_length: see `batches`.

    >>> lengths = torch.tensor([1, 3, 2, 9])
    >>> [places.tolist() for places in batch_places([4], lengths, samples=4, batch_size=2, number=2)]
    [[3, 1], [2, 0]]
    """
    generator = None if shuffle_seed is None else torch.Generator().manual_seed(shuffle_seed)
    windows = _windows(shards, cost, generator)
    ends = torch.tensor([len(window) for window in windows]).cumsum(0)[:-1]
    windows = list(torch.cat(windows)[:samples].tensor_split(ends))
    if generator is not None and by_length:
        pools = [window.split(POOL * batch_size) for window in windows]
        windows = [torch.cat([pool[cost[pool].argsort(stable=True)] for pool in each]) for each in pools]
    batches = torch.cat(windows).tensor_split(number)
    if generator is None:
        return list(batches)
    starts = torch.tensor([0, *(len(batch) for batch in batches)]).cumsum(0)[:-1]
    window_of = torch.bucketize(starts, ends, right=True)
    of_windows = [(window_of == window).nonzero()[:, 0] for window in range(len(windows))]
    order = torch.cat([own[torch.randperm(len(own), generator=generator)] for own in of_windows])
    return [batches[place] for place in order.tolist()]


def _windows(shards: Sequence[int], cost: Tensor, generator: Generator | None) -> list[Tensor]:
    """The places of each window's samples: shuffled by a generator, without one longest first."""
    places = torch.arange(sum(shards)).split(list(shards))
    order = torch.arange(len(shards))
    if generator is not None and len(shards) > WINDOW:
        order = torch.randperm(len(shards), generator=generator)
    windows = []
    for window in order.tensor_split(math.ceil(len(shards) / WINDOW)):
        joined = torch.cat([places[shard] for shard in window.tolist()])
        if generator is None:
            windows.append(joined[cost[joined].argsort(descending=True, stable=True)])
        else:
            windows.append(joined[torch.randperm(len(joined), generator=generator)])
    return windows
