"""Films of a fit: how the curve moved from its start to the best epoch, drawn from the history that every fit keeps."""

from functools import partial

import numpy as np
from tqdm.auto import tqdm

from sting.files import as_path, whole_file
from sting.fit_result import FitResult
from sting.messages import check_whole, is_number, named_keywords, refuse
from sting.outputs.film_files import find_ffmpeg, ticks, write_gif, write_mp4
from sting.outputs.film_frames import Film
from sting.outputs.morphology import plot_morphology
from sting.outputs.velocity_plots import plot_dec_vel, plot_ra_vel, plot_vel_radius

__all__ = ["plot_dec_vel_by_epoch", "plot_morphology_by_epoch", "plot_ra_vel_by_epoch", "plot_vel_radius_by_epoch"]

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
    """Film a fit on the sky, from its start to its best epoch.

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
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is no streamer.
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
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is no streamer.
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
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is no streamer.
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
        If ``result`` is not the fit of one streamer, such as a posterior, which has no epochs, or ``streamer`` is no streamer.
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
    fps, dpi = _number("fps", fps, 1, LARGEST_FPS, 20), _number("dpi", dpi, 20, 600, 100)
    with whole_file(path, overwrite=True) as file:
        film = Film(draw(result, streamer), place, result, streamer is not None, n_frames, dpi)
        n = len(film.epochs)
        numbers = tqdm(range(n), unit="frame", desc="filming", disable=not progress, leave=False)
        frames = (film.frame(number) for number in numbers)
        ends = np.arange(n + 1) * n_frames / fps / n
        ends[-1] += HOLD
        if path.suffix == ".gif":
            write_gif(file, frames, ticks(ends, 0.01), np.vstack([film.frame(0), film.frame(n - 1)]))
        else:
            write_mp4(file, frames, ticks(ends, 1 / fps), fps)
    return path


def _number(name, value, lowest, highest, example):
    if not (is_number(value) and lowest <= value <= highest):
        refuse(name, f"be a number from {lowest} to {highest}", repr(value), f"Use for example {example}.")
    return float(value)


def _checked_path(path):
    path = as_path("path", path)
    if path.suffix not in (".gif", ".mp4"):
        refuse("path", "end in .gif or .mp4", repr(str(path)), "Name it for example 'fit.gif'.")
    if path.suffix == ".mp4" and find_ffmpeg() is None:
        cure = "Name it .gif, or install ffmpeg or the package imageio-ffmpeg."
        refuse("path", "end in .gif where there is no ffmpeg", repr(str(path)), cure, ImportError)
    return path


def _check(result, streamer):
    if not isinstance(result, FitResult):
        cure = "Give the fit from which a posterior was drawn, or result['name'] of a joint fit."
        refuse("result", "be the fit of one streamer, which has a history", type(result).__name__, cure, TypeError)
    if streamer is not None and not hasattr(streamer, "pc_coords"):
        refuse("streamer", "be a Streamer or None", repr(streamer), "Use the result of reduce_to_1D.", TypeError)
