"""What is written, and that nothing is where nothing is to be saved."""

import matplotlib.pyplot as plt
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
    output.rows(table, "rows")
    output.table(table, "md", "small", "tex")
    output.figure(figure, "small")
    plt.close(figure)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    tables = {"tables/rows.parquet", "tables/small.csv", "tables/small.md", "tables/small.tex"}
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
