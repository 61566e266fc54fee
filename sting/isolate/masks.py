"""Where in a cube a Keplerian disk emits, and where it cannot."""

import numpy as np
from astropy import units as u

from sting.core.constants import GM_SUN
from sting.cubes import KMS, beam_axes, cell_of, offsets, open_cube, quantity, sky_position, to_velocity
from sting.messages import is_number, named_keywords, refuse
from sting.parameters import check_distance

__all__ = ["keplerian_mask"]

#: Radius of the largest disk (pixels): beyond, a unit was mistaken.
LARGEST = 2000

#: Rings of the disk are at most this part of a pixel, or of its radius, apart.
OF_A_PIXEL, OF_THE_RADIUS = 0.5, 0.01


@named_keywords
def keplerian_mask(
    cube,
    star_position,
    distance,
    mass,
    inclination,
    position_angle,
    v_lsr,
    *,
    radius,
    inner_radius=10 * u.au,
    line_width=0.5 * u.km / u.s,
    reach=1.0,
    counter=False,
):
    """Find the voxels in which a disk in Keplerian rotation emits.

    At the radius r and the azimuth phi from the redshifted end of its major axis the thin disk has the line-of-sight velocity
    v_lsr + sqrt(G M / r) sin(i) cos(phi). A voxel belongs to it if the disk, within a beam's FWHM of the pixel, has velocities
    within a line width (and half a channel) of the voxel's.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    mass : `~astropy.units.Quantity`
        Mass of the star.
    inclination : `~astropy.units.Quantity`
        Inclination of the disk: 0 is face-on, 90 deg edge-on; above, up to 180 deg, it stands for 180 deg less it. That is
        90 deg + ``inc`` (or 90 deg - ``inc``) of the model.
    position_angle : `~astropy.units.Quantity`
        Position angle, east of north, of the redshifted end of the disk's major axis: ``pa`` - 90 deg of the model.
        `~sting.conventions.to_disk` gives both from ``inc`` and ``pa``.
    v_lsr : `~astropy.units.Quantity`
        Systemic velocity.
    radius : `~astropy.units.Quantity`
        Outer radius of the disk.
    inner_radius : `~astropy.units.Quantity`, optional
        Inner radius, where it is fastest.
    line_width : `~astropy.units.Quantity`, optional
        FWHM of the line at each place.
    reach : float, optional
        How far the mask reaches beyond the disk on every side, in FWHM of the line and of the beam: 1 takes in 98 % of a line and
        94 % of a point source.
    counter : bool, optional
        Whether to find instead where the same disk would emit if it turned the other way and this one does not: what lies
        there is no disk.

    Returns
    -------
    `~numpy.ndarray` of bool
        Mask of the shape of the cube, True where the disk emits. ``cube.with_mask(~mask)`` takes the disk out.

    Raises
    ------
    ValueError
        If a number is out of range, or the disk lies outside the cube.
    TypeError
        If ``cube`` or ``star_position`` is something else.
    ~astropy.units.UnitsError
        If a unit cannot be converted.

    Notes
    -----
    Whichever side of the disk is nearer, a thin disk has the same velocities. In a cube without a beam the mask reaches to the
    pixels that the disk itself crosses. A disk that is thick or seen nearly edge-on may need a larger ``reach``.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
    >>> mask = keplerian_mask(scene.cube, scene.star_position, scene.distance, **scene.disk)
    >>> without = scene.cube.with_mask(~mask)
    >>> bool(scene.components["disk"][mask].sum() > 0.95 * scene.components["disk"].sum())
    True
    """
    cube = to_velocity(open_cube(cube), "cube")
    star, distance = sky_position("star_position", star_position), check_distance(distance)
    given = {
        "mass": (mass, u.Msun),
        "radius": (radius, u.au),
        "inner_radius": (inner_radius, u.au),
        "line_width": (line_width, KMS),
    }
    mass, radius, inner_radius, line_width = (_positive(name, value, unit) for name, (value, unit) in given.items())
    tilt = quantity("inclination", inclination, u.deg)
    if not 0 <= tilt.value <= 180:
        refuse("inclination", "lie between 0 and 180 deg", inclination, "0 is face-on, 90 deg edge-on.")
    if inner_radius >= radius:
        refuse("inner_radius", "be smaller than radius", f"{inner_radius:g} au of {radius:g} au", "Correct one of them.")
    if not (is_number(reach) and reach > 0):
        refuse("reach", "be a positive number", repr(reach), "Use for example 1.")
    turn = quantity("position_angle", position_angle, u.deg).to_value(u.rad)
    v_lsr = quantity("v_lsr", v_lsr, KMS).value
    place, jacobian = _around_star(cube, star)
    disk = _samples(mass, tilt.to_value(u.rad), turn, (inner_radius, radius), distance, jacobian)
    extent = radius / distance * np.linalg.norm(np.linalg.inv(jacobian), 2)
    if extent > LARGEST:
        refuse("radius", f"be at most {LARGEST} pixels of the cube", f"{radius:g} au, {extent:.0f} pixels", "Check its unit.")
    low, high, view = _velocity_range(disk, place, extent, _footprint(cube, jacobian, reach), cube.shape[1:])
    if not np.isfinite(low).any():
        found = f"pixel ({place[0]:.1f}, {place[1]:.1f}) of {cube.shape[2]} x {cube.shape[1]}, with a disk of {extent:.1f} pixels"
        refuse("star_position", "be such that the disk lies in the field", found, "Check the position, distance and radius.")
    return _channel_by_channel(cube, v_lsr, low, high, view, reach * line_width, counter)


