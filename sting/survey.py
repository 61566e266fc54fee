"""Many sources on many machines: a task and a result folder for each, and one catalogue of all."""

import logging
import math
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import QTable
from tqdm.auto import tqdm

from sting import outputs
from sting.derived import DERIVED
from sting.files import whole_file
from sting.messages import check_whole, named_keywords, refuse
from sting.parameters import PARAMETERS
from sting.source_folder import clean, failure, finished_row, read_record, run_source, settle, stamps, wanted
from sting.sources import read_sources

__all__ = ["fit_many"]

#: Sources that are handed to the scheduler at once: the message stays below what it takes for large.
BATCH = 2000

#: What our own workers are told, besides what dask tells them (one thread for linear algebra): one thread for XLA, no display.
WORKER = {"NPROC": "1", "MPLBACKEND": "Agg"}

_DESCRIPTIONS = {
    "status": "done, not converged (the fit is not in a minimum), failed, or not run",
    "message": "what was wrong, or is to be known of the fit",
    "loss": "smallest loss, chi2 and priors",
    "success": "in a minimum, every direction constrained, no parameter at a bound",
    "skewed": "parameters whose sigma will not do; their intervals are in best_fit_params.json",
    "seconds": "time that the worker took",
    "sting": "version that made the fit",
}


@named_keywords
def fit_many(configs, client=None, *, folder=None, figures=None, n_workers=None, progress=True):
    """Fit many sources, each a task of its own with a result folder of its own, and return the catalogue of all.

    Everything is checked before the first cube is read, but for the cubes. A source that fails is a row of the catalogue that
    says why. A source whose results are there already, made from the same configuration and the same files, is skipped; one
    that failed is tried again. Workers may die: their sources are run anew elsewhere.

    Parameters
    ----------
    configs : str, path-like, dict or list
        A survey file (see below); or configurations by name; or a list of them, of which the dicts have an entry ``name`` and
        the files are named by their stems. A configuration is the path of a file of ``sting fit`` or a dict of the same
        entries, in which Quantities and a SkyCoord may stand for text. Its ``output`` is left out of account.
    client : `distributed.Client`, str or cluster, optional
        Where to run: a client, the address of a scheduler, or a cluster such as those of dask-jobqueue. By default processes
        on this machine; a script then needs ``if __name__ == "__main__":``. Workers elsewhere need the same folders by the same
        names.
    folder : str or path-like, optional
        Where the result folders and ``catalogue.ecsv`` go. By default what a survey file says, or ``sting_survey``.
    figures : bool, optional
        Whether to draw figures, whatever the configurations say. They take most of the time.
    n_workers : int, optional
        Number of processes on this machine; by default one for each core.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `~astropy.table.QTable`
        A row for each source in the given order: ``name``, ``status`` (``"done"``, ``"not converged"``, ``"failed"``),
        ``message``, ``success``, ``loss``, ``chi2``, ``dof``, every parameter and element of the orbit of any of them with its
        ``_sigma`` (NaN where there is none), ``skewed`` (the parameters whose sigma will not do), ``folder``, ``seconds``
        and ``sting`` (its version). The same is in ``catalogue.ecsv``.

    Raises
    ------
    ValueError, TypeError, `~astropy.units.UnitsError`
        If a configuration is wrong: the message names the source, and nothing has been run.
    FileExistsError
        If a folder that would become a result folder holds something else.
    ImportError
        If ``distributed`` is not installed.
    KeyboardInterrupt
        After an interrupt; what was finished stays, and a second run goes on from there.

    Notes
    -----
    A survey file has a section ``[defaults]`` of entries for all sources, sections ``[source.NAME]`` on top of it, or the path of
    an ECSV or CSV ``table`` with a row for each source and columns such as ``name``, ``cube``, ``star`` and ``fixed.inc``, and
    ``output``, the folder.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> scene.cube.write("cube.fits")
    >>> config = {"cube": "cube.fits", "star": scene.star_position, "distance": scene.distance, "figures": False}
    >>> config |= {"cut": {"rms_thresh": 5}, "fit": {"optimizer": "lbfgs"}, "start": {"v_lsr": "7.4 km/s"}}
    >>> config["fixed"] = {name: value for name, value in scene.truth.items() if name != "v_lsr"}
    >>> from distributed import Client
    >>> with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
    ...     table = fit_many({"good": config, "bad": config | {"cube": "none.fits"}}, client, progress=False)
    >>> for row in table:
    ...     print(row["name"], row["status"], row["v_lsr"].round(1), row["message"][:17])
    good done 7.5 km / s
    bad failed nan km / s FileNotFoundError
    """
    sources, said = read_sources(configs)
    folder = Path("sting_survey" if folder is None and said is None else said if folder is None else folder)
    if figures not in (None, True, False):
        refuse("figures", "be True, False or None", repr(figures), "Leave it out to do what the configurations say.", TypeError)
    if n_workers is not None:
        check_whole("n_workers", n_workers, 1, 4)
    _check_client(client, n_workers)
    _check_folders(sources, folder)
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)
    rows = {source.name: finished_row(source, folder / source.name, figures) for source in sources}
    left = [source for source in sources if rows[source.name] is None]
    try:
        if left:
            with (
                _connected(client, min(n_workers or _cores(), len(left))) as connected,
                tqdm(total=len(sources), initial=len(sources) - len(left), unit="source", disable=not progress) as bar,
            ):
                for name, row in _run(connected, left, folder, figures):
                    rows[name] = row
                    bar.set_postfix(_counts(rows.values()), refresh=False)
                    bar.update()
    except KeyboardInterrupt:
        done = sum(row is not None for row in rows.values())
        raise KeyboardInterrupt(f"interrupted with {done} of {len(sources)} sources finished; run again to go on") from None
    finally:
        clean(folder)
        table = _catalogue(sources, rows, folder)
        with whole_file(folder / "catalogue.ecsv", overwrite=True) as file:
            table.write(file, format="ascii.ecsv")
    return table


