"""How many Gaussians a spectrum holds: one more at a time, each where the residual asks for it, and those of its neighbours."""

from dataclasses import dataclass

import numpy as np

from sting.isolate.gaussians import adapt, errors_of, fit_all, in_chunks, strongest

__all__ = []

#: What a residual must hold, in units of the noise, for one more component to be tried; and how far below the least line.
TRIED, NEARLY = 2.5, 0.9

#: Halves of a component that is split: their distance from its centre, and their width, in units of its own.
SPLIT_DISTANCE, SPLIT_WIDTH = 0.8, 0.6

#: How far chi2 lies above what noise gives, in standard deviations, for a fit to be poor.
POOR = 2.0

#: By how much chi2 must be lower for another fit of as many components to be better.
BETTER = 0.1


@dataclass(frozen=True)
class Rules:
    """What a component may be, and what must be gained by it.

    ``x`` are the velocities in channels, ``bounds`` the smallest and largest amplitude, centroid and width (2, 3), ``filters``
    those of `strongest`, ``least_amplitude`` and ``least_line`` the smallest amplitude and line in units of the noise.
    """

    x: np.ndarray
    bounds: np.ndarray
    filters: dict
    max_components: int
    least_amplitude: float
    least_line: float


def aicc(loss, n_components, n_values):
    """Akaike's criterion for small samples: chi2 and its penalty, infinite where there are too few values."""
    k = 3 * np.asarray(n_components)
    room = n_values - k - 1
    return np.where(room > 0, loss + 2 * k + 2 * k * (k + 1) / np.maximum(room, 1), np.where(k == 0, loss, np.inf))


def cost(loss, n_components, n_values, rules):
    """What the number of components is chosen by: AICc, but at least the square of the least line for each component."""
    price = np.zeros(np.shape(loss))
    for n in range(1, rules.max_components + 1):
        with np.errstate(invalid="ignore"):
            more = aicc(0.0, n, n_values) - aicc(0.0, n - 1, n_values)
        more = np.where(np.isnan(more), np.inf, np.maximum(more, rules.least_line**2))
        price = np.where(n_components >= n, price + more, price)
    return loss + price


def lines_of(fit, curvature):
    """Signal to noise of whole lines (m, k): the root of what chi2 would rise by without one, if it were alone."""
    return fit[..., 0] * np.sqrt(np.einsum("mii->mi", curvature)[:, ::3])


def are_significant(found, rules):
    """Whether all components of each fit are as bright as is asked for."""
    bright = found["fit"][..., 0] >= rules.least_amplitude
    return (bright & (lines_of(found["fit"], found["curvature"]) >= rules.least_line)).all(axis=1)


def empty(n_spectra, rules):
    """What `grow` finds, before it has found any."""
    k = rules.max_components
    return {
        "n": np.zeros(n_spectra, int),
        "fit": np.zeros((n_spectra, k, 3)),
        "errors": np.zeros((n_spectra, k, 3)),
        "line": np.zeros((n_spectra, k)),
        "loss": np.zeros(n_spectra),
        "n_values": np.zeros(n_spectra, int),
    }


def _keep(best, rows, found):
    """Write fits into the rows of what is best."""
    n = found["fit"].shape[1]
    best["n"][rows], best["loss"][rows] = n, found["loss"]
    for name, value in (
        ("fit", found["fit"]),
        ("errors", errors_of(found["curvature"])),
        ("line", lines_of(found["fit"], found["curvature"])),
    ):
        best[name][rows] = 0
        best[name][rows, :n] = value


def split(fits):
    """Fits whose broadest component is two."""
    rows, broadest = np.arange(len(fits)), np.argmax(fits[..., 2], axis=1)
    amplitude, centroid, width = fits[rows, broadest].T
    halves = [
        np.stack([0.8 * amplitude, centroid + side * SPLIT_DISTANCE * width, SPLIT_WIDTH * width], axis=1) for side in (-1, 1)
    ]
    found = np.concatenate([fits, halves[1][:, None]], axis=1)
    found[rows, broadest] = halves[0]
    return found


