"""Several streamers at once: what they share, what a joint fit knows of it, and what it refuses."""

import math

import jax
import numpy as np
import pytest
from astropy import units as u

from sting import outputs, posterior, synthetic
from sting.comparison import compare
from sting.core.likelihood import linearise, loss, loss_and_parts, parameters
from sting.errors import estimate_uncertainties
from sting.fit_result import FitResult
from sting.gradient_descent import fit_streamline
from sting.joint import _state, fit_jointly
from sting.joint_result import JointResult
from sting.parameters import PARAMETERS
from sting.problem import state_data, state_fit

TRUTH = synthetic.TRUTH
#: A second streamer that falls onto the same star, from another side.
OTHER = TRUTH | {
    "r0": 3300 * u.au,
    "theta0": 70 * u.deg,
    "phi0": 200 * u.deg,
    "v_r0": 0.5 * u.km / u.s,
    "omega": 3e-13 / u.s,
}
OWN = ("r0", "theta0", "phi0", "v_r0", "omega")
SIGMA = (0.05 * u.arcsec, 0.05 * u.arcsec, 0.01 * u.km / u.s)
QUIET = {"optimizer": "lbfgs", "save_folder": None, "progress": False}


def points(seed=None, truth=TRUTH, **keywords):
    return synthetic.make_streamer_points(truth, seed=seed, sigma=SIGMA, **keywords)


def split(*free, factor=1.0, truth=TRUTH):
    """Start and fixed parameters: the truth, with a factor for the free ones."""
    return {name: truth[name] * factor for name in free}, {name: value for name, value in truth.items() if name not in free}


def two_streamers(*shared, factor=1.0):
    """Start and fixed parameters of two streamers of one star that share some free parameters."""
    start, fixed = split(*OWN, *shared, factor=factor)
    return start | {name: {"a": start[name], "b": OTHER[name] * factor} for name in OWN}, fixed


def each_its_own(values):
    return {name: {"outer": value, "inner": value} for name, value in values.items()}


def alone(start, fixed, streamer, **keywords):
    return fit_streamline(start, fixed, streamer, 293, **QUIET | keywords)


def jointly(streamers, start, fixed, **keywords):
    return fit_jointly(streamers, start, fixed, 293, **QUIET | keywords)


def state(streamers, start, fixed, *, bounds=None, priors=None, **options):
    """Coordinates of the start, problem and settings of a joint fit."""
    x, problem, _, settings, _ = _state(streamers, start, fixed, 293, bounds, priors, options)
    return x, problem, settings


def known(start, fixed, streamer, **keywords):
    """Uncertainties of a fit of one streamer that ended where it starts."""
    problem, settings, x, _ = state_fit(start, fixed, 293, optimizer="lbfgs", **keywords)
    return estimate_uncertainties(x, problem | state_data(streamer.data, streamer.uncertainties), settings)


@pytest.fixture(scope="module")
def of_one():
    """A fit of one streamer, and the joint fit of it alone."""
    stated = split("r0", "phi0", "omega", "mass", factor=1.05)
    priors = {"mass": (4, 1) * u.Msun}
    streamer = points(4)
    return alone(*stated, streamer, priors=priors), jointly({"a": streamer}, *stated, priors=priors)


@pytest.fixture(scope="module")
def tracers():
    """Two tracers of one streamer without noise, which see its outer and its inner half."""
    return {"outer": points(part=(0.02, 0.5)), "inner": points(part=(0.5, 0.95))}


@pytest.fixture(scope="module")
def halves(tracers):
    """Fit of both halves together."""
    return jointly(tracers, *split(*OWN, "mass", factor=1.03), n_epochs=500)


@pytest.fixture(scope="module")
def streamers():
    """Two streamers of one star without noise."""
    return {"a": points(part=(0, 0.9)), "b": points(truth=OTHER, part=(0, 0.9))}


@pytest.fixture(scope="module")
def pair(streamers):
    """Fit of both: mass, inc and pa are shared, with priors on the axis."""
    priors = {"inc": (-45, 5) * u.deg, "pa": (194, 5) * u.deg}
    return jointly(streamers, *two_streamers("mass", "inc", "pa", factor=1.02), priors=priors, n_epochs=500)


