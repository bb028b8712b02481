"""Files that a browser sends: in parts, because a notebook server refuses messages of more than 10 MB.

Nothing is written; a file lives in memory until it has been read, and is refused as soon as it is too large.
"""

from typing import Any

import torch
from torch import Tensor

from nblib import strokes
from nblib.datasets.archives import MAX_BYTES, Damaged
from nblib.datasets.decode import open_image
from nblib.datasets.frames import centre_square

LIMITS = {"photo": MAX_BYTES, "strokes": strokes.MAX_BYTES}


class Upload:
    """Puts the parts of a file together; a new file takes the place of one that has not ended.

    Examples
    --------
    >>> upload, about = Upload(), {"upload": 7, "kind": "strokes", "name": "a.json"}
    >>> upload.part({**about, "part": 0, "last": False}, b"{")
    >>> upload.part({**about, "part": 1, "last": True}, b"}")
    b'{}'
    """

    def __init__(self):
        self._begin(None)

    def part(self, about: dict[str, Any], data: bytes | memoryview) -> bytes | None:
        """Take a part, and return the file if it was the last one.

        Parameters
        ----------
        about : dict
            ``upload`` (which file it is), ``part`` (from 0), ``last``, ``kind`` ("photo" or "strokes") and ``name``.
        data : bytes

        Raises
        ------
        ValueError
            If the file is larger than one of its kind may be.
        """
        if about["part"] == 0:
            self._begin(about["upload"])
        if (about["upload"], about["part"]) != (self._number, self._parts):
            return None  # of a file that was given up
        self._data += data
        self._parts += 1
        if len(self._data) > LIMITS[about["kind"]]:
            self._begin(None)
            raise ValueError(f"{about['name']} has more than {LIMITS[about['kind']]:,} bytes")
        if not about["last"]:
            return None
        whole = bytes(self._data)
        self._begin(None)
        return whole

    def _begin(self, number: int | str | None) -> None:
        self._number, self._data, self._parts = number, bytearray(), 0


def square_photo(data: bytes, size: int, name: str = "this file") -> Tensor:
    """Return the central square of an encoded photo, uint8 (3, size, size).

    Raises
    ------
    ValueError
        If it is no JPEG, PNG, WebP or BMP picture, is cut short or has too many pixels.
    """
    try:
        square = centre_square(open_image(data), size)
    except Damaged as error:
        raise ValueError(f"{name} {error}") from None
    return torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(size, size, 3).permute(2, 0, 1)
