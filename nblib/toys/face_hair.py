"""Hair: its shape behind and in front of the face, its strands, and the hats that cover it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nblib.toys.drawing import box, ellipse, hsv, smooth_union
from nblib.toys.face_features import rgb
from nblib.toys.face_pose import Sketch

_HAIR = ((0.10, 0.08, 0.08), (0.33, 0.21, 0.13), (0.56, 0.26, 0.12), (0.84, 0.68, 0.42), (0.66, 0.65, 0.64))
_BRIM = -0.27  # height of a hat's lower edge


@dataclass
class Hair:
    """The hair of a batch.

    Attributes
    ----------
    outer, opening : Tensor, float (B, H, W)
        Signed distances to the whole hair and to the part of the face that it leaves free.
    colour : Tensor, float (B, 3, H, W)
        Shaded, with strands.
    base : Tensor, float (B, 3, 1, 1)
    """

    outer: Tensor
    opening: Tensor
    colour: Tensor
    base: Tensor


def hair_tone(s: Sketch) -> Tensor:
    """Return the hair's colour (B, 3, 1, 1)."""
    base = rgb(_HAIR, s.u)[s.f.hair_colour.flatten()].view(-1, 3, 1, 1)
    return base * (1 + 0.22 * s.f.hair_tone.unsqueeze(1))


def hair(s: Sketch) -> Hair:
    """Return the shape and the shading of the hair."""
    f, base = s.f, hair_tone(s)
    lumps = s.blobs("lumps", 12)[:, 0]
    strands = _strands(s, lumps)
    outer, opening = _outer(s, lumps), _opening(s, strands)
    lx, ly, lz = s.light
    round_ = (s.u / 0.85 * lx + (s.v + 0.2) / 0.95 * ly + 0.75 * lz).clamp_(0, 1)
    light = 0.50 + 0.55 * round_ + strands * (0.17 + 0.06 * f.wavy_hair)
    ring = (1 - ((s.v + 0.52 - 0.35 * s.u * s.u + 0.10 * ly) / 0.13) ** 2).clamp_min_(
        0
    )  # smooth hair mirrors the light
    ring = ring * (1 + strands) * round_ * torch.where(f.wavy_hair, 0.35, 1.0)
    salt = (1 - f.young.float()) * (strands * 0.5 + 0.5) * (s.u.abs() * 1.6 - 0.35).clamp(0, 0.55)
    colour = base * light.unsqueeze(1) + (0.09 + 0.18 * base) * ring.unsqueeze(1)
    colour = torch.lerp(colour, rgb((0.62, 0.61, 0.60), s.u) * light.unsqueeze(1), salt.unsqueeze(1))
    return Hair(outer, opening, colour.clamp_(0, 1), base)


def coiled(s: Sketch) -> Tensor:
    """Return whose waves are tight coils, bool (B, 1, 1)."""
    return s.f.wavy_hair & (s.f.melanin > 0.55) & ~s.f.pale_skin


def _strands(s: Sketch, lumps: Tensor) -> Tensor:
    """Return the strands' texture (B, H, W), about -1 to 1: waves across lines that run from the parting downwards."""
    f, phase = s.f, 3.2 * s.numbers("strands", 4)
    across = (s.u - 0.22 * f.parting) / (s.v + 1.1).clamp(0.42, 1.0)
    curl = torch.where(f.wavy_hair, 1.0, 0.0)
    bend = curl * (0.8 * torch.sin(11 * s.v + phase[0] + 3 * across) + 0.3 * lumps) + 0.2 * lumps
    fine = torch.sin(37 * across + phase[1] + 1.7 * bend) + 0.8 * torch.sin(59 * across + phase[2] + 2.2 * bend)
    fine = fine * (0.22 + 0.16 * ((s.v + 0.9) / 0.5).clamp(0, 1))  # finer than a pixel near the parting
    straight = fine + 0.26 * torch.sin(15 * across + phase[3] + 1.2 * bend) + 0.15 * torch.sin(6 * across + phase[0])
    coils = 0.65 * s.blobs("coils", 30)[:, 0] + 0.35 * lumps
    return torch.where(coiled(s), coils, straight)


