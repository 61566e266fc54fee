"""What papers quote of a fit besides its parameters: the orbit's elements, infall times, mass infall rates."""

import jax
import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.core import orbit as core_orbit
from sting.core.constants import PC_PER_AU
from sting.core.elements import elements, places, projected_distance, w_of_projected
from sting.core.likelihood import NAMED_PARAMETERS, parameters, path_of
from sting.core.sky import sample_w
from sting.messages import check_choice, in_float64, named_keywords, refuse
from sting.parameters import PARAMETERS, to_quantity
from sting.programs import program

__all__ = ["DERIVED", "derived_table", "infall_rate", "infall_rate_profile"]

#: Quantities of `derived_table`: unit, whether they are the same for every rotation axis that fits as well, and what they are.
#: Those that are come first.
DERIVED = {
    "energy": (u.km**2 / u.s**2, True, "specific energy; negative is bound"),
    "angular_momentum": (u.au * u.km / u.s, True, "specific angular momentum"),
    "angular_momentum_pc": (u.km / u.s * u.pc, True, "specific angular momentum, in the unit of cores and envelopes"),
    "eccentricity": (u.dimensionless_unscaled, True, "eccentricity of the orbit"),
    "semi_latus_rectum": (u.au, True, "semi-latus rectum of the orbit"),
    "periastron": (u.au, True, "smallest distance from the star that the orbit would reach"),
    "rc": (u.au, False, "centrifugal radius"),
    "landing_radius": (u.au, False, "radius at which the path meets the disk midplane"),
    "time_to_rc": (u.yr, False, "time from the start to the centrifugal radius"),
    "time_to_midplane": (u.yr, False, "time from the start to the disk midplane"),
    "time_to_periastron": (u.yr, False, "time from the start to the periastron"),
    "free_fall_time": (u.yr, False, "time from rest at r0 to the star, pi/2 sqrt(r0^3 / (2 G M))"),
    "length": (u.au, False, "length of the path from the start to the inner end"),
}

#: Those that take integrals along the path, or the start alone.
INTEGRALS = ("time_to_rc", "time_to_midplane", "time_to_periastron", "free_fall_time", "length")

#: Where an infall time can end: the element that is its radius.
ENDS = {"rc": "rc", "midplane": "landing_radius", "periastron": "periastron"}

BEYOND = "; beyond the inner end of the path, along its orbit"
START = (
    "Of them, time_to_periastron and free_fall_time depend on it by the start of the path alone, and not at all where the data "
    "show the start."
)
_PER_YEAR = u.Msun / u.yr

#: Samples among which the crossings of a projected distance are looked for.
_SAMPLES = 2001


def _path(x, problem, settings):
    return path_of(parameters(x, problem, settings), problem["distance"])


@program
def _elements(x, problem, settings):
    """Jacobian of the elements, the elements with r0, and which places lie beyond the inner end."""

    def values(x):
        path = _path(x, problem, settings)
        found = elements(path)
        return found, (
            found | {"r0": path["r0"]},
            {f"time_to_{name}": w > path["w_end"] * (1 + 1e-6) for name, w in places(path).items()},
        )

    return jax.jacfwd(values, has_aux=True)(x)


@program
def _invariants(x, problem, settings):
    def values(x):
        found = core_orbit.invariants(_path(x, problem, settings))
        return found, found

    return jax.jacfwd(values, has_aux=True)(x)


def element_at(name, x, problem, settings):
    """Return one element of the orbit and its derivatives by the coordinates.

    Parameters
    ----------
    name : str
        A key of `DERIVED`.
    x : `~numpy.ndarray`
        The coordinates, shape (n_model,).
    problem : dict
        Problem of the fit, see `sting.core.likelihood`.
    settings : `sting.core.likelihood.Settings`
        Which program is used.

    Returns
    -------
    value : float
        In the unit of `DERIVED`.
    derivatives : `~numpy.ndarray`
        Shape (n_model,).
    """
    if name in INTEGRALS:
        jacobian, (value, _) = jax.device_get(_elements(x, problem, settings))
        return float(value[name]), jacobian[name]
    # without integrals, and so many times faster
    factor, name = (PC_PER_AU, "angular_momentum") if name == "angular_momentum_pc" else (1.0, name)
    jacobian, value = jax.device_get(_invariants(x, problem, settings))
    return factor * float(value[name]), factor * jacobian[name]


