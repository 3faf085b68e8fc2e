"""The study's grids of runs and families of comparisons."""

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


def families() -> dict[str, list[str]]:
    """Families of comparisons of `config/study.yaml`: name -> its variants.

    Raises:
        ValueError: a variant is unknown, is in no family and not listed under `in_no_family`, or is in both.
    """
    study = load_yaml(paths.CONFIG / "study.yaml")
    groups: dict[str, list[str]] = {**study["families"], "in_no_family": study["in_no_family"]}
    variants = load_yaml(paths.CONFIG / "variants.yaml")
    for group, members in groups.items():
        if unknown := sorted(set(members) - set(variants)):
            raise ValueError(
                f"config/study.yaml, {group}: got variants {unknown}, expected variants of config/variants.yaml; "
                "correct the names, or add the variants there"
            )
    in_a_family = {variant for members in study["families"].values() for variant in members}
    if absent := sorted(set(variants) - in_a_family - set(study["in_no_family"])):
        raise ValueError(
            f"config/study.yaml: got no family for variants {absent} of config/variants.yaml; add each to a family "
            "whose claims are tested together, or to in_no_family with a reason"
        )
    if both := sorted(in_a_family & set(study["in_no_family"])):
        raise ValueError(
            f"config/study.yaml: got variants {both} in a family and in in_no_family; remove them from one"
        )
    return study["families"]


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; an empty file is an empty one."""
    return yaml.safe_load(path.read_text()) or {}
