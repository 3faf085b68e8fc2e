"""Tables and figures as files."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from msa_core.paths import from_root


@dataclass(frozen=True)
class Outputs:
    """A notebook's files: written in batch, not where the notebook is explored.

    Attributes:
        tables_folder, figures_folder: where the files go; relative to the project's top folder.
        save: False: nothing is written.
    """

    tables_folder: str
    figures_folder: str
    save: bool

    def table(self, table: pd.DataFrame, markdown: str, name: str, latex: str = "") -> None:
        """`write_table`, if files are written."""
        if self.save:
            write_table(table, markdown, from_root(self.tables_folder) / name, latex)

    def rows(self, rows: pd.DataFrame, name: str) -> None:
        """`<name>.parquet`, for tables too long to be read, if files are written."""
        if self.save:
            file = from_root(self.tables_folder) / f"{name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows.to_parquet(file, index=False)

    def figure(self, figure: Figure, name: str) -> None:
        """`write_figure`, if files are written."""
        if self.save:
            write_figure(figure, from_root(self.figures_folder) / name)


def write_table(table: pd.DataFrame, markdown: str, file: Path, latex: str = "") -> None:
    """Write `<file>.csv`, unrounded, `<file>.md`, for reading, and `<file>.tex`, for a paper, unless empty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file.with_suffix(".csv"), index=False)
    file.with_suffix(".md").write_text(markdown)
    if latex:
        file.with_suffix(".tex").write_text(latex)


def write_figure(figure: Figure, file: Path) -> None:
    """Write `<file>.png` and `<file>.svg`, the same bytes for the same figure."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file.with_suffix(".png"))
    figure.savefig(file.with_suffix(".svg"), metadata={"Date": None})
