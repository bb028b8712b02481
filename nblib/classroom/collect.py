"""Collect what students hand in: many files from strangers, read as text, never run.

A record can be forged: whoever can write the file can write "passed". It shows a teacher what a student says they did,
with the answer to read or to run by hand; it is no examination.
"""

import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from nblib import handin, runs
from nblib.classroom import stubs
from nblib.files import whole_file
from nblib.handin import MAX_BYTES, Answer, Record

MAX_FILES = 5_000  # of a call; also bounds what a zip can make us read, with MAX_BYTES
HEADER = (
    *("student", "exercise", "notebook", "passed", "tries", "time", "sha256"),
    *("made_from", "nblib", "file", "remark", "source"),
)


@dataclass
class Collection:
    """What was found.

    Attributes
    ----------
    students : dict of str to Record
        By name, in alphabetical order.
    files : dict of str to list of str
        Where each student's records lay.
    damaged : dict of str to str
        Files that are meant for a hand-in (by their name, or because you named them) and are none, and why.
    remarks : list of str
        Equal answers of two students, one student's several files, how many other JSON files there are.
    """

    students: dict[str, Record] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def collect(places: list[Path]) -> Collection:
    """Read the hand-ins in folders (all ``.json`` and ``.zip`` files below them), zip files and single files.

    Raises
    ------
    FileNotFoundError
        If a place does not exist, or there is nothing to read in any.
    """
    found, others = Collection(), 0
    for number, (name, data) in enumerate(_contents(places, found)):
        if number == MAX_FILES:
            found.damaged["…"] = f"more than {MAX_FILES} files; collect them in parts"
            break
        try:
            record = handin.parse(data)
        except ValueError as error:
            if "handin" in Path(name.rpartition(": ")[2]).name.lower() or Path(name) in places:
                found.damaged[name] = str(error)
            else:
                others += 1  # whoever hands in a whole folder hands in settings and the like
            continue
        before = found.students.get(record.student, Record(record.student))
        found.students[record.student] = _joined(before, record)
        found.files.setdefault(record.student, []).append(name)
    if not found.students and not found.damaged:
        raise FileNotFoundError(f"no hand-in in {', '.join(map(str, places))}: look for the students' handin.json")
    found.students = dict(sorted(found.students.items(), key=lambda entry: entry[0].casefold()))
    found.remarks = [
        *(f"{name!r} handed in {len(files)} files" for name, files in found.files.items() if len(files) > 1),
        *(text for text, _ in equal_answers(found.students)),
        *([f"{others} other JSON files are no hand-ins"] if others else []),
    ]
    return found


