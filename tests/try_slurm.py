"""The batch on a real SLURM, which this computer starts for it: `make slurm-check`.

python tests/try_slurm.py check             # a small grid on a SLURM in a temporary folder
python tests/try_slurm.py start <folder>    # a SLURM of one node, to be used by hand: all of its files are there
python tests/try_slurm.py stop <folder>

Needs root and four packages of Debian or Ubuntu (`apt-get install --no-install-recommends slurmctld slurmd slurm-client
munge`), and a computer that is part of no SLURM; where it cannot start one, it says why and ends well. The check kills
the batch while its jobs run, starts it again, cancels a job, and compares the runs and records with those of a process
that trains the same runs without SLURM, bit for bit. Then it stops a batch with Ctrl-C, and lets a job's time run out.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import yaml
from kill_batch import copy, differences

CONFIG = Path("/etc/slurm/slurm.conf")  # a job of Snakemake's executor finds it nowhere else
PACKAGES = "slurmctld slurmd slurm-client munge"
PROGRAMS = ("slurmctld", "slurmd", "squeue", "munged", "mungekey")
SETTINGS = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MinJobAge=300
KillWait=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES State=UP
"""
GRID = [
    {"dataset": "planted", "variants": ["paper"], "seeds": [1]},
    {"dataset": "planted", "variants": ["no_alignment"], "seeds": [1, 2], "runs_per_job": 2},
    {"dataset": "planted", "variants": ["no_label_generation"], "seeds": [1]},  # fails
]
FAILS = {"training.groups.audio.learning_rate": 1e300}
LASTS = {"training.max_epochs": 1_000_000, "training.patience": 1_000_000}
ERROR = "FloatingPointError"
FINISHED = ("paper/seed-1", "no_alignment/seed-1", "no_alignment/seed-2")


def lines(*command: str) -> list[str]:
    """What a command prints."""
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"{' '.join(command)}: {answer.stderr.strip()}")
    return answer.stdout.splitlines()


def until(what: str, happens: Callable[[], object], seconds: float = 120) -> object:
    """What is waited for, once it is true."""
    end = time.monotonic() + seconds
    while not (found := happens()):
        if time.monotonic() > end:
            sys.exit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)
    return found


def start(folder: Path) -> None:
    """A controller and a node on this computer; every file of theirs is in the folder, but a link to their settings."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    settings = SETTINGS.format(folder=folder, host=host, cores=os.cpu_count(), memory=memory * 9 // 10)
    (folder / "slurm.conf").write_text(settings)
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.symlink_to(folder / "slurm.conf")
    lines("mungekey", "--create", f"--keyfile={folder}/munge.key")
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    lines("munged", *(f"--{option}={folder}/munge.{ending}" for option, ending in files.items()))
    for daemon in ("slurmctld", "slurmd"):
        lines(daemon)
    until("the node", lambda: lines("sinfo", "--noheader", "--format=%T") == ["idle"])


def stop(folder: Path) -> None:
    """End its jobs and its daemons, and remove the link; the folder is left."""
    if (folder / "slurmctld.pid").is_file():
        subprocess.run(["scancel", "--user=root"], check=False)
        until("its jobs to end", lambda: not lines("squeue", "--noheader"))
    for daemon in ("slurmd", "slurmctld", "munge"):
        if (file := folder / f"{daemon}.pid").is_file():
            number = int(file.read_text())
            os.kill(number, signal.SIGTERM)
            until(f"{daemon} to end", lambda number=number: not Path(f"/proc/{number}").exists())
    if CONFIG.is_symlink() and CONFIG.readlink() == folder / "slurm.conf":
        CONFIG.unlink()


@contextmanager
def slurm() -> Iterator[Path]:
    """A temporary folder with a SLURM that works."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)  # munge wants its socket to be reached by all
        try:
            start(folder / "slurm")
            yield folder
        finally:
            stop(folder / "slurm")


def project(folder: Path) -> Path:
    """A copy of this project with the small grid above, tiny data and two epochs."""
    copy(folder, [1])
    for file, changed in {
        "config/datasets/planted.yaml": lambda content: (
            content["dataset"].update(planted={"num_train": 40, "num_valid": 20, "num_test": 20}),
            content["training"].update(max_epochs=2),
        ),
        "config/study.yaml": lambda content: content["grids"].update(small=GRID),
        "config/variants.yaml": lambda content: content["no_label_generation"].update(FAILS),
    }.items():
        change(folder, file, changed)
    shutil.rmtree(folder / "results" / "records" / "small")
    return folder


def change(folder: Path, file: str, changed: Callable[[dict], object]) -> None:
    """Change a settings file of the project."""
    content = yaml.safe_load((folder / file).read_text())
    changed(content)
    (folder / file).write_text(yaml.safe_dump(content))


def jobs(*options: str) -> dict[str, str]:
    """SLURM's jobs: number -> what it makes."""
    return dict(line.split("|") for line in lines("squeue", "--noheader", "--format=%i|%k", *options))


