"""One function per table: frames in, frame out, no file access."""

from collections.abc import Mapping
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from msa_core import MODALITIES
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
    return over_seeds(test, ["dataset", "title", "variant", "metric"], reference)


def over_seeds(values: pd.DataFrame, keys: list[str], reference: str = "paper") -> pd.DataFrame:
    """A measured value over seeds, and its difference to a reference variant, paired by seed.

    Args:
        values: seed, value and the columns `keys`, a row a measurement.
        keys: what names a measurement but its seed; "variant" is among them.
        reference: variant with which the others are paired by seed.

    Returns:
        A row per combination of `keys`, in their order of appearance: mean, std (of a sample: n - 1; nan for one
        seed), n, seeds; then the difference to `reference` on the seeds both have: difference_mean, difference_std,
        difference_n (nan, nan and 0 for the reference itself).
    """
    shared = [key for key in keys if key != "variant"] + ["seed"]
    of_reference = values.loc[values["variant"] == reference, [*shared, "value"]]
    paired = values[values["variant"] != reference].merge(of_reference, on=shared, suffixes=("", "_reference"))
    paired = paired.assign(difference=paired["value"] - paired["value_reference"])
    table = values.groupby(keys, sort=False).agg(
        mean=("value", lambda values: values.mean(skipna=False)),  # a value that is nan for one seed has no mean
        std=("value", lambda values: values.std(skipna=False)),
        n=("value", "size"),
        seeds=("seed", lambda seeds: " ".join(map(str, sorted(seeds)))),
    )
    differences = paired.groupby(keys, sort=False)["difference"]
    table = table.join(differences.agg(difference_mean="mean", difference_std="std", difference_n="size"))
    table["difference_n"] = table["difference_n"].fillna(0).astype(int)
    return table.reset_index()


def over_seeds_markdown(table: pd.DataFrame, rows: list[str], column: str, number: str = "z.3f") -> str:
    """`over_seeds` for reading: mean ± standard deviation; a mean that is nan is a dash.

    Args:
        table: as `over_seeds` gives it.
        rows: columns of it that name a row.
        column: column of it whose values head the columns.
        number: format of a mean and of a standard deviation.
    """
    spread = table["std"].map(lambda std: "" if pd.isna(std) else f" ± {std:{number}}")
    cells = table["mean"].map(lambda mean: "–" if pd.isna(mean) else f"{mean:{number}}") + spread
    shown = table.assign(cell=cells, seeds=table["seeds"].map(_ranges))
    index = [*rows, "n", "seeds"]
    in_order = pd.MultiIndex.from_frame(shown[index].drop_duplicates())
    wide = shown.pivot(index=index, columns=column, values="cell")
    wide = wide.loc[in_order, table[column].unique()].fillna("").reset_index()
    wide = wide[[*rows, *table[column].unique(), "n", "seeds"]]
    return wide.to_markdown(index=False, disable_numparse=True) + "\n"


def with_missing(table: pd.DataFrame, missing: pd.DataFrame) -> pd.DataFrame:
    """A table over seeds together with what it lacks.

    Args:
        table: with columns dataset, title and variant.
        missing: as `records.find_runs` gives it.

    Returns:
        The table with a column "missing", the seeds of that variant whose runs are not finished; variants that the
        table has no row for at all, but which miss runs, get one, with nothing measured and counts of 0.
    """
    keys = ["dataset", "title", "variant"]
    seeds = missing.groupby(keys, sort=False)["seed"].agg(lambda seeds: " ".join(map(str, sorted(seeds))))
    seeds = seeds.astype(object).rename("missing")  # of strings, also where there are none
    absent = seeds.index.difference(pd.MultiIndex.from_frame(table[keys]), sort=False).to_frame(index=False)
    joined = (pd.concat([table, absent]) if len(absent) else table).join(seeds, on=keys)
    counts = dict.fromkeys(table.select_dtypes("integer"), 0)
    words = dict.fromkeys(("seeds", "missing"), "")
    return joined.fillna(counts | words).astype(dict.fromkeys(counts, int)).reset_index(drop=True)


def main_markdown(table: pd.DataFrame) -> str:
    """`main_table` for reading: a row per data set and variant, mean ± standard deviation; arrows: what is better."""
    return _markdown(_main_cells(table))


def main_latex(table: pd.DataFrame) -> str:
    """`main_markdown` as a LaTeX tabular."""
    return _latex(_main_cells(table))


def ablation_markdown(table: pd.DataFrame) -> str:
    """`comparisons.compare` for reading, a table a data set: difference to the reference [95% interval], p, n.

    Args:
        table: as `comparisons.compare` gives it, through `with_missing`.
    """
    return "\n".join(f"### {title}\n\n{_markdown(cells)}" for title, cells in _ablation_cells(table))


