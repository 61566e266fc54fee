"""The panels of the explorer as plain matplotlib figures: artists are made once and updated; nothing here knows of notebooks.

What follows a slider (the *live* lines) is kept apart from the rest, so that a browser can draw it above a picture that stays.
"""

import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize, LinearStretch, LogStretch, SqrtStretch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Affine2D
from scipy.spatial import cKDTree

# the colour-blind-safe palette of Okabe & Ito
MODEL, DATA, STAR, SAMPLES, REGION, MASK, PIXEL = "#D55E00", "#FFFFFF", "#F0E442", "#56B4E9", "#009E73", "#CC79A7", "#56B4E9"
DARK = "#222222"

DPI = 100

_STRETCHES = {"linear": LinearStretch, "sqrt": SqrtStretch, "log": LogStretch, "asinh": AsinhStretch}

#: Images with more pixels a side are thinned before contours are drawn.
CONTOUR_SIZE = 300


class Panel:
    """A figure that shows one side of a state.

    Parameters
    ----------
    state : `~sting.explorer.state.ExplorerState`
        What is shown.
    """

    name = ""
    title = ""
    size = (4.0, 3.0)
    margins = (0.15, 0.97, 0.15, 0.92)
    title_height = None
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
        self.ax.set_title(self.title, fontsize=9, loc="left", y=self.title_height)
        self.live = []
        self.stale = True
        self._topics = set(self.topics)
        self.build()
        self.move()
        self.prepare()

    def _make_axes(self):
        return self.figure.add_subplot()

    def _live(self, *args, **kwargs):
        """Make a live line."""
        (line,) = self.ax.plot(*args, **kwargs)
        self.live.append(line)
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


