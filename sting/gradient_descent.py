"""The fit: parameters, data and options in, a `~sting.fit_result.FitResult` out."""

import math
from dataclasses import dataclass

import jax
import numpy as np
from astropy import units as u
from tqdm.auto import tqdm

from sting.core.descent import Stop, run_chunk, start
from sting.core.likelihood import (
    MODEL_PARAMETERS,
    NAMED_PARAMETERS,
    Settings,
    loss_and_parts,
    match,
    parameters,
    path_of,
)
from sting.core.transforms import LARGEST_MU, mu_from, to_coordinates
from sting.fit_result import FitResult
from sting.messages import check_choice, in_float64, refuse
from sting.parameters import (
    PARAMETERS,
    ROTATIONS,
    check_distance,
    check_parameters,
    parse_bounds,
    parse_priors,
    rotation_name,
    to_quantity,
)
from sting.stream_lines_grad import Streamline, streamline

__all__ = [
    "InitialGuess",
    "Snapshot",
    "evaluate_initial_guess",
    "fit_streamline",
    "iterate_fit",
    "prepare_model_params",
]

MATCHINGS = ("nearest", "stretch")
OPTIMIZERS = ("adam", "lbfgs")
LOSS_METHODS = (0, 1)

#: Supports of mu in the optimiser: the ends are excluded.
SMALLEST_MU = 1e-6

#: Largest number of radii that the stretch matching samples.
MOST_RADII = 2_000_000


def prepare_model_params(opt_params, fixed_params):
    """Check a partition of the model's parameters into free and fixed ones.

    Parameters
    ----------
    opt_params, fixed_params : dict
        Parameter name to Quantity, or to a number in the internal unit (radians for angles).

    Returns
    -------
    model_params, opt_params, fixed_params : dict
        All, free and fixed parameters as Quantities in display units, the defaults of left-out ones filled in.

    Raises
    ------
    ValueError
        If a parameter is unknown, missing, given twice or outside its support.

    Examples
    --------
    >>> from sting.synthetic import TRUTH
    >>> fixed = {name: value for name, value in TRUTH.items() if name != "r0"}
    >>> model, free, fixed = prepare_model_params({"r0": 3000.0}, fixed)
    >>> free
    {'r0': <Quantity 3000. AU>}
    """
    free, fixed = check_parameters(opt_params, fixed_params)
    free, fixed = ({name: to_quantity(name, value) for name, value in part.items()} for part in (free, fixed))
    return free | fixed, free, fixed


def _support(free, fixed, bounds, rotation):
    """Support, mask and fixed values of the vector of the core, and its start."""
    n = len(MODEL_PARAMETERS)
    support = {key: np.zeros(n) for key in ("offset", "scale", "has_lower", "has_upper")}
    is_free, values = np.zeros(n), np.zeros(n)
    for i, core_name in enumerate(MODEL_PARAMETERS):
        name = rotation if core_name == "mu" else core_name
        p = PARAMETERS[name]
        is_free[i], values[i] = name in free, (free | fixed)[name]
        low, high = bounds.get(name, (p.lower, p.upper))
        if name == "mu" and name not in bounds:
            low, high = SMALLEST_MU, LARGEST_MU
        bounded = name in bounds or not p.period
        two_sided = math.isfinite(high)
        scale = high - low if two_sided else p.scale or abs(values[i]) or 1.0
        support["offset"][i] = low if math.isfinite(low) else 0.0
        support["scale"][i] = scale
        support["has_lower"][i] = bounded and math.isfinite(low)
        support["has_upper"][i] = bounded and two_sided
    return support, is_free, values


def _prior(priors):
    prior = {key: np.zeros(len(NAMED_PARAMETERS)) for key in ("mean", "inverse_sigma", "period")}
    for i, name in enumerate(NAMED_PARAMETERS):
        prior["period"][i] = PARAMETERS[name].period
        if name in priors:
            prior["mean"][i], prior["inverse_sigma"][i] = priors[name][0], 1 / priors[name][1]
    return prior


