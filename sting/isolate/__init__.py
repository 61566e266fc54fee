"""Separating a streamer from its surroundings: spectra as sums of Gaussians, their clusters, and masks of where a disk emits."""

from sting.isolate.clustering import cluster
from sting.isolate.clusters import Clusters
from sting.isolate.components import Components
from sting.isolate.decomposition import decompose
from sting.isolate.masks import keplerian_mask
from sting.isolate.selection import Selection, select

__all__ = ["Clusters", "Components", "Selection", "cluster", "decompose", "keplerian_mask", "select"]
