"""The figures of a fit. Each draws into ``ax`` or makes its own figure, returns the figure, and shows and saves nothing."""

import matplotlib as mpl
import numpy as np
from astropy import units as u
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from sting.parameters import PARAMETERS

__all__ = [
    "plot_loss",
    "plot_morphology",
    "plot_param_correlations",
    "plot_streamline_covariance_samples",
    "plot_vel_radius",
]

# the colour-blind-safe palette of Okabe & Ito
MODEL, DATA, STAR, SAMPLES = "#D55E00", "#000000", "#F0E442", "#56B4E9"
EMISSION = "Greys"


def _axes(ax, size):
    """Figure and axes to draw into."""
    if ax is not None:
        return ax.figure, ax
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def show(figures):
    """Show figures that were made without pyplot, in a notebook or in windows.

    Parameters
    ----------
    figures : iterable of `~matplotlib.figure.Figure`
        The figures.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        get_ipython = None
    if get_ipython is not None and get_ipython() is not None:
        from IPython.display import Image, display

        for figure in figures:
            display(Image(_png(figure)))
        return
    import matplotlib.pyplot as plt

    if mpl.get_backend().lower() == "agg":  # no screen
        return
    for figure in figures:
        number = max(plt.get_fignums(), default=0) + 1
        manager = plt._get_backend_mod().new_figure_manager_given_figure(number, figure)
        manager.show()
    plt.show()


def _png(figure):
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _density(x, y, weight, x_step, y_step):
    """Summed weight on a grid of cells, and its extent (left, right, bottom, top)."""
    edges = [np.arange(v.min() - s / 2, v.max() + s, s) for v, s in ((x, x_step), (y, y_step))]
    image, _, _ = np.histogram2d(x, y, bins=edges, weights=weight)
    return np.where(image > 0, image, np.nan).T, (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])


def _draw_density(ax, x, y, weight, x_step, y_step):
    image, extent = _density(x, y, weight, x_step, y_step)
    ax.imshow(image, origin="lower", extent=extent, aspect="auto", cmap=EMISSION, vmin=0, vmax=1.4 * np.nanmax(image), zorder=0)


def plot_morphology(result=None, streamer=None, *, ax=None, title=None, samples=None):
    """Draw the streamer and the fit on the sky, as offsets from the star.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`, optional
        The fit; None draws the data alone.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.
    samples : tuple of `~astropy.units.Quantity`, optional
        What `sting.fit_result.FitResult.sample_streamlines` returns, drawn as thin lines.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from sting import synthetic
    >>> figure = plot_morphology(streamer=synthetic.make_streamer_points())
    >>> figure.axes[0].get_xlabel()
    'RA offset (arcsec)'
    """
    figure, ax = _axes(ax, (5.2, 5.6))
    if streamer is not None:
        _draw_sky_data(ax, streamer)
    if samples is not None:
        ax.plot(samples[0].value.T, samples[1].value.T, color=SAMPLES, lw=0.5, alpha=0.35, zorder=2)
    if result is not None:
        path = result.streamline()
        ax.plot(path.ra.value, path.dec.value, color=MODEL, lw=2, label="model", zorder=4)
    ax.plot(0, 0, "*", color=STAR, mec="k", ms=15, label="star", zorder=6)
    # the window is the data's: a model may start far outside
    _limit_sky(ax, result, streamer)
    if result is not None:
        _draw_scale_bar(ax, result.distance)
    if streamer is not None and "beam" in streamer.meta:
        _draw_beam(ax, streamer.meta["beam"])
    ax.set(xlabel="RA offset (arcsec)", ylabel="Dec offset (arcsec)", title=title or "")
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return figure


def _draw_sky_data(ax, streamer):
    ra, dec, _, flux = streamer.pc_coords
    if "pixel" in streamer.meta:
        _draw_density(ax, ra, dec, flux, streamer.meta["pixel"], streamer.meta["pixel"])
    ax.errorbar(
        streamer.ra_data,
        streamer.dec_data,
        streamer.dec_sigma,
        streamer.ra_sigma,
        "o",
        color=DATA,
        ms=4,
        lw=1,
        label="data",
        zorder=5,
    )


def _limit_sky(ax, result, streamer):
    if streamer is not None:
        ra, dec = streamer.pc_coords[:2]
    else:
        path = result.streamline()
        ra, dec = path.ra.value, path.dec.value
    x, y = np.append(ra, 0), np.append(dec, 0)
    half = 0.58 * max(np.ptp(x), np.ptp(y))
    middle = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlim(middle[0] + half, middle[0] - half)  # east to the left
    ax.set_ylim(middle[1] - half, middle[1] + half)


def _draw_beam(ax, beam):
    major, minor, pa = beam
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    place = left + 0.08 * (right - left), bottom + 0.08 * (top - bottom)
    # with east to the left, a position angle east of north turns to the left on the screen
    ax.add_patch(Ellipse(place, minor, major, angle=-pa, fc="0.6", ec="k", lw=0.8, zorder=6))


def _draw_scale_bar(ax, distance):
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    width = abs(right - left) * distance.to_value(u.pc)
    length = max(step for step in (1e-9, *(b * 10.0**e for e in range(-1, 6) for b in (1, 2, 5))) if step < 0.35 * width)
    end = right + 0.06 * (left - right)
    height = bottom + 0.06 * (top - bottom)
    ax.plot([end, end + length / distance.to_value(u.pc)], [height, height], "k-", lw=2, zorder=6)
    ax.text(end + length / distance.to_value(u.pc) / 2, height + 0.015 * (top - bottom), f"{length:g} au", ha="center", zorder=6)


def plot_vel_radius(result=None, streamer=None, *, v_lsr=None, ax=None, title=None, samples=None):
    """Draw line-of-sight velocity against projected radius.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`, optional
        The fit; None draws the data alone.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.
    samples : tuple of `~astropy.units.Quantity`, optional
        What `sting.fit_result.FitResult.sample_streamlines` returns, drawn as thin lines.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from sting import synthetic
    >>> figure = plot_vel_radius(streamer=synthetic.make_streamer_points())
    >>> figure.axes[0].get_ylabel()
    'line-of-sight velocity (km/s)'
    """
    figure, ax = _axes(ax, (6.4, 4.4))
    limits = None
    if streamer is not None:
        limits = _draw_velocity_data(ax, streamer)
    if samples is not None:
        radius = np.hypot(samples[0].value, samples[1].value)
        ax.plot(radius.T, samples[2].value.T, color=SAMPLES, lw=0.5, alpha=0.35, zorder=2)
    if result is not None:
        path = result.streamline()
        ax.plot(np.hypot(path.ra.value, path.dec.value), path.velocity.value, color=MODEL, lw=2, label="model", zorder=4)
        v_lsr = (result.best_opt_params | result.fixed_params)["v_lsr"] if v_lsr is None else v_lsr
    if v_lsr is not None:
        ax.axhline(v_lsr.to_value(u.km / u.s), color="0.4", ls="--", lw=1, label="systemic", zorder=1)
    if limits is not None:
        ax.set(xlim=limits[0], ylim=limits[1])
    ax.set(xlabel="projected radius (arcsec)", ylabel="line-of-sight velocity (km/s)", title=title or "")
    ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return figure


def _draw_velocity_data(ax, streamer):
    """Draw density and points; return the limits that hold them and the star's projected position."""
    ra, dec, velocity, flux = streamer.pc_coords
    if "pixel" in streamer.meta:
        _draw_density(ax, np.hypot(ra, dec), velocity, flux, streamer.meta["pixel"], streamer.meta.get("channel", 0.1))
    r = np.hypot(streamer.ra_data, streamer.dec_data)
    r_sigma = np.hypot(streamer.ra_data * streamer.ra_sigma, streamer.dec_data * streamer.dec_sigma) / r
    ax.errorbar(r, streamer.v_data, streamer.v_sigma, r_sigma, "o", color=DATA, ms=4, lw=1, label="data", zorder=5)
    low, high = velocity.min(), velocity.max()
    margin = 0.1 * (high - low) + 0.1
    return (0, 1.05 * np.hypot(ra, dec).max()), (low - margin, high + margin)


