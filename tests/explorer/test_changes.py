"""The way back and forth, who is told what, and how the cube is looked at."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from regions import CircleSkyRegion

from sting.explorer.session import Display, Session
from sting.synthetic import STAR

KMS = u.km / u.s
REGION = CircleSkyRegion(STAR, 8 * u.arcsec)

#: Every kind of change, and what observers must hear of it.
CHANGES = {
    "vmin": (lambda s: s.set_cut(vmin=7 * KMS), {"cut", "model", "status"}),
    "rms_thresh": (lambda s: s.set_cut(rms_thresh=6), {"cut", "model", "status"}),
    "n_elements": (lambda s: s.set_cut(n_elements=7), {"cut", "model", "status"}),
    "uncertainty": (lambda s: s.set_cut(uncertainty="mean"), {"cut", "model", "status"}),
    "two fields of the cut": (lambda s: s.set_cut(vmax=7.6 * KMS, n_elements=8), {"cut", "model", "status"}),
    "region": (lambda s: s.add_region(REGION), {"cut", "model", "status"}),
    "value": (lambda s: s.set_value("theta0", 60 * u.deg), {"parameters", "model"}),
    "values": (lambda s: s.set_parameters({"r0": 2000, "inc": 0.1}), {"parameters", "model"}),
    "property": (lambda s: setattr(s, "parameters", {"r0": 2000}), {"parameters", "model"}),
    "rotation": (lambda s: s.set_rotation("rc"), {"parameters", "model"}),
    "free": (lambda s: s.set_free("mass"), {"parameters", "model"}),
    "bounds": (lambda s: s.set_bounds("r0", (2000, 3000)), {"parameters"}),
    "prior": (lambda s: s.set_prior("r0", (2000, 500)), {"parameters", "model"}),
    "optimizer": (lambda s: s.set_fit(optimizer="lbfgs"), {"options"}),
    "loss_method": (lambda s: s.set_fit(loss_method=0), {"options", "model"}),
    "options": (lambda s: s.set_fit(n_epochs=10, learning_rate=0.1, patience=5), {"options"}),
}
ALL_TOPICS = {"cut", "parameters", "model", "options", "display", "fit", "result", "status"}


def picture(state):
    """What is seen of an explorer's cut and model."""
    return np.concatenate(
        [state.streamer.pc_coords.ravel(), *state.streamer.uncertainties, state.comparison.curve.ravel()]
    ).tolist()


class TestUndo:
    @pytest.mark.parametrize("kind", CHANGES)
    def test_there_and_back_again(self, state, kind):
        change, _ = CHANGES[kind]
        before, seen, loss = state.session, picture(state), state.comparison.loss
        change(state)
        after, seen_after, loss_after = state.session, picture(state), state.comparison.loss
        assert after != before
        assert (state.can_undo, state.can_redo) == (True, False)
        state.undo()
        assert state.session == before
        assert picture(state) == seen
        assert state.comparison.loss == loss
        assert (state.can_undo, state.can_redo) == (False, True)
        state.redo()
        assert state.session == after
        assert picture(state) == seen_after
        assert state.comparison.loss == loss_after
        assert (state.can_undo, state.can_redo) == (True, False)

    def test_many_steps(self, state):
        sessions = [state.session]
        # the value of r0 that "property" sets is there already; the other loss would only compile
        for kind in CHANGES.keys() - {"property", "loss_method"}:
            CHANGES[kind][0](state)
            sessions.append(state.session)
        for session in sessions[-2::-1]:
            state.undo()
            assert state.session == session
        assert not state.can_undo
        for session in sessions[1:]:
            state.redo()
            assert state.session == session
        assert not state.can_redo

    def test_removal_of_a_region(self, state):
        state.add_region(REGION)
        seen = picture(state)
        state.remove_region("region")
        state.undo()
        assert [name for name, _ in state.session.regions] == ["region"]
        assert picture(state) == seen

    @pytest.mark.parametrize("word", ["undo", "redo"])
    def test_nothing_there(self, state, everything, refused, word):
        before = everything(state)
        with refused(word, IndexError):
            getattr(state, word)()
        assert everything(state) == before

    def test_a_new_change_ends_what_could_be_redone(self, state):
        state.set_value("r0", 2000)
        state.set_value("mass", 2)
        state.undo()
        state.set_value("v_r0", 1)
        assert not state.can_redo
        state.undo()
        state.undo()
        assert state.session.values["r0"] == 2700
        assert not state.can_undo

    def test_what_changes_nothing_leaves_what_could_be_redone(self, state):
        state.set_value("r0", 2000)
        state.undo()
        state.set_value("r0", 2700)
        state.set_cut(rms_thresh=5, n_elements=10)
        assert state.can_redo
        assert not state.can_undo

    def test_reset_is_a_step_too(self, state):
        start, seen = state.session, picture(state)
        for kind in CHANGES.keys() - {"loss_method"}:
            CHANGES[kind][0](state)
        end = state.session
        state.reset()
        assert state.session == start
        assert picture(state) == seen
        state.undo()
        assert state.session == end
        state.redo()
        assert state.session == start

    def test_reset_of_what_was_not_changed_is_no_step(self, state, told):
        heard = told(state)
        state.reset()
        assert not state.can_undo
        assert heard == []


