"""Streamers of known truth, alone or in a protostar: cubes and points for tests, tutorials and first runs."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from sting import protostar
from sting.conventions import to_disk
from sting.core.constants import GM_SUN
from sting.core.transforms import mu_from
from sting.cubes import quantity, sky_position
from sting.extract_streamline import Streamer
from sting.messages import check_whole, is_number, named_keywords, refuse, suggest
from sting.painting import beam_covariance, beam_noise, grid, samples_emission, streamer_emission
from sting.parameters import check_distance, check_parameters, rotation_name, to_internal
from sting.stream_lines_grad import streamline

__all__ = ["TRUTH", "SyntheticCube", "SyntheticScene", "make_scene", "make_streamer_cube", "make_streamer_points"]

#: A streamer like that of NGC 1333 IRAS 2A, the default of this module.
TRUTH = {
    "r0": 2800 * u.au,
    "theta0": 52 * u.deg,
    "phi0": 60 * u.deg,
    "v_r0": 0.3 * u.km / u.s,
    "omega": 5.5e-13 / u.s,
    "mass": 4.0 * u.Msun,
    "inc": -45 * u.deg,
    "pa": 194 * u.deg,
    "rmin": 50 * u.au,
    "v_lsr": 7.5 * u.km / u.s,
}

#: Brightest voxel of each component of a scene without noise, in those of the streamer.
BRIGHTNESS = {"streamer": 1.0, "envelope": 0.8, "outflow": 0.6, "disk": 1.5}

#: Where the emission of a scene is fainter than this part of the brightest, the fraction of the streamer is said to be 0.
FAINTEST = 1e-4

#: Random streamers that are tried for a field.
MOST_TRIES = 1000

#: NGC 1333 IRAS 2A.
STAR = SkyCoord("3h28m55.569s", "+31d14m37.025s", frame="fk5")


@dataclass(frozen=True, eq=False)
class SyntheticCube:
    """A synthetic observation and the truth behind it.

    Attributes
    ----------
    cube : `~spectral_cube.SpectralCube`
        The observation, with noise.
    model : `~numpy.ndarray`
        The same without noise, in K, of the shape of the cube.
    truth : dict
        Parameters of the streamline as Quantities.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity`
        Distance of the star.
    rms : `~astropy.units.Quantity`
        Noise of one voxel.
    """

    cube: Any
    model: np.ndarray
    truth: dict
    star_position: SkyCoord
    distance: u.Quantity
    rms: u.Quantity


@named_keywords
def make_streamer_cube(
    params=None,
    *,
    distance=293 * u.pc,
    star_position=None,
    seed=0,
    shape=(70, 100, 100),
    pixel=0.2 * u.arcsec,
    channel=0.1 * u.km / u.s,
    beam=(1.2 * u.arcsec, 1.0 * u.arcsec, 22 * u.deg),
    width=1.2 * u.arcsec,
    line_width=0.35 * u.km / u.s,
    peak=0.6 * u.K,
    rms=0.03 * u.K,
    rest_frequency=231.410234 * u.GHz,
):
    """Make a position-position-velocity cube of a streamer with beam, channels and beam-correlated noise.

    The streamer is a chain of Gaussian clouds along the streamline, equally bright along its projected length; the beam is folded
    in exactly and the line is integrated over each channel.

    Parameters
    ----------
    params : dict, optional
        Parameters of the streamline (see `~sting.stream_lines_grad.streamline`); by default `TRUTH`.
    distance : `~astropy.units.Quantity` or float, optional
        Distance of the star, a number being in pc.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Position of the star; by default that of NGC 1333 IRAS 2A.
    seed : int, optional
        Seed of the noise.
    shape : tuple of int, optional
        Channels, rows and columns. The field is centred on the streamer and the star together.
    pixel : `~astropy.units.Quantity`, optional
        Size of a pixel.
    channel : `~astropy.units.Quantity`, optional
        Width of a channel.
    beam : tuple of `~astropy.units.Quantity`, optional
        Major axis, minor axis (FWHM) and position angle of the beam.
    width : `~astropy.units.Quantity`, optional
        FWHM of the streamer across its path.
    line_width : `~astropy.units.Quantity`, optional
        FWHM of the line at each place.
    peak : `~astropy.units.Quantity`, optional
        Brightest voxel of the noise-free cube.
    rms : `~astropy.units.Quantity`, optional
        Noise of one voxel; 0 for none.
    rest_frequency : `~astropy.units.Quantity`, optional
        Rest frequency of the line.

    Returns
    -------
    `SyntheticCube`

    Raises
    ------
    ValueError
        If the noise or a width is negative or the parameters are not those of a streamline.

    Examples
    --------
    >>> scene = make_streamer_cube(seed=3, shape=(40, 64, 64))
    >>> scene.cube.shape
    (40, 64, 64)
    """
    truth = dict(TRUTH if params is None else params)
    distance = check_distance(distance) * u.pc
    numbers = _positive(pixel=(pixel, u.arcsec), channel=(channel, u.km / u.s), peak=(peak, u.K))
    numbers |= _positive(zero=True, width=(width, u.arcsec), line_width=(line_width, u.km / u.s), rms=(rms, u.K))
    path = streamline(truth, distance=distance, n_points=400)
    v_middle = (path.velocity.value.min() + path.velocity.value.max()) / 2
    field = _Field(path, star_position, shape, numbers, beam, rest_frequency, v_middle)
    model = streamer_emission(path, field.axes, field.covariance, numbers)
    model *= numbers["peak"] / model.max()
    return SyntheticCube(field.cube(model, numbers, seed), model, truth, field.star, distance, rms)


class _Field:
    """What is observed: the star, the voxels and the beam."""

    def __init__(self, path, star_position, shape, numbers, beam, rest_frequency, v_middle):
        from radio_beam import Beam

        _check_shape(shape)
        self.star = STAR if star_position is None else sky_position("star_position", star_position)
        self.header, self.axes = grid(path, self.star, shape, numbers, rest_frequency, v_middle)
        self.beam = Beam(*beam)
        self.covariance = beam_covariance(self.beam)

    def cube(self, model, numbers, seed):
        """The observation of a model (K), with noise."""
        from spectral_cube import SpectralCube

        noise = beam_noise(model.shape, self.covariance / numbers["pixel"] ** 2, seed) * numbers["rms"]
        return SpectralCube((model + noise) * u.K, wcs=WCS(self.header), header=self.header, beam=self.beam)


def _check_shape(shape):
    if len(shape) != 3 or min(shape) < 1:
        refuse("shape", "be three positive whole numbers", shape, "Give channels, rows and columns.")


def _positive(zero=False, **quantities):
    """Values of quantities in their units, which must be positive (or zero)."""
    values = {name: quantity(name, value, unit).value for name, (value, unit) in quantities.items()}
    for name, value in values.items():
        if value < 0 or (value == 0 and not zero):
            refuse(name, "not be negative" if zero else "be positive", quantities[name][0], "Correct it.")
    return values


@dataclass(frozen=True, eq=False)
class SyntheticScene(SyntheticCube):
    """A synthetic observation of a protostar, and the truth behind it.

    Attributes
    ----------
    cube : `~spectral_cube.SpectralCube`
        The observation, with noise.
    model : `~numpy.ndarray`
        The same without noise, in K, of the shape of the cube: the sum of the components.
    truth : dict
        Parameters of the streamline as Quantities.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity`
        Distance of the star.
    rms : `~astropy.units.Quantity`
        Noise of one voxel.
    components : dict of `~numpy.ndarray`
        What ``"streamer"``, ``"envelope"``, ``"outflow"`` and ``"disk"`` each add to the model.
    disk : dict
        The disk as `~sting.isolate.keplerian_mask` takes it: ``mass``, ``inclination``, ``position_angle``, ``v_lsr`` and
        ``radius``.
    """

    components: dict
    disk: dict

    @functools.cached_property
    def streamer_fraction(self):
        """Part of the emission of each voxel that is the streamer's, 0 where there is no emission to speak of."""
        bright = self.model > FAINTEST * self.model.max()
        return np.divide(self.components["streamer"], self.model, out=np.zeros_like(self.model), where=bright)


