"""Synthetic scenes must be what they claim: each component is checked against formulas of its own."""

import re

import numpy as np
import pytest
from astropy import constants
from astropy import units as u
from radio_beam import Beam

from sting import protostar
from sting.conventions import to_disk, to_outflow
from sting.cubes import offsets
from sting.painting import beam_covariance, samples_emission, streamer_emission
from sting.stream_lines_grad import streamline
from sting.synthetic import BRIGHTNESS, TRUTH, SyntheticCube, make_scene, make_streamer_cube

KMS = u.km / u.s
ARCSEC = u.arcsec
FWHM = np.sqrt(8 * np.log(2))
SMALL = (40, 64, 64)
OTHERS = [name for name in BRIGHTNESS if name != "streamer"]
AXES = [(-45, 194), (60, 343), (30, 75), (-10, 280)]

#: The one form of every refusal.
FORM = re.compile(r"""^('[^']+'|"[^"]+") must .+; got .+[.?]$""", re.DOTALL)


def only(name, **keywords):
    """A scene of one component without noise to speak of."""
    return make_scene(brightness={other: float(other == name) for other in BRIGHTNESS}, **keywords)


def seen(component, inc, pa, distance=293.0):
    """The samples of a component on the sky, v_lsr being zero."""
    return protostar.on_the_sky(component, {"inc": np.radians(inc), "pa": np.radians(pa), "v_lsr": 0.0}, distance)


def speed(mass, r):
    """Speed of a circular orbit (km/s) at r au about some solar masses."""
    return np.sqrt(constants.G * mass * u.Msun / (r * u.au)).to_value(KMS)


@pytest.fixture(scope="module")
def protostellar():
    return make_scene(seed=1, shape=SMALL, channel=0.2 * KMS)


