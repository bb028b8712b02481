"""What is around a face: background, neck and clothes, glasses."""

import torch
from torch import Tensor

from nblib.toys.drawing import box, coverage, ellipse, hsv
from nblib.toys.face_features import rgb
from nblib.toys.face_pose import EYE_X, Sketch


def background(s: Sketch) -> None:
    """Fill the canvas: a gradient between two related colours, then what is out of focus behind the face."""
    kind = s.f.background_kind
    hue, apart, value, saturation, angle, other = s.numbers("background", 6)
    hue, dim = 0.5 + 0.5 * hue, 0.10 + 0.42 * (1 - value * value)
    value = 0.52 + 0.40 * value
    studio = kind == 1
    saturation = torch.where(studio, 0.14 + 0.14 * saturation, 0.30 + 0.28 * saturation)
    first = hsv(hue, saturation, value)
    second = hsv((hue + 0.12 * apart) % 1, saturation * 0.9, value * (1 - dim))
    x, y = s.canvas.x, s.canvas.y
    glow = torch.sqrt((x - 0.4 * angle) ** 2 + (y + 0.1) ** 2) * 0.62
    slope = torch.where(studio, glow, 0.5 + 0.42 * (x * torch.cos(3 * angle) + y * torch.sin(3 * angle)))
    s.canvas.colour.copy_(torch.lerp(first, second, slope.clamp(0, 1).unsqueeze(1)))
    soft = s.blobs("background", 5) + 0.25 * s.blobs("tint", 4, 3)
    strength = (0.17 * (kind == 0) + 0.03) * (0.35 + value)
    s.canvas.colour.add_(soft * strength.unsqueeze(1)).clamp_(0, 1)
    _discs(s, first, (kind == 2).float())
    _outdoors(s, soft, (kind == 4).float(), dim, other)
    _panels(s, second, (kind == 3).float(), other)


def _discs(s: Sketch, colour: Tensor, on: Tensor) -> None:
    """Draw lights out of focus."""
    numbers = s.numbers("discs", 32)
    for x, y, radius, bright in numbers.view(8, 4, *numbers.shape[1:]):
        side = torch.sign(x) * (0.35 + 0.7 * x.abs())  # beside the head, where they show
        disc = torch.sqrt((s.canvas.x - side) ** 2 + (s.canvas.y - y) ** 2) - 0.15 - 0.08 * radius
        warm = 1 + 0.35 * bright.unsqueeze(1) * rgb((1.0, 0.3, -0.6), s.u)
        s.paint_soft(disc, (colour * warm * 1.35 + 0.12).clamp(0, 1), 0.06, on * (0.42 + 0.25 * bright))


def _outdoors(s: Sketch, soft: Tensor, on: Tensor, dim: Tensor, other: Tensor) -> None:
    """Draw a sky that pales towards the ground, and trees or a wall of rock below it."""
    y = s.canvas.y.expand_as(s.u)
    sky = torch.lerp(rgb((0.42, 0.62, 0.88), y), rgb((0.86, 0.90, 0.94), y), (0.6 + 0.5 * y).clamp(0, 1).unsqueeze(1))
    s.canvas.paint(on.expand_as(y), sky * (1 - 0.35 * dim).unsqueeze(1))
    leaves = torch.where((other > -0.2).unsqueeze(1), rgb((0.24, 0.40, 0.18), y), rgb((0.52, 0.42, 0.32), y))
    leaves = leaves * (1 + 0.9 * s.blobs("leaves", 9) * (0.5 + 0.5 * dim).unsqueeze(1)) + 0.05 * soft
    s.paint_soft(0.45 * other - 0.15 - y + 0.45 * soft[:, 0], leaves.clamp(0, 1), 0.12, on)


def _panels(s: Sketch, colour: Tensor, on: Tensor, other: Tensor) -> None:
    """Draw upright edges, as of walls, doors and shelves, and lines across them."""
    for number, (x, width, tone) in enumerate(s.numbers("panels", 9).view(3, 3, -1, 1, 1)):
        strip = (s.canvas.x + 0.12 * other * s.canvas.y - 0.95 * x).abs() - 0.22 - 0.14 * width
        s.paint_soft(strip.expand_as(s.u), (colour * (1 + 0.5 * tone.unsqueeze(1)) + 0.05).clamp(0, 1), 0.07, on * 0.85)
        shelf = torch.maximum((s.canvas.y - 0.9 * tone + 0.3 * number - 0.3).abs() - 0.04, strip)
        s.paint_soft(shelf, colour * 0.6, 0.07, on * 0.6)


def body(s: Sketch, tone: Tensor) -> None:
    """Draw neck and clothes, which do not roll with the head; `tone` is the colour of lit skin."""
    f = s.f
    x, y = s.u - 0.7 * torch.sin(f.roll) * s.v, s.v
    half = torch.where(f.feminine, 0.235, 0.30) + 0.02 * f.jaw
    neck = x.abs() - half - 0.9 * (y - 0.72).clamp_min(0) ** 2
    shade = 0.80 + 0.75 * x * s.light[0] - 0.35 * (x / 0.5) ** 2
    s.paint(
        torch.maximum(neck, 0.5 - y), (tone * shade.unsqueeze(1).clamp(0.35, 1) * rgb((1, 0.95, 0.93), s.u)), "neck"
    )
    s.shade(ellipse(x + 0.12 * f.light_x, y - 0.70, 0.46, 0.30), 0.52, 0.22, s.shows("neck") * f.contrast)
    shoulders = 0.815 + 0.22 * (x.abs() - half).clamp_min(0) - y
    _clothes(s, x, y, half, shoulders)


