"""Tables of the explorer in HTML."""

import html
import math

from sting.derived import DERIVED
from sting.explorer.scales import unit_words
from sting.parameters import PARAMETERS

_SHOWN = {
    "rc": "rc",
    "periastron": "periastron",
    "landing_radius": "landing",
    "eccentricity": "eccentricity",
    "energy": "energy",
    "time_to_midplane": "infall time",
}


def readout(state):
    """Loss, its parts and the orbit of the present model, as a table."""
    comparison, n = state.comparison, 0 if state.streamer is None else 3 * len(state.streamer)
    observables = ("RA", "Dec", "velocity") if state.session.loss_method == 0 else ("radius", "angle", "velocity")
    left = [("loss", f"{comparison.loss:.5g}", f"/ {n}" if n else "no data")]
    left += [(f"chi2 {name}", f"{part:.4g}", "") for name, part in zip(observables, comparison.parts, strict=False)]
    left += [("priors", f"{comparison.parts[3]:.4g}", "")]
    right = []
    for name, words in _SHOWN.items():
        unit = unit_words(DERIVED[name][0])
        right.append((words, f"{comparison.orbit[name]:.4g}", unit))
    return f'<div class="sting-tables">{_table(left)}{_table(right)}</div>'


def _table(rows):
    return f"<table>{''.join(f'<tr>{_cells(*row)}</tr>' for row in rows)}</table>"


def _cells(words, number, unit):
    return f'<td>{html.escape(words)}</td><td class="sting-number">{number}</td><td>{html.escape(unit)}</td>'


def result_table(state):
    """The last fit: values with uncertainties once they are known, and in words what to know of it."""
    result = state.result
    if result is None:
        return "<p>No fit yet.</p>"
    # once the notes are made, in the fit's own thread
    known = "near_gaussian" in vars(result)
    errors = {n: sigma if result.near_gaussian[n] else None for n, sigma in result.param_errors.items()} if known else {}
    rows = "".join(
        f"<tr><td>{html.escape(PARAMETERS[name].label)}</td><td>{_value(value, errors.get(name))}</td>"
        f"<td>{html.escape(unit_words(value.unit))}</td></tr>"
        for name, value in result.best_opt_params.items()
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result.notes) if known else "<li>Uncertainties are computed.</li>"
    old = "" if state.is_fitted else "<p><b>Something was changed since this fit.</b></p>"
    words = html.escape(result.status if known else f"Smallest loss {result.loss:.6g} at epoch {result.best_epoch}.")
    return f"{old}<p>{words}</p><table><tr><th></th><th>best fit</th><th></th></tr>{rows}</table><ul>{notes}</ul>"


def _value(value, sigma):
    if sigma is None:
        return f"{value.value:.5g}"
    if not math.isfinite(sigma.value):
        return f"{value.value:.5g} &plusmn; unconstrained"
    return f"{value.value:.5g} &plusmn; {sigma.value:.2g}"
