"""The face itself: skin shaded from the light, ears, eyes, brows, nose, mouth and beard.

Distances are in the head's unit (1 is 32 pixels at 64x64). Left and right features are drawn at once, over |p|.
"""

import torch
from torch import Tensor

from nblib.toys.drawing import ellipse, hsv, segment, smooth_union
from nblib.toys.face_factors import FaceFactors
from nblib.toys.face_pose import EYE_X, MOUTH_Q, NOSE_Q, Sketch, nose_shift

_SKIN = (
    (0.96, 0.80, 0.69),
    (0.94, 0.77, 0.65),
    (0.88, 0.67, 0.53),
    (0.76, 0.54, 0.39),
    (0.58, 0.39, 0.27),
    (0.42, 0.27, 0.19),
)
_PALE = (0.955, 0.86, 0.815)
_IRIS = ((0.30, 0.17, 0.09), (0.30, 0.50, 0.72), (0.30, 0.48, 0.30), (0.45, 0.32, 0.14))


def rgb(values: tuple, like: Tensor) -> Tensor:
    """Return a colour (1, 3, 1, 1), or a table of K colours (K, 3), on the device of `like`."""
    table = torch.tensor(values, device=like.device)
    return table.view(1, 3, 1, 1) if table.ndim == 1 else table


def skin_tone(s: Sketch) -> Tensor:
    """Return the colour of lit skin, (B, 3, 1, 1)."""
    table = rgb(_SKIN, s.u)
    place = s.f.melanin.flatten() * (len(table) - 1.001)
    low = place.long()
    tone = torch.lerp(table[low], table[low + 1], (place - low).unsqueeze(1)).view(-1, 3, 1, 1)
    tone = torch.where(s.f.pale_skin.unsqueeze(1), rgb(_PALE, s.u), tone)
    return tone * (1 + s.f.skin_hue.unsqueeze(1) * rgb((0.02, -0.02, -0.035), s.u))


def outline(s: Sketch) -> Tensor:
    """Return the signed distance (B, H, W) to the face: a skull, and a jaw that follows the turn of the head."""
    f, width = s.f, 0.555 + 0.025 * s.f.face_width + torch.where(s.f.feminine, -0.01, 0.01)
    skull = ellipse(s.u, s.v + 0.10, width, 0.66)
    ahead = s.u - 0.42 * torch.sin(f.yaw) * s.v.clamp_min(0)
    jaw = 0.405 + 0.04 * f.jaw + torch.where(f.feminine, -0.02, 0.03)
    return smooth_union(skull, ellipse(ahead, s.v - 0.36, jaw, 0.51 + 0.03 * f.chin), 0.35)


def illumination(s: Sketch) -> tuple[Tensor, Tensor]:
    """Return how much light the skin gets and its gloss, each (B, H, W) in [0, 1].

    The head is a ball with bumps; each bump tilts the normal along its slope.
    """
    nx, ny = s.u / 0.72, s.v / 1.05
    right = torch.sign(s.p)
    young = torch.where(s.f.young, 0.0, 1.0)
    smiling = s.f.smiling * s.f.smile_strength

    def bump(
        x: Tensor, y: Tensor, radius_x: float, radius_y: float, height: float | Tensor, side: Tensor | float = 1.0
    ):
        x, y = x / radius_x, y / radius_y
        slope = (1 - x * x - y * y).clamp_min_(0) ** 2 * (1.6 * height)
        nx.add_(x * slope * side)
        ny.add_(y * slope)

    nose, aside = s.p - nose_shift(s.f), s.p.abs()
    bump(nose, s.q - 0.10, 0.10, 0.34, 1.6)
    bump(nose, s.q - NOSE_Q + 0.03, 0.13, 0.11, 1.9)
    bump(nose.abs() - 0.09, s.q - NOSE_Q, 0.06, 0.07, 1.1, torch.sign(nose))
    bump(aside - 0.28, s.q - 0.01, 0.20, 0.15, -1.0 - 0.3 * young, right)
    bump(aside - 0.30, s.q + 0.20, 0.22, 0.08, 0.5, right)
    bump(aside - 0.33, s.q - 0.30, 0.22, 0.18, 0.5 + 0.8 * smiling, right)
    bump(s.p, s.q - 0.79, 0.17, 0.11, 0.9)
    bump(s.p, s.q - MOUTH_Q - 0.115, 0.17, 0.05, -0.8)
    lx, ly, lz = s.light
    facing = nx * lx + ny * ly + s.depth * lz
    lit = (0.14 + 0.86 * facing).clamp_(0, 1)
    half_z = torch.sqrt((1 + lz) / 2)  # towards the mirror direction: half way from the light to the camera
    gloss = (nx * lx / (2 * half_z) + ny * ly / (2 * half_z) + s.depth * half_z).clamp_(0, 1) ** 12
    return lit, gloss


