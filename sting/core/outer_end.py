"""Streamlines that start where the data do: what is measured at the outer end of a streamer, turned into parameters."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.constants import GM_SUN
from sting.core.sky import rotation_matrix

Values = Float[Array, " m"]


def start_at(west: float, north: float, velocity: float, away: Values, mu: Values, mass: Values, inc: Values, pa: Values):
    """Parameters r0, theta0, phi0 and v_r0 of streamlines that start at a place with a velocity along the line of sight.

    ``west``, ``north`` and ``away`` (from the observer) are offsets from the star (au), ``velocity`` is relative to it (km/s).
    The inward speed is NaN where it would have to be negative.
    """
    west, north = west + 0 * away, north + 0 * away
    r0 = jnp.sqrt(west**2 + north**2 + away**2)
    rotation = rotation_matrix(inc, pa)
    x, y, z = jnp.einsum("ijm,im->jm", rotation, jnp.stack([west, away, north]) / r0)
    theta0, phi0 = jnp.arccos(jnp.clip(z, -1.0, 1.0)), jnp.arctan2(y, x)
    # the part of the velocity that is rotation, along (-sin phi0, cos phi0, 0), and what is left for the infall along -r^
    turning = jnp.sqrt(mu * GM_SUN * mass / r0) * jnp.sin(theta0)
    away_p = -rotation[1, 0] * jnp.sin(phi0) + rotation[1, 1] * jnp.cos(phi0)
    v_r0 = (turning * away_p - velocity) * r0 / away
    return {"r0": r0, "theta0": theta0, "phi0": phi0, "v_r0": jnp.where(v_r0 >= 0, v_r0, jnp.nan)}


def flip(theta0, phi0, inc, pa):
    """Return the same start with the opposite rotation about the same projected axis."""
    return {"theta0": jnp.pi - theta0, "phi0": jnp.pi - phi0, "inc": -inc, "pa": pa + jnp.pi}
