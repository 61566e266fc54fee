"""The points of a streamer out of a table that somebody else made: its columns, their units, the order of its rows."""

import os

import numpy as np
from astropy import units as u
from astropy.coordinates import ConvertError, SkyCoord
from astropy.table import Table

from sting.cubes import KMS, place_of, quantity, sky_offsets, sky_position
from sting.files import existing_file, reading
from sting.messages import check_choice, refuse, suggest, warn
from sting.reduction import distances

#: What a column may be called, in any case. Those of the uncertainties follow from these.
ALIASES = {
    "ra": ("ra", "ra_offset", "ra_off", "delta_ra", "dra", "raj2000"),
    "dec": ("dec", "dec_offset", "dec_off", "delta_dec", "ddec", "dej2000", "decj2000"),
    "velocity": ("velocity", "v", "vel", "vlsr", "v_lsr", "v_los", "vlos"),
}
SIGMA_FORMS = ("{}_sigma", "sigma_{}", "{}_err", "e_{}", "{}_error", "{}_unc")
ALIASES |= {f"{role}_sigma": tuple(form.format(a) for a in ALIASES[role] for form in SIGMA_FORMS) for role in tuple(ALIASES)}
ALIASES |= {"flux": ("flux",)}
ROLES = (*ALIASES, "sky")

#: Whose stated unit a column takes that has neither a unit nor a stated one.
SAME_UNIT = {"dec": "ra", "dec_sigma": "ra_sigma", "velocity_sigma": "velocity"}

#: A point farther from the star than this is taken for a mistake.
FARTHEST_POINT = 1 * u.deg


def read_table(table, file_format):
    """The table itself, columns with units, or read from a file; of a file of `Streamer.write`, the points."""
    if isinstance(table, str | os.PathLike):
        path = existing_file("table", table, "be a table or an existing file")
        cure = "Pass format=, see astropy's Table.read."
        with reading("table", "be a file that astropy reads as a table", repr(str(path)), cure):
            table = Table.read(path, format=file_format)
    if not isinstance(table, Table):
        cure = "Make one: QTable({'ra': [1, 2] * u.arcsec, ...})."
        refuse("table", "be an astropy table or a path", type(table).__name__, cure, TypeError)
    # of a QTable too, the columns come as plain ones with a unit
    table = Table(table, copy=False)
    head = table.meta.get("streamer")
    if isinstance(head, dict) and "meta" in head and "part" in table.colnames:
        table = table[table["part"] == "point"]
        table.meta = dict(head["meta"])
    return table


def _check_mapping(name, mapping):
    mapping = {} if mapping is None else mapping
    if not isinstance(mapping, dict):
        refuse(name, "be a dict", repr(mapping), f"Write for example {name}={{'ra': ...}}.", TypeError)
    for role in mapping:
        if role not in ROLES:
            refuse(name, f"have keys among {', '.join(ROLES)}", repr(role), suggest(role, ROLES))
    return mapping


def name_columns(table, columns):
    """Which column plays which role: as ``columns`` says, else by its name (or, of positions, its class)."""
    columns = _check_mapping("columns", columns)
    for role, name in columns.items():
        if name not in table.colnames:
            refuse("columns", "name columns of the table", f"{name!r} for {role!r}", suggest(name, table.colnames))
    roles = dict(columns)
    # positions that were named are the ones that are meant
    unwanted = ("ra", "dec") if "sky" in roles else ("sky",) if {"ra", "dec"} & set(roles) else ()
    left = [role for role in ROLES if role not in roles and role not in unwanted]
    for role in left:
        if role == "sky":
            found = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
        else:
            found = [n for n in table.colnames if n.lower() in ALIASES[role] and not isinstance(table[n], SkyCoord)]
        if len(found) > 1:
            refuse("table", f"have one column for {role!r}", ", ".join(found), f"Choose: columns={{{role!r}: {found[0]!r}}}.")
        if found:
            roles[role] = found[0]
    if "sky" in roles and "ra" in roles:
        cure = f"Choose: columns={{'sky': {roles['sky']!r}}} or columns={{'ra': {roles['ra']!r}, 'dec': ...}}."
        refuse("table", "have its positions once", f"{roles['sky']!r} and {roles['ra']!r}", cure)
    return roles


def _missing(table, role, cure):
    names = ", ".join(table.colnames) or "none"
    refuse("table", f"have a column for {role!r}", f"the columns {names}", f"{cure}columns={{{role!r}: <name>}}.")


