"""SAGAN: a GAN whose two players can compare distant places of a picture [1]_.

`Generator` and `Discriminator` are made of blocks that double and halve the side, with one self-attention layer where
the feature map has the side `attention_at`, 32 by default. All weights are bounded by spectral norm, in both players.

============  =============================================  ==============================================
backbone      a block of G                                   a block of D
============  =============================================  ==============================================
``dcgan``     norm, ReLU, 4x4 transposed convolution [3]_    4x4 convolution with stride 2, leaky ReLU
``resnet``    norm, ReLU, enlarge, two 3x3 convolutions,     ReLU, two 3x3 convolutions, average of 2x2;
              plus a 1x1 convolution of the input [2]_       plus a 1x1 convolution of the input [2]_
============  =============================================  ==============================================

With `classes`, G's batch norm has a scale and a shift for each class, and D adds the dot product of its features with
a vector of the class to its logit [4]_.

References
----------
.. [1] Zhang, Goodfellow, Metaxas & Odena (2019), Self-Attention Generative Adversarial Networks, ICML.
.. [2] Miyato, Kataoka, Koyama & Yoshida (2018), Spectral Normalization for Generative Adversarial Networks, ICLR.
.. [3] Radford, Metz & Chintala (2016), Unsupervised Representation Learning with Deep Convolutional Generative
   Adversarial Networks, ICLR.
.. [4] Miyato & Koyama (2018), cGANs with Projection Discriminator, ICLR.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nblib.layers import ConditionalBatchNorm2d, SelfAttention2d, bound, doubling, halving, start_small

START = 4  # side of the smallest feature map
BACKBONES = ("dcgan", "resnet")


class Generator(nn.Module):
    """Map latent vectors to images, with self-attention on the way [1]_.

    Parameters
    ----------
    latent_dim : int, default 128
        Length of a latent vector, drawn from N(0, 1).
    width : int, default 32
        Channels of the feature map half as large as the image; each smaller one has twice as many.
    size : int, default 64
        Side of the images, a power of two from 16.
    backbone : {"dcgan", "resnet"}, default "dcgan"
    attention_at : int, default 32
        Side of the feature map that attends to itself, a power of two from 8 to half of `size`; 0 leaves it out.
    scale : float, default 1
        Of the attention's dot products, see `SelfAttention2d`.
    spectral : bool, default True
        Keep the largest singular value of every layer at 1; [1]_ found that G needs it as well as D.
    classes : int, default 0
        Number of classes; 0 draws without labels.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> G = Generator(width=8)
    >>> G(torch.zeros(2, 128)).shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        latent_dim: int = 128,
        width: int = 32,
        size: int = 64,
        backbone: str = "dcgan",
        attention_at: int = 32,
        scale: float = 1.0,
        spectral: bool = True,
        classes: int = 0,
    ):
        super().__init__()
        _check(width, size, backbone, attention_at, classes)
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim}: a latent vector has at least one number")
        self.latent_dim, self.width, self.size, self.backbone = latent_dim, width, size, backbone
        self.attention_at, self.scale, self.spectral, self.classes = attention_at, scale, spectral, classes
        side, channels = START, width * size // (2 * START)  # 8w at 64 px
        self.dense = nn.Linear(latent_dim, channels * START**2)
        self.blocks = nn.ModuleList()
        while side < (size if backbone == "resnet" else size // 2):
            after = max(channels // 2, width)
            self.blocks.append(
                ResidualUp(channels, after, classes) if backbone == "resnet" else Up(channels, after, classes)
            )
            side, channels = 2 * side, after
        self.attention = _attention(attention_at, width, size, scale)
        self.norm = ConditionalBatchNorm2d(channels, classes)
        self.colour = nn.Conv2d(channels, 3, 3, padding=1) if backbone == "resnet" else doubling(channels, 3, 4)
        self.apply(_start)
        if spectral:
            self.apply(bound)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images in [-1, 1], shape (B, 3, size, size).

        Parameters
        ----------
        z : Tensor, float (B, latent_dim)
        labels : Tensor, int64 (B,), optional
            Classes; by default 0, 1, … in turn.
        """
        if self.classes and labels is None:
            labels = torch.arange(len(z), device=z.device) % self.classes
        h = self.dense(z).unflatten(1, (-1, START, START))  # (B, 8w, 4, 4) at 64 px
        for block in self.blocks:
            h = block(h, labels)
            if self.attention is not None and h.shape[-1] == self.attention_at:
                h = self.attention(h)
        return self.colour(F.relu(self.norm(h, labels))).tanh()


class Stem(nn.Module):
    """The front of a discriminator, up to and with its attention: all that is needed to see where D looks.

    A module of its own, so that it can be kept at many steps of a training: a few kilobytes each.

    Parameters
    ----------
    width, size, backbone, attention_at, scale
        As in `Discriminator`.

    Examples
    --------
    >>> Stem(width=8)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 8, 32, 32])
    """

    def __init__(
        self, width: int = 32, size: int = 64, backbone: str = "dcgan", attention_at: int = 32, scale: float = 1.0
    ):
        super().__init__()
        _check(width, size, backbone, attention_at, 0)
        self.width, self.size, self.backbone = width, size, backbone
        self.attention_at, self.scale = attention_at, scale
        sides = [size // 2]
        while sides[-1] > (attention_at or size // 2):
            sides.append(sides[-1] // 2)
        self.blocks = nn.Sequential(*(_down(side, width, size, backbone) for side in sides))
        self.attention = _attention(attention_at, width, size, scale)
        self.apply(_start)
        self.apply(bound)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, channels, attention_at, attention_at) for images (B, 3, size, size) in [-1, 1]."""
        h = self.blocks(images)
        return h if self.attention is None else self.attention(h)


