"""The cut: velocity range, threshold, points, and the regions that are read, drawn, removed and saved."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import (
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseSkyRegion,
    PixCoord,
    PointSkyRegion,
    PolygonSkyRegion,
    RectangleSkyRegion,
    RegionMeta,
    Regions,
    RegionVisual,
)
from spectral_cube import SpectralCube

from sting.explorer.state import ExplorerState
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.messages import StingWarning
from sting.synthetic import STAR, TRUTH

KMS = u.km / u.s


def at(east, north):
    """Position at offsets (arcsec) from the star."""
    return STAR.spherical_offsets_by(east * u.arcsec, north * u.arcsec)


#: A place on the streamer.
NEAR = at(0.6, -7.0)

DS9 = f'# Region file format: DS9 version 4.1\nglobal color=green\nfk5\ncircle({NEAR.ra.deg},{NEAR.dec.deg},3.5")\n'
CRTF = f"#CRTFv0 CASA Region Text Format version 0\ncircle [[{NEAR.ra.deg}deg, {NEAR.dec.deg}deg], 3.5arcsec] coord=J2000\n"
CIRCLE = CircleSkyRegion(NEAR, 3.5 * u.arcsec)


def assert_same_cut(state, cube, star, n_elements=10, uncertainty="spread", ordering="distance", **limits):
    """The explorer's cut and points are those of the functions for scripts, bit by bit."""
    cut = extract_streamer_subcube(cube, **limits)
    np.testing.assert_array_equal(state.streamer_cube.filled_data[:].value, cut.filled_data[:].value)
    np.testing.assert_array_equal(state.streamer_cube.spectral_axis, cut.spectral_axis)
    with warnings.catch_warnings():
        # the explorer says in its status line that bins were merged
        warnings.simplefilter("ignore", StingWarning)
        points = reduce_to_1D(cut, star, n_elements, uncertainty=uncertainty, ordering=ordering)
    assert ("merged" in state.status) == (len(points) < n_elements)
    np.testing.assert_array_equal(state.streamer.data, points.data)
    np.testing.assert_array_equal(state.streamer.uncertainties, points.uncertainties)
    np.testing.assert_array_equal(state.streamer.pc_coords, points.pc_coords)


