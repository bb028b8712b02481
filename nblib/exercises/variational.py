"""Exercises on conditional VAEs: drawing codes, their divergence, the loss with hole and label, and D's joint look.

The baselines of the trials lie well above what the usual mistakes reach (see the tests). One noise for all pictures, a
code that is not drawn, or a generator that is not spared D's gradient can be trained around; there the properties tell.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nblib import losses, variational
from nblib.exercises import returned
from nblib.exercises.checking import Exercise, Trial, Unmet, register, require, taught
from nblib.exercises.grins import GRINS, Grins, Signals, SmallVAE, grins, turned
from nblib.exercises.puzzles import TEST, Puzzles
from nblib.exercises.returned import listed
from nblib.training import SupervisedTraining

DRAWN = 20_000  # codes looked at
SURE = -40.0  # a log variance at which a drawn code is its mean

# reparameterise


def _draw_properties(reparameterise: Callable) -> None:
    mu, variances = torch.tensor([-1.0, 0.0, 3.0]), torch.tensor([0.25, 4.0, 1.0])
    given = [mu.expand(DRAWN, -1).clone(), variances.log().expand(DRAWN, -1).clone()]
    before = [value.clone() for value in given]
    codes = returned.tensor(reparameterise(*given), (DRAWN, 3), "codes")
    noise = (codes - mu) / variances.sqrt()
    told = "all pictures of a batch get one and the same noise; draw (B, z) numbers, not z of them"
    require((noise.std(0) > 1e-3).any() or not (codes - mu).any(), told)
    _compare_spreads(codes, mu, variances)
    alike = torch.corrcoef(noise.T).abs().triu(1).max().item()
    require(alike < 0.05, "the units of a picture's code move together; each draws a number of its own")
    far = (noise.abs() > 1).double().mean().item()
    told = f"about 32 % of normal numbers lie beyond one deviation; of yours {100 * far:.0f} %: use torch.randn_like"
    require(abs(far - 0.317) < 0.03, told)
    returned.untouched(given, {"mu": before[0], "logvar": before[1]})
    _require_draw_slopes(reparameterise)


def _compare_spreads(codes: Tensor, mu: Tensor, variances: Tensor) -> None:
    found, means = codes.detach().var(0), codes.detach().mean(0)
    require(
        torch.allclose(means, mu, atol=0.1),
        f"codes lie around mu, {listed(mu)} here; yours around {listed(means)}",
    )
    wrong = {
        "the deviation is the root of the variance, exp(0.5 * logvar), not half of it": variances.square() / 4,
        "you multiply the noise by the variance; it takes the deviation, its root": variances.square(),
        "you multiply the noise by logvar itself; the variance is its exponential": variances.log().square(),
        "yours do not vary: mu alone is not a draw": torch.zeros(3),
        "yours have the variance 1, whatever logvar says": torch.ones(3),
    }
    if torch.allclose(found, variances, rtol=0.1):
        return
    for mistake, values in wrong.items():
        require(not torch.allclose(found, values, rtol=0.1, atol=1e-3), mistake)
    told = f"for exp(logvar) = {listed(variances)} the codes have these variances; yours {listed(found)}"
    raise Unmet(told)


def _require_draw_slopes(reparameterise: Callable) -> None:
    mu, logvar = torch.zeros(2, 500, 4, requires_grad=True).unbind(0)
    codes = reparameterise(mu, logvar)
    told = "the codes do not hang on {}: without a gradient the encoder cannot learn it"
    require(codes.requires_grad, told.format("what the encoder says"))
    to_mu, to_logvar = torch.autograd.grad(codes.sum(), (mu, logvar), allow_unused=True)
    require(to_mu is not None and bool((to_mu == 1).all()), told.format("mu as they should"))
    expected = (codes - mu) / 2  # of exp(logvar / 2) * noise
    close = to_logvar is not None and torch.allclose(to_logvar, expected, atol=1e-4)
    require(close, told.format("logvar as they should"))


def _draw_trial(reparameterise: Callable, seed: int = 0) -> Trial:
    """Learn to explain signals, with the learner's draws."""
    done, near = _explained(reparameterise, variational.kl_divergence, seed)
    what = f"smaller over larger of learnt and exact variance of the code after {done} steps"
    return Trial(what, near, 0.87, "with 0.5 * exp(logvar) it is 0.08")


