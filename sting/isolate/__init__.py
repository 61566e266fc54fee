"""Separating a streamer from its surroundings: the spectra of a cube as sums of Gaussians."""

from sting.isolate.components import Components
from sting.isolate.decomposition import decompose

__all__ = ["Components", "decompose"]
