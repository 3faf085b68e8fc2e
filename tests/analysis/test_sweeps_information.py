"""msa_core/analysis/sweeps_information.py and its figure. Oracles: scipy's paired t-test, the planted truth."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from msa_core.analysis import plots, sweeps, sweeps_information
from msa_core.analysis.information import COLUMNS
from msa_core.config import Sweep
from msa_core.data import PlantedProcess
from msa_core.data.planted_truth import partial_information

CLEAR = {"signal_to_noise": {"audio": 1.0, "vision": 0.25}}
STUDY = Sweep(
    question=2,
    title="What?",
    dataset="planted_phase",
    factors={"signal": {"equal": {}, "clear": {"dataset.planted": CLEAR}}},
    comparisons={"paper": ["no_alignment", "multimodal_only"]},
    weights=[1.0],
    weight_seeds=[1],
    seeds=[5, 6, 7, 8],
    measures=["information"],
)
REDUNDANCY = {
    "paper": [0.31, 0.35, 0.33, 0.366],
    "no_alignment": [0.21, 0.24, 0.24, 0.25],
    "multimodal_only": [0.32, 0.33, 0.33, 0.38],
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def runs():
    """Of the terms, the redundancy alone differs between variants."""
    rows = [
        {"signal": signal, "seed": seed, "variant": variant, "weight": float(variant == "paper"), "test_mae": 0.5}
        | dict.fromkeys(COLUMNS, 0.1)
        | {"encodings_redundancy": redundancy, "frames_redundancy": 0.2}
        for signal in ("equal", "clear")
        for variant, values in REDUNDANCY.items()
        for seed, redundancy in zip(STUDY.seeds, values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_a_change_is_the_paired_difference_with_its_t_interval(runs):
    table = sweeps_information.information_changes(runs, STUDY)
    assert len(table) == 2 * 2 * 5
    row = table.iloc[0]
    test = ttest_rel(REDUNDANCY["paper"], REDUNDANCY["no_alignment"])
    assert (row["term"], row["effect"], row["n_draws"]) == ("redundancy", "alignment", 4)
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert (row["mean"], row["reference_mean"], row["frames"]) == pytest.approx((0.339, 0.235, 0.2))
    assert row["p_holm"] == pytest.approx(20 * test.pvalue)
    redundancy = table[table["term"] == "redundancy"]
    assert redundancy["change"].tolist() == ["raises", "undecided"] * 2
    assert (table[table["term"] != "redundancy"]["change"] == "undecided").all()
    fewer = runs.assign(encodings_redundancy=-runs["encodings_redundancy"])
    assert sweeps_information.information_changes(fewer, STUDY)["change"].iloc[0] == "lowers"


def test_the_truth_is_that_of_the_cells_process(runs):
    table = sweeps_information.information_changes(runs, STUDY).set_index(["signal", "effect", "term"])["truth"]
    for signal, settings in (("equal", {}), ("clear", CLEAR)):
        for term, bits in partial_information(PlantedProcess(**settings)).items():
            assert table[signal, "alignment", term] == bits
        assert np.isnan(table[signal, "alignment", "pair_auc"])


def test_the_table_for_reading_has_a_row_a_cell_and_term(runs):
    lines = sweeps_information.information_markdown(
        sweeps_information.information_changes(runs, STUDY), STUDY
    ).splitlines()
    assert len(lines) == 2 + 2 * 5
    first = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert first[:7] == ["equal", "`paper`", "1", "redundancy", "0.340", "0.200", "0.339"]
    assert first[7].startswith("+0.104 ± ") and first[7].endswith(": raises")
    assert [cell.strip() for cell in lines[6].split("|")][4:6] == ["pair AUC", "–"]


def test_a_dot_is_a_draw_and_a_dashed_line_the_truth(runs):
    values = sweeps_information.information_values(runs, STUDY)
    assert len(values) == 2 * 4 * 4 * 5  # cells, variants with the frames, draws, terms
    figure = plots.information_dots(values)
    axis = figure.axes[0]
    dots, means = (collection.get_offsets() for collection in axis.collections)
    assert sorted(dots[dots[:, 1] == 2, 0]) == sorted(REDUNDANCY["no_alignment"])
    assert sorted(means[:, 0]) == pytest.approx(sorted([0.2, *(np.mean(each) for each in REDUNDANCY.values())]))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["frames", *REDUNDANCY]
    (truth,) = (line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--")
    assert truth == pytest.approx(partial_information(PlantedProcess())["redundancy"])
    assert all(line.get_linestyle() != "--" for line in figure.axes[4].lines)  # the AUC's is not known


def test_without_runs_all_say_so(tmp_path):
    none = sweeps.read_runs(tmp_path / "runs.csv", STUDY)
    assert set(COLUMNS) <= set(none)
    table = sweeps_information.information_changes(none, STUDY)
    assert sweeps_information.information_markdown(table, STUDY) == "No comparison has two draws yet.\n"
    figure = plots.information_dots(sweeps_information.information_values(none, STUDY))
    assert figure.texts[0].get_text() == "No comparison has two draws yet."


def test_a_file_without_optional_measures_is_read(runs, tmp_path):
    runs.drop(columns=COLUMNS).assign(settings="a", **dict.fromkeys(sweeps.MEASURES, 0.5)).to_csv(tmp_path / "old.csv")
    assert sweeps.read_runs(tmp_path / "old.csv", STUDY)[COLUMNS].isna().all(axis=None)
    plain = sweeps.read_runs(tmp_path / "old.csv", STUDY.model_copy(update={"measures": []}))
    assert not set(COLUMNS) & set(plain)
