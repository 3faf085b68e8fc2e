"""A model that is handed on. Oracle: the predictions of the run that it is of."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from msa_core import build, paths, predict, records, run, write_features
from msa_core.config import resolve
from msa_core.hosts.misa import MISA
from msa_core.hub import HubModel
from msa_core.model import MSAModel
from msa_core.pretrained import trained

SMALL = {
    "dataset.planted": {"num_train": 40, "num_valid": 20, "num_test": 20},
    "training.max_epochs": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished run, a feature file, and what the run says of it."""
    place = tmp_path_factory.mktemp("runs")
    folder = paths.run_folder("planted", "paper", 1111, place)
    run.train(resolve("planted", overrides=SMALL), folder)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": ["a", "b", "c"], "text": ["the plot was good", "the music was bad", ""]})
    audio, vision = ([rng.normal(size=(6, width)) for _ in range(3)] for width in (5, 20))
    write_features(frame, audio, [None, *vision[1:]], place / "new.pkl")
    return folder, place / "new.pkl", predict(folder, place / "new.pkl")


def test_a_round_trip_gives_equal_predictions_without_the_run(finished, tmp_path):
    """Sockets are blocked: nothing is fetched. The file, the run and its data are not needed either."""
    folder, features, expected = finished
    copy = shutil.copytree(folder, tmp_path / "seed-1111")
    trained(copy).save_pretrained(tmp_path / "model")
    shutil.rmtree(copy)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    model = MSAModel.from_pretrained(tmp_path / "model")
    assert type(model) is MSAModel and not model.training
    pd.testing.assert_frame_equal(predict(model, features), expected, check_exact=True)
    pd.testing.assert_frame_equal(predict(tmp_path / "model", features), expected, check_exact=True)
    model.save_pretrained(tmp_path / "again")
    for name in ("README.md", "config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_a_model_on_the_hub_is_fetched_by_its_name(finished, tmp_path, monkeypatch):
    folder, features, expected = finished
    trained(folder).save_pretrained(tmp_path / "model")
    asked = []

    def fetched(name, **options):
        asked.append((name, options["revision"], options["allow_patterns"]))
        return str(tmp_path / "model")

    monkeypatch.setattr(
        "huggingface_hub.hub_mixin.hf_hub_download", lambda **_: str(tmp_path / "model" / "config.json")
    )
    monkeypatch.setattr("msa_core.hub.snapshot_download", fetched)
    model = MSAModel.from_pretrained("someone/a-model", revision="v1")
    assert asked == [("someone/a-model", "v1", ["config.json", "model.safetensors"])]
    pd.testing.assert_frame_equal(predict(model, features), expected, check_exact=True)


def test_the_card_says_what_the_records_say(finished, tmp_path):
    folder, _, _ = finished
    result = records.read_run(folder)
    trained(folder).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    for task in ("multimodal", "text", "audio", "vision"):
        values = result.metrics["test"][task].values()
        assert f"| {task} | {' | '.join(f'{value:.4f}' for value in values)} |" in card
    assert "multimodal_averaged" not in card, "these are not the weights that are handed on"
    for line in ("| data set | Planted (planted data) |", "| variant | `paper` |", "| seed | 1111 |", "| epoch | 1, "):
        assert line in card
    assert "Frames of vision must be extracted as those of the training; each has 20 values." in card


def test_the_origin_holds_no_data_of_the_training(finished, tmp_path):
    trained(finished[0]).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert set(content) == {
        "format", "config", "modalities", "statistics", "test", "best_epoch", "data", "commit",
    }  # fmt: skip
    assert {name: len(values) for name, values in content["statistics"].items()} == {
        "audio/mean": 5, "audio/scale": 5, "vision/mean": 20, "vision/scale": 20,
    }  # fmt: skip
    frames = build.dataset(resolve("planted", overrides=SMALL))["train"].sequences["audio"].values.double()
    np.testing.assert_allclose(content["statistics"]["audio/mean"], frames.mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(content["statistics"]["audio/scale"], frames.std(dim=0, correction=0), rtol=1e-6)


@pytest.mark.parametrize("variant", ["misa", "mult"])
def test_other_models_are_handed_on_too(finished, tmp_path, variant):
    run.train(resolve("planted", variant, overrides=SMALL), tmp_path / "seed-1111")
    trained(tmp_path / "seed-1111").save_pretrained(tmp_path / "model")
    model = HubModel.from_pretrained(tmp_path / "model")
    expected = predict(tmp_path / "seed-1111", finished[1])
    pd.testing.assert_frame_equal(predict(model, finished[1]), expected, check_exact=True)


def test_a_missing_folder_is_said():
    with pytest.raises(FileNotFoundError, match=r"^/missing/folder: no such folder; give one that save_pretrained"):
        MSAModel.from_pretrained("/missing/folder")
    with pytest.raises(
        FileNotFoundError, match=r"^missing/folder: no such folder, and the hub gives no model .*; give"
    ):
        HubModel.from_pretrained("missing/folder")


def test_what_cannot_be_handed_on_or_made_again_is_said(finished, tmp_path):
    model = trained(finished[0])
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(
        ValueError, match=r"MISA\.from_pretrained: got a MSAModel in .*; call MSAModel\.from_pretrained"
    ):
        MISA.from_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    content = json.loads(config.read_text())
    for wrong, message in (
        (content | {"format": 2}, r"format: got 2, expected 1"),
        (content | {"statistics": {}}, r"got no statistics of audio, expected 'audio/mean'"),
        ({"encoders": 3}, r"config\.json: format: is missing, .*; get the folder again"),
    ):
        config.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=message):
            MSAModel.from_pretrained(tmp_path / "model")
    config.write_text(json.dumps(content))
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read .*; get the file again"):
        MSAModel.from_pretrained(tmp_path / "model")
    with torch.random.fork_rng():
        other = build.model(resolve("planted"), build.dataset(resolve("planted"))["train"])
    with pytest.raises(ValueError, match=r"MSAModel\.save_pretrained: got a model that is of no finished run"):
        other.save_pretrained(tmp_path / "other")
