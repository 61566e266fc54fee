"""Channel maps with the model in each channel."""

import math

import numpy as np

from sting.cubes import KMS, beam_axes, channels_between, open_cube, quantity, to_velocity
from sting.messages import check_whole, named_keywords, refuse
from sting.outputs.sky import check_star, draw_beam, draw_scale_bar, label_sky, offset_transform, places_of, set_window, window_of
from sting.outputs.style import EMISSION, MODEL, POINTS, STAR, Picture, intensity_label

__all__ = ["plot_channel_maps"]

#: Width and height of a panel in inches.
PANEL = 2.0


@named_keywords
def plot_channel_maps(
    cube,
    star_position=None,
    result=None,
    streamer=None,
    *,
    vmin=None,
    vmax=None,
    n_panels=12,
    n_columns=4,
    title=None,
):
    """Draw channel maps, and in each the part of the model that has the velocities of the channel.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Position of the star; by default the streamer's.
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`, optional
        The fit. The thin line is its whole path, the thick one what lies in the channel.
    streamer : `~sting.streamer.Streamer`, optional
        Points to draw, each in the channel of its velocity; the panels then show what surrounds its voxels.
    vmin, vmax : `~astropy.units.Quantity`, optional
        Velocities between which channels are shown; by default those of the streamer, or of the cube.
    n_panels : int, optional
        Number of panels at the most. Where there are more channels, each panel is the mean of as many neighbours as it takes.
    n_columns : int, optional
        Number of columns.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If the cube cannot be read, the position of the star is not known, no channel lies between the velocities, or a number is
        not positive.
    TypeError
        If ``star_position`` is no position.
    ~astropy.units.UnitsError
        If a velocity has a unit of another kind.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> figure = plot_channel_maps(scene.cube, scene.star_position, vmin=7 * u.km / u.s, vmax=7.5 * u.km / u.s)
    >>> figure.axes[0].texts[0].get_text()
    '7.05 km/s'
    """
    n_panels, n_columns = check_whole("n_panels", n_panels, 1, 12), check_whole("n_columns", n_columns, 1, 4)
    star = check_star(star_position, None if streamer is None else streamer.star_position)
    if star is None:
        refuse("star_position", "be given, or known to the streamer", "none", "Pass the star's SkyCoord.")
    cube = to_velocity(open_cube(cube), "cube")
    groups = _groups(cube, _limits(cube, streamer, vmin, vmax), n_panels)
    velocity = cube.spectral_axis.to_value(KMS)
    images = [_mean(cube, group) for group in groups]
    n_columns = min(n_columns, len(groups))
    n_rows = math.ceil(len(groups) / n_columns)
    figure, grid = _grid(n_rows, n_columns, title)
    wcs, path = cube.wcs.celestial, None if result is None else result.streamline()
    window = _window(cube, star, path, streamer)
    limits = {"vmin": min(0.0, np.nanmin([np.nanpercentile(i, 1) for i in images])), "vmax": max(np.nanmax(i) for i in images)}
    axes, half = [], np.abs(np.diff(velocity)).min() / 2 if len(velocity) > 1 else 0.05
    for k, (group, image) in enumerate(zip(groups, images, strict=True)):
        ax = figure.add_subplot(grid[divmod(k, n_columns)], projection=wcs)
        transform = offset_transform(ax, star)
        mesh = ax.imshow(image, origin="lower", interpolation="nearest", cmap=EMISSION, **limits)
        low, high = velocity[group].min() - half, velocity[group].max() + half
        _draw_model(ax, path, low, high, transform)
        _draw_points(ax, streamer, low, high, transform)
        ax.plot(0, 0, "*", color=STAR, mec="k", ms=11, zorder=6, transform=transform)
        set_window(ax, window, transform)
        words = f"{velocity[group].mean():.2f} km/s"
        ax.text(0.96, 0.96, words, transform=ax.transAxes, ha="right", va="top", fontsize=9, bbox=_box(), zorder=7)
        _label(ax, k, n_rows, n_columns)
        axes.append(ax)
    below = axes[(n_rows - 1) * n_columns]
    transform = offset_transform(below, star)
    draw_beam(below, beam_axes(cube), window, transform)
    draw_scale_bar(below, getattr(result, "distance", None), window, transform)
    figure.colorbar(mesh, cax=figure.add_subplot(grid[:, -1]), label=intensity_label(cube.unit))
    return figure


