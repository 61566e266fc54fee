"""Streamers of known truth: cubes and points for tests, tutorials and first runs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from sting.cubes import quantity, sky_position
from sting.extract_streamline import Streamer
from sting.messages import check_whole, named_keywords, refuse
from sting.parameters import check_distance
from sting.stream_lines_grad import streamline

__all__ = ["TRUTH", "SyntheticCube", "make_streamer_cube", "make_streamer_points"]

#: A streamer like that of NGC 1333 IRAS 2A, the default of this module.
TRUTH = {
    "r0": 2800 * u.au,
    "theta0": 52 * u.deg,
    "phi0": 60 * u.deg,
    "v_r0": 0.3 * u.km / u.s,
    "omega": 5.5e-13 / u.s,
    "mass": 4.0 * u.Msun,
    "inc": -45 * u.deg,
    "pa": 194 * u.deg,
    "rmin": 50 * u.au,
    "v_lsr": 7.5 * u.km / u.s,
}

FWHM = np.sqrt(8 * np.log(2))

#: NGC 1333 IRAS 2A.
STAR = SkyCoord("3h28m55.569s", "+31d14m37.025s", frame="fk5")


@dataclass(frozen=True, eq=False)
class SyntheticCube:
    """A synthetic observation and the truth behind it.

    Attributes
    ----------
    cube : `~spectral_cube.SpectralCube`
        The observation, with noise.
    model : `~numpy.ndarray`
        The same without noise, in K, of the shape of the cube.
    truth : dict
        Parameters of the streamline as Quantities.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity`
        Distance of the star.
    rms : `~astropy.units.Quantity`
        Noise of one voxel.
    """

    cube: Any
    model: np.ndarray
    truth: dict
    star_position: SkyCoord
    distance: u.Quantity
    rms: u.Quantity


@named_keywords
def make_streamer_cube(
    params=None,
    *,
    distance=293 * u.pc,
    star_position=None,
    seed=0,
    shape=(70, 100, 100),
    pixel=0.2 * u.arcsec,
    channel=0.1 * u.km / u.s,
    beam=(1.2 * u.arcsec, 1.0 * u.arcsec, 22 * u.deg),
    width=1.2 * u.arcsec,
    line_width=0.35 * u.km / u.s,
    peak=0.6 * u.K,
    rms=0.03 * u.K,
    rest_frequency=231.410234 * u.GHz,
):
    """Make a position-position-velocity cube of a streamer with beam, channels and beam-correlated noise.

    The streamer is a chain of Gaussian clouds along the streamline, equally bright along its projected length; the beam is folded
    in exactly and the line is integrated over each channel.

    Parameters
    ----------
    params : dict, optional
        Parameters of the streamline (see `~sting.stream_lines_grad.streamline`); by default `TRUTH`.
    distance : `~astropy.units.Quantity` or float, optional
        Distance of the star, a number being in pc.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Position of the star; by default that of NGC 1333 IRAS 2A.
    seed : int, optional
        Seed of the noise.
    shape : tuple of int, optional
        Channels, rows and columns. The field is centred on the streamer and the star together.
    pixel : `~astropy.units.Quantity`, optional
        Size of a pixel.
    channel : `~astropy.units.Quantity`, optional
        Width of a channel.
    beam : tuple of `~astropy.units.Quantity`, optional
        Major axis, minor axis (FWHM) and position angle of the beam.
    width : `~astropy.units.Quantity`, optional
        FWHM of the streamer across its path.
    line_width : `~astropy.units.Quantity`, optional
        FWHM of the line at each place.
    peak : `~astropy.units.Quantity`, optional
        Brightest voxel of the noise-free cube.
    rms : `~astropy.units.Quantity`, optional
        Noise of one voxel; 0 for none.
    rest_frequency : `~astropy.units.Quantity`, optional
        Rest frequency of the line.

    Returns
    -------
    `SyntheticCube`

    Raises
    ------
    ValueError
        If the noise or a width is negative or the parameters are not those of a streamline.

    Examples
    --------
    >>> scene = make_streamer_cube(seed=3, shape=(40, 64, 64))
    >>> scene.cube.shape
    (40, 64, 64)
    """
    from radio_beam import Beam
    from spectral_cube import SpectralCube

    truth = dict(TRUTH if params is None else params)
    distance = check_distance(distance) * u.pc
    star = STAR if star_position is None else sky_position("star_position", star_position)
    if len(shape) != 3 or min(shape) < 1:
        refuse("shape", "be three positive whole numbers", shape, "Give channels, rows and columns.")
    numbers = _positive(pixel=(pixel, u.arcsec), channel=(channel, u.km / u.s), peak=(peak, u.K))
    numbers |= _positive(zero=True, width=(width, u.arcsec), line_width=(line_width, u.km / u.s), rms=(rms, u.K))
    path = streamline(truth, distance=distance, n_points=400)
    header, axes = _grid(path, star, shape, numbers, rest_frequency)
    sky_beam = Beam(*beam)
    covariance = _beam_covariance(sky_beam)
    model = _emission(path, axes, covariance, numbers)
    model *= numbers["peak"] / model.max()
    noise = _noise(shape, covariance / numbers["pixel"] ** 2, seed) * numbers["rms"]
    cube = SpectralCube((model + noise) * u.K, wcs=WCS(header), header=header, beam=sky_beam)
    return SyntheticCube(cube, model, truth, star, distance, rms)


def _positive(zero=False, **quantities):
    """Values of quantities in their units, which must be positive (or zero)."""
    values = {name: quantity(name, value, unit).value for name, (value, unit) in quantities.items()}
    for name, value in values.items():
        if value < 0 or (value == 0 and not zero):
            refuse(name, "not be negative" if zero else "be positive", quantities[name][0], "Correct it.")
    return values


def _grid(path, star, shape, numbers, rest_frequency):
    """FITS header centred on star and streamer, and the offsets (arcsec) and velocities (km/s) of the voxels from the star."""
    n_v, n_y, n_x = shape
    middle = [(np.append(v.value, 0).min() + np.append(v.value, 0).max()) / 2 for v in (path.ra, path.dec)]
    v_middle = (path.velocity.value.min() + path.velocity.value.max()) / 2
    pixel, channel = numbers["pixel"], numbers["channel"]
    # the star is the reference position; half-way round the pixels that leaves it at a whole one
    x_star = round((n_x - 1) / 2 + middle[0] / pixel)
    y_star = round((n_y - 1) / 2 - middle[1] / pixel)
    v_first = v_middle - channel * (n_v - 1) / 2
    header = WCS(naxis=3)
    header.wcs.ctype = ["RA---SIN", "DEC--SIN", "VRAD"]
    header.wcs.cunit = ["deg", "deg", "km/s"]
    header.wcs.crval = [star.fk5.ra.deg, star.fk5.dec.deg, v_first]
    header.wcs.crpix = [x_star + 1, y_star + 1, 1]
    header.wcs.cdelt = [-pixel / 3600, pixel / 3600, channel]
    header.wcs.radesys, header.wcs.equinox, header.wcs.specsys = "FK5", 2000.0, "LSRK"
    header.wcs.restfrq = rest_frequency.to_value(u.Hz)
    header = header.to_header()
    header["BUNIT"] = "K"
    header["OBJECT"] = "synthetic streamer"
    ra = -(np.arange(n_x) - x_star) * pixel
    dec = (np.arange(n_y) - y_star) * pixel
    return header, (v_first + channel * np.arange(n_v), dec, ra)


def _beam_covariance(beam):
    """Covariance (arcsec^2) of a Gaussian beam in (RA offset, Dec offset)."""
    sigma = np.array([beam.major.to_value(u.arcsec), beam.minor.to_value(u.arcsec)]) / FWHM
    pa = beam.pa.to_value(u.rad)
    axes = np.array([[np.sin(pa), -np.cos(pa)], [np.cos(pa), np.sin(pa)]])
    return axes @ np.diag(sigma**2) @ axes.T


def _emission(path, axes, beam_covariance, numbers):
    """Noise-free emission, up to its scale."""
    velocity, dec, ra = axes
    covariance = beam_covariance + np.eye(2) * (numbers["width"] / FWHM) ** 2
    inverse = np.linalg.inv(covariance)
    # clouds weigh as much as the projected length that they stand for
    length = np.hypot(np.gradient(path.ra.value), np.gradient(path.dec.value))
    d_ra, d_dec = ra[None, :] - path.ra.value[:, None], dec[None, :] - path.dec.value[:, None]
    exponent = (
        inverse[0, 0] * d_ra[:, None, :] ** 2
        + inverse[1, 1] * d_dec[:, :, None] ** 2
        + 2 * inverse[0, 1] * d_ra[:, None, :] * d_dec[:, :, None]
    )
    images = length[:, None, None] * np.exp(-exponent / 2)
    sigma = max(numbers["line_width"] / FWHM, 1e-6)
    edge = (velocity[None, :] - path.velocity.value[:, None]) / (np.sqrt(2) * sigma)
    half = numbers["channel"] / (2 * np.sqrt(2) * sigma)
    from scipy.special import erf

    spectra = erf(edge + half) - erf(edge - half)
    return np.tensordot(spectra, images, axes=(0, 0))


def _noise(shape, pixel_covariance, seed):
    """Gaussian noise of unit variance, correlated like the beam within a channel and independent between channels."""
    n_v, n_y, n_x = shape
    white = np.random.default_rng(seed).standard_normal((n_v, n_y, n_x))
    # RA grows against the columns
    covariance = pixel_covariance * np.array([[1, -1], [-1, 1]])
    k_x, k_y = 2 * np.pi * np.fft.rfftfreq(n_x), 2 * np.pi * np.fft.fftfreq(n_y)
    exponent = covariance[0, 0] * k_x[None, :] ** 2 + covariance[1, 1] * k_y[:, None] ** 2
    exponent = exponent + 2 * covariance[0, 1] * k_x[None, :] * k_y[:, None]
    kernel = np.exp(-exponent / 2)
    smooth = np.fft.irfft2(np.fft.rfft2(white) * kernel, s=(n_y, n_x))
    power = np.fft.irfft2(kernel**2, s=(n_y, n_x))[0, 0]
    return smooth / np.sqrt(power)


@named_keywords
def make_streamer_points(
    params=None,
    *,
    distance=293 * u.pc,
    n_elements=10,
    part=(0.1, 0.9),
    sigma=(0.5 * u.arcsec, 0.5 * u.arcsec, 0.1 * u.km / u.s),
    seed=None,
):
    """Make the points of a streamer directly, without a cube.

    Parameters
    ----------
    params : dict, optional
        Parameters of the streamline; by default `TRUTH`.
    distance : `~astropy.units.Quantity` or float, optional
        Distance of the star, a number being in pc.
    n_elements : int, optional
        Number of points.
    part : tuple of float, optional
        Part of the projected path that the points cover, from 0 (its start) to 1 (its inner end).
    sigma : tuple of `~astropy.units.Quantity`, optional
        Uncertainties of RA offset, Dec offset and velocity.
    seed : int or None, optional
        Seed of the noise that is added to the points; None for points exactly on the streamline.

    Returns
    -------
    `~sting.streamer.Streamer`
        With the points themselves as point cloud.

    Raises
    ------
    ValueError
        If ``part`` is not a range within 0 to 1.

    Examples
    --------
    >>> len(make_streamer_points(n_elements=6))
    6
    """
    if len(part) != 2 or not 0 <= part[0] < part[1] <= 1:
        refuse("part", "be a range within 0 and 1", part, "Use for example (0.1, 0.9).")
    n_elements = check_whole("n_elements", n_elements, 1, 10)
    units = (u.arcsec, u.arcsec, u.km / u.s)
    spread = np.array([quantity("sigma", s, unit).value for s, unit in zip(sigma, units, strict=True)])
    if not (spread > 0).all():
        refuse("sigma", "be positive", sigma, "Correct it.")
    path = streamline(TRUTH if params is None else params, distance=distance, n_points=4000)
    curve = np.array([path.ra.value, path.dec.value, path.velocity.value])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve[:2], axis=1)))])
    # points of the computed path itself, not between them, so that they lie on it exactly
    index = np.searchsorted(length, np.linspace(*part, n_elements) * length[-1]).clip(max=len(length) - 1)
    points = curve[:, index]
    sigmas = np.repeat(spread[:, None], n_elements, axis=1)
    if seed is not None:
        points = points + sigmas * np.random.default_rng(seed).standard_normal(points.shape)
    cloud = np.vstack([points, np.ones(n_elements)])
    return Streamer(cloud, *points, *sigmas, meta={"uncertainty": "given"})