@named_keywords
def make_scene(
    params=None,
    *,
    distance=293 * u.pc,
    star_position=None,
    seed=0,
    shape=(70, 100, 100),
    pixel=0.2 * u.arcsec,
    channel=0.1 * u.km / u.s,
    beam=(1.2 * u.arcsec, 1.0 * u.arcsec, 22 * u.deg),
    width=1.2 * u.arcsec,
    line_width=0.35 * u.km / u.s,
    snr=20,
    rms=0.03 * u.K,
    rest_frequency=231.410234 * u.GHz,
    brightness=None,
    inc=None,
    pa=None,
    disk_radius=300 * u.au,
    envelope_radius=3000 * u.au,
    outflow_length=1500 * u.au,
    outflow_opening=35 * u.deg,
    outflow_speed=4 * u.km / u.s,
):
    """Make a cube of a protostar: a streamer in a rotating, infalling envelope, with an outflow and a Keplerian disk.

    All emission is optically thin and adds up. The streamer is that of `make_streamer_cube`. The envelope falls along
    orbits like the streamer's, from rest on a sphere to within the streamer's centrifugal radius. The outflow is a pair of
    paraboloid shells whose velocity grows with the distance (Lee et al. 2000). The disk is thin. The star, its mass and v_lsr are
    the same for all, and so is the axis unless another one is given.

    Parameters
    ----------
    params : dict or "random", optional
        Parameters of the streamline (see `~sting.stream_lines_grad.streamline`); by default `TRUTH`. ``"random"`` draws them by
        the seed, so that the streamer fits into the field and its velocities into the channels.
    distance : `~astropy.units.Quantity` or float, optional
        Distance of the star, a number being in pc.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Position of the star; by default that of NGC 1333 IRAS 2A.
    seed : int, optional
        Seed of the noise, and of random parameters.
    shape : tuple of int, optional
        Channels, rows and columns. The field is centred on the streamer and the star together.
    pixel : `~astropy.units.Quantity`, optional
        Size of a pixel.
    channel : `~astropy.units.Quantity`, optional
        Width of a channel.
    beam : tuple of `~astropy.units.Quantity`, optional
        Major axis, minor axis (FWHM) and position angle of the beam.
    width : `~astropy.units.Quantity`, optional
        FWHM of the streamer across its path.
    line_width : `~astropy.units.Quantity`, optional
        FWHM of the line at each place, of all components.
    snr : float, optional
        Brightest voxel of the noise-free streamer, in units of the noise.
    rms : `~astropy.units.Quantity`, optional
        Noise of one voxel.
    rest_frequency : `~astropy.units.Quantity`, optional
        Rest frequency of the line.
    brightness : dict, optional
        Brightest voxel of each of ``"streamer"``, ``"envelope"``, ``"outflow"`` and ``"disk"``, in units of ``snr`` times
        ``rms``; 0 leaves a component out. Those that are not named keep 1, 0.8, 0.6 and 1.5.
    inc, pa : `~astropy.units.Quantity`, optional
        Inclination and position angle of the axis of envelope, outflow and disk; by default those of the streamline.
    disk_radius : `~astropy.units.Quantity`, optional
        Outer radius of the disk, whose surface brightness goes with 1/r.
    envelope_radius : `~astropy.units.Quantity`, optional
        Radius of the sphere from which the envelope falls; at half of it the emission has faded to 1/e of what the density says.
    outflow_length : `~astropy.units.Quantity`, optional
        Height above the midplane at which the outflow has faded to 1/e.
    outflow_opening : `~astropy.units.Quantity`, optional
        Half opening angle of the outflow at that height.
    outflow_speed : `~astropy.units.Quantity`, optional
        Velocity of the outflow along its axis at that height.

    Returns
    -------
    `SyntheticScene`

    Raises
    ------
    ValueError
        If a length or width is not positive, a component is unknown, or the parameters are not those of a streamline.

    References
    ----------
    Mendoza, Tejeda & Nagel 2009, MNRAS 393, 579, doi:10.1111/j.1365-2966.2008.14210.x

    Lee et al. 2000, ApJ 542, 925, doi:10.1086/317056

    Examples
    --------
    >>> scene = make_scene(seed=3, shape=(40, 64, 64), snr=10)
    >>> print(scene.components["streamer"].max() / scene.rms.value)
    10.0
    """
    distance = check_distance(distance) * u.pc
    lengths = {"disk_radius": disk_radius, "envelope_radius": envelope_radius, "outflow_length": outflow_length}
    numbers = _positive(pixel=(pixel, u.arcsec), channel=(channel, u.km / u.s), rms=(rms, u.K), snr=(snr, u.one))
    numbers |= _positive(zero=True, width=(width, u.arcsec), line_width=(line_width, u.km / u.s))
    numbers |= _positive(outflow_speed=(outflow_speed, u.km / u.s), **{name: (value, u.au) for name, value in lengths.items()})
    opening = quantity("outflow_opening", outflow_opening, u.deg)
    if not 0 < opening.value < 90:
        refuse("outflow_opening", "lie between 0 and 90 deg", outflow_opening, "It is half of the angle of the cone.")
    brightness = _check_brightness(brightness)
    if isinstance(params, str) and params == "random":
        params = _random_truth(seed, shape, numbers, beam, distance)
    truth = dict(TRUTH if params is None else params)
    path = streamline(truth, distance=distance, n_points=400)
    _, given = check_parameters({}, truth)
    axis = {"inc": truth["inc"] if inc is None else inc, "pa": truth["pa"] if pa is None else pa}
    seen_as = to_disk(**axis)
    given |= {name: to_internal(name, value) for name, value in axis.items()}
    field = _Field(path, star_position, shape, numbers, beam, rest_frequency, given["v_lsr"])
    components = {}
    for name, relative in brightness.items():
        if not relative:
            emission = np.zeros(shape)
        elif name == "streamer":
            emission = streamer_emission(path, field.axes, field.covariance, numbers)
        else:
            samples = _surroundings(name, given, numbers, opening.to_value(u.rad))
            seen = protostar.on_the_sky(samples, given, distance.value)
            emission = samples_emission(seen, field.axes, field.covariance, numbers)
        # of a component outside the field nothing is seen
        components[name] = emission * (relative * numbers["snr"] * numbers["rms"] / (emission.max() or 1))
    model = sum(components.values())
    disk = {
        "mass": given["mass"] * u.Msun,
        "inclination": seen_as["inclination"],
        "position_angle": seen_as["pa_redshifted"],
        "v_lsr": given["v_lsr"] * u.km / u.s,
        "radius": numbers["disk_radius"] * u.au,
    }
    return SyntheticScene(field.cube(model, numbers, seed), model, truth, field.star, distance, rms, components, disk)