class TestScene:
    def test_is_a_synthetic_cube(self, protostellar):
        assert isinstance(protostellar, SyntheticCube)
        assert protostellar.cube.shape == protostellar.model.shape == SMALL
        assert protostellar.cube.unit == u.K
        assert protostellar.truth == TRUTH
        assert protostellar.rms == 0.03 * u.K
        assert protostellar.distance == 293 * u.pc

    def test_components_add_up(self, protostellar):
        assert list(protostellar.components) == ["streamer", "envelope", "outflow", "disk"]
        assert all(component.min() >= 0 and component.shape == SMALL for component in protostellar.components.values())
        np.testing.assert_allclose(sum(protostellar.components.values()), protostellar.model, rtol=1e-14)

    def test_the_band_is_centred_on_the_systemic_velocity(self, protostellar):
        assert protostellar.cube.spectral_axis.to_value(KMS).mean() == pytest.approx(7.5)

    def test_noise_is_that_of_a_streamer_cube(self, protostellar):
        alone = make_streamer_cube(seed=1, shape=SMALL, channel=0.2 * KMS)
        noise = protostellar.cube.filled_data[:].value - protostellar.model
        assert noise.std() == pytest.approx(0.03, rel=0.03)
        np.testing.assert_allclose(noise, alone.cube.filled_data[:].value - alone.model, atol=1e-12)

    @pytest.mark.parametrize(("snr", "rms"), [(5, 0.03 * u.K), (30, 20 * u.mK)])
    def test_signal_to_noise(self, snr, rms):
        found = make_scene(shape=(20, 48, 48), snr=snr, rms=rms)
        for name, relative in BRIGHTNESS.items():
            assert found.components[name].max() == pytest.approx(relative * snr * rms.to_value(u.K), rel=1e-12)
        assert (found.cube.filled_data[:].value - found.model).std() == pytest.approx(rms.to_value(u.K), rel=0.1)

    @pytest.mark.parametrize("left_out", list(BRIGHTNESS))
    def test_components_can_be_left_out(self, left_out):
        found = make_scene(shape=(12, 24, 24), brightness={left_out: 0})
        dark = [name for name, component in found.components.items() if not component.any()]
        assert dark == [left_out]

    def test_components_overlap(self, protostellar):
        """In space and in velocity: nothing but the motions tells them apart."""
        bright = {name: component > 2 * protostellar.rms.value for name, component in protostellar.components.items()}
        for name in OTHERS:
            assert np.count_nonzero(bright["streamer"] & bright[name]) > 100, name

    def test_streamer_fraction(self, protostellar):
        fraction, parts = protostellar.streamer_fraction, protostellar.components
        assert fraction.min() >= 0
        assert fraction.max() <= 1
        bright = protostellar.model > 0.01
        np.testing.assert_allclose((fraction * protostellar.model)[bright], parts["streamer"][bright], rtol=1e-12)
        assert (fraction[protostellar.model < 1e-5] == 0).all()
        alone = only("streamer", shape=(12, 24, 24))
        assert set(np.unique(alone.streamer_fraction)) == {0.0, 1.0}

    def test_seed(self, protostellar):
        again, other = (make_scene(seed=seed, shape=SMALL, channel=0.2 * KMS) for seed in (1, 2))
        np.testing.assert_array_equal(again.cube.filled_data[:], protostellar.cube.filled_data[:])
        np.testing.assert_array_equal(other.model, protostellar.model)
        assert not np.allclose(other.cube.filled_data[:].value, protostellar.cube.filled_data[:].value)

    def test_the_axis_is_the_streamers_unless_given(self, protostellar):
        described = to_disk(TRUTH["inc"], TRUTH["pa"])
        assert protostellar.disk["inclination"] == described["inclination"]
        assert protostellar.disk["position_angle"] == described["pa_redshifted"]
        other = make_scene(shape=(12, 24, 24), inc=20 * u.deg, pa=30 * u.deg)
        assert other.truth == TRUTH
        assert other.disk["inclination"].to_value(u.deg) == pytest.approx(110)
        assert other.disk["position_angle"].to_value(u.deg) == pytest.approx(300)
        same = make_scene(shape=(12, 24, 24))
        np.testing.assert_array_equal(other.components["streamer"], same.components["streamer"])
        assert all(not np.allclose(other.components[name], same.components[name]) for name in OTHERS)

    def test_does_not_change_the_parameters(self):
        given, brightness = dict(TRUTH), {"disk": 2}
        make_scene(given, shape=(12, 24, 24), brightness=brightness)
        assert given == TRUTH
        assert brightness == {"disk": 2}


class TestRandom:
    @pytest.mark.parametrize("seed", range(5))
    def test_fits_into_the_field(self, seed):
        scene = make_scene("random", seed=seed, shape=(40, 50, 50), pixel=0.4 * ARCSEC, channel=0.2 * KMS)
        path = streamline(scene.truth, distance=scene.distance)
        beyond = np.abs(path.velocity - scene.truth["v_lsr"]).max().to_value(KMS)
        assert 0.1 * 8 < beyond < 4.0
        ra, dec = offsets(scene.cube, scene.star_position)
        for found, field in ((path.ra.value, ra), (path.dec.value, dec)):
            assert field.min() + 1 < found.min() < found.max() < field.max() - 1
        assert max(np.ptp(path.ra.value), np.ptp(path.dec.value)) > 4 * 1.2

    def test_seed(self):
        truths = [
            make_scene("random", seed=seed, shape=(12, 24, 24), pixel=0.8 * ARCSEC, channel=0.6 * KMS).truth for seed in (3, 3, 4)
        ]
        assert truths[0] == truths[1]
        assert all(truths[0][name] != truths[2][name] for name in truths[0] if name not in ("rmin", "v_lsr"))


