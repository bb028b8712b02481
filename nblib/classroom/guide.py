"""The teacher's page: a timetable, goals, and of each exercise what goes wrong and what its check says to it."""

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from nblib import __version__, paths, runs
from nblib.classroom import answers, formulas
from nblib.classroom.stubs import BEGIN, END, Asked
from nblib.exercises import check
from nblib.exercises.checking import find
from nblib.files import whole_file
from nblib.pages import TEMPLATES, title_and_promise

WORDS_A_MINUTE = 150  # of prose with formulas and figures; an estimate, and the page says so


@dataclass(frozen=True)
class Task:
    """An exercise on the page; `mistakes` holds what was done wrong and what the check said."""

    name: str
    asks: str
    hint: str
    solution: str
    passes: str
    mistakes: list[tuple[str, str]]


@dataclass(frozen=True)
class Lesson:
    """A notebook on the page; times in minutes, memory in GB, None where nothing was measured."""

    name: str
    title: str
    promise: str
    goals: str
    needs: str
    words: int
    smoke: float | None
    lesson: float | None
    memory: float | None
    tasks: list[Task]

    @property
    def reading(self) -> float:
        """Minutes, estimated from the number of words."""
        return self.words / WORDS_A_MINUTE


def write(folder: str | Path, asked: dict[str, list[Asked]], *, progress: bool = True) -> Path:
    """Write ``teacher.html`` to `folder` and return its path; the checks are run on all known mistakes (a minute).

    Parameters
    ----------
    folder : path
    asked : dict of str to list of Asked
        The exercises by notebook, as `edition.write` returns them.
    progress : bool
        Show a bar.
    """
    measured = json.loads((paths.benchmarks_dir() / "notebooks.json").read_text(encoding="utf-8"))["metrics"]
    bar = tqdm(total=sum(map(len, asked.values())), desc="checks on known mistakes", disable=not progress)
    lessons = []
    with bar:
        for name, exercises in asked.items():
            notebook = nbformat.read(runs.available()[name], as_version=4)
            tasks = [_task(notebook, one, bar) for one in exercises]
            lessons.append(lesson(name, notebook, measured.get(name, {}), tasks))
    path = Path(folder).expanduser().absolute() / "teacher.html"
    with whole_file(path) as partial:
        partial.write_text(page(lessons), encoding="utf-8")
    return path


def page(lessons: list[Lesson]) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["markdown"] = formulas.to_html
    template = environment.get_template("teacher.html.jinja")
    return template.render(lessons=lessons, words_a_minute=WORDS_A_MINUTE, version=__version__)


def lesson(name: str, notebook: NotebookNode, measured: dict[str, Any], tasks: list[Task]) -> Lesson:
    """Return what the page says of a notebook."""
    title, promise = title_and_promise(notebook)
    goals, needs = goals_and_needs(notebook)
    memories = [profile["peak_memory_mb"] / 1000 for profile in measured.values() if profile.get("peak_memory_mb")]
    smoke, lesson = (
        measured[profile]["seconds"] / 60 if profile in measured else None for profile in ("smoke", "class")
    )
    return Lesson(
        name, title, promise, goals, needs, words(notebook), smoke, lesson, max(memories, default=None), tasks
    )


def goals_and_needs(notebook: NotebookNode) -> tuple[str, str]:
    """Return the list of goals and the paragraph on prerequisites in a title cell, in Markdown; "" where missing."""
    text = notebook.cells[0].source
    goals = re.search(r"^After this notebook you can\n+((?:- .+\n?)+)", text, re.MULTILINE)
    needs = re.search(r"^You need .+$", text, re.MULTILINE)
    return (goals[1].strip() if goals else ""), (_unlinked(needs[0]) if needs else "")


def words(notebook: NotebookNode) -> int:
    """Return the number of words of prose, formulas not counted.

    Examples
    --------
    >>> words(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Two words, $x^2 + y$ and *more*.")]))
    4
    """
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    plain = re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$|<!--.*?-->|\]\([^)]*\)", " ", prose, flags=re.DOTALL)
    return len(re.findall(r"[^\W\d_][\w'’-]*", plain))


def _task(notebook: NotebookNode, asked: Asked, bar: tqdm) -> Task:
    bar.set_postfix_str(asked.name)
    cell = next(cell for cell in notebook.cells if cell.id == asked.cell)
    told = [output.data["text/plain"] for output in cell.outputs if "text/plain" in output.get("data", {})]
    passes = told[-1].removeprefix(f"{asked.name}: ") if told else ""
    lines = (line for line in asked.source.splitlines() if line.strip() not in (BEGIN, END) and "check(" not in line)
    said = [(mistake.what, _said(asked.name, mistake)) for mistake in answers.MISTAKES.get(asked.name, [])]
    bar.update()
    return Task(asked.name, asked.text, find(asked.name).hint, "\n".join(lines).strip(), passes, said)


def _said(name: str, mistake: answers.Mistake) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a wrong answer may divide by 0
        return check(name, mistake.function).message


def _unlinked(markdown: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
