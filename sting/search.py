"""A fit that needs no guess: many starts, a descent from each, and the distinct minima in which they end."""

from dataclasses import dataclass

import jax
import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.core.constants import GM_SUN
from sting.core.levenberg import CONVERGED, LOST, RUNNING, new_descents, run_descents
from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS
from sting.core.outer_end import flip, start_at
from sting.core.transforms import LARGEST_MU, mu_from, omega_from, to_coordinates
from sting.messages import check_whole, in_float64, refuse
from sting.parameters import (
    PARAMETERS,
    ROTATIONS,
    check_distance,
    check_parameters,
    parse_bounds,
    parse_priors,
    read_pairs,
    rotation_name,
    to_internal,
    to_quantity,
)
from sting.preview import Preview
from sting.problem import count_radii, state_data, state_fit
from sting.programs import program
from sting.starts import losses_of, values_at

__all__ = ["Search", "iterate_minima"]

#: Sets of parameters of which the best becomes a start, and how many are tried at least.
POOL, FEWEST = 16, 512

#: Descents that are run side by side: one size, so that another number of starts compiles nothing.
SIDE_BY_SIDE = 8

#: Iterations at the most, after which a descent counts as one that ended in no minimum.
MOST_ITERATIONS = 60

#: Two descents ended in the same minimum if the squared distance of what is observed of them, in units of the uncertainties, is
#: less than this fraction of their loss (or this number, for data without noise).
SAME, SAME_EXACT = 0.02, 1e-3

_start_at = program(start_at, static=())

#: Parameters that ``"auto"`` leaves at their defaults.
NOT_SEARCHED = ("rmin", "deltar")


@dataclass(frozen=True, eq=False)
class Search:
    """State of a search between two groups of descents.

    Attributes
    ----------
    n_done : int
        Starts from which the descent has ended.
    n_starts : int
        All of them.
    loss : float
        Smallest loss so far.
    params : dict
        The free parameters there, as Quantities in display units.
    minima : `~astropy.table.QTable`
        The distinct minima so far, the best first: ``loss``, ``n_reached`` and the free parameters.
    """

    n_done: int
    n_starts: int
    loss: float
    params: dict
    minima: QTable


def iterate_minima(initial_opt_params, fixed_params, streamer, distance, *, n_starts=64, seed=0, **keywords):
    """Search for all minima of a fit: a generator that yields a `Search` whenever a group of descents has ended.

    All input is checked before the first step. Leaving the loop stops the search.

    Parameters
    ----------
    initial_opt_params : dict or {"auto"}
        A guess, which is one of the starts, or ``"auto"``: everything that is not in ``fixed_params`` is free.
    fixed_params : dict
        What is fixed.
    streamer : `~sting.streamer.Streamer`
        The data.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    n_starts : int, optional
        Number of starts.
    seed : int, optional
        Seed of the starts: the same seed gives the same search.
    **keywords
        ``param_bounds``, ``priors``, ``matching`` and ``loss_method``, and any others of
        `~sting.gradient_descent.fit_streamline` that steer a fit, which are checked only.

    Returns
    -------
    generator of `Search`

    Examples
    --------
    >>> from sting import synthetic
    >>> fixed = {name: synthetic.TRUTH[name] for name in ("mass", "inc", "pa", "v_lsr")}
    >>> *_, last = iterate_minima("auto", fixed, synthetic.make_streamer_points(), 293, n_starts=16)
    >>> last.n_done, last.loss < 1e-3
    (16, True)
    """
    if not hasattr(streamer, "data") or not hasattr(streamer, "uncertainties"):
        refuse("streamer", "be a Streamer", type(streamer).__name__, "Use the result of reduce_to_1D.", TypeError)
    n_starts, seed = check_whole("n_starts", n_starts, 1, 64), check_whole("seed", seed, 0, 1)
    data = state_data(streamer.data, streamer.uncertainties)
    distance, guess = check_distance(distance), None
    if isinstance(initial_opt_params, str):
        if initial_opt_params != "auto":
            refuse("initial_opt_params", "be a dict or 'auto'", repr(initial_opt_params), "Write 'auto' for no guess.")
        initial_opt_params, domain = _state_auto(fixed_params, data, distance, keywords)
    else:
        guess, domain = initial_opt_params, {}
    problem, settings, _, _ = state_fit(initial_opt_params, fixed_params, distance, **keywords | {"optimizer": "lm"})
    state_fit(initial_opt_params, fixed_params, distance, **keywords)
    free, fixed = check_parameters(initial_opt_params, fixed_params)
    bounds, priors = parse_bounds(keywords.get("param_bounds"), free), parse_priors(keywords.get("priors"), free)
    problem |= data
    task = _Task(free, fixed, bounds, priors, domain, problem, settings, _reach(data, distance), guess is not None)
    if settings.matching == "stretch":
        # radii for the largest start that is drawn, a power of two of them so that they are seldom compiled for anew
        largest = bounds["r0"][1] if "r0" in bounds else 4.5 * task.reach if "r0" in free else fixed["r0"]
        n_radii = count_radii(largest, fixed["deltar"])
        task.settings = settings._replace(n_radii=1 << (n_radii - 1).bit_length())
    options = {name: keywords[name] for name in ("priors", "matching", "loss_method") if name in keywords}
    preview = Preview(initial_opt_params, fixed_params, distance, streamer, **options)
    return _search(task, preview, n_starts, seed)


