"""One hole filled by conditional VAEs, each several times under a label, with the verdict of a judge and the error.

`mix` asks one network; `mixed_figure` draws the answers of several: the twin of `nblib.widgets.AttributeMixer` without
buttons.
"""

import copy
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor, nn

from nblib import checkpoints, metrics, tasks
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_uint8, uint8_to_signed, uint8_to_unit
from nblib.inpainting import check_size
from nblib.networks.cvae import ConditionalVAE
from nblib.plots import with_hole
from nblib.tasks import Task
from nblib.variational import reparameterise
from nblib.widgets.views import MAP

SAMPLES = 16  # at most
SIDE, NAME, LINE, HEAD = 1.75, 0.35, 0.22, 0.4  # inches: a picture, its name, a line under it, a line above a row
COLUMNS = 8  # pictures in a line, at most
LETTERS = 10  # of a headline, per inch

Source = str | Path | tuple[nn.Module, str]


class Candidate(NamedTuple):
    """A network, in eval mode, and what it was trained for."""

    name: str
    net: ConditionalVAE
    task: Task


class Judge(NamedTuple):
    """A classifier as a judge of one attribute.

    Parameters
    ----------
    net : nn.Module
        Images (B, 3, H, W) in [-1, 1] to logits (B, A); in eval mode.
    column : int
        Of the attribute.
    attribute : str
        Its name.
    """

    net: nn.Module
    column: int
    attribute: str

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the probability of the attribute in each picture, uint8 (B, 3, H, W) to float (B,)."""
        device = next(self.net.parameters()).device
        return self.net(uint8_to_signed(pictures.to(device)))[:, self.column].float().sigmoid().cpu()


class Still(NamedTuple):
    """A picture, uint8 (3, H, W), its name and what is told of it."""

    name: str
    told: str
    picture: Tensor


@dataclass(frozen=True)
class Mixed:
    """What one network made of a hole, n times.

    Attributes
    ----------
    name : str
        Of the network.
    seen : Tensor, uint8 (3, H, W)
        What it was shown, the hole mid-gray.
    pictures : Tensor, uint8 (n, 3, H, W)
    l1 : Tensor, float (n,), or None
        Mean absolute difference to the truth in the hole, in [0, 1] units; None if that is not known.
    judged : dict of str to Tensor, float (n,)
        By attribute the probability that a judge gives it in each of `pictures`.
    """

    name: str
    seen: Tensor
    pictures: Tensor
    l1: Tensor | None = None
    judged: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def spread(self) -> Tensor | None:
        """Standard deviation of each pixel over the samples, float (H, W) in [0, 1]; None for fewer than 2.

        The root of the variance, averaged over the three colours.
        """
        return uint8_to_unit(self.pictures).var(0).mean(0).sqrt() if len(self.pictures) > 1 else None

    @property
    def told(self) -> list[str]:
        """In words how each sample came out: its L1 in the hole, and the judge's verdicts."""
        parts = [] if self.l1 is None else [[f"L1 {value:.3f}" for value in self.l1.tolist()]]
        parts += [[f"{name} {100 * share:.0f} %" for share in shares.tolist()] for name, shares in self.judged.items()]
        return [" · ".join(words) for words in zip(*parts, strict=True)] or [""] * len(self.pictures)

    @property
    def summary(self) -> str:
        """In words the mean L1, and how many samples have an attribute, for the judge."""
        parts = [] if self.l1 is None else [f"mean L1 {self.l1.mean():.3f}"]
        parts += [f"{name} {int((p >= 0.5).sum())} of {len(p)}" for name, p in self.judged.items()]
        return " · ".join(parts)


