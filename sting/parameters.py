"""The parameters of the infall model: one table, and everything that reads it.

A parameter's name, units, support, slider, labels and description stand in `PARAMETERS` and nowhere else. The rest of this module
turns what users type (Quantities or bare numbers) into the plain floats of the core and back.
"""

import math
from dataclasses import dataclass

import numpy as np
from astropy import units as u

from sting.core.transforms import LARGEST_MU, mu_from
from sting.messages import refuse, suggest

__all__ = [
    "PARAMETERS",
    "Parameter",
    "check_distance",
    "check_parameters",
    "parse_bounds",
    "parse_priors",
    "to_internal",
    "to_quantity",
]

PER_SECOND = u.s**-1


@dataclass(frozen=True)
class Parameter:
    """One parameter of the model.

    Attributes
    ----------
    name : str
        Name that users type.
    unit : `~astropy.units.Unit`
        Internal unit, in which bare numbers are taken.
    display_unit : `~astropy.units.Unit`
        Unit of results, tables and labels.
    lower, upper : float
        Support in the internal unit; infinite where there is no limit.
    period : float
        Period in the internal unit; 0 if not periodic.
    default : float or None
        Value (internal unit) if the user gives none; None if it must be given.
    scale : float or None
        Natural step size (internal unit) for a descent without bounds; None to take the start value.
    slider : tuple of float
        Range and step of a slider, in the display unit.
    label, tex : str
        Plain and TeX label.
    description : str
        One sentence.
    """

    name: str
    unit: u.UnitBase
    display_unit: u.UnitBase
    lower: float
    upper: float
    period: float
    default: float | None
    scale: float | None
    slider: tuple[float, float, float]
    label: str
    tex: str
    description: str

    @property
    def rule(self):
        """The support in words."""
        if self.period:
            return "be finite"
        low, high = (limit * self.unit.to(self.display_unit) for limit in (self.lower, self.upper))
        unit = self.display_unit.to_string()
        if math.isfinite(high):
            return f"lie between {low:g} and {high:g} {unit}".rstrip()
        return f"be at least {low:g} {unit}" if self.name in ZERO_ALLOWED else ("be positive" if low == 0 else "be finite")

    def holds(self, value):
        """Say whether a value lies in the support, whose lower end belongs to it only for ``v_r0`` and ``rmin``.

        Parameters
        ----------
        value : float
            In the internal unit.
        """
        inside = self.lower <= value if self.name in ZERO_ALLOWED else self.lower < value < self.upper
        return math.isfinite(value) and (bool(self.period) or inside)


#: A value is taken to lie on a bound that it misses by this fraction: degrees are not radians to the last bit.
ROUNDING = 1e-13

#: Radians beyond which a number without a unit is taken for one of degrees: nobody counts three turns.
MOST_RADIANS = 6 * math.pi

#: Parameters whose support includes its lower end.
ZERO_ALLOWED = ("v_r0", "rmin")

_PI = math.pi
_INF = math.inf
_NONE = u.dimensionless_unscaled
_KMS = u.km / u.s

