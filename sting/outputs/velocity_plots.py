"""Velocity against an offset from the star, or against the projected distance from it."""

import numpy as np
from astropy import units as u

from sting.messages import named_keywords
from sting.outputs.style import MODEL, POINTS, add_legend, density, draw_density, draw_samples, model_of, new_axes, titled

__all__ = ["plot_dec_vel", "plot_ra_vel", "plot_vel_radius"]

KMS = u.km / u.s


@named_keywords
def plot_ra_vel(result=None, streamer=None, *, v_lsr=None, samples=None, ax=None, title=None):
    """Draw line-of-sight velocity against RA offset.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`, optional
        The fit, or draws, whose middle is drawn; None draws the data alone.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    samples : tuple of `~astropy.units.Quantity`, optional
        What `sting.fit_result.FitResult.sample_streamlines` returns, drawn as thin lines.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from sting import synthetic
    >>> figure = plot_ra_vel(streamer=synthetic.make_streamer_points())
    >>> figure.axes[0].get_xlabel()
    'RA offset (arcsec)'
    """
    return _draw("ra", result, streamer, v_lsr, samples, ax, title)


@named_keywords
def plot_dec_vel(result=None, streamer=None, *, v_lsr=None, samples=None, ax=None, title=None):
    """Draw line-of-sight velocity against Dec offset.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`, optional
        The fit, or draws, whose middle is drawn; None draws the data alone.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    samples : tuple of `~astropy.units.Quantity`, optional
        What `sting.fit_result.FitResult.sample_streamlines` returns, drawn as thin lines.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> from sting import synthetic
    >>> figure = plot_dec_vel(streamer=synthetic.make_streamer_points())
    >>> figure.axes[0].get_xlabel()
    'Dec offset (arcsec)'
    """
    return _draw("dec", result, streamer, v_lsr, samples, ax, title)


@named_keywords
def plot_vel_radius(result=None, streamer=None, *, v_lsr=None, samples=None, ax=None, title=None):
    """Draw line-of-sight velocity against projected radius.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`, optional
        The fit, or draws, whose middle is drawn; None draws the data alone.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    samples : tuple of `~astropy.units.Quantity`, optional
        What `sting.fit_result.FitResult.sample_streamlines` returns, drawn as thin lines.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

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
    return _draw("radius", result, streamer, v_lsr, samples, ax, title)


#: What is along the abscissa: label, value of offsets, and its uncertainty.
_ABSCISSAE = {
    "ra": ("RA offset (arcsec)", lambda ra, dec: ra, lambda s: s.ra_sigma),
    "dec": ("Dec offset (arcsec)", lambda ra, dec: dec, lambda s: s.dec_sigma),
    "radius": ("projected radius (arcsec)", np.hypot, lambda s: _radius_sigma(s)),
}


def _radius_sigma(streamer):
    ra, dec = streamer.ra_data, streamer.dec_data
    return np.hypot(ra * streamer.ra_sigma, dec * streamer.dec_sigma) / np.hypot(ra, dec)


def _draw(abscissa, result, streamer, v_lsr, samples, ax, title):
    label, value, _ = _ABSCISSAE[abscissa]
    figure, ax = new_axes(ax, (6.4, 4.4))
    if streamer is not None:
        _draw_data(ax, streamer, abscissa)
    if samples is not None:
        x = value(samples[0].value, samples[1].value)
        draw_samples(ax, x, samples[2].value)
    if result is not None:
        path = result.streamline()
        x = value(path.ra.value, path.dec.value)
        ax.plot(x, path.velocity.value, color=MODEL, lw=2, label=model_of(result), zorder=4)
        v_lsr = (result.best_opt_params | result.fixed_params)["v_lsr"] if v_lsr is None else v_lsr
    if v_lsr is not None:
        level = u.Quantity(v_lsr, KMS).value
        ax.axhline(level, color="0.4", ls="--", lw=1, label="systemic", zorder=1)
    if abscissa != "radius":
        ax.axvline(0, color="0.4", ls=":", lw=1, label="star", zorder=1)
    _limit(ax, streamer, abscissa)
    if abscissa == "ra" and not ax.xaxis_inverted():
        ax.invert_xaxis()  # east to the left, as on the sky
    ax.set(xlabel=label, ylabel="line-of-sight velocity (km/s)", **titled(title))
    add_legend(ax)
    return figure


def _draw_data(ax, streamer, abscissa):
    """Draw the density of the voxels, and the points."""
    _, value, sigma = _ABSCISSAE[abscissa]
    ra, dec, velocity, flux = streamer.pc_coords
    if "pixel" in streamer.meta:
        cell = streamer.meta["pixel"], streamer.meta.get("channel", 0.1)
        draw_density(ax, *density(value(ra, dec), velocity, flux, *cell))
    ax.errorbar(
        value(streamer.ra_data, streamer.dec_data), streamer.v_data, streamer.v_sigma, sigma(streamer), **POINTS, label="data"
    )


def _limit(ax, streamer, abscissa):
    """Show the data, and the star where it has a place: a model may start far outside, and end at great speed."""
    if streamer is None:
        return
    ra, dec, velocity, _ = streamer.pc_coords
    x = np.append(_ABSCISSAE[abscissa][1](ra, dec), 0)
    low, high = velocity.min(), velocity.max()
    margin, side = 0.1 * (high - low) + 0.1, 0.05 * np.ptp(x)
    left = 0 if abscissa == "radius" else x.min() - side
    ax.set(xlim=(left, x.max() + side), ylim=(low - margin, high + margin))
