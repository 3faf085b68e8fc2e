"""A finished run's model without the data that it was trained on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from msa_core import build, records
from msa_core.config import RunConfig, problems
from msa_core.config.data import TextConfig
from msa_core.data import FeatureSet, Ragged
from msa_core.data.frames import Moments
from msa_core.encoders import states_width, trained_rows
from msa_core.interfaces import Model
from msa_core.records import Run
from msa_core.run import load_weights

FORMAT = 1  # of a model's origin
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # the names that huggingface_hub gives these files


def trained(folder: Path) -> Model:
    """The model of a finished run, with its best epoch's weights; its `origin` says how it reads data.

    Args:
        folder: a finished run's, or one that `MSAModel.save_pretrained` has written.

    Raises:
        FileNotFoundError: the folder holds neither.
        OSError: the text encoder cannot be fetched.
        ValueError: a file of it is damaged, or its weights are of another model than its settings and this code make.
    """
    if not records.is_finished(folder) and (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
        return restored(_read_origin(folder / CONFIG), folder / WEIGHTS)
    run = records.read_run(folder)
    records.verify(folder, records.WEIGHTS)
    return restored(origin(run, folder), folder / records.WEIGHTS)


def origin(run: Run, folder: Path) -> dict[str, Any]:
    """What makes a run's model again and lets it read data, as plain JSON.

    Args:
        run: a finished one.
        folder: its own, for messages.

    Returns:
        "format"; "config", the run's settings; "modalities" of the model; "statistics", mean and scale of the train
        split's frames, as `Run.statistics`; "test", each task's test metrics; "best_epoch"; "data" and "commit" that
        the run is from.

    Raises:
        ValueError: the run is from before runs kept these statistics.
    """
    modalities = list(dict.fromkeys(name.partition("/")[0] for name in run.covariances))
    planted = run.config.dataset.features is None
    statistics = _planted_statistics(run.config) if planted else run.statistics or {}
    if lacking := [name for name in modalities if name != "text" and f"{name}/mean" not in statistics]:
        raise ValueError(
            f"{folder}: got no mean and scale of the frames of {lacking}, which runs have kept since format "
            f"{records.FORMAT}, expected them in provenance.json; train the run again"
        )
    source = run.provenance["data"]
    return {
        "format": FORMAT,
        "config": run.config.model_dump(mode="json"),
        "modalities": modalities,
        "statistics": {name: statistic.tolist() for name, statistic in statistics.items()},
        "test": records.null_for_nan(run.metrics["test"]),
        "best_epoch": run.provenance["best_epoch"],
        "data": {name: source[name] for name in ("file", "sha256", "planted") if name in source},
        "commit": run.provenance["commit"],
    }


def restored(origin: dict[str, Any], weights: Path) -> Model:
    """The model that an origin describes.

    Args:
        origin: see there.
        weights: a safetensors file.

    Raises:
        OSError: the text encoder cannot be fetched.
        ValueError: the weights cannot be read, or are of another model.
    """
    config = RunConfig(**origin["config"])
    try:
        with (
            torch.random.fork_rng()
        ):  # the random weights, which are replaced, draw nothing from the caller's generator
            model = build.model(config, _like_train(config, origin, weights))
    except SafetensorError as error:
        raise ValueError(f"{weights}: cannot be read ({error}); get the file again") from None
    load_weights(model, weights, origin["commit"])
    model.origin = origin
    return model


def statistics(origin: Mapping[str, Any]) -> dict[str, Tensor]:
    """Those of an origin, as `load_unlabelled` takes them."""
    return {name: torch.tensor(values) for name, values in origin["statistics"].items()}


def model_card(origin: Mapping[str, Any]) -> str:
    """A README for a model that is handed on: what it is, its test metrics, how it is used, its limits."""
    config = RunConfig(**origin["config"])
    metrics = origin["test"]
    names = list(metrics["multimodal"])
    rows = [
        f"| {task} | {' | '.join('–' if each[name] is None else f'{each[name]:.4f}' for name in names)} |"
        for task, each in metrics.items()
    ]
    data = origin["data"]
    source = f"`{data['file']}`, SHA-256 `{data['sha256']}`" if "file" in data else "drawn by `planted_features`"
    return f"""---