def ablation_latex(table: pd.DataFrame) -> str:
    """`ablation_markdown` as LaTeX tabulars, one a data set."""
    return "\n".join(f"% {title}\n{_latex(cells)}" for title, cells in _ablation_cells(table))


def published_table(published: pd.DataFrame, main: pd.DataFrame) -> pd.DataFrame:
    """Published numbers and ours of the same family of data sets.

    Args:
        published: reference/published.csv: dataset, model, metric, value, setting, source, source_commit.
        main: as `main_table` gives it. Ours belong to the family that their data set is named after: "mosi" is the
            field's own feature file, "mosi_text_audio" another one of the same utterances.

    Returns:
        A row per family and model, ours last: family, model, setting, source, comparable, a column a metric (ours:
        mean over seeds).
    """
    rows = published.assign(source=published["source"] + " " + published["source_commit"], comparable="")
    measured = main.dropna(subset="metric")
    ours = measured.assign(
        family=measured["dataset"].str.split("_").str[0],
        model="ours: " + measured["title"] + ", " + measured["variant"],
        setting=measured["n"].astype(str) + " seeds",
        source="this study",
        comparable=np.where(measured["dataset"].isin(rows["dataset"]), "the same feature file", NOT_COMPARABLE),
        value=measured["mean"],
    )
    keys = ["family", "model", "setting", "source", "comparable"]
    ours = ours[ours["family"].isin(rows["dataset"])]
    both = pd.concat([rows.rename(columns={"dataset": "family"}), ours])
    wide = both.pivot(index=keys, columns="metric", values="value")
    order = pd.MultiIndex.from_frame(both[keys].drop_duplicates().sort_values("family", kind="stable", key=_as_met))
    return wide.reindex(order)[list(METRIC_TITLES)].reset_index().rename_axis(columns=None)


def published_markdown(table: pd.DataFrame) -> str:
    """`published_table` for reading: per family the published numbers, and set apart from them ours."""
    parts = []
    for family, group in table.groupby("family", sort=False):
        parts.append(f"### {family}: published numbers, not ours\n")
        for is_ours in (False, True):
            rows = group[(group["source"] == "this study") == is_ours].drop(columns="family")
            if is_ours and len(rows):
                parts.append("Ours, to be read apart from them:\n")
            if len(rows):
                metrics = [metric for metric in METRIC_TITLES if rows[metric].notna().any()]
                named = rows[["model", "setting", *metrics, "source", *(["comparable"] if is_ours else [])]]
                cells = named.assign(**{metric: rows[metric].map("{:.4f}".format) for metric in metrics})
                parts.append(_markdown(cells.rename(columns=lambda name: METRIC_TITLES.get(name, name.capitalize()))))
    return "\n".join(parts)


def runs_table(metrics: pd.DataFrame, provenance: pd.DataFrame) -> pd.DataFrame:
    """Every run of a grid: the test metrics of its multimodal task, and where they come from.

    Args:
        metrics: as `records.read_metrics` gives them.
        provenance: as `records.read_provenance` gives it.
    """
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    wide = test.pivot(index=["dataset", "variant", "seed"], columns="metric", values="value").reset_index()
    return provenance.merge(wide, on=["dataset", "variant", "seed"], how="left")


def sample_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """Absolute error of each run on each test sample: with it, anybody can compute an interval of their own.

    Labels and predictions are left out: a data set's labels are not ours to hand on.

    Args:
        predictions: as `records.read_predictions` gives them.

    Returns:
        dataset, variant, seed, id, absolute_error (label units, float32).
    """
    errors = (predictions["prediction"] - predictions["label"]).abs().astype("float32")
    return predictions[["dataset", "variant", "seed", "id"]].assign(absolute_error=errors)


def runs_markdown(table: pd.DataFrame) -> str:
    """`runs_table` in short: what the runs of a data set have in common, and how long they took."""
    rows = []
    for title, runs in table.groupby("title", sort=False):
        in_common = {
            name.capitalize(): ", ".join(sorted(map(str, runs[name].unique())))
            for name in ("commit", "clean", "device", "threads", "python", "torch")
        }
        hours = f"{runs['seconds'].sum() / 3600:.2f}"
        rows.append({"Data": title, "Runs": len(runs), **in_common, "Hours, one after another": hours})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n"


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


SETTLED = 0.01  # of H: labels that move by less, on average and per epoch, have settled


def settled_after(moved: pd.Series, label_bound: float) -> float:
    """The epoch after which the mean move stays below 1% of H; nan if it does not by the last epoch.

    Args:
        moved: of one run and modality, by epoch (`label_movement`).
        label_bound: H.
    """
    moving = moved.index[moved >= SETTLED * label_bound]
    return np.nan if moved.index[-1] in moving else max(moving, default=0)


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


