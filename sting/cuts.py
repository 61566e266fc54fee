"""Which voxels of a cube a cut keeps: velocity range, box of offsets, regions, threshold and islands."""

import numpy as np
from astropy import units as u

from sting.cubes import KMS, beam_axes, cell_of, channels_between, offsets, pixels_per_beam, quantity
from sting.messages import refuse
from sting.noise import keep_rms
from sting.sky_regions import read_regions, region_mask
from sting.voxels import BLOCK, blocks, finite_voxels, groups_of, read

#: What becomes of voxels that nothing else in the cut touches: all stay, or those of a beam at least, or the brightest lot alone.
ISLANDS = ("keep", "beam", "main")

#: Pixels from one to the next of those that tell where in an image a box of offsets is.
COARSE = 32


def cut_streamer(cube, vmin, vmax, box, rms_thresh, region, center, noise, islands="keep"):
    """`extract_streamer_subcube` of a cube on a velocity axis; for a threshold ``noise`` is called to find its `Noise`."""
    if islands == "beam":
        _beam(cube)  # refused before the noise is found
    cut = cut_velocity(cube, vmin, vmax)
    mask = _box_mask(cut, center, *box)
    _check_overlap(mask, "xmin, xmax, ymin, ymax", "Widen the box of offsets.")
    if region is not None:
        # both masks on the whole image, to whose pixels a region in pixel coordinates refers
        mask = mask & region_mask(read_regions(region), cut.wcs.celestial, cut.shape[1:])
        _check_overlap(mask, "region", "Check its position and its coordinate frame.")
    cut, window = _cut_sky(cut, mask)
    if rms_thresh is not None:
        found = noise()
        cut = cut.with_mask(_bright(cut, rms_thresh, found, window))
        if not found.is_lost:
            keep_rms(cut, found.rms if np.ndim(found.rms) == 0 else found.rms[window])
    # little at a time: most often the first is enough
    if not any(np.isfinite(values).any() for _, values in read(cut, blocks(cut, BLOCK // 16), "cut")):
        refuse(
            "cut",
            "leave at least one voxel with a finite value",
            "none",
            "Lower rms_thresh or widen the limits and the region.",
        )
    return cut if islands == "keep" else _without_islands(cut, islands)


def _without_islands(cut, which):
    """The cut without what stands alone and is smaller than a beam, or without all but the brightest island."""
    voxels, flux = finite_voxels(cut)
    island = _islands(voxels, cut.shape)
    if which == "main":
        kept = island == np.argmax(np.bincount(island, flux))
    else:
        n_y, n_x = cut.shape[1:]
        footprint = np.unique(island * (n_y * n_x) + voxels % (n_y * n_x)) // (n_y * n_x)
        kept = (np.bincount(footprint) >= pixels_per_beam(_beam(cut), cell_of(cut)[0]))[island]
    if not kept.any():
        refuse("islands", "leave something of the cut", f"{which!r}, none being as large as a beam", "Lower rms_thresh.")
    mask = np.zeros(cut.shape, bool)
    mask.ravel()[voxels[kept]] = True
    window = tuple(slice(k.min(), k.max() + 1) for k in np.unravel_index(voxels[kept], cut.shape))
    return cut.with_mask(mask)[window]


def _islands(voxels, shape):
    """Number of the island that each voxel (its number in the array, ascending) belongs to; neighbours share a face."""
    # numbered anew, with an empty column beside the last and an empty row below
    channel, row, column = np.unravel_index(voxels, shape)
    n_rows, n_columns = shape[1] + 1, shape[2] + 1
    return groups_of((channel * n_rows + row) * n_columns + column, (1, n_columns, n_rows * n_columns))


def _beam(cut):
    axes = beam_axes(cut)
    if axes is None:
        refuse("islands", "be 'keep' or 'main' for a cube without a beam", "'beam'", "Add one: cube.with_beam(...).")
    return axes


def _bright(cut, rms_thresh, noise, window):
    """Mask of the voxels that are bright enough; ``window`` is what the cut keeps of the image."""
    if noise.is_lost:
        return cut != 0 * cut.unit
    limit = rms_thresh * noise.rms
    if np.ndim(limit):
        # a third axis, so that the cut can be cut further
        limit = np.broadcast_to(limit[window], cut.shape)
    return cut > u.Quantity(np.asarray(limit), cut.unit, copy=False)


def _range(low_name, low, high_name, high, unit):
    """Two limits as floats in ``unit``, infinite where not given."""
    low = -np.inf if low is None else quantity(low_name, low, unit).value
    high = np.inf if high is None else quantity(high_name, high, unit).value
    if low >= high:
        refuse(low_name, f"be less than {high_name}", f"{low:g} and {high:g} {unit}", "Swap or widen them.")
    return low, high


def cut_velocity(cube, vmin, vmax):
    """The channels of a cube on a velocity axis whose centres lie between two limits, either of which may be None."""
    if vmin is None and vmax is None:
        return cube
    low, high = _range("vmin", vmin, "vmax", vmax, KMS)
    axis = cube.spectral_axis.to_value(KMS)
    channels = channels_between(axis, low, high)
    if not len(channels):
        spans = f"{low:g} to {high:g} km/s of a cube from {axis.min():g} to {axis.max():g} km/s"
        refuse("vmin, vmax", "keep at least one channel", spans, "Change the velocity range.")
    return cube[channels[0] : channels[-1] + 1]


def _box_mask(cube, center, xmin, xmax, ymin, ymax):
    if all(limit is None for limit in (xmin, xmax, ymin, ymax)):
        return np.ones(cube.shape[1:], bool)
    box = _range("xmin", xmin, "xmax", xmax, u.arcsec), _range("ymin", ymin, "ymax", ymax, u.arcsec)
    mask = np.zeros(cube.shape[1:], bool)
    y, x = np.mgrid[_around(cube, center, box)]
    mask[y, x] = _inside(offsets(cube, center, (x, y)), box)
    return mask


def _around(cube, center, box):
    """Rows and columns among which a box of offsets lies, by the offsets of every `COARSE`-th pixel."""
    grid = [np.unique(np.r_[0:n:COARSE, n - 1]) for n in cube.shape[1:]]
    found = offsets(cube, center, np.meshgrid(*grid, indexing="ij")[::-1])
    if not np.isfinite(found).all():
        return tuple(slice(0, n) for n in cube.shape[1:])
    # a pixel differs less from the nearest of these than they do from each other
    slack = [sum(np.abs(np.diff(offset, axis=axis)).max(initial=0) for axis in (0, 1)) for offset in found]
    near = _inside(found, [(low - more, high + more) for (low, high), more in zip(box, slack, strict=True)])
    return tuple(_span(where, near.any(axis=axis)) for where, axis in zip(grid, (1, 0), strict=True))


def _span(where, near):
    """From the one before the first that is near to the one after the last."""
    found = np.flatnonzero(near)
    if not len(found):
        return slice(0, 0)
    return slice(where[max(found[0] - 1, 0)], where[min(found[-1] + 1, len(where) - 1)] + 1)


def _inside(found, box):
    """Whether offsets lie in a box."""
    (east, north), ((x_low, x_high), (y_low, y_high)) = found, box
    return (east >= x_low) & (east <= x_high) & (north >= y_low) & (north <= y_high)


def _cut_sky(cube, mask):
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mask = mask[window]
    cube = cube[(slice(None), *window)]
    return cube if mask.all() else cube.with_mask(np.broadcast_to(mask, cube.shape)), window


def _check_overlap(mask, name, cure):
    if not mask.any():
        refuse(name, "overlap the cube", "no pixel in common", cure)
