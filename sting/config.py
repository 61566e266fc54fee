"""One fit as a file or a dict describes it: checked before a cube is read, then run."""

import inspect
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from sting.files import existing_file
from sting.messages import check_choice, check_whole, refuse, suggest

__all__ = ["Config", "check_config", "read_toml", "run_config"]

_TOP = ("cube", "star", "frame", "distance", "output", "films", "figures", "cut", "start", "fixed", "bounds", "priors", "fit")
_CUT_TEXT = ("region", "islands", "uncertainty", "ordering")
_REDUCE = ("n_elements", "uncertainty", "ordering", "min_beams")
_EXAMPLE = "`sting demo` writes one to start from."


@dataclass(frozen=True, eq=False)
class Config:
    """One fit, checked as far as that can be without its cube.

    Attributes
    ----------
    cube, output : `~pathlib.Path`
        Where the data are, and where the results go.
    star : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    figures, films : bool
        What is drawn of the fit.
    cut, reduce : dict
        Keywords of `~sting.extract_streamline.extract_streamer_subcube` and `~sting.extract_streamline.reduce_to_1D`.
    start : dict or {"auto"}
        Free parameters, as Quantities or numbers.
    fixed : dict
        Fixed ones.
    fit : dict
        Keywords of `~sting.gradient_descent.fit_streamline`.
    """

    cube: Path
    output: Path
    star: SkyCoord
    distance: u.Quantity
    figures: bool
    films: bool
    cut: dict
    reduce: dict
    start: dict
    fixed: dict
    fit: dict

    def run(self, *, progress=True, films=False):
        """Read the cube, cut, reduce, fit and write the results.

        Parameters
        ----------
        progress : bool, optional
            Whether to show progress.
        films : bool, optional
            Whether to write films even if the configuration does not ask for them.

        Returns
        -------
        `~sting.fit_result.FitResult`
        """
        from sting import extract_streamline, gradient_descent

        _say(progress, f"reading and cutting {self.cube}")
        streamer_cube = extract_streamline.extract_streamer_subcube(self.cube, center=self.star, **self.cut)
        streamer = extract_streamline.reduce_to_1D(streamer_cube, self.star, **self.reduce)
        _say(progress, f"{len(streamer)} points from {streamer.pc_coords.shape[1]} voxels")
        result = gradient_descent.fit_streamline(
            self.start,
            self.fixed,
            streamer,
            self.distance,
            save_folder=self.output,
            progress=progress,
            figures=self.figures,
            films=films or self.films,
            **self.fit,
        )
        _say(progress, f"results written to {self.output}")
        return result


def run_config(path, *, progress=True, films=False):
    """Run the fit that a TOML file describes.

    Parameters
    ----------
    path : str or path-like
        The file; paths in it are relative to its folder.
    progress : bool, optional
        Whether to show a progress bar.
    films : bool, optional
        Whether to write films of the fit even if the file does not ask for them.

    Returns
    -------
    `~sting.fit_result.FitResult`

    Raises
    ------
    ValueError
        If an entry is unknown, missing or wrong.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sting import synthetic
    >>> synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64)).cube.write("cube.fits")
    >>> lines = ['cube = "cube.fits"', 'star = "03h28m55.569s +31d14m37.025s"', 'frame = "fk5"', 'distance = "293 pc"']
    >>> lines += ["[cut]", "rms_thresh = 5", "[start]", 'v_lsr = "7.4 km/s"', "[fit]", 'optimizer = "lbfgs"', "[fixed]"]
    >>> lines += [f'{name} = "{value}"' for name, value in synthetic.TRUTH.items() if name != "v_lsr"]
    >>> _ = Path("streamer.toml").write_text("\\n".join(lines))
    >>> result = run_config("streamer.toml", progress=False)
    >>> print(result.best_opt_params["v_lsr"].round(1))
    7.5 km / s
    """
    from sting import outputs

    config = check_config(read_toml(path), Path(path).parent)
    outputs.check_folder(config.output)
    return config.run(progress=progress, films=films)


def read_toml(path):
    """Read a TOML file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("streamer.toml").write_text('distance = "293 pc"')
    >>> read_toml("streamer.toml")
    {'distance': '293 pc'}
    """
    path = existing_file("CONFIG", path, cure=_EXAMPLE)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        refuse("CONFIG", "be a TOML file", f"{path.name!r} ({error})", "Correct the line that is named.")


def check_config(content, folder="."):
    """Check everything that a configuration says but the cube.

    Parameters
    ----------
    content : dict
        What a file of ``sting fit`` holds, see the example that ``sting demo`` writes.
    folder : str or path-like, optional
        Where its paths count from.

    Returns
    -------
    `Config`

    Raises
    ------
    ValueError, TypeError, `~astropy.units.UnitsError`
        If an entry is unknown, missing or wrong.

    Examples
    --------
    >>> content = {"cube": "cube.fits", "star": "03h28m55.6s +31d14m37s", "distance": "293 pc"}
    >>> content |= {"start": "auto", "fixed": {"mass": "1 Msun"}, "fit": {"n_starts": 64}}
    >>> check_config(content).fit["n_starts"]
    64
    """
    check_keys("CONFIG", content, _TOP)
    for key in ("cube", "star", "distance", "start"):
        if key not in content:
            refuse(key, "be given", "nothing", f"Add it to the configuration; {_EXAMPLE}")
    cut, reduce = _check_cut(content.get("cut", {}), Path(folder))
    flags = {name: _flag(content, name, default) for name, default in (("figures", True), ("films", False))}
    start = content["start"] if content["start"] == "auto" else _quantities("start", content)
    fixed = _quantities("fixed", content)
    distance = _quantity("distance", content["distance"])
    fit = {"param_bounds": _quantities("bounds", content), "priors": _quantities("priors", content)}
    fit |= _check_fit(content.get("fit", {}), start, fixed, distance, fit)
    output = Path(folder) / _path("output", content.get("output", "sting_results"))
    cube = Path(folder) / _path("cube", content["cube"])
    return Config(cube, output, _star(content), distance, **flags, cut=cut, reduce=reduce, start=start, fixed=fixed, fit=fit)


