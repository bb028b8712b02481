"""A latent search as a figure: what G drew on the way, what that makes of the hole, and how the losses fell.

`search_figure` is the twin of `nblib.widgets.SearchPlayer` without buttons; `replay` is what both of them show.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nblib import masks as holes
from nblib import metrics
from nblib.blending import poisson
from nblib.images import signed_to_uint8, uint8_to_signed, uint8_to_unit
from nblib.latent import Found
from nblib.plots import with_hole
from nblib.widgets.views import MAP, overlay

COLUMNS = 7  # moments in a figure, unless it is told which
FULL = 0.5  # the difference, of 1 between black and white, that has the lightest colour
CONTEXT, PRIOR, TOTAL, PSNR = "#0072b2", "#cc79a7", "#d55e00", "#009e73"  # Okabe and Ito
TABLE = np.uint8(255 * MAP(np.arange(256))[:, :3] + 0.5)  # (256, 3)


@dataclass(frozen=True)
class Replay:
    """The search for one image from R starts: T moments with pictures, losses of all S + 1 steps.

    Attributes
    ----------
    at : list of int
        Steps of the moments.
    broken : Tensor, uint8 (3, H, W)
        What is known; the hole is mid-gray.
    truth : Tensor, uint8 (3, H, W), or None
    hole : Tensor, bool (H, W)
    weights : Tensor, float (H, W)
        Of the context loss.
    drawn, completed : Tensor, uint8 (T, R, 3, H, W)
        G(z), and the known pixels with G(z) in the hole.
    context, prior, total : Tensor, float (S + 1, R)
        Losses, and their weighted sum.
    psnr : Tensor, float (T, R), or None
        Of `completed` in the hole, in dB, if the truth is known.
    kept : int
        The start that won.
    frozen : list of int
        Steps until each start was frozen, or the search ended.
    """

    at: list[int]
    broken: Tensor
    truth: Tensor | None
    hole: Tensor
    weights: Tensor
    drawn: Tensor
    completed: Tensor
    context: Tensor
    prior: Tensor
    total: Tensor
    psnr: Tensor | None
    kept: int
    frozen: list[int]

    @property
    def starts(self) -> int:
        """How many there were, R."""
        return self.context.shape[1]

    @property
    def last(self) -> int:
        """The last step, S."""
        return len(self.context) - 1

    @property
    def judged(self) -> bool:
        """Whether a discriminator had a say."""
        return bool(self.prior.any())

    def told(self, start: int, step: int) -> str:
        """Return in words how a start is doing at a moment."""
        kept = ", kept" if start == self.kept and self.starts > 1 else ""
        which = [f"start {start + 1} of {self.starts}{kept}"] if self.starts > 1 else []
        halted = " (frozen)" if self.frozen[start] <= step and self.frozen[start] < self.last else ""
        words = [*which, f"step {step} of {self.last}{halted}", f"context loss {self.context[step, start]:.1f}"]
        if self.judged:
            words += [f"prior loss {self.prior[step, start]:.2f}", f"sum {self.total[step, start]:.1f}"]
        if self.psnr is not None:
            words += [f"{self.psnr[self.at.index(step), start]:.1f} dB in the hole"]
        return " · ".join(words)


def replay(
    found: Found, images: Tensor, masks: Tensor, image: int = 0, *, truth: Tensor | None = None, blend: bool = False
) -> Replay:
    """Return the search for one of the images that `nblib.latent.search` was given.

    Parameters
    ----------
    found : Found
        With a history: ``search(…, every=10)``.
    images : Tensor, float (B, 3, H, W) in [-1, 1]
        As given to the search; what lies in the holes is not seen here either.
    masks : Tensor, bool (B, 1, H, W)
        True = hole.
    image : int, default 0
    truth : Tensor, like `images`, optional
        Without holes.
    blend : bool, default False
        Adjust the filling to the rim by Poisson blending; else it is pasted as it is.

    Raises
    ------
    ValueError
        If the search kept no pictures, images, masks or truth are not those of the search, or there is no such image.

    Examples
    --------
    >>> from nblib.latent import search
    >>> from nblib.networks.dcgan import Generator
    >>> G = Generator(latent_dim=8, width=4, size=8).eval()
    >>> images, masks = G(torch.zeros(2, 8)).detach(), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    >>> masks[..., 2:6, 2:6] = True
    >>> found = search(G, None, images, masks, steps=20, restarts=3, every=10)
    >>> seen = replay(found, images, masks, image=1)
    >>> seen.at, seen.drawn.shape, seen.total.shape
    ([0, 10, 20], torch.Size([3, 3, 3, 8, 8]), torch.Size([21, 3]))
    """
    check(found, images, masks, truth)
    if not 0 <= image < len(images):
        raise ValueError(f"image={image}: there are images 0 to {len(images) - 1}")
    history, row = found.history, slice(image, image + 1)
    mask = masks[row].cpu()  # (1, 1, H, W)
    known = images[row].cpu().float().masked_fill(mask, 0)  # (1, 3, H, W)
    drawn = history.drawn[:, image].cpu()  # (T, R, 3, H, W)
    completed = _completed(drawn.flatten(0, 1), known, mask, blend).view_as(drawn)
    context, prior = history.context[:, image].cpu(), history.prior[:, image].cpu()
    whole = None if truth is None else signed_to_uint8(truth[row].cpu().float())  # (1, 3, H, W)
    return Replay(
        at=list(history.at),
        broken=with_hole(signed_to_uint8(known), mask)[0], truth=None if truth is None else whole[0],
        hole=mask[0, 0], weights=history.weights[image, 0].cpu(), drawn=drawn, completed=completed,
        context=context, prior=prior, total=context + history.prior_weight * prior,
        psnr=None if truth is None else _psnr(completed, whole, mask),
        kept=int(found.chosen[image]), frozen=found.steps[image].tolist(),
    )  # fmt: skip


def check(found: Found, images: Tensor, masks: Tensor, truth: Tensor | None) -> None:
    """Raise a ValueError unless these belong together, see `replay`."""
    if not found.history.at:
        raise ValueError("this search kept no pictures of its way: search(…, every=10) does")
    for name, given in {"images": images, "truth": truth}.items():
        if given is not None and (given.shape != found.images.shape or not given.is_floating_point()):
            told = f"{name} are {given.dtype} {tuple(given.shape)}"
            raise ValueError(f"{told}; this search was for float {tuple(found.images.shape)} in [-1, 1]")
    holes.check(masks, images)


def difference(picture: Tensor, seen: Replay) -> np.ndarray:
    """Return how far a picture is from the truth, in colours; without the truth from what is known, the hole gray.

    Parameters
    ----------
    picture : Tensor, uint8 (3, H, W)
    seen : Replay

    Returns
    -------
    ndarray, uint8 (H, W, 3)
        Mean over the channels; black for equal, lightest from half of the range on.
    """
    reference = seen.broken if seen.truth is None else seen.truth
    apart = (picture.int() - reference.int()).abs().sum(0).numpy()  # (H, W), of 3 * 255
    shown = TABLE[np.minimum(255, np.floor(256 * apart / (3 * 255 * FULL)).astype(int))]
    return shown if seen.truth is not None else np.where(seen.hole[..., None], np.uint8(128), shown)


def weight_picture(seen: Replay) -> np.ndarray:
    """Return W over the broken picture in gray, uint8 (H, W, 3); the largest weight has the lightest colour."""
    return overlay(seen.broken, seen.weights, 0.6, scale=1)


def search_figure(
    found: Found,
    images: Tensor,
    masks: Tensor,
    *,
    truth: Tensor | None = None,
    image: int = 0,
    restart: int | None = None,
    steps: Sequence[int] | None = None,
    cursor: int | None = None,
    blend: bool = False,
    difference: bool = False,
) -> Figure:
    """Draw what one start of a search drew every so many steps, what that makes of the hole, and the losses.

    Parameters
    ----------
    found, images, masks, truth, image, blend
        See `replay`.
    restart : int, optional
        Which start; by default the one that won. The context losses of the others are gray.
    steps : sequence of int, optional
        Which moments of the history; by default seven, evenly spread.
    cursor : int, optional
        A moment to be marked; it is shown even if it is none of `steps`.
    difference : bool, default False
        A third row: how far the completion is from the truth, or G(z) from what is known.

    Raises
    ------
    ValueError
        As `replay`, or if there is no such start or moment.

    Examples
    --------
    >>> from nblib.latent import search
    >>> from nblib.networks.dcgan import Generator
    >>> G = Generator(latent_dim=8, width=4, size=8).eval()
    >>> images, masks = G(torch.zeros(2, 8)).detach(), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    >>> masks[..., 2:6, 2:6] = True
    >>> found = search(G, None, images, masks, steps=20, restarts=3, every=10)
    >>> figure = search_figure(found, images, masks, truth=images, steps=(0, 20))
    >>> len(figure.axes)  # two rows of two, broken and true picture, W, context loss and PSNR
    9
    """
    seen = replay(found, images, masks, image, truth=truth, blend=blend)
    start = seen.kept if restart is None else restart
    check_choice(seen, start, *(() if steps is None else steps), *(() if cursor is None else (cursor,)))
    steps = spread(seen.at) if steps is None else list(steps)
    steps = sorted({*steps, cursor}) if cursor is not None else steps
    words = seen.told(start, seen.last if cursor is None else cursor)
    return _figure(seen, start, steps, cursor, f"image {image + 1} of {len(images)} · {words}", difference)


def check_choice(seen: Replay, start: int, *steps: int) -> None:
    """Raise a ValueError if there is no such start or moment."""
    if not 0 <= start < seen.starts:
        raise ValueError(f"restart={start}: there are starts 0 to {seen.starts - 1}")
    for step in steps:
        if step not in seen.at:
            raise ValueError(f"step={step}: this search kept pictures of the steps {', '.join(map(str, seen.at))}")


def spread(at: Sequence[int], count: int = COLUMNS) -> list[int]:
    """Return up to `count` of some steps, the first and the last among them; four or more if they lie evenly.

    Examples
    --------
    >>> spread(range(0, 301, 10)), spread(range(0, 61, 6))
    ([0, 50, 100, 150, 200, 250, 300], [0, 12, 24, 36, 48, 60])
    """
    last = len(at) - 1
    even = [parts for parts in range(3, count) if last % parts == 0]
    places = np.linspace(0, last, 1 + (even[-1] if even else min(count - 1, last)))
    return [at[place] for place in places.round().astype(int)]


def _completed(drawn: Tensor, known: Tensor, mask: Tensor, blend: bool) -> Tensor:
    """Return what G drew (N, 3, H, W), uint8, pasted or blended into the hole of a picture."""
    if not blend:
        return torch.where(mask, drawn, signed_to_uint8(known))
    n = len(drawn)
    blended = poisson(uint8_to_signed(drawn), known.repeat(n, 1, 1, 1), mask.repeat(n, 1, 1, 1))
    return signed_to_uint8(blended)


def _psnr(completed: Tensor, whole: Tensor, mask: Tensor) -> Tensor:
    """Return the PSNR in the hole, (T, R)."""
    outputs = uint8_to_unit(completed.flatten(0, 1))
    n = len(outputs)
    values = metrics.hole_psnr(outputs, uint8_to_unit(whole).expand(n, -1, -1, -1), mask.expand(n, -1, -1, -1))
    return values.view(completed.shape[:2])


def _figure(seen: Replay, start: int, steps: list[int], cursor: int | None, title: str, apart: bool) -> Figure:
    rows = 3 if apart else 2
    with sns.axes_style("whitegrid"), sns.plotting_context("talk"):
        figure = Figure(figsize=(2.3 + 1.9 * max(len(steps) + 1, 7), 2.05 * rows + 4.4), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=[2.05 * rows + 0.4, 4])
        _draw_pictures(upper, seen, start, steps, cursor, apart)
        _draw_losses(lower, seen, start, steps, cursor)
        figure.suptitle(title, fontsize=18)
    return figure


def _draw_pictures(
    figure: SubFigure, seen: Replay, start: int, steps: list[int], cursor: int | None, apart: bool
) -> None:
    panels = figure.subplots(3 if apart else 2, 1 + len(steps), squeeze=False)
    _show(panels[0, 0], seen.broken, title="known")
    if seen.truth is not None:
        _show(panels[1, 0], seen.truth, label="truth")
    for ax in panels[1 if seen.truth is None else 2 :, 0]:
        ax.remove()
    for column, step in enumerate(steps, 1):
        k = seen.at.index(step)
        drawn, completed = seen.drawn[k, start], seen.completed[k, start]
        _show(panels[0, column], drawn, title=f"step {step}", bold=step == cursor)
        words = None if seen.psnr is None else f"{seen.psnr[k, start]:.1f} dB"
        _show(panels[1, column], completed, label=words)
        if apart:
            _show(panels[2, column], difference(drawn if seen.truth is None else completed, seen))
    names = ("G(z)", "completion", "difference\nto the truth" if seen.truth is not None else "G(z) and\nthe known")
    for ax, name in zip(panels[:, 1], names, strict=False):
        ax.set_ylabel(name)


def _show(
    ax: Axes, picture: Tensor | np.ndarray, title: str | None = None, label: str | None = None, bold: bool = False
) -> None:
    ax.imshow(picture.permute(1, 2, 0).numpy() if isinstance(picture, Tensor) else picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title or "", weight="bold" if bold else "normal", fontsize=17)
    ax.set_xlabel(label or "", fontsize=15, labelpad=3)
    sns.despine(ax=ax, left=True, bottom=True)


def _draw_losses(figure: SubFigure, seen: Replay, start: int, steps: list[int], cursor: int | None) -> None:
    """Draw W, and against the steps the context loss with the sum, the prior loss and the PSNR, as far as known."""
    names = ["W", "context loss", *(["prior loss"] if seen.judged else []), *([] if seen.psnr is None else ["PSNR"])]
    panels = dict(zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True))
    _show(panels["W"], weight_picture(seen), label=f"W, at most {seen.weights.max():.2f}")
    for name, ax in panels.items():
        if name != "W":
            ax.set(xlabel="step", title=name if name != "PSNR" else "PSNR in the hole (dB)")
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    line = {"linewidth": 3}
    panels["context loss"].plot(seen.context, color="0.75", linewidth=1.5)
    panels["context loss"].plot(seen.context[:, start], color=CONTEXT, label="context", **line)
    if seen.judged:
        panels["context loss"].plot(seen.total[:, start], "--", color=TOTAL, label="weighted sum", **line)
        panels["context loss"].legend(fontsize=14)
        panels["prior loss"].plot(seen.prior[:, start], color=PRIOR, **line)
    if seen.psnr is not None:
        panels["PSNR"].plot(seen.at, seen.psnr[:, start], "o-", color=PSNR, markersize=5, **line)
    panels["context loss"].set_ylim(bottom=0)
    for ax in (ax for name, ax in panels.items() if name != "W" and cursor is not None):
        ax.axvline(cursor, color="0.2", linewidth=2)
