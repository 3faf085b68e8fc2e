"""Which runs of a grid count as finished, and the frames made from many."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from msa_core.analysis import collect
from msa_core.config import GridRun, resolve
from msa_core.records import Run, write_run


def example(seed=1111, value=0.5, **overrides):
    """A finished run of `paper` on the planted data; overrides of its settings by dotted name, "." as "__"."""
    settings = {name.replace("__", "."): value for name, value in overrides.items()}
    return Run(
        config=resolve("planted", seed=seed, overrides=settings),
        metrics={"test": {"multimodal": {"mae": value, "corr": float("nan")}}},
        history=pd.DataFrame({"epoch": [1, 2], "loss_total": [0.1, 1 / 3]}),
        predictions=pd.DataFrame(
            {"id": ["a", "b"], "split": "test", "label": [0.2, -1.0], "multimodal": [1 / 3, 2e-17]}
        ),
        labels=pd.DataFrame({"id": ["a"], "epoch": [0], "text": np.array([1 / 3], dtype=np.float32)}),
        covariances={"audio/covariance/before": np.eye(2) / 3},
        provenance={
            "commit": "abc",
            "clean": True,
            "data": {},
            "packages": {"torch": torch.__version__},
            "best_epoch": 2,
        },
    )


GRID = [GridRun(dataset="planted", variant="paper", seed=seed) for seed in (1, 2, 3)]


def written(runs, *examples):
    """Writes runs of `GRID`; returns the folder of the variant."""
    folder = runs / "planted" / "paper"
    for run in examples:
        write_run(folder / f"seed-{run.config.seed}", run, nn.Linear(2, 2))
    return folder


def test_a_grid_is_split_into_finished_and_missing_runs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of the 3 runs asked for is there with .*; run `make study`"):
        collect.of_runs(GRID, tmp_path)
    written(tmp_path, example(3), example(1))
    recorded = collect.of_runs(GRID, tmp_path)
    missing = recorded.missing
    assert recorded.runs["seed"].tolist() == [1, 3]
    row = {"dataset": "planted", "title": "Planted", "scheme": "mosi", "variant": "paper", "seed": 2}
    assert missing.to_dict("records") == [{**row, "reason": "not finished"}]
    assert collect.missing_note(missing) == "\nMissing runs (1): planted/paper/seed-2.\n"
    assert collect.missing_note(missing.iloc[:0]) == ""


def test_a_run_with_other_settings_is_missing_and_the_differing_keys_are_named(tmp_path):
    written(tmp_path, example(1), example(2, training__max_epochs=2, dataset__planted__signal_to_noise={"text": 2.0}))
    recorded = collect.of_runs(GRID[:2], tmp_path)
    missing = recorded.missing
    assert recorded.runs["seed"].tolist() == [1]
    reason = (
        "other settings: training.max_epochs is 2, expected 50; "
        "dataset.planted.signal_to_noise.text is 2.0, expected None"
    )
    assert missing[["seed", "reason"]].values.tolist() == [[2, reason]]
    assert collect.missing_note(missing) == f"\nMissing runs (1): planted/paper/seed-2 ({reason}).\n"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("dataset.features", "mine.pkl", "dataset.features is 'mine.pkl', expected None"),
        ("seed", 7, "seed is 7, expected 2"),
        ("variant", "other", "variant is 'other', expected 'paper'"),
        ("objective.alignment.pairs", {}, "objective.alignment.pairs.audio-vision is None, expected 100.0"),
    ],
)
def test_any_setting_counts(tmp_path, name, value, shown):
    file = written(tmp_path, example(1), example(2)) / "seed-2" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    *parents, last = name.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    place[last] = value
    file.write_text(yaml.safe_dump(config))
    missing = collect.of_runs(GRID[:2], tmp_path).missing
    assert missing["reason"].tolist() == [f"other settings: {shown}"]


def test_of_many_differences_the_first_are_named(tmp_path):
    planted = {"num_train": 40, "num_valid": 20, "num_test": 20}
    written(tmp_path, example(1), example(2, dataset__planted=planted, training__max_epochs=2))
    missing = collect.of_runs(GRID[:2], tmp_path).missing
    assert missing["reason"].item() == (
        "other settings: dataset.planted.num_train is 40, expected 1200; dataset.planted.num_valid is 20, "
        "expected 300; dataset.planted.num_test is 20, expected 600; and 1 more"
    )


OLDER = example(2).config.to_yaml() + "old_key: 1\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (OLDER, "settings of another version: old_key: got an unknown"),
        ("", "config.yaml cannot be read"),
        ("a: [", "config.yaml cannot be read"),
        (None, "config.yaml cannot be read"),
    ],
    ids=["older", "empty", "broken", "absent"],
)
def test_settings_that_cannot_be_read_are_a_reason_and_no_crash(tmp_path, text, reason):
    file = written(tmp_path, example(1), example(2)) / "seed-2" / "config.yaml"
    file.unlink() if text is None else file.write_text(text)
    recorded = collect.of_runs(GRID[:2], tmp_path)
    missing = recorded.missing
    assert recorded.runs["seed"].tolist() == [1]
    assert missing["reason"].str.match(reason).all()


def test_where_all_runs_have_other_settings_the_error_names_them(tmp_path):
    written(tmp_path, example(1, training__max_epochs=2))
    with pytest.raises(FileNotFoundError, match=r"seed-1 \(other settings: training.max_epochs is 2, expected 50\)"):
        collect.of_runs(GRID[:1], tmp_path)


def test_frames_of_many_runs_are_in_the_order_of_the_grid_and_name_their_run(tmp_path):
    written(tmp_path, example(3, value=3.0), example(1, value=1.0))
    recorded = collect.of_runs(GRID, tmp_path)
    of_the_run = ["dataset", "variant", "seed", "title", "draw", "test_to_train", "scheme", "label_bound", "best_epoch"]
    metrics = recorded["metrics"]
    assert list(metrics) == [*of_the_run, "split", "task", "metric", "value"]
    assert metrics.query("metric == 'mae'")[["seed", "value"]].values.tolist() == [[1, 1.0], [3, 3.0]]
    predictions = recorded["predictions"]
    assert predictions["id"].tolist() == ["a", "b"] * 2
    assert predictions["prediction"].tolist() == pytest.approx([1 / 3, 2e-17] * 2, rel=1e-7)  # float32
    assert predictions["prediction"].dtype == np.float64
    assert recorded["history"][["seed", "epoch", "best_epoch"]].values.tolist() == [
        [1, 1, 2],
        [1, 2, 2],
        [3, 1, 2],
        [3, 2, 2],
    ]


def recorded_files(folder, *runs):
    """Writes what `of_files` reads of runs."""
    rows = [
        {"dataset": "planted", "variant": "paper", "seed": run.config.seed, "title": "Planted", "scheme": "mosi",
         "label_bound": 3.0, "best_epoch": 2, "precision": run.config.training.precision,
         "config": run.config.to_yaml(), "provenance": json.dumps(run.provenance)}
        for run in runs
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "runs.parquet")
    metrics = [
        {name: row[name] for name in ("dataset", "variant", "seed")} | {"value": float(row["seed"])} for row in rows
    ]
    pd.DataFrame(metrics).to_parquet(folder / "metrics.parquet")


def test_records_count_as_runs_do(tmp_path):
    """In another order, with a run that the grid does not name and one whose settings have changed since."""
    recorded_files(tmp_path, example(3), example(9), example(2, training__max_epochs=2), example(1))
    recorded = collect.of_files(GRID, tmp_path)
    assert recorded.runs["seed"].tolist() == [1, 3]
    assert recorded["metrics"][["seed", "value"]].values.tolist() == [[1, 1.0], [3, 3.0]]
    assert recorded.missing["reason"].tolist() == ["other settings: training.max_epochs is 2, expected 50"]
    assert "Missing runs (1): planted/paper/seed-2 (other" in recorded.note
    with pytest.raises(FileNotFoundError, match="none of the 3 runs asked for"):
        collect.of_files(GRID, tmp_path / "nowhere")


def test_outdated_variants_are_named(tmp_path):
    recorded_files(tmp_path, example(1))
    assert collect.of_files(GRID[:1], tmp_path).note == ""
    rows = {"dataset": "planted", "variant": ["paper", "other"], "seed": 1, "difference": 0.0123}
    pd.DataFrame(rows).to_csv(tmp_path / "outdated.csv", index=False)
    note = collect.of_files(GRID[:1], tmp_path).note
    assert note.startswith("\nOutdated variants (1): planted/paper (1.2e-02). The code gives other numbers now")


def test_the_remark_of_a_preset_is_said_once(tmp_path):
    recorded_files(tmp_path, example(1), example(2))
    before = collect.of_files(GRID[:2], tmp_path)
    assert before.note == ""
    said = collect.Records(before.runs.assign(remark="Too few clips."), before.missing, before.outdated, before._read)
    assert said.note == "\nPlanted: Too few clips.\n"


@pytest.mark.parametrize("dataset", ["sims", "mosi_text_audio"])
def test_what_limits_a_data_set_stands_in_its_preset(dataset):
    assert {"sims": "too narrow", "mosi_text_audio": "says nothing about"}[dataset] in resolve(dataset).dataset.remark


@pytest.mark.parametrize(("precision", "mixed"), [("float32", True), ("bf16", True), ("float64", False)])
def test_a_mix_of_arithmetics_is_named_unless_it_is_float64(precision, mixed):
    ways = [{"cpu_capability": "AVX512"}, {"cpu_capability": "AVX2", "MKL_CBWR": "COMPATIBLE"}]
    provenance = [json.dumps({"device": "cpu", "threads": 1, "arithmetic": way}) for way in (*ways, ways[0])]
    runs = pd.DataFrame(
        {"dataset": "d", "title": "D", "remark": None, "precision": precision, "provenance": provenance}
    )
    nothing = pd.DataFrame(columns=["dataset"])
    note = collect.Records(runs, nothing, nothing, lambda _: nothing).note
    expected = "cpu, threads: 1, AVX512 (2 runs); cpu, threads: 1, AVX2, MKL_CBWR=COMPATIBLE (1 runs)"
    assert (expected in note) == mixed
    assert bool(note) == mixed
    assert collect.Records(runs.iloc[::2], nothing, nothing, lambda _: nothing).note == ""


def test_a_grid_that_is_not_recorded_is_named(capsys):
    assert collect.if_recorded("nothing") is None
    assert "The grid nothing is not recorded; make study GRID=nothing trains its runs." in capsys.readouterr().out
