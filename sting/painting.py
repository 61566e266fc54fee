"""How synthetic emission gets onto the voxels of a cube: the grid, the beam, the channels and the noise."""

import numpy as np
from astropy import units as u
from astropy.wcs import WCS

from sting.core.constants import FWHM

__all__ = []


def grid(path, star, shape, numbers, rest_frequency, v_middle):
    """FITS header centred on star and streamer, and the offsets (arcsec) from the star and velocities (km/s) of the voxels."""
    n_v, n_y, n_x = shape
    middle = [(np.append(v.value, 0).min() + np.append(v.value, 0).max()) / 2 for v in (path.ra, path.dec)]
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


def beam_covariance(beam):
    """Covariance (arcsec^2) of a Gaussian beam in (RA offset, Dec offset)."""
    sigma = np.array([beam.major.to_value(u.arcsec), beam.minor.to_value(u.arcsec)]) / FWHM
    pa = beam.pa.to_value(u.rad)
    axes = np.array([[np.sin(pa), -np.cos(pa)], [np.cos(pa), np.sin(pa)]])
    return axes @ np.diag(sigma**2) @ axes.T


def streamer_emission(path, axes, beam, numbers):
    """Noise-free emission of a streamer, up to its scale; ``beam`` is the covariance of the beam."""
    velocity, dec, ra = axes
    covariance = beam + np.eye(2) * (numbers["width"] / FWHM) ** 2
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


def samples_emission(samples, axes, beam, numbers):
    """Noise-free emission of point sources (RA and Dec offset, velocity, flux), up to its scale; ``beam`` is its covariance.

    What lies outside the grid by less than a beam or a line counts as well.
    """
    line, pixel_covariance = numbers["line_width"] / numbers["channel"] / FWHM, beam / numbers["pixel"] ** 2
    # four standard deviations: nothing comes round to the other side
    margin = [int(np.ceil(4 * width)) for width in (line, *np.sqrt(pixel_covariance.diagonal()[::-1]))]
    shape = tuple(len(axis) + 2 * extra for axis, extra in zip(axes, margin, strict=True))
    steps = numbers["channel"], numbers["pixel"], -numbers["pixel"]
    *places, flux = samples
    index = [
        np.rint((place - axis[0]) / step).astype(int) + extra
        for place, axis, step, extra in zip(places[::-1], axes, steps, margin, strict=True)
    ]
    inside = np.all([(k >= 0) & (k < length) for k, length in zip(index, shape, strict=True)], axis=0)
    voxels = np.ravel_multi_index([k[inside] for k in index], shape)
    sharp = np.bincount(voxels, flux[inside], minlength=np.prod(shape)).reshape(shape)
    transfer = np.exp(-((2 * np.pi * np.fft.fftfreq(shape[0]) * line) ** 2) / 2)[:, None, None]
    transfer = transfer * _beam_transfer(shape[1:], pixel_covariance)
    blurred = np.fft.irfftn(np.fft.rfftn(sharp) * transfer, s=shape, axes=(0, 1, 2))
    # rounding leaves what is empty a little below zero
    return blurred[tuple(slice(extra, extra + len(axis)) for axis, extra in zip(axes, margin, strict=True))].clip(min=0)


def beam_noise(shape, pixel_covariance, seed):
    """Gaussian noise of unit variance, correlated like the beam within a channel and independent between channels."""
    n_v, n_y, n_x = shape
    white = np.random.default_rng(seed).standard_normal((n_v, n_y, n_x))
    transfer = _beam_transfer((n_y, n_x), pixel_covariance)
    smooth = np.fft.irfft2(np.fft.rfft2(white) * transfer, s=(n_y, n_x))
    power = np.fft.irfft2(transfer**2, s=(n_y, n_x))[0, 0]
    return smooth / np.sqrt(power)


def _beam_transfer(shape, pixel_covariance):
    """Fourier transform of a Gaussian beam of unit flux, as `numpy.fft.rfft2` orders it."""
    n_y, n_x = shape
    # RA grows against the columns
    covariance = pixel_covariance * np.array([[1, -1], [-1, 1]])
    k_x, k_y = 2 * np.pi * np.fft.rfftfreq(n_x), 2 * np.pi * np.fft.fftfreq(n_y)
    exponent = covariance[0, 0] * k_x[None, :] ** 2 + covariance[1, 1] * k_y[:, None] ** 2
    exponent = exponent + 2 * covariance[0, 1] * k_x[None, :] * k_y[:, None]
    return np.exp(-exponent / 2)
