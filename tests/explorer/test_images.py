"""Channels, spectra, moments and coordinates of a cube, against numpy and astropy."""

import re
from unittest import mock

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from radio_beam import Beam
from spectral_cube import SpectralCube

from sting.cubes import to_velocity
from sting.explorer.images import CubeImages
from sting.explorer.state import ExplorerState

KMS = u.km / u.s
STAR = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")


@pytest.fixture(scope="module")
def values():
    """Noise of 0.5 with a bright source, some blank voxels, and zeros."""
    rng = np.random.default_rng(5)
    values = 0.5 * rng.standard_normal((8, 17, 15))
    values[2:6, 5:9, 4:8] += 7 + np.arange(4)[:, None, None]
    values[3, 6, 5] = np.nan
    values[:, 0, 0] = np.nan
    values[:, 16, 14] = 0
    return values


@pytest.fixture(scope="module")
def images(make_cube, values):
    return CubeImages(to_velocity(make_cube(values)), STAR)


class TestValues:
    def test_channel(self, images, values):
        for i in (0, 3, 3, 7, 0, np.int64(5)):
            np.testing.assert_array_equal(images.channel(i), values[i])
        assert images.channel(3).dtype.isnative

    def test_channel_of_a_file(self, make_cube, values, tmp_path):
        # FITS is big-endian
        make_cube(values).write(tmp_path / "cube.fits")
        images = CubeImages(to_velocity(SpectralCube.read(tmp_path / "cube.fits")), STAR)
        np.testing.assert_array_equal(images.channel(3), values[3])
        assert images.channel(3).dtype.isnative

    def test_the_channel_that_was_asked_for(self, make_cube, values):
        class Crossed(CubeImages):
            """Another thread asks for channel 5 while channel 1 is being kept."""

            @property
            def _last(self):
                return self.kept

            @_last.setter
            def _last(self, kept):
                self.kept = kept
                if kept[0] == 1:
                    self.channel(5)

        np.testing.assert_array_equal(Crossed(to_velocity(make_cube(values)), STAR).channel(1), values[1])

    def test_spectrum(self, images, values):
        for x, y in ((0, 0), (5, 6), (14, 16)):
            np.testing.assert_array_equal(images.spectrum(x, y), values[:, y, x])

    def test_velocity(self, images):
        np.testing.assert_allclose(images.velocity, 5 + 0.1 * np.arange(8))
        assert images.shape == (8, 17, 15)
        assert images.unit == "K"
        assert images.channel_width == pytest.approx(0.1)

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [
            (None, None, range(8)),
            (5.25, None, range(3, 8)),
            (None, 5.25, range(3)),
            (5.2, 5.4, (2, 3, 4)),
            (5.21, 5.29, ()),
            (6, None, ()),
        ],
    )
    def test_channels(self, make_cube, values, descending, low, high, expected):
        cube = make_cube(values[::-1], v_first=5.7, channel=-0.1) if descending else make_cube(values)
        images = CubeImages(to_velocity(cube), STAR)
        found = images.channels(low, high)
        assert sorted(7 - i if descending else i for i in found) == list(expected)

    @pytest.mark.parametrize(("low", "high"), [(None, None), (5.15, 5.55)])
    def test_moments(self, images, values, low, high):
        chosen = slice(None) if low is None else slice(2, 6)
        part, velocity = values[chosen], (5 + 0.1 * np.arange(8))[chosen]
        integrated, mean_velocity = images.moments(low, high)
        expected = 0.1 * np.nansum(part, axis=0)
        nothing = np.zeros(expected.shape, bool)
        nothing[0, 0] = nothing[16, 14] = True
        np.testing.assert_array_equal(np.isnan(integrated), nothing)
        np.testing.assert_allclose(integrated[~nothing], expected[~nothing], atol=1e-12)
        bright = np.where(part > 3 * images.noise, part, 0)
        seen = bright.sum(axis=0) > 0
        assert 16 <= seen.sum() < 60
        np.testing.assert_array_equal(np.isfinite(mean_velocity), seen)
        mean = np.einsum("kij,k->ij", bright, velocity)[seen] / bright.sum(axis=0)[seen]
        np.testing.assert_allclose(mean_velocity[seen], mean)

    def test_moments_of_no_channel(self, images):
        assert all(np.isnan(moment).all() for moment in images.moments(5.21, 5.29))


