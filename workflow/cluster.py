"""What SLURM knows of the batch's jobs. Needs the standard library alone: the profile cluster-generic calls it.

python3 workflow/cluster.py 123    # running, success or failed
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

RUNS, METRICS = "results/runs", "metrics.json"
JOB_NAME = "msa_core"  # the profiles call their jobs so; the executor slurm adds to it
GOES_ON = "the same command goes on from its last saved state"
REMEDIES = {
    "CANCELLED": f"somebody, or the cluster, cancelled it; {GOES_ON}",
    "NODE_FAIL": f"its node failed; {GOES_ON}",
    "OUT_OF_MEMORY": f"memory_mb of its grid (config/study.yaml) says how much it gets; {GOES_ON}",
    "PREEMPTED": f"another job took its place; {GOES_ON}",
    "TIMEOUT": f"minutes of its grid (config/study.yaml) says how long a run may take; {GOES_ON}",
}
FAILED = "its error is in its notebook or log under results/notebooks; runs that share a job are each named there"
FORGOTTEN = "FORGOTTEN"
AT_WORK = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "RESIZING", "")


def ask(*command: str) -> subprocess.CompletedProcess:
    """What a command of SLURM answers; another exit status than 0 where there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def state(job: str) -> str:
    """A job's state as SLURM calls it, FORGOTTEN if it knows of none; empty: SLURM does not answer."""
    queue = ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")
    accounts = "sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={job}", "--format=State"
    found = queue.stdout.split() or ask(*accounts).stdout.split()  # of "CANCELLED by 0", the first word
    return found[0] if found else FORGOTTEN if "Invalid job id" in queue.stderr else ""


def at_work(folder: Path) -> dict[str, str]:
    """The jobs of the project in this folder that wait or run: number -> its state and what it makes."""
    queue = ask("squeue", "--me", "--noheader", "--format=%i|%T|%Z|%j|%k")
    if queue.returncode:
        sys.exit(f"squeue: {queue.stderr.strip()}; are this computer's commands those of a cluster under SLURM?")
    return {
        job: f"{state} {what}"
        for job, state, place, name, what in (line.split("|", 4) for line in queue.stdout.splitlines())
        if name.startswith(JOB_NAME) and Path(place).resolve() == folder.resolve()
    }


def wait(folder: Path, seconds: float = 10) -> None:
    """Wait until no job of this project is left from a batch that was killed: it may be at a run that is missing."""
    said = False
    while left := at_work(folder):
        if not said:
            print(
                f"an earlier batch has left {len(left)} jobs: their runs are waited for, then the missing ones are "
                f"submitted (to stop them: scancel {' '.join(left)}):",
                *(f"  job {job}: {what}" for job, what in left.items()),
                sep="\n",
                flush=True,
            )
            said = True
        time.sleep(seconds)


def failures(lines: Iterable[str], folder: Path) -> Iterator[str]:
    """What became of each run whose job Snakemake reports as failed, and what to do.

    Args:
        lines: that Snakemake writes; they are shown, but for the many that describe a job.
        folder: the project's.
    """
    error: dict[str, str] = {}  # what is said of a failed job
    for line in chain(lines, [""]):
        described = re.match(r"    (\w+): (.*)", line)
        if described and error:
            error[described[1]] = described[2]
        if "external_jobid" in error:  # said last; SLURM is asked at once, because it forgets
            ended = state(error["external_jobid"]) or "state unknown"
            what = f"{ended} (job {error['external_jobid']}): {REMEDIES.get(ended, FAILED)}"
        elif error and not line.startswith("    "):
            what = f"not submitted: {error.get('message', 'see above')}"
        else:
            what = ""
        if what:
            yield from (f"{run}: {what}" for run in _runs(error) if not (folder / RUNS / run / METRICS).is_file())
            error = {}
        if line.startswith("Error in rule"):
            error = {"rule": line}
        if not line.startswith("    "):
            print(line, end="", file=sys.stderr, flush=True)


def _runs(error: dict[str, str]) -> list[str]:
    return re.findall(rf"{RUNS}/(\S+)/{METRICS}", error.get("output", ""))


if __name__ == "__main__":
    found = state(sys.argv[1])
    print("running" if found in AT_WORK else "success" if found == "COMPLETED" else "failed")
