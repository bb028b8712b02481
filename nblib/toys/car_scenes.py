"""Where a toy car stands: sky with sun and clouds, a horizon with hills or houses, a pavement and a road."""

import torch
import torch.nn.functional as F
from torch import Tensor

from nblib.toys.car_factors import SCENES, CarFactors, Part
from nblib.toys.drawing import Canvas, box, coverage
from nblib.toys.hashing import pixel_noise

_OVERCAST, _SUNSET = 2, 3  # places in `SKIES`

# Per sky: colour overhead, colour at the horizon, colour of the light.
_SKIES = [
    [(0.20, 0.45, 0.82), (0.74, 0.88, 0.97), (1.00, 0.99, 0.96)],  # clear
    [(0.36, 0.55, 0.80), (0.82, 0.89, 0.94), (0.98, 0.98, 0.98)],  # cloudy
    [(0.60, 0.65, 0.70), (0.82, 0.84, 0.86), (0.90, 0.92, 0.95)],  # overcast
    [(0.25, 0.28, 0.55), (0.99, 0.66, 0.40), (1.00, 0.89, 0.79)],  # sunset
]

# Per scene: two colours of the far layer and two of the near layer, between which `scenery` chooses.
_SCENERY = [
    [(0.45, 0.60, 0.62), (0.52, 0.58, 0.70), (0.28, 0.46, 0.18), (0.50, 0.56, 0.22)],  # hills
    [(0.58, 0.64, 0.72), (0.66, 0.64, 0.66), (0.44, 0.40, 0.40), (0.62, 0.55, 0.46)],  # city
    [(0.34, 0.48, 0.42), (0.42, 0.52, 0.38), (0.12, 0.30, 0.12), (0.38, 0.38, 0.12)],  # forest
    [(0.36, 0.50, 0.30), (0.60, 0.62, 0.66), (0.62, 0.36, 0.28), (0.74, 0.70, 0.62)],  # wall
    [(0.12, 0.38, 0.55), (0.20, 0.50, 0.58), (0.80, 0.72, 0.52), (0.56, 0.62, 0.36)],  # coast
    [(0.72, 0.48, 0.38), (0.66, 0.50, 0.48), (0.80, 0.60, 0.36), (0.72, 0.46, 0.28)],  # desert
]


# Per scene: the ground between the scenery and the kerb.
_VERGES = [(0.36, 0.50, 0.20), (0.60, 0.59, 0.57), (0.34, 0.42, 0.18), (0.62, 0.61, 0.60), (0.62, 0.60, 0.56),
           (0.76, 0.60, 0.40)]  # fmt: skip

# Per thing on the pavement (nothing, nothing, street lamp, tree, sign): top y, half its width, colour.
_POSTS = [(0.0, 0.0, 0.3, 0.3, 0.3), (0.0, 0.0, 0.3, 0.3, 0.3), (-0.62, 0.013, 0.26, 0.28, 0.30),
          (-0.2, 0.03, 0.30, 0.22, 0.15), (-0.12, 0.016, 0.5, 0.52, 0.54)]  # fmt: skip


def column(values: Tensor) -> Tensor:
    """Give per-car numbers (B,) the shape (B, 1, 1), to meet rows and columns."""
    return values.view(-1, 1, 1)


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return colours (B, 3, 1, 1) between two lists of colours (B, 3), or pictures where `share` is (B, H, W)."""
    share = share.view(-1, 1, 1, 1) if share.dim() == 1 else share.unsqueeze(1)
    return torch.lerp(first.view(-1, 3, 1, 1), second.view(-1, 3, 1, 1), share)


def smooth(value: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return a smooth step, 0 below `low` and 1 above `high`."""
    step = ((value - low) / (high - low)).clamp_(0, 1)
    return step.mul(-2).add_(3).mul_(step).mul_(step)


def bump(value: Tensor, middle: float | Tensor, width: float) -> Tensor:
    """Return a bell, 1 at `middle`, with the shape of `value`."""
    return (value - middle).div_(width).square_().neg_().exp_()


def rows(canvas: Canvas, first: float, last: float) -> Canvas:
    """Return the rows of the canvas between two heights y in [-1, 1] as a view: what is painted there is on both."""
    size = canvas.labels.shape[-1]
    part = slice(int((first + 1) / 2 * size), int((last + 1) / 2 * size))
    return Canvas(canvas.colour[:, :, part], canvas.labels[:, part], canvas.x, canvas.y[:, part])


