"""The metal of toy cars: shadow, shell and near side, with paint that mirrors the ground and the sky."""

import torch
from torch import Tensor

from nblib.toys.car_bodies import Car
from nblib.toys.car_factors import CarFactors, Part
from nblib.toys.car_scenes import bump, column, light, mix, smooth
from nblib.toys.drawing import Canvas, box, coverage, ellipse

# Per colour: the dark and the light end of the paint.
_PAINTS = [
    [(0.05, 0.05, 0.06), (0.12, 0.12, 0.14)],  # black
    [(0.86, 0.87, 0.88), (0.97, 0.97, 0.95)],  # white
    [(0.56, 0.58, 0.61), (0.72, 0.74, 0.76)],  # silver
    [(0.60, 0.04, 0.06), (0.88, 0.09, 0.09)],  # red
    [(0.86, 0.34, 0.05), (0.97, 0.48, 0.10)],  # orange
    [(0.92, 0.70, 0.06), (0.99, 0.84, 0.22)],  # yellow
    [(0.06, 0.32, 0.18), (0.28, 0.58, 0.26)],  # green
    [(0.07, 0.18, 0.52), (0.20, 0.48, 0.86)],  # blue
    [(0.32, 0.12, 0.42), (0.52, 0.28, 0.64)],  # purple
]
_ROOFS = [(0.95, 0.95, 0.94), (0.07, 0.07, 0.08)]  # second colour of a two-tone paint
_LAMPS = [(0.50, 0.03, 0.04), (0.99, 0.16, 0.10), (0.80, 0.84, 0.88), (1.0, 0.97, 0.82)]  # tail: off, on; head: off, on


def grey(level: float, like: Tensor) -> Tensor:
    """Return a grey, (1, 3, 1, 1), on the device of `like`."""
    return torch.full((1, 3, 1, 1), level, device=like.device)


def rgb(red: float, green: float, blue: float, like: Tensor) -> Tensor:
    """Return a colour, (1, 3, 1, 1), on the device of `like`."""
    return torch.tensor([red, green, blue], device=like.device).view(1, 3, 1, 1)


def paint_of(cars: CarFactors) -> Tensor:
    """Return the body's colour, (B, 3, 1, 1)."""
    dark, bright = torch.tensor(_PAINTS, device=cars.index.device)[cars.colour].unbind(1)  # two of (B, 3)
    return mix(dark, bright, cars.shade) + cars.hue.view(-1, 1, 1, 1) * rgb(0.012, 0.03, -0.018, dark)


def roof_of(cars: CarFactors) -> Tensor:
    """Return the second colour of a two-tone paint, (B, 3, 1, 1)."""
    return torch.tensor(_ROOFS, device=cars.index.device)[(cars.roof_colour < 0.4).long()].view(-1, 3, 1, 1)


def lamp_of(cars: CarFactors, ahead: Tensor | bool) -> Tensor:
    """Return the colour (B, 3, 1, 1) of the head lamps or, where `ahead` (B, 1, 1) is false, of the tail lamps."""
    ahead = torch.as_tensor(ahead, device=cars.index.device).expand(len(cars.index), 1, 1).reshape(-1)
    return torch.tensor(_LAMPS, device=ahead.device)[ahead.long() * 2 + cars.lights_on.long()].view(-1, 3, 1, 1)


def paint_shadow(canvas: Canvas, cars: CarFactors, car: Car) -> None:
    """Darken the road under the car, and beside it away from the sun."""
    u, h = car.u - 0.5 - car.depth / 2 + column(cars.sun) * car.facing * 0.08, car.h - car.rise * 0.5
    soft = torch.exp(-((u / 0.56) ** 6)) * bump(h, -0.005, 0.06) * 0.62
    near = torch.exp(-((u / 0.47) ** 8)) * torch.exp(-(((h - 0.015) / 0.05) ** 4)) * 0.7
    canvas.colour.mul_((1 - torch.maximum(soft, near)).unsqueeze(1))


