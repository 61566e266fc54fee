"""Profile likelihood: intervals that need no parabola, beside the plain uncertainties of a fit."""

import math
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import QTable
from tqdm.auto import tqdm

from sting.constrained import RECIPROCAL
from sting.core.likelihood import NAMED_PARAMETERS
from sting.derived import DERIVED
from sting.messages import check_level, check_whole, refuse, suggest
from sting.parameters import PARAMETERS, to_internal
from sting.profiler import BOUND, LOWER, OPEN, natural

__all__ = ["Profile", "intervals_table", "profile"]

#: Up to how many times its best value a quantity is looked at that has no upper end.
FARTHEST_VALUE = 5

#: Level of one sigma.
ONE_SIGMA = math.erf(1 / math.sqrt(2))


@dataclass(frozen=True, eq=False)
class Profile:
    """The smallest loss that is left for each value of a parameter, or of an element of the orbit.

    Attributes
    ----------
    name : str
        The quantity.
    value : `~astropy.units.Quantity`
        Its value at the best fit.
    values : `~astropy.units.Quantity`
        Where the loss was found, in rising order. Values of an angle go on beyond 0 and 360 deg.
    loss : `~numpy.ndarray`
        The smallest loss at each.
    minimum : float
        The smallest loss of all.
    level : float
        Level of the interval.
    lower, upper : `~astropy.units.Quantity`
        Its ends. Where there is none, infinite, or the bound or end of the support.
    notes : list of str
        What to know of it, in sentences.
    """

    name: str
    value: u.Quantity
    values: u.Quantity
    loss: np.ndarray
    minimum: float
    level: float
    lower: u.Quantity
    upper: u.Quantity
    notes: list

    def to_table(self):
        """Return values and losses as a table.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``value``, ``loss`` and ``rise`` (of the loss above its minimum).
        """
        return QTable({"value": self.values, "loss": self.loss, "rise": self.loss - self.minimum}, meta={"notes": self.notes})

    def __repr__(self):
        ends = f"{self.lower.value:.5g} to {self.upper:.5g}"
        return f"<Profile of {self.name}: {self.value:.5g}, {100 * self.level:.4g} % from {ends}>"


def _check_name(name, result):
    """Refuse what cannot be held."""
    known = [*result.names, *(key for key in DERIVED if key not in result.fixed_params and key not in result.names)]
    if name not in known:
        got = f"{name!r}, which is fixed" if isinstance(name, str) and name in result.fixed_params else repr(name)
        refuse("name", "be a free parameter or an element of the orbit", got, suggest(name, known))


def profile(result, name, values=None, *, n=21, level=ONE_SIGMA, progress=True, callback=None):
    """Profile likelihood of one quantity: at each value all other parameters are fitted anew.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    name : str
        A free parameter or a key of `~sting.derived.DERIVED`.
    values : `~astropy.units.Quantity`, optional
        Where to find the loss. By default ``n`` values, to where the loss has risen by 6 (or to the end of what is possible).
    n : int, optional
        Number of values.
    level : float, optional
        Level of the interval: its ends are where the loss has risen by 1 for 0.6827 and by 3.84 for 0.95.
    progress : bool, optional
        Whether to show a progress bar if it takes more than two seconds.
    callback : callable, optional
        Called with the number of values done; the work stops, with what there is, when it returns True.

    Returns
    -------
    `Profile`

    Raises
    ------
    ValueError
        If there is no such quantity, or the level or a value makes no sense.

    Examples
    --------
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_lsr"}
    >>> result = fit_streamline({"v_lsr": 7.4}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> found = profile(result, "v_lsr")
    >>> print(found.lower.round(3), found.upper.round(3))
    7.465 km / s 7.535 km / s
    """
    _check_name(name, result)
    level, n = check_level(level), check_whole("n", n, 2, 21)
    profiler = result.profiler
    targets = _given(name, values, result, profiler) if values is not None else None
    ends = [profiler.end(name, side, level) for side in (-1, 1)]
    if targets is None:
        targets = _grid(name, profiler, n)
    places = _follow(profiler, name, targets, progress, callback)
    found = [(natural(name, place.held), place.loss) for place in places]
    held, loss = np.array(sorted(found)).T
    lower, upper = (profiler.shown(name, end.value) for end in ends)
    return Profile(
        name=name,
        value=profiler.shown(name, profiler.value(name)),
        values=profiler.shown(name, held),
        loss=loss,
        minimum=min(profiler.base.loss, float(loss.min())),
        level=level,
        lower=lower,
        upper=upper,
        notes=_words(name, ends, profiler),
    )


def _given(name, values, result, profiler):
    """Values that the user gives, as they are held; refused if they are of the wrong unit or beyond what is possible."""
    if name in DERIVED and name not in NAMED_PARAMETERS:
        unit = DERIVED[name][0]
        try:
            targets = u.Quantity(values, unit).value
        except (TypeError, u.UnitsError):
            refuse("values", f"have a unit convertible to {unit.to_string()}", values, "Change their unit.", u.UnitsError)
    else:
        targets = np.array([to_internal(name, value) for value in np.atleast_1d(values)])
    targets = np.atleast_1d(targets).astype(float)
    low, high = profiler.fit.limits.get(name, (-math.inf if name == "energy" else 0.0, math.inf))
    if not (np.isfinite(targets).all() and (targets >= low).all() and (targets <= high).all() and len(targets)):
        refuse("values", f"be finite and within the bounds of {name}", values, "Leave them out for a range that fits.")
    if name in PARAMETERS and PARAMETERS[name].period:
        best, period = result.internal_value(name), PARAMETERS[name].period
        targets = best + (targets - best + period / 2) % period - period / 2
    if name in RECIPROCAL and not targets.all():
        refuse("values", "be positive", values, "Leave out zero.")
    return np.array([natural(name, value) for value in targets])


