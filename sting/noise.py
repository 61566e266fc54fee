"""The noise of a cube, from what is neither padding nor blank."""

import sys
from numbers import Real
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.stats import mad_std

from sting.cubes import KMS, channels_between, open_cube, quantity, to_velocity
from sting.messages import check_choice, named_keywords, refuse

__all__ = ["estimate_rms"]

#: A cube of which more than this fraction is exactly zero was masked before: its noise cannot be told from it.
PADDED_FRACTION = 0.5

#: Voxels from which the noise is estimated, at the most about.
NOISE_SAMPLE = 20_000_000

#: Channels that a pixel must have for a noise of its own.
FEWEST_CHANNELS = 5


class Noise(NamedTuple):
    """How much of a cube is padding, and its noise: a number or a map (ny, nx) in the unit of the cube."""

    padded: float
    rms: float | np.ndarray

    @property
    def is_lost(self):
        """Whether the cube was masked before and does not tell its noise."""
        return self.padded > PADDED_FRACTION

    @property
    def words(self):
        """Sentence that says why a threshold is not applied to a cube whose noise is lost."""
        return (
            f"{self.padded:.1%} of the cube is exactly zero: it was masked before, so its noise cannot be estimated from it. "
            "rms_thresh is not applied; the voxels that are not zero are kept. Give rms if you know it."
        )


@named_keywords
def estimate_rms(cube, *, line_free=None, per_pixel=False):
    """Estimate the noise of a cube: 1.4826 times the median absolute deviation of voxels that are neither blank nor exactly zero.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file. One that was masked before does not tell its noise and is refused: estimate it from the cube
        before that.
    line_free : pair of `~astropy.units.Quantity`, or list of such pairs, optional
        Velocity ranges without a line; by default all channels, of which emission must fill less than half.
    per_pixel : bool, optional
        Whether each pixel has a noise of its own, as a cube that was corrected for the primary beam has.

    Returns
    -------
    `~astropy.units.Quantity`
        One number (from every k-th row, if there are more than twenty million voxels), or a map of shape (ny, nx) that is NaN
        where fewer than five channels have a value. Give it to `~sting.extract_streamline.extract_streamer_subcube` as ``rms``.

    Raises
    ------
    ValueError
        If the cube cannot be read or holds no noise, a range holds no channel, or more than half of the voxels are exactly zero.
    TypeError
        If ``cube`` is neither a cube nor a path.
    FileNotFoundError
        If the file does not exist.
    ~astropy.units.UnitsError
        If a range is not of velocities.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> cube = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64)).cube
    >>> print(f"{estimate_rms(cube, line_free=(4 * u.km / u.s, 5.5 * u.km / u.s)):.2f}")
    0.03 K
    """
    check_choice("per_pixel", per_pixel, (True, False))
    cube = to_velocity(open_cube(cube))
    channels = _channels(cube, line_free)
    noise = find_noise(cube, channels)
    if noise.is_lost:
        found = f"{noise.padded:.1%} of it exactly zero"
        refuse("cube", "not have been masked before", found, "Estimate its noise from the cube as it was, and give that as rms.")
    rms = _map(cube, channels) if per_pixel else noise.rms
    if not np.any(rms > 0):
        rule = f"hold {FEWEST_CHANNELS} channels of noise for per_pixel" if per_pixel else "hold noise"
        refuse("cube", rule, f"{len(channels)} channels without", "Give rms as a number of your own.")
    return rms * cube.unit


def _channels(cube, line_free):
    """Indices of the channels in any of the ranges."""
    if line_free is None:
        return np.arange(cube.shape[0])
    ranges = [line_free] if _is_pair(line_free) or not np.iterable(line_free) else list(line_free)
    axis, found = cube.spectral_axis.to_value(KMS), []
    for one in ranges:
        if not _is_pair(one):
            refuse("line_free", "be a pair of velocities, or a list of pairs", repr(one), "Write (3 * kms, 5 * kms).")
        low, high = sorted(quantity("line_free", limit, KMS).value for limit in one)
        found.append(channels_between(axis, low, high))
        if not len(found[-1]):
            spans = f"{low:g} to {high:g} km/s of a cube from {axis.min():g} to {axis.max():g} km/s"
            refuse("line_free", "hold at least one channel", spans, "Change the range.")
    if not found:
        refuse("line_free", "hold at least one range", repr(line_free), "Leave it out to take all channels.")
    return np.unique(np.concatenate(found))


