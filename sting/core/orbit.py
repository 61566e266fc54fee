"""The ballistic trajectory of Mendoza et al. (2009) in the rotation frame.

Material starts at radius ``r0`` in the direction ``r^`` (polar angle theta0, azimuth phi0), moving inwards at ``v_r0`` and along
``p^`` at ``omega r0 sin(theta0)``. Its path is a Kepler conic in the plane of ``r^`` and ``p^``. With lam = mu sin(theta0)^2 =
l/r0, nu = v_r0 / sqrt(G M / r0) and a the angle swept from the start,

    r0 / r = [1 - (1 - lam) cos a + nu sqrt(lam) sin a] / lam .

Both a and lam vanish together on the rotation axis, so neither is a good coordinate along the path. We use the half-angle
coordinate w,

    tan(a/2) = k tan(w),   k = sqrt(lam) K,   K = 1 / (nu + sqrt(nu^2 + 2 - lam)),

in which every factor sin(theta0) cancels: r/r0 = D/N with D = cos^2 w + k^2 sin^2 w and
N = cos^2 w + 2 nu K sin w cos w + (2 - lam) K^2 sin^2 w. For v_r0 = 0, w is half the eccentric anomaly counted from apastron; for
fast infall it makes r/r0 nearly linear in w. All functions below are smooth on the whole domain, on the axis included.

References
----------
Mendoza, Tejeda & Nagel 2009, MNRAS 393, 579, doi:10.1111/j.1365-2966.2008.14210.x
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.constants import GAUSS_NODES, GAUSS_WEIGHTS, GM_SUN, YEAR_PER_AU_KMS

Scalar = Float[Array, ""] | float
Orbit = dict[str, Float[Array, "..."]]
Rate = Callable[[Float[Array, "..."]], Float[Array, "..."]]

#: The inner end is kept this far inside the start, whatever ``rmin`` says, so that a path always has a length.
LARGEST_RMIN = 0.999


class PlaneState(NamedTuple):
    """Where the material is and how fast, in the orbital plane; each field is a pair (along r^, along p^)."""

    position: tuple[Float[Array, "*n"], Float[Array, "*n"]]
    velocity: tuple[Float[Array, "*n"], Float[Array, "*n"]]
    d_position: tuple[Float[Array, "*n"], Float[Array, "*n"]]
    d_velocity: tuple[Float[Array, "*n"], Float[Array, "*n"]]
    dd_position: tuple[Float[Array, "*n"], Float[Array, "*n"]]
    dd_velocity: tuple[Float[Array, "*n"], Float[Array, "*n"]]


def make_orbit(
    *,
    r0: Scalar,
    theta0: Scalar,
    phi0: Scalar,
    v_r0: Scalar,
    mu: Scalar,
    mass: Scalar,
    rmin: Scalar,
) -> Orbit:
    """Return the constants of one trajectory, from which every point of it follows.

    ``w_end`` is the coordinate of the inner end, where r = max(rmin, rc/2, periastron).
    """
    sin_t, cos_t = jnp.sin(theta0), jnp.cos(theta0)
    sin_p, cos_p = jnp.sin(phi0), jnp.cos(phi0)
    speed = jnp.sqrt(GM_SUN * mass / r0)
    nu = v_r0 / speed
    root_lam = sin_t * jnp.sqrt(mu)
    lam = root_lam**2
    kappa = 1 / (nu + jnp.sqrt(nu**2 + 2 - lam))
    eccentricity = jnp.sqrt((1 - lam) ** 2 + lam * nu**2)
    periastron = lam * r0 / (1 + eccentricity)

    r_stop = jnp.maximum(jnp.minimum(rmin, LARGEST_RMIN * r0), mu * r0 / 2)
    ends_at_periastron = periastron >= r_stop
    r_end = jnp.where(ends_at_periastron, periastron, r_stop)
    rho = r0 / r_end
    # (v_r / speed)^2 at the inner end; exactly zero at periastron, where rounding could make it negative.
    v_r_squared = nu**2 + (rho - 1) * (2 - lam * (rho + 1))
    safe = jnp.where(ends_at_periastron, 1.0, jnp.maximum(v_r_squared, 1e-20))
    v_r_end = jnp.where(ends_at_periastron, 0.0, jnp.sqrt(safe))
    return {
        "r0": jnp.asarray(r0),
        "mass": jnp.asarray(mass),
        "mu": jnp.asarray(mu),
        "speed": speed,
        "nu": nu,
        "root_lam": root_lam,
        "lam": lam,
        "kappa": kappa,
        "eccentricity": eccentricity,
        "periastron": periastron,
        "r_end": r_end,
        "w_end": jnp.arctan2(rho - 1, kappa * (nu + v_r_end)),
        # columns r^ and p^, the axes of the orbital plane
        "axes": jnp.stack(
            [
                jnp.stack([sin_t * cos_p, sin_t * sin_p, cos_t]),
                jnp.stack([-sin_p, cos_p, jnp.zeros_like(sin_p)]),
            ],
            axis=-1,
        ),
    }


def plane_state(orbit: Orbit, w: Float[Array, "*n"]) -> PlaneState:
    """Position (au) and velocity (km/s) along r^ and p^, and their first and second derivatives with respect to ``w``.

    The velocity is the hodograph, a circle, in a form that is regular on the axis; the derivatives are velocity and gravity times
    dt/dw.
    """
    c, s = jnp.cos(w), jnp.sin(w)
    kappa, speed = orbit["kappa"], orbit["speed"]
    k = orbit["root_lam"] * kappa
    c2, k2s2, ks2 = c * c, (k * s) ** 2, (kappa * s) ** 2
    twice_sc = 2 * s * c
    d = c2 + k2s2
    n = c2 + orbit["nu"] * kappa * twice_sc + (2 - orbit["lam"]) * ks2
    position = orbit["r0"] * (c2 - k2s2) / n, orbit["r0"] * k * twice_sc / n
    velocity = -speed * (orbit["nu"] + kappa * twice_sc / d), speed * orbit["root_lam"] * (1 - 2 * ks2 / d)
    dt = 2 * kappa * orbit["r0"] / speed * d / n**2
    pull = -2 * kappa * speed / d**2
    x, y = c2 - k2s2, k * twice_sc
    d_velocity = pull * x, pull * y
    twice_cos = 2 * (c2 - s * s)
    d_d = (k * k - 1) * twice_sc
    d_n = -twice_sc + orbit["nu"] * kappa * twice_cos + (2 - orbit["lam"]) * kappa**2 * twice_sc
    log_dt, log_pull = d_d / d - 2 * d_n / n, -2 * d_d / d
    return PlaneState(
        position,
        velocity,
        (velocity[0] * dt, velocity[1] * dt),
        d_velocity,
        ((d_velocity[0] + velocity[0] * log_dt) * dt, (d_velocity[1] + velocity[1] * log_dt) * dt),
        (pull * (log_pull * x - (1 + k * k) * twice_sc), pull * (log_pull * y + k * twice_cos)),
    )


def w_of_radius(orbit: Orbit, r: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Coordinate of the incoming point at radius ``r`` (au), clipped to periastron <= r <= r0."""
    rho = orbit["r0"] / jnp.clip(r, orbit["periastron"], orbit["r0"])
    v_r_squared = orbit["nu"] ** 2 + (rho - 1) * (2 - orbit["lam"] * (rho + 1))
    positive = v_r_squared > 0
    v_r = jnp.where(positive, jnp.sqrt(jnp.where(positive, v_r_squared, 1.0)), 0.0)
    # at the start itself (rho = 1) with v_r0 = 0 the angle is 0, not atan2(0, 0)
    at_start = rho <= 1
    return jnp.where(
        at_start,
        0.0,
        jnp.arctan2(jnp.where(at_start, 0.0, rho - 1), jnp.where(at_start, 1.0, orbit["kappa"] * (orbit["nu"] + v_r))),
    )