class SkyPanel(Panel):
    """An image of the sky as offsets from the star, with everything that is drawn over it."""

    size = (4.0, 3.9)
    margins = (0.14, 0.86, 0.11, 0.93)
    live_topics = frozenset({"model", "cut", "display.pixel"})

    def build(self):
        images, ax = self.state.images, self.ax
        self.image = ax.imshow(np.zeros((2, 2)), origin="lower", interpolation="nearest", zorder=0)
        self.image.set_mouseover(False)
        self._place(self.image)
        corners = images.to_offset([-0.5, images.shape[2] - 0.5] * 2, [-0.5, -0.5, images.shape[1] - 0.5, images.shape[1] - 0.5])
        half = max(np.ptp(corners[0]), np.ptp(corners[1])) / 2
        (ra, dec) = ((part.max() + part.min()) / 2 for part in corners)
        ax.set_aspect("equal", adjustable="box")
        ax.set(xlim=(ra + half, ra - half), ylim=(dec - half, dec + half))  # east to the left
        ax.apply_aspect()
        box = ax.get_position()
        self.colorbar = self.figure.colorbar(self.image, cax=self.figure.add_axes((box.x1 + 0.015, box.y0, 0.025, box.height)))
        self.colorbar.ax.tick_params(labelsize=7)
        ax.set_facecolor("#d8d8d8")
        ax.set_xlabel("RA offset (arcsec)", fontsize=8, labelpad=1)
        ax.set_ylabel("Dec offset (arcsec)", fontsize=8, labelpad=1)
        ax.plot(0, 0, "*", color=STAR, mec="k", mew=0.8, ms=12, zorder=8)
        self._draw_beam()
        self._draw_scale_bar()
        self.points = ErrorBars(ax, DATA)
        self.samples = ax.add_collection(LineCollection([], colors=SAMPLES, linewidths=0.5, alpha=0.5, zorder=4), autolim=False)
        self.outlines = ax.add_collection(LineCollection([], colors=REGION, linewidths=1.5, zorder=6), autolim=False)
        self.mask = ax.add_collection(LineCollection([], colors=MASK, linewidths=0.9, zorder=3), autolim=False)
        self.contours = None
        self.model = self._live([], [], color=MODEL, lw=2, zorder=7)
        self.start = self._live([], [], "o", color=MODEL, mec="w", ms=6, zorder=7.1)
        self.cross = self._live([], [], "+", color=PIXEL, ms=10, mew=1.5, zorder=9)
        self.sketch = self._live([], [], color=REGION, lw=1.5, ls="--", zorder=9)
        ax.format_coord = self.describe

    def _place(self, artist):
        """Have an image in pixel coordinates drawn at its offsets, whatever the orientation of the cube."""
        matrix, origin = self.state.images.matrix, self.state.images.origin
        n_y, n_x = self.state.images.shape[1:]
        square = abs(matrix[0, 1]) + abs(matrix[1, 0]) < 1e-3 * abs(matrix[0, 0])
        if square:
            (left, right), (bottom, top) = self.state.images.to_offset([-0.5, n_x - 0.5], [-0.5, n_y - 0.5])
            artist.set_extent((left, right, bottom, top))
        else:
            artist.set_extent((-0.5, n_x - 0.5, -0.5, n_y - 0.5))
            affine = Affine2D(np.array([[*matrix[0], origin[0]], [*matrix[1], origin[1]], [0, 0, 1]]))
            artist.set_transform(affine + self.ax.transData)

    def _draw_beam(self):
        if self.state.images.beam is None:
            return
        major, minor, pa = self.state.images.beam
        (left, right), (bottom, top) = self.ax.get_xlim(), self.ax.get_ylim()
        place = left + 0.07 * (right - left), bottom + 0.07 * (top - bottom)
        # with east to the left, a position angle east of north turns to the left on the screen
        self.ax.add_patch(Ellipse(place, minor, major, angle=-pa, fc="w", ec="k", lw=0.8, zorder=8))

    def _draw_scale_bar(self):
        distance = self.state.distance.value
        (left, right), (bottom, top) = self.ax.get_xlim(), self.ax.get_ylim()
        width = abs(right - left) * distance
        length = max(step for step in (b * 10.0**e for e in range(-3, 7) for b in (1, 2, 5)) if step < 0.35 * width)
        end, height = right + 0.05 * (left - right), bottom + 0.05 * (top - bottom)
        for color, lw in (("k", 4), ("w", 2)):
            self.ax.plot([end, end + length / distance], [height] * 2, color=color, lw=lw, zorder=8, solid_capstyle="butt")
        self.ax.text(
            end + length / distance / 2,
            height + 0.02 * (top - bottom),
            f"{length:g} au",
            ha="center",
            fontsize=8,
            zorder=8,
            bbox={"fc": "w", "ec": "none", "alpha": 0.7, "pad": 1},
        )

    def describe(self, ra, dec):
        """Words for the place under the pointer."""
        pixel = self.state.images.pixel_at(ra, dec)
        value = None if pixel is None else self.image.get_array()[pixel[1], pixel[0]]
        return self.state.images.describe(ra, dec, None if value is np.ma.masked else value)

    def move(self):
        state = self.state
        curve = state.comparison.curve
        self.model.set_data(curve[:, 0], curve[:, 1])
        self.start.set_data(curve[:1, 0], curve[:1, 1])
        x, y = state.pixel
        self.cross.set_data(*state.images.to_offset(x, y))

    def refresh(self, topics):
        if topics & {"cut", "result"}:
            self._refresh_cut()

    def _refresh_cut(self):
        streamer, images = self.state.streamer, self.state.images
        self.outlines.set_segments([outline for region in self.state.region for outline in outlines_of(region, images)])
        if streamer is None:
            self.points.clear()
            self.mask.set_segments([])
        else:
            self.points.set(*streamer.data[:2], *streamer.uncertainties[:2])
            self.mask.set_segments(mask_edges(streamer.pc_coords, images))
        samples = self.state.samples
        self.samples.set_segments([] if samples is None else list(samples[..., :2]))

    def show(self, image, norm, colormap):
        """Show an image."""
        self.image.set_data(np.ma.masked_invalid(image))
        self.image.set_norm(norm)
        self.image.set_cmap(colormap)