@torch.no_grad()
def mix(
    name: str,
    net: ConditionalVAE,
    picture: Tensor,
    hole: Tensor | None,
    noise: Tensor,
    *,
    label: float | None = None,
    temperature: float = 1.0,
    raw: bool = False,
    truth: Tensor | None = None,
    judges: Sequence[Judge] = (),
) -> Mixed:
    """Fill a hole once for each row of noise.

    The codes are mu + temperature * exp(logvar / 2) * noise: 0 draws the mean alone, 1 what the network was trained
    with.

    Parameters
    ----------
    name : str
        How the network is called.
    net : ConditionalVAE
        In eval mode.
    picture : Tensor, uint8 (3, H, W)
    hole : Tensor, bool (1, H, W), or None
        None hides nothing, and all is drawn anew.
    noise : Tensor, float (n, latent_dim)
        Standard normal.
    label : float, optional
        0 for no, 1 for yes; between them the two embeddings are mixed. None for a network without a label.
    temperature : float, default 1
    raw : bool, default False
        Return whole pictures as they were drawn; else known pixels are pasted over them.
    truth : Tensor, uint8 (3, H, W), optional
        What a perfect answer would be.
    judges : sequence of Judge, optional

    Raises
    ------
    ValueError
        If the network draws values that are not finite.

    Examples
    --------
    >>> net = ConditionalVAE(width=2, latent_dim=4).eval()
    >>> picture, hole = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(1, 64, 64, dtype=torch.bool)
    >>> hole[:, 50:64, 21:45] = True
    >>> mixed = mix("cvae", net, picture, hole, torch.zeros(2, 4), label=0.5)
    >>> mixed.pictures.shape, int(mixed.pictures.masked_select(~hole).max())  # what is known stays
    (torch.Size([2, 3, 64, 64]), 0)
    """
    n, device = len(noise), next(net.parameters()).device
    mu, logvar = net.encode(uint8_to_signed(picture[None]).to(device), None if hole is None else hole[None].to(device))
    z = reparameterise(mu, logvar, temperature * noise.to(device))  # (n, z)
    labels = None if label is None else torch.tensor([[1.0 - label, label]], device=device).expand(n, -1)  # (n, 2)
    drawn = net.decode(z, labels)  # (n, 3, H, W)
    if not drawn.isfinite().all():
        raise ValueError(f"{name} drew values that are not finite; check its weights")
    drawn, everywhere = signed_to_uint8(drawn).cpu(), torch.ones_like(picture[:1], dtype=torch.bool)
    pictures = drawn if raw or hole is None else torch.where(hole, drawn, picture)
    l1 = None if truth is None else _l1(drawn, truth, everywhere if hole is None else hole)
    seen = picture if hole is None else with_hole(picture[None], hole[None])[0]
    return Mixed(name, seen, pictures, l1, {judge.attribute: judge(pictures) for judge in judges})


def spread_picture(spread: Tensor) -> np.ndarray:
    """Return how far samples lie apart in colours, uint8 (H, W, 3); the largest spread (H, W) has the lightest one.

    Examples
    --------
    >>> spread_picture(torch.tensor([[0.0, 0.2]])).tolist()
    [[[0, 0, 4], [252, 253, 191]]]
    """
    level = spread / spread.max().clamp_min(1e-9)
    return np.uint8(np.floor(255 * MAP(level.numpy())[..., :3] + 0.5))


def spread_told(spread: Tensor) -> str:
    """Return in words what the lightest colour of `spread_picture` says.

    Examples
    --------
    >>> spread_told(torch.tensor([[0.0, 0.2]])), spread_told(torch.zeros(1, 2))
    ('SD up to 0.200', 'all are the same')
    """
    return f"SD up to {spread.max():.3f}" if spread.any() else "all are the same"


def mixed_figure(stills: Sequence[Still], rows: Sequence[Mixed], *, title: str = "") -> Figure:
    """Draw a picture, and for each network what it saw, its samples, and how far they lie apart.

    Parameters
    ----------
    stills : sequence of Still
        The picture and, where it is known, the truth under another label.
    rows : sequence of Mixed
    title : str, optional

    Examples
    --------
    >>> picture, two = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    >>> figure = mixed_figure([Still("the picture", "", picture)], [Mixed("cvae", picture, two, torch.zeros(2))])
    >>> [(ax.get_title(), ax.get_xlabel()) for ax in figure.axes][:3]
    [('the picture', ''), ('what it sees', ''), ('sample 1', 'L1 0.000')]
    """
    parts = [(title, [(name, told, _pixels(picture)) for name, told, picture in stills])]
    parts += [(": ".join(filter(None, (row.name, row.summary))), _tiles(row)) for row in rows]
    most = max(len(tiles) for _, tiles in parts)
    columns = math.ceil(most / math.ceil(most / COLUMNS))
    width = max(SIDE * columns, 6 * SIDE)
    heads = [textwrap.fill(head, int(LETTERS * width)) for head, _ in parts]
    heights = [_height(head, columns, tiles) for head, (_, tiles) in zip(heads, parts, strict=True)]
    with sns.axes_style("white"), sns.plotting_context("talk"):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        places = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
        for place, head, (_, tiles) in zip(places, heads, parts, strict=True):
            place.suptitle(head, fontsize=15, x=0.01, ha="left")
            _draw(place, columns, tiles)
    return figure


