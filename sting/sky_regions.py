"""Regions: read from ds9 and CRTF files, written as ds9, and turned into the pixels that they select."""

import re
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs.utils import celestial_frame_to_wcs, wcs_to_celestial_frame

from sting.files import existing_file, write_text
from sting.messages import refuse, warn

__all__ = ["read_regions", "write_regions"]

_CURE = "Save it as ds9 or CRTF in fk5, icrs, galactic or image coordinates, with panda shapes as polygons."


def read_regions(region):
    """Read regions from a file, or check those that are given.

    Parameters
    ----------
    region : str, path-like, `~regions.Region`, or iterable of `~regions.Region`
        A ds9 or CRTF file (which of them, its content tells), or regions.

    Returns
    -------
    list of `~regions.Region`
        Those that enclose an area; points, lines and texts of a file are left out, with one warning. A leading minus in the file
        excludes: ``region.meta["include"]`` is false then.

    Raises
    ------
    ValueError
        If a file cannot be read, or holds coordinates or shapes that cannot be used.
    FileNotFoundError
        If there is no such file.
    TypeError
        If something else than regions is given.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> len(read_regions(CircleSkyRegion(SkyCoord(52.2 * u.deg, 31.2 * u.deg), 3 * u.arcsec)))
    1
    """
    from regions import Region

    if isinstance(region, Region):
        return [region]
    if not isinstance(region, str | Path):
        return _checked(region)
    path = existing_file("region", region, "be a region or an existing ds9 or CRTF file")
    regions, notices = _parse(path.read_text(encoding="utf-8", errors="replace"), path.name)
    if regions and notices:
        warn(" ".join(notices))
    return regions


def _checked(regions):
    from regions import Region

    try:
        regions = list(regions)
    except TypeError:
        regions = [regions]
    for one in regions:
        if not isinstance(one, Region):
            cure = "Make it with the package regions."
            refuse("region", "be a region, a list of regions, or a file", repr(one), cure, TypeError)
    return regions


def parse_regions(text, name):
    """Return the regions that enclose an area, from the text of a file.

    Parameters
    ----------
    text : str
        What a ds9 or CRTF file holds.
    name : str
        Name of the file, for the message if it is refused.

    Returns
    -------
    list of `~regions.Region`
    """
    return _parse(text, name)[0]


def _parse(text, name):
    """Regions of a text, and sentences about what in it is not used."""
    from regions import Regions

    text = text.removeprefix("\ufeff")
    named_crtf = name.lower().endswith(".crtf") and not text.startswith("# Region file format: DS9")
    kind = "crtf" if named_crtf or text.startswith("#CRTF") else "ds9"
    with warnings.catch_warnings():
        # what is skipped might have been the streamer
        warnings.simplefilter("error", AstropyUserWarning)
        try:
            if kind == "crtf" and not text.startswith("#CRTF"):
                raise ValueError("it does not begin with #CRTF")
            found = list(Regions.parse(_plain_crtf(text) if kind == "crtf" else text, format=kind))
        except AstropyUserWarning as skipped:
            refuse("region", "hold only coordinates and shapes that can be used", f"{name!r} ({skipped})", _CURE)
        except Exception as error:
            refuse("region", f"be a readable {kind} file", f"{name!r} ({error})", _CURE)
    return _areas(found, name)


def _plain_crtf(text):
    """CRTF with the two kinds of boxes that regions does not read, or reads without cos(Dec), written as others."""
    text = "\n".join(line.strip() for line in text.splitlines())  # regions overlooks what stands behind spaces
    pair = r"\[([^\[\],]+),([^\[\],]+)\]"
    boxes = rf"{{}}\s*\[\s*{pair}\s*,\s*{pair}\s*\]"
    text = re.sub(boxes.format("centbox"), r"rotbox[[\1,\2],[\3,\4],0deg]", text)
    return re.sub(boxes.format(r"(?<![a-z])box"), r"poly[[\1,\2],[\3,\2],[\3,\4],[\1,\4]]", text)


def _areas(found, name):
    """Those regions of a file that enclose an area, and notices of the others."""
    areas = [one for one in found if not _is_annotation(one)]
    notices = []
    if len(areas) < len(found):
        notices.append(f"{len(found) - len(areas)} points, lines or texts in {name!r} are no regions and are not used.")
    if any("range" in one.meta for one in areas):
        notices.append(f"The spectral range of the regions in {name!r} is not used: give vmin and vmax.")
    return areas, notices


def _is_annotation(region):
    from regions import LinePixelRegion, LineSkyRegion, PointPixelRegion, PointSkyRegion  # texts are points

    lines_and_points = LinePixelRegion | LineSkyRegion | PointPixelRegion | PointSkyRegion
    return isinstance(region, lines_and_points) or region.meta.get("type") == "ann"


