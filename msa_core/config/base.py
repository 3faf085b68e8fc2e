"""What all settings have in common."""

from pydantic import BaseModel, ConfigDict

MMSA = "thuiar/MMSA 2.2.1, config_regression.json, self_mm"  # the source of most default values


class Settings(BaseModel):
    """Frozen; an unknown key is an error.

    Where there is a choice of parts (model, fusion, distance, label source), each part has a settings class of its
    own, told from the others by its `kind`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
