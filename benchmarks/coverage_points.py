"""How often the intervals of a fit hold the truth: plain ones and profiles, by what the result says of itself; prints a table."""

import argparse

import numpy as np
from astropy import units as u

from sting import synthetic
from sting.derived import element_at
from sting.gradient_descent import fit_streamline
from sting.messages import in_float64
from sting.parameters import to_internal

DISTANCE = 293
QUIET = {"save_folder": None, "progress": False, "optimizer": "lbfgs"}

#: Rise of the loss at the ends of the intervals of 68.27 and 95 per cent, and the sigmas to them.
RISES = np.array([1.0, 3.8415])

#: Elements of the orbit whose intervals are looked at as well.
ELEMENTS = ("energy", "angular_momentum", "eccentricity", "periastron")


def _truth(r0, theta0, phi0, v_r0, mass, inc, pa, rc):
    numbers = {"r0": r0 * u.au, "theta0": theta0 * u.deg, "phi0": phi0 * u.deg, "v_r0": v_r0 * u.km / u.s, "mass": mass * u.Msun}
    axis = {"inc": inc * u.deg, "pa": pa * u.deg}
    return numbers | {"rc": rc * u.au} | axis | {"rmin": 50 * u.au, "v_lsr": 7.5 * u.km / u.s}


_SMALL, _MIDDLE, _LARGE = (
    (sky * u.arcsec, sky * u.arcsec, velocity * u.km / u.s) for sky, velocity in ((0.02, 0.005), (0.1, 0.03), (0.5, 0.1))
)

#: Streamers: truth, uncertainties of a point, and the part of the path that the points cover.
CASES = {
    "theta0 52, v_r0 0.25, small sigma": (_truth(2800, 52, 60, 0.25, 4, -45, 194, 524), _SMALL, (0.1, 0.9)),
    "theta0 120, v_r0 1, small sigma": (_truth(2500, 120, 250, 1.0, 2, 30, 40, 300), _SMALL, (0.1, 0.9)),
    "theta0 70, v_r0 2, unbound, small sigma": (_truth(2500, 70, 300, 2.0, 1, 40, 200, 500), _SMALL, (0.1, 0.9)),
    "theta0 110, v_r0 0, middle sigma": (_truth(2500, 110, 70, 0.0, 2, -30, 300, 250), _MIDDLE, (0.1, 0.9)),
    "theta0 52, v_r0 0.25, large sigma": (_truth(2800, 52, 60, 0.25, 4, -45, 194, 524), _LARGE, (0.1, 0.9)),
}


def draw(truth, sigma, part, seed):
    """Fit 12 points with noise: the axis fixed, the mass with a prior of 10 per cent whose mean scatters about the truth."""
    streamer = synthetic.make_streamer_points(truth, distance=DISTANCE, n_elements=12, part=part, sigma=sigma, seed=seed)
    mass = truth["mass"].value
    mean = mass * (1 + 0.1 * np.random.default_rng([seed, 1]).standard_normal())
    fixed = {name: truth[name] for name in ("inc", "pa", "rmin", "v_lsr")}
    # a start on a bound is no start
    start = {name: value for name, value in truth.items() if name not in fixed} | {"v_r0": max(truth["v_r0"], 0.1 * u.km / u.s)}
    return fit_streamline(start, fixed, streamer, DISTANCE, priors={"mass": (mean, 0.1 * mass) * u.Msun}, **QUIET)


def elements_of(truth):
    """Elements of the true orbit, from a fit that is not run."""
    free = {name: value for name, value in truth.items() if name not in ("inc", "pa", "rmin", "v_lsr")}
    fixed = {name: truth[name] for name in ("inc", "pa", "rmin", "v_lsr")}
    free["v_r0"] = max(free["v_r0"], 1e-9 * u.km / u.s)
    result = fit_streamline(free, fixed, synthetic.make_streamer_points(truth, distance=DISTANCE), DISTANCE, n_epochs=1, **QUIET)
    profiler = result.profiler
    values = {name: to_internal(name, value) for name, value in free.items()}
    x = profiler.fit.values.copy()
    order = ("r0", "theta0", "phi0", "v_r0", "mu", "mass")
    values["mu"] = values["rc"] / values["r0"]
    x[: len(order)] = [values[name] for name in order]
    return values | {name: in_float64(element_at)(name, x, profiler.fit.problem, result.settings)[0] for name in ELEMENTS}


def look(result, truths):
    """For each quantity: near Gaussian by the result's own word; is the truth in the plain and in the profile intervals?"""
    rows = []
    for name in (*result.names, *ELEMENTS):
        profiler = result.profiler
        off = (profiler.value(name) - truths[name]) ** 2
        sigma = profiler.sigma(name)
        rows.append((not profiler.why_not_gaussian(name), off <= RISES * sigma**2, profiler.rise(name, truths[name]) <= RISES))
    return rows


def measure(truth, sigma, part, seeds):
    """Shares of the seeds, a dict of arrays by quantity: near Gaussian (n,), plain and profile intervals (n, 2)."""
    truths = elements_of(truth)
    found = [look(draw(truth, sigma, part, seed), truths) for seed in seeds]
    names = ("r0", "theta0", "phi0", "v_r0", "mass", "rc", *ELEMENTS)
    return {name: tuple(map(np.array, zip(*(rows[i] for rows in found), strict=True))) for i, name in enumerate(names)}


def _share(inside):
    return " / ".join(f"{100 * share:.0f}" for share in inside.mean(axis=0)) if len(inside) else "-"


def _row(near, plain, held):
    """What a row of the table says of a quantity: the last column is of the interval that the result itself prints."""
    given = np.where(near[:, None], plain, held)
    return " | ".join([f"{near.sum()}", *map(_share, (plain[near], plain, held, given))])


def main():
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--cases", default=",".join(map(str, range(len(CASES)))))
    options = parser.parse_args()
    print("| streamer | quantity | near Gaussian | plain, of these | plain, of all | profile, of all | as printed, of all |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    total = []
    for case in (list(CASES)[int(k)] for k in options.cases.split(",")):
        for name, found in measure(*CASES[case], range(options.seeds)).items():
            print(f"| {case} | {name} | {_row(*found)} |", flush=True)
            total.append(found)
    print(f"| all | all | {_row(*(np.concatenate(parts) for parts in zip(*total, strict=True)))} |")


if __name__ == "__main__":
    main()
