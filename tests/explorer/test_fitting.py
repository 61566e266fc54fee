"""Fits and searches: the same as a script's, watched, stopped, taken up again, failed, and what is refused meanwhile."""

import itertools
import threading

import numpy as np
import pytest
from astropy import units as u

from sting.core.descent import Stop
from sting.parameters import parse_bounds, to_internal
from sting.synthetic import TRUTH

#: Longest wait (s) for anything that must happen.
PATIENCE = 120


class TestTheSameAsAScript:
    def test_best_values(self, fitted, script_fit):
        state, expected = fitted.state, script_fit(**fitted.keywords)
        assert set(state.result.best_opt_params) == {"r0", "phi0", "v_lsr"}
        for name, value in expected.best_opt_params.items():
            assert state.result.best_opt_params[name].value == pytest.approx(value.value, rel=1e-12), name
            assert state.parameters[name].to_value(value.unit) == pytest.approx(value.value, rel=1e-12), name
        np.testing.assert_allclose(state.losses, expected.loss_history, rtol=1e-10)
        assert len(state.losses) == fitted.keywords["n_epochs"] + 1
        assert state.result.stop == Stop.N_EPOCHS
        assert state.status == expected.status

    def test_it_ends_nearer_to_the_truth(self, fitted):
        assert fitted.state.result.loss < 0.5 * fitted.state.losses[0]
        for name, tolerance in (("r0", 0.05), ("phi0", 0.03), ("v_lsr", 0.003)):
            assert u.isclose(fitted.state.parameters[name], TRUTH[name], rtol=tolerance), name

    def test_the_fixed_ones_stay(self, fitted):
        values = fitted.state.session.values
        assert {name: values[name] for name in values if name not in fitted.state.session.free} == {
            name: value for name, value in fitted.start.values.items() if name not in fitted.start.free
        }

    def test_the_samples_are_those_of_the_result(self, fitted):
        state = fitted.state
        assert state.samples.shape == (60, 100, 3)
        ra, dec, velocity = state.result.sample_streamlines(60, n_points=100, seed=0)
        np.testing.assert_array_equal(state.samples, np.stack([ra.value, dec.value, velocity.value], axis=-1))

    def test_what_is_left_at_the_end(self, fitted):
        state = fitted.state
        assert state.phase == "done"
        assert not state.busy
        assert state.is_fitted
        assert not state.can_resume
        assert state.fitted_session == fitted.start
        assert state.fitted_streamer is state.streamer
        assert state.comparison.loss == pytest.approx(state.result.loss, rel=1e-9)

    def test_what_was_told(self, fitted):
        assert [phase for phase, _ in itertools.groupby(fitted.phases)] == ["compiling", "fitting", "uncertainties", "done"]
        for topics, phase in zip(fitted.topics, fitted.phases, strict=True):
            expected = {
                "compiling": {"fit", "status"},
                "fitting": {"fit", "model", "status"},
                "uncertainties": {"fit", "parameters", "model", "result", "status"},
                "done": {"fit", "result", "status"},
            }[phase]
            assert topics == expected, phase

    def test_bounds_priors_and_options_are_heeded(self, make_state):
        # without a second program: adam, nearest, loss 1, a fixed omega
        state = make_state()
        state.set_bounds("r0", (2600, 2710))
        state.set_bounds("phi0", (50, 70) * u.deg)
        state.set_prior("phi0", (57, 0.01) * u.deg)
        state.set_fit(n_epochs=400, learning_rate=0.02, patience=400)
        state.start_fit()
        assert state.wait(PATIENCE)
        assert 2600 <= state.session.values["r0"] <= 2710
        assert state.parameters["phi0"].value == pytest.approx(57, abs=0.05)
        assert len(state.losses) == 401

    def test_undo_goes_back_to_the_start(self, make_state):
        state = make_state()
        state.set_value("r0", 2600)
        state.set_fit(n_epochs=40)
        start, loss = state.session, state.comparison.loss
        state.start_fit()
        assert state.wait(PATIENCE)
        end = state.session
        assert end.values["r0"] != 2600
        state.undo()
        assert state.session == start
        assert state.comparison.loss == loss
        assert not state.is_fitted
        assert state.result is not None
        state.redo()
        assert state.session == end
        assert state.is_fitted
        state.set_value("v_r0", 0.5)
        assert not state.is_fitted

    def test_a_periodic_parameter_stays_within_its_bounds(self, make_state):
        state = make_state(start={"pa": -170 * u.deg}, bounds={"pa": (-200, -150) * u.deg})
        state.start_fit()
        assert state.wait(PATIENCE)
        assert state.parameters["pa"].value == pytest.approx(194, abs=1)
        state.set_value("mass", 3.9)
        state.start_fit()
        state.wait(PATIENCE)


