"""What a toy car is made of: every choice and measure behind a picture, drawn from an integer hash.

A picture is a function of its factors, so an attribute can be changed with all else equal: that is the ground truth
for controllable inpainting.
"""

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Annotated

import torch
from torch import Tensor

from nblib.toys.hashing import choice, uniform

BODIES = ("sedan", "hatchback", "coupe", "estate", "suv", "van", "pickup", "beetle")
COLOURS = ("black", "white", "silver", "red", "orange", "yellow", "green", "blue", "purple")
RIMS = ("three-spoke", "five-spoke", "twin-five", "six-spoke", "eight-spoke", "ten-spoke", "mesh", "turbine", "steel")
SCENES = ("hills", "city", "forest", "wall", "coast", "desert")
SKIES = ("clear", "cloudy", "overcast", "sunset")
GROUPS = {"body": BODIES, "colour": COLOURS, "rim": RIMS, "scene": SCENES, "sky": SKIES}

_SHARES = {"sky": [3.0, 3.0, 1.5, 2.0]}  # how often the values of a group are drawn, where not equally

# Yes-or-no attributes and how often they are true.
SWITCHES = {
    "Facing_Left": 0.5,
    "Seen_From_Rear": 0.35,
    "Lights_On": 0.3,
    "Tinted_Windows": 0.3,
    "Two_Tone": 0.22,
    "Driver": 0.5,
    "Roof_Rack": 0.2,
    "Side_Stripe": 0.15,
}


class Part(IntEnum):
    """What a pixel shows: the values of the parsing."""

    BACKGROUND = 0
    ROAD = 1
    BODY = 2
    WINDOW = 3
    TYRE = 4
    RIM = 5
    LAMP = 6
    SCENERY = 7


ATTRIBUTES = tuple(f"{group}={value}" for group, values in GROUPS.items() for value in values) + tuple(SWITCHES)


@dataclass(frozen=True)
class CarFactors:
    """The factors of N cars.

    Attributes
    ----------
    seed : int
        Seed of the set.
    index : Tensor, int64 (N,)
        Sample numbers; with the seed, they address the camera noise and the clouds.
    body, colour, rim, scene, sky : Tensor, int64 (N,)
        Positions in `BODIES`, `COLOURS`, `RIMS`, `SCENES` and `SKIES`.
    facing_left, ..., side_stripe : Tensor, bool (N,)
        The switches, in lower case.
    width, ..., grain : Tensor, float32 (N,)
        Measures, uniform between the two annotated numbers: lengths along the car in car lengths, places in the
        picture in half pictures, the rest in [0, 1) or [-1, 1).
    """

    seed: int
    index: Tensor
    body: Tensor
    colour: Tensor
    rim: Tensor
    scene: Tensor
    sky: Tensor
    facing_left: Tensor
    seen_from_rear: Tensor
    lights_on: Tensor
    tinted_windows: Tensor
    two_tone: Tensor
    driver: Tensor
    roof_rack: Tensor
    side_stripe: Tensor
    width: Annotated[Tensor, 0.78, 0.90]  # share of the picture's width that the car takes
    shift: Annotated[Tensor, -1.0, 1.0]  # of the room that is left beside it
    ground: Annotated[Tensor, 0.60, 0.74]  # where the near wheels stand
    turn: Annotated[Tensor, 0.07, 0.20]  # width of the end that is turned towards us
    lift: Annotated[Tensor, 0.20, 0.42]  # how far we look down on the car, as a share of `turn`
    roof: Annotated[Tensor, 0.94, 1.07]
    nose: Annotated[Tensor, -0.02, 0.02]
    wheel: Annotated[Tensor, 0.95, 1.05]
    axle_rear: Annotated[Tensor, -0.012, 0.012]
    axle_front: Annotated[Tensor, -0.012, 0.012]
    sidewall: Annotated[Tensor, 0.68, 0.76]  # radius of the rim over that of the tyre
    angle_rear: Annotated[Tensor, 0.0, 1.0]  # of a full turn
    angle_front: Annotated[Tensor, 0.0, 1.0]
    finish: Annotated[Tensor, 0.0, 1.0]  # colour of the rims
    caliper: Annotated[Tensor, 0.0, 1.0]
    shade: Annotated[Tensor, 0.0, 1.0]  # from the dark to the light end of a paint
    hue: Annotated[Tensor, -1.0, 1.0]
    gloss: Annotated[Tensor, 0.5, 1.0]
    crease: Annotated[Tensor, 0.50, 0.72]  # height of the character line between sill and belt
    cladding: Annotated[Tensor, 0.0, 1.0]  # dark plastic around the arches if large
    lamp: Annotated[Tensor, 0.0, 1.0]  # from round to slit
    grille: Annotated[Tensor, 0.0, 1.0]
    skin: Annotated[Tensor, 0.0, 1.0]  # of the driver
    roof_colour: Annotated[Tensor, 0.0, 1.0]
    sun: Annotated[Tensor, -1.0, 1.0]  # where the light comes from: left to right
    horizon: Annotated[Tensor, -0.02, 0.14]
    kerb: Annotated[Tensor, 0.24, 0.36]
    marking: Annotated[Tensor, 0.0, 1.0]
    asphalt: Annotated[Tensor, 0.0, 1.0]
    scenery: Annotated[Tensor, 0.0, 1.0]  # colour of the scenery
    post: Annotated[Tensor, 0.0, 1.0]  # what stands on the pavement
    post_place: Annotated[Tensor, -0.8, 0.8]
    relief: Annotated[Tensor, 0.0, 1.0]  # its height
    grain: Annotated[Tensor, 0.003, 0.010]  # camera noise


