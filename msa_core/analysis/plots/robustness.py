"""How firm a gain is: what moves it, what tuning reaches, how many runs tell it."""

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from msa_core.analysis.comparisons import run_interval
from msa_core.analysis.plots.style import empty, legend_below, panels


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
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("expected MAE (label units)")
    legend_below(figure, *axes)
    return figure


def power_dots(table: pd.DataFrame, smallest: float) -> Figure:
    """The smallest gain that each comparison's runs tell, a row for each sweep and one for the primary comparisons.

    Args:
        table: as `power.power_table` gives it.
        smallest: gain in MAE that matters, a dotted line.
    """
    if table.empty:
        return empty("No comparison has two runs yet.")
    rows, least = list(table.groupby("where", sort=False)), smallest / 20
    figure, (axis,) = panels(1, 1.0 + 0.28 * len(rows))
    names = []
    for place, (where, compared) in enumerate(rows):
        told = compared["told"].clip(lower=least)
        axis.scatter(told, np.full(len(told), place), s=18, color="C0", alpha=0.5, linewidths=0)
        axis.plot(told.median(), place, marker="|", markersize=12, color="black")
        runs = dict.fromkeys(f"{runs:.0f}" for runs in (compared["n_runs"].min(), compared["n_runs"].max()))
        names.append(f"{where}, {'–'.join(runs)} runs".replace("_", " "))
    axis.axvline(smallest, color="black", linewidth=1, linestyle=":")
    axis.set_yticks(range(len(rows)), names)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel(
        f"smallest gain told in 80% of studies (label units; {least:g}: or less); bar: median; dotted: {smallest:g}"
    )
    return figure
