"""Levenberg and Marquardt's method on the residuals of the loss (Marquardt 1963, doi:10.1137/0111030), and many descents by it.

Each iteration is one evaluation of the residuals and their Jacobian, accepted or not: no line search, which of many descents side
by side would take as long for all as for the slowest of them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.likelihood import N_PARTS, NAMED_PARAMETERS, Problem, Settings, linearise
from sting.core.transforms import limits
from sting.programs import program

#: Iterations in one call of `run_descents`.
ITERATIONS = 5

#: A descent has converged where the next step promises less than this fraction of the loss (or this number, without noise).
LEAST_GAIN, NOTHING = 1e-5, 1e-9

#: Damping beyond which a descent is stuck, at a place where the loss has a kink; and below which a promise counts.
STUCK, FREE_STEP = 1e6, 1.0

#: Damping of the first step, and the smallest.
FIRST_DAMPING, LEAST_DAMPING = 1e-2, 1e-7

#: What ``ended`` says of a descent: it goes on, it ended in a minimum, or it ended elsewhere.
RUNNING, CONVERGED, LOST = 0.0, 1.0, 2.0

#: Longest step in a coordinate: a third of the range between two bounds, or of a radian; of r0, of its inverse.
LONGEST_STEP = 0.3

#: Curvature, in units of the largest one, below which a coordinate stays.
NO_CURVATURE = 1e-10

Descents = dict[str, Float[Array, "m ..."]]


def new_descents(x: Float[Array, "m n"], n_residuals: int) -> Descents:
    """State of ``m`` descents before their first iteration, which evaluates them where they start.

    It holds for each its coordinates, the named parameters, residuals, gradient and curvature there (of half the loss, by the
    rule of Gauss and Newton), its damping, the iterations done, and whether it has ended.
    """
    m = len(x)
    centre = jax.vmap(lambda one: new_centre(one, N_PARTS))(x)
    return centre | {
        "named": jnp.zeros((m, len(NAMED_PARAMETERS))),
        "residuals": jnp.zeros((m, n_residuals)),
        "iterations": jnp.zeros(m),
        "ended": jnp.full(m, RUNNING),
    }


def evaluate(x, problem, settings):
    """Loss and all that a step needs: gradient and curvature of half the loss, by the rule of Gauss and Newton."""
    found = linearise(x, problem, settings)
    residuals, jacobian = found["residuals"], found["d_residuals"]
    return {
        "x": x,
        "loss": found["loss"],
        "parts": found["parts"],
        "named": found["named"],
        "residuals": residuals,
        "gradient": jacobian.T @ residuals,
        "curvature": jacobian.T @ jacobian,
    }


def new_centre(x: Float[Array, " n"], n_parts: int):
    """What a descent stands on before its first evaluation, which is better whatever it is."""
    n = x.size
    return {
        "x": x,
        "loss": jnp.asarray(jnp.inf),
        "parts": jnp.zeros(n_parts),
        "gradient": jnp.zeros(n),
        "curvature": jnp.zeros((n, n)),
        "damping": jnp.asarray(FIRST_DAMPING),
    }


def accept(centre, now):
    """Move the centre of a descent to what was evaluated, if that is better, and change its damping."""
    usable = jnp.isfinite(now["gradient"]).all() & jnp.isfinite(now["curvature"]).all()
    # a loss that is not a number is no better than any
    better = usable & (now["loss"] < centre["loss"])
    damping = jnp.clip(centre["damping"] * jnp.where(better, 0.1, 8.0), LEAST_DAMPING, None)
    return {name: jnp.where(better, now.get(name, value), value) for name, value in centre.items()} | {"damping": damping}


def step(centre, support):
    """Damped step of Gauss and Newton within the bounds; what is fixed, or held by a bound, stays."""
    x, gradient, curvature = centre["x"], centre["gradient"], centre["curvature"]
    low, high = limits(support)
    # of r0 the inverse takes the steps: along orbits that the data hardly tell apart the others follow it on a straight line
    bend = support["reciprocal"] / (x + support["offset"] / support["scale"])
    unit = jnp.where(bend > 0, bend, 1.0)
    diagonal = jnp.diag(curvature)
    matrix = curvature + jnp.diag(centre["damping"] * diagonal + NO_CURVATURE * unit**2 * jnp.max(diagonal) + 1e-30)
    moves = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
    change = -_solve(matrix, gradient, moves)
    # what would leave the bounds, or runs away along what the data hardly know, goes as far as it may; the others go along
    longest = LONGEST_STEP / unit
    least, most = jnp.maximum(_straight(low - x, bend), -longest), jnp.minimum(_straight(high - x, bend), longest)
    short = (change >= least) & (change <= most)
    edge = jnp.where(short, 0.0, jnp.clip(change, least, most))
    change = edge + jnp.clip(-_solve(matrix, gradient + curvature @ edge, moves & short), least, most)
    return change / (1 - bend * change)


def _straight(change, bend):
    """The step in coordinates, in which the inverse of a reciprocal one is straight, that comes to a ``change``."""
    change = jnp.clip(change, -1e12, 1e12)
    return jnp.where(bend * change > -1, change / (1 + bend * change), -jnp.inf)


def _solve(matrix, vector, moves):
    """Solution in the coordinates that move alone, 0 in the others."""
    return jnp.linalg.solve(jnp.where(moves[:, None] & moves, matrix, jnp.eye(len(moves))), jnp.where(moves, vector, 0.0))


def _iterate(state, problem, settings):
    """One iteration of one descent."""
    change, damping = step(state, problem["support"]), state["damping"]
    new = accept(state, evaluate(state["x"] + change, problem, settings))
    promise = jnp.sum(jnp.abs(change * state["gradient"]))
    settled = (promise < LEAST_GAIN * state["loss"] + NOTHING) & (damping <= FREE_STEP) & jnp.isfinite(state["loss"])
    lost = ~jnp.isfinite(new["loss"]) | (damping > STUCK)
    new |= {
        "iterations": state["iterations"] + 1,
        "ended": jnp.where(settled, CONVERGED, jnp.where(lost, LOST, RUNNING)),
    }
    return {name: jnp.where(state["ended"] > RUNNING, state[name], value) for name, value in new.items()}


@program
def run_descents(state: Descents, problem: Problem, settings: Settings) -> Descents:
    """Run up to `ITERATIONS` iterations of each descent that has not ended."""

    def unfinished(carry):
        state, k = carry
        return (k < ITERATIONS) & jnp.any(state["ended"] == RUNNING)

    def body(carry):
        state, k = carry
        return jax.vmap(lambda one: _iterate(one, problem, settings))(state), k + 1

    return jax.lax.while_loop(unfinished, body, (state, 0))[0]
