"""What parts two runs of the same settings under two arithmetics, step by step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def compared(ours: Mapping[str, NDArray], theirs: Mapping[str, NDArray], groups: tuple[str, ...]) -> pd.DataFrame:
    """How far two runs are apart at each step, and how many signs differ.

    Args:
        ours, theirs: "loss", (S,), of each of S steps; "weights", (K, P), after the steps "weights_steps", (K,); and
            "signs/<kind>", (S, ...), bool, of what has a kink at zero. Ours also "group_ends", (G,): where in P each
            group of weights ends.
        groups: the groups' names, (G,).

    Returns:
        A row per step: step (from 1); difference, of the loss, relative to theirs; signs_<kind>, the number of signs
        that differ; weights_<group>, the Euclidean distance of the group's weights, relative to the norm of theirs
        (NaN at steps without weights).
    """
    frame = pd.DataFrame({"step": np.arange(1, len(ours["loss"]) + 1, dtype=np.int32)})
    frame["difference"] = np.abs(ours["loss"] - theirs["loss"]) / np.abs(theirs["loss"])
    for kind in (name for name in ours if name.startswith("signs/")):
        differ = ours[kind] != theirs[kind]
        frame[kind.replace("/", "_")] = differ.reshape(len(frame), -1).sum(axis=1).astype(np.int32)
    ends = ours["group_ends"].tolist()
    reference = theirs["weights"].astype(np.float64)
    gaps = ours["weights"] - reference
    for group, first, end in zip(groups, [0, *ends], ends, strict=False):
        norms = (np.linalg.norm(values[:, first:end], axis=1) for values in (gaps, reference))
        distance, size = norms
        relative = pd.Series(distance / np.where(size > 0, size, 1), index=ours["weights_steps"])
        frame[f"weights_{group}"] = frame["step"].map(relative).astype(np.float32)
    return frame


def distance(rows: pd.DataFrame) -> pd.Series:
    """Of the weights: the root mean square over the groups of `compared`, key biases left out.

    A key's bias adds the same number to all scores of a query, which softmax takes out again: it has no gradient in
    exact arithmetic, so that rounding alone moves it, and nothing depends on it.
    """
    return _weights(rows).astype(np.float64).pow(2).mean(axis="columns", skipna=False).pow(0.5)


def _weights(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.filter(regex="^weights_").drop(columns="weights_key_biases")


def interventions(rows: pd.DataFrame, threshold: float = 1e-4, saturated: float = 1e-2) -> pd.DataFrame:
    """When two runs part under each intervention, how far they come, and how fast their distance grows.

    Args:
        rows: as `workflow/mechanism.py` writes them: precision, perturbation, intervention, seed, epoch and the columns
            of `compared`.
        threshold: two runs have parted at the first step at which their losses differ by more, relative.
        saturated: growth is fitted to epochs after which the `distance` of the weights is at most this.

    Returns:
        A row per comparison: precision, perturbation, intervention, n_seeds, epochs; parting, parting_low,
        parting_high: the step, median and range over seeds (NaN: later than the last one; the median of an even
        number of seeds is the lower one); difference: median over the steps of the last epoch and seeds; growth,
        growth_low, growth_high: the factor an epoch by which the distance of the weights grows (log-linear fit to the
        ends of epochs, at least three; NaN: fewer), median and range over seeds.
    """
    table = []
    for keys, group in rows.groupby(["precision", "perturbation", "intervention"], sort=False):
        last = group["epoch"].max()
        by_seed = [of_seed for _, of_seed in group.groupby("seed")]
        partings = [of_seed.loc[of_seed["difference"] > threshold, "step"].min() for of_seed in by_seed]  # NaN: none
        low, middle, high = np.percentile(np.nan_to_num(partings, nan=np.inf), [0, 50, 100], method="lower")
        growths = [growth(of_seed, saturated) for of_seed in by_seed]
        known = [factor for factor in growths if not np.isnan(factor)] or [np.nan]
        table.append(
            dict(zip(("precision", "perturbation", "intervention"), keys, strict=True))
            | {"n_seeds": len(by_seed), "epochs": last}
            | {"parting": middle, "parting_low": low, "parting_high": high}
            | {"difference": group.loc[group["epoch"] == last, "difference"].median()}
            | {"growth": np.median(known), "growth_low": min(known), "growth_high": max(known)}
        )
    return pd.DataFrame(table).replace(np.inf, np.nan)


def growth(rows: pd.DataFrame, saturated: float = 1e-2) -> float:
    """The factor by which the `distance` of one comparison's weights grows an epoch; see `interventions`."""
    ends = rows.groupby("epoch")["step"].idxmax()
    at_ends = pd.Series(distance(rows.loc[ends]).to_numpy(), index=ends.index)
    fitted = at_ends[(at_ends > 0) & (at_ends <= saturated)]
    if len(fitted) < 3:
        return float("nan")
    return float(np.exp(np.polyfit(fitted.index, np.log(fitted), 1)[0]))


