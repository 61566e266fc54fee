"""Draws from the posterior density by numpyro's NUTS, a few at a time, so that a caller can show progress and stop."""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sting.core.chart import log_density, values_of
from sting.core.likelihood import Settings
from sting.programs import use_jax_cache

#: Draws of each chain in one call of `advance`.
CHUNK = 20

#: Places that are tried for each chain's start, and how much less likely than the best of them a start may be.
PLACES, LEAST_LIKELY = 32, 30.0


class Kernel(NamedTuple):
    """What is compiled into the sampler (hashable)."""

    settings: Settings
    stated: str
    n_warmup: int
    target_accept: float


def import_numpyro():
    """Import numpyro's NUTS, or say how to get it."""
    use_jax_cache()
    try:
        from numpyro.infer.hmc import hmc
    except ImportError as error:
        words = "sting.posterior needs numpyro: install this package with its extra, pip install '.[posterior]' in its checkout."
        raise ImportError(words) from error
    return hmc


@lru_cache
def _functions(kernel):
    """Start and step of the sampler; the step may be used after the start only."""

    def potential(chart, problem):
        return lambda z: -log_density(z, chart, problem, kernel.settings, kernel.stated)

    return import_numpyro()(potential_fn_gen=potential, algo="NUTS")


@partial(jax.jit, static_argnames="kernel")
def start(z, keys, chart, problem, kernel):
    """State of chains at ``z``, shape (n_chains, n_free), before their first step."""

    def one(z, key):
        return _functions(kernel)[0](
            z,
            num_warmup=kernel.n_warmup,
            dense_mass=True,
            inverse_mass_matrix=jnp.eye(z.size),
            target_accept_prob=kernel.target_accept,
            model_args=(chart, problem),
            rng_key=key,
        )

    # without JAX's weak types, which would have the steps compiled twice
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=leaf.dtype), jax.vmap(one)(z, keys))


@partial(jax.jit, static_argnames="kernel")
def advance(state, chart, problem, kernel):
    """Go on by `CHUNK` draws: the new state, and values, log density, divergence and number of steps of each draw and chain."""

    def step(state, _):
        state = jax.vmap(lambda one: _functions(kernel)[1](one, (chart, problem), {}))(state)
        values = jax.vmap(lambda z: values_of(z, chart))(state.z)
        return state, (values, -state.potential_energy, state.diverging, state.num_steps)

    return jax.lax.scan(step, state, None, length=CHUNK)


_densities = jax.jit(jax.vmap(log_density, in_axes=(0, None, None, None, None)), static_argnames=("settings", "stated"))


def draw_starts(chart, problem, kernel, n_chains, rng):
    """Starts of the chains, drawn around the centre, shape (n_chains, n_free).

    None is much less likely than the best, so that no chain has to come from where the density is flat.
    """
    n_free = np.shape(chart["root"])[1]
    places = np.vstack([np.zeros((1, n_free)), rng.standard_normal((PLACES * n_chains - 1, n_free))])
    found = np.nan_to_num(np.asarray(_densities(places, chart, problem, kernel.settings, kernel.stated)), nan=-np.inf)
    likely = places[found > found.max() - LEAST_LIKELY]
    return likely[rng.choice(len(likely), size=n_chains, replace=len(likely) < n_chains)]
