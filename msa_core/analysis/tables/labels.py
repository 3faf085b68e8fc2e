"""Generated unimodal labels: how near to the true ones, how far they move."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msa_core import MODALITIES

SETTLED = 0.01  # of H: labels that move by less, on average and per epoch, have settled

LABEL_MEASURES = {
    "mae_copy": "MAE of y",
    "mae_best": "MAE, best epoch",
    "mae_difference": "MAE, generated − y",
    "corr_copy": "corr of y",
    "corr_best": "corr, best epoch",
    "offset_corr_best": "corr of generated − y with true − y, best epoch",
    "offset_slope_best": "slope of generated − y on true − y, best epoch",
    "opposite_best": "share of sign other than y's, best epoch",
    "flips": "sign flips a sample",
    "moved_last": "mean move, last epoch",
    "settled": "settled after epoch",
}


def label_agreement(labels: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """How near generated labels come to true unimodal ones, epoch by epoch; epoch 0 is copying y.

    Samples without y are left out.

    Args:
        labels: id, epoch and a column per task (`Run.labels`).
        true: id and a column of true labels per modality.

    Returns:
        A row per epoch and modality: mae, corr; offset_corr and offset_slope, see `offset_fit`. The MAE of the
        offsets is mae.
    """
    joined = labels.dropna(subset="multimodal").merge(true, on="id", suffixes=("", "_true"))
    rows = [
        {
            "epoch": epoch,
            "modality": modality,
            "mae": (group[modality] - group[f"{modality}_true"]).abs().mean(),
            "corr": group[modality].corr(group[f"{modality}_true"]),
            **offset_fit(*(group[name] - group["multimodal"] for name in (modality, f"{modality}_true"))),
        }
        for epoch, group in joined.groupby("epoch")
        for modality in true.columns.drop("id")
    ]
    return pd.DataFrame(rows)


def offset_fit(generated: pd.Series, true: pd.Series) -> dict[str, float]:
    """Whether generated labels leave y in the right direction, and as far as the true ones do.

    Args:
        generated, true: generated and true labels less y, (N,) each.

    Returns:
        offset_corr, their correlation (1: the right direction); offset_slope, that of the least-squares line of
        generated on true (1: as far, 10: ten times too far). nan where an offset that one divides by is constant.
    """
    x, z = (offset.to_numpy(np.float64) - offset.mean() for offset in (true, generated))
    with np.errstate(invalid="ignore", divide="ignore"):
        corr, slope = x @ z / np.sqrt((x @ x) * (z @ z)), x @ z / (x @ x)
    return {"offset_corr": float(corr), "offset_slope": float(slope)}


def label_movement(labels: pd.DataFrame) -> pd.DataFrame:
    """How generated labels move from epoch to epoch; samples without y are left out.

    Args:
        labels: id, epoch (from 0, the start) and a column per task (`Run.labels`).

    Returns:
        A row per epoch, from 1, and modality: moved, the mean |change| since the epoch before; flipped, the share of
        samples whose sign has changed since then; opposite, the share of samples with y other than 0 whose sign is
        not y's.
    """
    labels = labels.dropna(subset="multimodal")
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


def shown_epochs(labels: pd.DataFrame, number: int = 6) -> NDArray:
    """Epochs at which the spread of labels is shown, evenly from the start to the last one.

    Args:
        labels: with a column epoch.
        number: of epochs.
    """
    return np.unique(np.linspace(0, labels["epoch"].max(), number).round().astype(int))


def evenly_by_y(labels: pd.DataFrame, number: int) -> list[Any]:
    """Ids of some samples that have y, evenly spread over its order.

    Args:
        labels: `Run.labels`.
        number: of samples.
    """
    start = labels.query("epoch == 0").dropna(subset="multimodal").sort_values("multimodal", kind="stable")
    return start["id"].iloc[np.linspace(0, len(start) - 1, number).round().astype(int)].tolist()


def label_summary(
    movement: pd.DataFrame, best_epoch: int, label_bound: float, agreement: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One run's generated labels in a few numbers: do they beat copying y, and do they settle?

    Args:
        movement: as `label_movement` gives it.
        best_epoch: the run's, chosen by validation MAE.
        label_bound: H.
        agreement: as `label_agreement` gives it; None or empty: no true labels are known.

    Returns:
        A row per modality and measure, with its value: with `agreement`, mae_copy and corr_copy of y, mae_best and
        corr_best of the labels at the best epoch, mae_difference between the two (negative: generating beats copying),
        and, if recorded, offset_corr_best and offset_slope_best (see `offset_fit`);
        always, at the best epoch, opposite_best (see `label_movement`); over all epochs, flips of the sign per sample;
        moved_last, the mean move of the last epoch; settled, the first epoch after which the mean move stays below 1%
        of H (nan: not seen to).
    """
    measures = []
    if agreement is not None and len(agreement):
        for modality, group in agreement.set_index("epoch").groupby("modality", sort=False):
            copy, best = group.loc[0], group.loc[best_epoch]
            values = {f"{name}_copy": copy[name] for name in ("mae", "corr")}
            values |= {f"{name}_best": best[name] for name in ("mae", "corr")}
            values |= {f"{name}_best": best[name] for name in ("offset_corr", "offset_slope") if name in best}
            values["mae_difference"] = best["mae"] - copy["mae"]
            measures += [{"modality": modality, "measure": name, "value": value} for name, value in values.items()]
    for modality, moves in movement.set_index("epoch").groupby("modality", sort=False):
        values = {
            "opposite_best": moves.loc[best_epoch, "opposite"],
            "flips": moves["flipped"].sum(),
            "moved_last": moves["moved"].iloc[-1],
            "settled": settled_after(moves["moved"], label_bound),
        }
        measures += [{"modality": modality, "measure": measure, "value": value} for measure, value in values.items()]
    return pd.DataFrame(measures)


def label_summaries(movement: pd.DataFrame, agreement: pd.DataFrame) -> pd.DataFrame:
    """`label_summary` of many runs, with dataset, variant and seed.

    Args:
        movement, agreement: of many runs, as `collect.Records` gives them.
    """
    keys = ["dataset", "variant", "seed"]
    agreements = dict(list(agreement.groupby(keys, sort=False)))
    frames = []
    for names, moves in movement.groupby(keys, sort=False):
        run = moves.iloc[0]
        summary = label_summary(moves, run["best_epoch"], run["label_bound"], agreements.get(names))
        frames.append(summary.assign(dataset=run["dataset"], variant=run["variant"], seed=run["seed"]))
    return pd.concat(frames, ignore_index=True)


def recorded_truth(labels: pd.DataFrame) -> pd.DataFrame | None:
    """id and a column of true labels per modality, of one run's recorded `labels`; None: not known.

    Args:
        labels: of one run, as `collect.Records` gives them.
    """
    true = labels[labels["epoch"] == 0].set_index("id").filter(like="true_").dropna(axis="columns", how="all")
    return None if true.empty else true.rename(columns=lambda name: name.removeprefix("true_")).reset_index()
