"""`compare`: everything about two sides, and whether B may pass for A."""

import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nblib import results
from nblib.comparison import cells
from nblib.comparison.cells import CellTime, Pictures
from nblib.comparison.measures import BEYOND, MISSING, Difference, Tolerances, differences, labels, measured
from nblib.comparison.sides import Sheet, Side, read_side

Pair = tuple[str, Sheet, Sheet]


@dataclass(frozen=True)
class Change:
    """A setting that differs; None where a side does not have it.

    Attributes
    ----------
    what : str
        "parameter steps", "version of torch", "device", "code", "profile".
    where : tuple of str
        The notebooks that it differs in; empty if in everything that is on both sides.
    a, b : object
    """

    what: str
    where: tuple[str, ...]
    a: Any
    b: Any


@dataclass(frozen=True)
class Time:
    """Seconds that a notebook, or a method per picture, took; None where that is not known."""

    what: str
    a: float | None
    b: float | None

    @property
    def ratio(self) -> float | None:
        """How many times as long B took."""
        return self.b / self.a if self.a and self.b is not None else None


@dataclass(frozen=True)
class Comparison:
    """Two sides and how they differ.

    Attributes
    ----------
    a, b : Side
    tolerances : Tolerances
    time_tolerance : float or None
        How many times as long B may take; None: any time.
    differences : list of Difference
        Of all metrics.
    changes : list of Change
    times : list of Time
        Of notebooks, and of an evaluation's methods per picture.
    cell_times : list of CellTime
        The largest change first.
    pictures : list of Pictures
    seconds : float
        What the comparison itself took.
    """

    a: Side
    b: Side
    tolerances: Tolerances
    time_tolerance: float | None
    differences: list[Difference]
    changes: list[Change]
    times: list[Time]
    cell_times: list[CellTime]
    pictures: list[Pictures]
    seconds: float

    @property
    def only_a(self) -> list[str]:
        """Notebooks and methods that only A has."""
        return _only(self.a, self.b)

    @property
    def only_b(self) -> list[str]:
        """Notebooks and methods that only B has."""
        return _only(self.b, self.a)

    @property
    def broken(self) -> dict[str, str]:
        """Notebooks complete in A that failed in B, and why."""
        return {
            name: theirs.error or theirs.status
            for name, ours, theirs in pairs(self.a, self.b)
            if ours.complete and not theirs.complete
        }

    @property
    def slower(self) -> list[Time]:
        """What took more than `time_tolerance` times as long in B."""
        if self.time_tolerance is None:
            return []
        return [entry for entry in self.times if (entry.ratio or 0.0) > self.time_tolerance]

    @cached_property
    def reasons(self) -> list[str]:
        """Why B may not pass for A; empty if it may."""
        worst = sorted(self.differences, key=lambda entry: -entry.strain)
        beyond = [entry.label for entry in worst if entry.verdict == BEYOND]
        gone = [entry.label for entry in worst if entry.verdict == MISSING]
        told = [f"{name} is complete in A, not in B: {why}" for name, why in self.broken.items()]
        told += [f"{name}: in A only" for name in self.only_a]
        told += [f"{_count(len(gone), 'metric')} of A missing in B: {_names(gone)}"] if gone else []
        told += [f"{_count(len(beyond), 'metric')} beyond tolerance: {_names(beyond)}"] if beyond else []
        return told + [f"{entry.what} took {entry.ratio:.2f} times as long" for entry in self.slower]

    @property
    def passes(self) -> bool:
        """Whether B lies within the tolerances of A, and lacks nothing of it."""
        return not self.reasons


def compare(
    a: str | Path,
    b: str | Path,
    tolerances: Tolerances | None = None,
    *,
    time_tolerance: float | None = None,
    progress: bool = True,
) -> Comparison:
    """Compare two runs, two notebooks' folders, two cells of a sweep, or two evaluations.

    Parameters
    ----------
    a, b : path
        Folders, or records on their own; `a` is what `b` is measured by.
    tolerances : Tolerances, optional
        By default 1 % of the larger of two values, at least 0.0001. Where an interval of the difference is known,
        it must exclude 0 as well before a difference counts.
    time_tolerance : float, optional
        How many times as long each notebook of B, and each method per picture, may take. By default times are told,
        and no more.
    progress : bool, default True
        Show a bar where there are several notebooks.

    Raises
    ------
    FileNotFoundError, ValueError
        If one of the two is nothing to compare, or damaged; if they are of different kinds or of different
        notebooks; if a tolerance names no metric. All but damage is found before notebooks and values are opened.
    """
    began = time.perf_counter()
    if time_tolerance is not None and not 1 <= time_tolerance < float("inf"):
        raise ValueError(f"time_tolerance={time_tolerance}: how many times as long B may take, a number from 1 on")
    tolerances = tolerances or Tolerances()
    one, other = read_side(a), read_side(b)
    _check_kinds(one, other)
    tolerances.check(_known_metrics(one, other))
    both = pairs(one, other)
    found: dict[str, list[Any]] = {"differences": [], "times": [], "cell_times": [], "pictures": []}
    for _, ours, theirs in tqdm(both, desc="comparing", unit="notebook", disable=not progress or len(both) < 2):
        if ours.complete and theirs.complete:
            found["differences"] += differences(ours, theirs, tolerances)
        found["times"] += _times(ours, theirs)
        found["cell_times"] += cells.cell_times(ours, theirs)
        found["pictures"] += cells.pictures(ours, theirs)
    found["cell_times"].sort(key=lambda cell: -abs(cell.change))
    changes, seconds = _changes(one, other), time.perf_counter() - began
    return Comparison(one, other, tolerances, time_tolerance, changes=changes, seconds=seconds, **found)


