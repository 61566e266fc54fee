"""Separating a streamer from its surroundings: spectra as sums of Gaussians, and masks of where a disk emits."""

from sting.isolate.components import Components
from sting.isolate.decomposition import decompose
from sting.isolate.masks import keplerian_mask

__all__ = ["Components", "decompose", "keplerian_mask"]
