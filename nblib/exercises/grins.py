"""Codes whose exact distribution is known, and small faces that smile or frown, for the trials of chapter 5.

`Signals` come from a linear decoder with normal noise: there, and hardly anywhere else, the best answer of an encoder
is known, variance and all. `Grins` are drawn twice, as they are and with the other mouth: what a network should have
drawn when it was told the other label is known to the pixel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nblib import losses
from nblib.exercises.puzzles import TEST, Puzzles

STRENGTHS, NOISE, NUMBERS = (1.0, 2.5, 5.0), 0.5, 6  # of the three codes and of the noise; numbers of a signal
SIZE, ROWS, COLUMNS = 16, (9, 16), (3, 13)  # of a face, and of its hole (half-open)


class Signals(nn.Module):
    """Learn which codes explain signals x = sum of strengths times orthogonal directions, plus noise.

    Parameters
    ----------
    seed : int
        Of the directions.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        turned = torch.linalg.qr(torch.randn(NUMBERS, NUMBERS, generator=torch.Generator().manual_seed(seed)))[0]
        self.register_buffer("decoder", turned[:, : len(STRENGTHS)] * torch.tensor(STRENGTHS))  # (NUMBERS, z)
        self.mu, self.logvar = nn.Linear(NUMBERS, len(STRENGTHS)), nn.Parameter(torch.zeros(len(STRENGTHS)))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Return signals (n, NUMBERS)."""
        z = torch.randn(n, len(STRENGTHS), generator=generator)
        return z @ self.decoder.T + NOISE * torch.randn(n, NUMBERS, generator=generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the codes, (n, z) each."""
        mu = self.mu(x)
        return mu, self.logvar.expand_as(mu)

    def reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        """Return -log p(x|z) but for a constant: summed over a signal, averaged over all."""
        return (x - z @ self.decoder.T).square().sum(1).mean() / (2 * NOISE**2)

    def nearness(self) -> float:
        """Return the smaller over the larger of learnt and exact variance, for the code where they differ most."""
        exact = NOISE**2 / (torch.tensor(STRENGTHS).square() + NOISE**2)
        return torch.exp(-(self.logvar.detach() - exact.log()).abs().max()).item()


@dataclass(frozen=True)
class Grins:
    """Faces with a mouth that says their label.

    Attributes
    ----------
    images, others : Tensor, float32 (n, 3, SIZE, SIZE)
        In [-1, 1]; `others` have the other mouth and are alike in all else.
    masks : Tensor, bool (n, 1, SIZE, SIZE)
        True = hole, around the mouth.
    labels : Tensor, bool (n,)
        Whether they smile.
    """

    images: Tensor
    others: Tensor
    masks: Tensor
    labels: Tensor


def grins(n: int, generator: torch.Generator) -> Grins:
    """Draw faces of random colours."""
    ground, skin = torch.rand(2, n, 3, 1, 1, generator=generator) - torch.tensor([0.9, 0.1]).view(2, 1, 1, 1, 1)
    labels = torch.rand(n, generator=generator) < 0.5
    down, across = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    across = across - (SIZE - 1) / 2
    head = ((down - 8) / 9) ** 2 + (across / 7) ** 2 <= 1
    bend = 3 * (across / 4) ** 2
    mouths = torch.stack([(down - 10.5 - bend).abs(), (down - 13.5 + bend).abs()]) <= 1  # frown, smile
    mouths = mouths & (across.abs() <= 4)
    faces = torch.where(head, skin, ground)
    drawn = [faces.masked_fill(mouths[told.long()][:, None], -0.9) for told in (labels, ~labels)]
    masks = torch.zeros(n, 1, SIZE, SIZE, dtype=torch.bool)
    masks[..., slice(*ROWS), slice(*COLUMNS)] = True
    return Grins(drawn[0], drawn[1], masks, labels)


GRINS = Puzzles(grins, 32)


class SmallVAE(nn.Module):
    """A conditional VAE for `Grins`, with the two halves of `nblib.networks.cvae.ConditionalVAE`."""

    def __init__(self, latent_dim: int = 12, width: int = 64):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, width), nn.ReLU())
        self.mu, self.logvar = nn.Linear(width, latent_dim), nn.Linear(width, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim + 2, width), nn.ReLU(), nn.Linear(width, 3 * SIZE**2), nn.Unflatten(1, (3, SIZE, SIZE))
        )

    def encode(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the codes, (n, latent_dim) each; the holes are not seen."""
        h = self.encoder(images if masks is None else images.masked_fill(masks, 0))
        return self.mu(h), self.logvar(h)

    def logits(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return logits of the colours, (n, 3, SIZE, SIZE)."""
        return self.decoder(torch.cat([z, nn.functional.one_hot(labels.long(), 2)], 1))


@torch.no_grad()
def turned(net: SmallVAE, n: int = 300) -> float:
    """Return the share of the error in the hole that is gone when a network is told the other label.

    All of it stays where the hole is filled as it was; half of it would if the network did not listen.
    """
    test = grins(n, torch.Generator().manual_seed(TEST))
    mu, _ = net.encode(test.images, test.masks)
    answer = 2 * net.logits(mu, ~test.labels).sigmoid() - 1
    errors = [losses.l1_in_hole(some, test.others, test.masks).item() for some in (answer, test.images)]
    return 1 - errors[0] / errors[1]
