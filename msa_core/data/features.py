"""One split's features, stored ragged (without padding), and batches padded to their longest sequence."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from msa_core import MODALITIES, SPLITS
from msa_core.data.order import batch_places
from msa_core.data.ragged import Ragged


@dataclass(frozen=True)
class Batch:
    """B samples, each sequence padded with zeros behind its end to the longest of the batch.

    Attributes:
        index: place of each sample in its split, (B,) int64.
        labels: human multimodal label, (B,); NaN: hidden.
        sequences: modality -> (B, T) token ids for text, (B, T, D) frames for audio and vision; zeros for a sample
            that lacks the modality; T is 0 if all samples of the batch lack it.
        lengths: modality -> (B,) int64, on the CPU; 0: the modality is absent from this sample.
        present: modality -> (B,) bool, for each modality that a sample of the split lacks (of the split, not of the
            batch: all batches of a split have the same keys); a modality that is no key is present in every sample.
        shared: place of each sample of the whole batch, of which these are one process's share; None: they are all.
    """

    index: Tensor
    labels: Tensor
    sequences: dict[str, Tensor]
    lengths: dict[str, Tensor]
    present: dict[str, Tensor] = field(default_factory=dict)
    shared: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def whole_index(self) -> Tensor:
        """Place of each sample of the whole batch."""
        return self.index if self.shared is None else self.shared

    def having(self, *modalities: str) -> Tensor:
        """The samples that have all of these modalities, (B,) bool."""
        masks = [self.present[modality] for modality in modalities if modality in self.present]
        return torch.stack(masks).all(dim=0) if masks else torch.ones_like(self.labels, dtype=torch.bool)

    def rows(self, *modalities: str) -> Tensor:
        """The places in the batch of the samples that have all of these modalities, (n,) int64.

        What `having` says, but their number is known without waiting for a GPU.
        """
        having = torch.ones(len(self), dtype=torch.bool)
        for modality in modalities:
            having &= self.lengths[modality] > 0
        return having.nonzero()[:, 0].to(self.labels.device, non_blocking=True)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device; lengths stay on the CPU, where packing wants them.

        To a GPU from pinned memory: neither this program nor the GPU's earlier work is waited for.
        """
        pinned = torch.device(device).type == "cuda"

        def moved(x: Tensor) -> Tensor:
            return (x.pin_memory() if pinned and not x.is_cuda else x).to(device, non_blocking=True)

        return replace(
            self,
            index=moved(self.index),
            labels=moved(self.labels),
            sequences={modality: moved(sequence) for modality, sequence in self.sequences.items()},
            present={modality: moved(present) for modality, present in self.present.items()},
            shared=None if self.shared is None else moved(self.shared),
        )


