"""workflow/sweep.py. Oracles: run.train of the same settings, and the jobs by hand."""

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

from msa_core import build, paths, run
from msa_core.analysis import information
from msa_core.analysis.sweeps import read_runs
from msa_core.config import Sweep, resolve
from msa_core.encoders import load_text_encoder, load_tokenizer
from msa_core.vocabulary import planted_tokenizer

sys.path.append(str(paths.ROOT / "workflow"))  # where it finds its neighbours
SWEEP = runpy.run_path(str(paths.ROOT / "workflow" / "sweep.py"))
STUDY = {
    "question": 1,
    "title": "Which?",
    "dataset": "planted_phase",
    "factors": {"noise": {0.5: {"dataset.planted.label_noise": 0.5}, 0.8: {"dataset.planted.label_noise": 0.8}}},
    "comparisons": {"paper": ["no_alignment", "no_label_generation"], "text_only": ["multimodal_only"]},
    "weights": [1.0, 10.0],
    "weight_seeds": [1],
    "seeds": [5, 6],
}
SMALL = {
    "dataset.planted": {"num_train": 24, "num_valid": 8, "num_test": 12},
    "text": {"encoder": "tiny", "frozen": False},
}


def named(jobs):
    return [[(cell.levels, *others) for cell, *others in job] for job in jobs]


def test_a_weight_is_chosen_for_what_aligns_on_draws_without_a_test_split():
    study = Sweep(**STUDY)
    jobs = SWEEP["choosing"](study)
    assert named(jobs) == [[((noise,), 1, "paper", weight) for weight in (1.0, 10.0)] for noise in (0.5, 0.8)]
    planted = SWEEP["settings"](study, jobs[1][0], True).dataset.planted
    assert planted.num_test == 2 and planted.label_noise == 0.8
    assert SWEEP["choosing"](Sweep(**STUDY | {"weights": [10.0]})) == []
    with pytest.raises(ValueError, match="got multimodal_only, which does not align, with paper, which does"):
        SWEEP["choosing"](Sweep(**STUDY | {"comparisons": {"multimodal_only": ["paper"]}}))


def test_draws_come_one_after_the_other_in_all_cells_with_the_cells_weight():
    jobs = SWEEP["comparing"](Sweep(**STUDY), {(0.5, "paper"): 10.0, (0.8, "paper"): 1.0})

    def job(noise, seed, weight):
        names = {"paper": weight, "no_alignment": 0.0, "no_label_generation": weight, "text_only": 0.0}
        return [((noise,), seed, *each) for each in {**names, "multimodal_only": 0.0}.items()]

    assert named(jobs) == [job(0.5, 5, 10.0), job(0.8, 5, 1.0), job(0.5, 6, 10.0), job(0.8, 6, 1.0)]


def test_what_is_recorded_is_not_run_again_and_what_has_other_settings_is_left_out(tmp_path):
    study = Sweep(**STUDY)
    (first, *rest), *_ = jobs = SWEEP["comparing"](study, {(0.5, "paper"): 10.0, (0.8, "paper"): 1.0})
    rows = read_runs(tmp_path / "none.csv", study)
    known = SWEEP["fingerprint"](SWEEP["settings"](study, first, False))
    rows["settings"], rows["test_mae"] = [known, "of another sweep", "chooses"], [0.5, 0.5, None]
    kept, left = SWEEP["sorted_out"](study, jobs, rows, False)
    assert kept["settings"].tolist() == [known, "chooses"]
    assert left == [rest, *jobs[1:]]


def test_a_row_is_what_a_run_with_a_folder_gives(tmp_path, monkeypatch):
    study = Sweep(**STUDY)
    overrides = study.cells[1].overrides | {"objective.alignment.pairs": {"audio-vision": 10.0}}
    config = resolve("planted_phase", "paper", 5, overrides=overrides | SMALL | {"training.max_epochs": 2})
    monkeypatch.setitem(SWEEP["measure"].__globals__, "settings", lambda *_: config)
    (row,) = SWEEP["measure"](study, False, [(study.cells[1], 5, "paper", 10.0)])
    other = run.train(config, tmp_path / "run")
    assert row["noise"] == 0.8
    assert row["test_mae"] == other.metrics["test"]["multimodal"]["mae"]
    assert row["valid_mae"] == other.history["valid_mae"].min()
    assert row["best_epoch"] == other.provenance["best_epoch"]
    true = pd.DataFrame(build.dataset(config)["train"].unimodal_labels)
    errors = [
        (other.labels.query(f"epoch == {epoch}")[list(true)].to_numpy() - true.to_numpy()).__abs__().mean()
        for epoch in (row["best_epoch"], 0)
    ]
    assert [row["label_mae"], row["copies_mae"]] == pytest.approx(errors)


def test_models_that_read_every_token_do_not_get_the_first_alone(tmp_path, monkeypatch):
    """Of a frozen text, whichever model comes first in a job."""
    load_text_encoder("tiny").transformer.save_pretrained(tmp_path)
    planted_tokenizer().save_pretrained(tmp_path)
    small = SMALL | {"text": {"encoder": str(tmp_path), "frozen": True}, "training.max_epochs": 1}
    read = {}

    def remember(config, data):
        read[config.variant] = data["train"].lengths("text").max()
        return SWEEP["trained"](config, data)

    def settings(_, run, __):
        return resolve("planted_phase", run[2], 5, overrides=small)

    for name, value in {"settings": settings, "trained": remember}.items():
        monkeypatch.setitem(SWEEP["measure"].__globals__, name, value)
    study = Sweep(**STUDY)
    variants = ("multimodal_only", "misa_multimodal_only")
    SWEEP["measure"](study, False, [(study.cells[0], 5, variant, 0.0) for variant in variants])
    assert read["multimodal_only"] == 1 < read["misa_multimodal_only"]