class TestLimits:
    @pytest.mark.parametrize(
        "changes",
        [
            {"rms_thresh": 6},
            {"vmin": 7.0 * KMS},
            {"vmax": 7500 * u.m / u.s},
            {"vmin": 6.8 * KMS, "vmax": 7.6 * KMS},
            {"rms_thresh": None, "vmin": 6.8 * KMS, "n_elements": 2},
            {"rms_thresh": 0},
            {"rms": 0.1 * u.K},
            {"rms": 120 * u.mK, "islands": "beam"},
            {"rms_thresh": 3, "islands": "main"},
            {"ordering": "curve"},
        ],
        ids=str,
    )
    def test_the_same_as_a_script(self, state, scene, changes):
        state.set_cut(**changes)
        assert_same_cut(state, scene.cube, scene.star_position, **({"rms_thresh": 5} | changes))

    @pytest.mark.parametrize("uncertainty", ["spread", "mean"])
    @pytest.mark.parametrize("n_elements", [2, 13])
    def test_the_points_follow_and_the_cut_stays(self, state, scene, n_elements, uncertainty):
        cut = state.streamer_cube
        state.set_cut(n_elements=n_elements, uncertainty=uncertainty)
        assert state.streamer_cube is cut
        assert_same_cut(state, scene.cube, scene.star_position, n_elements, uncertainty, rms_thresh=5)
        assert state.comparison.matched.shape == state.comparison.residuals.shape == (len(state.streamer), 3)

    def test_the_comparison_is_with_the_new_points(self, state, make_state):
        state.set_cut(vmin=7 * KMS, n_elements=6)
        assert state.comparison.loss == make_state(vmin=7 * KMS, n_elements=6).comparison.loss

    def test_a_limit_that_is_taken_away(self, state, scene):
        state.set_cut(vmin=7 * KMS)
        state.set_cut(vmin=None)
        assert state.session.vmin is None
        assert_same_cut(state, scene.cube, scene.star_position, rms_thresh=5)

    def test_nothing_is_cut_out_any_more(self, state):
        state.set_cut(rms_thresh=None)
        assert state.streamer_cube is state.streamer is None
        assert state.comparison.loss == 0
        assert len(state.comparison.residuals) == 0
        state.undo()
        assert len(state.streamer) == 10
        assert state.comparison.loss > 0

    def test_the_number_of_points_alone_is_no_cut(self, bare):
        bare.set_cut(n_elements=2)
        assert bare.streamer is None
        bare.set_cut(vmin=7 * KMS)
        assert len(bare.streamer) == 2

    def test_the_cube_of_the_user_is_not_changed(self, state, scene):
        before = scene.cube.filled_data[:].copy()
        state.set_cut(vmin=7 * KMS, rms_thresh=6)
        np.testing.assert_array_equal(scene.cube.filled_data[:], before)
        assert state.cube.shape == scene.cube.shape

    @pytest.mark.parametrize(
        ("changes", "error", "name"),
        [
            ({"n_elements": 100_000}, ValueError, "n_elements"),
            ({"rms": 0.03}, u.UnitsError, "rms"),
            ({"rms": 0.03 * u.Jy}, u.UnitsError, "rms"),
            ({"rms": -0.03 * u.K}, ValueError, "rms"),
            ({"rms": [[0.03, 0.03]] * u.K}, ValueError, "rms"),
            ({"rms": 1e3 * u.K}, ValueError, "cut"),
            ({"islands": "none"}, ValueError, "islands"),
            ({"ordering": "radius"}, ValueError, "ordering"),
            ({"min_beams": -1}, ValueError, "min_beams"),
            ({"n_elements": 1}, ValueError, "n_elements"),
            ({"n_elements": 5.5}, ValueError, "n_elements"),
            ({"rms_thresh": 1e5}, ValueError, "cut"),
            ({"rms_thresh": -4}, ValueError, "rms_thresh"),
            ({"rms_thresh": np.nan}, ValueError, "rms_thresh"),
            ({"vmin": 7}, u.UnitsError, "vmin"),
            ({"vmax": 7 * u.Jy}, u.UnitsError, "vmax"),
            ({"vmin": 9 * KMS, "vmax": 8 * KMS}, ValueError, "vmin"),
            ({"vmin": 50 * KMS}, ValueError, "vmin, vmax"),
            ({"uncertainty": "both"}, ValueError, "uncertainty"),
            ({"v_min": 7 * KMS}, ValueError, "cut"),
            ({"regions": ()}, ValueError, "cut"),
            # the first one is good, the second is not
            ({"vmin": 7 * KMS, "rms_thresh": -4}, ValueError, "rms_thresh"),
        ],
        ids=str,
    )
    def test_what_is_refused_leaves_everything_as_it_was(self, state, told, everything, refused, changes, error, name):
        state.set_cut(vmin=6.5 * KMS)
        state.set_cut(vmin=6.6 * KMS)
        state.undo()
        before, heard = everything(state), told(state)
        with refused(name, error):
            state.set_cut(**changes)
        assert everything(state) == before
        assert heard == []
        state.redo()
        assert state.session.vmin == 6.6

    def test_no_beam_for_the_uncertainty_of_the_mean(self, make_cube, everything, refused):
        cube = make_cube(1 + np.random.default_rng(0).random((5, 9, 9)))
        state = ExplorerState(cube, STAR, 293, vmin=5 * KMS, fixed=TRUTH)
        before = everything(state)
        with refused("streamer_cube"):
            state.set_cut(uncertainty="mean")
        assert everything(state) == before


class TestPadded:
    @pytest.fixture
    def padded(self, scene):
        """`scene`, masked with zeros before it was published."""
        values = scene.cube.filled_data[:]
        return SpectralCube(np.where(values > 6 * scene.rms, values, 0 * u.K), wcs=scene.cube.wcs, beam=scene.cube.beam)

    def test_it_is_said_and_the_voxels_that_are_not_zero_are_kept(self, padded, scene):
        state = ExplorerState(padded, scene.star_position, scene.distance, rms_thresh=40, fixed=TRUTH)
        assert "exactly zero" in state.status
        assert "rms_thresh is not applied" in state.status
        values = scene.cube.filled_data[:]
        assert state.streamer.pc_coords.shape[1] == np.count_nonzero(values > 6 * scene.rms)
        with pytest.warns(StingWarning, match="exactly zero"):
            assert_same_cut(state, padded, scene.star_position, rms_thresh=40)

    def test_it_is_said_when_the_threshold_comes_later(self, padded, scene, told):
        state = ExplorerState(padded, scene.star_position, scene.distance, fixed=TRUTH)
        heard = told(state)
        assert "exactly zero" not in state.status
        state.set_cut(rms_thresh=3)
        assert "exactly zero" in state.status
        assert "status" in heard[-1]

    def test_it_is_not_said_of_other_cubes(self, state):
        state.set_cut(rms_thresh=6)
        assert "zero" not in state.status


