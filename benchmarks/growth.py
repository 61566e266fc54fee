"""Time and memory against the sizes of what is computed: model points, data points, starts, voxels and sources.

A Markdown table goes to standard output, the figure to docs/_static, progress to standard error. See README.md beside this file.
"""

import ctypes
import gc
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
from environments import HERE, child, cores, digits, load, make_parser, markdown, read, say

DISTANCE = 293
QUIET = {"save_folder": None, "progress": False}
LEAST_SECONDS = 0.3  # of the repetitions of a size
LEAST_MEMORY = 2.0  # MB; less than this is that of Python
DOTS, LINE = "#2f6db5", "#c2571a"


def model(n):
    """One streamline."""
    from sting import synthetic
    from sting.stream_lines_grad import streamline

    return lambda: streamline(synthetic.TRUTH, distance=DISTANCE, n_points=n)


def off_the_truth(*names):
    """Start values off the truth, and the fixed parameters."""
    from sting import synthetic

    fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in names}
    return {name: 1.1 * synthetic.TRUTH[name] for name in names}, fixed


def fit(n):
    """A fit of 100 epochs of Adam, whatever comes out, so that all sizes do the same work."""
    from sting import synthetic
    from sting.gradient_descent import fit_streamline

    streamer = synthetic.make_streamer_points(n_elements=n, seed=1)
    start, fixed = off_the_truth("r0", "theta0", "phi0", "v_r0", "omega")
    options = QUIET | {"optimizer": "adam", "n_epochs": 100, "early_stopping_patience": 100}
    return lambda: fit_streamline(start, fixed, streamer, DISTANCE, **options)


def search(n):
    """A search without a guess."""
    from sting import synthetic
    from sting.gradient_descent import fit_streamline

    streamer = synthetic.make_streamer_points(seed=1)
    _, fixed = off_the_truth("r0", "theta0", "phi0", "v_r0", "omega")
    return lambda: fit_streamline("auto", fixed, streamer, DISTANCE, n_starts=n, **QUIET)


def extraction(n):
    """The cut of all channels of a cube, and its reduction."""
    from astropy import units as u
    from extraction import make_cube

    from sting import synthetic
    from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D

    folder = tempfile.TemporaryDirectory()
    path, side = Path(folder.name) / "cube.fits", round(np.sqrt(n / 100))
    make_cube(path, (100, side, side))

    def run(folder=folder):  # which lives as long as the function
        return reduce_to_1D(extract_streamer_subcube(path, rms_thresh=4, rms=0.03 * u.K), synthetic.STAR)

    return run


def sources(n):
    """Fits of as many streamers, one after the other, without files; surveys on several workers are in survey.py."""
    from sting import synthetic
    from sting.gradient_descent import fit_streamline

    # the same four over and over: how many epochs a fit takes depends on its noise
    streamers = [synthetic.make_streamer_points(seed=k % 4) for k in range(n)]
    start, fixed = off_the_truth("r0", "theta0", "phi0", "v_r0", "omega")
    return lambda: [fit_streamline(start, fixed, streamer, DISTANCE, **QUIET) for streamer in streamers]


#: Function that prepares the call, what its size is, the sizes, and those of ``--quick``.
KINDS = {
    "n_points": (model, "points of a model", (10**2, 10**3, 10**4, 10**5, 10**6), (10**2, 10**3, 10**4)),
    "n_elements": (fit, "data points of a fit", (10, 30, 100, 300, 1000, 3000), (10, 30, 100)),
    "n_starts": (search, "starts of a search", (16, 32, 64, 128, 256), (8, 16, 32)),
    "voxels": (extraction, "voxels of a cube", (10**6, 3 * 10**6, 10**7, 3 * 10**7), (10**6, 2 * 10**6, 4 * 10**6)),
    "sources": (sources, "sources", (4, 8, 16, 32), (2, 4, 8)),
}


class Memory:
    """The most that this process takes, the pages of files left out, looked at every millisecond, in MB."""

    def __enter__(self):
        self.before, self.peak, self.on = self._now(), 0.0, True
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.on = False
        self.thread.join()

    def _watch(self):
        while self.on:
            self.peak = max(self.peak, self._now() - self.before)
            time.sleep(0.001)

    @staticmethod
    def _now():
        return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024


def measure(kind, sizes, runs):
    """For each size, warm: seconds of all repetitions, and the memory that they take."""
    found = []
    for n in sizes:
        run = KINDS[kind][0](n)
        run()
        seconds = []
        while len(seconds) < runs or (sum(seconds) < LEAST_SECONDS and len(seconds) < 50):
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, or the next call would take nothing
        with Memory() as memory:
            for _ in range(max(2, min(len(seconds), round(LEAST_SECONDS / min(seconds))))):
                run()
        found.append({"n": n, "seconds": seconds, "memory": memory.peak})
    return found


