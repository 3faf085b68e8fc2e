"""Train one run: `python -m msa_core planted paper --seed 1111`. By several processes: docs/running.md."""

import argparse
import sys

import yaml

from msa_core import paths, processes
from msa_core.config import resolve
from msa_core.processes import ProcessLost
from msa_core.progress import Interrupted
from msa_core.run import train


def main(arguments: list[str] | None = None) -> None:
    """What 01_train.ipynb trains with the same parameters, in the same folder."""
    parser = argparse.ArgumentParser(prog="python -m msa_core", description="Train one run, or go on with it.")
    parser.add_argument("dataset", help="a file of config/datasets")
    parser.add_argument("variant", nargs="?", default="paper", help="a key of config/variants.yaml")
    parser.add_argument("--seed", type=int, default=1111, help="of weights, dropout and the order of samples")
    parser.add_argument("--features", help="another feature file than the preset's")
    parser.add_argument("--runs", help="folder of runs; default: results/runs, or one under results/trials")
    parser.add_argument(
        "--overrides", type=yaml.safe_load, default={}, metavar="YAML", help="such as '{training.max_epochs: 3}'"
    )
    given = parser.parse_args(arguments)
    with processes.one_error():
        try:
            config = resolve(given.dataset, given.variant, given.seed, given.features, given.overrides)
            runs = given.runs or paths.runs_folder(config.changes())
            folder = paths.run_folder(given.dataset, given.variant, given.seed, runs)
            run = train(config, folder)
        except (Interrupted, ProcessLost) as stopped:
            sys.exit(str(stopped))
        if processes.is_main():
            print(f"{folder}: best epoch {run.provenance['best_epoch']}, metrics in metrics.json")


if __name__ == "__main__":
    main()
