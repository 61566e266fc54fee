"""Several streamers at once: what they share, what a joint fit knows of it, and what it refuses."""

import math

import jax
import numpy as np
import pytest
from astropy import units as u

from sting import outputs, synthetic
from sting.comparison import compare
from sting.core.likelihood import linearise, loss, loss_and_parts
from sting.fit_result import FitResult
from sting.gradient_descent import fit_streamline
from sting.joint import _state, fit_jointly
from sting.joint_result import JointResult

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


def alone(start, fixed, streamer, **keywords):
    return fit_streamline(start, fixed, streamer, 293, **QUIET | keywords)


def jointly(streamers, start, fixed, **keywords):
    return fit_jointly(streamers, start, fixed, 293, **QUIET | keywords)


def state(streamers, start, fixed, *, bounds=None, priors=None, **options):
    """Coordinates of the start, problem and settings of a joint fit."""
    x, problem, _, settings, _ = _state(streamers, start, fixed, 293, bounds, priors, options)
    return x, problem, settings


@pytest.fixture(scope="module")
def of_one():
    """A fit of one streamer, and the joint fit of it alone."""
    stated = split("r0", "phi0", "omega", "mass", factor=1.05)
    priors = {"mass": (4, 1) * u.Msun}
    streamer = points(4)
    return alone(*stated, streamer, priors=priors), jointly({"a": streamer}, *stated, priors=priors)


@pytest.fixture(scope="module")
def halves():
    """Fits of the outer and of the inner half of a streamer without noise, and of both together."""
    stated = split(*OWN, "mass", factor=1.03)
    tracers = {"outer": points(part=(0.02, 0.5)), "inner": points(part=(0.5, 0.95))}
    together = jointly(tracers, *stated, n_epochs=500)
    return together, {name: alone(*split(*OWN, "mass"), tracer, n_epochs=1) for name, tracer in tracers.items()}


@pytest.fixture(scope="module")
def streamers():
    """Two streamers of one star without noise."""
    return {"a": points(part=(0, 0.9)), "b": points(truth=OTHER, part=(0, 0.9))}


@pytest.fixture(scope="module")
def pair(streamers):
    """Fit of both: mass, inc and pa are shared, with priors on the axis."""
    priors = {"inc": (-45, 5) * u.deg, "pa": (194, 5) * u.deg}
    return jointly(streamers, *two_streamers("mass", "inc", "pa", factor=1.02), priors=priors, n_epochs=500)


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
        assert (joint.status, joint.success, joint.notes) == (single.status, single.success, single.notes)

    def test_its_part_is_the_same_too(self, of_one):
        single, joint = of_one
        part = joint["a"]
        assert isinstance(part, FitResult)
        np.testing.assert_allclose(part.derived()["sigma"], single.derived()["sigma"], rtol=1e-6)
        np.testing.assert_allclose(part.history[:, 2:], single.history[:, 2:], rtol=1e-9)
        assert part.sample(3, seed=1)["r0"].value == pytest.approx(single.sample(3, seed=1)["r0"].value, rel=1e-6)


def test_two_copies_have_sigmas_smaller_by_the_root_of_two():
    streamer, stated = points(4), split("r0", "phi0", "omega", "mass", factor=1.05)
    single, joint = alone(*stated, streamer), jointly({"a": streamer, "b": streamer}, *stated)
    assert joint.loss == pytest.approx(2 * single.loss)
    for name in single.names:
        assert joint.best_opt_params[name].value == pytest.approx(single.best_opt_params[name].value, rel=1e-5)
        assert joint.param_errors[name].value == pytest.approx(single.param_errors[name].value / math.sqrt(2), rel=1e-3)


class TestTwoTracers:
    def test_recover_the_truth(self, halves):
        together, _ = halves
        assert together.loss < 1e-6
        for name in (*OWN, "mass"):
            assert together.best_opt_params[name].value == pytest.approx(TRUTH[name].value, rel=1e-3), name

    def test_know_more_than_either(self, halves):
        together, either = halves
        for name in ("r0", "phi0", "mass", "omega"):
            assert together.param_errors[name] < 0.7 * min(one.param_errors[name] for one in either.values()), name

    def test_share_one_orbit(self, halves):
        outer, inner = (halves[0][name].derived() for name in ("outer", "inner"))
        np.testing.assert_allclose(outer["value"], inner["value"], rtol=1e-9)
        np.testing.assert_allclose(outer["sigma"], inner["sigma"], rtol=1e-6)


class TestTwoStreamers:
    def test_recover_the_truth(self, pair):
        assert pair.loss < 1e-4
        for name in ("mass", "inc", "pa"):
            assert pair.best_opt_params[name].value == pytest.approx(TRUTH[name].value, rel=1e-2), name
        for name in OWN:
            found = pair.best_opt_params[name]
            assert found["a"].value == pytest.approx(TRUTH[name].value, rel=1e-2), name
            assert found["b"].value == pytest.approx(OTHER[name].value, rel=1e-2), name

    def test_know_the_mass_better_than_either(self, pair, streamers):
        priors = {"inc": (-45, 5) * u.deg, "pa": (194, 5) * u.deg}
        for name, truth in (("a", TRUTH), ("b", OTHER)):
            one = alone(*split(*OWN, "mass", "inc", "pa", truth=truth), streamers[name], priors=priors, n_epochs=1)
            assert pair.param_errors["mass"] < 0.95 * one.param_errors["mass"]
            assert one.n_data == 22
        # of the priors on the axis, which both share, each is one measurement
        assert pair.n_data == 42
        assert pair.n_free == 13

    def test_hold_the_axis_by_themselves_where_their_starts_are_seen(self, streamers):
        stated = two_streamers("mass", "inc", "pa")
        assert jointly(streamers, *stated, n_epochs=1).uncertainties.flat == []
        a = alone(*split(*OWN, "mass", "inc", "pa"), streamers["a"], n_epochs=1)
        assert len(a.uncertainties.flat) == 1

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

    @pytest.fixture(scope="class")
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