def w_of_midplane(orbit: Orbit) -> Float[Array, ""]:
    """Coordinate at which the path, continued if need be, crosses the disk midplane (a = 90 deg)."""
    return jnp.arctan2(1.0, orbit["root_lam"] * orbit["kappa"])


def w_of_periastron(orbit: Orbit) -> Float[Array, ""]:
    """Coordinate of the periastron of the orbit, whether or not the path ends before it.

    There tan(a/2) = (1 - lam + e) / (nu sqrt(lam)), of which k takes the factor that vanishes on the axis.
    """
    return jnp.arctan2(1 - orbit["lam"] + orbit["eccentricity"], orbit["nu"] * orbit["lam"] * orbit["kappa"])


def integrate(rate: Rate, w_from: Float[Array, "*n"], w_to: Float[Array, "*n"], panels: int = 64) -> Float[Array, "*n"]:
    """Integral of ``rate`` over the coordinate, by Gauss-Legendre quadrature on equal panels."""
    edges = jnp.linspace(w_from, w_to, panels + 1)
    half = (edges[1:] - edges[:-1]) / 2
    middle = (edges[1:] + edges[:-1]) / 2
    nodes = jnp.asarray(GAUSS_NODES).reshape((-1,) + (1,) * half.ndim)
    weights = jnp.asarray(GAUSS_WEIGHTS).reshape(nodes.shape)
    integral = jnp.sum(weights * rate(middle + half * nodes), axis=0) * half
    return jnp.sum(integral, axis=0)


