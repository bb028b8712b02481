"""What makes each toy face: its factors, the attributes that can be read off them, and how to flip one.

Every factor is a hash of (seed, index, name). An attribute says what can be *seen*: a fringe under a hat is no fringe,
so factors that hide each other are never on together, neither when drawn nor after `flip`.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nblib.toys import hashing

HAIR_COLOURS = ("Black_Hair", "Brown_Hair", "Red_Hair", "Blond_Hair", "Gray_Hair")
ATTRIBUTES = (
    "Smiling",  # the corners of the mouth are raised, the cheeks full
    "Mouth_Open",  # teeth and the dark of the mouth show
    "Eyeglasses",  # any glasses
    "Sunglasses",  # tinted glasses, a kind of eyeglasses
    "Hat",
    "Beard",  # hair on the chin: full, goatee or stubble
    "Mustache",
    "Bangs",  # hair falls over the forehead
    "Bald",  # hair at the sides only
    *HAIR_COLOURS,  # exactly one is true
    "Wavy_Hair",
    "Long_Hair",  # hair beside and behind the neck
    "Young",  # no wrinkles, no bags under the eyes, no grey temples
    "Pale_Skin",
    "Lipstick",
)
_FIELDS = {name: name.lower() for name in ATTRIBUTES if name not in HAIR_COLOURS}
# What cannot be seen together: turning the first on turns the others off.
_HIDES = {
    "Hat": ("Bangs", "Bald"),
    "Bangs": ("Hat", "Bald"),
    "Bald": ("Hat", "Bangs", "Wavy_Hair", "Long_Hair"),
    "Wavy_Hair": ("Bald",),
    "Long_Hair": ("Bald",),
}

# Continuous factors: name -> (low, high); all uniform but the pose, which is normal and cut at two deviations.
_POSE = {
    "yaw": (0.0, 0.2),  # radians, positive to the right of the picture
    "pitch": (0.0, 0.05),  # how far the features move down, per unit of depth
    "roll": (0.0, 0.065),  # radians
    "scale": (1.0, 0.03),  # 1: the eyes are 19 pixels apart at 64x64
    "shift_x": (0.0, 0.03),  # in halves of the picture
    "shift_y": (-0.035, 0.018),
}
_UNIFORM = {
    "light_x": (-0.75, 0.75),
    "light_y": (-0.65, 0.15),
    "contrast": (0.45, 1.0),  # how dark the shaded side is
    "warmth": (-0.5, 1.0),  # of the light, blue to orange
    "exposure": (0.84, 1.02),
    "melanin": (0.0, 1.0),  # skin tone, light to dark
    "skin_hue": (-1.0, 1.0),  # olive to rosy
    "face_width": (-1.0, 1.0),
    "jaw": (-1.0, 1.0),
    "chin": (-1.0, 1.0),
    "gaze": (-1.0, 1.0),
    "eye_opening": (-1.0, 1.0),
    "eye_slant": (-1.0, 1.0),
    "eye_size": (-1.0, 1.0),
    "brow_height": (-1.0, 1.0),
    "brow_weight": (-1.0, 1.0),
    "brow_arch": (-1.0, 1.0),
    "nose_length": (-1.0, 1.0),
    "nose_width": (-1.0, 1.0),
    "mouth_width": (-1.0, 1.0),
    "lip_fullness": (-1.0, 1.0),
    "lip_hue": (-1.0, 1.0),
    "smile_strength": (0.7, 1.2),
    "mouth_opening": (0.7, 1.3),
    "hair_tone": (-1.0, 1.0),  # darker to lighter within its colour
    "hair_volume": (0.0, 1.0),
    "hairline": (-1.0, 1.0),  # low to high
    "parting": (-1.0, 1.0),
    "hair_length": (0.0, 1.0),
    "fringe": (-1.0, 1.0),  # swept to the left ... to the right
    "beard_length": (0.0, 1.0),
    "cloth_hue": (0.0, 1.0),
    "hat_hue": (0.0, 1.0),
    "frame_tone": (0.0, 1.0),
}
_KINDS = {
    "beard_kind": [0.4, 0.25, 0.35],  # full, goatee, stubble
    "eye_colour": [0.5, 0.2, 0.12, 0.18],  # brown, blue, green, hazel
    "glasses_kind": [0.4, 0.35, 0.25],  # rectangular, round, wide at the top
    "hat_kind": [0.35, 0.35, 0.3],  # beanie, cap, brimmed
    "cloth_kind": [0.28, 0.22, 0.25, 0.25],  # crew neck, V-neck, shirt collar, jacket over a shirt
    "background_kind": [0.25, 0.22, 0.17, 0.18, 0.18],  # blurred shapes, studio, discs of light, panels, outdoors
}


@dataclass(frozen=True)
class FaceFactors:
    """All that decides how N faces look; each field but `seed` is a tensor (N,).

    Bool fields bear the names of `ATTRIBUTES` in lower case. `hair_colour` indexes `HAIR_COLOURS`; `*_kind` and
    `eye_colour` are class numbers; the others are floats in the ranges given beside their names in this module.
    `feminine` makes hair, brows, jaw, beard and make-up vary together; it is no attribute, as nothing shows it alone.
    `seed` and `index` also decide what has no name: textures, the shapes behind the face, camera noise.
    """

    seed: int
    index: Tensor
    feminine: Tensor
    smiling: Tensor
    mouth_open: Tensor
    eyeglasses: Tensor
    sunglasses: Tensor
    hat: Tensor
    beard: Tensor
    mustache: Tensor
    bangs: Tensor
    bald: Tensor
    wavy_hair: Tensor
    long_hair: Tensor
    young: Tensor
    pale_skin: Tensor
    lipstick: Tensor
    hair_colour: Tensor
    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    scale: Tensor
    shift_x: Tensor
    shift_y: Tensor
    light_x: Tensor
    light_y: Tensor
    contrast: Tensor
    warmth: Tensor
    exposure: Tensor
    melanin: Tensor
    skin_hue: Tensor
    face_width: Tensor
    jaw: Tensor
    chin: Tensor
    gaze: Tensor
    eye_opening: Tensor
    eye_slant: Tensor
    eye_size: Tensor
    brow_height: Tensor
    brow_weight: Tensor
    brow_arch: Tensor
    nose_length: Tensor
    nose_width: Tensor
    mouth_width: Tensor
    lip_fullness: Tensor
    lip_hue: Tensor
    smile_strength: Tensor
    mouth_opening: Tensor
    hair_tone: Tensor
    hair_volume: Tensor
    hairline: Tensor
    parting: Tensor
    hair_length: Tensor
    fringe: Tensor
    beard_length: Tensor
    cloth_hue: Tensor
    hat_hue: Tensor
    frame_tone: Tensor
    beard_kind: Tensor
    eye_colour: Tensor
    glasses_kind: Tensor
    hat_kind: Tensor
    cloth_kind: Tensor
    background_kind: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Tensor) -> "FaceFactors":
        """Return the factors of some of the faces."""
        return self._map(lambda values: values[rows])

    def planes(self) -> "FaceFactors":
        """Return the factors shaped (N, 1, 1), to compute with planes (N, H, W)."""
        return self._map(lambda values: values.view(-1, 1, 1))

    def _map(self, function: Callable[[Tensor], Tensor]) -> "FaceFactors":
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "seed"}
        return FaceFactors(self.seed, **{name: function(value) for name, value in values.items()})


def factors(seed: int, indices: Tensor) -> FaceFactors:
    """Return the factors of the faces `indices` (N,) of `seed`, on the device of `indices`.

    Parameters
    ----------
    seed : int
        In [0, 2**32).
    indices : Tensor, int64 (N,)
        Which faces; face i is the same in any batch.

    Raises
    ------
    ValueError
        If `indices` is not an int64 vector or `seed` is out of range.

    Examples
    --------
    >>> two, ten = factors(0, torch.tensor([4, 7])), factors(0, torch.arange(10))
    >>> torch.equal(two.yaw, ten.yaw[[4, 7]])
    True
    """
    if indices.ndim != 1 or indices.dtype != torch.int64:
        raise ValueError(
            f"indices: {indices.dtype} {tuple(indices.shape)}; give a vector of int64, e.g. torch.arange(8)"
        )
    values = {name: hashing.uniform(seed, indices, name, *span) for name, span in _UNIFORM.items()}
    for name, (mean, deviation) in _POSE.items():
        values[name] = mean + deviation * hashing.normal(seed, indices, name).clamp(-2, 2)
    values |= {name: hashing.choice(seed, indices, name, weights) for name, weights in _KINDS.items()}
    values |= _flags(seed, indices)
    values["melanin"] = values["melanin"] ** 1.25  # more light than dark
    values["eye_colour"] = values["eye_colour"] * ((values["melanin"] < 0.5) | values["pale_skin"])  # else brown
    values["hair_colour"] = _hair_colour(seed, indices, values)
    return FaceFactors(seed, indices, **values)


def _flags(seed: int, indices: Tensor) -> dict[str, Tensor]:
    """Return the bool factors, each drawn with the chance that the earlier ones leave it."""
    flags = {}

    def draw(name: str, chance: Tensor | float) -> Tensor:
        flags[name] = hashing.uniform(seed, indices, name) < chance
        return flags[name]

    feminine, young, smiling = draw("feminine", 0.5), draw("young", 0.74), draw("smiling", 0.5)
    draw("mouth_open", torch.where(smiling, 0.6, 0.25))
    flags["sunglasses"] = draw("eyeglasses", 0.2) & (hashing.uniform(seed, indices, "tinted") < 0.3)
    hat = draw("hat", 0.12)
    bald = draw("bald", torch.where(feminine | hat, 0.0, torch.where(young, 0.08, 0.35)))
    draw("mustache", torch.where(feminine, 0.0, torch.where(draw("beard", torch.where(feminine, 0.0, 0.42)), 0.8, 0.1)))
    draw("bangs", torch.where(hat | bald, 0.0, torch.where(feminine, 0.38, 0.25)))
    draw("long_hair", torch.where(bald, 0.0, torch.where(feminine, 0.8, 0.07)))
    draw("wavy_hair", torch.where(bald, 0.0, 0.35))
    draw("pale_skin", 0.14)
    draw("lipstick", torch.where(feminine, 0.55, 0.0))
    return flags


def _hair_colour(seed: int, indices: Tensor, values: dict[str, Tensor]) -> Tensor:
    """Return indices into `HAIR_COLOURS`: dark skin rarely has light hair, and hair turns grey with age."""
    dark = hashing.choice(seed, indices, "hair/dark", [0.84, 0.12, 0.02, 0.02])
    light = hashing.choice(seed, indices, "hair/light", [0.18, 0.38, 0.12, 0.32])
    colour = torch.where((values["melanin"] > 0.5) & ~values["pale_skin"], dark, light)
    grey = hashing.uniform(seed, indices, "hair/grey") < torch.where(values["young"], 0.01, 0.5)
    return torch.where(grey, HAIR_COLOURS.index("Gray_Hair"), colour)


def attributes(factors: FaceFactors) -> Tensor:
    """Return which of `ATTRIBUTES` each face has, bool (N, A)."""
    columns = [
        factors.hair_colour == HAIR_COLOURS.index(name) if name in HAIR_COLOURS else getattr(factors, _FIELDS[name])
        for name in ATTRIBUTES
    ]
    return torch.stack(columns, dim=1)


def flip(factors: FaceFactors, attribute: str) -> FaceFactors:
    """Return the same faces with one attribute turned to its opposite and all else equal.

    What excludes the attribute by definition changes with it: a hat, a bald head and bangs hide one another; a bald
    head is neither wavy nor long; sunglasses are eyeglasses; one hair colour replaces another (switched off, brown
    turns black and any other colour brown).

    Parameters
    ----------
    factors : FaceFactors
    attribute : str
        One of `ATTRIBUTES`.

    Raises
    ------
    ValueError
        If `attribute` is not one of `ATTRIBUTES`.

    Examples
    --------
    >>> faces = factors(0, torch.arange(4))
    >>> torch.equal(flip(faces, "Smiling").smiling, ~faces.smiling)
    True
    """
    if attribute not in ATTRIBUTES:
        raise ValueError(f"attribute={attribute!r}: choose one of {', '.join(ATTRIBUTES)}")
    if attribute in HAIR_COLOURS:
        colour = HAIR_COLOURS.index(attribute)
        other = HAIR_COLOURS.index("Black_Hair" if attribute == "Brown_Hair" else "Brown_Hair")
        return dataclasses.replace(factors, hair_colour=torch.where(factors.hair_colour == colour, other, colour))
    turned_on = ~getattr(factors, _FIELDS[attribute])
    changes = {_FIELDS[name]: getattr(factors, _FIELDS[name]) & ~turned_on for name in _HIDES.get(attribute, ())}
    if attribute == "Sunglasses":
        changes["eyeglasses"] = factors.eyeglasses | turned_on
    if attribute == "Eyeglasses":
        changes["sunglasses"] = torch.zeros_like(factors.sunglasses)  # off: none are left; on: clear ones
    return dataclasses.replace(factors, **changes, **{_FIELDS[attribute]: turned_on})
