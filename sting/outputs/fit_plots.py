"""How a fit went and how certain it is: loss, parameters by epoch, residuals, uncertainties, correlations, samples."""

import math

import numpy as np
from astropy import units as u

from sting.diagnostics import unwind
from sting.messages import named_keywords, refuse
from sting.outputs.morphology import plot_morphology
from sting.outputs.sky import open_image, sky_wcs
from sting.outputs.style import DATA, MODEL, SAMPLES, Picture, add_legend, axis_of, new_axes, titled
from sting.outputs.velocity_plots import plot_vel_radius
from sting.parameters import PARAMETERS

__all__ = [
    "plot_loss",
    "plot_param_correlations",
    "plot_param_optimisation_history",
    "plot_param_uncertainties",
    "plot_residuals",
    "plot_streamline_covariance_samples",
]

#: Of the three residuals of a point: marker and colour.
LOOKS = (("o", DATA), ("s", MODEL), ("^", SAMPLES))


def _check_one(result, method):
    """Refuse what has no such method: draws, and joint fits as a whole."""
    if not hasattr(result, method):
        cure = "Pass the result of fit_streamline, or of a joint fit one streamer's, joint['name']."
        refuse("result", "be the fit of one streamer", type(result).__name__, cure, TypeError)


def _symbol(name):
    return axis_of(name, 1 * u.dimensionless_unscaled)[1]


@named_keywords
def plot_loss(result, *, ax=None, title=None):
    """Draw the loss against the epoch.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.joint_result.JointResult`
        The fit.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    TypeError
        If ``result`` is no fit.

    Examples
    --------
    >>> figure = plot_loss(result)
    >>> figure.axes[0].get_xlabel()
    'epoch'
    """
    if not hasattr(result, "history"):
        refuse("result", "be a fit, which has a history", repr(result), "Pass the result of fit_streamline.", TypeError)
    figure, ax = new_axes(ax, (6.4, 3.2))
    ax.plot(result.loss_history, color=DATA, lw=1.5)
    ax.plot(result.best_epoch, result.loss, "o", color=MODEL, label=f"best: {result.loss:.4g} at epoch {result.best_epoch}")
    ax.set(xlabel="epoch", ylabel="loss ($\\chi^2$ + priors)", yscale="log", **titled(title))
    add_legend(ax)
    return figure


@named_keywords
def plot_param_optimisation_history(result, *, title=None):
    """Draw the free parameters against the epoch, each in a panel of its own, with the best epoch marked.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    TypeError
        If ``result`` is no fit of one streamer.

    Examples
    --------
    >>> figure = plot_param_optimisation_history(result)
    >>> len(figure.axes)
    1
    """
    _check_one(result, "parameter_history")
    history = result.parameter_history()
    n = len(result.names)
    columns = 1 if n == 1 else 2
    rows = math.ceil(n / columns)
    figure = Picture(figsize=(3.6 * columns, 1.5 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).T.ravel()
    for ax, name in zip(axes, result.names, strict=False):
        values = history[name]
        if PARAMETERS[name].period:
            values = unwind(values.value, 360.0) * values.unit
        scale, label = axis_of(name, values)
        values = values.value / scale
        ax.plot(history["epoch"], values, color=DATA, lw=1.2)
        ax.plot(result.best_epoch, values[result.best_epoch], "o", color=MODEL, ms=5)
        ax.set_ylabel(label.replace(" ", "\n", 1))
    for ax in axes[n:]:
        ax.remove()
    for last in range(rows - 1, n, rows):
        axes[last].set_xlabel("epoch")
    axes[n - 1].set_xlabel("epoch")
    axes[n - 1].xaxis.set_tick_params(labelbottom=True)
    figure.suptitle(title or "")
    return figure


@named_keywords
def plot_residuals(result, *, ax=None, title=None):
    """Draw the residuals of the points, data minus model in units of their uncertainties, against projected radius.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    TypeError
        If ``result`` is no fit of one streamer.

    Examples
    --------
    >>> figure = plot_residuals(result)
    >>> figure.axes[0].get_ylabel()
    '(data − model) / σ'
    """
    _check_one(result, "residuals")
    figure, ax = new_axes(ax, (6.4, 3.2))
    table = result.residuals()
    *names, radius = table.colnames
    ax.axhspan(-1, 1, color="0.93", zorder=0)
    ax.axhline(0, color="0.5", lw=1, zorder=1)
    # side by side, so that those of one point do not hide each other
    step = 0.012 * np.ptp(table[radius].value)
    for k, (name, (marker, color)) in enumerate(zip(names, LOOKS, strict=True)):
        place = table[radius].value + (k - 1) * step
        chi2 = float(np.sum(np.square(table[name])))
        ax.vlines(place, 0, table[name], color=color, lw=0.8, zorder=2)
        label = f"{'RA' if name == 'ra' else name.replace('dec', 'Dec')}: $\\chi^2$ = {chi2:.3g}"
        ax.plot(place, table[name], marker, color=color, ms=5, label=label, zorder=3)
    reach = max(1.5, 1.15 * max(float(np.abs(table[name]).max()) for name in names))
    ax.set(xlabel="projected radius (arcsec)", ylabel="(data − model) / σ", ylim=(-reach, reach))
    if title is not None:
        ax.set_title(title, pad=22)
    # above the axes, where it hides no point
    ax.legend(fontsize="small", frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 0.99))
    return figure


