"""From the angles of the literature and of other codes to ``inc`` and ``pa``, and back.

A disk or an outflow rarely gives one axis: which way it points needs the sense of the rotation and the side that is nearer.
The functions ``from_...`` therefore return a list of all axes that agree with what is known, each a dict to be merged into
the parameters. A bare number is an angle in radians, as everywhere in the package.
"""

import math

import numpy as np
from astropy import units as u

from sting.core.sky import rotation_matrix
from sting.core.transforms import mu_from, omega_from
from sting.messages import check_choice, in_float64, named_keywords, refuse
from sting.parameters import PARAMETERS, check_parameters, rotation_name, to_internal, to_quantity

__all__ = ["flip", "from_disk", "from_outflow", "from_tipsy", "to_disk", "to_outflow", "to_tipsy"]

#: The rotation as it is seen on the sky by the axis' tilt: one that points to the observer (inc < 0) is turned about
#: counterclockwise, north through east.
ROTATION = {-1: "counterclockwise", 1: "clockwise"}

#: Closer to edge-on than this (deg) is edge-on: degrees are not radians to the last bit.
EDGE_ON = 1e-9

#: A near side may be this far (deg) from the minor axis: the literature says "the north-eastern side".
NEAR_SIDE = 45.0

#: What a row of TIPSY's table of fits holds, in its units.
TIPSY = {"x0": u.au, "y0": u.au, "z0": u.au, "vxy0": u.km / u.s, "vxy_ang0": u.rad, "vz0": u.km / u.s, "Ms_val": u.Msun}


@named_keywords
def from_disk(inclination, *, pa_redshifted=None, pa_major=None, pa_near=None, rotation=None):
    """Find every rotation axis that agrees with what is known of a disk.

    Parameters
    ----------
    inclination : `~astropy.units.Quantity`
        Inclination of the disk, 0 being face-on and 90 deg edge-on. Up to 90 deg it says nothing of the side that is nearer;
        above, up to 180 deg, it says that the rotation is clockwise. From a source that uses 0 to 180 deg, give ``rotation``
        as well.
    pa_redshifted : `~astropy.units.Quantity`, optional
        Position angle, east of north, of the redshifted side of the major axis.
    pa_major : `~astropy.units.Quantity`, optional
        Position angle of the major axis, either of its ends, where the velocities are not known. Exactly one of this and
        ``pa_redshifted`` is given.
    pa_near : `~astropy.units.Quantity`, optional
        Position angle of the side of the disk that is nearer to the observer, to 45 deg. It lies under the redshifted lobe
        of an outflow.
    rotation : {"counterclockwise", "clockwise"}, optional
        Sense of the rotation on the sky with north up and east to the left; counterclockwise is north through east.

    Returns
    -------
    list of dict
        ``inc`` and ``pa`` in deg of each axis: four of them if nothing but the major axis is known, two if one of the
        redshifted side, the near side and the rotation is, one if two are. Of an edge-on disk there are half as many.

    Raises
    ------
    ValueError
        If an angle is not finite or out of range, if both or none of the two position angles are given, or if no axis agrees.
    `~astropy.units.UnitsError`
        If something is not an angle.

    See Also
    --------
    to_disk : The inverse.

    Notes
    -----
    A disk seen face-on is refused, for its axis has no position angle and the model takes ``inc`` between -90 and 90 deg only.

    Examples
    --------
    >>> from astropy import units as u
    >>> for axis in from_disk(60 * u.deg, pa_redshifted=110 * u.deg):
    ...     print(axis["inc"], axis["pa"])
    -30.0 deg 200.0 deg
    30.0 deg 200.0 deg
    >>> from_disk(60 * u.deg, pa_redshifted=110 * u.deg, pa_near=20 * u.deg)
    [{'inc': <Quantity -30. deg>, 'pa': <Quantity 200. deg>}]
    """
    tilt = _tilt(inclination, 180)
    axis = _one_of({"pa_redshifted": pa_redshifted, "pa_major": pa_major}) + 90
    return _matching(tilt, [axis] if pa_major is None else [axis, axis + 180], pa_near, rotation)


