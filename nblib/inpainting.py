"""What an inpainter is: a way to fill holes that is held to the rules (`nblib.inpainters` finds one by its key)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from nblib import masks as holes


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
    stages : callable, optional
        Of a filling in steps: as `fill`, with the keyword `every`; returns also, by step, what it is on the way.

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
    stages: Callable[..., tuple[Tensor, dict[int, Tensor]]] | None = None

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
        filled = self.fill(_blanked(images, masks), masks, **self._drawing(generator))
        return self._pasted(filled, images, masks)

    def progress(
        self, images: Tensor, masks: Tensor, every: int, *, generator: Generator | None = None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Fill the holes, and keep what they held on the way.

        Parameters
        ----------
        images, masks, generator
            As for a call.
        every : int
            Steps between two looks.

        Returns
        -------
        (Tensor, dict of int to Tensor)
            What a call returns, and the same after 0, `every`, 2 `every` … steps and the last one.

        Raises
        ------
        ValueError
            As for a call; or if this inpainter knows no steps.
        """
        if self.stages is None:
            raise ValueError(f"{self.name} fills at once: there is nothing to see on the way")
        if every < 1:
            raise ValueError(f"every={every}: a number of steps, at least 1")
        filled, shown = self.stages(_blanked(images, masks), masks, every=every, **self._drawing(generator))
        return self._pasted(filled, images, masks), {
            step: self._pasted(picture, images, masks) for step, picture in shown.items()
        }

    def _drawing(self, generator: Generator | None) -> dict[str, Generator | None]:
        return {"generator": generator} if self.stochastic else {}

    def _pasted(self, filled: Tensor, images: Tensor, masks: Tensor) -> Tensor:
        """Return `filled` in the holes and `images` elsewhere, checked."""
        if filled.shape != images.shape:
            raise ValueError(f"{self.name} returned {tuple(filled.shape)} for images {tuple(images.shape)}")
        filled = torch.where(masks, filled.to(images).clamp(-1, 1), images)
        if not filled.isfinite().all():  # a NaN would count as "no hole" in every metric, and flatter
            raise ValueError(f"{self.name} filled with values that are not finite; check its weights and its input")
        return filled


def check_size(name: str, net: nn.Module, images: Tensor) -> None:
    """Raise a ValueError unless images (B, 3, H, W) are as large as those that `net` was trained on."""
    if images.shape[-2:] != (net.size, net.size):
        given = "x".join(map(str, images.shape[-2:]))
        raise ValueError(f"{name} was trained for pictures of {net.size}x{net.size}; these are {given}")


def _blanked(images: Tensor, masks: Tensor) -> Tensor:
    """Return the images with their holes mid-gray: what was there is gone; both are checked."""
    _check_images(images)
    holes.check(masks, images)
    return images.masked_fill(masks, 0)


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
