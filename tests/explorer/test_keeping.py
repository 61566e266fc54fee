"""What is written: the folder of results, the script that repeats the fit, and the state that can be taken up again."""

import json
import runpy
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, RegionMeta, Regions

import sting
from sting.explorer.script import script_of
from sting.explorer.state import ExplorerState
from sting.fit_result import FitResult
from sting.parameters import check_parameters, parse_bounds, parse_priors
from sting.synthetic import STAR, TRUTH

KMS = u.km / u.s
CIRCLE = CircleSkyRegion(STAR.spherical_offsets_by(0.6 * u.arcsec, -7 * u.arcsec), 3.5 * u.arcsec)
HOLE = CirclePixelRegion(PixCoord(32, 20), 2.1, meta=RegionMeta({"include": False}))
CRTF = f"#CRTFv0\ncircle [[{STAR.ra.deg}deg, {STAR.dec.deg}deg], 3.1arcsec] coord=J2000\n"


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    """A folder into which a fit with a region was saved, what was said to be written, and the explorer."""
    folder = tmp_path_factory.mktemp("results") / "new" / "folder"
    fitted.state.save_state(folder.parent.parent / "copy.json")
    state = ExplorerState.from_state(folder.parent.parent / "copy.json")
    state.add_region(CIRCLE)
    return SimpleNamespace(folder=folder, written=state.save(folder), state=state)


