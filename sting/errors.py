"""Uncertainties of a fit: the curvature of the loss at its minimum, checked, and what it does not constrain, named."""

from dataclasses import dataclass

import numpy as np

from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, linearise
from sting.core.transforms import to_parameters
from sting.messages import in_float64

__all__ = ["Uncertainties", "estimate_uncertainties", "sample_coordinates"]

#: A direction is exactly flat if the residuals change along it by less than this fraction of their largest change.
FLAT = 1e-6

#: A parameter is at its bound if it is nearer to it than this fraction of the range (or of its scale).
AT_BOUND = 1e-3

#: A descent ended in a minimum if one Newton step more would lower the loss by less than this.
MINIMUM_GAIN = 0.01

#: Something moves along a flat direction if its slope there is more than this fraction of what all its slopes add up to.
MOVES = 1e-4

_STEP = 1e-5


@dataclass(frozen=True, eq=False)
class Uncertainties:
    """The local picture of the loss around the best fit.

    Attributes
    ----------
    coordinate_covariance : `~numpy.ndarray`
        Covariance of the optimiser coordinates, shape (n_model, n_model); zero for what is fixed, flat or at a bound.
    covariance : `~numpy.ndarray`
        Covariance of the named parameters in internal units, in the order of `sting.core.likelihood.NAMED_PARAMETERS`.
    sigma : dict of float
        Uncertainty of each named parameter in internal units; infinite along a flat direction.
    flat : list of dict
        Exactly flat directions: parameter name to its share in the direction (the largest being 1).
    flat_directions : `~numpy.ndarray`
        The same as unit vectors in optimiser coordinates, shape (n_flat, n_model).
    at_bound : list of str
        Parameters that ended at a bound.
    gain : float
        By how much a Newton step would lower the loss.
    positive : bool
        Whether the Hessian was positive; if not, the covariance is that of Gauss and Newton.
    """

    coordinate_covariance: np.ndarray
    covariance: np.ndarray
    sigma: dict
    flat: list
    flat_directions: np.ndarray
    at_bound: list
    gain: float
    positive: bool

    def sigma_of(self, jacobian):
        """Uncertainty of a number from its derivatives by the optimiser coordinates.

        Parameters
        ----------
        jacobian : `~numpy.ndarray`
            The derivatives, shape (n_model,).

        Returns
        -------
        float
            Infinite if the number changes along a flat direction.
        """
        jacobian = np.asarray(jacobian)
        if _moves(jacobian[None], self.flat_directions)[0]:
            return float("inf")
        return float(np.sqrt(max(jacobian @ self.coordinate_covariance @ jacobian, 0.0)))

    def part(self, index, rows, coordinates, named):
        """Return what concerns a part of the parameters: one streamer of a joint fit.

        Parameters
        ----------
        index : `~numpy.ndarray` of int
            Its optimiser coordinates.
        rows : slice
            Its rows in ``covariance``.
        coordinates : dict of str
            For what its coordinates are called here, what they are called in the part.
        named : dict of str
            For what its named parameters are called in the part, what they are called here.

        Returns
        -------
        `Uncertainties`
        """
        flat = [{coordinates[name]: share for name, share in one.items() if name in coordinates} for one in self.flat]
        return Uncertainties(
            coordinate_covariance=self.coordinate_covariance[np.ix_(index, index)],
            covariance=self.covariance[rows, rows],
            sigma={name: self.sigma[here] for name, here in named.items()},
            flat=[direction for direction in flat if direction],
            flat_directions=self.flat_directions[[bool(direction) for direction in flat]][:, index],
            at_bound=[coordinates[name] for name in self.at_bound if name in coordinates],
            gain=self.gain,
            positive=self.positive,
        )

    def notes(self, user_name=str):
        """Say what the user should know: flat directions, bounds, and whether the descent did not end in a minimum.

        Parameters
        ----------
        user_name : callable, optional
            Turns the name of a parameter into the one by which the user knows it.

        Returns
        -------
        list of str
        """
        notes = [
            f"Exactly flat direction: {', '.join(map(user_name, direction))} move together without any change of RA, Dec and "
            "velocity; only fixing one of them or a prior constrains them."
            for direction in self.flat
        ]
        notes += [f"{user_name(name)} ended at a bound; its uncertainty is one-sided." for name in self.at_bound]
        if not self.positive:
            notes.append(
                "The Hessian is not positive: the uncertainties are those of Gauss and Newton. "
                "Run more epochs or optimizer='lbfgs'."
            )
        elif self.gain >= MINIMUM_GAIN:
            notes.append("The descent did not end in a minimum. Run more epochs or optimizer='lbfgs'.")
        return notes


