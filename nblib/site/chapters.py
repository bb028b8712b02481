"""An executed notebook as HTML: cells, outputs, figures as files, the saved state of widgets, and what search finds."""

import base64
import binascii
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bs4
from markupsafe import Markup
from nbconvert.filters import strip_ansi
from nbformat import NotebookNode
from PIL import Image

from nblib.site import widgets
from nblib.site.gather import Chapter
from nblib.site.html import clean, code_html, markdown, mathml, place, scrollable, unique

WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = {"image/png": "PNG", "image/jpeg": "JPEG"}
SEARCHED = 3000  # characters of an output that search looks at


@dataclass(frozen=True)
class Figure:
    """A picture of the site: its file, its place on a page, and what it shows in words."""

    file: str
    place: str
    alt: str
    width: int
    height: int
    data: bytes = field(repr=False)

    @property
    def html(self) -> Markup:
        """The picture."""
        made = '<img src="{}" alt="{}" width="{}" height="{}">'
        return Markup(made).format(self.file, self.alt, self.width, self.height)


@dataclass(frozen=True)
class Section:
    """What search knows: a place, the heading there, and the words up to the next one."""

    place: str
    heading: str
    text: str


@dataclass
class Page:
    """A chapter ready for a page."""

    chapter: Chapter
    body: Markup = field(default_factory=Markup)
    headings: list[tuple[str, str]] = field(default_factory=list)  # places and words of the second level
    figures: list[Figure] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    widgets: set[str] = field(default_factory=set)  # the modules that draw them
    failed: bool = False  # whether a cell shows an error

    @property
    def address(self) -> str:
        """The file of the page."""
        return f"{self.chapter.key}.html"


