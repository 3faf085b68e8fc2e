"""A run from settings to folder and back."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

from msa_core import build, paths, provenance, records, run, training
from msa_core.config import load_yaml, resolve
from msa_core.data import planted_tokenizer
from msa_core.encoders import load_text_encoder
from msa_core.metrics import regression_metrics
from msa_core.progress import Interrupted

SMALL = {
    "dataset.planted": {"num_train": 40, "num_valid": 20, "num_test": 20},
    "training.max_epochs": 3,
    "training.state_every": 0,
    "training.average": False,
}
FILES = {
    "config.yaml",
    "metrics.json",
    "history.csv",
    "predictions.csv",
    "labels.parquet",
    "alignment.npz",
    "provenance.json",
    "SHA256SUMS",
    "checkpoint",
}


def settings(variant="paper", seed=1111, **changes):
    return resolve("planted", variant, seed, overrides=SMALL | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "planted" / "paper" / "seed-1111"
    return folder, run.train(settings(), folder)


def test_the_folder_holds_the_files_of_the_design_and_nothing_else_is_left(finished):
    folder, _ = finished
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f".{folder.name}.lock"}


def test_what_is_read_is_what_was_run(finished):
    _, result = finished
    assert result.config == settings()
    data = build.dataset(result.config)
    assert list(result.predictions["id"]) == [i for part in data.values() for i in part.ids]
    for split, part in data.items():
        rows = result.predictions.query("split == @split")
        np.testing.assert_allclose(rows["label"], part.labels, rtol=1e-6)
        for task in ("multimodal", "text", "audio", "vision"):
            again = regression_metrics(rows[task], part.labels, "mosi")
            assert result.metrics[split][task] == pytest.approx(again, abs=1e-6)
    assert sorted(result.labels["epoch"].unique()) == [0, 1, 2, 3]
    assert len(result.history) == 3


def test_weights_give_the_predictions_and_the_covariances(finished):
    folder, result = finished
    torch.manual_seed(0)
    _, model, data = run.load(folder)
    predicted = training.predict(model, data["test"])["multimodal"]
    np.testing.assert_allclose(
        result.predictions.query("split == 'test'")["multimodal"], predicted, rtol=1e-5, atol=1e-6
    )
    audio = training.encodings(model, data["train"])["audio"]
    np.testing.assert_allclose(result.covariances["audio/covariance/after"], np.cov(audio.T), rtol=1e-4, atol=1e-9)
    values = np.linalg.eigvalsh(result.covariances["audio/covariance/after"])[::-1]
    np.testing.assert_allclose(result.covariances["audio/spectrum/after"], values)
    assert not np.allclose(result.covariances["audio/covariance/before"], result.covariances["audio/covariance/after"])


def test_the_untrained_model_of_a_run_is_the_one_it_began_with(finished):
    folder, result = finished
    _, model, data = run.load(folder, trained=False)
    audio = training.encodings(model, data["train"])["audio"]
    np.testing.assert_allclose(result.covariances["audio/covariance/before"], np.cov(audio.T), rtol=1e-4, atol=1e-9)


def test_weights_of_another_model_are_refused(finished, monkeypatch):
    """The code has changed since: the same settings make another model."""
    original = build.model
    wider = settings(**{"model.fusion.width": 64})
    monkeypatch.setattr(build, "model", lambda _, train: original(wider, train))
    with pytest.raises(ValueError, match=r"model\.safetensors: got weights of another model .* train it again"):
        run.load(finished[0])


def test_damaged_weights_are_refused(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "seed-1111")
    weights = folder / "checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"checkpoint/model\.safetensors: got SHA-256"):
        run.load(folder)


def test_provenance_says_where_the_numbers_are_from(finished):
    _, result = finished
    assert result.provenance["packages"]["torch"] == torch.__version__
    assert result.provenance["code_sha256"] == provenance.code_fingerprint()
    assert result.provenance["data"]["planted"]["sizes"] == {"train": 40, "valid": 20, "test": 20}
    assert result.provenance["device"]
    assert result.provenance["seconds"] > 0
    assert 1e8 < result.provenance["peak_memory"] < 1e11  # bytes
    assert result.provenance["best_epoch"] == result.history["valid_mae"].argmin() + 1


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="bit for bit on the CPU only")
def test_the_same_seed_gives_the_same_metrics_bit_for_bit_in_another_process(finished, tmp_path):
    """In a process of its own, so that nothing this one has done can help."""
    folder, _ = finished
    code = (
        "import json, sys, torch; from pathlib import Path\n"
        "from msa_core import run; from msa_core.config import resolve\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        "run.train(resolve('planted', 'paper', 1111, overrides=json.loads(sys.argv[1])), Path(sys.argv[2]))"
    )
    again = tmp_path / "seed-1111"
    subprocess.run([sys.executable, "-c", code, json.dumps(SMALL), str(again)], check=True, capture_output=True)
    assert (again / "metrics.json").read_bytes() == (folder / "metrics.json").read_bytes()


def test_a_finished_run_is_read_back_and_not_trained_again(finished, monkeypatch):
    folder, result = finished
    monkeypatch.setattr(run, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert run.train(settings(), folder).metrics == result.metrics


def test_a_finished_run_with_other_settings_is_refused_and_kept(finished):
    folder, _ = finished
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"other settings .*max_epochs: 2.*not overwritten"):
        run.train(settings(**{"training.max_epochs": 2}), folder)
    assert (folder / "metrics.json").read_bytes() == before


def test_a_setting_that_changes_no_number_is_no_other_run(finished, monkeypatch):
    folder, result = finished
    monkeypatch.setattr(run, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert run.train(settings(**{"training.state_every": 7, "dataset.title": "B"}), folder).metrics == result.metrics


def test_a_state_belongs_to_what_decides_its_numbers(tmp_path):
    folder = tmp_path / "seed-1111"
    state = run._state_file(settings(), folder, {})
    state.write_text("kept")
    assert run._state_file(settings(**{"training.state_every": 7}), folder, {}).read_text() == "kept"
    assert not run._state_file(settings(), folder, {"sha256": "of another feature file"}).exists()
    state.write_text("kept")
    assert not run._state_file(settings(**{"training.max_epochs": 4}), folder, {}).exists()


def test_two_processes_never_share_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LOCK_SECONDS", 0.1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    folder = tmp_path / "seed-1"
    with FileLock(tmp_path / ".seed-1.lock"):
        with pytest.raises(RuntimeError, match=r"another process is at this run; wait for it"):
            run.train(settings(seed=1), folder)
        run._state_file(settings(seed=1), folder, {})
        with pytest.raises(RuntimeError, match=r"at this run \(process \d+ of .*, SLURM job 7\); wait"):
            run.train(settings(seed=1), folder)
    assert not folder.exists()


def test_a_finished_run_is_shown_where_nothing_can_be_written(finished, monkeypatch):
    """A folder that is read-only refuses the lock's file, too."""
    monkeypatch.setattr(run, "FileLock", lambda *_, **__: pytest.fail("locked"))
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("made a folder"))
    assert run.train(settings(), finished[0]).metrics == finished[1].metrics


