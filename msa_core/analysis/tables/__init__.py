"""One function per table: frames in, frame out, no file access."""

from msa_core.analysis.tables.ablations import ablation_latex, ablation_markdown
from msa_core.analysis.tables.benchmarks import efficiency, efficiency_markdown
from msa_core.analysis.tables.data import ceiling_table, data_table, example_table, information_table
from msa_core.analysis.tables.encodings import covariance_matrices, second_order, spectra, variance_table
from msa_core.analysis.tables.formats import METRIC_TITLES
from msa_core.analysis.tables.labels import (
    LABEL_MEASURES,
    SETTLED,
    evenly_by_y,
    label_agreement,
    label_movement,
    label_summaries,
    label_summary,
    recorded_truth,
    settled_after,
    shown_epochs,
)
from msa_core.analysis.tables.published import (
    label_worth_markdown,
    label_worth_table,
    published_markdown,
    published_table,
    reproduced_markdown,
    reproduced_table,
    unimodal_labels_markdown,
    unimodal_labels_table,
)
from msa_core.analysis.tables.runs import provenance_table, run_table, runs_markdown, runs_table
from msa_core.analysis.tables.seeds import (
    AVERAGED,
    main_latex,
    main_markdown,
    main_table,
    over_seeds,
    over_seeds_markdown,
    with_averaged,
    with_baselines,
    with_missing,
)

__all__ = [
    "AVERAGED",
    "LABEL_MEASURES",
    "METRIC_TITLES",
    "SETTLED",
    "ablation_latex",
    "ablation_markdown",
    "ceiling_table",
    "covariance_matrices",
    "data_table",
    "efficiency",
    "efficiency_markdown",
    "evenly_by_y",
    "example_table",
    "information_table",
    "label_agreement",
    "label_movement",
    "label_summaries",
    "label_summary",
    "label_worth_markdown",
    "label_worth_table",
    "main_latex",
    "main_markdown",
    "main_table",
    "over_seeds",
    "over_seeds_markdown",
    "provenance_table",
    "published_markdown",
    "published_table",
    "recorded_truth",
    "reproduced_markdown",
    "reproduced_table",
    "run_table",
    "runs_markdown",
    "runs_table",
    "second_order",
    "settled_after",
    "shown_epochs",
    "spectra",
    "unimodal_labels_markdown",
    "unimodal_labels_table",
    "variance_table",
    "with_averaged",
    "with_baselines",
    "with_missing",
]