def skin(s: Sketch) -> Tensor:
    """Return the shaded skin, (B, 3, H, W): shadows turn red and dark, the gloss is the light's."""
    lit, gloss = illumination(s)
    shadow = 1 - s.f.contrast.unsqueeze(1) * rgb((0.48, 0.62, 0.68), s.u)
    tone = skin_tone(s)
    colour = tone * (shadow + (1 - shadow) * lit.unsqueeze(1))
    return colour.add_((gloss * (0.07 + 0.10 * s.f.melanin)).unsqueeze(1)).clamp_(0, 1)


def head(s: Sketch, face: Tensor, colour: Tensor) -> None:
    """Paint ears and face; `face` is the outline's distance, `colour` the shaded skin."""
    turn = torch.sin(s.f.yaw)
    for side in (-1, 1):
        x = s.u - side * (0.59 + 0.025 * s.f.face_width - 0.12 * (side * turn).clamp_min(0))
        ear = ellipse(x + 0.12 * side * (s.v - 0.05), s.v - 0.06, 0.085, 0.165)
        s.paint(ear, colour * 0.9, "skin")
        s.shade(ellipse(x - side * 0.005, s.v - 0.05, 0.045, 0.10), 0.72, 0.05)
    s.paint(face, colour, "skin")
    rosy = rgb((1.04, 0.86, 0.86), s.u)
    cheeks = ellipse(s.p.abs() - 0.34, s.q - 0.28, 0.13, 0.11)
    s.shade(cheeks, rosy, 0.22, torch.where(s.f.feminine, 0.8, 0.45))
    s.shade(-face - 0.03, 0.88, 0.12, s.cover(face))  # the face turns away at its rim


def age(s: Sketch) -> None:
    """Draw the lines that come with age."""
    chosen = torch.nonzero(~s.f.young.flatten()).flatten()
    if not len(chosen):
        return
    old = s.only(chosen)
    p, q = old.p, old.q
    lines = torch.cos((q + 0.12 * p * p + 0.01 * torch.cos(14 * p)) * 58).clamp_min_(0) ** 2
    old.shade(ellipse(p, q + 0.37, 0.34, 0.15), 0.84, 0.15, lines)
    aside = p.abs()
    old.shade(
        (ellipse(aside - 0.28, q - 0.06, 0.14, 0.085).abs() - 0.002) * torch.where(q > 0.07, 1.0, 9.0), 0.80, 0.05
    )
    old.shade(segment(aside, q, *_points(p, 0.115, 0.34, 0.235, 0.62)) - 0.005, 0.68, 0.06)
    old.shade(segment(aside, q, *_points(p, 0.45, 0.0, 0.52, 0.07)) - 0.002, 0.76, 0.05)
    old.shade(segment(aside, q, *_points(p, 0.04, -0.2, 0.045, -0.1)) - 0.002, 0.76, 0.05)
    s.put_back(old, chosen)


def _points(like: Tensor, *values: float) -> tuple[Tensor, ...]:
    """Return the ends of a segment on the device of `like`."""
    return tuple(torch.tensor(value, device=like.device) for value in values)


