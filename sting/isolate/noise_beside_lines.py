"""The noise of a cube that may be full of lines: from the values below zero where they are, of each pixel where it is uneven."""

import math

import numpy as np
from astropy.stats import mad_std

from sting.messages import refuse
from sting.noise import below_zero, estimate_rms, find_noise, map_below_zero
from sting.voxels import read

__all__ = []

#: Parts of the image (of each side) whose noises are compared, and from which ratio of them on each pixel has a noise of its own.
TILES, UNEVEN = 4, 1.5

#: Fewest pixels of a side of such a part.
SMALLEST_TILE = 8

#: Side (pixels) of the squares over which a map of the noise is smoothed.
SMOOTHED = 7

#: By which factor the spread of all values exceeds what those below zero say where lines fill much.
CROWDED = 1.25

#: Depth that a tenth of the values below zero exceed, in units of their median depth: of Gaussian noise 2.44, and more where a
#: continuum that was not subtracted leaves the tail of the noise only.
MOST_TAIL = 2.6


def noise_of(cube, notes):
    """Return the noise of a cube, one number or a map where it is uneven; ``notes`` learn how."""
    found = find_noise(cube)
    if found.is_lost:
        got = f"{found.padded:.1%} of it exactly zero"
        refuse("cube", "not have been masked before", got, "Estimate its noise from the cube as it was, and give that as rms.")
    if not found.rms > 0:
        refuse("cube", "hold noise", "one and the same value in most voxels", "Give rms as a number of your own.")
    spread, below, tail = _tiles(cube)
    crowded = _is_crowded(spread / below, tail)
    tiles = np.fmin(spread, below) if crowded else spread
    if crowded:
        notes.append(
            "Lines fill much of the cube: its noise is taken from the values below zero, which a continuum or negative bowls "
            "would change. Give rms if you know it better."
        )
    if len(tiles) > 1 and tiles.max() > UNEVEN * tiles.min():
        notes.append(
            f"The noise of parts of the image differs by a factor of {tiles.max() / tiles.min():.2g}: each pixel has its own, "
            f"the mean of the estimates of {SMOOTHED} x {SMOOTHED} pixels around it. Give rms as a map if you know it better."
        )
        return _noise_map(cube, crowded)
    return float(np.median(tiles)) if crowded else found.rms


def _is_crowded(ratio, tail):
    """Whether lines raise the spread somewhere, by its ratio to the noise below zero in all parts of the image (see `_tiles`)."""
    # of a continuum that was not subtracted there is only the tail of the noise below zero
    if not len(tail) or np.median(tail) > MOST_TAIL:
        return False
    # negative bowls, or so few values that it is chance, make the ratio as small elsewhere
    return bool(np.nanmax(ratio) > CROWDED and np.nanmin(ratio) > 1 / CROWDED)


def _noise_map(cube, crowded):
    """Noise of each pixel, from the values below zero where lines fill much."""
    spread = _smooth(estimate_rms(cube, per_pixel=True).value)
    if not crowded:
        return spread
    below = _smooth(map_below_zero(cube))
    return np.where(spread > CROWDED * below, below, spread)


def _smooth(noise):
    """Means of a map over squares: the channels of one pixel tell its noise to a tenth only, and too little noise has lines."""
    from scipy.ndimage import uniform_filter

    known = np.isfinite(noise)
    total, share = (uniform_filter(values, SMOOTHED, mode="constant") for values in (np.where(known, noise, 0.0), 1.0 * known))
    return np.where(known, total / np.maximum(share, 1e-9), np.nan)


def _tiles(cube):
    """Spread of the values of parts of the image, of those below zero, and the length of their tail (see `MOST_TAIL`).

    Each is from at most some hundred thousand voxels; parts without a spread are left out.
    """
    n_z, *sky = cube.shape
    edges = [np.linspace(0, n, max(1, min(TILES, n // SMALLEST_TILE)) + 1).astype(int) for n in sky]
    step, found = max(1, math.ceil(n_z * math.prod(sky) / TILES**2 / 300_000)), []
    for bottom, top in zip(edges[0][:-1], edges[0][1:], strict=True):
        # every so many rows, in which every column is looked at
        views = [(slice(0, n_z), slice(int(y), int(y) + 1), slice(0, sky[1])) for y in range(bottom, top, step)]
        rows = np.concatenate([values for _, values in read(cube, views, "noise")], axis=1)
        for left, right in zip(edges[1][:-1], edges[1][1:], strict=True):
            values = rows[..., left:right]
            values = values[np.isfinite(values) & (values != 0)]
            if len(values) and (spread := float(mad_std(values))) > 0:
                depth = -values[values < 0]
                tail = np.quantile(depth, 0.9) / np.median(depth) if len(depth) else np.inf
                found.append((spread, float(below_zero(values)), tail))
    return np.reshape(found, (-1, 3)).T
