"""Clusters of the components of a cube: what is one in position, velocity and line width."""

import numpy as np
from astropy import units as u
from astropy.table import QTable
from tqdm.auto import tqdm

from sting.cubes import KMS, pixels_per_beam, to_velocity
from sting.isolate.clusters import Clusters, beam_of, flux_of
from sting.isolate.coherence import contrast, gathered
from sting.isolate.components import Components, cube_of
from sting.isolate.density import leaves
from sting.messages import check_choice, check_whole, is_number, named_keywords, refuse, warn

__all__ = ["cluster"]

#: Ways to cluster.
METHODS = ("hdbscan", "dbscan")

#: Smallest cluster, and neighbours by which density is told, in beams.
SMALLEST, NEIGHBOURS = 2.0, 0.6

#: Neighbours that are averaged lie within so many typical line widths in velocity.
SAME_LINE = 0.5

#: Components that are averaged at a time.
CHUNK = 20_000


@named_keywords
def cluster(
    components,
    *,
    method="hdbscan",
    min_size=None,
    min_samples=None,
    eps=0.65,
    mask=None,
    cube=None,
    beam_scale=1.0,
    velocity_scale=0.8,
    width_scale=0.17,
    amplitude_scale=1.0,
    smoothing=0.7,
    width_tolerance=0.375,
    contrast_min=0.55,
    widest=2.7,
    progress=True,
):
    """Group the components of a cube into clusters, by density in position, velocity, line width and brightness.

    Position counts in beams, velocity in the median sigma of the components, width and amplitude by their natural logarithms.
    Before, width and amplitude are averaged over the neighbours in the same line, weighted by the square of the signal to noise:
    of one component they are known to a tenth only. Where a streamer lies on an envelope, position and velocity alone seldom part
    them; the lines of a streamer are narrower.

    What is dense is the core of a cluster only. It then takes in all that touches it, whose lines are about as narrow as its own
    and which stands out from its surroundings: most of the emission is gone when the channel map is cleared of all that
    is narrower than ``widest`` (a morphological opening of the model). Cores that are part of the same structure become one
    cluster, and what is not like its core is left to the noise. Clusters that do not stand out, such as those of an envelope,
    remain what they are.

    Parameters
    ----------
    components : `~sting.isolate.Components`
        The components.
    method : {"hdbscan", "dbscan"}, optional
        ``"hdbscan"`` finds clusters of different density (Campello et al. 2013) and takes the leaves of their tree, the smallest
        that are stable; ``"dbscan"`` those of one density (Ester et al. 1996), which ``eps`` sets. A tree without branches has
        no leaves: what stands alone in its cube is found by ``"dbscan"`` in either case.
    min_size : int, optional
        Fewest components of a cluster; by default as many as two beams have pixels.
    min_samples : int, optional
        Neighbours, the component itself among them, by which the density is told; by default the pixels of 0.6 beams.
    eps : float, optional
        Distance to a neighbour for ``"dbscan"``, in the scaled axes.
    mask : array of bool, optional
        Components whose centroid lies in a True voxel (n, ny, nx), or pixel (ny, nx), are left to the noise: a disk, for
        example, see `~sting.isolate.keplerian_mask`.
    cube : `~spectral_cube.SpectralCube`, str or path-like, optional
        The cube that was decomposed: for a ``mask`` of voxels and components that were read from a file.
    beam_scale : float, optional
        Unit of the positions, in beams (geometric mean of the FWHM; three pixels where the cube has none).
    velocity_scale : float, optional
        Unit of the velocities, in the median sigma.
    width_scale, amplitude_scale : float or None, optional
        Unit of ln(sigma) and ln(amplitude): with 0.17, lines that differ by 19 % in width are as far from each other as those
        that are a beam apart. None leaves the axis out.
    smoothing : float, optional
        Radius over which widths and amplitudes are averaged, in beams; 0 takes them as they are.
    width_tolerance : float or None, optional
        A cluster takes in components whose (averaged) lines are broader than those of its core, its narrowest quarter, by at most
        this much in ln(sigma) where they stand out wholly, and by less where they do so in part (0.4 of it at a contrast of
        0.55). None leaves the clusters as they are found.
    contrast_min : float, optional
        Part of the emission by which components stand out that a cluster takes in, from 0 to 1.
    widest : float, optional
        What is wider than so many beams is surroundings; choose it larger than the streamer is wide.
    progress : bool, optional
        Whether to show a progress bar if it takes more than two seconds.

    Returns
    -------
    `Clusters`
        Numbered from 0 by their flux, the brightest first. Without a cluster, with a warning.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    ValueError
        If a number makes no sense, or the mask is of another shape.
    TypeError
        If ``components`` is something else.

    Notes
    -----
    The defaults were found on synthetic scenes (``benchmarks/isolate_scenes.py``). HDBSCAN is given the distances to the nearest
    ``2 * min_samples`` neighbours only.

    References
    ----------
    Campello, Moulavi & Sander 2013, doi:10.1007/978-3-642-37456-2_14

    Ester et al. 1996, Proc. KDD-96, 226

    Examples
    --------
    >>> from sting import isolate, synthetic
    >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
    >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
    >>> clusters = cluster(components)
    >>> bool(clusters.summary["flux"][0] == clusters.summary["flux"].max())
    True
    """
    if not isinstance(components, Components):
        refuse("components", "be Components", type(components).__name__, "Make them with sting.isolate.decompose.", TypeError)
    check_choice("method", method, METHODS)
    given = {"beam_scale": beam_scale, "velocity_scale": velocity_scale, "eps": eps, "widest": widest}
    optional = {"width_scale": width_scale, "amplitude_scale": amplitude_scale, "width_tolerance": width_tolerance}
    given |= {name: value for name, value in optional.items() if value is not None}
    for name, value in given.items():
        if not (is_number(value) and value > 0):
            refuse(name, "be a positive number", repr(value), "Leave it out for the default.")
    if not (is_number(contrast_min) and 0 <= contrast_min < 1):
        refuse("contrast_min", "lie between 0 and 1", repr(contrast_min), "Use for example 0.55.")
    if not (is_number(smoothing) and smoothing >= 0):
        refuse("smoothing", "be a number of beams, 0 or more", repr(smoothing), "Use for example 0.7.")
    per_beam = _per_beam(components.meta)
    min_size = max(5, round(SMALLEST * per_beam)) if min_size is None else check_whole("min_size", min_size, 2, 50)
    min_samples = max(3, round(NEIGHBOURS * per_beam)) if min_samples is None else check_whole("min_samples", min_samples, 1, 20)
    learn = import_sklearn()
    free = _outside(components, mask, cube)
    labels, stands_out = np.full(len(components), -1), np.full(len(components), np.nan)
    flux = flux_of(components.table).value
    if np.count_nonzero(free) >= max(min_size, min_samples):
        some = Components(components.table[free])
        place, velocity = _places(some)
        with tqdm(total=4, unit="step", desc="Clusters", disable=not progress, delay=2, leave=False) as bar:
            # what the mask leaves out surrounds the others all the same
            part = contrast(components, widest)[free]
            bar.update()
            properties = np.array([np.log(some.table["sigma"].to_value(KMS)), np.log(some.table["amplitude"].value), part])
            if smoothing:
                near = np.array([*(place / smoothing), velocity / (SAME_LINE * _typical_sigma(some))]).T
                properties = _averaged(properties, near, np.asarray(some.table["snr"]) ** 2)
            bar.update()
            scales = (beam_scale, beam_scale, velocity_scale * _typical_sigma(some), width_scale, amplitude_scale)
            axes = np.array([v / scale for v, scale in zip((*place, velocity, *properties[:2]), scales, strict=True) if scale]).T
            found = np.full(len(some), -1)
            if method == "hdbscan":
                found = leaves(learn, axes, min_size=min_size, min_samples=min_samples)
            if (found < 0).all():
                found = learn.DBSCAN(eps=eps, min_samples=min_samples).fit_predict(axes)
            bar.update()
            if width_tolerance is not None:
                width, _, part = properties
                alike = {"tolerance": width_tolerance, "contrast_min": contrast_min}
                found = gathered(found, place, velocity, width, part, flux[free], **alike)
            bar.update()
        labels[free], stands_out[free] = found, properties[2]
    table = QTable(components.table)
    table["cluster"], table["contrast"] = _by_flux(labels, flux, min_size), stands_out
    settings = {"method": method, "min_size": min_size, "min_samples": min_samples, "smoothing": smoothing}
    settings |= {"contrast_min": contrast_min} | given
    table.meta = {**components.meta, "clustering": settings}
    if not (table["cluster"] >= 0).any():
        warn(f"There is no cluster: no {min_size} of the {len(components)} components belong together. Lower min_size.")
    return Clusters(table, components.cube)