class MapPanel(SkyPanel):
    """Channel map."""

    name = "map"
    title = "Channel map"
    topics = frozenset(
        {"cut", "result"} | {f"display.{name}" for name in ("channel", "stretch", "colormap", "low", "high", "contours")}
    )

    def refresh(self, topics):
        super().refresh(topics)
        display, images = self.state.display, self.state.images
        image = images.channel(display.channel)
        low, high = (d if v is None else v for v, d in zip((display.low, display.high), images.limits, strict=True))
        norm = self.image.norm
        if topics & {f"display.{name}" for name in ("stretch", "low", "high")} or not isinstance(norm, ImageNormalize):
            norm = ImageNormalize(
                vmin=min(low, high), vmax=max(high, low + 1e-30), stretch=_STRETCHES[display.stretch](), clip=True
            )
        self.show(image, norm, display.colormap)
        self.ax.set_title(f"Channel {display.channel}: {images.velocity[display.channel]:.2f} km/s", fontsize=9, loc="left")
        self._refresh_contours(image if display.contours else None)

    def _refresh_contours(self, image):
        if self.contours is not None:
            self.contours.remove()
            self.contours = None
        images = self.state.images
        levels = images.noise * np.array([3.0, 5.0, 10.0, 20.0, 40.0, 80.0])
        if image is None or not np.nanmax(np.where(np.isfinite(image), image, -np.inf)) > levels[0]:
            return
        step = max(1, max(image.shape) // CONTOUR_SIZE)
        thin = np.where(np.isfinite(image), image, 0.0)[::step, ::step]
        y, x = np.indices(thin.shape) * step
        ra, dec = images.to_offset(x, y)
        limits = self.ax.get_xlim(), self.ax.get_ylim()
        self.contours = self.ax.contour(
            ra.reshape(thin.shape), dec.reshape(thin.shape), thin, levels=levels, colors="w", linewidths=0.6, alpha=0.7, zorder=2
        )
        # contours would widen the axes and so undo a zoom
        self.ax.set(xlim=limits[0], ylim=limits[1])


class MomentPanel(SkyPanel):
    """Moment 0 or 1 of the velocity range."""

    name = "moment"
    title = "Moment 0"
    topics = frozenset({"cut", "result", "display.moment", "display.colormap"})

    def build(self):
        super().build()
        self._range = None

    def refresh(self, topics):
        super().refresh(topics)
        state = self.state
        limits = state.session.vmin, state.session.vmax
        if self._range != limits:
            self._range, self._moments = limits, state.images.moments(*limits)
        order = state.display.moment
        image = self._moments[order]
        finite = image[np.isfinite(image)]
        low, high = np.percentile(finite, (2, 98) if order else (1, 99.8)) if finite.size else (0.0, 1.0)
        norm = ImageNormalize(vmin=low, vmax=max(high, low + 1e-30), stretch=LinearStretch(), clip=False, invalid=None)
        self.show(image, norm, "RdBu_r" if order else state.display.colormap)
        words = "Mean velocity (km/s)" if order else f"Integrated ({state.images.unit} km/s)"
        span = [v for v in limits if v is not None]
        self.ax.set_title(words + (f", {_range_words(*limits)}" if span else ""), fontsize=9, loc="left")


def _range_words(low, high):
    if low is None:
        return f"below {high:g} km/s"
    return f"above {low:g} km/s" if high is None else f"{low:g} to {high:g} km/s"


class VelocityPanel(Panel):
    """Velocity against projected radius, or against the length along the model."""

    name = "pv"
    title = "Velocity"
    size = (4.0, 3.3)
    margins = (0.13, 0.97, 0.13, 0.92)
    topics = frozenset({"cut", "result", "parameters", "display.pv_axis", "display.channel"})
    live_topics = frozenset({"model", "cut", "display.pv_axis"})

    def build(self):
        ax = self.ax
        self.image = ax.imshow(np.full((2, 2), np.nan), origin="lower", aspect="auto", cmap="Greys", zorder=0)
        self.image.set_mouseover(False)
        self.points = ErrorBars(ax, DARK)
        self.samples = ax.add_collection(LineCollection([], colors=SAMPLES, linewidths=0.5, alpha=0.5, zorder=3), autolim=False)
        self.systemic = ax.axhline(0, color="0.4", ls="--", lw=1, zorder=1)
        self.channel = ax.axhline(0, color=PIXEL, lw=1, zorder=1)
        self.model = self._live([], [], color=MODEL, lw=2, zorder=6)
        ax.set_ylabel("velocity (km/s)", fontsize=8, labelpad=1)
        self._limits_for = None

    @property
    def along_path(self):
        """Whether the axis is the length along the model."""
        return self.state.display.pv_axis == "path"

    def notice(self, topics):
        # along the path, the data move with the model
        if self.along_path and "model" in topics:
            topics = topics | {"cut"}
        return super().notice(topics)

    def _x(self, ra, dec):
        """Abscissa of places on the sky (arcsec)."""
        if not self.along_path:
            return np.hypot(ra, dec)
        curve = self.state.comparison.curve
        length = path_length(curve)
        _, index = cKDTree(curve[:, :2]).query(np.stack([np.ravel(ra), np.ravel(dec)], axis=-1))
        return length[index].reshape(np.shape(ra))

    def move(self):
        curve = self.state.comparison.curve
        x = path_length(curve) if self.along_path else np.hypot(curve[:, 0], curve[:, 1])
        self.model.set_data(x, curve[:, 2])

    def refresh(self, topics):
        state = self.state
        self.channel.set_ydata([state.images.velocity[state.display.channel]] * 2)
        self.systemic.set_ydata([state.session.values["v_lsr"]] * 2)
        if topics & {"cut", "result", "display.pv_axis"}:
            self._refresh_cut()

    def _refresh_cut(self):
        state, ax = self.state, self.ax
        ax.set_xlabel(
            "length along the model (arcsec)" if self.along_path else "projected radius (arcsec)", fontsize=8, labelpad=1
        )
        samples = state.samples
        segments = [] if samples is None else [np.stack([self._x(*s.T[:2]), s[:, 2]], axis=-1) for s in samples]
        self.samples.set_segments(segments)
        if state.streamer is None:
            self.points.clear()
            self.image.set_visible(False)
        else:
            self._refresh_streamer(state.streamer)
        self._refresh_limits()

    def _refresh_streamer(self, streamer):
        ra, dec, velocity, flux = streamer.pc_coords
        x = self._x(ra, dec)
        x_step, v_step = streamer.meta.get("pixel", 0.1), streamer.meta.get("channel", 0.1)
        edges = [np.arange(v.min() - s / 2, v.max() + s, s) for v, s in ((x, x_step), (velocity, v_step))]
        density = np.histogram2d(x, velocity, bins=edges, weights=flux)[0].T
        self.image.set_visible(True)
        self.image.set_data(np.ma.masked_less_equal(density, 0))
        self.image.set_extent((edges[0][0], edges[0][-1], edges[1][0], edges[1][-1]))
        self.image.set_clim(0, 1.4 * density.max())
        r = np.hypot(streamer.ra_data, streamer.dec_data)
        sigma = np.hypot(streamer.ra_data * streamer.ra_sigma, streamer.dec_data * streamer.dec_sigma) / r
        self.points.set(self._x(streamer.ra_data, streamer.dec_data), streamer.v_data, sigma, streamer.v_sigma)

    def _refresh_limits(self):
        """Choose the limits anew only when the cut or the axis is another one: a zoom stays."""
        state = self.state
        wanted = id(state.streamer_cube), self.along_path
        if wanted == self._limits_for:
            return
        self._limits_for = wanted
        curve = state.comparison.curve
        reach = self._x(*curve.T[:2]).max()
        low, high = curve[:, 2].min(), curve[:, 2].max()
        if state.streamer is not None:
            ra, dec, velocity, _ = state.streamer.pc_coords
            reach, low, high = 1.1 * self._x(ra, dec).max(), velocity.min(), velocity.max()
        margin = 0.12 * (high - low) + 0.1
        self.ax.set(xlim=(0, max(reach, 1e-3)), ylim=(low - margin, high + margin))


class SpectrumPanel(Panel):
    """Spectrum of the pixel under the pointer."""

    name = "spectrum"
    title = "Spectrum"
    size = (4.0, 2.2)
    margins = (0.13, 0.97, 0.2, 0.88)
    topics = frozenset({"cut", "display.channel"})
    live_topics = frozenset({"display.pixel", "cut"})

    def build(self):
        images = self.state.images
        low, _ = images.limits
        self.span = self.ax.axvspan(0, 1, color="0.9", zorder=0)
        self.channel = self.ax.axvline(0, color=PIXEL, lw=1, zorder=1)
        self.ax.axhline(0, color="0.6", lw=0.6, zorder=0.5)
        self.line = self._live([], [], color=DARK, lw=1.2, drawstyle="steps-mid", zorder=3)
        self.ax.set(
            xlim=(images.velocity.min(), images.velocity.max()), ylim=(low - 0.05 * (images.peak - low), 1.1 * images.peak)
        )
        if images.velocity.min() == images.velocity.max():
            self.ax.set_xlim(images.velocity[0] - 1, images.velocity[0] + 1)
        self.ax.set_xlabel("velocity (km/s)", fontsize=8, labelpad=1)
        self.ax.set_ylabel(images.unit, fontsize=8, labelpad=1)

    def move(self):
        x, y = self.state.pixel
        self.line.set_data(self.state.images.velocity, self.state.images.spectrum(x, y))

    def refresh(self, topics):
        state = self.state
        self.channel.set_xdata([state.images.velocity[state.display.channel]] * 2)
        low, high = state.session.vmin, state.session.vmax
        velocity = state.images.velocity
        self.span.set_x(velocity.min() if low is None else low)
        self.span.set_width((velocity.max() if high is None else high) - self.span.get_x())
        self.span.set_visible(low is not None or high is not None)


class OrbitPanel(Panel):
    """The path in space, to be turned with the mouse."""

    name = "orbit"
    title = "Orbit (au)"
    size = (4.0, 3.6)
    margins = (0.0, 0.95, 0.06, 0.98)
    title_height = 0.93
    topics = frozenset({"cut", "result"})
    live_topics = frozenset({"model"})

    def _make_axes(self):
        ax = self.figure.add_subplot(projection="3d", computed_zorder=False)
        ax.view_init(elev=18, azim=-62)
        return ax

    def build(self):
        ax = self.ax
        ax.plot([0], [0], [0], "*", color=STAR, mec="k", ms=12, zorder=5)
        self.model = self._live([], [], [], color=MODEL, lw=2, zorder=6)
        self.shadow = self._live([], [], [], color="0.6", lw=1, zorder=2)
        self.disk = self._live([], [], [], color=SAMPLES, lw=1.2, zorder=3)
        self.axis = self._live([], [], [], color=SAMPLES, lw=1.2, ls="--", zorder=3)
        ax.set_xlabel("west", fontsize=8, labelpad=-4)
        ax.set_ylabel("away", fontsize=8, labelpad=-4)
        ax.set_zlabel("north", fontsize=8, labelpad=-4)
        ax.tick_params(labelsize=7, pad=-2)
        ax.set_box_aspect((1, 1, 1))
        for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
            axis.set_major_locator(MaxNLocator(4))
        self._reach = 0.0

    def move(self):
        state = self.state
        position, values = state.comparison.position, state.session.values
        reach = 1.05 * np.abs(position).max()
        # the box follows only when the path leaves it or becomes small in it
        if not 0.4 * self._reach < reach <= self._reach:
            self._reach = 1.15 * reach
            self.ax.set(xlim=(-self._reach, self._reach), ylim=(-self._reach, self._reach), zlim=(-self._reach, self._reach))
            self.stale = True
        self.model.set_data_3d(*position.T)
        self.shadow.set_data_3d(position[:, 0], np.full(len(position), self._reach), position[:, 2])
        axis, ring = disk_of(values["inc"], values["pa"])
        self.disk.set_data_3d(*(state.comparison.orbit["rc"] * ring).T)
        self.axis.set_data_3d(*(0.6 * self._reach * np.stack([-axis, axis])).T)

    def notice(self, topics):
        _, moved = super().notice(topics)
        return self.stale, moved


class ResidualPanel(Panel):
    """Residuals of the points in units of their uncertainties."""

    name = "residuals"
    title = "Residuals"
    size = (4.0, 2.2)
    margins = (0.13, 0.97, 0.2, 0.88)
    topics = frozenset({"cut", "options"})
    live_topics = frozenset({"model", "cut", "options"})
    _looks = (("o", DARK), ("s", MODEL), ("^", SAMPLES))

    def build(self):
        ax = self.ax
        for level in (-1, 0, 1):
            ax.axhline(level, color="0.6", lw=0.6 + 0.4 * (level == 0), ls="-" if level == 0 else ":", zorder=0)
        self.lines = [self._live([], [], marker, color=color, ms=5, ls="none", zorder=3) for marker, color in self._looks]
        ax.set_xlabel("point, from the outside in", fontsize=8, labelpad=1)
        ax.set_ylabel("data - model (sigma)", fontsize=8, labelpad=1)
        ax.set_ylim(-4, 4)
        self.legend = None

    def move(self):
        residuals = self.state.comparison.residuals
        index = np.arange(1, len(residuals) + 1)
        for line, column in zip(self.lines, residuals.T, strict=True):
            # what lies outside sits on the edge rather than out of sight
            line.set_data(index, np.clip(column, -3.8, 3.8))

    def refresh(self, topics):
        state = self.state
        names = ("RA", "Dec", "velocity") if state.session.loss_method == 0 else ("radius", "angle", "velocity")
        self.ax.set_xlim(0.5, max(state.session.n_elements, 2) + 0.5)
        handles = [Line2D([], [], marker=m, color=c, ls="none", ms=4) for m, c in self._looks]
        look = {"fontsize": 7, "ncols": 3, "frameon": False, "handletextpad": 0.1, "columnspacing": 1.0}
        self.legend = self.ax.legend(handles, names, loc="lower right", bbox_to_anchor=(1.01, 0.97), **look)


class LossPanel(Panel):
    """Loss against epoch."""

    name = "loss"
    title = "Loss of the fit"
    size = (4.0, 2.2)
    margins = (0.15, 0.97, 0.2, 0.88)
    topics = frozenset({"result"})
    live_topics = frozenset({"fit", "result"})

    def build(self):
        self.line = self._live([], [], color=DARK, lw=1.5, zorder=3)
        self.best = self._live([], [], "o", color=MODEL, ms=5, zorder=4)
        self.ax.set_yscale("log")
        # plain numbers: no formulas in what changes
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        self.ax.yaxis.set_major_formatter(plain)
        self.ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        self.ax.set(xlim=(0, 1000), ylim=(0.1, 100))
        self.ax.set_xlabel("epoch", fontsize=8, labelpad=1)
        self.ax.set_ylabel("chi2 + priors", fontsize=8, labelpad=1)

    def move(self):
        losses = np.asarray(self.state.losses)
        finite = losses[np.isfinite(losses) & (losses > 0)]
        if not finite.size:
            self.line.set_data([], [])
            self.best.set_data([], [])
            return
        # a line of more points than pixels would only be slower
        step = max(1, len(losses) // 800)
        epochs = np.unique(np.append(np.arange(0, len(losses), step), len(losses) - 1))
        self.line.set_data(epochs, losses[epochs])
        best = int(np.nanargmin(losses))
        self.best.set_data([best], [losses[best]])
        low, high = self.ax.get_ylim()
        right = self.ax.get_xlim()[1]
        fits = finite.min() > low and finite.max() < high and len(losses) <= right + 1
        if not fits or "result" in self._topics:
            last = len(losses) if not self.state.busy else max(1.5 * len(losses), 200)
            self.ax.set(xlim=(0, max(last, 10)), ylim=(finite.min() / 2, 2 * finite.max()))
            self.stale = True

    def notice(self, topics):
        self._topics |= topics & self.topics
        _, moved = super().notice(topics)
        return self.stale, moved


class ErrorBars:
    """Points with error bars, made once and moved."""

    def __init__(self, ax, color):
        edge = "k" if color == DATA else color
        self.bars = ax.add_collection(LineCollection([], colors=color, linewidths=1.0, zorder=5), autolim=False)
        (self.points,) = ax.plot([], [], "o", color=color, mec=edge, mew=0.6, ms=4.5, zorder=5.1)

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


def path_length(curve):
    """Projected length (arcsec) along a curve from its inner end, shape (n,)."""
    steps = np.hypot(*np.diff(curve[:, :2], axis=0).T)
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)


def disk_of(inc, pa):
    """Rotation axis (3,) and unit circle of the disk (n, 3) in the axes west, away, north."""
    axis = np.array([-np.sin(pa) * np.cos(inc), np.sin(inc), np.cos(pa) * np.cos(inc)])
    first = np.array([np.cos(pa), 0.0, np.sin(pa)])
    angle = np.linspace(0, 2 * np.pi, 73)[:, None]
    return axis, np.cos(angle) * first + np.sin(angle) * np.cross(axis, first)


def outlines_of(region, images):
    """Outlines of a region as offsets (arcsec), a list of arrays of shape (n, 2)."""
    pixel = region.to_pixel(images.cube.wcs.celestial) if hasattr(region, "to_pixel") else region
    patch = pixel.as_artist()
    path = patch.get_patch_transform().transform_path(patch.get_path())
    return [np.stack(images.to_offset(*polygon.T), axis=-1) for polygon in path.to_polygons() if len(polygon)]


def mask_edges(cloud, images):
    """Edges of the pixels that a cut keeps, as offsets: an array of shape (n, 2, 2)."""
    n_y, n_x = images.shape[1:]
    x, y = np.round(images.to_pixel(cloud[0], cloud[1])).astype(int)
    mask = np.zeros((n_y + 2, n_x + 2), bool)
    mask[y.clip(0, n_y - 1) + 1, x.clip(0, n_x - 1) + 1] = True
    rows, columns = np.nonzero(mask[1:] != mask[:-1])
    across = np.stack([np.stack([columns - 1.5, rows - 0.5], -1), np.stack([columns - 0.5, rows - 0.5], -1)], 1)
    rows, columns = np.nonzero(mask[:, 1:] != mask[:, :-1])
    upright = np.stack([np.stack([columns - 0.5, rows - 1.5], -1), np.stack([columns - 0.5, rows - 0.5], -1)], 1)
    corners = np.concatenate([across, upright]).reshape(-1, 2)
    return np.stack(images.to_offset(*corners.T), axis=-1).reshape(-1, 2, 2)


#: In the order in which they are shown.
PANELS = (MapPanel, MomentPanel, VelocityPanel, OrbitPanel, SpectrumPanel, ResidualPanel, LossPanel)
