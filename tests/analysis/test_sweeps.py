"""msa_core/analysis/phase.py and its figure. Oracles: scipy's paired t-test, and counts by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from scipy.stats import ttest_rel

from msa_core.analysis import phase, plots
from msa_core.analysis.claims_rule import GAINS, HARMS, UNDECIDED
from msa_core.config import Phase

STUDY = Phase(
    dataset="planted_phase",
    signal_to_noise=[0.5],
    shared_part=[0.2, 0.8],
    label_noise=[0.5],
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
                | {"valid_mae": 0.0}
            )
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_a_weight_is_chosen_by_validation_in_each_cell():
    """Of the draws for it alone: the validation MAE of the compared runs, 0, would choose otherwise."""
    weights = phase.chosen_weights(pd.concat([runs(0.2, 10.0), runs(0.8, 1.0)]))
    assert weights.to_dict() == {(0.5, 0.2, 0.5): 10.0, (0.5, 0.8, 0.5): 1.0}


def test_a_gain_is_the_paired_difference_with_its_t_interval():
    table = phase.gains(pd.concat([runs(0.2, 10.0), runs(0.8, 1.0)]), STUDY, smallest=0.01)
    assert table["weight"].tolist() == [10.0] * 3 + [1.0] * 3
    assert table["verdict"].tolist() == [GAINS, HARMS, UNDECIDED] * 2
    for row, (variant, reference) in zip(table.itertuples(), [*phase.EFFECTS.values()] * 2, strict=True):
        test = ttest_rel(MAE[reference], MAE[variant])
        assert (row.low, row.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert row.p == pytest.approx(test.pvalue)
        assert row.estimate == pytest.approx(np.mean(MAE[reference]) - np.mean(MAE[variant]))
        assert row.n_draws == 3


def test_runs_with_a_weight_that_is_not_the_cells_are_left_out():
    cell = runs(0.2, 10.0)
    stray = cell[cell["weight"].eq(10.0) & cell["test_mae"].notna()].assign(weight=1.0, test_mae=0.0)
    pd.testing.assert_frame_equal(
        phase.gains(pd.concat([stray, cell]), STUDY, 0.01), phase.gains(cell, STUDY, 0.01), check_exact=True
    )


def test_a_draw_that_lacks_a_run_is_left_out_and_one_draw_is_no_cell():
    lacking = runs(0.8, 1.0).iloc[:-1]  # the last draw has no multimodal_only
    table = phase.gains(pd.concat([runs(0.2, 10.0), lacking]), STUDY, 0.01)
    assert table["n_draws"].tolist() == [3] * 3 + [2] * 3
    test = ttest_rel(MAE["no_alignment"][:2], MAE["paper"][:2])
    alone = table.query("shared_part == 0.8 and effect == 'alignment'").iloc[0]
    assert (alone["low"], alone["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert "5 of the 6 draws of all cells are shown" in phase.finding(table, STUDY)
    one = phase.gains(pd.concat([runs(0.2, 10.0), lacking[lacking["seed"] != 6]]), STUDY, 0.01)
    assert one["shared_part"].tolist() == [0.2] * 3
    text = phase.finding(one, STUDY)
    assert "- alignment: gains 1\n- label generation: harms 1\n- both: undecided 1\n" in text
    assert "The interval of 2 of 3 comparisons leaves 0 out." in text
    assert "0.2 would by chance" in text  # 5% of 3, rounded
    assert "3 of the 6 draws of all cells are shown" in text


def test_without_runs_everything_says_so(tmp_path):
    none = phase.read_runs(tmp_path / "runs.csv")
    table = phase.with_ceilings(phase.gains(none, STUDY, 0.01), STUDY)
    assert table.empty
    assert "0 of the 6 draws of all cells are shown" in phase.finding(table, STUDY)
    assert phase.gains_markdown(table) == "No cell has two draws yet.\n"
    assert "No cell" in plots.phase_diagram(table, 0.01).texts[0].get_text()


def test_the_table_has_a_row_a_cell_with_its_ceiling():
    table = phase.with_ceilings(phase.gains(pd.concat([runs(0.2, 10.0), runs(0.8, 1.0)]), STUDY, 0.01), STUDY)
    assert (table["best_mae"] - table["best_mae_error"] > 0.4).all()  # 0.4: of the label noise alone
    assert table.groupby("shared_part")["best_mae"].nunique().eq(1).all()
    lines = phase.gains_markdown(table).splitlines()
    assert len(lines) == 2 + 2
    assert "Gain: label generation" in lines[0]
    assert "-0.099 ± 0.002: harms" in lines[2]


def test_the_figure_shows_every_gain_and_hatches_the_undecided():
    table = phase.gains(pd.concat([runs(0.2, 10.0), runs(0.8, 1.0)]), STUDY, 0.01)
    figure = plots.phase_diagram(table, 0.01)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == [f"{effect}, label noise 0.5" for effect in phase.EFFECTS]
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