class TestDisk:
    @pytest.mark.parametrize(("inc", "pa"), AXES)
    def test_velocity_on_the_axes(self, inc, pa):
        ra, dec, velocity, _ = seen(protostar.disk(mass=1.3, radius=300.0), inc, pa)
        redshifted = np.radians(pa - 90)
        r, angle = np.hypot(ra, dec) * 293, np.arctan2(ra, dec) - redshifted
        for end, sign in ((0, 1), (np.pi, -1)):
            near = np.abs((angle - end + np.pi) % (2 * np.pi) - np.pi) < 0.01
            assert near.sum() > 100
            # the disk of the literature: 90 deg + inc
            expected = sign * speed(1.3, r[near]) * np.sin(np.radians(90 + inc))
            np.testing.assert_allclose(velocity[near], expected, rtol=0.01)
        minor = np.abs(np.cos(angle)) < 0.01 * np.abs(np.sin(np.radians(inc)))
        assert np.abs(velocity[minor]).max() < 0.05 * np.abs(velocity).max()

    def test_velocity_in_the_cube(self):
        """The line of a pixel far out on the major axis, resolved by beam and channels."""
        beam = (0.1 * ARCSEC, 0.1 * ARCSEC, 0 * u.deg)
        narrow = {"shape": (60, 120, 120), "pixel": 0.05 * ARCSEC, "channel": 0.15 * KMS, "beam": beam, "line_width": 0.2 * KMS}
        near = TRUTH | {"r0": 300 * u.au, "omega": 5e-12 / u.s}
        scene = only("disk", params=near, disk_radius=400 * u.au, **narrow)
        ra, dec = offsets(scene.cube, scene.star_position)
        velocity = scene.cube.spectral_axis.to_value(KMS)
        for r, sign in ((200, 1), (300, 1), (300, -1)):
            at = sign * r / 293 * np.array([np.sin(np.radians(104)), np.cos(np.radians(104))])
            pixel = np.unravel_index(np.hypot(ra - at[0], dec - at[1]).argmin(), ra.shape)
            line = scene.model[:, *pixel]
            expected = 7.5 + sign * speed(4.0, r) * np.sin(np.radians(45))
            assert line @ velocity / line.sum() == pytest.approx(expected, abs=0.1)

    def test_surface_brightness(self):
        position, _, flux = protostar.disk(mass=1.0, radius=200.0)
        r = np.hypot(*position[:2])
        assert not position[2].any()
        assert r.max() == pytest.approx(200, rel=1e-3)
        edges = np.linspace(20, 200, 10)
        found = np.histogram(r, edges, weights=flux)[0] / np.diff(np.pi * edges**2)
        np.testing.assert_allclose(found * (edges[1:] + edges[:-1]), found[0] * (edges[0] + edges[1]), rtol=0.01)


class TestRotation:
    @pytest.mark.parametrize(("inc", "pa"), AXES)
    @pytest.mark.parametrize("name", ["disk", "envelope"])
    def test_sense_is_the_streamers(self, inc, pa, name):
        """The angular momentum of the streamline leans to the axis about which the disk turns on the sky."""
        path = streamline(TRUTH | {"inc": inc * u.deg, "pa": pa * u.deg}, distance=293)
        momentum = np.cross(path.position[50].value, path.velocity_xyz[50].value)
        # axis of the component from its look: the tip to the north at the position angle pa, away if inc is positive
        tip = np.array([-np.sin(np.radians(pa)), np.tan(np.radians(inc)), np.cos(np.radians(pa))])
        assert momentum @ tip > 0
        samples = protostar.disk(mass=4.0, radius=300.0)
        if name == "envelope":
            samples = protostar.envelope(mass=4.0, rc=117.0, radius=3000.0)
        ra, dec, velocity, flux = seen(samples, inc, pa)
        # rotation about the tip: redshifted at pa - 90 deg
        along = ra * np.sin(np.radians(pa - 90)) + dec * np.cos(np.radians(pa - 90))
        assert np.sum(flux * along * velocity) > 0


MASS, RC, RADIUS = 1.5, 120.0, 2400.0


