"""Synthetic observations must be what they claim: they are the truth of other tests."""

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.convolution import convolve_fft
from astropy.coordinates import SkyCoord
from radio_beam import Beam

from sting import synthetic
from sting.extract_streamline import Streamer, reduce_to_1D
from sting.parameters import check_parameters
from sting.stream_lines_grad import streamline
from sting.synthetic import TRUTH, make_streamer_cube, make_streamer_points

KMS = u.km / u.s
ARCSEC = u.arcsec
FWHM = np.sqrt(8 * np.log(2))
SMALL = (40, 64, 64)

#: The one form of every refusal.
FORM = re.compile(r"""^('[^']+'|"[^"]+") must .+; got .+[.?]$""", re.DOTALL)

#: Falls straight to the west without any velocity along the line of sight.
STRAIGHT = {
    "r0": 2800 * u.au,
    "theta0": 90 * u.deg,
    "phi0": 0 * u.deg,
    "v_r0": 0.3 * KMS,
    "mu": 1e-10,
    "mass": 4.0 * u.Msun,
    "inc": 0 * u.deg,
    "pa": 0 * u.deg,
    "rmin": 300 * u.au,
    "v_lsr": 7.5 * KMS,
}


def curve_of(params, n_points=4000):
    """The streamline (3, n) in arcsec and km/s and the projected length along it from 0 to 1."""
    path = streamline(params, distance=293, n_points=n_points)
    curve = np.array([path.ra.value, path.dec.value, path.velocity.value])
    length = np.append(0, np.cumsum(np.hypot(*np.diff(curve[:2], axis=1))))
    return curve, length / length[-1]


def mean_of(curve, length, part=slice(None)):
    """Mean of a curve by projected length."""
    return np.average(curve[:, part], axis=1, weights=np.gradient(length)[part])


@pytest.fixture(scope="module")
def noise(scene):
    return scene.cube.filled_data[:].value - scene.model


class TestCube:
    def test_header(self, scene):
        cube = scene.cube
        assert cube.shape == scene.model.shape == SMALL
        assert cube.unit == u.K
        assert np.diff(cube.spectral_axis.to_value(KMS)) == pytest.approx(0.1)
        assert cube.wcs.wcs.restfrq == pytest.approx(231.410234e9)
        assert cube.beam.major.to_value(ARCSEC) == pytest.approx(1.2)
        assert cube.beam.minor.to_value(ARCSEC) == pytest.approx(1.0)
        assert cube.beam.pa.to_value(u.deg) == pytest.approx(22)
        assert np.abs(cube.wcs.celestial.pixel_scale_matrix) == pytest.approx(np.eye(2) * 0.2 / 3600)

    def test_truth(self, scene):
        assert scene.truth == TRUTH
        assert scene.truth is not TRUTH
        check_parameters({}, scene.truth)
        assert scene.distance == 293 * u.pc
        assert scene.rms == 0.03 * u.K
        assert scene.star_position.separation(SkyCoord("3h28m55.569s", "+31d14m37.025s", frame="fk5")) < 1e-6 * ARCSEC

    def test_the_star_is_on_a_pixel(self, scene):
        x, y = scene.cube.wcs.celestial.world_to_pixel(scene.star_position)
        assert abs(x - round(float(x))) < 1e-6
        assert abs(y - round(float(y))) < 1e-6
        offsets = reduce_to_1D(scene.cube + 1 * u.K, scene.star_position, 2).pc_coords[:2]
        assert np.hypot(*offsets).min() < 1e-6

    def test_star_and_streamer_are_in_the_middle(self, scene):
        curve, _ = curve_of(TRUTH)
        offsets = reduce_to_1D(scene.cube + 1 * u.K, scene.star_position, 2).pc_coords[:3]
        for axis in (0, 1):
            low, high = min(curve[axis].min(), 0), max(curve[axis].max(), 0)
            margins = low - offsets[axis].min(), offsets[axis].max() - high
            assert min(margins) > 0
            assert margins[0] == pytest.approx(margins[1], abs=0.21)
        assert offsets[2].mean() == pytest.approx((curve[2].min() + curve[2].max()) / 2, abs=1e-9)

    def test_does_not_change_the_parameters(self):
        given = dict(TRUTH)
        make_streamer_cube(given, shape=(8, 12, 12))
        assert given == TRUTH