def import_sklearn():
    """Import scikit-learn's clusters, or say how to get them."""
    try:
        from sklearn import cluster as learn
    except ImportError as error:
        words = "cluster needs scikit-learn: install this package with its extra, pip install '.[isolate]' in its checkout."
        raise ImportError(words) from error
    return learn


def _per_beam(meta):
    """Pixels of a beam."""
    return pixels_per_beam((beam_of(meta),) * 2, meta["pixel"])


def _outside(components, mask, cube):
    """Which components do not lie in the mask."""
    if mask is None:
        return np.ones(len(components), bool)
    shape, mask = tuple(components.meta["shape"]), np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
        rule, got = f"be an array of bool of shape {shape} or {shape[1:]}", f"{mask.dtype} of shape {mask.shape}"
        refuse("mask", rule, got, "Make it for the cube that was decomposed.")
    table = components.table
    if mask.ndim == 2:
        return ~mask[table["y"], table["x"]]
    velocity = to_velocity(cube_of(components, cube)).spectral_axis.to_value(KMS)
    channel = np.abs(velocity[:, None] - table["velocity"].to_value(KMS)).argmin(axis=0)
    return ~mask[channel, table["y"], table["x"]]


def _places(components):
    """Positions in beams (2, n) and velocities in km/s (n,)."""
    table, beam = components.table, beam_of(components.meta)
    place = np.array([table[name].to_value(u.arcsec) for name in ("ra_offset", "dec_offset")]) / beam
    return place, table["velocity"].to_value(KMS)