def _outer(s: Sketch, lumps: Tensor) -> Tensor:
    """Return the distance to all of the hair: a cap that ends at the ears, or one that falls over the shoulders."""
    f, phase = s.f, 3.2 * s.numbers("outline", 2)
    bald, curl = f.bald.float(), f.wavy_hair.float()
    volume = (0.035 + 0.075 * f.hair_volume + 0.06 * curl + 0.07 * coiled(s)) * (1 - bald) * torch.where(
        f.hat, 0.45, 1.0
    ) + 0.02
    wave = curl * 0.03 * torch.sin(10 * s.v + phase[0] + 2 * torch.sign(s.u))
    u = s.u + wave
    tight = torch.where(f.long_hair | f.wavy_hair, 1.0, 0.55)  # short straight hair lies close at the sides
    cap = ellipse(u, s.v + 0.13, 0.575 + tight * volume, 0.665 + volume) + curl * 0.045 * lumps
    side_end = 0.12 + 0.08 * phase[1] / 3.2 + 0.12 * curl
    aside = u.abs()  # short hair ends in sideburns, and higher behind the ears
    short = torch.maximum(cap, 0.75 * (s.v - side_end + 1.5 * (aside - 0.50).clamp_min(0)) + 0.02 * lumps)
    length = 0.55 + 1.0 * f.hair_length
    falls = box(u, s.v - length / 2 + 0.1, 0.55 + volume + 0.06 * s.v, length / 2 + 0.1, 0.22) + curl * 0.03 * lumps
    outer = torch.where(f.long_hair, smooth_union(cap, falls, 0.2), short)
    top = torch.where(f.hat, _BRIM - 0.05, torch.where(f.bald, -0.50, -9.0))
    return torch.maximum(outer, top - s.v)


def _opening(s: Sketch, strands: Tensor) -> Tensor:
    """Return the distance to the free part of the face: a tall round arch cut by the hairline."""
    f, p = s.f, s.p
    high = f.hairline * torch.where(f.feminine, 0.04, 0.07)
    corner = torch.where(f.long_hair, 0.44, torch.where(f.feminine, 0.40, 0.30))
    free = box(p, (s.q - 0.1).clamp_max(0), 0.50 + 0.03 * ~f.long_hair, 0.62 + high, corner)
    part = 0.30 * f.parting
    curve = torch.where(f.long_hair, 0.85, torch.where(f.feminine, 0.5, 0.15 - 0.5 * f.hairline.clamp_min(0)))
    natural = -0.52 - high + curve * (p - part) ** 2
    fringe = -0.215 - 0.02 * f.hair_volume + 0.30 * f.fringe * p + 0.035 * strands - 0.25 * p * p
    line = torch.where(f.bangs, fringe, natural + 0.012 * strands)
    cut = torch.maximum(free, line - s.q)
    bare = ellipse(p, (s.q - 0.1).clamp_max(0) * 0.3, 0.535, 0.6)
    return torch.where(f.bald, bare, cut)


def behind(s: Sketch, h: Hair) -> None:
    """Paint the hair behind neck and shoulders."""
    s.paint(h.outer, h.colour * 0.55, "hair")


def in_front(s: Sketch, h: Hair, face: Tensor) -> None:
    """Paint the hair in front of the face, and its shadow on the skin; `face` is the outline's distance."""
    free = torch.where(s.f.long_hair, h.opening, torch.maximum(h.opening, face))  # short hair lies against the head
    front = torch.maximum(h.outer, -free)
    s.shade(front - 0.02, 0.70, 0.11, 0.9 * (s.shows("skin") | s.shows("brows")))
    s.paint(front, h.colour, "hair")


def hat(s: Sketch) -> None:
    """Draw the hats, each over the hair and with its shadow on the forehead."""
    chosen = torch.nonzero(s.f.hat.flatten()).flatten()
    if not len(chosen):
        return
    part = s.only(chosen)
    part.shade(ellipse(part.p, part.q + 0.30, 0.62, 0.24), 0.60, 0.16)
    for kind, draw in enumerate((_beanie, _cap, _brimmed)):
        draw(part, (part.f.hat_kind == kind).float())
    s.put_back(part, chosen)


