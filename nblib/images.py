"""Convert pictures between the three ranges the project knows; each name says both ends.

=========  ==========  =========================================
range      dtype       where
=========  ==========  =========================================
uint8      0 … 255     storage: packs, PNG files
unit       [0, 1]      metrics, plots
signed     [-1, 1]     networks and inpainters
=========  ==========  =========================================

All functions work on tensors of any shape and keep the device.

Examples
--------
>>> import torch
>>> levels = torch.arange(256, dtype=torch.uint8)
>>> bool((signed_to_uint8(uint8_to_signed(levels)) == levels).all())
True
"""

import torch
from torch import Tensor


def uint8_to_unit(images: Tensor) -> Tensor:
    """Map 0 … 255 to [0, 1] (float32)."""
    return images.to(torch.float32).div_(255)


def uint8_to_signed(images: Tensor) -> Tensor:
    """Map 0 … 255 to [-1, 1] (float32)."""
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def unit_to_signed(images: Tensor) -> Tensor:
    """Map [0, 1] to [-1, 1]."""
    return images * 2 - 1


def signed_to_unit(images: Tensor) -> Tensor:
    """Map [-1, 1] to [0, 1]."""
    return images * 0.5 + 0.5


def unit_to_uint8(images: Tensor) -> Tensor:
    """Map [0, 1] to 0 … 255, rounding; values outside are clipped."""
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)


def signed_to_uint8(images: Tensor) -> Tensor:
    """Map [-1, 1] to 0 … 255, rounding; values outside are clipped."""
    return unit_to_uint8(signed_to_unit(images))
