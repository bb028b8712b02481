"""Variational autoencoders [1]_: how a code is drawn, what it costs, and whether it says anything.

The encoder answers an image x with a normal distribution of codes, q(z|x) = N(mu, exp(logvar)), one mean and one log
variance per unit of z. The training minimises, for every image,

    -log p(x|z)  +  KL(q(z|x) || N(0, 1)),

the first term by `bce_reconstruction` (or `mse_reconstruction`), the second by `kl_divergence`. **All losses here are
summed over an image and averaged over the batch.** The reduction decides what is learnt: with a mean over the 12,288
numbers of a 64x64 picture the first term weighs that much less, and the code is given up (posterior collapse,
`active_units`); with a mean over the units of z in the second, little is left of the prior.

Document 004 of the course writes L_BCE + 0.5 L_KL with L_KL = sum(-1 - logvar + exp(logvar) + mu²), without the 1/2 of
the divergence. Its 0.5 L_KL is therefore `kl_divergence` at weight 1. (Its eq. 1 lacks a minus sign, and its eq. 2
writes sigma where it means the variance.)

References
----------
.. [1] Kingma & Welling (2014), Auto-Encoding Variational Bayes, ICLR.
.. [2] Burda, Grosse & Salakhutdinov (2016), Importance Weighted Autoencoders, ICLR.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def reparameterise(mu: Tensor, logvar: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw codes z ~ N(mu, exp(logvar)) as mu + exp(logvar / 2) * noise, so that a gradient reaches mu and logvar [1]_.

    The standard deviation is the root of the variance, exp(0.5 logvar). With 0.5 exp(logvar), seen in public code, the
    variance of the drawn codes is a quarter of the square of what the divergence is told.

    Parameters
    ----------
    mu, logvar : Tensor, float (B, z)
    noise : Tensor (B, z), optional
        Standard normal; by default drawn from torch's global generator.

    Returns
    -------
    Tensor (B, z)

    Examples
    --------
    >>> mu, logvar = torch.zeros(10_000, 1), torch.full((10_000, 1), 4.0).log()
    >>> noise = torch.randn(10_000, 1, generator=torch.Generator().manual_seed(0))
    >>> 3.8 < reparameterise(mu, logvar, noise).var().item() < 4.2
    True
    """
    noise = torch.randn_like(mu) if noise is None else noise
    return mu + torch.exp(0.5 * logvar) * noise


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, 1)) in nats: summed over the units of z, averaged over the batch.

    Parameters
    ----------
    mu, logvar : Tensor, float (B, z)

    Examples
    --------
    >>> kl_divergence(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2)).item()  # mu² / 2
    2.0
    """
    return kl_of_units(mu, logvar).sum()


def kl_of_units(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return what each unit of z costs in nats, averaged over the batch, shape (z,); an unused one costs nothing."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean(0)


def bce_reconstruction(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the cross-entropy between pixels and logits: summed over an image, averaged over the batch.

    Its gradient by a logit is sigmoid(logit) - target: it never fades while the pixel is wrong. Pixels between 0 and 1
    keep the minimum above 0.

    Parameters
    ----------
    logits : Tensor, float (B, C, H, W)
        Before the sigmoid.
    target : Tensor, float (B, C, H, W)
        In [0, 1].
    weights : Tensor, float (B, 1, H, W), optional
        Of the pixels; 1 by default.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> round(bce_reconstruction(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)).item(), 3)  # 48 log 2
    33.271
    """
    _check(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target, weights, reduction="sum") / len(logits)


def mse_reconstruction(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the squared error after the sigmoid: summed over an image, averaged over the batch.

    Its gradient by a logit has the factor s (1 - s), s = sigmoid(logit): a pixel that is sure and wrong hardly moves.

    Parameters
    ----------
    logits, target, weights
        As in `bce_reconstruction`.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> mse_reconstruction(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)).item()  # 48 times 1/4
    12.0
    """
    _check(logits, target)
    error = (logits.sigmoid() - target).square()
    return (error if weights is None else weights * error).sum() / len(logits)


def active_units(mu: Tensor, threshold: float = 0.01) -> Tensor:
    """Return how many units of z tell images apart: those whose mean varies by more than `threshold` over images [2]_.

    None: the posterior has collapsed, the decoder draws the same whatever the image. All: next to an autoencoder.

    Parameters
    ----------
    mu : Tensor, float (B, z)
        Of at least two images; of a few hundred for a figure to publish.
    threshold : float, default 0.01
        Of the variance, that of [2]_.

    Returns
    -------
    Tensor, float scalar

    Raises
    ------
    ValueError
        If there are fewer than two images.

    Examples
    --------
    >>> active_units(torch.tensor([[0.5, 3.0, -1.0], [0.5, 3.0, 1.0]])).item()  # the third one
    1.0
    """
    if len(mu) < 2:
        raise ValueError(f"mu of {len(mu)} images: what varies over images needs at least two")
    return (mu.detach().float().var(0) > threshold).sum().float()


def _check(logits: Tensor, target: Tensor) -> None:
    if logits.shape != target.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ in shape")
