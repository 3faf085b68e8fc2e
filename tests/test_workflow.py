"""The batch, on a copy of the sources as a fresh clone has them: what Snakemake plans, runs and runs again."""

import fcntl
import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from torch import nn

from msa_core import paths, records
from msa_core.config import resolve
from msa_core.data.shards import content_sha256

RULES = (
    "record",
    "claims",
    "results",
    "ablations",
    "covariance_planted",
    "label_trajectories_planted",
    "shared_and_private_planted",
    "efficiency",
    "plug_and_play",
    "robustness",
    "phase_diagram",
    "other_parts",
    "same_numbers",
    "report",
)
NO_GRID = ("efficiency", "plug_and_play", "robustness", "phase_diagram", "other_parts", "same_numbers")
ANALYSES = dict.fromkeys(RULES, 1)
OF_A_GRID = {rule: 1 for rule in RULES if rule not in NO_GRID}  # they read no runs


FINISHED = ("--config", "finished_only=true")
RECORDED = ("--config", "recorded_only=true")
MISSING = ("--forcerun", "record")  # as batch.py asks where runs are missing


def execute(folder, *command):
    """Exit status and all output of a command on a copy of the sources."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment["PYTHONPATH"] = str(folder)
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=900)
    return process.returncode, process.stdout + process.stderr


def dry_run(folder, *arguments):
    own = folder / ".venv" / "bin" / "python"  # the command of a job names it: another one, another command
    python = own if own.exists() else sys.executable
    command = (python, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--cores", "2", "--dry-run")
    return execute(folder, *command, *arguments)


def planned(folder, *arguments):
    """Rule -> number of jobs, as the dry run's table says."""
    code, text = dry_run(folder, *arguments)
    assert code == 0, text
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] in {"train", *ANALYSES}}