@contextmanager
def batch(folder: Path, profile: str) -> Iterator[subprocess.Popen]:
    """`make runs` on SLURM, in a process group of its own, which is killed at the end."""
    process = subprocess.Popen(
        ["make", "runs", f"PROFILE={profile}", "CORES=4"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)


def require(true: object, what: str, said: str = "") -> None:
    print(f"{time.monotonic() - BEGAN:5.1f} s: {'yes' if true else 'NO'}: {what}", flush=True)
    if not true:
        sys.exit(said)


def check(profile: str) -> None:
    """Everything that is said above."""
    with slurm() as folder:
        on_slurm, alone = project(folder / "on_slurm"), project(folder / "alone")
        with batch(on_slurm, profile):
            before = until("three jobs", lambda: len(found := jobs()) == 3 and found)
        require(len(jobs()) == 3, f"the jobs of a batch that is killed live on: {before}")
        with batch(on_slurm, profile) as second:
            failed = on_slurm / "results" / "notebooks" / "planted" / "no_label_generation" / "seed-1.ipynb"
            until("its error in the failed notebook", lambda: failed.is_file() and ERROR in failed.read_text(), 300)
            require(True, "the notebook of a failed run is kept, with its error")
            again = until("the failed run's second job", lambda: set(jobs()) - set(before), 300)
            require(len(again) == 1, "of a batch that goes on, what is missing alone is submitted")
            (number,) = again
            lines("scancel", number)
            said, _ = second.communicate(timeout=300)
        require(second.returncode, "a batch with a run that did not finish fails", said)
        require("an earlier batch has left" in said, "it has waited for the jobs that were there", said)
        told = f"planted/no_label_generation/seed-1: CANCELLED (job {number}): somebody, or the cluster, cancelled it"
        require(told in said, told, said)
        made = sorted(jobs("--states=all").values())
        require(len(made) == 4 and len(set(made)) == 3, f"no other job was submitted: {made}")
        runs = on_slurm / "results" / "runs" / "planted"
        finished = {str(file.parent.relative_to(runs)) for file in runs.rglob("metrics.json")}
        require(finished == set(FINISHED), f"the others finished: {sorted(finished)}")
        names = [f"planted/{run.replace('seed-', '')}" for run in FINISHED]
        for command in (["workflow/train.py", *names], ["workflow/record.py", "--grid", "small"]):
            environment = os.environ | {"PYTHONPATH": str(alone), "OMP_NUM_THREADS": "1"}
            subprocess.run([sys.executable, *command], cwd=alone, env=environment, check=True, capture_output=True)
        unequal = differences(alone, on_slurm)
        require(not unequal, f"the runs are those of a process without SLURM, bit for bit: {unequal or 'all files'}")
        unequal = [file.name for file in records(alone) if not same(file, on_slurm / file.relative_to(alone))]
        require(not unequal, f"and so are their records: {unequal or [file.name for file in records(alone)]}")
        change(on_slurm, "config/variants.yaml", lambda content: content.update(no_label_generation=LASTS))
        with batch(on_slurm, profile) as third:
            (number,) = until("a job that runs long", lambda: jobs("--states=RUNNING"))
            os.killpg(third.pid, signal.SIGINT)
            said, _ = third.communicate(timeout=120)
            require(third.returncode and "goes on where it was" in said, "Ctrl-C ends a batch", said)
            until("the end of its job", lambda: number not in jobs())
            require(True, "and cancels its job")
        with batch(on_slurm, profile) as fourth:
            (number,) = until("the job again", lambda: jobs("--states=RUNNING"))
            lines("scontrol", "update", f"JobId={number}", "TimeLimit=1")
            said, _ = fourth.communicate(timeout=600)
        told = f"planted/no_label_generation/seed-1: TIMEOUT (job {number}): minutes of its grid"
        require(told in said, told, said)


def records(folder: Path) -> list[Path]:
    return sorted((folder / "results" / "records" / "small").glob("*.parquet"))


def same(one: Path, other: Path) -> bool:
    """Whether two frames hold the same, but for seconds and what else is the machine's."""
    frames = [pd.read_parquet(file).drop(columns=["seconds", "provenance"], errors="ignore") for file in (one, other)]
    return frames[0].equals(frames[1])


if __name__ == "__main__":
    BEGAN = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # what was started is stopped then, too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("check", "start", "stop"))
    parser.add_argument("folder", type=Path, nargs="?", help="of start and stop")
    parser.add_argument("--profile", default="slurm", help="of check: a folder of workflow/profiles")
    options = parser.parse_args()
    reasons = ["this needs root"] if os.getuid() else []
    reasons += [f"there is no {name} (packages {PACKAGES})" for name in PROGRAMS if shutil.which(name) is None]
    if options.what != "stop" and (CONFIG.exists() or CONFIG.is_symlink()):
        reasons.append(f"this computer has one, by {CONFIG}")
    if reasons:
        print(f"no SLURM is started: {reasons[0]}")
    elif options.what == "check":
        check(options.profile)
    else:
        (start if options.what == "start" else stop)(options.folder.resolve())