def figure(data: bytes, name: str, place: str, alt: str) -> Figure:
    """Return a picture as a figure of the site.

    Raises
    ------
    ValueError
        If it is no PNG or JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=list(PICTURES.values())) as picture:
            end, size = picture.format.lower(), picture.size
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: no picture ({error})") from error
    return Figure(f"figures/{name}.{end}", place, " ".join(alt.split()), *size, data)


def render(chapter: Chapter, pages: Mapping[str, str]) -> Page:
    """Return a chapter as a page; links to notebooks lead to `pages`, addresses by name."""
    return _Rendering(chapter, pages).page


class _Rendering:
    """The state of rendering one notebook."""

    def __init__(self, chapter: Chapter, pages: Mapping[str, str]):
        self.page = Page(chapter)
        self.pages = pages
        self.taken: set[str] = {chapter.key}
        self.words: list[str] = []
        self.at = (chapter.key, chapter.title)
        notebook = chapter.notebook
        found: Any = notebook.metadata if notebook else {}
        for name in ("widgets", widgets.STATE, "state"):
            found = found.get(name) if isinstance(found, dict) else None
        self.saved = found if isinstance(found, dict) else {}
        cells = notebook.cells if notebook else []
        self.page.body = Markup("\n").join(
            self._cell(cell) for cell in cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])
        )
        self._close_section()

    def _cell(self, cell: NotebookNode) -> Markup:
        if cell.cell_type == "markdown":
            return self._prose(markdown(cell.source, cell.get("attachments")))
        if cell.cell_type != "code" or not (cell.source.strip() or cell.outputs):
            return Markup("")
        self.words.append(cell.source)
        failed = any(output.output_type == "error" for output in cell.outputs)
        outputs = Markup("\n").join(self._output(output) for output in _joined(cell.outputs))
        self.page.failed |= failed
        where = unique(f"{self.page.chapter.key}--error", self.taken) if failed else ""
        return Markup('<div class="cell{}"{}>\n<div class="code">{}{}</div>\n{}</div>').format(
            " failed" if failed else "",
            Markup(' id="{}"').format(where) if where else "",
            Markup(code_html(cell.source)),
            _time(cell.metadata),
            outputs,
        )

    def _prose(self, html: str) -> Markup:
        """Return clean HTML in its place; search hears of it section by section."""
        soup = place(html, self.page.chapter.key, self.pages, self.taken)
        for child in soup.children:
            if isinstance(child, bs4.Tag) and re.fullmatch("h[1-6]", child.name):
                self._close_section()
                self.at = (child["id"], _words(child))
                if child.name == "h2":
                    self.page.headings.append(self.at)
            else:
                self.words.append(_words(child))
        return Markup(str(soup))

    def _close_section(self) -> None:
        text = " ".join(" ".join(self.words).split())
        if text or self.at[0] != self.page.chapter.key:
            self.page.sections.append(Section(*self.at, text))
        self.words = []

    def _output(self, output: NotebookNode) -> Markup:
        if output.output_type == "stream":
            return self._text(_last_states(output.text), output.get("name", ""))
        if output.output_type == "error":
            told = "\n".join(output.get("traceback", [])) or f"{output.ename}: {output.evalue}"
            return self._text(told, "error")
        data = output.get("data", {})
        for mime in PICTURES:
            if mime in data:
                return self._picture(data[mime], output.get("metadata", {}), mime)
        if WIDGET in data and (shown := self._widget(data[WIDGET])):
            return shown
        if "text/markdown" in data:
            return Markup('<div class="output">{}</div>').format(self._prose(markdown(data["text/markdown"])))
        if "text/html" in data:
            return Markup('<div class="output">{}</div>').format(self._prose(clean(data["text/html"])))
        if "text/latex" in data:
            formula = mathml(data["text/latex"].strip("$"), "block")
            return Markup('<div class="output">{}</div>').format(self._prose(clean(formula)))
        return self._text(str(data.get("text/plain", "")), "result")

    def _text(self, text: str, kind: str) -> Markup:
        text = strip_ansi(text).strip("\n")
        self.words.append(text[:SEARCHED])
        if not text.strip():
            return Markup("")
        kind = kind if kind in ("stderr", "error") else "output"
        focus = Markup(" ").join(Markup('{}="{}"').format(*pair) for pair in scrollable(kind).items())
        return Markup('<pre class="{}" {}>{}</pre>').format(kind, focus, text)

    def _picture(self, encoded: str, metadata: Mapping[str, Any], mime: str) -> Markup:
        key, number = self.page.chapter.key, len(self.page.figures) + 1
        about = metadata.get(mime)
        alt = about.get("alt") if isinstance(about, dict) else ""
        alt = alt or f"Figure {number} of “{self.page.chapter.title}”; it has no description."
        try:
            data = base64.b64decode(encoded, validate=False)
            made = figure(data, f"{key}-{number}", unique(f"{key}--figure-{number}", self.taken), str(alt))
        except (ValueError, binascii.Error):
            return Markup('<p class="note">[A picture that cannot be read: {}]</p>').format(alt)
        self.page.figures.append(made)
        self.words.append(made.alt)
        return Markup('<figure id="{}">{}</figure>').format(made.place, made.html)

    def _widget(self, view: Any) -> Markup | None:
        saved = widgets.saved(view.get("model_id") if isinstance(view, dict) else None, self.saved)
        if saved is None:
            return None
        self.page.widgets.add(saved.module)
        return saved.html


def _words(node: bs4.PageElement) -> str:
    """Return the text of a piece of a page, formulas as they were written."""
    if not isinstance(node, bs4.Tag):
        return str(node)
    copy = bs4.BeautifulSoup(str(node), "html.parser")
    for formula in copy.find_all("math"):
        formula.replace_with(str(formula.get("alttext", "")))
    return copy.get_text(" ")


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return outputs with what was printed in several pieces made one again."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1] = NotebookNode({**joined[-1], "text": joined[-1].text + output.text})
        else:
            joined.append(output)
    return joined


def _last_states(text: str) -> str:
    """Return text as a terminal would leave it: after a carriage return a line begins anew."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _time(metadata: Mapping[str, Any]) -> Markup:
    """Return how long a cell took, if it took long enough to be told."""
    found = metadata.get("papermill", {})
    seconds = found.get("duration") if isinstance(found, dict) else None
    if not isinstance(seconds, (int, float)) or seconds < 0.1:
        return Markup("")
    return Markup('<p class="time">{} s</p>').format(f"{seconds:.1f}")
