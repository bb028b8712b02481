"""Recipes for chapter 4: an encoder that gives latent searches a warm start, and its rival, the Context Encoder.

References
----------
.. [1] Zhu, Krähenbühl, Shechtman & Efros (2016), Generative Visual Manipulation on the Natural Image Manifold, ECCV.
.. [2] Pathak, Krähenbühl, Donahue, Darrell & Efros (2016), Context Encoders: Feature Learning by Inpainting, CVPR.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nblib import checkpoints
from nblib import masks as holes
from nblib.datasets.batches import Batch, seeded
from nblib.datasets.imageset import ImageSet
from nblib.latent_losses import context_loss, context_weights
from nblib.networks.approxnet import Discriminator
from nblib.networks.context_encoder import ContextEncoder
from nblib.networks.encoder import LatentEncoder
from nblib.priors import LATENTS, UNIFORM, latents_of
from nblib.recipes.base import Recipe
from nblib.recipes.inpainting import inpaint_step
from nblib.training import InpaintTraining, SupervisedTraining
from nblib.training.state import drawn

SHOWN = 8  # samples in the pictures of an encoder's training
MEASURED = 200  # samples for what a card says


@dataclass(eq=False)
class EncoderTraining(SupervisedTraining):
    """An encoder that learns from a generator, which stays as it is.

    Parameters
    ----------
    net : nn.Module
        Images and masks to latent vectors.
    G : nn.Module
        The generator, in eval mode for good.
    masks : str, default "center+seed"
        Keys of `nblib.masks.PROTOCOLS`, joined by "+", for the examples that are shown and measured.
    source : str, default ""
        Which weights G has: its key and the start of their SHA-256.
    picture_weight, real_weight : float, default 0
        Of the picture losses, see `encoder_step`.
    lr, betas, weight_decay, clip, schedule, seed
        As in `SupervisedTraining`.
    """

    G: nn.Module = field(kw_only=True)
    masks: str = field(default="center+seed", kw_only=True)
    source: str = field(default="", kw_only=True)
    picture_weight: float = field(default=0.0, kw_only=True)
    real_weight: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.G.eval()

    def to(self, device: torch.device) -> None:
        """Move the encoder, its optimiser and the generator to a device."""
        super().to(device)
        self.G.to(device)

    @torch.no_grad()
    def example(self, n: int, *address: int | str) -> tuple[Tensor, Tensor, Tensor]:
        """Return latent vectors, G's pictures of them and holes, always the same for an address."""
        generator = seeded("cpu", self.seed, *address)
        z = latents_of(self.G).noise(self.G.latent_dim)(n, generator).to(self.device)
        images = self.G(z).float()
        return z, images, mixed(self.masks)(n, images.shape[-1], generator=generator).to(self.device)

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Return three rows of 8 pictures: samples of G, masked, and what G draws from the encoder's guess."""
        _, images, masks = self.example(SHOWN, "shown")
        again = self.G(drawn(self.net, images, masks)).float()
        return torch.cat([images, images.masked_fill(masks, 0), again])

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """Return what a card says: the errors on samples of G with holes, beside those of guessing the mean.

        ``z_rms`` is the root mean square of z's error and ``z_rms_of_mean`` that of always answering 0; ``known_l1``
        and ``hole_l1`` are the mean absolute errors of G's picture of the guess, in [-1, 1] units.
        """
        z, images, masks = self.example(MEASURED, "measured")
        guess = drawn(self.net, images, masks)
        error = (self.G(guess).float() - images).abs().mean(1, keepdim=True)  # (B, 1, H, W)
        return {
            "images": MEASURED,
            "z_rms": (guess - z).square().mean().sqrt().item(),
            "z_rms_of_mean": z.square().mean().sqrt().item(),
            "known_l1": error[~masks].mean().item(),
            "hole_l1": error[masks].mean().item(),
        }


