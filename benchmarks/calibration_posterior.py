"""Simulation-based calibration of the posterior: truths out of the prior, ranked among the draws; prints Markdown tables.

Talts et al. 2018, arXiv:1804.06788.
"""

import argparse
import os
import time

import jax
import numpy as np
from astropy import units as u
from scipy.stats import kstest

from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS
from sting.derived import DERIVED
from sting.diagnostics import convergence
from sting.evaluations import curves_of, elements_of, named_of
from sting.gradient_descent import fit_streamline
from sting.messages import in_float64
from sting.parameters import PARAMETERS, to_internal
from sting.posterior import prepare
from sting.sampling import CHUNK, advance, draw_starts, start
from sting.stream_lines_grad import streamline
from sting.streamer import Streamer

DISTANCE = 293 * u.pc

#: The prior, in display units: uniform ranges, and mean and sigma of the normal ones.
UNIFORM = {"r0": (1800, 3500), "theta0": (40, 140), "phi0": (10, 90), "v_r0": (0, 1.5), "rc": (20, 400)}
NORMAL = {"mass": (2.0, 0.3), "inc": (-45, 5), "pa": (194, 5)}
AXIS = ("inc", "pa")
FIXED = {"rmin": 50 * u.au, "v_lsr": 7.5 * u.km / u.s}

#: Points: one in each bin of projected distance (arcsec), which every path of the prior crosses once.
EDGES = np.linspace(1.5, 5.0, 13)
START, END = 5.5, 1.2
SIGMA = np.array([0.25, 0.25, 0.08])

#: Streamers that are sampled side by side, chains of each, warm-up and draws of each chain.
BATCH, CHAINS, WARMUP, DRAWS = 8, 2, 240, 260
RANKS = 100


def crosses_once(curves):
    """Which paths, of shape (m, n, 3), come from outside of all bins and cross each of them once."""
    rho = np.hypot(curves[..., 0], curves[..., 1])
    falling = (np.diff(rho, axis=-1) < 0) | (rho[..., 1:] < END)
    return (rho[..., 0] > START) & (rho.min(axis=-1) < END) & falling.all(axis=-1)


def draw_truth(rng, free_axis):
    """Parameters out of the prior whose path crosses all bins once: fixed bins know of no other."""
    while True:
        truth = {name: rng.uniform(*limits) for name, limits in UNIFORM.items()}
        truth |= {n: rng.normal(mean, sigma) if free_axis or n not in AXIS else mean for n, (mean, sigma) in NORMAL.items()}
        truth = {name: value * PARAMETERS[name].display_unit for name, value in truth.items()} | FIXED
        path = streamline(truth, distance=DISTANCE, n_points=4000)
        curve = np.transpose([path.ra.value, path.dec.value, path.velocity.value])
        if crosses_once(curve[None])[0]:
            return truth, curve


def observe(curve, rng, noise=1.0):
    """A point in each bin, anywhere along the path in units of the uncertainties, with noise (times what the points say)."""
    rho = np.hypot(*curve[:, :2].T)
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0) / SIGMA, axis=1)))
    ends = np.interp(-EDGES[::-1], -rho, length)
    places = rng.uniform(ends[:-1], ends[1:])
    points = np.transpose([np.interp(places, length, curve[:, k]) for k in range(3)])
    points = points + noise * SIGMA * rng.standard_normal(points.shape)
    return Streamer(np.vstack([points.T, np.ones(len(points))]), *points.T, *np.repeat(SIGMA[:, None], len(points), axis=1))


def fit(streamer, truth, free_axis):
    """The fit whose posterior is drawn from; it starts at the truth, as a user's would at a good guess."""
    names = [n for n in (*UNIFORM, *NORMAL) if free_axis or n not in AXIS]
    bounds = {n: limits * PARAMETERS[n].display_unit for n, limits in UNIFORM.items()}
    priors = {n: NORMAL[n] * PARAMETERS[n].display_unit for n in names if n in NORMAL}
    return fit_streamline(
        {n: truth[n] for n in names},
        {n: v for n, v in truth.items() if n not in names},
        streamer,
        DISTANCE,
        param_bounds=bounds,
        priors=priors,
        optimizer="lbfgs",
        save_folder=None,
        progress=False,
    )


