"""What an explorer is given: by itself, together, and wrong."""

import numpy as np
import pytest
from astropy import constants
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion
from spectral_cube import SpectralCube

from sting import synthetic
from sting.explorer.state import ExplorerState
from sting.parameters import PARAMETERS, check_parameters
from sting.stream_lines_grad import streamline

KMS = u.km / u.s
TRUTH = synthetic.TRUTH
FIXED = {name: value for name, value in TRUTH.items() if name not in ("r0", "mass")}


@pytest.fixture
def make(scene):
    """Function that makes an explorer of `scene` from keywords alone."""
    return lambda **keywords: ExplorerState(scene.cube, scene.star_position, scene.distance, **keywords)


class TestNothingButTheCube:
    def test_nothing_is_cut_out(self, bare):
        assert bare.streamer_cube is None
        assert bare.streamer is None
        assert "Nothing is cut out" in bare.status
        assert bare.phase == "idle"
        assert [bare.busy, bare.can_undo, bare.can_redo, bare.can_resume, bare.is_fitted] == [False] * 5
        assert bare.result is None
        assert len(bare.losses) == 0

    def test_there_is_a_whole_model_to_look_at(self, bare):
        assert set(bare.parameters) == set(PARAMETERS) - {"mu", "omega"}
        check_parameters({}, bare.parameters)
        path = streamline(bare.parameters, distance=bare.distance)
        curve = bare.comparison.curve
        np.testing.assert_allclose(
            curve, np.transpose([path.ra.value, path.dec.value, path.velocity.value]), rtol=1e-9, atol=1e-9
        )
        assert bare.comparison.loss == 0
        assert bare.comparison.residuals.shape == bare.comparison.matched.shape == (0, 3)

    def test_what_a_fit_cannot_know_is_fixed(self, bare):
        assert set(bare.session.free) == {"r0", "theta0", "phi0", "v_r0", "mass", "rc"}

    def test_the_guess_has_the_size_of_the_image(self, bare, scene):
        # 64 pixels of 0.2 arcsec
        reach = bare.parameters["r0"].value / scene.distance.value
        assert 2 < reach < 13
        assert bare.parameters["rc"].value == pytest.approx(0.1 * bare.parameters["r0"].value)
        velocity = scene.cube.spectral_axis.to_value(KMS)
        assert bare.parameters["v_lsr"].value == pytest.approx(velocity.mean())

    def test_the_channel_that_is_shown_is_bright(self, bare, scene):
        flux = np.maximum(scene.cube.filled_data[:].value, 0).sum(axis=(1, 2))
        assert bare.display.channel == np.argmax(flux)

    def test_it_can_be_cut_later(self, bare):
        bare.set_cut(rms_thresh=5)
        assert len(bare.streamer) == 10
        assert bare.comparison.loss > 0

    def test_the_cut_is_no_more_asked_for_once_it_is_made(self, bare):
        bare.set_cut(rms_thresh=5)
        assert "Nothing is cut out" not in bare.status


class TestGuessFromTheCut:
    def test_the_model_starts_where_the_outermost_point_is_seen(self, make):
        for inc, pa in ((0, 0), (-45, 194), (60, 30)):
            state = make(rms_thresh=5, fixed={"inc": inc * u.deg, "pa": pa * u.deg})
            outermost = np.array([state.streamer.ra_data[0], state.streamer.dec_data[0]])
            start = state.comparison.curve[0, :2]
            np.testing.assert_allclose(start / np.hypot(*start), outermost / np.hypot(*outermost), atol=1e-6)
            assert np.hypot(*start) == pytest.approx(np.hypot(*outermost), rel=0.1)

    def test_v_lsr_is_the_mean_velocity_of_the_points(self, make):
        state = make(rms_thresh=5)
        assert state.parameters["v_lsr"].value == pytest.approx(state.streamer.v_data.mean())

    def test_the_channel_that_is_shown_is_the_brightest_of_the_cut(self, make, scene):
        state = make(rms_thresh=5, vmin=6.8 * KMS)
        flux = np.nansum(state.streamer_cube.filled_data[:].value, axis=(1, 2))
        expected = state.streamer_cube.spectral_axis.to_value(KMS)[np.argmax(flux)]
        assert scene.cube.spectral_axis.to_value(KMS)[state.display.channel] == pytest.approx(expected)


