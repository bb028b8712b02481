"""The shapes of toy cars: where the metal ends, in car lengths.

Car coordinates run along the near side: `u` from the rear bumper (0) to the front bumper (1), `h` upwards from the
ground. The outline is a height as a function of `u` and two ends as functions of `h`, so it costs a few numbers per
column and per row, not per pixel. The far side is the same outline moved by (`depth`, `rise`): what lies between the
two is the end that is turned towards us, the bonnet, the windscreen and the roof.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nblib.toys.car_factors import CarFactors
from nblib.toys.car_scenes import column
from nblib.toys.drawing import Canvas

# Per body style, the roofline: nine knots from the rear to the front, first their u, then their h.
_ROOFLINES = {
    "sedan": [
        [0.0, 0.03, 0.17, 0.32, 0.41, 0.56, 0.73, 0.94, 1.0],
        [0.265, 0.284, 0.292, 0.398, 0.414, 0.406, 0.296, 0.250, 0.20],
    ],
    "hatchback": [
        [0.0, 0.03, 0.05, 0.17, 0.34, 0.57, 0.745, 0.94, 1.0],
        [0.275, 0.31, 0.33, 0.425, 0.443, 0.434, 0.305, 0.262, 0.20],
    ],
    "coupe": [
        [0.0, 0.02, 0.11, 0.34, 0.46, 0.56, 0.71, 0.94, 1.0],
        [0.262, 0.286, 0.292, 0.372, 0.388, 0.382, 0.288, 0.244, 0.18],
    ],
    "estate": [
        [0.0, 0.02, 0.035, 0.11, 0.30, 0.57, 0.735, 0.94, 1.0],
        [0.275, 0.30, 0.315, 0.405, 0.418, 0.410, 0.298, 0.252, 0.20],
    ],
    "suv": [
        [0.0, 0.015, 0.03, 0.09, 0.30, 0.57, 0.70, 0.95, 1.0],
        [0.320, 0.345, 0.365, 0.462, 0.478, 0.468, 0.345, 0.312, 0.25],
    ],
    "van": [
        [0.0, 0.008, 0.018, 0.045, 0.25, 0.68, 0.86, 0.96, 1.0],
        [0.320, 0.42, 0.485, 0.512, 0.522, 0.512, 0.348, 0.300, 0.22],
    ],
    "pickup": [
        [0.0, 0.01, 0.20, 0.385, 0.41, 0.45, 0.585, 0.70, 0.96],
        [0.295, 0.305, 0.305, 0.305, 0.425, 0.448, 0.440, 0.325, 0.295],
    ],
    "beetle": [
        [0.0, 0.06, 0.14, 0.27, 0.42, 0.55, 0.665, 0.86, 0.99],
        [0.200, 0.275, 0.335, 0.412, 0.440, 0.425, 0.312, 0.284, 0.18],
    ],
}

# Per body style, in the order of `BODIES`: measures of the near side.
_MEASURES = {
    "sill": [0.075, 0.078, 0.065, 0.075, 0.100, 0.082, 0.105, 0.080],
    "wheel": [0.108, 0.110, 0.107, 0.108, 0.121, 0.107, 0.121, 0.113],
    "rear_axle": [0.195, 0.180, 0.200, 0.200, 0.190, 0.195, 0.205, 0.205],
    "front_axle": [0.810, 0.810, 0.805, 0.810, 0.810, 0.820, 0.810, 0.800],
    "belt_rear": [0.298, 0.308, 0.288, 0.298, 0.338, 0.328, 0.318, 0.300],
    "belt_front": [0.280, 0.288, 0.272, 0.280, 0.322, 0.322, 0.308, 0.290],
    "glass_foot": [0.195, 0.120, 0.225, 0.070, 0.065, 0.050, 0.425, 0.230],  # rear end of the windows at the belt
    "glass_lean": [1.05, 0.70, 1.35, 0.45, 0.40, 0.08, 0.10, 0.60],  # and how it leans forward above
    "pillar_mid": [0.500, 0.480, 0.430, 0.500, 0.490, 0.540, -1.00, 0.470],
    "pillar_rear": [0.305, 0.255, -1.00, 0.275, 0.265, 0.285, -1.00, -1.00],
    "door_front": [0.700, 0.700, 0.690, 0.700, 0.685, 0.715, 0.675, 0.665],
    "door_mid": [0.490, 0.470, 0.410, 0.490, 0.480, 0.530, 0.420, 0.430],
    "door_rear": [0.300, 0.280, -1.00, 0.300, 0.300, 0.300, -1.00, -1.00],
    "lamp_front": [0.205, 0.215, 0.188, 0.205, 0.255, 0.240, 0.245, 0.205],
    "lamp_rear": [0.235, 0.262, 0.225, 0.245, 0.300, 0.300, 0.255, 0.190],
    "nose_lean": [0.35, 0.35, 0.45, 0.35, 0.20, 0.25, 0.10, 0.40],  # how the front leans back above the bumper
    "tail_lean": [0.12, 0.12, 0.15, 0.10, 0.08, 0.02, 0.02, 0.35],
    "fillet": [0.030, 0.028, 0.035, 0.026, 0.024, 0.022, 0.018, 0.060],  # rounding of the roofline
}


_TALL = 1.09  # a car that is turned a little is shortened: its heights grow relative to its length


def _ramp(value: Tensor, radius: Tensor | float) -> Tensor:
    """Return the part of `value` above zero with a rounded corner."""
    return (value + torch.sqrt(value * value + radius * radius)) * 0.5


def smooth_max(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """Return the greater of two signed distances: their shapes' common part, with its corners rounded."""
    gap = first - second
    return (first + second).add_(gap.mul_(gap).add_(radius * radius).sqrt_()).mul_(0.5)


