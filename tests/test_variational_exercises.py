"""Right solutions pass; each usual mistake fails, and where it can also by the trial alone, at the same budget."""

import math

import pytest
import torch

from nblib.classroom.answers.variational import (
    RIGHT,
    apart,
    fixed_spread,
    half_the_variance,
    kl_divergence,
    kl_of_the_deviation,
    kl_of_the_document,
    kl_over_units,
    loss_of_means,
    loss_of_the_broken,
    loss_that_sees_all,
    loss_without_label,
    one_noise,
    the_other_way_round,
    the_variance,
)
from nblib.exercises import grins as toys
from nblib.exercises import variational as room

TRIALS = {
    "reparameterise": room._draw_trial,
    "kl_divergence": room._kl_trial,
    "cvae_loss": room._loss_trial,
    "joint_loss_d": room._joint_trial,
}


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass_from_other_starts(name, seed):
    trial = TRIALS[name](RIGHT[name], seed=seed)
    assert trial.measured > trial.baseline + 0.05


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
