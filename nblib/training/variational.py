"""What the training of a conditional VAE changes: the network, and by choice a judge D that mends what it blurs."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nblib import losses, variational
from nblib.datasets.batches import Batch, Batches, seeded
from nblib.images import signed_to_unit
from nblib.networks.cvae import Reconstruction
from nblib.training.average import CALIBRATION_BATCHES, calibrate
from nblib.training.player import Player
from nblib.training.state import Training, check_decay, drawn

SAMPLES = 64  # codes that stay the same through a training
SHOWN = 8  # pictures that stay the same through a training
MEASURED = 50  # steps between two measurements of the gradients' norms
TERMS = ("recon", "kl", "adversarial")

ReconstructionLoss = Callable[..., Tensor]


@dataclass(eq=False)
class VAETraining(Training):
    """A conditional VAE, trained alone; then, fine-tuned, against a discriminator D. The players are "net" and "D".

    The network's loss is ``recon * reconstruction + kl * divergence + adversarial * (-log D)``, each term summed over
    an image and averaged over the batch. The document's first stage has the weights 1 and 1 (its 0.5 L_KL, see
    `nblib.variational`), its second 2, 1 and 10, after D has learnt alone for a few steps.

    Parameters
    ----------
    net : nn.Module
        As `nblib.networks.cvae.ConditionalVAE`: images, masks, labels and noise to a `Reconstruction`.
    D : nn.Module, optional
        Images (B, 3, H, W) in [-1, 1] to logits, high for "photographed".
    task : str, default "general"
        A key of `nblib.tasks.TASKS`; said on the card of the weights.
    reconstruction : callable, default `nblib.variational.bce_reconstruction`
        ``reconstruction(logits, target, weights=None)``, target in [0, 1], weights (B, 1, H, W) of the pixels.
    hole : float, default 1
        Weight of a pixel in the hole, where one outside has 1 (the document). What is known is not taken from the
        drawing, so a network that shows little of itself outside may spend its code and its weights on the hole.
    recon, kl, adversarial : float, defaults 1, 1 and 0
        Weights of the terms. With D, `adversarial` is above 0.
    warm_up : int, default 0
        Steps at the start in which D learns alone, so that its first advice is worth following.
    composite : bool, default False
        Show D pictures with the drawn hole pasted in, not what the network draws of the whole (the document).
    flip : float, default 0
        Share of a batch that is drawn with the other label in fine-tuning, and judged by a D that is told labels. The
        first stage never asks for that, so what a picture shows of its own label may stay in the code.
    mirror : bool, default True
        Mirror half of the pictures, left to right, together with their holes.
    lr, lr_D : float, defaults 1e-3 and 2e-4
    betas, betas_D : (float, float), defaults (0.9, 0.999) and (0.5, 0.999)
    weight_decay : float, default 1e-4
        Of the network, in the decoupled form (AdamW); the document's code adds it to the gradient.
    lr_decay : float, default 1
        What the learning rates are multiplied by after each epoch of `epoch` steps; the document's code has 0.95.
    epoch : int, default 0
        Steps per epoch; needed for `lr_decay`.
    ema : float, default 0.999
        Decay of the network's averaged weights; 0 keeps no average.
    clip, schedule, seed
        As in `Training`.

    Raises
    ------
    ValueError
        If an argument is out of its range, or two do not fit.

    Examples
    --------
    >>> from nblib.networks.cvae import ConditionalVAE
    >>> training = VAETraining(ConditionalVAE(width=2, latent_dim=4, classes=0), ema=0)
    >>> images, masks = torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    >>> training.reconstruct(images, masks).shape
    torch.Size([2, 3, 64, 64])
    """

    net: nn.Module
    D: nn.Module | None = None
    task: str = field(default="general", kw_only=True)
    reconstruction: ReconstructionLoss = field(default=variational.bce_reconstruction, kw_only=True)
    hole: float = field(default=1.0, kw_only=True)
    recon: float = field(default=1.0, kw_only=True)
    kl: float = field(default=1.0, kw_only=True)
    adversarial: float = field(default=0.0, kw_only=True)
    warm_up: int = field(default=0, kw_only=True)
    composite: bool = field(default=False, kw_only=True)
    flip: float = field(default=0.0, kw_only=True)
    mirror: bool = field(default=True, kw_only=True)
    lr: float = field(default=1e-3, kw_only=True)
    lr_D: float = field(default=2e-4, kw_only=True)
    betas: tuple[float, float] = field(default=(0.9, 0.999), kw_only=True)
    betas_D: tuple[float, float] = field(default=(0.5, 0.999), kw_only=True)
    weight_decay: float = field(default=1e-4, kw_only=True)
    lr_decay: float = field(default=1.0, kw_only=True)
    epoch: int = field(default=0, kw_only=True)
    ema: float = field(default=0.999, kw_only=True)
    pulls: Tensor = field(init=False, repr=False)  # norms of the terms' gradients, weighted, as last measured
    examples: Callable[[int], Batch] | None = field(default=None, init=False, repr=False)
    _calibrated: int = field(default=-1, init=False, repr=False)  # step that the average's statistics are of

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay(self.ema)
        self._check()
        self.pulls = torch.zeros(len(TERMS))
        self.players = {"net": Player.adam(self.net, self.lr, self.betas, self.weight_decay, self.ema)}
        if self.D is not None:
            self.players["D"] = Player.adam(self.D, self.lr_D, self.betas_D)

    @property
    def warming(self) -> bool:
        """Whether D learns alone at this step."""
        return self.step < self.warm_up

    def labels(self, batch: Batch) -> Tensor | None:
        """Return what the decoder is told, bool (B,): the only attribute of the batch; None without a label."""
        return batch.attributes[:, 0] if self.net.classes else None

    def error(self, logits: Tensor, images: Tensor, masks: Tensor | None) -> Tensor:
        """Return the reconstruction loss of whole pictures in [-1, 1], hole and all, the hole weighed with `hole`."""
        target = signed_to_unit(images)
        if masks is None or self.hole == 1:
            return self.reconstruction(logits, target)
        return self.reconstruction(logits, target, 1 + (self.hole - 1) * masks)

    def flipped(self, batch: Batch) -> int:
        """Return how many pictures of a batch are drawn with the other label: its first ones, batches are shuffled."""
        return round(self.flip * len(batch.images))

    def told(self, batch: Batch) -> Tensor | None:
        """Return what the decoder is told in fine-tuning: `labels`, the first `flipped` ones turned round."""
        if (labels := self.labels(batch)) is None:
            return None
        return labels ^ (torch.arange(len(labels), device=labels.device) < self.flipped(batch))

    def weighed(self, *terms: Tensor) -> Tensor:
        """Return the weighted sum of reconstruction, divergence and, if given, adversarial loss.

        With D, the norm of each weighted term's gradient by the network's weights is measured every 50 steps, into
        `pulls`: a weight of 10 says nothing as long as one term is a sum over 12,288 numbers and the other is one.
        """
        weighted = [weight * term for weight, term in zip((self.recon, self.kl, self.adversarial), terms, strict=False)]
        if self.D is not None and (self.step - self.warm_up) % MEASURED == 0:
            weights = self.players["net"].learning()
            norms = [losses.gradient_norm(term, weights).detach() for term in weighted]
            self.pulls = torch.stack(norms).float()
        return torch.stack(weighted).sum()

    @torch.no_grad()
    def reconstruct(
        self,
        images: Tensor,
        masks: Tensor | None = None,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return whole pictures (B, 3, H, W) in [-1, 1] as the averaged network draws them, without a trace.

        Parameters
        ----------
        images, masks, labels
            As in `nblib.networks.cvae.ConditionalVAE`; moved to the training's device.
        generator : torch.Generator, optional
            For the codes; by default one that depends on the seed alone, so that pictures of different steps compare.
        """
        generator = seeded(self.device, self.seed, "reconstruct") if generator is None else generator
        given = [None if value is None else value.to(self.device) for value in (images, masks, labels)]
        noise = torch.randn(len(images), self.net.latent_dim, generator=generator, device=generator.device)
        found: Reconstruction = drawn(self.averaged(), *given, noise.to(self.device))
        return found.images()

    @torch.no_grad()
    def sample(self, noise: int | Tensor = 8, labels: Tensor | None = None) -> Tensor:
        """Draw faces from the prior: decode codes that belong to no picture, z ~ N(0, 1).

        Parameters
        ----------
        noise : int or Tensor (n, latent_dim), default 8
            Codes, or how many: then the same ones each time, so that pictures of different steps compare.
        labels : Tensor (n,), optional
            By default with and without the label in turns, if there is one.

        Returns
        -------
        Tensor (n, 3, H, W)
            In [-1, 1], float32, on the training's device.
        """
        if isinstance(noise, int):
            size, generator = (max(noise, SAMPLES), self.net.latent_dim), seeded(self.device, self.seed, "samples")
            noise = torch.randn(size, generator=generator, device=self.device)[:noise]
        if labels is None and self.net.classes:
            labels = torch.arange(len(noise)) % 2 == 0
        labels = None if labels is None else labels.to(self.device)
        net = self.averaged()
        training = net.training
        found = net.eval().decode(noise.to(self.device), labels)
        net.train(training)
        return found

    def averaged(self) -> nn.Module:
        """Return the network to use: averaged weights with statistics that fit them, or the network if `ema` is 0.

        Raises
        ------
        ValueError
            If there are averaged weights and no pictures to take the statistics of batch norm from; see `watch`.
        """
        average = self.players["net"].average
        if average is None:
            return self.net
        net = average.network()
        if self._calibrated != self.step:
            if self.examples is None:
                raise ValueError("averaged weights need pictures for their batch norm; call training.watch(batches)")
            batches = (self._placed(self.examples(number)) for number in range(CALIBRATION_BATCHES))
            calibrate(_OnBatches(net, self.labels, seeded(self.device, self.seed, "calibration")), batches)
            self._calibrated = self.step
        return net

    def watch(self, batches: Batches) -> None:
        """Take what `picture` shows, and the statistics for averaged weights, from the first of these batches."""
        self.examples = lambda number: batches.at(number)  # no copy of a training (a plain function) takes it along

    def picture(self) -> Tensor | None:
        """Return rows of 8 pictures: erased, drawn with their own label, drawn with the other label, and the truth.

        None if there is nothing to show: see `watch`.
        """
        if self.examples is None:
            return None
        batch = self._placed(self.examples(0))
        rows = torch.arange(SHOWN, device=batch.images.device) % len(batch.images)
        images, masks = batch.images[rows], None if batch.masks is None else batch.masks[rows]
        labels = None if (found := self.labels(batch)) is None else found[rows]
        erased = images if masks is None else images.masked_fill(masks, 0)
        shown = [erased, self.reconstruct(images, masks, labels)]
        shown += [] if labels is None else [self.reconstruct(images, masks, ~labels)]
        return torch.cat([*shown, images])

    def prepare(self, batch: Any, *, size: int, rank: int, world: int) -> Any:
        """Return the batch with half of its pictures, and their holes, mirrored: drawn from (seed, step)."""
        if not self.mirror:
            return batch
        turned = self.turned(batch.images, size=size, rank=rank, world=world)
        images = torch.where(turned, batch.images.flip(-1), batch.images)
        masks = None if batch.masks is None else torch.where(turned, batch.masks.flip(-1), batch.masks)
        return dataclasses.replace(batch, images=images, masks=masks)

    def anneal(self, progress: float) -> None:
        """Set the learning rates for `progress` through the run, or, with `lr_decay`, for the epoch."""
        super().anneal(progress)
        if self.lr_decay == 1:
            return
        factor = self.lr_decay ** (self.step // self.epoch)
        for player in self.players.values():
            for group in player.optimiser.param_groups:
                group["lr"] = player.lr * factor

    def to(self, device: torch.device) -> None:
        """Move networks, optimisers and averages to a device."""
        super().to(device)
        self.pulls = self.pulls.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a training changes: step, weights, optimisers, averages, gradient norms."""
        return super().state_dict() | {"pulls": self.pulls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        super().load_state_dict(state)
        self.pulls, self._calibrated = state["pulls"].to(self.device), -1

    def _placed(self, batch: Batch) -> Batch:
        found = {name: getattr(batch, name) for name in ("images", "masks", "attributes")}
        moved = {name: None if value is None else value.to(self.device) for name, value in found.items()}
        return dataclasses.replace(batch, **moved)

    def _check(self) -> None:
        for name in ("hole", "recon", "kl", "adversarial", "warm_up"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: at least 0")
        if (self.adversarial > 0) != (self.D is not None):
            raise ValueError(f"adversarial={self.adversarial}: a weight above 0 needs D, and D a weight above 0")
        if not 0 <= self.flip < 1:
            raise ValueError(f"flip={self.flip}: a share of the batch, at least 0 and below 1")
        if self.flip and not (self.net.classes and getattr(self.D, "classes", 0)):
            raise ValueError(f"flip={self.flip}: needs a network with a label, and a D that is told it")
        if self.D is None and self.warm_up:
            raise ValueError(f"warm_up={self.warm_up}: of D, and there is none")
        if not 0 < self.lr_decay <= 1:
            raise ValueError(f"lr_decay={self.lr_decay}: the factor per epoch is in (0, 1]")
        if self.lr_decay != 1 and (self.schedule != "constant" or self.epoch < 1):
            raise ValueError(
                f"lr_decay={self.lr_decay}: needs schedule='constant' and the steps per epoch; "
                f"here schedule={self.schedule!r}, epoch={self.epoch}"
            )


class _OnBatches(nn.Module):
    """Let a network be called with a whole batch, as `calibrate` does."""

    def __init__(self, net: nn.Module, labels: Callable[[Batch], Tensor | None], generator: torch.Generator):
        super().__init__()
        self.net, self.labels, self.generator = net, labels, generator

    def forward(self, batch: Batch) -> Reconstruction:
        size, device = (len(batch.images), self.net.latent_dim), batch.images.device
        noise = torch.randn(size, generator=self.generator, device=device)
        return self.net(batch.images, batch.masks, self.labels(batch), noise)