def equal_answers(students: dict[str, Record]) -> list[tuple[str, set[tuple[str, str]]]]:
    """Return remarks on answers of several students that are equal but for layout and comments, the longest first.

    With each comes whom it concerns, as (student, exercise).
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for record in students.values():
        for exercise, answer in record.answers.items():
            if bare := handin.bare_source(answer.source):
                groups.setdefault((exercise, bare), []).append(record.student)
    found = []
    for (exercise, bare), who in groups.items():
        if len(who) > 1:
            lines = bare.split(" ").count("\n")
            text = f"{exercise}: equal answers of {lines} lines from {', '.join(map(repr, who))}"
            found.append((lines, text, {(student, exercise) for student in who}))
    return [(text, whom) for _, text, whom in sorted(found, key=lambda entry: (-entry[0], entry[1]))]


def series_exercises() -> dict[str, list[str]]:
    """Return the names of the exercises of each notebook of the series; of a student edition, too."""
    return {
        name: exercises
        for name, path in runs.available().items()
        if (exercises := stubs.names_of(nbformat.read(path, as_version=4)))
    }


def table(found: Collection, series: dict[str, list[str]]) -> str:
    """Return students by exercises: how many answers it took to pass, "x" for tried in vain, "." for not tried.

    Examples
    --------
    >>> ada = Record("Ada", {"paste": Answer(True, 2, "2026-03-02T10:00:00+01:00", "…", "0.1.0")})
    >>> print(table(Collection({"Ada": ada}), {"03_approxnet": ["hole_l1", "paste"]}))
          03
          1  2   passed
    Ada   .  2   1 of 2
    """
    width = max([len(name) for name in found.students] or [0]) + 3
    heads = [name[:2].ljust(3 * len(exercises)) for name, exercises in series.items()]
    numbers = ["".join(f"{k + 1:<3}" for k in range(len(exercises))) for exercises in series.values()]
    total = sum(map(len, series.values()))
    lines = [(" " * width + " ".join(heads)).rstrip(), " " * width + " ".join(numbers) + " passed"]
    for name, record in found.students.items():
        cells = [
            "".join(f"{_mark(record.answers.get(exercise)):<3}" for exercise in exercises)
            for exercises in series.values()
        ]
        known = [answer for exercise, answer in record.answers.items() if any(exercise in e for e in series.values())]
        passed = sum(answer.passed for answer in known)
        lines.append(f"{name.ljust(width)}{' '.join(cells)} {passed} of {total}")
    return "\n".join(lines)


def write_csv(path: Path, found: Collection, series: dict[str, list[str]]) -> None:
    """Write one line for each student and exercise, answers included, whole or not at all."""
    where = {exercise: name for name, exercises in series.items() for exercise in exercises}
    remarked: dict[tuple[str, str], str] = {}
    for text, whom in equal_answers(found.students):
        remarked |= dict.fromkeys(whom, text)
    with whole_file(path) as partial, open(partial, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for student, record in found.students.items():
            for exercise, one in record.answers.items():
                row = (student, exercise, where.get(exercise, ""), one.passed, one.tries, one.time, one.sha256)
                more = (one.notebook, one.nblib, "; ".join(found.files[student]), remarked.get((student, exercise), ""))
                writer.writerow([_harmless(value) for value in (*row, *more, one.source)])


def _joined(before: Record, after: Record) -> Record:
    """Return two records of one student as one: of each exercise the earlier pass, else the later try."""
    answers = dict(before.answers)
    for exercise, answer in after.answers.items():
        old = answers.get(exercise)
        if old is None or (answer.passed, _order(answer)) > (old.passed, _order(old)):
            answers[exercise] = answer
    return Record(before.student, answers)


def _order(answer: Answer) -> float:
    moment = answer.moment.timestamp()
    return -moment if answer.passed else moment


def _mark(answer: Answer | None) -> str:
    if answer is None:
        return "."
    return str(min(answer.tries, 99)) if answer.passed else "x"


def _harmless(value: object) -> object:
    """Return a cell that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip()[:1] in ("=", "+", "-", "@") and value else value


def _contents(places: list[Path], found: Collection) -> Iterator[tuple[str, bytes]]:
    """Yield names and at most `MAX_BYTES` + 1 bytes of each file; what cannot be read is noted as damaged."""
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"{place}: no such file or folder")
        for path in _files(place, found):
            if path.suffix.lower() == ".zip":
                yield from _zipped(path, found)
                continue
            try:
                with open(path, "rb") as file:
                    yield _told(path), file.read(MAX_BYTES + 1)
            except OSError as error:
                found.damaged[_told(path)] = f"cannot be read ({error.strerror})"


def _files(place: Path, found: Collection) -> Iterator[Path]:
    """Yield the file `place`, or those in the folder `place`; links are not followed."""
    if place.is_file():
        yield place
        return
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() not in (".json", ".zip"):
            continue
        if path.is_symlink():
            found.damaged[_told(path)] = "a link; only files are read"
        elif path.is_file():
            yield path


def _zipped(path: Path, found: Collection) -> Iterator[tuple[str, bytes]]:
    """Yield the JSON files in a zip without unpacking it to the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = f"{_told(path)}: {_told(member.filename)}"
                if member.filename.lower().endswith(".zip") and not _is_macs_own(member.filename):
                    found.damaged[name] = "a zip in a zip; unpack the outer one"
                if member.is_dir() or not member.filename.lower().endswith(".json") or _is_macs_own(member.filename):
                    continue
                try:
                    with archive.open(member) as file:
                        yield name, file.read(MAX_BYTES + 1)
                except Exception as error:  # a stranger's zip can fail in a dozen ways, and stops nobody else's
                    found.damaged[name] = f"cannot be unpacked ({type(error).__name__})"
    except Exception as error:  # NotImplementedError, say, for a version that zipfile does not know
        found.damaged[_told(path)] = f"no zip file ({type(error).__name__})"


def _told(path: Path | str) -> str:
    """Return a path as it may be shown in a terminal."""
    return " ".join(handin.printable(str(path)).split("\n"))


def _is_macs_own(name: str) -> bool:
    """Whether a file of a zip is what macOS adds to it."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")
