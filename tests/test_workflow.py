"""The batch, on a copy of the sources as a fresh clone has them: what Snakemake plans, runs and runs again."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from msa_core import paths

RULES = (
    "record",
    "claims",
    "results",
    "ablations",
    "covariance_planted",
    "label_trajectories_planted",
    "shared_and_private_planted",
    "efficiency",
    "same_numbers",
    "report",
)
ANALYSES = dict.fromkeys(RULES, 1)
OF_A_GRID = {rule: 1 for rule in RULES if rule not in ("efficiency", "same_numbers")}  # they read no runs


FINISHED = ("--config", "finished_only=true")
RECORDED = ("--config", "recorded_only=true")


def execute(folder, *command):
    """Exit status and all output of a command on a copy of the sources."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=900)
    return process.returncode, process.stdout + process.stderr


def dry_run(folder, *arguments):
    command = (sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--cores", "2", "--dry-run")
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
    assert planned(checkout) == {"train": 9, **ANALYSES}


def test_a_fresh_clone_reports_from_the_committed_records(checkout):
    assert planned(checkout, *RECORDED) == {rule: 1 for rule in RULES if rule != "record"}


def test_a_grid_without_records_has_no_report(checkout):
    records = checkout / "results" / "records" / "small"
    with moved(records):
        code, text = dry_run(checkout, *RECORDED)
    assert code != 0
    assert "grid small: got no results/records/small/runs.parquet" in text


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
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"grids": {"small": runs, "real": real}}))
    file = folder / "config" / "variants.yaml"
    variants = yaml.safe_load(file.read_text())
    variants["no_label_generation"]["training.groups.audio.learning_rate"] = 1e300
    file.write_text(yaml.safe_dump(variants))
    for name in ("Makefile", "requirements-torch.lock", "requirements.lock", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, folder)
    (folder / ".venv").mkdir()  # this environment: nothing is to be set up
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv" / "ready").touch()
    return folder, *execute(folder, "make", "study")


@pytest.mark.slow
def test_a_failed_run_spoils_no_other(study):
    """Its notebook is kept, with the error; the tables of the others name it; make fails."""
    folder, code, text = study
    assert code != 0
    assert "something failed" in text
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
def test_the_study_ends_with_tables_figures_and_the_report(study):
    folder, _, text = study
    assert planned(folder, *FINISHED) == {}, text
    assert planned(folder) == {"train": 1, **OF_A_GRID}
    with moved(folder / "results" / "runs"):
        assert planned(folder, *RECORDED) == {}, "the records are enough"
    assert (folder / "figures" / "small.png").stat().st_size > 10_000
    assert "How good is each variant?" in (folder / "results" / "report-small.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("module", "runs"), [("analysis/__init__", 0), ("records", 2), ("objective", 2)])
def test_a_run_depends_on_what_training_imports_and_an_analysis_on_all(study, module, runs):
    file = study[0] / "msa_core" / f"{module}.py"
    with edited(file, f"{file.read_text()}\n"):
        assert planned(study[0], *FINISHED) == ({"train": runs} if runs else {}) | ANALYSES


@pytest.mark.slow
def test_changed_settings_plan_their_runs_and_no_others(study):
    file = study[0] / "config" / "variants.yaml"
    variants = yaml.safe_load(file.read_text())
    variants["no_alignment"]["training.patience"] = 1
    with edited(file, yaml.safe_dump(variants)):
        assert planned(study[0], *FINISHED) == {"train": 1, **OF_A_GRID}


@pytest.mark.slow
def test_a_grid_whose_data_are_missing_is_refused_before_anything_is_run(study):
    code, text = execute(study[0], "make", "study", "GRID=real")
    assert code != 0
    assert text.count("grid real: got no file data/mosi_text_audio.pkl, expected the features of") == 1
    assert "something failed" not in text
    assert list((study[0] / "results" / "tables").glob("real*")) == []
