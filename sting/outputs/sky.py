"""Axes that show the sky, and what is drawn on them by its offset from the star, in arcsec to the east and north.

The axes are astropy's where the place of the star is known; plain axes are in offsets themselves.
"""

from dataclasses import replace

import numpy as np
from astropy import units as u
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs.utils import celestial_frame_to_wcs, wcs_to_celestial_frame
from matplotlib.patches import Ellipse
from matplotlib.transforms import Affine2D

from sting.cubes import equatorial, positions, sky_offsets, sky_position
from sting.maps import Map, open_map
from sting.messages import refuse
from sting.outputs.style import EMISSION_ALONE, intensity_label

__all__ = []

ARCSEC = u.arcsec.to(u.deg)

#: Scale bars have a length of one of these times a power of ten.
ROUND = (1, 2, 5)


def open_image(image):
    """A `~sting.maps.Map` with a celestial WCS, or None."""
    if image is None or isinstance(image, Map):
        return image
    found = open_map("image", image)
    if found.wcs is None:
        refuse("image", "have celestial coordinates", "none", "Pass cube.moment0(), an HDU or a FITS file rather than an array.")
    return _per_kms(found)


def _per_kms(image):
    """A moment map in m/s in km/s."""
    try:
        unit = u.Unit(image.unit)
        per = dict(zip(unit.bases, unit.powers, strict=True))
        if per.get(u.m) != 1 or per.get(u.s) != -1:
            return image
    except (TypeError, ValueError):
        return image
    return replace(image, values=image.values / 1000, unit=unit / u.m * u.km)


def image_label(image):
    """What a map is of."""
    if _is_velocity(image):
        return intensity_label(image.unit, "velocity")
    integrated = "km / s" in str(image.unit) or "km s" in str(image.unit)
    return intensity_label(image.unit, "integrated intensity" if integrated else "intensity")


def _is_velocity(image):
    """Whether it is a map of velocities, such as ``cube.moment1()``."""
    try:
        return u.Unit(image.unit).is_equivalent(u.km / u.s)
    except (TypeError, ValueError):
        return False


def check_star(star_position, *others):
    """Position of the star: the given one, or the first that another source of it knows; None if none does."""
    if star_position is not None:
        return sky_position("star_position", star_position)
    return next((star for star in others if star is not None), None)


def sky_wcs(image, streamer, star=None):
    """WCS of axes for a map, or else around the star, with the pixels of the streamer; None if its place is not known."""
    if image is not None:
        return image.wcs
    star = check_star(star, None if streamer is None else streamer.star_position)
    if star is None:
        return None
    frame = equatorial(star.frame)
    wcs, place = celestial_frame_to_wcs(frame, projection="TAN"), star.transform_to(frame)
    pixel = 1.0 if streamer is None else streamer.meta.get("pixel", 1.0)
    wcs.wcs.crval, wcs.wcs.crpix = [place.ra.deg, place.dec.deg], [1, 1]
    wcs.wcs.cdelt = [-pixel * ARCSEC, pixel * ARCSEC]
    return wcs


def offset_transform(ax, star):
    """Transform from offsets (arcsec east and north of the star) to the screen."""
    if not isinstance(ax, WCSAxes):
        return ax.transData
    if star is None:
        cure = "Pass star_position, or plain axes."
        refuse("star_position", "be given to draw into axes that show the sky", "none", cure)
    return _affine(ax.wcs.celestial, star) + ax.transData


def _affine(wcs, star):
    """Transform from offsets to pixels. Over the minutes of arc that a streamer takes the sky is flat."""
    frame = equatorial(star.frame)
    offsets = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) * u.arcsec
    (x0, x1, x2), (y0, y1, y2) = wcs.world_to_pixel(star.transform_to(frame).spherical_offsets_by(*offsets))
    return Affine2D.from_values(x1 - x0, y1 - y0, x2 - x0, y2 - y0, x0, y0)


def label_sky(ax, title=None):
    """Name the axes."""
    if title is not None:
        ax.set_title(title)
    if not isinstance(ax, WCSAxes):
        ax.set(xlabel="RA offset (arcsec)", ylabel="Dec offset (arcsec)")
        return
    frame = wcs_to_celestial_frame(ax.wcs.celestial)
    if "ra" in frame.get_representation_component_names():
        equinox = {"fk5": "J", "fk4": "B"}.get(frame.name)
        system = (
            frame.name.upper()
            if equinox is None
            else f"{equinox}{frame.equinox.jyear if equinox == 'J' else frame.equinox.byear:g}"
        )
        ax.set(xlabel=f"Right ascension ({system})", ylabel=f"Declination ({system})")
    for coordinate in ax.coords:
        coordinate.set_ticklabel(exclude_overlapping=True)
        coordinate.set_ticks(number=4)
        coordinate.display_minor_ticks(True)


