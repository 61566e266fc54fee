"""Time and memory of the cut and the reduction of a cube of 8 GB, beside reading it once, and of STING 0.2.3 on a smaller one.

The cubes are made in a temporary folder. The tables go to standard output, progress to standard error. See README.md beside this
file.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from environments import HERE, STING, child, cores, load, make_parser, make_sting_environment, markdown, read, say, spread

LARGE, MEDIUM, QUICK = (1000, 1400, 1430), (250, 700, 714), (250, 350, 357)  # 8.0, 0.5 and 0.12 GB
TINY = (50, 160, 157)  # 5 MB
#: Memory that STING takes, in units of the cube, with some to spare; and the most voxels of a cut of which spectral-cube computes
#: the noise as STING asks for it.
TAKES, MOST_VOXELS = 7, 10**8
#: Part of the channels that a cut by velocity alone keeps.
KEPT = 0.6
SCENE = (100, 280, 280)  # channels, rows and columns that the streamer is in, at the most
NOISE = 0.03  # K, as in extraction_workload.py
READINGS = {"reading the FITS file": {"kind": "read file"}, "reading through spectral-cube": {"kind": "read cube"}}
CUTS = {
    "cut and reduced, `rms` given": {"rms": True},
    "cut and reduced": {},
    "the same on Dask, `rms` given": {"rms": True, "dask": True},
    "the same on Dask": {"dask": True},
}
COLUMNS = {
    "seconds": "time (s)",
    "ratio": "ratio",
    "anonymous": "peak memory (GB)",
    "more": "ratio",
    "resident": "with file pages (GB)",
}


def read_arguments():
    parser = make_parser(__doc__, runs=3, peers=True)
    parser.add_argument("--folder", type=Path, help="where the cubes are written and removed again (default: a temporary folder)")
    return read(parser)


def make_cube(path, shape):
    """Write a cube with a streamer in its middle, a channel at a time: noise of `NOISE`, in float32."""
    from sting import synthetic

    size = np.minimum(shape, SCENE)
    scene = synthetic.make_streamer_cube(seed=1, shape=tuple(map(int, size)), rms=0 * u.K)
    first = [int(n - part) // 2 for n, part in zip(shape, size, strict=True)]
    sizes = [(f"NAXIS{axis}", n) for axis, n in enumerate(reversed(shape), 1)]
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3), *sizes])
    header.extend(scene.cube.header.cards, unique=True)
    for axis, start in zip((3, 2, 1), first, strict=True):
        header[f"CRPIX{axis}"] += start
    noise = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(header.tostring().encode())
        for channel in range(shape[0]):
            image = noise.standard_normal(shape[1:], dtype=np.float32) * np.float32(NOISE)
            if 0 <= channel - first[0] < size[0]:
                rows, columns = (slice(start, start + n) for start, n in zip(first[1:], size[1:], strict=True))
                image[rows, columns] += scene.model[channel - first[0]]
            file.write(image.astype(">f4").tobytes())
        file.write(bytes(-file.tell() % 2880))
        file.flush()
        os.fsync(file.fileno())  # what is not on the disk yet cannot be taken out of the cache


def window_of(shape, size):
    """First and last + 1 of the channels, rows and columns in the middle of a cube."""
    first = [(n - part) // 2 for n, part in zip(shape, size, strict=True)]
    return [[start, start + part] for start, part in zip(first, size, strict=True)]


def largest_for_sting():
    """Shape of the largest cube, of 1000 x 1000 pixels, that STING can hold in the memory that is free."""
    free = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024
    channels = min(free // TAKES // 4, int((MOST_VOXELS - 1) / KEPT)) // 1000**2
    return max(SCENE[0], channels), 1000, 1000


def run_all(cases, n_runs):
    """Runs of all cases, which take turns, so that a busy minute of the machine does not hit one of them only."""
    runs = {name: [] for name in cases}
    for number in range(n_runs):
        for name, (side, python, task) in cases.items():
            row = json.loads(child(side, [python, HERE / "extraction_workload.py", json.dumps(task)]).splitlines()[-1])
            runs[name].append(row)
            say(f"run {number + 1} of {n_runs}: {name}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    return runs


def tasks(path, window, region):
    """What is done with a window of a cube: name -> side, Python and task."""
    common = {"path": str(path), "window": window}
    found = {name: ("ours", sys.executable, common | options) for name, options in READINGS.items()}
    for name, options in CUTS.items():
        found[name] = ("ours", sys.executable, common | options | {"kind": "cut", "region": region})
    return found


def table(runs, title, reference):
    """The runs as a Markdown table, with their times and memory relative to those of the ``reference`` in the same run."""
    rows = []
    for name, found in runs.items():
        cells = {key: [row[key] for row in found] for key in ("seconds", "anonymous", "resident")}
        pairs = list(zip(found, runs[reference], strict=True))
        cells["ratio"] = [row["seconds"] / other["seconds"] for row, other in pairs]
        cells["more"] = [row["anonymous"] / other["anonymous"] for row, other in pairs]
        rows.append([name, *(spread(cells[key]) for key in COLUMNS)])
    return markdown([title, *COLUMNS.values()], rows, 1) + "\n"


def compare_with_reading(folder, shape, n_runs):
    """Tables of both windows of the large cube."""
    path = folder / "large.fits"
    say(f"making a cube of {4 * np.prod(shape) / 1e9:.1f} GB ...")
    make_cube(path, shape)
    window = window_of(shape, [min(n, part) for n, part in zip(shape, (100, 300, 300), strict=True)])
    generous = window_of(shape, (int(shape[0] * KEPT), *shape[1:]))
    for region, part in ((True, window), (False, generous)):
        n_voxels = np.prod([stop - start for start, stop in part])
        rows = run_all(tasks(path, part, region), n_runs)
        title = f"{'velocity range and region' if region else 'velocity range'}: {n_voxels / 1e6:.0f} million voxels"
        print(table(rows, title, next(iter(READINGS))), flush=True)
    path.unlink()


def compare_with_sting(folder, shape, n_runs, python):
    """Table of both packages on a cube that STING can hold."""
    path = folder / "shared.fits"
    make_cube(path, shape)
    task = {"path": str(path), "window": window_of(shape, (int(shape[0] * KEPT), *shape[1:]))}
    cases = {"reading the FITS file": ("ours", sys.executable, task | {"kind": "read file"})}
    cases |= {"ours": ("ours", sys.executable, task | {"kind": "cut"}), STING: ("sting", python, task | {"kind": "cut"})}
    size = f"{4 * np.prod(shape) / 1e6:.0f} MB"
    say(f"{STING} on a cube of {size} ...")
    print(table(run_all(cases, n_runs), f"velocity range of a cube of {size}", "ours"), flush=True)
    path.unlink()


def check_sides(python):
    """Refuse to compare anything else than this package with STING."""
    for side, executable in (("ours", sys.executable), ("sting", python)):
        found = json.loads(child(side, [executable, HERE / "extraction_workload.py"]).splitlines()[-1])
        if found["ours"] != (side == "ours"):
            sys.exit(f"{executable} must import {'this package' if side == 'ours' else STING}; it imports {found['sting']}.")


def main():
    arguments = read_arguments()
    large, shared, n_runs = LARGE, (TINY, MEDIUM, largest_for_sting()), arguments.runs
    if arguments.quick:
        large, shared, n_runs = QUICK, (TINY, QUICK), 1
    with tempfile.TemporaryDirectory(prefix="sting-extraction-", dir=arguments.folder) as folder:
        folder, before = Path(folder), load()
        python = make_sting_environment(arguments.env or folder / "env", arguments.python)
        check_sides(python)
        for shape in shared:
            compare_with_sting(folder, shape, n_runs, python)
        compare_with_reading(folder, large, n_runs)
    print(f"- {cores()} cores; load average {before} before, {load()} after; runs of each kind, in turns: {n_runs}")


if __name__ == "__main__":
    main()