def encoder(
    images: ImageSet,
    *,
    generator: str = "",
    width: int = 32,
    mask: bool = True,
    masks: str = "center+seed",
    picture_weight: float = 0.0,
    real_weight: float = 4.0,
    batch_size: int = 64,
    lr: float = 3e-4,
    weight_decay: float = 1e-2,
    schedule: str = "cosine",
    seed: int = 0,
) -> Recipe:
    """Return an encoder for a generator, and its training on that generator's own samples [1]_.

    Parameters
    ----------
    images : ImageSet
        The set that the generator was trained on; use a split.
    generator : str, default ""
        Key or weights file of the generator, or the folder of its training; by default ``SET/dcgan-g``.
    width, mask
        Of `LatentEncoder`.
    masks : str, default "center+seed"
        Keys of `nblib.masks.PROTOCOLS`, joined by "+": each hole is drawn from one of them.
    picture_weight, real_weight : float, default 0 and 4
        See `encoder_step`. With real pictures to learn from, guesses for toy faces begin searches at a third of the
        context loss of a random start (data/benchmarks/latent-search.json); without, at well over half.
    batch_size : int, default 64
    lr : float, default 3e-4
        With 1e-3 the tanh at the end is driven into its flat ends early: after 200 steps the error was still larger.
    weight_decay, schedule, seed
        Of `SupervisedTraining`.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the generator draws pictures of another size.
    FileNotFoundError
        If there are no such weights.
    """
    if picture_weight < 0 or real_weight < 0:
        raise ValueError(f"picture_weight={picture_weight}, real_weight={real_weight}: neither may be negative")
    size, sampler = images.images.shape[-1], mixed(masks)
    G, source = _generator(generator or f"{images.name}/dcgan-g", size)
    latents = latents_of(G)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = LatentEncoder(G.latent_dim, width, size, mask, bounded=latents is UNIFORM)
    training = EncoderTraining(
        net,
        G=G,
        masks=masks,
        source=source,
        picture_weight=picture_weight,
        real_weight=real_weight,
        lr=lr,
        weight_decay=weight_decay,
        schedule=schedule,
        seed=seed,
    )
    noise = latents.noise(G.latent_dim)
    return Recipe(training, encoder_step, images.batches(batch_size, masks=sampler, noise=noise, seed=seed))


def encoder_step(training: EncoderTraining, batch: Batch) -> dict[str, Tensor]:
    """Take one step on the squared error of z and, where they have a weight, on picture losses.

    Of a sample of G, the picture loss is the mean absolute difference to G's picture of the guess. Of a real picture,
    whose z nobody knows, it is the context loss that a search would minimise, as a weighted mean over what is known:
    then the encoder learns to do at once what a search does step by step.
    """
    z, masks = batch.noise, batch.masks
    with torch.no_grad():
        images = training.G(z).float()
    guess = training.net(images, masks).float()
    values = {"loss_z": (guess - z).square().mean()}
    loss = values["loss_z"]
    if training.picture_weight:
        values["loss_picture"] = (training.G(guess).float() - images).abs().mean()
        loss = loss + training.picture_weight * values["loss_picture"]
    if training.real_weight:
        again, weights = training.G(training.net(batch.images, masks)).float(), context_weights(masks)
        total = context_loss(again, batch.images, weights)  # (B,)
        values["loss_real"] = (total / (again.shape[1] * weights.sum((1, 2, 3)))).mean()
        loss = loss + training.real_weight * values["loss_real"]
    training.descend("net", loss)
    return values


