"""Figures of what rounding does to a run."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from msa_core.analysis.plots.style import WIDTH, legend_below, panels

MARKERS = "osD^"
LINE_COLOURS = (  # Okabe and Ito, a grey and a brown
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#808080"),
    "#7F4A1E",
)
LINE_STYLES = ("-", "--", "-", "-.", ":", "--", "-.", ":", "--")


def step_differences(differences: pd.DataFrame) -> Figure:
    """How far two arithmetics are apart, step by step; a panel a precision, a colour a variant, a line an arithmetic.

    Args:
        differences: as `variance.step_differences` gives it; a difference of exactly 0 is left out.
    """
    precisions = list(dict.fromkeys(differences["precision"]))
    variants = list(dict.fromkeys(differences["variant"]))
    figure, axes = panels(len(precisions), height=3.6, sharey=True)
    for axis, precision in zip(axes, precisions, strict=True):
        of_precision = differences[differences["precision"] == precision]
        for (variant, _), line in of_precision.groupby(["variant", "arithmetic"], sort=False):
            shown = line["difference"].replace(0, np.nan)
            axis.semilogy(
                line["step"], shown, color=f"C{variants.index(variant)}", alpha=0.8, linewidth=0.8, label=variant
            )
        axis.set(title=precision, xlabel="training step")
    axes[0].set_ylabel("relative difference of the training loss")
    legend_below(figure, axes[0])
    return figure


def interventions(rows: pd.DataFrame, window: int = 19) -> Figure:
    """How far two runs are apart, step by step; a panel a kind of difference, a line an intervention.

    Args:
        rows: as `mechanism.compared` gives them, with precision, perturbation, intervention and seed.
        window: each point is the median over seeds, and over so many steps around it. A difference of exactly 0 is
            left out.
    """
    panel_keys = list(dict.fromkeys(zip(rows["precision"], rows["perturbation"], strict=True)))
    names = list(dict.fromkeys(rows["intervention"]))
    figure, axes = panels(len(panel_keys), height=4.2, sharey=True)
    for axis, (precision, perturbation) in zip(axes, panel_keys, strict=True):
        shown = rows[(rows["precision"] == precision) & (rows["perturbation"] == perturbation)]
        for name, line in shown.groupby("intervention", sort=False):
            number = names.index(name)
            by_step = line.pivot(index="step", columns="seed", values="difference").replace(0, np.nan)
            smooth = by_step.rolling(window, center=True, min_periods=1).median().median(axis="columns")
            axis.semilogy(
                smooth.index,
                smooth,
                color=LINE_COLOURS[number % len(LINE_COLOURS)],
                linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                linewidth=1.3,
                label=name,
            )
        between = f"perturbed by {perturbation:.0e}" if perturbation else "two arithmetics"
        axis.set(title=f"{precision}, {between}", xlabel="training step")
    axes[0].set_ylabel("relative difference of the training loss")
    legend_below(figure, *axes, columns=4)
    return figure


def mae_by_arithmetic(runs: pd.DataFrame) -> Figure:
    """Test MAE of each seed under each arithmetic; a panel a data set and variant.

    Args:
        runs: dataset, variant, seed, arithmetic, test_mae.
    """
    panels_shown = list(runs.groupby(["dataset", "variant"], sort=False))
    arithmetics = list(dict.fromkeys(runs["arithmetic"]))
    one_scale = runs["dataset"].nunique() == 1
    figure, axes = plt.subplots(1, len(panels_shown), figsize=(WIDTH, 3.4), sharey=one_scale, squeeze=False)
    for axis, ((dataset, variant), of_variant) in zip(axes[0], panels_shown, strict=True):
        table = of_variant.pivot(index="seed", columns="arithmetic", values="test_mae").reindex(columns=arithmetics)
        places = np.arange(len(table))
        axis.vlines(places, table.min(axis="columns"), table.max(axis="columns"), color="0.8", linewidth=3, zorder=1)
        for number, arithmetic in enumerate(arithmetics):
            axis.scatter(places, table[arithmetic], s=22, marker=MARKERS[number], color=f"C{number}", label=arithmetic)
        axis.set_xticks(places, table.index.astype(str), rotation=90)
        axis.set(title=f"{dataset}, {variant}", xlabel="seed")
    axes[0, 0].set_ylabel("test MAE (label units)")
    legend_below(figure, axes[0, 0])
    return figure
