"""Gaussians fitted to many spectra at once: Levenberg and Marquardt's method, batched, and seeds out of the residuals.

All is in units of the noise (intensity) and of channels (velocity): a component is an amplitude, a centroid and a width (sigma).
Channels without a value are NaN and weigh nothing. Spectra are worked on `CHUNK` at a time, so that there is one program for each
number of components; a fit that has converged leaves its chunk, as in `sting.core.levenberg`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sting.core.levenberg import CONVERGED, FIRST_DAMPING, FREE_STEP, RUNNING, STUCK, accept
from sting.programs import program

__all__ = []

#: Spectra in one call of a program, and of them those that are fitted side by side: what a processor has near it.
CHUNK, ABREAST = 64, 16

#: The numbers of channels and of filters are multiples of these, lest there be a program for every cube.
CHANNELS_ROUND, FILTERS_ROUND = 32, 128

#: Iterations between two looks at which fits go on, and of a fit in all.
ITERATIONS, MOST_ITERATIONS = 5, 60

#: How far above its goal chi2 may be after each of the first rounds of `ITERATIONS`; what is farther is given up.
PATIENCE = 20.0, 5.0, 2.0, 1.0

#: A fit has converged where the next step promises to lower half of chi2 by less than this, or this fraction of it.
LEAST_GAIN, LEAST_FRACTION = 1e-3, 1e-9

#: Longest step of a centroid, in units of the width, and largest ratio of two successive widths.
LONGEST_STEP, LARGEST_RATIO = 1.5, 2.0

#: From one width of the filters to the next, and from one place to the next in units of the width.
FILTER_RATIO, FILTER_STEP = 1.7, 0.5

#: Components of a spectrum: amplitude, centroid and width of each.
Fit = Float[Array, "k 3"]
Spectrum = Float[Array, " n"]


def basis(fit: Fit, spectrum: Spectrum, x: Spectrum):
    """What derivatives are made of: g, g u and g u^2 of each component, with u = (x - centroid) / width and g = exp(-u^2 / 2).

    Parameters
    ----------
    fit : array (k, 3)
        The components.
    spectrum : array (n,)
        The spectrum, NaN where it has no value; there the basis is 0.
    x : array (n,)
        Velocities, in channels.
    """
    _, centroid, width = fit.T[..., None]
    u = (x - centroid) / width
    g = jnp.exp(-0.5 * u * u) * ~jnp.isnan(spectrum)
    return jnp.stack([g, g * u, g * u * u], axis=1).reshape(-1, x.size)


def slopes(fit: Fit):
    """Factors that make the derivatives by amplitude, centroid and width out of the `basis`, one after the other."""
    amplitude, _, width = fit.T
    return jnp.stack([jnp.ones_like(width), amplitude / width, amplitude / width], axis=1).ravel()


def residual_of(fit: Fit, spectrum: Spectrum, functions):
    """The spectrum without its components; 0 where it has no value."""
    return jnp.where(jnp.isnan(spectrum), 0.0, spectrum - fit[:, 0] @ functions[::3])


def evaluate(fit: Fit, spectrum: Spectrum, x: Spectrum):
    """Chi2 of a fit, and the gradient and curvature of half of it, by the rule of Gauss and Newton."""
    functions, factors = basis(fit, spectrum, x), slopes(fit)
    residual = residual_of(fit, spectrum, functions)
    return {
        "fit": fit,
        "loss": residual @ residual,
        "gradient": -factors * (functions @ residual),
        "curvature": factors[:, None] * (functions @ functions.T) * factors,
    }


def limits_of(fit: Fit, bounds: Float[Array, "2 3"]):
    """Bounds of every parameter of a fit."""
    return [jnp.tile(bound, fit.shape[0]) for bound in bounds]


def solve(matrix: Float[Array, "p p"], vector: Float[Array, " p"]):
    """Solution for a matrix that is positive definite: without pivots, and of all spectra at once, as LAPACK does not."""
    both, number = jnp.concatenate([matrix, vector[:, None]], axis=1), jnp.arange(vector.size)

    def eliminate(j, both):
        row = both[j] / both[j, j]
        return jnp.where((number == j)[:, None], row, both - both[:, j, None] * row)

    return jax.lax.fori_loop(0, vector.size, eliminate, both)[:, -1]


def step(state, bounds):
    """Next place of a fit, and by how much that promises to lower half of chi2; what is held by a bound stays."""
    fit, gradient, curvature = state["fit"], state["gradient"], state["curvature"]
    place, (low, high) = fit.ravel(), limits_of(fit, bounds)
    diagonal = jnp.diag(curvature)
    moves = ~(((place <= low) & (gradient > 0)) | ((place >= high) & (gradient < 0)))
    matrix = curvature + jnp.diag(state["damping"] * diagonal + jnp.where(diagonal > 0, 0.0, 1.0))
    matrix = jnp.where(moves[:, None] & moves, matrix, jnp.eye(place.size))
    change = -solve(matrix, jnp.where(moves, gradient, 0.0)).reshape(fit.shape)
    width = fit[:, 2]
    new = jnp.stack(
        [
            fit[:, 0] + change[:, 0],
            fit[:, 1] + jnp.clip(change[:, 1], -LONGEST_STEP * width, LONGEST_STEP * width),
            jnp.clip(width + change[:, 2], width / LARGEST_RATIO, width * LARGEST_RATIO),
        ],
        axis=1,
    )
    return jnp.clip(new, *bounds), jnp.sum(jnp.abs(change.ravel() * gradient))


def _iterate(state, spectrum, x, bounds):
    """One iteration of one fit."""
    place, promise = step(state, bounds)
    new = accept({name: state[name] for name in CENTRE}, evaluate(place, spectrum, x))
    settled = (promise < LEAST_GAIN + LEAST_FRACTION * state["loss"]) & (state["damping"] <= FREE_STEP)
    iterations = state["iterations"] + 1
    # a step that only rounding could tell is refused for ever
    ended = settled | (new["damping"] > STUCK) | (iterations >= MOST_ITERATIONS)
    new |= {"iterations": iterations, "ended": jnp.where(ended, CONVERGED, RUNNING)}
    return {name: jnp.where(state["ended"] > RUNNING, state[name], value) for name, value in new.items()}


#: What a fit stands on.
CENTRE = ("fit", "loss", "gradient", "curvature", "damping")


@program(static=(), vectors=True)
def begin(fits: Float[Array, "m k 3"], spectra: Float[Array, "m n"], x: Spectrum, bounds: Float[Array, "2 3"]):
    """State of fits before their first iteration."""
    m = len(fits)
    centre = jax.vmap(evaluate, (0, 0, None))(jnp.clip(fits, *bounds), spectra, x)
    return centre | {"damping": jnp.full(m, FIRST_DAMPING), "iterations": jnp.zeros(m), "ended": jnp.full(m, RUNNING)}


@program(static=(), vectors=True)
def go_on(state, spectra: Float[Array, "m n"], x: Spectrum, bounds: Float[Array, "2 3"]):
    """Run up to `ITERATIONS` iterations of each fit that has not ended; ``m`` is a multiple of `ABREAST`."""

    def some(number, state):
        def part(leaf):
            return jax.lax.dynamic_slice_in_dim(leaf, number * ABREAST, ABREAST)

        def unfinished(carry):
            now, k = carry
            return (k < ITERATIONS) & jnp.any(now["ended"] == RUNNING)

        def body(carry):
            now, k = carry
            return jax.vmap(_iterate, (0, 0, None, None))(now, their, x, bounds), k + 1

        their = part(spectra)
        now = jax.lax.while_loop(unfinished, body, (jax.tree.map(part, state), 0))[0]
        place = number * ABREAST
        return {name: jax.lax.dynamic_update_slice_in_dim(state[name], leaf, place, 0) for name, leaf in now.items()}

    return jax.lax.fori_loop(0, len(spectra) // ABREAST, some, state)


@program(static=(), vectors=True)
def strongest(fits: Float[Array, "m k 3"], spectra: Float[Array, "m n"], x: Spectrum, filters):
    """The component that lowers chi2 of each residual most, (m, 3), and by how much: what a matched filter finds.

    Nothing but its amplitude is fitted, and the components that are there stay: the fit of all lowers chi2 by more.
    """
    residuals = jax.vmap(lambda fit, one: residual_of(fit, one, basis(fit, one, x)))(fits, spectra)
    # single precision will do: what is found here is where a fit starts
    shape = filters["shape"]
    projection = residuals.astype(shape.dtype) @ shape
    known = (~jnp.isnan(spectra)).astype(shape.dtype)
    norm = jax.lax.cond(
        jnp.sum(known) < len(known) * filters["n_channels"],
        lambda: known @ shape**2,
        lambda: jnp.broadcast_to(jnp.sum(shape**2, axis=0), projection.shape),
    )
    # of a line most of which lies where the spectrum has no value, nothing is known
    score = jnp.where(norm > filters["least_norm"], projection * jax.lax.rsqrt(jnp.maximum(norm, 1e-30)), 0.0)
    best = jnp.argmax(score, axis=1)
    score, norm = [jnp.take_along_axis(of, best[:, None], axis=1)[:, 0].astype(fits.dtype) for of in (score, norm)]
    height = score / jnp.sqrt(jnp.maximum(norm, 1e-30))
    return jnp.stack([height, filters["centroid"][best], filters["width"][best]], axis=1), jnp.maximum(score, 0.0) ** 2


@program(static=(), vectors=True)
def adapt(fits: Float[Array, "m k 3"], spectra: Float[Array, "m n"], x: Spectrum):
    """Fits of other spectra with amplitudes for these, and their chi2."""

    def one(fit, spectrum):
        functions = basis(fit, spectrum, x)
        shapes = functions[::3]
        matrix = shapes @ shapes.T
        ridge = 1e-6 * jnp.eye(len(fit)) * (jnp.max(jnp.diag(matrix)) + 1e-30)
        amplitude = jnp.linalg.solve(matrix + ridge, shapes @ jnp.where(jnp.isnan(spectrum), 0.0, spectrum))
        fit = fit.at[:, 0].set(jnp.maximum(amplitude, 0.0))
        residual = residual_of(fit, spectrum, functions)
        return fit, residual @ residual

    return jax.vmap(one)(fits, spectra)


def make_filters(x, narrowest, widest, n_channels):
    """Gaussians of all widths and places, as `strongest` takes them: their shapes (n, n_filters), and what they are.

    Parameters
    ----------
    x : `~numpy.ndarray`
        Velocities in channels, ascending.
    narrowest, widest : float
        Limits of the width.
    n_channels : int
        How many channels there are; the others have been added by `padded`.
    """
    first, last = x[0], x[n_channels - 1]
    n_widths = max(1, round(np.log(widest / narrowest) / np.log(FILTER_RATIO)))
    # between the limits: on them a fit would not move at once
    widths = narrowest * (widest / narrowest) ** ((np.arange(n_widths) + 0.5) / n_widths)
    places = [np.linspace(first, last, max(2, round((last - first) / max(1, FILTER_STEP * width)) + 1)) for width in widths]
    width, centroid = np.repeat(widths, [len(some) for some in places]), np.concatenate(places)
    shape = np.exp(-0.5 * ((x[:, None] - centroid) / width) ** 2)
    shape[n_channels:] = 0
    more = -len(width) % FILTERS_ROUND
    # a filter of nothing is never seen
    return {
        "shape": np.pad(shape, [(0, 0), (0, more)]).astype(np.float32),
        "least_norm": np.pad(0.5 * np.sqrt(np.pi) * width, (0, more), constant_values=1.0).astype(np.float32),
        "centroid": np.pad(centroid, (0, more)),
        "width": np.pad(width, (0, more), constant_values=1.0),
        "n_channels": np.float64(n_channels),
    }


def padded(n_channels):
    """Number of channels that programs are made for: those of other cubes will do for this one."""
    return n_channels + -n_channels % CHANNELS_ROUND


def filled(rows):
    """A chunk of rows: the last one again and again, so that nothing compiles anew."""
    more = CHUNK - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], more, axis=0)]) if more else rows


def in_chunks(function, arrays, *shared):
    """Call a program with some rows at a time of a tree of arrays, and put together what it returns."""
    leaves, tree = jax.tree.flatten(arrays)
    found = []
    for begin_at in range(0, len(leaves[0]), CHUNK):
        rows = [leaf[begin_at : begin_at + CHUNK] for leaf in leaves]
        n = len(rows[0])
        result = function(*jax.tree.unflatten(tree, map(filled, rows)), *shared)
        found.append(jax.tree.map(lambda leaf, n=n: np.asarray(leaf)[:n], result))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def fit_all(fits, spectra, x, bounds, goal=None):
    """Fit each spectrum from where its fit starts.

    With a goal, fits that will hardly reach it are given up: a component too many lies in a long flat valley of chi2.

    Parameters
    ----------
    fits : `~numpy.ndarray`
        Where to start, (m, k, 3).
    spectra : `~numpy.ndarray`
        The spectra, (m, n).
    x : `~numpy.ndarray`
        Velocities, in channels.
    bounds : `~numpy.ndarray`
        Smallest and largest amplitude, centroid and width, (2, 3).
    goal : `~numpy.ndarray`, optional
        Chi2 of each above which its fit is of no use, (m,).

    Returns
    -------
    dict
        ``fit`` (m, k, 3), ``loss`` (chi2, (m,)) and ``curvature`` (m, 3k, 3k) of each.
    """
    state = in_chunks(begin, (fits, spectra), x, bounds)
    left = np.arange(len(fits))
    while len(left):
        # those that go on come first, so that only the last calls are for fewer than a chunk
        some, left = left[:CHUNK], left[CHUNK:]
        rows = {name: filled(value[some]) for name, value in state.items()}
        # and what fills a chunk takes no time
        rows["ended"][len(some) :] = CONVERGED
        now = {name: np.asarray(leaf)[: len(some)] for name, leaf in go_on(rows, filled(spectra[some]), x, bounds).items()}
        for name, value in now.items():
            state[name][some] = value
        going = now["ended"] == RUNNING
        if goal is not None:
            rounds = now["iterations"].astype(int) // ITERATIONS
            going &= now["loss"] < goal[some] + np.take(PATIENCE, rounds - 1, mode="clip")
        left = np.concatenate([some[going], left])
    return {name: state[name] for name in ("fit", "loss", "curvature")}


def errors_of(curvature):
    """Standard errors (m, k, 3) from curvatures (m, 3k, 3k); infinite where nothing is known of a parameter."""
    scale = np.sqrt(np.einsum("mii->mi", curvature))
    known = scale > 0
    safe = np.where(known, scale, 1.0)
    matrix = curvature / (safe[:, :, None] * safe[:, None, :])
    # parameters that cannot be told from each other get large errors, and not an exception
    matrix = (
        np.where(known[:, :, None] & known[:, None, :], matrix, 0.0)
        + np.eye(matrix.shape[-1]) * np.where(known, 1e-12, 1.0)[:, None, :]
    )
    variance = np.einsum("mii->mi", np.linalg.inv(matrix))
    return np.where(known, np.sqrt(np.maximum(variance, 0.0)) / safe, np.inf).reshape(len(curvature), curvature.shape[1] // 3, 3)
