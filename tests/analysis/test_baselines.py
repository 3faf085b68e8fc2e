"""Oracles: pooling by hand, the ridge regression's normal equations in numpy."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from msa_core.analysis import tables
from msa_core.analysis.baselines import baselines, pooled
from msa_core.analysis.probes import label_probes
from msa_core.data import FeatureSet, Ragged, planted_features


def split(name, text, audio, labels):
    return FeatureSet(
        split=name,
        ids=[f"{name}-{i}" for i in range(len(labels))],
        labels=torch.tensor(labels),
        label_bound=3.0,
        sequences={
            "text": Ragged.of(list(map(torch.tensor, text))),
            "audio": Ragged.of(list(map(torch.tensor, audio))),
        },
    )


def test_pooling_by_hand():
    features = split("train", [[7, 9, 7], [8]], [[[1.0], [3.0]], [[5.0]]], [1.0, -1.0])
    expected = [[2, 1, 2.0, 1.0], [0, 0, 5.0, 0.0]]  # 8 is not counted; mean and standard deviation of the frames
    np.testing.assert_array_equal(pooled(features, torch.tensor([7, 9])), expected)
    absent = features.dropping("audio", 1.0, seed=0)
    np.testing.assert_array_equal(pooled(absent, torch.tensor([7, 9]))[:, 2:], np.zeros((2, 2)))
    states = replace(features, sequences={"text": Ragged.of([torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]])])})
    np.testing.assert_array_equal(pooled(states, torch.empty(0)), [[2.0, 1.0], [5.0, 0.0]])


def test_the_median_and_the_ridge_regression_of_planted_data():
    data = planted_features(num_train=80, num_valid=2, num_test=60)
    table = baselines(data, "mosi").set_index(["baseline", "metric"])["value"]
    train, test = (data[name] for name in ("train", "test"))
    y, truth = train.labels.double().numpy(), test.labels.double().numpy()
    assert table["train_median", "mae"] == pytest.approx(np.abs(truth - np.median(y)).mean(), rel=1e-12)
    assert np.isnan(table["train_median", "corr"])
    x, z = (pooled(part, train.sequences["text"].values.unique()) for part in (train, test))
    spread = np.where(x.std(0) > 0, x.std(0), 1)
    x, z = (x - x.mean(0)) / spread, (z - x.mean(0)) / spread
    errors = {}
    for penalty in np.logspace(-2, 6, 17):
        hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T) + 1 / len(y)
        left_out = (y - y.mean() - (hat - 1 / len(y)) @ (y - y.mean())) / (1 - np.diag(hat))
        errors[(left_out**2).mean()] = penalty
    best = errors[min(errors)]
    weights = np.linalg.solve(x.T @ x + best * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    assert table["ridge", "mae"] == pytest.approx(np.abs(truth - z @ weights - y.mean()).mean(), rel=1e-6)
    assert table["ridge", "mae"] < table["train_median", "mae"]


def test_baselines_are_rows_of_the_main_table():
    keys = {"dataset": "a", "title": "A", "seed": 1, "metric": "mae", "split": "test", "task": "multimodal"}
    of_paper = keys | {"variant": "paper"}
    metrics = pd.DataFrame([of_paper | {"value": 0.5}, of_paper | {"dataset": "b", "title": "B", "value": 1.0}])
    known = pd.DataFrame([of_paper | {"baseline": "ridge", "value": 0.75}]).drop(columns=["split", "task"])
    table = tables.main_table(tables.with_baselines(metrics, known))
    assert table[["title", "variant", "mean"]].values.tolist() == [
        ["A", "paper", 0.5],
        ["A", "ridge", 0.75],
        ["B", "paper", 1.0],
    ]
    assert table["difference_mean"].iloc[1] == 0.25
    assert tables.with_baselines(metrics, known.iloc[:0]) is metrics


def test_a_mean_that_is_nan_is_a_dash():
    row = {"dataset": "a", "title": "A", "seed": 1, "metric": "corr", "split": "test", "task": "multimodal"}
    table = tables.main_table(pd.DataFrame([row | {"variant": "train_median", "value": np.nan}]))
    assert "| –" in tables.main_markdown(table)


def test_samples_without_a_label_have_no_part():
    """As if the train split had the labelled samples alone."""
    data = planted_features(num_train=40, num_valid=2, num_test=20)
    train = data["train"].hiding_labels(share=0.5, one_modality=0.5, seed=0)
    known = (~train.labels.isnan()).nonzero().flatten()
    sequences = {name: Ragged.from_lengths(*ragged.rows(known)) for name, ragged in train.sequences.items()}
    alone = replace(train, ids=[train.ids[i] for i in known], labels=train.labels[known], sequences=sequences)
    # Words of the unlabelled samples alone are columns of zeros, which change nothing.
    expected = baselines(data | {"train": alone}, "mosi")
    found = baselines(data | {"train": train}, "mosi")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
    pd.testing.assert_frame_equal(label_probes(data | {"train": train}), label_probes(data | {"train": alone}))
    assert not baselines(data, "mosi").equals(found)
