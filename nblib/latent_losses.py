"""What a latent search minimises: a weighted context loss and a prior loss, one number per image [1]_.

For a picture y with a hole and a drawn picture G(z)::

    context(z) = sum over channels and pixels i of  W_i |G(z)_i - y_i|        W: `context_weights`
    prior(z)   = log(1 - D(G(z))), or -log D(G(z))                            `saturating_prior`, `nonsaturating_prior`
    total(z)   = context(z) + lambda prior(z)

Every loss here is a *sum over one image*, of shape (B,). lambda has a meaning only together with that. Public codes
reduce the losses in different ways, so their values of lambda look a thousandfold apart; to say the same in our sums:

==========================================================  ======  ==============================================
losses as written                                           lambda  here, for 64x64
==========================================================  ======  ==============================================
sums over the image [1]_                                    0.003   0.003
context per image, plus the prior's mean over the batch     0.1     0.1, once the gradients of the batch are added
both as means over batch, channels and pixels               0.003   37: the mean divides by 3 * 64 * 64 = 12,288
sums over the whole batch, context squared                  0.003   none: its balance moves with the size of errors
==========================================================  ======  ==============================================

(In the third, the batch divides both losses alike, which Adam does not notice.)

References
----------
.. [1] Yeh, Chen, Lim, Schwing, Hasegawa-Johnson & Do (2017), Semantic Image Inpainting with Deep Generative Models,
   CVPR.
"""

from torch import Tensor
from torch.nn import functional as F

from nblib import masks as holes


def context_weights(masks: Tensor, window: int = 7, floor: float = 0.02) -> Tensor:
    """Return how much each known pixel tells about the hole: the share of its neighbourhood that is missing [1]_.

    W is largest at pixels that touch the hole, 0 in the hole, and `floor` where the window does not reach it.

    Parameters
    ----------
    masks : Tensor, bool (B, 1, H, W)
        True = hole. [1]_ writes M = 1 for *known* pixels; turned round by mistake, W is least at the rim of the hole,
        and the search looks elsewhere first.
    window : int, default 7
        Side of the neighbourhood, odd; at the picture's border, the part of it that lies inside.
    floor : float, default 0.02
        Least weight of a known pixel, in [0, 1]: about one missing pixel of 49. [1]_ has 0, so that what is further
        than three pixels from the hole has no say in hair, pose or light.

    Returns
    -------
    Tensor, float32 (B, 1, H, W)
        In [0, 1].

    Raises
    ------
    ValueError
        If masks are not bool (B, 1, H, W), an image is all hole, or an argument is out of its range.

    Examples
    --------
    >>> import torch
    >>> masks = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    >>> masks[..., 2, 2] = True
    >>> (9 * context_weights(masks, window=3, floor=0)[0, 0]).tolist()[2]  # a row through the hole
    [0.0, 1.0, 0.0, 1.0, 0.0]
    """
    holes.check(masks)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window={window}: an odd number of pixels, so that it has a centre")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor={floor}: a weight in [0, 1]")
    missing = masks.float()
    share = F.avg_pool2d(missing, window, stride=1, padding=window // 2, count_include_pad=False)
    return share.clamp_min(floor).masked_fill(masks, 0)  # (B, 1, H, W)


def context_loss(drawn: Tensor, images: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted absolute difference of known pixels, summed over each image, shape (B,).

    Parameters
    ----------
    drawn, images : Tensor, float (B, C, H, W)
        What the generator draws, and what is known; in [-1, 1].
    weights : Tensor, float (B, 1, H, W)
        0 in the hole.

    Examples
    --------
    >>> import torch
    >>> weights = torch.tensor([[[[0.5, 0.0]]]])
    >>> context_loss(torch.ones(2, 3, 1, 2), torch.zeros(2, 3, 1, 2), weights)
    tensor([1.5000, 1.5000])
    """
    return ((drawn - images).abs() * weights).sum((1, 2, 3))


def saturating_prior(logits: Tensor) -> Tensor:
    """Return log(1 - D) = -softplus(logit), the prior loss as published [1]_, shape (B,) for logits (B, 1).

    It falls as D takes the picture for real. Its gradient by the logit is -D: none where D is sure of a fake, which is
    where a search that has gone astray would need it.

    Examples
    --------
    >>> import torch
    >>> saturating_prior(torch.tensor([[0.0], [-50.0]]))
    tensor([-6.9315e-01, -1.9287e-22])
    """
    return -F.softplus(logits).sum(1)


def nonsaturating_prior(logits: Tensor) -> Tensor:
    """Return -log D = softplus(-logit), shape (B,) for logits (B, 1): the same wish, with a gradient everywhere.

    Its gradient by the logit, D - 1, is largest where D is sure of a fake.

    Examples
    --------
    >>> import torch
    >>> nonsaturating_prior(torch.tensor([[0.0], [-50.0]]))
    tensor([ 0.6931, 50.0000])
    """
    return F.softplus(-logits).sum(1)
