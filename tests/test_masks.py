"""Keplerian masks: against a deprojection of their own, and against the disks of synthetic scenes."""

import re
import tracemalloc

import numpy as np
import pytest
from astropy import constants
from astropy import units as u
from astropy.coordinates import SkyCoord
from radio_beam import Beam, Beams
from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter
from spectral_cube import SpectralCube, VaryingResolutionSpectralCube

from sting.conventions import to_disk
from sting.cubes import offsets
from sting.isolate import keplerian_mask
from sting.synthetic import make_scene

KMS = u.km / u.s
ARCSEC = u.arcsec
STAR = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")
DISK = {"mass": 1.5 * u.Msun, "inclination": 50 * u.deg, "position_angle": 110 * u.deg, "v_lsr": 8 * KMS, "radius": 600 * u.au}
DISTANCE = 150 * u.pc

#: The one form of every refusal.
FORM = re.compile(r"""^('[^']+'|"[^"]+") must .+; got .+[.?]$""", re.DOTALL)


def mask_of(cube, star=STAR, distance=DISTANCE, **changes):
    return keplerian_mask(cube, star, distance, **(DISK | changes))


@pytest.fixture
def empty(make_cube):
    """A cube of 60 channels about the systemic velocity, 3 to 12.8 km/s; a disk of 600 au is 20 pixels in radius."""

    def make(shape=(50, 61, 65), beam=None, **keywords):
        return make_cube(np.zeros(shape), **{"pixel": 0.2, "channel": 0.2, "v_first": 3.1, "beam": beam} | keywords)

    return make


def on_the_disk(cube, inclination=50, position_angle=110, mass=1.5, distance=150):
    """Radius (au) and velocity (km/s) at the centres of the pixels: rotate and stretch the sky, as the literature does."""
    ra, dec = offsets(cube, STAR)
    turned = (dec + 1j * ra) * np.exp(-1j * np.radians(position_angle))
    disk = (turned.real + 1j * turned.imag / np.cos(np.radians(inclination))) * distance
    r = np.abs(disk)
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = np.sqrt((constants.G * mass * u.Msun).to_value(u.au * KMS**2) / r)
        return r, 8 + speed * np.sin(np.radians(inclination)) * disk.real / r


class TestDisk:
    @pytest.mark.parametrize(
        ("inclination", "position_angle", "mass"), [(50, 110, 1.5), (20, 0, 0.4), (75, 300, 1.5), (120, 200, 1.0), (0, 30, 1)]
    )
    def test_every_pixel_of_the_disk(self, empty, inclination, position_angle, mass):
        cube = empty()
        mask = mask_of(
            cube,
            inclination=inclination * u.deg,
            position_angle=position_angle * u.deg,
            mass=mass * u.Msun,
            line_width=0.4 * KMS,
        )
        r, v = on_the_disk(cube, inclination, position_angle, mass)
        channels = cube.spectral_axis.to_value(KMS)[:, None, None]
        inside = (r > 60) & (r < 600 - 40)
        away = np.abs(channels - v)
        # within a line width and half a channel all of it is the disk's
        assert mask[(away < 0.49) & inside].all()
        # and nothing beyond the velocities that the pixel and its neighbours have
        low, high = minimum_filter(v, 3), maximum_filter(v, 3)
        beyond = (channels < low - 0.51) | (channels > high + 0.51)
        assert not mask[beyond & inside & (r > 200)].any()
        # a pixel is 30 au along the disk, and more across
        assert not mask[:, r > 600 + 45 / abs(np.cos(np.radians(inclination)))].any()

    def test_redshifted_end(self, empty):
        cube = empty()
        mask = mask_of(cube)
        ra, dec = offsets(cube, STAR)
        velocity = cube.spectral_axis.to_value(KMS)
        for angle in (110, 290):
            at = 3 * np.sin(np.radians(angle)), 3 * np.cos(np.radians(angle))
            pixel = np.unravel_index(np.hypot(ra - at[0], dec - at[1]).argmin(), ra.shape)
            speed = np.sqrt(constants.G * 1.5 * u.Msun / (450 * u.au)).to_value(KMS) * np.sin(np.radians(50))
            expected = 8 + (speed if angle == 110 else -speed)
            assert velocity[mask[:, *pixel]].mean() == pytest.approx(expected, abs=0.1)

    @pytest.mark.parametrize("inclination", [0, 40, 90])
    def test_which_side_is_nearer_does_not_matter(self, empty, inclination):
        one, other = (mask_of(empty(), inclination=value * u.deg) for value in (inclination, 180 - inclination))
        np.testing.assert_array_equal(one, other)

    def test_edge_on(self, empty):
        cube = empty()
        mask = mask_of(cube, inclination=90 * u.deg, position_angle=90 * u.deg)
        ra, dec = offsets(cube, STAR)
        velocity = cube.spectral_axis.to_value(KMS)
        assert not mask[:, np.abs(dec) > 0.1].any()
        assert mask[:, 30, 12:53].any(axis=0).all()
        # behind and before the tangent point the disk is slower
        at = np.abs(ra[30] - 2).argmin()
        fastest = np.sqrt(constants.G * 1.5 * u.Msun / (300 * u.au)).to_value(KMS)
        slowest = np.sqrt(constants.G * 1.5 * u.Msun / (600 * u.au)).to_value(KMS) / 2
        found = velocity[mask[:, 30, at]] - 8
        assert found.max() == pytest.approx(fastest + 0.6, abs=0.25)
        assert found.min() == pytest.approx(slowest - 0.6, abs=0.25)

    def test_inner_radius_is_the_fastest(self, empty):
        fast, slow = (mask_of(empty(), inner_radius=r * u.au) for r in (10, 200))
        limit = np.sqrt(constants.G * 1.5 * u.Msun / (200 * u.au)).to_value(KMS) * np.sin(np.radians(50)) + 0.6
        velocity = empty().spectral_axis.to_value(KMS) - 8
        assert not slow[np.abs(velocity) > limit + 0.01].any()
        assert fast[:, 30, 32].all()
        # each is sampled by rings of its own
        assert np.mean(slow & ~fast) < 1e-3

    def test_small_disk(self, empty):
        """One of a hundredth of a pixel is still found."""
        mask = mask_of(empty(), radius=0.3 * u.au, inner_radius=0.1 * u.au)
        assert set(zip(*np.nonzero(mask.any(axis=0)), strict=True)) == {(30, 32)}


