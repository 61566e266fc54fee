"""What an exploration is: everything the user has chosen, immutable, comparable and writable as JSON."""

import json
from dataclasses import asdict, dataclass, field

from sting.files import existing_file
from sting.isolate.selection import RMS_THRESH
from sting.messages import refuse
from sting.parameters import ROTATIONS
from sting.sky_regions import parse_regions

__all__ = ["Display", "Session"]

#: Of the JSON files; a file of a later version is refused.
VERSION = 1


@dataclass(frozen=True)
class Session:
    """Cut, model and kind of fit: what undo and redo go through.

    Attributes
    ----------
    vmin, vmax : float or None
        Velocity range (km/s).
    rms_thresh : float or None
        Threshold in units of the noise.
    rms : float or None
        The noise, in the unit of the cube; None for what is found in it.
    islands : str
        ``"keep"``, ``"beam"`` or ``"main"``.
    n_elements : int
        Points of the reduced streamer.
    uncertainty : str
        ``"spread"`` or ``"mean"``.
    ordering : str
        ``"distance"`` or ``"curve"``.
    min_beams : float
        Below which bins are merged.
    regions : tuple of tuple of str
        Name and ds9 (or CRTF) text of each set of regions.
    clustering : str or None
        Fingerprint of the clusters that ``cluster`` is of.
    cluster : tuple of int
        Numbers of the clusters that are chosen; empty for the ordinary cut.
    values : dict of float
        All parameters in internal units, one of ``mu``, ``rc`` and ``omega`` among them.
    free : tuple of str
        Which of them a fit may move.
    bounds, priors : dict of tuple of float
        In internal units; those of parameters that are not free wait.
    optimizer, loss_method, matching, n_epochs, learning_rate, patience
        As for `~sting.gradient_descent.fit_streamline`.
    """

    vmin: float | None = None
    vmax: float | None = None
    rms_thresh: float | None = None
    rms: float | None = None
    islands: str = "keep"
    n_elements: int = 10
    uncertainty: str = "spread"
    ordering: str = "distance"
    min_beams: float = 1.0
    regions: tuple = ()
    clustering: str | None = None
    cluster: tuple = ()
    values: dict = field(default_factory=dict)
    free: tuple = ()
    bounds: dict = field(default_factory=dict)
    priors: dict = field(default_factory=dict)
    optimizer: str = "adam"
    loss_method: int = 1
    matching: str = "nearest"
    n_epochs: int = 1000
    learning_rate: float = 0.005
    patience: int = 50

    @property
    def cut(self):
        """The part that decides which voxels are kept."""
        return self.vmin, self.vmax, self.rms_thresh, self.rms, self.islands, self.regions, self.clustering, self.cluster

    @property
    def is_cut(self):
        """Whether anything is to be cut out."""
        return bool(self.regions or self.cluster) or any(v is not None for v in (self.vmin, self.vmax, self.rms_thresh))

    @property
    def cluster_threshold(self):
        """The threshold of the voxels of a cluster."""
        return RMS_THRESH if self.rms_thresh is None else self.rms_thresh

    @property
    def reduction(self):
        """The part that decides the points."""
        return *self.cut, self.n_elements, self.uncertainty, self.ordering, self.min_beams

    @property
    def comparison(self):
        """The part, beside the values, that decides how the model is compared with the points."""
        return *self.reduction, self.free, tuple(self.priors.items()), self.loss_method, self.matching, self.values.get("deltar")

    def split(self):
        """Free and fixed parameters, bounds and priors, as the fit takes them."""
        free = {name: self.values[name] for name in self.values if name in self.free}
        fixed = {name: value for name, value in self.values.items() if name not in self.free}
        bounds = {name: pair for name, pair in self.bounds.items() if name in self.free}
        # whichever states the rotation, if it is free, a prior may be on any of the three
        named = {*self.free, *(ROTATIONS if any(name in self.free for name in ROTATIONS) else ())}
        priors = {name: pair for name, pair in self.priors.items() if name in named}
        return free, fixed, bounds, priors

    def fit_keywords(self):
        """The keywords of `~sting.gradient_descent.fit_streamline` that are not data or parameters."""
        _, _, bounds, priors = self.split()
        return {
            "param_bounds": bounds,
            "priors": priors,
            "optimizer": self.optimizer,
            "loss_method": self.loss_method,
            "matching": self.matching,
            "n_epochs": self.n_epochs,
            "learning_rate": self.learning_rate,
            "early_stopping_patience": self.patience,
        }


@dataclass(frozen=True)
class Display:
    """How it is looked at; not undone.

    Attributes
    ----------
    channel : int
        Channel of the map.
    moment : int
        0 or 1: what is shown beside it.
    stretch : str
        ``"linear"``, ``"sqrt"``, ``"log"`` or ``"asinh"``.
    colormap : str
        Name of a matplotlib colour map.
    low, high : float or None
        Brightness limits of the map; None for those of the cube.
    contours : bool
        Whether contours at multiples of the noise are drawn.
    pv_axis : str
        ``"radius"`` (projected radius) or ``"path"`` (projected length along the model from its inner end).
    pixel : tuple of int or None
        Pixel whose spectrum is shown; None for the brightest of the cut.
    clusters : bool
        Whether clusters, where there are any, are drawn and can be clicked.
    """

    channel: int = 0
    moment: int = 0
    stretch: str = "linear"
    colormap: str = "inferno"
    low: float | None = None
    high: float | None = None
    contours: bool = True
    pv_axis: str = "radius"
    pixel: tuple | None = None
    clusters: bool = True


def regions_of(session):
    """Return all regions of a session, in order.

    Parameters
    ----------
    session : Session
        The session.

    Returns
    -------
    list of `~regions.Region`
    """
    return [region for name, text in session.regions for region in parse_regions(text, name)]


def dumps(state):
    """Return the text of a state file.

    Parameters
    ----------
    state : dict
        With the session and the display among its values.

    Returns
    -------
    str
    """
    content = {"format": "sting explorer", "version": VERSION}
    content |= {key: asdict(value) if isinstance(value, Session | Display) else value for key, value in state.items()}
    return json.dumps(content, indent=2) + "\n"


def loads(path):
    """Read a state file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict
        Its content, the sessions and the display as objects.
    """
    path = existing_file("path", path, "be an existing state file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != "sting explorer" or content["version"] > VERSION:
            raise ValueError(f"format {content['format']!r}, version {content['version']}")
        for key in ("cube", "star_icrs_deg", "distance_pc", "session", "display", "fitted_session", "result"):
            _ = content[key]
        content.setdefault("clusters", None)
        for key, kind in (("session", Session), ("fitted_session", Session), ("display", Display)):
            if content.get(key) is not None:
                content[key] = kind(**_tuples(content[key]))
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        refuse("path", "be a state file of this or an earlier version of sting", f"{path.name!r} ({error})", "Use save_state.")
    return content


def _tuples(part):
    """Lists as tuples all the way down: JSON knows lists only."""
    if isinstance(part, dict):
        return {key: _tuples(value) for key, value in part.items()}
    return tuple(map(_tuples, part)) if isinstance(part, list) else part
