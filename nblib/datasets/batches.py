"""Batches as a function of (seed, step, index in the global batch): no state, so nothing to save and to restore."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nblib.images import uint8_to_signed

if TYPE_CHECKING:
    from nblib.datasets.imageset import ImageSet


@dataclass(frozen=True)
class Batch:
    """What one training step sees; b images, on the device of the `Batches`.

    Attributes
    ----------
    images : Tensor, float32 (b, 3, H, W)
        In [-1, 1].
    masks : Tensor, bool (b, 1, H, W), or None
        True = hole.
    noise : Tensor, or None
        Whatever the noise sampler draws, b rows.
    attributes : Tensor, bool (b, A)
    landmarks : Tensor, float32 (b, L, 2), or None
    indices : Tensor, int64 (b,)
        Rows of the set.
    """

    images: Tensor
    masks: Tensor | None
    noise: Tensor | None
    attributes: Tensor
    landmarks: Tensor | None
    indices: Tensor


class Batches:
    """Shuffled full batches of an `ImageSet`, without end through `at`, one epoch by iterating.

    Epoch e is a permutation drawn from (seed, e); masks and noise of a step are drawn for the whole batch from
    (seed, step). A rank of a distributed training takes its slice, so `world` ranks together see what one would.

    Parameters
    ----------
    images : ImageSet
        The set (or a split of it).
    size : int
        Images in the global batch.
    masks : callable, optional
        ``masks(n, image_size, *, landmarks=None, generator) -> bool (n, 1, H, W)``, as in `nblib.masks`.
    noise : callable, optional
        ``noise(n, generator) -> Tensor (n, …)``; the generator's device is where to draw.
    seed : int, default 0
        Seed of everything random here.
    device : str or torch.device, default "cpu"
        Where the batches are made. On a GPU the whole set stays resident if it takes at most half of the free memory.

    Raises
    ------
    ValueError
        If the set is smaller than a batch.

    Examples
    --------
    >>> from nblib.datasets.imageset import ImageSet
    >>> batches = ImageSet(torch.zeros(10, 3, 8, 8, dtype=torch.uint8)).batches(4)
    >>> len(batches), batches.at(7).images.shape
    (2, torch.Size([4, 3, 8, 8]))
    >>> whole, half = batches.at(7), batches.at(7, rank=1, world=2)
    >>> bool((whole.indices[2:] == half.indices).all())
    True
    """

    def __init__(
        self,
        images: "ImageSet",
        size: int,
        *,
        masks: Callable[..., Tensor] | None = None,
        noise: Callable[..., Tensor] | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        if size < 1:
            raise ValueError(f"size={size}: a batch has at least one image")
        if len(images) < size:
            raise ValueError(f"{images.name} has {len(images)} images, fewer than one batch of {size}")
        self.set, self.size, self.seed = images, size, seed
        self.masks, self.noise = masks, noise
        self.device = torch.device(device)
        self._pixels = resident(images.images, self.device)
        self._attributes = images.attributes.to(self.device)
        self._landmarks = None if images.landmarks is None else images.landmarks.to(self.device)
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """Return the steps per epoch; images that do not fill a batch wait for another epoch's permutation."""
        return len(self.set) // self.size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the first epoch."""
        for step in range(len(self)):
            yield self.at(step)

    def at(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Return the batch of a step: the same bits whenever it is asked for.

        Parameters
        ----------
        step : int
            From 0, without end; step ``len(self)`` is the first of the second epoch.
        rank, world : int
            Return the `rank`-th of `world` equal slices.

        Raises
        ------
        ValueError
            If the batch cannot be divided by `world`, or there is no such rank.
        """
        if self.size % world or not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}: a batch of {self.size} cannot be shared out like this")
        rows = self._rows(step)  # (size,)
        share = self.size // world
        mine = slice(rank * share, (rank + 1) * share)
        here = rows.to(self.device)
        landmarks = None if self._landmarks is None else self._landmarks[here]
        masks = self._drawn_masks(step, landmarks)
        noise = (
            None
            if self.noise is None
            else self._checked("noise", self.noise(self.size, self._generator(step, "noise")))
        )
        return Batch(
            images=self._gathered(rows[mine]),
            masks=None if masks is None else masks[mine],
            noise=None if noise is None else noise[mine],
            attributes=self._attributes[here[mine]],
            landmarks=None if landmarks is None else landmarks[mine],
            indices=here[mine],
        )

    def _rows(self, step: int) -> Tensor:
        """Return the rows of the global batch, int64 (size,)."""
        epoch, place = divmod(step, len(self))
        if self._epoch[0] != epoch:
            generator = seeded("cpu", self.seed, "epoch", epoch)
            self._epoch = (epoch, torch.randperm(len(self.set), generator=generator))
        return self._epoch[1][place * self.size : (place + 1) * self.size]

    def _gathered(self, rows: Tensor) -> Tensor:
        """Return images float32 (b, 3, H, W) in [-1, 1] on the device; bytes travel, floats are made there."""
        pixels = self._pixels.index_select(0, rows.to(self._pixels.device))
        if pixels.device != self.device and self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return uint8_to_signed(pixels.to(self.device, non_blocking=True))

    def _drawn_masks(self, step: int, landmarks: Tensor | None) -> Tensor | None:
        if self.masks is None:
            return None
        side = self._pixels.shape[-1]
        drawn = self.masks(self.size, side, landmarks=landmarks, generator=self._generator(step, "masks"))
        return self._checked("masks", drawn)

    def _checked(self, what: str, drawn: Tensor) -> Tensor:
        if len(drawn) != self.size:
            raise ValueError(f"the sampler of {what} drew {len(drawn)} rows for a batch of {self.size}")
        return drawn.to(self.device)

    def _generator(self, step: int, what: str) -> torch.Generator:
        return seeded(self.device, self.seed, what, step)


def seeded(device: str | torch.device, *address: int | str) -> torch.Generator:
    """Return a generator whose numbers depend on nothing but the address (and the kind of device)."""
    digest = hashlib.sha256("/".join(map(str, address)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Return the images on the device if they take at most half of its free memory, else where they are."""
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return images
    return images.to(device)
