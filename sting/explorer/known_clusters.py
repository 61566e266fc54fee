"""Clusters of the cube that is explored: where they lie on its maps, their order, and the file that they can be read from."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy import units as u

from sting.cubes import KMS
from sting.files import existing_file
from sting.isolate import Clusters, select
from sting.isolate.clusters import places, star_shift
from sting.isolate.selection import RMS_THRESH, chosen_numbers
from sting.messages import refuse

#: Columns that decide what a selection is.
_DECISIVE = ("x", "y", "amplitude", "velocity", "sigma", "rms", "cluster")


class KnownClusters:
    """Clusters of a cube, seen from a star.

    Parameters
    ----------
    clusters : `~sting.isolate.Clusters`, str or path-like
        The clusters, or their file.
    images : `~sting.explorer.images.CubeImages`
        The cube.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.

    Attributes
    ----------
    clusters : `~sting.isolate.Clusters`
        The clusters.
    fingerprint : str
        Differs for other clusters.
    ranking : `~astropy.table.QTable`
        As `~sting.isolate.select` gives it.
    number, pixel, ra, dec, velocity, reach : `~numpy.ndarray`
        Of each component of a cluster, those of the best cluster last: the cluster, the pixel (its number in the image), the
        offsets (arcsec), and the velocity and how far from it the line reaches (km/s).
    """

    def __init__(self, clusters, images, star_position):
        self._file = None
        path = clusters if isinstance(clusters, str | Path) else None
        if path is not None:
            path = existing_file("clusters", path, "be Clusters or their file", "Write one with Clusters.write('clusters.ecsv').")
            clusters = Clusters.read(path)
        if not isinstance(clusters, Clusters):
            got, cure = type(clusters).__name__, "Make them with sting.isolate.cluster."
            refuse("clusters", "be Clusters or a file of them", got, cure, TypeError)
        difference = _difference(clusters, images, star_position)
        if difference:
            rule, cure = "be of the cube that is shown", "Find them in this cube, or show the cube that they are of."
            refuse("clusters", rule, difference, cure)
        self.clusters, self.fingerprint = clusters, _fingerprint(clusters)
        self._selection = select(clusters, star_position, cube=images.cube)
        self.ranking = self._selection.ranking
        if path is not None:
            self.is_in(path)
        self._place(images)

    def _place(self, images):
        table, ranks = self.clusters.table, np.zeros(len(self.clusters), int)
        ranks[self.ranking["cluster"]] = np.arange(len(ranks))
        members = np.flatnonzero(np.asarray(table["cluster"]) >= 0)
        # the best on top, where a streamer lies before brighter things
        members = members[np.argsort(-ranks[table["cluster"][members]], kind="stable")]
        x, y, self.number = (np.asarray(table[name])[members] for name in ("x", "y", "cluster"))
        self.pixel = y * images.shape[2] + x
        self.ra, self.dec = images.to_offset(x, y)
        self.velocity, sigma = (table[name].to_value(KMS)[members] for name in ("velocity", "sigma"))
        self.reach = np.maximum(sigma, images.channel_width / 2)

    def selected(self, cluster, rms_thresh=RMS_THRESH):
        """Return what `~sting.isolate.select` does, without ranking the clusters anew.

        Parameters
        ----------
        cluster : int or list of int
            Number of a cluster, or of several.
        rms_thresh : float, optional
            Threshold of the voxels.

        Returns
        -------
        `~sting.isolate.Selection`
        """
        numbers = chosen_numbers(cluster, self.ranking, len(self.clusters))
        return replace(self._selection, numbers=numbers, rms_thresh=rms_thresh)

    @property
    def words(self):
        """A line for each cluster, the best first, as pairs of words and number."""
        return [
            (f"{rank}: cluster {number}, score {score:.3f}", int(number))
            for rank, number, score in self.ranking.iterrows("rank", "cluster", "score")
        ]

    def seen(self, low, high):
        """Return the components whose lines reach into a range of velocities, one of each pixel, that of the best cluster.

        Parameters
        ----------
        low, high : float or None
            Velocity range (km/s).

        Returns
        -------
        `~numpy.ndarray` of int
        """
        kept = np.ones(len(self.number), bool)
        if low is not None:
            kept &= self.velocity + self.reach >= low
        if high is not None:
            kept &= self.velocity - self.reach <= high
        # from the end, where the best are
        there = np.flatnonzero(kept)[::-1]
        return there[np.unique(self.pixel[there], return_index=True)[1]]

    def nearest(self, ra, dec, among, within):
        """Return the cluster of the component that is nearest to a place, or None if none is near.

        Parameters
        ----------
        ra, dec : float
            Offsets (arcsec).
        among : `~numpy.ndarray` of int
            The components to look at.
        within : float
            How far it may be (arcsec).

        Returns
        -------
        int or None
        """
        distance = np.hypot(self.ra[among] - ra, self.dec[among] - dec)
        if not len(distance) or distance.min() > within:
            return None
        return int(self.number[among[np.argmin(distance)]])

    def is_in(self, path):
        """Take note of a file that holds them.

        Parameters
        ----------
        path : str or path-like
            The file.
        """
        path = Path(path).absolute()
        self._file = path, _stamp(path)

    @property
    def path(self):
        """The file that holds them, a str, or None if none is known, or it was changed since."""
        if self._file is None or not self._file[0].is_file() or _stamp(self._file[0]) != self._file[1]:
            return None
        return str(self._file[0])


def _stamp(path):
    """What changes when a file does."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size


def _fingerprint(clusters):
    """A short text that differs for other clusters; the same before and after a file."""
    table, meta = clusters.table, clusters.meta
    digest = hashlib.sha256(repr((list(meta["shape"]), meta["unit"])).encode())
    for name in _DECISIVE:
        digest.update(np.asarray(getattr(table[name], "value", table[name])).astype("<f8").tobytes())
    return digest.hexdigest()[:12]


def _difference(clusters, images, star_position):
    """In what the clusters are not of the cube, in words, or an empty text."""
    table, meta = clusters.table, clusters.meta
    if tuple(meta["shape"]) != tuple(images.shape):
        return f"clusters of one of shape {tuple(meta['shape'])}; this is of shape {tuple(images.shape)}"
    if not u.Unit(meta["unit"]).is_equivalent(images.cube.unit):
        return f"clusters of one in {meta['unit']!r}; this is in {images.unit!r}"
    ra, dec = places(table, star_shift(clusters.components, star_position)) - images.to_offset(table["x"], table["y"])
    off = np.hypot(ra, dec).max(initial=0.0)
    if off > meta["pixel"]:
        return f"clusters whose pixels lie {off:.3g} arcsec from those of this cube"
    velocity, axis = table["velocity"].to_value(KMS), images.velocity
    if len(table) and not axis.min() - meta["channel"] <= velocity.min() <= velocity.max() <= axis.max() + meta["channel"]:
        spans = f"{velocity.min():.4g} to {velocity.max():.4g} km/s; this cube has {axis.min():.4g} to {axis.max():.4g} km/s"
        return f"clusters at {spans}"
    return ""
