"""Runs one by one: metrics, errors, where the numbers come from."""

import pandas as pd

from msa_core.analysis.tables.formats import markdown


def run_table(metrics: dict[str, dict[str, dict[str, float]]]) -> pd.DataFrame:
    """One run's metrics: a row per split and task."""
    rows = [
        {"split": split, "task": task, **values} for split, tasks in metrics.items() for task, values in tasks.items()
    ]
    return pd.DataFrame(rows).set_index(["split", "task"])


def runs_table(metrics: pd.DataFrame, provenance: pd.DataFrame) -> pd.DataFrame:
    """Every run of a grid: the test metrics of its multimodal task, and where they come from.

    Args:
        metrics: as `collect.read_metrics` gives them.
        provenance: as `collect.read_provenance` gives it.
    """
    test = metrics[(metrics["split"] == "test") & (metrics["task"] == "multimodal")]
    wide = test.pivot(index=["dataset", "variant", "seed"], columns="metric", values="value").reset_index()
    return provenance.merge(wide, on=["dataset", "variant", "seed"], how="left")


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


def sample_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """Absolute error of each run on each test sample: with it, anybody can compute an interval of their own.

    Labels and predictions are left out: a data set's labels are not ours to hand on.

    Args:
        predictions: as `collect.read_predictions` gives them.

    Returns:
        dataset, variant, seed, id, absolute_error (label units, float32).
    """
    errors = (predictions["prediction"] - predictions["label"]).abs().astype("float32")
    return predictions[["dataset", "variant", "seed", "id"]].assign(absolute_error=errors)
