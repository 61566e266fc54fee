"""The whole descent in one compiled program, run in chunks so that a caller can show progress and stop it."""

from enum import IntEnum

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core import levenberg
from sting.core.likelihood import JointSettings, Problem, Settings, loss, loss_and_parts, n_parts
from sting.core.transforms import project
from sting.programs import program

#: Epochs in one call of `run_chunk`.
CHUNK = 50


class Stop(IntEnum):
    """Why a descent ended."""

    RUNNING = 0
    N_EPOCHS = 1
    LOSS_THRESHOLD = 2
    GRADIENT_TOL = 3
    PATIENCE = 4
    NOT_FINITE = 5
    BY_CALLER = 6


def _solver(settings, options):
    # imported on use: the method of Levenberg and Marquardt does not need it
    import optax

    if settings.optimizer == "adam":
        return optax.adam(options["learning_rate"], b1=options["beta1"], b2=options["beta2"])
    # with optax's own line search, which heeds the curvature: a backtracking one compiles in a third of the time, but gets stuck
    # in the corner at a bound, where the loss curves downwards
    return optax.lbfgs(memory_size=20)


def _evaluate(x, solver, problem, settings):
    """Where the descent stands after an evaluation at ``x``: there, or where it was before, if the method prefers that."""
    if settings.optimizer == "lm":
        now = levenberg.accept(solver, levenberg.evaluate(x, problem, settings))
        return now | {"gradient": 2 * now["gradient"]}, now
    (value, parts), gradient = jax.value_and_grad(loss_and_parts, has_aux=True)(x, problem, settings)
    return {"x": x, "loss": value, "parts": parts, "gradient": gradient}, solver


@program
def start(x: Float[Array, " n"], options, settings: Settings | JointSettings):
    """State of a descent before its first evaluation."""
    x = jnp.asarray(x)
    state = {
        "x": x,
        "solver": levenberg.new_centre(x, n_parts(settings))
        if settings.optimizer == "lm"
        else _solver(settings, options).init(x),
        "epoch": jnp.asarray(0),
        "best": {"x": x, "loss": jnp.asarray(jnp.inf), "epoch": jnp.asarray(0)},
        "counts": {name: jnp.asarray(0) for name in ("threshold", "gradient", "patience")},
        "stop": jnp.asarray(int(Stop.RUNNING)),
    }
    # without JAX's weak types, which the states that follow do not have: they would have the program compiled twice
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=leaf.dtype), state)


def _update(now, solver_state, problem, options, settings):
    """Place of the next evaluation."""
    x = now["x"]
    if settings.optimizer == "lm":
        return x + levenberg.step(solver_state, problem["support"]), solver_state
    solver = _solver(settings, options)
    if settings.optimizer == "adam":
        change, solver_state = solver.update(now["gradient"], solver_state, x)
    else:
        change, solver_state = solver.update(
            now["gradient"],
            solver_state,
            x,
            value=now["loss"],
            grad=now["gradient"],
            value_fn=lambda x: loss(x, problem, settings),
        )
    return project(x + change, problem["support"]), solver_state


def _count(condition, count):
    return jnp.where(condition, count + 1, 0)


def _epoch(state, problem, options, settings):
    """One epoch: evaluate, remember the best, decide whether to go on, and move."""
    epoch, best, counts = state["epoch"], state["best"], state["counts"]
    now, solver = _evaluate(state["x"], state["solver"], problem, settings)
    better = now["loss"] < best["loss"]
    progress = (epoch == 0) | (now["loss"] < best["loss"] - options["loss_rtol"] * jnp.abs(best["loss"]))
    counts = {
        "threshold": _count(now["loss"] <= options["loss_threshold"], counts["threshold"]),
        "gradient": _count(jnp.linalg.norm(now["gradient"]) < options["gradient_tol"], counts["gradient"]),
        "patience": _count(~progress, counts["patience"]),
    }
    stop = jnp.select(
        [
            ~jnp.isfinite(now["loss"]),
            counts["threshold"] >= options["loss_threshold_epochs"],
            counts["gradient"] >= options["gradient_tol_epochs"],
            counts["patience"] >= options["patience"],
            epoch >= options["n_epochs"],
        ],
        [int(why) for why in (Stop.NOT_FINITE, Stop.LOSS_THRESHOLD, Stop.GRADIENT_TOL, Stop.PATIENCE, Stop.N_EPOCHS)],
        int(Stop.RUNNING),
    ).astype(state["stop"].dtype)
    x, solver = _update(now, solver, problem, options, settings)
    row = jnp.concatenate([now["loss"][None], jnp.linalg.norm(now["gradient"])[None], now["parts"], now["x"]])
    return row, {
        "x": x,
        "solver": solver,
        "epoch": epoch + 1,
        "best": {
            "x": jnp.where(better, now["x"], best["x"]),
            "loss": jnp.where(better, now["loss"], best["loss"]),
            "epoch": jnp.where(better, epoch, best["epoch"]),
        },
        "counts": counts,
        "stop": stop,
    }


@program
def run_chunk(state, problem: Problem, options, settings: Settings | JointSettings):
    """Run up to `CHUNK` epochs.

    Returns the new state and an array with a row for each epoch done (the others are NaN): loss, gradient norm, the parts of the
    loss and the coordinates.
    """
    rows = jnp.full((CHUNK, 2 + n_parts(settings) + state["x"].size), jnp.nan)

    def unfinished(carry):
        state, _, done = carry
        return (done < CHUNK) & (state["stop"] == Stop.RUNNING)

    def body(carry):
        state, rows, done = carry
        row, state = _epoch(state, problem, options, settings)
        return state, rows.at[done].set(row), done + 1

    state, rows, _ = jax.lax.while_loop(unfinished, body, (state, rows, 0))
    return state, rows