@named_keywords
def plot_param_uncertainties(result, *, ax=None, title=None):
    """Draw the interval of each free parameter in units of its plain uncertainty, beside its value.

    Of a fit: the thick bars are the plain uncertainties, the lines the intervals of the profile likelihood, with an arrow where
    there is no end. Of a posterior: the line holds the central 68.27 per cent of the draws, the bar is their standard deviation.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`
        The fit or the draws.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> figure = plot_param_uncertainties(result)
    >>> figure.axes[0].get_xlabel()
    'deviation from the best value (σ)'
    """
    rows = _intervals(result)
    figure, ax = new_axes(ax, (6.4, 0.36 * len(rows) + 1.0))
    limit = 3.4
    for y, (name, (value, lower, upper, sigma)) in enumerate(rows.items()):
        half = _half(value, lower, upper)
        # at a bound, and where nothing holds it, sigma says nothing
        plain = np.isfinite(sigma) and 3 * sigma > half
        scale = sigma if plain else half
        if plain:
            ax.barh(y, 2, left=-1, height=0.5, color=SAMPLES, alpha=0.45, lw=0, zorder=1)
        ends = [np.clip((end - value.value) / scale, -limit, limit) for end in (lower, upper)]
        ax.plot(ends, [y, y], color=DATA, lw=1.4, zorder=2)
        for end, sign, marker in zip(ends, (-1, 1), "<>", strict=True):
            beyond = sign * end >= limit
            ax.plot(end, y, marker if beyond else "|", color=DATA, ms=6 if beyond else 9, mew=1.4, zorder=3)
        ax.plot(0, y, "o", color=MODEL, ms=5, zorder=4)
        ax.text(
            1.02, y, _words(name, value, lower, upper, half), transform=ax.get_yaxis_transform(), va="center", fontsize="small"
        )
    ax.axvline(0, color="0.6", lw=0.8, zorder=0)
    ax.set_yticks(range(len(rows)), [_symbol(name) for name in rows])
    middle = "median" if hasattr(result, "convergence") else "best value"
    ax.set(xlim=(-limit * 1.06, limit * 1.06), ylim=(len(rows) - 0.5, -0.5), xlabel=f"deviation from the {middle} (σ)")
    if title is not None:
        ax.set_title(title)
    return figure


def _words(name, value, lower, upper, half):
    """Value and interval, in the unit that a figure has, to a tenth of half the interval."""
    scale, label = axis_of(name, u.Quantity([value.value, lower, upper], value.unit))
    digits = int(np.clip(1 - np.floor(np.log10(half / scale)), 0, 8))
    number, *ends = (f"{v / scale:.{digits}f}".replace("inf", "∞") for v in (value.value, lower, upper))
    return f"{number} ({', '.join(ends)}) {label.partition('(')[2].removesuffix(')')}"