def _felt(s: Sketch) -> tuple[Tensor, Tensor]:
    """Return a hat's colour (B, 3, 1, 1) and its light (B, H, W)."""
    value, saturation = s.numbers("hat", 2)
    lx, ly, lz = s.light
    light = 0.55 + 0.55 * (s.u / 0.85 * lx + (s.v + 0.25) / 0.9 * ly + 0.7 * lz).clamp(0, 1)
    return hsv(s.f.hat_hue, 0.42 + 0.4 * saturation, 0.52 + 0.36 * value), light


def _beanie(s: Sketch, on: Tensor) -> None:
    """Draw a knitted cap with a cuff where `on` (B, 1, 1) is 1."""
    colour, light = _felt(s)
    around = torch.asin((s.u / 0.74).clamp(-0.98, 0.98))
    ribs = 1 + 0.12 * torch.sin(34 * around)
    edge = s.v + 0.28 - 0.10 * s.u * s.u
    dome = torch.maximum(ellipse(s.u, s.v + 0.20, 0.66, 0.80), edge)
    s.paint(dome, (colour * (light * ribs).unsqueeze(1)).clamp_(0, 1), "hat", on)
    cuff = torch.maximum((edge + 0.09).abs() - 0.10, s.u.abs() - 0.675)
    s.paint(cuff, (colour * (light * 0.85 * (2 - ribs)).unsqueeze(1)).clamp_(0, 1), "hat", on)
    s.shade((edge + 0.195).abs() - 0.005, 0.7, 0.04, on * s.cover(dome))


def _cap(s: Sketch, on: Tensor) -> None:
    """Draw a cap with a visor and a badge where `on` (B, 1, 1) is 1."""
    colour, light = _felt(s)
    edge = s.v + 0.30 - 0.16 * s.u * s.u
    dome = torch.maximum(ellipse(s.u, s.v + 0.20, 0.65, 0.74), edge)
    seam = 1 - 0.18 * s.cover(s.p.abs() - 0.01)
    s.paint(dome, (colour * (light * seam).unsqueeze(1)).clamp_(0, 1), "hat", on)
    badge = ellipse(s.p, s.q + 0.62, 0.13, 0.10)
    s.paint(badge, (1.15 - colour).clamp(0.2, 0.95), "hat", on * s.cover(dome))
    x = s.u - 0.45 * torch.sin(s.f.yaw)
    visor = ellipse(x, s.v + 0.30 - 0.30 * x * x, 0.56, 0.085)
    slope = (-0.30 - s.v + 0.30 * x * x).clamp(-0.1, 0.06)
    s.paint(visor, (colour * (0.62 * light + 1.6 * slope).unsqueeze(1)).clamp_(0, 1), "hat", on)
    s.shade(torch.maximum((s.v + 0.235 - 0.30 * x * x).abs() - 0.012, x.abs() - 0.47), 0.55, 0.04, on)


def _brimmed(s: Sketch, on: Tensor) -> None:
    """Draw a hat with a band and a wide brim where `on` (B, 1, 1) is 1."""
    colour, light = _felt(s)
    straw = 1 + 0.06 * torch.sin(70 * s.u + 25 * s.v) * torch.sin(70 * s.v)
    crown = torch.maximum(box(s.u, s.v + 0.75, 0.53 + 0.1 * (s.v + 0.6), 0.46, 0.14), s.v + 0.30)
    s.paint(crown, (colour * (light * straw).unsqueeze(1)).clamp_(0, 1), "hat", on)
    band = torch.maximum((s.v + 0.45 - 0.06 * s.u * s.u).abs() - 0.075, crown)
    s.paint(band, colour * 0.30, "hat", on)
    brim = ellipse(s.u, s.v + 0.325 + 0.10 * s.u * s.u, 0.98, 0.095)
    under = ((s.v + 0.30 + 0.10 * s.u * s.u) / 0.06).clamp(0, 1)
    s.paint(brim, (colour * (light * straw * (1.05 - 0.55 * under)).unsqueeze(1)).clamp_(0, 1), "hat", on)
