"""Packs: what a data set becomes on disk, a folder of ``.npy`` arrays and a ``meta.json``.

A pack is written under a temporary name and renamed, and the cache folder has one lock per pack: a second process that
wants the same pack waits and then reads the first one's. A pack is only a cache. One that is damaged (cut short,
unreadable) is made anew, with a warning; one whose source has changed is made anew silently.
"""

import contextlib
import errno
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock, Timeout

from nblib import files
from nblib.datasets.imageset import ImageSet
from nblib.paths import cache_dir

VERSION = 1
META = "meta.json"
DTYPES = {
    "images": np.uint8,
    "attributes": np.bool_,
    "landmarks": np.float32,
    "parsing": np.uint8,
    "identities": np.int64,
    "partition": np.uint8,
    "files": np.str_,
}
RANDOM_LETTERS = 8  # that tempfile.mkdtemp puts between prefix and suffix


class BadPack(ValueError):
    """A pack is damaged; the message says what is wrong with it."""


class ArrayWriter:
    """Append blocks of rows to a ``.npy`` file; the number of rows is filled in at the end.

    Plain writes, not a memory map: on a full disk a write raises an error, a store into a map kills the process.
    """

    def __init__(self, path: Path):
        self.path, self.rows = path, 0
        self._file: BinaryIO | None = None
        self._row: tuple[np.dtype, tuple[int, ...]] | None = None

    def append(self, block: np.ndarray) -> None:
        """Write rows, an array (k, …); all blocks have one dtype and row shape."""
        row = (block.dtype, block.shape[1:])
        if self._file is None:
            self._file, self._row = open(self.path, "wb"), row  # noqa: SIM115 (closed by `close`)
            self._head()
        if row != self._row:
            raise AssertionError(f"{self.path.name}: a block of {row} after blocks of {self._row}")
        self._file.write(block.tobytes())
        self.rows += len(block)

    def _head(self) -> None:
        """Write the header; numpy leaves room in it for the number of rows to grow."""
        dtype, shape = self._row
        head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (self.rows, *shape)}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, head)

    def close(self) -> None:
        """Complete the header and close the file."""
        if self._file is not None:
            with self._file:
                self._head()


def write(folder: Path, chunks: Iterable[dict[str, np.ndarray]], meta: Callable[[], dict[str, Any]]) -> None:
    """Write a pack, whole or not at all.

    Parameters
    ----------
    folder : Path
        Where it is to lie; what is there is replaced.
    chunks : iterable of dict of str to ndarray
        Blocks of rows by name of the array (the keys of `DTYPES`); the same names each time.
    meta : callable
        Returns what else to remember, once the chunks are used up.

    Raises
    ------
    OSError
        If the disk is full.
    """
    with files.whole_folder(folder) as partial:
        writers: dict[str, ArrayWriter] = {}
        with contextlib.ExitStack() as stack:
            for chunk in chunks:
                for name, block in chunk.items():
                    if name not in writers:
                        writers[name] = ArrayWriter(partial / f"{name}.npy")
                        stack.callback(writers[name].close)
                    writers[name].append(block)
        arrays = {name: _described(partial / f"{name}.npy") for name in writers}
        text = json.dumps({"version": VERSION, **meta(), "arrays": arrays}, indent=2)
        (partial / META).write_text(text + "\n", encoding="utf-8")