def exponent(sizes, values, least=0.0):
    """Slope in log-log over the upper sizes, by least squares; None where fewer than three are above the least value."""
    upper = [(n, value) for n, value in zip(sizes, values, strict=True) if value > least][-3:]
    return np.polyfit(*np.log(np.transpose(upper)), 1)[0] if len(upper) > 2 else None


def power(n):
    """A size as a label: 30, or 3 10^6."""
    exponent = int(np.log10(n))
    factor = "" if n == 10**exponent else rf"{n / 10**exponent:g}\,"
    return f"{n:g}" if n < 1000 else f"${factor}10^{exponent}$"


def draw_curve(ax, n, values, least):
    """Points and the line that was fitted to the upper ones, whose exponent is the title."""
    seen = values > least
    ax.loglog(n[seen], values[seen], "o", color=DOTS, ms=4)
    slope = exponent(n, values, least)
    if slope is not None:
        upper, last = n[seen][-3:], np.log(values[seen][-3:])
        ax.loglog(upper, np.exp(last.mean() + slope * (np.log(upper) - np.log(upper).mean())), color=LINE, lw=1.5)
        ax.set_title(rf"$\propto n^{{{slope:.2f}}}$", loc="left", color=LINE, size=9)
    elif not seen.any():
        ax.text(0.5, 0.5, f"below {least:g} MB", transform=ax.transAxes, ha="center", color="#444444", size=9)


def draw(found):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    axes = figure.subplots(2, len(found), sharex="col", sharey="row")
    for column, (kind, sizes) in zip(axes.T, found.items(), strict=True):
        n, seconds = np.array([row["n"] for row in sizes]), [row["seconds"] for row in sizes]
        column[0].vlines(n, [min(runs) for runs in seconds], [max(runs) for runs in seconds], color=DOTS, lw=1)
        draw_curve(column[0], n, np.array([median(runs) for runs in seconds]), 0.0)
        draw_curve(column[1], n, np.array([row["memory"] for row in sizes]), LEAST_MEMORY)
        column[1].set_xlabel(KINDS[kind][1], size=9)
        for ax in column:
            ax.minorticks_off()
            ax.set_xticks(n[[0, -1]], [power(end) for end in n[[0, -1]]])
            ax.tick_params(labelsize=8)
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(axis="y", color="#e3e6ea", lw=0.6)
            ax.set_axisbelow(True)
    axes[0, 0].set_ylabel("time (s)")
    axes[1, 0].set_ylabel("memory (MB)")
    return figure


def save_figure(found):
    sys.path.insert(0, str(HERE.parent / "docs" / "figures"))
    from style import save

    say(save(lambda: draw(found), "growth"))


def cells(sizes):
    """A row of the table: the sizes, and time and memory at the largest one, each with its exponent."""
    n, largest = [row["n"] for row in sizes], sizes[-1]
    seconds, memory = [median(row["seconds"]) for row in sizes], [row["memory"] for row in sizes]
    slopes = exponent(n, seconds), exponent(n, memory, LEAST_MEMORY)
    shown = ["-" if slope is None else f"{slope:.2f}" for slope in slopes]
    span = f"{digits(1e3 * seconds[-1])} ({digits(1e3 * min(largest['seconds']))} to {digits(1e3 * max(largest['seconds']))})"
    taken = digits(memory[-1]) if memory[-1] > LEAST_MEMORY else f"below {LEAST_MEMORY:g}"
    return [f"{n[0]:g} to {n[-1]:g}".replace("e+0", "e"), digits(1e3 * seconds[0]), span, shown[0], taken, shown[1]]


def main():
    parser = make_parser(__doc__, runs=5)
    parser.add_argument("--kind", choices=KINDS, help="measure this one only, with the sizes that follow, and print JSON")
    parser.add_argument("--sizes", type=int, nargs="+")
    arguments = read(parser)
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments.sizes, arguments.runs)))
        return
    found, before, runs = {}, load(), 2 if arguments.quick else arguments.runs
    for kind, (_, words, sizes, few) in KINDS.items():
        say(f"{words} ...")
        # a process of its own for each kind: memory that one has left behind is not another's
        command = [sys.executable, HERE / "growth.py", "--kind", kind, "--runs", runs, "--sizes"]
        answer = child("ours", [*command, *(few if arguments.quick else sizes)])
        found[kind] = json.loads(answer.splitlines()[-1])
    save_figure(found)
    head = ["", "sizes", "smallest (ms)", "largest (ms)", "exponent of the time", "memory of the largest (MB)", "exponent of it"]
    print(markdown(head, [[KINDS[kind][1], *cells(sizes)] for kind, sizes in found.items()]))
    print(f"\n- {cores()} cores; load average {before} before, {load()} after; runs of each size: {runs} or more")


if __name__ == "__main__":
    main()