def _improve(found, rows, others):
    """Take other fits of some rows where chi2 is lower."""
    lower = others["loss"] < found["loss"][rows]
    for name, value in others.items():
        found[name][rows[lower]] = value[lower]


def is_poor(loss, n_values, n_components):
    """Whether chi2 of each fit lies well above what noise gives."""
    freedom = np.maximum(n_values - 3 * n_components, 1)
    return loss > freedom + POOR * np.sqrt(2 * freedom)


def grow(spectra, rules):
    """Find the components of spectra, each by itself.

    Parameters
    ----------
    spectra : `~numpy.ndarray`
        Spectra (m, n) in units of their noise, NaN where they have no value.
    rules : Rules
        What a component may be.

    Returns
    -------
    dict
        ``n`` (the number of components of each), ``fit`` and ``errors`` (m, k, 3), ``line`` (m, k; signal to noise of each line),
        ``loss`` (chi2) and ``n_values``.
    """
    best = empty(len(spectra), rules)
    best["n_values"] = np.isfinite(spectra).sum(axis=1)
    best["loss"] = np.nansum(spectra**2, axis=1)
    live = np.arange(len(spectra))
    for n in range(1, rules.max_components + 1):
        if not len(live):
            break
        left = spectra[live]
        fits = best["fit"][live, : n - 1]
        seeds, gain = in_chunks(strongest, (fits, left), rules.x, rules.filters)
        tried = gain >= (TRIED if n > 1 else NEARLY * rules.least_line) ** 2
        live, left, fits, seeds = live[tried], left[tried], fits[tried], seeds[tried]
        if not len(live):
            break
        n_values, before = best["n_values"][live], cost(best["loss"][live], n - 1, best["n_values"][live], rules)

        def is_better(found, n=n, n_values=n_values, before=before):
            return (cost(found["loss"], n, n_values, rules) < before) & are_significant(found, rules)

        found = fit_all(np.concatenate([fits, seeds[:, None]], axis=1), left, rules.x, rules.bounds)
        kept = is_better(found)
        if n > 1:
            again = np.flatnonzero(~kept | is_poor(found["loss"], n_values, n))
            if len(again):
                _improve(found, again, fit_all(split(fits[again]), left[again], rules.x, rules.bounds))
                kept = is_better(found)
        live = live[kept]
        _keep(best, live, {name: value[kept] for name, value in found.items()})
    return best


def adopt(spectra, best, others, rules):
    """Fit spectra anew from the components of their neighbours, where that may help, and keep what is better.

    It may help where a neighbour has more components, or where the fit is poor. Of the neighbours of a spectrum that have as many
    components, the one is tried whose components, with amplitudes for this spectrum, fit it best.

    Parameters
    ----------
    spectra : `~numpy.ndarray`
        Spectra (m, n) in units of their noise.
    best : dict
        What `grow` has found of them; changed in place.
    others : tuple of `~numpy.ndarray`
        Of the neighbours of each spectrum the numbers of components (m, q) and the components (m, q, k, 3).
    rules : Rules
        What a component may be.

    Returns
    -------
    `~numpy.ndarray`
        Which spectra have another fit now, (m,).
    """
    numbers, components = others
    changed = np.zeros(len(spectra), bool)
    for n in range(1, rules.max_components + 1):
        may_help = (best["n"] < n) | is_poor(best["loss"], best["n_values"], best["n"])
        rows, which = np.nonzero((numbers == n) & may_help[:, None])
        if not len(rows):
            continue
        fits, loss = in_chunks(adapt, (components[rows, which, :n], spectra[rows]), rules.x)
        # the best of each spectrum comes first
        order = np.lexsort((loss, rows))
        rows, first = np.unique(rows[order], return_index=True)
        found = fit_all(fits[order][first], spectra[rows], rules.x, rules.bounds)
        n_values = best["n_values"][rows]
        before = cost(best["loss"][rows], best["n"][rows], n_values, rules)
        kept = (cost(found["loss"], n, n_values, rules) < before - BETTER) & are_significant(found, rules)
        _keep(best, rows[kept], {name: value[kept] for name, value in found.items()})
        changed[rows[kept]] = True
    return changed
