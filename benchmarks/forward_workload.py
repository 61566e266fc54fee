"""One forward model for each set of parameters, by the package of this environment, and for some sets a gradient.

Differentiated is a number that is made of the places and velocities at the radii at which the peers sample the path, `summary`.

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

DEGREE = 180 / np.pi  # in a radian
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
N_STEPS = N_POINTS - 0.5  # the inner end lies between two radii, so that rounding decides nothing
LEAST_SECONDS = 0.1  # of one set of parameters
MOST_GRADIENTS = 2

#: With respect to what, and in which unit (None: the value itself). Not r0: the peers' radii depend on it.
DERIVATIVES = {"theta0": DEGREE, "phi0": DEGREE, "v_r0": 1.0, "omega": None, "mass": None, "inc": DEGREE, "pa": DEGREE}


def gradient_sets(sets):
    """Those with theta0 < 90 deg, of which the peers' velocities are right."""
    return sets[: 2 * MOST_GRADIENTS : 2]


def radii_of(values):
    """At which velocity_tools and STING sample the path (au)."""
    step = (values["r0"] - values["rmin"]) / N_STEPS
    radii = values["r0"] - np.arange(N_POINTS + 2) * step
    return radii[radii > values["rmin"]]


def summary(place, velocity, r0):
    """One number: the mean of a direction of the place (in r0) and one of the velocity (km/s)."""
    return (place @ np.array([0.6, 0.0, 0.8])).mean() / r0 + (velocity @ np.array([0.0, 1.0, 0.0])).mean()


def ours(params):
    import sting

    path = sting.streamline(params, distance=140 * u.pc, n_points=N_POINTS)
    return path.position.value, path.velocity_xyz.value


def velocity_tools(params):
    from velocity_tools.stream_lines import xyz_stream

    with contextlib.redirect_stdout(io.StringIO()):
        place, velocity = xyz_stream(**params, deltar=(params["r0"] - params["rmin"]) / N_STEPS)
    return np.transpose([x.to_value(u.au) for x in place]), np.transpose([v.to_value(u.km / u.s) for v in velocity])


def sting_0_2_3(params):
    from sting import stream_lines_grad as model

    bare = {name: float(value.si.value if name == "omega" else value.value) for name, value in params.items()}
    bare |= {name: float(params[name].to_value(u.rad)) for name in ("theta0", "phi0", "inc", "pa")}
    mu = model.mu_from_omega(bare.pop("omega"), bare["mass"], bare["r0"])
    deltar = (bare["r0"] - bare["rmin"]) / N_STEPS
    error, (place, velocity, valid) = model.checked_xyz_stream(**bare, mu=mu, deltar=deltar, npoints=N_POINTS + 2)
    error.throw()
    kept = np.asarray(valid) > 0
    return np.transpose(place)[kept], np.transpose(velocity)[kept]


def bare_of(params):
    """Values in au, km/s, rad, 1/s and Msun."""
    angles = ("theta0", "phi0", "inc", "pa")
    return {name: float(value.to_value(u.rad) if name in angles else value.value) for name, value in params.items()}


def in_units(gradient, params):
    """Derivatives in the order and the units of `DERIVATIVES`, from those by `bare_of`."""
    return [float(gradient[name]) * (params[name].value if unit is None else 1.0) for name, unit in DERIVATIVES.items()]


def compile_ours():
    import jax

    from sting.core.orbit import w_of_radius
    from sting.core.sky import make_path, position_and_velocity
    from sting.core.transforms import mu_from

    def number(free, fixed, radii):
        values = free | fixed
        mu = mu_from("omega", values.pop("omega"), values["r0"], values["mass"])
        path = make_path(mu=mu, v_lsr=0.0, distance=1.0, **values)
        return summary(*position_and_velocity(path, w_of_radius(path, radii)), values["r0"])

    evaluate = jax.jit(jax.value_and_grad(number))

    def gradient(params):
        bare = bare_of(params)
        free = {name: bare.pop(name) for name in DERIVATIVES}
        with jax.enable_x64(True):
            return in_units(jax.device_get(evaluate(free, bare, radii_in(params)))[1], params)

    return gradient


def compile_sting():
    import jax

    from sting import stream_lines_grad as model

    def number(free, fixed, deltar):
        values = free | fixed
        mu = model.mu_from_omega(values.pop("omega"), values["mass"], values["r0"])
        _, (place, velocity, valid) = model.checked_xyz_stream(**values, mu=mu, deltar=deltar, npoints=N_POINTS + 2)
        kept = jax.numpy.asarray(valid) > 0
        place, velocity = (jax.numpy.stack(part, axis=-1) * kept[:, None] for part in (place, velocity))
        return summary(place, velocity, values["r0"]) * kept.size / kept.sum()

    evaluate = jax.jit(jax.value_and_grad(number))

    def gradient(params):
        bare = bare_of(params)
        deltar = (bare["r0"] - bare["rmin"]) / N_STEPS
        free = {name: bare.pop(name) for name in DERIVATIVES}
        return in_units(jax.device_get(evaluate(free, bare, deltar))[1], params)

    return gradient


def compile_velocity_tools():
    def gradient(params):
        found = []
        for name, unit in DERIVATIVES.items():
            step = 1e-3 * (abs(params[name]) if unit is None else unit * params[name].unit)
            ends = [velocity_tools(params | {name: params[name] + sign * step}) for sign in (1, -1)]
            found.append(np.subtract(*(summary(*end, params["r0"].value) for end in ends)) / 2e-3)
        return found

    return gradient


def radii_in(params):
    return radii_of({name: params[name].value for name in ("r0", "rmin")})


SIDES = {
    "ours": (ours, compile_ours, "differentiation"),
    "velocity_tools": (velocity_tools, compile_velocity_tools, "central differences"),
    "sting": (sting_0_2_3, compile_sting, "differentiation"),
}


def timed(function, params, compiles):
    """What it returns, and the seconds that it takes, once it has compiled."""
    if compiles:
        function(params)
    begin, repetitions = time.perf_counter(), 0
    while repetitions == 0 or time.perf_counter() - begin < LEAST_SECONDS:
        found = function(params)
        repetitions += 1
    return found, (time.perf_counter() - begin) / repetitions


def main(side, path):
    (model, make_gradient, how), found = SIDES[side], {"models": [], "gradients": []}
    seconds, gradient_seconds, compiles = [], [], side != "velocity_tools"
    sets = json.loads(Path(path).read_text())
    for values in sets:
        (place, velocity), taken = timed(model, {name: values[name] * unit for name, unit in UNITS.items()}, compiles)
        seconds.append(taken)
        found["models"].append({"place": place.tolist(), "velocity": velocity.tolist()})
    gradient = make_gradient()
    for values in gradient_sets(sets):
        slopes, taken = timed(gradient, {name: values[name] * unit for name, unit in UNITS.items()}, compiles)
        gradient_seconds.append(taken)
        found["gradients"].append([float(slope) for slope in slopes])
    return found | {
        "version": version({"ours": "sting"}.get(side, side)),
        "how": how,
        "seconds": statistics.median(seconds),
        "gradient_seconds": statistics.median(gradient_seconds),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