def eyes(s: Sketch) -> None:
    """Draw both eyes: lids, white, iris with a dark rim, pupil, catchlight, lashes."""
    f, m = s.f, s.p.abs() - EYE_X
    feminine = f.feminine.float()
    half = 0.132 * (1 + 0.07 * f.eye_size + 0.05 * feminine)
    opening = 0.060 * (1 + 0.22 * f.eye_opening + 0.12 * feminine)
    along = ((m / half) ** 2).clamp_max(4)
    tilt = s.q + (0.05 + 0.10 * f.eye_slant) * m
    upper = -opening * (1 - along) * (1.12 - 0.12 * along)
    lower = 0.72 * opening * (1 - along)
    inside = torch.maximum(upper - tilt, tilt - lower)
    shadow = ellipse(m, s.q + 0.055, half * 1.1, 0.065)
    s.shade(shadow, rgb((0.62, 0.5, 0.5), s.u), 0.09, 0.55 * f.lipstick + 0.15 * feminine)
    crease = (tilt - upper + 0.042).abs() - 0.004
    s.shade(torch.maximum(crease, m.abs() - half), 0.66, 0.045)
    s.paint(inside, rgb((0.93, 0.92, 0.91), s.u) * (0.72 + 0.28 * s.depth.unsqueeze(1)), "eyes")
    _iris(s, m, tilt, s.cover(inside))
    s.canvas.shade(s.cover(inside) * ((upper + 0.045 - tilt) / 0.05).clamp_(0, 1), 0.55)  # the lid's shadow
    _glint(s, m, tilt)
    wing = half * (1.0 + 0.10 * feminine)
    lash = torch.maximum((tilt - upper).abs() - 0.010 - 0.010 * feminine, m.abs() - wing)
    s.paint(lash, rgb((0.10, 0.06, 0.05), s.u), opacity=0.62 + 0.30 * feminine)
    s.shade(torch.maximum((tilt - lower).abs() - 0.004, m.abs() - half), 0.62, 0.03, 0.75)


def _iris(s: Sketch, m: Tensor, tilt: Tensor, white: Tensor) -> None:
    """Paint iris and pupil where `white` (B, H, W) is open; (m, tilt) are the eye's own coordinates."""
    look = m - torch.sign(s.p) * 0.028 * s.f.gaze
    radius = torch.sqrt(look * look + (tilt + 0.008) ** 2)
    iris = rgb(_IRIS, s.u)[s.f.eye_colour.flatten()].view(-1, 3, 1, 1)
    s.paint(radius - 0.068, iris * 0.45, opacity=white)
    s.paint(radius - 0.050, iris * (1.15 + 4 * tilt.clamp(-0.08, 0.08)).unsqueeze(1), opacity=white)
    s.paint(radius - 0.029, iris * 0.08, opacity=white)


def _glint(s: Sketch, m: Tensor, tilt: Tensor) -> None:
    """Paint the light's mirror image, on the same side of both eyes."""
    x = torch.sign(s.p) * m - 0.028 * s.f.gaze - 0.022 * torch.sign(s.f.light_x)
    s.paint(torch.sqrt(x * x + (tilt + 0.03) ** 2) - 0.014, rgb((1.0, 1.0, 1.0), s.u), opacity=0.95)


def brows(s: Sketch, hair: Tensor) -> None:
    """Draw the brows in a darker shade of the hair's colour (B, 3, 1, 1)."""
    f, m = s.f, s.p.abs() - EYE_X
    male = 1 - f.feminine.float()
    line = (
        -0.180 - 0.022 * f.brow_height + 0.012 * male - (0.022 + 0.018 * f.brow_arch) * (1 - ((m - 0.03) / 0.15) ** 2)
    )
    thick = (0.021 + 0.008 * f.brow_weight + 0.009 * male) * (1 - 0.75 * ((m + 0.05) / 0.24).clamp(0, 1))
    shape = torch.maximum((s.q - line).abs() - thick, (m - 0.005).abs() - 0.165)
    strands = 0.92 + 0.08 * torch.sin(60 * m + 50 * s.q)
    s.paint(shape, (hair * 0.45 + rgb((0.13, 0.08, 0.055), s.u)).clamp(0.05, 0.55), "brows", opacity=strands * 0.88)


