"""Write the report site: notebooks, leaderboard, gallery, search, reference, and one page of everything to print."""

import base64
import hashlib
import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from nblib import plots, results
from nblib.answers import METRICS
from nblib.files import whole_folder, write_json
from nblib.site import api, widgets
from nblib.site.chapters import Figure, Page, Section, figure, render
from nblib.site.gather import Board, Part, gather
from nblib.site.widgets import data_block

HERE = Path(__file__).parent
MARK = "site.json"  # says that a folder is a site, and which files are ours
KIND = "nblib report site"
SMALLER_IS_BETTER = ("l1", "hole_l1", "seam", "bias", "offset", "seconds_per_image")
LABELS = {**plots.LABELS, "seconds_per_image": "time, ms a picture"}


def build(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report site of a run, an evaluation, or a folder of several; return its front page.

    Parameters
    ----------
    folder : path
        What ``nblib run`` or ``nblib evaluate`` wrote, or a folder of such folders.
    out : path, optional
        Where to; `folder` / "site" by default. It is written whole or not at all.

    Raises
    ------
    FileNotFoundError
        If there is nothing to report in `folder`.
    FileExistsError
        If `out` exists and is not a site that was written here, or files were added to it.
    ValueError
        If a record in `folder` is damaged.
    """
    out = Path(folder) / "site" if out is None else Path(out)
    _check_replaceable(out)
    site = Site(gather(folder))
    with whole_folder(out.absolute()) as partial:
        site.write(partial)
        files = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
        write_json(partial / MARK, {"kind": KIND, "versions": results.versions(), "files": files})
    return out / "index.html"


def _check_replaceable(out: Path) -> None:
    """Refuse to replace what is not a site of ours.

    Raises
    ------
    FileExistsError
        With what is in the way.
    """
    if not out.exists() and not out.is_symlink():
        return
    remedy = "choose another --out, or remove it yourself"
    if out.is_symlink() or not out.is_dir():
        raise FileExistsError(f"{out} exists and is no folder; {remedy}")
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir()}
    if not found:
        return
    try:
        mark = json.loads((out / MARK).read_text(encoding="utf-8"))
        ours = set(mark["files"]) | {MARK} if mark["kind"] == KIND else set()
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    if not ours:
        raise FileExistsError(f"{out} exists and is no report site; {remedy}")
    if foreign := sorted(found - ours):
        raise FileExistsError(f"{out} holds {foreign[0]}, which is no part of the site; {remedy}")


@dataclass(frozen=True)
class DrawnBoard:
    """A leaderboard for a page: its figure, and the cells of its table."""

    board: Board
    figure: Figure | None  # if there is something to draw
    gallery: Figure | None
    note: str  # what cannot be shown
    columns: list[tuple[str, str]]  # name, and "ascending" or "descending": the order that puts the best on top
    rows: list[tuple[str, list[tuple[str, str]]]]  # method; by column the value to sort by, and what is shown


class Site:
    """Everything that the pages show."""

    def __init__(self, parts: list[Part]):
        self.parts = parts
        self.pages: dict[str, Page] = {}
        for part in parts:
            addresses = {chapter.name: f"{chapter.key}.html" for chapter in part.chapters}
            self.pages |= {chapter.key: render(chapter, addresses) for chapter in part.chapters}
        self.boards = [_drawn(board) for part in parts for board in part.boards]
        self.modules = api.modules()
        loader = jinja2.FileSystemLoader(HERE / "templates")
        self._templates = jinja2.Environment(
            loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )

    @property
    def figures(self) -> list[Figure]:
        """All pictures."""
        drawn = [found for board in self.boards for found in (board.figure, board.gallery) if found]
        return drawn + [found for page in self.pages.values() for found in page.figures]

    def write(self, folder: Path) -> None:
        """Write all pages and pictures into `folder`."""
        (folder / "figures").mkdir()
        for found in self.figures:
            (folder / found.file).write_bytes(found.data)
        (folder / "site.css").write_text(_static("site.css"), encoding="utf-8")
        self._write(folder, "index.html", "index")
        pages = list(self.pages.values())
        for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
            program = widgets.program(page.widgets)
            self._write(folder, page.address, "chapter", [program], page=page, before=before, after=after)
        if self.boards:
            self._write(folder, "leaderboard.html", "leaderboard", [_static("sort.js")])
        self._write(folder, "gallery.html", "gallery")
        self._write(folder, "search.html", "search", [_static("search.js")], data=data_block(self._searched(), "index"))
        self._write(folder, "api.html", "api")
        for module in self.modules:
            self._write(folder, module.address, "module", module=module)
        modules = set().union(*(page.widgets for page in pages))
        self._write(folder, "print.html", "print", [widgets.program(modules)], printed=self._printed)

    def _write(self, folder: Path, file: str, template: str, programs: Iterable[str] = (), **more: Any) -> None:
        programs = [Markup(program) for program in programs if program]
        text = self._templates.get_template(f"{template}.html.jinja").render(
            site=self, file=file, programs=programs, hashes=[_hash(program) for program in programs], **more
        )
        (folder / file).write_text(text, encoding="utf-8")

    def _searched(self) -> list[list[str]]:
        """Return what search looks through: place, title of the page, heading, text."""
        found = []
        for page in self.pages.values():
            found += [self._line(page.address, page.chapter.title, section) for section in page.sections]
        for module in self.modules:
            found.append([module.address, module.name, module.name, module.summary])
            for entry in module.entries:
                text = " ".join([entry.text, *(f"{member.name}: {member.text}" for member in entry.members)])
                found.append([f"{module.address}#{entry.path}", module.name, entry.name, text])
        for drawn in self.boards:
            methods = ", ".join(method for method, _ in drawn.rows)
            found.append(["leaderboard.html", "Leaderboard", drawn.board.title, f"{drawn.board.told}; {methods}"])
        return found

    @staticmethod
    def _line(address: str, title: str, section: Section) -> list[str]:
        return [f"{address}#{section.place}", title, section.heading, section.text]

    def _printed(self, page: Page) -> Markup:
        """Return a chapter's body for the page of everything, where links between chapters stay on it."""
        body = str(page.body)
        for other in self.pages.values():
            body = body.replace(f'href="{other.address}#', 'href="#')
            body = body.replace(f'href="{other.address}"', f'href="#{other.chapter.key}"')
        return Markup(body)


def _static(name: str) -> str:
    return (HERE / "static" / name).read_text(encoding="utf-8")


def _hash(program: str) -> str:
    """Return how a page's policy names a program that it allows.

    Examples
    --------
    >>> _hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()}"


def _drawn(board: Board) -> DrawnBoard:
    table = board.table
    shown = [metric for metric in ("hole_psnr", "ssim") if table[metric].notna().any()]
    alt = "; ".join(
        f"{method}: " + ", ".join(f"{LABELS[metric]} {table.loc[method, metric]:.3g}" for metric in shown)
        for method in table.index
    )
    place = f"board-{board.key}"
    drawn = gallery = None
    notes = []
    if shown:
        told = f"Means and 95 % intervals by method, best on top. {alt}."
        try:
            drawn = figure(_chart(table, shown), place, place, told)
        except (OSError, ValueError) as error:
            notes.append(f"The chart cannot be drawn: {error}.")
    if board.gallery is not None:
        told = f"Rows of pictures of {board.title}: original, masked, and what each method filled in."
        try:
            gallery = figure(board.gallery, f"{place}-fills", f"{place}-fills", told)
        except (OSError, ValueError):
            notes.append("The picture of the fills cannot be read.")
    metrics = [metric for metric in (*METRICS, "seconds_per_image") if table[metric].notna().any()]
    metrics.sort(key=lambda metric: list(LABELS).index(metric))
    columns = [(LABELS[metric], "ascending" if metric in SMALLER_IS_BETTER else "descending") for metric in metrics]
    rows = [(str(method), [_cell(row, metric) for metric in metrics]) for method, row in table.iterrows()]
    return DrawnBoard(board, drawn, gallery, " ".join(notes), columns, rows)


def _chart(table: pd.DataFrame, shown: list[str]) -> bytes:
    """Return the chart of a leaderboard as PNG; dollars in the names of methods begin no formula."""
    buffer = io.BytesIO()
    named = table.rename(index=lambda method: str(method).replace("$", r"\$"))
    plots.leaderboard_figure(named, shown).savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return buffer.getvalue()


def _cell(row: Any, metric: str) -> tuple[str, str]:
    """Return the value to sort by and the text of a cell, with its interval if there is one."""
    value = row[metric]
    if math.isnan(value):
        return "", "–"
    if metric == "seconds_per_image":
        return f"{value:.9g}", f"{1000 * value:.3g}"
    digits = 2 if metric.endswith("psnr") else 4
    low, high = row[f"{metric} low"], row[f"{metric} high"]
    interval = "" if math.isnan(low) or math.isnan(high) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{abs(value) if metric in ('seam', 'bias', 'offset') else value:.9g}", f"{value:.{digits}f}{interval}"
