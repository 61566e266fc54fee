"""What a fit returns: the optimisation, its uncertainties, and the ways to look at them and keep them."""

import io
import math
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting import fit_words
from sting.core.descent import Stop
from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, Settings
from sting.derived import derived_table, infall_rate, infall_rate_profile
from sting.errors import Uncertainties, estimate_uncertainties, sample_coordinates
from sting.evaluations import curves_of, matched_of, named_of
from sting.files import existing_file, write_text
from sting.messages import in_float64, refuse
from sting.outcome import Outcome
from sting.parameters import PARAMETERS, to_quantity
from sting.profile import ONE_SIGMA, intervals_table, profile
from sting.profiler import Profiler
from sting.stream_lines_grad import streamline

__all__ = ["FitResult"]


@dataclass(frozen=True, eq=False)
class FitResult(Outcome):
    """Result of `~sting.gradient_descent.fit_streamline`.

    It unpacks as ``best_opt_params, loss_history, param_errors``.

    Attributes
    ----------
    names : tuple of str
        The free parameters, as the user named them; the order of `covariance`.
    fixed_params : dict
        The fixed parameters as Quantities.
    distance : `~astropy.units.Quantity`
        Distance of the star.
    x : `~numpy.ndarray`
        Best-fit optimiser coordinates, shape (n_model,).
    history : `~numpy.ndarray`
        One row for each epoch: loss, gradient norm, chi2 of the three observables, penalty of the priors, coordinates.
    stop : `sting.core.descent.Stop`
        Why the descent ended.
    problem, settings
        Data, supports and priors as the core takes them, and which program was run.
    minima : `~astropy.table.QTable` or None
        After a search (``"auto"`` or ``n_starts``) the distinct minima, the best first: ``loss``, ``n_reached`` (from how many
        starts) and the free parameters; ``meta`` holds ``n_starts``, ``n_converged`` and ``seed``.
    """

    names: tuple
    fixed_params: dict
    distance: u.Quantity
    x: np.ndarray
    history: np.ndarray
    stop: Stop
    problem: dict
    settings: Settings
    minima: QTable | None = None

    def __iter__(self):
        return iter((self.best_opt_params, self.loss_history, self.param_errors))

    @cached_property
    def uncertainties(self) -> Uncertainties:
        """The local picture of the loss, see `~sting.errors.Uncertainties`."""
        return estimate_uncertainties(self.x, self.problem, self.settings)

    @cached_property
    @in_float64
    def _best(self):
        return dict(zip(NAMED_PARAMETERS, named_of(self.x[None], self.problem, self.settings)[0].tolist(), strict=True))

    def internal_value(self, name):
        """Return the best-fit value of a parameter in its internal unit, not wrapped into one period.

        Parameters
        ----------
        name : str
            A parameter of the model, or another way to state its rotation.

        Returns
        -------
        float
        """
        return self._best[name]

    @cached_property
    def profiler(self):
        """What the profiles of this fit share."""
        return Profiler(self)

    @property
    def best_opt_params(self):
        """Best-fit free parameters as Quantities in display units."""
        return {name: to_quantity(name, self._best[name]) for name in self.names}

    @property
    def param_errors(self):
        """1-sigma uncertainties of the free parameters, Quantities; infinite along a flat direction."""
        return {n: self.uncertainties.sigma[n] * _display(n) * PARAMETERS[n].display_unit for n in self.names}

    @property
    def covariance(self):
        """Covariance of the free parameters in the order of ``names`` and in display units, shape (n_free, n_free)."""
        index = [NAMED_PARAMETERS.index(name) for name in self.names]
        factor = np.array([_display(name) for name in self.names])
        return self.uncertainties.covariance[np.ix_(index, index)] * np.outer(factor, factor)

    @property
    def covariance_result(self):
        """The result itself: what scripts written for STING hand to its figure of streamline samples."""
        return self

    @property
    def chi2(self):
        """Sum of the squared residuals of the data at the best epoch, in units of their uncertainties."""
        return float(self.history[self.best_epoch, 2:5].sum())

    @property
    def n_data(self):
        """Number of independent residuals: those of the points and one for each prior.

        A point has three, of which ``"nearest"`` uses one up by choosing the place on the curve.
        """
        each = 2 if self.settings.matching == "nearest" else 3
        return each * len(self.problem["points"]) + int(np.count_nonzero(self.problem["prior"]["inverse_sigma"]))

    @property
    def n_free(self):
        """Number of parameters that the measurements determine: those that are free, less the exactly flat directions."""
        return len(self.names) - len(self.uncertainties.flat)

    @property
    def notes(self):
        """What the user should know of this fit, a list of sentences."""
        return fit_words.notes(self)

    @cached_property
    def starts_at_the_data(self):
        """Whether a data point is matched to the outer end of the model."""
        path = self.streamline()
        pairs = zip(self.matched_points(), (path.ra, path.dec, path.velocity), strict=True)
        return bool(np.all([np.abs(matched - along[0]).value < 1e-9 for matched, along in pairs], axis=0).any())

    def to_table(self):
        """Return all parameters of the model as a table.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``parameter``, ``value``, ``sigma`` (NaN for fixed ones), ``near_gaussian`` (``"no"`` where not ``sigma`` but
            `intervals` tells how uncertain the value is), ``unit``, ``state`` (free, fixed) and ``description``.
        """
        best = self.best_opt_params | self.fixed_params
        errors = self.param_errors
        return QTable(
            {
                "parameter": list(best),
                "value": [float(v.value) for v in best.values()],
                "sigma": [float(errors[n].value) if n in errors else math.nan for n in best],
                "near_gaussian": [{True: "yes", False: "no"}.get(self.near_gaussian.get(n), "") for n in best],
                "unit": [v.unit.to_string() for v in best.values()],
                "state": ["free" if n in errors else "fixed" for n in best],
                "description": [PARAMETERS[n].description for n in best],
            },
            meta={"loss": self.loss, "status": self.status},
        )

    def derived(self):
        """Return the elements of the orbit with their uncertainties.

        Energy, angular momentum and the other quantities that every rotation axis leaves as they are come first; then radii,
        infall times and the length of the path. Times are those of the ballistic orbit, also where the path ends before: the
        description says so.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``quantity``, ``value``, ``sigma`` (infinite where nothing constrains it), ``unit``, ``any_axis`` (True where
            the value is the same for every rotation axis that fits as well) and ``description``. ``meta`` says in sentences
            whether the orbit is ``bound`` and what depends on the ``axis``.
        """
        table = derived_table(self)
        table.meta["bound"] = fit_words.bound(self, table.meta["bound"])
        return table

    def profile(self, name, values=None, **keywords):
        """Return the profile likelihood of a parameter or of an element of the orbit: all else is fitted anew at each value.

        Parameters
        ----------
        name : str
            A free parameter or a key of `~sting.derived.DERIVED`.
        values : `~astropy.units.Quantity`, optional
            Where to find the loss.
        **keywords
            ``n``, ``level``, ``progress`` and ``callback`` of `~sting.profile.profile`.

        Returns
        -------
        `~sting.profile.Profile`
        """
        return profile(self, name, values, **keywords)

    def intervals(self, level=ONE_SIGMA, *, derived=False, progress=True):
        """Return intervals of all free parameters from their profiles, beside the plain uncertainties.

        Parameters
        ----------
        level : float, optional
            Level of the intervals; by default that of one sigma, 0.6827.
        derived : bool, optional
            Whether to add the elements of the orbit.
        progress : bool, optional
            Whether to show a progress bar if it takes more than two seconds.

        Returns
        -------
        `~astropy.table.QTable`
            See `sting.profile.intervals_table`.
        """
        return intervals_table(self, level, derived=derived, progress=progress)

    @cached_property
    def near_gaussian(self):
        """Whether the plain uncertainty of each free parameter will do: False where only `intervals` or `profile` tell."""
        return {name: not self.profiler.why_not_gaussian(name) for name in self.names}

    def infall_rate(self, mass, mass_sigma=None, *, to="rc"):
        """Return the mass infall rate of the streamer: its mass divided by the time that its outer end takes to fall in.

        Parameters
        ----------
        mass : `~astropy.units.Quantity`
            Mass of the streamer.
        mass_sigma : `~astropy.units.Quantity`, optional
            Its uncertainty.
        to : {"rc", "midplane", "periastron"}, optional
            Where the fall, from r0, ends.

        Returns
        -------
        `~astropy.table.QTable`
            One row, see `sting.derived.infall_rate`.
        """
        return infall_rate(self, mass, mass_sigma, to=to)

    def infall_rate_profile(self, edges, mass, mass_sigma=None):
        """Return the mass infall rate along the streamer: the mass in each bin divided by the time to cross it.

        Parameters
        ----------
        edges : `~astropy.units.Quantity`
            Edges of the bins, shape (n + 1,): lengths are distances from the star in space, angles projected ones.
        mass : `~astropy.units.Quantity`
            Mass in each bin, or for each unit of ``edges``, shape (n,).
        mass_sigma : `~astropy.units.Quantity`, optional
            Its uncertainty, of the same kind.

        Returns
        -------
        `~astropy.table.QTable`
            A row for each bin, see `sting.derived.infall_rate_profile`.
        """
        return infall_rate_profile(self, edges, mass, mass_sigma)

    @in_float64
    def sample(self, n, *, seed=None):
        """Draw parameter sets from the covariance.

        Parameters
        ----------
        n : int
            Number of draws.
        seed : int, optional
            Seed.

        Returns
        -------
        `~astropy.table.QTable`
            One column for each free parameter, n rows, every row within supports and bounds.
        """
        drawn = named_of(self._draw(n, seed), self.problem, self.settings)
        return QTable({name: to_quantity(name, drawn[:, NAMED_PARAMETERS.index(name)]) for name in self.names})

    def _draw(self, n, seed):
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            refuse("n", "be a whole number of at least 1", repr(n), "Use for example 100.")
        return sample_coordinates(self.x, self.uncertainties.coordinate_covariance, n, seed)

    def streamline(self, n_points=200):
        """Return the best-fit streamline.

        Parameters
        ----------
        n_points : int, optional
            Number of points.

        Returns
        -------
        `~sting.stream_lines_grad.Streamline`
        """
        return streamline(self.best_opt_params | self.fixed_params, distance=self.distance, n_points=n_points)

    @in_float64
    def sample_streamlines(self, n, *, n_points=200, seed=None):
        """Draw streamlines from the covariance.

        Parameters
        ----------
        n : int
            Number of streamlines.
        n_points : int, optional
            Number of points of each.
        seed : int, optional
            Seed; the same as in `sample` gives the same parameter sets.

        Returns
        -------
        ra, dec, velocity : `~astropy.units.Quantity`
            Each of shape (n, n_points).
        """
        curves = curves_of(self._draw(n, seed), self.problem, self.settings, n_points)
        return curves[..., 0] * u.arcsec, curves[..., 1] * u.arcsec, curves[..., 2] * u.km / u.s

    @in_float64
    def matched_points(self):
        """Return the places of the model to which the data points are compared.

        Returns
        -------
        ra, dec, velocity : `~astropy.units.Quantity`
            Each of shape (n_elements,).
        """
        ra, dec, velocity = np.asarray(matched_of(self.x, self.problem, self.settings)[0]).T
        return ra * u.arcsec, dec * u.arcsec, velocity * u.km / u.s

    @in_float64
    def residuals(self):
        """Return the residuals of the points, data minus model, in units of their uncertainties.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``ra``, ``dec`` and ``velocity``, or with ``loss_method`` 1 ``radius``, ``angle`` and ``velocity``, and
            ``projected_radius`` (arcsec) of the point. The sum of the squares of the first three is `chi2`.
        """
        names = ("ra", "dec", "velocity") if self.settings.loss_method == 0 else ("radius", "angle", "velocity")
        values = np.asarray(matched_of(self.x, self.problem, self.settings)[1]).T
        radius = np.hypot(*np.asarray(self.problem["points"]).T[:2]) * u.arcsec
        return QTable(dict(zip(names, values, strict=True)) | {"projected_radius": radius})

    @in_float64
    def parameter_history(self):
        """Return all named parameters at each epoch.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``epoch``, ``loss``, ``gradient_norm``, the parts of the loss and every parameter.
        """
        parts = ("chi2_ra", "chi2_dec", "chi2_v") if self.settings.loss_method == 0 else ("chi2_r", "chi2_theta", "chi2_v")
        columns = {
            "epoch": np.arange(len(self.history)),
            "loss": self.history[:, 0],
            "gradient_norm": self.history[:, 1],
        }
        columns |= dict(zip((*parts, "chi2_prior"), self.history[:, 2:6].T, strict=True))
        named = named_of(self.history[:, 6:], self.problem, self.settings)
        columns |= {n: to_quantity(n, named[:, i]) for i, n in enumerate(NAMED_PARAMETERS)}
        return QTable(columns)

    def __repr__(self):
        return fit_words.line(self)

    def summary(self):
        """Return the fit in words and tables, as text.

        Returns
        -------
        str
        """
        return fit_words.summary(self)

    def __str__(self):
        return self.summary()

    def _repr_html_(self):
        return fit_words.page(self)

    def write(self, path, *, overwrite=False):
        """Write the result as ECSV, whole: `read` gives back a result that can do all that this one can.

        Parameters
        ----------
        path : str or path-like
            File to write; its folder must exist. The file appears at once or not at all.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        """
        write_text(path, self.to_text(), overwrite=overwrite)

    def to_text(self):
        """Return what `write` writes.

        Returns
        -------
        str
        """
        table = self.to_table()
        table.meta["fit"] = _plain(
            {
                "names": self.names,
                "fixed_params": {n: [float(v.value), v.unit.to_string()] for n, v in self.fixed_params.items()},
                "distance_pc": self.distance.to_value(u.pc),
                "x": self.x,
                "history": self.history,
                "stop": int(self.stop),
                "problem": self.problem,
                "settings": self.settings._asdict(),
                "model_parameters": MODEL_PARAMETERS,
                "minima": _minima_as_dict(self.minima),
            }
        )
        text = io.StringIO()
        table.write(text, format="ascii.ecsv")
        return text.getvalue()

    @classmethod
    def read(cls, path):
        """Read a result that `write` wrote.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        `FitResult`

        Raises
        ------
        ValueError
            If the file is not one that `write` wrote.
        """
        path = existing_file("path", path)
        try:
            return cls.from_text(path.read_text(encoding="utf-8"))
        except Exception as error:
            refuse("path", "be a fit written by FitResult.write", f"{str(path)!r} ({error})", "Choose its best_fit.ecsv.")

    @classmethod
    def from_text(cls, text):
        """Make a result again from what `to_text` returned.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        `FitResult`
        """
        meta = QTable.read(text.splitlines(), format="ascii.ecsv").meta["fit"]
        return cls(
            names=tuple(meta["names"]),
            fixed_params={n: value * u.Unit(unit) for n, (value, unit) in meta["fixed_params"].items()},
            distance=meta["distance_pc"] * u.pc,
            x=np.array(meta["x"]),
            history=np.array(meta["history"], dtype=float),
            stop=Stop(meta["stop"]),
            problem=jax.tree.map(np.asarray, meta["problem"], is_leaf=lambda leaf: isinstance(leaf, list)),
            settings=Settings(**meta["settings"]),
            # files of before there was a search have none
            minima=_minima_of_dict(meta.get("minima")),
        )


def _minima_as_dict(minima):
    if minima is None:
        return None
    columns = [(name, u.Quantity(minima[name])) for name in minima.colnames]
    # a list, since YAML sorts the keys of a dict
    return {"columns": [[name, c.value, c.unit.to_string()] for name, c in columns], "meta": dict(minima.meta)}


def _minima_of_dict(kept):
    if kept is None:
        return None
    plain = {"loss": float, "n_reached": int}
    columns = {
        name: np.array(values, dtype=plain[name]) if name in plain else np.array(values) * u.Unit(unit)
        for name, values, unit in kept["columns"]
    }
    return QTable(columns, meta=kept["meta"])


def _display(name):
    p = PARAMETERS[name]
    return p.unit.to(p.display_unit)


def _plain(value):
    """Nested structure of plain Python values, as YAML takes them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
