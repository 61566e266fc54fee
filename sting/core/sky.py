"""From the rotation frame to the sky: the only place with sign conventions.

The observer's axes are x' to the west, y' away from the observer and z' to the north; hence the right ascension offset is -x'/d,
the declination offset z'/d and the line-of-sight velocity v_y' + v_lsr. ``pa`` is the position angle (east of north) of the
projected rotation axis, and ``inc`` > 0 tilts that axis away from the observer; ``inc`` = 0 is a disk seen edge-on.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.orbit import Orbit, Scalar, make_orbit, plane_state

Path = dict[str, Float[Array, "..."]]


def rotation_matrix(inc: Scalar, pa: Scalar) -> Float[Array, "3 3"]:
    """Matrix that turns rotation-frame vectors (x, y, z) into (x', y', z')."""
    sin_i, cos_i = jnp.sin(inc), jnp.cos(inc)
    sin_p, cos_p = jnp.sin(pa), jnp.cos(pa)
    zero = jnp.zeros_like(sin_i)
    return jnp.stack(
        [
            jnp.stack([cos_p, sin_p * sin_i, -sin_p * cos_i]),
            jnp.stack([zero, cos_i, sin_i]),
            jnp.stack([sin_p, -cos_p * sin_i, cos_p * cos_i]),
        ]
    )


def make_path(
    *,
    r0: Scalar,
    theta0: Scalar,
    phi0: Scalar,
    v_r0: Scalar,
    mu: Scalar,
    mass: Scalar,
    inc: Scalar,
    pa: Scalar,
    rmin: Scalar,
    v_lsr: Scalar,
    distance: Scalar,
) -> Path:
    """Return the constants of a trajectory as it is seen on the sky: those of its orbit, turned, and the observer's."""
    orbit = make_orbit(r0=r0, theta0=theta0, phi0=phi0, v_r0=v_r0, mu=mu, mass=mass, rmin=rmin)
    return orbit | {
        "axes": rotation_matrix(inc, pa) @ orbit["axes"],
        "v_lsr": jnp.asarray(v_lsr),
        # x' is west and right ascension grows to the east; an au at a parsec is an arcsec
        "to_sky": jnp.stack([-1 / jnp.asarray(distance), 1.0, 1 / jnp.asarray(distance)]),
    }


def observe(path: Path, w: Float[Array, "*n"]) -> tuple[Float[Array, "*n 3"], ...]:
    """RA offset (arcsec), Dec offset (arcsec) and velocity (km/s) at ``w``, and their first and second derivatives."""
    state = plane_state(path, w)
    (west_r, west_p), (away_r, away_p), (north_r, north_p) = path["axes"] * path["to_sky"][:, None]

    def project(position, velocity, v_zero):
        return jnp.stack(
            [
                west_r * position[0] + west_p * position[1],
                north_r * position[0] + north_p * position[1],
                away_r * velocity[0] + away_p * velocity[1] + v_zero,
            ],
            axis=-1,
        )

    return (
        project(state.position, state.velocity, path["v_lsr"]),
        project(state.d_position, state.d_velocity, 0.0),
        project(state.dd_position, state.dd_velocity, 0.0),
    )


def position_and_velocity(path: Path, w: Float[Array, "*n"]) -> tuple[Float[Array, "*n 3"], Float[Array, "*n 3"]]:
    """Position (au) and velocity (km/s, without v_lsr) in the axes x' (west), y' (away), z' (north)."""
    state = plane_state(path, w)
    position, velocity = jnp.stack(state.position, axis=-1), jnp.stack(state.velocity, axis=-1)
    return position @ path["axes"].T, velocity @ path["axes"].T


def sample_w(orbit: Orbit, n_points: int) -> Float[Array, " n_points"]:
    """``n_points`` coordinates from the start to the inner end."""
    return jnp.linspace(0.0, 1.0, n_points) * orbit["w_end"]
