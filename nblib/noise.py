"""Where latent vectors come from: samplers for `ImageSet.batches(noise=…)` and for `training.sample`.

A sampler is called as ``sampler(n, generator)``, draws on the generator's device and takes no randomness from anywhere
else, so the same generator gives the same vectors.

Examples
--------
>>> noise = uniform_noise(100)
>>> noise(4, torch.Generator().manual_seed(0)).shape
torch.Size([4, 100])
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

NoiseSampler = Callable[[int, torch.Generator], Tensor]


def uniform_noise(latent_dim: int) -> NoiseSampler:
    """Return a sampler of z ~ U[-1, 1), shape (n, latent_dim): the prior of DCGAN [1]_ and of latent search.

    Raises
    ------
    ValueError
        If `latent_dim` is below 1.

    References
    ----------
    .. [1] Radford, Metz & Chintala (2016), Unsupervised Representation Learning with Deep Convolutional Generative
       Adversarial Networks, ICLR.
    """
    return partial(_uniform, _checked(latent_dim))


def normal_noise(latent_dim: int) -> NoiseSampler:
    """Return a sampler of z ~ N(0, 1), shape (n, latent_dim): the prior of SAGAN and of variational autoencoders.

    Raises
    ------
    ValueError
        If `latent_dim` is below 1.
    """
    return partial(_normal, _checked(latent_dim))


def _uniform(latent_dim: int, n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, latent_dim, generator=generator, device=generator.device) * 2 - 1


def _normal(latent_dim: int, n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, latent_dim, generator=generator, device=generator.device)


def _checked(latent_dim: int) -> int:
    if latent_dim < 1:
        raise ValueError(f"latent_dim={latent_dim}: a latent vector has at least one number")
    return latent_dim
