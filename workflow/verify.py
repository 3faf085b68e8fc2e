"""Train one seed of each recorded variant of a grid again, and compare its history with the recorded one.

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

from msa_core import paths, processes, run
from msa_core.analysis import collect
from msa_core.analysis.summary import KEYS
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
    """Print a line for each variant and write those that are outdated beside the records; False if there is one."""
    recorded = collect.records(grid(name), name)
    history, rows = recorded["history"], []
    for chosen in recorded.runs.drop_duplicates(["dataset", "variant"])[KEYS].itertuples(index=False):
        config = resolve(chosen.dataset, chosen.variant, chosen.seed)
        label = f"{chosen.dataset}/{chosen.variant}/seed-{chosen.seed}"
        if config.training.precision != "float64":
            print(f"{label}: {config.training.precision}, not compared", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            new = run.train(config, Path(folder) / "run").history
        of_run = (history[KEYS] == list(chosen)).all(axis="columns")
        difference = largest_difference(new, history[of_run])
        outdated = difference > TOLERANCE
        rows += [{**chosen._asdict(), "difference": difference}] if outdated else []
        print(f"{label}: {'OUTDATED' if outdated else 'agrees'}, largest difference {difference:.1e}", flush=True)
    file = paths.RECORDS / name / "outdated.csv"  # tables name what is in it
    if rows or file.exists():
        (file.parent / "runs.parquet").touch()  # the batch makes the tables anew
    if rows:
        pd.DataFrame(rows).to_csv(file, index=False)
    else:
        file.unlink(missing_ok=True)
    return not rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", default="small", help="of config/study.yaml")
    name = parser.parse_args().grid
    with processes.one_error():
        agrees = verify(name)
    if not agrees:
        sys.exit(f"grid {name}: this code on this machine gives other numbers than the recorded ones, see above")
    print(f"grid {name}: every variant that is compared agrees")
