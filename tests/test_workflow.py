"""The batch, on a copy of the sources as a fresh clone has them: what Snakemake plans, runs and runs again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from msa_core import paths

RULES = (
    "claims",
    "results",
    "ablations",
    "covariance_planted",
    "label_trajectories_planted",
    "shared_and_private_planted",
    "efficiency",
    "report",
)
ANALYSES = dict.fromkeys(RULES, 1)


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--cores", "2", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=280)
    return done.returncode, done.stdout + done.stderr


def planned(folder, *arguments):
    """Rule -> number of jobs, as the dry run's table says."""
    code, text = snakemake(folder, "--dry-run", *arguments)
    assert code == 0, text
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] in {"train", *ANALYSES}}


def make(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=280)


def test_a_fresh_clone_trains_the_whole_grid(checkout):
    assert planned(checkout) == {"train": 9, **ANALYSES}


def test_an_unknown_grid_is_an_error(checkout):
    code, text = snakemake(checkout, "--dry-run", "--config", "grid=huge")
    assert code != 0
    assert "got grid 'huge', expected one of" in text


def test_a_small_study_from_end_to_end_and_what_is_run_again(small_checkout):
    checkout = small_checkout
    study = [{"dataset": "planted", "variants": ["paper", "no_alignment"], "seeds": [1]}]
    real = [*study, {"dataset": "mosi_text_audio", "variants": ["paper"], "seeds": [1]}]
    (checkout / "config" / "study.yaml").write_text(yaml.safe_dump({"small": study, "real": real}))
    code, text = snakemake(checkout)
    assert code == 0, text
    table = pd.read_csv(checkout / "results" / "tables" / "small.csv")
    assert set(table["variant"]) == {"paper", "no_alignment"}
    assert (checkout / "figures" / "small.png").stat().st_size > 10_000
    assert (checkout / "results" / "notebooks" / "planted" / "paper" / "seed-1.ipynb").is_file()

    assert "How good is each variant?" in (checkout / "results" / "report-small.html").read_text()
    assert planned(checkout) == {}
    plots = checkout / "msa_core" / "plots.py"
    plots.write_text(plots.read_text() + "\n")
    assert planned(checkout) == ANALYSES
    loss = checkout / "msa_core" / "objective.py"
    loss.write_text(loss.read_text() + "\n")
    assert planned(checkout) == {"train": 2, **ANALYSES}
    code, text = snakemake(checkout)
    assert code == 0, text

    variants = checkout / "config" / "variants.yaml"
    changed = yaml.safe_load(variants.read_text())
    changed["no_alignment"]["training.patience"] = 1
    variants.write_text(yaml.safe_dump(changed))
    assert planned(checkout) == {"train": 1, **ANALYSES}

    # A run that fails keeps its notebook, with the error, and spoils no other: the tables name it, and make fails.
    changed["no_alignment"]["training.groups.audio.learning_rate"] = 1e30
    variants.write_text(yaml.safe_dump(changed))
    for file in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(paths.ROOT / file, checkout)
    (checkout / ".venv").mkdir()  # this environment: nothing is to be set up
    (checkout / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (checkout / ".venv" / "ready").touch()
    done = make(checkout, "study")
    assert done.returncode != 0
    notebook = checkout / "results" / "notebooks" / "planted" / "no_alignment" / "seed-1.ipynb"
    assert "FloatingPointError" in notebook.read_text()
    assert not (checkout / "results" / "runs" / "planted" / "no_alignment" / "seed-1" / "metrics.json").exists()
    assert (checkout / "results" / "runs" / "planted" / "paper" / "seed-1" / "metrics.json").exists()
    tables = checkout / "results" / "tables"
    for name in ("small", "small-ablations"):
        missing = pd.read_csv(tables / f"{name}.csv").set_index("variant")["missing"]
        assert missing["no_alignment"] == 1
    main = pd.read_csv(tables / "small.csv").set_index("variant")["n"]
    assert (set(main["paper"]), main["no_alignment"]) == ({1}, 0)
    assert "Missing runs (1): planted/no_alignment/seed-1." in (tables / "small-claims.md").read_text()

    # A grid whose data are not there is refused before anything is run, and no table of finished runs takes its place.
    done = make(checkout, "study", "GRID=real")
    assert done.returncode != 0
    assert done.stdout.count("grid real: got no file data/mosi_text_audio.pkl, expected the features of") == 1
    assert "something failed" not in done.stdout
    assert list(tables.glob("real*")) == []
