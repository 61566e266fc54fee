"""How much of a streamer is found in a raw cube: completeness and purity of the selected cluster, and the fit, in known scenes.

Each scene is a random streamer in an envelope with an outflow and a disk (`sting.synthetic.make_scene`), its peak at 5 to 30
times the noise. A component counts as the streamer's if more than half of the emission under its Gaussian is. Completeness is
the flux of such components in the selected cluster over that of all; purity, over that of the selected cluster; F is their
harmonic mean. "by path" is the F of somebody who knows the true streamline: the best choice of components by their distance from
it, in beams and velocity, and by their width. What the streamer shares with the envelope is not to be had by more: "clear" are
completeness and purity among the components whose emission is the streamer's to more than 2/3 or less than 1/3. The fit knows
mass, axis and v_lsr and searches without a guess; beside it stands that of the streamer alone, in the same noise, above 4 rms.
Prints Markdown.
"""

import argparse
import time
import warnings

import numpy as np
from astropy import units as u

from sting import synthetic
from sting.core.constants import GM_SUN
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.gradient_descent import fit_streamline
from sting.isolate import cluster, decompose, select
from sting.messages import StingWarning
from sting.stream_lines_grad import streamline

SNR = 5, 30
COLUMNS = {
    "scene": "d",
    "S/N": ".0f",
    "components": "d",
    "clusters": "d",
    "completeness": ".2f",
    "purity": ".2f",
    "F": ".2f",
    "best": ".2f",
    "by path": ".2f",
    "clear completeness": ".2f",
    "clear purity": ".2f",
    "rank": "d",
    "s": ".1f",
    "off (beams)": ".2f",
    "off alone": ".2f",
    "L/true": ".2f",
    "L alone": ".2f",
    "pull": ".1f",
    "pull alone": ".1f",
}


def truth_of(components, scene):
    """Part of the streamer in the emission under each component."""
    table, velocity = components.table, scene.cube.spectral_axis.to_value(u.km / u.s)
    shape = np.exp(-0.5 * ((velocity[:, None] - table["velocity"].value) / table["sigma"].value) ** 2)
    return np.sum(shape * scene.streamer_fraction[:, table["y"], table["x"]], axis=0) / shape.sum(axis=0)


def scores(clusters, fraction, clear=False):
    """Completeness and purity of each cluster, of clear components only if so wished; NaN where there are none."""
    table, true = clusters.table, fraction > (2 / 3 if clear else 1 / 2)
    counts = true | (fraction < 1 / 3) if clear else np.full(len(table), True)
    flux, labels = np.where(counts, (table["amplitude"] * table["sigma"]).value, 0.0), np.asarray(table["cluster"])
    ours = np.array([[flux[(labels == k) & true].sum(), flux[labels == k].sum()] for k in range(len(clusters))])
    with np.errstate(invalid="ignore"):
        return ours[:, 0] / flux[true].sum(), ours[:, 0] / ours[:, 1]


def by_path(components, fraction, scene):
    """F of the best choice of components near the true streamline."""
    table, true = components.table, fraction > 0.5
    path = streamline(scene.truth, distance=scene.distance, n_points=800)
    beam, flux = np.sqrt(scene.cube.beam.major * scene.cube.beam.minor), (table["amplitude"] * table["sigma"]).value
    axes = (("ra_offset", path.ra, beam), ("dec_offset", path.dec, beam), ("velocity", path.velocity, 0.25 * u.km / u.s))
    away = sum(((table[name][:, None] - of) / unit).to_value("") ** 2 for name, of, unit in axes).min(axis=1)
    best = 0.0
    for reach in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5):
        for sigma in (0.2, 0.22, 0.24, 0.26, 0.28, 0.32, np.inf):
            chosen = (away < reach**2) & (table["sigma"].value < sigma)
            best = max(best, 2 * flux[chosen & true].sum() / (flux[chosen].sum() + flux[true].sum()))
    return best


def momentum(truth):
    """Specific angular momentum (au km/s) of a random scene."""
    latus = truth["mu"] * truth["r0"].to_value(u.au) * np.sin(truth["theta0"].to_value(u.rad)) ** 2
    return float(np.sqrt(GM_SUN * truth["mass"].to_value(u.Msun) * latus))


def fit(streamer, scene, beam):
    """Mean distance of the fitted path from the true one (beams); angular momentum over the true one, and its pull."""
    known = {name: scene.truth[name] for name in ("mass", "inc", "pa", "v_lsr", "rmin")}
    quiet = {"save_folder": None, "progress": False, "optimizer": "lbfgs", "n_starts": 16}
    result = fit_streamline("auto", known, streamer, scene.distance, **quiet)
    found, true = result.streamline(n_points=400), streamline(scene.truth, distance=scene.distance, n_points=2000)
    seen = np.hypot(streamer.ra_data, streamer.dec_data)
    place = np.array([found.ra.value, found.dec.value])
    kept = (np.hypot(*place) >= seen.min()) & (np.hypot(*place) <= seen.max())
    away = np.hypot(*(place[:, kept, None] - np.array([true.ra.value, true.dec.value])[:, None])).min(axis=1)
    orbit, true = result.derived(), momentum(scene.truth)
    (row,) = orbit[orbit["quantity"] == "angular_momentum"]
    return away.mean() / beam, row["value"] / true, (row["value"] - true) / row["sigma"]


