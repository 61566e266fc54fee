"""Checks of what a user chooses: pure functions from a choice to the changes of the session that it means."""

import math
from numbers import Integral
from pathlib import Path

import numpy as np

from sting.core.transforms import mu_from, omega_from
from sting.cubes import KMS, quantity
from sting.cuts import ISLANDS
from sting.explorer.session import Display, regions_of
from sting.files import is_file
from sting.messages import check_choice, check_whole, in_float64, is_number, refuse
from sting.noise import check_rms, check_threshold
from sting.parameters import (
    PARAMETERS,
    ROTATIONS,
    check_parameters,
    parse_bounds,
    parse_priors,
    read_pairs,
    rotation_name,
    to_internal,
)
from sting.problem import LOSS_METHODS, MATCHINGS, OPTIMIZERS
from sting.reduction import ORDERINGS, UNCERTAINTIES, check_beams
from sting.sky_regions import parse_regions, read_regions, regions_text

STRETCHES = ("linear", "sqrt", "log", "asinh")
PV_AXES = ("radius", "path")

#: Parameters that are fixed unless the user says otherwise: a ballistic fit does not measure them, or they are not physics.
USUALLY_FIXED = ("inc", "pa", "rmin", "v_lsr", "deltar")


def _limit(name, value):
    return None if value is None else float(quantity(name, value, KMS).value)


def _threshold(name, value):
    check_threshold(value)
    return None if value is None else float(value)


def _positive(name, value):
    if not (is_number(value) and value > 0):
        refuse(name, "be a positive number", repr(value), "Use for example 0.005.")
    return float(value)


def _one_of(*choices):
    # the choice itself, whatever equals it: a number of numpy is none that JSON knows
    return lambda name, value: choices[choices.index(check_choice(name, value, choices))]


def _at_least(lowest, example):
    return lambda name, value: check_whole(name, value, lowest, example)


#: How each choice that is one value is checked.
CHECKS = {
    "vmin": _limit,
    "vmax": _limit,
    "rms_thresh": _threshold,
    "rms": lambda name, value: None if value is None else _positive(name, value),
    "islands": _one_of(*ISLANDS),
    "n_elements": _at_least(2, 10),
    "uncertainty": _one_of(*UNCERTAINTIES),
    "ordering": _one_of(*ORDERINGS),
    "min_beams": lambda _, value: check_beams(value),
    "optimizer": _one_of(*OPTIMIZERS),
    "loss_method": _one_of(*LOSS_METHODS),
    "matching": _one_of(*MATCHINGS),
    "n_epochs": _at_least(1, 1000),
    "learning_rate": _positive,
    "patience": _at_least(1, 50),
}

#: Those of the cut and the reduction.
CUT = ("vmin", "vmax", "rms_thresh", "rms", "islands", "n_elements", "uncertainty", "ordering", "min_beams")


def plain_rms(given, cube):
    """A dict of choices in which the noise is a number in the unit of the cube."""
    rms = given.get("rms")
    if rms is None:
        return given
    if np.ndim(rms):
        refuse("rms", "be one number in the explorer", f"a map of shape {np.shape(rms)}", "Cut by it before, and show the cut.")
    return given | {"rms": float(check_rms(rms, cube))}


def checked(given):
    """Values of a dict of choices, each checked."""
    return {name: CHECKS[name](name, value) for name, value in given.items()}


def checked_display(display, shape):
    """A way of looking at a cube of this shape, in plain numbers, refused if it makes no sense."""
    channel = check_whole("channel", display.channel, 0, 0)
    if channel >= shape[0]:
        refuse("channel", f"be at most {shape[0] - 1}", channel, "The cube has no more channels.")
    if not isinstance(display.colormap, str):
        refuse("colormap", "be the name of a colour map", repr(display.colormap), "Use for example 'inferno'.")
    for name in ("contours", "clusters"):
        if not isinstance(getattr(display, name), bool | np.bool_):
            refuse(name, "be True or False", repr(getattr(display, name)), f"Say whether {name} are drawn.")
    low, high = _limits(display.low, display.high)
    return Display(
        channel=channel,
        moment=_one_of(0, 1)("moment", display.moment),
        stretch=_one_of(*STRETCHES)("stretch", display.stretch),
        colormap=display.colormap,
        low=low,
        high=high,
        contours=bool(display.contours),
        clusters=bool(display.clusters),
        pv_axis=_one_of(*PV_AXES)("pv_axis", display.pv_axis),
        pixel=_pixel(display.pixel, shape),
    )


def _limits(low, high):
    numbers = [value is None or is_number(value) for value in (low, high)]
    if not all(numbers) or (low is not None and high is not None and low >= high):
        refuse("low, high", "be finite with low < high", f"{low}, {high}", "None stands for those of the cube.")
    return [None if value is None else float(value) for value in (low, high)]


def _pixel(pixel, shape):
    if pixel is None:
        return None
    whole = isinstance(pixel, tuple | list) and len(pixel) == 2 and all(isinstance(value, Integral) for value in pixel)
    if not (whole and 0 <= pixel[0] < shape[2] and 0 <= pixel[1] < shape[1]):
        refuse("pixel", "be a column and a row of the image", repr(pixel), f"The image has {shape[2]} x {shape[1]} pixels.")
    return tuple(int(value) for value in pixel)


