"""What papers quote of a posterior besides its parameters: elements of the orbit and mass infall rates, by percentiles."""

import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.derived import BEYOND, DERIVED, ENDS, START, axis_words, check_bins, check_mass
from sting.evaluations import elements_of, times_of
from sting.messages import check_choice, check_level, refuse

__all__ = []

_PER_YEAR = u.Msun / u.yr


def _percentiles(draws, level):
    """Median and the ends of the interval that leaves equal parts on both sides, over the first axis; NaN is left out."""
    draws = np.asarray(draws)
    found = np.full((3, *draws.shape[1:]), np.nan)
    some = np.isfinite(draws).any(axis=0)
    found[:, some] = np.nanquantile(draws[:, some], [0.5, (1 - level) / 2, (1 + level) / 2], axis=0)
    return found


def interval_table(draws, level):
    """Tabulate percentiles, mean and standard deviation of draws by name.

    Parameters
    ----------
    draws : dict of `~numpy.ndarray`
        Each of shape (m,).
    level : float
        Probability of the interval.

    Returns
    -------
    `~astropy.table.QTable`
        Columns ``name``, ``median``, ``lower``, ``upper``, ``mean`` and ``sigma``.
    """
    level = check_level(level)
    columns = np.transpose([[*_percentiles(values, level), np.mean(values), np.std(values)] for values in draws.values()])
    names = ("median", "lower", "upper", "mean", "sigma")
    return QTable({"name": list(draws)} | dict(zip(names, columns, strict=True)))


def derived_of_draws(posterior, level):
    """Tabulate the elements of the orbits of draws: what `~sting.posterior.Posterior.derived` returns.

    Parameters
    ----------
    posterior : `~sting.posterior.Posterior`
        The draws.
    level : float
        Probability of the intervals.

    Returns
    -------
    `~astropy.table.QTable`
    """
    found, beyond = elements_of(posterior.flat, posterior.problem, posterior.settings)
    table = interval_table({name: np.asarray(found[name]) for name in DERIVED}, level)
    table.rename_column("name", "quantity")
    table["unit"] = [unit.to_string() for unit, _, _ in DERIVED.values()]
    table["any_axis"] = [any_axis for _, any_axis, _ in DERIVED.values()]
    mostly = {name: np.mean(values) > 0.5 for name, values in beyond.items()}
    table["description"] = [text + (BEYOND if mostly.get(n) else "") for n, (_, _, text) in DERIVED.items()]
    table.meta = {
        "level": level,
        "bound": f"The orbit is bound with probability {np.mean(np.asarray(found['energy']) < 0):.3g}.",
        "axis": f"Rows with any_axis False hold {axis_words(posterior)} {START}",
    }
    return table


def _mass_draws(mass, mass_sigma, n):
    """Masses (Msun) of shape (n, ...), normal and positive."""
    if not mass_sigma.value.any():
        return np.broadcast_to(mass.to_value(u.Msun), (n, *mass.shape))
    drawn = np.random.default_rng(0).standard_normal((n, *mass.shape))
    return np.abs(mass.to_value(u.Msun) + mass_sigma.to_value(u.Msun) * drawn)


def _rates(outer, inner, mass, times, masses, level):
    """Table of times and rates with their intervals; ``times`` and ``masses`` of shape (m, n)."""
    columns = {"outer": outer, "inner": inner, "mass": np.atleast_1d(mass)}
    for name, draws, unit in (("time", times, u.yr), ("rate", masses / times, _PER_YEAR)):
        columns |= dict(zip((name, f"{name}_lower", f"{name}_upper"), _percentiles(draws, level) * unit, strict=True))
    return QTable(columns)


def rate_of_draws(posterior, mass, mass_sigma, to, level):
    """Mass infall rate of draws, what `~sting.posterior.Posterior.infall_rate` returns.

    Parameters
    ----------
    posterior : `~sting.posterior.Posterior`
        The draws.
    mass, mass_sigma : `~astropy.units.Quantity`
        Mass of the streamer and its uncertainty or None.
    to : {"rc", "midplane", "periastron"}
        Where the fall ends.
    level : float
        Probability of the intervals.

    Returns
    -------
    `~astropy.table.QTable`
    """
    check_choice("to", to, tuple(ENDS))
    level, (mass, mass_sigma) = check_level(level), check_mass(mass, mass_sigma, (), u.Msun)
    found, _ = elements_of(posterior.flat, posterior.problem, posterior.settings)
    times = np.asarray(found[f"time_to_{to}"])[:, None]
    outer, inner = (np.median(np.asarray(found[radius]))[None] * u.au for radius in ("r0", ENDS[to]))
    table = _rates(outer, inner, mass, times, _mass_draws(mass[None], mass_sigma[None], len(times)), level)
    table.meta = {
        "definition": f"mass / time from r0 to {to}; outer and inner are medians",
        "axis": f"The time holds {axis_words(posterior)}",
        "level": level,
    }
    return table


def rate_profile_of_draws(posterior, edges, mass, mass_sigma, level):
    """Mass infall rate along the streamlines of draws, what `~sting.posterior.Posterior.infall_rate_profile` returns.

    Parameters
    ----------
    posterior : `~sting.posterior.Posterior`
        The draws.
    edges : `~astropy.units.Quantity`
        Edges of the bins, distances from the star in space, shape (n + 1,).
    mass, mass_sigma : `~astropy.units.Quantity`
        Mass of each bin, or for each unit of ``edges``, and its uncertainty or None, shape (n,).
    level : float
        Probability of the intervals.

    Returns
    -------
    `~astropy.table.QTable`
    """
    level, (edges, mass, mass_sigma, order) = check_level(level), check_bins(edges, mass, mass_sigma)
    if edges.unit != u.au:
        refuse("edges", "be distances in space, such as au", edges, "Take FitResult.infall_rate_profile for angles on the sky.")
    times = np.asarray(times_of(posterior.flat, posterior.problem, posterior.settings, edges.value))
    table = _rates(edges[:-1], edges[1:], mass, times, _mass_draws(mass, mass_sigma, len(times)), level)
    table["fraction"] = np.isfinite(times).mean(axis=0)
    table = table[order]
    table.meta = {
        "definition": "mass in the bin / time to cross it, of the fraction of the draws whose paths reach both edges",
        "axis": "The times hold for every rotation axis that fits as well.",
        "level": level,
    }
    return table
