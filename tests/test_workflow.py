"""The batch, on a copy of the sources as a fresh clone has them: what Snakemake plans, runs and runs again."""

import os
import subprocess
import sys

import pandas as pd
import yaml


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
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] in ("train", "results", "report")}


def test_a_fresh_clone_trains_the_whole_grid(checkout):
    assert planned(checkout) == {"train": 9, "results": 1}


def test_an_unknown_grid_is_an_error(checkout):
    code, text = snakemake(checkout, "--dry-run", "--config", "grid=huge")
    assert code != 0
    assert "got grid 'huge', expected one of" in text


def test_a_small_study_from_end_to_end_and_what_is_run_again(small_checkout):
    checkout = small_checkout
    study = [{"dataset": "planted", "variants": ["paper", "no_alignment"], "seeds": [1]}]
    (checkout / "config" / "study.yaml").write_text(yaml.safe_dump({"small": study}))
    code, text = snakemake(checkout)
    assert code == 0, text
    table = pd.read_csv(checkout / "results" / "tables" / "main.csv")
    assert set(table["variant"]) == {"paper", "no_alignment"}
    assert (checkout / "figures" / "main.png").stat().st_size > 10_000
    assert (checkout / "results" / "notebooks" / "planted" / "paper" / "seed-1.ipynb").is_file()

    assert planned(checkout) == {}
    code, text = snakemake(checkout, "report")
    assert code == 0, text
    assert "How good is each variant?" in (checkout / "results" / "report.html").read_text()
    assert planned(checkout, "report") == {}
    plots = checkout / "msa_core" / "plots.py"
    plots.write_text(plots.read_text() + "\n")
    assert planned(checkout, "report") == {"results": 1, "report": 1}
    loss = checkout / "msa_core" / "objective.py"
    loss.write_text(loss.read_text() + "\n")
    assert planned(checkout) == {"train": 2, "results": 1}
    code, text = snakemake(checkout)
    assert code == 0, text

    variants = checkout / "config" / "variants.yaml"
    changed = yaml.safe_load(variants.read_text())
    changed["no_alignment"]["training.patience"] = 1
    variants.write_text(yaml.safe_dump(changed))
    assert planned(checkout) == {"train": 1, "results": 1}

    # A run that fails keeps its notebook, with the error, and spoils no other.
    changed["no_alignment"]["training.groups.audio.learning_rate"] = 1e30
    variants.write_text(yaml.safe_dump(changed))
    code, text = snakemake(checkout, "--keep-going")
    assert code != 0
    notebook = checkout / "results" / "notebooks" / "planted" / "no_alignment" / "seed-1.ipynb"
    assert "FloatingPointError" in notebook.read_text()
    assert not (checkout / "results" / "runs" / "planted" / "no_alignment" / "seed-1" / "metrics.json").exists()
    assert (checkout / "results" / "runs" / "planted" / "paper" / "seed-1" / "metrics.json").exists()