def _check_folders(sources, folder):
    """Refuse folders that hold what is not of a survey, before anything is run."""
    outputs.check_folder(folder)
    for source in sources:
        place = folder / source.name
        taken = place.exists() and (not place.is_dir() or any(place.iterdir()))
        if taken and read_record(place) is None:
            rule = f"not exist yet (source {source.name!r})"
            refuse(
                "result folder",
                rule,
                f"{str(place)!r}, which is not of a survey",
                "Move it, or rename the source.",
                FileExistsError,
            )


def _counts(rows):
    """How many rows there are of each status but done."""
    seen = [row["status"] for row in rows if row is not None]
    return {status.replace(" ", "_"): seen.count(status) for status in ("not converged", "failed") if status in seen}


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _distributed():
    try:
        import distributed
    except ImportError as error:
        raise ImportError("a survey needs distributed: pip install '.[survey]' in the checkout of sting") from error
    return distributed


def _check_client(client, n_workers):
    distributed = _distributed()
    if not (client is None or isinstance(client, str | distributed.Client) or hasattr(client, "scheduler_address")):
        cure = "Leave it out for this machine."
        refuse("client", "be a Client, the address of a scheduler, or a cluster", repr(client), cure, TypeError)
    if client is not None and n_workers is not None:
        refuse("n_workers", "be left out with a client", n_workers, "The workers are those of the client.")


@contextmanager
def _connected(client, n_workers):
    """A client of whatever the user gave; what was started here is closed."""
    distributed = _distributed()
    if client is None:
        import dask

        one_each = {"n_workers": n_workers, "threads_per_worker": 1, "processes": True, "env": WORKER}
        quiet = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
        # a worker holds one source at a time: when it dies, no other one is to blame
        with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
            try:
                with _deaf_to_interrupts():
                    cluster = distributed.LocalCluster(**one_each, **quiet)
            except RuntimeError as error:
                hint = "a script needs `if __name__ == '__main__':` around its call of fit_many, for its workers read it too"
                raise RuntimeError(f"The workers did not start: {hint}.") from error
        with cluster, distributed.Client(cluster, set_as_default=False) as connected:
            yield connected
    elif isinstance(client, distributed.Client):
        yield client
    else:
        with distributed.Client(client, set_as_default=False) as connected:
            yield connected


@contextmanager
def _deaf_to_interrupts():
    """Processes that are started here inherit that they leave Ctrl-C to this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(client, sources, folder, figures):
    """Run sources and give the name and the row of each, as they end."""
    waiting, place = {}, folder.absolute()
    for first in range(0, len(sources), BATCH):
        batch = sources[first : first + BATCH]
        places = [str(place / source.name) for source in batch]
        # nothing is tried twice for an exception, which would come again; dask runs anew what died with its worker
        futures = client.map(run_source, batch, places, figures=figures, pure=False, retries=0)
        waiting |= dict(zip(futures, batch, strict=True))
    try:
        for future in _distributed().as_completed(list(waiting), loop=client.loop):
            source = waiting.pop(future)
            try:
                row = future.result()
            except Exception as error:  # the worker died again and again, or could not write
                row = _lost(source, place / source.name, figures, error)
            yield source.name, row
    finally:
        client.cancel(list(waiting))


def _lost(source, place, figures, error):
    """Row and result folder of a source whose worker could not make them."""
    row = {"name": source.name, **failure(error), "seconds": math.nan, "sting": ""}
    new = place.with_name(f".sting-{source.name}")
    try:
        new.mkdir()
        settle(new, place, {"row": row, "config": wanted(source, figures), "data": stamps(source), "warnings": []})
    except OSError:
        pass  # the row says it
    return row


def _catalogue(sources, rows, folder):
    """Catalogue of all sources in their order."""
    not_run = {"status": "not run", "message": ""}
    rows = [{"name": source.name} | (rows[source.name] or not_run) for source in sources]
    table = QTable()
    for name, blank in (("name", ""), ("status", ""), ("message", ""), ("success", False)):
        table[name] = [row.get(name, blank) for row in rows]
    for name in ("loss", "chi2", "dof"):
        table[name] = [float(row.get(name, math.nan)) for row in rows]
    seen = {name for row in rows for name in row.get("values", {})}
    for name in [name for name in (*PARAMETERS, *DERIVED) if name in seen and name not in (*table.colnames, "deltar")]:
        found = [row.get("values", {}).get(name) for row in rows]
        unit = u.Unit(next(entry[2] for entry in found if entry))
        description = PARAMETERS[name].description if name in PARAMETERS else DERIVED[name][2]
        for k, suffix in enumerate(("", "_sigma")):
            numbers = np.array([math.nan if entry is None else entry[k] for entry in found])
            if suffix and np.isnan(numbers).all():
                continue  # fixed in every source
            table[name + suffix] = numbers * unit
            table[name + suffix].info.description = description if not suffix else f"1 sigma of {name}"
    table["skewed"] = [row.get("skewed", "") for row in rows]
    table["folder"] = [str(folder / row["name"]) for row in rows]
    table["seconds"] = [row.get("seconds", math.nan) for row in rows] * u.s
    table["sting"] = [row.get("sting", "") for row in rows]
    for name, description in _DESCRIPTIONS.items():
        table[name].info.description = description
    return table
