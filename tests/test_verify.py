"""What `make verify` says and writes, with a training that gives back what is recorded, or other numbers."""

import runpy
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from msa_core import paths, run
from msa_core.analysis import collect
from msa_core.config import grid

verify = runpy.run_path(str(paths.ROOT / "workflow" / "verify.py"))["verify"]


@pytest.fixture
def records(tmp_path, monkeypatch):
    """A copy of the records of the small grid."""
    monkeypatch.setattr(paths, "RECORDS", tmp_path)
    return shutil.copytree(paths.ROOT / "results" / "records" / "small", tmp_path / "small")


def trains_with(monkeypatch, records, factors):
    """Training gives the recorded loss times the variant's factor."""
    history = pd.read_parquet(records / "history.parquet")

    def train(config, _folder):
        of_run = (history["variant"] == config.variant) & (history["seed"] == config.seed)
        columns = history[of_run].drop(columns=["dataset", "variant", "seed"]).dropna(axis="columns", how="all")
        factor = factors.get(config.variant, 1)
        return SimpleNamespace(history=columns.assign(loss_total=columns["loss_total"] * factor, seconds=1.0))

    monkeypatch.setattr(run, "train", train)


def test_what_no_longer_agrees_is_listed_until_it_agrees_again(records, monkeypatch, capsys):
    trains_with(monkeypatch, records, {"paper": 1 + 1e-9, "no_alignment": 1 + 1e-4})
    assert not verify("small")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if "OUTDATED" in line] == ["planted/no_alignment/seed-1111"]
    assert len(lines) == 6
    outdated = pd.read_csv(records / "outdated.csv")
    assert outdated["difference"].item() == pytest.approx(1e-4, rel=1e-3)
    assert "Outdated variants (1): planted/no_alignment (1.0e-04)" in collect.records(grid("small"), "small").note
    trains_with(monkeypatch, records, {})
    assert verify("small")
    assert not (records / "outdated.csv").exists()
    assert collect.records(grid("small"), "small").note == ""


def test_another_number_of_epochs_is_outdated(records, monkeypatch):
    trains_with(monkeypatch, records, {})
    train = run.train
    monkeypatch.setattr(run, "train", lambda *names: SimpleNamespace(history=train(*names).history.iloc[1:]))
    assert not verify("small")
    assert len(pd.read_csv(records / "outdated.csv")) == 6
