"""Exercises on the game of generator and discriminator, played in the plane.

The baselines are those of the usual mistakes: what a wrong sign, a forgotten detach or a saturating loss reach in the
same number of steps lies well below (see the tests).
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from nblib import losses
from nblib.exercises.checking import Exercise, Trial, Unmet, register, require, trained
from nblib.exercises.returned import listed
from nblib.networks.mlp import Discriminator2d, Generator2d
from nblib.toys import densities
from nblib.training import GANTraining, Player

RING = densities.ring(modes=8)
FAR = densities.ring(modes=8, radius=300, std=15)  # an untrained discriminator's logits are as large there
BATCH = 256


def players(seed: int = 0, lr: float = 1e-3) -> GANTraining:
    """Return the two players of a game in the plane.

    Adam without momentum (beta1 = 0): with 0.9 the samples run around a mode or two and never spread.
    """
    torch.manual_seed(seed)
    return GANTraining(Generator2d(), Discriminator2d(), lr=lr, betas=(0.0, 0.99), ema=0, seed=seed)


# discriminator_loss


def _d_loss_properties(loss: Callable) -> None:
    undecided = torch.zeros(4, 1)
    at_zero = _scalar(loss(undecided, undecided))
    require(math.isfinite(at_zero), f"for logits of 0 the loss is {at_zero}")
    require(
        abs(at_zero - 2 * math.log(2)) < 1e-4,
        f"for logits of 0 (D = 1/2) -log D(real) - log(1 - D(fake)) is 2 log 2 = 1.386; yours is {at_zero:.3f}",
    )
    sure = torch.full((4, 1), 200.0)
    extremes = [_scalar(loss(real, fake)) for real, fake in ((sure, -sure), (-sure, sure))]
    require(
        all(math.isfinite(value) for value in extremes),
        f"for logits of 200 the loss is {extremes[1]}: log(sigmoid) overflows, work on the logits",
    )
    require(abs(extremes[0]) < 1e-3, f"a sure and right discriminator pays 0; yours pays {extremes[0]:.3g}")
    require(
        abs(extremes[1] - 400) < 0.1,
        f"a sure and wrong one (logits -200 for real, 200 for fake) pays 400; yours pays {extremes[1]:.3g}",
    )


def _d_loss_trial(loss: Callable) -> Trial:
    """Train D alone against an untrained G, on points so far out that its first logits are in the hundreds."""
    training, points = players(lr=1e-2), FAR.batches(BATCH)

    def step(training, batch):
        loss_d = loss(training.D(batch.images), training.D(training.G(batch.noise).detach()))
        training.descend("D", loss_d)
        return {"loss_d": loss_d}

    done = trained(training, step, points, steps=300)
    with torch.no_grad():
        real, fake = training.D(points.at(10_000).images), training.D(training.sample(BATCH))
    right = (real > 0).float().mean() + (fake < 0).float().mean()
    return Trial(f"share of points that D tells right after {done} steps", right.item() / 2, 0.9, "guessing gives 0.50")


# generator_loss


def _g_loss_properties(loss: Callable) -> None:
    values = [_scalar(loss(torch.full((4, 1), logit))) for logit in (0.0, 1.0)]
    require(
        values[1] < values[0],
        f"better fakes must cost less; from logit 0 to logit 1 your loss rises by {values[1] - values[0]:.2f}",
    )
    logits = torch.full((4, 1), -20.0, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(logits), logits)
    require(
        abs(slope.sum().item() + 1) < 0.01,
        f"where D is sure of a fake (logit -20) the loss must fall by 1 per unit of logit; yours falls by "
        f"{-slope.sum().item():.2g}: G learns nothing there",
    )
    require(abs(values[0] - math.log(2)) < 1e-4, f"-log D is log 2 = 0.693 for a logit of 0; yours is {values[0]:.3f}")
    require(math.isfinite(_scalar(loss(torch.full((4, 1), -200.0)))), "for a logit of -200 your loss is not finite")


def _g_loss_trial(loss: Callable) -> Trial:
    """Let G learn from a D that is already sure and stays as it is.

    By plain gradient descent: Adam divides by the size of the gradient, so that a vanishing one would not show.
    """
    training, points = players(lr=2e-3), RING.batches(BATCH)

    def judge(training, batch):
        loss_d = losses.bce_loss_d(training.D(batch.images), training.D(training.G(batch.noise).detach()))
        training.descend("D", loss_d)
        return {"loss_d": loss_d}

    def learn(training, batch):
        loss_g = loss(training.D(training.G(batch.noise)))
        training.descend("G", loss_g)
        return {"loss_g": loss_g}

    sure = trained(training, judge, points, steps=300)
    training.players["G"] = Player(training.G, torch.optim.SGD(training.G.parameters(), lr=0.003), lr=0.003)
    done = trained(training, learn, points, steps=sure + 50) - sure
    with torch.no_grad():
        fooled = (training.D(training.sample(BATCH)) > 0).float().mean().item()
    return Trial(
        f"share of fakes that a sure D takes for real after {done} steps", fooled, 0.5, "a saturating loss gives 0.00"
    )


# gan_step


class Watched(GANTraining):
    """A training that notes whose weights each loss hangs on."""

    def descend(self, player: str, loss: Tensor) -> None:
        """Take the optimiser's step, and a note."""
        if not hasattr(self, "notes"):
            self.notes: list[tuple[str, set[str]]] = []
        nets = {name: list(one.net.parameters()) for name, one in self.players.items()}
        if player in nets and loss.requires_grad:
            hangs = {name for name, weights in nets.items() if _hangs_on(loss, weights)}
            self.notes.append((player, hangs))
            require(player in hangs, f"the loss of {player} does not hang on {player}'s weights; one detach too many?")
        super().descend(player, loss)


