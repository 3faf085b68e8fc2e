"""msa_core/analysis/sweeps.py and its figures. Oracles: scipy's paired t-test, and counts by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from scipy.stats import ttest_rel

from msa_core.analysis import plots, sweeps
from msa_core.analysis.claims_rule import HARMS, NO_GAIN, UNDECIDED, verdict
from msa_core.analysis.comparisons import crossed_interval
from msa_core.config import Sweep

REFERENCES = {"no_alignment": "alignment", "no_label_generation": "label generation", "multimodal_only": "both"}
SHARED = {part: {"dataset.planted.shared_part": part} for part in (0.2, 0.8)}
STUDY = Sweep(
    question=1,
    title="Where?",
    dataset="planted_phase",
    factors={
        "signal_to_noise": {0.5: {"dataset.planted.signal_to_noise": {"audio": 0.5, "vision": 0.5}}},
        "shared_part": SHARED,
        "label_noise": {0.5: {"dataset.planted.label_noise": 0.5}},
    },
    comparisons={"paper": list(REFERENCES)},
    weights=[1.0, 10.0],
    weight_seeds=[1, 2],
    seeds=[5, 6, 7],
)
MAE = {  # no_label_generation is 0.1 better than paper, no_alignment worse, multimodal_only now better, now worse
    "paper": [0.5, 0.6, 0.7],
    "no_alignment": [0.52, 0.63, 0.715],
    "no_label_generation": [0.4, 0.501, 0.602],
    "multimodal_only": [0.3, 0.8, 0.71],
}


def runs(shared_part, chosen):
    """One cell's; `chosen` has the lower validation MAE, the other weight the better test MAE."""
    cell = {"signal_to_noise": 0.5, "shared_part": shared_part, "label_noise": 0.5}
    rows = [
        cell
        | {"seed": seed, "variant": "paper", "weight": weight, "test_mae": np.nan}
        | {"valid_mae": 0.5 - 0.1 * (weight == chosen) + 0.01 * seed}
        for seed in STUDY.weight_seeds
        for weight in STUDY.weights
    ]
    for variant, maes in MAE.items():
        for seed, mae in zip(STUDY.seeds, maes, strict=True):
            aligned = variant in ("paper", "no_label_generation")
            rows.append(
                cell
                | {"seed": seed, "variant": variant, "weight": chosen if aligned else 0.0, "test_mae": mae}
                | {"valid_mae": 0.0, "label_mae": 0.25 if aligned else np.nan, "copies_mae": 0.2}
            )
    return pd.DataFrame(rows, columns=[*cell, "seed", "variant", "weight", "settings", *sweeps.MEASURES])


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def both():
    """The runs of both cells, whose weights differ."""
    return pd.concat([runs(0.2, 10.0), runs(0.8, 1.0)], ignore_index=True)


def test_a_weight_is_chosen_by_validation_in_each_cell(both):
    """Of the draws for it alone: the validation MAE of the compared runs, 0, would choose otherwise."""
    assert sweeps.chosen_weights(both, STUDY) == {(0.5, 0.2, 0.5, "paper"): 10.0, (0.5, 0.8, 0.5, "paper"): 1.0}


def test_of_equal_means_the_smaller_weight_is_taken_and_a_single_one_needs_no_runs(both):
    equal = both.assign(valid_mae=0.5)
    assert set(sweeps.chosen_weights(equal, STUDY).values()) == {1.0}
    single = STUDY.model_copy(update={"weights": [3.0]})
    assert sweeps.chosen_weights(both[:0], single) == {(0.5, part, 0.5, "paper"): 3.0 for part in SHARED}


