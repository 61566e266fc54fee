"""A line on the sky: broken, measured along its length, and straight on beyond its ends."""

from dataclasses import dataclass

import numpy as np

from sting.messages import refuse

#: Corners nearer to each other than this fraction of the whole length are one: they have no direction.
COINCIDENT = 1e-9


@dataclass(frozen=True, eq=False)
class Track:
    """Corners (2, n) east and north of the star, and the length along the line (n,) at each, all in arcsec."""

    corners: np.ndarray
    length: np.ndarray

    @classmethod
    def through(cls, points, *, zero_at_start):
        """The line through points (2, n), measured from its start or from its place that is nearest to the star."""
        corners = _distinct(points)
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=1)))])
        track = cls(corners, length)
        if zero_at_start:
            return track
        offset, _ = track._nearest(np.zeros((2, 1)))
        return cls(corners, length - offset)

    @property
    def _directions(self):
        """Unit vectors of the segments, shape (2, n - 1)."""
        return np.diff(self.corners, axis=1) / np.diff(self.length)

    def _segment(self, offset):
        return np.clip(np.searchsorted(self.length, offset, side="right") - 1, 0, len(self.length) - 2)

    def at(self, offset):
        """Positions (2, m) at offsets (m,) along the line."""
        here = self._segment(offset)
        return self.corners[:, here] + self._directions[:, here] * (offset - self.length[here])

    def direction(self, offset):
        """Unit vectors (2, m) of the line at offsets (m,)."""
        return self._directions[:, self._segment(offset)]

    def project(self, points):
        """Offset of the nearest place on the line and distance from it, each (m,), of points (2, m)."""
        offset, distance = self._nearest(points)
        # an end stands for the straight line beyond it; in the middle of the line that must not count
        for is_end, corner, segment in ((offset == self.length[0], 0, 0), (offset == self.length[-1], -1, -1)):
            unit = self._directions[:, segment, None]
            away = points[:, is_end] - self.corners[:, corner, None]
            offset[is_end] += np.sum(away * unit, axis=0)
            distance[is_end] = np.abs(unit[0] * away[1] - unit[1] * away[0])
        return offset, distance

    def _nearest(self, points):
        """The same without what is beyond the ends; a segment at a time, as there may be a million points."""
        offset, best = np.full((2, points.shape[1]), np.nan)
        best[np.isfinite(points).all(axis=0)] = np.inf
        for start, unit, low, high in zip(self.corners.T, self._directions.T, self.length[:-1], self.length[1:], strict=False):
            away = points - start[:, None]
            along = np.clip(unit @ away, 0, high - low)
            distance = np.hypot(*(away - unit[:, None] * along))
            nearer = distance < best
            # not low + along, which would miss the very end by a rounding
            place = np.where(along < high - low, low + along, high)
            offset[nearer], best[nearer] = place[nearer], distance[nearer]
        return offset, best


def _distinct(points):
    """Points of which no two in succession coincide."""
    steps = np.hypot(*np.diff(points, axis=1))
    kept = np.concatenate([[True], steps > COINCIDENT * steps.sum()])
    if kept.sum() < 2:
        refuse("path", "go through at least two different positions", f"{kept.sum()}", "Give the corners of a line.")
    return points[:, kept]
