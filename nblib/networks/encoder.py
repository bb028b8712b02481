"""An encoder: guess the latent vector that a generator drew a picture from, even if part of the picture is missing.

Its guess is a warm start for a latent search: a search by gradients needs hundreds of passes through the generator to
come where one pass through the encoder begins [1]_.

References
----------
.. [1] Zhu, Krähenbühl, Shechtman & Efros (2016), Generative Visual Manipulation on the Natural Image Manifold, ECCV.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from nblib.layers import halving

START = 4  # side of the smallest feature map, as in the generator
GROUPS = 8  # of channels that are normed together


class LatentEncoder(nn.Module):
    """Map images to latent vectors by strided convolutions, the generator's stages the other way round [1]_.

    Parameters
    ----------
    latent_dim : int, default 100
        Length of a latent vector.
    width : int, default 32
        Channels at half the side, a multiple of 8; each further stage doubles them.
    size : int, default 64
        Side of the images, a power of two from 8.
    mask : bool, default True
        See the hole as a fourth channel. Without it, gray in the hole looks like gray in the picture.
    bounded : bool, default True
        End in a tanh: vectors in (-1, 1), for a generator that was trained on U[-1, 1]. False for normal ones.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Channels are normed in groups: images of a batch do not influence each other, in no mode.

    Examples
    --------
    >>> net, images = LatentEncoder(width=8), torch.zeros(2, 3, 64, 64)
    >>> masks = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    >>> net(images).shape, net(images, masks).shape
    (torch.Size([2, 100]), torch.Size([2, 100]))
    """

    def __init__(self, latent_dim: int = 100, width: int = 32, size: int = 64, mask: bool = True, bounded: bool = True):
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim}: a latent vector has at least one number")
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width={width}: a multiple of {GROUPS}, which is how many groups are normed apart")
        if size < 2 * START or size & (size - 1):
            raise ValueError(f"size={size}: the side is a power of two from {2 * START}, every stage halves it")
        self.latent_dim, self.width, self.size = latent_dim, width, size
        self.mask, self.bounded = mask, bounded
        channels = [3 + mask, *(width * 2**stage for stage in range((size // START).bit_length() - 1))]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [halving(before, after, 4), nn.GroupNorm(GROUPS, after), nn.LeakyReLU(0.2)]
        self.stages = nn.Sequential(*layers, nn.Flatten())
        self.latent = nn.Linear(channels[-1] * START**2, latent_dim)

    def forward(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """Return latent vectors (B, latent_dim).

        Parameters
        ----------
        images : Tensor, float (B, 3, size, size) in [-1, 1]
        masks : Tensor, bool (B, 1, size, size), optional
            True = hole; what lies there is not seen. By default nothing is missing.
        """
        if masks is None:
            masks = torch.zeros_like(images[:, :1], dtype=torch.bool)
        seen = images.masked_fill(masks, 0)
        h = torch.cat([seen, masks.to(seen.dtype)], 1) if self.mask else seen  # (B, 4 or 3, H, W)
        z = self.latent(self.stages(h))  # (B, latent_dim)
        return z.tanh() if self.bounded else z
