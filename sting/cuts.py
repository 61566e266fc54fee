"""Which voxels of a cube a cut keeps: velocity range, box of offsets, regions and threshold."""

from numbers import Real

import numpy as np
from astropy import units as u

from sting.cubes import KMS, offsets, quantity
from sting.messages import refuse
from sting.noise import PADDED_FRACTION
from sting.sky_regions import read_regions, region_mask


def masked_before(padded):
    """Sentence that says why a noise threshold is not applied."""
    return (
        f"{padded:.1%} of the cube is exactly zero: it was masked before, so its noise cannot be estimated from it. "
        "rms_thresh is not applied; the voxels that are not zero are kept. Give rms if you know it."
    )


def check_threshold(rms_thresh):
    """Refuse what is no threshold in units of the noise; None is no threshold."""
    if rms_thresh is not None and not (isinstance(rms_thresh, Real) and np.isfinite(rms_thresh) and rms_thresh >= 0):
        refuse("rms_thresh", "be a number of at least 0", repr(rms_thresh), "Use for example 4.")


def cut_streamer(cube, vmin, vmax, box, rms_thresh, region, center, noise):
    """`extract_streamer_subcube` of a cube on a velocity axis.

    ``noise`` is how much of the cube is padding, and its noise, a number or a map (ny, nx).
    """
    cut = _cut_velocity(cube, vmin, vmax)
    mask = _box_mask(cut, center, *box)
    _check_overlap(mask, "xmin, xmax, ymin, ymax", "Widen the box of offsets.")
    if region is not None:
        # both masks on the whole image, to whose pixels a region in pixel coordinates refers
        mask = mask & region_mask(read_regions(region), cut.wcs.celestial, cut.shape[1:])
        _check_overlap(mask, "region", "Check its position and its coordinate frame.")
    cut, window = _cut_sky(cut, mask)
    if rms_thresh is not None:
        padded, rms = noise
        cut = cut.with_mask(_bright(cut, rms_thresh, padded, rms[window] if np.ndim(rms) else rms))
    # a channel at a time: the cut may be larger than the memory
    if not any(np.isfinite(cut.filled_data[k].value).any() for k in range(cut.shape[0])):
        refuse(
            "cut",
            "leave at least one voxel with a finite value",
            "none",
            "Lower rms_thresh or widen the limits and the region.",
        )
    return cut


def _bright(cut, rms_thresh, padded, rms):
    """Mask of the voxels that are bright enough."""
    if padded > PADDED_FRACTION:
        return cut != 0 * cut.unit
    # a map is given a third axis, so that the cut can be cut further
    limit = np.broadcast_to(rms_thresh * rms, cut.shape) if np.ndim(rms) else rms_thresh * rms
    return cut > u.Quantity(np.asarray(limit), cut.unit, copy=False)


def _range(low_name, low, high_name, high, unit):
    """Two limits as floats in ``unit``, infinite where not given."""
    low = -np.inf if low is None else quantity(low_name, low, unit).value
    high = np.inf if high is None else quantity(high_name, high, unit).value
    if low >= high:
        refuse(low_name, f"be less than {high_name}", f"{low:g} and {high:g} {unit}", "Swap or widen them.")
    return low, high


def _cut_velocity(cube, vmin, vmax):
    if vmin is None and vmax is None:
        return cube
    low, high = _range("vmin", vmin, "vmax", vmax, KMS)
    axis = cube.spectral_axis.to_value(KMS)
    # a channel belongs to the range if its centre does, to within a thousandth of a channel of rounding
    slack = 1e-3 * np.min(np.abs(np.diff(axis))) if len(axis) > 1 else 1e-6
    channels = np.flatnonzero((axis >= low - slack) & (axis <= high + slack))
    if not len(channels):
        spans = f"{low:g} to {high:g} km/s of a cube from {axis.min():g} to {axis.max():g} km/s"
        refuse("vmin, vmax", "keep at least one channel", spans, "Change the velocity range.")
    return cube[channels[0] : channels[-1] + 1]


def _box_mask(cube, center, xmin, xmax, ymin, ymax):
    if all(limit is None for limit in (xmin, xmax, ymin, ymax)):
        return np.ones(cube.shape[1:], bool)
    x_low, x_high = _range("xmin", xmin, "xmax", xmax, u.arcsec)
    y_low, y_high = _range("ymin", ymin, "ymax", ymax, u.arcsec)
    east, north = offsets(cube, center)
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