class TestNoise:
    def test_rms(self, noise):
        assert noise.std() == pytest.approx(0.03, rel=0.03)
        assert abs(noise.mean()) < 0.03 * 0.05

    def test_is_normal(self, noise):
        inside = np.mean(np.abs(noise) < 0.03)
        assert inside == pytest.approx(0.6827, abs=0.01)

    def test_rms_of_choice(self):
        scene = make_streamer_cube(seed=5, shape=(20, 64, 64), rms=200 * u.mK)
        assert (scene.cube.filled_data[:].value - scene.model).std() == pytest.approx(0.2, rel=0.05)

    def test_is_independent_between_channels(self, noise):
        correlation = np.mean(noise[1:] * noise[:-1]) / np.mean(noise**2)
        assert abs(correlation) < 0.03

    def test_is_correlated_like_the_beam(self):
        # a long beam at an angle, so that a mirrored or turned one shows
        beam = Beam(2.4 * ARCSEC, 1.0 * ARCSEC, 35 * u.deg)
        shape = (60, 96, 96)
        scene = make_streamer_cube(seed=4, shape=shape, beam=(beam.major, beam.minor, beam.pa))
        noise = scene.cube.filled_data[:].value - scene.model

        def autocorrelation(images):
            power = np.mean(np.abs(np.fft.fft2(images)) ** 2, axis=0)
            found = np.fft.fftshift(np.fft.ifft2(power).real)
            return found / found.max()

        kernel = beam.as_kernel(0.2 * ARCSEC, x_size=95, y_size=95).array
        expected = autocorrelation(np.pad(kernel, ((0, 1), (0, 1)))[None])
        # lags up to two beams
        y, x = np.indices(shape[1:]) - 48
        near = np.hypot(x, y) * 0.2 < 4.8
        found = autocorrelation(noise)
        assert np.abs(found - expected)[near].max() < 0.05
        assert np.abs(found - expected[:, ::-1])[near].max() > 0.2

    def test_seed(self, scene):
        again, other = (make_streamer_cube(seed=seed, shape=SMALL) for seed in (1, 2))
        np.testing.assert_array_equal(again.cube.filled_data[:], scene.cube.filled_data[:])
        np.testing.assert_array_equal(other.model, scene.model)
        difference = (other.cube.filled_data[:] - scene.cube.filled_data[:]).value
        assert difference.std() == pytest.approx(0.03 * np.sqrt(2), rel=0.05)

    def test_none(self):
        scene = make_streamer_cube(shape=(8, 12, 12), rms=0 * u.K)
        np.testing.assert_array_equal(scene.cube.filled_data[:].value, scene.model)


