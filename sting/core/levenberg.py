"""Many descents side by side in one compiled program: Levenberg and Marquardt's method on the residuals of the loss.

L-BFGS would do as well for one descent, but its line search takes as long for all as for the slowest of them. Here each iteration
of each descent is one evaluation of the residuals and their Jacobian, accepted or not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sting.core.likelihood import NAMED_PARAMETERS, Problem, Settings, linearise, match, parameters, path_of
from sting.core.transforms import to_coordinates

#: Iterations in one call of `run_descents`.
ITERATIONS = 20

#: A descent has converged after so many iterations in a row that each lowered its loss by less than this fraction.
PATIENCE, LEAST_GAIN = 5, 1e-5

#: Losses below this are those of data without noise, which have nothing left to gain.
NOTHING = 1e-9

#: Longest step in a coordinate: a third of the range between two bounds, or of a radian.
LONGEST_STEP = 0.3

Descents = dict[str, Float[Array, "m ..."] | Bool[Array, " m"]]


def _evaluate(x, problem, settings):
    """Loss, and gradient and curvature of its half by the rule of Gauss and Newton."""
    found = linearise(x, problem, settings)
    residuals, jacobian = found["residuals"], found["d_residuals"]
    return {"loss": residuals @ residuals, "gradient": jacobian.T @ residuals, "curvature": jacobian.T @ jacobian}


def _step(now, damping):
    """Damped step of Gauss and Newton; what is fixed has no curvature and stays."""
    diagonal = jnp.diag(now["curvature"])
    scale = diagonal + 1e-9 * jnp.max(diagonal) + 1e-30
    change = -jnp.linalg.solve(now["curvature"] + jnp.diag(damping * scale), now["gradient"])
    return change * jnp.minimum(1.0, LONGEST_STEP / jnp.maximum(jnp.max(jnp.abs(change)), 1e-30))


def _iterate(state, problem, settings):
    """One iteration of one descent."""
    x = state["x"] + _step(state["now"], state["damping"])
    now = _evaluate(x, problem, settings)
    better = now["loss"] < state["now"]["loss"]
    small = ~(now["loss"] < (1 - LEAST_GAIN) * state["now"]["loss"] - NOTHING)
    new = {
        "x": jnp.where(better, x, state["x"]),
        "now": jax.tree.map(lambda new, old: jnp.where(better, new, old), now, state["now"]),
        "damping": jnp.clip(state["damping"] * jnp.where(better, 0.2, 8.0), 1e-9, 1e9),
        "stalled": jnp.where(small, state["stalled"] + 1, 0.0),
    }
    done = state["stalled"] >= PATIENCE
    return jax.tree.map(lambda new, old: jnp.where(done, old, new), new, state)


@partial(jax.jit, static_argnames="settings")
def start_descents(values: Float[Array, "m n"], problem: Problem, settings: Settings) -> Descents:
    """State of ``m`` descents from these values of the parameters before their first iteration."""
    x = jax.vmap(lambda values: to_coordinates(values, problem["support"]))(values)
    now = jax.vmap(lambda x: _evaluate(x, problem, settings))(x)
    finite = jnp.isfinite(now["loss"]) & jnp.isfinite(now["gradient"]).all(axis=1) & jnp.isfinite(now["curvature"]).all((1, 2))
    # a start at which there is nothing to follow is over before it begins
    now["loss"] = jnp.where(finite, now["loss"], jnp.inf)
    return {"x": x, "now": now, "damping": jnp.full(len(x), 1e-2), "stalled": jnp.where(finite, 0.0, PATIENCE)}


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


@partial(jax.jit, static_argnames="settings")
def look_at(x: Float[Array, "m n"], problem: Problem, settings: Settings) -> dict[str, Float[Array, "m ..."]]:
    """What ``m`` models are and what can be told apart of them.

    ``named`` holds all named parameters, ``seen`` the places to which the data are compared, in units of the uncertainties.
    """

    def one(x):
        named = parameters(x, problem, settings)
        seen = match(path_of(named, problem["distance"]), problem, settings) / problem["sigma"]
        return {"named": jnp.stack([named[name] for name in NAMED_PARAMETERS]), "seen": seen.ravel()}

    return jax.vmap(one)(x)
