"""Safe HTML from what strangers wrote: Markdown with formulas, tables, code, text.

Every piece is cleaned by an allowlist after it was converted (`nh3`): no script, no handler, no style, no address but
that of the web or of a page of the site. Formulas become MathML, which browsers draw and screen readers read without
any program.
"""

import re
from collections.abc import Mapping

import bs4
import nh3
from latex2mathml.converter import convert
from markupsafe import escape
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MATHML = {
    *("math", "mrow", "mi", "mo", "mn", "ms", "mtext", "mspace", "msub", "msup", "msubsup", "munder", "mover"),
    *("munderover", "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom"),
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "th": {"colspan", "rowspan", "scope"},
    "td": {"colspan", "rowspan"},
    "ol": {"start"},
    "math": {"display", "alttext"},
    "mo": {"stretchy", "fence", "form", "largeop", "movablelimits", "minsize", "maxsize"},
    "mi": {"mathvariant"},
    "mspace": {"width"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "mfrac": {"linethickness"},
    "mtd": {"columnalign"},
    "mtable": {"columnalign"},
    "span": {"class"},  # of highlighted code
    "div": {"class"},
}
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+", re.ASCII)
MARKS = re.compile(r"<!-- /?\w+ -->")  # between which our tools write
CLASS = re.compile(r"[a-z0-9]{1,3}|formula", re.ASCII)  # what Pygments and we give
ABROAD = re.compile(r"(https?://|mailto:)[^\s]+", re.ASCII | re.IGNORECASE)


class _Renderer(IPythonRenderer):
    """Jupyter's Markdown, with MathML for formulas and our code."""

    def block_math(self, body: str) -> str:
        return f'<div class="formula">{mathml(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def block_code(self, code: str, info: str | None = None) -> str:
        return code_html(code, (info or "text").split()[0])


def mathml(tex: str, display: str) -> str:
    """Return a formula as MathML, or as code where it cannot be converted.

    Examples
    --------
    >>> mathml("x", "inline")
    '<math display="inline" alttext="x"><mrow><mi>x</mi></mrow></math>'
    """
    tex = tex.strip()
    try:
        converted = convert(tex, display=display)
    except Exception:  # its errors have no common class
        return f"<code>{escape(tex)}</code>"
    formula = _spaced(re.sub(r"^<math [^>]*>", "", converted).removesuffix("</math>"))
    return f'<math display="{display}" alttext="{escape(tex)}">{formula}</math>'


def _spaced(formula: str) -> str:
    """Return MathML with a little room beside the names of functions, as TeX leaves it: log p, not logp."""
    soup = bs4.BeautifulSoup(formula, "html.parser")
    for name in soup.find_all("mi", string=re.compile("^[a-z]{2,}$")):
        whole = name.parent if name.parent.name in ("msub", "msup", "msubsup", "munder") else name
        if whole.parent.name not in ("mrow", "[document]") or (whole is not name and whole.contents[0] is not name):
            continue
        for neighbour, put in ((whole.previous_sibling, whole.insert_before), (whole.next_sibling, whole.insert_after)):
            if neighbour is not None and neighbour.name not in ("mo", "mspace"):
                put(soup.new_tag("mspace", attrs={"width": "0.17em"}))
    return str(soup)


def code_html(code: str, language: str = "python") -> str:
    """Return code with its words marked.

    Examples
    --------
    >>> code_html("x = 1")
    '<pre><code><span class="n">x</span> <span class="o">=</span> <span class="mi">1</span></code></pre>'
    """
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False)
    marked = highlight(code, lexer, HtmlFormatter(nowrap=True)).removesuffix("\n")
    marked = re.sub(r'<span class="w">(\s*)</span>', r"\1", marked)
    return f"<pre><code>{marked}</code></pre>"


