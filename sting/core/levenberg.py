"""Many descents side by side in one compiled program: Levenberg and Marquardt's method on the residuals of the loss.

L-BFGS would do as well for one descent, but its line search takes as long for all as for the slowest of them. Here each iteration
of each descent is one evaluation of the residuals and their Jacobian, accepted or not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.likelihood import NAMED_PARAMETERS, Problem, Settings, linearise

#: Iterations in one call of `run_descents`.
ITERATIONS = 5

#: A descent has converged where the next step promises less than this fraction of the loss (or this number, without noise).
LEAST_GAIN, NOTHING = 1e-5, 1e-9

#: Damping beyond which a descent is stuck, at a place where the loss has a kink; and below which a promise counts.
STUCK, FREE_STEP = 1e6, 1.0

#: What ``ended`` says of a descent: it goes on, it ended in a minimum, or it ended elsewhere.
RUNNING, CONVERGED, LOST = 0.0, 1.0, 2.0

#: Longest step in a coordinate: a third of the range between two bounds, or of a radian.
LONGEST_STEP = 0.3

#: Curvature, in units of the largest one, below which a coordinate stays.
NO_CURVATURE = 1e-10

Descents = dict[str, Float[Array, "m ..."]]


def new_descents(x: Float[Array, "m n"], n_residuals: int) -> Descents:
    """State of ``m`` descents before their first iteration, which evaluates them where they start.

    It holds for each its coordinates, the named parameters, residuals, gradient and curvature there (of half the loss, by the
    rule of Gauss and Newton), its damping, the iterations done, and whether it has ended.
    """
    m, n = x.shape
    return {
        "x": x,
        "loss": jnp.full(m, jnp.inf),
        "named": jnp.zeros((m, len(NAMED_PARAMETERS))),
        "residuals": jnp.zeros((m, n_residuals)),
        "gradient": jnp.zeros((m, n)),
        "curvature": jnp.zeros((m, n, n)),
        "damping": jnp.full(m, 1e-2),
        "iterations": jnp.zeros(m),
        "ended": jnp.full(m, RUNNING),
    }


def _evaluate(x, problem, settings):
    found = linearise(x, problem, settings)
    residuals, jacobian = found["residuals"], found["d_residuals"]
    return {
        "x": x,
        "loss": residuals @ residuals,
        "named": found["named"],
        "residuals": residuals,
        "gradient": jacobian.T @ residuals,
        "curvature": jacobian.T @ jacobian,
    }


def _step(state):
    """Damped step of Gauss and Newton; what is fixed, or so far in the corner at a bound that it moves nothing, stays."""
    diagonal = jnp.diag(state["curvature"])
    least = NO_CURVATURE * jnp.max(diagonal) + 1e-30
    matrix = state["curvature"] + jnp.diag(state["damping"] * diagonal + least)
    change = -jnp.linalg.solve(matrix, state["gradient"])
    # what runs away, into a corner or along what the data hardly know, goes as far as it may, and the others go along
    short = jnp.abs(change) <= LONGEST_STEP
    longest = jnp.where(short, 0.0, jnp.clip(change, -LONGEST_STEP, LONGEST_STEP))
    rest = jnp.where(short, state["gradient"] + state["curvature"] @ longest, 0.0)
    matrix = jnp.where(short[:, None] & short, matrix, jnp.eye(len(short)))
    return longest + jnp.clip(-jnp.linalg.solve(matrix, rest), -LONGEST_STEP, LONGEST_STEP)


def _iterate(state, problem, settings):
    """One iteration of one descent; a loss that is not a number is no better than any."""
    change, damping = _step(state), state["damping"]
    now = _evaluate(state["x"] + change, problem, settings)
    usable = jnp.isfinite(now["gradient"]).all() & jnp.isfinite(now["curvature"]).all()
    better = usable & (now["loss"] < state["loss"])
    promise = jnp.sum(jnp.abs(change * state["gradient"]))
    settled = (promise < LEAST_GAIN * state["loss"] + NOTHING) & (damping <= FREE_STEP) & jnp.isfinite(state["loss"])
    new = {name: jnp.where(better, value, state[name]) for name, value in now.items()}
    lost = ~jnp.isfinite(new["loss"]) | (damping > STUCK)
    new |= {
        "damping": jnp.clip(damping * jnp.where(better, 0.1, 8.0), 1e-7, None),
        "iterations": state["iterations"] + 1,
        "ended": jnp.where(settled, CONVERGED, jnp.where(lost, LOST, RUNNING)),
    }
    return {name: jnp.where(state["ended"] > RUNNING, state[name], value) for name, value in new.items()}


@partial(jax.jit, static_argnames="settings")
def run_descents(state: Descents, problem: Problem, settings: Settings) -> Descents:
    """Run up to `ITERATIONS` iterations of each descent that has not ended."""

    def unfinished(carry):
        state, k = carry
        return (k < ITERATIONS) & jnp.any(state["ended"] == RUNNING)

    def body(carry):
        state, k = carry
        return jax.vmap(lambda one: _iterate(one, problem, settings))(state), k + 1

    return jax.lax.while_loop(unfinished, body, (state, 0))[0]
