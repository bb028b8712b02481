"""`load` a data set by name: find it, pack it once, open the pack."""

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from nblib import paths
from nblib.datasets import celeba, folders, packs, splits
from nblib.datasets.decode import decode_all
from nblib.datasets.imageset import ImageSet
from nblib.datasets.pictures import file_states
from nblib.datasets.sources import Source

TOYS = {"toyfaces": "nblib.toys.faces", "toycars": "nblib.toys.cars"}
KNOWN = {
    "toyfaces": "drawn faces with attributes, landmarks and parsing labels",
    "toycars": "drawn cars with attributes, wheel centres and parsing labels",
    "celeba": "photographed faces with 40 attributes: official, Kaggle or Hugging Face layout",
    "cars": "a folder or zip archive of car photos, as Stanford's",
    "folder": "any folder or zip archive of pictures",
}
TOYS_DRAWN = 20_000
TOY_CHUNK = 256
MIN_SIZE, MAX_SIZE = 8, 1024


def load(
    name: str,
    root: str | Path | None = None,
    *,
    size: int = 64,
    n: int | None = None,
    seed: int = 0,
    align: str | None = None,
    skip_corrupt: bool = False,
    progress: bool = True,
) -> ImageSet:
    """Return a data set, packing it on the first call.

    Parameters
    ----------
    name : {"toyfaces", "toycars", "celeba", "cars", "folder"}
        Toys are drawn; CelebA is read in any layout of `nblib.datasets.celeba`; "cars" and "folder" are any folder or
        zip archive of pictures, of which the central square is used.
    root : path, optional
        Where the pictures are (never written to); for "celeba" and "cars" by default the folder of that name in data/.
    size : int, default 64
        Side of the images.
    n : int, optional
        How many images: toys to draw (20,000), or a random choice of the pictures (all of them).
    seed : int, default 0
        Seed of the toys, or of that choice.
    align : None or "eyes-mouth"
        CelebA only: warp by the landmarks instead of the plain crop.
    skip_corrupt : bool, default False
        Leave pictures out that cannot be decoded, instead of stopping; ``meta["skipped"]`` says which and why.
    progress : bool, default True
        Show a bar while packing.

    Returns
    -------
    ImageSet
        Memory-mapped from a pack in ``data/cache``; toys are stored in the order train, val, test (sample i is the
        one whose entry of `files` ends in i).

    Raises
    ------
    FileNotFoundError
        If there is no such data; says where it belongs and where to get it.
    ValueError
        If the name is unknown, files contradict each other, or a picture is corrupt (the first few are named).
    OSError
        If the disk is full.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size={size}: images have between {MIN_SIZE} and {MAX_SIZE} pixels a side")
    if align is not None and name != "celeba":
        raise ValueError(f"align={align!r} is for celeba only, not for {name}")
    if name in TOYS:
        if root is not None:
            raise ValueError(f"{name} is drawn, not read: it has no root (root={str(root)!r})")
        return make_toys(name, n=TOYS_DRAWN if n is None else n, seed=seed, size=size, progress=progress)
    reader = find(name, root)
    request = {"name": name, "root": str(reader.place), "size": size, "n": n, "seed": seed if n else 0, "align": align}
    folder = paths.cache_dir() / packs.key(name, request)
    fingerprint = _digest(file_states(reader.depends))

    def make() -> None:
        with closing(reader.open(size, align)) as source:
            _pack(source, folder, request, fingerprint, skip_corrupt=skip_corrupt, progress=progress)

    pack = packs.cached_or_made(folder, fingerprint, make)
    if not skip_corrupt:
        refuse_damaged(pack.meta["skipped"], len(pack) + len(pack.meta["skipped"]), reader.place)
    return pack


class Reader(NamedTuple):
    """How a data set is read: where it lies, the files its contents depend on, and ``open(size, align) -> Source``.

    `open_alone` does without annotation files.
    """

    place: Path
    depends: list[Path]
    open: Callable[[int, str | None], Source]
    open_alone: Callable[[], Source]


def find(name: str, root: str | Path | None) -> Reader:
    """Find a data set on disk.

    Raises
    ------
    FileNotFoundError
        If there is no such data.
    ValueError
        If the name is unknown, or "folder" comes without a root.
    """
    if name not in KNOWN:
        raise ValueError(f"{name!r} is no data set; known are {', '.join(KNOWN)}")
    if name in TOYS:
        raise ValueError(f"{name!r} is drawn, there are no files to read")
    if root is None and name == "folder":
        raise ValueError("folder: say which one with root=… (--root)")
    place = Path(os.path.abspath(Path(root).expanduser())) if root is not None else paths.data_dir() / name
    if name == "celeba":
        found = celeba.find(place)
        alone = replace(found, tables={})
        return Reader(found.pictures, found.paths(), partial(celeba.read, found), partial(celeba.read, alone))
    path = folders.find(place, name)
    return Reader(path, [path], lambda size, _: folders.read(path, size), partial(folders.read, path))


def _pack(
    source: Source, folder: Path, request: dict[str, Any], fingerprint: str, *, skip_corrupt: bool, progress: bool
) -> None:
    """Decode the pictures of a source into a pack."""
    rows = source.select(request["n"], request["seed"])
    packs.need_room(folder, packs.room(len(rows), request["size"]))
    damaged: dict[str, str] = {}
    with closing(_decoded(source, rows, damaged, skip_corrupt, progress, f"packing {request['name']}")) as chunks:
        packs.write(
            folder,
            chunks,
            lambda: {
                **request,
                "fingerprint": fingerprint,
                "source": request["root"],
                "layout": source.layout,
                "crop": source.frame.meta,
                "count": len(rows) - len(damaged),
                "skipped": damaged,
                "split_by": source.split_by,
                "attribute_names": source.attribute_names,
                "landmark_names": source.landmark_names,
            },
        )


def _decoded(
    source: Source, rows: np.ndarray, damaged: dict[str, str], skip_corrupt: bool, progress: bool, title: str
) -> Iterator[dict[str, np.ndarray]]:
    """Yield blocks for a pack; all pictures are looked at before the damaged ones are complained about."""
    with (
        closing(decode_all(source.pictures.read, rows, source.frame)) as run,
        tqdm(total=len(rows), desc=title, unit=" images", disable=not progress) as bar,
    ):
        for decoded in run:
            damaged.update({source.files[row]: reason for row, reason in decoded.damaged.items()})
            yield {"images": decoded.images, **source.known(decoded.rows)}
            bar.update(len(decoded.rows) + len(decoded.damaged))
    if not skip_corrupt or len(damaged) == len(rows):
        refuse_damaged(damaged, len(rows), source.origin)


def refuse_damaged(damaged: dict[str, str], of: int, origin: Path) -> None:
    """Raise if there is any damaged picture.

    Raises
    ------
    ValueError
        Names the first few, why, and what to do.
    """
    if damaged:
        first = "; ".join(f"{file} {reason}" for file, reason in list(damaged.items())[:5])
        more = f"; and {len(damaged) - 5} more" if len(damaged) > 5 else ""
        some = len(damaged) < of
        rest = ", or leave them out with skip_corrupt=True (--skip-corrupt)" if some else "; there are no others"
        raise ValueError(
            f"{origin}: {len(damaged)} of {of} pictures cannot be used: {first}{more}. Repair or remove them{rest}"
        )


def make_toys(
    name: str = "toyfaces", *, n: int = TOYS_DRAWN, seed: int = 0, size: int = 64, progress: bool = True
) -> ImageSet:
    """Draw a set of toys, once, and open its pack; see `load`.

    Raises
    ------
    ValueError
        If `name` is no toy, or `n` is not positive.
    """
    if name not in TOYS:
        raise ValueError(f"{name!r} is not drawn; the toys are {', '.join(TOYS)}")
    if n < 1:
        raise ValueError(f"n={n}: draw at least one")
    toys = importlib.import_module(TOYS[name])
    request = {"name": name, "size": size, "n": n, "seed": seed}
    folder = paths.cache_dir() / packs.key(name, request)
    code = sorted(Path(toys.__file__).parent.glob("*.py"))  # other drawing code, other pictures
    fingerprint = _digest([path.read_text(encoding="utf-8") for path in code])
    meta = {
        **request,
        "fingerprint": fingerprint,
        "source": f"{TOYS[name]}, seed {seed}",
        "crop": {"kind": "whole"},
        "count": n,
        "split_by": "hash of the file name",
        "attribute_names": list(toys.ATTRIBUTES),
        "landmark_names": list(toys.LANDMARKS),
        "parsing_labels": list(toys.LABELS),
    }

    def make() -> None:
        packs.need_room(folder, packs.room(n, size, channels=4))
        with closing(_drawn(toys, name, n, seed, size, progress)) as chunks:
            packs.write(folder, chunks, lambda: meta)

    return packs.cached_or_made(folder, fingerprint, make)


def _drawn(toys: Any, name: str, n: int, seed: int, size: int, progress: bool) -> Iterator[dict[str, np.ndarray]]:
    """Yield blocks of toys for a pack, ordered train, val, test."""
    names = np.array([f"{name}-{seed}-{index:07d}" for index in range(n)])
    partition, _ = splits.partition(names)
    order = np.argsort(partition, kind="stable")
    with tqdm(total=n, desc=f"drawing {name}", unit=" images", disable=not progress) as bar:
        for start in range(0, n, TOY_CHUNK):
            rows = order[start : start + TOY_CHUNK]
            sample = toys.sample(seed, torch.from_numpy(rows), size)
            arrays = {key: getattr(sample, key).numpy() for key in ("images", "attributes", "landmarks", "parsing")}
            yield {**arrays, "partition": partition[rows], "files": names[rows]}
            bar.update(len(rows))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode("utf-8", "surrogatepass")).hexdigest()
