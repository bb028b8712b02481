"""Classical ways to fill a hole, from a flat colour to patches copied from elsewhere; none of them has learnt anything.

All are functions ``(images, masks) -> images`` of float images ``(B, C, H, W)`` in [-1, 1] and bool masks
``(B, 1, H, W)``, True in the hole, with at least one known pixel per image. None looks at the values in the hole.
`BASELINES` names them as the leaderboard does; only PatchMatch draws random numbers, from `generator`.

===================  ==========================================================  =====================
name                 how the hole is filled                                      module
===================  ==========================================================  =====================
``gray``, ``mean``   with one colour                                             `classical`
``telea``            from the rim inwards, weighted means                        `classical` (OpenCV)
``navier-stokes``    along lines of equal brightness                             `classical` (OpenCV)
``biharmonic``       the smoothest surface                                       `classical` (skimage)
``tv``               the least total variation                                   `variation`
``low-rank``         the least nuclear norm                                      `variation`
``patchmatch``       patches that all have a look-alike elsewhere                `patches`
``exemplar``         patch after patch, from the rim inwards                     `patches`
===================  ==========================================================  =====================
"""

from collections.abc import Callable

from torch import Tensor

from nblib.baselines.classical import biharmonic, gray, mean, navier_stokes, telea
from nblib.baselines.patches import exemplar, patchmatch
from nblib.baselines.variation import harmonic, low_rank, total_variation

__all__ = [
    "BASELINES",
    "STOCHASTIC",
    "biharmonic",
    "exemplar",
    "gray",
    "harmonic",
    "low_rank",
    "mean",
    "navier_stokes",
    "patchmatch",
    "telea",
    "total_variation",
]

BASELINES: dict[str, Callable[..., Tensor]] = {
    "gray": gray,
    "mean": mean,
    "telea": telea,
    "navier-stokes": navier_stokes,
    "biharmonic": biharmonic,
    "tv": total_variation,
    "low-rank": low_rank,
    "patchmatch": patchmatch,
    "exemplar": exemplar,
}
STOCHASTIC = frozenset({"patchmatch"})  # these take a `generator`