def _clothes(s: Sketch, x: Tensor, y: Tensor, half: Tensor, shoulders: Tensor) -> None:
    """Draw the garment inside `shoulders` (B, H, W), open at a neck `half` (B, 1, 1) wide, and its collar."""
    f, kind = s.f, s.f.cloth_kind
    saturation, value, pattern, pitch, second = s.numbers("cloth", 5)
    value = torch.where(kind == 3, 0.24 + 0.12 * value, 0.55 + 0.35 * value)  # jackets are dark
    main = hsv(f.cloth_hue, 0.40 + 0.38 * saturation, value)
    trim = hsv((f.cloth_hue + 0.5 + 0.2 * second) % 1, 0.25 + 0.25 * pitch, 0.85 + 0.12 * second)
    fold = 0.82 + 0.10 * torch.sin(9 * x + 5 * y + 3 * second) + 0.25 * x * s.light[0]
    slanted = torch.sin((x * (pitch > 0) + y) * (22 + 6 * pitch))
    stripes = coverage(slanted, 1.0) * (pattern > 0.45) * 0.75
    cloth = torch.lerp(main, trim, stripes.unsqueeze(1)) * fold.unsqueeze(1)
    round_neck = ellipse(x, y - 0.74, half + 0.06, 0.15)
    v_neck = torch.maximum(x.abs() - (1.14 - y).clamp_min(0) * 0.75, shoulders - 0.05)
    hole = torch.where(kind == 0, round_neck, v_neck)
    s.paint(torch.maximum(shoulders, -hole), cloth.clamp_(0, 1), "cloth")
    s.shade((hole - 0.02).abs() - 0.008, 0.72, 0.05, s.cover(shoulders))
    shirt = torch.where((kind == 3).unsqueeze(1), trim * 0.35 + 0.62, main * 1.15).clamp(0, 1)
    s.paint(torch.maximum(v_neck, 0.90 - y + 0.3 * x.abs()), shirt * 0.9, "cloth", (kind == 3).float())
    tie = torch.maximum(x.abs() - 0.05 - 0.05 * (y - 0.93).abs(), 0.93 - y)
    tied = ((kind == 3) & (pattern > 0)).float()
    _collar(s, x, y, half, shirt)
    s.paint(tie, main.flip(1) * 0.8 + 0.08, "cloth", tied)


def _collar(s: Sketch, x: Tensor, y: Tensor, half: Tensor, shirt: Tensor) -> None:
    """Draw the two flaps of a shirt's collar in the colour `shirt` (B, 3, 1, 1)."""
    worn, aside = (s.f.cloth_kind >= 2).float(), x.abs()
    across = (aside - half * 0.80 - 0.10 + 0.35 * (y - 0.85)).abs() - 0.10
    flap = torch.maximum(across, (y - 0.90 - 0.25 * (0.4 - aside)).abs() - 0.11)
    s.paint(flap, shirt * (0.90 + 0.2 * x * s.light[0]).unsqueeze(1), "cloth", worn)
    s.shade(flap.abs() - 0.003, 0.6, 0.03, worn * 0.8)


def glasses(s: Sketch) -> None:
    """Draw lenses, frames, bridge and temples; only a tinted lens hides what is behind it, also in the labels."""
    chosen = torch.nonzero(s.f.eyeglasses.flatten()).flatten()
    if not len(chosen):
        return
    part = s.only(chosen)
    p, q = part.p - 0.07 * torch.sin(part.f.yaw), part.q - 0.015  # they stand out of the face
    lens = _lens(part, p.abs() - EYE_X - 0.012, q)
    hue, gold, weight = part.numbers("frame", 3)
    weight = 0.021 + 0.008 * weight
    dark = hsv(0.5 + 0.5 * hue, 0.45, 0.10 + 0.28 * part.f.frame_tone)
    frame = torch.where((gold > 0.35).unsqueeze(1), hsv(0.10 + 0.02 * hue, 0.5, 0.72), dark)
    part.shade(lens.abs() - 0.03, 0.82, 0.08)  # the frame's shadow
    tint = hsv(0.07 + 0.05 * hue, 0.35, 0.10 + 0.16 * part.f.frame_tone) + 0.14 * (q / 0.15).clamp(-1, 1).unsqueeze(1)
    part.paint(lens, tint.clamp(0, 1), "glasses", part.f.sunglasses * 0.93)
    glare = torch.maximum(lens + 0.01, ((p + 0.9 * q - 0.10 * hue) % 0.59 - 0.24).abs() - 0.03)
    part.paint(glare, rgb((1.0, 1.0, 1.0), q), opacity=0.16 + 0.08 * part.f.sunglasses)
    part.paint(lens.abs() - weight, frame, "glasses")
    bridge = torch.maximum((q + 0.03 - 2 * p * p).abs() - weight, p.abs() - 0.10)
    part.paint(bridge, frame, "glasses")
    temple = torch.maximum((q + 0.045 - 0.05 * p.abs()).abs() - weight * 0.9, 0.49 - p.abs())
    part.paint(torch.maximum(temple, part.u.abs() - 0.60), frame * 0.9, "glasses")
    s.put_back(part, chosen)


def _lens(s: Sketch, m: Tensor, q: Tensor) -> Tensor:
    """Return the distance to the lenses: rectangular, round, or wide at the top."""
    kind = s.f.glasses_kind
    wide = box(m, q + 0.05 * m - 0.01, 0.215 - 0.2 * q, 0.145, 0.09)
    lens = torch.where(kind == 0, box(m, q, 0.205, 0.125, 0.05), ellipse(m, q - 0.01, 0.185, 0.17))
    return torch.where(kind == 2, wide, lens)