def places_of(path, streamer, star=None, wcs=None, shape=None):
    """Offsets that a figure has to show: those of the data, as a model may start far outside; or of a map its corners."""
    if streamer is not None:
        return streamer.pc_coords[:2]
    if path is not None:
        return path.ra.value, path.dec.value
    if wcs is None:
        return np.array([-5.0, 5.0]), np.array([-5.0, 5.0])
    n_y, n_x = shape
    return sky_offsets(star, positions(wcs, np.array([[0, n_x - 1, 0, n_x - 1], [0, 0, n_y - 1, n_y - 1]])))


def window_of(ra, dec, margin=0.16):
    """Square (left, right, bottom, top) in offsets around places and the star; east, which is positive, is to the left."""
    x, y = np.append(ra, 0), np.append(dec, 0)
    half = (0.5 + margin / 2) * max(np.ptp(x), np.ptp(y))
    middle = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    return middle[0] + half, middle[0] - half, middle[1] - half, middle[1] + half


def set_window(ax, window, transform):
    """Show a window of offsets."""
    left, right, bottom, top = window
    ax.set_aspect("equal", adjustable="box")
    corners = np.array([[left, bottom], [right, bottom], [right, top], [left, top]])
    x, y = ax.transData.inverted().transform(transform.transform(corners)).T
    # of plain axes the offsets themselves, with east to the left
    ax.set_xlim((x.max(), x.min()) if x[0] > x[1] else (x.min(), x.max()))
    ax.set_ylim(y.min(), y.max())


def window_shown(ax, transform):
    """The window of offsets that axes show, as ``window_of`` gives it."""
    corners = ax.transAxes.transform([[0, 0], [1, 0], [1, 1], [0, 1]])
    x, y = transform.inverted().transform(corners).T
    return x.max(), x.min(), y.min(), y.max()


def draw_image(ax, image, star):
    """Draw a map into axes that show the sky, its own or others, or into plain ones of offsets."""
    values = image.values
    if _is_velocity(image):
        low, high, colours = *np.nanpercentile(values, (2, 98)), "RdYlBu_r"
    else:
        low, high, colours = min(0.0, np.nanpercentile(values, 5)), np.nanmax(values), EMISSION_ALONE
    limits = {"vmin": low, "vmax": high, "cmap": colours, "zorder": 0}
    if isinstance(ax, WCSAxes) and ax.wcs.celestial.wcs.compare(image.wcs.wcs):
        return ax.imshow(values, origin="lower", interpolation="nearest", **limits)
    y, x = np.indices(np.array(values.shape) + 1) - 0.5
    sky = image.wcs.pixel_to_world(x, y)
    east, north = star.transform_to(equatorial(star.frame)).spherical_offsets_to(sky.transform_to(equatorial(star.frame)))
    shape = (east.to_value(u.arcsec), north.to_value(u.arcsec), np.ma.masked_invalid(values))
    return ax.pcolormesh(*shape, transform=offset_transform(ax, star), rasterized=True, **limits)


def draw_beam(ax, beam, window, transform):
    """Draw the beam (major and minor axis in arcsec, position angle in deg) in the lower left corner of a window."""
    if beam is None:
        return
    major, minor, pa = beam
    left, right, bottom, _ = window
    inset = 0.04 * abs(right - left) + major / 2
    # with east to the left, a position angle east of north turns to the left on the screen
    place = left - inset, bottom + inset
    # the transform turns x around: angles count from the east
    ax.add_patch(Ellipse(place, minor, major, angle=-pa, fc="0.6", ec="k", lw=0.8, zorder=6, transform=transform))


def draw_scale_bar(ax, distance, window, transform):
    """Draw a bar with its length in au in the lower right corner of a window."""
    if distance is None:
        return
    left, right, bottom, top = window
    pc = u.Quantity(distance, u.pc).value
    width = abs(right - left) * pc
    length = max(step for step in (1e-9, *(b * 10.0**e for e in range(-1, 6) for b in ROUND)) if step < 0.35 * width)
    end, height = right + 0.06 * (left - right), bottom + 0.06 * (top - bottom)
    ax.plot([end, end + length / pc], [height, height], "k-", lw=2, zorder=6, transform=transform)
    middle = end + length / pc / 2
    words = f"{length:g} au"
    ax.text(middle, height + 0.015 * (top - bottom), words, ha="center", va="bottom", zorder=6, transform=transform)
