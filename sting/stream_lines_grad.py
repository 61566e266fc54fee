"""The forward model for users: parameters with units in, a `Streamline` out."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u

from sting.core import orbit as core_orbit
from sting.core import sky
from sting.core.likelihood import MODEL_PARAMETERS, path_of
from sting.core.transforms import mu_from
from sting.messages import check_whole, in_float64, named_keywords
from sting.parameters import check_distance, check_parameters, rotation_name
from sting.programs import program

__all__ = ["Streamline", "streamline"]


#: Points of a streamline, unless told otherwise.
DRAWN = 200


@dataclass(frozen=True, eq=False)
class Streamline:
    """A model streamline of n points, from the outer end inwards.

    Attributes
    ----------
    ra, dec : `~astropy.units.Quantity`
        Offsets from the star on the sky (arcsec), shape (n,); ``ra`` is a true angle, positive to the east.
    velocity : `~astropy.units.Quantity`
        Line-of-sight velocity, v_lsr included (km/s), shape (n,).
    position : `~astropy.units.Quantity`
        Position along the axes west, away from the observer, north (au), shape (n, 3).
    velocity_xyz : `~astropy.units.Quantity`
        Velocity along the same axes, relative to the star (km/s), shape (n, 3).
    radius : `~astropy.units.Quantity`
        Distance from the star (au), shape (n,).
    time : `~astropy.units.Quantity`
        Time since the start (yr), shape (n,).
    """

    ra: u.Quantity
    dec: u.Quantity
    velocity: u.Quantity
    position: u.Quantity
    velocity_xyz: u.Quantity
    radius: u.Quantity
    time: u.Quantity

    def __len__(self):
        return len(self.ra)


@program(static=("n_points",))
def sample_path(parameters, distance, n_points):
    """What a `Streamline` of a dict of parameters of the core holds, as plain arrays."""  # numpydoc ignore=PR01
    path = path_of(parameters, distance)
    w = sky.sample_w(path, n_points)
    position, velocity = sky.position_and_velocity(path, w)
    # enough quadrature panels that the times do not depend on how many points are asked for
    steps = core_orbit.duration(path, w[:-1], w[1:], panels=max(1, 512 // n_points))
    return {
        "observed": sky.observe(path, w)[0],
        "position": position,
        "velocity": velocity,
        "radius": jnp.linalg.norm(position, axis=-1),
        "time": jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps)]),
    }


@named_keywords
@in_float64
def streamline(params, *, distance, n_points=DRAWN):
    """Compute the streamline of Mendoza et al. (2009) for one set of parameters.

    Parameters
    ----------
    params : dict
        Every parameter of the model as a Quantity, or a number in the internal unit (see `~sting.parameters.PARAMETERS`);
        exactly one of ``omega``, ``rc`` and ``mu``. ``rmin``, ``v_lsr`` and ``deltar`` may be left out.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    n_points : int, optional
        Number of points, at least 2. They are closer together near both ends.

    Returns
    -------
    `Streamline`

    Raises
    ------
    ValueError
        If a parameter is missing, unknown, or outside its support.
    `~astropy.units.UnitsError`
        If a unit cannot be converted.

    References
    ----------
    Mendoza, Tejeda & Nagel 2009, MNRAS 393, 579, doi:10.1111/j.1365-2966.2008.14210.x

    Examples
    --------
    >>> from astropy import units as u
    >>> path = streamline(
    ...     dict(r0=3000 * u.au, theta0=60 * u.deg, phi0=40 * u.deg, v_r0=0.2 * u.km / u.s, rc=100 * u.au,
    ...          mass=1 * u.Msun, inc=-30 * u.deg, pa=120 * u.deg),
    ...     distance=140 * u.pc, n_points=5)
    >>> print(path.radius.round(1))
    [3000.  2391.5 1573.5  664.4   50. ] AU
    """
    _, given = check_parameters({}, params)
    n_points = check_whole("n_points", n_points, 2, 200)
    name = rotation_name(given)
    given["mu"] = mu_from(name, given[name], given["r0"], given["mass"])
    values = {name: np.float64(given[name]) for name in MODEL_PARAMETERS}
    found = jax.device_get(sample_path(values, np.float64(check_distance(distance)), n_points))
    ra, dec, velocity = found["observed"].T
    return Streamline(
        ra=ra * u.arcsec,
        dec=dec * u.arcsec,
        velocity=velocity * u.km / u.s,
        position=found["position"] * u.au,
        velocity_xyz=found["velocity"] * u.km / u.s,
        radius=found["radius"] * u.au,
        time=found["time"] * u.yr,
    )
