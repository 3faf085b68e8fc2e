"""The batch on a cluster, with commands that answer as SLURM's do; `make slurm-check` tries it on a real one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from msa_core import paths
from workflow import cluster

PROFILES = paths.ROOT / "workflow" / "profiles"
GPU_SCRIPT = paths.ROOT / "workflow" / "gpu.sh"
SNAKEMAKE_SAYS = """\
Error in rule train:
    message: SLURM-job '4' failed, SLURM status is: 'TIMEOUT'.
    jobid: 3
    input: notebooks/01_train.ipynb
    output: results/runs/planted/paper/seed-1/metrics.json (update)
    log: results/notebooks/planted/paper/seed-1.ipynb (check log file(s) for error details)
    external_jobid: 4
Error in rule train_from_planted_no_alignment_1:
    jobid: 5
    output: results/runs/planted/no_alignment/seed-1/metrics.json, results/runs/planted/no_alignment/seed-2/metrics.json
    external_jobid: 5
Error in rule claims:
    jobid: 6
    output: results/tables/small-claims.csv
"""


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """`answers("squeue", "echo ...")`: a command that does so, before all others."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def answer(name, script):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return answer


@pytest.mark.parametrize(
    ("squeue", "sacct", "state", "for_snakemake"),
    [
        ("echo RUNNING", "exit 1", "RUNNING", "running"),
        ("echo COMPLETED", "exit 1", "COMPLETED", "success"),
        ("echo TIMEOUT", "exit 1", "TIMEOUT", "failed"),
        ("echo 'Invalid job id specified' >&2; exit 1", "echo 'CANCELLED by 0'", "CANCELLED", "failed"),
        ("echo 'Invalid job id specified' >&2; exit 1", "exit 1", "FORGOTTEN", "failed"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "exit 1", "", "running"),
    ],
)
def test_the_state_of_a_job(answers, squeue, sacct, state, for_snakemake):
    answers("squeue", squeue)
    answers("sacct", sacct)
    assert cluster.state("7") == state
    command = [sys.executable, "workflow/cluster.py", "7"]
    assert subprocess.check_output(command, cwd=paths.ROOT, text=True).strip() == for_snakemake


def test_jobs_of_this_project_alone_are_waited_for_until_none_is_left(answers, tmp_path, capsys):
    project = tmp_path / "project"
    project.mkdir()
    queue = tmp_path / "queue"
    queue.write_text(
        f"1|RUNNING|{project}|msa_core_0a|rule_train_wildcards_planted_paper_1\n"
        f"2|PENDING|{project}|msa_core|train_from_planted_paper_2 | as it is\n"
        f"3|RUNNING|{project}|an editor|\n"
        f"4|RUNNING|{tmp_path}|msa_core_0b|of another project\n"
    )
    answers("squeue", f"cat {queue}; grep -v '^[12]' {queue} > {queue}.new; mv {queue}.new {queue}")
    cluster.wait(project, seconds=0)
    said = capsys.readouterr().out
    assert "an earlier batch has left 2 jobs" in said
    assert "scancel 1 2" in said
    assert "job 1: RUNNING rule_train_wildcards_planted_paper_1" in said
    assert "job 2: PENDING train_from_planted_paper_2 | as it is" in said
    cluster.wait(project)
    assert capsys.readouterr().out == ""


def test_without_an_answer_nothing_is_submitted(answers, tmp_path):
    answers("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SystemExit, match=r"squeue: Unable to contact slurm controller; are this computer's commands"):
        cluster.wait(tmp_path)


def test_each_run_that_did_not_finish_is_named_with_its_state_and_a_remedy(answers, tmp_path, capsys):
    answers("squeue", 'case "$*" in *jobs=4*) echo TIMEOUT;; *) echo FAILED;; esac')
    finished = tmp_path / "results" / "runs" / "planted" / "no_alignment" / "seed-1"
    finished.mkdir(parents=True)
    (finished / "metrics.json").touch()
    first, second = cluster.failures(SNAKEMAKE_SAYS.splitlines(keepends=True), tmp_path)
    assert first.startswith("planted/paper/seed-1: TIMEOUT (job 4): minutes of its grid (config/study.yaml) says how")
    assert first.endswith("the same command goes on from its last saved state")
    assert second.startswith("planted/no_alignment/seed-2: FAILED (job 5): its error is in its notebook or log")
    assert "Error in rule claims:" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic"])
def test_the_jobs_of_a_profile_have_the_name_that_they_are_looked_for_by(profile):
    assert cluster.JOB_NAME in str(yaml.safe_load((PROFILES / profile / "config.yaml").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="GPUs and flock are Linux's")
def test_runs_at_the_same_time_have_a_gpu_each(tmp_path):
    """And the next one has one of them again."""

    def run(name, ends):
        script = f"set -euo pipefail; source {GPU_SCRIPT}; echo $CUDA_VISIBLE_DEVICES > {tmp_path / name}; {ends}"
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "3,GPU-5", "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(["bash", "-c", script], env=environment, stdin=subprocess.PIPE)
        end = time.monotonic() + 20
        while not (Path(tmp_path / name).is_file() and (tmp_path / name).read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        return process, (tmp_path / name).read_text().strip()

    (first, gpu), (second, other) = run("first", "read line || true"), run("second", "read line || true")
    assert (gpu, other) == ("3", "GPU-5")
    second.communicate()
    third, again = run("third", "true")
    first.communicate()
    third.communicate()
    assert again == other


def test_without_a_choice_of_gpus_there_is_none_to_take():
    script = f"set -euo pipefail; unset CUDA_VISIBLE_DEVICES; source {GPU_SCRIPT}; env"
    assert "CUDA" not in subprocess.check_output(["bash", "-c", script], text=True)
