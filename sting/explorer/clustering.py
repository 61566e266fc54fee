"""Clusters of an exploration: found in a thread, shown, and chosen as the data of the fit."""

import time
from dataclasses import replace

import numpy as np

from sting.explorer.exploration import locked
from sting.explorer.fitting import INTERVAL, Fitting
from sting.explorer.job import Job
from sting.explorer.known_clusters import KnownClusters
from sting.explorer.session import regions_of
from sting.isolate import cluster as cluster_of
from sting.isolate import decompose
from sting.isolate.clustering import import_sklearn
from sting.messages import refuse

#: Part of the progress bar that the decomposition takes.
DECOMPOSED = 0.8


class Clustering(Fitting):
    """An exploration with clusters; base of `~sting.explorer.state.ExplorerState`.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    """

    def __init__(self, cube, star_position, distance):
        super().__init__(cube, star_position, distance)
        #: Those that are shown, and all by their fingerprints: a step back may lead to a choice among others.
        self.known, self._all_known = None, {}

    @property
    def clusters(self):
        """The clusters that are shown, `~sting.isolate.Clusters`, or None."""
        return None if self.known is None else self.known.clusters

    @property
    def ranking(self):
        """How much each of the clusters looks like a streamer, as `~sting.isolate.select` says, or None."""
        return None if self.known is None else self.known.ranking

    @property
    def chosen(self):
        """Which of the clusters that are shown are chosen, a tuple of int."""
        return self.session.cluster if self.known is not None and self.session.clustering == self.known.fingerprint else ()

    # -- to have some, and to choose among them ---------------------------------------------------------------------------

    @locked
    def set_clusters(self, clusters):
        """Show clusters, to be chosen from; the cut stays as it is, even that of a cluster of others, until one is chosen.

        Parameters
        ----------
        clusters : `~sting.isolate.Clusters`, str, path-like or None
            Clusters of this cube, or a file of `~sting.isolate.Clusters.write`; None for none.

        Raises
        ------
        ValueError
            If they are of another cube, or there is none among the components.
        TypeError
            If it is something else.
        FileNotFoundError
            If the file does not exist.
        """
        known = None if clusters is None else KnownClusters(clusters, self.images, self.star_position)
        if known is not None:
            path, known = known.path, self._all_known.setdefault(known.fingerprint, known)
            if path is not None:
                known.is_in(path)
            (words, _), *others = known.words
            first, n = words.partition(": ")[2], len(others) + 1
            self.status = f"{n} clusters. The first of the ranking is {first}. Click on one to fit it."
        self.known = known
        self._tell("clusters", "status")

    @locked
    def set_cluster(self, cluster):
        """Make clusters the data of the fit; the points and the comparison follow.

        The cut then is that of `~sting.isolate.select`: ``rms_thresh`` is its threshold, 4 if there is none, in units of the
        noise by which the components were found, whatever ``rms`` says. Velocity range, regions and islands cut it further.

        Parameters
        ----------
        cluster : int, list of int or None
            Number of a cluster, or of several that are parts of one streamer; None for none, which leaves the ordinary cut.

        Raises
        ------
        ValueError
            If there are no clusters, none of this number, or nothing would be left; the previous cut then stays.
        TypeError
            If it is no number.
        """
        if cluster is None:
            self._change(clustering=None, cluster=())
            return
        if self.known is None:
            refuse("cluster", "be chosen among clusters", f"{cluster!r}, and no clusters", "Find some, or set_clusters(...).")
        self._change(clustering=self.known.fingerprint, cluster=self.known.selected(cluster).numbers)

    def toggle_cluster(self, number):
        """Add a cluster to those that are chosen, or take it away.

        Parameters
        ----------
        number : int
            The cluster.
        """
        with self.lock:
            self.set_cluster(sorted({*self.chosen} ^ {number}) or None)

    def _derive(self, session):
        old, topics = self.session.clustering, super()._derive(session)
        if session.clustering not in (None, old) and self.known is not self._all_known[session.clustering]:
            # a choice is shown among those that it was made from
            self.known = self._all_known[session.clustering]
            topics.add("clusters")
        return topics

    def _cut(self, session):
        """The voxels of a session; those of a cluster are cut further by all but the threshold."""
        if not session.cluster:
            return super()._cut(session)
        if session.regions:
            _check_sky(regions_of(session))
        selection = self._all_known[session.clustering].selected(session.cluster, session.cluster_threshold)
        return self._limited(selection.cube, replace(session, rms_thresh=None))

    def _cut_words(self, session, streamer):
        words = super()._cut_words(session, streamer)
        if streamer is None and self.known is not None:
            return words.replace("Nothing is cut out yet: choose", "Nothing is cut out yet: click on a cluster, or choose")
        if not session.cluster:
            return words
        which = "Cluster" if len(session.cluster) == 1 else "Clusters"
        return f"{which} {' + '.join(map(str, session.cluster))}, above {session.cluster_threshold:g} times the noise: {words}"

    # -- to find them -----------------------------------------------------------------------------------------------------

    @locked
    def find_clusters(self):
        """Launch a search for clusters in the whole cube in a thread; `wait` waits for its end.

        `~sting.isolate.decompose`, with the noise of the cut if that is given, and `~sting.isolate.cluster`, with their defaults.

        Raises
        ------
        ImportError
            If scikit-learn is not installed.
        """
        self._check_idle("a search for clusters")
        import_sklearn()
        job = Job(None, lambda _: None, self._on_clusters_end)
        job.steps = self._finding(job, None if self.session.rms is None else self.session.rms * self.cube.unit)
        self._launch(job, "clustering")

    def _finding(self, job, rms):
        """The one step of a search, which tells of its progress and ends early if it is asked to."""
        total, told = int(np.prod(self.images.shape[1:])), [0, -INTERVAL]

        def heed(done):
            if time.monotonic() - told[1] >= INTERVAL:
                # a later pass begins anew
                later = done <= told[0]
                words = "spectra learn from their neighbours" if later else f"{done} of {total} spectra"
                self._report(job, DECOMPOSED * (1.0 if later else done / total), f"Describing spectra by Gaussians: {words}.")
                told[:] = done, time.monotonic()
            return job.stopped

        components = decompose(self.cube, rms=rms, star_position=self.star_position, progress=False, callback=heed)
        if not job.stopped:
            self._report(job, DECOMPOSED, f"Looking for clusters of {len(components)} components.")
            yield cluster_of(components, progress=False)

    def _report(self, job, progress, words):
        with self.lock:
            if self._current(job) and not job.stopped:
                self.progress, self.status = progress, words
                self._tell("fit", "status")

    def _on_clusters_end(self, job):
        with self.lock:
            if not self._current(job):
                return
            self.phase = "idle"
            if job.error is None:
                try:
                    self.set_clusters(job.last)
                except ValueError as error:
                    job.error = error
            if job.error is not None:
                self._fail(job)
                return
            self._tell("fit")


def _check_sky(regions):
    """Refuse regions in pixels: they are cut out of what holds a cluster, where pixels have other numbers."""
    from regions import PixelRegion  # it loads matplotlib

    if any(isinstance(region, PixelRegion) for region in regions):
        cure = "Save it in fk5, icrs or galactic coordinates, or take it out of the cut."
        refuse("region", "be in coordinates of the sky where a cluster is chosen", "one in pixels", cure)
