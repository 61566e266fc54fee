"""A fit in words: what it is, how it ended, what to know of it; one line, plain text or HTML."""

import html
import math

import numpy as np
from astropy import units as u

from sting.derived import DERIVED
from sting.parameters import PARAMETERS, ROTATIONS
from sting.profile import ONE_SIGMA

TWO_SIGMA = 0.9545

_UNKNOWABLE = (
    "inc and pa are not measured by a ballistic fit: they are put in. r0, theta0, phi0, omega and rc hold for these "
    "inc and pa only; energy, angular momentum, eccentricity, semi-latus rectum and periastron hold for all. "
    "Infall is assumed: the mirror orbit flows out and looks the same."
)


_UNTRIED = (
    "The uncertainties of a joint fit are plain ones, and whether they are near Gaussian has not been tried: there are no "
    "profiles of it. Look at the fit of each streamer alone."
)


def notes(result):
    """What the user should know of a fit, a list of sentences."""
    said = result.uncertainties.notes(lambda name: user_name(name, result))
    if "r0" in result.names and result.starts_at_the_data:
        said.append(
            "The outermost point is compared with the very start of the model: r0 is set by where the data end. "
            "Take it for a lower limit."
        )
    said += _of_shapes(result)
    if result.minima is not None:
        said.append(_of_minima(result.minima))
    return [*said, _UNKNOWABLE]


def _of_shapes(result):
    """Which plain uncertainties will not do, and why."""
    if None in result.near_gaussian.values():
        return [_UNTRIED]
    reasons = {name: result.profiler.why_not_gaussian(name) for name, near in result.near_gaussian.items() if near is False}
    if not reasons:
        return []
    whys = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    near = [name for name in result.names if name not in reasons]
    some = f"{', '.join(near)} {'is' if len(near) == 1 else 'are'} near Gaussian. " if near else ""
    return [
        f"Not near Gaussian ({whys}): the plain uncertainty (param_errors) of these does not hold what it promises. "
        f"The intervals given are those of the profile likelihood; see intervals() and profile(). {some}".rstrip()
    ]


def _of_minima(minima):
    """What a search found, in a sentence."""
    reached = int(minima["n_reached"][0])
    n, times = len(minima), "once" if reached == 1 else f"{reached} times"
    text = f"A search from {minima.meta['n_starts']} starts found {n} distinct {'minimum' if n == 1 else 'minima'} (see minima)"
    text += f"; the best was reached {times}"
    if n > 1:
        text += f", and the next has a loss larger by {minima['loss'][1] - minima['loss'][0]:.3g}"
    return text + ("; more starts may find a better one." if reached == 1 else ".")


def bound(result, words):
    """Whether the orbit is bound, and how surely: ``words`` of the plain uncertainty if that will do, or else by the profile."""
    if None in result.near_gaussian.values() or not result.profiler.why_not_gaussian("energy"):
        return words
    if not result.profiler.sigma("energy") > 0:
        return words
    best = result.profiler.value("energy")
    side, state, place = (1, "bound", "below") if best < 0 else (-1, "unbound", "above")
    reached = [side * result.profiler.end("energy", side, level).value >= 0 for level in (ONE_SIGMA, TWO_SIGMA)]
    if reached[0]:
        return f"Whether the orbit is bound is open: the best is {state}, but zero energy is within one sigma of it."
    if reached[1]:
        return f"The orbit is likely {state}: its energy is between one and two sigma {place} zero."
    return f"The orbit is {state}: its energy is more than two sigma {place} zero."


def user_name(name, result):
    """Name of a parameter of the model as the user stated it."""
    return next((n for n in (*result.names, *result.fixed_params) if n in ROTATIONS), name) if name == "mu" else name


def line(result):
    """A fit in one line; of what is not near Gaussian the value alone, since the profiles take their time."""
    near = result.near_gaussian
    free = (
        f"{n} = {plus_minus(v, result.param_errors[n]) if near[n] is not False else f'{plus_minus(v, None)} (see intervals)'}"
        for n, v in result.best_opt_params.items()
    )
    return f"<FitResult: loss {result.loss:.5g}; {', '.join(free)}>"