def clean(html: str) -> str:
    """Return `html` without anything that could act.

    Examples
    --------
    >>> clean('<b onclick="alert(1)">b</b><script>alert(2)</script><a href="javascript:alert(3)">a</a>')
    '<b>b</b><a rel="noopener noreferrer">a</a>'
    """
    return nh3.clean(
        html,
        tags=nh3.ALLOWED_TAGS | MATHML,
        attributes=ATTRIBUTES,
        attribute_filter=_kept,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
    )


def _kept(tag: str, attribute: str, value: str) -> str | None:
    """Return the value of an attribute, or None to drop it."""
    if (tag, attribute) == ("img", "src"):
        return value if PICTURE.fullmatch(value) else None
    if (tag, attribute) == ("a", "href"):
        return None if value.strip().lower().startswith("data:") else value
    if attribute == "class":
        return value if CLASS.fullmatch(value) else None
    return value


def markdown(source: str, attachments: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return Markdown as clean HTML.

    Examples
    --------
    >>> markdown("*a* <img src=x onerror=alert(1)>").strip()
    '<p><em>a</em> <img></p>'
    """
    source = MARKS.sub("", source)  # a line that begins with one would not be read as Markdown
    renderer = _Renderer(escape=False, exclude_anchor_links=True, attachments=dict(attachments or {}))
    try:
        return clean(MarkdownWithMath(renderer).render(source))
    except Exception as error:  # nbconvert's InvalidNotebook: an attachment that is named but missing
        return f"<pre>{escape(source)}</pre><p>{escape(str(error))}</p>"


def place(html: str, key: str, pages: Mapping[str, str], taken: set[str]) -> bs4.BeautifulSoup:
    """Return clean HTML as it stands on the page of chapter `key`.

    Headings get addresses that are not `taken` yet, links to notebooks lead to their pages (`pages`: addresses by
    name), links to files lead nowhere, tables and formulas that are too wide can be scrolled, also with keys.
    """
    soup = bs4.BeautifulSoup(html, "html.parser")
    for found in soup.find_all(re.compile("^h[1-6]$")):
        found["id"] = unique(f"{key}--{anchor(found.get_text())}", taken)
    for link in soup.find_all("a"):
        target = _target(link.get("href", ""), key, pages)
        link.attrs = {"href": target, **({} if "rel" not in link.attrs else {"rel": link["rel"]})} if target else {}
        if not target:
            link.name = "span"
    for image in soup.find_all("img"):
        if "src" not in image.attrs:
            image.replace_with(f"[picture: {image.get('alt') or 'not in the notebook'}]")
        else:
            image["alt"] = image.get("alt") or "picture without a description"
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "scroll", **scrollable("table")}))
    for formula in soup.find_all("div", class_="formula"):
        formula.attrs = {"class": "formula", **scrollable("formula")}
    return soup


def scrollable(what: str) -> dict[str, str]:
    """Return the attributes of something wide that keys should be able to scroll."""
    return {"tabindex": "0", "role": "group", "aria-label": what}


def anchor(text: str) -> str:
    """Return the last part of a heading's address.

    Examples
    --------
    >>> anchor("1. What does γ do?")
    '1-what-does-γ-do'
    """
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "section"


def unique(name: str, taken: set[str]) -> str:
    """Return `name`, or `name` with a number if it is `taken`; it is from now on.

    Examples
    --------
    >>> taken = {"a"}
    >>> unique("a", taken), unique("a", taken)
    ('a-2', 'a-3')
    """
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free)
    return free


def _target(href: str, key: str, pages: Mapping[str, str]) -> str:
    """Return where a link leads in the site, or nothing."""
    if ABROAD.fullmatch(href.strip()):
        return href.strip()
    path, _, fragment = href.partition("#")
    fragment = anchor(fragment) if fragment else ""
    if not path:
        return f"#{key}--{fragment}" if fragment else ""
    name = path.removeprefix("./").removesuffix(".ipynb").removesuffix(".html")
    if name not in pages:
        return ""
    address = pages[name]
    return f"{address}#{address.removesuffix('.html')}--{fragment}" if fragment else address