class TestInterrupted:
    def test_stopped(self, interrupted):
        stopped = interrupted.stopped
        assert stopped.phase == "stopped"
        assert not stopped.busy
        assert stopped.can_resume
        assert stopped.is_fitted
        assert stopped.result.stop == Stop.BY_CALLER
        assert len(stopped.result.loss_history) == 50
        assert stopped.session.values["r0"] == to_internal("r0", stopped.result.best_opt_params["r0"])
        assert stopped.samples.shape == (60, 100, 3)
        assert "stopped by the caller" in stopped.status

    def test_taken_up_again_it_ends_as_if_it_had_never_stopped(self, interrupted, script_fit):
        state, expected = interrupted.state, script_fit(**interrupted.keywords)
        assert len(expected.loss_history) > 1000
        np.testing.assert_array_equal(state.result.loss_history, expected.loss_history)
        np.testing.assert_array_equal(state.result.x, expected.x)
        assert state.result.best_opt_params == expected.best_opt_params
        assert state.result.stop == expected.stop
        np.testing.assert_array_equal(state.result.loss_history[:50], interrupted.stopped.result.loss_history)
        assert state.phase == "done"
        assert not state.can_resume

    def test_undo_goes_back_to_the_start_of_the_whole(self, interrupted):
        state = interrupted.state
        assert state.fitted_session.values["r0"] == 2700
        assert [session.values["r0"] for session in state._undo][-1] == 2700


@pytest.fixture
def first(state, toy, until):
    """The toy fits, of which a first one has made one step and waits before the second."""
    toy.close(1)
    state.start_fit()
    until(lambda: state.phase == "fitting")
    return toy


class TestRefused:
    def test_without_a_cut(self, bare, everything, refused, toy):
        before = everything(bare)
        for launch in (bare.start_fit, bare.auto):
            with refused("cut"):
                launch()
        assert everything(bare) == before
        assert toy.n_fits == 0

    def test_without_a_free_parameter(self, make_state, everything, refused):
        state = make_state(start={})
        before = everything(state)
        for launch in (state.start_fit, state.auto):
            with refused("free|initial_opt_params"):
                launch()
        assert everything(state) == before
        assert not state.busy

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s.start_fit(),
            lambda s: s.auto(),
            lambda s: s.set_value("r0", 2000),
            lambda s: s.set_parameters({"mass": 3}),
            lambda s: s.set_rotation("rc"),
            lambda s: s.set_free("mass"),
            lambda s: s.set_bounds("r0", (2000, 3000)),
            lambda s: s.set_prior("r0", (2000, 300)),
            lambda s: s.set_cut(n_elements=8),
            lambda s: s.add_region(b"image\ncircle(32,20,10)\n"),
            lambda s: s.set_fit(n_epochs=10),
            lambda s: s.undo(),
            lambda s: s.redo(),
            lambda s: s.reset(),
            lambda s: s.resume_fit(),
        ],
    )
    @pytest.mark.parametrize("running", ["fit", "search"])
    def test_while_it_runs(self, state, toy, until, refused, monkeypatch, change, running):
        state.set_value("r0", 2650)
        state.set_value("v_r0", 0.2)
        state.undo()
        toy.close(1)
        monkeypatch.setattr("sting.explorer.fitting.iterate_search", searches(toy))
        if running == "fit":
            state.start_fit()
        else:
            state.auto()
        until(lambda: len(toy.done) == 1)
        session, undo, redo = state.session, list(state._undo), list(state._redo)
        with refused("explorer|resume", RuntimeError):
            change(state)
        assert state.busy
        assert state.session is session
        assert (state._undo, state._redo) == (undo, redo)
        toy.open()
        assert state.wait(PATIENCE)
        assert toy.n_fits == 1
        assert not state.busy

    def test_resume_without_a_fit(self, state, refused):
        with refused("resume", RuntimeError):
            state.resume_fit()


