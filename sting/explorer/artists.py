"""What the panels of the explorer are made of: artists that are made once and moved. Nothing here knows of notebooks.

What follows a slider (the *live* lines) is kept apart from the rest, so that a browser can draw it above a picture that stays.
"""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from sting.outputs.isolate_plots import COLOURS

# the colour-blind-safe palette of Okabe & Ito
MODEL, DATA, STAR, SAMPLES, REGION, MASK, PIXEL = "#D55E00", "#FFFFFF", "#F0E442", "#56B4E9", "#009E73", "#CC79A7", "#56B4E9"
DARK = "#222222"

DPI = 100


class Panel:
    """A figure that shows one side of a state.

    Parameters
    ----------
    state : `~sting.explorer.state.ExplorerState`
        What is shown.
    """

    name = ""
    title = ""
    size = (3.4, 2.6)
    margins = (0.15, 0.97, 0.15, 0.92)
    title_height = 1.0
    #: What makes the picture old.
    topics = frozenset()
    #: What moves the live lines.
    live_topics = frozenset()

    def __init__(self, state):
        self.state = state
        self.figure = Figure(figsize=self.size, dpi=DPI)
        left, right, bottom, top = self.margins
        self.figure.subplots_adjust(left=left, right=right, bottom=bottom, top=top)
        self.ax = self._make_axes()
        self.ax.tick_params(labelsize=8)
        # its height is stated, or every drawing would look for it anew
        self.heading = self.ax.set_title(self.title, fontsize=9, loc="left", y=self.title_height)
        self.live = []
        self.stale = True
        self._topics = set(self.topics)
        self.build()
        self._fix_labels()
        self.move()
        self.prepare()

    def _make_axes(self):
        return self.figure.add_subplot()

    def _fix_labels(self):
        """Put the labels of the axes at the edges of the figure: to look for their places takes a third of a drawing."""
        box, transform = self.ax.get_position(), self.figure.transFigure
        self.ax.xaxis.set_label_coords((box.x0 + box.x1) / 2, 2 / self.figure.bbox.height, transform)
        self.ax.yaxis.set_label_coords(2 / self.figure.bbox.width, (box.y0 + box.y1) / 2, transform)
        self.ax.xaxis.label.set_va("bottom")
        self.ax.yaxis.label.set_va("top")

    def _live(self, *args, **kwargs):
        """Make a live line."""
        (line,) = self.ax.plot(*args, **kwargs)
        self.live.append(line)
        self.live.sort(key=lambda line: line.get_zorder())
        return line

    def build(self):
        """Make the artists."""

    def move(self):
        """Put the live lines where the model is now."""

    def refresh(self, topics):
        """Bring the rest of the picture up to date with the state; called before it is drawn."""

    def notice(self, topics):
        """Take notice of a change; the expensive part waits until the picture is drawn.

        Parameters
        ----------
        topics : set of str
            What changed.

        Returns
        -------
        redraw, moved : bool
            Whether the picture is old, and whether live lines moved.
        """
        moved, redraw = bool(topics & self.live_topics), bool(topics & self.topics)
        if moved:
            self.move()
        if redraw:
            self._topics |= topics & self.topics
            self.stale = True
        return redraw, moved

    def prepare(self):
        """Do what `notice` put off."""
        if self.stale:
            topics, self._topics = self._topics, set()
            self.stale = False
            self.refresh(topics)


class ErrorBars:
    """Points with error bars, made once and moved."""

    def __init__(self, ax, color):
        edge = "k" if color == DATA else color
        self.bars = ax.add_collection(LineCollection([], colors=color, linewidths=1.0, zorder=5), autolim=False)
        (self.points,) = ax.plot([], [], "o", color=color, mec=edge, mew=0.6, ms=3.8, zorder=5.1)

    def set(self, x, y, x_sigma, y_sigma):
        """Move them."""
        across = np.stack([np.stack([x - x_sigma, y], -1), np.stack([x + x_sigma, y], -1)], 1)
        upright = np.stack([np.stack([x, y - y_sigma], -1), np.stack([x, y + y_sigma], -1)], 1)
        self.bars.set_segments([*across, *upright])
        self.points.set_data(x, y)

    def clear(self):
        """Show none."""
        self.bars.set_segments([])
        self.points.set_data([], [])


class Dots:
    """Small dots in the colours of clusters, made once and moved: a line of each colour, which is drawn ten times as fast as one
    collection of all."""

    def __init__(self, ax, **looks):
        looks = {"marker": "o", "ls": "", "mew": 0.0, "zorder": 3.5} | looks
        self.lines = [ax.plot([], [], color=color, **looks)[0] for color in COLOURS]

    def set(self, x, y, number):
        """Move them; ``number`` is the cluster of each."""
        for k, line in enumerate(self.lines):
            kept = number % len(self.lines) == k
            line.set_data(x[kept], y[kept])

    def clear(self):
        """Show none."""
        for line in self.lines:
            line.set_data([], [])
