"""What is fitted to the metal of toy cars: windows and who sits behind them, doors, lamps, arches, mirror, rack."""

import torch
from torch import Tensor

from nblib.toys.car_bodies import Car, smooth_max
from nblib.toys.car_coachwork import grey, lamp_of, rgb
from nblib.toys.car_factors import CarFactors, Part
from nblib.toys.car_scenes import bump, column, light, smooth
from nblib.toys.drawing import Canvas, box, coverage, ellipse


def paint_windows(canvas: Canvas, cars: CarFactors, car: Car) -> None:
    """Paint the side windows: seats and driver behind, the sky and a streak of light upon them, pillars between."""
    above = car.h - car.belt()
    lean = car.glass_foot + above * car.glass_lean - car.u
    distance = smooth_max(car.over() + 0.032, torch.maximum(0.004 - above, lean), 0.012)
    cover = coverage(distance, car.soft)
    high, dark = (above / 0.12).clamp_(0, 1), torch.where(column(cars.tinted_windows), 0.42, 1.0)
    tint = rgb(0.84, 1.0, 1.14, above) * light(cars)
    canvas.paint(cover, tint * ((0.24 + 0.40 * high * high) * dark).unsqueeze(1), Part.WINDOW)
    _paint_cabin(canvas, cars, car, above, cover * (0.9 * dark))
    slant = (car.u * car.facing - above * 0.7 + column(cars.shade) * 0.3) / 0.34
    streak = smooth((slant.frac() - 0.5).abs_(), 0.36, 0.46) * (0.10 + 0.16 * high)
    canvas.paint(streak.mul_(cover), grey(1.0, above))
    for pillar, half in ((car.pillar_mid, 0.011), (car.pillar_rear, 0.007)):
        bar = (car.u - pillar - above * 0.12).abs_() - half
        canvas.paint(coverage(bar, car.soft) * cover, grey(0.06, above))
    frame = coverage(distance.abs_().sub_(0.004), car.soft)
    canvas.paint(frame * 0.55, grey(0.06, above))


def _paint_cabin(canvas: Canvas, cars: CarFactors, car: Car, above: Tensor, cover: Tensor) -> None:
    """Paint what is seen through the side windows: two seats, and a driver if there is one."""
    for back in (car.door_mid + 0.055, car.door_mid - 0.14):
        seat = box(car.u - back + above * 0.25, above - 0.02, 0.022, 0.05, 0.02)
        canvas.paint(coverage(seat, car.soft) * cover, grey(0.07, cover))
    skin = torch.lerp(rgb(0.36, 0.22, 0.15, cover), rgb(0.92, 0.72, 0.60, cover), cars.skin.view(-1, 1, 1, 1))
    cloth = torch.lerp(skin * 0.3, 1 - skin, cars.finish.view(-1, 1, 1, 1))
    cover, at = cover * column(cars.driver), car.u - car.door_mid - 0.095
    canvas.paint(coverage(ellipse(at, above + 0.02, 0.04, 0.055), car.soft) * cover, cloth)
    canvas.paint(coverage(ellipse(at, above - 0.062, 0.022, 0.030), car.soft) * cover, skin * 0.9)


def paint_doors(canvas: Canvas, cars: CarFactors, car: Car, paint: Tensor, near: Tensor) -> None:
    """Paint the joints of the doors, their handles, and the skirt along the sill."""
    above = car.h - car.belt()
    panel = torch.maximum(car.sill + 0.02 - car.h, above)
    for door in (car.door_front, car.door_mid, car.door_rear):
        joint = torch.maximum((car.u - door - above * 0.06).abs_().sub_(0.003), panel)
        canvas.paint(coverage(joint, car.soft).mul_(near).mul_(0.75), grey(0.08, near))
    chrome = (paint * 0.35 + 0.45 * paint.mean(1, True)) * light(cars)
    for door in (car.door_mid, car.door_rear):
        hollow, handle = (box(car.u - door - 0.045, above + y, 0.024, 0.006, 0.004) for y in (0.046, 0.035))
        canvas.paint(coverage(hollow, car.soft) * near * (door > 0) * 0.5, grey(0.05, near))
        canvas.paint(coverage(handle, car.soft) * near * (door > 0) * 0.9, chrome)
    clad = column(cars.cladding > 0.6).float()
    skirt = coverage(car.h - car.sill - 0.022, car.soft) * near
    canvas.paint(skirt * (0.35 + 0.6 * clad), grey(0.17, near) * (0.6 + 0.4 * clad.unsqueeze(1)))