def light(cars: CarFactors) -> Tensor:
    """Return the colour of the light, (B, 3, 1, 1)."""
    return torch.tensor(_SKIES, device=cars.index.device)[cars.sky, 2].view(-1, 3, 1, 1)


def _lattice(canvas: Canvas, cars: CarFactors, name: str, shape: tuple[int, int]) -> Tensor:
    """Return smooth noise in [-1, 1] on the canvas, (B, H, W), interpolated from random numbers on a lattice."""
    noise = pixel_noise(cars.seed, cars.index, name, shape).unsqueeze(1)
    return F.interpolate(noise, canvas.labels.shape[1:], mode="bicubic", align_corners=False).squeeze(1)


def paint_sky(canvas: Canvas, cars: CarFactors) -> None:
    """Fill the canvas with a sky: a gradient, the sun and its glow, clouds."""
    colours = torch.tensor(_SKIES, device=canvas.colour.device)[cars.sky]  # (B, 3, 3)
    canvas.colour.copy_(mix(colours[:, 0], colours[:, 1], smooth(canvas.y, -1.3, column(cars.horizon) + 0.1)))
    x, y = canvas.x - column(cars.sun) * 0.8, canvas.y + torch.where(column(cars.sky == _SUNSET), 0.25, 0.78)
    glow = bump(x, 0, 0.34) * bump(y, 0, 0.34) * 0.35 + coverage(torch.sqrt(x * x + y * y) - 0.1, 0.06) * 0.6
    white = torch.ones_like(colours[:, 1])
    canvas.paint(glow * (column(cars.sky) != _OVERCAST), mix(colours[:, 1], white, torch.full_like(cars.sun, 0.7)))
    cloud = _lattice(canvas, cars, "cloud", (6, 5)) + 0.5 * _lattice(canvas, cars, "wisp", (12, 9))
    least = torch.tensor([0.45, -0.1, -0.5, 0.1], device=cloud.device)[cars.sky]
    cover = smooth(cloud, column(least), 1.1) * (0.85 - 0.5 * smooth(canvas.y, -0.8, 0.2))
    canvas.paint(cover, mix(colours[:, 2] * 0.86, colours[:, 2], smooth(cloud, 0.2, 1.2)), Part.BACKGROUND)


def _ridges(canvas: Canvas, cars: CarFactors) -> tuple[Tensor, Tensor]:
    """Return the height of the far and of the near layer of every scene over the horizon, two of (S, B, 1, W)."""
    x, random = canvas.x, pixel_noise(cars.seed, cars.index, "ridge", (8, 24))
    relief, phase = column(cars.relief), random.view(-1, 192, 1)[:, :6] * 3.1
    waves = [torch.sin(x * k + phase[:, i : i + 1]) for i, k in enumerate((2.1, 3.7, 6.3, 9.1, 14.0, 23.0))]

    def steps(row: int, pitch: float) -> tuple[Tensor, Tensor]:
        """Return one random number per cell of the given width, and the place within the cell in [-1, 1]."""
        cell = (x + 1.02 + phase[:, :1] * 0.05 * pitch) / pitch + 1
        return random[:, row].unsqueeze(1).gather(2, cell.long()), (cell.frac() * 2 - 1)

    tall, _ = steps(0, 0.13)
    block, _ = steps(1, 0.21)
    crown, place = steps(2, 0.24)
    bush, spot = steps(3, 0.17)
    mesa = torch.sigmoid((waves[1] + waves[2] * 0.6 - 0.4) * 9)
    far = [
        0.30 + relief * 0.2 + waves[0] * 0.12 + waves[2] * 0.05 + waves[3] * 0.03,  # hills
        0.42 + tall * (0.16 + 0.12 * relief),  # city
        0.36 + relief * 0.1 + waves[2] * 0.04 + waves[5] * 0.02,  # forest
        0.46 + waves[2] * 0.05 + bush * 0.04 + (1 - spot * spot) * 0.08,  # wall
        0.06 + 0 * waves[0],  # coast
        0.14 + mesa * (0.2 + relief * 0.22) + waves[4] * 0.012,  # desert
    ]
    near = [
        0.12 + waves[1] * 0.06 + waves[3] * 0.02,
        0.22 + block * 0.14 + 0.1 * relief,
        0.20 + crown * 0.08 + (1 - place * place).sqrt() * 0.2 + waves[5] * 0.015,
        0.22 + relief * 0.16 + 0 * waves[0],
        -0.04 + waves[2] * 0.02 + waves[5] * 0.008,
        0.02 + waves[0] * 0.04 + waves[3] * 0.012,
    ]
    return torch.stack(far), torch.stack(near)


