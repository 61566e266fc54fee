"""Fits that need no guess: what the search finds, what it says of it, and what it refuses."""

import jax
import numpy as np
import pytest
from astropy import units as u

from sting import search, synthetic
from sting.core.levenberg import run_descents
from sting.fit_result import FitResult
from sting.gradient_descent import fit_streamline
from sting.search import _group, iterate_minima
from sting.stream_lines_grad import streamline

TRUTH = synthetic.TRUTH
AXIS = {name: TRUTH[name] for name in ("mass", "inc", "pa", "v_lsr")}
#: Without noise and over the whole path: nothing is left to guess.
SHAPE = {"r0": 2800, "theta0": 52, "phi0": 60, "v_r0": 0.3}


def fit(guess, fixed, streamer, **keywords):
    return fit_streamline(
        guess, fixed, streamer, 293, **{"save_folder": None, "progress": False, "optimizer": "lbfgs"} | keywords
    )


@pytest.fixture(scope="module")
def points():
    return synthetic.make_streamer_points(seed=3)


@pytest.fixture(scope="module")
def found(points):
    """A search without any guess, in noise."""
    return fit("auto", AXIS, points, n_starts=16)


class TestFound:
    # a short form of benchmarks/search.py: on both sides of the midplane, with the axis known and not
    @pytest.mark.parametrize("seed", range(6))
    def test_as_good_as_a_fit_from_the_truth(self, seed):
        rng = np.random.default_rng(100 + seed)
        truth = TRUTH | {
            "r0": rng.uniform(2000, 4000) * u.au,
            "theta0": rng.uniform(20, 80) * u.deg if seed % 2 else rng.uniform(100, 160) * u.deg,
            "phi0": rng.uniform(0, 360) * u.deg,
            "v_r0": rng.uniform(0, 1) * u.km / u.s,
        }
        streamer = synthetic.make_streamer_points(truth, seed=seed)
        known = ("mass", "rmin", "v_lsr") + (("inc", "pa") if seed < 3 else ())
        fixed = {name: truth[name] for name in known}
        priors = {name: (truth[name].value, 10) * u.deg for name in ("inc", "pa") if name not in known}
        start = {name: value for name, value in truth.items() if name not in fixed}
        best = fit(start, fixed, streamer, priors=priors)
        assert fit("auto", fixed, streamer, priors=priors, n_starts=16).loss <= 1.01 * best.loss + 1e-6

    def test_the_truth_without_noise(self):
        result = fit("auto", AXIS | {"rmin": 50}, synthetic.make_streamer_points(part=(0, 1)), n_starts=16)
        assert result.loss < 1e-6
        for name, value in SHAPE.items():
            assert result.best_opt_params[name].value == pytest.approx(value, rel=1e-2), name

    def test_a_descent_never_ends_above_its_start(self, points):
        # the guess is the first start, and with one start there is no other
        guess = {name: TRUTH[name] for name in ("r0", "theta0", "phi0", "v_r0", "omega")}
        fixed = {name: value for name, value in TRUTH.items() if name not in guess}
        (last,) = iterate_minima(guess, fixed, points, 293, n_starts=1)
        assert last.loss == pytest.approx(fit(guess, fixed, points).loss, rel=1e-4)

    def test_the_guess_is_one_of_the_starts(self, points, monkeypatch):
        # all others are sent away
        guess = {name: 0.9 * TRUTH[name] for name in ("r0", "theta0", "phi0", "v_r0", "omega")}
        fixed = {name: value for name, value in TRUTH.items() if name not in guess}
        seen = []
        draw = search._draw_starts
        monkeypatch.setattr(search, "_draw_starts", lambda *args: seen.append(draw(*args)) or seen[0])
        list(iterate_minima(guess, fixed, points, 293, n_starts=3))
        assert seen[0].shape[0] == 3
        assert seen[0][0, :4] == pytest.approx([0.9 * 2800, np.radians(0.9 * 52), np.radians(0.9 * 60), 0.27])
        assert abs(seen[0][1, 0] - 0.9 * 2800) > 1

    def test_the_flip_of_a_guess_whose_axis_is_free_is_one_too(self, points, monkeypatch):
        guess = {name: TRUTH[name] for name in ("r0", "theta0", "phi0", "v_r0", "omega", "inc", "pa")}
        fixed = {name: value for name, value in TRUTH.items() if name not in guess}
        seen = []
        draw = search._draw_starts
        monkeypatch.setattr(search, "_draw_starts", lambda *args: seen.append(draw(*args)) or seen[0])
        list(iterate_minima(guess, fixed, points, 293, n_starts=2))
        paths = []
        names = ("r0", "theta0", "phi0", "v_r0", "mu", "mass", "inc", "pa", "rmin", "v_lsr")
        for start in seen[0]:
            paths.append(streamline(dict(zip(names, start.tolist(), strict=True)), distance=293))
        # it starts at the same place, with the rotation reversed
        np.testing.assert_allclose(paths[0].position[0].value, paths[1].position[0].value, atol=1e-6)
        turn = [np.cross(path.position[0].value, path.velocity_xyz[0].value) for path in paths]
        np.testing.assert_allclose(turn[0], -turn[1], atol=1e-6 * np.abs(turn[0]).max())

    @pytest.mark.parametrize("free", [("inc", "pa"), ("v_lsr",)])
    def test_what_is_not_fixed_is_free(self, points, free):
        fixed = {name: value for name, value in AXIS.items() if name not in free}
        *_, last = iterate_minima("auto", fixed, points, 293, n_starts=4)
        assert set(last.params) == {"r0", "theta0", "phi0", "v_r0", "rc", *free}

    def test_the_rotation_as_bounds_or_priors_name_it(self, points):
        for keywords in ({"param_bounds": {"omega": (1e-14, 1e-11) / u.s}}, {"priors": {"omega": (5e-13, 1e-13) / u.s}}):
            *_, last = iterate_minima("auto", AXIS, points, 293, n_starts=2, **keywords)
            assert "omega" in last.params
            assert "rc" not in last.params

    def test_within_the_bounds(self, points):
        bounds = {"mass": (5, 6) * u.Msun, "phi0": (300, 320) * u.deg, "r0": (2000, 2500) * u.au}
        fixed = {name: value for name, value in AXIS.items() if name != "mass"}
        result = fit("auto", fixed, points, n_starts=8, param_bounds=bounds)
        for name, (low, high) in bounds.items():
            values = result.minima[name]
            assert ((values >= low * (1 - 1e-9)) & (values <= high * (1 + 1e-9))).all(), name

    @pytest.mark.slow
    def test_with_stretch(self, points):
        result = fit("auto", AXIS | {"deltar": 100 * u.au}, points, n_starts=8, matching="stretch")
        # whose loss is not smooth
        assert result.loss == pytest.approx(result.minima["loss"][0], rel=0.01)