def draw_noise(seed: int, samples: int, units: int) -> Tensor:
    """Return noise (samples, units) of which a seed's first rows stay when more are asked for."""
    return torch.randn(SAMPLES, units, generator=torch.Generator().manual_seed(seed))[:samples]


def draw_hole(task: Task, images: ImageSet, picture: int, seed: int) -> Tensor | None:
    """Return the hole of a task in one picture of a set, bool (1, H, W); None if the task hides nothing.

    Raises
    ------
    ValueError
        If the set's landmarks are not those of a face.
    """
    sampler = task.sampler(images.name)
    landmarks = None if images.landmarks is None else images.landmarks[picture : picture + 1]
    generator = torch.Generator().manual_seed(seed)
    return sampler and sampler(1, images.images.shape[-1], landmarks=landmarks, generator=generator)[0]


def candidate(name: str, source: Source, size: int) -> Candidate:
    """Return a network for pictures of a side.

    Parameters
    ----------
    name : str
    source : str, path or tuple
        A key of weights, a weights file or the folder of a run, which know their task; or a tuple of a network, which
        is copied, and the name of its task.
    size : int

    Raises
    ------
    ValueError
        If it is no conditional VAE, or fits not its task or not the size.
    FileNotFoundError
        If there are no such weights.
    """
    if isinstance(source, tuple):
        net, task = copy.deepcopy(source[0]).eval(), tasks.find(source[1])  # a training may go on meanwhile
    elif isinstance(source, str | Path):
        weights = tasks.weights_of(source)
        net, task = checkpoints.load(weights), tasks.of_card(checkpoints.card(weights))
    else:
        raise ValueError(f"{name} is {type(source).__name__}; give a key of weights, a run, or a tuple (network, task)")
    if not isinstance(net, ConditionalVAE):
        raise ValueError(f"{name} is {type(net).__name__}; the mixer shows conditional VAEs")
    if net.classes != (2 if task.label else 0):
        wants = f"the label {task.label}, classes=2" if task.label else "no label, classes=0"
        raise ValueError(f"{name} has classes={net.classes}; its task {task.name} has {wants}")
    check_size(name, net, torch.empty(0, 3, size, size))
    return Candidate(name, net, task)


def _l1(drawn: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """Return the L1 of each picture in the hole, float (n,)."""
    truth, hole = (part.expand(len(drawn), -1, -1, -1) for part in (uint8_to_unit(truth), hole))
    return metrics.hole_l1(uint8_to_unit(drawn), truth, hole)


def _tiles(row: Mixed) -> list[tuple[str, str, np.ndarray]]:
    tiles = [("what it sees", "", _pixels(row.seen))]
    for k, (told, picture) in enumerate(zip(row.told, row.pictures, strict=True), 1):
        tiles.append((f"sample {k}", told, _pixels(picture)))
    if (spread := row.spread) is not None:
        tiles.append(("spread", spread_told(spread), spread_picture(spread)))
    return tiles


def _height(head: str, columns: int, tiles: Sequence[tuple[str, str, np.ndarray]]) -> float:
    """Return how high a part of the figure is, in inches."""
    under = max(len(told.split(" · ")) for _, told, _ in tiles)
    return HEAD * (1 + head.count("\n")) + math.ceil(len(tiles) / columns) * (SIDE + NAME + LINE * under)


def _draw(place: SubFigure, columns: int, tiles: Sequence[tuple[str, str, np.ndarray]]) -> None:
    """Draw pictures (H, W, 3), each with its name and what is told of it."""
    panels = list(place.subplots(math.ceil(len(tiles) / columns), columns, squeeze=False).flat)
    for ax, (name, told, picture) in zip(panels, tiles, strict=False):
        ax.imshow(picture, interpolation="nearest")
        ax.set(xticks=[], yticks=[], anchor="N")
        ax.set_title(name, fontsize=13)
        ax.set_xlabel(told.replace(" · ", "\n"), fontsize=12, labelpad=2)
        sns.despine(ax=ax, left=True, bottom=True)
    for ax in panels[len(tiles) :]:
        ax.remove()


def _pixels(picture: Tensor) -> np.ndarray:
    return picture.permute(1, 2, 0).cpu().numpy()