def check_session(session):
    """Refuse a session that was read from a file and makes no sense."""
    checked({name: getattr(session, name) for name in CHECKS if name not in ("vmin", "vmax")})
    _, values = check_parameters({}, session.values)
    for name in session.free:
        check_choice("free", name, list(values))
    parse_bounds(session.bounds, values)
    parse_priors(session.priors, values)
    regions_of(session)


def check_dicts(**parts):
    """Refuse what should be a dict of parameters and is none."""
    for argument, part in parts.items():
        if part is not None and not hasattr(part, "items"):
            refuse(argument, "be a dict of parameter names and values", repr(part), "Write {'r0': 2000 * u.au, ...}.", TypeError)


def named_regions(source, name=None, taken=()):
    """Name and text of regions from a file, its content, or objects, as a tuple of one pair."""
    if isinstance(source, bytes):
        text, default = source.decode("utf-8", errors="replace"), "upload"
    elif isinstance(source, str | Path) and is_file(source):
        text, default = Path(source).read_text(encoding="utf-8", errors="replace"), Path(source).name
    else:
        text, default = regions_text(read_regions(source)), "region"
    name = name or default
    if not parse_regions(text, name):
        refuse("region", "hold at least one region", f"none in {name!r}", "The file may be empty or in unsupported coordinates.")
    unique, k = name, 2
    while unique in taken:
        unique, k = f"{name} ({k})", k + 1
    return ((unique, text),)


def model(guess, v_lsr=None, initial=None, fixed=None, bounds=None, priors=None):
    """Changes that state the model: what the user gave, the rest from ``guess`` (internal units, without a rotation)."""
    initial, fixed, guess = dict(initial or {}), dict(fixed or {}), dict(guess)
    given = initial | fixed
    if v_lsr is not None:
        if "v_lsr" in given:
            refuse("v_lsr", "be given once", "v_lsr=... and in initial or fixed", "Leave out one of them.")
        guess["v_lsr"] = to_internal("v_lsr", v_lsr)
    if not any(name in given for name in ROTATIONS):
        guess["rc"] = 0.1 * to_internal("r0", given.get("r0", guess["r0"]))
    for name, low, high in read_pairs("bounds", bounds or {}, given | guess):
        # a guess gives way to what the user knows
        if name in guess and -math.inf < low < high < math.inf and not low <= guess[name] <= high:
            guess[name] = (low + high) / 2
    for name, value in guess.items():
        if name not in given:
            (fixed if name in USUALLY_FIXED else initial)[name] = value
    free, fixed = check_parameters(initial, fixed)
    values = in_order(free | fixed)
    return {
        "values": values,
        "free": tuple(name for name in values if name in free),
        "bounds": parse_bounds(bounds, free),
        "priors": parse_priors(priors, free),
    }


def in_order(values):
    """A dict of parameters in the order of the table."""
    return {name: values[name] for name in PARAMETERS if name in values}


@in_float64
def rotate(session, name):
    """Changes that state the same rotation by another parameter; bounds and priors of the old one are dropped."""
    old, values = rotation_name(session.values), dict(session.values)
    mu = float(mu_from(old, values.pop(old), values["r0"], values["mass"]))
    if name == "omega":
        values[name] = float(omega_from(mu, values["r0"], values["mass"]))
    else:
        values[name] = mu if name == "mu" else mu * values["r0"]
    return {
        "values": in_order(values),
        "free": tuple(name if n == old else n for n in session.free),
        "bounds": {n: pair for n, pair in session.bounds.items() if n != old},
        "priors": {n: pair for n, pair in session.priors.items() if n not in ROTATIONS},
    }


def with_values(session, params):
    """Changes that give parameters other values; another rotation parameter takes the place of the present one."""
    new = {name: to_internal(name, value) for name, value in params.items()}
    stated = [name for name in ROTATIONS if name in new]
    rotated = len(stated) == 1 and stated[0] not in session.values
    changes = rotate(session, stated[0]) if rotated else {"values": session.values, "bounds": session.bounds}
    new = {name: _unless_same(name, changes["values"].get(name), value) for name, value in new.items()}
    _, values = check_parameters({}, changes["values"] | new)
    # the bounds of a periodic parameter go with its turn
    return changes | {"values": in_order(values), "bounds": parse_bounds(changes["bounds"], values)}


def _unless_same(name, old, new):
    """The old value where the new one differs by rounding or by whole turns: what is shown of a value is that value."""
    if old is None:
        return new
    difference = abs(new - old)
    if PARAMETERS[name].period:
        difference = abs((difference + math.pi) % (2 * math.pi) - math.pi)
    return old if difference <= 4e-16 * abs(old) + (1e-15 if PARAMETERS[name].unit.is_equivalent("rad") else 0.0) else new


def with_free(session, name, free):
    """Changes that let a fit move a parameter, or not."""
    check_choice("parameter", name, list(session.values))
    if name == "deltar" and free:
        refuse("deltar", "not be optimised", "it as a free parameter", "It is a sampling step.")
    return {"free": tuple(n for n in session.values if (free if n == name else n in session.free))}


def with_pair(session, kind, name, pair):
    """Changes that set (or, with None, remove) the ``"bounds"`` or the ``"priors"`` of a parameter."""
    check_choice("parameter", name, list(session.values))
    parse = {"bounds": parse_bounds, "priors": parse_priors}[kind]
    pairs = {n: p for n, p in getattr(session, kind).items() if n != name}
    return {kind: pairs | (parse({name: pair}, session.values) if pair is not None else {})}
