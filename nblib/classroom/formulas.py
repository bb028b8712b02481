"""Markdown with formulas as HTML that needs nothing from anywhere: each formula becomes a small drawing."""

import base64
import html
import io
import re
from functools import cache

import matplotlib as mpl
from matplotlib import mathtext
from matplotlib.font_manager import FontProperties
from nbconvert.filters import markdown2html

SIZE = 16  # points of the drawing; on the page a formula is as large as the text
LARGER = 1.15  # by which, as its letters are lower than those of fonts for screens
_PARTS = re.compile(r"(?P<code>`[^`]*`)|\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$", re.DOTALL)


def to_html(markdown: str) -> str:
    r"""Return Markdown as HTML, what stands between dollar signs as drawings with the formula for a text.

    Examples
    --------
    >>> to_html("a *word*")
    '<p>a <em>word</em></p>\n'
    """
    drawn: list[str] = []

    def kept(found: re.Match) -> str:
        if found["code"]:
            return found[0]
        drawn.append(drawing((found["display"] or found["inline"]).strip()))
        return f"FORMULA{len(drawn) - 1}END"  # no character that Markdown minds

    page = markdown2html(_PARTS.sub(kept, markdown))
    return re.sub(r"FORMULA(\d+)END", lambda found: drawn[int(found[1])], page)


@cache
def drawing(formula: str) -> str:
    """Return an ``img`` of a formula, or the formula as code if matplotlib cannot set it."""
    told = html.escape(formula, quote=True)
    picture = io.BytesIO()
    try:
        with mpl.rc_context({"svg.hashsalt": "nblib", "svg.fonttype": "path"}):
            properties = FontProperties(size=SIZE, math_fontfamily="stix")
            depth = mathtext.math_to_image(f"${_known(formula)}$", picture, prop=properties, format="svg")
    except ValueError:
        return f"<code>{told}</code>"
    svg = picture.getvalue().decode()
    height = float(re.search(r'height="([\d.]+)pt"', svg)[1])
    em = SIZE / LARGER
    style = f"height:{height / em:.2f}em;vertical-align:{-depth / em:.2f}em"
    return (
        f'<img alt="{told}" style="{style}" src="data:image/svg+xml;base64,{base64.b64encode(_small(svg)).decode()}">'
    )


def _known(formula: str) -> str:
    """Return a formula in the words that matplotlib knows."""
    formula = formula.replace(r"\texttt", r"\mathtt").replace(r"\text{", r"\mathrm{")
    return re.sub(r"\\sqrt\s*(\w)", r"\\sqrt{\1}", formula)


def _small(svg: str) -> bytes:
    """Return an SVG without its description of when and by what it was made."""
    return re.sub(r" <metadata>.*?</metadata>\n", "", svg, flags=re.DOTALL).encode()
