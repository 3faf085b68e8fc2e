"""Generated unimodal labels by epoch."""

from collections.abc import Mapping
from textwrap import shorten, wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from msa_core import MODALITIES
from msa_core.analysis.plots.style import TASK_COLOURS, WIDTH, legend_below, panels
from msa_core.analysis.tables import SETTLED, evenly_by_y, shown_epochs


def label_trajectories(labels: pd.DataFrame, label_bound: float, followed: int = 6) -> Figure:
    """Generated labels by epoch: per modality, how far from y they are (median, quartiles, 5-95%), and some followed.

    Args:
        labels: `Run.labels`.
        label_bound: H.
        followed: how many utterances to follow, evenly spread over the range of y.
    """
    modalities = _with_labels(labels)
    utterances = evenly_by_y(labels, followed)
    figure, axes = plt.subplots(2, len(modalities), figsize=(WIDTH, 5.6), sharex=True, sharey="row", squeeze=False)
    for column, modality in enumerate(modalities):
        top, bottom = axes[:, column]
        offsets = labels.assign(offset=labels[modality] - labels["multimodal"])
        quantiles = offsets.groupby("epoch")["offset"].quantile(np.array([0.05, 0.25, 0.5, 0.75, 0.95])).unstack()
        colour = TASK_COLOURS[modality]
        top.fill_between(quantiles.index, quantiles[0.05], quantiles[0.95], color=colour, alpha=0.15, label="5–95%")
        top.fill_between(quantiles.index, quantiles[0.25], quantiles[0.75], color=colour, alpha=0.35, label="25–75%")
        top.plot(quantiles.index, quantiles[0.5], color=colour, label="median")
        top.set_title(modality)
        top.legend(loc="upper left", fontsize=8)
        for number, identity in enumerate(utterances):
            path = labels[labels["id"] == identity].sort_values("epoch")
            bottom.plot(path["epoch"], path[modality], color=f"C{number}")
            bottom.scatter(path["epoch"].iloc[0], path["multimodal"].iloc[0], color=f"C{number}", s=22, zorder=3)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        bottom.set(xlabel="epoch (0: the start, y)", ylim=(-1.05 * label_bound, 1.05 * label_bound))
    axes[0, 0].set_ylabel("generated label − y (label units)")
    axes[1, 0].set_ylabel(f"label of {followed} utterances\n(dot: y)")
    return figure


def label_distributions(
    labels: pd.DataFrame, label_bound: float, true: pd.DataFrame | None = None, number: int = 6
) -> Figure:
    """Violins of the generated labels at some epochs, evenly spread, and of the true ones; lines are quartiles.

    Args:
        labels: one run's (`Run.labels`).
        label_bound: H.
        true: id and a column of true unimodal labels per modality; None: not known.
        number: of epochs shown.
    """
    modalities = _with_labels(labels)
    names = {epoch: str(epoch) if epoch else "0\n(y)" for epoch in shown_epochs(labels, number).tolist()}
    shown = labels.assign(epoch=labels["epoch"].map(names)).dropna(subset="epoch")
    order = list(names.values())
    if true is not None:
        shown, order = pd.concat([shown, true.assign(epoch="true")]), [*order, "true"]
    figure, axes = panels(len(modalities), height=3.4, sharey=True)
    for axis, modality in zip(axes, modalities, strict=True):
        colours = [TASK_COLOURS[modality] if epoch != "true" else "0.6" for epoch in order]
        sns.violinplot(
            shown, x="epoch", y=modality, hue="epoch", order=order, hue_order=order, palette=colours, ax=axis,
            cut=0, inner="quart", density_norm="width", linewidth=0.8, alpha=0.6, legend=False,
        )  # fmt: skip
        axis.set(title=modality, xlabel="epoch", ylabel="", ylim=(-1.05 * label_bound, 1.05 * label_bound))
    axes[0].set_ylabel("generated label (label units)")
    return figure


