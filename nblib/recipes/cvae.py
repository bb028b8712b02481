"""Recipes of document 004: a conditional VAE for one of four tasks, and its fine-tuning against a discriminator.

References
----------
.. [1] Larsen, Sønderby, Larochelle & Winther (2016), Autoencoding beyond Pixels Using a Learned Similarity Metric,
   ICML.
.. [2] Radford, Metz & Chintala (2016), Unsupervised Representation Learning with Deep Convolutional Generative
   Adversarial Networks, ICLR.
.. [3] Bao, Chen, Wen, Li & Hua (2017), CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training, ICCV.
.. [4] Reed, Akata, Yan, Logeswaran, Schiele & Lee (2016), Generative Adversarial Text to Image Synthesis, ICML.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nblib import checkpoints, losses, tasks, variational
from nblib import masks as holes
from nblib.datasets.batches import Batch, Batches, seeded
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_unit
from nblib.networks.cvae import ConditionalVAE, LabelledDiscriminator
from nblib.networks.dcgan import Discriminator
from nblib.recipes.base import Recipe
from nblib.training.state import drawn
from nblib.training.variational import TERMS, ReconstructionLoss, VAETraining

RECONSTRUCTIONS: dict[str, ReconstructionLoss] = {
    "bce": variational.bce_reconstruction,
    "mse": variational.mse_reconstruction,
}


def cvae(
    images: ImageSet,
    *,
    task: str = "general",
    masks: str = "",
    width: int = 32,
    latent_dim: int = 128,
    learned: bool = True,
    mask_channel: bool = False,
    attention: bool = False,
    loss: str = "bce",
    hole: float = 1.0,
    kl: float = 1.0,
    mirror: bool = True,
    batch_size: int = 64,
    lr: float = 1e-3,
    lr_decay: float = 1.0,
    weight_decay: float = 1e-4,
    ema: float = 0.999,
    schedule: str = "cosine",
    seed: int = 0,
) -> Recipe:
    """Return a conditional VAE of class size and its training, the document's first stage.

    The document's own: ``width=64, latent_dim=512, batch_size=128, schedule="constant", lr_decay=0.95, ema=0,
    mirror=False``, for 5 to 30 epochs. (Its learning rate is 0.01; start at 0.001.)

    Parameters
    ----------
    images : ImageSet
        Faces of 64 px; use a split. The tasks "smiling" and "glasses-remover" need that attribute.
    task : str, default "general"
        A key of `nblib.tasks.TASKS`: which part is hidden, and which label the decoder is told.
    masks : str, default ""
        Other holes than the task's: a key of `nblib.masks.PROTOCOLS`, or another task; to compare.
    width, latent_dim, learned, mask_channel, attention
        Of `ConditionalVAE`.
    loss : {"bce", "mse"}, default "bce"
        A key of `RECONSTRUCTIONS`.
    hole : float, default 1
        Weight of a pixel in the hole, see `VAETraining`.
    kl : float, default 1
        Weight of the divergence; 1 is the document's 0.5 L_KL.
    batch_size : int, default 64
    mirror, lr, lr_decay, weight_decay, ema, schedule, seed
        Of `VAETraining`; an epoch is one of `images`.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the set lacks the attribute.
    """
    chosen = tasks.find(task)
    size, classes = images.images.shape[-1], 2 if chosen.label else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ConditionalVAE(width, latent_dim, size, classes, 16, learned, mask_channel, attention)
    batches = _batches(images, chosen, masks, batch_size, seed)
    training = VAETraining(
        net,
        task=task,
        reconstruction=_loss(loss),
        hole=hole,
        kl=kl,
        mirror=mirror,
        lr=lr,
        lr_decay=lr_decay,
        epoch=len(batches),
        weight_decay=weight_decay,
        ema=ema,
        schedule=schedule,
        seed=seed,
    )
    training.watch(batches)
    return Recipe(training, cvae_step, batches)


def cvae_fine(
    images: ImageSet,
    *,
    start: str | nn.Module = "",
    task: str = "",
    masks: str = "",
    width: int = 32,
    latent_dim: int = 128,
    loss: str = "bce",
    hole: float = 1.0,
    recon: float = 2.0,
    kl: float = 1.0,
    adversarial: float = 10.0,
    warm_up: float = 0.05,
    composite: bool = False,
    flip: float = 0.0,
    width_D: int = 32,
    norm_D: str = "spectral",
    mirror: bool = True,
    batch_size: int = 64,
    lr: float = 2e-4,
    lr_D: float = 2e-4,
    lr_decay: float = 1.0,
    weight_decay: float = 1e-4,
    ema: float = 0.999,
    schedule: str = "cosine",
    seed: int = 0,
) -> Recipe:
    """Return the fine-tuning of a conditional VAE against a DCGAN discriminator [2]_, the document's second stage.

    Both learn in one run: D alone first, then each takes a step, the network on the sum of the three terms [1]_. The
    document's own: ``width_D=64, norm_D="batch", batch_size=128, mirror=False, ema=0, schedule="constant"``.

    Parameters
    ----------
    images : ImageSet
        Those of the first stage.
    start : str or network, default ""
        A run of `cvae`, its weights file, a key such as "toyfaces/cvae-smiling", or a network. Without one, a new
        network of `width` and `latent_dim` meets D from step 0: to see why the document has two stages.
    task : str, default ""
        By default that of the weights; of a network, or without a start, it must be told.
    masks, loss, hole, batch_size
        As in `cvae`.
    recon, kl, adversarial, composite, flip
        Of `VAETraining`; by default the document's weights, 2, 1 (its 0.5 L_KL) and 10. With `flip`, D is a
        `LabelledDiscriminator`; the document's D knows no labels.
    warm_up : float, default 0.05
        Share of an epoch in which D learns alone; above 1 for several epochs, 0 for none.
    width_D, norm_D
        Of `nblib.networks.dcgan.Discriminator`.
    mirror, lr, lr_D, lr_decay, weight_decay, ema, schedule, seed
        Of `VAETraining`.

    Raises
    ------
    ValueError
        If an argument is out of its range, the set lacks the attribute, or labels are to be flipped where there are
        none.
    FileNotFoundError
        If there are no weights where some were named.
    """
    if warm_up < 0:
        raise ValueError(f"warm_up={warm_up}: a share of an epoch, at least 0")
    chosen = tasks.find(task) if task else _task_of(start)
    if flip and not chosen.label:
        raise ValueError(f"flip={flip}: {chosen.name} has no label; smiling and glasses-remover have")
    size, classes = images.images.shape[-1], 2 if chosen.label else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _started(start, size, classes) if start else ConditionalVAE(width, latent_dim, size, classes)
        D = (LabelledDiscriminator if flip else Discriminator)(width_D, size, norm=norm_D)
    batches = _batches(images, chosen, masks, batch_size, seed)
    training = VAETraining(
        net.requires_grad_(True),
        D,
        task=chosen.name,
        reconstruction=_loss(loss),
        hole=hole,
        recon=recon,
        kl=kl,
        adversarial=adversarial,
        warm_up=math.ceil(warm_up * len(batches)),
        composite=composite,
        flip=flip,
        mirror=mirror,
        lr=lr,
        lr_D=lr_D,
        lr_decay=lr_decay,
        epoch=len(batches),
        weight_decay=weight_decay,
        ema=ema,
        schedule=schedule,
        seed=seed,
    )
    training.watch(batches)
    return Recipe(training, cvae_fine_step, batches)


def cvae_step(training: VAETraining, batch: Batch) -> dict[str, Tensor]:
    """Take one step on reconstruction and divergence; tell how many units of the code are in use."""
    found = training.net(batch.images, batch.masks, training.labels(batch))
    recon = training.error(found.logits, batch.images, batch.masks)
    kl = variational.kl_divergence(found.mu, found.logvar)
    loss = training.weighed(recon, kl)
    training.descend("net", loss)
    return {"loss": loss, "recon": recon, "kl": kl, "active": variational.active_units(found.mu)}


def cvae_fine_step(training: VAETraining, batch: Batch) -> dict[str, Tensor]:
    """Let D take one step on real and drawn pictures together, then the network one, unless D is warming up.

    With `VAETraining.flip` D is told labels, and learns that a real picture with the other label is wrong too [4]_.
    Pictures that are drawn with the other label have no truth to be compared with: D alone says what is wrong with
    them, much as in [3]_, whose classifier asks for the label. The last values are the norms of the weighted terms'
    gradients, `VAETraining.pulls`: what each really weighs.
    """
    told = training.told(batch)
    with torch.no_grad() if training.warming else contextlib.nullcontext():
        found = training.net(batch.images, batch.masks, told)
    fake = found.images()
    if training.composite and batch.masks is not None:
        fake = torch.where(batch.masks, fake, batch.images)
    own = slice(training.flipped(batch), None)  # drawn with their own label
    recon = training.error(found.logits[own], batch.images[own], None if batch.masks is None else batch.masks[own])
    kl = variational.kl_divergence(found.mu, found.logvar)
    labels = (training.labels(batch), told) if training.flip else ()
    loss_d = losses.bce_loss_d(*judged(training.D, batch.images, fake.detach(), *labels))
    training.descend("D", loss_d)
    values = {"loss": torch.zeros_like(recon), "recon": recon, "kl": kl, "loss_d": loss_d, "loss_g": recon * 0}
    if not training.warming:
        values["loss_g"] = losses.nonsaturating_loss_g(_of_drawn(training.D, batch.images, fake, *labels))
        values["loss"] = training.weighed(recon, kl, values["loss_g"])
        training.descend("net", values["loss"])
    return values | {f"gradient_{name}": pull.clone() for name, pull in zip(TERMS, training.pulls, strict=True)}


@torch.no_grad()
def measure(training: VAETraining, images: ImageSet, limit: int = 500) -> dict[str, float]:
    """Return what pictures that were not learnt say of a network, on its own task and with their own labels.

    Parameters
    ----------
    training : VAETraining
    images : ImageSet
        Use the test split; its first `limit` pictures are taken.
    limit : int, default 500

    Returns
    -------
    dict of str to float
        ``reconstruction`` and ``divergence`` in nats per image; ``active_units`` of `nblib.variational`, whose
        variance is that over these pictures; ``l1_whole`` and, where there are holes, ``hole_l1``, in [0, 1] units.
        Empty for fewer than two pictures.
    """
    images = images.take(slice(0, min(limit, len(images))))
    if len(images) < 2:
        return {}
    batches = _batches(images, tasks.find(training.task), "", min(50, len(images)), seed=0)
    rows = [_measured(training, batch) for batch in batches]
    means = {key: torch.stack([row[key] for row in rows]).mean().item() for key in rows[0] if key != "mu"}
    return means | {"active_units": variational.active_units(torch.cat([row["mu"] for row in rows])).item()}


def _measured(training: VAETraining, batch: Batch) -> dict[str, Tensor]:
    """Return the means of one batch, and mu (B, latent_dim)."""
    net, device = training.averaged(), training.device
    images, masks = batch.images.to(device), None if batch.masks is None else batch.masks.to(device)
    labels = None if (own := training.labels(batch)) is None else own.to(device)
    generator = seeded(device, "measure", int(batch.indices[0]))
    noise = torch.randn(len(images), net.latent_dim, generator=generator, device=device)
    found = drawn(net, images, masks, labels, noise)
    error = (found.images() - images).abs() / 2
    told = {
        "reconstruction": training.reconstruction(found.logits, signed_to_unit(images)),
        "divergence": variational.kl_divergence(found.mu, found.logvar),
        "l1_whole": error.mean(),
        "mu": found.mu,
    }
    return told if masks is None else told | {"hole_l1": losses.l1_in_hole(error, torch.zeros_like(error), masks)}


def judged(
    D: nn.Module, real: Tensor, fake: Tensor, labels: Tensor | None = None, told: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return D's logits of real pictures (B, 1) and of drawn ones, that go through D as one batch.

    Apart, batch norm would remove what tells the two apart on average, and its running statistics would fit neither.
    A D that is told labels takes those of the real pictures and those that the drawn ones were to have, (B,) each; the
    second answer, (2B, 1), then goes on with the real pictures told the other label, which are wrong as well [4]_.
    """
    if labels is None:
        real_logits, fake_logits = D(torch.cat([real, fake])).float().chunk(2)
        return real_logits, fake_logits
    logits = D(torch.cat([real, fake, real]), torch.cat([labels, told, ~labels])).float()
    return logits[: len(real)], logits[len(real) :]


