"""Every setting, typed, with its unit and source; read from `config/*.yaml`, unknown keys refused. Free of torch.

Each kind of part (model, fusion, distance, label source) has its settings classes in one module of this package.
"""

from msa_core.config.base import Settings
from msa_core.config.data import DatasetConfig
from msa_core.config.files import load_preset, load_variants, load_yaml
from msa_core.config.notebooks import refuse_unknown_parameters
from msa_core.config.problems import problems
from msa_core.config.run import RunConfig, resolve
from msa_core.config.searches import Search
from msa_core.config.study import GridRun, Primary, families, grid, jobs, primary, search, searches, sweep, sweeps
from msa_core.config.sweeps import Sweep, SweepCell
from msa_core.config.training import GroupsConfig, TrainingConfig

__all__ = [
    "DatasetConfig",
    "GridRun",
    "GroupsConfig",
    "Primary",
    "RunConfig",
    "Search",
    "Settings",
    "Sweep",
    "SweepCell",
    "TrainingConfig",
    "families",
    "grid",
    "jobs",
    "load_preset",
    "load_variants",
    "load_yaml",
    "primary",
    "problems",
    "refuse_unknown_parameters",
    "resolve",
    "search",
    "searches",
    "sweep",
    "sweeps",
]
