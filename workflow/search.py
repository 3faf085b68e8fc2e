"""Search hyper-parameters at random, with the same trials for two variants (`searches` of config/study.yaml).

python workflow/search.py alignment

Optuna draws all trials beforehand, none is stopped early, and each is trained on the same few draws of the data. For
each variant the trial with the lowest mean validation MAE is taken; both are then trained on other draws. Writes a row
a run to results/records/search/<search>/runs.csv and the provenance of each start beside it. What is there with the
same settings is not run again. The text encoder is that of workflow/sweep.py.
"""

import argparse
import os
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import torch
from sweep import WEIGHTS, fingerprint, note_start, outcome, pretrain
from weights import workers, write

from msa_core import build, paths, processes
from msa_core.analysis.searches import chosen_trials, read_runs
from msa_core.config import RunConfig, Search, resolve, search
from msa_core.config.searches import OneOf, Searched
from msa_core.data import FeatureSet

Run = tuple[str, int, int]  # variant, trial, draw
Values = dict[str, Any]  # of one trial, by their names in the space


def trials(study: Search) -> list[Values]:
    """Every trial's values. With a larger budget, the first trials stay what they are."""
    sampler, pruner = optuna.samplers.RandomSampler(seed=study.sampler_seed), optuna.pruners.NopPruner()
    space = {name: distribution(searched) for name, searched in study.space.items()}
    searching = optuna.create_study(sampler=sampler, pruner=pruner)
    return [searching.ask(space).params for _ in range(study.trials)]


def distribution(searched: Searched) -> optuna.distributions.BaseDistribution:
    """Optuna's."""
    if isinstance(searched, OneOf):
        return optuna.distributions.CategoricalDistribution(searched.values)
    return optuna.distributions.FloatDistribution(searched.low, searched.high, log=searched.log)


def settings(study: Search, values: Values, variant: str, seed: int) -> RunConfig:
    """One run's."""
    overrides = {setting: value for name, value in values.items() for setting in study.space[name].settings}
    return resolve(study.dataset, variant, seed, overrides=overrides)


@lru_cache(maxsize=8)  # each process keeps the trials' draws
def drawn(dataset: str, seed: int) -> dict[str, FeatureSet]:
    """The data of a draw, which no trial changes."""
    return build.dataset(resolve(dataset, seed=seed))


def measure(study: Search, values: list[Values], job: list[Run]) -> list[dict[str, Any]]:
    """Train some runs: their rows."""
    rows = []
    for variant, trial, seed in job:
        row, *_ = outcome(settings(study, values[trial], variant, seed), drawn(study.dataset, seed))
        rows.append({"variant": variant, "trial": trial, "seed": seed} | values[trial] | row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", help="of config/study.yaml")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=paths.RECORDS / "search")
    options = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    with processes.one_error(status=2):
        study = search(options.search)
    folder = options.folder.resolve() / options.search
    os.chdir(paths.ROOT)  # from which the text encoder is found
    text = Path(resolve(study.dataset).text.encoder)
    if not (text / WEIGHTS).is_file():
        pretrain(study.dataset, text)
    file, values = folder / "runs.csv", trials(study)
    rows, noted = read_runs(file, study), False
    with workers(options.processes) as pool:

        def train(jobs: list[list[Run]], seeds: list[int]) -> None:
            nonlocal rows, noted
            keys = {run: fingerprint(settings(study, values[run[1]], run[0], run[2])) for job in jobs for run in job}
            outdated = rows["seed"].isin(seeds) & ~rows["settings"].isin(set(keys.values()))
            if outdated.any():
                print(f"{outdated.sum()} runs are no longer in the search, or have other settings now: left out")
            rows = rows[~outdated]
            recorded = set(rows["settings"])
            left = [[run for run in job if keys[run] not in recorded] for job in jobs]
            left = [job for job in left if job]
            if left and not noted:
                note_start(folder, text)
                noted = True
            for number, made in enumerate(pool.map(partial(measure, study, values), left), start=1):
                rows = pd.concat([rows, pd.DataFrame(made)])
                rows = rows.sort_values(["trial", "seed", "variant"], ignore_index=True)
                write(rows, file)
                print(f"{number} of {len(left)}", flush=True)

        tried = range(study.trials)
        train([[(name, trial, seed) for name in study.variants] for trial in tried for seed in study.trial_seeds],
              study.trial_seeds)  # fmt: skip
        chosen = chosen_trials(rows, study)
        train([[(name, chosen[name], seed) for name in study.variants] for seed in study.seeds], study.seeds)


if __name__ == "__main__":
    main()
