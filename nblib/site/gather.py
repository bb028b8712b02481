"""Read what a report is about: runs, evaluations, or a folder of several; nothing in it is trusted.

Names that a record mentions become paths only if they are plain and stay inside the folder, links to elsewhere are not
followed, and what cannot be read becomes a note on the page instead of an end of everything.
"""

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbformat import NotebookNode

from nblib import pages, results
from nblib.answers import METRICS
from nblib.comparison.sides import NAME, inside
from nblib.metrics import Interval
from nblib.runs import COMPLETE, Outcome
from nblib.site.html import unique

DEPTH = 3  # how far below the folder runs are looked for


@dataclass(frozen=True)
class Chapter:
    """One notebook of a run.

    Attributes
    ----------
    key : str
        Names its page; unique in the site.
    name : str
        As in the series, "03_approxnet".
    title, promise : str
        Its heading and the first paragraph below.
    outcome : Outcome
        How it ended.
    notebook : NotebookNode or None
        The executed copy.
    note : str
        Why there is no copy, and what else could not be read; empty if nothing.
    metrics : dict
        Numbers that it left in its results, with their intervals if they have them.
    peak_memory_mb : float or None
        As measured by itself.
    """

    key: str
    name: str
    title: str
    promise: str
    outcome: Outcome
    notebook: NotebookNode | None
    note: str
    metrics: dict[str, Interval]
    peak_memory_mb: float | None

    @property
    def complete(self) -> bool:
        """Whether it came to its end."""
        return self.outcome.status == COMPLETE


@dataclass(frozen=True)
class Board:
    """A leaderboard: means and intervals by method, best in the hole first, and what it was measured on."""

    key: str
    title: str
    told: str
    table: pd.DataFrame
    gallery: bytes | None = None  # PNG of the fills, if no notebook shows them


@dataclass(frozen=True)
class Part:
    """A run or an evaluation: where it lies below the folder, its record, and what belongs to it."""

    name: str
    record: dict[str, Any]
    chapters: tuple[Chapter, ...]
    boards: tuple[Board, ...]


def gather(folder: str | Path) -> list[Part]:
    """Return the runs and evaluations in `folder`, or of which `folder` is one.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or nothing in it to report.
    ValueError
        If a record is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; name one that `nblib run` or `nblib evaluate` wrote")
    root = folder.resolve()
    parts = [_part(root, place, number) for number, place in enumerate(_places(root, root), 1)]
    if not parts:
        raise FileNotFoundError(
            f"{folder}: no run and no evaluation in it; make one with `nblib run --out {folder}` or "
            f"`nblib evaluate --out {folder}`"
        )
    return parts


def slug(text: str) -> str:
    """Return `text` as it may stand in file names and addresses.

    Examples
    --------
    >>> slug("1-big run/03_approx net")
    '1-big-run-03_approx-net'
    """
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-")


def _places(root: Path, folder: Path, depth: int = DEPTH) -> list[Path]:
    """Return the folders of runs and evaluations, those inside a run excluded."""
    if _is_run(root, folder) or _is_evaluation(root, folder):
        return [folder]
    if not depth:
        return []
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return [place for path in below if not path.name.startswith(".") for place in _places(root, path, depth - 1)]


def _is_run(root: Path, folder: Path) -> bool:
    return (folder / "run.json").is_file() and _is_inside(root, folder / "run.json")


def _is_evaluation(root: Path, folder: Path) -> bool:
    return _results(root, folder).get("kind") == "evaluation"


def _is_inside(root: Path, path: Path) -> bool:
    try:
        inside(path, root)
    except ValueError:
        return False
    return True


def _part(root: Path, place: Path, number: int) -> Part:
    name = place.relative_to(root).as_posix() if place != root else ""
    prefix = f"{number}-{name}-" if name else ""
    if not _is_run(root, place):
        record = _results(root, place)
        board = _board(slug(f"{prefix}board"), name or place.name, record, _picture(root, place / "gallery.png"))
        return Part(name, _checked(record), (), (board,))
    record, outcomes = _run(place / "run.json")
    taken: set[str] = set()
    chapters = [
        _chapter(root, place, _key(prefix + called, taken), called, outcome)
        for called, outcome in sorted(outcomes.items())
    ]
    boards = []
    for chapter in chapters:
        found = _results(root, place / chapter.name) if chapter.complete else {}
        if found.get("kind") == "evaluation":
            boards.append(_board(chapter.key, f"{name}: {chapter.title}" if name else chapter.title, found))
    return Part(name, _checked(record), tuple(chapters), tuple(boards))


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the tables that pages show, whatever stood in their places."""
    return record | {name: _dict(record, name) for name in ("parameters", "versions")}


