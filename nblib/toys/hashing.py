"""Random numbers as a function of (seed, index, field): no state, no order, the same on every device.

Each number is an integer hash of its address, computed in int64 tensors with 32-bit words, so the integers are
identical on CPU and GPU and do not depend on the batch that they are drawn in.
"""

import zlib

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def mix(word: Tensor) -> Tensor:
    """Return the "lowbias32" finaliser of 32-bit words held in int64 (C. Wellons, Hash Prospector, 2018)."""
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & _WORD
    word = ((word ^ (word >> 15)) * 0x846CA68B) & _WORD
    return word ^ (word >> 16)


def words(seed: int, indices: Tensor, field: str) -> Tensor:
    """Return one 32-bit hash word per index, int64 with the shape of `indices`.

    Parameters
    ----------
    seed : int
        Any integer in [0, 2**32).
    indices : Tensor of int64
        Sample numbers, any shape.
    field : str
        What the number is for; each name gives an independent stream.
    """
    if not 0 <= seed <= _WORD:
        raise ValueError(f"seed={seed}: a seed is an integer in [0, 2**32)")
    salt = zlib.crc32(field.encode())
    word = mix((indices ^ seed) & _WORD)
    word = mix(((word + (indices >> 32)) ^ mix(torch.full_like(indices, (seed * 0x9E3779B9 + salt) & _WORD))) & _WORD)
    return mix(word ^ salt)


def uniform(seed: int, indices: Tensor, field: str, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return float32 numbers uniform in [low, high), one per index.

    Examples
    --------
    >>> few, many = torch.tensor([7]), torch.arange(10)
    >>> bool(uniform(3, few, "hair") == uniform(3, many, "hair")[7])
    True
    """
    unit = (words(seed, indices, field) >> 8).to(torch.float32) * 2.0**-24  # 24 bits are exact in float32
    return unit * (high - low) + low


def normal(seed: int, indices: Tensor, field: str) -> Tensor:
    """Return float32 standard normal numbers, one per index (Box and Muller's cosine branch)."""
    radius = torch.sqrt(-2 * torch.log1p(-uniform(seed, indices, field + "/radius")))
    return radius * torch.cos(2 * torch.pi * uniform(seed, indices, field + "/angle"))


def choice(seed: int, indices: Tensor, field: str, weights: list[float]) -> Tensor:
    """Return int64 class numbers drawn with probabilities proportional to `weights`, one per index."""
    edges = torch.tensor(weights, dtype=torch.float64).cumsum(0)
    edges = (edges / edges[-1]).to(torch.float32)[:-1].to(indices.device)
    return torch.bucketize(uniform(seed, indices, field), edges, right=True)


def pixel_noise(seed: int, indices: Tensor, field: str, shape: tuple[int, ...]) -> Tensor:
    """Return float32 uniform noise in [-1, 1), shape (len(indices), *shape): camera noise, hair texture."""
    count = 1
    for side in shape:
        count *= side
    start = words(seed, indices, field).unsqueeze(1)  # (B, 1)
    place = torch.arange(count, device=indices.device) * 0x9E3779B1  # (count,)
    noise = mix((start + place) & _WORD)
    return ((noise >> 8).to(torch.float32) * 2.0**-23 - 1).view(-1, *shape)