@program
def _times_in_bins(x, problem, settings, edges, near):
    """Jacobian of the times (yr) between neighbouring edges, and the times; ``near`` is None for edges in radius (au)."""

    def times(x):
        path = _path(x, problem, settings)
        w = core_orbit.w_of_radius(path, edges) if near is None else w_of_projected(path, edges, near)
        found = core_orbit.duration(path, w[:-1], w[1:])
        return found, found

    return jax.jacfwd(times, has_aux=True)(x)


@program
def _ends(x, problem, settings):
    path = _path(x, problem, settings)
    w = sample_w(path, _SAMPLES)
    return path["r0"], path["r_end"], w, projected_distance(path, w)[0]


@in_float64
def derived_table(result):
    """Return the elements of a fit's orbit with their uncertainties: what `FitResult.derived` returns.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.

    Returns
    -------
    `~astropy.table.QTable`
        Columns ``quantity``, ``value``, ``sigma`` (infinite where nothing constrains it), ``unit``, ``any_axis`` (True where the
        value is the same for every rotation axis that fits as well) and ``description``, a row for each of `DERIVED`. ``meta``
        says in sentences whether the orbit is ``bound`` and what depends on the ``axis``.

    Examples
    --------
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_r0"}
    >>> result = fit_streamline({"v_r0": 0.2}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> derived_table(result).meta["bound"]
    'The orbit is bound: its energy is 14 sigma below zero.'
    """
    jacobian, (value, beyond) = jax.device_get(_elements(result.x, result.problem, result.settings))
    sigma = {name: result.uncertainties.sigma_of(jacobian[name]) for name in DERIVED}
    return QTable(
        {
            "quantity": list(DERIVED),
            "value": [float(value[n]) for n in DERIVED],
            "sigma": list(sigma.values()),
            "unit": [unit.to_string() for unit, _, _ in DERIVED.values()],
            "any_axis": [any_axis for _, any_axis, _ in DERIVED.values()],
            "description": [text + (BEYOND if beyond.get(n) else "") for n, (_, _, text) in DERIVED.items()],
        },
        meta={
            "bound": _bound_words(float(value["energy"]), sigma["energy"]),
            "axis": f"Rows with any_axis False hold {axis_words(result)} {START}",
        },
    )


def _bound_words(energy, sigma):
    """Sentence that says whether the orbit is bound, and how surely."""
    side = "below" if energy < 0 else "above"
    surely = f"{abs(energy) / sigma:.2g} sigma {side} zero" if 0 < sigma < np.inf else f"{side} zero"
    return f"The orbit is {'bound' if energy < 0 else 'unbound'}: its energy is {surely}."


def axis_words(result):
    """Say which rotation axis a number holds for, and where the axis is from.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`
        What the number is of.

    Returns
    -------
    str
    """
    return (
        "for this rotation axis only, which a ballistic fit does not measure but takes as put in: "
        f"{_origin('inc', result)}, {_origin('pa', result)}."
    )


def _origin(name, result):
    """Where the value of an angle of the axis is from."""
    if name in result.fixed_params:
        return f"{name} = {result.fixed_params[name]:.6g} (fixed)"
    prior, index = result.problem["prior"], NAMED_PARAMETERS.index(name)
    weight = float(prior["inverse_sigma"][index])
    if weight == 0:
        return f"{name} free, without a prior"
    mean, sigma = to_quantity(name, float(prior["mean"][index])), (1 / weight * PARAMETERS[name].unit).to(u.deg)
    return f"{name} = {mean.value:.6g} +- {sigma:.6g} (prior)"