def alone(scene):
    """Points of the streamer without its surroundings, in the same noise."""
    noise = scene.cube.filled_data[:].value - scene.model
    cube = scene.cube._new_cube_with(data=scene.components["streamer"] + noise)
    cut = extract_streamer_subcube(cube, rms_thresh=4, rms=scene.rms, islands="main")
    return reduce_to_1D(cut, scene.star_position)


def run(number, with_fit, envelope, **options):
    """A row of the table: of the scene of a number."""
    snr = np.random.default_rng([number, 2]).uniform(*SNR)
    scene = synthetic.make_scene("random", seed=number, snr=snr, brightness={"envelope": envelope})
    beam = np.sqrt(scene.cube.beam.major * scene.cube.beam.minor).to_value(u.arcsec)
    components = decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False)
    start = time.perf_counter()
    clusters = cluster(components, **options)
    row = {"scene": number, "S/N": snr, "components": len(components), "clusters": len(clusters)}
    if not len(clusters):
        return row | {"completeness": 0.0, "purity": 0.0, "F": 0.0, "best": 0.0}
    selection, fraction = select(clusters, scene.star_position), truth_of(components, scene)
    complete, pure = scores(clusters, fraction)
    clear = scores(clusters, fraction, clear=True)
    f = 2 * complete * pure / np.maximum(complete + pure, 1e-9)
    (chosen,) = selection.numbers
    row |= {"completeness": complete[chosen], "purity": pure[chosen], "F": f[chosen], "best": f.max()}
    row |= {"by path": by_path(components, fraction, scene)}
    row |= {"clear completeness": clear[0][chosen], "clear purity": clear[1][chosen]}
    row |= {"rank": 1 + list(selection.ranking["cluster"]).index(f.argmax()), "s": time.perf_counter() - start}
    if with_fit:
        for names, make in (
            (("off (beams)", "L/true", "pull"), selection.streamer),
            (("off alone", "L alone", "pull alone"), lambda: alone(scene)),
        ):
            try:
                row |= dict(zip(names, fit(make(), scene, beam), strict=True))
            except ValueError as error:
                print(f"Scene {number}: {error}")
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=20, help="number of scenes")
    parser.add_argument("--first", type=int, default=101, help="number (seed) of the first")
    parser.add_argument("--method", default="hdbscan", help="hdbscan or dbscan")
    parser.add_argument("--envelope", type=float, default=0.8, help="peak of the envelope over that of the streamer")
    parser.add_argument("--plain", action="store_true", help="position and velocity alone, without width and brightness")
    parser.add_argument("--fit", action="store_true", help="fit as well")
    options = parser.parse_args()
    plain = {"width_scale": None, "amplitude_scale": None, "width_tolerance": None} if options.plain else {}
    rows = []
    print("|", " | ".join(COLUMNS), "|\n|", " | ".join("--:" for _ in COLUMNS), "|")
    for number in range(options.first, options.first + options.scenes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StingWarning)
            rows.append(run(number, options.fit, options.envelope, method=options.method, **plain))
        cells = (f"{rows[-1][name]:{form}}" if name in rows[-1] else "" for name, form in COLUMNS.items())
        print("|", " | ".join(cells), "|", flush=True)
    both = np.array([[row["completeness"], row["purity"]] for row in rows])
    middle, lower = (np.quantile(both, q, axis=0).round(3) for q in (0.5, 0.25))
    print(f"\nMedian completeness and purity {middle}, lower quartiles {lower};")
    print(f"both over 0.9 in {np.sum(both.min(axis=1) > 0.9)}, over 0.8 in {np.sum(both.min(axis=1) > 0.8)} of {len(rows)};")
    clear = np.array([[row.get(f"clear {name}", 0.0) for name in ("completeness", "purity")] for row in rows])
    middle, above = np.nanmedian(clear, axis=0).round(3), np.sum(clear.min(axis=1) > 0.9)
    print(f"of clear components {middle}, both over 0.9 in {above} of {np.isfinite(clear).all(axis=1).sum()};")
    known, first = (
        np.median([[row["F"], row.get("by path", 0.0)] for row in rows], axis=0),
        sum(row.get("rank") == 1 for row in rows),
    )
    print(f"F {known[0]:.2f}, by the path {known[1]:.2f} (medians); the best cluster comes first in {first}.")
    for name in list(COLUMNS)[-6:]:
        if values := [row[name] for row in rows if name in row]:
            print(f"{name}: median {np.median(values):.2f}, quartiles {np.quantile(values, [0.25, 0.75]).round(2)}")


if __name__ == "__main__":
    main()
