"""Components of a cube and their clusters: in position and velocity, on the sky, and in the spectra."""

import numpy as np
from astropy import units as u
from matplotlib.ticker import MaxNLocator

from sting.cubes import KMS, sky_offsets, sky_position, to_velocity
from sting.isolate.components import cube_of
from sting.messages import check_whole, named_keywords, refuse
from sting.outputs.style import DATA, SAMPLES, STAR, Picture, new_axes, titled

__all__ = ["plot_clusters", "plot_components_3d", "plot_spectra"]

#: Colours of the clusters, the brightest first: Okabe & Ito's without black and the yellow of the star, and dark ones of Tol's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255", "#999933")

#: Marks that tell apart the clusters of one colour.
MARKS = ("o", "^", "s", "v", "D", "P")

NOISE = "0.78"

#: Clusters that have a line in the legend.
NAMED = 12


def _looks(number):
    """Colour and mark of a cluster."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number // len(COLOURS) % len(MARKS)]}


def _places(clusters, star_position):
    """Offsets (arcsec) and velocities (km/s) of the components, and offsets of the star."""
    table, star = clusters.table, np.zeros(2)
    if star_position is not None:
        star = np.array(sky_offsets(clusters.components.origin, sky_position("star_position", star_position)), float)
    return [
        table[name].to_value(unit) for name, unit in (("ra_offset", u.arcsec), ("dec_offset", u.arcsec), ("velocity", KMS))
    ], star


def _groups(clusters):
    """Each cluster after the noise: which components, how they look, and their name in the legend."""
    labels = np.asarray(clusters.table["cluster"])
    if (labels < 0).any():
        yield labels < 0, {"color": NOISE, "marker": "o", "s": 1.5}, "no cluster", 0
    # the brightest on top
    for number in reversed(range(len(clusters))):
        yield labels == number, _looks(number) | {"s": 5.0}, f"{number}" if number < NAMED else None, len(clusters) - number


def _legend(figure, ax, n):
    """Legend beside the axes, in the order of the numbers."""
    handles, names = ax.get_legend_handles_labels()
    order = np.argsort([n if name == "no cluster" else int(name) for name in names])
    title = "cluster" if n <= NAMED else f"cluster\n(of {n})"
    keywords = {"title": title, "fontsize": "small", "title_fontsize": "small", "markerscale": 2, "frameon": False}
    figure.legend([handles[i] for i in order], [names[i] for i in order], loc="outside right upper", **keywords)


@named_keywords
def plot_components_3d(clusters, *, star_position=None, elev=18, azim=-62, ax=None, title=None):
    """Draw the components of a cube in position and velocity, each cluster in its colour, what is in none in grey.

    Parameters
    ----------
    clusters : `~sting.isolate.Clusters`
        The clusters.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Position of the star; by default the origin of the offsets. The dotted line stands there, along the velocities.
    elev, azim : float, optional
        Place of the camera in degrees, as in `mpl_toolkits.mplot3d.axes3d.Axes3D.view_init`.
    ax : `~mpl_toolkits.mplot3d.axes3d.Axes3D`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    TypeError
        If ``star_position`` is no position.

    Examples
    --------
    >>> from sting import isolate, synthetic
    >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
    >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
    >>> figure = plot_components_3d(isolate.cluster(components))
    >>> figure.axes[0].get_zlabel()
    'velocity (km/s)'
    """
    (ra, dec, velocity), star = _places(clusters, star_position)
    own = ax is None
    figure, ax = new_axes(ax, (6.4, 5.2), projection="3d", computed_zorder=False)
    for kept, looks, name, order in _groups(clusters):
        ax.scatter(ra[kept], dec[kept], velocity[kept], label=name, zorder=order, depthshade=False, lw=0, **looks)
    ends = [velocity.min(), velocity.max()] if len(velocity) else [0, 1]
    ax.plot([star[0]] * 2, [star[1]] * 2, ends, ":", color=DATA, lw=1, zorder=len(clusters) + 1)
    ax.plot(*[[s] for s in star], ends[:1], "*", color=STAR, mec="k", ms=13, zorder=len(clusters) + 2)
    ax.set(xlabel="RA offset (arcsec)", ylabel="Dec offset (arcsec)", zlabel="velocity (km/s)", **titled(title))
    ax.invert_xaxis()
    for one in (ax.xaxis, ax.yaxis, ax.zaxis):
        one.set_major_locator(MaxNLocator(5))
    ax.tick_params(labelsize=8)
    ax.set_box_aspect(None, zoom=0.92)
    ax.view_init(elev=elev, azim=azim)
    if own:
        _legend(figure, ax, len(clusters))
    return figure


@named_keywords
def plot_clusters(clusters, *, star_position=None, title=None):
    """Draw the components by cluster on the sky and in velocity against both offsets.

    Parameters
    ----------
    clusters : `~sting.isolate.Clusters`
        The clusters.
    star_position : `~astropy.coordinates.SkyCoord`, optional
        Position of the star; by default the origin of the offsets.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    TypeError
        If ``star_position`` is no position.

    Examples
    --------
    >>> from sting import isolate, synthetic
    >>> scene = synthetic.make_scene(seed=1, shape=(40, 64, 64))
    >>> components = isolate.decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
    >>> figure = plot_clusters(isolate.cluster(components))
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['RA offset (arcsec)', 'RA offset (arcsec)', 'Dec offset (arcsec)']
    """
    (ra, dec, velocity), star = _places(clusters, star_position)
    figure = Picture(figsize=(10.0, 3.4), layout="constrained")
    sky, *others = figure.subplots(1, 3)
    for kept, looks, name, order in _groups(clusters):
        for ax, x, y in ((sky, ra, dec), (others[0], ra, velocity), (others[1], dec, velocity)):
            ax.scatter(x[kept], y[kept], label=name, zorder=order, lw=0, rasterized=True, **looks)
    sky.plot(*star, "*", color=STAR, mec="k", ms=14, zorder=len(clusters) + 2)
    sky.set(xlabel="RA offset (arcsec)", ylabel="Dec offset (arcsec)")
    sky.set_aspect("equal", adjustable="datalim")
    for ax, name, place in zip(others, ("RA", "Dec"), star, strict=True):
        ax.axvline(place, color=DATA, ls=":", lw=1, zorder=len(clusters) + 1)
        ax.set(xlabel=f"{name} offset (arcsec)", ylabel="velocity (km/s)")
    for ax in (sky, others[0]):
        ax.invert_xaxis()
    if title:
        figure.suptitle(title)
    _legend(figure, sky, len(clusters))
    return figure


@named_keywords
def plot_spectra(components, pixels, *, cube=None, n_columns=3, title=None):
    """Draw spectra (grey) with their fits: the sum in black, single components dashed.

    Parameters
    ----------
    components : `~sting.isolate.Components` or `~sting.isolate.Clusters`
        The components; of clusters each component has the colour of its cluster, and light blue if it is in none.
    pixels : list of tuple of int
        Columns and rows (x, y) of the pixels, a panel each.
    cube : `~spectral_cube.SpectralCube`, str or path-like, optional
        The cube that was decomposed, where the components were read from a file.
    n_columns : int, optional
        Number of columns of panels.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If there is no cube, a pixel lies outside of it, or ``n_columns`` is not positive.

    Examples
    --------
    >>> from sting import isolate, synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 24, 24))
    >>> components = isolate.decompose(scene.cube, rms=scene.rms, progress=False)
    >>> figure = plot_spectra(components, [(12, 12), (3, 20)])
    >>> figure.axes[0].get_title()
    'x = 12, y = 12'
    """
    table, parts = components.table, getattr(components, "components", components)
    cube = to_velocity(cube_of(parts, cube))
    pixels = _checked_pixels(pixels, cube.shape)
    velocity, unit = cube.spectral_axis.to_value(KMS), parts.meta["unit"]
    n_columns = min(check_whole("n_columns", n_columns, 1, 3), len(pixels))
    n_rows = -(-len(pixels) // n_columns)
    figure = Picture(figsize=(2.9 * n_columns + 0.4, 2.1 * n_rows + 0.4), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).flat)
    fine = np.linspace(velocity.min(), velocity.max(), 8 * len(velocity))
    for ax, (x, y) in zip(panels, pixels, strict=False):
        spectrum = cube[:, y, x].to_value(unit)
        ax.step(velocity, spectrum, where="mid", color="0.6", lw=0.9)
        total = np.zeros_like(fine)
        for row in table[(table["x"] == x) & (table["y"] == y)]:
            shape = np.exp(-0.5 * ((fine - row["velocity"].to_value(KMS)) / row["sigma"].to_value(KMS)) ** 2)
            total += (one := u.Quantity(row["amplitude"]).value * shape)
            number = row["cluster"] if "cluster" in table.colnames else None
            # grey is what belongs to no cluster, as in the other figures
            color = SAMPLES if number is None else _looks(number)["color"] if number >= 0 else "0.45"
            ax.plot(fine, one, color=color, lw=1.5, ls="--", zorder=4)
        ax.plot(fine, total, color=DATA, lw=1, zorder=3)
        ax.set_title(f"x = {x}, y = {y}", fontsize="small")
    for above, ax in enumerate(panels[len(pixels) :], len(pixels) - n_columns):
        ax.set_visible(False)
        panels[above].tick_params(labelbottom=True)
    figure.supxlabel("velocity (km/s)", fontsize="medium")
    figure.supylabel(f"intensity ({unit})" if unit else "intensity", fontsize="medium")
    if title:
        figure.suptitle(title)
    return figure


def _checked_pixels(pixels, shape):
    """Pixels (x, y) as whole numbers within the image."""
    try:
        found = np.array(pixels)
        good = found.ndim == 2 and found.shape[1] == 2 and len(found) and found.dtype.kind in "iu"
    except ValueError:
        good = False
    if not good:
        refuse("pixels", "be a list of columns and rows (x, y)", repr(pixels), "Write for example [(12, 30), (14, 30)].")
    for x, y in found.tolist():
        if not (0 <= x < shape[2] and 0 <= y < shape[1]):
            refuse("pixels", f"lie in the image of {shape[2]} columns and {shape[1]} rows", f"({x}, {y})", "Count from 0.")
    return found.tolist()