def first_crossings(rows: pd.DataFrame, threshold: float = 1e-4) -> pd.DataFrame:
    """What each seed's runs do before a sign differs between them, at that step, and until their losses part.

    Args:
        rows: of one comparison, with weights at every step; see `interventions`.
        threshold: see `interventions`.

    Returns:
        A row per seed: seed; step, the first at which a sign differs (NaN: never), and signs, which ones; start,
        before, after: the weights' `distance` after the first step, and before and after that step; group, of the
        weights that jump most at that step, and its factor; parting, the step, and at_parting, the distance there.
    """
    table = []
    for seed, group in rows.groupby("seed"):
        of_seed = group.set_index("step").sort_index()
        gaps, signs, weights = distance(of_seed), of_seed.filter(regex="^signs_"), _weights(of_seed)
        parting = _first(of_seed["difference"] > threshold)
        row = {"seed": seed, "start": gaps.iloc[0], "parting": parting, "at_parting": gaps.get(parting, np.nan)}
        step = _first((signs > 0).any(axis="columns"))
        if step > 1:
            factors = (weights.loc[step] / weights.loc[step - 1]).rename(lambda name: name.removeprefix("weights_"))
            row |= {
                "step": step,
                "signs": _kinds(signs[signs.index == step].iloc[0]),
                "before": gaps[step - 1],
                "after": gaps[step],
            }
            row |= {"group": factors.idxmax(), "factor": factors.max()}
        table.append(row)
    columns = ["seed", "start", "step", "signs", "before", "after", "group", "factor", "parting", "at_parting"]
    return pd.DataFrame(table, columns=columns)


def _first(steps: pd.Series) -> float:
    """The first step at which something is so; NaN: never."""
    return steps.index[steps][0] if steps.any() else np.nan


def _kinds(signs: pd.Series) -> str:
    """As "2 errors, 1 head activations"."""
    differ = signs[signs > 0]
    return ", ".join(f"{n} {str(name).removeprefix('signs_').replace('_', ' ')}" for name, n in differ.items())


def interventions_markdown(table: pd.DataFrame) -> str:
    """`interventions` for reading."""

    def ranged(row: Any, name: str, form: str) -> str:
        middle, low, high = (getattr(row, name + ending) for ending in ("", "_low", "_high"))
        if np.isnan(middle):
            return "none" if name == "parting" else "-"
        return f"{middle:{form}} [{low:{form}}, {'none' if np.isnan(high) else f'{high:{form}}'}]"

    rows = list(table.itertuples())
    between = [
        f"perturbation of {size:.0e}" if size else "two arithmetics" for size in map(float, table["perturbation"])
    ]
    shown = pd.DataFrame(
        {
            "Precision": table["precision"],
            "What differs": between,
            "Intervention": table["intervention"],
            "Seeds": table["n_seeds"],
            "Step of parting [range]": [ranged(row, "parting", ".0f") for row in rows],
            "Difference in the last epoch": table["difference"].map("{:.1e}".format),
            "Growth factor an epoch [range]": [ranged(row, "growth", ".1f") for row in rows],
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True) + "\n"


def finding(table: pd.DataFrame, crossings: pd.DataFrame) -> str:
    """What the tables say, in sentences.

    Args:
        table: as `interventions` gives it.
        crossings: as `first_crossings` gives it, of the float32 runs without intervention.
    """
    as_is = (table["intervention"] == "none") & (table["precision"] == "float32")
    none = table[as_is].iloc[0]
    others = table[(table["precision"] == "float32") & ~as_is].sort_values("difference", ascending=False)
    listed = "; ".join(f"{row.intervention}: {row.difference:.1e}" for row in others.itertuples())
    control = "; ".join(
        f"from {row.perturbation:.0e} with intervention '{row.intervention}', {row.growth:.1f}"
        for row in table[table["perturbation"] > 0].itertuples()
    )
    crossed = crossings.dropna(subset="step")
    first = ", ".join(f"step {row.step:.0f} ({row.signs}; {row.group} jump most)" for row in crossed.itertuples())
    sentences = [
        f"The losses of the two float32 runs part at step {none.parting:.0f} (median of {none.n_seeds} seeds).",
        f"Before any sign differs, the weights' distance grows from {crossed['start'].median():.0e} to "
        f"{crossed['before'].median():.0e}: this growth needs no kink.",
        f"The first sign that differs: {first}. From there to the step of parting the distance grows to "
        f"{crossed['at_parting'].median():.0e}.",
        f"Relative difference of the losses in epoch {none.epochs}: {none.difference:.1e} as the runs are; {listed}.",
        f"Growth factor an epoch of the float64 controls: {control}." if control else "",
    ]
    return " ".join(filter(None, sentences))
