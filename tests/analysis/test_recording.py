"""Records of finished runs: what they hold, when they stay, when they are replaced."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from msa_core import paths, records, run
from msa_core.analysis import collect, probes, recording, summary
from msa_core.config import GridRun, resolve
from msa_core.training import encodings

pytestmark = pytest.mark.slow

GRID = [
    GridRun(dataset="planted", variant=variant, seed=seed)
    for variant in ("paper", "no_label_generation")
    for seed in (1, 2)
]
SMALL = {"dataset.planted": {"num_train": 40, "num_valid": 20, "num_test": 20}, "training.max_epochs": 2}


def small(dataset, variant="paper", seed=1111):
    return resolve(dataset, variant, seed, overrides=SMALL)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with all runs of `GRID` but one."""
    runs = tmp_path_factory.mktemp("runs")
    for each in GRID[:3]:
        run.train(small(*vars(each).values()), collect.run_folder(each, runs))
    return runs


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """A copy of these runs; the grid is `GRID`."""
    monkeypatch.setattr(recording, "grid", lambda _: GRID)
    for module in (recording, collect):
        monkeypatch.setattr(module, "resolve", small)
    monkeypatch.setattr(paths, "DIFFERENCES", tmp_path / "differences.txt")
    return shutil.copytree(trained, tmp_path / "runs")


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def edit_json(file, change):
    settings = json.loads(file.read_text())
    change(settings)
    file.write_text(json.dumps(settings))


def test_records_say_what_the_runs_say_when_the_runs_are_gone(runs, tmp_path):
    from_runs = collect.of_runs(GRID, runs)
    expected = {name: from_runs[name] for name in summary.FRAMES}
    assert recording.record("g", runs, tmp_path / "r") == 3
    shutil.rmtree(runs)
    recorded = collect.of_files(GRID, tmp_path / "r")
    assert recorded.missing[["variant", "seed"]].values.tolist() == [["no_label_generation", 2]]
    for name, frame in expected.items():
        shown = frame if name != "covariances" else frame[frame["variant"] == "paper"]
        pd.testing.assert_frame_equal(recorded[name], shown.reset_index(drop=True), check_dtype=False, rtol=1e-6)
    assert recording.record("g", runs, tmp_path / "r") == 0


