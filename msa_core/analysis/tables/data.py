"""What a data set holds."""

from collections.abc import Mapping

import pandas as pd
import torch

from msa_core.data import FeatureSet, PlantedProcess
from msa_core.data.planted_truth import best_attainable, partial_information


def data_table(data: Mapping[str, FeatureSet]) -> pd.DataFrame:
    """What a data set holds: a row per split and modality; lengths in tokens or frames, as batched."""
    rows = []
    for split, part in data.items():
        for modality in part.modalities:
            lengths = part.lengths(modality)
            shape = part.sequences[modality].entry_shape
            rows.append(
                {
                    "split": split,
                    "modality": modality,
                    "samples": len(part),
                    "width": shape[0] if shape else "token ids",
                    "shortest": int(lengths.min()),
                    "median": int(lengths.median()),
                    "longest": int(lengths.max()),
                }
            )
    return pd.DataFrame(rows).set_index(["split", "modality"])


def example_table(features: FeatureSet, number: int) -> pd.DataFrame:
    """Some utterances of a split, evenly spread over its labels' range: text, label, lengths, unimodal labels."""
    order = features.labels.argsort(stable=True)[: int(features.labels.isfinite().sum())]  # hidden ones come last
    places = order[torch.linspace(0, len(order) - 1, min(number, len(order))).round().long()].tolist()
    columns: dict[str, list] = {"label": [round(features.labels[i].item(), 4) for i in places]}
    if features.raw_text is not None:
        columns["text"] = [features.raw_text[i] for i in places]
    for modality, labels in features.unimodal_labels.items():
        columns[f"{modality} label"] = [round(labels[i].item(), 2) for i in places]
    for modality in features.modalities:
        unit = "tokens" if modality == "text" else f"{modality} frames"
        columns[unit] = features.lengths(modality)[places].tolist()
    return pd.DataFrame(columns, index=pd.Index([features.ids[i] for i in places], name="id"))


def ceiling_table(process: PlantedProcess) -> pd.DataFrame:
    """`best_attainable`: a row per set of modalities; MAE and R² with their errors, in columns ±."""
    rows = {name: list(vars(best).values()) for name, best in best_attainable(process).items()}
    columns = ["best MAE", "± (MAE)", "best R²", "± (R²)"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("known").round(4)


def information_table(process: PlantedProcess) -> pd.DataFrame:
    """`partial_information`, in bits."""
    titles = {"audio": "unique to audio", "vision": "unique to vision"}
    return pd.DataFrame([partial_information(process)], index=["bits"]).rename(columns=titles).round(4)
