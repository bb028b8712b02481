"""Hole samplers: where pictures are broken, one hole (or set of strokes) per image.

Every sampler has the signature ``sampler(n, size=64, *, landmarks=None, generator=None, device=None)`` and returns
bool ``(n, 1, size, size)``, True in the hole. All draws come from `generator` alone, so an equal generator state gives
equal holes; lengths in pixels are meant for 64x64 and scale with `size`. `PROTOCOLS` names the samplers by which
inpainters are compared.

Codes that mark the *known* pixels with 1 (Yeh et al. 2017) must invert these masks at their border.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Generator, Tensor
from torch.nn import functional as F

PARTS = ("O1 left half", "O2 right half", "O3 both eyes", "O4 left eye", "O5 right eye", "O6 lower half")
CELEBA_POINTS = ((22.5, 33.5), (41.5, 33.5), (32.0, 43.5), (24.5, 53.0), (40.0, 53.0))  # mean landmarks of the crop

Sampler = Callable[..., Tensor]


def rectangles(top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: int) -> Tensor:
    """Return masks (n, 1, size, size), True in rows top … top + height and columns left … left + width (half-open).

    Parameters
    ----------
    top, left, height, width : Tensor of int64, shape (n,)
        May reach over the border: what lies outside is cut off.

    Examples
    --------
    >>> one, two = torch.tensor([1]), torch.tensor([2])
    >>> rectangles(one, two, one, two, size=4)[0, 0].int().tolist()
    [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    line = torch.arange(size, device=top.device)
    rows = (line >= top[:, None]) & (line < (top + height)[:, None])  # (n, H)
    columns = (line >= left[:, None]) & (line < (left + width)[:, None])  # (n, W)
    return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)


def discs(centres: Tensor, radius: float, size: int = 64) -> Tensor:
    """Return masks (n, 1, size, size), True within `radius` pixels of a point, and in the pixel nearest to it.

    Parameters
    ----------
    centres : Tensor, float (n, 2)
        Places (x, y) such as landmarks, in pixels; the centre of the top left pixel is (0, 0).
    radius : float
        In pixels.

    Examples
    --------
    >>> discs(torch.tensor([[1.0, 2.0]]), radius=1, size=4)[0, 0].int().tolist()
    [[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    """
    line = torch.arange(size, device=centres.device)
    away = torch.hypot(line - centres[:, 0, None, None], line[:, None] - centres[:, 1, None, None])  # (n, H, W)
    return ((away <= radius) | (away <= away.amin((1, 2), keepdim=True))).unsqueeze(1)


def seed(n: int, size: int = 64, *, landmarks=None, generator: Generator | None = None, device=None) -> Tensor:
    """Draw the rectangles of the 2019 report [1]_: sides uniform in 10 … 20, corner normal around (25, 25).

    The upper left corner is N(25, 10) in each direction, rounded, and clamped so that the box stays inside.
    At 64x64 a hole covers 2.4 to 9.8 % of the image, 5.5 % on average.

    References
    ----------
    .. [1] Denoyer, Hivon & Ruin (2019), Attention-based DCGAN for Image Inpainting, section 2.2.

    Examples
    --------
    >>> holes = seed(500, generator=torch.Generator().manual_seed(0))
    >>> holes.shape, bool(holes.flatten(1).any(1).all())
    (torch.Size([500, 1, 64, 64]), True)
    """
    device = _device(generator, device)
    height, width = _sides(n, size, generator, device)
    corner = torch.randn(2, n, generator=generator, device=device) * 10 + 25
    top, left = (corner * (size / 64)).round().long()
    zero = torch.zeros_like(top)
    return rectangles(top.clamp(zero, size - height), left.clamp(zero, size - width), height, width, size)


def uniform(n: int, size: int = 64, *, landmarks=None, generator: Generator | None = None, device=None) -> Tensor:
    """Draw the report's first, "entirely random" variant: sides in 10 … 20, corner uniform over all that fit."""
    device = _device(generator, device)
    height, width = _sides(n, size, generator, device)
    top, left = _corner(height, width, size, generator, device)
    return rectangles(top, left, height, width, size)


