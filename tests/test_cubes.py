"""What the package asks of a cube: offsets, velocity axis, and what it refuses."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from radio_beam import Beam
from spectral_cube import SpectralCube

from sting.cubes import beam_of, cell_of, offsets, open_cube, quantity, sky_position, to_velocity

KMS = u.km / u.s
STAR = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")


class TestOffsets:
    def test_of_some_pixels(self, make_cube):
        cube = make_cube(np.ones((2, 7, 9)))
        whole = np.array(offsets(cube, STAR))
        assert whole.shape == (2, 7, 9)
        x, y = np.array([0, 8, 3]), np.array([6, 0, 2])
        np.testing.assert_array_equal(offsets(cube, STAR, (x, y)), whole[:, y, x])

    def test_of_places_between_pixels(self, make_cube):
        cube = make_cube(np.ones((2, 7, 9)))
        east, north = offsets(cube, STAR, (np.array([2.5]), np.array([4.25])))
        around = np.array(offsets(cube, STAR))
        assert east[0] == pytest.approx(around[0, 4, 2:4].mean(), abs=1e-6)
        assert north[0] == pytest.approx(0.75 * around[1, 4, 2] + 0.25 * around[1, 5, 2], abs=1e-6)

    def test_of_one_pixel(self, make_cube):
        east, north = offsets(make_cube(np.ones((2, 7, 9))), STAR, (4, 3))
        # the middle pixel is the reference position of the cube, at which the star stands
        assert np.shape(east) == ()
        np.testing.assert_allclose([east, north], 0, atol=1e-6)

    def test_east_is_to_the_left(self, make_cube):
        east, north = offsets(make_cube(np.ones((2, 7, 9)), pixel=0.5), STAR, (np.array([3, 4]), np.array([3, 4])))
        np.testing.assert_allclose(east, [0.5, 0], atol=1e-6)
        np.testing.assert_allclose(north, [0, 0.5], atol=1e-6)

    def test_from_the_reference_position(self, make_cube):
        cube = make_cube(np.ones((2, 7, 9)))
        np.testing.assert_allclose(offsets(cube, None), offsets(cube, STAR), atol=1e-6)

    @pytest.mark.parametrize("frame", ["icrs", "fk4", "galactic"])
    def test_from_a_star_in_any_frame(self, make_cube, frame):
        cube = make_cube(np.ones((2, 7, 9)))
        np.testing.assert_allclose(offsets(cube, STAR.transform_to(frame)), offsets(cube, STAR), atol=1e-4)

    def test_are_equatorial_whatever_the_frame_of_the_cube(self, make_cube):
        galactic = STAR.galactic
        cube = make_cube(np.ones((2, 7, 9)), frame="galactic", centre=(galactic.l.deg, galactic.b.deg))
        east, north = offsets(cube, STAR, (np.array([3, 4]), np.array([3, 4])))
        # half an arcsec along l, and along b
        north_galactic = galactic.directional_offset_by(0 * u.deg, 1 * u.arcsec)
        turn = STAR.icrs.position_angle(north_galactic.icrs).rad
        np.testing.assert_allclose(east, [0.5 * np.cos(turn), 0.5 * np.sin(turn)], atol=1e-6)
        np.testing.assert_allclose(north, [-0.5 * np.sin(turn), 0.5 * np.cos(turn)], atol=1e-6)

    @pytest.mark.parametrize("dec", [-80, -30, 0, 60, 80])
    def test_far_from_the_reference_pixel(self, make_cube, dec):
        """To 1 mas, for a star 1 deg away, against the definition of an offset: the star's own rotated frame."""
        star = SkyCoord(100 * u.deg, dec * u.deg, frame="fk5")
        middle = star.directional_offset_by(37 * u.deg, 1 * u.deg)
        cube = make_cube(np.ones((1, 41, 51)), centre=(middle.ra.deg, middle.dec.deg), pixel=2.0)
        east, north = offsets(cube, star)
        y, x = np.indices(cube.shape[1:])
        sky = cube.wcs.celestial.pixel_to_world(x, y)
        ra, dec_, ra0, dec0 = sky.ra.rad, sky.dec.rad, star.ra.rad, star.dec.rad
        # longitude and latitude about the star, from spherical trigonometry
        along = np.cos(dec_) * np.cos(ra - ra0) * np.cos(dec0) + np.sin(dec_) * np.sin(dec0)
        across = np.cos(dec_) * np.sin(ra - ra0)
        up = np.sin(dec_) * np.cos(dec0) - np.cos(dec_) * np.cos(ra - ra0) * np.sin(dec0)
        arcsec = 180 * 3600 / np.pi
        np.testing.assert_allclose(east, arcsec * np.arctan2(across, along), rtol=0, atol=1e-3)
        np.testing.assert_allclose(north, arcsec * np.arctan2(up, np.hypot(along, across)), rtol=0, atol=1e-3)

    @pytest.mark.parametrize("frame", ["fk5", "icrs", "galactic"])
    @pytest.mark.parametrize(
        "extra",
        [
            {"equinox": "J2000"},
            {"obstime": "J2015.5"},
            {"obstime": "J2016", "pm_ra_cosdec": 5 * u.mas / u.yr, "pm_dec": -9 * u.mas / u.yr},
            {"obstime": "J2016", "distance": 300 * u.pc},
        ],
        ids=lambda extra: ", ".join(extra),
    )
    def test_from_a_position_of_a_catalogue(self, make_cube, frame, extra):
        """Its epoch, motion and distance do not matter; astropy would refuse them."""
        cube = make_cube(np.ones((1, 4, 5)), frame=frame)
        place = SkyCoord(52.2315, 31.2436, unit="deg", frame="icrs")
        with_extra = SkyCoord(place.ra, place.dec, frame="icrs", **extra)
        np.testing.assert_allclose(offsets(cube, with_extra), offsets(cube, place), rtol=0, atol=1e-6)
        np.testing.assert_allclose(offsets(cube, with_extra.transform_to("fk5")), offsets(cube, place), rtol=0, atol=1e-6)

    def test_from_something_else(self, make_cube):
        with pytest.raises(TypeError, match=r"^'center' must be one SkyCoord"):
            offsets(make_cube(np.ones((2, 7, 9))), (52, 31))


