"""The fit: parameters, data and options in, a `~sting.fit_result.FitResult` out."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from astropy import units as u
from tqdm.auto import tqdm

from sting.core.likelihood import loss_and_parts, match, parameters, path_of
from sting.fit_result import FitResult
from sting.messages import check_whole, in_float64, named_keywords, refuse
from sting.parameters import check_distance, check_parameters, to_internal, to_quantity
from sting.problem import state_data, state_fit, state_model
from sting.programs import beside, program
from sting.search import iterate_minima
from sting.steps import Snapshot, descend, exhaust
from sting.stream_lines_grad import Streamline, streamline

__all__ = [
    "InitialGuess",
    "Snapshot",
    "evaluate_initial_guess",
    "fit_streamline",
    "iterate_fit",
    "prepare_model_params",
]


@named_keywords
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


@program
def _evaluate(x, problem, settings):
    value, parts = loss_and_parts(x, problem, settings)
    return value, parts, match(path_of(parameters(x, problem, settings), problem["distance"]), problem, settings)


@named_keywords
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
    problem, settings, x = state_model(
        initial_opt_params, fixed_params, distance, priors=priors, matching=matching, loss_method=loss_method
    )
    problem |= state_data(data, uncertainties)
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


def iterate_fit(initial_opt_params, fixed_params, streamer, distance, **keywords):
    """Run a fit step by step: a generator that yields a `Snapshot` every 50 epochs and after the last one.

    Leaving the loop stops the fit; the last snapshot's result is the best so far. All input is checked before the first step.

    Parameters
    ----------
    initial_opt_params, fixed_params : dict
        As for `fit_streamline`.
    streamer : `~sting.streamer.Streamer`
        The data.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    **keywords
        Those of `fit_streamline` that steer the fit.

    Returns
    -------
    generator of `Snapshot`

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "r0"}
    >>> for snapshot in iterate_fit({"r0": 2500 * u.au}, fixed, synthetic.make_streamer_points(), 293, optimizer="lbfgs"):
    ...     r0 = snapshot.result.best_opt_params["r0"]
    >>> print(r0.round(1))
    2800.0 AU
    """
    if not hasattr(streamer, "data") or not hasattr(streamer, "uncertainties"):
        refuse("streamer", "be a Streamer", type(streamer).__name__, "Use the result of reduce_to_1D.", TypeError)
    problem, settings, x, options = state_fit(initial_opt_params, fixed_params, distance, **keywords)
    problem |= state_data(streamer.data, streamer.uncertainties)
    _, free, fixed = prepare_model_params(initial_opt_params, fixed_params)
    result = partial(FitResult, tuple(free), fixed, check_distance(distance) * u.pc, problem=problem, settings=settings)
    return descend(x, problem, options, settings, result)


@named_keywords
def fit_streamline(
    initial_opt_params,
    fixed_params,
    streamer,
    distance=None,
    learning_rate=None,
    param_bounds=None,
    n_epochs=1000,
    beta1=None,
    beta2=None,
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
    optimizer=None,
    progress=True,
    callback=None,
    n_starts=1,
    seed=0,
    films=False,
    figures=True,
    distance_pc=None,
):
    """Fit a streamline to a streamer by gradient descent.

    Parameters
    ----------
    initial_opt_params : dict or {"auto"}
        Start values of the free parameters: Quantities, or numbers in the internal unit (radians for angles). ``"auto"`` needs
        none: everything that is not in ``fixed_params`` is free, the rotation as ``rc`` (or as what bounds or priors name), but
        for ``rmin`` and ``deltar``; the mass then needs to be fixed or to have bounds or a prior.
    fixed_params : dict
        Values of the others. Both together state the model, with exactly one of ``omega``, ``rc`` and ``mu``; ``rmin``, ``v_lsr``
        and ``deltar`` may be left out. A fixed ``omega`` or ``rc`` stays fixed while r0 and mass move.
    streamer : `~sting.streamer.Streamer`
        The data.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    learning_rate : float, optional
        Step of Adam in optimiser coordinates, in which the range between two bounds is 1: 0.005, unless given. Giving it, or one
        of the decay rates, chooses Adam.
    param_bounds : dict, optional
        Parameter name to (lower, upper). Bounded parameters approach their bounds and never pass them.
    n_epochs : int, optional
        Epochs at the most.
    beta1, beta2 : float, optional
        Decay rates of Adam's moments: 0.9 and 0.999, unless given.
    info_every : int, optional
        Update the progress bar at least every so many epochs; 0 shows none.
    loss_threshold : float, optional
        Stop when the loss stays below this.
    loss_threshold_epochs : int, optional
        For so many epochs in a row.
    gradient_tol : float, optional
        Stop when the norm of the gradient in optimiser coordinates stays below this.
    gradient_tol_epochs : int, optional
        For so many epochs in a row.
    early_stopping_patience : int, optional
        Stop after so many epochs without a new best; but for Adam after 10 at the most, in which the loss has hardly improved.
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
    optimizer : {"lm", "lbfgs", "adam"}, optional
        Levenberg and Marquardt's method, which ends in a minimum in the fewest epochs, or L-BFGS or Adam of Optax. By default
        ``"lm"``, but ``"adam"`` for ``matching="stretch"``.
    progress : bool, optional
        Whether to show a progress bar.
    callback : callable, optional
        Called with a `Snapshot` every 50 epochs; the fit stops, keeping the best so far, when it returns True.
    n_starts : int, optional
        Number of starts. The start values are the first, the others are searched for, and from each a descent is run. The fit
        then goes on from the best end, and ``minima`` of the result lists the distinct ones. With ``"auto"`` give 64 or more.
    seed : int, optional
        Seed of the starts.
    films : bool, optional
        Whether to write films of the fit by epoch into ``save_folder`` as well.
    figures : bool, optional
        Whether to draw figures: False leaves them out of ``save_folder``, and takes a fraction of the time.
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
        v_lsr = to_quantity("v_lsr", to_internal("v_lsr", v_lsr))
    if save_folder is not None:
        from sting import outputs

        outputs.check_folder(save_folder)
        if figures:
            beside(outputs.tables.load_figures)
    options = {
        "learning_rate": learning_rate,
        "param_bounds": param_bounds,
        "n_epochs": n_epochs,
        "beta1": beta1,
        "beta2": beta2,
        "info_every": info_every,
        "loss_threshold": loss_threshold,
        "loss_threshold_epochs": loss_threshold_epochs,
        "gradient_tol": gradient_tol,
        "gradient_tol_epochs": gradient_tol_epochs,
        "early_stopping_patience": early_stopping_patience,
        "loss_method": loss_method,
        "priors": priors,
        "matching": matching,
        "optimizer": optimizer,
    }
    n_starts, seed = check_whole("n_starts", n_starts, 1, 64), check_whole("seed", seed, 0, 1)
    progress = progress and info_every
    state = (initial_opt_params, fixed_params, streamer, distance)
    if n_starts > 1 or isinstance(initial_opt_params, str):
        result = _search(*state, options, n_starts, seed, progress, callback)
    else:
        result = exhaust(iterate_fit(*state, **options), n_epochs, progress, callback)
    if save_folder is not None or show_plots:
        from sting import outputs

        options = {"show": show_plots, "films": films, "figures": figures, "progress": progress}
        outputs.save_results(result, streamer, save_folder, v_lsr=v_lsr, **options)
    return result


