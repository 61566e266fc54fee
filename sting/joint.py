"""Several streamers at once: a joint fit, in which they share some of the parameters."""

import inspect
from functools import partial

import numpy as np
from astropy import units as u

from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, JointSettings
from sting.gradient_descent import prepare_model_params
from sting.joint_result import SHARED, JointResult
from sting.messages import refuse, suggest
from sting.parameters import PARAMETERS, ROTATIONS, check_distance
from sting.problem import state_data, state_fit
from sting.programs import beside
from sting.steps import descend, exhaust

__all__ = ["fit_jointly"]

#: Keywords of `~sting.gradient_descent.fit_streamline` that steer the descent, with their defaults.
_OPTIONS = {
    name: keyword.default
    for name, keyword in inspect.signature(state_fit).parameters.items()
    if keyword.kind is keyword.KEYWORD_ONLY and name not in ("param_bounds", "priors", "keep_rotation")
}


def fit_jointly(
    streamers,
    initial_opt_params,
    fixed_params,
    distance,
    *,
    param_bounds=None,
    priors=None,
    save_folder="sting_results",
    progress=True,
    callback=None,
    show_plots=False,
    films=False,
    **keywords,
):
    """Fit several streamers at once: tracers of one streamer, or streamers of one star.

    A value that is given once is shared by all streamers: it is one parameter, which all of them determine. A value that is given
    as a dict, for each streamer by its name, is each one's own.

    Parameters
    ----------
    streamers : dict of `~sting.streamer.Streamer`
        The data, by the names of the streamers. They may have different numbers of points.
    initial_opt_params : dict
        Start values of the free parameters: parameter name to a value that is shared, or to a dict of streamer name to value.
    fixed_params : dict
        Values of the others, in the same way. A parameter may be free for one streamer and fixed for another.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    param_bounds, priors : dict, optional
        As for `~sting.gradient_descent.fit_streamline`; on parameters that are not shared either for all of them alike or as a
        dict of streamer name to the pair. A prior on a shared parameter counts once.
    save_folder : str, path-like or None, optional
        Folder for the fit, and in it one for each streamer with parameters, log and figures; None writes nothing. Files of the
        same names are replaced, others left alone.
    progress : bool, optional
        Whether to show a progress bar.
    callback : callable, optional
        Called with a `~sting.gradient_descent.Snapshot` every 50 epochs; the fit stops, keeping the best so far, when it returns
        True.
    show_plots : bool, optional
        Whether to show the figures.
    films : bool, optional
        Whether to write films of the fit by epoch into the folder of each streamer as well.
    **keywords
        Those of `~sting.gradient_descent.fit_streamline` that steer the descent, such as ``optimizer``, ``n_epochs``,
        ``matching`` and ``loss_method``.

    Returns
    -------
    `~sting.joint_result.JointResult`
        Unpacks as ``best_opt_params, loss_history, param_errors``; ``result["name"]`` is the fit of one streamer.

    Raises
    ------
    ValueError
        If anything that is given does not make sense; nothing has been computed or written then.
    `~astropy.units.UnitsError`
        If a unit cannot be converted.
    OSError
        If the folder cannot be written.

    Examples
    --------
    Two tracers, each with a calibration of its own of the velocities, hence a ``v_lsr``:

    >>> from astropy import units as u
    >>> from sting import synthetic
    >>> parts = {"outer": (0.1, 0.5), "inner": (0.5, 0.9)}
    >>> tracers = {name: synthetic.make_streamer_points(part=part) for name, part in parts.items()}
    >>> fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in ("r0", "v_lsr")}
    >>> result = fit_jointly(
    ...     tracers, {"r0": 2500 * u.au, "v_lsr": {"outer": 7.4, "inner": 7.6}}, fixed, 293,
    ...     optimizer="lbfgs", save_folder=None, progress=False)
    >>> print(result.best_opt_params["r0"].round(1))
    2800.0 AU
    >>> print(result["inner"].best_opt_params["v_lsr"].round(2))
    7.5 km / s
    """
    _check_streamers(streamers, save_folder)
    for name in keywords:
        if name not in _OPTIONS:
            known = [*inspect.signature(fit_jointly).parameters, *_OPTIONS]
            refuse(name, "be a keyword of fit_jointly", repr(name), suggest(name, known), TypeError)
    if save_folder is not None:
        from sting import outputs

        outputs.check_folder(save_folder)
        beside(outputs.tables.load_figures)
    stated = _state(streamers, initial_opt_params, fixed_params, distance, param_bounds, priors, keywords)
    keywords = _OPTIONS | keywords
    result = exhaust(descend(*stated), keywords["n_epochs"], progress and keywords["info_every"], callback)
    if save_folder is not None or show_plots:
        from sting import outputs

        outputs.save_joint_results(result, streamers, save_folder, show=show_plots, films=films, progress=progress)
    return result


def _check_streamers(streamers, save_folder):
    example = "Write {'HC3N': streamer, 'H2CO': other}."
    if not hasattr(streamers, "items"):
        refuse("streamers", "be a dict of names and Streamers", type(streamers).__name__, example, TypeError)
    if not streamers:
        refuse("streamers", "hold at least one Streamer", "none", example)
    for name, streamer in streamers.items():
        if not isinstance(name, str) or not name or name == SHARED:
            refuse("streamers", f"have names that are words other than {SHARED!r}", repr(name), example)
        if save_folder is not None and ("/" in name or "\\" in name or name.startswith(".")):
            refuse("streamers", "have names that folders can have", repr(name), "Rename it, or pass save_folder=None.")
        if not hasattr(streamer, "data") or not hasattr(streamer, "uncertainties"):
            got = f"{type(streamer).__name__} as {name!r}"
            refuse("streamers", "hold Streamers", got, "Use the results of reduce_to_1D.", TypeError)


