"""What surrounds a protostar besides a streamer, as samples of optically thin emission: disk, envelope and outflow.

Each function returns positions (3, n) in au and velocities (3, n) in km/s in the frame of rotation, z being the axis, and the
flux of each sample. They fill space evenly, without chance: a model has no noise of its own.
"""

import numpy as np

from sting.core.constants import GM_SUN
from sting.core.sky import rotation_matrix
from sting.messages import in_float64

__all__ = []

#: Samples of a component.
N_SAMPLES = 500_000

#: The disk begins at this part of its radius.
INNER_EDGE = 0.05

#: Thickness of the shell of the outflow, as a part of its radius.
SHELL = 0.2

#: Emission fades with the square of the distance in the exponent, and is left out beyond so many scales.
FADED = 2.5


def disk(*, mass, radius):
    """Thin disk in Keplerian rotation, whose surface brightness goes with 1/r."""
    u_r, u_phi = _evenly(2)
    r = radius * (INNER_EDGE + (1 - INNER_EDGE) * u_r)
    speed, zero = np.sqrt(GM_SUN * mass / r), np.zeros_like(r)
    return _turned(np.array([r, zero, zero]), u_phi), _turned(np.array([zero, speed, zero]), u_phi), np.ones_like(r)


def envelope(*, mass, rc, radius):
    """Rotating, infalling envelope: the orbits of Mendoza et al. (2009) from rest on a sphere that turns like a solid body.

    Its gas lands in the midplane within the centrifugal radius ``rc``. The mass that starts from a place per time goes with the
    fourth power of the sine of its polar angle, so that the poles are thin. The emission goes with the density, times
    exp(-(2 r/radius)^2).

    References
    ----------
    Mendoza, Tejeda & Nagel 2009, MNRAS 393, 579, doi:10.1111/j.1365-2966.2008.14210.x
    """
    u_theta, u_phi, u_w = _evenly(3)
    cos_0 = 2 * u_theta - 1
    sin_0 = np.sqrt(1 - cos_0**2)
    # the coordinate of sting.core.orbit, from the start to the midplane; without radial speed at the start it is simple
    lam = rc / radius * sin_0**2
    k = np.sqrt(lam / (2 - lam))
    w_end = np.arctan2(1, k)
    sin, cos = np.sin(u_w * w_end), np.cos(u_w * w_end)
    shrunk = cos**2 + (k * sin) ** 2
    speed = np.sqrt(GM_SUN * mass / radius)
    along, across = radius * (cos**2 - (k * sin) ** 2), radius * 2 * k * sin * cos
    v_along = -speed * 2 * sin * cos / np.sqrt(2 - lam) / shrunk
    v_across = speed * np.sqrt(lam) * (1 - 2 / (2 - lam) * sin**2 / shrunk)
    # time goes with shrunk dw
    flux = sin_0**4 * shrunk * w_end / np.sqrt(2 - lam) * np.exp(-((2 * shrunk) ** 2))
    position, velocity = (np.array([a * sin_0, b, a * cos_0]) for a, b in ((along, across), (v_along, v_across)))
    return _turned(position, u_phi), _turned(velocity, u_phi), flux


def outflow(*, length, opening, speed):
    """Two paraboloid shells about the axis whose velocity grows with the distance, as a wide-angle wind drives them.

    At the height ``length`` they have the half opening angle ``opening`` (rad) as seen from the star, and the velocity ``speed``
    along the axis. The emission goes with the circumference, times exp(-(z/length)^2).

    References
    ----------
    Lee et al. 2000, ApJ 542, 925, doi:10.1086/317056
    """
    u_z, u_phi, u_shell = _evenly(3)
    z = length * FADED * (2 * u_z - 1)
    rho = length * np.tan(opening) * np.sqrt(np.abs(z) / length) * (1 + SHELL * (u_shell - 0.5))
    position = _turned(np.array([rho, np.zeros_like(z), z]), u_phi)
    return position, position * (speed / length), rho * np.exp(-((z / length) ** 2))


@in_float64
def on_the_sky(component, given, distance):
    """RA and Dec offset (arcsec), velocity (km/s) and flux of the samples of a component, ``given`` inc, pa (rad) and v_lsr."""
    position, velocity, flux = component
    west, away, north = np.asarray(rotation_matrix(given["inc"], given["pa"]))
    return -west @ position / distance, north @ position / distance, away @ velocity + given["v_lsr"], flux


def _evenly(n_dimensions):
    """Numbers in [0, 1) that fill a unit cube evenly: the additive recurrence of the generalized golden ratio."""
    golden = 2.0
    for _ in range(50):
        golden = (1 + golden) ** (1 / (n_dimensions + 1))
    return (0.5 + np.arange(N_SAMPLES) * golden ** -np.arange(1.0, n_dimensions + 1)[:, None]) % 1


def _turned(vectors, turns):
    """Vectors (3, n), each turned about the axis z by a part of a full turn."""
    x, y, z = vectors
    cos, sin = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    return np.array([x * cos - y * sin, x * sin + y * cos, z])
