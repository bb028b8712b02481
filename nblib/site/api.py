"""The library's reference from its docstrings, read from the source without importing anything (griffe)."""

import contextlib
import functools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import griffe
from griffe import DocstringSectionKind as Kind
from markupsafe import Markup

from nblib.site.html import code_html, markdown

TITLES = {
    Kind.parameters: "Parameters",
    Kind.other_parameters: "Other parameters",
    Kind.attributes: "Attributes",
    Kind.returns: "Returns",
    Kind.yields: "Yields",
    Kind.raises: "Raises",
    Kind.warns: "Warns",
}
HIDDEN = {"nblib.cli", "nblib.classroom.answers"}  # `nblib --help` tells more; answers are the teacher's


@dataclass(frozen=True)
class Entry:
    """A function, class, method or attribute: its full name, how it is called, and what it does."""

    path: str
    kind: str
    signature: Markup
    doc: Markup
    text: str
    members: tuple["Entry", ...] = ()

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Module:
    """A module: what it is about, in a sentence and at length, and what it holds."""

    name: str
    summary: str
    doc: Markup
    entries: tuple[Entry, ...]

    @property
    def address(self) -> str:
        """The file of its page."""
        return f"api-{self.name}.html"


def modules(package: str = "nblib", folder: Path | None = None) -> list[Module]:
    """Return the modules of a package that hold anything public, by name.

    Raises
    ------
    ModuleNotFoundError
        If there is no such package.

    Examples
    --------
    >>> masks = next(module for module in modules() if module.name == "nblib.masks")
    >>> masks.summary, masks.address
    ('Hole samplers: where pictures are broken, one hole (or set of strokes) per image.', 'api-nblib.masks.html')
    """
    search = [Path(__file__).parents[2] if folder is None else folder]
    with _quiet():
        root = griffe.load(package, search_paths=search, docstring_parser="numpy", allow_inspection=False)
        found = [_module(module) for module in _below(root)]
    found = sorted((module for module in found if module.entries), key=lambda module: module.name)
    known = {entry.path: f"{module.address}#{entry.path}" for module in found for entry in module.entries}
    known |= {module.name: module.address for module in found}
    return [_linked(module, known) for module in found]


def _below(module: griffe.Module) -> list[griffe.Module]:
    inside = [inner for inner in module.modules.values() if not inner.is_alias]
    public = [inner for inner in inside if not inner.name.startswith("_") and inner.path not in HIDDEN]
    return [module, *(found for inner in public for found in _below(inner))]


def _module(module: griffe.Module) -> Module:
    entries = [_entry(member) for member in module.members.values() if _is_shown(member)]
    told = module.docstring.value if module.docstring else ""
    summary = " ".join(told.split("\n\n")[0].split())
    return Module(module.path, summary, _doc(module.docstring), tuple(entries))


def _is_shown(member: griffe.Object | griffe.Alias) -> bool:
    """Whether a member is public, defined here and explained."""
    if member.is_alias or member.is_module or member.name.startswith("_"):
        return False
    return member.docstring is not None and bool(member.docstring.value.strip())


def _entry(member: griffe.Object) -> Entry:
    inner = member.members.values() if member.is_class else ()
    members = tuple(_entry(other) for other in inner if _is_shown(other))
    kind = "property" if "property" in member.labels else member.kind.value
    text = " ".join(re.sub(r"^ *-+$|`|(?<=])_", "", member.docstring.value, flags=re.MULTILINE).split())
    return Entry(member.path, kind, _signature(member, kind), _doc(member.docstring), text, members)


def _signature(member: griffe.Object, kind: str) -> Markup:
    """Return how something is called, as highlighted code."""
    if kind in ("property", "attribute"):
        annotation = getattr(member, "annotation", None)
        return Markup(code_html(f"{member.name}: {annotation}" if annotation is not None else member.name))
    words = [_parameter(parameter) for parameter in member.parameters if parameter.name not in ("self", "cls")]
    star = next((k for k, p in enumerate(_named(member)) if p.kind is griffe.ParameterKind.keyword_only), None)
    if star is not None and not any(p.kind is griffe.ParameterKind.var_positional for p in _named(member)):
        words.insert(star, "*")
    returns = f" -> {member.returns}" if kind == "function" and member.returns is not None else ""
    line = f"{member.name}({', '.join(words)}){returns}"
    if len(line) > 90 and words:
        line = f"{member.name}(\n" + "".join(f"    {word},\n" for word in words) + f"){returns}"
    return Markup(code_html(line))


def _named(member: griffe.Object) -> list[griffe.Parameter]:
    return [parameter for parameter in member.parameters if parameter.name not in ("self", "cls")]


def _parameter(parameter: griffe.Parameter) -> str:
    stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(parameter.kind, "")
    annotated = "" if parameter.annotation is None else f": {parameter.annotation}"
    if parameter.default is None or stars:
        return f"{stars}{parameter.name}{annotated}"
    return f"{parameter.name}{annotated}" + (" = " if annotated else "=") + str(parameter.default)


def _doc(docstring: griffe.Docstring | None) -> Markup:
    """Return a docstring, section by section."""
    if docstring is None:
        return Markup("")
    return Markup("\n").join(_section(section) for section in docstring.parsed)


def _section(section: griffe.DocstringSection) -> Markup:
    if section.kind is Kind.text:
        return _prose(section.value)
    if section.kind is Kind.examples:
        parts = (
            Markup(code_html(text, "pycon")) if kind is Kind.examples else _prose(text) for kind, text in section.value
        )
        return Markup('<p class="part">Examples</p>{}').format(Markup("").join(parts))
    if section.kind is Kind.admonition:
        return Markup('<p class="part">{}</p>{}').format(section.title, _prose(section.value.contents))
    title = TITLES.get(section.kind, section.kind.value)
    items = Markup("").join(_item(item) for item in section.value)
    return Markup('<p class="part">{}</p><dl>{}</dl>').format(title, items)


def _item(item: griffe.DocstringElement) -> Markup:
    """Return a parameter, return value or error with its type and meaning."""
    name, annotation = getattr(item, "name", ""), item.annotation
    term = Markup("<b>{}</b>").format(name) if name else Markup("")
    if annotation:
        kind = Markup("<code>{}</code>").format(str(annotation).strip("`"))
        term = term + " " + kind if name else kind
    return Markup("<dt>{}</dt><dd>{}</dd>").format(term, _prose(item.description or ""))


@functools.lru_cache(None)
def _prose(text: str) -> Markup:
    """Return running text; references of numpydoc become plain ones, a list where they are given."""
    text = re.sub(r"^\.\. \[(\w+)\] ", r"\n[\1] ", text, flags=re.MULTILINE)
    text = re.sub(r"\[(\w+)\]_", r"[\1]", text)
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    return Markup(markdown(text))


def _linked(module: Module, known: dict[str, str]) -> Module:
    """Return a module whose names in code lead to where they are explained."""

    def link(found: re.Match[str]) -> str:
        inner = found[1]
        path = inner if inner in known else f"{module.name}.{inner}"
        return f'<a href="{known[path]}">{found[0]}</a>' if path in known else found[0]

    def linked(html: Markup) -> Markup:
        return Markup(re.sub(r"(?<!<pre>)<code>([\w.]+)</code>", link, html))

    def entry(one: Entry) -> Entry:
        return Entry(one.path, one.kind, one.signature, linked(one.doc), one.text, tuple(map(entry, one.members)))

    return Module(module.name, module.summary, linked(module.doc), tuple(map(entry, module.entries)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep griffe from complaining of docstrings: the linter does that, for whoever can change them."""
    logger = logging.getLogger("griffe")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
