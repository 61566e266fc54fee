"""The descent: when it stops, what it remembers, and that it goes down."""

import jax
import numpy as np
import pytest

from sting.core.descent import CHUNK, Stop, run_chunk, start
from sting.core.likelihood import MODEL_PARAMETERS
from sting.core.sky import make_path, observe
from sting.core.transforms import to_parameters

N_POINTS = 12
DISTANCE = 293.0
FREE = ("r0", "theta0", "phi0", "v_r0", "mu")
OPTIONS = {
    "learning_rate": 0.005,
    "beta1": 0.9,
    "beta2": 0.999,
    "n_epochs": 1000,
    "loss_threshold": -np.inf,
    "loss_threshold_epochs": 1,
    "gradient_tol": 0.0,
    "gradient_tol_epochs": 1,
    "patience": 50,
    "loss_rtol": 0.0,
}
LOSS, GRADIENT, PARTS, X = 0, 1, slice(2, 6), slice(6, None)


@jax.jit
def points_on(p, u):
    path = make_path(**p, distance=DISTANCE)
    return observe(path, u * path["w_end"])[0]


@pytest.fixture(scope="module")
def fit(truth, make_problem):
    """A function that states the fit of noise-free points of the truth from a start that differs from it."""
    exact = np.asarray(points_on(truth, np.linspace(0.1, 0.8, N_POINTS)))
    sigma = np.tile([0.2, 0.2, 0.1], (N_POINTS, 1))

    def state(optimizer="adam", free=FREE, bounds=None, priors=None, points=exact, **changes):
        values = truth | changes
        return make_problem(
            values, points, sigma, free=free, bounds=bounds, priors=priors, optimizer=optimizer, distance=DISTANCE
        )

    return state


def typed(options):
    return {name: np.int64(value) if isinstance(value, int) else np.float64(value) for name, value in options.items()}


def descend(problem, settings, x, *, chunks=None, **options):
    """Run until it stops, or so many chunks; returns the last state and the rows of all epochs."""
    options = typed(OPTIONS | options)
    state, rows = start(x, options, settings), []
    while state["stop"] == Stop.RUNNING and len(rows) != chunks:
        state, chunk = run_chunk(state, problem, options, settings)
        assert chunk.shape == (CHUNK, 6 + len(x))
        rows.append(chunk)
    return jax.device_get(state), np.concatenate(rows)


def epochs_of(rows):
    """Number of epochs done, whose coordinates are there; every other row is NaN throughout."""
    done = ~np.isnan(rows[:, X]).any(axis=1)
    n = np.count_nonzero(done)
    assert done[:n].all()
    assert np.isnan(rows[n:]).all()
    return n


def parameter(rows, problem, name):
    """Values of a parameter over the epochs."""
    values = jax.vmap(lambda x: to_parameters(x, problem["support"]))(rows[: epochs_of(rows), X])
    return np.asarray(values)[:, MODEL_PARAMETERS.index(name)]


NEAR = {"r0": 3000.0, "phi0": np.radians(65), "v_r0": 0.5}


