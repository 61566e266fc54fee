"""The work that both packages do: the problem of the quick start of STING 0.2.3, on the cube of NGC 1333 IRAS 2A.

Started by compare_sting.py with the Python of either environment. Without arguments it tells the versions; with CUBE FOLDER
N_WARM OPTIONS (keywords of the fit, as JSON) it does the work, writes into FOLDER and ends in one line of JSON.
"""

import inspect
import json
import platform
import sys
import time
from pathlib import Path

from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from spectral_cube import SpectralCube

from sting import extract_streamline, gradient_descent, outputs

STAR = SkyCoord("3h28m55.569s", "+31d14m37.025s", frame="fk5")
DISTANCE = 293  # pc
V_LSR = 7.5  # km/s
CUTS = {
    "vmin": 6 * u.km / u.s,
    "vmax": 8 * u.km / u.s,
    "xmin": -5 * u.arcsec,
    "xmax": 5 * u.arcsec,
    "ymin": -12 * u.arcsec,
    "ymax": 0.5 * u.arcsec,
    "rms_thresh": 4,
}
FREE = {
    "r0": 1500 * u.au,
    "theta0": 40 * u.deg,
    "phi0": 100 * u.deg,
    "omega": 5e-13 / u.s,
    "v_r0": 0.1 * u.km / u.s,
    "mass": 4 * u.Msun,
    "inc": -45 * u.deg,
    "pa": 194 * u.deg,
}
FIXED = {"rmin": 50 * u.au, "deltar": 30 * u.au, "v_lsr": V_LSR * u.km / u.s}
BOUNDS = {"r0": (200, 10000) * u.au, "mass": (3, 5) * u.Msun}
PRIORS = {"mass": (4, 1) * u.Msun, "inc": (-45, 10) * u.deg, "pa": (194, 10) * u.deg}


def versions():
    """Versions of what runs here. Also fills the caches that a first import fills: byte code, matplotlib's fonts."""
    import jax
    import matplotlib.pyplot  # noqa: F401

    import sting

    return {"sting": sting.__version__, "python": platform.python_version(), "jax": jax.__version__}


def extract(path):
    with fits.open(path) as hdus:
        cube = SpectralCube.read(hdus[0]).with_spectral_unit(u.km / u.s, rest_value=hdus[0].header["RESTFRQ"] * u.Hz)
        return extract_streamline.reduce_to_1D(extract_streamline.extract_streamer_subcube(cube, **CUTS), STAR, n_elements=10)


class Output:
    """Stands in for the function with which a fit draws and saves its results, and adds up the seconds that it takes."""

    def __init__(self):
        # STING's draws the figures; ours draws them and writes the files. STING's log is written while it fits.
        name = next(n for n in ("plot_fitting_results", "save_results") if hasattr(outputs, n))
        self.function, self.seconds = getattr(outputs, name), 0.0
        setattr(outputs, name, self)

    def __call__(self, result, *args, **keywords):
        # ours computes the uncertainties when they are first asked for: they belong to the fit, as in STING
        getattr(result, "param_errors", None)
        begin = time.perf_counter()
        try:
            return self.function(result, *args, **keywords)
        finally:
            self.seconds += time.perf_counter() - begin


def fit(streamer, output, save_folder, options):
    """Fit once, uncertainties included: the result, the seconds of the fit and those of drawing and saving."""
    begin, drawn = time.perf_counter(), output.seconds
    _, free, fixed = gradient_descent.prepare_model_params(FREE, FIXED)
    result = gradient_descent.fit_streamline(
        free,
        fixed,
        streamer,
        DISTANCE,
        param_bounds=BOUNDS,
        priors=PRIORS,
        n_epochs=1000,
        v_lsr=V_LSR,
        save_folder=save_folder,
        **options,
    )
    if not result.best_opt_params or not result.param_errors:
        raise SystemExit("the fit has no uncertainties")
    drawn = output.seconds - drawn
    return result, time.perf_counter() - begin - drawn, drawn


def main(cube, folder, n_warm, options):
    times = [time.time()]  # on the clock of the parent, which knows when the process was started
    accepted = inspect.signature(gradient_descent.fit_streamline).parameters
    options = json.loads(options) | ({"progress": False} if "progress" in accepted else {})
    streamer = extract(cube)
    times.append(time.time())
    output = Output()
    result, seconds, saving = fit(streamer, output, str(Path(folder) / "cold"), options)
    times.append(time.time())
    # STING 0.2.3 fails without a folder when omega is free
    again = None if "matching" in accepted else str(Path(folder) / "warm")
    warm = [fit(streamer, output, again, options)[1] for _ in range(int(n_warm))]
    loss, epochs = float(min(result.loss_history)), len(result.loss_history) - 1
    return {"times": times, "fit": seconds, "output": saving, "warm": warm, "loss": loss, "epochs": epochs}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]) if sys.argv[1:] else versions()))
