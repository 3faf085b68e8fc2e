"""Random searches of hyper-parameters: two variants, each tuned with the same budget, on planted data."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from msa_core.config.base import MOST, Name, Number, Seed, Seeds, Settings, Text

Value = float | int | str | bool | None


class Searched(Settings):
    """What a trial draws one value of."""

    settings: Annotated[list[Text], Field(min_length=1)] = Field(description="dotted names; all take the value")


class Uniform(Searched):
    """A number between two ends."""

    kind: Literal["uniform"] = "uniform"
    low: Number
    high: Number
    log: bool = Field(False, description="its logarithm is uniform")

    @model_validator(mode="after")
    def _low_is_below_high(self) -> "Uniform":
        if self.low >= self.high or (self.log and self.low <= 0):
            above = ", above 0" if self.log else ""
            raise ValueError(f"got low {self.low} and high {self.high}, expected low below high{above}")
        return self


class OneOf(Searched):
    """One of some values, each as likely."""

    kind: Literal["one_of"] = "one_of"
    values: Annotated[list[Value], Field(min_length=2)]


class Search(Settings):
    """A variant against another one, both with the hyper-parameters of the same trials.

    Trial by trial both have the same values; those of parts that a variant lacks change nothing for it. The trial
    with the lowest mean validation MAE is chosen, for each variant; both choices are then compared on other draws.
    """

    question: int = Field(ge=1, le=8, description="of the study")
    title: Text = Field(description="what is asked")
    dataset: Name = Field(description="whose runs each draw their own data")
    variant: Name
    reference: Name
    space: Annotated[dict[Name, Annotated[Uniform | OneOf, Field(discriminator="kind")]], Field(min_length=1)] = Field(
        description="name of a column -> what is drawn; fixed before the runs"
    )
    trials: int = Field(ge=2, le=MOST, description="the budget of each variant")
    sampler_seed: Seed = Field(0, description="of the trials' values")
    trial_seeds: Seeds = Field(description="draws on which every trial is trained")
    seeds: Seeds = Field(description="draws on which the chosen trials are compared")

    @model_validator(mode="after")
    def _draws_and_settings_are_its_own(self) -> "Search":
        if both := sorted(set(self.trial_seeds) & set(self.seeds)):
            raise ValueError(f"got seeds {both} for the trials and for comparing, expected other ones for each")
        names = [name for each in self.space.values() for name in each.settings]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"got {twice[0]} in two places of space, expected each setting once")
        if of_data := [name for name in names if name.split(".")[0] in ("dataset", "text")]:
            raise ValueError(
                f"got {of_data[0]} in space, expected settings of the model or its training: all runs of "
                "a draw share their data"
            )
        return self

    @property
    def variants(self) -> tuple[str, str]:
        """Both."""
        return self.variant, self.reference
