"""One function per table: frames in, frame out, no file access."""

from msa_core.analysis.tables.ablations import ablation_latex, ablation_markdown
from msa_core.analysis.tables.benchmarks import efficiency, efficiency_markdown
from msa_core.analysis.tables.data import data_table, example_table
from msa_core.analysis.tables.encodings import second_order, spectra, variance_table
from msa_core.analysis.tables.formats import METRIC_TITLES
from msa_core.analysis.tables.labels import (
    LABEL_MEASURES,
    SETTLED,
    label_agreement,
    label_movement,
    label_summary,
    settled_after,
)
from msa_core.analysis.tables.published import published_markdown, published_table
from msa_core.analysis.tables.runs import run_table, runs_markdown, runs_table, sample_errors
from msa_core.analysis.tables.seeds import (
    main_latex,
    main_markdown,
    main_table,
    over_seeds,
    over_seeds_markdown,
    with_missing,
)

__all__ = [
    "LABEL_MEASURES",
    "METRIC_TITLES",
    "SETTLED",
    "ablation_latex",
    "ablation_markdown",
    "data_table",
    "efficiency",
    "efficiency_markdown",
    "example_table",
    "label_agreement",
    "label_movement",
    "label_summary",
    "main_latex",
    "main_markdown",
    "main_table",
    "over_seeds",
    "over_seeds_markdown",
    "published_markdown",
    "published_table",
    "run_table",
    "runs_markdown",
    "runs_table",
    "sample_errors",
    "second_order",
    "settled_after",
    "spectra",
    "variance_table",
    "with_missing",
]
