"""A conditional variational autoencoder [1]_ that completes faces and changes an attribute: that of document 004.

======================================  ==============  ===================================================
layer                                   64 px           shape for a `width` w
======================================  ==============  ===================================================
image                                   64x64           3
four convolutions 5x5, stride 2         30, 13, 5, 1    w, 2w, 4w, 8w, with batch norm and ReLU
two dense layers                                        mu and logvar of `latent_dim` units
z and the label's embedding             -               `latent_dim` + `embedding_dim`
dense layer                             8x8             4w, with batch norm and ReLU
three transposed convolutions 2x2       16, 32, 64      4w, 2w, w / 2, with batch norm and ReLU
convolution 5x5                         64x64           3 logits; the sigmoid makes colours in [0, 1] of them
======================================  ==============  ===================================================

The encoder's convolutions have **no padding**: 64 becomes 1, and each of the 8w features sees the whole picture. The
label enters the decoder only, so the code need not hold it. For w = 64 and 512 latent units there are 13,914,691
weights and biases, and 32 numbers of the label's embedding.

`LabelledDiscriminator` is the judge for its fine-tuning that also sees whether a picture fits the label.

References
----------
.. [1] Sohn, Lee & Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models,
   NeurIPS.
.. [2] Miyato & Koyama (2018), cGANs with Projection Discriminator, ICLR.
"""

from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from nblib.images import unit_to_signed
from nblib.layers import SelfAttention2d
from nblib.networks.dcgan import START, Discriminator
from nblib.variational import reparameterise

KERNEL = 5
DOUBLINGS = 3  # of the decoder's first feature map


class Reconstruction(NamedTuple):
    """What the network makes of B images; float32, whatever the precision it computes in.

    Attributes
    ----------
    logits : Tensor (B, 3, H, W)
        Of the colours, before the sigmoid.
    mu, logvar : Tensor (B, latent_dim)
        Mean and log variance of the codes.
    """

    logits: Tensor
    mu: Tensor
    logvar: Tensor

    def images(self) -> Tensor:
        """Return the colours as images in [-1, 1], shape (B, 3, H, W)."""
        return unit_to_signed(self.logits.sigmoid())