def test_what_a_sweep_measures_besides_is_measured_of_compared_runs_alone(monkeypatch):
    """Of the frames once a draw; of a run that is recorded without it, anew."""
    study = Sweep(**STUDY | {"measures": ["information"]})
    small = SMALL | {"training.max_epochs": 1, "dataset.planted.num_test": 40}
    config, drawn = resolve("planted_phase", "paper", 5, overrides=small), []
    monkeypatch.setitem(SWEEP["measure"].__globals__, "settings", lambda *_: config)
    monkeypatch.setattr(information, "of_frames", lambda features: drawn.append(len(features)) or {"frames_audio": 0.5})
    job = [(study.cells[0], 5, "paper", 1.0), (study.cells[0], 5, "no_alignment", 0.0)]
    rows = SWEEP["measure"](study, False, job)
    assert drawn == [40]
    assert all(row["frames_audio"] == 0.5 and row["encodings_redundancy"] < 1 for row in rows)
    (chooses,) = SWEEP["measure"](study, True, job[:1])
    assert not set(chooses) & set(information.COLUMNS)
    known = pd.DataFrame([dict.fromkeys(information.COLUMNS, 0.1) | rows[0]])
    assert SWEEP["sorted_out"](study, [job[:1]], known, False)[1] == []
    kept, left = SWEEP["sorted_out"](study, [job[:1]], known.assign(encodings_pair_auc=None), False)
    assert kept.empty and left == [job[:1]]


def test_conflicts_are_means_over_epochs_of_what_the_history_shows():
    history = pd.DataFrame({"gradient_conflict_audio_audio": [0.5, -1.0], "gradient_conflict_audio_vision": [1.0, 1.0]})
    assert SWEEP["conflicts"](history) == {"conflict_audio": -0.25}


def test_the_text_encoder_comes_back_with_its_trained_words(tmp_path, monkeypatch):
    small = SWEEP["PRETRAINING"] | {"dataset.planted.num_train": 8, "dataset.planted.num_valid": 4}
    trained = []

    def remember(*arguments):
        trained.append(SWEEP["trained"](*arguments))
        return trained[-1]

    for name, value in {"PRETRAINING": small | {"training.max_epochs": 1}, "trained": remember}.items():
        monkeypatch.setitem(SWEEP["pretrain"].__globals__, name, value)
    SWEEP["pretrain"]("planted_phase", tmp_path)
    ((model, _),) = trained
    tokens = load_tokenizer(str(tmp_path))(["the plot was good", "a bad film"], return_tensors="pt", padding=True)
    arguments = (tokens["input_ids"], tokens["attention_mask"].sum(dim=1))
    stored = load_text_encoder(str(tmp_path)).eval().double()
    assert tokens["input_ids"].equal(
        planted_tokenizer()(["the plot was good", "a bad film"], return_tensors="pt", padding=True)["input_ids"]
    )
    torch.testing.assert_close(stored(*arguments), model.encoders["text"].eval()(*arguments), rtol=0, atol=0)


@pytest.fixture(scope="module")
def sweep_checkout(small_checkout):
    """Two cells, two draws, a few samples."""
    study = small_checkout / "config" / "study.yaml"
    study.write_text(yaml.safe_dump(yaml.safe_load(study.read_text()) | {"sweeps": {"mine": STUDY}}))
    preset = small_checkout / "config" / "datasets" / "planted_phase.yaml"
    settings = yaml.safe_load(preset.read_text())
    settings["dataset"]["planted"] = {"num_train": 24, "num_valid": 8, "num_test": 12}
    preset.write_text(yaml.safe_dump(settings))
    shutil.rmtree(small_checkout / "results" / "records" / "sweeps", ignore_errors=True)
    text = small_checkout / "results" / "trials" / "phase-text"
    load_text_encoder("tiny").transformer.save_pretrained(text)
    planted_tokenizer().save_pretrained(text)
    return small_checkout


def train(folder):
    command = [sys.executable, "workflow/sweep.py", "mine", "--processes", "1"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_and_runs_of_other_settings_are_trained_anew(sweep_checkout):
    records = sweep_checkout / "results" / "records" / "sweeps" / "mine"
    done = train(sweep_checkout)
    assert done.returncode == 0, done.stderr
    whole = pd.read_csv(records / "runs.csv")
    assert len(whole) == 2 * (2 + 2 * 5)
    lost = whole["noise"].eq(0.8) & whole["seed"].eq(6) & whole["variant"].ne("paper")
    whole[~lost].to_csv(records / "runs.csv", index=False)
    done = train(sweep_checkout)
    assert done.stdout == "1 of 1\n"  # the weights are there
    columns = [name for name in whole if name != "cpu_seconds"]
    pd.testing.assert_frame_equal(pd.read_csv(records / "runs.csv")[columns], whole[columns], check_exact=True)
    assert len(json.loads((records / "provenance.json").read_text())) == 2
    variants = sweep_checkout / "config" / "variants.yaml"
    variants.write_text(variants.read_text().replace("text_only:\n", "text_only:\n  training.max_epochs: 3\n"))
    assert train(sweep_checkout).stdout.splitlines()[0].startswith("4 runs are no longer in the sweep")
    anew = pd.read_csv(records / "runs.csv")
    assert len(anew) == len(whole)
    assert anew.loc[anew["variant"] == "text_only", "epochs"].max() <= 3
