"""A thread that works through a list of jobs which others may replace at any time."""

import atexit
import threading
from collections.abc import Callable

Job = Callable[[], None]


class Lane:
    """Does jobs one after the other, in a thread that ends when there are none and begins anew with the next.

    Parameters
    ----------
    lock : threading.Condition
        Held while the list changes; reentrant, as by default.

    Examples
    --------
    >>> done, ended = [], threading.Event()
    >>> Lane(threading.Condition()).put([lambda: done.append(1), ended.set])
    >>> ended.wait(), done
    (True, [1])
    """

    def __init__(self, lock: threading.Condition):
        self._lock = lock
        self._jobs: list[Job] = []
        self._thread: threading.Thread | None = None

    def put(self, jobs: list[Job]) -> None:
        """Do these jobs instead of those that have not begun."""
        with self._lock:
            self._jobs = list(jobs)
            if self._jobs and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._work, name="lane", daemon=True)
                atexit.register(self._leave)
                self._thread.start()

    def add(self, jobs: list[Job]) -> None:
        """Do these jobs after those that are there."""
        with self._lock:
            self.put([*self._jobs, *jobs])

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._thread = None  # within the lock: whoever puts a job now starts another thread
                    atexit.unregister(self._leave)
                    return
                job = self._jobs.pop(0)
            job()

    def _leave(self) -> None:
        """Wait for the job that runs: Python aborts if it ends while a thread computes in torch."""
        with self._lock:
            self._jobs, thread = [], self._thread
        if thread is not None:
            thread.join()
