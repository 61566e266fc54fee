"""What a decomposition returns, `Components`: a table of Gaussians, and the cubes, maps and files that are made of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from sting.cubes import KMS, open_cube, star_of, to_velocity
from sting.files import as_path, existing_file, reading, whole_file
from sting.messages import named_keywords, refuse
from sting.voxels import columns, is_chunked, read

__all__ = ["Components"]

#: Version of the file that `Components.write` writes.
VERSION = 1

#: Columns of the table, and their units; None stands for that of the cube.
COLUMNS = {
    "x": "",
    "y": "",
    "ra_offset": u.arcsec,
    "dec_offset": u.arcsec,
    "amplitude": None,
    "velocity": KMS,
    "sigma": KMS,
    "amplitude_err": None,
    "velocity_err": KMS,
    "sigma_err": KMS,
    "snr": "",
    "line_snr": "",
    "rms": None,
    "n_components": "",
    "aicc": "",
    "chi2": "",
}

#: Columns of whole numbers.
WHOLE = ("x", "y", "n_components")

#: Beyond so many widths a Gaussian is nothing.
FARTHEST = 6.0

#: Parameters of a Gaussian as pyspeckit names them, and the columns that hold them.
PYSPECKIT = {"AMPLITUDE": "amplitude", "SHIFT": "velocity", "WIDTH": "sigma"}


@dataclass(frozen=True, eq=False)
class Components:
    """The Gaussian components of the spectra of a cube, as `~sting.isolate.decompose` finds them.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        One row for each component, sorted by ``y``, ``x`` and velocity:

        - ``x``, ``y``: column and row of the pixel, from 0;
        - ``ra_offset``, ``dec_offset``: offsets of its centre to the east and north, from the star or the middle of the cube;
        - ``amplitude``, ``velocity`` (of the centroid) and ``sigma`` (not FWHM), with ``amplitude_err``, ``velocity_err`` and
          ``sigma_err``, 1 sigma from the curvature of chi2;
        - ``snr``: amplitude over ``rms``;
        - ``line_snr``: signal to noise of the line as a whole, the root of what chi2 would rise by without it if it were alone;
        - ``rms``: noise of its spectrum;
        - ``n_components``, ``aicc``, ``chi2``: of the whole spectrum, ``chi2`` per degree of freedom.

        ``table.meta`` holds how it was made: ``rms`` (one number, or the median of a map) and ``unit``; ``snr_min``,
        ``line_snr_min``, ``max_components``, ``sigma_min`` and ``sigma_max`` (km/s); ``beam`` (major and minor axis in arcsec and
        position angle in deg, or None), ``pixel`` (arcsec), ``channel`` (km/s), ``origin`` of the offsets, ``rest_frequency``
        (Hz, or None), ``shape`` of the cube, its celestial ``wcs`` as a FITS header, ``n_spectra`` (how many were fitted),
        ``notes`` and ``version``.
    cube : `~spectral_cube.SpectralCube` or None
        The cube; None where the components were read from a file.
    """

    table: QTable
    cube: object = None

    @property
    def meta(self):
        """How the components were made, see ``table``."""
        return self.table.meta

    @property
    def notes(self):
        """What to know of the decomposition, in sentences."""
        return list(self.meta["notes"])

    @property
    def origin(self):
        """Origin of the offsets, a `~astropy.coordinates.SkyCoord`."""
        return star_of(self.meta["origin"])

    def __len__(self):
        return len(self.table)

    def __repr__(self):
        n_spectra = len(np.unique(self._pixels()))
        return f"<Components: {len(self)} Gaussians in {n_spectra} of {self.meta['n_spectra']} spectra>"

    def _pixels(self):
        return np.asarray(self.table["y"]) * self.meta["shape"][2] + np.asarray(self.table["x"])

    @cached_property
    def ranks(self):
        """Number of each component in its spectrum, from 0: `~numpy.ndarray` of shape (n,)."""
        _, first, count = np.unique(self._pixels(), return_index=True, return_counts=True)
        return np.arange(len(self)) - np.repeat(first, count)

    def number_map(self):
        """Number of components of each pixel.

        Returns
        -------
        `~numpy.ndarray`
            Whole numbers, shape (ny, nx); 0 also where no spectrum was fitted.
        """
        shape = tuple(self.meta["shape"][1:])
        return np.bincount(self._pixels(), minlength=shape[0] * shape[1]).reshape(shape)

    @named_keywords
    def model_cube(self, cube=None):
        """Sum of all components, as a cube.

        Parameters
        ----------
        cube : `~spectral_cube.SpectralCube`, str or path-like, optional
            The cube that was decomposed, where the components were read from a file.

        Returns
        -------
        `~spectral_cube.SpectralCube`
            In the unit of the cube, on its axes and with its beam and mask. Of a cube on Dask (``use_dask=True``) it is on Dask
            too, and made a piece at a time when it is looked at; of others it is an array as large as the cube.

        Raises
        ------
        ValueError
            If there is no cube, or it is not the one that was decomposed.

        Examples
        --------
        >>> from sting import isolate, synthetic
        >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 24, 24))
        >>> components = isolate.decompose(scene.cube, progress=False)
        >>> components.model_cube().shape
        (40, 24, 24)
        """
        return self._made(cube_of(self, cube), lambda cube, view, model: model)

    @named_keywords
    def residual_cube(self, cube=None):
        """The cube without its components.

        Parameters
        ----------
        cube : `~spectral_cube.SpectralCube`, str or path-like, optional
            The cube that was decomposed, where the components were read from a file.

        Returns
        -------
        `~spectral_cube.SpectralCube`
            As `model_cube` returns.

        Raises
        ------
        ValueError
            If there is no cube, or it is not the one that was decomposed.

        Examples
        --------
        >>> from sting import isolate, synthetic
        >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 24, 24))
        >>> components = isolate.decompose(scene.cube, progress=False)
        >>> bool(components.residual_cube().filled_data[:].max() < scene.cube.filled_data[:].max())
        True
        """

        return self._made(cube_of(self, cube), lambda cube, view, model: _values(cube, view) - model)

    def _made(self, cube, make):
        """A cube of what is made of each part of the cube and of the model."""
        velocity = to_velocity(cube).spectral_axis.to_value(KMS)
        kind = np.result_type(cube._data.dtype, np.float32).newbyteorder("=")
        unit = u.Unit(self.meta["unit"])
        factor = unit.to(cube.unit)

        def part(view):
            return make(cube, view, factor * model_of(self, velocity, view)).astype(kind)

        views = columns(cube)
        if not is_chunked(cube):
            data = np.empty(cube.shape, kind)
            for view in views:
                data[view] = part(view)
            return cube._new_cube_with(data=data)
        import dask
        import dask.array

        def lazy(view):
            shape = tuple(one.stop - one.start for one in view)
            return dask.array.from_delayed(dask.delayed(part, pure=False)(view), shape, kind)

        rows = {}
        for view in views:
            rows.setdefault(view[1].start, []).append(lazy(view))
        data = dask.array.concatenate([dask.array.concatenate(row, axis=2) for row in rows.values()], axis=1)
        return cube._new_cube_with(data=data)

    @named_keywords
    def write(self, path, *, overwrite=False):
        """Write the components, as a table or as maps; the file appears at once or not at all.

        ``*.ecsv`` is the table with its ``meta``, which `read` reads back.

        ``*.fits`` is what ``pyspeckit.Cube.write_fit`` writes and ``load_model_fit`` reads (with ``npars=3`` and ``npeaks`` the
        largest number of components): one plane for each parameter of each component, in the order of their velocities, then
        one for each error; ``PLANEi`` names them, ``FITTYPE`` is ``gaussian``. Velocities and widths are in km/s, as the axis of
        that cube must be: ``cube.xarr.convert_to_unit("km/s")``. What a pixel does not have is 0, and pyspeckit makes a model of
        those pixels only that have all components.

        Parameters
        ----------
        path : str or path-like
            File to write; its folder must exist.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If the name ends in neither, or there is no component to make maps of.
        TypeError
            If ``path`` is no path.

        Examples
        --------
        >>> from sting import isolate, synthetic
        >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 24, 24))
        >>> isolate.decompose(scene.cube, progress=False).write("lines.ecsv")
        >>> len(Components.read("lines.ecsv")) > 0
        True
        """
        path = as_path("path", path)
        if path.suffix not in (".ecsv", ".fits"):
            refuse("path", "end in .ecsv or .fits", repr(str(path)), "Name it components.ecsv.")
        content = self._maps() if path.suffix == ".fits" else plain_table(self)
        with whole_file(path, overwrite=overwrite) as file:
            if path.suffix == ".fits":
                content.writeto(file)
            else:
                content.write(file, format="ascii.ecsv")

    def _maps(self):
        """Maps of all parameters and their errors."""
        if not len(self):
            refuse("components", "hold a component", "none", "Write the empty table as .ecsv.")
        ranks, shape = self.ranks, tuple(self.meta["shape"][1:])
        n = ranks.max() + 1
        planes = np.zeros((2, n, 3, *shape), np.float32)
        for k, column in enumerate(PYSPECKIT.values()):
            for which, name in enumerate((column, f"{column}_err")):
                planes[which, ranks, k, self.table["y"], self.table["x"]] = self.table[name].value
        header = WCS(fits.Header(self.meta["wcs"])).to_header()
        header["BUNIT"] = (u.Unit(self.meta["unit"]).to_string("fits"), "unit of the amplitudes; the others are in km/s")
        header["FITTYPE"] = "gaussian"
        names = [prefix + name for prefix in ("", "e") for _ in range(n) for name in PYSPECKIT]
        for number, name in enumerate(names):
            header[f"PLANE{number}"] = name
        header.update({"WCSAXES": 3, "CTYPE3": "FITPAR", "CRVAL3": 0, "CRPIX3": 1, "CDELT3": 1})
        return fits.PrimaryHDU(planes.reshape(-1, *shape), header)

    @classmethod
    def read(cls, path):
        """Read components that `write` wrote as ECSV.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        `Components`
            Without their cube, which `model_cube` and `residual_cube` then ask for.

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
        >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 24, 24))
        >>> isolate.decompose(scene.cube, progress=False).write("components.ecsv")
        >>> Components.read("components.ecsv").meta["shape"]
        [40, 24, 24]
        """
        path = existing_file("path", as_path("path", path))
        cure = "Write it anew with Components.write('components.ecsv')."
        with reading("path", "be components written by Components.write", repr(str(path)), cure):
            return cls(checked(QTable.read(path, format="ascii.ecsv")))


def cube_of(components, cube):
    """Return the cube given, or that at hand, refused if it is not the one that was decomposed."""  # numpydoc ignore=PR01
    cube = components.cube if cube is None else open_cube(cube)
    if cube is None:
        refuse("cube", "be given for components that were read from a file", "None", "Pass the cube that was decomposed.")
    if tuple(cube.shape) != tuple(components.meta["shape"]):
        rule = f"have the shape {tuple(components.meta['shape'])} of the cube that was decomposed"
        refuse("cube", rule, cube.shape, "Pass that cube, whole.")
    return cube


def model_of(components, velocity, view):
    """Return the sum of the components at velocities (km/s), in a part of the image."""  # numpydoc ignore=PR01
    _, rows, columns_ = view
    table, (low, high) = components.table, np.searchsorted(components.table["y"], [rows.start, rows.stop])
    x = np.asarray(table["x"])[low:high]
    here = np.flatnonzero((x >= columns_.start) & (x < columns_.stop)) + low
    ranks, model = components.ranks[here], np.zeros((len(velocity), rows.stop - rows.start, columns_.stop - columns_.start))
    for rank in range(ranks.max(initial=-1) + 1):
        # no pixel twice
        some = here[ranks == rank]
        amplitude, centroid, sigma = (table[name].value[some] for name in ("amplitude", "velocity", "sigma"))
        distance = (velocity[:, None] - centroid) / sigma
        shape = np.where(np.abs(distance) < FARTHEST, np.exp(-0.5 * distance**2), 0.0)
        model[:, table["y"][some] - rows.start, table["x"][some] - columns_.start] += amplitude * shape
    return model


def plain_table(components):
    """Return the table as it is written, with the number of its rows."""  # numpydoc ignore=PR01
    table = QTable(components.table, copy=False)
    table.meta = {"components": {"version": VERSION, "rows": len(components)}, **components.meta}
    return table


def checked(table):
    """Return the columns of components of a table as they were before it was written."""  # numpydoc ignore=PR01
    head = table.meta.pop("components")
    if head["version"] != VERSION:
        raise ValueError(f"version {head['version']}, this one reads {VERSION}")
    if len(table) != head["rows"]:
        raise ValueError(f"{head['rows']} rows expected, {len(table)} found")
    return make_table({name: getattr(table[name], "value", table[name]) for name in COLUMNS}, dict(table.meta))


def _values(cube, view):
    """Values of a part of a cube."""
    ((_, values),) = read(cube, [view])
    return values


def make_table(values, meta):
    """Make the table of `Components` from plain arrays.

    Parameters
    ----------
    values : dict of `~numpy.ndarray`
        Its columns, in the units of `COLUMNS`.
    meta : dict
        Its meta, which holds the ``unit`` of the cube.

    Returns
    -------
    `~astropy.table.QTable`
    """
    unit, table = u.Unit(meta["unit"]), QTable(meta=meta)
    for name, of in COLUMNS.items():
        column = np.asarray(values[name], int if name in WHOLE else float)
        table[name] = column if of == "" else column * (unit if of is None else of)
    return table
