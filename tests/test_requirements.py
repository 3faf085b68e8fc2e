"""Oracles: the memory that recorded runs took, and files whose sizes are chosen."""

import json

import pandas as pd
import pytest

from msa_core import paths
from msa_core.config import resolve
from msa_core.requirements import encoder_folder, memory

RECORDED = sorted(file.parent.name for file in paths.RECORDS.glob("*/runs.parquet") if file.parent.name != "arithmetic")


@pytest.mark.parametrize("grid", RECORDED)
def test_no_recorded_run_took_more_or_far_less_than_estimated(grid):
    """Without their feature files the estimate knows nothing of the data, which are small in these."""
    runs = pd.read_parquet(paths.RECORDS / grid / "runs.parquet")
    runs["peak"] = [json.loads(provenance)["peak_memory"] for provenance in runs["provenance"]]
    for (dataset, variant), peak in runs.groupby(["dataset", "variant"])["peak"].max().items():
        assert 0.4 < peak / memory(resolve(dataset, variant)) < 0.9


def config(folder, **overrides):
    changes = {"text.encoder": str(folder / "encoder")} | overrides
    return resolve("mosi", features=str(folder / "features.pkl"), overrides=changes)


def sized(file, size):
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as content:
        content.truncate(size)


def test_files_count_by_what_a_run_does_with_them(tmp_path):
    """A gigabyte of each is that of a batch."""
    nothing = memory(config(tmp_path))
    sized(tmp_path / "features.pkl", 5 * 10**9)
    assert memory(config(tmp_path)) - nothing == 6 * 10**9
    sized(tmp_path / "features.pkl.cache", 10**9)
    assert memory(config(tmp_path)) - nothing == 2 * 10**9
    assert memory(config(tmp_path, **{"training.precision": "float64"})) - nothing == 4 * 10**9
    assert memory(config(tmp_path, **{"dataset.resplit": True})) - nothing == 3 * 10**9
    assert memory(config(tmp_path, **{"dataset.cache_folder": str(tmp_path / "elsewhere")})) - nothing == 6 * 10**9
    sized(tmp_path / "features.pkl.cache.text-0a", 10**8)
    assert memory(config(tmp_path, **{"text.frozen": True})) - nothing == 21 * 10**8
    sized(tmp_path / "encoder" / "model.safetensors", 10**8)
    assert memory(config(tmp_path)) - nothing == 29 * 10**8
    assert memory(config(tmp_path, **{"text.frozen": True})) - nothing == 26 * 10**8


def test_an_encoder_of_the_hub_is_found_in_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--some--bert" / "snapshots" / "0a"
    sized_config = kept / "config.json"
    assert str(encoder_folder("some/bert")) == "some/bert"
    kept.mkdir(parents=True)
    sized_config.write_text("{}")
    (kept.parent.parent / "refs").mkdir()
    (kept.parent.parent / "refs" / "main").write_text("0a")
    assert encoder_folder("some/bert") == kept
    assert str(encoder_folder("a/folder/of/mine")) == "a/folder/of/mine"
