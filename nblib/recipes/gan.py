"""Recipes for networks that draw pictures from noise: DCGAN and SAGAN."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from nblib import losses
from nblib.datasets.batches import Batch
from nblib.datasets.imageset import ImageSet
from nblib.networks import dcgan as dcgan_networks
from nblib.networks import sagan as sagan_networks
from nblib.noise import normal_noise, uniform_noise
from nblib.recipes.base import Recipe, Step
from nblib.training import GANTraining


def dcgan(
    images: ImageSet,
    *,
    width: int = 32,
    kernel: int = 4,
    activation: str = "relu",
    norm: str = "spectral",
    hidden: int = 0,
    latent_dim: int = 100,
    loss: str = "hinge",
    batch_size: int = 64,
    lr: float = 2e-4,
    lr_D: float = 4e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    ema: float = 0.999,
    mirror: bool = False,
    schedule: str = "constant",
    seed: int = 0,
) -> Recipe:
    """Return a DCGAN [1]_ of class size and its training, by default with spectral norm in D [2]_ and the hinge loss.

    Document 001 of the course: ``width=16, kernel=5, norm="batch", hidden=64, loss="saturating", batch_size=300,
    lr=3e-4, lr_D=3e-4, ema=0``; the standard network: ``width=64, norm="batch", loss="nonsaturating",
    batch_size=128, lr_D=2e-4, ema=0``.

    Parameters
    ----------
    images : ImageSet
        Of any size that is a power of two; use a split.
    width, kernel, activation, norm, hidden, latent_dim
        Of the networks in `nblib.networks.dcgan`.
    loss : {"hinge", "nonsaturating", "saturating"}, default "hinge"
        A key of `GAN_STEPS`.
    batch_size : int, default 64
        Half of it makes faces sooner, but in a trial on toy faces the Fréchet distance stood still from step 800 on.
    lr, lr_D, betas, ema, mirror, schedule, seed
        Of `GANTraining`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] Radford, Metz & Chintala (2016), Unsupervised Representation Learning with Deep Convolutional Generative
       Adversarial Networks, ICLR.
    .. [2] Miyato, Kataoka, Koyama & Yoshida (2018), Spectral Normalization for Generative Adversarial Networks, ICLR.
    """
    if loss not in GAN_STEPS:
        raise ValueError(f"loss={loss!r}: known are {', '.join(map(repr, GAN_STEPS))}")
    shared = {"width": width, "size": images.images.shape[-1], "kernel": kernel}
    noise = uniform_noise(latent_dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G = dcgan_networks.Generator(latent_dim, activation=activation, **shared)
        D = dcgan_networks.Discriminator(norm=norm, hidden=hidden, **shared)
    rates = {"lr": lr, "lr_D": lr_D, "betas": tuple(betas), "schedule": schedule}
    training = GANTraining(G, D, noise, **rates, ema=ema, mirror=mirror, seed=seed)
    return Recipe(training, GAN_STEPS[loss], images.batches(batch_size, noise=noise, seed=seed))


def sagan(
    images: ImageSet,
    *,
    width: int = 32,
    backbone: str = "dcgan",
    attention_at: int = 32,
    scale: float = 16.0,
    spectral: bool = True,
    label: str = "",
    latent_dim: int = 128,
    batch_size: int = 64,
    lr: float = 2e-4,
    lr_D: float = 8e-4,
    betas: tuple[float, float] = (0.0, 0.99),
    ema: float = 0.999,
    schedule: str = "constant",
    seed: int = 0,
) -> Recipe:
    """Return a SAGAN [1]_ of class size and its training: hinge loss, two learning rates, an averaged generator.

    The published network and its rates: ``width=64, backbone="resnet", scale=1, lr=1e-4, lr_D=4e-4,
    betas=(0.0, 0.9)``. Each ingredient can be left out by one argument: ``attention_at=0`` no attention,
    ``spectral=False`` no spectral norm in G, ``lr_D=2e-4`` one learning rate for both.

    Parameters
    ----------
    images : ImageSet
        Of any size that is a power of two; use a split.
    width, backbone, attention_at, spectral, latent_dim
        Of the networks in `nblib.networks.sagan`.
    scale : float, default 16
        Of the scores in D's attention. With 1 its maps were still nearly uniform after 500 steps on toy cars (entropy
        5.46 of 5.55 nats), as spectral norm bounds queries and keys; G's features are larger, and need no scale.
    label : str, default ""
        An attribute of the set: draw pictures with and without it, by conditional batch norm in G and projection in D.
    batch_size : int, default 64
    lr, lr_D, betas, ema, schedule, seed
        Of `GANTraining`. The rates are twice the published ones, in the same proportion: after 400 steps on toy faces
        the Fréchet distance was 109 with them and 149 with the published ones (in a trial with a scale of 1).

    Raises
    ------
    ValueError
        If an argument is out of its range, or the set has no such attribute.

    References
    ----------
    .. [1] Zhang, Goodfellow, Metaxas & Odena (2019), Self-Attention Generative Adversarial Networks, ICML.
    """
    if label:
        images = replace(images, attributes=images.attribute(label)[:, None], attribute_names=(label,))
    shared = {"width": width, "size": images.images.shape[-1], "backbone": backbone, "attention_at": attention_at}
    shared["classes"] = 2 if label else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G = sagan_networks.Generator(latent_dim, spectral=spectral, **shared)
        D = sagan_networks.Discriminator(scale=scale, **shared)
    noise = normal_noise(latent_dim)
    training = GANTraining(G, D, noise, lr=lr, lr_D=lr_D, betas=tuple(betas), ema=ema, schedule=schedule, seed=seed)
    return Recipe(training, sagan_step, images.batches(batch_size, noise=noise, seed=seed))


def hinge_step(training: GANTraining, batch: Batch) -> dict[str, Tensor]:
    """Let D, then G take one step each on the hinge losses."""
    return _play(training, batch, losses.hinge_loss_d, losses.hinge_loss_g)


def nonsaturating_step(training: GANTraining, batch: Batch) -> dict[str, Tensor]:
    """Let D, then G take one step each on cross-entropy, G in the non-saturating form."""
    return _play(training, batch, losses.bce_loss_d, losses.nonsaturating_loss_g)


def saturating_step(training: GANTraining, batch: Batch) -> dict[str, Tensor]:
    """Let D, then G take one step each on cross-entropy, G in the minimax form, log(1 - D)."""
    return _play(training, batch, losses.bce_loss_d, losses.saturating_loss_g)


def sagan_step(training: GANTraining, batch: Batch) -> dict[str, Tensor]:
    """Let D, then G take one step each on the hinge losses; tell how much attention both let in.

    D has no batch norm, so it sees real and fake images in one batch. With labels, a fake has that of its neighbour.
    """
    labels = batch.attributes[:, 0].long() if training.G.classes else None
    fake = training.G(batch.noise, labels)
    both = None if labels is None else torch.cat([labels, labels])
    real_logits, fake_logits = training.D(torch.cat([batch.images, fake.detach()]), both).float().chunk(2)
    loss_d = losses.hinge_loss_d(real_logits, fake_logits)
    training.descend("D", loss_d)
    loss_g = losses.hinge_loss_g(training.D(fake, labels).float())
    training.descend("G", loss_g)
    layers = {"gamma_G": training.G.attention, "gamma_D": training.D.stem.attention}
    gammas = {name: layer.gamma.detach().clone() for name, layer in layers.items() if layer is not None}
    return {"loss_d": loss_d, "loss_g": loss_g, **gammas}


def _play(
    training: GANTraining, batch: Batch, loss_d: Callable[[Tensor, Tensor], Tensor], loss_g: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Let each player take a step: D on real and fake images in batches of their own, then G through the new D."""
    fake = training.G(batch.noise)
    cost_d = loss_d(training.D(batch.images).float(), training.D(fake.detach()).float())
    training.descend("D", cost_d)
    cost_g = loss_g(training.D(fake).float())
    training.descend("G", cost_g)
    return {"loss_d": cost_d, "loss_g": cost_g}


GAN_STEPS: dict[str, Step] = {
    "hinge": hinge_step,
    "nonsaturating": nonsaturating_step,
    "saturating": saturating_step,
}