def test_a_second_time_nothing_is_summarised_or_written(runs, tmp_path, monkeypatch):
    recording.record("g", runs, tmp_path / "r")
    before = content(tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(recording, "summarise", None)
        assert recording.record("g", runs, tmp_path / "r") == 0
    assert recording.record("g", runs, tmp_path / "r", anew=True) == 0  # summarised, and agrees
    assert content(tmp_path / "r") == before


def test_the_same_run_of_another_machine_leaves_the_record_and_another_run_replaces_it(runs, tmp_path):
    recording.record("g", runs, tmp_path / "r")
    before, folder = content(tmp_path / "r"), collect.run_folder(GRID[1], runs)
    edit_json(folder / "provenance.json", lambda provenance: provenance.update(commit="other", seconds=1.0, format=1))
    (folder / "SHA256SUMS").unlink()  # a folder of format 1, which holds whatever it holds
    history = pd.read_csv(folder / "history.csv")
    history.assign(loss_total=history["loss_total"] * (1 + 1e-9)).to_csv(folder / "history.csv", index=False)
    assert recording.record("g", runs, tmp_path / "r") == 0
    assert content(tmp_path / "r") == before
    assert not (tmp_path / "differences.txt").exists()

    history.assign(loss_total=history["loss_total"] * (1 + 1e-4)).to_csv(folder / "history.csv", index=False)
    assert recording.record("g", runs, tmp_path / "r") == 1
    assert "planted/paper/seed-2, history: loss_total in row" in (tmp_path / "differences.txt").read_text()
    recorded = collect.of_files(GRID, tmp_path / "r")
    losses = recorded["history"].query("variant == 'paper' and seed == 2")["loss_total"]
    np.testing.assert_allclose(losses, history["loss_total"] * (1 + 1e-4), rtol=1e-12)
    assert json.loads(recorded.runs["provenance"][1])["commit"] == "other"
    assert content(tmp_path / "r")["probes.parquet"] == before["probes.parquet"]  # nothing new in it


def test_other_settings_that_give_the_same_numbers_replace_the_record(runs, tmp_path, monkeypatch):
    """As the weight of an alignment that is off: the record would count as one of other settings for ever."""
    recording.record("g", runs, tmp_path / "r")
    folder = collect.run_folder(GRID[0], runs)
    changed = resolve(*vars(GRID[0]).values(), overrides=SMALL | {"training.patience": 3})
    edit_json(folder / "provenance.json", lambda provenance: provenance.update(commit="other", format=1))
    (folder / "SHA256SUMS").unlink()  # a folder of format 1, which holds whatever it holds
    (folder / "config.yaml").write_text(changed.to_yaml())
    for module in (recording, collect):
        monkeypatch.setattr(module, "resolve", lambda *names: changed if names[-1] == 1 else small(*names))
    assert recording.record("g", runs, tmp_path / "r") == 1
    assert collect.of_files(GRID, tmp_path / "r").runs[["variant", "seed"]].values.tolist() == [
        ["paper", 1],
        ["paper", 2],
    ]


def test_what_is_recorded_before_an_interruption_stays(runs, tmp_path, monkeypatch):
    calls = []

    def interrupted(folder, pictured):
        calls.append(folder)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return summary.summarise(folder, pictured)

    with monkeypatch.context() as patch:
        patch.setattr(recording, "WRITE_EVERY", 1)
        patch.setattr(recording, "summarise", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recording.record("g", runs, tmp_path / "r")
    assert collect.of_files(GRID, tmp_path / "r").runs["seed"].tolist() == [1]
    assert recording.record("g", runs, tmp_path / "r") == 2


def test_runs_that_the_grid_no_longer_names_go_and_changed_settings_do_not_count(runs, tmp_path, monkeypatch):
    recording.record("g", runs, tmp_path / "r")
    shutil.rmtree(runs)
    monkeypatch.setattr(recording, "grid", lambda _: GRID[1:])
    recording.record("g", runs, tmp_path / "r")
    assert pd.read_parquet(tmp_path / "r" / "metrics.parquet")[summary.KEYS].drop_duplicates().values.tolist() == [
        ["planted", "paper", 2],
        ["planted", "no_label_generation", 1],
    ]
    monkeypatch.setattr(collect, "resolve", lambda *names: resolve(*names, overrides=SMALL | {"training.patience": 3}))
    with pytest.raises(FileNotFoundError, match=r"seed-2 .other settings: training\.patience is 8, expected 3"):
        collect.of_files(GRID, tmp_path / "r")


def test_without_runs_and_records_there_is_nothing_to_make(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "grid", lambda _: GRID)
    with pytest.raises(FileNotFoundError, match=r"grid g: nothing is recorded in .*, and no run in .* is finished"):
        recording.record("g", tmp_path / "none", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_of_runs_that_each_draw_their_own_data_no_averaged_predictions_are_kept(trained):
    """They are compared by their metrics, which hold those of the averaged weights."""
    run = summary.FinishedRun(collect.run_folder(GRID[0], trained))
    planted = run.run.config.dataset.planted.model_copy(update={"seed": None})
    dataset = run.run.config.dataset.model_copy(update={"planted": planted})
    run.__dict__["run"] = replace(run.run, config=run.run.config.model_copy(update={"dataset": dataset}))
    frame = summary.rows(run, "predictions")
    assert frame["averaged"].isna().all()
    assert frame[["prediction", "averaged"]].dtypes.tolist() == [np.float32] * 2
    assert "multimodal_averaged" in set(summary.rows(run, "metrics")["task"])


def test_the_sizes_of_splits_are_recorded_where_an_interval_needs_them(trained):
    run = summary.FinishedRun(collect.run_folder(GRID[0], trained))
    assert summary.rows(run, "runs")["test_to_train"].isna().all()
    dataset = run.run.config.dataset.model_copy(update={"resplit": True})
    run.__dict__["run"] = replace(run.run, config=run.run.config.model_copy(update={"dataset": dataset}))
    sizes = dataset.planted.num_test / dataset.planted.num_train
    assert summary.rows(run, "runs")["test_to_train"].tolist() == [sizes]


def test_a_summary_holds_what_the_run_holds(trained):
    folder = collect.run_folder(GRID[0], trained)
    frames, finished = summary.summarise(folder, pictured=True), records.read_run(folder)
    assert set(frames) == set(summary.FRAMES)
    test = finished.predictions.query("split == 'test'")
    for name, column in {"label": "label", "prediction": "multimodal", "averaged": "multimodal_averaged"}.items():
        np.testing.assert_array_equal(frames["predictions"][name], test[column].astype(np.float32))
    aligned = frames["second_order"].query("aligned")
    assert set(aligned["modality"]) == {"audio-vision"}  # text has another width
    trace = frames["second_order"].query("modality == 'text' and when == 'after' and measure == 'total variance'")
    assert trace["value"].item() == pytest.approx(np.trace(finished.covariances["text/covariance/after"]))
    assert set(frames["covariances"]["modality"]) == {"audio", "vision"}
    _, model, data = run.load(folder, trained=False)
    expected = probes.cross_modal(encodings(model, data["test"]))
    np.testing.assert_allclose(frames["crossmodal"].query("not trained")["r2"], expected["r2"], rtol=1e-6, atol=1e-9)
    assert frames["probes"]["trained"].value_counts().to_dict() == {True: 12, False: 12}


def test_recorded_labels_name_no_sample_but_those_that_a_picture_shows(trained):
    folder = collect.run_folder(GRID[0], trained)
    labels, finished = summary.summarise(folder, pictured=True)["labels"], records.read_run(folder).labels
    start = labels[labels["epoch"] == 0]
    assert start["id"].tolist() == list(range(40))
    np.testing.assert_allclose(start["multimodal"], np.sort(finished.query("epoch == 0")["multimodal"]), rtol=1e-6)
    last = finished[finished["epoch"] == 2].set_index("id")["audio"]
    places = rankdata(finished.query("epoch == 0")["multimodal"], method="ordinal") - 1  # stable
    ours = labels[labels["epoch"] == 2].set_index("id")["audio"]
    np.testing.assert_allclose(ours[places], last.to_numpy(), rtol=1e-6)
    assert start["utterance"].notna().sum() == summary.FOLLOWED
    assert summary.summarise(folder)["labels"].empty