class TestEmission:
    @pytest.mark.parametrize(("peak", "value"), [(0.6 * u.K, 0.6), (2500 * u.mK, 2.5)])
    def test_peak(self, peak, value):
        model = make_streamer_cube(shape=(20, 32, 32), peak=peak).model
        assert model.max() == pytest.approx(value, rel=1e-12)
        assert model.min() >= 0

    def test_centroid_of_each_channel_is_on_the_streamline(self):
        # a narrow line, so that a channel shows one piece of the path
        channel = 0.1
        scene = make_streamer_cube(
            rms=0 * u.K, line_width=0.005 * KMS, channel=channel * KMS, width=0.5 * ARCSEC, shape=(30, 90, 90)
        )
        curve, length = curve_of(TRUTH)
        cloud = reduce_to_1D(scene.cube, scene.star_position, 2).pc_coords
        n_tested = 0
        for v in np.unique(cloud[2]):
            piece = np.abs(curve[2] - v) < channel / 2
            # one stretch of the path, wholly inside and longer than the spacing of the clouds
            if np.count_nonzero(np.diff(piece.astype(int)) == 1) != 1 or length[piece].max() - length[piece].min() < 0.02:
                continue
            ra, dec, _, flux = cloud[:, cloud[2] == v]
            found = np.average([ra, dec], axis=1, weights=flux)
            np.testing.assert_allclose(found, mean_of(curve, length, piece)[:2], atol=0.05)
            assert np.hypot(*(curve[:2] - found[:, None])).min() < 0.1
            n_tested += 1
        assert n_tested >= 4

    @pytest.mark.parametrize(
        "star",
        [None, SkyCoord(10, -70, unit="deg", frame="icrs"), SkyCoord(359.9999, 0, unit="deg", frame="fk5")],
        ids=["default", "south", "zero"],
    )
    def test_centroid_of_all(self, star):
        scene = make_streamer_cube(rms=0 * u.K, star_position=star, shape=(60, 90, 90))
        assert star is None or scene.star_position is star
        cloud = reduce_to_1D(scene.cube, scene.star_position, 2).pc_coords
        # every cloud has the same flux for its length, and the beam and the line move no centroid
        difference = cloud[:3] @ cloud[3] / cloud[3].sum() - mean_of(*curve_of(TRUTH))
        np.testing.assert_array_less(np.abs(difference), [0.02, 0.02, 0.005])

    def test_widths(self):
        scene = make_streamer_cube(
            STRAIGHT,
            rms=0 * u.K,
            beam=(1.1 * ARCSEC, 1.1 * ARCSEC, 0 * u.deg),
            width=1.5 * ARCSEC,
            line_width=0.4 * KMS,
            shape=(40, 60, 90),
        )
        _, dec, velocity, flux = reduce_to_1D(scene.cube, scene.star_position, 2).pc_coords
        assert np.average(dec, weights=flux) == pytest.approx(0, abs=1e-3)
        assert np.average(velocity, weights=flux) == pytest.approx(7.5, abs=1e-3)
        across = np.sqrt(np.average(dec**2, weights=flux))
        assert across * FWHM == pytest.approx(np.hypot(1.5, 1.1), rel=1e-3)
        along_the_axis = np.average((velocity - 7.5) ** 2, weights=flux)
        assert along_the_axis == pytest.approx((0.4 / FWHM) ** 2 + 0.1**2 / 12, rel=1e-3)

    def test_is_convolved_with_the_beam(self):
        big, small = Beam(2.4 * ARCSEC, 1.0 * ARCSEC, 35 * u.deg), Beam(0.6 * ARCSEC)
        shape = (9, 100, 100)
        blurred, sharp = (make_streamer_cube(shape=shape, beam=(beam.major, beam.minor, beam.pa)).model for beam in (big, small))
        kernel = big.deconvolve(small).as_kernel(0.2 * ARCSEC)
        for one, other in zip(blurred, sharp, strict=True):
            expected = convolve_fft(other, kernel)
            np.testing.assert_allclose(one / blurred[4].max(), expected / convolve_fft(sharp[4], kernel).max(), atol=0.01)

    def test_is_integrated_over_the_channels(self):
        fine = make_streamer_cube(shape=(40, 20, 20), channel=0.1 * KMS, line_width=0.15 * KMS).model
        coarse = make_streamer_cube(shape=(20, 20, 20), channel=0.2 * KMS, line_width=0.15 * KMS).model
        pairs = fine.reshape(20, 2, 20, 20).sum(axis=1)
        np.testing.assert_allclose(coarse / coarse.max(), pairs / pairs.max(), atol=1e-12)

    @pytest.mark.parametrize("nothing", [{"width": 0 * ARCSEC}, {"line_width": 0 * KMS}], ids=str)
    def test_infinitely_narrow(self, nothing):
        model = make_streamer_cube(shape=(20, 32, 32), **nothing).model
        assert np.isfinite(model).all()
        assert model.max() == pytest.approx(0.6)

    def test_other_units(self):
        one = make_streamer_cube(shape=(8, 12, 12), rms=0 * u.K)
        other = make_streamer_cube(
            shape=(8, 12, 12),
            rms=0 * u.mK,
            distance=0.293 * u.kpc,
            pixel=200 * u.mas,
            channel=100 * u.m / u.s,
            width=0.02 * u.arcmin,
            line_width=350 * u.m / u.s,
        )
        np.testing.assert_allclose(other.model, one.model, atol=1e-9)
        assert other.distance == 293 * u.pc