@pytest.mark.slow
class TestOneStreamer:
    def test_is_the_fit_of_it(self, of_one):
        single, joint = of_one
        np.testing.assert_allclose(joint.loss_history, single.loss_history, rtol=1e-9)
        assert joint.names == single.names
        for name in single.names:
            assert joint.best_opt_params[name].value == pytest.approx(single.best_opt_params[name].value, rel=1e-9)
        np.testing.assert_allclose(joint.covariance, single.covariance, rtol=1e-6)
        for name in ("chi2", "n_data", "n_free", "dof", "aicc", "bic"):
            assert getattr(joint, name) == pytest.approx(getattr(single, name), rel=1e-9), name
        assert (joint.status, joint.success) == (single.status, single.success)
        # a joint fit has no profiles, and says so
        of_shape = ("Not near Gaussian", "The uncertainties of a joint fit are plain ones")
        said = [[note for note in fit.notes if not note.startswith(of_shape)] for fit in (joint, single)]
        assert said[0] == said[1]
        assert any(note.startswith(of_shape[1]) for note in joint.notes)

    def test_its_part_has_no_posterior(self, of_one):
        with pytest.raises(TypeError, match="'result' must be the fit of one streamer"):
            posterior.sample(of_one[1]["a"])

    @pytest.mark.parametrize("what", ["intervals", "profile"])
    def test_its_part_has_no_profiles(self, of_one, what):
        with pytest.raises(ValueError, match=f"'{what}' must be asked of the fit of one streamer"):
            getattr(of_one[1]["a"], what)(*(["r0"] if what == "profile" else []))

    def test_its_part_is_the_same_too(self, of_one):
        single, joint = of_one
        part = joint["a"]
        assert isinstance(part, FitResult)
        np.testing.assert_allclose(part.derived()["sigma"], single.derived()["sigma"], rtol=1e-6)
        np.testing.assert_allclose(part.history[:, 2:], single.history[:, 2:], rtol=1e-9)
        assert part.sample(3, seed=1)["r0"].value == pytest.approx(single.sample(3, seed=1)["r0"].value, rel=1e-6)


def test_two_copies_have_sigmas_smaller_by_the_root_of_two():
    streamer, stated = points(4), split("r0", "phi0", "omega", "mass", factor=1.05)
    joint = jointly({"a": streamer, "b": streamer}, *stated)
    best = {name: value.value * value.unit for name, value in joint.best_opt_params.items()}
    one = known(best, stated[1], streamer)
    assert one.gain < 1e-6
    for name, error in joint.param_errors.items():
        assert error.si.value == pytest.approx(one.sigma[name] * PARAMETERS[name].unit.si.scale / math.sqrt(2), rel=1e-3)


class TestTwoTracers:
    def test_recover_the_truth(self, halves):
        assert halves.loss < 1e-6
        assert halves.shared == tuple(PARAMETERS)[:4] + tuple(PARAMETERS)[5:10] + ("deltar", "mu", "rc", "omega")
        for name in (*OWN, "mass"):
            assert halves.best_opt_params[name].value == pytest.approx(TRUTH[name].value, rel=1e-3), name

    def test_know_more_than_either(self, halves, tracers):
        either = [known(*split(*OWN, "mass"), tracer).sigma for tracer in tracers.values()]
        for name in ("r0", "phi0", "mass", "omega"):
            assert halves.uncertainties.sigma[name] < 0.7 * min(sigma[name] for sigma in either), name

    def test_share_one_orbit(self, halves):
        outer, inner = (halves[name].derived() for name in ("outer", "inner"))
        np.testing.assert_allclose(outer["value"], inner["value"], rtol=1e-9)
        np.testing.assert_allclose(outer["sigma"], inner["sigma"], rtol=1e-6)

    def test_may_have_something_of_their_own(self, tracers):
        """A velocity calibration for each: the shift between them is found, and the orbit is known less well than without."""
        start, fixed = split("r0", "phi0", "mass", "v_lsr")
        start |= {"v_lsr": dict.fromkeys(tracers, 7.5 * u.km / u.s)}
        shifted = tracers | {"inner": points(truth=TRUTH | {"v_lsr": 7.7 * u.km / u.s}, part=(0.5, 0.95))}
        # as many of their own as elsewhere in this file: nothing is compiled for them
        fixed |= each_its_own({name: TRUTH[name] for name in ("theta0", "omega", "inc", "pa")})
        found = jointly(shifted, start, fixed)
        assert found.best_opt_params["v_lsr"]["outer"].value == pytest.approx(7.5, abs=1e-3)
        assert found.best_opt_params["v_lsr"]["inner"].value == pytest.approx(7.7, abs=1e-3)
        assert found.best_opt_params["mass"].value == pytest.approx(4, abs=1e-2)
        assert found.names == ("r0", "phi0", "mass", "v_lsr (outer)", "v_lsr (inner)")
        table = found.to_table()
        assert list(table["streamer"][:5]) == ["shared", "shared", "shared", "outer", "inner"]