def measured(name, result):
    """A quantity with its plain uncertainty if that will do, or with the interval of its profile."""
    profiler = result.profiler
    value, sigma = profiler.shown(name, profiler.value(name)), profiler.shown_sigma(name)
    # what holds for one axis only has no interval of its own here, and none at all where nothing holds the axis
    of_axis = name not in result.names and not DERIVED[name][1]
    if not profiler.why_not_gaussian(name) or (of_axis and not np.isfinite(sigma)):
        return plus_minus(value, sigma * value.unit)
    if of_axis:
        return f"{plus_minus(value, None)} (see intervals(derived=True))"
    ends = (profiler.shown(name, profiler.end(name, side, ONE_SIGMA).value) for side in (-1, 1))
    return between(value, *ends)


def between(value, lower, upper):
    """Value and asymmetric interval, with as many digits as its shorter side warrants."""
    unit = f" {value.unit}" if value.unit != u.dimensionless_unscaled else ""
    sides = [float((upper - value).value), float((value - lower).value)]
    known = [side for side in sides if np.isfinite(side) and side > 0]
    # at a bound one side is next to nothing, and asks for no digits
    known = [side for side in known if side > 1e-3 * max(known)]
    # nor does a value that is at a bound of zero but for rounding
    own = [2 - _exponent(value.value)] if known and abs(value.value) > 1e-3 * max(known) else []
    digits = max([1 - _exponent(min(known)), *own]) if known else 0
    plain = not known or abs(digits) <= 6

    def text(side):
        return "unlimited" if not np.isfinite(side) else f"{side:.{max(0, digits)}f}" if plain else f"{side:.2g}"

    number = f"{value.value:.{max(0, digits)}f}" if plain and known else f"{value.value:.5g}"
    return f"{number} +{text(sides[0])} -{text(sides[1])}{unit}"


def summary(result):
    """A fit as text."""
    lines = [result.status, result.goodness(), ""]
    lines += [f"  {n:<8} {measured(n, result)}" for n in result.names]
    lines += [f"  {n:<8} {v:.6g} (fixed)" for n, v in result.fixed_params.items()]
    lines += ["", "The orbit, the same for every rotation axis that fits as well (*), or for this one:"]
    derived, width = result.derived(), max(map(len, DERIVED))
    for row in derived:
        lines.append(f"{'*' if row['any_axis'] else ' ':>2} {row['quantity']:<{width}} {measured(row['quantity'], result)}")
    lines += ["", derived.meta["bound"], derived.meta["axis"].replace("Rows with any_axis False", "Those without *")]
    return "\n".join([*lines, "", *(f"- {note}" for note in result.notes)])


def page(result):
    """A fit as HTML."""
    values = {n: measured(n, result) for n in result.names} | {n: plus_minus(v, None) for n, v in result.fixed_params.items()}
    rows = "".join(
        f"<tr><td>{html.escape(n)}</td><td>{html.escape(value)}</td><td>{html.escape(PARAMETERS[n].description)}</td></tr>"
        for n, value in values.items()
    )
    said = "".join(f"<li>{html.escape(note)}</li>" for note in result.notes)
    header = "<tr><th>parameter</th><th>value</th><th></th></tr>"
    return f"<p>{html.escape(result.status)}</p><table>{header}{rows}</table><ul>{said}</ul>"


def plus_minus(value, sigma):
    """Value and uncertainty with as many digits as the uncertainty warrants."""
    unit = f" {value.unit}" if value.unit != u.dimensionless_unscaled else ""
    if sigma is None:
        return f"{value.value:.6g}{unit}"
    if not np.isfinite(sigma.value):
        return f"{value.value:.5g} +- unconstrained{unit}"
    # two digits of the uncertainty, but at least three of the value
    digits = 1 - _exponent(sigma.value), 2 - _exponent(value.value)
    if sigma.value <= 0 or max(map(abs, digits)) > 6:
        return f"{value.value:.5g} +- {sigma.value:.2g}{unit}"
    digits = max(0, *digits)
    return f"{value.value:.{digits}f} +- {sigma.value:.{digits}f}{unit}"


def _exponent(value):
    return math.floor(math.log10(abs(value))) if value else 0
