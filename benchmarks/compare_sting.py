"""Time this package and STING 0.2.3 on the quick start of STING's README, in one run on one machine.

The table goes to standard output, progress to standard error. See README.md beside this file.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from environments import HERE, STING, STING_VERSION, add_sting_options, child, cores, load, make_sting_environment, say

DATA_FILE = "ngc1333_iras2a_d2co.fits"
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


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1, help="cold processes of each kind; medians are shown (default: 1)")
    parser.add_argument("--data", type=Path, help=f"{DATA_FILE} or its folder (default: $STING_DATA, then ../shared/data)")
    add_sting_options(parser)
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
    print(f"- {cores()} cores; load average {before} before, {load()} after; cold processes of each kind: {arguments.runs}")


if __name__ == "__main__":
    main()