class TestTwoStreamers:
    def test_recover_the_truth(self, pair):
        assert pair.loss < 1e-4
        for name in ("mass", "inc", "pa"):
            assert pair.best_opt_params[name].value == pytest.approx(TRUTH[name].value, rel=1e-2), name
        for name in OWN:
            found = pair.best_opt_params[name]
            assert found["a"].value == pytest.approx(TRUTH[name].value, rel=1e-2), name
            assert found["b"].value == pytest.approx(OTHER[name].value, rel=1e-2), name

    def test_know_of_the_mass_what_either_knows(self, streamers):
        """With nothing else in common what each measures adds up, exactly."""
        joint = jointly(streamers, *two_streamers("mass"), n_epochs=1).uncertainties.sigma["mass"]
        either = [
            known(*split(*OWN, "mass", truth=truth), streamers[name]).sigma["mass"]
            for name, truth in (("a", TRUTH), ("b", OTHER))
        ]
        assert joint**-2 == pytest.approx(sum(sigma**-2 for sigma in either), rel=1e-4)

    def test_count_a_shared_prior_once(self, pair):
        assert (pair.n_data, pair.n_free, pair.dof) == (42, 13, 29)
        assert pair["a"].n_data == 22

    def test_hold_the_axis_by_themselves_where_their_starts_are_seen(self, streamers):
        stated = two_streamers("mass", "inc", "pa")
        assert jointly(streamers, *stated, n_epochs=1).uncertainties.flat == []
        assert len(known(*split(*OWN, "mass", "inc", "pa"), streamers["a"]).flat) == 1

    def test_flat_directions_are_named(self):
        unseen = {"a": points(part=(0.1, 0.9)), "b": points(truth=OTHER, part=(0.1, 0.9))}
        found = jointly(unseen, *two_streamers("mass", "inc", "pa"), n_epochs=1)
        assert len(found.uncertainties.flat) == 2
        assert found.n_free == 11
        assert {"inc", "pa", "r0 (a)", "r0 (b)"} <= {name for direction in found.uncertainties.flat for name in direction}
        assert any(note.startswith("Exactly flat direction") and "r0 (b)" in note for note in found.notes)
        assert np.isinf([found.param_errors["inc"].value, found.param_errors["r0"]["b"].value]).all()
        assert np.isfinite(found.param_errors["mass"])
        part = found["b"]
        assert {"inc", "pa", "r0", "theta0"} <= set(part.uncertainties.flat[0])
        assert np.isinf(part.param_errors["r0"])
        row = {row["quantity"]: row["sigma"] for row in part.derived()}
        assert np.isfinite(row["energy"])
        assert np.isinf(row["rc"])


