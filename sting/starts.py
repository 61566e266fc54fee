"""A start for a fit from the data alone: a coarse search over everything that is free."""

import math

import numpy as np

from sting.core.constants import GM_SUN
from sting.core.sky import rotation_matrix
from sting.core.transforms import omega_from
from sting.messages import check_whole, in_float64, named_keywords, refuse
from sting.parameters import PARAMETERS, ROTATIONS, check_distance, check_parameters, parse_bounds, parse_priors, to_quantity
from sting.preview import Preview

__all__ = ["direction_of", "iterate_search", "suggest_start"]

#: Parameter sets that are tried at once.
BATCH = 512

#: Rounds of the search: a first one over the whole domain, then ever closer to the best.
ROUNDS = 12

#: How many of the best the next round starts from, and the width of the first step away from them, in the unit cube.
ELITE, WIDTH = 24, 0.15


def suggest_start(initial_opt_params, fixed_params, streamer, distance, **keywords):
    """Search for values of the free parameters from which a fit may start.

    Random sets over the whole domain, then ever closer to the best found. No gradient is used, so that a
    wrong start does not trap it, and no minimum is reached: it is a start.

    Parameters
    ----------
    initial_opt_params, fixed_params : dict
        Free and fixed parameters, as for `~sting.gradient_descent.fit_streamline`. The search ignores the values of the free
        ones, but for those of ``mass``, ``rmin`` and ``v_lsr``, around which it stays unless bounds or priors say more.
    streamer : `~sting.streamer.Streamer`
        The data.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    **keywords
        ``param_bounds`` and ``priors``, within both of which (a prior's two sigma) the search stays, ``matching``,
        ``loss_method`` and ``seed``.

    Returns
    -------
    dict
        The free parameters as Quantities in display units.

    Raises
    ------
    ValueError
        If the parameters do not state the model.

    Examples
    --------
    >>> from sting import synthetic
    >>> start = {name: synthetic.TRUTH[name] for name in ("r0", "theta0", "phi0", "v_r0")}
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in start}
    >>> found = suggest_start(start, fixed, synthetic.make_streamer_points(), 293)
    >>> bool(abs(found["phi0"].value - 60) < 20)
    True
    """
    *_, last = iterate_search(initial_opt_params, fixed_params, streamer, distance, **keywords)
    return last["params"]


@in_float64
def direction_of(ra, dec, away, inc, pa):
    """Polar angle and azimuth in the rotation frame of a place that is seen from the star.

    Parameters
    ----------
    ra, dec : float
        Offset on the sky, in any unit of length.
    away : float
        Offset along the line of sight, away from the observer, in the same unit.
    inc, pa : float
        Inclination and position angle of the rotation axis (rad).

    Returns
    -------
    theta0, phi0 : float
        In rad.

    Examples
    --------
    >>> theta0, phi0 = direction_of(0.0, 1.0, 0.0, inc=0.0, pa=0.0)  # along an axis that points north
    >>> abs(theta0) < 1e-6
    True
    """
    x, y, z = np.asarray(rotation_matrix(inc, pa)).T @ np.array([-ra, away, dec]) / math.sqrt(ra**2 + dec**2 + away**2)
    return math.acos(min(max(z, -1.0), 1.0)), math.atan2(y, x) % (2 * math.pi)


@named_keywords
def iterate_search(
    initial_opt_params,
    fixed_params,
    streamer,
    distance,
    *,
    param_bounds=None,
    priors=None,
    matching="nearest",
    loss_method=1,
    seed=0,
):
    """`suggest_start` round by round.

    Parameters
    ----------
    initial_opt_params, fixed_params : dict
        As for `suggest_start`.
    streamer : `~sting.streamer.Streamer`
        The data.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    param_bounds, priors : dict, optional
        As for the fit.
    matching : {"nearest", "stretch"}, optional
        Which model point a data point is compared to.
    loss_method : {0, 1}, optional
        What the residuals are of.
    seed : int, optional
        Seed.

    Yields
    ------
    dict
        ``fraction`` done, ``loss`` of the best so far and its ``params``.

    Examples
    --------
    >>> from sting import synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "phi0"}
    >>> points = synthetic.make_streamer_points()
    >>> found = [step["loss"] for step in iterate_search({"phi0": 2.0}, fixed, points, 293)]
    >>> found == sorted(found, reverse=True)
    True
    """
    if not initial_opt_params:
        refuse("initial_opt_params", "hold at least one parameter", "none", "Move one out of fixed_params.")
    seed = check_whole("seed", seed, 0, 1)
    free, fixed = check_parameters(initial_opt_params, fixed_params)
    bounds, limits = parse_bounds(param_bounds, free), parse_priors(priors, free)
    preview = Preview(
        initial_opt_params, fixed_params, distance, streamer, priors=priors, matching=matching, loss_method=loss_method
    )
    reach = max(np.hypot(streamer.ra_data, streamer.dec_data)) * check_distance(distance)
    return _rounds(free, fixed, bounds, limits, preview, reach, np.random.default_rng(seed))