class TestPoints:
    @staticmethod
    def place(streamer, params=TRUTH):
        """Distance of the points from the curve (arcsec), and where along it (0 to 1) they are."""
        curve, length = curve_of(params, 20001)
        points = np.array(streamer.data)
        separation = np.hypot(*(curve[:2, None] - points[:2, :, None]))
        nearest = separation.argmin(axis=1)
        np.testing.assert_allclose(points[2], curve[2, nearest], atol=0.01)
        return separation.min(axis=1), length[nearest]

    def test_lie_on_the_streamline(self):
        streamer = make_streamer_points(n_elements=12)
        assert isinstance(streamer, Streamer)
        assert len(streamer) == 12
        away, _ = self.place(streamer)
        assert away.max() < 0.002

    @pytest.mark.parametrize("part", [(0.1, 0.9), (0, 1), (0.15, 0.8), (0.5, 0.51)])
    def test_part(self, part):
        _, where = self.place(make_streamer_points(n_elements=9, part=part))
        np.testing.assert_allclose(where, np.linspace(*part, 9), atol=0.002)

    def test_parameters_and_distance(self):
        params = TRUTH | {"theta0": 120 * u.deg, "inc": 20 * u.deg}
        away, _ = self.place(make_streamer_points(params), params)
        assert away.max() < 0.002
        near, far = (make_streamer_points(distance=distance) for distance in (100 * u.pc, 200))
        np.testing.assert_allclose(near.ra_data, 2 * np.array(far.ra_data))

    def test_uncertainties(self):
        streamer = make_streamer_points(n_elements=4, sigma=(0.1 * ARCSEC, 200 * u.mas, 50 * u.m / u.s))
        np.testing.assert_allclose(streamer.uncertainties, [[0.1] * 4, [0.2] * 4, [0.05] * 4])

    def test_noise(self):
        sigma = (0.3 * ARCSEC, 0.6 * ARCSEC, 0.1 * KMS)
        exact = make_streamer_points(n_elements=2000, sigma=sigma)
        noisy, again, other = (make_streamer_points(n_elements=2000, sigma=sigma, seed=seed) for seed in (1, 1, 2))
        difference = np.array(noisy.data) - exact.data
        np.testing.assert_allclose(difference.std(axis=1), [0.3, 0.6, 0.1], rtol=0.06)
        np.testing.assert_allclose(difference.mean(axis=1), 0, atol=0.05)
        np.testing.assert_array_equal(again.data, noisy.data)
        assert not np.allclose(other.data, noisy.data)

    def test_cloud(self):
        streamer = make_streamer_points(n_elements=7, seed=3)
        np.testing.assert_array_equal(streamer.pc_coords[:3], streamer.data)
        assert streamer.pc_coords.shape == (4, 7)
        assert (streamer.pc_coords[3] > 0).all()


def _cube(**arguments):
    return lambda: make_streamer_cube(**{"shape": (8, 12, 12)} | arguments)


def _points(**arguments):
    return lambda: make_streamer_points(**arguments)


