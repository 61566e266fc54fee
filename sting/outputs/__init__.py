"""Files and figures of a fit. The figures load matplotlib on use."""

import importlib

from sting.outputs.tables import check_folder, save_best_fit_params, save_optimisation_log, save_results

_FIGURES = (
    "plot_loss",
    "plot_morphology",
    "plot_param_correlations",
    "plot_streamline_covariance_samples",
    "plot_vel_radius",
)

__all__ = ["check_folder", "save_best_fit_params", "save_optimisation_log", "save_results", *_FIGURES]


def __getattr__(name):
    if name in _FIGURES:
        return getattr(importlib.import_module("sting.outputs.plots"), name)
    raise AttributeError(f"module 'sting.outputs' has no attribute {name!r}")
