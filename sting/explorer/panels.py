"""The panels beside the maps: velocity, spectrum, orbit, residuals and loss."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy.spatial import cKDTree

from sting.explorer.artists import DARK, MODEL, PIXEL, SAMPLES, STAR, Dots, ErrorBars, Panel
from sting.explorer.sky_panels import MapPanel, MomentPanel
from sting.outputs.orbit_plot import disk_of


class VelocityPanel(Panel):
    """Velocity against projected radius, or against the length along the model."""

    name = "pv"
    title = "Velocity"
    size = (3.4, 2.9)
    margins = (0.15, 0.97, 0.14, 0.91)
    topics = frozenset({"cut", "result", "clusters", "display.pv_axis", "display.channel", "display.clusters"})
    live_topics = frozenset({"model", "cut", "display.pv_axis"})

    def build(self):
        ax = self.ax
        self.image = ax.imshow(np.full((2, 2), np.nan), origin="lower", aspect="auto", cmap="Greys", zorder=0)
        self.image.set_mouseover(False)
        self.points = ErrorBars(ax, DARK)
        self.clusters = Dots(ax, zorder=0.5, ms=1.6)
        self.samples = ax.add_collection(LineCollection([], colors=SAMPLES, linewidths=0.5, alpha=0.5, zorder=3), autolim=False)
        self.channel = ax.axhline(0, color=PIXEL, lw=1, zorder=1)
        # from side to side, wherever the axes are zoomed to
        self.systemic = self._live([0, 1], [0, 0], color="0.4", ls="--", lw=1, zorder=1, transform=ax.get_yaxis_transform())
        self.model = self._live([], [], color=MODEL, lw=2, zorder=6)
        ax.set_ylabel("velocity (km/s)", fontsize=8)
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
        self.systemic.set_ydata([self.state.session.values["v_lsr"]] * 2)

    def refresh(self, topics):
        state = self.state
        self.channel.set_ydata([state.images.velocity[state.display.channel]] * 2)
        if topics & {"cut", "clusters", "display.clusters", "display.pv_axis"}:
            self._refresh_clusters()
        if topics & {"cut", "result", "clusters", "display.pv_axis"}:
            self._refresh_cut()

    def _refresh_clusters(self):
        known = self.state.known
        if known is None or not self.state.display.clusters:
            self.clusters.clear()
        else:
            self.clusters.set(self._x(known.ra, known.dec), known.velocity, known.number)

    def _refresh_cut(self):
        state, ax = self.state, self.ax
        ax.set_xlabel("length along the model (arcsec)" if self.along_path else "projected radius (arcsec)", fontsize=8)
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
        # without a cut, all clusters come into sight
        wanted = id(state.streamer_cube), self.along_path, state.streamer is None and state.clusters is not None
        if wanted == self._limits_for:
            return
        self._limits_for = wanted
        curve = state.comparison.curve
        reach = self._x(*curve.T[:2]).max()
        low, high = curve[:, 2].min(), curve[:, 2].max()
        if state.streamer is not None:
            ra, dec, velocity, _ = state.streamer.pc_coords
            reach, low, high = 1.1 * self._x(ra, dec).max(), velocity.min(), velocity.max()
        elif state.known is not None:
            velocity = state.known.velocity
            reach, low, high = 1.1 * self._x(state.known.ra, state.known.dec).max(), velocity.min(), velocity.max()
        margin = 0.12 * (high - low) + 0.1
        self.ax.set(xlim=(0, max(reach, 1e-3)), ylim=(low - margin, high + margin))


class SpectrumPanel(Panel):
    """Spectrum of the pixel under the pointer."""

    name = "spectrum"
    title = "Spectrum"
    size = (3.4, 2.0)
    margins = (0.15, 0.95, 0.22, 0.87)
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
        self.ax.set_xlabel("velocity (km/s)", fontsize=8)
        self.ax.set_ylabel(images.unit, fontsize=8)

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
    size = (3.4, 2.9)
    margins = (0.0, 0.95, 0.06, 0.98)
    title_height = 0.93
    topics = frozenset({"cut", "result"})
    live_topics = frozenset({"model"})

    def _fix_labels(self):
        pass  # they turn with the axes

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
    size = (3.4, 2.0)
    margins = (0.15, 0.95, 0.22, 0.87)
    topics = frozenset({"cut", "options"})
    live_topics = frozenset({"model", "cut", "options"})
    _looks = (("o", DARK), ("s", MODEL), ("^", SAMPLES))

    def build(self):
        ax = self.ax
        for level in (-1, 0, 1):
            ax.axhline(level, color="0.6", lw=0.6 + 0.4 * (level == 0), ls="-" if level == 0 else ":", zorder=0)
        self.lines = [self._live([], [], marker, color=color, ms=5, ls="none", zorder=3) for marker, color in self._looks]
        ax.set_xlabel("point, from the outside in", fontsize=8)
        ax.set_ylabel("data - model (sigma)", fontsize=8)
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
        self.ax.set_xlim(0.5, max(state.session.n_elements if state.streamer is None else len(state.streamer), 2) + 0.5)
        handles = [Line2D([], [], marker=m, color=c, ls="none", ms=4) for m, c in self._looks]
        look = {"fontsize": 7, "ncols": 3, "frameon": False, "handletextpad": 0.1, "columnspacing": 1.0}
        self.legend = self.ax.legend(handles, names, loc="lower right", bbox_to_anchor=(1.01, 0.97), **look)


class LossPanel(Panel):
    """Loss against epoch."""

    name = "loss"
    title = "Loss of the fit"
    size = (3.4, 2.0)
    margins = (0.15, 0.95, 0.22, 0.87)
    topics = frozenset({"result"})
    live_topics = frozenset({"fit", "result"})

    def build(self):
        self.line = self._live([], [], color=DARK, lw=1.5, zorder=3)
        self.best = self._live([], [], "o", color=MODEL, ms=5, zorder=4)
        self.ax.set_yscale("log")
        # plain numbers: no formulas in what changes
        self.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
        self.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        self.ax.yaxis.set_minor_locator(NullLocator())
        self.ax.set(xlim=(0, 1000), ylim=(0.1, 100))
        self.ax.xaxis.set_major_locator(MaxNLocator(4))
        self.ax.set_xlabel("epoch", fontsize=8)
        self.ax.set_ylabel("chi2 + priors", fontsize=8)

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
            # while a fit runs there is room for what comes: drawing the axes anew takes time from it
            room, last = (10, _round_above(1.5 * len(losses))) if self.state.busy else (2, len(losses))
            self.ax.set(xlim=(0, max(last, 10)), ylim=(finite.min() / room, 2 * finite.max()))
            self.stale = True

    def notice(self, topics):
        self._topics |= topics & self.topics
        _, moved = super().notice(topics)
        return self.stale, moved


def _round_above(number):
    """The first of 1, 2, 5, 10, 20, 50 ... that is not below a number of at least 1."""
    power = 10.0 ** np.floor(np.log10(number))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= number)


def path_length(curve):
    """Projected length (arcsec) along a curve from its inner end, shape (n,)."""
    steps = np.hypot(*np.diff(curve[:, :2], axis=0).T)
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)


#: In the order in which they are shown.
PANELS = (MapPanel, MomentPanel, VelocityPanel, OrbitPanel, SpectrumPanel, ResidualPanel, LossPanel)
