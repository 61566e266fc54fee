"""One forward model for each set of parameters, by the package of this environment.

Started by forward_model.py with the Python of each environment. Arguments: SIDE and a file of sets. Answer: a line of JSON.
"""

import contextlib
import io
import json
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy import units as u

UNITS = {
    "r0": u.au,
    "theta0": u.deg,
    "phi0": u.deg,
    "v_r0": u.km / u.s,
    "omega": 1 / u.s,
    "mass": u.Msun,
    "inc": u.deg,
    "pa": u.deg,
    "rmin": u.au,
}
N_POINTS = 100
LEAST_SECONDS = 0.1  # of one set of parameters


def ours(params):
    import sting

    path = sting.streamline(params, distance=140 * u.pc, n_points=N_POINTS)
    return path.position.value, path.velocity_xyz.value


def velocity_tools(params):
    from velocity_tools.stream_lines import xyz_stream

    with contextlib.redirect_stdout(io.StringIO()):
        place, velocity = xyz_stream(**params, deltar=(params["r0"] - params["rmin"]) / N_POINTS)
    return np.transpose([x.to_value(u.au) for x in place]), np.transpose([v.to_value(u.km / u.s) for v in velocity])


def sting_0_2_3(params):
    from sting import stream_lines_grad as model

    bare = {name: float(value.si.value if name == "omega" else value.value) for name, value in params.items()}
    bare |= {name: float(params[name].to_value(u.rad)) for name in ("theta0", "phi0", "inc", "pa")}
    mu = model.mu_from_omega(bare.pop("omega"), bare["mass"], bare["r0"])
    deltar = (bare["r0"] - bare["rmin"]) / N_POINTS
    error, (place, velocity, valid) = model.checked_xyz_stream(**bare, mu=mu, deltar=deltar, npoints=N_POINTS + 2)
    error.throw()
    kept = np.asarray(valid) > 0
    return np.transpose(place)[kept], np.transpose(velocity)[kept]


SIDES = {"ours": ours, "velocity_tools": velocity_tools, "sting": sting_0_2_3}


def main(side, path):
    model, found, seconds = SIDES[side], [], []
    for values in json.loads(Path(path).read_text()):
        params = {name: values[name] * unit for name, unit in UNITS.items()}
        place, velocity = model(params)  # compiles, the first time
        begin, repetitions = time.perf_counter(), 0
        while repetitions == 0 or time.perf_counter() - begin < LEAST_SECONDS:
            model(params)
            repetitions += 1
        seconds.append((time.perf_counter() - begin) / repetitions)
        found.append({"place": place.tolist(), "velocity": velocity.tolist()})
    name = {"ours": "sting"}.get(side, side)
    return {"version": version(name), "seconds": statistics.median(seconds), "models": found}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
