"""What every method is asked (`Questions`) and what one method made of it (`Answers`).

The questions of an evaluation are images with holes; they follow from a data set, a protocol and a seed.
"""

import hashlib
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nblib import masks as holes
from nblib import metrics
from nblib.datasets import ImageSet
from nblib.files import whole_file
from nblib.images import signed_to_uint8, signed_to_unit, uint8_to_signed, uint8_to_unit
from nblib.inpainters import Inpainter

METRICS = ("ssim", "psnr", "l1", "hole_psnr", "hole_l1", "box_ssim", "seam", "bias", "offset")
SHOWN = 6  # images in the gallery


@dataclass(frozen=True)
class Settings:
    """What must be equal for two answers to be comparable."""

    protocol: str
    data: str
    split: str
    seed: int
    n: int
    batch_size: int
    pictures: str  # checksum of the images and their holes


@dataclass(frozen=True)
class Questions:
    """The images and holes that every method is asked to fill.

    Attributes
    ----------
    settings : Settings
    images : Tensor, uint8 (N, 3, H, W)
    masks : Tensor, bool (N, 1, H, W)
    drawn : Tensor, int64 (N,), or None
        Which of `nblib.masks.PARTS` is the hole, in the protocol "parts".
    """

    settings: Settings
    images: Tensor
    masks: Tensor
    drawn: Tensor | None

    @classmethod
    def pose(cls, dataset: ImageSet, protocol: str, split: str, seed: int, limit: int | None, batch_size: int):
        """Draw the holes of a whole split, and take the first `limit`: a longer evaluation begins with the same."""
        if limit is not None and limit < 1:
            raise ValueError(f"limit={limit}: evaluate at least one image, or None for all")
        part = dataset.split(split)
        if not len(part):
            raise ValueError(f"{dataset.name}: the split {split!r} is empty; choose another one or take more images")
        masks, drawn = _draw_masks(part, protocol, seed)
        n = len(part) if limit is None else min(limit, len(part))
        images, masks, drawn = part.images[:n], masks[:n], None if drawn is None else drawn[:n]
        settings = Settings(protocol, dataset.name, split, seed, n, batch_size, _checksum(images, masks))
        return cls(settings, images, masks, drawn)


@dataclass(frozen=True)
class Answers:
    """What one method made of all questions.

    Attributes
    ----------
    values : dict of str to ndarray, float32 (N,)
        Each of `METRICS` per image.
    seconds_per_image : float
    shown : ndarray, uint8 (K, 3, H, W)
        The first images, filled.
    """

    values: dict[str, np.ndarray]
    seconds_per_image: float
    shown: np.ndarray

    def save(self, path: Path) -> None:
        """Write an .npz file, whole or not at all."""
        with whole_file(path) as partial:
            np.savez_compressed(partial, shown=self.shown, seconds_per_image=self.seconds_per_image, **self.values)

    @classmethod
    def load(cls, path: Path) -> "Answers":
        """Read what `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                values = {name: stored[name] for name in METRICS}
                return cls(values, float(stored["seconds_per_image"]), stored["shown"])
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: damaged ({error}); delete it to have this method evaluated again") from error


def answer(questions: Questions, inpainter: Inpainter, *, progress: bool = True) -> Answers:
    """Let one method fill all holes, batch by batch, and measure the quality and the time of the filling alone."""
    settings, seconds, batches, shown = questions.settings, 0.0, [], []
    one = uint8_to_signed(questions.images[:1]), questions.masks[:1]
    inpainter(*one, generator=torch.Generator().manual_seed(0))  # untimed: the first call pays for threads and imports
    with tqdm(total=settings.n, desc=inpainter.name, unit="image", disable=not progress) as bar:
        for start in range(0, settings.n, settings.batch_size):
            rows = slice(start, start + settings.batch_size)
            images, masks = questions.images[rows], questions.masks[rows]
            generator = torch.Generator().manual_seed(_batch_seed(settings.seed, start))
            begun = time.perf_counter()
            filled = inpainter(uint8_to_signed(images), masks, generator=generator)
            seconds += time.perf_counter() - begun
            batches.append(metrics.measure(signed_to_unit(filled), uint8_to_unit(images), masks))
            shown.append(signed_to_uint8(filled[: max(0, SHOWN - start)]))
            bar.update(len(images))
    values = {name: torch.cat([batch[name] for batch in batches]).float().numpy() for name in METRICS}
    return Answers(values, seconds / settings.n, torch.cat(shown).numpy())


def _draw_masks(part: ImageSet, protocol: str, seed: int) -> tuple[Tensor, Tensor | None]:
    """Draw the holes of a split and, in the protocol "parts", which part each one is."""
    n, size = len(part), part.images.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    if protocol == "parts":
        return holes.parts_drawn(n, size, landmarks=part.landmarks, generator=generator)
    return holes.sampler(protocol)(n, size, landmarks=part.landmarks, generator=generator), None


def _checksum(images: Tensor, masks: Tensor) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(images), 1024):  # memory-mapped: not all at once
        digest.update(images[start : start + 1024].numpy().tobytes())
        digest.update(masks[start : start + 1024].numpy().tobytes())
    return digest.hexdigest()[:16]


def _batch_seed(seed: int, start: int) -> int:
    return int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