class TestLoss:
    """Of two streamers with different numbers of points, at a place that is not the minimum."""

    @pytest.fixture
    def stated(self):
        streamers = {"a": points(1), "b": points(2, OTHER, n_elements=6)}
        priors = {"mass": (3, 1) * u.Msun, "rc": (150, 50) * u.au, "r0": {"b": (3000, 100) * u.au}}
        return state(streamers, *two_streamers("mass", "inc", "pa", factor=1.01), priors=priors)

    @pytest.fixture(autouse=True)
    def double_precision(self):
        with jax.enable_x64(True):
            yield

    def test_is_that_of_the_members_with_shared_priors_once(self, stated):
        x, problem, settings = stated
        value, parts = loss_and_parts(x, problem, settings)
        each = zip(problem["index"], problem["members"], settings.members, strict=True)
        own = [loss_and_parts(x[index], member, one) for index, member, one in each]
        np.testing.assert_allclose(parts, np.concatenate([part for _, part in own]), rtol=1e-12)
        # each member knows the prior on the mass, which is one sigma away
        twice = (1.01 * TRUTH["mass"].value - 3) ** 2
        assert value == pytest.approx(sum(float(one) for one, _ in own) - twice, rel=1e-12)

    def test_gradient(self, stated):
        x, problem, settings = stated
        gradient = jax.grad(loss)(x, problem, settings)
        value = jax.jit(loss, static_argnames="settings")
        free = np.flatnonzero(problem["free"])
        assert len(free) == 13
        for j in free:
            step = 1e-5 * np.eye(len(x))[j]
            expected = (value(x + step, problem, settings) - value(x - step, problem, settings)) / 2e-5
            assert gradient[j] == pytest.approx(float(expected), rel=1e-4, abs=1e-4 * np.abs(gradient).max())

    def test_residuals_add_up_to_it(self, stated):
        x, problem, settings = stated
        found = linearise(x, problem, settings)
        residuals, jacobian = found["residuals"], found["d_residuals"]
        assert residuals @ residuals == pytest.approx(float(loss(x, problem, settings)), rel=1e-12)
        np.testing.assert_allclose(2 * jacobian.T @ residuals, jax.grad(loss)(x, problem, settings), rtol=1e-6, atol=1e-6)


def penalty(priors, start, fixed):
    """Penalty of priors that are each one sigma away from the start, of two streamers."""
    streamers = {"a": points(part=(0.1, 0.5)), "b": points(part=(0.5, 0.9))}
    with jax.enable_x64(True):
        with_priors = float(loss(*state(streamers, start, fixed, priors=priors)))
        return with_priors - float(loss(*state(streamers, start, fixed)))


class TestPriors:
    """A prior on what is shared counts once, on what is not for each streamer."""

    def test_on_a_shared_parameter(self):
        assert penalty({"mass": (3, 1) * u.Msun}, *split("mass", "r0")) == pytest.approx(1, rel=1e-6)

    def test_on_one_that_each_has(self):
        start, fixed = split("mass", "r0")
        start["r0"] = {"a": 2800 * u.au, "b": 2800 * u.au}
        assert penalty({"r0": (2700, 100) * u.au}, start, fixed) == pytest.approx(2, rel=1e-6)
        assert penalty({"r0": {"b": (2700, 100) * u.au}}, start, fixed) == pytest.approx(1, rel=1e-6)

    def test_on_a_rotation_that_follows_from_the_shared_one(self):
        start, fixed = split("omega", "r0")
        once = penalty({"rc": (100, 50) * u.au}, start, fixed)
        start["r0"] = {"a": 2800 * u.au, "b": 2800 * u.au}
        assert penalty({"rc": (100, 50) * u.au}, start, fixed) == pytest.approx(2 * once, rel=1e-6)

    def test_go_where_the_parameter_is_free(self):
        start, fixed = split("mass", "v_r0")
        start["v_r0"], fixed["v_r0"] = {"a": 0.3 * u.km / u.s}, {"b": 0.3 * u.km / u.s}
        assert penalty({"v_r0": (0.2, 0.1) * u.km / u.s}, start, fixed) == pytest.approx(1, rel=1e-6)


