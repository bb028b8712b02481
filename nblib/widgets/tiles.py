"""One hole filled by several inpainters, side by side, each with its time and how close it came.

`filled_figure` is the twin of `nblib.widgets.MaskPainter` without buttons.
"""

import math
import textwrap
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nblib import metrics
from nblib.images import signed_to_uint8, signed_to_unit, unit_to_uint8
from nblib.inpainters import Inpainter, load
from nblib.plots import with_hole

SIDE, TEXT = 2.6, 0.85  # inches: of a picture, and of its name and what is told of it
COLUMNS = 6  # pictures in a row, at most
LETTERS = 24  # in a line of a message


@dataclass(frozen=True)
class Filling:
    """What one inpainter made of a hole.

    Attributes
    ----------
    name : str
        Of the inpainter.
    image : Tensor, uint8 (3, H, W), or None
        The filled picture; None if there is none, then `trouble` says why.
    seconds : float
        How long it took.
    psnr : float or None
        Of the pixels in the hole, in dB; None if the truth is not known.
    trouble : str
        The error that the inpainter raised; empty if it raised none.
    """

    name: str
    image: Tensor | None
    seconds: float
    psnr: float | None = None
    trouble: str = ""

    @property
    def told(self) -> str:
        """Time and PSNR in words, or the error."""
        score = "" if self.psnr is None else f" · {self.psnr:.1f} dB"
        return self.trouble or duration(self.seconds) + score


def fill(name: str, inpainter: Inpainter, picture: Tensor, hole: Tensor, *, truth: bool = True) -> Filling:
    """Fill one hole, measure the time and, if `picture` is the truth, the PSNR in the hole.

    What the inpainter raises is told in the result. A stochastic one draws from the same seed at every call.

    Parameters
    ----------
    name : str
    inpainter : Inpainter
    picture : Tensor, float (3, H, W) in [-1, 1]
    hole : Tensor, bool (1, H, W)
    truth : bool, default True

    Examples
    --------
    >>> hole = torch.zeros(1, 8, 8, dtype=torch.bool)
    >>> hole[:, 2:4, 2:4] = True
    >>> black = Inpainter("black", lambda images, masks: -torch.ones_like(images))
    >>> round(fill("black", black, torch.full((3, 8, 8), -0.8), hole).psnr, 3)
    20.0
    """
    image, mask = picture[None], hole[None]
    start = time.perf_counter()
    try:
        filled = inpainter(image, mask, generator=torch.Generator().manual_seed(0))
    except Exception as error:  # the others go on
        return Filling(name, None, time.perf_counter() - start, trouble=f"{type(error).__name__}: {error}")
    seconds, filled = time.perf_counter() - start, filled.detach()
    psnr = metrics.hole_psnr(signed_to_unit(filled), signed_to_unit(image), mask).item() if truth else None
    return Filling(name, signed_to_uint8(filled[0]), seconds, psnr)


def named(
    inpainters: Mapping[str, Inpainter] | Iterable[str], slow: Collection[str] = ()
) -> tuple[dict[str, Inpainter], set[str]]:
    """Return inpainters by the name to be shown, and the names of the slow ones among them.

    Parameters
    ----------
    inpainters : mapping of str to Inpainter, or list of str
        By name; or keys, see `nblib.inpainters.load`.
    slow : collection of str
        Names or keys.

    Raises
    ------
    ValueError
        If there is none, two have the same name, one is no Inpainter, or a slow one is not among them.

    Examples
    --------
    >>> chosen, slow = named(["telea", "exemplar"], slow=["exemplar"])
    >>> list(chosen), slow
    (['telea', 'exemplar'], {'exemplar'})
    """
    slow = {slow} if isinstance(slow, str) else set(slow)
    if not isinstance(inpainters, Mapping):
        keys = [inpainters] if isinstance(inpainters, str) else list(inpainters)
        loaded = {key: load(key) for key in keys}
        if len({inpainter.name for inpainter in loaded.values()}) < len(keys):
            raise ValueError(f"{', '.join(keys)}: two have the same name; give a mapping from name to Inpainter")
        slow = {loaded[key].name if key in loaded else key for key in slow}
        inpainters = {inpainter.name: inpainter for inpainter in loaded.values()}
    if not inpainters:
        raise ValueError("there is no inpainter; choose some of nblib.inpainters.available(set_name)")
    for name, inpainter in inpainters.items():
        if not isinstance(inpainter, Inpainter):
            raise ValueError(f"{name} is {type(inpainter).__name__}; wrap it as Inpainter({name!r}, fill)")
    if unknown := slow - set(inpainters):
        raise ValueError(f"slow={sorted(unknown)}: the inpainters are {', '.join(inpainters)}")
    return dict(inpainters), slow


