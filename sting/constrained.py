"""Fits with one quantity held: the smallest loss that is left at a value of a parameter or of an element of the orbit.

Levenberg and Marquardt's method on the residuals, as in `sting.core.levenberg`, but for one descent at a time, with the programs
that a fit has compiled already, and in coordinates of the orbit rather than of its start, in which the loss is closest to a
parabola: 1/r0, where a start that may lie at any distance beyond the data ends at 0, and the square root of rc, to which the
angular momentum is proportional.

A stiff residual pulls the quantity towards its target. Where the descent ends, the loss without it is the smallest one for the
value that the quantity has there, whether or not that is quite the target; and the pull is the slope of this smallest loss.
"""

from dataclasses import dataclass

import jax
import numpy as np

from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, linearise
from sting.core.transforms import to_parameters
from sting.derived import element_at
from sting.messages import in_float64

#: Iterations at the most; a descent has converged where the next step promises to lower the loss by less than this.
ITERATIONS, LEAST_GAIN = 60, 1e-6

#: It has also where so many iterations in a row have lowered the loss by less than this: at a kink, where the place nearest to a
#: point leaves the end of the path, no promise is kept.
PATIENCE, IDLE_GAIN = 7, 1e-4

#: Damping at first, at least, and the one up to which a promise counts.
FIRST_DAMPING, LEAST_DAMPING, FREE_STEP = 1e-3, 1e-9, 1.0

#: Longest step in a coordinate.
LONGEST_STEP = 0.3

#: How far off a bound, in a coordinate, a second descent starts.
OFF_BOUND = 0.1

#: Stiffness of the pull in units of the quantity's scale.
STIFFNESS = 30.0

#: Smallest and largest reach/r0: beyond, nothing of a streamline differs from one that comes from infinity.
NEAREST, FARTHEST = 50.0, 1e-4

#: Smallest square root of rc/reach.
SMALLEST_ROOT = 1e-3

R0, MU = MODEL_PARAMETERS.index("r0"), MODEL_PARAMETERS.index("mu")

#: Quantities that may have no upper end. They are held by their reciprocals, which then end at 0.
RECIPROCAL = ("r0", "time_to_rc", "time_to_midplane", "time_to_periastron", "free_fall_time", "length")


@dataclass(frozen=True, eq=False)
class Place:
    """A set of parameters: its coordinates, loss, value of the quantity (as it is held) and slope of the smallest loss in it."""

    y: np.ndarray
    loss: float
    held: float
    slope: float
    converged: bool
    total: float = 0.0  # the loss with the pull


