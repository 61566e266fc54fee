"""Time this package and STING 0.2.3 on the quick start of STING's README, in one run on one machine.

The table goes to standard output, progress to standard error. See README.md beside this file.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
DATA_FILE = "ngc1333_iras2a_d2co.fits"
STING_VERSION = "0.2.3"
STING_PYTHON = (3, 12)  # the oldest that STING 0.2.3 installs on

STING = f"STING {STING_VERSION}"
OURS = {
    'ours, `matching="stretch"`': {"matching": "stretch", "optimizer": "adam"},
    'ours, `matching="nearest"`': {"matching": "nearest", "optimizer": "adam"},
    'ours, `matching="nearest"`, L-BFGS': {"matching": "nearest", "optimizer": "lbfgs"},
}
N_WARM = {"sting": 1, "ours": 3}
COLUMNS = {
    "cold": "cold process (s)",
    "import": "start, import",
    "extract": "extract",
    "fit": "first fit",
    "output": "figures and files",
    "warm": "warm fit (s)",
    "loss": "loss",
    "epochs": "epochs",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1, help="cold processes of each kind; medians are shown (default: 1)")
    parser.add_argument("--data", type=Path, help=f"{DATA_FILE} or its folder (default: $STING_DATA, then ../shared/data)")
    parser.add_argument("--python", help="Python to make STING's environment with (default: the first found that is new enough)")
    parser.add_argument(
        "--env", type=Path, help="folder of STING's environment, kept for the next time (default: a temporary one)"
    )
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1; got {arguments.runs}")
    return arguments


def find_cube(path):
    """The cube: what ``--data`` names, or the first place of the usual ones that has it."""
    folders = [path] if path else [Path(os.environ["STING_DATA"])] if os.environ.get("STING_DATA") else []
    if not path:
        folders.append(HERE.parents[1] / "shared" / "data")
    for folder in folders:
        file = folder / DATA_FILE if folder.is_dir() else folder
        if file.is_file():
            return file.resolve()
    sys.exit(f"{DATA_FILE} is not at {' nor at '.join(map(str, folders))}: give it, or its folder, with --data or STING_DATA.")


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
    """Variables of a child: no window, the CPU, none of the user's own jax settings, and for STING nothing of our path."""
    dropped = ("JAX_", "PYTHONPATH", "PYTHONHOME") if side == "sting" else ("JAX_",)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"MPLBACKEND": "Agg", "JAX_PLATFORMS": "cpu"}


def child(side, command):
    """Standard output of a child process."""
    done = subprocess.run([str(part) for part in command], env=environment(side), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def make_sting_environment(folder, python):
    """Python of an environment that holds STING, made if it is not there."""
    if folder.resolve() == Path(sys.prefix).resolve():
        sys.exit(f"--env {folder} is the environment of this package, which STING would overwrite; name another folder.")
    executable = folder.absolute() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not executable.is_file():
        if folder.exists() and any(folder.iterdir()):
            sys.exit(f"--env {folder} holds something that is not a Python environment; name another folder.")
        python = find_python(python)
        say(f"making an environment for STING with {python} ...")
        child("sting", [python, "-m", "venv", folder])
    look = [executable, "-I", "-c", "from importlib.metadata import version; version('sting')"]
    if subprocess.run(look, capture_output=True).returncode:
        say(f"installing sting=={STING_VERSION} there ...")
        child("sting", [executable, "-m", "pip", "install", "--quiet", f"sting=={STING_VERSION}"])
    return executable


def read_versions(pythons):
    """Versions on either side; refuses to compare anything else than STING with this package."""
    found = {side: json.loads(child(side, [python, HERE / "workload.py"]).splitlines()[-1]) for side, python in pythons.items()}
    for side, version in found.items():
        if (version["sting"] == STING_VERSION) != (side == "sting"):
            expected = STING if side == "sting" else "this package"
            sys.exit(f"{pythons[side]} must import {expected}; it imports sting {version['sting']}.")
    return found


def run_once(side, python, cube, options):
    """One process: it imports, extracts, fits and saves, all of which is the cold time, and then fits again."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.time()
        lines = child(side, [python, HERE / "workload.py", cube, folder, N_WARM[side], json.dumps(options)]).splitlines()
    row = json.loads(lines[-1])
    imported, extracted, done = row.pop("times")
    return row | {"cold": done - begin, "import": imported - begin, "extract": extracted - imported}


def run_all(pythons, cube, n_runs):
    """Rows of all kinds; the kinds take turns, so that a busy minute of the machine does not hit one of them only."""
    cases = {STING: ("sting", {})} | {name: ("ours", options) for name, options in OURS.items()}
    runs = {name: [] for name in cases}
    for number in range(n_runs):
        for name, (side, options) in cases.items():
            say(f"run {number + 1} of {n_runs}: {name} ...")
            runs[name].append(run_once(side, pythons[side], cube, options))
            say(f"  {runs[name][-1]['cold']:.1f} s cold, then {', '.join(f'{t:.3g}' for t in runs[name][-1]['warm'])} s warm")
    return {name: summarise(rows) for name, rows in runs.items()}


def summarise(rows):
    warm = [seconds for row in rows for seconds in row["warm"]]
    return {key: median([row[key] for row in rows]) if key != "warm" else median(warm) for key in COLUMNS}


def table(rows):
    """The rows as a Markdown table, with how many times faster than STING they are."""
    head = ["", *COLUMNS.values(), "cold, times faster", "warm, times faster"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    formats = {"loss": ".4f", "epochs": ".0f", "warm": ".3g"}
    for name, row in rows.items():
        cells = [format(row[key], formats.get(key, ".2f")) for key in COLUMNS]
        ratios = [format(rows[STING][key] / row[key], ".3g") for key in ("cold", "warm")]
        lines.append([name, *cells, *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def load():
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def main():
    arguments = read_arguments()
    cube = find_cube(arguments.data)
    with tempfile.TemporaryDirectory(prefix="sting-env-") as temporary:
        folder = arguments.env or Path(temporary)
        pythons = {"sting": make_sting_environment(folder, arguments.python), "ours": sys.executable}
        versions, before = read_versions(pythons), load()
        rows = run_all(pythons, cube, arguments.runs)
    print(table(rows), end="\n\n")
    for side, version in versions.items():
        name = STING if side == "sting" else f"ours ({version['sting']})"
        print(f"- {name}: Python {version['python']}, jax {version['jax']}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"- {cores} cores; load average {before} before, {load()} after; cold processes of each kind: {arguments.runs}")


if __name__ == "__main__":
    main()
