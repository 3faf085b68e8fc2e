"""Where things lie, in one place. Relative paths given by a user are taken from the project's top folder.

The project is the clone that holds this package. A package installed from a wheel has no clone: the current folder is
then the project, and the settings files and the style sheet are those inside the package (pyproject.toml puts them
there).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "_shipped").is_dir()  # from a wheel
ROOT = Path() if INSTALLED else PACKAGE.parent
_SHIPPED = PACKAGE / "_shipped" if INSTALLED else ROOT
CONFIG = _SHIPPED / "config"
STYLE = _SHIPPED / "figures" / "style.mplstyle"
RUNS = ROOT / "results" / "runs"
RECORDS = ROOT / "results" / "records"  # of finished runs, by grid
TABLES = ROOT / "results" / "tables"
DIFFERENCES = ROOT / "results" / "differences.txt"  # from the tables and figures that were there
FIGURES = ROOT / "figures"


def from_root(path: str | Path) -> Path:
    """The path itself if absolute (`~` is understood), else under the project's top folder."""
    return (ROOT / Path(path).expanduser()).absolute()


def feature_files(features: str) -> list[Path]:
    """What the setting `dataset.features` names: a file, or by a pattern, ``data/store/*.pkl``, all that match it.

    Sorted by name; the path itself if it is there, or if nothing matches it.
    """
    path = from_root(features)
    there = [path] if path.exists() else sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return there or [path]


def runs_folder(changes: Mapping[str, Any]) -> Path:
    """Where runs go by default: `results/runs`, or `results/trials/<key of the changes>` for runs whose settings are
    not those of a preset and a variant, so that a trial never enters a table of the study.

    Args:
        changes: dotted name of a setting -> value, see `RunConfig.changes`.

    >>> runs_folder({}).name
    'runs'
    """
    if not changes:
        return RUNS
    key = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
    return ROOT / "results" / "trials" / key[:8]


def run_folder(dataset: str, variant: str, seed: int, runs: str | Path = RUNS) -> Path:
    """`<runs>/<dataset>/<variant>/seed-<seed>`: each run owns its folder."""
    return from_root(runs) / file_name(dataset) / file_name(variant) / f"seed-{seed}"


def file_name(name: str) -> str:
    """The name itself, if it can name a file or folder and does not lead out of the folder that this is put in.

    Raises:
        ValueError: it is empty, longer than 100 characters, or has others than letters, digits, "_", "-" and ".".
    """
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise ValueError(
            f"got the name {name[:60]!r}, expected 1 to 100 letters, digits, '_', '-' and '.', the first no '-' or '.'"
        )
    return name
