"""Ends of intervals and rises of the loss: what the profiles of a result are made of, found when it is asked for and kept."""

import math
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u
from scipy.special import erfinv

from sting.constrained import FARTHEST, RECIPROCAL, ConstrainedFit, Place
from sting.core.constants import PC_PER_AU
from sting.core.likelihood import NAMED_PARAMETERS
from sting.derived import DERIVED, INTEGRALS, element_at
from sting.errors import MINIMUM_GAIN
from sting.messages import in_float64
from sting.parameters import PARAMETERS, ROTATIONS, to_quantity

#: How far the square root of the rise of the loss may be off one and two at one and two sigma, as a fraction, in a fit that is
#: near Gaussian. With it 68 and 95 per cent are at most 5 and 3 off.
NEAR = 0.1

#: An end of an interval is found where the square root of the rise is off by less than this fraction of it.
FOUND = 0.02

#: A lower loss than that of the fit is worth a word if it is lower by this.
LOWER = 0.02

#: Steps in the search of an end, and by how much each may be longer than the one before.
STEPS, STRETCH = 20, 4.0

#: The loss rises like a wall where the root of its rise is so many times that at the end; and there the end is known well enough
#: where it is known to this fraction of its distance.
STEEP, NARROW = 3.0, 0.01

#: First steps at the most: of angles (rad) and velocities (km/s), and as a fraction of anything else.
LONGEST_FIRST, LONGEST_FRACTION = 0.3, 0.3

#: A time or a length that is so many times that of the fit is as good as infinite.
ENDLESS = 1e3

#: What an end of an interval is: a place where the loss has risen, a bound of what is possible, or nothing.
REACHED, BOUND, OPEN = "reached", "bound", "open"


@dataclass(frozen=True)
class End:
    """One end of an interval: the value in internal units, what kind of an end it is, and the places on the way."""

    value: float
    kind: str
    places: tuple


class Plain:
    """Values of a result's quantities with their plain uncertainties, of which nothing is said but that they are plain.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    """

    def __init__(self, result):
        self.result = result

    def why_not_gaussian(self, name):
        """Say why the plain uncertainty of a quantity will not do.

        Parameters
        ----------
        name : str
            A free parameter or a key of `~sting.derived.DERIVED`.

        Returns
        -------
        str
            Empty if it will do, or if that is not known.
        """
        return ""

    def sigma(self, name):
        """Return the plain uncertainty of a quantity, in internal units.

        Parameters
        ----------
        name : str
            The quantity.

        Returns
        -------
        float
        """
        found, result = self.result.uncertainties, self.result
        if name in NAMED_PARAMETERS:
            return found.sigma[name]
        return found.sigma_of(in_float64(element_at)(name, result.x, result.problem, result.settings)[1])

    def shown_sigma(self, name):
        """Return the plain uncertainty of a quantity in the unit of tables.

        Parameters
        ----------
        name : str
            The quantity.

        Returns
        -------
        float
        """
        p = PARAMETERS.get(name)
        return self.sigma(name) * (p.unit.to(p.display_unit) if name in NAMED_PARAMETERS else 1.0)

    def shown(self, name, value):
        """Return a value as a Quantity in the unit of tables; angles go on beyond a full turn.

        Parameters
        ----------
        name : str
            The quantity.
        value : float or `~numpy.ndarray`
            In internal units, or an array of them.

        Returns
        -------
        `~astropy.units.Quantity`
        """
        if name not in NAMED_PARAMETERS:
            return value * DERIVED[name][0]
        p, best = PARAMETERS[name], self.result.internal_value(name)
        return to_quantity(name, best) + ((value - best) * p.unit).to(p.display_unit)

    def value(self, name):
        """Return the best fit's value of a quantity, in internal units.

        Parameters
        ----------
        name : str
            The quantity.

        Returns
        -------
        float
        """
        if name in NAMED_PARAMETERS:
            return self.result.internal_value(name)
        result = self.result
        return float(in_float64(element_at)(name, result.x, result.problem, result.settings)[0])


