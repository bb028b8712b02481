"""Layers that several networks share: convolutions that halve or double the side, self-attention, conditional norm.

References
----------
.. [1] Zhang, Goodfellow, Metaxas & Odena (2019), Self-Attention Generative Adversarial Networks, ICML.
.. [2] Miyato, Kataoka, Koyama & Yoshida (2018), Spectral Normalization for Generative Adversarial Networks, ICLR.
.. [3] Radford, Metz & Chintala (2016), Unsupervised Representation Learning with Deep Convolutional Generative
   Adversarial Networks, ICLR.
.. [4] Dumoulin, Shlens & Kudlur (2017), A Learned Representation for Artistic Style, ICLR.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class SelfAttention2d(nn.Module):
    """Let every position of a feature map look at all others and add what it finds, gamma times [1]_.

    With queries q, keys k and values v, three 1x1 convolutions of the input x, position i receives

        o_i = sum over j of softmax_j(q_i . k_j) v_j,        y = x + gamma * out(o).

    The dot products are not divided by the square root of their length, as in [1]_ and unlike in transformers. gamma
    starts at 0: at first the layer does nothing, and the network decides how much of it to let in. Queries and keys
    start alike, so that at first each position looks at what resembles it (`start_alike`).

    Parameters
    ----------
    channels : int
        Of the input and the output; q and k have an eighth of them, v a half.
    pool : bool, default True
        Halve the sides of keys and values by max-pooling, which makes the maps four times smaller. Published code
        does; [1]_ does not mention it.
    scale : float, default 1
        Of the dot products, 1 in [1]_. Where spectral norm bounds q and k, it decides how sharp a map can become.
    groups : int, default 0
        Of channels whose values in an image are normed before q, k and v are taken of them; 0, as in [1]_, norms none.
        Where nothing bounds the weights, dot products grow with the square of the features, and a training without the
        norm may blow up.

    Raises
    ------
    ValueError
        If there are fewer than 8 channels, or the scale is not positive.

    Notes
    -----
    `forward` never holds the map of all pairs: the fused kernel goes through it in tiles. On CPUs that kernel wants q,
    k and v of one length; zeros appended to q and k change no dot product.

    Examples
    --------
    >>> layer = SelfAttention2d(16)
    >>> x = torch.randn(2, 16, 8, 8)
    >>> bool((layer(x) == x).all())  # gamma = 0
    True
    >>> layer.attention_maps(x).shape
    torch.Size([2, 8, 8, 4, 4])
    """

    def __init__(self, channels: int, *, pool: bool = True, scale: float = 1.0, groups: int = 0):
        super().__init__()
        if channels < 8:
            raise ValueError(f"channels={channels}: attention needs at least 8, its keys have an eighth of them")
        if not scale > 0:
            raise ValueError(f"scale={scale}: what the dot products are multiplied by is positive")
        self.channels, self.pool, self.scale = channels, pool, scale
        self.norm = nn.GroupNorm(groups, channels) if groups else nn.Identity()
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.start_alike()

    @torch.no_grad()
    def start_alike(self) -> None:
        """Let queries and keys start from the same weights; call it after giving start values, before `bound`."""
        self.key.weight.copy_(self.query.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + gamma * attention, shape (B, C, H, W), for x (B, C, H, W)."""
        h = self.norm(x)
        q, k, v = _rows(self.query(h)), _rows(self._pooled(self.key(h))), _rows(self._pooled(self.value(h)))
        padding = (0, v.shape[-1] - q.shape[-1])
        q, k = F.pad(q, padding), F.pad(k, padding)  # (B, 1, HW, C/2), (B, 1, H'W', C/2)
        found = F.scaled_dot_product_attention(q, k, v, scale=self.scale)  # (B, 1, HW, C/2)
        found = found.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:])  # (B, C/2, H, W)
        return x + self.gamma * self.out(found)

    def attention_maps(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return where each position looks, float32 (B, H, W, H', W'): softmax over the keys, so each map sums to 1.

        Parameters
        ----------
        x : Tensor, float (B, C, H, W)
            The input of the layer.
        context : Tensor, float (B, C, H, W), optional
            Where the keys come from, if not from `x`: a control, in which positions look at another picture.
        """
        queries = self.query(self.norm(x)).float()
        keys = self._pooled(self.key(self.norm(x if context is None else context))).float()
        scores = queries.flatten(2).transpose(1, 2) @ keys.flatten(2)  # (B, HW, H'W')
        maps = (self.scale * scores).softmax(-1)
        return maps.unflatten(2, keys.shape[2:]).unflatten(1, queries.shape[2:])

    def _pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.pool else x


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm with a scale and a shift of its own for each class [4]_; plain batch norm with `classes` = 0.

    Parameters
    ----------
    channels : int
    classes : int, default 0

    Examples
    --------
    >>> norm = ConditionalBatchNorm2d(3, classes=2)
    >>> norm(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])).shape
    torch.Size([4, 3, 8, 8])
    """

    def __init__(self, channels: int, classes: int = 0):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not classes)
        self.scale = nn.Embedding.from_pretrained(torch.ones(classes, channels), freeze=False) if classes else None
        self.shift = nn.Embedding.from_pretrained(torch.zeros(classes, channels), freeze=False) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return normed features, shape (B, C, H, W), for features x and labels int64 (B,)."""
        h = self.norm(x)
        if self.scale is None:
            return h
        return h * self.scale(labels)[:, :, None, None] + self.shift(labels)[:, :, None, None]


def halving(before: int, after: int, kernel: int, bias: bool = True) -> nn.Conv2d:
    """Return a convolution that halves an even side."""
    return nn.Conv2d(before, after, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias)


def doubling(before: int, after: int, kernel: int, bias: bool = True) -> nn.ConvTranspose2d:
    """Return a layer that doubles the side exactly: 2 (n - 1) + kernel - 2 padding + output_padding = 2n."""
    padding = (kernel - 1) // 2
    extra = 2 * padding + 2 - kernel  # 0 for 4x4; for 5x5 the one row that would make 63 px of 64
    return nn.ConvTranspose2d(before, after, kernel, stride=2, padding=padding, output_padding=extra, bias=bias)


@torch.no_grad()
def start_small(module: nn.Module) -> None:
    """Give a layer the start values of DCGAN [3]_: weights N(0, 0.02), scale of batch norm N(1, 0.02); for `apply`."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)


def bound(module: nn.Module) -> None:
    """Keep the largest singular value of a layer's weights at 1 [2]_; for `apply`, after the start values.

    Its estimate takes two steps of power iteration per pass in train mode, and stands still in eval mode. With one, as
    published, some layers of SAGAN were off by 5 to 18 % after 100 steps on toy faces; with two, by 1 %.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        spectral_norm(module, n_power_iterations=2)


def _rows(x: Tensor) -> Tensor:
    """Return (B, 1, HW, C) for (B, C, H, W): one head, contiguous, or the fused kernel silently is not taken."""
    return x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