def _grid(n_rows, n_columns, title):
    """Figure, and a grid of panels that touch, with a column for the colour bar."""
    left, right, bottom, top = 1.05, 0.75, 0.6, 0.4 if title else 0.1
    width, height = left + PANEL * n_columns + 0.2 + right, bottom + PANEL * n_rows + top
    figure = Picture(figsize=(width, height))
    inside = {"left": left / width, "right": 1 - right / width, "bottom": bottom / height, "top": 1 - top / height}
    ratios = {"width_ratios": [PANEL] * n_columns + [0.12]}
    grid = figure.add_gridspec(n_rows, n_columns + 1, wspace=0.05, hspace=0.05, **ratios, **inside)
    figure.suptitle(title or "", y=1 - 0.08 / height, va="top")
    return figure, grid


def _box():
    return {"boxstyle": "round,pad=0.15", "fc": "w", "ec": "none", "alpha": 0.75}


def _limits(cube, streamer, vmin, vmax):
    """Velocities between which channels are shown (km/s)."""
    low, high = -np.inf, np.inf
    if streamer is not None:
        low, high = streamer.pc_coords[2].min(), streamer.pc_coords[2].max()
    low = low if vmin is None else quantity("vmin", vmin, KMS).value
    high = high if vmax is None else quantity("vmax", vmax, KMS).value
    return low, high


def _groups(cube, limits, n_panels):
    """Neighbouring channels of each panel, by rising velocity."""
    velocity = cube.spectral_axis.to_value(KMS)
    kept = channels_between(velocity, *limits)
    if not len(kept):
        found = f"{limits[0]:.4g} to {limits[1]:.4g} km/s; the cube has {velocity.min():.4g} to {velocity.max():.4g} km/s"
        refuse("vmin, vmax", "hold a channel of the cube", found, "Widen the range.")
    kept = kept[np.argsort(velocity[kept])]
    size = math.ceil(len(kept) / n_panels)
    return [kept[i : i + size] for i in range(0, len(kept), size)]


def _mean(cube, group):
    """Mean of some channels, NaN where none has a value."""
    planes = np.array([cube.filled_data[int(i)].value for i in group])
    count = np.isfinite(planes).sum(axis=0)
    return np.where(count > 0, np.nansum(planes, axis=0) / np.maximum(count, 1), np.nan)


def _window(cube, star, path, streamer):
    """What the panels show: the surroundings of the streamer, or of the model, or the field."""
    is_field = streamer is None and path is None
    places = places_of(path, streamer, star, cube.wcs.celestial, cube.shape[1:])
    return window_of(*places, margin=0 if is_field else 0.4)


def _draw_model(ax, path, low, high, transform):
    if path is None:
        return
    velocity = path.velocity.to_value(KMS)
    ra, dec = path.ra.value, path.dec.value
    inside = (velocity >= low) & (velocity <= high)
    # with the places next to them: a channel may hold less than one step of the model
    inside |= np.append(inside[1:], False) | np.append(False, inside[:-1])
    ax.plot(ra, dec, color=MODEL, lw=0.7, alpha=0.8, zorder=3, transform=transform)
    some = [np.where(inside, values, np.nan) for values in (ra, dec)]
    ax.plot(*some, color=MODEL, lw=2.6, zorder=4, transform=transform)


def _draw_points(ax, streamer, low, high, transform):
    if streamer is None:
        return
    inside = (streamer.v_data >= low) & (streamer.v_data < high)
    values = (v[inside] for v in (streamer.ra_data, streamer.dec_data, streamer.dec_sigma, streamer.ra_sigma))
    ax.errorbar(*values, **POINTS, transform=transform)


def _label(ax, k, n_rows, n_columns):
    """Name the axes of the panel at the lower left, and the declinations of all at the left."""
    label_sky(ax)
    at_corner, at_left = k == (n_rows - 1) * n_columns, k % n_columns == 0
    for coordinate, has_numbers in zip(ax.coords, (at_corner, at_left), strict=True):
        coordinate.set_ticklabel(size=7)
        coordinate.set_ticks(number=3)
        coordinate.set_ticklabel_visible(has_numbers)
        if not at_corner:
            coordinate.set_auto_axislabel(False)
            coordinate.set_axislabel("")