class Profiler(Plain):
    """Everything that a result's profiles share, found when it is asked for and kept.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    """

    def __init__(self, result):
        super().__init__(result)
        self.fit = ConstrainedFit(result)
        self.base = self.fit.descend(self.fit.best)
        if not self.base.loss <= result.loss:
            # the fit's own place, exactly
            self.base = Place(self.fit.best, result.loss, 0.0, 0.0, True)
        self._ends, self._near = {}, {}

    @property
    def gain(self):
        """By how much the smallest loss that was found on the way is below that of the fit."""
        return self.result.loss - self.base.loss

    def why_not_gaussian(self, name):
        """Say why the plain uncertainty of a quantity will not do.

        Parameters
        ----------
        name : str
            A free parameter or a key of `~sting.derived.DERIVED`.

        Returns
        -------
        str
            Empty if it will do.
        """
        if name not in self._near:
            self._near[name] = self._judge(name)
        return self._near[name]

    def _judge(self, name):
        found, sigma = self.result.uncertainties, self.sigma(name)
        if not np.isfinite(sigma):
            return "nothing constrains it"
        if found.gain >= MINIMUM_GAIN or not found.positive or self.gain > LOWER:
            return "the fit did not end in a minimum"
        if name in found.at_bound or (name in ROTATIONS and "mu" in found.at_bound):
            return "it is at a bound"
        if name == "r0" and self.result.starts_at_the_data:
            return "it is set by where the data end"
        if name in INTEGRALS:
            # of where the start is and how fast, and too slow to be tried each time
            others = (n for n in ("r0", "v_r0", "mass") if n in self.result.names)
            return next((f"{n} is not near Gaussian" for n in others if self.why_not_gaussian(n)), "")
        held, slope = self.fit.linearise(self.fit.best, name)[2:]
        value = natural(name, held)
        low, high = self.fit.limits.get(name, (-math.inf if name == "energy" else 0.0, math.inf))
        if not low < value - 2 * sigma < value + 2 * sigma < high:
            return "a bound is within two sigma"
        for k in (-1, 1, -2, 2):
            rise = self._rise(name, held, slope, natural(name, value + k * sigma), abs(k))
            if not abs(math.sqrt(max(rise, 0.0)) / abs(k) - 1) < NEAR:
                return f"{abs(k)} sigma {'above' if k > 0 else 'below'} it the loss has risen by {rise:.2g}, not by {k**2}"
        return ""

    def _rise(self, name, held, slope, target, k):
        """Rise of the loss to ``k`` sigma off: as a parabola has it if that is what one step there says, or else by a descent."""
        fit = self.fit
        residuals, jacobian, _, _ = fit.linearise(fit.best)
        covariance = np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-14)
        y = fit.best + covariance @ slope * (target - held) / max(slope @ covariance @ slope, 1e-300)
        if ((y > fit.low) & (y < fit.high)).all():
            there, jacobian, now, slope = fit.linearise(y, name)
            system = np.block([[jacobian.T @ jacobian, slope[:, None]], [slope[None], np.zeros((1, 1))]])
            change = np.linalg.lstsq(system, np.append(-jacobian.T @ there, target - now), rcond=1e-14)[0][: len(y)]
            rise = float(np.sum((there + jacobian @ change) ** 2) - residuals @ residuals)
            if abs(math.sqrt(max(rise, 0.0)) / k - 1) < NEAR / 2:
                return rise
        return self._descended(name, target, abs(target - held), (np.clip(y, fit.low, fit.high), fit.best))

    def _descended(self, name, target, scale, starts):
        # to first order at the target itself, which a place misses by a little
        places = [self.fit.descend(y, name, target, scale) for y in starts]
        return float(min(p.loss + p.slope * (target - p.held) for p in places) - self.base.loss)

    def rise(self, name, value):
        """Return by how much the smallest loss at one value of a quantity lies above the smallest of all.

        Parameters
        ----------
        name : str
            The quantity.
        value : float
            Its value in internal units.

        Returns
        -------
        float
        """
        _, jacobian, held, slope = self.fit.linearise(self.base.y, name)
        target = natural(name, value)
        scale = min(max(abs(target - held), 1e-9 * abs(held)), 10 * self._first_step(name, held, jacobian, slope))
        return self._descended(name, target, scale, (self.base.y,))

    def end(self, name, side, level):
        """Find one end of an interval.

        Parameters
        ----------
        name : str
            The quantity.
        side : {-1, 1}
            The lower or the upper end.
        level : float
            Level of the interval.

        Returns
        -------
        `End`
        """
        if name == "angular_momentum_pc":
            end = self.end("angular_momentum", side, level)
            return replace(end, value=end.value * PC_PER_AU)
        key = name, side, level
        while key not in self._ends:
            end = self._search(name, side, math.sqrt(2) * float(erfinv(level)))
            if not self.improve(end.places):
                self._ends[key] = end
        return self._ends[key]

    def improve(self, places):
        """Start anew from a better minimum, if one of the places is near one.

        Parameters
        ----------
        places : sequence of `~sting.constrained.Place`
            The places.

        Returns
        -------
        bool
            Whether there was one.
        """
        lowest = min(places, key=lambda place: place.loss)
        if lowest.loss > self.base.loss - LOWER:
            return False
        found = self.fit.descend(lowest.y)
        self.base = found if found.loss < lowest.loss else lowest
        self._ends.clear()
        return True

    def _search(self, name, side, root):
        _, jacobian, start, slope = self.fit.linearise(self.base.y, name)
        # a reciprocal goes down where the quantity goes up
        outward = -side if name in RECIPROCAL else side
        step, (limit, kind) = root * self._first_step(name, start, jacobian, slope), self._limit(name, side, start)
        places = [Place(self.base.y, self.base.loss, start, 0.0, True)]
        inner, near, outer, far = places[0], 0.0, None, math.inf
        target, reach = start + outward * step, step
        for _ in range(STEPS):
            target = min(target, limit) if outward > 0 else max(target, limit)
            place = self.fit.descend(min(places, key=lambda p: abs(p.held - target)).y, name, target, reach)
            places.append(place)
            rise, slope = math.sqrt(max(place.loss - self.base.loss, 0.0)), outward * place.slope
            if place.loss < self.base.loss - LOWER:
                break
            if abs(rise - root) < FOUND * root:
                held = place.held + outward * (root**2 - rise**2) / slope if slope > 0 else place.held
                # the last bit, which is to first order, must not lead beyond a bound
                held = min(held, limit) if outward > 0 else max(held, limit)
                return End(natural(name, held), REACHED, tuple(places))
            if rise > root:
                outer, far = place, rise
            elif target == limit:
                return End(natural(name, limit) if kind == BOUND else side * math.inf, kind, tuple(places))
            elif outer is None and outward * (target - place.held) > 0.5 * outward * (target - inner.held):
                # what the orbit or the bounds of others allow
                return End(natural(name, place.held), BOUND, tuple(places))
            else:
                inner, near = place, rise
            if outer is None:
                ahead = (root**2 - near**2) / slope if slope > 0 else math.inf
                target = inner.held + outward * min(ahead, STRETCH * max(abs(inner.held - start), step))
                continue
            reach = min(step, abs(outer.held - inner.held))
            # of a wall the middle, of a slope where it should be
            edge = 0.4 if far > STEEP * root else 0.1
            target = inner.held + min(max((root - near) / (far - near), edge), 1 - edge) * (outer.held - inner.held)
            if reach < NARROW * abs(inner.held - start):
                break
        if outer is None:
            return End(side * math.inf, OPEN, tuple(places))
        weight = (root - near) / (far - near)
        return End(natural(name, inner.held + weight * (outer.held - inner.held)), REACHED, tuple(places))

    def _first_step(self, name, start, jacobian, slope):
        """One sigma by the rule of Gauss and Newton, unless it is absurd."""
        covariance = np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-10)
        sigma = math.sqrt(max(slope @ covariance @ slope, 0.0))
        absolute = name in PARAMETERS and PARAMETERS[name].unit in (u.rad, u.km / u.s)
        most = LONGEST_FIRST if absolute else LONGEST_FRACTION * abs(start) + 1e-12
        if name == "r0":
            # from a start at infinity too
            most = max(most, LONGEST_FRACTION / 2 / self.fit.reach)
        return min(max(sigma, 1e-6 * most), most)

    def step(self, name):
        """Return about one sigma of a quantity as it is held.

        Parameters
        ----------
        name : str
            The quantity.

        Returns
        -------
        float
        """
        _, jacobian, held, slope = self.fit.linearise(self.base.y, name)
        return self._first_step(name, held, jacobian, slope)

    def _limit(self, name, side, start):
        """How far a quantity can go, as it is held, and whether that is a bound or no end at all."""
        low, high = self.fit.limits.get(name, (0.0, math.inf))
        if name == "energy":
            low = -math.inf
        elif name in PARAMETERS and PARAMETERS[name].period and not math.isfinite(low):
            return start + side * PARAMETERS[name].period / 2, OPEN
        value = high if side > 0 else low
        if name not in RECIPROCAL:
            return value, BOUND if math.isfinite(value) else OPEN
        if math.isfinite(value) and value > 0:
            return 1 / value, BOUND
        if side < 0:
            return math.inf, OPEN
        return (FARTHEST / self.fit.reach if name == "r0" else start / ENDLESS), OPEN


def natural(name, held):
    """Value of a quantity from the one that is held, or the reverse."""
    if name not in RECIPROCAL:
        return held
    return 1 / held if held else math.inf
