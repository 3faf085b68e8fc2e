"""Where things lie, in one place. Relative paths given by a user are taken from the project's top folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config"
RUNS = ROOT / "results" / "runs"
RECORDS = ROOT / "results" / "records"  # of finished runs, by grid
TABLES = ROOT / "results" / "tables"
DIFFERENCES = ROOT / "results" / "differences.txt"  # from the tables and figures that were there
FIGURES = ROOT / "figures"
STYLE = FIGURES / "style.mplstyle"


def from_root(path: str | Path) -> Path:
    """The path itself if absolute (`~` is understood), else under the project's top folder."""
    return ROOT / Path(path).expanduser()


def runs_folder(changes: Mapping[str, Any]) -> Path:
    """Where runs go by default: `results/runs`, or `results/trials/<key of the changes>` for runs whose settings are
    not those of a preset and a variant, so that a trial never enters a table of the study.

    Args:
        changes: name of a setting -> value; a value that is empty or None changes nothing.

    >>> runs_folder({"features": ""}).name
    'runs'
    """
    changed = {name: value for name, value in changes.items() if value not in ("", None)}
    if not changed:
        return RUNS
    key = hashlib.sha256(json.dumps(changed, sort_keys=True, default=str).encode()).hexdigest()
    return ROOT / "results" / "trials" / key[:8]


def run_folder(dataset: str, variant: str, seed: int, runs: str | Path = RUNS) -> Path:
    """`<runs>/<dataset>/<variant>/seed-<seed>`: each run owns its folder."""
    return from_root(runs) / dataset / variant / f"seed-{seed}"
