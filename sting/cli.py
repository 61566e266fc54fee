"""The command line: ``sting demo`` and ``sting fit CONFIG.toml``."""

import argparse
import inspect
import os
import sys
import tempfile
import tomllib
from importlib import resources
from pathlib import Path

from astropy import units as u
from astropy.coordinates import SkyCoord

import sting
from sting.files import existing_file
from sting.messages import refuse, suggest

__all__ = ["main", "run_config"]

_TOP = ("cube", "star", "frame", "distance", "output", "films", "cut", "start", "fixed", "bounds", "priors", "fit")
_CUT_TEXT = ("region", "islands", "uncertainty", "ordering")
_REDUCE = ("n_elements", "uncertainty", "ordering", "min_beams")


def _check_keys(section, content, known):
    if not isinstance(content, dict):
        refuse(section, "be a section", repr(content), f"Write [{section}] and one line for each entry.", TypeError)
    for key in content:
        if key not in known:
            refuse(section, "hold known entries only", repr(key), suggest(key, list(known)))


def _quantity(key, value):
    """A Quantity, number, or pair of either from TOML."""
    if isinstance(value, list):
        return [_quantity(key, part) for part in value]
    try:
        return u.Quantity(value) if isinstance(value, str) else value
    except (TypeError, ValueError):
        refuse(key, "be a number with a unit", repr(value), "Write for example '1500 au'.")


def _read(path):
    path = existing_file("CONFIG", path, cure="`sting demo` writes one to start from.")
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        refuse("CONFIG", "be a TOML file", f"{path.name!r} ({error})", "Correct the line that is named.")
    _check_keys("CONFIG", config, _TOP)
    for key in ("cube", "star", "distance", "start"):
        if key not in config:
            refuse(key, "be given", "nothing", f"Add it to {path.name}.")
    if not isinstance(config.get("films", False), bool):
        refuse("films", "be true or false", repr(config["films"]), "Write films = true.", TypeError)
    from sting import extract_streamline, problem

    cut_keys = inspect.signature(extract_streamline.extract_streamer_subcube).parameters.keys() - {"cube", "center"}
    own = {"initial", "fixed", "distance", "param_bounds", "priors"}
    fit_keys = inspect.signature(problem.state_fit).parameters.keys() - own
    _check_keys("cut", config.get("cut", {}), sorted(cut_keys | set(_REDUCE)))
    _check_keys("fit", config.get("fit", {}), sorted(fit_keys))
    return config


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
    from sting import extract_streamline, gradient_descent, outputs, problem

    config, folder = _read(path), Path(path).parent
    output = folder / config.get("output", "sting_results")
    outputs.check_folder(output)
    try:
        star = SkyCoord(config["star"], frame=config.get("frame", "icrs"))
    except (ValueError, TypeError, u.UnitsError) as error:
        refuse("star", "be a position on the sky", f"{config['star']!r} ({error})", "Write '03h28m55.569s +31d14m37.025s'.")
    sections = {
        name: {key: _quantity(key, value) for key, value in config.get(name, {}).items()}
        for name in ("start", "fixed", "bounds", "priors")
    }
    distance = _quantity("distance", config["distance"])
    # everything about the fit is checked before the cube is read
    fit = {"param_bounds": sections["bounds"], "priors": sections["priors"]} | config.get("fit", {})
    problem.state_fit(sections["start"], sections["fixed"], distance, **fit)
    cut = {key: value if key in _CUT_TEXT else _quantity(key, value) for key, value in config.get("cut", {}).items()}
    reduce = {key: cut.pop(key) for key in _REDUCE if key in cut}
    if "region" in cut:
        cut["region"] = folder / cut["region"]
    _say(progress, f"reading and cutting {config['cube']}")
    streamer_cube = extract_streamline.extract_streamer_subcube(folder / config["cube"], center=star, **cut)
    streamer = extract_streamline.reduce_to_1D(streamer_cube, star, **reduce)
    _say(progress, f"{len(streamer)} points from {streamer.pc_coords.shape[1]} voxels")
    result = gradient_descent.fit_streamline(
        sections["start"],
        sections["fixed"],
        streamer,
        distance,
        save_folder=output,
        progress=progress,
        films=films or config.get("films", False),
        **fit,
    )
    _say(progress, f"results written to {output}")
    return result


def _say(progress, text):
    if progress:
        print(text, file=sys.stderr, flush=True)


def _demo(output, seed, progress, films):
    """Make a cube, and a configuration beside it, and run that."""
    from sting import outputs, synthetic

    output = Path(output)
    outputs.check_folder(output)
    output.mkdir(parents=True, exist_ok=True)
    _say(progress, "making a synthetic cube of a streamer")
    scene = synthetic.make_streamer_cube(seed=seed)
    with tempfile.TemporaryDirectory(dir=output, prefix=".sting-") as name:
        scene.cube.write(Path(name) / "cube.fits", format="fits")
        example = resources.files("sting").joinpath("data/example.toml").read_text(encoding="utf-8")
        (Path(name) / "demo.toml").write_text(example, encoding="utf-8")
        for file in ("cube.fits", "demo.toml"):
            os.replace(Path(name) / file, output / file)
    result = run_config(output / "demo.toml", progress=progress, films=films)
    return result, scene.truth


def _compare(result, truth):
    """Table of fit and truth as text."""
    lines = [f"{'parameter':<10}{'fit':>14}{'-':>12}{'+':>12}{'truth':>14}{'(fit-truth)/sigma':>20}"]
    for row in result.intervals(progress=False):
        name, value = row["quantity"], row["value"]
        sides = (row["sigma"], row["sigma"]) if row["near_gaussian"] else (value - row["lower"], row["upper"] - value)
        true = truth[name].to_value(row["unit"])
        pull = (value - true) / sides[0 if true < value else 1]
        numbers = f"{value:>14.6g}{sides[0]:>12.3g}{sides[1]:>12.3g}{true:>14.6g}{pull:>20.2f}"
        lines.append(f"{name:<10}{numbers}  {row['unit']}")
    return "\n".join(lines)


def _parser():
    parser = argparse.ArgumentParser(prog="sting", description="Fit infall streamlines to spectral cubes of protostars.")
    parser.add_argument("--version", action="version", version=f"sting {sting.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="make a synthetic cube, fit it, and compare with the truth")
    demo.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    demo.add_argument("--output", default="sting_demo", help="folder for cube, configuration and results (default sting_demo)")
    fit = commands.add_parser("fit", help="run the fit that a TOML file describes")
    fit.add_argument("config", metavar="CONFIG.toml")
    for command in (demo, fit):
        command.add_argument("--films", action="store_true", help="write films of the fit as well")
        command.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        Exit status: 0, 1 after a refusal, 130 after an interrupt.

    Examples
    --------
    >>> main(["fit", "no_such_file.toml"])
    1
    """
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "demo":
            result, truth = _demo(arguments.output, arguments.seed, not arguments.quiet, arguments.films)
            print(result.summary(), "", _compare(result, truth), sep="\n")
        else:
            print(run_config(arguments.config, progress=not arguments.quiet, films=arguments.films).summary())
    except KeyboardInterrupt:
        print("sting: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, u.UnitsError) as error:
        print(f"sting: {error}", file=sys.stderr)
        return 1
    return 0