def _moves(jacobian, flat_rows):
    """Which rows of ``jacobian``, shape (m, n_model), change along any of the flat directions."""
    size = np.maximum(np.abs(jacobian).sum(axis=1), 1e-300)
    return (np.abs(jacobian @ flat_rows.T) / size[:, None] > MOVES).any(axis=1)


def _gradient(x, problem, settings):
    found = linearise(x, problem, settings)
    return 2 * np.asarray(found["d_residuals"]).T @ np.asarray(found["residuals"])


def _hessian(x, problem, settings, directions):
    """Second derivatives of the loss along the columns of ``directions``: five-point differences of exact gradients."""
    columns = []
    for direction in directions.T:
        step = _STEP * direction
        near, far = (_gradient(x + n * step, problem, settings) - _gradient(x - n * step, problem, settings) for n in (1, 2))
        columns.append((8 * near - far) / (12 * _STEP))
    matrix = directions.T @ np.transpose(columns)
    return (matrix + matrix.T) / 2


def _at_bound(x, problem, gradient):
    """Which parameters are free and held at a bound: nearer to it than `AT_BOUND`, and the loss does not fall away from it."""
    support = problem["support"]
    y = (np.asarray(to_parameters(x, support)) - support["offset"]) / support["scale"]
    low = (support["has_lower"] > 0) & (y < AT_BOUND) & (gradient >= -1e-9)
    high = (support["has_upper"] > 0) & (1 - y < AT_BOUND) & (gradient <= 1e-9)
    return (problem["free"] > 0) & (low | high)


def _rows_of(problem):
    """Row and coordinate of each named parameter that is itself a coordinate; a shared one has a row for each member."""
    members = problem.get("index") or (np.arange(len(MODEL_PARAMETERS)),)
    return [(len(NAMED_PARAMETERS) * k + i, int(j)) for k, index in enumerate(members) for i, j in enumerate(index)]


def _one_sided_sigma(row, index, found):
    """Distance from a bound at which the loss has risen by one, for the parameter of a row and a coordinate alone."""
    slope_of_value = np.asarray(found["d_named"])[row, index]
    if abs(slope_of_value) < 1e-300:
        return 0.0
    jacobian = np.asarray(found["d_residuals"])[:, index] / slope_of_value
    rise, curvature = abs(jacobian @ np.asarray(found["residuals"])), jacobian @ jacobian
    # the positive root of curvature s^2 + 2 rise s = 1
    return 1 / (rise + np.sqrt(rise**2 + curvature)) if curvature > 0 else np.inf