def _surroundings(name, given, numbers, opening):
    """Samples of a component about the star of a streamline."""
    if name == "disk":
        return protostar.disk(mass=given["mass"], radius=numbers["disk_radius"])
    if name == "outflow":
        return protostar.outflow(length=numbers["outflow_length"], opening=opening, speed=numbers["outflow_speed"])
    rotation, radius = rotation_name(given), numbers["envelope_radius"]
    rc = float(mu_from(rotation, given[rotation], given["r0"], given["mass"]) * given["r0"])
    if radius <= rc:
        refuse("envelope_radius", "exceed the centrifugal radius of the streamline", f"{radius:g} au of {rc:g} au", "Enlarge it.")
    return protostar.envelope(mass=given["mass"], rc=rc, radius=radius)


def _check_brightness(given):
    """Brightness of every component, checked."""
    if not isinstance(given, dict | None):
        refuse("brightness", "be a dict of components", repr(given), "Write {'disk': 0} to leave out the disk.", TypeError)
    for name, value in (given or {}).items():
        if name not in BRIGHTNESS:
            refuse("brightness", "name components of the scene only", repr(name), suggest(name, list(BRIGHTNESS)))
        if not (is_number(value) and value >= 0):
            refuse("brightness", "be numbers that are not negative", f"{value!r} for {name!r}", "0 leaves the component out.")
    return BRIGHTNESS | (given or {})