class Discriminator(nn.Module):
    """Map images to one logit each, high for "real", with self-attention on the way [1]_; always with spectral norm.

    Without batch norm the images of a batch do not influence each other.

    Parameters
    ----------
    width : int, default 32
        Channels of the feature map half as large as the image; each smaller one has twice as many.
    size, backbone, attention_at, scale, classes
        As in `Generator`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> D = Discriminator(width=8)
    >>> D(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 1])
    """

    def __init__(
        self,
        width: int = 32,
        size: int = 64,
        backbone: str = "dcgan",
        attention_at: int = 32,
        scale: float = 1.0,
        classes: int = 0,
    ):
        super().__init__()
        _check(width, size, backbone, attention_at, classes)
        self.width, self.size, self.backbone = width, size, backbone
        self.attention_at, self.scale, self.classes = attention_at, scale, classes
        self.stem = Stem(width, size, backbone, attention_at, scale)
        side = attention_at or size // 2
        later = [2**power for power in range(side.bit_length() - 2, START.bit_length() - 2, -1)]
        features = _channels(START, width, size) * (1 if backbone == "resnet" else START**2)
        end = [nn.ReLU(), _Sum()] if backbone == "resnet" else [nn.Flatten()]
        self.rest = nn.Sequential(*(_down(side, width, size, backbone) for side in later), *end)  # (B, features)
        self.logit = nn.Linear(features, 1)
        self.projection = nn.Embedding(classes, features) if classes else None
        for module in (self.rest, self.logit):
            module.apply(_start)
            module.apply(bound)
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits (B, 1).

        Parameters
        ----------
        images : Tensor, float (B, 3, size, size)
            In [-1, 1].
        labels : Tensor, int64 (B,), optional
            Classes; needed if there are some.
        """
        h = self.rest(self.stem(images))
        if self.projection is None:
            return self.logit(h)
        if labels is None:
            raise ValueError(f"labels=None: this discriminator judges an image for one of {self.classes} classes")
        return self.logit(h) + (self.projection(labels) * h).sum(1, keepdim=True)


class Up(nn.Module):
    """Norm, ReLU and a 4x4 transposed convolution that doubles the side."""

    def __init__(self, before: int, after: int, classes: int = 0):
        super().__init__()
        self.norm, self.conv = ConditionalBatchNorm2d(before, classes), doubling(before, after, 4)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return features (B, after, 2H, 2W) for x (B, before, H, W)."""
        return self.conv(F.relu(self.norm(x, labels)))


