"""The points of uncertainty="mean": where they lie, what their errors are, and when they can be had."""

import numpy as np
import pytest
from astropy import units as u
from spectral_cube import SpectralCube

from sting import synthetic
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.messages import StingWarning
from sting.middle_line import FWHM, VoxelNoise, middle_line
from sting.noise import kept_rms
from sting.stream_lines_grad import streamline

#: Cubes for the calibration; of ten and more points each.
SEEDS = range(5)


def cut_of(seed, **keywords):
    scene = synthetic.make_streamer_cube(seed=seed, shape=(50, 70, 70), **keywords)
    return scene, extract_streamer_subcube(scene.cube, rms_thresh=4, rms=scene.rms, islands="main")


def squares(streamer):
    """Squared distances of the points from the true curve in their uncertainties, of two degrees of freedom each."""
    path = streamline(synthetic.TRUTH, distance=293, n_points=4000)
    curve = np.array([path.ra.value, path.dec.value, path.velocity.value])
    away = (curve[:, None] - np.array(streamer.data)[..., None]) / np.array(streamer.uncertainties)[..., None]
    return np.sum(away**2, axis=0).min(axis=1)


@pytest.fixture(scope="module")
def cuts():
    return [cut_of(seed, rms=0.04 * u.K) for seed in SEEDS]


@pytest.fixture(scope="module")
def scene_and_cut(cuts):
    return cuts[0]


@pytest.fixture(scope="module")
def found(cuts):
    """Mean squared pull of the points of all cubes, 1 where the errors are right."""
    return {
        (kind, ordering): np.concatenate(
            [squares(reduce_to_1D(cut, scene.star_position, uncertainty=kind, ordering=ordering)) for scene, cut in cuts]
        )
        / 2
        for kind in ("mean", "spread")
        for ordering in ("distance", "curve")
    }


class TestCalibration:
    @staticmethod
    def is_calibrated(pulls):
        """Within three times the scatter that chi-squared has, with half as many independent points as points."""
        return abs(np.log(pulls.mean())) < 3 * np.sqrt(2 / len(pulls))

    @pytest.mark.parametrize("ordering", ["distance", "curve"])
    def test_errors_of_the_mean_are_those_of_the_points(self, found, ordering):
        pulls = found["mean", ordering]
        assert len(pulls) > 30
        assert self.is_calibrated(pulls)
        for scale in (0.5, 2):
            assert not self.is_calibrated(pulls / scale**2)

    def test_the_width_is_not_the_error(self, found):
        assert found["spread", "distance"].mean() < 0.2


