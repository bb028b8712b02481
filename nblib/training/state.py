"""What a training changes, in one place: networks, optimisers, averaged weights, step and seed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nblib import checkpoints
from nblib.datasets.batches import seeded
from nblib.training.average import CALIBRATION_SIZE
from nblib.training.player import Player

SCHEDULES = ("constant", "cosine")
FIXED_SAMPLES = 64  # latents that stay the same through a training, so that pictures of different steps compare


@dataclass(eq=False, kw_only=True)
class Training:
    """What all trainings share; a sibling adds its networks as fields and fills `players` in ``__post_init__``.

    Parameters
    ----------
    clip : float, optional
        Largest norm of a player's gradient.
    schedule : "constant" or "cosine"
        Of the learning rates; "cosine" falls to 0 over the run that `fit` makes.
    seed : int, default 0
        Seed of all that is random in training besides the batches, such as dropout.

    Attributes
    ----------
    step : int
        Steps done.
    players : dict of str to Player
    """

    clip: float | None = None
    schedule: str = "constant"
    seed: int = 0
    step: int = field(default=0, init=False)
    players: dict[str, Player] = field(default_factory=dict, init=False, repr=False)
    stopping: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r}: choose from {', '.join(SCHEDULES)}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip}: the largest gradient norm is positive; None does not clip")

    def descend(self, player: str, loss: Tensor) -> None:
        """Take one optimiser step of a player down the gradient of a loss.

        Only this player's weights get a gradient: in G's step, the loss goes back *through* D, and what D's own
        weights would need is not computed. In a distributed training the gradients are averaged over the ranks.

        Parameters
        ----------
        player : str
            A key of `players`.
        loss : Tensor, scalar
        """
        self.descend_together([player], loss)

    def descend_together(self, players: Sequence[str], loss: Tensor) -> None:
        """Let several players take one optimiser step each down the gradient of one loss; see `descend`."""
        chosen = [self._player(name) for name in players]
        for player in chosen:
            player.optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=[weight for player in chosen for weight in player.learning()])
        for player in chosen:
            player.take_step(self.clip)
        torch.clear_autocast_cache()  # it holds these weights in bfloat16, as they were before the step
        for player in chosen:
            if player.average is not None:
                player.average.update(self.step)

    def prepare(self, batch: Any, *, size: int, rank: int, world: int) -> Any:
        """Return the batch as the step function will see it; siblings add what is missing."""
        return batch

    def turned(self, images: Tensor, *, size: int, rank: int, world: int) -> Tensor:
        """Return which of a rank's pictures (b, 3, H, W) to mirror, bool (b, 1, 1, 1): about half of the whole batch.

        Drawn from (seed, step) for all ranks together.
        """
        share = size // world
        coins = torch.rand(size, generator=seeded("cpu", self.seed, "mirror", self.step)) < 0.5
        return coins[rank * share : (rank + 1) * share].to(images.device).view(-1, 1, 1, 1)

    def picture(self) -> Tensor | None:
        """Return images (n, 3, H, W) in [-1, 1] that show how far the training is, or None if there is nothing."""
        return None

    def stop(self) -> None:
        """Ask `fit` to stop after the current step, leaving a checkpoint (for a stop button)."""
        self.stopping = True

    def anneal(self, progress: float) -> None:
        """Set the learning rates for `progress` in [0, 1] through the run."""
        if self.schedule == "constant":
            return
        for player in self.players.values():
            player.anneal(progress)

    def train(self) -> None:
        """Put all networks into training mode."""
        for player in self.players.values():
            player.net.train()

    def to(self, device: torch.device) -> None:
        """Move networks, optimisers and averages to a device."""
        for player in self.players.values():
            player.net.to(device)
            player.optimiser.load_state_dict(player.optimiser.state_dict())  # moves its moments to the weights
            if player.average is not None:
                player.average.to(device)

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Lay the 4-D weights of all networks out in another order in memory; no value changes."""
        for player in self.players.values():
            player.arrange(memory_format)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(next(iter(self.players.values())).net.parameters()).device

    def hyper_parameters(self) -> dict[str, Any]:
        """Return everything that the result depends on and that does not change, as JSON."""
        found = {f.name: _described(getattr(self, f.name)) for f in fields(self) if f.init}
        return json.loads(json.dumps({"training": type(self).__name__, **found}))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a training changes: step, weights, optimisers, averages."""
        players = {
            name: {
                "net": player.net.state_dict(),
                "optimiser": player.optimiser.state_dict(),
                "average": None if player.average is None else player.average.state_dict(),
            }
            for name, player in self.players.items()
        }
        return {"step": self.step, "players": players}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        for name, player in self.players.items():
            saved = state["players"][name]
            player.net.load_state_dict(saved["net"])
            player.optimiser.load_state_dict(saved["optimiser"])
            player.arrange_moments()
            if player.average is not None:
                player.average.load_state_dict(saved["average"])
        self.step = state["step"]

    def _player(self, name: str) -> Player:
        if name not in self.players:
            raise ValueError(f"there is no player {name!r}; this training has {', '.join(self.players)}")
        return self.players[name]


@dataclass(eq=False)
class GANTraining(Training):
    """Two players: G draws pictures from noise, D tells them from real ones [1]_; Adam as in the DCGAN paper [2]_.

    Parameters
    ----------
    G, D : nn.Module
        Generator, latents (B, …) to images (B, 3, H, W) in [-1, 1]; discriminator, images to logits.
    noise : callable, optional
        ``noise(n, generator) -> Tensor (n, …)``, for samples and for batches that bring none; by default standard
        normal (n, G.latent_dim), if G says its `latent_dim`.
    lr : float, default 2e-4
    betas : (float, float), default (0.5, 0.999)
    lr_D : float, optional
        D's own learning rate (two time-scales [3]_); by default `lr`.
    betas_D : (float, float), optional
        D's own betas; by default `betas`.
    ema : float, default 0.999
        Decay of G's averaged weights; 0 keeps no average, and `sample` then draws from G itself.
    mirror : bool, default False
        Mirror half of the real pictures, left to right: twice as many for D to learn, where left and right do not
        matter.
    clip, schedule, seed
        As in `Training`.

    References
    ----------
    .. [1] Goodfellow et al. (2014), Generative Adversarial Nets, NeurIPS.
    .. [2] Radford, Metz & Chintala (2016), Unsupervised Representation Learning with Deep Convolutional Generative
       Adversarial Networks, ICLR.
    .. [3] Heusel et al. (2017), GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium,
       NeurIPS.

    Examples
    --------
    >>> G, D = nn.Linear(4, 2), nn.Linear(2, 1)
    >>> training = GANTraining(G, D, noise=lambda n, generator: torch.randn(n, 4, generator=generator))
    >>> training.sample(5).shape
    torch.Size([5, 2])
    """

    G: nn.Module
    D: nn.Module
    noise: Callable[..., Tensor] | None = None
    lr: float = field(default=2e-4, kw_only=True)
    betas: tuple[float, float] = field(default=(0.5, 0.999), kw_only=True)
    lr_D: float | None = field(default=None, kw_only=True)
    betas_D: tuple[float, float] | None = field(default=None, kw_only=True)
    ema: float = field(default=0.999, kw_only=True)
    mirror: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay(self.ema)
        self.players = {
            "G": Player.adam(self.G, self.lr, self.betas, ema=self.ema),
            "D": Player.adam(self.D, self.lr_D or self.lr, self.betas_D or self.betas),
        }

    def sample(self, noise: int | Tensor = 8) -> Tensor:
        """Draw pictures with the averaged generator, without a trace in the training.

        Parameters
        ----------
        noise : int or Tensor (n, …), default 8
            Latents, or how many: then the same ones each time, so that pictures of different steps compare.

        Returns
        -------
        Tensor (n, 3, H, W)
            In [-1, 1], float32, on the training's device.
        """
        if isinstance(noise, int):
            noise = self._latents(max(noise, FIXED_SAMPLES), "samples")[:noise]
        return drawn(self.averaged(), noise.to(self.device))

    def averaged(self) -> nn.Module:
        """Return the generator to use: averaged weights with statistics that fit them, or G itself if `ema` is 0."""
        average = self.players["G"].average
        if average is None:
            return self.G
        return average.network(lambda i: self._latents(CALIBRATION_SIZE, "calibration", i))

    def picture(self) -> Tensor | None:
        """Return 64 samples, or None if G does not draw pictures."""
        if self.noise is None and not hasattr(self.G, "latent_dim"):
            return None
        drawn = self.sample(FIXED_SAMPLES)
        return drawn if drawn.ndim == 4 and drawn.shape[1] == 3 else None

    def prepare(self, batch: Any, *, size: int, rank: int, world: int) -> Any:
        """Return the batch with noise, its own or a rank's share of what is drawn from (seed, step), and mirrored."""
        if self.mirror:
            if batch.images.ndim != 4:
                raise ValueError(f"mirror: these are no pictures (B, C, H, W) but {tuple(batch.images.shape)}")
            turned = self.turned(batch.images, size=size, rank=rank, world=world)
            batch = replace(batch, images=torch.where(turned, batch.images.flip(-1), batch.images))
        if getattr(batch, "noise", None) is not None or not hasattr(batch, "noise"):
            return batch
        share = size // world
        noise = self._latents(size, "noise", self.step)[rank * share : (rank + 1) * share]
        return replace(batch, noise=noise)

    def _latents(self, n: int, *address: int | str) -> Tensor:
        generator = seeded(self.device, self.seed, *address)
        if self.noise is not None:
            return self.noise(n, generator).to(self.device)
        if not hasattr(self.G, "latent_dim"):
            raise ValueError("G does not say its latent_dim; pass noise=…, a function (n, generator) -> Tensor (n, …)")
        return torch.randn(n, self.G.latent_dim, generator=generator, device=self.device)


