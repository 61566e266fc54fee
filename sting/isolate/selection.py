"""Which cluster is the streamer, and what of the cube belongs to it."""

import contextlib
import functools
import warnings
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from sting.cubes import KMS, positions, sky_position, to_velocity
from sting.extract_streamline import reduce_to_1D
from sting.isolate.clusters import Clusters, flux_of, places, star_shift
from sting.isolate.components import Components, cube_of, model_of
from sting.isolate.outlines import outlines
from sting.isolate.systematics import largest_shift
from sting.messages import StingWarning, is_number, named_keywords, refuse
from sting.noise import keep_rms
from sting.sky_regions import write_regions

__all__ = ["Selection", "select"]

#: What speaks for a streamer, each as a number from 0 to 1, and how it is told.
SCORES = {
    "narrow": "square of the narrowest cluster's line width over this one's",
    "bright": "root of its flux over that of the brightest",
    "contrast": "square of the part of its emission by which it stands out from its surroundings; 1 where that is not known",
    "elongation": "1 - width / length",
    "pointing": "square of the cosine between its longest axis and the way to the star",
    "near": "1/2 + 1/2 / (1 + (d / length)^2), d being its smallest distance from the star",
    "smooth": "1 / (1 + (2 s / sigma)^2), s being the scatter of the velocity about a parabola along it and sigma its line width",
    "monotone": "1/2 + 1/2 rho^2, rho being the rank correlation of velocity and place along it",
    "gradient": "1/2 + 1/2 z^2 / (z^2 + 9), z being the velocity gradient in units of its error",
}


#: Voxels are brighter than this many times the noise, unless another threshold is asked for.
RMS_THRESH = 4.0

#: Other choices of voxels: parts of what is not the streamer's at most, of the threshold.
PURER, MIXED, BRIGHTER = 0.25, 2.5, 1.5


@named_keywords
def select(clusters, star_position, *, cluster=None, reach=3.0, purity=0.8, rms_thresh=RMS_THRESH, cube=None):
    """Rank clusters by how much they look like a streamer, and select the first or those that are named.

    The score of a cluster is the product of nine numbers from 0 to 1: a streamer has narrow lines, is bright, stands out, is long
    and thin, points to the star and reaches near it, and its velocity runs smoothly, in one direction, along it. The ranking is a
    proposal: look at it (`sting.outputs.plot_clusters`) before you fit.

    Parameters
    ----------
    clusters : `~sting.isolate.Clusters`
        The clusters.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    cluster : int or list of int, optional
        Cluster, or clusters that are parts of one streamer, to select instead of the first of the ranking.
    reach : float, optional
        How far from the centroid of a selected component its voxels reach, in its sigma.
    purity : float, optional
        Part of the modelled emission of a voxel that the selected components must exceed, from 0 to 1.
    rms_thresh : float, optional
        Voxels fainter than this many times the noise are left out, 4 by default; 0 keeps all.
    cube : `~spectral_cube.SpectralCube`, str or path-like, optional
        The cube that was decomposed, where the clusters were read from a file.

    Returns
    -------
    `Selection`

    Raises
    ------
    ValueError
        If there is no cluster, none of that number, or a number or the cube makes no sense.
    TypeError
        If an argument is of another type.

    Examples
    --------
    >>> from sting import isolate, synthetic
    >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
    >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
    >>> selection = select(isolate.cluster(components), scene.star_position)
    >>> streamer = selection.streamer(n_elements=5)
    >>> len(streamer)
    5
    """
    if not isinstance(clusters, Clusters):
        refuse("clusters", "be Clusters", type(clusters).__name__, "Make them with sting.isolate.cluster.", TypeError)
    star = sky_position("star_position", star_position)
    for name, value, positive in (("reach", reach, True), ("rms_thresh", rms_thresh, False)):
        if not (is_number(value) and value >= 0 and (value or not positive)):
            refuse(name, "be a positive number" + ("" if positive else ", or 0"), repr(value), "Use for example 3.")
    if not (is_number(purity) and 0 <= purity < 1):
        refuse("purity", "lie between 0 and 1", repr(purity), "Use for example 0.8.")
    if not len(clusters):
        got = f"none among {len(clusters.table)} components"
        refuse("clusters", "hold a cluster", got, "Lower min_size of cluster, or line_snr_min of decompose.")
    ranking = _rank(clusters, star)
    chosen = chosen_numbers(cluster, ranking, len(clusters))
    whole = clusters.cube if cube is None else cube_of(clusters.components, cube)
    return Selection(clusters, star, ranking, chosen, float(reach), float(purity), float(rms_thresh), whole)


