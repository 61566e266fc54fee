"""ipympl canvases for the panels: made without pyplot, so that no ``%matplotlib`` line is needed, and safe against threads."""

import matplotlib as mpl
import traitlets

# ipympl makes itself the backend when it is imported: that is the user's to choose
_chosen = dict.__getitem__(mpl.rcParams, "backend")
from ipympl.backend_nbagg import Canvas, FigureManager  # noqa: E402

if isinstance(_chosen, str):
    mpl.use(_chosen)
else:  # none was chosen yet
    dict.__setitem__(mpl.rcParams, "backend", _chosen)


class PanelCanvas(Canvas):
    """Canvas of a panel; what the browser asks for is done under the explorer's lock.

    Parameters
    ----------
    panel : `~sting.explorer.panels.Panel`
        The panel.
    lock : `threading.RLock`
        The lock.
    """

    def __init__(self, panel, lock, **kwargs):
        self.panel, self.lock = panel, lock
        # the browser may answer, on a thread of its own, as soon as it hears of the canvas; ipympl listens only after that
        self.on_msg(self._handle_message)
        with lock:
            super().__init__(panel.figure, **kwargs)
            self.manager = FigureManager(self, 0)
            # matplotlib's keys (l for a logarithmic axis, q for quit) would surprise in a notebook
            self.mpl_disconnect(self.manager.key_press_handler_id)
            self.header_visible, self.resizable, self.toolbar_position = False, False, "left"

    @traitlets.default("_size")
    def _first_size(self):
        # known from the start: ipympl tells it afterwards, in two messages that the browser may take in the wrong order
        _, _, width, height = self.panel.figure.bbox.bounds
        return width, height

    def _handle_message(self, *args, **kwargs):
        # callbacks may come on a thread of their own (ipykernel 7), and matplotlib is not made for that
        with self.lock:
            return super()._handle_message(*args, **kwargs)

    def draw(self):
        """Bring the panel up to date, draw it and send it, whole.

        ipympl sends differences, and its browser side drops a picture that is followed by another before it is decoded: what
        was different in it would then be missing for ever.
        """
        with self.lock:
            self.panel.prepare()
            self._force_full = True
            super().draw()

    def draw_unasked(self):
        """Draw without waiting for the browser to ask: on a busy machine its first message is lost at times."""
        self.syncing_data_url = False
        self.draw()
