"""The maps: a channel, and moments of the velocity range, with everything that is drawn over them."""

import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize, LinearStretch, LogStretch, SqrtStretch
from matplotlib.collections import LineCollection
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from sting.explorer.artists import DATA, MASK, MODEL, PIXEL, REGION, SAMPLES, STAR, Dots, ErrorBars, Panel
from sting.sky_regions import to_pixel

_STRETCHES = {"linear": LinearStretch, "sqrt": SqrtStretch, "log": LogStretch, "asinh": AsinhStretch}

#: A click hits the dot of a cluster within so many pixels of the screen.
NEAR = 6

#: Images with more pixels a side are thinned before contours are drawn.
CONTOUR_SIZE = 300


class SkyPanel(Panel):
    """An image of the sky as offsets from the star, with everything that is drawn over it."""

    size = (3.4, 3.1)
    margins = (0.14, 0.85, 0.13, 0.92)
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
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        ax.apply_aspect()
        box = ax.get_position()
        self.colorbar = self.figure.colorbar(self.image, cax=self.figure.add_axes((box.x1 + 0.015, box.y0, 0.025, box.height)))
        self.colorbar.ax.tick_params(labelsize=7)
        ax.set_facecolor("#d8d8d8")
        ax.set_xlabel("RA offset (arcsec)", fontsize=8)
        ax.set_ylabel("Dec offset (arcsec)", fontsize=8)
        ax.plot(0, 0, "*", color=STAR, mec="k", mew=0.8, ms=12, zorder=8)
        self._draw_beam()
        self._draw_scale_bar()
        self.points = ErrorBars(ax, DATA)
        self.samples = ax.add_collection(LineCollection([], colors=SAMPLES, linewidths=0.5, alpha=0.5, zorder=4), autolim=False)
        self.outlines = ax.add_collection(LineCollection([], colors=REGION, linewidths=1.5, zorder=6), autolim=False)
        self.mask = ax.add_collection(LineCollection([], colors=MASK, linewidths=0.9, zorder=3), autolim=False)
        # the emission is seen between them, as far as pixels are larger than what can be drawn
        size = 0.75 * self._pixel / self._screen_pixel * 72 / self.figure.dpi
        self.clusters, self.seen = Dots(ax, ms=min(max(size, 1.2), 2.6)), np.zeros(0, int)
        self.contours = None
        self.model = self._live([], [], color=MODEL, lw=2, zorder=7, path_effects=[withStroke(linewidth=3.5, foreground="k")])
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
        self._refresh_clusters()

    def velocity_range(self):
        """Lowest and highest velocity of what the picture shows, either of which may be None."""
        raise NotImplementedError

    def _refresh_clusters(self):
        known = self.state.known
        if known is None or not self.state.display.clusters:
            self.seen = np.zeros(0, int)
            self.clusters.clear()
            return
        self.seen = known.seen(*self.velocity_range())
        self.clusters.set(known.ra[self.seen], known.dec[self.seen], known.number[self.seen])

    def cluster_at(self, ra, dec):
        """Cluster whose dot is under the pointer, or None."""
        self.prepare()
        within = max(self._pixel, NEAR * self._screen_pixel)
        return None if not len(self.seen) else self.state.known.nearest(ra, dec, self.seen, within)

    @property
    def _pixel(self):
        """Size of a pixel of the cube (arcsec)."""
        return np.sqrt(abs(np.linalg.det(self.state.images.matrix)))

    @property
    def _screen_pixel(self):
        """Size of a pixel of the screen (arcsec)."""
        return abs(np.subtract(*self.ax.get_xlim())) / self.ax.bbox.width

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
        {"cut", "result", "clusters"}
        | {f"display.{name}" for name in ("channel", "stretch", "colormap", "low", "high", "contours", "clusters")}
    )

    def velocity_range(self):
        return (self.state.images.velocity[self.state.display.channel],) * 2

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
        self.heading.set_text(f"Channel {display.channel}: {images.velocity[display.channel]:.2f} km/s")
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
    topics = frozenset({"cut", "result", "clusters", "display.moment", "display.colormap", "display.clusters"})

    def build(self):
        super().build()
        self._range = None

    def velocity_range(self):
        return self.state.session.vmin, self.state.session.vmax

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
        self.heading.set_text(words + (f", {_range_words(*limits)}" if span else ""))


def _range_words(low, high):
    if low is None:
        return f"below {high:g} km/s"
    return f"above {low:g} km/s" if high is None else f"{low:g} to {high:g} km/s"


def outlines_of(region, images):
    """Outlines of a region as offsets (arcsec), a list of arrays of shape (n, 2)."""
    pixel = to_pixel(region, images.cube.wcs.celestial)
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
