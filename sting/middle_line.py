"""Places on the middle line of a streamer, out of its bins, and their errors from the noise.

The flux-weighted mean of a bin is not such a place. A cut keeps the noise that lifts a voxel over its limit; whole pixels leave a narrow
bin lopsided; beam and width carry emission over the edges of the bin, most of it beyond the end of the streamer; and the mean over
a bend lies inside it. Each is undone here, to first order, by what the voxels themselves tell.

Notation: I(x) the brightness of voxels above the limit T of the cut, w(x) the share that a bin has of a voxel. Of emission that was
blurred by a Gaussian of covariance S, the mean of the unblurred places is x + S grad log I (Tweedie's formula, Efron 2011,
doi:10.1198/jasa.2011.tm11181). With the weights w (I - T) its mean over a bin is, after an integration by parts in which nothing is left at
the edge of the cut, that of x less S sum(J grad w) / sum(w (I - T)), with J = I - T - T log(I / T): no derivative of noise is taken.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import fft

from sting.messages import refuse

FWHM = math.sqrt(8 * math.log(2))

#: Half-width, in blurs, of the stretch of the streamer whose bend is taken off a point, and the degree of the polynomial fitted to it.
STRETCH, DEGREE = 2.0, 3


class Edge(NamedTuple):
    """Between two bins: its place in d, and the gradient of d there in d per blur, shape (3,)."""

    d: float
    gradient: np.ndarray

    def share(self, d):
        """What of each voxel lies beyond the edge, which is one blur wide, and minus its gradient in (3, n)."""
        width = np.linalg.norm(self.gradient) or 1.0
        u = (d - self.d) / width + 0.5
        return np.clip(u, 0, 1), (self.gradient / width)[:, None] * ((u > 0) & (u < 1))


class Part(NamedTuple):
    """A bin: its place in (blurs, d), the variance along d of the streamer in it, and how its place follows each voxel's noise."""

    place: np.ndarray
    variance: float
    voxels: np.ndarray
    response: np.ndarray


class VoxelNoise(NamedTuple):
    """Noise of voxels: rms, correlated as the beam within a channel and independent between channels."""

    #: In the unit of the brightness.
    rms: float
    #: Major and minor axis (arcsec) and position angle (deg).
    beam: tuple
    #: (RA, Dec) offset (arcsec) from one column and one row to the next, shape (2, 2).
    step: np.ndarray
    #: Channels, rows and columns of the voxels, shape (3, n).
    place: np.ndarray

    def errors(self, voxels, response):
        """Variances of what follows the noise of some voxels as ``response`` (3, n) says: of the first two together, and of the third."""
        channel, *pixel = self.place[:, voxels]
        pixel = [axis - axis.min() for axis in pixel]
        # wide enough that what is smoothed over one edge does not come back over the other
        reach = 3 * self.beam[0] / FWHM * math.sqrt(2) / min(np.linalg.norm(self.step, axis=0))
        shape = [fft.next_fast_len(int(axis.max() + 1 + reach)) for axis in pixel]
        power = self._power(shape)
        # two maps at once, whose cross term is imaginary
        maps, sums = (response[0] + 1j * response[1], response[2]), np.zeros(2)
        order = np.argsort(channel, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(channel[order])) + 1):
            for k, values in enumerate(maps):
                image = np.zeros(shape, complex)
                image[pixel[0][part], pixel[1][part]] = values[part]
                sums[k] += np.vdot(power, np.abs(fft.fft2(image, overwrite_x=True)) ** 2)
        return self.rms**2 * sums

    def _power(self, shape):
        """Fourier transform of the correlation: that of noise that went through the beam is the beam's with itself."""
        rows, columns = (fft.fftfreq(n, 1 / n) for n in shape)
        ra, dec = (self.step[i, 0] * columns + self.step[i, 1] * rows[:, None] for i in (0, 1))
        major, minor, angle = self.beam[0] / FWHM, self.beam[1] / FWHM, math.radians(self.beam[2])
        along, across = ra * math.sin(angle) + dec * math.cos(angle), dec * math.sin(angle) - ra * math.cos(angle)
        return fft.fft2(np.exp(-((along / major) ** 2 + (across / minor) ** 2) / 4)).real / math.prod(shape)