def _check_points(data, uncertainties):
    """Data and uncertainties as arrays of shape (n, 3)."""
    try:
        points, sigma = (np.array(part, dtype=float).T for part in (data, uncertainties))
    except (TypeError, ValueError):
        points, sigma = np.zeros(0), np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 3 or points.shape != sigma.shape:
        refuse(
            "streamer",
            "hold RA offsets, Dec offsets and velocities with uncertainties of the same length",
            f"shapes {np.shape(data)} and {np.shape(uncertainties)}",
            "Use the result of reduce_to_1D.",
        )
    if not np.isfinite(points).all():
        refuse("streamer", "have finite data", "NaN or infinity", "Drop these points.")
    if not (np.isfinite(sigma).all() and (sigma > 0).all()):
        refuse(
            "streamer",
            "have positive finite uncertainties",
            "zero, negative, NaN or infinity",
            "Give every point an uncertainty.",
        )
    return points, sigma


def _n_radii(free, fixed, bounds):
    """Number of radii of the stretch matching: from the largest r0 the fit may reach down to the star."""
    largest = bounds["r0"][1] if "r0" in bounds else (free | fixed)["r0"] * (4 if "r0" in free else 1)
    n = math.ceil(largest / fixed["deltar"]) + 1
    if n > MOST_RADII:
        refuse("deltar", f"leave at most {MOST_RADII} radii", f"{n}", "Raise deltar or lower the upper bound of r0.")
    return n


def _state_problem(initial, fixed, data, uncertainties, distance, bounds, priors, matching, loss_method, optimizer):
    """Check everything that a fit is told, before any work, and put it into the form of the core."""
    check_choice("matching", matching, MATCHINGS)
    check_choice("optimizer", optimizer, OPTIMIZERS)
    check_choice("loss_method", loss_method, LOSS_METHODS)
    free, fixed = check_parameters(initial, fixed)
    bounds, priors = parse_bounds(bounds, free), parse_priors(priors, free)
    points, sigma = _check_points(data, uncertainties)
    distance = check_distance(distance)
    n_radii = _n_radii(free, fixed, bounds) if matching == "stretch" else 0
    rotation = rotation_name(free | fixed)
    if rotation in free and rotation not in bounds:
        # without bounds of its own the rotation is optimised as mu, which always has them
        given = free | fixed
        mu = float(mu_from(rotation, given[rotation], given["r0"], given["mass"]))
        free = {name: value for name, value in free.items() if name not in ROTATIONS} | {"mu": mu}
        rotation = "mu"
    support, is_free, values = _support(free, fixed, bounds, rotation)
    problem = {
        "points": points,
        "sigma": sigma,
        "distance": np.float64(distance),
        "support": support,
        "free": is_free,
        "fixed": values,
        "prior": _prior(priors),
        "deltar": np.float64(fixed["deltar"]),
    }
    return (
        problem,
        Settings(rotation, matching, int(loss_method), optimizer, n_radii),
        np.asarray(to_coordinates(values, support)),
    )


@dataclass(frozen=True, eq=False)
class InitialGuess:
    """A set of parameters beside the data, see `evaluate_initial_guess`.

    Attributes
    ----------
    model_params : dict
        All parameters as Quantities.
    streamline : `~sting.stream_lines_grad.Streamline`
        The model.
    ra_model, dec_model, v_model : `~numpy.ndarray`
        The model (arcsec, arcsec, km/s), shape (n_points,).
    ra_model_interp, dec_model_interp, v_model_interp : `~numpy.ndarray`
        The places of the model to which the data are compared, shape (n,).
    valid : `~numpy.ndarray` of bool
        Which data points are compared: all of them.
    chi2_total : float
        Loss, priors included.
    chi2_components : dict of float
        Its parts.
    """

    model_params: dict
    streamline: Streamline
    ra_model: np.ndarray
    dec_model: np.ndarray
    v_model: np.ndarray
    ra_model_interp: np.ndarray
    dec_model_interp: np.ndarray
    v_model_interp: np.ndarray
    valid: np.ndarray
    chi2_total: float
    chi2_components: dict


def _evaluate(x, problem, settings):
    value, parts = loss_and_parts(x, problem, settings)
    return value, parts, match(path_of(parameters(x, problem, settings), problem["distance"]), problem, settings)


_evaluate = jax.jit(_evaluate, static_argnames="settings")


