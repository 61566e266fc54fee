"""Fit infall streamlines to position-position-velocity cubes of protostellar streamers."""

import importlib
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sting")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

_MODULES = (
    "comparison",
    "config",
    "conventions",
    "errors",
    "explorer",
    "extract_streamline",
    "gradient_descent",
    "isolate",
    "joint",
    "noise",
    "outputs",
    "parameters",
    "position_velocity",
    "posterior",
    "search",
    "sky_regions",
    "starts",
    "stream_lines_grad",
    "survey",
    "synthetic",
)
_NAMES = {
    "ExplorerState": "explorer",
    "FitResult": "fit_result",
    "JointResult": "joint_result",
    "PARAMETERS": "parameters",
    "PVCut": "position_velocity",
    "Posterior": "posterior",
    "Streamer": "streamer",
    "StreamerExplorer": "explorer",
    "Streamline": "stream_lines_grad",
    "compare": "comparison",
    "estimate_rms": "noise",
    "extract_streamer_subcube": "extract_streamline",
    "fit_jointly": "joint",
    "fit_many": "survey",
    "fit_streamline": "gradient_descent",
    "pv_cut": "position_velocity",
    "reduce_to_1D": "extract_streamline",
    "streamline": "stream_lines_grad",
    "suggest_start": "starts",
}

__all__ = sorted([*_MODULES, *_NAMES])


def __getattr__(name):
    """Load modules and names on first use, so that importing the package stays light."""
    if name in _MODULES:
        return importlib.import_module(f"sting.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"sting.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'sting' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
