"""Several fits side by side: how well each agrees with its data, and with how many parameters."""

import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.fit_result import FitResult
from sting.joint_result import JointResult
from sting.messages import refuse
from sting.parameters import PARAMETERS

__all__ = ["compare"]


def compare(results):
    """Tabulate several fits, for example with v_r0 fixed and free, or of one tracer and another.

    Differences of AICc, and Akaike's weights that follow from them, are those among fits of the same points with the same
    residuals: no others can be compared by them.

    Parameters
    ----------
    results : dict or iterable of `~sting.fit_result.FitResult` or `~sting.joint_result.JointResult`
        The fits; a dict names them.

    Returns
    -------
    `~astropy.table.QTable`
        A row for each fit: ``fit`` (its name), ``data`` (a number, the same for fits of the same points and residuals), ``loss``,
        ``chi2``, ``n_data``, ``n_free``, ``dof``, ``aicc``, ``delta_aicc``, ``weight``, ``bic``, ``success``, the specific
        ``energy`` (km2/s2, negative is bound) and every parameter with its uncertainty (``..._sigma``; 0 if it was fixed, NaN if
        it is no parameter of that fit, or not the same for all streamers of a joint fit).

    Raises
    ------
    TypeError
        If something else than fits is given.
    ValueError
        If there is none.

    References
    ----------
    Akaike 1974, doi:10.1109/TAC.1974.1100705; Hurvich & Tsai 1989, doi:10.1093/biomet/76.2.297; Schwarz 1978,
    doi:10.1214/aos/1176344136

    Examples
    --------
    >>> from sting import synthetic
    >>> from sting.gradient_descent import fit_streamline
    >>> points, quiet = synthetic.make_streamer_points(), {"optimizer": "lbfgs", "save_folder": None, "progress": False}
    >>> free = {name: synthetic.TRUTH[name] for name in ("r0", "phi0")}
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in free}
    >>> one = fit_streamline(free, fixed, points, 293, **quiet)
    >>> two = fit_streamline({"r0": free["r0"]}, fixed | {"phi0": free["phi0"]}, points, 293, **quiet)
    >>> compare({"phi0 free": one, "phi0 fixed": two})["fit", "n_free", "dof"].pprint()
       fit     n_free dof
    ---------- ------ ---
     phi0 free      2  18
    phi0 fixed      1  19
    """
    named = _named(results)
    fits = list(named.values())
    aicc, data = np.array([fit.aicc for fit in fits]), _data_numbers(fits)
    least = np.array([aicc[data == number].min() for number in data])
    with np.errstate(invalid="ignore"):  # where no fit has a finite one
        delta = aicc - least
    likelihood = np.exp(-np.nan_to_num(delta, nan=np.inf) / 2)
    total = np.array([likelihood[data == number].sum() for number in data])
    columns = {"fit": list(named), "data": data}
    columns |= {name: [getattr(fit, name) for fit in fits] for name in ("loss", "chi2", "n_data", "n_free", "dof")}
    columns |= {"aicc": aicc, "delta_aicc": delta, "weight": likelihood / np.where(total > 0, total, 1)}
    columns |= {name: [getattr(fit, name) for fit in fits] for name in ("bic", "success")}
    return QTable(columns | _energies(fits) | _parameters(fits))


def _named(results):
    """The fits by their names."""
    if isinstance(results, FitResult | JointResult):
        results = [results]
    try:
        named = dict(results) if hasattr(results, "items") else {f"fit {k}": fit for k, fit in enumerate(results, 1)}
    except TypeError:
        named = {"": results}
    for name, fit in named.items():
        if not isinstance(fit, FitResult | JointResult):
            refuse("results", "hold results of fits", f"{type(fit).__name__} as {name!r}", "See fit_streamline.", TypeError)
    if not named:
        refuse("results", "hold at least one fit", "none", "Write compare({'free': result, 'fixed': other}).")
    return named


def _members(fit):
    """The fits of single streamers that a fit is of."""
    return list(fit.fits.values()) if isinstance(fit, JointResult) else [fit]


def _data_numbers(fits):
    """Numbers from 1, the same for fits whose losses can be compared."""
    seen = [tuple(sorted(map(_data_of, _members(fit)))) for fit in fits]
    return np.array([1 + list(dict.fromkeys(seen)).index(what) for what in seen])


def _data_of(fit):
    return fit.settings.matching, fit.settings.loss_method, *(fit.problem[part].tobytes() for part in ("points", "sigma"))


def _energies(fits):
    found = [_common([_energy(member) for member in _members(fit)]) for fit in fits]
    return {name: u.Quantity([pair[k] for pair in found]) for k, name in enumerate(("energy", "energy_sigma"))}


def _energy(fit):
    row = next(row for row in fit.derived() if row["quantity"] == "energy")
    return tuple(row[column] * u.Unit(row["unit"]) for column in ("value", "sigma"))


def _common(pairs):
    """Value and uncertainty that all members of a fit have, or NaN."""
    value, sigma = pairs[0]
    same = all(np.isclose(other.value, value.value, rtol=1e-9, atol=0, equal_nan=True) for other, _ in pairs)
    return (value, sigma) if same else (np.nan * value.unit, np.nan * value.unit)


def _parameters(fits):
    """Columns of values and uncertainties of every parameter that any fit has."""
    columns = {}
    for name in PARAMETERS:
        if name == "deltar":  # a step of sampling
            continue
        pairs = [_common([_parameter(name, member) for member in _members(fit)]) for fit in fits]
        values, sigmas = (u.Quantity(part) for part in zip(*pairs, strict=True))
        if np.isfinite(values).any():
            columns |= {name: values, f"{name}_sigma": sigmas}
    return columns


def _parameter(name, fit):
    """Value and uncertainty of a parameter: 0 if it was fixed, NaN if the fit has no such parameter."""
    unit = PARAMETERS[name].display_unit
    value = (fit.best_opt_params | fit.fixed_params).get(name, np.nan * unit)
    zero = np.where(np.isfinite(value), 0, np.nan) * unit
    return value, fit.param_errors.get(name, zero)
