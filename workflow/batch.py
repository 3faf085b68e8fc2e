"""The study in batch, as `make study` runs it; after whatever stopped it, the same command goes on.

python workflow/batch.py --grid small --cores 2
python workflow/batch.py --grid full --recorded-only    # `make report`: from the committed records alone
python workflow/batch.py --grid full --prepare-only     # `make prepare`: what the runs read, without any run
python workflow/batch.py --grid full --runs-only        # `make runs`: the runs and their records, which report reads
python workflow/batch.py --grid full --profile slurm    # each training is a job of a cluster

One batch at a time works in a project. What will be trained, and why, is said first. A finished run whose settings,
feature file or own files have changed since is kept beside its place until the new one is finished. Runs reach no
network: text encoders are fetched, and caches built, before the first of them starts.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import torch

from msa_core import build, paths, processes, records, run
from msa_core.config import GridRun, RunConfig, grid, resolve
from msa_core.data.shards import content_sha256
from msa_core.encoders import load_text_encoder, load_tokenizer
from msa_core.paths import feature_files, from_root
from workflow import cluster

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
    reasons = {}
    for each in grid(name):
        folder = paths.run_folder(each.dataset, each.variant, each.seed)
        config = resolve(each.dataset, each.variant, each.seed)
        kept = records.replaced_folder(folder)
        if not records.is_finished(folder) and kept.is_dir() and not outdated(config, kept):
            kept.rename(folder)  # the settings are again what they were
        if reason := outdated(config, folder):
            reasons[each] = reason
    prepare(name, reasons)
    for each, reason in reasons.items():
        folder = paths.run_folder(each.dataset, each.variant, each.seed)
        if records.is_finished(folder):
            shutil.rmtree(records.replaced_folder(folder), ignore_errors=True)
            folder.rename(records.replaced_folder(folder))
            reasons[each] = f"{reason}; the old run is kept until the new one is finished"
    return [f"{each.dataset}/{each.variant}/seed-{each.seed} will be trained: {why}" for each, why in reasons.items()]


def prepare(name: str, runs: Iterable[GridRun]) -> None:
    """Fetch the text encoders of runs, and build the caches of their feature files and the states of frozen encoders.

    Args:
        name: of the grid.
        runs: of it.
    """
    missing, seen = [], set()
    for dataset, variant in dict.fromkeys((each.dataset, each.variant) for each in runs):
        config = resolve(dataset, variant)
        reads = str((config.dataset, config.text, config.model.reads_every_token))
        if reads in seen:
            continue
        seen.add(reads)
        try:
            if config.dataset.features is None:
                load_tokenizer(config.text.encoder)  # data that are drawn need nothing else
            else:
                build.dataset(config)
            load_text_encoder(config.text.encoder)
        except (ModuleNotFoundError, OSError, ValueError) as error:
            missing.append(f"{dataset}/{variant}: {error}")
    if missing:
        sys.exit("\n".join([*missing, f"grid {name}: these pieces are missing, and nothing was run"]))


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
    command += ["--quiet", "host", "reason", *([] if options.profile else ["rules"]), *arguments]
    command += ["--config", f"grid={options.grid}", f"gpus={options.gpus}", *options.config]
    command += ["--resources", f"gpu={options.gpus}"]
    if options.profile:
        own = paths.ROOT / "workflow" / "profiles" / options.profile
        command += ["--profile", str(own if own.is_dir() else options.profile)]
    else:
        command.append(f"mem_mb={os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 10**6}")
    return subprocess.Popen(command, cwd=paths.ROOT, **how)


def count_gpus(options: argparse.Namespace) -> int:
    """How many runs may have a GPU at once: as many as were asked for; on this computer, by default, those it has."""
    if options.profile:
        return options.gpus or 0
    if options.gpus is None:
        options.gpus = torch.cuda.device_count()
    if options.gpus > torch.cuda.device_count():
        sys.exit(
            f"GPUS={options.gpus}: got {torch.cuda.device_count()} GPUs that torch can use here, expected so many; "
            "leave GPUS out to use those that there are"
        )
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(options.gpus))))
    return options.gpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="small", help="of config/study.yaml")
    parser.add_argument("--cores", type=int, default=2, help="in use at once, on a cluster those of all its jobs")
    parser.add_argument("--gpus", type=int, help="the same; default: those of this computer, on a cluster none")
    parser.add_argument("--profile", help="a folder of workflow/profiles, or another one: trains on a cluster")
    parser.add_argument("--prepare-only", action="store_true", help="fetch text encoders and build caches")
    parser.add_argument("--runs-only", action="store_true", help="train and record, without tables and figures")
    parser.add_argument("--recorded-only", action="store_true", help="tables, figures and report, without any run")
    options = parser.parse_args()
    with processes.one_error(status=2):
        runs = grid(options.grid)
    options.gpus = count_gpus(options)
    options.config = ["recorded_only=true"] if options.recorded_only else []
    lock = refuse_second_batch()
    if options.profile and not options.recorded_only:
        cluster.wait(paths.ROOT)
    dry = snakemake(options, "--dry-run", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _ = dry.communicate()
    if dry.returncode:  # what cannot be run is refused before a file is touched
        sys.exit(said)
    if options.prepare_only:
        prepare(options.grid, runs)
        print(f"grid {options.grid}: encoders and caches are there; its runs need no network")
        return
    lines = [] if options.recorded_only else plan(options.grid)
    print(*lines, sep="\n", end="\n" * bool(lines), flush=True)
    # Snakemake makes no missing input of a file that is up to date, as the committed records are.
    force = ["--forcerun", "record"] if lines else []
    if options.runs_only:
        options.config += ["--until", "record"]
    paths.DIFFERENCES.unlink(missing_ok=True)

    inherited = {"pass_fds": [lock.fileno()]}
    on_cluster = {"stderr": subprocess.PIPE, "text": True} if options.profile else {}
    batch = snakemake(options, *force, **inherited, **on_cluster)
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))  # the terminal sends it to Snakemake, too
    # On a cluster, Snakemake waits for its jobs after SIGTERM and cancels them after SIGINT.
    ending = signal.SIGINT if options.profile else signal.SIGTERM
    signal.signal(signal.SIGTERM, lambda number, _: (stopped.append(number), batch.send_signal(ending)))
    failed = list(cluster.failures(batch.stderr, paths.ROOT)) if batch.stderr else []
    status = batch.wait()
    if stopped or status < 0:
        sys.exit(f"the batch was stopped: make study GRID={options.grid} goes on where it was")
    if status:
        print(
            *failed,
            "something failed, see above; now the finished runs alone: the tables name the missing ones",
            sep="\n",
            flush=True,
        )
        options.config.insert(0, "finished_only=true")
        snakemake(options, **inherited).wait()
        sys.exit(1)
    if paths.DIFFERENCES.is_file():
        print(
            "other than the files that were there (results/differences.txt):", paths.DIFFERENCES.read_text(), sep="\n"
        )
    if options.runs_only:
        print(f"results/records/{options.grid} holds the runs: make report GRID={options.grid} makes tables of them")
        return
    print(
        f"results/tables and figures hold the tables and figures of the grid {options.grid}, "
        f"results/report-{options.grid}.html all"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped before anything was run")
