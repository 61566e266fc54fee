"""The tab that steers the model: a slider, a text box and a switch for each parameter of the table, its bounds and its prior."""

import ipywidgets as widgets

from sting.explorer.scales import scale_of, shown, shown_pair, typed, typed_pair, unit_words
from sting.explorer.words import readout
from sting.parameters import PARAMETERS, ROTATIONS

#: Rows in the order in which they are shown; the rotation is stated by one of three parameters.
ROWS = ("r0", "theta0", "phi0", "v_r0", "rotation", "mass", "inc", "pa", "rmin", "v_lsr")

TOPICS = {"parameters"}


def model_tab(b):
    """Controls of the model.

    Parameters
    ----------
    b : `~sting.explorer.binder.Binder`
        What ties them to the state.

    Returns
    -------
    `ipywidgets.Widget`
    """
    state = b.state
    rotation = b.choice("rotation", "Rotation by", ROTATIONS[::-1], lambda: state.rotation, state.set_rotation, TOPICS)
    more = widgets.ToggleButton(description="Bounds, priors", tooltip="Show bounds and priors")
    more.add_class("sting-more")
    rows = [Row(b, name) for name in ROWS]

    def show_pairs(change):
        for row in rows:
            row.pairs.layout.display = "" if change["new"] else "none"

    more.observe(show_pairs, "value")
    show_pairs({"new": False})
    words = b.bind(widgets.HTML(layout=b.wide), "readout", lambda: readout(state), topics={"model", "cut", "options"})
    return widgets.VBox([widgets.HBox([rotation, more]), *(part for row in rows for part in (row.line, row.pairs)), words])


class Row:
    """Controls of one parameter.

    Parameters
    ----------
    b : `~sting.explorer.binder.Binder`
        What ties them to the state.
    row : str
        Name of the parameter, or ``"rotation"``.
    """

    def __init__(self, b, row):
        self.state, self.row = b.state, row
        self._scale = None, None
        self.line = widgets.HBox([self._slider(b), self._box(b), self._switch(b)])
        self.line.add_class("sting-parameter")
        self.pairs = widgets.HBox(
            [
                self._pair(b, "bounds", "bounds", ", ", self.state.set_bounds),
                self._pair(b, "priors", "prior", " +- ", self.state.set_prior),
            ]
        )
        self.pairs.add_class("sting-pair")

    @property
    def name(self):
        """Name of the parameter."""
        return self.state.rotation if self.row == "rotation" else self.row

    @property
    def parameter(self):
        """Its line in the table."""
        return PARAMETERS[self.name]

    @property
    def value(self):
        """Its value in the display unit, within one period."""
        p, value = self.parameter, self.state.session.values[self.name]
        # within bounds it keeps the turn that they have
        turned = p.period and self.name not in self.state.session.bounds
        return float(value % p.period if turned else value) * p.unit.to(p.display_unit)

    @property
    def scale(self):
        """What the slider's positions stand for: it stays until the value leaves it, so as not to jump under the hand."""
        p, bounds = self.parameter, self.state.session.bounds.get(self.name)
        if bounds is not None:
            bounds = tuple(bound * p.unit.to(p.display_unit) for bound in bounds)
        if self._scale[0] != (self.name, bounds) or not self._scale[1].holds(self.value):
            velocity = self.state.images.velocity
            span = (float(velocity.min()), float(velocity.max())) if self.row == "v_lsr" and len(velocity) > 1 else None
            self._scale = (self.name, bounds), scale_of(self.name, self.value, bounds, span)
        return self._scale[1]

    def _slide(self, position):
        self.state.set_value(self.name, self.scale.value(position) * self.parameter.display_unit)

    def _label(self):
        unit = unit_words(self.parameter.display_unit)
        return f"{self.parameter.label} ({unit})" if unit else self.parameter.label

    def _slider(self, b):
        slider = widgets.IntSlider(
            min=0, readout=False, layout={"width": "auto", "flex": "1 1 150px", "min_width": "0", "margin": "0"}
        )
        slider.style.description_width = "84px"
        b.bind(slider, f"label-{self.row}", self._label, topics=TOPICS, attribute="description")
        b.bind(slider, f"range-{self.row}", lambda: self.scale.n, topics=TOPICS, attribute="max")
        tip = self.parameter.description
        return b.bind(slider, f"slider-{self.row}", lambda: self.scale.position(self.value), self._slide, TOPICS, tip=tip)

    def _box(self, b):
        box = widgets.Text(continuous_update=False, layout={"width": "104px", "flex": "0 0 auto"})
        box.add_class("sting-hidden-label")
        b.bind(box, f"value-label-{self.row}", lambda: f"Value of {self._label()}", topics=TOPICS, attribute="description")

        def read():
            return shown(self.name, self.state.session.values[self.name])

        def write(text):
            self.state.set_parameters({self.name: typed(self.name, text)})

        return b.bind(box, f"value-{self.row}", read, write, TOPICS, tip="A number, or a number with its unit")

    def _switch(self, b):
        switch = widgets.Checkbox(description="free", indent=False, layout={"width": "54px", "flex": "0 0 auto"})

        def write(free):
            self.state.set_free(self.name, free)

        return b.bind(
            switch, f"free-{self.row}", lambda: self.name in self.state.session.free, write, TOPICS, tip="May a fit move it?"
        )

    def _pair(self, b, kind, words, separator, change):
        box = widgets.Text(description=words, continuous_update=False, layout=b.half)
        box.style.description_width = "52px"

        def read():
            return shown_pair(self.name, getattr(self.state.session, kind).get(self.name), separator)

        def write(text):
            change(self.name, typed_pair(self.name, text))

        tip = f"Two numbers, such as 10{separator}2; empty for none"
        return b.bind(box, f"{kind}-{self.row}", read, write, TOPICS, tip=tip)
