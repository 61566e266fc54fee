"""Gaussian decomposition of the spectra of a cube."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from astropy import constants
from tqdm.auto import tqdm

import sting
from sting.core.constants import FWHM
from sting.cubes import KMS, beam_axes, cell_of, offsets, open_cube, place_of, positions, quantity, sky_position, to_velocity
from sting.isolate.components import Components, make_table
from sting.isolate.gaussians import CHUNK, adapt, fit_all, in_chunks, make_filters, padded, strongest
from sting.isolate.growth import Rules, adopt, aicc, empty, grow
from sting.isolate.noise_beside_lines import noise_of
from sting.messages import check_choice, check_whole, in_float64, is_number, named_keywords, refuse, warn
from sting.noise import check_rms
from sting.sky_regions import read_regions, region_mask
from sting.voxels import columns, read

__all__ = ["decompose"]

#: Fewest channels with a value in which a Gaussian is looked for.
FEWEST_CHANNELS = 8

#: Most spectra that one thread works on before it gets the next ones, and how many at least even if another one is idle then.
BATCH, SMALLEST_BATCH = 2048, 256

#: Passes over the image in which spectra learn from their neighbours.
PASSES = 3

#: Typical chi2 per degree of freedom beyond which the noise cannot be what it is taken for.
CHI2_RANGE = 0.8, 1.25

#: The eight neighbours of a pixel: rows and columns to them.
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


@named_keywords
@in_float64
def decompose(
    cube,
    *,
    max_components=3,
    snr_min=3.0,
    line_snr_min=5.0,
    rms=None,
    mask=None,
    region=None,
    sigma_max=None,
    neighbours=True,
    star_position=None,
    progress=True,
    callback=None,
):
    """Describe the spectra of a cube by Gaussians: none, or as many as the corrected Akaike criterion (AICc) asks for.

    Each spectrum is fitted by itself, on all cores: Levenberg-Marquardt, from a start that the data give. Component by component
    is added where the residual is largest, or by splitting the broadest; all are fitted again each time. One more is kept if it
    lowers AICc, lowers chi2 by at least the square of ``line_snr_min``, and all are bright enough. (AICc alone would take noise
    for lines: among so many channels there is always a peak that lowers chi2 by more than its penalty.) Then, where a neighbour
    has more components or a fit is poor (chi2 more than two standard deviations above what noise gives), the components of the
    neighbours are tried as another start.

    Amplitudes are positive, so absorption is not fitted; centroids lie within the axis; widths (FWHM) between one channel and
    ``sigma_max``.

    The noise is taken to be Gaussian and independent from channel to channel. That of most cubes is correlated between
    neighbouring channels (by Hanning smoothing or resampling): then the errors are too small, by about the root of the number of
    channels that one independent channel is made of, and more of the noise passes for lines. Raise ``line_snr_min`` by that
    factor, or bin the channels first.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file, continuum subtracted; read some rows at a time. An axis of frequency is turned into radio velocity.
        Blank channels (NaN) weigh nothing; spectra with fewer than eight values are left out.
    max_components : int, optional
        Largest number of components of a spectrum.
    snr_min : float, optional
        Smallest amplitude of a component, in units of the noise.
    line_snr_min : float, optional
        Smallest signal to noise of a component as a whole: a line that stands alone raises chi2 by the square of it if it is left
        out. It is the amplitude times (1.77 sigma / channel)^(1/2), in units of the noise. With 5 and 160 channels of noise, 2 of
        10,000 spectra without a line have a component; with 4, about 1 of 80.
    rms : `~astropy.units.Quantity`, optional
        The noise, a number or a map (ny, nx), NaN for pixels to leave out. By default `~sting.noise.estimate_rms`: one number, or
        a map where the noise of 16 parts of the image differs by more than a factor of 1.5. Where lines fill so much that this is
        too large by a quarter or more, the noise is that of the values below zero, unless a continuum has left few of them.
    mask : array of bool, optional
        Pixels (ny, nx) to decompose; by default all.
    region : str, path-like, `~regions.Region`, or list of `~regions.Region`, optional
        Region to decompose: a ds9 or CRTF file, or regions.
    sigma_max : `~astropy.units.Quantity`, optional
        Largest sigma; by default that of a FWHM of half of the axis.
    neighbours : bool, optional
        Whether spectra learn from their neighbours.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Origin of the offsets; by default the middle of the image.
    progress : bool, optional
        Whether to show a progress bar if it takes more than two seconds.
    callback : callable, optional
        Called with the number of spectra done; the work stops, with what there is, when it returns True.

    Returns
    -------
    `~sting.isolate.Components`
        Empty, with a warning, if there is no line.

    Raises
    ------
    ValueError
        If the cube cannot be read, has fewer than eight channels or does not tell its noise, nothing of it is selected, or a
        number makes no sense.
    TypeError
        If an argument is of another type.
    FileNotFoundError
        If a file does not exist.
    ~astropy.units.UnitsError
        If ``rms`` or ``sigma_max`` has a unit of another kind, or none.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 24, 24))
    >>> components = decompose(scene.cube, rms=scene.rms, star_position=scene.star_position)
    >>> components.table["x", "y", "amplitude", "velocity", "sigma"].colnames
    ['x', 'y', 'amplitude', 'velocity', 'sigma']
    """
    given = open_cube(cube)
    work = _prepare(given, max_components, snr_min, line_snr_min, rms, mask, region, sigma_max, star_position)
    check_choice("neighbours", neighbours, (True, False))
    if callback is not None and not callable(callback):
        refuse("callback", "be callable", repr(callback), "Pass a function of the number of spectra done.", TypeError)
    work.find_noise(rms)
    with ThreadPoolExecutor(_n_cores()) as pool:
        _first_pass(work, pool, progress, callback)
        if neighbours and not work.stopped:
            _later_passes(work, pool, progress, callback)
    return Components(_table(work), given)


@dataclass(eq=False)
class _Work:
    """A decomposition under way: what it is of, by which rules, and what has been found of each pixel (as `grow` returns it)."""

    cube: object
    velocity: np.ndarray
    channel: float
    rules: Rules
    selected: np.ndarray
    meta: dict
    offsets: tuple
    rms: np.ndarray | None = None
    best: dict | None = None
    fitted: np.ndarray | None = None
    stopped: bool = False
    notes: list = field(default_factory=list)

    def find_noise(self, rms):
        """Set the noise of each pixel, given or found."""
        values = noise_of(self.cube, self.notes) if rms is None else check_rms(rms, self.cube)
        self.rms = np.broadcast_to(np.asarray(values, float), self.cube.shape[1:])
        self.selected = self.selected & np.isfinite(self.rms) & (self.rms > 0)
        n_pixels = self.selected.size
        self.best, self.fitted = empty(n_pixels, self.rules), np.zeros(n_pixels, bool)

    def spectra(self, wanted):
        """Yield the numbers of some pixels (bool, (ny, nx)) and their spectra in units of the noise, a batch at a time."""
        n_z, _, n_x = self.cube.shape
        batch = min(BATCH, max(SMALLEST_BATCH, int(wanted.sum()) // (2 * _n_cores())))
        for view in columns(self.cube):
            y, x = np.nonzero(wanted[view[1:]])
            if not len(y):
                continue
            # one by one: the bar of all the spectra is enough
            ((_, values),) = read(self.cube, [view])
            for begin_at in range(0, len(y), batch):
                some = slice(begin_at, begin_at + batch)
                pixels = (y[some] + view[1].start) * n_x + x[some] + view[2].start
                found = np.full((len(pixels), len(self.rules.x)), np.nan)
                found[:, :n_z] = values[:, y[some], x[some]].T / self.rms.ravel()[pixels, None]
                found[~np.isfinite(found)] = np.nan
                yield pixels, found


def _prepare(cube, max_components, snr_min, line_snr_min, rms, mask, region, sigma_max, star_position):
    """Check all that a user gives, and put together what is asked for."""
    cube = to_velocity(cube)
    n_z = cube.shape[0]
    if n_z < FEWEST_CHANNELS:
        cure = "Decompose a cube with more channels."
        refuse("cube", f"have at least {FEWEST_CHANNELS} channels for Gaussians to be fitted to", f"{n_z}", cure)
    max_components = check_whole("max_components", max_components, 1, 3)
    for name, value, example in (("snr_min", snr_min, 3), ("line_snr_min", line_snr_min, 5)):
        if not (is_number(value) and value >= 0):
            refuse(name, "be a number of at least 0", repr(value), f"Use for example {example}.")
    if rms is not None:
        check_rms(rms, cube)
    velocity = cube.spectral_axis.to_value(KMS)
    channel = abs(float(np.median(np.diff(velocity))))
    narrowest, widest = _widths(sigma_max, n_z, channel)
    center = _middle(cube) if star_position is None else sky_position("star_position", star_position)
    x = np.arange(padded(n_z), dtype=float)
    # in channels, whatever the axis does
    x[:n_z] = (velocity - velocity[0]) * np.sign(velocity[-1] - velocity[0]) / channel
    bounds = np.array([[0.0, x[0], narrowest], [np.inf, x[n_z - 1], widest]])
    filters = make_filters(x, narrowest, widest, n_z)
    rules = Rules(x, bounds, filters, max_components, float(snr_min), float(line_snr_min))
    rest = cube.wcs.wcs.restfrq or (constants.c.value / cube.wcs.wcs.restwav if cube.wcs.wcs.restwav else 0)
    meta = {
        "unit": cube.unit.to_string(),
        "max_components": max_components,
        "snr_min": float(snr_min),
        "line_snr_min": float(line_snr_min),
        "sigma_min": narrowest * channel,
        "sigma_max": widest * channel,
        "beam": None if (axes := beam_axes(cube)) is None else list(axes),
        "pixel": cell_of(cube)[0],
        "channel": channel,
        "origin": place_of(center, positions(cube.wcs.celestial, (0, 0)).frame),
        "rest_frequency": float(rest) or None,
        "shape": [int(n) for n in cube.shape],
        "wcs": dict(cube.wcs.celestial.to_header()),
        "version": sting.__version__,
    }
    return _Work(cube, velocity, channel, rules, _selection(cube, mask, region), meta, offsets(cube, center))


def _widths(sigma_max, n_channels, channel):
    """Smallest and largest sigma, in channels."""
    narrowest, widest = 1 / FWHM, n_channels / 2 / FWHM
    if sigma_max is not None:
        widest = quantity("sigma_max", sigma_max, KMS).value / channel
        if widest <= narrowest:
            got = f"{widest * channel:.4g} km/s"
            refuse("sigma_max", f"be larger than {narrowest * channel:.4g} km/s, a FWHM of one channel", got, "Raise it.")
    return narrowest, float(widest)


def _middle(cube):
    """Position of the middle of the image, or the reference position where that is not on the sky."""
    wcs = cube.wcs.celestial
    middle = positions(wcs, [(n - 1) / 2 for n in cube.shape[:0:-1]])
    if np.isfinite([middle.spherical.lon.deg, middle.spherical.lat.deg]).all():
        return middle
    return positions(wcs, wcs.wcs.crpix - 1)


def _selection(cube, mask, region):
    """Which pixels are asked for."""
    shape = cube.shape[1:]
    selected = np.ones(shape, bool)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != shape or mask.dtype != bool:
            refuse("mask", f"be an array of bool of shape {shape}", f"{mask.dtype} of shape {mask.shape}", "Compare it: map > 0.")
        selected &= mask
    if region is not None:
        selected &= region_mask(read_regions(region), cube.wcs.celestial, shape)
    if not selected.any():
        refuse("mask, region", "select a pixel of the cube", "none", "Check their positions and the coordinate frame.")
    return selected


def _n_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_programs(rules):
    """Have all programs ready: two threads would make each of them twice."""
    n = len(rules.x)
    spectra = np.zeros((CHUNK, n))
    for programs in range(rules.max_components + 1):
        fits = np.tile([1.0, 0.0, 1.0], (CHUNK, programs, 1))
        if programs < rules.max_components:
            in_chunks(strongest, (fits, spectra), rules.x, rules.filters)
        if programs:
            # given up at once
            fit_all(fits, spectra, rules.x, rules.bounds, np.full(CHUNK, -np.inf))
            in_chunks(adapt, (fits, spectra), rules.x)


def _all_done(pool, function, items):
    """Yield what a function makes of each item, in their order, by all threads, few items ahead."""
    ahead, waiting = 2 * _n_cores(), deque()
    function = in_float64(function)  # a setting of each thread
    try:
        for item in items:
            waiting.append(pool.submit(function, *item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for one in waiting:
            one.cancel()


def _first_pass(work, pool, progress, callback):
    """Decompose each spectrum by itself."""
    rules, best, done = work.rules, work.best, 0
    _make_programs(rules)

    def one(pixels, spectra):
        # of too few values nothing is asked
        enough = np.isfinite(spectra).sum(axis=1) >= FEWEST_CHANNELS
        return pixels[enough], grow(spectra[enough], rules), len(pixels)

    total = int(work.selected.sum())
    with tqdm(total=total, unit="spectrum", desc="Gaussians", disable=not progress, delay=2, leave=False) as bar:
        for pixels, found, n in _all_done(pool, one, work.spectra(work.selected)):
            for name, values in found.items():
                best[name][pixels] = values
            work.fitted[pixels] = True
            done += n
            bar.update(n)
            if callback is not None and callback(done):
                work.stopped = True
                work.notes.append(f"Stopped after {done} of {total} spectra; no spectrum has learnt from its neighbours.")
                return
    if (n_left := total - int(work.fitted.sum())) > 0:
        work.notes.append(f"{n_left} spectra with fewer than {FEWEST_CHANNELS} values were left out.")


def _later_passes(work, pool, progress, callback):
    """Let spectra learn from their neighbours, as long as any does."""
    rules, shape = work.rules, work.cube.shape[1:]
    n_fitted = int(work.fitted.sum())
    # those that have a neighbour to learn from
    look = _around(work.best["n"].reshape(shape) > 0)
    for number in range(PASSES):
        look &= work.fitted.reshape(shape)
        if not look.any():
            return
        # all learn from the same: what comes out does not depend on the order
        before = {name: work.best[name].copy() for name in ("n", "fit")}

        def one(pixels, spectra, before=before):
            found = {name: values[pixels] for name, values in work.best.items()}
            changed = adopt(spectra, found, _neighbours(before, pixels, shape), rules)
            return pixels[changed], {name: values[changed] for name, values in found.items()}, len(pixels)

        now, total = np.zeros(look.size, bool), int(look.sum())
        what = f"neighbours {number + 1}/{PASSES}"
        with tqdm(total=total, unit="spectrum", desc=what, disable=not progress, delay=2, leave=False) as bar:
            for pixels, found, n in _all_done(pool, one, work.spectra(look)):
                for name, values in found.items():
                    work.best[name][pixels] = values
                now[pixels] = True
                bar.update(n)
                if callback is not None and callback(n_fitted):
                    work.stopped = True
                    work.notes.append("Stopped while spectra were learning from their neighbours.")
                    return
        look = _around(now.reshape(shape))


def _around(pixels):
    """Pixels (ny, nx) that have one of some as a neighbour."""
    wide = np.pad(pixels, 1)
    n_y, n_x = pixels.shape
    return np.any([wide[1 + dy : 1 + dy + n_y, 1 + dx : 1 + dx + n_x] for dy, dx in NEIGHBOURS], axis=0)


def _neighbours(best, pixels, shape):
    """Numbers of components (m, 8) and components (m, 8, k, 3) of the neighbours of pixels."""
    y, x = (place[:, None] + step for place, step in zip(np.unravel_index(pixels, shape), np.transpose(NEIGHBOURS), strict=True))
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    places = np.where(inside, y * shape[1] + x, 0)
    return np.where(inside, best["n"][places], 0), best["fit"][places]


def _table(work):
    """The table of all components."""
    best, rules, shape = work.best, work.rules, work.cube.shape[1:]
    pixels, k = np.nonzero(np.arange(rules.max_components) < best["n"][:, None])
    amplitude, centroid, width = best["fit"][pixels, k].T
    errors = best["errors"][pixels, k].T * [[1.0], [work.channel], [work.channel]]
    rms, n, n_values = work.rms.ravel()[pixels], best["n"][pixels], best["n_values"][pixels]
    y, x = np.unravel_index(pixels, shape)
    values = {
        "x": x,
        "y": y,
        "ra_offset": np.ravel(work.offsets[0])[pixels],
        "dec_offset": np.ravel(work.offsets[1])[pixels],
        "amplitude": amplitude * rms,
        "velocity": np.interp(centroid, rules.x[: len(work.velocity)], work.velocity),
        "sigma": width * work.channel,
        "amplitude_err": errors[0] * rms,
        "velocity_err": errors[1],
        "sigma_err": errors[2],
        "snr": amplitude,
        "line_snr": best["line"][pixels, k],
        "rms": rms,
        "n_components": n,
        "aicc": aicc(best["loss"][pixels], n, n_values),
        "chi2": best["loss"][pixels] / np.maximum(n_values - 3 * n, 1),
    }
    order = np.lexsort((values["velocity"], pixels))
    used = work.rms.ravel()[work.fitted]
    n_spectra = int(work.fitted.sum())
    _say(work, n_spectra, width)
    head = {"rms": float(np.median(used)) if n_spectra else None, "n_spectra": n_spectra, "notes": work.notes}
    return make_table({name: value[order] for name, value in values.items()}, head | work.meta)


def _say(work, n_spectra, width):
    """Note, and warn of, what is worth knowing of the outcome."""
    if not n_spectra and not work.stopped:
        why = "no spectrum that was selected has values and a noise"
    elif not len(width):
        rules = work.rules
        why = f"no line of at least {rules.least_amplitude:g} rms and a signal to noise of {rules.least_line:g} as a whole"
    else:
        why = None
    if why is not None and not work.stopped:
        work.notes.append(f"There is no component: {why}.")
        warn(work.notes[-1])
    freedom = np.maximum(work.best["n_values"] - 3 * work.best["n"], 1)[work.fitted]
    chi2 = float(np.median(work.best["loss"][work.fitted] / freedom)) if n_spectra else 1.0
    if not CHI2_RANGE[0] < chi2 < CHI2_RANGE[1]:
        work.notes.append(
            f"Chi2 per degree of freedom is {chi2:.2g} in a typical spectrum: check rms, for example by "
            "estimate_rms(cube, line_free=...), which looks at channels without a line."
        )
    if n_wide := int(np.sum(width > 0.999 * work.rules.bounds[1, 2])):
        work.notes.append(
            f"{n_wide} components are as wide as sigma_max: a continuum that was not subtracted, or wings wider than that."
        )
