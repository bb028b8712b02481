"""What a training of networks that fill holes changes: a filler G, and by choice an approximator A and a judge D."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from nblib import losses
from nblib.networks.approxnet import pasted
from nblib.training import distributed
from nblib.training.player import Player
from nblib.training.state import Training, check_decay, drawn

SHOWN = 8  # pictures that stay the same through a training
RENEWED = 20  # steps between two measurements of the gradients' norms
MOVED = 0.2  # how far alpha then moves towards the new one
FEWEST, MOST = 1e-4, 1e4  # of alpha

PixelLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(eq=False)
class InpaintTraining(Training):
    """Up to three players [1]_: the approximator A guesses, G refines the guess, D tells filled from whole pictures.

    With an approximator, G sees its guess in the hole; without one, mid-gray. A learns alone for the first
    `approx_steps` steps; then D alone for `warm_up` steps; then G and D, and with `joint` A as well.

    Parameters
    ----------
    G : nn.Module
        Images (B, 3, H, W) in [-1, 1] and masks (B, 1, H, W) to whole images.
    D : nn.Module, optional
        Images and masks to logits, high for "whole".
    approximator : nn.Module, optional
        Maps as G does.
    pixel_loss : callable, default `nblib.losses.l1_in_hole`
        ``pixel_loss(output, target, masks)``, of G.
    adversarial : float, default 0
        a in [0, 1]: G's loss is (1 - a) pixel loss + a / alpha adversarial loss. 0: D has no say; 1: it alone has.
    alpha : float, default 0
        By how much the pixel loss outweighs the adversarial one at a = 1/2, the alpha of [1]_. 0 measures it by the
        gradient-norm rule: the norm of the adversarial loss's gradient by G's weights over that of the pixel loss, so
        that at a = 1/2 both pull equally. Measured every 20 steps, and smoothed.
    approx_steps, warm_up : int, default 0
    joint : bool, default False
        Let A learn together with G, from its own loss and from what comes back through G.
    mirror : bool, default True
        Mirror half of the pictures, left to right; their holes stay where they were drawn.
    lr : float, default 2e-3
        Of G; with an adversarial loss a quarter of it is calmer.
    lr_A, lr_D : float, defaults 1e-3 and 4e-4
    betas, betas_D : (float, float), defaults (0.9, 0.999) and (0.0, 0.99)
        Of G and A, and of D.
    weight_decay : float, default 1e-2
        Of AdamW, for G and A.
    ema : float, default 0.999
        Decay of G's averaged weights; 0 keeps no average.
    origin : str, default ""
        SHA-256 of the weights that G started from, so that cards tell; empty for new ones.
    clip, schedule, seed
        As in `Training`.

    Raises
    ------
    ValueError
        If an argument is out of its range, or two do not fit.

    References
    ----------
    .. [1] Denoyer, Hivon & Ruin (2019), Attention-based DCGAN for Image Inpainting, project report.

    Examples
    --------
    >>> from nblib.networks.approxnet import ApproxNet
    >>> training = InpaintTraining(ApproxNet(size=16, hidden=8), ema=0)
    >>> images, masks = torch.ones(2, 3, 16, 16), torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    >>> masks[..., 4:8, 4:8] = True
    >>> filled = training.fill(images, masks)
    >>> int((filled != images).sum()) == 2 * 3 * 4 * 4
    True
    """

    G: nn.Module
    D: nn.Module | None = None
    approximator: nn.Module | None = None
    pixel_loss: PixelLoss = field(default=losses.l1_in_hole, kw_only=True)
    adversarial: float = field(default=0.0, kw_only=True)
    alpha: float = field(default=0.0, kw_only=True)
    approx_steps: int = field(default=0, kw_only=True)
    warm_up: int = field(default=0, kw_only=True)
    joint: bool = field(default=False, kw_only=True)
    mirror: bool = field(default=True, kw_only=True)
    lr: float = field(default=2e-3, kw_only=True)
    lr_A: float = field(default=1e-3, kw_only=True)
    lr_D: float = field(default=4e-4, kw_only=True)
    betas: tuple[float, float] = field(default=(0.9, 0.999), kw_only=True)
    betas_D: tuple[float, float] = field(default=(0.0, 0.99), kw_only=True)
    weight_decay: float = field(default=1e-2, kw_only=True)
    ema: float = field(default=0.999, kw_only=True)
    origin: str = field(default="", kw_only=True)
    balance: Tensor = field(init=False, repr=False)  # alpha as it is used; a tensor, so that no step waits for it
    shown: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay(self.ema)
        self._check()
        self.balance = torch.tensor(self.alpha or 1.0)
        self.players = {"G": Player.adam(self.G, self.lr, self.betas, self.weight_decay, self.ema)}
        if self.approximator is not None:  # a player even if it never learns: so a checkpoint holds its weights
            self.players["A"] = Player.adam(self.approximator, self.lr_A, self.betas, self.weight_decay)
        if self.D is not None:
            self.players["D"] = Player.adam(self.D, self.lr_D, self.betas_D)

    @property
    def learners(self) -> tuple[str, ...]:
        """The players that learn at this step."""
        if self.step < self.approx_steps:
            return ("A",)
        judge = ("D",) if self.D is not None else ()
        if self.step < self.approx_steps + self.warm_up:
            return judge
        return (*judge, "G", "A") if self.joint else (*judge, "G")

    def guess(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return what G finds in the holes, a whole image (B, 3, H, W): the approximator's, or mid-gray without one.

        Dropout works, and a gradient flows, while the approximator learns.
        """
        if self.approximator is None:
            return torch.zeros_like(images)
        if "A" not in self.learners:
            return drawn(self.approximator, images, masks).float()
        self.approximator.train()
        return self.approximator(images, masks).float()

    def weighed(self, pixel: Tensor, adversarial: Tensor) -> Tensor:
        """Return G's loss of its two parts; now and then, measure their gradients for it first."""
        done = self.step - self.approx_steps - self.warm_up
        if not self.alpha and done % RENEWED == 0:
            weights = self.players["G"].learning()
            norms = torch.stack([losses.gradient_norm(loss, weights) for loss in (pixel, adversarial)]).detach()
            pixel_norm, adversarial_norm = distributed.mean(norms)
            found = (adversarial_norm / pixel_norm.clamp_min(1e-12)).clamp(FEWEST, MOST)
            self.balance = found if done == 0 else torch.lerp(self.balance, found, MOVED)
        return (1 - self.adversarial) * pixel + self.adversarial / self.balance * adversarial

    @torch.no_grad()
    def fill(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return images (B, 3, H, W) in [-1, 1], filled by the averaged G on the training's device, without a trace."""
        images, masks = images.to(self.device), masks.to(self.device)
        found = drawn(self.averaged(), self.approximate(images, masks), masks)
        return pasted(found.clamp(-1, 1), images, masks)

    @torch.no_grad()
    def approximate(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return what `fill` starts from: images with the approximator's guess in their holes, or mid-gray."""
        images, masks = images.to(self.device), masks.to(self.device)
        if self.approximator is None:
            return images.masked_fill(masks, 0)
        return pasted(drawn(self.approximator, images, masks), images, masks)

    def averaged(self) -> nn.Module:
        """Return the filler to use: averaged weights, or G itself if `ema` is 0."""
        average = self.players["G"].average
        return self.G if average is None else average.network()

    def watch(self, images: Tensor, masks: Tensor) -> None:
        """Choose what `picture` shows: the first 8 of these images (n, 3, H, W) in [-1, 1] with their masks."""
        rows = torch.arange(SHOWN) % len(images)
        self.shown = images[rows].cpu(), masks[rows].cpu()

    def picture(self) -> Tensor | None:
        """Return four rows of 8 pictures, masked, guess, filled and truth; without an approximator no guess.

        None if there is nothing to show: see `watch`.
        """
        if self.shown is None:
            return None
        images, masks = (value.to(self.device) for value in self.shown)
        guess = [] if self.approximator is None else [self.approximate(images, masks)]
        return torch.cat([images.masked_fill(masks, 0), *guess, self.fill(images, masks), images])

    def prepare(self, batch: Any, *, size: int, rank: int, world: int) -> Any:
        """Return the batch with half of its pictures mirrored, drawn from (seed, step) for all ranks together."""
        if batch.masks is None:
            raise ValueError("these batches have no holes; make them with images.batches(n, masks=nblib.masks.seed)")
        if not self.mirror:
            return batch
        turned = self.turned(batch.images, size=size, rank=rank, world=world)
        return replace(batch, images=torch.where(turned, batch.images.flip(-1), batch.images))

    def anneal(self, progress: float) -> None:
        """Set the learning rates for `progress` through the run; while A learns alone, that is a run of its own."""
        super().anneal(progress)
        if self.schedule != "constant" and self.step < self.approx_steps and not self.joint:
            self.players["A"].anneal(self.step / self.approx_steps)

    def to(self, device: torch.device) -> None:
        """Move networks, optimisers and averages to a device."""
        super().to(device)
        self.balance = self.balance.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a training changes: step, weights, optimisers, averages, alpha."""
        return super().state_dict() | {"alpha": self.balance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        super().load_state_dict(state)
        self.balance = state["alpha"].to(self.device)

    def _check(self) -> None:
        if not 0 <= self.adversarial <= 1:
            raise ValueError(f"adversarial={self.adversarial}: D's share of G's loss is in [0, 1]")
        if (self.adversarial > 0) != (self.D is not None):
            raise ValueError(f"adversarial={self.adversarial}: a share above 0 needs D, and D a share above 0")
        if self.alpha < 0:
            raise ValueError(f"alpha={self.alpha}: a weight is positive; 0 measures it")
        for name in ("approx_steps", "warm_up"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: a number of steps, at least 0")
        if self.approximator is None and (self.approx_steps or self.joint):
            raise ValueError("approx_steps and joint are for an approximator; there is none")
        if self.D is None and self.warm_up:
            raise ValueError(f"warm_up={self.warm_up}: of D, and there is none with adversarial=0")
