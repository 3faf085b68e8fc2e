"""What a reader would see: panels, axis names, the numbers drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from test_tables import long

from msa_core import plots


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_main_comparison_draws_every_seed_and_the_mean():
    figure = plots.main_comparison(long({("a", 1): 0.5, ("a", 2): 0.7, ("b", 1): 0.4, ("b", 2): 0.9}), shown=("mae",))
    (axis,) = figure.axes
    drawn = [collection.get_offsets()[:, 1].tolist() for collection in axis.collections]
    assert drawn == [pytest.approx([0.5, 0.4]), pytest.approx([0.7, 0.9]), pytest.approx([0.6, 0.65])]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert axis.get_ylabel() == "test MAE"
    assert axis.get_title(loc="left") == "D, n = 2 seeds\nMAE, lower is better"


def test_main_comparison_has_a_row_for_each_data_set():
    first, second = long({("a", 1): 0.5, ("b", 1): 0.4}), long({("a", 1): 1.5, ("b", 1): 1.4})
    figure = plots.main_comparison(pd.concat([first, second.assign(title="E", dataset="e")]), shown=("mae",))
    assert [axis.collections[0].get_offsets()[:, 1].tolist() for axis in figure.axes] == [[0.5, 0.4], [1.5, 1.4]]


def test_loss_terms_draws_each_term():
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss_multimodal": [1.0, 0.5], "loss_text": [0.0, 0.2], "valid_mae": [0.9, 0.8]}
    )
    assert len(plots.loss_terms(history, 2).axes) == 2
    figure = plots.loss_terms(history.assign(loss_alignment_audio_vision=[0.1, 0.2]), 2)
    assert len(figure.axes) == 3
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_ydata(), [0.1, 0.2])


def test_label_trajectories_follow_utterances():
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "id": [f"u{i}" for i in range(10)],
                "epoch": epoch,
                "multimodal": np.linspace(-3, 3, 10),
                "text": rng.uniform(-3, 3, 10),
            }
        )
        for epoch in range(4)
    ]
    labels = pd.concat(frames)
    figure = plots.label_trajectories(labels, 3, followed=4)
    top, bottom = figure.axes
    assert len(bottom.lines) == 4
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), labels.loc[labels["id"] == "u0", "text"])
    offsets = (labels["text"] - labels["multimodal"]).groupby(labels["epoch"]).median()
    np.testing.assert_allclose(top.lines[0].get_ydata(), offsets)
    assert bottom.get_ylim() == pytest.approx((-3.15, 3.15))


def test_label_agreement_marks_copying_y():
    agreement = pd.DataFrame({"epoch": [0, 1], "modality": "text", "mae": [0.5, 0.4], "corr": [0.8, 0.9]})
    figure = plots.label_agreement(agreement)
    assert figure.axes[0].lines[1].get_ydata()[0] == 0.5


def test_covariances_share_one_colour_scale():
    rng = np.random.default_rng(0)
    alignment = {}
    for modality, scale in (("audio", 1.0), ("vision", 5.0)):
        for when in ("before", "after"):
            cov = np.cov(scale * rng.standard_normal((3, 50)))
            alignment[f"{modality}/covariance/{when}"] = cov
            alignment[f"{modality}/spectrum/{when}"] = np.linalg.eigvalsh(cov)[::-1]
    figure = plots.covariances(alignment, ("audio", "vision"))
    limits = {axis.images[0].get_clim() for axis in figure.axes if axis.images}
    assert len(limits) == 1
    ((low, high),) = limits
    assert low == -high


def test_histograms_are_shares_of_each_split():
    labels = pd.DataFrame(
        {"split": ["train"] * 4 + ["valid"] * 2 + ["test"] * 2, "label": [-3, 0, 0, 3, 1, 1, -1, 2.0]}
    )
    for axis in plots.label_histograms(labels, 3).axes:
        assert sum(bar.get_height() for bar in axis.patches) == pytest.approx(1)


def test_unimodal_against_multimodal_names_the_correlation():
    labels = pd.DataFrame({"multimodal": [1.0, 2.0, 3.0], "text": [1.0, 2.0, 3.0], "audio": [3.0, 2.0, 1.0]})
    figure = plots.unimodal_against_multimodal(labels)
    assert [axis.get_title() for axis in figure.axes] == ["text (correlation 1.00)", "audio (correlation -1.00)"]


def test_cost_of_parts_shows_what_each_part_adds():
    parts = pd.DataFrame(
        {
            "text_encoder": ["a"] * 3 + ["b"] * 3,
            "part": ["base", "+ one", "+ two"] * 2,
            "step_ms": [10.0, 11, 12] * 2,
            "added_percent": [np.nan, 10, 20, np.nan, 1, 2],
            "low": [np.nan, 8, 19, np.nan, 0, 1],
            "high": [np.nan, 13, 22, np.nan, 2, 3],
            "n": [7] * 6,
        }
    )
    left, right = plots.cost_of_parts(parts).axes
    assert left.lines[0].get_xdata().tolist() == [20, 10]
    assert right.lines[0].get_xdata().tolist() == [2, 1]
    assert [label.get_text() for label in left.get_yticklabels()] == ["+ two", "+ one"]
    (bars,) = left.collections
    np.testing.assert_allclose([path[:, 0] for path in bars.get_segments()], [[19, 22], [8, 13]])
    assert left.get_title(loc="left") == "text encoder a, step of 10 ms"
    assert left.get_xlabel() == "added to a step (%), median of 7 batches"
