"""The noise of a cube: a number or a map, estimated or given."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.stats import mad_std

from sting import noise as room
from sting.extract_streamline import extract_streamer_subcube
from sting.messages import StingWarning
from sting.noise import estimate_rms, find_noise

KMS = u.km / u.s
STAR = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")


class TestNoise:
    def test_of_the_voxels_that_are_neither_blank_nor_zero(self, make_cube):
        values = 3 + 0.5 * np.random.default_rng(0).standard_normal((5, 20, 20))
        values[0] = 0
        values[1, :10] = np.nan
        padded, noise = find_noise(make_cube(values))
        finite = values[np.isfinite(values)]
        assert padded == pytest.approx(400 / 1800)
        assert noise == pytest.approx(mad_std(finite[finite != 0]))
        assert noise == pytest.approx(0.5, rel=0.1)
        assert (type(padded), type(noise)) == (float, float)

    def test_nothing_is_padded(self, make_cube):
        padded, noise = find_noise(make_cube(np.random.default_rng(0).standard_normal((5, 20, 20))))
        assert padded == 0
        assert noise == pytest.approx(1, rel=0.1)

    def test_zeros_only(self, make_cube):
        assert find_noise(make_cube(np.zeros((2, 3, 4)))) == (1.0, 0.0)

    def test_what_is_masked_is_not_counted(self, make_cube):
        values = np.arange(24.0).reshape(2, 3, 4)
        cube = make_cube(values)
        padded, noise = find_noise(cube.with_mask(cube > 10 * u.K))
        assert padded == 0
        assert noise == pytest.approx(mad_std(np.arange(11.0, 24.0)))

    def test_blank_voxels_only(self, make_cube):
        with pytest.raises(ValueError, match=r"^'cube' must hold finite values; got blank voxels \(NaN\) only"):
            find_noise(make_cube(np.full((2, 3, 4), np.nan)))


@pytest.fixture
def values():
    """Noise that grows from row to row, and a line in channels 4 to 7 that fills the field."""
    values = np.random.default_rng(3).standard_normal((40, 24, 30)) * np.linspace(0.5, 2.0, 24)[:, None]
    values[4:8] += 20
    return values


class TestEstimate:
    def test_one_number(self, make_cube, values):
        cube = make_cube(values)
        rms = estimate_rms(cube)
        assert rms.unit == cube.unit
        assert rms.value == mad_std(values)

    @pytest.mark.parametrize(
        ("ranges", "channels"),
        [
            ((4.95 * KMS, 5.35 * KMS), np.arange(4)),
            ((5.35 * KMS, 4.95 * KMS), np.arange(4)),
            ([(4.95 * KMS, 5.35 * KMS), (8000 * u.m / u.s, 99 * KMS)], np.r_[0:4, 30:40]),
        ],
    )
    def test_line_free_channels(self, make_cube, values, ranges, channels):
        cube = make_cube(values)
        np.testing.assert_allclose(cube.spectral_axis[30].to_value(KMS), 8.0)
        assert estimate_rms(cube, line_free=ranges).value == pytest.approx(mad_std(values[channels]), rel=1e-12)

    def test_for_each_pixel(self, make_cube, values, monkeypatch):
        cube = make_cube(values)
        rms = estimate_rms(cube, per_pixel=True, line_free=(5.75 * KMS, 99 * KMS))
        np.testing.assert_allclose(rms.value, mad_std(values[8:], axis=0), rtol=1e-12)
        # some rows at a time
        monkeypatch.setattr(room, "NOISE_SAMPLE", 40 * 30 * 5)
        again = estimate_rms(cube, per_pixel=True, line_free=(5.75 * KMS, 99 * KMS))
        np.testing.assert_array_equal(again, rms)

    def test_padding_has_no_noise(self, make_cube, values):
        values[:, :3] = 0
        values[:, -2:] = np.nan
        values[5:, 4, 7] = 0
        values[4:, 4, 8] = np.nan
        rms = estimate_rms(make_cube(values), per_pixel=True).value
        known = np.ones((24, 30), bool)
        known[:3] = known[-2:] = False
        known[4, 8] = False
        np.testing.assert_array_equal(np.isfinite(rms), known)
        assert rms[4, 7] == pytest.approx(mad_std(values[:5, 4, 7]))
        seen = values[:, 3:-2]
        assert estimate_rms(make_cube(values)).value == pytest.approx(mad_std(seen[np.isfinite(seen) & (seen != 0)]))

    @pytest.mark.parametrize(
        ("ranges", "message"),
        [
            ((20 * KMS, 30 * KMS), r"^'line_free' must hold at least one channel; got 20 to 30 km/s of a cube from 5 to 8\.9"),
            ([5 * KMS], r"^'line_free' must be a pair of velocities, or a list of pairs"),
            ((5 * u.K, 6 * u.K), r"^'line_free' must be a Quantity convertible to km / s"),
            ((np.nan * KMS, 6 * KMS), r"^'line_free' must be one finite number"),
        ],
    )
    def test_bad_ranges(self, make_cube, values, ranges, message):
        with pytest.raises((ValueError, u.UnitsError), match=message):
            estimate_rms(make_cube(values), line_free=ranges)

    def test_a_cube_that_was_masked_before(self, make_cube, values):
        values[values < 1] = 0
        with pytest.raises(ValueError, match=r"^'cube' must not have been masked before; got .*% of it exactly zero"):
            estimate_rms(make_cube(values))


class TestGiven:
    def kept(self, cube, **cut):
        cut = extract_streamer_subcube(cube, **cut)
        found = cut.filled_data[:].value
        return np.sort(found[np.isfinite(found)])

    @pytest.mark.parametrize("rms", [0.7 * u.K, 700 * u.mK])
    def test_number(self, make_cube, values, rms):
        expected = np.sort(values[values > 2.1])
        np.testing.assert_array_equal(self.kept(make_cube(values), rms_thresh=3, rms=rms), expected)

    def test_map(self, make_cube, values):
        cube = make_cube(values)
        rms = np.random.default_rng(5).uniform(0.5, 2, (24, 30))
        rms[:, :2] = np.nan
        limits = {"vmin": 5.25 * KMS, "ymin": -2.2 * u.arcsec, "xmax": 3.3 * u.arcsec}
        free = extract_streamer_subcube(cube, center=STAR, **limits).filled_data[:].value
        inside = np.isin(values, free)
        expected = np.sort(values[inside & (values > 3 * rms)])
        assert 100 < len(expected) < free.size / 2
        np.testing.assert_array_equal(self.kept(cube, center=STAR, rms_thresh=3, rms=rms * u.K, **limits), expected)

    def test_a_cut_by_a_map_can_be_cut_again(self, make_cube, values):
        cube = make_cube(values)
        rms = estimate_rms(cube, per_pixel=True)
        cut = extract_streamer_subcube(cube, rms_thresh=3, rms=rms)
        again = extract_streamer_subcube(cut, vmin=5.25 * KMS, xmin=-1 * u.arcsec, center=STAR)
        both = extract_streamer_subcube(cube, vmin=5.25 * KMS, xmin=-1 * u.arcsec, center=STAR, rms_thresh=3, rms=rms)
        np.testing.assert_array_equal(again.filled_data[:], both.filled_data[:])

    def test_is_believed_where_it_could_not_be_estimated(self, make_cube, values):
        values[values < 1] = 0
        cube = make_cube(values)
        with pytest.warns(StingWarning, match=r"it was masked before.*Give rms if you know it\.$"):
            extract_streamer_subcube(cube, rms_thresh=3)
        np.testing.assert_array_equal(self.kept(cube, rms_thresh=3, rms=1 * u.K), np.sort(values[values > 3]))

    @pytest.mark.parametrize(
        ("rms", "error", "message"),
        [
            (1 * u.Jy, u.UnitsError, r"^'rms' must be a Quantity convertible to K; got .*Write for example 0\.01"),
            ("much", u.UnitsError, r"^'rms' must be a Quantity convertible to K; got 'much'"),
            (0 * u.K, ValueError, r"^'rms' must be positive; got 0\.0 K"),
            (-1 * u.K, ValueError, r"^'rms' must be positive"),
            (np.nan * u.K, ValueError, r"^'rms' must be positive"),
            (np.full((24, 30), np.nan) * u.K, ValueError, r"^'rms' must be positive; got a map that is not"),
            (-np.ones((24, 30)) * u.K, ValueError, r"^'rms' must be positive; got a map that is not"),
            (
                np.ones((30, 24)) * u.K,
                ValueError,
                r"^'rms' must be one number or a map of shape \(24, 30\); got shape",
            ),
        ],
    )
    def test_refused(self, make_cube, values, rms, error, message):
        with pytest.raises(error, match=message):
            extract_streamer_subcube(make_cube(values), rms_thresh=3, rms=rms)

    def test_without_a_threshold(self, make_cube, values):
        with pytest.raises(ValueError, match=r"^'rms_thresh' must be given with rms; got none"):
            extract_streamer_subcube(make_cube(values), rms=1 * u.K)


class TestBelowZero:
    def test_of_noise_beside_emission(self):
        values = 2 * np.random.default_rng(4).standard_normal((2000, 3))
        expected = [mad_std(np.concatenate([one[one < 0], -one[one < 0]])) for one in values.T]
        np.testing.assert_allclose(room.below_zero(values), expected, rtol=1e-12)
        np.testing.assert_allclose(expected, 2, rtol=0.1)
        crowded = np.concatenate([values, np.full((6000, 3), 50.0), np.full((5, 3), np.nan)])
        np.testing.assert_array_equal(room.below_zero(crowded), room.below_zero(values))

    @pytest.mark.parametrize(
        ("negative", "middle"), [([-3.0], 3.0), ([-3.0, -1.0], 2.0), ([-3.0, -1.0, -2.0], 2.0), ([], np.nan)]
    )
    def test_is_a_median(self, negative, middle):
        values = np.array([4.0, np.nan, 0.0, *negative])
        np.testing.assert_allclose(room.below_zero(values), 1.482602218505602 * middle, rtol=1e-15)

    def test_map(self, make_cube, values, monkeypatch):
        values[:, 2, 3] = np.nan
        found = room.map_below_zero(make_cube(values))
        np.testing.assert_array_equal(found, room.below_zero(values))
        assert np.argwhere(np.isnan(found)).tolist() == [[2, 3]]
        monkeypatch.setattr(room, "NOISE_SAMPLE", 40 * 30 * 5)
        np.testing.assert_array_equal(room.map_below_zero(make_cube(values)), found)
