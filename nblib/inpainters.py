"""One interface over everything that can fill a hole; the leaderboard, the notebooks and the command line share it.

`load` finds an inpainter by its key, `available` lists the keys. A key is the name of a classical method of
`nblib.baselines`.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from nblib import masks as holes
from nblib.baselines import BASELINES, STOCHASTIC
from nblib.datasets import KNOWN


@dataclass(frozen=True)
class Inpainter:
    """A way to fill holes, held to the rules: it never sees what is hidden and never changes what is known.

    Parameters
    ----------
    name : str
        How tables and figures call it.
    fill : callable
        ``fill(images, masks) -> images``, float (B, 3, H, W) in [-1, 1]; only its values in the holes are used. If
        `stochastic`, it also takes the keyword `generator`.
    stochastic : bool, default False
        Whether it draws random numbers.

    Examples
    --------
    >>> white = Inpainter("white", lambda images, masks: torch.ones_like(images))
    >>> images, masks = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    >>> masks[..., 2:4, 2:4] = True
    >>> int(white(images, masks).sum())  # 3 channels of 2 x 2 pixels
    12
    """

    name: str
    fill: Callable[..., Tensor]
    stochastic: bool = False

    def __call__(self, images: Tensor, masks: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Fill the holes.

        Parameters
        ----------
        images : Tensor, float (B, 3, H, W) in [-1, 1]
        masks : Tensor, bool (B, 1, H, W)
            True in the hole.
        generator : torch.Generator, optional
            Of a stochastic inpainter; by default torch's global one.

        Returns
        -------
        Tensor, like `images`
            Bit by bit equal to `images` outside the holes, clipped to [-1, 1] inside.

        Raises
        ------
        ValueError
            If images or masks are not of that kind, an image is all hole, or the filling is not finite.
        """
        _check_images(images)
        holes.check(masks, images)
        blanked = images.masked_fill(masks, 0)  # mid-gray; what was there is gone
        filled = self.fill(blanked, masks, **({"generator": generator} if self.stochastic else {}))
        if filled.shape != images.shape:
            raise ValueError(f"{self.name} returned {tuple(filled.shape)} for images {tuple(images.shape)}")
        filled = torch.where(masks, filled.to(images).clamp(-1, 1), images)
        if not filled.isfinite().all():  # a NaN would count as "no hole" in every metric, and flatter
            raise ValueError(f"{self.name} filled with values that are not finite; check its weights and its input")
        return filled


def load(key: str) -> Inpainter:
    """Return the inpainter called `key`.

    Raises
    ------
    ValueError
        If there is none; the nearest names are given.

    Examples
    --------
    >>> load("telea").name, load("patchmatch").stochastic
    ('telea', True)
    >>> load("teela")
    Traceback (most recent call last):
    ValueError: there is no inpainter 'teela'; did you mean telea?
    """
    if key in BASELINES:
        return Inpainter(key, BASELINES[key], stochastic=key in STOCHASTIC)
    known = list(BASELINES)
    near = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    raise ValueError(f"there is no inpainter {key!r}; {hint}")


def available(set_name: str) -> list[str]:
    """Return the keys of all inpainters that can fill images of a set; the classical ones take any."""
    return list(BASELINES)


def listed(methods: str, set_name: str) -> list[str]:
    """Return the keys in ``"a, b"``; those of all inpainters for a set if it is "all".

    Raises
    ------
    ValueError
        If there is no such set.

    Examples
    --------
    >>> listed("telea, biharmonic", "toyfaces")
    ['telea', 'biharmonic']
    """
    if set_name not in KNOWN:
        raise ValueError(f"{set_name!r} is no data set; known are {', '.join(KNOWN)}")
    return available(set_name) if methods == "all" else [name.strip() for name in methods.split(",")]


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images are {tuple(images.shape)}; an inpainter takes a batch (B, 3, H, W)")
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; convert them with nblib.images.uint8_to_signed")
    if not len(images):
        return
    low, high = images.aminmax()
    if not (low >= -1.001 and high <= 1.001):  # a little room for rounding; written so that NaN is refused too
        raise ValueError(f"images reach from {low:.3g} to {high:.3g}; an inpainter takes [-1, 1]")
