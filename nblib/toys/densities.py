"""Densities in the plane, on which a GAN can be watched: Gaussians on a ring or on a grid.

The playground of the first chapter and of the learning checks. A generator that serves some of the Gaussians and
forgets the others has collapsed [1]_; in the plane one sees it, and `mode_coverage` counts it.

References
----------
.. [1] Metz, Poole, Pfau & Sohl-Dickstein (2017), Unrolled Generative Adversarial Networks, ICLR.

Examples
--------
>>> density = ring(modes=8)
>>> density.sample(1000, torch.Generator().manual_seed(0)).shape
torch.Size([1000, 2])
>>> density.batches(256).at(step=0).images.shape
torch.Size([256, 2])
"""

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointBatch:
    """What one training step sees; the points have the name that the step functions know.

    Attributes
    ----------
    images : Tensor, float32 (b, 2)
        Points.
    noise : None
        The training draws it.
    """

    images: Tensor
    noise: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Mixture:
    """Round Gaussians of equal weight.

    Attributes
    ----------
    centres : Tensor, float32 (K, 2)
    std : float
    """

    centres: Tensor
    std: float

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"std={self.std}: the width of a Gaussian is positive")

    @property
    def reach(self) -> float:
        """Return three standard deviations: farther from its centre no more than 1 % of a Gaussian lies."""
        return 3 * self.std  # in the plane exp(-9/2) = 1.1 %

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw points, float32 (n, 2)."""
        modes = torch.randint(len(self.centres), (n,), generator=generator)
        return self.centres[modes] + self.std * torch.randn(n, 2, generator=generator)  # (n, 2)

    def batches(self, size: int, seed: int = 0) -> "PointBatches":
        """Return fresh points for `nblib.training.fit`, without end."""
        return PointBatches(self, size, seed)

    def coverage(self, samples: Tensor) -> float:
        """Return the share of the Gaussians that `samples` (n, 2) serve; see `mode_coverage`."""
        return mode_coverage(samples, self.centres, self.reach)


class PointBatches:
    """Points of a density as `fit` asks for them: those of a step depend on nothing but (seed, step).

    Parameters
    ----------
    density : Mixture
    size : int
        Points in the global batch.
    seed : int, default 0

    Raises
    ------
    ValueError
        If `size` is below 1.
    """

    def __init__(self, density: Mixture, size: int, seed: int = 0):
        if size < 1:
            raise ValueError(f"size={size}: a batch has at least one point")
        self.density, self.size, self.seed = density, size, seed

    def at(self, step: int, rank: int = 0, world: int = 1) -> PointBatch:
        """Return the `rank`-th of `world` equal shares of the batch of a step.

        Raises
        ------
        ValueError
            If the batch cannot be divided by `world`, or there is no such rank.
        """
        if self.size % world or not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}: a batch of {self.size} cannot be shared out like this")
        share = self.size // world
        address = zlib.crc32(f"{self.seed}/points/{step}".encode())  # torch's generator takes 32 bits of a seed
        points = self.density.sample(self.size, torch.Generator().manual_seed(address))  # (size, 2)
        return PointBatch(points[rank * share : (rank + 1) * share])


def ring(modes: int = 8, radius: float = 1.0, std: float = 0.05) -> Mixture:
    """Return Gaussians on a circle around 0, the first at (radius, 0).

    Raises
    ------
    ValueError
        If there is no mode, or `radius` or `std` is not positive.

    Examples
    --------
    >>> ring(modes=4).centres.round(decimals=3).abs().tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    if modes < 1:
        raise ValueError(f"modes={modes}: a density has at least one")
    if not radius > 0:
        raise ValueError(f"radius={radius}: a radius is positive")
    angles = 2 * math.pi * torch.arange(modes) / modes
    return Mixture(radius * torch.stack([angles.cos(), angles.sin()], dim=1), std)


def grid(side: int = 5, spacing: float = 0.5, std: float = 0.05) -> Mixture:
    """Return side x side Gaussians on a square grid around 0.

    Raises
    ------
    ValueError
        If there is no mode, or `spacing` or `std` is not positive.

    Examples
    --------
    >>> len(grid(side=3).centres), grid(side=3).centres[0].tolist()
    (9, [-0.5, -0.5])
    """
    if side < 1:
        raise ValueError(f"side={side}: a density has at least one mode")
    if not spacing > 0:
        raise ValueError(f"spacing={spacing}: a distance is positive")
    ticks = spacing * (torch.arange(side) - (side - 1) / 2)
    return Mixture(torch.cartesian_prod(ticks, ticks).reshape(-1, 2), std)


def mode_coverage(samples: Tensor, centres: Tensor, radius: float, least: float = 0.25) -> float:
    """Return the share of the K centres that have `least` of their fair share, n / K samples, within `radius`.

    Parameters
    ----------
    samples : Tensor (n, 2)
    centres : Tensor (K, 2)
    radius : float
    least : float, default 0.25
        A generator that knows nothing and spreads its samples widely drops a few near every centre; a quarter of the
        fair share is out of its reach.

    Raises
    ------
    ValueError
        If there are no samples or no centres.

    Examples
    --------
    >>> centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    >>> mode_coverage(torch.tensor([[0.1, 0.0], [2.0, 0.1], [2.1, 0.0]]), centres, radius=0.2)
    0.5
    """
    if not len(samples) or not len(centres):
        raise ValueError(f"{len(samples)} samples and {len(centres)} centres: there must be some of both")
    near = torch.cdist(samples, centres) <= radius  # (n, K)
    return (near.sum(0) >= least * len(samples) / len(centres)).float().mean().item()
