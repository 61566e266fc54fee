"""The results folder: every file is written under a temporary name and moved into place, and nothing else is touched."""

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from sting.garbage import kept
from sting.messages import refuse
from sting.profile import ONE_SIGMA

__all__ = ["check_folder", "save_best_fit_params", "save_joint_results", "save_optimisation_log", "save_results"]


#: Dots per inch of figures in files.
DPI = 200


def check_folder(folder):
    """Refuse a results folder that could not be written, without creating anything.

    Parameters
    ----------
    folder : str or path-like
        The folder; it may not exist yet.

    Raises
    ------
    OSError
        If it, or the folder that would hold it, is not a writable folder.

    Examples
    --------
    >>> check_folder("sting_results")
    """
    try:
        path = Path(folder).absolute()
    except TypeError:
        refuse("save_folder", "be a path or None", repr(folder), "Use for example 'sting_results'.", TypeError)
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        refuse("save_folder", "be a folder that can be written", repr(str(folder)), "Choose another one.", OSError)


def save_best_fit_params(result, path):
    """Write the best-fit parameters as JSON: value, unit and, for the free ones, sigma or the interval of 68 per cent of each.

    Where a parameter is near Gaussian ``sigma`` is its uncertainty; where it is not ``lower`` and ``upper`` are the ends of the
    interval from its profile likelihood, null where there is none.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    path : str or path-like
        File to write.

    Examples
    --------
    >>> save_best_fit_params(result, "best_fit_params.json")
    """
    content = {
        "optimised_parameters": {
            n: {"value": float(v.value), "unit": v.unit.to_string()} | _uncertainty(n, result)
            for n, v in result.best_opt_params.items()
        },
        "fixed_parameters": {n: {"value": float(v.value), "unit": v.unit.to_string()} for n, v in result.fixed_params.items()},
        "loss": result.loss,
        "status": result.status,
        "notes": result.notes,
    }
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _uncertainty(name, result):
    near = result.near_gaussian[name]
    if near is not False:
        return {"near_gaussian": near, "sigma": _finite(result.param_errors[name].value)}
    profile = result.profiler
    ends = (profile.shown(name, profile.end(name, side, ONE_SIGMA).value).value for side in (-1, 1))
    return {"near_gaussian": False} | dict(zip(("lower", "upper"), map(_finite, ends), strict=True))


def _finite(value):
    """JSON knows no infinity: null says that nothing constrains the parameter."""
    return float(value) if np.isfinite(value) else None


def save_optimisation_log(result, path):
    """Write loss, its parts and all parameters at each epoch as CSV, the units in the header.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    path : str or path-like
        File to write.

    Examples
    --------
    >>> save_optimisation_log(result, "optimisation_log.csv")
    """
    table = result.parameter_history()
    units = {name: getattr(table[name], "unit", None) for name in table.colnames}
    header = [f"{name} [{unit}]" if unit else name for name, unit in units.items()]
    columns = np.column_stack([np.asarray(getattr(table[name], "value", table[name])) for name in table.colnames])
    lines = [",".join([str(int(row[0])), *(f"{value:.10g}" for value in row[1:])]) for row in columns]
    Path(path).write_text("\n".join([",".join(header), *lines]) + "\n", encoding="utf-8")


@kept()
def save_results(result, streamer, folder="sting_results", *, v_lsr=None, show=False, films=False, figures=True, progress=True):
    """Write everything of a fit into a folder: parameters, log, figures and, if asked for, films.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    streamer : `~sting.streamer.Streamer`
        The data that were fitted.
    folder : str, path-like or None, optional
        Created if missing; files of the same names are replaced, all others left alone. None writes nothing.
    v_lsr : `~astropy.units.Quantity`, optional
        Systemic velocity to draw; by default that of the fit.
    show : bool, optional
        Whether to show the figures as well.
    films : bool, optional
        Whether to write films of the fit by epoch as well, as GIF.
    figures : bool, optional
        Whether to draw figures.
    progress : bool, optional
        Whether to show a progress bar while figures and films are made.

    Returns
    -------
    list of `~pathlib.Path`
        The files written.

    Raises
    ------
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> files = save_results(result, streamer, "sting_results")
    >>> sorted(file.name for file in files)[:3]
    ['best_fit.ecsv', 'best_fit_dec_vel.png', 'best_fit_morphology.png']
    """
    if folder is not None:
        check_folder(folder)
    drawn = _figures(result, streamer, v_lsr) if figures else {}
    written = _save(folder, show, drawn, lambda temporary: _write_fit(result, temporary), progress)
    # the films come last: whoever will not wait for them has all else
    return written + _write_films({"": result}, {"": streamer}, folder, v_lsr, progress) if films and written else written