def nose(s: Sketch) -> None:
    """Draw nostrils and wings; the bridge and the tip are in the skin's shading."""
    f, x = s.f, s.p - nose_shift(s.f)
    base, width = NOSE_Q + 0.018 * f.nose_length, 1 + 0.16 * f.nose_width + torch.where(f.feminine, -0.08, 0.06)
    aside, q = x.abs() / width, s.q - base
    spread = 0.05 + 0.075 * ((q + 0.16) / 0.16).clamp(0, 1)
    s.mark(torch.maximum(aside - spread, (q + 0.14).abs() - 0.18), "nose")
    s.shade(ellipse(x + 0.035 * f.light_x, q - 0.055, 0.11 * width, 0.022), 0.72, 0.06)
    s.shade(ellipse(aside - 0.122, q + 0.005, 0.014, 0.05), 0.72, 0.06)
    s.shade(ellipse(aside - 0.052, q - 0.018 + 0.1 * (aside - 0.05), 0.034, 0.015), 0.30, 0.035)
    far = -torch.sign(f.light_x)  # the side of the bridge that faces away from the light
    s.shade(ellipse(x - far * 0.075, s.q - 0.12, 0.03, 0.22), 0.84, 0.07, f.light_x.abs() * f.contrast)


def mouth_corner(f: FaceFactors) -> tuple[Tensor, Tensor]:
    """Return how far the corners are from the middle of the mouth: aside, and downwards."""
    smile, opened = f.smiling * f.smile_strength, f.mouth_open.float()
    half = 0.178 + 0.014 * f.mouth_width + 0.046 * smile - 0.02 * opened * ~f.smiling
    return half, -0.063 * smile + 0.003 * ~f.smiling


def mouth(s: Sketch, tone: Tensor) -> None:
    """Draw lips, and teeth and tongue where the mouth is open; `tone` is the colour of lit skin."""
    f, smile, opened = s.f, s.f.smiling * s.f.smile_strength, s.f.mouth_open.float()
    x = s.p - 0.3 * nose_shift(f)
    half, lift = mouth_corner(f)
    along = ((x / half) ** 2).clamp_max(2.5)
    bell = 1 - along
    sag = 0.022 * smile  # a smile pulls the middle down as it lifts the corners
    line = s.q - MOUTH_Q - sag - (lift - sag) * along
    gap = opened * f.mouth_opening * (0.085 + 0.015 * smile)
    top, bottom = -0.30 * gap * bell, 0.75 * gap * bell * (1 + 0.25 * along)
    full = 1 + 0.22 * f.lip_fullness + torch.where(f.feminine, 0.12, -0.12) + torch.where(f.young, 0.0, -0.15)
    bow = 1 - 0.30 * (1 - (x / 0.05) ** 2).clamp_min(0)
    thin = 1 - 0.25 * f.smiling.float()
    lips = torch.maximum(top - 0.048 * full * thin * bell * bow - line, line - bottom - 0.062 * full * thin * bell)
    s.shade(ellipse(x, line - bottom - 0.10 * full, half * 0.6, 0.02), 0.80, 0.07)
    colour = _lip_colour(s, tone)
    lower = ((line - bottom) / 0.03).clamp(-1, 1)
    body = 0.92 + (0.14 - 0.1 * s.light[1]) * lower
    s.paint(lips, (colour * body.unsqueeze(1)).clamp_(0, 1), "mouth")
    wet = ellipse(x - 0.05 * torch.sign(f.light_x), line - bottom - 0.028 * full, half * 0.30, 0.010)
    s.shade(wet, 1.35, 0.03, s.cover(lips) * (0.35 + 0.45 * f.lipstick))
    _inside(s, line, top, bottom, bell, x)
    s.shade(torch.maximum((line - 0.001).abs() - 0.007, x.abs() - half), 0.32, 0.03, (1 - opened) * 0.95)
    corner = ellipse(x.abs() - half, s.q - MOUTH_Q - lift, 0.02, 0.018)
    s.shade(corner, torch.where(f.smiling, 0.55, 0.75).unsqueeze(1), 0.05)
    fold = segment(s.p.abs(), s.q, *_points(s.p, 0.125, 0.36, 0.275, 0.55)) - 0.008
    s.shade(fold, 0.74, 0.07, f.smiling.float())


