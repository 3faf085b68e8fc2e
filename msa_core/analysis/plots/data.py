"""A data set's labels."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from msa_core import MODALITIES, SPLITS
from msa_core.analysis.plots.style import TASK_COLOURS, panels


def label_histograms(labels: pd.DataFrame, label_bound: float) -> Figure:
    """Labels by split, as shares of the split.

    Args:
        labels: split and label, a row a sample.
        label_bound: H.
    """
    figure, axes = panels(len(SPLITS), height=2.8, sharey=True)
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
    figure, axes = panels(len(modalities), height=3.2, sharey=True)
    for axis, modality in zip(axes, modalities, strict=True):
        axis.scatter(labels["multimodal"], labels[modality], s=8, alpha=0.35, color=TASK_COLOURS[modality], linewidth=0)
        correlation = labels["multimodal"].corr(labels[modality])
        axis.set(title=f"{modality} (correlation {correlation:.2f})", xlabel="multimodal label")
    axes[0].set_ylabel("unimodal label")
    return figure
