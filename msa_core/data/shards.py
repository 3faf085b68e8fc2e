"""A data set in several feature files, its shards: read as one, and no frames are copied for it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msa_core import SPLITS
from msa_core.data.cache import COUNTS, CacheReader, open_cache
from msa_core.data.checks import FRAME_MODALITIES, UNIMODAL_LABEL_FIELDS
from msa_core.data.features import FeatureSet
from msa_core.data.frames import Moments
from msa_core.data.messages import listed
from msa_core.data.order import WINDOW
from msa_core.data.ragged import Ragged

FIELDS = {f"labels/{modality}": field for modality, field in UNIMODAL_LABEL_FIELDS.items()}  # name in a cache -> file


class Shard(NamedTuple):
    """A feature file and its cache."""

    path: Path
    cache: Path


class Joined(Ragged):
    """Sequences of several files, those of one after those of another; at most `WINDOW` files are open at a time.

    Args:
        parts: each file's sequences; their values are not kept.
        opened: gives each file's values when they are read.

    >>> parts = [Ragged.of([torch.tensor([1, 2])]), Ragged.of([torch.tensor([3]), torch.tensor([4])])]
    >>> joined = Joined(parts, [lambda: parts[0].values, lambda: parts[1].values])
    >>> joined.rows(torch.tensor([2, 0]))
    (tensor([4, 1, 2]), tensor([1, 2]))
    """

    _opened: Sequence[Callable[[], Tensor]]
    _values: Callable[[int], NDArray]
    _shards: list[int]
    _ends: NDArray  # of each file's entries among all
    _like: Tensor

    def __init__(self, parts: Sequence[Ragged], opened: Sequence[Callable[[], Tensor]]) -> None:
        vars(self).update(  # the class is frozen
            offsets=Ragged.from_lengths(torch.empty(0), torch.cat([part.lengths for part in parts])).offsets,
            _opened=opened,
            _values=lru_cache(WINDOW)(lambda shard: opened[shard]().numpy()),
            _shards=[len(part) for part in parts],
            _ends=np.cumsum([len(part.values) for part in parts]),
            _like=parts[0].values.new_empty(0, *parts[0].entry_shape),
        )

    @property
    def values(self) -> Tensor:
        """All of them, copied into memory: for what reads small data as a whole."""
        return torch.cat([opened() for opened in self._opened])

    def __getitem__(self, i: int) -> Tensor:
        return self.rows(torch.tensor([range(len(self))[i]]))[0]

    def __repr__(self) -> str:  # that of a dataclass would show all values
        return f"Joined({len(self)} sequences in {len(self._shards)} files)"

    @property
    def shards(self) -> list[int]:
        """See `Ragged.shards`."""
        return self._shards

    @property
    def entry_shape(self) -> tuple[int, ...]:
        """See `Ragged.entry_shape`."""
        return tuple(self._like.shape[1:])

    def distinct(self) -> Tensor:
        """See `Ragged.distinct`."""
        return torch.cat([opened().unique() for opened in self._opened]).unique()

    def entries(self, places: Tensor) -> Tensor:
        """See `Ragged.entries`; in numpy, whose calls on so little data take a third of the time."""
        wanted = places.numpy()
        shard_of = self._ends.searchsorted(wanted, side="right")
        entries = self._like.new_empty(len(places), *self.entry_shape)
        rows = entries.numpy()
        for shard in np.bincount(shard_of).nonzero()[0].tolist():
            own, values = (shard_of == shard).nonzero()[0], self._values(shard)
            rows[own] = values[wanted[own] - (self._ends[shard] - len(values))]
        return entries


def content_sha256(digests: Mapping[str, str]) -> str:
    """One SHA-256 for what several files hold: `sha256sum a.pkl b.pkl | sha256sum` in their folder gives the same.

    Args:
        digests: name of each file -> its own SHA-256, in the order of the files. That of a single file stands for it.
    """
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()).hexdigest()


def require_names(paths: Sequence[Path]) -> None:
    """Raise a `ValueError` unless there are files, each with a name of its own."""
    if not paths:
        raise ValueError("load_features: got no file, expected one or several; name the feature files")
    places: dict[str, Path] = {}
    for path in paths:
        if path.name in places:
            raise ValueError(
                f"load_features: got {places[path.name]} and {path}, expected shards with names of their own, by which "
                "their caches are told apart; rename one, or name each file once"
            )
        places[path.name] = path


def shared_statistics(shards: Sequence[Shard]) -> dict[str, Tensor]:
    """Mean and scale of the train frames of all shards, "<modality>/mean" and "<modality>/scale" -> (D,).

    Raises:
        ValueError: shards with other fields or widths than the first, a split that no shard has, or a feature without
            a readable value in train.
    """
    expected: dict[str, int | None] = {}
    moments: dict[str, Moments] = {}
    there: set[str] = set()
    for shard in shards:
        with open_cache(shard.cache) as stored:
            fields = _fields(stored)
            expected = expected or fields
            _refuse_other_fields(shard.path, fields, shards[0].path, expected)
            there |= set(stored.splits)
            for modality in (name for name in FRAME_MODALITIES if name in fields and "train" in stored.splits):
                moments.setdefault(modality, Moments()).join(stored.moments(modality))
    if missing := [split for split in SPLITS if split not in there]:
        _fail(shards, "", f"no split {missing[0]!r}", "it in at least one of them", "name the files that have it, too")
    for modality, each in moments.items():
        if without := (each.count == 0).nonzero()[0].tolist():
            got = f"no readable value of {len(without)} of {len(each.count)} features (number {listed(without)})"
            remedy = "leave these features out of every shard, or extract them again"
            _fail(shards, modality, got, "at least one finite value of each feature in train", remedy)
    return {name: value for modality, each in moments.items() for name, value in each.statistics(modality).items()}


def joined(shards: Sequence[Shard], parts: Sequence[Mapping[str, FeatureSet]]) -> dict[str, FeatureSet]:
    """The splits of a data set.

    Args:
        shards: the files, in the order of the samples.
        parts: of each, the splits that it has; see `load_features`.

    Raises:
        ValueError: an id in two shards, or a train split that cannot be trained on.
    """
    _refuse_repeated_ids(shards, parts)
    source = _source([next(iter(part.values())).source for part in parts])
    data = {
        split: _joined_split([(s, part[split]) for s, part in zip(shards, parts, strict=True) if split in part], source)
        for split in SPLITS
    }
    train = data["train"]
    if len(train) < 2:
        _fail(shards, "", "1 sample in train", "at least 2: one sample has no covariance", "give it more samples")
    if "text" in train.modalities and not train.lengths("text").any():  # frames are read for their statistics
        got, expected = "length 0 in all samples of train", "at least one sample of train that has the modality"
        _fail(shards, "text_bert", got, expected, "leave the field 'text_bert' out of every shard")
    return data


def _joined_split(parts: Sequence[tuple[Shard, FeatureSet]], source: dict[str, Any]) -> FeatureSet:
    first, each = parts[0][1], [part for _, part in parts]
    return replace(
        first,
        ids=list(chain.from_iterable(part.ids for part in each)),
        labels=torch.cat([part.labels for part in each]),
        sequences={
            modality: Joined(
                [part.sequences[modality] for part in each],
                [_opener(shard, part, modality) for shard, part in parts],
            )
            for modality in first.modalities
        },
        raw_text=None if first.raw_text is None else list(chain.from_iterable(part.raw_text or [] for part in each)),
        unimodal_labels={
            modality: torch.cat([part.unimodal_labels[modality] for part in each]) for modality in first.unimodal_labels
        },
        replacements={modality: mean for part in each for modality, mean in part.replacements.items()},
        source=source,
    )


def _opener(shard: Shard, part: FeatureSet, modality: str) -> Callable[[], Tensor]:
    """Opens what `part` has open; token ids, which are few bytes and may be in no file, stay as they are."""
    if modality == "text":
        values = part.sequences[modality].values
        return lambda: values
    return partial(_values, shard, part.source["sha256"], f"{part.split}/{modality}/values")


def _values(shard: Shard, sha256: str, name: str) -> Tensor:
    with open_cache(shard.cache) as stored:
        if stored.metadata["sha256"] != sha256:
            raise ValueError(
                f"{shard.cache}: got the cache of another content of {shard.path} than when the data were opened, "
                "expected the same; open the data again, and do not change shards that a run reads"
            )
        return stored.tensor(name)


def _source(sources: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Where the data are from: the keys of one file's, with counts of all files, and each file's SHA-256."""
    digests = {source["file"]: source["sha256"] for source in sources}
    counts: dict[str, dict[str, int]] = {name: {} for name in COUNTS}
    for name, total in counts.items():
        for place, number in chain.from_iterable(source[name].items() for source in sources):
            total[place] = total.get(place, 0) + number
    first, *_, last = digests
    return {"file": f"{first} to {last}", "sha256": content_sha256(digests), **counts, "shards": digests}


