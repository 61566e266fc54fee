"""A cube, a cut and a model beside it: what follows from the choices, and the way back."""

import functools
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from astropy import units as u

from sting.cubes import KMS, open_cube, sky_position, to_velocity
from sting.cuts import cut_streamer
from sting.explorer import choices
from sting.explorer.images import CubeImages
from sting.explorer.session import Display, Session, regions_of
from sting.extract_streamline import reduced
from sting.files import write_text
from sting.messages import check_choice, refuse
from sting.noise import Noise, find_noise
from sting.parameters import ROTATIONS, check_distance, rotation_name, to_quantity
from sting.preview import Preview
from sting.reduction import merged_words
from sting.sky_regions import regions_text
from sting.voxels import count_finite

#: A cut of more voxels than this is taken for one that is not finished.
MOST_VOXELS = 5_000_000

#: Changes of the same thing within this time (s) are undone together.
UNDO_PAUSE = 1.0

#: What an observer is told when an attribute of the session changes.
TOPICS = dict.fromkeys(("values", "free", "bounds", "priors"), "parameters") | dict.fromkeys(
    ("optimizer", "loss_method", "matching", "n_epochs", "learning_rate", "patience"), "options"
)


def locked(method):
    """Have a method run alone: callbacks come from several threads.

    Parameters
    ----------
    method : callable
        Of a class with an attribute ``lock``.

    Returns
    -------
    callable
    """

    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):  # numpydoc ignore=GL08
        with self.lock:
            return method(self, *args, **kwargs)

    return wrapper


