"""The model at many sets of optimiser coordinates at once, compiled."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sting.core.elements import elements, places
from sting.core.likelihood import MODEL_PARAMETERS, data_residuals, loss, match, named_vector, parameters, path_of
from sting.core.orbit import duration, w_of_radius
from sting.stream_lines_grad import sample_path

__all__ = []


def _path(x, problem, settings):
    return path_of(parameters(x, problem, settings), problem["distance"])


#: Sets of coordinates are filled up to this number, or a power of two: so few sizes are ever compiled.
FEWEST = 128

_named_of = jax.jit(jax.vmap(named_vector, in_axes=(0, None, None)), static_argnames="settings")

#: Losses of sets of shape (m, n_model).
losses_of = jax.jit(jax.vmap(loss, in_axes=(0, None, None)), static_argnames="settings")


def named_of(x, problem, settings):
    """Values of all named parameters of sets of shape (m, n_model), shape (m, n_named)."""
    n = len(x)
    filled = np.pad(x, ((0, max(FEWEST, 1 << (n - 1).bit_length()) - n), (0, 0)), mode="edge")
    return np.array(_named_of(filled, problem, settings))[:n]


@partial(jax.jit, static_argnames="settings")
def matched_of(x, problem, settings):
    """Model values (n, 3) to which the data points are compared, and the normalised residuals of these (n, 3)."""
    model = match(_path(x, problem, settings), problem, settings)
    return model, data_residuals(model, problem, settings)


def curves_of(x, problem, settings, n_points):
    """RA offset, Dec offset and velocity along the streamlines, shape (m, n_points, 3).

    One by one: it takes a third of a millisecond each, and only the program of `~sting.stream_lines_grad.streamline` is compiled.
    """
    named = named_of(x, problem, settings)[:, : len(MODEL_PARAMETERS)]
    return np.stack(
        [sample_path(dict(zip(MODEL_PARAMETERS, row, strict=True)), problem["distance"], n_points)["observed"] for row in named]
    )


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