@in_float64
def estimate_uncertainties(x, problem, settings, names=(MODEL_PARAMETERS, NAMED_PARAMETERS)):
    """Estimate the covariance of a fit at the optimiser coordinates ``x``.

    The loss being chi2 (-2 ln L), the covariance is 2 inv(Hessian), propagated by the Jacobian to the named parameters.
    Directions along which no residual changes are found by a singular value decomposition of the residuals' Jacobian, which
    is exact whether or not ``x`` is a minimum, and taken out; parameters at a bound are held there, and get the one-sided
    distance at which the loss has risen by one.

    Parameters
    ----------
    x : `~numpy.ndarray`
        Optimiser coordinates, shape (n_model,).
    problem : dict
        Problem of the fit, see `sting.core.likelihood`.
    settings : `sting.core.likelihood.Settings`
        Which program is used.
    names : tuple, optional
        What the coordinates and the named parameters are called, the same name twice where a joint fit has twice the same.

    Returns
    -------
    `Uncertainties`

    Examples
    --------
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_lsr"}
    >>> result = fit_streamline({"v_lsr": 7.4}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> found = estimate_uncertainties(result.x, result.problem, result.settings)
    >>> round(found.sigma["v_lsr"], 3)
    0.035
    """
    x = np.asarray(x)
    found = linearise(x, problem, settings)
    gradient = 2 * np.asarray(found["d_residuals"]).T @ np.asarray(found["residuals"])
    bound = _at_bound(x, problem, gradient)
    inner = np.flatnonzero((problem["free"] > 0) & ~bound)
    jacobian = np.asarray(found["d_residuals"])[:, inner]
    _, values, rows = np.linalg.svd(jacobian, full_matrices=True) if len(inner) else (None, np.zeros(0), np.zeros((0, 0)))
    values = np.pad(values, (0, len(inner) - len(values)))
    flat = values <= FLAT * max(values.max(initial=0.0), 1e-300)
    directions = np.zeros((len(x), np.count_nonzero(~flat)))
    directions[inner] = rows[~flat].T
    reduced = jacobian @ rows[~flat].T
    gauss_newton = 2 * reduced.T @ reduced
    hessian = _hessian(x, problem, settings, directions) if directions.size else gauss_newton
    positive = _is_positive(hessian)
    inverse = np.linalg.inv(hessian if positive else gauss_newton)
    gradient = directions.T @ gradient
    coordinate_covariance = 2 * directions @ inverse @ directions.T
    d_named = np.asarray(found["d_named"])
    covariance = d_named @ coordinate_covariance @ d_named.T
    flat_rows = np.zeros((np.count_nonzero(flat), len(x)))
    flat_rows[:, inner] = rows[flat]
    sigma = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    sigma[_moves(d_named, flat_rows)] = np.inf
    for row, index in _rows_of(problem):
        if bound[index]:
            sigma[row] = _one_sided_sigma(row, index, found)
    return Uncertainties(
        coordinate_covariance=coordinate_covariance,
        covariance=covariance,
        sigma=dict(zip(names[1], sigma.tolist(), strict=True)),
        flat=[_share(row, names[0]) for row in flat_rows],
        flat_directions=flat_rows,
        at_bound=[names[0][i] for i in np.flatnonzero(bound)],
        gain=float(gradient @ inverse @ gradient / 2),
        positive=positive,
    )


def _is_positive(matrix):
    values = np.linalg.eigvalsh(matrix) if matrix.size else np.ones(1)
    return bool(np.isfinite(values).all() and values.min() > 1e-12 * values.max())


def _share(row, names):
    """Name what moves along a direction in optimiser coordinates, the largest share first."""
    share = row / row[np.argmax(np.abs(row))]
    order = np.argsort(-np.abs(share))
    return {names[i]: float(share[i]) for i in order if abs(share[i]) > 1e-3}


def sample_coordinates(x, covariance, n, seed=None):
    """Draw optimiser coordinates from the normal distribution around the best fit.

    The draws are made in the optimiser's coordinates, whose every value is a legal parameter: samples respect supports,
    bounds and periods by themselves.

    Parameters
    ----------
    x : `~numpy.ndarray`
        Best-fit coordinates, shape (n_model,).
    covariance : `~numpy.ndarray`
        Their covariance, shape (n_model, n_model).
    n : int
        Number of draws.
    seed : int, optional
        Seed.

    Returns
    -------
    `~numpy.ndarray`
        Shape (n, n_model).

    Examples
    --------
    >>> sample_coordinates([0.5, 1.0], [[1e-4, 0.0], [0.0, 0.0]], n=3, seed=1).shape
    (3, 2)
    """
    values, vectors = np.linalg.eigh(covariance)
    normal = np.random.default_rng(seed).standard_normal((n, len(x)))
    return np.asarray(x) + normal * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