class TestQuickChanges:
    """Steps of a slider that is dragged are undone together."""

    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock that a test sets."""
        clock = SimpleNamespace(now=1000.0)
        monkeypatch.setattr("sting.explorer.exploration.time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock

    def drag(self, state, clock, name, *values, pause=0.4):
        for value in values:
            state.set_value(name, value)
            clock.now += pause

    def test_one_drag_is_one_step(self, state, clock):
        # longer as a whole than the pause that ends it
        self.drag(state, clock, "r0", 2100, 2200, 2300, 2400, 2500)
        state.undo()
        assert state.session.values["r0"] == 2700
        assert not state.can_undo
        state.redo()
        assert state.session.values["r0"] == 2500

    def test_a_pause_ends_it(self, state, clock):
        self.drag(state, clock, "r0", 2100, 2200, 2300)
        clock.now += 1.0
        self.drag(state, clock, "r0", 2400, 2500)
        state.undo()
        assert state.session.values["r0"] == 2300
        state.undo()
        assert state.session.values["r0"] == 2700

    def test_another_parameter_ends_it(self, state, clock):
        self.drag(state, clock, "r0", 2100, 2200)
        self.drag(state, clock, "mass", 3.5, 3.6)
        self.drag(state, clock, "r0", 2300, 2400)
        seen = []
        while state.can_undo:
            state.undo()
            seen.append((state.session.values["r0"], state.session.values["mass"]))
        assert seen == [(2200, 3.6), (2200, 4.0), (2700, 4.0)]

    @pytest.mark.parametrize("between", [lambda s: s.set_free("mass"), lambda s: s.set_cut(n_elements=8)])
    def test_another_kind_of_change_ends_it(self, state, clock, between):
        self.drag(state, clock, "r0", 2100)
        between(state)
        self.drag(state, clock, "r0", 2200)
        state.undo()
        assert state.session.values["r0"] == 2100

    @pytest.mark.parametrize("between", [lambda s: s.set_display(channel=3), lambda s: s.set_cut(rms_thresh=5)])
    def test_what_is_no_step_does_not_end_it(self, state, clock, between):
        self.drag(state, clock, "r0", 2100)
        between(state)
        self.drag(state, clock, "r0", 2200)
        state.undo()
        assert state.session.values["r0"] == 2700

    def test_several_values_at_once_are_a_step_each(self, state, clock):
        state.set_parameters({"r0": 2100})
        state.set_parameters({"r0": 2200})
        state.undo()
        assert state.session.values["r0"] == 2100

    def test_unless_they_bear_the_same_key(self, state, clock):
        state.set_parameters({"r0": 2100, "mass": 3}, key="drag of two")
        state.set_parameters({"r0": 2200, "mass": 2}, key="drag of two")
        state.undo()
        assert (state.session.values["r0"], state.session.values["mass"]) == (2700, 4)

    def test_there_and_back_is_no_step(self, state, clock):
        before = state.parameters["r0"]
        self.drag(state, clock, "r0", 2100, 2200, before)
        assert not state.can_undo
        self.drag(state, clock, "r0", 2300)
        state.undo()
        assert state.parameters["r0"] == before
        assert not state.can_undo

    def test_undo_ends_it(self, state, clock):
        self.drag(state, clock, "r0", 2100)
        state.undo()
        self.drag(state, clock, "r0", 2200)
        self.drag(state, clock, "r0", 2300)
        state.undo()
        assert state.session.values["r0"] == 2700
        assert not state.can_undo

    def test_redo_ends_it(self, state, clock):
        self.drag(state, clock, "r0", 2100)
        state.undo()
        state.redo()
        self.drag(state, clock, "r0", 2200)
        state.undo()
        assert state.session.values["r0"] == 2100

    def test_what_is_refused_does_not_end_it(self, state, clock):
        self.drag(state, clock, "r0", 2100)
        with pytest.raises(ValueError, match="must be positive"):
            state.set_value("r0", -1)
        self.drag(state, clock, "r0", 2200)
        state.undo()
        assert state.session.values["r0"] == 2700


class TestObservers:
    @pytest.mark.parametrize("kind", CHANGES)
    def test_each_change_is_told_once(self, state, told, kind):
        change, topics = CHANGES[kind]
        heard = told(state)
        change(state)
        assert len(heard) == 1
        assert topics <= heard[0] <= topics | {"model"}
        # each step back and forth tells the same
        state.undo()
        state.redo()
        assert len(heard) == 3
        assert all(topics <= one <= topics | {"model"} for one in heard)

    def test_the_new_state_is_there_when_it_is_told(self, state):
        seen = []
        state.observe(lambda topics: seen.append((state.session.values["r0"], state.comparison.curve[0].copy(), state.can_undo)))
        state.set_value("r0", 2000)
        assert seen[0][0] == 2000
        np.testing.assert_array_equal(seen[0][1], state.comparison.curve[0])
        assert seen[0][2]

    def test_reset_tells_of_all_that_changes(self, state, told):
        state.set_value("r0", 2000)
        state.set_cut(n_elements=5)
        state.set_fit(n_epochs=5)
        heard = told(state)
        state.reset()
        assert heard == [{"parameters", "model", "cut", "options", "status"}]

    def test_all_are_told_until_they_leave(self, state):
        first, second = [], []
        for heard in (first, second):
            state.observe(heard.append)
        state.set_value("r0", 2000)
        state.unobserve(first.append)
        state.set_value("r0", 2100)
        assert (len(first), len(second)) == (1, 2)

    def test_each_has_a_set_of_its_own(self, state, told):
        state.observe(lambda topics: topics.clear())
        heard = told(state)
        state.set_value("r0", 2000)
        assert heard == [{"parameters", "model"}]

    def test_one_may_leave_while_it_is_told(self, state, told):
        def once(topics):
            state.unobserve(once)

        state.observe(once)
        heard = told(state)
        state.set_value("r0", 2000)
        state.set_value("r0", 2100)
        assert len(heard) == 2

    def test_who_does_not_observe_cannot_leave(self, state):
        with pytest.raises(ValueError, match="not in list"):
            state.unobserve(print)

    def test_nothing_is_told_of_what_changes_nothing(self, state, told):
        state.set_bounds("r0", (2000, 3000))
        state.set_prior("r0", (2000, 500))
        state.add_region(REGION)
        heard = told(state)
        state.set_value("r0", 2700)
        state.set_value("r0", 2700 * u.au)
        state.set_parameters({})
        state.set_parameters(dict(state.session.values))
        state.set_cut(rms_thresh=5.0, vmin=None, n_elements=10)
        state.set_cut()
        state.set_free("r0")
        state.set_free("mass", False)
        state.set_bounds("r0", (2000, 3000) * u.au)
        state.set_bounds("phi0", None)
        state.set_prior("r0", (2000, 500))
        state.set_prior("mass", None)
        state.set_rotation("omega")
        state.set_fit(n_epochs=1000, optimizer="adam")
        state.set_display(channel=state.display.channel, stretch="linear")
        state.stop_fit()
        assert heard == []

    def test_a_link_to_and_fro_does_not_loop(self, state):
        calls = []

        def write_back(topics):
            calls.append(topics)
            if "parameters" in topics:
                for name, value in dict(state.session.values).items():
                    state.set_value(name, value)

        state.observe(write_back)
        state.set_value("r0", 2000)
        state.set_value("theta0", 61.7 * u.deg)
        assert len(calls) == 2
        assert state.session.values["r0"] == 2000

    def test_writing_back_what_is_shown_changes_nothing(self, state, told):
        heard = told(state)
        for angle in np.linspace(10, 80, 141):
            state.set_value("theta0", np.radians(angle))
            before = len(heard)
            state.set_value("theta0", state.parameters["theta0"])
            assert len(heard) == before, angle

    def test_an_observer_may_change_something_else(self, state, told):
        def follow(topics):
            if "cut" in topics:
                state.set_value("v_lsr", float(np.mean(state.streamer.v_data)))

        state.observe(follow)
        heard = told(state)
        state.set_cut(n_elements=6)
        assert state.session.values["v_lsr"] == pytest.approx(np.mean(state.streamer.v_data))
        assert [topics & ALL_TOPICS for topics in heard] == [{"parameters", "model"}, {"cut", "model", "status"}]

    def test_say(self, state, told):
        heard = told(state)
        state.say("Here I am.")
        assert state.status == "Here I am."
        assert heard == [{"status"}]
        assert not state.can_undo


class TestDisplay:
    GOOD = (
        {"channel": 0},
        {"channel": 39},
        {"moment": 1},
        {"stretch": "asinh"},
        {"colormap": "viridis"},
        {"low": -0.1},
        {"high": 1.5},
        {"low": 0.0, "high": 0.3},
        {"contours": False},
        {"pv_axis": "path"},
        {"pixel": (0, 63)},
        {"channel": 3, "stretch": "log", "pixel": (5, 6)},
    )

    @pytest.mark.parametrize("changes", GOOD, ids=str)
    def test_is_told_and_not_undone(self, state, told, changes):
        heard, session, comparison = told(state), state.session, state.comparison
        state.set_display(**changes)
        assert {name: getattr(state.display, name) for name in changes} == changes
        assert len(heard) == 1
        assert heard[0] & ALL_TOPICS == {"display"}
        assert not state.can_undo
        assert state.session is session
        assert state.comparison is comparison

    def test_none_goes_back_to_those_of_the_cube(self, state):
        state.set_display(low=0.1, high=0.2, pixel=(1, 2))
        state.set_display(low=None, high=None, pixel=None)
        assert (state.display.low, state.display.high, state.display.pixel) == (None, None, None)

    def test_undo_leaves_it(self, state):
        state.set_value("r0", 2000)
        state.set_display(channel=7)
        state.undo()
        assert state.display.channel == 7
        state.reset()
        assert state.display.channel == 7

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"channel": 40}, "channel"),
            ({"channel": -1}, "channel"),
            ({"channel": 2.0}, "channel"),
            ({"channel": None}, "channel"),
            ({"moment": 2}, "moment"),
            ({"stretch": "cubic"}, "stretch"),
            ({"pv_axis": "angle"}, "pv_axis"),
            ({"low": 1, "high": 1}, "low, high"),
            ({"low": 2, "high": 1}, "low, high"),
            ({"low": np.nan}, "low, high"),
            ({"high": np.inf}, "low, high"),
            ({"high": "bright"}, "low, high"),
            ({"pixel": (64, 0)}, "pixel"),
            ({"pixel": (0, -1)}, "pixel"),
            ({"kanal": 3}, "display"),
            # the first one is good, the second is not
            ({"moment": 1, "channel": 99}, "channel"),
            ({"pixel": 5}, "pixel"),
            ({"pixel": (1, 2, 3)}, "pixel"),
            ({"pixel": "ab"}, "pixel"),
            ({"pixel": (1.5, 2)}, "pixel"),
            ({"contours": "no"}, "contours"),
            ({"colormap": 5}, "colormap"),
        ],
        ids=str,
    )
    def test_what_is_refused_leaves_everything_as_it_was(self, state, everything, told, refused, changes, name):
        state.set_display(channel=5)
        before, heard = everything(state), told(state)
        with refused(name):
            state.set_display(**changes)
        assert everything(state) == before
        assert heard == []

    def test_it_is_not_part_of_the_session(self):
        assert not {f.name for f in fields(Display)} & {f.name for f in fields(Session)}

    def test_the_pixel_of_the_spectrum(self, state, bare):
        # of a cut the brightest one, else the middle
        flux = np.nanmax(state.streamer_cube.filled_data[:].value)
        assert state.images.spectrum(*state.pixel).max() == flux
        assert bare.pixel == (32, 32)
        for explorer in (state, bare):
            explorer.set_display(pixel=(3, 4))
            assert explorer.pixel == (3, 4)

    def test_it_may_be_changed_while_a_fit_runs(self, state, toy, told):
        toy.close()
        state.start_fit()
        heard = told(state)
        state.set_display(channel=3)
        assert state.display.channel == 3
        assert heard[0] & ALL_TOPICS == {"display"}
        toy.open()
        assert state.wait(60)
        assert state.display.channel == 3


class TestOptions:
    def test_all_of_them(self, state):
        options = {"optimizer": "lbfgs", "loss_method": 0, "n_epochs": 77, "learning_rate": 0.02, "patience": 9}
        state.set_fit(**options)
        assert {name: getattr(state.session, name) for name in options} == options
        keywords = state.session.fit_keywords()
        assert keywords.pop("early_stopping_patience") == options.pop("patience")
        assert {name: keywords[name] for name in options} == options

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"optimizer": "adagrad"}, "optimizer"),
            ({"loss_method": 2}, "loss_method"),
            ({"matching": "closest"}, "matching"),
            ({"n_epochs": 0}, "n_epochs"),
            ({"n_epochs": 10.5}, "n_epochs"),
            ({"learning_rate": 0}, "learning_rate"),
            ({"learning_rate": -0.1}, "learning_rate"),
            ({"learning_rate": np.nan}, "learning_rate"),
            ({"learning_rate": "fast"}, "learning_rate"),
            ({"learning_rate": True}, "learning_rate"),
            ({"patience": 0}, "patience"),
            ({"early_stopping_patience": 5}, "option"),
            ({"vmin": 5 * KMS}, "option"),
            ({"n_epochs": 10, "patience": 0}, "patience"),
        ],
        ids=str,
    )
    def test_what_is_refused_leaves_everything_as_it_was(self, state, everything, refused, changes, name):
        before = everything(state)
        with refused(name):
            state.set_fit(**changes)
        assert everything(state) == before