@named_keywords
@in_float64
def infall_rate(result, mass, mass_sigma=None, *, to="rc"):
    """Mass infall rate of a streamer: its mass divided by the time that its outer end takes to fall in.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    mass : `~astropy.units.Quantity`
        Mass of the streamer.
    mass_sigma : `~astropy.units.Quantity`, optional
        Its uncertainty; without it the uncertainty of the rate is that of the time alone.
    to : {"rc", "midplane", "periastron"}, optional
        Where the fall, from r0, ends. The centrifugal radius is what Valdivia-Mena et al. (2022) take.

    Returns
    -------
    `~astropy.table.QTable`
        One row: ``outer`` and ``inner`` radius (au), ``mass`` (Msun), ``time`` and ``time_sigma`` (yr), ``rate`` and
        ``rate_sigma`` (Msun/yr).

    Raises
    ------
    ValueError
        If the mass is not positive.
    `~astropy.units.UnitsError`
        If it is no mass.

    References
    ----------
    Valdivia-Mena et al. 2022, A&A 667, A12, doi:10.1051/0004-6361/202243310

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_r0"}
    >>> result = fit_streamline({"v_r0": 0.2}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> print(infall_rate(result, 0.01 * u.Msun)["rate"].to(u.Msun / u.Myr).round(2))
    [0.94] solMass / Myr
    """
    check_choice("to", to, tuple(ENDS))
    mass, mass_sigma = check_mass(mass, mass_sigma, (), u.Msun)
    jacobian, (value, _) = jax.device_get(_elements(result.x, result.problem, result.settings))
    name = f"time_to_{to}"
    outer, inner = (np.array([float(value[radius])]) * u.au for radius in ("r0", ENDS[to]))
    table = _rates(outer, inner, mass, mass_sigma, [value[name]], [result.uncertainties.sigma_of(jacobian[name])])
    table.meta = {"definition": f"mass / time from r0 to {to}", "axis": f"The time holds {axis_words(result)}"}
    return table


@named_keywords
@in_float64
def infall_rate_profile(result, edges, mass, mass_sigma=None):
    """Mass infall rate along a streamer: the mass in each bin divided by the time that the material takes to cross the bin.

    The time between two radii, or two places on the sky, is the same for every rotation axis that fits as well.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    edges : `~astropy.units.Quantity`
        Edges of the bins, from outside in or from inside out, shape (n + 1,): lengths are distances from the star in space,
        angles projected distances from it.
    mass : `~astropy.units.Quantity`
        Mass in each bin, or mass for each unit of ``edges`` there (such as Msun/au), shape (n,).
    mass_sigma : `~astropy.units.Quantity`, optional
        Its uncertainty, of the same kind; without it the uncertainty of the rate is that of the time alone.

    Returns
    -------
    `~astropy.table.QTable`
        A row for each bin: ``outer`` and ``inner`` edge, ``mass`` (Msun), ``time`` and ``time_sigma`` (yr), ``rate`` and
        ``rate_sigma`` (Msun/yr).

    Raises
    ------
    ValueError
        If the edges or masses are not of the right shape or sign, or the path does not cross every edge once.
    `~astropy.units.UnitsError`
        If they are of the wrong kind.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_r0"}
    >>> result = fit_streamline({"v_r0": 0.2}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> found = infall_rate_profile(result, [2500, 1500, 500] * u.au, [4e-3, 2e-3] * u.Msun)
    >>> print(found["rate"].to(u.Msun / u.Myr).round(2))
    [0.83 0.88] solMass / Myr
    """
    edges, mass, mass_sigma, order = check_bins(edges, mass, mass_sigma)
    near = _near(edges, result)
    jacobian, time = jax.device_get(_times_in_bins(result.x, result.problem, result.settings, edges.value, near))
    sigma = [result.uncertainties.sigma_of(row) for row in jacobian]
    table = _rates(edges[:-1], edges[1:], mass, mass_sigma, time, sigma)[order]
    table.meta = {
        "definition": "mass in the bin / time to cross it",
        "axis": "The times hold for every rotation axis that fits as well.",
    }
    return table


def _rates(outer, inner, mass, mass_sigma, time, time_sigma):
    """Table of masses, times and their quotients; uncertainties propagated to first order, mass and time independent."""
    mass, mass_sigma, time, time_sigma = map(
        np.atleast_1d, (mass.to_value(u.Msun), mass_sigma.to_value(u.Msun), np.asarray(time), np.asarray(time_sigma))
    )
    # a bin without mass has no rate, however uncertain the time is
    from_time = np.multiply(mass / time**2, time_sigma, out=np.zeros_like(mass), where=mass > 0)
    return QTable(
        {
            "outer": outer,
            "inner": inner,
            "mass": mass * u.Msun,
            "time": time * u.yr,
            "time_sigma": time_sigma * u.yr,
            "rate": mass / time * _PER_YEAR,
            "rate_sigma": np.hypot(mass_sigma / time, from_time) * _PER_YEAR,
        }
    )


