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

Of filled pictures, `l1_in_hole` looks at what was hidden, `l1_whole` at everything, `l1_on_rim` at known pixels around
the hole, and `l1_towards_border` at the hole again, most at its border. `gradient_norm` compares losses by what they
do to the weights.

References
----------
.. [1] Goodfellow et al. (2014), Generative Adversarial Nets, NeurIPS.
.. [2] Lim & Ye (2017), Geometric GAN, arXiv:1705.02894.
.. [3] Denoyer, Hivon & Ruin (2019), Attention-based DCGAN for Image Inpainting, project report.
"""

from collections.abc import Iterable

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
    _check(output, target, masks)
    return _weighted_l1(output, target, masks)


def l1_whole(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the mean absolute difference over all pixels, known ones and those in the hole, as the report has it [3]_.

    Nineteen in twenty pixels are known, so a network that copies them well looks good whatever it draws in the hole.
    Parameters as in `l1_in_hole`; an image without a hole counts too.
    """
    _check(output, target, masks)
    return (output - target).abs().mean()


def l1_on_rim(output: Tensor, target: Tensor, masks: Tensor, width: int = 2) -> Tensor:
    """Return the mean absolute difference over the known pixels at most `width` pixels away from the hole.

    What a network draws there is known, so an offset between its colours and the picture's shows. Added to
    `l1_in_hole`, it asks for fills that would continue beyond the hole.

    Parameters
    ----------
    output, target, masks
        As in `l1_in_hole`: each image weighs the same, and one without a rim makes the loss NaN.
    width : int, default 2
        In pixels, in each of the eight directions.

    Examples
    --------
    >>> target, masks = torch.zeros(1, 3, 5, 5), torch.zeros(1, 1, 5, 5).bool()
    >>> masks[..., 2, 2] = True
    >>> output = masks * 9.0 + torch.ones(1, 3, 5, 5)  # 10 in the hole, 1 around it
    >>> l1_on_rim(output, target, masks, width=1).item()
    1.0
    """
    _check(output, target, masks)
    if width < 1:
        raise ValueError(f"width={width}: a rim is at least one pixel wide")
    near = F.max_pool2d(masks.float(), 2 * width + 1, stride=1, padding=width) > 0
    return _weighted_l1(output, target, near & ~masks)


def l1_towards_border(output: Tensor, target: Tensor, masks: Tensor, emphasis: float = 4.0, reach: int = 4) -> Tensor:
    """Return the weighted mean absolute difference in the hole: pixels at its border weigh most.

    That is the "future step" of the report [3]_: "more emphasis on the pixels on the border of the mask". Weights fall
    from 1 + `emphasis` next to known pixels, in equal steps, to 1 from `reach` pixels further in.

    Parameters
    ----------
    output, target, masks
        As in `l1_in_hole`: each image weighs the same, and one without a hole makes the loss NaN.
    emphasis : float, default 4
        At least 0, which is `l1_in_hole`.
    reach : int, default 4
        In pixels. Beyond the edge of the picture nothing is known, so there is no border.
    """
    _check(output, target, masks)
    if emphasis < 0 or reach < 1:
        raise ValueError(f"emphasis={emphasis}, reach={reach}: at least 0 and 1 pixel")
    weights = inner = masks.float()
    for _ in range(reach):
        inner = -F.max_pool2d(-inner, 3, stride=1, padding=1)  # without the pixels that touch known ones
        weights = weights + emphasis / reach * (masks.float() - inner)
    return _weighted_l1(output, target, weights)


def gradient_norm(loss: Tensor, weights: Iterable[Tensor]) -> Tensor:
    """Return the norm of a loss's gradient by all `weights` together; the graph of the loss is kept.

    Two losses that are to be added pull equally at the weights if each is divided by its norm: so the report chose the
    weight alpha of L1 beside cross-entropy, "by looking at gradients" [3]_.

    Examples
    --------
    >>> weights = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(5.0, requires_grad=True)]
    >>> gradient_norm(3 * weights[0].sum() + 4 * weights[1], weights).item()  # of (3, 3, 4)
    5.830951690673828
    """
    gradients = torch.autograd.grad(loss, list(weights), retain_graph=True, materialize_grads=True)
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))


def _weighted_l1(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over images of each one's mean absolute difference under weights (B, 1, H, W)."""
    error = ((output - target).abs() * weights).sum((1, 2, 3))  # (B,)
    return (error / (weights.sum((1, 2, 3)) * output.shape[1])).mean()


def _check(output: Tensor, target: Tensor, masks: Tensor) -> None:
    if output.shape != target.shape:
        raise ValueError(f"output {tuple(output.shape)} and target {tuple(target.shape)} differ in shape")
    if masks.dtype != torch.bool or masks.shape != (len(output), 1, *output.shape[2:]):
        raise ValueError(f"masks are {masks.dtype} {tuple(masks.shape)}; expected bool (B, 1, H, W), True = hole")
