"""What a clustering returns, `Clusters`: the components with the cluster of each, what each cluster is like, and a file."""

import functools
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.core.constants import FWHM
from sting.cubes import KMS, pixels_per_beam, sky_offsets
from sting.files import as_path, existing_file, reading, whole_file
from sting.isolate.components import Components, checked, plain_table
from sting.messages import named_keywords, refuse

__all__ = ["Clusters"]

#: Beam (FWHM, pixels) of a cube that has none.
NO_BEAM = 3.0

#: Columns of the summary, and their units; None stands for that of the amplitudes times km/s arcsec2.
SUMMARY = {
    "cluster": "",
    "n_components": "",
    "flux": None,
    "length": u.arcsec,
    "width": u.arcsec,
    "elongation": "",
    "position_angle": u.deg,
    "velocity_min": KMS,
    "velocity_max": KMS,
    "gradient": KMS / u.arcsec,
    "gradient_err": KMS / u.arcsec,
    "gradient_direction": u.deg,
    "distance_min": u.arcsec,
    "distance_mean": u.arcsec,
    "line_width": KMS,
    "contrast": "",
}


def beam_of(meta):
    """Return the FWHM of the beam (arcsec), or what stands for it."""  # numpydoc ignore=PR01
    return NO_BEAM * meta["pixel"] if meta["beam"] is None else float(np.sqrt(meta["beam"][0] * meta["beam"][1]))


