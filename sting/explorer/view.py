"""`StreamerExplorer`: what the user makes; it loads the notebook's widgets only when it is shown."""

import base64
import io

import numpy as np

from sting.explorer.state import ExplorerState

__all__ = ["StreamerExplorer"]

_MISSING = "For the interactive explorer install the packages it needs: pip install ipywidgets ipympl anywidget jupyterlab."


class StreamerExplorer:
    """The whole analysis of a streamer in a notebook: look, cut, steer the model, fit, judge, keep.

    Displayed by itself as the last line of a cell, or by `show`. Everything that the widget does is a method of `state`, which
    works without a notebook as well.

    Parameters
    ----------
    cube : `~spectral_cube.SpectralCube`, str or path-like
        The cube, or its file.
    star_position : `~astropy.coordinates.SkyCoord`
        Position of the star.
    distance : `~astropy.units.Quantity` or float
        Distance of the star, a number being in pc.
    **keywords
        ``v_lsr``, ``region``, ``vmin``, ``vmax``, ``rms_thresh``, ``rms``, ``islands``, ``n_elements``, ``uncertainty``,
        ``ordering``, ``min_beams``, ``clusters``, ``initial``, ``fixed``, ``bounds`` and ``priors``, see
        `~sting.explorer.state.ExplorerState`.

    Attributes
    ----------
    state : `~sting.explorer.state.ExplorerState`
        Everything that was chosen and what follows from it.

    Examples
    --------
    >>> from sting import synthetic
    >>> scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
    >>> explorer = StreamerExplorer(scene.cube, scene.star_position, scene.distance, rms_thresh=5)
    >>> explorer.streamer
    <Streamer: 10 points from ... voxels>
    """

    def __init__(self, cube, star_position, distance, **keywords):
        self.state = ExplorerState(cube, star_position, distance, **keywords)
        self._view = None

    @classmethod
    def from_state(cls, path, cube=None):
        """Go on where `save_state` was called.

        Parameters
        ----------
        path : str or path-like
            The file.
        cube : `~spectral_cube.SpectralCube`, str or path-like, optional
            The cube; by default the file that the state names.

        Returns
        -------
        `StreamerExplorer`
        """
        explorer = cls.__new__(cls)
        explorer.state, explorer._view = ExplorerState.from_state(path, cube), None
        return explorer

    # -- the state's own ----------------------------------------------------------------------------------------------------

    @property
    def parameters(self):
        """All parameters as Quantities; set some of them, and the view follows."""
        return self.state.parameters

    @parameters.setter
    def parameters(self, params):  # numpydoc ignore=GL08
        self.state.parameters = params

    @property
    def result(self):
        """The last fit, a `~sting.fit_result.FitResult`, or None."""
        return self.state.result

    @property
    def streamer(self):
        """The cut reduced to points, a `~sting.streamer.Streamer`, or None."""
        return self.state.streamer

    @property
    def streamer_cube(self):
        """The cut, a `~spectral_cube.SpectralCube`, or None."""
        return self.state.streamer_cube

    @property
    def region(self):
        """The regions of the cut, a list of `~regions.Region`."""
        return self.state.region

    def save(self, folder="sting_results"):
        """Write the results folder of the last fit, with the script and the state that lead to it.

        Parameters
        ----------
        folder : str or path-like, optional
            Created if missing; files of the same names are replaced, others left alone.

        Returns
        -------
        list of `~pathlib.Path`
            The files written.
        """
        return self.state.save(folder)

    def to_script(self, cube=None, save_folder="sting_results", clusters=None):
        """Return the plain script that repeats the last fit, or that would fit the present state.

        Parameters
        ----------
        cube : str, optional
            Path of the cube to write into the script; needed if the explorer was given a cube in memory.
        save_folder : str or None, optional
            Folder in which the script saves its results.
        clusters : str, optional
            Path of the clusters to write into the script where one is chosen; by default the file that they were read from, or
            that `save_state` wrote.

        Returns
        -------
        str
        """
        return self.state.to_script(cube, save_folder, clusters)

    def save_state(self, path):
        """Write everything that was chosen, and the last fit, as JSON, and clusters as ``clusters_*.ecsv`` beside it.

        Parameters
        ----------
        path : str or path-like
            File to write; one that exists is replaced.

        Returns
        -------
        list of `~pathlib.Path`
            The files written.
        """
        return self.state.save_state(path)

    # -- to be seen -----------------------------------------------------------------------------------------------------------

    @property
    def view(self):
        """The widget, made on first use, a `~sting.explorer.notebook.NotebookView`.

        Raises
        ------
        ImportError
            If ipywidgets or ipympl are not installed.
        """
        if self._view is None:
            from sting.explorer.notebook import NotebookView

            self._view = NotebookView(self.state)
        return self._view

    def show(self):
        """Display the explorer in the notebook."""
        from IPython.display import display

        display(self)

    def picture(self):
        """Draw all panels into one picture.

        Returns
        -------
        bytes
            A PNG file.
        """
        from PIL import Image

        from sting.explorer.panels import PANELS

        with self.state.lock:
            panels = self._view.panels.values() if self._view is not None else [panel(self.state) for panel in PANELS]
            images = [_drawn(panel) for panel in panels]
        buffer = io.BytesIO()
        Image.fromarray(_tiled(images)).save(buffer, format="png")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        """Return the widget and a picture, which a saved notebook shows when nothing runs."""
        picture = {"image/png": base64.b64encode(self.picture()).decode("ascii"), "text/plain": repr(self)}
        try:
            view = self.view
        except ImportError:
            html = f'<img src="data:image/png;base64,{picture["image/png"]}"/><p>{_MISSING}</p>'
            return picture | {"text/html": html, "text/plain": f"{self!r}\n{_MISSING}"}
        return picture | view.widget._repr_mimebundle_() | {"text/plain": repr(self)}

    def __repr__(self):
        streamer = "no cut" if self.streamer is None else f"{len(self.streamer)} points"
        return f"<StreamerExplorer: cube {self.state.images.shape}, {streamer}, loss {self.state.comparison.loss:.5g}>"


def _drawn(panel):
    """Pixels of a panel with its live lines, shape (height, width, 3)."""
    from PIL import Image

    panel.prepare()
    buffer = io.BytesIO()
    panel.figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _tiled(images, columns=3):
    """Images of one width in columns, each put where the column is shortest."""
    width = max(image.shape[1] for image in images)
    stacks = [[] for _ in range(columns)]
    for image in images:
        shortest = min(stacks, key=lambda stack: sum(map(len, stack)))
        shortest.append(np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255))
    height = max(sum(map(len, stack)) for stack in stacks)
    joined = [np.concatenate(stack) for stack in stacks if stack]
    return np.concatenate(
        [np.pad(column, ((0, height - len(column)), (0, 0), (0, 0)), constant_values=255) for column in joined], axis=1
    )
