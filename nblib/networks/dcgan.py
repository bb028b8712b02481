"""DCGAN: a generator and a discriminator of strided convolutions alone [1]_.

Both go through the same stages in opposite directions; every stage halves or doubles the side and doubles or halves
the channels. For 64 px and a `width` w:

====================  ====  ====  ====  =====  =====
side                  64    32    16    8      4
====================  ====  ====  ====  =====  =====
channels              3     w     2w    4w     8w
====================  ====  ====  ====  =====  =====

`small` is the network of the course's document 001 (w = 16, 5x5, a dense layer of 64 in D), `standard` the usual one
(w = 64, 4x4), `class_size` one for two CPU cores (w = 32, 4x4, spectral norm in D). Images of 128 px take one stage
more.

References
----------
.. [1] Radford, Metz & Chintala (2016), Unsupervised Representation Learning with Deep Convolutional Generative
   Adversarial Networks, ICLR.
.. [2] Miyato, Kataoka, Koyama & Yoshida (2018), Spectral Normalization for Generative Adversarial Networks, ICLR.
.. [3] Odena, Dumoulin & Olah (2016), Deconvolution and Checkerboard Artifacts, Distill.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Self

from torch import Tensor, nn

from nblib.layers import bound, doubling, halving, start_small

START = 4  # side of the smallest feature map
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, 0.2, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "tanh": nn.Tanh,
}
NORMS = ("batch", "spectral", "none")


class Generator(nn.Module):
    """Map latent vectors to images: a dense layer, then transposed convolutions, each doubling the side [1]_.

    Parameters
    ----------
    latent_dim : int, default 100
        Length of a latent vector.
    width : int, default 64
        Channels of the last hidden feature map; the first has ``width * size / 8``.
    size : int, default 64
        Side of the images, a power of two from 8.
    kernel : int, default 4
        Side of the filters. 4 is a multiple of the stride, so each pixel is painted equally often; 5, as in [1]_, is
        not, which shows as a faint checkerboard [3]_.
    activation : {"relu", "leaky_relu", "elu", "tanh"}, default "relu"
        After every hidden layer; the output is a tanh.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Weights start as N(0, 0.02), batch norm's scale as N(1, 0.02). [1]_ starts from 1024 channels; its usual
    implementations, and `standard`, from 512.

    Examples
    --------
    >>> import torch
    >>> G = Generator.small()
    >>> G(torch.zeros(2, 100)).shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self, latent_dim: int = 100, width: int = 64, size: int = 64, kernel: int = 4, activation: str = "relu"
    ):
        super().__init__()
        _check(width, size, kernel, activation)
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim}: a latent vector has at least one number")
        self.latent_dim, self.width, self.size = latent_dim, width, size
        self.kernel, self.activation = kernel, activation
        channels = [width * size // 2**stage for stage in range(3, size.bit_length())]  # 8w … w at 64 px
        self.dense = nn.Linear(latent_dim, channels[0] * START**2, bias=False)  # no bias: batch norm has one
        self.start = nn.Sequential(nn.BatchNorm2d(channels[0]), ACTIVATIONS[activation]())
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [doubling(before, after, kernel, bias=False), nn.BatchNorm2d(after), ACTIVATIONS[activation]()]
        self.stages = nn.Sequential(*layers, doubling(channels[-1], 3, kernel), nn.Tanh())
        self.apply(start_small)

    @classmethod
    def small(cls, **arguments) -> Self:
        """Return the document's own size: 128-64-32-16 channels, filters 5x5."""
        return cls(**{"width": 16, "kernel": 5, **arguments})

    @classmethod
    def class_size(cls, **arguments) -> Self:
        """Return a size for a class on two CPU cores: 256-128-64-32 channels, filters 4x4."""
        return cls(**{"width": 32, **arguments})

    @classmethod
    def standard(cls, **arguments) -> Self:
        """Return the usual size: 512-256-128-64 channels, filters 4x4."""
        return cls(**arguments)

    def forward(self, z: Tensor) -> Tensor:
        """Return images in [-1, 1], shape (B, 3, size, size), for latent vectors (B, latent_dim)."""
        h = self.dense(z).unflatten(1, (-1, START, START))  # (B, 8w, 4, 4) at 64 px
        return self.stages(self.start(h))  # (B, 3, size, size)


class Discriminator(nn.Module):
    """Map images to one logit each, high for "real": strided convolutions, then a dense layer [1]_.

    Parameters
    ----------
    width : int, default 64
        Channels of the first feature map; every further stage doubles them.
    size : int, default 64
        Side of the images, a power of two from 8.
    kernel : int, default 4
        Side of the filters.
    activation : {"relu", "leaky_relu", "elu", "tanh"}, default "leaky_relu"
        After every hidden layer; leaky with slope 0.2.
    norm : {"batch", "spectral", "none"}, default "batch"
        "batch": batch norm after every convolution but the first [1]_. Images of a batch then influence each other:
        real and fake ones must go through D in batches of their own. "spectral": every layer's largest singular value
        is kept at 1 [2]_ instead; its estimate moves in train mode only.
    hidden : int, default 0
        Width of a dense layer before the logit; 0 leaves it out.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import torch
    >>> D = Discriminator.small()
    >>> D(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 1])
    """

    def __init__(
        self,
        width: int = 64,
        size: int = 64,
        kernel: int = 4,
        activation: str = "leaky_relu",
        norm: str = "batch",
        hidden: int = 0,
    ):
        super().__init__()
        _check(width, size, kernel, activation)
        if norm not in NORMS:
            raise ValueError(f"norm={norm!r}: known are {', '.join(map(repr, NORMS))}")
        self.width, self.size, self.kernel = width, size, kernel
        self.activation, self.norm, self.hidden = activation, norm, hidden
        channels = [width * 2**stage for stage in range(size.bit_length() - START.bit_length())]  # w … 8w at 64 px
        layers: list[nn.Module] = [halving(3, width, kernel), ACTIVATIONS[activation]()]
        for before, after in pairwise(channels):
            layers.append(halving(before, after, kernel, bias=norm != "batch"))
            layers += [nn.BatchNorm2d(after)] if norm == "batch" else []
            layers.append(ACTIVATIONS[activation]())
        flat = channels[-1] * START**2
        layers.append(nn.Flatten())
        if hidden:
            layers += [nn.Linear(flat, hidden), ACTIVATIONS[activation]()]
        self.stages = nn.Sequential(*layers)
        self.logit = nn.Linear(hidden or flat, 1)
        self.apply(start_small)
        if norm == "spectral":  # after the start values: it estimates their singular vectors
            self.apply(bound)

    @classmethod
    def small(cls, **arguments) -> Self:
        """Return the document's own network: 16-32-64-128 channels, filters 5x5, a dense layer of 64."""
        return cls(**{"width": 16, "kernel": 5, "hidden": 64, **arguments})

    @classmethod
    def class_size(cls, **arguments) -> Self:
        """Return a size for a class on two CPU cores: 32-64-128-256 channels, filters 4x4, spectral norm."""
        return cls(**{"width": 32, "norm": "spectral", **arguments})

    @classmethod
    def standard(cls, **arguments) -> Self:
        """Return the usual size: 64-128-256-512 channels, filters 4x4, batch norm."""
        return cls(**arguments)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1) for images (B, 3, size, size) in [-1, 1]."""
        h = self.stages(images)  # (B, 8w * 4 * 4), or (B, hidden)
        return self.logit(h)  # (B, 1)


def _check(width: int, size: int, kernel: int, activation: str) -> None:
    if width < 1:
        raise ValueError(f"width={width}: a feature map has at least one channel")
    if size < 8 or size & (size - 1):
        raise ValueError(f"size={size}: the side is a power of two from 8, every stage doubles or halves it")
    if kernel not in (4, 5):
        raise ValueError(f"kernel={kernel}: filters are 4x4 (the usual ones) or 5x5 (as published)")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r}: known are {', '.join(map(repr, ACTIVATIONS))}")