def pairs(a: Side, b: Side) -> list[Pair]:
    """Return the sheets that are on both sides; those of two single records belong together."""
    if a.kind != "run":
        return [(name, sheet, other) for (name, sheet), other in zip(a.sheets.items(), b.sheets.values(), strict=True)]
    return [(name, sheet, b.sheets[name]) for name, sheet in a.sheets.items() if name in b.sheets]


def _check_kinds(a: Side, b: Side) -> None:
    for side in (a, b):
        if not side.sheets:
            raise ValueError(f"{side.path}: a run without notebooks; nothing to compare")
    copies = [sheet.copy for side in (a, b) if side.kind != "run" for sheet in side.sheets.values() if sheet.copy]
    if len({copy.stem for copy in copies}) > 1:
        raise ValueError(f"{a.path} is of {copies[0].stem}, {b.path} of {copies[1].stem}: compare runs of one notebook")
    if a.kind != b.kind:
        hint = ""
        if "run" in (a.kind, b.kind):
            run = a if a.kind == "run" else b
            hint = f"; a run holds a folder for each notebook, as in {run.path / next(iter(run.sheets))}"
        raise ValueError(f"{a.path} is of kind {a.kind!r}, {b.path} of kind {b.kind!r}: compare two of a kind{hint}")


def _known_metrics(*sides: Side) -> list[str]:
    """Return all names that a tolerance may use, the short ones first."""
    found = [
        labels(name, method, metric)
        for side in sides
        for name, sheet in side.sheets.items()
        for method, metric in measured(sheet.record)
    ]
    return [names[0] for names in found] + [name for names in found for name in names[1:]]


def _only(a: Side, b: Side) -> list[str]:
    """Return the notebooks, and the methods of shared evaluations, that are in `a` only."""
    notebooks = [name for name in a.sheets if a.kind == "run" and name not in b.sheets]
    methods = [
        f"{name}/{method}" if name[:1].isdigit() else method
        for name, ours, theirs in pairs(a, b)
        for method in ours.record.get("methods", {})
        if method not in theirs.record.get("methods", {}) and theirs.complete
    ]
    return notebooks + methods


def _changes(a: Side, b: Side) -> list[Change]:
    """Return the settings that differ, the same change in several notebooks once."""
    both = pairs(a, b)
    found: dict[tuple[str, str, str], tuple[list[str], Any, Any]] = {}
    for name, *sheets in both:
        ours, theirs = (sheet.settings for sheet in sheets)
        for what in dict.fromkeys([*ours, *theirs]):
            one, other = ours.get(what), theirs.get(what)
            known = (what in ours and what in theirs) or all(sheet.complete for sheet in sheets)  # failed: no record
            if one != other and repr(one) != repr(other) and known:  # NaN is not itself
                found.setdefault((what, repr(one), repr(other)), ([], one, other))[0].append(name)
    changes = [
        Change(what, () if len(where) == len(both) else tuple(where), one, other)
        for (what, _, _), (where, one, other) in found.items()
    ]
    profiles = [side.record["parameters"]["profile"] for side in (a, b) if side.kind == "run"]
    return ([Change("profile", (), *profiles)] if profiles and profiles[0] != profiles[1] else []) + changes


def _times(a: Sheet, b: Sheet) -> list[Time]:
    found = [Time(a.name, *(_seconds(sheet.seconds) for sheet in (a, b)))]
    ours, theirs = (
        {name: _seconds(scores.get("seconds_per_image")) for name, scores in sheet.record.get("methods", {}).items()}
        for sheet in (a, b)
    )
    return found + [Time(f"{name}, per picture", ours[name], theirs[name]) for name in ours if name in theirs]


def _seconds(value: Any) -> float | None:
    seconds = results.number(value)
    return None if math.isnan(seconds) else seconds


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _names(labels: list[str], most: int = 4) -> str:
    return ", ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")
