"""Fixtures that several test files share."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS
from hypothesis import HealthCheck, settings

# before anything imports matplotlib: the tests draw into files only
os.environ.setdefault("MPLBACKEND", "Agg")

# the first example compiles, so no deadline; derandomised, so that CI does not fail by chance
settings.register_profile(
    "sting",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("sting")

DATA_FILE = "ngc1333_iras2a_d2co.fits"
FRAMES = {"fk5": ("RA---SIN", "DEC--SIN", "FK5"), "icrs": ("RA---SIN", "DEC--SIN", "ICRS")}
REST_FREQUENCY = 231.410234e9
LIGHT_SPEED = 299792.458


@pytest.fixture(autouse=True, scope="module")
def _few_maps():
    """Drop compiled programs before there are too many for one process, which then would crash."""
    yield
    from sting.programs import drop_programs

    drop_programs()


@pytest.fixture(scope="session")
def data_file():
    """Path of the real cube."""
    folders = [Path(__file__).resolve().parents[1].parent / "shared" / "data"]
    if os.environ.get("STING_DATA"):
        folders.insert(0, Path(os.environ["STING_DATA"]))
    for folder in folders:
        if (folder / DATA_FILE).is_file():
            return folder / DATA_FILE
    pytest.skip(f"{DATA_FILE} is in none of {', '.join(map(str, folders))}; set STING_DATA to its folder")


@pytest.fixture(scope="session")
def scene():
    """A small synthetic observation of a streamer; nothing may change it."""
    from sting import synthetic

    return synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))


@pytest.fixture(scope="session")
def scene_cut(scene):
    """The streamer cut out of `scene`."""
    from sting.extract_streamline import extract_streamer_subcube

    return extract_streamer_subcube(scene.cube, vmin=6 * u.km / u.s, rms_thresh=4)


@pytest.fixture(scope="session")
def protostar():
    """A streamer in a protostar, and its clusters; nothing may change them."""
    from sting import isolate, synthetic

    found = synthetic.make_scene("random", seed=112, snr=18)
    components = isolate.decompose(found.cube, rms=found.rms, star_position=found.star_position, progress=False)
    return found, isolate.cluster(components)


@pytest.fixture(scope="session")
def make_cube():
    """Function that makes a cube of known world coordinates from an array (channels, rows, columns)."""
    from spectral_cube import SpectralCube

    def make(
        values,
        *,
        centre=(52.2315, 31.2436),
        pixel=0.5,
        frame="fk5",
        v_first=5.0,
        channel=0.1,
        axis="velocity",
        rest_frequency=REST_FREQUENCY,
        beam=None,
    ):
        """``centre`` (deg, in the cube's frame) is the middle pixel; pixel in arcsec, velocities in km/s."""
        values = np.asarray(values, dtype=float)
        _, n_y, n_x = values.shape
        wcs = WCS(naxis=3)
        if frame == "galactic":
            ctype = ["GLON-TAN", "GLAT-TAN"]
        else:
            *ctype, wcs.wcs.radesys = FRAMES[frame]
            wcs.wcs.equinox = 2000.0
        # SpectralCube wants SI units of the third axis in the header
        if axis == "velocity":
            third, unit, first, step = "VRAD", "m/s", 1e3 * v_first, 1e3 * channel
        else:
            third, unit = "FREQ", "Hz"
            first, step = REST_FREQUENCY * (1 - v_first / LIGHT_SPEED), -REST_FREQUENCY * channel / LIGHT_SPEED
        wcs.wcs.ctype = [*ctype, third]
        wcs.wcs.cunit = ["deg", "deg", unit]
        wcs.wcs.crval = [*centre, first]
        wcs.wcs.crpix = [n_x // 2 + 1, n_y // 2 + 1, 1]
        wcs.wcs.cdelt = [-pixel / 3600, pixel / 3600, step]
        if rest_frequency:
            wcs.wcs.restfrq = rest_frequency
        wcs.wcs.set()
        return SpectralCube(values * u.K, wcs=wcs, beam=beam)

    return make
