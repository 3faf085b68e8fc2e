"""Sequences of different lengths, stored without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, end to end.

    Attributes:
        values: (sum of lengths, ...), possibly memory-mapped.
        offsets: (N + 1,) int64; sequence i is `values[offsets[i]:offsets[i + 1]]`.
    """

    values: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Tensor:
        i = range(len(self))[i]  # from the end, if negative; IndexError, if beyond
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> Tensor:
        """(N,) int64."""
        return self.offsets.diff()

    @property
    def shards(self) -> list[int]:
        """Number of sequences in each of the files that they are in."""
        return [len(self)]

    @property
    def entry_shape(self) -> tuple[int, ...]:
        """(D,) of frames, () of token ids."""
        return tuple(self.values.shape[1:])

    def distinct(self) -> Tensor:
        """The different values, sorted."""
        return self.values.unique()

    def rows(self, index: Tensor, longest: int | None = None, omitted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The sequences `index`, (B,), end to end, as a copy, and their lengths (B,).

        Args:
            index: places of the sequences, (B,).
            longest: each sequence is cut to so many entries; None: none is cut.
            omitted: (B,) bool, sequences of which no entry is taken; None: none.

        >>> Ragged.of([torch.tensor([1, 2]), torch.tensor([3])]).rows(torch.tensor([1, 0]))
        (tensor([3, 1, 2]), tensor([1, 2]))
        """
        starts = self.offsets[index]
        lengths = self.offsets[index + 1] - starts
        lengths = lengths.clamp(max=longest) if longest else lengths
        lengths = lengths if omitted is None else lengths.masked_fill(omitted, 0)
        ends = lengths.cumsum(0)
        places = torch.arange(int(lengths.sum())) + (starts - ends + lengths).repeat_interleave(lengths)
        return self.entries(places), lengths

    def entries(self, places: Tensor) -> Tensor:
        """Entries of `values`, as a copy."""
        return self.values.index_select(0, places)

    @staticmethod
    def of(sequences: Sequence[Tensor]) -> "Ragged":
        """Put sequences end to end.

        >>> Ragged.of([torch.tensor([1, 2]), torch.tensor([3])]).lengths
        tensor([2, 1])
        """
        return Ragged.from_lengths(torch.cat(list(sequences)), torch.tensor([len(sequence) for sequence in sequences]))

    @staticmethod
    def from_lengths(values: Tensor, lengths: Tensor) -> "Ragged":
        """Sequences that are end to end already, (sum of lengths, ...), by their lengths (N,)."""
        return Ragged(values, nn.functional.pad(lengths.cumsum(0), (1, 0)))
