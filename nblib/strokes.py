"""Strokes: a hole as a hand painted it, kept as text from which the same hole is made again, bit by bit.

A stroke is a dict; what it does and which keys it has beside ``tool``:

==============  ====================  =======================================================================
tool            keys                  what
==============  ====================  =======================================================================
``brush``       ``radius, points``    a disc drawn along the points becomes hole
``eraser``      ``radius, points``    a disc drawn along the points becomes known
``rectangle``   ``points``            the pixels of two opposite corners and all between them become hole
``random``      ``protocol, seed``    a hole of `nblib.masks.PROTOCOLS` takes the place of what was there
``clear``                             everything becomes known
==============  ====================  =======================================================================

Points are (row, column) in pixels; whole numbers are the centres of pixels, and points may lie beyond the picture. A
disc covers the pixels whose centres are at most `radius` away. Pictures are square, as all of a set are.
"""

import copy
import functools
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nblib import masks
from nblib.files import whole_file

KEYS = {
    "brush": {"radius", "points"},
    "eraser": {"radius", "points"},
    "rectangle": {"points"},
    "random": {"protocol", "seed"},
    "clear": set(),
}
FORMAT = "nblib strokes 1"
MAX_BYTES = 2**24  # of a file
MAX_POINTS = 100_000  # of all strokes together; a hand sends a hundred a second
FURTHEST = 10_000  # pixels from the corner of the picture, and the largest radius
MAX_SEED = 2**53 - 1  # whole numbers up to here survive a browser

Stroke = dict[str, Any]