def _fields(stored: CacheReader) -> dict[str, int | None]:
    """Name of each field of the first split -> width of its frames, or None."""
    prefix = f"{stored.splits[0]}/"
    names = {name.removeprefix(prefix).partition("/values")[0] for name in stored.names if name.startswith(prefix)}
    return {
        name: stored.ragged(f"{prefix}{name}").entry_shape[0] if name in FRAME_MODALITIES else None
        for name in sorted(names)
        if not name.endswith("/offsets")
    }


def _refuse_other_fields(
    path: Path, fields: Mapping[str, int | None], first: Path, expected: Mapping[str, int | None]
) -> None:
    for name in sorted({*fields, *expected}):
        where, remedy = f"{path}: field {FIELDS.get(name, name)!r}", "give all shards the same fields, extracted alike"
        if (name in fields) != (name in expected):
            places = ("here", f"in {first}") if name in fields else (f"in {first}", "here")
            raise ValueError(f"{where}: got it {places[0]} and not {places[1]}, expected it in every shard; {remedy}")
        if fields[name] != expected[name]:
            raise ValueError(
                f"{where}: got width {fields[name]}, expected width {expected[name]}, as in {first}; {remedy}"
            )


def _refuse_repeated_ids(shards: Sequence[Shard], parts: Sequence[Mapping[str, FeatureSet]]) -> None:
    seen: set[str] = set()
    ids = [list(chain.from_iterable(features.ids for features in part.values())) for part in parts]
    for place, own in enumerate(ids):
        if repeated := [identity for identity in own if identity in seen]:
            other = next(shards[before].path for before in range(place) if repeated[0] in ids[before])
            raise ValueError(
                f"{shards[place].path}: field 'id', id {repeated[0]!r}: got an id that {other} has already "
                f"({len(repeated)} ids of earlier shards: {listed(repeated)}), expected ids unique across shards; if "
                "the ids are numbered anew in each file, put the file's name before them; if the samples are the "
                "same, keep each in one file"
            )
        seen.update(own)


def _fail(shards: Sequence[Shard], field: str, got: str, expected: str, remedy: str) -> None:
    where = f"{shards[0].path} to {shards[-1].path}" + f": field {field!r}" * bool(field)
    raise ValueError(f"{where}: got {got} in {len(shards)} shards, expected {expected}; {remedy}")
