"""The posterior of a fit: draws by NUTS on the loss of the fit, for where a covariance says too little."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import numpy as np
from tqdm.auto import tqdm

from sting.core.chart import HALF_LINE, INTERVAL, LEAST_CURVATURE, LINE, curvature, unbounded, unstretch
from sting.core.constants import GM_SUN
from sting.core.likelihood import MODEL_PARAMETERS
from sting.fit_result import FitResult
from sting.messages import check_whole, in_float64, is_number, named_keywords, refuse, warn
from sting.parameters import PARAMETERS, parse_bounds, rotation_name, to_quantity
from sting.posterior_result import Posterior
from sting.sampling import CHUNK, Kernel, advance, draw_starts, import_numpyro, start
from sting.streamer_fit import StreamerFit

__all__ = ["Posterior", "Sampling", "iterate_samples", "sample"]

#: Limits of what nothing bounds above: r0 in units of the data's reach, v_r0 in units of the escape speed from there, and others
#: in units of the best fit.
FARTHEST, FASTEST, LARGEST = 10.0, 2.0, 10.0

#: Scale of a parameter whose best fit says none.
_SOME = 1e-6


@dataclass(frozen=True, eq=False)
class Sampling:
    """State of a sampler between two groups of draws.

    Attributes
    ----------
    n_done, n_total : int
        Draws of each chain, warm-up included, that are done, and that there will be.
    n_warmup : int
        How many of them are warm-up.
    n_divergent : int
        Draws after the warm-up at which a trajectory diverged.
    """

    n_done: int
    n_total: int
    n_warmup: int
    n_divergent: int
    _make_posterior: Callable[[], Posterior]

    @cached_property
    def posterior(self):
        """What has been drawn so far, a `Posterior`; None during the warm-up."""
        return self._make_posterior() if self.n_done > self.n_warmup else None


@named_keywords
def iterate_samples(result, *, n_samples=1000, n_warmup=500, n_chains=4, seed=0, target_accept=0.9, param_bounds=None):
    """`sample` step by step: a generator that yields a `Sampling` after every few draws.

    All input is checked before the first step. Leaving the loop stops the sampler.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    n_samples, n_warmup, n_chains, seed : int, optional
        As for `sample`.
    target_accept : float, optional
        As for `sample`.
    param_bounds : dict, optional
        As for `sample`.

    Returns
    -------
    generator of `Sampling`

    Examples
    --------
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_lsr"}
    >>> result = fit_streamline({"v_lsr": 7.4}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> steps = iterate_samples(result, n_samples=40, n_warmup=60)
    >>> [step.n_done for step in steps]
    [20, 40, 60, 80, 100]
    """
    sizes = {"n_samples": (n_samples, 4, 1000), "n_chains": (n_chains, 1, 4), "seed": (seed, 0, 1)}
    n_samples, n_chains, seed = (check_whole(name, *rule) for name, rule in sizes.items())
    task = prepare(result, n_warmup=n_warmup, target_accept=target_accept, param_bounds=param_bounds)
    return _iterate(task, n_samples, n_chains, seed)


@dataclass(frozen=True, eq=False)
class Task:
    """What a sampler is told: the fit, limits, chart and problem in the sampler's terms, and the program."""

    result: FitResult
    limits: dict
    chart: dict
    problem: dict
    kernel: Kernel


@in_float64
def prepare(result, *, n_warmup=500, target_accept=0.9, param_bounds=None):
    """Check everything about a sampler, and state it.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    n_warmup : int, optional
        As for `sample`.
    target_accept : float, optional
        As for `sample`.
    param_bounds : dict, optional
        As for `sample`.

    Returns
    -------
    Task
    """
    if not isinstance(result, FitResult):
        refuse("result", "be a FitResult", type(result).__name__, "Use what fit_streamline returns.", TypeError)
    if isinstance(result, StreamerFit):
        refuse(
            "result", "be the fit of one streamer", "a part of a joint fit", "Sample the fit of each streamer alone.", TypeError
        )
    n_warmup = check_whole("n_warmup", n_warmup, 20, 500)
    if not (is_number(target_accept) and 0.5 <= target_accept < 1):
        refuse("target_accept", "lie in [0.5, 1)", repr(target_accept), "Use for example 0.95.")
    import_numpyro()
    problem = result.problem | {"support": _bounded(result, param_bounds)}
    rotation = result.settings.rotation
    values = {name: result.internal_value(rotation if name == "mu" else name) for name in MODEL_PARAMETERS}
    problem, limits = _limited(problem, values, rotation)
    stated = rotation_name(result.best_opt_params | result.fixed_params)
    # the optimiser of the fit is none of the sampler's business: one program for all
    kernel = Kernel(result.settings._replace(optimizer="lbfgs"), stated, n_warmup, float(target_accept))
    chart = _chart(problem, values, kernel.settings)
    return Task(result, limits, chart, jax.device_get(unbounded(problem)), kernel)


def _bounded(result, param_bounds):
    """Support of the fit with the bounds that the user adds for the sampler."""
    support = {key: np.array(part) for key, part in result.problem["support"].items()}
    free = {name: value.to_value(PARAMETERS[name].unit) for name, value in result.best_opt_params.items()}
    for name, (low, high) in parse_bounds(param_bounds, free).items():
        core_name = "mu" if name == result.settings.rotation else name
        if core_name not in MODEL_PARAMETERS:
            refuse("param_bounds", f"not name {name} here", name, "Give its bounds to fit_streamline, and sample that fit.")
        i = MODEL_PARAMETERS.index(core_name)
        support["offset"][i], support["scale"][i] = low, high - low
        support["has_lower"][i] = support["has_upper"][i] = 1.0
    return support


def _limited(problem, values, rotation):
    """Problem with an upper limit for all that has none and no prior either, and these limits as Quantities.

    Without them a posterior need not exist: a streamer may come from as far, and as fast, as the plane of the sky hides.
    """
    support, prior = {key: part.copy() for key, part in problem["support"].items()}, problem["prior"]["inverse_sigma"]
    reach = max(np.hypot(*problem["points"][:, :2].T).max() * float(problem["distance"]), 1.0)
    escape = np.sqrt(2 * GM_SUN * values["mass"] / reach)
    limits = {}
    for i, name in enumerate(MODEL_PARAMETERS):
        open_above = problem["free"][i] > 0 and support["has_lower"][i] > 0 and not support["has_upper"][i]
        if open_above and not prior[i]:
            top = {"r0": FARTHEST * reach, "v_r0": FASTEST * escape}.get(name, 0.0)
            top = max(top, LARGEST * values[name] if name not in ("r0", "v_r0") else 2 * values[name], _SOME)
            support["scale"][i], support["has_upper"][i] = top - support["offset"][i], 1.0
            user_name = rotation if name == "mu" else name
            limits[user_name] = to_quantity(user_name, top)
    return problem | {"support": support}, limits


def _chart(problem, values, settings):
    """Stretching of each parameter, and the way from coordinates of unit width to stretched ones."""
    support, values = problem["support"], np.array([values[name] for name in MODEL_PARAMETERS])
    low, high = support["has_lower"] > 0, support["has_upper"] > 0
    # an angle without bounds: the whole turn, cut open where it is farthest from the best fit
    period = np.array([PARAMETERS[name].period for name in MODEL_PARAMETERS])
    turns = (period > 0) & ~low
    kind = np.select([turns | (low & high), low], [INTERVAL, HALF_LINE], LINE)
    size = np.maximum(np.abs(values - support["offset"]), _SOME)
    chart = {
        "kind": kind,
        "offset": np.select([turns, kind == LINE], [values - period / 2, 0.0], support["offset"]),
        "scale": np.select([turns, kind == LINE, kind == HALF_LINE], [period, 1.0, size], support["scale"]),
    }
    centre = np.asarray(unstretch(values, chart))
    free = np.flatnonzero(problem["free"])
    matrix = np.asarray(curvature(centre, chart, unbounded(problem), settings))[np.ix_(free, free)]
    root = np.zeros((len(values), len(free)))
    root[free] = np.linalg.cholesky(np.linalg.inv(matrix + LEAST_CURVATURE * np.eye(len(free))))
    return chart | {"centre": centre, "root": root}


def _iterate(task, n_samples, n_chains, seed):
    chart, problem, kernel, result = task.chart, task.problem, task.kernel, task.result
    # between two steps the caller's own code runs, in its own precision: each step enters float64 by itself
    state = in_float64(_begin)(task, n_chains, seed)
    step = in_float64(lambda state: advance(state, chart, problem, kernel))
    make = partial(Posterior, result.names, result.fixed_params, result.distance, limits=task.limits)
    make = partial(make, problem=problem, settings=kernel.settings)
    done, total, rows = 0, kernel.n_warmup + n_samples, []
    while done < total:
        state, new = step(state)
        rows.append(jax.device_get(new))
        done = min(done + CHUNK, total)
        drawn = _after_warmup(rows, kernel.n_warmup, done)
        yield Sampling(done, total, kernel.n_warmup, int(drawn["diverging"].sum()), partial(make, **drawn))


def _after_warmup(rows, n_warmup, done):
    """Values, log density and divergence of the draws after the warm-up, the chains first."""
    names = ("values", "log_density", "diverging")
    return {name: np.swapaxes(np.concatenate([row[k] for row in rows])[n_warmup:done], 0, 1) for k, name in enumerate(names)}


def _begin(task, n_chains, seed):
    """State of the chains before their first step."""
    starts = draw_starts(task.chart, task.problem, task.kernel, n_chains, np.random.default_rng(seed))
    return start(starts, jax.random.split(jax.random.key(seed), n_chains), task.chart, task.problem, task.kernel)


@named_keywords
def sample(
    result,
    *,
    n_samples=1000,
    n_warmup=500,
    n_chains=4,
    seed=0,
    target_accept=0.9,
    param_bounds=None,
    progress=True,
    callback=None,
):
    """Draw from the posterior of a fit with the No-U-Turn Sampler.

    The likelihood, the Gaussian priors, the bounds and the matching are those of the fit. Besides, the prior is uniform in each
    free parameter as you stated it (in ``omega`` if you fitted ``omega``), within its support.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit, around whose best parameters the chains start.
    n_samples : int, optional
        Draws of each chain after the warm-up.
    n_warmup : int, optional
        Draws of each chain in which the sampler adapts itself; they are not kept.
    n_chains : int, optional
        Number of chains, which run side by side.
    seed : int, optional
        Seed: the same seed gives the same draws.
    target_accept : float, optional
        Acceptance that the step is adapted to; higher values take shorter steps.
    param_bounds : dict, optional
        Parameter name to (lower, upper), besides the bounds of the fit. What has neither an upper bound nor a prior gets a limit,
        which the notes of the posterior tell: r0 ten times the distance to which the data reach, v_r0 twice the escape speed
        from there.
    progress : bool, optional
        Whether to show a progress bar.
    callback : callable, optional
        Called with a `Sampling` every few draws; the sampler stops, keeping what was drawn, when it returns True.

    Returns
    -------
    `Posterior`

    Raises
    ------
    ImportError
        If numpyro, of the extra ``posterior``, is missing.
    TypeError
        If ``result`` is no fit.
    ValueError
        If a number is out of its range, or bounds do not hold the best fit.
    RuntimeError
        If the sampler was stopped during the warm-up.

    References
    ----------
    Hoffman & Gelman 2014, JMLR 15, 1593; Phan, Pradhan & Jankowiak 2019, arXiv:1912.11554 (numpyro)

    Examples
    --------
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_lsr"}
    >>> result = fit_streamline({"v_lsr": 7.4}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> posterior = sample(result, n_samples=500, n_warmup=100, progress=False)
    >>> print(posterior.to_table()["median"].round(1)[0])
    7.5
    """
    options = {"n_samples": n_samples, "n_warmup": n_warmup, "n_chains": n_chains, "seed": seed}
    steps = iterate_samples(result, **options, target_accept=target_accept, param_bounds=param_bounds)
    with tqdm(total=n_warmup + n_samples, unit="draw", desc="compiling", disable=not progress, leave=True) as bar:
        for step in steps:
            bar.set_description("warming up" if step.n_done < n_warmup else "sampling", refresh=False)
            bar.set_postfix(divergent=step.n_divergent, refresh=False)
            bar.update(step.n_done - bar.n)
            if callback is not None and callback(step):
                break
    if step.posterior is None:
        raise RuntimeError("The sampler was stopped during its warm-up: nothing has been drawn yet.")
    for complaint in step.posterior.complaints:
        warn(complaint)
    return step.posterior
