"""Oracle: numbers worked by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from msa_core import tables
from msa_core.data import planted_features


def long(values):
    """{(variant, seed): mae} as `records.read_metrics` gives it, with rows of other splits and tasks to be left out."""
    rows = []
    for (variant, seed), mae in values.items():
        row = {"dataset": "d", "title": "D", "variant": variant, "seed": seed, "metric": "mae", "value": mae}
        rows += [{**row, "split": "test", "task": "multimodal"}]
        rows += [
            {**row, "split": "valid", "task": "multimodal", "value": 99},
            {**row, "split": "test", "task": "text", "value": 99},
        ]
    return pd.DataFrame(rows)


METRICS = long({("paper", 1): 0.5, ("paper", 2): 0.7, ("other", 1): 0.4, ("other", 2): 0.9, ("other", 3): 5.0})


def test_main_table_by_hand():
    table = tables.main_table(METRICS).set_index("variant")
    assert list(table.index) == ["paper", "other"]
    assert table.loc["paper", "mean"] == pytest.approx(0.6)
    assert table.loc["paper", "std"] == pytest.approx(np.sqrt(2 * 0.1**2))  # n - 1 = 1
    assert table.loc["paper", ["n", "seeds", "difference_n"]].tolist() == [2, "1 2", 0]
    assert np.isnan(table.loc["paper", "difference_mean"])
    # Paired on seeds 1 and 2 alone: -0.1 and +0.2.
    assert table.loc["other", ["n", "seeds", "difference_n"]].tolist() == [3, "1 2 3", 2]
    assert table.loc["other", "difference_mean"] == pytest.approx(0.05)
    assert table.loc["other", "difference_std"] == pytest.approx(0.3 / np.sqrt(2))


def test_a_metric_that_is_nan_for_one_seed_has_no_mean():
    table = tables.main_table(long({("paper", 1): 0.5, ("paper", 2): np.nan}))
    assert table["mean"].isna().all()
    assert table["n"].tolist() == [2]


def test_markdown_shows_spread_n_and_seeds():
    lines = tables.main_markdown(tables.main_table(METRICS)).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["Data", "Variant", "MAE ↓", "n", "Seeds"]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["D", "paper", "0.6000 ± 0.1414", "2", "1 2"]
    assert len(lines) == 4


def test_one_seed_has_no_spread_in_markdown():
    assert "± " not in tables.main_markdown(tables.main_table(long({("paper", 1): 0.5})))


def test_run_table():
    table = tables.run_table(
        {"valid": {"multimodal": {"mae": 1.0}}, "test": {"multimodal": {"mae": 2.0}, "text": {"mae": 3.0}}}
    )
    assert table["mae"].to_dict() == {("valid", "multimodal"): 1.0, ("test", "multimodal"): 2.0, ("test", "text"): 3.0}


def test_label_agreement_by_hand():
    labels = pd.DataFrame(
        {"id": ["a", "b", "a", "b"], "epoch": [0, 0, 1, 1], "multimodal": 0.0, "text": [1.0, 2.0, 3.0, -1.0]}
    )
    true = pd.DataFrame({"id": ["b", "a"], "text": [2.0, 2.0 - 1.0]})
    table = tables.label_agreement(labels, true)
    assert table[["epoch", "modality", "mae"]].values.tolist() == [[0, "text", 0.0], [1, "text", 2.5]]
    assert table["corr"].tolist() == pytest.approx([1.0, -1.0])


def test_variance_table_by_hand():
    spectra = {
        "audio/spectrum/before": np.array([1.0, 1.0, 1.0, 1.0]),
        "audio/spectrum/after": np.array([8.0, 0.0, 0.0, 0.0]),
    }
    table = tables.variance_table({**spectra, "audio/covariance/before": np.eye(4)})
    assert table.loc[("audio", "before"), "effective rank"] == pytest.approx(4)
    assert table.loc[("audio", "after"), "effective rank"] == pytest.approx(1)
    assert table["total variance"].tolist() == [4.0, 8.0]


def test_data_and_example_tables():
    data = planted_features(num_train=9, num_valid=2, num_test=2)
    table = tables.data_table(data)
    assert table.loc[("train", "vision"), "width"] == 20
    assert table.loc[("train", "audio"), "longest"] == int(data["train"].sequences["audio"].lengths.max())
    examples = tables.example_table(data["train"], 3)
    assert len(examples) == 3
    first = data["train"].ids.index(examples.index[0])
    assert examples["label"].iloc[0] == pytest.approx(data["train"].labels.min().item())
    assert examples["text"].iloc[0] == data["train"].raw_text[first]
    assert examples["label"].iloc[-1] == pytest.approx(torch.max(data["train"].labels).item())
