"""Attention as a figure: maps laid over a picture, with the queries that asked and the scale of the colours.

`attention_figure` is the twin of `nblib.widgets.AttentionExplorer` without buttons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import seaborn as sns
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from nblib import attention
from nblib.images import unit_to_uint8

MAP = colormaps["magma"]  # 256 colours, as light as the weight is large
COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7")  # of the queries (Okabe and Ito)
LUMINANCE = (0.299, 0.587, 0.114)

Query = tuple[int, int] | Tensor | np.ndarray  # a pixel (row, column), or a region, bool (H, W)


@dataclass(frozen=True)
class View:
    """What one query sees in one picture.

    Attributes
    ----------
    map : Tensor, float (H', W')
        The map of the pixel, or the mean over the region.
    asked : str
        The query in words.
    entropy, largest_entropy : float
        Of the map, in nats, and of a uniform one.
    distance : float
        Mean distance from the query's pixels to where they look, in sides of the picture.
    peak : float
        The largest weight, in multiples of the uniform one.
    """

    map: Tensor
    asked: str
    entropy: float
    largest_entropy: float
    distance: float
    peak: float

    @property
    def measures(self) -> tuple[str, str]:
        """Entropy and distance in words."""
        spread = f"entropy {self.entropy:.2f} of {self.largest_entropy:.2f} nats"
        return spread, f"mean distance {self.distance:.2f} of a side"


def look(maps: Tensor, query: Query, size: Sequence[int]) -> View:
    """Return what a pixel or a region sees.

    Parameters
    ----------
    maps : Tensor, float (H, W, H', W')
        All maps of a layer for one picture.
    query : (int, int) or bool (height, width)
        A pixel (row, column), or a region.
    size : (int, int)
        Height and width of the picture.

    Examples
    --------
    >>> view = look(torch.full((4, 4, 2, 2), 0.25), (0, 0), (8, 8))
    >>> view.asked, round(view.entropy, 2), round(view.peak, 2)
    ('row 0, column 0', 1.39, 1.0)
    """
    if isinstance(query, tuple):
        asked, region = f"row {query[0]}, column {query[1]}", None
        seen = attention.at(maps[None], *query, tuple(size))[0]
        far = attention.at(attention.distance(maps[None])[..., None, None], *query, tuple(size))
    else:
        region = torch.as_tensor(query)
        asked = f"{int(region.sum())} pixels"
        seen = attention.over(maps[None], region)[0]
        far = attention.over(attention.distance(maps[None])[..., None, None], region)
    keys = seen.numel()
    return View(seen, asked, float(attention.entropy(seen)), math.log(keys), float(far), float(seen.max()) * keys)


def overlay(picture: Tensor, weights: Tensor, strength: float = 0.6, scale: int = 8) -> np.ndarray:
    """Lay a map over a picture in gray; the largest weight has the lightest colour.

    Parameters
    ----------
    picture : Tensor, uint8 (3, H, W)
    weights : Tensor, float (H', W')
        Enlarged bilinearly.
    strength : float, default 0.6
        Share of the map in the mixture: 0 shows the picture in gray, 1 the map alone.
    scale : int, default 8
        Pixels of the result per pixel of the picture.

    Returns
    -------
    ndarray, uint8 (scale * H, scale * W, 3)
    """
    height, width = (scale * side for side in picture.shape[1:])
    gray = torch.tensordot(torch.tensor(LUMINANCE), picture.float(), 1)  # (H, W)
    gray = gray.repeat_interleave(scale, 0).repeat_interleave(scale, 1).numpy()[..., None]
    level = attention.upsample(attention.normalised(weights)[None], (height, width))[0].clamp(0, 1).numpy()
    mixed = (1 - strength) * gray + strength * 255 * MAP(level)[..., :3]
    return np.uint8(np.floor(mixed + 0.5))


def attention_figure(
    picture: Tensor, maps: Tensor, *queries: Query, strength: float = 0.6, title: str | None = None
) -> Figure:
    """Draw a picture with its queries, and for each query its map over the picture.

    Each map has colours of its own, from 0 to its largest weight; the scale beside it says how large that is, in
    multiples of the weight 1 / N that every key would have if the query looked everywhere alike.

    Parameters
    ----------
    picture : Tensor, uint8 or float in [0, 1], (3, H, W)
    maps : Tensor, float (H, W, H', W')
        All maps of a layer for this picture: ``record(net, images)[layer][k]``.
    *queries : (int, int) or bool (H, W)
        Pixels (row, column), or regions; one to four.
    strength : float, default 0.6
        Of the overlay, from 0 to 1.
    title : str, optional

    Raises
    ------
    ValueError
        If there is no query, more than four, or one outside the picture.

    Examples
    --------
    >>> picture, maps = torch.zeros(3, 64, 64), torch.full((32, 32, 16, 16), 1 / 256)
    >>> len(attention_figure(picture, maps, (31, 18), (31, 46)).axes)  # the picture, two maps and their scales
    5
    """
    if not 1 <= len(queries) <= len(COLOURS):
        raise ValueError(f"{len(queries)} queries; a figure shows one to {len(COLOURS)}")
    picture = picture if picture.dtype == torch.uint8 else unit_to_uint8(picture)
    size = tuple(picture.shape[1:])
    with sns.axes_style("white"), sns.plotting_context("talk"):
        figure = Figure(figsize=(5 + 5.6 * len(queries), 5.9 if title else 5.5), layout="constrained")
        first, *others = figure.subplots(1, 1 + len(queries), squeeze=False)[0]
        first.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest", extent=(0, size[1], size[0], 0))
        first.set(xticks=[], yticks=[], xlabel="who asks")
        for k, (ax, query) in enumerate(zip(others, queries, strict=True)):
            view = look(maps, query, size)
            _draw_view(ax, picture, view, strength, f"query {k + 1}: {view.asked}", COLOURS[k])
            for panel in (first, ax):
                _mark(panel, query, size, maps.shape[:2], COLOURS[k], str(k + 1))
        if title:
            figure.suptitle(title, fontsize=18)
    return figure


def _draw_view(ax: Axes, picture: Tensor, view: View, strength: float, title: str, colour: str) -> None:
    height, width = picture.shape[1:]
    ax.imshow(overlay(picture, view.map, strength), extent=(0, width, height, 0))
    ax.set(xticks=[], yticks=[], title=title, xlabel="\n".join(view.measures))
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=5)
    bar = ax.figure.colorbar(ScalarMappable(Normalize(0, view.peak), MAP), ax=ax, fraction=0.046, pad=0.03)
    bar.set_label("weight, × uniform")
    bar.outline.set_visible(False)


def _mark(ax: Axes, query: Query, size: Sequence[int], grid: Sequence[int], colour: str, number: str) -> None:
    """Outline a query: the cell of a pixel with a ring around it, or the pixels of a region."""
    halo = {"path_effects": [withStroke(linewidth=6, foreground="black")]}
    look = {"linewidth": 3, "edgecolor": colour, "fill": False, **halo}
    if isinstance(query, tuple):
        down, across = (side / cells for side, cells in zip(size, grid, strict=True))
        top, left = (int((place + 0.5) / step) * step for place, step in zip(query, (down, across), strict=True))
        row, column, radius = top + down / 2, left + across / 2, 0.05 * max(size)
        ax.add_patch(Circle((column, row), radius, **look))
        ax.add_patch(Rectangle((left, top), across, down, **look))
    else:
        region = np.pad(np.asarray(query), 1).repeat(8, 0).repeat(8, 1)  # its edges, not lines between its pixels
        places = [(np.arange(n) + 0.5) / 8 - 1 for n in region.shape]
        ax.contour(places[1], places[0], region, [0.5], colors=colour, linewidths=3).set(**halo)
        row, column = (places.mean() + 0.5 for places in np.nonzero(np.asarray(query)))
        radius = 0
    place = {"ha": "center", "va": "bottom" if radius else "center"}
    ax.text(column, row - 1.2 * radius, number, color=colour, weight="bold", **place, **halo)
    ax.set(xlim=(0, size[1]), ylim=(size[0], 0))
