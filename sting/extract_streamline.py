"""From a spectral cube to the points of a fit: cube -> streamer cube -> `Streamer`."""

import numpy as np
from astropy import units as u
from astropy.wcs.utils import wcs_to_celestial_frame

from sting.cubes import (
    KMS,
    beam_axes,
    cell_of,
    offsets,
    open_cube,
    pixels_per_beam,
    place_of,
    sky_position,
    to_velocity,
    without_infinities,
)
from sting.cuts import ISLANDS, cut_streamer
from sting.messages import EMPTY_BIN, check_choice, check_whole, in_float64, named_keywords, refuse, warn
from sting.middle_line import VoxelNoise, middle_line
from sting.noise import Noise, check_rms, check_threshold, find_noise, kept_rms
from sting.reduction import (
    ORDERINGS,
    UNCERTAINTIES,
    bin_by_bin,
    bins_along,
    boundaries,
    bounded_sigmas,
    check_beams,
    curve_lengths,
    distances,
    merged,
    merged_words,
    refuse_far_star,
    refuse_too_few,
    weighted_moments,
)
from sting.streamer import Streamer
from sting.voxels import finite_voxels

__all__ = ["Streamer", "extract_streamer_subcube", "reduce_to_1D", "sample_metric_boundaries"]


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
    islands="keep",
):
    """Cut the streamer out of a cube: velocity range, box of offsets, region, noise threshold, islands.

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
        warning, the voxels that are not zero are kept. Infinities are blank, as NaN is.
    region : str, path-like, `~regions.Region`, or list of `~regions.Region`, optional
        A ds9 or CRTF file, or regions; voxels whose pixel centre lies in any of them, and in none that the file
        excludes (``-circle(...)``), are kept.
    center : `~astropy.coordinates.SkyCoord`, optional
        Origin of the offsets, for example the star; by default the reference position of the cube.
    rms : `~astropy.units.Quantity`, optional
        The noise, where it is known or differs over the image: a number or a map of shape (ny, nx), see
        `~sting.noise.estimate_rms`. By default it is estimated.
    islands : {"keep", "beam", "main"}, optional
        What becomes of islands, voxels that share no face with the rest of the cut: all are kept; those are dropped that cover
        less than a beam on the sky; or all are dropped but the one of the largest flux.

    Returns
    -------
    `~spectral_cube.SpectralCube`
        The smallest cube that holds the cut, on a velocity axis in km/s, everything outside the cut masked.

    Raises
    ------
    ValueError
        If a file cannot be read, a rest frequency is missing, a limit is not finite or not below the other, the region lies
        outside the cube, or the cut is empty.
    TypeError
        If an argument is of another type.
    FileNotFoundError
        If a file does not exist.
    ~astropy.units.UnitsError
        If a limit or ``rms`` has a unit of another kind, or none.

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
    check_choice("islands", islands, ISLANDS)
    if rms_thresh is None and rms is not None:
        refuse("rms_thresh", "be given with rms", "none", "Write for example rms_thresh=4.")
    if center is not None:
        sky_position("center", center)
    box = (xmin, xmax, ymin, ymax)
    # the noise takes a pass through the whole cube: after all that may be refused
    cut = cut_streamer(cube, vmin, vmax, box, rms_thresh, region, center, lambda: _noise(cube, rms), islands)
    return without_infinities(cut)


def _noise(cube, rms):
    """Noise of the cube, given or found."""
    if rms is not None:
        return Noise(0.0, check_rms(rms, cube))
    noise = find_noise(cube)
    if noise.is_lost:
        warn(noise.words)
    return noise


@named_keywords
def reduce_to_1D(streamer_cube, yso_centre, n_elements=10, *, uncertainty=None, ordering="distance", min_beams=1, rms=None):
    """Reduce the emission of a streamer to a curve of flux-weighted mean positions and velocities.

    The voxels are put into ``n_elements`` bins of equal numbers by a measure of the way along the streamer, each into one.

    Parameters
    ----------
    streamer_cube : `~spectral_cube.SpectralCube`, str or path-like
        Cube that holds the streamer alone, blank (NaN or infinite) elsewhere (see `extract_streamer_subcube`), or its file.
    yso_centre : `~astropy.coordinates.SkyCoord`
        Position of the star.
    n_elements : int, optional
        Number of points.
    uncertainty : {"mean", "spread"}, optional
        ``"mean"``: points on the middle line of the streamer and their errors from the noise. They are the flux-weighted
        means, freed of what the threshold, the edges of the bins, the blur and the bend do to them. Where the noise is not known
        they are the plain means, and the errors the spread divided by the root of the number of independent beams and channels.
        ``"spread"``: the plain means, and the flux-weighted standard deviation in the bin, that is the width of the streamer, as
        in STING. By default ``"mean"`` where beam and noise are known and, with a warning, ``"spread"`` where they are not.
    ordering : {"distance", "curve"}, optional
        The measure of the way. ``"distance"``: d = r sqrt(1 + dtheta^2), as in STING, where r is the projected distance from the
        star and dtheta the angle from the direction of the innermost emission; it grows along a streamer that leads away from the
        star. ``"curve"``: the length along a principal curve through the emission (Hastie & Stuetzle 1989,
        doi:10.1080/01621459.1989.10478797), for streamers that bend back. It is found in position in beams (three pixels where
        there is no beam) and velocity in line widths; a line, the voxels of a pixel in neighbouring channels, stays together.
    min_beams : float, optional
        A bin with fewer beams (pixels on the sky by those of a beam) is merged with the next one inwards, with a warning: its
        point would repeat what its neighbour says. Two are left at the least. 0 keeps all, as in STING; a cube without a beam
        keeps them as well.
    rms : `~astropy.units.Quantity`, optional
        Noise of a voxel. By default what `extract_streamer_subcube` used for its threshold, which the cut keeps in its header
        (of a map the median).

    Returns
    -------
    `~sting.streamer.Streamer`
        With ``n_elements`` points, or fewer if bins were merged.

    Raises
    ------
    ValueError
        If the file cannot be read, a rest frequency is missing, there are fewer voxels or different distances than
        ``n_elements`` or more than a hundred million voxels, no finite data, a star far off the cube, a bin without positive
        flux, or no beam where one is needed.
    TypeError
        If ``streamer_cube`` or ``yso_centre`` is of another type.
    ~astropy.units.UnitsError
        If ``rms`` has a unit of another kind, or none.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> streamer_cube = extract_streamer_subcube(scene.cube, rms_thresh=5)
    >>> len(reduce_to_1D(streamer_cube, scene.star_position, n_elements=8))
    8
    """
    streamer = reduced(streamer_cube, yso_centre, n_elements, uncertainty, ordering, min_beams, rms)
    if uncertainty is None and streamer.meta["uncertainty"] == "spread":
        warn(_spread_words(streamer))
    if len(streamer) < n_elements:
        warn(merged_words(n_elements, len(streamer), min_beams))
    return streamer


@in_float64
def reduced(streamer_cube, yso_centre, n_elements, uncertainty=None, ordering="distance", min_beams=1, rms=None):
    """`reduce_to_1D` for those who say themselves that bins were merged."""  # numpydoc ignore=PR01
    if uncertainty is not None:
        check_choice("uncertainty", uncertainty, UNCERTAINTIES)
    check_choice("ordering", ordering, ORDERINGS)
    n_elements, min_beams = check_whole("n_elements", n_elements, 2, 10), check_beams(min_beams)
    cube = to_velocity(open_cube(streamer_cube, "streamer_cube"), "streamer_cube")
    cloud, place = _point_cloud(cube, sky_position("yso_centre", yso_centre))
    points, flux, pixel = cloud[:3], cloud[3], place[1] * cube.shape[2] + place[2]
    refuse_too_few(n_elements, len(flux), "voxels", "Lower it or widen the cut.")
    meta = _meta(cube, uncertainty, kept_rms(cube) if rms is None else check_rms(rms, cube))
    meta["star"] = place_of(yso_centre, wcs_to_celestial_frame(cube.wcs.celestial))
    if ordering == "distance":
        d, angle = distances(points[0], points[1], n_elements)
    elif flux.max() > 0:
        d = curve_lengths(points, flux, pixel, meta)
    else:
        refuse("streamer_cube", "have positive flux", f"at most {flux.max():.3g}", "Check the cuts that were made.")
    bins = bins_along(d, np.percentile(d, np.linspace(0, 100, n_elements + 1))[1:-1])
    bins = merged(bins, pixel, meta, min_beams)
    if ordering == "distance":
        meta["boundaries"] = boundaries(angle, d, bins)
    if "rms" in meta:
        step = cube.wcs.celestial.pixel_scale_matrix * 3600
        noise = VoxelNoise(meta["rms"], meta["beam"], step, place)
        means, sigmas = middle_line(points, flux, d, bins, noise, (meta["pixel"], meta["channel"]))
    else:
        means, sigmas = bin_by_bin(bins, lambda kept: _moments(points[:, kept], flux[kept], meta))
    return Streamer(cloud, *means, *sigmas, meta=meta)


def _spread_words(streamer):
    """Notice that the default could not be ``"mean"``."""
    known, cure = ("noise", "Pass rms") if "beam" in streamer.meta else ("beam", "Add one (cube.with_beam)")
    return (
        f"The cube tells no {known}: the uncertainties of the points are the width of the streamer, not the errors of its "
        f"middle. {cure}, or say uncertainty='spread'."
    )


def _point_cloud(cube, star):
    """Positions and intensities (4, n) and channels, rows and columns (3, n) of all finite voxels."""
    refuse_far_star(star, cube.wcs.celestial, cube.shape[1:], "cube")
    voxels, flux = finite_voxels(cube)
    _, n_y, n_x = cube.shape
    channel, pixel = np.divmod(voxels, n_y * n_x)
    # the offsets of a pixel once, whatever the number of its voxels
    seen = np.zeros(n_y * n_x, bool)
    seen[pixel] = True
    lit, place = np.flatnonzero(seen), (np.cumsum(seen) - 1)[pixel]
    cloud = np.empty((4, len(flux)))
    cloud[0], cloud[1] = (offset[place] for offset in offsets(cube, star, np.divmod(lit, n_x)[::-1]))
    cloud[2], cloud[3] = cube.spectral_axis.to_value(KMS)[channel], flux
    return cloud, np.array([channel, *np.divmod(pixel, n_x)])


def _moments(points, flux, meta):
    """Weighted means and their uncertainties of the voxels of one bin, each of length 3."""
    total = flux.sum()
    if not total > 0:
        refuse("streamer_cube", "have positive flux in every bin", f"{total:.3g}", EMPTY_BIN)
    mean, variance = weighted_moments(points, flux)
    independent = None
    if meta["uncertainty"] == "mean":
        independent = 1 / np.sum((flux / total) ** 2) / pixels_per_beam(meta["beam"], meta["pixel"])
    return mean, bounded_sigmas(variance, meta["pixel"], meta["channel"], independent)


def _meta(cube, uncertainty, rms):
    """What the streamer keeps; with ``rms``, if its points are to be on the middle line."""
    pixel, channel = cell_of(cube)
    axes = beam_axes(cube)
    if uncertainty is None:
        uncertainty = "spread" if axes is None or rms is None else "mean"
    if uncertainty == "mean" and axes is None:
        refuse("streamer_cube", "have a beam for uncertainty='mean'", "none", "Add one (cube.with_beam) or use 'spread'.")
    meta = {"uncertainty": uncertainty, "intensity_unit": cube.unit.to_string(), "pixel": pixel, "channel": channel}
    if axes is not None:
        meta["beam"] = list(axes)
    if uncertainty == "mean" and rms is not None:
        meta["rms"] = float(np.nanmedian(rms))
    return meta


@named_keywords
def sample_metric_boundaries(streamer, *, n_samples=61):
    """Return the lines on the sky that part the bins of which the points of a streamer were made, from the inside out.

    They are lines of equal d = r sqrt(1 + dtheta^2), as far around the star as there is emission.

    Parameters
    ----------
    streamer : `~sting.streamer.Streamer`
        Points that `reduce_to_1D` made with ``ordering="distance"``.
    n_samples : int, optional
        Number of points of each line.

    Returns
    -------
    list of tuple of `~astropy.units.Quantity`
        RA and Dec offsets (arcsec), each of shape (n_samples,).

    Raises
    ------
    ValueError
        If the streamer does not know its boundaries: it came from a table, or was ordered along a curve.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> streamer = reduce_to_1D(extract_streamer_subcube(scene.cube, rms_thresh=5), scene.star_position, n_elements=8)
    >>> len(sample_metric_boundaries(streamer))
    7
    """
    if "boundaries" not in streamer.meta:
        cure = "Make it by reduce_to_1D with ordering='distance'."
        refuse("streamer", "know the boundaries of its bins", f"meta with {sorted(streamer.meta)}", cure)
    angle, edges = streamer.meta["boundaries"]["angle"], streamer.meta["boundaries"]["edges"]
    n_samples, pixel = check_whole("n_samples", n_samples, 2, 61), streamer.meta.get("pixel", 0.0)
    ra, dec = streamer.pc_coords[:2]
    turned = np.angle((ra + 1j * dec) * np.exp(-1j * angle))
    d, lines = np.hypot(ra, dec) * np.sqrt(1 + turned**2), []
    for edge in edges:
        here = turned[np.abs(d - edge) <= max(2 * pixel, np.abs(d - edge).min())]
        dtheta = np.linspace(here.min(), here.max(), n_samples)
        lines.append(edge / np.sqrt(1 + dtheta**2) * np.array([np.cos(angle + dtheta), np.sin(angle + dtheta)]))
    return [(ra * u.arcsec, dec * u.arcsec) for ra, dec in lines]
