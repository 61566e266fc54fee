"""Checks of what a user chooses: pure functions from a choice to the changes of the session that it means."""

from pathlib import Path

import numpy as np

from sting.core.transforms import mu_from, omega_from
from sting.cubes import KMS, quantity
from sting.cuts import check_threshold, parse_regions, read_regions
from sting.explorer.session import regions_text
from sting.messages import check_choice, check_whole, refuse
from sting.parameters import (
    PARAMETERS,
    ROTATIONS,
    check_parameters,
    parse_bounds,
    parse_priors,
    rotation_name,
    to_internal,
)
from sting.problem import LOSS_METHODS, MATCHINGS, OPTIMIZERS

STRETCHES = ("linear", "sqrt", "log", "asinh")
PV_AXES = ("radius", "path")
UNCERTAINTIES = ("spread", "mean")

#: Parameters that are fixed unless the user says otherwise: a ballistic fit does not measure them, or they are not physics.
USUALLY_FIXED = ("inc", "pa", "rmin", "v_lsr", "deltar")


def _limit(name, value):
    return None if value is None else float(quantity(name, value, KMS).value)


def _threshold(name, value):
    check_threshold(value)
    return None if value is None else float(value)


def _positive(name, value):
    if isinstance(value, bool) or not (np.isscalar(value) and np.isreal(value) and np.isfinite(value) and value > 0):
        refuse(name, "be a positive number", repr(value), "Use for example 0.005.")
    return float(value)


def _one_of(*choices):
    return lambda name, value: check_choice(name, value, choices)


def _at_least(lowest, example):
    return lambda name, value: check_whole(name, value, lowest, example)


#: How each choice that is one value is checked.
CHECKS = {
    "vmin": _limit,
    "vmax": _limit,
    "rms_thresh": _threshold,
    "n_elements": _at_least(2, 10),
    "uncertainty": _one_of(*UNCERTAINTIES),
    "optimizer": _one_of(*OPTIMIZERS),
    "loss_method": _one_of(*LOSS_METHODS),
    "matching": _one_of(*MATCHINGS),
    "n_epochs": _at_least(1, 1000),
    "learning_rate": _positive,
    "patience": _at_least(1, 50),
}


def checked(given):
    """Values of a dict of choices, each checked."""
    return {name: CHECKS[name](name, value) for name, value in given.items()}


def check_display(display, shape):
    """Refuse a way of looking at a cube of this shape that makes no sense."""
    if check_whole("channel", display.channel, 0, 0) >= shape[0]:
        refuse("channel", f"be at most {shape[0] - 1}", display.channel, "The cube has no more channels.")
    check_choice("moment", display.moment, (0, 1))
    check_choice("stretch", display.stretch, STRETCHES)
    check_choice("pv_axis", display.pv_axis, PV_AXES)
    limits = [value for value in (display.low, display.high) if value is not None]
    if not all(np.isreal(value) and np.isfinite(value) for value in limits) or (len(limits) == 2 and limits[0] >= limits[1]):
        refuse(
            "low, high", "be finite with low < high", f"{display.low} and {display.high}", "None stands for those of the cube."
        )
    if display.pixel is not None:
        x, y = display.pixel
        if not (0 <= x < shape[2] and 0 <= y < shape[1]):
            refuse("pixel", "lie in the image", display.pixel, f"The image has {shape[2]} x {shape[1]} pixels.")


def named_regions(source, name=None, taken=()):
    """Name and text of regions from a file, its content, or objects, as a tuple of one pair."""
    if isinstance(source, bytes):
        text, default = source.decode("utf-8", errors="replace"), "upload"
    elif isinstance(source, str | Path) and Path(source).is_file():
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
    _, values = check_parameters({}, changes["values"] | new)
    parse_bounds(changes["bounds"], values)
    return changes | {"values": in_order(values)}


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
