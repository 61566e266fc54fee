"""Images and spectra of a cube, a channel at a time: a cube larger than the memory can be looked at."""

import numpy as np
from astropy.wcs.utils import pixel_to_skycoord

from sting.cubes import KMS, beam_axes, cell_of, channels_between, offsets

#: Voxels from which brightness limits and noise are estimated for display.
SAMPLE = 2_000_000


class CubeImages:
    """What is shown of a cube.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`
        With a velocity axis in km/s.
    star_position : `~astropy.coordinates.SkyCoord`
        Origin of the offsets.

    Attributes
    ----------
    velocity : `~numpy.ndarray`
        Velocities of the channels (km/s), shape (n_channels,).
    channel_width : float
        Width of a channel (km/s).
    shape : tuple of int
        Channels, rows and columns.
    matrix, origin : `~numpy.ndarray`
        Offset from the star (RA, Dec; arcsec) of the pixel (x, y): ``matrix @ (x, y) + origin``.
    noise : float
        Robust standard deviation of a sample of the voxels that are not zero: for contours and colours, not for cuts.
    limits : tuple of float
        Brightness from faint to bright, for colours.
    peak : float
        Largest brightness of the sample.
    beam : tuple of float or None
        Major axis, minor axis (arcsec) and position angle (deg).
    unit : str
        Unit of the brightness.
    """

    def __init__(self, cube, star_position):
        self.cube = cube
        self.shape = cube.shape
        self.velocity = cube.spectral_axis.to_value(KMS)
        self.unit = cube.unit.to_string()
        self.matrix, self.origin = _affine(cube, star_position)
        self._last = None, None
        self.beam = beam_axes(cube)
        self.channel_width = cell_of(cube)[1]
        self.noise, self.limits, self.peak = self._scale()

    def _scale(self):
        step = max(1, int(np.ceil((np.prod(self.shape) / SAMPLE) ** (1 / 3))))
        if step == 1:
            values = self.cube.filled_data[:].value
        else:
            values = np.concatenate([self.channel(i)[::step, ::step] for i in range(0, self.shape[0], step)])
        values = values[np.isfinite(values) & (values != 0)]
        if not values.size:
            return 1.0, (0.0, 1.0), 1.0
        noise = 1.4826 * float(np.median(np.abs(values - np.median(values))))
        high = float(np.percentile(values, 99.95))
        return noise, (min(0.0, -1.5 * noise), max(high, 3 * noise)), max(float(values.max()), 3 * noise)

    def channel(self, index):
        """One channel.

        Parameters
        ----------
        index : int
            Number of the channel.

        Returns
        -------
        `~numpy.ndarray`
            Shape (rows, columns), NaN where blank.
        """
        kept, image = self._last
        if kept != index:
            image = np.asarray(self.cube.filled_data[index, :, :].value)
            image = image.astype(image.dtype.newbyteorder("="), copy=False)
            self._last = index, image
        return image

    def spectrum(self, x, y):
        """Spectrum of a pixel.

        Parameters
        ----------
        x, y : int
            The pixel.

        Returns
        -------
        `~numpy.ndarray`
            Shape (n_channels,).
        """
        return np.asarray(self.cube.filled_data[:, y, x].value, dtype=float)

    def moments(self, low=None, high=None):
        """Integrated brightness and its mean velocity over a range of velocities.

        Parameters
        ----------
        low, high : float, optional
            Velocity range (km/s).

        Returns
        -------
        integrated, mean_velocity : `~numpy.ndarray`
            Moment 0 (brightness times km/s) and moment 1 (km/s; of what exceeds three times the noise), NaN where
            there is nothing, shape (rows, columns).
        """
        total, weight, weighted = (np.zeros(self.shape[1:]) for _ in range(3))
        seen = np.zeros(self.shape[1:], bool)
        for i in self.channels(low, high):
            image = np.asarray(self.cube.filled_data[int(i), :, :].value)
            there = np.isfinite(image) & (image != 0)
            np.add(total, image, out=total, where=there)
            seen |= there
            bright = there & (image > 3 * self.noise)
            weight[bright] += image[bright]
            weighted[bright] += image[bright] * self.velocity[i]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(weight > 0, weighted / weight, np.nan)
        return np.where(seen, total * self.channel_width, np.nan), mean

    def channels(self, low=None, high=None):
        """Return the channels of a range of velocities.

        Parameters
        ----------
        low, high : float, optional
            Velocity range (km/s).

        Returns
        -------
        `~numpy.ndarray` of int
        """
        low, high = -np.inf if low is None else low, np.inf if high is None else high
        return channels_between(self.velocity, low, high)

    def to_pixel(self, ra, dec):
        """Turn offsets from the star into pixel coordinates.

        Parameters
        ----------
        ra, dec : array-like
            Offsets (arcsec).

        Returns
        -------
        x, y : `~numpy.ndarray`
        """
        return np.linalg.solve(self.matrix, np.stack([np.ravel(ra), np.ravel(dec)]) - self.origin[:, None])

    def to_offset(self, x, y):
        """Turn pixel coordinates into offsets from the star (arcsec).

        Parameters
        ----------
        x, y : array-like
            Pixel coordinates.

        Returns
        -------
        ra, dec : `~numpy.ndarray`
        """
        return self.matrix @ np.stack([np.ravel(x), np.ravel(y)]) + self.origin[:, None]

    def pixel_at(self, ra, dec):
        """Whole pixel at an offset, or None outside the image.

        Parameters
        ----------
        ra, dec : float
            Offset (arcsec).

        Returns
        -------
        tuple of int or None
        """
        x, y = (round(float(v[0])) for v in self.to_pixel(ra, dec))
        return (x, y) if 0 <= x < self.shape[2] and 0 <= y < self.shape[1] else None

    def describe(self, ra, dec, value=None):
        """Offset, sky coordinates and brightness of a place in words.

        Parameters
        ----------
        ra, dec : float
            Offset (arcsec).
        value : float, optional
            Brightness.

        Returns
        -------
        str
        """
        x, y = (float(v[0]) for v in self.to_pixel(ra, dec))
        place = pixel_to_skycoord(x, y, self.cube.wcs.celestial)
        frame = "" if place.frame.name in ("icrs", "fk5") else f" {place.frame.name}"
        style = "decimal" if frame else "hmsdms"
        text = f"{place.to_string(style, precision=4 if frame else 2)}{frame} ({ra:.2f}, {dec:.2f})"
        return text if value is None else f"{text} {value:.3g} {self.unit}"


def _affine(cube, star):
    """Best affine map from pixel to offset, with which the map is drawn; over arcminutes it is good to a fraction of a pixel."""
    rows, columns = (np.linspace(-0.5, n - 0.5, 25) for n in cube.shape[1:])
    y, x = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
    terms = np.stack([x, y, np.ones(len(x))], axis=1)
    known = np.stack(offsets(cube, star, (x, y)), axis=1)
    good = np.isfinite(known).all(axis=1)
    solution = np.linalg.lstsq(terms[good], known[good], rcond=None)[0]
    return solution[:2].T, solution[2]
