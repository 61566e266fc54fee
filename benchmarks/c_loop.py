"""Time one evaluation of the loss and its gradient beside the same arithmetic in a hand-written C loop, c_loop.c.

The table goes to standard output, progress to standard error. See README.md beside this file.
"""

import argparse
import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u
from environments import HERE, cores, load, make_parser, markdown, read, say, spread

from sting import synthetic
from sting.core import matching
from sting.core.constants import GM_SUN, HERTZ_PER_KMS_AU
from sting.core.likelihood import loss
from sting.core.orbit import LARGEST_RMIN
from sting.core.transforms import LARGEST_MU
from sting.messages import in_float64
from sting.problem import state_data, state_fit

SAMPLES = (matching.N_SAMPLES, 200)
FLAGS = ("-O3 -march=native", "-O2")
STEP = 1e-9  # from one evaluation to the next, so that no compiler can take one for all
TOLERANCE = 1e-8
SUPPORT, PRIOR = ("offset", "scale", "sharpness", "has_lower", "has_upper"), ("mean", "inverse_sigma", "period")


def read_arguments():
    parser = make_parser(__doc__, runs=9)
    parser.add_argument("--points", type=int, default=10, help="data points (default: 10)")
    parser.add_argument("--evaluations", type=int, default=3000, help="evaluations in each repetition (default: 3000)")
    parser.add_argument("--compiler", default="gcc", help="C compiler (default: gcc)")
    arguments = read(parser)
    return argparse.Namespace(**vars(arguments) | ({"runs": 3, "evaluations": 500} if arguments.quick else {}))


def state_problem(n_points):
    """A fit of eight free parameters, three of them with priors, a little off its minimum: problem, settings and coordinates."""
    truth = synthetic.TRUTH
    fixed = {name: truth[name] for name in ("rmin", "v_lsr")}
    start = {name: 1.02 * value for name, value in truth.items() if name not in fixed}
    priors = {"mass": (4.0, 1.0) * u.Msun, "inc": (-45, 10) * u.deg, "pa": (194, 10) * u.deg}
    problem, settings, x, _ = state_fit(start, fixed, 293, priors=priors)
    streamer = synthetic.make_streamer_points(n_elements=n_points, seed=1)
    return problem | state_data(streamer.data, streamer.uncertainties), settings, x


class Problem(ctypes.Structure):
    """That of c_loop.c."""

    _fields_ = (
        [(name, ctypes.c_int) for name in ("n_points", "n_samples")]
        + [(name, ctypes.c_double) for name in ("gm_sun", "hertz", "largest_mu", "largest_rmin", "distance")]
        + [(name, ctypes.c_void_p) for name in ("points", "sigma", "grid", "free", "fixed", *SUPPORT, *PRIOR)]
    )


class InC:
    """The C loop on one problem. Its values are the means over all evaluations of a call."""

    def __init__(self, library, problem, x, n_samples):
        self.repeat = ctypes.CDLL(str(library)).repeat
        self.repeat.restype = ctypes.c_double
        grid = 1 - np.linspace(1, 0, n_samples) ** 2
        arrays = {name: problem[name] for name in ("points", "sigma", "free", "fixed")} | {"grid": grid}
        arrays |= {name: problem["support"][name] for name in SUPPORT} | {name: problem["prior"][name] for name in PRIOR}
        self.arrays = {name: np.ascontiguousarray(array, float) for name, array in arrays.items()} | {"x": np.array(x)}
        constants = {"gm_sun": GM_SUN, "hertz": HERTZ_PER_KMS_AU, "largest_mu": LARGEST_MU, "largest_rmin": LARGEST_RMIN}
        pointers = {name: array.ctypes.data for name, array in self.arrays.items() if name != "x"}
        sizes = {"n_points": len(problem["points"]), "n_samples": n_samples}
        self.problem = Problem(**sizes, **constants, distance=float(problem["distance"]), **pointers)

    def __call__(self, n):
        x, gradient = self.arrays["x"], np.zeros(len(self.arrays["x"]))
        at = [ctypes.c_void_p(array.ctypes.data) for array in (x, gradient)]
        total = self.repeat(ctypes.byref(self.problem), at[0], ctypes.c_double(STEP), ctypes.c_int(n), at[1])
        return total / n, gradient / n