def _run(path: Path) -> tuple[dict[str, Any], dict[str, Outcome]]:
    """Return a run's record and how its notebooks ended.

    Unlike `Run.load` it takes names and values for what they are: text of a stranger's.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        outcomes = {}
        for name, entry in record["notebooks"].items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a notebook")
            error, status = str(entry.get("error", "")), str(entry["status"])
            outcomes[name] = Outcome(
                status, float(entry["seconds"]), entry.get("parameters"), str(entry["stamp"]), error
            )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: not the record of a run ({error}); run again to rewrite it") from error
    return record, outcomes


def _key(text: str, taken: set[str]) -> str:
    """Return the slug of `text`, with a number if it is `taken`, whatever its capitals: pages are files.

    Examples
    --------
    >>> taken = set()
    >>> [_key(text, taken) for text in ("03_a b", "03_a-b", "03_A-B")]
    ['03_a-b', '03_a-b-2', '03_A-B-3']
    """
    key = slug(text)
    return key + unique(key.casefold(), taken)[len(key) :]


def _chapter(root: Path, place: Path, key: str, name: str, outcome: Outcome) -> Chapter:
    notebook, note = _notebook(root, place / name / f"{name}.ipynb")
    title, promise = pages.title_and_promise(notebook) if notebook else (name, "")
    if not isinstance(outcome.parameters, dict):
        outcome = replace(outcome, parameters={})
        note = f"{note} Its parameters cannot be read.".strip()
    found = _results(root, place / name) if outcome.status == COMPLETE else {}  # else they are an earlier attempt's
    metrics = {key: one for key, one in results.estimates(_dict(found, "metrics")).items() if math.isfinite(one.mean)}
    memory = results.number(found.get("peak_memory_mb"))
    memory = None if math.isnan(memory) else memory
    return Chapter(key, name, re.sub(r"[*`]", "", title), promise, outcome, notebook, note, metrics, memory)


def _notebook(root: Path, path: Path) -> tuple[NotebookNode | None, str]:
    """Return an executed copy, or None and the reason."""
    if not path.is_file():
        return None, "There is no copy of this notebook in the run."
    if not _is_inside(root, path):
        return None, "Its copy is a link to a file outside the run, which is not followed."
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat has no common class for its errors
        return None, f"Its copy cannot be read: {type(error).__name__}: {error}"
    return notebook, ""


def _results(root: Path, folder: Path) -> dict[str, Any]:
    """Return the record in a notebook's folder; empty if it left none that can be read."""
    if not _is_inside(root, folder / "results.json"):
        return {}
    try:
        return results.read(folder)
    except (OSError, ValueError):
        return {}


def _picture(root: Path, path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() and _is_inside(root, path) else None
    except OSError:
        return None


def _board(key: str, title: str, record: dict[str, Any], gallery: bytes | None = None) -> Board:
    """Return a leaderboard of a record; numbers that are none stay empty."""
    rows = {}
    for method, scores in _dict(record, "methods").items():
        row = rows[str(method)] = {}
        for metric in METRICS:
            score = scores.get(metric, {}) if isinstance(scores, dict) else {}
            for end in ("mean", "low", "high"):
                value = score.get(end) if isinstance(score, dict) else None
                row[metric if end == "mean" else f"{metric} {end}"] = results.number(value)
        seconds = scores.get("seconds_per_image") if isinstance(scores, dict) else None
        row["seconds_per_image"] = results.number(seconds)
    if not rows:
        raise ValueError(f"{title}: an evaluation without methods; run `nblib evaluate` again")
    told = ", ".join(f"{word} {record.get(word)}" for word in ("data", "split", "protocol", "seed"))
    table = pd.DataFrame.from_dict(rows, orient="index").sort_values("hole_psnr", ascending=False)
    return Board(key, title, f"{record.get('n')} pictures; {told}", table, gallery)


def _dict(record: dict[str, Any], name: str) -> dict:
    value = record.get(name)
    return value if isinstance(value, dict) else {}
