"""The way along emission that bends back: a principal curve through it.

That of Hastie & Stuetzle (1989, doi:10.1080/01621459.1989.10478797), started from the shortest ways through the emission, so
that a hook or a loop is followed and not cut across.
"""

import math

import numpy as np
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

#: Cells into which the emission is gathered, at the most, and their size at the least. All lengths are in resolutions.
MOST_CELLS, CELL = 1500, 0.5

#: Cells with less than this fraction of the typical density of emission have no say.
SPARSE = 0.4

#: A way costs the sum of its steps to this power: it takes many short ones, and crosses a gap only where it must.
POWER = 4

#: Width of smoothing at the least: by itself, as a fraction of the length of the curve, and of the scatter about it.
SMOOTHING, FRACTION, WIDE = 1.0, 1 / 15, 1.5

#: Spacing of the vertices of the curve, and how often it is drawn anew at the most.
SPACING, N_ROUNDS = 0.1, 5

#: Fraction of the emission at each end through which the curve runs straight.
END = 0.03


def along_curve(points, flux, resolution):
    """Length along the principal curve of the place nearest to each point, from the inner end outwards.

    Parameters
    ----------
    points : `~numpy.ndarray`
        RA offset, Dec offset from the star, velocity, shape (3, n).
    flux : `~numpy.ndarray`
        Their weights, shape (n,); negative ones count as zero.
    resolution : sequence of float
        What counts as one step in each: beam, beam, line width.

    Returns
    -------
    `~numpy.ndarray`
        Shape (n,), in steps.
    """
    points, flux = points / np.reshape(resolution, (3, 1)), np.maximum(flux, 0)
    cells, mass = _gather(points, flux)
    length = _first_lengths(cells, mass)
    curve = _smooth(cells, mass, length, max(SMOOTHING, FRACTION * np.ptp(length)))
    length = _project(cells, curve)
    # a streamer does not bend within its own width: what would is its clumps
    width = max(SMOOTHING, FRACTION * np.ptp(length), WIDE * _scatter(cells, mass, curve))
    for _ in range(N_ROUNDS):
        curve = _smooth(cells, mass, length, width)
        before, length = length, _project(cells, curve)
        if np.abs(length - before).max() < SPACING:
            break
    return _project(points, curve)


def _gather(points, flux):
    """Centres of mass (3, n) and masses (n,) of the cells of a grid; those that are sparse are left out."""
    size, kept = CELL, flux > 0
    points, flux = points[:, kept], flux[kept]
    while True:
        _, cell = np.unique(np.floor(points / size).astype(int), axis=1, return_inverse=True)
        cell = cell.ravel()
        if cell.max() < MOST_CELLS:
            break
        size *= 1.25
    mass, count = np.bincount(cell, flux), np.bincount(cell)
    cells = np.array([np.bincount(cell, flux * axis) for axis in points]) / mass
    kept = _is_dense(cells, count)
    return cells[:, kept], mass[kept]


def _is_dense(cells, count):
    """Whether there is emission all around a cell: noise and the ragged edge have no say in where the curve runs."""
    density = np.exp(-cdist(cells.T, cells.T, "sqeuclidean") / 2) @ count
    order = np.argsort(density)
    typical = density[order[np.searchsorted(np.cumsum(count[order]), 0.5 * count.sum())]]
    return density > SPARSE * typical


def _first_lengths(cells, mass):
    """Length of each cell along the cheapest ways that end at the outer end of the emission."""
    distance = cdist(cells.T, cells.T)
    order = np.argsort(np.hypot(*cells[:2]))
    inner = order[: 1 + np.searchsorted(np.cumsum(mass[order]), 0.1 * mass.sum())]
    middle = np.average(cells[:, inner], axis=1, weights=mass[inner])
    start = inner[np.argmin(np.linalg.norm(cells[:, inner] - middle[:, None], axis=0))]
    length = _lengths(cells, distance, np.argmax(_lengths(cells, distance, start)))
    return length.max() - length


def _lengths(cells, distance, start):
    """Length of the cheapest way from the start to each cell."""
    cost, before = dijkstra(distance**POWER, indices=start, return_predecessors=True)
    length = np.zeros(len(cost))
    for cell in np.argsort(cost)[1:]:
        length[cell] = length[before[cell]] + distance[cell, before[cell]]
    return length


def _scatter(cells, mass, curve):
    """Typical distance of the cells from a curve."""
    distance, _ = cKDTree(curve.T).query(cells.T)
    return math.sqrt(np.average(distance**2, weights=mass))


def _smooth(cells, mass, length, width):
    """Vertices of the curve (3, n): straight lines fitted locally to the cells along their order, and continued at both ends."""
    order = np.argsort(length)
    # at the very ends a local fit is at the mercy of a few cells: from the last percents on the curve runs straight
    first, last = np.interp((END, 1 - END), np.cumsum(mass[order]) / mass.sum(), length[order])
    places = np.linspace(first, last, 2 + int((last - first) / SPACING))
    away = (length - places[:, None]) / width
    # relative to the nearest cell, so that a gap has weights as well
    weight = mass * np.exp((np.min(away**2, axis=1, keepdims=True) - away**2) / 2)
    s0, s1, s2 = (np.sum(weight * away**k, axis=1) for k in range(3))
    t0, t1 = (weight * away**k @ cells.T for k in range(2))
    slope = (s0[:, None] * t1 - s1[:, None] * t0) / (s0 * s2 - s1**2 + 1e-6 * s0**2)[:, None]
    curve = (t0 - s1[:, None] * slope) / s0[:, None]
    before, after = first - length.min() + SMOOTHING, length.max() - last + SMOOTHING
    inner = curve[0] - slope[0] / width * np.arange(SPACING, before, SPACING)[::-1, None]
    outer = curve[-1] + slope[-1] / width * np.arange(SPACING, after, SPACING)[:, None]
    return np.concatenate([inner, curve, outer]).T


def _project(points, curve):
    """Length along a curve, given by close vertices (3, n), of its place nearest to each point."""
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(curve, axis=1), axis=0)))
    tangent = np.gradient(curve, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=0), np.finfo(float).tiny)
    _, nearest = cKDTree(curve.T).query(points.T)
    beyond = np.sum((points - curve[:, nearest]) * tangent[:, nearest], axis=0)
    return length[nearest] + np.clip(beyond, -SPACING / 2, SPACING / 2)
