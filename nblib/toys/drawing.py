"""Antialiased layered shapes, drawn in batches: signed distances, coverage, and a canvas to paint on.

Coordinates are in units of half the picture: x to the right and y downwards, both from -1 to 1. A signed distance is
negative inside; `coverage` turns it into a soft edge one pixel wide.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def coverage(distance: Tensor, softness: float | Tensor = 2 / 64) -> Tensor:
    """Return the share of a pixel inside a shape, in [0, 1], from the signed distance to its edge."""
    return (0.5 - distance / softness).clamp_(0, 1)


def ellipse(x: Tensor, y: Tensor, radius_x: Tensor | float, radius_y: Tensor | float) -> Tensor:
    """Return the approximate signed distance to an ellipse around the origin, first order in the gradient."""
    u, v = x / radius_x, y / radius_y
    level = torch.sqrt(u * u + v * v)
    gradient = torch.sqrt((u / radius_x) ** 2 + (v / radius_y) ** 2).clamp_min(1e-6)
    return level * (level - 1) / gradient


def box(x: Tensor, y: Tensor, half_x: Tensor | float, half_y: Tensor | float, corner: Tensor | float = 0.0) -> Tensor:
    """Return the signed distance to a rectangle around the origin whose corners have the given radius."""
    qx, qy = x.abs() - half_x + corner, y.abs() - half_y + corner
    outside = torch.sqrt(qx.clamp_min(0) ** 2 + qy.clamp_min(0) ** 2)
    return outside + torch.maximum(qx, qy).clamp_max(0) - corner


def segment(x: Tensor, y: Tensor, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor) -> Tensor:
    """Return the distance to the segment from a to b; subtract a radius for a stroke with round ends."""
    dx, dy = bx - ax, by - ay
    along = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy).clamp_min(1e-9)).clamp_(0, 1)
    return torch.sqrt((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)


def smooth_union(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """Return the union of two signed distances whose inner corner is rounded: the polynomial smooth minimum [1]_.

    References
    ----------
    .. [1] I. Quilez (2013), Smooth minimum.
    """
    bend = (1 - (first - second).abs() / radius).clamp_(0, 1)
    return torch.minimum(first, second) - bend * bend * (radius / 4)


def hsv(hue: Tensor, saturation: Tensor | float, value: Tensor | float) -> Tensor:
    """Return colours (B, 3, 1, 1) in [0, 1] from hue (in turns), saturation and value, each with B elements.

    Examples
    --------
    >>> hsv(torch.tensor([0.0, 1 / 3]), 1.0, 0.5).flatten(1)
    tensor([[0.5000, 0.0000, 0.0000],
            [0.0000, 0.5000, 0.0000]])
    """
    hue = hue.reshape(-1, 1)
    saturation, value = (torch.as_tensor(s, device=hue.device).reshape(-1, 1) for s in (saturation, value))
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    ramp = (offsets + 6 * hue) % 6
    ramp = torch.minimum(ramp, 4 - ramp).clamp(0, 1)
    return (value * (1 - saturation * ramp)).view(-1, 3, 1, 1)


@dataclass
class Canvas:
    """A batch of pictures being painted, layer over layer.

    Attributes
    ----------
    colour : Tensor, float (B, 3, H, W)
        In [0, 1].
    labels : Tensor, uint8 (B, H, W)
        The topmost layer that covers at least half of the pixel.
    x, y : Tensor, float (1, 1, W) and (1, H, 1)
        Pixel centres, from -1 to 1.
    """

    colour: Tensor
    labels: Tensor
    x: Tensor
    y: Tensor

    @classmethod
    def blank(cls, batch: int, size: int, device: torch.device) -> "Canvas":
        """Return a black canvas."""
        centres = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (2 / size) - 1
        return cls(
            torch.zeros(batch, 3, size, size, device=device),
            torch.zeros(batch, size, size, dtype=torch.uint8, device=device),
            centres.view(1, 1, -1),
            centres.view(1, -1, 1),
        )

    def paint(self, cover: Tensor, colour: Tensor, label: int | None = None) -> None:
        """Lay `colour` (B, 3, 1, 1) or (B, 3, H, W) over the canvas with opacity `cover` (B, H, W)."""
        self.colour.lerp_(colour.expand_as(self.colour), cover.unsqueeze(1))
        if label is not None:
            self.labels.masked_fill_(cover >= 0.5, label)

    def mark(self, cover: Tensor, label: int) -> None:
        """Label what `cover` (B, H, W) covers by half or more without changing its colour."""
        self.labels.masked_fill_(cover >= 0.5, label)

    def shade(self, cover: Tensor, gain: Tensor | float) -> None:
        """Multiply the colour by `gain`, a number or (B, 3, 1, 1), in the measure of `cover` (B, H, W)."""
        self.colour.mul_(1 + cover.unsqueeze(1) * (gain - 1))