#: Every parameter of the model by its name.
# fmt: off
PARAMETERS = {p.name: p for p in (
    #         name      unit         display      lower    upper    period   default scale  slider                  plain     TeX
    Parameter("r0",     u.au,        u.au,        0.0,     _INF,    0.0,     None,   None,  (100, 20000, 10),       "r0",     r"$r_0$",
              "radius at which the streamline starts"),
    Parameter("theta0", u.rad,       u.deg,       0.0,     _PI,     0.0,     None,   None,  (0, 180, 0.5),          "theta0", r"$\theta_0$",
              "polar angle of the start, from the rotation axis"),
    Parameter("phi0",   u.rad,       u.deg,       0.0,     2 * _PI, 2 * _PI, None,   None,  (0, 360, 0.5),          "phi0",   r"$\phi_0$",
              "azimuth of the start"),
    Parameter("v_r0",   _KMS,        _KMS,        0.0,     _INF,    0.0,     None,   1.0,   (0, 5, 0.01),           "v_r0",   r"$v_{r,0}$",
              "inward radial speed at the start"),
    Parameter("mu",     _NONE,       _NONE,       0.0,     1.0,     0.0,     None,   None,  (0.001, 0.999, 0.001),  "mu",     r"$\mu$",
              "centrifugal radius in units of r0"),
    Parameter("mass",   u.Msun,      u.Msun,      0.0,     _INF,    0.0,     None,   None,  (0.05, 10, 0.01),       "mass",   r"$M$",
              "central mass"),
    Parameter("inc",    u.rad,       u.deg,       -_PI/2,  _PI/2,   0.0,     None,   None,  (-90, 90, 0.5),         "inc",    r"$i$",
              "inclination; 0 is an edge-on disk, positive tilts the axis away from the observer"),
    Parameter("pa",     u.rad,       u.deg,       0.0,     2 * _PI, 2 * _PI, None,   None,  (0, 360, 0.5),          "pa",     r"$\mathrm{PA}$",
              "position angle of the projected rotation axis, east of north"),
    Parameter("rmin",   u.au,        u.au,        0.0,     _INF,    0.0,     0.0,    100.0, (0, 1000, 1),           "rmin",   r"$r_\mathrm{min}$",
              "innermost radius to draw"),
    Parameter("v_lsr",  _KMS,        _KMS,        -_INF,   _INF,    0.0,     0.0,    1.0,   (-20, 20, 0.01),        "v_lsr",  r"$v_\mathrm{LSR}$",
              "systemic velocity"),
    Parameter("rc",     u.au,        u.au,        0.0,     _INF,    0.0,     None,   None,  (1, 2000, 1),           "rc",     r"$r_\mathrm{c}$",
              "centrifugal radius"),
    Parameter("omega",  PER_SECOND,  PER_SECOND,  0.0,     _INF,    0.0,     None,   None,  (1e-15, 1e-11, 1e-15),  "omega",  r"$\Omega$",
              "angular speed about the rotation axis at r0"),
    Parameter("deltar", u.au,        u.au,        0.0,     _INF,    0.0,     10.0,   None,  (0.1, 100, 0.1),        "deltar", r"$\Delta r$",
              "radial step of the 'stretch' matching; nothing else depends on it"),
)}
# fmt: on

#: The three ways to state the rotation, of which exactly one is given.
ROTATIONS = ("mu", "rc", "omega")


def to_internal(name, value):
    """Turn what a user typed for a parameter into a float in the internal unit.

    Parameters
    ----------
    name : str
        A key of `PARAMETERS`.
    value : `~astropy.units.Quantity` or float
        Bare numbers are taken in the internal unit (radians for angles).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the parameter is unknown, or the value is not one finite number.
    `~astropy.units.UnitsError`
        If the unit cannot be converted.

    Examples
    --------
    >>> from astropy import units as u
    >>> round(to_internal("theta0", 90 * u.deg), 4)
    1.5708
    """
    if name not in PARAMETERS:
        refuse("parameter", "be a parameter of the model", repr(name), suggest(name, list(PARAMETERS)))
    if name == "rmin" and value is None:
        return 0.0
    values = _internal_values(name, name, value)
    if values.ndim or not np.isfinite(values):
        refuse(name, "be one finite number", value, "Give a number or a scalar Quantity.")
    return float(values)


def _internal_values(name, argument, value):
    """Array of internal values of a number, Quantity or sequence of either."""
    unit, given = PARAMETERS[name].unit, value
    try:
        value = u.Quantity(value, dtype=float) if _has_unit(value) else u.Quantity(np.asarray(value, dtype=float), unit)
        # an angular speed is written as 1/s or as rad/s
        value = value.to_value(unit, equivalencies=u.dimensionless_angles() if name == "omega" else [])
    except u.UnitsError:
        refuse(
            argument,
            f"have a unit convertible to {unit.to_string() or 'a pure number'}",
            value,
            "Change its unit.",
            u.UnitsError,
        )
    except (TypeError, ValueError):
        refuse(
            argument,
            "be a number or a Quantity",
            repr(value),
            f"Write for example 1.0 * u.Unit({unit.to_string()!r}).",
            TypeError,
        )
    if (
        unit == u.rad
        and not _has_unit(given)
        and np.abs(value, where=np.isfinite(value), out=np.zeros_like(value)).max() > MOST_RADIANS
    ):
        refuse(argument, "be in radians if it has no unit", given, f"Write {given} * u.deg if it is in degrees.")
    return value


def _has_unit(value):
    if isinstance(value, tuple | list):
        return any(_has_unit(part) for part in value)
    return hasattr(value, "unit")


