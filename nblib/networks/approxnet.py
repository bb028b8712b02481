"""Fill a hole roughly, then refine it: the networks of an attention-based GAN for inpainting [1]_.

====================  =============================================================================================
network               what it maps
====================  =============================================================================================
`ApproxNet`           a picture with a hole to a rough whole picture, by dense layers
`ConvApproxNet`       the same by convolutions, to compare
`AttentionRefiner`    a picture with something in its hole to a better one, by a U-Net [2]_ with self-attention [3]_
`Discriminator`       a whole picture to a logit, high for "never broken"
====================  =============================================================================================

All take images (B, 3, H, W) in [-1, 1] and masks bool (B, 1, H, W), True in the hole, and see the mask as one more
channel. The report gives no sizes; those here are ours. Only the hole of an output is meant to be used: `pasted`.

References
----------
.. [1] Denoyer, Hivon & Ruin (2019), Attention-based DCGAN for Image Inpainting, project report.
.. [2] Ronneberger, Fischer & Brox (2015), U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI.
.. [3] Zhang, Goodfellow, Metaxas & Odena (2019), Self-Attention Generative Adversarial Networks, ICML.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nblib.layers import SelfAttention2d, bound, halving

SMALLEST = 8  # side of the refiner's smallest feature map
ATTENDING = (16, 8)  # sides of its feature maps that attend to themselves
GROUPS = 8  # of channels that are normed together
HEADS = ("global", "patch")


def pasted(filling: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Return `images` with the holes taken from `filling`, shape (B, 3, H, W).

    Examples
    --------
    >>> masks = torch.tensor([[[[False, True]]]])
    >>> pasted(torch.ones(1, 3, 1, 2), torch.zeros(1, 3, 1, 2), masks)[0, 0].tolist()
    [[0.0, 1.0]]
    """
    return torch.where(masks, filling.to(images.dtype), images)


class ApproxNet(nn.Module):
    """Guess a whole picture from one with a hole, by dense layers with dropout [1]_.

    Meant to be approximate: its hole, pasted into the picture, hides the hole's edge from the layers that follow.

    Parameters
    ----------
    size : int, default 64
        Side of the images.
    hidden : int, default 1024
        Width of the two hidden layers. There are ``7 * size**2 * hidden`` weights and a few more: 30 million here.
    dropout : float, default 0.3
        Share of the hidden units that are left out in training.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> net = ApproxNet(size=16, hidden=8)
    >>> net(torch.zeros(2, 3, 16, 16), torch.ones(2, 1, 16, 16, dtype=torch.bool)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(self, size: int = 64, hidden: int = 1024, dropout: float = 0.3):
        super().__init__()
        if size < 1 or hidden < 1:
            raise ValueError(f"size={size}, hidden={hidden}: both are at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: the share that is left out is in [0, 1)")
        self.size, self.hidden, self.dropout = size, hidden, dropout
        self.layers = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(4 * size**2, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, 3 * size**2), nn.Tanh(), nn.Unflatten(1, (3, size, size))),
        )

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return whole images in [-1, 1], shape (B, 3, size, size); what lies in the holes of `images` is not seen."""
        return self.layers(_with_masks(images.masked_fill(masks, 0), masks))


class ConvApproxNet(nn.Module):
    """Guess a whole picture by convolutions: down to an eighth of the side, dilated [4]_ there, and up again.

    To be compared with `ApproxNet`: a thirtieth of its weights, and the same ones for every place of the picture.

    Parameters
    ----------
    size : int, default 64
        Side of the images, a multiple of 8.
    width : int, default 32
        Channels at half the side; a quarter has twice, an eighth four times as many.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [4] Iizuka, Simo-Serra & Ishikawa (2017), Globally and Locally Consistent Image Completion, SIGGRAPH.

    Examples
    --------
    >>> net = ConvApproxNet(size=16, width=8)
    >>> net(torch.zeros(2, 3, 16, 16), torch.ones(2, 1, 16, 16, dtype=torch.bool)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(self, size: int = 64, width: int = 32):
        super().__init__()
        if size < 8 or size % 8:
            raise ValueError(f"size={size}: a multiple of 8, the side is halved three times")
        if width < 1:
            raise ValueError(f"width={width}: a feature map has at least one channel")
        self.size, self.width = size, width
        channels = [4, width, 2 * width, 4 * width]
        down = [layer for before, after in pairwise(channels) for layer in (halving(before, after, 4), nn.ReLU())]
        wide = [
            layer
            for dilation in (1, 2, 4)
            for layer in (nn.Conv2d(channels[-1], channels[-1], 3, padding=dilation, dilation=dilation), nn.ReLU())
        ]
        up = [
            layer for before, after in pairwise(channels[:0:-1]) for layer in (_enlarging(before, 4 * after), nn.ReLU())
        ]
        self.layers = nn.Sequential(*down, *wide, *up, _enlarging(width, 12), nn.Tanh())
        self.apply(_start_for_relu)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return whole images in [-1, 1], shape (B, 3, size, size); what lies in the holes of `images` is not seen."""
        return self.layers(_with_masks(images.masked_fill(masks, 0), masks))


