"""The figure of a position-velocity cut. As all figures: it returns the figure, and shows and saves nothing."""

import numpy as np
from astropy import units as u

from sting.outputs.style import DATA, EMISSION, MODEL, STAR, add_legend, intensity_label, new_axes, titled

__all__ = ["plot_pv_cut"]

KMS = u.km / u.s


def plot_pv_cut(cut, streamer=None, streamline=None, *, v_lsr=None, ax=None, title=None):
    """Draw a position-velocity cut, with the points of a streamer and a model streamline over it.

    With a streamer, the velocities around its voxels are shown, without one all. Points and model are drawn at the nearest place
    on the path. What lies outside the strip that the image averages is drawn faintly: hollow points, a dotted line. The cross in
    the corner is the resolution: the beam (the geometric mean of its axes) and the channel.

    Parameters
    ----------
    cut : `~sting.position_velocity.PVCut`
        The cut.
    streamer : `~sting.streamer.Streamer`, optional
        Points with their uncertainties to draw.
    streamline : `~sting.stream_lines_grad.Streamline`, optional
        Model to draw, for example ``result.streamline()``.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw.
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
    >>> from sting.position_velocity import pv_cut
    >>> from sting.stream_lines_grad import streamline
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> model = streamline(scene.truth, distance=scene.distance)
    >>> figure = plot_pv_cut(pv_cut(scene.cube, model, scene.star_position), streamline=model)
    >>> figure.axes[0].get_xlabel()
    'offset along the path (arcsec)'
    """
    figure, ax = new_axes(ax, (6.4, 4.6))
    image = _draw_image(ax, cut)
    limits = ax.get_xlim(), _velocities(ax.get_ylim(), cut, streamer)
    if v_lsr is not None:
        level = v_lsr.to_value(KMS)
        ax.axhline(level, color="0.4", ls="--", lw=1, label="systemic", zorder=1)
        ax.plot(0, level, "*", color=STAR, mec="k", ms=13, label="star", zorder=6, clip_on=False)
    if streamline is not None:
        _draw_model(ax, cut, streamline)
    if streamer is not None:
        _draw_points(ax, cut, streamer)
    _draw_resolution(ax, cut, limits)
    ax.set(xlim=limits[0], ylim=limits[1], **titled(title))
    ax.set(xlabel="offset along the path (arcsec)", ylabel="line-of-sight velocity (km/s)")
    add_legend(ax)
    figure.colorbar(image, ax=ax, label=intensity_label(cut.image.unit, "mean intensity"))
    return figure


def _velocities(limits, cut, streamer):
    """Velocities to show: those around the streamer, if there is one, of what the cut has."""
    if streamer is None:
        return limits
    low, high = streamer.pc_coords[2].min(), streamer.pc_coords[2].max()
    margin = max(0.5 * (high - low), 5 * cut.meta["channel"])
    return max(limits[0], low - margin), min(limits[1], high + margin)


def _draw_image(ax, cut):
    """Draw the image, velocity upwards whatever the order of the channels."""
    rising = slice(None, None, 1 if cut.velocity[-1] >= cut.velocity[0] else -1)
    velocity, half = cut.velocity.value[rising], cut.meta["channel"] / 2
    left, right = cut.offset.value[0] - cut.spacing.value / 2, cut.offset.value[-1] + cut.spacing.value / 2
    return ax.imshow(
        cut.image.value[rising],
        origin="lower",
        extent=(left, right, velocity[0] - half, velocity[-1] + half),
        aspect="auto",
        interpolation="nearest",
        cmap=EMISSION,
        vmin=0,
        vmax=max(cut.image.value.max(where=cut.image.value > 0, initial=0), 1e-30),
        zorder=0,
    )


def _draw_model(ax, cut, streamline):
    offset, distance = cut.project(streamline.ra, streamline.dec)
    offset, inside = offset.value, distance <= cut.width / 2
    velocity = streamline.velocity.to_value(KMS)
    ax.plot(offset, velocity, ":", color=MODEL, lw=1, zorder=3)
    ax.plot(offset, np.where(inside, velocity, np.nan), color=MODEL, lw=2, label="model", zorder=4)


def _draw_points(ax, cut, streamer):
    place = streamer.ra_data, streamer.dec_data
    offset, distance = cut.project(*place)
    sigma = cut.project_sigma(*place, streamer.ra_sigma, streamer.dec_sigma)
    inside = distance <= cut.width / 2
    for some, face, label in ((inside, DATA, "data"), (~inside, "none", "data, outside the strip")):
        if some.any():
            x, y, dx, dy = (v[some] for v in (offset.value, streamer.v_data, sigma.value, streamer.v_sigma))
            ax.errorbar(x, y, dy, dx, "o", color=DATA, mfc=face, ms=4.5, lw=1.2, label=label, zorder=5)


def _draw_resolution(ax, cut, limits):
    """Draw beam and channel as a cross at the lower right: at the star, on the left, a model goes far from v_lsr."""
    if "beam" not in cut.meta:
        return
    (left, right), (bottom, top) = limits
    beam, channel = np.sqrt(cut.meta["beam"][0] * cut.meta["beam"][1]), cut.meta["channel"]
    x, y = right - 0.04 * (right - left) - beam / 2, bottom + 0.03 * (top - bottom) + channel / 2
    # lines, which the legend keeps clear of
    ax.plot([x - beam / 2, x + beam / 2], [y, y], "k-", lw=1.2, zorder=6)
    ax.plot([x, x], [y - channel / 2, y + channel / 2], "k-", lw=1.2, zorder=6)
