"""What a reader would see: panels, axis names, the numbers drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from test_tables import long

from msa_core.analysis import plots, tables


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_main_comparison_draws_every_seed_and_the_mean():
    figure = plots.main_comparison(long({("a", 1): 0.5, ("a", 2): 0.7, ("b", 1): 0.4, ("b", 2): 0.9}))
    (axis,) = figure.axes
    drawn = [collection.get_offsets()[:, 1].tolist() for collection in axis.collections]
    assert drawn == [pytest.approx([0.5, 0.4]), pytest.approx([0.7, 0.9]), pytest.approx([0.6, 0.65])]
    first, second = (line.get_color() for line in axis.lines)
    assert tuple(first) != tuple(second)  # each seed can be followed
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert axis.get_ylabel() == "test MAE"
    assert axis.get_title(loc="left") == "D, n = 2 seeds\nlower is better"


def test_a_seed_has_the_colour_of_its_rank_under_the_first_variant():
    """The same seed, lowest under the first variant, has the same colour wherever it stands in the frame."""
    colours = []
    for low, high in ((1, 2), (2, 1)):
        (axis,) = plots.main_comparison(long({("a", low): 0.5, ("a", high): 0.7, ("b", low): 2, ("b", high): 1})).axes
        colours.append([tuple(line.get_color()) for line in axis.lines if line.get_ydata()[0] == 0.5])
    assert colours[0] == colours[1]


def test_main_comparison_has_a_row_for_each_data_set():
    first, second = long({("a", 1): 0.5, ("b", 1): 0.4}), long({("a", 1): 1.5, ("b", 1): 1.4})
    figure = plots.main_comparison(pd.concat([first, second.assign(title="E", dataset="e")]))
    assert [axis.collections[0].get_offsets()[:, 1].tolist() for axis in figure.axes] == [[0.5, 0.4], [1.5, 1.4]]


@pytest.mark.parametrize("metric", ["acc2_non0", "acc2"])
def test_main_comparison_shows_the_binary_accuracy_that_a_data_set_has(metric):
    mae = long({("a", 1): 0.5, ("b", 1): 0.4})
    figure = plots.main_comparison(pd.concat([mae, mae.assign(metric=metric), mae.assign(metric="acc5")]))
    assert [axis.get_ylabel() for axis in figure.axes] == ["test MAE", f"test {tables.METRIC_TITLES[metric]}"]


def test_forest_draws_differences_and_intervals_of_each_data_set():
    row = {"metric": "mae", "n_samples": 40, "n_seeds": 3}
    rows = [
        {"title": "D", "variant": "v", "difference": 0.05, "low": -0.1, "high": 0.2},
        {"title": "D", "variant": "w", "difference": -0.3, "low": -0.4, "high": -0.2},
        {"title": "E", "variant": "v", "difference": 0.7, "low": 0.6, "high": 0.8},
        {"title": "E", "variant": "once", "difference": np.nan, "low": np.nan, "high": np.nan},
    ]
    figure = plots.forest(pd.DataFrame(rows).assign(**row))
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["v (3)", "w (3)"]
    ends = [segment[:, 0].tolist() for segment in first.collections[0].get_segments()]
    assert ends == [pytest.approx([-0.1, 0.2]), pytest.approx([-0.4, -0.2])]
    assert first.collections[-1].get_offsets()[:, 0].tolist() == pytest.approx([0.05, -0.3])
    assert [label.get_text() for label in second.get_yticklabels()] == ["v (3)"]
    assert second.get_title(loc="left") == "E, 40 test samples (seeds in brackets)"
    assert first.get_xlabel() == "test MAE less that of paper (lower is better)"


def test_forest_of_nothing_says_so():
    columns = ["title", "variant", "metric", "difference"]
    figure = plots.forest(pd.DataFrame([["D", "v", "mae", np.nan]], columns=columns))
    assert "no finished run to compare" in figure.texts[0].get_text()


def test_loss_terms_draws_each_term():
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss_multimodal": [1.0, 0.5], "loss_text": [0.0, 0.2], "valid_mae": [0.9, 0.8]}
    )
    assert len(plots.loss_terms(history, 2).axes) == 2
    figure = plots.loss_terms(history.assign(loss_alignment_audio_vision=[0.1, 0.2]), 2)
    assert len(figure.axes) == 3
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_ydata(), [0.1, 0.2])
    assert figure.axes[2].get_ylim()[0] == 0
    negative = plots.loss_terms(history.assign(loss_alignment_audio_vision=[-0.1, 0.2]), 2)
    assert [axis.get_ylim()[0] for axis in negative.axes] == [0, 0, -0.1]


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


def followed_labels():
    epochs = [pd.DataFrame({"id": list("abc"), "epoch": e, "multimodal": [-1.0, 0, 2], "text": 1.0}) for e in range(5)]
    return pd.concat(epochs).assign(text=lambda frame: frame["multimodal"] - 0.1 * frame["epoch"])


def test_label_distributions_show_the_first_the_last_and_the_true():
    true = pd.DataFrame({"id": list("abc"), "text": [0.0, 1.0, 2.0]})
    (axis,) = plots.label_distributions(followed_labels(), 3, true, number=3).axes
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0\n(y)", "2", "4", "true"]
    lowest = [body.get_paths()[0].vertices[:, 1].min() for body in axis.collections]
    assert lowest == pytest.approx([-1.0, -1.2, -1.4, 0.0])
    (axis,) = plots.label_distributions(followed_labels(), 3, number=2).axes
    assert len(axis.collections) == 2


def test_label_paths_carry_their_text():
    true = pd.DataFrame({"id": list("abc"), "text": [0.0, 1.0, 2.5]})
    figure = plots.label_paths(followed_labels(), {i: f"said $_{i}$" for i in "abc"}, 3, true, followed=3)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["said $_a$", "said $_b$", "said $_c$"]
    silent = followed_labels().rename(columns={"text": "audio"}).assign(text=np.nan)  # as among runs that have text
    panel, *_ = plots.label_paths(silent, {i: f"clip {i}" for i in "abc"}, 3, followed=3).axes
    assert panel.get_title(loc="left") == "clip a (no transcript)"
    assert [line.get_label() for line in panel.lines] == ["y", "audio"]
    figure.canvas.draw()  # the dollars are no formula's
    y, path = figure.axes[2].lines
    assert set(y.get_ydata()) == {2.0}
    np.testing.assert_allclose(path.get_ydata(), [2.0, 1.9, 1.8, 1.7, 1.6])
    assert figure.axes[2].collections[0].get_offsets()[0, 1] == 2.5
    assert len(plots.label_paths(followed_labels(), {i: i for i in "abc"}, 3, followed=2).axes[0].collections) == 0


def test_label_movement_draws_a_line_a_seed_and_a_row_a_variant():
    movement = pd.DataFrame(
        [
            {"variant": variant, "seed": seed, "modality": "text", "epoch": epoch, "moved": 0.1 * seed * epoch}
            for variant in ("a", "b")
            for seed in (1, 2)
            for epoch in (1, 2)
        ]
    ).assign(flipped=0.25, opposite=0.5)
    longer = movement[movement["variant"] == "a"].assign(variant="c", epoch=lambda frame: 9 * frame["epoch"])
    ranges = {axis.get_xlim() for axis in plots.label_movement(pd.concat([movement, longer]), 3).axes}
    assert len(ranges) == 1  # rows can be compared
    axes = plots.label_movement(movement, 3).axes
    assert [axis.get_title(loc="left") for axis in axes[::3]] == ["a, n = 2 seeds", "b, n = 2 seeds"]
    first, second, threshold = axes[3].lines
    assert first.get_ydata().tolist() == pytest.approx([0.1, 0.2])
    assert second.get_ydata().tolist() == pytest.approx([0.2, 0.4])
    assert threshold.get_ydata()[0] == pytest.approx(0.03)
    assert axes[5].lines[0].get_ydata().tolist() == [0.5, 0.5]


def test_label_agreement_marks_copying_y():
    agreement = pd.DataFrame({"epoch": [0, 1], "modality": "text", "mae": [0.5, 0.4], "corr": [0.8, 0.9]})
    agreement = pd.concat([agreement.assign(variant="a", seed=seed) for seed in (1, 2)])
    figure = plots.label_agreement(agreement)
    *lines, copied = figure.axes[0].lines
    assert [line.get_ydata().tolist() for line in lines] == [[0.5, 0.4]] * 2
    assert copied.get_ydata()[0] == 0.5


def second_order_arrays(vision_width=3):
    rng = np.random.default_rng(0)
    alignment = {}
    for modality, scale, width in (("audio", 1.0, 3), ("vision", 5.0, vision_width)):
        for when in ("before", "after"):
            cov = np.cov(scale * rng.standard_normal((width, 50)))
            alignment[f"{modality}/covariance/{when}"] = cov
            alignment[f"{modality}/spectrum/{when}"] = np.linalg.eigvalsh(cov)[::-1]
    return alignment


def test_covariances_share_one_colour_scale_and_end_with_the_difference():
    alignment = second_order_arrays()
    figure = plots.covariances({"paper": alignment, "other": alignment}, ("audio", "vision"))
    images = [axis.images[0] for axis in figure.axes if axis.images]
    assert len(images) == 3 * 4
    limits = {image.get_clim() for image in images}
    assert len(limits) == 1
    ((low, high),) = limits
    assert low == -high
    difference = alignment["audio/covariance/after"] - alignment["vision/covariance/after"]
    np.testing.assert_array_equal(images[9].get_array(), difference)
    assert figure.axes[8].get_ylabel() == "audio − vision\n(3 features)"


def test_a_wide_covariance_is_shown_in_blocks_that_cover_it():
    """A block's mean is the covariance of the block's mean features, computed here from the features themselves."""
    features = np.random.default_rng(0).standard_normal((50, 150))
    matrix = np.cov(features.T)
    runs = {"paper": {f"text/covariance/{when}": matrix for when in ("before", "after")}}
    before, _ = (axis for axis in plots.covariances(runs, ("text",)).axes if axis.images)
    shown = before.images[0].get_array()
    assert shown.shape == (64, 64)
    edges = np.unique(np.linspace(0, 150, 64, endpoint=False).astype(int))
    means = np.stack([part.mean(axis=1) for part in np.split(features, edges[1:], axis=1)])
    np.testing.assert_allclose(shown, np.cov(means))
    assert before.images[0].get_interpolation() == "nearest"
    assert before.get_ylabel() == "text\n(150 features in 64 blocks)"


def test_covariances_of_unequal_width_have_no_difference():
    figure = plots.covariances({"paper": second_order_arrays(vision_width=4)}, ("audio", "vision"))
    assert sum(bool(axis.images) for axis in figure.axes) == 2 * 2


def test_spectra_draw_the_common_start_once_and_each_variant_after():
    arrays = second_order_arrays(vision_width=4)
    paper = tables.spectra(arrays).assign(variant="paper", seed=1)
    other = paper.assign(variant="other", variance=lambda frame: frame["variance"] * (1 + (frame["when"] == "after")))
    seeds = [frame.assign(seed=2, variance=3 * frame["variance"]) for frame in (paper, other)]
    figure = plots.spectra(pd.concat([paper, other, *seeds]))
    assert [axis.get_title() for axis in figure.axes] == ["audio", "vision"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["before", "paper, after", "other, after"]
    before, after, of_other = figure.axes[1].lines
    np.testing.assert_allclose(before.get_ydata(), 2 * arrays["vision/spectrum/before"])  # of 1 and 3 times it
    np.testing.assert_allclose(of_other.get_ydata(), 2 * after.get_ydata())
    assert after.get_linestyle() != of_other.get_linestyle()  # where they coincide, both are seen


def test_spectra_of_other_starts_are_all_shown():
    paper = tables.spectra(second_order_arrays()).assign(variant="paper", seed=1)
    figure = plots.spectra(pd.concat([paper, paper.assign(variant="other", variance=2 * paper["variance"])]))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["paper, before", "paper, after", "other, before", "other, after"]


def test_alignment_distances_leave_out_what_was_not_measured():
    measured = tables.second_order(second_order_arrays(), [("audio", "vision")])
    measured = pd.concat([measured.assign(variant=variant, seed=1) for variant in ("paper", "other")])
    history = pd.DataFrame({"variant": "other", "seed": 1, "epoch": [1, 2], "distance": [0.5, 0.25]})
    training, covariance, correlation = plots.alignment_distances(history, measured).axes
    assert [line.get_ydata().tolist() for line in training.lines] == [[0.5, 0.25]]
    of_other = covariance.collections[4].get_facecolor()[0]  # dots and bar of: before, paper, other
    assert to_hex(of_other) == to_hex(training.lines[0].get_color())  # one colour a variant
    assert [tick.get_text() for tick in covariance.get_xticklabels()] == ["before", "paper,\nafter", "other,\nafter"]
    assert covariance.get_ylabel() == "covariance distance"
    expected = measured.query("measure == 'correlation distance' and variant == 'paper'")["value"]
    shown = [correlation.collections[place].get_offsets()[0, 1] for place in (0, 2)]
    np.testing.assert_array_equal(shown, expected)
    without = plots.alignment_distances(history.iloc[:0], measured[measured["modality"] == "audio"])
    assert len(without.axes) == 1
    assert not without.axes[0].lines


def test_r2_dots_have_a_panel_for_each_pair_and_a_dot_for_each_seed():
    rows = [("audio", "vision", 0.1), ("audio", "vision", 0.3), ("vision", "audio", 0.5), ("vision", "audio", 0.7)]
    r2 = pd.DataFrame(rows, columns=["source", "target", "r2"]).assign(variant="paper", seed=[1, 2, 1, 2])
    axes = plots.r2_dots(r2, "source", "target").axes
    assert [axis.get_title() for axis in axes] == ["audio → vision", "vision → audio"]
    dots, means = axes[0].collections
    assert dots.get_offsets()[:, 0].tolist() == pytest.approx([0.1, 0.3])
    assert means.get_offsets()[:, 0].tolist() == pytest.approx([0.2])
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["paper"]


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
    assert left.get_title(loc="left") == "text encoder a\nstep of 10 ms, n = 7 batches"
    assert left.get_xlabel() == "added to a step (%)"


def test_step_differences_are_a_line_for_each_arithmetic_and_leave_out_what_is_equal():
    keys = {"variant": "paper", "seed": 1, "arithmetic": "AVX2"}
    rows = [
        keys | {"precision": p, "step": s, "difference": d} for p, s, d in [("float32", 1, 0.0), ("float32", 2, 1e-7)]
    ]
    rows += [keys | {"precision": "float64", "step": s, "difference": 1e-15} for s in (1, 2)]
    left, right = plots.step_differences(pd.DataFrame(rows)).axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [np.nan, 1e-7])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [1e-15, 1e-15])
    assert (left.get_title(), right.get_title()) == ("float32", "float64")
    assert left.get_yscale() == "log" and left.get_ylabel() == "relative difference of the training loss"


def test_mae_by_arithmetic_shows_each_seed_under_each():
    runs = pd.DataFrame(
        {
            "dataset": "planted",
            "variant": "paper",
            "seed": [1, 1, 2, 2],
            "arithmetic": ["default", "AVX2"] * 2,
            "test_mae": [0.5, 0.6, 0.7, 0.55],
        }
    )
    (axis,) = plots.mae_by_arithmetic(runs).axes
    drawn = [collection.get_offsets()[:, 1].tolist() for collection in axis.collections[1:]]
    assert drawn == [[0.5, 0.7], [0.6, 0.55]]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2"]


def test_interventions_are_a_line_each_and_the_median_over_seeds():
    keys = {"precision": "float32", "perturbation": 0.0, "intervention": "none"}
    rows = [keys | {"seed": seed, "step": 1, "difference": d} for seed, d in [(1, 0.0), (2, 1e-6), (3, 3e-6)]]
    rows += [keys | {"seed": 1, "step": 1, "difference": 1e-8, "intervention": "smooth loss"}]
    rows += [keys | {"seed": 1, "step": 1, "difference": 1e-9, "precision": "float64", "perturbation": 1e-8}]
    left, right = plots.interventions(pd.DataFrame(rows)).axes
    np.testing.assert_allclose([line.get_ydata()[0] for line in left.lines], [2e-6, 1e-8])
    assert [line.get_label() for line in left.lines] == ["none", "smooth loss"]
    assert len({(line.get_color(), line.get_linestyle()) for line in left.lines}) == 2
    assert (left.get_title(), right.get_title()) == ("float32, two arithmetics", "float64, perturbed by 1e-08")
    assert left.get_yscale() == "log"


def test_primary_gains_have_their_interval_and_verdict_in_the_panel_of_their_unit():
    claims = pd.DataFrame(
        {
            "primary": [True, True, True, False],
            "claim": ["first: `a` against `b`", "second: `a` against `c`", "third: `a` against `d`", "not shown"],
            "unit": ["test MAE", "test MAE", "MAE of labels", "test MAE"],
            "estimate": [0.02, -0.03, -0.3, 1.0],
            "low": [0.01, -0.04, -0.4, 0.9],
            "high": [0.03, -0.02, -0.2, 1.1],
            "smallest": 0.01,
            "verdict": ["gains", "harms", "harms", "gains"],
        }
    )
    mae, labels = plots.primary_gains(claims).axes
    assert [label.get_text() for label in mae.get_yticklabels()] == ["first", "second"]
    assert [label.get_text() for label in labels.get_yticklabels()] == ["third"]
    points = mae.containers[0]
    assert points.lines[0].get_xdata(orig=False).tolist() == [0.02, -0.03]
    assert [[end[0] for end in segment] for segment in points.lines[2][0].get_segments()] == [
        pytest.approx([0.01, 0.03]),
        pytest.approx([-0.04, -0.02]),
    ]
    assert [label.get_text() for label in mae.child_axes[0].get_yticklabels()] == ["gains", "harms"]
    assert "no run" in plots.primary_gains(claims.assign(primary=False)).texts[0].get_text()
