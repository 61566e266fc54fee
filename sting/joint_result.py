"""What a joint fit returns: the fit as a whole, and each of its streamers as if it were a fit of its own."""

import html
import io
import math
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.core.descent import Stop
from sting.core.likelihood import MODEL_PARAMETERS, N_PARTS, NAMED_PARAMETERS, JointSettings, Settings
from sting.errors import Uncertainties, estimate_uncertainties, sample_coordinates
from sting.files import existing_file, write_text
from sting.fit_result import _display, _plain
from sting.fit_words import plus_minus
from sting.messages import check_whole, in_float64, refuse, suggest
from sting.outcome import Outcome
from sting.parameters import PARAMETERS, ROTATIONS
from sting.streamer_fit import StreamerFit

__all__ = ["JointResult"]

#: What stands in place of the name of a streamer where all share a parameter.
SHARED = "shared"


@dataclass(frozen=True, eq=False)
class JointResult(Outcome):
    """Result of `~sting.joint.fit_jointly`.

    It unpacks as ``best_opt_params, loss_history, param_errors``; ``result["name"]`` is the fit of one streamer.

    Attributes
    ----------
    streamers : tuple of str
        Names of the streamers.
    shared : tuple of str
        The parameters that all streamers share.
    free : dict of tuple of str
        For each streamer its free parameters, as the user named them.
    fixed : dict of dict
        For each streamer its fixed parameters as Quantities.
    distance : `~astropy.units.Quantity`
        Distance of the star.
    x : `~numpy.ndarray`
        Best-fit optimiser coordinates, shape (n,).
    history : `~numpy.ndarray`
        One row for each epoch: loss, gradient norm, for each streamer chi2 of the three observables and penalty of the priors on
        its parameters, coordinates.
    stop : `sting.core.descent.Stop`
        Why the descent ended.
    problem, settings
        Data, supports and priors as the core takes them, and which program was run.
    """

    streamers: tuple
    shared: tuple
    free: dict
    fixed: dict
    distance: u.Quantity
    x: np.ndarray
    history: np.ndarray
    stop: Stop
    problem: dict
    settings: JointSettings

    def __iter__(self):
        return iter((self.best_opt_params, self.loss_history, self.param_errors))

    def __getitem__(self, streamer):
        if streamer not in self.fits:
            refuse("streamer", "be one of this fit", repr(streamer), suggest(streamer, self.streamers), KeyError)
        return self.fits[streamer]

    @cached_property
    def fits(self):
        """The fit of each streamer by its name, a dict of `~sting.streamer_fit.StreamerFit`."""
        return {streamer: self._fit_of(k) for k, streamer in enumerate(self.streamers)}

    def _fit_of(self, k):
        name = self.streamers[k]
        index = self.index_of(name)
        parts = self.history[:, 2 + N_PARTS * k : 2 + N_PARTS * (k + 1)]
        x = self.history[:, 2 + N_PARTS * len(self.streamers) :][:, index]
        history = np.column_stack([parts.sum(axis=1), self.history[:, 1], parts, x])
        stated = self.free[name], self.fixed[name], self.distance, self.x[index], history, self.stop
        return StreamerFit(*stated, self.problem["members"][k], self.settings.members[k], joint=self, streamer=name)

    def _label(self, name, streamer):
        return name if name in self.shared else f"{name} ({streamer})"

    def _labels(self, streamer, names):
        """Labels of parameters of the model, the rotation as the user stated it."""
        stated = next(n for n in (*self.free[streamer], *self.fixed[streamer]) if n in ROTATIONS)
        return [self._label(stated if name == "mu" else name, streamer) for name in names]

    @cached_property
    def _entries(self):
        """Parameter and streamers of each free parameter, by its label."""
        found = {}
        for name in dict.fromkeys(name for names in self.free.values() for name in names):
            for streamer in self.streamers:
                if name in self.free[streamer]:
                    found.setdefault(self._label(name, streamer), (name, streamer))
        return found

    @property
    def names(self):
        """The free parameters in the order of `covariance`; those of one streamer have its name in brackets."""
        return tuple(self._entries)

    @cached_property
    def uncertainties(self) -> Uncertainties:
        """The local picture of the loss, see `~sting.errors.Uncertainties`; its parameters are called by their labels."""
        coordinates = {}
        for streamer, index in zip(self.streamers, self.problem["index"], strict=True):
            coordinates |= dict(zip(index.tolist(), self._labels(streamer, MODEL_PARAMETERS), strict=True))
        named = [self._label(name, streamer) for streamer in self.streamers for name in NAMED_PARAMETERS]
        return estimate_uncertainties(self.x, self.problem, self.settings, ([coordinates[j] for j in sorted(coordinates)], named))

    def index_of(self, streamer):
        """Return which of the coordinates are those of a streamer.

        Parameters
        ----------
        streamer : str
            Its name.

        Returns
        -------
        `~numpy.ndarray` of int
            Shape (n_model,).
        """
        return self.problem["index"][self.streamers.index(streamer)]

    def uncertainties_of(self, streamer):
        """Return what the fit says of the parameters of a streamer.

        Parameters
        ----------
        streamer : str
            Its name.

        Returns
        -------
        `~sting.errors.Uncertainties`
        """
        first = len(NAMED_PARAMETERS) * self.streamers.index(streamer)
        coordinates = dict(zip(self._labels(streamer, MODEL_PARAMETERS), MODEL_PARAMETERS, strict=True))
        named = {name: self._label(name, streamer) for name in NAMED_PARAMETERS}
        return self.uncertainties.part(self.index_of(streamer), slice(first, first + len(named)), coordinates, named)

    def _nested(self, attribute):
        """What the fits of the streamers say of their free parameters: one value where it is shared, or a dict of streamers."""
        found = {}
        for name, streamer in self._entries.values():
            value = getattr(self.fits[streamer], attribute)[name]
            if name in self.shared:
                found[name] = value
            else:
                found.setdefault(name, {})[streamer] = value
        return found

    @property
    def best_opt_params(self):
        """Best-fit free parameters as Quantities in display units, one that is not shared as a dict of streamers."""
        return self._nested("best_opt_params")

    @property
    def param_errors(self):
        """1-sigma uncertainties of the free parameters, in the same form; infinite along a flat direction."""
        return self._nested("param_errors")

    @property
    def covariance(self):
        """Covariance of the free parameters in the order of ``names`` and in display units, shape (n_free, n_free)."""
        size, entries = len(NAMED_PARAMETERS), self._entries.values()
        rows = [size * self.streamers.index(streamer) + NAMED_PARAMETERS.index(name) for name, streamer in entries]
        factor = np.array([_display(name) for name, _ in entries])
        return self.uncertainties.covariance[np.ix_(rows, rows)] * np.outer(factor, factor)

    @property
    def chi2(self):
        """Sum of the squared residuals of all data at the best epoch, in units of their uncertainties."""
        return sum(fit.chi2 for fit in self.fits.values())

    @property
    def n_data(self):
        """Number of independent residuals: those of all points, counted as in a fit of one streamer, and one for each prior."""
        pairs = list(zip(self.problem["members"], self.problem["counted"], strict=True))
        # the priors of each, less those that another counts
        twice = sum(np.count_nonzero(member["prior"]["inverse_sigma"] * (1 - counted)) for member, counted in pairs)
        return sum(fit.n_data for fit in self.fits.values()) - int(twice)

    @property
    def n_free(self):
        """Number of parameters that the measurements determine: those that are free, less the exactly flat directions."""
        return len(self.names) - len(self.uncertainties.flat)

    @property
    def notes(self):
        """What the user should know of this fit, a list of sentences."""
        said = {}
        for streamer, fit in self.fits.items():
            for note in fit.notes_of_the_model():
                said.setdefault(note, []).append(streamer)
        # what holds for all of them comes last
        said = sorted(said.items(), key=lambda pair: len(pair[1]) == len(self.streamers))
        return self.uncertainties.notes() + [
            note if len(who) == len(self.streamers) else f"{', '.join(who)}: {note}" for note, who in said
        ]

    def to_table(self):
        """Return all parameters of all streamers as a table.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``parameter``, ``streamer`` (its name, or "shared"), ``value``, ``sigma`` (NaN for fixed ones), ``unit``,
            ``state`` (free, fixed) and ``description``.
        """
        rows = {}
        for state in ("free", "fixed"):
            for name in PARAMETERS:
                for streamer in self.streamers:
                    if name in getattr(self, state)[streamer]:
                        rows.setdefault(self._label(name, streamer), self._row(name, streamer, state))
        columns = ("parameter", "streamer", "value", "sigma", "unit", "state", "description")
        return QTable(rows=list(rows.values()), names=columns, meta={"loss": self.loss, "status": self.status})

    def _row(self, name, streamer, state):
        fit = self.fits[streamer]
        value = (fit.best_opt_params | fit.fixed_params)[name]
        sigma = fit.param_errors[name].value if state == "free" else math.nan
        whose = SHARED if name in self.shared else streamer
        return name, whose, float(value.value), float(sigma), value.unit.to_string(), state, PARAMETERS[name].description

    def sample(self, n, *, seed=None):
        """Draw parameter sets from the covariance.

        Parameters
        ----------
        n : int
            Number of draws.
        seed : int, optional
            Seed; the same in the fits of the streamers gives the same sets.

        Returns
        -------
        `~astropy.table.QTable`
            One column for each free parameter, by its label, n rows, every row within supports and bounds.
        """
        drawn = {streamer: fit.sample(n, seed=seed) for streamer, fit in self.fits.items()}
        return QTable({label: drawn[streamer][name] for label, (name, streamer) in self._entries.items()})

    @in_float64
    def draw_coordinates(self, n, seed):
        """Draw optimiser coordinates from the covariance.

        Parameters
        ----------
        n : int
            Number of draws.
        seed : int or None
            Seed.

        Returns
        -------
        `~numpy.ndarray`
            Shape (n, n_coordinates).
        """
        return sample_coordinates(self.x, self.uncertainties.coordinate_covariance, check_whole("n", n, 1, 100), seed)

    def _lines(self):
        """Label and value of each parameter, as text."""
        for row in self.to_table():
            unit = u.Unit(row["unit"])
            sigma = row["sigma"] * unit if row["state"] == "free" else None
            yield row, plus_minus(row["value"] * unit, sigma) + ("" if row["state"] == "free" else " (fixed)")

    def __repr__(self):
        lines = [(self._label(*row["parameter", "streamer"]), row["state"], text) for row, text in self._lines()]
        free = ", ".join(f"{label} = {text}" for label, state, text in lines if state == "free")
        return f"<JointResult of {', '.join(self.streamers)}: loss {self.loss:.5g}; {free}>"

    def summary(self):
        """Return the fit in words, as text; that of one streamer, with its orbit, is ``result["name"].summary()``.

        Returns
        -------
        str
        """
        lines = [self.status, self.goodness(), ""]
        lines += [f"  {name}: chi2 {fit.chi2:.5g} of {len(fit.problem['points'])} points" for name, fit in self.fits.items()]
        width = max(map(len, (SHARED, *self.streamers)))
        lines += ["", *(f"  {row['parameter']:<8} {row['streamer']:<{width}} {text}" for row, text in self._lines())]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])

    def __str__(self):
        return self.summary()

    def _repr_html_(self):
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in (*row["parameter", "streamer"], text)) + "</tr>"
            for row, text in self._lines()
        )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        header = "<tr><th>parameter</th><th>streamer</th><th>value</th></tr>"
        return f"<p>{html.escape(self.status)}</p><table>{header}{rows}</table><ul>{notes}</ul>"

    def write(self, path, *, overwrite=False):
        """Write the result as ECSV, whole: `read` gives back a result that can do all that this one can.

        Parameters
        ----------
        path : str or path-like
            File to write; its folder must exist. The file appears at once or not at all.
        overwrite : bool, optional
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        """
        write_text(path, self.to_text(), overwrite=overwrite)

    def to_text(self):
        """Return what `write` writes.

        Returns
        -------
        str
        """
        table = self.to_table()
        table.meta["joint_fit"] = _plain(
            {
                "streamers": self.streamers,
                "shared": self.shared,
                "free": self.free,
                "fixed": {
                    s: {n: [float(v.value), v.unit.to_string()] for n, v in part.items()} for s, part in self.fixed.items()
                },
                "distance_pc": self.distance.to_value(u.pc),
                "x": self.x,
                "history": self.history,
                "stop": int(self.stop),
                "problem": self.problem,
                "settings": [one._asdict() for one in self.settings.members],
                "model_parameters": MODEL_PARAMETERS,
            }
        )
        text = io.StringIO()
        table.write(text, format="ascii.ecsv")
        return text.getvalue()

    @classmethod
    def read(cls, path):
        """Read a result that `write` wrote.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        `JointResult`

        Raises
        ------
        ValueError
            If the file is not one that `write` wrote.
        """
        path = existing_file("path", path)
        try:
            return cls.from_text(path.read_text(encoding="utf-8"))
        except Exception as error:
            refuse("path", "be a fit written by JointResult.write", f"{str(path)!r} ({error})", "Choose its best_fit.ecsv.")

    @classmethod
    def from_text(cls, text):
        """Make a result again from what `to_text` returned.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        `JointResult`
        """
        meta = QTable.read(text.splitlines(), format="ascii.ecsv").meta["joint_fit"]
        streamers = tuple(meta["streamers"])
        fixed = {s: {n: value * u.Unit(unit) for n, (value, unit) in meta["fixed"][s].items()} for s in streamers}
        return cls(
            streamers=streamers,
            shared=tuple(meta["shared"]),
            free={s: tuple(meta["free"][s]) for s in streamers},
            fixed=fixed,
            distance=meta["distance_pc"] * u.pc,
            x=np.array(meta["x"]),
            history=np.array(meta["history"], dtype=float),
            stop=Stop(meta["stop"]),
            problem=_problem_of(meta["problem"]),
            settings=JointSettings(tuple(Settings(**one) for one in meta["settings"])),
        )


def _problem_of(kept):
    """The joint problem out of plain lists."""

    def arrays(tree):
        return jax.tree.map(np.asarray, tree, is_leaf=lambda leaf: isinstance(leaf, list))

    plain = {key: arrays(kept[key]) for key in ("support", "free")}
    return plain | {key: tuple(map(arrays, kept[key])) for key in ("members", "index", "counted")}
