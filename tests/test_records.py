"""What `run.train` does not show: the refusals and the atomic write itself."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from msa_core import records
from msa_core.config import resolve
from msa_core.records import Run


def example(seed=1111, value=0.1 + 0.2):
    return Run(
        config=resolve("planted", seed=seed),
        metrics={"test": {"multimodal": {"mae": value, "corr": float("nan")}}},
        history=pd.DataFrame({"epoch": [1, 2], "loss_total": [0.1, 1 / 3]}),
        predictions=pd.DataFrame(
            {"id": ["a", "b"], "split": "test", "label": [0.2, -1.0], "multimodal": [1 / 3, 2e-17]}
        ),
        labels=pd.DataFrame({"id": ["a"], "epoch": [0], "text": np.array([1 / 3], dtype=np.float32)}),
        covariances={"audio/covariance/before": np.eye(2) / 3},
        provenance={"commit": "abc", "clean": True, "data": {}, "packages": {"torch": torch.__version__}},
    )


def test_a_run_comes_back_to_the_last_bit(tmp_path):
    run = example()
    records.write_run(tmp_path / "seed-1111", run, nn.Linear(2, 2))
    back = records.read_run(tmp_path / "seed-1111")
    assert back.config == run.config
    assert back.metrics["test"]["multimodal"]["mae"] == 0.1 + 0.2
    assert np.isnan(back.metrics["test"]["multimodal"]["corr"])
    for name in ("history", "predictions", "labels"):
        pd.testing.assert_frame_equal(getattr(back, name), getattr(run, name), check_dtype=False, check_exact=True)
    key = "audio/covariance/before"
    np.testing.assert_array_equal(back.covariances[key], run.covariances[key])
    assert back.provenance == {"format": 2} | run.provenance


def test_a_finished_run_is_never_overwritten(tmp_path):
    records.write_run(tmp_path / "seed-1111", example(value=1.0), nn.Linear(2, 2))
    with pytest.raises(FileExistsError, match=r"seed-1111: holds a finished run; move or remove it"):
        records.write_run(tmp_path / "seed-1111", example(value=2.0), nn.Linear(2, 2))
    assert records.read_run(tmp_path / "seed-1111").metrics["test"]["multimodal"]["mae"] == 1.0


def test_a_write_that_fails_half_way_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        records.write_run(tmp_path / "seed-1111", example(), nn.Linear(2, 2))
    assert not (tmp_path / "seed-1111").exists()
    monkeypatch.undo()
    records.write_run(tmp_path / "seed-1111", example(), nn.Linear(2, 2))  # and what it left does not stand in the way
    assert [path.name for path in tmp_path.iterdir()] == ["seed-1111"]


def test_an_unfinished_folder_is_no_run_and_gives_way(tmp_path):
    folder = tmp_path / "seed-1111"
    folder.mkdir()
    (folder / "history.csv").write_text("left over")
    with pytest.raises(FileNotFoundError, match=r"holds no finished run \(no metrics.json\)"):
        records.read_run(folder)
    records.write_run(folder, example(), nn.Linear(2, 2))
    assert len(records.read_run(folder).history) == 2
