"""The batch on a cluster, with commands that answer as SLURM's do; `make slurm-check` tries it on a real one."""

import os
import pickle
import runpy
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from msa_core import paths, requirements
from msa_core.config import GridRun, resolve
from workflow import cluster

PROFILES = paths.ROOT / "workflow" / "profiles"
make_raw = runpy.run_path(str(paths.ROOT / "tests" / "data" / "feature_files.py"))["make_raw"]
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
rule train:
    output: results/runs/planted/paper/seed-3/metrics.json (update)
Error in rule train:
    message: SLURM sbatch failed. The error message was 'Memory specification can not be satisfied'
    output: results/runs/planted/paper/seed-2/metrics.json (update)
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
    queue, later = tmp_path / "queue", tmp_path / "later"
    later.write_text(f"3|RUNNING|{project}|an editor|\n4|RUNNING|{tmp_path}|msa_core_0b|of another project\n")
    queue.write_text(
        f"1|RUNNING|{project}|msa_core_0a|rule_train_wildcards_planted_paper_1\n"
        f"2|PENDING|{project}|msa_core|train_from_planted_paper_2 | as it is\n{later.read_text()}"
    )
    answers("squeue", f"cat {queue} && (mv {later} {queue} || rm {queue}) 2> /dev/null")  # a third time, it fails
    cluster.wait(project, seconds=0)
    said = capsys.readouterr().out
    assert "an earlier batch has left 2 jobs" in said
    assert "scancel 1 2" in said
    assert "job 1: RUNNING rule_train_wildcards_planted_paper_1" in said
    assert "job 2: PENDING train_from_planted_paper_2 | as it is" in said


def test_without_an_answer_nothing_is_submitted(answers, tmp_path):
    answers("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SystemExit, match=r"squeue: Unable to contact slurm controller; are this computer's commands"):
        cluster.wait(tmp_path)


def test_each_run_that_did_not_finish_is_named_with_its_state_and_a_remedy(answers, tmp_path, capsys):
    answers("squeue", 'case "$*" in *jobs=4*) echo TIMEOUT;; *) echo FAILED;; esac')
    finished = tmp_path / "results" / "runs" / "planted" / "no_alignment" / "seed-1"
    finished.mkdir(parents=True)
    (finished / "metrics.json").touch()
    first, second, third = cluster.failures(SNAKEMAKE_SAYS.splitlines(keepends=True), tmp_path)
    assert first.startswith("planted/paper/seed-1: TIMEOUT (job 4): minutes of its grid (config/study.yaml) says how")
    assert first.endswith("the same command goes on from its last saved state")
    assert second.startswith("planted/no_alignment/seed-2: FAILED (job 5): its error is in its notebook or log")
    assert third.startswith(
        "planted/paper/seed-2: not submitted: SLURM sbatch failed. The error message was 'Memory sp"
    )
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


@pytest.fixture
def batch():
    """The functions of workflow/batch.py; their module's names may be replaced by `batch(name=value)`."""
    found = runpy.run_path(str(paths.ROOT / "workflow" / "batch.py"))

    def replaced(**names):
        found["main"].__globals__.update(names)
        return SimpleNamespace(**found)

    return replaced


def test_what_runs_read_is_built_before_they_start_and_what_is_missing_is_named(batch, tmp_path, monkeypatch):
    """A frozen encoder's states and the caches, once; a folder without an encoder, and a package that is not there."""
    pytest.importorskip(requirements.MINILM_PACKAGE)
    (tmp_path / "features.pkl").write_bytes(pickle.dumps(make_raw()))

    def resolved(dataset, variant):
        encoder = {"paper": "minilm", "no_alignment": "no/such/folder", "weight_1": "no/such/folder"}
        changes = {"text.encoder": encoder[variant], "text.frozen": True}
        return resolve(dataset, variant, features=str(tmp_path / "features.pkl"), overrides=changes)

    prepare = batch(resolve=resolved).prepare
    prepare("mine", [GridRun(dataset="mosi", variant="paper", seed=seed) for seed in (1, 2)])
    kept = {path.name.partition(".cache")[2].split("-")[0] for path in tmp_path.glob("features.pkl.cache*")}
    assert kept >= {"", ".text", ".tokens"}
    monkeypatch.setattr(
        "msa_core.encoders.TextEncoder.states", lambda *_: pytest.fail("encoded a text that is encoded already")
    )
    runs = [GridRun(dataset="mosi", variant=variant, seed=1) for variant in ("paper", "no_alignment", "weight_1")]
    with pytest.raises(SystemExit) as stopped:
        prepare("mine", runs)
    said = str(stopped.value).splitlines()
    assert said[0].startswith("mosi/no_alignment: text encoder 'no/such/folder': got neither a folder nor a model that")
    assert said[1:] == ["grid mine: these pieces are missing, and nothing was run"]


@pytest.mark.parametrize(
    ("arguments", "visible", "gpus", "expected"),
    [
        ({}, 0, 0, {"mem_mb"}),
        ({}, 3, 3, {"mem_mb"}),
        ({"gpus": 2}, 3, 2, {"mem_mb"}),
        ({"profile": "slurm"}, 3, 0, {"slurm"}),
        ({"profile": "slurm", "gpus": 4}, 0, 4, {"slurm"}),
    ],
)
def test_snakemake_gets_the_limits(batch, monkeypatch, arguments, visible, gpus, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: visible)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    options = SimpleNamespace(**{"gpus": None, "profile": None, "grid": "small", "cores": 16, "config": []} | arguments)
    module = batch(subprocess=SimpleNamespace(Popen=lambda command, **_: command))
    options.gpus = module.count_gpus(options)
    command = module.snakemake(options)
    assert (command[command.index("--resources") + 1], command[command.index("--cores") + 1]) == (f"gpu={gpus}", "16")
    assert f"gpus={gpus}" in command
    last = command[-1]
    assert {last.split("=")[0], Path(last).name} & expected
    on_this_computer = None if arguments.get("profile") else ",".join(map(str, range(gpus)))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == on_this_computer


def test_more_gpus_than_there_are_is_an_error(batch, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(SystemExit, match=r"GPUS=2: got 1 GPUs that torch can use here, expected so many"):
        batch().count_gpus(SimpleNamespace(gpus=2, profile=None))
