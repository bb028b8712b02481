"""Toy faces: portraits drawn from hashed factors, with attributes, landmarks and parsing labels known exactly.

They are framed like the 64x64 centre crop of half-size CelebA pictures: eyes on the upper middle, the chin near the
bottom. `factors` decides what is drawn, `flip` changes one attribute, `render` draws.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from nblib.toys import face_features, face_hair, face_wear, hashing
from nblib.toys.drawing import Canvas
from nblib.toys.face_factors import ATTRIBUTES, FaceFactors, attributes, factors, flip
from nblib.toys.face_pose import EYE_X, LABELS, MOUTH_Q, NOSE_Q, Sketch, nose_shift, place
from nblib.toys.sample import ToySample

__all__ = [
    "ATTRIBUTES",
    "LABELS",
    "LANDMARKS",
    "FaceFactors",
    "attributes",
    "draw",
    "factors",
    "flip",
    "landmarks",
    "parsing",
    "render",
    "sample",
]

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # left: in the left half of the picture
_CHUNK = 32  # pictures drawn at a time: their planes stay in the cache (measured: 16 is 15 % slower)


def sample(seed: int, indices: Tensor, size: int = 64) -> ToySample:
    """Return faces `indices` (N,) of `seed` with their ground truth.

    Examples
    --------
    >>> faces = sample(0, torch.arange(2))
    >>> faces.images.shape, faces.parsing.shape
    (torch.Size([2, 3, 64, 64]), torch.Size([2, 64, 64]))
    """
    drawn = factors(seed, indices)
    images, labels = _draw_all(drawn, size)
    return ToySample(images, attributes(drawn), landmarks(drawn, size), labels)


def render(factors: FaceFactors, size: int = 64) -> Tensor:
    """Return pictures, uint8 (N, 3, size, size)."""
    return _draw_all(factors, size)[0]


def parsing(factors: FaceFactors, size: int = 64) -> Tensor:
    """Return what each pixel shows, uint8 (N, size, size), as indices into `LABELS`."""
    return _draw_all(factors, size)[1]


def landmarks(factors: FaceFactors, size: int = 64) -> Tensor:
    """Return `LANDMARKS` in pixels, float32 (N, 5, 2): eye centres, tip of the nose, corners of the mouth."""
    f = factors.planes()  # (N, 1, 1)
    zero, nose = torch.zeros_like(f.yaw), nose_shift(f)
    half, lift = face_features.mouth_corner(f)
    p = torch.cat([zero - EYE_X, zero + EYE_X, nose, 0.3 * nose - half, 0.3 * nose + half], dim=1)  # (N, 5, 1)
    q = torch.cat([zero, zero, zero + NOSE_Q - 0.03, MOUTH_Q + lift, MOUTH_Q + lift], dim=1)
    return place(f, p, q, size).squeeze(2)  # (N, 5, 2)


def draw(factors: FaceFactors, size: int = 64) -> Canvas:
    """Return the painted canvas of a few faces: float colours (N, 3, size, size) in [0, 1] and labels.

    Parameters
    ----------
    factors : FaceFactors
        Of N faces, all drawn at once: memory grows with N; `render` goes in steps.
    size : int, default 64
        Side of the pictures in pixels, at least 8.

    Raises
    ------
    ValueError
        If `size` is below 8.
    """
    if size < 8:
        raise ValueError(f"size={size}: a face needs at least 8 pixels")
    s = Sketch.start(factors, size)
    tone, colour = face_features.skin_tone(s), face_features.skin(s)
    face, hair = face_features.outline(s), face_hair.hair(s)
    face_wear.background(s)
    face_hair.behind(s, hair)
    face_wear.body(s, tone)
    face_features.head(s, face, colour)
    face_features.age(s)
    face_features.nose(s)
    face_features.beard(s, face, hair.base)
    face_features.mouth(s, tone)
    face_features.eyes(s)
    face_features.brows(s, hair.base)
    face_wear.glasses(s)
    face_hair.in_front(s, hair, face)
    face_hair.hat(s)
    _expose(s)
    return s.canvas


def _expose(s: Sketch) -> None:
    """Photograph the scene: exposure, the light's colour, noise."""
    warm = 1 + s.f.warmth.unsqueeze(1) * face_features.rgb((0.035, 0.0, -0.05), s.u)
    s.canvas.colour.mul_(s.f.exposure.unsqueeze(1) * warm)
    size = s.u.shape[-1]
    grain = hashing.pixel_noise(s.f.seed, s.f.index.flatten(), "camera", (1, size, size))
    s.canvas.colour.add_(grain * 0.010).clamp_(0, 1)


def _draw_all(factors: FaceFactors, size: int) -> tuple[Tensor, Tensor]:
    """Return uint8 pictures (N, 3, size, size) and labels (N, size, size), drawn in steps."""
    device, count = factors.index.device, len(factors)
    images = torch.empty(count, 3, size, size, dtype=torch.uint8, device=device)
    labels = torch.empty(count, size, size, dtype=torch.uint8, device=device)
    for rows in _steps(count):
        canvas = draw(factors[rows], size)
        images[rows] = canvas.colour.mul_(255).add_(0.5).to(torch.uint8)
        labels[rows] = canvas.labels
    return images, labels


def _steps(count: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, count, _CHUNK))