@in_float64
def sample_batch(results, seed):
    """Draws of the posteriors of several fits of one form, side by side: values of shape (m, n_chains, n, n_model)."""
    rng, tasks = np.random.default_rng(seed), []
    for result in results:
        task = prepare(result, n_warmup=WARMUP)
        tasks.append((draw_starts(task.chart, task.problem, task.kernel, CHAINS, rng), task.chart, task.problem))
    kernel = task.kernel
    starts, charts, problems = jax.tree.map(lambda *leaves: np.stack(leaves), *tasks)
    keys = jax.random.split(jax.random.key(seed), (len(results), CHAINS))
    state = jax.vmap(lambda *one: start(*one, kernel))(starts, keys, charts, problems)
    values, diverging = [], []
    for _ in range(-(-(WARMUP + DRAWS) // CHUNK)):
        state, rows = jax.vmap(lambda *one: advance(*one, kernel))(state, charts, problems)
        values.append(np.asarray(rows[0]))
        diverging.append(np.asarray(rows[2]))
    values, diverging = (np.concatenate(part, axis=1)[:, WARMUP : WARMUP + DRAWS] for part in (values, diverging))
    return np.swapaxes(values, 1, 2), diverging.sum(axis=(1, 2)), problems, kernel.settings


@in_float64
def quantities(values, problem, settings, names):
    """Free parameters and derived quantities of draws of shape (m, n_model), and which of them the bins allow."""
    named = np.asarray(named_of(values, problem, settings))
    found = {n: named[:, NAMED_PARAMETERS.index(n)] for n in names}
    elements, _ = elements_of(values, problem, settings)
    found |= {n: np.asarray(v) for n, v in elements.items() if n in DERIVED and n not in found}
    return found, crosses_once(np.asarray(curves_of(values, problem, settings, 400)))


def calibrate(n, free_axis, seed=0, noise=1.0, verbose=False):
    """Ranks (0 to 1) of the truths among the draws by quantity, each of shape (n,), and diagnostics."""
    ranks, worst, divergent = [], [], []
    for first in range(0, n, BATCH):
        rng = np.random.default_rng([seed, first])
        truths = [draw_truth(rng, free_axis) for _ in range(BATCH)]
        results = [fit(observe(curve, rng, noise), truth, free_axis) for truth, curve in truths]
        values, n_divergent, problems, settings = sample_batch(results, seed + first)
        for k, (truth, _) in enumerate(truths):
            problem = jax.tree.map(lambda leaf, k=k: leaf[k], problems)
            names = results[k].names
            draws, allowed = quantities(values[k].reshape(-1, values.shape[-1]), problem, settings, names)
            vector = [to_internal(n, truth[n]) for n in (("rc" if m == "mu" else m) for m in MODEL_PARAMETERS)]
            true, _ = quantities(np.array([vector]), problem, settings, names)
            ranks.append({q: rank(np.where(allowed, draws[q], np.nan).reshape(CHAINS, -1), true[q][0]) for q in true})
            worst.append(max(convergence(draws[q].reshape(CHAINS, -1))[0] for q in names))
            divergent.append(n_divergent[k])
        if verbose:
            print(f"{len(ranks)} of {n}", time.strftime("%X"), f"median r-hat {np.median(worst):.3f}", flush=True)
    return {q: np.array([row[q] for row in ranks]) for q in ranks[0]}, np.array(worst), np.array(divergent)


def rank(draws, truth):
    """Share of the allowed draws that lie below the truth, ties broken at random, out of `RANKS` of them."""
    draws = draws[np.isfinite(draws)]
    draws = draws[np.linspace(0, len(draws) - 1, RANKS).astype(int)]
    return (np.sum(draws < truth) + np.random.default_rng(len(draws)).uniform()) / (RANKS + 1)


def covered(ranks, level):
    """Share of truths within the interval that leaves equal parts on both sides."""
    return np.mean(np.abs(ranks - 0.5) < level / 2)


def report(ranks, worst, divergent):
    """Markdown table of coverages and p-values."""
    n = len(worst)
    print(f"\n{n} streamers, {np.sum(worst > 1.05)} with an r-hat over 1.05, {np.sum(divergent > 0)} with a diverging draw.\n")
    print("| quantity | in 68 % | in 95 % | p of uniform ranks |\n| --- | ---: | ---: | ---: |")
    for quantity, values in ranks.items():
        p = kstest(values, "uniform").pvalue
        print(f"| `{quantity}` | {100 * covered(values, 0.6827):.1f} | {100 * covered(values, 0.95):.1f} | {p:.2f} |")
    print(f"\nSmallest p allowed: {0.01 / len(ranks):.5f} (0.01, Bonferroni's correction for {len(ranks)} quantities).")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streamers", type=int, default=400, help="streamers of each kind")
    parser.add_argument("--axis", choices=("fixed", "free", "both"), default="both", help="inc and pa: free with priors, or not")
    parser.add_argument("--keep", help="folder to keep the ranks in")
    options = parser.parse_args()
    for free_axis in {"fixed": [False], "free": [True], "both": [False, True]}[options.axis]:
        begin = time.perf_counter()
        found = calibrate(options.streamers, free_axis, verbose=True)
        print(f"\ninc and pa {'free, with priors' if free_axis else 'fixed'}; {time.perf_counter() - begin:.0f} s")
        report(*found)
        if options.keep:
            np.savez(os.path.join(options.keep, f"ranks_{free_axis}.npz"), worst=found[1], **found[0])
