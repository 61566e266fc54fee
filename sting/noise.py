"""The noise of a cube, from what is neither padding nor blank."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.stats import mad_std

from sting.cubes import KMS, channels_between, open_cube, quantity, to_velocity
from sting.messages import check_choice, is_number, named_keywords, refuse
from sting.voxels import BLOCK, blocks, is_chunked, read, scattered

__all__ = ["estimate_rms"]

#: A cube of which more than this fraction is exactly zero was masked before: its noise cannot be told from it.
PADDED_FRACTION = 0.5

#: Voxels of which all are looked at. Of larger cubes about `SAMPLED` are: that many give the noise to a thousandth.
NOISE_SAMPLE = 20_000_000
SAMPLED = 5_000_000

#: If no more of the sample than this has a value, all voxels are looked at nevertheless.
FEWEST_VALUES = 100_000

#: Voxels next to each other on disk that are read together if any of them is.
FEWEST_AT_ONCE = 2**14

#: Steps of the R2 sequence, which fills the unit square most evenly.
R2 = 0.7548776662466927, 0.5698402909980532

#: Card of the header in which a cut keeps its noise, with its unit.
RMS_CARD = "STINGRMS"

#: Channels that a pixel must have for a noise of its own.
FEWEST_CHANNELS = 5

#: From a median deviation to a standard deviation, of Gaussian noise.
MAD_TO_SIGMA = 1.482602218505602


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
        One number (from a sample of five million voxels, if there are more than twenty million), or a map of shape (ny, nx) that
        is NaN where fewer than five channels have a value. Give it to
        `~sting.extract_streamline.extract_streamer_subcube` as ``rms``.

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
    rms = _map(cube, channels, _noise_of) if per_pixel else noise.rms
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

    Of more than `NOISE_SAMPLE` voxels, some rows of some channels are read from everywhere in the cube.

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
    n_z, n_y, n_x = cube.shape
    runs = [slice(0, n_z)] if channels is None else _runs(channels)
    n_voxels = sum(run.stop - run.start for run in runs) * n_y * n_x
    share = min(1.0, SAMPLED / n_voxels) if n_voxels > NOISE_SAMPLE else 1.0
    values = _finite(cube, runs, share)
    if share < 1 and len(values) < FEWEST_VALUES:
        values = _finite(cube, runs, 1.0)
    if not values.size:
        refuse("cube", "hold finite values", "blank voxels (NaN) only", "Check that the right file was read.")
    padded = float(np.mean(values == 0))
    return Noise(padded, float(mad_std(values[values != 0])) if padded < 1 else 0.0)


def _runs(channels):
    """Slices of the channels that are neighbours."""
    runs = np.split(channels, np.flatnonzero(np.diff(channels) != 1) + 1)
    return [slice(int(run[0]), int(run[-1]) + 1) for run in runs]


def _finite(cube, runs, share):
    """The finite values of about a ``share`` of the voxels of runs of channels."""
    size = BLOCK if share == 1 else int(FEWEST_AT_ONCE / share)
    views = [(both, y, x) for z, y, x in blocks(cube, size) for run in runs if (both := _overlap(z, run))]
    if share < 1:
        thinned = _every_other if is_chunked(cube) else _one_band
        views = [thinned(view, share, number * np.array(R2) % 1) for number, view in enumerate(views)]
    with scattered(cube) if share < 1 else nullcontext():
        return np.concatenate([values[np.isfinite(values)] for _, values in read(cube, views, "noise")])


def _overlap(one, other):
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return slice(start, stop) if start < stop else None


def _one_band(view, share, where):
    """About a ``share`` of a view of a file: neighbouring rows of neighbouring channels, those at a place in the unit square.

    Every row and channel has the same chance, and the places of all views together are evenly spread.
    """
    z, y, x = view
    n_channels, n_rows, n_columns = (part.stop - part.start for part in view)
    # what a disk reads at once is not cut further
    bands = min(n_rows, max(1, n_rows * n_columns // FEWEST_AT_ONCE), round(1 / share))
    groups = min(n_channels, max(1, round(1 / (share * bands))))
    return _one_of(z, groups, where[0]), _one_of(y, bands, where[1]), x


def _one_of(whole, n, where):
    """One of ``n`` equal parts of a slice, the one at a place from 0 to 1."""
    edges = np.linspace(whole.start, whole.stop, n + 1).astype(int)
    k = int(where * n)
    return slice(int(edges[k]), int(edges[k + 1]))


def _every_other(view, share, where):
    """About a ``share`` of a view of Dask's, whose chunks are few but loaded as a whole: every k-th row and channel."""
    z, y, x = view
    n_channels, n_rows, _ = (part.stop - part.start for part in view)
    rows = min(n_rows, round(share**-0.5))
    channels = min(n_channels, max(1, round(1 / (share * rows))))
    return _every(z, channels, where[0]), _every(y, rows, where[1]), x