def middle_line(points, flux, d, bins, noise, cell):
    """Points and their uncertainties, each (3, n), from the outside in.

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
    gain = 1 - limit / flux if limit else np.ones(len(flux))
    n = bins.max() + 1
    if not min(np.bincount(bins, weight)) > 0:
        refuse("streamer_cube", "have positive flux in every bin", "none", "Raise rms_thresh: a bin holds noise.")
    least = np.array([cell[0], cell[0], cell[1]]) ** 2 / 12
    blur = _blur(points, weight, excess, d, bins, least)
    z = np.vstack([points / blur[:, None], d])
    edges = [Edge(-np.inf, np.zeros(3)), *(_edge(z, weight, bins, i) for i in range(1, n)), Edge(np.inf, np.zeros(3))]
    parts = [_part(z, weight, excess, gain, edges[i : i + 2], _gradient(z, weight, bins == i)) for i in range(n)]
    places, variances = np.array([part.place for part in parts]), np.array([part.variance for part in parts])
    tangent, bend = _derivatives(places[:, 3], STRETCH * np.median([np.linalg.norm(edge.gradient) for edge in edges[1:-1]]))
    straight = np.eye(n) - variances[:, None] / 2 * bend
    errors = [_error(part, slope, noise) for part, slope in zip(parts, tangent @ places[:, :3], strict=True)]
    # of a bin of few voxels the place is known to a part of one
    floor = [least / len(part.voxels) ** 2 for part in parts]
    sigma = np.sqrt(straight**2 @ (np.maximum(np.array(errors) * blur**2, floor)))
    return ((straight @ places[:, :3]) * blur)[::-1].T, sigma[::-1].T


def _gradient(z, weight, kept):
    """Gradient of d in the first three coordinates, fitted to some voxels."""
    covariance = np.cov(z[:, kept], aweights=weight[kept] + 1e-9 * weight.max())
    return np.linalg.pinv(covariance[:3, :3], rcond=1e-6) @ covariance[:3, 3]


def _edge(z, weight, bins, i):
    """The edge below bin ``i``: half-way between the voxels on its sides, with the gradient of those within a blur of it."""
    place = (z[3, bins < i].max() + z[3, bins >= i].min()) / 2
    gradient = _gradient(z, weight, (bins == i) | (bins == i - 1))
    near = np.abs(z[3] - place) < np.linalg.norm(gradient)
    return Edge(place, _gradient(z, weight, near) if near.sum() > 9 else gradient)


def _blur(points, weight, excess, d, bins, least):
    """What beam and width blur a streamer by (standard deviations, (3,)): the same along it as is seen across it."""
    total = np.bincount(bins, weight)
    means = np.array([np.bincount(bins, weight * axis) for axis in (*points, d)]) / total
    slope = np.gradient(means[:3], means[3], axis=1)
    off = points - means[:3, bins] - slope[:, bins] * (d - means[3, bins])
    normal = np.array([-slope[1], slope[0]]) / np.maximum(np.hypot(*slope[:2]), 1e-300)
    # that of a Gaussian above a limit, from the same integration by parts
    across = weight @ np.sum(normal[:, bins] * off[:2], axis=0) ** 2 / excess.sum()
    steep = slope[2] ** 2 / np.maximum(slope[0] ** 2 + slope[1] ** 2, 1e-300)
    line = weight @ off[2] ** 2 / excess.sum() - across * (steep @ total) / total.sum()
    return np.sqrt(np.maximum([across, across, line], least))


def _part(z, weight, excess, gain, edges, gradient):
    """The part between two edges, in which d has a ``gradient``."""
    (inside, slope), (outside, other) = (edge.share(z[3]) for edge in edges)
    voxels = np.flatnonzero(inside - outside)
    share, slope = (inside - outside)[voxels], (slope - other)[:, voxels]
    z, excess = z[:, voxels], excess[voxels]
    total = share @ weight[voxels]
    mean = z @ (share * weight[voxels]) / total
    moved = -np.append(slope @ excess, gradient @ slope @ excess) / total
    off = z - mean[:, None]
    variance = off[3] ** 2 @ (share * weight[voxels]) / total - moved[3] ** 2
    variance += (gradient @ gradient * (total - 2 * share @ excess) - 2 * (off[3] * (gradient @ slope)) @ excess) / total
    response = (off - moved[:, None]) * share - np.vstack([slope, gradient @ slope]) * gain[voxels]
    return Part(mean + moved, max(variance, 0.0), voxels, response / total)


def _derivatives(d, width):
    """Matrices that give the first and the second derivative at each place, by polynomials fitted around it; of few places none."""
    n = len(d)
    degree = min(DEGREE, n - 2)
    first, second = np.zeros((n, n)), np.zeros((n, n))
    for i, away in enumerate(d - d[:, None]):
        # wide enough for two places more than there are coefficients to fit, if there are
        scale = max(width, np.sort(np.abs(away))[min(degree + 2, n) - 1] / 1.5)
        root = np.exp(-((away / scale) ** 2) / 4)
        fit = np.linalg.pinv(root[:, None] * np.vander(away / scale, max(degree, 1) + 1, increasing=True)) * root
        first[i] = fit[1] / scale
        if degree > 1:
            second[i] = 2 * fit[2] / scale**2
    return first, second


def _error(part, tangent, noise):
    """Variances (3,) of the place of a part off the middle line; where on it the place lies makes no difference to a fit."""
    sky, velocity = noise.errors(part.voxels, part.response[:3] - tangent[:, None] * part.response[3])
    return np.array([sky, sky, velocity])