@pytest.mark.parametrize(
    ("place", "code", "remedy"),
    [
        ((Path, "mkdir"), errno.EROFS, "choose a folder that can be written to"),
        ((FileLock, "acquire"), errno.EACCES, "get the right to use it"),
        ((build, "dataset"), errno.EROFS, "choose a folder that can be written to"),  # the cache's, say
        ((pd.DataFrame, "to_parquet"), errno.ENOSPC, "free some space there"),
    ],
)
def test_what_cannot_be_written_is_one_line_with_the_path_and_the_remedy(place, code, remedy, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code), "/some/path")

    with monkeypatch.context() as patch:
        patch.setattr(*place, refuse)
        with pytest.raises(OSError, match=rf"/some/path: {os.strerror(code)}; {remedy}") as caught:
            run.train(settings(**{"training.max_epochs": 1}), tmp_path / "seed-1111")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "seed-1111").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on_and_loses_nothing(number, finished, tmp_path, monkeypatch):
    """The signal comes within the second epoch; the state is otherwise never saved."""
    folder, steps = tmp_path / "seed-1111", []
    original = training.TrainingLoop._backward

    def backward(loop, batch, samples, epoch):
        steps.append(epoch)
        if len(steps) == 3:  # two batches an epoch
            os.kill(os.getpid(), number)
        return original(loop, batch, samples, epoch)

    monkeypatch.setattr(training.TrainingLoop, "_backward", backward)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    seldom = settings(**{"training.state_every": 1e9})
    with pytest.raises(
        Interrupted, match=rf"{number.name} stopped the training in epoch 2 after 1 batches: state saved"
    ):
        run.train(seldom, folder)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not folder.exists()
    result = run.train(seldom, folder)
    assert steps == [1, 1, 2, 2, 3, 3]
    assert result.metrics == finished[1].metrics
    columns = [column for column in result.history if column != "seconds"]
    assert result.history[columns].equals(finished[1].history[columns])


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("bomb"),)


