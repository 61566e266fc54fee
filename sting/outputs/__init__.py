"""Files, figures and films of a fit. The figures load matplotlib on use.

Every figure draws into ``ax`` or makes its own, returns it, and shows and saves nothing. In the examples ``result`` is what
`~sting.gradient_descent.fit_streamline` returned, and ``streamer`` what was fitted.
"""

import importlib

from sting.outputs.tables import (
    check_folder,
    save_best_fit_params,
    save_joint_results,
    save_optimisation_log,
    save_results,
)

_FIGURES = {
    "plot_channel_maps": "channel_maps",
    "plot_clusters": "isolate_plots",
    "plot_components_3d": "isolate_plots",
    "plot_corner": "corner_plot",
    "plot_dec_vel": "velocity_plots",
    "plot_dec_vel_by_epoch": "animation",
    "plot_loss": "fit_plots",
    "plot_metric_boundaries": "morphology",
    "plot_morphology": "morphology",
    "plot_morphology_by_epoch": "animation",
    "plot_orbit_3d": "orbit_plot",
    "plot_param_correlations": "fit_plots",
    "plot_param_optimisation_history": "fit_plots",
    "plot_param_uncertainties": "fit_plots",
    "plot_pv_cut": "pv_plots",
    "plot_ra_vel": "velocity_plots",
    "plot_ra_vel_by_epoch": "animation",
    "plot_residuals": "fit_plots",
    "plot_spectra": "isolate_plots",
    "plot_streamline_covariance_samples": "fit_plots",
    "plot_vel_radius": "velocity_plots",
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