def _of_drawn(D: nn.Module, real: Tensor, fake: Tensor, *labels: Tensor) -> Tensor:
    """Return D's logits of drawn pictures (B, 1): beside real ones, as in D's own step, if it has batch norm."""
    if any(isinstance(module, _BatchNorm) for module in D.modules()):
        return judged(D, real, fake, *labels)[1][: len(fake)]
    return D(fake, *labels[1:]).float()


def _batches(images: ImageSet, task: tasks.Task, masks: str, batch_size: int, seed: int) -> Batches:
    """Return batches with the task's holes, or other ones, and its label as the only attribute."""
    if task.label:
        images = replace(images, attributes=images.attribute(task.label)[:, None], attribute_names=(task.label,))
    if not masks:
        sampler = task.sampler(images.name)
    elif masks in tasks.TASKS:
        sampler = tasks.TASKS[masks].sampler(images.name)
    else:
        sampler = holes.sampler(masks)
    return images.batches(batch_size, masks=sampler, seed=seed)


def _loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    if name not in RECONSTRUCTIONS:
        raise ValueError(f"loss={name!r}: known are {', '.join(map(repr, RECONSTRUCTIONS))}")
    return RECONSTRUCTIONS[name]


def _started(start: str | nn.Module, size: int, classes: int) -> ConditionalVAE:
    """Return trained weights as a network for images of this size and labels of so many classes."""
    net = start if isinstance(start, nn.Module) else checkpoints.load(tasks.weights_of(start))
    if not isinstance(net, ConditionalVAE):
        raise ValueError(f"{start} is of the class {checkpoints.class_name(type(net))}, no conditional VAE")
    if (net.size, net.classes) != (size, classes):
        raise ValueError(
            f"start: a network for {net.size} px and classes={net.classes}; the pictures and the task ask for "
            f"{size} px and classes={classes}"
        )
    return net


def _task_of(start: str | nn.Module) -> tasks.Task:
    """Return the task that weights were trained for, as their card says."""
    if not start or isinstance(start, nn.Module):
        raise ValueError(f"task: which one? choose from {', '.join(tasks.TASKS)}; only weights with a card know theirs")
    return tasks.of_card(checkpoints.card(tasks.weights_of(start)))
