"""Variants compared with a reference."""

import pandas as pd

from msa_core.analysis.tables.formats import METRIC_TITLES, arrow, interval, latex, markdown, missing_cell, ranges


def ablation_markdown(table: pd.DataFrame) -> str:
    """`comparisons.compare` for reading, a table a data set: difference to the reference [95% interval], p, n.

    Args:
        table: as `comparisons.compare` gives it, through `with_missing`.
    """
    return "\n".join(f"### {title}\n\n{markdown(cells)}" for title, cells in _ablation_cells(table))


def ablation_latex(table: pd.DataFrame) -> str:
    """`ablation_markdown` as LaTeX tabulars, one a data set."""
    return "\n".join(f"% {title}\n{latex(cells)}" for title, cells in _ablation_cells(table))


def _ablation_cells(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    tables = []
    for title, of_data_set in table.groupby("title", sort=False):
        rows = []
        for variant, group in of_data_set.groupby("variant", sort=False):
            row: dict[str, object] = {"Variant": variant}
            for _, comparison in group.dropna(subset="metric").iterrows():
                name = METRIC_TITLES[comparison["metric"]]
                cell = interval(comparison["difference"], comparison["low"], comparison["high"])
                row[f"{name} {arrow(comparison['metric'])}"] = cell
                p, p_holm = comparison["p"], comparison["p_holm"]
                row[f"{name}: p (Holm)"] = "" if pd.isna(p) else f"{p:.3f} ({p_holm:.3f})"
            if group["n_seeds"].any():
                row |= {"Samples": str(group["n_samples"].iloc[0]), "Seeds": ranges(group["seeds"].iloc[0])}
            rows.append(row | missing_cell(group, table))
        tables.append((str(title), pd.DataFrame(rows).fillna("")))
    return tables
