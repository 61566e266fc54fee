"""Position-velocity cuts along a streamer, a model streamline, or any line on the sky."""

from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from sting.cubes import KMS, beam_axes, cell_of, equatorial, in_frame, open_cube, quantity, sky_offsets, sky_position, to_velocity
from sting.cuts import cut_velocity
from sting.files import whole_file
from sting.messages import named_keywords, refuse
from sting.stream_lines_grad import Streamline
from sting.streamer import Streamer
from sting.strips import cell_corners, cells_over, image_wcs, mean_over, on_sky
from sting.tracks import Track

__all__ = ["PVCut", "pv_cut"]

#: Distance from the star (arcsec) within which the sky is flat enough.
FARTHEST = 3600.0

#: More cells than this along a path are a mistake in a unit.
MOST_CELLS = 10_000


@dataclass(frozen=True, eq=False)
class PVCut:
    """A position-velocity cut, made by `pv_cut`.

    The offset is the length along the path, in true angles. It is zero at the star where the path reaches the star, and elsewhere
    at the place on the path that is nearest to it.

    Attributes
    ----------
    image : `~astropy.units.Quantity`
        Mean intensity across the path, in the unit of the cube, shape (n_velocity, n_offset); NaN where the cube has no value.
    offset : `~astropy.units.Quantity`
        Offset of the centre of each cell along the path (arcsec), increasing outwards, shape (n_offset,).
    velocity : `~astropy.units.Quantity`
        Radio velocity of each channel (km/s), in the order of the cube, shape (n_velocity,).
    sky : `~astropy.coordinates.SkyCoord`
        Position of the centre of each cell, shape (n_offset,), in the equatorial frame of the cube, or in ICRS.
    spacing, width : `~astropy.units.Quantity`
        Length of a cell along the path and across it (arcsec).
    wcs : `~astropy.wcs.WCS`
        World coordinates of the image: offset, velocity.
    yso_centre : `~astropy.coordinates.SkyCoord`
        Position of the star.
    meta : dict
        Beam (major, minor axis in arcsec and position angle in deg), if the cube has one, and channel width (km/s).
    track : `sting.tracks.Track`
        The path itself.
    """

    image: u.Quantity
    offset: u.Quantity
    velocity: u.Quantity
    sky: SkyCoord
    spacing: u.Quantity
    width: u.Quantity
    wcs: WCS
    yso_centre: SkyCoord
    meta: dict
    track: Track = field(repr=False)

    @property
    def ra(self):
        """Offset of the centre of each cell from the star to the east (arcsec), shape (n_offset,)."""
        return self.track.at(self.offset.value)[0] * u.arcsec

    @property
    def dec(self):
        """Offset of the centre of each cell from the star to the north (arcsec), shape (n_offset,)."""
        return self.track.at(self.offset.value)[1] * u.arcsec

    def project(self, ra, dec):
        """Find the nearest place on the path, for example of the points of a streamer or of a model streamline.

        Beyond its ends the path goes straight on.

        Parameters
        ----------
        ra, dec : `~astropy.units.Quantity` or array_like
            Offsets from the star to the east and north, numbers in arcsec, shape (m,).

        Returns
        -------
        offset : `~astropy.units.Quantity`
            Offset of the nearest place along the path (arcsec), shape (m,); NaN where a position is.
        distance : `~astropy.units.Quantity`
            Distance from it (arcsec), shape (m,).

        Raises
        ------
        ValueError
            If the two have not one shape.
        `~astropy.units.UnitsError`
            If they are no angles.

        Examples
        --------
        >>> from astropy import units as u
        >>> from sting import synthetic
        >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
        >>> cut = pv_cut(scene.cube, ([0, 0] * u.arcsec, [0, 5] * u.arcsec), scene.star_position)
        >>> print(*cut.project([1.0] * u.arcsec, [3.0] * u.arcsec))
        [3.] arcsec [1.] arcsec
        """
        points = _arcseconds(ra, dec)
        offset, distance = self.track.project(points.reshape(2, -1))
        return offset.reshape(points.shape[1:]) * u.arcsec, distance.reshape(points.shape[1:]) * u.arcsec

    def project_sigma(self, ra, dec, ra_sigma, dec_sigma):
        """Find the uncertainties along the path of positions with uncertainties to the east and north.

        Parameters
        ----------
        ra, dec : `~astropy.units.Quantity` or array_like
            Offsets from the star to the east and north, numbers in arcsec, shape (m,).
        ra_sigma, dec_sigma : `~astropy.units.Quantity` or array_like
            Their uncertainties, independent of each other, shape (m,).

        Returns
        -------
        `~astropy.units.Quantity`
            Uncertainty of the offset that `project` gives (arcsec), shape (m,).

        Raises
        ------
        ValueError
            If they have not one shape.
        `~astropy.units.UnitsError`
            If they are no angles.

        Examples
        --------
        >>> from astropy import units as u
        >>> from sting import synthetic
        >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
        >>> cut = pv_cut(scene.cube, ([0, 0] * u.arcsec, [0, 5] * u.arcsec), scene.star_position)
        >>> print(cut.project_sigma([1.0] * u.arcsec, [3.0] * u.arcsec, [0.1] * u.arcsec, [0.2] * u.arcsec))
        [0.2] arcsec
        """
        offset, _ = self.project(ra, dec)
        direction = self.track.direction(np.ravel(offset.value)).reshape(2, *offset.shape)
        return np.hypot(*(direction * _arcseconds(ra_sigma, dec_sigma))) * u.arcsec

    def to_hdu(self):
        """Return the image with its header: CTYPE1 ``OFFSET`` in arcsec, the velocity, the beam and the width (``PVWIDTH``).

        Returns
        -------
        `~astropy.io.fits.PrimaryHDU`
        """
        header = self.wcs.to_header()
        for key in ("LONPOLE", "LATPOLE"):  # of the sky, which is no axis here
            header.remove(key, ignore_missing=True)
        header["BUNIT"] = self.image.unit.to_string("fits")
        for key, value in zip(("BMAJ", "BMIN", "BPA"), self.meta.get("beam", ()), strict=False):
            header[key] = value if key == "BPA" else value / 3600
        header["PVWIDTH"] = self.width.to_value(u.arcsec), "[arcsec] averaged across the path"
        return fits.PrimaryHDU(self.image.value, header)

    def write(self, path, *, overwrite=False):
        """Write the cut as FITS, whole: the image, and a table ``PATH`` of the positions of its columns on the sky.

        Parameters
        ----------
        path : str or path-like
            File to write, ``*.fits`` or ``*.fits.gz``; its folder must exist. The file appears at once or not at all.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If the name is not that of a FITS file.

        Examples
        --------
        >>> from astropy import units as u
        >>> from sting import synthetic
        >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
        >>> cut = pv_cut(scene.cube, ([0, 0] * u.arcsec, [0, 5] * u.arcsec), scene.star_position)
        >>> cut.write("cut.fits")
        """
        if not str(path).endswith((".fits", ".fits.gz")):
            refuse("path", "end in .fits or .fits.gz", repr(str(path)), "Name it cut.fits.")
        table = fits.table_to_hdu(QTable({"offset": self.offset, "ra": self.sky.ra, "dec": self.sky.dec}))
        table.name = "PATH"
        table.header["RADESYS"] = self.sky.frame.name.upper()
        with whole_file(path, overwrite=overwrite) as file:
            fits.HDUList([self.to_hdu(), table]).writeto(file)

    def __repr__(self):
        ends = f"{self.offset[0].value:.2f} to {self.offset[-1].value:.2f} arcsec"
        return f"<PVCut: {self.image.shape[0]} channels, {ends} along the path, {self.width.value:.2f} arcsec wide>"


