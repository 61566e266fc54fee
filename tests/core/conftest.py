"""What the tests of the core share: double precision, random parameters and the statement of a fit."""

import jax
import numpy as np
import pytest
from astropy import constants
from astropy import units as u

from sting.core.transforms import mu_from
from sting.problem import state_model

DEGREE = np.pi / 180
LOG_LARGEST_MU = np.log10(0.98)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    """The core is used in double precision, which its callers switch on."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def gm_sun():
    """G Msun in au (km/s)^2, not taken from the package."""
    return (constants.G * constants.M_sun).to_value(u.au * u.km**2 / u.s**2)


@pytest.fixture(scope="session")
def draw_parameters(gm_sun):
    """Draw random parameter sets of `make_path`, as a dict of arrays of shape (n,)."""

    def draw(n, seed, *, theta0=(1, 179), log_mu=(-4, LOG_LARGEST_MU), speeds=3.0, r0=(100, 30000), mass=(0.05, 10)):
        rng = np.random.default_rng(seed)
        p = {
            "r0": 10 ** rng.uniform(*np.log10(r0), n),
            "theta0": rng.uniform(*theta0, n) * DEGREE,
            "phi0": rng.uniform(0, 2 * np.pi, n),
            # half of them uniform, half of them logarithmic
            "mu": np.where(rng.random(n) < 0.5, 10 ** rng.uniform(*log_mu, n), rng.uniform(*np.power(10.0, log_mu), n)),
            "mass": 10 ** rng.uniform(*np.log10(mass), n),
            "inc": rng.uniform(-89, 89, n) * DEGREE,
            "pa": rng.uniform(0, 2 * np.pi, n),
            "v_lsr": rng.normal(size=n),
            "distance": rng.uniform(100, 400, n),
        }
        # a fifth of them start from rest; a half of them reach down to the natural end, the others are cut
        kepler = np.sqrt(gm_sun * p["mass"] / p["r0"])
        p["v_r0"] = np.where(rng.random(n) < 0.2, 0.0, rng.uniform(0, speeds, n) * kepler)
        p["rmin"] = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0, 0.9, n) * p["r0"])
        return p

    return draw


@pytest.fixture(scope="session")
def truth():
    """A streamer like that of NGC 1333 IRAS 2A, in the units of the core."""
    p = {
        "r0": 2800.0,
        "theta0": 52 * DEGREE,
        "phi0": 60 * DEGREE,
        "v_r0": 0.3,
        "mass": 4.0,
        "inc": -45 * DEGREE,
        "pa": 194 * DEGREE,
        "rmin": 50.0,
        "v_lsr": 7.5,
    }
    return p | {"mu": float(mu_from("omega", 5.5e-13, p["r0"], p["mass"]))}


@pytest.fixture(scope="session")
def make_problem():
    """State a fit: the problem, the settings and the start of the core for points (n, 3) and their uncertainties.

    ``values`` holds the parameters in the units of the core, ``free`` the names of those that are optimised (by default all).
    """

    def make(values, points, sigma, *, free=None, distance=293.0, deltar=20.0, **options):
        start = {name: value for name, value in values.items() if free is None or name in free}
        fixed = {name: value for name, value in values.items() if name not in start} | {"deltar": deltar}
        problem, settings, x = state_model(start, fixed, distance, **options)
        return problem | {"points": np.asarray(points), "sigma": np.asarray(sigma)}, settings, x

    return make
