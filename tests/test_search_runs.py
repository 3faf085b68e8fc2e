"""workflow/search.py. Oracles: run.train of the same settings, and the runs by hand."""

import runpy
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pandas as pd
import pytest

from msa_core import paths, run
from msa_core.analysis.searches import read_runs
from msa_core.config import Search, resolve

sys.path.append(str(paths.ROOT / "workflow"))  # where it finds its neighbours
SEARCH = runpy.run_path(str(paths.ROOT / "workflow" / "search.py"))
SPACE = {
    "rate": {
        "kind": "uniform",
        "settings": ["training.groups.audio.learning_rate", "training.groups.vision.learning_rate"],
        "low": 0.0001,
        "high": 0.01,
        "log": True,
    },
    "dropout": {"kind": "uniform", "settings": ["model.fusion.dropout"], "low": 0.2, "high": 0.4},
    "momentum": {"kind": "one_of", "settings": ["objective.labels.momentum"], "values": [None, 0.5]},
}
STUDY = Search(
    question=7,
    title="Which?",
    dataset="planted_phase",
    variant="paper",
    reference="no_alignment",
    space=SPACE,
    trials=40,
    trial_seeds=[1, 2],
    seeds=[5, 6],
)


def test_trials_are_drawn_from_the_space_and_a_larger_budget_adds_to_them():
    values = pd.DataFrame(SEARCH["trials"](STUDY))
    assert values["rate"].between(0.0001, 0.01).all() and values["dropout"].between(0.2, 0.4).all()
    assert 10 < (values["rate"] < 0.001).sum() < 30, "half of them: the logarithm is uniform"
    assert 10 < (values["momentum"] == 0.5).sum() < 30
    assert values["momentum"].isna().any()
    larger = SEARCH["trials"](STUDY.model_copy(update={"trials": 50}))
    assert larger[:40] == SEARCH["trials"](STUDY)
    assert SEARCH["trials"](STUDY.model_copy(update={"sampler_seed": 1})) != SEARCH["trials"](STUDY)


def test_a_trial_changes_the_same_settings_of_both_variants():
    values = {"rate": 0.003, "dropout": 0.3, "momentum": 0.5}
    for variant in STUDY.variants:
        config = SEARCH["settings"](STUDY, values, variant, 5)
        expected = {setting: values[name] for name, searched in SPACE.items() for setting in searched["settings"]}
        assert config.differences(resolve("planted_phase", variant, 5)) == expected


def test_a_row_is_what_a_run_with_a_folder_gives(tmp_path, monkeypatch):
    small = {"dataset.planted": {"num_train": 24, "num_valid": 8, "num_test": 12}, "training.max_epochs": 2}
    text = {"text": {"encoder": "tiny", "frozen": False}}
    overrides = small | text

    def resolve_small(dataset, variant="paper", seed=1111, overrides=None):
        return resolve(dataset, variant, seed, overrides=(overrides or {}) | small | text)

    monkeypatch.setitem(SEARCH["settings"].__globals__, "resolve", resolve_small)
    values = {"rate": 0.003, "dropout": 0.3, "momentum": 0.5}
    (row,) = SEARCH["measure"](STUDY, [values], [("no_alignment", 0, 5)])
    overrides |= {setting: values[name] for name, searched in SPACE.items() for setting in searched["settings"]}
    other = run.train(resolve("planted_phase", "no_alignment", 5, overrides=overrides), tmp_path / "run")
    assert row["test_mae"] == other.metrics["test"]["multimodal"]["mae"]
    assert row["valid_mae"] == other.history["valid_mae"].min()
    assert {name: row[name] for name in ("variant", "trial", "seed", *values)} == {
        "variant": "no_alignment", "trial": 0, "seed": 5, **values
    }  # fmt: skip


@pytest.fixture
def search(tmp_path, monkeypatch):
    """The command with three trials; what it trains is listed, not trained. Trial 1 is the best one of `paper`."""
    trained, study = [], STUDY.model_copy(update={"trials": 3})

    def measure(study, values, job):
        trained.extend(job)
        return [
            {"variant": variant, "trial": trial, "seed": seed, **values[trial], "epochs": 1, "best_epoch": 1}
            | {"settings": SEARCH["fingerprint"](SEARCH["settings"](study, values[trial], variant, seed))}
            | {"valid_mae": abs(trial - (variant == "paper")) + 0.1 * seed, "test_mae": 0.5, "cpu_seconds": 1}
            for variant, trial, seed in job
        ]

    folder = tmp_path / "records"
    replaced = {
        "measure": measure,
        "search": lambda _: study,
        "workers": lambda _: nullcontext(SimpleNamespace(map=map)),
        "note_start": lambda *_: trained.append("noted"),
        "pretrain": lambda *_: None,
    }
    for name, value in replaced.items():
        monkeypatch.setitem(SEARCH["main"].__globals__, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["search.py", "alignment", "--processes", "1", "--folder", str(folder)])

    def execute():
        trained.clear()
        SEARCH["main"]()
        return list(trained)

    return execute, folder / "alignment" / "runs.csv", study


def test_trial_by_trial_then_the_chosen_ones_on_other_draws(search):
    execute, file, study = search
    trials = [(variant, trial, seed) for trial in range(3) for seed in (1, 2) for variant in study.variants]
    compared = [run for seed in (5, 6) for run in (("paper", 1, seed), ("no_alignment", 0, seed))]
    assert execute() == ["noted", *trials, *compared]
    assert len(read_runs(file, study)) == len(trials) + len(compared)
    assert execute() == [], "all is there"


def test_an_interrupted_search_goes_on_and_other_settings_are_trained_anew(search, capsys):
    execute, file, study = search
    execute()
    whole = pd.read_csv(file)
    lost = whole["variant"].eq("no_alignment") & whole["seed"].isin((2, 6)) & whole["trial"].eq(0)
    whole.assign(settings=whole["settings"].where(whole["trial"] != 2, "others"))[~lost].to_csv(file, index=False)
    anew = [(variant, 2, seed) for seed in (1, 2) for variant in study.variants]
    assert execute() == ["noted", ("no_alignment", 0, 2), *anew, ("no_alignment", 0, 6)]
    assert "4 runs are no longer in the search, or have other settings now: left out" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_csv(file), whole)
