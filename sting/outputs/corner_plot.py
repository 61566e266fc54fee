"""The corner plot: every free parameter against every other."""

import numpy as np

from sting.diagnostics import unwind
from sting.messages import named_keywords, refuse, suggest
from sting.outputs.style import DATA, MODEL, Picture, axis_of
from sting.parameters import PARAMETERS

__all__ = ["plot_corner"]

#: Draws of a fit's covariance.
N_DRAWN = 4000

#: Bins of a distribution.
BINS = 30

#: Of what is held, draws differ by rounding alone.
STILL = 1e-7

#: Quantiles that are marked: the median and one sigma on both sides.
QUANTILES = (0.1587, 0.5, 0.8413)


@named_keywords
def plot_corner(result, *, fit=None, names=None, truth=None):
    """Draw all pairs of free parameters with their contours of one and two sigma, and the distribution of each.

    Parameters
    ----------
    result : `~sting.posterior.Posterior` or `~sting.fit_result.FitResult`
        Draws, or a fit, of whose covariance some are made.
    fit : `~sting.fit_result.FitResult`, optional
        A fit whose best values and sigmas are drawn over the distributions, as normal curves.
    names : list of str, optional
        Free parameters to draw, in this order; by default all. What a covariance holds at a bound is left out.
    truth : dict, optional
        Parameter name to a Quantity, marked by a line.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ImportError
        If corner, of the extra ``posterior``, is missing.
    ValueError
        If a name is not that of a free parameter.

    Examples
    --------
    >>> figure = plot_corner(result)
    >>> len(figure.axes) == len(result.names) ** 2
    True
    """
    try:
        import corner
    except ImportError as error:
        words = "plot_corner needs corner: install this package with its extra, pip install '.[posterior]' in its checkout."
        raise ImportError(words) from error
    table = result.samples if hasattr(result, "samples") else result.sample(N_DRAWN, seed=0)
    names = _names(names, result.names, table)
    draws = {n: unwind(table[n].value, 360.0) if PARAMETERS[n].period else table[n].value for n in names}
    axes = {n: axis_of(n, table[n]) for n in names}
    size = 1.9 * len(names) + 0.8
    figure = Picture(figsize=(size, size))
    corner.corner(
        np.transpose([draws[n] / axes[n][0] for n in names]),
        fig=figure,
        labels=[axes[n][1] for n in names],
        quantiles=QUANTILES,
        levels=1 - np.exp(-(np.array([1, 2]) ** 2) / 2),
        color=DATA,
        bins=BINS,
        smooth=1.0,
        plot_datapoints=False,
        label_kwargs={"fontsize": 10},
        truths=None if truth is None else [_near(draws[n], n, truth.get(n), axes[n][0]) for n in names],
        truth_color=MODEL,
        labelpad=0.02,
    )
    if fit is not None:
        _draw_fit(figure, fit, draws, axes)
    return figure


def _names(names, free, table):
    """Parameters to draw. What a covariance holds at a bound does not vary, and has no panel."""
    for name in names or ():
        if name not in free:
            refuse("names", "be free parameters", repr(name), suggest(name, list(free)))
    return [n for n in names or free if np.ptp(table[n].value) > STILL * np.abs(table[n].value).max()]


def _near(draws, name, value, scale):
    """Value of a Quantity on an axis, an angle on the turn of the draws."""
    if value is None:
        return None
    value = value.to_value(PARAMETERS[name].display_unit)
    if PARAMETERS[name].period:
        value += 360.0 * np.round((np.median(draws) - value) / 360.0)
    return value / scale


def _draw_fit(figure, fit, draws, axes):
    """Normal curves of a fit over the distributions, scaled to as many draws."""
    for i, (name, values) in enumerate(draws.items()):
        ax, scale = figure.axes[i * (len(draws) + 1)], axes[name][0]
        if name not in fit.names or not np.isfinite(fit.param_errors[name].value):
            continue
        middle, sigma = _near(values, name, fit.best_opt_params[name], scale), fit.param_errors[name].value / scale
        x = np.linspace(*ax.get_xlim(), 200)
        area = len(values) * np.ptp(values) / scale / BINS
        ax.plot(x, area * np.exp(-(((x - middle) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi)), color=MODEL)
