"""Rectangles along a line on the sky, and the mean of a cube over each of them."""

import contextlib
import io
from types import SimpleNamespace

import numpy as np
from astropy import units as u

from sting.messages import refuse

#: Corners of a rectangle, along and across the line, in units of its half sides.
CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])


def on_sky(star, points):
    """Coordinates of offsets (2, ...) from the star, in its frame."""
    return star.spherical_offsets_by(*(points * u.arcsec))


def cell_corners(cube, star, track, offset, spacing, width):
    """Pixel coordinates x, y, each (n, 4), of the corners of the cells.

    Laid out on the sky, not in pixels as pvextractor does by itself: so pixels need not be square.
    """
    along = track.direction(offset)
    across = np.array([-along[1], along[0]])
    sides = CORNERS * (spacing / 2, width / 2)
    corners = track.at(offset)[..., None] + along[..., None] * sides[:, 0] + across[..., None] * sides[:, 1]
    return cube.wcs.celestial.world_to_pixel(on_sky(star, corners))


def cells_over(x, y, shape):
    """The cells from the first to the last that lie over the image."""
    over = (x.max(axis=1) > -0.5) & (x.min(axis=1) < shape[1] - 0.5) & (y.max(axis=1) > -0.5) & (y.min(axis=1) < shape[0] - 0.5)
    found = np.flatnonzero(over)
    if not len(found):
        refuse("path", "cross the cube", "a path outside it", "Check the star, the frame and the units of the path.")
    return slice(found[0], found[-1] + 1)


def mean_over(cube, x, y):
    """Mean of the cube over each of the polygons (n, 4): an array (n_channels, n)."""
    from pvextractor import Path, extract_pv_slice

    # no more of the cube is read than what lies under the path
    (left, bottom), (right, top) = (
        [int(np.clip(round(edge(v)) + margin, 0, size)) for v, size in ((x, cube.shape[2]), (y, cube.shape[1]))]
        for edge, margin in ((np.min, -1), (np.max, 2))
    )
    polygons = [SimpleNamespace(x=x, y=y) for x, y in zip(x - left, y - bottom, strict=True)]

    class Cells(Path):
        def sample_polygons(self, spacing, wcs=None):
            return polygons

    values = cube[:, bottom:top, left:right].filled_data[:].value
    # pvextractor draws a progress bar on the standard output
    with contextlib.redirect_stdout(io.StringIO()):
        return extract_pv_slice(values.astype(float), Cells([(0, 0), (1, 1)], width=1.0)).data


def image_wcs(cube, first, spacing):
    """World coordinates of the image: offset in arcsec, and the cube's own spectral axis."""
    from pvextractor import slice_wcs

    wcs = slice_wcs(cube.wcs, spatial_scale=spacing * u.arcsec)
    wcs.wcs.cunit[0], wcs.wcs.cdelt[0], wcs.wcs.crval[0] = "arcsec", spacing, first
    return wcs
