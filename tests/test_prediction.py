"""A finished run on other samples. Oracle: what the run itself wrote of the same samples while its data were there."""

import json
import pickle
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from msa_core import SPLITS, build, export_labels, paths, predict, records, run
from msa_core.config import resolve
from msa_core.prediction import write_csv

WIDTHS = {"audio": 3, "vision": 2}
MODALITIES = ("text", "audio", "vision")
SMALL = {"training.max_epochs": 2, "training.average": False}


def make_content(scale=1.0):
    """Eight samples a split whose frames are far from 0, one of which lacks vision; one value is unreadable."""
    rng, content = np.random.default_rng(0), {}
    for split in SPLITS:
        fields = {m: rng.normal(50, 20, (8, 5, width)).astype(np.float32) for m, width in WIDTHS.items()}
        fields |= {f"{modality}_lengths": rng.integers(1, 6, 8) for modality in WIDTHS}
        fields["vision_lengths"][3] = 0
        fields["audio"][2, 0, 1] = np.nan
        fields["raw_text"] = [f"the plot was {word}" for word in rng.choice(["good", "bad", "slow", "plain"], 8)]
        content[split] = fields | {"id": [f"{split}-{i}" for i in range(8)], "regression_labels": rng.uniform(-3, 3, 8)}
    for modality in WIDTHS:
        content["train"][modality] *= scale
    return content


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(**changes)`: a finished run's folder and what it wrote of its samples; its training file is gone."""

    def train(variant="paper", **changes):
        folder = tmp_path_factory.mktemp("run")
        file = folder / "training.pkl"
        file.write_bytes(pickle.dumps(make_content()))
        changes = {"dataset.standardise": True, **SMALL} | changes
        result = run.train(resolve("planted", variant, features=str(file), overrides=changes), folder / "seed-1111")
        for left in folder.glob("training.pkl*"):
            left.unlink()
        return folder / "seed-1111", result.predictions

    return train


@pytest.fixture(scope="module")
def finished(trained):
    return trained()


def save(folder, content):
    path = folder / "new.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


def assert_as_written(table, written):
    """Rounding: a sample's batch has another padded length when other samples are in it."""
    assert table["id"].tolist() == written["id"].tolist()
    np.testing.assert_allclose(table["sentiment"], written["multimodal"], rtol=1e-9)
    for modality in set(written) & set(MODALITIES):
        present = table[f"{modality}_present"]
        np.testing.assert_allclose(table[f"{modality}_sentiment"][present], written[modality][present], rtol=1e-9)
        distance = (written["multimodal"] - written[modality]).abs()
        np.testing.assert_allclose(table[f"{modality}_distance"][present], distance[present], rtol=1e-9, atol=1e-12)
        assert table.loc[~present, [f"{modality}_sentiment", f"{modality}_distance"]].isna().all(axis=None)


def altered(folder, place, config=None, provenance=None):
    """A copy of a run's folder as format 1, which has no checksums."""
    shutil.copytree(folder, place)
    provenance = provenance or json.loads((folder / "provenance.json").read_text())
    (place / "provenance.json").write_text(json.dumps(provenance | {"format": 1}))
    (place / "config.yaml").write_text(config or (folder / "config.yaml").read_text())
    (place / "SHA256SUMS").unlink()
    return place


def without_labels(fields):
    return {name: values for name, values in fields.items() if name != "regression_labels"}


def test_the_columns_are_those_that_are_described(finished, tmp_path):
    table = predict(finished[0], save(tmp_path, make_content()))
    columns = [f"{modality}_{what}" for what in ("sentiment", "distance", "present") for modality in MODALITIES]
    assert list(table) == ["id", "split", "sentiment", *columns]
    assert (~table["vision_present"]).tolist() == [place == 3 for _ in SPLITS for place in range(8)]
    assert table[["text_present", "audio_present"]].all(axis=None)


@pytest.mark.parametrize("splits", [SPLITS, ("test",), ("train", "test"), ()], ids=str)
@pytest.mark.parametrize("labelled", [True, False])
def test_any_splits_or_none_with_labels_or_without(finished, tmp_path, splits, labelled):
    """The file's own train split is stretched: it must not move the standardisation."""
    folder, written = finished
    content = {split: fields if labelled else without_labels(fields) for split, fields in make_content().items()}
    if not labelled:
        content["train"]["regression_labels"] = np.full(8, np.nan)  # nobody reads them
    given = {split: content[split] for split in splits} or content["test"]
    before = sorted(path.name for path in tmp_path.iterdir())
    table = predict(str(folder), str(save(tmp_path, given)))
    rows = written[written["split"].isin(splits or ["test"])].reset_index(drop=True)
    assert_as_written(table, rows)
    assert (table["split"].tolist() if splits else "split" not in table) == (rows["split"].tolist() if splits else True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*before, "new.pkl"], "nothing is left beside the file"


@pytest.mark.parametrize("standardise", [True, False])
def test_frames_are_read_by_the_statistics_of_the_training(trained, tmp_path, standardise):
    """Also an unreadable value is replaced by the training's mean, not by that of the new file."""
    folder, written = trained(**{"dataset.standardise": standardise})
    table = predict(folder, save(tmp_path, make_content(scale=9.0)))
    others = written["split"] != "train"
    assert_as_written(table[others].reset_index(drop=True), written[others].reset_index(drop=True))
    assert not np.allclose(table["sentiment"][~others], written["multimodal"][~others])


@pytest.mark.parametrize("variant", ["mult", "misa", "mmim", "mag_bert", "text_only", "multimodal_only"])
def test_every_model_predicts(trained, tmp_path, variant):
    folder, written = trained(variant)
    table = predict(folder, save(tmp_path, make_content()["test"]))
    assert_as_written(table, written.query("split == 'test'").reset_index(drop=True))
    assert ("audio_sentiment" in table) == ("audio" in written)


def test_a_run_on_planted_data_predicts_a_file(tmp_path):
    """A run keeps no statistics of planted frames: they are drawn again, and replace what is unreadable."""
    sizes = {"num_train": 40, "num_valid": 20, "num_test": 20}
    config = resolve("planted", overrides={"dataset.planted": sizes, **SMALL})
    folder = paths.run_folder("planted", "paper", 1111, tmp_path)
    written = run.train(config, folder).predictions.query("split == 'test'").reset_index(drop=True)
    data = build.dataset(config)
    content = {"id": data["test"].ids, "raw_text": data["test"].raw_text}
    for modality in WIDTHS:
        ragged = data["test"].sequences[modality]
        content[modality] = [ragged[i].numpy().copy() for i in range(20)]
    assert_as_written(predict(folder, save(tmp_path, content)), written)
    mean = data["train"].sequences["audio"].values.double().mean(dim=0).float()
    content["audio"][0][:] = mean.numpy()
    replaced = predict(folder, save(tmp_path, content))
    content["audio"][0][:] = np.nan
    pd.testing.assert_frame_equal(predict(folder, save(tmp_path, content)), replaced, rtol=1e-6)


def test_frozen_text_predicts_as_it_was_trained(trained, tmp_path):
    folder, written = trained(**{"text.encoder": "minilm", "text.frozen": True, "training.max_epochs": 1})
    table = predict(folder, save(tmp_path, make_content()["test"]))
    assert_as_written(table, written.query("split == 'test'").reset_index(drop=True))


def test_every_sample_may_lack_a_modality(finished, tmp_path):
    fields = make_content()["train"]
    fields["audio_lengths"][:] = 0
    table = predict(finished[0], save(tmp_path, {"train": fields}))
    assert not table["audio_present"].any() and table["audio_sentiment"].isna().all()
    assert table["sentiment"].notna().all()


def test_a_long_text_is_cut_to_the_encoders_positions(trained, tmp_path):
    folder, _ = trained(**{"dataset.max_tokens": 200})
    fields = make_content()["test"]
    fields["raw_text"][0] = "good " * 300
    assert predict(folder, save(tmp_path, fields))["sentiment"].notna().all()


def lacking(*names):
    return lambda fields: [fields.pop(name) for name in names]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lacking("vision"),
            r"new\.pkl: got \['text', 'audio'\], expected \['text', 'audio', 'vision'\], .*; leave out",
        ),
        (lacking("raw_text"), r"new\.pkl: got \['audio', 'vision'\], expected"),
        (lacking("id"), r"new\.pkl: got \['audio', .*\], expected some of the splits .*, or the fields of one"),
        (
            lambda fields: fields.update(audio=np.ones((8, 5, 4))),
            r"new\.pkl: field 'audio': got width 4, expected width 3, as in the training; extract the features as",
        ),
        (
            lambda fields: fields.update(id=["a"] * 8),
            r"new\.pkl: field 'id', id 'a': got an id that is there already \(7 of 8 samples wrong",
        ),
        (
            lambda fields: fields["audio_lengths"].__setitem__(1, 9),
            r"new\.pkl: field 'audio_lengths', id 'test-1': got length 9",
        ),
    ],
)
def test_a_file_that_the_run_cannot_read_is_one_clear_error(finished, tmp_path, damage, message):
    fields = make_content()["test"]
    damage(fields)
    with pytest.raises(ValueError, match=message) as caught:
        predict(finished[0], save(tmp_path, fields))
    assert "\n" not in str(caught.value)


def test_modalities_that_the_run_did_not_have_are_refused_and_those_that_it_left_out_are_not(trained, tmp_path):
    path = save(tmp_path, make_content()["test"])
    folder, written = trained(**{"dataset.modalities": ["text", "audio"], "objective.alignment.pairs": {}})
    assert_as_written(predict(folder, path), written.query("split == 'test'").reset_index(drop=True))
    config = (folder / "config.yaml").read_text()
    copy = altered(folder, tmp_path / "run", config=re.sub(r"  modalities:\n  - text\n  - audio\n", "", config))
    with pytest.raises(ValueError, match=r"got \['text', 'audio', 'vision'\], expected \['text', 'audio'\]"):
        predict(copy, path)


def test_a_run_of_format_1_takes_the_statistics_from_its_own_file(trained, tmp_path):
    """It keeps none: its file must be there, and be the one that it was trained on."""
    folder, written = trained()
    provenance = json.loads((folder / "provenance.json").read_text())
    del provenance["data"]["statistics"]
    copy = altered(folder, tmp_path / "run", provenance=provenance)
    path = save(tmp_path, make_content()["test"])
    with pytest.raises(FileNotFoundError, match=r"training\.pkl: no such feature file"):
        predict(copy, path)
    own = folder.parent / "training.pkl"
    own.write_bytes(pickle.dumps(make_content()))
    assert_as_written(predict(copy, path), written.query("split == 'test'").reset_index(drop=True))
    own.write_bytes(pickle.dumps(make_content(scale=2.0)))
    with pytest.raises(ValueError, match=r"run: got a run that keeps no mean and scale .*; put the file back"):
        predict(copy, path)


def test_what_is_not_there_is_said(finished, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.pkl: no such feature file"):
        predict(finished[0], tmp_path / "no.pkl")
    with pytest.raises(FileNotFoundError, match=r"holds no finished run"):
        predict(tmp_path, save(tmp_path, make_content()))
    with pytest.raises(FileNotFoundError, match=r"no/run: holds no finished run"):
        predict(tmp_path / "no" / "run", tmp_path / "no.pkl")
    model = build.model(resolve("planted"), build.dataset(resolve("planted"))["train"])
    with pytest.raises(ValueError, match=r"predict: got a model that is of no finished run"):
        predict(model, save(tmp_path, make_content()))


def test_a_prediction_draws_nothing_from_the_callers_generator(finished, tmp_path):
    path = save(tmp_path, make_content()["test"])
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    predict(finished[0], path)
    assert torch.equal(torch.rand(3), expected)


def test_generated_labels_are_exported(finished, trained, tmp_path):
    folder, _ = finished
    labels = export_labels(folder, tmp_path / "labels.csv")
    assert list(labels) == ["id", "epoch", "multimodal", *MODALITIES]
    pd.testing.assert_frame_equal(labels, records.read_run(folder).labels)
    assert labels["epoch"].unique().tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "labels.csv"), labels, rtol=1e-7, check_dtype=False)
    with pytest.raises(FileExistsError, match=r"labels\.csv: is there already and is not overwritten"):
        export_labels(folder, tmp_path / "labels.csv")
    with pytest.raises(ValueError, match=r"run without generated labels \(variant 'multimodal_only'\)"):
        export_labels(trained("multimodal_only")[0])


def test_a_csv_holds_every_digit_and_is_written_whole_or_not_at_all(finished, tmp_path, monkeypatch):
    table = predict(finished[0], save(tmp_path, make_content()["test"]))
    write_csv(table, tmp_path / "out.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), table, check_exact=True)
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda _, path, **__: (path.write_text("half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        write_csv(table, tmp_path / "other.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"new.pkl", "out.csv"}