def check_auto(fixed_params, distance, **keywords):
    """Check what a search without a guess is told, as far as that can be without data."""  # numpydoc ignore=PR01
    nowhere = {"points": np.array([[1.0, 0.0, 0.0]])}
    initial, _ = _state_auto(fixed_params, nowhere, check_distance(distance), keywords)
    state_fit(initial, fixed_params, distance, **keywords)


def _reach(data, distance):
    """Largest projected distance of the data from the star (au)."""
    return float(np.hypot(*data["points"][:, :2].T).max()) * distance


@dataclass(eq=False)
class _Task:
    """What a search is told, checked: parameters, bounds and priors in internal units, and the problem of the core."""

    free: dict
    fixed: dict
    bounds: dict
    priors: dict
    domain: dict  # bounds that only the starts heed
    problem: dict
    settings: object
    reach: float
    has_guess: bool


def _state_auto(fixed_params, data, distance, keywords):
    """State what ``"auto"`` leaves unsaid: free parameters at values that mean nothing, and ranges of the starts."""
    known = {}
    check_names = {name: 1.0 for name in PARAMETERS if name not in fixed_params}
    for argument in ("priors", "param_bounds"):
        known[argument] = {n: (a, b) for n, a, b in read_pairs(argument, keywords.get(argument) or {}, check_names)}
    fixed = {name: to_internal(name, value) for name, value in fixed_params.items()}
    stated = [n for n in (*known["param_bounds"], *known["priors"]) if n in ROTATIONS]
    rotation = () if any(n in fixed for n in ROTATIONS) else (stated or ["rc"])[0]
    free = [n for n in PARAMETERS if n not in fixed and n not in NOT_SEARCHED and (n not in ROTATIONS or n == rotation)]
    if "mass" in free and not any("mass" in entries for entries in known.values()):
        refuse("mass", "be fixed or have bounds or a prior", "nothing", "A search for it needs to know where to look.")
    velocities, reach = data["points"][:, 2], _reach(data, distance)
    domain = {} if "v_lsr" in known["param_bounds"] else {"v_lsr": (velocities.min() - 1, velocities.max() + 1)}
    middle = {"r0": 1.5 * max(reach, fixed.get("rc", 0.0)), "v_r0": 0.1, "v_lsr": float(np.mean(velocities))}
    middle |= dict.fromkeys(("theta0", "phi0", "inc", "pa"), 1.0) | {"mass": 1.0}
    for name, (mean, _) in known["priors"].items():
        middle[name] = min(max(mean, PARAMETERS[name].lower + 1e-6), PARAMETERS[name].upper - 1e-6)
    for name, (low, high) in known["param_bounds"].items():
        middle[name] = (low + high) / 2 if name not in known["priors"] else min(max(middle[name], low), high)
    return _with_rotation({n: middle.get(n) for n in free}, fixed, rotation, known["param_bounds"]), domain


