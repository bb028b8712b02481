"""What part of a picture becomes the small square image, and where its landmarks go.

A frame is called with an upright RGB picture and its row number and returns uint8 (size, size, 3); `meta` is what a
pack remembers of it. Pixel centres lie on whole numbers: (0, 0) is the centre of the top left pixel.
"""

import cv2
import numpy as np
from PIL import Image

from nblib.datasets.archives import Damaged

CELEBA = (178, 218)  # width and height of the official aligned pictures; landmark files are in these pixels
STORED = (CELEBA, (89, 109))  # sizes in which they are passed around
EYES_MOUTH = ((21.0, 25.0), (42.0, 25.0), (31.5, 47.0))  # where `align` puts eyes and mouth, in pixels of 64


def centre_box(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the centred square; halves are rounded to even, as torchvision does.

    Examples
    --------
    >>> centre_box(89, 109, 64)
    (12, 22, 76, 86)
    """
    left, top = round((width - size) / 2), round((height - size) / 2)
    return left, top, left + size, top + size


class CelebACrop:
    """The plain crop: resize to 89x109 (half of the official 178x218), cut the central 64x64.

    Parameters
    ----------
    size : int, default 64
        Side of the square; the frame of 89x109 grows with it (`size` 128 cuts from 178x218).
    """

    at_least = None

    def __init__(self, size: int = 64):
        self.size = size
        self.frame = (round(89 * size / 64), round(109 * size / 64))
        self.box = centre_box(*self.frame, size)
        self.meta = {"kind": "centre", "frame": list(self.frame), "box": list(self.box)}

    def __call__(self, picture: Image.Image, row: int) -> np.ndarray:
        """Return the crop, uint8 (size, size, 3)."""
        return np.asarray(in_frame(picture, self.frame).crop(self.box))

    def move(self, landmarks: np.ndarray) -> np.ndarray:
        """Return where official landmarks (N, 5, 2) lie in the crop."""
        return to_frame(landmarks, self.frame) - np.array(self.box[:2])


class EyesMouth:
    """Warp each face so that both eyes and the middle of the mouth come to lie on fixed places.

    The idea is that of Amos' OpenFace (``innerEyesAndBottomLip``), an affine map from three points. They are not the
    same points: CelebA's five landmarks have the centres of the eyes and the corners of the mouth.

    Parameters
    ----------
    landmarks : ndarray (N, 5, 2)
        Left eye, right eye, nose, left and right corner of the mouth, in pixels of the official 178x218.
    size : int, default 64
        Side of the square.

    References
    ----------
    .. [1] Amos, Ludwiczuk & Satyanarayanan (2016), OpenFace: A general-purpose face recognition library, CMU-CS-16-118.
    """

    at_least = None

    def __init__(self, landmarks: np.ndarray, size: int = 64):
        self.size = size
        self.frame = (round(89 * size / 64), round(109 * size / 64))
        self.target = (np.array(EYES_MOUTH) + 0.5) * size / 64 - 0.5  # (3, 2)
        points = to_frame(landmarks, self.frame)
        self.source = np.stack([points[:, 0], points[:, 1], points[:, 3:].mean(1)], 1)  # (N, 3, 2)
        self.meta = {"kind": "eyes-mouth", "frame": list(self.frame), "points": self.target.tolist()}

    def __call__(self, picture: Image.Image, row: int) -> np.ndarray:
        """Return the warped face, uint8 (size, size, 3); what lies beyond the picture is its mirror image."""
        if abs(_area(self.source[row])) < (self.size / 64) ** 2:
            raise Damaged(f"has eyes and mouth on one line ({self.source[row].round(1).tolist()}), no face to align")
        matrix = cv2.getAffineTransform(self.source[row].astype(np.float32), self.target.astype(np.float32))
        pixels = np.asarray(in_frame(picture, self.frame))  # near the final scale: bilinear is enough from here
        return cv2.warpAffine(pixels, matrix, (self.size, self.size), borderMode=cv2.BORDER_REFLECT_101)

    def move(self, landmarks: np.ndarray) -> np.ndarray:
        """Return where official landmarks (N, 5, 2) lie after the warp; NaN for faces without area."""
        points = to_frame(landmarks, self.frame)
        moved = np.full(points.shape, np.nan)
        good = np.abs(_area(self.source)) >= (self.size / 64) ** 2
        corners = np.concatenate([self.source[good], np.ones((good.sum(), 3, 1))], 2)  # (M, 3, 3)
        matrices = np.linalg.solve(corners, np.broadcast_to(self.target, (good.sum(), 3, 2)))  # (M, 3, 2)
        moved[good] = np.concatenate([points[good], np.ones((good.sum(), 5, 1))], 2) @ matrices
        return moved


class CentreSquare:
    """The largest central square of a picture of any size, resized to `size`."""

    def __init__(self, size: int = 64):
        self.size = size
        self.at_least = (2 * size, 2 * size)  # a JPEG decoder may skip detail beyond twice the final size
        self.meta = {"kind": "centre square"}

    def __call__(self, picture: Image.Image, row: int) -> np.ndarray:
        """Return the square, uint8 (size, size, 3)."""
        return np.asarray(centre_square(picture, self.size))


def centre_square(picture: Image.Image, size: int) -> Image.Image:
    """Return the largest central square, resized; it is cut first, so nothing beyond it bleeds in."""
    square = picture.crop(centre_box(*picture.size, min(picture.size)))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def in_frame(picture: Image.Image, frame: tuple[int, int]) -> Image.Image:
    """Return an official or half-size CelebA picture at the size `frame`.

    Raises
    ------
    Damaged
        If it has another size, and so another crop.
    """
    if picture.size not in STORED:
        raise Damaged("is {}x{}; CelebA's aligned pictures are 178x218, or 89x109 at half size".format(*picture.size))
    return picture if picture.size == frame else picture.resize(frame, Image.Resampling.BILINEAR)


def to_frame(landmarks: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Return landmarks (N, L, 2) given in pixels of 178x218 in pixels of the frame."""
    return (landmarks + 0.5) * (np.array(frame) / np.array(CELEBA)) - 0.5


def _area(points: np.ndarray) -> np.ndarray:
    """Return the signed area (…,) of triangles (…, 3, 2)."""
    a, b = points[..., 1, :] - points[..., 0, :], points[..., 2, :] - points[..., 0, :]
    return (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) / 2
