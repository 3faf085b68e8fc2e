"""One function per figure: frames in, `matplotlib.figure.Figure` out, no file access but the style sheet."""

from msa_core.analysis.plots.arithmetic import interventions, mae_by_arithmetic, step_differences
from msa_core.analysis.plots.data import label_histograms, unimodal_against_multimodal
from msa_core.analysis.plots.encodings import alignment_distances, covariances, r2_dots, spectra
from msa_core.analysis.plots.labels import (
    label_agreement,
    label_distributions,
    label_movement,
    label_paths,
    label_trajectories,
    label_view,
)
from msa_core.analysis.plots.results import forest, main_comparison
from msa_core.analysis.plots.style import empty
from msa_core.analysis.plots.sweeps import phase_diagram, sweep_forest
from msa_core.analysis.plots.training import cost_of_parts, loss_terms

__all__ = [
    "alignment_distances",
    "cost_of_parts",
    "covariances",
    "empty",
    "forest",
    "interventions",
    "label_agreement",
    "label_distributions",
    "label_histograms",
    "label_movement",
    "label_paths",
    "label_trajectories",
    "label_view",
    "loss_terms",
    "mae_by_arithmetic",
    "main_comparison",
    "phase_diagram",
    "r2_dots",
    "spectra",
    "step_differences",
    "sweep_forest",
    "unimodal_against_multimodal",
]
