"""The analysis of a streamer by hand and eye: state and logic in `state`, the notebook widget in `view`."""

import importlib

_NAMES = {"ExplorerState": "state", "StreamerExplorer": "view"}

__all__ = sorted(_NAMES)


def __getattr__(name):
    """Load on use: the state needs neither matplotlib nor ipywidgets."""
    if name in _NAMES:
        return getattr(importlib.import_module(f"sting.explorer.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'sting.explorer' has no attribute {name!r}")