class TestCell:
    def test_pixel_and_channel(self, make_cube):
        assert cell_of(to_velocity(make_cube(np.ones((3, 4, 5)), pixel=0.3, channel=-0.2))) == pytest.approx((0.3, 0.2))

    def test_a_single_channel(self, make_cube):
        assert cell_of(to_velocity(make_cube(np.ones((1, 4, 5)), channel=0.7)))[1] == 0.1

    def test_beam(self, make_cube):
        beam = Beam(1.2 * u.arcsec, 0.9 * u.arcsec, 22 * u.deg)
        assert beam_of(make_cube(np.ones((3, 4, 5)), beam=beam)) == beam
        assert beam_of(make_cube(np.ones((3, 4, 5)))) is None
        assert beam_of(make_cube(np.ones((3, 4, 5)), beam=Beam(0 * u.arcsec))) is None


class TestVelocity:
    def test_a_cube_in_km_per_s_is_left_alone(self, make_cube):
        cube = make_cube(np.ones((3, 4, 5))).with_spectral_unit(KMS)
        assert to_velocity(cube) is cube

    @pytest.mark.parametrize("axis", ["velocity", "frequency"])
    def test_the_axis(self, make_cube, axis):
        cube = to_velocity(make_cube(np.ones((3, 4, 5)), axis=axis))
        assert cube.spectral_axis.unit == KMS
        np.testing.assert_allclose(cube.spectral_axis.value, [5.0, 5.1, 5.2], atol=1e-6)

    def test_no_rest_frequency(self, make_cube):
        with pytest.raises(ValueError, match=r"^'cube' must have a rest frequency, its spectral axis being in Hz"):
            to_velocity(make_cube(np.ones((3, 4, 5)), axis="frequency", rest_frequency=None))


class TestOpen:
    def test_a_file(self, make_cube, tmp_path):
        values = np.arange(60.0).reshape(3, 4, 5)
        make_cube(values).write(tmp_path / "cube.fits")
        for path in (tmp_path / "cube.fits", str(tmp_path / "cube.fits")):
            cube = open_cube(path)
            assert isinstance(cube, SpectralCube)
            np.testing.assert_array_equal(cube.filled_data[:].value, values)

    def test_a_cube(self, make_cube):
        cube = make_cube(np.ones((3, 4, 5)))
        assert open_cube(cube) is cube

    @pytest.mark.parametrize(
        ("cube", "error"),
        [("no/such.fits", FileNotFoundError), (".", FileNotFoundError), (None, TypeError), (np.ones(3), TypeError)],
    )
    def test_something_else(self, cube, error):
        with pytest.raises(error, match=r"^'cube' must be a"):
            open_cube(cube)


class TestChecks:
    @pytest.mark.parametrize("value", [5 * KMS, 5000 * u.m / u.s, "5 km/s"])
    def test_quantity(self, value):
        assert quantity("vmin", value, KMS).to_value(KMS) == pytest.approx(5)
        assert quantity("vmin", value, KMS).unit == KMS

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (5, u.UnitsError),
            (5 * u.K, u.UnitsError),
            ("fast", u.UnitsError),
            (None, u.UnitsError),
            ([1, 2] * KMS, ValueError),
            (np.nan * KMS, ValueError),
            (np.inf * KMS, ValueError),
        ],
    )
    def test_no_quantity(self, value, error):
        with pytest.raises(error, match=r"^'vmin' must be (a Quantity convertible to km / s|one finite number); got "):
            quantity("vmin", value, KMS)

    def test_position(self):
        assert sky_position("star_position", STAR) is STAR
        for value in ((52.2, 31.2), "3h28m55s +31d14m37s", None, SkyCoord([1, 2], [3, 4], unit="deg")):
            with pytest.raises(TypeError, match=r"^'star_position' must be one SkyCoord; got "):
                sky_position("star_position", value)