def _with_rotation(free, fixed, rotation, bounds):
    """Give the free rotation a value with which the start falls in: mu = 0.1, or the bound that is nearest to it."""
    if not rotation:
        return free
    values = free | fixed
    omega = float(in_float64(omega_from)(0.1, values["r0"], values["mass"]))
    low, high = bounds.get(rotation, (0.0, np.inf))
    free[rotation] = min(max({"mu": 0.1, "rc": 0.1 * values["r0"], "omega": omega}[rotation], low), high)
    return free


def _search(task, preview, n_starts, seed):
    ended = None
    for ended in _descents(_draw_starts(task, preview, n_starts, seed), task):
        best = int(np.argmin(ended["loss"]))
        minima = _rank(ended, task)
        minima.meta = {"n_starts": n_starts, "n_converged": int(ended["converged"].sum()), "seed": seed}
        yield Search(len(ended["loss"]), n_starts, float(ended["loss"][best]), _allowed(ended["named"][best], task), minima)


def _descents(starts, task):
    """Descend from all starts, and give the ends so far whenever there are new ones.

    Whatever has ended makes room for the next start, so that the slow ones hold nobody up.
    """
    step = in_float64(lambda state: jax.device_get(run_descents(state, task.problem, task.settings)))
    fresh = in_float64(lambda: jax.device_get(_fresh(starts, task)))()
    # the places that no start fills have ended before they begin
    idle = {"ended": np.full(SIDE_BY_SIDE, LOST)}
    state = {name: np.resize(values, (SIDE_BY_SIDE, *values.shape[1:])) for name, values in fresh.items()} | idle
    occupant, waiting, ended = np.full(SIDE_BY_SIDE, -1), list(range(len(starts))), []
    while waiting or (occupant >= 0).any():
        for place in np.flatnonzero(occupant < 0)[: len(waiting)]:
            occupant[place] = waiting.pop(0)
            state = {name: _put(values, place, fresh[name][occupant[place]]) for name, values in state.items()}
        state = step(state)
        over = (state["ended"] > RUNNING) | (state["iterations"] >= MOST_ITERATIONS)
        new = np.flatnonzero(over & (occupant >= 0))
        ended += [(occupant[k], {name: values[k] for name, values in state.items()}) for k in new]
        state["ended"] = np.where(over & (state["ended"] == RUNNING), LOST, state["ended"])
        occupant[new] = -1
        if len(new):
            yield _ends(ended)


def _fresh(starts, task):
    n_residuals = task.problem["points"].size + len(NAMED_PARAMETERS) + 1
    return new_descents(to_coordinates(starts, task.problem["support"]), n_residuals)


def _put(values, place, value):
    values = np.array(values)
    values[place] = value
    return values


def _ends(ended):
    """Ends of descents in the order of their starts."""
    ends = [end for _, end in sorted(ended, key=lambda pair: pair[0])]
    found = {name: np.stack([end[name] for end in ends]) for name in ("loss", "named", "residuals", "ended")}
    return found | {"converged": found["ended"] == CONVERGED}