def _positive(name, value, unit):
    found = quantity(name, value, unit).value
    if found <= 0:
        refuse(name, "be positive", value, "Correct it.")
    return found


def _around_star(cube, star):
    """Pixel (x, y) of the star, and the matrix that turns steps in pixels there into steps to the east and north (arcsec)."""
    place = np.array(cube.wcs.celestial.world_to_pixel(star), dtype=float)
    if not np.isfinite(place).all():
        refuse("star_position", "lie in the field of the cube", star.to_string("hmsdms"), "Check the cube and the position.")
    steps = np.array([[0.5, -0.5, 0, 0], [0, 0, 0.5, -0.5]])
    east_north = np.array(offsets(cube, star, tuple(place[:, None] + steps)))
    return place, east_north[:, ::2] - east_north[:, 1::2]


def _samples(mass, tilt, turn, radii, distance, jacobian):
    """Yield steps in pixels (2, n) from the star, and velocities (km/s) from the systemic one, of rings of the disk."""
    to_pixels = np.linalg.inv(jacobian) / distance
    step = min(OF_A_PIXEL / np.linalg.norm(to_pixels, 2), OF_THE_RADIUS * radii[1])
    # the major axis from the redshifted end, and the minor one, to the east and north
    axes = np.array([[np.sin(turn), np.cos(turn)], [np.cos(turn), -np.sin(turn)]]).T
    axes = to_pixels @ axes @ np.diag([1, np.cos(tilt)])
    for r in np.linspace(*radii, 1 + int(np.ceil((radii[1] - radii[0]) / step))):
        phi = np.linspace(0, 2 * np.pi, 1 + int(np.ceil(2 * np.pi * r / step)))
        around = np.array([np.cos(phi), np.sin(phi)])
        yield r * axes @ around, np.sqrt(GM_SUN * mass / r) * np.sin(tilt) * around[0]


def _footprint(cube, jacobian, reach):
    """Pixels (odd, odd) around one in the ellipse of the beam, enlarged by ``reach``."""
    if (beam := beam_axes(cube)) is None:
        return np.ones((1, 1), dtype=bool)
    major, minor, pa = beam[0] * reach, beam[1] * reach, np.radians(beam[2])
    half = int(np.ceil(major * np.linalg.norm(np.linalg.inv(jacobian), 2)))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    east, north = np.einsum("ij,jyx->iyx", jacobian, [x, y])
    along, across = east * np.sin(pa) + north * np.cos(pa), east * np.cos(pa) - north * np.sin(pa)
    return (along / major) ** 2 + (across / minor) ** 2 <= 1


def _velocity_range(disk, place, extent, footprint, field):
    """Lowest and highest velocity of the disk within the footprint about each pixel, and the part of the field that they are of.

    The disk is connected, and so is a part of it: it has all velocities in between.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    pad = len(footprint) // 2
    # of the field and its surroundings, from which the beam brings emission in: the box about the disk
    first = np.maximum(np.floor(place - extent).astype(int) - pad, -pad)
    last = np.minimum(np.ceil(place + extent).astype(int) + pad, np.array(field[::-1]) - 1 + pad)
    shape = np.maximum(last - first + 1, 0)[::-1]
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    for steps, velocity in disk:
        x, y = np.rint(place[:, None] + steps).astype(int) - first[:, None]
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        at = y[inside], x[inside]
        np.minimum.at(low, at, velocity[inside])
        np.maximum.at(high, at, velocity[inside])
    low = minimum_filter(low, footprint=footprint, mode="constant", cval=np.inf)
    high = maximum_filter(high, footprint=footprint, mode="constant", cval=-np.inf)
    start, stop = np.maximum(first, 0), np.minimum(last + 1, field[::-1])
    ys, xs = (slice(i, max(i, j)) for i, j in zip(start[::-1], stop[::-1], strict=True))
    inner = slice(ys.start - first[1], ys.stop - first[1]), slice(xs.start - first[0], xs.stop - first[0])
    return low[inner], high[inner], (ys, xs)


def _channel_by_channel(cube, v_lsr, low, high, view, margin, counter):
    """The mask, and not more than a channel besides."""
    velocity = cube.spectral_axis.to_value(KMS)
    halves = np.abs(np.gradient(velocity)) / 2 if len(velocity) > 1 else [cell_of(cube)[1] / 2]
    mask, n_found = np.zeros(cube.shape, dtype=bool), 0
    for plane, v, half in zip(mask, velocity - v_lsr, halves, strict=True):
        found = (v >= low - margin - half) & (v <= high + margin + half)
        n_found += np.count_nonzero(found)
        plane[view] = (v >= -high - margin - half) & (v <= -low + margin + half) & ~found if counter else found
    if not n_found:
        rule = "put the disk into channels of the cube"
        found = f"{v_lsr + low.min() - margin:.4g} to {v_lsr + high.max() + margin:.4g} km/s; the cube has "
        found += f"{velocity.min():.4g} to {velocity.max():.4g} km/s"
        refuse("v_lsr", rule, found, "Check v_lsr and mass, and the spectral axis of the cube.")
    return mask
