"""The live lines, drawn by the browser on transparent canvases above ipympl's: they move, the pictures stay."""

from pathlib import Path

import anywidget
import numpy as np
import traitlets
from matplotlib.colors import to_hex
from mpl_toolkits.mplot3d import proj3d


class LiveLayer(anywidget.AnyWidget):
    """Draws lines of matplotlib above the panels whose names they bear."""

    _esm = Path(__file__).with_name("live.js")
    #: How many points each line has, then their places, as float32.
    xy = traitlets.Bytes(b"").tag(sync=True)
    #: What they look like.
    lines = traitlets.List([]).tag(sync=True)
    #: Number of panels that the browser found; until then the lines belong into the pictures.
    attached = traitlets.Int(0).tag(sync=True)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._count, self._places = 0, {}
        self.on_msg(self._on_message)

    def _on_message(self, _, content, buffers):
        """Hear what the browser says again and again until it is answered: messages are lost at times, either way."""
        self.attached = content.get("attached", self.attached)
        self.send_state(content.get("wanted", "attached"))

    def draw(self, panels, moved=None):
        """Send the live lines to the browser, in one message.

        Parameters
        ----------
        panels : iterable of `~sting.explorer.panels.Panel`
            All panels.
        moved : set of str, optional
            Names of those whose lines moved, and nothing else; None looks at everything anew.
        """
        for panel in panels:
            if moved is None or panel.name in moved:
                self._places[panel.name] = _pixels(panel)
        places = [xy for panel in panels for xy in self._places[panel.name]]
        # a count at the end makes two sendings differ even where only colours or limits do
        self._count = (self._count + 1) % 1_000_000
        with self.hold_sync():
            if moved is None:
                self.lines = [_look(panel, line) for panel in panels for line in panel.live]
            head = [len(xy) for xy in places]
            self.xy = np.concatenate([head, *(xy.ravel() for xy in places), [self._count]]).astype("<f4").tobytes()


def _pixels(panel):
    """Places of the live lines of a panel in pixels of its canvas, from the top left: arrays of shape (n, 2)."""
    projection = panel.ax.get_proj() if hasattr(panel.ax, "get_proj") else None
    height, found = panel.figure.bbox.height, []
    for line in panel.live:
        if projection is not None:
            x, y, _ = proj3d.proj_transform(*line.get_data_3d(), projection)
        else:
            x, y = line.get_data(orig=False)
            if line.get_drawstyle() == "steps-mid" and len(x) > 1:
                x, y = np.concatenate([x[:1], np.repeat((x[1:] + x[:-1]) / 2, 2), x[-1:]]), np.repeat(y, 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            places = line.get_transform().transform(np.column_stack([x, y]).astype(float)).reshape(-1, 2)
        found.append(np.column_stack([places[:, 0], height - places[:, 1]]))
    return found


def _look(panel, line):
    height, dpi = panel.figure.bbox.height, panel.figure.dpi / 72
    box = panel.figure.bbox if hasattr(line, "get_data_3d") else panel.ax.bbox
    marker = line.get_marker()
    width = line.get_linewidth() * dpi
    halo = line.get_path_effects()
    return {
        "panel": panel.name,
        "color": to_hex(line.get_color()),
        "width": width,
        "halo": halo[0]._gc["linewidth"] * dpi if halo else 0,
        "dash": [] if line.get_linestyle() in ("-", "None") else [3.7 * width, 1.6 * width],
        "clip": [box.x0, height - box.y1, box.width, box.height],
        "marker": "" if marker in (None, "None", "") else marker,
        "size": line.get_markersize() * dpi,
        "face": to_hex(line.get_markerfacecolor()),
        "edge": to_hex(line.get_markeredgecolor()),
        "edgeWidth": line.get_markeredgewidth() * dpi,
    }