def searches(toy):
    """The toy fits as searches."""

    def iterate(*arguments, **keywords):
        assert set(keywords) == {"param_bounds", "priors", "matching", "loss_method"}
        for snapshot in toy(*arguments, **keywords):
            r0 = snapshot.result.best_opt_params["r0"]
            yield {"fraction": snapshot.epoch / snapshot.n_epochs, "loss": snapshot.best_loss, "params": {"r0": r0}}

    return iterate


class TestWatched:
    def test_while_it_runs(self, first, state, until):
        assert state.busy
        assert state.progress == 0.25
        np.testing.assert_array_equal(state.losses, np.full(50, 10.0))
        assert "epoch 50" in state.status
        assert "10" in state.status
        # the model that is shown is that of the fit, the values those of the start
        assert state.session.values["r0"] == 2700
        np.testing.assert_array_equal(state.comparison.curve, state.preview(state.session.values | {"r0": 2600.0}).curve)
        first.open()
        assert state.wait(PATIENCE)
        assert state.session.values["r0"] == 2300
        np.testing.assert_array_equal(state.comparison.curve, state.preview(state.session.values).curve)

    def test_the_time_left_is_not_told_before_it_is_known(self, first, state):
        assert "left" not in state.status

    def test_the_losses_of_a_new_fit_are_its_own(self, first, state):
        first.open()
        assert state.wait(PATIENCE)
        assert len(state.losses) == 200
        first.close()
        state.start_fit()
        assert len(state.losses) == 0
        assert state.progress == 0
        assert state.phase == "compiling"

    def test_a_fit_ends_what_could_be_redone(self, state, toy):
        state.set_value("mass", 3)
        state.undo()
        state.start_fit()
        assert state.wait(PATIENCE)
        assert not state.can_redo
        state.undo()
        assert state.session == state.initial

    def test_wait(self, first, state):
        assert not state.wait(0.05)
        first.open()
        assert state.wait(PATIENCE)
        assert state.wait()

    def test_nothing_to_wait_for(self, state):
        assert state.wait()

    def test_no_samples_where_no_covariance_is(self, state, toy, monkeypatch):
        def fail(self, *arguments, **keywords):
            raise np.linalg.LinAlgError("singular")

        monkeypatch.setattr(toy.result, "sample_streamlines", fail)
        state.start_fit()
        assert state.wait(PATIENCE)
        assert state.phase == "done"
        assert state.samples is None
        assert state.status == "toy fit of 200 epochs"


