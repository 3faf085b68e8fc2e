"""Where things lie, in one place. Relative paths given by a user are taken from the project's top folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config"
RUNS = ROOT / "results" / "runs"
TABLES = ROOT / "results" / "tables"
FIGURES = ROOT / "figures"
STYLE = FIGURES / "style.mplstyle"


def from_root(path: str | Path) -> Path:
    """The path itself if absolute (`~` is understood), else under the project's top folder."""
    return ROOT / Path(path).expanduser()


def run_folder(dataset: str, variant: str, seed: int, runs: str | Path = RUNS) -> Path:
    """`<runs>/<dataset>/<variant>/seed-<seed>`: each run owns its folder."""
    return from_root(runs) / dataset / variant / f"seed-{seed}"
