"""Pictures of a few broad waves, a generator that draws them, and searches through it for the trials of chapter 4.

Latent vectors are the strengths of the waves. `Waves` with fewer waves than a picture has cannot draw it everywhere: it
must choose where to be right, and that is what weights are for.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from nblib import losses, masks
from nblib.baselines import classical

SIZE = 16  # in pixels
GAIN = 1.5


class Waves(nn.Module):
    """Draw pictures from strengths in [-1, 1]: ``tanh`` of cosines, three channels, finer waves weaker.

    Parameters
    ----------
    finest : int, default 4
        Waves in either direction, the mean among them.
    """

    def __init__(self, finest: int = 4):
        super().__init__()
        wave = torch.arange(finest).float()
        line = torch.cos(math.pi * wave[:, None] * (torch.arange(SIZE) + 0.5) / SIZE)  # (finest, SIZE)
        strength = GAIN / (1 + wave[:, None] + wave)
        basis = strength[..., None, None] * line[:, None, :, None] * line[None, :, None, :]
        self.basis = nn.Parameter(basis.flatten(0, 1).flatten(1))  # (finest², SIZE²)
        self.latent_dim = 3 * finest**2

    def forward(self, z: Tensor) -> Tensor:
        """Return pictures (b, 3, SIZE, SIZE) in [-1, 1] for z (b, latent_dim)."""
        return (z.unflatten(1, (3, -1)) @ self.basis).tanh().unflatten(2, (SIZE, SIZE))


@dataclass(frozen=True)
class Broken:
    """Pictures with holes.

    Attributes
    ----------
    whole : Tensor, float32 (n, 3, SIZE, SIZE)
    images : Tensor, like `whole`
        What is known of them, 0 in the holes.
    masks : Tensor, bool (n, 1, SIZE, SIZE)
        True = hole.
    """

    whole: Tensor
    images: Tensor
    masks: Tensor

    @cached_property
    def flat(self) -> float:
        """The error in the holes of the mean colour."""
        return self.error(classical.mean(self.images, self.masks))

    def error(self, drawn: Tensor) -> float:
        """Return the mean absolute error in the holes."""
        return losses.l1_in_hole(drawn, self.whole, self.masks).item()

    def saved(self, drawn: Tensor) -> float:
        """Return which share of the mean colour's error is gone, 1 if no error is left."""
        return 1 - self.error(drawn) / self.flat


def broken(n: int, finest: int, seed: int, wrong: float = 0.0) -> Broken:
    """Draw pictures of so many waves, with holes as the report of chapter 3 has them.

    Parameters
    ----------
    n, finest, seed : int
    wrong : float, default 0
        Share of known pixels that have the wrong colour, one colour for each picture.
    """
    random, waves = torch.Generator().manual_seed(seed), Waves(finest)
    with torch.no_grad():
        whole = waves(2 * torch.rand(n, waves.latent_dim, generator=random) - 1)
    holes = masks.seed(n, SIZE, generator=random)
    spots = torch.rand(n, 1, SIZE, SIZE, generator=random) < wrong
    colours = 2 * torch.rand(n, 3, 1, 1, generator=random) - 1
    return Broken(whole, torch.where(spots, colours, whole).masked_fill(holes, 0), holes)


def searched(
    loss: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    lr: float = 0.1,
    steps: int = 60,
    project: Callable[[Tensor], Tensor] = lambda z: z.clamp(-1, 1),
) -> Tensor:
    """Return latents found from z by Adam with a falling learning rate, each step followed by a projection.

    Parameters
    ----------
    loss : callable
        Latents to one number.
    z : Tensor, float (b, latent_dim)
    lr, steps, project
    """
    z = z.clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=lr)
    with one_thread():
        for step in range(steps):
            (z.grad,) = torch.autograd.grad(loss(z), z)
            adam.param_groups[0]["lr"] = falling(lr, step, steps)
            adam.step()
            z.data = project(z.detach().clone())
    return z.detach()


def falling(rate: float, step: int, steps: int) -> float:
    """Return a rate that falls along a cosine to 0."""
    return rate / 2 * (1 + math.cos(math.pi * step / steps))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread for a while: more gain nothing on pictures this small, and wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
