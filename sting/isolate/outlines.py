"""Polygons around the pixels of a mask."""

import numpy as np

__all__ = []

#: The sides of a pixel: the step (y, x) to the neighbour beyond, and the corners (x, y) between which it runs.
SIDES = [
    ((-1, 0), (0, 0), (1, 0)),
    ((0, 1), (1, 0), (1, 1)),
    ((1, 0), (1, 1), (0, 1)),
    ((0, -1), (0, 1), (0, 0)),
]


def outlines(mask):
    """Polygons that together hold the centres of just the True pixels of an image.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        The image, shape (ny, nx).

    Returns
    -------
    list of `~numpy.ndarray`
        Corners (x, y) in pixels, shape (n, 2) each, at the corners of pixels.
    """
    from scipy.ndimage import label

    found, waiting = [], [mask]
    while waiting:
        labels, n = label(waiting.pop())
        for part in (labels == k + 1 for k in range(n)):
            if (x := _column_of_a_hole(part)) is None:
                found.append(_outline(part))
            else:
                # ds9 cuts what is excluded out of all other polygons as well: a cut through the hole leaves none
                left = np.arange(part.shape[1]) <= x
                waiting += [part & left, part & ~left]
    return found


def _column_of_a_hole(part):
    """A column through a hole, or None; what pixels enclose that touch at corners is one."""
    from scipy.ndimage import binary_fill_holes

    x = np.flatnonzero((binary_fill_holes(part) & ~part).any(axis=0))
    return x[0] if len(x) else None


def _outline(part):
    """The one closed line around pixels without holes, (n, 2)."""
    wide = np.pad(part, 1)
    following = {}
    # from corner to corner along each side of a pixel that has none beyond it, the pixel on the left
    for (dy, dx), start, end in SIDES:
        ys, xs = np.nonzero(part & ~wide[1 + dy :, 1 + dx :][: part.shape[0], : part.shape[1]])
        for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
            following[x + start[0], y + start[1]] = (x + end[0], y + end[1])
    corner = next(iter(following))
    line = [corner]
    while (corner := following[corner]) != line[0]:
        line.append(corner)
    line = np.array(line)
    turns = np.any(np.roll(line, -1, axis=0) + np.roll(line, 1, axis=0) != 2 * line, axis=1)
    return line[turns] - 0.5