class TestScale:
    def test_noise_and_limits(self, images, values):
        known = values[np.isfinite(values) & (values != 0)]
        noise = 1.4826 * np.median(np.abs(known - np.median(known)))
        assert images.noise == pytest.approx(noise)
        low, high = images.limits
        assert -3 * noise < low < 0
        # nearly all of it is seen, but the very brightest may be cut off
        assert np.percentile(known, 99.8) < high <= known.max()

    def test_zeros_say_nothing(self, make_cube, values, images):
        padded = np.concatenate([values, np.zeros_like(values), np.zeros_like(values)])
        assert CubeImages(to_velocity(make_cube(padded)), STAR).noise == images.noise

    def test_pure_noise_is_not_stretched(self, make_cube):
        cube = make_cube(np.random.default_rng(0).standard_normal((4, 5, 5)))
        low, high = CubeImages(to_velocity(cube), STAR).limits
        assert low < 0 < high
        assert high >= 3 * CubeImages(to_velocity(cube), STAR).noise

    def test_a_large_cube_is_sampled(self, make_cube, monkeypatch):
        cube = to_velocity(make_cube(2 + 0.5 * np.random.default_rng(0).standard_normal((20, 40, 40))))
        whole = CubeImages(cube, STAR)
        monkeypatch.setattr("sting.explorer.images.SAMPLE", 600)
        with mock.patch.object(CubeImages, "channel", autospec=True, side_effect=CubeImages.channel) as channel:
            sampled = CubeImages(cube, STAR)
        assert channel.call_count < 10
        assert sampled.noise == pytest.approx(whole.noise, rel=0.2)
        assert sampled.noise != whole.noise
        np.testing.assert_allclose(sampled.limits, whole.limits, atol=1)

    def test_positive_emission_begins_at_zero_or_below(self, make_cube):
        low, high = CubeImages(to_velocity(make_cube(np.full((2, 3, 4), 5.0))), STAR).limits
        assert low <= 0
        assert high == 5


