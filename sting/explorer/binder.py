"""How a control is tied to the state: it shows one thing of it, changes it, and holds nothing itself."""

import contextlib

import ipywidgets as widgets


class Binder:
    """Ties controls to a state.

    Parameters
    ----------
    state : `~sting.explorer.state.ExplorerState`
        The state.
    """

    def __init__(self, state):
        self.state = state
        self.updating, self.refused = False, ""
        self._shows = []
        # shared: every layout is a model of its own in the browser
        self.wide = widgets.Layout(width="auto", flex="1 1 auto", min_width="120px")
        self.full = widgets.Layout(width="100%", margin="2px 0")
        self.half = widgets.Layout(width="50%", min_width="0", margin="2px 0")

    def act(self, function, *args, **kwargs):
        """Do something to the state; what it refuses stands in the status line, and the controls go back to what holds."""
        with self.state.lock:
            try:
                function(*args, **kwargs)
            except Exception as error:  # whatever it is, the user must see it, and nothing else shows it
                self.refused = str(error)
                self.state.say(self.refused)
                self.refresh(None)
            else:
                # a refusal stands until something succeeds
                if self.refused and self.state.status == self.refused:
                    self.state.say("")

    def refresh(self, topics):
        """Show the state; ``topics`` says what changed, None stands for everything."""
        with self.unheard():
            for wanted, show in self._shows:
                if topics is None or wanted & topics:
                    show()

    def when(self, topics, show):
        """Have ``show`` called when one of ``topics`` changes."""
        self._shows.append((set(topics), show))

    @contextlib.contextmanager
    def unheard(self):
        """Change widgets without their changes being taken for the user's."""
        with self.state.lock:
            before, self.updating = self.updating, True
            try:
                yield
            finally:
                self.updating = before

    def bind(self, widget, name, read=None, write=None, topics=(), attribute="value", tip=""):
        """Give a widget its class name, what it shows of the state, and what its change does."""
        widget.add_class(f"sting-{name}")
        if tip:
            widget.tooltip = tip
        if read is not None:

            def show():
                value = read()
                if getattr(widget, attribute) != value:
                    setattr(widget, attribute, value)

            self.when(topics, show)
        if write is not None:

            def on_change(change):
                # the state is the truth: what it shows already is no event
                with self.state.lock:
                    if not self.updating and (read is None or change["new"] != read()):
                        self.act(write, change["new"])

            widget.observe(on_change, attribute)
        return widget

    def button(self, name, words, function, icon="", tip="", enabled=None, topics=("fit", "parameters", "cut", "options")):
        """A button; ``enabled`` says when it can be pressed."""
        button = widgets.Button(description=words, icon=icon, tooltip=tip or words, layout=widgets.Layout(width="auto"))
        button.on_click(lambda _: self.act(function))
        button.add_class(f"sting-{name}")
        if enabled is not None:
            self.when({*topics, "result", "status"}, lambda: setattr(button, "disabled", not enabled()))
        return button

    def text(self, name, words, read, write, topics, tip=""):
        """A text box of half the width, taken up when it is left or by Enter."""
        box = widgets.Text(description=words, continuous_update=False, layout=self.half)
        box.style.description_width = "74px"
        return self.bind(box, name, read, write, topics, tip=tip)

    def whole(self, name, words, read, write, topics, low=1):
        """A box for a whole number."""
        box = widgets.BoundedIntText(min=low, max=10_000_000, description=words, layout=self.half)
        box.style.description_width = "74px"
        return self.bind(box, name, read, write, topics)

    def choice(self, name, words, options, read, write, topics, tip=""):
        """A menu."""
        box = widgets.Dropdown(options=options, description=words, layout=self.full)
        box.style.description_width = "84px"
        return self.bind(box, name, read, write, topics, tip=tip)
