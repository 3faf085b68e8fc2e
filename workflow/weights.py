"""Choose the alignment's weight on validation data, and print what to write into the preset or the variant.

python workflow/weights.py --dataset planted_draws
python workflow/weights.py --dataset planted_draws --variant distance_cka --weights 0.01 0.1 1 10

Trains the variant with each weight on each seed and takes the lowest mean validation MAE; the test split takes no part.
The seeds are others than the study's. Writes a row a run to results/records/weights; what is there is not run again.
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from math import copysign
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd

from msa_core import paths, processes, run
from msa_core.config import RunConfig, resolve
from msa_core.disk import put

KEYS = ["weight", "seed"]


def pairs_at(config: RunConfig, weight: float) -> dict[str, float]:
    """Override of `objective.alignment.pairs`: this weight, of the setting's sign, on each pair that is aligned.

    Raises:
        ValueError: no pair is.
    """
    alignment = config.objective.alignment
    pairs = {"-".join(pair): copysign(weight, sign) for pair, sign in alignment.pairs.items() if sign}
    if not pairs or not alignment.scale:
        raise ValueError(
            f"{config.dataset.name} / {config.variant}: got no aligned pair, expected one whose weight is to be chosen"
        )
    return pairs


def settings(dataset: str, variant: str, weight: float, seed: int) -> RunConfig:
    """A run of the variant with this weight. Raises as `pairs_at`."""
    overrides: dict[str, object] = {"objective.alignment.pairs": pairs_at(resolve(dataset, variant, seed), weight)}
    if resolve(dataset).dataset.features is None:
        overrides["dataset.planted.num_test"] = 2  # drawn last: the other splits stay as they are
    return resolve(dataset, variant, seed, overrides=overrides)


def measure(dataset: str, variant: str, weight: float, seed: int) -> dict[str, float]:
    """Train one run in a folder of trials: its row."""
    name = f"{variant}-{np.format_float_positional(weight, trim='-')}"
    folder = paths.run_folder(dataset, name, seed, paths.ROOT / "results" / "trials" / "weights")
    finished = run.train(settings(dataset, variant, weight, seed), folder)
    best_epoch = finished.provenance["best_epoch"]
    valid_mae = finished.history.set_index("epoch")["valid_mae"][best_epoch]
    return {"weight": weight, "seed": seed, "valid_mae": valid_mae, "best_epoch": best_epoch}


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per weight, the best first: mean and standard deviation of validation MAE over the seeds that all have.

    `above_best` is the mean difference from the best weight's runs of the same seeds, `sd_difference` its standard
    deviation.
    """
    table = runs.pivot(index="seed", columns="weight", values="valid_mae").dropna()
    order = table.mean().sort_values(kind="stable").index
    differences = table.sub(table[order[0]], axis="index")
    columns = {"mean": table.mean(), "sd": table.std(), "above_best": differences.mean()}
    return pd.DataFrame({**columns, "sd_difference": differences.std(), "seeds": len(table)}).loc[order].reset_index()


def workers(number: int) -> ProcessPoolExecutor:
    """Processes that end with this one: a worker whose parent was killed would wait for work for ever."""
    return ProcessPoolExecutor(number, get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="of config/datasets")
    parser.add_argument("--variant", default="paper", help="of config/variants.yaml")
    parser.add_argument("--weights", type=float, nargs="+", default=[1, 10, 100, 1000, 10000, 100000, 1000000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    file = paths.RECORDS / "weights" / f"{options.dataset}-{options.variant}.csv"
    rows = pd.read_csv(file).to_dict("records") if file.is_file() else []
    known = {(row["weight"], row["seed"]) for row in rows}
    wanted = [(weight, seed) for seed in options.seeds for weight in options.weights if (weight, seed) not in known]
    with processes.one_error(status=2):
        for weight, seed in wanted:
            settings(options.dataset, options.variant, weight, seed)  # what cannot be run is refused before all runs
    with workers(options.processes) as pool:
        for job in [pool.submit(measure, options.dataset, options.variant, *each) for each in wanted]:
            rows.append(job.result())
            print(rows[-1], flush=True)
            write(pd.DataFrame(rows).sort_values(KEYS), file)
    recorded = pd.DataFrame(rows)
    table = summary(recorded[recorded["seed"].isin(options.seeds) & recorded["weight"].isin(options.weights)])
    print(table.to_markdown(index=False, floatfmt=".4f"))
    best = settings(options.dataset, options.variant, table["weight"][0], options.seeds[0])
    pairs = {"-".join(pair): weight for pair, weight in best.objective.alignment.pairs.items()}
    print(f"\nobjective.alignment.pairs: {pairs}")


def write(rows: pd.DataFrame, file: Path) -> None:
    """A whole file or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    rows.to_csv(partial, index=False)
    put(partial, file)


if __name__ == "__main__":
    main()
