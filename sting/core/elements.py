"""What papers quote of an orbit: its elements, times, lengths, and where the path passes a given distance."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.constants import PC_PER_AU, YEAR_PER_AU_KMS
from sting.core.orbit import Orbit, arc_length, duration, invariants, w_of_midplane, w_of_periastron, w_of_radius
from sting.core.sky import Path, observe

#: Newton steps from a place known to a part in a thousand of the path.
_STEPS = 4


def places(orbit: Orbit) -> dict[str, Float[Array, ""]]:
    """Coordinates at which the orbit, continued beyond the inner end if need be, reaches what times are counted to.

    All three exist on every orbit: the periastron lies within rc, and rc within the start.
    """
    return {
        "rc": w_of_radius(orbit, orbit["mu"] * orbit["r0"]),
        "midplane": w_of_midplane(orbit),
        "periastron": w_of_periastron(orbit),
    }


def elements(orbit: Orbit) -> dict[str, Float[Array, ""]]:
    """All numbers of an orbit that a fit reports.

    Those of `sting.core.orbit.invariants`; the angular momentum also in km/s pc; times (yr) from the start; the free-fall time
    (yr) from rest at r0 to the centre, pi/2 sqrt(r0^3 / (2 G M)); the length (au) from the start to the inner end.
    """
    found = invariants(orbit)
    found["angular_momentum_pc"] = found["angular_momentum"] * PC_PER_AU
    at = places(orbit)
    ends = jnp.stack(list(at.values()))
    times = duration(orbit, jnp.zeros_like(ends), ends)
    found |= {f"time_to_{name}": times[i] for i, name in enumerate(at)}
    found["free_fall_time"] = math.pi / math.sqrt(8) * orbit["r0"] / orbit["speed"] * YEAR_PER_AU_KMS
    found["length"] = arc_length(orbit, jnp.zeros_like(orbit["w_end"]), orbit["w_end"])
    return found


def projected_distance(path: Path, w: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Projected distance from the star (arcsec) and its derivative with respect to ``w``."""
    place, change, _ = observe(path, w)
    distance = jnp.hypot(place[..., 0], place[..., 1])
    return distance, (place[..., 0] * change[..., 0] + place[..., 1] * change[..., 1]) / distance


def w_of_projected(path: Path, distance: Float[Array, "*n"], near: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Coordinate of the place ``near`` which the path is at the projected ``distance`` (arcsec), by Newton's method.

    Its derivatives with respect to the parameters are exact, since the last step carries them.
    """
    w = near
    for _ in range(_STEPS):
        found, slope = projected_distance(path, w)
        w = w - (found - distance) / slope
    return w