def _values(table, role, name):
    """A column as floats, NaN where it is masked."""
    values = table[name].data if hasattr(table[name], "data") else None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or values.ndim != 1:
        kind = f"{name!r} of {getattr(values, 'dtype', type(table[name]).__name__)}"
        refuse("table", f"have one number a row for {role!r}", kind, "Convert the column, or name another with columns=.")
    return np.ma.filled(np.ma.asarray(values).astype(float), np.nan)


def unit_of(name, what, own, stated, kind, example):
    """The unit of ``what``: its ``own``, else the ``stated`` one; refused by ``name`` if none, two, or not like ``kind``."""
    try:
        own, stated = (None if unit is None else u.Unit(unit) for unit in (own, stated))
    except (TypeError, ValueError):
        refuse(name, f"have a unit that astropy knows for {what}", f"{own!r}, {stated!r} stated", f"Write for example {example}.")
    if own is None and stated is None:
        refuse(name, f"have a unit for {what}", "none", f"State it, for example {example}.")
    if own is not None and stated is not None and own != stated:
        refuse(name, f"have one unit for {what}", f"{own} of its own and {stated} stated", "Correct one, or state none.")
    unit = stated if own is None else own
    if not unit.is_equivalent(kind):
        refuse(name, f"have a unit like {kind} for {what}", repr(str(unit)), "Correct it or choose another.", u.UnitsError)
    return unit


def _unit(table, role, name, units):
    kind = KMS if role.startswith("velocity") else u.arcsec
    own, stated = getattr(table[name], "unit", None), units.get(role)
    # the unit that was stated of a neighbour is a help where there is none, not a contradiction
    if own is None and stated is None:
        stated = units.get(SAME_UNIT.get(role))
    return unit_of("table", f"the column {name!r}", own, stated, kind, f"units={{{role!r}: '{kind}'}}")


def _column(table, role, name, units):
    values, unit = _values(table, role, name), _unit(table, role, name, units)
    target = KMS if role.startswith("velocity") else u.arcsec
    # astropy's conversion multiplies by one: exact where nothing is to be converted
    return values * unit.to(target)


def _positions(table, roles, units, positions, yso_centre, frame):
    """RA and Dec offsets (arcsec) of all rows."""
    if "sky" in roles:
        if positions == "offsets":
            refuse("positions", "be 'sky' for a column of SkyCoord", repr(positions), "Leave it out.")
        sky = table[roles["sky"]]
        if not isinstance(sky, SkyCoord):
            cure = "Name numbers with columns={'ra': ..., 'dec': ...}."
            refuse("columns", "name a column of SkyCoord for 'sky'", repr(roles["sky"]), cure)
        if frame is not None:
            refuse("frame", "be left out for a column of SkyCoord, which has its own", repr(frame), "Leave it out.")
        return _away(_star(yso_centre), sky)
    for role in ("ra", "dec"):
        if role not in roles:
            _missing(table, role, "Have one of SkyCoord, or name it: ")
    lon, lat = (_values(table, role, roles[role]) for role in ("ra", "dec"))
    ra_unit, dec_unit = (_unit(table, role, roles[role], units) for role in ("ra", "dec"))
    if (positions or _kind(ra_unit, dec_unit)) == "offsets":
        if frame is not None:
            refuse("frame", "be left out for offsets, which are taken as they are", repr(frame), "Or positions='sky'.")
        return [lon * ra_unit.to(u.arcsec), lat * dec_unit.to(u.arcsec)]
    star = _star(yso_centre)
    try:
        sky = SkyCoord(lon * ra_unit, lat * dec_unit, frame="icrs" if frame is None else frame)
    except (TypeError, ValueError) as error:
        refuse("table", "hold positions on the sky", f"{error}", "Check the columns, their units and frame=.")
    return _away(star, sky)


def _kind(ra_unit, dec_unit):
    """Whether a pair of columns holds offsets or coordinates: nobody gives coordinates in arcsec."""
    large = [unit.to(u.deg) > 0.5 for unit in (ra_unit, dec_unit)]
    if large[0] != large[1]:
        cure = "Say positions='offsets' or positions='sky'."
        refuse("table", "have both positions in degrees or both in arcsec", f"{ra_unit} and {dec_unit}", cure)
    return "sky" if all(large) else "offsets"


