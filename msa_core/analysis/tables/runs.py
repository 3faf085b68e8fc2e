"""Runs one by one: metrics, and where the numbers come from."""

import json
from typing import Any

import pandas as pd

from msa_core.analysis.tables.formats import markdown

PROVENANCE = ("commit", "clean", "code_sha256", "device", "threads", "seconds", "peak_memory", "python")


def run_table(metrics: dict[str, dict[str, dict[str, float]]]) -> pd.DataFrame:
    """One run's metrics: a row per split and task."""
    rows = [
        {"split": split, "task": task, **values} for split, tasks in metrics.items() for task, values in tasks.items()
    ]
    return pd.DataFrame(rows).set_index(["split", "task"])


def provenance_table(provenance: dict[str, Any]) -> pd.DataFrame:
    """Where a run's numbers come from, a row an entry: its name and its value; memory in GB.

    >>> provenance_table({"device": "cpu", "peak_memory": 1_500_000_000, "data": {"seed": 1}})
                   name value
    0            device   cpu
    1  peak memory (GB)   1.5
    2         data.seed     1
    """
    entries = {str(name): value for name, value in pd.json_normalize(provenance).iloc[0].dropna().items()}
    rows = [
        {"name": f"{name.replace('_', ' ')} (GB)", "value": f"{value / 1e9:.3g}"}
        if name.endswith("_memory")
        else {"name": name.replace("_", " "), "value": value}
        for name, value in entries.items()
    ]
    return pd.DataFrame(rows)


def runs_table(metrics: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Every run of a grid: where its numbers come from, and the test metrics of its multimodal task.

    Args:
        metrics, runs: as `collect.Records` gives them.

    Returns:
        A row a run: dataset, title, variant, seed, best_epoch, commit, clean, code_sha256, device, threads, seconds,
        peak_memory (bytes), python, data_sha256 (empty: planted data), torch, then the metrics.
    """
    rows = []
    for run in runs.to_dict("records"):
        provenance = json.loads(run["provenance"])
        row = {name: run[name] for name in ("dataset", "title", "variant", "seed", "best_epoch")}
        row |= {name: provenance.get(name) for name in PROVENANCE}
        packages, data = provenance["packages"], provenance["data"]
        rows.append(row | {"data_sha256": data.get("sha256", ""), "torch": packages["torch"]})
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    wide = test.pivot(index=["dataset", "variant", "seed"], columns="metric", values="value").reset_index()
    return pd.DataFrame(rows).merge(wide, on=["dataset", "variant", "seed"], how="left")


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
    return markdown(pd.DataFrame(rows))
