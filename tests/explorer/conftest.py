"""Explorers, real and toy fits, and the things that several of the explorer's test files ask of them."""

import re
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from sting import isolate, synthetic
from sting.explorer.state import ExplorerState
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.gradient_descent import Snapshot, fit_streamline

#: Free parameters of most explorers and their values; the others are the truth.
START = {"r0": 2700 * u.au, "phi0": 58 * u.deg, "v_lsr": 7.45 * u.km / u.s}

#: A fit that ends early, and one that does not end by itself before it is stopped.
SHORT = {"learning_rate": 0.01, "n_epochs": 150, "patience": 1000}
LONG = {"learning_rate": 0.001, "n_epochs": 3000, "patience": 5000}

#: Longest wait (s) for anything that must happen.
PATIENCE = 120


def model_of(truth, start):
    return {"initial": dict(start), "fixed": {name: value for name, value in truth.items() if name not in start}}


@pytest.fixture(scope="session")
def make_state(scene):
    """Function that makes an explorer of `scene` whose values are the truth but for those of `START`, which are free."""

    def make(start=START, **changes):
        arguments = {"rms_thresh": 5} | model_of(scene.truth, start) | changes
        return ExplorerState(scene.cube, scene.star_position, scene.distance, **arguments)

    return make


@pytest.fixture
def state(make_state):
    """An explorer to be changed."""
    return make_state()


@pytest.fixture
def bare(scene):
    """An explorer of which nothing is said but cube, star and distance."""
    return ExplorerState(scene.cube, scene.star_position, scene.distance)


@pytest.fixture
def told():
    """Function that lists what an explorer tells from now on, a set of topics each time."""

    def listen(state):
        heard = []
        state.observe(heard.append)
        return heard

    return listen


@pytest.fixture(scope="session")
def refused():
    """Function: a context in which an argument must be refused by name, in the package's form of message."""

    def context(name, error=ValueError):
        return pytest.raises(error, match=re.compile(rf"""^(?:'({name})'|"({name})") must .+; got .+[.?]$""", re.DOTALL))

    return context


class Known:
    """All that an explorer holds; two of them are equal if every part is the very same object."""

    NAMES = (
        *("session", "streamer_cube", "streamer", "comparison", "preview", "display", "result", "samples", "losses"),
        *("fitted_session", "fitted_streamer", "phase", "status", "initial"),
    )

    def __init__(self, state):
        self.parts = [*(getattr(state, name) for name in self.NAMES), *state._undo, None, *state._redo]

    def __eq__(self, other):
        return len(self.parts) == len(other.parts) and all(a is b for a, b in zip(self.parts, other.parts, strict=True))

    __hash__ = None


@pytest.fixture(scope="session")
def everything():
    """Function that keeps all that an explorer holds: the same before and after says that nothing happened."""
    return Known


# -- real fits ------------------------------------------------------------------------------------------------------------


def keywords_of(fit):
    """The kind of fit as a script states it."""
    return {"early_stopping_patience" if name == "patience" else name: value for name, value in fit.items()}


@pytest.fixture(scope="session")
def script_fit(scene, cube_file):
    """Function that fits as a script does, from the values of `START`."""

    def fit(**keywords):
        streamer = reduce_to_1D(extract_streamer_subcube(cube_file, rms_thresh=5), scene.star_position, uncertainty="spread")
        model = model_of(scene.truth, START)
        keywords |= {"save_folder": None, "progress": False}
        return fit_streamline(model["initial"], model["fixed"], streamer, scene.distance, **keywords)

    return fit


@pytest.fixture(scope="session")
def cube_file(scene, tmp_path_factory):
    """`scene` as a file."""
    path = tmp_path_factory.mktemp("cube") / "cube.fits"
    scene.cube.write(path)
    return path


@pytest.fixture(scope="session")
def make_state_from_file(scene, cube_file):
    """Function that makes an explorer from `cube_file`, with the kind of fit set."""

    def make(**fit):
        state = ExplorerState(cube_file, scene.star_position, scene.distance, rms_thresh=5, **model_of(scene.truth, START))
        state.set_fit(**fit)
        return state

    return make


@pytest.fixture(scope="session")
def fitted(make_state_from_file):
    """A fit that ran to its end, and what was told of it; nothing may change it."""
    state = make_state_from_file(**SHORT)
    start, phases, topics = state.session, [], []
    state.observe(lambda changed: (phases.append(state.phase), topics.append(changed)))
    state.start_fit()
    assert state.wait(PATIENCE)
    return SimpleNamespace(state=state, start=start, phases=phases, topics=topics, keywords=keywords_of(SHORT))


@pytest.fixture(scope="session")
def interrupted(make_state_from_file):
    """A fit that was stopped after its first snapshot and taken up again, and how it was after the stop."""
    state = make_state_from_file(**LONG)

    def stop(_):
        if state.phase == "fitting":
            state.stop_fit()

    state.observe(stop)
    state.start_fit()
    assert state.wait(PATIENCE)
    state.unobserve(stop)
    names = ("result", "phase", "session", "status", "can_resume", "is_fitted", "samples", "busy")
    stopped = SimpleNamespace(**{name: getattr(state, name) for name in names}, script=state.to_script(save_folder=None))
    state.resume_fit()
    assert state.wait(PATIENCE)
    return SimpleNamespace(state=state, stopped=stopped, keywords=keywords_of(LONG))


