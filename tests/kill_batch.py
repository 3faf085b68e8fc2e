"""Kill the batch again and again, at random moments, and compare what it ends with with an uninterrupted one.

python tests/kill_batch.py <new folder> --kills 20 --seconds 5 45

Not a test that pytest collects: it takes a quarter of an hour. In copies of the project with little data and 4 epochs,
`make study` is started and its whole process group gets SIGKILL, so many times; nothing else is done between two
starts. Processes of the copy that live 5 seconds later count as orphans.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("msa_core", "config", "workflow", "notebooks", "figures", "reference", "results/benchmarks", "results/records")
FILES = ("Makefile", "requirements-torch.lock", "requirements.lock", "pyproject.toml")
OF_THE_MACHINE = ("small-runs", "efficiency")  # tables that hold seconds and commits


def copy(folder: Path, seeds: list[int]) -> Path:
    """The project with little planted data and four epochs, in this environment."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.png", "*.svg"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    preset = folder / "config" / "datasets" / "planted.yaml"
    settings = yaml.safe_load(preset.read_text())
    settings["dataset"]["planted"] = {"num_train": 100, "num_valid": 50, "num_test": 50}
    settings["training"] |= {"max_epochs": 4, "state_every": 0}
    preset.write_text(yaml.safe_dump(settings))
    study = folder / "config" / "study.yaml"
    content = yaml.safe_load(study.read_text())
    for entry in content["grids"]["small"]:
        entry["seeds"] = seeds
    study.write_text(yaml.safe_dump(content))
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv" / "ready").unlink(missing_ok=True)
    (folder / ".venv" / "ready").touch()
    return folder


def start(folder: Path) -> subprocess.Popen:
    """`make study` in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(
            ["make", "study"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def living(folder: Path) -> list[str]:
    """The commands of processes that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(" ".join(process.cmdline())[:100])
        except (psutil.Error, OSError):
            continue
    return found


def kill(folder: Path, seconds: float) -> tuple[bool, list[str]]:
    """Start the batch and kill it after so long: whether it was still at work, and the orphans."""
    process = start(folder)
    try:
        process.wait(seconds)
        return False, []
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(5)
    return True, living(folder)


def differences(one: Path, other: Path) -> list[str]:
    """The files of results of two copies that are not the same, but for seconds."""
    names = {path.relative_to(folder) for folder in (one, other) for path in (folder / "results").glob("tables/*")}
    names |= {path.relative_to(folder) for folder in (one, other) for path in (folder / "results/runs").rglob("*")}
    compared = ("metrics.json", "predictions.csv", "history.csv", "model.safetensors", "labels.parquet")
    unequal = []
    for name in sorted(names):
        if name.stem in OF_THE_MACHINE or not ("tables" in name.parts or name.name in compared):
            continue
        pair = (one / name, other / name)
        if not all(file.is_file() for file in pair):
            unequal.append(f"{name} (in one of them alone)")
        elif name.suffix == ".parquet" or name.name == "history.csv":
            read = pd.read_parquet if name.suffix == ".parquet" else pd.read_csv
            frames = [read(file).drop(columns="seconds", errors="ignore") for file in pair]
            unequal += [] if frames[0].equals(frames[1]) else [str(name)]
        elif pair[0].read_bytes() != pair[1].read_bytes():
            unequal.append(str(name))
    return unequal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the two copies")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, nargs=2, default=[5, 45], help="least and most before a kill")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1111, 1112], help="of the small grid's variants")
    parser.add_argument("--random-seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.random_seed)
    whole = options.folder.resolve() / "whole"
    if not whole.is_dir():  # a second series of kills needs it no second time
        began = time.monotonic()
        if start(copy(whole, options.seeds)).wait():
            sys.exit(f"the uninterrupted batch failed: {whole / 'log.txt'}")
        print(f"uninterrupted: {time.monotonic() - began:.0f} s", flush=True)
    shutil.rmtree(options.folder / "killed", ignore_errors=True)
    killed = copy(options.folder.resolve() / "killed", options.seeds)
    orphans = 0
    for number in range(1, options.kills + 1):
        seconds = chance.uniform(*options.seconds)
        at_work, left = kill(killed, seconds)
        orphans += len(left)
        finished = len(list((killed / "results").glob("runs/*/*/seed-*/metrics.json")))
        what = "killed" if at_work else "had ended before"
        print(
            f"{number}: {what} after {seconds:.1f} s, {finished} runs finished, orphans: {left or 'none'}", flush=True
        )
        if not at_work:
            shutil.rmtree(killed / "results" / "report")  # so that there is something left to kill
            shutil.rmtree(killed / "results" / "runs" / "planted" / "paper")
    status = start(killed).wait()
    unequal = differences(whole, killed)
    print(
        f"last make study: exit status {status}; orphans: {orphans}; other than uninterrupted: {unequal or 'nothing'}"
    )
    sys.exit(bool(status or orphans or unequal))


if __name__ == "__main__":
    main()