def _state(streamers, initial, fixed, distance, bounds, priors, options):
    """Check everything, and return what `~sting.steps.descend` takes."""
    names, distance = list(streamers), check_distance(distance)
    shared = _shared(initial, fixed, names)
    initial_of, fixed_of = (_for_each(names, values) for values in (initial, fixed))
    of = {
        "param_bounds": _pairs_for_each("param_bounds", bounds, initial_of, shared),
        "priors": _pairs_for_each("priors", priors, initial_of, shared),
    }
    # a rotation that is the same in all of them, where r0 or the mass are not, is no mu that is the same
    keep = any(name in shared for name in ROTATIONS if name in (*initial, *fixed)) and not {"r0", "mass"} <= set(shared)
    members, settings, starts, partition = [], [], [], []
    for name, streamer in streamers.items():
        pairs = {argument: pairs[name] for argument, pairs in of.items()}
        stated = state_fit(initial_of[name], fixed_of[name], distance, **options, **pairs, keep_rotation=keep)
        members.append(stated[0] | state_data(streamer.data, streamer.uncertainties))
        settings.append(stated[1])
        starts.append(stated[2])
        partition.append(prepare_model_params(initial_of[name], fixed_of[name])[1:])
    problem, x = _join(members, starts, shared)
    settings = JointSettings(tuple(settings))
    result = partial(
        JointResult,
        tuple(names),
        tuple(shared),
        {name: tuple(free) for name, (free, _) in zip(names, partition, strict=True)},
        {name: part for name, (_, part) in zip(names, partition, strict=True)},
        distance * u.pc,
        problem=problem,
        settings=settings,
    )
    return x, problem, stated[3], settings, result


def _shared(initial, fixed, names):
    """The parameters that all streamers share: those that are given once, and what follows from them."""
    own = {}
    for argument, values in (("initial_opt_params", initial), ("fixed_params", fixed)):
        if not hasattr(values, "items"):
            refuse(
                argument, "be a dict of parameter names and values", repr(values), "Write {'r0': 2000 * u.au, ...}.", TypeError
            )
        for name, value in values.items():
            if hasattr(value, "items"):
                _check_names(name, value, names)
                own.setdefault(name, set()).update(value)
    for name, given in own.items():
        # the rotation may be stated by another parameter
        missing = [streamer for streamer in names if streamer not in given]
        if missing and name not in ROTATIONS and name not in {n for n in (*initial, *fixed) if n not in own}:
            refuse(name, "be given for every streamer", f"nothing for {missing[0]!r}", "Add it, or give one value for all.")
    stated = [name for name in ROTATIONS if name in initial or name in fixed]
    shared = [name for name in PARAMETERS if name not in own and name not in ROTATIONS]
    same = not any(name in own for name in (*stated, "r0", "mass"))
    return shared + [name for name in ROTATIONS if (name not in own if name in stated else same)]


def _check_names(argument, values, names):
    for streamer in values:
        if streamer not in names:
            refuse(argument, "be given by the names of the streamers", repr(streamer), suggest(streamer, names))


def _for_each(names, values):
    """A dict of parameters for each streamer."""
    own = {name: value if hasattr(value, "items") else dict.fromkeys(names, value) for name, value in values.items()}
    return {streamer: {name: value[streamer] for name, value in own.items() if streamer in value} for streamer in names}


def _pairs_for_each(argument, entries, initial_of, shared):
    """Bounds or priors for each streamer; those that are given once go to all for which the parameter is free."""
    if not hasattr(entries, "items"):  # nothing, or what is refused further on
        return dict.fromkeys(initial_of, entries)
    names, found = list(initial_of), {}
    for name, pair in entries.items():
        if not hasattr(pair, "items"):
            found[name] = dict.fromkeys([s for s in names if _is_free(name, initial_of[s])] or names, pair)
            continue
        _check_names(f"{argument}[{name!r}]", pair, names)
        if name in shared:
            refuse(f"{argument}[{name!r}]", "be one pair, since all streamers share it", pair, "Give the pair alone.")
        found[name] = pair
    return _for_each(names, found)


def _is_free(name, initial):
    return name in initial or (name in ROTATIONS and any(other in initial for other in ROTATIONS))


def _join(members, starts, shared):
    """The joint problem of the core and its start: a coordinate for each parameter that is shared, one for each of the others."""
    rotation = [name for name in ROTATIONS if name in shared]
    slots = np.array([name in shared if name != "mu" else bool(rotation) for name in MODEL_PARAMETERS])
    index, size = [np.arange(len(slots))], len(slots)
    for _ in members[1:]:
        own = size + np.cumsum(~slots) - 1
        index.append(np.where(slots, index[0], own))
        size += np.count_nonzero(~slots)
    first = {int(j): (k, i) for k in reversed(range(len(members))) for i, j in enumerate(index[k])}
    places = [first[j] for j in range(size)]
    support = {key: np.array([members[k]["support"][key][i] for k, i in places]) for key in members[0]["support"]}
    once = np.array([name in shared for name in NAMED_PARAMETERS])
    problem = {
        "support": support,
        "free": np.array([members[k]["free"][i] for k, i in places]),
        "members": tuple(members),
        "index": tuple(index),
        "counted": tuple(np.where(once & (k > 0), 0.0, 1.0) for k in range(len(members))),
    }
    return problem, np.array([starts[k][i] for k, i in places])
