"""Films of a fit: how the curve moved from its start to the best epoch, drawn from the history that every fit keeps."""

import shutil
import subprocess
import tempfile
from functools import partial
from itertools import chain

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.ticker import ScalarFormatter
from PIL import Image  # which matplotlib brings
from scipy.spatial import cKDTree
from tqdm.auto import tqdm

from sting.core.likelihood import N_PARTS
from sting.evaluations import curves_of, matched_of
from sting.files import as_path, whole_file
from sting.fit_result import FitResult
from sting.messages import check_whole, in_float64, is_number, named_keywords, refuse
from sting.outputs.morphology import plot_morphology
from sting.outputs.style import DATA, MODEL, START, add_legend
from sting.outputs.velocity_plots import plot_dec_vel, plot_ra_vel, plot_vel_radius

__all__ = ["plot_dec_vel_by_epoch", "plot_morphology_by_epoch", "plot_ra_vel_by_epoch", "plot_vel_radius_by_epoch"]

#: Epochs that are evaluated at once: always as many, whatever the fit, so that one program is compiled.
BATCH = 128

#: Points of a curve, as many as the figures have.
N_POINTS = 200

#: Height of the strip that shows the loss, in inches.
STRIP = 1.5

#: Seconds for which the last frame stays.
HOLD = 1.0

#: Frames in a second at the most: a GIF counts hundredths of a second, and browsers show no frame for less than two.
LARGEST_FPS = 50


@named_keywords
def plot_morphology_by_epoch(
    result,
    streamer=None,
    path="morphology_by_epoch.gif",
    *,
    image=None,
    star_position=None,
    n_frames=100,
    fps=20,
    dpi=100,
    title=None,
    progress=True,
):
    """Film the sky of a fit, from its start to its best epoch.

    Nothing is fitted again: the frames are drawn from the history of the fit. The epochs are closer together where the curve
    moved fast. The start stays as a dashed line, and thin lines join the points to the places of the model with which they
    are compared.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit; of a joint fit that of one streamer, ``result["name"]``.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    path : str or path-like, optional
        File to write, ``*.gif`` or, where there is ffmpeg, ``*.mp4``; its folder must exist. The film takes the place of a file
        of the same name when it is complete.
    image, star_position : optional
        As for `~sting.outputs.morphology.plot_morphology`.
    n_frames : int, optional
        Frames at the most, 2 or more. A fit of fewer epochs has one for each epoch, and shows them longer.
    fps : float, optional
        Frames in a second, 1 to 50. The film takes ``n_frames / fps`` seconds, and one more for the last frame.
    dpi : float, optional
        Pixels to the inch.
    title : str, optional
        Title.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `~pathlib.Path`
        The file.

    Raises
    ------
    TypeError
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is none.
    ValueError
        If the suffix is another one or a number is out of range.
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If an MP4 is asked for and there is no ffmpeg.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> from sting.gradient_descent import fit_streamline
    >>> streamer = synthetic.make_streamer_points()
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "phi0"}
    >>> result = fit_streamline({"phi0": 40 * u.deg}, fixed, streamer, 293, n_epochs=9, save_folder=None, progress=False)
    >>> path = plot_morphology_by_epoch(result, streamer, "film.gif", n_frames=3, progress=False)
    >>> path.name
    'film.gif'
    """
    draw = partial(plot_morphology, image=image, star_position=star_position, title=title)
    return _film(draw, lambda ra, dec, velocity: (ra, dec), result, streamer, path, n_frames, fps, dpi, progress)


