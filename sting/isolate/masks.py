"""Where in a cube a Keplerian disk emits, and where it cannot."""

import numpy as np
from astropy import units as u

from sting.core.constants import GM_SUN
from sting.cubes import KMS, beam_axes, open_cube, positions, quantity, sky_offsets, sky_position, to_velocity
from sting.messages import is_number, named_keywords, refuse
from sting.parameters import check_distance

__all__ = ["keplerian_mask"]

#: A disk is no thinner than this part of its radius: seen edge-on it has an extent.
ASPECT = 0.1

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
    v_lsr + sqrt(G M / r) sin(i) cos(phi). A voxel belongs to it if the disk, as far as a beam around the pixel, has velocities within
    a line width (and half a channel) of its own.

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
    Whichever side of the disk is nearer, a thin disk has the same velocities. One closer to edge-on than a tenth is taken
    to be as thick as a tenth of its radius. A cube without a beam has its pixels for one.

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
    given = {"mass": (mass, u.Msun), "radius": (radius, u.au), "inner_radius": (inner_radius, u.au), "line_width": (line_width, KMS)}
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
    rings = _rings(mass, tilt.to_value(u.rad), turn, (inner_radius, radius), distance, np.sqrt(abs(np.linalg.det(jacobian))))
    low, high, box = _velocity_range(rings, place, jacobian, _footprint(cube, jacobian, reach))