class ConstrainedFit:
    """The loss of a result in coordinates that suit the orbit, and descents in them."""

    def __init__(self, result):
        problem, settings = result.problem, result.settings
        support, n = problem["support"], len(MODEL_PARAMETERS)
        values = np.where(problem["free"] > 0, in_float64(to_parameters)(result.x, support), problem["fixed"])
        low = np.where(support["has_lower"] > 0, support["offset"], -np.inf)
        high = np.where(support["has_upper"] > 0, support["offset"] + support["scale"], np.inf)
        plain = {name: np.zeros(n) for name in support} | {"scale": np.ones(n)}
        self.problem, self.settings = problem | {"support": plain, "free": np.array(problem["free"])}, settings
        self.free = np.flatnonzero(problem["free"] > 0)
        self.scale = np.array(support["scale"])
        self.reach = float(np.hypot(*problem["points"][:, :2].T).max() * problem["distance"])
        # mu that was not bounded by the user is told by rc, whose upper end, rc = r0, the loss itself guards
        self.by_root = settings.rotation == "rc" or (settings.rotation == "mu" and low[MU] < 2e-6 and high[MU] > 1 - 2e-6)
        self.values, self.limits = values, {}
        for index in self.free:
            name = MODEL_PARAMETERS[index] if index != MU else settings.rotation
            self.limits[name] = (0.0, 1.0) if name == "mu" and self.by_root else (float(low[index]), float(high[index]))
        with np.errstate(divide="ignore", invalid="ignore"):
            self.best, low, high = (self._coordinates(v) for v in (values, low, high))
        low[R0], high[R0] = max(high[R0], FARTHEST), min(low[R0], NEAREST)
        if self.by_root:
            low[MU] = max(low[MU] if settings.rotation == "rc" else 0.0, SMALLEST_ROOT)
            high[MU] = high[MU] if settings.rotation == "rc" else np.inf
        self.low, self.high = low[self.free], high[self.free]
        self.best = np.clip(self.best[self.free], self.low, self.high)

    def _coordinates(self, values):
        y = values / self.scale
        y[R0] = self.reach / values[R0]
        if self.by_root:
            y[MU] = np.sqrt(values[MU] / (self.reach if self.settings.rotation == "rc" else y[R0]))
        return y

    def _to_values(self, y):
        """Parameters of the model at the coordinates that are free, and their derivatives, shape (n_model, n_free)."""
        values = self.values.copy()
        values[self.free] = y * self.scale[self.free]
        slopes = np.zeros((len(values), len(self.free)))
        slopes[self.free, np.arange(len(self.free))] = self.scale[self.free]
        place = {index: k for k, index in enumerate(self.free)}
        if R0 in place:
            near = y[place[R0]]
            values[R0], slopes[R0, place[R0]] = self.reach / near, -self.reach / near**2
        if MU in place and self.by_root:
            root = y[place[MU]]
            factor = self.reach if self.settings.rotation == "rc" else self.reach / values[R0]
            values[MU], slopes[MU, place[MU]] = factor * root**2, 2 * factor * root
            if R0 in place and self.settings.rotation == "mu":
                slopes[MU, place[R0]] = root**2
        return values, slopes

    @in_float64
    def linearise(self, y, name=None):
        """Residuals at ``y`` and, of a quantity that is ``name``d, the value as it is held, each with its derivatives."""
        values, slopes = self._to_values(y)
        found = jax.device_get(linearise(values, self.problem, self.settings))
        residuals, jacobian = found["residuals"], found["d_residuals"] @ slopes
        if name is None:
            return residuals, jacobian, 0.0, np.zeros(len(y))
        if name in NAMED_PARAMETERS:
            index = NAMED_PARAMETERS.index(name)
            value, slope = found["named"][index], found["d_named"][index]
        else:
            value, slope = element_at(name, values, self.problem, self.settings)
        # an element of a circular orbit, say, or omega of one without rotation, has no derivative: a step there is not taken
        with np.errstate(invalid="ignore"):
            slope = slope @ slopes
        if name in RECIPROCAL:
            value, slope = 1 / value, -slope / value**2
        return residuals, jacobian, float(value), slope

    def _evaluate(self, y, name, target, scale):
        residuals, jacobian, held, slope = self.linearise(y, name)
        pull = STIFFNESS * (held - target) / scale if name else 0.0
        all_residuals = np.append(residuals, pull)
        all_slopes = np.vstack([jacobian, STIFFNESS * slope / scale])
        place = Place(y, float(residuals @ residuals), held, float(-2 * STIFFNESS * pull / scale), False)
        return place, float(all_residuals @ all_residuals), all_slopes.T @ all_residuals, all_slopes.T @ all_slopes

    def descend(self, y, name=None, target=0.0, scale=1.0):
        """Go down from ``y`` with a quantity held near ``target``; returns the `Place` where it ends.

        Where that is a bound another descent starts off it: there may be a minimum a little inside too.
        """
        place = self._descend(y, name, target, scale)
        low, high = place.y <= self.low, place.y >= self.high
        if not (low | high).any():
            return place
        inside = np.clip(place.y + OFF_BOUND * low - OFF_BOUND * high, self.low, self.high)
        return min(place, self._descend(inside, name, target, scale), key=lambda p: p.total)

    def _descend(self, y, name, target, scale):
        place, total, gradient, curvature = self._evaluate(y, name, target, scale)
        damping, idle, converged = FIRST_DAMPING, 0, False
        for _ in range(ITERATIONS):
            change = self._step(place.y, gradient, curvature, damping)
            converged = (np.abs(change * gradient).sum() < LEAST_GAIN and damping <= FREE_STEP) or idle > PATIENCE
            if converged or not np.isfinite(change).all():
                break
            new = self._evaluate(np.clip(place.y + change, self.low, self.high), name, target, scale)
            better = new[1] < total and np.isfinite(new[2]).all() and np.isfinite(new[3]).all()
            idle = 0 if better and new[1] < total - IDLE_GAIN else idle + 1
            damping = max(damping * (0.1 if better else 8.0), LEAST_DAMPING)
            if better:
                place, total, gradient, curvature = new
        return Place(place.y, place.loss, place.held, place.slope, bool(converged), total)

    def _step(self, y, gradient, curvature, damping):
        """Damped step of Gauss and Newton within the bounds; what a bound holds stays there."""
        diagonal = np.diag(curvature)
        matrix = curvature + np.diag(damping * diagonal + 1e-10 * diagonal.max(initial=0.0) + 1e-30)
        moves = ~((y <= self.low) & (gradient > 0) | (y >= self.high) & (gradient < 0))
        change = -_solve(matrix, gradient, moves)
        # what would leave the bounds, or run away, goes as far as it may, and the others go along
        least, most = np.maximum(self.low - y, -LONGEST_STEP), np.minimum(self.high - y, LONGEST_STEP)
        short = (change >= least) & (change <= most)
        longest = np.where(short, 0.0, np.clip(change, least, most))
        rest = gradient + curvature @ longest
        return longest + np.clip(-_solve(matrix, rest, moves & short), least, most)


def _solve(matrix, vector, moves):
    """Solution in the coordinates that move alone, 0 in the others."""
    found = np.zeros(len(vector))
    if moves.any():
        found[moves] = np.linalg.solve(matrix[np.ix_(moves, moves)], vector[moves])
    return found