def _typical_sigma(components):
    """Median width of the lines (km/s)."""
    return np.median(components.table["sigma"].to_value(KMS))


def _averaged(values, near, weight):
    """Weighted means of values (m, n) over what lies within 1 of each of n places (n, d)."""
    from scipy.spatial import cKDTree

    tree, means = cKDTree(near), np.empty_like(values)
    for start in range(0, len(near), CHUNK):
        some = slice(start, start + CHUNK)
        pairs = cKDTree(near[some]).sparse_distance_matrix(tree, 1.0, output_type="ndarray")
        of, weights = pairs["i"], weight[pairs["j"]]
        total = np.bincount(of, weights)
        for mean, value in zip(means, values, strict=True):
            mean[some] = np.bincount(of, weights * value[pairs["j"]]) / total
    return means


def _by_flux(labels, flux, min_size):
    """Labels from 0, the brightest cluster first; those of clusters that are too small are -1."""
    known = labels >= 0
    n = labels.max(initial=-1) + 1
    total = np.bincount(labels[known], flux[known], minlength=n)
    kept = np.flatnonzero(np.bincount(labels[known], minlength=n) >= min_size)
    new = np.full(n + 1, -1)  # the last is that of the noise
    new[kept[np.argsort(-total[kept], kind="stable")]] = np.arange(len(kept))
    return new[labels]
