"""Time this package and STING 0.2.3 on the quick start of STING's README, in one run on one machine.

The table goes to standard output, progress to standard error. See README.md beside this file.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from environments import (
    HERE,
    STING,
    STING_VERSION,
    child,
    cores,
    load,
    make_parser,
    make_sting_environment,
    markdown,
    read,
    say,
    spread,
)

DATA_FILE = "ngc1333_iras2a_d2co.fits"
OURS = {
    "ours, no options": {},
    'ours, `optimizer="adam"`': {"optimizer": "adam"},
    'ours, `matching="stretch", optimizer="adam"`': {"matching": "stretch", "optimizer": "adam"},
}
N_WARM = {"sting": 1, "ours": 3}
COLUMNS = {
    "cold": "cold process (s)",
    "import": "start, import",
    "extract": "extract",
    "fit": "first fit",
    "output": "figures and files",
    "again": "second process (s)",
    "warm": "warm fit (s)",
    "loss": "loss",
    "epochs": "epochs",
}
RATIOS = {"cold": "cold, times faster", "again": "second, times faster", "warm": "warm, times faster"}


def read_arguments():
    parser = make_parser(__doc__, runs=3, peers=True)
    parser.add_argument("--data", type=Path, help=f"{DATA_FILE} or its folder (default: $STING_DATA, then ../shared/data)")
    return read(parser)


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


def read_versions(pythons):
    """Versions on either side; refuses to compare anything else than STING with this package."""
    found = {side: json.loads(child(side, [python, HERE / "workload.py"]).splitlines()[-1]) for side, python in pythons.items()}
    for side, version in found.items():
        if (version["sting"] == STING_VERSION) != (side == "sting"):
            expected = STING if side == "sting" else "this package"
            sys.exit(f"{pythons[side]} must import {expected}; it imports sting {version['sting']}.")
    return found


def run_process(side, python, cube, options, cache):
    """One process: it imports, extracts, fits and saves, all of which is the cold time, and then fits again."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.time()
        command = [python, HERE / "workload.py", cube, folder, N_WARM[side], json.dumps(options)]
        lines = child(side, command, STING_CACHE_DIR=str(cache)).splitlines()
    row = json.loads(lines[-1])
    imported, extracted, done = row.pop("times")
    return row | {"cold": done - begin, "import": imported - begin, "extract": extracted - imported}


def run_once(side, python, cube, options):
    """A process with no compiled programs on the disk, and of ours a second one with those that the first has left."""
    with tempfile.TemporaryDirectory() as cache:
        row = run_process(side, python, cube, options, cache)
        # STING keeps none: its second process is as its first
        return row | {"again": run_process(side, python, cube, options, cache)["cold"] if side == "ours" else row["cold"]}


def run_all(pythons, cube, n_runs, ours):
    """Runs of all kinds; the kinds take turns, so that a busy minute of the machine does not hit one of them only."""
    cases = {STING: ("sting", {})} | {name: ("ours", options) for name, options in ours.items()}
    runs = {name: [] for name in cases}
    for number in range(n_runs):
        for name, (side, options) in cases.items():
            say(f"run {number + 1} of {n_runs}: {name} ...")
            runs[name].append(run_once(side, pythons[side], cube, options))
            say(f"  {runs[name][-1]['cold']:.1f} s cold, then {', '.join(f'{t:.3g}' for t in runs[name][-1]['warm'])} s warm")
    return runs


def tables(runs):
    """Seconds of the runs, and how many times shorter than STING's, each in the same run, as Markdown tables."""
    rows, ratios = [], []
    for name, found in runs.items():
        found = [row | {"warm": median(row["warm"])} for row in found]
        values = {key: [row[key] for row in found] for key in COLUMNS}
        same = {key: f"{median(values.pop(key)):{form}}" for key, form in (("loss", ".4f"), ("epochs", ".0f"))}
        rows.append([name, *(spread(values[key]) if key in values else same[key] for key in COLUMNS)])
        pairs = list(zip(runs[STING], found, strict=True))
        ratios.append([name, *(spread([median_of(his[key]) / row[key] for his, row in pairs]) for key in RATIOS)])
    return markdown(["", *COLUMNS.values()], rows, 1) + "\n\n" + markdown(["", *RATIOS.values()], ratios, 1)


def median_of(value):
    return median(value) if isinstance(value, list) else value


def main():
    arguments = read_arguments()
    cube = find_cube(arguments.data)
    n_runs, ours = (1, dict(list(OURS.items())[:1])) if arguments.quick else (arguments.runs, OURS)
    with tempfile.TemporaryDirectory(prefix="sting-env-") as temporary:
        folder = arguments.env or Path(temporary)
        pythons = {"sting": make_sting_environment(folder, arguments.python), "ours": sys.executable}
        versions, before = read_versions(pythons), load()
        runs = run_all(pythons, cube, n_runs, ours)
    print(tables(runs), end="\n\n")
    for side, version in versions.items():
        name = STING if side == "sting" else f"ours ({version['sting']})"
        print(f"- {name}: Python {version['python']}, jax {version['jax']}")
    print(f"- {cores()} cores; load average {before} before, {load()} after; runs of each kind, in turns: {n_runs}")


if __name__ == "__main__":
    main()
