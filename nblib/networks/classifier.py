"""A small attribute classifier: a judge of what a picture shows, and a feature space to measure distances in."""

import torch
from torch import Tensor, nn


class AttributeClassifier(nn.Module):
    """Tell which attributes a picture has: residual blocks [1]_, averaged over all positions.

    For 64 px: 64 → 32 (stem) → 32 → 16 → 8 → 8, with width, width, 2, 4 and 4 width channels. Any side from 8 works.
    Judge and measure in eval mode, where an image's verdict does not depend on the others of its batch. (Group norm
    would not need that, but learnt slower: on toy faces it knew less after 600 steps than batch norm after 400.)

    Parameters
    ----------
    attributes : int
        Number of attributes; each has a logit of its own, so several can be true at once. Classes that exclude each
        other are one attribute each.
    width : int, default 32
        Channels of the stem.

    Attributes
    ----------
    feature_dim : int
        Length of a feature vector, 4 `width`.

    Raises
    ------
    ValueError
        If there is no attribute, or `width` is below 1.

    References
    ----------
    .. [1] He, Zhang, Ren & Sun (2016), Deep Residual Learning for Image Recognition, CVPR.

    Examples
    --------
    >>> judge = AttributeClassifier(19).eval()
    >>> faces = torch.zeros(2, 3, 64, 64)
    >>> judge(faces).shape, judge.features(faces).shape
    (torch.Size([2, 19]), torch.Size([2, 128]))
    """

    def __init__(self, attributes: int, width: int = 32):
        super().__init__()
        if attributes < 1:
            raise ValueError(f"attributes={attributes}: there is nothing to learn; load a set that has attributes")
        if width < 1:
            raise ValueError(f"width={width}: a feature map has at least one channel")
        self.attributes, self.width = attributes, width
        self.feature_dim = 4 * width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(
            ResidualBlock(width, width),
            ResidualBlock(width, 2 * width, stride=2),
            ResidualBlock(2 * width, 4 * width, stride=2),
            ResidualBlock(4 * width, 4 * width),
        )
        self.standard = nn.BatchNorm1d(self.feature_dim, affine=False)
        self.logits = nn.Linear(self.feature_dim, attributes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the logits are read from, shape (B, feature_dim), for images (B, 3, H, W) in [-1, 1].

        Each feature has mean 0 and variance 1 over the training images, so that none rules a distance between sets.
        """
        h = self.stem(images)  # (B, width, H/2, W/2)
        h = self.blocks(h)  # (B, 4 width, H/8, W/8)
        return self.standard(h.mean((2, 3)))  # (B, 4 width)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit per attribute, shape (B, attributes), for images (B, 3, H, W) in [-1, 1]."""
        return self.logits(self.features(images))  # (B, attributes)


class ResidualBlock(nn.Module):
    """Add two convolutions to what comes in; a 1x1 convolution brings that to the same shape where it must change."""

    def __init__(self, before: int, after: int, stride: int = 1):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return a feature map (B, after, H / stride, W / stride) for `x` (B, before, H, W)."""
        return torch.relu(self.shortcut(x) + self.residual(x))  # (B, after, H / stride, W / stride)
