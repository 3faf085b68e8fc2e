"""Sweeps: short runs of several variants on planted data, of which a row each is kept."""

from itertools import product
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from msa_core.config.base import Name, Number, Seeds, Settings, Text
from msa_core.config.files import load_variants

Level = float | str


class SweepCell(NamedTuple):
    """One combination of levels.

    Attributes:
        levels: of each factor.
        overrides: dotted name of a setting -> value.
    """

    levels: tuple[Level, ...]
    overrides: dict[str, Any]


class Sweep(Settings):
    """Variants compared with others in every combination of some factors, on draws of the data that all of them share.

    The alignment's weight is chosen in each cell, for each variant that aligns, by validation MAE on other draws.
    """

    question: int = Field(ge=1, le=8, description="of the study")
    title: Text = Field(description="what is asked")
    dataset: Name = Field(description="whose runs each draw their own data")
    factors: dict[Name, Annotated[dict[Level, dict[str, Any] | Name], Field(min_length=1)]] = Field(
        {}, description="factor -> level -> overrides, or a variant, whose are taken; none: one cell, the preset"
    )
    excluded: list[dict[Name, Level]] = Field(
        [], description="factor -> level: combinations that are no cells, with every level of the other factors"
    )
    comparisons: Annotated[dict[Name, Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)] = Field(
        description="variant -> those that it is compared with, which have its weight if they align"
    )
    weights: Annotated[list[Number], Field(min_length=1)] = Field(
        description="of the alignment; more than one: tried in each cell"
    )
    weight_seeds: Seeds = Field(description="draws on which a weight is chosen")
    seeds: Seeds = Field(description="draws on which the variants are compared")
    measures: list[Literal["information"]] = Field(
        [], description="of compared runs, besides their errors (analysis.information); costs 2 seconds a run"
    )

    @model_validator(mode="after")
    def _each_once_and_no_draw_for_both(self) -> "Sweep":
        lists = {name: getattr(self, name) for name in ("weights", "weight_seeds", "seeds")}
        for name, values in (lists | self.comparisons).items():
            if len(set(values)) < len(values):
                raise ValueError(f"got {name} {values}, expected each value once")
        if both := sorted(set(self.weight_seeds) & set(self.seeds)):
            raise ValueError(f"got seeds {both} for choosing a weight and for comparing, expected other ones for each")
        for each in self.excluded:
            if not each or any(level not in self.factors.get(name, {}) for name, level in each.items()):
                raise ValueError(f"got excluded {each}, expected levels of the factors {[*self.factors]}")
        return self

    @property
    def cells(self) -> list[SweepCell]:
        """Every combination of the factors' levels that is not excluded."""
        variants, cells = load_variants(), []
        for chosen in product(*(levels.items() for levels in self.factors.values())):
            named = {name: level for name, (level, _) in zip(self.factors, chosen, strict=True)}
            if any(each.items() <= named.items() for each in self.excluded):
                continue
            changes = [variants[each] if isinstance(each, str) else each for _, each in chosen]
            overrides = {name: value for each in changes for name, value in each.items()}
            cells.append(SweepCell(tuple(level for level, _ in chosen), overrides))
        return cells

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each variant with each that it is compared with."""
        return [(variant, reference) for variant, others in self.comparisons.items() for reference in others]