def to_disk(inc, pa):
    """Describe the disk about a rotation axis as the literature does.

    Parameters
    ----------
    inc, pa : `~astropy.units.Quantity` or float
        Inclination and position angle of the rotation axis; a number is in radians.

    Returns
    -------
    dict
        The keywords of `from_disk`: ``inclination`` (0 to 180 deg; of 90 + inc and 90 - inc, a source that does not go beyond
        90 deg gives the smaller), ``pa_redshifted``, ``pa_near`` (deg) and ``rotation``. The last two are None for an
        edge-on disk.

    Raises
    ------
    ValueError
        If ``inc`` does not lie between -90 and 90 deg, or an angle is not finite.
    `~astropy.units.UnitsError`
        If something is not an angle.

    Examples
    --------
    >>> from astropy import units as u
    >>> for name, value in to_disk(-30 * u.deg, 200 * u.deg).items():
    ...     print(name, value)
    inclination 60.0 deg
    pa_redshifted 110.0 deg
    pa_near 20.0 deg
    rotation counterclockwise
    """
    tilt, pa = _axis(inc, pa)
    return {
        "inclination": (90 + tilt) * u.deg,
        "pa_redshifted": _position_angle(pa - 90),
        "pa_near": _position_angle(_near_side(tilt, pa)) if tilt else None,
        "rotation": ROTATION[np.sign(tilt)] if tilt else None,
    }


@named_keywords
def from_outflow(inclination, *, pa_blue=None, pa_axis=None, rotation=None):
    """Find every rotation axis that agrees with what is known of an outflow along it.

    The blueshifted lobe points towards the observer. An outflow says nothing of the sense of the rotation, so that the axis
    may point along either lobe.

    Parameters
    ----------
    inclination : `~astropy.units.Quantity`
        Angle between the outflow and the line of sight, 90 deg being an outflow in the plane of the sky. It is that of the
        disk. A source that counts from the plane of the sky means 90 deg less this.
    pa_blue : `~astropy.units.Quantity`, optional
        Position angle, east of north, of the blueshifted lobe.
    pa_axis : `~astropy.units.Quantity`, optional
        Position angle of the outflow, either of its lobes, where the velocities are not known. Exactly one of this and
        ``pa_blue`` is given.
    rotation : {"counterclockwise", "clockwise"}, optional
        Sense of the rotation on the sky with north up and east to the left; counterclockwise is north through east.

    Returns
    -------
    list of dict
        ``inc`` and ``pa`` in deg of each axis: two if the blueshifted lobe is known, four if not; half as many if the
        rotation is known; two of an outflow in the plane of the sky.

    Raises
    ------
    ValueError
        If an angle is not finite or out of range, if both or none of the two position angles are given, or if an outflow in
        the plane of the sky is said to have a blueshifted lobe or a rotation on the sky.
    `~astropy.units.UnitsError`
        If something is not an angle.

    See Also
    --------
    from_disk : With ``pa_near`` = ``pa_blue`` + 180 deg it joins the outflow to a redshifted side of the disk.
    to_outflow : The inverse.

    Examples
    --------
    >>> from astropy import units as u
    >>> for axis in from_outflow(60 * u.deg, pa_blue=200 * u.deg):
    ...     print(axis["inc"], axis["pa"])
    -30.0 deg 200.0 deg
    30.0 deg 20.0 deg
    """
    tilt = _tilt(inclination, 90)
    axis = _one_of({"pa_blue": pa_blue, "pa_axis": pa_axis})
    if pa_blue is not None and not tilt:
        refuse("pa_blue", "be left out of an outflow in the plane of the sky", pa_blue, "Give the position angle as pa_axis.")
    # the side of the disk under the redshifted lobe is the near one
    return _matching(tilt, [axis, axis + 180], None if pa_blue is None else (axis + 180) * u.deg, rotation)


def to_outflow(inc, pa):
    """Describe an outflow along a rotation axis.

    Parameters
    ----------
    inc, pa : `~astropy.units.Quantity` or float
        Inclination and position angle of the rotation axis; a number is in radians.

    Returns
    -------
    dict
        The keywords of `from_outflow`: ``inclination`` (0 to 90 deg), ``pa_blue`` (deg) and ``rotation``; of an axis in the
        plane of the sky ``inclination`` and ``pa_axis``, which leave open along which lobe the axis points.

    Raises
    ------
    ValueError
        If ``inc`` does not lie between -90 and 90 deg, or an angle is not finite.
    `~astropy.units.UnitsError`
        If something is not an angle.

    Examples
    --------
    >>> from astropy import units as u
    >>> for name, value in to_outflow(30 * u.deg, 20 * u.deg).items():
    ...     print(name, value)
    inclination 60.0 deg
    pa_blue 200.0 deg
    rotation clockwise
    """
    tilt, pa = _axis(inc, pa)
    if not tilt:
        return {"inclination": 90 * u.deg, "pa_axis": _position_angle(pa)}
    blue = _near_side(tilt, pa) + 180
    return {"inclination": (90 - abs(tilt)) * u.deg, "pa_blue": _position_angle(blue), "rotation": ROTATION[np.sign(tilt)]}