class TestMinima:
    def test_ranked_and_counted(self, found):
        minima = found.minima
        assert minima.colnames == ["loss", "n_reached", "r0", "theta0", "phi0", "v_r0", "rc"]
        assert (np.diff(minima["loss"]) >= 0).all()
        assert minima["n_reached"].sum() == minima.meta["n_converged"] <= minima.meta["n_starts"] == 16
        assert minima["n_reached"][0] > 4
        assert minima["loss"][0] == pytest.approx(found.loss, rel=1e-6)

    def test_each_has_the_loss_that_it_is_said_to_have(self, found, points):
        for row in found.minima:
            start = {name: row[name] for name in found.names}
            again = fit(start, AXIS, points, n_epochs=1)
            assert again.loss_history[0] == pytest.approx(row["loss"], rel=1e-3, abs=1e-6)

    def test_they_look_different(self, found):
        curves = []
        for row in found.minima:
            curves.append(streamline({name: row[name] for name in found.names} | AXIS, distance=293, n_points=50).velocity.value)
        for i, one in enumerate(curves):
            assert all(np.abs(one - other).max() > 1e-3 for other in curves[:i])

    def test_grouping(self):
        seen = np.array([[0.0, 0.0], [0.05, 0.05], [2.0, 0.0], [2.0, 0.05]])
        losses = np.array([1.0, 1.001, 1.0005, 4.0])
        assert _group(np.argsort(losses), seen, losses) == [[0, 1], [2, 3]]
        # along a flat direction everything is seen at the same place
        assert _group([0, 1, 2], np.zeros((3, 2)), np.zeros(3)) == [[0, 1, 2]]

    def test_they_are_kept(self, found, tmp_path):
        found.write(tmp_path / "fit.ecsv")
        again = FitResult.read(tmp_path / "fit.ecsv")
        assert again.minima.meta == found.minima.meta
        assert again.minima.colnames == found.minima.colnames
        for name in found.minima.colnames:
            np.testing.assert_allclose(u.Quantity(again.minima[name]), u.Quantity(found.minima[name]), rtol=1e-12)
        assert again.notes == found.notes

    def test_without_a_search_there_are_none(self, points, tmp_path):
        result = fit({"v_lsr": 7.4}, {name: value for name, value in TRUTH.items() if name != "v_lsr"}, points)
        assert result.minima is None
        assert not any("distinct" in note for note in result.notes)
        result.write(tmp_path / "fit.ecsv")
        assert FitResult.read(tmp_path / "fit.ecsv").minima is None

    def test_the_notes_say_how_many(self, found):
        (note,) = (note for note in found.notes if "distinct" in note)
        assert "from 16 starts" in note
        assert f"found {len(found.minima)} distinct" in note
        assert f"reached {found.minima['n_reached'][0]} times" in note

    def test_the_notes_of_an_axis_that_nothing_constrains(self, points):
        fixed = {name: AXIS[name] for name in ("mass", "v_lsr")}
        result = fit("auto", fixed, points, n_starts=2)
        assert any("Exactly flat direction" in note and "inc" in note for note in result.notes)