@contextmanager
def edited(file, text):
    """The file with other content; afterwards it is as it was, its time too."""
    before, times = file.read_text(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text(text)
    yield
    file.write_text(before)
    os.utime(file, ns=times)


@contextmanager
def moved(folder):
    """The folder somewhere else; afterwards it is back."""
    away = folder.rename(folder.with_name("away"))
    yield
    away.rename(folder)


def test_a_fresh_clone_trains_the_whole_grid(checkout):
    """Nine runs by their notebook, and the nine of one modality in one process."""
    assert dry_run(checkout, *MISSING)[1].count("rule train_from_planted_text_only_1111:") == 1
    assert planned(checkout, *MISSING) == {"train": 9, **ANALYSES}


def test_a_fresh_clone_reports_from_the_committed_records(checkout):
    assert planned(checkout, *RECORDED) == {rule: 1 for rule in RULES if rule != "record"}


def test_a_grid_without_records_has_no_report(checkout):
    records = checkout / "results" / "records" / "small"
    with moved(records):
        code, text = dry_run(checkout, *RECORDED)
    assert code != 0
    assert "grid small: got no results/records/small/runs.parquet" in text


def test_a_run_asks_for_a_gpu_where_it_may_use_one_and_there_is_one(checkout):
    """planted runs on the CPU unless it is told otherwise."""
    preset = checkout / "config" / "datasets" / "planted.yaml"
    study = checkout / "config" / "study.yaml"
    gpus = ("--printshellcmds", *MISSING, "--config", "gpus=1")
    assert dry_run(checkout, *gpus)[1].count("gpu=0") == 10
    entry = "    - dataset: planted\n      runs_per_job: 2\n      minutes: 7\n      threads: 2\n"
    with (
        edited(preset, preset.read_text().replace("device: cpu", "device: auto")),
        edited(study, study.read_text().replace("    - dataset: planted\n", entry, 1)),
    ):
        text = dry_run(checkout, *gpus)[1]
        assert (text.count("gpu=1"), text.count("; source workflow/gpu.sh; ")) == (6, 6)
        assert (text.count("runtime=14"), text.count("runtime=7"), text.count("threads: 2")) == (4, 1, 5)
        assert dry_run(checkout, "--printshellcmds", *MISSING)[1].count("CUDA_VISIBLE_DEVICES=;") == 6


def test_an_unknown_grid_is_an_error(checkout):
    code, text = dry_run(checkout, "--config", "grid=huge")
    assert code != 0
    assert "got grid 'huge', expected one of" in text


@pytest.fixture(scope="module")
def study(small_checkout):
    """A copy of the sources after `make study` on three runs, one of which failed; exit status and output of make."""
    folder = small_checkout
    file = folder / "config" / "study.yaml"
    runs = [{"dataset": "planted", "variants": ["paper", "no_alignment", "no_label_generation"], "seeds": [1]}]
    real = [*runs, {"dataset": "mosi_text_audio", "variants": ["paper"], "seeds": [1]}]
    grouped = [{"dataset": "planted", "variants": ["paper", "no_label_generation"], "seeds": [2, 3], "runs_per_job": 3}]
    grids = {"small": runs, "real": real, "grouped": grouped}
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"grids": grids}))
    file = folder / "config" / "variants.yaml"
    variants = yaml.safe_load(file.read_text())
    variants["no_label_generation"]["training.groups.audio.learning_rate"] = 1e300
    file.write_text(yaml.safe_dump(variants))
    for name in ("Makefile", "requirements-torch.lock", "requirements.lock", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, folder)
    (folder / ".venv").mkdir()  # this environment: nothing is to be set up
    for part in Path(sys.prefix).iterdir():
        (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv" / "ready").unlink(missing_ok=True)
    (folder / ".venv" / "ready").touch()
    return folder, *execute(folder, "make", "study")


@pytest.mark.slow
def test_a_failed_run_spoils_no_other(study):
    """Its notebook is kept, with the error; the tables of the others name it; make fails."""
    folder, code, text = study
    assert code != 0
    assert "something failed" in text
    assert "planted/paper/seed-1 will be trained: not there" in text
    results = folder / "results"
    assert (
        "FloatingPointError" in (results / "notebooks" / "planted" / "no_label_generation" / "seed-1.ipynb").read_text()
    )
    finished = [file.parts[-3] for file in (results / "runs").rglob("metrics.json")]
    assert sorted(finished) == ["no_alignment", "paper"]
    for name in ("small", "small-ablations"):
        missing = pd.read_csv(results / "tables" / f"{name}.csv").set_index("variant")["missing"]
        assert missing["no_label_generation"] == 1
    sizes = pd.read_csv(results / "tables" / "small.csv").set_index("variant")["n"]
    assert (set(sizes["paper"]), sizes["no_label_generation"]) == ({1}, 0)
    claims = (results / "tables" / "small-claims.md").read_text()
    assert "Missing runs (1): planted/no_label_generation/seed-1." in claims


@pytest.mark.slow
def test_runs_of_one_process_are_the_runs_of_their_own_and_a_failed_one_spoils_no_other(study, tmp_path):
    """Two jobs: three runs, the last of which fails, and one by its notebook, which fails."""
    folder = study[0]
    assert planned(folder, "--config", "grid=grouped", *MISSING)["train"] == 1, "the one that is left alone"
    code, text = execute(folder, "make", "runs", "GRID=grouped")
    assert code != 0, text
    runs, logs = (folder / "results" / part / "planted" for part in ("runs", "notebooks"))
    assert sorted(file.parent.name for file in runs.rglob("metrics.json") if file.parts[-3] == "paper") == [
        *("seed-1", "seed-2", "seed-3")
    ]
    log = (logs / "paper" / "seed-2-and-2-more.log").read_text()
    assert "FloatingPointError" in log
    assert "planted/no_label_generation/2: failed" in log
    assert (logs / "no_label_generation" / "seed-3.ipynb").is_file()
    grouped = (runs / "paper" / "seed-3").rename(tmp_path / "seed-3")
    one_thread = ("env", "OMP_NUM_THREADS=1")  # as the batch: another number rounds otherwise
    assert execute(folder, *one_thread, sys.executable, "workflow/train.py", "planted/paper/3")[0] == 0
    frames = [pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (grouped, runs / "paper" / "seed-3")]
    pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.slow
def test_the_study_ends_with_tables_figures_and_the_report(study):
    folder, _, text = study
    assert planned(folder, *FINISHED) == {}, text
    assert planned(folder, *MISSING) == {"train": 1, **OF_A_GRID}
    with moved(folder / "results" / "runs"):
        assert planned(folder, *RECORDED) == {}, "the records are enough"
    assert (folder / "figures" / "small.png").stat().st_size > 10_000
    assert "How good is each variant?" in (folder / "results" / "report-small.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["analysis/__init__", "records", "objective"])
def test_edited_code_plans_the_analyses_and_no_finished_run(study, module):
    file = study[0] / "msa_core" / f"{module}.py"
    with edited(file, f"{file.read_text()}\n"):
        assert planned(study[0], *FINISHED) == ANALYSES
        assert planned(study[0], *MISSING) == {"train": 1, **ANALYSES}  # the one that failed


def plan(folder):
    """What `make study` says first; it makes room for the runs that are to be trained."""
    code = "import runpy; print(*runpy.run_path('workflow/batch.py')['plan']('small'), sep='\\n')"
    status, text = execute(folder, sys.executable, "-c", code)
    assert status == 0, text
    return text.splitlines()


@pytest.mark.slow
def test_changed_settings_plan_their_runs_and_no_others_and_keep_the_old_ones(study):
    folder = study[0]
    assert plan(folder) == ["planted/no_label_generation/seed-1 will be trained: not there"]
    file = folder / "config" / "variants.yaml"
    variants = yaml.safe_load(file.read_text())
    variants["no_alignment"]["training.patience"] = 1
    run = folder / "results" / "runs" / "planted" / "no_alignment" / "seed-1"
    metrics = (run / "metrics.json").read_bytes()
    with edited(file, yaml.safe_dump(variants)):
        assert plan(folder)[0] == (
            "planted/no_alignment/seed-1 will be trained: other settings (now training.patience: 1); "
            "the old run is kept until the new one is finished"
        )
        assert plan(folder)[0] == "planted/no_alignment/seed-1 will be trained: not there"
        assert planned(folder, *MISSING) == {"train": 2, **OF_A_GRID}
        assert (run.with_name(".seed-1.replaced") / "metrics.json").read_bytes() == metrics
    assert len(plan(folder)) == 1, "with its settings back, the old run is the run again"
    assert (run / "metrics.json").read_bytes() == metrics
    assert planned(folder, *FINISHED) == {}


@pytest.mark.slow
def test_a_run_removed_by_hand_is_trained_again(study, tmp_path):
    run = study[0] / "results" / "runs" / "planted" / "no_alignment" / "seed-1"
    shutil.move(run, tmp_path / "elsewhere")
    assert planned(study[0], *MISSING)["train"] == 2
    assert "planted/no_alignment/seed-1 will be trained: not there" in plan(study[0])
    shutil.move(tmp_path / "elsewhere", run)
    assert planned(study[0], *MISSING)["train"] == 1


@pytest.mark.slow
def test_a_second_batch_is_refused_in_one_line_and_writes_nothing(study):
    tables = {file: file.stat().st_mtime_ns for file in (study[0] / "results" / "tables").iterdir()}
    with (study[0] / "results" / ".batch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, text = execute(study[0], "make", "study")
    assert code != 0
    said = [line for line in text.splitlines() if not line.startswith("make: ")]
    assert len(said) == 1
    assert "another make study is at work in this project; wait for it, or stop it" in said[0]
    assert tables == {file: file.stat().st_mtime_ns for file in (study[0] / "results" / "tables").iterdir()}


PARENT = """
import os, subprocess, sys, time
environment = os.environ | {"JPY_PARENT_PID": str(os.getpid())}
kernel = subprocess.Popen([sys.executable, *sys.argv[1:]], env=environment, start_new_session=True)
print(kernel.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ipykernel alone looks for its parent")
def test_a_kernel_of_the_batch_dies_with_its_parent_before_it_is_loaded(tmp_path):
    script = paths.ROOT / "workflow" / "kernels" / "study" / "kernel.py"
    command = [sys.executable, "-c", PARENT, script, "-f", tmp_path / "connection.json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        assert is_alive(pid)
        parent.kill()
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


def finished_run(folder, features):
    config = resolve("mmmo_audio_vision", features=str(features))
    frame = pd.DataFrame({"id": ["a"]})
    data = {"sha256": hashlib.sha256(features.read_bytes()).hexdigest()}
    result = records.Run(config, {}, frame, frame, frame, {}, {"data": data})
    records.write_run(folder, result, nn.Linear(1, 1))
    return config


def test_another_content_of_the_feature_file_and_a_damaged_file_outdate_a_run(tmp_path):
    """A feature file that was only touched does not."""
    outdated = runpy.run_path(str(paths.ROOT / "workflow" / "batch.py"))["outdated"]
    features, folder = tmp_path / "features.pkl", tmp_path / "seed-1111"
    features.write_text("first")
    config = finished_run(folder, features)
    later = (folder / "metrics.json").stat().st_mtime + 10
    os.utime(features, (later, later))
    assert outdated(config, folder) == ""
    features.write_text("second")
    os.utime(features, (later, later))
    assert outdated(config, folder) == f"other content in {features}"
    (folder / "history.csv").write_text("")
    assert "history.csv: got SHA-256" in outdated(config, folder)


def test_another_shard_and_another_content_of_one_outdate_a_run(tmp_path):
    outdated = runpy.run_path(str(paths.ROOT / "workflow" / "batch.py"))["outdated"]
    folder, shards = tmp_path / "seed-1111", [tmp_path / f"{name}.pkl" for name in "ab"]
    for shard in shards:
        shard.write_text(shard.stem)
    digests = {shard.name: hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards}
    config = resolve("mmmo_audio_vision", features=str(tmp_path / "*.pkl"))
    frame = pd.DataFrame({"id": ["a"]})
    data = {"sha256": content_sha256(digests), "shards": digests}
    records.write_run(folder, records.Run(config, {}, frame, frame, frame, {}, {"data": data}), nn.Linear(1, 1))
    later = (folder / "metrics.json").stat().st_mtime + 10
    os.utime(shards[1], (later, later))
    assert outdated(config, folder) == ""
    shards[1].write_text("other")
    os.utime(shards[1], (later, later))
    assert "other content in" in outdated(config, folder)
    shards[1].unlink()
    assert "other content in" in outdated(config, folder)


@pytest.mark.slow
def test_a_grid_whose_data_are_missing_is_refused_before_anything_is_run(study):
    code, text = execute(study[0], "make", "study", "GRID=real")
    assert code != 0
    assert text.count("grid real: got no file data/mosi_text_audio.pkl, expected the features of") == 1
    assert "something failed" not in text
    assert list((study[0] / "results" / "tables").glob("real*")) == []