def check_pictures(images: Tensor) -> None:
    """Raise a ValueError unless `images` are square pictures (B, 3, S, S), uint8 or float in [-1, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or not images.numel():
        raise ValueError(f"images are {tuple(images.shape)}; expected square ones (B, 3, S, S), at least one")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point() or not images.abs().max() <= 1.001:  # written so that NaN is refused too
        raise ValueError(f"images are {images.dtype} with values beyond [-1, 1]; expected uint8, or float in [-1, 1]")


def filled_figure(
    picture: Tensor, hole: Tensor, fillings: Sequence[Filling] = (), *, title: str | None = None
) -> Figure:
    """Draw a picture, its hole, and what inpainters made of it, each with its name, its time and its PSNR.

    Parameters
    ----------
    picture : Tensor, uint8 or float in [0, 1], (3, H, W)
    hole : Tensor, bool (1, H, W)
        Drawn mid-gray.
    fillings : sequence of Filling, optional
    title : str, optional

    Examples
    --------
    >>> picture, hole = torch.zeros(3, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    >>> figure = filled_figure(picture, hole, [Filling("black", torch.zeros(3, 8, 8), 0.0123, 60.0)])
    >>> [(ax.get_title(), ax.get_xlabel()) for ax in figure.axes]
    [('original', ''), ('hole', '100.0 % of the picture'), ('black', '12 ms · 60.0 dB')]
    """
    share = f"{100 * hole.float().mean():.1f} % of the picture"
    tiles = [("original", "", picture), ("hole", share, with_hole(picture[None], hole[None])[0])]
    tiles += [(filling.name, filling.told, filling.image) for filling in fillings]
    rows = math.ceil(len(tiles) / COLUMNS)
    columns = math.ceil(len(tiles) / rows)
    with sns.axes_style("white"), sns.plotting_context("talk"):
        size = (SIDE * columns, (SIDE + TEXT) * rows + (0.5 if title else 0))
        figure = Figure(figsize=size, layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax, (name, told, image) in zip(panels, tiles, strict=False):
            _draw(ax, name, told, image)
        for ax in panels[len(tiles) :]:
            ax.remove()
        if title:
            figure.suptitle(title, fontsize=18)
    return figure


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> duration(0.00312), duration(0.038), duration(1.24), duration(75)
    ('3.1 ms', '38 ms', '1.2 s', '75 s')
    """
    unit, value = ("ms", 1e3 * seconds) if seconds < 0.9995 else ("s", seconds)
    return f"{value:.{1 if value < 9.95 else 0}f} {unit}"


def _draw(ax: Axes, name: str, told: str, image: Tensor | None) -> None:
    ax.set(xticks=[], yticks=[])
    ax.set_title(name, fontsize=17)
    sns.despine(ax=ax, left=True, bottom=True)
    if image is None:
        ax.set_box_aspect(1)
        ax.text(0.5, 0.5, textwrap.fill(told, LETTERS), ha="center", va="center", fontsize=11, transform=ax.transAxes)
        return
    image = image if image.dtype == torch.uint8 else unit_to_uint8(image)
    ax.imshow(image.permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
    ax.set_xlabel(told, fontsize=15)
