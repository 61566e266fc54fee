"""The model at many sets of optimiser coordinates at once, compiled."""

import jax
import jax.numpy as jnp
import numpy as np

from sting.core.elements import elements, places
from sting.core.likelihood import MODEL_PARAMETERS, JointSettings, linearise, loss, named_vector, parameters, path_of
from sting.core.orbit import duration, w_of_radius
from sting.programs import program
from sting.stream_lines_grad import DRAWN, sample_path

__all__ = []


def _path(x, problem, settings):
    return path_of(parameters(x, problem, settings), problem["distance"])


#: Sets of coordinates are filled up to this number, or a power of two: so few sizes are ever compiled.
FEWEST = 128


@program
def _named_of(x, problem, settings):
    return jax.vmap(lambda x: named_vector(x, problem, settings))(x)


@program
def losses_of(x, problem, settings):
    """Losses of sets of shape (m, n_model)."""
    return jax.vmap(lambda x: loss(x, problem, settings))(x)


def named_of(x, problem, settings):
    """Values of all named parameters of sets of shape (m, n_model), shape (m, n_named)."""
    n = len(x)
    filled = np.pad(x, ((0, max(FEWEST, 1 << (n - 1).bit_length()) - n), (0, 0)), mode="edge")
    return np.array(_named_of(filled, problem, settings))[:n]


def matched_of(x, problem, settings):
    """Model values (n, 3) to which the data points are compared, and the normalised residuals of these (n, 3)."""
    found = linearise(x, problem, settings)
    model = np.asarray(found["matched"])
    return model, np.asarray(found["residuals"])[: model.size].reshape(model.shape)


def prepare(x, problem, settings):
    """Have another thread make ready the programs that a result needs, while the descent to it is compiled."""
    linearise.ahead(x, problem, settings)
    if not isinstance(settings, JointSettings):
        _named_of.ahead(np.tile(x, (FEWEST, 1)), problem, settings)
        sample_path.ahead(dict.fromkeys(MODEL_PARAMETERS, np.float64(1.0)), problem["distance"], DRAWN)


def curves_of(x, problem, settings, n_points):
    """RA offset, Dec offset and velocity along the streamlines, shape (m, n_points, 3).

    One by one: it takes a third of a millisecond each, and only the program of `~sting.stream_lines_grad.streamline` is compiled.
    """
    named = named_of(x, problem, settings)[:, : len(MODEL_PARAMETERS)]
    return np.stack(
        [sample_path(dict(zip(MODEL_PARAMETERS, row, strict=True)), problem["distance"], n_points)["observed"] for row in named]
    )


@program
def elements_of(x, problem, settings):
    """Elements of the orbits with r0, and which places lie beyond the inner end: dicts of arrays of shape (m,)."""

    def one(x):
        path = _path(x, problem, settings)
        beyond = {f"time_to_{name}": w > path["w_end"] * (1 + 1e-6) for name, w in places(path).items()}
        return elements(path) | {"r0": path["r0"]}, beyond

    return jax.vmap(one)(x)


@program
def times_of(x, problem, settings, radii):
    """Times (yr) between neighbouring ``radii`` (au, from the outside in), shape (m, n - 1); NaN where a path lacks one."""

    def one(x):
        path = _path(x, problem, settings)
        w = w_of_radius(path, radii)
        reached = (radii <= path["r0"] * (1 + 1e-6)) & (radii >= path["r_end"] * (1 - 1e-6))
        w = jnp.where(reached, w, jnp.nan)
        return duration(path, w[:-1], w[1:])

    return jax.vmap(one)(x)