@named_keywords
def pv_cut(cube, path, yso_centre, *, width=None, spacing=None, vmin=None, vmax=None, to_star=None, extend=None):
    """Cut a position-velocity image out of a cube along a path, averaging across it.

    The path is divided into cells of ``spacing`` along and ``width`` across, rectangles on the sky. Each gives one column of the
    image: the mean of the pixels under it that have a value, weighted by the area that it covers of each (by the package
    pvextractor). Sizes are true angles, whatever the pixels are and wherever in the image. Parts of the path that lie outside the
    image are left out at both ends.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file, as for `~sting.extract_streamline.extract_streamer_subcube`.
    path : `~sting.streamer.Streamer`, `~sting.stream_lines_grad.Streamline`, `~astropy.coordinates.SkyCoord` or pair of \
            `~astropy.units.Quantity`
        The line: through the points of a streamer as they are, along a model streamline, or through positions, given as
        coordinates or as offsets (ra, dec) from the star to the east and north, shape (n,) each. A streamer and a streamline,
        which are ordered from the outside in, are followed outwards; positions in their own order.
    yso_centre : `~astropy.coordinates.SkyCoord`
        Position of the star: the origin of the offsets.
    width : `~astropy.units.Quantity`, optional
        Width across the path, an angle; by default the major axis of the beam, or one pixel if there is no beam.
    spacing : `~astropy.units.Quantity`, optional
        Length of a cell along the path, an angle; by default one pixel.
    vmin, vmax : `~astropy.units.Quantity`, optional
        Velocity range.
    to_star : bool, optional
        Whether the path begins at the star, from which it goes straight to its first point. By default it does for a streamer
        and a streamline, and does not for positions.
    extend : `~astropy.units.Quantity`, optional
        How far the path goes straight on beyond its last (outer) point, an angle.

    Returns
    -------
    `PVCut`

    Raises
    ------
    ValueError
        If the path has not two different finite positions, or lies a degree away or outside the cube, a size is not positive, or
        the spacing does not fit the path.
    `~astropy.units.UnitsError`
        If a size is no angle, or a velocity none.
    TypeError
        If the path or the star is of another kind.

    Examples
    --------
    >>> from sting import synthetic
    >>> from sting.stream_lines_grad import streamline
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> pv_cut(scene.cube, streamline(scene.truth, distance=scene.distance), scene.star_position)
    <PVCut: 40 channels, 0.10 to 9.90 arcsec along the path, 1.20 arcsec wide>
    """
    cube = cut_velocity(to_velocity(open_cube(cube)), vmin, vmax)
    star = in_frame(sky_position("yso_centre", yso_centre), equatorial(wcs_to_celestial_frame(cube.wcs.celestial)))
    track = _track(path, star, isinstance(path, Streamer | Streamline) if to_star is None else to_star)
    pixel, channel = cell_of(cube)
    beam = beam_axes(cube)
    width = _size("width", width, pixel if beam is None else beam[0])
    spacing = _size("spacing", spacing, pixel)
    offset = _cells(track, spacing, 0.0 if extend is None else quantity("extend", extend, u.arcsec).value)
    x, y = cell_corners(cube, star, track, offset, spacing, width)
    inside = cells_over(x, y, cube.shape[1:])
    offset = offset[inside]
    return PVCut(
        image=u.Quantity(mean_over(cube, x[inside], y[inside]), cube.unit, copy=False),
        offset=offset * u.arcsec,
        velocity=cube.spectral_axis.to(KMS),
        sky=on_sky(star, track.at(offset)),
        spacing=spacing * u.arcsec,
        width=width * u.arcsec,
        wcs=image_wcs(cube, offset[0], spacing),
        yso_centre=yso_centre,
        meta={"channel": channel} | ({} if beam is None else {"beam": list(beam)}),
        track=track,
    )