class TestPlace:
    @pytest.mark.parametrize("ordering", ["distance", "curve"])
    def test_without_noise_the_points_lie_on_the_true_curve(self, ordering):
        """Less than half as far from it as the plain means, but for the two next to the star."""
        scene = synthetic.make_streamer_cube(seed=1, shape=(50, 70, 70), rms=0 * u.K)
        cut = scene.cube.with_mask(scene.cube > 0.08 * u.K)
        path = streamline(synthetic.TRUTH, distance=293, n_points=4000)
        curve = np.array([path.ra.value, path.dec.value, path.velocity.value])
        off = {}
        for kind in ("mean", "spread"):
            streamer = reduce_to_1D(cut, scene.star_position, uncertainty=kind, ordering=ordering, rms=0.02 * u.K)
            # a beam and a line width as the units of both
            away = (curve[:, None] - np.array(streamer.data)[..., None]) / np.array([1.1, 1.1, 0.35])[:, None, None]
            off[kind] = np.sqrt(np.sum(away**2, axis=0).min(axis=1))[:-2]
        assert np.sqrt(np.mean(off["mean"] ** 2)) < 0.5 * np.sqrt(np.mean(off["spread"] ** 2))
        assert off["mean"][0] < off["spread"][0]

    def test_two_points(self, scene_and_cut):
        scene, cut = scene_and_cut
        streamer = reduce_to_1D(cut, scene.star_position, 2)
        assert len(streamer) == 2
        assert (np.array(streamer.uncertainties) > 0).all()

    def test_scale_of_the_brightness_does_not_matter(self, scene_and_cut):
        scene, cut = scene_and_cut
        other = SpectralCube(cut.filled_data[:] * 1000, cut.wcs, header=cut.header, beam=cut.beam)
        found = reduce_to_1D(other, scene.star_position, rms=1000 * scene.rms)
        expected = reduce_to_1D(cut, scene.star_position)
        np.testing.assert_allclose(found.data, expected.data, atol=1e-6)
        np.testing.assert_allclose(found.uncertainties, expected.uncertainties, rtol=1e-6)

    def test_a_bin_without_weight_is_refused(self):
        noise = VoxelNoise(1.0, (1.0, 1.0, 0.0), np.eye(2), np.zeros((3, 4), int))
        flux = np.array([1.0, 1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match=r"^'streamer_cube' must have positive flux in every bin"):
            middle_line(np.zeros((3, 4)), flux, np.arange(4.0), np.array([0, 0, 1, 1]), noise, (1.0, 1.0))


class TestNoise:
    BEAM = (3.0, 2.0, 30.0)
    STEP = np.array([[-0.7, 0.1], [0.1, 0.7]])

    def test_is_that_of_all_pairs(self):
        """Against the sum over all pairs of voxels, written out."""
        rng = np.random.default_rng(1)
        index = np.array([np.repeat([3, 4, 9], 20), rng.permutation(60) // 6, rng.permutation(60) % 9])
        response = rng.standard_normal((3, 60))
        place = self.STEP @ index[[2, 1]]
        angle = np.radians(self.BEAM[2])
        apart = place[:, :, None] - place[:, None, :]
        major = apart[0] * np.sin(angle) + apart[1] * np.cos(angle)
        minor = apart[0] * np.cos(angle) - apart[1] * np.sin(angle)
        correlation = np.exp(-(FWHM**2) / 4 * ((major / self.BEAM[0]) ** 2 + (minor / self.BEAM[1]) ** 2))
        correlation *= index[0][:, None] == index[0]
        expected = np.einsum("ki,ij,kj->k", response, correlation, response)
        found = VoxelNoise(0.5, self.BEAM, self.STEP, index).errors(np.arange(60), response)
        np.testing.assert_allclose(found, 0.25 * np.array([expected[:2].sum(), expected[:2].sum(), expected[2]]), rtol=1e-3)

    @pytest.mark.parametrize("alone", [0, 1, 3])
    def test_in_parts_is_that_of_the_whole(self, monkeypatch, alone):
        """Clumps of voxels all over a field, with voxels that stand alone, against one Fourier transform of the field."""
        rng = np.random.default_rng(alone)
        corners = rng.permutation(9 * 9)[:14] // np.array([[9], [1]]) % 9 * 40
        clumps = corners[:, :, None] + rng.integers(0, 12, (2, 14, 1 if alone == 1 else 30))
        if alone == 3:
            clumps[:, ::2] = clumps[:, ::2, :1]  # one voxel, many times
        channel = np.broadcast_to(rng.integers(0, 3, (14, 1)), clumps.shape[1:])
        index = np.array([channel, *clumps]).reshape(3, -1)
        response = rng.standard_normal(index.shape)
        noise = VoxelNoise(0.5, self.BEAM, self.STEP, index)
        found = noise.errors(np.arange(index.shape[1]), response)
        monkeypatch.setattr("sting.middle_line._apart", lambda channel, *cells: channel)
        whole = noise.errors(np.arange(index.shape[1]), response)
        np.testing.assert_allclose(found, whole, rtol=2e-3)

    def test_grows_with_the_rms(self, scene_and_cut):
        """Of a short stretch, all of whose errors are of the noise."""
        scene, cut = scene_and_cut
        one, two = (reduce_to_1D(cut, scene.star_position, 2, rms=k * scene.rms) for k in (1, 2))
        np.testing.assert_allclose(np.array(two.uncertainties), 2 * np.array(one.uncertainties), rtol=1e-3)


class TestKeptNoise:
    def test_a_cut_keeps_its_noise(self, scene_and_cut):
        scene, cut = scene_and_cut
        assert kept_rms(cut) == pytest.approx(0.04)
        assert kept_rms(scene.cube) is None
        assert kept_rms(cut.with_spectral_unit(u.m / u.s)[3:]) == pytest.approx(0.04)

    def test_also_through_a_file(self, scene_and_cut, tmp_path):
        scene, cut = scene_and_cut
        cut.write(tmp_path / "cut.fits")
        expected = reduce_to_1D(cut, scene.star_position)
        found = reduce_to_1D(tmp_path / "cut.fits", scene.star_position)
        assert found.meta["uncertainty"] == "mean"
        np.testing.assert_allclose(found.uncertainties, expected.uncertainties, rtol=1e-5)

    def test_estimated_noise_and_the_median_of_a_map(self):
        scene = synthetic.make_streamer_cube(seed=1, shape=(30, 40, 40))
        cut = extract_streamer_subcube(scene.cube, rms_thresh=4)
        assert kept_rms(cut) == pytest.approx(0.03, rel=0.1)
        rms = np.full((40, 40), 0.02)
        rms[:, :5] = np.nan
        cut = extract_streamer_subcube(scene.cube, rms_thresh=4, rms=rms * u.K)
        assert kept_rms(cut) == pytest.approx(0.02)

    def test_not_that_of_a_masked_cube(self):
        scene = synthetic.make_streamer_cube(seed=1, shape=(30, 40, 40))
        values = np.where(scene.cube.filled_data[:].value > 0.2, scene.cube.filled_data[:].value, 0)
        cube = SpectralCube(values * u.K, scene.cube.wcs, header=scene.cube.header, beam=scene.cube.beam)
        with pytest.warns(StingWarning, match="masked before"):
            cut = extract_streamer_subcube(cube, rms_thresh=4)
        assert kept_rms(cut) is None

    @pytest.mark.parametrize("text", ["nonsense", "nan K", "0.0 K", "-1.0 K", "0.03 m", "0.03"])
    def test_a_card_that_says_nothing(self, text):
        cube = synthetic.make_streamer_cube(seed=1, shape=(3, 6, 6)).cube
        cube.meta["STINGRMS"] = text
        assert kept_rms(cube) is None


class TestDefault:
    def test_is_the_mean_where_the_noise_is_known(self, scene_and_cut):
        scene, cut = scene_and_cut
        found, expected = (reduce_to_1D(cut, scene.star_position, **k) for k in ({}, {"uncertainty": "mean"}))
        assert found.meta["uncertainty"] == "mean"
        assert found.meta["rms"] == pytest.approx(0.04)
        np.testing.assert_array_equal(found.uncertainties, expected.uncertainties)

    def test_is_the_spread_with_a_warning_without_noise(self, scene_and_cut):
        scene, _ = scene_and_cut
        cut = scene.cube.with_mask(scene.cube > 0.2 * u.K)
        with pytest.warns(StingWarning, match=r"^The cube tells no noise: .* Pass rms, or say uncertainty='spread'\.$"):
            found = reduce_to_1D(cut, scene.star_position)
        assert found.meta["uncertainty"] == "spread"
        assert "rms" not in found.meta

    def test_is_the_spread_with_a_warning_without_a_beam(self, scene_and_cut):
        scene, cut = scene_and_cut
        bare = SpectralCube(cut.filled_data[:], cut.wcs)
        with pytest.warns(StingWarning, match=r"^The cube tells no beam: .* Add one"):
            found = reduce_to_1D(bare, scene.star_position, rms=scene.rms)
        assert found.meta["uncertainty"] == "spread"

    def test_rms_of_another_unit_is_refused(self, scene_and_cut):
        scene, cut = scene_and_cut
        with pytest.raises(u.UnitsError, match=r"^'rms' must be a Quantity convertible to K"):
            reduce_to_1D(cut, scene.star_position, rms=1 * u.Jy)

    def test_noise_of_no_use_to_the_spread(self, scene_and_cut):
        scene, cut = scene_and_cut
        found, expected = (reduce_to_1D(cut, scene.star_position, uncertainty="spread", **k) for k in ({}, {"rms": scene.rms}))
        np.testing.assert_array_equal(found.data, expected.data)
