"""Toy cars: pictures in which a hole can only be filled by knowing what a car is.

Seen from the side and a little from the front or the rear, painted in layers: scene, shadow, shell (the turned end,
bonnet and roof), near side, windows, wheels, camera. Both wheels share one rim design.
"""

import torch
from torch import Tensor

from nblib.toys.car_bodies import place
from nblib.toys.car_coachwork import paint_far_wheels, paint_of, paint_shadow, paint_shell, paint_side
from nblib.toys.car_factors import ATTRIBUTES, CarFactors, Part, attributes, factors, flip, take
from nblib.toys.car_fittings import (
    paint_arches,
    paint_doors,
    paint_glow,
    paint_mirror,
    paint_roof_rack,
    paint_side_lamps,
    paint_windows,
)
from nblib.toys.car_scenes import paint_post, paint_road, paint_scenery, paint_sky, rows
from nblib.toys.car_wheels import paint_wheel
from nblib.toys.drawing import Canvas
from nblib.toys.hashing import pixel_noise
from nblib.toys.sample import ToySample

__all__ = ["ATTRIBUTES", "LABELS", "LANDMARKS", "CarFactors", "attributes", "factors", "flip", "landmarks", "parsing",
           "render", "sample"]  # fmt: skip

LANDMARKS = ("left_wheel", "right_wheel")
LABELS = tuple(part.name.lower() for part in Part)

_CHUNK = 32  # cars drawn at a time: the working set stays in the cache


def _draw(cars: CarFactors, size: int) -> tuple[Tensor, Tensor]:
    """Draw one chunk: pictures uint8 (B, 3, size, size) and labels uint8 (B, size, size).

    Each layer is painted on the rows that it can reach, whatever the factors.
    """
    canvas = Canvas.blank(len(cars.index), size, cars.index.device)
    paint_sky(rows(canvas, -1, 0.3), cars)
    paint_scenery(rows(canvas, -0.65, 0.35), cars)
    paint_road(rows(canvas, 0, 1), cars)
    paint_post(rows(canvas, -0.75, 0.4), cars)
    _draw_cars(canvas, cars, size)
    noise = pixel_noise(cars.seed, cars.index, "camera", (1, size, size)).mul_(cars.grain.view(-1, 1, 1, 1) * 1.7)
    canvas.colour.mul_((1.02 - 0.06 * (canvas.x**2 + canvas.y**2)).unsqueeze(1)).add_(noise).clamp_(0, 1)
    return canvas.colour.mul_(255).round_().to(torch.uint8), canvas.labels


def _draw_cars(canvas: Canvas, cars: CarFactors, size: int) -> None:
    """Paint the cars over their scenes."""
    part, upper, lower = rows(canvas, -0.65, 0.85), rows(canvas, -0.65, 0.4), rows(canvas, -0.05, 0.85)
    car, paint = place(part.x, part.y, size, cars), paint_of(cars)
    paint_shadow(part, cars, car)
    paint_far_wheels(lower, car.within(lower))
    near = paint_shell(part, cars, car, paint)
    paint_side(part, cars, car, paint, near)
    paint_windows(upper, cars, car.within(upper))
    paint_roof_rack(upper, cars, car.within(upper))
    low, near = car.within(lower), near[:, -lower.labels.shape[1] :]  # both end at the same row
    paint_doors(lower, cars, low, paint, near)
    paint_arches(lower, cars, low, paint, near)
    paint_side_lamps(lower, cars, low, near)
    paint_mirror(lower, cars, low, paint)
    for axle, angle in ((car.rear_axle, cars.angle_rear), (car.front_axle, cars.angle_front)):
        paint_wheel(canvas, cars, car, axle, angle)
    paint_glow(part, cars, car)


def _draw_all(cars: CarFactors, size: int) -> tuple[Tensor, Tensor]:
    """Draw in chunks: pictures uint8 (N, 3, size, size) and labels uint8 (N, size, size)."""
    if size < 16:
        raise ValueError(f"size={size}: a car needs pictures of at least 16x16 pixels")
    count = len(cars.index)
    images = torch.empty(count, 3, size, size, dtype=torch.uint8, device=cars.index.device)
    labels = torch.empty(count, size, size, dtype=torch.uint8, device=cars.index.device)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part], labels[part] = _draw(take(cars, part), size)
    return images, labels


def render(cars: CarFactors, size: int = 64) -> Tensor:
    """Return pictures of the cars.

    Parameters
    ----------
    cars : CarFactors
        Of N cars.
    size : int, default 64
        Side of the pictures, at least 16; the same cars with more pixels.

    Returns
    -------
    Tensor, uint8 (N, 3, size, size)
        On the device of the factors.

    Raises
    ------
    ValueError
        If `size` is less than 16.

    Examples
    --------
    >>> cars = factors(0, torch.arange(2))
    >>> pictures, red = render(cars), render(flip(cars, "colour=red"))
    >>> pictures.shape, pictures.dtype
    (torch.Size([2, 3, 64, 64]), torch.uint8)
    """
    return _draw_all(cars, size)[0]


def parsing(cars: CarFactors, size: int = 64) -> Tensor:
    """Return what each pixel shows, uint8 (N, size, size), as places in `LABELS`.

    The label is that of the topmost layer that covers at least half of the pixel.

    Examples
    --------
    >>> int((parsing(factors(0, torch.arange(1))) == LABELS.index("rim")).sum()) > 20
    True
    """
    return _draw_all(cars, size)[1]


def landmarks(cars: CarFactors, size: int = 64) -> Tensor:
    """Return the wheels' centres as pixel coordinates (x, y), float32 (N, 2, 2), the left one first.

    The centre of the top left pixel is (0, 0).
    """
    origin = torch.zeros(1, 1, 1, device=cars.index.device)
    car = place(origin, origin, size, cars)
    axles = [torch.cat(car.pixel(u, car.wheel, size), dim=2) for u in (car.rear_axle, car.front_axle)]
    points = torch.cat(axles, dim=1)  # (N, 2, 2): rear, front
    return torch.where(cars.facing_left.view(-1, 1, 1), points.flip(1), points)


def sample(seed: int, indices: Tensor, size: int = 64) -> ToySample:
    """Draw the cars `indices` (N,) of the set `seed` with all that is known about them.

    Sample i of a set is the same at any batch size and on any device, to 1/255.

    Examples
    --------
    >>> images, labels, wheels, parts = sample(0, torch.arange(3))
    >>> images.shape, labels.shape == (3, len(ATTRIBUTES)), wheels.shape, parts.shape
    (torch.Size([3, 3, 64, 64]), True, torch.Size([3, 2, 2]), torch.Size([3, 64, 64]))
    """
    cars = factors(seed, indices)
    images, labels = _draw_all(cars, size)
    return ToySample(images, attributes(cars), landmarks(cars, size), labels)
