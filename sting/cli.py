"""The command line: ``sting demo``, ``sting fit CONFIG.toml`` and ``sting survey CONFIG.toml``."""

import argparse
import os
import sys
import tempfile
from importlib import resources
from pathlib import Path

from astropy import units as u

import sting
from sting.config import run_config

__all__ = ["main", "run_config"]


def _demo(output, seed, progress, films):
    """Make a cube, and a configuration beside it, and run that."""
    from sting import outputs, synthetic

    output = Path(output)
    outputs.check_folder(output)
    output.mkdir(parents=True, exist_ok=True)
    if progress:
        print("making a synthetic cube of a streamer", file=sys.stderr, flush=True)
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


def _survey(arguments):
    """Run a survey, and say on one line each what failed."""
    from sting.survey import fit_many

    options = {"n_workers": arguments.workers, "progress": not arguments.quiet}
    table = fit_many(arguments.config, arguments.scheduler, **options)
    counts = {status: int((table["status"] == status).sum()) for status in ("done", "not converged", "failed")}
    print(", ".join(f"{number} {status}" for status, number in counts.items()))
    for row in table[table["status"] == "failed"]:
        print(f"{row['name']}: {row['message']}")
    return 3 if counts["failed"] else 0


def _parser():
    parser = argparse.ArgumentParser(prog="sting", description="Fit infall streamlines to spectral cubes of protostars.")
    parser.add_argument("--version", action="version", version=f"sting {sting.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="make a synthetic cube, fit it, and compare with the truth")
    demo.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    demo.add_argument("--output", default="sting_demo", help="folder for cube, configuration and results (default sting_demo)")
    fit = commands.add_parser("fit", help="run the fit that a TOML file describes")
    fit.add_argument("config", metavar="CONFIG.toml")
    survey = commands.add_parser("survey", help="run the fits of many sources that a TOML file describes")
    survey.add_argument("config", metavar="CONFIG.toml")
    survey.add_argument("--scheduler", metavar="ADDRESS", help="scheduler of dask.distributed; by default this machine")
    survey.add_argument("--workers", type=int, metavar="N", help="processes on this machine; by default one for each core")
    for command in (demo, fit):
        command.add_argument("--films", action="store_true", help="write films of the fit as well")
    for command in (demo, fit, survey):
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
        Exit status: 0, 1 after a refusal, 3 if sources of a survey failed, 130 after an interrupt.

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
        elif arguments.command == "survey":
            return _survey(arguments)
        else:
            print(run_config(arguments.config, progress=not arguments.quiet, films=arguments.films).summary())
    except KeyboardInterrupt as interrupt:
        print(f"sting: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, u.UnitsError) as error:
        print(f"sting: {error}", file=sys.stderr)
        return 1
    return 0