def _shape(orbit, w):
    """D and N of r/r0 = D/N."""
    c, s = jnp.cos(w), orbit["kappa"] * jnp.sin(w)
    d = c**2 + orbit["lam"] * s**2
    return d, c**2 + 2 * orbit["nu"] * s * c + (2 - orbit["lam"]) * s**2


def duration(orbit: Orbit, w_from: Float[Array, "*n"], w_to: Float[Array, "*n"], panels: int = 64) -> Float[Array, "*n"]:
    """Time (yr) that the material takes from ``w_from`` to ``w_to``.

    Gauss-Legendre quadrature of dt = r^2/h da = (2 K r0 / speed) D/N^2 dw: it needs no case for the kind of conic and is
    smooth where closed forms are not (parabolic speed, radial infall).
    """

    def rate(w):
        d, n = _shape(orbit, w)
        return d / n**2

    unit = 2 * orbit["kappa"] * orbit["r0"] / orbit["speed"] * YEAR_PER_AU_KMS
    return unit * integrate(rate, w_from, w_to, panels)


def arc_length(orbit: Orbit, w_from: Float[Array, "*n"], w_to: Float[Array, "*n"], panels: int = 64) -> Float[Array, "*n"]:
    """Length (au) of the path from ``w_from`` to ``w_to``: the speed, which the energy gives, integrated over time."""

    def rate(w):
        d, n = _shape(orbit, w)
        c, s = jnp.cos(w), orbit["kappa"] * jnp.sin(w)
        # N - D without the cancellation at the start
        fallen = 2 * orbit["nu"] * s * c + 2 * (1 - orbit["lam"]) * s**2
        return jnp.sqrt(d * ((orbit["nu"] ** 2 + orbit["lam"]) * d + 2 * fallen)) / n**2

    return 2 * orbit["kappa"] * orbit["r0"] * integrate(rate, w_from, w_to, panels)


def invariants(orbit: Orbit) -> dict[str, Float[Array, ""]]:
    """Return the orbit's own elements: what a PPV fit measures whatever the rotation axis.

    Energy (km/s)^2, angular momentum (au km/s), lengths in au.
    """
    gm = GM_SUN * orbit["mass"]
    transverse = orbit["speed"] * orbit["root_lam"]
    semi_latus_rectum = orbit["lam"] * orbit["r0"]
    return {
        "energy": ((orbit["nu"] * orbit["speed"]) ** 2 + transverse**2) / 2 - gm / orbit["r0"],
        "angular_momentum": orbit["r0"] * transverse,
        "eccentricity": orbit["eccentricity"],
        "semi_latus_rectum": semi_latus_rectum,
        "periastron": orbit["periastron"],
        "rc": orbit["mu"] * orbit["r0"],
        "landing_radius": semi_latus_rectum / (1 + orbit["nu"] * orbit["root_lam"]),
    }
