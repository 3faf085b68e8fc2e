"""The figures of sweeps."""

from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from msa_core.analysis.claims_rule import UNDECIDED
from msa_core.analysis.plots.style import WIDTH, empty

HATCH = "////"


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
    size = (WIDTH, 1.4 + 0.3 * len(order))
    figure, axes = plt.subplots(1, len(effects), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, effect in zip(axes[0], effects, strict=True):
        rows = table[table["effect"] == effect]
        places = [order.index(name) for name in names[rows.index]]
        axis.axvspan(-smallest, smallest, color="0.92", zorder=0)
        axis.axvline(0, color="0.6", linewidth=1, zorder=1)
        errors = [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]
        axis.errorbar(rows["estimate"], places, xerr=errors, fmt="o", color="C0", markersize=5, capsize=3)
        axis.set_title(effect, fontsize=10)
        axis.grid(visible=False, axis="y")
        axis.locator_params(axis="x", nbins=4)
    axes[0, 0].set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    axes[0, 0].set_ylim(len(order) - 0.5, -0.5)
    figure.supxlabel(f"gain in test MAE (label units), 95% interval; shaded: less than {smallest:g}", fontsize=10)
    return figure