def emptied(file):
    file.write_bytes(b"")


def truncated(file):
    file.write_bytes(file.read_bytes()[:-100])


def changed(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def replaced_by_a_bomb(file):
    content = pickle.dumps(Bomb())
    file.write_bytes(content + hashlib.sha256(content).digest())


def replaced_by_another_state(file):
    """A whole one, whose first parts fit: what is loaded of it must leave no trace."""
    saved = torch.load(file, weights_only=True)
    for tensor in saved["parts"]["model"].values():
        tensor.zero_()
    del saved["parts"]["optimizer"]
    torch.save(saved, file)
    content = file.read_bytes()
    file.write_bytes(content + hashlib.sha256(content).digest())


@pytest.mark.parametrize("damage", [emptied, truncated, changed, replaced_by_a_bomb, replaced_by_another_state])
def test_a_damaged_state_is_set_aside_and_the_run_starts_anew(damage, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "seed-1111"
    with monkeypatch.context() as patch:
        patch.setattr(records, "write_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.train(settings(), folder)
    damage(records.state_file(folder))
    capsys.readouterr()
    seen = []
    original = records.write_run

    def write_run(folder, result, model):
        seen.extend(path.name for path in records.unfinished_folder(folder).iterdir())
        original(folder, result, model)

    monkeypatch.setattr(records, "write_run", write_run)
    result = run.train(settings(), folder)
    said = capsys.readouterr().out
    assert "state.pt: holds no state of this run" in said
    assert "set aside as damaged.pt, and the run starts anew" in said
    assert "damaged.pt" in seen
    assert result.metrics == finished[1].metrics
    assert not (tmp_path / "bomb").exists()


def test_a_changed_comment_keeps_the_state_and_changed_code_does_not(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "seed-1111"
    file = run._state_file(settings(), folder, {})
    file.write_text("a state")
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "another comment")
    run._state_file(settings(), folder, {})
    assert file.read_text() == "a state"
    monkeypatch.setattr(provenance, "code_identity", lambda: "other code")
    run._state_file(settings(), folder, {})
    assert not file.exists()
    assert "holds the state of other settings, data or code" in capsys.readouterr().out


def test_averaged_weights_are_reported_beside_the_plain_ones(finished, tmp_path):
    result = run.train(settings(**{"training.average": True}), tmp_path / "seed-1111")
    for split, tasks in result.metrics.items():
        rows = result.predictions[result.predictions["split"] == split]
        again = regression_metrics(rows["multimodal_averaged"], rows["label"], "mosi")
        assert tasks.pop("multimodal_averaged") == pytest.approx(again, abs=1e-6)
    assert result.metrics == finished[1].metrics
    best = result.history["valid_averaged_mae"].argmin() + 1
    assert result.provenance["best_epoch_averaged"] == best


def test_each_split_is_predicted_once(tmp_path, monkeypatch):
    """But for valid within the training, which is not counted here."""
    splits, infer = [], run.infer

    def counted(model, features, *fields):
        splits.append(features.split)
        return infer(model, features, *fields)

    monkeypatch.setattr(run, "infer", counted)
    run.train(settings(**{"training.max_epochs": 1}), tmp_path / "seed-1111")
    assert sorted(splits) == ["test", "train", "valid"]


def test_a_failed_run_leaves_no_folder_and_an_interrupted_one_goes_on(finished, tmp_path, monkeypatch):
    """The third epoch is interrupted; the next call trains that one alone and ends with the same metrics."""
    folder = tmp_path / "seed-1111"
    epochs = []
    original = training._train_epoch

    def interrupted(*arguments):
        epochs.append(arguments[1])
        if epochs == [1, 2, 3]:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(training, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.train(settings(), folder)
    assert not folder.exists()
    result = run.train(settings(), folder)
    assert epochs == [1, 2, 3, 3]
    assert result.metrics == finished[1].metrics
    assert not records.unfinished_folder(folder).exists()


def test_the_state_of_other_settings_is_not_gone_on_with(tmp_path, monkeypatch):
    folder = tmp_path / "seed-1111"
    original = records.write_run
    monkeypatch.setattr(records, "write_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.train(settings(), folder)
    monkeypatch.setattr(records, "write_run", original)
    result = run.train(settings(**{"training.max_epochs": 2}), folder)
    assert len(result.history) == 2


def feature_file(path, scale):
    """20 samples of audio and vision a split, of which `scale` stretches train alone; one value is unreadable."""
    rng = np.random.default_rng(0)
    raw = {}
    for split in ("train", "valid", "test"):
        frames = {m: rng.normal(5, 2, (20, 4, 3)).astype(np.float32) for m in ("audio", "vision")}
        for modality in frames:
            frames[modality] *= scale if split == "train" else 1
        frames["audio"][0, 1, 2] = np.nan
        ids, labels = [f"{split}-{i}" for i in range(20)], rng.uniform(-3, 3, 20)
        lengths = {"audio_lengths": [4] * 20, "vision_lengths": [4] * 20}
        raw[split] = frames | lengths | {"id": ids, "regression_labels": labels}
    path.write_bytes(pickle.dumps(raw))
    return str(path)


@pytest.mark.parametrize("standardise", [True, False])
def test_frames_are_read_by_the_statistics_of_the_training(tmp_path, standardise):
    """Another train split moves no prediction of a run that is trained."""
    features = feature_file(tmp_path / "features.pkl", scale=1)
    changes = {"training.max_epochs": 1, "training.average": False, "dataset.standardise": standardise}
    config = resolve("planted", features=features, overrides=changes | {"dataset.planted": {}})
    result = run.train(config, tmp_path / "seed-1111")
    before = run.load(tmp_path / "seed-1111")[2]
    feature_file(tmp_path / "features.pkl", scale=3)
    _, model, data = run.load(tmp_path / "seed-1111")
    for name, statistic in before["train"].statistics.items():
        assert torch.equal(data["test"].statistics[name], statistic)
    everything = torch.arange(20)
    for modality, frames in before["test"].batch(everything).sequences.items():
        assert torch.equal(data["test"].batch(everything).sequences[modality], frames)
    predicted = training.predict(model, data["test"])["multimodal"]
    np.testing.assert_array_equal(result.predictions.query("split == 'test'")["multimodal"], predicted)
    own = build.dataset(config)["test"].statistics["audio/mean"]
    assert not torch.allclose(own, before["test"].statistics["audio/mean"])


def test_features_of_another_width_than_the_trainings_are_refused(tmp_path):
    features = feature_file(tmp_path / "features.pkl", scale=1)
    config = resolve("planted", features=features)
    statistics = dict(build.dataset(config)["train"].statistics)
    for wrong, said in (
        (statistics | {"audio/mean": torch.ones(7)}, "got width 3, expected width 7, as in the training"),
        ({"vision/mean": torch.ones(3), "vision/scale": torch.ones(3)}, "without it in the training"),
    ):
        with pytest.raises(ValueError, match=rf"features\.pkl: field 'audio': .*{said}.*; extract the features as"):
            build.dataset(config, wrong)


@pytest.mark.parametrize("variant", ["no_alignment", "no_label_generation", "multimodal_only", "true_labels"])
def test_variants_leave_out_what_they_say(variant, tmp_path):
    result = run.train(settings(variant), tmp_path / "seed-1111")
    losses = result.history.filter(regex="^loss_(?!total|alignment)").sum(axis=1)
    trained = result.history["loss_total"] - losses > 1e-4
    assert trained.all() == (variant not in ("no_alignment", "multimodal_only"))
    assert (result.history["loss_alignment_audio_vision"] > 0).all()
    assert bool(len(result.labels)) == (variant == "no_alignment")
    multimodal = variant in ("no_label_generation", "multimodal_only")
    tasks = {"multimodal"} if multimodal else {"multimodal", "text", "audio", "vision"}
    assert set(result.metrics["test"]) == tasks
    if not multimodal:  # in the first epoch generated labels are copies of y, whose weight is tanh(0); true ones not
        assert (result.history["loss_text"][0] > 0) == (variant == "true_labels")


def test_a_modality_missing_in_training_and_at_test_time(tmp_path):
    """One run with a third of the samples of each split without vision, from settings to folder and back."""
    result = run.train(settings("missing_vision"), tmp_path / "seed-1111")
    _, model, data = run.load(tmp_path / "seed-1111")
    absent = {split: int((~part.present["vision"]).sum()) for split, part in data.items()}
    assert absent == {"train": 13, "valid": 7, "test": 7}
    again = training.predict(model, data["test"])["multimodal"]
    stored = result.predictions.query("split == 'test'")["multimodal"]
    np.testing.assert_allclose(stored, again, rtol=1e-5, atol=1e-6)
    whole = build.dataset(settings())["test"]
    moved = np.abs(training.predict(model, whole)["multimodal"] - again) > 1e-6
    assert moved.tolist() == (~data["test"].present["vision"]).tolist()


@pytest.fixture(scope="module")
def planted():
    return build.dataset(settings())


def fitted(config, data):
    torch.manual_seed(0)
    parts = build.parts(config, data["train"])
    history = training.fit(parts, data["train"], data["valid"], config.training).history
    return parts.model.state_dict(), history


@pytest.mark.parametrize("variant", load_yaml(paths.CONFIG / "variants.yaml"))
def test_every_variant_takes_a_step(variant, planted, tmp_path):
    short = {"training.max_epochs": 1, "training.batch_size": 10}  # 4 batches fill a step of 4
    config = settings(variant, **short)
    if config.text.frozen or getattr(config.model, "text", None):  # an LSTM over the states of frozen text
        load_text_encoder("tiny").transformer.save_pretrained(tmp_path)
        planted_tokenizer().save_pretrained(tmp_path)
        config = settings(variant, **short, text={"encoder": str(tmp_path), "frozen": True})
        planted = build.dataset(config)
    torch.manual_seed(0)
    untrained = build.model(config, planted["train"]).state_dict()
    weights, history = fitted(config, planted)
    assert np.isfinite(history["loss_total"]).all()
    assert any(not torch.equal(weights[name], untrained[name]) for name in weights)


def test_a_tracker_gets_the_history_and_changes_no_number(finished, tmp_path):
    """Read back by TensorBoard's own reader."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tmp_path / "planted" / "paper" / "seed-1111"
    tracked = run.train(settings(**{"training.tracker": "tensorboard"}), folder)
    pd.testing.assert_frame_equal(tracked.history.drop(columns="seconds"), finished[1].history.drop(columns="seconds"))
    log = events.EventAccumulator(str(folder.parent / "tracking" / "planted-paper-seed-1111"))
    log.Reload()
    assert set(log.Tags()["scalars"]) == set(tracked.history) - {"epoch"}
    shown = [(event.step, event.value) for event in log.Scalars("valid_mae")]
    assert shown == [
        (n, pytest.approx(mae)) for n, mae in tracked.history[["epoch", "valid_mae"]].itertuples(index=False)
    ]


def test_a_tracker_that_is_not_installed_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"training\.tracker: got abacus, expected one that .* installed"):
        run.train(settings(**{"training.tracker": "abacus"}), tmp_path / "planted" / "paper" / "seed-1111")


@pytest.mark.skipif(torch.cuda.is_available(), reason="bit for bit on the CPU only")
def test_measuring_a_distance_changes_no_bit_of_a_run(planted):
    """Text is of another width, which takes a learned map: that pair cannot be measured without training."""
    pairs = {"audio-vision": 100.0, "text-audio": 100.0}
    weights, history = fitted(settings("no_alignment", **{"objective.alignment.pairs": pairs}), planted)
    without, plain = fitted(settings("no_alignment", **{"objective.alignment.pairs": {}}), planted)
    assert set(history) - set(plain) == {"loss_alignment_audio_vision"}
    assert all(torch.equal(weights[name], without[name]) for name in without)
    columns = [column for column in plain if column != "seconds"]
    assert history[columns].equals(plain[columns])


def test_true_unimodal_labels_that_the_data_lack_are_refused(planted):
    train = replace(planted["train"], unimodal_labels={"text": planted["train"].labels})
    with pytest.raises(
        ValueError, match=r"'true' on planted, which has no unimodal labels of \['audio', 'vision'\]; use another kind"
    ):
        build.parts(settings("true_labels"), train)


def test_a_missing_feature_file_is_said_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "load_tokenizer", lambda _: pytest.fail("fetched a tokenizer"))
    with pytest.raises(FileNotFoundError, match=r"no\.pkl: no such feature file; docs/running"):
        run.train(resolve("mosi", features=str(tmp_path / "no.pkl")), tmp_path / "seed-1111")


def test_a_pair_that_the_data_lack_is_refused(tmp_path, real_data):
    config = resolve(
        "mmmo_audio_vision",
        features=str(real_data("mmmo_audio_vision")),
        overrides={"objective.alignment.pairs": {"text-audio": 1}},
    )
    with pytest.raises(ValueError, match=r"got a pair with \['text'\], expected pairs of .*\['audio', 'vision'\]"):
        run.train(config, tmp_path / "seed-1111")
    assert not (tmp_path / "seed-1111").exists()


def test_real_frames_train_through_the_lstms_without_a_text_encoder(tmp_path, real_data, monkeypatch):
    monkeypatch.setattr(build, "load_text_encoder", lambda *_, **__: pytest.fail("a text encoder was built"))
    config = resolve(
        "mmmo_audio_vision",
        features=str(real_data("mmmo_audio_vision")),
        overrides={"training.max_epochs": 3, "training.average": False},
    )
    result = run.train(config, tmp_path / "seed-1111")
    assert set(result.metrics["test"]) == {"multimodal", "audio", "vision"}
    assert result.history["loss_alignment_audio_vision"].notna().all()
    assert result.provenance["data"]["sha256"] == config.dataset.known_sha256["mmmo_audio_vision"]


@pytest.mark.slow
def test_real_text_trains_through_minilm(tmp_path, real_data):
    changes = {"training.max_epochs": 1, "training.accumulate": 1}
    config = resolve("mosi_text_audio", features=str(real_data("mosi_text_audio")), overrides=changes)
    result = run.train(config, tmp_path / "seed-1111")
    assert set(result.metrics["test"]) == {"multimodal", "text", "audio"}
    labels = result.predictions.groupby("split")["label"]
    trivial = (labels.get_group("test") - labels.get_group("train").median()).abs().mean()
    assert result.metrics["test"]["multimodal"]["mae"] < 0.8 * trivial  # one epoch has read the pretrained text
    _, model, data = run.load(tmp_path / "seed-1111")
    again = training.predict(model, data["test"])["multimodal"]
    np.testing.assert_allclose(result.predictions.query("split == 'test'")["multimodal"], again, rtol=1e-4, atol=1e-5)
