"""How many runs a core makes in an hour: several in one process against one notebook each, of an earlier commit.

python benchmarks/runs.py --reference 8fe5cdc

Whole runs, one at a time, with one thread, in fresh worktrees of the reference and of HEAD; what is counted is the
processor time of each way's processes, kernels included. Both train the same seeds; that the numbers agree is compared.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from common import RESULTS, require_features, whole_number, write

from msa_core.config import resolve
from msa_core.paths import ROOT

TITLE = "Runs per core-hour"
NOTES = (
    "Processor time of whole runs, one at a time, one thread: start-up, data, training, evaluation, the run's files. "
    "`one notebook each` is the reference commit's way (papermill), `one process` this commit's (`workflow/train.py`). "
    "`difference` is the largest of any loss or validation metric of any epoch, relative to its column's largest."
)


def processor_seconds(commands: list[list[str]], folder: Path) -> float:
    """User and system time of the commands and of all that they started and waited for."""
    variables = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "JUPYTER_PATH": "workflow"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        print("*", *command[1:], file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, *command], cwd=folder, env=variables, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{done.stdout}\n{done.stderr}\n{' '.join(command)}: failed with exit status {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def history(folder: Path, dataset: str, seed: int) -> pd.DataFrame:
    """Without the seconds."""
    file = folder / "results" / "runs" / dataset / "paper" / f"seed-{seed}" / "history.csv"
    return pd.read_csv(file).drop(columns="seconds")


def measure(dataset: str, seeds: list[int], reference: Path, head: Path) -> list[dict]:
    """A row for each way."""
    papermill = ["-m", "papermill", "--kernel", "study", "--no-progress-bar", "notebooks/01_train.ipynb", os.devnull]
    each = [[*papermill, "-p", "dataset", dataset, "-p", "seed", str(seed)] for seed in seeds]
    together = [["workflow/train.py", *(f"{dataset}/paper/{seed}" for seed in seeds)]]
    seconds = {
        "one notebook each": processor_seconds(each, reference),
        "one process": processor_seconds(together, head),
    }
    gaps = []
    for seed in seeds:
        theirs, ours = history(reference, dataset, seed), history(head, dataset, seed)
        gaps.append(
            ((theirs - ours).abs().max() / theirs.abs().max()).max() if len(theirs) == len(ours) else float("inf")
        )
    slowest = seconds["one notebook each"]
    return [
        {
            "data set": resolve(dataset).dataset.title,
            "way": way,
            "runs": len(seeds),
            "CPU-seconds a run": total / len(seeds),
            "runs per core-hour": 3600 * len(seeds) / total,
            "times": slowest / total,
            "difference": max(gaps),
        }
        for way, total in seconds.items()
    ]


def commit(name: str) -> str:
    """An argparse type: the hash of a commit of this repository."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        raise argparse.ArgumentTypeError(f"got {name}, expected a commit of this repository; git log shows them")
    return found.stdout.strip()


def preset(name: str) -> str:
    """An argparse type: a data set that has a preset."""
    try:
        resolve(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=commit, required=True, help="a commit that trains each run by a notebook")
    parser.add_argument("--datasets", type=preset, nargs="+", default=["planted", "mmmo_audio_vision"])
    parser.add_argument("--runs", type=whole_number(), default=10, help="of each data set and way")
    options = parser.parse_args()
    for file in filter(None, (resolve(dataset).dataset.features for dataset in options.datasets)):
        require_features(parser, "--datasets", ROOT / file)
    seeds = list(range(1111, 1111 + options.runs))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        reference, head = (Path(temporary) / name for name in ("reference", "head"))
        for name, folder in ((options.reference, reference), (commit("HEAD"), head)):
            subprocess.run(["git", "clone", "--quiet", "--no-checkout", ROOT, folder], check=True)
            subprocess.run(["git", "checkout", "--quiet", "--detach", name], cwd=folder, check=True)
            (folder / "data").symlink_to(ROOT / "data")
        for dataset in options.datasets:
            rows += measure(dataset, seeds, reference, head)
    write(pd.DataFrame(rows), RESULTS / "runs", TITLE, NOTES)


if __name__ == "__main__":
    main()
