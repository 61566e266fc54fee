"""One source of a survey, as a worker runs it: its result folder appears when it is complete, with a record of what it holds."""

import json
import math
import os
import shutil
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import sting
from sting import fit_words
from sting.messages import StingWarning
from sting.programs import drop_programs

#: The record of a result folder.
RECORD = "source.json"

#: What begins the name of a folder that is being filled.
PREFIX = ".sting-"


def run_source(source, place, figures=None):
    """Fit a source, put everything into its result folder ``place`` at once, and return its row of the catalogue.

    Whatever goes wrong with the source is a row too.
    """
    place, begin = Path(place), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{PREFIX}{source.name}-", ignore_cleanup_errors=True) as folder:
        inside = Path(folder) / "new"
        inside.mkdir()
        said, files = [], stamps(source)
        try:
            with warnings.catch_warnings(record=True) as notices:
                warnings.simplefilter("always")
                result = source.check(figures, output=inside).run(progress=False)
            row = _row(result)
            said = sorted({str(notice.message) for notice in notices if issubclass(notice.category, StingWarning)})
        except Exception as error:
            shutil.rmtree(inside)
            inside.mkdir()
            row = failure(error)
            (inside / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        row = {"name": source.name, **row, "seconds": time.perf_counter() - begin, "sting": sting.__version__}
        settle(inside, place, {"row": row, "config": wanted(source, figures), "data": files, "warnings": said})
    drop_programs()
    return row


def failure(error):
    """Row of a source that failed, but for its name."""
    return {"status": "failed", "message": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _row(result):
    """Row of a fit, but for its name: all parameters and elements of the orbit as value, sigma and unit."""
    said = result.uncertainties.notes(lambda name: fit_words.user_name(name, result))
    values = {row["parameter"]: (row["value"], row["sigma"], row["unit"]) for row in result.to_table()}
    derived = {row["quantity"]: (row["value"], row["sigma"], row["unit"]) for row in result.derived()}
    return {
        "status": "done" if result.converged else "not converged",
        "message": " ".join(said),
        "loss": result.loss,
        "chi2": result.chi2,
        "dof": result.dof,
        "success": bool(result.success),
        "skewed": " ".join(name for name, near in result.near_gaussian.items() if near is False),
        # a rotation that is stated as rc is both
        "values": {name: [float(v), float(s), str(unit)] for name, (v, s, unit) in (derived | values).items()},
    }


def wanted(source, figures=None):
    """What a result depends on: the configuration, but for what `sting fit` does with its results."""
    content = {key: value for key, value in source.content.items() if key != "output"}
    return content | ({} if figures is None else {"figures": figures})


def stamps(source):
    """Size and time of change of the files that a source is made from, None where there is none."""
    paths = {"cube": source.content["cube"], "region": source.content.get("cut", {}).get("region")}
    return {name: _stamp(Path(source.folder) / path) for name, path in paths.items() if path is not None}


def _stamp(path):
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def finished_row(source, place, figures=None):
    """Row of a source whose results are there already, or None: it failed, or its configuration or files have changed.

    Figures more than are asked for do no harm.
    """
    record = read_record(place)
    if record is None or record.get("row", {}).get("status") not in ("done", "not converged"):
        return None
    had, want = dict(record["config"]), wanted(source, figures)
    drawn, asked = had.pop("figures", True), want.pop("figures", True)
    same = had == json.loads(json.dumps(want)) and (drawn or not asked) and record["data"] == stamps(source)
    return _of_plain(record["row"]) if same else None


def read_record(place):
    """Record of a result folder, or None."""
    try:
        record = json.loads((Path(place) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "files" in record else None


def settle(new, place, record):
    """Let the files in ``new`` become the result folder ``place``; there it takes the place of an older one.

    What the user has put into that stays.
    """
    files = sorted(str(path.relative_to(new)) for path in new.rglob("*") if path.is_file())
    _write(new / RECORD, record | {"files": files})
    try:
        os.rename(new, place)
        return
    except OSError:
        if not place.is_dir():
            raise
    old = (read_record(place) or {"files": []})["files"]
    # whoever finds it now finds no result, and knows what is not the user's
    _write(new / "unfinished", {"files": sorted({*old, *files})})
    os.replace(new / "unfinished", place / RECORD)
    for name in old:
        (place / name).unlink(missing_ok=True)
    for name in [*files, RECORD]:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new / name, place / name)


def _write(path, record):
    path.write_text(json.dumps(_to_plain(record), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _to_plain(value):
    """JSON knows neither infinity nor NaN: they become text."""
    if isinstance(value, dict):
        return {key: _to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _of_plain(row):
    numbers = {key: float(row[key]) for key in ("loss", "chi2")}
    return row | numbers | {"values": {name: [float(v), float(s), unit] for name, (v, s, unit) in row["values"].items()}}


def clean(folder):
    """Remove the folders that killed workers left half filled."""
    for path in Path(folder).glob(f"{PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
