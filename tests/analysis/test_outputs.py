"""What is written, and that nothing is where nothing is to be saved."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from msa_core.analysis import outputs, plots
from msa_core.analysis.outputs import Outputs


def test_a_table_is_written_with_or_without_latex(tmp_path):
    table = pd.DataFrame({"x": [1 / 3]})
    outputs.write_table(table, "md", tmp_path / "t")
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "t.md"}
    assert pd.read_csv(tmp_path / "t.csv")["x"].item() == 1 / 3
    outputs.write_table(table, "md", tmp_path / "t", "tex")
    assert (tmp_path / "t.tex").read_text() == "tex"


@pytest.mark.parametrize("save", [True, False])
def test_a_notebook_writes_only_where_it_is_told_to(tmp_path, save):
    table, figure = pd.DataFrame({"x": [1 / 3]}), plt.figure()
    output = Outputs(str(tmp_path / "tables"), str(tmp_path / "figures"), save)
    output.table(table, "md", "small", "tex")
    output.figure(figure, "small")
    plt.close(figure)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    tables = {"tables/small.csv", "tables/small.md", "tables/small.tex"}
    assert written == (tables | {"figures/small.png", "figures/small.svg"} if save else set())


def test_relative_folders_are_under_the_top_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("msa_core.paths.ROOT", tmp_path)
    Outputs("tables", "figures", True).table(pd.DataFrame({"x": [1]}), "md", "small")
    assert (tmp_path / "tables" / "small.md").read_text() == "md"


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    figure = plots.label_histograms(pd.DataFrame({"split": "test", "label": [-1.0, 0.5]}), 3)
    for name in ("first", "second"):
        outputs.write_figure(figure, tmp_path / name)
    plt.close(figure)
    for ending in ("png", "svg"):
        assert (tmp_path / f"first.{ending}").read_bytes() == (tmp_path / f"second.{ending}").read_bytes()


NUMBERS = pd.DataFrame({"variant": ["a", "b"], "mean": [0.5, 2.0], "p": [np.nan, 0.3], "note": [np.nan, "b"]})


def with_one(name, row, value):
    changed = NUMBERS.copy()
    changed.loc[row, name] = value
    return changed


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (NUMBERS, ""),
        (with_one("mean", 0, 0.5 + 1.9e-6), ""),  # of the column's largest value, 2
        (with_one("mean", 0, 0.5 + 2.1e-6), r"mean in row 0 is 0\.5000021, was 0\.5 \(1\.1e-06 of"),
        (with_one("mean", 1, 1.0), r"mean in row 1 is 1\.0, was 2\.0 \(50% of the column's largest value\)"),
        (with_one("p", 0, 0.1), r"p in row 0 is 0\.1, was nan"),
        (with_one("p", 1, np.nan), r"p in row 1 is nan, was 0\.3"),
        (with_one("p", 1, np.inf), r"p in row 1 is inf, was 0\.3"),
        (with_one("note", 0, "c"), r"note in row 0 is 'c', was nan"),
        (with_one("variant", 1, "c"), r"variant in row 1 is 'c', was 'b'"),
        (NUMBERS[["variant", "mean"]], r"2 rows of \['variant', 'mean'\], were 2 rows of"),
        (NUMBERS.iloc[:1], r"1 rows of .*, were 2 rows of"),
    ],
)
def test_what_differs_is_named_with_the_largest_difference(new, expected):
    assert re.fullmatch(f"{expected}.*" if expected else "", outputs.difference(NUMBERS, new))


def test_a_table_whose_numbers_agree_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("msa_core.paths.DIFFERENCES", tmp_path / "differences.txt")
    outputs.write_table(NUMBERS, "| a | 0.50 |\n", tmp_path / "t", "a & 0.50")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    close = with_one("mean", 0, 0.5 + 1e-9)
    outputs.write_table(close, "| a | 0.51 |\n", tmp_path / "t", "a & 0.51")  # a digit that is rounded otherwise
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    outputs.write_table(close, "| A | 0.51 |\n", tmp_path / "t", "A & 0.51")  # another heading
    assert (tmp_path / "t.md").read_text() == "| A | 0.51 |\n"
    assert (tmp_path / "t.csv").read_bytes() == before["t.csv"]

    outputs.write_table(with_one("mean", 0, 0.6), "| a | 0.60 |\n", tmp_path / "t", "a & 0.60")
    assert pd.read_csv(tmp_path / "t.csv")["mean"][0] == 0.6
    assert (tmp_path / "t.md").read_text() == "| a | 0.60 |\n"
    (line,) = (tmp_path / "differences.txt").read_text().splitlines()
    assert "t.csv: mean in row 0 is 0.6, was 0.5 (5% of the column's largest value)" in line


def test_pictures_that_agree_are_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr("msa_core.paths.DIFFERENCES", tmp_path / "differences.txt")
    output = Outputs(str(tmp_path), str(tmp_path), True)

    def write(change):
        figure, axes = plt.subplots()
        axes.plot([0, 1], [0, 1 + change], "o")
        axes.set_ylim(-1, 2)
        output.figure(figure, "p")
        plt.close(figure)
        return {path.name: path.read_bytes() for path in tmp_path.glob("p.*")}

    first = write(0)
    assert set(first) == {"p.png", "p.svg"}
    assert write(1e-9) == first
    assert not (tmp_path / "differences.txt").exists()
    changed = write(0.05)
    assert all(changed[name] != content for name, content in first.items())
    lines = (tmp_path / "differences.txt").read_text().splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines] == ["p.png"]