def _half(value, lower, upper):
    """Larger side of an interval, as far as it has an end."""
    sides = [abs(end - value.value) for end in (lower, upper) if np.isfinite(end)]
    return max(sides, default=0) or 1.0


def _intervals(result):
    """Of each free parameter value (a Quantity), ends and sigma (in its unit)."""
    if hasattr(result, "convergence"):
        table = result.to_table()
        return {
            row["parameter"]: (row["median"] * u.Unit(row["unit"]), row["lower"], row["upper"], row["sigma"]) for row in table
        }
    errors = {name: error.value for name, error in result.param_errors.items()}
    if None in result.near_gaussian.values():  # of a joint fit there are no profiles
        best = result.best_opt_params
        return {name: (best[name], best[name].value - s, best[name].value + s, s) for name, s in errors.items()}
    return {
        str(row["quantity"]): (row["value"] * u.Unit(row["unit"]), row["lower"], row["upper"], errors[row["quantity"]])
        for row in result.intervals(progress=False)
    }


@named_keywords
def plot_param_correlations(result, *, ax=None, title=None):
    """Draw the correlation matrix of the free parameters.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`, `~sting.joint_result.JointResult` or `~sting.posterior.Posterior`
        The fit or the draws.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> figure = plot_param_correlations(result)
    >>> figure.axes[1].get_ylabel()
    'correlation'
    """
    names = list(result.names)
    size = 1.2 + 0.62 * max(len(names), 4)
    figure, ax = new_axes(ax, (size + 1.0, size))
    covariance = result.covariance
    sigma = np.sqrt(np.diag(covariance))
    # a parameter without a variance (at a bound, or flat) correlates with nothing: its cells stay empty
    safe = np.where(sigma > 0, sigma, np.nan)
    correlation = covariance / np.outer(safe, safe)
    image = ax.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(correlation):
        if np.isfinite(value):
            text = ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8)
            text.set(color="w" if abs(value) > 0.6 else "k", in_layout=False)
    labels = [_symbol(name) for name in names]
    ax.set_xticks(range(len(labels)), labels, **({"rotation": 90} if max(map(len, names)) > 8 else {}))
    ax.set_yticks(range(len(labels)), labels)
    if title is not None:
        ax.set_title(title)
    figure.colorbar(image, ax=ax, label="correlation", shrink=0.85)
    return figure


@named_keywords
def plot_streamline_covariance_samples(result, streamer=None, *, n_samples=100, v_lsr=None, seed=None, image=None, title=None):
    """Draw streamlines drawn from the covariance or the posterior ("spaghetti"), on the sky and as velocity against radius.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`
        The fit, or draws.
    streamer : `~sting.streamer.Streamer`, optional
        The data.
    n_samples : int, optional
        Number of streamlines.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    seed : int, optional
        Seed of the draw.
    image : `~spectral_cube.lower_dimensional_structures.Projection`, HDU, str or path-like, optional
        A map to draw under the data, see `plot_morphology`.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> figure = plot_streamline_covariance_samples(result, n_samples=20, seed=1)
    >>> len(figure.axes)
    2
    """
    image = open_image(image)
    figure = Picture(figsize=(11 if image is None else 12, 5), layout="constrained")
    figure.get_layout_engine().set(wspace=0.04)
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.2))
    wcs = sky_wcs(image, streamer)
    sky = figure.add_subplot(grid[0], **({} if wcs is None else {"projection": wcs}))
    samples = result.sample_streamlines(n_samples, seed=seed)
    plot_morphology(result, streamer, image=image, ax=sky, samples=samples)
    plot_vel_radius(result, streamer, v_lsr=v_lsr, ax=figure.add_subplot(grid[1]), samples=samples)
    figure.suptitle(title or "")
    return figure
