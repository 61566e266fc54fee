"""Separating a streamer from its surroundings: spectra as sums of Gaussians, their clusters, and masks of where a disk emits."""

from sting.isolate.clustering import cluster
from sting.isolate.clusters import Clusters
from sting.isolate.components import Components
from sting.isolate.decomposition import decompose
from sting.isolate.masks import keplerian_mask

__all__ = ["Clusters", "Components", "cluster", "decompose", "keplerian_mask"]
