"""Oracle: numbers worked by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr

from msa_core import paths
from msa_core.alignment import covariance_distance
from msa_core.analysis import tables
from msa_core.data import PlantedProcess, planted_features
from msa_core.data.planted_truth import best_attainable, partial_information, unimodal_agreement
from msa_core.parts.distances import correlation_distance


def long(values):
    """{(variant, seed): mae} as `collect.read_metrics` gives it, with rows of other splits and tasks to be left out."""
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


def test_offsets_against_scipy_and_polyfit():
    rng = np.random.default_rng(0)
    y, offset = rng.uniform(-3, 3, 40), rng.normal(0, 0.3, 40)
    true = y + offset
    epochs = {0: y, 1: y + 10 * offset + rng.normal(0, 1, 40) + 0.5}
    labels = pd.concat(
        pd.DataFrame({"id": range(40), "epoch": epoch, "multimodal": y, "audio": generated})
        for epoch, generated in epochs.items()
    )
    start, end = tables.label_agreement(labels, pd.DataFrame({"id": range(40), "audio": true})).itertuples()
    assert end.offset_corr == pytest.approx(pearsonr(epochs[1] - y, true - y).statistic, rel=1e-12)
    assert end.offset_slope == pytest.approx(np.polyfit(true - y, epochs[1] - y, 1)[0], rel=1e-12)
    assert end.mae == pytest.approx(np.abs((epochs[1] - y) - (true - y)).mean(), rel=1e-12)
    assert start.offset_slope == 0 and np.isnan(start.offset_corr)  # copies of y: no offset


def test_records_without_offsets_have_no_measure_of_them():
    agreement = tables.label_agreement(LABELS, pd.DataFrame({"id": ["a", "b"], "text": [0.0, 0.5]}))
    older = agreement.drop(columns=["offset_corr", "offset_slope"])
    table = tables.label_summary(tables.label_movement(LABELS), 2, label_bound=3, agreement=older)
    assert not table["measure"].str.startswith("offset").any()


def test_over_seeds_pairs_each_measure_by_seed():
    rows = [("paper", "a", 1, 1.0), ("paper", "a", 2, 2.0), ("paper", "b", 1, 10.0), ("other", "a", 2, 5.0)]
    rows += [("other", "b", 1, 7.0)]
    values = pd.DataFrame(rows, columns=["variant", "measure", "seed", "value"])
    table = tables.over_seeds(values, ["variant", "measure"]).set_index(["variant", "measure"])
    assert table["mean"].to_dict() == {
        ("paper", "a"): 1.5,
        ("paper", "b"): 10.0,
        ("other", "a"): 5.0,
        ("other", "b"): 7.0,
    }
    assert table.loc["other", "difference_mean"].tolist() == [3.0, -3.0]
    assert table["seeds"].tolist() == ["1 2", "1", "2", "1"]
    shown = tables.differences(table.reset_index().assign(dataset="d"))
    assert list(shown) == ["Variant", "Measure", "Difference, mean", "Standard deviation", "Seeds"]
    assert shown["Difference, mean"].tolist() == [3.0, -3.0]


def test_over_seeds_markdown_keeps_the_order_and_dashes_what_has_no_mean():
    table = pd.DataFrame(
        {
            "variant": ["z", "z", "a"],
            "measure": ["second", "first", "second"],
            "mean": [0.5, np.nan, -0.0001],
            "std": [0.1, np.nan, np.nan],
            "n": [4, 4, 1],
            "seeds": ["9 10 11 13", "9 10 11 13", "1"],
        }
    )
    lines = tables.over_seeds_markdown(table, ["variant"], "measure").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["variant", "second", "first", "n", "seeds"]
    assert cells[2:] == [["z", "0.500 ± 0.100", "–", "4", "9–11 13"], ["a", "0.000", "", "1", "1"]]


# Two utterances, y = 1 and y = 0; labels of epochs 0 to 3.
LABELS = pd.DataFrame(
    {
        "id": ["a", "b"] * 4,
        "epoch": np.repeat([0, 1, 2, 3], 2),
        "multimodal": [1.0, 0.0] * 4,
        "text": [1.0, 0.0, 1.0, 0.0, -1.0, 0.5, -0.99, 0.49],
    }
)


def test_label_movement_by_hand():
    table = tables.label_movement(LABELS).set_index("epoch")
    assert table["moved"].to_dict() == {1: 0.0, 2: 1.25, 3: pytest.approx(0.01)}  # of 2: (2 + 0.5) / 2
    assert table["flipped"].to_dict() == {1: 0.0, 2: 0.5, 3: 0.0}  # from 0 to 0.5 is no flip
    assert table["opposite"].to_dict() == {1: 0.0, 2: 1.0, 3: 1.0}  # of "a" alone: b's y has no sign


def test_label_summary_by_hand():
    true = pd.DataFrame({"id": ["a", "b"], "text": [0.0, 0.5]})
    agreement = tables.label_agreement(LABELS, true)
    table = tables.label_summary(tables.label_movement(LABELS), 2, label_bound=3, agreement=agreement)
    assert set(table["modality"]) == {"text"}
    assert table.set_index("measure")["value"].to_dict() == {
        "mae_copy": 0.75,  # |1 - 0|, |0 - 0.5|
        "mae_best": 0.5,  # |-1 - 0|, |0.5 - 0.5|
        "mae_difference": -0.25,
        "corr_copy": pytest.approx(-1),
        "corr_best": pytest.approx(1),
        "offset_corr_best": pytest.approx(1),  # generated - y: -2, 0.5; true - y: -1, 0.5
        "offset_slope_best": pytest.approx(2.5 / 1.5),
        "opposite_best": 1.0,
        "flips": 0.5,
        "moved_last": pytest.approx(0.01),
        "settled": 2,  # moves of 1.25 in epoch 2, 0.01 < 0.03 in epoch 3
    }
    assert set(table["measure"]) == set(tables.LABEL_MEASURES)


@pytest.mark.parametrize(("last", "bound", "settled"), [(3, 0.9, np.nan), (2, 3, np.nan), (3, 1000, 0), (1, 3, 0)])
def test_labels_settle_after_the_last_move_of_one_percent(last, bound, settled):
    movement = tables.label_movement(LABELS[LABELS["epoch"] <= last])
    table = tables.label_summary(movement, best_epoch=1, label_bound=bound)
    values = table.set_index("measure")["value"]
    assert values["settled"] == pytest.approx(settled, nan_ok=True)
    assert "mae_copy" not in values


def second_order_of(x, z):
    arrays = {}
    for modality, values in (("audio", x), ("vision", z)):
        cov = np.cov(values, rowvar=False)
        for when, scale in (("before", 1), ("after", 4)):
            arrays[f"{modality}/covariance/{when}"] = scale * cov
            arrays[f"{modality}/spectrum/{when}"] = np.linalg.eigvalsh(scale * cov)[::-1]
    return arrays


def test_second_order_distances_are_those_of_the_alignment():
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((50, 4)), rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4))
    table = tables.second_order(second_order_of(x, z), [("audio", "vision")])
    values = table.set_index(["modality", "when", "measure"])["value"]
    x, z = torch.tensor(x), torch.tensor(z)
    covariance, correlation = covariance_distance(x, z).item(), correlation_distance(x, z).item()
    assert values["audio-vision", "before", "covariance distance"] == pytest.approx(covariance)
    assert values["audio-vision", "after", "covariance distance"] == pytest.approx(16 * covariance)  # doubled features
    for when in ("before", "after"):  # scale-free
        assert values["audio-vision", when, "correlation distance"] == pytest.approx(correlation)
    assert values["vision", "after", "total variance"] == pytest.approx(4 * z.var(dim=0).sum().item())
    assert len(table) == 2 * 2 * 2 + 2 * 2


def test_second_order_has_no_distance_between_unequal_widths():
    rng = np.random.default_rng(0)
    alignment = second_order_of(rng.standard_normal((50, 4)), rng.standard_normal((50, 3)))
    assert set(tables.second_order(alignment, [("vision", "audio")])["modality"]) == {"audio", "vision"}


def test_spectra_rank_the_eigenvalues():
    rng = np.random.default_rng(0)
    alignment = second_order_of(rng.standard_normal((50, 4)), rng.standard_normal((50, 3)))
    table = tables.spectra(alignment)
    assert len(table) == 2 * (4 + 3)
    first = table.query("modality == 'audio' and when == 'after' and rank == 1")["variance"].item()
    assert first == pytest.approx(np.linalg.norm(alignment["audio/covariance/after"], ord=2))


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


def test_tables_of_the_truth():
    process = PlantedProcess(signal_to_noise={"vision": 0.2})
    ceiling, information = tables.ceiling_table(process), tables.information_table(process)
    best, told = best_attainable(process)["audio"], partial_information(process)
    assert ceiling.loc["audio"].tolist() == pytest.approx([*vars(best).values()], abs=1e-4)
    assert ceiling.loc["all", "best MAE"] == ceiling["best MAE"].min()
    assert information.loc["bits", "unique to audio"] == pytest.approx(told["audio"], abs=1e-4)
    assert information["unique to vision"].item() == 0


MISSING = pd.DataFrame(
    [["d", "D", "mosi", "other", 9], ["d", "D", "mosi", "other", 8], ["e", "E", "sims", "lost", 1]],
    columns=["dataset", "title", "scheme", "variant", "seed"],
)


def test_tables_name_the_missing_runs():
    table = tables.with_missing(tables.main_table(METRICS), MISSING).set_index("variant")
    assert table["missing"].to_dict() == {"paper": "", "other": "8 9", "lost": "1"}
    assert table["n"].to_dict() == {"paper": 2, "other": 3, "lost": 0}
    assert np.isnan(table.loc["lost", "mean"])
    lines = tables.main_markdown(table.reset_index()).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][-1] == "Missing"
    assert [row[-1] for row in cells[2:]] == ["", "8 9", "1"]
    assert cells[4][:3] == ["E", "lost", ""]


def test_a_complete_table_says_nothing_of_missing_runs():
    table = tables.with_missing(tables.main_table(METRICS), MISSING.iloc[:0])
    assert tables.main_markdown(table) == tables.main_markdown(tables.main_table(METRICS))


def test_latex_holds_the_same_cells_and_no_sign_that_latex_lacks():
    table = tables.with_missing(tables.main_table(METRICS.replace({"variant": {"other": "no_alignment"}})), MISSING)
    latex = tables.main_latex(table)
    assert latex.isascii()
    row = next(line for line in latex.splitlines() if r"no\_alignment" in line)
    assert "0.6000 $\\pm$ 0.1414" in latex
    assert len(row.split("&")) == len(tables.main_markdown(table).splitlines()[0].strip("|").split("|"))


def test_ablation_tables_show_interval_p_and_what_is_missing():
    values = {"difference": 0.05, "low": -0.1, "high": 0.2, "p": 0.03, "p_holm": 0.06, "n_samples": 40, "n_seeds": 2}
    rows = [
        {"dataset": "d", "title": "D", "variant": "other", "metric": "mae", **values, "seeds": "1 2"},
        {"dataset": "d", "title": "D", "variant": "once", "metric": "mae", "difference": 0.1, "n_samples": 40,
         "n_seeds": 1, "seeds": "1"},
    ]  # fmt: skip
    markdown = tables.ablation_markdown(tables.with_missing(pd.DataFrame(rows), MISSING))
    first, second = markdown.split("### E")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines()]
    assert lines[2] == ["Variant", "MAE ↓", "MAE: p (Holm)", "Samples", "Seeds", "Missing"]
    assert lines[4] == ["other", "+0.0500 [-0.1000, +0.2000]", "0.030 (0.060)", "40", "1 2", "8 9"]
    assert lines[5] == ["once", "+0.1000 (no interval)", "", "40", "1", ""]
    assert "lost" in second
    assert tables.ablation_latex(pd.DataFrame(rows)).isascii()


def test_published_numbers_stand_apart_from_ours():
    published = pd.read_csv(paths.ROOT / "reference" / "published.csv")
    ours = METRICS.assign(dataset="mosi_text_audio", title="MOSI (text)")
    known = pd.concat([ours, METRICS.assign(dataset="sims"), METRICS.assign(dataset="planted")])
    main = tables.with_missing(tables.main_table(known), MISSING)
    table = tables.published_table(published, main)
    assert len(table) == published.groupby(["dataset", "model"]).ngroups + 4
    comparable = table[table["source"] == "this study"].groupby("family")["comparable"].unique().str.join("").to_dict()
    assert comparable == {"mosi": "no: other features, other text encoder", "sims": "the same feature file"}
    value = published.query("dataset == 'mosi' and model == 'self_mm' and metric == 'mae'")["value"].item()
    assert table.query("family == 'mosi' and model == 'self_mm'")["mae"].item() == value

    mosi, mosei, *_ = tables.published_markdown(table).split("### ")[1:]
    theirs, apart = mosi.split("Ours, to be read apart from them")
    assert "ours:" not in theirs
    assert "ours: MOSI (text), paper" in apart
    assert "Ours" not in mosei


def test_reruns_stand_beside_what_was_published():
    published = pd.DataFrame({"dataset": "mosi", "model": ["a", "b"], "metric": "mae", "value": [0.7, 0.8]})
    rows = [("a", "mae", 0.75, 0.01, 10), ("a", "corr", 0.5, np.nan, np.nan), ("c", "mae", 0.9, np.nan, 1)]
    reproduced = pd.DataFrame(rows, columns=["model", "metric", "value", "spread", "n"])
    table = tables.reproduced_table(reproduced.assign(dataset="mosi", source="s", note="t"), published)
    assert table["model"].tolist() == ["a", "a", "c"]
    assert table["difference"][0] == pytest.approx(0.05)
    assert table[["published", "difference"]].isna().all(axis="columns").tolist() == [False, True, True]
    cells = [[cell.strip() for cell in line.split("|")[3:9]] for line in tables.reproduced_markdown(table).splitlines()]
    assert cells[2] == ["MAE ↓", "0.7000", "0.7500", "+0.0500", "0.0100", "10"]
    assert cells[3] == ["Corr ↑", "–", "0.5000", "–", "not stated", "not stated"]


HUMAN = pd.DataFrame(
    [
        ["crema_d", "audio", "multimodal", "corr", 0.6, 100],
        ["crema_d", "audio", "multimodal", "other_sign", 0.2, 100],
        ["sims", "with", "without", "mae_difference", -0.05, 5],
    ],
    columns=["dataset", "subject", "reference", "measure", "value", "n"],
).assign(source="votes", source_commit="1a2b")


def test_true_unimodal_labels_stand_beside_human_ones():
    process = PlantedProcess(task_weights={"vision": -0.25})
    table = tables.unimodal_labels_table(HUMAN, {"Conflict": process})
    assert set(table["dataset"]) == {"crema_d", "Conflict"}, "what labels are worth is another table"
    truth = unimodal_agreement(process)["vision", "multimodal"]
    rows = table[table["dataset"] == "Conflict"]
    of_vision = rows.query("subject == 'vision' and reference == 'multimodal'")
    assert of_vision.set_index("measure")["value"].to_dict() == vars(truth)
    assert rows["n"].isna().all()
    header, _, text, audio, *_ = tables.unimodal_labels_markdown(table).splitlines()
    heads = ["CREMA-D, human: correlation", "CREMA-D, human: share of another sign", "Conflict: correlation"]
    assert [cell.strip() for cell in header.split("|")[2:5]] == heads
    assert {row.split("|")[1].strip(): row.split("|")[2].strip() for row in (text, audio)} == {
        "audio – multimodal": "0.600",
        "text – multimodal": "–",
    }
    assert "ODbL" in tables.unimodal_labels_markdown(table)


def test_the_worth_of_true_labels_stands_beside_that_of_human_ones():
    compared = pd.DataFrame(
        {
            "dataset": "d",
            "title": "D",
            "variant": ["true_labels", "true_labels", "paper"],
            "metric": ["mae", "corr", "mae"],
        }
    ).assign(reference="no_label_generation", difference=-0.03, low=-0.05, high=-0.01, n_seeds=7)
    table = tables.label_worth_table(HUMAN, compared, {"d": 3.0})
    assert table["subject"].tolist() == ["with", "true_labels"]
    assert table["relative"].tolist() == pytest.approx([-0.05, -0.01])  # H is 1 on CH-SIMS
    theirs, ours = tables.label_worth_markdown(table).splitlines()[2:4]
    assert "-0.0500 (no interval)" in theirs and "| 5 " in theirs and "votes 1a2b" in theirs
    assert "-0.0300 [-0.0500, -0.0100]" in ours and "| 7 " in ours
    without = tables.label_worth_table(HUMAN, compared.iloc[:0], {})
    assert without["subject"].tolist() == ["with"]


def test_the_published_worth_of_human_labels_follows_from_the_published_numbers():
    """Oracle: the subtraction, from the other file."""
    folder = paths.ROOT / "reference"
    mae = pd.read_csv(folder / "published.csv").query("metric == 'mae'").set_index(["dataset", "model"])["value"]
    human = pd.read_csv(folder / "human_unimodal_labels.csv").query("measure == 'mae_difference'")
    assert len(human) == 6
    for row in human.itertuples():
        assert row.value == pytest.approx(mae[row.dataset, row.subject] - mae[row.dataset, row.reference], abs=1e-9)


def test_efficiency_sets_what_was_measured_against_its_goal():
    columns = ["measure", "value", "unit", "quartile_1", "quartile_3", "n"]
    training = pd.DataFrame(
        [["ours, float32 / MMSA 2.2.1 Self-MM, float32", 2.9, "ratio", 2.8, 3.1, 3], ["other", 1, "s", 1, 1, 3]],
        columns=columns,
    )
    scale = pd.DataFrame([["later opening: added memory", 16e6, "bytes", 15e6, 17e6, 5]], columns=columns)
    parts = pd.DataFrame(
        {
            "text_encoder": ["minilm", "minilm"],
            "part": ["+ label generation", "label generation + one pair (the paper)"],
            "added_percent": [1.0, 2.0],
            "low": [0.5, 1.5],
            "high": [1.5, 2.5],
        }
    )
    table = tables.efficiency(training, scale, parts)
    assert table["goal"].tolist() == ["≥ 3", "< 100 MB", "< 5%"]
    assert table["value"].tolist() == [2.9, 16, 2]
    assert table["met"].tolist() == [False, True, True]
    text = tables.efficiency_markdown(table)
    assert "2.9 (2.8 to 3.1)" in text
    assert "16 (15 to 17)" in text


def test_runs_table_joins_test_metrics_and_provenance():
    metrics = long({("a", 1): 0.5, ("a", 2): 0.7})
    fixed = {"dataset": metrics["dataset"][0], "title": "D", "variant": "a", "best_epoch": 3}
    provenance = {"clean": True, "device": "cpu", "threads": 1, "python": "3", "seconds": 1800, "data": {}}
    provenance["packages"] = {"torch": "2"}
    runs = [
        {**fixed, "seed": seed, "provenance": json.dumps(provenance | {"commit": commit})}
        for seed, commit in ((2, "y"), (1, "x"))
    ]
    table = tables.runs_table(metrics, pd.DataFrame(runs))
    assert table[["seed", "commit", "data_sha256", "mae"]].values.tolist() == [[2, "y", "", 0.7], [1, "x", "", 0.5]]
    line = tables.runs_markdown(table).splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["D", "2", "x, y", "True", "cpu", "1", "3", "2", "1.00"]


def test_averaged_weights_are_rows_of_their_own_and_miss_the_same_runs():
    metrics = METRICS.assign(split="test", task="multimodal").drop_duplicates(["dataset", "variant", "seed", "metric"])
    both = pd.concat([metrics, metrics.assign(task="multimodal_averaged", value=metrics["value"] + 1)])
    table = tables.with_missing(tables.main_table(tables.with_averaged(both)), MISSING)
    rows = table[table["metric"] == "mae"].set_index(["title", "variant"])
    for variant in ("paper", "other"):
        assert rows["mean"]["D, averaged weights", variant] == pytest.approx(rows["mean"]["D", variant] + 1)
        assert rows["missing"]["D, averaged weights", variant] == rows["missing"]["D", variant]
    predictions = pd.DataFrame({"title": "D", "prediction": [0.1, 0.2], "averaged": [0.3, np.nan]})
    both = tables.with_averaged(predictions)
    assert both[["title", "prediction"]].values.tolist() == [["D", 0.1], ["D", 0.2], ["D, averaged weights", 0.3]]


def test_of_runs_that_are_not_averaged_no_rows_are_added():
    frame = pd.DataFrame({"title": ["P", "P"], "seed": [1, 2], "prediction": [0.5, 0.6], "averaged": np.nan})
    pd.testing.assert_frame_equal(tables.with_averaged(frame), frame)


def test_covariance_matrices_are_whole_again():
    matrix = np.cov(np.random.default_rng(0).standard_normal((3, 9)))
    row, column = np.triu_indices(3)
    upper = pd.DataFrame({"row": row, "column": column, "value": matrix[row, column]})
    read = tables.covariance_matrices(upper.assign(variant="paper", modality="audio", when="after"))
    np.testing.assert_array_equal(read["paper"]["audio/covariance/after"], matrix)


def test_efficiency_finds_every_goal_in_the_committed_benchmarks():
    """A measure that a benchmark renames would be left out without a word."""
    frames = (
        pd.read_csv(paths.ROOT / "results" / "benchmarks" / f"{name}.csv") for name in ("training", "scale", "parts")
    )
    assert len(tables.efficiency(*frames)) == 11  # nine goals, and the parts' cost with two text encoders