def check_mass(mass, mass_sigma, shape, unit):
    """Check a mass and its uncertainty.

    Parameters
    ----------
    mass, mass_sigma : `~astropy.units.Quantity`
        The mass, and its uncertainty or None for 0.
    shape : tuple of int
        Their shape.
    unit : `~astropy.units.Unit`
        Unit of length or angle for each of which the mass may be.

    Returns
    -------
    mass, mass_sigma : `~astropy.units.Quantity`
        In Msun, or in Msun for each ``unit``.
    """
    units = [u.Msun] if shape == () else [u.Msun, u.Msun / unit]
    mass = _quantity("mass", mass, units, "0.01 * u.Msun")
    mass_sigma = np.zeros_like(mass) if mass_sigma is None else _quantity("mass_sigma", mass_sigma, [mass.unit], "0.003 * u.Msun")
    for name, value in (("mass", mass), ("mass_sigma", mass_sigma)):
        if value.shape != shape:
            refuse(name, f"be {f'of shape {shape}' if shape else 'one number'}", f"shape {value.shape}", "Give one for each bin.")
        if not (np.isfinite(value.value).all() and (value.value >= 0).all()):
            refuse(name, "be finite and not negative", value, "Leave out what is not known.")
    if not mass.value.any():
        refuse("mass", "be positive", mass, "Write for example 0.01 * u.Msun.")
    return mass, mass_sigma


def _quantity(name, value, units, example):
    """``value`` in that one of ``units`` that it is equivalent to."""
    given = getattr(value, "unit", None)
    match = None if given is None else next((unit for unit in units if u.Unit(given).is_equivalent(unit)), None)
    if match is None:
        words = " or ".join(unit.to_string() for unit in units)
        refuse(name, f"be a Quantity convertible to {words}", repr(value), f"Write for example {example}.", u.UnitsError)
    return u.Quantity(value, match, dtype=float)


def check_bins(edges, mass, mass_sigma):
    """Check the edges of bins and the masses in them.

    Parameters
    ----------
    edges : `~astropy.units.Quantity`
        Edges, lengths or angles, from outside in or from inside out, shape (n + 1,).
    mass, mass_sigma : `~astropy.units.Quantity`
        Mass in each bin, or for each unit of ``edges``, and its uncertainty or None, shape (n,).

    Returns
    -------
    edges, mass, mass_sigma : `~astropy.units.Quantity`
        From outside in, the masses those of the bins.
    order : slice
        What puts rows of bins back into the order given.

    Raises
    ------
    ValueError
        Unless the edges go one way, and the masses fit them.
    """
    edges = _quantity("edges", edges, [u.au, u.arcsec], "[3000, 2000, 1000] * u.au")
    steps = np.diff(edges.value) if edges.ndim == 1 else np.zeros(0)
    if not len(steps) or not ((steps > 0).all() or (steps < 0).all()):
        refuse("edges", "be at least two, and go one way", edges, "Sort them, the outermost first.")
    mass, mass_sigma = check_mass(mass, mass_sigma, (len(edges) - 1,), edges.unit)
    # a linear mass times the width of its bin
    width = np.abs(np.diff(edges)) if not mass.unit.is_equivalent(u.Msun) else 1.0
    mass, mass_sigma = (mass * width).to(u.Msun), (mass_sigma * width).to(u.Msun)
    order = slice(None) if edges[0] > edges[-1] else slice(None, None, -1)
    return edges[order], mass[order], mass_sigma[order], order


def _near(edges, result):
    """For projected distances, where about the path crosses them; edges that it does not cross once are refused."""
    r0, r_end, w, distance = jax.device_get(_ends(result.x, result.problem, result.settings))
    if edges.unit == u.au:
        _check_range(edges, r_end, r0)
        return None
    above = distance[None, :] > edges.value[:, None]
    crossed = above[:, :-1] != above[:, 1:]
    if (crossed.sum(axis=1) != 1).any():
        once = f"be projected distances that the path crosses once; it goes from {distance[0]:.4g} to {distance[-1]:.4g} arcsec"
        refuse("edges", once, edges, "Choose others, or give radii in au.")
    left = crossed.argmax(axis=1)
    fraction = (edges.value - distance[left]) / (distance[left + 1] - distance[left])
    return w[left] + fraction * (w[left + 1] - w[left])


def _check_range(edges, r_end, r0):
    """Refuse radii that the path does not reach; the last digits are not counted."""
    if edges.value.max() > r0 * (1 + 1e-6) or edges.value.min() < r_end * (1 - 1e-6):
        refuse("edges", f"lie on the path, from {r0:.6g} to {r_end:.6g} au", edges, "Take the bins within it.")
