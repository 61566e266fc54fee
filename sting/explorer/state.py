"""All of the explorer but its looks: usable and testable without a notebook, without ipywidgets and without matplotlib."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord

from sting.explorer import choices
from sting.explorer.clustering import Clustering
from sting.explorer.exploration import locked
from sting.explorer.known_clusters import KnownClusters
from sting.explorer.script import script_of
from sting.explorer.session import Display, dumps, loads
from sting.files import as_path, existing_file, write_text
from sting.fit_result import FitResult
from sting.messages import named_keywords, refuse
from sting.parameters import to_internal
from sting.starts import direction_of

__all__ = ["ExplorerState"]


class ExplorerState(Clustering):
    """A cube, a cut, a model and a fit, and everything that can be done with them.

    Every method either does what it says or raises, naming the cure, and leaves everything as it was. Those who `observe` it
    are told what changed.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    v_lsr : `~astropy.units.Quantity` or float, optional
        Systemic velocity; by default the mean velocity of the points.
    region : str, path-like, `~regions.Region`, or list of `~regions.Region`, optional
        Regions of the cut.
    vmin, vmax : `~astropy.units.Quantity`, optional
        Velocity range of the cut.
    rms_thresh : float, optional
        Threshold of the cut in units of the noise; where a cluster is chosen, that of its voxels, 4 if none is given.
    rms : `~astropy.units.Quantity`, optional
        The noise, one number; by default it is estimated.
    islands : {"keep", "beam", "main"}, optional
        As for `~sting.extract_streamline.extract_streamer_subcube`.
    n_elements : int, optional
        Points of the reduced streamer.
    uncertainty, ordering, min_beams : optional
        As for `~sting.extract_streamline.reduce_to_1D`.
    clusters : `~sting.isolate.Clusters`, str or path-like, optional
        Clusters of the cube, or a file of them, to be shown and chosen from; `find_clusters` finds some.
    initial, fixed : dict, optional
        Free and fixed parameters. What neither holds gets a value of the right size from the data; inc, pa, rmin and v_lsr are
        then fixed, the others free.
    bounds, priors : dict, optional
        As for `~sting.gradient_descent.fit_streamline`.

    Attributes
    ----------
    session, display : `~sting.explorer.session.Session`, `~sting.explorer.session.Display`
        What the user has chosen.
    images : `~sting.explorer.images.CubeImages`
        Images and spectra of the cube.
    streamer_cube : `~spectral_cube.SpectralCube` or None
        The cut.
    streamer : `~sting.streamer.Streamer` or None
        The cut reduced to points.
    comparison : `~sting.preview.Comparison`
        The model beside them.
    result : `~sting.fit_result.FitResult` or None
        The last fit.
    samples : `~numpy.ndarray` or None
        Streamlines drawn from its covariance: RA offset, Dec offset (arcsec), velocity (km/s), shape (n, n_points, 3).
    losses : `~numpy.ndarray`
        Loss at each epoch of the last fit.
    clusters : `~sting.isolate.Clusters` or None
        The clusters that are shown; ``ranking`` is a table of them in their order, ``chosen`` the numbers of those chosen.
    phase : str
        ``"idle"``, ``"searching"``, ``"clustering"``, ``"compiling"``, ``"fitting"``, ``"uncertainties"``, ``"stopped"``,
        ``"done"``, ``"failed"``.
    progress : float
        Fraction done of a fit or a search.
    status : str
        What there is to say.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> state = ExplorerState(scene.cube, scene.star_position, scene.distance, rms_thresh=5, fixed=scene.truth)
    >>> state.set_value("theta0", 60 * u.deg)
    >>> state.undo()
    >>> print(state.parameters["theta0"])
    52.0 deg
    """

    @named_keywords
    def __init__(
        self,
        cube,
        star_position,
        distance,
        *,
        v_lsr=None,
        region=None,
        vmin=None,
        vmax=None,
        rms_thresh=None,
        rms=None,
        islands="keep",
        n_elements=10,
        uncertainty="spread",
        ordering="distance",
        min_beams=1,
        clusters=None,
        initial=None,
        fixed=None,
        bounds=None,
        priors=None,
    ):
        super().__init__(cube, star_position, distance)
        single = {"vmin": vmin, "vmax": vmax, "rms_thresh": rms_thresh, "rms": rms, "islands": islands}
        single |= {"n_elements": n_elements, "uncertainty": uncertainty, "ordering": ordering, "min_beams": min_beams}
        cut = choices.checked(choices.plain_rms(single, self.cube)) | {
            "regions": () if region is None else choices.named_regions(region)
        }
        self._derive(replace(self.session, **cut))
        self.display = Display(channel=self._brightest_channel())
        choices.check_dicts(initial=initial, fixed=fixed)
        model = choices.model(self._rough_guess((initial or {}) | (fixed or {})), v_lsr, initial, fixed, bounds, priors)
        self._derive(replace(self.session, **model))
        self.initial = self.session
        if clusters is not None:
            self.set_clusters(clusters)
        if self.streamer is None:
            self.status = self._cut_words(self.session, None)

    def _brightest_channel(self):
        channels = self.images.channels(self.session.vmin, self.session.vmax)
        if self.streamer is not None:
            velocity, flux = self.streamer.pc_coords[2:]
            counts = [flux[np.abs(velocity - v) < 1e-6].sum() for v in self.images.velocity[channels]]
        else:
            channels = channels[:: max(1, len(channels) // 40)]
            counts = [np.nansum(np.maximum(self.images.channel(int(i)), 0)) for i in channels]
        return int(channels[int(np.argmax(counts))]) if len(channels) else 0

    def _rough_guess(self, given):
        """Values of the right size for what is not ``given``: a start where the outermost point is seen, falling as it does."""
        _, n_y, n_x = self.images.shape
        ra, dec, falls_away = np.sqrt(abs(np.linalg.det(self.images.matrix)) * n_x * n_y) / 3, 0.0, True
        v_lsr = float(np.mean(self.images.velocity))
        if self.streamer is not None:
            (ra, *_), (dec, *_), velocity = self.streamer.data
            v_lsr, falls_away = float(np.mean(velocity)), velocity[-1] > velocity[0]
        angles = {name: to_internal(name, given.get(name, 0.0)) for name in ("inc", "pa")}
        # what falls towards us comes from behind the star
        away = 0.5 * np.hypot(ra, dec) * (-1 if falls_away else 1)
        angles["theta0"], angles["phi0"] = direction_of(ra, dec, away, **angles)
        r0 = 1.05 * np.sqrt(ra**2 + dec**2 + away**2) * self.distance.value
        return {"r0": float(r0)} | angles | {"v_r0": 0.0, "mass": 1.0, "rmin": 0.0, "v_lsr": v_lsr, "deltar": 10.0}

    @locked
    def save(self, folder="sting_results"):
        """Write the results folder of the last fit, with the script and the state that lead to it and the regions.

        Parameters
        ----------
        folder : str or path-like, optional
            Created if missing; files of the same names are replaced, others left alone.

        Returns
        -------
        list of `~pathlib.Path`
            The files written.

        Raises
        ------
        RuntimeError
            If there is no fit yet.
        OSError
            If the folder cannot be written.
        """
        from sting import outputs

        if self.result is None:
            refuse("result", "exist before it is saved", "no fit", "Run a fit first.", RuntimeError)
        folder = Path(folder)
        written = outputs.save_results(self.result, self.fitted_streamer, folder, progress=False)
        # the script reads the clusters from beside the state
        written += self.save_state(folder / "explorer.json")
        write_text(folder / "explorer.py", self.to_script())
        written.append(folder / "explorer.py")
        if self.session.regions:
            self.save_region(folder / "regions.reg")
            written.append(folder / "regions.reg")
        return written

    @locked
    def to_script(self, cube=None, save_folder="sting_results", clusters=None):
        """Return a script that repeats the last fit, or, if something was changed since, that fits from the present state.

        Parameters
        ----------
        cube : str, optional
            Path of the cube to write into the script; needed if the explorer was given a cube in memory.
        save_folder : str or None, optional
            Folder in which the script saves its results.
        clusters : str, optional
            Path of the clusters to write into the script where one is chosen; by default the file that they were read from, or
            that `save_state` wrote.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If a cluster is chosen and no file holds the clusters.
        """
        session = self.fitted_session if self.is_fitted else self.session
        if self.is_fitted and self.result.stop.name == "BY_CALLER":
            session = replace(session, n_epochs=len(self.result.history) - 1)
        path = cube if cube is not None else self.cube_path
        if session.cluster and clusters is None and (clusters := self._all_known[session.clustering].path) is None:
            got, cure = "clusters in memory, or a file that was changed", "Save the state, which writes them beside it."
            refuse("clusters", "be in a file that a script can read", got, cure)
        unit = self.cube.unit.to_string()
        return script_of(session, path, unit, self.star_position, self.distance, save_folder, clusters)

    @locked
    def save_state(self, path):
        """Write everything that was chosen, and the last fit, as JSON, and clusters as ``clusters_*.ecsv`` beside it.

        Parameters
        ----------
        path : str or path-like
            File to write; one that exists is replaced.

        Returns
        -------
        list of `~pathlib.Path`
            The files written.
        """
        path, star = as_path("path", path), self.star_position.icrs
        shown = None if self.known is None else self.known.fingerprint
        written = []
        for fingerprint in _wanted(shown, self.session, self.fitted_session):
            known, file = self._all_known[fingerprint], _clusters_file(path, fingerprint)
            known.clusters.write(file, overwrite=True)
            known.is_in(file)
            written.append(file)
        state = {
            "cube": self.cube_path,
            "star_icrs_deg": [float(star.ra.deg), float(star.dec.deg)],
            "distance_pc": float(self.distance.value),
            "session": self.session,
            "display": self.display,
            "fitted_session": self.fitted_session,
            "clusters": shown,
            "result": None if self.result is None else self.result.to_text(),
        }
        write_text(path, dumps(state))
        return [*written, path]

    @classmethod
    def from_state(cls, path, cube=None):
        """Read what `save_state` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.
        cube : `~spectral_cube.SpectralCube`, str or path-like, optional
            The cube; by default the file that the state names.

        Returns
        -------
        `ExplorerState`

        Raises
        ------
        ValueError
            If the file is not a state file.
        FileNotFoundError
            If the cube is where it was no more, or clusters are not beside the file.
        """
        content = loads(path)
        cube = content["cube"] if cube is None else cube
        if cube is None:
            refuse("cube", "be given", "a state that was made from a cube in memory", "Pass cube=...")
        try:
            return cls._from_content(cube, content, Path(path))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            refuse(
                "path",
                "hold a state that makes sense",
                f"{str(path)!r} ({error})",
                "Was it changed by hand, or is it of another cube?",
            )

    @classmethod
    def _from_content(cls, cube, content, path):
        star = SkyCoord(*content["star_icrs_deg"], unit="deg", frame="icrs")
        state = cls(cube, star, content["distance_pc"])
        choices.check_session(content["session"])
        for fingerprint in _wanted(content["clusters"], content["session"], content["fitted_session"]):
            state._all_known[fingerprint] = state._read_clusters(path, fingerprint)
        state._derive(content["session"])
        state.known = state._all_known.get(content["clusters"])
        state.initial = state.session
        state.display = choices.checked_display(content["display"], state.images.shape)
        if content["result"] is not None:
            fitted = content["fitted_session"]
            same = fitted.reduction == state.session.reduction
            streamer = state.streamer if same else state._reduce(fitted)[1]
            state._keep(FitResult.from_text(content["result"]), fitted, streamer)
            state.phase = "done"
        return state

    def _read_clusters(self, path, fingerprint):
        """Clusters that were written beside a state."""
        file = _clusters_file(path, fingerprint)
        cure = "Put the file there that was written with the state."
        known = KnownClusters(existing_file("clusters", file, "lie beside the state", cure), self.images, self.star_position)
        if known.fingerprint != fingerprint:
            refuse("clusters", "be those that were written with the state", f"others in {file.name!r}", cure)
        return known


def _wanted(shown, *sessions):
    """Fingerprints of the clusters that are shown and of those that sessions choose from, each once."""
    chosen = [session.clustering for session in sessions if session is not None]
    return [fingerprint for fingerprint in dict.fromkeys([shown, *chosen]) if fingerprint is not None]


def _clusters_file(path, fingerprint):
    """File of clusters beside a state: other clusters have another name, so that none is overwritten."""
    return path.with_name(f"clusters_{fingerprint}.ecsv")
