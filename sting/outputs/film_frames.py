"""The frames of a film of a fit: which epochs they show, and their pictures."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.ticker import ScalarFormatter
from PIL import Image  # which matplotlib brings

from sting.core.likelihood import N_PARTS
from sting.evaluations import curves_of, matched_of
from sting.messages import in_float64
from sting.outputs.style import DATA, MODEL, START, add_legend

__all__ = []

#: Points of a curve, as many as the figures have.
N_POINTS = 200

#: Height of the strip that shows the loss, in inches.
STRIP = 1.5


class Film:
    """A figure of a fit of which only the model is drawn anew for each frame.

    The figure shows the best fit: its line "model" is what moves.
    """

    def __init__(self, figure, place, result, joined, n_frames, dpi):
        x = result.history[: result.best_epoch + 1, 2 + N_PARTS :]
        problem, settings = result.problem, result.settings
        matched = _matched(x, problem, settings)
        self.epochs = chosen_epochs(matched / problem["sigma"], n_frames)
        self.loss = result.loss_history
        curves = _curves(x[self.epochs], problem, settings)
        self.curves = np.stack(place(*np.moveaxis(curves, -1, 0)), axis=-1)
        # both ends of the lines that join the points and the model
        ends = np.stack([np.broadcast_to(problem["points"], matched.shape), matched], axis=2)[self.epochs]
        self.joints = np.stack(place(*np.moveaxis(ends, -1, 0)), axis=-1) if joined else None
        self._set_stage(figure, result, dpi)

    def _set_stage(self, figure, result, dpi):
        """Draw once what stays as it is."""
        ax = figure.axes[0]
        self.line = next(line for line in ax.lines if line.get_label() == "model")
        transform = self.line.get_transform()
        below = {"transform": transform, "zorder": self.line.zorder - 0.1}
        ax.plot(*self.curves[0].T, ls=(0, (4, 2)), lw=1.2, color=START, label="start", **below)
        self.joint_lines = ax.add_collection(LineCollection([], lw=0.8, color=MODEL, **below), autolim=False)
        figure.set_dpi(dpi)
        self.canvas = FigureCanvasAgg(figure)
        strip = _add_strip(figure, ax)
        upon = [artist for artist in ax.get_children() if artist.zorder > self.line.zorder]
        self.moving = [self.joint_lines, self.line, *self._draw_loss(strip, result)]
        for artist in (*self.moving, *upon):
            artist.set_animated(True)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)
        # what lies upon the model in the figure has to lie upon it in each frame
        self.canvas.get_renderer().clear()
        for artist in sorted(upon, key=lambda artist: artist.zorder):
            ax.draw_artist(artist)
        self.foreground = self._picture()

    def _picture(self):
        return Image.fromarray(np.array(self.canvas.buffer_rgba()))

    def _draw_loss(self, strip, result):
        """Draw the loss against the epoch; return what moves: the part that is done, where it is, and that in words."""
        # a loss of zero has no logarithm
        self.loss = np.maximum(self.loss, np.min(self.loss, where=self.loss > 0, initial=1))
        strip.plot(self.loss, color="0.75", lw=1.5)
        words = f"best: {result.loss:.4g} at epoch {result.best_epoch}"
        strip.text(1, 1.06, words, ha="right", transform=strip.transAxes, fontsize="small")
        (self.done,) = strip.plot([], [], color=DATA, lw=1.5, zorder=3)
        (self.here,) = strip.plot([], [], "o", color=MODEL, clip_on=False, zorder=4)
        self.words = strip.text(0, 1.06, "", transform=strip.transAxes, fontsize="small")
        return [self.done, self.here, self.words]

    def frame(self, number):
        """Picture of a frame."""
        epoch = self.epochs[number]
        self.line.set_data(*self.curves[number].T)
        if self.joints is not None:
            self.joint_lines.set_segments(self.joints[number])
        self.done.set_data(np.arange(epoch + 1), self.loss[: epoch + 1])
        self.here.set_data([epoch], [self.loss[epoch]])
        self.words.set_text(f"epoch {epoch}: loss {self.loss[epoch]:.4g}")
        self.canvas.restore_region(self.background)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        return Image.alpha_composite(self._picture(), self.foreground).convert("RGB")


def _add_strip(figure, ax):
    """Make room for the loss below a figure, and let its layout be as it is from now on."""
    width, height = figure.get_size_inches()
    total = height + STRIP
    figure.set_size_inches(width, total)
    figure.get_layout_engine().set(rect=(0, STRIP / total, 0.985, height / total))
    add_legend(ax)  # again, with the start
    for _ in range(2):  # the layout of axes of a fixed shape settles with the second
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    # the best place is that beside the start and the end: it shall not change between them
    corner = ax.transAxes.inverted().transform(ax.get_legend().get_window_extent().min)
    ax.get_legend().set_loc(tuple(corner))
    place = ax.get_position()
    left = max(place.x0, 0.65 / width)  # its own labels need room
    strip = figure.add_axes((left, 0.5 / total, place.x1 - left, (STRIP - 0.75) / total))
    # the first epochs, in which the curve moves most, take most of the film
    strip.set_xscale("symlog", linthresh=10)
    strip.xaxis.set_major_formatter(ScalarFormatter())
    strip.set(xlabel="epoch", ylabel="loss", yscale="log")
    return strip


@in_float64
def _matched(x, problem, settings):
    """Places with which the points are compared, shape (m, n, 3): one set at a time, as the result itself has them computed."""
    return np.stack([matched_of(each, problem, settings)[0] for each in x])


@in_float64
def _curves(x, problem, settings):
    """Streamlines, shape (m, N_POINTS, 3)."""
    return curves_of(x, problem, settings, N_POINTS)


def chosen_epochs(places, n_frames):
    """Epochs to show, the first and the last among them.

    Most of the film follows the way of the model's ``places``, of shape (n_epochs, n, 3) in units of the uncertainties, so that
    each frame moves as far; the rest the logarithm of the epoch, so that what hardly moves is not left out.
    """
    epochs = np.arange(len(places))
    n = min(n_frames, len(epochs))
    if n < 2:
        return epochs
    way = np.sqrt(np.mean(np.diff(places, axis=0) ** 2, axis=(1, 2)))
    time = np.diff(np.log1p(epochs))
    steps = 0.8 * way / max(way.sum(), np.finfo(float).tiny) + 0.2 * time / time.sum()
    # a step larger than that between two frames takes one frame, and leaves the others to the rest
    frame = np.inf
    for _ in range(50):
        frame = np.minimum(steps, frame).sum() / (n - 1)
    along, rank = np.append(0, np.cumsum(np.minimum(steps, frame))), np.arange(n)
    chosen = np.searchsorted(along, np.linspace(0, along[-1], n))
    # rounding shall show no epoch twice, and none beyond the last
    chosen = np.maximum.accumulate(chosen - rank) + rank
    return np.minimum(chosen, len(epochs) - n + rank)
