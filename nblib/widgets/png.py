"""Pictures and figures as PNG bytes, as widgets send them to the browser."""

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor


def picture_png(picture: Tensor | np.ndarray) -> bytes:
    """Return a picture, uint8 Tensor (3, H, W) or array (H, W, 3), as PNG.

    Examples
    --------
    >>> picture_png(np.zeros((2, 3, 3), np.uint8))[1:4]
    b'PNG'
    """
    pixels = picture.permute(1, 2, 0).numpy() if isinstance(picture, Tensor) else picture
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def figure_png(figure: Figure) -> bytes:
    """Return a figure as PNG, without its empty margins."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return buffer.getvalue()