def context_encoder(
    images: ImageSet,
    *,
    width: int = 32,
    masks: str = "center",
    adversarial: float = 0.001,
    alpha: float = 1.0,
    warm_up: int = 0,
    width_D: int = 32,
    mirror: bool = True,
    batch_size: int = 64,
    lr: float = 1e-3,
    lr_D: float = 1e-4,
    weight_decay: float = 1e-2,
    clip: float = 1.0,
    ema: float = 0.999,
    schedule: str = "cosine",
    seed: int = 0,
) -> Recipe:
    """Return a Context Encoder [2]_ of class size, trained on centre holes by 0.999 L2 + 0.001 adversarial loss.

    As in [2]_, G learns ten times as fast as D. There, D sees the filling alone; ours sees the picture with its hole
    filled, as in chapter 3, and has spectral norm.

    Parameters
    ----------
    images : ImageSet
        Use a split.
    width : int, default 32
        Of `ContextEncoder`.
    masks : str, default "center"
        Keys of `nblib.masks.PROTOCOLS`, joined by "+".
    adversarial : float, default 0.001
        D's share of the loss; 0 leaves D out.
    alpha, warm_up, mirror, lr, lr_D, weight_decay, clip, ema, schedule, seed
        Of `InpaintTraining`.
    width_D : int, default 32
        Of `nblib.networks.approxnet.Discriminator`.
    batch_size : int, default 64

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    size, sampler = images.images.shape[-1], mixed(masks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G, D = ContextEncoder(width, size), Discriminator(width_D, size) if adversarial else None
    training = InpaintTraining(
        G,
        D,
        pixel_loss=l2_in_hole,
        adversarial=adversarial,
        alpha=alpha,
        warm_up=warm_up if adversarial else 0,
        mirror=mirror,
        lr=lr,
        lr_D=lr_D,
        weight_decay=weight_decay,
        ema=ema,
        clip=clip,
        schedule=schedule,
        seed=seed,
    )
    shown = images.batches(min(len(images), SHOWN), masks=sampler, seed=seed).at(0)
    training.watch(shown.images, shown.masks)
    return Recipe(training, inpaint_step, images.batches(batch_size, masks=sampler, seed=seed))


def l2_in_hole(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return the mean squared difference in the hole, over its pixels and channels, then over the images.

    Examples
    --------
    >>> masks = torch.tensor([[[[True, False]]]])
    >>> l2_in_hole(torch.full((1, 3, 1, 2), 3.0), torch.ones(1, 3, 1, 2), masks).item()
    4.0
    """
    error = ((output - target).square() * masks).sum((1, 2, 3))  # (B,)
    return (error / (masks.sum((1, 2, 3)) * output.shape[1])).mean()


def mixed(names: str) -> holes.Sampler:
    """Return a sampler that draws each hole from one of several protocols, as in "center+seed".

    Raises
    ------
    ValueError
        If there is no protocol of that name.

    Examples
    --------
    >>> drawn = mixed("center+seed")(50, generator=torch.Generator().manual_seed(0))
    >>> 10 < (drawn.sum((1, 2, 3)) == 32 * 32).sum().item() < 40
    True
    """
    samplers = [holes.sampler(name.strip()) for name in names.split("+")]
    return samplers[0] if len(samplers) == 1 else partial(_mixed, samplers)


def _mixed(samplers: list[holes.Sampler], n: int, size: int = 64, *, landmarks=None, generator=None, device=None):
    """Draw n holes from each sampler, and choose one of them for each picture."""
    drawn = [sampler(n, size, landmarks=landmarks, generator=generator, device=device) for sampler in samplers]
    device = drawn[0].device
    which = torch.randint(len(samplers), (n,), generator=generator, device=device)
    return torch.stack(drawn)[which, torch.arange(n, device=device)]


def _generator(key: str | Path, size: int) -> tuple[nn.Module, str]:
    """Return a generator for pictures of this size, and which weights it has."""
    key = checkpoints.of_run(key, ("dcgan-g", "sagan-g")) or key
    try:
        G = checkpoints.load(key)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"generator={key}: {error}; train one with `nblib train dcgan`, and give its folder as generator"
        ) from None
    if checkpoints.class_name(type(G)) not in LATENTS:
        raise ValueError(f"generator={key}: of the class {checkpoints.class_name(type(G))}, which draws nothing")
    if G.size != size:
        raise ValueError(f"generator={key} draws pictures of {G.size}x{G.size}; these are {size}x{size}")
    if getattr(G, "classes", 0):
        raise ValueError(f"generator={key} draws by class; encoders are for generators without labels")
    return G, f"{key} {checkpoints.card(key)['sha256'][:12]}"
