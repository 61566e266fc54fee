"""Regions drawn by hand on a map."""

import numpy as np
from astropy import units as u
from astropy.wcs.utils import pixel_to_skycoord
from regions import EllipseSkyRegion, PixCoord, PolygonPixelRegion, RectangleSkyRegion

SHAPES = ("polygon", "rectangle", "ellipse")


class Sketch:
    """A region that is being drawn, in offsets from the star (arcsec).

    A rectangle and an ellipse are dragged from corner to corner; a polygon is clicked and closed by a double click.

    Parameters
    ----------
    shape : {"polygon", "rectangle", "ellipse"}
        What is drawn.
    """

    def __init__(self, shape):
        self.shape = shape
        self.points = []

    @property
    def how(self):
        """How it is drawn, in words."""
        return "click its corners, double click the last one" if self.shape == "polygon" else "drag from corner to corner"

    def press(self, place, double=False):
        """Mouse button down; returns whether the region is complete."""
        if self.shape == "polygon":
            if double:
                return len(self.points) >= 4
            self.points = [*self.points[:-1], place, place]
            return False
        self.points = [place, place]
        return False

    def move(self, place):
        """Mouse moved; returns whether the outline changed."""
        if not self.points:
            return False
        self.points[-1] = place
        return True

    def release(self, place):
        """Mouse button up; returns whether the region is complete."""
        if self.shape == "polygon" or not self.points:
            return False
        self.points[-1] = place
        return bool(np.all(np.abs(np.subtract(*self.points)) > 0))

    @property
    def outline(self):
        """Outline (n, 2), closed."""
        points = np.array(self.points, float).reshape(-1, 2)
        if self.shape == "polygon" or len(points) < 2:
            return points[[*range(len(points)), 0]] if len(points) else points
        (x0, y0), (x1, y1) = points
        if self.shape == "rectangle":
            return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
        angle = np.linspace(0, 2 * np.pi, 73)
        return np.stack([(x0 + x1 + (x1 - x0) * np.cos(angle)) / 2, (y0 + y1 + (y1 - y0) * np.sin(angle)) / 2], axis=-1)

    def region(self, images):
        """The region on the sky.

        Parameters
        ----------
        images : `~sting.explorer.images.CubeImages`
            The map on which it was drawn.

        Returns
        -------
        `~regions.SkyRegion`
        """
        wcs = images.cube.wcs.celestial
        if self.shape == "polygon":
            # the last corner follows the pointer; a double click repeats the one before
            corners = [p for k, p in enumerate(self.points[:-1]) if k == 0 or p != self.points[k - 1]]
            return PolygonPixelRegion(PixCoord(*images.to_pixel(*np.transpose(corners)))).to_sky(wcs)
        (x0, y0), (x1, y1) = self.points
        centre = pixel_to_skycoord(*(float(v[0]) for v in images.to_pixel((x0 + x1) / 2, (y0 + y1) / 2)), wcs)
        kind = RectangleSkyRegion if self.shape == "rectangle" else EllipseSkyRegion
        return kind(centre, width=abs(x1 - x0) * u.arcsec, height=abs(y1 - y0) * u.arcsec)
