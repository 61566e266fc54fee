"""Coordinates in which a posterior is sampled: any real numbers are legal, and the density is about as wide in each of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.likelihood import MODEL_PARAMETERS, Problem, Settings, loss, residuals
from sting.core.transforms import omega_from
from sting.programs import program

#: How a parameter is stretched onto the real line: not at all, from its lower bound, from both.
LINE, HALF_LINE, INTERVAL = 0.0, 1.0, 2.0

#: A centre is kept this far inside an interval, in units of its width, and this far from the end of a half-line.
INSIDE, AWAY = 0.01, 0.05

#: Curvature that every direction is given in the stretched coordinates, so that one that nothing measures has a width.
LEAST_CURVATURE = 0.1

#: ``offset``, ``scale`` and ``kind`` of the stretching of each parameter, shape (n_model,); ``centre``, shape (n_model,), and
#: ``root``, shape (n_model, n_free), which lead from coordinates of unit width to stretched ones.
Chart = dict[str, Float[Array, "..."]]

_R0, _MASS, _MU = (MODEL_PARAMETERS.index(name) for name in ("r0", "mass", "mu"))


def stretch(y: Float[Array, " n"], chart: Chart) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Values at the stretched coordinates ``y``, and the logarithms of their derivatives.

    From a lower bound values go as exp(y), since what nothing bounds above may have a long tail; between two bounds they go as
    1 / (1 + exp(-y)).
    """
    is_line, is_half = chart["kind"] == LINE, chart["kind"] == HALF_LINE
    # exp of what is no half-line could overflow, and spoil the gradient
    fraction = jnp.select([is_line, is_half], [y, jnp.exp(jnp.where(is_half, y, 0.0))], jax.nn.sigmoid(y))
    slope = jnp.select([is_line, is_half], [jnp.zeros_like(y), y], -jax.nn.softplus(y) - jax.nn.softplus(-y))
    return chart["offset"] + chart["scale"] * fraction, slope + jnp.log(chart["scale"])


def unstretch(values: Float[Array, " n"], chart: Chart) -> Float[Array, " n"]:
    """Inverse of `stretch` for values that are not too near a bound; the others are first moved away from it."""
    fraction = (values - chart["offset"]) / chart["scale"]
    half, inside = jnp.maximum(fraction, AWAY), jnp.clip(fraction, INSIDE, 1 - INSIDE)
    # mu is small as a rule: it is no place near a bound
    inside = inside.at[_MU].set(jnp.clip(fraction[_MU], 1e-5, 1 - INSIDE))
    return jnp.select(
        [chart["kind"] == LINE, chart["kind"] == HALF_LINE],
        [fraction, jnp.log(half)],
        jnp.log(inside) - jnp.log1p(-inside),
    )


def unbounded(problem: Problem) -> Problem:
    """Return the problem whose optimiser coordinates are the values themselves."""
    zero = 0 * problem["free"]
    support = dict.fromkeys(problem["support"], zero) | {"scale": zero + 1, "sharpness": zero + 1}
    return problem | {"support": support}


def values_of(z: Float[Array, " m"], chart: Chart) -> Float[Array, " n"]:
    """Values of the model's parameters at the coordinates ``z`` of unit width; those of fixed ones mean nothing."""
    return stretch(chart["centre"] + chart["root"] @ z, chart)[0]


def _stated(values, settings, stated):
    """Logarithm of the derivative of the rotation parameter that the user stated by the one that is optimised."""
    if settings.rotation == stated:
        return 0.0
    r0, mass, mu = values[_R0], values[_MASS], values[_MU]
    return jnp.log(r0 if stated == "rc" else omega_from(mu, r0, mass) / (2 * mu))


def log_density(z: Float[Array, " m"], chart: Chart, problem: Problem, settings: Settings, stated: str) -> Float[Array, ""]:
    """Logarithm of the posterior density at ``z``, up to a constant, for an `unbounded` problem.

    The prior is uniform in every free parameter as the user ``stated`` it (which matters for mu, rc or omega), within its
    support and bounds, times the Gaussian ones.
    """
    values, slopes = stretch(chart["centre"] + chart["root"] @ z, chart)
    free = problem["free"] > 0
    volume = jnp.sum(jnp.where(free, slopes, 0.0)) + jnp.where(free[_MU], _stated(values, settings, stated), 0.0)
    return volume - loss(values, problem, settings) / 2


@program
def curvature(y: Float[Array, " n"], chart: Chart, problem: Problem, settings: Settings) -> Float[Array, "n n"]:
    """Curvature of half the loss in stretched coordinates, by the rule of Gauss and Newton."""

    def all_residuals(y):
        data, prior, barrier = residuals(stretch(y, chart)[0], problem, settings)
        return jnp.concatenate([data.ravel(), prior, barrier[None]])

    jacobian = jax.jacfwd(all_residuals)(y)
    return jacobian.T @ jacobian
