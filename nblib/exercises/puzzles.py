"""Puzzles for the trials of the attention exercises, and small networks around a learner's function to solve them.

`strips` and `twins` cannot be solved without attention: the answer lies in another cell, beyond the reach of any
convolution here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEST = 10_000  # a step that no trial reaches
SHAPES, COLOURS, CELLS = 16, 4, 8
HEIGHT, WIDTH, KINDS, DOTS = 6, 12, 3, 6
SIDE = WIDTH // 3  # columns at either end that hold dots


@dataclass(frozen=True)
class Puzzles:
    """Fresh puzzles as `fit` asks for them: those of a step depend on nothing but the step.

    Attributes
    ----------
    draw : callable
        ``draw(n, generator)``
    size : int
        Puzzles in a batch.
    """

    draw: Callable[[int, torch.Generator], Any]
    size: int

    def at(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """Return the puzzles of a step."""
        return self.draw(self.size, torch.Generator().manual_seed(step))


@dataclass(frozen=True)
class Strip:
    """Cells of one shape and one colour each, and the question which colour a shape has.

    Attributes
    ----------
    shapes, colours : Tensor, int64 (b, CELLS)
    asked, answer : Tensor, int64 (b, 1)
    """

    shapes: Tensor
    colours: Tensor
    asked: Tensor
    answer: Tensor


def strips(n: int, generator: torch.Generator) -> Strip:
    """Draw strips whose cells all differ in shape."""
    shapes = torch.rand(n, SHAPES, generator=generator).argsort(1)[:, :CELLS]
    colours = torch.randint(COLOURS, (n, CELLS), generator=generator)
    cell = torch.randint(CELLS, (n, 1), generator=generator)
    return Strip(shapes, colours, shapes.gather(1, cell), colours.gather(1, cell))


class Lookup(nn.Module):
    """Answer by attention: 16 shapes have keys of length 4, too short for all to be orthogonal."""

    def __init__(self, attention_map: Callable):
        super().__init__()
        self.attention_map = attention_map
        self.query, self.key = nn.Embedding(SHAPES, 4), nn.Embedding(SHAPES, 4)
        self.value = nn.Embedding(COLOURS, COLOURS)

    def forward(self, strip: Strip) -> Tensor:
        """Return logits of the colours, shape (b, COLOURS)."""
        maps = self.attention_map(self.query(strip.asked), self.key(strip.shapes))  # (b, 1, CELLS)
        return (maps @ self.value(strip.colours))[:, 0]


@dataclass(frozen=True)
class Twins:
    """Coloured dots at the left end of a map, grey ones at the right; which kind a dot is of, its shape says.

    Attributes
    ----------
    maps : Tensor, float32 (b, KINDS + 2, HEIGHT, WIDTH)
        Where dots of each kind are, which have a colour, and the colour.
    rows, columns : Tensor, int64 (b, DOTS)
        Of the grey dots.
    colours : Tensor, float32 (b, DOTS)
        Which they should take on: the mean of their kind at the other end.
    """

    maps: Tensor
    rows: Tensor
    columns: Tensor
    colours: Tensor


def twins(n: int, generator: torch.Generator) -> Twins:
    """Draw maps on which each grey dot has a coloured one of its kind, 5 columns away or more."""
    maps, pictures = torch.zeros(n, KINDS + 2, HEIGHT, WIDTH), torch.arange(n)[:, None]
    places = torch.rand(2, n, HEIGHT * SIDE, generator=generator).argsort(2)[..., :DOTS]
    (rows, grey_rows), (columns, grey_columns) = places // SIDE, places % SIDE  # each (n, DOTS)
    grey_columns = grey_columns + WIDTH - SIDE
    kinds = torch.randint(KINDS, (n, DOTS), generator=generator)
    grey_kinds = kinds.gather(1, torch.randint(DOTS, (n, DOTS), generator=generator))
    colours = 2 * torch.rand(n, DOTS, generator=generator) - 1
    maps[pictures, kinds, rows, columns] = maps[pictures, grey_kinds, grey_rows, grey_columns] = 1
    maps[pictures, KINDS, rows, columns] = 1
    maps[pictures, KINDS + 1, rows, columns] = colours
    alike = (grey_kinds[:, :, None] == kinds[:, None]).float()  # (n, DOTS, DOTS)
    return Twins(maps, grey_rows, grey_columns, (alike @ colours[..., None])[..., 0] / alike.sum(2))


class Painter(nn.Module):
    """Convolution, the learner's attention, convolution: without the middle it sees 5x5 cells."""

    def __init__(self, self_attention: Callable):
        super().__init__()
        self.self_attention = self_attention
        self.front, self.back = nn.Conv2d(KINDS + 2, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)
        self.query, self.key, self.value = (nn.Conv2d(16, 8, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(8, 16, 1, bias=False)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.3)  # maps that are uneven from the start ...
        self.gamma = nn.Parameter(torch.ones(()))  # ... and heard: by gamma = 0 learning takes 100 steps more

    def forward(self, puzzle: Twins) -> Tensor:
        """Return the colours of the grey dots, shape (b, DOTS)."""
        x = F.leaky_relu(self.front(puzzle.maps), 0.2)  # (b, 16, HEIGHT, WIDTH)
        y = self.self_attention(x, self.query, self.key, self.value, self.out, self.gamma)
        painted = self.back(F.leaky_relu(y, 0.2))[:, 0]  # (b, HEIGHT, WIDTH)
        return painted[torch.arange(len(painted))[:, None], puzzle.rows, puzzle.columns]


class Bounded(nn.Module):
    """A discriminator of points whose weights are divided by the learner's estimate of their norm."""

    def __init__(self, spectral_norm: Callable):
        super().__init__()
        self.spectral_norm = spectral_norm
        self.layers = nn.ModuleList(nn.Linear(*sizes) for sizes in ((2, 32), (32, 32), (32, 1)))
        self.starts = [torch.randn(layer.out_features) for layer in self.layers]

    def forward(self, points: Tensor) -> Tensor:
        """Return logits (b, 1) of points (b, 2)."""
        h = points
        for layer, u in zip(self.layers, self.starts, strict=True):
            weight = layer.weight / self.spectral_norm(layer.weight, u.clone(), 5)
            h = F.linear(h if layer is self.layers[0] else F.leaky_relu(h, 0.2), weight, layer.bias)
        return h

    def steepest(self, points: Tensor) -> float:
        """Return the largest slope at any of the points."""
        points = points.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(self(points).sum(), points)
        return slopes.norm(dim=1).max().item()


def clouds(n: int, generator: torch.Generator) -> Tensor:
    """Draw points of two clouds, real and fake, 4 apart: (2, n, 2)."""
    return torch.tensor([[[2.0, 0.0]], [[-2.0, 0.0]]]) + 0.1 * torch.randn(2, n, 2, generator=generator)


class Free(nn.Module):
    """Maps of 6x8 queries over 3x4 keys that may become whatever a loss wants."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(1, 6, 8, 12))

    def forward(self) -> Tensor:
        """Return maps (1, 6, 8, 3, 4)."""
        return self.scores.softmax(-1).unflatten(-1, (3, 4))