def chosen_numbers(cluster, ranking, n):
    """Return the numbers of the clusters that are asked for, or of the first of the ranking."""  # numpydoc ignore=PR01,RT01
    if cluster is None:
        return (int(ranking["cluster"][0]),)
    numbers = [cluster] if isinstance(cluster, Integral) and not isinstance(cluster, bool) else cluster
    if not isinstance(numbers, list | tuple | np.ndarray) or not len(numbers):
        refuse("cluster", "be a number or a list of numbers", repr(cluster), "Use for example 0 or [0, 3].", TypeError)
    for number in numbers:
        if not isinstance(number, Integral) or isinstance(number, bool) or not 0 <= number < n:
            refuse("cluster", f"lie between 0 and {n - 1}", repr(number), "Look at clusters.summary; -1 is noise.")
    return tuple(sorted({int(number) for number in numbers}))


def _rank(clusters, star):
    """The ranking: a row for each cluster, the best first."""
    summary, shift = clusters._seen_from(star), star_shift(clusters.components, star)
    labels = np.asarray(clusters.table["cluster"])
    best = summary["line_width"].min(), summary["flux"].max()
    scores = np.array([_scores(clusters.table[labels == row["cluster"]], row, shift, *best) for row in summary])
    total = scores.prod(axis=1)
    order = np.argsort(-total, kind="stable")
    ranking = QTable(
        {"rank": np.arange(1, len(order) + 1), "cluster": np.asarray(summary["cluster"])[order], "score": total[order]}
    )
    ranking["score"].info.description = "product of the others"
    for column, (name, how) in zip(scores.T, SCORES.items(), strict=True):
        ranking[name] = column[order]
        ranking[name].info.description = how
    for name in ("score", *SCORES):
        ranking[name].info.format = ".3f"
    return ranking


def _scores(table, row, shift, narrowest, brightest):
    """What speaks for a cluster, in the order of `SCORES`."""
    from scipy.stats import rankdata

    place, velocity, weight = places(table, shift), table["velocity"].to_value(KMS), flux_of(table).value
    angle = row["position_angle"].to_value(u.rad)
    axis = np.array([np.sin(angle), np.cos(angle)])
    along, middle = axis @ place, place @ weight / weight.sum()
    way = np.hypot(*middle)
    parabola = np.polynomial.Polynomial.fit(along, velocity, 2, w=np.sqrt(weight))
    scatter = np.sqrt(np.average((velocity - parabola(along)) ** 2, weights=weight))
    ranks = [rankdata(values) for values in (along, velocity)]
    rho = np.corrcoef(ranks)[0, 1] if np.ptp(velocity) > 0 else 0.0
    z = float(row["gradient"] / max(row["gradient_err"], 1e-9 * row["gradient_err"].unit))
    return [
        float(narrowest / row["line_width"]) ** 2,
        float(row["flux"] / brightest) ** 0.5,
        max(row["contrast"], 0.0) ** 2 if np.isfinite(row["contrast"]) else 1.0,
        1 - 1 / row["elongation"],
        (axis @ middle / way) ** 2 if way > 0 else 0.0,
        0.5 + 0.5 / (1 + float(row["distance_min"] / row["length"]) ** 2),
        1 / (1 + (2 * scatter / row["line_width"].to_value(KMS)) ** 2),
        0.5 + 0.5 * rho**2,
        0.5 + 0.5 * z**2 / (z**2 + 9),
    ]


