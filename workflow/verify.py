"""Train one seed of each variant of a grid again, and compare its history with the recorded one.

python workflow/verify.py --grid small

A run stays valid while the code still gives its numbers. float64 runs must agree on this processor, whatever it is;
float32 and bf16 runs repeat on the same kind of processor only and are not compared.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

os.environ.setdefault("TQDM_DISABLE", "1")  # a line a variant is enough

from msa_core import paths, run
from msa_core.config import grid, resolve

# Of a column's largest value. Between AVX-512 and AVX2, 4e-10 was measured after 20 epochs, against SSE 7e-10. A
# difference grows by about half in an epoch, so that longer runs need a margin. A change of the code moves numbers by
# far more.
TOLERANCE = 1e-7


def largest_difference(new: pd.DataFrame, recorded: pd.DataFrame) -> float:
    """Of all epochs and columns but the seconds, relative to each column's largest value; inf: other epochs."""
    columns = [name for name in new.select_dtypes("number") if name != "seconds"]
    if len(new) != len(recorded) or not set(columns) <= set(recorded):
        return np.inf
    ours, theirs = new[columns].to_numpy(np.float64), recorded[columns].to_numpy(np.float64)
    scale = np.nanmax(np.abs(theirs), axis=0, initial=0)
    gaps = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0, np.abs(ours - theirs))
    return float(np.nan_to_num(gaps / np.where(scale > 0, scale, 1), nan=np.inf).max())


def verify(name: str) -> bool:
    """Print a line for each variant; False if one is outdated."""
    history = pd.read_parquet(paths.TABLES / f"{name}-history.parquet")
    agree = True
    first_seeds = {(each.dataset, each.variant): each for each in reversed(grid(name))}.values()
    for chosen in reversed(list(first_seeds)):
        config = resolve(chosen.dataset, chosen.variant, chosen.seed)
        label = f"{chosen.dataset}/{chosen.variant}/seed-{chosen.seed}"
        recorded = history[(history[["dataset", "variant", "seed"]] == [*vars(chosen).values()]).all(axis="columns")]
        if config.training.precision != "float64":
            print(f"{label}: {config.training.precision}, not compared", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            new = run.train(config, Path(folder) / "run").history
        difference = largest_difference(new, recorded.reset_index())
        outdated = difference > TOLERANCE
        agree &= not outdated
        print(f"{label}: {'OUTDATED' if outdated else 'agrees'}, largest difference {difference:.1e}", flush=True)
    return agree


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", default="small", help="of config/study.yaml")
    name = parser.parse_args().grid
    if not verify(name):
        sys.exit(f"grid {name}: this code on this machine gives other numbers than the recorded ones, see above")
    print(f"grid {name}: every variant that is compared agrees")
