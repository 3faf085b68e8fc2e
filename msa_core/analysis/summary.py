"""What tables, figures and claims need of one finished run: rows of a few named frames."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from msa_core import MODALITIES, build, records
from msa_core.analysis import probes, tables
from msa_core.analysis.baselines import baselines
from msa_core.analysis.claims_labels import label_gains
from msa_core.data import FeatureSet
from msa_core.records import Run
from msa_core.run import load
from msa_core.training import encodings

KEYS = ["dataset", "variant", "seed"]
REFERENCE = "paper"  # the variant whose labels are compared sample by sample, and whose untrained models are probed
PICTURED = ("paper", "no_alignment")  # the variants of which one run is shown by itself
FOLLOWED = 6  # utterances whose generated labels are shown with their text


class FinishedRun:
    """A finished run; what is expensive is read or computed when a frame first asks for it.

    Args:
        folder: the run's.
        pictured: whether the pictures of single runs show it; only such a run has rows in `covariances` and `labels`.
    """

    def __init__(self, folder: Path, pictured: bool = False) -> None:
        self.folder, self.pictured = folder, pictured

    @cached_property
    def run(self) -> Run:
        """As read from its folder."""
        return records.read_run(self.folder)

    @cached_property
    def data(self) -> dict[str, FeatureSet]:
        """Its splits."""
        return build.dataset(self.run.config)

    @property
    def train(self) -> FeatureSet:
        """Its train split."""
        return self.data["train"]

    @cached_property
    def true_labels(self) -> pd.DataFrame | None:
        """id and a column per modality: true (planted data) or human (CH-SIMS) unimodal labels; None: not known."""
        labels = self.train.unimodal_labels
        return pd.DataFrame({"id": self.train.ids, **labels}) if labels else None

    @cached_property
    def tested(self) -> list[tuple[bool, dict[str, NDArray], Mapping[str, ArrayLike]]]:
        """Trained or not, encodings and planted factors of the test split; of `REFERENCE` also before training.

        A model before training depends on its seed and not on what it is then trained for: one variant is enough.
        """
        states = [False, True] if self.run.config.variant == REFERENCE else [True]
        loaded = [(trained, *load(self.folder, trained)) for trained in states]
        return [
            (trained, encodings(model, data["test"]), data["test"].factors or {}) for trained, _, model, data in loaded
        ]


def summarise(folder: Path, pictured: bool = False) -> dict[str, pd.DataFrame]:
    """Every frame of `FRAMES` of one run.

    Args:
        folder: a finished run's, whose data are on this machine.
        pictured: see `FinishedRun`.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: the data or the weights cannot be read.
    """
    run = FinishedRun(folder, pictured)
    return {name: rows(run, name) for name in FRAMES}


def rows(run: FinishedRun, name: str) -> pd.DataFrame:
    """One frame of one run: dataset, variant, seed, then the frame's own columns; empty if there is nothing to say."""
    config = run.run.config
    frame = FRAMES[name](run)
    frame.insert(0, "dataset", config.dataset.name)
    frame.insert(1, "variant", config.variant)
    frame.insert(2, "seed", config.seed)
    return frame


def _runs(run: FinishedRun) -> pd.DataFrame:
    """Settings and provenance as text, and what other frames are read with."""
    config, provenance, sizes = run.run.config, run.run.provenance, run.run.predictions["split"].value_counts()
    row = {
        "title": config.dataset.title,
        "scheme": config.dataset.metrics,
        "label_bound": config.dataset.label_bound,
        "best_epoch": provenance["best_epoch"],
        "precision": config.training.precision,
        "test_to_train": sizes["test"] / sizes["train"] if config.dataset.draw == "split" else np.nan,
        "config": config.to_yaml(),
        "provenance": json.dumps(provenance),
    }
    return pd.DataFrame([row])


def _metrics(run: FinishedRun) -> pd.DataFrame:
    """split, task, metric, value."""
    return pd.DataFrame(
        [
            {"split": split, "task": task, "metric": metric, "value": value}
            for split, tasks in run.run.metrics.items()
            for task, metrics in tasks.items()
            for metric, value in metrics.items()
        ]
    )


def _baselines(run: FinishedRun) -> pd.DataFrame:
    """`baselines` of the run's data, of `REFERENCE` alone: they are no less those of its other variants."""
    config = run.run.config
    return baselines(run.data, config.dataset.metrics) if config.variant == REFERENCE else pd.DataFrame()


def _history(run: FinishedRun) -> pd.DataFrame:
    """A row an epoch, without its seconds."""
    return run.run.history.drop(columns="seconds", errors="ignore")


def _predictions(run: FinishedRun) -> pd.DataFrame:
    """Test split: id, label, prediction, and that of the averaged weights (nan: not averaged), float32.

    Where the data are read from a file, whose labels are not ours to hand on, an id is a place in the order of y. Runs
    that have test samples of their own are compared by their metrics: those of the averaged weights are enough, and
    their predictions, which would double the record, are left out.
    """
    test, dataset = run.run.predictions.query("split == 'test'").reset_index(drop=True), run.run.config.dataset
    if dataset.features is not None:
        test = test.sort_values(["label", "id"], ignore_index=True)
        test["id"] = test.index.astype(str)
    averaged = np.nan if dataset.draw != "shared" else test.get("multimodal_averaged", np.nan)
    numbers = pd.DataFrame({"label": test["label"], "prediction": test["multimodal"], "averaged": averaged})
    return pd.concat([test["id"], numbers.astype(np.float32)], axis="columns")