def factors(seed: int, indices: Tensor) -> CarFactors:
    """Draw the factors of the cars `indices` of the set `seed`.

    Parameters
    ----------
    seed : int
        Any integer in [0, 2**32).
    indices : Tensor, int64 (N,)
        Sample numbers; the factors lie on their device.

    Examples
    --------
    >>> cars = factors(0, torch.arange(4))
    >>> BODIES[int(factors(0, torch.tensor([3])).body)] == BODIES[int(cars.body[3])]
    True
    """
    drawn = {
        group: choice(seed, indices, group, _SHARES.get(group, [1.0] * len(values))) for group, values in GROUPS.items()
    }
    for name, share in SWITCHES.items():
        drawn[name.lower()] = uniform(seed, indices, name) < share
    for each in fields(CarFactors):
        if hasattr(each.type, "__metadata__"):
            low, high = each.type.__metadata__
            drawn[each.name] = uniform(seed, indices, each.name, low, high)
    return CarFactors(seed, indices, **drawn)


def take(cars: CarFactors, chosen: slice) -> CarFactors:
    """Return the factors of some of the cars."""
    return replace(
        cars, **{each.name: getattr(cars, each.name)[chosen] for each in fields(cars) if each.name != "seed"}
    )


def flip(cars: CarFactors, attribute: str) -> CarFactors:
    """Return the same cars with one attribute changed: `group=value` is set, a yes-or-no attribute is negated.

    Raises
    ------
    ValueError
        If `attribute` is not one of `ATTRIBUTES`.

    Examples
    --------
    >>> red = flip(factors(0, torch.arange(2)), "colour=red")
    >>> [COLOURS[i] for i in red.colour]
    ['red', 'red']
    """
    if attribute not in ATTRIBUTES:
        raise ValueError(f"attribute={attribute!r} is not one of {', '.join(ATTRIBUTES)}")
    if attribute in SWITCHES:
        return replace(cars, **{attribute.lower(): ~getattr(cars, attribute.lower())})
    group, value = attribute.split("=")
    return replace(cars, **{group: torch.full_like(getattr(cars, group), GROUPS[group].index(value))})


def attributes(cars: CarFactors) -> Tensor:
    """Return the attributes, bool (N, A), in the order of `ATTRIBUTES`: each group one-hot, then the switches."""
    groups = [
        getattr(cars, group)[:, None] == torch.arange(len(values), device=cars.index.device)
        for group, values in GROUPS.items()
    ]
    switches = torch.stack([getattr(cars, name.lower()) for name in SWITCHES], dim=1)
    return torch.cat([*groups, switches], dim=1)  # (N, A)
