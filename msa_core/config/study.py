"""The study's grids of runs."""

from pathlib import Path
from typing import Any

import yaml

from msa_core import paths
from msa_core.config.base import Settings


class GridRun(Settings):
    """One run of a grid."""

    dataset: str
    variant: str
    seed: int


def grid(name: str) -> list[GridRun]:
    """The runs of a grid of `config/study.yaml`: every variant with every seed, data set by data set.

    Raises:
        ValueError: unknown grid.

    >>> len(grid("small"))
    9
    """
    grids = load_yaml(paths.CONFIG / "study.yaml")["grids"]
    if name not in grids:
        raise ValueError(f"got grid {name!r}, expected one of {sorted(grids)} (config/study.yaml)")
    return [
        GridRun(dataset=entry["dataset"], variant=variant, seed=seed)
        for entry in grids[name]
        for variant in entry["variants"]
        for seed in entry["seeds"]
    ]


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; an empty file is an empty one."""
    return yaml.safe_load(path.read_text()) or {}