REFUSALS = {
    "pixel zero": (_cube(pixel=0 * ARCSEC), ValueError, r"^'pixel' must .*; got 0"),
    "pixel negative": (_cube(pixel=-0.2 * ARCSEC), ValueError, r"^'pixel' must .*; got -0\.2"),
    "pixel NaN": (_cube(pixel=np.nan * ARCSEC), ValueError, r"^'pixel' must .*; got nan"),
    "pixel without unit": (_cube(pixel=0.2), u.UnitsError, r"^'pixel' must .*arcsec; got 0\.2"),
    "pixel in K": (_cube(pixel=0.2 * u.K), u.UnitsError, r"^'pixel' must .*arcsec; got .*0\.2 K"),
    "channel zero": (_cube(channel=0 * KMS), ValueError, r"^'channel' must .*; got 0"),
    "channel negative": (_cube(channel=-0.1 * KMS), ValueError, r"^'channel' must .*; got -0\.1"),
    "channel in Hz": (_cube(channel=61 * u.kHz), u.UnitsError, r"^'channel' must .*km / s; got .*61"),
    "width negative": (_cube(width=-1 * ARCSEC), ValueError, r"^'width' must .*; got -1"),
    "line width negative": (_cube(line_width=-1 * KMS), ValueError, r"^'line_width' must .*; got -1"),
    "rms negative": (_cube(rms=-0.1 * u.K), ValueError, r"^'rms' must .*; got -0\.1"),
    "rms NaN": (_cube(rms=np.nan * u.K), ValueError, r"^'rms' must .*; got nan"),
    "rms in Jy": (_cube(rms=1 * u.Jy), u.UnitsError, r"^'rms' must .*K; got .*1\.? Jy"),
    "peak zero": (_cube(peak=0 * u.K), ValueError, r"^'peak' must .*; got 0"),
    "peak negative": (_cube(peak=-1 * u.K), ValueError, r"^'peak' must .*; got -1"),
    "shape of two": (_cube(shape=(8, 12)), ValueError, r"^'shape' must .*; got \(8, 12\)"),
    "shape empty": (_cube(shape=(8, 0, 12)), ValueError, r"^'shape' must .*; got \(8, 0, 12\)"),
    "distance": (_cube(distance=-3), ValueError, r"^'distance' must be positive"),
    "parameters": (_cube(params=TRUTH | {"mass": -1 * u.Msun}), ValueError, r"^'mass' must be positive"),
    "star": (_cube(star_position="here"), TypeError, r"^'star_position' must be one SkyCoord; got 'here'"),
    "part reversed": (_points(part=(0.9, 0.1)), ValueError, r"^'part' must be a range .*; got \(0\.9, 0\.1\)"),
    "part empty": (_points(part=(0.5, 0.5)), ValueError, r"^'part' must be a range"),
    "part below": (_points(part=(-0.1, 0.5)), ValueError, r"^'part' must be a range"),
    "part above": (_points(part=(0.5, 1.1)), ValueError, r"^'part' must be a range"),
    "part NaN": (_points(part=(np.nan, 0.5)), ValueError, r"^'part' must be a range"),
    "part of one": (_points(part=(0.5,)), ValueError, r"^'part' must be a range"),
    "no points": (_points(n_elements=0), ValueError, r"^'n_elements' must be a whole number .*; got 0"),
    "half a point": (_points(n_elements=2.5), ValueError, r"^'n_elements' must be a whole number .*; got 2\.5"),
    "sigma zero": (_points(sigma=(0 * ARCSEC, 1 * ARCSEC, 1 * KMS)), ValueError, r"^'sigma' must .*; got"),
    "sigma without unit": (_points(sigma=(1, 1 * ARCSEC, 1 * KMS)), u.UnitsError, r"^'sigma' must .*; got 1"),
    "points' distance": (_points(distance=0), ValueError, r"^'distance' must be positive"),
    "points' parameters": (_points(params={}), ValueError, r"^'omega, rc or mu' must be given"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    act, error, message = REFUSALS[case]
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
        act()
    assert FORM.match(str(caught.value))


def test_truth_lies_in_the_public_table():
    assert "TRUTH" in synthetic.__all__
    free, fixed = check_parameters({}, TRUTH)
    assert not free
    assert fixed["r0"] == 2800.0