class TestBeam:
    BEAM = Beam(1.6 * ARCSEC, 0.8 * ARCSEC, 35 * u.deg)

    def test_the_disk_grows_by_the_beam(self, empty):
        """A point becomes the ellipse of the beam's FWHM, the long axis along its position angle."""
        cube = empty(beam=self.BEAM)
        mask = mask_of(cube, radius=0.3 * u.au, inner_radius=0.1 * u.au).any(axis=0)
        ra, dec = offsets(cube, STAR)
        along = ra * np.sin(np.radians(35)) + dec * np.cos(np.radians(35))
        across = ra * np.cos(np.radians(35)) - dec * np.sin(np.radians(35))
        np.testing.assert_array_equal(mask, (along / 1.6) ** 2 + (across / 0.8) ** 2 <= 1)

    def test_is_the_union_over_the_beam(self, empty):
        """Against a dilation of each channel."""
        sharp, blurred = mask_of(empty()), mask_of(empty(beam=self.BEAM))
        y, x = np.mgrid[-8:9, -8:9]
        ra, dec = -0.2 * x, 0.2 * y
        along = ra * np.sin(np.radians(35)) + dec * np.cos(np.radians(35))
        across = ra * np.cos(np.radians(35)) - dec * np.sin(np.radians(35))
        ellipse = (along / 1.6) ** 2 + (across / 0.8) ** 2 <= 1
        expected = np.array([binary_dilation(plane, ellipse) for plane in sharp])
        # the star apart, whose neighbours have all velocities between those of its two sides
        assert np.mean(blurred != expected) < 1e-3
        assert not (expected & ~blurred).any()

    def test_reach(self, empty):
        masks = [mask_of(empty(beam=self.BEAM), reach=reach) for reach in (0.5, 1.0, 1.5)]
        assert masks[0].sum() < masks[1].sum() < masks[2].sum()
        assert not (masks[0] & ~masks[1]).any()
        assert not (masks[1] & ~masks[2]).any()

    @pytest.mark.filterwarnings("ignore:.*beam:Warning")
    def test_a_beam_for_each_channel(self, empty):
        cube = empty()
        n = cube.shape[0]
        beams = Beams([1.6] * n * ARCSEC, [0.8] * n * ARCSEC, [35] * n * u.deg)
        varying = VaryingResolutionSpectralCube(cube.filled_data[:], wcs=cube.wcs, beams=beams)
        np.testing.assert_array_equal(mask_of(varying), mask_of(empty(beam=self.BEAM)))