def _random_truth(seed, shape, numbers, beam, distance):
    """Parameters of a streamline that is resolved, fits into the field and whose velocities fit into the channels."""
    _check_shape(shape)
    # not the numbers of the noise
    rng = np.random.default_rng([seed, 1])
    field = numbers["pixel"] * min(shape[1:])
    band, beam = numbers["channel"] * shape[0], quantity("beam", beam[0], u.arcsec).value
    for _ in range(MOST_TRIES):
        r0, mass = field * distance.value * rng.uniform(0.25, 0.6), 10 ** rng.uniform(-0.3, 0.6)
        cos, tilt = rng.uniform(-0.95, 0.95), rng.choice([-1, 1]) * rng.uniform(20, 70)
        params = {
            "r0": r0 * u.au,
            "theta0": np.arccos(cos) * u.rad,
            "phi0": rng.uniform(0, 360) * u.deg,
            "v_r0": rng.uniform(0, 0.5) * np.sqrt(GM_SUN * mass / r0) * u.km / u.s,
            "mu": rng.uniform(0.02, 0.2),
            "mass": mass * u.Msun,
            "inc": tilt * u.deg,
            "pa": rng.uniform(0, 360) * u.deg,
            "rmin": 50 * u.au,
            "v_lsr": TRUTH["v_lsr"],
        }
        path = streamline(params, distance=distance, n_points=400)
        extent = np.ptp([np.append(v.value, 0) for v in (path.ra, path.dec)], axis=1).max()
        away = np.abs(path.velocity - params["v_lsr"]).max().value
        if 4 * beam < extent < 0.8 * field and 0.1 * band < away < 0.45 * band:
            return params
    refuse("shape, pixel, channel, beam", "leave room for a random streamer", (shape, beam), "Enlarge the field or the band.")