def _inside(s: Sketch, line: Tensor, top: Tensor, bottom: Tensor, bell: Tensor, x: Tensor) -> None:
    """Paint what an open mouth shows."""
    inside = s.cover(torch.maximum(top - line, line - bottom)) * s.f.mouth_open
    s.canvas.paint(inside, rgb((0.22, 0.06, 0.06), s.u))
    s.paint(ellipse(x, line - bottom, 0.10, 0.035), rgb((0.66, 0.28, 0.28), s.u), opacity=inside * 0.85)
    height = torch.where(s.f.smiling, 0.062, 0.034) * bell.clamp_min(0) ** 0.5
    light = 1 - 0.25 * (x / 0.2) ** 2 - 0.10 * torch.cos(x * 100).clamp_min(0.6)  # darker aside and between the teeth
    ivory = rgb((0.95, 0.93, 0.88), s.u) * light.unsqueeze(1)
    s.paint(line - top - height, ivory.clamp(0, 1), opacity=inside)


def _lip_colour(s: Sketch, tone: Tensor) -> Tensor:
    """Return the colour of bare or painted lips, (B, 3, 1, 1)."""
    bare = tone * rgb((0.86, 0.62, 0.62), s.u)
    hue = (0.97 + 0.03 * s.f.lip_hue) % 1
    stick = hsv(hue, 0.72 - 0.12 * s.f.lip_hue, 0.78 - 0.22 * s.f.melanin)
    return torch.where(s.f.lipstick.unsqueeze(1), stick, bare)


def beard(s: Sketch, face: Tensor, hair: Tensor) -> None:
    """Draw beard and moustache under the lips; `face` is the outline's distance, `hair` the colour (B, 3, 1, 1)."""
    chosen = torch.nonzero((s.f.beard | s.f.mustache).flatten()).flatten()
    if not len(chosen):
        return
    part, face, hair = s.only(chosen), face[chosen], hair[chosen]
    f, p, q = part.f, part.p, part.q
    grain = part.blobs("beard", 32)[:, 0]
    strands = 0.90 + 0.10 * torch.sin(64 * p + 14 * q + 2.5 * grain) + 0.14 * grain
    stubble = f.beard_kind == 2
    rough = 0.02 * grain
    full = torch.maximum(face - 0.045 * f.beard_length * ~stubble, 0.60 - 2.0 * p * p - q)
    goatee = ellipse(p, q - 0.74, 0.17, 0.19 + 0.03 * f.beard_length)
    chin = torch.where(f.beard_kind == 1, goatee, full) + rough
    lip = (q - 0.487 - 0.75 * p * p).abs() - 0.035 * (1 - (p / 0.26) ** 2).clamp_min(-1) + 0.6 * rough
    opacity = torch.where(stubble, 0.36, 0.93)
    colour = (hair * torch.where(stubble, 0.45, 0.8).unsqueeze(1)).clamp(0.04, 0.75) * (
        strands * (0.75 + 0.3 * part.depth)
    ).unsqueeze(1)
    part.paint_soft(chin + 0.03 * stubble, colour, 0.11, f.beard * opacity)
    part.mark(torch.where(f.beard & ~stubble, chin, 1.0), "skin")  # also where it stands out beside the jaw
    part.paint_soft(lip, colour * 0.95, 0.05, f.mustache * opacity)
    s.put_back(part, chosen)
