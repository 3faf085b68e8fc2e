"""Published numbers, and ours apart from them."""

import numpy as np
import pandas as pd

from msa_core.analysis.tables.formats import METRIC_TITLES, markdown

NOT_COMPARABLE = "no: other features, other text encoder"


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
    order = pd.MultiIndex.from_frame(
        both[keys].drop_duplicates().sort_values("family", kind="stable", key=_by_appearance)
    )
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
                parts.append(markdown(cells.rename(columns=lambda name: METRIC_TITLES.get(name, name.capitalize()))))
    return "\n".join(parts)


def _by_appearance(values: pd.Series) -> pd.Series:
    return pd.Series(pd.factorize(values)[0], index=values.index)