def plot_loss(result, *, ax=None, title=None):
    """Draw the loss against the epoch.

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

    Examples
    --------
    >>> figure = plot_loss(result)  # doctest: +SKIP
    """
    figure, ax = _axes(ax, (6.4, 3.2))
    ax.plot(result.loss_history, color=DATA, lw=1.5)
    ax.plot(result.best_epoch, result.loss, "o", color=MODEL, label=f"best: {result.loss:.4g} at epoch {result.best_epoch}")
    ax.set(xlabel="epoch", ylabel="loss ($\\chi^2$ + priors)", title=title or "", yscale="log")
    ax.legend(fontsize="small")
    return figure


def plot_param_correlations(result, *, ax=None, title=None):
    """Draw the correlation matrix of the free parameters.

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

    Examples
    --------
    >>> figure = plot_param_correlations(result)  # doctest: +SKIP
    """
    figure, ax = _axes(ax, (5.6, 4.8))
    covariance = result.covariance
    sigma = np.sqrt(np.diag(covariance))
    # a parameter without a variance (at a bound, or flat) correlates with nothing: its cells stay empty
    safe = np.where(sigma > 0, sigma, np.nan)
    correlation = covariance / np.outer(safe, safe)
    image = ax.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(correlation):
        if np.isfinite(value):
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="w" if abs(value) > 0.6 else "k")
    labels = [PARAMETERS[name].tex for name in result.names]
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_title(title or "")
    figure.colorbar(image, ax=ax, label="correlation")
    return figure


def plot_streamline_covariance_samples(result, streamer=None, *, n_samples=100, v_lsr=None, seed=None):
    """Draw streamlines drawn from the covariance ("spaghetti"), on the sky and as velocity against projected radius.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    streamer : `~sting.streamer.Streamer`, optional
        The data.
    n_samples : int, optional
        Number of streamlines.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    seed : int, optional
        Seed of the draw.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> figure = plot_streamline_covariance_samples(result)  # doctest: +SKIP
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    sky, velocity = figure.subplots(1, 2, width_ratios=(1, 1.2))
    samples = result.sample_streamlines(n_samples, seed=seed)
    plot_morphology(result, streamer, ax=sky, samples=samples)
    plot_vel_radius(result, streamer, v_lsr=v_lsr, ax=velocity, samples=samples)
    return figure