def _explained(draw: Callable, divergence: Callable, seed: int) -> tuple[int, float]:
    """Return the steps done and how near the learnt variances come to the exact ones."""
    torch.manual_seed(seed)
    net = Signals(seed)

    def loss(x: Tensor) -> Tensor:
        mu, logvar = net(x)
        return net.reconstruction(x, draw(mu, logvar)) + divergence(mu, logvar)

    training = SupervisedTraining(net, lr=0.1, betas=(0.9, 0.99), schedule="cosine")
    return taught(training, loss, Puzzles(net.draw, 64), 600), net.nearness()


# kl_divergence


def _kl_properties(kl_divergence: Callable) -> None:
    random = torch.Generator().manual_seed(0)
    mu, logvar = torch.randn(5, 3, generator=random), torch.randn(5, 3, generator=random) - 0.5
    given = [mu.clone(), logvar.clone()]
    found = returned.number(kl_divergence(*given), "the divergence")
    right = variational.kl_divergence(mu, logvar).item()
    deviation = variational.kl_of_units(mu, logvar / 2).sum()
    wrong = {
        "yours is twice as large: the divergence has a 1/2 before the sum": 2 * right,
        "yours has the wrong sign; a divergence is at least 0": -right,
        "yours is twice as large, and has the wrong sign": -2 * right,
        "you take the mean over the units of a code; add them up": right / 3,
        "you add up the pictures; take their mean, so that the batch size does not matter": 5 * right,
        "exp(logvar) is the variance; you take the deviation for it": deviation,
        "you take the deviation for the variance, and leave out the 1/2": 2 * deviation,
        "you leave out the term - logvar, without which a variance of 0 would be the best": right
        + 0.5 * logvar.sum(1).mean(),
        "logvar enters with a minus: a small variance is a sharp code, and costs": right + logvar.sum(1).mean(),
        "you leave out the -1: a code like the prior's, mu = 0 and logvar = 0, costs nothing": right + 1.5,
    }
    returned.compare(found, right, wrong, "the divergence of five codes of three units")
    returned.untouched(given, {"mu": mu, "logvar": logvar})
    free = returned.number(kl_divergence(torch.zeros(4, 7), torch.zeros(4, 7)), "the divergence")
    require(abs(free) < 1e-5, f"a code like the prior's costs nothing; with yours it costs {free:.3f}")
    _require_kl_slopes(kl_divergence, mu, logvar)


def _require_kl_slopes(kl_divergence: Callable, mu: Tensor, logvar: Tensor) -> None:
    given = (mu.clone().requires_grad_(), logvar.clone().requires_grad_())
    value = kl_divergence(*given)
    require(value.requires_grad, "the divergence does not hang on mu and logvar: nothing could be learnt from it")
    slopes = torch.autograd.grad(value, given, allow_unused=True)
    right = (mu / len(mu), (logvar.exp() - 1) / (2 * len(mu)))
    for name, slope, expected in zip(("mu", "logvar"), slopes, right, strict=True):
        close = slope is not None and torch.allclose(slope, expected, atol=1e-5)
        require(close, f"the value is right, but its gradient by {name} is not")


def _kl_trial(kl_divergence: Callable, seed: int = 0) -> Trial:
    """Learn to explain signals, at the learner's price for a code."""
    done, near = _explained(variational.reparameterise, kl_divergence, seed)
    what = f"smaller over larger of learnt and exact variance of the code after {done} steps"
    return Trial(what, near, 0.87, "without the 1/2 it is 0.51, with a mean over the units 0.35")