def test_a_shared_rc_stays_one_where_r0_is_not():
    """Then it is no mu that is the same."""
    start = {"r0": {"a": 2800 * u.au, "b": 3300 * u.au}, "rc": 200 * u.au}
    fixed = {name: value for name, value in TRUTH.items() if name not in ("r0", "omega")}
    streamers = {"a": points(), "b": points(truth=OTHER)}
    with jax.enable_x64(True):
        x, problem, settings = state(streamers, start, fixed)
        x = x + 0.1 * problem["free"]
        each = zip(problem["index"], problem["members"], settings.members, strict=True)
        rc, r0 = np.transpose([[parameters(x[index], *stated)[name] for name in ("rc", "r0")] for index, *stated in each])
    assert rc[0] == pytest.approx(rc[1])
    assert rc[0] > 201
    assert abs(r0[0] - r0[1]) > 400
    assert problem["free"].sum() == 3


class TestGoodness:
    def test_the_fit_gains_on_the_truth_a_unit_for_each_parameter(self):
        """And at the truth the loss is two for each point: chi2 of the degrees of freedom is what a fit should have."""
        start, fixed = two_streamers("mass")
        fixed |= {name: start.pop(name) for name in ("r0", "theta0", "omega")}
        at_truth, best = [], []
        for seed in range(40):
            noisy = {"a": points(seed), "b": points(1000 + seed, OTHER)}
            found = jointly(noisy, start, fixed)
            at_truth.append(found.loss_history[0])
            best.append(found.loss)
        assert (found.n_data, found.n_free, found.dof) == (40, 5, 35)
        assert np.mean(at_truth) == pytest.approx(40, abs=4 * math.sqrt(2 * 40 / 40))
        assert np.mean(np.subtract(at_truth, best)) == pytest.approx(5, abs=4 * math.sqrt(2 * 5 / 40))

    def test_criteria(self, pair):
        assert pair.chi2 == pytest.approx(sum(pair[name].chi2 for name in ("a", "b")))
        assert pair.aicc == pytest.approx(pair.loss + 26 + 2 * 13 * 14 / 28)
        assert pair.bic == pytest.approx(pair.loss + 13 * math.log(42))

    def test_compare(self):
        noisy = {"outer": points(7, part=(0.02, 0.5)), "inner": points(8, part=(0.5, 0.95))}
        start, fixed = split("r0", "phi0", "v_r0")
        one = jointly(noisy, start, fixed)
        two = jointly(noisy, each_its_own(start), fixed | each_its_own({name: TRUTH[name] for name in ("theta0", "omega")}))
        table = compare({"one orbit": one, "two": two})
        assert list(table["data"]) == [1, 1]
        assert list(table["n_free"]) == [3, 6]
        assert table["delta_aicc"][0] == 0
        assert table["delta_aicc"][1] == pytest.approx(two.aicc - one.aicc)
        assert table["chi2"][1] < table["chi2"][0]
        assert table["r0"][0] == one.best_opt_params["r0"]
        assert table["theta0"][1] == TRUTH["theta0"]
        assert np.isnan(table["r0"][1])
        assert np.isfinite(table["energy"][0])
        assert np.isnan(table["energy"][1])
        with pytest.raises(ValueError, match=r"^'aicc' must be asked of the joint fit; got the streamer 'outer' of it"):
            compare([one["outer"]])


