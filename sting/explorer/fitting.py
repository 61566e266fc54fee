"""Fits and searches of an exploration, in a thread of their own."""

from dataclasses import replace

import numpy as np

from sting.explorer.exploration import Exploration, locked
from sting.explorer.job import Job
from sting.gradient_descent import iterate_fit
from sting.messages import refuse
from sting.parameters import parse_bounds, to_internal
from sting.starts import iterate_search

#: Streamlines that are drawn from the covariance of a fit, and points of each.
N_SAMPLES, N_POINTS = 60, 100

#: Seconds between two looks at a running fit: each takes time away from it.
INTERVAL = 0.25

_WORDS = {
    "compiling": "Compiling the fit: some ten seconds, once for each kind of fit in a session.",
    "fitting": "Fitting.",
    "searching": "Searching for a start.",
    "clustering": "Describing spectra by Gaussians. The first time in a session this compiles for some ten seconds.",
}
_SEARCH_KEYWORDS = ("param_bounds", "priors", "matching", "loss_method")


class Fitting(Exploration):
    """An exploration that can be fitted; base of `~sting.explorer.state.ExplorerState`.

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
        super().__init__(cube, star_position, distance)
        self.job = self.result = self.samples = None
        self.fitted_session = self.fitted_streamer = None
        self.losses, self.phase, self.progress = np.zeros(0), "idle", 0.0
        self._from = self._after_fit = self._kept = None

    @property
    def busy(self):
        """Whether a fit, or a search for a start or for clusters, is running."""
        return self.phase in ("searching", "clustering", "compiling", "fitting")

    @property
    def is_fitted(self):
        """Whether the present values are those of the last fit, and nothing else was changed since."""
        return self.result is not None and self.session == self._after_fit

    # -- starting and stopping --------------------------------------------------------------------------------------------

    @locked
    def start_fit(self):
        """Launch the fit from the present values in a thread; `wait` waits for its end.

        Raises
        ------
        ValueError
            If nothing is cut out, no parameter is free, or bounds and start do not agree.
        """
        job = Job(self._steps(iterate_fit, self.session.fit_keywords()), self._on_epochs, self._on_fit_end, INTERVAL)
        self._from = self.session, self.streamer
        self.losses = np.zeros(0)
        self._launch(job, "compiling")

    @locked
    def auto(self):
        """Launch a search for a start from the data in a thread; `wait` waits for its end.

        Raises
        ------
        ValueError
            As for `start_fit`.
        """
        keywords = {key: value for key, value in self.session.fit_keywords().items() if key in _SEARCH_KEYWORDS}
        self._launch(Job(self._steps(iterate_search, keywords), self._on_round, self._on_search_end), "searching")

    def _steps(self, iterate, keywords):
        self._check_idle("a second fit")
        if self.streamer is None:
            refuse("cut", "be made before a fit", "none", "Choose a velocity range, a region or a threshold.")
        free, fixed, _, _ = self.session.split()
        return iterate(free, fixed, self.streamer, self.distance, **keywords)

    def _launch(self, job, phase):
        self.job, self.phase, self.progress, self.status = job, phase, 0.0, _WORDS[phase]
        job.start()
        self._tell("fit", "status")

    @locked
    def stop_fit(self):
        """Stop the fit or the search; the best so far is kept."""
        if not self.busy:
            return
        self.job.stop()
        if self.job.last is None:
            # the compiler cannot be interrupted; when it ends, nobody waits
            self.job.quiet = True
            words = "there are no new clusters" if self.phase == "clustering" else "before the first step"
            self.phase, self.status = "stopped", f"Stopped: {words} (what cannot be interrupted ends in the background)."
            self._tell("fit", "status")

    @property
    def can_resume(self):
        """Whether a stopped fit can go on: it is not at its end, and nothing but the looks was changed since."""
        stopped = self.phase in ("stopped", "uncertainties") and self.job is not None and not self.job.exhausted
        if not stopped or self.job.on_end != self._on_fit_end:
            return False
        # where it began, or where it was stopped
        return self.session == self._from[0] or (self._kept is self.job and self.session == self._after_fit)

    @locked
    def resume_fit(self):
        """Take a stopped fit up again, as if it had never stopped.

        Raises
        ------
        RuntimeError
            If there is none, or something was changed since.
        """
        if not self.can_resume:
            refuse("resume", "follow a stopped fit, with nothing changed since", self.phase, "Start a new fit.", RuntimeError)
        self.job.quiet = False
        self.phase = "compiling" if self.job.last is None else "fitting"
        self.status = _WORDS[self.phase]
        self.job.start()
        self._tell("fit", "status")

    def wait(self, timeout=None):
        """Wait until a running fit or search has ended, its uncertainties included.

        Parameters
        ----------
        timeout : float, optional
            Seconds at the most.

        Returns
        -------
        bool
            Whether nothing runs any more.
        """
        return self.job is None or self.job.wait(timeout)

    # -- what the threads tell --------------------------------------------------------------------------------------------

    def _current(self, job):
        return job is self.job and not job.quiet and not job.superseded

    def _on_epochs(self, snapshot):
        job, result = self.job, snapshot.result
        comparison = self.preview(self.session.values | _best(result))
        with self.lock:
            if not self._current(job) or job.stopped:
                return
            self.phase, self.progress = "fitting", snapshot.epoch / snapshot.n_epochs
            self.losses, self.comparison = result.loss_history, comparison
            self.status = (
                f"Fitting: epoch {snapshot.epoch}, smallest loss {snapshot.best_loss:.5g}{_remaining(job, self.progress)}."
            )
            self._tell("fit", "model", "status")

    def _on_fit_end(self, job):
        with self.lock:
            if not self._current(job):
                return
            if job.error is not None:
                self._fail(job)
                return
            result = job.last.result
            if self.session == self._from[0]:
                self._undo.append(self.session)
                self._redo.clear()
            self._keep(result, *self._from)
            self._kept = job
            self._derive(self._after_fit)
            self.phase, self._last_key = "uncertainties", (None, 0.0)
            words = "Stopped" if job.stopped else "Done"
            self.status = f"{words}: {job.last.epoch} epochs, smallest loss {job.last.best_loss:.5g}. Uncertainties follow."
            self._tell("fit", "parameters", "model", "result", "status")
        # not under the lock: the first time this compiles for seconds
        samples, status = _finish(result)
        with self.lock:
            if self._current(job) and self.result is result and not self.busy:
                self.samples, self.status = samples, status
                self.phase = "done" if job.exhausted else "stopped"
                self._tell("fit", "result", "status")

    def _keep(self, result, session, streamer):
        """Take up a result and what it was fitted from and to."""
        self.result, self.samples, self.losses = result, None, result.loss_history
        self.fitted_session, self.fitted_streamer = session, streamer
        values = session.values | _best(result)
        self._after_fit = replace(session, values=values, bounds=parse_bounds(session.bounds, values))

    def _on_round(self, found):
        with self.lock:
            if self._current(self.job) and not self.job.stopped:
                self.progress = found["fraction"]
                self.status = f"Searching: {found['fraction']:.0%}, smallest loss {found['loss']:.5g}."
                self._tell("fit", "status")

    def _on_search_end(self, job):
        with self.lock:
            if not self._current(job):
                return
            if job.error is not None:
                self._fail(job)
                return
            self.phase = "idle"
            try:
                self.set_parameters(job.last["params"])
            except ValueError as error:
                job.error = error
                self._fail(job)
                return
            self.status = f"A start with loss {job.last['loss']:.5g}: a fit can go on from here."
            self._tell("fit", "status")

    def _fail(self, job):
        self.phase, self.status = "failed", f"It failed: {job.error}"
        # a fit has shown models on its way
        self._tell("fit", "status", *self._derive(self.session))


def _best(result):
    """Best-fit values in internal units."""
    return {name: to_internal(name, value) for name, value in result.best_opt_params.items()}


def _remaining(job, fraction):
    if not (0 < fraction < 1 and job.elapsed > 0):
        return ""
    return f", at most {job.elapsed * (1 - fraction) / fraction:.0f} s left"


def _finish(result):
    """Samples of a fit, which need its uncertainties, and what is to be said of it; all that compiles is done after this."""
    try:
        _ = result.notes
        ra, dec, velocity = result.sample_streamlines(N_SAMPLES, n_points=N_POINTS, seed=0)
    except np.linalg.LinAlgError:
        return None, result.status
    except Exception as error:  # in a thread of its own nobody else would hear of it
        return None, f"The fit ended, but its uncertainties failed: {error}"
    return np.stack([ra.value, dec.value, velocity.value], axis=-1), result.status