def paint_far_wheels(canvas: Canvas, car: Car) -> None:
    """Paint the dark wheels of the far side and the car's underside."""
    dark, h = grey(0.055, car.h), car.h - car.wheel - car.rise * 0.92
    for axle in (car.rear_axle, car.front_axle):
        distance = ellipse(car.u - axle - car.depth * 0.92, h, car.wheel * 0.92, car.wheel)
        canvas.paint(coverage(distance, car.soft), dark, Part.TYRE)
    under = torch.maximum((car.u - 0.5 - car.depth * 0.5).abs() - 0.42, (car.h - car.sill).abs() - 0.035)
    canvas.paint(coverage(under, car.soft), dark)


def _sweep(car: Car) -> tuple[Tensor, Tensor, Tensor]:
    """Move the outline from the near to the far side.

    Returns three of (B, H, W): the cover of the near side, the cover of all that is passed, and how far across each
    pixel is met first, from 0 on the near to 1 on the far side.
    """
    near = coverage(car.outline(), car.soft)
    whole, across = near.clone(), 1 - near
    slices = max(6, car.u.shape[-1] // 10)  # few enough to be quick, so close that no steps show
    for k in range(1, slices):
        torch.maximum(whole, coverage(car.outline(k / slices), car.soft), out=whole)
        across.add_(1 - whole)
    return near, torch.maximum(whole, coverage(car.outline(1.0), car.soft)), across / slices


def paint_shell(canvas: Canvas, cars: CarFactors, car: Car, paint: Tensor) -> Tensor:
    """Paint what lies between the near and the far side: roof, bonnet, screen and the turned end.

    Returns the cover of the near side, (B, H, W).
    """
    near, whole, across = _sweep(car)
    h = car.h - across * car.rise
    end, middle = torch.where(car.depth > 0, 0.985, 0.015), torch.full_like(car.depth, 0.5)
    brow = torch.minimum(car.top(end)[0] - 0.012, car.belt_rear)  # above it, surfaces look up
    crown = car.top(middle)[0]
    sunny = column(cars.sun) * car.facing * car.depth.sign()
    flat = smooth(h, brow, brow + 0.02)
    tone = 0.82 + 0.14 * sunny - 0.3 * smooth(h, brow, car.sill) * (1 - flat) + flat * (0.28 - 0.1 * sunny)
    lit = paint * light(cars) * tone.unsqueeze(1) + (flat * (0.08 + 0.08 * column(cars.gloss))).unsqueeze(1)
    roof = smooth(h, crown - 0.045, crown - 0.02) * column(cars.two_tone)
    lit.lerp_((roof_of(cars) * light(cars) * 0.97).expand_as(lit), roof.unsqueeze(1))
    canvas.paint(whole, lit.clamp_(0, 1), Part.BODY)
    towards = (car.u - across * car.depth - 0.5) * car.depth.sign()  # 0.5 at the turned end, -0.5 at the other
    _paint_screen(canvas, cars, car, whole * (towards > -0.2), across, (h, crown))
    _paint_end(canvas, cars, car, whole * (towards > 0.36), across, h)
    return near


def _paint_screen(
    canvas: Canvas, cars: CarFactors, car: Car, whole: Tensor, across: Tensor, heights: tuple[Tensor, Tensor]
) -> None:
    """Paint the windscreen, or the rear screen, between the belt and the crown of the roof."""
    h, crown = heights
    low = torch.where(car.depth > 0, car.belt_front, car.belt_rear) + 0.012
    side = ((across - 0.5).abs() - 0.44) * car.depth.abs()
    cover = coverage(torch.maximum(torch.maximum(low - h, h - crown + 0.034), side), car.soft) * whole
    tone = (0.20 + 0.42 * (h - low) / (crown - low)) * torch.where(column(cars.tinted_windows), 0.5, 1.0)
    tone += 0.16 * bump(across + (h - low) * 4 * car.facing * car.depth.sign(), 0.5 + 0.3 * column(cars.hue), 0.16)
    canvas.paint(cover, tone.unsqueeze(1) * rgb(0.86, 1.0, 1.12, h) * light(cars), Part.WINDOW)


def _paint_end(canvas: Canvas, cars: CarFactors, car: Car, whole: Tensor, across: Tensor, h: Tensor) -> None:
    """Paint the face that is turned towards us: grille, bumper, plate and lamps."""
    wide, ahead, slit = car.depth.abs(), car.depth > 0, column(cars.lamp)
    out = (across - 0.5).abs() * wide  # from the middle to the corners
    middle = torch.where(ahead, car.lamp_front, car.lamp_rear)
    tall = torch.where(ahead, 0.032 - 0.012 * slit, 0.028 + 0.02 * slit)
    grille = box(out, h - middle + 0.012, wide * 0.20, 0.016 + 0.02 * column(cars.grille), 0.008)
    canvas.paint(coverage(grille, car.soft) * whole * ahead, grey(0.08, h) + 0.10 * cars.grille.view(-1, 1, 1, 1))
    intake = box(out, h - car.sill - 0.028, wide * 0.40, 0.019, 0.008)
    canvas.paint(coverage(intake, car.soft) * whole, grey(0.09, h))
    plate = box(out, h - middle + 0.072, wide * 0.17, 0.019, 0.003)
    canvas.paint(coverage(plate, car.soft) * whole * 0.9, grey(0.86, h) * light(cars))
    lamp = box(out - 0.35 * wide, h - middle, wide * (0.10 + 0.05 * slit), tall, 0.016)
    canvas.paint(coverage(lamp, car.soft) * whole, lamp_of(cars, ahead), Part.LAMP)


def paint_side(canvas: Canvas, cars: CarFactors, car: Car, paint: Tensor, near: Tensor) -> None:
    """Paint the near side: the ground and the sky mirrored in the metal, with a crease and a shoulder line."""
    belt = car.belt()
    q = (car.h - car.sill) / (belt - car.sill)  # 0 at the sill, 1 at the belt
    crease, sunny = column(cars.crease), column(cars.sun) * car.facing
    tone = smooth(q, 0.0, 0.36).mul_(0.26).add_(0.52)
    sky = smooth(q, 0.46, 1.0)
    tone.add_(sky, alpha=0.24).sub_(bump(q, 0.42, 0.07), alpha=0.14)  # the dark line between them is the horizon
    tone.add_(bump(q, crease, 0.045), alpha=0.16).sub_(bump(q, crease - 0.11, 0.06), alpha=0.12)
    along = car.u - 0.5
    tone.mul_(1 - 0.24 * smooth(along.abs(), 0.36, 0.52) + 0.14 * along * sunny)
    sheen = sky.mul_(0.15).add_(bump(q, 0.96, 0.05), alpha=0.26)
    sheen.mul_(column(cars.gloss) * (0.5 + 0.5 * bump(along, 0.25 * sunny, 0.25)))
    lit = (paint * tone.unsqueeze(1)).add_(sheen.unsqueeze(1)).mul_(light(cars))
    upper = smooth(car.h, belt, belt + 0.015) * column(cars.two_tone)
    lit.lerp_((roof_of(cars) * light(cars) * 0.95).expand_as(lit), upper.unsqueeze(1))
    stripe = coverage((q - 0.33).abs_().sub_(0.06), 0.06) * column(cars.side_stripe)
    contrast = (paint.mean(1, True) < 0.5) * 0.75 + 0.08
    lit.lerp_(contrast * tone.unsqueeze(1).expand_as(lit), stripe.unsqueeze(1))
    canvas.paint(near, lit.clamp_(0, 1), Part.BODY)