class TestPartOfAJointFit:
    def test_covariance_is_that_of_the_joint_fit(self, pair):
        part = pair["b"]
        labels = [name if name in pair.shared else f"{name} (b)" for name in part.names]
        index = [pair.names.index(label) for label in labels]
        np.testing.assert_allclose(part.covariance, pair.covariance[np.ix_(index, index)], rtol=1e-9)
        for name, label in zip(part.names, labels, strict=True):
            expected = math.sqrt(pair.covariance[pair.names.index(label), pair.names.index(label)])
            assert part.param_errors[name].value == pytest.approx(expected)

    def test_samples_with_the_same_seed_are_the_same_sets(self, pair):
        drawn, a, b = (fit.sample(50, seed=3) for fit in (pair, pair["a"], pair["b"]))
        assert drawn.colnames == list(pair.names)
        np.testing.assert_array_equal(drawn["mass"], a["mass"])
        np.testing.assert_allclose(a["mass"], b["mass"], rtol=1e-12)
        np.testing.assert_array_equal(drawn["r0 (b)"], b["r0"])
        drawn = pair.sample(4000, seed=1)
        correlation = np.corrcoef(drawn["inc"].value, drawn["theta0 (b)"].value)[0, 1]
        i, j = pair.names.index("inc"), pair.names.index("theta0 (b)")
        covariance = pair.covariance
        assert correlation == pytest.approx(covariance[i, j] / math.sqrt(covariance[i, i] * covariance[j, j]), abs=0.05)

    def test_does_what_a_fit_does(self, pair, streamers):
        part = pair["b"]
        assert part.sample_streamlines(3, n_points=20, seed=1)[0].shape == (3, 20)
        np.testing.assert_allclose(part.matched_points()[0].value, streamers["b"].data[0], atol=1e-3)
        assert part.streamline(5).ra.shape == (5,)
        rate = part.infall_rate(0.01 * u.Msun)
        assert 0 < rate["rate_sigma"][0] < rate["rate"][0]
        assert "one of 2 in a joint fit" in part.summary()
        assert part.parameter_history()["r0"][0].value == pytest.approx(3300 * 1.02)
        assert outputs.plot_param_correlations(part)
        for name in ("dof", "aicc", "bic"):
            with pytest.raises(ValueError, match=rf"^'{name}' must be asked of the joint fit"):
                getattr(part, name)

    def test_losses(self, pair):
        """Of each its own points and all priors on its parameters, where the joint fit ended."""
        a, b = pair["a"], pair["b"]
        assert a.best_epoch == b.best_epoch == pair.best_epoch
        shared = a.history[pair.best_epoch, 5]
        assert b.history[pair.best_epoch, 5] == pytest.approx(shared)
        assert a.loss + b.loss == pytest.approx(pair.loss + shared)

    def test_is_kept_with_the_whole(self, pair, tmp_path):
        with pytest.raises(ValueError, match=r"^'write' must be asked of the joint fit"):
            pair["a"].write(tmp_path / "a.ecsv")
        assert list(tmp_path.iterdir()) == []

    def test_unknown_streamer(self, pair):
        with pytest.raises(KeyError, match="must be one of this fit; got 'c'"):
            pair["c"]


