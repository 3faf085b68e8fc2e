"""One function per figure: frames in, `matplotlib.figure.Figure` out, no file access but the style sheet."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib_inline.config import InlineBackend
from numpy.typing import NDArray

from msa_core import MODALITIES, SPLITS
from msa_core.metrics import LOWER_IS_BETTER
from msa_core.paths import STYLE
from msa_core.tables import METRIC_TITLES

TASK_COLOURS = {"multimodal": "#000000", "text": "#0072B2", "audio": "#D55E00", "vision": "#009E73"}
plt.style.use(STYLE)
InlineBackend.instance().figure_formats = {"retina"}  # in notebooks: the same size, twice the pixels
WIDTH = 9.0  # inches: text stays readable when a README shows the picture about 800 pixels wide


def main_comparison(metrics: pd.DataFrame, shown: tuple[str, ...] = ("mae", "corr", "acc2_non0")) -> Figure:
    """Test metrics by variant: a dot a seed, lines join the same seed, a bar marks the mean; a row a data set.

    Args:
        metrics: as `records.read_metrics` gives them.
        shown: metrics, one column each.
    """
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    titles = list(dict.fromkeys(test["title"]))
    figure, axes = plt.subplots(len(titles), len(shown), figsize=(WIDTH, 3.4 * len(titles)), squeeze=False)
    for row, title in zip(axes, titles, strict=True):
        of_data_set = test[test["title"] == title]
        variants = list(dict.fromkeys(of_data_set["variant"]))
        for axis, metric in zip(row, shown, strict=True):
            chosen = of_data_set[of_data_set["metric"] == metric]
            values = chosen.pivot(index="seed", columns="variant", values="value")[variants]
            for number, (seed, line) in enumerate(values.iterrows()):
                axis.plot(range(len(variants)), line, color="0.8", linewidth=1, zorder=1)
                axis.scatter(range(len(variants)), line, color=f"C{number}", s=26, zorder=3, label=f"seed {seed}")
            mean = values.mean(skipna=False)
            axis.scatter(range(len(variants)), mean, marker="_", s=600, color="black", zorder=2, label="mean")
            axis.set_xticks(range(len(variants)), [variant.replace("_", "\n") for variant in variants])
            axis.set_xlim(-0.5, len(variants) - 0.5)
            better = "lower" if metric in LOWER_IS_BETTER else "higher"
            heading = f"{title}, n = {len(values)} seeds\n" if axis is row[0] else ""
            axis.set_title(f"{heading}{METRIC_TITLES[metric]}, {better} is better", loc="left")
            axis.set_ylabel(f"test {METRIC_TITLES[metric]}")
    marks: dict[str, Artist] = {}
    for axis in axes[:, 0]:
        marks |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=len(marks), markerscale=0.6)
    return figure


def loss_terms(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Each loss term and the validation MAE by epoch; a line marks the best epoch.

    Args:
        history: `Run.history`.
        best_epoch: whose weights were kept.
    """
    tasks = [task for task in TASK_COLOURS if f"loss_{task}" in history]
    pairs = [column for column in map(str, history) if column.startswith("loss_alignment_")]
    figure, axes = _panels(3 if pairs else 2)
    for task in tasks:
        axes[0].plot(history["epoch"], history[f"loss_{task}"], color=TASK_COLOURS[task], label=task)
    axes[0].set(title="Task losses (train)", ylabel="weighted absolute error (label units)")
    axes[0].legend()
    axes[1].plot(history["epoch"], history["valid_mae"], color="black")
    axes[1].set(title="Validation, multimodal", ylabel="MAE (label units)")
    for column in pairs:
        axes[2].plot(history["epoch"], history[column], label=column.removeprefix("loss_alignment_").replace("_", "–"))
    if pairs:
        axes[2].set(title="Alignment distance (train, unweighted)", ylabel="distance")
        axes[2].legend()
    for axis in axes:
        axis.axvline(best_epoch, color="0.5", linestyle=":", linewidth=1.2)
        axis.set_xlabel(f"epoch (dotted: best, {best_epoch})")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(bottom=0)
    return figure


def label_trajectories(labels: pd.DataFrame, label_bound: float, followed: int = 6) -> Figure:
    """Generated labels by epoch: per modality, how far from y they are (median, quartiles, 5-95%), and some followed.

    Args:
        labels: `Run.labels`.
        label_bound: H.
        followed: how many utterances to follow, evenly spread over the range of y.
    """
    modalities = [modality for modality in MODALITIES if modality in labels]
    start = labels.query("epoch == 0").sort_values("multimodal", kind="stable")
    chosen = start["id"].iloc[np.linspace(0, len(start) - 1, followed).round().astype(int)]
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
        for number, identity in enumerate(chosen):
            path = labels[labels["id"] == identity].sort_values("epoch")
            bottom.plot(path["epoch"], path[modality], color=f"C{number}")
            bottom.scatter(path["epoch"].iloc[0], path["multimodal"].iloc[0], color=f"C{number}", s=22, zorder=3)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        bottom.set(xlabel="epoch (0: the start, y)", ylim=(-1.05 * label_bound, 1.05 * label_bound))
    axes[0, 0].set_ylabel("generated label − y (label units)")
    axes[1, 0].set_ylabel(f"label of {followed} utterances\n(dot: y)")
    return figure