def center(n: int, size: int = 64, *, landmarks=None, generator: Generator | None = None, device=None) -> Tensor:
    """Return the classical centre hole, half the picture wide and high (32x32 of 64x64); nothing is random."""
    device = _device(generator, device)
    quarter = torch.full((n,), size // 4, device=device)
    side = torch.full((n,), size // 2, device=device)
    return rectangles(quarter, quarter, side, side, size)


def big(n: int, size: int = 64, *, landmarks=None, generator: Generator | None = None, device=None) -> Tensor:
    """Draw one rectangle of 8 to 14 % of the area, uniformly placed, at most about 1 : 3.

    The height is drawn first, then the width uniformly among those that keep the area within the bounds.
    """
    device = _device(generator, device)
    height = _integers(n, round(size * 14 / 64), round(size * 34 / 64), generator, device)
    narrow, wide = torch.ceil(0.08 * size**2 / height).long(), torch.floor(0.14 * size**2 / height).long()
    width = narrow + (torch.rand(n, generator=generator, device=device) * (wide - narrow + 1)).long()
    top, left = _corner(height, width, size, generator, device)
    return rectangles(top, left, height, width, size)


def parts(n: int, size: int = 64, *, landmarks: Tensor | None = None, generator=None, device=None) -> Tensor:
    """Draw one part of the face per image, O1 to O6 of Li et al.; see `parts_drawn`, which also tells which one."""
    return parts_drawn(n, size, landmarks=landmarks, generator=generator, device=device)[0]


def parts_drawn(
    n: int, size: int = 64, *, landmarks: Tensor | None = None, generator: Generator | None = None, device=None
) -> tuple[Tensor, Tensor]:
    """Draw one part per image and return the masks and the number of each part in `PARTS`.

    Parameters
    ----------
    landmarks : Tensor, float (n, 5, 2), optional
        Eyes, nose and mouth corners as (x, y) in pixels. Without five landmarks an image gets boxes around their
        mean place in CelebA's crop.

    Returns
    -------
    masks : Tensor, bool (n, 1, size, size)
    drawn : Tensor, int64 (n,)

    References
    ----------
    .. [1] Li, Liu, Yang & Yang (2017), Generative Face Completion, CVPR: the masks O1 to O6. Their sizes are not
       printed; ours follow the distance between the eyes.
    """
    device = _device(generator, device)
    drawn = _integers(n, 0, len(PARTS) - 1, generator, device)
    boxes = part_boxes(n, size, landmarks, device)[torch.arange(n, device=device), drawn]  # (n, 4)
    top, left, bottom, right = boxes.unbind(1)
    return rectangles(top, left, bottom - top, right - left, size), drawn


def part_boxes(n: int, size: int, landmarks: Tensor | None, device=None) -> Tensor:
    """Return the boxes of all `PARTS` as (top, left, bottom, right), int64 (n, 6, 4), clipped to the picture."""
    if landmarks is None or landmarks.shape[-2] != 5:
        landmarks = torch.tensor(CELEBA_POINTS).expand(n, 5, 2) * (size / 64)
    if len(landmarks) != n:
        raise ValueError(f"{len(landmarks)} sets of landmarks for {n} masks: pass one set per image")
    points = landmarks.to(device=device, dtype=torch.float32)
    (left_x, left_y), (right_x, right_y), (nose_x, nose_y) = (points[:, k].unbind(1) for k in range(3))
    mouth_y = points[:, 3:, 1].mean(1)
    span = torch.hypot(right_x - left_x, right_y - left_y).clamp_min(size / 16)  # between the eyes; >= 4 px of 64
    top, bottom = torch.minimum(left_y, right_y) - 1.1 * span, mouth_y + 0.5 * span
    west, east = torch.minimum(left_x, right_x) - 0.65 * span, torch.maximum(left_x, right_x) + 0.65 * span
    wide, high = 0.42 * span, 0.3 * span
    eyes_top, eyes_bottom = torch.minimum(left_y, right_y) - high, torch.maximum(left_y, right_y) + high
    boxes = [
        (top, west, bottom, nose_x),
        (top, nose_x, bottom, east),
        (eyes_top, left_x - wide, eyes_bottom, right_x + wide),
        (left_y - high, left_x - wide, left_y + high, left_x + wide),
        (right_y - high, right_x - wide, right_y + high, right_x + wide),
        (nose_y, west, bottom, east),
    ]
    edges = torch.stack([torch.stack(box, -1) for box in boxes], 1).round().long()  # (n, 6, 4)
    low, high = edges[..., :2].clamp(0, size - 1), edges[..., 2:].clamp(1, size)
    return torch.cat([low, torch.maximum(high, low + 1)], -1)  # never empty, wherever the landmarks lie


def freeform(n: int, size: int = 64, *, landmarks=None, generator: Generator | None = None, device=None) -> Tensor:
    """Draw brush strokes that cover 10 to 30 % of the image.

    Two strokes of four straight pieces each wander over the picture. Their common width follows from the share of
    the area to cover, drawn uniformly: the hole is the set of pixels nearest to the strokes.
    """
    device = _device(generator, device)
    fewest, most = math.ceil(0.1 * size**2), math.floor(0.3 * size**2)
    pixels = _integers(n, fewest, most, generator, device)
    distance = _distance_to_strokes(_strokes(n, generator, device), size // 2)  # smooth: half the resolution will do
    distance = F.interpolate(distance.unsqueeze(1), size=(size, size), mode="bilinear").flatten(1)  # (n, HW)
    ranked = distance.sort(1).values
    threshold = ranked.gather(1, pixels.unsqueeze(1))  # of the first pixel outside the hole
    return (distance < threshold).view(n, 1, size, size)


PROTOCOLS: dict[str, Sampler] = {
    "seed": seed,
    "uniform": uniform,
    "center": center,
    "big": big,
    "parts": parts,
    "freeform": freeform,
}


def sampler(name: str) -> Sampler:
    """Return the sampler called `name`.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"masks={name!r}: no such protocol; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def check(masks: Tensor, images: Tensor | None = None) -> None:
    """Raise a ValueError that says what is wrong, unless `masks` are usable holes (for `images`).

    Raises
    ------
    ValueError
        If masks are not bool (B, 1, H, W), do not fit the images, or leave an image without a known pixel.
    """
    if masks.dtype != torch.bool or masks.ndim != 4 or masks.shape[1] != 1:
        raise ValueError(f"masks are {masks.dtype} {tuple(masks.shape)}; expected bool (B, 1, H, W), True in the hole")
    if images is not None and (len(images), *images.shape[-2:]) != (len(masks), *masks.shape[-2:]):
        raise ValueError(f"masks {tuple(masks.shape)} do not fit images {tuple(images.shape)}: give one mask per image")
    whole = masks.flatten(1).all(1)
    if whole.any():
        raise ValueError(f"mask {int(whole.nonzero()[0])} is all hole: nothing is known to fill it from")


def read(path: str | Path) -> Tensor:
    """Read a black-and-white picture as a mask, bool (1, 1, H, W); bright pixels (>= 128) are the hole.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a picture, has no bright pixel (no hole), or no dark one (all hole).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such mask; give a picture that is white where the hole is")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "BMP", "WEBP")) as picture:
            bright = np.asarray(picture.convert("L")) >= 128
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: not a readable picture ({error}); a mask is a PNG that is white in the hole"
        ) from error
    if bright.all() or not bright.any():
        what = "all hole (every pixel is bright)" if bright.all() else "without a hole (no pixel is bright)"
        raise ValueError(f"{path}: this mask is {what}; paint the hole white on black")
    return torch.from_numpy(bright)[None, None]


def _device(generator: Generator | None, device) -> torch.device:
    return generator.device if generator is not None else torch.device(device or "cpu")


def _integers(n: int, low: int, high: int, generator: Generator | None, device) -> Tensor:
    """Draw n integers uniform in low … high, both included."""
    return torch.randint(low, high + 1, (n,), generator=generator, device=device)


def _sides(n: int, size: int, generator: Generator | None, device) -> tuple[Tensor, Tensor]:
    """Draw heights and widths uniform in 10 … 20 (of 64)."""
    low, high = round(10 * size / 64), round(20 * size / 64)
    return _integers(n, low, high, generator, device), _integers(n, low, high, generator, device)


def _corner(height: Tensor, width: Tensor, size: int, generator: Generator | None, device) -> tuple[Tensor, Tensor]:
    """Draw the upper left corner uniformly among all places where the box fits."""
    across, down = torch.rand(2, len(height), generator=generator, device=device)
    return (down * (size - height + 1)).long(), (across * (size - width + 1)).long()


def _strokes(n: int, generator: Generator | None, device, strokes: int = 2, pieces: int = 4) -> Tensor:
    """Draw end points (x, y) of the pieces in [0, 1], shape (n, strokes, pieces + 1, 2)."""
    start = torch.rand(n, strokes, 1, 2, generator=generator, device=device)
    turn = torch.rand(n, strokes, pieces, generator=generator, device=device)
    turn[..., 1:] = (turn[..., 1:] - 0.5) * 0.7  # later pieces turn by up to 126 degrees
    angle = 2 * torch.pi * turn.cumsum(2)
    length = torch.rand(n, strokes, pieces, generator=generator, device=device) * 0.3 + 0.15
    steps = torch.stack([angle.cos() * length, angle.sin() * length], -1)
    path = torch.cat([start, steps], 2).cumsum(2)
    return 1 - (path.remainder(2) - 1).abs()  # reflected at the borders


def _distance_to_strokes(points: Tensor, size: int) -> Tensor:
    """Return each pixel's squared distance to the nearest piece, (n, size, size)."""
    centres = (torch.arange(size, device=points.device) + 0.5) / size
    ax, ay = points[:, :, :-1].flatten(1, 2).unsqueeze(-1).unbind(2)  # (n, pieces, 1)
    bx, by = points[:, :, 1:].flatten(1, 2).unsqueeze(-1).unbind(2)
    dx, dy = bx - ax, by - ay
    square = (dx * dx + dy * dy).clamp_min(1e-8)
    x, y = centres - ax, centres - ay  # (n, pieces, size)
    nearest = torch.full((len(points), size, size), float("inf"), device=points.device)
    for k in range(ax.shape[1]):  # piece by piece: the planes stay in the cache
        along = ((x * dx / square)[:, k, None, :] + (y * dy / square)[:, k, :, None]).clamp_(0, 1)
        across = (x[:, k, None, :] - along * dx[:, k, None]).square_()
        across += (y[:, k, :, None] - along * dy[:, k, None]).square_()
        torch.minimum(nearest, across, out=nearest)
    return nearest
