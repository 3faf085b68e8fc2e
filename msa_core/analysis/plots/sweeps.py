"""The figures of sweeps."""

from collections.abc import Collection, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from msa_core.analysis.claims_rule import UNDECIDED
from msa_core.analysis.plots.style import WIDTH, empty

HATCH = "////"
SHARE = "share of the samples"  # unit of most factors that are numbers
UNITS = {"noise": "standard deviation, over that of the train split's frames"}


def phase_diagram(table: pd.DataFrame, smallest: float) -> Figure:
    """Gain in test MAE over signal-to-noise and shared part: a column of panels an effect, a row a label noise.

    One scale for all panels, white at 0, up to `smallest` at least: what does not matter looks pale. Undecided cells
    are hatched; cells without two draws stay grey.

    Args:
        table: as `analysis.sweeps.gains` gives it.
        smallest: gain in MAE that matters.
    """
    if table.empty:
        return empty("No cell of the phase diagram has two draws yet.")
    effects, noises, ratios, parts = (
        list(dict.fromkeys(table.sort_values(name)[name]) if name != "effect" else dict.fromkeys(table[name]))
        for name in ("effect", "label_noise", "signal_to_noise", "shared_part")
    )
    limit = max(table["estimate"].abs().max(), smallest)
    size = (WIDTH, 0.9 + 2.4 * len(noises))
    figure, axes = plt.subplots(len(noises), len(effects), figsize=size, sharex=True, sharey=True, squeeze=False)
    for (row, noise), (column, effect) in ((r, c) for r in enumerate(noises) for c in enumerate(effects)):
        axis = axes[row, column]
        cells = table[(table["label_noise"] == noise) & (table["effect"] == effect)]
        values = cells.pivot(index="shared_part", columns="signal_to_noise", values="estimate")
        values = values.reindex(index=parts, columns=ratios)
        image = axis.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, origin="lower", aspect="auto")
        for cell in cells.itertuples():
            x, y = ratios.index(cell.signal_to_noise), parts.index(cell.shared_part)
            if cell.verdict == UNDECIDED:
                hatched = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch=HATCH, edgecolor="0.6", linewidth=0)
                axis.add_patch(hatched)
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
            axis.text(x, y, f"{cell.estimate:+.3f}", ha="center", va="center", bbox=box)
        axis.set_facecolor("0.85")
        axis.grid(visible=False)
        axis.set_xticks(np.arange(len(ratios)), [f"{ratio:g}" for ratio in ratios])
        axis.set_yticks(np.arange(len(parts)), [f"{part:g}" for part in parts])
        axis.set_title(f"{effect}, label noise {noise:g}", fontsize=10)
    figure.supxlabel("signal-to-noise of audio and vision (ratio of standard deviations)", fontsize=10)
    figure.supylabel("shared part (of a sentiment's variance)", fontsize=10)
    figure.colorbar(image, ax=axes, label="gain in test MAE (label units)", shrink=0.8)
    figure.legend(
        handles=[Patch(facecolor="white", edgecolor="0.6", hatch=HATCH, label="undecided")],
        loc="outside upper right",
    )
    return figure


def sweep_figure(table: pd.DataFrame, factors: Sequence[str], smallest: float) -> Figure:
    """`sweep_curves` where the first factor's levels are numbers, else `sweep_forest`; arguments as theirs."""
    numbers = len(factors) > 0 and pd.api.types.is_numeric_dtype(table[factors[0]])
    return (sweep_curves if numbers else sweep_forest)(table, factors, smallest)


def sweep_forest(table: pd.DataFrame, factors: Collection[str], smallest: float) -> Figure:
    """Each variant's gain in test MAE with its 95% interval, a panel an effect; what does not matter is shaded.

    Args:
        table: as `analysis.sweeps.gains` gives it.
        factors: whose levels tell the rows of a variant apart.
        smallest: gain in MAE that matters.
    """
    if table.empty:
        return empty("No comparison has two draws yet.")
    names = table.apply(lambda row: ", ".join([row["variant"], *(str(row[name]) for name in factors)]), axis="columns")
    if table["variant"].nunique() == 1 and factors:
        names = names.str.removeprefix(f"{table['variant'].iloc[0]}, ")
    order = list(dict.fromkeys(names))
    effects = list(dict.fromkeys(table["effect"]))
    narrow = len(effects) > 3
    size = (WIDTH, 1.4 + 0.3 * len(order))
    figure, axes = plt.subplots(1, len(effects), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, effect in zip(axes[0], effects, strict=True):
        rows = table[table["effect"] == effect]
        places = [order.index(name) for name in names[rows.index]]
        axis.axvspan(-smallest, smallest, color="0.92", zorder=0)
        axis.axvline(0, color="0.6", linewidth=1, zorder=1)
        errors = [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]
        axis.errorbar(rows["estimate"], places, xerr=errors, fmt="o", color="C0", markersize=5, capsize=3)
        axis.set_title(fill(effect.replace("_", " "), 17 if narrow else 40), fontsize=10)
        axis.grid(visible=False, axis="y")
        axis.locator_params(axis="x", nbins=4)
        axis.tick_params(axis="x", labelsize=8 if narrow else None)
    axes[0, 0].set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    axes[0, 0].set_ylim(len(order) - 0.5, -0.5)
    figure.supxlabel(f"gain in test MAE (label units), 95% interval; shaded: less than {smallest:g}", fontsize=10)
    return figure


def sweep_curves(table: pd.DataFrame, factors: Sequence[str], smallest: float) -> Figure:
    """Over the levels of a factor that is a number: test MAE, and below it the gains with their 95% intervals.

    Args:
        table: as `analysis.sweeps.gains` gives it, of one variant.
        factors: the first is the axis; of a second one, each level has a column of panels.
        smallest: gain in MAE that matters, shaded.
    """
    if table.empty:
        return empty("No comparison has two draws yet.")
    axis_of, *others = factors
    columns = list(table.groupby(others, sort=False)) if others else [((), table)]
    figure, axes = plt.subplots(2, len(columns), figsize=(WIDTH, 6.4), sharex=True, sharey="row", squeeze=False)
    for (above, below), (levels, rows) in zip(axes.T, columns, strict=True):
        variant = rows.drop_duplicates(axis_of).sort_values(axis_of)
        above.plot(variant[axis_of], variant["mae"], marker="o", color="black", label=variant["variant"].iloc[0])
        below.axhspan(-smallest, smallest, color="0.92", zorder=0)
        below.axhline(0, color="0.6", linewidth=1, zorder=1)
        for number, (reference, compared) in enumerate(rows.groupby("reference", sort=False)):
            style = {"color": f"C{number}", "marker": "sD^v"[number % 4]}
            compared = compared.sort_values(axis_of)
            above.plot(compared[axis_of], compared["reference_mae"], linestyle="--", **style, label=str(reference))
            errors = [compared["estimate"] - compared["low"], compared["high"] - compared["estimate"]]
            below.errorbar(
                compared[axis_of], compared["estimate"], yerr=errors, capsize=3, **style, label=f"over {reference}"
            )
        if others:
            above.set_title(
                ", ".join(f"{name.replace('_', ' ')} {level:g}" for name, level in zip(others, levels, strict=True))
            )
    axes[0, 0].set_ylabel("test MAE (label units)")
    axes[1, 0].set_ylabel("gain in test MAE, 95% interval")
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8)
    figure.supxlabel(f"{axis_of.replace('_', ' ')} ({UNITS.get(axis_of, SHARE)})", fontsize=10)
    return figure
