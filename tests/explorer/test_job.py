"""Generators in threads: run, stopped, taken up again, and what is told of them."""

import threading
import time
from types import SimpleNamespace

import pytest

from sting.explorer.job import Job

#: Longest wait (s) for anything that must happen.
PATIENCE = 60


class Toy:
    """A job of ``n`` steps, and all that it told."""

    def __init__(self, n=5, interval=0.0, error=None, pause=0.0):
        self.made, self.told, self.ends = [], [], []
        self.gate = threading.Event()
        self.gate.set()
        self.running = 0
        self.error, self.pause = error, pause
        self.job = Job(self.steps(n), self.told.append, self.end, interval)

    def steps(self, n):
        for k in range(n):
            assert self.gate.wait(PATIENCE)
            self.running += 1
            assert self.running == 1
            time.sleep(self.pause)
            if k == self.error:
                raise ValueError(f"step {k}")
            self.running -= 1
            self.made.append(k)
            yield k

    def end(self, job):
        self.ends.append(SimpleNamespace(job=job, last=job.last, stopped=job.stopped, exhausted=job.exhausted, error=job.error))

    def run(self):
        self.job.start()
        assert self.job.wait(PATIENCE)
        return self


class TestRun:
    def test_to_its_end(self):
        toy = Toy()
        assert toy.job.last is None
        assert not toy.job.exhausted
        toy.run()
        assert toy.made == toy.told == [0, 1, 2, 3, 4]
        assert len(toy.ends) == 1
        end = toy.ends[0]
        assert end.job is toy.job
        assert (end.last, end.exhausted, end.stopped, end.error) == (4, True, False, None)

    def test_in_a_thread_of_its_own_that_does_not_keep_python_alive(self):
        seen = []
        job = Job(iter([1]), lambda step: seen.append(threading.current_thread()), lambda job: None)
        job.start()
        assert job.wait(PATIENCE)
        assert seen[0] is not threading.current_thread()
        assert seen[0].daemon

    def test_nothing_to_do(self):
        toy = Toy(n=0).run()
        assert toy.told == []
        assert toy.ends[0].exhausted
        assert toy.ends[0].last is None

    def test_at_its_end_it_is_not_run_again(self):
        toy = Toy().run()
        toy.run()
        assert toy.made == toy.told == [0, 1, 2, 3, 4]
        # that it is at its end may be told again
        assert all(end.exhausted and end.last == 4 for end in toy.ends)

    @pytest.mark.parametrize("step", [0, 3])
    def test_an_error_is_kept_and_told(self, step):
        toy = Toy(error=step).run()
        assert len(toy.ends) == 1
        assert isinstance(toy.ends[0].error, ValueError)
        assert str(toy.job.error) == f"step {step}"
        assert toy.job.exhausted
        assert toy.made == list(range(step))
        assert toy.job.last == (step - 1 if step else None)

    def test_an_error_of_who_is_told_is_kept_too(self):
        ends = []

        def fail(step):
            raise KeyError("view")

        job = Job(iter(range(3)), fail, ends.append)
        job.start()
        assert job.wait(PATIENCE)
        assert ends == [job]
        assert isinstance(job.error, KeyError)


