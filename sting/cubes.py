"""What the package asks of a cube: a velocity axis, offsets from the star, sizes of pixel, channel and beam."""

import contextlib
import itertools
import math
import mmap
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs.utils import proj_plane_pixel_area, wcs_to_celestial_frame
from numpy.lib.array_utils import byte_bounds
from tqdm.auto import tqdm

from sting.files import existing_file
from sting.messages import refuse

KMS = u.km / u.s

#: Voxels that are read at a time, about: 8 MB of most cubes, which a processor has near it while they are masked.
BLOCK = 2**21

#: Blocks that are asked for before they are needed, so that a disk is not waited for.
AHEAD = 8


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
    """``value``, refused by ``name`` unless it is one `~astropy.coordinates.SkyCoord`."""
    if not isinstance(value, SkyCoord) or not value.isscalar:
        refuse(
            name,
            "be one SkyCoord",
            repr(value),
            "Write SkyCoord('3h28m55.569s', '+31d14m37.025s', frame='fk5').",
            TypeError,
        )
    return value


def open_cube(cube):
    """The cube itself, or read from a file."""
    import spectral_cube

    if isinstance(cube, str | Path):
        existing_file("cube", cube, "be a cube or an existing file")
        with warnings.catch_warnings():
            # most cubes have a Stokes axis, of length 1
            warnings.simplefilter("ignore", spectral_cube.utils.StokesWarning)
            cube = spectral_cube.SpectralCube.read(cube, format=_format(cube))
    if not hasattr(cube, "spectral_axis") or not hasattr(cube, "with_mask"):
        refuse(
            "cube",
            "be a SpectralCube or a path",
            type(cube).__name__,
            "Read it with SpectralCube.read first.",
            TypeError,
        )
    return cube


def _format(path):
    """That of FITS, whose named files spectral-cube opens for reading only, or None: whatever it finds out."""
    with open(path, "rb") as file:
        return "fits" if file.read(9) == b"SIMPLE  =" else None


def to_velocity(cube):
    """The cube on an axis of radio velocity in km/s.

    A velocity without a rest frequency is taken as it is. The optical and the relativistic one differ from the radio one by
    v^2/c and half of it: 0.3 km/s at 300 km/s.
    """
    rest = cube.wcs.wcs.restfrq or cube.wcs.wcs.restwav
    if cube.spectral_axis.unit.is_equivalent(KMS) and (not rest or cube.wcs.wcs.ctype[2].startswith("VRAD")):
        return cube if cube.spectral_axis.unit == KMS else cube.with_spectral_unit(KMS)
    if not rest:
        refuse(
            "cube",
            "have a rest frequency, its spectral axis being in " + cube.spectral_axis.unit.to_string(),
            "none in its header",
            "Set it: cube.with_spectral_unit(u.km / u.s, velocity_convention='radio', rest_value=...).",
        )
    return cube.with_spectral_unit(KMS, velocity_convention="radio")


def positions(wcs, pixels):
    """Positions on the sky of ``pixels`` (x, y) of a celestial WCS, in its frame."""
    return SkyCoord(wcs.pixel_to_world(*pixels), frame=wcs_to_celestial_frame(wcs))


def sky_offsets(center, sky):
    """Offsets (arcsec) of positions from ``center`` to the east and north; NaN where they are masked.

    In the frame of the positions if it has RA and Dec, and otherwise in ICRS.
    """
    sky = sky if "ra" in sky.frame.get_representation_component_names() else sky.icrs
    found = center.transform_to(sky.frame.replicate_without_data()).spherical_offsets_to(sky)
    values = [offset.to_value(u.arcsec) for offset in found]
    return [np.where(getattr(v, "mask", False), np.nan, getattr(v, "unmasked", v)).astype(float) for v in values]


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
    return beam if beam is not None and beam.sr > 0 else None


def beam_axes(cube):
    """Major and minor axis (arcsec) and position angle (deg) of the beam of the cube, or None."""
    beam = beam_of(cube)
    return None if beam is None else axes_of(beam)


def axes_of(beam):
    """Major and minor axis (arcsec) and position angle (deg) of a beam."""
    return tuple(float(v) for v in (beam.major.to_value(u.arcsec), beam.minor.to_value(u.arcsec), beam.pa.to_value(u.deg)))