def mask(strokes: Iterable[Stroke], size: int) -> Tensor:
    """Return the hole that strokes paint one after the other, bool (1, size, size).

    Parameters
    ----------
    strokes : iterable of dict
    size : int
        Side of the picture.

    Raises
    ------
    ValueError
        If a stroke is not as described above; the message says which and why.

    Examples
    --------
    >>> corner = {"tool": "rectangle", "points": [[0, 0], [1, 2]]}
    >>> mask([corner, {"tool": "eraser", "radius": 1, "points": [[0, 0]]}], size=4)[0].int().tolist()
    [[0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    return functools.reduce(applied, check(strokes), torch.zeros(1, size, size, dtype=torch.bool))


def applied(hole: Tensor, stroke: Stroke) -> Tensor:
    """Return a hole, bool (1, size, size), after one more stroke; `hole` itself stays as it is."""
    size, tool = hole.shape[-1], stroke["tool"]
    if tool == "clear":
        return torch.zeros_like(hole)
    if tool == "random":
        generator = torch.Generator().manual_seed(stroke["seed"])
        return masks.sampler(stroke["protocol"])(1, size, generator=generator)[0]
    if tool == "rectangle":
        return hole | torch.from_numpy(_rectangle(stroke["points"], size))
    touched = torch.from_numpy(_discs(stroke["points"], stroke["radius"], size))
    return hole & ~touched if tool == "eraser" else hole | touched


class Drawing:
    """Strokes on a picture, the last of which can be taken back and painted again.

    Parameters
    ----------
    size : int
        Side of the picture.

    Examples
    --------
    >>> drawing = Drawing(size=8)
    >>> drawing.paint([{"tool": "rectangle", "points": [[0, 0], [1, 2]]}, {"tool": "clear"}])
    >>> drawing.undo()
    >>> int(drawing.mask.sum()), len(drawing.strokes), drawing.redoable
    (6, 1, True)
    """

    def __init__(self, size: int):
        self.size = size
        self._done: list[tuple[Stroke, Tensor]] = []  # each with the hole after it: nothing is painted twice
        self._undone: list[tuple[Stroke, Tensor]] = []

    @property
    def strokes(self) -> list[Stroke]:
        """The strokes that have not been taken back."""
        return [copy.deepcopy(stroke) for stroke, _ in self._done]

    @property
    def mask(self) -> Tensor:
        """The hole, bool (1, size, size)."""
        return self._done[-1][1] if self._done else torch.zeros(1, self.size, self.size, dtype=torch.bool)

    @property
    def undoable(self) -> bool:
        """Whether there is a stroke to take back."""
        return bool(self._done)

    @property
    def redoable(self) -> bool:
        """Whether a stroke was taken back last."""
        return bool(self._undone)

    def paint(self, strokes: Iterable[Stroke]) -> None:
        """Add strokes; if one of them is wrong, a ValueError is raised and none is added."""
        strokes = copy.deepcopy(check(strokes))
        check([*(stroke for stroke, _ in self._done), *strokes])  # there is a limit to all of them together as well
        for stroke in strokes:
            self._done.append((stroke, applied(self.mask, stroke)))
        self._undone.clear()

    def replace(self, strokes: Iterable[Stroke]) -> None:
        """Paint these strokes instead of those that are there."""
        strokes = check(strokes)
        self._done.clear()
        self.paint(strokes)

    def undo(self) -> None:
        """Take the last stroke back, if there is one."""
        if self._done:
            self._undone.append(self._done.pop())

    def redo(self) -> None:
        """Paint the stroke that was taken back last once more, if there is one."""
        if self._undone:
            self._done.append(self._undone.pop())


def check(strokes: Iterable[Stroke]) -> list[Stroke]:
    """Return strokes as a list, or raise a ValueError that says which of them is wrong, and why."""
    strokes = list(strokes)
    for number, stroke in enumerate(strokes, 1):
        try:
            _check(stroke)
        except ValueError as error:
            raise ValueError(f"stroke {number}: {error}") from None
    points = sum(len(stroke.get("points", ())) for stroke in strokes)
    if points > MAX_POINTS:
        raise ValueError(f"the strokes have {points:,} points; at most {MAX_POINTS:,} are taken")
    return strokes


def scaled(strokes: Iterable[Stroke], before: int, after: int) -> list[Stroke]:
    """Return strokes that were painted on a picture of side `before` for one of side `after`.

    A random hole is drawn anew at the other size, from the same seed.

    Examples
    --------
    >>> scaled([{"tool": "brush", "radius": 3, "points": [[0.5, 7]]}], 64, 128)
    [{'tool': 'brush', 'radius': 6.0, 'points': [[1.5, 14.5]]}]
    """
    strokes, factor = list(strokes), after / before
    return strokes if before == after else [_scaled(stroke, factor) for stroke in strokes]


def dumps(strokes: Sequence[Stroke], size: int) -> str:
    """Return strokes on a picture of side `size` as JSON, one stroke a line.

    Examples
    --------
    >>> print(dumps([{"tool": "clear"}], size=64))
    {"format": "nblib strokes 1", "size": 64, "strokes": [
    {"tool": "clear"}
    ]}
    """
    lines = ",\n".join(json.dumps(stroke, allow_nan=False) for stroke in check(strokes))
    return f'{{"format": "{FORMAT}", "size": {size}, "strokes": [\n{lines}\n]}}'


def loads(text: str | bytes, size: int) -> list[Stroke]:
    """Return the strokes in a text of `dumps`, scaled to a picture of side `size`.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    try:
        known = json.loads(text)
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8 included
        raise ValueError(f"these are no strokes: not readable as JSON ({error})") from None
    if not isinstance(known, dict) or known.get("format") != FORMAT:
        raise ValueError(f'these are no strokes: expected JSON with "format": "{FORMAT}"')
    side, strokes = known.get("size"), known.get("strokes")
    if not _is_whole(side, 1, FURTHEST) or not isinstance(strokes, list):
        raise ValueError(f"size={side!r} and strokes of type {type(strokes).__name__}: expected a side and a list")
    return check(scaled(check(strokes), side, size))


