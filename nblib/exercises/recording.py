"""What a student wants to hand in: with a name given, each check is noted in ``handin.json`` beside the notebook.

Nothing is kept without a name, and nothing leaves the machine: the file is handed in like any other.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from nblib import __version__, handin
from nblib.files import write_json
from nblib.handin import Answer, Record

FILE = "handin.json"


@dataclass(frozen=True)
class HandIn:
    """Whose checks are noted, and where; without a student, none are. A notebook shows it in words."""

    student: str
    path: Path
    notebook: str = ""

    def __repr__(self) -> str:
        if not self.student:
            return "Nothing is recorded. To hand in, write your name between the quotes and run this cell again."
        return (
            f"Checks are recorded for {self.student} in {self.path}: of each exercise whether it passed, when, "
            "how many answers you tried, and your answer. Hand that file in; nothing leaves this machine by itself."
        )


_current = HandIn("", Path(FILE))


def hand_in(student: str | int, *, notebook: str = "", folder: str | Path = ".") -> HandIn:
    """Note from now on every check in ``handin.json``, or nothing if `student` is empty.

    Parameters
    ----------
    student : str or int
        Your name or number, as your teacher wants it.
    notebook : str
        ``name@stamp`` of the notebook; the student edition fills it in.
    folder : path
        Where the file lies or shall lie; the notebook's folder by default.

    Raises
    ------
    ValueError
        If there is a ``handin.json`` already that is somebody else's, or damaged.

    Examples
    --------
    >>> hand_in("")
    Nothing is recorded. To hand in, write your name between the quotes and run this cell again.
    """
    global _current
    path = Path(folder).absolute() / FILE
    _current = HandIn("", path, notebook)  # whatever fails below, nothing is noted under another name
    if str(student).strip():
        name = handin.checked_name(str(student))
        _read(path, name)
        _current = HandIn(name, path, notebook)
    return _current


def note(exercise: str, passed: bool, function: Callable) -> str:
    """Note a verdict if a name was given; return what to tell of it, "" for nothing."""
    source = source_of(function)
    if not _current.student or _is_stub(source):
        return ""
    try:
        _current.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_current.path.with_name(f".{FILE}.lock"), timeout=10):
            record = _read(_current.path, _current.student)
            record.answers[exercise] = _noted(record.answers.get(exercise), passed, source)
            write_json(_current.path, record.as_json())
    except (OSError, ValueError) as error:  # a check never raises
        return f" But it could not be recorded: {error}."
    return f" Recorded for {_current.student}." if passed else ""


def source_of(function: Callable) -> str:
    """Return the text of a function as far as it is known, at most as much as a hand-in holds."""
    try:
        return handin.printable(textwrap.dedent(inspect.getsource(function)))[: handin.LONGEST["source"]]
    except (OSError, TypeError):
        return ""


def _noted(before: Answer | None, passed: bool, source: str) -> Answer:
    """Return the entry after one more check; the first answer that passed stays, and the same answer counts once."""
    if before and before.passed:
        return before
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    tries = before.tries + (source != before.source) if before else 1
    return Answer(passed, tries, now, source, __version__, _current.notebook)


def _read(path: Path, student: str) -> Record:
    """Return the record at `path`, a new one if there is none; refuse another student's."""
    if not path.exists():
        return Record(student)
    try:
        record = handin.parse(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is {error}; move it away, and checks are recorded anew") from error
    if record.student != student:
        raise ValueError(
            f"{path} belongs to {record.student!r}, not {student!r}; move it away, or name another place: "
            f"hand_in({student!r}, folder=…)"
        )
    return record


def _is_stub(source: str) -> bool:
    """Whether a function consists of its docstring and dots."""
    try:
        body = getattr(ast.parse(source).body[0], "body", [])
    except (SyntaxError, IndexError):
        return False
    return (
        isinstance(body, list)
        and bool(body)
        and all(
            isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            for line in body
        )
    )
