"""How a survey scales from one worker to two, and what it makes of a killed worker and a corrupt cube; prints Markdown."""

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from astropy import units as u

from sting import synthetic
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.gradient_descent import fit_streamline
from sting.source_folder import PREFIX, run_source
from sting.sources import read_sources
from sting.stream_lines_grad import streamline
from sting.survey import WORKER, fit_many

DISTANCE = 293

QUIET = {"threads_per_worker": 1, "env": WORKER, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


def draw_truth(rng):
    """A random streamer that the cube holds and the beam resolves."""
    while True:
        truth = synthetic.TRUTH | {
            "r0": rng.uniform(1500, 3000) * u.au,
            "theta0": rng.uniform(35, 140) * u.deg,
            "phi0": rng.uniform(0, 360) * u.deg,
            "v_r0": rng.uniform(0, 0.6) * u.km / u.s,
            "mass": rng.uniform(1, 4) * u.Msun,
            "inc": rng.uniform(-60, 60) * u.deg,
            "pa": rng.uniform(0, 360) * u.deg,
            "rc": rng.uniform(30, 300) * u.au,
        }
        del truth["omega"]
        path = streamline(truth, distance=DISTANCE)
        length = np.hypot(np.diff(path.ra), np.diff(path.dec)).sum()
        if length > 5 * u.arcsec and np.ptp(path.velocity) < 5 * u.km / u.s:
            return truth


def make_sources(folder, n):
    """Cubes of random streamers, configurations of their fits, which have no start, and their truths."""
    configs, truths = {}, {}
    for k in range(n):
        name, truth = f"source {k:02d}", draw_truth(np.random.default_rng(k))
        scene = synthetic.make_streamer_cube(truth, distance=DISTANCE, seed=k, shape=(90, 80, 80), pixel=0.25 * u.arcsec)
        scene.cube.write(folder / f"{name}.fits")
        configs[name] = {
            "cube": folder / f"{name}.fits",
            "star": scene.star_position,
            "distance": DISTANCE,
            "cut": {"rms_thresh": 5, "rms": scene.rms, "min_beams": 0},
            "start": "auto",
            "fixed": {key: truth[key] for key in ("inc", "pa", "rmin", "v_lsr")},
            "priors": {"mass": (truth["mass"].value, 0.1 * truth["mass"].value) * u.Msun},
            "fit": {"optimizer": "lbfgs", "n_starts": 64},
        }
        truths[name] = truth
    return configs, truths


def timed(configs, n_workers, folder, figures):
    """The catalogue, and seconds: until all workers have imported, compiled and fitted a source, and of the survey then."""
    from distributed import Client, LocalCluster

    folder.mkdir(exist_ok=True)
    begin, first = time.perf_counter(), read_sources(dict(list(configs.items())[:1]))[0][0]
    with LocalCluster(n_workers=n_workers, **QUIET) as cluster, Client(cluster) as client:
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
        client.gather(
            [
                client.submit(run_source, first, str(folder / f"first {n_workers} {k}"), figures, workers=[worker], pure=False)
                for k, worker in enumerate(workers)
            ]
        )
        ready = time.perf_counter()
        table = fit_many(configs, client, folder=folder / f"workers {n_workers}", figures=figures, progress=False)
    return table, ready - begin, time.perf_counter() - ready


def disturbed(configs, folder, figures):
    """The catalogue of a survey with two workers, one of which is killed half-way while it fits; and whether it was."""
    from distributed import Client, LocalCluster

    killed, over = [], threading.Event()

    def kill(cluster):
        with Client(cluster, set_as_default=False) as client:
            while not killed and not over.wait(0.02):
                busy = [address for address, tasks in client.processing().items() if tasks]
                if busy and sum(1 for _ in folder.glob("source*")) > len(configs) / 2 and any(folder.glob(f"{PREFIX}*")):
                    nanny = next(n for n in cluster.workers.values() if n.worker_address == busy[0])
                    os.kill(nanny.pid, signal.SIGKILL)
                    killed.append(nanny.pid)

    with LocalCluster(n_workers=2, **QUIET) as cluster:
        killer = threading.Thread(target=kill, args=(cluster,))
        killer.start()
        try:
            table = fit_many(configs, cluster, folder=folder, figures=figures, progress=False)
        finally:
            over.set()
            killer.join()
    return table, len(killed)


def from_the_truth(config, truth):
    """Loss of a fit of the same points that starts at the truth."""
    told = read_sources({"source": config})[0][0].check()
    streamer = reduce_to_1D(extract_streamer_subcube(told.cube, center=told.star, **told.cut), told.star, **told.reduce)
    free = {name: value for name, value in truth.items() if name not in config["fixed"]}
    options = {"priors": config["priors"], "optimizer": "lbfgs", "save_folder": None, "progress": False}
    return fit_streamline(free, config["fixed"], streamer, DISTANCE, **options).loss


def near(row, truth):
    """Of the free parameters whose sigma holds, how many there are and how many are within three of it of the truth."""
    names = [n for n in ("r0", "theta0", "phi0", "v_r0", "mass", "rc") if n not in row["skewed"].split()]
    pulls = [abs((row[n] - truth[n]) / row[f"{n}_sigma"]) for n in names]
    return len(pulls), int(np.sum(np.array(pulls) < 3))


def main():
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=64)
    parser.add_argument("--figures", action="store_true", help="draw the figures of each source, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs, truths = make_sources(folder, options.sources)
        # whatever is compiled is kept from here on, so that no number of workers has it harder
        timed(dict(list(configs.items())[:2]), 1, folder / "fill", options.figures)
        tables, start, run = {}, {}, {}
        for n in (1, 2):
            load = os.getloadavg()[0]
            tables[n], start[n], run[n] = timed(configs, n, folder, options.figures)
            print(f"{n} workers: load average {load:.1f} before, {os.getloadavg()[0]:.1f} after", flush=True)
        print("\n| workers | start (s) | survey (s) | efficiency | with the start |\n| ---: | ---: | ---: | ---: | ---: |")
        for n in (1, 2):
            whole = (start[1] + run[1]) / (start[n] + run[n]) / n
            print(f"| {n} | {start[n]:.1f} | {run[n]:.1f} | {run[1] / run[n] / n:.2f} | {whole:.2f} |")
        corrupt = list(configs)[options.sources // 3]
        configs[corrupt]["cube"].write_bytes(configs[corrupt]["cube"].read_bytes()[:5000])
        table, killed = disturbed(configs, folder / "disturbed", options.figures)
        report(table, killed, tables[1], configs, truths, folder / "disturbed")


def report(table, killed, undisturbed, configs, truths, folder):
    """Print what a survey made of its sources, and what it left."""
    right, difference, parameters = 0, 0.0, np.zeros(2, int)
    for row, other in zip(table, undisturbed, strict=True):
        if row["status"] == "failed":
            print(f"\n{row['name']}: {row['message']}\n")
            continue
        best = from_the_truth(configs[row["name"]], truths[row["name"]])
        right += row["loss"] <= 1.01 * best
        difference = max(difference, abs(row["loss"] / other["loss"] - 1))
        parameters += near(row, truths[row["name"]])
    done = [row["name"] for row in table if row["status"] != "failed"]
    whole = sum((folder / name / "source.json").is_file() and (folder / name / "best_fit.ecsv").is_file() for name in done)
    left = {path.name for path in folder.iterdir()} - {*configs, "catalogue.ecsv"}
    left |= {str(path) for path in folder.rglob("*") if path.name.startswith(PREFIX)}
    columns = {
        "workers killed": killed,
        "rows": len(table),
        "failed": len(table) - len(done),
        "right": right,
        "loss differs by": f"{difference:.1e}",
        "within three sigma": f"{parameters[1]} of {parameters[0]}",
        "whole folders": whole,
        "left over": len(left),
    }
    for line in (columns, ["---:"] * len(columns), columns.values()):
        print(f"| {' | '.join(map(str, line))} |")


if __name__ == "__main__":
    main()