class TestCounter:
    def test_turns_the_other_way(self, empty):
        cube = empty(beam=TestBeam.BEAM)
        own, counter = mask_of(cube), mask_of(cube, counter=True)
        other = mask_of(cube, position_angle=290 * u.deg)
        assert not (counter & own).any()
        # the rings are sampled from the other end
        assert np.mean(counter != (other & ~own)) < 1e-3
        assert counter.sum() > 0.3 * own.sum()

    def test_nothing_of_a_disk_seen_face_on(self, empty):
        assert not mask_of(empty(), inclination=0 * u.deg, counter=True).any()

    @pytest.mark.parametrize("seed", [1, 2])
    def test_holds_none_of_the_disk(self, seed):
        scene = make_scene("random", seed=seed, channel=0.2 * KMS, disk_radius=600 * u.au)
        counter = keplerian_mask(scene.cube, scene.star_position, scene.distance, **scene.disk, counter=True)
        disk = scene.components["disk"]
        assert counter.sum() > 1000
        assert disk[counter].sum() < 0.01 * disk.sum()


class TestScenes:
    @pytest.mark.parametrize(
        "axis",
        [
            {},
            {"inc": 0 * u.deg, "pa": 30 * u.deg},
            {"inc": 80 * u.deg},
            {"inc": 30 * u.deg, "pa": 75 * u.deg, "disk_radius": 900 * u.au},
        ],
        ids=["default", "edge-on", "face-on", "large"],
    )
    def test_holds_the_disk(self, axis):
        scene = make_scene(**axis)
        disk = scene.components["disk"]
        mask = keplerian_mask(scene.cube, scene.star_position, scene.distance, **scene.disk)
        assert disk[mask].sum() > 0.95 * disk.sum()
        # the fewest voxels that hold as much are not many less
        fewest = np.searchsorted(np.cumsum(np.sort(disk.ravel())[::-1]), disk[mask].sum())
        assert mask.sum() < 2 * fewest
        assert mask.mean() < 0.05

    def test_needs_the_right_side(self):
        """The disk of the axis that is turned by half a circle is another one."""
        scene = make_scene(disk_radius=900 * u.au)
        other = to_disk(scene.truth["inc"], scene.truth["pa"] + 180 * u.deg)
        wrong = scene.disk | {"position_angle": other["pa_redshifted"]}
        mask = keplerian_mask(scene.cube, scene.star_position, scene.distance, **wrong)
        assert scene.components["disk"][mask].sum() < 0.6 * scene.components["disk"].sum()

    def test_takes_the_disk_out_of_a_cube(self):
        scene = make_scene(seed=2)
        mask = keplerian_mask(scene.cube, scene.star_position, scene.distance, **scene.disk)
        assert mask.dtype == bool
        without = scene.cube.with_mask(~mask)
        assert np.isnan(without.filled_data[:][mask]).all()
        assert np.isfinite(without.filled_data[:][~mask]).all()


