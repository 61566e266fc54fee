"""Islands of a cut, the curve for streamers that bend back, and bins that are merged."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st
from radio_beam import Beam
from scipy import ndimage

from sting.cuts import _islands
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.messages import StingWarning
from sting.reduction import merged
from sting.streamer import Streamer

PIXEL = 0.5


def beam_of_pixels(n):
    """A round beam with the area of n pixels."""
    return Beam(np.sqrt(4 * np.log(2) / np.pi * n) * PIXEL * u.arcsec)


class TestIslands:
    """Of a scene with a large faint island, a small bright one, and a single voxel."""

    @pytest.fixture
    def cube(self, make_cube):
        values = np.full((6, 40, 40), np.nan)
        values[1:4, 5:20, 5:20] = 1.0  # 225 pixels, flux 675
        values[2:5, 30:33, 30:33] = 100.0  # 9 pixels, flux 2700
        values[0, 38, 2] = 5.0
        values[4, 20, 20] = 1.0  # touches the first only by a corner
        return make_cube(values, beam=beam_of_pixels(16))

    def fluxes(self, cut):
        values, counts = np.unique(cut.filled_data[:].value, return_counts=True)
        return {value: count for value, count in zip(values, counts, strict=True) if np.isfinite(value)}

    def test_all_are_kept_unless_asked(self, cube):
        assert self.fluxes(extract_streamer_subcube(cube)) == {1: 676, 5: 1, 100: 27}

    def test_those_smaller_than_a_beam(self, cube):
        cut = extract_streamer_subcube(cube, islands="beam")
        assert self.fluxes(cut) == {1: 675}
        assert cut.shape == (3, 15, 15)

    def test_all_but_the_brightest(self, cube):
        cut = extract_streamer_subcube(cube, islands="main")
        assert self.fluxes(cut) == {100: 27}
        assert cut.shape == (3, 3, 3)
        np.testing.assert_allclose(cut.spectral_axis.value, cube.spectral_axis.to_value("km/s")[2:5])

    def test_after_the_other_cuts(self, cube):
        cut = extract_streamer_subcube(cube, vmax=5.15 * u.km / u.s, islands="main")
        assert self.fluxes(cut) == {1: 225}

    def test_the_threshold_goes_first(self, cube):
        cut = extract_streamer_subcube(cube, rms_thresh=4, rms=1 * u.K, islands="main")
        assert self.fluxes(cut) == {100: 27}
        with pytest.raises(ValueError, match=r"^'islands' must leave something of the cut; got 'beam'"):
            extract_streamer_subcube(cube, rms_thresh=4, rms=1 * u.K, islands="beam")

    def test_without_a_beam(self, cube, make_cube):
        bare = make_cube(cube.filled_data[:].value)
        assert self.fluxes(extract_streamer_subcube(bare, islands="main")) == {100: 27}
        with pytest.raises(ValueError, match=r"^'islands' must be 'keep' or 'main' for a cube without a beam; got 'beam'"):
            extract_streamer_subcube(bare, islands="beam")

    def test_a_misspelt_choice(self, cube):
        with pytest.raises(ValueError, match=r"^'islands' must be one of 'keep', 'beam', 'main'; got 'mainn'.*'main'"):
            extract_streamer_subcube(cube, islands="mainn")

    @pytest.mark.parametrize("seed", range(5))
    def test_numbers_of_islands_are_scipy_s(self, seed):
        kept = np.random.default_rng(seed).random((7, 9, 8)) < 0.35
        labels, n = ndimage.label(kept)
        found = _islands(np.flatnonzero(kept), kept.shape)
        assert found.max() + 1 == n
        # the same partition: each label meets one number only
        assert len(np.unique(np.stack([labels[kept], found]), axis=1).T) == n


def bent(make_cube, beam=None):
    """A hook of Gaussian width: out to the north, a turn to the east, and back."""
    n_v, n_y, n_x = 20, 60, 50
    s = np.linspace(0, 1, 400)
    turn = np.clip((s - 0.4) / 0.2, 0, 1) * np.pi
    x = 30 - 8 + 8 * np.cos(turn)
    y = 40 + 8 * np.sin(turn) - 30 * np.clip(0.4 - s, 0, 1) / 0.4 - 25 * np.clip(s - 0.6, 0, 1) / 0.4
    v = 4 + 12 * s
    z, yy, xx = np.indices((n_v, n_y, n_x))
    values = np.zeros((n_v, n_y, n_x))
    for one in zip(x, y, v, strict=True):
        values = np.maximum(values, np.exp(-((xx - one[0]) ** 2 + (yy - one[1]) ** 2) / (2 * 1.5**2) - (z - one[2]) ** 2 / 4))
    values[values < 0.1] = np.nan
    return make_cube(values, beam=beam), (x, y, v)


@pytest.fixture(scope="module")
def hook(make_cube):
    """A cube, its star, and the true line: offsets (arcsec) and velocities."""
    cube, (x, y, v) = bent(make_cube, Beam(1.5 * u.arcsec))
    star = cube.wcs.celestial.pixel_to_world(30, 5)
    return cube, star, np.array([-(x - 30) * PIXEL, (y - 5) * PIXEL, 5 + 0.1 * v])


class TestCurve:
    @staticmethod
    def away_and_place(streamer, truth):
        """Distances (arcsec) of the points from the true line, and where along it they are."""
        apart = np.linalg.norm(np.array(streamer.data)[:2, :, None] - truth[:2, None], axis=0)
        return apart.min(axis=1), apart.argmin(axis=1)

    def test_points_lie_on_the_hook_in_order(self, hook):
        cube, star, truth = hook
        streamer = reduce_to_1D(cube, star, 12, ordering="curve")
        away, place = self.away_and_place(streamer, truth)
        assert away.max() < 0.35
        assert (np.diff(place) < 0).all()  # from the outside in
        assert (np.diff(streamer.v_data) < 0).all()

    def test_the_distance_from_the_star_mixes_both_sides(self, hook):
        cube, star, truth = hook
        away, _ = self.away_and_place(reduce_to_1D(cube, star, 12), truth)
        assert away.max() > 1.5

    def test_every_voxel_counts_once(self, hook):
        cube, star, _ = hook
        streamer = reduce_to_1D(cube, star, 7, ordering="curve")
        np.testing.assert_array_equal(streamer.pc_coords, reduce_to_1D(cube, star, 7).pc_coords)

    def test_a_straight_streamer_is_nearly_the_same(self, scene, scene_cut):
        one, two = (reduce_to_1D(scene_cut, scene.star_position, 8, ordering=kind) for kind in ("distance", "curve"))
        assert np.hypot(one.ra_data - two.ra_data, one.dec_data - two.dec_data).max() < 0.6

    def test_without_a_beam(self, make_cube, hook):
        _, star, truth = hook
        streamer = reduce_to_1D(bent(make_cube)[0], star, 12, ordering="curve")
        assert self.away_and_place(streamer, truth)[0].max() < 0.35

    @pytest.mark.data
    def test_a_real_streamer(self, data_file):
        """Its lines are thirteen times as wide as their typical width, and it is half as wide as long."""
        cut = extract_streamer_subcube(data_file, vmin=6 * u.km / u.s, vmax=8 * u.km / u.s)
        star = SkyCoord("03h28m55.569s +31d14m37.025s", frame="fk5")
        kept = cut.with_mask(cut != 0 * cut.unit)
        one, two = (reduce_to_1D(kept, star, 10, ordering=kind) for kind in ("distance", "curve"))
        assert (np.diff(np.hypot(two.ra_data, two.dec_data)) < 0).all()
        assert np.hypot(one.ra_data - two.ra_data, one.dec_data - two.dec_data).max() < 1.5

    def test_maps(self, hook):
        cube, star, truth = hook
        values = np.nan_to_num(cube.filled_data[:].value)
        total = values.sum(axis=0)
        lit, axis = total > 0, cube.spectral_axis.to_value("km/s")[:, None, None]
        with np.errstate(invalid="ignore"):
            mean = (values * axis).sum(axis=0) / total
        peak = np.where(lit, values.max(axis=0), np.nan)
        width = np.where(lit, 0.15, np.nan)
        kms = u.km / u.s
        keywords = {"wcs": cube.wcs.celestial, "beam": cube.beam}
        streamer = Streamer.from_maps(peak * u.K, mean * kms, width * kms, star, 12, ordering="curve", **keywords)
        away, place = self.away_and_place(streamer, truth)
        assert away.max() < 0.35
        assert (np.diff(place) < 0).all()

    def test_a_misspelt_choice(self, hook):
        cube, star, _ = hook
        with pytest.raises(ValueError, match=r"^'ordering' must be one of 'distance', 'curve'; got 'curv'.*'curve'"):
            reduce_to_1D(cube, star, ordering="curv")


@given(st.data())
def test_bins_are_merged_with_their_neighbours_until_they_are_large_enough(data):
    n, n_pixels = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 40))
    pixel = np.array(data.draw(st.lists(st.integers(0, n_pixels), min_size=n, max_size=60)))
    bins = np.append(
        np.arange(n), data.draw(st.lists(st.integers(0, n - 1), min_size=len(pixel) - n, max_size=len(pixel) - n))
    ).astype(int)
    area, least = data.draw(st.floats(0.5, 20)), data.draw(st.floats(0.1, 5))
    meta = {"beam": [np.sqrt(4 * np.log(2) / np.pi * area), np.sqrt(4 * np.log(2) / np.pi * area), 0.0], "pixel": 1.0}
    found = merged(bins, pixel, meta, least)
    pairs = np.unique(np.stack([bins, found]), axis=1)
    assert pairs.shape[1] == n  # each bin goes into one
    assert set(np.diff(pairs[1])) <= {0, 1}  # next to each other
    assert found.min() == 0
    sizes = [len(np.unique(pixel[found == i])) for i in range(found.max() + 1)]
    assert len(sizes) == 2 or min(sizes) >= least * area * (1 - 1e-9)
    assert len(sizes) >= 2
    # no more was merged than had to be: without its innermost bin, no group but the last would be large enough
    for i in range(1, found.max() + 1):
        inside = found == i
        if len(sizes) > 2:
            assert len(np.unique(pixel[inside & (bins > bins[inside].min())])) < least * area * (1 + 1e-9)


class TestMerging:
    """A strip of 2 x 40 pixels, and a beam of some of them."""

    @staticmethod
    def strip(make_cube, beam_pixels=None):
        beam = None if beam_pixels is None else beam_of_pixels(beam_pixels)
        values = np.full((3, 45, 9), np.nan)
        values[:, 3:43, 4:6] = np.random.default_rng(0).uniform(1, 2, (3, 40, 2))
        cube = make_cube(values, beam=beam)
        return cube, cube.wcs.celestial.pixel_to_world(4.5, 0)

    def test_none_is_merged_where_all_have_a_beam(self, make_cube):
        assert len(reduce_to_1D(*self.strip(make_cube, 7.9), 10)) == 10

    def test_small_ones_are_merged_from_the_outside_in(self, make_cube):
        cube, star = self.strip(make_cube, 15)  # of 8 pixels each: two together have a beam
        with pytest.warns(StingWarning, match="^5 of n_elements=10 points are left: bins with less than min_beams=1 beams"):
            streamer = reduce_to_1D(cube, star, 10)
        np.testing.assert_allclose(streamer.data, reduce_to_1D(cube, star, 5, min_beams=0).data, atol=0.3)
        with pytest.warns(StingWarning, match="^3 of n_elements=7 points"):  # a rest goes with the last
            streamer = reduce_to_1D(cube, star, 7, min_beams=1.4)
        whole = reduce_to_1D(cube, star, 7, min_beams=0)
        np.testing.assert_allclose(streamer.dec_data[0], whole.dec_data[:2].mean(), atol=0.3)
        np.testing.assert_allclose(streamer.dec_data[-1], whole.dec_data[4:].mean(), atol=0.3)

    def test_every_voxel_counts_once(self, make_cube):
        cube, star = self.strip(make_cube, 15)
        with pytest.warns(StingWarning, match="5 of"):
            streamer = reduce_to_1D(cube, star, 10)
        # two bins of equal pixels each: the mean of the points weighted by flux is that of all voxels
        flux, dec = streamer.pc_coords[3], streamer.pc_coords[1]
        edges = np.percentile(dec, np.linspace(0, 100, 6))
        bins = np.clip(np.searchsorted(edges, dec, side="left") - 1, 0, 4)
        totals = np.bincount(bins, flux)[::-1]
        assert totals @ streamer.dec_data / totals.sum() == pytest.approx(dec @ flux / flux.sum(), abs=0.05)

    def test_two_are_left(self, make_cube):
        cube, star = self.strip(make_cube, 1000)
        with pytest.warns(StingWarning, match="^2 of n_elements=9 points"):
            assert len(reduce_to_1D(cube, star, 9)) == 2
        assert len(reduce_to_1D(cube, star, 2)) == 2

    def test_none_is_merged_if_not_wanted_or_not_known(self, make_cube):
        assert len(reduce_to_1D(*self.strip(make_cube, 15), 10, min_beams=0)) == 10
        assert len(reduce_to_1D(*self.strip(make_cube), 10)) == 10

    def test_maps(self, make_cube):
        cube, star = self.strip(make_cube, 15)
        lit = np.isfinite(cube.filled_data[0].value)
        maps = [np.where(lit, value, np.nan) * unit for value, unit in ((1, u.K), (7, u.km / u.s), (0.2, u.km / u.s))]
        keywords = {"wcs": cube.wcs.celestial, "beam": cube.beam}
        with pytest.warns(StingWarning, match="^5 of n_elements=10 points"):
            assert len(Streamer.from_maps(*maps, star, 10, **keywords)) == 5
        assert len(Streamer.from_maps(*maps, star, 10, min_beams=0, **keywords)) == 10

    @pytest.mark.parametrize("wrong", [-1, np.nan, np.inf, "1", True, None])
    def test_what_is_no_number_of_beams(self, make_cube, wrong):
        with pytest.raises(ValueError, match=r"^'min_beams' must be a number of at least 0; got"):
            reduce_to_1D(*self.strip(make_cube, 15), 10, min_beams=wrong)
