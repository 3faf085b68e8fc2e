"""Tables and figures as files. What agrees with the file in its place stays as it is; what differs is named."""

import io
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread
from tqdm.auto import tqdm

from msa_core import paths
from msa_core.disk import put

# Of a column's largest value. float64 runs of two processors agree to 1e-9 over a whole run; what is computed from
# them (ratios, quantiles, probes) loses some digits more. Far below the digits that a table for reading shows.
TOLERANCE = 1e-6
# Root mean square over all pixels, of 255 levels. A change that anybody can see in one line is above 0.1.
PIXEL_TOLERANCE = 0.01


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
            write_table(table, markdown, _place(self.tables_folder, name), latex)

    def figure(self, figure: Figure, name: str) -> None:
        """`write_figure`, if files are written."""
        if self.save:
            write_figure(figure, _place(self.figures_folder, name))


def _place(folder: str, name: str) -> Path:
    return paths.from_root(folder) / paths.file_name(name)


def write_table(table: pd.DataFrame, markdown: str, file: Path, latex: str = "") -> None:
    """Write `<file>.csv`, unrounded, `<file>.md`, for reading, and `<file>.tex`, for a paper, unless empty.

    A .csv file whose numbers agree with the table's to `TOLERANCE` is left as it is, and so are then the other two
    where they differ from the new text in digits alone.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    csv = table.to_csv(index=False)
    stored = file.with_suffix(".csv")
    agrees = stored.is_file() and _keep(stored, difference(pd.read_csv(stored), pd.read_csv(io.StringIO(csv))))
    texts = {".md": markdown} | ({".tex": latex} if latex else {}) | ({} if agrees else {".csv": csv})
    for ending, text in texts.items():
        place = file.with_suffix(ending)
        if agrees and place.is_file() and _without_digits(place.read_text()) == _without_digits(text):
            place.touch()
        else:
            _write(place, text.encode())


def write_figure(figure: Figure, file: Path) -> None:
    """Write `<file>.png` and `<file>.svg`, the same bytes for the same figure.

    Both are left as they are where the new picture looks the same, to `PIXEL_TOLERANCE`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    png, svg = file.with_suffix(".png"), file.with_suffix(".svg")
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / png.name
        figure.savefig(new)
        if png.is_file() and svg.is_file() and _keep(png, _picture_difference(png, new)):
            svg.touch()
            return
        figure.savefig(new.with_suffix(".svg"), metadata={"Date": None})
        for place in (png, svg):
            _write(place, (Path(folder) / place.name).read_bytes())


def difference(old: pd.DataFrame, new: pd.DataFrame) -> str:
    """Where two tables disagree, in words; empty: they agree to `TOLERANCE` of each column's largest value.

    >>> difference(pd.DataFrame({"x": [1.0, 2.0]}), pd.DataFrame({"x": [1.0, 2.5]}))
    "x in row 1 is 2.5, was 2.0 (25% of the column's largest value)"
    """
    if list(old) != list(new) or len(old) != len(new):
        return f"{len(new)} rows of {list(new)}, were {len(old)} rows of {list(old)}"
    largest = TOLERANCE
    words = ""
    for name in new:
        if not all(pd.api.types.is_numeric_dtype(frame[name]) for frame in (old, new)):
            texts = (frame[name].astype(object).where(frame[name].notna(), "") for frame in (old, new))
            unequal = np.not_equal(*(text.astype(str).to_numpy() for text in texts))
            if unequal.any():
                row = int(unequal.argmax())
                return f"{name} in row {row} is {new[name][row]!r}, was {old[name][row]!r}"
            continue
        before, after = old[name].to_numpy(np.float64), new[name].to_numpy(np.float64)
        scale = np.abs(before[np.isfinite(before)]).max(initial=0) or 1.0
        with np.errstate(invalid="ignore"):
            gaps = np.where((before == after) | (np.isnan(before) & np.isnan(after)), 0, np.abs(after - before) / scale)
        gaps = np.nan_to_num(gaps, nan=np.inf)  # a number on one side alone
        if len(gaps) and gaps.max() > largest:
            row, largest = int(gaps.argmax()), gaps.max()
            share = f"{largest:.2g} of" if largest < 0.001 else f"{largest:.0%} of"
            words = f"{name} in row {row} is {after[row]}, was {before[row]} ({share} the column's largest value)"
    return words


def name_difference(file: Path, disagreement: str) -> None:
    """Say that a file changes, and where; it is said again at the end of the batch."""
    line = f"{file.relative_to(paths.ROOT) if file.is_relative_to(paths.ROOT) else file}: {disagreement}"
    tqdm.write(line)
    paths.DIFFERENCES.parent.mkdir(parents=True, exist_ok=True)
    with paths.DIFFERENCES.open("a") as differences:
        differences.write(line + "\n")


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all: the next batch compares with what is there."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(content)
    put(partial, file)


def _picture_difference(old: Path, new: Path) -> str:
    before, after = imread(old), imread(new)
    if before.shape != after.shape:
        return f"{after.shape[1]} x {after.shape[0]} pixels, was {before.shape[1]} x {before.shape[0]}"
    error = 255 * float(np.sqrt(np.mean((after.astype(np.float64) - before) ** 2)))
    return "" if error <= PIXEL_TOLERANCE else f"pixels differ by {error:.2g} of 255 levels, root mean square"


def _without_digits(text: str) -> str:
    """A text for reading, its numbers replaced and its column widths evened out."""
    return re.sub(r"[-+\d.]*\d|[-: ]+", "#", text)


def _keep(file: Path, disagreement: str) -> bool:
    """Whether a file stays, as up to date; a difference is named."""
    if not disagreement:
        file.touch()
        return True
    name_difference(file, disagreement)
    return False
