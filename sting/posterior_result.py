"""Draws from a posterior: their intervals, whether they can be trusted, and the ways to look at them and keep them."""

import html
import io
import math
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
from astropy import units as u
from astropy.table import QTable

from sting.core.likelihood import MODEL_PARAMETERS, NAMED_PARAMETERS, Settings
from sting.derived_draws import derived_of_draws, interval_table, rate_of_draws, rate_profile_of_draws
from sting.diagnostics import convergence, unwind
from sting.evaluations import curves_of, losses_of, named_of
from sting.files import existing_file, write_text
from sting.fit_result import _plain
from sting.messages import check_whole, in_float64, named_keywords, refuse
from sting.parameters import PARAMETERS, to_quantity
from sting.stream_lines_grad import streamline

__all__ = ["Posterior"]

#: Where the chains are taken for the posterior: Vehtari et al. (2021) ask for this r-hat and this many effective draws.
LARGEST_R_HAT, FEWEST_EFFECTIVE = 1.01, 400

#: Share of diverging draws above which the user is told.
MOST_DIVERGING = 1e-3

#: Share of the range next to a limit, and share of the draws in it from which the limit is felt.
EDGE, FELT = 0.05, 0.02

#: Probability of an interval of one sigma.
LEVEL = 0.6827


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws from the posterior of a fit, what `sample` returns.

    Attributes
    ----------
    names : tuple of str
        The free parameters as the user named them.
    fixed_params : dict
        The fixed ones as Quantities.
    distance : `~astropy.units.Quantity`
        Distance of the star.
    values : `~numpy.ndarray`
        The draws in internal units, shape (n_chains, n_samples, n_model).
    log_density : `~numpy.ndarray`
        Logarithm of the density, up to a constant, in the sampler's coordinates, shape (n_chains, n_samples).
    diverging : `~numpy.ndarray` of bool
        Draws at which a trajectory diverged, shape (n_chains, n_samples).
    limits : dict
        Limits that were set on what nothing bounded, Quantities.
    problem, settings
        Data and priors as the core takes them, and which program was run.
    """

    names: tuple
    fixed_params: dict
    distance: u.Quantity
    values: np.ndarray
    log_density: np.ndarray
    diverging: np.ndarray
    limits: dict
    problem: dict
    settings: Settings

    @cached_property
    @in_float64
    def _named(self):
        """Internal values of all named parameters, shape (n_chains, n_samples, n_named); angles about their circular mean."""
        shape = self.values.shape
        named = named_of(self.flat, self.problem, self.settings).reshape(*shape[:2], -1)
        for i, name in enumerate(NAMED_PARAMETERS):
            period = PARAMETERS[name].period
            if period:
                named[..., i] = unwind(named[..., i], period)
        return named

    @property
    def flat(self):
        """The draws of all chains, one after the other, shape (n_chains * n_samples, n_model)."""
        return self.values.reshape(-1, self.values.shape[-1])

    def chains(self, name):
        """Return the draws of one named parameter (free or not, also rc, omega and mu), chain by chain.

        Parameters
        ----------
        name : str
            The parameter.

        Returns
        -------
        `~numpy.ndarray`
            In display units, shape (n_chains, n_samples); angles that go round are counted on from their mean direction.
        """
        p = PARAMETERS[name]
        return self._named[..., NAMED_PARAMETERS.index(name)] * p.unit.to(p.display_unit)

    def __len__(self):
        return self.values.shape[0] * self.values.shape[1]

    @property
    def samples(self):
        """All draws, chain after chain: a `~astropy.table.QTable` with a column for each free parameter."""
        return QTable({n: to_quantity(n, self._named[..., NAMED_PARAMETERS.index(n)].ravel()) for n in self.names})

    @cached_property
    def convergence(self):
        """Convergence (r-hat and effective sample size) of each free parameter (Vehtari et al. 2021, doi:10.1214/20-BA1221)."""
        return {name: convergence(self.chains(name)) for name in self.names}

    @property
    def n_divergent(self):
        """Number of draws at which a trajectory diverged."""
        return int(self.diverging.sum())

    @property
    def success(self):
        """Whether the chains agree, are long enough, and did not diverge."""
        return not self.complaints

    @cached_property
    def complaints(self):
        """What is wrong with the draws, a list of sentences; empty where they can be trusted."""
        bad = [n for n, (r_hat, _) in self.convergence.items() if not r_hat < LARGEST_R_HAT]
        few = [n for n, (_, ess) in self.convergence.items() if not ess > FEWEST_EFFECTIVE]
        complaints = []
        if bad:
            worst = max(self.convergence[n][0] for n in bad)
            complaints.append(
                f"The chains do not agree: r-hat is up to {worst:.3f}, not below {LARGEST_R_HAT}, for {', '.join(bad)}. Run "
                "longer (n_warmup, n_samples); if that does not help there are several minima, or nothing bounds a parameter."
            )
        if few:
            least = min(self.convergence[n][1] for n in few)
            complaints.append(
                f"Too few independent draws: {least:.0f}, not over {FEWEST_EFFECTIVE}, for {', '.join(few)}. Raise n_samples."
            )
        if self.n_divergent > MOST_DIVERGING * len(self):
            complaints.append(
                f"{self.n_divergent} of {len(self)} draws diverged: a corner of the posterior may be left out. "
                "Raise target_accept."
            )
        return complaints

    @property
    def notes(self):
        """What the user should know of these draws, a list of sentences."""
        notes = list(self.complaints)
        for name, limit in self.limits.items():
            text = f"{name} had neither an upper bound nor a prior: it was drawn below {limit:.4g}."
            draws, top = self.chains(name), limit.value
            if np.mean(draws > (1 - EDGE) * top) > FELT:
                text += (
                    " The draws reach that limit, so the data do not bound it: state what you know in param_bounds or a prior."
                )
            notes.append(text)
        return notes

    @property
    def status(self):
        """How well the chains have converged, in a sentence."""
        r_hat, ess = np.transpose(list(self.convergence.values()))
        chains, n = self.values.shape[:2]
        return (
            f"{chains} chains of {n} draws; r-hat at most {r_hat.max():.4f}, effective sample size at least {ess.min():.0f}, "
            f"{self.n_divergent} divergent."
        )

    @named_keywords
    def to_table(self, *, level=LEVEL):
        """Return median and credible interval of each free parameter.

        Parameters
        ----------
        level : float, optional
            Probability of the interval, which leaves equal parts on both sides.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``parameter``, ``median``, ``lower``, ``upper``, ``mean``, ``sigma`` (standard deviation), ``unit``,
            ``r_hat``, ``ess`` and ``description``. Angles that go round are counted on from their mean direction.
        """
        table = interval_table({name: self.chains(name).ravel() for name in self.names}, level)
        table["unit"] = [PARAMETERS[name].display_unit.to_string() for name in self.names]
        table["r_hat"], table["ess"] = np.transpose(list(self.convergence.values()))
        table["description"] = [PARAMETERS[name].description for name in self.names]
        table.rename_column("name", "parameter")
        table.meta = {"status": self.status, "level": level}
        return table

    @property
    def covariance(self):
        """Covariance of the draws in the order of ``names`` and in display units, shape (n_free, n_free)."""
        return np.atleast_2d(np.cov([self.chains(name).ravel() for name in self.names]))

    @named_keywords
    @in_float64
    def derived(self, *, level=LEVEL):
        """Return median and credible interval of the elements of the orbit.

        Parameters
        ----------
        level : float, optional
            Probability of the interval.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``quantity``, ``median``, ``lower``, ``upper``, ``mean``, ``sigma``, ``unit``, ``any_axis`` and
            ``description``, as `FitResult.derived` has them; ``meta`` says how probable a ``bound`` orbit is, and what depends on
            the ``axis``.
        """
        return derived_of_draws(self, level)

    @named_keywords
    @in_float64
    def infall_rate(self, mass, mass_sigma=None, *, to="rc", level=LEVEL):
        """Return the mass infall rate of the streamer, see `FitResult.infall_rate`.

        Parameters
        ----------
        mass : `~astropy.units.Quantity`
            Mass of the streamer.
        mass_sigma : `~astropy.units.Quantity`, optional
            Its uncertainty, taken as normal and cut at zero.
        to : {"rc", "midplane", "periastron"}, optional
            Where the fall, from r0, ends.
        level : float, optional
            Probability of the intervals.

        Returns
        -------
        `~astropy.table.QTable`
            One row: ``outer``, ``inner``, ``mass``, and medians and intervals of ``time`` and ``rate`` (``time_lower``, ...).
        """
        return rate_of_draws(self, mass, mass_sigma, to, level)

    @named_keywords
    @in_float64
    def infall_rate_profile(self, edges, mass, mass_sigma=None, *, level=LEVEL):
        """Return the mass infall rate along the streamer, see `FitResult.infall_rate_profile`.

        Parameters
        ----------
        edges : `~astropy.units.Quantity`
            Edges of the bins, shape (n + 1,): distances from the star in space.
        mass : `~astropy.units.Quantity`
            Mass in each bin, or for each unit of ``edges``, shape (n,).
        mass_sigma : `~astropy.units.Quantity`, optional
            Its uncertainty, of the same kind.
        level : float, optional
            Probability of the intervals.

        Returns
        -------
        `~astropy.table.QTable`
            A row for each bin; ``fraction`` says how many of the draws reach both of its edges.
        """
        return rate_profile_of_draws(self, edges, mass, mass_sigma, level)

    def _rows(self, n, seed):
        n = check_whole("n", n, 1, 100)
        return self.flat[np.random.default_rng(seed).integers(len(self), size=n)]

    @in_float64
    def sample(self, n, *, seed=None):
        """Return ``n`` of the draws, chosen at random, as `FitResult.sample` does.

        Parameters
        ----------
        n : int
            Number of parameter sets.
        seed : int, optional
            Seed.

        Returns
        -------
        `~astropy.table.QTable`
        """
        named = named_of(self._rows(n, seed), self.problem, self.settings)
        return QTable({name: to_quantity(name, named[:, NAMED_PARAMETERS.index(name)]) for name in self.names})

    @in_float64
    def sample_streamlines(self, n, *, n_points=200, seed=None):
        """Return posterior predictive streamlines.

        Parameters
        ----------
        n : int
            Number of streamlines.
        n_points : int, optional
            Number of points of each.
        seed : int, optional
            Seed; the same as in `sample` gives the same parameter sets.

        Returns
        -------
        ra, dec, velocity : `~astropy.units.Quantity`
            Each of shape (n, n_points).
        """
        curves = curves_of(self._rows(n, seed), self.problem, self.settings, n_points)
        return curves[..., 0] * u.arcsec, curves[..., 1] * u.arcsec, curves[..., 2] * u.km / u.s

    @property
    def best_opt_params(self):
        """The free parameters of the draw of the smallest loss, Quantities: a set of parameters that belong together."""
        best = np.unravel_index(np.argmin(self.losses), self.losses.shape)
        return {name: to_quantity(name, self._named[(*best, NAMED_PARAMETERS.index(name))]) for name in self.names}

    @cached_property
    @in_float64
    def losses(self):
        """Loss (chi2 plus priors) of each draw, shape (n_chains, n_samples)."""
        return np.asarray(losses_of(self.flat, self.problem, self.settings)).reshape(self.values.shape[:2])

    def streamline(self, n_points=200):
        """Return the streamline of the draw of the smallest loss.

        Parameters
        ----------
        n_points : int, optional
            Number of points.

        Returns
        -------
        `~sting.stream_lines_grad.Streamline`
        """
        return streamline(self.best_opt_params | self.fixed_params, distance=self.distance, n_points=n_points)

    def __repr__(self):
        return f"<Posterior: {self.status}>"

    def summary(self):
        """Return the posterior in words and tables, as text.

        Returns
        -------
        str
        """
        lines = [self.status, ""]
        for row in self.to_table():
            lines.append(f"  {row['parameter']:<20} {_interval_words(row)}")
        lines += [f"  {n:<20} {v:.6g} (fixed)" for n, v in self.fixed_params.items()]
        lines += ["", "The orbit, the same for every rotation axis that fits as well (*), or for this one:"]
        derived = self.derived()
        for row in derived:
            lines.append(f"{'*' if row['any_axis'] else ' ':>2}{row['quantity']:<20} {_interval_words(row)}")
        lines += ["", derived.meta["bound"], derived.meta["axis"].replace("Rows with any_axis False", "Those without *")]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])

    def __str__(self):
        return self.summary()

    def _repr_html_(self):
        rows = "".join(
            f"<tr><td>{row['parameter']}</td><td>{html.escape(_interval_words(row))}</td>"
            f"<td>{row['r_hat']:.3f}</td><td>{row['ess']:.0f}</td><td>{html.escape(row['description'])}</td></tr>"
            for row in self.to_table()
        )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        header = "<tr><th>parameter</th><th>median and interval</th><th>r-hat</th><th>ess</th><th></th></tr>"
        return f"<p>{html.escape(self.status)}</p><table>{header}{rows}</table><ul>{notes}</ul>"

    @named_keywords
    def write(self, path, *, overwrite=False):
        """Write the draws as ECSV, whole: `read` gives back a posterior that can do all that this one can.

        The file is one table with a row for each draw: its chain, whether it diverged, the free parameters in display units, and
        the values of the model in internal units.

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
        n_chains, n = self.diverging.shape
        columns = {"chain": np.repeat(np.arange(n_chains), n), "diverging": self.diverging.ravel()}
        columns |= {name: self.samples[name] for name in self.names} | {"log_density": self.log_density.ravel()}
        columns |= {f"model_{name}": self.flat[:, i] for i, name in enumerate(MODEL_PARAMETERS)}
        kept = {
            "names": self.names,
            "fixed_params": _with_units(self.fixed_params),
            "limits": _with_units(self.limits),
            "distance_pc": self.distance.to_value(u.pc),
            "problem": self.problem,
            "settings": self.settings._asdict(),
        }
        text = io.StringIO()
        QTable(columns, meta={"status": self.status, "posterior": _plain(kept)}).write(text, format="ascii.ecsv")
        write_text(path, text.getvalue(), overwrite=overwrite)

    @classmethod
    def read(cls, path):
        """Read draws that `write` wrote.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        `Posterior`

        Raises
        ------
        ValueError
            If the file is not one that `write` wrote.
        """
        path = existing_file("path", path)
        try:
            return cls._of_table(QTable.read(path, format="ascii.ecsv"))
        except Exception as error:
            refuse("path", "be draws written by Posterior.write", f"{str(path)!r} ({error})", "Choose such a file.")

    @classmethod
    def _of_table(cls, table):
        meta, n_chains = table.meta["posterior"], int(table["chain"].max()) + 1
        values = np.transpose([np.asarray(table[f"model_{name}"]) for name in MODEL_PARAMETERS])
        return cls(
            names=tuple(meta["names"]),
            fixed_params=_of_units(meta["fixed_params"]),
            distance=meta["distance_pc"] * u.pc,
            values=values.reshape(n_chains, -1, values.shape[1]),
            log_density=np.asarray(table["log_density"]).reshape(n_chains, -1),
            diverging=np.asarray(table["diverging"]).reshape(n_chains, -1),
            limits=_of_units(meta["limits"]),
            problem=jax.tree.map(np.asarray, meta["problem"], is_leaf=lambda leaf: isinstance(leaf, list)),
            settings=Settings(**meta["settings"]),
        )


def _with_units(quantities):
    # a list, since YAML sorts the keys of a dict
    return [[name, float(value.value), value.unit.to_string()] for name, value in quantities.items()]


def _of_units(kept):
    return {name: value * u.Unit(unit) for name, value, unit in kept}


def _interval_words(row):
    """Median and the way to both ends of the interval, with as many digits as the shorter one warrants."""
    median, up, down = row["median"], row["upper"] - row["median"], row["median"] - row["lower"]
    unit = f" {row['unit']}" if row["unit"] else ""
    short = min(up, down)
    digits = 1 - math.floor(math.log10(short)) if short > 0 else 9
    if abs(digits) > 6:
        return f"{median:.4g} +{up:.2g} -{down:.2g}{unit}"
    digits = max(digits, 0)
    return f"{median:.{digits}f} +{up:.{digits}f} -{down:.{digits}f}{unit}"