class TestStops:
    def test_after_n_epochs(self, fit):
        state, rows = descend(*fit(**NEAR), n_epochs=7)
        assert state["stop"] == Stop.N_EPOCHS
        assert epochs_of(rows) == 8  # the start, and the place after each of the seven moves
        assert state["epoch"] == 8

    def test_after_several_chunks(self, fit):
        state, rows = descend(*fit(**NEAR), n_epochs=CHUNK + 20)
        assert state["stop"] == Stop.N_EPOCHS
        assert epochs_of(rows) == CHUNK + 21
        np.testing.assert_array_equal(rows[: CHUNK + 1], descend(*fit(**NEAR), chunks=2)[1][: CHUNK + 1])

    def test_when_the_loss_is_below_the_threshold(self, fit):
        state, rows = descend(*fit(**NEAR), loss_threshold=1e9, loss_threshold_epochs=3)
        assert state["stop"] == Stop.LOSS_THRESHOLD
        assert epochs_of(rows) == 3

    def test_at_the_first_loss_below_the_threshold(self, fit):
        _, rows = descend(*fit(**NEAR), chunks=1)
        threshold = rows[20, LOSS]
        first = np.flatnonzero(rows[:, LOSS] <= threshold)[0]
        state, rows = descend(*fit(**NEAR), loss_threshold=threshold)
        assert state["stop"] == Stop.LOSS_THRESHOLD
        assert epochs_of(rows) == first + 1
        assert state["best"]["loss"] <= threshold

    def test_when_the_gradient_is_small(self, fit):
        state, rows = descend(*fit(**NEAR), gradient_tol=1e12, gradient_tol_epochs=4)
        assert state["stop"] == Stop.GRADIENT_TOL
        assert epochs_of(rows) == 4

    def test_when_patience_is_over(self, fit):
        # with a learning rate of zero nothing gets better after the first epoch
        state, rows = descend(*fit(**NEAR), learning_rate=0.0, patience=6)
        assert state["stop"] == Stop.PATIENCE
        assert epochs_of(rows) == 7
        assert state["best"]["epoch"] == 0

    def test_small_gains_try_patience_where_a_relative_gain_is_asked_for(self, fit):
        state, rows = descend(*fit(**NEAR), learning_rate=1e-7, patience=6, loss_rtol=0.01)
        assert state["stop"] == Stop.PATIENCE
        assert epochs_of(rows) == 7
        assert state["best"]["epoch"] == 6  # which still is the best

    def test_when_the_loss_is_not_finite(self, fit):
        problem, settings, x = fit(**NEAR)
        state, rows = descend(problem | {"points": np.full((N_POINTS, 3), np.nan)}, settings, x)
        assert state["stop"] == Stop.NOT_FINITE
        assert epochs_of(rows) == 1
        assert np.isnan(rows[0, LOSS])
        assert state["best"]["loss"] == np.inf
        np.testing.assert_array_equal(state["best"]["x"], x)

    def test_a_stopped_descent_does_nothing_more(self, fit):
        problem, settings, x = fit(**NEAR)
        state, _ = descend(problem, settings, x, n_epochs=7)
        again, rows = jax.device_get(run_chunk(state, problem, typed(OPTIONS | {"n_epochs": 7}), settings))
        assert np.isnan(rows).all()
        jax.tree.map(np.testing.assert_array_equal, again, state)