def paint_arches(canvas: Canvas, cars: CarFactors, car: Car, paint: Tensor, near: Tensor) -> None:
    """Paint the dark arches over the near wheels, with a lip that catches the light or a rim of plastic."""
    clad = column(cars.cladding > 0.6).float()
    tone = torch.lerp(paint * 1.2, grey(0.17, near).expand_as(paint), clad.unsqueeze(1)).clamp_(0, 1)
    for axle in (car.rear_axle, car.front_axle):
        ring = torch.sqrt((car.u - axle).square() + (car.h - car.wheel).square())
        lip = coverage((ring - car.wheel * 1.17).abs_().sub_(0.012), car.soft)
        canvas.paint(lip.mul_(near).mul_(0.18 + 0.75 * clad), tone)
        canvas.paint(coverage(ring - car.wheel * 1.1, car.soft) * near, grey(0.035, near), Part.TYRE)


def paint_side_lamps(canvas: Canvas, cars: CarFactors, car: Car, near: Tensor) -> None:
    """Paint the head lamp and the tail lamp where they wrap around the corners of the near side."""
    slit = column(cars.lamp)
    for ahead, out, high, long, tall in (
        (True, car.u - 1, car.lamp_front, 0.055 + 0.03 * slit, 0.033 - 0.012 * slit),
        (False, -car.u, car.lamp_rear, 0.036 + 0.016 * slit, 0.030 + 0.02 * slit),
    ):
        lamp = box(out, car.h - high + out * 0.15, long, tall, 0.016)
        canvas.paint(coverage(lamp, car.soft) * near, lamp_of(cars, ahead), Part.LAMP)


def paint_mirror(canvas: Canvas, cars: CarFactors, car: Car, paint: Tensor) -> None:
    """Paint the mirror at the foot of the windscreen pillar."""
    u, h = car.u - car.door_front + 0.017, car.h - car.belt_front - 0.016
    canvas.paint(coverage(ellipse(u, h + 0.006, 0.028, 0.019), car.soft) * 0.5, grey(0.04, u))
    canvas.paint(coverage(ellipse(u, h, 0.027, 0.018), car.soft), (paint * 0.92 + 0.06) * light(cars), Part.BODY)


def paint_roof_rack(canvas: Canvas, cars: CarFactors, car: Car) -> None:
    """Paint a box on two feet on the roof."""
    at = torch.full_like(car.depth, 0.48)
    over, u, wanted = car.h - car.top(at)[0], car.u - at, column(cars.roof_rack)
    for foot in (-0.075, 0.075):
        post = box(u - foot - car.depth * 0.4, over - 0.005, 0.007, 0.022)
        canvas.paint(coverage(post, car.soft) * wanted, grey(0.07, over), Part.BODY)
    trunk = box(u - car.depth * 0.5, over - car.rise * 0.5 - 0.026, 0.13, 0.026, 0.02)
    tone = grey(0.13, over) + 0.5 * (cars.roof_colour.view(-1, 1, 1, 1) > 0.7)
    canvas.paint(
        coverage(trunk, car.soft) * wanted, tone * (0.8 + 0.9 * smooth(over, 0.0, 0.09)).unsqueeze(1), Part.BODY
    )


def paint_glow(canvas: Canvas, cars: CarFactors, car: Car) -> None:
    """Add the halo of lamps that are on."""
    wanted = column(cars.lights_on).float()
    for end, high, tint in ((1.0, car.lamp_front, (1.0, 0.92, 0.70)), (0.0, car.lamp_rear, (1.0, 0.12, 0.08))):
        u, h = car.u - end - car.depth * 0.3, car.h - high
        halo = bump(u, 0, 0.08) * bump(h, 0, 0.08) * 0.24 + bump(u, 0, 0.028) * bump(h, 0, 0.028) * 0.4
        canvas.colour.add_((halo * wanted).unsqueeze(1) * rgb(*tint, halo))
