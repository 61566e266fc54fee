"""Places on the middle line of a streamer, out of its bins, and their errors from the noise.

The flux-weighted mean of a bin is no such place. A cut keeps the noise that lifts a voxel over its limit; whole pixels leave a
narrow bin lopsided; beam and width carry emission over the edges of the bin, and beyond the end of the streamer; the mean over
a bend lies inside it. Each is undone here by what the voxels themselves tell.

Notation: I(x) is the brightness of the voxels above the limit T of the cut, w(x) the share that a bin has of a voxel. Of emission
that a Gaussian of covariance S has blurred, the mean of the places before is x + S grad log I (Tweedie's formula; Efron 2011,
doi:10.1198/jasa.2011.tm11181). With the weights w (I - T), and integrated by parts, for which nothing is left at the edge of the
cut, its mean over a bin is that of x less S sum(J grad w) / sum(w (I - T)), with J = I - T - T log(I / T). No derivative of noisy
data is taken.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sting.core.constants import FWHM
from sting.messages import EMPTY_BIN, refuse
from sting.voxels import groups_of

#: How far around a point, in blurs, the polynomials reach that tell the bend of the streamer, and their degree.
STRETCH, DEGREE = 2.0, 3

#: How far the noise of a voxel reaches, in standard deviations of the beam: there its correlation is a per cent.
REACH = 3 * math.sqrt(2)

#: Sides of images are multiples of this, so that many have the same; and pixels of one whose Fourier transform is worth keeping.
ROUND, KEPT = 8, 10_000


class Edge(NamedTuple):
    """Between two bins: its place in d, and the gradient of d there in d per blur, shape (3,)."""

    d: float
    gradient: np.ndarray

    def share(self, d):
        """What of each voxel lies beyond the edge, which is a blur wide, and the gradient of that in (3, n)."""
        width = np.linalg.norm(self.gradient) or 1.0
        u = (d - self.d) / width + 0.5
        return np.clip(u, 0, 1), (self.gradient / width)[:, None] * ((u > 0) & (u < 1))


class Part(NamedTuple):
    """A bin: place in (blurs, d), variance of d of the streamer in it, and how its place follows the noise of its voxels."""

    place: np.ndarray
    variance: float
    voxels: np.ndarray
    response: np.ndarray


class Voxels(NamedTuple):
    """Places in blurs and d (4, n), brightness above the limit, J (see above), and the derivative of J by I, each (n,)."""

    z: np.ndarray
    weight: np.ndarray
    excess: np.ndarray
    gain: np.ndarray


class VoxelNoise(NamedTuple):
    """Noise of voxels that is correlated like the beam within a channel, and independent between channels.

    Its rms in the unit of the brightness; major and minor axis (arcsec) and position angle (deg) of the beam; (RA, Dec) offsets
    (arcsec) from a column and a row to the next, shape (2, 2); channels, rows and columns of the voxels, shape (3, n).
    """

    rms: float
    beam: tuple
    step: np.ndarray
    index: np.ndarray

    def errors(self, voxels, response):
        """Variances (3,) of what follows the noise as ``response`` (3, n) says; for each of the first two their sum."""
        from scipy import fft

        channel, *pixel = self.index[:, voxels]
        reach = math.ceil(REACH * self.beam[0] / FWHM / np.linalg.norm(self.step, axis=0).min())
        # two real maps at once: their cross term is imaginary
        maps = response[0] + 1j * response[1], response[2]
        # a small field is not worth being parted
        is_small = math.prod(int(np.ptp(axis)) + 1 + reach for axis in pixel) <= KEPT
        group = channel if is_small else _apart(channel, *(axis // reach for axis in pixel))
        alone = np.bincount(group)[group] == 1
        sums = np.array([np.linalg.norm(values[alone]) ** 2 for values in maps])
        order = np.flatnonzero(~alone)[np.argsort(group[~alone], kind="stable")]
        for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else ():
            place = [axis[part] - axis[part].min() for axis in pixel]
            # room enough, so that what is smoothed over one edge does not come back over the other
            shape = tuple(fft.next_fast_len(-(-(int(axis.max()) + 1 + reach) // ROUND) * ROUND) for axis in place)
            power = self._power(shape)
            for k, values in enumerate(maps):
                image = np.zeros(shape, complex)
                # a voxel may be there twice, for two bins
                np.add.at(image, tuple(place), values[part])
                sums[k] += np.vdot(power, np.abs(fft.fft2(image, overwrite_x=True)) ** 2)
        return self.rms**2 * sums[[0, 0, 1]]

    def _power(self, shape):
        """Fourier transform of the correlation. Those of small images, of which there are many, are kept."""
        find = _power_of if math.prod(shape) <= KEPT else _power_of.__wrapped__
        return find(shape, tuple(self.beam), tuple(map(tuple, self.step.tolist())))


@lru_cache(maxsize=64)
def _power_of(shape, beam, step):
    """Fourier transform of the correlation, which is that of the beam with itself."""
    from scipy import fft

    rows, columns = (fft.fftfreq(n, 1 / n) for n in shape)
    ra, dec = (one * columns + other * rows[:, None] for one, other in step)
    major, minor, angle = beam[0] / FWHM, beam[1] / FWHM, math.radians(beam[2])
    along, across = ra * math.sin(angle) + dec * math.cos(angle), dec * math.sin(angle) - ra * math.cos(angle)
    return fft.fft2(np.exp(-((along / major) ** 2 + (across / minor) ** 2) / 4)).real / math.prod(shape)


def _apart(channel, row, column):
    """Number of the group that each voxel belongs to: those that are not even in neighbouring cells of a channel are apart."""
    # with an empty column beside the last, and an empty row below
    n_columns, n_rows = column.max() + 2, row.max() + 2
    cells, cell = np.unique((channel * n_rows + row) * n_columns + column, return_inverse=True)
    return groups_of(cells, (1, n_columns - 1, n_columns, n_columns + 1))[cell]


def middle_line(points, flux, d, bins, noise, cell):
    """Points on the middle line and their uncertainties, each (3, n), from the outside in.

    Parameters
    ----------
    points, flux, d, bins : `~numpy.ndarray`
        Offsets and velocities (3, n) of the voxels, their brightness, way along the streamer, and bin.
    noise : VoxelNoise
        Their noise.
    cell : tuple of float
        Size of a pixel (arcsec) and width of a channel (km/s).
    """
    limit = max(float(flux.min()), 0.0)
    weight = flux - limit
    excess = weight - limit * np.log(flux / limit) if limit else flux
    if not min(np.bincount(bins, weight)) > 0:
        refuse("streamer_cube", "have positive flux in every bin", "none in one", EMPTY_BIN)
    least = np.array([cell[0], cell[0], cell[1]]) ** 2 / 12
    blur = np.sqrt(np.maximum(_blur(points, weight, excess, d, bins), least))
    gain = 1 - limit / flux if limit else np.ones(len(flux))
    voxels = Voxels(np.vstack([points / blur[:, None], d]), weight, excess, gain)
    edges = _edges(voxels, bins)
    parts = [_part(voxels, *edges[i : i + 2], _gradient(voxels, bins == i)) for i in range(len(edges) - 1)]
    places, straight, doubt, slopes = _straightened(parts, np.median([np.linalg.norm(edge.gradient) for edge in edges[1:-1]]))
    covariance = _covariance(parts, slopes, noise) * (blur**2)[:, None, None]
    # of a bin of few voxels the place is known to a part of one at best
    np.einsum("kii->ki", covariance)[:] += np.transpose([least / len(part.voxels) ** 2 for part in parts])
    sigmas = np.sqrt(_effective(straight @ covariance @ straight.T) + doubt.T * (blur**2)[:, None])
    return (places * blur)[::-1].T, sigmas[:, ::-1]


def _blur(points, weight, excess, d, bins):
    """Variances (3,) of what beam and width blur a streamer by: along it as much as is seen across it."""
    total = np.bincount(bins, weight)
    means = np.array([np.bincount(bins, weight * axis) for axis in (*points, d)]) / total
    slope = np.gradient(means[:3], means[3], axis=1)
    off = points - means[:3, bins] - slope[:, bins] * (d - means[3, bins])
    steep = np.maximum(np.hypot(*slope[:2]), 1e-300)
    normal = np.array([-slope[1], slope[0]]) / steep
    # the variance of a Gaussian of which the part above a limit is seen, by the same integration by parts
    across = weight @ np.sum(normal[:, bins] * off[:2], axis=0) ** 2 / excess.sum()
    line = weight @ off[2] ** 2 / excess.sum() - across * np.average((slope[2] / steep) ** 2, weights=total)
    return np.array([across, across, line])


def _gradient(voxels, kept):
    """Gradient of d in the first three coordinates, fitted to some voxels."""
    covariance = np.cov(voxels.z[:, kept], aweights=voxels.weight[kept] + 1e-9 * voxels.weight.max())
    return np.linalg.pinv(covariance[:3, :3], rcond=1e-6) @ covariance[:3, 3]


def _edges(voxels, bins):
    """The edges between the bins, half-way between the voxels on their sides, and one beyond all of them at each end."""
    d, edges = voxels.z[3], []
    for i in range(1, bins.max() + 1):
        place = (d[bins < i].max() + d[bins >= i].min()) / 2
        gradient = _gradient(voxels, (bins == i) | (bins == i - 1))
        near = np.abs(d - place) < np.linalg.norm(gradient)
        edges.append(Edge(place, _gradient(voxels, near) if near.sum() > 9 else gradient))
    return [Edge(-np.inf, np.zeros(3)), *edges, Edge(np.inf, np.zeros(3))]


def _part(voxels, lower, upper, gradient):
    """The part between two edges, in which d has a ``gradient``."""
    (share, slope), (beyond, other) = (edge.share(voxels.z[3]) for edge in (lower, upper))
    kept = np.flatnonzero(share - beyond)
    share, slope = (share - beyond)[kept], (slope - other)[:, kept]
    z, weight, excess, gain = (axis[..., kept] for axis in voxels)
    total = share @ weight
    mean = z @ (share * weight) / total
    slope = np.vstack([slope, gradient @ slope])
    moved = -slope @ excess / total
    off = z - mean[:, None]
    # the second moment by the same formula: that of the voxels, and of what the blur hides along d
    variance = off[3] ** 2 @ (share * weight) / total - moved[3] ** 2
    variance += (gradient @ gradient * (total - 2 * share @ excess) - 2 * (off[3] * slope[3]) @ excess) / total
    response = ((off - moved[:, None]) * share - slope * gain) / total
    return Part(mean + moved, max(variance, 0.0), kept, response)


def _straightened(parts, width):
    """Places (n, 3) with the bend taken off, the matrix that does it, the variance of what is doubtful in it, and slopes by d."""
    places, d = np.array([part.place[:3] for part in parts]), np.array([part.place[3] for part in parts])
    half = np.array([part.variance for part in parts])[:, None] / 2
    degree = min(DEGREE, max(2, len(d) - 2), len(d) - 1)
    slope, bend = _derivatives(d, STRETCH * width, degree)
    _, simpler = _derivatives(d, STRETCH * width, degree - 1)
    straight = np.eye(len(d)) - half * bend
    # what a polynomial of a degree less would take off differs by what is not known of the bend
    doubt, slopes = half * (bend - simpler) @ places, slope @ places
    doubt -= slopes * np.sum((doubt * slopes)[:, :2], axis=1, keepdims=True) / np.sum(slopes[:, :2] ** 2, axis=1, keepdims=True)
    doubt[:, :2] = np.hypot(*doubt[:, :2].T)[:, None]
    return straight @ places, straight, doubt**2, slopes


def _derivatives(d, width, degree):
    """Matrices that give the first and the second derivative at each place, by polynomials fitted around it."""
    first, second = np.zeros((2, len(d), len(d)))
    for i, away in enumerate(d - d[:, None]):
        # wide enough for two places more than the polynomial needs, if there are
        scale = max(width, np.sort(np.abs(away))[min(degree + 2, len(d)) - 1] / 1.5)
        root = np.exp(-((away / scale) ** 2) / 4)
        fit = np.linalg.pinv(root[:, None] * np.vander(away / scale, max(degree, 1) + 1, increasing=True)) * root
        first[i] = fit[1] / scale
        if degree > 1:
            second[i] = 2 * fit[2] / scale**2
    return first, second


def _covariance(parts, slopes, noise):
    """Covariances (3, n, n) of the places of parts and their neighbours off the middle line.

    Where on it a point lies makes no difference to a fit.
    """
    off = [part.response[:3] - slope[:, None] * part.response[3] for part, slope in zip(parts, slopes, strict=True)]
    found = np.zeros((3, len(parts), len(parts)))
    for i, part in enumerate(parts):
        found[:, i, i] = noise.errors(part.voxels, off[i])
    for i in range(len(parts) - 1):
        both = noise.errors(np.append(parts[i].voxels, parts[i + 1].voxels), np.hstack(off[i : i + 2]))
        found[:, i, i + 1] = found[:, i + 1, i] = (both - found[:, i, i] - found[:, i + 1, i + 1]) / 2
    return found


def _effective(covariance):
    """Variances (3, n) that uncorrelated points had if they told as little of what they have in common as these do."""
    return np.maximum(np.einsum("kii->ki", covariance), covariance.sum(axis=2))