def _pairs(run: FinishedRun) -> list[tuple[str, str]]:
    """Those that the run aligns, as its settings spell them."""
    return list(run.run.config.objective.alignment.pairs)


def _second_order(run: FinishedRun) -> pd.DataFrame:
    """`tables.second_order` of every pair of modalities; aligned: whether the run aligns the row's pair."""
    arrays = run.run.covariances
    modalities = [modality for modality in MODALITIES if f"{modality}/covariance/after" in arrays]
    pairs = {frozenset(pair): pair for pair in [*combinations(modalities, 2), *_pairs(run)]}
    table = tables.second_order(arrays, pairs.values())
    return table.assign(aligned=table["modality"].isin(["-".join(pair) for pair in _pairs(run)]))


def _spectra(run: FinishedRun) -> pd.DataFrame:
    table = tables.spectra(run.run.covariances)
    return table.astype({"rank": np.int16, "variance": np.float32})


def _covariances(run: FinishedRun) -> pd.DataFrame:
    """Of the aligned pair: modality, when, and the upper triangle of each symmetric matrix: row, column, value."""
    modalities = (*_pairs(run), ("audio", "vision"))[0]
    frames = []
    for modality, when in [(modality, when) for modality in modalities for when in ("before", "after")]:
        matrix = run.run.covariances.get(f"{modality}/covariance/{when}") if run.pictured else None
        if matrix is not None:
            row, column = (index.astype(np.int16) for index in np.triu_indices(len(matrix)))
            values = {"row": row, "column": column, "value": matrix[row, column].astype(np.float32)}
            frames.append(pd.DataFrame({"modality": modality, "when": when, **values}))
    return _joined(frames)


def _label_movement(run: FinishedRun) -> pd.DataFrame:
    labels = run.run.labels
    return tables.label_movement(labels) if len(labels) else pd.DataFrame()


def _label_agreement(run: FinishedRun) -> pd.DataFrame:
    labels = run.run.labels
    if labels.empty or run.true_labels is None:
        return pd.DataFrame()
    return tables.label_agreement(labels, run.true_labels)


def _label_gains(run: FinishedRun) -> pd.DataFrame:
    """`label_gains` at the best epoch, of `REFERENCE` alone."""
    labels, best_epoch = run.run.labels, run.run.provenance["best_epoch"]
    if run.run.config.variant != REFERENCE or labels.empty or run.true_labels is None:
        return pd.DataFrame()
    return label_gains(labels, run.true_labels, best_epoch).astype({"gain": np.float32})


def _labels(run: FinishedRun) -> pd.DataFrame:
    """What the pictures of one run's labels show; ids are places in the order of y, which say nothing of a sample.

    Every sample at `tables.shown_epochs` and the followed ones at every epoch: id, epoch, a column per task; at epoch
    0 also true_<modality>, where known, and the text of those that are followed.
    """
    labels = run.run.labels
    if labels.empty or not run.pictured:
        return pd.DataFrame()
    start = labels[labels["epoch"] == 0].sort_values("multimodal", kind="stable")["id"]
    followed = tables.evenly_by_y(labels, FOLLOWED)
    shown = labels["epoch"].isin(tables.shown_epochs(labels)) | labels["id"].isin(followed)
    frame = labels[shown].astype(dict.fromkeys(labels.columns.drop(["id", "epoch"]), np.float32))
    if run.true_labels is not None:
        true = run.true_labels.set_index("id").add_prefix("true_").astype(np.float32)
        frame = frame.merge(true.reset_index().assign(epoch=0), on=["id", "epoch"], how="left")
    texts = dict(zip(run.train.ids, run.train.raw_text or run.train.ids, strict=True))
    spoken = frame["id"].map({identity: texts[identity] for identity in followed})
    places = pd.Series(range(len(start)), index=start)
    frame = frame.assign(utterance=spoken.where(frame["epoch"] == 0), id=frame["id"].map(places))
    return frame.sort_values(["epoch", "id"], ignore_index=True)


def _probes(run: FinishedRun) -> pd.DataFrame:
    """trained, and `probes.factor_probes` of the test split."""
    return _joined(
        [
            probes.factor_probes(encoded, factors).assign(trained=trained)
            for trained, encoded, factors in run.tested
            if factors
        ]
    )


def _crossmodal(run: FinishedRun) -> pd.DataFrame:
    """trained, and `probes.cross_modal` of the test split."""
    return _joined([probes.cross_modal(encoded).assign(trained=trained) for trained, encoded, _ in run.tested])


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


FRAMES: dict[str, Callable[[FinishedRun], pd.DataFrame]] = {
    "runs": _runs,
    "metrics": _metrics,
    "baselines": _baselines,
    "history": _history,
    "predictions": _predictions,
    "second_order": _second_order,
    "spectra": _spectra,
    "covariances": _covariances,
    "label_movement": _label_movement,
    "label_agreement": _label_agreement,
    "label_gains": _label_gains,
    "labels": _labels,
    "probes": _probes,
    "crossmodal": _crossmodal,
}
