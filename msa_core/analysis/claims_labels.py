"""Claims about generated labels: nearer to the true ones than copies of y, and settled."""

from collections.abc import Iterator, Mapping

import pandas as pd

from msa_core.analysis.claims_rule import SMALLEST_MAE, Claim
from msa_core.analysis.comparisons import crossed_interval, run_interval
from msa_core.analysis.tables import SETTLED


def label_gains(labels: pd.DataFrame, true: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """How much nearer to the true unimodal label each generated one is than a copy of y: negative if farther.

    Samples without y are left out.

    Args:
        labels: `Run.labels`.
        true: id and a column of true labels per modality.
        epoch: at which to look.

    Returns:
        A row per id and modality: gain, in label units.
    """
    both = labels[labels["epoch"] == epoch].dropna(subset="multimodal").merge(true, on="id", suffixes=("", "_true"))
    frames = []
    for modality in true.columns.drop("id"):
        target = both[f"{modality}_true"]
        gain = (both["multimodal"] - target).abs() - (both[modality] - target).abs()
        frames.append(pd.DataFrame({"id": both["id"], "modality": modality, "gain": gain}))
    return pd.concat(frames, ignore_index=True)


def settling(movement: pd.DataFrame) -> pd.DataFrame:
    """Whether each run's generated labels have settled by its best epoch, chosen by validation MAE.

    Args:
        movement: rows of `tables.label_movement` with title, variant, seed, best_epoch and label_bound (H).

    Returns:
        A row per run and modality: moved, the largest mean absolute move of an epoch from the best one on; gain, 1% of
        H less that.
    """
    late = movement[movement["epoch"] >= movement["best_epoch"]]
    groups = late.groupby(["title", "variant", "seed", "modality"], sort=False)
    moved = groups.agg(moved=("moved", "max"), bound=("label_bound", "first")).reset_index()
    return moved.assign(gain=SETTLED * moved["bound"] - moved["moved"]).drop(columns="bound")


def nearer_labels(gains: pd.DataFrame | None, bounds: dict[str, float]) -> Iterator[Claim]:
    """The mean of `label_gains` over samples and runs.

    Args:
        gains: see `claims.Measurements`.
        bounds: H of each data set, by title.
    """
    if gains is None:
        return
    for (title, draw, modality), group in gains.groupby(["title", "draw", "modality"], sort=False):
        values = group.pivot(index="seed", columns="id", values="gain")
        ratio = float(group["test_to_train"].iloc[0])
        interval = crossed_interval(values) if draw == "shared" else run_interval(values.mean(axis="columns"), ratio)
        claim = f"Generated {modality} labels are nearer to the true ones than copies of y, at the best epoch"
        smallest = SMALLEST_MAE * bounds[str(title)]
        yield Claim(3, claim, str(title), interval, "MAE, train split", smallest, *values.shape)


def settled_labels(
    settled: pd.DataFrame | None, bounds: dict[str, float], ratios: Mapping[str, float]
) -> Iterator[Claim]:
    """The mean gain of `settling` over runs.

    Args:
        settled: see `claims.Measurements`.
        bounds: H of each data set, by title.
        ratios: see `claims_features.information`.
    """
    if settled is None:
        return
    for (title, modality), runs in settled.groupby(["title", "modality"], sort=False):
        claim = f"From the best epoch on, generated {modality} labels move by less than {SETTLED:.0%} of H an epoch"
        note = f"by less in {(runs['gain'] > 0).sum()} of {len(runs)} runs"
        limit, interval = SETTLED * bounds[str(title)], run_interval(runs["gain"], ratios.get(str(title), 0))
        yield Claim(3, claim, str(title), interval, "label units", n_runs=len(runs), limit=limit, note=note)
