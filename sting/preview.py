"""The model beside the data for one set of parameters after another, fast enough to follow a slider."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sting.core import orbit as core_orbit
from sting.core import sky
from sting.core.elements import elements
from sting.core.likelihood import MODEL_PARAMETERS, data_residuals, loss_and_parts, match, parameters, path_of
from sting.messages import in_float64
from sting.parameters import rotation_name
from sting.problem import count_radii, state_data, state_model
from sting.programs import program

__all__ = ["Comparison", "Preview"]

#: Points of the curve.
N_POINTS = 200


@dataclass(frozen=True, eq=False)
class Comparison:
    """One set of parameters beside the data.

    Attributes
    ----------
    curve : `~numpy.ndarray`
        RA offset, Dec offset (arcsec) and velocity (km/s) of the model from the outer end inwards, shape (n_points, 3).
    position : `~numpy.ndarray`
        The same in space: west, away from the observer, north (au), shape (n_points, 3).
    matched : `~numpy.ndarray`
        Model values to which the data points are compared, shape (n, 3); empty without data.
    residuals : `~numpy.ndarray`
        Data minus model in units of the uncertainties, shape (n, 3).
    loss : float
        Loss, priors included; 0 without data or priors.
    parts : `~numpy.ndarray`
        Its parts: the three observables and the priors, shape (4,).
    orbit : dict of float
        Elements of the orbit in the units of `sting.derived.DERIVED`, and ``time_to_end``, the time (yr) to the inner end.
    """

    curve: np.ndarray
    position: np.ndarray
    matched: np.ndarray
    residuals: np.ndarray
    loss: float
    parts: np.ndarray
    orbit: dict


@program
def _compare(problem, settings):
    x = jnp.zeros(len(MODEL_PARAMETERS))
    loss, parts = loss_and_parts(x, problem, settings)
    path = path_of(parameters(x, problem, settings), problem["distance"])
    w = sky.sample_w(path, N_POINTS)
    matched = match(path, problem, settings)
    orbit = elements(path)
    orbit["time_to_end"] = core_orbit.duration(path, 0.0 * path["w_end"], path["w_end"])
    return {
        "curve": sky.observe(path, w)[0],
        "position": sky.position_and_velocity(path, w)[0],
        "matched": matched,
        "residuals": data_residuals(matched, problem, settings),
        "loss": loss,
        "parts": parts,
        "orbit": orbit,
    }


@program
def _losses(values, problem, settings):
    x = jnp.zeros(len(MODEL_PARAMETERS))
    return jax.vmap(lambda fixed: loss_and_parts(x, problem | {"fixed": fixed}, settings)[0])(values)


class Preview:
    """A model and data to be compared again and again.

    Everything is checked once, here; each call then takes about a millisecond. Data are padded, so that another number of
    points compiles nothing.

    Parameters
    ----------
    free, fixed : dict
        Parameters, as for `~sting.gradient_descent.fit_streamline`.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None compares with nothing.
    priors : dict, optional
        Parameter name to (mean, sigma).
    matching : {"nearest", "stretch"}, optional
        Which model point a data point is compared to.
    loss_method : {0, 1}, optional
        What the residuals are of.

    Examples
    --------
    >>> from sting import synthetic
    >>> from sting.parameters import check_parameters
    >>> preview = Preview({}, synthetic.TRUTH, 293, synthetic.make_streamer_points())
    >>> _, values = check_parameters({}, synthetic.TRUTH)
    >>> preview(values).loss < 1e-6
    True
    """

    def __init__(self, free, fixed, distance, streamer=None, *, priors=None, matching="nearest", loss_method=1):
        problem, settings, _ = state_model(
            free,
            fixed,
            distance,
            priors=priors,
            matching=matching if streamer is not None else "nearest",
            loss_method=loss_method,
        )
        self.rotation = rotation_name(free | fixed)
        self.settings = settings._replace(rotation=self.rotation, optimizer="adam")
        self.n_data = 0 if streamer is None else len(streamer)
        self.problem = problem | {"free": np.zeros(len(MODEL_PARAMETERS))} | self._data(streamer)

    def _data(self, streamer):
        data = {"points": np.zeros((0, 3)), "sigma": np.ones((0, 3))}
        if streamer is not None:
            data = state_data(streamer.data, streamer.uncertainties)
        if self.settings.matching == "stretch":
            return data
        # points of infinite uncertainty, away from the star, weigh nothing
        n = max(16, 1 << (self.n_data - 1).bit_length()) - self.n_data
        return {
            "points": np.vstack([data["points"], np.ones((n, 3))]),
            "sigma": np.vstack([data["sigma"], np.full((n, 3), np.inf)]),
        }

    def _settings(self, r0):
        """Program for models of these r0: of a power of two of radii, so that a longer path seldom compiles anything."""
        if self.settings.matching == "nearest":
            return self.settings
        n_radii = count_radii(float(np.max(r0)), float(self.problem["deltar"]))
        return self.settings._replace(n_radii=1 << (n_radii - 1).bit_length())

    def vector(self, values):
        """Return values of the parameters as the core takes them.

        Parameters
        ----------
        values : dict of float
            Every parameter in its internal unit.

        Returns
        -------
        `~numpy.ndarray`
        """
        return np.array([values[self.rotation if name == "mu" else name] for name in MODEL_PARAMETERS])

    @in_float64
    def __call__(self, values):
        """Compare one set of parameters with the data.

        Parameters
        ----------
        values : dict of float
            Every parameter in its internal unit.

        Returns
        -------
        `Comparison`
        """
        found = jax.device_get(_compare(self.problem | {"fixed": self.vector(values)}, self._settings(values["r0"])))
        found["matched"], found["residuals"] = found["matched"][: self.n_data], found["residuals"][: self.n_data]
        orbit = {name: float(value) for name, value in found.pop("orbit").items()}
        return Comparison(**found | {"loss": float(found["loss"]), "orbit": orbit})

    @in_float64
    def losses(self, vectors):
        """Return the losses of many sets of parameters.

        Parameters
        ----------
        vectors : `~numpy.ndarray`
            What `vector` returns for each, shape (m, n_model).

        Returns
        -------
        `~numpy.ndarray`
            Shape (m,).
        """
        vectors = np.asarray(vectors)
        return np.asarray(_losses(vectors, self.problem, self._settings(vectors[:, MODEL_PARAMETERS.index("r0")])))
