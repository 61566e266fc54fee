"""A descent step by step, whatever it fits: its snapshots, its progress bar, and how it is stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import numpy as np
from tqdm.auto import tqdm

from sting.core.descent import Stop, run_chunk, start
from sting.evaluations import prepare
from sting.messages import in_float64
from sting.outcome import Outcome

__all__ = ["Snapshot"]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """State of a descent between two chunks of epochs.

    Attributes
    ----------
    epoch : int
        Epochs done.
    n_epochs : int
        Epochs at the most.
    loss : float
        Loss of the last epoch.
    best_loss : float
        Smallest loss so far.
    losses : `~numpy.ndarray`
        Loss at each of the epochs since the snapshot before.
    """

    epoch: int
    n_epochs: int
    loss: float
    best_loss: float
    losses: np.ndarray
    _make_result: Callable[[], Outcome]

    @cached_property
    def result(self):
        """The fit if it were stopped here, its result, which is made when asked for."""
        return self._make_result()


def descend(x, problem, options, settings, make_result):
    """Run a descent: a generator that yields a `Snapshot` every 50 epochs and after the last one.

    ``make_result`` makes the result of ``x``, ``history`` and ``stop``.
    """
    prepare(x, problem, settings)
    # between two steps the caller's own code runs, in its own precision: each step enters float64 by itself
    step = in_float64(lambda state: jax.device_get(run_chunk(state, problem, options, settings)))
    # the start as plain arrays, like the states that follow: one program, and one entry in its cache
    state, rows = in_float64(lambda: jax.device_get(start(x, options, settings)))(), []
    while int(state["stop"]) == Stop.RUNNING:
        state, new = step(state)
        rows.append(new[np.isfinite(new).any(axis=1)])
        losses = rows[-1][:, 0]
        yield Snapshot(
            epoch=int(state["epoch"]) - 1,
            n_epochs=int(options["n_epochs"]),
            loss=float(losses[-1]),
            best_loss=float(state["best"]["loss"]),
            losses=losses,
            _make_result=partial(_result_of, make_result, state, tuple(rows)),
        )


def _result_of(make_result, state, rows):
    stop = Stop(int(state["stop"])) or Stop.BY_CALLER
    return make_result(x=state["best"]["x"], history=np.concatenate(rows), stop=stop)


def exhaust(steps, n_epochs, progress, callback):
    """Exhaust the steps of a fit with a progress bar; the first one, which compiles, is announced."""
    with tqdm(total=n_epochs, unit="epoch", desc="compiling", disable=not progress, leave=True) as bar:
        for snapshot in steps:
            bar.set_description("fitting", refresh=False)
            bar.set_postfix(loss=f"{snapshot.best_loss:.5g}", refresh=False)
            bar.update(snapshot.epoch - bar.n)
            if callback is not None and callback(snapshot):
                break
    return snapshot.result
