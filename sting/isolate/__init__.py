"""What of a cube is the streamer's and what its surroundings'."""

from sting.isolate.masks import keplerian_mask

__all__ = ["keplerian_mask"]