@named_keywords
def plot_ra_vel_by_epoch(
    result,
    streamer=None,
    path="ra_vel_by_epoch.gif",
    *,
    v_lsr=None,
    n_frames=100,
    fps=20,
    dpi=100,
    title=None,
    progress=True,
):
    """Film line-of-sight velocity against RA offset of a fit, from its start to its best epoch.

    Nothing is fitted again: the frames are drawn from the history of the fit. The epochs are closer together where the curve
    moved fast. The start stays as a dashed line, and thin lines join the points to the places of the model with which they
    are compared.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit; of a joint fit that of one streamer, ``result["name"]``.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    path : str or path-like, optional
        File to write, ``*.gif`` or, where there is ffmpeg, ``*.mp4``; its folder must exist. The film takes the place of a file
        of the same name when it is complete.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    n_frames : int, optional
        Frames at the most, 2 or more. A fit of fewer epochs has one for each epoch, and shows them longer.
    fps : float, optional
        Frames in a second, 1 to 50. The film takes ``n_frames / fps`` seconds, and one more for the last frame.
    dpi : float, optional
        Pixels to the inch.
    title : str, optional
        Title.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `~pathlib.Path`
        The file.

    Raises
    ------
    TypeError
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is none.
    ValueError
        If the suffix is another one or a number is out of range.
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If an MP4 is asked for and there is no ffmpeg.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> from sting.gradient_descent import fit_streamline
    >>> streamer = synthetic.make_streamer_points()
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "phi0"}
    >>> result = fit_streamline({"phi0": 40 * u.deg}, fixed, streamer, 293, n_epochs=9, save_folder=None, progress=False)
    >>> path = plot_ra_vel_by_epoch(result, streamer, "film.gif", n_frames=3, progress=False)
    >>> path.name
    'film.gif'
    """
    draw = partial(plot_ra_vel, title=title, v_lsr=v_lsr)
    return _film(draw, lambda ra, dec, velocity: (ra, velocity), result, streamer, path, n_frames, fps, dpi, progress)


@named_keywords
def plot_dec_vel_by_epoch(
    result,
    streamer=None,
    path="dec_vel_by_epoch.gif",
    *,
    v_lsr=None,
    n_frames=100,
    fps=20,
    dpi=100,
    title=None,
    progress=True,
):
    """Film line-of-sight velocity against Dec offset of a fit, from its start to its best epoch.

    Nothing is fitted again: the frames are drawn from the history of the fit. The epochs are closer together where the curve
    moved fast. The start stays as a dashed line, and thin lines join the points to the places of the model with which they
    are compared.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit; of a joint fit that of one streamer, ``result["name"]``.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    path : str or path-like, optional
        File to write, ``*.gif`` or, where there is ffmpeg, ``*.mp4``; its folder must exist. The film takes the place of a file
        of the same name when it is complete.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    n_frames : int, optional
        Frames at the most, 2 or more. A fit of fewer epochs has one for each epoch, and shows them longer.
    fps : float, optional
        Frames in a second, 1 to 50. The film takes ``n_frames / fps`` seconds, and one more for the last frame.
    dpi : float, optional
        Pixels to the inch.
    title : str, optional
        Title.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `~pathlib.Path`
        The file.

    Raises
    ------
    TypeError
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is none.
    ValueError
        If the suffix is another one or a number is out of range.
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If an MP4 is asked for and there is no ffmpeg.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> from sting.gradient_descent import fit_streamline
    >>> streamer = synthetic.make_streamer_points()
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "phi0"}
    >>> result = fit_streamline({"phi0": 40 * u.deg}, fixed, streamer, 293, n_epochs=9, save_folder=None, progress=False)
    >>> path = plot_dec_vel_by_epoch(result, streamer, "film.gif", n_frames=3, progress=False)
    >>> path.name
    'film.gif'
    """
    draw = partial(plot_dec_vel, title=title, v_lsr=v_lsr)
    return _film(draw, lambda ra, dec, velocity: (dec, velocity), result, streamer, path, n_frames, fps, dpi, progress)


