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

from msa_core.analysis.plots.style import WIDTH, empty, legend_below, panels


def covariances(runs: Mapping[str, Mapping[str, NDArray]], modalities: tuple[str, ...]) -> Figure:
    """Covariance matrices of encodings before and after training, on one colour scale.

    A row a modality, then, for two modalities of one width, the difference; two columns a variant.

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
    side = min(2.2, (WIDTH - 0.8) / len(columns))  # of a matrix, in inches
    size = (0.8 + side * len(columns), 1.4 + side * len(rows))
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    largest = max(np.quantile(np.abs(matrix), 0.995) for column in columns.values() for matrix in column.values())
    # Features before training are far smaller than after it: a linear scale would show one of the two only.
    norm = SymLogNorm(linthresh=largest / 1000, vmin=-largest, vmax=largest)
    for column, (heading, matrices) in zip(axes.T, columns.items(), strict=True):
        for axis, (name, matrix) in zip(column, matrices.items(), strict=True):
            image = axis.imshow(matrix, cmap="RdBu_r", norm=norm)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            if axis in axes[:, 0]:
                axis.set_ylabel(f"{name}\n({len(matrix)} features)")
        column[0].set_title(heading)
    marks = np.array([-1, -0.01, 0, 0.01, 1]) * largest
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=40, location="bottom", ticks=marks)
    bar.set_ticklabels([f"{mark:.1g}" for mark in marks])
    bar.minorticks_off()
    bar.set_label("covariance (symmetric logarithmic scale)")
    return figure


def spectra(eigenvalues: pd.DataFrame) -> Figure:
    """Eigenvalues of the encodings' covariances, largest first; a line a seed, a panel a modality.

    Args:
        eigenvalues: as `tables.spectra` gives it, with variant and seed.
    """
    modalities = list(dict.fromkeys(eigenvalues["modality"]))
    variants = list(dict.fromkeys(eigenvalues["variant"]))
    figure, axes = panels(len(modalities), height=3.6, sharey=True)
    for axis, modality in zip(axes, modalities, strict=True):
        of_modality = eigenvalues[eigenvalues["modality"] == modality]
        for (variant, when, _), line in of_modality.groupby(["variant", "when", "seed"], sort=False):
            axis.semilogy(
                line["rank"], line["variance"].clip(lower=1e-12), "--" if when == "before" else "-",
                color=f"C{variants.index(variant)}", alpha=0.7, linewidth=1.2, label=f"{variant}, {when}",
            )  # fmt: skip
        axis.set(title=modality, xlabel="rank of the eigenvalue")
    axes[0].set_ylabel("variance along the eigenvector")
    axes[0].set_ylim(bottom=max(1e-8, axes[0].get_ylim()[0]))
    legend_below(figure, axes[0], columns=4)
    return figure


def alignment_distances(history: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    """How far two modalities are apart: by epoch in training, and before and after it; a line a seed.

    Args:
        history: variant, seed, epoch, distance: as trained with, unweighted, mean over the batches.
        measured: rows of `tables.second_order`, with variant and seed; those of its distances are shown.
    """
    variants = list(dict.fromkeys(measured["variant"]))
    distances = [measure for measure in dict.fromkeys(measured["measure"]) if measure.endswith("distance")]
    figure, axes = panels(1 + len(distances), height=3.5)
    for (variant, _), line in history.groupby(["variant", "seed"], sort=False):
        colour = f"C{variants.index(variant)}"
        axes[0].plot(line["epoch"], line["distance"], "o-", color=colour, alpha=0.7, markersize=3, label=variant)
    axes[0].set(title="In training, mean over batches", xlabel="epoch", ylabel="distance trained with")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, measure in zip(axes[1:], distances, strict=True):
        of_measure = measured[measured["measure"] == measure]
        for (variant, _), line in of_measure.groupby(["variant", "seed"], sort=False):
            colour = f"C{variants.index(variant)}"
            axis.plot(line["when"], line["value"], "o-", color=colour, alpha=0.7, markersize=3, label=variant)
        axis.set(title="Train split, whole", xlabel="training", ylabel=measure)
        axis.margins(x=0.2)
        if measure == "correlation distance":  # within 0..1; the other has no bound
            axis.set_ylim(bottom=0)
        else:
            axis.set_yscale("log")
    if len(history):
        axes[0].set_yscale("log")
    legend_below(figure, *axes)
    return figure


def r2_dots(r2: pd.DataFrame, row: str, column: str) -> Figure:
    """R2 of linear probes by variant: a dot a seed, a bar the mean; a panel for each pair of `row` and `column`.

    Args:
        r2: variant, seed, r2 and the two columns named.
        row, column: what names the rows and columns of panels, such as "modality" and "factor".
    """
    rows, columns, variants = (list(dict.fromkeys(r2[name])) for name in (row, column, "variant"))
    columns.sort(key=lambda name: rows.index(name) if name in rows else -1)
    size = (WIDTH, 1.0 + len(rows) * (0.5 + 0.24 * len(variants)))
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, sharex=True, sharey=True, squeeze=False)
    for (i, in_row), (j, in_column) in product(enumerate(rows), enumerate(columns)):
        axis, of_panel = axes[i, j], r2[(r2[row] == in_row) & (r2[column] == in_column)]
        axis.set_yticks(range(len(variants)), variants)
        axis.grid(axis="y", visible=False)
        if of_panel.empty:
            axis.set_facecolor("0.93")
            continue
        axis.axvline(0, color="0.6", linewidth=0.8)
        _dots(axis, of_panel["r2"], of_panel["variant"].map(variants.index))
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
