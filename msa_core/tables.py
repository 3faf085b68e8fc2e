"""One function per table: frames in, frame out, no file access."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from msa_core.data.features import FeatureSet
from msa_core.metrics import LOWER_IS_BETTER

METRIC_TITLES = {
    "acc2_has0": "Acc-2 (has 0)",
    "f1_has0": "F1 (has 0)",
    "acc2_non0": "Acc-2 (non-zero)",
    "f1_non0": "F1 (non-zero)",
    "acc2": "Acc-2",
    "acc3": "Acc-3",
    "acc5": "Acc-5",
    "acc7": "Acc-7",
    "f1": "F1",
    "mae": "MAE",
    "corr": "Corr",
}


def main_table(metrics: pd.DataFrame, reference: str = "paper") -> pd.DataFrame:
    """Test metrics of the multimodal task per data set and variant, over seeds.

    Args:
        metrics: as `records.read_metrics` gives them.
        reference: variant with which the others are paired by seed.

    Returns:
        A row per dataset, title, variant and metric: mean, std (of a sample: n - 1; nan for one seed), n, seeds; then
        the difference to `reference` on the seeds both have: difference_mean, difference_std, difference_n
        (nan, nan and 0 for the reference itself).
    """
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    keys = ["dataset", "title", "metric"]
    of_reference = test.loc[test["variant"] == reference, [*keys, "seed", "value"]]
    paired = test[test["variant"] != reference].merge(of_reference, on=[*keys, "seed"], suffixes=("", "_reference"))
    paired = paired.assign(difference=paired["value"] - paired["value_reference"])
    groups = test.groupby(["dataset", "title", "variant", "metric"], sort=False)
    table = groups.agg(
        mean=("value", lambda values: values.mean(skipna=False)),  # a metric that is nan for one seed has no mean
        std=("value", lambda values: values.std(skipna=False)),
        n=("value", "size"),
        seeds=("seed", lambda seeds: " ".join(map(str, sorted(seeds)))),
    )
    differences = paired.groupby(["dataset", "title", "variant", "metric"], sort=False)["difference"]
    table = table.join(differences.agg(difference_mean="mean", difference_std="std", difference_n="size"))
    table["difference_n"] = table["difference_n"].fillna(0).astype(int)
    return table.reset_index()


def main_markdown(table: pd.DataFrame) -> str:
    """`main_table` for reading: a row per data set and variant, mean ± standard deviation; arrows: what is better."""
    rows = []
    for (title, variant), group in table.groupby(["title", "variant"], sort=False):
        cells = {
            f"{METRIC_TITLES[metric]} {'↓' if metric in LOWER_IS_BETTER else '↑'}": _cell(mean, std)
            for metric, mean, std in zip(group["metric"], group["mean"], group["std"], strict=True)
        }
        rows.append(
            {"Data": title, "Variant": variant, **cells, "n": group["n"].iloc[0], "Seeds": group["seeds"].iloc[0]}
        )
    return pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True) + "\n"


def run_table(metrics: dict[str, dict[str, dict[str, float]]]) -> pd.DataFrame:
    """One run's metrics: a row per split and task."""
    rows = [
        {"split": split, "task": task, **values} for split, tasks in metrics.items() for task, values in tasks.items()
    ]
    return pd.DataFrame(rows).set_index(["split", "task"])


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


def data_table(data: Mapping[str, FeatureSet]) -> pd.DataFrame:
    """What a data set holds: a row per split and modality; lengths in tokens or frames, as batched."""
    rows = []
    for split, part in data.items():
        for modality in part.modalities:
            lengths = part.lengths(modality)
            values = part.sequences[modality].values
            rows.append(
                {
                    "split": split,
                    "modality": modality,
                    "samples": len(part),
                    "width": values.shape[1] if values.ndim > 1 else "token ids",
                    "shortest": int(lengths.min()),
                    "median": int(lengths.median()),
                    "longest": int(lengths.max()),
                }
            )
    return pd.DataFrame(rows).set_index(["split", "modality"])


def example_table(features: FeatureSet, number: int) -> pd.DataFrame:
    """Some utterances of a split, evenly spread over its labels' range: text, label, lengths, unimodal labels."""
    order = features.labels.argsort(stable=True)
    chosen = order[torch.linspace(0, len(order) - 1, min(number, len(order))).round().long()].tolist()
    columns: dict[str, list] = {"label": [round(features.labels[i].item(), 4) for i in chosen]}
    if features.raw_text is not None:
        columns["text"] = [features.raw_text[i] for i in chosen]
    for modality, labels in features.unimodal_labels.items():
        columns[f"{modality} label"] = [round(labels[i].item(), 2) for i in chosen]
    for modality in features.modalities:
        unit = "tokens" if modality == "text" else f"{modality} frames"
        columns[unit] = features.lengths(modality)[chosen].tolist()
    return pd.DataFrame(columns, index=pd.Index([features.ids[i] for i in chosen], name="id"))


def variance_table(alignment: Mapping[str, NDArray]) -> pd.DataFrame:
    """Total variance and effective rank of each modality's encodings, before and after training.

    The effective rank is the exponential of the entropy of the normalised eigenvalues (Roy and Vetterli 2007).
    """
    rows = []
    for key, spectrum in alignment.items():
        modality, what, when = key.split("/")
        if what == "spectrum":
            shares = np.clip(spectrum, 0, None) / spectrum.sum()
            entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
            rows.append(
                {
                    "modality": modality,
                    "weights": when,
                    "total variance": spectrum.sum(),
                    "effective rank": np.exp(entropy),
                    "width": len(spectrum),
                }
            )
    return pd.DataFrame(rows).sort_values("modality", kind="stable").set_index(["modality", "weights"])


def _cell(mean: float, std: float) -> str:
    return f"{mean:.4f}" if pd.isna(std) else f"{mean:.4f} ± {std:.4f}"
