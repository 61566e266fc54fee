"""The model at many sets of optimiser coordinates at once, compiled."""

from functools import partial

import jax
import jax.numpy as jnp

from sting.core import sky
from sting.core.elements import elements, places
from sting.core.likelihood import loss, match, named_vector, parameters, path_of, residuals
from sting.core.orbit import duration, w_of_radius

__all__ = []


def _path(x, problem, settings):
    return path_of(parameters(x, problem, settings), problem["distance"])


#: Named parameters and losses of sets of shape (m, n_model).
named_of = jax.jit(jax.vmap(named_vector, in_axes=(0, None, None)), static_argnames="settings")
losses_of = jax.jit(jax.vmap(loss, in_axes=(0, None, None)), static_argnames="settings")


@partial(jax.jit, static_argnames="settings")
def matched_of(x, problem, settings):
    """Model values (n, 3) to which the data points are compared, and the normalised residuals of these (n, 3)."""
    return match(_path(x, problem, settings), problem, settings), residuals(x, problem, settings)[0]


@partial(jax.jit, static_argnames=("settings", "n_points"))
def curves_of(x, problem, settings, n_points):
    """RA offset, Dec offset and velocity along the streamlines, shape (m, n_points, 3)."""

    def curve(x):
        path = _path(x, problem, settings)
        return sky.observe(path, sky.sample_w(path, n_points))[0]

    return jax.vmap(curve)(x)


@partial(jax.jit, static_argnames="settings")
def elements_of(x, problem, settings):
    """Elements of the orbits with r0, and which places lie beyond the inner end: dicts of arrays of shape (m,)."""

    def one(x):
        path = _path(x, problem, settings)
        beyond = {f"time_to_{name}": w > path["w_end"] * (1 + 1e-6) for name, w in places(path).items()}
        return elements(path) | {"r0": path["r0"]}, beyond

    return jax.vmap(one)(x)


@partial(jax.jit, static_argnames="settings")
def times_of(x, problem, settings, radii):
    """Times (yr) between neighbouring ``radii`` (au, from the outside in), shape (m, n - 1); NaN where a path lacks one."""

    def one(x):
        path = _path(x, problem, settings)
        w = w_of_radius(path, radii)
        reached = (radii <= path["r0"] * (1 + 1e-6)) & (radii >= path["r_end"] * (1 - 1e-6))
        w = jnp.where(reached, w, jnp.nan)
        return duration(path, w[:-1], w[1:])

    return jax.vmap(one)(x)
