"""Oracle: scipy's paired t-test, where the test samples add nothing to the spread over seeds. Nothing is trained."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from msa_core.paths import ROOT

SAMPLES = [f"sample {place}" for place in range(40)]


@pytest.fixture
def rivals(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import rivals

    monkeypatch.setattr(rivals, "RESULTS", tmp_path)
    return rivals


def side(errors, seconds=1.0):
    return {"best_epoch": 3, "epochs": 11, "errors": errors, "seconds": seconds}


def recorded(rivals, model, ours, mmsa, seconds=(1.0, 4.0)):
    """One run a seed: these MAEs, and what a sample adds is the same in every run."""
    of_sample = np.random.default_rng(0).uniform(-0.2, 0.2, len(SAMPLES))
    of_sample -= of_sample.mean()
    for seed, maes in enumerate(zip(ours, mmsa, strict=True), start=1111):
        found = {
            system: side(dict(zip(SAMPLES, mae + of_sample, strict=True)), own)
            for system, mae, own in zip((rivals.OURS, rivals.MMSA), maes, seconds, strict=True)
        }
        rivals.record(model, seed, 0, found, batches=10)
    return rivals.recorded()


def test_the_table_is_the_paired_t_interval_where_samples_add_nothing(rivals):
    ours, mmsa = np.array([0.91, 0.95, 0.89, 0.97]), np.array([0.93, 0.94, 0.95, 0.99])
    (row,) = rivals.compared(*recorded(rivals, "tfn", ours, mmsa)).to_dict("records")
    expected = ttest_rel(ours, mmsa).confidence_interval(0.95)
    assert (row["model"], row["seeds"]) == ("tfn", 4)
    np.testing.assert_allclose(
        [row[name] for name in ("mae", "mae_mmsa", "difference", "low", "high")],
        [ours.mean(), mmsa.mean(), (ours - mmsa).mean(), expected.low, expected.high],
        atol=1e-6,  # errors are kept in float32
    )
    assert (row["ms"], row["ms_mmsa"], row["ratio"], row["faster"]) == (100, 400, 4, "yes")


def test_samples_widen_the_interval(rivals):
    """Half of the samples are 0.2 better on one side, the others as much worse: another test set might differ."""
    shifts = np.where(np.arange(len(SAMPLES)) % 2, 0.2, -0.2)
    for seed, mae in enumerate((0.9, 0.91, 0.92), start=1111):
        found = {
            rivals.OURS: side(dict(zip(SAMPLES, mae + shifts, strict=True))),
            rivals.MMSA: side(dict.fromkeys(SAMPLES, mae)),
        }
        rivals.record("lmf", seed, 0, found, batches=10)
    (row,) = rivals.compared(*rivals.recorded()).to_dict("records")
    error = 0.2 * np.sqrt(40 / 39) / np.sqrt(40)  # of the mean over samples; seeds add nothing
    assert row["high"] - row["low"] == pytest.approx(2 * 2.0227 * error, rel=1e-3)  # t of 39 degrees of freedom


@pytest.mark.parametrize(
    ("gaps", "no_worse", "verdict"),
    [
        ([0.002, 0.0021, 0.0022], "yes", "harms"),  # worse, by less than matters
        ([-0.03, -0.02, -0.025], "yes", "gains"),
        ([0.03, 0.02, 0.025], "no", "harms"),
        ([0.03, -0.02, 0.01], "undecided", "undecided"),
        ([0.0], "undecided", "undecided"),  # of one seed there is no interval
    ],
)
def test_no_worse_means_that_the_interval_is_below_what_matters(rivals, gaps, no_worse, verdict):
    ours = 0.9 + np.array(gaps)
    (row,) = rivals.compared(*recorded(rivals, "misa", ours, np.full_like(ours, 0.9), (1.0, 2.0))).to_dict("records")
    assert (row["no_worse"], row["verdict"], row["faster"]) == (no_worse, verdict, "no")


def test_runs_on_other_samples_are_not_recorded(rivals):
    recorded(rivals, "tfn", [0.9], [0.9])
    found = {rivals.OURS: side({"other": 0.5}), rivals.MMSA: side({"other": 0.5})}
    with pytest.raises(SystemExit, match="tfn 1112 tested on other samples"):
        rivals.record("tfn", 1112, 0, found, batches=10)
    assert list(rivals.recorded()[0]["seed"]) == [1111, 1111]


def test_runs_that_were_timed_alone_give_their_time_and_are_replaced(rivals):
    """One of three seeds has no errors: it counts for the time, not for the MAE, until it is trained."""
    recorded(rivals, "mult", [0.9, 0.92], [0.9, 0.91], (1.0, 2.0))
    rivals.record("mult", 1113, 0, {rivals.OURS: {"seconds": 1.0}, rivals.MMSA: {"seconds": 5.0}}, batches=10)
    rivals.record("tfn", 1111, 0, {rivals.OURS: {"seconds": 1.0}, rivals.MMSA: {"seconds": 5.0}}, batches=10)
    runs, errors = rivals.recorded()
    table = rivals.compared(runs, errors).set_index("model")
    assert list(table["seeds"]) == [2, 0] and list(table["ratio_high"]) == [5, 5]
    assert table["no_worse"]["tfn"] == table["verdict"]["tfn"] == "undecided"
    assert "timed alone" in rivals.notes(runs) and "nan" not in rivals.notes(runs)
    found = {system: side(dict.fromkeys(SAMPLES, 0.9)) for system in (rivals.OURS, rivals.MMSA)}
    rivals.record("mult", 1113, 0, found, batches=10)
    runs, errors = rivals.recorded()
    assert len(runs) == 8 and list(rivals.compared(runs, errors)["seeds"]) == [3, 0]


def test_the_notes_say_what_was_cut(rivals):
    runs, _ = recorded(rivals, "tfn", [0.9], [0.8])
    assert "stopped by itself" in rivals.notes(runs) and "0.8000" in rivals.notes(runs)
    assert "No run went beyond 12 epochs" in rivals.notes(runs.assign(epoch_limit=12))


def test_a_table_of_nothing_is_refused(rivals, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rivals.py"])
    with pytest.raises(SystemExit):
        rivals.main()
    assert "got no --mmsa-python and no recorded runs" in capsys.readouterr().err


def test_the_table_is_made_of_recorded_runs_alone(rivals, monkeypatch, tmp_path):
    runs, _ = recorded(rivals, "misa", [0.8, 0.82], [0.81, 0.79])
    recorded(rivals, "tfn", [0.9], [0.8])
    assert len(runs) == 4
    monkeypatch.setattr(sys, "argv", ["rivals.py"])
    rivals.main()
    assert list(pd.read_csv(tmp_path / "rivals.csv")["model"]) == ["tfn", "misa"]
    assert "| misa" in (tmp_path / "rivals.md").read_text()
