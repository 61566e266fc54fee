"""What the comparisons with other packages share: environments, processes of either side, and the state of the machine."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
STING_VERSION = "0.2.3"
STING_PYTHON = (3, 12)  # the oldest that STING 0.2.3 installs on
STING = f"STING {STING_VERSION}"


def say(text):
    print(text, file=sys.stderr, flush=True)


def make_parser(description, runs, peers=False):
    """Parser of the options that all benchmarks have, and of those that ones with peers have; parse with `read`."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--runs", type=int, default=runs, help=f"runs of each kind, in turns (default: {runs})")
    parser.add_argument("--quick", action="store_true", help="a small case, to see whether all runs")
    if peers:
        parser.add_argument("--python", help="Python to make STING's environment with (default: the first that is new enough)")
        parser.add_argument("--env", type=Path, help="folder of the peers' environments, kept (default: a temporary one)")
    return parser


def read(parser):
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1; got {arguments.runs}")
    return arguments


def find_python(wanted):
    """The first Python that can make an environment for STING."""
    candidates = [wanted] if wanted else [sys.executable, *(f"python3.{minor}" for minor in range(STING_PYTHON[1], 16))]
    if not wanted and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
        candidates += sorted(map(str, Path(root).glob("versions/*/bin/python"))) if root else []
    test = f"import ensurepip, sys, venv; sys.exit(sys.version_info < {STING_PYTHON})"
    for candidate in candidates:
        # run, not only looked up: a version manager's python3.12 may be there and refuse to work
        if shutil.which(candidate) and subprocess.run([candidate, "-c", test], capture_output=True).returncode == 0:
            return candidate
    needed = ".".join(map(str, STING_PYTHON))
    sys.exit(f"{STING} needs Python {needed} or later, with pip; none of {', '.join(candidates)} is one. Name it with --python.")


def environment(side):
    """Variables of a child: no window, the CPU, none of the user's own jax settings, and for others nothing of our path."""
    dropped = ("JAX_",) if side == "ours" else ("JAX_", "PYTHONPATH", "PYTHONHOME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"MPLBACKEND": "Agg", "JAX_PLATFORMS": "cpu"}


def child(side, command, **variables):
    """Standard output of a child process, which may have further environment variables."""
    command = [str(part) for part in command]
    done = subprocess.run(command, env=environment(side) | variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def make_environment(folder, python, package, version, *others):
    """Python of an environment that holds a package, and others that it needs, made if it is not there."""
    if folder.resolve() == Path(sys.prefix).resolve():
        sys.exit(f"--env {folder} is the environment of this package, which {package} would overwrite; name another folder.")
    executable = folder.absolute() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not executable.is_file():
        if folder.exists() and any(folder.iterdir()):
            sys.exit(f"--env {folder} holds something that is not a Python environment; name another folder.")
        say(f"making an environment for {package} with {python} ...")
        child(package, [python, "-m", "venv", folder])
    look = [executable, "-I", "-c", f"from importlib.metadata import version; version({package!r})"]
    if subprocess.run(look, capture_output=True).returncode:
        say(f"installing {package}=={version} there ...")
        child(package, [executable, "-m", "pip", "install", "--quiet", f"{package}=={version}", *others])
    return executable


def make_sting_environment(folder, python):
    """Python of STING's environment in a folder of environments, made if it is not there."""
    folder = folder / "sting"
    made = (folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")).is_file()
    return make_environment(folder, None if made else find_python(python), "sting", STING_VERSION)


def load():
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def spread(values):
    """Median, smallest and largest of a number of runs, as text."""
    low, high = min(values), max(values)
    return f"{digits(median(values))} ({digits(low)} to {digits(high)})" if len(values) > 1 else digits(low)


def digits(value):
    """A number with three digits, not in powers of ten."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def markdown(head, rows, n_text=2):
    """A Markdown table, whose first columns are text and the others numbers."""
    lines = [head, ["---"] * n_text + ["---:"] * (len(head) - n_text), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