@in_float64
def evaluate_initial_guess(
    initial_opt_params,
    fixed_params,
    data,
    uncertainties,
    distance=None,
    n_elements=None,
    loss_method=0,
    priors=None,
    *,
    matching="nearest",
    distance_pc=None,
):
    """Compare a set of parameters with the data.

    Parameters
    ----------
    initial_opt_params, fixed_params : dict
        Free and fixed parameters, as for `fit_streamline`.
    data, uncertainties : tuple of array-like
        RA offsets (arcsec), Dec offsets (arcsec), velocities (km/s): ``streamer.data`` and ``streamer.uncertainties``.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    n_elements : int, optional
        Accepted so that STING scripts run; the number of points is that of ``data``.
    loss_method : {0, 1}, optional
        0 compares RA, Dec and velocity; 1 projected radius, projected polar angle and velocity.
    priors : dict, optional
        Parameter name to (mean, sigma).
    matching : {"nearest", "stretch"}, optional
        Which model point a data point is compared to.
    distance_pc : float, optional
        STING's name of ``distance``.

    Returns
    -------
    `InitialGuess`

    Raises
    ------
    ValueError
        If the parameters do not state the model, or the data are not usable.

    Examples
    --------
    >>> from sting import synthetic
    >>> streamer = synthetic.make_streamer_points()
    >>> guess = evaluate_initial_guess({}, synthetic.TRUTH, streamer.data, streamer.uncertainties, 293)
    >>> guess.chi2_total < 1e-6
    True
    """
    distance = _either("distance", distance, distance_pc)
    problem, settings, x = _state_problem(
        initial_opt_params, fixed_params, data, uncertainties, distance, None, priors, matching, loss_method, "adam"
    )
    model_params, _, _ = prepare_model_params(initial_opt_params, fixed_params)
    value, parts, matched = jax.device_get(_evaluate(x, problem, settings))
    model = streamline(model_params, distance=distance)
    names = ("chi2_ra", "chi2_dec", "chi2_v") if loss_method == 0 else ("chi2_r", "chi2_theta", "chi2_v")
    return InitialGuess(
        model_params,
        model,
        model.ra.value,
        model.dec.value,
        model.velocity.value,
        *matched.T,
        valid=np.ones(len(matched), bool),
        chi2_total=float(value),
        chi2_components=dict(zip((*names, "chi2_prior"), map(float, parts), strict=True)),
    )


def _either(name, value, alias):
    if (value is None) == (alias is None):
        refuse(
            name,
            f"be given once, as {name} or as {name}_pc",
            "both" if value is not None else "neither",
            "Give a Quantity or pc.",
        )
    return alias if value is None else value


def _options(optimizer, **options):
    """Check the numbers that steer a descent and return them as the core takes them."""
    for name, low in (
        ("learning_rate", 0),
        ("n_epochs", 0),
        ("loss_threshold_epochs", 0),
        ("gradient_tol_epochs", 0),
        ("patience", 0),
    ):
        if not (np.isscalar(options[name]) and np.isfinite(options[name]) and options[name] > low):
            shown = "early_stopping_patience" if name == "patience" else name
            refuse(shown, "be a positive number", repr(options[name]), "Leave it out for the default.")
    for name in ("beta1", "beta2"):
        if not 0 <= options[name] < 1:
            refuse(name, "lie in [0, 1)", options[name], "Leave it out for the default.")
    off = {"loss_threshold": -np.inf, "gradient_tol": 0.0}
    options = {name: off[name] if value is None else value for name, value in options.items()}
    # L-BFGS improves by ever smaller amounts where Adam oscillates: it stops when the gain is below rounding that matters
    options["loss_rtol"] = 1e-9 if optimizer == "lbfgs" else 0.0
    if optimizer == "lbfgs":
        options["patience"] = min(options["patience"], 10)
    whole = ("n_epochs", "loss_threshold_epochs", "gradient_tol_epochs", "patience")
    return {name: np.int64(value) if name in whole else np.float64(value) for name, value in options.items()}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """State of a descent between two chunks of epochs.

    Attributes
    ----------
    epoch : int
        Epochs done.
    n_epochs : int
        Epochs at the most.
    loss : float
        Loss of the last epoch.
    best_loss : float
        Smallest loss so far.
    result : `~sting.fit_result.FitResult`
        The fit if it were stopped here; its uncertainties are computed only when asked for.
    """

    epoch: int
    n_epochs: int
    loss: float
    best_loss: float
    result: FitResult


@in_float64
def _setup(initial, fixed, streamer, distance, matching, optimizer, loss_method, bounds, priors, options):
    if not initial:
        refuse(
            "initial_opt_params",
            "hold at least one parameter",
            "none",
            "Move one out of fixed_params, or call streamline().",
        )
    if not hasattr(streamer, "data") or not hasattr(streamer, "uncertainties"):
        refuse("streamer", "be a Streamer", type(streamer).__name__, "Use the result of reduce_to_1D.", TypeError)
    problem, settings, x = _state_problem(
        initial,
        fixed,
        streamer.data,
        streamer.uncertainties,
        distance,
        bounds,
        priors,
        matching,
        loss_method,
        optimizer,
    )
    return problem, settings, x, _options(optimizer, **options)