library_name: msa_core
tags:
- multimodal-sentiment-analysis
- pytorch_model_hub_mixin
---

# {config.dataset.title}, {config.variant}, seed {config.seed}

A multimodal sentiment model of arXiv 2305.08473 for {", ".join(origin["modalities"])}, trained by `msa_core`.

| | |
|---|---|
| data set | {config.dataset.title} ({source}) |
| variant | `{config.variant}` |
| seed | {config.seed} |
| epoch | {origin["best_epoch"]}, the one with the lowest validation MAE |
| text encoder | {f"`{config.text.encoder}`" if "text" in origin["modalities"] else "none"} |
| commit | {origin["commit"] or "unknown"} |

## Test metrics

One run. Other seeds give other numbers.

| task | {" | ".join(names)} |
|---|{"---|" * len(names)}
{chr(10).join(rows)}

## Use

```python
import msa_core
from msa_core.model import MSAModel

model = MSAModel.from_pretrained("...")  # this folder, or its name on the hub
table = msa_core.predict(model, "features.pkl")
```

## Limits

- {config.dataset.remark or "None is known for this data set beside those below."}
- Sentiment is on the scale of the training labels, within ±{config.dataset.label_bound:g}.
- Audio and vision features must be extracted as those of the training: {_widths(origin) or "it has none"}.
- A modality that a sample lacks is replaced by one vector. It is trained only if training samples lacked the modality.
- A modality's own sentiment was trained without human labels of that modality, unless the variant is `true_labels`.
- The weights hold no text encoder's vocabulary or settings: `msa_core` gets these by the encoder's name.
"""


def _widths(origin: Mapping[str, Any]) -> str:
    widths = {name: len(origin["statistics"][f"{name}/mean"]) for name in origin["modalities"] if name != "text"}
    return ", ".join(f"{name} has {width} values a frame" for name, width in widths.items())


def _read_origin(file: Path) -> dict[str, Any]:
    try:
        origin = json.loads(file.read_text())
        version = origin["format"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{file}: got no settings of a model of msa_core, expected what MSAModel.save_pretrained writes; get the "
            "folder again"
        ) from None
    if version != FORMAT:
        raise ValueError(f"{file}: got format {version}, expected {FORMAT}; use the msa_core that wrote it")
    try:
        RunConfig(**origin["config"])
    except ValidationError as error:
        raise ValueError(f"{file}: {problems(error, RunConfig)}; use the msa_core that wrote it") from None
    return origin


def _like_train(config: RunConfig, origin: Mapping[str, Any], weights: Path) -> FeatureSet:
    """No samples, with what the model's parts are made from: widths of frames, and the tokens of the train split."""
    values = {}
    for modality in origin["modalities"]:
        if modality != "text":
            values[modality] = torch.empty(0, len(origin["statistics"][f"{modality}/mean"]))
        elif config.text.frozen:
            values[modality] = torch.empty(0, states_width(config.text.encoder))
        else:
            values[modality] = trained_rows(weights)
    sequences = {modality: Ragged(each, torch.zeros(1, dtype=torch.int64)) for modality, each in values.items()}
    return FeatureSet("train", [], torch.empty(0), config.dataset.label_bound, sequences)


def _planted_statistics(config: RunConfig) -> dict[str, Tensor]:
    """Of planted frames, which are drawn again; a run keeps none of them, as they are read as they are."""
    every = config.dataset.model_copy(update={"modalities": None, "missing": {}, "resplit": False})
    train = build.dataset(config.model_copy(update={"dataset": every, "text": TextConfig()}))["train"]
    found = {}
    for modality in ("audio", "vision"):
        moments = Moments()
        moments.add(train.sequences[modality].values.numpy())
        for statistic, last in (("mean", moments.final_mean()), ("scale", moments.final_scale())):
            found[f"{modality}/{statistic}"] = torch.from_numpy(next(last)).float()
    return found
