"""The points of a fit, `Streamer`: from a table, from maps, and to and from a file. Of a cube, `reduce_to_1D` makes them."""

import copy
from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.cubes import KMS, star_of
from sting.files import as_path, existing_file, reading, whole_file
from sting.maps import reduce_maps
from sting.messages import check_whole, in_float64, named_keywords, refuse, warn
from sting.point_tables import meta_of_table, points_of_table, read_table
from sting.reduction import merged_words

__all__ = ["Streamer"]

NAMES = ("ra", "dec", "velocity")
SIGMAS = tuple(f"{name}_sigma" for name in NAMES)
UNITS = (u.arcsec, u.arcsec, KMS)

#: Version of the file that `Streamer.write` writes.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Streamer:
    """A streamer reduced to n points, ordered from the outside in, with the voxels it was made of.

    Attributes
    ----------
    pc_coords : `~numpy.ndarray`
        The point cloud, shape (4, n_voxels): RA offset and Dec offset from the star (arcsec), velocity (km/s), intensity.
    ra_data, dec_data, v_data : `~numpy.ndarray`
        Flux-weighted means (arcsec, arcsec, km/s), shape (n,).
    ra_sigma, dec_sigma, v_sigma : `~numpy.ndarray`
        Their uncertainties, shape (n,).
    meta : dict
        Beam (major, minor axis in arcsec and position angle in deg), unit of the intensity, kind of uncertainty, the star
        and the boundaries of the bins, if known.
    """

    pc_coords: np.ndarray
    ra_data: np.ndarray
    dec_data: np.ndarray
    v_data: np.ndarray
    ra_sigma: np.ndarray
    dec_sigma: np.ndarray
    v_sigma: np.ndarray
    meta: dict = field(default_factory=dict)

    @classmethod
    @named_keywords
    @in_float64
    def from_table(
        cls,
        table,
        yso_centre=None,
        *,
        columns=None,
        units=None,
        positions=None,
        frame=None,
        sigma_position=None,
        sigma_velocity=None,
        format=None,
    ):
        """Make a streamer of points that are known already, for example those of a paper.

        Rows with a NaN, an infinity or a blank are left out, with one warning. The others are sorted from the outside in by the
        measure of the way along the streamer that `~sting.extract_streamline.reduce_to_1D` has. There is no cube behind such
        points: the point cloud ``pc_coords`` is the points themselves, with the column ``flux`` as intensity, or 1. Of the
        table's meta, the beam, the kind of uncertainty and the place of the star that `to_table` writes are kept.

        Parameters
        ----------
        table : `~astropy.table.Table`, str or path-like
            The points, or a file that `astropy.table.Table.read` reads (ECSV, CSV, VOTable, FITS; by its name). Columns:
            ``ra`` and ``dec`` (or one of `~astropy.coordinates.SkyCoord`), ``velocity``, their uncertainties ``ra_sigma``,
            ``dec_sigma``, ``velocity_sigma``, and ``flux`` if known. They are found in any case and by usual other names
            (``RA_off``, ``vlsr``, ``e_ra``, ``velocity_err``, ...).
        yso_centre : `~astropy.coordinates.SkyCoord`, optional
            Position of the star: needed where the table has coordinates on the sky.
        columns : dict, optional
            Names of columns that are called otherwise, for example ``{"ra": "x", "dec": "y", "sky": "where"}``.
        units : dict, optional
            Units of columns that have none, for example ``{"ra": "arcsec", "velocity": "km/s"}``. ``dec`` takes that of ``ra``,
            ``dec_sigma`` that of ``ra_sigma`` and ``velocity_sigma`` that of ``velocity`` unless they have or are given one.
        positions : {"offsets", "sky"}, optional
            What ``ra`` and ``dec`` are: true angles from the star to the east and north, or coordinates. By default numbers in
            arcsec, arcmin and smaller units are offsets, numbers in degrees and hours of angle coordinates.
        frame : str or astropy frame, optional
            Frame of coordinates that are numbers, ``"icrs"`` by default.
        sigma_position : `~astropy.units.Quantity`, optional
            Uncertainty of both offsets, an angle, where the table has none.
        sigma_velocity : `~astropy.units.Quantity`, optional
            Uncertainty of the velocities where the table has none.
        format : str, optional
            Format of the file for `astropy.table.Table.read`, where its name does not tell.

        Returns
        -------
        `Streamer`

        Raises
        ------
        ValueError
            If a file cannot be read, a column, unit or uncertainty is missing or is none, fewer than two rows are complete, or
            the star is more than a degree away or has no finite place.
        TypeError
            If ``table`` is no table or path, or ``yso_centre`` no position.
        FileNotFoundError
            If the file does not exist.
        ~astropy.units.UnitsError
            If a unit is of another kind.

        Notes
        -----
        ``ra_sigma`` of coordinates is an angle on the sky (with the cosine of the declination), as catalogues give it.

        Examples
        --------
        >>> from astropy import units as u
        >>> from astropy.table import QTable
        >>> points = QTable({"RA_off": [0.5, 2, 4] * u.arcsec, "Dec_off": [1, 3, 5] * u.arcsec, "vlsr": [7.4, 7.2, 7.1]})
        >>> streamer = Streamer.from_table(
        ...     points, units={"velocity": "km/s"}, sigma_position=0.2 * u.arcsec, sigma_velocity=0.05 * u.km / u.s
        ... )
        >>> streamer.dec_data
        array([5., 3., 1.])
        """
        table = read_table(table, format)
        cloud, points, sigmas = points_of_table(
            table, yso_centre, columns, units, positions, frame, sigma_position, sigma_velocity
        )
        return cls(cloud, *points, *sigmas, meta=meta_of_table(table, yso_centre))

    @classmethod
    @named_keywords
    @in_float64
    def from_maps(
        cls,
        peak,
        velocity,
        width,
        yso_centre,
        n_elements=10,
        *,
        width_kind="sigma",
        wcs=None,
        velocity_unit=None,
        mask=None,
        threshold=None,
        uncertainty="spread",
        ordering="distance",
        min_beams=1,
        beam=None,
        channel=None,
    ):
        """Make a streamer of the maps of a Gaussian decomposition, as published papers ship them.

        Each pixel with a component becomes one point of the cloud, at its centroid velocity, with the integrated intensity
        peak * sigma * sqrt(2 pi). The points are reduced as `~sting.extract_streamline.reduce_to_1D` reduces voxels, by the same
        measure of the way along the streamer and with equal numbers of pixels in each bin.

        Parameters
        ----------
        peak, velocity, width : path, HDU, `~spectral_cube.lower_dimensional_structures.Projection`, Quantity or array
            Maps of peak intensity, centroid velocity and line width of one component, shape (n_y, n_x), on one grid; of a FITS
            file the first image. NaN, or zero in all three, where there is no component.
        yso_centre : `~astropy.coordinates.SkyCoord`
            Position of the star.
        n_elements : int, optional
            Number of points.
        width_kind : {"sigma", "fwhm"}, optional
            Whether ``width`` holds standard deviations (as most decompositions ship) or full widths at half maximum.
        wcs : `~astropy.wcs.WCS` or `~astropy.io.fits.Header`, optional
            World coordinates of maps that have none of their own.
        velocity_unit : str or `~astropy.units.Unit`, optional
            Unit of ``velocity`` and ``width`` where they have none of their own.
        mask : array of bool, optional
            True for the pixels to keep, shape (n_y, n_x).
        threshold : float or `~astropy.units.Quantity`, optional
            Smallest peak to keep, in the unit of ``peak``.
        uncertainty : {"spread", "mean"}, optional
            As in `~sting.extract_streamline.reduce_to_1D`. ``"mean"`` needs ``beam`` and ``channel``.
        ordering : {"distance", "curve"}, optional
            As in `~sting.extract_streamline.reduce_to_1D`.
        min_beams : float, optional
            As in `~sting.extract_streamline.reduce_to_1D`.
        beam : `~radio_beam.Beam`, optional
            Beam; by default that in the header of ``peak``, if it has one.
        channel : `~astropy.units.Quantity`, optional
            Width of the channels of the cube that was decomposed, a velocity.

        Returns
        -------
        `Streamer`

        Raises
        ------
        ValueError
            If a file or WCS cannot be read, the maps differ in shape or WCS, a unit is missing or is none, no pixel has a
            component, the star is far off, the beam has no size, or there are fewer pixels than ``n_elements``.
        TypeError
            If ``yso_centre`` is no position, or ``wcs`` or ``beam`` is of another type.
        FileNotFoundError
            If a file does not exist.
        ~astropy.units.UnitsError
            If a unit is of another kind.

        Notes
        -----
        The spread of the velocities of a bin is the flux-weighted standard deviation of the centroids with the flux-weighted mean
        of the squared line widths added in quadrature. That is the law of total variance, and so it is what
        `~sting.extract_streamline.reduce_to_1D` would find in the voxels of a cube of the very same Gaussians. A cube that was
        cut at a noise threshold holds less of the wings of the lines and fewer voxels where they are faint.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy import units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from astropy.wcs import WCS
        >>> wcs = WCS({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 52.2, "CRVAL2": 31.2, "CRPIX1": 3, "CRPIX2": 1,
        ...            "CDELT1": -1e-4, "CDELT2": 1e-4})
        >>> y, x = np.indices((20, 5))
        >>> star = SkyCoord(52.2, 31.2, unit="deg")
        >>> streamer = Streamer.from_maps(
        ...     np.ones((20, 5)) * u.K, (7 + 0.01 * y) * u.km / u.s, 0.2 + 0 * y, star, 4, wcs=wcs, velocity_unit="km/s"
        ... )
        >>> len(streamer)
        4
        """
        n_elements = check_whole("n_elements", n_elements, 2, 10)
        cloud, means, sigmas, meta = reduce_maps(
            {"peak": peak, "velocity": velocity, "width": width},
            yso_centre,
            n_elements,
            wcs=wcs,
            width_kind=width_kind,
            velocity_unit=velocity_unit,
            mask=mask,
            threshold=threshold,
            uncertainty=uncertainty,
            ordering=ordering,
            min_beams=min_beams,
            beam=beam,
            channel=channel,
        )
        if len(means[0]) < n_elements:
            warn(merged_words(n_elements, len(means[0]), min_beams))
        return cls(cloud, *means, *sigmas, meta=meta)

    @property
    def star_position(self):
        """Position of the star, a `~astropy.coordinates.SkyCoord`, in the frame in which the offsets count; None if not known."""
        return star_of(self.meta["star"]) if "star" in self.meta else None

    @property
    def data(self):
        """RA offsets, Dec offsets (arcsec) and velocities (km/s) of the points."""
        return self.ra_data, self.dec_data, self.v_data

    @property
    def uncertainties(self):
        """The uncertainties of the RA offsets, Dec offsets (arcsec) and velocities (km/s)."""
        return self.ra_sigma, self.dec_sigma, self.v_sigma

    def __len__(self):
        return len(self.ra_data)

    def to_table(self):
        """Return the points as a table with units.

        Returns
        -------
        `~astropy.table.QTable`
        """
        values = zip((*NAMES, *SIGMAS), (*self.data, *self.uncertainties), UNITS * 2, strict=True)
        return QTable({name: value * unit for name, value, unit in values}, meta=copy.deepcopy(self.meta))

    @named_keywords
    def write(self, path, *, overwrite=False):
        """Write the streamer as ECSV, whole: `read` gives back the same numbers, bit by bit.

        The file is one table. Its column ``part`` says of each row whether it is a ``point``, with its uncertainties, or a
        ``voxel`` of the point cloud, with its ``intensity``; what a row does not have is NaN. Any program that reads ECSV, or
        CSV with comments, reads it.

        Parameters
        ----------
        path : str or path-like
            File to write, ``*.ecsv``; its folder must exist. The file appears at once or not at all.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If the name does not end in ``.ecsv``, the arrays do not fit together, or ``meta`` holds what a text file cannot.
        TypeError
            If ``path`` is no path.

        Examples
        --------
        >>> from sting import synthetic
        >>> streamer = synthetic.make_streamer_points()
        >>> streamer.write("streamer.ecsv")
        >>> bool((Streamer.read("streamer.ecsv").v_data == streamer.v_data).all())
        True
        """
        path = as_path("path", path)
        if path.suffix != ".ecsv":
            refuse("path", "end in .ecsv, the one format that is written", repr(str(path)), "Name it streamer.ecsv.")
        table = self._all_rows()
        with whole_file(path, overwrite=overwrite) as file:
            try:
                table.write(file, format="ascii.ecsv")
            except OSError:
                raise
            except Exception as error:
                # the numbers are arrays of floats by now: only the meta can be at fault
                refuse("meta", "hold numbers, texts, lists and dicts", f"{self.meta!r} ({error})", "Remove the rest.")

    def _arrays(self):
        """The cloud and the six arrays of the points, whoever made them."""
        try:
            cloud, *points = (np.asarray(part, float) for part in (self.pc_coords, *self.data, *self.uncertainties))
        except (TypeError, ValueError) as error:
            refuse("streamer", "have arrays of numbers", error, "Correct its arrays.")
        shapes = [cloud.shape, *(part.shape for part in points)]
        if cloud.ndim != 2 or len(cloud) != 4 or points[0].ndim != 1 or len(set(shapes[1:])) > 1:
            refuse("streamer", "have a cloud of shape (4, n_voxels) and arrays of one length", shapes, "Correct its arrays.")
        return cloud, points

    def _all_rows(self):
        """Points and voxels as one table."""
        cloud, points = self._arrays()
        if not isinstance(self.meta, dict):
            refuse("meta", "be a dict", repr(self.meta), "Use {} for none.")
        blank, n_voxels = np.full(cloud.shape[1], np.nan), cloud.shape[1]
        table = QTable({"part": np.array(["point"] * len(self) + ["voxel"] * n_voxels, dtype="U5")})
        below = (*cloud[:3], blank, blank, blank)
        for name, unit, part, rest in zip((*NAMES, *SIGMAS), UNITS * 2, points, below, strict=True):
            table[name] = np.concatenate([part, rest]) * unit
        table["intensity"] = np.concatenate([np.full(len(self), np.nan), cloud[3]])
        table.meta["streamer"] = {"version": VERSION, "points": len(self), "voxels": n_voxels, "meta": dict(self.meta)}
        return table

    @classmethod
    def read(cls, path):
        """Read a streamer that `write` wrote.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        `Streamer`

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
        >>> from sting import synthetic
        >>> synthetic.make_streamer_points(n_elements=6).write("points.ecsv")
        >>> Streamer.read("points.ecsv")
        <Streamer: 6 points from 6 voxels>
        """
        path = existing_file("path", as_path("path", path))
        cure = "Use Streamer.from_table for tables of other origin."
        with reading("path", "be a streamer written by Streamer.write", repr(str(path)), cure):
            return cls._from_rows(QTable.read(path, format="ascii.ecsv"))

    @classmethod
    def _from_rows(cls, table):
        head = table.meta["streamer"]
        if head["version"] != VERSION:
            raise ValueError(f"version {head['version']}, this one reads {VERSION}")
        is_point, is_voxel = (table["part"] == part for part in ("point", "voxel"))
        if (is_point.sum(), is_voxel.sum(), len(table)) != (head["points"], head["voxels"], head["points"] + head["voxels"]):
            raise ValueError(f"{head['points']} points and {head['voxels']} voxels expected, {len(table)} rows found")
        units = dict(zip((*NAMES, *SIGMAS), UNITS * 2, strict=True))
        columns = {name: np.asarray(table[name].to_value(unit)) for name, unit in units.items()}
        cloud = np.array([columns[name][is_voxel] for name in NAMES] + [np.asarray(table["intensity"])[is_voxel]])
        return cls(cloud, *(column[is_point] for column in columns.values()), meta=dict(head["meta"]))

    def __repr__(self):
        return f"<Streamer: {len(self)} points from {self.pc_coords.shape[1]} voxels>"
