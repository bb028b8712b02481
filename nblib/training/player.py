"""A player: one of the networks of a training, with all that belongs to its steps."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from nblib.training import distributed
from nblib.training.average import Average


@dataclass(eq=False)
class Player:
    """A network with its optimiser, learning rate and, if wanted, averaged weights.

    `gradient_norm` is that of its last step, before clipping; None if gradients are not clipped.
    """

    net: nn.Module
    optimiser: torch.optim.Optimizer
    lr: float
    average: Average | None = None
    gradient_norm: Tensor | None = None

    @classmethod
    def adam(cls, net: nn.Module, lr: float, betas: tuple[float, float], decay: float = 0.0, ema: float = 0.0) -> Self:
        """Return a player with fused AdamW (without weight decay it is Adam), and an average if `ema` is not 0."""
        optimiser = torch.optim.AdamW(net.parameters(), lr=lr, betas=betas, weight_decay=decay, fused=True)
        return cls(net, optimiser, lr, Average(net, ema) if ema else None)

    def learning(self) -> list[nn.Parameter]:
        """Return the weights that are not frozen."""
        return [weight for weight in self.net.parameters() if weight.requires_grad]

    def take_step(self, clip: float | None) -> None:
        """Let the optimiser take a step: gradients averaged over the ranks, their norm at most `clip`."""
        weights = self.learning()
        distributed.average_gradients(weights)
        if clip is not None:
            self.gradient_norm = nn.utils.clip_grad_norm_(weights, clip)
        self.optimiser.step()

    def anneal(self, progress: float) -> None:
        """Set the learning rate of a cosine that falls to 0."""
        factor = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * factor

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Lay 4-D weights out in another order in memory, and what belongs to them alike."""
        self.net.to(memory_format=memory_format)
        self.arrange_moments()
        if self.average is not None:
            self.average.arrange(memory_format)

    def arrange_moments(self) -> None:
        """Lay the optimiser's moments out as the weights are: its fused kernel goes through both in one order."""
        for weight, moments in self.optimiser.state.items():
            for name, moment in moments.items():
                if moment.shape == weight.shape and moment.stride() != weight.stride():
                    moments[name] = torch.empty_like(weight).copy_(moment)
