"""The frame of all learning checks: properties, a short trial, a verdict in words, and the list of what was passed."""

import functools
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nblib.exercises import recording
from nblib.training import Training, fit

SECONDS = 3.0  # of computing, that a trial may take


class Unmet(Exception):
    """A property that the learner's function does not have; the message says which."""


def require(condition: bool | torch.Tensor, message: str) -> None:
    """Raise `Unmet` unless a property holds."""
    if not condition:
        raise Unmet(message)


@dataclass(frozen=True)
class Trial:
    """What came out of training with the learner's function.

    Attributes
    ----------
    what : str
        What was measured, in words.
    measured : float
        More is better.
    baseline : float
        The least that passes.
    told : str
        The baseline in words.
    """

    what: str
    measured: float
    baseline: float
    told: str


@dataclass(frozen=True)
class Exercise:
    """Something to write, and how to see whether it does its work.

    Attributes
    ----------
    name : str
    hint : str
    properties : callable
        ``properties(function)`` raises `Unmet`.
    trial : callable
        ``trial(function) -> Trial``, at most three seconds.
    """

    name: str
    hint: str
    properties: Callable[[Callable], None]
    trial: Callable[[Callable], Trial]


@dataclass(frozen=True)
class Verdict:
    """What a check found; a notebook shows it in words.

    Attributes
    ----------
    name : str
        Of the exercise.
    passed : bool
    message : str
    hint : str
        What to try; empty if passed.
    measured, baseline : float or None
        Of the trial, if it came to that.
    """

    name: str
    passed: bool
    message: str
    hint: str = ""
    measured: float | None = None
    baseline: float | None = None

    def __repr__(self) -> str:
        return f"{self.name}: {self.message}" + (f"\n    Hint: {self.hint}" if self.hint else "")


_EXERCISES: dict[str, Exercise] = {}
_PASSED: dict[str, Verdict] = {}


def register(exercise: Exercise) -> Exercise:
    """Make an exercise known under its name.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if exercise.name in _EXERCISES:
        raise ValueError(f"there is an exercise {exercise.name!r} already")
    _EXERCISES[exercise.name] = exercise
    return exercise


def find(name: str) -> Exercise:
    """Return an exercise.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in _EXERCISES:
        raise ValueError(f"there is no exercise {name!r}; choose from {', '.join(available())}")
    return _EXERCISES[name]


def available() -> list[str]:
    """Return the names of all exercises, in the order of the course."""
    import nblib.exercises.gan  # noqa: F401  -- it registers its exercises; not at the top, it needs this module

    return list(_EXERCISES)


def passed() -> list[Verdict]:
    """Return the verdicts of the checks passed in this session, in the order of passing."""
    return list(_PASSED.values())


def check(name: str, function: Callable) -> Verdict:
    """Say whether a learner's function does its work; whatever the function does, nothing is raised.

    After `hand_in` with a name, the verdict is noted in ``handin.json``.

    Parameters
    ----------
    name : str
        Of the exercise, see `available`.
    function : callable
        The learner's.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    available()
    exercise = find(name)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # the notebook goes on with the random numbers it had
        torch.manual_seed(0)
        verdict = _judged(exercise, function)
    if verdict.passed:
        _PASSED[name] = verdict
    return replace(verdict, message=verdict.message + recording.note(name, verdict.passed, function))


def _judged(exercise: Exercise, function: Callable) -> Verdict:
    name, hint = exercise.name, exercise.hint
    finished = _finished(function)
    try:
        exercise.properties(finished)
        trial = exercise.trial(finished)
    except Unmet as unmet:
        return Verdict(name, False, f"not yet: {unmet}.", hint)
    except Exception as error:
        return Verdict(name, False, f"not done yet: {_told(error, function)}.", hint)
    found = f"{trial.what}: {trial.measured:.2f}; to pass: {trial.baseline:.2f} ({trial.told})."
    if not trial.measured >= trial.baseline:  # NaN does not pass
        return Verdict(
            name, False, f"not yet: it has the properties, but {found}", hint, trial.measured, trial.baseline
        )
    return Verdict(name, True, f"passed. {found[0].upper()}{found[1:]}", "", trial.measured, trial.baseline)


def _finished(function: Callable) -> Callable:
    """Return the function such that an unwritten one raises NotImplementedError."""

    def finished(*args: Any, **named: Any) -> Any:
        if not callable(function):
            raise NotImplementedError(f"{function!r} is no function")
        result = function(*args, **named)
        if result is None or result is ...:
            raise NotImplementedError(f"it returns {result}; write it, or add the missing return")
        return result

    return functools.update_wrapper(finished, function)


def _told(error: Exception, function: Callable) -> str:
    """Return an exception in a line: for one raised in the learner's own function, with the line of it."""
    said = " ".join(str(error).split())
    if isinstance(error, NotImplementedError):
        return said or "it raises NotImplementedError"
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    place = f" at `{lines[-1].line}`" if lines and lines[-1].line else ""
    return f"it raises {type(error).__name__}{place}: {said.rstrip('.')}"


def trained(training: Training, step: Callable, batches: Any, steps: int) -> int:
    """Train up to `steps` in all, or until `SECONDS` of computing are over; return the steps done.

    The clock is that of this thread's computing, so a busy machine does not change the verdict.
    """
    start, threads = time.thread_time(), torch.get_num_threads()
    torch.set_num_threads(1)  # more gain nothing on networks this small, and on a busy machine wait for each other
    try:
        logs = fit(training, step, batches, steps=steps, log_every=10, precision="fp32", device="cpu", progress=False)
        for log in logs:
            if time.thread_time() - start > SECONDS:
                training.stop()
            last = log.step
    finally:
        torch.set_num_threads(threads)
    return last


def taught(training: Training, loss: Callable[[Any], Tensor], batches: Any, steps: int) -> int:
    """Train the player "net" down a loss of the batch alone, as `trained` does."""

    def step(training: Training, batch: Any) -> dict[str, Tensor]:
        value = loss(batch)
        training.descend("net", value)
        return {"loss": value}

    return trained(training, step, batches, steps)