@named_keywords
def plot_vel_radius_by_epoch(
    result,
    streamer=None,
    path="vel_radius_by_epoch.gif",
    *,
    v_lsr=None,
    n_frames=100,
    fps=20,
    dpi=100,
    title=None,
    progress=True,
):
    """Film line-of-sight velocity against projected radius of a fit, from its start to its best epoch.

    Nothing is fitted again: the frames are drawn from the history of the fit. The epochs are closer together where the curve
    moved fast. The start stays as a dashed line, and thin lines join the points to the places of the model with which they
    are compared.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit; of a joint fit that of one streamer, ``result["name"]``.
    streamer : `~sting.streamer.Streamer`, optional
        The data; None draws the model alone.
    path : str or path-like, optional
        File to write, ``*.gif`` or, where there is ffmpeg, ``*.mp4``; its folder must exist. The film takes the place of a file
        of the same name when it is complete.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    n_frames : int, optional
        Frames at the most, 2 or more. A fit of fewer epochs has one for each epoch, and shows them longer.
    fps : float, optional
        Frames in a second, 1 to 50. The film takes ``n_frames / fps`` seconds, and one more for the last frame.
    dpi : float, optional
        Pixels to the inch.
    title : str, optional
        Title.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `~pathlib.Path`
        The file.

    Raises
    ------
    TypeError
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is none.
    ValueError
        If the suffix is another one or a number is out of range.
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If an MP4 is asked for and there is no ffmpeg.

    Examples
    --------
    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> from sting.gradient_descent import fit_streamline
    >>> streamer = synthetic.make_streamer_points()
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "phi0"}
    >>> result = fit_streamline({"phi0": 40 * u.deg}, fixed, streamer, 293, n_epochs=9, save_folder=None, progress=False)
    >>> path = plot_vel_radius_by_epoch(result, streamer, "film.gif", n_frames=3, progress=False)
    >>> path.name
    'film.gif'
    """
    draw = partial(plot_vel_radius, title=title, v_lsr=v_lsr)
    return _film(
        draw, lambda ra, dec, velocity: (np.hypot(ra, dec), velocity), result, streamer, path, n_frames, fps, dpi, progress
    )


def _film(draw, place, result, streamer, path, n_frames, fps, dpi, progress):
    """Check everything, then draw the frames and write the film as they come."""
    path = _checked_path(path)
    _check(result, streamer)
    n_frames = check_whole("n_frames", n_frames, 2, 100)
    for name, value, lowest, highest, example in (("fps", fps, 1, LARGEST_FPS, 20), ("dpi", dpi, 20, 600, 100)):
        if not (is_number(value) and lowest <= value <= highest):
            refuse(name, f"be a number from {lowest} to {highest}", repr(value), f"Use for example {example}.")
    with whole_file(path, overwrite=True) as file:
        film = _Film(draw(result, streamer), place, result, streamer is not None, n_frames, dpi)
        n = len(film.epochs)
        numbers = tqdm(range(n), unit="frame", desc="filming", disable=not progress, leave=False)
        frames = (film.frame(number) for number in numbers)
        ends = np.arange(n + 1) * n_frames / fps / n
        ends[-1] += HOLD
        if path.suffix == ".gif":
            _write_gif(file, frames, _ticks(ends, 0.01), np.vstack([film.frame(0), film.frame(n - 1)]))
        else:
            _write_mp4(file, frames, _ticks(ends, 1 / fps), fps)
    return path


def _checked_path(path):
    path = as_path("path", path)
    if path.suffix not in (".gif", ".mp4"):
        refuse("path", "end in .gif or .mp4", repr(str(path)), "Name it for example 'fit.gif'.")
    if path.suffix == ".mp4" and _ffmpeg() is None:
        cure = "Name it .gif, or install ffmpeg or the package imageio-ffmpeg."
        refuse("path", "end in .gif where there is no ffmpeg", repr(str(path)), cure, ImportError)
    return path


def _check(result, streamer):
    if not isinstance(result, FitResult):
        cure = "Give the fit from which a posterior was drawn, or result['name'] of a joint fit."
        refuse("result", "be the fit of one streamer, which has a history", type(result).__name__, cure, TypeError)
    if streamer is not None and not hasattr(streamer, "pc_coords"):
        refuse("streamer", "be a Streamer or None", repr(streamer), "Use the result of reduce_to_1D.", TypeError)


