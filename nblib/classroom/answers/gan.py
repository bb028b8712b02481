"""Right and wrong answers to the exercises on the game of generator and discriminator."""

import torch
from torch.nn import functional as F

from nblib import losses
from nblib.classroom.answers.base import Mistake
from nblib.toys.densities import mode_coverage


def bce_twice(real, fake):
    """The loss on probabilities."""
    return -(torch.log(torch.sigmoid(real)) + torch.log(1 - torch.sigmoid(fake))).mean()


def line(z0, z1, steps):
    t = torch.linspace(0, 1, steps)[:, None]
    return (1 - t) * z0 + t * z1


def arc(z0, z1, steps):
    t = torch.linspace(0, 1, steps)[:, None]
    angle = torch.acos((z0 @ z1 / (z0.norm() * z1.norm())).clamp(-1, 1))
    return (
        line(z0, z1, steps) if angle < 1e-3 else (((1 - t) * angle).sin() * z0 + (t * angle).sin() * z1) / angle.sin()
    )


def gan_step(training, batch):
    fake = training.G(batch.noise)
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake.detach()))
    training.descend("D", loss_d)
    loss_g = losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def step_wrong_sign(training, batch):
    fake = training.G(batch.noise)
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake.detach()))
    training.descend("D", loss_d)
    loss_g = -losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def step_one_loss(training, batch):
    """No detach: one loss for both, so G is trained to help D."""
    for player in ("D", "G"):
        loss = losses.bce_loss_d(training.D(batch.images), training.D(training.G(batch.noise)))
        training.descend(player, loss)
    return {"loss": loss}


def step_feeds_d(training, batch):
    """G's loss trains D as well."""
    values = gan_step(training, batch)
    training.descend("D", losses.nonsaturating_loss_g(training.D(training.G(batch.noise).detach())))
    return values


def step_detached_g(training, batch):
    fake = training.G(batch.noise).detach()
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake))
    training.descend("D", loss_d)
    loss_g = losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def step_no_detach(training, batch):
    fake = training.G(batch.noise)
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake))
    training.descend("D", loss_d)
    loss_g = losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def path_that_speeds_up(z0, z1, steps):
    return z0 + torch.linspace(0, 1, steps)[:, None] ** 2 * (z1 - z0)


def path_never_still(z0, z1, steps):
    return arc(z0, z1 + 1e-30, steps) / (z1 - z0).norm() * (z1 - z0).norm()


def stray_coverage(samples, centres, radius):
    return (torch.cdist(samples, centres) <= radius).any(0).float().mean()


def any_share(samples, centres, radius):
    near = torch.cdist(samples, centres) <= radius
    return (near.sum(0) >= len(samples) / len(centres)).float().mean()


def near_samples(samples, centres, radius):
    return (torch.cdist(samples, centres) <= radius).any(1).float().mean()


def stable(t):
    """Return log(1 + exp(t)) by hand."""
    return t.clamp(min=0) + (-t.abs()).exp().log1p()


RIGHT = {
    "discriminator_loss": losses.bce_loss_d,
    "generator_loss": losses.nonsaturating_loss_g,
    "gan_step": gan_step,
    "mode_coverage": lambda samples, centres, radius: mode_coverage(samples, centres, radius),
    "interpolate": arc,
}
ALSO_RIGHT = {
    "discriminator_loss": [
        lambda real, fake: stable(-real).mean() + stable(fake).mean(),
        lambda real, fake: (
            torch.logaddexp(-real, torch.zeros(())).mean() + torch.logaddexp(fake, torch.zeros(())).mean()
        ),
        lambda real, fake: (
            F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
            + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        ),
    ],
    "generator_loss": [lambda fake: -F.logsigmoid(fake).mean()],
    "gan_step": [],
    "mode_coverage": [],
    "interpolate": [line],
}
MISTAKES = {
    "discriminator_loss": [
        Mistake(
            "the signs turned round: D is paid for being wrong",
            lambda real, fake: F.softplus(real).mean() + F.softplus(-fake).mean(),
            "a sure and right discriminator pays 0; yours pays 400",
        ),
        Mistake("the fakes forgotten", lambda real, fake: 2 * F.softplus(-real).mean(), "it has the properties, but"),
        Mistake("sigmoid first, then the logarithm", bce_twice, "log(sigmoid) overflows"),
        Mistake(
            "a sigmoid before a loss on logits",
            lambda real, fake: losses.bce_loss_d(real.sigmoid(), fake.sigmoid()),
            "is 2 log 2 = 1.386; yours is 1.448",
        ),
        Mistake(
            "no mean over the batch",
            lambda real, fake: F.softplus(-real) + F.softplus(fake),
            "a loss is one number, the mean over the batch",
        ),
    ],
    "generator_loss": [
        Mistake("the sign of the report", lambda fake: F.softplus(fake).mean(), "better fakes must cost less"),
        Mistake("log(1 - D), which saturates", losses.saturating_loss_g, "G learns nothing there"),
        Mistake("-D without the logarithm", lambda fake: -fake.sigmoid().mean(), "G learns nothing there"),
        Mistake("a sum over the batch", lambda fake: F.softplus(-fake).sum(), "yours falls by 4"),
    ],
    "gan_step": [
        Mistake("no detach: D's loss reaches into G", step_no_detach, "the loss of D hangs on G's weights"),
        Mistake("one loss for both players", step_one_loss, "the loss of D hangs on G's weights"),
        Mistake("the fakes detached for G, too", step_detached_g, "the loss of G does not hang on G's weights"),
        Mistake("the wrong sign in G's loss", step_wrong_sign, "not yet: it has the properties, but modes"),
        Mistake("D trained down G's loss as well", step_feeds_d, "not yet: it has the properties, but modes"),
        Mistake("nobody steps", lambda training, batch: {"loss_d": torch.zeros(())}, "D takes no step"),
    ],
    "mode_coverage": [
        Mistake("one stray counts as served", stray_coverage, "1 of 40 samples is no quarter of a fair 10"),
        Mistake("the whole fair share asked for", any_share, "3 of 40 are a quarter of a fair 10"),
        Mistake("the share of the samples, not of the centres", near_samples, "cover a quarter, 0.25; yours says 1.00"),
    ],
    "interpolate": [
        Mistake(
            "one step too few, z1 never reached", lambda z0, z1, n: line(z0, z1, n + 1)[:-1], "the path ends at z1"
        ),
        Mistake("the ends left out", lambda z0, z1, n: line(z0, z1, n + 2)[1:-1], "the path starts at z0"),
        Mistake("one point too few", lambda z0, z1, n: line(z0, z1, n - 1), "the path is (5, 100)"),
        Mistake("steps that grow", path_that_speeds_up, "equally long"),
        Mistake("a division by 0 where nothing moves", path_never_still, "nothing is NaN"),
    ],
}