def flip(params):
    """Turn the rotation round: the same axis on the sky, pointing the other way.

    ``inc`` becomes -inc, ``pa`` pa + 180 deg, ``theta0`` 180 deg - theta0 and ``phi0`` 180 deg - phi0.

    Parameters
    ----------
    params : dict
        Parameters and values, bare numbers being in the internal unit. It need not hold all of them, so that free and fixed
        parameters can be given one dict after the other.

    Returns
    -------
    dict
        The same with the angles flipped, in deg.

    Raises
    ------
    ValueError
        If a parameter is unknown or an angle is not one finite number.
    `~astropy.units.UnitsError`
        If a unit cannot be converted.

    Notes
    -----
    The same remain: the line of the axis on the sky and in space, the disk's plane with its near side, the place in space
    where the streamline starts, its radial velocity there, the radius, speed and time all along it, and the plane of the
    orbit.

    The opposite are: the axis, the angular momentum of the streamline and with it the part of its velocity across the radius,
    and the side of the disk's major axis that is redshifted. The path is turned half a turn about the line from the star to
    the start, so that it is another path on the sky.

    Examples
    --------
    >>> from astropy import units as u
    >>> for name, value in flip({"theta0": 52 * u.deg, "phi0": 60 * u.deg, "inc": -45 * u.deg, "pa": 194 * u.deg}).items():
    ...     print(name, value.round(6))
    theta0 128.0 deg
    phi0 120.0 deg
    inc 45.0 deg
    pa 14.0 deg
    """
    if not hasattr(params, "items"):
        refuse("params", "be a dict of parameter names and values", repr(params), "Write {'inc': 30 * u.deg, ...}.", TypeError)
    flipped = {
        "inc": lambda inc: -inc,
        "pa": lambda pa: pa + math.pi,
        "theta0": lambda theta0: math.pi - theta0,
        "phi0": lambda phi0: math.pi - phi0,
    }
    internal = {name: to_internal(name, value) for name, value in params.items()}
    return {name: to_quantity(name, flipped[name](internal[name])) if name in flipped else params[name] for name in params}


@in_float64
@named_keywords
def from_tipsy(start, *, theta0=90 * u.deg):
    """Find parameters of the streamline that starts as a trajectory of TIPSY does.

    TIPSY (Gupta et al. 2024) fits the position and the velocity of the start and knows no rotation axis. Any axis in the
    plane of the orbit's angular momentum and of the start gives the same trajectory, so one of them has to be chosen: by
    ``theta0``.

    Parameters
    ----------
    start : dict or row of a table
        A row of TIPSY's table of fits: ``x0``, ``y0`` and ``z0``, the offsets to the east, to the north and away from the
        observer (au), ``vxy0`` and ``vxy_ang0``, the speed on the sky (km/s) and its angle from east to north (rad), ``vz0``,
        the velocity away from the observer, relative to the star (km/s), and ``Ms_val``, the mass (Msun); Quantities, or
        numbers in these units. Anything else is ignored.
    theta0 : `~astropy.units.Quantity` or float, optional
        Polar angle of the start. The default takes the axis of the orbit itself as that of the rotation, which is a choice
        and no measurement.

    Returns
    -------
    dict
        ``r0``, ``theta0``, ``phi0``, ``v_r0``, ``omega``, ``mass``, ``inc`` and ``pa`` as Quantities.

    Raises
    ------
    ValueError
        If something is missing or not finite, if the start moves outwards or straight to the star, or if with this ``theta0``
        the centrifugal radius lies beyond it.
    `~astropy.units.UnitsError`
        If a unit cannot be converted.

    See Also
    --------
    to_tipsy : The inverse.

    References
    ----------
    Gupta et al. 2024, A&A 683, A133, doi:10.1051/0004-6361/202348007

    Examples
    --------
    >>> start = dict(x0=900.0, y0=-1200.0, z0=800.0, vxy0=0.8, vxy_ang0=2.0, vz0=-0.6, Ms_val=2.0)
    >>> params = from_tipsy(start, theta0=70 * u.deg)
    >>> print(params["inc"].round(3), params["pa"].round(3))
    49.659 deg 51.458 deg
    """
    position, velocity, mass = _state(start)
    theta0 = _supported("theta0", theta0)
    r0, momentum = np.linalg.norm(position), np.cross(position, velocity)
    if not np.linalg.norm(momentum) > 0:
        refuse("start", "turn about the star", "a motion along the radius", "The model needs an angular momentum.")
    h = np.linalg.norm(momentum)
    axis = math.sin(theta0) * momentum / h + math.cos(theta0) * position / r0
    inc, pa = math.asin(min(max(axis[1], -1.0), 1.0)), math.atan2(-axis[0], axis[2])
    x, y, _ = np.asarray(rotation_matrix(inc, pa)).T @ position
    params = {"r0": r0, "theta0": theta0, "phi0": math.atan2(y, x), "v_r0": -float(position @ velocity) / r0}
    omega = (h / (r0**2 * math.sin(theta0)) * u.km / u.s / u.au).to_value(1 / u.s)
    params |= {"omega": omega, "mass": mass, "inc": inc, "pa": pa}
    check_parameters({}, params)
    return {name: to_quantity(name, value) for name, value in params.items()}


