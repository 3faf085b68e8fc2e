"""How much of the spread over seeds is rounding? The same runs under several arithmetics of one machine.

python workflow/arithmetics.py --variants paper no_alignment --seeds 1111 1112    # test MAE of each run
python workflow/arithmetics.py --steps 190 --precisions float32 float64           # the loss of each step

An arithmetic is a set of environment variables that torch reads when it is loaded, so that each has processes of its
own; every run has one thread. Writes a row a run (or a step) to results/records/arithmetic; what is there is kept and
not run again.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from accelerate.utils import set_seed
from numpy.typing import NDArray

from msa_core import build, paths
from msa_core.config import RunConfig, resolve
from msa_core.data import FeatureSet
from msa_core.interfaces import Model
from msa_core.training import Fit, TrainingLoop, fit, predict

FOLDER = paths.ROOT / "results" / "records" / "arithmetic"
ARITHMETICS = {
    "default": {},
    "AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "compatible": {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx512"},
    "compatible, AVX2": {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def settings(variant: str, seed: int, precision: str, dataset: str = "planted") -> RunConfig:
    """A preset in one precision."""
    return resolve(dataset, variant, seed, overrides={"training.precision": precision})


def trained(config: RunConfig, data: Mapping[str, FeatureSet]) -> tuple[Model, Fit]:
    """Train one run without a folder."""
    set_seed(config.seed)
    parts = build.parts(config, data["train"])
    set_seed(config.seed)
    fitted = fit(parts, data["train"], data["valid"], config.training, config.dataset.metrics, config.seed)
    return parts.model, fitted


def absolute_errors(model: Model, features: FeatureSet) -> NDArray:
    """Of the multimodal task, of each sample."""
    return abs(predict(model, features)["multimodal"] - features.labels.numpy())


def run_rows(config: RunConfig) -> list[dict]:
    """Train one run: its test MAE, best epoch and the variance of its errors over test samples."""
    data = build.dataset(config)
    model, fitted = trained(config, data)
    errors = absolute_errors(model, data["test"])
    mae, variance = float(errors.mean()), float(errors.var(ddof=1))
    return [{"test_mae": mae, "error_variance": variance, "samples": len(errors), "best_epoch": fitted.best_epoch}]


def step_rows(config: RunConfig, steps: int) -> list[dict]:
    """Train so many steps: the loss of each."""
    train = build.dataset(config)["train"]
    set_seed(config.seed)
    loop = TrainingLoop(build.parts(config, train), train, config.training, config.seed)
    losses: list[float] = []
    epoch = 0
    while len(losses) < steps:
        epoch += 1
        losses += [terms["total"].item() for _, terms in loop.steps(epoch)]
    return [{"step": step, "loss": loss} for step, loss in enumerate(losses[:steps], start=1)]


def output_under(arithmetic: str, command: list[str], python: str = sys.executable) -> str:
    """What a Python script prints in a process of its own, with one thread, under one arithmetic."""
    environment = os.environ | ARITHMETICS[arithmetic] | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run([python, *command], env=environment, capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{' '.join(command)} under {arithmetic}: {process.stderr[-2000:]}")
    return process.stdout


def in_a_process(arithmetic: str, dataset: str, variant: str, seed: int, precision: str, steps: int) -> None:
    """One run (or its first steps) in a process of its own; its rows as a file, unless they are recorded."""
    ways = arithmetic.replace(", ", "-")
    name = f"{'steps' if steps else 'runs'}-{dataset}-{precision}-{variant}-{seed}-{ways}"
    file = FOLDER / "parts" / f"{name}.json"
    names = {"dataset": dataset, "variant": variant, "seed": seed, "precision": precision, "arithmetic": arithmetic}
    if file.is_file() or is_recorded(FOLDER / f"{'steps' if steps else 'runs'}.parquet", names):
        return
    command = [__file__, "--one", dataset, variant, str(seed), precision, "--steps", str(steps)]
    rows = [names | row for row in json.loads(output_under(arithmetic, command).splitlines()[-1])]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows))
    print(name, rows[-1], flush=True)


def is_recorded(file: Path, names: Mapping[str, object]) -> bool:
    """Whether a parquet file has rows with these values."""
    if not file.is_file():
        return False
    frame = pd.read_parquet(file)
    return bool((frame[list(names)] == pd.Series(names)).all(axis="columns").any())


def collect(file: Path, rows: list[dict], names: list[str]) -> None:
    """Add rows to a parquet file; of two with the same names, the new one stays."""
    frame = pd.concat([pd.read_parquet(file)] * file.is_file() + [pd.DataFrame(rows)] * bool(rows))
    if len(frame):
        frame = frame.drop_duplicates(names, keep="last").sort_values(names, kind="stable", ignore_index=True)
        frame.to_parquet(file, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="planted", help="of config/datasets")
    parser.add_argument("--variants", nargs="+", default=["paper"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1111])
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--arithmetics", nargs="+", default=list(ARITHMETICS))
    parser.add_argument("--steps", type=int, default=0, help="0: whole runs")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        dataset, variant, seed, precision = options.one
        config = settings(variant, int(seed), precision, dataset)
        print(json.dumps(step_rows(config, options.steps) if options.steps else run_rows(config)))
        return
    jobs = [
        (arithmetic, options.dataset, variant, seed, precision, options.steps)
        for seed in options.seeds
        for precision in options.precisions
        for variant in options.variants
        for arithmetic in options.arithmetics
    ]
    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(lambda job: in_a_process(*job), jobs))
    what = "steps" if options.steps else "runs"
    rows = [row for file in sorted((FOLDER / "parts").glob(f"{what}-*.json")) for row in json.loads(file.read_text())]
    names = ["dataset", "precision", "variant", "seed", "arithmetic"] + (["step"] if options.steps else [])
    collect(FOLDER / f"{what}.parquet", rows, names)


if __name__ == "__main__":
    main()