def _rounds(free, fixed, bounds, priors, preview, reach, rng):
    unit = rng.random((4 * BATCH, len(free)))
    best = np.zeros((0, len(free))), np.zeros(0)
    start = preview.losses(preview.vector(free | fixed)[None])[0]
    yield {"fraction": 0.0, "loss": float(start), "params": {name: to_quantity(name, value) for name, value in free.items()}}
    for k in range(ROUNDS):
        losses = losses_of(values_at(unit, free, fixed, bounds, priors, reach), preview)
        points, losses = np.vstack([best[0], unit]), np.append(best[1], losses)
        order = np.argsort(losses)[:ELITE]
        best = points[order], losses[order]
        found = values_at(best[0][:1], free, fixed, bounds, priors, reach)
        params = {name: to_quantity(name, float(found[name][0])) for name in free}
        yield {"fraction": (k + 1) / ROUNDS, "loss": float(best[1][0]), "params": params}
        step = WIDTH * 0.75**k * rng.standard_normal((BATCH, len(free)))
        unit = best[0][rng.integers(len(order), size=BATCH)] + step
        periodic = np.array([bool(PARAMETERS[name].period) and name not in bounds for name in free])
        unit = np.where(periodic, unit % 1, np.abs(1 - np.abs(1 - unit)).clip(1e-9, 1 - 1e-9))


def losses_of(values, preview):
    """Compute the losses of many sets of parameters, infinite where they are not finite.

    Parameters
    ----------
    values : dict of `~numpy.ndarray`
        Every parameter in its internal unit, each of shape (m,).
    preview : `~sting.preview.Preview`
        What compares them with the data.

    Returns
    -------
    `~numpy.ndarray`
        Shape (m,).
    """
    vectors = preview.vector(values).T
    m = len(vectors)
    # batches of one size: another number of sets compiles nothing
    vectors = np.resize(vectors, (-(-m // BATCH) * BATCH, vectors.shape[1]))
    losses = np.concatenate([preview.losses(vectors[i : i + BATCH]) for i in range(0, len(vectors), BATCH)])[:m]
    return np.where(np.isfinite(losses), losses, np.inf)


def values_at(unit, free, fixed, bounds, priors, reach):
    """Return all parameters at points of the unit cube.

    Parameters
    ----------
    unit : `~numpy.ndarray`
        The points, a column for each free parameter, shape (m, n_free).
    free, fixed : dict of float
        Free and fixed parameters in internal units.
    bounds, priors : dict of tuple of float
        Those of the free ones, in internal units.
    reach : float
        Largest projected distance of the data from the star (au).

    Returns
    -------
    dict of `~numpy.ndarray`
        Every parameter in its internal unit, each of shape (m,).
    """
    values = {name: np.full(len(unit), value) for name, value in (free | fixed).items()}
    rotation = None
    for name, fraction in zip(free, unit.T, strict=True):
        if name in ROTATIONS and name not in bounds and name not in priors:
            rotation = name, fraction
        else:
            values[name] = _value(name, fraction, values, bounds, priors, reach)
    if rotation:
        # after r0 and mass, on which it depends
        name, fraction = rotation
        mu = 10 ** (-4 + 3.97 * fraction)
        omega = in_float64(lambda *known: np.asarray(omega_from(*known)))(mu, values["r0"], values["mass"])
        values[name] = {"mu": mu, "rc": mu * values["r0"], "omega": omega}[name]
    return values


def _value(name, fraction, values, bounds, priors, reach):
    p = PARAMETERS[name]
    if name in priors:
        mean, sigma = priors[name]
        value = mean + sigma * (4 * fraction - 2)
        low, high = bounds.get(name, (-math.inf, math.inf) if p.period else (p.lower, p.upper))
        if p.period and name in bounds:
            value = low + (value - low) % p.period
        return np.minimum(np.maximum(value, low + 1e-9 * abs(mean)), high)
    if name in bounds:
        low, high = bounds[name]
        return low + (high - low) * fraction
    whole = {
        "r0": lambda: 0.9 * reach * 5**fraction,
        "theta0": lambda: np.arccos(1 - 2 * fraction),
        "inc": lambda: np.arcsin(2 * fraction - 1),
        "v_r0": lambda: fraction**2 * np.sqrt(2 * GM_SUN * values["mass"] / reach),
        "mass": lambda: values["mass"] * 4 ** (2 * fraction - 1),
        "v_lsr": lambda: values["v_lsr"] + 2 * fraction - 1,
        "rmin": lambda: values["rmin"],
    }
    return whole[name]() if name in whole else p.period * fraction
