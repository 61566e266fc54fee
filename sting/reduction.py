"""From points with a flux to means along a streamer: the way along it, the bins, the moments. Cubes and maps share it."""

import jax
import numpy as np
from astropy import units as u
from astropy.wcs.utils import proj_plane_pixel_area

from sting.core.matching import distance_metric
from sting.messages import refuse

#: A star farther from the middle of the data than this many of their diagonals is taken for a mistake.
FARTHEST_STAR = 10

_metric = jax.jit(distance_metric)


def distances(ra, dec, n_elements):
    """`distance_metric`, padded to a power of two so that few sizes are ever compiled."""
    n = len(ra)
    size = 1 << (n - 1).bit_length()
    ra, dec = (np.pad(offsets, (0, size - n)) for offsets in (ra, dec))
    return np.asarray(_metric(ra, dec, n_elements, np.arange(size) < n))[:n]


def bin_by_bin(d, edges, moments):
    """What ``moments`` (a function of a mask) says of each bin of d, from the outside in: means and sigmas, each (3, n)."""
    # bins are open below and closed above; the first one is closed on both sides, so that nothing is lost
    bins = np.searchsorted(edges, d, side="left")
    n_elements = len(edges) + 1
    if len(np.unique(bins)) < n_elements:
        refuse("n_elements", "leave voxels in every bin", n_elements, "Too few pixels differ in their distance: lower it.")
    return np.transpose([moments(bins == i) for i in range(n_elements)][::-1], (1, 2, 0))


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