@pytest.fixture(scope="module")
def samples():
    """Those of an envelope."""
    return protostar.envelope(mass=MASS, rc=RC, radius=RADIUS)


class TestEnvelope:
    def test_orbits(self, samples):
        """Energy and angular momentum of gas that started from rest, but for the rotation, on a sphere."""
        position, velocity, _ = samples
        gm = (constants.G * MASS * u.Msun).to_value(u.au * KMS**2)
        r = np.linalg.norm(position, axis=0)
        momentum = np.cross(position.T, velocity.T)
        h = np.linalg.norm(momentum, axis=1)
        some = h > 1e-3 * h.max()
        sin_0 = momentum[some, 2] / h[some]
        np.testing.assert_allclose(h[some], np.sqrt(gm * RC) * sin_0, rtol=1e-6)
        energy = (velocity**2).sum(axis=0) / 2 - gm / r
        np.testing.assert_allclose(energy, h**2 / (2 * RADIUS**2) - gm / RADIUS, rtol=1e-6)
        assert r.max() <= RADIUS * (1 + 1e-12)

    def test_falls_in_to_the_midplane(self, samples):
        position, velocity, _ = samples
        assert ((position * velocity).sum(axis=0) <= 1e-9).all()
        # each hemisphere is fed from itself
        assert (position[2] * velocity[2] <= 1e-9).all()
        # the orbit ends at its semi-latus rectum
        momentum = np.cross(position.T, velocity.T)
        semi_latus = (momentum**2).sum(axis=1) / (constants.G * MASS * u.Msun).to_value(u.au * KMS**2)
        assert semi_latus.max() == pytest.approx(RC, rel=1e-3)
        part = np.linalg.norm(position, axis=0) / semi_latus
        assert part.min() == pytest.approx(1, rel=1e-3)
        assert (part > 1 - 1e-9).all()

    def test_is_steady(self, samples):
        """As much gas passes every radius per time."""
        position, velocity, flux = samples
        r = np.linalg.norm(position, axis=0)
        v_r = -(position * velocity).sum(axis=0) / r
        shells = np.array([200, 400, 700, 1000, 1300])
        rates = np.histogram(r, shells, weights=flux * np.exp((2 * r / RADIUS) ** 2) * v_r)[0] / np.diff(shells)
        np.testing.assert_allclose(rates, rates.mean(), rtol=0.01)

    def test_is_flattened(self, samples):
        position, _, flux = samples
        rho2, z2 = (position[:2] ** 2).sum(axis=0), position[2] ** 2
        part = z2 / (rho2 + z2)
        # of sin^4: the mean square of z is 1/7 of r^2 at the start, a third in a sphere
        start = rho2 + z2 > (0.9 * RADIUS) ** 2
        assert np.average(part[start], weights=flux[start]) == pytest.approx(1 / 7, abs=0.003)
        assert np.average(part, weights=flux) < 1 / 7

    def test_is_of_the_streamers_orbits(self, samples):
        """A streamline of the package that starts like the envelope has its velocities at the same places."""
        params = TRUTH | {"r0": 2400 * u.au, "v_r0": 0 * KMS, "rc": 120 * u.au, "mass": 1.5 * u.Msun, "v_lsr": 0 * KMS}
        del params["omega"]
        path = streamline(params, distance=293, n_points=50)
        ra, dec, velocity, _ = seen(samples, -45, 194)
        r = np.linalg.norm(samples[0], axis=0)
        for k in (20, 30, 40):
            gap = np.hypot(ra - path.ra.value[k], dec - path.dec.value[k]) * 293 + np.abs(r - path.radius.value[k])
            candidates = np.argsort(gap)[:40]
            assert gap[candidates[0]] < 30
            # two places on the line of sight have this radius, before and behind the star
            difference = np.abs(velocity[candidates] - path.velocity.value[k]).min()
            assert difference < 0.1 * np.abs(path.velocity.value[k]) + 0.03


SHELLS = {"length": 1500.0, "opening": np.radians(35), "speed": 4.0}