class TestStopped:
    def test_between_two_steps(self, first, state, until):
        state.stop_fit()
        assert state.busy
        first.open(1)
        assert state.wait(PATIENCE)
        assert first.done == [(1, 0), (1, 1)]
        assert state.phase == "stopped"
        assert state.session.values["r0"] == 2500
        assert len(state.losses) == len(state.result.loss_history) == 100
        assert state.can_resume
        assert state.can_undo
        state.resume_fit()
        assert state.wait(PATIENCE)
        assert first.done == [(1, 0), (1, 1), (1, 2), (1, 3)]
        assert state.phase == "done"
        assert state.session.values["r0"] == 2300
        state.undo()
        assert state.session.values["r0"] == 2700
        assert not state.can_undo

    def test_twice_is_once(self, first, state):
        state.stop_fit()
        state.stop_fit()
        first.open()
        assert state.wait(PATIENCE)
        assert state.phase == "stopped"
        state.stop_fit()
        assert state.phase == "stopped"

    def test_again_and_again(self, state, toy, until):
        for k in range(4):
            toy.close(*range(4))
            if k == 0:
                state.start_fit()
            else:
                state.resume_fit()
            toy.open(k)
            until(lambda k=k: len(toy.done) == k + 1)
            state.stop_fit()
            toy.open()
            assert state.wait(PATIENCE)
            if not state.can_resume:
                break
        assert toy.done[: k + 1] == [(1, step) for step in range(k + 1)]
        assert toy.n_fits == 1
        state.undo()
        assert state.session.values["r0"] == 2700

    def test_before_the_first_step(self, state, toy, everything):
        toy.close(0)
        session = state.session
        state.start_fit()
        assert state.phase == "compiling"
        state.stop_fit()
        assert state.phase == "stopped"
        assert not state.busy
        assert "before the first step" in state.status
        assert state.can_resume
        toy.open()
        assert state.wait(PATIENCE)
        assert toy.done == [(1, 0)]
        assert state.session is session
        assert state.result is None
        assert not state.can_undo
        assert state.can_resume
        state.resume_fit()
        assert state.phase == "fitting"
        assert state.wait(PATIENCE)
        assert toy.done == [(1, k) for k in range(4)]
        assert state.phase == "done"
        assert state.session.values["r0"] == 2300
        state.undo()
        assert state.session == session

    def test_taken_up_again_before_the_first_step_has_ended(self, state, toy, told):
        toy.close(0)
        state.start_fit()
        state.stop_fit()
        state.resume_fit()
        assert state.phase == "compiling"
        assert state.busy
        toy.open()
        assert state.wait(PATIENCE)
        assert toy.done == [(1, k) for k in range(4)]
        assert state.phase == "done"
        assert state.session.values["r0"] == 2300

    def test_a_new_fit_while_the_old_one_still_compiles(self, state, toy):
        toy.close(0)
        state.start_fit()
        state.stop_fit()
        old = state.job
        state.set_value("r0", 2000)
        state.start_fit()
        toy.open()
        assert state.wait(PATIENCE)
        assert old.wait(PATIENCE)
        assert [step for step in toy.done if step[0] == 1] == [(1, 0)]
        assert state.phase == "done"
        assert state.session.values["r0"] == 1600
        assert state.fitted_session.values["r0"] == 2000

    def test_taken_up_again_while_the_uncertainties_are_computed(self, first, state, until, monkeypatch):
        finish, begun = threading.Event(), threading.Event()
        sample = first.result.sample_streamlines

        def slow(self, *arguments, **keywords):
            begun.set()
            assert finish.wait(PATIENCE)
            return sample(self, *arguments, **keywords)

        monkeypatch.setattr(first.result, "sample_streamlines", slow)
        state.stop_fit()
        first.open(1)
        first.close(2)
        assert begun.wait(PATIENCE)
        assert state.phase == "uncertainties"
        assert not state.busy
        assert state.can_resume
        state.resume_fit()
        old = state.job._threads[0]
        finish.set()
        old.join(PATIENCE)
        assert state.phase == "fitting"
        assert state.busy
        first.open()
        assert state.wait(PATIENCE)
        assert state.phase == "done"
        assert state.session.values["r0"] == 2300

    def test_a_value_may_be_changed_while_the_uncertainties_are_computed(self, first, state, until, monkeypatch):
        finish = threading.Event()
        sample = first.result.sample_streamlines
        monkeypatch.setattr(first.result, "sample_streamlines", lambda *a, **k: finish.wait(PATIENCE) and sample(*a, **k))
        first.open()
        until(lambda: state.phase == "uncertainties")
        state.set_value("mass", 3)
        finish.set()
        assert state.wait(PATIENCE)
        assert state.phase == "done"
        assert state.session.values["mass"] == 3
        assert state.samples is not None
        assert not state.is_fitted

    def test_a_step_that_was_under_way_is_not_told_any_more(self, state, toy, until):
        phases = []
        state.observe(lambda topics: phases.append(state.phase))
        with state.lock:
            state.start_fit()
            until(lambda: len(toy.done) == 1)
            # the thread wants to tell of its first step
            state.stop_fit()
        assert state.wait(PATIENCE)
        assert toy.done == [(1, 0)]
        assert phases == ["compiling", "uncertainties", "stopped"]

    def test_the_end_of_the_stopped_part_does_not_end_the_resumed_one(self, state, toy, until):
        toy.close(0, 1)
        with state.lock:
            state.start_fit()
            state.stop_fit()
            toy.open(0)
            # the thread of the stopped fit has made its step and wants to tell so
            until(lambda: len(toy.done) == 1 and not state.job._turn.locked())
            state.resume_fit()
        threading.Event().wait(0.2)
        busy, phase = state.busy, state.phase
        toy.open()
        assert state.wait(PATIENCE)
        assert (busy, phase) == (True, "fitting")
        assert state.session.values["r0"] == 2300

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s.set_value("v_r0", 1),
            lambda s: s.set_cut(n_elements=8),
            lambda s: s.set_free("mass"),
            lambda s: s.set_fit(n_epochs=5),
            lambda s: s.set_bounds("r0", (100, 5000)),
        ],
    )
    def test_not_taken_up_again_after_a_change(self, first, state, refused, change):
        state.stop_fit()
        first.open()
        assert state.wait(PATIENCE)
        change(state)
        assert not state.can_resume
        with refused("resume", RuntimeError):
            state.resume_fit()
        assert not state.busy
        # what was changed is taken back: it can go on after all
        state.undo()
        assert state.can_resume
        state.set_display(channel=2)
        assert state.can_resume
        state.resume_fit()
        assert state.wait(PATIENCE)
        assert state.session.values["r0"] == 2300

    def test_undone_and_taken_up_again(self, first, state):
        state.stop_fit()
        first.open()
        assert state.wait(PATIENCE)
        state.undo()
        assert state.session.values["r0"] == 2700
        state.resume_fit()
        assert state.wait(PATIENCE)
        assert state.session.values["r0"] == 2300
        state.undo()
        assert state.session.values["r0"] == 2700
        assert not state.can_undo

    def test_not_taken_up_again_from_the_end_of_the_fit_before(self, state, toy):
        state.start_fit()
        assert state.wait(PATIENCE)
        toy.close(0)
        state.set_value("mass", 3)
        state.start_fit()
        state.stop_fit()
        state.undo()
        can_resume = state.can_resume
        toy.open()
        assert state.wait(PATIENCE)
        assert not can_resume

    def test_a_fit_at_its_end_is_not_taken_up_again(self, state, toy, refused):
        state.start_fit()
        assert state.wait(PATIENCE)
        with refused("resume", RuntimeError):
            state.resume_fit()


