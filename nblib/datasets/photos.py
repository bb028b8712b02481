"""One photo of the user's own: cut a square out of it for a network, and paste the filled square back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nblib.datasets.archives import MAX_BYTES, Damaged
from nblib.datasets.decode import open_image
from nblib.datasets.frames import centre_box, centre_square


@dataclass(frozen=True)
class Photo:
    """A photo and the square that was cut from it.

    Attributes
    ----------
    picture : Tensor, uint8 (3, H, W)
        The photo at its own resolution, upright.
    image : Tensor, uint8 (3, size, size)
        Its central square, resized.
    box : tuple of int
        (left, top, right, bottom) of that square in the photo.
    """

    picture: Tensor
    image: Tensor
    box: tuple[int, int, int, int]

    def paste(self, fill: Tensor, mask: Tensor) -> Tensor:
        """Return the photo with the hole filled by an enlarged `fill`; every pixel outside the hole is untouched.

        Parameters
        ----------
        fill : Tensor, uint8 (3, size, size)
            The completed image.
        mask : Tensor, bool (1, size, size) or (1, H, W)
            True = hole; at the size of the image or of the whole photo (beyond the square, nothing is changed).

        Returns
        -------
        Tensor, uint8 (3, H, W)

        Raises
        ------
        ValueError
            If either has another size.
        """
        sides = (self.image.shape[1:], self.picture.shape[1:])
        if fill.shape != self.image.shape or mask.ndim != 3 or len(mask) != 1 or mask.shape[1:] not in sides:
            raise ValueError(
                f"fill {tuple(fill.shape)} and mask {tuple(mask.shape)} do not fit an image {tuple(self.image.shape)} "
                f"of a photo {tuple(self.picture.shape)}"
            )
        left, top, right, bottom = self.box
        big = (right - left, bottom - top)
        pixels = Image.fromarray(fill.permute(1, 2, 0).contiguous().numpy()).resize(big, Image.Resampling.BICUBIC)
        inside = mask[0, top:bottom, left:right] if mask.shape[1:] == sides[1] else _enlarged(mask[0], big)  # (h, w)
        result = self.picture.clone()
        square = result[:, top:bottom, left:right]  # a view
        square[:, inside] = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[:, inside]
        return result


def open_photo(path: str | Path, size: int = 64) -> Photo:
    """Open one photo: upright, RGB, its central square resized to `size`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no JPEG, PNG, WebP or BMP picture, is cut short or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no picture {path}")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise Damaged(f"has more than {MAX_BYTES} bytes")
        picture = open_image(data)
    except Damaged as error:
        raise ValueError(f"{path} {error}") from error
    box = centre_box(*picture.size, min(picture.size))
    return Photo(_tensor(picture), _tensor(centre_square(picture, size)), box)


def _enlarged(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a mask (H, W) enlarged to `size` (width, height), with hard edges."""
    hole = Image.fromarray(mask.numpy().astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(hole)).bool()


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()  # (3, H, W)