class TestOutflow:
    @pytest.mark.parametrize(("inc", "pa"), AXES)
    def test_lobes(self, inc, pa):
        scene = only("outflow", inc=inc * u.deg, pa=pa * u.deg, shape=(40, 80, 80), pixel=0.3 * ARCSEC, channel=0.25 * KMS)
        ra, dec = offsets(scene.cube, scene.star_position)
        velocity = scene.cube.spectral_axis.to_value(KMS) - 7.5
        moment = np.tensordot(velocity, scene.model, axes=(0, 0))
        blue = np.arctan2(-(moment * ra).sum(), -(moment * dec).sum())
        expected = to_outflow(inc * u.deg, pa * u.deg)["pa_blue"].to_value(u.rad)
        # the field cuts the lobes unevenly, as its middle is not the star
        assert np.cos(blue - expected) > np.cos(np.radians(25))

    def test_velocity_goes_with_the_distance(self):
        position, velocity, _ = protostar.outflow(**SHELLS)
        np.testing.assert_allclose(velocity, position * 4.0 / 1500)

    def test_shape(self):
        position, _, flux = protostar.outflow(**SHELLS)
        rho, z = np.hypot(*position[:2]), np.abs(position[2])
        at = np.abs(z - 1500) < 20
        assert np.average(rho[at], weights=flux[at]) == pytest.approx(1500 * np.tan(np.radians(35)), rel=0.01)
        quarter = np.abs(z - 375) < 5
        assert np.average(rho[quarter]) == pytest.approx(750 * np.tan(np.radians(35)), rel=0.01)
        assert flux[position[2] > 0].sum() == pytest.approx(flux.sum() / 2, rel=1e-3)


NUMBERS = {"pixel": 0.2, "channel": 0.1, "line_width": 0.4, "width": 1.0}
GRID = 7 + 0.1 * np.arange(30), 0.2 * (np.arange(50) - 20), -0.2 * (np.arange(60) - 35)
BEAM = beam_covariance(Beam(1.6 * ARCSEC, 0.8 * ARCSEC, 35 * u.deg))


def point(ra, dec, velocity):
    """Emission of one point."""
    return samples_emission([np.array([value]) for value in (ra, dec, velocity, 1.0)], GRID, BEAM, NUMBERS)


class TestPainting:
    def test_a_point_is_a_beam_and_a_line(self):
        found = point(1.0, 0.6, 8.2)
        velocity, dec, ra = GRID
        offset = np.array(np.broadcast_arrays(ra[None, :] - 1.0, dec[:, None] - 0.6))
        image = np.exp(-np.einsum("iyx,ij,jyx->yx", offset, np.linalg.inv(BEAM), offset) / 2)
        line = np.exp(-(((velocity - 8.2) * FWHM / 0.4) ** 2) / 2)
        np.testing.assert_allclose(found / found.max(), line[:, None, None] * image, atol=1e-6)
        assert found.sum() == pytest.approx(1, abs=1e-6)

    def test_from_outside_the_field(self):
        velocity, dec, _ = GRID
        # the last column is 24 pixels to the west
        found = point(-0.2 * 24 - 0.4, 0, 8)
        assert found.max() == found[10, :, 59].max() > 0
        assert found[:, :, :30].max() < 1e-3 * found.max()
        assert point(0, 0, velocity[-1] + 0.2).argmax() // (50 * 60) == 29
        assert not point(0, dec[-1] + 30, 8).any()

    def test_agrees_with_the_streamer(self):
        """Both ways of painting put the same points into the same voxels."""
        path = streamline(TRUTH, distance=293, n_points=400)
        axes = 3 + 0.1 * np.arange(60), 0.2 * (np.arange(90) - 70), -0.2 * (np.arange(80) - 40)
        exact = streamer_emission(path, axes, BEAM, NUMBERS)
        fine = streamline(TRUTH, distance=293, n_points=20_000)
        length = np.hypot(np.gradient(fine.ra.value), np.gradient(fine.dec.value))
        # the width, and most of the line, by chance: a thread of the model lies between the centres of pixels and channels
        chance = np.random.default_rng(0).normal(0, 1 / FWHM, (3, 20, len(fine)))
        places = fine.ra.value + chance[0], fine.dec.value + chance[1], fine.velocity.value + 0.3 * chance[2]
        samples = [part.ravel() for part in np.broadcast_arrays(*places, length)]
        found = samples_emission(samples, axes, BEAM, NUMBERS | {"line_width": np.sqrt(0.4**2 - 0.3**2)})
        np.testing.assert_allclose(found / found.sum(), exact / exact.sum(), atol=0.02 * exact.max() / exact.sum())

    @pytest.mark.parametrize("n", [2, 3])
    def test_samples_fill_evenly(self, n):
        """Far more evenly than chance would."""
        numbers = protostar._evenly(n)
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts, _ = np.histogramdd(numbers.T, bins=10, range=[(0, 1)] * n)
        assert counts.std() < 0.5 * np.sqrt(counts.mean())