def iterate_fit(
    initial_opt_params,
    fixed_params,
    streamer,
    distance,
    *,
    learning_rate=0.005,
    param_bounds=None,
    n_epochs=1000,
    beta1=0.9,
    beta2=0.999,
    loss_threshold=None,
    loss_threshold_epochs=1,
    gradient_tol=None,
    gradient_tol_epochs=1,
    early_stopping_patience=50,
    loss_method=1,
    priors=None,
    matching="nearest",
    optimizer="adam",
):
    """Run a fit step by step: a generator that yields a `Snapshot` every 50 epochs and after the last one.

    Leaving the loop stops the fit; the last snapshot's result is the best so far.

    Parameters
    ----------
    initial_opt_params, fixed_params, streamer, distance
        As for `fit_streamline`.
    learning_rate, param_bounds, n_epochs, beta1, beta2, loss_threshold, loss_threshold_epochs, gradient_tol, gradient_tol_epochs, \
early_stopping_patience, loss_method, priors, matching, optimizer
        As for `fit_streamline`.

    Yields
    ------
    `Snapshot`

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "r0"}
    >>> fit = iterate_fit({"r0": 2500 * u.au}, fixed, synthetic.make_streamer_points(), 293, n_epochs=100)
    >>> [snapshot.epoch for snapshot in fit]
    [49, 99, 100]
    """
    options = dict(
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        n_epochs=n_epochs,
        loss_threshold=loss_threshold,
        loss_threshold_epochs=loss_threshold_epochs,
        gradient_tol=gradient_tol,
        gradient_tol_epochs=gradient_tol_epochs,
        patience=early_stopping_patience,
    )
    problem, settings, x, options = _setup(
        initial_opt_params,
        fixed_params,
        streamer,
        distance,
        matching,
        optimizer,
        loss_method,
        param_bounds,
        priors,
        options,
    )
    names = tuple(initial_opt_params)
    _, _, fixed = prepare_model_params(initial_opt_params, fixed_params)
    # the generator's body runs in steps between which the caller's own precision must hold: each step enters float64 by itself
    step = in_float64(lambda state: jax.device_get(run_chunk(state, problem, options, settings)))
    state, rows = in_float64(start)(x, options, settings), []
    while int(state["stop"]) == Stop.RUNNING:
        state, new = step(state)
        rows.append(new[np.isfinite(new).any(axis=1)])
        stop = Stop(int(state["stop"]))
        history = np.concatenate(rows)
        best = np.asarray(state["best"]["x"])
        result = FitResult(
            names, fixed, check_distance(distance) * u.pc, best, history, stop or Stop.BY_CALLER, problem, settings
        )
        yield Snapshot(
            len(history) - 1, int(options["n_epochs"]), float(history[-1, 0]), float(state["best"]["loss"]), result
        )


