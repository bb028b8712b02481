"""How long a training lasts: a number of steps, a time, or whichever ends first."""

import time
from dataclasses import dataclass


@dataclass
class Budget:
    """The length of a training, and the clock of what was spent inside `fit`.

    Parameters
    ----------
    steps : int, optional
    minutes : float, optional
    seconds : float
        Spent so far, earlier parts of a resumed training included.

    Raises
    ------
    ValueError
        If neither is given, or one is not positive.
    """

    steps: int | None = None
    minutes: float | None = None
    seconds: float = 0.0
    rate: float = 0.0  # steps per second, since the last log

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("say how long to train: steps=…, minutes=… or both")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps}: a training has at least one step")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes={self.minutes}: a time is positive")
        self._started: float | None = None

    def start(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def stop(self, steps: int) -> float:
        """Stop the clock after `steps` more steps; return the seconds they took."""
        passed = time.perf_counter() - self._started
        self.seconds += passed
        self._started = None
        self.rate = steps / passed
        return passed

    def elapsed(self) -> float:
        """Return the seconds spent, those on the running clock included."""
        return self.seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def late(self) -> bool:
        """Return whether the time is over."""
        return self.minutes is not None and self.elapsed() >= 60 * self.minutes

    def complete(self, step: int) -> bool:
        """Return whether `step` was the last one."""
        return self.steps is not None and step >= self.steps

    def progress(self, step: int) -> float:
        """Return how far the training is, from 0 to 1: by its steps if they are given, else by the clock.

        Examples
        --------
        >>> Budget(steps=200, minutes=1000).progress(50)
        0.25
        """
        return step / self.steps if self.steps is not None else min(1.0, self.elapsed() / (60 * self.minutes))

    def remaining(self, step: int) -> float:
        """Return the seconds left, by the latest rate."""
        by_steps = float("inf") if self.steps is None else (self.steps - step) / self.rate
        by_clock = float("inf") if self.minutes is None else 60 * self.minutes - self.seconds
        return max(0.0, min(by_steps, by_clock))
