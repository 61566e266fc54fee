"""How often each optimizer ends in the lowest minimum that any of them finds, and how long it takes; prints a Markdown table.

The streamers are those of search.py. See README.md beside this file.
"""

import argparse
import time

import numpy as np
from search import DISTANCE, draw_truth, observe, state

from sting.gradient_descent import fit_streamline

OPTIMIZERS = ("lm", "lbfgs", "adam")

#: Starts: what is multiplied by one plus this, and by how much angles are off (as a fraction of a radian).
STARTS = {"the truth": 0.0, "10 % off": 0.1, "20 % off": 0.2, "40 % off": 0.4}

#: Losses that are as low as the lowest: within one per cent, or a tenth of what one sigma of a parameter raises it by.
SAME, NOTHING = 1.01, 0.1


def starts_of(truth, fixed, rng):
    """Starts at and around the truth, each parameter off in a random direction."""
    free = {name: value for name, value in truth.items() if name not in fixed}
    for label, off in STARTS.items():
        sign = dict(zip(free, rng.choice([-1.0, 1.0], len(free)), strict=True))
        start = {name: value * (1 + off * sign[name]) for name, value in free.items()}
        angles = {
            name: truth[name] + np.degrees(off) * sign[name] * truth[name].unit for name in ("phi0", "inc", "pa") if name in free
        }
        if "theta0" in free:
            angles["theta0"] = np.clip(np.degrees(off) * sign["theta0"] + truth["theta0"].value, 1, 179) * truth["theta0"].unit
        if "inc" in angles:
            angles["inc"] = np.clip(angles["inc"].value, -89, 89) * angles["inc"].unit
        yield label, start | angles


def main():
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streamers", type=int, default=100)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    rows = []
    for k in range(options.streamers):
        truth = draw_truth(np.random.default_rng(k))
        streamer = observe(truth, k, k % 4 > 1)
        fixed, priors = state(truth, k)
        found = []
        for label, start in starts_of(truth, fixed, np.random.default_rng(k + 1000)):
            for name in OPTIMIZERS:
                begin = time.perf_counter()
                result = fit_streamline(
                    start, fixed, streamer, DISTANCE, priors=priors, optimizer=name, save_folder=None, progress=False
                )
                seconds = time.perf_counter() - begin
                found.append((label, name, result.loss, seconds, len(result.history) - 1))
        lowest = min(row[2] for row in found)
        rows += [(*row, row[2] <= SAME * lowest + NOTHING) for row in found]
        if options.verbose:
            print(
                k, lowest, [(row[0], row[1], round(row[2], 4)) for row in found if row[2] > SAME * lowest + NOTHING], flush=True
            )
    print("| start | " + " | ".join(f"{name}: lowest | epochs | ms" for name in OPTIMIZERS) + " |")
    print("| --- |" + " ---: |" * 3 * len(OPTIMIZERS))
    for label in STARTS:
        cells = []
        for name in OPTIMIZERS:
            part = [row for row in rows if row[:2] == (label, name)]
            seconds, epochs = (np.median([row[i] for row in part]) for i in (3, 4))
            cells += [f"{sum(row[5] for row in part)} of {len(part)}", f"{epochs:.0f}", f"{1e3 * seconds:.0f}"]
        print(f"| {label} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
