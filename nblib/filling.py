"""Fill holes in a user's own photos: small as the networks see them, and pasted back at full resolution."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nblib import inpainters, masks
from nblib.datasets.photos import Photo, open_photo
from nblib.files import whole_file
from nblib.images import signed_to_uint8, uint8_to_signed
from nblib.inpainting import Inpainter


def fill_photos(
    photos: list[Path],
    mask: str,
    methods: list[str],
    out: str | Path,
    *,
    size: int = 64,
    samples: int = 1,
    seed: int = 0,
    labels: Mapping[str, bool] | None = None,
    every: int = 0,
) -> list[Path]:
    """Fill one hole in each photo by each method and write every stage as PNG.

    For ``cat.jpg`` and the method ``telea``: ``cat-original.png`` and ``cat-masked.png`` (the central square at
    `size`), ``cat-telea.png`` (filled), ``cat-telea-full.png`` (the photo, the enlarged fill pasted into the hole).

    Parameters
    ----------
    photos : list of Path
        JPEG, PNG, WebP or BMP of any size.
    mask : str
        Name of a protocol in `masks.PROTOCOLS`, or a picture, white in the hole, of the photo's size or `size`.
    methods : list of str
        Names of inpainters.
    out : path
        Folder for the pictures, made if missing.
    samples : int, default 1
        How many answers a stochastic method gives (``cat-NAME-2.png`` …).
    seed : int, default 0
        Fixes holes and answers.
    labels : mapping, optional
        What those methods are told that take a label of that name, such as ``{"smiling": True}``.
    every : int, default 0
        Steps between two pictures of a filling on its way (``cat-NAME-step-0050.png`` …), by methods that work in
        steps; 0 for none.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    FileNotFoundError, ValueError
        If a photo, the mask, a method or a label is not usable: before anything is written.
    """
    if twice := _repeated(methods):
        raise ValueError(f"method {twice!r} is given twice; name each once")
    fillers = _fillers(methods, labels or {}, every)
    stems = [path.stem for path in photos]
    if twice := _repeated(stems):
        raise ValueError(f"two photos are called {twice}, so their results would overwrite each other; rename one")
    opened = [open_photo(path, size) for path in photos]
    wanted = _holes(mask, opened, size, seed)
    small = torch.stack([F.adaptive_max_pool2d(_cut(hole, photo).float(), size) for hole, photo in wanted]) > 0
    images = uint8_to_signed(torch.stack([photo.image for photo in opened]))  # (B, 3, size, size)

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for stem, photo, hole in zip(stems, opened, small, strict=True):
        written.append(_save(photo.image, out / f"{stem}-original.png"))
        written.append(_save(photo.image.masked_fill(hole, 128), out / f"{stem}-masked.png"))
    for filler in fillers:
        generator = torch.Generator().manual_seed(seed)
        for answer in range(1, (samples if filler.stochastic else 1) + 1):
            filled, shown = _filled(filler, images, small, generator, every)
            name = filler.name if answer == 1 else f"{filler.name}-{answer}"
            for step, pictures in shown.items():
                for stem, picture in zip(stems, signed_to_uint8(pictures), strict=True):
                    written.append(_save(picture, out / f"{stem}-{name}-step-{step:04}.png"))
            for stem, result, (hole, photo) in zip(stems, signed_to_uint8(filled), wanted, strict=True):
                written.append(_save(result, out / f"{stem}-{name}.png"))
                written.append(_save(photo.paste(result, hole), out / f"{stem}-{name}-full.png"))
    return written


def _fillers(methods: list[str], labels: Mapping[str, bool], every: int) -> list[Inpainter]:
    """Return the inpainters, each told those labels that it takes; every label must have a taker."""
    labels = {name.lower(): value for name, value in labels.items()}
    taken = {method: inpainters.labels(method) for method in methods}
    known = sorted({name for names in taken.values() for name in names})
    if unknown := sorted(set(labels) - set(known)):
        told = f"known are {', '.join(known)}" if known else "they take no labels"
        raise ValueError(f"label {', '.join(unknown)}: none of {', '.join(methods)} is told that; {told}")
    fillers = [
        inpainters.load(method, **{name: labels[name] for name in names if name in labels})
        for method, names in taken.items()
    ]
    if every and not any(filler.stages for filler in fillers):
        raise ValueError(f"every={every}: {', '.join(methods)} fill at once; a latent-search works in steps")
    return fillers


def _filled(
    filler: Inpainter, images: Tensor, masks: Tensor, generator: torch.Generator, every: int
) -> tuple[Tensor, dict[int, Tensor]]:
    """Return the filled images and, if asked for and known, what they were on the way, by step."""
    if every and filler.stages:
        return filler.progress(images, masks, every, generator=generator)
    return filler(images, masks, generator=generator), {}


def _repeated(names: list[str]) -> str | None:
    """Return the first name that comes more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _holes(mask: str, photos: list[Photo], size: int, seed: int) -> list[tuple[Tensor, Photo]]:
    """Return each photo with its hole, bool (1, H, W) at the photo's size or (1, size, size)."""
    if mask in masks.PROTOCOLS:
        drawn = masks.sampler(mask)(len(photos), size, generator=torch.Generator().manual_seed(seed))
        return list(zip(drawn, photos, strict=True))
    if not Path(mask).suffix:
        raise ValueError(f"mask {mask!r}: neither a picture nor a protocol; choose from {', '.join(masks.PROTOCOLS)}")
    hole = masks.read(mask)[0]  # (1, H, W)
    for photo in photos:
        if hole.shape[1:] not in (photo.image.shape[1:], photo.picture.shape[1:]):
            have, need = ("{1}x{0}".format(*shape[1:]) for shape in (hole.shape, photo.picture.shape))
            raise ValueError(f"{mask} is {have}; paint the mask at the photo's size, {need}, or at {size}x{size}")
        _check_inside(mask, hole, photo)
        if _cut(hole, photo).all():
            raise ValueError(f"{mask} covers the whole square that is filled: nothing is known to fill it from")
    return [(hole, photo) for photo in photos]


def _check_inside(mask: str, hole: Tensor, photo: Photo) -> None:
    """Raise a ValueError if a full-size hole leaves the square that is filled."""
    if hole.shape[1:] == photo.picture.shape[1:] and not torch.equal(_cut(hole, photo).sum(), hole.sum()):
        left, top, right, bottom = photo.box
        raise ValueError(
            f"{mask}: the hole reaches outside the central square that is filled, "
            f"columns {left} to {right} and rows {top} to {bottom}; crop the photo around the hole first"
        )


def _cut(hole: Tensor, photo: Photo) -> Tensor:
    """Return the part of a full-size hole in the photo's square; a small hole as it is."""
    if hole.shape[1:] != photo.picture.shape[1:]:
        return hole
    left, top, right, bottom = photo.box
    return hole[:, top:bottom, left:right]


def _save(image: Tensor, path: Path) -> Path:
    with whole_file(path) as partial:
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(partial)
    return path
