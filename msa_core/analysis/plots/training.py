"""One run's training, and what it costs."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from msa_core.analysis.plots.style import TASK_COLOURS, WIDTH, legend_below, panels


def loss_terms(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Each loss term and the validation MAE by epoch; a line marks the best epoch.

    Args:
        history: `Run.history`.
        best_epoch: the epoch whose weights the run has.
    """
    tasks = [task for task in TASK_COLOURS if f"loss_{task}" in history]
    pairs = [column for column in map(str, history) if column.startswith("loss_alignment_")]
    figure, axes = panels(3 if pairs else 2)
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
    if pairs and (lowest := float(history[pairs].to_numpy().min())) < 0:  # an unbiased estimate
        axes[2].set_ylim(bottom=lowest)
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
    legend_below(figure, axes[0, 0])
    return figure