def _search(initial_opt_params, fixed_params, streamer, distance, options, n_starts, seed, progress, callback):
    """Search for the minima, and fit from the best of them as usual."""
    searches = iterate_minima(initial_opt_params, fixed_params, streamer, distance, n_starts=n_starts, seed=seed, **options)
    with tqdm(total=n_starts, unit="start", desc="compiling", disable=not progress, leave=True) as bar:
        for found in searches:
            bar.set_description("searching", refresh=False)
            bar.set_postfix(loss=f"{found.loss:.5g}", refresh=False)
            bar.update(found.n_done - bar.n)
            fit = partial(iterate_fit, found.params, fixed_params, streamer, distance, **options)
            if callback is not None and callback(_snapshot_of(found, fit, options["n_epochs"])):
                return _with_minima(next(fit()).result, found.minima)
    return _with_minima(exhaust(fit(), options["n_epochs"], progress, callback), found.minima)


def _snapshot_of(found, fit, n_epochs):
    """State of a search as that of a fit that has not begun; its result is that of a few epochs from the best end so far."""
    return Snapshot(
        0, n_epochs, found.loss, found.loss, np.array([found.loss]), lambda: _with_minima(next(fit()).result, found.minima)
    )


def _with_minima(result, minima):
    """Add the minima of a search to a result, whose own values take the place of the first where it went further down."""
    minima = minima.copy()
    if result.loss < minima["loss"][0]:
        minima["loss"][0] = result.loss
        for name, value in result.best_opt_params.items():
            minima[name][0] = value
    return replace(result, minima=minima)