class TestRegions:
    @pytest.fixture
    def files(self, tmp_path):
        """Paths of one region in two formats."""
        (tmp_path / "streamer.reg").write_text(DS9)
        (tmp_path / "streamer.crtf").write_text(CRTF)
        return tmp_path

    @pytest.mark.parametrize("kind", ["ds9", "crtf", "str", "ds9 bytes", "crtf bytes", "object", "list"])
    def test_however_it_is_given(self, state, scene, files, kind):
        source, name = {
            "ds9": (files / "streamer.reg", "streamer.reg"),
            "crtf": (files / "streamer.crtf", "streamer.crtf"),
            "str": (str(files / "streamer.reg"), "streamer.reg"),
            "ds9 bytes": (DS9.encode(), "upload"),
            "crtf bytes": (CRTF.encode(), "upload"),
            "object": (CIRCLE, "region"),
            "list": ([CIRCLE], "region"),
        }[kind]
        state.add_region(source)
        assert [known for known, _ in state.session.regions] == [name]
        assert_same_cut(state, scene.cube, scene.star_position, rms_thresh=5, region=CIRCLE)

    def test_it_need_not_stay_where_it_was(self, state, files):
        state.add_region(files / "streamer.reg")
        (files / "streamer.reg").unlink()
        state.set_cut(n_elements=5)
        state.set_cut(rms_thresh=6)
        assert [type(region) for region in state.region] == [CircleSkyRegion]

    def test_a_region_alone_is_a_cut(self, bare, scene):
        bare.set_cut(n_elements=2)
        bare.add_region(CIRCLE)
        assert_same_cut(bare, scene.cube, scene.star_position, 2, region=CIRCLE)

    def test_several_add_up_and_an_excluded_one_takes_away(self, state, scene):
        hole = HOLES["sky"]
        other = CircleSkyRegion(STAR, 2.1 * u.arcsec)
        state.add_region([CIRCLE, hole], name="with a hole")
        state.add_region(other)
        assert_same_cut(state, scene.cube, scene.star_position, rms_thresh=5, region=[CIRCLE, hole, other])
        away = np.hypot(state.streamer.pc_coords[0] - 0.6, state.streamer.pc_coords[1] + 7)
        assert away.min() > 1.1
        state.remove_region("with a hole")
        assert_same_cut(state, scene.cube, scene.star_position, rms_thresh=5, region=[other])
        state.remove_region("region")
        assert_same_cut(state, scene.cube, scene.star_position, rms_thresh=5)
        assert state.region == []

    def test_names_are_told_apart(self, state, files):
        for _ in range(3):
            state.add_region(files / "streamer.reg")
        state.add_region(CIRCLE, name="mine")
        state.add_region(CRTF.encode(), name="mine")
        names = [name for name, _ in state.session.regions]
        assert names == ["streamer.reg", "streamer.reg (2)", "streamer.reg (3)", "mine", "mine (2)"]
        state.remove_region("streamer.reg (2)")
        state.add_region(files / "streamer.reg")
        assert [name for name, _ in state.session.regions] == [names[0], *names[2:], names[1]]

    def test_a_crtf_file_under_a_second_name(self, state, scene, files):
        state.add_region(files / "streamer.crtf")
        state.add_region(files / "streamer.crtf")
        assert len(state.region) == 2
        assert_same_cut(state, scene.cube, scene.star_position, rms_thresh=5, region=CIRCLE)

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            (b"", ValueError),
            (b"fk5\ncircle(1,2\n", ValueError),
            (b"#CRTFv0\nnonsense\n", ValueError),
            (b"\xff\xfe\x00\x01 no text", ValueError),
            ("no/such/file.reg", FileNotFoundError),
            ("", FileNotFoundError),
            ([], ValueError),
            (5, TypeError),
            ([CIRCLE, 5], TypeError),
            (CircleSkyRegion(at(3600, 0), 1 * u.arcsec), ValueError),
            (CirclePixelRegion(PixCoord(-50, -50), 3), ValueError),
            (PointSkyRegion(STAR), ValueError),
            # holds a single pixel: fewer voxels than points
            (CircleSkyRegion(at(0.6, -7), 0.11 * u.arcsec), ValueError),
            # in the image, but off all that is bright
            (CircleSkyRegion(at(5, -5), 0.5 * u.arcsec), ValueError),
            (CIRCLE & CircleSkyRegion(STAR, 4 * u.arcsec), ValueError),
            (DS9 * 30, FileNotFoundError),
        ],
    )
    def test_what_is_refused_leaves_everything_as_it_was(self, state, everything, refused, source, error):
        state.add_region(CircleSkyRegion(NEAR, 3 * u.arcsec))
        state.undo()
        before = everything(state)
        with refused("region|n_elements|cut|yso_centre", error):
            state.add_region(source)
        assert everything(state) == before

    @pytest.mark.parametrize(
        ("content", "name"),
        [("", "empty.reg"), ("fk5\ncircle(a,b,c)\n", "bad.reg"), ("circle [[1deg, 2deg], 3arcsec]\n", "headless.crtf")],
    )
    def test_files_that_cannot_be_read_are_named(self, state, tmp_path, content, name):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=rf"^'region' must .+; got .*'{name}'"):
            state.add_region(tmp_path / name)
        assert state.region == []

    def test_a_name_is_no_format(self, state):
        state.add_region(CIRCLE, name="streamer.crtf")
        assert len(state.region) == 1

    def test_a_region_that_is_not_there_cannot_be_removed(self, state, everything, refused):
        state.add_region(CIRCLE)
        before = everything(state)
        with refused("name"):
            state.remove_region("regin")
        assert everything(state) == before


