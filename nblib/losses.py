"""Losses: pure functions of tensors, in the form that stays finite for every logit.

A discriminator's *logit* l says how real an image looks; D = sigmoid(l) is its probability. Written with D, a
confident discriminator gives log(0); written with softplus(l) = log(1 + exp(l)) the same losses never overflow:

===================  =================  ============================================
in terms of D        in terms of l      where
===================  =================  ============================================
-log D               softplus(-l)       `bce_loss_d` (real), `nonsaturating_loss_g`
-log(1 - D)          softplus(l)        `bce_loss_d` (fake)
log(1 - D)           -softplus(l)       `saturating_loss_g`
===================  =================  ============================================

Every loss is a scalar to be *minimised*: the mean over all logits, so its size does not depend on the batch.

References
----------
.. [1] Goodfellow et al. (2014), Generative Adversarial Nets, NeurIPS.
.. [2] Lim & Ye (2017), Geometric GAN, arXiv:1705.02894.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def bce_loss_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the discriminator's cross-entropy, mean(-log D(real)) + mean(-log(1 - D(fake))) [1]_.

    Parameters
    ----------
    real_logits, fake_logits : Tensor, any shape
        Logits of real images and of generated ones; detach the latter from the generator.

    Examples
    --------
    >>> undecided = torch.zeros(4, 1)  # D = 1/2 everywhere: 2 log 2
    >>> round(bce_loss_d(undecided, undecided).item(), 4)
    1.3863
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def saturating_loss_g(fake_logits: Tensor) -> Tensor:
    """Return the generator's loss of the minimax game, mean(log(1 - D(fake))) [1]_.

    Its gradient by a logit is -D: it vanishes where D is sure of a fake, which is where the generator needs it most.
    The sign matters: minimising -log(1 - D) instead would train the generator to be recognised.

    Examples
    --------
    >>> round(saturating_loss_g(torch.zeros(4, 1)).item(), 4)
    -0.6931
    """
    return -F.softplus(fake_logits).mean()


def nonsaturating_loss_g(fake_logits: Tensor) -> Tensor:
    """Return the generator's loss as it is used in practice, mean(-log D(fake)) [1]_.

    It has the same fixed point as `saturating_loss_g`, but its gradient by a logit, D - 1, is largest where D is sure.

    Examples
    --------
    >>> round(nonsaturating_loss_g(torch.zeros(4, 1)).item(), 4)
    0.6931
    """
    return F.softplus(-fake_logits).mean()


def hinge_loss_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the discriminator's hinge loss, mean(max(0, 1 - real)) + mean(max(0, 1 + fake)) [2]_.

    Logits beyond the margin (real above 1, fake below -1) give no gradient: D stops where it is sure enough.

    Examples
    --------
    >>> hinge_loss_d(torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.0])).item()
    0.75
    """
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_loss_g(fake_logits: Tensor) -> Tensor:
    """Return the generator's loss that goes with `hinge_loss_d`, mean(-fake); its gradient never fades.

    Examples
    --------
    >>> hinge_loss_g(torch.tensor([-2.0, 1.0])).item()
    0.5
    """
    return -fake_logits.mean()


def l1_in_hole(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the mean absolute difference in the hole: over the hole's pixels and channels, then over the images.

    Each image weighs the same, whatever the size of its hole. What is known has no part in it and gets no gradient.

    Parameters
    ----------
    output, target : Tensor, float (B, C, H, W)
        In the same range; the loss is in its units.
    masks : Tensor, bool (B, 1, H, W)
        True = hole. An image without a hole makes the loss NaN, at which a training stops; counted as 0 it would
        look perfect.

    Raises
    ------
    ValueError
        If the shapes do not fit or `masks` is not bool.

    Examples
    --------
    >>> output, target, masks = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4).bool()
    >>> masks[..., :2, :2] = True
    >>> l1_in_hole(output, target, masks).item()
    1.0
    """
    if output.shape != target.shape:
        raise ValueError(f"output {tuple(output.shape)} and target {tuple(target.shape)} differ in shape")
    if masks.dtype != torch.bool or masks.shape != (len(output), 1, *output.shape[2:]):
        raise ValueError(f"masks are {masks.dtype} {tuple(masks.shape)}; expected bool (B, 1, H, W), True = hole")
    error = ((output - target).abs() * masks).sum((1, 2, 3))  # (B,)
    return (error / (masks.sum((1, 2, 3)) * output.shape[1])).mean()
