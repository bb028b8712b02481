"""Where a face is in the picture: the head as a ball that turns, and the planes of coordinates that layers draw in.

Three frames, all with x to the right and y downwards: the picture, from -1 to 1; the head (u, v), in which the eyes are
0.59 apart; and the face seen from the front (p, q), spread over the ball. Turning the ball moves all that is drawn
in (p, q) together, what is nearer moves more, and the far half of the face narrows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nblib.toys import hashing
from nblib.toys.drawing import Canvas, coverage
from nblib.toys.face_factors import FaceFactors

# A beard counts as skin; of clear glasses only the frame, of tinted ones the lenses too, count as glasses.
LABELS = ("background", "skin", "hair", "brows", "eyes", "nose", "mouth", "glasses", "hat", "neck", "cloth")
EYE_X, NOSE_Q, MOUTH_Q = 0.295, 0.35, 0.59
_BALL = 0.70  # radius of the head from ear to ear
_FLAT = 0.55  # how little the ball curves from top to bottom
_NOSE_DEPTH = 0.14  # how far the tip of the nose stands out of the ball


@dataclass
class Sketch:
    """A batch of faces being drawn: factors shaped (B, 1, 1), the canvas, and coordinate planes (B, H, W)."""

    f: FaceFactors
    canvas: Canvas
    edge: float  # width of a pixel in the head's frame
    u: Tensor
    v: Tensor
    p: Tensor
    q: Tensor
    depth: Tensor
    light: tuple[Tensor, Tensor, Tensor]  # unit vector towards the light, z towards the camera

    @classmethod
    def start(cls, factors: FaceFactors, size: int) -> "Sketch":
        """Return a blank canvas and the frames of each face."""
        f, canvas = factors.planes(), Canvas.blank(len(factors), size, factors.index.device)
        x, y = canvas.x - f.shift_x, canvas.y - f.shift_y
        cos, sin = torch.cos(f.roll) / f.scale, torch.sin(f.roll) / f.scale
        u = x * cos + y * sin + _centring(f)  # (B, H, W)
        v = y * cos - x * sin
        depth = torch.sqrt((1 - (u / _BALL) ** 2 - _FLAT * v * v).clamp_min_(0))
        p = u * torch.cos(f.yaw) - depth * (_BALL * torch.sin(f.yaw))
        q = v - (depth - 0.6) * f.pitch
        light_z = torch.sqrt(1 - f.light_x**2 * 0.7 - f.light_y**2 * 0.7)
        return cls(f, canvas, 2 / size, u, v, p, q, depth, (f.light_x * 0.84, f.light_y * 0.84, light_z))

    def cover(self, distance: Tensor) -> Tensor:
        """Return the soft-edged cover of a shape, in [0, 1]."""
        return coverage(distance, self.edge)

    def paint(self, distance: Tensor, colour: Tensor, label: str | None = None, opacity: Tensor | float = 1.0) -> None:
        """Paint the inside of a signed distance (B, H, W)."""
        cover = self.cover(distance) * opacity
        self.canvas.paint(cover, colour, None if label is None else LABELS.index(label))

    def mark(self, distance: Tensor, label: str) -> None:
        """Label the inside of a shape."""
        self.canvas.mark(self.cover(distance), LABELS.index(label))

    def shows(self, label: str) -> Tensor:
        """Return where `label` is on top, bool (B, H, W)."""
        return self.canvas.labels == LABELS.index(label)

    def paint_soft(self, distance: Tensor, colour: Tensor, softness: float, opacity: Tensor | float) -> None:
        """Paint a shape whose edge is `softness` wide, without a label."""
        self.canvas.paint(coverage(distance, max(softness, self.edge)) * opacity, colour)

    def shade(self, distance: Tensor, gain: Tensor | float, softness: float, opacity: Tensor | float = 1.0) -> None:
        """Darken or lighten the inside of a shape with a wide soft edge."""
        self.canvas.shade(coverage(distance, max(softness, self.edge)) * opacity, gain)

    def only(self, chosen: Tensor) -> "Sketch":
        """Return a copy of the faces `chosen` (K,), to draw a layer that few have; `put_back` returns it."""
        planes = (plane[chosen] for plane in (self.u, self.v, self.p, self.q, self.depth))
        canvas = Canvas(self.canvas.colour[chosen], self.canvas.labels[chosen], self.canvas.x, self.canvas.y)
        return Sketch(self.f[chosen], canvas, self.edge, *planes, tuple(part[chosen] for part in self.light))

    def put_back(self, part: "Sketch", chosen: Tensor) -> None:
        """Replace the pictures of `chosen` (K,) by those of `part`."""
        self.canvas.colour[chosen] = part.canvas.colour
        self.canvas.labels[chosen] = part.canvas.labels

    def numbers(self, field: str, count: int) -> Tensor:
        """Return (count, B, 1, 1) hashed numbers in [-1, 1) for what has no factor of its own."""
        return hashing.pixel_noise(self.f.seed, self.f.index.flatten(), "draw/" + field, (count,)).T[:, :, None, None]

    def blobs(self, field: str, cells: int, channels: int = 1) -> Tensor:
        """Return smooth noise (B, channels, H, W), about -1 to 1, with `cells` cells along each side."""
        noise = hashing.pixel_noise(self.f.seed, self.f.index.flatten(), "blobs/" + field, (channels, cells, cells))
        return torch.nn.functional.interpolate(noise, self.u.shape[-2:], mode="bicubic", align_corners=False)


def _centring(f: FaceFactors) -> Tensor:
    """Return how far a turned head moves back so that the eyes stay near the middle, as in aligned photographs."""
    return 0.85 * _BALL * torch.sin(f.yaw)


def place(f: FaceFactors, p: Tensor, q: Tensor, size: int) -> Tensor:
    """Return the pixel coordinates (..., 2) of points (p, q) of the face seen from the front."""
    v = q
    for _ in range(8):  # (p, q) of (u, v) is explicit, its inverse a quick fixed point: v moves by pitch * depth only
        front = torch.sqrt((_BALL**2 * (1 - _FLAT * v * v) - p * p).clamp_min(0))
        u = p * torch.cos(f.yaw) + front * torch.sin(f.yaw)
        depth = torch.sqrt((1 - (u / _BALL) ** 2 - _FLAT * v * v).clamp_min(0))
        v = q + (depth - 0.6) * f.pitch
    u = (u - _centring(f)) * f.scale
    v = v * f.scale
    x = u * torch.cos(f.roll) - v * torch.sin(f.roll) + f.shift_x
    y = u * torch.sin(f.roll) + v * torch.cos(f.roll) + f.shift_y
    return (torch.stack([x, y], dim=-1) + 1) * (size / 2) - 0.5


def nose_shift(f: FaceFactors) -> Tensor:
    """Return how far the tip of the nose moves sideways over the face as the head turns."""
    return _NOSE_DEPTH * torch.sin(f.yaw)