KINDS = [
    CIRCLE,
    CircleSkyRegion(NEAR.galactic, 4 * u.arcsec),
    EllipseSkyRegion(NEAR.icrs, 4 * u.arcsec, 6 * u.arcsec, 30 * u.deg),
    RectangleSkyRegion(NEAR, 3 * u.arcsec, 8 * u.arcsec, -20 * u.deg),
    PolygonSkyRegion(SkyCoord([at(-2, -8), at(3, -9), at(0.5, -3)])),
    CirclePixelRegion(PixCoord(30.3, 20.7), 11.5),
    CircleSkyRegion(NEAR, 3 * u.arcsec, visual=RegionVisual({"color": "red", "linewidth": 2})),
]
HOLES = {
    "sky": CircleSkyRegion(NEAR, 1.1 * u.arcsec, meta=RegionMeta({"include": False})),
    "pixel": CirclePixelRegion(PixCoord(32, 20), 4, meta=RegionMeta({"include": False})),
}


class TestSaveRegion:
    def assert_round_trip(self, state, make_state, path):
        state.save_region(path)
        again = make_state(region=path)
        np.testing.assert_array_equal(again.streamer.pc_coords, state.streamer.pc_coords)
        np.testing.assert_array_equal(again.streamer.data, state.streamer.data)

    @pytest.mark.parametrize("region", KINDS, ids=lambda region: type(region).__name__)
    def test_round_trip(self, make_state, tmp_path, region):
        state = make_state(region=region)
        n_all = make_state().streamer.pc_coords.shape[1]
        assert 0 < state.streamer.pc_coords.shape[1] < n_all
        self.assert_round_trip(state, make_state, tmp_path / "out.reg")

    @pytest.mark.parametrize("hole", HOLES)
    def test_round_trip_of_what_is_excluded(self, make_state, tmp_path, hole):
        state = make_state(region=[CIRCLE, HOLES[hole]])
        assert state.streamer.pc_coords.shape[1] < make_state(region=CIRCLE).streamer.pc_coords.shape[1]
        self.assert_round_trip(state, make_state, tmp_path / "out.reg")

    def test_round_trip_of_what_is_excluded_in_colour(self, make_state, tmp_path):
        # as any file that ds9 has written
        (tmp_path / "in.reg").write_text(DS9 + f'-circle({NEAR.ra.deg},{NEAR.dec.deg},1.1") # color=red\n')
        state = make_state(region=tmp_path / "in.reg")
        assert state.streamer.pc_coords.shape[1] < make_state(region=CIRCLE).streamer.pc_coords.shape[1]
        self.assert_round_trip(state, make_state, tmp_path / "out.reg")

    def test_an_excluded_region_in_colour_as_object(self, make_state):
        hole = HOLES["sky"].copy(visual=RegionVisual({"color": "red"}))
        plain, coloured = (make_state(region=[CIRCLE, one]).streamer for one in (HOLES["sky"], hole))
        np.testing.assert_array_equal(coloured.pc_coords, plain.pc_coords)

    def test_all_together(self, make_state, tmp_path):
        state = make_state(region=[CIRCLE, HOLES["sky"]])
        state.add_region(CRTF.encode(), name="upload.crtf")
        state.add_region(CirclePixelRegion(PixCoord(40, 40), 6))
        self.assert_round_trip(state, make_state, tmp_path / "out.reg")
        assert len(Regions.read(tmp_path / "out.reg", format="ds9")) == 4

    def test_an_old_file_is_replaced(self, make_state, tmp_path):
        (tmp_path / "out.reg").write_text("something else entirely, and longer than what comes" * 100)
        self.assert_round_trip(make_state(region=CIRCLE), make_state, tmp_path / "out.reg")
        assert [path.name for path in tmp_path.iterdir()] == ["out.reg"]

    def test_there_must_be_one(self, state, tmp_path, refused):
        with refused("region"):
            state.save_region(tmp_path / "out.reg")
        assert list(tmp_path.iterdir()) == []

    def test_the_folder_must_exist(self, make_state, tmp_path, refused):
        with refused("path", OSError):
            make_state(region=CIRCLE).save_region(tmp_path / "no" / "out.reg")
        assert list(tmp_path.iterdir()) == []