def flux_of(table):
    """Return the integrated intensity of each component."""  # numpydoc ignore=PR01
    return np.sqrt(2 * np.pi) * table["amplitude"] * table["sigma"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """The components of a cube in clusters, as `~sting.isolate.cluster` finds them.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        That of the `~sting.isolate.Components` with two columns more: ``cluster``, 0 being the brightest and -1 noise, and
        ``contrast``, the part of the emission by which a component stands out from its surroundings (NaN where it was not
        looked at; clusters of your own need none). ``table.meta`` holds the settings as ``"clustering"`` besides.
    cube : `~spectral_cube.SpectralCube` or None
        The cube; None where the clusters were read from a file.
    """

    table: QTable
    cube: object = None

    def __len__(self):
        return int(np.max(self.table["cluster"], initial=-1)) + 1

    def __repr__(self):
        n_noise = np.count_nonzero(self.table["cluster"] < 0)
        return f"<Clusters: {len(self)} of {len(self.table)} components, {n_noise} of them noise>"

    @property
    def meta(self):
        """How they were made, see ``table``."""
        return self.table.meta

    @property
    def components(self):
        """All components, without their clusters."""
        return Components(self.table, self.cube)

    @functools.cached_property
    def summary(self):
        """What each cluster is like, seen from the origin of the offsets.

        `~astropy.table.QTable` with a row for each cluster: ``n_components``; ``flux``; ``length`` and ``width``, 2.355 times the
        spread along and across its longest axis, ``elongation``, the ratio of them, and ``position_angle`` of that axis (east of
        north, 0 to 180 deg); ``velocity_min`` and ``velocity_max`` of the centroids; ``gradient`` of the velocity, the slope of a
        plane, with ``gradient_err`` from the scatter about it and the number of beams, and the ``gradient_direction`` to which
        the velocity rises (east of north); ``distance_min`` and ``distance_mean`` from the origin; ``line_width``, the typical
        sigma; ``contrast``. Means are weighted by flux.
        """
        return self._seen_from(None)

    def _seen_from(self, star_position):
        """The summary as seen from a star, or from the origin of the offsets (None)."""
        shift = star_shift(self.components, star_position)
        rows = [_summarised(self.table[self.table["cluster"] == k], k, shift, self.meta) for k in range(len(self))]
        flux_unit = u.Unit(self.meta["unit"]) * KMS * u.arcsec**2
        summary = QTable()
        for i, (name, unit) in enumerate(SUMMARY.items()):
            column = np.array([row[i] for row in rows], int if name in ("cluster", "n_components") else float)
            summary[name] = column if unit == "" else column * (flux_unit if unit is None else unit)
        return summary

    @named_keywords
    def write(self, path, *, overwrite=False):
        """Write the table with its clusters as ECSV; the file appears at once or not at all.

        Parameters
        ----------
        path : str or path-like
            File to write, ``*.ecsv``; its folder must exist.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If the name does not end in ``.ecsv``.
        TypeError
            If ``path`` is no path.

        Examples
        --------
        >>> from sting import isolate, synthetic
        >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
        >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
        >>> clusters = isolate.cluster(components)
        >>> clusters.write("clusters.ecsv")
        >>> len(isolate.Clusters.read("clusters.ecsv")) == len(clusters)
        True
        """
        path = as_path("path", path)
        if path.suffix != ".ecsv":
            refuse("path", "end in .ecsv", repr(str(path)), "Name it clusters.ecsv.")
        with whole_file(path, overwrite=overwrite) as file:
            plain_table(self.components).write(file, format="ascii.ecsv")

    @classmethod
    def read(cls, path):
        """Read clusters that `write` wrote.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        `Clusters`
            Without their cube.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file is not one that `write` wrote, or not whole.
        TypeError
            If ``path`` is no path.

        Examples
        --------
        >>> from sting import isolate, synthetic
        >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
        >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
        >>> isolate.cluster(components).write("lines.ecsv")
        >>> clusters = isolate.Clusters.read("lines.ecsv")
        >>> selection = isolate.select(clusters, scene.star_position, cube=scene.cube)
        >>> selection.mask.shape
        (40, 64, 64)
        """
        path = existing_file("path", as_path("path", path))
        cure = "Write it anew with Clusters.write('clusters.ecsv')."
        with reading("path", "be clusters written by Clusters.write", repr(str(path)), cure):
            written = QTable.read(path, format="ascii.ecsv")
            table = checked(written)
            table["cluster"] = np.asarray(written["cluster"], int)
            if "contrast" in written.colnames:
                table["contrast"] = np.asarray(written["contrast"], float)
        return cls(table)


def star_shift(components, star_position):
    """Return the offsets (2,) (arcsec) of a star from the origin of the components."""  # numpydoc ignore=PR01
    return np.zeros(2) if star_position is None else np.array(sky_offsets(components.origin, star_position), float)


def places(table, shift):
    """Return the offsets (2, n) (arcsec) of components from a star."""  # numpydoc ignore=PR01
    return np.array([table[name].to_value(u.arcsec) for name in ("ra_offset", "dec_offset")]) - shift[:, None]


def _summarised(table, number, shift, meta):
    """A row of the summary, in its units."""
    place, velocity = places(table, shift), table["velocity"].to_value(KMS)
    flux = flux_of(table).value
    total = flux.sum()
    spread, axes = np.linalg.eigh(np.cov(place, aweights=flux, ddof=0))
    # no thinner than a pixel is
    along, across = np.sqrt(np.maximum(spread[::-1], (meta["pixel"] / np.sqrt(12)) ** 2))
    gradient, error, towards = _gradient(place, velocity, flux, meta)
    distance = np.hypot(*place)
    return [
        number,
        len(table),
        total * meta["pixel"] ** 2,
        FWHM * along,
        FWHM * across,
        along / across,
        np.degrees(np.arctan2(*axes[:, 1])) % 180,
        velocity.min(),
        velocity.max(),
        gradient,
        error,
        towards,
        distance.min(),
        np.sum(flux * distance) / total,
        np.exp(np.sum(flux * np.log(table["sigma"].to_value(KMS))) / total),
        np.sum(flux * table["contrast"]) / total if "contrast" in table.colnames else np.nan,
    ]


def _gradient(place, velocity, flux, meta):
    """Slope of the velocity (km/s/arcsec), its error, and the direction (deg) to which it rises: a plane, weighted by flux."""
    weight = flux / flux.sum()
    centred = place - (place @ weight)[:, None]
    matrix = (centred * weight) @ centred.T
    inverse = np.linalg.pinv(matrix)
    slope = inverse @ (centred * weight) @ velocity
    residual = velocity - weight @ velocity - slope @ centred
    # pixels within a beam say the same
    independent = max(1.0, 1 / np.sum(weight**2) / pixels_per_beam((beam_of(meta),) * 2, meta["pixel"]))
    covariance = inverse * (weight @ residual**2) / independent
    size = np.hypot(*slope)
    unit = slope / size if size > 0 else np.array([0.0, 1.0])
    return size, np.sqrt(unit @ covariance @ unit), np.degrees(np.arctan2(*slope)) % 360