# -- toy fits, which compile nothing ----------------------------------------------------------------------------------------


class ToyResult:
    """As much of a `FitResult` as the explorer asks for: r0 has moved to a new value."""

    stop = SimpleNamespace(name="N_EPOCHS")
    notes = ()

    def __init__(self, r0, losses):
        self.best_opt_params, self.loss_history = {"r0": r0 * u.au}, losses

    @property
    def loss(self):
        return self.loss_history.min()

    @property
    def best_epoch(self):
        return int(self.loss_history.argmin())

    @property
    def status(self):
        return f"toy fit of {len(self.loss_history)} epochs"

    def sample_streamlines(self, n, *, n_points, seed):
        return np.zeros((n, n_points)) * u.arcsec, np.zeros((n, n_points)) * u.arcsec, np.zeros((n, n_points)) * u.km / u.s


class ToyFits:
    """Takes the place of `iterate_fit`: each fit makes ``n_steps`` snapshots, r0 falling by 100 au at each, when it may.

    Attributes
    ----------
    gates : list of `threading.Event`
        Step k of a fit waits for gate k; all are open unless a test closes them with `close`.
    error : dict of int to Exception
        What the step raises.
    done : list
        (number of the fit, step) of every step that was made.
    """

    result = ToyResult

    def __init__(self, n_steps=4):
        self.n_steps, self.error, self.done, self.n_fits = n_steps, {}, [], 0
        self.gates = [threading.Event() for _ in range(n_steps)]
        self.open()

    def open(self, *steps):
        for k in steps or range(self.n_steps):
            self.gates[k].set()

    def close(self, *steps):
        for k in steps or range(self.n_steps):
            self.gates[k].clear()

    def __call__(self, free, fixed, streamer, distance, **keywords):
        self.n_fits += 1
        return self._steps(self.n_fits, (free | fixed)["r0"])

    def _steps(self, number, r0):
        losses = np.zeros(0)
        for k in range(self.n_steps):
            assert self.gates[k].wait(PATIENCE)
            if k in self.error:
                raise self.error[k]
            losses = np.append(losses, np.full(50, 10.0 - k))
            result = ToyResult(r0 - 100 * (k + 1), losses)
            self.done.append((number, k))
            yield Snapshot(50 * (k + 1), 50 * self.n_steps, 10.0 - k, 10.0 - k, losses[-50:], lambda result=result: result)


@pytest.fixture
def toy(monkeypatch):
    """The toy fits that explorers now run; every gate is opened at the end, so that no thread is left waiting."""
    fits = ToyFits()
    monkeypatch.setattr("sting.explorer.fitting.iterate_fit", fits)
    yield fits
    fits.open()


@pytest.fixture
def until():
    """Function that waits until something is true, and fails if that takes too long."""

    def wait(condition):
        pause = threading.Event()
        for _ in range(100 * PATIENCE):
            if condition():
                return
            pause.wait(0.01)
        pytest.fail("it did not happen")

    return wait


# -- clusters ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def clustered():
    """A protostar and three clusters of its components: 1 is the streamer, by the truth; nothing may change them."""
    found = synthetic.make_scene(seed=1, shape=(40, 64, 64))
    components = isolate.decompose(found.cube, rms=found.rms, star_position=found.star_position, progress=False)
    table, axis = QTable(components.table), found.cube.spectral_axis.to_value(u.km / u.s)
    channel = np.abs(axis[:, None] - table["velocity"].value).argmin(axis=0)
    north = table["dec_offset"] > -2 * u.arcsec
    table["cluster"] = np.where(found.streamer_fraction[channel, table["y"], table["x"]] > 0.5, 1, np.where(north, 0, 2))
    table["cluster"][table["line_snr"] < 7] = -1
    return SimpleNamespace(scene=found, clusters=isolate.Clusters(table, found.cube), components=components)


@pytest.fixture(scope="session")
def relabelled(clustered):
    """The same components in other clusters: 0 and 1 change their names, and 2 is noise."""
    table = QTable(clustered.clusters.table)
    table["cluster"] = np.array([1, 0, -1, -1])[table["cluster"]]
    return isolate.Clusters(table, clustered.scene.cube)


@pytest.fixture(scope="session")
def protostar_file(clustered, tmp_path_factory):
    """The cube of `clustered` as a file."""
    path = tmp_path_factory.mktemp("protostar") / "cube.fits"
    clustered.scene.cube.write(path)
    return path


@pytest.fixture(scope="session")
def make_clustered(clustered):
    """Function that makes an explorer of `clustered` that knows of its clusters, the model being the truth."""

    def make(cube=None, **changes):
        scene = clustered.scene
        arguments = {"clusters": clustered.clusters, "fixed": dict(scene.truth), "n_elements": 6} | changes
        # in the frame in which it is kept: voxels at the same distance stay in their order
        return ExplorerState(scene.cube if cube is None else cube, scene.star_position.icrs, scene.distance, **arguments)

    return make
