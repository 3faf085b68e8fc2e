"""Train one run: `python -m msa_core planted paper --seed 1111`. By several processes: docs/running.md."""

import argparse
from typing import Any

from msa_core import paths, processes
from msa_core.config import resolve
from msa_core.config.files import read_yaml
from msa_core.run import train


def main(arguments: list[str] | None = None) -> None:
    """What 01_train.ipynb trains with the same parameters, in the same folder.

    What it refuses is one line on stderr. The exit status is 2 for arguments and settings and 1 for anything else.
    """
    parser = argparse.ArgumentParser(prog="python -m msa_core", description="Train one run, or go on with it.")
    parser.add_argument("dataset", help="a file of config/datasets")
    parser.add_argument("variant", nargs="?", default="paper", help="a key of config/variants.yaml")
    parser.add_argument("--seed", type=int, default=1111, help="of weights, dropout and the order of samples")
    parser.add_argument("--features", help="another feature file than the preset's")
    parser.add_argument("--runs", help="folder of runs; default: results/runs, or one under results/trials")
    parser.add_argument("--overrides", default="{}", metavar="YAML", help="such as '{training.max_epochs: 3}'")
    given = parser.parse_args(arguments)
    with processes.one_error(status=2):
        config = resolve(given.dataset, given.variant, given.seed, given.features, _overrides(given.overrides))
        runs = given.runs or paths.runs_folder(config.changes())
        folder = paths.run_folder(given.dataset, given.variant, given.seed, runs)
    with processes.one_error():
        run = train(config, folder)
        if processes.is_main():
            print(f"{folder}: best epoch {run.provenance['best_epoch']}, metrics in metrics.json")


def _overrides(text: str) -> dict[str, Any]:
    try:
        return read_yaml(text, "--overrides")
    except ValueError as error:
        raise ValueError(f'{error}; an example: --overrides "{{training.max_epochs: 3}}"') from None


if __name__ == "__main__":
    main()