def _grid(name, profiler, n):
    """Values to where the loss has risen by 6, as they are held."""
    ends, best = [], profiler.value(name)
    for side in (-1, 1):
        end = profiler.end(name, side, math.erf(math.sqrt(3)))
        value = end.value if math.isfinite(end.value) else natural(name, end.places[-1].held)
        # what has no end is looked at to some times of its best value
        value = min(value, FARTHEST_VALUE * best) if name in RECIPROCAL and end.kind == OPEN else value
        ends.append(natural(name, value))
    return np.linspace(*ends, n)


def _follow(profiler, name, targets, progress, callback):
    """Hold the quantity at each target: outwards from the best fit, and back again, each from its neighbour."""
    fit = profiler.fit
    start = fit.linearise(profiler.base.y, name)[2]
    # of the order of the steps, but not of one that is nothing
    scale = max(np.abs(targets - start).max() / 10, profiler.step(name) / 10)
    best = {}

    def improve(k, y):
        place = fit.descend(y, name, targets[k], scale)
        if k not in best or place.loss < best[k].loss - 1e-9:
            best[k] = place
        return best[k].y

    sides = [sorted(np.flatnonzero(side * (targets - start) >= 0), key=lambda k: abs(targets[k] - start)) for side in (-1, 1)]
    sides[1] = [k for k in sides[1] if k not in sides[0]]
    with tqdm(total=2 * len(targets), unit="fit", desc=f"profile of {name}", disable=not progress, delay=2, leave=False) as bar:
        for side in sides:
            y = profiler.base.y
            for k in [*side, *side[-2::-1]]:
                y = improve(k, y)
                bar.update()
                if callback is not None and callback(len(best)):
                    return list(best.values())
    profiler.improve(list(best.values()))
    return list(best.values())


def _words(name, ends, profiler):
    """What to know of an interval, in sentences."""
    said = []
    for side, end in zip(("lower", "upper"), ends, strict=True):
        if end.kind == OPEN:
            said.append(f"{name} has no {side} end: the loss does not rise as far as the level asks.")
        elif end.kind == BOUND:
            said.append(f"The {side} end of {name} is a bound of what is allowed: the interval covers more than its level.")
    if profiler.gain > LOWER:
        said.append(f"A loss lower than that of the fit by {profiler.gain:.3g} was found on the way: fit again, with n_starts.")
    return said


def intervals_table(result, level=ONE_SIGMA, *, derived=False, progress=True):
    """Tabulate intervals of all free parameters from their profiles, beside the plain uncertainties.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult`
        The fit.
    level : float, optional
        Level of the intervals.
    derived : bool, optional
        Whether to add the elements of the orbit.
    progress : bool, optional
        Whether to show a progress bar if it takes more than two seconds.

    Returns
    -------
    `~astropy.table.QTable`
        Columns ``quantity``, ``value``, ``lower``, ``upper`` (infinite where there is no end), ``sigma`` (the plain uncertainty),
        ``near_gaussian`` (whether the plain uncertainty will do), ``why_not`` and ``unit``; ``meta`` holds the ``level`` and
        ``notes``.

    Raises
    ------
    ValueError
        If the level does not lie between 0 and 1.

    Examples
    --------
    >>> from sting import fit_streamline, synthetic
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_lsr"}
    >>> result = fit_streamline({"v_lsr": 7.4}, fixed, synthetic.make_streamer_points(), 293,
    ...                         optimizer="lbfgs", save_folder=None, progress=False)
    >>> bool(intervals_table(result)["near_gaussian"][0])
    True
    """
    level, profiler = check_level(level), result.profiler
    names = [*result.names, *(name for name in DERIVED if derived and name not in result.names)]
    ends, rows, said = {}, [], []
    for name in tqdm(names, desc="intervals", disable=not progress, delay=2, leave=False):
        ends[name] = [profiler.end(name, side, level) for side in (-1, 1)]
    for name in names:
        # again: a better minimum may have been found since
        ends = [profiler.end(name, side, level) for side in (-1, 1)]
        said += [word for word in _words(name, ends, profiler) if word not in said]
        value = profiler.shown(name, profiler.value(name))
        numbers = [value, *(profiler.shown(name, end.value) for end in ends)]
        sigma, why = profiler.shown_sigma(name), profiler.why_not_gaussian(name)
        rows.append((name, *(float(q.value) for q in numbers), sigma, not why, why, value.unit.to_string()))
    columns = ("quantity", "value", "lower", "upper", "sigma", "near_gaussian", "why_not", "unit")
    return QTable(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)), meta={"level": level, "notes": said})