def check_keys(section, content, known):
    """Refuse what is no section, and keys that are not ``known``."""  # numpydoc ignore=PR01
    if not isinstance(content, dict):
        refuse(section, "be a section", repr(content), f"Write [{section}] and one line for each entry.", TypeError)
    for key in content:
        if key not in known:
            refuse(section, "hold known entries only", repr(key), suggest(key, list(known)))


def _check_fit(options, start, fixed, distance, known):
    from sting import problem, search

    own = {"initial", "fixed", "distance", "param_bounds", "priors", "keep_rotation"}
    steering = inspect.signature(problem.state_fit).parameters.keys() - own
    check_keys("fit", options, sorted(steering | {"n_starts", "seed"}))
    check_whole("n_starts", options.get("n_starts", 1), 1, 64)
    check_whole("seed", options.get("seed", 0), 0, 1)
    stated = known | {name: value for name, value in options.items() if name in steering}
    if start == "auto":
        search.check_auto(fixed, distance, **stated)
    else:
        problem.state_fit(start, fixed, distance, **stated)
    return options


def _check_cut(content, folder):
    """Keywords of the cut and of the reduction, as far as they can be checked without the cube."""
    from sting import extract_streamline, noise, reduction
    from sting.cubes import KMS, quantity
    from sting.cuts import ISLANDS

    keys = inspect.signature(extract_streamline.extract_streamer_subcube).parameters.keys() - {"cube", "center"}
    check_keys("cut", content, sorted(keys | set(_REDUCE)))
    cut = {key: value if key in _CUT_TEXT else _quantity(key, value) for key, value in content.items()}
    units = dict.fromkeys(("vmin", "vmax"), KMS) | dict.fromkeys(("xmin", "xmax", "ymin", "ymax"), u.arcsec)
    for key in units.keys() & cut.keys():
        quantity(key, cut[key], units[key])
    noise.check_threshold(cut.get("rms_thresh"))
    choices = {"islands": ISLANDS, "uncertainty": reduction.UNCERTAINTIES, "ordering": reduction.ORDERINGS}
    for key in choices.keys() & cut.keys():
        check_choice(key, cut[key], choices[key])
    check_whole("n_elements", cut.get("n_elements", 10), 2, 10)
    reduction.check_beams(cut.get("min_beams", 1))
    if "region" in cut:
        cut["region"] = folder / _path("region", cut["region"])
    return cut, {key: cut.pop(key) for key in _REDUCE if key in cut}


def _star(content):
    try:
        return SkyCoord(content["star"], frame=content.get("frame", "icrs"))
    except (ValueError, TypeError, u.UnitsError) as error:
        refuse("star", "be a position on the sky", f"{content['star']!r} ({error})", "Write '03h28m55.569s +31d14m37.025s'.")


def _flag(content, name, default):
    value = content.get(name, default)
    if not isinstance(value, bool):
        refuse(name, "be true or false", repr(value), f"Write {name} = true.", TypeError)
    return value


def _path(name, value):
    if not isinstance(value, str):
        refuse(name, "be the path of a file or folder", repr(value), f"Write for example {name} = 'streamer.fits'.", TypeError)
    return value


def _quantities(section, content):
    entries = content.get(section, {})
    if not isinstance(entries, dict):
        check_keys(section, entries, ())
    return {key: _quantity(key, value) for key, value in entries.items()}


def _quantity(key, value):
    """A Quantity, number, or pair of either from TOML."""
    if isinstance(value, list):
        return [_quantity(key, part) for part in value]
    try:
        return u.Quantity(value) if isinstance(value, str) else value
    except (TypeError, ValueError):
        refuse(key, "be a number with a unit", repr(value), "Write for example '1500 au'.")


def plain(content):
    """A configuration from Python in the words of a file: Quantities, positions and paths become text."""  # numpydoc ignore=PR01
    if isinstance(content.get("star"), SkyCoord):
        star = content["star"]
        # in its own frame, so that not even the last digit changes, unless there is more to that than a name
        if star.frame.name not in ("icrs", "fk5", "galactic") or not star.is_equivalent_frame(type(star.frame)()):
            star = star.icrs
        lon, lat = (float(angle.deg) for angle in (star.spherical.lon, star.spherical.lat))
        content = content | {"star": f"{lon!r}d {lat!r}d", "frame": star.frame.name}
    return {key: _plain(key, value) for key, value in content.items()}


def _plain(key, value):
    if isinstance(value, Mapping):
        return {str(name): _plain(name, part) for name, part in value.items()}
    if isinstance(value, u.Quantity):
        return _plain(key, list(value)) if value.ndim else f"{float(value.value)!r} {value.unit.to_string()}".strip()
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(key, part) for part in value]
    if isinstance(value, os.PathLike):
        return str(value)
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | bool | int | float):
        refuse(
            key,
            "be what a file can say",
            repr(value),
            "Write numbers, text, Quantities and paths; a cube by its file.",
            TypeError,
        )
    return value


def _say(progress, text):
    if progress:
        print(text, file=sys.stderr, flush=True)
