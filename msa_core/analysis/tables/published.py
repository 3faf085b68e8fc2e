"""Numbers of others (`reference/`), and ours apart from them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from msa_core.analysis.tables.formats import METRIC_TITLES, arrow, interval, markdown
from msa_core.data import PlantedProcess
from msa_core.data.planted_truth import unimodal_agreement

MMSA_ROWS = (
    "Rows of thuiar/MMSA are means of 5 seeds (1111 to 1115), with the hyper-parameters that were best on validation "
    "data of 50 settings for each model. Their spread is not published (`reference/README.md`).\n"
)
RERUN_ROWS = (
    "\nPublished: the value in `reference/published.csv`, thuiar/MMSA's table; a dash: it has none. A rerun may have "
    "meant another publication.\n"
)
LABEL_ROWS = (
    "\nAnother sign: the two labels do not have the same one, and 0 is a sign of its own; how 0 was counted for "
    "CREMA-D is not stated. Contains information from CREMA-D (Cao et al. 2014), which is made available under the "
    "Open Database License (ODbL) 1.0: votes on {clips} clips by voice (audio), face (vision) and both (multimodal).\n"
)
WORTH_ROWS = "\nOf each pair of thuiar/MMSA, both models were tuned by themselves; their spread is not published.\n"
SIMS_BOUNDS = {"sims": 1.0, "simsv2": 1.0}  # H of both versions of CH-SIMS, whose labels are within [-1, 1]
NOT_STATED = "not stated"
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
    rows = _at_commit(published).assign(comparable="")
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
    parts = [MMSA_ROWS]
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


def reproduced_table(reproduced: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """How far reruns of published code are from what was published.

    Args:
        reproduced: reference/reproduced.csv: dataset, model, metric, value, spread, n, source, note.
        published: reference/published.csv.

    Returns:
        Its rows with `published`, the value of the same model and metric there (nan: it has none), and `difference`,
        the rerun's value less it.
    """
    keys = ["dataset", "model", "metric"]
    known = published[[*keys, "value"]].rename(columns={"value": "published"})
    joined = reproduced.astype({"n": "Int64"}).merge(known, on=keys, how="left", validate="many_to_one")
    joined["difference"] = joined["value"] - joined["published"]
    return joined[[*keys, "published", "value", "spread", "n", "difference", "source", "note"]]


def reproduced_markdown(table: pd.DataFrame) -> str:
    """`reproduced_table` for reading."""
    metrics = table["metric"].map(lambda metric: f"{METRIC_TITLES[metric]} {arrow(metric)}")
    cells = {
        "Data": table["dataset"],
        "Model": table["model"],
        "Metric": metrics,
        "Published": _numbers(table["published"], "{:.4f}", "–"),
        "Rerun": _numbers(table["value"], "{:.4f}", "–"),
        "Rerun − published": _numbers(table["difference"], "{:+.4f}", "–"),
        "Standard deviation": _numbers(table["spread"], "{:.4f}", NOT_STATED),
        "Runs": _numbers(table["n"], "{:d}", NOT_STATED),
        "Source": table["source"],
        "Note": table["note"],
    }
    return markdown(pd.DataFrame(cells)) + RERUN_ROWS


def unimodal_labels_table(human: pd.DataFrame, processes: Mapping[str, PlantedProcess]) -> pd.DataFrame:
    """How far labels of one modality are from those of all: human ones, and the true ones of planted data.

    Args:
        human: reference/human_unimodal_labels.csv.
        processes: title of a planted data set -> its process.

    Returns:
        A row per data set, pair (subject, reference) and measure (`Agreement`): value, n (human: clips; planted: none,
        the value is the process's own), source.
    """
    columns = ["dataset", "subject", "reference", "measure", "value", "n", "source"]
    planted = [
        [title, *pair, measure, value, pd.NA, "the process"]
        for title, process in processes.items()
        for pair, agreement in unimodal_agreement(process).items()
        for measure, value in vars(agreement).items()
    ]
    of_labels = _at_commit(human[human["measure"] != "mae_difference"])
    both = pd.concat([of_labels[columns].astype(object), pd.DataFrame(planted, columns=columns, dtype=object)])
    return both.astype({"value": float, "n": "Int64"}).reset_index(drop=True)


def unimodal_labels_markdown(table: pd.DataFrame) -> str:
    """`unimodal_labels_table` for reading: a row a pair, a column a data set and measure."""
    titles = {"corr": "correlation", "other_sign": "share of another sign", "crema_d": "CREMA-D, human"}
    heads = table["dataset"].replace(titles) + ": " + table["measure"].replace(titles)
    shown = table.assign(
        head=heads, cell=table["value"].map("{:.3f}".format), labels=table["subject"] + " – " + table["reference"]
    )
    wide = shown.pivot(index="labels", columns="head", values="cell")
    cells = wide.loc[shown["labels"].unique(), heads.unique()].fillna("–").reset_index()
    clips = ", ".join(map(str, table["n"].dropna().unique()))
    return markdown(cells.rename(columns={"labels": "Labels"})) + LABEL_ROWS.format(clips=clips)


def label_worth_table(human: pd.DataFrame, compared: pd.DataFrame, bounds: Mapping[str, float]) -> pd.DataFrame:
    """What human or true unimodal labels are worth: the test MAE with them less that without them.

    Args:
        human: reference/human_unimodal_labels.csv.
        compared: rows of `comparisons.compare`, and in `reference` what they are compared with.
        bounds: data set of ours -> H.

    Returns:
        A row a comparison, ours last: dataset, subject, reference, difference (in label units), low, high (95%
        interval; nan: not published), relative (difference over H), n (seeds of each), source.
    """
    theirs = _at_commit(human[human["measure"] == "mae_difference"]).rename(columns={"value": "difference"})
    theirs = theirs.assign(relative=theirs["difference"] / [SIMS_BOUNDS[name] for name in theirs["dataset"]])
    ours = compared[(compared["variant"] == "true_labels") & (compared["metric"] == "mae")]
    ours = ours.assign(
        dataset=ours["title"],
        subject="true_labels",
        n=ours["n_seeds"],
        relative=ours["difference"] / [bounds[name] for name in ours["dataset"]],
        source="this study",
    )
    columns = ["dataset", "subject", "reference", "difference", "low", "high", "relative", "n", "source"]
    both = [frame.reindex(columns=columns) for frame in (theirs, ours) if len(frame)]
    return pd.concat(both, ignore_index=True)


def label_worth_markdown(table: pd.DataFrame) -> str:
    """`label_worth_table` for reading."""
    cells = {
        "Data": table["dataset"],
        "With the labels": table["subject"],
        "Without": table["reference"],
        "MAE, with − without": [
            interval(*values) for values in zip(table["difference"], table["low"], table["high"], strict=True)
        ],
        "The same / H": _numbers(table["relative"], "{:+.4f}", "–"),
        "Seeds": table["n"].astype(str),
        "Source": table["source"],
    }
    return markdown(pd.DataFrame(cells)) + WORTH_ROWS


def _at_commit(rows: pd.DataFrame) -> pd.DataFrame:
    """With the commit in the source."""
    return rows.assign(source=rows["source"] + " " + rows["source_commit"])


def _numbers(values: pd.Series, number: str, absent: str) -> list[str]:
    return [absent if pd.isna(value) else number.format(value) for value in values]


def _by_appearance(values: pd.Series) -> pd.Series:
    return pd.Series(pd.factorize(values)[0], index=values.index)
