"""What sliders and text boxes show for a number, and back: the state keeps the number itself."""

import math
import re
from dataclasses import dataclass

from astropy import units as u

from sting.messages import refuse
from sting.parameters import PARAMETERS, to_quantity

#: A slider is logarithmic if its range is positive and spans this factor.
LOGARITHMIC = 100


@dataclass(frozen=True)
class Scale:
    """Positions 0 to ``n`` of a slider for the values ``low`` to ``high``.

    Whole positions, so that no slider ever rounds a value of the state.

    Attributes
    ----------
    low, high : float
        Range.
    n : int
        Largest position.
    """

    low: float
    high: float
    n: int

    @property
    def logarithmic(self):
        """Whether equal steps are equal factors."""
        return self.low > 0 and self.high / self.low >= LOGARITHMIC

    def value(self, position):
        """Value at a position."""
        fraction = position / self.n
        if self.logarithmic:
            return self.low * (self.high / self.low) ** fraction
        return self.low + (self.high - self.low) * fraction

    def position(self, value):
        """Nearest position of a value."""
        if self.logarithmic:
            fraction = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            fraction = (value - self.low) / (self.high - self.low)
        return min(max(round(fraction * self.n), 0), self.n)

    def holds(self, value):
        """Whether a value lies in the range."""
        return self.low <= value <= self.high


def scale_of(name, value, bounds=None, span=None):
    """Scale for a parameter: its bounds, or else the range of the table, widened to hold the value (in the display unit).

    Parameters
    ----------
    name : str
        The parameter.
    value : float
        Its value in the display unit.
    bounds : tuple of float, optional
        In the display unit.
    span : tuple of float, optional
        A range to take in place of the table's.

    Returns
    -------
    Scale
    """
    p = PARAMETERS[name]
    low, high, step = p.slider
    if span is not None:
        low, high = span
    if bounds is not None:
        low, high = bounds
    elif not low <= value <= high:
        low, high = min(low, value - 0.2 * abs(value)), max(high, value + 0.2 * abs(value))
        if not p.period:
            low, high = max(low, p.lower * p.unit.to(p.display_unit)), min(high, p.upper * p.unit.to(p.display_unit))
    scale = Scale(low, high, 500)
    return scale if scale.logarithmic else Scale(low, high, int(min(max(round((high - low) / step), 100), 2000)))


def unit_words(unit):
    """A unit as astronomers write it on a label."""
    text = unit.to_string()
    for name, words in {"solMass": "Msun", "AU": "au", "1 / s": "1/s", "km / s": "km/s", "km2 / s2": "km2/s2"}.items():
        text = words if text == name else text
    return text


def shown(name, value):
    """Text of an internal value, in the display unit."""
    return f"{to_quantity(name, value).value:.6g}"


def shown_pair(name, pair, separator):
    """Text of two internal values; empty for none."""
    if pair is None:
        return ""
    p = PARAMETERS[name]
    return separator.join(f"{value * p.unit.to(p.display_unit):.6g}" for value in pair)


def typed(name, text):
    """Quantity of what was typed: a number in the display unit, or one with its unit."""
    return _numbers(name, [text])[0]


def typed_pair(name, text):
    """Two numbers from a text such as ``10, 20`` or ``4 +- 0.5 Msun``; None from an empty one."""
    if not text.strip():
        return None
    parts = re.split(r"\s*(?:,|;|\+-|\+/-|±|\bto\b|\.\.)\s*", text.strip())
    if len(parts) != 2:
        refuse(name, "be two numbers, such as '10, 20' or '4 +- 0.5'", repr(text), "Leave it empty for none.")
    first, second = parts
    unit = re.sub(r"^[-+0-9.eE]+", "", second).strip()
    if unit and not re.search(r"[a-zA-Z]", first.lower().replace("e", "")):
        first = f"{first} {unit}"
    low, high = _numbers(name, [first, second])
    return u.Quantity([low, high])


def _numbers(name, texts):
    try:
        return [_quantity(text, PARAMETERS[name].display_unit) for text in texts]
    except (TypeError, ValueError):
        unit = PARAMETERS[name].display_unit.to_string() or "no unit"
        refuse(name, f"be a number ({unit}), or one with its unit", repr(" ".join(texts)), "Write for example 2800 or 0.01 pc.")


def _quantity(text, unit):
    number = _number(text)
    return u.Quantity(text) if number is None else number * unit


def _number(text):
    try:
        return float(text)
    except ValueError:
        return None


def typed_limit(text, unit):
    """Quantity of an optional limit; None from an empty text."""
    if not text.strip():
        return None
    try:
        return _quantity(text, unit)
    except (TypeError, ValueError):
        refuse("limit", f"be empty or a number ({unit.to_string()})", repr(text), "Write for example 6.5.")


def typed_number(name, text):
    """Optional plain number; None from an empty text."""
    if not text.strip():
        return None
    if _number(text) is None:
        refuse(name, "be empty or a number", repr(text), "Write for example 4.")
    return _number(text)