@named_keywords
def make_streamer_points(
    params=None,
    *,
    distance=293 * u.pc,
    n_elements=10,
    part=(0.1, 0.9),
    sigma=(0.5 * u.arcsec, 0.5 * u.arcsec, 0.1 * u.km / u.s),
    seed=None,
):
    """Make the points of a streamer directly, without a cube.

    Parameters
    ----------
    params : dict, optional
        Parameters of the streamline; by default `TRUTH`.
    distance : `~astropy.units.Quantity` or float, optional
        Distance of the star, a number being in pc.
    n_elements : int, optional
        Number of points.
    part : tuple of float, optional
        Part of the projected path that the points cover, from 0 (its start) to 1 (its inner end).
    sigma : tuple of `~astropy.units.Quantity`, optional
        Uncertainties of RA offset, Dec offset and velocity.
    seed : int or None, optional
        Seed of the noise that is added to the points; None for points exactly on the streamline.

    Returns
    -------
    `~sting.streamer.Streamer`
        With the points themselves as point cloud.

    Raises
    ------
    ValueError
        If ``part`` is not a range within 0 to 1.

    Examples
    --------
    >>> len(make_streamer_points(n_elements=6))
    6
    """
    if len(part) != 2 or not 0 <= part[0] < part[1] <= 1:
        refuse("part", "be a range within 0 and 1", part, "Use for example (0.1, 0.9).")
    n_elements = check_whole("n_elements", n_elements, 1, 10)
    units = (u.arcsec, u.arcsec, u.km / u.s)
    spread = np.array([quantity("sigma", s, unit).value for s, unit in zip(sigma, units, strict=True)])
    if not (spread > 0).all():
        refuse("sigma", "be positive", sigma, "Correct it.")
    path = streamline(TRUTH if params is None else params, distance=distance, n_points=4000)
    curve = np.array([path.ra.value, path.dec.value, path.velocity.value])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve[:2], axis=1)))])
    # points of the computed path itself, not between them, so that they lie on it exactly
    index = np.searchsorted(length, np.linspace(*part, n_elements) * length[-1]).clip(max=len(length) - 1)
    points = curve[:, index]
    sigmas = np.repeat(spread[:, None], n_elements, axis=1)
    if seed is not None:
        points = points + sigmas * np.random.default_rng(seed).standard_normal(points.shape)
    cloud = np.vstack([points, np.ones(n_elements)])
    return Streamer(cloud, *points, *sigmas, meta={"uncertainty": "given"})
