"""What makes clusters whole: how far components stand out from their surroundings, and what is like a cluster and touches it."""

import numpy as np

from sting.cubes import KMS
from sting.isolate.clusters import beam_of
from sting.isolate.components import model_of

__all__ = []

#: Channels whose surroundings are looked at in one go.
CHUNK = 16

#: The core of a cluster is the narrowest quarter of its lines, by flux.
CORE = 0.25

#: By how much of the tolerance lines may be broader, less of it for each part of the emission by which they do not stand out: a
#: blend with much of what lies behind should be narrower than one with little.
BLEND = 4 / 3

#: Components touch within so many beams, and so many sigma of the core's lines.
NEAR, SAME_VELOCITY = 0.4, 0.5

#: A piece belongs to a cluster that has this part of its core's flux in it; what keeps less than `WHOLE` does not stand out.
PIECE, WHOLE = 0.1, 0.2


def contrast(components, widest):
    """Part of the emission at the peak of each component by which it stands out from what surrounds it, shape (n,), 0 to 1.

    The surroundings are the channel map opened by a square of so many beams (a morphological opening): what is left of it when
    everything narrower is gone. The map is that of the model, which has no noise.
    """
    from scipy.ndimage import grey_opening

    table, meta = components.table, components.meta
    velocity, size = table["velocity"].to_value(KMS), 2 * round(widest * beam_of(meta) / meta["pixel"] / 2) + 1
    channels = np.rint((velocity - velocity.min()) / meta["channel"]).astype(int)
    whole = slice(0, 0), slice(0, meta["shape"][1]), slice(0, meta["shape"][2])
    found = np.zeros(len(table))
    for start in range(0, channels.max() + 1, CHUNK):
        here = np.flatnonzero((channels >= start) & (channels < start + CHUNK))
        if not len(here):
            continue
        maps = model_of(components, velocity.min() + meta["channel"] * np.arange(start, start + CHUNK), whole)
        opened = grey_opening(maps, size=(1, size, size))
        at = channels[here] - start, np.asarray(table["y"])[here], np.asarray(table["x"])[here]
        found[here] = 1 - opened[at] / maps[at]
    return found


def gathered(labels, place, velocity, width, contrast, flux, *, tolerance, contrast_min):
    """Labels of clusters that took in what touches them, stands out as they do and has lines no broader than theirs.

    Parameters
    ----------
    labels : `~numpy.ndarray`
        Clusters of the components, shape (n,); -1 for none.
    place : `~numpy.ndarray`
        Positions in beams, shape (2, n).
    velocity : `~numpy.ndarray`
        Velocities (km/s), shape (n,).
    width, contrast, flux : `~numpy.ndarray`
        ln(sigma), contrast and flux, shape (n,) each.
    tolerance : float
        By how much ln(sigma) may exceed that of a cluster's core where contrast is 1.
    contrast_min : float
        Least contrast.

    Returns
    -------
    `~numpy.ndarray`
        New labels, with gaps where clusters were parts of others. Components that are not like their cluster are left out. A
        cluster that does not stand out keeps what no other one took.
    """
    cores = [_quantile(width[labels == k], flux[labels == k], CORE) for k in range(labels.max(initial=-1) + 1)]
    broader, new = tolerance * (1 - BLEND * (1 - contrast)), np.full(len(labels), -1)
    for k in np.argsort(cores, kind="stable"):
        ours = labels == k
        if np.mean(new[ours] >= 0) > 0.5:
            continue
        alike = np.flatnonzero((new < 0) & (width < cores[k] + broader) & (contrast > contrast_min))
        axes = np.array([*(place / NEAR), velocity / (SAME_VELOCITY * np.exp(cores[k]))]).T[alike]
        whole = alike[_touching(axes, np.where(ours[alike], flux[alike], 0.0))]
        stands_out = flux[whole[ours[whole]]].sum() > WHOLE * flux[ours].sum()
        new[whole if stands_out else np.flatnonzero(ours & (new < 0))] = k
    return new


def _quantile(values, weight, part):
    """Weighted quantile."""
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return values[order][np.searchsorted(total, part * total[-1])]


def _touching(axes, flux):
    """Which of n places (n, 3) are in pieces, connected by steps shorter than 1, that hold some of a flux (n,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(axes).query_pairs(1.0, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(axes),) * 2)
    _, piece = connected_components(graph, directed=False)
    held = np.bincount(piece, flux)
    return held[piece] > PIECE * held.sum()
