"""Executed notebooks side by side, cell by cell: how long each took, and the pictures it shows."""

import base64
import binascii
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nbformat import NotebookNode
from PIL import Image

from nblib.comparison.sides import INJECTED, Sheet, injected, inside, log_of

SAME, CHANGED, ONLY_A, ONLY_B, UNREADABLE = "identical", "changed", "in A only", "in B only", "unreadable"
CHARTS = {  # of `nblib evaluate`
    "leaderboard.png": "Leaderboard: PSNR in the hole and SSIM of each method, with 95 % intervals.",
    "gallery.png": "Gallery: the first pictures, their holes and what each method put there.",
}


@dataclass(frozen=True)
class CellTime:
    """Seconds that one code cell took on both sides; None where it did not run.

    Attributes
    ----------
    notebook : str
    number : int
        Of the code cell in its notebook, from 1; the cell that sets parameters is 0.
    line : str
        Its first line of code.
    a, b : float or None
    """

    notebook: str
    number: int
    line: str
    a: float | None
    b: float | None

    @property
    def change(self) -> float:
        """Seconds that B took more; what did not run took none."""
        return (self.b or 0.0) - (self.a or 0.0)


@dataclass(frozen=True)
class Shot:
    """A picture as PNG, and its text."""

    png: bytes = field(repr=False)
    alt: str

    @property
    def data(self) -> str:
        """Return the PNG base64-encoded, for a page."""
        return base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Pictures:
    """The pictures of both sides at one place.

    Attributes
    ----------
    notebook, place : str
        For a person: "cell 4, picture 1".
    a, b : Shot or None
    state : str
        identical (pixel by pixel), changed, in A only, in B only, or unreadable.
    share : float
        Share of the pixels that differ; NaN where it cannot be told.
    apart : Shot or None
        Where they differ, the darker the more, if they have the same size.
    """

    notebook: str
    place: str
    a: Shot | None
    b: Shot | None
    state: str
    share: float = math.nan
    apart: Shot | None = None


def cell_times(a: Sheet, b: Sheet) -> list[CellTime]:
    """Return the times of all code cells that either notebook timed, in A's order, then what only B has."""
    ours, theirs = _coded(a.notebook), _coded(b.notebook)
    found = []
    for key in dict.fromkeys([*ours, *theirs]):
        number, cell = ours.get(key) or theirs[key]
        times = [_duration(side[key][1]) if key in side else None for side in (ours, theirs)]
        if times != [None, None]:
            found.append(CellTime(a.name, number, _first_line(cell.source), *times))
    return found


def pictures(a: Sheet, b: Sheet) -> list[Pictures]:
    """Return the pictures of two sheets by cell and position, in A's order, then what only B shows."""
    ours, theirs = _shots(a), _shots(b)
    found = []
    for key in dict.fromkeys([*ours, *theirs]):
        place, _ = ours.get(key) or theirs[key]
        found.append(_compared(a.name, place, *(side[key][1] if key in side else None for side in (ours, theirs))))
    return found


def _coded(notebook: NotebookNode | None) -> dict[str, tuple[int, NotebookNode]]:
    """Return the code cells of a notebook and their numbers by a key that two runs of it share."""
    found: dict[str, tuple[int, NotebookNode]] = {}
    number = 0
    for cell in notebook.cells if notebook else []:
        if cell.cell_type != "code":
            continue
        if injected(cell):
            found[INJECTED] = (0, cell)  # its id is drawn anew by each run
            continue
        number += 1
        found[cell.get("id") or f"cell {number}"] = (number, cell)  # notebooks before format 4.5 have no ids
    return found


def _duration(cell: NotebookNode) -> float | None:
    found = log_of(cell).get("duration")
    return float(found) if isinstance(found, (int, float)) else None


def _first_line(source: str, most: int = 80) -> str:
    lines = [line.strip() for line in source.splitlines()]
    line = next((line for line in lines if line and not line.startswith("#")), "")
    return line if len(line) <= most else line[: most - 1] + "…"


def _shots(sheet: Sheet) -> dict[tuple[str, int], tuple[str, Shot]]:
    """Return place and picture of all PNGs in a notebook's outputs, by cell and position; or an evaluation's charts."""
    found: dict[tuple[str, int], tuple[str, Shot]] = {}
    if sheet.notebook is None:
        there = {name: sheet.folder / name for name in CHARTS if (sheet.folder / name).is_file()}
        return {
            (name, 1): (name, Shot(inside(path, sheet.folder).read_bytes(), CHARTS[name]))
            for name, path in there.items()
        }
    for key, (number, cell) in _coded(sheet.notebook).items():
        for position, (data, about) in enumerate(_pngs(cell), 1):
            alt = about.get("alt") or f"Picture {position} of cell {number}, which has no description."
            found[key, position] = (f"cell {number}, picture {position}", Shot(_decoded(data), str(alt)))
    return found


def _pngs(cell: NotebookNode) -> Iterator[tuple[str, dict[str, Any]]]:
    for output in cell.get("outputs", []):
        if data := output.get("data", {}).get("image/png"):
            about = output.get("metadata", {}).get("image/png", {})
            yield "".join(data), about if isinstance(about, dict) else {}


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data)
    except (binascii.Error, ValueError):
        return b""


def _compared(notebook: str, place: str, a: Shot | None, b: Shot | None) -> Pictures:
    try:
        one, other = (None if shot is None else _pixels(shot) for shot in (a, b))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for broken files
        return Pictures(notebook, place, a, b, UNREADABLE)
    if one is None or other is None:
        return Pictures(notebook, place, a, b, ONLY_B if one is None else ONLY_A)
    if one.shape != other.shape:
        return Pictures(notebook, place, a, b, CHANGED)
    gap = np.abs(one - other).max(2)  # (H, W), 0 … 255
    share = float((gap > 0).mean())
    return Pictures(notebook, place, a, b, *((CHANGED, share, _map(gap)) if share else (SAME, 0.0)))


def _pixels(shot: Shot) -> np.ndarray:
    """Return a picture on white, int16 (H, W, 3)."""
    # nothing but PNG: for others, such as EPS, Pillow starts programs
    picture = Image.open(io.BytesIO(shot.png), formats=["PNG"]).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"), np.int16)


def _map(gap: np.ndarray) -> Shot:
    """Draw where two pictures differ, int16 (H, W): white where they agree, never paler than a fifth where not."""
    shade = np.where(gap > 0, 204 - 0.8 * gap, 255).clip(0, 255).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(shade).save(written, "PNG", optimize=True)
    return Shot(
        written.getvalue(), f"Where the two differ, dark on white: {100 * (gap > 0).mean():.1f} % of the pixels."
    )
