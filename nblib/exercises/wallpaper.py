"""Pictures for the trials of the inpainting exercises, a small network that fills holes in them, and its training.

A wallpaper's colours return every four pixels. That is learnt within a second, but what lies at the rim of a hole says
little about its middle. Noise makes copying a pixel another thing than continuing the pattern.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nblib import losses, masks
from nblib.baselines import classical
from nblib.exercises.puzzles import TEST, Puzzles
from nblib.images import uint8_to_signed
from nblib.toys import faces
from nblib.training import SupervisedTraining
from nblib.training.player import Player
from nblib.training.state import drawn

SIZE, PERIOD = 16, 4  # in pixels
NOISE = 0.2  # its share


@dataclass(frozen=True)
class Holed:
    """Pictures, and where they are broken.

    Attributes
    ----------
    images : Tensor, float32 (b, 3, H, W)
        In [-1, 1], whole.
    masks : Tensor, bool (b, 1, H, W)
        True = hole.
    """

    images: Tensor
    masks: Tensor


def wallpapers(n: int, generator: torch.Generator) -> Holed:
    """Draw noisy tiles, repeated, with holes as the report has them."""
    tiles = 2 * torch.rand(n, 3, PERIOD, PERIOD, generator=generator) - 1
    noise = 2 * torch.rand(n, 3, SIZE, SIZE, generator=generator) - 1
    images = (1 - NOISE) * tiles.tile(SIZE // PERIOD, SIZE // PERIOD) + NOISE * noise
    return Holed(images, masks.seed(n, SIZE, generator=generator))


WALLPAPERS = Puzzles(wallpapers, 32)


def unseen(n: int = 300) -> Holed:
    """Return wallpapers to test with."""
    return wallpapers(n, torch.Generator().manual_seed(TEST))


@functools.cache
def portraits(n: int) -> Tensor:
    """Return faces (n, 3, SIZE, SIZE) in [-1, 1], the same ones each time."""
    return uint8_to_signed(faces.sample(0, torch.arange(n), size=SIZE).images)


class Filler(nn.Module):
    """Fill a pixel from itself and the eight places one period away; nothing else is seen."""

    def __init__(self, width: int = 16):
        super().__init__()
        around = nn.Conv2d(4, width, 3, padding=PERIOD, dilation=PERIOD, padding_mode="circular")
        dense = [nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 3, 1)]
        self.layers = nn.Sequential(around, nn.ReLU(), *dense)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return whole images (b, 3, H, W); what lies in the holes of `images` is not seen."""
        return self.layers(torch.cat([images.masked_fill(masks, 0), masks.to(images.dtype)], 1))


def filled(net: nn.Module, one: Holed) -> Tensor:
    """Return a network's whole images."""
    return net(one.images, one.masks)


def by_sgd(net: nn.Module, lr: float, **named: Any) -> SupervisedTraining:
    """Return a training by plain gradient descent, with what else `SupervisedTraining` takes.

    Adam divides by the size of the gradient, so that neither a tiny one nor one that drowns out another would show.
    """
    training = SupervisedTraining(net, **named)
    training.players["net"] = Player(net, torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9), lr=lr)
    return training


def gained(net: nn.Module, test: Holed) -> float:
    """Return which share of the mean colour's L1 in the hole a network saves, 1 if it makes no error."""
    found, flat = drawn(net, test.images, test.masks), classical.mean(test.images, test.masks)
    errors = [losses.l1_in_hole(one, test.images, test.masks).item() for one in (found, flat)]
    return 1 - errors[0] / errors[1]