def to_quantity(name, value):
    """Turn an internal float (or array) into a Quantity in the display unit; periodic ones come back within one period.

    Parameters
    ----------
    name : str
        A key of `PARAMETERS`.
    value : float or `~numpy.ndarray`
        In the internal unit.

    Returns
    -------
    `~astropy.units.Quantity`

    Examples
    --------
    >>> import math
    >>> to_quantity("pa", -math.pi / 2)
    <Quantity 270. deg>
    """
    p = PARAMETERS[name]
    value = np.mod(value, p.period) if p.period else value
    return (value * p.unit).to(p.display_unit)


def _check_names(params, argument):
    if not hasattr(params, "items"):
        refuse(
            argument,
            "be a dict of parameter names and values",
            repr(params),
            "Write {'r0': 2000 * u.au, ...}.",
            TypeError,
        )
    for name in params:
        if name not in PARAMETERS:
            refuse(argument, "hold parameters of the model only", repr(name), suggest(name, list(PARAMETERS)))


def check_parameters(free, fixed):
    """Check that two dicts together state the model once, and return them in internal units with the defaults filled in.

    Parameters
    ----------
    free, fixed : dict
        Parameter names and values (Quantities, or numbers in the internal unit). Either may be empty.

    Returns
    -------
    free, fixed : dict of float
        In the internal unit, in the order given.

    Raises
    ------
    ValueError
        If a parameter is unknown, missing, given twice, or outside its support, or if ``deltar`` is free.

    Examples
    --------
    >>> from sting.synthetic import TRUTH
    >>> fixed = {name: value for name, value in TRUTH.items() if name != "r0"}
    >>> free, fixed = check_parameters({"r0": 0.01 * u.pc}, fixed)
    >>> free["r0"], fixed["inc"]
    (2062.6..., -0.785...)
    """
    _check_names(free, "initial_opt_params")
    _check_names(fixed, "fixed_params")
    for name in free:
        if name in fixed:
            refuse(name, "be either free or fixed", "both", "Remove it from initial_opt_params or from fixed_params.")
    free = {name: to_internal(name, value) for name, value in free.items()}
    fixed = {name: to_internal(name, value) for name, value in fixed.items()}
    if "deltar" in free:
        refuse("deltar", "not be optimised", "it in initial_opt_params", "It is a sampling step: put it into fixed_params.")
    given = free | fixed
    _check_rotation(given)
    for name, p in PARAMETERS.items():
        if name not in given and name not in ROTATIONS:
            if p.default is None:
                refuse(name, "be given", "nothing", f"Add it ({p.description}) to initial_opt_params or to fixed_params.")
            fixed[name] = p.default
    for name, value in given.items():
        _check_support(name, value)
    _check_mu(given)
    return free, fixed


def _check_rotation(given):
    stated = [name for name in ROTATIONS if name in given]
    if len(stated) != 1:
        got = " and ".join(map(repr, stated)) or "none of them"
        refuse("omega, rc or mu", "be given, exactly one of them", got, "Keep one: they state the same rotation.")


def _check_support(name, value):
    """Refuse an internal ``value`` outside the support of the parameter ``name``."""
    p = PARAMETERS[name]
    if not p.holds(value):
        refuse(name, p.rule, f"{(value * p.unit).to(p.display_unit):.6g}", f"It is the {p.description}.")


def _check_mu(given):
    name = rotation_name(given)
    mu = float(mu_from(name, given[name], given["r0"], given["mass"]))
    if mu > LARGEST_MU:
        refuse(
            name,
            "leave the centrifugal radius inside r0 (mu = rc/r0 < 1)",
            f"mu = {mu:.4g}",
            "Lower the rotation or the start would be the periastron.",
        )


def rotation_name(given):
    """Return which of mu, rc and omega a dict of parameters holds.

    Parameters
    ----------
    given : dict
        Parameters of which exactly one states the rotation.

    Returns
    -------
    str
    """
    return next(name for name in ROTATIONS if name in given)


def check_distance(distance):
    """Distance in pc from a Quantity or a number in pc.

    Parameters
    ----------
    distance : `~astropy.units.Quantity` or float
        A number is in pc.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is not a positive finite length.

    Examples
    --------
    >>> from astropy import units as u
    >>> check_distance(0.3 * u.kpc)
    300.0
    """
    try:
        value = float(u.Quantity(distance, u.pc).value)
    except (u.UnitsError, TypeError, ValueError):
        refuse(
            "distance",
            "be a length",
            repr(distance),
            "Give a Quantity such as 293 * u.pc, or a number in pc.",
            TypeError,
        )
    if not (math.isfinite(value) and value > 0):
        refuse("distance", "be positive and finite", distance, "Give a Quantity such as 293 * u.pc, or a number in pc.")
    return value