def _described(path: Path) -> dict[str, Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {"shape": list(array.shape), "dtype": array.dtype.str, "bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_meta(folder: Path) -> dict[str, Any]:
    """Return the contents of a pack's ``meta.json``.

    Raises
    ------
    BadPack
        If it is missing, unreadable or incomplete.
    """
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadPack(f"{folder / META} is unreadable ({error})") from error
    if not isinstance(meta, dict) or not {"version", "name", "arrays"} <= meta.keys() or "images" not in meta["arrays"]:
        raise BadPack(f"{folder / META} is incomplete")
    return meta


def read(folder: Path) -> ImageSet:
    """Open a pack; arrays are memory-mapped, only their heads and sizes are looked at.

    Raises
    ------
    BadPack
        If a file is missing, cut short or not what ``meta.json`` says.
    """
    meta = read_meta(folder)
    arrays = {name: _mapped(folder / f"{name}.npy", stated) for name, stated in meta["arrays"].items()}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in ("files", "partition")}
    names = {key: tuple(meta.get(key, ())) for key in ("attribute_names", "landmark_names", "parsing_labels")}
    plain = {name: arrays[name] for name in ("files", "partition") if name in arrays}
    try:
        return ImageSet(**tensors, **plain, **names, name=meta["name"], path=folder, meta=meta)
    except (TypeError, ValueError) as error:
        raise BadPack(f"{folder}: {error}") from error


def _mapped(path: Path, stated: dict[str, Any]) -> np.ndarray:
    try:
        if path.stat().st_size != stated["bytes"]:
            raise BadPack(f"{path} has {path.stat().st_size} bytes instead of {stated['bytes']}")
        # Copy on write: torch has no read-only tensors, and a store into a read-only map would kill the process.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except BadPack:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadPack(f"{path} is unreadable ({error})") from error
    kind = DTYPES.get(path.stem)
    if kind is None or not np.issubdtype(array.dtype, kind) or list(array.shape) != stated.get("shape"):
        raise BadPack(f"{path} holds {array.dtype} {array.shape}, not {stated.get('dtype')} {stated.get('shape')}")
    return np.asarray(array)


def verify(folder: Path) -> list[str]:
    """Recompute a pack's checksums; return what is wrong with it, an empty list if it is whole."""
    folder = Path(folder)
    try:
        read(folder)
    except BadPack as error:
        return [str(error)]
    arrays = read_meta(folder)["arrays"]
    changed = [name for name, stated in arrays.items() if _sha256(folder / f"{name}.npy") != stated["sha256"]]
    return [f"{folder / name}.npy has changed since it was written (its SHA-256 differs)" for name in changed]


def key(name: str, request: dict[str, Any]) -> str:
    """Return the folder name of the pack that answers a request."""
    text = json.dumps(request, sort_keys=True)
    return f"{name}-{request['size']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def locked(folder: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a pack, waiting for whoever has it; then clear away what killed packers left behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock(folder), timeout=timeout):
        _sweep(folder.parent, folder.name)
        yield


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _sweep(cache: Path, mine: str) -> None:
    """Remove half-written packs: of the pack whose lock is held, and of others that nobody is writing."""
    for leftover in cache.glob(files.TEMPORARY + "*"):
        name = leftover.name[len(files.TEMPORARY) + RANDOM_LETTERS + 1 :]
        with contextlib.suppress(Timeout), contextlib.ExitStack() as stack:
            if name != mine:
                stack.enter_context(FileLock(_lock(cache / name), timeout=0))
            shutil.rmtree(leftover, ignore_errors=True)


def cached_or_made(folder: Path, fingerprint: str, make: Callable[[], None]) -> ImageSet:
    """Open a pack; call `make` to write it first if there is none, its source has changed, or it is damaged.

    Parameters
    ----------
    folder : Path
        The pack.
    fingerprint : str
        What its ``meta.json`` must hold under this name.
    make : callable
        Writes the pack.
    """
    with locked(folder):
        if folder.exists():
            try:
                if _current(read_meta(folder), fingerprint):
                    return read(folder)
            except BadPack as error:
                warnings.warn(f"the pack is damaged and is made anew: {error}", stacklevel=3)
        make()
        return read(folder)


def _current(meta: dict[str, Any], fingerprint: str) -> bool:
    return meta["version"] == VERSION and meta.get("fingerprint") == fingerprint


def room(count: int, size: int, channels: int = 3) -> int:
    """Return about how many bytes a pack will take."""
    return count * (channels * size * size + 512) + 2**16


def need_room(folder: Path, needed: int) -> None:
    """Check before a pack is written that it will fit.

    Raises
    ------
    OSError
        With ``errno.ENOSPC``, if it will not; both sizes are named.
    """
    place = files.existing_parent(folder)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"a pack of {needed / 1e6:.0f} MB does not fit on the disk of {place} ({free / 1e6:.0f} MB are free). Free "
            "some space (`nblib data clean` removes cached packs), pack fewer with n=…, or set NBLIB_DATA elsewhere",
        )


@dataclass(frozen=True)
class PackInfo:
    """One entry of `cached`.

    Attributes
    ----------
    path : Path
        The pack.
    name : str
        Name of the set; "damaged" or "unfinished" for what is no usable pack.
    count : int
        Images in it.
    size : int
        Their side in pixels.
    bytes : int
        What it takes on disk.
    source : str
        What it was made from.
    """

    path: Path
    name: str
    count: int
    size: int
    bytes: int
    source: str


def cached(cache: Path | None = None) -> list[PackInfo]:
    """Return the packs in the cache folder, sorted by name, with what is left of unfinished ones."""
    cache = cache or cache_dir()
    return [_info(folder) for folder in sorted(cache.iterdir()) if folder.is_dir()] if cache.is_dir() else []


def _info(folder: Path) -> PackInfo:
    used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if folder.name.startswith(files.TEMPORARY):
        return PackInfo(folder, "unfinished", 0, 0, used, "")
    try:
        meta = read_meta(folder)
        count, _, size, _ = meta["arrays"]["images"]["shape"]
    except (BadPack, KeyError, TypeError, ValueError):
        return PackInfo(folder, "damaged", 0, 0, used, "")
    return PackInfo(folder, meta["name"], count, size, used, str(meta.get("source", "")))


def clean(cache: Path | None = None) -> int:
    """Delete all packs, finished or not, but those that somebody is writing; return how many that were."""
    cache, removed = cache or cache_dir(), 0
    for pack in cached(cache):
        unfinished = pack.path.name.startswith(files.TEMPORARY)
        name = pack.path.name[len(files.TEMPORARY) + RANDOM_LETTERS + 1 :] if unfinished else pack.path.name
        with contextlib.suppress(Timeout), FileLock(_lock(cache / name), timeout=0):
            shutil.rmtree(pack.path, ignore_errors=True)
            removed += 1
    return removed
