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
ITERATIONS = 8

#: A descent has converged after so many iterations in a row that each lowered its loss by less than this fraction.
PATIENCE, LEAST_GAIN = 4, 1e-4

#: Losses below this are those of data without noise, which have nothing left to gain.
NOTHING = 1e-9

#: Longest step in a coordinate: a third of the range between two bounds, or of a radian.
LONGEST_STEP = 0.3

Descents = dict[str, Float[Array, "m ..."]]


def new_descents(x: Float[Array, "m n"], n_residuals: int) -> Descents:
    """State of ``m`` descents before their first iteration, which evaluates them where they start.

    It holds for each its coordinates, the named parameters, residuals, gradient and curvature there (of half the loss, by the
    rule of Gauss and Newton), its damping, the iterations done, and how many in a row gained nothing.
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
        "stalled": jnp.zeros(m),
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
    """Damped step of Gauss and Newton; what is fixed has no curvature and stays."""
    diagonal = jnp.diag(state["curvature"])
    scale = diagonal + 1e-9 * jnp.max(diagonal) + 1e-30
    change = -jnp.linalg.solve(state["curvature"] + jnp.diag(state["damping"] * scale), state["gradient"])
    return change * jnp.minimum(1.0, LONGEST_STEP / jnp.maximum(jnp.max(jnp.abs(change)), 1e-30))


def _iterate(state, problem, settings):
    """One iteration of one descent; a loss that is not a number is no better than any."""
    now = _evaluate(state["x"] + _step(state), problem, settings)
    usable = jnp.isfinite(now["gradient"]).all() & jnp.isfinite(now["curvature"]).all()
    better = usable & (now["loss"] < state["loss"])
    gained = better & (now["loss"] < (1 - LEAST_GAIN) * state["loss"] - NOTHING)
    new = {name: jnp.where(better, value, state[name]) for name, value in now.items()} | {
        "damping": jnp.clip(state["damping"] * jnp.where(better, 0.2, 8.0), 1e-9, 1e9),
        "iterations": state["iterations"] + 1,
        "stalled": jnp.where(gained, 0.0, state["stalled"] + 1),
    }
    done = state["stalled"] >= PATIENCE
    return {name: jnp.where(done, state[name], value) for name, value in new.items()}


@partial(jax.jit, static_argnames="settings")
def run_descents(state: Descents, problem: Problem, settings: Settings) -> Descents:
    """Run up to `ITERATIONS` iterations of each descent that has not converged (``stalled`` < `PATIENCE`)."""

    def unfinished(carry):
        state, k = carry
        return (k < ITERATIONS) & jnp.any(state["stalled"] < PATIENCE)

    def body(carry):
        state, k = carry
        return jax.vmap(lambda one: _iterate(one, problem, settings))(state), k + 1

    return jax.lax.while_loop(unfinished, body, (state, 0))[0]
