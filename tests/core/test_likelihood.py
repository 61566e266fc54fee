"""The loss: against plain numpy, its gradient against finite differences, its residuals against both."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sting.core.likelihood import (
    MODEL_PARAMETERS,
    NAMED_PARAMETERS,
    linearise,
    loss_and_parts,
    match,
    named_vector,
    parameters,
    path_of,
    polar_sigma,
)
from sting.core.sky import make_path, observe
from sting.core.transforms import LARGEST_MU, to_coordinates

N_POINTS = 12
BATCH = 200
DISTANCE = 293.0
DEGREE = np.pi / 180
OMEGA_BOUNDS = {"omega": (1e-14, 1e-11)}


@partial(jax.jit, static_argnames="settings")
def _evaluate_batch(x, problem, settings):
    # a map compiles in half the time of a vmap
    return jax.lax.map(lambda x: jax.value_and_grad(loss_and_parts, has_aux=True)(x, problem, settings), x)


def evaluate(x, problem, settings):
    """Loss, parts and gradient at many coordinates (m, n), in batches of one shape, so that each program is compiled once."""
    x = np.atleast_2d(x)
    padded = np.concatenate([x, np.repeat(x[:1], -len(x) % BATCH, axis=0)])
    found = [jax.device_get(_evaluate_batch(part, problem, settings)) for part in padded.reshape(-1, BATCH, x.shape[1])]
    (loss, parts), gradient = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(x)], *found)
    return {"loss": loss, "parts": parts, "gradient": gradient}


@partial(jax.jit, static_argnames="settings")
def matched(x, problem, settings):
    """The places of the model to which the points are compared."""
    return jax.lax.map(lambda x: match(path_of(parameters(x, problem, settings), problem["distance"]), problem, settings), x)


_coordinates = jax.jit(jax.vmap(to_coordinates, in_axes=(0, None)))


@jax.jit
def points_on(p, u):
    path = make_path(**p, distance=DISTANCE)
    return observe(path, u * path["w_end"])[0]


@pytest.fixture(scope="module")
def points(truth):
    """Points of the true path, which cover 15 to 80 % of it, with noise; and their uncertainties."""
    rng = np.random.default_rng(0)
    exact = np.asarray(points_on(truth, np.linspace(0.15, 0.8, N_POINTS)))
    sigma = np.array([0.2, 0.15, 0.05]) * rng.uniform(0.7, 1.5, exact.shape)
    return exact + sigma * rng.standard_normal(exact.shape), sigma


@pytest.fixture(scope="module")
def places(truth):
    """A hundred sets of parameters around the truth (100, n), a fifth of them starting from rest."""
    rng = np.random.default_rng(1)
    n = 100
    p = {name: np.full(n, value) for name, value in truth.items()}
    for name in ("r0", "mass"):
        p[name] = p[name] * rng.uniform(0.8, 1.25, n)
    for name in ("theta0", "phi0", "inc", "pa"):
        p[name] = p[name] + rng.uniform(-0.3, 0.3, n)
    p |= {"v_r0": np.where(np.arange(n) < 20, 0.0, rng.uniform(0, 1.5, n)), "mu": 10 ** rng.uniform(-2, -0.5, n)}
    p |= {"rmin": rng.uniform(0, 500, n), "v_lsr": p["v_lsr"] + rng.uniform(-0.3, 0.3, n)}
    return np.stack([p[name] for name in MODEL_PARAMETERS], axis=-1)


PRIORS = {
    "nothing": {},
    "mu, rc and omega": {"mu": (0.1, 0.02), "rc": (150.0, 40.0), "omega": (4e-13, 1e-13), "mass": (4.5, 0.3)},
    # the means lie on the other side of the seam
    "angles": {"phi0": (60 * DEGREE - 2 * np.pi, 0.2), "pa": (194 * DEGREE + 4 * np.pi, 0.1), "inc": (-0.7, 0.1)},
}


class TestGradient:
    def check(self, x, problem, settings):
        """Compare the gradient with five-point differences: relative 1e-5 of its norm in every component at every place.

        Where a point begins to be compared to an end of the curve the loss bends, so that a difference across that place is not
        the derivative: each component may agree with the differences over the wider or over the narrower step.
        """
        m, n = x.shape
        exact = evaluate(x, problem, settings)["gradient"]
        assert np.isfinite(exact).all()
        errors = []
        for step in (1e-4, 1e-5):
            offsets = step * np.multiply.outer([-2, -1, 1, 2], np.eye(n))
            around = evaluate((x[:, None, None] + offsets).reshape(-1, n), problem, settings)["loss"].reshape(m, 4, n)
            differences = np.einsum("k,mkn->mn", [1, -8, 8, -1], around) / (12 * step)
            errors.append(np.abs(differences - exact) / np.linalg.norm(exact, axis=1, keepdims=True))
        error = np.min(errors, axis=0)
        worst = np.unravel_index(error.argmax(), error.shape)
        assert error.max() < 1e-5, f"place {worst[0]}, {MODEL_PARAMETERS[worst[1]]}"
        return exact

    @pytest.mark.parametrize("priors", PRIORS)
    @pytest.mark.parametrize("loss_method", [0, 1])
    def test_against_finite_differences(self, loss_method, priors, truth, points, places, make_problem):
        problem, settings, _ = make_problem(
            truth, *points, loss_method=loss_method, priors=PRIORS[priors], optimizer="lbfgs", distance=DISTANCE
        )
        gradient = self.check(np.asarray(_coordinates(places, problem["support"])), problem, settings)
        used = np.abs(gradient).max(axis=0) > 0
        assert used.all()

    @pytest.mark.parametrize("priors", ["nothing", "mu, rc and omega"])
    def test_where_omega_is_optimised(self, priors, truth, points, places, make_problem):
        values = {name: value for name, value in truth.items() if name != "mu"} | {"omega": 5e-13}
        problem, settings, _ = make_problem(
            values, *points, priors=PRIORS[priors], bounds=OMEGA_BOUNDS, optimizer="lbfgs", distance=DISTANCE
        )
        assert settings.rotation == "omega"
        places = places.copy()
        places[:, MODEL_PARAMETERS.index("mu")] = np.random.default_rng(2).uniform(2e-13, 8e-13, len(places))
        self.check(np.asarray(_coordinates(places, problem["support"])), problem, settings)


class TestLoss:
    @pytest.mark.parametrize("cover", [(0.15, 0.8), (0.0, 1.0), (0.15, 0.4), (0.4, 0.8)])
    @pytest.mark.parametrize("loss_method", [0, 1])
    def test_points_of_the_model_itself_give_no_loss(self, loss_method, cover, truth, points, make_problem):
        exact = np.asarray(points_on(truth, np.linspace(*cover, N_POINTS)))
        problem, settings, x = make_problem(
            truth, exact, points[1], loss_method=loss_method, optimizer="lbfgs", distance=DISTANCE
        )
        found = evaluate(x, problem, settings)
        assert found["loss"][0] < 1e-12
        assert np.abs(found["gradient"]).max() < 1e-5

    @pytest.mark.parametrize("loss_method", [0, 1])
    def test_against_numpy(self, loss_method, truth, points, places, make_problem):
        problem, settings, _ = make_problem(truth, *points, loss_method=loss_method, optimizer="lbfgs", distance=DISTANCE)
        x = np.asarray(_coordinates(places, problem["support"]))
        found = evaluate(x, problem, settings)
        (ra, dec, v), (s_ra, s_dec, s_v) = points[0].T, points[1].T
        model_ra, model_dec, model_v = np.asarray(matched(x, problem, settings._replace(loss_method=0))).transpose(2, 0, 1)
        if loss_method == 0:
            first, second = (ra - model_ra) / s_ra, (dec - model_dec) / s_dec
        else:
            r = np.hypot(ra, dec)
            s_r = np.sqrt((ra * s_ra) ** 2 + (dec * s_dec) ** 2) / r
            s_theta = np.sqrt((dec * s_ra) ** 2 + (ra * s_dec) ** 2) / r**2
            turn = np.angle((ra + 1j * dec) / (model_ra + 1j * model_dec))
            first, second = (r - np.hypot(model_ra, model_dec)) / s_r, turn / s_theta
        expected = np.stack([np.sum(part**2, axis=1) for part in (first, second, (v - model_v) / s_v)], axis=1)
        np.testing.assert_allclose(found["parts"][:, :3], expected, rtol=1e-9)
        np.testing.assert_array_equal(found["parts"][:, 3], 0)
        np.testing.assert_allclose(found["loss"], expected.sum(axis=1), rtol=1e-9)

    def test_uncertainty_of_the_projected_radius(self):
        ra, dec, s_ra, s_dec = 3.0, 4.0, 0.2, 0.1
        s_theta = np.hypot(4 * 0.2, 3 * 0.1) / 25
        expected = {"nearest": np.hypot(3 * 0.2, 4 * 0.1) / 5, "stretch": np.hypot(0.2, 0.1)}  # STING's is not the propagated one
        for matching, s_r in expected.items():
            np.testing.assert_allclose(polar_sigma(ra, dec, s_ra, s_dec, matching), [s_r, s_theta], rtol=1e-14)

    def test_priors_add_their_penalty(self, truth, points, make_problem):
        priors = {
            "mass": (3.0, 0.5),
            "pa": (194 * DEGREE + 2 * np.pi - 0.3, 0.1),  # wraps
            "rc": (truth["mu"] * truth["r0"] - 20.0, 10.0),
            "omega": (5.5e-13 + 3e-14, 1e-14),
        }
        problem, settings, x = make_problem(truth, *points, optimizer="lbfgs", priors=priors, distance=DISTANCE)
        without, _, _ = make_problem(truth, *points, optimizer="lbfgs", distance=DISTANCE)
        found, plain = evaluate(x, problem, settings), evaluate(x, without, settings)
        assert found["parts"][0, 3] == pytest.approx(2**2 + 3**2 + 2**2 + 3**2, rel=1e-8)
        assert found["loss"][0] - plain["loss"][0] == pytest.approx(26, rel=1e-8)

    def test_what_is_fixed_has_no_gradient(self, truth, points, make_problem):
        problem, settings, x = make_problem(truth, *points, free=("r0", "phi0", "v_lsr"), optimizer="lbfgs", distance=DISTANCE)
        gradient = evaluate(x + 0.01, problem, settings)["gradient"][0]
        moved = [name for name, slope in zip(MODEL_PARAMETERS, gradient, strict=True) if slope != 0]
        assert set(moved) == {"r0", "phi0", "v_lsr"}


class TestResiduals:
    @pytest.mark.parametrize("loss_method", [0, 1])
    def test_the_loss_is_their_square_and_their_jacobian_gives_the_gradient(
        self, loss_method, truth, points, places, make_problem
    ):
        problem, settings, _ = make_problem(
            truth, *points, loss_method=loss_method, optimizer="lbfgs", priors=PRIORS["angles"], distance=DISTANCE
        )
        x = np.asarray(_coordinates(places, problem["support"]))[::4]
        exact = evaluate(x, problem, settings)
        for i, place in enumerate(x):
            found = jax.device_get(linearise(place, problem, settings))
            residuals, jacobian = found["residuals"], found["d_residuals"]
            assert residuals.shape == (3 * N_POINTS + len(NAMED_PARAMETERS) + 1,)
            assert residuals @ residuals == pytest.approx(exact["loss"][i], rel=1e-10)
            error = np.abs(2 * jacobian.T @ residuals - exact["gradient"][i])
            assert error.max() < 1e-9 * np.linalg.norm(exact["gradient"][i])


class TestNamedParameters:
    def test_all_three_rotation_parameters_are_there(self, truth, points, make_problem):
        problem, settings, x = make_problem(truth, *points)
        named = parameters(x, problem, settings)
        assert tuple(named) == NAMED_PARAMETERS
        for name, value in truth.items():
            assert named[name] == pytest.approx(value, rel=1e-12), name
        assert named["rc"] == pytest.approx(truth["mu"] * truth["r0"], rel=1e-12)
        assert float(named["omega"]) == pytest.approx(5.5e-13, rel=1e-9)
        np.testing.assert_array_equal(named_vector(x, problem, settings), [named[name] for name in NAMED_PARAMETERS])

    @pytest.mark.parametrize(("rotation", "value"), [("rc", 120.0), ("omega", 5e-13)])
    def test_a_fixed_rotation_stays_while_r0_and_mass_move(self, rotation, value, truth, points, make_problem):
        values = {name: number for name, number in truth.items() if name != "mu"} | {rotation: value}
        problem, settings, x = make_problem(values, *points, free=("r0", "mass"))
        moved = parameters(x + 0.3, problem, settings)
        assert moved["r0"] > 1.2 * truth["r0"]
        assert moved["mass"] > 1.2 * truth["mass"]
        assert float(moved[rotation]) == pytest.approx(value, rel=1e-12)
        assert moved["mu"] != parameters(x, problem, settings)["mu"]


class TestBarrier:
    """Where omega is optimised mu = rc/r0 may exceed 1, beyond which nothing would fall."""

    @pytest.fixture
    def fit(self, truth, points, make_problem):
        values = {name: value for name, value in truth.items() if name != "mu"} | {"omega": 5e-13}
        return make_problem(values, *points, bounds=OMEGA_BOUNDS, optimizer="lbfgs", distance=DISTANCE)

    def test_it_keeps_mu_below_one(self, fit, truth):
        problem, settings, x = fit
        i = MODEL_PARAMETERS.index("mu")
        critical = 5.5e-13 / np.sqrt(truth["mu"])
        omegas = critical * np.array([0.5, 0.9, 0.999, 1.001, 1.1, 1.5, 3.0])
        low, high = OMEGA_BOUNDS["omega"]
        at = np.repeat(x[None], len(omegas), axis=0)
        at[:, i] = (omegas - low) / (high - low)
        found = evaluate(at, problem, settings)
        assert np.isfinite(found["loss"]).all()
        assert np.isfinite(found["gradient"]).all()
        barrier = found["loss"] - found["parts"].sum(axis=1)
        excess = np.maximum((omegas / critical) ** 2 / LARGEST_MU - 1, 0)
        np.testing.assert_allclose(barrier, (100 * excess) ** 2, rtol=1e-6, atol=1e-9 * found["parts"].sum(axis=1).max())
        assert (barrier[3:] > 0).all()
        # beyond 1 the path no longer depends on omega: only the barrier has a slope, back towards smaller omega
        assert (found["gradient"][3:, i] > 0).all()
        np.testing.assert_allclose(found["parts"][4:], found["parts"][4:5].repeat(3, axis=0), rtol=1e-9)

    def test_the_path_is_that_of_the_largest_mu(self, fit):
        problem, settings, x = fit
        x = x.copy()
        x[MODEL_PARAMETERS.index("mu")] = 0.5
        named = parameters(jnp.asarray(x), problem, settings)
        assert named["mu"] > 1
        assert path_of(named, DISTANCE)["mu"] == LARGEST_MU