class ResidualUp(nn.Module):
    """Two convolutions around an enlargement, added to the enlarged input [2]_."""

    def __init__(self, before: int, after: int, classes: int = 0):
        super().__init__()
        self.norms = nn.ModuleList([ConditionalBatchNorm2d(before, classes), ConditionalBatchNorm2d(after, classes)])
        self.convs = nn.ModuleList([nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)])
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return features (B, after, 2H, 2W) for x (B, before, H, W)."""
        h = F.interpolate(F.relu(self.norms[0](x, labels)), scale_factor=2)
        h = self.convs[0](h)
        h = self.convs[1](F.relu(self.norms[1](h, labels)))
        return h + F.interpolate(self.skip(x), scale_factor=2)  # 1x1 first: the same, at a quarter of the work


class ResidualDown(nn.Module):
    """Two convolutions and an average of 2x2, added to the averaged input [2]_; no ReLU before the first block."""

    def __init__(self, before: int, after: int, first: bool = False):
        super().__init__()
        self.first = first
        self.convs = nn.ModuleList([nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)])
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, after, H/2, W/2) for x (B, before, H, W)."""
        h = self.convs[0](x if self.first else F.relu(x))
        h = self.convs[1](F.relu(h))
        return F.avg_pool2d(h, 2) + self.skip(F.avg_pool2d(x, 2))


class _Sum(nn.Module):
    """The sum over all positions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))


def _start(module: nn.Module) -> None:
    """Give a layer its start values: DCGAN's, but for attention; for `apply`, which reaches a layer's parts first.

    Attention learns through gamma only, slowly and noisily. From N(0, 0.02) a step of Adam would turn its few weights
    faster than spectral norm can follow (singular values of 1.27 were seen), so they start orthogonal.
    """
    if isinstance(module, SelfAttention2d):
        for part in (module.query, module.key, module.value, module.out):
            nn.init.orthogonal_(part.weight)
        module.start_alike()
    else:
        start_small(module)


def _attention(side: int, width: int, size: int, scale: float) -> SelfAttention2d | None:
    """Return the attention of the feature map with this side, of as many channels in both players; None for 0."""
    return SelfAttention2d(_channels(side, width, size), scale=scale) if side else None


def _channels(side: int, width: int, size: int) -> int:
    """Return the channels of the feature map with this side, the same in both players; the image has 3."""
    return 3 if side == size else width * size // (2 * side)


def _down(side: int, width: int, size: int, backbone: str) -> nn.Module:
    """Return the block of D that ends at this side."""
    before, after = _channels(2 * side, width, size), _channels(side, width, size)
    if backbone == "resnet":
        return ResidualDown(before, after, first=2 * side == size)
    return nn.Sequential(halving(before, after, 4), nn.LeakyReLU(0.2, inplace=True))


def _check(width: int, size: int, backbone: str, attention_at: int, classes: int) -> None:
    if size < 16 or size & (size - 1):
        raise ValueError(f"size={size}: the side is a power of two from 16, every block doubles or halves it")
    if backbone not in BACKBONES:
        raise ValueError(f"backbone={backbone!r}: known are {', '.join(map(repr, BACKBONES))}")
    sides = [2**power for power in range(3, size.bit_length() - 1)]  # 8 … size / 2
    if attention_at not in (0, *sides):
        raise ValueError(f"attention_at={attention_at}: choose one of {', '.join(map(str, sides))}, or 0 for none")
    if width < 8:
        raise ValueError(f"width={width}: attention needs at least 8 channels, its keys have an eighth of them")
    if classes < 0 or classes == 1:
        raise ValueError(f"classes={classes}: at least 2, or 0 to draw without labels")
