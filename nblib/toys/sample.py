"""What every procedural data set returns: pictures and all that is known about them."""

from typing import NamedTuple

from torch import Tensor


class ToySample(NamedTuple):
    """A batch of drawn pictures with their ground truth.

    Attributes
    ----------
    images : Tensor, uint8 (N, 3, H, W)
    attributes : Tensor, bool (N, A)
        One column per name in the module's `ATTRIBUTES`.
    landmarks : Tensor, float32 (N, L, 2)
        Pixel coordinates (x, y); the centre of the top left pixel is (0, 0).
    parsing : Tensor, uint8 (N, H, W)
        Indices into the module's `LABELS`; 0 is the background.
    """

    images: Tensor
    attributes: Tensor
    landmarks: Tensor
    parsing: Tensor