def label_summary(
    labels: pd.DataFrame, best_epoch: int, label_bound: float, true: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One run's generated labels in a few numbers: do they beat copying y, and do they settle?

    Args:
        labels: as for `label_movement`.
        best_epoch: the run's, chosen by validation MAE.
        label_bound: H.
        true: id and a column of true (or human) unimodal labels per modality; None: there are none.

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


def variance_table(alignment: Mapping[str, NDArray]) -> pd.DataFrame:
    """Total variance and effective rank of each modality's encodings, before and after training.

    The effective rank is the exponential of the entropy of the normalised eigenvalues (Roy and Vetterli 2007).

    Args:
        alignment: `Run.alignment`.
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
                    "when": when,
                    "total variance": spectrum.sum(),
                    "effective rank": np.exp(entropy),
                    "width": len(spectrum),
                }
            )
    return pd.DataFrame(rows).sort_values("modality", kind="stable").set_index(["modality", "when"])


def second_order(alignment: Mapping[str, NDArray], pair: tuple[str, str]) -> pd.DataFrame:
    """What tells aligning from shrinking, for one run and one pair of modalities, before and after training.

    Args:
        alignment: `Run.alignment`.
        pair: two modalities.

    Returns:
        A row per modality, when and measure, with its value: each modality's total variance and effective rank; of
        the pair (modality "audio-vision"), where its widths are equal, the covariance distance (that of the paper)
        and the correlation distance (scale-free, of `alignment.correlation_distance`).
    """
    variances = variance_table(alignment).loc[list(pair)].drop(columns="width").reset_index()
    table = variances.melt(["modality", "when"], var_name="measure")
    for when in ("before", "after"):
        first, second = (alignment[f"{modality}/covariance/{when}"] for modality in pair)
        if first.shape == second.shape:
            distances = {
                "covariance distance": _distance(first, second),
                "correlation distance": _distance(_correlation(first), _correlation(second)),
            }
            rows = [{"measure": measure, "value": value} for measure, value in distances.items()]
            table = pd.concat([table, pd.DataFrame(rows).assign(modality="-".join(pair), when=when)], ignore_index=True)
    return table


def spectra(alignment: Mapping[str, NDArray]) -> pd.DataFrame:
    """Eigenvalues of each covariance: modality, when, rank (1: the largest), variance.

    Args:
        alignment: `Run.alignment`.
    """
    parts = [
        pd.DataFrame({"modality": modality, "when": when, "rank": range(1, len(values) + 1), "variance": values})
        for key, values in alignment.items()
        for modality, what, when in [key.split("/")]
        if what == "spectrum"
    ]
    return pd.concat(parts, ignore_index=True)


def _distance(first: NDArray, second: NDArray) -> float:
    return float(np.square(first - second).sum() / (4 * len(first) ** 2))


def _correlation(covariance: NDArray) -> NDArray:
    scale = 1 / np.sqrt(np.diag(covariance) + 1e-8)  # the epsilon of alignment.correlation_distance
    return scale[:, None] * covariance * scale[None, :]


NOT_COMPARABLE = "no: other features, other text encoder"


def _as_met(values: pd.Series) -> pd.Series:
    return pd.Series(pd.factorize(values)[0], index=values.index)


def _main_cells(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (title, variant), group in table.groupby(["title", "variant"], sort=False):
        cells = {
            f"{METRIC_TITLES[metric]} {_arrow(metric)}": _cell(mean, std)
            for metric, mean, std in zip(group["metric"], group["mean"], group["std"], strict=True)
            if pd.notna(metric)
        }
        last = {"n": group["n"].iloc[0], "Seeds": _ranges(group["seeds"].iloc[0])} | _missing(group, table)
        rows.append({"Data": title, "Variant": variant, **cells, **last})
    return pd.DataFrame(rows).fillna("")


def _ablation_cells(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    tables = []
    for title, of_data_set in table.groupby("title", sort=False):
        rows = []
        for variant, group in of_data_set.groupby("variant", sort=False):
            row: dict[str, object] = {"Variant": variant}
            for _, found in group.dropna(subset="metric").iterrows():
                name = METRIC_TITLES[found["metric"]]
                row[f"{name} {_arrow(found['metric'])}"] = _interval(found["difference"], found["low"], found["high"])
                row[f"{name}: p (Holm)"] = "" if pd.isna(found["p"]) else f"{found['p']:.3f} ({found['p_holm']:.3f})"
            if group["n_seeds"].any():
                row |= {"Samples": str(group["n_samples"].iloc[0]), "Seeds": _ranges(group["seeds"].iloc[0])}
            rows.append(row | _missing(group, table))
        tables.append((str(title), pd.DataFrame(rows).fillna("")))
    return tables


def _missing(group: pd.DataFrame, table: pd.DataFrame) -> dict[str, str]:
    """The cell that names missing runs, in tables that lack any."""
    return {"Missing": _ranges(group["missing"].iloc[0])} if "missing" in table and table["missing"].any() else {}


def _ranges(seeds: str) -> str:
    """Three and more neighbours as a range: "1 2 3 5" -> "1–3 5"."""
    parts: list[str] = []
    for _, group in groupby(enumerate(map(int, seeds.split())), lambda place: place[1] - place[0]):
        run = [str(seed) for _, seed in group]
        parts += [f"{run[0]}–{run[-1]}"] if len(run) > 2 else run
    return " ".join(parts)


def _interval(estimate: float, low: float, high: float) -> str:
    if pd.isna(estimate):
        return "–"
    return f"{estimate:+.4f} " + ("(no interval)" if pd.isna(low) else f"[{low:+.4f}, {high:+.4f}]")


def _arrow(metric: str) -> str:
    return "↓" if metric in LOWER_IS_BETTER else "↑"


def _markdown(cells: pd.DataFrame) -> str:
    return cells.to_markdown(index=False, disable_numparse=True) + "\n"


def _latex(cells: pd.DataFrame) -> str:
    text = cells.to_latex(index=False, escape=True)
    for sign, command in {"±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"}.items():
        text = text.replace(sign, command)
    return text


def _cell(mean: float, std: float) -> str:
    return f"{mean:.4f}" if pd.isna(std) else f"{mean:.4f} ± {std:.4f}"


def efficiency(training: pd.DataFrame, scale: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """What the benchmarks found, against the goal of each.

    Args:
        training, scale, parts: as benchmarks/training.py, scale.py and parts.py write them; what MMSA was not there
            for is left out.

    Returns:
        A row per goal: measure, goal, value, low, high (quartiles; of the last one a 95% interval), met.
    """
    lines = pd.concat([training, scale]).set_index("measure")
    mmsa = " / MMSA 2.2.1 Self-MM, float32"
    goals = {
        f"ours, float32{mmsa}": ("Training step: samples a second, ours / MMSA's Self-MM, float32", ">=", 3, ""),
        f"ours, bfloat16{mmsa}": ("The same, ours in bfloat16 (the goal is for processors with AMX)", ">=", 5, ""),
        "ours, float32, text encoder frozen: an epoch": ("An epoch with a frozen text encoder", "<", 1, " s"),
        "first read: peak resident memory / largest array": ("First read: peak memory / largest array", "<", 1.3, ""),
        "later opening": ("Later opening", "<", 0.2, " s"),
        "later opening: added memory": ("Later opening: added memory", "<", 100e6, " MB"),
        "MMSA's peak / our epoch's, model and training included": (
            "Peak memory: MMSA's loader / our epoch, training included",
            ">=",
            5,
            "",
        ),
        "training speed, 16326 / 1024 samples": ("Training speed, 16,326 / 1,024 samples", ">=", 0.9, ""),
        "label generation, batch of 32, 1000000 / 1000 samples": (
            "Label generation: time of a step, 1,000,000 / 1,000 samples",
            "<=",
            1.1,
            "",
        ),
    }
    found = [
        (title, relation, goal, unit, *lines.loc[measure, ["value", "quartile_1", "quartile_3"]])
        for measure, (title, relation, goal, unit) in goals.items()
        if measure in lines.index
    ]
    paper = parts[parts["part"] == "label generation + one pair (the paper)"]
    found += [
        (f"Label generation and one pair, of a step ({encoder})", "<", 5, "%", *numbers)
        for encoder, *numbers in paper[["text_encoder", "added_percent", "low", "high"]].itertuples(index=False)
    ]
    holds = {"<": np.less, "<=": np.less_equal, ">=": np.greater_equal}
    rows = []
    for title, relation, goal, unit, *numbers in found:
        value, low, high = np.array(numbers) / (1e6 if unit == " MB" else 1)
        limit = goal / (1e6 if unit == " MB" else 1)
        met = bool(holds[relation](value, limit))
        goal_text = f"{relation} {limit:g}{unit}".replace("<=", "≤").replace(">=", "≥")
        rows.append({"measure": title, "goal": goal_text, "value": value, "low": low, "high": high, "met": met})
    return pd.DataFrame(rows)


def efficiency_markdown(table: pd.DataFrame) -> str:
    """`efficiency` for reading."""
    spread = [
        f" ({low:.3g} to {high:.3g})" if np.isfinite(low) else ""
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "What": table["measure"],
            "Goal": table["goal"],
            "Measured": [f"{value:.3g}{text}" for value, text in zip(table["value"], spread, strict=True)],
            "Met": table["met"].map({True: "yes", False: "no"}),
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True) + "\n"