@in_float64
def to_tipsy(params):
    """Position and velocity of the start of a streamline as TIPSY writes them.

    Parameters
    ----------
    params : dict
        Every parameter of the model, as for `~sting.stream_lines_grad.streamline`.

    Returns
    -------
    dict
        ``x0``, ``y0``, ``z0`` (au), ``vxy0`` (km/s), ``vxy_ang0`` (rad), ``vz0`` (km/s) and ``Ms_val`` (Msun) as
        Quantities; see `from_tipsy`.

    Raises
    ------
    ValueError
        If a parameter is missing, unknown, or outside its support.
    `~astropy.units.UnitsError`
        If a unit cannot be converted.

    References
    ----------
    Gupta et al. 2024, A&A 683, A133, doi:10.1051/0004-6361/202348007

    Examples
    --------
    >>> from sting.synthetic import TRUTH
    >>> for name, value in to_tipsy(TRUTH).items():
    ...     print(name, value.round(3))
    x0 448.68 AU
    y0 -2760.653 AU
    z0 132.209 AU
    vxy0 0.347 km / s
    vxy_ang0 2.243 rad
    vz0 0.05 km / s
    Ms_val 4.0 solMass
    """
    _, given = check_parameters({}, params)
    name, r0, t, p = rotation_name(given), given["r0"], given["theta0"], given["phi0"]
    omega = float(omega_from(mu_from(name, given[name], r0, given["mass"]), r0, given["mass"]))
    turn = np.asarray(rotation_matrix(given["inc"], given["pa"]))
    radial = turn @ [math.sin(t) * math.cos(p), math.sin(t) * math.sin(p), math.cos(t)]
    across = turn @ [-math.sin(p), math.cos(p), 0.0]
    speed = (omega * r0 * math.sin(t) * u.au / u.s).to_value(u.km / u.s)
    (west, away, north), (v_west, v_away, v_north) = r0 * radial, speed * across - given["v_r0"] * radial
    values = [-west, north, away, math.hypot(v_west, v_north), math.atan2(v_north, -v_west), v_away, given["mass"]]
    return {column: value * unit for (column, unit), value in zip(TIPSY.items(), values, strict=True)}


def _degrees(name, value):
    """Read an angle that is no parameter of the model, in deg."""
    try:
        angle = u.Quantity(value, None if hasattr(value, "unit") else u.rad, dtype=float).to_value(u.deg)
    except u.UnitsError:
        refuse(name, "be an angle", value, "Change its unit.", u.UnitsError)
    except TypeError:
        refuse(name, "be an angle", repr(value), "Write for example 30 * u.deg.", TypeError)
    if angle.ndim or not np.isfinite(angle):
        refuse(name, "be one finite angle", value, "Write for example 30 * u.deg.")
    return float(angle)


def _tilt(inclination, most):
    """Inclination less 90 deg: the axis' tilt away from the observer (deg), whose sign means something only if positive."""
    degrees = _degrees("inclination", inclination)
    tilt = degrees - 90 if abs(degrees - 90) > EDGE_ON else 0.0
    if not 0 < degrees < 180 or (most == 90 and tilt > 0):
        allowed = "between 0 and 180 deg" if most == 180 else "above 0 and up to 90 deg"
        refuse("inclination", f"lie {allowed}", f"{degrees:g} deg", "90 deg is edge-on; a bare number is in radians.")
    return tilt


