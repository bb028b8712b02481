"""What a sweep is to run: every combination of the swept values, times seeds, checked before anything starts.

A sweep is a folder: ``sweep.json`` (this plan), a copy of the notebook as it was planned, ``cells/NAME/`` with what
each combination left, and the table, figures and page made of them.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from nblib import results, runs
from nblib.files import whole_file, write_json
from nblib.parameters import bind

SEED = "seed"
OWN = "out"  # each cell writes into a folder of its own
LONGEST = 100  # characters of a cell's name


@dataclass(frozen=True)
class Plan:
    """What a sweep runs.

    Attributes
    ----------
    notebook : str
        Name of the notebook.
    profile : str
        Where the parameters that nobody named come from.
    grid : dict of str to list
        Swept parameters and their values.
    fixed : dict
        Parameters set in every cell, over the profile's.
    seeds : int
        How often each combination runs, with another seed each time.
    stamp : str
        Hash of the notebook's code.
    cells : dict of str to dict
        Name and parameters of each cell.
    """

    notebook: str
    profile: str
    grid: dict[str, list[Any]]
    fixed: dict[str, Any]
    seeds: int
    stamp: str
    cells: dict[str, dict[str, Any]] = field(repr=False)

    @classmethod
    def load(cls, out: Path) -> "Plan":
        """Read the plan in the sweep folder `out`.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no sweep, or ``sweep.json`` is not one.
        """
        path = Path(out) / "sweep.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no sweep there; start one with `nblib sweep … --out {out}`")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(**found["parameters"], stamp=found["stamp"], cells=found["cells"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not the plan of a sweep ({error}); choose another --out") from error

    def save(self, out: Path, notebook: NotebookNode) -> None:
        """Write ``sweep.json`` and the notebook into the sweep folder `out`."""
        with whole_file(self.source(out)) as partial:
            nbformat.write(notebook, partial)
        entries = asdict(self)
        stamp, cells = entries.pop("stamp"), entries.pop("cells")
        record = results.record("sweep", parameters=entries, seconds=0, metrics={}, stamp=stamp, cells=cells)
        write_json(Path(out) / "sweep.json", record)

    def source(self, out: Path) -> Path:
        """Return the notebook's copy in the sweep folder `out`."""
        return Path(out) / f"{self.notebook}.ipynb"

    def outcome(self, out: Path, name: str) -> runs.Outcome | None:
        """Return how cell `name` ended, or None if it has not, or ended for another notebook or parameters."""
        try:
            found = json.loads((cell_folder(out, name) / "cell.json").read_text(encoding="utf-8"))
            outcome = runs.Outcome(**found)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError):  # not ours, or damaged: as good as none
            return None
        return outcome if (outcome.stamp, outcome.parameters) == (self.stamp, self.cells[name]) else None

    def missing(self, out: Path) -> list[str]:
        """Return the cells that `out` does not hold complete."""
        ended = {name: self.outcome(out, name) for name in self.cells}
        return [name for name, outcome in ended.items() if outcome is None or outcome.status != runs.COMPLETE]


def cell_folder(out: Path, name: str) -> Path:
    """Return the folder of cell `name` of the sweep in `out`."""
    return Path(out) / "cells" / name


def read_axis(text: str) -> tuple[str, list[str]]:
    """Return name and values of ``NAME=V1,V2``.

    Raises
    ------
    ValueError
        If there is no name, or a value is empty.

    Examples
    --------
    >>> read_axis("prior_weight=0.003, 0.03")
    ('prior_weight', ['0.003', '0.03'])
    """
    name, _, values = text.partition("=")
    listed = [value.strip() for value in values.split(",")]
    if not name.strip() or not all(listed):
        raise ValueError(f"--grid {text}: give a name and its values, as in `--grid steps=100,300`")
    return name.strip(), listed


