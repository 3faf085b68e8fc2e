"""A finished run's model without the data that it was trained on."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from torch import Tensor

from msa_core import build, records
from msa_core.config import RunConfig, Settings, problems
from msa_core.config.data import Modality, TextConfig
from msa_core.data import FeatureSet, Ragged
from msa_core.data.frames import Moments
from msa_core.encoders import states_width, trained_rows
from msa_core.hub import CONFIG, WEIGHTS
from msa_core.interfaces import Model
from msa_core.records import Run
from msa_core.run import load_weights

FORMAT: Literal[1] = 1  # of a model's origin
CARD = """---
library_name: msa_core
tags:
- multimodal-sentiment-analysis
- pytorch_model_hub_mixin
---

# {title}

This `{model}` of `msa_core` predicts sentiment from {modalities}.

| | |
|---|---|
| data set | {dataset} ({source}) |
| variant | `{variant}` |
| seed | {seed} |
| epoch | {epoch}, the one with the lowest validation MAE |
| text encoder | {encoder} |
| commit | {commit} |

## Test metrics

These are of one run. Other seeds give other numbers.

| {header} |
|{rule}|
{rows}

## Use

```python
import msa_core
from msa_core.hub import HubModel

model = HubModel.from_pretrained("...")  # this folder, or its name on the hub
table = msa_core.predict(model, "features.pkl")
```

## Limits

