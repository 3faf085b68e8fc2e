"""Generated unimodal labels: how near to the true ones, how far they move."""

import numpy as np
import pandas as pd

from msa_core import MODALITIES

SETTLED = 0.01  # of H: labels that move by less, on average and per epoch, have settled

LABEL_MEASURES = {
    "mae_copy": "MAE of y",
    "mae_best": "MAE, best epoch",
    "mae_difference": "MAE, generated − y",
    "corr_copy": "corr of y",
    "corr_best": "corr, best epoch",
    "opposite_best": "share of sign other than y's, best epoch",
    "flips": "sign flips a sample",
    "moved_last": "mean move, last epoch",
    "settled": "settled after epoch",
}


def label_agreement(labels: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """How near generated labels come to true unimodal ones, epoch by epoch; epoch 0 is copying y.

    Args:
        labels: id, epoch and a column per task (`Run.labels`).
        true: id and a column of true labels per modality.

    Returns:
        A row per epoch and modality: mae, corr.
    """
    joined = labels.merge(true, on="id", suffixes=("", "_true"))
    rows = [
        {
            "epoch": epoch,
            "modality": modality,
            "mae": (group[modality] - group[f"{modality}_true"]).abs().mean(),
            "corr": group[modality].corr(group[f"{modality}_true"]),
        }
        for epoch, group in joined.groupby("epoch")
        for modality in true.columns.drop("id")
    ]
    return pd.DataFrame(rows)


def label_movement(labels: pd.DataFrame) -> pd.DataFrame:
    """How generated labels move from epoch to epoch.

    Args:
        labels: id, epoch (from 0, the start) and a column per task (`Run.labels`).

    Returns:
        A row per epoch, from 1, and modality: moved, the mean |change| since the epoch before; flipped, the share of
        samples whose sign has changed since then; opposite, the share of samples with y other than 0 whose sign is
        not y's.
    """
    y = labels.pivot(index="epoch", columns="id", values="multimodal")
    frames = []
    for modality in (modality for modality in MODALITIES if modality in labels):
        values = labels.pivot(index="epoch", columns="id", values=modality)  # (epochs, N)
        frame = pd.DataFrame(
            {
                "modality": modality,
                "moved": values.diff().abs().mean(axis="columns"),
                "flipped": (values * values.shift() < 0).mean(axis="columns"),
                "opposite": (values * y < 0).loc[:, y.iloc[0] != 0].mean(axis="columns"),
            }
        )
        frames.append(frame.iloc[1:].reset_index())
    return pd.concat(frames, ignore_index=True)


def settled_after(moved: pd.Series, label_bound: float) -> float:
    """The epoch after which the mean move stays below 1% of H; nan if it does not by the last epoch.

    Args:
        moved: of one run and modality, by epoch (`label_movement`).
        label_bound: H.
    """
    moving = moved.index[moved >= SETTLED * label_bound]
    return np.nan if moved.index[-1] in moving else max(moving, default=0)


def label_summary(
    labels: pd.DataFrame, best_epoch: int, label_bound: float, true: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One run's generated labels in a few numbers: do they beat copying y, and do they settle?

    Args:
        labels: as for `label_movement`.
        best_epoch: the run's, chosen by validation MAE.
        label_bound: H.
        true: id and a column of true (or human) unimodal labels per modality; None: not known.

    Returns:
        A row per modality and measure, with its value: with `true`, mae_copy and corr_copy of y, mae_best and
        corr_best of the labels at the best epoch, mae_difference between the two (negative: generating beats copying);
        always, at the best epoch, opposite_best (see `label_movement`); over all epochs, flips of the sign per sample;
        moved_last, the mean move of the last epoch; settled, the first epoch after which the mean move stays below 1%
        of H (nan: not seen to).
    """
    measures = []
    if true is not None:
        agreement = label_agreement(labels[labels["epoch"].isin([0, best_epoch])], true).set_index("epoch")
        for modality, group in agreement.groupby("modality", sort=False):
            copy, best = group.loc[0], group.loc[best_epoch]
            values = {f"{name}_copy": copy[name] for name in ("mae", "corr")}
            values |= {f"{name}_best": best[name] for name in ("mae", "corr")}
            values["mae_difference"] = best["mae"] - copy["mae"]
            measures += [{"modality": modality, "measure": name, "value": value} for name, value in values.items()]
    for modality, moves in label_movement(labels).set_index("epoch").groupby("modality", sort=False):
        values = {
            "opposite_best": moves.loc[best_epoch, "opposite"],
            "flips": moves["flipped"].sum(),
            "moved_last": moves["moved"].iloc[-1],
            "settled": settled_after(moves["moved"], label_bound),
        }
        measures += [{"modality": modality, "measure": measure, "value": value} for measure, value in values.items()]
    return pd.DataFrame(measures)
