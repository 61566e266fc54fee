"""What an explorer needs, and that neither another explorer nor another thread disturbs it."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from astropy import units as u

from sting import explorer
from sting.explorer.state import ExplorerState
from sting.synthetic import TRUTH

KMS = u.km / u.s

#: Uses a state where the packages of the widget cannot be imported, and then lists those that were.
WITHOUT_WIDGETS = """
import sys

names = ("ipywidgets", "ipympl", "anywidget", "IPython", "traitlets")
for name in names:
    sys.modules[name] = None  # so that it cannot be imported

import sting.explorer
State = sting.explorer.ExplorerState
print("imported", "matplotlib" in sys.modules, "jax" in sys.modules)
from sting import synthetic
scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
state = State(scene.cube, scene.star_position, scene.distance, rms_thresh=5, fixed=scene.truth)
state.set_value("r0", 2000)
state.set_cut(n_elements=8)
state.set_display(channel=3)
state.images.moments()
state.to_script()
state.save_state(sys.argv[1])
print("used", "matplotlib" in sys.modules)
state.add_region(b"image\\ncircle(32,20,10)\\n")
print("regions", len(state.region))
"""


def test_neither_widgets_nor_matplotlib_are_needed(tmp_path):
    command = [sys.executable, "-c", WITHOUT_WIDGETS, str(tmp_path / "state.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # regions itself imports matplotlib, and is needed only where there are regions
    assert done.stdout.splitlines() == ["imported False True", "used False", "regions 1"]


def test_the_package_names_what_it_has():
    assert explorer.ExplorerState is ExplorerState
    assert "ExplorerState" in explorer.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Explorer'"):
        _ = explorer.Explorer


class TestTwoOfThem:
    def test_on_one_cube(self, make_state, everything, told, toy):
        first, second = make_state(), make_state()
        before, heard = everything(second), told(second)
        first.set_cut(vmin=7 * KMS, n_elements=5)
        first.set_value("mass", 3)
        first.set_free("inc")
        first.set_display(channel=2)
        first.start_fit()
        assert first.wait(60)
        first.undo()
        assert everything(second) == before
        assert heard == []
        assert second.images.channel(9)[0, 0] == first.images.channel(9)[0, 0]
        second.set_value("r0", 2000)
        assert first.session.values["r0"] == 2700
        assert second.session.values["mass"] == 4

    def test_fits_at_once(self, make_state, toy, until):
        toy.close(1)
        first, second = make_state(), make_state()
        second.set_value("r0", 2000)
        first.start_fit()
        second.start_fit()
        until(lambda: len(toy.done) == 2)
        first.stop_fit()
        toy.open()
        assert first.wait(60)
        assert second.wait(60)
        assert (first.phase, second.phase) == ("stopped", "done")
        # stopped before or after its second step
        assert first.session.values["r0"] in (2500, 2600)
        assert second.session.values["r0"] == 1600


#: Values that threads set, one parameter each.
VALUES = {
    "r0": np.linspace(2000, 3500, 60),
    "theta0": np.linspace(0.5, 1.5, 60),
    "mass": np.linspace(3.0, 5.0, 60),
    "v_lsr": np.linspace(7.0, 8.0, 60),
}


class TestThreads:
    def run(self, *functions):
        """Run functions at once, each in its thread, and return what they raised."""
        raised, barrier = [], threading.Barrier(len(functions))

        def guarded(function):
            barrier.wait()
            try:
                function()
            except Exception as error:
                raised.append(error)

        threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return raised

    def test_four_set_a_parameter_each(self, state):
        def setter(name):
            return lambda: [state.set_value(name, value) for value in VALUES[name]]

        seen = []
        state.observe(lambda topics: seen.append((state.session.values, state.comparison)))
        assert self.run(*map(setter, VALUES)) == []
        last = {name: values[-1] for name, values in VALUES.items()}
        assert {name: state.session.values[name] for name in last} == last
        assert state.comparison.loss == state.preview(state.session.values).loss
        np.testing.assert_array_equal(state.comparison.curve, state.preview(state.session.values).curve)
        # no change was lost and none was told twice
        assert len(seen) == sum(map(len, VALUES.values()))
        for values, comparison in seen[::40]:
            assert comparison.loss == state.preview(values).loss
        while state.can_undo:
            state.undo()
        assert state.session == state.initial

    def test_cuts_and_values_at_once(self, state):
        def cuts():
            for n_elements in (4, 5, 6, 7, 8):
                state.set_cut(n_elements=n_elements)

        def back_and_forth():
            for k in range(20):
                state.set_value("mass", 3 + 0.01 * k)
                state.undo()
                state.redo()

        def values():
            for value in VALUES["r0"]:
                state.set_value("r0", value)

        raised = self.run(cuts, values, lambda: [state.set_display(channel=k) for k in range(40)])
        assert raised == []
        assert len(state.streamer) == len(state.comparison.residuals) == 8
        assert state.comparison.loss == state.preview(state.session.values).loss
        raised = self.run(values, back_and_forth)
        # a redo has nothing to do where another thread has changed something meanwhile
        assert all(isinstance(error, IndexError) for error in raised)
        assert state.comparison.loss == state.preview(state.session.values).loss

    def test_the_precision_is_that_of_each_call(self, state):
        # the switch to double precision is a thread's own
        found = []

        def compare():
            state.set_value("r0", 2345.678901234)
            found.append(state.comparison)

        assert self.run(compare) == []
        other = ExplorerState(state.cube, state.star_position, 293, rms_thresh=5, fixed=TRUTH)
        other.parameters = dict(state.session.values)
        assert found[0].curve.dtype == np.float64
        assert found[0].loss == pytest.approx(other.comparison.loss, rel=1e-12)
