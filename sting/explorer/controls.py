"""The controls of the explorer: what is always in sight, and the tabs."""

import html

import ipywidgets as widgets

from sting.explorer.binder import Binder
from sting.explorer.steering import model_tab
from sting.explorer.tabs import cut_tab, fit_tab, keep_tab, look_tab


class Controls(Binder):
    """All controls of an explorer.

    Parameters
    ----------
    state : `~sting.explorer.state.ExplorerState`
        What they steer.
    """

    def __init__(self, state):
        super().__init__(state)
        cut, self.draw = cut_tab(self)
        tabs = {"Cut": cut, "Model": model_tab(self), "Fit": fit_tab(self), "Look": look_tab(self), "Keep": keep_tab(self)}
        self.tabs = widgets.Tab(list(tabs.values()), titles=list(tabs), selected_index=1, layout={"width": "100%"})
        self.top = widgets.VBox([self._bar(), self._status()])
        self.channel_row = self._channel_row()
        self.refresh(None)

    def _bar(self):
        state = self.state

        def when_idle(condition=lambda: True):
            return lambda: condition() and not state.busy

        buttons = (
            ("undo", "Undo", state.undo, "undo", "Take back the last change", when_idle(lambda: state.can_undo)),
            ("redo", "Redo", state.redo, "repeat", "Take up again what was taken back", when_idle(lambda: state.can_redo)),
            ("reset", "Reset", state.reset, "fast-backward", "Back to where it began", when_idle()),
            ("auto", "Auto", state.auto, "magic", "Search for a start from the data", when_idle()),
            ("fit", "Fit", state.start_fit, "play", "Fit from the present values", when_idle()),
            ("stop", "Stop", state.stop_fit, "stop", "Stop; the best so far is kept", lambda: state.busy),
            ("resume", "Resume", state.resume_fit, "step-forward", "Go on where it was stopped", lambda: state.can_resume),
        )
        progress = widgets.FloatProgress(min=0.0, max=1.0, description="Progress", layout={"width": "170px"})
        progress.style.description_width = "60px"
        self.bind(progress, "progress", lambda: state.progress if state.busy else 0.0, topics={"fit"})
        bar = widgets.HBox([*(self.button(*parts) for parts in buttons), progress])
        bar.add_class("sting-bar")
        return bar

    def _status(self):
        def read():
            # read aloud when it changes
            return f'<div role="status">{html.escape(self.state.status)}</div>'

        return self.bind(widgets.HTML(layout=self.wide), "status", read, topics={"status", "cut"})

    def _channel_row(self):
        state, last = self.state, self.state.images.shape[0] - 1
        slider = widgets.IntSlider(min=0, max=max(last, 1), description="Channel", readout=False, layout={"width": "210px"})
        slider.style.description_width = "56px"
        player = widgets.Play(min=0, max=max(last, 1), interval=250, show_repeat=False, layout={"width": "110px"})

        def write(value):
            state.set_display(channel=min(value, last))

        return widgets.HBox(
            [
                self.bind(slider, "channel", lambda: state.display.channel, write, {"display.channel"}, tip="Channel of the map"),
                self.bind(
                    player, "play", lambda: state.display.channel, write, {"display.channel"}, tip="Run through the channels"
                ),
            ]
        )
