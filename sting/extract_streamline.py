"""From a spectral cube to the points of a fit: cube -> streamer cube -> `Streamer`."""

import numpy as np
from astropy import units as u

from sting.cubes import (
    KMS,
    beam_axes,
    beam_of,
    blocks,
    cell_of,
    offsets,
    open_cube,
    read,
    sky_position,
    to_velocity,
)
from sting.cuts import cut_streamer
from sting.messages import check_choice, check_whole, in_float64, named_keywords, refuse, warn
from sting.noise import Noise, check_rms, check_threshold, find_noise
from sting.reduction import bin_by_bin, bounded_sigmas, distances, refuse_far_star, refuse_too_few, weighted_moments
from sting.streamer import Streamer

__all__ = ["Streamer", "extract_streamer_subcube", "reduce_to_1D"]

#: Voxels that a streamer may have: beyond, its point cloud takes more memory than most computers have to give.
MOST_VOXELS = 100_000_000


@named_keywords
def extract_streamer_subcube(
    cube,
    vmin=None,
    vmax=None,
    xmin=None,
    xmax=None,
    ymin=None,
    ymax=None,
    rms_thresh=None,
    *,
    region=None,
    center=None,
    rms=None,
):
    """Cut the streamer out of a cube: velocity range, box of offsets, region, noise threshold.

    Every limit is optional by itself.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or a file that `spectral_cube.SpectralCube.read` reads; of Stokes planes, I. An axis of frequency, or of optical
        or relativistic velocity with a rest frequency, is turned into radio velocity.
    vmin, vmax : `~astropy.units.Quantity`, optional
        Velocity range.
    xmin, xmax, ymin, ymax : `~astropy.units.Quantity`, optional
        Range of the offsets from ``center``, true angles on the sky, x to the east and y to the north (in the equatorial frame of
        the cube, in ICRS if it has another one).
    rms_thresh : float, optional
        Keep voxels brighter than this many times the noise. The noise is 1.4826 times the median absolute deviation of the voxels
        of the whole ``cube`` that are neither blank nor exactly zero (of a sample of five million, if there are more than twenty
        million). A cube that was masked before (more than half of it is exactly zero) does not tell its noise: then, with a
        warning, the voxels that are not zero are kept.
    region : str, path-like, `~regions.Region`, or list of `~regions.Region`, optional
        A ds9 or CRTF file, or regions; voxels whose pixel centre lies in any of them, and in none that the file
        excludes (``-circle(...)``), are kept.
    center : `~astropy.coordinates.SkyCoord`, optional
        Origin of the offsets, for example the star; by default the reference position of the cube.
    rms : `~astropy.units.Quantity`, optional
        The noise, where it is known or differs over the image: a number or a map of shape (ny, nx), see
        `~sting.noise.estimate_rms`. By default it is estimated.

    Returns
    -------
    `~spectral_cube.SpectralCube`
        The smallest cube that holds the cut, on a velocity axis in km/s, everything outside the cut masked.

    Raises
    ------
    ValueError
        If the cut is empty, the region lies outside the cube, or a rest frequency is missing.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> streamer_cube = extract_streamer_subcube(scene.cube, vmin=6 * u.km / u.s, rms_thresh=4)
    >>> streamer_cube.spectral_axis.unit
    Unit("km / s")
    """
    cube = to_velocity(open_cube(cube))
    check_threshold(rms_thresh)
    noise = _noise(cube, rms_thresh, rms)
    return cut_streamer(cube, vmin, vmax, (xmin, xmax, ymin, ymax), rms_thresh, region, center, noise)


def _noise(cube, rms_thresh, rms):
    """Noise of the cube, given or found; None if no threshold asks for it."""
    if rms_thresh is None:
        if rms is not None:
            refuse("rms_thresh", "be given with rms", "none", "Write for example rms_thresh=4.")
        return None
    if rms is not None:
        return Noise(0.0, check_rms(rms, cube))
    noise = find_noise(cube)
    if noise.is_lost:
        warn(noise.words)
    return noise


