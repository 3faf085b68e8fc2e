"""Frames of a feature file: where the real ones are, their mean and standard deviation, and pieces without padding."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 2**24  # bytes of padded frames that are worked on at once


class Frames(NamedTuple):
    """One modality's frames in one split.

    Attributes:
        values: (N, T, D) with padding, or N arrays (T_i, D).
        lengths: number of real frames of each sample, (N,).
        starts: place of the first real one, (N,); 0 but where frames are padded at their start.
    """

    values: NDArray | list[NDArray]
    lengths: NDArray
    starts: NDArray

    @property
    def width(self) -> int:
        """D."""
        return self.values[0].shape[1]

    def real(self, chunk: slice) -> NDArray:
        """Some samples' real frames end to end, (sum of their lengths, D) float32; an unreadable value is NaN.

        Unreadable values are NaN, infinite ones and those beyond float32's range.
        """
        starts, ends = self.starts[chunk], self.starts[chunk] + self.lengths[chunk]
        if isinstance(self.values, list):
            each = zip(self.values[chunk], starts, ends, strict=True)
            values = np.concatenate([frames[start:end] for frames, start, end in each])
        else:
            place = np.arange(self.values.shape[1])
            values = self.values[chunk][(place >= starts[:, None]) & (place < ends[:, None])]
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        values[~np.isfinite(values)] = np.nan
        return values

    def pieces(self, release: Callable[[], None]) -> Iterator[NDArray]:
        """All real frames as `real` gives them, about `CHUNK` bytes of padded frames at a time.

        Args:
            release: called after each piece; frees what has been read.
        """
        step = max(1, CHUNK // max(1, max(frames.nbytes for frames in self.values)))
        for start in range(0, len(self.values), step):
            values = self.real(slice(start, start + step))
            release()
            yield values


class Placement(NamedTuple):
    """What the values say about the place of the real frames; (N,) bool each.

    Attributes:
        padded: shorter than T.
        at_start: the first T - length frames are zero and a frame behind the length is not: padded at the start.
        at_end: one of the first T - length frames is not zero: not padded at the start.
        lost: all frames within the length are zero, and one behind it is not.
    """

    padded: NDArray
    at_start: NDArray
    at_end: NDArray
    lost: NDArray


def placement(values: NDArray, lengths: NDArray) -> Placement:
    """Compare frames, (N, T, D), with their lengths, (N,); only samples whose first frame is zero are read whole."""
    longest = values.shape[1]
    padded = (lengths > 0) & (lengths < longest)
    at_start, lost = np.zeros_like(padded), np.zeros_like(padded)
    at_end = padded.copy()
    candidates = padded & ~(values[:, :1] != 0).any(axis=(1, 2))
    for sample in candidates.nonzero()[0]:
        length = lengths[sample]
        real = ((values[sample] != 0) & np.isfinite(values[sample])).any(axis=1)  # (T,)
        at_end[sample] = real[: longest - length].any()
        at_start[sample] = real[length:].any() and not at_end[sample]
        lost[sample] = real[length:].any() and not real[:length].any()
    return Placement(padded, at_start, at_end, lost)


class Moments:
    """Mean and standard deviation of the readable values of each feature, from frames that come in pieces.

    In float64 (Chan, Golub and LeVeque 1983).

    Args:
        width: D; 1 will do where frames are added, whatever their width.
    """

    def __init__(self, width: int = 1) -> None:
        self.count: NDArray = np.zeros(width, np.int64)
        self.mean: NDArray = np.zeros(width)
        self.squares: NDArray = np.zeros(width)

    def add(self, values: NDArray) -> None:
        """Add frames, (T, D), in which an unreadable value is NaN."""
        readable = ~np.isnan(values)
        new = readable.sum(axis=0)
        if readable.all():
            mean, variance = values.mean(axis=0, dtype=np.float64), values.var(axis=0, dtype=np.float64)
        else:
            wide = values.astype(np.float64)
            mean = wide.sum(axis=0, where=readable) / np.maximum(new, 1)
            variance = np.square(wide - mean).sum(axis=0, where=readable) / np.maximum(new, 1)
        self._join(new, mean, variance)

    def join(self, other: "Moments") -> None:
        """Add everything that was added to others."""
        self._join(other.count, other.mean, other.squares / np.maximum(other.count, 1))

    def _join(self, new: NDArray, mean: NDArray, variance: NDArray) -> None:
        total = np.maximum(self.count + new, 1)
        difference = mean - self.mean
        self.squares = self.squares + new * (variance + difference**2 * self.count / total)
        self.mean = self.mean + difference * new / total
        self.count = self.count + new

    def statistics(self, modality: str) -> dict[str, Tensor]:
        """ "<modality>/mean" and "<modality>/scale", the standard deviation, (D,) float32 each.

        The scale is 1 for a feature that is constant.
        """
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        found = {"mean": self.mean, "scale": np.where(deviation > 0, deviation, 1)}
        return {f"{modality}/{name}": torch.from_numpy(values).float() for name, values in found.items()}

    def stored(self) -> Iterator[NDArray]:
        """One piece: count, mean and sum of squares, float64, of everything that was added before it is drawn, as
        bytes, (3, 8 D)."""
        yield np.stack([self.count.astype(np.float64), self.mean, self.squares]).view(np.uint8)

    @staticmethod
    def restored(stored: Tensor) -> "Moments":
        """Those that were `stored`."""
        moments = Moments()
        # A copy: in a mapped file, the bytes need not lie where a float64 may.
        moments.count, moments.mean, moments.squares = stored.clone().view(torch.float64).numpy()
        return moments