def _walls(canvas: Canvas, cars: CarFactors, below: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much window and how much joint of masonry lies in each pixel, two of (B, H, W)."""
    soft = 2 / canvas.labels.shape[-1]
    bay, floor, course = (canvas.x + 1.05) / 0.105, below / 0.135, below / 0.085
    pane = coverage(box(bay.frac() - 0.5, floor.frac() - 0.45, 0.24, 0.26), soft / 0.12)
    head = ((canvas.x + 1) / 0.2 + (course.long() % 2) * 0.5).frac()
    lying, standing = (0.5 - (each.frac() - 0.5).abs_() for each in (course, head))
    joint = coverage(torch.minimum(lying * 0.085, standing * 0.2) - 0.008, soft)
    window = pane * (below > 0.05) * column(cars.scene == SCENES.index("city"))
    return window, joint * column(cars.scene == SCENES.index("wall"))


def paint_scenery(canvas: Canvas, cars: CarFactors) -> None:
    """Paint what stands behind the road: a far layer in the haze and a near layer with texture."""
    batch, device = torch.arange(len(cars.index), device=canvas.colour.device), canvas.colour.device
    far, near = (layer[cars.scene, batch] for layer in _ridges(canvas, cars))  # two of (B, 1, W)
    colours = torch.tensor(_SCENERY, device=device)[cars.scene] * light(cars).view(-1, 1, 3)
    haze = torch.tensor(_SKIES, device=device)[cars.sky, 1]
    ground, soft = column(cars.horizon) + 0.12, 2 / canvas.labels.shape[-1]
    leaf = _lattice(canvas, cars, "leaf", (14, 29))
    below = canvas.y - ground + far
    tone = torch.lerp(colours[:, 0], colours[:, 1], cars.scenery[:, None])
    tone = mix(torch.lerp(tone, haze, 0.28), torch.lerp(tone, haze, 0.5), smooth(below, 0.0, 0.5))
    canvas.paint(coverage(-below, soft), tone * (1 + 0.05 * leaf).unsqueeze(1), Part.SCENERY)
    below = canvas.y - ground + near
    rough = torch.tensor([0.10, 0.03, 0.38, 0.05, 0.08, 0.07], device=device)[cars.scene].view(-1, 1, 1)
    window, joint = _walls(canvas, cars, below)
    shape = (1.12 + rough * leaf - smooth(below, 0.0, 0.5) * 0.3) * (1 - 0.22 * joint)
    tone = torch.lerp(colours[:, 2], colours[:, 3], cars.scenery[:, None]).view(-1, 3, 1, 1) * shape.unsqueeze(1)
    evening = (cars.sky == _SUNSET).float()[:, None] * 0.7
    glass = torch.lerp(haze * 0.45, torch.tensor([1.0, 0.85, 0.5], device=device), evening)
    tone.lerp_(glass.view(-1, 3, 1, 1).expand_as(tone), window.unsqueeze(1) * 0.8)
    canvas.paint(coverage(rough * leaf * 0.1 - below, soft), tone, Part.SCENERY)


def paint_road(canvas: Canvas, cars: CarFactors) -> None:
    """Paint a pavement or verge with its kerb, and a road with or without markings."""
    kerb, device, soft, sunlight = column(cars.kerb), canvas.colour.device, 2 / canvas.labels.shape[-1], light(cars)
    speck = pixel_noise(cars.seed, cars.index, "speck", (40, 64)).unsqueeze(1)
    speck = F.interpolate(speck, canvas.labels.shape[1:], mode="bilinear", align_corners=False)  # (B, 1, H, W)
    verge = torch.tensor(_VERGES, device=device)[cars.scene].view(-1, 3, 1, 1) * sunlight
    near = smooth(canvas.y, 0.1, 0.45).unsqueeze(1) * 0.2 + 0.85
    canvas.paint(
        coverage(column(cars.horizon) + 0.1 - canvas.y, soft).expand_as(canvas.labels),
        verge * (near + speck * 0.05),
        Part.ROAD,
    )
    dark = torch.tensor([0.27, 0.28, 0.30], device=device).view(1, 3, 1, 1) + cars.asphalt.view(-1, 1, 1, 1) * 0.22
    depth = smooth(canvas.y, kerb, 1.1).unsqueeze(1)
    tone = 1.08 - 0.22 * depth + speck * (0.02 + 0.04 * depth)
    canvas.paint(coverage(kerb - canvas.y, soft).expand_as(canvas.labels), dark * sunlight * tone, Part.ROAD)
    stone = coverage((canvas.y - kerb - 0.005).abs() - 0.022, soft) * column((cars.marking < 0.75) * 0.8)
    pale = torch.full((1, 3, 1, 1), 0.74, device=device) * sunlight
    canvas.paint(stone.expand_as(canvas.labels), pale)
    canvas.paint(_marking(canvas, cars, soft) * 0.8, pale * (1.14 + 0.07 * speck))


def _marking(canvas: Canvas, cars: CarFactors, soft: float) -> Tensor:
    """Return the cover (B, H, W) of a white line in front of the car: none, whole or dashed."""
    line = (canvas.y - 0.905).abs() - 0.03
    dash = ((canvas.x + canvas.y * 0.6) / 0.9 + column(cars.marking) * 7).frac()
    dashed = torch.where(column(cars.marking < 0.6), ((dash - 0.5).abs() - 0.3) * 0.9, -1.0)
    return coverage(torch.maximum(line, dashed), soft) * column(cars.marking > 0.25)


def paint_post(canvas: Canvas, cars: CarFactors) -> None:
    """Paint what may stand on the pavement behind the car: a street lamp, a tree or a road sign."""
    kind, soft = (cars.post * 5).long(), 2 / canvas.labels.shape[-1]  # kinds 0 and 1: nothing
    x, foot = canvas.x - column(cars.post_place), column(cars.kerb) - 0.04
    top, wide, *tone = torch.tensor(_POSTS, device=kind.device)[kind].T
    top = column(top)
    stem = torch.maximum(x.abs() - column(wide), (canvas.y - (top + foot) / 2).abs() - (foot - top) / 2)
    tone = torch.stack(tone, dim=1).view(-1, 3, 1, 1) * light(cars)
    canvas.paint(coverage(stem, soft) * column(kind > 1), tone, Part.SCENERY)
    lamp, tree, sign = (column(kind == each).float() for each in (2, 3, 4))
    canvas.paint(coverage(box(x - 0.09, canvas.y - top, 0.1, 0.014), soft) * lamp, tone, Part.SCENERY)
    bulb = coverage(box(x - 0.15, canvas.y - top - 0.02, 0.045, 0.014, 0.01), soft)
    canvas.paint(bulb * lamp, torch.ones_like(tone) - tone * 0.2)
    plate = torch.sqrt(x * x + (canvas.y - top).square())
    red = torch.tensor([0.82, 0.10, 0.10], device=kind.device).view(1, 3, 1, 1)
    canvas.paint(coverage(plate - 0.10, soft) * sign, red * light(cars), Part.SCENERY)
    canvas.paint(coverage(plate - 0.062, soft) * sign, 0.93 * light(cars), Part.SCENERY)
    _paint_crown(canvas, cars, x, tree)


def _paint_crown(canvas: Canvas, cars: CarFactors, x: Tensor, tree: Tensor) -> None:
    """Paint the crown of the tree around the column where `x` (B, 1, W) is 0."""
    leaf = _lattice(canvas, cars, "crown", (18, 31))
    crown = torch.sqrt((x / 0.27).square() + ((canvas.y + 0.36) / 0.30).square()) * 0.28 - 0.28 + leaf * 0.05
    greens = torch.tensor([[0.16, 0.36, 0.14], [0.46, 0.46, 0.16]], device=x.device)
    shape = 1.0 - 0.55 * (canvas.y + 0.36) + 0.35 * leaf + 0.5 * x * column(cars.sun)
    tone = mix(greens[0], greens[1], cars.scenery) * light(cars) * shape.unsqueeze(1)
    canvas.paint(coverage(crown, 3 / canvas.labels.shape[-1]) * tree, tone, Part.SCENERY)
