"""What the package asks of a cube: a velocity axis, offsets from the star, sizes of pixel, channel and beam."""

import math
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, ConvertError, SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import celestial_frame_to_wcs, proj_plane_pixel_area, wcs_to_celestial_frame

from sting.files import existing_file, reading
from sting.messages import refuse

KMS = u.km / u.s


def quantity(name, value, unit):
    """``value`` in ``unit``, refused by ``name`` if it is no finite scalar Quantity of that kind."""
    try:
        value = u.Quantity(value).to(unit)
    except (u.UnitsError, TypeError, ValueError):
        refuse(
            name,
            f"be a Quantity convertible to {unit}",
            repr(value),
            f"Write for example 1.0 * u.Unit('{unit}').",
            u.UnitsError,
        )
    if not value.isscalar or not np.isfinite(value.value):
        refuse(name, "be one finite number", value, "Leave it out for no limit.")
    return value


def sky_position(name, value):
    """``value``, refused by ``name`` unless it is one `~astropy.coordinates.SkyCoord` with a place in ICRS."""
    if not isinstance(value, SkyCoord) or not value.isscalar:
        refuse(
            name,
            "be one SkyCoord",
            repr(value),
            "Write SkyCoord('3h28m55.569s', '+31d14m37.025s', frame='fk5').",
            TypeError,
        )
    try:
        place = [known(angle.deg) for angle in (value.icrs.spherical.lon, value.icrs.spherical.lat)]
    # a horizontal frame without its observatory lacks an attribute
    except (ConvertError, AttributeError):
        refuse(name, "be in a frame that turns into ICRS", repr(value), "Give it in ICRS, FK5 or Galactic coordinates.")
    if not np.isfinite(place).all():
        refuse(name, "have finite coordinates", repr(value), "Correct them.")
    return value


def open_cube(cube, name="cube"):
    """The cube itself, or read from a file; refused by ``name``."""
    if isinstance(cube, str | Path):
        cube = _read_cube(cube, name)
    # of its class: a cube without pixels has no axis to show
    if not hasattr(type(cube), "spectral_axis") or not hasattr(type(cube), "with_mask"):
        refuse(
            name,
            "be a SpectralCube or a path",
            type(cube).__name__,
            "Read it with SpectralCube.read first.",
            TypeError,
        )
    if not all(cube.shape):
        refuse(name, "have voxels", f"the shape {cube.shape}", "Check the file, or the slices that were cut out of it.")
    return cube


def _read_cube(path, name):
    import spectral_cube

    existing_file(name, path, "be a cube or an existing file")
    rule = "be a file with a cube of two axes on the sky and one of velocity or frequency"
    with reading(name, rule, repr(str(path)), "Mend its header, or read it with SpectralCube.read and pass the cube."):
        # most cubes have a Stokes axis, of length 1
        warnings.simplefilter("ignore", spectral_cube.utils.StokesWarning)
        return spectral_cube.SpectralCube.read(path, format=_format(path))


def _format(path):
    """That of FITS, whose named files spectral-cube opens for reading only, or None: whatever it finds out."""
    with open(path, "rb") as file:
        return "fits" if file.read(9) == b"SIMPLE  =" else None


def without_infinities(cube):
    """The cube with its infinities masked, as `~spectral_cube.SpectralCube.read` does."""
    from spectral_cube import LazyMask

    return cube.with_mask(LazyMask(np.isfinite, cube=cube))


def to_velocity(cube, name="cube"):
    """The cube, refused by ``name``, on an axis of radio velocity in km/s.

    A velocity without a rest frequency is taken as it is. The optical and the relativistic one differ from the radio one by
    v^2/c and half of it: 0.3 km/s at 300 km/s.
    """
    rest = cube.wcs.wcs.restfrq or cube.wcs.wcs.restwav
    if cube.spectral_axis.unit.is_equivalent(KMS) and (not rest or cube.wcs.wcs.ctype[2].startswith("VRAD")):
        return cube if cube.spectral_axis.unit == KMS else cube.with_spectral_unit(KMS)
    if not rest:
        refuse(
            name,
            "have a rest frequency, its spectral axis being in " + cube.spectral_axis.unit.to_string(),
            "none in its header",
            "Set it: cube.with_spectral_unit(u.km / u.s, velocity_convention='radio', rest_value=...).",
        )
    return cube.with_spectral_unit(KMS, velocity_convention="radio")


def positions(wcs, pixels):
    """Positions on the sky of ``pixels`` (x, y) of a celestial WCS, in its frame."""
    return SkyCoord(wcs.pixel_to_world(*pixels), frame=wcs_to_celestial_frame(wcs))


