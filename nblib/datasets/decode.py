"""Decode pictures that may be damaged or hostile, many at a time."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nblib.datasets.archives import Damaged

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS = 64_000_000  # 192 MB once decoded
CHUNK = 64
CHUNK_BYTES = 8 * 2**20
ORIENTATION = 0x0112


def open_image(data: bytes, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Decode one picture: upright, RGB, transparency over white.

    Parameters
    ----------
    data : bytes
        An encoded JPEG, PNG, WebP or BMP.
    at_least : (width, height), optional
        A JPEG may be decoded at a half, a quarter or an eighth, but not below this size.

    Raises
    ------
    Damaged
        If it is none of these, is cut short, or has more than `MAX_PIXELS` pixels.

    Examples
    --------
    >>> open_image(b"a text file called .jpg")
    Traceback (most recent call last):
    nblib.datasets.archives.Damaged: is not a JPEG, PNG, WebP or BMP picture (it begins with b'a text file ')
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:  # the head is read, no pixel decoded yet
            raise Damaged(f"has {image.width}x{image.height} pixels; at most {MAX_PIXELS} are opened")
        if at_least is not None:
            image.draft("RGB", at_least)
        image.load()
        return to_rgb(_upright(image))
    except Damaged:
        raise
    except UnidentifiedImageError as error:
        start = f"it begins with {data[:12]!r}" if data else "it is empty"
        raise Damaged(f"is not a JPEG, PNG, WebP or BMP picture ({start})") from error
    except Exception as error:  # a hostile file can raise almost anything inside a decoder, bomb warnings included
        raise Damaged(f"cannot be decoded ({error or type(error).__name__})") from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the camera's orientation tag."""
    return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert grayscale (8 or 16 bit), palette, CMYK and transparent pictures to RGB; transparency shows white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bit: Pillow's own conversion clips at 255
        gray = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True)
class Decoded:
    """A run of pictures: what became of them.

    Attributes
    ----------
    rows : ndarray, int64 (k,)
        The rows that could be decoded, in the order asked for.
    images : ndarray, uint8 (k, 3, size, size)
        Their images.
    damaged : dict of int to str
        The other rows, and why.
    """

    rows: np.ndarray
    images: np.ndarray
    damaged: dict[int, str]


def decode_all(
    read: Callable[[int], bytes], rows: Sequence[int], frame: Callable, workers: int | None = None
) -> Iterator[Decoded]:
    """Decode pictures on all cores, in order, a bounded number at a time.

    Parameters
    ----------
    read : callable
        ``read(row)`` returns the encoded bytes or raises `Damaged`; it is called from this thread only, in order.
    rows : sequence of int
        Which pictures.
    frame : callable
        One of `nblib.datasets.frames`.
    workers : int, optional
        Threads (Pillow decodes outside Python's lock); one per core, at most 16.

    Yields
    ------
    Decoded
        One per run of at most `CHUNK` pictures.
    """
    workers = workers or min(os.cpu_count() or 1, 16)
    pending: deque[Future[Decoded]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for chunk in _chunks(read, rows):
            pending.append(pool.submit(_decode_chunk, chunk, frame))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when interrupted: whatever is not yet begun is dropped
        pool.shutdown(cancel_futures=True)


def _chunks(read: Callable[[int], bytes], rows: Sequence[int]) -> Iterator[list[tuple[int, bytes | Damaged]]]:
    """Yield the encoded pictures in runs of `CHUNK`, fewer where they are large."""
    chunk, size = [], 0
    for row in rows:
        data = _read(read, row)
        chunk.append((row, data))
        size += 0 if isinstance(data, Damaged) else len(data)
        if len(chunk) == CHUNK or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read(read: Callable[[int], bytes], row: int) -> bytes | Damaged:
    try:
        return read(row)
    except Damaged as error:
        return error


def _decode_chunk(chunk: list[tuple[int, bytes | Damaged]], frame: Callable) -> Decoded:
    images = np.empty((len(chunk), 3, frame.size, frame.size), dtype=np.uint8)
    rows: list[int] = []
    damaged: dict[int, str] = {}
    for row, data in chunk:
        try:
            if isinstance(data, Damaged):
                raise data
            images[len(rows)] = frame(open_image(data, frame.at_least), row).transpose(2, 0, 1)
            rows.append(row)
        except Damaged as error:
            damaged[row] = str(error)
    return Decoded(np.array(rows, dtype=np.int64), images[: len(rows)], damaged)
