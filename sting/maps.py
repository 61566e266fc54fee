"""Maps of a Gaussian decomposition: reading them, and the means and widths of the emission that they stand for."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area, wcs_to_celestial_frame

from sting.core.constants import FWHM
from sting.cubes import KMS, axes_of, has_size, pixels_per_beam, place_of, positions, quantity, sky_offsets, sky_position
from sting.files import existing_file, reading
from sting.messages import check_choice, refuse, warn
from sting.point_tables import unit_of
from sting.reduction import (
    ORDERINGS,
    UNCERTAINTIES,
    bin_by_bin,
    bins_along,
    boundaries,
    bounded_sigmas,
    check_beams,
    distances,
    merged,
    refuse_far_star,
    refuse_too_few,
    resolution,
    weighted_moments,
)

#: Largest distance (in pixels) between the same pixel of two maps.
SAME_PLACE = 0.01


@dataclass(frozen=True)
class Map:
    """A map as it was given: values (n_y, n_x), unit, celestial WCS and header, each of the latter None if it has none."""

    values: np.ndarray
    unit: object
    wcs: WCS | None
    header: fits.Header | None

    @property
    def beam(self):
        """Major and minor axis (arcsec) and position angle (deg) of the beam in the header, or None."""
        return _beam_of_header({} if self.header is None else self.header)


def open_map(name, given):
    """A `Map` of a FITS file, an HDU, a Projection, a Quantity or an array."""
    if isinstance(given, str | os.PathLike):
        given = _open_file(name, Path(given))
    header = getattr(given, "header", None)
    unit, wcs = getattr(given, "unit", None), getattr(given, "wcs", None)
    if isinstance(given, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
        # of an HDU without data the WCS would warn before this refuses it
        unit, wcs, given = header.get("BUNIT"), None if given.data is None else _wcs_of(name, header), given.data
    values = _numbers(getattr(given, "value", given))
    # FITS files of maps often keep the axes of their cube, one plane long
    if values.ndim > 2 and np.prod(values.shape[:-2]) == 1:
        values = values.reshape(values.shape[-2:])
    if values.ndim != 2:
        found = f"shape {values.shape}" if values.size else type(given).__name__
        refuse(name, "be a map: a FITS file, an HDU, a Projection or a 2D array", found, "Select one component of one line.")
    return Map(values, unit, wcs.celestial if wcs is not None and wcs.has_celestial else None, header)


def _numbers(given):
    """Real numbers as an array, NaN where they are masked; empty if they are none."""
    try:
        values = np.ma.asarray(given)
        return np.ma.filled(values.astype(float), np.nan) if values.dtype.kind in "biuf" else np.zeros(0)
    except (AttributeError, TypeError, ValueError):
        return np.zeros(0)


def _open_file(name, path):
    existing_file(name, path, "be a map or an existing FITS file")
    with (
        reading(name, "be a FITS file with an image", repr(str(path)), "Open the right HDU yourself and pass it."),
        fits.open(path, memmap=False) as hdus,
    ):
        images = [hdu.copy() for hdu in hdus if hdu.is_image and hdu.data is not None]
        if not images:
            raise ValueError("no image in it")
        return images[0]


def _wcs_of(name, header):
    with reading(name, "have world coordinates that astropy reads", "a header", "Mend the header."):
        return WCS(header)


def _common_wcs(maps, stated):
    """The one WCS of maps of one shape."""
    shapes = {name: one.values.shape for name, one in maps.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        refuse("peak, velocity, width", "have one shape", found, "Give maps of one decomposition.")
    if stated is not None and not isinstance(stated, WCS):
        if not isinstance(stated, fits.Header):
            refuse("wcs", "be a WCS or a FITS header", type(stated).__name__, "Write WCS(header).", TypeError)
        stated = _wcs_of("wcs", stated)
    found = {name: one.wcs for name, one in maps.items() if one.wcs is not None}
    if stated is not None and stated.has_celestial:
        found["wcs"] = stated.celestial
    if not found:
        refuse("wcs", "be given with celestial axes for maps without", "none", "Pass the WCS or the header of the cube.")
    first, *others = found
    for name in others:
        _check_same(first, name, found[first], found[name], next(iter(shapes.values())))
    return found[first]


def _check_same(first, name, wcs, other, shape):
    n_y, n_x = shape
    corners = np.array([[0, n_x - 1, 0, n_x - 1], [0, 0, n_y - 1, n_y - 1]])
    there = other.pixel_to_world(*corners)
    pixel = math.sqrt(proj_plane_pixel_area(wcs)) * u.deg
    away = (wcs.pixel_to_world(*corners).separation(there) / pixel).to_value(u.one).max()
    # not "greater than", so that NaN is refused as well
    if not away < SAME_PLACE:
        cure = "Regrid them to one grid of pixels."
        refuse(f"{first}, {name}", "have the same WCS", f"pixels {away:.3g} pixels apart", cure)


def _velocity(name, one, stated):
    unit = unit_of(name, "its values", one.unit, None if one.unit else stated, KMS, "velocity_unit='km/s'")
    return one.values * unit.to(KMS)


def _mask(mask):
    try:
        return np.asarray(mask)
    except ValueError:  # rows of several lengths
        return np.asarray(mask, dtype=object)


def _chosen(peak, velocity, width, mask, threshold):
    """The pixels that have a component, and that were chosen."""
    values = np.array([peak, velocity, width])
    empty = (~np.isfinite(values) | (values == 0)).all(axis=0)
    good = np.isfinite(values).all(axis=0) & (peak > 0) & (width > 0)
    chosen = np.ones(peak.shape, bool)
    if mask is not None:
        mask = _mask(mask)
        if mask.dtype != bool or mask.shape != peak.shape:
            found = f"{mask.dtype} of shape {mask.shape}"
            refuse("mask", f"be boolean and of the maps' shape {peak.shape}", found, "Write for example peak > 3 * noise.")
        chosen &= mask
    if threshold is not None:
        chosen &= ~(peak < threshold)
    broken = chosen & ~good & ~empty
    if broken.any():
        warn(f"{broken.sum()} pixels were left out: their peak or width is not positive, or one of the three is blank.")
    if not (good & chosen).any():
        refuse("peak, velocity, width", "leave at least one pixel with a component", "none", "Check mask, threshold and maps.")
    return good & chosen


def _threshold(threshold, unit):
    """Smallest peak to keep, in the unit of the map."""
    if threshold is None:
        return None
    try:
        value = threshold.to_value(unit) if isinstance(threshold, u.Quantity) else float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if np.ndim(value) or not np.isfinite(value):
        refuse("threshold", f"be a number or a Quantity in the unit of peak ({unit})", repr(threshold), "Use for example 0.1.")
    return float(value)


def _beam(beam, peak):
    """Major and minor axis (arcsec) and position angle (deg), stated or of a map, or None."""
    if beam is None:
        return peak.beam
    try:
        axes = axes_of(beam)
    except AttributeError:
        refuse("beam", "be a radio_beam.Beam", repr(beam), "Write Beam(1 * u.arcsec, 1 * u.arcsec, 0 * u.deg).", TypeError)
    if not has_size(axes):
        refuse("beam", "have a size", beam, "Correct its axes.")
    return list(axes)


def _beam_of_header(header):
    """Of a beam in degrees, if the header holds one that has a size."""
    major = header.get("BMAJ", 0.0)
    try:
        axes = [float(header.get(key, default)) for key, default in (("BMAJ", 0.0), ("BMIN", major), ("BPA", 0.0))]
    except ValueError:
        return None
    return [axes[0] * 3600, axes[1] * 3600, axes[2]] if has_size(axes) else None


def _moments(points, flux, width, meta):
    """Means and uncertainties of the pixels of one bin, each of length 3: those of the voxels that their Gaussians fill."""
    mean, variance = weighted_moments(points, flux)
    # law of total variance: the lines' own width adds to the scatter of their centres
    variance[2] += width**2 @ flux / flux.sum()
    pixel, channel, independent = meta["pixel"], meta.get("channel", 0.0), None
    if meta["uncertainty"] == "mean":
        # a sampled Gaussian counts as 2 sqrt(pi) sigma / channel channels: (sum f)^2 / sum f^2
        effective = 2 * math.sqrt(math.pi) / channel * flux.sum() ** 2 / np.sum(flux**2 / width)
        independent = effective / pixels_per_beam(meta["beam"], pixel)
    return mean, bounded_sigmas(variance, pixel, channel, independent)


def _meta(peak, wcs, uncertainty, beam, channel):
    check_choice("uncertainty", uncertainty, UNCERTAINTIES)
    meta = {"uncertainty": uncertainty, "pixel": math.sqrt(proj_plane_pixel_area(wcs)) * 3600}
    meta["intensity_unit"] = f"{u.one if peak.unit is None else peak.unit} km / s".strip()
    if channel is not None:
        meta["channel"] = float(quantity("channel", channel, KMS).value)
        if not meta["channel"] > 0:
            refuse("channel", "be positive", channel, "Give the width of the channels of the cube.")
    if (axes := _beam(beam, peak)) is not None:
        meta["beam"] = axes
    if uncertainty == "mean" and not {"beam", "channel"} <= set(meta):
        found = "neither" if not {"beam", "channel"} & set(meta) else "one of them"
        refuse("beam, channel", "be known for uncertainty='mean'", found, "Pass both (channel is the cube's), or use 'spread'.")
    return meta


def reduce_maps(
    maps,
    yso_centre,
    n_elements,
    *,
    wcs,
    width_kind,
    velocity_unit,
    mask,
    threshold,
    uncertainty,
    ordering,
    min_beams,
    beam,
    channel,
):
    """Cloud (4, n_pixels), means and uncertainties (3, n_elements or fewer) from the outside in, and meta."""
    check_choice("width_kind", width_kind, ("sigma", "fwhm"))
    check_choice("ordering", ordering, ORDERINGS)
    min_beams = check_beams(min_beams)
    star = sky_position("yso_centre", yso_centre)
    maps = {name: open_map(name, given) for name, given in maps.items()}
    wcs = _common_wcs(maps, wcs)
    peak = maps["peak"].values
    velocity, width = (_velocity(name, maps[name], velocity_unit) for name in ("velocity", "width"))
    width = width / (FWHM if width_kind == "fwhm" else 1)
    meta = _meta(maps["peak"], wcs, uncertainty, beam, channel)
    meta["star"] = place_of(star, wcs_to_celestial_frame(wcs))
    y, x = np.nonzero(_chosen(peak, velocity, width, mask, _threshold(threshold, maps["peak"].unit)))
    refuse_too_few(n_elements, len(y), "pixels", "Lower it or choose more pixels.")
    refuse_far_star(star, wcs, peak.shape, "maps")
    points, width = np.array([*sky_offsets(star, positions(wcs, (x, y))), velocity[y, x]]), width[y, x]
    flux = peak[y, x] * width * math.sqrt(2 * math.pi)
    if ordering == "distance":
        d, angle = distances(points[0], points[1], n_elements)
    else:
        from sting.principal_curve import along_curve

        d = along_curve(points, flux, resolution(meta, np.median(width)))
    # the edges that the voxels of a cube have, as many to each pixel: whole pixels, nothing between them
    edges = np.sort(d)[-(-np.arange(1, n_elements) * len(d) // n_elements) - 1]
    bins = merged(bins_along(d, edges), np.arange(len(y)), meta, min_beams)
    if ordering == "distance":
        meta["boundaries"] = boundaries(angle, d, bins)
    means, sigmas = bin_by_bin(bins, lambda kept: _moments(points[:, kept], flux[kept], width[kept], meta))
    return np.vstack([points, flux]), means, sigmas, meta
