"""Descents side by side: they end in minima, each by itself, and leave alone what is fixed."""

import jax
import numpy as np
import pytest

from sting.core.levenberg import CONVERGED, LOST, RUNNING, new_descents, run_descents
from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, loss
from sting.core.sky import make_path, observe
from sting.core.transforms import to_coordinates

FREE = ("r0", "theta0", "phi0", "v_r0", "mu")


@pytest.fixture(scope="module")
def stated(truth, make_problem):
    """A fit of points of the truth with noise, and starts: the truth, two near it, one far away, one that is no number."""
    path = make_path(**truth, distance=293.0)
    points = np.asarray(observe(path, np.linspace(0.1, 0.8, 12) * path["w_end"])[0])
    sigma = np.tile([0.2, 0.2, 0.1], (12, 1))
    points = points + sigma * np.random.default_rng(1).standard_normal(points.shape)
    problem, settings, _ = make_problem(truth, points, sigma, free=FREE, optimizer="lbfgs")
    values = np.array([[truth[name] for name in MODEL_PARAMETERS]] * 5)
    index = {name: MODEL_PARAMETERS.index(name) for name in MODEL_PARAMETERS}
    values[1, index["r0"]], values[2, index["phi0"]] = 3400.0, 1.4
    values[3, index["theta0"]], values[3, index["phi0"]] = 2.5, 4.0
    x = np.array(to_coordinates(values, problem["support"]))
    x[4] = np.nan
    return problem, settings, x


def run(stated, calls=20):
    problem, settings, x = stated
    state = new_descents(x, problem["points"].size + len(NAMED_PARAMETERS) + 1)
    states = [jax.device_get(run_descents(state, problem, settings))]
    for _ in range(calls):
        states.append(jax.device_get(run_descents(states[-1], problem, settings)))
    return states


@pytest.fixture(scope="module")
def states(stated):
    return run(stated)


def test_near_starts_end_in_the_same_minimum(states):
    last = states[-1]
    assert (last["ended"][:3] == CONVERGED).all()
    np.testing.assert_allclose(last["loss"][1:3], last["loss"][0], rtol=1e-4)


def test_it_is_one(stated, states):
    problem, settings, _ = stated
    x = states[-1]["x"][0]
    rng = np.random.default_rng(0)
    best = float(loss(x, problem, settings))
    assert best == pytest.approx(states[-1]["loss"][0])
    for _ in range(20):
        assert float(loss(x + 0.01 * rng.standard_normal(x.shape), problem, settings)) > best - 1e-4


def test_no_loss_ever_rises(states):
    losses = np.array([state["loss"] for state in states])
    assert (np.diff(losses[:, :4], axis=0) <= 0).all()
    # and even the far one went down
    assert losses[-1, 3] < 0.5 * losses[0, 3] or states[0]["ended"][3] != RUNNING


def test_what_is_no_number_is_lost_and_holds_nobody_up(states):
    assert states[0]["ended"][4] == LOST
    assert states[-1]["loss"][4] == np.inf
    assert np.isfinite(states[-1]["loss"][:4]).all()


def test_what_has_ended_stays(states):
    first, last = states[-2], states[-1]
    for name in first:
        np.testing.assert_array_equal(first[name][first["ended"] > RUNNING], last[name][last["ended"] > RUNNING])


def test_what_is_fixed_stays(stated, states):
    fixed = stated[0]["free"] == 0
    np.testing.assert_array_equal(states[-1]["x"][:4, fixed], stated[2][:4, fixed])
