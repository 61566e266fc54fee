"""How often the points and the fits of synthetic cubes hold the truth within their 68 % uncertainties; prints Markdown tables."""

import argparse
import warnings

import numpy as np
from astropy import units as u
from search import draw_truth

from sting import synthetic
from sting.core.constants import GM_SUN
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.gradient_descent import fit_streamline
from sting.messages import StingWarning
from sting.parameters import PARAMETERS
from sting.stream_lines_grad import streamline

DISTANCE = 293
PEAK = 0.6 * u.K

#: Ranges of the peak over the noise by which the points are told apart.
RANGES = ((5, 10), (10, 20), (20, 30))

#: Chi-squared of two degrees of freedom below which 68.3 % are.
WITHIN = 2.2957

#: Of the mass, relative.
PRIOR = 0.1


def observe(k, snr=None, uncertainty="mean", ordering="distance"):
    """Truth, ratio of peak to noise, and points of the k-th cube; None for the points where too little is left of it."""
    rng = np.random.default_rng(k)
    truth = draw_truth(rng)
    while truth["v_r0"].value < 0.3:
        truth = draw_truth(rng)
    snr = snr or rng.uniform(RANGES[0][0], RANGES[-1][1])
    scene = synthetic.make_streamer_cube(
        truth, distance=DISTANCE, seed=k, shape=(90, 80, 80), pixel=0.25 * u.arcsec, peak=PEAK, rms=PEAK / snr
    )
    try:
        cut = extract_streamer_subcube(scene.cube, rms_thresh=4, rms=scene.rms, islands="main")
        streamer = reduce_to_1D(cut, scene.star_position, uncertainty=uncertainty, ordering=ordering)
    except ValueError:
        return truth, snr, None
    return truth, snr, streamer


def point_pulls(streamer, truth):
    """Squared distance of each point from the true curve, in its uncertainties: chi-squared of two degrees of freedom."""
    path = streamline(truth, distance=DISTANCE, n_points=4000)
    curve, points = np.array([path.ra.value, path.dec.value, path.velocity.value]), np.array(streamer.data)
    away = (curve[:, None] - points[..., None]) / np.array(streamer.uncertainties)[..., None]
    return np.sum(away**2, axis=0).min(axis=1)


def true_orbit(truth):
    """The quantities of the orbit that are the same for every rotation axis, in the units of `derived`."""
    gm, r0, v_r0 = GM_SUN * truth["mass"].value, truth["r0"].value, truth["v_r0"].value
    latus = truth["rc"].value * np.sin(truth["theta0"].to_value(u.rad)) ** 2
    momentum = np.sqrt(gm * latus)
    eccentricity = np.hypot(1 - latus / r0, v_r0 * momentum / gm)
    return {
        "energy": (v_r0**2 + (momentum / r0) ** 2) / 2 - gm / r0,
        "angular_momentum": momentum,
        "eccentricity": eccentricity,
        "semi_latus_rectum": latus,
        "periastron": latus / (1 + eccentricity),
    }


def fit_pulls(k, streamer, truth, fixed=()):
    """Deviation of each parameter and quantity from the truth in its uncertainty, after a fit from the truth."""
    known = {name: truth[name] for name in ("rmin", "v_lsr", "inc", "pa", *fixed)}
    start = {name: value for name, value in truth.items() if name not in known}
    mass = truth["mass"] * (1 + PRIOR * np.random.default_rng(k + 10**6).standard_normal())
    priors = {"mass": u.Quantity([mass, PRIOR * truth["mass"]])}
    quiet = {"save_folder": None, "progress": False, "optimizer": "lbfgs"}
    result = fit_streamline(start, known, streamer, DISTANCE, priors=priors, **quiet)
    orbit = {name: truth[name].to_value(PARAMETERS[name].unit) for name in start} | true_orbit(truth)
    return {name: look(name, value, result.profiler) for name, value in orbit.items()}


def look(name, true, profiler):
    """Pull of a quantity, and whether the truth lies in the interval that the result prints: plain where it is near Gaussian."""
    away, sigma = profiler.value(name) - true, profiler.sigma(name)
    if name == "phi0":
        true = true + 2 * np.pi * np.round(away / (2 * np.pi))
        away = profiler.value(name) - true
    pull = away / sigma if sigma > 0 else np.inf
    return pull, bool(profiler.rise(name, true) < 1 if profiler.why_not_gaussian(name) else abs(pull) < 1)


def share(found):
    """Shares within the plain and within the printed intervals, and the typical pull, in words."""
    pulls, printed = np.array(found, float).T
    return f"{np.mean(np.abs(pulls) < 1):.2f} | {np.nanmedian(np.abs(pulls)) / 0.6745:.2f} | {np.mean(printed):.2f}"


def main():
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cubes", type=int, default=100)
    parser.add_argument("--first", type=int, default=1000, help="seed of the first cube")
    parser.add_argument("--uncertainty", default="mean")
    parser.add_argument("--ordering", default="distance")
    parser.add_argument("--points", action="store_true", help="the points alone, without fits")
    options = parser.parse_args()
    warnings.simplefilter("ignore", StingWarning)
    points, fits, known, lost = {limits: [] for limits in RANGES}, [], [], 0
    for k in range(options.first, options.first + options.cubes):
        truth, snr, streamer = observe(k, None, options.uncertainty, options.ordering)
        if streamer is None or len(streamer) < 4:
            lost += 1
            continue
        points[next(limits for limits in RANGES if snr <= limits[1])].append(point_pulls(streamer, truth))
        if not options.points:
            fits.append(fit_pulls(k, streamer, truth))
            known.append(fit_pulls(k, streamer, truth, ("r0",)))
    print(f"{options.uncertainty}, {options.ordering}: {options.cubes} cubes, of which {lost} leave fewer than four points.\n")
    print("| peak / noise | cubes | points | within 68 % | mean chi2 / 2 | median chi2 / 1.39 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    table = {f"{low} to {high}": some for (low, high), some in points.items()}
    for name, some in (table | {"all": [one for each in points.values() for one in each]}).items():
        if some:
            chi2 = np.concatenate(some)
            numbers = f"{np.mean(chi2 < WITHIN):.2f} | {chi2.mean() / 2:.2f} | {np.median(chi2) / 1.386:.2f}"
            print(f"| {name} | {len(some)} | {len(chi2)} | {numbers} |")
    for title, rows in (("all free", fits), ("r0 known", known)):
        if rows:
            print(f"\n| {title} | within 1 sigma | typical pull | within what is printed |\n| --- | ---: | ---: | ---: |")
            for name in rows[0]:
                print(f"| {name} | {share([row[name] for row in rows])} |")


if __name__ == "__main__":
    main()
