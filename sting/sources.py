"""The sources of a survey: configurations from files, dicts and tables, checked together before anything is run."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table

from sting.config import check_config, check_keys, plain, read_toml
from sting.files import existing_file, reading
from sting.messages import refuse

#: Names that are folders on every system.
_NAME = re.compile(r"\w(?:[\w.+() -]{0,98}[\w+)-])?", re.ASCII)

_SURVEY = ("output", "table", "defaults", "source")


@dataclass(frozen=True)
class Source:
    """One source: its name, its configuration in the words of a file, and the folder from which the paths in that count."""

    name: str
    content: dict
    folder: str

    def check(self, figures=None, output=None):
        """`sting.config.Config` of the source."""
        own = {} if figures is None else {"figures": figures}
        # what the configuration says of its output is for `sting fit`
        return check_config(self.content | own | {"output": "." if output is None else str(output)}, self.folder)


def read_sources(configs):
    """Return the sources and, where a survey file tells, the folder of their results."""
    if isinstance(configs, str | os.PathLike):
        return _of_survey(configs)
    if isinstance(configs, Mapping):
        return _checked([_source(name, config) for name, config in configs.items()]), None
    try:
        configs = list(configs)
    except TypeError:
        refuse("configs", "be configurations", repr(configs), "Give a dict of them by name, a list, or a survey file.", TypeError)
    return _checked([_source(None, config) for config in configs]), None


def _source(name, config):
    """Source of a configuration that is a dict or a file."""
    if isinstance(config, str | os.PathLike):
        return Source(Path(config).stem if name is None else name, read_toml(config), str(Path(config).parent.absolute()))
    if not isinstance(config, Mapping):
        rule = "be a dict or the path of a TOML file"
        refuse("configs", f"hold configurations, each of which must {rule}", repr(config), "See `sting demo`.", TypeError)
    config = dict(config)
    name = config.pop("name", None) if name is None else name
    if name is None:
        refuse("name", "be given for each source", "nothing", "Add it to the dict, or give a dict of configurations by name.")
    return Source(name, plain(config), str(Path.cwd()))


def _of_survey(path):
    """Sources of a survey file: those of its table and of its sections, each on top of the defaults."""
    content, folder = read_toml(path), Path(path).parent.absolute()
    check_keys("CONFIG", content, _SURVEY)
    check_keys("source", content.get("source", {}), content.get("source", {}))
    own = _of_table(folder / content["table"]) if "table" in content else []
    own += content.get("source", {}).items()
    defaults = content.get("defaults", {})
    check_keys("defaults", defaults, defaults)
    for name, entries in own:
        check_keys(f"source.{name}", entries, entries)
    sources = [Source(name, merged(defaults, entries), str(folder)) for name, entries in own]
    return _checked(sources), folder / content.get("output", "sting_survey")


def _of_table(path):
    """Names and entries of a table: a row is a source, and a column ``fixed.inc`` holds the entry inc of the section fixed."""
    existing_file("table", path)
    form = "ascii.csv" if path.suffix.lower() == ".csv" else "ascii.ecsv"
    with reading("table", "be an ECSV or CSV table", path.name, "Save it as one of these."):
        table = Table.read(path, format=form)
    if "name" not in table.colnames:
        refuse("table", "have a column 'name'", ", ".join(table.colnames), "Add it: the name of each source.")
    return [(str(row["name"]), _entries(row)) for row in table]


def _entries(row):
    entries = {}
    for column in row.colnames:
        value, unit = row[column], row.table[column].unit
        value = value.item() if isinstance(value, np.generic) else value
        # an empty place leaves the default
        if column == "name" or value is np.ma.masked or value in ("", None) or value != value:
            continue
        *sections, key = column.split(".")
        place = entries
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = f"{value!r} {unit}" if unit else value
    return entries


def merged(defaults, own):
    """Entries of a source on top of the defaults, section by section.

    A parameter is free or fixed as the source says: what the defaults say of it in the other section is dropped, and
    of one that the source fixes their bounds and prior as well.
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in defaults.items()}
    for section, others in (("start", ("fixed",)), ("fixed", ("start", "bounds", "priors"))):
        for name in own.get(section, {}) if isinstance(own.get(section), dict) else ():
            for other in others:
                if isinstance(result.get(other), dict):
                    result[other].pop(name, None)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = result[key] | value if both else value
    return result


def _checked(sources):
    """The sources, refused by name if anything about one of them is wrong but its cube."""
    if not sources:
        refuse("configs", "hold at least one source", "none", "Give configurations, or add sections [source.NAME].")
    seen = {}
    for source in sources:
        name = source.name
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            rule = "be names of folders: letters, digits, blanks and _ . + - ( ), and no more than 100 of them"
            refuse("names of sources", rule, repr(name), "Rename it.")
        # there are file systems that do not tell capitals
        if name.casefold() in seen or name.casefold() == "catalogue.ecsv":
            refuse("names of sources", "differ, not only in capitals", repr(name), "Rename it; of a file it is its own name.")
        seen[name.casefold()] = source
        try:
            source.check()
        except (ValueError, TypeError, u.UnitsError) as error:
            raise type(error)(f"source {name!r}: {error}") from None
    return sources