class AttentionRefiner(nn.Module):
    """Improve what lies in the hole, by a residual U-Net [2]_ whose small feature maps attend to themselves [3]_.

    The picture is folded to half its side (four pixels side by side become channels), halved down to 8x8 and enlarged
    again, each step up seeing what the step down saw. The feature maps of 16x16, on both ways, and of 8x8 attend to
    themselves, with all positions as keys; their maps can be read by `nblib.attention.record`. What the network adds
    to its input starts at 0: new, it returns the input.

    Parameters
    ----------
    width : int, default 32
        Channels at half the side, a multiple of 8; a quarter has twice, all smaller ones four times as many. 1.3
        million weights for 64 px, and 5.3 million with a width of 64.
    size : int, default 64
        Side of the images, a power of two from 16; each doubling adds a level.
    attention : bool, default True
        False leaves self-attention out.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    [1]_ calls it an encoder-decoder with attention layers and says no more. Ours knows the mask as a channel, and its
    norm is that of groups of channels: images of a batch do not influence each other. What attention compares is normed
    as well: without, a width of 64 on photos blew up within 200 steps.

    Examples
    --------
    >>> net, masks = AttentionRefiner(width=8), torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    >>> images = torch.rand(2, 3, 64, 64) * 2 - 1
    >>> bool((net(images, masks) == images).all())
    True
    """

    def __init__(self, width: int = 32, size: int = 64, attention: bool = True):
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width={width}: a multiple of {GROUPS}, which is how many groups are normed apart")
        if size < 2 * SMALLEST or size & (size - 1):
            raise ValueError(f"size={size}: the side is a power of two from {2 * SMALLEST}, every level halves it")
        self.width, self.size, self.attention = width, size, attention
        sides = [size >> level for level in range(1, size.bit_length() - SMALLEST.bit_length() + 1)]  # size / 2 … 8
        channels = [width * min(size // (2 * side), 4) for side in sides]
        levels = list(zip(sides, channels, strict=True))
        attends = {side: attention and side in ATTENDING for side in sides}
        self.stem = nn.Conv2d(16, width, 3, padding=1)
        self.down = nn.ModuleList(Stage(after, after, attends[side]) for side, after in levels[:-1])
        self.halve = nn.ModuleList(halving(before, after, 4) for before, after in pairwise(channels))
        self.middle = Stage(channels[-1], channels[-1], attends[SMALLEST], blocks_after=2)
        self.enlarge = nn.ModuleList(nn.Conv2d(below, after, 1) for after, below in pairwise(channels))
        self.up = nn.ModuleList(Stage(2 * after, after, attends[side]) for side, after in levels[:-1])
        self.norm = nn.GroupNorm(GROUPS, width)
        self.colour = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.colour.weight)
        nn.init.zeros_(self.colour.bias)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return whole images, about [-1, 1], shape (B, 3, size, size), for images with a first guess in their holes.

        Not clipped, so that a pixel that is too bright still has a gradient.
        """
        h = self.stem(F.pixel_unshuffle(_with_masks(images, masks), 2))  # (B, width, H/2, W/2)
        seen = []
        for stage, halve in zip(self.down, self.halve, strict=True):
            seen.append(stage(h))
            h = halve(seen[-1])
        h = self.middle(h)  # (B, 4 width, 8, 8)
        for stage, enlarge, skip in reversed(list(zip(self.up, self.enlarge, seen, strict=True))):
            h = F.interpolate(enlarge(h), scale_factor=2)  # 1x1 first: the same, at a quarter of the work
            h = stage(torch.cat([h, skip], 1))
        return images + F.pixel_shuffle(self.colour(F.relu(self.norm(h))), 2)  # (B, 3, H, W)


class Stage(nn.Module):
    """A residual block, self-attention if wanted, and more blocks if wanted."""

    def __init__(self, before: int, after: int, attention: bool, blocks_after: int = 0):
        super().__init__()
        self.block = NormedBlock(before, after)
        self.attention = SelfAttention2d(after, pool=False, groups=GROUPS) if attention else nn.Identity()
        self.more = nn.Sequential(*(NormedBlock(after, after) for _ in range(blocks_after)))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, after, H, W) for x (B, before, H, W)."""
        return self.more(self.attention(self.block(x)))


class NormedBlock(nn.Module):
    """Two convolutions, each after a norm and a ReLU, added to the input; they start by adding nothing."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(GROUPS, before), nn.GroupNorm(GROUPS, after)])
        self.convs = nn.ModuleList([nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)])
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)
        nn.init.zeros_(self.convs[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, after, H, W) for x (B, before, H, W)."""
        h = self.convs[0](F.relu(self.norms[0](x)))
        return self.skip(x) + self.convs[1](F.relu(self.norms[1](h)))


class Discriminator(nn.Module):
    """Tell whole pictures from filled ones: convolutions with stride 2, then two dense layers [1]_; spectral norm.

    Parameters
    ----------
    width : int, default 32
        Channels at half the side; each smaller feature map has twice as many.
    size : int, default 64
        Side of the images, a power of two from 16.
    head : {"global", "patch"}, default "global"
        "global": down to 4x4, two dense layers, one logit an image. "patch" [5]_: down to an eighth of the side, one
        logit for each place there, which judges what is around it only.
    mask : bool, default False
        Show it the mask too, of real and of filled images alike: it need not look for the hole.
    hidden : int, default 128
        Width of the first dense layer.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [5] Isola, Zhu, Zhou & Efros (2017), Image-to-Image Translation with Conditional Adversarial Networks, CVPR.

    Examples
    --------
    >>> images, masks = torch.zeros(2, 3, 64, 64), torch.ones(2, 1, 64, 64, dtype=torch.bool)
    >>> Discriminator(width=8)(images, masks).shape, Discriminator(width=8, head="patch")(images, masks).shape
    (torch.Size([2, 1]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(self, width: int = 32, size: int = 64, head: str = "global", mask: bool = False, hidden: int = 128):
        super().__init__()
        if width < 1 or hidden < 1:
            raise ValueError(f"width={width}, hidden={hidden}: both are at least 1")
        if size < 16 or size & (size - 1):
            raise ValueError(f"size={size}: the side is a power of two from 16, every layer halves it")
        if head not in HEADS:
            raise ValueError(f"head={head!r}: known are {', '.join(map(repr, HEADS))}")
        self.width, self.size, self.head, self.mask, self.hidden = width, size, head, mask, hidden
        smallest = 4 if head == "global" else size // 8
        channels = [3 + mask] + [width * 2**level for level in range((size // smallest).bit_length() - 1)]
        self.stages = nn.Sequential(
            *(layer for before, after in pairwise(channels) for layer in (halving(before, after, 4), nn.LeakyReLU(0.2)))
        )
        if head == "global":
            dense = [nn.Flatten(), nn.Linear(16 * channels[-1], hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)]
            self.logit = nn.Sequential(*dense)
        else:
            self.logit = nn.Conv2d(channels[-1], 1, 3, padding=1)
        self.apply(_start_orthogonal)
        self.apply(bound)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return logits, (B, 1) or, of patches, (B, 1, size / 8, size / 8)."""
        return self.logit(self.stages(_with_masks(images, masks) if self.mask else images))


def _start_for_relu(module: nn.Module) -> None:
    """Give a layer weights that keep the size of what passes through it and a ReLU; for `apply`."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


def _start_orthogonal(module: nn.Module) -> None:
    """Give a layer orthogonal weights; for `apply`. Bounded, others would let little through six layers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.orthogonal_(module.weight)
        nn.init.zeros_(module.bias)


def _with_masks(images: Tensor, masks: Tensor) -> Tensor:
    """Return images with the mask as a fourth channel, (B, 4, H, W)."""
    return torch.cat([images, masks.to(images.dtype)], 1)


def _enlarging(before: int, after: int) -> nn.Sequential:
    """Return a convolution that doubles the side: four of its channels become four pixels (`after` is four-fold)."""
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.PixelShuffle(2))