class TestSave:
    FILES = ("explorer.py", "explorer.json", "regions.reg", "best_fit.ecsv", "best_fit_params.json", "optimisation_log.csv")

    def test_all_that_is_said_to_be_written_is(self, saved):
        assert len(set(saved.written)) == len(saved.written)
        assert {path.name for path in saved.written} >= set(self.FILES)
        assert set(saved.written) == set(saved.folder.iterdir())
        assert all(path.stat().st_size > 0 for path in saved.written)

    def test_they_are_what_they_are_called(self, saved):
        result = FitResult.read(saved.folder / "best_fit.ecsv")
        assert result.best_opt_params == saved.state.result.best_opt_params
        assert (saved.folder / "explorer.py").read_text() == saved.state.to_script()
        assert len(Regions.read(saved.folder / "regions.reg", format="ds9")) == 1
        again = ExplorerState.from_state(saved.folder / "explorer.json")
        assert again.session == saved.state.session

    def test_without_a_fit(self, state, refused, tmp_path):
        with refused("result", RuntimeError):
            state.save(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_where_a_file_is(self, fitted, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(OSError, match=r"folder|exists|directory"):
            fitted.state.save(tmp_path / "out")
        assert (tmp_path / "out").read_text() == "mine"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Function that runs a script with stand-ins for the three functions that it calls, and returns what they were given."""

    def run(script):
        calls = {}

        def call(name, *a, **k):
            calls[name] = SimpleNamespace(a=a, k=k)
            return name

        for name in ("extract_streamer_subcube", "reduce_to_1D", "fit_streamline"):
            monkeypatch.setattr(sting, name, partial(call, name), raising=False)
        (tmp_path / "script.py").write_text(script, encoding="utf-8")
        names = runpy.run_path(str(tmp_path / "script.py"), run_name="__main__")
        return SimpleNamespace(**calls, names=names)

    return run


def assert_states(calls, session, cube, state):
    """The script does what the session says, to the last digit."""
    cut, reduction, fit = calls.extract_streamer_subcube, calls.reduce_to_1D, calls.fit_streamline
    assert cut.a == (cube,)
    limits = {"vmin": session.vmin, "vmax": session.vmax, "rms_thresh": session.rms_thresh}
    limits["rms"] = session.rms if session.rms_thresh is not None else None
    limits["islands"] = None if session.islands == "keep" else session.islands
    regions = cut.k.pop("region", [])
    assert {name: getattr(value, "value", value) for name, value in cut.k.items()} == {
        name: value for name, value in limits.items() if value is not None
    }
    assert all(cut.k[name].unit == KMS for name in ("vmin", "vmax") if name in cut.k)
    assert [type(region) for region in regions] == [type(region) for region in state.region]
    streamer_cube, star, n_elements = reduction.a
    assert streamer_cube == "extract_streamer_subcube"
    assert star.separation(state.star_position).arcsec < 1e-9
    assert n_elements == session.n_elements
    assert {"ordering": "distance", "min_beams": 1} | reduction.k == {
        name: getattr(session, name) for name in ("uncertainty", "ordering", "min_beams")
    }
    assert cut.k.get("rms", 1 * state.cube.unit).unit == state.cube.unit
    initial, fixed, streamer, distance = fit.a
    assert streamer == "reduce_to_1D"
    assert distance == state.distance
    free, others, bounds, priors = session.split()
    assert check_parameters(initial, fixed) == (free, others)
    assert all(isinstance(value, u.Quantity | float) for value in (initial | fixed).values())
    assert parse_bounds(fit.k.pop("param_bounds"), free) == bounds
    assert parse_priors(fit.k.pop("priors"), free) == priors
    fit.k.pop("save_folder")
    keywords = session.fit_keywords()
    assert fit.k == {name: value for name, value in keywords.items() if name not in ("param_bounds", "priors")}


#: Runs two scripts, but for what they print at the end, the uncertainties, which would take longer than the fit.
BY_ITSELF = """
import json, runpy
quiet = {"print": lambda *values: None}
found = [runpy.run_path(name, quiet, "__main__")["result"] for name in ("whole.py", "stopped.py")]
print(json.dumps([{n: v.value for n, v in r.best_opt_params.items()} | {"loss": r.loss} for r in found]))
"""


class TestScript:
    def test_after_a_fit_it_states_the_start(self, fitted, run, cube_file):
        state = fitted.state
        assert state.session.values != fitted.start.values
        assert_states(run(state.to_script()), fitted.start, str(cube_file), state)

    def test_after_a_change_it_states_the_present(self, fitted, run, tmp_path, cube_file):
        fitted.state.save_state(tmp_path / "copy.json")
        state = ExplorerState.from_state(tmp_path / "copy.json")
        assert state.to_script() == fitted.state.to_script()
        state.set_value("v_r0", 0.4)
        assert_states(run(state.to_script()), state.session, str(cube_file), state)
        state.undo()
        assert state.to_script() == fitted.state.to_script()

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s.set_cut(vmin=6.7 * KMS, vmax=7.77 * KMS, rms_thresh=4.5, n_elements=7, uncertainty="mean"),
            lambda s: s.set_cut(vmin=1 / 7 * KMS),
            lambda s: s.set_cut(rms=100 / 7 * u.mK, islands="main", ordering="curve", min_beams=0.5),
            lambda s: (s.add_region(CIRCLE), s.set_cut(rms_thresh=None, rms=0.1 * u.K, n_elements=2)),
            lambda s: s.set_rotation("rc"),
            lambda s: s.set_rotation("mu"),
            lambda s: (s.set_rotation("rc"), s.set_free("rc"), s.set_bounds("rc", (1, 1000)), s.set_prior("rc", (100, 30))),
            lambda s: (s.set_free("omega"), s.set_bounds("omega", (1e-13, 1e-12)), s.set_prior("omega", (4e-13, 1e-13))),
            lambda s: (s.set_bounds("phi0", (30, 75.5) * u.deg), s.set_prior("phi0", (59, 1 / 3) * u.deg)),
            # they wait, but are no part of the fit
            lambda s: (s.set_bounds("mass", (1, 5)), s.set_prior("mass", (3, 1))),
            lambda s: [s.set_free(name) for name in ("theta0", "v_r0", "mass", "inc", "pa", "rmin")],
            lambda s: [s.set_free(name, False) for name in ("phi0", "v_lsr")],
            lambda s: s.set_fit(optimizer="lbfgs", loss_method=0, n_epochs=12, learning_rate=0.1, patience=7),
            lambda s: s.set_value("v_lsr", -0.1),
            lambda s: s.add_region(CIRCLE),
            lambda s: (s.add_region([CIRCLE, HOLE], name='of "Max"'), s.add_region(CRTF.encode(), name="other.crtf")),
        ],
    )
    def test_it_states_what_was_chosen(self, state, run, change):
        change(state)
        script = state.to_script("data/cube.fits", save_folder=None)
        compile(script, "script.py", "exec")
        assert max(map(len, script.splitlines())) < 2000
        assert_states(run(script), state.session, "data/cube.fits", state)

    def test_its_regions_cut_the_same(self, make_state, run, scene):
        state = make_state(region=[CIRCLE, HOLE])
        state.add_region(CRTF.encode())
        regions = run(state.to_script("cube.fits")).extract_streamer_subcube.k["region"]
        again = make_state(region=regions)
        np.testing.assert_array_equal(again.streamer.pc_coords, state.streamer.pc_coords)

    def test_the_folder(self, state, run):
        for folder in ("sting_results", "my results", None):
            assert run(state.to_script("cube.fits", folder)).fit_streamline.k["save_folder"] == folder

    def test_no_path_of_the_cube(self, state):
        script = state.to_script()
        compile(script, "script.py", "exec")
        assert "in memory" in script

    @pytest.mark.parametrize("path", ['a "quoted" cube.fits', "back\\slash.fits", "Ångström.fits"])
    def test_odd_paths(self, state, run, path):
        assert run(state.to_script(path)).extract_streamer_subcube.a == (path,)

    def test_a_path_beyond_16_bits(self, state, run):
        assert run(state.to_script("\U0001f41d.fits")).extract_streamer_subcube.a == ("\U0001f41d.fits",)

    def test_a_name_of_two_lines(self, state):
        state.add_region(CIRCLE, name="one [\nand two")
        compile(state.to_script("cube.fits"), "script.py", "exec")

    def test_a_numpy_number(self, state, run, tmp_path):
        state.set_fit(n_epochs=np.int64(20), learning_rate=np.float32(0.25), loss_method=np.int64(0))
        state.set_cut(n_elements=np.int64(8), rms_thresh=np.float64(5))
        assert_states(run(state.to_script("cube.fits")), state.session, "cube.fits", state)

    def test_the_star_in_any_frame(self, scene, run):
        for star in (STAR, STAR.icrs, STAR.galactic):
            state = ExplorerState(scene.cube, star, scene.distance, fixed=TRUTH)
            script = script_of(state.session, "cube.fits", "K", star, scene.distance, None)
            found = run(script).reduce_to_1D.a[1]
            assert isinstance(found, SkyCoord)
            assert found.separation(star).arcsec < 1e-9

    @pytest.mark.slow
    def test_run_by_itself_it_gives_the_same_fit(self, fitted, interrupted, tmp_path):
        (tmp_path / "whole.py").write_text(fitted.state.to_script(save_folder=None))
        (tmp_path / "stopped.py").write_text(interrupted.stopped.script)
        done = subprocess.run([sys.executable, "-c", BY_ITSELF], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        for result, values in zip((fitted.state.result, interrupted.stopped.result), found, strict=True):
            assert values.pop("loss") == pytest.approx(result.loss, rel=1e-6)
            for name, value in result.best_opt_params.items():
                assert values[name] == pytest.approx(value.value, rel=1e-6), name
        assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.py", "whole.py"]


class TestState:
    @pytest.fixture
    def rich(self, make_state_from_file, toy):
        """An explorer in which everything was changed, without a fit."""
        state = make_state_from_file(n_epochs=12, learning_rate=0.1, patience=7, loss_method=1)
        state.set_cut(vmin=6.7 * KMS, rms_thresh=4.5, n_elements=7, uncertainty="mean")
        state.add_region([CIRCLE, HOLE], name="with a hole")
        state.add_region(CRTF.encode())
        state.set_value("phi0", 1 / 3)
        state.set_free("mass")
        state.set_bounds("mass", (1, 5))
        state.set_prior("inc", (-40, 7) * u.deg)
        state.set_rotation("rc")
        state.set_display(channel=3, moment=1, stretch="asinh", low=-0.1, high=0.5, contours=False, pv_axis="path", pixel=(3, 4))
        return state

    def test_all_that_was_chosen(self, rich, tmp_path):
        rich.save_state(tmp_path / "state.json")
        again = ExplorerState.from_state(tmp_path / "state.json")
        assert again.session == rich.session
        assert again.display == rich.display
        assert again.cube_path == rich.cube_path
        assert again.distance == rich.distance
        assert again.star_position.separation(rich.star_position).arcsec < 1e-9
        np.testing.assert_allclose(again.streamer.data, rich.streamer.data, atol=1e-8)
        np.testing.assert_allclose(again.streamer.uncertainties, rich.streamer.uncertainties, atol=1e-8)
        assert again.comparison.loss == pytest.approx(rich.comparison.loss, rel=1e-6)
        assert again.result is None
        assert again.phase == "idle"
        assert not again.can_undo
        assert again.to_script() == rich.to_script()
        # the way back leads here, not to the guesses of an empty explorer
        again.set_value("r0", 2000)
        again.reset()
        assert again.session == rich.session
        # and what is written of it is the same
        again.save_state(tmp_path / "again.json")
        first, second = (json.loads((tmp_path / name).read_text()) for name in ("state.json", "again.json"))
        np.testing.assert_allclose(second.pop("star_icrs_deg"), first.pop("star_icrs_deg"), atol=1e-12)
        assert first == second

    def test_a_fit(self, fitted, tmp_path):
        state = fitted.state
        state.save_state(tmp_path / "state.json")
        again = ExplorerState.from_state(tmp_path / "state.json")
        assert again.session == state.session
        assert again.result.best_opt_params == state.result.best_opt_params
        np.testing.assert_array_equal(again.result.loss_history, state.result.loss_history)
        np.testing.assert_array_equal(again.losses, state.losses)
        np.testing.assert_allclose(again.result.covariance, state.result.covariance, rtol=1e-9)
        assert again.fitted_session == fitted.start
        np.testing.assert_allclose(again.fitted_streamer.data, state.fitted_streamer.data, atol=1e-8)
        assert again.phase == "done"
        assert again.is_fitted
        assert not again.can_resume
        again.set_value("v_r0", 0.1)
        assert not again.is_fitted

    def test_a_fit_of_another_cut(self, fitted, tmp_path):
        fitted.state.save_state(tmp_path / "state.json")
        state = ExplorerState.from_state(tmp_path / "state.json")
        state.set_cut(n_elements=6, rms_thresh=6)
        state.save_state(tmp_path / "again.json")
        again = ExplorerState.from_state(tmp_path / "again.json")
        assert len(again.streamer) == 6
        assert len(again.fitted_streamer) == 10
        np.testing.assert_allclose(again.fitted_streamer.data, fitted.state.streamer.data, atol=1e-8)
        assert not again.is_fitted

    def test_a_cube_in_memory(self, state, scene, refused, tmp_path):
        state.save_state(tmp_path / "state.json")
        with refused("cube"):
            ExplorerState.from_state(tmp_path / "state.json")
        again = ExplorerState.from_state(tmp_path / "state.json", cube=scene.cube)
        assert again.session == state.session
        np.testing.assert_allclose(again.streamer.data, state.streamer.data, atol=1e-8)

    def test_a_cube_that_is_gone(self, rich, refused, cube_file, tmp_path):
        rich.save_state(tmp_path / "state.json")
        content = json.loads((tmp_path / "state.json").read_text())
        content["cube"] = str(tmp_path / "gone.fits")
        (tmp_path / "state.json").write_text(json.dumps(content))
        with refused("cube", FileNotFoundError):
            ExplorerState.from_state(tmp_path / "state.json")
        assert ExplorerState.from_state(tmp_path / "state.json", cube=cube_file).session == rich.session

    def test_a_file_that_is_not_there(self, refused, tmp_path):
        with refused("path", FileNotFoundError):
            ExplorerState.from_state(tmp_path / "no.json")
        with refused("path", FileNotFoundError):
            ExplorerState.from_state(tmp_path)

    @pytest.fixture
    def content(self, state, tmp_path):
        """What a state file holds."""
        state.save_state(tmp_path / "state.json")
        return json.loads((tmp_path / "state.json").read_text())

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda content: "",
            lambda content: "{",
            lambda content: "[1, 2]",
            lambda content: "5",
            lambda content: "\udcff",
            lambda content: json.dumps(content)[:-20],
            lambda content: json.dumps(content | {"format": "something else"}),
            lambda content: json.dumps({key: value for key, value in content.items() if key != "format"}),
            lambda content: json.dumps({key: value for key, value in content.items() if key != "version"}),
            lambda content: json.dumps(content | {"version": content["version"] + 1}),
            lambda content: json.dumps(content | {"session": content["session"] | {"colour": 3}}),
            lambda content: json.dumps(content | {"display": {"kanal": 3}}),
            *(
                pytest.param(spoil)
                for spoil in (
                    lambda content: json.dumps({key: value for key, value in content.items() if key != "session"}),
                    lambda content: json.dumps({key: value for key, value in content.items() if key != "star_icrs_deg"}),
                    lambda content: json.dumps(content | {"session": None}),
                    lambda content: json.dumps(content | {"session": content["session"] | {"optimizer": "foo"}}),
                    lambda content: json.dumps(content | {"session": content["session"] | {"free": ["foo"]}}),
                    lambda content: json.dumps(content | {"session": content["session"] | {"regions": [["name", "no text"]]}}),
                    lambda content: json.dumps(content | {"result": "no table", "fitted_session": content["session"]}),
                )
            ),
        ],
    )
    def test_what_is_no_state_file(self, content, scene, refused, tmp_path, spoil):
        (tmp_path / "state.json").write_bytes(spoil(content).encode("utf-8", errors="surrogateescape"))
        with refused("path"):
            ExplorerState.from_state(tmp_path / "state.json", cube=scene.cube)

    def test_numbers_of_numpy(self, state, scene, tmp_path):
        state.set_fit(n_epochs=np.int64(20), learning_rate=np.float32(0.25))
        state.set_cut(n_elements=np.int64(8), rms_thresh=np.float32(5))
        state.set_value("r0", np.float32(2000))
        state.save_state(tmp_path / "state.json")
        assert ExplorerState.from_state(tmp_path / "state.json", cube=scene.cube).session == state.session

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s.set_display(channel=np.int64(3)),
            lambda s: s.set_display(low=np.float32(0.1)),
            lambda s: s.set_display(pixel=tuple(np.array([3, 4]))),
            lambda s: s.set_display(contours=np.bool_(False)),
            lambda s: s.set_fit(loss_method=np.int64(0)),
        ],
    )
    def test_numbers_of_numpy_where_a_choice_is_kept_as_it_comes(self, state, tmp_path, change):
        change(state)
        state.save_state(tmp_path / "state.json")

    def test_a_list_for_a_pixel(self, state, scene, tmp_path):
        state.set_display(pixel=(3, 4))
        state.save_state(tmp_path / "state.json")
        again = ExplorerState.from_state(tmp_path / "state.json", cube=scene.cube)
        assert again.display.pixel == (3, 4)


class TestNothingHalfWritten:
    def test_no_folder(self, state, refused, tmp_path):
        for path in (tmp_path / "no" / "state.json", str(tmp_path / "no" / "state.json")):
            with refused("path", OSError):
                state.save_state(path)
        assert list(tmp_path.iterdir()) == []

    def test_in_the_present_folder(self, state, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        state.save_state("state.json")
        assert [path.name for path in tmp_path.iterdir()] == ["state.json"]

    @pytest.mark.parametrize("where", ["os.replace", "Path.write_text"])
    def test_the_old_file_stays_if_writing_fails(self, state, tmp_path, monkeypatch, where):
        (tmp_path / "state.json").write_text("old")

        def fail(*arguments, **keywords):
            raise OSError("the disk is full")

        monkeypatch.setattr(f"sting.files.{where}", fail)
        with pytest.raises(OSError, match="the disk is full"):
            state.save_state(tmp_path / "state.json")
        assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
        assert (tmp_path / "state.json").read_text() == "old"

    def test_an_old_file_is_replaced_as_a_whole(self, state, scene, tmp_path):
        (tmp_path / "state.json").write_text("old" * 100_000)
        state.save_state(tmp_path / "state.json")
        assert ExplorerState.from_state(tmp_path / "state.json", cube=scene.cube).session == state.session
        assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
