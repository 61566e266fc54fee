"""The explorer's widget: panels on ipympl canvases, the live layer above them, and the controls."""

from pathlib import Path

import ipywidgets as widgets

from sting.explorer.canvas import PanelCanvas
from sting.explorer.controls import Controls
from sting.explorer.panels import PANELS
from sting.explorer.sketch import Sketch

try:
    from sting.explorer.layer import LiveLayer
except ImportError:  # without anywidget the lines are drawn into the pictures
    LiveLayer = None


class NotebookView:
    """Shows a state and lets the user change it.

    Parameters
    ----------
    state : `~sting.explorer.state.ExplorerState`
        What is shown.
    live : bool, optional
        Whether the browser draws the moving lines; if not, they are drawn into the pictures.
    """

    def __init__(self, state, live=True):
        self.state = state
        with state.lock:
            self.panels = {panel.name: panel(state) for panel in PANELS}
            self.controls = Controls(state)
            self.canvases = {name: PanelCanvas(panel, state.lock) for name, panel in self.panels.items()}
            for name, canvas in self.canvases.items():
                canvas.footer_visible = name in ("map", "moment")
            self.layer = LiveLayer() if live and LiveLayer is not None else None
            self._sketch = None
            self._connect()
            self.widget = self._lay_out()
        state.observe(self._on_state)

    def _lay_out(self):
        boxes = []
        for name, canvas in self.canvases.items():
            below = [self.controls.channel_row] if name == "map" else []
            box = widgets.VBox([canvas, *below])
            box.add_class("sting-panel")
            box.add_class(f"sting-panel-{name}")
            boxes.append(box)
        figures, side = widgets.Box(boxes), widgets.VBox([self.controls.tabs])
        figures.add_class("sting-figures")
        side.add_class("sting-side")
        main = widgets.Box([figures, side])
        main.add_class("sting-main")
        style = widgets.HTML(f"<style>{Path(__file__).with_name('explorer.css').read_text(encoding='utf-8')}</style>")
        layer = [] if self.layer is None else [self.layer]
        root = widgets.VBox([style, self.controls.top, main, *layer])
        root.add_class("sting-explorer")
        return root

    def _connect(self):
        for name, canvas in self.canvases.items():
            # a zoom, a turn or a resize moves the lines as well
            canvas.mpl_connect("draw_event", lambda event, name=name: self._on_draw(event, name))
        for name in ("map", "moment"):
            canvas = self.canvases[name]
            canvas.mpl_connect("motion_notify_event", self._on_motion)
            canvas.mpl_connect("button_press_event", self._on_press)
            canvas.mpl_connect("button_release_event", self._on_release)
        self.controls.draw.observe(self._on_draw_choice, "value")
        if self.layer is not None:
            self.layer.observe(self._on_attached, "attached")
            self.layer.draw(self.panels.values())

    # -- the live lines ---------------------------------------------------------------------------------------------------

    @property
    def is_live(self):
        """Whether the browser draws the live lines."""
        return self.layer is not None and self.layer.attached > 0

    def _on_attached(self, _):
        """The browser found all panels: from now on their pictures are drawn without the lines (saved ones keep them)."""
        with self.state.lock:
            for name, panel in self.panels.items():
                for line in panel.live:
                    line.set_animated(self.is_live)
                self.canvases[name].draw_unasked()
            self._send_lines()

    def _on_draw(self, event, name):
        canvas = self.canvases[name]
        if not canvas.is_saving():
            self._send_lines()

    def _send_lines(self, moved=None):
        if self.layer is not None:
            self.layer.draw(self.panels.values(), moved)

    # -- the state changes ------------------------------------------------------------------------------------------------

    def _on_state(self, topics):
        with self.state.lock:
            all_moved = set()
            for name, panel in self.panels.items():
                redraw, moved = panel.notice(topics)
                if moved:
                    all_moved.add(name)
                if redraw or (moved and not self.is_live):
                    self.canvases[name].draw_idle()
            if all_moved:
                self._send_lines(all_moved)
            self.controls.refresh(topics)

    # -- the mouse --------------------------------------------------------------------------------------------------------

    def _panel_of(self, event):
        return next((p for p in (self.panels["map"], self.panels["moment"]) if event.inaxes is p.ax), None)

    def _on_motion(self, event):
        panel = self._panel_of(event)
        if panel is None:
            return
        if self._sketch is not None:
            if self._sketch.move((event.xdata, event.ydata)):
                self._show_sketch()
            return
        pixel = self.state.images.pixel_at(event.xdata, event.ydata)
        if pixel is not None and not event.canvas.toolbar.mode:
            self.state.set_display(pixel=pixel)

    def _on_press(self, event):
        panel = self._panel_of(event)
        if panel is None or event.button != 1:
            return
        if self._sketch is not None:
            complete = self._sketch.press((event.xdata, event.ydata), event.dblclick)
            if complete:
                self._finish_sketch()
            else:
                self._show_sketch()
        # the second click of a double one says nothing new
        elif self._are_clusters_shown and not (event.dblclick or event.canvas.toolbar.mode):
            self.controls.act(self._choose_cluster, panel, event)

    @property
    def _are_clusters_shown(self):
        return self.state.known is not None and self.state.display.clusters

    def _choose_cluster(self, panel, event):
        number = panel.cluster_at(event.xdata, event.ydata)
        if number is None:
            self.state.say("There is no dot of a cluster under the pointer: the cut stays.")
        elif "shift" in event.modifiers:
            self.state.toggle_cluster(number)
        else:
            self.state.set_cluster(number)

    def _on_release(self, event):
        if self._sketch is not None and self._panel_of(event) is not None and self._sketch.release((event.xdata, event.ydata)):
            self._finish_sketch()

    def _on_draw_choice(self, change):
        with self.state.lock:
            self._sketch = None if change["new"] == "off" else Sketch(change["new"])
            if self._sketch is not None:
                self.state.say(f"Draw the {change['new']} on a map: {self._sketch.how}.")
            self._show_sketch()

    def _finish_sketch(self):
        sketch = self._sketch
        self.controls.act(self.state.add_region, sketch.region(self.state.images), sketch.shape)
        self.controls.draw.value = "off"

    def _show_sketch(self):
        outline = [] if self._sketch is None else self._sketch.outline
        for name in ("map", "moment"):
            self.panels[name].sketch.set_data(*(outline.T if len(outline) else ([], [])))
            if not self.is_live:
                self.canvases[name].draw_idle()
        self._send_lines({"map", "moment"})