def fit_streamline(
    initial_opt_params,
    fixed_params,
    streamer,
    distance=None,
    learning_rate=0.005,
    param_bounds=None,
    n_epochs=1000,
    beta1=0.9,
    beta2=0.999,
    info_every=100,
    loss_threshold=None,
    loss_threshold_epochs=1,
    gradient_tol=None,
    gradient_tol_epochs=1,
    early_stopping_patience=50,
    save_folder="sting_results",
    loss_method=1,
    priors=None,
    v_lsr=None,
    show_plots=False,
    *,
    matching="nearest",
    optimizer="adam",
    progress=True,
    callback=None,
    distance_pc=None,
):
    """Fit a streamline to a streamer by gradient descent.

    Parameters
    ----------
    initial_opt_params : dict
        Start values of the free parameters: Quantities, or numbers in the internal unit (radians for angles).
    fixed_params : dict
        Values of the others. Both together state the model, with exactly one of ``omega``, ``rc`` and ``mu``; ``rmin``, ``v_lsr``
        and ``deltar`` may be left out. A fixed ``omega`` or ``rc`` stays fixed while r0 and mass move.
    streamer : `~sting.extract_streamline.Streamer`
        The data.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    learning_rate : float, optional
        Step of Adam in optimiser coordinates, in which the range between two bounds is 1.
    param_bounds : dict, optional
        Parameter name to (lower, upper). Bounded parameters approach their bounds and never pass them.
    n_epochs : int, optional
        Epochs at the most.
    beta1, beta2 : float, optional
        Decay rates of Adam's moments.
    info_every : int, optional
        Update the progress bar at least every so many epochs; 0 shows none.
    loss_threshold, gradient_tol : float, optional
        Stop when the loss, or the norm of its gradient in optimiser coordinates, stays below this.
    loss_threshold_epochs, gradient_tol_epochs : int, optional
        For so many epochs in a row.
    early_stopping_patience : int, optional
        Stop after so many epochs without a new best.
    save_folder : str, path-like or None, optional
        Folder for parameters, log and figures; None writes nothing. Files of the same names are replaced, others left alone.
    loss_method : {0, 1}, optional
        0 compares RA, Dec and velocity; 1 projected radius, projected polar angle and velocity.
    priors : dict, optional
        Parameter name to (mean, sigma) of a Gaussian prior, on free parameters. On whichever of ``mu``, ``rc`` and ``omega``, if
        one of them is free.
    v_lsr : `~astropy.units.Quantity` or float, optional
        Systemic velocity to draw as a line in the figures (km/s); the model's own is the parameter ``v_lsr``.
    show_plots : bool, optional
        Whether to show the figures.
    matching : {"nearest", "stretch"}, optional
        Which model point a data point is compared to: the nearest on the curve in units of the uncertainties, or STING's choice.
    optimizer : {"adam", "lbfgs"}, optional
        Adam, or L-BFGS, which ends in a minimum in far fewer epochs.
    progress : bool, optional
        Whether to show a progress bar.
    callback : callable, optional
        Called with a `Snapshot` every 50 epochs; the fit stops, keeping the best so far, when it returns True.
    distance_pc : float, optional
        STING's name of ``distance``.

    Returns
    -------
    `~sting.fit_result.FitResult`
        Unpacks as ``best_opt_params, loss_history, param_errors``.

    Raises
    ------
    ValueError
        If anything that is given does not make sense; nothing has been computed or written then.
    `~astropy.units.UnitsError`
        If a unit cannot be converted.
    OSError
        If the folder cannot be written.

    References
    ----------
    Mendoza, Tejeda & Nagel 2009, MNRAS 393, 579, doi:10.1111/j.1365-2966.2008.14210.x

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in ("r0", "phi0")}
    >>> result = fit_streamline(
    ...     {"r0": 2500 * u.au, "phi0": 50 * u.deg}, fixed, synthetic.make_streamer_points(), 293,
    ...     optimizer="lbfgs", save_folder=None, progress=False)
    >>> print(result.best_opt_params["phi0"].round(2))
    60.0 deg
    """
    distance = _either("distance", distance, distance_pc)
    if v_lsr is not None:
        v_lsr = to_quantity("v_lsr", _internal_velocity(v_lsr))
    if save_folder is not None:
        from sting import outputs

        outputs.check_folder(save_folder)
    steps = iterate_fit(
        initial_opt_params,
        fixed_params,
        streamer,
        distance,
        learning_rate=learning_rate,
        param_bounds=param_bounds,
        n_epochs=n_epochs,
        beta1=beta1,
        beta2=beta2,
        loss_threshold=loss_threshold,
        loss_threshold_epochs=loss_threshold_epochs,
        gradient_tol=gradient_tol,
        gradient_tol_epochs=gradient_tol_epochs,
        early_stopping_patience=early_stopping_patience,
        loss_method=loss_method,
        priors=priors,
        matching=matching,
        optimizer=optimizer,
    )
    result = _run(steps, n_epochs, progress and info_every, callback)
    if save_folder is not None or show_plots:
        from sting import outputs

        outputs.save_results(result, streamer, save_folder, v_lsr=v_lsr, show=show_plots)
    return result


def _internal_velocity(v_lsr):
    from sting.parameters import to_internal

    return to_internal("v_lsr", v_lsr)


def _run(steps, n_epochs, progress, callback):
    """Exhaust the steps of a fit with a progress bar; the first one, which compiles, is announced."""
    with tqdm(total=n_epochs, unit="epoch", desc="compiling", disable=not progress, leave=True) as bar:
        for snapshot in steps:
            bar.set_description("fitting", refresh=False)
            bar.set_postfix(loss=f"{snapshot.best_loss:.5g}", refresh=False)
            bar.update(snapshot.epoch - bar.n)
            if callback is not None and callback(snapshot):
                break
    return snapshot.result
