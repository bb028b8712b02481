"""Widgets in their saved state, drawn without a kernel by the program that draws them in a notebook.

A notebook's file holds the state of its widgets and also the program that draws them. That program is not trusted: only
our own widgets are shown, by our own files, which the page holds. What such a widget asks of the kernel is answered by
the state that was saved.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

STATE = "application/vnd.jupyter.widget-state+json"
STATIC = Path(__file__).parent.parent / "widgets" / "static"
OWN = re.compile(r"nblib\.widgets\.(\w+)\.(\w+)", re.ASCII)
DROPPED = ("_", "layout", "tabbable", "tooltip")


@dataclass(frozen=True)
class Saved:
    """A widget for a page: the module in ``widgets/static`` that draws it, and its place with the state in it."""

    module: str
    html: Markup


def saved(model_id: Any, states: Mapping[str, Any]) -> Saved | None:
    """Return the widget `model_id` of a notebook's saved `states`, or None if it is none of ours or was not saved."""
    model = states.get(model_id) if isinstance(model_id, str) else None
    state = model.get("state") if isinstance(model, dict) else None
    if not isinstance(state, dict):
        return None
    own = OWN.fullmatch(str(state.get("_anywidget_id", "")))
    if not own or not (STATIC / f"{own[1]}.js").is_file():
        return None
    kept = {key: value for key, value in state.items() if not key.startswith(DROPPED)}
    found = model.get("buffers")
    buffers = [
        {"path": buffer["path"], "data": buffer["data"]}
        for buffer in (found if isinstance(found, list) else [])
        if _is_buffer(buffer) and _has_place(buffer["path"], kept)
    ]
    html = Markup(
        '<figure class="widget" data-module="{}"><div class="stage"></div>'
        "<figcaption>{} as it was saved. It is connected to no notebook: what needs one stays as it is."
        "</figcaption>{}</figure>"
    ).format(own[1], own[2], data_block({"state": kept, "buffers": buffers}))
    return Saved(own[1], html)


def _is_buffer(buffer: Any) -> bool:
    """Whether it has the form that ipywidgets gives the bytes of a state."""
    if not isinstance(buffer, dict) or buffer.get("encoding") != "base64" or not isinstance(buffer.get("data"), str):
        return False
    path = buffer.get("path")
    return isinstance(path, list) and bool(path) and all(type(key) in (str, int) for key in path)


def _has_place(path: list[str | int], state: Any) -> bool:
    """Whether `path` leads through `state` itself to an entry, which need not be there: ipywidgets took it out.

    Examples
    --------
    >>> _has_place(["picture"], {}), _has_place(["all", 0], {"all": [None]})
    (True, True)
    >>> _has_place(["constructor", "prototype", "x"], {}), _has_place(["__proto__"], {})
    (False, False)
    """
    if str(path[0]).startswith(DROPPED):
        return False
    for key in path[:-1]:
        if not _fits(key, state) or (isinstance(state, dict) and key not in state):
            return False
        state = state[key]
    return _fits(path[-1], state)


def _fits(key: str | int, owner: Any) -> bool:
    if isinstance(owner, dict):
        return isinstance(key, str) and not key.startswith("_")
    return isinstance(owner, list) and isinstance(key, int) and 0 <= key < len(owner)


def data_block(value: Any, name: str = "") -> Markup:
    """Return data for a program of the page; no browser runs it, and nothing in it can end the block.

    Examples
    --------
    >>> "</script>" in data_block({"a": "</script>"}, "words").removesuffix("</script>")
    False
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    place = Markup(' id="{}"').format(name) if name else ""
    return Markup('<script type="application/json"{}>{}</script>').format(place, Markup(text))


def program(modules: set[str]) -> str:
    """Return the program that draws the widgets of a page with our `modules`; empty if there is none."""
    if not modules:
        return ""
    parts = []
    for module in sorted(modules):
        source = (STATIC / f"{module}.js").read_text(encoding="utf-8")
        parts.append(f"modules.{module} = (() => {{\n{source.replace('export default {', 'return {', 1)}\n}})();")
    shown = (Path(__file__).parent / "static" / "widgets.js").read_text(encoding="utf-8")
    return "\n".join(["const modules = {};", *parts, shown])