def read_pairs(argument, entries, free):
    """Read a dict of bounds or priors.

    Parameters
    ----------
    argument : str
        What to call it in a message.
    entries : dict
        Parameter name to two numbers, with a unit or in the internal one.
    free : dict
        Parameters that it may name.

    Yields
    ------
    name : str
        The parameter.
    first, second : float
        In the internal unit.
    """
    _check_names(entries, argument)
    for name, pair in entries.items():
        if name not in free and not (name in ROTATIONS and _rotation_name_or_none(free)):
            refuse(
                argument,
                "name free parameters only",
                repr(name),
                "Move the parameter to initial_opt_params or drop this entry.",
            )
        values = _internal_values(name, f"{argument}[{name!r}]", pair)
        if values.shape != (2,) or np.isnan(values).any():
            refuse(f"{argument}[{name!r}]", "be two numbers", pair, "Write for example (1.0, 2.0) * u.Unit(...).")
        yield name, float(values[0]), float(values[1])


def _rotation_name_or_none(given):
    """Which of mu, rc and omega a dict holds, or None."""
    return next((name for name in ROTATIONS if name in given), None)


def parse_bounds(bounds, free):
    """Check bounds and return them in internal units.

    Parameters
    ----------
    bounds : dict or None
        Parameter name to (lower, upper), with a unit or in the internal one.
    free : dict of float
        Free parameters and their start values (internal units).

    Returns
    -------
    dict of tuple of float
        Those of a periodic parameter shifted by whole turns so as to hold the start.

    Raises
    ------
    ValueError
        If a bound is not on a free parameter, is not an interval inside the support, or excludes the start.

    Examples
    --------
    >>> parse_bounds({"r0": (200, 10000) * u.au}, {"r0": 2800.0})
    {'r0': (200.0, 10000.0)}
    """
    checked = {}
    for name, low, high in read_pairs("param_bounds", bounds or {}, free):
        p, argument = PARAMETERS[name], f"param_bounds[{name!r}]"
        shown = f"({low * p.unit.to(p.display_unit):.6g}, {high * p.unit.to(p.display_unit):.6g}) {p.display_unit}"
        if name not in free:
            refuse(
                argument,
                "be on the rotation parameter that is free",
                repr(name),
                f"Bound {rotation_name(free)!r} instead.",
            )
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            refuse(argument, "be finite with lower < upper", shown, "Swap or widen them.")
        if not p.period and (low < p.lower or high > p.upper):
            refuse(argument, f"stay within the support ({name} must {p.rule})", shown, "Narrow them.")
        if p.period:
            # the turn of the bounds that holds the value, if any does
            turns = p.period * math.floor((free[name] - low + ROUNDING) / p.period)
            low, high = low + turns, high + turns
        if not low - ROUNDING * abs(low) <= free[name] <= high + ROUNDING * max(1.0, abs(high)):
            refuse(
                name,
                "start within its bounds",
                f"{(free[name] * p.unit).to(p.display_unit):.6g} with bounds {shown}",
                "Move the start or widen the bounds.",
            )
        checked[name] = (low, high)
    return checked


def parse_priors(priors, free):
    """Check Gaussian priors and return them in internal units.

    Parameters
    ----------
    priors : dict or None
        Parameter name to (mean, sigma), with a unit or in the internal one. Where one of ``mu``, ``rc``, ``omega``
        is free, a prior on any of the three is accepted.
    free : dict of float
        Free parameters (internal units).

    Returns
    -------
    dict of tuple of float

    Raises
    ------
    ValueError
        If a prior is on a fixed parameter or its sigma is not positive.

    Examples
    --------
    >>> parse_priors({"mass": (4.0, 1.0) * u.Msun}, {"mass": 3.5})
    {'mass': (4.0, 1.0)}
    """
    checked = {}
    for name, mean, sigma in read_pairs("priors", priors or {}, free):
        if not (math.isfinite(mean) and 0 < sigma < math.inf):
            refuse(
                f"priors[{name!r}]",
                "be a finite mean and a positive sigma",
                (mean, sigma),
                "Correct it or drop this prior.",
            )
        checked[name] = (mean, sigma)
    return checked