def write(path: str | Path, strokes: Sequence[Stroke], size: int) -> None:
    """Write strokes on a picture of side `size` as a JSON file, whole or not at all."""
    text = dumps(strokes, size)
    with whole_file(Path(path)) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read(path: str | Path, size: int) -> list[Stroke]:
    """Read the strokes in a file of `write`, scaled to a picture of side `size`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it does not hold strokes, or is larger than 16 MiB.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such strokes; a MaskPainter writes them with save(path)")
    with open(path, "rb") as file:
        text = file.read(MAX_BYTES + 1)
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes, which no hand paints")
        return loads(text, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check(stroke: Any) -> None:
    tool = stroke.get("tool") if isinstance(stroke, dict) else None
    if not isinstance(tool, str) or tool not in KEYS:
        given = f"tool={tool!r}" if isinstance(stroke, dict) else f"{type(stroke).__name__}, not a dict"
        raise ValueError(f"{given}; choose from {', '.join(KEYS)}")
    if stroke.keys() != KEYS[tool] | {"tool"}:
        raise ValueError(f"{tool} has {_listed(stroke.keys() - {'tool'})}; expected {_listed(KEYS[tool])}")
    if tool == "random":
        masks.sampler(stroke["protocol"] if isinstance(stroke["protocol"], str) else repr(stroke["protocol"]))
        if not _is_whole(stroke["seed"], 0, MAX_SEED):
            raise ValueError(f"seed={stroke['seed']!r}; expected a whole number from 0 to {MAX_SEED}")
    if "radius" in stroke and not (_is_number(stroke["radius"]) and 0 < stroke["radius"] <= FURTHEST):
        raise ValueError(f"radius={stroke['radius']!r}; expected pixels, more than 0 and at most {FURTHEST}")
    if "points" in stroke:
        _check_points(tool, stroke["points"])


def _check_points(tool: str, points: Any) -> None:
    expected = "two corners" if tool == "rectangle" else "at least one point"
    if not isinstance(points, list | tuple) or not points or (tool == "rectangle" and len(points) != 2):
        raise ValueError(f"{tool} has points of type {type(points).__name__}, {_length(points)}; expected {expected}")
    for point in points:
        pair = isinstance(point, list | tuple) and len(point) == 2
        if not pair or not all(_is_number(value) and abs(value) <= FURTHEST for value in point):
            raise ValueError(f"point {point!r}; expected [row, column], at most {FURTHEST} pixels from the corner")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _length(points: Any) -> str:
    return f"{len(points)} of them" if isinstance(points, list | tuple) else f"{points!r:.40}"


def _listed(keys: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, keys))) or "no key"


def _scaled(stroke: Stroke, factor: float) -> Stroke:
    """Scale about the corner of the picture, which lies half a pixel before the centre of the first one."""
    stroke = dict(stroke)
    if stroke["tool"] == "rectangle":  # by its edges, half a pixel around the centres
        low, high = zip(*(sorted(map(_nearest, values)) for values in zip(*stroke["points"], strict=True)), strict=True)
        stroke["points"] = [[value * factor for value in low], [(value + 1) * factor - 1 for value in high]]
    elif "points" in stroke:
        stroke["radius"] = stroke["radius"] * factor
        stroke["points"] = [[(value + 0.5) * factor - 0.5 for value in point] for point in stroke["points"]]
    return stroke


def _nearest(place: float) -> int:
    """Return the pixel that a place lies in; a half is rounded up, as JavaScript does."""
    return math.floor(place + 0.5)


def _rectangle(points: Sequence[Sequence[float]], size: int) -> np.ndarray:
    rows, columns = (sorted(map(_nearest, values)) for values in zip(*points, strict=True))
    inside = np.zeros((size, size), bool)
    inside[max(rows[0], 0) : max(rows[1] + 1, 0), max(columns[0], 0) : max(columns[1] + 1, 0)] = True
    return inside


def _discs(points: Sequence[Sequence[float]], radius: float, size: int) -> np.ndarray:
    """Return the pixels near a line through points, bool (size, size).

    Double precision and this order of operations are those of the browser, which shows a stroke while it is painted.
    """
    touched = np.zeros((size, size), bool)
    line = [*points, points[-1]]  # one point alone is a line as well
    for (row, column), (next_row, next_column) in itertools.pairwise(line):
        top, bottom = _span(row, next_row, radius, size)
        left, right = _span(column, next_column, radius, size)
        down = np.arange(top, bottom, dtype=np.float64)[:, None] - row  # (h, 1)
        across = np.arange(left, right, dtype=np.float64)[None] - column  # (1, w)
        y, x = next_row - row, next_column - column
        along = np.clip((down * y + across * x) / max(y * y + x * x, 1e-12), 0, 1)  # (h, w)
        off_row, off_column = down - along * y, across - along * x
        touched[top:bottom, left:right] |= off_row * off_row + off_column * off_column <= radius * radius
    return touched


def _span(one: float, other: float, radius: float, size: int) -> tuple[int, int]:
    """Return the first row (or column) that a disc going from `one` to `other` may touch, and the one past the last."""
    first, last = math.floor(min(one, other) - radius), math.ceil(max(one, other) + radius)
    return min(max(first, 0), size), min(max(last + 1, 0), size)
