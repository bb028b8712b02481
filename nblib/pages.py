"""Web pages of a run: one per executed notebook, and an index with how each ended and its first figure."""

import contextlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from nblib import results
from nblib.files import whole_file
from nblib.metrics import Interval

TEMPLATES = Path(__file__).parent / "templates"

if TYPE_CHECKING:  # `runs` imports this module
    from nblib.runs import Outcome, Run


@dataclass(frozen=True)
class Figure:
    """A PNG of a notebook, base64-encoded, and its alt text."""

    data: str
    alt: str


@dataclass(frozen=True)
class Entry:
    """What the index shows of one notebook; `metrics` is None if it left no results."""

    name: str
    outcome: "Outcome"
    title: str
    promise: str
    figure: Figure | None
    metrics: dict[str, Interval] | None


def write_notebook_page(notebook: Path, page: Path) -> None:
    """Convert an executed notebook to a page with its figures inside.

    Raises
    ------
    FileNotFoundError
        If there is no such notebook.
    """
    exporter = HTMLExporter(template_name="page", extra_template_basedirs=[str(TEMPLATES)])
    body, _ = exporter.from_notebook_node(nbformat.read(notebook, as_version=4), {"metadata": {"name": notebook.stem}})
    with whole_file(page) as partial:
        partial.write_text(body, encoding="utf-8")


def index_page(run: "Run") -> str:
    """Return the page that shows a run at a glance."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("index.html.jinja")
    entries = [_entry(run.out, name, outcome) for name, outcome in sorted(run.outcomes.items())]
    return template.render(run=run, entries=entries, versions=results.versions())


def title_and_promise(notebook: NotebookNode) -> tuple[str, str]:
    """Return the H1 of a notebook and the first paragraph below it, without markup."""
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    title = re.search(r"^# +(.+)$", text, re.MULTILINE)
    below = text[title.end() :].strip() if title else ""
    promise = re.sub(r"[*_`]", "", below.split("\n\n")[0].replace("\n", " "))
    return (title.group(1) if title else "Untitled"), promise


def first_figure(notebook: NotebookNode) -> Figure | None:
    """Return the first PNG among a notebook's outputs, or None."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if data := output.get("data", {}).get("image/png"):
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "first figure of the notebook")
                return Figure("".join(data.split()), alt)
    return None


def _entry(out: Path, name: str, outcome: "Outcome") -> Entry:
    path, metrics = out / name / f"{name}.ipynb", None
    notebook, (title, promise) = nbformat.v4.new_notebook(), (name, "")
    with contextlib.suppress(OSError, ValueError):  # no copy, or one that a kill or a full disk cut off
        notebook = nbformat.read(path, as_version=4)
        title, promise = title_and_promise(notebook)
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
        found = results.read(out / name)["metrics"]
        metrics = {key: value for key, value in results.estimates(found).items() if math.isfinite(value.mean)}
    return Entry(name, outcome, title, promise, first_figure(notebook), metrics)
