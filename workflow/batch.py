"""The study in batch, as `make study` runs it; after whatever stopped it, the same command goes on.

python workflow/batch.py --grid small --cores 2
python workflow/batch.py --grid full --recorded-only    # `make report`: from the committed records alone

One batch at a time works in a project. What will be trained, and why, is said first. A finished run whose settings,
feature file or own files have changed since is kept beside its place until the new one is finished.
"""

import argparse
import fcntl
import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from msa_core import paths, records, run
from msa_core.config import RunConfig, grid, resolve
from msa_core.data.shards import content_sha256
from msa_core.paths import feature_files, from_root

LOCK = paths.ROOT / "results" / ".batch.lock"


def refuse_second_batch() -> IO[str]:
    """The open lock file: the lock ends with the last process that has it."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    file = LOCK.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{LOCK}: another make study is at work in this project; wait for it, or stop it")
    return file


def plan(name: str) -> list[str]:
    """Make room for each run of the grid that is to be trained; a line for each says why.

    Args:
        name: of the grid.
    """
    lines = []
    for each in grid(name):
        folder = paths.run_folder(each.dataset, each.variant, each.seed)
        config = resolve(each.dataset, each.variant, each.seed)
        kept = records.replaced_folder(folder)
        if not records.is_finished(folder) and kept.is_dir() and not outdated(config, kept):
            kept.rename(folder)  # the settings are again what they were
        reason = outdated(config, folder)
        if reason and records.is_finished(folder):
            shutil.rmtree(kept, ignore_errors=True)
            folder.rename(kept)
            reason += "; the old run is kept until the new one is finished"
        if reason:
            lines.append(f"{each.dataset}/{each.variant}/seed-{each.seed} will be trained: {reason}")
    return lines


def outdated(config: RunConfig, folder: Path) -> str:
    """Why a folder does not hold the run of these settings; empty: it does."""
    if not records.is_finished(folder):
        return "interrupted before, goes on" if records.state_file(folder).is_file() else "not there"
    try:
        source = records.read_run(folder).provenance["data"]
    except ValueError as error:
        return str(error)
    if differences := run.other_settings(config, folder):
        return f"other settings (now {'; '.join(differences)})"
    files = feature_files(config.dataset.features) if config.dataset.features else []
    finished = (folder / "metrics.json").stat().st_mtime
    newer = any(file.stat().st_mtime > finished for file in files) or len(files) != len(source.get("shards", files))
    if newer and content_sha256({file.name: _sha256(file) for file in files}) != source["sha256"]:
        return f"other content in {from_root(config.dataset.features)}"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def snakemake(options: argparse.Namespace, *arguments: str, **how: object) -> subprocess.Popen:
    """Start Snakemake on the grid; the lock that it would leave behind when it is killed is ours to keep."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--cores", str(options.cores)]
    command += ["--nolock", "--keep-going", "--rerun-incomplete", "--keep-incomplete"]
    command += ["--quiet", "host", "reason", "rules", *arguments]
    return subprocess.Popen([*command, "--config", f"grid={options.grid}", *options.config], cwd=paths.ROOT, **how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", default="small", help="of config/study.yaml")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--recorded-only", action="store_true", help="tables, figures and report, without any run")
    options = parser.parse_args()
    options.config = ["recorded_only=true"] if options.recorded_only else []
    lock = refuse_second_batch()
    dry = snakemake(options, "--dry-run", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _ = dry.communicate()
    if dry.returncode:  # what cannot be run is refused before a file is touched
        sys.exit(said)
    lines = [] if options.recorded_only else plan(options.grid)
    print(*lines, sep="\n", end="\n" * bool(lines), flush=True)
    # Snakemake makes no missing input of a file that is up to date, as the committed records are.
    force = ["--forcerun", "record"] if lines else []
    paths.DIFFERENCES.unlink(missing_ok=True)

    inherited = {"pass_fds": [lock.fileno()]}
    batch = snakemake(options, *force, **inherited)
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))  # the terminal sends it to Snakemake, too
    signal.signal(signal.SIGTERM, lambda number, _: (stopped.append(number), batch.terminate()))
    status = batch.wait()
    if stopped or status < 0:
        sys.exit(f"the batch was stopped: make study GRID={options.grid} goes on where it was")
    if status:
        print("something failed, see above; now the finished runs alone: the tables name the missing ones", flush=True)
        options.config.append("finished_only=true")
        snakemake(options, **inherited).wait()
        sys.exit(1)
    if paths.DIFFERENCES.is_file():
        print(
            "other than the files that were there (results/differences.txt):", paths.DIFFERENCES.read_text(), sep="\n"
        )
    print(
        f"results/tables and figures hold the tables and figures of the grid {options.grid}, "
        f"results/report-{options.grid}.html all"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped before anything was run")
