"""What a fit is told, checked before any work and put into the form of the core."""

import math

import numpy as np

from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, Settings
from sting.core.transforms import LARGEST_MU, mu_from, to_coordinates
from sting.messages import check_choice, in_float64, named_keywords, refuse
from sting.parameters import PARAMETERS, ROTATIONS, check_distance, check_parameters, parse_bounds, parse_priors, rotation_name

MATCHINGS = ("nearest", "stretch")
OPTIMIZERS = ("lm", "lbfgs", "adam")
LOSS_METHODS = (0, 1)

#: Smallest mu in the optimiser.
SMALLEST_MU = 1e-6

#: What Adam does if it is not told otherwise, as in STING.
ADAM = {"learning_rate": 0.005, "beta1": 0.9, "beta2": 0.999}

#: Fraction of the loss by which it has to improve if that is to count. Adam oscillates; the others creep at the end.
LEAST_GAIN = {"adam": 0.0, "lbfgs": 1e-9, "lm": 1e-7}

#: Inverse width of the corners at the bounds, in units of the range between them, see `sting.core.transforms`.
SHARPNESS = {"adam": 1e4, "lbfgs": 1e2, "lm": 1e6}

#: How far inside a bound coordinates are kept, see `sting.core.transforms.limits`. STING cuts mu off, with no gradient left, and
#: the place where its descent ends depends on that.
INSET = {"nearest": 1e-9, "stretch": 0.0}

#: Largest number of radii that the stretch matching samples.
MOST_RADII = 2_000_000


def _support(free, fixed, bounds, rotation, matching, optimizer):
    """Support, mask and fixed values of the vector of the core, and its start."""
    n = len(MODEL_PARAMETERS)
    support = {key: np.zeros(n) for key in ("offset", "scale", "has_lower", "has_upper")}
    support["sharpness"] = np.full(n, SHARPNESS[optimizer])
    support["projected"] = np.full(n, float(optimizer != "lbfgs"))
    support["inset"] = np.full(n, INSET[matching])
    support["reciprocal"] = np.array([float(name == "r0") for name in MODEL_PARAMETERS])
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
    if matching == "stretch" and "v_r0" not in bounds:
        # STING's own coordinate, on which the place where its descent ends depends: v_r0 = log(1 + exp(x)) km/s
        i = MODEL_PARAMETERS.index("v_r0")
        support["sharpness"][i], support["projected"][i] = 1.0, 0.0
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
            f"lengths {[np.size(part) for part in data]} and {[np.size(part) for part in uncertainties]}",
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


def count_radii(largest, deltar):
    """Number of radii of the stretch matching: from the largest r0 (au) that may be reached down to the star."""
    n = math.ceil(largest / deltar) + 1
    if n > MOST_RADII:
        refuse("deltar", f"leave at most {MOST_RADII} radii", f"{n}", "Raise deltar or lower the upper bound of r0.")
    return n


def _n_radii(free, fixed, bounds):
    largest = bounds["r0"][1] if "r0" in bounds else (free | fixed)["r0"] * (4 if "r0" in free else 1)
    return count_radii(largest, fixed["deltar"])


@in_float64
def state_model(
    initial,
    fixed,
    distance,
    *,
    bounds=None,
    priors=None,
    matching="nearest",
    loss_method=1,
    optimizer="adam",
    keep_rotation=False,
):
    """Check a model, its bounds and priors and the kind of fit.

    A free rotation without bounds is optimised as mu, but for ``keep_rotation``.

    Returns the problem of the core (still without data), the program to run and the optimiser coordinates of the start.
    """
    check_choice("matching", matching, MATCHINGS)
    check_choice("optimizer", optimizer, OPTIMIZERS)
    check_choice("loss_method", loss_method, LOSS_METHODS)
    free, fixed = check_parameters(initial, fixed)
    bounds, priors = parse_bounds(bounds, free), parse_priors(priors, free)
    distance = check_distance(distance)
    n_radii = _n_radii(free, fixed, bounds) if matching == "stretch" else 0
    rotation = rotation_name(free | fixed)
    if rotation in free and rotation not in bounds and not keep_rotation:
        # without bounds of its own the rotation is optimised as mu, which always has them
        given = free | fixed
        mu = float(mu_from(rotation, given[rotation], given["r0"], given["mass"]))
        free = {name: value for name, value in free.items() if name not in ROTATIONS} | {"mu": mu}
        rotation = "mu"
    support, is_free, values = _support(free, fixed, bounds, rotation, matching, optimizer)
    problem = {
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


def state_data(data, uncertainties):
    """Check data and uncertainties and return their part of the problem of the core."""
    points, sigma = _check_points(data, uncertainties)
    return {"points": points, "sigma": sigma}


@named_keywords
def state_fit(
    initial,
    fixed,
    distance,
    *,
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
    loss_method=1,
    priors=None,
    matching="nearest",
    optimizer=None,
    keep_rotation=False,
):
    """Check everything about a fit but its data: the keywords are those of `~sting.gradient_descent.fit_streamline`.

    And ``keep_rotation``, see `state_model`.

    Returns what `state_model` returns and the options of the descent.
    """
    if not initial:
        refuse("initial_opt_params", "hold at least one parameter", "none", "Move one out of fixed_params, or call streamline().")
    of_adam = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
    optimizer = _choose_optimizer(optimizer, matching, of_adam)
    model = state_model(
        initial,
        fixed,
        distance,
        bounds=param_bounds,
        priors=priors,
        matching=matching,
        loss_method=loss_method,
        optimizer=optimizer,
        keep_rotation=keep_rotation,
    )
    of_adam = {name: ADAM[name] if value is None else value for name, value in of_adam.items()}
    positive = {
        "learning_rate": of_adam["learning_rate"],
        "n_epochs": n_epochs,
        "loss_threshold_epochs": loss_threshold_epochs,
        "gradient_tol_epochs": gradient_tol_epochs,
        "early_stopping_patience": early_stopping_patience,
    }
    for name, value in positive.items():
        if not (np.isscalar(value) and np.isreal(value) and np.isfinite(value) and value > 0):
            refuse(name, "be a positive number", repr(value), "Leave it out for the default.")
    for name in ("beta1", "beta2"):
        if not (np.isscalar(of_adam[name]) and 0 <= of_adam[name] < 1):
            refuse(name, "lie in [0, 1)", repr(of_adam[name]), "Leave it out for the default.")
    options = {name: np.float64(value) for name, value in of_adam.items()} | {
        "n_epochs": np.int64(n_epochs),
        "loss_threshold": np.float64(-np.inf if loss_threshold is None else loss_threshold),
        "loss_threshold_epochs": np.int64(loss_threshold_epochs),
        "gradient_tol": np.float64(0.0 if gradient_tol is None else gradient_tol),
        "gradient_tol_epochs": np.int64(gradient_tol_epochs),
        "patience": np.int64(early_stopping_patience if optimizer == "adam" else min(early_stopping_patience, 10)),
        "loss_rtol": np.float64(LEAST_GAIN[optimizer]),
    }
    return *model, options


def _choose_optimizer(optimizer, matching, of_adam):
    """The optimizer, by default the fastest that ends in a minimum; Adam where it is asked for by what only Adam has."""
    if optimizer is None:
        # the loss of the stretch matching has so many kinks that nothing else gets far
        return "adam" if matching == "stretch" or any(value is not None for value in of_adam.values()) else "lm"
    return optimizer
