"""What the holes of the report have in common: they are boxes, with sides, corners and borders as it says.

Each function raises `Unmet` with a mistake in words. The bounds are about four standard errors of 8000 holes or more,
so chance fails one right solution in some thousands; the figures follow from the normal distribution (see the tests).
"""

import torch
from torch import Tensor

from nblib.exercises.checking import require


def corners_and_sides(holes: Tensor) -> tuple[Tensor, Tensor]:
    """Return upper left corners and sides, each (n, 2) as (down, across); require that each mask is one full box."""
    rows, columns = holes[:, 0].any(2), holes[:, 0].any(1)  # (n, size) each
    sides = torch.stack([rows.sum(1), columns.sum(1)], 1)
    empty = (sides == 0).any(1).float().mean().item()
    require(
        empty == 0,
        f"{100 * empty:.2g} % of your masks are without a hole: boxes that reach over the border are moved inside",
    )
    filled = (holes.flatten(1).sum(1) == sides.prod(1)).all()
    corners = torch.stack([rows.int().argmax(1), columns.int().argmax(1)], 1)
    ends = torch.stack([line.shape[1] - line.flip(1).int().argmax(1) for line in (rows, columns)], 1)
    require(filled and torch.equal(ends - corners, sides), "each hole is one rectangle; some of yours are not")
    return corners.double(), sides.double()


def compare_sides(sides: Tensor, size: int) -> None:
    """Require sides (n, 2) that are uniform in 10 ... 20 of 64, both included, heights and widths apart."""
    low, high = round(10 * size / 64), round(20 * size / 64)
    least, most = sides.min().item(), sides.max().item()
    told = f"of {len(sides)} holes of size {size} yours have sides {least:g} ... {most:g}; it is {low} ... {high}"
    require(size == 64 or (least, most) != (10, 20), f"{told}: all lengths scale with the size, that is 64 at first")
    require(most <= high, told)
    require(most == high, f"{told} inclusive, and randint leaves its end out")
    require(least >= low, f"{told}; a box that reaches over the border is moved inside, not cut off")
    require(least == low, told)
    shares = torch.stack([(sides == side).double().mean() for side in range(low, high + 1)])
    even = (shares * (high - low + 1) - 1).abs().max().item()
    require(even < 0.15, "all sides are equally frequent; in yours one is not")
    alike = torch.corrcoef(sides.T)[0, 1].item()
    require(abs(alike) < 0.05, f"heights and widths are drawn apart; yours correlate by {alike:.2f}")


def compare_corners(corners: Tensor, size: int) -> None:
    """Require the mean and deviation of normal corners (n, 2), N(25, 10) of 64, rows and columns apart."""
    scale = size / 64
    mean, spread = corners.mean().item() / scale, corners.std(0).mean().item() / scale
    place = f"of size {size}, in 64ths of it"
    told = f"the corners' standard deviation is 9.85 ({place}); yours is {spread:.1f}"
    require(spread < 11.5, f"{told}: a uniform corner has 14.2, a normal one is 25 + 10 * torch.randn(...)")
    require(abs(spread - 9.85) < 0.4, told)
    told = f"the upper left corner is 25 down and across on average ({place}); yours {mean:.2f}"
    rounding = " (.long() alone cuts off instead of rounding)" if abs(mean - 25 + 0.5 / scale) < 0.3 else ""
    require(abs(mean - 25) < 0.3, told + rounding)
    alike = torch.corrcoef(corners.T)[0, 1].item()
    require(abs(alike) < 0.05, f"rows and columns of the corner are drawn apart; yours correlate by {alike:.2f}")


def compare_borders(corners: Tensor, sides: Tensor) -> None:
    """Require of pictures of size 64 as many boxes at the borders as are moved there."""
    first, last = (corners == 0).double().mean().item(), (corners + sides == 64).double().mean().item()
    told = "a box that would reach over the border is moved to it, and so {} % touch the {}; of yours {:.2f} %"
    require(0.004 < first < 0.011, told.format(0.71, "upper border", 100 * first))
    require(0.0085 < last < 0.0165, told.format(1.25, "lower border", 100 * last))
