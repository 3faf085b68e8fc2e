"""One function per figure: frames in, `matplotlib.figure.Figure` out, no file access but the style sheet."""

from msa_core.analysis.plots.arithmetic import interventions, mae_by_arithmetic, step_differences
from msa_core.analysis.plots.data import label_histograms, unimodal_against_multimodal
from msa_core.analysis.plots.encodings import alignment_distances, covariances, information_dots, r2_dots, spectra
from msa_core.analysis.plots.labels import (
    label_agreement,
    label_distributions,
    label_movement,
    label_paths,
    label_trajectories,
    label_view,
)
from msa_core.analysis.plots.results import forest, main_comparison, primary_gains
from msa_core.analysis.plots.robustness import budget_curves, gain_dots, power_dots
from msa_core.analysis.plots.style import empty
from msa_core.analysis.plots.sweeps import phase_diagram, sweep_figure
from msa_core.analysis.plots.training import cost_of_parts, loss_terms

__all__ = [
    "alignment_distances",
    "budget_curves",
    "cost_of_parts",
    "covariances",
    "empty",
    "forest",
    "gain_dots",
    "information_dots",
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
    "power_dots",
    "primary_gains",
    "r2_dots",
    "spectra",
    "step_differences",
    "sweep_figure",
    "unimodal_against_multimodal",
]