class _Film:
    """A figure of a fit of which only the model is drawn anew for each frame.

    The figure shows the best fit: its line "model" is what moves.
    """

    def __init__(self, figure, place, result, joined, n_frames, dpi):
        x = result.history[: result.best_epoch + 1, 2 + N_PARTS :]
        problem, settings = result.problem, result.settings
        matched = _matched(x, problem, settings)
        self.epochs = _chosen_epochs(matched / problem["sigma"], n_frames)
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
    figure.canvas.draw()
    figure.set_layout_engine("none")
    # the best place is that beside the start and the end: it shall not change between them
    corner = ax.transAxes.inverted().transform(ax.get_legend().get_window_extent().min)
    ax.get_legend().set_loc(tuple(corner))
    place = ax.get_position()
    strip = figure.add_axes((place.x0, 0.5 / total, place.width, (STRIP - 0.75) / total))
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
    found = []
    for first in range(0, len(x), BATCH):
        batch = x[first : first + BATCH]
        filled = np.concatenate([batch, np.repeat(batch[-1:], BATCH - len(batch), axis=0)])
        found.append(np.asarray(curves_of(filled, problem, settings, N_POINTS))[: len(batch)])
    return np.concatenate(found)


def _chosen_epochs(places, n_frames):
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


def _ticks(ends, tick):
    """Durations as numbers of ticks, without any drift, from the times at which the frames begin and end."""
    return np.diff(np.round(ends / tick).astype(int)).tolist()


def _cells(pixels):
    """Number of the cell of colours, of four levels in each channel, for each pixel."""
    red, green, blue = np.moveaxis(pixels.astype(np.uint32) >> 2, -1, 0)
    return (red << 12) | (green << 6) | blue


def _colours(sample):
    """The 256 most frequent colours of a picture, one in a cell, and for each cell the nearest of them.

    Pillow's own choice would tint the greys.
    """
    red, green, blue = np.moveaxis(sample.astype(np.uint32), -1, 0)
    codes, counts = np.unique((red << 16) | (green << 8) | blue, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    colours = np.stack([codes >> 16, codes >> 8, codes], axis=-1)[order].astype(np.uint8)  # which keeps the last byte
    # the most frequent colour stands for its cell
    cells, first, cell_of = np.unique(_cells(colours), return_index=True, return_inverse=True)
    total = np.bincount(cell_of, weights=counts[order])
    chosen = np.argsort(-total, kind="stable")[:256]
    palette = colours[first[chosen]]
    middles = 4 * np.stack(np.unravel_index(np.arange(64**3), (64, 64, 64)), axis=1) + 1.5
    nearest = cKDTree(palette).query(middles)[1].astype(np.uint8)
    nearest[cells[chosen]] = np.arange(len(chosen))
    return palette, nearest


def _write_gif(file, frames, hundredths, sample):
    """Write a GIF with the colours of a sample picture."""
    palette, nearest = _colours(sample)

    def indexed(frame):
        image = Image.fromarray(nearest[_cells(np.asarray(frame))])
        image.putpalette(palette.tobytes())
        return image

    images = map(indexed, frames)
    first = next(images)
    durations = [10 * part for part in hundredths]
    # Pillow would leave a file open if it were interrupted
    with open(file, "wb") as stream:
        first.save(stream, format="GIF", save_all=True, append_images=images, duration=durations, loop=0)


def _ffmpeg():
    """Path of ffmpeg, or None where there is none."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def _write_mp4(file, frames, repeats, fps):
    """Write an MP4 that every player plays: ffmpeg's own encoder, colours at half the resolution, even sizes."""
    first = next(frames)
    size = f"{first.width}x{first.height}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "-"]
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white"
    target = ["-vf", even, "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(file)]
    command = [_ffmpeg(), "-loglevel", "error", "-y", *source, *target]
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints) as process:
            try:
                for frame, n in zip(chain([first], frames), repeats, strict=True):
                    process.stdin.write(frame.tobytes() * n)
                process.stdin.close()
            except BrokenPipeError:
                pass  # its complaint says why
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            complaints.seek(0)
            raise OSError(f"ffmpeg could not write {file.name!r}: {complaints.read().decode(errors='replace').strip()}")