class Ours:
    """The package on the same problem, with so many samples: `loop` in one compiled program, `call` from Python."""

    def __init__(self, problem, settings, x, n_samples):
        problem = jax.tree.map(jnp.asarray, problem)
        evaluate = jax.value_and_grad(loss)

        @jax.jit
        def loop(x, n, problem):
            def body(k, carry):
                return jax.tree.map(jnp.add, carry, evaluate(x + k * STEP, problem, settings))

            return jax.lax.fori_loop(0, n, body, (0.0, jnp.zeros_like(x)))

        call = jax.jit(lambda x, problem: evaluate(x, problem, settings))
        x, matching.N_SAMPLES = jnp.asarray(x), n_samples
        try:
            self.compiled = loop.lower(x, 1, problem).compile(), call.lower(x, problem).compile()
        finally:
            matching.N_SAMPLES = SAMPLES[0]
        self.x, self.problem = x, problem

    def loop(self, n):
        total, gradient = jax.block_until_ready(self.compiled[0](self.x, n, self.problem))
        return float(total) / n, np.asarray(gradient) / n

    def call(self, n):
        for _ in range(n):
            jax.block_until_ready(self.compiled[1](self.x, self.problem))


def compile_c(compiler, flags, folder):
    path = Path(folder) / f"c_loop{flags.replace(' ', '')}.so"
    subprocess.run([compiler, *flags.split(), "-shared", "-fPIC", "-o", path, HERE / "c_loop.c", "-lm"], check=True)
    return path


def check(in_c, ours):
    """Refuse to time what is not the same: over three evaluations, loss and gradient, in units of the largest."""
    (loss_c, gradient_c), (loss_ours, gradient) = in_c(3), ours.loop(3)
    worst = max(abs(loss_c / loss_ours - 1), np.abs(gradient_c - gradient).max() / np.abs(gradient).max())
    if not worst < TOLERANCE:
        sys.exit(f"the C loop and the package differ by {worst:.1e}")
    return worst


def microseconds(function, n):
    begin = time.perf_counter()
    function(n)
    return 1e6 * (time.perf_counter() - begin) / n


@in_float64
def main():
    arguments = read_arguments()
    if shutil.which(arguments.compiler) is None:
        sys.exit(f"there is no {arguments.compiler}; name a C compiler with --compiler.")
    problem, settings, x = state_problem(arguments.points)
    head, before = ["model samples", "", "one evaluation (μs)", f"times the C loop, {FLAGS[0]}"], load()
    rows, worst, n = [], 0.0, arguments.evaluations
    with tempfile.TemporaryDirectory() as folder:
        libraries = {flags: compile_c(arguments.compiler, flags, folder) for flags in FLAGS}
        for n_samples in SAMPLES:
            say(f"{n_samples} samples: compiling ...")
            ours = Ours(problem, settings, x, n_samples)
            kinds = {f"C loop, {flags}": InC(library, problem, x, n_samples) for flags, library in libraries.items()}
            worst = max([worst, *(check(in_c, ours) for in_c in kinds.values())])
            kinds |= {"ours, in a compiled loop": ours.loop, "ours, called from Python": ours.call}
            times = {name: [] for name in kinds}
            for function in kinds.values():
                microseconds(function, 300)
            for _ in range(arguments.runs):
                for name, function in kinds.items():
                    times[name].append(microseconds(function, n))
            reference = times[f"C loop, {FLAGS[0]}"]
            for name, taken in times.items():
                ratios = np.array(taken) / reference
                rows.append([n_samples, name, spread(taken), spread(ratios)])
    print(markdown(head, rows))
    print(f"\n- {arguments.points} data points, eight free parameters; the values agree to {worst:.0e}")
    print(f"- {cores()} cores; load average {before} before, {load()} after; runs of each kind, in turns: {arguments.runs}")


if __name__ == "__main__":
    main()