class TestResult:
    def test_unpacks(self, pair):
        best, history, errors = pair
        assert best["mass"] == pair.best_opt_params["mass"]
        assert best["r0"]["b"] == pair["b"].best_opt_params["r0"]
        assert errors["r0"]["b"] == pair["b"].param_errors["r0"]
        assert min(history) == pair.loss

    def test_best_fit_is_a_start(self, pair, streamers):
        again = jointly(streamers, pair.best_opt_params, split(*OWN, "mass", "inc", "pa")[1], n_epochs=1)
        assert again.names == pair.names

    def test_table(self, pair):
        table = pair.to_table()
        row = {(row["parameter"], row["streamer"]): row for row in table}
        assert row["mass", "shared"]["sigma"] == pair.param_errors["mass"].value
        assert row["r0", "b"]["value"] == pair.best_opt_params["r0"]["b"].value
        assert row["v_lsr", "shared"]["state"] == "fixed"
        assert np.isnan(row["v_lsr", "shared"]["sigma"])
        assert len(table) == 13 + 3

    def test_text_and_html(self, pair):
        assert repr(pair).startswith("<JointResult of a, b: loss ")
        assert "r0 (b) = " in repr(pair)
        text = str(pair)
        assert "29 degrees of freedom" in text
        assert "a: chi2" in text
        assert "inc and pa are not measured" in pair.notes[-1]
        page = pair._repr_html_()
        assert page.count("<tr>") == 1 + len(pair.to_table())
        assert "<script" not in page

    def test_a_name_in_html(self):
        start, fixed = two_streamers("mass")
        start |= {name: {"<b>": start[name]["a"], "b": start[name]["b"]} for name in OWN}
        page = jointly({"<b>": points(), "b": points(truth=OTHER)}, start, fixed, n_epochs=1)._repr_html_()
        assert "&lt;b&gt;" in page
        assert "<b>" not in page

    def test_what_concerns_one_streamer_is_said_of_it(self, tracers):
        """Of a model that starts too far in the outer tracer sees more than there is."""
        found = jointly(tracers, *split("r0", factor=0.8), loss_threshold=1e12)
        assert [note[:27] for note in found.notes if "very start" in note] == ["outer: The outermost point "]
        assert sum("inc and pa are not measured" in note for note in found.notes) == 1

    def test_a_bound(self, streamers):
        start, fixed = two_streamers("mass")
        start["mass"] = 4.6
        bounds = {"mass": (4.5, 6) * u.Msun, "r0": {"b": (2000, 5000) * u.au}}
        found = jointly(streamers, start, fixed, param_bounds=bounds, n_epochs=500)
        # that of b goes to rest at the start for the mass that it may not have
        assert found.uncertainties.at_bound == ["mass", "v_r0 (b)"]
        assert found["a"].uncertainties.at_bound == ["mass"]
        assert found["b"].uncertainties.at_bound == ["mass", "v_r0"]
        assert "v_r0 (b) ended at a bound; its uncertainty is one-sided." in found.notes
        assert not found.success
        assert found["a"].param_errors["mass"] == found["b"].param_errors["mass"] > 0

    def test_write_and_read(self, pair, tmp_path):
        pair.write(tmp_path / "fit.ecsv")
        again = JointResult.read(tmp_path / "fit.ecsv")
        assert again.best_opt_params == pair.best_opt_params
        assert again.param_errors == pair.param_errors
        assert (again.status, again.names, again.shared) == (pair.status, pair.names, pair.shared)
        np.testing.assert_array_equal(again.covariance, pair.covariance)
        np.testing.assert_array_equal(again.history, pair.history)
        assert (again.dof, again.aicc) == (pair.dof, pair.aicc)
        assert again["b"].fixed_params == pair["b"].fixed_params
        np.testing.assert_array_equal(again.sample(3, seed=1)["r0 (b)"], pair.sample(3, seed=1)["r0 (b)"])
        with pytest.raises(FileExistsError, match="'path' must not exist yet"):
            pair.write(tmp_path / "fit.ecsv")

    def test_read_refuses_other_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="'path' must be an existing file"):
            JointResult.read(tmp_path / "none.ecsv")
        (tmp_path / "other.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\n1\n")
        with pytest.raises(ValueError, match=r"must be a fit written by JointResult\.write"):
            JointResult.read(tmp_path / "other.ecsv")

    def test_the_callback_stops_it(self, streamers):
        seen = []

        def stop(snapshot):
            seen.append(snapshot.result)
            return True

        found = jointly(streamers, *two_streamers("mass", factor=1.05), callback=stop, n_epochs=500)
        assert isinstance(seen[0], JointResult)
        assert len(seen) == 1
        assert "stopped by the caller" in found.status


