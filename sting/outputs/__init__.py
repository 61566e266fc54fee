"""Files, figures and films of a fit. The figures load matplotlib on use."""

import importlib

from sting.outputs.tables import (
    check_folder,
    save_best_fit_params,
    save_joint_results,
    save_optimisation_log,
    save_results,
)

_FIGURES = {
    "plot_corner": "corner_plot",
    "plot_dec_vel_by_epoch": "animation",
    "plot_loss": "plots",
    "plot_morphology": "plots",
    "plot_morphology_by_epoch": "animation",
    "plot_param_correlations": "plots",
    "plot_pv_cut": "pv_plots",
    "plot_ra_vel_by_epoch": "animation",
    "plot_streamline_covariance_samples": "plots",
    "plot_vel_radius": "plots",
    "plot_vel_radius_by_epoch": "animation",
}

__all__ = [
    "check_folder",
    "save_best_fit_params",
    "save_joint_results",
    "save_optimisation_log",
    "save_results",
    *_FIGURES,
]


def __getattr__(name):
    if name in _FIGURES:
        return getattr(importlib.import_module(f"sting.outputs.{_FIGURES[name]}"), name)
    raise AttributeError(f"module 'sting.outputs' has no attribute {name!r}")