@pytest.mark.parametrize(
    "changes", [{"v_r0": 0.0}, {"v_r0": 0.0, "r0": 3000.0}, {"r0": 2600.0, "phi0": 1.1}, {"r0": 3200.0, "phi0": 1.1}], ids=str
)
@pytest.mark.parametrize("optimizer", ["lbfgs", "lm"])
def test_the_truth_is_reached_from_a_bound(optimizer, changes, fit, truth):
    """At a bound the loss is curved downwards along the coordinate, which a line search must not take for a minimum's."""
    problem, settings, x = fit(optimizer, bounds={"r0": (2600.0, 3200.0)}, **changes)
    state, rows = descend(problem, settings, x, n_epochs=500)
    assert state["best"]["loss"] < 1e-6 < rows[0, LOSS]
    for name in FREE:
        assert parameter(rows, problem, name)[state["best"]["epoch"]] == pytest.approx(truth[name], rel=1e-3), name


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lm"])
class TestDescends:
    def test_to_the_truth(self, optimizer, fit, truth):
        problem, settings, x = fit(optimizer, **NEAR)
        state, rows = descend(problem, settings, x, n_epochs=600, learning_rate=0.01)
        n = epochs_of(rows)
        assert state["best"]["loss"] < (1e-2 if optimizer == "adam" else 1e-6) < 1 < rows[0, LOSS]
        assert n <= 601
        found = np.asarray(to_parameters(state["best"]["x"], problem["support"]))
        tolerance = 0.05 if optimizer == "adam" else 1e-3
        for name in ("r0", "theta0", "phi0", "mu"):
            assert found[MODEL_PARAMETERS.index(name)] == pytest.approx(truth[name], rel=tolerance), name

    def test_the_best_is_the_best_of_the_rows(self, optimizer, fit):
        state, rows = descend(*fit(optimizer, **NEAR), learning_rate=0.1, n_epochs=80)
        rows = rows[: epochs_of(rows)]
        best = rows[:, LOSS].argmin()
        assert state["best"]["epoch"] == best
        assert state["best"]["loss"] == rows[best, LOSS]
        np.testing.assert_array_equal(state["best"]["x"], rows[best, X])
        np.testing.assert_allclose(rows[:, PARTS].sum(axis=1), rows[:, LOSS], rtol=1e-12)
        # without noise the truth itself may be met, where both are nothing
        np.testing.assert_array_equal(rows[:, GRADIENT] > 0, rows[:, LOSS] > 0)

    def test_a_start_from_rest_moves(self, optimizer, fit, truth):
        problem, settings, x = fit(optimizer, free=("v_r0",), v_r0=0.0)
        state, rows = descend(problem, settings, x, n_epochs=500)
        speeds = parameter(rows, problem, "v_r0")
        assert speeds[0] < 1e-4
        assert speeds[state["best"]["epoch"]] == pytest.approx(truth["v_r0"], abs=1e-3)

    @pytest.mark.parametrize("bound", [2600.0, 3000.0])
    def test_a_start_on_a_bound_moves(self, bound, optimizer, fit, truth):
        problem, settings, x = fit(optimizer, free=("r0",), bounds={"r0": (2600.0, 3000.0)}, r0=bound)
        state, rows = descend(problem, settings, x, n_epochs=500)
        r0 = parameter(rows, problem, "r0")
        assert abs(r0[0] - bound) < 0.1
        assert r0[state["best"]["epoch"]] == pytest.approx(truth["r0"], abs=1)
        assert (r0 >= 2600 - 1e-9).all()
        assert (r0 <= 3000 + 1e-9).all()

    def test_bounds_hold_where_the_minimum_lies_beyond(self, optimizer, fit):
        problem, settings, x = fit(optimizer, bounds={"r0": (2000.0, 2600.0)}, r0=2300.0)
        state, rows = descend(problem, settings, x, n_epochs=300, learning_rate=0.02)
        r0 = parameter(rows, problem, "r0")
        assert (r0 <= 2600 + 1e-9).all()
        assert r0[state["best"]["epoch"]] > 2590
        assert np.isfinite(rows[: epochs_of(rows)]).all()

    def test_angles_have_no_seam(self, optimizer, fit):
        """A start that is a turn away descends alike."""
        _, rows = descend(*fit(optimizer, **NEAR), chunks=1)
        _, turned = descend(*fit(optimizer, **NEAR | {"phi0": NEAR["phi0"] - 2 * np.pi}), chunks=1)
        np.testing.assert_allclose(turned[:10, LOSS], rows[:10, LOSS], rtol=1e-6, atol=1e-18)

    def test_what_is_fixed_stays(self, optimizer, fit):
        problem, settings, x = fit(optimizer, free=("r0",), r0=3000.0)
        state, rows = descend(problem, settings, x, chunks=2)
        held = np.array(MODEL_PARAMETERS) != "r0"
        moved = rows[: epochs_of(rows), X] - x
        np.testing.assert_array_equal(moved[:, held], 0)
        assert state["best"]["loss"] < rows[0, LOSS]

    def test_a_chunk_returns_the_types_that_it_was_given(self, optimizer, fit):
        """Otherwise (a weak type is enough) the second chunk would compile the program once more."""
        problem, settings, x = fit(optimizer, **NEAR)
        options = typed(OPTIONS)
        state = start(x, options, settings)
        again, _ = run_chunk(state, problem, options, settings)
        assert jax.tree.map(jax.typeof, again) == jax.tree.map(jax.typeof, state)

    def test_other_numbers_compile_nothing(self, optimizer, fit):
        descend(*fit(optimizer, **NEAR), chunks=1)
        compiled = run_chunk.n_compiled
        other = fit(
            optimizer,
            free=("mass", "inc", "pa", "rmin", "v_lsr"),
            bounds={"mass": (3.0, 6.0)},
            priors={"mass": (4.0, 0.5), "pa": (3.0, 0.2)},
            mass=5.0,
            points=np.random.default_rng(0).normal(size=(N_POINTS, 3)),
        )
        descend(*other, chunks=1, learning_rate=0.1, beta1=0.8, beta2=0.99, patience=7, loss_threshold=1.0, gradient_tol=1.0)
        assert run_chunk.n_compiled == compiled