def _draw_starts(task, preview, n_starts, seed):
    """Draw the starts: the guess and its flip, and the best of each of many small pools of sets.

    A pool is half of sets over the whole domain and half of sets that start where the data do. As each start is the best of few,
    the starts are good and yet far apart.
    """
    rng = np.random.default_rng(seed)
    given = [] if not task.has_guess else [task.free | task.fixed]
    if given and {"theta0", "phi0", "inc", "pa"} <= set(task.free) and not {"theta0", "phi0", "inc", "pa"} & set(task.bounds):
        given.append(
            given[0] | {name: float(v) for name, v in flip(*(given[0][n] for n in ("theta0", "phi0", "inc", "pa"))).items()}
        )
    starts = [_model_vectors({name: np.atleast_1d(v) for name, v in values.items()}, task) for values in given[:n_starts]]
    n = n_starts - len(starts)
    if n:
        pool = max(POOL, -(-FEWEST // n))
        unit = rng.random((pool * n, len(task.free)))
        values = values_at(unit, task.free, task.fixed, task.domain | task.bounds, task.priors, task.reach)
        values = _measured(values, task, rng, np.repeat(np.arange(pool) % 2 == 0, n))
        pools = losses_of(values, preview).reshape(pool, n)
        best = np.argmin(pools, axis=0) * n + np.arange(n)
        starts.append(_model_vectors({name: value[best] for name, value in values.items()}, task))
    return np.concatenate(starts)


@in_float64
def _model_vectors(values, task):
    """Values by name as vectors of the core, the rotation as the fit optimises it."""
    stated = rotation_name(values)
    mu = np.asarray(mu_from(stated, values[stated], values["r0"], values["mass"]))
    values = values | ({"mu": np.minimum(mu, LARGEST_MU)} if task.settings.rotation == "mu" else {"mu": values[stated]})
    return np.stack(np.broadcast_arrays(*(values[name] for name in MODEL_PARAMETERS)), axis=1)


@in_float64
def _measured(values, task, rng, which):
    """Let some sets start where the data do, as far as its parameters are free and within their bounds."""
    points, distance = task.problem["points"], float(task.problem["distance"])
    ra, dec, velocity = points[np.argmax(np.hypot(*points[:, :2].T))]
    m = len(values["r0"])
    # any angle between the sky and the line to the star, the smaller ones more often
    away = np.hypot(ra, dec) * distance * np.tan(1.4 * rng.uniform(-1, 1, m))
    stated = rotation_name(values)
    mu = np.asarray(mu_from(stated, values[stated], values["r0"], values["mass"]))
    known = (away, mu, values["mass"], values["inc"], values["pa"])
    found = _start_at(-ra * distance, dec * distance, velocity - values["v_lsr"], *known)
    found = {name: np.asarray(value) for name, value in found.items()}
    # no faster than twice free fall from far away
    found["v_r0"] = np.where(found["v_r0"] < 2 * np.sqrt(2 * GM_SUN * values["mass"] / found["r0"]), found["v_r0"], np.nan)
    place = ("r0", "theta0", "phi0")
    if not set(place) <= set(task.free):
        return values
    fits = which & np.all([_within(name, found[name], task.bounds) for name in place], axis=0)
    values = values | {name: np.where(fits, found[name], values[name]) for name in place}
    if stated == "rc" and "rc" not in task.bounds and "rc" not in task.priors and "rc" in task.free:
        values["rc"] = np.where(fits, mu * found["r0"], values["rc"])
    if stated == "omega" and "omega" not in task.bounds and "omega" not in task.priors and "omega" in task.free:
        values["omega"] = np.where(fits, np.asarray(omega_from(mu, values["r0"], values["mass"])), values["omega"])
    if "v_r0" in task.free:
        use = fits & _within("v_r0", found["v_r0"], task.bounds)
        values["v_r0"] = np.where(use, found["v_r0"], values["v_r0"])
    return values


def _within(name, values, bounds):
    low, high = bounds.get(name, (-np.inf, np.inf))
    return (low <= values) & (values <= high)


def _rank(ended, task):
    """Distinct minima among the ends of descents, the best first."""
    order = np.argsort(ended["loss"], kind="stable")
    groups = _group([i for i in order if ended["converged"][i] or i == order[0]], ended["residuals"], ended["loss"])
    first = [members[0] for members in groups]
    table = {"loss": ended["loss"][first], "n_reached": [len(members) for members in groups]}
    rows = [_allowed(ended["named"][i], task) for i in first]
    return QTable(table | {name: u.Quantity([row[name] for row in rows]) for name in task.free})


def _group(order, seen, losses):
    """Group descents that cannot be told apart by what is observed; the best member of each comes first."""
    groups = []
    for i in order:
        for members in groups:
            k = members[0]
            if np.sum((seen[i] - seen[k]) ** 2) < max(SAME * losses[k], SAME_EXACT):
                members.append(int(i))
                break
        else:
            groups.append([int(i)])
    return groups


def _allowed(named, task):
    """Free parameters of a descent's end as Quantities from which a fit may start."""
    values = dict(zip(NAMED_PARAMETERS, named.tolist(), strict=True))
    for name in task.free:
        p = PARAMETERS[name]
        low, high = task.bounds.get(name, (-np.inf, np.inf) if p.period else (p.lower, p.upper))
        # within the corners rounding may reach a bound or pass it
        margin = 1e-9 * (high - low if np.isfinite(high - low) else abs(values[name]))
        values[name] = min(max(values[name], low + margin), high - margin)
    return {name: to_quantity(name, values[name]) for name in task.free}