def read_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the grid of several ``NAME=V1,V2``.

    Raises
    ------
    ValueError
        If one is not of that form, or two have the same name.
    """
    axes = [read_axis(text) for text in texts]
    names = [name for name, _ in axes]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--grid {twice[0]} is given twice; put all its values into one, separated by commas")
    return dict(axes)


def make(
    notebook: str, grid: Mapping[str, Sequence[Any]], seeds: int, profile: str, given: Mapping[str, Any]
) -> tuple[Plan, NotebookNode]:
    """Return the checked plan of a sweep and its notebook.

    Raises
    ------
    ValueError
        For an unknown notebook, profile or parameter (the nearest is named), a value of the wrong type, a value named
        twice, a parameter both swept and fixed, an empty grid, or several seeds for a notebook that takes none.
    """
    chosen = runs.select([notebook])
    name, path = next(iter(chosen.items()))
    if len(chosen) > 1:
        raise ValueError(f"{notebook!r} names several notebooks ({', '.join(chosen)}); a sweep is of one")
    source = nbformat.read(path, as_version=4)
    known = runs.defaults(source)
    axes = {parameter: _values(name, known, parameter, values) for parameter, values in grid.items()}
    _refuse_twice_named(name, axes, given, known, seeds)
    base = bind(name, known, {**runs.profile(profile).get(name, {}), **given})
    combinations = _combinations(axes, _seeds_of(base, known, axes, seeds))
    names = distinct([cell_name(swept) for swept in combinations])
    cells = {cell: {**base, **swept} for cell, swept in zip(names, combinations, strict=True)}
    fixed = bind(name, known, given)
    plan = Plan(name, profile, axes, fixed, seeds, runs.stamp(source), cells)
    return _as_json(plan), source


def admit(out: Path, plan: Plan, resume: bool) -> None:
    """Check that `out` is free for `plan`, or holds the same sweep, or a part of it, and `resume` is on.

    More values or seeds than before are welcome, as no cell is lost by them.

    Raises
    ------
    FileExistsError
        If `out` holds a sweep and `resume` is off.
    ValueError
        If it is another sweep; each difference is listed.
    """
    if not (Path(out) / "sweep.json").exists():
        return
    before = Plan.load(out)
    if listed := "\n  ".join(differences(before, plan)):
        raise ValueError(f"{out} holds another sweep; choose another --out, or call it as before:\n  {listed}")
    if not resume:
        raise FileExistsError(f"{out} holds this sweep already; add --resume to complete it, or choose another --out")


def differences(before: Plan, now: Plan) -> list[str]:
    """Return what makes `now` another sweep than `before`, a line each; nothing if it only has more cells."""
    lines = [
        f"{what}: {getattr(before, what)!r} there, {getattr(now, what)!r} now"
        for what in ("notebook", "profile", "fixed")
        if getattr(before, what) != getattr(now, what)
    ]
    for parameter in {**before.grid, **now.grid}:
        old, new = before.grid.get(parameter), now.grid.get(parameter)
        if old is None or new is None:
            lines.append(f"grid: {parameter} is swept only {'now' if old is None else 'there'}")
        elif lost := [value for value in old if value not in new]:
            lines.append(f"grid: {parameter} has {', '.join(map(repr, lost))} there, but not now")
    if now.seeds < before.seeds:
        lines.append(f"seeds: {before.seeds} there, {now.seeds} now")
    return lines


def cell_name(swept: Mapping[str, Any]) -> str:
    """Return a name for a combination of values that can be a folder's on any system.

    Examples
    --------
    >>> cell_name({"steps": 100, "seed": 0})
    'steps=100_seed=0'
    >>> cell_name({"root": "/data/some faces"})
    'root=-data-some-faces-4a317584'
    """
    return plain_name("_".join(f"{parameter}={value}" for parameter, value in swept.items()) or "only")


def plain_name(text: str) -> str:
    """Return `text` if it can be a file's name on any system; else what of it can, and a hash of it."""
    plain = re.sub(r"[^\w.=+-]+", "-", text, flags=re.ASCII)
    return text if plain == text and len(text) <= LONGEST else _hashed(plain, text)


def distinct(names: Sequence[str]) -> list[str]:
    """Return `names`, with a hash behind each that differs from an earlier one in its capitals alone.

    They would be one folder on macOS and Windows.

    Examples
    --------
    >>> distinct(["name=a", "name=A", "name=b"])
    ['name=a', 'name=A-7c9ca8ce', 'name=b']
    """
    taken: set[str] = set()
    found = []
    for name in names:
        found.append(_hashed(name, name) if name.casefold() in taken else name)
        taken.add(name.casefold())
    return found


def _hashed(plain: str, text: str) -> str:
    return f"{plain[: LONGEST - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _values(notebook: str, known: Mapping[str, Any], parameter: str, values: Sequence[Any]) -> list[Any]:
    """Return the values of one axis, each of the type of the parameter's default."""
    if isinstance(values, str) or not len(values):
        raise ValueError(f"grid: {parameter}={values!r}; give a list of at least one value")
    bound = [bind(notebook, known, {parameter: value})[parameter] for value in values]
    for number, value in enumerate(bound):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"grid: {parameter}={value} is not a number to sweep over")
        if (type(value), value) in [(type(other), other) for other in bound[:number]]:
            raise ValueError(f"grid: {parameter} has the value {value!r} twice; leave one out")
    return bound


def _refuse_twice_named(
    notebook: str, axes: Mapping[str, Any], given: Mapping[str, Any], known: Mapping[str, Any], seeds: int
) -> None:
    if not axes and seeds == 1:
        raise ValueError("nothing to sweep: give values, as in `--grid steps=100,300`, or several --seeds")
    if both := [parameter for parameter in axes if parameter in given]:
        raise ValueError(f"{both[0]} is both swept and fixed; name it in --grid or in -p")
    if OWN in {**axes, **given}:
        raise ValueError(f"{OWN}: each cell of a sweep writes into its own folder; leave it out")
    if seeds > 1 and SEED in axes:
        raise ValueError(f"{SEED} is swept already; leave --seeds out")
    if seeds > 1 and type(known.get(SEED)) is not int:
        raise ValueError(
            f"--seeds {seeds}: {notebook} has no whole-number parameter {SEED!r}; it has: {', '.join(known)}"
        )
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: give at least 1")


def _seeds_of(base: Mapping[str, Any], known: Mapping[str, Any], axes: Mapping[str, Any], seeds: int) -> list[int]:
    """Return the seeds of each combination, counted from the one that is set; none where nothing takes one."""
    first = base.get(SEED, known.get(SEED))
    return [] if SEED in axes or type(first) is not int else [first + k for k in range(seeds)]


def _combinations(axes: Mapping[str, list[Any]], seeds: list[int]) -> list[dict[str, Any]]:
    names = [*axes, *([SEED] if seeds else [])]
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*axes.values(), *([seeds] if seeds else []))
    ]


def _as_json(plan: Plan) -> Plan:
    """Return `plan` as it will be read back, so that what is read can be compared with it."""
    return Plan(**json.loads(json.dumps(asdict(plan))))
