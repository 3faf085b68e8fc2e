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


def interventions(rows: pd.DataFrame, threshold: float = 1e-4, saturated: float = 1e-3) -> pd.DataFrame:
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


def growth(rows: pd.DataFrame, saturated: float = 1e-3) -> float:
    """The factor by which the `distance` of one comparison's weights grows an epoch; see `interventions`."""
    ends = rows.groupby("epoch")["step"].idxmax()
    at_ends = pd.Series(distance(rows.loc[ends]).to_numpy(), index=ends.index)
    fitted = at_ends[(at_ends > 0) & (at_ends <= saturated)]
    if len(fitted) < 3:
        return float("nan")
    return float(np.exp(np.polyfit(fitted.index, np.log(fitted), 1)[0]))


def largest_jumps(rows: pd.DataFrame, threshold: float = 1e-4) -> pd.DataFrame:
    """Each seed's largest jump of the weights' `distance` in one step, before or when the losses part.

    Args:
        rows: of one comparison, with weights at every step; see `interventions`.
        threshold: steps up to the first whose losses differ by more, relative, are looked at.

    Returns:
        A row per seed: seed, parting, step, before, after (the distance), group (of the largest growth), factor (of
        that group), signs (what differs at that step: numbers by kind), first_sign (the first step at which any
        differs), first_kind.
    """
    table = []
    for seed, group in rows.groupby("seed"):
        of_seed = group.set_index("step").sort_index()
        parted = of_seed.index[of_seed["difference"] > threshold]
        parting = parted[0] if len(parted) else of_seed.index[-1]
        before_parting = of_seed.loc[:parting]
        gaps = distance(before_parting)
        step = int((gaps / gaps.shift()).idxmax())
        weights = _weights(before_parting)
        factors = weights.loc[step] / weights.loc[step - 1]
        signs = before_parting.filter(like="signs_")
        first = signs.index[(signs > 0).any(axis="columns")]
        table.append(
            {
                "seed": seed,
                "parting": parting,
                "step": step,
                "before": gaps.loc[step - 1],
                "after": gaps.loc[step],
                "group": factors.idxmax().removeprefix("weights_"),
                "factor": factors.max(),
                "signs": _kinds(signs.loc[step]),
                "first_sign": first[0] if len(first) else np.nan,
                "first_kind": _kinds(signs.loc[first[0]]) if len(first) else "",
            }
        )
    return pd.DataFrame(table)


def _kinds(signs: pd.Series) -> str:
    """As "2 errors, 1 head activations"."""
    differ = signs[signs > 0]
    return ", ".join(f"{n} {name.removeprefix('signs_').replace('_', ' ')}" for name, n in differ.items())


def interventions_markdown(table: pd.DataFrame) -> str:
    """`interventions` for reading."""

    def ranged(row: Any, name: str, form: str) -> str:
        middle, low, high = (getattr(row, name + ending) for ending in ("", "_low", "_high"))
        if np.isnan(middle):
            return "none" if name == "parting" else "-"
        return f"{middle:{form}} [{low:{form}}, {'none' if np.isnan(high) else format(high, form)}]"

    rows = list(table.itertuples())
    between = [f"perturbation of {row.perturbation:.0e}" if row.perturbation else "two arithmetics" for row in rows]
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