@dataclass(eq=False)
class SupervisedTraining(Training):
    """One network that learns from examples: a classifier, an encoder. Its player is called "net".

    Parameters
    ----------
    net : nn.Module
    lr : float, default 1e-3
    betas : (float, float), default (0.9, 0.999)
    weight_decay : float, default 0
        Of AdamW [1]_.
    ema : float, default 0
        Decay of the averaged weights; 0 keeps no average. Not for networks with batch norm.
    clip, schedule, seed
        As in `Training`.

    References
    ----------
    .. [1] Loshchilov & Hutter (2019), Decoupled Weight Decay Regularization, ICLR.
    """

    net: nn.Module
    lr: float = field(default=1e-3, kw_only=True)
    betas: tuple[float, float] = field(default=(0.9, 0.999), kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)
    ema: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay(self.ema)
        if self.ema and any(isinstance(module, _BatchNorm) for module in self.net.modules()):
            raise ValueError("ema: the statistics of batch norm would not fit averaged weights; use ema=0")
        self.players = {"net": Player.adam(self.net, self.lr, self.betas, self.weight_decay, self.ema)}


def check_decay(ema: float) -> None:
    """Raise a ValueError unless `ema` is in [0, 1)."""
    if not 0 <= ema < 1:
        raise ValueError(f"ema={ema}: the decay of the average is in [0, 1)")


@torch.no_grad()
def drawn(net: nn.Module, *inputs: Tensor) -> Tensor:
    """Return ``net(*inputs)`` in eval mode, without a gradient, the mode restored."""
    training = net.training
    net.eval()
    try:
        return net(*inputs)
    finally:
        net.train(training)


def _described(value: Any) -> Any:
    """Return a field as JSON: a network by class, arguments and size, a function by name."""
    if isinstance(value, nn.Module):
        try:
            given = json.loads(json.dumps(checkpoints.arguments(value)))
        except (ValueError, TypeError):  # a network of the learner's own, which never meant to be built from a card
            given = None
        size = sum(p.numel() for p in value.parameters())
        return {"class": checkpoints.class_name(type(value)), "arguments": given, "parameters": size}
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return value
