"""What `run.train` does not show: the refusals and the atomic write itself."""

import json
import subprocess

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


def test_an_id_comes_back_as_the_text_that_it_was(tmp_path):
    run = example()
    run.predictions["id"] = ["NA", "007"]
    run.predictions.loc[0, "multimodal"] = np.nan
    records.write_run(tmp_path / "seed-1111", run, nn.Linear(2, 2))
    back = records.read_run(tmp_path / "seed-1111").predictions
    assert back["id"].tolist() == ["NA", "007"]
    assert back["multimodal"].isna().tolist() == [True, False]


def test_metrics_are_json_and_statistics_come_back_to_the_last_bit(tmp_path):
    run = example()
    mean = torch.tensor([1 / 3, -1e30, 1e-40])
    run.provenance["data"] = {"statistics": {"audio/mean": mean.tolist()}}
    records.write_run(tmp_path / "seed-1111", run, nn.Linear(2, 2))
    text = (tmp_path / "seed-1111" / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"JSON has no {name}"))
    assert metrics["test"]["multimodal"]["corr"] is None
    back = records.read_run(tmp_path / "seed-1111")
    assert torch.equal(back.statistics["audio/mean"], mean)
    assert example().statistics is None


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


@pytest.fixture
def folder(tmp_path):
    records.write_run(tmp_path / "seed-1111", example(), nn.Linear(2, 2))
    return tmp_path / "seed-1111"


def test_sha256sum_agrees(folder):
    process = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert process.returncode == 0, process.stderr
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        "SHA256SUMS"
    }


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in (*records.READ_FILES, "SHA256SUMS")
        for damage in ("truncated", "a bit", "emptied", "removed")
        if (name, damage) != ("metrics.json", "removed")  # then there is no finished run
    ],
)
def test_a_damaged_file_is_named(name, damage, folder):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"truncated": content[:-10], "a bit": content, "emptied": b""}
    (folder / name).unlink()
    if damage != "removed":
        (folder / name).write_bytes(damaged[damage])
    with pytest.raises(
        ValueError, match=r"seed-1111/\S+: .*; take the run's folder from a copy, or remove it"
    ) as caught:
        records.read_run(folder)
    assert name == "SHA256SUMS" or f"{name}: got " in str(caught.value)


def test_weights_are_verified_when_they_are_asked_for(folder):
    (folder / records.WEIGHTS).write_bytes(b"other weights")
    records.read_run(folder)
    with pytest.raises(ValueError, match=r"checkpoint/model\.safetensors: got SHA-256"):
        records.verify(folder, records.WEIGHTS)


def of_format(folder, version):
    """The folder as it would be in another format: without checksums."""
    provenance = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(
        json.dumps({k: v for k, v in provenance.items() if k != "format"} | version)
    )
    (folder / "SHA256SUMS").unlink()


def test_a_run_of_the_first_format_is_read_without_checksums(folder):
    of_format(folder, {})
    assert records.read_run(folder).metrics["test"]["multimodal"]["mae"] == 0.1 + 0.2
    (folder / "predictions.csv").unlink()
    with pytest.raises(ValueError, match=r"predictions\.csv: it cannot be read .*No such file"):
        records.read_run(folder)


def test_a_run_of_a_later_format_is_refused(folder):
    of_format(folder, {"format": 3})
    with pytest.raises(ValueError, match=r"seed-1111: got format 3, expected 2 at most; use the msa_core that wrote"):
        records.read_run(folder)


def test_a_replaced_run_is_kept_until_the_new_one_is_written(folder, monkeypatch):
    replaced = records.replaced_folder(folder)
    folder.rename(replaced)
    with monkeypatch.context() as patch:
        patch.setattr(records, "put", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            records.write_run(folder, example(value=2.0), nn.Linear(2, 2))
    assert records.read_run(replaced).metrics["test"]["multimodal"]["mae"] == 0.1 + 0.2
    records.write_run(folder, example(value=2.0), nn.Linear(2, 2))
    assert not replaced.exists()
