"""How firm a gain is: what moves it, what tuning reaches, how many runs tell it."""

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from msa_core.analysis.comparisons import run_interval
from msa_core.analysis.plots.style import empty, legend_below, panels
from msa_core.analysis.power import PRIMARY, smallest_told


def gain_dots(gains: Mapping[str, ArrayLike], smallest: float) -> Figure:
    """Every gain of each cause, with their mean and its 95% interval; what does not matter is shaded.

    Args:
        gains: cause -> gains in test MAE; a cause without any has a row without a dot.
        smallest: gain in MAE that matters.
    """
    figure, (axis,) = panels(1, 1.0 + 0.6 * len(gains))
    axis.axvspan(-smallest, smallest, color="0.92", zorder=0)
    axis.axvline(0, color="0.6", linewidth=1, zorder=1)
    for place, values in enumerate(gains.values()):
        table = np.asarray(values, dtype=np.float64)
        axis.scatter(table, np.full(len(table), place), s=14, color="C0", alpha=0.5, linewidths=0)
        if len(table) > 1:
            mean = run_interval(table)
            error = [[mean.estimate - mean.low], [mean.high - mean.estimate]]
            axis.errorbar(mean.estimate, place + 0.25, xerr=error, fmt="D", color="black", markersize=4, capsize=3)
    axis.set_yticks(range(len(gains)), [fill(cause, 40) for cause in gains])
    axis.set_ylim(len(gains) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(f"gain in test MAE, each run; black: mean, 95% interval; shaded: less than {smallest:g}")
    return figure


def budget_curves(table: pd.DataFrame) -> Figure:
    """Expected validation MAE of the best of so many trials, and its expected test MAE; shaded: standard deviation.

    Args:
        table: as `searches.budgets` gives it.
    """
    if table.empty:
        return empty("No trial of the search is finished yet.")
    figure, axes = panels(2, sharey=True)
    titles = {"valid": "validation MAE of the best trial", "test": "test MAE of the same trial"}
    for axis, (measure, title) in zip(axes, titles.items(), strict=True):
        for number, (variant, curve) in enumerate(table.groupby("variant", sort=False)):
            mean, sd = curve[f"{measure}_mae"], curve[f"{measure}_sd"]
            axis.plot(curve["budget"], mean, color=f"C{number}", linestyle=("-", "--")[number], label=variant)
            axis.fill_between(curve["budget"], mean - sd, mean + sd, color=f"C{number}", alpha=0.15, linewidth=0)
        axis.set_title(title)
        axis.set_xlabel("budget (trials)")
    axes[0].set_ylabel("expected MAE (label units)")
    legend_below(figure, *axes)
    return figure


def power_curves(table: pd.DataFrame, smallest: float) -> Figure:
    """The smallest gain that so many runs tell: primary comparisons (dot: the runs made), sweeps as a band.

    Args:
        table: as `power.power_table` gives it.
        smallest: gain in MAE that matters.
    """
    if table.empty:
        return empty("No comparison has two runs yet.")
    figure, (axis,) = panels(1, 4.2)
    runs = np.unique(np.geomspace(3, 1000, 40).astype(int))
    primary, swept = table[table["where"] == PRIMARY], table[table["where"] != PRIMARY]
    if len(swept):
        low, high = ([smallest_told(sd, n) for n in runs] for sd in swept["sd"].quantile([0.25, 0.75]))
        axis.fill_between(runs, low, high, color="0.85", label="middle half of the sweeps' comparisons, no correction")
    for number, row in enumerate(primary.itertuples()):
        told = [smallest_told(row.sd, n, row.tests) for n in runs]
        name = str(row.comparison).partition(":")[0]
        axis.plot(runs, told, color=f"C{number}", label=fill(name, 60))
        axis.plot(row.n_runs, row.told, marker="o", color=f"C{number}")
    axis.axhline(smallest, color="black", linewidth=1, linestyle=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("paired runs")
    axis.set_ylabel("smallest gain told in 80% of studies")
    legend_below(figure, axis, columns=1)
    return figure