@kept()
def save_joint_results(result, streamers, folder="sting_results", *, show=False, films=False, progress=True):
    """Write everything of a joint fit into a folder: the fit as a whole, and in a folder of its own what concerns each streamer.

    Parameters
    ----------
    result : `~sting.joint_result.JointResult`
        The fit.
    streamers : dict of `~sting.streamer.Streamer`
        The data that were fitted, by the names of the streamers.
    folder : str, path-like or None, optional
        Created if missing; files of the same names are replaced, all others left alone. None writes nothing.
    show : bool, optional
        Whether to show the figures as well.
    films : bool, optional
        Whether to write films of each streamer by epoch as well, as GIF.
    progress : bool, optional
        Whether to show a progress bar while figures and films are made.

    Returns
    -------
    list of `~pathlib.Path`
        The files written.

    Raises
    ------
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> from sting import fit_jointly, synthetic
    >>> streamers = {"HC3N": streamer, "H2CO": synthetic.make_streamer_points(seed=2)}
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_lsr"}
    >>> joint = fit_jointly(streamers, {"v_lsr": 7.4}, fixed, 293, optimizer="lbfgs", save_folder=None, progress=False)
    >>> files = save_joint_results(joint, streamers, "sting_results")
    >>> sorted(file.name for file in files if file.parent.name == "HC3N")[:2]
    ['best_fit_dec_vel.png', 'best_fit_morphology.png']
    """
    from sting.outputs.fit_plots import plot_loss

    if folder is not None:
        check_folder(folder)
    figures = {"loss_history.png": plot_loss(result)}
    for name, fit in result.fits.items():
        figures |= {f"{name}/{file}": figure for file, figure in _figures(fit, streamers[name], None).items()}
    written = _save(folder, show, figures, lambda temporary: _write_joint_fit(result, temporary), progress)
    return written + _write_films(result.fits, streamers, folder, None, progress) if films and written else written


def load_figures():
    """Import all that the figures of a fit need, which takes as long as a fit."""
    from sting.outputs import fit_plots, morphology, velocity_plots  # noqa: F401


def _figures(result, streamer, v_lsr):
    from sting.outputs import fit_plots, morphology, velocity_plots

    return {
        "best_fit_morphology.png": morphology.plot_morphology(result, streamer),
        "best_fit_ra_vel.png": velocity_plots.plot_ra_vel(result, streamer, v_lsr=v_lsr),
        "best_fit_dec_vel.png": velocity_plots.plot_dec_vel(result, streamer, v_lsr=v_lsr),
        "best_fit_vel_radius.png": velocity_plots.plot_vel_radius(result, streamer, v_lsr=v_lsr),
        "residuals.png": fit_plots.plot_residuals(result),
        "loss_history.png": fit_plots.plot_loss(result),
        "parameter_history.png": fit_plots.plot_param_optimisation_history(result),
        "parameter_uncertainties.png": fit_plots.plot_param_uncertainties(result),
        "parameter_correlation_matrix.png": fit_plots.plot_param_correlations(result),
        "streamline_samples.png": fit_plots.plot_streamline_covariance_samples(result, streamer, v_lsr=v_lsr, seed=0),
    }


def _write_tables(result, folder):
    save_best_fit_params(result, folder / "best_fit_params.json")
    save_optimisation_log(result, folder / "optimisation_log.csv")


def _write_fit(result, folder):
    _write_tables(result, folder)
    result.write(folder / "best_fit.ecsv")


def _write_films(fits, streamers, folder, v_lsr, progress):
    """Write the films of fits, each into a folder of its name."""
    from sting.outputs import animation

    written = []
    for name, fit in fits.items():
        for kind in ("morphology", "ra_vel", "dec_vel", "vel_radius"):
            keywords = {} if kind == "morphology" else {"v_lsr": v_lsr}
            film = getattr(animation, f"plot_{kind}_by_epoch")
            path = Path(folder) / name / f"{kind}_by_epoch.gif"
            written.append(film(fit, streamers[name], path, progress=progress, **keywords))
    return written


def _write_joint_fit(result, folder):
    result.write(folder / "best_fit.ecsv")
    for name, fit in result.fits.items():
        (folder / name).mkdir()
        _write_tables(fit, folder / name)


def _save(folder, show, figures, write, progress):
    """Show figures; write them and what ``write`` writes into a temporary folder, and move all into place."""
    from sting.outputs import style

    if show:
        style.show(figures.values())
    if folder is None:
        return []
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # while one figure is drawn the one before is compressed
    with tempfile.TemporaryDirectory(dir=folder, prefix=".sting-") as name, ThreadPoolExecutor(1) as encoder:
        temporary = Path(name)
        write(temporary)
        words, jobs = f"writing to {folder}", []
        for file, figure in tqdm(figures.items(), unit="figure", desc=words, disable=not (progress and figures), leave=True):
            jobs.append(encoder.submit(style.encode_png, style.draw_pixels(figure, DPI), temporary / file, DPI))
        for job in jobs:
            job.result()
        written = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
        for file in written:
            (folder / file).parent.mkdir(exist_ok=True)
            os.replace(temporary / file, folder / file)
    return [folder / file for file in written]