@dataclass(frozen=True)
class Car:
    """B cars on a canvas: car coordinates of its pixels, and the measures of each car.

    Attributes
    ----------
    u, h : Tensor, float (B, 1, W) and (B, H, 1)
        Car coordinates of the pixels' centres.
    soft : Tensor, float (B, 1, 1)
        The side of a pixel.
    length : Tensor, float (B, 1, 1)
        Length of the near side in half pictures.
    middle, offset : Tensor, float (B, 1, 1)
        The car's `u` that stands at the picture's `x = offset`.
    ground : Tensor, float (B, 1, 1)
        The picture's `y` where `h` is 0.
    facing : Tensor, float (B, 1, 1)
        1 if the car faces right, else -1.
    depth, rise : Tensor, float (B, 1, 1)
        From the near to the far side; depth > 0 shows the front, < 0 the rear.
    knots : Tensor, float (B, 2, 9)
        The roofline.
    measures : dict of str to Tensor, float (B, 1, 1)
        By the names of `_MEASURES`, which are attributes of the car, too: `car.wheel` is the radius of its wheels.
    """

    u: Tensor
    h: Tensor
    soft: Tensor
    length: Tensor
    middle: Tensor
    offset: Tensor
    ground: Tensor
    facing: Tensor
    depth: Tensor
    rise: Tensor
    knots: Tensor
    measures: dict[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        """Return a measure by its name."""
        if name == "measures" or name not in self.measures:
            raise AttributeError(name)
        return self.measures[name]

    def top(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the height of the roofline at `u` (B, 1, W) and its slope."""
        knots, heights = self.knots[:, 0, :, None], self.knots[:, 1, :, None]  # (B, 9, 1)
        slopes = heights.diff(dim=1) / knots.diff(dim=1)  # (B, 8, 1)
        bends, past = slopes.diff(dim=1), u - knots[:, 1:-1]  # (B, 7, 1), (B, 7, W)
        root = torch.sqrt(past * past + self.fillet * self.fillet)
        height = heights[:, :1] + slopes[:, :1] * (u - knots[:, :1]) + (bends * (past + root)).sum(1, True) * 0.5
        slope = slopes[:, :1] + (bends * (1 + past / root)).sum(1, True) * 0.5
        return height, slope

    def front(self, h: Tensor) -> Tensor:
        """Return where the front ends at the height `h` (B, H, 1)."""
        return 1 - self.nose_lean * _ramp(h - self.lamp_front + 0.02, 0.05) - 0.6 * _ramp(self.sill + 0.03 - h, 0.03)

    def rear(self, h: Tensor) -> Tensor:
        """Return where the rear ends at the height `h` (B, H, 1)."""
        return self.tail_lean * _ramp(h - self.lamp_rear + 0.04, 0.05) + 0.8 * _ramp(self.sill + 0.035 - h, 0.03)

    def belt(self) -> Tensor:
        """Return the height of the windows' lower edge, (B, 1, W)."""
        return self.belt_rear + (self.belt_front - self.belt_rear) * (self.u - 0.2) / 0.55

    def over(self, shift: float = 0.0) -> Tensor:
        """Return the signed distance (B, H, W) to the roofline, moved by this share of the way to the far side."""
        height, slope = self.top(self.u - shift * self.depth)
        steep = torch.rsqrt(1 + slope * slope)
        return self.h * steep - (height + shift * self.rise) * steep

    def beyond(self, shift: float = 0.0) -> Tensor:
        """Return the distance (B, H, W) past the nearer end of the car, negative between the ends."""
        h, u = self.h - shift * self.rise, self.u - shift * self.depth
        return torch.maximum(u - self.front(h), self.rear(h) - u)

    def outline(self, shift: float = 0.0) -> Tensor:
        """Return the signed distance (B, H, W) to the body's outline, near side (0) to far side (1)."""
        side = torch.maximum(self.beyond(shift), self.sill + shift * self.rise - self.h)
        return smooth_max(self.over(shift), side, 0.02)

    def within(self, canvas: Canvas) -> "Car":
        """Return the same cars in the coordinates of some rows of the canvas."""
        return replace(self, h=(self.ground - canvas.y) / self.length)

    def pixel(self, u: Tensor, h: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the pixel coordinates (x, y), each (B, 1, 1), of a place on the car."""
        x = self.offset + self.facing * (u - self.middle) * self.length
        y = self.ground - h * self.length
        return (x + 1) * (size / 2) - 0.5, (y + 1) * (size / 2) - 0.5


def _measure(cars: CarFactors) -> dict[str, Tensor]:
    """Return the measures of each car, (B, 1, 1), varied around those of its body style."""
    table = torch.tensor(list(_MEASURES.values()), device=cars.index.device)[:, cars.body]  # (names, B)
    measures = {name: column(row) for name, row in zip(_MEASURES, table, strict=True)}
    for name in ("sill", "wheel", "belt_rear", "belt_front", "lamp_front", "lamp_rear"):
        measures[name] = measures[name] * _TALL
    for name in ("belt_rear", "belt_front", "lamp_front", "lamp_rear"):
        measures[name] = measures[name] * column(cars.roof)
    measures["wheel"] = measures["wheel"] * column(cars.wheel)
    measures["rear_axle"] = measures["rear_axle"] + column(cars.axle_rear)
    measures["front_axle"] = measures["front_axle"] + column(cars.axle_front)
    return measures


def place(x: Tensor, y: Tensor, size: int, cars: CarFactors) -> Car:
    """Put the cars into the picture with pixel centres `x` (1, 1, W) and `y` (1, H, 1)."""
    knots = torch.tensor(list(_ROOFLINES.values()), device=cars.index.device)[cars.body]  # (B, 2, 9)
    knots = knots * torch.stack([torch.ones_like(cars.roof), cars.roof * _TALL], dim=1).unsqueeze(2)
    knots[:, 0, 5:7] += cars.nose[:, None]
    turn, facing = column(cars.turn), 1 - 2 * column(cars.facing_left).float()
    depth = torch.where(column(cars.seen_from_rear), -turn, turn)
    length, offset = 2 * column(cars.width) / (1 + turn), column(cars.shift * (1 - cars.width)) * 0.8
    middle, ground = 0.5 + depth / 2, column(cars.ground)
    return Car(
        u=middle + facing * (x - offset) / length,
        h=(ground - y) / length,
        soft=2 / size / length,
        length=length,
        middle=middle,
        offset=offset,
        ground=ground,
        facing=facing,
        depth=depth,
        rise=turn * column(cars.lift),
        knots=knots,
        measures=_measure(cars),
    )