def _step_properties(step: Callable) -> None:
    torch.manual_seed(0)
    training = Watched(Generator2d(), Discriminator2d(), ema=0)
    batch = training.prepare(RING.batches(BATCH).at(0), size=BATCH, rank=0, world=1)
    values = step(training, batch)
    notes = getattr(training, "notes", [])
    for player in ("D", "G"):
        turns = sum(name == player for name, _ in notes)
        require(turns > 0, f'{player} takes no step; call training.descend("{player}", …) with its loss')
    require(
        not any(player == "D" and "G" in hangs for player, hangs in notes),
        "the loss of D hangs on G's weights: show D detached fakes",
    )
    scalars = isinstance(values, Mapping) and all(isinstance(v, Tensor) and v.numel() == 1 for v in values.values())
    require(scalars and values, 'return both losses in a dict, as {"loss_d": loss_d, "loss_g": loss_g}')


def _step_trial(step: Callable) -> Trial:
    """Play the game on the ring."""
    training = players()
    done = trained(training, step, RING.batches(BATCH), steps=1200)
    modes = len(RING.centres) * RING.coverage(training.sample(2048))
    return Trial(f"modes of the ring's 8 that G serves after {done} steps", modes, 6, "the usual mistakes reach 0 to 3")


# interpolate


def _path_properties(path: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    z0, z1 = nn.functional.normalize(torch.randn(2, 100, generator=generator)) * 10  # as long as normal latents are
    steps = path(z0.clone(), z1.clone(), 5)
    require(isinstance(steps, Tensor), f"return a tensor, not {type(steps).__name__}")
    require(
        steps.shape == (5, 100),
        f"for two latents (100,) and 5 steps the path is (5, 100), ends included; yours is {tuple(steps.shape)}",
    )
    for end, z, place in ((steps[0], z0, "starts at z0"), (steps[-1], z1, "ends at z1")):
        require(torch.allclose(end, z, atol=1e-3), f"the path {place}; yours is {(end - z).norm():.2f} away from it")
    lengths = steps.diff(dim=0).norm(dim=1)  # (4,)
    require(
        torch.allclose(lengths, lengths.mean().expand(4), rtol=1e-2),
        f"between latents of one length all steps are equally long; yours measure {listed(lengths)}",
    )
    plane = torch.linalg.qr(torch.stack([z0, z1], dim=1)).Q  # (100, 2)
    beside = (steps - steps @ plane @ plane.T).norm(dim=1).max().item()
    require(beside < 1e-2, f"all points of the path are a z0 + b z1; yours are up to {beside:.2f} beside")
    still = path(z0.clone(), z0.clone(), 3)
    require(torch.allclose(still, z0.expand(3, 100), atol=1e-3), "from z0 to z0 nothing moves (and nothing is NaN)")


def _path_trial(path: Callable) -> Trial:
    """Measure what a generator of normal latents is shown halfway: the length of the latents there."""
    ends = torch.randn(64, 2, 100, generator=torch.Generator().manual_seed(1))
    halfway = torch.stack([path(z0.clone(), z1.clone(), 3)[1] for z0, z1 in ends])  # (64, 100)
    ratio = (halfway.norm(dim=1) / ends.norm(dim=2).mean(1)).mean().item()
    return Trial(
        "length of normal latents halfway, next to the ends'", ratio, 0.65, "a straight line gives 0.71, an arc 1.00"
    )


# mode_coverage


def _coverage_properties(coverage: Callable) -> None:
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    cases = (
        (centres, 1.0, "a sample on each of 4 centres covers all of them"),
        (centres[:1].repeat(4, 1), 0.25, "4 samples on one of 4 centres cover a quarter"),
        (centres + torch.tensor([0.0, 0.5]), 0.0, "samples 0.5 from every centre, at a radius of 0.2, cover none"),
        (torch.cat([centres[:1].repeat(39, 1), centres[1:2]]), 0.25, "1 of 40 samples is no quarter of a fair 10"),
        (torch.cat([centres[:1].repeat(37, 1), centres[1:2].repeat(3, 1)]), 0.5, "3 of 40 are a quarter of a fair 10"),
    )
    for samples, expected, told in cases:
        found = float(coverage(samples.clone(), centres.clone(), 0.2))
        require(abs(found - expected) < 1e-6, f"{told}, {expected:g}; yours says {found:.2f}")


def _coverage_trial(coverage: Callable) -> Trial:
    """Compare with the library on clouds as generators make them: some modes, and a few strays everywhere."""
    generator, agreed = torch.Generator().manual_seed(2), 0
    for kept in 1 + torch.arange(50) % 8:
        rows = torch.randperm(8, generator=generator)[:kept][torch.randint(int(kept), (400,), generator=generator)]
        samples = RING.centres[rows] + RING.std * torch.randn(400, 2, generator=generator)
        samples[:200] = 2.4 * torch.rand(200, 2, generator=generator) - 1.2  # about 2 of them near each centre
        found = float(coverage(samples.clone(), RING.centres.clone(), RING.reach))
        agreed += abs(found - RING.coverage(samples)) < 1e-6
    return Trial("share of 50 clouds for which nblib counts the same", agreed / 50, 1.0, "counting strays gives 0.12")


def _scalar(value: Tensor) -> float:
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise Unmet(f"a loss is one number, the mean over the batch; yours is {shape}")
    return value.item()


def _hangs_on(loss: Tensor, weights: list[Tensor]) -> bool:
    return any(g is not None for g in torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True))


register(
    Exercise(
        "discriminator_loss",
        "-log D and -log(1 - D) are softplus of a logit; with which sign is which? Each takes the mean over its own "
        "batch.",
        _d_loss_properties,
        _d_loss_trial,
    )
)
register(
    Exercise(
        "generator_loss",
        "call the fakes real: which of the discriminator's two terms does that make small?",
        _g_loss_properties,
        _g_loss_trial,
    )
)
register(
    Exercise(
        "gan_step",
        "draw the fakes once; D's step comes first, on fakes that tell G nothing; then ask D anew about the same "
        "fakes, and let the gradient through to G.",
        _step_properties,
        _step_trial,
    )
)
register(
    Exercise(
        "mode_coverage",
        "torch.cdist gives all distances, (n, K); count what is near for each centre, and compare with its fair share "
        "before you average.",
        _coverage_properties,
        _coverage_trial,
    )
)
register(
    Exercise(
        "interpolate",
        "with t from 0 to 1, weights 1 - t and t make a straight line; on an arc they are sines of parts of the angle "
        "between the ends, over the sine of all of it. And at an angle of 0?",
        _path_properties,
        _path_trial,
    )
)