def region_mask(regions, wcs, shape):
    """Tell which pixels of an image regions select.

    A pixel counts as a whole: it is selected if its centre lies in any of the regions, and in none of those to be excluded.

    Parameters
    ----------
    regions : list of `~regions.Region`
        The regions; if all of them are to be excluded, they are cut out of the whole image.
    wcs : `~astropy.wcs.WCS`
        Celestial WCS of the image.
    shape : tuple of int
        Shape of the image (ny, nx).

    Returns
    -------
    `~numpy.ndarray`
        Of bool, shape (ny, nx).
    """
    if not regions:
        cure = "The file may be empty, or hold nothing but points, lines and texts."
        refuse("region", "hold at least one region", "none", cure)
    included, allowed = [], np.ones(shape, bool)
    for one in regions:
        if _is_annotation(one):
            refuse("region", "enclose an area", type(one).__name__, "Leave points, lines and texts out.")
        inside = _inside(one, wcs, shape)
        if one.meta.get("include", True):
            included.append(inside)
        else:
            allowed &= ~inside
    return allowed & np.any(included, axis=0) if included else allowed


def _inside(region, wcs, shape):
    from regions import CompoundSkyRegion, PixCoord, RegionMeta, SkyRegion

    if isinstance(region, CompoundSkyRegion):
        return region.operator(*(_inside(part, wcs, shape) for part in (region.region1, region.region2)))
    y, x = np.indices(shape)
    if isinstance(region, SkyRegion) and hasattr(region, "center") and not _has_square_pixels(wcs):
        plane = _tangent_plane(region.center)
        (x, y), wcs = plane.world_to_pixel(wcs.pixel_to_world(x, y)), plane
    try:
        # on the other side of the sky there are no pixels
        with np.errstate(all="ignore"):
            pixel = to_pixel(region, wcs)
            # without its meta: some versions of regions turn an excluded region inside out by themselves
            return pixel.copy(meta=RegionMeta()).contains(PixCoord(x, y))
    except (ValueError, np.linalg.LinAlgError):
        return np.zeros(shape, bool)


def _has_square_pixels(wcs):
    """Whether a circle on the sky is a circle in pixels, as regions takes for granted."""
    shape = wcs.pixel_scale_matrix.T @ wcs.pixel_scale_matrix
    return np.allclose(shape / shape[0, 0], np.eye(2), rtol=0, atol=1e-3)


def _tangent_plane(center):
    """World coordinates of square pixels of an arcsecond around a position."""
    wcs = celestial_frame_to_wcs(ICRS(), projection="TAN")
    wcs.wcs.crval = [center.icrs.ra.deg, center.icrs.dec.deg]
    wcs.wcs.cdelt = [-1 / 3600, 1 / 3600]
    return wcs


def to_pixel(region, wcs):
    """Return a region in pixels; its angle counts from the axes of its own frame, as in ds9 and CASA (regions takes the image's).

    Parameters
    ----------
    region : `~regions.Region`
        The region.
    wcs : `~astropy.wcs.WCS`
        Celestial WCS of the image.

    Returns
    -------
    `~regions.PixelRegion`
    """
    from regions import CompoundSkyRegion, SkyRegion

    if isinstance(region, CompoundSkyRegion):
        parts = (to_pixel(part, wcs) for part in (region.region1, region.region2))
        return region.operator(*parts)
    if not isinstance(region, SkyRegion):
        return region
    if hasattr(region, "angle"):
        frame = wcs_to_celestial_frame(wcs)
        north = region.center.directional_offset_by(0 * u.deg, 1 * u.arcsec)
        center = region.center.transform_to(frame)
        turn = center.position_angle(north.transform_to(frame))
        region = region.copy(center=center, angle=region.angle + turn)
    return region.to_pixel(wcs)


def regions_text(regions):
    """Write regions as ds9 text that reads back as the same.

    Parameters
    ----------
    regions : iterable of `~regions.Region`
        The regions.

    Returns
    -------
    str
    """
    from regions import CompoundPixelRegion, CompoundSkyRegion, RegionMeta, Regions, RegionVisual

    lines = ["# Region file format: DS9"]
    for region in regions:
        if isinstance(region, CompoundPixelRegion | CompoundSkyRegion):
            refuse("region", "be a shape that a ds9 file can hold", type(region).__name__, "Give its parts as a list.")
        plain = region.copy(meta=RegionMeta(), visual=RegionVisual())
        # the frame stands in the same line or in one of its own
        _, *written = Regions([plain]).serialize(format="ds9", precision=12).strip().splitlines()
        frame, shape = "; ".join(written).split("; ", 1)
        # as ds9 writes what is excluded; some versions of regions do not
        lines.append(f"{frame}; {'' if region.meta.get('include', True) else '-'}{shape}")
    return "\n".join(lines) + "\n"


def write_regions(region, path, *, overwrite=False):
    """Write regions as a ds9 file, whatever they were read from.

    Parameters
    ----------
    region : str, path-like, `~regions.Region`, or iterable of `~regions.Region`
        As for `read_regions`.
    path : str or path-like
        File to write.
    overwrite : bool, optional
        Whether a file that exists is replaced.

    Raises
    ------
    ValueError
        If a region is a compound of others, which ds9 does not know.
    FileExistsError
        If the file exists and ``overwrite`` is False.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> CircleSkyRegion(SkyCoord(52.2 * u.deg, 31.2 * u.deg), 3 * u.arcsec).write("casa.crtf")
    >>> write_regions("casa.crtf", "streamer.reg")
    >>> len(read_regions("streamer.reg"))
    1
    """
    write_text(path, regions_text(read_regions(region)), overwrite=overwrite)