# cvae_loss


class _Watched(nn.Module):
    """A network whose code is its mean, which notes what it is given; its decoder is as it was told to be."""

    def __init__(self, logvar: float = SURE):
        super().__init__()
        self.net, self.spread = SmallVAE(latent_dim=4, width=8), logvar
        self.seen: list[Tensor] = []
        self.told: list[Tensor] = []

    def encode(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance; note what can be seen."""
        self.seen.append((images if masks is None else images.masked_fill(masks, 0)).detach().clone())
        mu, _ = self.net.encode(images, masks)
        return mu, torch.full_like(mu, self.spread)

    def logits(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return logits; note the labels."""
        self.told.append(labels.detach().clone())
        return 3 * self.net.logits(z, labels)


def _loss_properties(cvae_loss: Callable) -> None:
    net, given = _Watched(), grins(6, torch.Generator().manual_seed(0))
    told = (given.images.clone(), given.masks.clone(), given.labels.clone())
    found = returned.number(cvae_loss(net, *told), "the loss")
    require(net.seen, "your function does not call net.encode")
    require(net.told, "your function does not call net.logits")
    hidden = net.seen[0] == given.images.masked_fill(given.masks, 0)
    require(hidden.all(), "the encoder sees the hole, so that it never learns to do without; pass masks to net.encode")
    own = net.told[0].flatten().bool()
    require(
        own.shape == given.labels.shape and torch.equal(own, given.labels),
        "while it learns, the decoder is told each picture's own label; yours is told another one",
    )
    _compare_losses(found, net, given)
    returned.untouched(list(told), {"images": given.images, "masks": given.masks, "labels": given.labels})
    value = cvae_loss(net, *told)
    require(value.requires_grad, "the loss does not hang on the network: nothing can be learnt from it")
    random = _Watched(logvar=2.0)
    pair = [float(cvae_loss(random, *told).detach()) for _ in range(2)]
    require(pair[0] != pair[1], "the code is not drawn: decode reparameterise(mu, logvar), not mu")


def _compare_losses(found: float, net: _Watched, given: Grins) -> None:
    mu, logvar = net.encode(given.images, given.masks)
    logits, kl = net.logits(mu, given.labels), variational.kl_divergence(mu, logvar)
    target, broken = ((some + 1) / 2 for some in (given.images, given.images.masked_fill(given.masks, 0)))
    recon = variational.bce_reconstruction(logits, target)
    numbers = target[0].numel()
    wrong = {
        "the target is the broken picture, so that the network learns to draw the hole; it is the whole one": (
            variational.bce_reconstruction(logits, broken) + kl
        ),
        "you take the mean over the colours; added up, they outweigh the divergence, and the code is used": (
            recon / numbers + kl
        ),
        "you add up the pictures of the batch; take their mean": len(mu) * recon + kl,
        "the divergence is missing": recon,
        "the divergence enters with a minus": recon - kl,
        "the divergence counts half; its 1/2 is in it already": recon + kl / 2,
        "images are in [-1, 1], and the cross-entropy wants [0, 1]": (
            nn.functional.binary_cross_entropy_with_logits(logits, given.images, reduction="sum") / len(mu) + kl
        ),
        "yours is the squared error; use the cross-entropy": variational.mse_reconstruction(logits, target) + kl,
    }
    returned.compare(found, float((recon + kl).detach()), wrong, "the loss of six small faces")


def _loss_trial(cvae_loss: Callable, seed: int = 0) -> Trial:
    """Train by the learner's loss; then tell the decoder the other label and compare with the other picture."""
    torch.manual_seed(seed)
    net = SmallVAE()
    training = SupervisedTraining(net, lr=2e-3, betas=(0.9, 0.99), schedule="cosine")
    done = taught(training, lambda one: cvae_loss(net, one.images, one.masks, one.labels), GRINS, 500)
    what = f"share of the wrong mouth's error that is gone when the other one is asked for, after {done} steps"
    return Trial(what, turned(net), 0.78, "without the label it is 0.41, with a mean over the colours 0.54")


# joint_loss_d


def _judge(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


def _joint_properties(joint_loss_d: Callable) -> None:
    D, (real, fake) = _judge(), _sorts(32, torch.Generator().manual_seed(0))
    fake = fake.requires_grad_()
    value = joint_loss_d(D, real, fake)
    found, both = returned.number(value, "the loss"), D(torch.cat([real, fake.detach()])).chunk(2)
    apart, right = (D(real), D(fake.detach())), losses.bce_loss_d(*both).item()
    labels = torch.cat([torch.ones(32, 1), torch.zeros(32, 1)])
    cross = nn.functional.binary_cross_entropy_with_logits(torch.cat(both), labels).item()
    wrong = {
        "real and drawn pictures go through D apart, and its batch norm gives each batch the same mean and spread; "
        "put them into one batch": losses.bce_loss_d(*apart).item(),
        "D is to say yes to the real ones: yours rewards it for the opposite": losses.bce_loss_d(*both[::-1]).item(),
        "you forget the drawn ones": nn.functional.softplus(-both[0]).mean().item(),
        "you forget the real ones": nn.functional.softplus(both[1]).mean().item(),
        "take the mean over the pictures, not their sum": 32 * right,
    }
    if abs(found - cross) > 1e-4 * cross:  # half of the two means is the same loss, at half the weight
        returned.compare(found, right, wrong, "D's loss on 32 real and 32 drawn ones")
    require(isinstance(value, Tensor) and value.requires_grad, "the loss does not hang on D, which could not learn")
    (slope,) = torch.autograd.grad(value, fake, allow_unused=True)
    told = "the loss hangs on what drew the pictures, and D's step would teach it, too; detach them"
    require(slope is None or not slope.any(), told)


def _sorts(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return real vectors and drawn ones (n, 4), which only lie elsewhere and further apart."""
    real, fake = torch.randn(2, n, 4, generator=generator)
    return real + 1.0, 1.5 * fake - 1.0


def _joint_trial(joint_loss_d: Callable, seed: int = 0) -> Trial:
    """Teach a judge with batch norm; then let it judge new ones of both kinds."""
    D = _judge(seed)
    training = SupervisedTraining(D, lr=5e-3, betas=(0.5, 0.99))
    done = taught(training, lambda one: joint_loss_d(D, *one), Puzzles(_sorts, 32), 200)
    test = torch.cat(_sorts(1000, torch.Generator().manual_seed(TEST)))
    with torch.no_grad():
        logits = D.train()(test).flatten()
    right = torch.cat([logits[:1000] > 0, logits[1000:] < 0]).float().mean().item()
    what = f"share of new vectors that a judge with batch norm sorts rightly after {done} steps"
    return Trial(what, right, 0.8, "judged apart about 0.5")


# shared


register(
    Exercise(
        "reparameterise",
        "noise of deviation 1 times a deviation, plus a mean; logvar is the logarithm of a variance.",
        _draw_properties,
        _draw_trial,
    )
)
register(
    Exercise(
        "kl_divergence",
        "at mu = 0 and logvar = 0 it is 0, and flat in both; four terms and a factor do that. What is added up, and "
        "what averaged?",
        _kl_properties,
        _kl_trial,
    )
)
register(
    Exercise(
        "cvae_loss",
        "encode what is known, draw a code, ask for logits under the label, compare with the whole picture on the "
        "scale of the cross-entropy, and add the price of the code.",
        _loss_properties,
        _loss_trial,
    )
)
register(
    Exercise(
        "joint_loss_d",
        "join the two batches, ask D once, and part its answers again; which input must pass no gradient on?",
        _joint_properties,
        _joint_trial,
    )
)