def equatorial(frame):
    """The frame in which offsets to the east and north count: the given one if it has RA and Dec, and otherwise ICRS."""
    return frame.replicate_without_data() if "ra" in frame.get_representation_component_names() else ICRS()


def in_frame(sky, frame):
    """Positions in another frame, without what only their old one needs (an epoch): astropy would take the frames for unequal."""
    return SkyCoord(sky.frame if sky.frame.is_equivalent_frame(frame) else sky.transform_to(frame).frame)


def known(value):
    """A number or array as floats, NaN where astropy masks it."""
    return np.where(getattr(value, "mask", False), np.nan, getattr(value, "unmasked", value)).astype(float)


def sky_offsets(center, sky):
    """Offsets (arcsec) of positions from ``center`` to the east and north; NaN where they are masked.

    In the frame of the positions if it has RA and Dec, and otherwise in ICRS.
    """
    frame = equatorial(sky.frame)
    found = in_frame(center, frame).spherical_offsets_to(in_frame(sky, frame))
    return [known(offset.to_value(u.arcsec)) for offset in found]


def place_of(star, frame):
    """Place of the star in the frame in which offsets count, as a file keeps it: RA and Dec (deg), and the frame as in FITS."""
    place = in_frame(star, equatorial(frame))
    try:
        cards = celestial_frame_to_wcs(place.frame.replicate_without_data()).wcs
    except ValueError:  # FITS does not know the frame; its north is that of ICRS to a fraction of an arcmin
        return place_of(star, ICRS())
    return [place.ra.deg.item(), place.dec.deg.item(), cards.radesys, cards.equinox if np.isfinite(cards.equinox) else None]


def star_of(place):
    """The `~astropy.coordinates.SkyCoord` of what `place_of` gave."""
    ra, dec, frame, equinox = place
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.radesys = ["RA---TAN", "DEC--TAN"], frame
    if equinox is not None:
        wcs.wcs.equinox = equinox
    return SkyCoord(ra, dec, unit="deg", frame=wcs_to_celestial_frame(wcs))


def offsets(cube, center, pixels=None):
    """Offsets (arcsec) to the east and north of ``pixels`` (x, y) from ``center``; of all (ny, nx) by default.

    In the equatorial frame of the cube, or in ICRS where it has another one.
    """
    wcs = cube.wcs.celestial
    if center is None:
        center = SkyCoord(*(wcs.wcs.crval * u.deg), frame=wcs_to_celestial_frame(wcs))
    pixels = np.indices(cube.shape[1:])[::-1] if pixels is None else pixels
    return sky_offsets(sky_position("center", center), positions(wcs, pixels))


def channels_between(velocity, low, high):
    """Indices of the channels whose centre lies in a range, to within a thousandth of a channel of rounding."""
    slack = 1e-3 * np.min(np.abs(np.diff(velocity))) if len(velocity) > 1 else 1e-6
    return np.flatnonzero((velocity >= low - slack) & (velocity <= high + slack))


def cell_of(cube):
    """Size of a pixel (arcsec) and width of a channel (km/s; a tenth where there is but one channel)."""
    pixel = np.sqrt(proj_plane_pixel_area(cube.wcs.celestial)) * 3600
    channel = np.abs(np.diff(cube.spectral_axis.to_value(KMS))).min() if cube.shape[0] > 1 else 0.1
    return float(pixel), float(channel)


def beam_of(cube):
    """The beam of the cube, that of median size if each channel has its own, or None."""
    from spectral_cube.utils import NoBeamError

    try:
        beam = getattr(cube, "beam", None)
    except NoBeamError:
        beam = None
    if beam is None and (beams := getattr(cube, "beams", None)) is not None:
        finite = np.flatnonzero(np.isfinite(beams.sr) & (beams.sr > 0))
        order = finite[np.argsort(beams.sr[finite])]
        beam = beams[order[len(order) // 2]] if len(order) else None
    return beam if beam is not None and has_size(axes_of(beam)) else None


def beam_axes(cube):
    """Major and minor axis (arcsec) and position angle (deg) of the beam of the cube, or None."""
    beam = beam_of(cube)
    return None if beam is None else axes_of(beam)


def has_size(axes):
    """Whether a beam of these axes covers an area."""
    return bool(np.isfinite(axes[:2]).all() and min(axes[:2]) > 0)


def axes_of(beam):
    """Major and minor axis (arcsec) and position angle (deg) of a beam."""
    return tuple(float(v) for v in (beam.major.to_value(u.arcsec), beam.minor.to_value(u.arcsec), beam.pa.to_value(u.deg)))


def pixels_per_beam(axes, pixel):
    """Number of pixels of a size (arcsec) in a beam of some axes."""
    return math.pi * axes[0] * axes[1] / (4 * math.log(2)) / pixel**2
