"""Wheels: tyre, brake and rim. Both wheels of a car share one rim design; only the angle they stopped at differs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nblib.toys.car_bodies import Car
from nblib.toys.car_factors import CarFactors, Part
from nblib.toys.car_scenes import column, light, smooth
from nblib.toys.drawing import Canvas, coverage

_FINER = 2  # the wheels are drawn at this multiple of the resolution, then averaged: spokes are thinner than a pixel

# Per rim, in the order of `RIMS`: spokes, half their width at the hub and at the edge, half the gap inside a double
# spoke, twist in radians from hub to edge, crossed (a mesh), plate with holes.
_DESIGNS = [
    [3, 0.15, 0.26, 0.00, 0.0, 0, 0],
    [5, 0.10, 0.13, 0.00, 0.0, 0, 0],
    [5, 0.05, 0.065, 0.14, 0.0, 0, 0],
    [6, 0.11, 0.08, 0.00, 0.0, 0, 0],
    [8, 0.07, 0.07, 0.00, 0.0, 0, 0],
    [10, 0.04, 0.055, 0.00, 0.0, 0, 0],
    [9, 0.04, 0.04, 0.00, 0.55, 1, 0],
    [7, 0.07, 0.12, 0.00, 0.9, 0, 0],
    [8, 0.10, 0.10, 0.00, 0.0, 0, 1],
]
_FINISHES = [(0.80, 0.81, 0.83), (0.92, 0.93, 0.95), (0.66, 0.68, 0.71), (0.34, 0.35, 0.37), (0.84, 0.66, 0.30)]
_CALIPERS = [(0.22, 0.22, 0.23)] * 3 + [(0.80, 0.10, 0.08), (0.92, 0.75, 0.10)]


def _spokes(design: Tensor, radius: Tensor, angle: Tensor, soft: Tensor) -> Tensor:
    """Return the cover (B, P, P) of the spokes at polar coordinates with the rim's radius as the unit."""
    count, hub, edge, gap, twist, crossed, plate = (column(each) for each in design.T)

    def strokes(turned: Tensor) -> Tensor:
        phase = (turned * count / (2 * math.pi)).frac().add_(1).frac_()  # 0.5 on the middle of a spoke
        across = (phase - 0.5).abs_().mul_(2 * math.pi / count).mul_(radius)
        return (across - gap * radius).abs_() - (hub + (edge - hub) * radius)

    cover = coverage(strokes(angle + twist * radius), soft)
    mesh = coverage(strokes(angle - twist * radius), soft) * crossed
    phase = (angle * count / (2 * math.pi)).frac().add_(1).frac_().sub_(0.5) * (2 * math.pi / count)
    hole = torch.sqrt((phase * radius).square() + (radius - 0.68).square()) - 0.12
    return torch.maximum(cover, mesh) * (1 - plate) + (1 - coverage(hole, soft)) * plate


def _paint_patch(cars: CarFactors, x: Tensor, y: Tensor, angle: Tensor, soft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Paint wheels at coordinates (B, P, P) in tyre radii; return colour (B, 3, P, P), covers of tyre and rim."""
    device = x.device
    radius, polar = torch.sqrt(x * x + y * y), torch.atan2(y, x)
    tyre, rim = coverage(radius - 1, soft), coverage(radius - column(cars.sidewall), soft)
    inner = radius / column(cars.sidewall)
    wall = 0.085 + 0.05 * torch.exp(-((radius - 0.88) / 0.05).square()) * (0.6 - 0.5 * y) + 0.02 * (y < 0)
    colour = wall.unsqueeze(1) * torch.tensor([1.0, 1.0, 1.06], device=device).view(1, 3, 1, 1)  # (B, 3, P, P)

    def lay(cover: Tensor, tone: Tensor) -> None:
        colour.lerp_(tone.expand_as(colour), cover.unsqueeze(1))

    lay(rim, (0.045 + 0.05 * smooth(y, -0.6, 0.7)).unsqueeze(1))
    lay(coverage(inner - 0.66, soft), (0.22 + 0.06 * torch.cos(2 * polar)).unsqueeze(1))
    caliper = torch.tensor(_CALIPERS, device=device)[(cars.caliper * len(_CALIPERS)).long()].view(-1, 3, 1, 1)
    lay(coverage(((polar + 0.5).abs() - 0.5) * inner, soft) * coverage((inner - 0.56).abs() - 0.14, soft), caliper)
    finish = torch.tensor(_FINISHES, device=device)[(cars.finish * len(_FINISHES)).long()].view(-1, 3, 1, 1)
    metal = finish * light(cars) * (0.86 - 0.26 * y).unsqueeze(1)
    design = torch.tensor(_DESIGNS, device=device)[cars.rim]
    lay(_spokes(design, inner, polar + angle * 2 * math.pi, soft) * rim, metal)
    lay(coverage((inner - 0.93).abs() - 0.07, soft), metal * 1.06)
    lay(coverage(inner - 0.22, soft), metal)
    lay(coverage(inner - 0.10, soft), metal * 0.45)
    colour.mul_((0.45 + 0.55 * smooth(y, -1.05, -0.35)).unsqueeze(1))  # the arch's shadow
    return colour.clamp_(0, 1), tyre, rim


def paint_wheel(canvas: Canvas, cars: CarFactors, car: Car, u: Tensor, angle: Tensor) -> None:
    """Paint the near wheel whose axle is at `u` (B, 1, 1), each in a patch of its own around it.

    A patch is a square of pixels of the canvas, drawn finer and averaged.
    """
    size, device = canvas.labels.shape[-1], canvas.colour.device
    side = 2 * math.ceil(size * 9 / 64)
    centre_x, centre_y = car.pixel(u, car.wheel, size)
    left, top = centre_x.round().long() - side // 2, centre_y.round().long() - side // 2  # (B, 1, 1)
    rows, columns = (torch.arange(side, device=device).view(shape) for shape in ((1, -1, 1), (1, 1, -1)))
    fine = (torch.arange(side * _FINER, device=device) + 0.5) / _FINER - 0.5
    radius = car.wheel / car.soft  # in pixels
    squash = 1 - 0.7 * car.depth.abs()  # a wheel seen from the side a little narrows
    x = (fine.view(1, 1, -1) + left - centre_x) / (radius * squash) * car.facing
    y = (fine.view(1, -1, 1) + top - centre_y) / radius
    x, y = torch.broadcast_tensors(x, y)
    colour, tyre, rim = _paint_patch(cars, x, y, column(angle), 1 / (radius * _FINER))
    cover = F.avg_pool2d(tyre.unsqueeze(1), _FINER)  # (B, 1, side, side)
    layer = F.avg_pool2d(colour * tyre.unsqueeze(1), _FINER)
    rim = F.avg_pool2d(rim.unsqueeze(1), _FINER)[:, 0] >= 0.5
    where = (torch.arange(len(u), device=device).view(-1, 1, 1), top + rows, left + columns)
    picture = canvas.colour.permute(0, 2, 3, 1)  # a view: what is written here is on the canvas
    picture[where] = picture[where] * (1 - cover).permute(0, 2, 3, 1) + layer.permute(0, 2, 3, 1)
    labels = torch.where(cover[:, 0] >= 0.5, int(Part.TYRE), canvas.labels[where]).to(torch.uint8)
    canvas.labels[where] = labels.masked_fill_(rim, Part.RIM)