{limits}
"""


class Origin(Settings):
    """What makes a run's model again and lets it read data: plain JSON, without the data themselves."""

    format: Literal[1]
    config: RunConfig
    modalities: list[Modality] = Field(min_length=1, description="that the model has")
    statistics: dict[str, list[float]] = Field(description="of the train split's frames, as `Run.statistics`")
    test: dict[str, dict[str, float | None]] = Field(description="task -> metric -> value on the test split")
    best_epoch: int
    data: dict[str, str] = Field(description="name and SHA-256 of the run's feature file; empty: planted data")
    commit: str | None

    @model_validator(mode="after")
    def _has_statistics(self) -> "Origin":
        for name in self.modalities:
            if name != "text" and not {f"{name}/mean", f"{name}/scale"} <= set(self.statistics):
                raise ValueError(f"got no statistics of {name}, expected '{name}/mean' and '{name}/scale'")
        return self

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The statistics, as `load_unlabelled` takes them."""
        return {name: torch.tensor(values) for name, values in self.statistics.items()}

    @property
    def widths(self) -> dict[str, int]:
        """Of a frame of each modality that has frames."""
        return {name: len(self.statistics[f"{name}/mean"]) for name in self.modalities if name != "text"}

    def card(self, model: str) -> str:
        """A README for the model: what it is, its test metrics, how it is used, its limits; `model` is its class."""
        config, names = self.config, list(self.test["multimodal"])
        rows = [
            f"| {task} | {' | '.join('–' if values[name] is None else f'{values[name]:.4f}' for name in names)} |"
            for task, values in self.test.items()
        ]
        limits = [
            *([config.dataset.remark] if config.dataset.remark else []),
            f"Sentiment is on the scale of the training labels, within ±{config.dataset.label_bound:g}.",
            *(
                f"Frames of {name} must be extracted as those of the training; each has {width} values."
                for name, width in self.widths.items()
            ),
            "One vector replaces a modality that a sample lacks. It is trained only if training samples lacked it.",
            "The sentiments of single modalities are trained without human labels of them, unless the variant is "
            "`true_labels`.",
        ]
        return CARD.format(
            title=f"{config.dataset.title}, {config.variant}, seed {config.seed}",
            model=model,
            modalities=", ".join(self.modalities),
            dataset=config.dataset.title,
            source=f"`{self.data['file']}`, SHA-256 `{self.data['sha256']}`" if self.data else "planted data",
            variant=config.variant,
            seed=config.seed,
            epoch=self.best_epoch,
            encoder=f"`{config.text.encoder}`" if "text" in self.modalities else "none",
            commit=self.commit or "unknown",
            header=" | ".join(["task", *names]),
            rule="|".join(["---"] * (len(names) + 1)),
            rows="\n".join(rows),
            limits="\n".join(f"- {limit}" for limit in limits),
        )


def trained(folder: Path) -> Model:
    """The model of a finished run, with its best epoch's weights; its `origin` says how it reads data.

    Args:
        folder: a finished run's, or one that `save_pretrained` has written.

    Raises:
        FileNotFoundError: the folder holds neither.
        OSError: the text encoder cannot be fetched.
        ValueError: a file of it is damaged, or its weights are of another model than its settings and this code make.
    """
    if _is_handed_on(folder):
        return restored(_read_origin(folder / CONFIG), folder / WEIGHTS)
    run = records.read_run(folder)
    records.verify(folder, records.WEIGHTS)
    return restored(origin(run, folder), folder / records.WEIGHTS)


def require_model(folder: Path) -> None:
    """Raise a `FileNotFoundError` if `trained` finds no model in the folder."""
    if not _is_handed_on(folder):
        records.require_finished(folder)


def _is_handed_on(folder: Path) -> bool:
    return not records.is_finished(folder) and (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def origin(run: Run, folder: Path) -> Origin:
    """That of a finished run.

    Args:
        run: as read.
        folder: its own, for messages.

    Raises:
        FileNotFoundError, ValueError: the run is of format 1, which kept no statistics of its frames, and its feature
            file is not there, or is another one.
    """
    modalities = list(dict.fromkeys(name.partition("/")[0] for name in run.covariances))
    statistics = run.statistics or {}
    if run.config.dataset.features is None:
        statistics = _planted_statistics(run.config)
    elif not statistics and modalities != ["text"]:
        statistics = _statistics_of_file(run, folder)
    tasks = ("multimodal", *modalities)
    source = run.provenance["data"]
    return Origin(
        format=FORMAT,
        config=run.config,
        modalities=modalities,  # type: ignore[arg-type]  # checked when it is made
        statistics={name: statistic.tolist() for name, statistic in statistics.items()},
        test={task: values for task, values in records.null_for_nan(run.metrics["test"]).items() if task in tasks},
        best_epoch=run.provenance["best_epoch"],
        data={name: source[name] for name in ("file", "sha256") if name in source},
        commit=run.provenance["commit"],
    )


def restored(origin: Origin, weights: Path) -> Model:
    """The model that an origin describes, in evaluation mode.

    Args:
        origin: of the run.
        weights: a safetensors file.

    Raises:
        OSError: the text encoder cannot be fetched.
        ValueError: the weights cannot be read, or are of another model.
    """
    try:
        with (
            torch.random.fork_rng()
        ):  # the random weights, which are replaced, draw nothing from the caller's generator
            model = build.model(origin.config, _like_train(origin, weights))
    except SafetensorError as error:
        raise ValueError(f"{weights}: cannot be read ({error}); get the file again") from None
    load_weights(model, weights, origin.commit)
    model.origin = origin
    return model.eval()


def _read_origin(file: Path) -> Origin:
    try:
        return Origin.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{file}: {problems(error, Origin)}; get the folder again, or use the msa_core that wrote it"
        ) from None


def _like_train(origin: Origin, weights: Path) -> FeatureSet:
    """No samples, with what the model's parts are made from: widths of frames, and the tokens of the train split."""
    text, values = origin.config.text, dict[str, Tensor]()
    for modality in origin.modalities:
        if modality != "text":
            values[modality] = torch.empty(0, origin.widths[modality])
        else:
            values[modality] = torch.empty(0, states_width(text.encoder)) if text.frozen else trained_rows(weights)
    sequences = {modality: Ragged(each, torch.zeros(1, dtype=torch.int64)) for modality, each in values.items()}
    return FeatureSet("train", [], torch.empty(0), origin.config.dataset.label_bound, sequences)


def _statistics_of_file(run: Run, folder: Path) -> dict[str, Tensor]:
    """Of the run's own feature file, for a run of format 1."""
    train = build.dataset(run.config)["train"]
    trained_on, found = (source.get("sha256") for source in (run.provenance["data"], train.source))
    if trained_on != found:
        raise ValueError(
            f"{folder}: got a run that keeps no mean and scale of its frames (format 1), and a feature file "
            f"{run.config.dataset.features} of SHA-256 {found}, expected {trained_on}; put the file back on which the "
            "run was trained, or train it again"
        )
    return dict(train.statistics)


def _planted_statistics(config: RunConfig) -> dict[str, Tensor]:
    """Of planted frames, which are drawn again; a run keeps none of them, as they are read as they are."""
    every = config.dataset.model_copy(update={"modalities": None, "missing": {}, "resplit": False})
    train = build.dataset(config.model_copy(update={"dataset": every, "text": TextConfig()}))["train"]
    found: dict[str, Tensor] = {}
    for modality in ("audio", "vision"):
        moments = Moments()
        moments.add(train.sequences[modality].values.numpy())
        found |= moments.statistics(modality)
    return found