def _is_pair(one):
    return np.iterable(one) and len(one) == 2 and not any(np.iterable(limit) for limit in one)


def find_noise(cube, channels=None):
    """Find which fraction of the finite voxels is exactly zero, and the noise of the others.

    Of more than `NOISE_SAMPLE` voxels, of every k-th row: enough for four digits, and a fraction of the memory.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`
        The cube.
    channels : array of int, optional
        Channels to look at; by default all.

    Returns
    -------
    Noise
    """
    channels = np.arange(cube.shape[0]) if channels is None else channels
    n_y, n_x = cube.shape[1:]
    step = max(1, -(-len(channels) * n_y * n_x // NOISE_SAMPLE))
    values = [np.asarray(cube.filled_data[int(i), (-int(i) * n_y) % step :: step, :].value).ravel() for i in channels]
    values = np.concatenate([part[np.isfinite(part)] for part in values])
    if not values.size:
        refuse("cube", "hold finite values", "blank voxels (NaN) only", "Check that the right file was read.")
    padded = float(np.mean(values == 0))
    return Noise(padded, float(mad_std(values[values != 0])) if padded < 1 else 0.0)


def _map(cube, channels):
    """Noise of each pixel (ny, nx), some rows at a time."""
    n_y, n_x = cube.shape[1:]
    rows = max(1, NOISE_SAMPLE // (len(channels) * n_x))
    return np.concatenate([_noise_of(cube, channels, slice(y, min(y + rows, n_y))) for y in range(0, n_y, rows)])


def _noise_of(cube, channels, rows):
    values = np.stack([np.asarray(cube.filled_data[int(i), rows, :].value, dtype=float) for i in channels])
    values[values == 0] = np.nan
    known = np.isfinite(values).sum(axis=0) >= FEWEST_CHANNELS
    noise = np.full(known.shape, np.nan)
    if known.any():
        noise[known] = mad_std(values[:, known], axis=0, ignore_nan=True)
    return noise


def check_threshold(rms_thresh):
    """Refuse what is no threshold in units of the noise; None is no threshold.

    Parameters
    ----------
    rms_thresh : float or None
        The threshold.
    """
    number = isinstance(rms_thresh, Real) and not isinstance(rms_thresh, bool)
    if rms_thresh is not None and not (number and 0 <= rms_thresh <= sys.float_info.max):
        refuse("rms_thresh", "be a number of at least 0", repr(rms_thresh), "Use for example 4.")


def check_rms(rms, cube):
    """Check the noise that a user gives.

    Parameters
    ----------
    rms : `~astropy.units.Quantity`
        One number or a map of shape (ny, nx).
    cube : `~spectral_cube.SpectralCube`
        The cube.

    Returns
    -------
    float or `~numpy.ndarray`
        In the unit of the cube.
    """
    try:
        values = u.Quantity(rms).to_value(cube.unit)
    except (u.UnitsError, TypeError, ValueError):
        cure = f"Write for example 0.01 * u.Unit('{cube.unit}')."
        refuse("rms", f"be a Quantity convertible to {cube.unit}", repr(rms), cure, u.UnitsError)
    if np.ndim(values) and np.shape(values) != cube.shape[1:]:
        refuse("rms", f"be one number or a map of shape {cube.shape[1:]}", f"shape {np.shape(values)}", "See estimate_rms.")
    known = values[np.isfinite(values)] if np.ndim(values) else np.atleast_1d(values)
    if not len(known) or not (np.isfinite(known) & (known > 0)).all():
        refuse("rms", "be positive", rms if not np.ndim(values) else "a map that is not", "NaN stands for pixels to leave out.")
    return values
