"""The hand-in: a JSON file of the exercises that a student tried and passed, written by them and read by a teacher.

A teacher reads files from strangers. `parse` therefore takes bytes and trusts none of them: their size and nesting,
every key, type and length are checked, text holds no control characters, and a source is only ever text.
"""

import hashlib
import io
import json
import re
import tokenize
import unicodedata
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

KIND, VERSION = "nblib hand-in", 1
MAX_BYTES = 1_000_000
MAX_EXERCISES = 200
LONGEST = {"student": 100, "source": 20_000, "nblib": 40, "notebook": 120}
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True)
class Answer:
    """What is kept of one exercise.

    Attributes
    ----------
    passed : bool
    tries : int
        How often the check saw another answer than the time before, up to the first that passed.
    time : str
        When it passed, else when it was last tried; ISO 8601 with the offset from UTC.
    source : str
        The answer: the first that passed, else the last.
    nblib : str
        Version of the library that checked.
    notebook : str
        ``name@stamp`` of the notebook, or "".
    """

    passed: bool
    tries: int
    time: str
    source: str
    nblib: str
    notebook: str = ""

    @property
    def sha256(self) -> str:
        """Hash of the source."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def moment(self) -> datetime:
        """The time as a point in time."""
        return datetime.fromisoformat(self.time)


@dataclass
class Record:
    """A student and their answers by exercise.

    Examples
    --------
    >>> told = Record("Ada", {"paste": Answer(True, 2, "2026-03-02T10:00:00+01:00", "def f(): ...", "0.1.0")})
    >>> parse(json.dumps(told.as_json()).encode()) == told
    True
    """

    student: str
    answers: dict[str, Answer] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what is written to the file."""
        exercises = {name: {**asdict(answer), "sha256": answer.sha256} for name, answer in self.answers.items()}
        return {"kind": KIND, "version": VERSION, "student": self.student, "exercises": exercises}


def parse(data: bytes) -> Record:
    """Return the record in `data`, the bytes of a file from somebody else.

    Raises
    ------
    ValueError
        If it is not a hand-in in every respect; the message says in which.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES / 1e6:g} MB")
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # bad UTF-8 and numbers of a million digits are ValueErrors, too
        raise ValueError(f"not JSON ({type(error).__name__})") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ValueError("not a hand-in of nblib")
    if found.get("version") != VERSION:
        raise ValueError(f"of another version than {VERSION}; collect it with the nblib that wrote it")
    exercises = found.get("exercises")
    if not isinstance(exercises, dict) or len(exercises) > MAX_EXERCISES:
        raise ValueError(f"exercises must be a table of at most {MAX_EXERCISES}")
    student = checked_name(found.get("student"))
    return Record(student, {_exercise(name): _answer(name, entry) for name, entry in exercises.items()})


def checked_name(student: Any) -> str:
    """Return a student's name with single blanks between its words, its accents composed (NFC).

    Raises
    ------
    ValueError
        If it is no text, empty, too long, or holds control characters.
    """
    name = unicodedata.normalize("NFC", " ".join(student.split())) if isinstance(student, str) else student
    if not name:
        raise ValueError("student: a name is text, and not empty")
    return _text(name, "student")


def printable(text: str) -> str:
    r"""Return `text` with every character that a hand-in may not hold replaced.

    Examples
    --------
    >>> printable("a\tb\x1b[2J")
    'a\tb�[2J'
    """
    return "".join(character if _is_plain(character) else "\N{REPLACEMENT CHARACTER}" for character in text)


def _is_plain(character: str) -> bool:
    return character.isprintable() or character in "\n\t\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def bare_source(source: str) -> str:
    r"""Return a source without comments, blank lines and spacing, so that copies look alike; nothing is run.

    Examples
    --------
    >>> bare_source("def f(x):  # mine\n\n    return x+1") == bare_source("def f( x ):\n  return x + 1\n")
    True
    """
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING)
    try:
        tokens = [
            token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in skipped
        ]
    except (tokenize.TokenError, SyntaxError):
        return " ".join(source.split())
    layout = {tokenize.INDENT: "\n>", tokenize.DEDENT: "\n<", tokenize.NEWLINE: "\n"}
    return " ".join(layout.get(token.type, token.string) for token in tokens)


def _exercise(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:60]!r} is no name of an exercise")
    return name


def _answer(name: str, entry: Any) -> Answer:
    if not isinstance(entry, dict) or set(entry) != {*Answer.__dataclass_fields__, "sha256"}:
        raise ValueError(f"{name}: not what a check writes")
    if not isinstance(entry["passed"], bool):
        raise ValueError(f"{name}: passed is true or false")
    tries = entry["tries"]
    if type(tries) is not int or not 1 <= tries <= 100_000:
        raise ValueError(f"{name}: tries is a number from 1")
    texts = {key: _text(entry[key], key) for key in ("source", "nblib", "notebook")}
    answer = Answer(passed=entry["passed"], tries=tries, time=_time(name, entry["time"]), **texts)
    if entry["sha256"] != answer.sha256:
        raise ValueError(f"{name}: the source is not the one that was checked (its hash differs)")
    return answer


def _time(name: str, value: Any) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: time is not a date and time") from None
    if moment.tzinfo is None:
        raise ValueError(f"{name}: time has no offset from UTC")
    return moment.isoformat(timespec="seconds")


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST[key]:
        raise ValueError(f"{key}: text of at most {LONGEST[key]} characters")
    if not all(map(_is_plain, value)):
        raise ValueError(f"{key}: holds control characters")
    return value
