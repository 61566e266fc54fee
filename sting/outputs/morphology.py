"""The streamer and the fit on the sky."""

from sting.extract_streamline import sample_metric_boundaries
from sting.messages import named_keywords
from sting.outputs.sky import (
    check_star,
    draw_beam,
    draw_image,
    draw_scale_bar,
    image_label,
    label_sky,
    offset_transform,
    open_image,
    places_of,
    set_window,
    sky_wcs,
    window_of,
    window_shown,
)
from sting.outputs.style import (
    MODEL,
    POINTS,
    STAR,
    add_legend,
    density,
    draw_density,
    draw_samples,
    model_of,
    new_axes,
)

__all__ = ["plot_metric_boundaries", "plot_morphology"]

#: Size in inches of a figure without and with a colour bar.
SIZE, SIZE_WITH_BAR = (5.2, 5.0), (6.0, 5.0)


@named_keywords
def plot_morphology(
    result=None,
    streamer=None,
    *,
    image=None,
    star_position=None,
    samples=None,
    boundaries=False,
    ax=None,
    title=None,
):
    """Draw the streamer and the fit on the sky.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`, optional
        The fit, or draws, whose middle is drawn; None draws the data alone.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    image : `~spectral_cube.lower_dimensional_structures.Projection`, HDU, str or path-like, optional
        A map with celestial coordinates to draw under the data, for example ``cube.moment0()``; by default the voxels of the
        streamer are summed.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Position of the star; by default the streamer's.
    samples : tuple of `~astropy.units.Quantity`, optional
        What `sting.fit_result.FitResult.sample_streamlines` returns, drawn as thin lines.
    boundaries : bool, optional
        Whether to draw the boundaries of the bins of which the points were made, see
        `~sting.extract_streamline.sample_metric_boundaries`.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw into: those of astropy, ``projection=wcs``, which keep their window if they show an image already; or plain
        ones, for offsets in arcsec. By default a new figure, of the sky if the position of the star is known.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If ``image`` is no map with celestial coordinates, or the position of the star is needed and not known.
    TypeError
        If ``star_position`` is no position.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> figure = plot_morphology(image=scene.cube.moment0(), star_position=scene.star_position)
    >>> figure.axes[0].get_xlabel()
    'Right ascension (J2000)'
    >>> plot_morphology(streamer=synthetic.make_streamer_points()).axes[0].get_xlabel()
    'RA offset (arcsec)'
    """
    image = open_image(image)
    star = check_star(star_position, None if streamer is None else streamer.star_position)
    wcs = sky_wcs(image, streamer, star)
    figure, ax = new_axes(ax, SIZE if image is None else SIZE_WITH_BAR, **({} if wcs is None else {"projection": wcs}))
    transform = offset_transform(ax, star)
    shown = window_shown(ax, transform) if ax.images or ax.collections else None
    field = () if image is None else (star, image.wcs, image.values.shape)
    places = places_of(None if result is None else result.streamline(), streamer, *field)
    window = shown or window_of(*places)
    if image is not None:
        figure.colorbar(draw_image(ax, image, star), ax=ax, pad=0.02, label=image_label(image))
    _draw_sky(ax, transform, result, streamer, samples, has_image=image is not None or shown is not None)
    if boundaries and streamer is not None:
        plot_metric_boundaries(ax, streamer)
    set_window(ax, window, transform)
    draw_scale_bar(ax, getattr(result, "distance", None), window, transform)
    draw_beam(ax, _beam(image, streamer), window, transform)
    label_sky(ax, title)
    add_legend(ax)
    return figure


def _draw_sky(ax, transform, result, streamer, samples, *, has_image):
    """Draw data, model, samples and star by their offsets."""
    if streamer is not None:
        ra, dec, _, flux = streamer.pc_coords
        if "pixel" in streamer.meta and not has_image:
            draw_density(ax, *density(ra, dec, flux, streamer.meta["pixel"], streamer.meta["pixel"]), transform)
        places = streamer.ra_data, streamer.dec_data, streamer.dec_sigma, streamer.ra_sigma
        ax.errorbar(*places, **POINTS, label="data", transform=transform)
    if samples is not None:
        draw_samples(ax, samples[0].value, samples[1].value, transform)
    if result is not None:
        path = result.streamline()
        ax.plot(path.ra.value, path.dec.value, color=MODEL, lw=2, label=model_of(result), zorder=4, transform=transform)
    ax.plot(0, 0, "*", color=STAR, mec="k", ms=15, label="star", zorder=6, transform=transform)


def _beam(image, streamer):
    """Axes of the beam of what is shown, or None."""
    if image is not None:
        return image.beam
    return None if streamer is None else streamer.meta.get("beam")


@named_keywords
def plot_metric_boundaries(ax, streamer, *, color="0.35", linewidth=0.8, label="bins", n_samples=61):
    """Draw the boundaries of the bins of which the points of a streamer were made.

    Parameters
    ----------
    ax : `~matplotlib.axes.Axes`
        Axes to draw into, as of `plot_morphology`.
    streamer : `~sting.streamer.Streamer`
        Points that `~sting.extract_streamline.reduce_to_1D` made with ``ordering="distance"``.
    color : color, optional
        Colour of the lines.
    linewidth : float, optional
        Their width in points.
    label : str, optional
        Their name in the legend.
    n_samples : int, optional
        Number of points of each line.

    Returns
    -------
    list of `~matplotlib.lines.Line2D`

    Raises
    ------
    ValueError
        If the streamer does not know its boundaries.

    Examples
    --------
    >>> from sting import reduce_to_1D, extract_streamer_subcube, synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> streamer = reduce_to_1D(extract_streamer_subcube(scene.cube, rms_thresh=5), scene.star_position)
    >>> figure = plot_morphology(streamer=streamer)
    >>> len(plot_metric_boundaries(figure.axes[0], streamer))
    9
    """
    transform = offset_transform(ax, streamer.star_position)
    lines = []
    for ra, dec in sample_metric_boundaries(streamer, n_samples=n_samples):
        lines += ax.plot(ra.value, dec.value, color=color, lw=linewidth, zorder=1, transform=transform)
    if lines:
        lines[0].set_label(label)
    return lines