def _every(whole, step, where):
    return slice(whole.start + int(where * step), whole.stop, step)


def _map(cube, channels, noise_of):
    """Noise of each pixel (ny, nx), some rows at a time."""
    n_y, n_x = cube.shape[1:]
    step = max(1, NOISE_SAMPLE // (len(channels) * n_x))
    rows, runs = [slice(y, min(y + step, n_y)) for y in range(0, n_y, step)], _runs(channels)
    found = read(cube, [(run, some, slice(0, n_x)) for some in rows for run in runs], "noise")
    return np.concatenate([noise_of(np.concatenate([next(found)[1] for _ in runs])) for _ in rows])


def _noise_of(values):
    values = values.astype(float)
    values[values == 0] = np.nan
    known = np.isfinite(values).sum(axis=0) >= FEWEST_CHANNELS
    noise = np.full(known.shape, np.nan)
    if known.any():
        noise[known] = mad_std(values[:, known], axis=0, ignore_nan=True)
    return noise


def below_zero(values):
    """Noise of the values of each pixel that lie below zero, 1.4826 times their median: right beside lines that fill much.

    Emission only takes values from below zero. So does a continuum that was not subtracted.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Values of channels (n, ...), NaN where there is none.

    Returns
    -------
    `~numpy.ndarray`
        NaN where no value is below zero.
    """
    negative = values < 0
    depth = np.sort(np.where(negative, -values, np.nan), axis=0)
    last = np.maximum(np.count_nonzero(negative, axis=0) - 1, 0)[None]
    middle = [np.take_along_axis(depth, place, axis=0)[0] for place in (last // 2, (last + 1) // 2)]
    return MAD_TO_SIGMA * np.mean(middle, axis=0)


def map_below_zero(cube):
    """Noise of each pixel (ny, nx) from its values below zero, some rows at a time.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`
        The cube.

    Returns
    -------
    `~numpy.ndarray`
        In the unit of the cube.
    """
    return _map(cube, np.arange(cube.shape[0]), below_zero)


def check_threshold(rms_thresh):
    """Refuse what is no threshold in units of the noise; None is no threshold.

    Parameters
    ----------
    rms_thresh : float or None
        The threshold.
    """
    if rms_thresh is not None and not (is_number(rms_thresh) and rms_thresh >= 0):
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


def keep_rms(cube, rms):
    """Write the noise into the header of a cube: of a map the median.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`
        The cube.
    rms : float or `~numpy.ndarray`
        Its noise, in its unit.
    """
    cube.meta[RMS_CARD] = u.Quantity(float(np.nanmedian(rms)), cube.unit).to_string()


def kept_rms(cube):
    """Return the noise that the header of a cut holds.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`
        The cube.

    Returns
    -------
    float or None
        In the unit of the cube; None where it holds none.
    """
    try:
        rms = u.Quantity(cube.header.get(RMS_CARD, "none")).to_value(cube.unit)
    except (u.UnitsError, TypeError, ValueError):
        return None
    return float(rms) if np.ndim(rms) == 0 and np.isfinite(rms) and rms > 0 else None