class TestTheSame:
    def test_by_seed(self, points):
        first, again, other = (list(iterate_minima("auto", AXIS, points, 293, n_starts=4, seed=s))[-1] for s in (7, 7, 8))
        assert first.params == again.params
        np.testing.assert_array_equal(first.minima["loss"], again.minima["loss"])
        assert first.params != other.params

    @pytest.mark.parametrize("flag", [False, True])
    def test_the_users_precision(self, points, flag):
        before = jax.config.jax_enable_x64
        try:
            jax.config.update("jax_enable_x64", flag)
            for _ in iterate_minima("auto", AXIS, points, 293, n_starts=2):
                assert jax.config.jax_enable_x64 is flag
            assert jax.numpy.ones(1).dtype == ("float64" if flag else "float32")
        finally:
            jax.config.update("jax_enable_x64", before)

    def test_the_random_numbers_of_the_user(self, points):
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        list(iterate_minima("auto", AXIS, points, 293, n_starts=2))
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002

    def test_a_second_search_compiles_nothing(self, points, found):
        compiled = run_descents.n_compiled
        other = synthetic.make_streamer_points(seed=5)
        # other data, other numbers, another number of starts, other bounds
        bounds = {"r0": (500, 9000) * u.au}
        list(iterate_minima("auto", AXIS | {"mass": 3.5 * u.Msun}, other, 250, n_starts=21, param_bounds=bounds))
        assert compiled >= 1
        assert run_descents.n_compiled == compiled


class TestOnTheWay:
    def test_it_says_how_far_it_is(self, points):
        steps = list(iterate_minima("auto", AXIS, points, 293, n_starts=20))
        done = [step.n_done for step in steps]
        assert done == sorted(done)
        assert done[-1] == steps[-1].n_starts == 20
        assert len(steps) > 2
        losses = [step.loss for step in steps]
        assert losses == sorted(losses, reverse=True)

    def test_the_caller_may_stop_it(self, points):
        seen = []
        result = fit("auto", AXIS, points, n_starts=40, callback=lambda snapshot: seen.append(snapshot) or True)
        assert len(seen) == 1
        assert seen[0].epoch == 0
        assert result.minima["n_reached"].sum() < 40
        assert result.loss <= seen[0].best_loss * (1 + 1e-6)
        assert seen[0].result.minima.colnames == result.minima.colnames

    def test_the_fit_that_follows_is_a_usual_one(self, points, found):
        seen = []
        result = fit("auto", AXIS, points, n_starts=16, callback=seen.append)
        assert seen[-1].epoch > 0
        assert result.loss == found.loss
        assert len(result.loss_history) > 1
        assert result.to_table()["parameter"][0] == "r0"


class TestRefused:
    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"n_starts": 0}, r"^'n_starts' must be a whole number of at least 1"),
            ({"n_starts": 2.5}, r"^'n_starts' must be a whole number"),
            ({"n_starts": True}, r"^'n_starts' must be a whole number"),
            ({"seed": -1}, r"^'seed' must be a whole number"),
            ({"n_epochs": 0}, r"^'n_epochs' must be a positive number"),
            ({"matching": "closest"}, r"^'matching' must be one of"),
            ({"optimizer": "newton"}, r"^'optimizer' must be one of"),
            ({"priors": {"mass": (1, 2)}}, r"^'priors' must name free parameters only"),
            ({"param_bounds": {"r0": (5, 2)}}, r"must be finite with lower < upper"),
            ({"priors": {"r0": (2000, -1)}}, r"must be a finite mean and a positive sigma"),
        ],
    )
    def test_before_any_work(self, points, keywords, message, monkeypatch):
        monkeypatch.setattr(search, "_search", lambda *args: pytest.fail("the search began"))
        with pytest.raises(ValueError, match=message):
            fit("auto", AXIS, points, **keywords)

    def test_a_mass_of_any_size(self, points):
        fixed = {name: AXIS[name] for name in ("inc", "pa", "v_lsr")}
        with pytest.raises(ValueError, match=r"^'mass' must be fixed or have bounds or a prior; got nothing"):
            fit("auto", fixed, points)

    @pytest.mark.parametrize("keywords", [{"priors": {"mass": (4, 1) * u.Msun}}, {"param_bounds": {"mass": (2, 6) * u.Msun}}])
    def test_not_a_mass_of_some_size(self, points, keywords):
        *_, last = iterate_minima("auto", {n: AXIS[n] for n in ("inc", "pa", "v_lsr")}, points, 293, n_starts=2, **keywords)
        assert "mass" in last.params

    def test_another_word(self, points):
        with pytest.raises(ValueError, match=r"^'initial_opt_params' must be a dict or 'auto'; got 'automatic'"):
            fit("automatic", AXIS, points)

    def test_what_is_no_streamer(self):
        with pytest.raises(TypeError, match=r"^'streamer' must be a Streamer"):
            fit("auto", AXIS, [1, 2, 3])

    def test_everything_fixed(self, points):
        with pytest.raises(ValueError, match=r"^'initial_opt_params' must hold at least one parameter"):
            fit("auto", TRUTH, points)
