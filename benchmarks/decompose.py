"""Time of a Gaussian decomposition beside astropy.modeling and pyspeckit on the same spectra, and memory for 100,000 spectra.

The peers fit one spectrum after the other with one, two and three Gaussians, from the starts that the residual gives, and AICc
chooses. The tables go to standard output, progress to standard error. See README.md beside this file.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from environments import HERE, child, cores, digits, load, make_environment, make_parser, markdown, read, say, spread

CHANNELS, NOISE, VELOCITY, CHANNEL = 160, 1.0, 5.0, 0.1
LARGE, QUICK = (250, 400), (50, 80)
MOST = 3
PYSPECKIT = "1.0.4"
PEERS = {"levmar": "astropy, LevMarLSQFitter", "trf": "astropy, TRFLSQFitter", "pyspeckit": f"pyspeckit {PYSPECKIT}"}
#: Of which peer how many of the spectra are asked for.
MOST_SPECTRA = {"pyspeckit": 100}
FWHM = np.sqrt(8 * np.log(2))
#: Two sides whose chi2 differ by less are in the same minimum.
SAME_CHI2 = 0.1


def make_spectra(m, seed=1):
    """Spectra (m, n) in units of the noise, of none to three lines, and the numbers of their lines."""
    rng, channel = np.random.default_rng(seed), np.arange(CHANNELS)
    numbers = np.arange(m) % (MOST + 1)
    spectra = rng.normal(size=(m, CHANNELS)) * NOISE
    for spectrum, number in zip(spectra, numbers, strict=True):
        width, at = rng.uniform(1.5, 5, MOST), rng.uniform(15, 30)
        for k in range(number):
            spectrum += rng.uniform(8, 30) * np.exp(-0.5 * ((channel - at) / width[k]) ** 2)
            if k + 1 < number:
                at += rng.uniform(1.2, 1.6) * FWHM * (width[k] + width[k + 1]) / 2
    return spectra, numbers


def aicc(chi2, k):
    return chi2 + 2 * k + 2 * k * (k + 1) / (CHANNELS - k - 1)


def seed_of(residual, axis):
    """Amplitude, velocity and width of a start at the highest channel of a residual smoothed over three."""
    best = int(np.argmax(np.convolve(residual, np.ones(3) / 3, mode="same")))
    return [max(residual[best], NOISE), axis[best], 2.5 * CHANNEL]


def choose(spectrum, axis, fit):
    """Fit one to three Gaussians, each from the last fit and a new start; parameters and errors of the one that AICc chooses.

    ``fit`` takes a spectrum and the parameters to start from and returns parameters and errors, (k, 3) each.
    """
    best, found = (aicc(np.sum(spectrum**2), 0), np.zeros((0, 3)), np.zeros((0, 3))), np.zeros((0, 3))
    model = np.zeros(CHANNELS)
    for n in range(1, MOST + 1):
        found, errors = fit(spectrum, np.vstack([found, seed_of(spectrum - model, axis)]))
        model = (found[:, 0, None] * np.exp(-0.5 * ((axis - found[:, 1, None]) / found[:, 2, None]) ** 2)).sum(axis=0)
        score = aicc(np.sum((spectrum - model) ** 2), 3 * n)
        if score < best[0]:
            best = (score, found, errors)
    return best[1:]


def astropy_fit(axis, name):
    """Fit of one spectrum with astropy.modeling."""
    from astropy.modeling import fitting, models

    fitter = {"levmar": fitting.LevMarLSQFitter, "trf": fitting.TRFLSQFitter}[name](calc_uncertainties=True)
    bounds = {
        "amplitude": (0, None),
        "mean": (axis[0], axis[-1]),
        "stddev": (CHANNEL / FWHM, CHANNELS * CHANNEL / 2 / FWHM),
    }

    def fit(spectrum, start):
        parts = [models.Gaussian1D(*one, bounds=bounds) for one in start]
        found = fitter(sum(parts[1:], parts[0]), axis, spectrum, weights=np.full(CHANNELS, 1 / NOISE))
        # the errors of astropy are scaled by chi2, as ours are not
        errors = found.stds.stds if found.stds is not None else np.full(start.size, np.nan)
        return found.parameters.reshape(-1, 3), np.asarray(errors).reshape(-1, 3)

    return fit


def pyspeckit_fit(axis):
    """Fit of one spectrum with pyspeckit."""
    import pyspeckit
    from astropy import units as u

    x = pyspeckit.units.SpectroscopicAxis(axis * u.km / u.s)
    last = [None, None]

    def fit(spectrum, start):
        if last[0] is not spectrum:
            last[:] = spectrum, pyspeckit.Spectrum(data=spectrum, error=np.full(CHANNELS, NOISE), xarr=x, header={})
        one, n = last[1], len(start)
        limits = {
            "limitedmin": [True] * 3 * n,
            "limitedmax": [False, True, True] * n,
            "minpars": [0, axis[0], CHANNEL / FWHM] * n,
            "maxpars": [0, axis[-1], CHANNELS * CHANNEL / 2 / FWHM] * n,
        }
        one.specfit(fittype="gaussian", guesses=start.ravel().tolist(), verbose=False, quiet=True, **limits)
        return np.array(one.specfit.parinfo.values).reshape(-1, 3), np.array(one.specfit.parinfo.errors).reshape(-1, 3)

    return fit


def run_peer(name, path):
    """Decompose the spectra of a file with a peer; prints the seconds and writes what was found beside it."""
    import time
    import warnings

    spectra, axis = np.load(path)[: MOST_SPECTRA.get(name)], VELOCITY + CHANNEL * np.arange(CHANNELS)
    fit = pyspeckit_fit(axis) if name == "pyspeckit" else astropy_fit(axis, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choose(spectra[1], axis, fit)
        start = time.perf_counter()
        found = [choose(spectrum, axis, fit) for spectrum in spectra]
        seconds = time.perf_counter() - start
    numbers = np.array([len(one) for one, _ in found])
    lines = np.zeros((len(found), MOST, 3))
    for row, (one, _) in zip(lines, found, strict=True):
        row[: len(one)] = one[np.argsort(one[:, 1])]
    np.savez(path.with_name(f"{name}.npz"), numbers=numbers, lines=lines)
    print(json.dumps({"seconds": seconds / len(spectra)}))


def as_cube(spectra, shape):
    """A cube of spectra."""
    from astropy import units as u
    from astropy.wcs import WCS
    from spectral_cube import SpectralCube

    wcs = WCS(naxis=3)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---SIN", "DEC--SIN", "VRAD"], ["deg", "deg", "m/s"]
    wcs.wcs.crval, wcs.wcs.crpix = [52.0, 31.0, 1e3 * VELOCITY], [1, 1, 1]
    wcs.wcs.cdelt = [-1e-4, 1e-4, 1e3 * CHANNEL]
    wcs.wcs.set()
    return SpectralCube(spectra.T.reshape(-1, *shape) * u.K, wcs=wcs)


def run_ours(path):
    """Decompose the spectra of a file, twice: the first time reads or compiles the programs."""
    import time

    from astropy import units as u

    from sting.isolate import decompose

    spectra = np.load(path)
    cube, seconds = as_cube(spectra, (1, len(spectra))), []
    for _ in range(2):
        start = time.perf_counter()
        # no neighbours: these spectra have nothing to do with each other
        found = decompose(cube, rms=NOISE * u.K, neighbours=False, progress=False)
        seconds.append(time.perf_counter() - start)
    numbers, lines, errors = found.number_map()[0], np.zeros((len(spectra), MOST, 3)), np.ones((len(spectra), MOST, 3))
    rank = np.arange(len(found)) - np.searchsorted(found.table["x"], found.table["x"])
    for k, name in enumerate(("amplitude", "velocity", "sigma")):
        lines[found.table["x"], rank, k] = found.table[name].value
        errors[found.table["x"], rank, k] = found.table[f"{name}_err"].value
    np.savez(path.with_name("ours.npz"), numbers=numbers, lines=lines, errors=errors)
    print(json.dumps({"first": seconds[0], "seconds": seconds[1] / len(spectra)}))


def run_large(path):
    """Decompose a cube in a file, all of it; prints seconds, peak memory and what was found."""
    import resource
    import time

    from astropy import units as u

    from sting.isolate import decompose

    start = time.perf_counter()
    found = decompose(path, rms=NOISE * u.K, progress=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": seconds, "peak": peak, "spectra": found.meta["n_spectra"], "components": len(found)}))


def chi2_of(lines, spectra):
    """Chi2 of fits (m, MOST, 3), whose components that are none are zero."""
    axis, chi2 = VELOCITY + CHANNEL * np.arange(CHANNELS), np.sum(spectra**2, axis=1)
    for row, (one, spectrum) in enumerate(zip(lines, spectra, strict=True)):
        amplitude, centroid, width = one[one[:, 2] > 0].T[..., None]
        model = np.sum(amplitude * np.exp(-0.5 * ((axis - centroid) / width) ** 2), axis=0)
        chi2[row] = np.sum((spectrum - model) ** 2)
    return chi2


def agreement(folder, peer, spectra, truth):
    """How the two sides compare, over the spectra of a peer.

    The shares of right numbers of lines; of the spectra with lines in which both are right, the shares in which the peer and in
    which we end above the other's chi2; and the differences of parameters in the others, in units of our errors.
    """
    ours, theirs = (dict(np.load(folder / f"{name}.npz")) for name in ("ours", peer))
    spectra, truth = spectra[: len(theirs["numbers"])], truth[: len(theirs["numbers"])]
    ours = {name: values[: len(truth)] for name, values in ours.items()}
    right = [np.mean(side["numbers"] == truth) for side in (ours, theirs)]
    both = (ours["numbers"] == truth) & (theirs["numbers"] == truth) & (truth > 0)
    above = np.subtract(*(chi2_of(side["lines"][both], spectra[both]) for side in (theirs, ours)))
    same, there = np.abs(above) < SAME_CHI2, np.arange(MOST) < truth[both][:, None]
    apart = np.abs(ours["lines"] - theirs["lines"])[both] / ours["errors"][both]
    return right, [np.mean(sign * above >= SAME_CHI2) for sign in (1, -1)], np.quantile(apart[same][there[same]], [0.5, 0.99])


def main():
    """Run all and print."""
    parser = make_parser(__doc__, runs=3, peers=True)
    parser.add_argument("--spectra", type=int, default=2000, help="spectra that the peers fit too (default: 2000)")
    parser.add_argument("--no-pyspeckit", action="store_true", help="leave out pyspeckit, which gets an environment of its own")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "FILE"), help="one process of the benchmark, for its own use")
    arguments = read(parser)
    if arguments.child:
        side, path = arguments.child[0], Path(arguments.child[1])
        {"ours": run_ours, "large": run_large}.get(side, lambda path: run_peer(side, path))(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        m = 40 if arguments.quick else arguments.spectra
        compare(arguments, folder, m, 1 if arguments.quick else arguments.runs)
        large(folder, QUICK if arguments.quick else LARGE)


def compare(arguments, folder, m, runs):
    """Table of times of all sides on the same spectra."""
    spectra, truth = make_spectra(m)
    path = folder / "spectra.npy"
    np.save(path, spectra)
    pythons = {"levmar": sys.executable, "trf": sys.executable}
    if not arguments.no_pyspeckit:
        where = (arguments.env or folder) / "pyspeckit"
        pythons["pyspeckit"] = make_environment(where, arguments.python or sys.executable, "pyspeckit", PYSPECKIT)
    script, seconds = HERE / "decompose.py", {"ours": [], "first": [], **{name: [] for name in pythons}}
    for run in range(runs):
        say(f"run {run + 1} of {runs} ...")
        found = json.loads(child("ours", [sys.executable, script, "--child", "ours", path]))
        seconds["ours"].append(found["seconds"])
        seconds["first"].append(found["first"])
        for name, python in pythons.items():
            side = "peer" if name == "pyspeckit" else "ours"
            seconds[name].append(json.loads(child(side, [python, script, "--child", name, path]).splitlines()[-1])["seconds"])
    rows = [["sting", spread([1e3 * s for s in seconds["ours"]]), "1", *[""] * 5]]
    for name in pythons:
        (ours, theirs), above, apart = agreement(folder, name, spectra, truth)
        rows[0][3] = f"{100 * ours:.1f}"
        ratios = [one / other for one, other in zip(seconds[name], seconds["ours"], strict=True)]
        right = f"{100 * theirs:.1f}"
        shares = [f"{100 * share:.1f}" for share in above]
        rows.append([PEERS[name], spread([1e3 * s for s in seconds[name]]), spread(ratios), right, *shares, *map(digits, apart)])
    fewer = f" (pyspeckit: the first {min(m, MOST_SPECTRA['pyspeckit'])})" if "pyspeckit" in pythons else ""
    print(f"{m} spectra of {CHANNELS} channels with none to {MOST} lines, by each side{fewer}.\n")
    head = ["", "time for each spectrum (ms)", "ratio", "right number (%)", "its chi2 higher (%)", "ours higher (%)"]
    print(markdown([*head, "apart, median (sigma)", "99 % (sigma)"], rows, n_text=1))
    print("\nThe last four columns are of spectra with lines in which both sides find the right number.")
    print(f"Where chi2 of one is higher (by {SAME_CHI2} or more), its fit has stopped above the minimum that the other finds.")
    print("Apart are parameters in the others.")
    print(f"\nThe first call in a process takes {spread(seconds['first'])} s in all. {cores()} cores, load average {load()}.\n")


def large(folder, shape):
    """Table of time and memory of a large cube."""
    spectra, _ = make_spectra(shape[0] * shape[1], seed=2)
    path = folder / "cube.fits"
    as_cube(spectra.astype(np.float32), shape).write(path)
    del spectra
    say("the large cube ...")
    found = json.loads(child("ours", [sys.executable, HERE / "decompose.py", "--child", "large", path]))
    row = [found["spectra"], found["components"], digits(found["seconds"]), digits(found["peak"])]
    print(markdown(["spectra", "components", "time (s)", "peak memory (GB)"], [row], n_text=0))
    size = f"A file of {path.stat().st_size / 1e9:.2g} GB, with the pass over the neighbours."
    print(f"\n{size} {cores()} cores, load average {load()}.")


if __name__ == "__main__":
    main()