def _one_of(given):
    """Return in deg the only one of two position angles that is not None."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        refuse(
            " or ".join(given),
            "be given, exactly one of them",
            "both" if names else "none",
            "The second is for a line of unknown sense.",
        )
    return _degrees(names[0], given[names[0]])


def _near_side(tilt, pa):
    """Position angle (deg) of the disk's near side: there the disk rises to the observer as the axis tilts away."""
    return pa if tilt > 0 else pa + 180


def _apart(first, second):
    """Angle (deg, 0 to 180) between two position angles."""
    return abs((first - second + 180) % 360 - 180)


def _matching(tilt, directions, pa_near, rotation):
    """Find the axes, pointing to one of two opposite ``directions`` (deg), that agree with everything else that is known."""
    near = None if pa_near is None else _degrees("pa_near", pa_near)
    if rotation is not None:
        check_choice("rotation", rotation, tuple(ROTATION.values()))
    for name, value in (("pa_near", pa_near), ("rotation", rotation)):
        if value is not None and not tilt:
            refuse(name, "be left out of what is seen edge-on", value, "Drop it, or correct the inclination.")
    if near is not None and NEAR_SIDE < _apart(near, directions[0]) < 180 - NEAR_SIDE:
        refuse("pa_near", "lie across the major axis", pa_near, "Give the position angle of the nearer end of the minor axis.")
    # an inclination above 90 deg has the sign already
    tilts = [tilt] if tilt > 0 else sorted({tilt, -tilt})
    axes = [(t, pa) for pa in directions for t in tilts]
    if rotation is not None:
        axes = [(t, pa) for t, pa in axes if ROTATION[np.sign(t)] == rotation]
    if near is not None:
        axes = [(t, pa) for t, pa in axes if _apart(near, _near_side(t, pa)) <= NEAR_SIDE]
    if not axes:
        refuse(
            "inclination, position angles and rotation",
            "describe one disk",
            "a contradiction",
            "Drop the one that is least sure: two of the redshifted side, the near side and the rotation give the third.",
        )
    return [{"inc": t * u.deg, "pa": _position_angle(pa)} for t, pa in axes]


def _axis(inc, pa):
    """Return inclination and position angle of an axis in deg, edge-on to rounding being 0."""
    tilt, pa = math.degrees(_supported("inc", inc)), math.degrees(to_internal("pa", pa))
    return (tilt if abs(tilt) > EDGE_ON else 0.0), pa


def _supported(name, value):
    """Return a parameter in its internal unit after its support was checked."""
    internal, p = to_internal(name, value), PARAMETERS[name]
    if not p.holds(internal):
        refuse(name, p.rule, value, f"It is the {p.description}.")
    return internal


def _position_angle(degrees):
    """Quantity of an angle between 0 and 360 deg."""
    # twice, for -1e-15 % 360 is 360
    return degrees % 360 % 360 * u.deg


def _state(start):
    """Position (au) and velocity (km/s) along west, away and north, and mass (Msun), of a row of TIPSY's table."""
    if not hasattr(start, "items"):
        refuse("start", "be a dict or a row of a table", repr(start), "Give a row of TIPSY's table of fits.", TypeError)
    values = {name: _number(start, name, unit) for name, unit in TIPSY.items()}
    east, north, away, speed, angle, v_away, mass = values.values()
    position = np.array([-east, away, north])
    return position, np.array([-speed * math.cos(angle), v_away, speed * math.sin(angle)]), mass


def _number(start, name, unit):
    """Return a column of a row of TIPSY's table in TIPSY's unit."""
    if name not in start:
        refuse("start", f"hold {', '.join(TIPSY)}", f"no {name!r}", "Give a row of TIPSY's table of fits.")
    value, called = start[name], f"start[{name!r}]"
    try:
        number = u.Quantity(value, unit, dtype=float).value
    except u.UnitsError:
        refuse(called, f"have a unit convertible to {unit}", value, "Change its unit.", u.UnitsError)
    except TypeError:
        refuse(called, "be one finite number", repr(value), "Give a number or a scalar Quantity.", TypeError)
    if number.ndim or not np.isfinite(number):
        refuse(called, "be one finite number", value, "Give a number or a scalar Quantity.")
    return float(number)