class TestStop:
    def stop_at(self, toy, k):
        """Have the toy stop itself when it tells of step k."""

        def told(step):
            toy.told.append(step)
            if step == k:
                toy.job.stop()

        toy.job.on_step = told

    def test_and_taken_up_again(self):
        toy = Toy(n=8)
        for k in (0, 3, 4):
            self.stop_at(toy, k)
            toy.run()
            assert toy.job.stopped
            assert not toy.job.exhausted
            assert toy.job.last == k
            assert toy.made == list(range(k + 1))
            assert (toy.ends[-1].stopped, toy.ends[-1].exhausted, toy.ends[-1].last) == (True, False, k)
        toy.run()
        assert toy.made == toy.told == list(range(8))
        assert not toy.job.stopped
        assert [end.exhausted for end in toy.ends] == [False, False, False, True]

    def test_during_a_step_it_is_finished_but_not_told(self):
        toy = Toy()
        toy.gate.clear()
        toy.job.start()
        toy.job.stop()
        toy.gate.set()
        assert toy.job.wait(PATIENCE)
        assert toy.made in ([], [0])
        assert toy.told == []
        assert len(toy.ends) == 1
        toy.run()
        assert toy.made == list(range(5))

    def test_before_it_starts_it_is_forgotten(self):
        toy = Toy()
        toy.job.stop()
        toy.run()
        assert toy.made == list(range(5))
        assert not toy.job.stopped

    @pytest.mark.parametrize("times", [2, 5])
    def test_started_more_than_once_the_steps_are_made_once(self, times):
        toy = Toy(n=20, pause=0.002)
        for _ in range(times):
            toy.job.start()
        assert toy.job.wait(PATIENCE)
        assert toy.job.error is None
        assert toy.made == toy.told == list(range(20))
        assert len([end for end in toy.ends if end.exhausted]) == 1

    def test_stopped_and_started_over_and_over_no_step_is_lost_or_made_twice(self):
        toy = Toy(n=60, pause=0.001)
        while not toy.job.exhausted:
            toy.job.start()
            time.sleep(0.002)
            toy.job.stop()
        assert toy.job.wait(PATIENCE)
        assert toy.job.error is None
        assert toy.made == list(range(60))
        assert toy.ends[-1].exhausted

    def test_started_while_the_stopped_step_is_not_over(self):
        toy = Toy(n=4)
        toy.gate.clear()
        toy.job.start()
        toy.job.stop()
        toy.job.start()
        toy.gate.set()
        assert toy.job.wait(PATIENCE)
        assert toy.made == list(range(4))
        assert toy.job.exhausted


class TestRate:
    def test_at_most_once_in_an_interval(self, monkeypatch):
        clock = SimpleNamespace(now=100.0)
        monkeypatch.setattr("sting.explorer.job.time", SimpleNamespace(monotonic=lambda: clock.now))
        told = []

        def steps():
            for k in range(12):
                clock.now += 0.03
                yield k

        job = Job(steps(), told.append, lambda job: None, interval=0.1)
        job.start()
        assert job.wait(PATIENCE)
        # the first one at once; 0.03, 0.06 and 0.09 s later is too early
        assert told == [0, 4, 8]

    def test_the_first_step_is_told_at_once(self):
        toy = Toy(interval=1e6).run()
        assert toy.made == [0, 1, 2, 3, 4]
        assert toy.told == [0]
        assert toy.ends[0].last == 4

    def test_elapsed_is_the_time_of_all_steps_but_the_first(self, monkeypatch):
        clock = SimpleNamespace(now=100.0)
        monkeypatch.setattr("sting.explorer.job.time", SimpleNamespace(monotonic=lambda: clock.now))

        def steps():
            for seconds in (30, 1, 2, 4):
                clock.now += seconds
                yield seconds

        def slow(step):
            clock.now += 1000

        job = Job(steps(), slow, lambda job: None, interval=0)
        job.start()
        assert job.wait(PATIENCE)
        assert job.elapsed == pytest.approx(7)


class TestWait:
    def test_no_longer_than_asked(self):
        toy = Toy()
        assert toy.job.wait()
        toy.gate.clear()
        toy.job.start()
        began = time.monotonic()
        assert not toy.job.wait(0.1)
        assert 0.09 < time.monotonic() - began < 5
        assert not toy.job.wait(0)
        toy.gate.set()
        assert toy.job.wait()
        assert toy.job.wait(0)

    @pytest.mark.parametrize("times", [1, 2])
    def test_the_callback_at_the_end_is_waited_for(self, times):
        ended = []

        def end(job):
            time.sleep(0.1)
            ended.append(job)

        job = Job(iter([1]), lambda step: None, end)
        for _ in range(times):
            job.start()
        assert job.wait(PATIENCE)
        assert set(ended) == {job}
