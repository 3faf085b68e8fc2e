"""One function per figure: frames in, `matplotlib.figure.Figure` out, no file access but the style sheet."""

from collections.abc import Mapping
from itertools import product
from textwrap import shorten, wrap

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
from msa_core.tables import METRIC_TITLES, SETTLED

TASK_COLOURS = {"multimodal": "#000000", "text": "#0072B2", "audio": "#D55E00", "vision": "#009E73"}
plt.style.use(STYLE)
InlineBackend.instance().figure_formats = {"retina"}  # in notebooks: the same size, twice the pixels
MAIN_METRICS = ("mae", "corr", "acc2_non0", "acc2")  # the last one: of scheme "sims", which has no other
WIDTH = 9.0  # inches: text stays readable when a README shows the picture about 800 pixels wide


def main_comparison(metrics: pd.DataFrame) -> Figure:
    """Test metrics by variant: a dot a seed, lines join the same seed, a bar marks the mean; a row a data set.

    Args:
        metrics: as `records.read_metrics` gives them; of `MAIN_METRICS`, each data set shows those that it has.
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
            chosen = of_data_set[of_data_set["metric"] == metric]
            values = chosen.pivot(index="seed", columns="variant", values="value")[variants]
            for _, line in values.iterrows():
                axis.plot(range(len(variants)), line, color="0.8", linewidth=1, zorder=1)
                axis.scatter(range(len(variants)), line, color="C0", alpha=0.7, s=26, zorder=3, label="a seed")
            mean = values.mean(skipna=False)
            axis.scatter(range(len(variants)), mean, marker="_", s=600, color="black", zorder=2, label="mean")
            axis.set_xticks(range(len(variants)), [variant.replace("_", "\n") for variant in variants], fontsize=8)
            axis.set_xlim(-0.5, len(variants) - 0.5)
            better = "lower" if metric in LOWER_IS_BETTER else "higher"
            heading = f"{title}, n = {len(values)} seeds\n" if axis is row[0] else ""
            axis.set_title(f"{heading}{METRIC_TITLES[metric]}, {better} is better", loc="left")
            axis.set_ylabel(f"test {METRIC_TITLES[metric]}")
    _legend_below(figure, axes[0, 0])
    return figure


def forest(comparison: pd.DataFrame, reference: str = "paper", metric: str = "mae") -> Figure:
    """Each variant's difference to the reference with its intervals, a panel a data set.

    Args:
        comparison: as `comparisons.compare` gives it.
        reference: the variant compared with, as named there.
        metric: one of `comparisons.COMPARED`.
    """
    chosen = comparison[(comparison["metric"] == metric) & comparison["difference"].notna()]
    groups = list(chosen.groupby("title", sort=False))
    if not groups:
        figure = plt.figure(figsize=(WIDTH, 1))
        figure.text(0.5, 0.5, f"no finished run to compare with one of {reference}", ha="center")
        return figure
    heights = [len(group) + 1.5 for _, group in groups]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(WIDTH, 0.9 + 0.28 * sum(heights)), squeeze=False, height_ratios=heights
    )
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    for axis, (title, group) in zip(axes[:, 0], groups, strict=True):
        rows = np.arange(len(group))
        axis.axvline(0, color="0.5", linewidth=1)
        bootstrap = group["bootstrap_low"], group["bootstrap_high"]
        axis.hlines(rows, *bootstrap, color="C0", alpha=0.35, linewidth=7, label="95%, plain bootstrap")
        axis.hlines(rows, group["low"], group["high"], color="black", linewidth=1.2, label="95% interval")
        axis.scatter(group["difference"], rows, color="black", s=18, zorder=3, label="difference, mean over seeds")
        axis.set_yticks(rows, [f"{name} ({n})" for name, n in zip(group["variant"], group["n_seeds"], strict=True)])
        axis.set_ylim(len(group) - 0.4, -0.6)
        axis.grid(False, axis="y")
        axis.set_title(f"{title}, {group['n_samples'].iloc[0]} test samples (seeds in brackets)", loc="left")
        axis.set_xlabel(f"test {METRIC_TITLES[metric]} less that of {reference} ({better} is better)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
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
    chosen = _evenly_by_y(labels, followed)
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


def label_distributions(
    labels: pd.DataFrame, label_bound: float, true: pd.DataFrame | None = None, number: int = 6
) -> Figure:
    """Violins of the generated labels at some epochs, evenly spread, and of the true ones; lines are quartiles.

    Args:
        labels: one run's (`Run.labels`).
        label_bound: H.
        true: id and a column of true unimodal labels per modality; None: there are none.
        number: of epochs shown.
    """
    modalities = [modality for modality in MODALITIES if modality in labels]
    epochs = np.unique(np.linspace(0, labels["epoch"].max(), number).round().astype(int))
    names = {epoch: str(epoch) if epoch else "0\n(y)" for epoch in epochs.tolist()}
    shown = labels.assign(epoch=labels["epoch"].map(names)).dropna(subset="epoch")
    order = list(names.values())
    if true is not None:
        shown, order = pd.concat([shown, true.assign(epoch="true")]), [*order, "true"]
    figure, axes = _panels(len(modalities), height=3.4, sharey=True)
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
        texts: id -> what is written above the utterance's panel.
        label_bound: H.
        true: id and a column of true unimodal labels per modality, drawn behind the last epoch; None: there are none.
        followed: number of utterances.
    """
    modalities = [modality for modality in MODALITIES if modality in labels]
    last = labels["epoch"].max()
    rows = -(-followed // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(WIDTH, 2.9 * rows), sharex=True, sharey=True, squeeze=False)
    for axis, identity in zip(axes.flat, _evenly_by_y(labels, followed), strict=False):
        path = labels[labels["id"] == identity].sort_values("epoch")
        y = path["multimodal"].iloc[0]
        axis.axhline(y, color=TASK_COLOURS["multimodal"], linestyle="--", linewidth=1, label="y")
        for modality in modalities:
            colour = TASK_COLOURS[modality]
            axis.plot(path["epoch"], path[modality], color=colour, label=modality)
            if true is not None:
                target = true.loc[true["id"] == identity, modality]
                axis.scatter(last * 1.06, target, color=colour, marker="D", s=22, zorder=3, label=f"true {modality}")
        # Of a dollar sign in a text, or an id, no formula is to be made.
        axis.set_title("\n".join(wrap(shorten(texts[identity], 100), 36)), fontsize=8, loc="left", parse_math=False)
        axis.set_ylim(-1.05 * label_bound, 1.05 * label_bound)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes[-1]:
        axis.set_xlabel("epoch (0: the start, y)")
    for axis in axes[:, 0]:
        axis.set_ylabel("label (label units)")
    _legend_below(figure, axes[0, 0])
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
    figure, axes = plt.subplots(len(variants), 3, figsize=(WIDTH, 3.1 * len(variants)), sharey="col", squeeze=False)
    for row, variant in zip(axes, variants, strict=True):
        of_variant = movement[movement["variant"] == variant]
        for axis, (measure, name) in zip(row, names.items(), strict=True):
            _line_a_seed(axis, of_variant, measure)
            axis.set(xlabel="epoch", ylabel=name)
            axis.set_ylim(bottom=0)
        row[0].axhline(SETTLED * label_bound, color="0.4", linestyle=":", linewidth=1.2, label="1% of H")
        row[0].set_title(f"{variant}, n = {of_variant['seed'].nunique()} seeds", loc="left")
    _legend_below(figure, axes[0, 0])
    return figure


def label_agreement(agreement: pd.DataFrame) -> Figure:
    """Distance and correlation of generated to true unimodal labels by epoch; a line a seed, a row a variant.

    Args:
        agreement: as `tables.label_agreement` gives it, with variant and seed.
    """
    names = {"mae": "MAE to the true label (label units)", "corr": "correlation with the true label"}
    variants = list(dict.fromkeys(agreement["variant"]))
    figure, axes = plt.subplots(len(variants), 2, figsize=(WIDTH, 3.4 * len(variants)), sharey="col", squeeze=False)
    for row, variant in zip(axes, variants, strict=True):
        of_variant = agreement[agreement["variant"] == variant]
        for axis, (measure, name) in zip(row, names.items(), strict=True):
            _line_a_seed(axis, of_variant, measure)
            for modality, copied in of_variant[of_variant["epoch"] == 0].groupby("modality"):
                colour = TASK_COLOURS[str(modality)]
                axis.axhline(copied[measure].iloc[0], color=colour, linestyle="--", linewidth=1)
            axis.set(xlabel="epoch (dashed: copying y)", ylabel=name)
        row[0].set_title(f"{variant}, n = {of_variant['seed'].nunique()} seeds", loc="left")
    _legend_below(figure, axes[0, 0])
    return figure


def covariances(alignments: Mapping[str, Mapping[str, NDArray]], modalities: tuple[str, ...]) -> Figure:
    """Covariance matrices of encodings before and after training, on one colour scale.

    A row a modality, then, for two modalities of one width, the difference; two columns a variant.

    Args:
        alignments: variant -> `Run.alignment`, of one seed.
        modalities: rows.
    """
    columns: dict[str, dict[str, NDArray]] = {}
    for variant, alignment in alignments.items():
        for when in ("before", "after"):
            matrices = {modality: alignment[f"{modality}/covariance/{when}"] for modality in modalities}
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
    figure, axes = _panels(len(modalities), height=3.6, sharey=True)
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
    _legend_below(figure, axes[0], columns=4)
    return figure


def alignment_distances(history: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    """How far two modalities are apart: by epoch in training, and before and after it; a line a seed.

    Args:
        history: variant, seed, epoch, distance: as trained with, unweighted, mean over the batches.
        measured: rows of `tables.second_order`, with variant and seed; those of its distances are shown.
    """
    variants = list(dict.fromkeys(measured["variant"]))
    distances = [measure for measure in dict.fromkeys(measured["measure"]) if measure.endswith("distance")]
    figure, axes = _panels(1 + len(distances), height=3.5)
    for (variant, _), line in history.groupby(["variant", "seed"], sort=False):
        colour = f"C{variants.index(variant)}"
        axes[0].plot(line["epoch"], line["distance"], "o-", color=colour, alpha=0.7, markersize=3, label=variant)
    axes[0].set(title="In training, mean over batches", xlabel="epoch", ylabel="distance trained with")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, measure in zip(axes[1:], distances, strict=True):
        chosen = measured[measured["measure"] == measure]
        for (variant, _), line in chosen.groupby(["variant", "seed"], sort=False):
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
    _legend_below(figure, *axes)
    return figure


def r2_dots(r2: pd.DataFrame, row: str, column: str) -> Figure:
    """R2 of linear probes by variant: a dot a seed, a bar the mean; a panel for each `row` and `column` there is.

    Args:
        r2: variant, seed, r2 and the two columns named.
        row, column: what names the rows and columns of panels, such as "modality" and "factor".
    """
    rows, columns, variants = (list(dict.fromkeys(r2[name])) for name in (row, column, "variant"))
    columns.sort(key=lambda name: rows.index(name) if name in rows else -1)
    size = (WIDTH, 1.0 + len(rows) * (0.5 + 0.24 * len(variants)))
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, sharex=True, sharey=True, squeeze=False)
    for (i, in_row), (j, in_column) in product(enumerate(rows), enumerate(columns)):
        axis, chosen = axes[i, j], r2[(r2[row] == in_row) & (r2[column] == in_column)]
        axis.set_yticks(range(len(variants)), variants)
        axis.grid(axis="y", visible=False)
        if chosen.empty:
            axis.set_facecolor("0.93")
            continue
        place = chosen["variant"].map(variants.index)
        axis.axvline(0, color="0.6", linewidth=0.8)
        axis.scatter(chosen["r2"], place, s=18, color=[f"C{number}" for number in place], alpha=0.8, zorder=3)
        axis.scatter(chosen.groupby(place)["r2"].mean(), sorted(set(place)), marker="|", s=110, color="black", zorder=2)
        axis.set_title(f"{in_row} → {in_column}", fontsize=9)
    axes[0, 0].set_ylim(len(variants) - 0.4, -0.6)
    figure.supxlabel(f"cross-validated R², test split ({row} → {column}; dot: a seed, bar: the mean)", fontsize=10)
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


def cost_of_parts(parts: pd.DataFrame, goal: float = 5.0) -> Figure:
    """What each part adds to a training step, with its 95% interval; a panel a text encoder.

    Args:
        parts: as benchmarks/parts.py writes them: text_encoder, part, step_ms, added_percent, low, high (nan for the
            model that nothing is added to), n.
        goal: percent, drawn as a line.
    """
    encoders = list(dict.fromkeys(parts["text_encoder"]))
    figure, axes = plt.subplots(1, len(encoders), figsize=(WIDTH, 4.2), sharex=True, sharey=True, squeeze=False)
    for axis, encoder in zip(axes[0], encoders, strict=True):
        whole = parts[parts["text_encoder"] == encoder]
        added = whole.dropna(subset="added_percent").iloc[::-1]
        errors = np.abs(added[["low", "high"]].T.to_numpy() - added["added_percent"].to_numpy())
        axis.errorbar(added["added_percent"], added["part"], xerr=errors, fmt="o", capsize=3)
        axis.axvline(0, color="0.5", linewidth=1)
        axis.axvline(goal, color="C1", linestyle="--", linewidth=1, label=f"goal, {goal:g}%")
        steps = f"step of {whole['step_ms'].iloc[0]:.0f} ms, n = {whole['n'].iloc[0]} batches"
        axis.set_title(f"text encoder {encoder}\n{steps}", loc="left")
        axis.set_xlabel("added to a step (%)")
    _legend_below(figure, axes[0, 0])
    return figure


def _panels(number: int, height: float = 3.2, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, number, figsize=(WIDTH, height), sharey=sharey, squeeze=False)
    return figure, list(axes[0])


def _evenly_by_y(labels: pd.DataFrame, number: int) -> list[str]:
    """Ids of some samples, evenly spread over the order of y."""
    start = labels.query("epoch == 0").sort_values("multimodal", kind="stable")
    return start["id"].iloc[np.linspace(0, len(start) - 1, number).round().astype(int)].tolist()


def _line_a_seed(axis: Axes, frame: pd.DataFrame, measure: str) -> None:
    """One thin line by epoch for each seed, in the colour of its modality."""
    for (modality, _), line in frame.groupby(["modality", "seed"], sort=False):
        colour = TASK_COLOURS[str(modality)]
        axis.plot(line["epoch"], line[measure], color=colour, alpha=0.75, linewidth=1.2, label=modality)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend_below(figure: Figure, *axes: Axes, columns: int = 7) -> None:
    """One legend for the whole figure, each name once."""
    marks: dict[str, Artist] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, handle)
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=min(len(marks), columns) or 1)
