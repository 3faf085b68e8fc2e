"""Values over seeds, the main table among them, and the runs that a table lacks."""

import pandas as pd

from msa_core.analysis.tables.formats import (
    METRIC_TITLES,
    arrow,
    latex,
    markdown,
    mean_and_spread,
    missing_cell,
    ranges,
)


def main_table(metrics: pd.DataFrame, reference: str = "paper") -> pd.DataFrame:
    """Test metrics of the multimodal task per data set and variant, over seeds.

    Args:
        metrics: as `collect.Records` gives them.
        reference: variant with which the others are paired by seed.

    Returns:
        A row per dataset, title, variant and metric: mean, std (of a sample: n - 1; nan for one seed), n, seeds; then
        the difference to `reference` on the seeds both have: difference_mean, difference_std, difference_n
        (nan, nan and 0 for the reference itself).
    """
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    return over_seeds(test, ["dataset", "title", "variant", "metric"], reference)


DIFFERENCES = {
    "difference_mean": "Difference, mean",
    "difference_std": "Standard deviation",
    "difference_n": "Seeds",
}
AVERAGED = ", averaged weights"  # added to a data set's title


def with_averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """Metrics or predictions, then those of the averaged weights as if of another data set, titled so.

    Args:
        frame: metrics or predictions, as `collect.Records` gives them.
    """
    if "task" in frame:
        averaged = frame[frame["task"] == "multimodal_averaged"].assign(task="multimodal")
    else:
        averaged = frame.dropna(subset="averaged")
        averaged = averaged.assign(prediction=averaged["averaged"])
    return pd.concat([frame, averaged.assign(title=averaged["title"] + AVERAGED)], ignore_index=True)


def with_baselines(metrics: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Metrics, then those of each data set's baselines as if of further variants.

    Args:
        metrics, baselines: as `collect.Records` gives them; of older records there are no baselines.
    """
    if baselines.empty:
        return metrics
    rows = baselines.assign(variant=baselines["baseline"], split="test", task="multimodal")
    places = {dataset: place for place, dataset in enumerate(metrics["dataset"].unique())}
    joined = pd.concat([metrics, rows[metrics.columns]])
    return joined.sort_values("dataset", key=lambda names: names.map(places), kind="stable", ignore_index=True)


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


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """`over_seeds` for reading, its differences to the reference alone: what was measured, mean, spread and seeds.

    Args:
        table: as `over_seeds` gives it, with or without a title.
    """
    keys = [name for name in list(table)[: list(table).index("mean")] if name != "dataset"]
    names = {name: str(name).capitalize() for name in keys} | {"title": "Data"} | DIFFERENCES
    return table.dropna(subset="difference_mean")[[*keys, *DIFFERENCES]].rename(columns=names)


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
    shown = table.assign(cell=cells, seeds=table["seeds"].map(ranges))
    index = [*rows, "n", "seeds"]
    in_order = pd.MultiIndex.from_frame(shown[index].drop_duplicates())
    wide = shown.pivot(index=index, columns=column, values="cell")
    wide = wide.loc[in_order, table[column].unique()].fillna("").reset_index()
    wide = wide[[*rows, *table[column].unique(), "n", "seeds"]]
    return markdown(wide)


def with_missing(table: pd.DataFrame, missing: pd.DataFrame) -> pd.DataFrame:
    """A table over seeds together with what it lacks.

    Args:
        table: with columns dataset, title and variant.
        missing: as `collect.Records` gives it.

    Returns:
        The table with a column "missing", the seeds of that variant whose runs are not finished; variants that the
        table has no row for at all, but which miss runs, get one, with nothing measured and counts of 0.
    """
    keys = ["dataset", "variant"]
    seeds = missing.groupby(keys, sort=False)["seed"].agg(lambda seeds: " ".join(map(str, sorted(seeds))))
    seeds = seeds.astype(object).rename("missing")  # of strings, also where it is empty
    names = missing[["dataset", "title", "variant"]].drop_duplicates(keys)
    absent = names[~pd.MultiIndex.from_frame(names[keys]).isin(pd.MultiIndex.from_frame(table[keys]))]
    joined = (pd.concat([table, absent]) if len(absent) else table).join(seeds, on=keys)
    counts = dict.fromkeys(table.select_dtypes("integer"), 0)
    words = dict.fromkeys(("seeds", "missing"), "")
    return joined.fillna(counts | words).astype(dict.fromkeys(counts, int)).reset_index(drop=True)


def main_markdown(table: pd.DataFrame) -> str:
    """`main_table` for reading: a row per data set and variant, mean ± standard deviation; arrows: what is better."""
    return markdown(_main_cells(table))


def main_latex(table: pd.DataFrame) -> str:
    """`main_markdown` as a LaTeX tabular."""
    return latex(_main_cells(table))


def _main_cells(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (title, variant), group in table.groupby(["title", "variant"], sort=False):
        cells = {
            f"{METRIC_TITLES[metric]} {arrow(metric)}": mean_and_spread(mean, std)
            for metric, mean, std in zip(group["metric"], group["mean"], group["std"], strict=True)
            if pd.notna(metric)
        }
        last = {"n": group["n"].iloc[0], "Seeds": ranges(group["seeds"].iloc[0])} | missing_cell(group, table)
        rows.append({"Data": title, "Variant": variant, **cells, **last})
    return pd.DataFrame(rows).fillna("")
