"""Run the benchmarks, each with its peer beside it, and write their tables into docs/benchmark_results.md.

A benchmark that is left out keeps the section that it has there. See README.md beside this file.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

from environments import HERE, cores, environment, say

RESULTS = HERE.parent / "docs" / "benchmark_results.md"
HEAD = """# Results of the benchmarks

What `python benchmarks/run.py` wrote. How to read the tables is in {doc}`benchmarks`. A number is the median over the runs, with
the smallest and the largest in brackets; ratios are those within a run.
"""
GROWTH = """
The lines are fits to the three largest sizes of each kind; their exponents are those of the table.

![Time and memory against points of a model, data points, starts, voxels and sources](_static/growth.svg)
"""
#: Script: title, whether it makes environments for peers, and what follows its tables.
BENCHMARKS = {
    "c_loop": ("Loss and gradient, beside a loop in C", False, ""),
    "forward_model": ("Forward model and gradient, beside velocity_tools 1.1 and STING 0.2.3", True, ""),
    "compare_sting": ("Fit and cold process, beside STING 0.2.3", True, ""),
    "extraction": ("Extraction, beside STING 0.2.3 and reading the file", True, ""),
    "decompose": ("Gaussian decomposition, beside astropy.modeling and pyspeckit", True, ""),
    "explorer": ("StreamerExplorer, beside a slider with a label", False, ""),
    "growth": ("Growth", False, GROWTH),
}
PACKAGES = ("jax", "numpy", "astropy", "spectral-cube")


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="small cases, to see whether all runs")
    parser.add_argument("--runs", type=int, help="runs of each kind (default: that of each benchmark)")
    parser.add_argument("--env", type=Path, help="folder of the peers' environments, kept (default: a temporary one)")
    parser.add_argument("--output", type=Path, default=RESULTS, help=f"(default: docs/{RESULTS.name})")
    return parser.parse_args()


def state(quick, seconds):
    """What ran where, as a line of Markdown."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    kind = "**Small cases, to see whether all runs: not to be quoted.** " if quick else ""
    return (
        f"{kind}{date.today()}; sting {version('sting')}, Python {platform.python_version()}, {packages}; {platform.system()}, "
        f"{platform.machine()}, {cores()} cores; {seconds / 60:.1f} minutes."
    )


def sections_of(path):
    """Sections of a file of results by their titles."""
    parts = path.read_text().split("\n## ")[1:] if path.is_file() else []
    return {title.strip(): body.strip() for title, body in (part.split("\n", 1) for part in parts)}


def run(name, arguments, folder):
    """Section of a benchmark, or None if it failed."""
    _, has_peers, more = BENCHMARKS[name]
    command = [sys.executable, HERE / f"{name}.py", *(["--quick"] if arguments.quick else [])]
    command += ["--runs", arguments.runs] if arguments.runs else []
    command += ["--env", folder] if has_peers else []
    say(f"--- {name}")
    begin = time.time()
    done = subprocess.run([str(part) for part in command], env=environment("ours"), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        say(f"{name} failed; its section stays as it was.")
        return None
    return "\n\n".join(filter(None, [state(arguments.quick, time.time() - begin), done.stdout.strip(), more.strip()]))


def main():
    arguments = read_arguments()
    sections, failed = sections_of(arguments.output), []
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        for name in arguments.only or BENCHMARKS:
            section = run(name, arguments, (arguments.env or Path(temporary)).absolute())
            if section is None:
                failed.append(name)
                continue
            sections[BENCHMARKS[name][0]] = section
            titles = [title for title, *_ in BENCHMARKS.values() if title in sections]
            body = "\n\n".join(f"## {title}\n\n{sections[title]}" for title in titles)
            partial = arguments.output.with_suffix(".part")
            partial.write_text(f"{HEAD}\n{body}\n")
            os.replace(partial, arguments.output)  # after each, so that a later failure loses nothing
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