class TestFailed:
    @pytest.mark.parametrize("step", [0, 2])
    def test_it_is_said_and_nothing_is_changed(self, state, toy, until, told, step):
        toy.error = {step: FloatingPointError("it went up in smoke")}
        toy.close(step)
        session, comparison, undo = state.session, state.comparison, list(state._undo)
        state.start_fit()
        if step:
            until(lambda: state.phase == "fitting")
        heard = told(state)
        toy.open()
        assert state.wait(PATIENCE)
        assert state.phase == "failed"
        assert "it went up in smoke" in state.status
        assert {"fit", "status"} <= heard[-1]
        assert not state.busy
        assert not state.can_resume
        assert state.session is session
        assert state.result is None
        assert state.samples is None
        assert state._undo == undo
        np.testing.assert_array_equal(state.comparison.curve, comparison.curve)

    def test_the_next_one_may_succeed(self, state, toy):
        toy.error = {1: ValueError("no")}
        state.start_fit()
        assert state.wait(PATIENCE)
        assert state.phase == "failed"
        toy.error = {}
        state.start_fit()
        assert state.wait(PATIENCE)
        assert state.phase == "done"
        assert state.session.values["r0"] == 2300

    def test_the_result_before_stays(self, state, toy):
        state.start_fit()
        assert state.wait(PATIENCE)
        result = state.result
        toy.error = {0: ValueError("no")}
        state.set_value("mass", 3)
        state.start_fit()
        assert state.wait(PATIENCE)
        assert state.phase == "failed"
        assert state.result is result
        assert not state.is_fitted