def test_a_gain_is_the_paired_difference_with_its_t_interval(both):
    table = sweeps.gains(both, STUDY, smallest=0.01)
    assert table["weight"].tolist() == [10.0] * 3 + [1.0] * 3
    assert table["effect"].tolist() == list(REFERENCES.values()) * 2
    for row, reference in zip(table.itertuples(), [*REFERENCES] * 2, strict=True):
        test = ttest_rel(MAE[reference], MAE["paper"])
        assert (row.low, row.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert row.p == pytest.approx(test.pvalue)
        assert row.estimate == pytest.approx(np.mean(MAE[reference]) - np.mean(MAE["paper"]))
        assert row.n_draws == 3


def test_verdicts_take_all_comparisons_of_the_sweep_into_account(both):
    """By hand: the alignment's interval is above 0, its p of 0.04 is not below 0.05 / 4, the rank of it."""
    table = sweeps.gains(both, STUDY, smallest=0.01)
    p = ttest_rel(MAE["no_alignment"], MAE["paper"]).pvalue
    assert 0.05 / 4 < p < 0.05
    assert table["p_holm"].iloc[0] == pytest.approx(4 * p)
    assert table["low"].iloc[0] > 0
    assert table["verdict"].tolist() == [UNDECIDED, HARMS, UNDECIDED] * 2
    assert sweeps.gains(both, STUDY, smallest=0.5)["verdict"].tolist() == [NO_GAIN, HARMS, UNDECIDED] * 2


def test_runs_with_a_weight_that_is_not_the_cells_are_left_out():
    cell = runs(0.2, 10.0)
    stray = cell[cell["weight"].eq(10.0) & cell["test_mae"].notna()].assign(weight=1.0, test_mae=0.0)
    pd.testing.assert_frame_equal(
        sweeps.gains(pd.concat([stray, cell]), STUDY, 0.01), sweeps.gains(cell, STUDY, 0.01), check_exact=True
    )


def test_a_draw_that_lacks_a_run_is_left_out_of_its_comparison_and_one_draw_is_none():
    lacking = runs(0.8, 1.0).iloc[:-1]  # the last draw has no multimodal_only
    table = sweeps.gains(pd.concat([runs(0.2, 10.0), lacking]), STUDY, 0.01)
    assert table["n_draws"].tolist() == [3] * 3 + [3, 3, 2]
    test = ttest_rel(MAE["multimodal_only"][:2], MAE["paper"][:2])
    last = table.iloc[-1]
    assert (last["low"], last["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert last["mae"] == pytest.approx(np.mean(MAE["paper"][:2]))
    assert "17 of the 18 paired draws are shown; `make sweep SWEEP=mine`" in sweeps.finding(table, STUDY, "mine")
    one = sweeps.gains(pd.concat([runs(0.2, 10.0), lacking[lacking["seed"] != 6]]), STUDY, 0.01)
    assert one["reference"].tolist() == [*REFERENCES, "no_alignment", "no_label_generation"]


def test_a_finding_counts_verdicts_and_chance(both):
    text = sweeps.finding(sweeps.gains(both[both["shared_part"] == 0.2], STUDY, 0.5), STUDY, "mine")
    assert f"- alignment: {NO_GAIN} 1\n- label generation: harms 1\n- both: undecided 1\n" in text
    assert "The intervals of 2 of 3 comparisons leave 0 out; without any effect, 0.2 would" in text  # 5% of 3, rounded
    assert "9 of the 18 paired draws" in text
    assert "paired draws" not in sweeps.finding(sweeps.gains(both, STUDY, 0.5), STUDY, "mine")


def test_a_sweep_without_factors_is_one_cell():
    study = STUDY.model_copy(update={"factors": {}})
    cell = runs(0.2, 10.0)
    table = sweeps.gains(cell.drop(columns=list(STUDY.factors)), study, 0.01)
    pd.testing.assert_frame_equal(table, sweeps.gains(cell, STUDY, 0.01).drop(columns=list(STUDY.factors)))
    assert len(sweeps.gains_markdown(sweeps.with_ceilings(table, study), study).splitlines()) == 2 + 1
    assert len(plots.sweep_figure(table, [], 0.01).axes) == 3


def test_without_runs_everything_says_so(tmp_path):
    none = sweeps.read_runs(tmp_path / "runs.csv", STUDY)
    table = sweeps.with_ceilings(sweeps.gains(none, STUDY, 0.01), STUDY)
    assert table.empty
    assert "0 of the 18 paired draws are shown" in sweeps.finding(table, STUDY, "mine")
    assert sweeps.gains_markdown(table, STUDY) == "No comparison has two draws yet.\n"
    assert "No cell" in plots.phase_diagram(table, 0.01).texts[0].get_text()
    assert "No comparison" in plots.sweep_figure(table, [], 0.01).texts[0].get_text()


def test_the_table_has_a_row_per_cell_and_variant_with_its_ceiling(both):
    table = sweeps.with_ceilings(sweeps.gains(both, STUDY, 0.01), STUDY)
    assert (table["best_mae"] - table["best_mae_error"] > 0.4).all()  # 0.4: of the label noise alone
    assert table.groupby("shared_part")["best_mae"].nunique().eq(1).all()
    lines = sweeps.gains_markdown(table, STUDY).splitlines()
    assert len(lines) == 2 + 2
    assert "Gain: label generation" in lines[0]
    assert "0.250 (0.200)" in lines[2]
    assert "-0.099 ± 0.002: harms" in lines[2]


def test_conflicts_are_shown_where_a_cell_measures_them(tmp_path):
    study = STUDY.model_copy(update={"factors": {"gradients": {"measured": {"training.diagnostics": True}}}})
    assert sweeps.read_runs(tmp_path / "none.csv", study).columns[-2:].tolist() == sweeps.CONFLICTS
    assert not set(sweeps.CONFLICTS) & set(sweeps.read_runs(tmp_path / "none.csv", STUDY))
    found = runs(0.2, 1.0).assign(gradients="measured", conflict_vision=np.nan)
    found["conflict_audio"] = found["seed"].map({5: 0.1, 6: 0.2, 7: 0.6})  # mean 0.3
    table = sweeps.gains(found, study, 0.01)
    assert table["conflict_audio"].tolist() == pytest.approx([0.3] * 3)
    header, _, row, *_ = sweeps.gains_markdown(table.assign(best_mae=np.nan), study).splitlines()
    cells = dict(zip(*([cell.strip() for cell in line.split("|")] for line in (header, row)), strict=True))
    assert cells["Cosine: audio, vision"] == "+0.30, –"


def test_an_effect_is_what_the_reference_lacks():
    names = [("misa", "misa_no_alignment"), ("distance_cka", "no_alignment"), ("damped_labels", "copied_labels")]
    assert [sweeps._effect(*each) for each in names] == ["alignment", "alignment", "over copied_labels"]


def test_the_phase_diagram_shows_every_gain_and_hatches_the_undecided(both):
    table = sweeps.gains(both, STUDY, 0.5)
    figure = plots.phase_diagram(table, 0.01)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == [f"{effect}, label noise 0.5" for effect in REFERENCES.values()]
    assert [[text.get_text() for text in axis.texts] for axis in panels] == [
        ["+0.022"] * 2,
        ["-0.099"] * 2,
        ["+0.003"] * 2,
    ]
    hatched = [[p for p in axis.patches if isinstance(p, Rectangle) and p.get_hatch()] for axis in panels]
    assert [len(patches) for patches in hatched] == [0, 0, 2]
    limits = {axis.images[0].get_clim() for axis in panels}
    ((low, high),) = limits
    assert low == -high == pytest.approx(-0.099, abs=1e-9)
    wider = [axis for axis in plots.phase_diagram(table, 0.5).axes if axis.get_title()]
    assert wider[0].images[0].get_clim() == (-0.5, 0.5), "gains that do not matter are pale"
    assert figure.legends[0].get_texts()[0].get_text() == "undecided"


def test_the_forest_has_a_panel_an_effect_and_a_row_a_variant_and_cell(both):
    table = sweeps.gains(both, STUDY, 0.01)
    named = table.assign(signal_to_noise="half")  # a number as first factor makes curves
    axes = plots.sweep_figure(named, list(STUDY.factors), 0.01).axes
    assert [axis.get_title() for axis in axes] == list(REFERENCES.values())
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["half, 0.2, 0.5", "half, 0.8, 0.5"]
    for axis, rows in zip(axes, [group for _, group in table.groupby("effect", sort=False)], strict=True):
        points = axis.containers[0].lines[0]
        np.testing.assert_allclose(points.get_xdata(orig=False), rows["estimate"])
        np.testing.assert_allclose(points.get_ydata(orig=False), [0, 1])


def test_curves_show_every_variant_and_the_gains_over_each_at_its_level(both):
    table = sweeps.gains(both, STUDY, 0.01)
    factors = ["shared_part", "label_noise"]
    above, below = plots.sweep_figure(table, factors, 0.01).axes
    assert above.get_title() == "label noise 0.5"
    assert {line.get_label(): line.get_ydata(orig=False).tolist() for line in above.lines} == {
        name: pytest.approx([np.mean(maes)] * 2) for name, maes in MAE.items()
    }
    assert all(line.get_xdata(orig=False).tolist() == [0.2, 0.8] for line in above.lines)
    gains = [container.lines[0].get_ydata(orig=False).tolist() for container in below.containers]
    expected = table.groupby("reference", sort=False)["estimate"].apply(list).tolist()
    assert gains == [pytest.approx(each) for each in expected]


def test_where_data_are_impaired_no_ceiling_is_shown(both):
    lost = STUDY.model_copy(
        update={"factors": {"shared_part": {0.2: {}, 0.8: {"dataset.missing": {"test": {"text": 1.0}}}}}}
    )
    table = sweeps.with_ceilings(sweeps.gains(both.drop(columns=["signal_to_noise", "label_noise"]), lost, 0.01), lost)
    assert table.groupby("shared_part")["best_mae"].apply(lambda values: values.notna().all()).tolist() == [True, False]
    assert "–" in sweeps.gains_markdown(table, lost).splitlines()[3]
    noise = {level: {"dataset.noise": {"test": {"audio": 1.0}}} for level in (0.2, 0.8)}
    noisy = STUDY.model_copy(update={"factors": {"shared_part": noise}})
    assert sweeps.with_ceilings(table[["shared_part"]], noisy)["best_mae"].isna().all()


def test_gains_on_shared_samples_count_seeds_and_samples():
    """Oracles: means by hand; `crossed_interval`, which has its own tests, on the reference's less the variant's."""
    generator = np.random.default_rng(0)
    labels = generator.uniform(-3, 3, 50)
    errors = {"mmim": (0.9, 4), "mmim_no_alignment": (1.0, 3), "mmim_multimodal_only": (0.5, 1), "misa": (0.1, 4)}
    named = {"dataset": "mine", "title": "Mine", "draw": "shared", "test_to_train": 0.0, "scheme": "mosi"}
    drawn = {name: generator.uniform(0, 2 * mean, (seeds, 50)) for name, (mean, seeds) in errors.items()}
    frames = [
        pd.DataFrame(
            named | {"variant": name, "seed": seed, "id": range(50), "label": labels, "prediction": labels - e}
        )
        for name, table in drawn.items()
        for seed, e in enumerate(table)
    ]
    comparisons = {"misa": ["misa_no_alignment"], "mmim": ["mmim_no_alignment", "mmim_multimodal_only"]}
    study = STUDY.model_copy(update={"factors": {}, "comparisons": comparisons})
    row, *others = sweeps.gains_on_shared_samples(pd.concat(frames), study, 0.01).to_dict("records")
    assert not others  # one has no reference, one only one seed in common
    assert (row["variant"], row["effect"], row["n_seeds"], row["n_samples"]) == ("mmim", "alignment", 3, 50)
    assert row["mae"] == pytest.approx(drawn["mmim"][:3].mean())
    assert row["reference_mae"] == pytest.approx(drawn["mmim_no_alignment"].mean())
    expected = crossed_interval(drawn["mmim_no_alignment"] - drawn["mmim"][:3])
    assert [row[name] for name in vars(expected)] == pytest.approx([*vars(expected).values()])
    assert row["verdict"] == verdict(expected.low, expected.high, 0.01)
    text = sweeps.gains_markdown(pd.DataFrame([row]), study)
    assert "| `mmim`    | 0." in text and "Seeds" in text and "Weight" not in text