def _scene(**arguments):
    return lambda: make_scene(**{"shape": (8, 12, 12)} | arguments)


REFUSALS = {
    "unknown component": (
        _scene(brightness={"disc": 1}),
        ValueError,
        r"^'brightness' must name .*; got 'disc'\. Did you mean 'disk'",
    ),
    "negative brightness": (_scene(brightness={"disk": -1}), ValueError, r"^'brightness' must .*; got -1 for 'disk'"),
    "brightness of words": (_scene(brightness={"disk": "bright"}), ValueError, r"^'brightness' must .*; got 'bright' for 'disk'"),
    "brightness no dict": (_scene(brightness=2), TypeError, r"^'brightness' must be a dict of components; got 2"),
    "snr zero": (_scene(snr=0), ValueError, r"^'snr' must be positive; got 0"),
    "snr of words": (_scene(snr="high"), u.UnitsError, r"^'snr' must .*; got 'high'"),
    "rms zero": (_scene(rms=0 * u.K), ValueError, r"^'rms' must be positive; got 0"),
    "pixel zero": (_scene(pixel=0 * ARCSEC), ValueError, r"^'pixel' must be positive; got 0"),
    "width negative": (_scene(width=-1 * ARCSEC), ValueError, r"^'width' must not be negative; got -1"),
    "shape": (_scene(shape=(8, 12)), ValueError, r"^'shape' must .*; got \(8, 12\)"),
    "random shape": (_scene(params="random", shape=(8,)), ValueError, r"^'shape' must .*; got \(8,\)"),
    "disk radius": (_scene(disk_radius=-1 * u.au), ValueError, r"^'disk_radius' must be positive; got -1"),
    "disk radius in K": (_scene(disk_radius=1 * u.K), u.UnitsError, r"^'disk_radius' must .*AU; got .*1"),
    "small envelope": (_scene(envelope_radius=50 * u.au), ValueError, r"^'envelope_radius' must exceed .*; got 50 au of 117"),
    "opening": (_scene(outflow_opening=90 * u.deg), ValueError, r"^'outflow_opening' must lie .*; got 90"),
    "speed": (_scene(outflow_speed=0 * KMS), ValueError, r"^'outflow_speed' must be positive; got 0"),
    "inclination": (_scene(inc=100 * u.deg), ValueError, r"^'inc' must .*; got 100"),
    "no room": (_scene(params="random", pixel=0.1 * ARCSEC), ValueError, r"^'shape, pixel, channel, beam' must leave room"),
    "unknown keyword": (
        _scene(disc_radius=1 * u.au),
        TypeError,
        r"^'disc_radius' must be a keyword of make_scene; got 'disc_radius'\. Did",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    act, error, message = REFUSALS[case]
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
        act()
    assert FORM.match(str(caught.value))
