"""What all figures share: colours, axes, densities of emission, and how a figure without pyplot is shown."""

import zlib

import matplotlib as mpl
import numpy as np
from astropy import units as u
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import imsave

from sting.parameters import PARAMETERS

__all__ = []

# the colour-blind-safe palette of Okabe & Ito
MODEL, DATA, STAR, SAMPLES, START = "#D55E00", "#000000", "#F0E442", "#56B4E9", "#009E73"

#: Of pixels in which a map or cube has no value.
BLANK = "#E8EEF4"

#: Of emission: the greys, of which the darkest third is left to points and lines.
EMISSION = ListedColormap(mpl.colormaps["Greys"](np.linspace(0, 0.65, 256)), name="sting_greys").with_extremes(bad=BLANK)

#: The same, with nothing where a map has no value.
EMISSION_ALONE = EMISSION.with_extremes(bad=(1, 1, 1, 0))

#: The points of a fit, as `~matplotlib.axes.Axes.errorbar` draws them.
POINTS = {"fmt": "o", "color": DATA, "ms": 4, "lw": 1, "zorder": 5}


class Picture(Figure):
    """A figure that shows itself in a notebook, as the last line of a cell, with or without ``%matplotlib inline``."""

    def _repr_png_(self):
        return _png(self)


def titled(title):
    """Keywords of a title; without one the axes keep theirs."""
    return {} if title is None else {"title": title}


def new_axes(ax, size, **keywords):
    """Figure and axes to draw into: those given, or new ones of ``size`` inches."""
    if ax is not None:
        return ax.figure, ax
    figure = Picture(figsize=size, layout="constrained")
    return figure, figure.add_subplot(**keywords)


def add_legend(ax):
    """Add a legend, if anything has a name."""
    if ax.get_legend_handles_labels()[0]:
        # inside the axes, for which room is made anyway: to look for its place takes long
        ax.legend(loc="best", fontsize="small", framealpha=0.9).set_in_layout(False)


def model_of(result):
    """What the streamline of a result is: the fit, or one of many draws."""
    return "best draw" if hasattr(result, "convergence") else "model"


def density(x, y, weight, x_step, y_step):
    """Summed weight on a grid of cells, NaN where there is none, and its extent (left, right, bottom, top)."""
    edges = [np.arange(v.min() - s / 2, v.max() + s, s) for v, s in ((x, x_step), (y, y_step))]
    image, _, _ = np.histogram2d(x, y, bins=edges, weights=weight)
    return np.where(image > 0, image, np.nan).T, (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])


def draw_samples(ax, x, y, transform=None):
    """Draw many thin lines, shape (m, n), as one artist, which is faster than as many."""
    keywords = {} if transform is None else {"transform": transform}
    ax.add_collection(LineCollection(np.stack([x, y], axis=-1), colors=SAMPLES, lw=0.5, alpha=0.35, zorder=2, **keywords))
    ax.autoscale_view()


def draw_density(ax, image, extent, transform=None):
    """Draw a density; what has none stays white."""
    looks = {"cmap": EMISSION_ALONE, "vmin": 0, "interpolation": "nearest", "zorder": 0}
    keywords = {} if transform is None else {"transform": transform}
    return ax.imshow(image, origin="lower", extent=extent, aspect="auto", **looks, **keywords)


def intensity_label(unit, what="intensity"):
    """Label of a colour bar."""
    unit = str(unit or "")
    return f"{what} ({unit})" if unit else what


def axis_of(name, values):
    """What to divide values of a parameter (a Quantity) by for numbers of handy size, and the label of their axis."""
    first, _, streamer = name.partition(" ")  # of a joint fit the name ends in that of the streamer
    largest = np.abs(values.value).max(initial=0, where=np.isfinite(values.value))
    power = int(np.floor(np.log10(largest))) if largest > 0 else 0
    power = power if abs(power) > 4 else 0
    unit = "" if values.unit == u.dimensionless_unscaled else f"{values.unit:latex_inline}".replace("AU", "au")
    unit = " ".join(part for part in (f"$10^{{{power}}}$" if power else "", unit) if part)
    label = f"{PARAMETERS[first].tex} {streamer}".strip()
    return 10.0**power, f"{label} ({unit})" if unit else label


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
    write_png(figure, buffer, 110)
    return buffer.getvalue()


def write_png(figure, file, dpi):
    """Write a figure as PNG."""
    encode_png(draw_pixels(figure, dpi), file, dpi)


def draw_pixels(figure, dpi):
    """Draw a figure: its pixels, shape (rows, columns, 4).

    It is laid out and drawn once, where `~matplotlib.figure.Figure.savefig` does both twice.
    """
    engine, resolution, canvas = figure.get_layout_engine(), figure.dpi, figure.canvas
    figure.dpi = dpi
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    agg = FigureCanvasAgg(figure)
    agg.draw()
    figure.set_canvas(canvas)
    if engine is not None:
        figure.set_layout_engine(engine)
    figure.dpi = resolution
    return np.asarray(agg.buffer_rgba())


def encode_png(pixels, file, dpi):
    """Write pixels as PNG."""
    # runs of the same colour are what figures consist of
    imsave(file, pixels, format="png", origin="upper", dpi=dpi, pil_kwargs={"compress_type": zlib.Z_RLE})
