"""Compare one forward model and its gradient of this package, velocity_tools 1.1 and STING 0.2.3 with integration, and time them.

The table goes to standard output, progress to standard error. See README.md beside this file.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy import constants
from astropy import units as u
from environments import (
    HERE,
    STING,
    child,
    cores,
    load,
    make_environment,
    make_parser,
    make_sting_environment,
    markdown,
    read,
    say,
    spread,
)
from forward_workload import DERIVATIVES, gradient_sets, radii_of, summary
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

VELOCITY_TOOLS = "velocity_tools 1.1"
GM_SUN = constants.GM_sun.to_value(u.au * (u.km / u.s) ** 2)
AU_PER_KM_S = (1 * u.au / (u.km / u.s)).to_value(u.s)


def read_arguments():
    parser = make_parser(__doc__, runs=3, peers=True)
    parser.add_argument(
        "--sets", type=int, default=20, help="sets of parameters, half of them with theta0 > 90 deg (default: 20)"
    )
    return read(parser)


def make_sets(number):
    """Random parameters; the path ends before the midplane, where velocity_tools ends."""
    rng, sets = np.random.default_rng(0), []
    while len(sets) < number:
        r0, mass = rng.uniform(1000, 4000), rng.uniform(0.5, 4)
        theta0 = np.radians(rng.uniform(20, 80))
        rc, v_r0 = rng.uniform(20, 300), rng.uniform(0.05, 1)
        ell = rc * np.sin(theta0) ** 2
        landing = ell / (1 + v_r0 * np.sqrt(ell / (GM_SUN * mass)))
        degrees = np.degrees(theta0)
        sets.append(
            {
                "r0": r0,
                "theta0": degrees if len(sets) % 2 == 0 else 180 - degrees,
                "phi0": rng.uniform(0, 360),
                "v_r0": v_r0,
                "omega": np.sqrt(GM_SUN * mass * rc) / r0**2 / AU_PER_KM_S,
                "mass": mass,
                "inc": rng.uniform(-80, 80),
                "pa": rng.uniform(0, 360),
                "rmin": 1.2 * max(landing, rc / 2),
            }
        )
    return sets


def start_of(values):
    """Place and velocity of the start on the axes west, away from the observer and north."""
    theta, phi, inc, pa = (np.radians(values[name]) for name in ("theta0", "phi0", "inc", "pa"))
    outwards = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    along = np.array([-np.sin(phi), np.cos(phi), 0])
    tilt = np.array([[1, 0, 0], [0, np.cos(inc), np.sin(inc)], [0, -np.sin(inc), np.cos(inc)]])
    turn = np.array([[np.cos(pa), 0, -np.sin(pa)], [0, 1, 0], [np.sin(pa), 0, np.cos(pa)]])
    speed = values["omega"] * AU_PER_KM_S * values["r0"] * np.sin(theta)
    return turn @ tilt @ (values["r0"] * outwards), turn @ tilt @ (speed * along - values["v_r0"] * outwards)


def time_of_radius(path, radius):
    return brentq(lambda t: np.linalg.norm(path.sol(t)[:3]) - radius, 0, path.t[-1], xtol=1e-13, rtol=1e-14)


def integrate(values):
    """The path, as place and velocity at any time, from the equation of motion."""
    gm = GM_SUN * values["mass"]
    inside = lambda t, y: np.linalg.norm(y[:3]) - 0.9 * values["rmin"]  # noqa: E731
    inside.terminal = True
    return solve_ivp(
        lambda t, y: np.concatenate([y[3:], -gm * y[:3] / np.linalg.norm(y[:3]) ** 3]),
        (0, 1e6),
        np.concatenate(start_of(values)),
        method="DOP853",
        rtol=1e-12,
        atol=1e-12,
        dense_output=True,
        events=inside,
    )


def errors(values, place, velocity):
    """Largest distance from the integrated path (in r0) and difference of the velocity (in the speed) at the same radii."""
    path, place, velocity = integrate(values), np.array(place), np.array(velocity)
    worst = np.zeros(2)
    for p, v in zip(place[1:], velocity[1:], strict=True):
        true = path.sol(time_of_radius(path, np.linalg.norm(p)))
        found = np.linalg.norm(p - true[:3]) / values["r0"], np.linalg.norm(v - true[3:]) / np.linalg.norm(true[3:])
        worst = np.maximum(worst, found)
    return worst


def integrated_summary(values):
    """The number that is differentiated, see forward_workload.py, from the equation of motion."""
    path = integrate(values)
    states = [path.sol(time_of_radius(path, radius)) for radius in radii_of(values)[1:]]
    return summary(*np.split(np.array([np.concatenate(start_of(values)), *states]), 2, axis=1), values["r0"])


def integrated_gradient(values):
    """Its derivatives with respect to all parameters but r0, by differences of five points."""
    found = []
    for name, unit in DERIVATIVES.items():
        step = 1e-3 * (abs(values[name]) if unit is None else unit)
        near, far = (
            integrated_summary(values | {name: values[name] + n * step})
            - integrated_summary(values | {name: values[name] - n * step})
            for n in (1, 2)
        )
        found.append((8 * near - far) / 12e-3)
    return np.array(found)


def print_models(answers, sets):
    rows = []
    for answer in answers.values():
        found = np.array([errors(values, **model) for values, model in zip(sets, answer["models"], strict=True)])
        cells = []
        for part in (found[::2], found[1::2]):
            cells += [f"{np.median(column):.1e}, {column.max():.1e}" for column in part.T]
        ratios = np.divide(answer["seconds"], answers["ours"]["seconds"])
        rows.append([answer["name"], *cells, spread([1e3 * seconds for seconds in answer["seconds"]]), spread(ratios)])
    kinds = [f"{what}, theta0 {sign} 90" for sign in "<>" for what in ("place", "velocity")]
    print(markdown(["", *kinds, "one model (ms)", "ratio"], rows, 1), end="\n\n")


def print_gradients(answers, sets):
    true, rows = [integrated_gradient(values) for values in sets], []
    for answer in answers.values():
        wrong = [np.abs(g - t).max() / np.abs(t).max() for g, t in zip(answer["gradients"], true, strict=True)]
        ratios = np.divide(answer["gradient_seconds"], answers["ours"]["gradient_seconds"])
        times = [1e3 * seconds for seconds in answer["gradient_seconds"]]
        rows.append([answer["name"], answer["how"], f"{np.median(wrong):.1e}, {max(wrong):.1e}", spread(times), spread(ratios)])
    print(markdown(["", "gradient by", "error", "model and gradient (ms)", "ratio"], rows), end="\n\n")


def main():
    arguments = read_arguments()
    n_sets, n_runs = (2, 1) if arguments.quick else (arguments.sets, arguments.runs)
    sets, before = make_sets(n_sets), load()
    with tempfile.TemporaryDirectory(prefix="forward-") as temporary:
        folder = arguments.env or Path(temporary)
        pythons = {
            "ours": sys.executable,
            # with NumPy 2.4 velocity_tools 1.1 stops with an error
            "velocity_tools": make_environment(folder / "velocity_tools", sys.executable, "velocity_tools", "1.1", "numpy<2.4"),
            "sting": make_sting_environment(folder, arguments.python),
        }
        file = Path(temporary) / "sets.json"
        file.write_text(json.dumps(sets))
        answers = {}
        for number in range(n_runs):
            for side, python in pythons.items():
                say(f"run {number + 1} of {n_runs}: {side} ...")
                found = json.loads(child(side, [python, HERE / "forward_workload.py", side, file]).splitlines()[-1])
                answer = answers.setdefault(side, found | {"seconds": [], "gradient_seconds": []})
                for key in ("seconds", "gradient_seconds"):
                    answer[key].append(found[key])
    for side, name in {"ours": f"ours ({answers['ours']['version']})", "velocity_tools": VELOCITY_TOOLS, "sting": STING}.items():
        answers[side]["name"] = name
    print_models(answers, sets)
    print_gradients(answers, gradient_sets(sets))
    print(f"- {len(sets)} sets of parameters, {len(gradient_sets(sets))} for the gradient")
    print(f"- {cores()} cores; load average {before} before, {load()} after; runs of each kind, in turns: {n_runs}")


if __name__ == "__main__":
    main()
