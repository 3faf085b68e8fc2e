"""Encodings: covariances, spectra, distances, and what linear probes read out of them."""

from collections.abc import Mapping
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pandas.core.groupby import SeriesGroupBy

from msa_core.analysis.plots.style import WIDTH, empty, legend_below, panels

MOST_CELLS = 64  # of a matrix's side in a picture: more would be smaller than the pixels that a page shows
LINE_STYLES = ("-", "--", "-.", ":")  # one a variant: where two lines coincide, both are seen


def covariances(runs: Mapping[str, Mapping[str, NDArray]], modalities: tuple[str, ...]) -> Figure:
    """Covariance matrices of encodings before and after training, on one colour scale.

    A row a modality, then, for two modalities of one width, the difference; two columns a variant. A matrix wider than
    `MOST_CELLS` is shown in blocks: a cell is the mean covariance of a block, which is the covariance of the means of
    its rows' and its columns' features.

    Args:
        runs: variant -> `Run.covariances`, of one seed.
        modalities: rows.
    """
    columns: dict[str, dict[str, NDArray]] = {}
    for variant, arrays in runs.items():
        for when in ("before", "after"):
            matrices = {modality: arrays[f"{modality}/covariance/{when}"] for modality in modalities}
            if len(matrices) == 2 and len({matrix.shape for matrix in matrices.values()}) == 1:
                matrices[" − ".join(modalities)] = np.subtract(*matrices.values())
            columns[f"{variant}\n{when} training"] = matrices
    rows = list(matrices)
    features = {name: len(matrix) for name, matrix in matrices.items()}
    columns = {heading: {name: in_blocks(m) for name, m in shown.items()} for heading, shown in columns.items()}
    side = min(2.2, (WIDTH - 0.8) / len(columns))  # of a matrix, in inches
    size = (0.8 + side * len(columns), 1.4 + side * len(rows))
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    largest = max(np.quantile(np.abs(matrix), 0.995) for column in columns.values() for matrix in column.values())
    # Features before training are far smaller than after it: a linear scale would show one of the two only.
    norm = SymLogNorm(linthresh=largest / 1000, vmin=-largest, vmax=largest)
    for column, (heading, matrices) in zip(axes.T, columns.items(), strict=True):
        for axis, (name, matrix) in zip(column, matrices.items(), strict=True):
            # "nearest": a cell has a colour of the bar, never the mean of two.
            image = axis.imshow(matrix, cmap="RdBu_r", norm=norm, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            if axis in axes[:, 0]:
                shown = f" in {len(matrix)} blocks" if len(matrix) < features[name] else ""
                axis.set_ylabel(f"{name}\n({features[name]} features{shown})")
        column[0].set_title(heading)
    marks = np.array([-1, -0.01, 0, 0.01, 1]) * largest
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=40, location="bottom", ticks=marks)
    bar.set_ticklabels([f"{mark:.1g}" for mark in marks])
    bar.minorticks_off()
    bar.set_label("covariance (symmetric logarithmic scale)")
    return figure