class TestWhatIsGiven:
    def test_parameters(self, make):
        state = make(initial={"r0": 0.01 * u.pc, "mass": 3}, fixed=FIXED)
        assert state.session.free == ("r0", "mass")
        assert state.parameters["r0"].to_value(u.pc) == pytest.approx(0.01)
        assert state.parameters["mass"] == 3 * u.Msun
        for name, value in FIXED.items():
            assert u.isclose(state.parameters[name], value), name
        assert state.parameters["deltar"] == 10 * u.au

    def test_the_dicts_of_the_user_stay_as_they_are(self, make):
        initial, fixed = {"r0": 2500 * u.au}, {"inc": 10 * u.deg}
        make(initial=initial, fixed=fixed)
        assert (initial, fixed) == ({"r0": 2500 * u.au}, {"inc": 10 * u.deg})

    def test_some_parameters_only(self, make):
        state = make(rms_thresh=5, initial={"inc": 20 * u.deg, "r0": 2500 * u.au}, fixed={"mass": 2.0})
        assert set(state.session.free) == {"inc", "r0", "theta0", "phi0", "v_r0", "rc"}
        assert state.parameters["rc"].value == pytest.approx(250)

    @pytest.mark.parametrize(("name", "value"), [("omega", 4e-13 / u.s), ("rc", 300 * u.au), ("mu", 0.1)])
    @pytest.mark.parametrize("where", ["initial", "fixed"])
    def test_the_rotation_as_it_is_given(self, make, name, value, where):
        state = make(**{where: {name: value, "r0": 2500 * u.au, "mass": 4.0}})
        assert state.rotation == name
        assert u.isclose(state.parameters[name], value)
        assert (name in state.session.free) == (where == "initial")

    @pytest.mark.parametrize("v_lsr", [7.4 * KMS, 7400 * u.m / u.s, 7.4])
    def test_v_lsr(self, make, v_lsr):
        state = make(v_lsr=v_lsr)
        assert state.parameters["v_lsr"].to_value(KMS) == pytest.approx(7.4)
        assert "v_lsr" not in state.session.free

    def test_bounds_and_priors(self, make):
        bounds, priors = {"mass": (2, 6) * u.Msun}, {"mass": (4, 0.5) * u.Msun, "r0": (0.01, 0.001) * u.pc}
        state = make(initial={"r0": 2500 * u.au, "mass": 3}, fixed=FIXED, bounds=bounds, priors=priors)
        assert state.session.bounds == {"mass": (2, 6)}
        assert state.session.priors["mass"] == (4, 0.5)
        np.testing.assert_allclose(state.session.priors["r0"], (0.01 * u.pc.to(u.au), 0.001 * u.pc.to(u.au)))
        # without data the priors are all there is
        expected = ((3 - 4) / 0.5) ** 2 + ((2500 - 0.01 * u.pc.to(u.au)) / (0.001 * u.pc.to(u.au))) ** 2
        assert state.comparison.loss == pytest.approx(expected)

    def test_what_is_guessed_lies_within_the_bounds_that_are_given(self, make):
        state = make(bounds={"mass": (2, 6) * u.Msun, "theta0": (5, 12) * u.deg})
        assert 2 <= state.session.values["mass"] <= 6
        assert 5 <= state.parameters["theta0"].value <= 12

    def test_a_prior_on_another_rotation_parameter(self, make):
        initial = {"omega": TRUTH["omega"]}
        fixed = {name: value for name, value in TRUTH.items() if name != "omega"}
        state = make(initial=initial, fixed=fixed, priors={"rc": (100, 10) * u.au})
        rc = (TRUTH["r0"] ** 4 * TRUTH["omega"] ** 2 / (constants.G * TRUTH["mass"])).to_value(u.au)
        assert state.comparison.loss == pytest.approx(((rc - 100) / 10) ** 2)

    def test_cut(self, make, scene):
        region = CircleSkyRegion(scene.star_position, 5 * u.arcsec)
        limits = {"vmin": 6.5 * KMS, "vmax": 7400 * u.m / u.s, "rms_thresh": 4, "rms": 31 * u.mK, "islands": "beam"}
        reduction = {"n_elements": 7, "uncertainty": "mean", "ordering": "curve", "min_beams": 0}
        state = make(**limits, **reduction, region=region)
        assert (state.session.rms, state.session.islands) == (pytest.approx(0.031), "beam")
        assert state.session.reduction[-4:] == (7, "mean", "curve", 0)
        assert state.session.cut[:3] == (6.5, 7.4, 4.0)
        assert [name for name, _ in state.session.regions] == ["region"]
        assert len(state.streamer) == 7
        assert state.streamer.meta["uncertainty"] == "mean"
        assert np.hypot(*state.streamer.pc_coords[:2]).max() < 5
        assert state.streamer.pc_coords[2].max() <= 7.4 + 1e-4
        assert "Nothing" not in state.status
        assert "zero" not in state.status

    def test_distance(self, scene):
        for distance in (293, 293 * u.pc, 0.293 * u.kpc):
            state = ExplorerState(scene.cube, scene.star_position, distance)
            assert u.isclose(state.distance, 293 * u.pc)

    def test_cube_by_path(self, scene, cube_file, monkeypatch):
        monkeypatch.chdir(cube_file.parent)
        for path in (cube_file, str(cube_file), cube_file.name):
            state = ExplorerState(path, scene.star_position, scene.distance, rms_thresh=5, fixed=TRUTH)
            assert state.cube_path == str(cube_file)
            assert isinstance(state.cube, SpectralCube)
        in_memory = ExplorerState(scene.cube, scene.star_position, scene.distance, rms_thresh=5, fixed=TRUTH)
        assert in_memory.cube_path is None
        np.testing.assert_allclose(state.streamer.data, in_memory.streamer.data)

    def test_a_frequency_axis(self, make_cube):
        values = np.random.default_rng(0).random((5, 6, 7))
        state = ExplorerState(make_cube(values, axis="frequency"), SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5"), 140)
        assert state.cube.spectral_axis.unit == KMS
        np.testing.assert_allclose(state.images.velocity, 5 + 0.1 * np.arange(5), atol=1e-6)


class TestWrong:
    STAR = SkyCoord(52.2, 31.2, unit="deg")

    @pytest.mark.parametrize(
        ("position", "value", "error", "name"),
        [
            (0, 5, TypeError, "cube"),
            (0, np.zeros((3, 4, 5)), TypeError, "cube"),
            (0, "no/such/cube.fits", FileNotFoundError, "cube"),
            (1, (52.2, 31.2), TypeError, "star_position"),
            (1, "3h28m55s +31d14m37s", TypeError, "star_position"),
            (1, None, TypeError, "star_position"),
            (1, SkyCoord([52.2, 52.3], [31.2, 31.2], unit="deg"), TypeError, "star_position"),
            (2, -293, ValueError, "distance"),
            (2, 0 * u.pc, ValueError, "distance"),
            (2, np.nan, ValueError, "distance"),
            (2, 293 * u.K, TypeError, "distance"),
            (2, "near", TypeError, "distance"),
        ],
    )
    def test_cube_star_distance(self, scene, refused, position, value, error, name):
        arguments = [scene.cube, scene.star_position, scene.distance]
        arguments[position] = value
        with refused(name, error):
            ExplorerState(*arguments)

    def test_a_cube_without_a_rest_frequency(self, make_cube, refused):
        with refused("cube"):
            ExplorerState(make_cube(np.ones((3, 4, 5)), axis="frequency", rest_frequency=None), self.STAR, 140)

    @pytest.mark.parametrize(
        ("keywords", "error", "name"),
        [
            ({"vmn": 5 * KMS}, TypeError, "vmn"),
            ({"vmin": 5}, u.UnitsError, "vmin"),
            ({"vmin": 5 * u.arcsec}, u.UnitsError, "vmin"),
            ({"vmax": np.nan * KMS}, ValueError, "vmax"),
            ({"vmin": 8 * KMS, "vmax": 7 * KMS}, ValueError, "vmin"),
            ({"vmin": 70 * KMS}, ValueError, "vmin, vmax"),
            ({"rms_thresh": -1}, ValueError, "rms_thresh"),
            ({"rms_thresh": "4"}, ValueError, "rms_thresh"),
            ({"rms_thresh": 1e6}, ValueError, "cut"),
            ({"n_elements": 1}, ValueError, "n_elements"),
            ({"n_elements": 7.0}, ValueError, "n_elements"),
            ({"n_elements": True}, ValueError, "n_elements"),
            ({"n_elements": 10_000, "rms_thresh": 5}, ValueError, "n_elements"),
            ({"uncertainty": "sigma"}, ValueError, "uncertainty"),
            ({"ordering": 1}, ValueError, "ordering"),
            ({"min_beams": np.nan}, ValueError, "min_beams"),
            ({"islands": None}, ValueError, "islands"),
            ({"rms": 5}, u.UnitsError, "rms"),
            ({"region": "no/such/file.reg"}, FileNotFoundError, "region"),
            ({"region": 5}, TypeError, "region"),
            ({"region": []}, ValueError, "region"),
            ({"region": CircleSkyRegion(STAR, 1 * u.arcsec)}, ValueError, "region"),
            ({"v_lsr": 7 * u.K}, u.UnitsError, "v_lsr"),
            ({"v_lsr": "fast"}, TypeError, "v_lsr"),
            ({"v_lsr": 7, "initial": {"v_lsr": 7}}, ValueError, "v_lsr"),
            ({"v_lsr": 7, "fixed": {"v_lsr": 7}}, ValueError, "v_lsr"),
            ({"initial": {"r_0": 2000}}, ValueError, "initial|initial_opt_params"),
            ({"fixed": {"mas": 1}}, ValueError, "fixed|fixed_params"),
            ({"initial": {"r0": 2000}, "fixed": {"r0": 2000}}, ValueError, "r0"),
            ({"initial": {"rc": 100, "omega": 5e-13}}, ValueError, "omega, rc or mu"),
            ({"initial": {"mu": 0.1}, "fixed": {"omega": 5e-13}}, ValueError, "omega, rc or mu"),
            ({"initial": {"mu": 1.0}}, ValueError, "mu"),
            ({"initial": {"rc": 3000, "r0": 2000}}, ValueError, "rc"),
            ({"initial": {"deltar": 5}}, ValueError, "deltar"),
            ({"initial": {"mass": -1}}, ValueError, "mass"),
            ({"initial": {"mass": np.inf}}, ValueError, "mass"),
            ({"initial": {"r0": 2000 * u.K}}, u.UnitsError, "r0"),
            ({"initial": {"r0": [1, 2]}}, ValueError, "r0"),
            ({"fixed": {"theta0": 200 * u.deg}}, ValueError, "theta0"),
            ({"bounds": {"foo": (1, 2)}}, ValueError, "bounds|param_bounds"),
            ({"bounds": {"inc": (-1, 1)}}, ValueError, "bounds|param_bounds"),
            ({"bounds": {"mass": (2, np.inf)}}, ValueError, r"(param_)?bounds\['mass'\]"),
            ({"bounds": {"mass": (6, 2)}}, ValueError, r"(param_)?bounds\['mass'\]"),
            ({"bounds": {"mass": 6}}, ValueError, r"(param_)?bounds\['mass'\]"),
            ({"bounds": {"mass": (1, 2)}, "initial": {"mass": 3}}, ValueError, "mass"),
            ({"bounds": [1, 2]}, TypeError, "bounds|param_bounds"),
            ({"priors": {"inc": (0, 1)}}, ValueError, "priors"),
            ({"priors": {"mass": (4, 0)}}, ValueError, r"priors\['mass'\]"),
            ({"priors": {"mass": (4, 1) * u.au}}, u.UnitsError, r"priors\['mass'\]"),
            ({"priors": 5}, TypeError, "priors"),
            ({"initial": 5}, TypeError, "initial"),
            ({"fixed": [1, 2]}, TypeError, "fixed"),
        ],
    )
    def test_keywords(self, make, refused, keywords, error, name):
        with refused(name, error):
            make(**keywords)

    def test_an_unknown_keyword_is_said_to_be_one_of_the_explorer(self, make):
        with pytest.raises(TypeError, match="Did you mean 'n_elements'"):
            make(n_element=5)

    def test_an_unknown_keyword_is_not_said_to_be_one_of_init(self, make):
        with pytest.raises(TypeError) as caught:
            make(n_element=5)
        assert "__init__" not in str(caught.value)
        assert "self" not in str(caught.value)

    def test_a_star_off_the_cube(self, scene, refused):
        with refused("star_position|yso_centre"):
            ExplorerState(scene.cube, SkyCoord(10, 10, unit="deg"), scene.distance, rms_thresh=5)

    def test_too_many_voxels(self, make, refused, monkeypatch):
        n = make(rms_thresh=5).streamer.pc_coords.shape[1]
        monkeypatch.setattr("sting.explorer.exploration.MOST_VOXELS", n)
        assert len(make(rms_thresh=5).streamer) == 10
        monkeypatch.setattr("sting.explorer.exploration.MOST_VOXELS", n - 1)
        with refused("cut"):
            make(rms_thresh=5)

    def test_too_many_voxels_are_counted_as_they_are(self, make, monkeypatch):
        n = make(rms_thresh=5).streamer.pc_coords.shape[1]
        monkeypatch.setattr("sting.explorer.exploration.MOST_VOXELS", n - 1)
        with pytest.raises(ValueError, match="must keep at most") as caught:
            make(rms_thresh=5)
        assert f"got {n}." in str(caught.value)