@named_keywords
@in_float64
def reduce_to_1D(streamer_cube, yso_centre, n_elements=10, *, uncertainty="spread"):
    """Reduce the emission of a streamer to a curve of flux-weighted mean positions and velocities.

    The voxels are put into ``n_elements`` bins of equal numbers by the measure d = r sqrt(1 + dtheta^2) of the way along the
    streamer, where r is the projected distance from the star and dtheta the angle from the direction of the innermost emission.
    Every voxel is counted once.

    Parameters
    ----------
    streamer_cube : `~spectral_cube.SpectralCube`
        Cube that holds the streamer alone, blank elsewhere (see `extract_streamer_subcube`).
    yso_centre : `~astropy.coordinates.SkyCoord`
        Position of the star.
    n_elements : int, optional
        Number of points.
    uncertainty : {"spread", "mean"}, optional
        ``"spread"``: the flux-weighted standard deviation in the bin, that is the width of the streamer, as in STING.
        ``"mean"``: that of the mean, the spread divided by the root of the number of independent beams and channels in the bin.

    Returns
    -------
    `~sting.streamer.Streamer`

    Raises
    ------
    ValueError
        If there are fewer voxels than ``n_elements`` or more than a hundred million, no finite data, a star far off the cube, or
        a bin without positive flux.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> streamer_cube = extract_streamer_subcube(scene.cube, rms_thresh=5)
    >>> len(reduce_to_1D(streamer_cube, scene.star_position, n_elements=8))
    8
    """
    check_choice("uncertainty", uncertainty, ("spread", "mean"))
    n_elements = check_whole("n_elements", n_elements, 2, 10)
    cube = to_velocity(open_cube(streamer_cube))
    cloud = _point_cloud(cube, sky_position("yso_centre", yso_centre))
    points, flux = cloud[:3], cloud[3]
    refuse_too_few(n_elements, len(flux), "voxels", "Lower it or widen the cut.")
    d = distances(points[0], points[1], n_elements)
    edges = np.percentile(d, np.linspace(0, 100, n_elements + 1))[1:-1]
    means, sigmas = bin_by_bin(d, edges, lambda kept: _moments(cube, points[:, kept], flux[kept], uncertainty))
    return Streamer(cloud, *means, *sigmas, meta=_meta(cube, uncertainty))


def _point_cloud(cube, star):
    """Positions (3, n) and intensities of all finite voxels, together (4, n)."""
    refuse_far_star(star, cube.wcs.celestial, cube.shape[1:], "cube")
    voxels, flux = _finite_voxels(cube)
    _, n_y, n_x = cube.shape
    channel, pixel = np.divmod(voxels, n_y * n_x)
    # the offsets of a pixel once, whatever the number of its voxels
    seen = np.zeros(n_y * n_x, bool)
    seen[pixel] = True
    y, x = np.divmod(np.flatnonzero(seen), n_x)
    place = (np.cumsum(seen) - 1)[pixel]
    cloud = np.empty((4, len(flux)))
    cloud[0], cloud[1] = (offset[place] for offset in offsets(cube, star, (x, y)))
    cloud[2], cloud[3] = cube.spectral_axis.to_value(KMS)[channel], flux
    return cloud


def _finite_voxels(cube):
    """Numbers (in the order of the array) and values of all finite voxels, which the cube is read once for."""
    found, n_voxels = [], 0
    for view, values in read(cube, blocks(cube), "voxels"):
        # numbers in the block first: np.nonzero takes longer than all the rest
        kept = np.flatnonzero(np.isfinite(values))
        n_voxels += len(kept)
        if n_voxels > MOST_VOXELS:
            cure = "Cut it with rms_thresh, a region and a velocity range (extract_streamer_subcube)."
            refuse("streamer_cube", f"hold at most {MOST_VOXELS} finite voxels", "more", cure)
        where = [part.start + k for part, k in zip(view, np.unravel_index(kept, values.shape), strict=True)]
        found.append((np.ravel_multi_index(where, cube.shape), values.ravel()[kept]))
    voxels, flux = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not n_voxels:
        refuse("streamer_cube", "hold finite values", "blank voxels (NaN) only", "Check the cuts that were made.")
    # the chunks of Dask have another order
    order = slice(None) if (np.diff(voxels) > 0).all() else np.argsort(voxels)
    return voxels[order], flux[order]


def _moments(cube, points, flux, uncertainty):
    """Weighted means and their uncertainties of the voxels of one bin, each of length 3."""
    total = flux.sum()
    if not total > 0:
        refuse("streamer_cube", "have positive flux in every bin", f"{total:.3g}", "Raise rms_thresh: the bin holds noise.")
    mean, variance = weighted_moments(points, flux)
    pixel, channel = cell_of(cube)
    independent = total**2 / np.sum(flux**2) * pixel**2 / _beam_area(cube) if uncertainty == "mean" else None
    return mean, bounded_sigmas(variance, pixel, channel, independent)


def _beam_area(cube):
    beam = beam_of(cube)
    if beam is None:
        refuse("streamer_cube", "have a beam for uncertainty='mean'", "none", "Add one (cube.with_beam) or use 'spread'.")
    return beam.sr.to_value(u.arcsec**2)


def _meta(cube, uncertainty):
    pixel, channel = cell_of(cube)
    meta = {"uncertainty": uncertainty, "intensity_unit": cube.unit.to_string(), "pixel": pixel, "channel": channel}
    if (axes := beam_axes(cube)) is not None:
        meta["beam"] = list(axes)
    return meta