def in_blocks(matrix: NDArray) -> NDArray:
    """The matrix as means of at most `MOST_CELLS` x `MOST_CELLS` blocks, as equal in size as they can be.

    >>> in_blocks(np.eye(128))[:2, :2]
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    starts = np.unique(np.linspace(0, len(matrix), min(len(matrix), MOST_CELLS), endpoint=False).astype(int))
    sizes = np.diff([*starts, len(matrix)])
    sums = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    return np.asarray(sums / np.outer(sizes, sizes))


def by_stage(measured: pd.DataFrame, value: str, keys: list[str]) -> pd.DataFrame:
    """The rows with a column `stage`: "before", "<variant>, after"; "<variant>, before" where the starts differ.

    Variants of one seed often begin with the same weights: their common start is then kept once.

    Args:
        measured: variant, when ("before" or "after" training), the keys and the value.
        value: the column that is compared.
        keys: what identifies a value within a variant.
    """
    before = measured["when"] == "before"
    starts = measured[before].groupby(keys)[value].agg(["min", "max"])
    if np.allclose(starts["min"], starts["max"], rtol=1e-6, atol=0):
        measured = measured[~(before & measured.duplicated([*keys, "when"]))]
        return measured.assign(stage=(measured["variant"] + ", after").mask(measured["when"] == "before", "before"))
    return measured.assign(stage=measured["variant"] + ", " + measured["when"])


def spectra(eigenvalues: pd.DataFrame) -> Figure:
    """Eigenvalues of the encodings' covariances, largest first; line: median over seeds, band: lowest to highest.

    Args:
        eigenvalues: as `tables.spectra` gives it, with variant and seed.
    """
    modalities = list(dict.fromkeys(eigenvalues["modality"]))
    variants = list(dict.fromkeys(eigenvalues["variant"]))
    figure, axes = panels(len(modalities), height=3.6, sharey=True)
    staged = by_stage(eigenvalues, "variance", ["modality", "seed", "rank"])
    for axis, modality in zip(axes, modalities, strict=True):
        of_modality = staged[staged["modality"] == modality]
        for (stage, variant, when), rows in of_modality.groupby(["stage", "variant", "when"], sort=False):
            number = variants.index(variant)
            colour = "0.45" if stage == "before" else f"C{number}"
            style = ":" if when == "before" else LINE_STYLES[number % len(LINE_STYLES)]
            _median_and_range(axis, rows.groupby("rank")["variance"], colour, style, stage)
        axis.set(title=modality, xlabel="rank of the eigenvalue", yscale="log")
    axes[0].set_ylabel("variance along the eigenvector\n(median and range of the seeds)")
    axes[0].set_ylim(bottom=max(1e-8, axes[0].get_ylim()[0]))
    legend_below(figure, axes[0], columns=4)
    return figure


def _median_and_range(axis: Axes, by_place: SeriesGroupBy, colour: str, style: str, label: str) -> None:
    """A line at the median of each group (a rank, an epoch) and a band from its lowest to its highest value."""
    seeds = by_place.agg(["min", "median", "max"]).clip(lower=1e-12)  # for logarithmic axes
    axis.fill_between(seeds.index, seeds["min"], seeds["max"], color=colour, alpha=0.2, linewidth=0)
    axis.plot(seeds.index, seeds["median"], style, color=colour, label=label)


def alignment_distances(history: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    """How far two modalities are apart: by epoch in training, and before and after it, a dot a seed.

    Args:
        history: variant, seed, epoch, distance: as trained with, unweighted, mean over the batches.
        measured: rows of `tables.second_order`, with variant and seed; those of its distances are shown.
    """
    variants = list(dict.fromkeys(measured["variant"]))
    distances = [measure for measure in dict.fromkeys(measured["measure"]) if measure.endswith("distance")]
    figure, axes = panels(1 + len(distances), height=3.7)
    for variant, rows in history.groupby("variant", sort=False):
        number = variants.index(variant)
        style = LINE_STYLES[number % len(LINE_STYLES)]
        _median_and_range(axes[0], rows.groupby("epoch")["distance"], f"C{number}", style, str(variant))
    axes[0].set(title="In training, mean over batches", xlabel="epoch (median and range of the runs)")
    axes[0].set_ylabel("distance trained with")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, measure in zip(axes[1:], distances, strict=True):
        of_measure = by_stage(measured[measured["measure"] == measure], "value", ["modality", "seed"])
        for place, (names, seeds) in enumerate(of_measure.groupby(["stage", "variant"], sort=False)):
            colour = "0.45" if names[0] == "before" else f"C{variants.index(names[1])}"
            places = place + np.linspace(-0.2, 0.2, len(seeds))  # side by side: none hides another
            axis.scatter(places, seeds["value"], color=colour, s=12, alpha=0.8)
            axis.hlines(seeds["value"].median(), place - 0.3, place + 0.3, color="black", linewidth=1.5)
        stages = [name.replace(", ", ",\n") for name in dict.fromkeys(of_measure["stage"])]
        axis.set_xticks(range(len(stages)), stages, fontsize=8)
        axis.set(title="Train split, whole", xlabel="training (dot: a seed, bar: median)", ylabel=measure)
        axis.margins(x=0.15)
        if measure == "correlation distance":  # within 0..1; the other has no bound
            axis.set_ylim(bottom=0)
        else:
            axis.set_yscale("log")
    if len(history):
        axes[0].set_yscale("log")
    legend_below(figure, axes[0])
    return figure


def r2_dots(r2: pd.DataFrame, row: str, column: str) -> Figure:
    """R2 of linear probes by variant: a dot a seed, a bar the mean; a panel for each pair of `row` and `column`.

    Args:
        r2: variant, seed, r2 and the two columns named.
        row, column: what names the rows and columns of panels, such as "modality" and "factor".
    """
    variants = list(dict.fromkeys(r2["variant"]))
    rows = list(dict.fromkeys(r2[row]))
    names = sorted(dict.fromkeys(r2[column]), key=lambda name: rows.index(name) if name in rows else -1)
    measured = {in_row: [name for name in names if name in set(r2.loc[r2[row] == in_row, column])] for in_row in rows}
    shape = (len(rows), max(map(len, measured.values())))
    size = (WIDTH, 1.0 + len(rows) * (0.5 + 0.24 * len(variants)))
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    for of_row, (in_row, in_columns) in zip(axes, measured.items(), strict=True):
        for axis in of_row[len(in_columns) :]:
            axis.remove()
        for axis, in_column in zip(of_row, in_columns, strict=False):
            of_panel = r2[(r2[row] == in_row) & (r2[column] == in_column)]
            axis.axvline(0, color="0.6", linewidth=0.8)
            _dots(axis, of_panel["r2"], of_panel["variant"].map(variants.index))
            axis.set_yticks(range(len(variants)), variants)
            axis.grid(axis="y", visible=False)
            axis.set_title(f"{in_row} → {in_column}", fontsize=9)
    axes[0, 0].set_ylim(len(variants) - 0.4, -0.6)
    figure.supxlabel(f"cross-validated R², test split ({row} → {column}; dot: a seed, bar: the mean)", fontsize=10)
    return figure


def _dots(axis: Axes, values: pd.Series, places: pd.Series) -> None:
    """A dot a value, a bar the mean of each place."""
    axis.scatter(values, places, s=18, color=[f"C{number}" for number in places], alpha=0.8, zorder=3)
    axis.scatter(values.groupby(places).mean(), sorted(set(places)), marker="|", s=110, color="black", zorder=2)


def information_dots(values: pd.DataFrame) -> Figure:
    """Terms of information by variant: a dot a draw, a bar the mean, a dashed line the truth; a row of panels a cell.

    One scale for all terms in bits.

    Args:
        values: as `sweeps_information.information_values` gives it.
    """
    if values.empty:
        return empty("No comparison has two draws yet.")
    cells, terms, variants = (list(dict.fromkeys(values[name])) for name in ("cell", "term", "variant"))
    in_bits = values.dropna(subset="truth")[["value", "truth"]].to_numpy()
    margin = 0.05 * np.ptp(in_bits)
    size = (WIDTH, 1.0 + len(cells) * (0.6 + 0.24 * len(variants)))
    figure, axes = plt.subplots(len(cells), len(terms), figsize=size, sharex="col", sharey=True, squeeze=False)
    for (i, cell), (j, term) in product(enumerate(cells), enumerate(terms)):
        axis, of_panel = axes[i, j], values[(values["cell"] == cell) & (values["term"] == term)]
        truth = of_panel["truth"].iloc[0]
        known = not np.isnan(truth)  # but of the AUC
        axis.axvline(0 if known else 0.5, color="0.6", linewidth=0.8)
        if known:
            axis.axvline(truth, color="black", linewidth=1, linestyle="--")
            axis.set_xlim(in_bits.min() - margin, in_bits.max() + margin)
        _dots(axis, of_panel["value"], of_panel["variant"].map(variants.index))
        axis.grid(axis="y", visible=False)
        axis.locator_params(axis="x", nbins=3)
        if i == 0:
            axis.set_title(term, fontsize=10)
    for axis, cell in zip(axes[:, 0], cells, strict=True):
        axis.set_yticks(range(len(variants)), variants)
        axis.set_ylabel(cell, fontsize=10)
    axes[0, 0].set_ylim(len(variants) - 0.4, -0.6)
    scale = "bits (pair AUC: a probability, 0.5 by chance), test split"
    figure.supxlabel(f"{scale}; dot: a draw, bar: the mean, dashed: the truth", fontsize=10)
    return figure