class ConditionalVAE(nn.Module):
    """Encode a picture with a hole as a distribution of codes; decode a code and a label as a whole picture.

    Parameters
    ----------
    width : int, default 64
        Channels of the first feature map.
    latent_dim : int, default 512
        Units of the code z.
    size : int, default 64
        Side of the images, a multiple of 8 from 64.
    classes : int, default 2
        Of the label; 0 for a network without one, whose decoder sees z alone.
    embedding_dim : int, default 16
        Length of a label's embedding.
    learned : bool, default True
        Learn the embedding; else it stays as it was drawn, N(0, 1).
    mask_channel : bool, default False
        Tell the encoder where the hole is, by a fourth channel. The document does not: to its network a hole is a
        rectangle of one colour.
    attention : bool, default False
        Add self-attention at 13x13 in the encoder and at 16x16 in the decoder; the document saw no gain.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The document gives no widths ("13 million parameters"); those above are its code's, ReLU is our choice. Its code
    erases with black, we with mid-gray, the middle of the range, as all inpainters of the course do.

    Examples
    --------
    >>> net = ConditionalVAE.class_size()
    >>> images, masks = torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    >>> drawn = net(images, masks, labels=torch.tensor([True, False]))
    >>> drawn.images().shape, drawn.mu.shape
    (torch.Size([2, 3, 64, 64]), torch.Size([2, 128]))
    """

    def __init__(
        self,
        width: int = 64,
        latent_dim: int = 512,
        size: int = 64,
        classes: int = 2,
        embedding_dim: int = 16,
        learned: bool = True,
        mask_channel: bool = False,
        attention: bool = False,
    ):
        super().__init__()
        _check(width, latent_dim, size, classes, embedding_dim, attention)
        self.width, self.latent_dim, self.size, self.classes = width, latent_dim, size, classes
        self.embedding_dim, self.learned, self.mask_channel = embedding_dim, learned, mask_channel
        self.attention = attention
        self.encoder = _encoder(3 + mask_channel, width, attention)
        flat = 8 * width * _side(size) ** 2  # 8w for 64 px
        self.mu, self.logvar = nn.Linear(flat, latent_dim), nn.Linear(flat, latent_dim)
        self.embedding = nn.Embedding(classes, embedding_dim).requires_grad_(learned) if classes else None
        start = size // 2**DOUBLINGS  # 8 for 64 px
        self.dense = nn.Linear(latent_dim + embedding_dim * bool(classes), 4 * width * start**2)
        self.start = nn.Sequential(
            nn.Unflatten(1, (4 * width, start, start)), nn.BatchNorm2d(4 * width), nn.ReLU(inplace=True)
        )
        self.decoder = _decoder(width, attention)

    @classmethod
    def class_size(cls, **arguments) -> Self:
        """Return a size for a class on two CPU cores: half the width, 128 latent units, 2.4 million weights."""
        return cls(**{"width": 32, "latent_dim": 128, **arguments})

    def encode(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the codes, float32 (B, latent_dim) each.

        Parameters
        ----------
        images : Tensor, float (B, 3, size, size) in [-1, 1]
        masks : Tensor, bool (B, 1, size, size), optional
            True in the hole, which is not seen. Without masks all is known.
        """
        if masks is not None:
            images = images.masked_fill(masks, 0)
        if self.mask_channel:
            known = torch.zeros_like(images[:, :1]) if masks is None else masks.to(images.dtype)
            images = torch.cat([images, known], 1)  # (B, 4, H, W)
        h = self.encoder(images).flatten(1)  # (B, 8w) for 64 px
        return self.mu(h).float(), self.logvar(h).float()  # exp(logvar) is too coarse in half precision

    def logits(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits of the colours, float32 (B, 3, size, size).

        Parameters
        ----------
        z : Tensor (B, latent_dim)
        labels : Tensor (B,) or (B, classes), optional
            Class numbers, int64 or bool; or a float weight of each class, to mix their embeddings.

        Raises
        ------
        ValueError
            If the network has classes and no labels are given, or the other way round.
        """
        h = self.dense(torch.cat([z, *self._embedded(labels)], 1))  # (B, 4w * 8 * 8) for 64 px
        return self.decoder(self.start(h)).float()  # (B, 3, H, W)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images in [-1, 1], float32 (B, 3, size, size); parameters as in `logits`."""
        return unit_to_signed(self.logits(z, labels).sigmoid())

    def forward(
        self,
        images: Tensor,
        masks: Tensor | None = None,
        labels: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Reconstruction:
        """Return what a code drawn for each image is decoded to.

        Parameters as in `encode` and `logits`; `noise` (B, latent_dim) decides which code is drawn.
        """
        mu, logvar = self.encode(images, masks)
        return Reconstruction(self.logits(reparameterise(mu, logvar, noise), labels), mu, logvar)

    def _embedded(self, labels: Tensor | None) -> list[Tensor]:
        """Return what the decoder sees of the labels: nothing, or float (B, embedding_dim)."""
        if (labels is None) != (self.classes == 0):
            given = "no labels" if labels is None else "labels"
            raise ValueError(f"{given} for a network with classes={self.classes}: give one label per image, or none")
        if labels is None:
            return []
        if labels.is_floating_point():
            return [labels @ self.embedding.weight]
        return [self.embedding(labels.long())]


class LabelledDiscriminator(Discriminator):
    """A DCGAN discriminator that also judges whether a picture fits its label, by projection [2]_.

    The dot product of the features with a vector of the label is added to the logit. The vectors start at 0: at first
    the label says nothing.

    Parameters
    ----------
    width : int, default 32
    size : int, default 64
    norm : {"batch", "spectral", "none"}, default "spectral"
        As in `nblib.networks.dcgan.Discriminator`.
    classes : int, default 2
        Of the label.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> D = LabelledDiscriminator(width=4)
    >>> D(torch.zeros(2, 3, 64, 64), torch.tensor([True, False])).shape
    torch.Size([2, 1])
    """

    def __init__(self, width: int = 32, size: int = 64, norm: str = "spectral", classes: int = 2):
        super().__init__(width, size, norm=norm)
        if classes < 2:
            raise ValueError(f"classes={classes}: a label has at least 2")
        self.classes = classes
        self.projection = nn.Embedding(classes, width * size // 8 * START**2)  # 8w * 4 * 4 for 64 px
        nn.init.zeros_(self.projection.weight)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits (B, 1) for images (B, 3, size, size) in [-1, 1] with labels (B,), int64 or bool."""
        h = self.stages(images)  # (B, 8w * 4 * 4)
        return self.logit(h) + (self.projection(labels.long()) * h).sum(1, keepdim=True)  # (B, 1)


def _encoder(channels: int, width: int, attention: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = [channels, width, 2 * width, 4 * width, 8 * width]
    for level, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(before, after, KERNEL, stride=2), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        layers += [SelfAttention2d(after, pool=False)] if attention and level == 1 else []  # 13x13
    return nn.Sequential(*layers)


def _decoder(width: int, attention: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = [4 * width, 4 * width, 2 * width, width // 2]
    for level, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.ConvTranspose2d(before, after, 2, stride=2), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        layers += [SelfAttention2d(after, pool=False)] if attention and level == 0 else []  # 16x16
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, KERNEL, padding=KERNEL // 2))


def _side(size: int) -> int:
    """Return the side of the encoder's last feature map.

    Examples
    --------
    >>> _side(64), _side(128)
    (1, 5)
    """
    for _ in range(4):
        size = (size - KERNEL) // 2 + 1  # 64 → 30 → 13 → 5 → 1
    return size


def _check(width: int, latent_dim: int, size: int, classes: int, embedding_dim: int, attention: bool) -> None:
    if width < 2 or width % 2:
        raise ValueError(f"width={width}: an even number, the last feature map has half as many channels")
    if attention and width < 4:
        raise ValueError(f"width={width}: attention needs 4 at least, its keys have an eighth of the channels")
    if latent_dim < 1 or embedding_dim < 1:
        raise ValueError(f"latent_dim={latent_dim}, embedding_dim={embedding_dim}: both are at least 1")
    if size < 64 or size % 2**DOUBLINGS:
        raise ValueError(f"size={size}: a multiple of 8 from 64; four unpadded convolutions leave 1 of 64")
    if classes < 0 or classes == 1:
        raise ValueError(f"classes={classes}: a label has at least 2, and 0 leaves it out")
