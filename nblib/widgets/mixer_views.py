"""What conditional VAEs make of one hole, as a figure; the twin of `nblib.widgets.AttributeMixer` without buttons."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from nblib.widgets.mixing import Mixed
from nblib.widgets.views import MAP

SIDE, HEAD, CAPTION = 1.75, 0.5, 0.7  # inches: of a picture, of a network's name, of what is told of a picture
COLUMNS = 8  # pictures in a line, at most
LETTERS = 100  # in a line of a message


def spread_picture(spread: Tensor) -> np.ndarray:
    """Return how far samples lie apart in colours, uint8 (H, W, 3); the largest spread (H, W) has the lightest one.

    Examples
    --------
    >>> spread_picture(torch.tensor([[0.0, 0.2]])).tolist()
    [[[0, 0, 4], [252, 253, 191]]]
    """
    most = float(spread.max())
    level = torch.zeros_like(spread) if most == 0 else spread / most
    return np.uint8(np.floor(255 * MAP(level.numpy())[..., :3] + 0.5))


def spread_told(spread: Tensor) -> str:
    """Return in words what the lightest colour of `spread_picture` says.

    Examples
    --------
    >>> spread_told(torch.tensor([[0.0, 0.2]])), spread_told(torch.zeros(1, 2))
    ('SD up to 0.200', 'all are the same')
    """
    most = float(spread.max())
    return f"SD up to {most:.3f}" if most else "all are the same"


def mixed_figure(
    pictures: Mapping[str, Tensor],
    rows: Sequence[Mixed],
    *,
    raw: bool = False,
    told: Sequence[str] = (),
    title: str | None = None,
) -> Figure:
    """Draw a picture, and for each network what it saw, its samples, and how far they lie apart.

    Parameters
    ----------
    pictures : mapping of str to Tensor, uint8 (3, H, W)
        The picture and, where it is known, the truth under another label, by name.
    rows : sequence of Mixed
    raw : bool, default False
        Show whole pictures as the networks draw them; else what is known is pasted over them.
    told : sequence of str, optional
        What to write under each of `pictures`.
    title : str, optional

    Raises
    ------
    ValueError
        If there is no picture.

    Examples
    --------
    >>> picture, two = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    >>> mixed = Mixed("cvae", picture, two, two, 0.0123, torch.tensor([0, 0.1]))
    >>> figure = mixed_figure({"the picture": picture}, [mixed])
    >>> [(ax.get_title(), ax.get_xlabel()) for ax in figure.axes][:3]
    [('the picture', ''), ('what it sees', ''), ('sample 1', 'L1 0.000')]
    """
    if not pictures:
        raise ValueError("there is no picture; give at least one, such as {'the picture': picture}")
    most = max([len(pictures), *(len(row.raw) + 2 for row in rows)])
    columns = math.ceil(most / math.ceil(most / COLUMNS))
    lines = [1, *(math.ceil((len(row.raw) + 2) / columns) for row in rows)]
    heights = [lines[0] * (SIDE + CAPTION), *(HEAD + n * (SIDE + CAPTION) for n in lines[1:])]
    with sns.axes_style("white"), sns.plotting_context("talk"):
        size = (SIDE * columns + 0.4, sum(heights) + (0.8 if title else 0))
        figure = Figure(figsize=size, layout="constrained")
        if title:
            figure.suptitle(textwrap.fill(title, int(6.5 * size[0])), fontsize=16)
        parts = figure.subfigures(len(lines), 1, height_ratios=heights, squeeze=False)[:, 0]
        captions = [text.replace(" · ", "\n").replace(", ", "\n") for text in told] or [""] * len(pictures)
        stills = zip(pictures, captions, map(_pixels, pictures.values()), strict=True)
        _tiles(parts[0], columns, list(stills))
        for part, row in zip(parts[1:], rows, strict=True):
            _row(part, columns, row, raw)
    return figure


def _tiles(part: SubFigure, columns: int, tiles: Sequence[tuple[str, str, np.ndarray]]) -> None:
    """Draw pictures (H, W, 3), each with its name and what is told of it."""
    panels = list(part.subplots(math.ceil(len(tiles) / columns), columns, squeeze=False).flat)
    for ax, (name, told, picture) in zip(panels, tiles, strict=False):
        ax.imshow(picture, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.set_title(name, fontsize=13)
        ax.set_xlabel(told, fontsize=12, labelpad=2)
        sns.despine(ax=ax, left=True, bottom=True)
    for ax in panels[len(tiles) :]:
        ax.remove()


def _row(part: SubFigure, columns: int, row: Mixed, raw: bool) -> None:
    part.suptitle(textwrap.fill(f"{row.name}: {row.summary(raw)}", LETTERS), fontsize=15, x=0.01, ha="left")
    tiles = [("what it sees", "", _pixels(row.seen))]
    for k, (told, picture) in enumerate(zip(row.told(raw), row.shown(raw), strict=True), 1):
        tiles.append((f"sample {k}", told.replace(" · ", "\n"), _pixels(picture)))
    spread = row.spread(raw)
    if spread is not None:
        tiles.append(("spread", spread_told(spread), spread_picture(spread)))
    _tiles(part, columns, tiles)


def _pixels(picture: Tensor) -> np.ndarray:
    return picture.permute(1, 2, 0).cpu().numpy()