def _arcseconds(ra, dec):
    """Two arrays of angles, numbers being in arcsec, as one of shape (2, ...)."""
    values = []
    for name, value in (("ra", ra), ("dec", dec)):
        try:
            values.append(u.Quantity(value, u.arcsec, dtype=float).value)
        except (u.UnitsError, TypeError, ValueError):
            refuse(name, "be angles, or numbers in arcsec", repr(value), "Write [1.0, 2.0] * u.arcsec.", u.UnitsError)
    if values[0].shape != values[1].shape:
        refuse("ra, dec", "have one shape", f"{values[0].shape} and {values[1].shape}", "Give one of each for each position.")
    return np.array(values)


def _track(path, star, to_star):
    """The line along a path."""
    points = _points(path, star)
    if points.ndim != 2 or points.shape[1] < 1 or not np.isfinite(points).all():
        got = "some that are not" if points.ndim == 2 and points.size else f"shape {points.shape[1:]}"
        refuse("path", "hold finite positions in a row", got, "Leave out the others.")
    if (far := np.hypot(*points).max()) > FARTHEST:
        refuse("path", "lie within a degree of yso_centre", f"{far:g} arcsec", "Check the star, and units and frame of the path.")
    if to_star:
        points = np.concatenate([np.zeros((2, 1)), points], axis=1)
    return Track.through(points, zero_at_start=to_star)


def _points(path, star):
    """Offsets (2, n) of a path from the star in arcsec, from the inside out where its order is known."""
    if isinstance(path, Streamer):
        return np.array([path.ra_data, path.dec_data])[:, ::-1]
    if isinstance(path, Streamline):
        return _arcseconds(path.ra, path.dec)[:, ::-1]
    if isinstance(path, SkyCoord):
        return np.array(sky_offsets(star, path.transform_to(star.frame.replicate_without_data())))
    if isinstance(path, tuple | list) and len(path) == 2:
        return _arcseconds(*path)
    refuse(
        "path",
        "be a Streamer, a Streamline, a SkyCoord or a pair (ra, dec) of offsets",
        type(path).__name__,
        "Write for example ([0, 2] * u.arcsec, [0, 5] * u.arcsec).",
        TypeError,
    )


def _size(name, value, default):
    """A positive angle in arcsec."""
    value = default if value is None else quantity(name, value, u.arcsec).value
    if not value > 0:
        refuse(name, "be positive", f"{value:g} arcsec", "Leave it out for the default.")
    return value


def _cells(track, spacing, extend):
    """Offsets of the centres of the cells; the last one may reach beyond the end of the path, straight on."""
    if extend < 0:
        refuse("extend", "not be negative", f"{extend:g} arcsec", "Leave it out, or shorten the path itself.")
    length = track.length[-1] - track.length[0] + extend
    # a whole number of cells is not made one more by rounding
    n = int(np.ceil(length / spacing - 1e-6))
    if not 2 <= n <= MOST_CELLS:
        got = f"{spacing:g} arcsec for a path of {length:g} arcsec"
        refuse("spacing", f"divide the path into 2 to {MOST_CELLS} cells", got, "Change one of them; a pixel is usual.")
    return track.length[0] + spacing * (np.arange(n) + 0.5)
