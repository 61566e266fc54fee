"""The plain script that repeats an exploration."""

import json

from astropy import units as u

from sting.explorer.session import Session
from sting.parameters import PARAMETERS, to_quantity

_SCRIPT = '''"""A streamer fit, written by sting.StreamerExplorer."""

from astropy import units as u
from astropy.coordinates import SkyCoord
{imports}
from sting import {names}

cube = {cube}
star_position = SkyCoord({ra!r}, {dec!r}, unit="deg", frame="icrs")
distance = {distance!r} * u.pc
{regions}{selection}
streamer_cube = extract_streamer_subcube({cut})
streamer = reduce_to_1D(streamer_cube, star_position, {n_elements}, {kind})

initial = {initial}
fixed = {fixed}
bounds = {bounds}
priors = {priors}

if __name__ == "__main__":
    result = fit_streamline(
        initial,
        fixed,
        streamer,
        distance,
{options}
        save_folder={save_folder},
    )
    print(result)
'''


#: Where a cluster is chosen.
_SELECTION = """
clusters = isolate.Clusters.read({clusters})
selection = isolate.select(clusters, star_position, cluster={cluster}, rms_thresh={rms_thresh}, cube=cube)"""


def script_of(session, cube, unit, star_position, distance, save_folder, clusters=None):
    """Text of a script that cuts, reduces and fits as a session says.

    Parameters
    ----------
    session : `~sting.explorer.session.Session`
        Cut, start and kind of fit.
    cube : str or None
        Path of the cube; None leaves a place to fill in.
    unit : str
        Its unit.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity`
        Its distance.
    save_folder : str or None
        Where the script saves its results.
    clusters : str or None, optional
        Path of the clusters, where one is chosen.

    Returns
    -------
    str
    """
    free, fixed, bounds, priors = session.split()
    star = star_position.icrs
    limits = {"vmin": session.vmin, "vmax": session.vmax}
    names, selection = ["extract_streamer_subcube", "fit_streamline", "reduce_to_1D"], ""
    if session.cluster:
        names.insert(2, "isolate")
        chosen = {"cluster": list(session.cluster), "rms_thresh": session.cluster_threshold}
        selection = _SELECTION.format(clusters=_text(str(clusters)), **chosen)
    arguments = ["selection.cube" if session.cluster else "cube"]
    arguments += [f"{name}={value!r} * u.km / u.s" for name, value in limits.items() if value is not None]
    if session.rms_thresh is not None and not session.cluster:
        arguments += [f"rms_thresh={session.rms_thresh!r}"]
        arguments += [] if session.rms is None else [f"rms={session.rms!r} * u.Unit({_text(unit)})"]
    arguments += ["region=region"] if session.regions else []
    arguments += [f"islands={_text(session.islands)}"] if session.islands != "keep" else []
    kind = {"uncertainty": session.uncertainty}
    kind |= {
        name: getattr(session, name) for name in ("ordering", "min_beams") if getattr(session, name) != getattr(Session, name)
    }
    options = {k: v for k, v in session.fit_keywords().items() if k not in ("param_bounds", "priors")}
    lines = ["        param_bounds=bounds,", "        priors=priors,", *(f"        {k}={_text(v)}," for k, v in options.items())]
    return _SCRIPT.format(
        imports="from regions import Regions\n" if session.regions else "",
        cube=_text(cube) if cube else '"cube.fits"  # the cube was given in memory: put its file here',
        ra=float(star.ra.deg),
        dec=float(star.dec.deg),
        distance=float(distance.to_value(u.pc)),
        regions=_regions(session.regions),
        selection=selection,
        names=", ".join(names),
        cut=", ".join(arguments),
        n_elements=session.n_elements,
        kind=", ".join(f"{name}={_text(value)}" for name, value in kind.items()),
        initial=_dict({name: _value(name, value) for name, value in free.items()}),
        fixed=_dict({name: _value(name, value) for name, value in fixed.items()}),
        bounds=_dict({name: _pair(name, pair) for name, pair in bounds.items()}),
        priors=_dict({name: _pair(name, pair) for name, pair in priors.items()}),
        options="\n".join(lines),
        save_folder=_text(save_folder),
    ).replace("\n\n\nfrom sting", "\nfrom sting")


def _text(value):
    """A value as Python reads it, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _regions(entries):
    if not entries:
        return ""
    lines = ["region = ["]
    for name, text in entries:
        kind = "crtf" if text.startswith("#CRTF") else "ds9"
        title = " ".join(name.split())
        lines += [f"    *Regions.parse(  # {title}", f"        {_text(text)},", f'        format="{kind}",', "    ),"]
    return "\n".join([*lines, "]"])


#: How a unit is typed behind a number.
_TYPED = {u.au: " * u.au", u.rad: " * u.rad", u.km / u.s: " * u.km / u.s", u.Msun: " * u.Msun", u.s**-1: " / u.s"}


def _unit(name):
    return _TYPED.get(PARAMETERS[name].unit, "")


def _value(name, value):
    """What is typed for a value, in the internal unit, in which no digit is lost, and what stands beside it for the eye."""
    shown = to_quantity(name, value)
    return f"{value!r}{_unit(name)}", "" if shown.unit == PARAMETERS[name].unit else f"  # {shown:.6g}"


def _pair(name, pair):
    p = PARAMETERS[name]
    low, high = (value * p.unit.to(p.display_unit) for value in pair)
    note = "" if p.unit == p.display_unit else f"  # {low:.6g}, {high:.6g} {p.display_unit}"
    return f"({pair[0]!r}, {pair[1]!r}){_unit(name)}", note


def _dict(entries):
    if not entries:
        return "{}"
    return "\n".join(["{", *(f'    "{name}": {text},{note}' for name, (text, note) in entries.items()), "}"])
