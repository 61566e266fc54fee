"""From points with a flux to means along a streamer: the way along it, the bins, the moments. Cubes and maps share it."""

import math

import numpy as np
from astropy import units as u
from astropy.wcs.utils import proj_plane_pixel_area

from sting.core.matching import distance_metric, reference_angle
from sting.cubes import pixels_per_beam
from sting.messages import is_number, refuse
from sting.programs import program

#: A star farther from the middle of the data than this many of their diagonals is taken for a mistake.
FARTHEST_STAR = 10

#: Of a streamer: by STING's measure of distance from the star, or along a curve through the emission.
ORDERINGS = ("distance", "curve")

#: Of its points: the width of the streamer, or the error of the mean.
UNCERTAINTIES = ("spread", "mean")


@program(static=())
def _metric(ra, dec, n_elements, valid):
    return distance_metric(ra, dec, n_elements, valid), reference_angle(ra, dec, n_elements, valid)


def distances(ra, dec, n_elements):
    """`distance_metric` of points (n,), and the angle (rad) that it counts from."""
    n = len(ra)
    # padded to a power of two, so that few sizes are ever compiled
    size = 1 << (n - 1).bit_length()
    ra, dec = (np.pad(offsets, (0, size - n)) for offsets in (ra, dec))
    d, angle = _metric(ra, dec, n_elements, np.arange(size) < n)
    return np.asarray(d)[:n], float(angle)


def boundaries(angle, d, bins):
    """What a file keeps of bins by `distances`: the angle, and the largest d of each but the last."""
    return {"angle": angle, "edges": [float(d[bins == i].max()) for i in range(bins.max())]}


def curve_lengths(points, flux, pixel, meta):
    """Length along the principal curve of the voxels of a streamer, those of a line (see `lines`) together."""
    from sting.principal_curve import along_curve  # and the parts of scipy that no other reduction needs

    line = lines(points[2], pixel, meta["channel"])
    # the least weight, so that lines of no flux have a place too
    weight = np.maximum(flux, 1e-12 * flux.max())
    total = np.bincount(line, weight)
    mean = np.array([np.bincount(line, weight * axis) for axis in points]) / total
    variance = np.bincount(line, weight * (points[2] - mean[2, line]) ** 2) / total
    return along_curve(mean, total, resolution(meta, math.sqrt(np.median(variance))))[line]


def lines(velocity, pixel, channel):
    """Number of the line that each voxel is part of: voxels of one pixel in neighbouring channels."""
    order = np.lexsort((velocity, pixel))
    is_first = np.append(True, (np.diff(pixel[order]) != 0) | (np.diff(velocity[order]) > 1.5 * channel))
    number = np.empty(len(order), int)
    number[order] = np.cumsum(is_first) - 1
    return number


def resolution(meta, width):
    """What the curve through a streamer cannot tell apart: a beam (three pixels where there is none), twice, and a line width."""
    beam = math.sqrt(math.prod(meta["beam"][:2])) if "beam" in meta else 3 * meta["pixel"]
    return beam, beam, max(width, meta.get("channel", 0.0)) or 1.0


def bins_along(d, edges):
    """Number of the bin of each point, from the inside out."""
    # bins are open below and closed above; the first one is closed on both sides, so that nothing is lost
    bins = np.searchsorted(edges, d, side="left")
    n_elements = len(edges) + 1
    if len(np.unique(bins)) < n_elements:
        refuse("n_elements", "leave voxels in every bin", n_elements, "Too few pixels differ in their distance: lower it.")
    return bins


def merged(bins, pixel, meta, min_beams):
    """The bins, from the outside in each joined with the next until it has ``min_beams`` beams; a rest goes with the last.

    Two are left at the least.
    """
    if "beam" not in meta or not min_beams:
        return bins
    least = min_beams * pixels_per_beam(meta["beam"], meta["pixel"])
    groups, joined, n = [], [], bins.max() + 1
    for i in range(n)[::-1]:
        joined.append(i)
        if len(np.unique(pixel[np.isin(bins, joined)])) >= least:
            groups, joined = [*groups, joined], []
    # a curve has two points at least
    groups = [*groups[:-1], groups[-1] + joined] if len(groups) > 1 else [range(n // 2, n), range(n // 2)]
    number = {i: k for k, group in enumerate(groups[::-1]) for i in group}
    return np.array([number[i] for i in range(n)])[bins]


def bin_by_bin(bins, moments):
    """What ``moments`` (a function of a mask) says of each bin, from the outside in: means and sigmas, each (3, n)."""
    return np.transpose([moments(bins == i) for i in range(bins.max() + 1)][::-1], (1, 2, 0))


def merged_words(n_elements, n, min_beams):
    """Notice that there are fewer points than were asked for."""
    return (
        f"{n} of n_elements={n_elements} points are left: bins with less than min_beams={min_beams:g} beams were merged. "
        "Lower n_elements, or pass min_beams=0 to keep all."
    )


def check_beams(min_beams):
    """Refuse what is no number of beams."""
    if not (is_number(min_beams) and min_beams >= 0):
        refuse("min_beams", "be a number of at least 0", repr(min_beams), "Use for example 1.")
    return float(min_beams)


def weighted_moments(points, flux):
    """Flux-weighted means and variances of points of shape (3, n)."""
    mean = points @ flux / flux.sum()
    return mean, (points - mean[:, None]) ** 2 @ flux / flux.sum()


def bounded_sigmas(variance, pixel, channel, independent=None):
    """Uncertainties of a bin from its variances (3,): no bin is narrower than a pixel and a channel.

    With the number of ``independent`` beams and channels in it they are those of the mean.
    """
    sigma = np.sqrt(np.maximum(variance, np.array([pixel, pixel, channel]) ** 2 / 12))
    return sigma if independent is None else sigma / np.sqrt(max(1.0, independent))


def refuse_too_few(n_elements, n, what, cure):
    """Refuse more bins than there is anything to put into them."""
    if n < n_elements:
        refuse("n_elements", f"not exceed the number of {what}", f"{n_elements} for {n} {what}", cure)


def refuse_far_star(star, wcs, shape, data):
    """Refuse a star that is far off a picture of ``shape`` (n_y, n_x) with celestial ``wcs``."""
    n_y, n_x = shape
    middle = wcs.pixel_to_world((n_x - 1) / 2, (n_y - 1) / 2)
    diagonal = np.hypot(n_x, n_y) * np.sqrt(proj_plane_pixel_area(wcs)) * u.deg
    away = middle.separation(star.transform_to(middle.frame))
    if away > FARTHEST_STAR * diagonal:
        refuse(
            "yso_centre",
            f"lie within {FARTHEST_STAR} diagonals ({diagonal.to(u.arcsec):.3g}) of the {data}",
            f"{away.to(u.arcsec):.4g} from its centre",
            "Check its coordinates and their units.",
        )
