"""workflow/phase.py. Oracles: run.train of the same settings, and the jobs by hand."""

import json
import os
import runpy
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
import yaml

from msa_core import paths, run
from msa_core.config import Phase, resolve
from msa_core.encoders import load_text_encoder, load_tokenizer
from msa_core.vocabulary import planted_tokenizer

sys.path.append(str(paths.ROOT / "workflow"))  # where it finds its neighbours
PHASE = runpy.run_path(str(paths.ROOT / "workflow" / "phase.py"))
STUDY = {
    "dataset": "planted_phase",
    "signal_to_noise": [0.5],
    "shared_part": [0.2, 0.8],
    "label_noise": [0.5],
    "weights": [1.0, 10.0],
    "weight_seeds": [1],
    "seeds": [5, 6],
}
SMALL = {"dataset.planted.num_train": 24, "dataset.planted.num_valid": 8, "dataset.planted.num_test": 12}


def test_a_weight_is_chosen_on_draws_without_a_test_split():
    study = Phase(**STUDY)
    jobs = PHASE["choosing"](study, set())
    assert [(cell.shared_part, seed, runs) for cell, seed, runs in jobs] == [
        (0.2, 1, [("paper", 1.0), ("paper", 10.0)]),
        (0.8, 1, [("paper", 1.0), ("paper", 10.0)]),
    ]
    assert PHASE["settings"]("planted_phase", study.cells[0], "paper", 1.0, 1, True).dataset.planted.num_test == 2


def test_draws_come_one_after_the_other_in_all_cells_with_the_cells_weight():
    study = Phase(**STUDY)
    weights = pd.Series([10.0, 1.0], pd.MultiIndex.from_tuples([(0.5, 0.2, 0.5), (0.5, 0.8, 0.5)]))
    recorded = {(0.5, 0.2, 0.5, 5, "paper", 10.0), (0.5, 0.8, 0.5, 6, "paper", 10.0)}  # the second has another weight
    jobs = PHASE["comparing"](study, weights, recorded)
    assert [(cell.shared_part, seed) for cell, seed, _ in jobs] == [(0.2, 5), (0.8, 5), (0.2, 6), (0.8, 6)]
    without = [("multimodal_only", 0.0), ("no_alignment", 0.0)]
    assert jobs[0][2] == [*without, ("no_label_generation", 10.0)]
    assert jobs[3][2] == [*without, ("no_label_generation", 1.0), ("paper", 1.0)]


def test_a_row_is_what_a_run_with_a_folder_gives(tmp_path, monkeypatch):
    cell = Phase(**STUDY).cells[1]
    overrides = {"dataset.planted": cell.planted, "objective.alignment.pairs": {"audio-vision": 10.0}}
    config = resolve("planted_phase", "paper", 5, overrides=overrides | SMALL | {"training.max_epochs": 2})
    monkeypatch.setitem(PHASE["measure"].__globals__, "settings", lambda *_: config)
    (row,) = PHASE["measure"]("planted_phase", False, (cell, 5, [("paper", 10.0)]))
    other = run.train(config, tmp_path / "run")
    assert row["test_mae"] == other.metrics["test"]["multimodal"]["mae"]
    assert row["valid_mae"] == other.history["valid_mae"].min()
    assert row["best_epoch"] == other.provenance["best_epoch"]
    assert config.dataset.planted.process["shared_part"] == {"text": 0.8, "audio": 0.8, "vision": 0.8}
    assert config.dataset.planted.process["signal_to_noise"] == {"audio": 0.5, "vision": 0.5}


def test_the_text_encoder_comes_back_with_its_trained_words(tmp_path, monkeypatch):
    small = PHASE["PRETRAINING"] | {"dataset.planted.num_train": 8, "dataset.planted.num_valid": 4}
    trained = []

    def remember(*arguments):
        trained.append(PHASE["trained"](*arguments))
        return trained[-1]

    for name, value in {"PRETRAINING": small | {"training.max_epochs": 1}, "trained": remember}.items():
        monkeypatch.setitem(PHASE["pretrain"].__globals__, name, value)
    PHASE["pretrain"]("planted_phase", tmp_path)
    ((model, _),) = trained
    tokens = load_tokenizer(str(tmp_path))(["the plot was good", "a bad film"], return_tensors="pt", padding=True)
    arguments = (tokens["input_ids"], tokens["attention_mask"].sum(dim=1))
    stored = load_text_encoder(str(tmp_path)).eval().double()
    assert tokens["input_ids"].equal(
        planted_tokenizer()(["the plot was good", "a bad film"], return_tensors="pt", padding=True)["input_ids"]
    )
    torch.testing.assert_close(stored(*arguments), model.encoders["text"].eval()(*arguments), rtol=0, atol=0)


@pytest.fixture(scope="module")
def phase_checkout(small_checkout):
    """Two cells, two draws, a few samples."""
    study = small_checkout / "config" / "study.yaml"
    study.write_text(yaml.safe_dump(yaml.safe_load(study.read_text()) | {"phase": STUDY}))
    preset = small_checkout / "config" / "datasets" / "planted_phase.yaml"
    settings = yaml.safe_load(preset.read_text())
    settings["dataset"]["planted"] = {"num_train": 24, "num_valid": 8, "num_test": 12}
    preset.write_text(yaml.safe_dump(settings))
    shutil.rmtree(small_checkout / "results" / "records" / "phase", ignore_errors=True)
    text = small_checkout / "results" / "trials" / "phase-text"
    load_text_encoder("tiny").transformer.save_pretrained(text)
    planted_tokenizer().save_pretrained(text)
    return small_checkout


def train(folder):
    command = [sys.executable, "workflow/phase.py", "--processes", "1"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_an_interrupted_diagram_goes_on(phase_checkout):
    records = phase_checkout / "results" / "records" / "phase"
    assert train(phase_checkout).returncode == 0
    whole = pd.read_csv(records / "runs.csv")
    assert len(whole) == 2 * (2 + 2 * 4)
    lost = whole["shared_part"].eq(0.8) & whole["seed"].eq(6) & whole["variant"].ne("paper")
    whole[~lost].to_csv(records / "runs.csv", index=False)
    done = train(phase_checkout)
    assert done.stdout == "1 of 1\n"  # the weights are there
    columns = [name for name in whole if name != "cpu_seconds"]
    pd.testing.assert_frame_equal(pd.read_csv(records / "runs.csv")[columns], whole[columns], check_exact=True)
    assert len(json.loads((records / "provenance.json").read_text())) == 2


@pytest.mark.slow
def test_runs_of_other_settings_are_not_mixed(phase_checkout):
    folder = phase_checkout / "results" / "records" / "phase"
    preset = phase_checkout / "config" / "datasets" / "planted_phase.yaml"
    before = preset.read_text()
    preset.write_text(before.replace("max_epochs: 7", "max_epochs: 5"))
    rows = (folder / "runs.csv").read_bytes()
    done = train(phase_checkout)
    preset.write_text(before)
    assert done.returncode != 0
    assert "holds runs with other settings (now: training.max_epochs: 5)" in done.stderr
    assert (folder / "runs.csv").read_bytes() == rows