def label_agreement(agreement: pd.DataFrame) -> Figure:
    """Distance and correlation of generated to true unimodal labels by epoch; dashed: copying y.

    Args:
        agreement: as `tables.label_agreement` gives it.
    """
    figure, axes = _panels(2)
    for axis, measure, name in zip(
        axes, ("mae", "corr"), ("MAE to the true label (label units)", "correlation with it"), strict=True
    ):
        for modality, group in agreement.groupby("modality", sort=False):
            axis.plot(group["epoch"], group[measure], color=TASK_COLOURS[str(modality)], label=modality)
            axis.axhline(group[measure].iloc[0], color=TASK_COLOURS[str(modality)], linestyle="--", linewidth=1)
        axis.set(xlabel="epoch (dashed: copying y)", ylabel=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend()
    return figure


def covariances(alignment: Mapping[str, NDArray], modalities: tuple[str, ...]) -> Figure:
    """Covariance matrices of encodings before and after training, on one colour scale, and their spectra.

    Args:
        alignment: `Run.alignment`.
        modalities: rows, one each.
    """
    figure, axes = plt.subplots(len(modalities), 3, figsize=(WIDTH, 2.9 * len(modalities)), squeeze=False)
    largest = max(
        np.quantile(np.abs(alignment[f"{modality}/covariance/{when}"]), 0.995)
        for modality in modalities
        for when in ("before", "after")
    )
    # Features before training are far smaller than after it: a linear scale would show one of the two only.
    norm = SymLogNorm(linthresh=largest / 1000, vmin=-largest, vmax=largest)
    for row, modality in zip(axes, modalities, strict=True):
        for axis, when in zip(row, ("before", "after"), strict=False):
            image = axis.imshow(alignment[f"{modality}/covariance/{when}"], cmap="RdBu_r", norm=norm)
            axis.set(title=f"{modality}, {when} training", xlabel="feature", ylabel="feature")
            axis.grid(False)
        for when, style in (("before", "--"), ("after", "-")):
            spectrum = np.clip(alignment[f"{modality}/spectrum/{when}"], 1e-12, None)
            row[2].semilogy(range(1, len(spectrum) + 1), spectrum, style, color=TASK_COLOURS[modality], label=when)
        row[2].set(title=f"{modality}, eigenvalues", xlabel="rank", ylabel="variance")
        row[2].set_ylim(bottom=max(1e-8, row[2].get_ylim()[0]))
        row[2].legend()
    marks = np.array([-1, -0.01, 0, 0.01, 1]) * largest
    bar = figure.colorbar(image, ax=axes[:, :2], shrink=0.7, aspect=40, location="bottom", ticks=marks)
    bar.set_ticklabels([f"{mark:.1g}" for mark in marks])
    bar.minorticks_off()
    bar.set_label("covariance (symmetric logarithmic scale)")
    return figure


def label_histograms(labels: pd.DataFrame, label_bound: float) -> Figure:
    """Labels by split, as shares of the split.

    Args:
        labels: split and label, a row a sample.
        label_bound: H.
    """
    figure, axes = _panels(len(SPLITS), height=2.8, sharey=True)
    for axis, split in zip(axes, SPLITS, strict=True):
        values = labels.loc[labels["split"] == split, "label"]
        # Bins of a fifteenth of H, centred on zero: MOSI's labels come in steps of 0.2, one a bin.
        bins = np.linspace(-label_bound, label_bound, 31 + 1) * (31 / 30)
        sns.histplot(values, stat="proportion", bins=bins, ax=axis, color="C0", linewidth=0.3)
        axis.set(title=f"{split} (n = {len(values)})", xlabel="label", ylabel="share of samples")
    return figure


def unimodal_against_multimodal(labels: pd.DataFrame) -> Figure:
    """True unimodal labels against the multimodal one.

    Args:
        labels: "multimodal" and a column per modality, a row a sample.
    """
    modalities = [modality for modality in MODALITIES if modality in labels]
    figure, axes = _panels(len(modalities), height=3.2, sharey=True)
    for axis, modality in zip(axes, modalities, strict=True):
        axis.scatter(labels["multimodal"], labels[modality], s=8, alpha=0.35, color=TASK_COLOURS[modality], linewidth=0)
        correlation = labels["multimodal"].corr(labels[modality])
        axis.set(title=f"{modality} (correlation {correlation:.2f})", xlabel="multimodal label")
    axes[0].set_ylabel("unimodal label")
    return figure


def _panels(number: int, height: float = 3.2, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, number, figsize=(WIDTH, height), sharey=sharey, squeeze=False)
    return figure, list(axes[0])


def cost_of_parts(parts: pd.DataFrame, goal: float = 5.0) -> Figure:
    """What each part adds to a training step, with its 95% interval; a panel a text encoder.

    Args:
        parts: as benchmarks/parts.py writes them: text_encoder, part, step_ms, added_percent, low, high (nan for the
            model that nothing is added to), n.
        goal: percent, drawn as a line.
    """
    encoders = list(dict.fromkeys(parts["text_encoder"]))
    figure, axes = plt.subplots(1, len(encoders), figsize=(WIDTH, 4.2), sharey=True, squeeze=False)
    for axis, encoder in zip(axes[0], encoders, strict=True):
        whole = parts[parts["text_encoder"] == encoder]
        added = whole.dropna(subset="added_percent").iloc[::-1]
        errors = np.abs(added[["low", "high"]].T.to_numpy() - added["added_percent"].to_numpy())
        axis.errorbar(added["added_percent"], added["part"], xerr=errors, fmt="o", capsize=3)
        axis.axvline(0, color="0.5", linewidth=1)
        axis.axvline(goal, color="C1", linestyle="--", linewidth=1, label=f"goal, {goal:g}%")
        axis.set_title(f"text encoder {encoder}, step of {whole['step_ms'].iloc[0]:.0f} ms", loc="left")
        axis.set_xlabel(f"added to a step (%), median of {whole['n'].iloc[0]} batches")
    axes[0][0].legend(loc="lower right")
    return figure
