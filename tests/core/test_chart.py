"""The coordinates of the sampler: stretching and its slopes, and the prior that the density states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sting.core import chart as core_chart
from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, named_vector
from sting.gradient_descent import fit_streamline
from sting.messages import in_float64
from sting.posterior import prepare
from sting.synthetic import TRUTH, make_streamer_points

KINDS = {"line": core_chart.LINE, "half-line": core_chart.HALF_LINE, "interval": core_chart.INTERVAL}


def stretching(kind):
    n = len(MODEL_PARAMETERS)
    return {"kind": np.full(n, kind), "offset": np.linspace(-1, 1, n), "scale": np.linspace(0.5, 3, n)}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@in_float64
def test_slopes_are_those_of_the_values(kind):
    chart, y = stretching(kind), np.linspace(-2, 2, len(MODEL_PARAMETERS))
    (low, _), (high, _) = (core_chart.stretch(y + step, chart) for step in (-1e-6, 1e-6))
    _, slopes = core_chart.stretch(y, chart)
    np.testing.assert_allclose(np.exp(slopes), (high - low) / 2e-6, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@in_float64
def test_unstretch_is_the_inverse(kind):
    chart, y = stretching(kind), np.linspace(-2, 2, len(MODEL_PARAMETERS))
    np.testing.assert_allclose(core_chart.unstretch(core_chart.stretch(y, chart)[0], chart), y, rtol=1e-9, atol=1e-12)


@in_float64
def test_values_at_a_bound_are_moved_inside():
    chart = stretching(core_chart.INTERVAL)
    for edge in (chart["offset"], chart["offset"] + chart["scale"]):
        y = core_chart.unstretch(edge, chart)
        assert np.isfinite(y).all()
        inside = (core_chart.stretch(y, chart)[0] - chart["offset"]) / chart["scale"]
        assert ((inside > 0) & (inside < 1)).all()


@pytest.mark.parametrize("stated", ["mu", "rc", "omega"])
@in_float64
def test_prior_is_uniform_in_what_the_user_stated(stated):
    # without data or Gaussian priors, density over volume of the stated parameters is the same everywhere
    names = ("r0", "theta0", "v_r0", "mass")
    free = {name: TRUTH[name] for name in names} | {stated: {"mu": 0.1, "rc": 250.0, "omega": 4e-13}[stated]}
    fixed = {name: TRUTH[name] for name in TRUTH if name not in free and name not in ("omega", "rc", "mu")}
    result = fit_streamline(
        free, fixed, make_streamer_points(), 293, optimizer="lbfgs", n_epochs=1, save_folder=None, progress=False
    )
    task = prepare(result)
    problem = task.problem | {"sigma": np.full_like(task.problem["sigma"], 1e9)}
    index = [NAMED_PARAMETERS.index(name) for name in (*names, stated)]

    def named(z):
        values = core_chart.values_of(z, task.chart)
        return named_vector(values, problem, task.kernel.settings)[jnp.array(index)]

    found = []
    for seed in range(5):
        z = np.random.default_rng(seed).normal(size=len(index))
        volume = np.linalg.slogdet(jax.jacfwd(named)(z))[1]
        found.append(core_chart.log_density(z, task.chart, problem, task.kernel.settings, task.kernel.stated) - volume)
    np.testing.assert_allclose(found, found[0], rtol=0, atol=1e-7)


@in_float64
def test_density_falls_as_half_the_loss():
    from sting.core.likelihood import loss

    names = ("r0", "theta0", "v_r0", "mass", "rc")
    fixed = {name: value for name, value in TRUTH.items() if name not in (*names, "omega")}
    free = {name: TRUTH[name] for name in names if name in TRUTH} | {"rc": 250.0}
    result = fit_streamline(
        free, fixed, make_streamer_points(seed=1), 293, optimizer="lbfgs", n_epochs=1, save_folder=None, progress=False
    )
    task = prepare(result)
    blind = task.problem | {"sigma": np.full_like(task.problem["sigma"], 1e9)}
    for seed in range(3):
        z = np.random.default_rng(seed).normal(size=len(names))
        density, prior = (
            core_chart.log_density(z, task.chart, problem, task.kernel.settings, task.kernel.stated)
            for problem in (task.problem, blind)
        )
        chi2 = loss(core_chart.values_of(z, task.chart), task.problem, task.kernel.settings)
        assert float(prior - density) == pytest.approx(float(chi2) / 2, rel=1e-9)