@dataclass(frozen=True)
class FeatureSet:
    """One split. A sample may lack a modality (its sequence has length 0), or several, or all.

    Attributes:
        split: "train", "valid" or "test".
        ids: N strings, unique across splits.
        labels: human multimodal labels within [-label_bound, label_bound], (N,) float32; NaN: hidden.
        label_bound: H.
        sequences: modality -> token ids for text, (T, D) float32 frames for audio and vision, NaN where the file has
            no readable value; only the modalities of the data set.
        raw_text: N transcripts, or None.
        unimodal_labels: modality -> (N,): human ones (CH-SIMS), true ones (planted data), or nothing.
        given: modality -> (N,): the unimodal labels of samples whose other labels are hidden (see `hiding_labels`), NaN
            for all others; empty where no sample's labels are hidden.
        factors: planted data only: "shared", "text", "audio", "vision" -> (N,).
        scaling: modality -> (mean, scale), (D,) each, of the train split: frames are standardised when batched.
        replacements: modality -> (D,): what an unreadable value, NaN in `sequences`, is in a batch (before it is
            standardised): the train split's mean of the readable ones.
        statistics: "<modality>/mean", "<modality>/scale" -> (D,): those of the file that the run was trained on, for
            `load_features` to read other files alike; empty for planted data.
        max_frames: audio and vision are cut to their first so many frames when batched; None keeps all.
        dtype: of frames and labels in a batch.
        dropped: modality -> (N,) bool: the samples that are batched without it, see `dropping`.
        source: where the data are from (file name, SHA-256, numbers of frames with unreadable values, of samples that
            lack a modality and of samples padded at their start; or the generator's arguments).
    """

    split: str
    ids: list[str]
    labels: Tensor
    label_bound: float
    sequences: dict[str, Ragged]
    raw_text: list[str] | None = None
    unimodal_labels: dict[str, Tensor] = field(default_factory=dict)
    given: Mapping[str, Tensor] = field(default_factory=dict)
    factors: dict[str, Tensor] = field(default_factory=dict)
    scaling: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    replacements: Mapping[str, Tensor] = field(default_factory=dict)
    statistics: Mapping[str, Tensor] = field(default_factory=dict)
    max_frames: int | None = None
    dtype: torch.dtype = torch.float32
    dropped: Mapping[str, Tensor] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the data set, in the order text, audio, vision."""
        return tuple(self.sequences)

    @cached_property
    def present(self) -> dict[str, Tensor]:
        """Modality -> (N,) bool, for each modality that at least one sample lacks; empty if nothing is absent."""
        present = {modality: self.lengths(modality) > 0 for modality in self.modalities}
        return {modality: mask for modality, mask in present.items() if not mask.all()}

    @property
    def shards(self) -> list[int]:
        """Number of samples in each of the files that they are read from."""
        return max((sequences.shards for sequences in self.sequences.values()), key=len)

    def lengths(self, modality: str) -> Tensor:
        """Number of tokens or frames of each sample as batched, (N,) int64; 0 where the modality is absent."""
        lengths = self.sequences[modality].lengths
        lengths = lengths.clamp(max=self.max_frames) if self.max_frames and modality != "text" else lengths
        return lengths.masked_fill(self.dropped[modality], 0) if modality in self.dropped else lengths

    def only(self, modalities: Sequence[str]) -> "FeatureSet":
        """A copy whose samples have these modalities alone, in the data set's order; the stored values are shared.

        Raises:
            ValueError: a modality that the data set does not have.
        """
        for modality in modalities:
            self._require("only", modality)
        kept = [name for name in self.modalities if name in modalities]
        return replace(
            self,
            sequences={name: self.sequences[name] for name in kept},
            scaling={name: self.scaling[name] for name in kept if name in self.scaling},
            replacements={name: self.replacements[name] for name in kept if name in self.replacements},
        )

    def dropping(self, modality: str, share: float, seed: int) -> "FeatureSet":
        """A copy in which some samples lack a modality; the stored values are shared, not copied.

        `round(share * N)` samples are drawn from all N, including those that lack the modality already. The draw
        depends on `seed`, split, modality and N alone: a larger share includes the samples of a smaller one, and two
        modalities lose samples independently of each other. A second call adds its samples to those of the first. A
        sample may end up without any modality.

        Raises:
            ValueError: a modality that the data set does not have, or a share outside [0, 1].
        """
        self._require("dropping", modality)
        if not 0 <= share <= 1:
            raise ValueError(
                f"FeatureSet.dropping: got share {share} of {modality} for split {self.split!r}, "
                "expected one within [0, 1]; give the share of the samples, not a percentage"
            )
        stream = (seed * len(SPLITS) + SPLITS.index(self.split)) * len(MODALITIES) + MODALITIES.index(modality)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(stream))
        selection = torch.zeros(len(self), dtype=torch.bool)
        selection[order[: round(share * len(self))]] = True
        return replace(self, dropped={**self.dropped, modality: self.dropped.get(modality, selection) | selection})

    def hiding_labels(self, share: float, one_modality: float, seed: int) -> "FeatureSet":
        """A copy in which some samples have no multimodal label, and the label of one modality at most.

        `round(share * N)` samples lose their labels; `round(one_modality * that)` of them keep the unimodal label of
        one modality, drawn for each. The draw depends on `seed` and N alone: the samples of a smaller share are among
        those of a larger one. `unimodal_labels` stays whole, as the truth that labels are compared with: what a
        training may read of it is `given` alone where `labels` is NaN.

        Raises:
            ValueError: a share outside [0, 1], fewer than two samples left, or a modality without unimodal labels.
        """
        where = f"FeatureSet.hiding_labels: for split {self.split!r} of {len(self)} samples"
        hidden = round(share * len(self)) if 0 <= share <= 1 and 0 <= one_modality <= 1 else len(self)
        if len(self) - hidden < 2:
            raise ValueError(
                f"{where}, got share {share} and one_modality {one_modality}, expected ones within [0, 1] that leave "
                "at least 2 samples with a label; lower dataset.unlabelled.share"
            )
        if one_modality and (without := set(self.modalities) - set(self.unimodal_labels)):
            raise ValueError(
                f"{where}, got one_modality {one_modality} and no unimodal labels of {sorted(without)}; set "
                "dataset.unlabelled.one_modality to 0, or take data with such labels (planted, sims)"
            )
        rng = np.random.default_rng(SeedSequence(seed, spawn_key=(2,)))  # (1,) is that of planted data
        order, kept = torch.from_numpy(rng.permutation(len(self)))[:hidden], round(one_modality * hidden)
        labels, modality = self.labels.clone(), torch.from_numpy(rng.integers(len(self.modalities), size=len(self)))
        labels[order] = torch.nan
        given = {name: torch.full_like(labels, torch.nan) for name in self.modalities}
        for place, name in enumerate(self.modalities if kept else ()):
            own = order[:kept][modality[order[:kept]] == place]
            given[name][own] = self.unimodal_labels[name][own]
        return replace(self, labels=labels, given=given)

    def _require(self, caller: str, modality: str) -> None:
        if modality not in self.modalities:
            raise ValueError(
                f"FeatureSet.{caller}: got modality {modality!r} for split {self.split!r}, "
                f"expected one of {self.modalities}; name a modality of the data set"
            )

    def to(self, dtype: torch.dtype) -> "FeatureSet":
        """The same split with labels, and frames in its batches, of another dtype; stored frames stay as they are."""
        unimodal, given = (
            {modality: labels.to(dtype) for modality, labels in each.items()}
            for each in (self.unimodal_labels, self.given)
        )
        return replace(self, labels=self.labels.to(dtype), unimodal_labels=unimodal, given=given, dtype=dtype)

    def batch(self, index: Tensor) -> Batch:
        """The samples `index`, (B,) int64, as a padded batch on the CPU."""
        sequences, lengths = {}, {}
        for modality, ragged in self.sequences.items():
            longest = self.max_frames if modality != "text" else None
            omitted = self.dropped[modality][index] if modality in self.dropped else None
            rows, lengths[modality] = ragged.rows(index, longest, omitted)
            rows = rows.to(self.dtype) if rows.is_floating_point() else rows
            if modality in self.replacements:
                rows = torch.where(rows.isnan(), self.replacements[modality].to(self.dtype), rows)
            if modality in self.scaling:
                mean, scale = (statistic.to(self.dtype) for statistic in self.scaling[modality])
                rows = rows.sub_(mean).div_(scale)
            sequences[modality] = pad_sequence(rows.split(lengths[modality].tolist()), batch_first=True)
        present = {modality: mask[index] for modality, mask in self.present.items()}
        return Batch(index, self.labels[index], sequences, lengths, present)


def batches(
    features: FeatureSet,
    batch_size: int,
    shuffle_seed: int | None = None,
    by_length: bool = True,
    multiple: int = 1,
    share: Callable[[Tensor], Tensor] | None = None,
    first: int = 0,
) -> Iterator[Batch]:
    """Every sample once, in batches of similar length.

    The sizes of the batches differ by at most one, and no batch has a single sample (which has no covariance), unless
    the split has no more or `batch_size` is 1: an odd number of samples in batches of 2 makes one batch of 3. The
    order depends on the stored lengths, not on `dropped`: the batches hold the same samples with and without a dropped
    modality. Of features in more than `WINDOW` files, some files' samples come before those of others, see
    `batch_places`.

    Args:
        features: the split.
        batch_size: the largest number of samples in a batch.
        shuffle_seed: None: longest first; a number: a random order that depends on this number alone.
        by_length: False: shuffled batches are random, of any lengths.
        multiple: the number of samples is cut to a multiple of this, and the rest, the last ones of the random order,
            is left out; 1: nothing is. A multiple of `batch_size` makes every batch full.
        share: takes the samples of a batch to those that are read, one process's; None: all are.
        first: so many batches at the start are left out, and not read.

    Raises:
        ValueError: fewer samples than `multiple`.
    """
    stored = replace(features, dropped={})
    cost = stored.lengths("text" if "text" in features.modalities else features.modalities[0])
    number = number_of_batches(features, batch_size, multiple)
    samples = len(features) // multiple * multiple
    for places in batch_places(features.shards, cost, samples, batch_size, number, shuffle_seed, by_length)[first:]:
        yield features.batch(places) if share is None else replace(features.batch(share(places)), shared=places)


def number_of_batches(features: FeatureSet, batch_size: int, multiple: int = 1) -> int:
    """How many batches `batches` yields; arguments and errors as there."""
    if len(features) < multiple:
        raise ValueError(
            f"batches of {features.split}: got {len(features)} samples, expected at least {multiple}, which fill one "
            "step; leave training.drop_remainder false, or lower training.batch_size or training.accumulate"
        )
    samples = len(features) // multiple * multiple
    number = math.ceil(samples / batch_size)
    return number if batch_size == 1 else min(number, max(1, samples // 2))