class TestBlank:
    def test_a_blank_channel(self, make_cube, values):
        values = values.copy()
        values[4] = np.nan
        images = CubeImages(to_velocity(make_cube(values)), STAR)
        assert np.isnan(images.channel(4)).all()
        assert np.isfinite(images.noise)
        np.testing.assert_allclose(images.moments()[0][1:16], 0.1 * np.nansum(values, axis=0)[1:16], atol=1e-12)
        assert ExplorerState(make_cube(values), STAR, 140).display.channel != 4

    def test_a_blank_cube(self, make_cube):
        cube = make_cube(np.full((3, 5, 6), np.nan))
        images = CubeImages(to_velocity(cube), STAR)
        assert images.noise > 0
        assert images.limits[0] < images.limits[1]
        assert all(np.isnan(moment).all() for moment in images.moments())
        state = ExplorerState(cube, STAR, 140)
        with pytest.raises(ValueError, match=r"^'cube' must hold finite values"):
            state.set_cut(rms_thresh=3)
        assert state.streamer is None

    def test_a_single_channel(self, make_cube, values):
        images = CubeImages(to_velocity(make_cube(values[3:4], v_first=5.3)), STAR)
        assert images.channel_width == 0.1
        np.testing.assert_array_equal(images.channels(5.25, 5.35), [0])
        np.testing.assert_allclose(images.moments()[0][1:16], 0.1 * values[3, 1:16])
        assert images.spectrum(5, 7) == values[3, 7, 5]
        state = ExplorerState(make_cube(values[3:4], v_first=5.3), STAR, 140, rms_thresh=5, n_elements=2)
        assert state.display.channel == 0
        np.testing.assert_allclose(state.streamer.v_data, 5.3)

    @pytest.mark.parametrize("shape", [(3, 1, 6), (3, 5, 1), (3, 1, 1)])
    def test_a_single_row_or_column(self, make_cube, shape):
        images = CubeImages(to_velocity(make_cube(np.ones(shape))), STAR)
        assert images.pixel_at(0, 0) == (shape[2] // 2, shape[1] // 2)


def turned_cube(make_cube, values, angle):
    """A cube whose north is not up and whose pixels are not square."""
    plain = make_cube(values)
    wcs = WCS(plain.wcs.to_header())
    wcs.wcs.cdelt = wcs.wcs.cdelt * [1, 0.6, 1]
    c, s = np.cos(angle), np.sin(angle)
    wcs.wcs.pc = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
    return SpectralCube(values * u.K, wcs=wcs)


CUBES = {
    "fk5": (lambda make, values: make(values), STAR),
    "another pixel": (lambda make, values: make(values, pixel=0.05), STAR),
    "icrs": (lambda make, values: make(values, frame="icrs", centre=(STAR.icrs.ra.deg, STAR.icrs.dec.deg)), STAR),
    "galactic": (
        lambda make, values: make(values, frame="galactic", centre=(STAR.galactic.l.deg, STAR.galactic.b.deg)),
        STAR,
    ),
    "turned": (lambda make, values: turned_cube(make, values, 0.5), STAR),
    "far north": (
        lambda make, values: make(values, centre=(52.23, 85.0)),
        SkyCoord(52.23, 85.0004, unit="deg", frame="fk5"),
    ),
    "across 0 h": (lambda make, values: make(values, centre=(0.0, 10.0)), SkyCoord(359.9996, 10.0, unit="deg", frame="fk5")),
}


class TestCoordinates:
    @pytest.fixture(params=CUBES)
    def field(self, request, make_cube):
        make, star = CUBES[request.param]
        cube = to_velocity(make(make_cube, np.ones((1, 41, 61))))
        return cube, star, CubeImages(cube, star)

    def test_offsets_are_those_of_astropy(self, field):
        cube, star, images = field
        y, x = np.indices(cube.shape[1:])
        sky = cube.wcs.celestial.pixel_to_world(x, y)
        if not isinstance(sky, SkyCoord):
            sky = SkyCoord(sky)
        if sky.frame.name == "galactic":
            sky = sky.icrs
        east, north = star.transform_to(sky.frame).spherical_offsets_to(sky)
        ra, dec = images.to_offset(x, y)
        pixel = np.sqrt(abs(np.linalg.det(images.matrix)))
        np.testing.assert_allclose(ra, east.to_value(u.arcsec).ravel(), atol=0.02 * pixel)
        np.testing.assert_allclose(dec, north.to_value(u.arcsec).ravel(), atol=0.02 * pixel)
        # and they are not all the same
        assert np.ptp(ra) > 20 * pixel

    def test_to_pixel_is_the_way_back(self, field):
        *_, images = field
        x, y = np.array([0.0, 12.3, 60, -7]), np.array([0.0, 33.3, 40, 55])
        found = images.to_pixel(*images.to_offset(x, y))
        np.testing.assert_allclose(found, [x, y], atol=1e-8)
        # a single place, too
        np.testing.assert_allclose(images.to_pixel(*images.to_offset(3, 4)).ravel(), [3, 4], atol=1e-8)

    def test_pixel_at(self, field):
        *_, images = field

        def at(x, y):
            ra, dec = images.to_offset(x, y)
            return images.pixel_at(ra[0], dec[0])

        assert at(7, 9) == (7, 9)
        assert at(7.4, 8.6) == (7, 9)
        assert at(-0.4, 40.4) == (0, 40)
        for x, y in ((-0.6, 5), (60.6, 5), (5, -0.6), (5, 40.6), (500, 5)):
            assert at(x, y) is None
        assert all(type(value) is int for value in at(7, 9))

    def test_the_star_is_at_the_origin(self, field):
        cube, star, images = field
        x, y = cube.wcs.celestial.world_to_pixel(star.transform_to(cube.wcs.celestial.pixel_to_world(0, 0).frame))
        np.testing.assert_allclose(images.to_pixel(0, 0).ravel(), [x, y], atol=0.02)

    def test_describe(self, field):
        cube, _, images = field
        x, y = 20, 30
        ra, dec = (float(value[0]) for value in images.to_offset(x, y))
        text = images.describe(ra, dec, 1.23456)
        assert text.startswith(f"{images.describe(ra, dec)} ")
        assert re.search(r" 1\.23\d* K$", text)
        assert f"{ra:.2f}" in text
        assert f"{dec:.2f}" in text
        expected = cube.wcs.celestial.pixel_to_world(x, y)
        place = " ".join(text.split()[:2])
        if expected.frame.name == "galactic":
            assert text.split()[2] == "galactic"
            found = SkyCoord(place, unit="deg", frame="galactic")
        else:
            found = SkyCoord(place, frame=expected.frame.name)
        assert found.separation(expected).arcsec < 0.3

    def test_beam(self, make_cube):
        beam = Beam(1.2 * u.arcsec, 0.9 * u.arcsec, 22 * u.deg)
        assert CubeImages(to_velocity(make_cube(np.ones((1, 3, 4)), beam=beam)), STAR).beam == pytest.approx((1.2, 0.9, 22))
        assert CubeImages(to_velocity(make_cube(np.ones((1, 3, 4)))), STAR).beam is None
