"""How the package refuses bad input, says what is worth knowing, and keeps its precision to itself."""

import difflib
import functools
import inspect
import math
import os
import warnings
from numbers import Integral, Real

import jax
import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

__all__ = ["StingWarning"]


_PACKAGE = os.path.dirname(__file__) + os.sep

#: Longest text of what was given that a message repeats.
LONGEST = 300


#: What to do about a bin without flux.
EMPTY_BIN = "Raise rms_thresh (or pass one, where a cube was masked with zeros): the bin holds noise, or nothing."


class StingWarning(AstropyUserWarning):
    """Something that the user should know about the data or the fit."""


def refuse(name, rule, got, cure, error=ValueError):
    """Raise ``error`` with the package's one form of message: the argument, the rule, what was given, what to do."""
    raise error(f"{name!r} must {rule}; got {_shown(got)}. {cure}")


def _shown(got):
    """What was given as one line of moderate length, whatever file or array it is out of."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(str(got).split()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def warn(message):
    """Issue a `StingWarning` that points at the user's own line."""
    level, frame = 2, inspect.currentframe().f_back
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, StingWarning, stacklevel=level)


def suggest(name, known):
    """Sentence that names the nearest match of ``name`` among ``known``, or all of them."""
    lower = {text.lower(): text for text in known}
    # of one or two letters hardly anything is near
    close = difflib.get_close_matches(str(name).lower(), lower, n=1) if len(str(name)) > 1 else []
    return f"Did you mean {lower[close[0]]!r}?" if close else f"Known are {', '.join(known)}."


def check_choice(name, value, choices):
    """Refuse a ``value`` that is none of ``choices``."""
    # an array compares to an array
    if isinstance(value, np.ndarray) or value not in choices:
        refuse(name, f"be one of {', '.join(map(repr, choices))}", repr(value), suggest(value, [str(c) for c in choices]))
    return value


def named_keywords(function):
    """Refuse keywords that a public function does not know by their names, and suggest the nearest that it does."""
    known = [p.name for p in inspect.signature(function).parameters.values() if p.name != "self"]
    # a class by its own name
    called = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        for name in kwargs:
            if name not in known:
                refuse(name, f"be a keyword of {called}", repr(name), suggest(name, known), TypeError)
        return function(*args, **kwargs)

    return wrapper


def in_float64(function):
    """Run a public function in double precision without touching the user's global jax flag (the context is thread-local)."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapper


def is_number(value):
    """Whether a value is one real number that a float can hold."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of too many digits
        return False


def check_whole(name, value, lowest, example):
    """Refuse a ``value`` that is no whole number of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < lowest:
        refuse(name, f"be a whole number of at least {lowest}", repr(value), f"Use for example {example}.")
    return int(value)


def check_level(level):
    """Refuse what is no level of an interval."""
    if not (is_number(level) and 0 < level < 1):
        refuse("level", "lie between 0 and 1", repr(level), "Use for example 0.6827 or 0.95.")
    return float(level)
