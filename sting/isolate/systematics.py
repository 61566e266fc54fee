"""How far points move if the voxels of a streamer are chosen otherwise: what the noise does not say."""

import numpy as np

__all__ = []


def largest_shift(points, others):
    """Return by how much points lie off the paths of others at most.

    Parameters
    ----------
    points : `~numpy.ndarray`
        RA offset, Dec offset and velocity, shape (3, n).
    others : list of `~numpy.ndarray`
        Points of other choices in their order along the streamer, shape (3, m) each.

    Returns
    -------
    `~numpy.ndarray`
        Of each coordinate, shape (3, n); 0 where no other path passes.
    """
    shifts = [np.abs(_off(points, other)) for other in others if other.shape[1] > 1]
    return np.max([np.zeros_like(points), *np.nan_to_num(shifts)], axis=0)


def _off(points, path):
    """Differences (3, n) of points to the nearest places on a path, NaN beyond its ends."""
    start, step = path[:, :-1, None], np.diff(path, axis=1)[..., None]
    away = points[:2, None] - start[:2]
    length = np.maximum((step[:2] ** 2).sum(axis=0), 1e-300)
    part = (away * step[:2]).sum(axis=0) / length
    inside = np.clip(part, 0, 1)
    distance = np.hypot(*(away - inside * step[:2]))
    segment, number = distance.argmin(axis=0), np.arange(points.shape[1])
    off = points - (start + inside * step)[:, segment, number]
    last = path.shape[1] - 2
    beyond = ((segment == 0) & (part[0] < 0)) | ((segment == last) & (part[last] > 1))
    return np.where(beyond, np.nan, off)