def label_paths(
    labels: pd.DataFrame,
    texts: Mapping[str, str],
    label_bound: float,
    true: pd.DataFrame | None = None,
    followed: int = 6,
) -> Figure:
    """Some utterances, evenly spread over the range of y, with their text and generated labels by epoch.

    Args:
        labels: one run's (`Run.labels`).
        texts: id -> what is said, or the sample's name in the file where the data set has no text.
        label_bound: H.
        true: id and a column of true unimodal labels per modality, drawn behind the last epoch; None: not known.
        followed: number of utterances.
    """
    modalities = _with_labels(labels)
    last = labels["epoch"].max()
    rows = -(-followed // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(WIDTH, 2.9 * rows), sharex=True, sharey=True, squeeze=False)
    for axis, identity in zip(axes.flat, evenly_by_y(labels, followed), strict=False):
        path = labels[labels["id"] == identity].sort_values("epoch")
        y = path["multimodal"].iloc[0]
        axis.axhline(y, color=TASK_COLOURS["multimodal"], linestyle="--", linewidth=1, label="y")
        for modality in modalities:
            colour = TASK_COLOURS[modality]
            axis.plot(path["epoch"], path[modality], color=colour, label=modality)
            if true is not None:
                target = true.loc[true["id"] == identity, modality]
                axis.scatter(last * 1.06, target, color=colour, marker="D", s=22, zorder=3, label=f"true {modality}")
        said = texts[identity] if "text" in modalities else f"{texts[identity]} (no transcript)"
        # A dollar sign in a text or an id starts no formula.
        axis.set_title("\n".join(wrap(shorten(said, 100), 36)), fontsize=8, loc="left", parse_math=False)
        axis.set_ylim(-1.05 * label_bound, 1.05 * label_bound)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes[-1]:
        axis.set_xlabel("epoch (0: the start, y)")
    for axis in axes[:, 0]:
        axis.set_ylabel("label (label units)")
    legend_below(figure, axes[0, 0])
    return figure


def label_view(
    labels: pd.DataFrame, identity: object, text: str, epoch: int, label_bound: float, true: pd.DataFrame | None = None
) -> Figure:
    """One utterance's generated labels by epoch, beside the spread of all labels at one epoch.

    Args:
        labels: one run's (`Run.labels`).
        identity: of the utterance.
        text: what is said.
        epoch: whose labels are shown on the right; dotted on the left.
        label_bound: H.
        true: see `label_paths`; dots.
    """
    modalities = _with_labels(labels)
    figure, (left, right) = panels(2, height=3.4, sharey=True)
    path = labels[labels["id"] == identity].sort_values("epoch")
    left.axhline(path["multimodal"].iloc[0], color=TASK_COLOURS["multimodal"], linestyle="--", linewidth=1, label="y")
    left.axvline(epoch, color="0.5", linestyle=":", linewidth=1.2)
    for modality in modalities:
        left.plot(path["epoch"], path[modality], color=TASK_COLOURS[modality], label=modality)
        if true is not None:
            target = true.loc[true["id"] == identity, modality]
            last = labels["epoch"].max() * 1.06
            left.scatter(last, target, color=TASK_COLOURS[modality], marker="D", s=22, label=f"true {modality}")
    left.set(
        xlabel="epoch (0: the start, y)", ylabel="label (label units)", ylim=(-1.05 * label_bound, 1.05 * label_bound)
    )
    left.set_title("\n".join(wrap(shorten(text, 120), 60)), fontsize=8, loc="left", parse_math=False)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    shown = labels.loc[labels["epoch"] == epoch, modalities]
    sns.violinplot(
        shown, palette=[TASK_COLOURS[modality] for modality in modalities], ax=right,
        cut=0, inner="quart", density_norm="width", linewidth=0.8, alpha=0.6,
    )  # fmt: skip
    right.set_title(f"all {len(shown)} utterances, epoch {epoch}", loc="left")
    legend_below(figure, left)
    return figure


def label_movement(movement: pd.DataFrame, label_bound: float) -> Figure:
    """How far generated labels move and how often their sign changes, by epoch; a line a seed, a row a variant.

    Args:
        movement: as `tables.label_movement` gives it, with variant and seed.
        label_bound: H; dotted: 1% of it.
    """
    names = {
        "moved": "mean |change| in an epoch\n(label units)",
        "flipped": "share of samples whose\nsign changes in an epoch",
        "opposite": "share of samples whose\nsign is not y's (y ≠ 0)",
    }
    variants = list(dict.fromkeys(movement["variant"]))
    size = (WIDTH, 3.1 * len(variants))
    figure, axes = plt.subplots(len(variants), 3, figsize=size, sharex=True, sharey="col", squeeze=False)
    for row, variant in zip(axes, variants, strict=True):
        of_variant = movement[movement["variant"] == variant]
        for axis, (measure, name) in zip(row, names.items(), strict=True):
            _line_a_seed(axis, of_variant, measure)
            axis.set_ylabel(name)
            axis.set_ylim(bottom=0)
        row[0].axhline(SETTLED * label_bound, color="0.4", linestyle=":", linewidth=1.2, label="1% of H")
        row[0].set_title(f"{variant}, n = {of_variant['seed'].nunique()} seeds", loc="left")
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    legend_below(figure, axes[0, 0])
    return figure


def label_agreement(agreement: pd.DataFrame) -> Figure:
    """Distance and correlation of generated to true unimodal labels by epoch; a line a seed, a row a variant.

    Args:
        agreement: as `tables.label_agreement` gives it, with variant and seed.
    """
    names = {"mae": "MAE to the true label (label units)", "corr": "correlation with the true label"}
    variants = list(dict.fromkeys(agreement["variant"]))
    size = (WIDTH, 3.4 * len(variants))
    figure, axes = plt.subplots(len(variants), 2, figsize=size, sharex=True, sharey="col", squeeze=False)
    for row, variant in zip(axes, variants, strict=True):
        of_variant = agreement[agreement["variant"] == variant]
        for axis, (measure, name) in zip(row, names.items(), strict=True):
            _line_a_seed(axis, of_variant, measure)
            for modality, copied in of_variant[of_variant["epoch"] == 0].groupby("modality"):
                colour = TASK_COLOURS[str(modality)]
                axis.axhline(copied[measure].iloc[0], color=colour, linestyle="--", linewidth=1)
            axis.set_ylabel(name)
        row[0].set_title(f"{variant}, n = {of_variant['seed'].nunique()} seeds", loc="left")
    for axis in axes[-1]:
        axis.set_xlabel("epoch (dashed: copying y)")
    legend_below(figure, axes[0, 0])
    return figure


def _with_labels(labels: pd.DataFrame) -> list[str]:
    """The modalities that this run has labels for."""
    return [modality for modality in MODALITIES if modality in labels and labels[modality].notna().any()]


def _line_a_seed(axis: Axes, frame: pd.DataFrame, measure: str) -> None:
    """One thin line by epoch for each seed, in the colour of its modality."""
    for (modality, _), line in frame.groupby(["modality", "seed"], sort=False):
        colour = TASK_COLOURS[str(modality)]
        axis.plot(line["epoch"], line[measure], color=colour, alpha=0.75, linewidth=1.2, label=modality)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
