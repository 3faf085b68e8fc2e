"""Which runs of a grid count as finished, and the frames made from many."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from msa_core.analysis import collect
from msa_core.config import GridRun, resolve
from msa_core.data import planted_features
from msa_core.encoders import load_tokenizer
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
        provenance={"commit": "abc", "clean": True, "data": {}, "packages": {"torch": torch.__version__}},
    )


GRID = [GridRun(dataset="planted", variant="paper", seed=seed) for seed in (1, 2, 3)]


def written(runs, *examples):
    """Writes runs of `GRID`; returns the folder of the variant."""
    folder = runs / "planted" / "paper"
    for run in examples:
        write_run(folder / f"seed-{run.config.seed}", run, nn.Linear(2, 2))
    return folder


def test_a_grid_is_split_into_finished_and_missing_runs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of the grid's 3 runs is finished with .*; run `make study`"):
        collect.find_runs(GRID, tmp_path)
    folder = written(tmp_path, example(3), example(1))
    finished, missing = collect.find_runs(GRID, tmp_path)
    assert finished == [folder / "seed-1", folder / "seed-3"]
    row = {"dataset": "planted", "title": "Planted", "scheme": "mosi", "variant": "paper", "seed": 2}
    assert missing.to_dict("records") == [{**row, "reason": "not finished"}]
    assert collect.missing_note(missing) == "\nMissing runs (1): planted/paper/seed-2.\n"
    assert collect.missing_note(missing.iloc[:0]) == ""


def test_a_run_with_other_settings_is_missing_and_the_differing_keys_are_named(tmp_path):
    written(tmp_path, example(1), example(2, training__max_epochs=2, dataset__planted__signal_to_noise={"text": 2.0}))
    finished, missing = collect.find_runs(GRID[:2], tmp_path)
    assert [folder.name for folder in finished] == ["seed-1"]
    reason = (
        "other settings: dataset.planted.signal_to_noise.text is 2.0, expected None; "
        "training.max_epochs is 2, expected 50"
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
    _, missing = collect.find_runs(GRID[:2], tmp_path)
    assert missing["reason"].tolist() == [f"other settings: {shown}"]


def test_of_many_differences_the_first_are_named(tmp_path):
    planted = {"num_train": 40, "num_valid": 20, "num_test": 20}
    written(tmp_path, example(1), example(2, dataset__planted=planted, training__max_epochs=2))
    _, missing = collect.find_runs(GRID[:2], tmp_path)
    assert missing["reason"].item() == (
        "other settings: dataset.planted.num_train is 40, expected 1200; dataset.planted.num_valid is 20, "
        "expected 300; dataset.planted.num_test is 20, expected 600; and 1 more"
    )


OLDER = example(2).config.to_yaml() + "old_key: 1\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (OLDER, "settings of another version: old_key: Extra inputs are not permitted$"),
        ("", "config.yaml cannot be read"),
        ("a: [", "config.yaml cannot be read"),
        (None, "config.yaml cannot be read"),
    ],
    ids=["older", "empty", "broken", "absent"],
)
def test_settings_that_cannot_be_read_are_a_reason_and_no_crash(tmp_path, text, reason):
    file = written(tmp_path, example(1), example(2)) / "seed-2" / "config.yaml"
    file.unlink() if text is None else file.write_text(text)
    finished, missing = collect.find_runs(GRID[:2], tmp_path)
    assert [folder.name for folder in finished] == ["seed-1"]
    assert missing["reason"].str.match(reason).all()


def test_where_all_runs_have_other_settings_the_error_names_them(tmp_path):
    written(tmp_path, example(1, training__max_epochs=2))
    with pytest.raises(FileNotFoundError, match=r"seed-1 \(other settings: training.max_epochs is 2, expected 50\)"):
        collect.find_runs(GRID[:1], tmp_path)


def test_metrics_of_many_runs_are_one_long_frame(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / str(seed), example(seed, value=float(seed)), nn.Linear(2, 2))
    frame = collect.read_metrics([tmp_path / "1", tmp_path / "2"])
    assert list(frame.columns) == ["dataset", "title", "variant", "seed", "split", "task", "metric", "value"]
    assert frame.query("metric == 'mae'")[["seed", "value"]].values.tolist() == [[1, 1.0], [2, 2.0]]


def test_readers_of_many_runs_give_one_frame_each(tmp_path):
    folders = [tmp_path / "1", tmp_path / "2"]
    for seed, folder in enumerate(folders, start=1):
        run = example(seed)
        spectrum = {"audio/spectrum/before": np.ones(2), "audio/spectrum/after": np.array([seed, 0.5])}
        provenance = run.provenance | {"best_epoch": seed}
        predictions = pd.concat([run.predictions, run.predictions.assign(split="train", multimodal=99.0)])
        changed = {"covariances": spectrum, "provenance": provenance, "predictions": predictions}
        write_run(folder, Run(**{**vars(run), **changed}), nn.Linear(2, 2))
    predictions = collect.read_predictions(folders)
    assert predictions[["variant", "seed", "scheme", "label_bound", "id"]].values.tolist() == [
        ["paper", seed, "mosi", 3.0, sample] for seed in (1, 2) for sample in ("a", "b")
    ]
    assert predictions["prediction"].tolist() == [1 / 3, 2e-17] * 2
    histories = collect.read_histories(folders)
    assert histories[["seed", "epoch", "best_epoch"]].values.tolist() == [[1, 1, 1], [1, 2, 1], [2, 1, 2], [2, 2, 2]]
    provenance = collect.read_provenance(folders)
    assert provenance[["seed", "best_epoch", "torch"]].values.tolist() == [
        [1, 1, torch.__version__],
        [2, 2, torch.__version__],
    ]
    assert provenance["data_sha256"].tolist() == ["", ""]
    variances = collect.read_variances(folders)
    assert variances[["seed", "modality", "total_variance"]].values.tolist() == [[1, "audio", 1.5], [2, "audio", 2.5]]


def test_true_labels_are_those_of_the_train_split():
    config = example(1, dataset__planted={"num_train": 9, "num_valid": 2, "num_test": 2}).config
    table = collect.true_labels(config)
    train = planted_features(**config.dataset.planted.model_dump(), tokenizer=load_tokenizer("tiny"))["train"]
    assert table["id"].tolist() == train.ids
    assert list(table) == ["id", "text", "audio", "vision"]
    np.testing.assert_array_equal(table["audio"], train.unimodal_labels["audio"])


def test_without_its_feature_file_a_run_has_no_true_labels():
    assert collect.true_labels(example(1, dataset__features="nowhere.pkl").config) is None