def _star(yso_centre):
    if yso_centre is None:
        cure = "Pass the star's SkyCoord, or positions='offsets' if these are offsets from it."
        refuse("yso_centre", "be given for coordinates on the sky", "none", cure)
    return sky_position("yso_centre", yso_centre)


def _away(star, sky):
    try:
        found = sky_offsets(star, sky)
    except (ConvertError, AttributeError):
        cure = "Convert them to ICRS, FK5 or Galactic coordinates."
        refuse("table", "have positions in a frame that turns into ICRS", sky.frame.name, cure)
    away = np.nanmax(np.hypot(*found), initial=0) * u.arcsec
    if away > FARTHEST_POINT:
        cure = "Check their coordinates and units; say positions='offsets' if they are offsets."
        refuse("yso_centre", f"lie within {FARTHEST_POINT} of the points", f"{away.to(u.deg):.3g}", cure)
    return found


def _uncertainties(table, roles, units, sigma_position, sigma_velocity):
    """Uncertainties of all rows, of their columns or of the keywords."""
    stated = {"ra_sigma": sigma_position, "dec_sigma": sigma_position, "velocity_sigma": sigma_velocity}
    keywords = {"ra_sigma": "sigma_position", "dec_sigma": "sigma_position", "velocity_sigma": "sigma_velocity"}
    found = []
    for role, value in stated.items():
        keyword = keywords[role]
        unit = KMS if role == "velocity_sigma" else u.arcsec
        if value is None and role not in roles:
            _missing(table, role, f"Pass {keyword}=<value> * u.Unit('{unit}') or ")
        if value is None:
            found.append(_column(table, role, roles[role], units))
            continue
        if role in roles:
            refuse(keyword, "be left out where the table has a column for it", f"{roles[role]!r} too", "Keep one of them.")
        value = quantity(keyword, value, unit).value
        if not value > 0:
            refuse(keyword, "be positive", value, "Correct it.")
        found.append(np.full(len(table), value))
    return found


def _complete(rows):
    """The rows (columns of the array) without NaN; a notice says how many are left out."""
    good = np.isfinite(rows).all(axis=0)
    if not good.all():
        warn(f"{np.sum(~good)} of {good.size} rows of the table hold a NaN, infinity or blank and were left out.")
    if good.sum() < 2:
        refuse("table", "have at least two rows without NaN", int(good.sum()), "Check its columns.")
    return good


def points_of_table(table, yso_centre, columns, units, positions, frame, sigma_position, sigma_velocity):
    """Cloud (4, n), points (3, n) and uncertainties (3, n) from the outside in."""
    if positions is not None:
        check_choice("positions", positions, ("offsets", "sky"))
    units = _check_mapping("units", units)
    roles = name_columns(table, columns)
    if "velocity" not in roles:
        _missing(table, "velocity", "Name it: ")
    points = _positions(table, roles, units, positions, yso_centre, frame)
    points.append(_column(table, "velocity", roles["velocity"], units))
    sigmas = _uncertainties(table, roles, units, sigma_position, sigma_velocity)
    flux = _values(table, "flux", roles["flux"]) if "flux" in roles else np.ones(len(table))
    rows = np.array([*points, flux, *sigmas])
    rows = rows[:, _complete(rows)]
    if not (rows[4:] > 0).all():
        cure = "Drop these rows or give each an uncertainty."
        refuse("table", "have positive uncertainties", f"{rows[4:].min():.4g}", cure)
    # a streamer may turn around the star: the measure of the way along it that the reduction has
    rows = rows[:, np.argsort(-distances(rows[0], rows[1], 10)[0], kind="stable")]
    return rows[:4], rows[:3], rows[4:]


def meta_of_table(table, yso_centre):
    """Of what `Streamer.to_table` puts into the meta, that which holds for the points without their cube; and the star."""
    kept = {"uncertainty": "given"}
    if yso_centre is not None:
        kept["star"] = place_of(sky_position("yso_centre", yso_centre), yso_centre.frame)
    elif isinstance(table.meta.get("star"), list | tuple):
        kept["star"] = list(table.meta["star"])
    beam = table.meta.get("beam")
    if isinstance(beam, list | tuple) and len(beam) == 3:
        kept["beam"] = list(beam)
    if table.meta.get("uncertainty") in ("spread", "mean"):
        kept["uncertainty"] = table.meta["uncertainty"]
    return kept
