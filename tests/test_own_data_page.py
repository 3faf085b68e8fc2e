"""docs/own_data.md: its blocks run as printed, from top to bottom, with a stand-in for MMSA-FET."""

import pickle
import re
import shutil
import sys
import types

import numpy as np
import pandas as pd
import pytest

from msa_core import SPLITS, paths
from msa_core.data import load_features

PAGE = (paths.ROOT / "docs" / "own_data.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(PRESET,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
WIDTHS = {"audio": 33, "vision": 12}
LARGEST = 9  # frames


class Tool:
    """Its `run_single` gives what that of MMSA-FET 0.4 gives: an array (T, D) of float64 for each modality."""

    def __init__(self, config):
        self.config = config

    @staticmethod
    def run_single(in_file):
        name = in_file.removeprefix("clips/").removesuffix(".mp4")
        rng = np.random.default_rng(sum(name.encode()))
        return {modality: rng.normal(size=(rng.integers(3, LARGEST), width)) for modality, width in WIDTHS.items()}


def dataset_file(clips):
    """What MMSA-FET's `run_dataset` writes: arrays padded with zeros at their end, as float64."""
    content = {}
    for split in SPLITS:
        rows = clips[clips["split"] == split]
        found = [Tool.run_single(f"clips/{name}.mp4") for name in rows["id"]]
        fields = {
            "id": rows["id"].to_numpy(str),
            "raw_text": rows["text"].to_numpy(str),
            "annotations": ["Neutral"] * len(rows),
        }
        fields["regression_labels"] = rows["label"].to_numpy()
        for modality, width in WIDTHS.items():
            fields[modality] = np.zeros((len(rows), LARGEST, width))
            fields[f"{modality}_lengths"] = np.array([len(each[modality]) for each in found])
            for place, each in enumerate(found):
                fields[modality][place, : len(each[modality])] = each[modality]
        content[split] = fields
    return content


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A top folder with the page's table, its preset, and a file of `run_dataset`."""
    rng = np.random.default_rng(0)
    clips = pd.DataFrame(
        {
            "id": [f"{row:03d}" for row in range(30)],
            "split": ["train"] * 18 + ["valid"] * 6 + ["test"] * 6,
            "text": [f"I found the film {word}" for word in rng.choice(["good", "dull", "great", "bad"], 30)],
            "label": rng.uniform(-3, 3, 30).round(1),
        }
    )
    clips.to_csv(tmp_path / "clips.csv", index=False)
    clips[:4].assign(id=["n1", "n2", "n3", "NA"])[["id", "text"]].to_csv(tmp_path / "new_clips.csv", index=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "feature.pkl").write_bytes(pickle.dumps(dataset_file(clips)))
    shutil.copytree(paths.CONFIG, tmp_path / "config")
    (tmp_path / "config" / "datasets" / "my_clips.yaml").write_text(PRESET)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "CONFIG", tmp_path / "config")
    monkeypatch.setitem(sys.modules, "MSA_FET", types.SimpleNamespace(FeatureExtractionTool=Tool))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs_from_clips_to_predictions(project, capsys):
    names = {}
    for block in BLOCKS:
        exec(block, names)
    assert "field" not in capsys.readouterr().out, "the file of run_dataset is sound"
    table = pd.read_csv(project / "predictions.csv", dtype={"id": str}, keep_default_na=False)
    assert table["id"].tolist() == ["n1", "n2", "n3", "NA"]
    pd.testing.assert_frame_equal(names["again"], names["table"], check_exact=True)
    assert len(pd.read_csv(project / "labels.csv")) == 18 * 3  # of the train split, at the start and after two epochs
    assert [len(names["sharded"].provenance["data"]["shards"]), len(names["sharded"].predictions)] == [3, 30]
    written, extracted = (
        load_features(project / "data" / "my_clips.pkl"),
        load_features(project / "data" / "feature.pkl"),
    )
    for split, features in written.items():
        assert features.ids == extracted[split].ids and len(features) == {"train": 18, "valid": 6, "test": 6}[split]
        for modality in WIDTHS:
            assert features.sequences[modality].values.equal(extracted[split].sequences[modality].values)