@pytest.mark.slow
class TestFolder:
    def test_holds_the_whole_and_each_streamer(self, pair, streamers, tmp_path):
        written = outputs.save_joint_results(pair, streamers, tmp_path / "out")
        found = {str(path.relative_to(tmp_path / "out")) for path in written}
        each = (
            "best_fit_dec_vel.png",
            "best_fit_morphology.png",
            "best_fit_params.json",
            "best_fit_ra_vel.png",
            "best_fit_vel_radius.png",
            "loss_history.png",
            "optimisation_log.csv",
            "parameter_correlation_matrix.png",
            "parameter_history.png",
            "parameter_uncertainties.png",
            "residuals.png",
            "streamline_samples.png",
        )
        assert found == {"best_fit.ecsv", "loss_history.png"} | {f"{name}/{file}" for name in "ab" for file in each}
        assert {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()} == found
        assert JointResult.read(tmp_path / "out" / "best_fit.ecsv").loss == pair.loss

    def test_nothing_half_written_is_left_behind(self, pair, streamers, tmp_path, monkeypatch):
        monkeypatch.setattr(outputs.tables, "save_optimisation_log", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            outputs.save_joint_results(pair, streamers, tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []


class TestRefuses:
    """Before any work."""

    @pytest.fixture(autouse=True)
    def no_work(self, monkeypatch):
        monkeypatch.setattr("sting.joint.descend", lambda *_: pytest.fail("the fit was started"))

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ([points()], TypeError, r"^'streamers' must be a dict of names and Streamers; got list"),
            ({}, ValueError, r"^'streamers' must hold at least one Streamer; got none"),
            ({1: points()}, ValueError, r"^'streamers' must have names that are words other than 'shared'; got 1"),
            ({"": points()}, ValueError, r"^'streamers' must have names that are words"),
            ({"shared": points()}, ValueError, r"^'streamers' must have names that are words"),
            ({"a": 5}, TypeError, r"^'streamers' must hold Streamers; got int as 'a'"),
        ],
    )
    def test_streamers(self, given, error, message):
        with pytest.raises(error, match=message):
            jointly(given, *split("mass"))

    def test_a_name_that_no_folder_has(self, tmp_path):
        for name in ("a/b", "a\\b", ".."):
            with pytest.raises(ValueError, match="must have names that folders can have"):
                jointly({name: points()}, *split("mass"), save_folder=tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(OSError, match="'save_folder' must be a folder that can be written"):
            jointly({"a": points()}, *split("mass"), save_folder=tmp_path / "file")

    @pytest.mark.parametrize(
        ("change", "keywords", "error", "message"),
        [
            ({"mass": {"a": 4, "c": 4}}, {}, ValueError, r"^'mass' must be given by the names of the streamers; got 'c'"),
            ({"mass": {"a": 4}}, {}, ValueError, r"^'mass' must be given for every streamer; got nothing for 'b'"),
            ({"mass": {}}, {}, ValueError, r"^'mass' must be given for every streamer; got nothing for 'a'"),
            ({"v_lsr": {"a": 4, "b": 5}}, {}, ValueError, r"^'v_lsr' must be either free or fixed; got both"),
            ({"speed": 4}, {}, ValueError, r"^'initial_opt_params' must hold parameters of the model only; got 'speed'"),
            ({"mass": {"a": 4, "b": -1}}, {}, ValueError, r"^'mass' must be positive; got -1"),
            ({"rc": {"a": 100, "b": 100}}, {}, ValueError, r"^'omega, rc or mu' must be given, exactly one of them"),
            ({}, {"priors": {"mass": {"a": (4, 1)}}}, ValueError, r"^\"priors\['mass'\]\" must be one pair, since all streamers"),
            ({}, {"param_bounds": {"mass": {"a": (3, 5)}}}, ValueError, r"^\"param_bounds\['mass'\]\" must be one pair"),
            ({}, {"priors": {"r0": (2800, 100)}}, ValueError, r"^'priors' must name free parameters only; got 'r0'"),
            ({}, {"priors": {"r0": {"c": (2800, 100)}}}, ValueError, r"must be given by the names of the streamers; got 'c'"),
            ({}, {"priors": 5}, TypeError, r"^'priors' must be a dict of parameter names and values"),
            (
                {},
                {"n_epoch": 5},
                TypeError,
                r"^'n_epoch' must be a keyword of fit_jointly; got 'n_epoch'. Did you mean 'n_epochs'",
            ),
            ({}, {"n_starts": 5}, TypeError, r"^'n_starts' must be a keyword of fit_jointly"),
            ({}, {"matching": "best"}, ValueError, r"^'matching' must be one of"),
            ({}, {"n_epochs": 0}, ValueError, r"^'n_epochs' must be a positive number"),
        ],
    )
    def test_parameters(self, change, keywords, error, message):
        start, fixed = split("mass")
        with pytest.raises(error, match=message):
            jointly({"a": points(), "b": points()}, start | change, fixed, **keywords)

    def test_what_is_no_dict(self):
        for arguments in (("auto", {}), ({}, None)):
            with pytest.raises(TypeError, match="must be a dict of parameter names and values"):
                jointly({"a": points()}, *arguments)
