"""Context Encoder: look at what surrounds a hole, once, and paint what is missing [1]_.

An encoder halves the picture down to 4x4; a channel-wise dense layer lets every place there know of every other, at a
small part of what a dense layer over all channels would cost; a decoder enlarges it again. It is fast, a single pass,
and knows only holes like those it was trained on.

References
----------
.. [1] Pathak, Krähenbühl, Donahue, Darrell & Efros (2016), Context Encoders: Feature Learning by Inpainting, CVPR.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from nblib.layers import doubling, halving

START = 4  # side of the smallest feature map
GROUPS = 8  # of channels that are normed together


class ChannelwiseDense(nn.Module):
    """A dense layer over all positions of a feature map, with weights of its own for each channel [1]_.

    ``channels * side**4`` weights, where a dense layer over everything would have ``channels**2 * side**4``.

    Parameters
    ----------
    channels : int
    side : int

    Examples
    --------
    >>> layer = ChannelwiseDense(16, side=4)
    >>> layer(torch.zeros(2, 16, 4, 4)).shape, layer.weight.numel()
    (torch.Size([2, 16, 4, 4]), 4096)
    """

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.channels, self.side = channels, side
        bound = 1 / math.sqrt(side**2)  # as nn.Linear starts
        self.weight = nn.Parameter(torch.empty(channels, side**2, side**2).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels, 1, side**2))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, channels, side, side) for x of the same shape; no channel sees another."""
        rows = x.flatten(2).transpose(0, 1)  # (channels, B, side²)
        h = torch.baddbmm(self.bias.to(rows.dtype), rows, self.weight.to(rows.dtype))
        return h.transpose(0, 1).unflatten(2, (self.side, self.side))


class ContextEncoder(nn.Module):
    """Map pictures with holes to whole pictures [1]_.

    Parameters
    ----------
    width : int, default 32
        Channels at half the side, a multiple of 8; each smaller feature map has twice as many.
    size : int, default 64
        Side of the images, a power of two from 8.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Where we differ from [1]_: the hole is mid-gray and the mask a fourth channel, where theirs is filled with the mean
    colour and has to be guessed; the whole picture is painted, of which only the hole is meant to be used; and channels
    are normed in groups, so that images of a batch do not influence each other.

    Examples
    --------
    >>> net, masks = ContextEncoder(width=8), torch.ones(2, 1, 64, 64, dtype=torch.bool)
    >>> net(torch.zeros(2, 3, 64, 64), masks).shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(self, width: int = 32, size: int = 64):
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width={width}: a multiple of {GROUPS}, which is how many groups are normed apart")
        if size < 2 * START or size & (size - 1):
            raise ValueError(f"size={size}: the side is a power of two from {2 * START}, every stage halves it")
        self.width, self.size = width, size
        channels = [4, *(width * 2**stage for stage in range((size // START).bit_length() - 1))]
        down = [
            layer
            for before, after in pairwise(channels)
            for layer in (halving(before, after, 4), nn.GroupNorm(GROUPS, after), nn.LeakyReLU(0.2))
        ]
        up = [
            layer
            for before, after in pairwise(channels[:0:-1])
            for layer in (doubling(before, after, 4), nn.GroupNorm(GROUPS, after), nn.ReLU())
        ]
        inner = channels[-1]
        self.encoder = nn.Sequential(*down)
        self.across = nn.Sequential(ChannelwiseDense(inner, START), nn.Conv2d(inner, inner, 1), nn.ReLU())
        self.decoder = nn.Sequential(*up, doubling(width, 3, 4), nn.Tanh())

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return whole images in [-1, 1], shape (B, 3, size, size); what lies in the holes of `images` is not seen."""
        seen = torch.cat([images.masked_fill(masks, 0), masks.to(images.dtype)], 1)  # (B, 4, H, W)
        h = self.across(self.encoder(seen))  # (B, 8 width, 4, 4) at 64 px; the 1x1 convolution joins the channels
        return self.decoder(h)