@dataclass(frozen=True, eq=False)
class Selection:
    """Clusters that were selected as the streamer, as `~sting.isolate.select` returns them.

    Attributes
    ----------
    clusters : `~sting.isolate.Clusters`
        All clusters.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    ranking : `~astropy.table.QTable`
        A row for each cluster, the best first: ``rank``, ``cluster``, ``score`` and the numbers that it is the product of. What
        each means is its description: ``selection.ranking.info("attributes")``.
    numbers : tuple of int
        The clusters that are selected.
    reach : float
        How far voxels reach from the centroid of a component, in its sigma.
    purity : float
        The selected components are more than this part of the modelled emission of a voxel.
    rms_thresh : float
        Voxels are brighter than this many times the noise.
    whole : `~spectral_cube.SpectralCube` or None
        The cube that was decomposed.
    """

    clusters: Clusters
    star_position: SkyCoord
    ranking: QTable
    numbers: tuple
    reach: float
    purity: float
    rms_thresh: float
    whole: object = None

    def __repr__(self):
        which = "cluster" if len(self.numbers) == 1 else "clusters"
        n = len(self.components)
        return f"<Selection: {which} {', '.join(map(str, self.numbers))} of {len(self.clusters)}, {n} components>"

    @property
    def components(self):
        """The selected `~sting.isolate.Components`."""
        table = self.clusters.table
        return Components(table[np.isin(table["cluster"], self.numbers)], self.whole)

    @functools.cached_property
    def _models(self):
        """Where the selected components lie: the part of the cube, its velocities, its values without the others, and the part of
        the modelled emission that is theirs."""
        cube, selected = to_velocity(cube_of(self.components, self.whole)), self.components
        velocity, y, x = cube.spectral_axis.to_value(KMS), np.asarray(selected.table["y"]), np.asarray(selected.table["x"])
        view = slice(0, cube.shape[0]), slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
        ours, all_ = (model_of(part, velocity, view) for part in (selected, self.clusters.components))
        values = cube[view].filled_data[:].value * cube.unit.to(self.clusters.meta["unit"]) - (all_ - ours)
        return view, velocity, values, np.divide(ours, all_, out=np.zeros(ours.shape, np.float32), where=all_ > 0)

    @functools.cached_property
    def _window(self):
        """The part of the cube, the voxels of the streamer in it, and the values without the others."""
        view, velocity, values, part = self._models
        selected = self.components
        table = selected.table
        at = np.asarray(table["y"]) - view[1].start, np.asarray(table["x"]) - view[2].start
        near = np.zeros(part.shape, bool)
        center, sigma = (table[name].to_value(KMS) for name in ("velocity", "sigma"))
        # two components of a pixel one after the other
        for rank in range(selected.ranks.max() + 1):
            k = selected.ranks == rank
            near[:, at[0][k], at[1][k]] |= np.abs(velocity[:, None] - center[k]) <= self.reach * sigma[k]
        rms = np.full(part.shape[1:], np.inf)
        rms[at] = table["rms"].value
        kept = near & (part > self.purity)
        kept &= values > self.rms_thresh * rms if self.rms_thresh else np.isfinite(values)
        if not kept.any():
            cure = "Lower rms_thresh or purity, or raise reach."
            refuse("rms_thresh", "leave a voxel of the streamer", f"none above {self.rms_thresh:g} rms", cure)
        return view, kept, values

    @functools.cached_property
    def mask(self):
        """The voxels of the streamer, `~numpy.ndarray` of bool of the shape of the cube.

        Those within ``reach`` sigma of a selected component in which the selected components are more than ``purity`` of all, and
        which, without the others, are brighter than ``rms_thresh`` times the noise.
        """
        view, kept, _ = self._window
        mask = np.zeros(self.clusters.meta["shape"], bool)
        mask[view] = kept
        return mask

    @functools.cached_property
    def cube(self):
        """The `~spectral_cube.SpectralCube` of the streamer alone, the smallest that holds it, masked outside `mask`.

        From its values the model of the components that are not selected is subtracted.
        """
        view, kept, values = self._window
        part = to_velocity(cube_of(self.components, self.whole))[view]
        values = values * u.Unit(self.clusters.meta["unit"]).to(part.unit)
        window = tuple(slice(k.min(), k.max() + 1) for k in np.nonzero(kept))
        cut = part._new_cube_with(data=values)[window].with_mask(kept[window])
        rms = self.components.table["rms"]
        keep_rms(cut, np.median(rms.value) * (rms.unit or u.one).to(cut.unit))
        return cut

    @property
    def velocity_range(self):
        """Lowest and highest velocity of the voxels, `~astropy.units.Quantity` of shape (2,)."""
        axis = self.cube.spectral_axis
        return u.Quantity([axis.min(), axis.max()])

    @property
    def region(self):
        """The polygons on the sky, list of `~regions.PolygonSkyRegion`, that hold the pixels of `mask` and no other."""
        from regions import PolygonSkyRegion

        wcs = cube_of(self.components, self.whole).wcs.celestial
        return [PolygonSkyRegion(positions(wcs, corners.T)) for corners in outlines(self.mask.any(axis=0))]

    def write_region(self, path, *, overwrite=False):
        """Write `region` as a ds9 file.

        Parameters
        ----------
        path : str or path-like
            File to write.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        FileNotFoundError
            If the folder does not exist.

        Examples
        --------
        >>> from sting import isolate, synthetic
        >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
        >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
        >>> selection = isolate.select(isolate.cluster(components), scene.star_position)
        >>> selection.write_region("streamer.reg")
        >>> from sting import sky_regions
        >>> len(sky_regions.read_regions("streamer.reg")) == len(selection.region)
        True
        """
        write_regions(self.region, path, overwrite=overwrite)

    @named_keywords
    def streamer(self, n_elements=10, *, uncertainty=None, ordering="distance", min_beams=1, systematic=True):
        """Reduce the streamer to points, see `~sting.extract_streamline.reduce_to_1D`.

        What is left of the surroundings in the voxels, and what they cut off, move the points by more than the noise does. So
        they are made again of voxels that are purer, or less pure, brighter, or nearer to the lines' centres, and the largest
        distance to the paths of these is added to the uncertainties, in quadrature.

        Parameters
        ----------
        n_elements : int, optional
            Number of points.
        uncertainty : {"mean", "spread"}, optional
            Kind of the uncertainties.
        ordering : {"distance", "curve"}, optional
            The measure of the way along the streamer.
        min_beams : float, optional
            Fewest beams of a bin.
        systematic : bool, optional
            Whether to add what other choices of voxels say; it is not added to ``"spread"``.

        Returns
        -------
        `~sting.streamer.Streamer`

        Raises
        ------
        ValueError
            If there are too few voxels.

        Examples
        --------
        >>> from sting import isolate, synthetic
        >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
        >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
        >>> selection = isolate.select(isolate.cluster(components), scene.star_position)
        >>> points = selection.streamer(n_elements=5)
        >>> bool((points.v_data >= selection.velocity_range[0].value).all())
        True
        """
        how = {"ordering": ordering, "min_beams": min_beams}
        points = reduce_to_1D(self.cube, self.star_position, n_elements, uncertainty=uncertainty, **how)
        if not systematic or points.meta["uncertainty"] != "mean":
            return points
        others = []
        for change in self._others():
            # what leaves too few voxels says nothing
            with contextlib.suppress(ValueError), warnings.catch_warnings():
                warnings.simplefilter("ignore", StingWarning)
                others.append(reduce_to_1D(self._with(change).cube, self.star_position, n_elements, **how))
        shifts = largest_shift(np.array(points.data), [np.array(other.data) for other in others])
        errors = np.hypot(points.uncertainties, shifts)
        return replace(points, **dict(zip(("ra_sigma", "dec_sigma", "v_sigma"), errors, strict=True)))

    def _with(self, change):
        """The same components with other voxels; their models need not be made again."""
        other = replace(self, **change)
        vars(other)["_models"] = self._models
        return other

    def _others(self):
        """Other choices of voxels that are as good."""
        purer, mixed = 1 - PURER * (1 - self.purity), max(0.0, 1 - MIXED * (1 - self.purity))
        yield from ({"purity": purer}, {"purity": mixed}, {"reach": self.reach / 2})
        if self.rms_thresh:
            yield {"rms_thresh": BRIGHTER * self.rms_thresh}