class TestSearch:
    def test_lowers_the_loss(self, make_state):
        # far off in what it may move
        state = make_state(start={"phi0": 250 * u.deg, "r0": 6000 * u.au, "v_lsr": 5.0}, priors={"v_lsr": (7.4, 0.2)})
        before, loss, phases = state.session, state.comparison.loss, []
        state.observe(lambda topics: phases.append(state.phase))
        state.auto()
        assert state.phase == "searching"
        assert state.wait(PATIENCE)
        assert state.comparison.loss < 0.01 * loss
        assert state.parameters["phi0"].value == pytest.approx(60, abs=15)
        assert 7.0 <= state.parameters["v_lsr"].value <= 7.8
        assert f"{state.comparison.loss:.5g}" in state.status
        assert state.phase == "idle"
        assert {"searching", "idle"} == set(phases)
        assert state.result is None
        state.undo()
        assert state.session == before
        assert not state.can_undo

    @pytest.fixture
    def search(self, state, toy, monkeypatch):
        monkeypatch.setattr("sting.explorer.fitting.iterate_search", searches(toy))
        return toy

    def test_stopped_it_keeps_the_best_so_far(self, state, search, until):
        search.close(1)
        state.auto()
        until(lambda: len(search.done) == 1)
        until(lambda: "Searching: 25%" in state.status)
        assert state.progress == 0.25
        assert state.session.values["r0"] == 2700
        state.stop_fit()
        search.open(1)
        assert state.wait(PATIENCE)
        assert search.done == [(1, 0), (1, 1)]
        assert state.session.values["r0"] == 2500
        assert state.phase == "idle"
        assert not state.can_resume
        state.undo()
        assert state.session.values["r0"] == 2700

    def test_stopped_before_its_first_step(self, state, search, refused):
        search.close(0)
        state.auto()
        state.stop_fit()
        assert not state.busy
        assert not state.can_resume
        with refused("resume", RuntimeError):
            state.resume_fit()
        search.open()
        assert state.wait(PATIENCE)
        assert state.session.values["r0"] == 2700
        assert not state.can_undo

    def test_failed(self, state, search):
        search.error = {1: ValueError("nothing found")}
        session = state.session
        state.auto()
        assert state.wait(PATIENCE)
        assert state.phase == "failed"
        assert "nothing found" in state.status
        assert state.session is session

    def test_what_it_finds_may_be_refused(self, state, search, monkeypatch):
        unheard = []
        monkeypatch.setattr(threading, "excepthook", unheard.append)
        state.set_bounds("r0", (2650, 2750))
        state.auto()
        assert state.wait(PATIENCE)
        assert unheard == []
        assert state.phase == "failed"
        assert "r0" in state.status
        assert state.session.values["r0"] == 2700

    def test_bounds_and_a_prior_on_a_periodic_parameter(self, make_state, monkeypatch):
        unheard = []
        monkeypatch.setattr(threading, "excepthook", unheard.append)
        start = {"phi0": 45 * u.deg, "r0": 2700 * u.au, "v_lsr": 7.45}
        state = make_state(start=start, bounds={"phi0": (40, 50) * u.deg}, priors={"phi0": (60, 20) * u.deg})
        state.auto()
        assert state.wait(PATIENCE)
        assert unheard == []
        parse_bounds(state.session.bounds, state.session.values)
        assert state.phase == "idle"
