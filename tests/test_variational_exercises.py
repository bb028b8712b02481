"""Right solutions pass; each usual mistake fails, and where it can also by the trial alone, at the same budget."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from nblib import exercises, losses, variational
from nblib.exercises import check, checking
from nblib.exercises import grins as toys
from nblib.exercises import variational as room
from nblib.recipes.cvae import judged


def reparameterise(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def half_the_variance(mu, logvar):
    return mu + 0.5 * torch.exp(logvar) * torch.randn_like(mu)


def the_variance(mu, logvar):
    return mu + torch.exp(logvar) * torch.randn_like(mu)


def the_logarithm(mu, logvar):
    return mu + logvar * torch.randn_like(mu)


def fixed_spread(mu, logvar):
    return mu + torch.exp(0.5 * logvar).detach() * torch.randn_like(mu)


def one_noise(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape[1])


def one_number_a_picture(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * torch.randn(len(mu), 1)


def even_noise(mu, logvar):
    return mu + torch.exp(0.5 * logvar) * 3**0.5 * (2 * torch.rand_like(mu) - 1)


def draw_in_place(mu, logvar):
    return mu + logvar.mul_(0.5).exp() * torch.randn_like(mu)


def kl_divergence(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()


def kl_of_the_document(mu, logvar):
    return (-1 - logvar + logvar.exp() + mu.square()).sum(1).mean()


def kl_over_units(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean()


def kl_of_the_deviation(mu, logvar):
    return kl_divergence(mu, logvar / 2)


def kl_without_log(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - 1).sum(1).mean()


def cvae_loss(net, images, masks, labels, target=None, draw=reparameterise, numbers=1, kl=1.0):
    mu, logvar = net.encode(images, masks)
    logits, target = net.logits(draw(mu, logvar), labels), (images if target is None else target) / 2 + 0.5
    recon = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(images) / numbers
    return recon + kl * kl_divergence(mu, logvar)


def loss_with_the_hole_blanked_before(net, images, masks, labels):
    mu, logvar = net.encode(images.masked_fill(masks, 0))
    logits = net.logits(reparameterise(mu, logvar), labels)
    return variational.bce_reconstruction(logits, (images + 1) / 2) + variational.kl_divergence(mu, logvar)


def loss_that_sees_all(net, images, masks, labels):
    return cvae_loss(net, images, None, labels)


def loss_of_the_broken(net, images, masks, labels):
    return cvae_loss(net, images, masks, labels, target=images.masked_fill(masks, 0))


def loss_without_label(net, images, masks, labels):
    return cvae_loss(net, images, masks, torch.zeros_like(labels))


def loss_of_means(net, images, masks, labels):
    return cvae_loss(net, images, masks, labels, numbers=images[0].numel())


def loss_of_squares(net, images, masks, labels):
    mu, logvar = net.encode(images, masks)
    logits = net.logits(reparameterise(mu, logvar), labels)
    return variational.mse_reconstruction(logits, (images + 1) / 2) + kl_divergence(mu, logvar)


def loss_of_signed_targets(net, images, masks, labels):
    return cvae_loss(net, images, masks, labels, target=2 * images - 1)


def joint_loss_d(D, real, fake):
    real_logits, fake_logits = D(torch.cat([real, fake.detach()])).chunk(2)
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def joint_cross_entropy(D, real, fake):
    told = torch.cat([torch.ones(len(real), 1), torch.zeros(len(fake), 1)])
    return F.binary_cross_entropy_with_logits(D(torch.cat([real, fake.detach()])), told)


def apart(D, real, fake):
    return losses.bce_loss_d(D(real), D(fake.detach()))


def the_other_way_round(D, real, fake):
    return joint_loss_d(D, fake.detach(), real)


def undetached(D, real, fake):
    return losses.bce_loss_d(*D(torch.cat([real, fake])).chunk(2))


RIGHT = {
    "reparameterise": reparameterise,
    "kl_divergence": kl_divergence,
    "cvae_loss": cvae_loss,
    "joint_loss_d": joint_loss_d,
}
TRIALS = {
    "reparameterise": room._draw_trial,
    "kl_divergence": room._kl_trial,
    "cvae_loss": room._loss_trial,
    "joint_loss_d": room._joint_trial,
}


@pytest.fixture(autouse=True)
def _forget():
    checking._PASSED.clear()
    yield
    checking._PASSED.clear()


@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass(name):
    verdict = check(name, RIGHT[name])
    assert verdict.passed, verdict
    assert verdict.measured >= verdict.baseline + 0.07
    assert [one.name for one in exercises.passed()] == [name]


def test_the_exercises_follow_those_on_latent_search():
    names = exercises.available()
    first = names.index("reparameterise")
    assert names[first : first + len(RIGHT)] == list(RIGHT)
    assert first > names.index("search_step")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("reparameterise", variational.reparameterise),
        ("kl_divergence", variational.kl_divergence),
        ("cvae_loss", loss_with_the_hole_blanked_before),
        ("joint_loss_d", joint_cross_entropy),
        ("joint_loss_d", lambda D, real, fake: losses.bce_loss_d(*judged(D, real, fake.detach()))),
    ],
)
def test_other_ways_to_write_it_pass_too(name, function):
    verdict = check(name, function)
    assert verdict.passed, verdict


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass_from_other_starts(name, seed):
    trial = TRIALS[name](RIGHT[name], seed=seed)
    assert trial.measured > trial.baseline + 0.05


MISTAKES = [
    ("reparameterise", half_the_variance, "not half of it"),
    ("reparameterise", the_variance, "it takes the deviation, its root"),
    ("reparameterise", the_logarithm, "the variance is its exponential"),
    ("reparameterise", lambda mu, logvar: mu, "mu alone is not a draw"),
    ("reparameterise", lambda mu, logvar: mu + torch.randn_like(mu), "whatever logvar says"),
    ("reparameterise", fixed_spread, "do not hang on logvar"),
    ("reparameterise", lambda mu, logvar: reparameterise(mu.detach(), logvar), "do not hang on mu"),
    ("reparameterise", lambda mu, logvar: reparameterise(mu, logvar).detach(), "do not hang on what the encoder says"),
    ("reparameterise", one_noise, "one and the same noise"),
    ("reparameterise", one_number_a_picture, "each draws a number of its own"),
    ("reparameterise", even_noise, "use torch.randn_like"),
    ("reparameterise", lambda mu, logvar: reparameterise(0 * mu, logvar), "codes lie around mu"),
    ("reparameterise", draw_in_place, "changes logvar itself"),
    ("kl_divergence", kl_of_the_document, "yours is twice as large: the divergence has a 1/2"),
    ("kl_divergence", lambda mu, logvar: -kl_divergence(mu, logvar), "the wrong sign"),
    ("kl_divergence", lambda mu, logvar: -kl_of_the_document(mu, logvar), "twice as large, and has the wrong sign"),
    ("kl_divergence", kl_over_units, "the mean over the units of a code; add them up"),
    ("kl_divergence", lambda mu, logvar: len(mu) * kl_divergence(mu, logvar), "take their mean"),
    ("kl_divergence", lambda mu, logvar: kl_divergence(mu, logvar) / 7, "the divergence of five codes"),
    ("kl_divergence", kl_of_the_deviation, "you take the deviation for it"),
    ("kl_divergence", lambda mu, logvar: 2 * kl_of_the_deviation(mu, logvar), "and leave out the 1/2"),
    ("kl_divergence", kl_without_log, "without which a variance of 0"),
    ("kl_divergence", lambda mu, logvar: kl_divergence(mu, logvar) + 1.5, "you leave out the -1"),
    ("kl_divergence", lambda mu, logvar: kl_divergence(mu, logvar).detach(), "does not hang on mu and logvar"),
    ("kl_divergence", lambda mu, logvar: kl_divergence(mu, logvar.detach()), "its gradient by logvar"),
    ("kl_divergence", lambda mu, logvar: kl_divergence(mu.neg_(), logvar), "changes mu itself"),
    ("cvae_loss", loss_that_sees_all, "the encoder sees the hole"),
    ("cvae_loss", loss_of_the_broken, "the network learns to draw the hole"),
    ("cvae_loss", loss_without_label, "each picture's own label"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m, ~lab), "each picture's own label"),
    ("cvae_loss", loss_of_means, "you take the mean over the colours"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m, lab, numbers=1 / len(i)), "you add up the pictures"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m, lab, kl=0), "the divergence is missing"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m, lab, kl=-1), "the divergence enters with a minus"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m, lab, kl=0.5), "the divergence counts half"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m, lab, draw=lambda mu, _: mu), "the code is not drawn"),
    ("cvae_loss", loss_of_squares, "yours is the squared error"),
    ("cvae_loss", loss_of_signed_targets, "the cross-entropy wants [0, 1]"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m, lab).detach(), "does not hang on the network"),
    ("cvae_loss", lambda n, i, m, lab: cvae_loss(n, i, m.logical_not_(), lab), "the encoder sees the hole"),
    ("joint_loss_d", apart, "go through D apart"),
    ("joint_loss_d", the_other_way_round, "rewards it for the opposite"),
    ("joint_loss_d", undetached, "detach them"),
    ("joint_loss_d", lambda D, r, f: 32 * joint_loss_d(D, r, f), "not their sum"),
    ("joint_loss_d", lambda D, r, f: F.softplus(-D(torch.cat([r, f.detach()]))[:32]).mean(), "forget the drawn"),
    ("joint_loss_d", lambda D, r, f: F.softplus(D(torch.cat([r, f.detach()]))[32:]).mean(), "forget the real"),
    ("joint_loss_d", lambda D, r, f: joint_loss_d(D, r, f).detach(), "does not hang on D"),
]


@pytest.mark.parametrize(("name", "function", "told"), MISTAKES)
def test_mistakes_are_told(name, function, told):
    verdict = check(name, function)
    assert not verdict.passed
    assert told in repr(verdict), verdict
    assert f"Hint: {checking.find(name).hint}" in repr(verdict)


@pytest.mark.parametrize(
    ("name", "function", "reached"),
    [
        ("reparameterise", half_the_variance, 0.2),
        ("reparameterise", the_variance, 0.3),
        ("reparameterise", fixed_spread, 0.1),
        ("reparameterise", lambda mu, logvar: mu, 0.1),
        ("reparameterise", one_noise, 0.86),
        ("kl_divergence", kl_of_the_document, 0.6),
        ("kl_divergence", kl_over_units, 0.5),
        ("kl_divergence", kl_of_the_deviation, 0.6),
        ("kl_divergence", lambda mu, logvar: 64 * kl_divergence(mu, logvar), 0.2),
        ("cvae_loss", loss_that_sees_all, 0.76),
        ("cvae_loss", loss_of_the_broken, 0.1),
        ("cvae_loss", loss_without_label, 0.5),
        ("cvae_loss", loss_of_means, 0.65),
        ("joint_loss_d", apart, 0.75),
        ("joint_loss_d", the_other_way_round, 0.1),
    ],
)
def test_mistakes_stay_below_the_baseline_by_the_trial_alone(name, function, reached):
    trial = TRIALS[name](function)
    assert trial.measured < reached < trial.baseline


def test_signals_come_with_the_exact_variance_of_their_codes():
    """Of a linear decoder with normal noise the code's distribution is known: by Bayes' rule it is this one."""
    net = toys.Signals()
    precision = net.decoder.T @ net.decoder / toys.NOISE**2 + torch.eye(len(toys.STRENGTHS))
    exact = torch.linalg.inv(precision)
    torch.testing.assert_close(exact, exact.diagonal().diag(), rtol=0, atol=1e-6)
    with torch.no_grad():
        net.logvar.copy_(exact.diagonal().log())
    assert net.nearness() == pytest.approx(1, abs=1e-4)
    with torch.no_grad():
        net.logvar[1] += math.log(4)
    assert net.nearness() == pytest.approx(0.25, abs=1e-4)


def test_grins_differ_from_their_others_in_the_mouth_alone():
    some = toys.grins(40, torch.Generator().manual_seed(1))
    differs = (some.images != some.others).any(1, keepdim=True)
    assert differs.flatten(1).any(1).all()
    assert not (differs & ~some.masks).any()
    assert 5 < some.labels.sum() < 35
    smiling = some.images[some.labels] if some.labels[0] else some.others[some.labels]
    assert smiling.abs().max() <= 1


def test_a_smile_goes_up_at_its_corners():
    some = toys.grins(40, torch.Generator().manual_seed(1))
    rows = torch.arange(float(toys.SIZE))
    mouth = (some.images == -0.9).all(1)  # (n, H, W)
    middle, corner = ((mouth[:, :, at] * rows).sum(1) / mouth[:, :, at].sum(1) for at in (7, 4))
    assert torch.equal(corner < middle, some.labels)


def test_a_filling_as_it_was_saves_nothing_and_a_deaf_one_about_half():
    class Same(toys.SmallVAE):
        def logits(self, z, labels):
            test = toys.grins(300, torch.Generator().manual_seed(toys.TEST))
            return torch.logit((self.pick(test) + 1) / 2)

    net = Same()
    for pick, expected in (
        (lambda t: t.images, 0),
        (lambda t: t.others, 1),
        (lambda t: (t.images + t.others) / 2, 0.5),
    ):
        net.pick = pick
        assert toys.turned(net) == pytest.approx(expected, abs=1e-3)


def not_written(*inputs): ...


def not_implemented(*inputs):
    raise NotImplementedError


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    ("stub", "told"),
    [(not_written, "it returns None"), (not_implemented, "NotImplementedError"), (lambda: 0, "TypeError")],
)
def test_unfinished_functions_get_a_hint_and_raise_nothing(name, stub, told):
    verdict = check(name, stub)
    assert "not done yet" in repr(verdict)
    assert told in repr(verdict)
    assert exercises.passed() == []


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("value", [3, "text", torch.zeros(()), torch.full((1, 1), math.nan), [torch.ones(3)], True])
def test_whatever_is_returned_nothing_is_raised(name, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not check(name, lambda *inputs: value).passed
