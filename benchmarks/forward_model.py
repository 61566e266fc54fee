"""Compare one forward model of this package, of velocity_tools 1.1 and of STING 0.2.3 with direct integration, and time them.

The table goes to standard output, progress to standard error. See README.md beside this file.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy import constants
from astropy import units as u
from environments import HERE, STING, child, cores, load, make_environment, make_sting_environment, say
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

VELOCITY_TOOLS = "velocity_tools 1.1"
GM_SUN = constants.GM_sun.to_value(u.au * (u.km / u.s) ** 2)
AU_PER_KM_S = (1 * u.au / (u.km / u.s)).to_value(u.s)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sets", type=int, default=40, help="sets of parameters, half of them with theta0 > 90 deg (default: 40)"
    )
    parser.add_argument("--python", help="Python to make STING's environment with (default: the first found that is new enough)")
    parser.add_argument("--env", type=Path, help="folder of both environments, kept for the next time (default: a temporary one)")
    return parser.parse_args()


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


def errors(values, place, velocity):
    """Largest distance from the integrated path (in r0) and difference of the velocity (in the speed) at the same radii."""
    gm = GM_SUN * values["mass"]
    inside = lambda t, y: np.linalg.norm(y[:3]) - 0.9 * values["rmin"]  # noqa: E731
    inside.terminal = True
    path = solve_ivp(
        lambda t, y: np.concatenate([y[3:], -gm * y[:3] / np.linalg.norm(y[:3]) ** 3]),
        (0, 1e6),
        np.concatenate(start_of(values)),
        method="DOP853",
        rtol=1e-12,
        atol=1e-12,
        dense_output=True,
        events=inside,
    )
    place, velocity = np.array(place), np.array(velocity)
    worst = np.zeros(2)
    for p, v in zip(place[1:], velocity[1:], strict=True):
        true = path.sol(time_of_radius(path, np.linalg.norm(p)))
        found = np.linalg.norm(p - true[:3]) / values["r0"], np.linalg.norm(v - true[3:]) / np.linalg.norm(true[3:])
        worst = np.maximum(worst, found)
    return worst


def main():
    arguments = read_arguments()
    sets, before = make_sets(arguments.sets), load()
    with tempfile.TemporaryDirectory(prefix="forward-") as temporary:
        folder = arguments.env or Path(temporary)
        pythons = {
            "ours": sys.executable,
            # with NumPy 2.4 velocity_tools 1.1 stops with an error
            "velocity_tools": make_environment(folder / "velocity_tools", sys.executable, "velocity_tools", "1.1", "numpy<2.4"),
            "sting": make_sting_environment(folder / "sting", arguments.python),
        }
        file = Path(temporary) / "sets.json"
        file.write_text(json.dumps(sets))
        answers = {}
        for side, python in pythons.items():
            say(f"{side} ...")
            answers[side] = json.loads(child(side, [python, HERE / "forward_workload.py", side, file]).splitlines()[-1])
    names = {"ours": f"ours ({answers['ours']['version']})", "velocity_tools": VELOCITY_TOOLS, "sting": STING}
    print(
        "| | place, theta0 < 90 | velocity, theta0 < 90 | place, theta0 > 90 | velocity, theta0 > 90 | one model (ms) | ratio |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for side, answer in answers.items():
        found = np.array([errors(values, **model) for values, model in zip(sets, answer["models"], strict=True)])
        cells = []
        for rows in (found[::2], found[1::2]):
            cells += [f"{np.median(column):.1e}, {column.max():.1e}" for column in rows.T]
        seconds = answer["seconds"]
        print(f"| {names[side]} | {' | '.join(cells)} | {1e3 * seconds:.2f} | {seconds / answers['ours']['seconds']:.3g} |")
    print(f"\n{cores()} cores; load average {before} before, {load()} after; {len(sets)} sets of parameters")


if __name__ == "__main__":
    main()
