"""What `study.run` does not show: the refusals and the atomic write itself."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from msa_core import records
from msa_core.config import GridRun, resolve
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
        alignment={"audio/covariance/before": np.eye(2) / 3},
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
    np.testing.assert_array_equal(back.alignment["audio/covariance/before"], run.alignment["audio/covariance/before"])
    assert back.provenance == run.provenance


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
    with pytest.raises(FileNotFoundError, match=r"no finished run there \(no metrics.json\)"):
        records.read_run(folder)
    records.write_run(folder, example(), nn.Linear(2, 2))
    assert len(records.read_run(folder).history) == 2


def test_metrics_of_many_runs_are_one_long_frame(tmp_path):
    for seed in (1, 2):
        records.write_run(tmp_path / str(seed), example(seed, value=float(seed)), nn.Linear(2, 2))
    frame = records.read_metrics([tmp_path / "1", tmp_path / "2"])
    assert list(frame.columns) == ["dataset", "title", "variant", "seed", "split", "task", "metric", "value"]
    assert frame.query("metric == 'mae'")[["seed", "value"]].values.tolist() == [[1, 1.0], [2, 2.0]]


def test_a_grid_is_split_into_finished_and_missing_runs(tmp_path):
    runs = [GridRun(dataset="planted", variant="paper", seed=seed) for seed in (1, 2, 3)]
    with pytest.raises(FileNotFoundError, match=r"none of the grid's 3 runs is finished there; run `make study`"):
        records.find_runs(runs, tmp_path)
    folder = tmp_path / "planted" / "paper"
    for seed in (3, 1):
        records.write_run(folder / f"seed-{seed}", example(seed), nn.Linear(2, 2))
    finished, missing = records.find_runs(runs, tmp_path)
    assert finished == [folder / "seed-1", folder / "seed-3"]
    assert missing.to_dict("records") == [
        {"dataset": "planted", "title": "Planted", "scheme": "mosi", "variant": "paper", "seed": 2}
    ]
    assert records.missing_note(missing) == "\nMissing runs (1): planted/paper/seed-2.\n"
    assert records.missing_note(missing.iloc[:0]) == ""


def test_readers_of_many_runs_give_one_frame_each(tmp_path):
    folders = [tmp_path / "1", tmp_path / "2"]
    for seed, folder in enumerate(folders, start=1):
        run = example(seed)
        spectrum = {"audio/spectrum/before": np.ones(2), "audio/spectrum/after": np.array([seed, 0.5])}
        provenance = run.provenance | {"best_epoch": seed}
        predictions = pd.concat([run.predictions, run.predictions.assign(split="train", multimodal=99.0)])
        changed = {"alignment": spectrum, "provenance": provenance, "predictions": predictions}
        records.write_run(folder, Run(**{**vars(run), **changed}), nn.Linear(2, 2))
    predictions = records.read_predictions(folders)
    assert predictions[["variant", "seed", "scheme", "label_bound", "id"]].values.tolist() == [
        ["paper", seed, "mosi", 3.0, sample] for seed in (1, 2) for sample in ("a", "b")
    ]
    assert predictions["prediction"].tolist() == [1 / 3, 2e-17] * 2
    histories = records.read_histories(folders)
    assert histories[["seed", "epoch", "best_epoch"]].values.tolist() == [[1, 1, 1], [1, 2, 1], [2, 1, 2], [2, 2, 2]]
    provenance = records.read_provenance(folders)
    assert provenance[["seed", "best_epoch", "torch"]].values.tolist() == [
        [1, 1, torch.__version__],
        [2, 2, torch.__version__],
    ]
    assert provenance["data_sha256"].tolist() == ["", ""]
    variances = records.read_variances(folders)
    assert variances[["seed", "modality", "total_variance"]].values.tolist() == [[1, "audio", 1.5], [2, "audio", 2.5]]


def test_a_table_is_written_with_or_without_latex(tmp_path):
    table = pd.DataFrame({"x": [1 / 3]})
    records.write_table(table, "md", tmp_path / "t")
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "t.md"}
    assert pd.read_csv(tmp_path / "t.csv")["x"].item() == 1 / 3
    records.write_table(table, "md", tmp_path / "t", "tex")
    assert (tmp_path / "t.tex").read_text() == "tex"


def test_the_fingerprint_of_the_code_changes_with_the_code(tmp_path, monkeypatch):
    (tmp_path / "msa_core").mkdir()
    monkeypatch.setattr(records, "ROOT", tmp_path)
    source = tmp_path / "msa_core" / "a.py"
    source.write_text("x = 1")
    first = records.code_fingerprint()
    assert records.code_fingerprint() == first
    source.write_text("x = 2")
    assert records.code_fingerprint() != first


def test_outside_a_checkout_provenance_says_so_and_does_not_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    (tmp_path / "msa_core").mkdir()
    found = records.provenance(records.start(), {})
    assert found["commit"] is None
    assert found["clean"] is None
    assert found["threads"] == torch.get_num_threads()
    json.dumps(found)


def test_a_rewritten_table_leaves_the_tree_clean_and_a_changed_source_does_not(tmp_path, monkeypatch):
    for name in ("results/tables/small.md", "figures/small.svg", "msa_core/labels.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(records, "ROOT", tmp_path)
    (tmp_path / "results" / "tables" / "small.md").write_text("second")
    (tmp_path / "figures" / "new.svg").write_text("new")
    assert records.start()["clean"] is True
    (tmp_path / "msa_core" / "new.py").write_text("new")
    assert records.start()["clean"] is False