class Exploration:
    """Base of `~sting.explorer.state.ExplorerState`: all but fits and files.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    """

    def __init__(self, cube, star_position, distance):
        self.lock = threading.RLock()
        self.star_position = sky_position("star_position", star_position)
        self.distance = check_distance(distance) * u.pc
        self.cube_path = str(Path(cube).absolute()) if isinstance(cube, str | Path) else None
        self.cube = to_velocity(open_cube(cube))
        self.images = CubeImages(self.cube, self.star_position)
        self.session, self.display, self.status = Session(), Display(), ""
        self.streamer_cube = self.streamer = self.comparison = None
        self._noise = self.preview = None
        self._observers, self._undo, self._redo, self._last_key = [], [], [], (None, 0.0)

    # -- telling others ---------------------------------------------------------------------------------------------------

    def observe(self, callback):
        """Have a function called after every change.

        Parameters
        ----------
        callback : callable
            Called, with the lock held, with a set of what changed: ``"cut"``, ``"clusters"``, ``"parameters"``,
            ``"model"``, ``"options"``, ``"display"``, ``"fit"``, ``"result"``, ``"status"``.
        """
        self._observers.append(callback)

    def unobserve(self, callback):
        """Undo `observe`.

        Parameters
        ----------
        callback : callable
            The function.
        """
        self._observers.remove(callback)

    def _tell(self, *topics):
        for callback in list(self._observers):
            callback(set(topics))

    @locked
    def say(self, text):
        """Put a sentence into the status line.

        Parameters
        ----------
        text : str
            The sentence.
        """
        self.status = text
        self._tell("status")

    # -- change, undo, redo -----------------------------------------------------------------------------------------------

    @property
    def busy(self):
        """Whether a fit or a search is running."""
        return False

    def _check_idle(self, what):
        if self.busy:
            refuse("explorer", "not be changed while a fit runs", what, "Stop the fit first.", RuntimeError)

    def _change(self, key=None, **changes):
        """Take up a changed session: what follows from it is computed first, so that a failure changes nothing."""
        self._check_idle("a change")
        before, after = self.session, replace(self.session, **changes)
        if after == before:
            return
        topics = self._derive(after)
        now = time.monotonic()
        if key is None or self._last_key[0] != key or now - self._last_key[1] > UNDO_PAUSE:
            self._undo.append(before)
        elif self._undo[-1] == after:  # moved there and back
            self._undo.pop()
            key = None
        self._last_key = key, now
        self._redo.clear()
        self._tell(*topics)

    def _derive(self, session):
        """Compute what follows from a session, take it up, and return the set of what changed."""
        old, new, topics = self.session, {"session": session}, set()
        if session.reduction != old.reduction:
            new["streamer_cube"], new["streamer"] = self._reduce(session)
            new["status"] = self._cut_words(session, new["streamer"])
            topics |= {"cut", "status"}
        if session.values:
            preview = self.preview
            if preview is None or session.comparison != old.comparison or set(session.values) != set(old.values):
                free, fixed, _, priors = session.split()
                kind = {"matching": session.matching, "loss_method": session.loss_method}
                preview = Preview(free, fixed, self.distance, new.get("streamer", self.streamer), priors=priors, **kind)
            new["comparison"], new["preview"] = preview(session.values), preview
            topics |= {"model"}
        topics |= {topic for name, topic in TOPICS.items() if getattr(session, name) != getattr(old, name)}
        for name, value in new.items():
            setattr(self, name, value)
        return topics

    def _cut_words(self, session, streamer):
        """Status after a cut."""
        if streamer is None:
            return "Nothing is cut out yet: choose a velocity range, a region or a threshold."
        if not session.cluster and session.rms_thresh is not None and session.rms is None and self._noise.is_lost:
            return self._noise.words
        words = f"{len(streamer)} points from {streamer.pc_coords.shape[1]} voxels. Steer the model, or press Auto."
        if len(streamer) < session.n_elements:
            words += " " + merged_words(session.n_elements, len(streamer), session.min_beams)
        return words

    @locked
    def undo(self):
        """Take back the last change of cut, parameters or kind of fit."""
        self._travel(self._undo, self._redo, "undo")

    @locked
    def redo(self):
        """Take up again what `undo` took back."""
        self._travel(self._redo, self._undo, "redo")

    def _travel(self, source, target, word):
        self._check_idle(word)
        if not source:
            refuse(word, "have a change to work on", "none", "Change something first.", IndexError)
        here, topics = self.session, self._derive(source[-1])
        source.pop()
        target.append(here)
        self._last_key = None, 0.0
        self._tell(*topics)

    @property
    def can_undo(self):
        """Whether there is something to undo."""
        return bool(self._undo)

    @property
    def can_redo(self):
        """Whether there is something to redo."""
        return bool(self._redo)

    @locked
    def reset(self):
        """Go back to where the exploration began; this can be undone."""
        self._change(**{f.name: getattr(self.initial, f.name) for f in fields(Session)})

    # -- display ----------------------------------------------------------------------------------------------------------

    @locked
    def set_display(self, **changes):
        """Change how the cube is looked at.

        Parameters
        ----------
        **changes
            Attributes of `~sting.explorer.session.Display`.

        Raises
        ------
        ValueError
            If a value makes no sense.
        """
        for name in changes:
            check_choice("display", name, [f.name for f in fields(Display)])
        after = choices.checked_display(replace(self.display, **changes), self.images.shape)
        if after != self.display:
            self.display = after
            self._tell("display", *(f"display.{name}" for name in changes))

    @property
    def pixel(self):
        """Pixel (x, y) whose spectrum is shown."""
        if self.display.pixel is not None:
            return self.display.pixel
        if self.streamer is None:
            return self.images.shape[2] // 2, self.images.shape[1] // 2
        ra, dec, _, flux = self.streamer.pc_coords
        brightest = int(np.argmax(flux))
        return self.images.pixel_at(ra[brightest], dec[brightest]) or (0, 0)

    # -- cut --------------------------------------------------------------------------------------------------------------

    @locked
    def set_cut(self, **changes):
        """Change the cut; the points and the comparison follow.

        Parameters
        ----------
        **changes
            ``vmin`` and ``vmax`` (`~astropy.units.Quantity` or None), ``rms_thresh`` (float or None), ``rms``
            (`~astropy.units.Quantity`, one number, or None) and ``islands``, as for
            `~sting.extract_streamline.extract_streamer_subcube`; ``n_elements``, ``uncertainty``, ``ordering`` and
            ``min_beams``, as for `~sting.extract_streamline.reduce_to_1D`.

        Raises
        ------
        ValueError
            If nothing would be left; the previous cut then stays.
        """
        for name in changes:
            check_choice("cut", name, choices.CUT)
        self._change(**choices.checked(choices.plain_rms(changes, self.cube)))

    def _reduce(self, session):
        """Cut and points of a session, or None twice as long as nothing is cut."""
        if not session.is_cut:
            return None, None
        cut = self.streamer_cube
        if cut is None or session.cut != self.session.cut:
            cut = self._cut(session)
        n_voxels = cut.size if cut.size <= MOST_VOXELS else count_finite(cut)
        if n_voxels > MOST_VOXELS:
            refuse("cut", f"keep at most {MOST_VOXELS} voxels", n_voxels, "Give a region, or a narrower velocity range.")
        kind = session.n_elements, session.uncertainty, session.ordering, session.min_beams
        return cut, reduced(cut, self.star_position, *kind)

    def _cut(self, session):
        """The voxels of a session."""
        return self._limited(self.cube, session)

    def _limited(self, cube, session):
        """What the limits of a session leave of a cube."""
        limits = [None if v is None else v * KMS for v in (session.vmin, session.vmax)]
        regions = regions_of(session) or None
        noise = functools.partial(self._noise_of, session)
        return cut_streamer(cube, *limits, (None,) * 4, session.rms_thresh, regions, None, noise, session.islands)

    def _noise_of(self, session):
        """The noise for a threshold, given or found once."""
        if session.rms is not None:
            return Noise(0.0, session.rms)
        if self._noise is None:
            self._noise = find_noise(self.cube)
        return self._noise

    @property
    def region(self):
        """All regions of the cut, a list of `~regions.Region`."""
        return regions_of(self.session)

    @locked
    def add_region(self, source, name=None):
        """Add regions to the cut.

        Parameters
        ----------
        source : str, path-like, bytes, `~regions.Region`, or list of `~regions.Region`
            A ds9 or CRTF file, its content as bytes, or regions.
        name : str, optional
            What to call them; by default the file's name.

        Raises
        ------
        ValueError
            If they cannot be read, or leave nothing of the cube; the previous cut then stays.
        """
        taken = [known for known, _ in self.session.regions]
        self._change(regions=self.session.regions + choices.named_regions(source, name, taken))

    @locked
    def remove_region(self, name):
        """Take regions out of the cut.

        Parameters
        ----------
        name : str
            What they are called.
        """
        check_choice("name", name, [known for known, _ in self.session.regions])
        self._change(regions=tuple(entry for entry in self.session.regions if entry[0] != name))

    @locked
    def save_region(self, path):
        """Write the regions of the cut as a ds9 file.

        Parameters
        ----------
        path : str or path-like
            File to write; one that exists is replaced.
        """
        if not self.session.regions:
            refuse("region", "be chosen before it is saved", "none", "Draw one or read a file.")
        write_text(path, regions_text(self.region))

    # -- parameters -------------------------------------------------------------------------------------------------------

    @property
    def rotation(self):
        """Which of ``mu``, ``rc`` and ``omega`` states the rotation."""
        return rotation_name(self.session.values)

    @property
    def parameters(self):
        """All parameters as Quantities; setting some of them changes these."""
        return {name: to_quantity(name, value) for name, value in self.session.values.items()}

    @parameters.setter
    def parameters(self, params):  # numpydoc ignore=GL08
        self.set_parameters(params)

    @locked
    def set_parameters(self, params, key=None):
        """Change values of parameters.

        Parameters
        ----------
        params : dict
            Parameter name to Quantity, or number in the internal unit. Another one of ``mu``, ``rc`` and ``omega`` than the
            present one takes its place.
        key : hashable, optional
            Changes of the same key in quick succession are undone together.

        Raises
        ------
        ValueError
            If a value lies outside its support or its bounds.
        """
        self._change(key, **choices.with_values(self.session, params))

    def set_value(self, name, value):
        """Change the value of one parameter; quick successive changes are undone together.

        Parameters
        ----------
        name : str
            The parameter.
        value : `~astropy.units.Quantity` or float
            A number is in the internal unit.
        """
        self.set_parameters({name: value}, key=("value", name))

    @locked
    def set_rotation(self, name):
        """State the same rotation by another parameter.

        Parameters
        ----------
        name : {"mu", "rc", "omega"}
            The parameter.
        """
        check_choice("rotation", name, ROTATIONS)
        if name != self.rotation:
            self._change(**choices.rotate(self.session, name))

    @locked
    def set_free(self, name, free=True):
        """Say whether a fit may move a parameter.

        Parameters
        ----------
        name : str
            The parameter.
        free : bool, optional
            Whether it may.
        """
        self._change(**choices.with_free(self.session, name, free))

    @locked
    def set_bounds(self, name, bounds):
        """Set or remove the bounds of a parameter.

        Parameters
        ----------
        name : str
            The parameter.
        bounds : tuple, `~astropy.units.Quantity` or None
            Lower and upper; None for none.
        """
        self._change(**choices.with_pair(self.session, "bounds", name, bounds))

    @locked
    def set_prior(self, name, prior):
        """Set or remove the Gaussian prior of a parameter.

        Parameters
        ----------
        name : str
            The parameter.
        prior : tuple, `~astropy.units.Quantity` or None
            Mean and sigma; None for none.
        """
        self._change(**choices.with_pair(self.session, "priors", name, prior))

    @locked
    def set_fit(self, **changes):
        """Choose the kind of fit.

        Parameters
        ----------
        **changes
            ``optimizer``, ``loss_method``, ``matching``, ``n_epochs``, ``learning_rate`` and ``patience``, as for
            `~sting.gradient_descent.fit_streamline` (where the last one is called ``early_stopping_patience``).
        """
        for name in changes:
            check_choice("option", name, [name for name, topic in TOPICS.items() if topic == "options"])
        self._change(**choices.checked(changes))
