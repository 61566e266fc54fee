"""Optimiser coordinates: every parameter in units of its bounds, 0 at the lower one and 1 at the upper one.

A soft corner, whose sharpness each support states, bends the coordinate at a bound so that the bound is approached and never
passed. L-BFGS needs wide corners, over which the loss is smooth. The others get sharp ones, and their coordinates are kept within
the bounds, so that they can leave a bound as easily as they came. Periodic parameters have no corner: their coordinate just runs
on.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.constants import GM_SUN, HERTZ_PER_KMS_AU
from sting.programs import program

#: A start closer to a bound than this fraction of the range is moved to this distance, where the slope is not zero.
START_MARGIN = 1e-5

#: Largest mu = rc/r0: beyond 1 the start would be the periastron and nothing would fall.
LARGEST_MU = 1 - 1e-6

Support = dict[str, Float[Array, " n"]]


def _corner(x, sharpness):
    # softplus, written out; as it stands its slope is 1/2 on either side of 0 and 0 exactly there
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-sharpness * jnp.abs(x))) / sharpness


@program(static=())
def to_parameters(x: Float[Array, " n"], support: Support) -> Float[Array, " n"]:
    """Parameter values at the optimiser coordinates ``x``.

    ``support`` holds ``offset``, ``scale``, the ``sharpness`` of the corners, and the 0/1 arrays ``has_lower`` and ``has_upper``,
    which say where a bound is.
    """
    y = jnp.where(support["has_lower"] > 0, _corner(x, support["sharpness"]), x)
    y = y - jnp.where(support["has_upper"] > 0, _corner(x - 1, support["sharpness"]), 0.0)
    return support["offset"] + support["scale"] * y


@program(static=())
def to_coordinates(values: Float[Array, " n"], support: Support) -> Float[Array, " n"]:
    """Inverse of `to_parameters`; values on a bound are first moved inside by `START_MARGIN`."""
    y = (values - support["offset"]) / support["scale"]
    lower, upper = support["has_lower"] > 0, support["has_upper"] > 0
    y = jnp.where(lower, jnp.maximum(y, START_MARGIN), y)
    y = jnp.where(upper, jnp.minimum(y, 1 - START_MARGIN), y)

    def bend(distance):
        return jnp.log(-jnp.expm1(-support["sharpness"] * distance)) / support["sharpness"]

    return y + jnp.where(lower, bend(jnp.where(lower, y, 1.0)), 0.0) - jnp.where(upper, bend(jnp.where(upper, 1 - y, 1.0)), 0.0)


def limits(support: Support) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Smallest and largest coordinates: ``inset`` inside the bounds where ``projected`` asks for it, infinite elsewhere.

    Off the corner's very tip the slope is a half, so that the gradient can bring a parameter back. With ``inset`` = 0 it is zero
    on a lower bound, as in STING, where only the momentum of Adam does.
    """
    low = jnp.where(support["projected"] * support["has_lower"] > 0, support["inset"], -jnp.inf)
    high = jnp.where(support["projected"] * support["has_upper"] > 0, 1 - support["inset"], jnp.inf)
    return low, high


def project(x: Float[Array, " n"], support: Support) -> Float[Array, " n"]:
    """Coordinates beyond their `limits` moved onto them."""
    return jnp.clip(x, *limits(support))


def mu_from(rotation: str, value, r0, mass):
    """Return mu = rc/r0 from the rotation parameter that is given: ``"mu"``, ``"rc"`` (au) or ``"omega"`` (1/s)."""
    if rotation == "mu":
        return value
    if rotation == "rc":
        return value / r0
    return r0**3 * (value / HERTZ_PER_KMS_AU) ** 2 / (GM_SUN * mass)


def omega_from(mu, r0, mass):
    """Angular speed at r0 (1/s)."""
    return jnp.sqrt(mu * GM_SUN * mass / r0**3) * HERTZ_PER_KMS_AU


def wrap(difference, period):
    """Difference brought into [-period/2, period/2); unchanged where ``period`` is 0."""
    safe = jnp.where(period > 0, period, 1.0)
    return difference - period * jnp.round(difference / safe)
