"""Test metrics of variants, and their differences."""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msa_core.analysis.plots.style import WIDTH, empty, legend_below
from msa_core.analysis.tables import METRIC_TITLES
from msa_core.metrics import LOWER_IS_BETTER

RANK_COLOURS = plt.get_cmap("viridis")
MAIN_METRICS = ("mae", "corr", "acc2_non0", "acc2")  # the last one: of scheme "sims", which has no other


def main_comparison(metrics: pd.DataFrame) -> Figure:
    """Test metrics by variant: a dot a seed, lines join the same seed, a bar marks the mean; a row a data set.

    A seed's colour is its rank under the first variant, so that a line can be followed and a change of order is seen.

    Args:
        metrics: as `collect.Records` gives them; of `MAIN_METRICS`, each data set shows those that it has.
    """
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    test = test[test["metric"].isin(MAIN_METRICS)]
    titles = list(dict.fromkeys(test["title"]))
    columns = test.groupby("title")["metric"].nunique().max()
    figure, axes = plt.subplots(len(titles), columns, figsize=(WIDTH, 3.4 * len(titles)), squeeze=False)
    for row, title in zip(axes, titles, strict=True):
        of_data_set = test[test["title"] == title]
        shown = [metric for metric in MAIN_METRICS if metric in set(of_data_set["metric"])]
        variants = list(dict.fromkeys(of_data_set["variant"]))
        for axis, metric in zip(row, shown, strict=True):
            of_metric = of_data_set[of_data_set["metric"] == metric]
            values = of_metric.pivot(index="seed", columns="variant", values="value")[variants]
            _seeds(axis, values)
            axis.set_xticks(range(len(variants)), [variant.replace("_", "\n") for variant in variants], fontsize=8)
            axis.set_xlim(-0.5, len(variants) - 0.5)
            better = "lower" if metric in LOWER_IS_BETTER else "higher"
            heading = f"{title}, n = {len(values)} seeds\n" if axis is row[0] else ""
            axis.set_title(f"{heading}{better} is better", loc="left")
            axis.set_ylabel(f"test {METRIC_TITLES[metric]}")
    legend_below(figure, axes[0, 0])
    return figure


def _seeds(axis: Axes, values: pd.DataFrame) -> None:
    """A line and dots for each row (a seed) over the columns (the variants), and each column's mean."""
    places, first = range(values.shape[1]), values.columns[0]
    width = min(1.5, 0.5 + 10 / len(values))  # points: thin where there are many
    colours = RANK_COLOURS(np.linspace(0, 0.9, len(values)))  # its last tenth is too light on white
    for colour, (_, line) in zip(colours, values.sort_values(first).iterrows(), strict=True):
        axis.plot(places, line, color=colour, linewidth=width, alpha=0.7, zorder=1)
        axis.scatter(
            places, line, color=[colour], s=12 * width, zorder=2, label=f"a seed (colour: its rank under {first})"
        )
    axis.scatter(places, values.mean(skipna=False), marker="_", s=600, color="black", zorder=3, label="mean")


def forest(comparison: pd.DataFrame, reference: str = "paper", metric: str = "mae") -> Figure:
    """Each variant's difference to the reference with its interval, a panel a data set.

    Args:
        comparison: as `comparisons.compare` gives it.
        reference: the variant compared with.
        metric: one of `comparisons.COMPARED`.
    """
    rows = comparison[(comparison["metric"] == metric) & comparison["difference"].notna()]
    groups = list(rows.groupby("title", sort=False))
    if not groups:
        return empty(f"no finished run to compare with one of {reference}")
    heights = [len(group) + 1.5 for _, group in groups]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(WIDTH, 0.9 + 0.28 * sum(heights)), squeeze=False, height_ratios=heights
    )
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    for axis, (title, group) in zip(axes[:, 0], groups, strict=True):
        places = np.arange(len(group))
        axis.axvline(0, color="0.5", linewidth=1)
        axis.hlines(places, group["low"], group["high"], color="black", linewidth=1.2, label="95% interval")
        axis.scatter(group["difference"], places, color="black", s=18, zorder=3, label="difference, mean over seeds")
        axis.set_yticks(places, [f"{name} ({n})" for name, n in zip(group["variant"], group["n_seeds"], strict=True)])
        axis.set_ylim(len(group) - 0.4, -0.6)
        axis.grid(False, axis="y")
        axis.set_title(f"{title}, {group['n_samples'].iloc[0]} test samples (seeds in brackets)", loc="left")
        axis.set_xlabel(f"test {METRIC_TITLES[metric]} less that of {reference} ({better} is better)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def primary_gains(claims: pd.DataFrame) -> Figure:
    """The primary claims: each gain with its 95% interval and its verdict, a panel for each unit.

    Args:
        claims: as `claims.claims_table` gives it; gains smaller than what matters are shaded.
    """
    primary = claims[claims["primary"] & claims["estimate"].notna()]
    if primary.empty:
        return empty("no run of the primary comparisons")
    units = list(primary.groupby("unit", sort=False))
    heights = [len(rows) + 0.8 for _, rows in units]
    size = (WIDTH, 0.8 + 0.55 * sum(heights))
    figure, axes = plt.subplots(len(units), 1, figsize=size, height_ratios=heights, squeeze=False)
    for axis, (unit, rows) in zip(axes[:, 0], units, strict=True):
        places = np.arange(len(rows))
        smallest = rows["smallest"].iloc[0]
        axis.axvspan(-smallest, smallest, color="0.92", zorder=0)
        axis.axvline(0, color="0.6", linewidth=1, zorder=1)
        errors = [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]
        axis.errorbar(rows["estimate"], places, xerr=errors, fmt="o", color="C0", capsize=3)
        names = [fill(claim.partition(":")[0], 44) for claim in rows["claim"]]
        axis.set_yticks(places, names)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel(f"gain in {unit}, 95% interval; shaded: less than {smallest:g}")
        axis.grid(visible=False, axis="y")
        verdicts = axis.secondary_yaxis("right")
        verdicts.set_yticks(places, rows["verdict"])
        verdicts.tick_params(length=0)
    return figure