class TestCubes:
    @pytest.mark.parametrize("view", [(slice(5, 20), slice(33, 55), slice(3, 60)), (slice(None), slice(None), slice(36, 64))])
    def test_part_of_a_cube(self, empty, view):
        """A star on the edge of the field, or outside: what the beam brings in from outside belongs to the disk as well."""
        cube = empty(beam=TestBeam.BEAM)
        np.testing.assert_array_equal(mask_of(cube[view]), mask_of(cube)[view])

    def test_a_frequency_axis(self, empty):
        np.testing.assert_array_equal(mask_of(empty(axis="frequency")), mask_of(empty()))

    def test_falling_velocities(self, empty):
        falling = empty(v_first=3.1 + 49 * 0.2, channel=-0.2)
        np.testing.assert_array_equal(mask_of(falling), mask_of(empty())[::-1])

    def test_a_file(self, empty, tmp_path):
        cube = empty(beam=TestBeam.BEAM)
        cube.write(tmp_path / "cube.fits")
        np.testing.assert_array_equal(mask_of(tmp_path / "cube.fits"), mask_of(cube))

    def test_another_frame(self, empty):
        """Position angles count from the north of ICRS in a cube of Galactic coordinates."""
        centre = STAR.galactic
        cube = empty(frame="galactic", centre=(centre.l.deg, centre.b.deg), shape=(50, 75, 75))
        r, v = on_the_disk(cube)
        channels = cube.spectral_axis.to_value(KMS)[:, None, None]
        inside = (r > 60) & (r < 560)
        mask = mask_of(cube)
        assert mask[(np.abs(channels - v) < 0.55) & inside].all()
        assert not mask[:, r > 700].any()

    def test_one_channel(self, empty):
        mask = mask_of(empty(shape=(1, 61, 65), v_first=8.0))
        assert 0 < mask.mean() < 0.2

    def test_other_units(self, empty):
        other = mask_of(
            empty(),
            distance=0.15 * u.kpc,
            mass=1.5 * u.Msun.to(u.kg) * u.kg,
            inclination=np.radians(50) * u.rad,
            radius=(600 * u.au).to(u.pc),
            v_lsr=8000 * u.m / u.s,
            line_width=500 * u.m / u.s,
        )
        assert np.mean(other != mask_of(empty())) < 1e-4
        np.testing.assert_array_equal(mask_of(empty(), distance=150), mask_of(empty()))

    def test_memory(self, empty):
        """Little more than the mask itself."""
        small = empty()
        values = np.broadcast_to(np.float32(0), (400, 300, 300))
        cube = _large(small, values)
        tracemalloc.start()
        mask = mask_of(cube)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert mask.any()
        assert peak < mask.nbytes + 10e6


def _large(cube, values):
    """A cube of the world coordinates of another, whose values take no memory."""
    return SpectralCube(u.Quantity(values, u.K, copy=False), wcs=cube.wcs, beam=TestBeam.BEAM)


REFUSALS = {
    "mass": ({"mass": 0 * u.Msun}, ValueError, r"^'mass' must be positive; got 0"),
    "mass in K": ({"mass": 1 * u.K}, u.UnitsError, r"^'mass' must .*solMass; got .*1"),
    "a bare angle": ({"inclination": 50}, u.UnitsError, r"^'inclination' must be a Quantity convertible to deg; got 50"),
    "inclination": ({"inclination": -20 * u.deg}, ValueError, r"^'inclination' must lie between 0 and 180 deg; got -20"),
    "position angle": ({"position_angle": np.nan * u.deg}, ValueError, r"^'position_angle' must .*; got nan"),
    "radius": ({"radius": -1 * u.au}, ValueError, r"^'radius' must be positive; got -1"),
    "radius in pc": (
        {"radius": 600 * u.pc},
        ValueError,
        r"^'radius' must be at most 2000 .*; got 1\.23.*e\+08 au, 4",
    ),
    "inner radius": ({"inner_radius": 700 * u.au}, ValueError, r"^'inner_radius' must be smaller .*; got 700 au of 600 au"),
    "line width": ({"line_width": 0 * KMS}, ValueError, r"^'line_width' must be positive; got 0"),
    "reach": ({"reach": -1}, ValueError, r"^'reach' must be a positive number; got -1"),
    "distance": ({"distance": 0}, ValueError, r"^'distance' must be positive"),
    "v_lsr": (
        {"v_lsr": 80 * KMS, "inner_radius": 100 * u.au},
        ValueError,
        r"^'v_lsr' must put .*; got 7\d.* to 8\d.* km/s; the",
    ),
    "star": ({"star": SkyCoord(52.3, 31.2, unit="deg")}, ValueError, r"^'star_position' must .*; got pixel .* of 65 x 61, with"),
    "star behind": ({"star": SkyCoord(232.3, -31.2, unit="deg")}, ValueError, r"^'star_position' must lie in the field"),
    "star of words": ({"star": "here"}, TypeError, r"^'star_position' must be one SkyCoord; got 'here'"),
    "unknown keyword": ({"inclinaton": 1}, TypeError, r"^'inclinaton' must be a keyword of keplerian_mask.* 'inclination'"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(empty, case):
    changes, error, message = REFUSALS[case]
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
        mask_of(empty(), **changes)
    assert FORM.match(str(caught.value))


def test_refuses_what_is_no_cube():
    with pytest.raises(TypeError, match=r"^'cube' must be a SpectralCube or a path; got ndarray"):
        mask_of(np.zeros((3, 3, 3)))