def is_chunked(cube):
    """Whether a cube is on Dask."""
    return hasattr(cube._data, "chunks")


def blocks(cube, size=BLOCK):
    """Views (three slices each) that cover a cube, of about ``size`` voxels: some channels, or rows of one.

    Of a Dask-backed cube whole chunks, so that none is ever computed twice.
    """
    chunks = cube._data.chunks if is_chunked(cube) else [(1,) * n for n in cube.shape]
    room = max(1, size // math.prod(max(lengths) for lengths in chunks))
    parts = []
    # columns first, then rows, then channels, as a file has them
    for lengths in reversed(chunks):
        parts.insert(0, _merged(lengths, room * max(lengths)))
        room = max(1, room * max(lengths) // max(part.stop - part.start for part in parts[0]))
    return list(itertools.product(*parts))


def _merged(lengths, longest):
    """Slices of neighbouring chunks, no longer than ``longest`` together."""
    slices, start, stop = [], 0, 0
    for length in lengths:
        if stop + length - start > longest:
            slices.append(slice(start, stop))
            start = stop
        stop += length
    return [*slices, slice(start, stop)]


def read(cube, views, what="reading"):
    """Yield (view, values) of each of the ``views`` of a cube: native floats, NaN where masked.

    Whatever looks at more than some channels reads through this, so that no cube is too large. What takes longer than two seconds
    shows its progress.
    """
    for view in views[:AHEAD]:
        _ask_for(cube._data, view)
    for number, view in enumerate(tqdm(views, desc=what, unit="block", delay=2, leave=False)):
        yield view, _values(cube, view)
        _let_go(cube._data)
        for later in views[number + AHEAD : number + AHEAD + 1]:
            _ask_for(cube._data, later)


def count_finite(cube):
    """Number of voxels that are not blank."""
    return sum(np.count_nonzero(np.isfinite(values)) for _, values in read(cube, blocks(cube), "voxels"))


def _values(cube, view):
    # filled_data would compute whole chunks of Dask for any part of them, and write parts of a large cube to a temporary file
    data = cube._data[view]
    native = np.result_type(data.dtype, 0.0)
    if cube.mask is not None:
        included = cube.mask.include(data=cube._data, wcs=cube.wcs, view=view)
        data = np.where(included, data, native.type(cube.fill_value))
    return np.asarray(data, dtype=native)


def _mapping(data):
    """The file that an array, on Dask or not, is read from wherever it is looked at, or None."""
    if layers := getattr(getattr(data, "dask", None), "layers", None):
        data = next((source for name in layers if name.startswith("original-") for source in layers[name].values()), None)
        data = getattr(data, "_array", data)  # which spectral-cube wraps
    while isinstance(data, np.ndarray):
        data = data.base
    return data if isinstance(data, mmap.mmap) and hasattr(data, "madvise") else None


def _ask_for(data, view):
    """Have a view of a mapped file read in the background."""
    if not isinstance(data, np.ndarray) or (mapping := _mapping(data)) is None:
        return
    begin = np.frombuffer(mapping, np.uint8).ctypes.data
    for part in data[view]:
        low, high = byte_bounds(part)
        # nothing of a file whose axes have another order
        if high - low <= 16 * part.nbytes:
            start = (low - begin) // mmap.PAGESIZE * mmap.PAGESIZE
            mapping.madvise(mmap.MADV_WILLNEED, start, high - begin - start)


def _let_go(data):
    """Give back the memory in which a file has been read; what is needed again is read again."""
    mapping = _mapping(data)
    # only what nobody can have changed is the same in the file
    if mapping is not None and memoryview(mapping).readonly:
        mapping.madvise(mmap.MADV_DONTNEED)


@contextlib.contextmanager
def scattered(cube):
    """Read here and there in a cube, without the megabytes after each place that are usually read from a file as well."""
    mapping = _mapping(cube._data)
    if mapping is None:
        yield
        return
    mapping.madvise(mmap.MADV_RANDOM)
    try:
        yield
    finally:
        mapping.madvise(mmap.MADV_NORMAL)
