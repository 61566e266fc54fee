"""Long work in a thread of its own: the steps of a generator, to be watched, stopped and taken up again."""

import threading
import time


class Job:
    """A generator run in a thread.

    Stopping suspends the generator between two of its steps, so that a job that is taken up again goes on exactly as if it had
    never stopped.

    Parameters
    ----------
    steps : generator
        The work.
    on_step : callable
        Called from the thread with what the generator yields, at most every ``interval`` seconds.
    on_end : callable
        Called from the thread with the job whenever it ends or was stopped.
    interval : float, optional
        Seconds.

    Attributes
    ----------
    last
        What the generator yielded last; None before its first step.
    error : Exception or None
        What it raised.
    exhausted : bool
        Whether it came to its end.
    elapsed : float
        Seconds that its steps have taken, without the first, which compiles.
    quiet : bool
        Whether nobody waits for it any more.
    """

    def __init__(self, steps, on_step, on_end, interval=0.1):
        self.steps, self.on_step, self.on_end, self.interval = steps, on_step, on_end, interval
        self.last = self.error = None
        self.exhausted = False
        self.elapsed, self._timed = 0.0, False
        self.quiet = False
        self._stop, self._turn = threading.Event(), threading.Lock()
        self._threads, self._told = [], False

    def start(self):
        """Start or take up again."""
        self._stop.clear()
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=self._run, name="sting-job", daemon=True))
        self._threads[-1].start()

    def stop(self):
        """Ask the thread to stop after the step it is in."""
        self._stop.set()

    @property
    def stopped(self):
        """Whether it was asked to stop."""
        return self._stop.is_set()

    def wait(self, timeout=None):
        """Wait for the thread, the callbacks included.

        Parameters
        ----------
        timeout : float, optional
            Seconds at the most.

        Returns
        -------
        bool
            Whether it has ended.
        """
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def superseded(self):
        """Whether the thread that asks this has been followed by another one, which will tell the end."""
        return threading.current_thread() in self._threads[:-1]

    def _run(self):
        # two threads never share the generator, one of whose steps cannot be interrupted
        with self._turn:
            if self._told:
                return
            try:
                self._step()
            except Exception as error:  # told to the user by on_end
                self.error, self.exhausted = error, True
            if self.superseded:
                return
            self._told = self.exhausted
        self.on_end(self)

    def _step(self):
        told = -self.interval
        while not (self._stop.is_set() or self.exhausted or self.superseded):
            try:
                began = time.monotonic()
                self.last = next(self.steps)
                # the first step compiles: that is no measure of the others
                self.elapsed += time.monotonic() - began if self._timed else 0.0
                self._timed = True
            except StopIteration:
                self.exhausted = True
                return
            if not self._stop.is_set() and time.monotonic() - told >= self.interval:
                self.on_step(self.last)
                told = time.monotonic()
